//! A believable history, the same each time, for looking at pages and for putting load on them. It goes through the store's
//! own functions, so it can hold nothing that the states forbid.

mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::words::{ABOUT, CHECKS, Fault, MEMBERS, Recipe, TITLES};
use crate::clock::{Clock, Time};
use crate::logs::{self, Log};
use crate::model::{
    Asked, CheckState, CommentId, Head, Origin, Outcome, Pr, Repo, RepoId, RunId, StageName, StageState, Verdict,
};
use crate::sandbox::Stream;
use crate::secrets::redact::Redactor;
use crate::store::comments::{self, Seen};
use crate::store::heartbeats::{self, Heartbeat};
use crate::store::repositories::Listed;
use crate::store::runs::{self, NewRun};
use crate::store::stages::{self, Check};
use crate::store::{Store, StoreError, Transaction, repositories};

/// Runs written in one transaction.
const AT_ONCE: usize = 250;

/// What to make.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Runs that are over.
    pub runs: usize,
    /// Checks of each run; `None`: as many as such a recipe would have.
    pub checks: Option<usize>,
    /// The history ends here.
    pub until: Time,
    /// One run that goes on and two that wait, and a runner that was just heard.
    pub open: bool,
    /// Where logs go, and of how many of the newest runs.
    pub logs: Option<(PathBuf, usize)>,
}

/// Why there is no history now.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("this database has runs already; seed an empty one")]
    NotEmpty,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("writing a log")]
    Log(#[from] std::io::Error),
}

/// Writes the history; gives the number of the newest run.
pub async fn seed(store: &Store, what: &Seed) -> Result<RunId, SeedError> {
    if store.read(crate::store::pages::newest).await? > 0 {
        return Err(SeedError::NotEmpty);
    }
    let mut so_far = Story::new(what);
    let at = so_far.at;
    store.write("took no repositories", move |tx| know_repositories(tx, at)).await?;
    let mut left = what.runs;
    while left > 0 {
        let count = left.min(AT_ONCE);
        left -= count;
        let with_logs = what.logs.as_ref().map_or(0, |(_, newest)| newest.saturating_sub(left).min(count));
        let (further, logs) = so_far.go_on(store, count, with_logs).await?;
        so_far = further;
        if let Some((dir, _)) = &what.logs {
            for told in logs {
                write_log(dir, told, true).await?;
            }
        }
    }
    if what.open {
        let until = what.until;
        let running = store.write("took no open runs", move |tx| so_far.leave_open(tx, until)).await?;
        if let Some((dir, _)) = &what.logs {
            write_log(dir, running, false).await?;
        }
    }
    Ok(RunId(store.read(crate::store::pages::newest).await?))
}

/// Runs that wait, of twenty recipes by turns.
pub async fn queue_more(store: &Store, count: usize, now: Time) -> Result<(), StoreError> {
    let numbers: Vec<i64> = (1..).take(count).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let numbers = numbers.to_vec();
        let queued = store.write("took no queue", move |tx| {
            numbers
                .iter()
                .try_for_each(|pr| runs::queue(tx, &plain_run(&format!("recipe-{}", pr % 20), *pr), now).map(drop))
        });
        queued.await?;
    }
    Ok(())
}

/// A run that somebody asked for in a comment, and nothing else about it.
pub fn plain_run(recipe: &str, pr: i64) -> NewRun {
    NewRun {
        origin: Origin::CommandLine,
        repository: None,
        repo_name: format!("recipes/{recipe}"),
        recipe: recipe.to_owned(),
        pr: Some(Pr(pr)),
        head: head(&mut Dice(pr.unsigned_abs())),
        base_branch: Some("main".to_owned()),
        title: String::new(),
        comment: None,
        asked_by: "member".to_owned(),
        asked: Asked::All,
        upgrade_from: None,
        attempt: 1,
        retry_of: None,
    }
}

/// splitmix64: small, and the same everywhere.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit.max(1) as u64).unwrap_or(0)
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// About so long: from three quarters to five quarters.
    fn about(&mut self, span: Duration) -> Duration {
        span * u32::try_from(750 + self.below(500)).unwrap_or(1000) / 1000
    }
}

fn head(dice: &mut Dice) -> Head {
    let digits = format!("{:016x}{:016x}{:08x}", dice.roll(), dice.roll(), dice.roll() >> 32);
    digits.parse().expect("forty hexadecimal digits are a commit")
}

type Said = (StageName, Stream, String, Duration);
/// A run, when it began, and what it said.
type Told = (RunId, Time, Vec<Said>);

