//! What there is to say about a run: plain data, read in one look at the database, from which comment and status are made.

use std::time::Duration;

use rusqlite::Connection;

use super::PLACES;
use crate::clock::Time;
use crate::model::{Pr, RunId, StageName, StageState};
use crate::stages::picture;
use crate::store::runs::{self, Run};
use crate::store::stages::{self, Check, Stage};
use crate::store::{StoreError, evidence, repositories, turns};

#[derive(Clone, Debug)]
pub struct Card {
    pub run: Run,
    pub stages: Vec<Stage>,
    pub checks: Vec<Check>,
    /// There is a picture of the front page.
    pub has_picture: bool,
    /// While it waits.
    pub place: Option<Place>,
    /// What a run of this recipe usually takes; asked while it is not over.
    pub usually: Option<Duration>,
    /// The last lines of the stage that failed, masked.
    pub tail: Vec<String>,
}

/// Where a waiting run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1, what runs included.
    pub number: usize,
    pub behind: Option<Behind>,
}

/// The run before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The repository's name, as people on the forge know it.
    pub name: String,
    pub pr: Option<Pr>,
    pub started_at: Option<Time>,
    /// What a run of that recipe usually takes.
    pub usually: Option<Duration>,
}

impl Card {
    /// The newest run of the head that `run` tests: the head's comment and status speak of that one. `None`: it has no pull
    /// request to speak on.
    pub fn of_head_of(db: &Connection, run: RunId) -> Result<Option<Card>, StoreError> {
        let Some(run) = runs::by_id(db, run)? else { return Ok(None) };
        let (Some(repository), Some(pr)) = (run.repository, run.pr) else { return Ok(None) };
        let run = runs::of_head(db, repository, pr, &run.head)?.unwrap_or(run);
        Card::of(db, run).map(Some)
    }

    pub fn of(db: &Connection, run: Run) -> Result<Card, StoreError> {
        let waits = run.outcome.is_none() && run.started_at.is_none();
        let place = if waits { Some(Place::of(db, run.id)?) } else { None };
        let stages = stages::of_run(db, run.id)?;
        let checks = stages::checks_of_run(db, run.id)?;
        let usually = if run.outcome.is_none() { runs::usual(db, &run.recipe)? } else { None };
        let has_picture = evidence::by_name(db, run.id, picture::NAME)?.is_some();
        Ok(Card { run, stages, checks, has_picture, place, usually, tail: Vec::new() })
    }

    /// The first stage that went wrong.
    pub fn culprit(&self) -> Option<&Stage> {
        let wrong =
            |stage: &&Stage| matches!(stage.state, StageState::Failed | StageState::TimedOut | StageState::Infra);
        self.stages.iter().find(wrong)
    }

    /// The stage that is at work.
    pub fn current(&self) -> Option<StageName> {
        self.stages.iter().find(|stage| stage.state == StageState::Running).map(|stage| stage.name)
    }
}

impl Place {
    fn of(db: &Connection, id: RunId) -> Result<Place, StoreError> {
        let places = turns::places(db, PLACES + 1)?;
        // Whoever stands further back is told so, and not how far.
        let index = places.iter().position(|run| *run == id).unwrap_or(places.len());
        let before = index.checked_sub(1).and_then(|before| places.get(before));
        let behind = match before.map(|before| runs::by_id(db, *before)).transpose()?.flatten() {
            Some(run) => Some(Behind {
                name: name(db, &run)?,
                pr: run.pr,
                started_at: run.started_at,
                usually: runs::usual(db, &run.recipe)?,
            }),
            None => None,
        };
        Ok(Place { number: index + 1, behind })
    }
}

fn name(db: &Connection, run: &Run) -> Result<String, StoreError> {
    let repository = match run.repository {
        Some(id) => repositories::by_id(db, id)?.map(|repository| repository.repo.name.to_string()),
        None => None,
    };
    Ok(repository.unwrap_or_else(|| run.recipe.clone()))
}
