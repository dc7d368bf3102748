//! Where the stories of intake and report are set: a forge, a database, a held clock, and somebody who plays the engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::poll::Poller;
use super::pretend::{Pretend, head, repo, rule};
use super::{Intake, Nudge};
use crate::alarms::{Alarm, Alarms};
use crate::bell::Bell;
use crate::clock::{Clock, Time};
use crate::config::{self, VerdictAs};
use crate::model::{CommentId, Outcome, Pr, RunId, StageName, StageState, Verdict};
use crate::report::outbox::Lanes;
use crate::report::{self, Report};
use crate::store::comments::{self, Decision};
use crate::store::outbox::{self, Report as Row};
use crate::store::runs::{self, Run};
use crate::store::{Store, Transaction, repositories, stages};

pub(crate) const ADDRESS: &str = "https://ci.example.org";

pub(crate) struct House {
    pub(crate) forge: Pretend,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) alarms: Alarms,
    pub(crate) nudge: Nudge,
    pub(crate) report: Report<Pretend>,
    rule: config::Forge,
    poller: Poller<Pretend>,
    lanes: Lanes,
    dir: TempDir,
}

impl House {
    pub(crate) fn new() -> House {
        let clock = Clock::held(Time(1_767_323_045_000));
        let forge = Pretend::new(&clock);
        let dir = tempfile::tempdir().unwrap();
        House::of(forge, clock, dir, rule())
    }

    /// A house that has looked around once, and whose clock has moved on since.
    pub(crate) async fn open(forge: impl FnOnce(&Pretend)) -> House {
        let mut house = House::new();
        forge(&house.forge);
        house.poll().await;
        house.pass_time(5);
        house
    }

    fn of(forge: Pretend, clock: Clock, dir: TempDir, rule: config::Forge) -> House {
        let store = Store::open(&dir.path().join("cc-ci.db")).unwrap();
        let (alarms, nudge) = (Alarms::default(), Nudge::default());
        let intake = Intake {
            forge: Arc::new(forge.clone()),
            store: store.clone(),
            clock: clock.clone(),
            alarms: alarms.clone(),
            rule: rule.clone(),
            address: ADDRESS.into(),
            nudge: nudge.clone(),
            runner: Bell::of(PathBuf::from("/nowhere")),
        };
        let report = Report {
            forge: Arc::new(forge.clone()),
            store: store.clone(),
            clock: clock.clone(),
            alarms: alarms.clone(),
            context: "cc-ci/test".into(),
            address: ADDRESS.into(),
            verdict: VerdictAs::Replace,
            mask: Arc::new(|text| text.replace("hunter2hunter2", "[secret token]")),
            tail: Arc::new(|run, stage, count| {
                let lines = ["``` hunter2hunter2", "</details>", "@somebody"];
                let first = format!("run {run} {stage}, {count} lines");
                std::iter::once(first).chain(lines.map(str::to_owned)).collect()
            }),
        };
        let poller = Poller::new(Arc::new(intake));
        House { forge, clock, store, alarms, nudge, report, rule, poller, lanes: Lanes::default(), dir }
    }

    /// The process dies and another begins on the same state.
    pub(crate) fn restart(self) -> House {
        let verdict = self.report.verdict;
        let House { forge, clock, dir, rule, .. } = self;
        let mut house = House::of(forge, clock, dir, rule);
        house.report.verdict = verdict;
        house
    }

    /// The same with another configuration.
    pub(crate) fn restart_with(mut self, change: impl FnOnce(&mut config::Forge)) -> House {
        change(&mut self.rule);
        self.restart()
    }

