//! Every comment that was looked at, and what was decided about it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{CommentId, Pr, RepoId, RunId, Verdict};

/// A comment on a pull request, before anything was decided.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: CommentId,
    pub repository: RepoId,
    /// `None`: it stands on an issue.
    pub pr: Option<Pr>,
    pub author: String,
    /// First line, at most 200 characters.
    pub excerpt: String,
    /// What was asked, as the grammar understood it.
    pub command: Option<String>,
    pub created_at: Time,
    pub updated_at: Time,
    /// How often the forge's answer was not yet enough to decide.
    pub looks: i64,
}

/// Stores a comment that was never seen; `false` when it is an old acquaintance.
pub fn insert(tx: &Transaction, seen: &Seen, now: Time) -> Result<bool, StoreError> {
    let rows = tx
        .prepare_cached(
            "insert into comments (id, repository, pr, author, excerpt, command, created_at, updated_at, seen_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict (id) do nothing",
        )?
        .execute(params![
            seen.id,
            seen.repository,
            seen.pr,
            seen.author,
            seen.excerpt,
            seen.command,
            seen.created_at.0,
            seen.updated_at.0,
            now.0
        ])?;
    Ok(rows == 1)
}

/// Stores a comment that asks for nothing, or is in no case a request, together with that; `false` when it is an old
/// acquaintance.
pub fn insert_ignored(tx: &Transaction, seen: &Seen, reason: &str, now: Time) -> Result<bool, StoreError> {
    if !insert(tx, seen, now)? {
        return Ok(false);
    }
    if seen.command.is_some() {
        return decide(tx, seen.id, Verdict::Ignored, reason, None, now);
    }
    // Nobody waits for news of a comment in which nothing was asked, so there is no event.
    tx.prepare_cached("update comments set decision = 'ignored', reason = ?2, decided_at = ?3 where id = ?1")?
        .execute(params![seen.id, reason, now.0])?;
    Ok(true)
}

/// Writes the decision, once; `false` when another was faster.
pub fn decide(
    tx: &Transaction,
    id: CommentId,
    verdict: Verdict,
    reason: &str,
    run: Option<RunId>,
    now: Time,
) -> Result<bool, StoreError> {
    let rows = tx
        .prepare_cached(
            "update comments set decision = ?2, reason = ?3, run = ?4, decided_at = ?5 where id = ?1 and decision is null",
        )?
        .execute(params![id, verdict, reason, run, now.0])?;
    if rows == 1 {
        super::events::push(tx, run, "decision", verdict.as_str(), now)?;
    }
    Ok(rows == 1)
}

/// Walks `comments_undecided`.
pub(super) const UNDECIDED: &str = "select * from comments where decision is null and id > ?1 order by id limit ?2";

/// Stored but not decided, above `after`: oldest first.
pub fn undecided(db: &Connection, after: CommentId, count: u32) -> Result<Vec<Seen>, StoreError> {
    let mut statement = db.prepare_cached(UNDECIDED)?;
    let rows = statement.query_map(params![after, count], read_seen)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The forge's answer was not enough to decide; says how often that was so.
pub fn look_again(tx: &Transaction, id: CommentId) -> Result<i64, StoreError> {
    let mut statement =
        tx.prepare_cached("update comments set looks = looks + 1 where id = ?1 and decision is null returning looks")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Was this person refused on this pull request before? Walks `comments_refused`.
pub fn was_refused(db: &Connection, repository: RepoId, pr: Pr, author: &str) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached(
        "select 1 from comments where repository = ?1 and pr = ?2 and author = ?3 and decision = 'refused'",
    )?;
    Ok(statement.exists(params![repository, pr, author])?)
}

pub fn by_id(db: &Connection, id: CommentId) -> Result<Option<Seen>, StoreError> {
    Ok(db.prepare_cached("select * from comments where id = ?1")?.query_row([id], read_seen).optional()?)
}

fn read_seen(row: &Row) -> rusqlite::Result<Seen> {
    Ok(Seen {
        id: row.get("id")?,
        repository: row.get("repository")?,
        pr: row.get("pr")?,
        author: row.get("author")?,
        excerpt: row.get("excerpt")?,
        command: row.get("command")?,
        created_at: Time(row.get("created_at")?),
        updated_at: Time(row.get("updated_at")?),
        looks: row.get("looks")?,
    })
}

/// A decision, for the page that answers "why did nothing happen?".
#[derive(Clone, Debug)]
pub struct Decision {
    pub comment: CommentId,
    pub repo: String,
    /// `None`: it stands on an issue.
    pub pr: Option<Pr>,
    pub author: String,
    /// How the comment begins.
    pub excerpt: String,
    /// What was read in it.
    pub command: String,
    pub verdict: Verdict,
    pub reason: String,
    pub run: Option<RunId>,
    pub decided_at: Time,
}

/// Walks `decisions_newest`: only comments that asked for something, or named the command in vain.
pub(super) const DECISIONS: &str = "
    select c.id, r.owner || '/' || r.name as repo, c.pr, c.author, c.excerpt, c.command, c.decision, c.reason, c.run, c.decided_at
      from comments c join repositories r on r.id = c.repository
     where c.command is not null and c.decided_at is not null and (c.decided_at, c.id) < (?1, ?2)
     order by c.decided_at desc, c.id desc
     limit ?3";

/// Newest first, below `before` (moment and comment of the last row of the page before).
pub fn decisions(db: &Connection, before: Option<(Time, CommentId)>, count: u32) -> Result<Vec<Decision>, StoreError> {
    let (at, id) = before.map_or((i64::MAX, i64::MAX), |(at, id)| (at.0, id.0));
    let mut statement = db.prepare_cached(DECISIONS)?;
    let rows = statement.query_map(params![at, id, count], |row| {
        Ok(Decision {
            comment: row.get("id")?,
            repo: row.get("repo")?,
            pr: row.get("pr")?,
            author: row.get("author")?,
            excerpt: row.get("excerpt")?,
            command: row.get("command")?,
            verdict: row.get("decision")?,
            reason: row.get("reason")?,
            run: row.get("run")?,
            decided_at: Time(row.get("decided_at")?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
