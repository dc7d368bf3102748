//! The queue: who runs next, and what those who wait are told.
//!
//! The queue is the database, never memory: each look asks it anew, so a ring that was lost, a look that came twice and a run
//! that another process queued or took back are all the same to it. A run is taken by [`run::start`], whose transaction finds it
//! waiting or fails; two looks cannot start one run twice. Woken by the bell, by each commit of this process, by the end of a
//! run, and each second.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::run::{self, Planned};
use crate::bell::Door;
use crate::clock::{Clock, Time};
use crate::config::schedule::Schedule;
use crate::model::{Asked, HELD, Origin, RunId};
use crate::store::runs::Run;
use crate::store::{StoreError, runs, turns};

/// Those further back hear of their turn when they come nearer; so a long queue costs no more than a short one.
const TOLD: usize = 50;

/// Why a run that is under way has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody asked; the run's row says who.
    Asked,
    /// The process has to stop and its patience is over.
    Stopping,
}

/// Tells a run under way to end, and why. The first reason stays.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<Why>>,
}

impl Stop {
    pub fn now(&self, why: Why) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    pub fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// Ends the commands of the run.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// What the scheduler hands runs to.
pub trait Work: Clone + Send + Sync + 'static {
    /// Which stages a request means.
    fn plan(&self, asked: Asked) -> Vec<Planned>;
    /// Why no run may begin now, if none may.
    fn held_up(&self) -> impl Future<Output = Option<String>> + Send;
    /// Takes a started run to its end, teardown and outcome included.
    fn carry_out(&self, run: Run, stop: Stop) -> impl Future<Output = ()> + Send;
    /// [`Work::carry_out`] broke off half-way, by a fault of ours or of the disk: closes the run all the same. One that it leaves
    /// open comes back.
    fn pick_up(&self, run: RunId) -> impl Future<Output = ()> + Send;
}

/// How the process is told to stop: first to take nothing new, then to wait for nothing.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    pub drain: CancellationToken,
    pub haste: CancellationToken,
}

impl From<CancellationToken> for Shutdown {
    fn from(drain: CancellationToken) -> Shutdown {
        Shutdown { drain, haste: CancellationToken::new() }
    }
}

pub struct Scheduler<W> {
    ledger: Ledger,
    clock: Clock,
    work: W,
    parallel: usize,
    /// From the first word of stopping to the last patience with a run under way.
    grace: Duration,
    /// In whose quiet hours no run of it begins.
    schedule: Option<Schedule>,
    /// Why none was started at the last look, though there was room.
    held_up: Option<String>,
    under_way: HashMap<RunId, Stop>,
    tasks: JoinSet<()>,
    whose: HashMap<tokio::task::Id, RunId>,
}

impl<W: Work> Scheduler<W> {
    pub fn new(ledger: Ledger, clock: Clock, work: W, parallel: usize, grace: Duration) -> Scheduler<W> {
        Scheduler {
            ledger,
            clock,
            work,
            parallel: parallel.max(1),
            grace,
            schedule: None,
            held_up: None,
            under_way: HashMap::new(),
            tasks: JoinSet::new(),
            whose: HashMap::new(),
        }
    }

    /// Heeds its quiet hours.
    pub fn heeding(self, schedule: Option<Schedule>) -> Scheduler<W> {
        Scheduler { schedule, ..self }
    }

