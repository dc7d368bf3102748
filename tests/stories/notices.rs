//! Nobody looks at the forge, or nobody asked: who is told elsewhere, and what the schedule does by itself.

use super::servers::Http;
use crate::support::*;

/// A house whose configuration goes on with this.
async fn furnished(name: &str, more: impl FnOnce(&House) -> String) -> Option<House> {
    let house = House::build(name, Setup::Usual).await?;
    let path = house.path("config.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config + &more(&house)).unwrap();
    house.wake().await;
    Some(house)
}

#[tokio::test]
async fn one_red_and_one_green_run_are_exactly_two_messages() {
    let board = Http::start().await;
    let url = board.url("/ci");
    let targets = |house: &House| {
        let secret = house.keeps("board-secret", "known to the board");
        format!("notify:\n- {{name: board, webhook: {{url: '{url}', secret_file: '{secret}'}}}}\n")
    };
    let Some(house) = furnished("notices", targets).await else { return };
    let change = house.pull_request(Fixture::named("custom-html")).await;

    change.pushes("compose.yml", "services:\n  app:\n   - image: [unclosed\n").await;
    change.says(MEMBER, "!testme").await;
    change.hears("**Failed").await;
    board.got(1).await;
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipes/custom-html/head/compose.yml");
    change.pushes("compose.yml", &std::fs::read_to_string(good).unwrap()).await;
    change.says(MEMBER, "!testme").await;
    change.hears("**Passed").await;
    board.got(2).await;
    house.dies().await;
    house.starts().await;
    house.is_empty().await;

    let posts = board.posts();
    let told: Vec<_> = posts.iter().map(|post| post.json()["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["red", "green"]);
    assert!(posts.iter().all(|post| post.is_signed_with("known to the board")));
    Text(posts[0].json()["text"].as_str().unwrap().into()).contains("custom-html #1 turned red: ");
    Text(posts[1].json()["url"].as_str().unwrap().into()).contains("/runs/2");
}

#[tokio::test]
async fn a_night_that_was_missed_is_one_run_of_the_base_branch_and_the_forge_hears_nothing() {
    let nightly = |_: &House| "schedule: {cron: '0 2 * * *', spread: 0s}\n".to_owned();
    let Some(house) = furnished("schedule", nightly).await else { return };
    let change = house.pull_request(Fixture::named("custom-html")).await;
    eventually("the repository to be known", || async {
        let known = house.asks_the_database("select count(*) from repositories where enrolled = 1");
        if known == 1 { Ok(()) } else { Err("it is not".into()) }
    })
    .await;
    house.dies().await;
    house.writes_to_the_database("update repositories set scheduled_for = 0");

    house.starts().await;

    house.run_is(1, "passed").await;
    house.page("/runs/1").await.contains("scheduled test of main").contains("by schedule").contains("nothing left");
    house.page("/runs").await.contains("scheduled test of main");
    house.is_empty().await;
    assert_eq!(house.asks_the_database("select count(*) from runs"), 1);
    assert_eq!(house.asks_the_database("select count(*) from outbox"), 0);
    assert!(change.comments_of_the_bot().await.is_empty());
}
