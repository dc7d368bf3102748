//! A day in the life, in compressed time: some hundred requests over thirty recipes, with pushes, cancels, refusals, words that
//! mean nothing, a forge that goes away and processes that are killed. At its end every request was answered once, nothing is
//! left, and neither memory nor disk grew with the hours.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const RECIPES: usize = 30;

/// Requests that may wait or run before the next one is made: a queue, and not one that grows all day.
const CROWD: i64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Test,
    TestOfNews,
    Overtaken,
    Cancelled,
    Stranger,
    Nonsense,
    Help,
}

impl Wish {
    fn by(dice: &mut Dice) -> Wish {
        match dice.below(100) {
            0..=29 => Wish::Test,
            30..=69 => Wish::TestOfNews,
            70..=77 => Wish::Overtaken,
            78..=85 => Wish::Cancelled,
            86..=93 => Wish::Stranger,
            94..=97 => Wish::Nonsense,
            _ => Wish::Help,
        }
    }

    /// What becomes of the comment; of a test, where nobody pushed before it was looked at.
    fn decision(self) -> &'static str {
        match self {
            Wish::Test | Wish::TestOfNews | Wish::Cancelled | Wish::Overtaken => "accepted",
            Wish::Stranger => "refused",
            Wish::Nonsense | Wish::Help => "answered",
        }
    }
}

/// A comment with a wish, and how many heads its pull request had had by then.
struct Asked {
    wish: Wish,
    comment: i64,
    place: usize,
    heads: usize,
}

struct Day<'a> {
    house: &'a House,
    changes: Vec<PullRequest<'a>>,
    dice: Dice,
    asked: Vec<Asked>,
    heads: Vec<BTreeSet<String>>,
    samples: Vec<Sample>,
    faults: BTreeMap<&'static str, usize>,
}

