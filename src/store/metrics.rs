//! What a monitor asks for, counted where it lies. Each looks at a bounded number of the newest rows, so that asking often costs
//! little however long the history is.

use rusqlite::{Connection, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{Outcome, StageName};

/// Runs, and rows of the outbox, that are looked at.
const NEWEST: u32 = 2000;
const STAGES_OF: u32 = 200;
const STATUSES: u32 = 300;

/// What can be counted in the database.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub waiting: i64,
    pub running: i64,
    pub oldest_waiting: Option<Time>,
    /// Of those that ended since `since`.
    pub outcomes: Vec<(Outcome, i64)>,
    /// Later attempts among the runs asked for since `since`.
    pub retries: i64,
    /// Milliseconds of each stage that ran in the newest runs.
    pub stages: Vec<(StageName, i64)>,
    /// Milliseconds from a comment to its head's first status.
    pub to_pending: Vec<i64>,
    /// Words for the forge that wait, those among them that failed before, and those given up since `since`.
    pub outbox_open: i64,
    pub outbox_failing: i64,
    pub outbox_given_up: i64,
    /// Enrolled repositories whose last look went wrong.
    pub repositories_failing: i64,
    /// Apps that a teardown could not remove whole.
    pub leftovers: i64,
}

pub fn counts(db: &Connection, since: Time) -> Result<Counts, StoreError> {
    let number = |sql: &str| Ok::<i64, StoreError>(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?);
    let recent = |sql: &str| {
        Ok::<i64, StoreError>(db.prepare_cached(sql)?.query_row(params![since.0, NEWEST], |row| row.get(0))?)
    };
    let (waiting, running) = super::pages::open_count(db)?;
    let oldest: Option<i64> = db
        .prepare_cached("select min(queued_at) from runs where finished_at is null and started_at is null")?
        .query_row([], |row| row.get(0))?;
    Ok(Counts {
        waiting,
        running,
        oldest_waiting: oldest.map(Time),
        outcomes: outcomes(db, since)?,
        retries: recent(
            "select count(*) from (select attempt, queued_at from runs order by id desc limit ?2)
              where attempt > 1 and queued_at >= ?1",
        )?,
        stages: stages(db)?,
        to_pending: to_pending(db)?,
        outbox_open: number("select count(*) from outbox where done_at is null and gave_up_at is null")?,
        outbox_failing: number(
            "select count(*) from outbox where done_at is null and gave_up_at is null and last_error is not null",
        )?,
        outbox_given_up: recent(
            "select count(*) from (select gave_up_at from outbox order by id desc limit ?2) where gave_up_at >= ?1",
        )?,
        repositories_failing: number(
            "select count(*) from repositories where enrolled = 1 and last_error is not null",
        )?,
        leftovers: number("select count(*) from apps where gone_at is null and leftovers is not null")?,
    })
}

fn outcomes(db: &Connection, since: Time) -> Result<Vec<(Outcome, i64)>, StoreError> {
    let mut statement = db.prepare_cached(
        "select outcome, count(*) from (select outcome, finished_at from runs order by id desc limit ?2)
          where finished_at >= ?1 group by outcome",
    )?;
    let rows = statement.query_map(params![since.0, NEWEST], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn stages(db: &Connection) -> Result<Vec<(StageName, i64)>, StoreError> {
    let mut statement = db.prepare_cached(
        "select s.name, s.finished_at - s.started_at
           from (select id from runs order by id desc limit ?1) r join stages s on s.run = r.id
          where s.started_at is not null and s.finished_at is not null",
    )?;
    let rows = statement.query_map([STAGES_OF], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The oldest run's first status may lie before the rows that are looked at, so it is left out.
fn to_pending(db: &Connection) -> Result<Vec<i64>, StoreError> {
    let mut statement = db.prepare_cached(
        "select max(min(o.done_at) - c.created_at, 0)
           from (select run, done_at from outbox
                  where id in (select id from outbox order by id desc limit ?1)
                    and kind = 'status' and done_at is not null) o
           join runs r on r.id = o.run
           join comments c on c.id = r.comment
          group by o.run order by o.run desc",
    )?;
    let rows = statement.query_map([STATUSES], |row| row.get(0))?;
    let mut all: Vec<i64> = rows.collect::<Result<_, _>>()?;
    all.pop();
    Ok(all)
}
