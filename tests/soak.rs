//! Kill tests, on the real Swarm. The process is killed with 9 exactly behind a step that it has written down or done outside,
//! is started again, and has to bring what was asked for to one verdict: one comment for the head, a status that is not pending,
//! nothing left on the Swarm or on the disk, what is others' untouched, and a database without an open row.
//!
//! `tests/soak/points.txt` lists the steps; `src/crash.rs` says what they are. A few of them are tried each time, all by
//! `scripts/soak`, which also kills at random and many times in a row.

#[path = "soak/day.rs"]
mod day;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use support::*;

const POINTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soak/points.txt");

/// When a point is passed: in the first life, or in the one that finds what a killed one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    First,
    Second,
}

/// `first: db: begin a stage (2)`.
fn points() -> Vec<(Life, String)> {
    let text = std::fs::read_to_string(POINTS).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let read = |line: &str| match line.split_once(": ") {
        Some(("first", point)) => (Life::First, point.to_owned()),
        Some(("second", point)) => (Life::Second, point.to_owned()),
        _ => panic!("`{line}` is no point"),
    };
    lines.map(read).collect()
}

fn recipe() -> Fixture {
    Fixture::named("app")
}

/// Says how long it took from the death to the verdict; `None` when the point was not passed.
async fn dies_and_nothing_is_lost(life: Life, point: &str, request: &str) -> Option<Duration> {
    let house = House::build("soak", Setup::default()).await?;
    let change = house.pull_request(recipe()).await;
    let witnesses = Witnesses::stand(&house);
    let mut asked = false;
    if life == Life::Second {
        house.wake().await;
        house.has_looked().await;
        change.says(MEMBER, request).await;
        asked = true;
        house.has_a_stack().await;
        house.dies().await;
    }
    house.starts_to_die_at(point);
    let died = {
        let dies = house.has_died_at(point);
        tokio::pin!(dies);
        let lives = async {
            if !asked {
                house.has_looked().await;
                change.says(MEMBER, request).await;
                asked = true;
            }
            change.hears("**Passed").await;
            // The last steps come behind the verdict.
            house.is_consistent().await;
            house.has_looked().await;
        };
        tokio::select! {
            () = &mut dies => true,
            () = lives => false,
        }
    };
    let began = Instant::now();
    if died {
        house.starts().await;
    }
    if !asked {
        house.has_looked().await;
        change.says(MEMBER, request).await;
    }
    change.hears("**Passed").await;
    let took = began.elapsed();

    change.status_is("success").await;
    change.has_one_comment_of_the_bot().await;
    house.is_consistent().await;
    let outcomes: Vec<String> =
        house.runs().await.iter().map(|run| run["state"].as_str().unwrap_or_default().to_owned()).collect();
    let (last, before) = outcomes.split_first().unwrap();
    assert!(last == "passed" && before.iter().all(|outcome| outcome == "interrupted"), "{outcomes:?}");
    witnesses.still_stand();
    drop(witnesses);
    house.is_empty().await;
    died.then_some(took)
}

macro_rules! quick {
    ($($name:ident: $life:ident $point:literal,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if cc_ci_is_missing(stringify!($name)) {
                    return;
                }
                assert!(points().contains(&(Life::$life, $point.to_owned())), "not in tests/soak/points.txt");
                let took = dies_and_nothing_is_lost(Life::$life, $point, "!testme install").await;
                assert!(took.is_some(), "`{}` was never passed", $point);
            }
        )+
    };
}

fn cc_ci_is_missing(test: &str) -> bool {
    docker::missing().is_some_and(|reason| {
        println!("SKIPPED {test}: {reason}");
        true
    })
}

quick! {
    killed_behind_the_decision: First "db: queues a run",
    killed_behind_the_row_of_the_app: First "db: note an app",
    killed_behind_the_first_secret: First "abra: app secret generate",
    killed_behind_the_deploy: First "abra: app deploy",
    killed_behind_a_comment_that_was_posted: First "forge: comment posted",
    killed_while_it_mends: Second "db: note a teardown",
}

fn names(trace: &[String]) -> BTreeSet<&str> {
    trace.iter().map(|line| line.split_once(" (").map_or(line.as_str(), |(name, _)| name)).collect()
}

/// Prints what is passed, in both lives; every name has to be in the list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of scripts/soak"]
async fn trace() {
    let Some(house) = House::open("trace").await else { return };
    let change = house.pull_request(recipe()).await;
    house.has_looked().await;
    change.says(MEMBER, "!testme").await;
    change.hears("**Passed").await;
    house.is_consistent().await;
    let first = house.trace();
    change.pushes_again().await;
    change.says(MEMBER, "!testme").await;
    house.has_a_stack().await;
    house.dies().await;
    let dead = house.trace().len();
    house.starts().await;
    house.run_is(3, "passed").await;
    house.is_consistent().await;
    let second = house.trace().split_off(dead);
    let listed = points();
    for (life, name, trace) in [(Life::First, "first", &first), (Life::Second, "second", &second)] {
        for line in trace {
            println!("{name}: {line}");
        }
        let known: Vec<String> = listed.iter().map(|(_, point)| point.clone()).collect();
        let unknown: Vec<&str> = names(trace).difference(&names(&known)).copied().collect();
        assert!(unknown.is_empty(), "not in tests/soak/points.txt ({life:?}): {unknown:?}");
    }
    assert!(first.len() >= 60, "{} points in a full run", first.len());
    house.is_empty().await;
}

