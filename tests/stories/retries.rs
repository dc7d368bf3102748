//! What is nobody's fault is tried again by itself, twice, and the pull request hears how often.

use crate::support::*;

#[tokio::test]
async fn what_is_not_the_recipes_fault_is_tried_three_times_and_said() {
    let Some(house) = House::open("retries").await else { return };
    // No registry answers here, so whether the image or the network is at fault cannot be known.
    let recipe = Fixture::named("app").replace("compose.yml", "cc-ci-test/app:2", "cc-ci-test/app:does-not-exist");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme").await;

    change.hears("attempt 1 of 3 failed").await.contains("**Waiting**").contains("attempt 2");
    house.run_is(3, "infra").await;
    change.hears("· attempt 3 ·").await.contains("not because of the recipe");
    change.status_is("error").await;
    change.has_one_comment_of_the_bot().await;
    house.page("/runs/3").await.contains("attempt 3").contains("/runs/2");
    house.is_empty().await;
}
