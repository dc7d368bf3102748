//! What belongs to no live run goes, and nothing else does.

use crate::support::*;

#[tokio::test]
async fn what_a_database_knows_nothing_of_goes_and_witnesses_stay() {
    let Some(house) = House::open_asleep("orphans").await else { return };
    let change = house.pull_request(Fixture::named("app").slow(3)).await;
    house.keeps_a_copy_of_its_database();
    house.starts().await;
    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    house.dies().await;
    house.gets_its_copy_back();
    // Half removed: a secret that abra made, and nothing beside it.
    docker::make("secret", &(house.stack("cust-cccccc") + "_pw_v1"), &[]);
    let witnesses = Witnesses::stand(&house);

    let before = house.on_the_swarm();
    let found = house.janitor(&["--dry-run"]).await;
    assert_eq!(found["orphans"].as_array().unwrap().len(), 2, "{found:#}");
    let after = house.on_the_swarm();
    assert!(
        before.iter().all(|object| after.contains(object)),
        "a dry run removes nothing: {before:?}, then {after:?}"
    );

    house.starts().await;
    // The comment is news to this database, so it is tested as if for the first time.
    change.hears("**Passed").await;
    change.has_one_comment_of_the_bot().await;
    // The run began after the janitor's round.
    assert_eq!(house.janitor(&["--dry-run"]).await["orphans"], serde_json::json!([]));
    witnesses.still_stand();
    drop(witnesses);
    house.is_empty().await;
}

#[tokio::test]
async fn whoever_has_a_token_for_it_has_the_runner_go_round() {
    let Some(house) = House::open("asked-round").await else { return };
    // The round at the start is over.
    house.page_comes_to_say("/hosts", "ready").await;
    let orphan = house.stack("cust-dddddd") + "_pw_v1";
    docker::make("secret", &orphan, &[]);
    let witnesses = Witnesses::stand(&house);

    let (robot, tidy) = (house.new_token("robot", "run").await, house.new_token("tidy", "janitor").await);
    house.acts_by_token(&robot, "/api/v1/janitor", "").await.contains("no scope `janitor`");
    assert!(house.on_the_swarm().iter().any(|object| object.contains(&orphan)));
    house.acts_by_token(&tidy, "/api/v1/janitor", "").await.contains("asked the runner");

    eventually("the orphan to go", || async {
        let there = house.on_the_swarm();
        if there.iter().any(|object| object.contains(&orphan)) { Err(format!("{there:?}")) } else { Ok(()) }
    })
    .await;
    witnesses.still_stand();
    drop(witnesses);
    house.is_empty().await;
}

#[tokio::test]
async fn a_local_run_and_the_appliance_leave_each_other_alone() {
    let Some(house) = House::open("neighbours").await else { return };
    let change = house.pull_request(Fixture::named("custom-html")).await;

    let local = house.starts_locally(&Fixture::named("app").slow(6)).await;
    house.has_a_stack().await;
    // The janitor of the appliance goes its rounds: at its start, after a run, and by hand.
    house.dies().await;
    house.starts().await;
    change.says(MEMBER, "!testme install").await;
    change.hears("**Passed").await;
    let found = house.janitor(&[]).await;
    assert_eq!((&found["orphans"], &found["killed_local_runs"]), (&serde_json::json!([]), &serde_json::json!([])));

    let (code, said) = local.ends().await;
    assert_eq!(code, 0, "{said:?}");
    house.is_empty().await;
}

#[tokio::test]
async fn the_next_local_run_takes_down_what_a_killed_one_left() {
    let Some(house) = House::open("killed-local").await else { return };

    let local = house.starts_locally(&Fixture::named("app").slow(3)).await;
    house.has_a_stack().await;
    local.dies().await;
    assert!(!house.on_the_swarm().is_empty());

    let (code, said) = house.runs_locally(&Fixture::named("app").without("compose.yml")).await;
    said.contains("a run that was killed left");
    assert_eq!(code, 1, "{said:?}");
    house.is_empty().await;
}