/// Where the history has come to.
#[derive(Clone, Debug)]
struct Story {
    dice: Dice,
    at: Time,
    until: Time,
    /// Runs still to be told.
    left: u32,
    comment: i64,
    checks: Option<usize>,
    /// Of each recipe, the pull request that is worked on.
    prs: Vec<i64>,
    fault: Vec<bool>,
}

impl Story {
    fn new(what: &Seed) -> Story {
        let left = u32::try_from(what.runs).unwrap_or(u32::MAX);
        let span = Duration::from_secs(3000) * left;
        Story {
            dice: Dice(7),
            at: what.until.minus(span),
            until: what.until.minus(Duration::from_secs(1200)),
            left,
            comment: 1000,
            checks: what.checks,
            prs: ABOUT.iter().map(|about| about.first_pr).collect(),
            fault: vec![false; ABOUT.len()],
        }
    }

    async fn go_on(mut self, store: &Store, count: usize, with_logs: usize) -> Result<(Story, Vec<Told>), StoreError> {
        store
            .write("took no history", move |tx| {
                let mut logs = Vec::new();
                for number in 0..count {
                    let run = self.one_run(tx)?;
                    if number + with_logs >= count {
                        logs.push(run);
                    }
                    if self.dice.below(12) == 0 {
                        self.one_refusal(tx)?;
                    }
                }
                Ok((self, logs))
            })
            .await
    }

    /// Somebody asks on a pull request; what is asked is stored as intake would.
    fn ask(&mut self, tx: &Transaction, recipe: usize, author: &str, words: &str) -> Result<Seen, StoreError> {
        self.comment += 1 + i64::try_from(self.dice.below(9)).unwrap_or(0);
        let seen = Seen {
            id: CommentId(self.comment),
            repository: repo_id(recipe),
            pr: Some(Pr(self.prs[recipe])),
            author: author.to_owned(),
            excerpt: words.to_owned(),
            command: Some(words.to_owned()),
            created_at: self.at.minus(Duration::from_secs(9)),
            updated_at: self.at.minus(Duration::from_secs(9)),
            looks: 0,
        };
        comments::insert(tx, &seen, self.at)?;
        Ok(seen)
    }

    fn queue(&mut self, tx: &Transaction, recipe: usize) -> Result<RunId, StoreError> {
        let about = &ABOUT[recipe];
        let author = *self.dice.one(&MEMBERS);
        let asked = if self.dice.below(9) == 0 { Asked::Upgrade } else { Asked::All };
        let words = if asked == Asked::All { "!testme".to_owned() } else { format!("!testme {asked}") };
        let seen = self.ask(tx, recipe, author, &words)?;
        let new = NewRun {
            origin: Origin::Comment,
            repository: Some(seen.repository),
            repo_name: format!("recipes/{}", about.name),
            recipe: about.name.to_owned(),
            pr: seen.pr,
            head: head(&mut self.dice),
            base_branch: Some("main".to_owned()),
            title: TITLES[usize::try_from(seen.pr.map_or(0, |pr| pr.0)).unwrap_or(0) % TITLES.len()]
                .replace("{version}", about.version),
            comment: Some(seen.id),
            asked_by: author.to_owned(),
            asked,
            upgrade_from: None,
            attempt: 1,
            retry_of: None,
        };
        let run = runs::queue(tx, &new, self.at)?;
        comments::decide(tx, seen.id, Verdict::Accepted, &format!("queued as run {run}"), Some(run), self.at)?;
        Ok(run)
    }

