//! The forge goes away in the middle of a run; nothing is lost, and the answer arrives.

use crate::support::*;

#[tokio::test]
pub(crate) async fn the_answer_arrives_when_the_forge_is_back() {
    let Some(house) = House::open("forge-down").await else { return };
    let change = house.pull_request(Fixture::named("app").slow(5)).await;

    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    house.forge_goes_down().await;
    house.run_is(1, "passed").await;
    house.page_comes_to_say("/ready", "forge").await;
    house.forge_is_back().await;

    change.hears("**Passed").await;
    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}