/// Of both processes together, and of the state directory.
#[derive(Clone, Copy)]
struct Sample {
    memory: u64,
    state_bytes: u64,
    runs: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of scripts/soak"]
async fn a_day() {
    let Some(house) = House::open_with("day", Setup::Day).await else { return };
    let witnesses = Witnesses::stand(&house);
    let began = Instant::now();
    let requests = number_of("CC_CI_SOAK_REQUESTS", 300);
    let mut day = Day::begins(&house).await;
    for turn in 0..requests {
        day.something_breaks(turn).await;
        day.somebody_asks().await;
        if turn % 10 == 9 {
            day.looks_at_the_clock(turn + 1, began);
        }
    }
    house.is_consistent().await;
    day.every_request_was_answered_once().await;
    witnesses.still_stand();
    drop(witnesses);
    day.report(began);
    house.is_empty().await;
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

impl<'a> Day<'a> {
    async fn begins(house: &'a House) -> Day<'a> {
        let mut changes = Vec::new();
        for number in 0..RECIPES {
            let recipe = Fixture::named("app").in_repository(&format!("app-{number:02}"));
            changes.push(
                house
                    .pull_request(match number {
                        7 => recipe.env("MODE", "crash"),
                        11 => recipe.without(".env.sample"),
                        13 => recipe.slow(5),
                        _ => recipe,
                    })
                    .await,
            );
        }
        house.has_looked().await;
        let dice = Dice::of_the_environment();
        let heads = vec![BTreeSet::new(); RECIPES];
        Day { house, changes, dice, asked: Vec::new(), heads, samples: Vec::new(), faults: BTreeMap::new() }
    }

    async fn somebody_asks(&mut self) {
        self.queue_is_short().await;
        let place = usize::try_from(self.dice.below(RECIPES as u64)).unwrap();
        let wish = Wish::by(&mut self.dice);
        let change = &self.changes[place];
        if matches!(wish, Wish::TestOfNews | Wish::Cancelled) {
            change.pushes_again().await;
        }
        let (who, words) = match wish {
            Wish::Stranger => (STRANGER, "!testme"),
            Wish::Nonsense => (MEMBER, "!testme evrything"),
            Wish::Help => (MEMBER, "!testme help"),
            _ => (MEMBER, "!testme install"),
        };
        self.heads[place].insert(change.head());
        let comment = change.says(who, words).await;
        self.asked.push(Asked { wish, comment, place, heads: self.heads[place].len() });
        match wish {
            Wish::Overtaken => {
                let head = change.pushes_again().await;
                self.heads[place].insert(head);
            }
            Wish::Cancelled => drop(change.says(MEMBER, "!testme cancel").await),
            _ => {}
        }
    }

    async fn queue_is_short(&self) {
        eventually("the queue to be short", || async {
            let open = self.house.asks_the_database("select count(*) from runs where finished_at is null")
                + self.house.asks_the_database("select count(*) from comments where decision is null");
            if open < CROWD { Ok(()) } else { Err(format!("{open} open")) }
        })
        .await;
    }

    /// No event to wait for in here: the moment is what is tried.
    async fn something_breaks(&mut self, turn: u64) {
        let what = match turn % 50 {
            12 => "the server was killed",
            25 => "the forge was away",
            37 => "the runner was killed",
            _ => return,
        };
        *self.faults.entry(what).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(self.dice.below(3000))).await;
        match turn % 50 {
            12 => self.house.dies_and_starts("serve"),
            37 => self.house.dies_and_starts("runner"),
            _ => {
                self.house.forge_goes_down().await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                self.house.forge_is_back().await;
            }
        }
    }

    fn looks_at_the_clock(&mut self, turn: u64, began: Instant) {
        let sample = Sample {
            memory: self.house.memory_of("serve") + self.house.memory_of("runner"),
            state_bytes: self.house.size_of_its_state(),
            runs: self.house.asks_the_database("select count(*) from runs where finished_at is not null"),
        };
        let passed = began.elapsed().as_secs();
        println!(
            "{passed:5} s  {turn} requests, {} runs, {} kB in memory, {} kB on disk",
            sample.runs,
            sample.memory / 1000,
            sample.state_bytes / 1000
        );
        self.samples.push(sample);
    }

    async fn every_request_was_answered_once(&self) {
        for Asked { wish, comment, place, heads } in &self.asked {
            let of_it = |what: &str| {
                self.house.reads_the_database(&format!("select {what} from comments where id = {comment}"))
            };
            let (decision, reason) = (of_it("decision"), of_it("reason"));
            let overtaken = self.heads[*place].len() > *heads && decision == "refused" && reason.contains("pushed");
            // Two members who ask for the same get one run; the second hears which.
            let is_under_way = decision == "answered" && reason.contains("this head");
            assert!(
                decision == wish.decision() || overtaken || is_under_way,
                "comment {comment}, {wish:?}, was {decision}: {reason}"
            );
            if decision == "accepted" {
                let runs = format!(
                    "select count(*) from comments join runs on runs.id = comments.run
                     where comments.id = {comment} and runs.outcome is not null"
                );
                assert_eq!(self.house.asks_the_database(&runs), 1, "a verdict for comment {comment}, {wish:?}");
            }
        }
        for (change, heads) in self.changes.iter().zip(&self.heads) {
            let comments = change.comments_of_the_bot().await;
            for head in heads {
                // Recipes that are alike have the same commits.
                let runs = format!("runs where head = '{head}' and repo_name = '{}'", change.at());
                let tested =
                    self.house.asks_the_database(&format!("select count(*) from {runs} and outcome <> 'superseded'"))
                        > 0;
                let mark = format!("<!-- cc-ci head={head} ");
                let said = comments.iter().filter(|comment| comment.contains(&mark)).count();
                let all = format!(
                    "select coalesce(group_concat(id || ' ' || outcome || ': ' || reason, '; '), 'none') from {runs}"
                );
                let all = self.house.reads_the_database(&all);
                assert!(said == 1 || !tested && said <= 1, "{said} comments for {head}: {comments:#?}\nruns: {all}");
                if tested {
                    change.is_not_pending(head).await;
                }
            }
        }
    }

    fn report(&self, began: Instant) {
        let mut wishes = BTreeMap::new();
        for asked in &self.asked {
            *wishes.entry(asked.wish).or_insert(0) += 1;
        }
        println!("\n{} requests in {:.0} s: {wishes:?}", self.asked.len(), began.elapsed().as_secs_f64());
        println!("faults: {:?}", self.faults);
        for outcome in ["passed", "failed", "infra", "timed-out", "cancelled", "superseded", "interrupted"] {
            let runs = format!("select count(*) from runs where outcome = '{outcome}'");
            println!("  {outcome}: {}", self.house.asks_the_database(&runs));
        }
        self.percentiles("from seen to decided", "decided_at - seen_at", "comments where command is not null");
        self.percentiles("from queued to started", "started_at - queued_at", "runs where started_at is not null");
        self.percentiles("from started to the verdict", "finished_at - started_at", "runs where outcome = 'passed'");
        let quarter = self.samples.len().div_ceil(4);
        let most = |samples: &[Sample]| samples.iter().map(|sample| sample.memory).max().unwrap_or(0) / 1000;
        let (first, last) = (most(&self.samples[..quarter]), most(&self.samples[self.samples.len() - quarter..]));
        println!("memory of both processes: {first} kB at most in the first quarter, {last} kB in the last");
        // The first part is the database itself.
        if let (Some(early), Some(late)) = (self.samples.get(quarter), self.samples.last()) {
            let (bytes, runs) = (late.state_bytes.saturating_sub(early.state_bytes), (late.runs - early.runs).max(1));
            println!("the state directory grew by {} kB a run", bytes / 1000 / runs.unsigned_abs());
        }
    }

    fn percentiles(&self, what: &str, span: &str, rows: &str) {
        let count = self.house.asks_the_database(&format!("select count(*) from {rows}"));
        let at = |share: i64| {
            let rank = ((count - 1).max(0) * share + 50) / 100;
            self.house
                .asks_the_database(&format!("select {span} as span from {rows} order by span limit 1 offset {rank}"))
        };
        println!("{what}: median {} ms, 90 % {} ms, 99 % {} ms, longest {} ms", at(50), at(90), at(99), at(100));
    }
}
