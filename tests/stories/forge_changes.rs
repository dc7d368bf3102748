//! What people change on the forge while cc-ci looks away or is busy: a member leaves, a repository gets another name or is
//! archived, a conversation is locked, a token is revoked, the organisation is hidden.

use crate::support::*;

#[tokio::test]
pub(crate) async fn who_left_between_comment_and_look_is_no_member() {
    let Some(house) = House::open_asleep("left").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme install").await;
    house.forge.leaves(ORGANISATION, MEMBER).await;
    house.wake().await;

    change.hears("member").await.contains(ORGANISATION);
    house.page("/decisions").await.contains(MEMBER).contains("refused");
    house.page("/runs").await.lacks("/runs/1\"");
}

#[tokio::test]
pub(crate) async fn what_was_forced_over_the_head_after_the_comment_is_not_tested() {
    let Some(house) = House::open_asleep("forced").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme install").await;
    change.forces("README.md", "another history\n").await;
    house.wake().await;

    change.hears("pushed to after").await.contains("!testme");
    house.page("/runs").await.lacks("/runs/1\"");
    change.says(MEMBER, "!testme install").await;
    change.hears("**Passed").await.contains(&change.short_head());
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_repository_that_gets_another_name_in_mid_run_is_answered() {
    let Some(house) = House::open("renamed").await else { return };
    let change = house.pull_request(Fixture::named("app").slow(3)).await;

    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    let change = change.renamed("another").await;

    change.hears("**Passed").await;
    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_repository_that_is_archived_in_mid_run_costs_the_others_nothing() {
    let Some(house) = House::open("archived").await else { return };
    let archived = house.pull_request(Fixture::named("app").slow(3)).await;
    let other = house.pull_request(Fixture::named("app").in_repository("other")).await;

    archived.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    archived.is_archived().await;
    other.says(MEMBER, "!testme install").await;

    other.hears("**Passed").await;
    house.run_is(1, "passed").await;
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_locked_conversation_is_answered_by_who_may_write() {
    let Some(house) = House::open("locked").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.is_locked().await;
    change.says(MEMBER, "!testme install").await;

    change.hears("**Passed").await;
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_token_that_is_revoked_in_mid_run_is_said_and_its_successor_brings_the_answer() {
    let Some(house) = House::open("revoked").await else { return };
    let change = house.pull_request(Fixture::named("app").slow(3)).await;

    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    house.token_is_revoked().await;
    house.page_comes_to_say("/ready", "token").await;
    house.run_is(1, "passed").await;
    house.dies().await;
    house.has_its_new_token().await;
    house.starts().await;

    change.hears("**Passed").await;
    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}

#[tokio::test]
pub(crate) async fn a_hidden_organisation_is_served_like_any_other() {
    let Some(house) = House::open("hidden").await else { return };
    house.forge.hides(ORGANISATION).await;
    let change = house.pull_request(Fixture::named("app")).await;
    change.is_private().await;

    change.says(MEMBER, "!testme install").await;

    change.hears("**Passed").await;
    change.status_is("success").await;
    house.is_empty().await;
}
