//! What was not there when the member asked is not tested.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_push_after_the_comment_is_refused_and_said() {
    let Some(house) = House::open_asleep("pushed-after").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme install").await;
    change.pushes("README.md", "something else\n").await;
    house.wake().await;

    change.hears("pushed to after").await.contains("!testme");
    house.page("/runs").await.lacks("/runs/1\"");
    change.says(MEMBER, "!testme install").await;
    change.hears("**Passed").await.contains(&change.short_head());
    house.is_empty().await;
}