    /// Until told to stop and nothing is under way any more.
    pub async fn serve(mut self, door: Option<&Door>, shutdown: Shutdown) {
        let mut changes = self.ledger.store.changes();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if shutdown.drain.is_cancelled() {
                break;
            }
            changes.mark_unchanged();
            if let Err(error) = self.look().await {
                tracing::error!(error = %crate::engine::causes(&error), "the queue could not be read; trying again");
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = heard(door) => self.ledger.store.somebody_wrote(),
                _ = tick.tick() => {}
                () = self.one_ended(), if !self.tasks.is_empty() => {}
                () = shutdown.drain.cancelled() => {}
            }
        }
        self.drain(door, &shutdown).await;
    }

    /// Nothing new; those under way may end in peace until the grace is over, and may be cancelled meanwhile.
    async fn drain(&mut self, door: Option<&Door>, shutdown: &Shutdown) {
        let patience = tokio::time::sleep(self.grace);
        tokio::pin!(patience);
        let mut changes = self.ledger.store.changes();
        let mut hurried = false;
        while !self.tasks.is_empty() {
            changes.mark_unchanged();
            if let Err(error) = self.take_back().await {
                tracing::error!(error = %crate::engine::causes(&error), "the queue could not be read while stopping");
            }
            tokio::select! {
                () = self.one_ended() => {}
                _ = changes.changed() => {}
                () = heard(door) => self.ledger.store.somebody_wrote(),
                () = &mut patience, if !hurried => {
                    hurried = true;
                    self.under_way.values().for_each(|stop| stop.now(Why::Stopping));
                }
                () = shutdown.haste.cancelled(), if !hurried => {
                    hurried = true;
                    self.under_way.values().for_each(|stop| stop.now(Why::Stopping));
                }
            }
        }
    }

    /// One look at the queue: ends what nobody wants any more, starts what may start, tells the others why they wait.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        self.take_back().await?;
        self.pick_up_abandoned().await?;
        self.end_pauses().await?;
        self.held_up = None;
        while self.under_way.len() < self.parallel {
            let Some(run) = self.start_next().await? else { break };
            self.hand_over(run);
        }
        self.tell_those_who_wait().await
    }

    async fn end_pauses(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.ledger.store.read(move |db| turns::a_pause_is_over(db, now)).await? {
            self.ledger.write("could not end a pause", move |tx| turns::end_pauses(tx, now)).await?;
        }
        Ok(())
    }

    /// How many are under way.
    pub fn busy(&self) -> usize {
        self.under_way.len()
    }

    async fn take_back(&mut self) -> Result<(), StoreError> {
        for run in self.ledger.store.read(runs::unwanted).await? {
            match self.under_way.get(&run.id) {
                Some(stop) => stop.now(Why::Asked),
                None if run.started_at.is_none() => {
                    let now = self.clock.now();
                    self.ledger.write("could not take a run back", move |tx| run::withdraw(tx, run.id, now)).await?;
                    tracing::info!(run = %run.id, recipe = run.recipe, "taken out of the queue");
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Looks and takes in one transaction, so that what was just taken back is not started.
    async fn start_next(&mut self) -> Result<Option<Run>, StoreError> {
        if self.ledger.store.read(|db| turns::waiting(db, 1)).await?.iter().all(|run| run.not_before.is_some()) {
            return Ok(None);
        }
        self.held_up = self.work.held_up().await;
        if self.held_up.is_some() {
            return Ok(None);
        }
        let now = self.clock.now();
        let (work, quiet) = (self.work.clone(), self.quiet_until(now).is_some());
        self.ledger
            .write("could not start a run", move |tx| {
                let is_quiet = |run: &Run| quiet && run.origin == Origin::Schedule;
                let may = |run: &Run| run.cancel_at.is_none() && run.not_before.is_none() && !is_quiet(run);
                let wanted = turns::waiting(tx, TOLD)?.into_iter().find(may);
                wanted.map(|next| run::start(tx, next.id, &work.plan(next.asked), now)).transpose()
            })
            .await
    }

    fn hand_over(&mut self, run: Run) {
        tracing::info!(run = %run.id, recipe = run.recipe, pr = run.pr.map(|pr| pr.0), "run started");
        let stop = Stop::default();
        let (id, work) = (run.id, self.work.clone());
        self.under_way.insert(id, stop.clone());
        let task = self.tasks.spawn(async move { work.carry_out(run, stop).await });
        self.whose.insert(task.id(), id);
    }

    /// Runs that are open though nobody is at them. Each takes a place until it is closed: what it made may still stand there.
    async fn pick_up_abandoned(&mut self) -> Result<(), StoreError> {
        for run in self.ledger.store.read(runs::running).await? {
            if !self.under_way.contains_key(&run.id) {
                tracing::error!(run = %run.id, recipe = run.recipe, "a run broke off by a fault of cc-ci or of this machine; closing it");
                let work = self.work.clone();
                self.under_way.insert(run.id, Stop::default());
                let task = self.tasks.spawn(async move { work.pick_up(run.id).await });
                self.whose.insert(task.id(), run.id);
            }
        }
        Ok(())
    }

    /// Never awaits anything but the end itself, so that a look in between loses nothing.
    async fn one_ended(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return };
        let task = match &ended {
            Ok((task, ())) => *task,
            Err(error) => error.id(),
        };
        let Some(id) = self.whose.remove(&task) else { return };
        self.under_way.remove(&id);
        if let Err(error) = ended {
            tracing::error!(run = %id, error = %error, "what carries out a run fell over");
        }
    }

    /// When the quiet hours end, where it is quiet now.
    fn quiet_until(&self, now: Time) -> Option<Time> {
        self.schedule.as_ref().map(|schedule| schedule.after_quiet(now)).filter(|end| *end > now)
    }

    fn why(&self, running: &[Run], waiting: &[Run], place: usize) -> Option<String> {
        let of_schedule = waiting.get(place).is_some_and(|run| run.origin == Origin::Schedule);
        match (&self.held_up, self.quiet_until(self.clock.now()).filter(|_| of_schedule)) {
            (Some(words), _) => Some(format!("{HELD}{words}")),
            (None, Some(end)) => Some(format!("Waiting for the end of the quiet hours, {}", end.format("%H:%M UTC"))),
            (None, None) => words(running, waiting, place),
        }
    }

    async fn tell_those_who_wait(&self) -> Result<(), StoreError> {
        let (running, waiting) =
            self.ledger.store.read(|db| Ok((runs::running(db)?, turns::waiting(db, TOLD)?))).await?;
        let stale: Vec<(RunId, String)> = waiting
            .iter()
            .enumerate()
            // What pauses has said why.
            .filter(|(_, run)| run.cancel_at.is_none() && run.not_before.is_none())
            .filter_map(|(place, run)| Some((run, self.why(&running, &waiting, place)?)))
            .filter(|(run, words)| run.waits_for.as_ref() != Some(words))
            .map(|(run, words)| (run.id, words))
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        self.ledger
            .write("could not tell the waiting runs", move |tx| {
                for (id, words) in &stale {
                    run::wait(tx, *id, words, now)?;
                }
                Ok(())
            })
            .await
    }
}

async fn heard(door: Option<&Door>) {
    match door {
        Some(door) => door.heard().await,
        None => std::future::pending().await,
    }
}

/// For whom the run at `place` of the queue waits: those under way for the first, the one before it for the others.
fn words(running: &[Run], waiting: &[Run], place: usize) -> Option<String> {
    let behind = place.checked_sub(1).and_then(|before| waiting.get(before));
    Some(match (behind, running) {
        (Some(before), _) => format!("{} in the queue, behind {}", nth(place + 1), called(before)),
        // It starts any moment.
        (None, []) => return None,
        (None, [one]) => format!("Waiting for {} to finish", called(one)),
        (None, several) => {
            let names: Vec<String> = several.iter().map(called).collect();
            format!("Waiting for one of {} to finish", names.join(", "))
        }
    })
}

/// `keycloak #41`, or `keycloak (run 7)` where there is no pull request.
pub fn called(run: &Run) -> String {
    match run.pr {
        Some(pr) => format!("{} #{pr}", run.recipe),
        None => format!("{} (run {})", run.recipe, run.id),
    }
}

fn nth(place: usize) -> String {
    const WORDS: [&str; 10] =
        ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth"];
    WORDS.get(place.wrapping_sub(1)).map_or_else(|| format!("Number {place}"), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests;
