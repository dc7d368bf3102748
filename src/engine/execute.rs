//! One run from its start to its verdict: the stages in turn, then the teardown, then the outcome, in that order whatever
//! happens in between. A stage that fails ends the stages, never the teardown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::ledger::Ledger;
use super::run::{self, Planned, StageEnd, Verdict, checked};
use super::scheduler::{Stop, Why, Work};
use super::watchdog::{Broken, Watchdog};
use super::{OWN_PROGRAM, RunnerFault, causes, recover};
use crate::abra::driver::{Abra, Home, Listener};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::config::Config;
use crate::crash::crash_point;
use crate::evidence::Evidence;
use crate::logs::{self, Log};
use crate::model::{Asked, CheckState, Origin, Outcome, RunId, StageName, StageState};
use crate::plan::Plan;
use crate::secrets::redact::Redactor;
use crate::stages::gather;
use crate::stages::level::{self, Seen};
use crate::stages::needs::{self, Neighbours};
use crate::stages::secrets::Values;
use crate::stages::teardown::{End, Means, tear_down};
use crate::stages::{Done, Job, Learned, Source, Trouble, backup};
use crate::store::runs::Run;
use crate::store::{Store, StoreError, apps, deployments, runs, stages as stage_rows};
use crate::swarm::Swarm;

/// What runs are carried out with. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub clock: Clock,
    pub swarm: Swarm,
    pub abra: Arc<Abra>,
    pub redactor: Redactor,
    /// Tells this appliance's objects from another's on the same Swarm.
    pub instance: String,
    /// Wakes the janitor.
    pub run_ended: Arc<Notify>,
    /// Where a local run finds what its recipe needs.
    pub neighbours: Arc<Neighbours>,
}

/// Between two attempts at closing a run that the database does not let us close.
const CLOSED_AGAIN_AFTER: Duration = Duration::from_secs(3);

const STOPPED: &str = "the runner was stopped while it ran";

/// How the stages of a run came out.
enum Walked {
    /// All that were planned passed.
    Well,
    Badly(Verdict),
    /// The process has to stop; the run is tried again.
    Stopped,
}

impl Work for Engine {
    fn plan(&self, asked: Asked) -> Vec<Planned> {
        Plan::of(asked, None).stages()
    }

    async fn held_up(&self) -> Option<String> {
        Disk::of(&self.config).is_full().await
    }

    async fn carry_out(&self, run: Run, stop: Stop) {
        let id = run.id;
        if let Err(error) = self.try_carry_out(run, &stop).await {
            tracing::error!(run = %id, error = %causes(&error), "a run could not be written down to its end");
        }
        self.run_ended.notify_one();
    }

    async fn pick_up(&self, run: RunId) {
        let why = "cc-ci broke off in the middle by a fault of its own";
        if let Err(error) = recover::close(self, run, why).await {
            tracing::error!(run = %run, error = %causes(&error), "a run could not be closed; trying again");
            // A disk that is full stays so for a while.
            tokio::time::sleep(CLOSED_AGAIN_AFTER).await;
        }
    }
}

impl Engine {
    /// For a command, which is no runner: it holds no lock and beats no heart.
    pub async fn at_hand(config: Arc<Config>, store: Store) -> Result<Engine, RunnerFault> {
        let (never, runner) = (CancellationToken::new(), &config.runner);
        let abra = Abra::find(runner.abra.as_deref(), Path::new(OWN_PROGRAM), &runner.docker, &never).await?;
        let swarm = Swarm::connect(&runner.docker).await?;
        let ledger = Ledger::new(store, Bell::of(config.bell("serve")));
        let instance = super::instance(&ledger).await?;
        let (clock, redactor) = (Clock::system(), Redactor::new());
        let (run_ended, neighbours) = (Arc::default(), Arc::default());
        Ok(Engine { config, ledger, clock, swarm, abra: Arc::new(abra), redactor, instance, run_ended, neighbours })
    }

