//! A restart between the comment and the run, and one in the middle of a run.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_comment_made_while_nobody_was_there_runs_once() {
    let Some(house) = House::open("restart").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;
    house.has_looked().await;

    house.dies().await;
    change.says(MEMBER, "!testme install").await;
    house.starts().await;
    house.run_is(1, "queued or later").await;
    house.dies().await;
    house.starts().await;

    change.hears("**Passed").await;
    let runs = house.runs().await;
    let passed = runs.iter().filter(|run| run["outcome"] == "passed").count();
    assert_eq!(passed, 1, "{runs:?}");
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_run_that_was_killed_is_torn_down_and_tried_again() {
    let Some(house) = House::open("killed").await else { return };
    let change = house.pull_request(Fixture::named("app").slow(3)).await;

    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    house.dies().await;
    house.starts().await;

    change.hears("**Passed").await;
    house.run_is(1, "interrupted").await;
    house.run_is(2, "passed").await;
    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}
