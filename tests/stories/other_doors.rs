//! Runs that nobody's look at the forge began: told by a webhook, asked for on the command line.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_webhook_brings_a_comment_at_once_and_only_a_signed_one() {
    let Some(house) = House::open_with("webhook", Setup::webhook()).await else { return };
    let change = house.pull_request(Fixture::named("app")).await;
    change.tells_by_webhook().await;

    let body = r#"{"action":"created","repository":{"full_name":"recipes/app"},"comment":{"id":1}}"#;
    for signature in [None, Some(""), Some(&*"0".repeat(64))] {
        let status = house.hook_answers(body, signature).await;
        assert!((401..=404).contains(&status), "{signature:?} was answered {status}");
    }

    change.says(MEMBER, "!testme install").await;
    change.hears("**Passed").await;
    change.status_is("success").await;
    assert_eq!(house.runs().await.len(), 1);
    house.is_empty().await;
}

#[tokio::test]
async fn the_command_line_asks_for_a_run_as_a_comment_would() {
    let Some(house) = House::open("trigger").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;
    house.page_comes_to_say("/repositories", "app").await;

    house.triggers("app#1").await.contains("run 1 is queued").contains("/runs/1");

    change.hears("**Passed").await.contains("install");
    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.page("/runs/1").await.contains("by command line");
    house.is_empty().await;
}

#[tokio::test]
async fn a_token_asks_for_a_run() {
    let Some(house) = House::open("token").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;
    house.page_comes_to_say("/repositories", "app").await;
    let token = house.new_token("robot", "run").await;

    let asked = house.asks_by_token(&token, r#"{"repository": "app", "pr": 1, "stage": "install"}"#).await;
    asked.contains("run 1 is queued");

    change.hears("**Passed").await.contains("install");
    house.page("/runs/1").await.contains("the token robot");
    house.is_empty().await;
    let closed = house.asks_by_token(&token, r#"{"repository": "app", "pr": 9}"#).await;
    closed.contains("404").contains("no pull request 9");
}

#[tokio::test]
async fn a_directory_is_tested_with_no_server_and_no_forge() {
    let Some(house) = House::open("local").await else { return };

    let (code, said) = house.runs_locally(&Fixture::named("app")).await;
    said.contains("✔ install").contains("✔ uninstall").contains("passed after");
    assert_eq!(code, 0, "{said:?}");

    let broken = Fixture::named("app").replace("compose.yml", "cc-ci-test/app:2", "cc-ci-test/app:none");
    let (code, said) = house.runs_locally(&broken).await;
    said.contains("cc-ci-test/app:none");
    assert_eq!(code, 3, "an image that cannot be had is no verdict on the recipe: {said:?}");

    let (code, said) = house.runs_locally(&Fixture::named("app").without("compose.yml")).await;
    said.contains("✘").contains("compose.yml").contains("failed after").lacks("== ");
    assert_eq!(code, 1, "{said:?}");
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_pull_request_from_a_fork_is_tested_like_any_other() {
    let Some(house) = House::open("fork").await else { return };
    let change = house.pull_request_from_fork(Fixture::named("app"), STRANGER).await;

    change.says(MEMBER, "!testme install").await;

    change.hears("**Passed").await.contains(&change.short_head());
    change.status_is("success").await;
    house.is_empty().await;
}
