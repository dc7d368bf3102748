//! What pages show, in as few columns and steps as they need: lists are read thousands of times a second.

use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::runs::Filter;
use super::turns;
use crate::clock::Time;
use crate::model::{Outcome, Pr, RunId, StageName};

/// A run as a line of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: RunId,
    pub recipe: String,
    pub pr: Option<Pr>,
    pub head: String,
    pub title: String,
    pub asked_by: String,
    pub queued_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    pub version: Option<String>,
    pub level: Option<i64>,
    pub waits_for: Option<String>,
    pub attempt: i64,
}

/// The columns of [`Listed`], read by position.
macro_rules! listed {
    ($rest:literal) => {
        concat!(
            "select id, recipe, pr, head, title, asked_by, queued_at, started_at, finished_at, outcome, reason, version,
                    level, waits_for, attempt
               from runs ",
            $rest
        )
    };
}

fn listed(row: &Row) -> rusqlite::Result<Listed> {
    Ok(Listed {
        id: row.get(0)?,
        recipe: row.get(1)?,
        pr: row.get(2)?,
        head: row.get(3)?,
        title: row.get(4)?,
        asked_by: row.get(5)?,
        queued_at: Time(row.get(6)?),
        started_at: row.get::<_, Option<i64>>(7)?.map(Time),
        finished_at: row.get::<_, Option<i64>>(8)?.map(Time),
        outcome: row.get(9)?,
        reason: row.get(10)?,
        version: row.get(11)?,
        level: row.get(12)?,
        waits_for: row.get(13)?,
        attempt: row.get(14)?,
    })
}

/// The statement of a filter; each walks the index that has its order.
pub(super) fn list_sql(filter: &Filter) -> String {
    format!("{}{}id < ?1 order by id desc limit ?2", listed!("where "), filter.conditions())
}

/// Newest first, below `before`.
pub fn list(db: &Connection, filter: &Filter, before: Option<RunId>, count: u32) -> Result<Vec<Listed>, StoreError> {
    let before = before.map_or(i64::MAX, |id| id.0);
    let mut statement = db.prepare_cached(&list_sql(filter))?;
    let rows = statement.query_map(&*filter.parameters(&before, &count), listed)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What runs, then what waits, in the order of its turns.
pub fn open(db: &Connection, count: usize) -> Result<Vec<Listed>, StoreError> {
    let mut statement = db.prepare_cached(listed!("where id = ?1"))?;
    let rows = turns::places(db, count)?.into_iter().map(|id| statement.query_row([id], listed));
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) const OPEN_COUNT: &str = "
    select count(*), count(*) filter (where started_at is not null) from runs where finished_at is null";

/// How many wait, and how many run.
pub fn open_count(db: &Connection) -> Result<(i64, i64), StoreError> {
    let (all, running): (i64, i64) =
        db.prepare_cached(OPEN_COUNT)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((all - running, running))
}

/// One of a recipe's latest runs, as a shape in its row.
#[derive(Clone, Debug)]
pub struct Brief {
    pub id: RunId,
    pub pr: Option<Pr>,
    pub head: String,
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    pub queued_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub level: Option<i64>,
    pub level_reason: Option<String>,
}

/// Walks `runs_by_recipe`.
pub(super) const LATEST_OF_RECIPE: &str = "
    select id, pr, outcome, reason, queued_at, started_at, finished_at, level, level_reason, head
      from runs
     where recipe = ?1
     order by id desc
     limit ?2";

pub fn latest_of_recipe(db: &Connection, recipe: &str, count: u32) -> Result<Vec<Brief>, StoreError> {
    let mut statement = db.prepare_cached(LATEST_OF_RECIPE)?;
    let rows = statement.query_map(params![recipe, count], |row| {
        Ok(Brief {
            id: row.get(0)?,
            pr: row.get(1)?,
            outcome: row.get(2)?,
            reason: row.get(3)?,
            queued_at: Time(row.get(4)?),
            started_at: row.get::<_, Option<i64>>(5)?.map(Time),
            finished_at: row.get::<_, Option<i64>>(6)?.map(Time),
            level: row.get(7)?,
            level_reason: row.get(8)?,
            head: row.get(9)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How long a run that passes takes: the middle of those among these.
pub fn median(latest: &[Brief]) -> Option<Duration> {
    let took = |brief: &Brief| match (brief.outcome, brief.started_at, brief.finished_at) {
        (Some(Outcome::Passed), Some(started), Some(finished)) => Some(finished.since(started)),
        _ => None,
    };
    middle(&mut latest.iter().filter_map(took).collect::<Vec<_>>())
}

/// The one in the middle.
pub fn middle(spans: &mut [Duration]) -> Option<Duration> {
    spans.sort_unstable();
    spans.get(spans.len().checked_sub(1)? / 2).copied()
}

/// Walks `runs_by_recipe`, one step a recipe.
pub(super) const RECIPES: &str = "
    with recursive names (name) as (
        select min(recipe) from runs where recipe > ?1
        union all
        select (select min(recipe) from runs where recipe > name) from names where name is not null)
    select name from names where name is not null limit ?2";

/// Recipes that have a run, by name, after `after`.
pub fn recipes(db: &Connection, after: Option<&str>, count: u32) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare_cached(RECIPES)?;
    let rows = statement.query_map(params![after.unwrap_or(""), count], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The stage a run is in, and since when.
pub fn current_stage(db: &Connection, run: RunId) -> Result<Option<(StageName, Option<Time>)>, StoreError> {
    let mut statement = db.prepare_cached(
        "select name, started_at from stages where run = ?1 and state = 'running' order by ordinal desc limit 1",
    )?;
    let mut rows = statement.query([run])?;
    Ok(match rows.next()? {
        Some(row) => Some((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(Time))),
        None => None,
    })
}

/// The newest run's number; 0 when there is none.
pub fn newest(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("select coalesce(max(id), 0) from runs", [], |row| row.get(0))?)
}

/// How many repositories are tested, and how many are only seen.
pub fn enrolled_count(db: &Connection) -> Result<(i64, i64), StoreError> {
    Ok(db
        .prepare_cached(
            "select count(*) filter (where enrolled = 1), count(*) filter (where enrolled = 0) from repositories",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// What of the open runs and the standing apps a page shows and no event tells: one text a run, to be compared with the one
/// before. Walks `runs_waiting` and `apps_standing`.
pub fn open_marks(db: &Connection, count: u32) -> Result<Vec<(RunId, String)>, StoreError> {
    let mut statement = db.prepare_cached(
        "select id, json_array(waits_for, recipe, version, domain, base, level, level_reason, cancel_at, superseded_by,
                               unredactable)
           from runs where finished_at is null order by id limit ?1",
    )?;
    let rows = statement.query_map([count], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut marks: Vec<(RunId, String)> = rows.collect::<Result<_, _>>()?;
    let mut statement = db.prepare_cached(
        "select run, 'app ' || id || ' ' || coalesce(leftovers, '') from apps where gone_at is null order by id limit ?1",
    )?;
    let rows = statement.query_map([count], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        marks.push(row?);
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(middle(&mut []), None);
        let mut three = [Duration::from_secs(9), Duration::from_secs(1), Duration::from_secs(5)];
        assert_eq!(middle(&mut three), Some(Duration::from_secs(5)));
    }
}
