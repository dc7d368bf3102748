//! Backups: what is proved of one, and the ways in which one can be worth nothing.

use crate::support::*;

#[tokio::test]
async fn a_database_is_backed_up_restored_in_place_and_into_a_fresh_app() {
    let Some(house) = House::open("backup").await else { return };
    let change = house.pull_request(Fixture::named("postgres")).await;

    change.says(MEMBER, "!testme").await;

    change.hears("install · checks · backup and restore · upgrade from 1.0.0+17 · uninstall (4 deployments)").await;
    change.hears("| backup | ✔ passed").await;
    change.hears("**Passed").await.contains("level 3 of 6");
    let page = house.page("/runs/1").await;
    page.contains("row in PostgreSQL of db after the upgrade").contains("file in volume pages after the upgrade");
    page.contains("marker: file in volume pages").contains("marker: row in PostgreSQL of db");
    page.contains("snapshot holds backup.sql of volume db").contains("holds the row in PostgreSQL of db");
    page.contains("restored in place").contains("restored into a fresh app");
    page.contains("row in PostgreSQL of db after the restore into a fresh app").contains("nothing left");
    house.page("/runs/1/evidence/snapshot.txt").await.contains("_db/_data/backup.sql\n");
    house.page("/runs/1/log").await.contains("1 snapshots of this run removed");
    house.is_empty().await;
}

#[tokio::test]
async fn data_that_no_label_asks_to_keep_is_not_tested_and_costs_the_level() {
    let Some(house) = House::open("backup-unasked").await else { return };
    let recipe = Fixture::named("app").replace("compose.yml", "backupbot.backup=true", "backupbot.backup=false");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme").await;

    change.hears("install · checks · no backup · upgrade from 1.0.0+1 · uninstall").await;
    let verdict = change.hears("**Passed").await;
    verdict.contains("no label asks for a backup, and there is data in the volume data").contains("level 2 of 6");
    house.is_empty().await;
}

#[tokio::test]
async fn a_mariadb_comes_back_from_a_packed_dump() {
    let Some(house) = House::open("backup-mariadb").await else { return };
    let change = house.pull_request(Fixture::named("mariadb")).await;

    change.says(MEMBER, "!testme backup").await;

    change.hears("**Passed").await;
    let page = house.page("/runs/1").await;
    page.contains("backup.sql.gz of volume db holds the row in MariaDB of db");
    page.contains("row in MariaDB of db after the restore into a fresh app");
    house.is_empty().await;
}

#[tokio::test]
async fn a_backup_that_goes_well_and_is_empty_is_red() {
    let Some(house) = House::open("backup-empty").await else { return };
    let recipe = Fixture::named("postgres").replace(
        "pg_backup.sh",
        "pg_dump --clean --if-exists -U \"$POSTGRES_USER\" -d \"$POSTGRES_DB\" >\"$file\"",
        ": >\"$file\"",
    );
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme backup").await;

    let verdict = change.hears("**Failed").await;
    verdict.contains("the backup says that it went well, but backup.sql of volume db is empty in the snapshot");
    change.status_is("failure").await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_dump_without_what_was_written_before_it_is_red() {
    let Some(house) = House::open("backup-other").await else { return };
    let recipe = Fixture::named("postgres").replace("pg_backup.sh", "pg_dump --clean", "pg_dump --schema-only --clean");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme backup").await;

    change.hears("**Failed").await.contains("backup.sql of volume db does not hold what was written to db before");
    house.is_empty().await;
}

#[tokio::test]
async fn a_database_of_which_nothing_is_kept_is_red_though_the_backup_goes_well() {
    let Some(house) = House::open("backup-forgets").await else { return };
    let change = house.pull_request(Fixture::named("database-left-out")).await;

    change.says(MEMBER, "!testme backup").await;

    let verdict = change.hears("**Failed: backup.**").await;
    verdict.contains("the marker (row in PostgreSQL of db) was gone after the restore in place");
    let run = house.page("/runs/1").await;
    run.contains("the labels keep nothing of db (volume db), and no hook of it dumps it");
    run.contains("snapshot holds volume pages").contains("marker: row in PostgreSQL of db");
    house.is_empty().await;
}

#[tokio::test]
async fn a_restore_hook_that_does_nothing_is_red() {
    let Some(house) = House::open("restore-nothing").await else { return };
    let recipe = Fixture::named("postgres").replace("pg_backup.sh", "restore) psql -q", "restore) true");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme backup").await;

    let verdict = change.hears("**Failed").await;
    verdict.contains("the marker (row in PostgreSQL of db) was gone after the restore in place");
    house.is_empty().await;
}

#[tokio::test]
async fn an_object_over_http_and_a_named_file_survive_backup_and_upgrade_where_the_recipe_declares_them() {
    let Some(house) = House::open("declared-markers").await else { return };
    let declared =
        "markers:\n  - {put: /data/kept, body: 'it is {value}', contains: '{value}'}\n  - {file: data/own.txt}\n";
    let change = house.pull_request(Fixture::named("app").file(".cc-ci/recipe.yaml", declared)).await;

    change.says(MEMBER, "!testme").await;

    change.hears("**Passed").await;
    let page = house.page("/runs/1").await;
    page.contains("marker: object at /data/kept").contains("marker: file own.txt in volume data");
    for moment in ["after the restore in place", "after the restore into a fresh app", "after the upgrade"] {
        page.contains(&format!("object at /data/kept {moment}"));
        page.contains(&format!("file own.txt in volume data {moment}"));
    }

    let refused = Fixture::named("app").called("other").file(".cc-ci/recipe.yaml", "markers: [{put: /nothing}]\n");
    let change = house.pull_request(refused).await;
    change.says(MEMBER, "!testme backup").await;
    change
        .hears("**Failed: backup.**")
        .await
        .contains("declared and could not be written: object at /nothing: PUT /nothing");
    house.is_empty().await;
}
