//! Upgrades from what is published: one that is well, and those where the page answers all the same.

use crate::support::*;

/// The head's own lines of the environment, where the base has others.
const OF_HEAD: &str = "      - MODE\n      - APP_VERSION=2";
const ONE_AFTER_THE_OTHER: &str = "    deploy:\n      restart_policy:";
const ROLLS_BACK: &str = "    deploy:\n      update_config: {order: start-first, failure_action: rollback, monitor: 5s}\n      restart_policy:";

fn whose_head_has_the_mode(mode: &str) -> Fixture {
    let with = format!("      - MODE={mode}\n      - APP_VERSION=2");
    Fixture::named("app").replace("compose.yml", OF_HEAD, &with)
}

#[tokio::test]
async fn an_upgrade_from_the_newest_release_passes_and_the_plan_said_so_before() {
    let Some(house) = House::open("upgrade").await else { return };
    let change = house.pull_request(Fixture::named("custom-html")).await;

    change.says(MEMBER, "!testme").await;

    change
        .hears("install · checks · backup and restore · upgrade from 1.13.0+1.29.0 · uninstall (4 deployments)")
        .await;
    let verdict = change.hears("**Passed").await;
    verdict.contains("7 stages").contains("upgrade");
    let run = house.page("/runs/1").await;
    run.contains("install · checks · backup and restore · upgrade from 1.13.0+1.29.0 · uninstall")
        .contains("the newest release before it");
    run.contains("release note 1.14.0+1.29.0").contains("updated: app").contains("4, as planned");
    house.is_empty().await;
}