    fn one_run(&mut self, tx: &Transaction) -> Result<Told, StoreError> {
        let recipe = self.pick_recipe();
        let about = &ABOUT[recipe];
        // So that the last one ends shortly before now.
        let share = self.until.since(self.at) / (self.left + 1);
        self.left = self.left.saturating_sub(1);
        let pause = self.dice.about(share).saturating_sub(about.takes(StageName::Backup) * 3);
        self.at = self.at.plus(pause.max(Duration::from_secs(30)));
        let run = self.queue(tx, recipe)?;
        // A recipe that is broken stays so for a while.
        let broken = if self.fault[recipe] { self.dice.below(10) > 2 } else { self.dice.below(100) < about.trouble };
        self.fault[recipe] = broken;
        let fault = if broken {
            Some(*self.dice.one(words::FAULTS))
        } else if self.dice.below(100) < 6 {
            Some(*self.dice.one(words::TROUBLES))
        } else {
            None
        };
        if self.dice.below(60) == 0 {
            let end = self.at.plus(Duration::from_secs(20));
            runs::finish(tx, run, Outcome::Cancelled, "the pull request was closed before its turn", end)?;
            return Ok((run, self.at, Vec::new()));
        }
        let started = self.at.plus(self.dice.about(Duration::from_secs(2)));
        let mut at = started;
        runs::start(tx, run, at)?;
        stages::plan(tx, run, &plan(about))?;
        let mut said = Vec::new();
        let mut verdict = None;
        for (name, state, _) in plan(about) {
            if state != StageState::Waiting {
                continue;
            }
            if let Some((_, Fault { stage, .. })) = &verdict
                && name != StageName::Uninstall
            {
                let reason = format!("{stage} failed");
                stages::finish(tx, run, name, StageState::Skipped, Some(&reason), Duration::ZERO, at)?;
                continue;
            }
            stages::start(tx, run, name, at)?;
            let took = self.dice.about(about.takes(name));
            let broke = fault.filter(|fault| fault.stage == name);
            said.extend(words::said(about, name, broke.as_ref(), took));
            self.add_checks(tx, run, name, broke.as_ref(), at)?;
            at = at.plus(took);
            if name == StageName::Fetch {
                let domain =
                    format!("{}-{:06x}.ci.example.org", &about.name[..about.name.len().min(4)], run.0 & 0xff_ffff);
                runs::set_recipe(tx, run, about.name, Some(about.version), &domain)?;
                runs::set_base(tx, run, about.base)?;
            }
            let waited = if name == StageName::Upgrade { Duration::from_secs(5) } else { Duration::ZERO };
            if let Some(fault) = broke {
                stages::finish(tx, run, name, fault.state, Some(fault.reason), waited, at)?;
                verdict = Some((fault.outcome, fault));
            } else {
                stages::finish(tx, run, name, StageState::Passed, None, waited, at)?;
            }
        }
        if let Some((outcome, fault)) = verdict {
            if outcome == Outcome::Failed {
                let level = i64::from(fault.stage > StageName::Install);
                runs::set_level(tx, run, level, &format!("{} failed", fault.stage))?;
            }
            runs::finish(tx, run, outcome, fault.verdict, at)?;
        } else {
            runs::set_level(tx, run, about.level, about.level_reason)?;
            runs::finish(tx, run, Outcome::Passed, "", at)?;
            if self.dice.below(3) == 0 {
                self.prs[recipe] += 1 + i64::try_from(self.dice.below(3)).unwrap_or(0);
            }
        }
        self.at = at;
        Ok((run, started, said))
    }

    fn add_checks(
        &mut self,
        tx: &Transaction,
        run: RunId,
        stage: StageName,
        broke: Option<&Fault>,
        at: Time,
    ) -> Result<(), StoreError> {
        let of_stage: Vec<&(StageName, &str)> = CHECKS.iter().filter(|(of, _)| *of == stage).collect();
        let count = match (self.checks, stage) {
            (Some(count), StageName::Checks) => count,
            _ => of_stage.len(),
        };
        for number in 0..count {
            let Some((_, name)) = of_stage.get(number % of_stage.len().max(1)) else { break };
            let name = if number < of_stage.len() { (*name).to_owned() } else { format!("{name}, {number}") };
            let took = Some(self.dice.about(Duration::from_millis(140)));
            let fails = broke.is_some_and(|fault| fault.expected.is_some()) && number + 1 == count;
            let check = match broke.filter(|_| fails) {
                Some(fault) => Check {
                    stage,
                    name,
                    state: CheckState::Failed,
                    expected: fault.expected.map(str::to_owned),
                    got: fault.got.map(str::to_owned),
                    took,
                },
                None => Check { stage, name, state: CheckState::Passed, expected: None, got: None, took },
            };
            stages::add_check(tx, run, &check, at)?;
        }
        Ok(())
    }

    fn one_refusal(&mut self, tx: &Transaction) -> Result<(), StoreError> {
        let recipe = self.pick_recipe();
        let (author, words, verdict, reason) = *self.dice.one(words::REFUSALS);
        let seen = self.ask(tx, recipe, author, words)?;
        comments::decide(tx, seen.id, verdict, reason, None, self.at)?;
        Ok(())
    }

    /// Some recipes are worked on more than others.
    fn pick_recipe(&mut self) -> usize {
        let (one, other) = (self.dice.below(ABOUT.len()), self.dice.below(ABOUT.len()));
        one.min(other)
    }

