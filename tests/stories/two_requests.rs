//! One at a time: the second waits, and says for whom.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_second_request_waits_and_says_for_whom() {
    let Some(house) = House::open("two").await else { return };
    let slow = house.pull_request(Fixture::named("app").called("slow").slow(15)).await;
    let quick = house.pull_request(Fixture::named("custom-html")).await;

    slow.says(MEMBER, "!testme install").await;
    house.run_is(1, "running").await;
    quick.says(MEMBER, "!testme install").await;

    quick.hears("**Waiting**").await.contains("behind slow #1");
    house.page("/queue").await.contains("custom-html").contains("slow #1");
    slow.hears("**Passed").await;
    quick.hears("**Passed").await;
    house.is_empty().await;
}