#[tokio::test]
async fn an_upgrade_that_rolls_back_is_red_though_the_page_answers() {
    let Some(house) = House::open("rolls-back").await else { return };
    let recipe = whose_head_has_the_mode("never-healthy").replace("compose.yml", ONE_AFTER_THE_OTHER, ROLLS_BACK);
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme upgrade").await;

    change.hears("**Failed: upgrade.**").await.contains("rolled back: the old version runs");
    change.status_is("failure").await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_base_under_the_head_s_stamp_is_not_taken_for_the_head() {
    let Some(house) = House::open_with("wrong-stamp", Setup::base_under_the_heads_stamp()).await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme upgrade").await;

    let verdict = change.hears("**Failed: upgrade.**").await;
    verdict.contains("what runs is not the head").contains("cc-ci-test/app:1");
    let run = house.page("/runs/1").await;
    run.contains("commit of the stack").contains(&change.short_head());
    house.is_empty().await;
}

#[tokio::test]
async fn a_base_that_does_not_come_up_is_not_the_head_s_fault_and_not_green() {
    let Some(house) = House::open("base-broken").await else { return };
    let change = house.pull_request(whose_head_has_the_mode("ok").env("MODE", "crash")).await;

    change.says(MEMBER, "!testme").await;

    let verdict = change.hears("**Passed").await;
    verdict.contains("upgrade not tested (base broken: 1.0.0+1").contains("level 1 of 6");
    house.page("/runs/1").await.contains("base broken: 1.0.0+1 (the newest release before it): app ended");
    house.is_empty().await;
}

#[tokio::test]
async fn without_tags_the_upgrade_starts_from_the_base_branch() {
    let Some(house) = House::open("no-tags").await else { return };
    let change = house.pull_request(Fixture::named("app").untagged()).await;

    change.says(MEMBER, "!testme upgrade").await;

    change.hears("**Passed").await;
    house.page("/runs/1").await.contains("the upgrade starts from the tip of the base branch");
    house.is_empty().await;
}

#[tokio::test]
async fn a_version_may_be_named_and_one_that_is_not_there_is_said_to_be_so() {
    let Some(house) = House::open("from").await else { return };
    let change = house.pull_request(Fixture::named("custom-html")).await;

    change.says(MEMBER, "!testme upgrade from=1.12.1+1.28.0").await;
    change.hears("upgrade from 1.12.1+1.28.0 · uninstall").await;
    change.hears("**Passed").await;
    change.says(MEMBER, "!testme from=9.9.9").await;

    let verdict = change.hears("**Failed: fetch.**").await;
    verdict.contains("names no tag").contains("1.13.0+1.29.0");
    house.is_empty().await;
}

#[tokio::test]
async fn a_config_that_changed_under_its_old_name_is_named_before_swarm_refuses_it() {
    let Some(house) = House::open("config-unversioned").await else { return };
    let recipe = Fixture::named("custom-html").replace("abra.sh", "_VERSION=v2", "_VERSION=v1");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme upgrade").await;

    change.hears("**Failed: upgrade.**").await.contains("a config");
    let run = house.page("/runs/1").await;
    run.contains("config default.conf").contains("another DEFAULT_CONF_VERSION, since its content changed");
    house.is_empty().await;
}

#[tokio::test]
async fn an_upgrade_that_loses_its_data_is_red() {
    let Some(house) = House::open("loses-data").await else { return };
    let mounted = "      - APP_VERSION=2\n    networks:\n      - proxy\n    volumes:\n      - data:/data";
    let recipe = Fixture::named("app")
        .replace("compose.yml", mounted, &mounted.replace("data:/", "elsewhere:/"))
        .replace("compose.yml", "volumes:\n  data:\n", "volumes:\n  data:\n  elsewhere:\n");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme upgrade").await;

    let verdict = change.hears("**Failed: upgrade.**").await;
    verdict.contains("the marker (file in volume data) was gone after the upgrade");
    house.is_empty().await;
}

#[tokio::test]
async fn a_database_that_the_head_leaves_out_is_told_though_the_base_s_runs_on() {
    let Some(house) = House::open("drops-database").await else { return };
    let change = house.pull_request(Fixture::named("drops-database")).await;

    change.says(MEMBER, "!testme upgrade").await;

    change.hears("**Passed").await.contains("row in PostgreSQL of db at the head: db is gone");
    let run = house.page("/runs/1").await;
    run.contains("marker: row in PostgreSQL of db").contains("db is gone, and no other service has its data");
    run.contains("file in volume pages after the upgrade").lacks("row in PostgreSQL of db after the upgrade");
    house.is_empty().await;
}

#[tokio::test]
async fn a_volume_that_the_head_sees_elsewhere_costs_the_level() {
    let Some(house) = House::open("moves-volume").await else { return };
    let mounted = "      - APP_VERSION=2\n    networks:\n      - proxy\n    volumes:\n      - data:/data";
    let elsewhere = mounted.replace("data:/data", "data:/elsewhere");
    let change = house.pull_request(Fixture::named("app").replace("compose.yml", mounted, &elsewhere)).await;

    change.says(MEMBER, "!testme").await;

    let verdict = change.hears("**Passed").await;
    verdict.contains("level 1 of 6").contains("the volume data was seen at /data, and is at /elsewhere");
    house.is_empty().await;
}

#[tokio::test]
async fn an_overlay_that_only_the_head_has_is_left_out_for_the_base() {
    let Some(house) = House::open("overlay-of-head").await else { return };
    let change = house.pull_request(Fixture::named("app")).await;
    let overlay = "version: '3.8'\nservices:\n  app:\n    environment:\n      - APP_TITLE=with the overlay\n";
    change.pushes("compose.more.yml", overlay).await;
    let declared =
        "env: {COMPOSE_FILE: 'compose.yml:compose.more.yml'}\nchecks: [{get: /, contains: with the overlay}]\n";
    change.pushes(".cc-ci/recipe.yaml", declared).await;

    change.says(MEMBER, "!testme upgrade").await;

    change.hears("**Passed").await;
    house.page("/runs/1/log").await.contains("compose.more.yml is only at the head, so the base runs without it");
    house.is_empty().await;
}
