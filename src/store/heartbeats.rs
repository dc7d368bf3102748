//! Each process says that it lives and what it sees; the server knows the host from the runner's row alone.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::StoreError;
use crate::clock::Time;

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub pid: u32,
    pub version: String,
    pub started_at: Time,
    pub at: Time,
    /// JSON, by process.
    pub facts: String,
}

pub fn beat(tx: &Transaction, process: &str, beat: &Heartbeat) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into heartbeats (process, pid, version, started_at, at, facts) values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict (process) do update set pid = ?2, version = ?3, started_at = ?4, at = ?5, facts = ?6",
    )?
    .execute(params![process, beat.pid, beat.version, beat.started_at.0, beat.at.0, beat.facts])?;
    Ok(())
}

pub fn of(db: &Connection, process: &str) -> Result<Option<Heartbeat>, StoreError> {
    let mut statement =
        db.prepare_cached("select pid, version, started_at, at, facts from heartbeats where process = ?1")?;
    Ok(statement
        .query_row([process], |row| {
            Ok(Heartbeat {
                pid: row.get(0)?,
                version: row.get(1)?,
                started_at: Time(row.get(2)?),
                at: Time(row.get(3)?),
                facts: row.get(4)?,
            })
        })
        .optional()?)
}
