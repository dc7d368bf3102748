//! Tells people elsewhere than on the forge: a recipe turned red or is green again, an alarm began or is over.
//!
//! What is to be told is a row before it is a request ([`crate::store::notices`]), and so is how far each target has it. Each
//! target has its rows one after the other, so that nobody reads "green again" before "red", and a target that takes nothing
//! holds up no other. An attempt is noted before it begins; one that ended with the process is made again, under the same
//! number, by which a room and a careful receiver know it.

mod http;
mod mail;
mod matrix;
mod message;
mod target;
mod webhook;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

pub use message::Message;
pub use target::{NotSent, Target, TargetError};

use super::Mask;
use crate::alarms::{Alarm, Alarms};
use crate::clock::{Clock, Time};
use crate::crash::crash_point;
use crate::intake::jittered;
use crate::store::notices::{self, Delivery};
use crate::store::{Store, StoreError, runs};

const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What nobody took for so long is old news.
const PATIENCE: Duration = Duration::from_secs(3 * 86_400);

/// Alarms that were told of by a process before this one have so long to begin again; then they are over.
const SETTLED: Duration = Duration::from_secs(600);

/// Notices of alarms are kept so long; those of runs go with their run, or with them.
const KEPT: Duration = Duration::from_secs(365 * 86_400);

/// After a fault of the database.
const FAULT_PAUSE: Duration = Duration::from_secs(5);

/// What notifying works with.
pub struct Notifier {
    pub store: Store,
    pub clock: Clock,
    pub alarms: Alarms,
    /// The dashboard's address, without a slash at its end.
    pub address: String,
    pub mask: Mask,
    pub targets: Vec<Target>,
}

/// Runs until `shutdown`. Without targets too: what nobody is told of now is not told to who comes later.
pub async fn run(notifier: Notifier, shutdown: CancellationToken) {
    let mut all: FuturesUnordered<_> = notifier.targets.iter().map(|target| notifier.serve(target)).collect();
    let tell = async {
        tokio::join!(notifier.keep_books(), async { while all.next().await.is_some() {} });
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tell => {}
    }
}

