//! A run without a comment: asked for on the command line or through the API, by whoever may. The pull request is looked up
//! as a comment's would be, its head pinned, and its answer goes where every answer goes.

use std::sync::Arc;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::engine::run;
use crate::forge::{Forge, ForgeError};
use crate::model::{Asked, Login, Origin, Pr, Repo, RepoName, RunId, VersionName};
use crate::store::runs::NewRun;
use crate::store::{Store, StoreError, repositories};

/// Where runs are asked for without a comment.
pub struct Desk<F> {
    pub forge: Arc<F>,
    pub store: Store,
    pub clock: Clock,
    pub organisation: Login,
    /// Rung when a run was queued.
    pub bells: Vec<Bell>,
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Wish {
    pub repository: RepoName,
    pub pr: Pr,
    pub stage: Asked,
    /// The version an upgrade starts from, where it is not the usual one.
    pub from: Option<VersionName>,
    pub origin: Origin,
    pub asked_by: String,
}

/// Why no run was queued.
#[derive(Debug, thiserror::Error)]
pub enum NotQueued {
    #[error("{0} has not been seen yet; is `cc-ci serve` running, and is it spelt as on the forge?")]
    Unknown(Repo),
    #[error("{0} is not tested here: {1}")]
    NotEnrolled(Repo, String),
    #[error("{0} has no pull request {1}")]
    NoPullRequest(Repo, Pr),
    #[error("{0}#{1} is closed")]
    Closed(RepoName, Pr),
    #[error(transparent)]
    Forge(ForgeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<F: Forge> Desk<F> {
    pub async fn trigger(&self, wish: Wish) -> Result<RunId, NotQueued> {
        let repo = Repo { owner: self.organisation.clone(), name: wish.repository };
        let lookup = repo.clone();
        let known = self.store.read(move |db| repositories::by_name(db, &lookup)).await?;
        let known = known.ok_or_else(|| NotQueued::Unknown(repo.clone()))?;
        if !known.enrolled {
            return Err(NotQueued::NotEnrolled(repo, known.why));
        }
        let pull = match self.forge.pull_request(&repo, wish.pr).await {
            Ok(pull) => pull,
            Err(ForgeError::NotFound(_)) => return Err(NotQueued::NoPullRequest(repo, wish.pr)),
            Err(error) => return Err(NotQueued::Forge(error)),
        };
        if !pull.open {
            return Err(NotQueued::Closed(repo.name, wish.pr));
        }
        let new = NewRun {
            origin: wish.origin,
            repository: Some(known.id),
            repo_name: repo.to_string(),
            recipe: known.recipe.unwrap_or_else(|| repo.name.to_string()),
            pr: Some(wish.pr),
            head: pull.head,
            base_branch: Some(pull.base_branch),
            title: pull.title,
            comment: None,
            asked_by: wish.asked_by,
            asked: wish.stage,
            upgrade_from: wish.from.as_ref().map(ToString::to_string),
            attempt: 1,
            retry_of: None,
        };
        let now = self.clock.now();
        let id = self.store.write("did not take the run", move |tx| run::queue(tx, &new, now)).await?;
        self.bells.iter().for_each(Bell::ring);
        Ok(id)
    }
}
