//! The main job: a member asks, the head is deployed, and the answer is on the pull request and on the pages.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_member_asks_and_the_head_is_deployed_and_answered() {
    let Some(house) = House::open("passes").await else { return };
    let change = house.pull_request(Fixture::named("custom-html")).await;

    let asked = change.says(MEMBER, "!testme").await;

    change.has_eyes_on(asked).await;
    change.status_is("pending").await;
    let verdict = change.hears("**Passed").await;
    verdict.contains("install").contains("uninstall").contains(&change.short_head());
    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.page("/").await.contains("custom-html").contains("passed");
    let run = house.page("/runs/1").await;
    run.contains("custom-html").contains("1.14.0+1.29.0").contains("nothing left");
    house.page("/badge/custom-html.svg").await.contains("passed");
    house.page("/decisions").await.contains("!testme").contains("accepted");
    house.is_empty().await;
}

#[tokio::test]
async fn a_recipe_whose_name_is_not_its_repository_s_passes() {
    let Some(house) = House::open("other-name").await else { return };
    let change = house.pull_request(Fixture::named("app").in_repository("app-recipe")).await;

    change.says(MEMBER, "Looks good to me.\n\n!testme install").await;

    change.hears("**Passed").await.contains("app");
    house.page("/runs/1").await.contains("app-recipe");
    house.is_empty().await;
}
