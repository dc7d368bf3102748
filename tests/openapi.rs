//! The OpenAPI document held against a real server by schemathesis: every operation, with what the document allows and with what
//! it does not, all default checks, first without a token and then with one. Each operation must be seen to do what it is for.

#![expect(clippy::disallowed_methods, reason = "schemathesis is started as people start it")]

#[path = "support/forge.rs"]
mod forge;
#[path = "web/house.rs"]
#[allow(dead_code, reason = "every suite uses its part")]
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cc_ci::model::{RepoId, Scope};
use cc_ci::secrets::Secret;
use cc_ci::store::{repositories, tokens};
use forge::Place;
use house::{House, NOW};
use serde_json::Value;

const TOKEN: &str = "ccci_0123456789012345678901234567890123456789";
/// Of each operation in a phase; all of it takes about half a minute.
const EXAMPLES: u32 = 10;
/// Its usual settings, but that a range behind a log's end is 416, as RFC 9110 has it, however well it is written.
const SETTINGS: &str = r#"
seed = 1
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "416", "429", "5xx"]
[generation]
database = "none"
"#;

/// Which operations were answered with which status.
type Answers = BTreeMap<String, BTreeSet<u64>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_does_what_the_document_says_with_and_without_a_token() {
    let Some(schemathesis) = std::env::var_os("CC_CI_SCHEMATHESIS").map(PathBuf::from) else {
        println!(
            "SKIPPED every_operation_does_what_the_document_says_with_and_without_a_token: CC_CI_SCHEMATHESIS names no program"
        );
        return;
    };
    let place = Place::open().await;
    let house = House::with_forge(120, place.client()).await;
    house.store.write("is being tested", know_the_repository).await.unwrap();
    let minutes = tokio::spawn(minutes_pass(house.clock.clone()));

    let document = cc_ci::web::api::document();
    let operations = operations(&document);
    let reading: BTreeSet<&String> =
        operations.iter().filter(|(_, guarded)| !**guarded).map(|(name, _)| name).collect();

    let without = ask(&schemathesis, &house.address, None).await;
    for name in operations.keys() {
        let good = if reading.contains(name) { 200 } else { 401 };
        assert!(without[name].contains(&good), "{name} without a token: {:?}", without[name]);
    }
    let with = ask(&schemathesis, &house.address, Some(TOKEN)).await;
    for name in operations.keys() {
        let good = |status: &u64| (200..300).contains(status);
        assert!(with[name].iter().any(good), "{name} with a token: {:?}", with[name]);
    }
    minutes.abort();
}

/// A minute at each tick: nobody asks too often, and nobody guesses too often.
async fn minutes_pass(clock: cc_ci::clock::Clock) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        clock.advance(Duration::from_secs(61));
    }
}

fn know_the_repository(tx: &cc_ci::store::Transaction) -> Result<(), cc_ci::store::StoreError> {
    let repo = forge::repo();
    let listed = repositories::Listed { id: RepoId(9000), repo: &repo, enrolled: true, why: "" };
    repositories::see(tx, &listed, NOW, NOW, NOW)?;
    let all = [Scope::Run, Scope::Cancel, Scope::Janitor];
    tokens::add(tx, "schemathesis", &Secret::new(TOKEN), &all, NOW.plus(Duration::from_secs(3600 * 24 * 36500)), NOW)?;
    Ok(())
}

/// Each with whether it needs a token.
fn operations(document: &Value) -> BTreeMap<String, bool> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| {
        let named = |(method, what): (&String, &Value)| {
            (format!("{} {path}", method.to_uppercase()), what.get("security").is_some())
        };
        methods.as_object().unwrap().iter().map(named).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// Fails with all that schemathesis says when it finds anything.
async fn ask(schemathesis: &Path, address: &str, token: Option<&str>) -> Answers {
    let dir = tempfile::tempdir().unwrap();
    let mut config = format!("{SETTINGS}max-examples = {EXAMPLES}\n");
    if let Some(token) = token {
        let _ = write!(config, "[auth.openapi.token]\nbearer = \"{token}\"\n");
    }
    std::fs::write(dir.path().join("schemathesis.toml"), config).unwrap();
    // From a file, since it does not try the address that it has the document from.
    std::fs::write(dir.path().join("openapi.json"), cc_ci::web::api::document().to_string()).unwrap();
    let mut command = Command::new(schemathesis);
    command
        .args(["run", "openapi.json", "--url", address, "--report", "ndjson", "--report-ndjson-path", "said"])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(dir.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "schemathesis found what the document does not say");
    answers(&std::fs::read_to_string(dir.path().join("said")).unwrap())
}

/// From the report, which has a line for each step.
fn answers(report: &str) -> Answers {
    let mut answers = Answers::new();
    for line in report.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let recorder = &event["ScenarioFinished"]["recorder"];
        for (id, interaction) in recorder["interactions"].as_object().into_iter().flatten() {
            let case = &recorder["cases"][id]["value"];
            let (method, path) = (case["method"].as_str().unwrap(), case["path"].as_str().unwrap());
            let status = interaction["response"]["status_code"].as_u64();
            answers.entry(format!("{} {path}", method.to_uppercase())).or_default().extend(status);
        }
    }
    answers
}
