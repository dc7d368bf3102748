//! What the forge is to hear, and what it heard last.
//!
//! A row is pushed in the transaction that decided it. Rows of one key that are still open are one row made newer: what is said
//! is worked out when it is said, so ten changes in a second are one edit. A row that was made newer while it was being sent
//! stays open.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{CommentId, Head, Pr, RepoId, RunId};

/// What is to be said; the body of all but a reply is made from the run when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Eyes on the comment that asked.
    Reaction { comment: CommentId },
    /// The commit status of the run's head.
    Status { run: RunId },
    /// The one comment of the run's head, as the run is now.
    Comment { run: RunId },
    /// Words for whoever wrote a comment.
    Reply { comment: CommentId, body: String },
}

impl Report {
    /// As the database calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Report::Reaction { .. } => "reaction",
            Report::Status { .. } => "status",
            Report::Comment { .. } => "comment",
            Report::Reply { .. } => "reply",
        }
    }
}

/// An open row.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: i64,
    pub report: Report,
    pub repository: RepoId,
    pub pr: Pr,
    pub newness: i64,
    pub attempts: i64,
    /// An attempt was begun before: the forge may have it already.
    pub tried: bool,
    pub created_at: Time,
}

pub fn push(tx: &Transaction, report: &Report, repository: RepoId, pr: Pr, now: Time) -> Result<(), StoreError> {
    let kind = report.kind();
    let (key, run, comment, body) = match report {
        Report::Reaction { comment } => (format!("{kind}:{comment}"), None, Some(*comment), None),
        Report::Status { run } | Report::Comment { run } => (format!("{kind}:{run}"), Some(*run), None, None),
        Report::Reply { comment, body } => (format!("{kind}:{comment}"), None, Some(*comment), Some(body)),
    };
    tx.prepare_cached(
        "insert into outbox (key, kind, repository, pr, run, comment, body, created_at, due_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
         on conflict (key) where done_at is null and gave_up_at is null do update set newness = newness + 1",
    )?
    .execute(params![key, kind, repository, pr, run, comment, body, now.0])?;
    Ok(())
}

/// Walks `outbox_due`.
pub(super) const DUE: &str = "
    select * from outbox
     where done_at is null and gave_up_at is null and due_at <= ?1
     order by due_at, id
     limit ?2";

pub fn due(db: &Connection, now: Time, count: u32) -> Result<Vec<Due>, StoreError> {
    let mut statement = db.prepare_cached(DUE)?;
    let rows = statement.query_map(params![now.0, count], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the next row is due, if any is open.
pub fn next_due(db: &Connection) -> Result<Option<Time>, StoreError> {
    let mut statement = db.prepare_cached(
        "select due_at from outbox where done_at is null and gave_up_at is null order by due_at, id limit 1",
    )?;
    Ok(statement.query_row([], |row| Ok(Time(row.get(0)?))).optional()?)
}

fn read(row: &Row) -> rusqlite::Result<Due> {
    let kind: String = row.get("kind")?;
    let report = match kind.as_str() {
        "reaction" => Report::Reaction { comment: row.get("comment")? },
        "status" => Report::Status { run: row.get("run")? },
        "comment" => Report::Comment { run: row.get("run")? },
        _ => Report::Reply { comment: row.get("comment")?, body: row.get("body")? },
    };
    Ok(Due {
        id: row.get("id")?,
        report,
        repository: row.get("repository")?,
        pr: row.get("pr")?,
        newness: row.get("newness")?,
        attempts: row.get("attempts")?,
        tried: row.get::<_, Option<i64>>("tried_at")?.is_some(),
        created_at: Time(row.get("created_at")?),
    })
}

/// Written before an attempt, so that a crash behind it is known to have been one.
pub fn begin(tx: &Transaction, due: &Due, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update outbox set tried_at = coalesce(tried_at, ?2) where id = ?1")?
        .execute(params![due.id, now.0])?;
    Ok(())
}

/// The forge has it. `false`: it was made newer meanwhile and stays open.
pub fn done(tx: &Transaction, due: &Due, now: Time) -> Result<bool, StoreError> {
    let rows = tx
        .prepare_cached(
            "update outbox set done_at = ?3, last_error = null where id = ?1 and newness = ?2 and done_at is null",
        )?
        .execute(params![due.id, due.newness, now.0])?;
    if rows == 0 {
        // What it says now was never tried.
        tx.prepare_cached("update outbox set tried_at = null where id = ?1 and done_at is null")?.execute([due.id])?;
    }
    Ok(rows == 1)
}

pub fn try_again(tx: &Transaction, due: &Due, error: &str, at: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update outbox set attempts = attempts + 1, last_error = ?2, due_at = ?3 where id = ?1")?
        .execute(params![due.id, error, at.0])?;
    Ok(())
}

/// The forge will never take it; the run's result is what it is all the same.
pub fn give_up(tx: &Transaction, due: &Due, error: &str, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update outbox set attempts = attempts + 1, last_error = ?2, gave_up_at = ?3 where id = ?1")?
        .execute(params![due.id, error, now.0])?;
    Ok(())
}

/// How many rows are open, and since when the oldest is.
pub fn backlog(db: &Connection) -> Result<(i64, Option<Time>), StoreError> {
    Ok(db.query_row(
        "select count(*), min(created_at) from outbox where done_at is null and gave_up_at is null",
        [],
        |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(Time))),
    )?)
}

/// What was last said about a head.
#[derive(Clone, Debug, Default)]
pub struct Voice {
    /// The forge's number of our comment.
    pub comment: Option<CommentId>,
    pub body_hash: Option<String>,
    /// The run whose verdict it shows; `None` while it shows progress.
    pub verdict_of: Option<RunId>,
    /// The comment that `comment` took the place of, still to be deleted.
    pub replaced: Option<CommentId>,
    pub status: Option<String>,
}

pub fn voice(db: &Connection, repository: RepoId, pr: Pr, head: &Head) -> Result<Voice, StoreError> {
    let mut statement = db.prepare_cached(
        "select comment, body_hash, verdict_of, replaced, status from voices where repository = ?1 and pr = ?2 and head = ?3",
    )?;
    let found = statement
        .query_row(params![repository, pr, head.as_str()], |row| {
            Ok(Voice {
                comment: row.get(0)?,
                body_hash: row.get(1)?,
                verdict_of: row.get(2)?,
                replaced: row.get(3)?,
                status: row.get(4)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

pub fn set_voice(tx: &Transaction, repository: RepoId, pr: Pr, head: &Head, voice: &Voice) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into voices (repository, pr, head, comment, body_hash, verdict_of, replaced, status)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         on conflict (repository, pr, head)
         do update set comment = ?4, body_hash = ?5, verdict_of = ?6, replaced = ?7, status = ?8",
    )?
    .execute(params![
        repository,
        pr,
        head.as_str(),
        voice.comment,
        voice.body_hash,
        voice.verdict_of,
        voice.replaced,
        voice.status
    ])?;
    Ok(())
}
