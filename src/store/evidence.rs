//! Which pieces of evidence a run has. The bytes lie in files (`evidence`); a row is written when its file is there.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{StoreError, events};
use crate::clock::Time;
use crate::model::{EvidenceKind, RunId, StageName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub stage: StageName,
    /// The file's name: lower-case letters, digits, `.`, `_` and `-`.
    pub name: String,
    pub kind: EvidenceKind,
    pub bytes: u64,
    /// Bytes left out of its middle.
    pub cut: u64,
}

/// Notes a piece whose file is there. One that had the name is replaced, and keeps its place.
pub fn put(tx: &Transaction, run: RunId, piece: &Piece, now: Time) -> Result<(), StoreError> {
    let (bytes, cut) = (number(piece.bytes), number(piece.cut));
    tx.prepare_cached(
        "insert into evidence (run, ordinal, stage, name, kind, bytes, cut)
         values (?1, (select coalesce(max(ordinal), -1) + 1 from evidence where run = ?1), ?2, ?3, ?4, ?5, ?6)
         on conflict (run, name) do update set stage = ?2, kind = ?4, bytes = ?5, cut = ?6",
    )?
    .execute(params![run, piece.stage, piece.name, piece.kind, bytes, cut])?;
    events::push(tx, Some(run), "evidence", &piece.name, now)
}

/// In the order in which they were put.
pub fn of_run(db: &Connection, run: RunId) -> Result<Vec<Piece>, StoreError> {
    let mut statement = db.prepare_cached("select * from evidence where run = ?1 order by ordinal")?;
    let rows = statement.query_map([run], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn by_name(db: &Connection, run: RunId, name: &str) -> Result<Option<Piece>, StoreError> {
    let mut statement = db.prepare_cached("select * from evidence where run = ?1 and name = ?2")?;
    Ok(statement.query_row(params![run, name], read).optional()?)
}

/// Bytes of all that a run keeps, but of `name`.
pub fn bytes_beside(db: &Connection, run: RunId, name: &str) -> Result<u64, StoreError> {
    let mut statement =
        db.prepare_cached("select coalesce(sum(bytes), 0) from evidence where run = ?1 and name <> ?2")?;
    Ok(statement.query_row(params![run, name], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

fn read(row: &Row) -> rusqlite::Result<Piece> {
    Ok(Piece {
        stage: row.get("stage")?,
        name: row.get("name")?,
        kind: row.get("kind")?,
        bytes: row.get::<_, i64>("bytes")?.unsigned_abs(),
        cut: row.get::<_, i64>("cut")?.unsigned_abs(),
    })
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
