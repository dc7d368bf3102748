//! Forgetting: which runs are over, and taking one with all its rows out of the database.

use rusqlite::{Connection, Transaction, params};

use super::{StoreError, events};
use crate::clock::Time;
use crate::model::{Outcome, RunId};

/// A run that may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    pub id: RunId,
    pub recipe: String,
    pub outcome: Outcome,
    pub finished_at: Time,
    /// Of its evidence.
    pub bytes: u64,
}

/// Runs that are over, newest first, but for those of which something still stands or is still to be said.
pub fn over(db: &Connection) -> Result<Vec<Over>, StoreError> {
    let mut statement = db.prepare_cached(
        "select id, recipe, outcome, finished_at, (select coalesce(sum(bytes), 0) from evidence where run = runs.id)
           from runs
          where finished_at is not null
            and not exists (select 1 from apps where run = runs.id and gone_at is null)
            and not exists (select 1 from outbox where run = runs.id and done_at is null and gave_up_at is null)
            and not exists (select 1 from notices where run = runs.id and spread_at is null)
            and not exists (select 1 from notices join deliveries on notice = notices.id
                             where run = runs.id and done_at is null and gave_up_at is null)
          order by id desc",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Over {
            id: row.get(0)?,
            recipe: row.get(1)?,
            outcome: row.get(2)?,
            finished_at: Time(row.get(3)?),
            bytes: row.get::<_, i64>(4)?.unsigned_abs(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes a run out. Its comment stays, so that nothing fires twice; other runs lose the link to it.
pub fn forget(tx: &Transaction, run: RunId, now: Time) -> Result<(), StoreError> {
    for sql in [
        "update comments set run = null where run = ?1",
        "update runs set retry_of = null where retry_of = ?1",
        "update runs set superseded_by = null where superseded_by = ?1",
        "update voices set verdict_of = null where verdict_of = ?1",
        "delete from outbox where run = ?1",
        "delete from events where run = ?1",
        "delete from apps where run = ?1",
        "delete from runs where id = ?1",
    ] {
        tx.prepare_cached(sql)?.execute(params![run])?;
    }
    // Whoever shows it hears that it is gone.
    events::push(tx, Some(run), "run", "forgotten", now)
}

#[cfg(test)]
mod tests {
    use super::super::plans::plan_of;

    #[tokio::test]
    async fn forgetting_one_of_many_runs_walks_no_table() {
        for table in [
            "comments where run",
            "runs where retry_of",
            "runs where superseded_by",
            "outbox where run",
            "notices where run",
        ] {
            let plan = plan_of(Box::leak(format!("select 1 from {table} = ?1").into_boxed_str())).await;
            assert!(plan.contains("SEARCH") && !plan.contains("SCAN"), "{table}: {plan}");
        }
    }
}