    pub(crate) fn pass_time(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Time passes until intake wants to look, and it looks.
    pub(crate) async fn poll(&mut self) -> Time {
        self.pass_time(34);
        self.poller.turn().await
    }

    /// One turn of intake now, due or not.
    pub(crate) async fn turn(&mut self) -> Time {
        self.poller.turn().await
    }

    /// One pass of the outbox.
    pub(crate) async fn send(&mut self) -> Option<Time> {
        self.report.pass(&mut self.lanes).await.unwrap()
    }

    /// Both, until nothing is left to do.
    pub(crate) async fn settle(&mut self) {
        self.poll().await;
        self.send().await;
    }

    pub(crate) async fn decision(&self, id: CommentId) -> Option<(Verdict, String)> {
        let all = self.decisions().await;
        all.into_iter().find(|one| one.comment == id).map(|one| (one.verdict, one.reason))
    }

    pub(crate) async fn verdict_on(&self, id: CommentId) -> Option<Verdict> {
        self.decision(id).await.map(|(verdict, _)| verdict)
    }

    pub(crate) async fn decisions(&self) -> Vec<Decision> {
        self.store.read(|db| comments::decisions(db, None, 100_000)).await.unwrap()
    }

    pub(crate) async fn open_runs(&self) -> Vec<Run> {
        self.store.read(runs::open).await.unwrap()
    }

    pub(crate) async fn run(&self, id: RunId) -> Run {
        self.store.read(move |db| runs::by_id(db, id)).await.unwrap().unwrap()
    }

    pub(crate) async fn run_of(&self, name: &str) -> Run {
        let name = repo(name);
        self.store
            .read(move |db| {
                let repository = repositories::by_name(db, &name)?.unwrap();
                Ok(runs::of_pr(db, repository.id, Pr(1), 1)?.remove(0))
            })
            .await
            .unwrap()
    }

    async fn as_engine(&self, work: impl FnOnce(&Transaction, Time) + Send + 'static) {
        let now = self.clock.now();
        self.store
            .write("is played with", move |tx| {
                work(tx, now);
                Ok(())
            })
            .await
            .unwrap();
    }

    /// The engine takes a run from the queue.
    pub(crate) async fn starts(&self, run: RunId) {
        self.as_engine(move |tx, now| {
            runs::start(tx, run, now).unwrap();
            let plan = [StageName::Install, StageName::Upgrade, StageName::Uninstall];
            stages::plan(tx, run, &plan.map(|name| (name, StageState::Waiting, None))).unwrap();
            stages::start(tx, run, StageName::Install, now).unwrap();
            tell(tx, run, now);
        })
        .await;
    }

    /// The engine is done with a run; what goes wrong goes wrong in `upgrade`.
    pub(crate) async fn ends(&self, run: RunId, outcome: Outcome, reason: &'static str) {
        self.as_engine(move |tx, now| {
            let state = match outcome {
                Outcome::Passed => StageState::Passed,
                Outcome::TimedOut => StageState::TimedOut,
                Outcome::Infra => StageState::Infra,
                _ => StageState::Failed,
            };
            let waited = Duration::ZERO;
            stages::finish(tx, run, StageName::Install, StageState::Passed, None, waited, now).unwrap();
            stages::start(tx, run, StageName::Upgrade, now).unwrap();
            stages::finish(tx, run, StageName::Upgrade, state, Some(reason), waited, now).unwrap();
            stages::finish(tx, run, StageName::Uninstall, StageState::Passed, None, waited, now).unwrap();
            runs::finish(tx, run, outcome, reason, now).unwrap();
            tell(tx, run, now);
        })
        .await;
    }

    /// The rows of the outbox that the forge does not have yet, and why.
    pub(crate) async fn unsent(&self) -> Vec<String> {
        self.store
            .read(|db| {
                let mut statement =
                    db.prepare("select kind from outbox where done_at is null and gave_up_at is null")?;
                let kinds = statement.query_map([], |row| row.get(0))?;
                Ok(kinds.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap()
    }

    pub(crate) async fn given_up(&self) -> Vec<(String, String)> {
        self.store
            .read(|db| {
                let mut statement = db.prepare("select kind, last_error from outbox where gave_up_at is not null")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap()
    }

    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        self.alarms.lasting().into_iter().map(|lasting| lasting.alarm).collect()
    }

    /// The one comment about a head; fails if there are more.
    pub(crate) fn comment_on(&self, name: &str, commit: char) -> Option<String> {
        let marker = report::comment::marker_of_head(&head(commit));
        let mut ours = self.forge.heard(name);
        ours.retain(|comment| comment.body.contains(&marker));
        assert!(ours.len() < 2, "{} comments about one head: {ours:#?}", ours.len());
        ours.pop().map(|comment| comment.body)
    }

    /// What was said in reply.
    pub(crate) fn replies(&self, name: &str) -> Vec<String> {
        let mut ours = self.forge.heard(name);
        ours.retain(|comment| comment.body.contains("<!-- cc-ci reply="));
        ours.into_iter().map(|comment| comment.body).collect()
    }
}

/// As every transition of the engine does.
fn tell(tx: &Transaction, id: RunId, now: Time) {
    let run = runs::by_id(tx, id).unwrap().unwrap();
    let (repository, pr) = (run.repository.unwrap(), run.pr.unwrap());
    outbox::push(tx, &Row::Status { run: id }, repository, pr, now).unwrap();
    outbox::push(tx, &Row::Comment { run: id }, repository, pr, now).unwrap();
    report::refresh_waiting(tx, now).unwrap();
}