    /// Where a run keeps what it needs while it runs.
    pub fn run_dir(&self, run: RunId) -> PathBuf {
        self.config.work_dir().join(run.to_string())
    }

    pub fn means(&self) -> Means {
        Means { swarm: self.swarm.clone(), abra: Arc::clone(&self.abra), limits: self.config.runner.limits.clone() }
    }

    async fn try_carry_out(&self, run: Run, stop: &Stop) -> Result<(), StoreError> {
        let id = run.id;
        let job = match self.prepare(run, stop).await {
            Ok(job) => job,
            Err(reason) => {
                let verdict = Verdict { outcome: Outcome::Infra, reason };
                self.finish(id, verdict).await?;
                return Ok(());
            }
        };
        let mut learned = Learned::of(job.run.planned());
        let walked = self.walk(&job, stop, &mut learned).await?;
        if let Some(picture) = learned.picture.take() {
            picture.taken().await;
        }
        self.end_scripts(&job, &mut learned).await?;
        let unverified = self.uninstall(&job, &learned).await?;
        self.note_level(&job, &learned).await?;
        self.clear(id).await;
        let ended = match (walked, unverified) {
            (Walked::Stopped, _) => {
                let now = self.clock.now();
                let next = self
                    .ledger
                    .write("could not interrupt a run", move |tx| {
                        run::interrupt(tx, id, STOPPED, run::torn_down(tx, id)?, now)
                    })
                    .await?;
                tracing::info!(run = %id, next = next.map(|next| next.0), "run interrupted");
                STOPPED.to_owned()
            }
            (Walked::Well, Some(reason)) => self.finish(id, Verdict { outcome: Outcome::Infra, reason }).await?,
            (Walked::Well, None) => {
                let verdict = self.unbroken(id, &learned.plan).await?;
                self.finish(id, verdict).await?
            }
            (Walked::Badly(verdict), _) => self.finish(id, verdict).await?,
        };
        job.log.line(StageName::Uninstall, &ended);
        if let Some(fault) = job.log.fault() {
            tracing::error!(run = %id, fault, "something of the run's log is missing");
        }
        match job.log.close().await {
            Ok(()) => crash_point!("files: log packed"),
            Err(error) => tracing::warn!(run = %id, error = %error, "the run's log could not be packed"),
        }
        Ok(())
    }

    /// Says what it came to.
    async fn finish(&self, id: RunId, verdict: Verdict) -> Result<String, StoreError> {
        let (now, pause) = (self.clock.now(), self.config.runner.retry_after);
        let (verdict, next) = self
            .ledger
            .write("could not finish a run", move |tx| {
                run::finish_or_retry(tx, id, verdict, run::torn_down(tx, id)?, pause, now)
            })
            .await?;
        let next = next.map(|next| next.0);
        tracing::info!(run = %id, outcome = %verdict.outcome, reason = verdict.reason, next, "run finished");
        Ok(format!("{}: {}", verdict.outcome, verdict.reason))
    }

