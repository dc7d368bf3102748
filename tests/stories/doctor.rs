//! A machine where all is well, looked through while it works.

use crate::support::*;

#[tokio::test]
async fn a_house_where_all_is_well_is_ready() {
    let Some(house) = House::open("doctor").await else { return };
    house.page_comes_to_say("/ready", "\"runner_version\":\"").await;
    let rows = house.doctor().await;
    let state = |check: &str| {
        let row = rows.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("no row {check}: {rows:?}"));
        (row["state"].as_str().unwrap().to_owned(), row["saw"].as_str().unwrap().to_owned())
    };
    for (check, saw) in [
        ("configuration", "apps under *.h"),
        ("secrets", "closed to others"),
        ("database", "whole"),
        ("server", "process "),
        ("runner", "version"),
        ("forge", "bot @cc-ci-bot"),
        ("members", "is a member of"),
        ("docker", "live-restore off"),
        ("swarm", "this machine is its manager"),
        ("backup service", " runs"),
        ("proxy", "knows no app that is not there"),
        ("certificate", "covers *.h"),
        ("abra", "/abra"),
        ("bubblewrap", "as the runner found it"),
    ] {
        let (found, said) = state(check);
        assert!(found == "ok" && said.contains(saw), "{check}: {found}, {said}");
    }
    assert!(rows.iter().all(|row| row["state"] != "failed"), "{rows:?}");
}