impl Notifier {
    /// Writes down which alarms began and ended, and gives each target its deliveries.
    async fn keep_books(&self) {
        let started_at = self.clock.now();
        let (mut changes, mut alarms) = (self.store.changes(), self.alarms.changes());
        let mut seen = BTreeSet::new();
        if let Err(error) = self.tidy().await {
            tracing::error!(error = %crate::engine::causes(&error), "old notices could not be put away");
        }
        loop {
            changes.borrow_and_update();
            alarms.borrow_and_update();
            let rest = match self.look(&mut seen, started_at).await {
                Ok(()) => SETTLED,
                Err(error) => {
                    tracing::error!(error = %crate::engine::causes(&error), "notices could not be read; trying again");
                    FAULT_PAUSE
                }
            };
            tokio::select! {
                more = changes.changed() => if more.is_err() { return },
                _ = alarms.changed() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.name().to_owned()).collect()
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let (names, now) = (self.names(), self.clock.now());
        self.store.write("tidies notices", move |tx| notices::tidy(tx, &names, now.minus(KEPT), now)).await
    }

    /// One look at what is new. `seen` are the alarms that lasted at some time of this process: only of those, and of the others
    /// after a while, it is known that they are over.
    async fn look(&self, seen: &mut BTreeSet<String>, started_at: Time) -> Result<(), StoreError> {
        let now = self.clock.now();
        let lasting: Vec<(String, String)> = self
            .alarms
            .lasting()
            .into_iter()
            .filter(|lasting| lasting.alarm != Alarm::Notify)
            .map(|lasting| (lasting.alarm.as_str().to_owned(), (self.mask)(&lasting.words)))
            .collect();
        seen.extend(lasting.iter().map(|(name, _)| name.clone()));
        let (told, unspread) =
            self.store.read(|db| Ok((notices::alarms_told(db)?, notices::any_unspread(db)?))).await?;
        let settled = now.since(started_at) >= SETTLED;
        let lasts = |name: &String| lasting.iter().any(|(other, _)| other == name);
        let ended: Vec<String> =
            told.iter().filter(|name| !lasts(name) && (settled || seen.contains(*name))).cloned().collect();
        let began: Vec<(String, String)> = lasting.iter().filter(|(name, _)| !told.contains(name)).cloned().collect();
        if !unspread && ended.is_empty() && began.is_empty() {
            return Ok(());
        }
        let names = self.names();
        self.store
            .write("spreads notices", move |tx| {
                for (name, words) in &began {
                    notices::alarm_began(tx, name, words, now)?;
                }
                for name in &ended {
                    notices::alarm_ended(tx, name, now)?;
                }
                notices::spread(tx, &names, now)
            })
            .await
    }

    /// Brings one target what it does not have, oldest first, and then waits for more.
    async fn serve(&self, target: &Target) {
        let mut changes = self.store.changes();
        loop {
            changes.borrow_and_update();
            let rest = match self.deliver_next(target).await {
                Ok(Some(due)) => due.since(self.clock.now()),
                Ok(None) => LONGEST_PAUSE,
                Err(error) => {
                    tracing::error!(error = %crate::engine::causes(&error), "a notice could not be read or marked");
                    FAULT_PAUSE
                }
            };
            tokio::select! {
                more = changes.changed() => if more.is_err() { return },
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Tries the oldest that is open, if it is due; says when there is something to do again.
    async fn deliver_next(&self, target: &Target) -> Result<Option<Time>, StoreError> {
        let name = target.name().to_owned();
        let found = self.store.read(move |db| {
            let Some(next) = notices::next(db, &name)? else { return Ok(None) };
            let run = next.run.map(|run| runs::by_id(db, run)).transpose()?.flatten();
            Ok(Some((next, run)))
        });
        let Some((delivery, run)) = found.await? else { return Ok(None) };
        let now = self.clock.now();
        if delivery.due_at > now {
            return Ok(Some(delivery.due_at));
        }
        let begun = delivery.clone();
        self.store.write("begins to notify", move |tx| notices::begin(tx, &begun, now)).await?;
        let message = message::of(&delivery, run.as_ref(), &self.address, &self.mask);
        let sent = target.send(&message).await;
        crash_point!("notify: sent");
        match sent {
            Ok(()) => self.done(delivery).await?,
            Err(not_sent) => self.not_sent(delivery, not_sent).await?,
        }
        Ok(Some(self.clock.now()))
    }

    async fn done(&self, delivery: Delivery) -> Result<(), StoreError> {
        tracing::info!(target = delivery.target, kind = %delivery.kind, notice = delivery.notice, "notified");
        self.alarms.clear(Alarm::Notify);
        let now = self.clock.now();
        self.store.write("marks a notice as sent", move |tx| notices::done(tx, &delivery, now)).await
    }

    async fn not_sent(&self, delivery: Delivery, error: NotSent) -> Result<(), StoreError> {
        let (now, attempt) = (self.clock.now(), delivery.attempts + 1);
        let why = (self.mask)(&error.why);
        tracing::warn!(target = delivery.target, kind = %delivery.kind, notice = delivery.notice, attempt, why, "not notified");
        let words = format!("{} takes no notices: {why}; `cc-ci notify test {0}` tries it", delivery.target);
        self.alarms.raise(Alarm::Notify, words, now);
        if now.since(delivery.created_at) > PATIENCE {
            return self.store.write("gives up a notice", move |tx| notices::give_up(tx, &delivery, &why, now)).await;
        }
        let doubled = Duration::from_secs(1 << attempt.clamp(0, 12)).min(LONGEST_PAUSE);
        let at = now.plus(jittered(doubled).max(error.after.unwrap_or_default().min(LONGEST_PAUSE)));
        self.store.write("puts off a notice", move |tx| notices::try_again(tx, &delivery, &why, at)).await
    }
}
