//! The stages of a run and the checks in them.

use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, params};

use super::{StoreError, events};
use crate::clock::Time;
use crate::model::{CheckState, RunId, StageName, StageState};

#[derive(Clone, Debug)]
pub struct Stage {
    pub ordinal: i64,
    pub name: StageName,
    pub state: StageState,
    pub reason: Option<String>,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    /// Of its time, what the recipe's own update monitor asked for.
    pub waited: Duration,
}

/// One assertion with a name.
#[derive(Clone, Debug)]
pub struct Check {
    pub stage: StageName,
    pub name: String,
    pub state: CheckState,
    pub expected: Option<String>,
    pub got: Option<String>,
    pub took: Option<Duration>,
}

/// The plan of a run: each stage waiting, or not to be done and why.
pub fn plan(
    tx: &Transaction,
    run: RunId,
    stages: &[(StageName, StageState, Option<String>)],
) -> Result<(), StoreError> {
    let mut statement =
        tx.prepare_cached("insert into stages (run, ordinal, name, state, reason) values (?1, ?2, ?3, ?4, ?5)")?;
    for (ordinal, (name, state, reason)) in (0_i64..).zip(stages) {
        statement.execute(params![run, ordinal, name, state, reason])?;
    }
    Ok(())
}

pub fn start(tx: &Transaction, run: RunId, name: StageName, now: Time) -> Result<(), StoreError> {
    let rows = tx
        .prepare_cached(
            "update stages set state = 'running', started_at = ?3 where run = ?1 and name = ?2 and state = 'waiting'",
        )?
        .execute(params![run, name, now.0])?;
    if rows != 1 {
        return Err(StoreError::Refused(format!("stage {name} of run {run} is not waiting")));
    }
    events::push(tx, Some(run), "stage", &format!("{name} running"), now)
}

/// The end of a stage that ran, or the reason why it never will.
pub fn finish(
    tx: &Transaction,
    run: RunId,
    name: StageName,
    state: StageState,
    reason: Option<&str>,
    waited: Duration,
    now: Time,
) -> Result<(), StoreError> {
    let rows = tx
        .prepare_cached(
            "update stages set state = ?3, reason = ?4, waited_ms = ?5, finished_at = ?6
              where run = ?1 and name = ?2 and state in ('waiting', 'running')",
        )?
        .execute(params![run, name, state, reason, i64::try_from(waited.as_millis()).unwrap_or(i64::MAX), now.0])?;
    if rows != 1 {
        return Err(StoreError::Refused(format!("stage {name} of run {run} is over already")));
    }
    events::push(tx, Some(run), "stage", &format!("{name} {state}"), now)
}

pub fn of_run(db: &Connection, run: RunId) -> Result<Vec<Stage>, StoreError> {
    let mut statement = db.prepare_cached("select * from stages where run = ?1 order by ordinal")?;
    let rows = statement.query_map([run], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row) -> rusqlite::Result<Stage> {
    Ok(Stage {
        ordinal: row.get("ordinal")?,
        name: row.get("name")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        started_at: row.get::<_, Option<i64>>("started_at")?.map(Time),
        finished_at: row.get::<_, Option<i64>>("finished_at")?.map(Time),
        waited: Duration::from_millis(row.get::<_, i64>("waited_ms")?.unsigned_abs()),
    })
}

pub fn add_check(tx: &Transaction, run: RunId, check: &Check, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into checks (run, ordinal, stage, name, state, expected, got, took_ms)
         values (?1, (select coalesce(max(ordinal), -1) + 1 from checks where run = ?1), ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        run,
        check.stage,
        check.name,
        check.state,
        check.expected,
        check.got,
        check.took.map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX))
    ])?;
    events::push(tx, Some(run), "check", &format!("{} {}", check.name, check.state), now)
}

pub fn checks_of_run(db: &Connection, run: RunId) -> Result<Vec<Check>, StoreError> {
    let mut statement = db.prepare_cached("select * from checks where run = ?1 order by ordinal")?;
    let rows = statement.query_map([run], |row| {
        Ok(Check {
            stage: row.get("stage")?,
            name: row.get("name")?,
            state: row.get("state")?,
            expected: row.get("expected")?,
            got: row.get("got")?,
            took: row.get::<_, Option<i64>>("took_ms")?.map(|ms| Duration::from_millis(ms.unsigned_abs())),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
