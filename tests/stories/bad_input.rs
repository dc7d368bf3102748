//! What a pull request must not be able to break: each a clear message, nothing crashed, nothing left.

use crate::support::*;

/// Opens it, asks, and gives back what was answered when the run failed.
async fn refused(name: &str, recipe: Fixture, words: &[&str]) {
    let Some(house) = House::open(name).await else { return };
    let change = house.pull_request(recipe).await;
    change.says(MEMBER, "!testme install").await;
    let verdict = change.hears("**Failed").await;
    for word in words {
        verdict.contains(word);
    }
    change.status_is("failure").await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_recipe_without_env_sample() {
    refused("no-env-sample", Fixture::named("app").without(".env.sample"), &[".env.sample"]).await;
}

#[tokio::test]
async fn a_name_that_is_too_long() {
    let long = "a_secret_with_a_name_that_goes_on_and_on_and_on_without_an_end";
    let recipe = Fixture::named("app")
        .replace("compose.yml", "_token_", &format!("_{long}_"))
        .replace("compose.yml", "SECRET_TOKEN_VERSION", "SECRET_A_SECRET_VERSION")
        .replace(".env.sample", "SECRET_TOKEN_VERSION", "SECRET_A_SECRET_VERSION");
    refused("long-name", recipe, &["64"]).await;
}

#[tokio::test]
async fn a_malformed_compose_file() {
    let recipe = Fixture::named("app").file("compose.yml", "services:\n  app:\n   - image: [unclosed\n");
    refused("malformed", recipe, &["compose.yml"]).await;
}

#[tokio::test]
async fn an_overlay_that_is_missing() {
    let recipe = Fixture::named("app").env("COMPOSE_FILE", "\"compose.yml:compose.missing.yml\"");
    refused("missing-overlay", recipe, &["compose.missing.yml"]).await;
}

#[tokio::test]
async fn a_compose_file_outside_the_recipe() {
    let recipe = Fixture::named("app").env("COMPOSE_FILE", "\"compose.yml:../../../etc/passwd\"");
    refused("outside", recipe, &["outside"]).await;
}

#[tokio::test]
async fn a_compose_file_that_is_a_link_out_of_the_recipe() {
    refused("link-out", Fixture::named("app").link("compose.yml", "/etc/passwd"), &["link"]).await;
}

#[tokio::test]
async fn a_recipe_name_with_shell_characters() {
    refused("shell-name", Fixture::named("app").env("TYPE", "$(touch /pwned)"), &["recipe name"]).await;
}

#[tokio::test]
async fn a_comment_of_ten_megabytes_and_what_follows_it() {
    let Some(house) = House::open("big-comment").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, &"lorem ipsum dolor sit amet ".repeat(400_000)).await;
    change.says(MEMBER, "!testme install").await;

    change.hears("**Passed").await;
    house.is_empty().await;
}

#[tokio::test]
async fn invalid_utf_8_and_control_characters_in_the_log() {
    let Some(house) = House::open("bad-utf-8").await else { return };
    let recipe = Fixture::named("app").bytes("README.md", b"\xff\xfe\x00\x1b[31mred\n").env("MODE", "crash");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme install").await;

    change.hears("**Failed").await;
    house.page("/runs/1").await.lacks("\u{1b}");
    house.is_empty().await;
}

#[tokio::test]
async fn a_repository_with_ten_thousand_tags() {
    let Some(house) = House::open("many-tags").await else { return };
    let change = house.pull_request(Fixture::named("app").with_lightweight_tags(10_000)).await;

    change.says(MEMBER, "!testme install").await;

    change.hears("**Passed").await;
    house.is_empty().await;
}

#[tokio::test]
async fn an_empty_repository_beside_the_others() {
    let Some(house) = House::open("empty-repository").await else { return };
    house.empty_repository("nothing-here").await;
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme install").await;

    change.hears("**Passed").await;
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_pull_request_whose_fork_is_gone() {
    let Some(house) = House::open_asleep("fork-gone").await else { return };
    let change = house.pull_request_from_fork(Fixture::named("app"), MEMBER).await;

    change.says(MEMBER, "!testme install").await;
    change.fork_disappears().await;
    house.wake().await;

    // A forge closes it then, and says so.
    change.hears("closed").await;
    house.is_empty().await;
}
