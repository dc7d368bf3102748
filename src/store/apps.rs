//! What was made outside. The row comes first, so that a crash in between leaves a name to look for.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{AppDomain, NotA, RunId, StackName};

#[derive(Clone, Debug)]
pub struct App {
    pub id: i64,
    pub run: RunId,
    pub domain: AppDomain,
    pub stack: StackName,
    /// The run's own `ABRA_DIR`, which holds the app's `.env`.
    pub abra_dir: String,
    pub created_at: Time,
    pub gone_at: Option<Time>,
    /// What the last teardown failed to remove, one a line.
    pub leftovers: Option<String>,
}

pub fn intend(tx: &Transaction, run: RunId, domain: &AppDomain, abra_dir: &str, now: Time) -> Result<i64, StoreError> {
    tx.prepare_cached("insert into apps (run, domain, stack, abra_dir, created_at) values (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![run, domain.as_str(), domain.stack().as_str(), abra_dir, now.0])?;
    Ok(tx.last_insert_rowid())
}

/// A verified teardown found nothing.
pub fn gone(tx: &Transaction, id: i64, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update apps set gone_at = coalesce(gone_at, ?2), leftovers = null where id = ?1")?
        .execute(params![id, now.0])?;
    Ok(())
}

pub fn left_over(tx: &Transaction, id: i64, what: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update apps set leftovers = ?2 where id = ?1 and gone_at is null")?
        .execute(params![id, what])?;
    Ok(())
}

pub fn by_id(db: &Connection, id: i64) -> Result<Option<App>, StoreError> {
    Ok(db.prepare_cached("select * from apps where id = ?1")?.query_row([id], read).optional()?)
}

/// Made and not yet proven gone. Walks `apps_standing`.
pub fn standing(db: &Connection) -> Result<Vec<App>, StoreError> {
    let mut statement = db.prepare_cached("select * from apps where gone_at is null order by id")?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn of_run(db: &Connection, run: RunId) -> Result<Vec<App>, StoreError> {
    let mut statement = db.prepare_cached("select * from apps where run = ?1 order by id")?;
    let rows = statement.query_map([run], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row) -> rusqlite::Result<App> {
    let word = |error: NotA| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
    Ok(App {
        id: row.get("id")?,
        run: row.get("run")?,
        domain: row.get::<_, String>("domain")?.parse().map_err(word)?,
        stack: row.get::<_, String>("stack")?.parse().map_err(word)?,
        abra_dir: row.get("abra_dir")?,
        created_at: Time(row.get("created_at")?),
        gone_at: row.get::<_, Option<i64>>("gone_at")?.map(Time),
        leftovers: row.get("leftovers")?,
    })
}
