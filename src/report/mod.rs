//! Reports leave through here and nowhere else.
//!
//! A report is a row before it is a request: whoever decides that the forge should hear something writes it in the same
//! transaction as the decision. What is said is worked out when it is said, from the run as it is then.

pub mod card;
pub mod comment;
pub mod markdown;
pub mod notify;
pub mod outbox;
pub mod status;
pub mod words;

#[cfg(test)]
mod stories;

use std::sync::Arc;

use crate::alarms::Alarms;
use crate::clock::{Clock, Time};
use crate::config::VerdictAs;
use crate::forge::Forge;
use crate::model::{RunId, StageName};
use crate::store::outbox::Report as Row;
use crate::store::{Store, StoreError, Transaction, runs, turns};

pub use outbox::run;

/// Takes secrets out of a text.
pub type Mask = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The last lines that a stage of a run printed, masked. Reads files; called where that may block.
pub type Tail = Arc<dyn Fn(RunId, StageName, usize) -> Vec<String> + Send + Sync>;

/// What reporting works with.
pub struct Report<F> {
    pub forge: Arc<F>,
    pub store: Store,
    pub clock: Clock,
    pub alarms: Alarms,
    /// How the commit status is called.
    pub context: String,
    /// The dashboard's address, without a slash at its end.
    pub address: String,
    pub verdict: VerdictAs,
    pub mask: Mask,
    pub tail: Tail,
}

/// So many waiting runs say their place in the queue; those behind them say that there are many, and are not edited with
/// every run that ends.
pub const PLACES: usize = 10;

/// The queue moved: what waits at its front says so. Whoever queues, starts or ends a run calls it in that transaction.
pub fn refresh_waiting(tx: &Transaction, now: Time) -> Result<(), StoreError> {
    for id in turns::places(tx, PLACES + 1)? {
        let Some(run) = runs::by_id(tx, id)?.filter(|run| run.started_at.is_none()) else { continue };
        if let (Some(repository), Some(pr)) = (run.repository, run.pr) {
            crate::store::outbox::push(tx, &Row::Comment { run: run.id }, repository, pr, now)?;
        }
    }
    Ok(())
}

/// After a start: whatever is open says on the forge how it is. Texts that are right already are not sent again.
pub(crate) fn mend(tx: &Transaction, now: Time) -> Result<(), StoreError> {
    for run in runs::open(tx)? {
        if let (Some(repository), Some(pr)) = (run.repository, run.pr) {
            crate::store::outbox::push(tx, &Row::Status { run: run.id }, repository, pr, now)?;
            crate::store::outbox::push(tx, &Row::Comment { run: run.id }, repository, pr, now)?;
        }
    }
    Ok(())
}

impl<F: Forge> Report<F> {
    fn mask(&self, text: &str) -> String {
        (self.mask)(text)
    }
}
