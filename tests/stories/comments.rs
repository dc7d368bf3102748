//! Who may ask, and what is a request.

use crate::support::*;

#[tokio::test]
pub(crate) async fn a_stranger_is_refused_and_told_who_may_ask() {
    let Some(house) = House::open("stranger").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(STRANGER, "!testme").await;

    change.hears("member").await.contains(ORGANISATION);
    house.page("/decisions").await.contains(STRANGER).contains("refused");
    house.page("/runs").await.lacks("/runs/1\"");
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn an_edited_comment_is_no_request() {
    let Some(house) = House::open("edited").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    let comment = change.says(MEMBER, "Nice.").await;
    house.has_looked().await;
    change.edits(MEMBER, comment, "!testme").await;
    house.has_looked().await;
    house.has_looked().await;

    house.page("/runs").await.lacks("/runs/1\"");
    assert!(change.comments_of_the_bot().await.is_empty());
}

#[tokio::test]
pub(crate) async fn a_command_inside_a_code_block_or_a_quote_is_no_request() {
    let Some(house) = House::open("code-block").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "To test it write\n\n```\n!testme\n```\n\n> !testme\n\nor `!testme`.").await;
    change.says(MEMBER, "!testmexyz").await;
    house.has_looked().await;
    house.has_looked().await;

    house.page("/runs").await.lacks("/runs/1\"");
    assert!(change.comments_of_the_bot().await.is_empty());
}

#[tokio::test]
pub(crate) async fn an_unknown_word_and_a_call_for_help_are_answered() {
    let Some(house) = House::open("help").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme everything").await;
    change.hears("everything").await.contains("!testme help");
    change.says(MEMBER, "!testme help").await;
    change.hears("!testme install").await.contains("!testme cancel");
    house.page("/runs").await.lacks("/runs/1\"");
}

#[tokio::test]
pub(crate) async fn what_the_bot_said_and_somebody_deleted_is_said_anew() {
    let Some(house) = House::open("deleted").await else { return };
    let change = house.pull_request(Fixture::named("app").slow(5)).await;

    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    change.hears("**Running").await;
    change.bot_is_silenced().await;

    change.hears("**Passed").await.contains(&change.short_head());
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}