    /// Directory, log and limits. What goes wrong here is the machine's fault, in words.
    async fn prepare(&self, run: Run, stop: &Stop) -> Result<Job, String> {
        let dir = self.run_dir(run.id);
        let home = Home::of(&dir);
        let made = {
            let (dir, home) = (dir.clone(), home.clone());
            tokio::task::spawn_blocking(move || {
                // Numbers of runs are never used twice, so what is there is of a life before a restored backup.
                let _ = std::fs::remove_dir_all(&dir);
                home.make()
            })
            .await
        };
        let cannot = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}; is the disk full?");
        made.map_err(|error| cannot("a fault of cc-ci", &error))?
            .map_err(|error| cannot(&format!("{} cannot be made", dir.display()), &error))?;
        crash_point!("files: run directory made");
        let redactor = self.redactor.scope();
        let (logs, id) = (self.config.logs_dir(), run.id);
        let path = logs::path(&logs, id);
        // As above.
        let _ = tokio::task::spawn_blocking(move || logs::remove(&logs, id)).await;
        let log = Log::create(&path, redactor.clone(), self.clock.clone(), self.config.logs.run_bytes)
            .map_err(|error| cannot("the run's log cannot be written", &error))?;
        crash_point!("files: log made");
        let evidence = Evidence::new(
            &self.config.evidence_dir(),
            run.id,
            redactor.clone(),
            self.ledger.clone(),
            self.clock.clone(),
            log.clone(),
        );
        Ok(Job {
            config: Arc::clone(&self.config),
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            swarm: self.swarm.clone(),
            abra: Arc::clone(&self.abra),
            source: self.source(&run),
            run,
            log,
            evidence,
            redactor,
            watchdog: Watchdog::new(self.config.runner.limits.clone(), stop.clone()),
            dir,
            home,
            instance: self.instance.clone(),
            known: OnceLock::new(),
            values: Values::default(),
            beside: OnceLock::new(),
            called: None,
        })
    }

    fn source(&self, run: &Run) -> Source {
        if run.origin == Origin::Local {
            let neighbours = Arc::clone(&self.neighbours);
            return Source::Directory { snapshot: PathBuf::from(&run.repo_name), neighbours };
        }
        let forge = &self.config.forge;
        Source::Forge {
            url: format!("{}/{}.git", forge.url.trim_end_matches('/'), run.repo_name),
            token_file: self.config.runner.git_token_file.clone().unwrap_or_else(|| forge.token_file.clone()),
        }
    }

    /// The planned stages but the last, in their order. What has failed keeps others from being tried only where they need it.
    async fn walk(&self, job: &Job, stop: &Stop, learned: &mut Learned) -> Result<Walked, StoreError> {
        let id = job.run.id;
        let planned: Vec<StageName> = learned.plan.steps.iter().map(|step| step.stage).collect();
        let mut bad: Vec<(StageName, Verdict)> = Vec::new();
        for name in planned.into_iter().filter(|name| *name != StageName::Uninstall) {
            // Fetch may have left it out meanwhile.
            let rows = self.ledger.store.read(move |db| stage_rows::of_run(db, id)).await?;
            if !rows.iter().any(|row| row.name == name && row.state == StageState::Waiting) {
                continue;
            }
            if let Some((culprit, verdict)) = bad.iter().find(|(culprit, verdict)| ends_it(*culprit, verdict)) {
                let reason = format!("{culprit} {}", verdict.outcome);
                self.end_stage(job, name, StageState::Skipped, Some(reason), Duration::ZERO).await?;
                continue;
            }
            match self.one_stage(job, name, stop, learned).await? {
                Some(Ok(())) => {}
                Some(Err(verdict)) => bad.push((name, verdict)),
                None => return Ok(Walked::Stopped),
            }
        }
        Ok(bad.into_iter().next().map_or(Walked::Well, |(_, verdict)| Walked::Badly(verdict)))
    }

    /// `None`: the process has to stop.
    async fn one_stage(
        &self,
        job: &Job,
        name: StageName,
        stop: &Stop,
        learned: &mut Learned,
    ) -> Result<Option<Result<(), Verdict>>, StoreError> {
        if name != StageName::Checks
            && let Some(picture) = learned.picture.take()
        {
            picture.taken().await;
        }
        self.begin_stage(job, name).await?;
        let cancel = stop.token().child_token();
        let came = job.watchdog.guard(&cancel, Box::pin(job.stage(name, &cancel, learned))).await;
        let came = match came {
            Err(limit) => needs::ended_by(job, learned, name, limit).await,
            done => done,
        };
        let well = matches!(came, Ok(Ok(_)));
        if stop.why().is_none() {
            gather::after(job, name, learned, well).await;
        }
        let (state, outcome, words) = match came {
            Ok(Ok(Done { note, waited })) => {
                self.end_stage(job, name, StageState::Passed, note, waited).await?;
                return Ok(Some(Ok(())));
            }
            Ok(Err(Trouble::Recipe(words))) => (StageState::Failed, Outcome::Failed, words),
            Ok(Err(Trouble::Infra(words))) => (StageState::Infra, Outcome::Infra, words),
            Ok(Err(Trouble::NotTested(words))) => {
                let words = Some(job.redactor.mask(&words));
                self.end_stage(job, name, StageState::NotTested, words, Duration::ZERO).await?;
                return Ok(Some(Ok(())));
            }
            Ok(Err(Trouble::Limit(words))) => (StageState::TimedOut, Outcome::TimedOut, words),
            Err(limit @ (Broken::Stage(_) | Broken::Run(_) | Broken::Silence(_))) => {
                (StageState::TimedOut, Outcome::TimedOut, format!("{name} was ended: {limit}"))
            }
            Ok(Err(Trouble::Ended)) | Err(Broken::Asked | Broken::Stopping) => {
                if stop.why() == Some(Why::Stopping) {
                    self.end_stage(job, name, StageState::Infra, Some(STOPPED.to_owned()), Duration::ZERO).await?;
                    return Ok(None);
                }
                let verdict = self.taken_back(job.run.id).await?;
                (StageState::Skipped, verdict.outcome, verdict.reason)
            }
        };
        let words = job.redactor.mask(&words);
        self.end_stage(job, name, state, Some(words.clone()), Duration::ZERO).await?;
        Ok(Some(Err(Verdict { outcome, reason: first_line(&words) })))
    }

    async fn taken_back(&self, id: RunId) -> Result<Verdict, StoreError> {
        let row = self.ledger.store.read(move |db| runs::by_id(db, id)).await?;
        let otherwise = || Verdict { outcome: Outcome::Infra, reason: "it was ended, and nobody said why".into() };
        Ok(row.as_ref().and_then(run::taken_back).unwrap_or_else(otherwise))
    }

    /// What scripts still waited for will not come.
    async fn end_scripts(&self, job: &Job, learned: &mut Learned) -> Result<(), StoreError> {
        let scripts = std::mem::take(&mut learned.scripts);
        let mut steps = learned.plan.steps.iter().rev().map(|step| step.stage);
        let Some(last) = steps.find(|stage| *stage != StageName::Uninstall) else { return Ok(()) };
        for check in scripts.finish(last) {
            self.note_check(job, check).await?;
        }
        Ok(())
    }

    async fn note_check(&self, job: &Job, check: stage_rows::Check) -> Result<(), StoreError> {
        job.say(check.stage, &format!("{}: {}", check.name, check.got.as_deref().unwrap_or_default()));
        let (id, now) = (job.run.id, self.clock.now());
        self.ledger.write("could not note a check", move |tx| run::add_check(tx, id, &check, now)).await
    }

    /// The teardown, as a stage. Says so when it could not be verified, or when the run was not what was planned.
    async fn uninstall(&self, job: &Job, learned: &Learned) -> Result<Option<String>, StoreError> {
        let name = StageName::Uninstall;
        if learned.apps().next().is_none() {
            let reason = Some("nothing was deployed".to_owned());
            self.end_stage(job, name, StageState::Skipped, reason, Duration::ZERO).await?;
            return Ok(None);
        }
        self.begin_stage(job, name).await?;
        let mut listener = job.listener(name);
        let (mut left_over, mut unknown) = (Vec::new(), None);
        for app in learned.apps() {
            let end = tear_down(&self.means(), &app.domain, &app.stack, &job.home.abra_dir, &mut listener).await;
            match &end {
                End::Gone(_) => job.say(name, &format!("{} is gone", app.domain)),
                End::Left(left) => left_over.extend(left.clone()),
                End::Unknown(why) => unknown = Some(why.clone()),
            }
            match backup::forget(&self.swarm, &app.stack, &job.dir).await {
                Ok(None | Some(0)) => {}
                Ok(Some(count)) => job.say(name, &format!("{count} snapshots of this run removed")),
                Err(fault) => job.say(name, &format!("snapshots of this run stay in the repository: {fault}")),
            }
            self.torn_down(app.id, end).await?;
        }
        let (mut state, mut reason) = match unknown {
            _ if !left_over.is_empty() => (StageState::Failed, format!("left over: {}", left_over.join(", "))),
            Some(why) => (StageState::Infra, format!("whether anything is left is not known: {why}")),
            None => (StageState::Passed, "nothing left".to_owned()),
        };
        if let Some(miscounted) = self.count_deployments(job, learned).await?
            && state == StageState::Passed
        {
            (state, reason) = (StageState::Infra, miscounted);
        }
        self.end_stage(job, name, state, Some(reason.clone()), Duration::ZERO).await?;
        Ok((state == StageState::Infra).then_some(reason))
    }

    /// Deployments as they were made against those that were planned: exactly so many in a stage that passed, no more in one
    /// that did not. Says what is wrong; then a verdict would rest on something else than it says.
    async fn count_deployments(&self, job: &Job, learned: &Learned) -> Result<Option<String>, StoreError> {
        let id = job.run.id;
        let read =
            move |db: &rusqlite::Connection| Ok((stage_rows::of_run(db, id)?, deployments::stages_of_run(db, id)?));
        let (rows, made) = self.ledger.store.read(read).await?;
        let wrong = rows.iter().find_map(|row| {
            let made = made.iter().filter(|stage| **stage == row.name).count();
            let planned = learned.plan.deployments_of(row.name);
            let right = made == planned || row.state != StageState::Passed && made < planned;
            (!right).then(|| format!("{} deployed {made} times and not {planned}, a fault of cc-ci", row.name))
        });
        let got = wrong.clone().unwrap_or_else(|| format!("{}, as planned", made.len()));
        let expected = format!("{} when all goes well", learned.plan.deployments());
        let check = checked(StageName::Uninstall, "deployments", wrong.is_none(), &expected, &got, Duration::ZERO);
        self.note_check(job, check).await?;
        Ok(wrong)
    }

    /// A whole test says which level the recipe has.
    async fn note_level(&self, job: &Job, learned: &Learned) -> Result<(), StoreError> {
        // Who names the base himself may name one that nobody upgrades from.
        if job.run.asked != Asked::All || job.run.upgrade_from.is_some() {
            return Ok(());
        }
        // That what it needs could not be put up says nothing of the recipe.
        if learned.plan.untestable.is_some() && job.known().unsupported().is_none() {
            return Ok(());
        }
        let (id, own_checks) = (job.run.id, learned.plan.own_checks);
        self.ledger
            .write("could not note the level", move |tx| {
                let stages = stage_rows::of_run(tx, id)?;
                let checks = stage_rows::checks_of_run(tx, id)?;
                let of_lint = |check: &&stage_rows::Check| check.stage == StageName::Lint;
                let warnings = checks.iter().filter(of_lint).filter(|check| check.state == CheckState::Warning).count();
                let doubts = doubts(&checks);
                let Some(run) = runs::by_id(tx, id)? else { return Ok(()) };
                let before = runs::levels_before(tx, &run.recipe, id, level::LOOKED_BACK)?;
                match level::of(Seen { stages: &stages, warnings, doubts: &doubts, own_checks, before: &before }) {
                    Some(level) => run::note_level(tx, id, &level),
                    None => Ok(()),
                }
            })
            .await
    }

    /// What a run came to in which nothing went wrong, with what it says nothing of. One that could try nothing is not green.
    async fn unbroken(&self, id: RunId, plan: &Plan) -> Result<Verdict, StoreError> {
        if let Some(reason) = &plan.untestable {
            return Ok(Verdict { outcome: Outcome::Infra, reason: reason.clone() });
        }
        let read =
            move |db: &rusqlite::Connection| Ok((stage_rows::of_run(db, id)?, stage_rows::checks_of_run(db, id)?));
        let (rows, checks) = self.ledger.store.read(read).await?;
        let untested = rows.iter().filter(|row| row.state == StageState::NotTested);
        let untested: Vec<String> = untested.map(|row| row.name.to_string()).collect();
        let mut reason = if untested.is_empty() {
            "every stage passed".to_owned()
        } else {
            format!("every stage that could be tested passed; not tested: {}", untested.join(", "))
        };
        if let Some((stage, doubt)) = doubts(&checks).first() {
            reason = format!("{reason}; {stage} warns: {doubt}");
        }
        Ok(Verdict { outcome: Outcome::Passed, reason })
    }

    /// Writes down what a teardown came to.
    pub async fn torn_down(&self, app: i64, end: End) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.ledger
            .write("could not note a teardown", move |tx| match end {
                End::Gone(proof) => run::app_is_gone(tx, app, proof, now),
                End::Left(left) => run::app_left(tx, app, &left),
                End::Unknown(why) => run::app_left(tx, app, &[format!("everything, perhaps ({why})")]),
            })
            .await
    }

    /// Removes a run's directory, unless a teardown may still want it.
    pub async fn clear(&self, id: RunId) {
        let standing = self.ledger.store.read(move |db| apps::of_run(db, id)).await;
        if standing.is_ok_and(|apps| apps.iter().all(|app| app.gone_at.is_some())) {
            let dir = self.run_dir(id);
            match tokio::fs::remove_dir_all(&dir).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(run = %id, dir = %dir.display(), error = %error, "a run's directory stays");
                }
                _ => crash_point!("files: run directory removed"),
            }
        }
    }

    async fn begin_stage(&self, job: &Job, name: StageName) -> Result<(), StoreError> {
        let (id, now) = (job.run.id, self.clock.now());
        job.log.stage(name, "running");
        self.ledger.write("could not begin a stage", move |tx| run::begin_stage(tx, id, name, now)).await
    }

    async fn end_stage(
        &self,
        job: &Job,
        name: StageName,
        state: StageState,
        reason: Option<String>,
        waited: Duration,
    ) -> Result<(), StoreError> {
        if let Some(words) = &reason {
            job.say(name, words);
        }
        job.log.stage(name, state.as_str());
        let (id, now) = (job.run.id, self.clock.now());
        let end = StageEnd { state, reason: reason.as_deref().map(first_line), waited };
        self.ledger.write("could not end a stage", move |tx| run::end_stage(tx, id, name, &end, now)).await
    }
}

