//! What happened, in order, for pages that follow.

use rusqlite::{Connection, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::RunId;

#[derive(Clone, Debug)]
pub struct Event {
    pub id: i64,
    pub at: Time,
    pub run: Option<RunId>,
    pub kind: String,
    pub text: String,
}

/// Written by the transition itself, in its transaction.
pub fn push(tx: &Transaction, run: Option<RunId>, kind: &str, text: &str, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("insert into events (at, run, kind, text) values (?1, ?2, ?3, ?4)")?
        .execute(params![now.0, run, kind, text])?;
    Ok(())
}

/// After `id`, oldest first; of one run, or of all.
pub fn after(db: &Connection, id: i64, run: Option<RunId>, count: u32) -> Result<Vec<Event>, StoreError> {
    let sql = match run {
        Some(_) => "select * from events where run = ?3 and id > ?1 order by id limit ?2",
        None => "select * from events where id > ?1 and ?3 is null order by id limit ?2",
    };
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![id, count, run], |row| {
        Ok(Event {
            id: row.get("id")?,
            at: Time(row.get("at")?),
            run: row.get("run")?,
            kind: row.get("kind")?,
            text: row.get("text")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest event's number.
pub fn last(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("select coalesce(max(id), 0) from events", [], |row| row.get(0))?)
}

/// Forgets what is older than `before`, but never the newest, so that numbers go on rising.
pub fn trim(tx: &Transaction, before: Time) -> Result<(), StoreError> {
    tx.execute("delete from events where at < ?1 and id < (select max(id) from events)", [before.0])?;
    Ok(())
}