    /// One run goes on, two wait.
    fn leave_open(mut self, tx: &Transaction, now: Time) -> Result<Told, StoreError> {
        let about = &ABOUT[0];
        let started = now.minus(Duration::from_secs(185));
        self.at = started.minus(Duration::from_secs(3));
        let running = self.queue(tx, 0)?;
        runs::start(tx, running, started)?;
        stages::plan(tx, running, &plan(about))?;
        runs::set_recipe(tx, running, about.name, Some(about.version), "keyc-3fa92c.ci.example.org")?;
        runs::set_base(tx, running, about.base)?;
        let mut said = Vec::new();
        let mut at = started;
        for (name, took) in
            [(StageName::Fetch, 2), (StageName::Lint, 1), (StageName::Install, 72), (StageName::Checks, 9)]
        {
            let took = Duration::from_secs(took);
            stages::start(tx, running, name, at)?;
            self.add_checks(tx, running, name, None, at)?;
            at = at.plus(took);
            stages::finish(tx, running, name, StageState::Passed, None, Duration::ZERO, at)?;
            said.extend(words::said(about, name, None, took));
        }
        stages::start(tx, running, StageName::Backup, at)?;
        said.extend(words::said(about, StageName::Backup, None, Duration::from_secs(60)));
        self.at = now.minus(Duration::from_secs(120));
        let name = format!("keycloak #{}", self.prs[0]);
        let second = self.queue(tx, 3)?;
        runs::set_waits_for(tx, second, &format!("Waiting for {name} to finish"))?;
        self.at = now.minus(Duration::from_secs(31));
        let third = self.queue(tx, 7)?;
        let words = format!("Second in the queue, behind {} #{}", ABOUT[3].name, self.prs[3]);
        runs::set_waits_for(tx, third, &words)?;
        let beat = Heartbeat {
            pid: 4711,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: started,
            at: now,
            facts: "{}".into(),
        };
        heartbeats::beat(tx, "runner", &beat)?;
        Ok((running, started, said))
    }
}

fn repo_id(recipe: usize) -> RepoId {
    RepoId(100 + i64::try_from(recipe).unwrap_or(0))
}

fn know_repositories(tx: &Transaction, at: Time) -> Result<(), StoreError> {
    let repo = |name: &str| Ok::<Repo, StoreError>(Repo { owner: word("recipes")?, name: word(name)? });
    for (number, about) in ABOUT.iter().enumerate() {
        let why = "every repository of recipes";
        repositories::see(
            tx,
            &Listed { id: repo_id(number), repo: &repo(about.name)?, enrolled: true, why },
            at,
            at,
            at,
        )?;
        repositories::looked(tx, repo_id(number), at, at)?;
        repositories::set_recipe(tx, repo_id(number), about.name)?;
    }
    for (number, (name, why)) in (900..).zip(words::NOT_ENROLLED) {
        repositories::see(tx, &Listed { id: RepoId(number), repo: &repo(name)?, enrolled: false, why }, at, at, at)?;
    }
    Ok(())
}

fn word<T: std::str::FromStr<Err = crate::model::NotA>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: crate::model::NotA| StoreError::Refused(error.to_string()))
}

fn plan(about: &Recipe) -> Vec<(StageName, StageState, Option<String>)> {
    StageName::ALL
        .iter()
        .map(|&name| match about.not_applicable {
            Some((stage, reason)) if stage == name => (name, StageState::NotApplicable, Some(reason.to_owned())),
            _ => (name, StageState::Waiting, None),
        })
        .collect()
}

/// Writes the lines with a clock that goes as they did.
async fn write_log(dir: &Path, (run, started, lines): Told, close: bool) -> Result<(), SeedError> {
    if lines.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    let clock = Clock::held(started);
    let log = Log::create(&logs::path(dir, run), Redactor::new(), clock.clone(), logs::USUAL_CAP)?;
    let mut stage = None;
    for (name, stream, text, took) in &lines {
        if stage != Some(*name) {
            stage = Some(*name);
            log.stage(*name, "running");
        }
        log.chunk(*name, *stream, text.as_bytes());
        log.chunk(*name, *stream, b"\n");
        clock.advance(*took);
    }
    if close {
        log.close().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{pages, tests};

    #[tokio::test]
    async fn two_histories_are_the_same() {
        let until = Time(1_767_323_045_000);
        let mut told = Vec::new();
        for _ in 0..2 {
            let (dir, store) = tests::empty();
            let logs = dir.path().join("logs");
            let what = Seed { runs: 60, checks: None, until, open: true, logs: Some((logs.clone(), 5)) };
            let newest = seed(&store, &what).await.unwrap();
            let list = store.read(|db| pages::list(db, &runs::Filter::default(), None, 100)).await.unwrap();
            assert_eq!(list.len(), 63);
            let log = logs::open(&logs, RunId(newest.0 - 2)).unwrap().tail(3).unwrap();
            told.push((format!("{list:?}"), log));
            assert!(matches!(seed(&store, &what).await, Err(SeedError::NotEmpty)));
        }
        assert_eq!(told[0], told[1]);
    }
}