/// The one line that matters of what a program or a script said in several; the log has them all.
fn first_line(words: &str) -> String {
    let mut lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first} …") } else { first.to_owned() }
}

/// What the stages that touched an app warned of.
fn doubts(checks: &[stage_rows::Check]) -> Vec<(StageName, String)> {
    let warnings = checks.iter().filter(|check| check.state == CheckState::Warning && check.stage != StageName::Lint);
    warnings
        .map(|check| (check.stage, format!("{}: {}", check.name, check.got.as_deref().unwrap_or_default())))
        .collect()
}

/// Whether what comes after a stage that went wrong has nothing to stand on. Checks, backup and upgrade say different things, and
/// each of them goes on from the app as it is, or from none.
fn ends_it(culprit: StageName, verdict: &Verdict) -> bool {
    let apart = matches!(culprit, StageName::Checks | StageName::Backup | StageName::Upgrade);
    !(apart && verdict.outcome == Outcome::Failed)
}

/// A teardown's words for the journal, where there is no log of the run to write to.
#[derive(Debug)]
pub struct Journal(pub RunId);

impl Listener for Journal {
    fn command(&mut self, line: &str) {
        tracing::debug!(run = %self.0, step = line, "teardown");
    }

    fn output(&mut self, _: crate::sandbox::Stream, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(first_line("the hook ended with 3"), "the hook ended with 3");
        assert_eq!(first_line("\n  the hook ended with 3: one\ntwo\n"), "the hook ended with 3: one …");
        assert_eq!(first_line(""), "");
    }
}
