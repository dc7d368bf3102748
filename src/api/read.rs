//! The rows as programs read them, for the API and for the command line on the machine itself: what one says, the other does.

use rusqlite::Connection;
use serde_json::{Map, Value};

use super::{Decisions, Hosts, Process, Queue, Recipe, Recipes, Run, Runs, WholeRun, milliseconds};
use crate::clock::Time;
use crate::model::{CommentId, Outcome, RunId};
use crate::store::runs::Filter;
use crate::store::{StoreError, comments, heartbeats, pages, runs, stages, turns};

/// Runs of a recipe that its verdict, level and median are read from.
const LATEST: u32 = 20;
/// Waiting runs that are told one by one.
const WAITING: usize = 100;

/// Cuts what was read one row too far to see whether there are more: the last row that is shown then.
fn last_of_more<T>(page: &mut Vec<T>, count: u32) -> Option<&T> {
    let more = page.len() > count as usize;
    page.truncate(count as usize);
    page.last().filter(|_| more)
}

/// The newest first. `next` makes the address of the page behind a run.
pub fn runs(
    db: &Connection,
    filter: &Filter,
    before: Option<RunId>,
    count: u32,
    next: impl Fn(RunId) -> String,
) -> Result<Runs, StoreError> {
    let mut page = runs::page(db, filter, before, count + 1)?;
    let next = last_of_more(&mut page, count).map(|last| next(last.id));
    Ok(Runs { runs: page.iter().map(Run::from).collect(), next })
}

pub fn whole_run(db: &Connection, id: RunId) -> Result<Option<WholeRun>, StoreError> {
    let Some(run) = runs::by_id(db, id)? else { return Ok(None) };
    Ok(Some(WholeRun::of(&run, &stages::of_run(db, id)?, &stages::checks_of_run(db, id)?)))
}

pub fn queue(db: &Connection) -> Result<Queue, StoreError> {
    let (waiting_count, _) = pages::open_count(db)?;
    Ok(Queue {
        running: runs::running(db)?.iter().map(Run::from).collect(),
        waiting: turns::waiting(db, WAITING)?.iter().map(Run::from).collect(),
        waiting_count,
    })
}

/// By name, behind `after`.
pub fn recipes(
    db: &Connection,
    after: Option<&str>,
    count: u32,
    next: impl Fn(&str) -> String,
) -> Result<Recipes, StoreError> {
    let mut names = pages::recipes(db, after, count.saturating_add(1))?;
    let next = last_of_more(&mut names, count).map(|last| next(last));
    let recipes = names.into_iter().map(|name| recipe(db, name)).collect::<Result<_, StoreError>>()?;
    Ok(Recipes { recipes, next })
}

fn recipe(db: &Connection, name: String) -> Result<Recipe, StoreError> {
    let latest = pages::latest_of_recipe(db, &name, LATEST)?;
    let says = |outcome| matches!(outcome, Some(Outcome::Passed | Outcome::Failed | Outcome::TimedOut));
    let verdict = latest.iter().find(|run| says(run.outcome));
    let leveled = latest.iter().find(|run| run.level.is_some());
    Ok(Recipe {
        level: leveled.and_then(|run| run.level),
        level_reason: leveled.and_then(|run| run.level_reason.clone()),
        outcome: verdict.and_then(|run| run.outcome),
        last_run: latest.first().map(|run| run.id.0),
        last_at: latest.first().map(|run| run.queued_at.rfc3339()),
        median_ms: pages::median(&latest).map(milliseconds),
        name,
    })
}

/// The newest first.
pub fn decisions(
    db: &Connection,
    before: Option<(Time, CommentId)>,
    count: u32,
    next: impl Fn(Time, CommentId) -> String,
) -> Result<Decisions, StoreError> {
    let mut page = comments::decisions(db, before, count + 1)?;
    let next = last_of_more(&mut page, count).map(|last| next(last.decided_at, last.comment));
    Ok(Decisions { decisions: page.iter().map(super::Decision::from).collect(), next })
}

pub fn hosts(db: &Connection) -> Result<Hosts, StoreError> {
    let mut processes = Vec::new();
    for name in ["serve", "runner"] {
        if let Some(beat) = heartbeats::of(db, name)? {
            processes.push(Process {
                name: name.to_owned(),
                version: beat.version,
                started_at: beat.started_at.rfc3339(),
                heard_at: beat.at.rfc3339(),
                facts: serde_json::from_str::<Map<String, Value>>(&beat.facts).unwrap_or_default(),
            });
        }
    }
    Ok(Hosts { processes })
}
