//! What waits is asked for again: a pull request that was closed or merged meanwhile is not deployed when its turn comes.
//!
//! The runner cannot reach the forge's API, so it is done here, in each round, for the runs whose turn comes next.

use super::{Intake, Trouble};
use crate::engine::run;
use crate::forge::{Forge, ForgeError};
use crate::store::runs::Run;
use crate::store::{repositories, runs};

/// So many runs at the front of the queue are asked for; the others come nearer first.
const FRONT: usize = 5;

impl<F: Forge> Intake<F> {
    /// Takes back what waits for a pull request that is no longer open.
    pub(super) async fn recheck_waiting(&self) -> Result<(), Trouble> {
        let open = self.store.read(runs::open).await?;
        for waiting in open.into_iter().filter(|run| run.started_at.is_none() && run.cancel_at.is_none()).take(FRONT) {
            if let Some(words) = self.no_longer_wanted(&waiting).await? {
                let (id, now) = (waiting.id, self.clock.now());
                self.store.write("takes a run back", move |tx| run::ask_cancel(tx, id, words, now)).await?;
                tracing::info!(run = %id, words, "a waiting run was taken back");
                self.runner.ring();
            }
        }
        Ok(())
    }

    async fn no_longer_wanted(&self, waiting: &Run) -> Result<Option<&'static str>, Trouble> {
        let (Some(repository), Some(pr)) = (waiting.repository, waiting.pr) else { return Ok(None) };
        let Some(known) = self.store.read(move |db| repositories::by_id(db, repository)).await? else { return Ok(None) };
        match self.forge.pull_request(&known.repo, pr).await {
            Ok(pull) if pull.merged => Ok(Some("the pull request was merged before its turn came")),
            Ok(pull) if !pull.open => Ok(Some("the pull request was closed before its turn came")),
            Ok(_) => Ok(None),
            Err(ForgeError::NotFound(_)) => Ok(Some("the pull request is gone from the forge")),
            Err(error) => Err(error.into()),
        }
    }
}