/// Every point. `CC_CI_SOAK_HOUSES` at a time (3); those with `CC_CI_SOAK_ONLY` in their line.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "part of scripts/soak"]
async fn every_point() {
    let only = std::env::var("CC_CI_SOAK_ONLY").unwrap_or_default();
    let houses = std::env::var("CC_CI_SOAK_HOUSES").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let began = Instant::now();
    let chosen =
        points().into_iter().filter(|(life, point)| format!("{life:?}: {point}").to_lowercase().contains(&only));
    let mut tried = stream::iter(chosen)
        .map(|(life, point)| async move {
            let at = point.clone();
            let done = tokio::spawn(async move { dies_and_nothing_is_lost(life, &at, "!testme").await }).await;
            (life, point, done)
        })
        .buffer_unordered(houses);
    let (mut well, mut missed, mut wrong) = (0, Vec::new(), Vec::new());
    while let Some((life, point, done)) = tried.next().await {
        let line = format!("{life:?}: {point}").to_lowercase();
        match done {
            Ok(Some(took)) => {
                well += 1;
                println!("ok      {:5.1} s  {line}", took.as_secs_f64());
            }
            Ok(None) => {
                println!("missed           {line}");
                missed.push(line);
            }
            Err(error) => {
                println!("WRONG            {line}: {error}");
                wrong.push(line);
            }
        }
    }
    println!(
        "{well} points died at and mended, {} missed, {} wrong, in {:.0} s",
        missed.len(),
        wrong.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    // How often a comment is edited in a run is a matter of the moment.
    let surely: Vec<&String> = missed.iter().filter(|line| !line.ends_with(')')).collect();
    assert!(surely.is_empty(), "never passed: {surely:#?}");
}

/// The same throws again for the same `CC_CI_SOAK_SEED`, which it prints.
struct Dice(u64);

impl Dice {
    fn of_the_environment() -> Dice {
        let seed = std::env::var("CC_CI_SOAK_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x9ad3_1f01);
        println!("CC_CI_SOAK_SEED={seed}");
        Dice(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Both processes are killed at moments that nobody chose, fifty times, while requests come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of scripts/soak"]
async fn fifty_random_kills() {
    let Some(house) = House::open_with("random", Setup::apart()).await else { return };
    let change = house.pull_request(recipe()).await;
    let witnesses = Witnesses::stand(&house);
    house.has_looked().await;
    let mut dice = Dice::of_the_environment();
    let mut heads = Vec::new();
    for _ in 0..50 {
        if house.asks_the_database("select count(*) from runs where finished_at is null") == 0 {
            heads.push(change.pushes_again().await);
            change.says(MEMBER, "!testme install").await;
        }
        // No event to wait for: the moment is what is tried.
        tokio::time::sleep(Duration::from_millis(dice.below(5000))).await;
        house.dies_and_starts(if dice.below(2) == 0 { "serve" } else { "runner" });
    }
    house.is_consistent().await;
    for head in &heads {
        let passed = format!("select count(*) from runs where head = '{head}' and outcome = 'passed'");
        let verdicts = format!("select count(*) from runs where head = '{head}' and outcome in ('passed', 'infra')");
        assert_eq!(house.asks_the_database(&verdicts), 1, "one verdict for {head}");
        let state = if house.asks_the_database(&passed) == 1 { "success" } else { "error" };
        change.status_of(head, state).await;
    }
    let comments = change.comments_of_the_bot().await;
    assert_eq!(comments.len(), heads.len(), "{comments:#?}");
    println!("50 kills, {} heads, {} runs", heads.len(), house.runs().await.len());
    witnesses.still_stand();
    drop(witnesses);
    house.is_empty().await;
}

/// Thirty runs in a row are killed while their app runs. Timed: from the start behind the kill to nothing left of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of scripts/soak"]
async fn thirty_killed_runs_leave_nothing() {
    let Some(house) = House::open_with("thirty", Setup::default()).await else { return };
    let change = house.pull_request(recipe().slow(2)).await;
    house.has_looked().await;
    change.says(MEMBER, "!testme install").await;
    let mut spans = Vec::new();
    for run in 1..=30 {
        house.run_is(run, "running").await;
        house.has_a_stack().await;
        house.dies().await;
        let began = Instant::now();
        house.starts().await;
        let gone = format!("select count(*) from apps where run = {run} and gone_at is null");
        eventually("the run to be taken down", async || match house.asks_the_database(&gone) {
            0 => Ok(()),
            left => Err(format!("{left} apps")),
        })
        .await;
        spans.push(began.elapsed().as_secs_f64());
        house.run_is(run, if run % 3 == 0 { "infra" } else { "interrupted" }).await;
        if run % 3 == 0 {
            house.command(&["runs", "retry", &run.to_string()]).await;
        }
    }
    house.run_is(31, "passed").await;
    spans.sort_by(f64::total_cmp);
    println!("30 killed runs, 0 leftovers; from start to gone: median {:.1} s, longest {:.1} s", spans[15], spans[29]);
    house.is_consistent().await;
    house.is_empty().await;
}
