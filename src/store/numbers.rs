//! Numbers for those who watch a machine over time.

use rusqlite::Connection;

use super::StoreError;
use crate::clock::Time;
use crate::model::Outcome;

#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub waiting: u64,
    pub running: u64,
    /// Since when the longest one has waited.
    pub oldest_wait: Option<Time>,
    /// Runs that are kept, by how they ended.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Apps of which a teardown left something.
    pub leftovers: u64,
    /// What the forge has not taken yet, and since when the oldest of it is due.
    pub unsaid: u64,
    pub oldest_unsaid: Option<Time>,
}

/// Counts. Walks `runs_waiting`, `runs_by_outcome`, `apps_standing` and `outbox_due`.
pub fn count(db: &Connection) -> Result<Numbers, StoreError> {
    let mut numbers = Numbers::default();
    let count = |number: i64| number.unsigned_abs();
    let mut open = db.prepare_cached(
        "select count(*) filter (where started_at is null), count(*) filter (where started_at is not null),
                min(queued_at) filter (where started_at is null)
           from runs where finished_at is null",
    )?;
    (numbers.waiting, numbers.running, numbers.oldest_wait) = open
        .query_row([], |row| Ok((count(row.get(0)?), count(row.get(1)?), row.get::<_, Option<i64>>(2)?.map(Time))))?;
    let mut ended =
        db.prepare_cached("select outcome, count(*) from runs where outcome is not null group by outcome")?;
    let rows = ended.query_map([], |row| Ok((row.get(0)?, count(row.get(1)?))))?;
    numbers.outcomes = rows.collect::<Result<_, _>>()?;
    numbers.leftovers = count(db.query_row(
        "select count(*) from apps where gone_at is null and leftovers is not null",
        [],
        |row| row.get(0),
    )?);
    (numbers.unsaid, numbers.oldest_unsaid) = db.query_row(
        "select count(*), min(created_at) from outbox where done_at is null and gave_up_at is null",
        [],
        |row| Ok((count(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(Time))),
    )?;
    Ok(numbers)
}
