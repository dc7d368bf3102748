//! Apps that do not come up, each told apart, and each torn down.

use std::time::{Duration, Instant};

use crate::support::*;

#[tokio::test]
async fn an_image_that_does_not_exist_is_named() {
    let Some(house) = House::open("broken-image").await else { return };
    let recipe = Fixture::named("app").replace("compose.yml", "cc-ci-test/app:2", "cc-ci-test/app:does-not-exist");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme").await;

    change.hears("cc-ci-test/app:does-not-exist").await.contains("install");
    // No registry answers here, so whether the image or the network is at fault cannot be known.
    change.status_is("error").await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_crash_loop_fails_within_a_minute_with_its_last_lines() {
    let Some(house) = House::open("crash-loop").await else { return };
    let change = house.pull_request(Fixture::named("app").env("MODE", "crash")).await;

    change.says(MEMBER, "!testme").await;
    house.run_is(1, "running").await;
    let started = Instant::now();
    let verdict = change.hears("**Failed").await;

    assert!(started.elapsed() < Duration::from_secs(75), "took {:?} with its teardown", started.elapsed());
    verdict.contains("app").contains("crash");
    change.status_is("failure").await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_health_check_that_never_turns_green_is_said_to_be_so() {
    let Some(house) = House::open("never-healthy").await else { return };
    let change = house.pull_request(Fixture::named("app").env("MODE", "never-healthy")).await;

    change.says(MEMBER, "!testme").await;

    change.hears("**Failed").await.contains("health");
    change.status_is("failure").await;
    house.is_empty().await;
}

#[tokio::test]
async fn an_app_that_ignores_the_end_is_gone_all_the_same() {
    let Some(house) = House::open("ignores-term").await else { return };
    let change = house.pull_request(Fixture::named("app").env("MODE", "ignore-term")).await;

    change.says(MEMBER, "!testme").await;

    change.hears("**Passed").await;
    house.is_empty().await;
}
