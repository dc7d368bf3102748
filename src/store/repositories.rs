//! Which repositories were seen, which are tested, and how far each was read.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{Login, Repo, RepoId, RepoName};

/// A repository as this appliance knows it.
#[derive(Clone, Debug)]
pub struct Repository {
    pub id: RepoId,
    pub repo: Repo,
    pub enrolled: bool,
    /// The rule that enrolled it, or why none did.
    pub why: String,
    /// The newest change of a comment that was read, by the forge's clock.
    pub watermark: Time,
    /// By the forge's clock: what was written before is history.
    pub first_look_at: Time,
    pub last_look_at: Option<Time>,
    pub last_error: Option<String>,
    pub recipe: Option<String>,
}

fn read(row: &Row) -> rusqlite::Result<Repository> {
    let word = |text: String| text;
    let owner: Login = word(row.get("owner")?).parse().map_err(bad)?;
    let name: RepoName = word(row.get("name")?).parse().map_err(bad)?;
    Ok(Repository {
        id: row.get("id")?,
        repo: Repo { owner, name },
        enrolled: row.get("enrolled")?,
        why: row.get("why")?,
        watermark: Time(row.get("watermark")?),
        first_look_at: Time(row.get("first_look_at")?),
        last_look_at: row.get::<_, Option<i64>>("last_look_at")?.map(Time),
        last_error: row.get("last_error")?,
        recipe: row.get("recipe")?,
    })
}

fn bad(error: crate::model::NotA) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

/// Notes a repository and the rule's word on it; a rename keeps everything else.
///
/// What was written before it was enrolled is history. One that was never seen counts from `unseen_since`, the moment of the
/// last complete listing, in which it was not; one that is enrolled after it was not, from `enrolled_at`: the same moment if it
/// was empty then, else now. Both are by the forge's clock.
pub fn see(
    tx: &Transaction,
    listed: &Listed<'_>,
    unseen_since: Time,
    enrolled_at: Time,
    now: Time,
) -> Result<(), StoreError> {
    let Listed { id, repo, enrolled, why } = *listed;
    // A name that moved to another repository must not stop the one that has it now.
    tx.prepare_cached(
        "update repositories set name = name || '-was-' || id where owner = ?1 and name = ?2 and id <> ?3",
    )?
    .execute(params![repo.owner.as_str(), repo.name.as_str(), id])?;
    tx.prepare_cached(
        "insert into repositories (id, owner, name, enrolled, why, watermark, first_look_at, seen_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?8)
         on conflict (id) do update
            set owner = ?2, name = ?3, enrolled = ?4, why = ?5,
                watermark = case when enrolled < ?4 then ?7 else watermark end,
                first_look_at = case when enrolled < ?4 then ?7 else first_look_at end",
    )?
    .execute(params![
        id,
        repo.owner.as_str(),
        repo.name.as_str(),
        enrolled,
        why,
        unseen_since.0,
        enrolled_at.0,
        now.0
    ])?;
    Ok(())
}

/// A repository as the forge lists it, and the rule's word on it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    pub id: RepoId,
    pub repo: &'a Repo,
    pub enrolled: bool,
    /// The rule that enrols it, or why none does.
    pub why: &'a str,
}

/// Enrolled, but not in a complete listing any more.
pub fn left(tx: &Transaction, id: RepoId, why: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update repositories set enrolled = 0, why = ?2 where id = ?1")?.execute(params![id, why])?;
    Ok(())
}

/// A look went well: the watermark, by the forge's clock, moves forward and never back.
pub fn looked(tx: &Transaction, id: RepoId, watermark: Time, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached(
        "update repositories
            set watermark = max(watermark, ?2), last_look_at = ?3, tried_at = ?3, last_error = null
          where id = ?1",
    )?
    .execute(params![id, watermark.0, now.0])?;
    Ok(())
}

/// A look went wrong; shown to the operator until one goes well.
pub fn look_failed(tx: &Transaction, id: RepoId, error: &str, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update repositories set last_error = ?2, tried_at = ?3 where id = ?1")?
        .execute(params![id, error, now.0])?;
    Ok(())
}

/// Enrolled and not looked at since `before`: who waited longest first.
pub fn unswept(db: &Connection, before: Time, count: u32) -> Result<Vec<Repository>, StoreError> {
    let mut statement = db.prepare_cached(
        "select * from repositories
          where enrolled = 1 and (tried_at is null or tried_at < ?1)
          order by tried_at, id
          limit ?2",
    )?;
    let rows = statement.query_map(params![before.0, count], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Enrolled and not acted on for this time of the schedule, each with the last time that was: whoever waited longest first.
pub fn unscheduled(db: &Connection, time: Time) -> Result<Vec<(Repository, Option<Time>)>, StoreError> {
    let mut statement = db.prepare_cached(
        "select * from repositories
          where enrolled = 1 and (scheduled_for is null or scheduled_for < ?1)
          order by scheduled_for, id",
    )?;
    let rows =
        statement.query_map([time.0], |row| Ok((read(row)?, row.get::<_, Option<i64>>("scheduled_for")?.map(Time))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The time of the schedule was acted on, or passed over.
pub fn set_scheduled(tx: &Transaction, id: RepoId, time: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update repositories set scheduled_for = ?2 where id = ?1")?.execute(params![id, time.0])?;
    Ok(())
}

pub fn set_recipe(tx: &Transaction, id: RepoId, recipe: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update repositories set recipe = ?2 where id = ?1")?.execute(params![id, recipe])?;
    Ok(())
}

pub fn by_id(db: &Connection, id: RepoId) -> Result<Option<Repository>, StoreError> {
    Ok(db.prepare_cached("select * from repositories where id = ?1")?.query_row([id], read).optional()?)
}

pub fn by_name(db: &Connection, repo: &Repo) -> Result<Option<Repository>, StoreError> {
    Ok(db
        .prepare_cached("select * from repositories where owner = ?1 and name = ?2")?
        .query_row([repo.owner.as_str(), repo.name.as_str()], read)
        .optional()?)
}

/// All of them by name, enrolled or not.
pub fn all(db: &Connection) -> Result<Vec<Repository>, StoreError> {
    let mut statement = db.prepare_cached("select * from repositories order by owner, name")?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those that hold this recipe, by what their `.env.sample` calls it or by their name.
pub fn of_recipe(db: &Connection, recipe: &str) -> Result<Vec<Repository>, StoreError> {
    let mut statement = db.prepare_cached(
        "select * from repositories where coalesce(recipe, name) = ?1 order by enrolled desc, owner, name limit 5",
    )?;
    let rows = statement.query_map([recipe], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn cursor(db: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    Ok(db
        .prepare_cached("select value from cursors where name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub fn set_cursor(tx: &Transaction, name: &str, value: &str) -> Result<(), StoreError> {
    tx.prepare_cached("insert into cursors (name, value) values (?1, ?2) on conflict (name) do update set value = ?2")?
        .execute([name, value])?;
    Ok(())
}
