//! A pull request that was closed while it waited is not deployed.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_pull_request_closed_before_its_turn_is_not_deployed() {
    let Some(house) = House::open("closed").await else { return };
    let slow = house.pull_request(Fixture::named("app").in_repository("slow").slow(20)).await;
    let late = house.pull_request(Fixture::named("app").in_repository("late")).await;

    slow.says(MEMBER, "!testme install").await;
    house.run_is(1, "running").await;
    house.has_looked().await;
    late.says(MEMBER, "!testme install").await;
    late.hears("Waiting").await;
    late.closes().await;

    late.hears("closed").await;
    house.run_is(2, "cancelled").await;
    slow.hears("**Passed").await;
    house.is_empty().await;
}
