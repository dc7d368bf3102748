//! Whose turn it is. What was interrupted goes on first. Then recipes take turns: the one that had none for longest is next,
//! and of one recipe first asked is first served, so that forty requests on one recipe hold up nobody else's for more than one
//! run. Turns count from when the oldest that waits was asked for: an idle appliance serves in the order of asking. Then come
//! those of the schedule, for which nobody waits, and last those that pause before they are tried again.
//!
//! Everybody who speaks of the queue (scheduler, comment, page) asks here, so that all say the same. The cost grows with the
//! number of recipes and of places asked for, not with the queue.

use std::collections::VecDeque;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::StoreError;
use super::runs::{self, Run};
use crate::clock::Time;
use crate::model::RunId;

/// The first `count` of the queue, whole.
pub fn waiting(db: &Connection, count: usize) -> Result<Vec<Run>, StoreError> {
    let found: Result<Vec<Option<Run>>, StoreError> =
        order(db, count)?.into_iter().map(|id| runs::by_id(db, id)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// What runs, then what waits, by number: the places of the queue.
pub fn places(db: &Connection, count: usize) -> Result<Vec<RunId>, StoreError> {
    let mut places: Vec<RunId> = runs::running(db)?.into_iter().map(|run| run.id).collect();
    places.truncate(count);
    let room = count - places.len();
    places.append(&mut order(db, room)?);
    Ok(places)
}

/// The first `count` of the queue in their order.
pub fn order(db: &Connection, count: usize) -> Result<Vec<RunId>, StoreError> {
    let mut order = ids(db, RESUMING, count)?;
    order.append(&mut in_turns(db, count.saturating_sub(order.len()))?);
    order.append(&mut ids(db, OF_SCHEDULE, count.saturating_sub(order.len()))?);
    order.append(&mut ids(db, PAUSED, count.saturating_sub(order.len()))?);
    Ok(order)
}

/// Walks `runs_resuming`.
pub(super) const RESUMING: &str = "
    select id from runs
     where finished_at is null and started_at is null and resumes = 1
     order by id
     limit ?1";

/// Nobody waits for them. Walks `runs_of_schedule`.
pub(super) const OF_SCHEDULE: &str = "
    select id from runs indexed by runs_of_schedule
     where finished_at is null and started_at is null and not_before is null and resumes = 0 and origin = 'schedule'
     order by id
     limit ?1";

/// Walks `runs_paused`.
pub(super) const PAUSED: &str = "
    select id from runs
     where finished_at is null and started_at is null and not_before is not null and resumes = 0
     order by not_before, id
     limit ?1";

fn ids(db: &Connection, sql: &str, count: usize) -> Result<Vec<RunId>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([i64::try_from(count).unwrap_or(i64::MAX)], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A recipe that waits for its turn, with the first of its runs.
struct Turn {
    last: i64,
    runs: VecDeque<RunId>,
}

fn in_turns(db: &Connection, count: usize) -> Result<Vec<RunId>, StoreError> {
    let Some(since) = oldest(db)? else { return Ok(Vec::new()) };
    let mut turns = Vec::new();
    for (recipe, last) in recipes(db)? {
        turns.push(Turn { last: last.filter(|at| *at >= since).unwrap_or(i64::MIN), runs: first(db, &recipe, count)? });
    }
    let mut order = Vec::new();
    for place in 0..count {
        let next = turns.iter_mut().filter(|turn| !turn.runs.is_empty()).min_by_key(|turn| (turn.last, turn.runs[0]));
        let Some(turn) = next else { break };
        order.extend(turn.runs.pop_front());
        // Later than all that really happened, in the order of this list.
        turn.last = i64::MAX / 2 + i64::try_from(place).unwrap_or(0);
    }
    Ok(order)
}

/// Walks `runs_waiting`, over the few that run to the first that waits.
fn oldest(db: &Connection) -> Result<Option<i64>, StoreError> {
    let mut statement = db.prepare_cached(
        "select queued_at from runs
          where finished_at is null and started_at is null and origin <> 'schedule'
          order by id limit 1",
    )?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

/// Walks `runs_in_turn`, one step a recipe.
pub(super) const RECIPES: &str = "
    with recursive names (name) as (
        select min(recipe) from runs
         where finished_at is null and started_at is null and not_before is null and resumes = 0
           and origin <> 'schedule'
        union all
        select (select min(recipe) from runs
                 where recipe > name
                   and finished_at is null and started_at is null and not_before is null and resumes = 0
                   and origin <> 'schedule')
          from names where name is not null)
    select name, (select at from turns where recipe = name) from names where name is not null";

fn recipes(db: &Connection) -> Result<Vec<(String, Option<i64>)>, StoreError> {
    let mut statement = db.prepare_cached(RECIPES)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Walks `runs_in_turn`.
pub(super) const OF_RECIPE: &str = "
    select id from runs
     where recipe = ?1 and finished_at is null and started_at is null and not_before is null and resumes = 0
       and origin <> 'schedule'
     order by id
     limit ?2";

fn first(db: &Connection, recipe: &str, count: usize) -> Result<VecDeque<RunId>, StoreError> {
    let mut statement = db.prepare_cached(OF_RECIPE)?;
    let rows = statement.query_map(params![recipe, i64::try_from(count).unwrap_or(i64::MAX)], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A run of this recipe has started.
pub fn taken(tx: &Transaction, recipe: &str, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("insert into turns (recipe, at) values (?1, ?2) on conflict (recipe) do update set at = ?2")?
        .execute(params![recipe, now.0])?;
    Ok(())
}

/// It goes on before all others.
pub fn resume_first(tx: &Transaction, run: RunId) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set resumes = 1 where id = ?1")?.execute([run])?;
    Ok(())
}

/// It does not begin before this moment.
pub fn pause(tx: &Transaction, run: RunId, until: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set not_before = ?2 where id = ?1")?.execute(params![run, until.0])?;
    Ok(())
}

/// Whether a pause is over. Walks `runs_paused`.
pub fn a_pause_is_over(db: &Connection, now: Time) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached(
        "select 1 from runs
          where finished_at is null and started_at is null and not_before is not null and resumes = 0
            and not_before <= ?1",
    )?;
    Ok(statement.exists([now.0])?)
}

/// Those whose pause is over wait as all others do.
pub fn end_pauses(tx: &Transaction, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached(
        "update runs set not_before = null, waits_for = null
          where finished_at is null and started_at is null and not_before is not null and resumes = 0
            and not_before <= ?1",
    )?
    .execute([now.0])?;
    Ok(())
}

/// How many runs of this person wait. Walks `runs_of_member`.
pub fn waiting_of(db: &Connection, member: &str) -> Result<i64, StoreError> {
    Ok(db
        .prepare_cached("select count(*) from runs where finished_at is null and started_at is null and asked_by = ?1")?
        .query_row([member], |row| row.get(0))?)
}
