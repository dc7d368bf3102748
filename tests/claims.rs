//! What `docs/features.md` claims, `scripts/lib/features.sh` holds against what ran; so that has to see each way of being wrong.

#![expect(clippy::disallowed_methods, reason = "the script is run as scripts/test runs it")]

use std::process::Command;

const REPORT: &str =
    "test web::a_page_is_there ... ok\ntest web::another_is_there ... FAILED\ntest step::clippy ... ok\n";

/// The exit code and what was said of a table with this row.
fn judged(row: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("web.log"), REPORT).unwrap();
    let table = dir.path().join("features.md");
    std::fs::write(&table, format!("| number | feature | works | proof |\n|---|---|---|---|\n{row}\n")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/features.sh");
    let done = Command::new("bash").arg(script).arg(dir.path()).arg(&table).output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn a_claim_stands_by_proofs_that_ran_and_passed() {
    for row in [
        "| 1 | Pages | works | `web::a_page_is_there` `step::clippy` |",
        "| 1 | Pages | part | `web::a_page_is_there` |",
        "| 1 | Pages | not yet |  |",
    ] {
        assert_eq!(judged(row), (Some(0), String::new()), "{row}");
    }
    for (row, why) in [
        ("| 1 | Pages | works |  |", "names no proof"),
        ("| 1 | Pages | part | it is seen |", "names no proof"),
        ("| 1 | Pages | works | `web::another_is_there` |", "did not run and pass"),
        ("| 1 | Pages | works | `web::a_page_is_there` `web::nobody_wrote_it` |", "nobody_wrote_it did not run"),
        ("| 1 | Pages | works | `web::a_page` |", "did not run and pass"),
        ("| 1 | Pages | done | `web::a_page_is_there` |", "is not works, part or not yet"),
    ] {
        let (code, said) = judged(row);
        assert!(code == Some(1) && said.contains(why), "{row}: {code:?} {said}");
    }
}

#[test]
fn every_gap_is_told_and_nothing_is_told_of_what_has_none() {
    let text = include_str!("../docs/features.md");
    let (table, gaps) = text.split_once("## What `part` leaves open").unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut open: Vec<String> =
        table.lines().map(cells).filter(|row| row.len() > 4 && row[3] == "part").map(|row| row[1].clone()).collect();
    let mut told: Vec<String> =
        gaps.lines().map(cells).filter_map(|row| Some(row.get(1)?.strip_prefix("no. ")?.to_owned())).collect();
    open.sort();
    told.sort();
    assert!(!open.is_empty());
    assert_eq!(open, told);
}
