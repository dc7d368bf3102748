//! Comments come in here and nowhere else.
//!
//! Polling is the one way in; a webhook only makes a poll earlier. Whatever is seen is stored before it is acted on, under the
//! forge's own number, so that a comment is decided once however often it is seen, and is decided at the next start when the
//! process dies in between. The loop is level-triggered: each turn does what is due by the database, not what an event said.

pub mod command;

mod answer;
mod authorise;
pub(crate) mod breaker;
mod decide;
pub(crate) mod enrol;
mod poll;
mod recheck;
pub mod schedule;
pub mod trigger;
pub mod webhook;

#[cfg(test)]
pub(crate) mod house;
#[cfg(test)]
pub(crate) mod pretend;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod watermark;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::bell::Bell;
use crate::clock::{Clock, Time};
use crate::config;
use crate::forge::{Forge, ForgeError};
use crate::model::{CommentId, Login, Repo};
use crate::store::{Store, StoreError, comments};

/// What intake works with.
pub struct Intake<F> {
    pub forge: Arc<F>,
    pub store: Store,
    pub clock: Clock,
    pub alarms: Alarms,
    /// Whom to ask, who may ask, what is tested, how often to look.
    pub rule: config::Forge,
    /// The dashboard's address, without a slash at its end.
    pub address: String,
    pub nudge: Nudge,
    /// Rung when something was queued or cancelled.
    pub runner: Bell,
}

/// Why a turn could not be finished. The next one takes up where this one stopped.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Forge(#[from] ForgeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs until `shutdown`: looks, stores, decides.
pub async fn run<F: Forge>(intake: Intake<F>, shutdown: CancellationToken) {
    let intake = Arc::new(intake);
    let mut poller = poll::Poller::new(Arc::clone(&intake));
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return,
            next = poller.turn() => next,
        };
        let rest = next.since(intake.clock.now());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
            () = intake.nudge.heard() => {}
        }
    }
}

/// "Look at this repository now." Names pile up as a set, so a storm of hooks is one look.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Nudged>);

#[derive(Debug, Default)]
struct Nudged {
    names: Mutex<BTreeSet<Repo>>,
    bell: Notify,
}

impl Nudge {
    /// Names beyond this are left to the next poll.
    const MOST: usize = 1000;

    pub fn look_at(&self, repo: Repo) {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < Nudge::MOST {
            names.insert(repo);
        }
        drop(names);
        self.0.bell.notify_one();
    }

    fn take(&self) -> BTreeSet<Repo> {
        std::mem::take(&mut *self.0.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn heard(&self) {
        self.0.bell.notified().await;
    }
}

impl<F: Forge> Intake<F> {
    /// Decides whatever is stored undecided, oldest first. True: something waits for the forge's timeline.
    ///
    /// One comment that cannot be decided now must not hold up the others; only a forge that answers nobody ends the round.
    async fn decide_all(&self) -> Result<bool, Trouble> {
        let (mut behind, mut patience, mut after) = (false, Patience::default(), CommentId(0));
        let mut asked = authorise::Asked::default();
        loop {
            let page = self.store.read(move |db| comments::undecided(db, after, 100)).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for seen in &page {
                match self.decide(seen, &mut asked).await {
                    Ok(()) => patience.answered(),
                    Err(decide::NotYet::Behind) => behind = true,
                    Err(decide::NotYet::Trouble(Trouble::Forge(error))) => patience.unanswered(error)?,
                    Err(decide::NotYet::Trouble(trouble)) => return Err(trouble),
                }
            }
        }
        patience.end().map(|()| behind)
    }
}

/// Goes on after a question without an answer, but not after several in a row, nor when the forge asks for a pause.
#[derive(Debug, Default)]
struct Patience {
    row: u32,
    answered: bool,
    last: Option<ForgeError>,
}

impl Patience {
    const MOST: u32 = 3;

    fn answered(&mut self) {
        self.row = 0;
        self.answered = true;
    }

    fn unanswered(&mut self, error: ForgeError) -> Result<(), ForgeError> {
        self.row += 1;
        let pause = matches!(error, ForgeError::Unauthorised(_) | ForgeError::Later { after: Some(_), .. });
        if pause || self.row >= Patience::MOST {
            return Err(error);
        }
        self.last = Some(error);
        Ok(())
    }

    /// A round in which nothing was answered went wrong.
    fn end(self) -> Result<(), Trouble> {
        match self.last {
            Some(error) if !self.answered => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// `span`, up to a fifth less, so that many appliances do not ask in step and nobody waits longer than was said.
pub(crate) fn jittered(span: Duration) -> Duration {
    // Without randomness there is no jitter, and nothing breaks.
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    span.mul_f64(0.8 + random / 5.0)
}

impl<F: Forge> Intake<F> {
    async fn whoami(&self, known: &mut Option<Login>) -> Result<Login, ForgeError> {
        if let Some(bot) = known {
            return Ok(bot.clone());
        }
        let bot = self.forge.whoami().await?;
        Ok(known.insert(bot).clone())
    }

    /// The forge's clock. Ours stands in only for a forge that never says.
    fn forge_time(&self) -> Time {
        self.forge.server_time().unwrap_or_else(|| self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_longer_than_was_said() {
        let span = Duration::from_secs(30);
        for _ in 0..1000 {
            let waits = jittered(span);
            assert!(waits <= span && waits >= span.mul_f64(0.79), "{waits:?}");
        }
    }
}
