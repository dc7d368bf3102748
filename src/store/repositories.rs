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
    /// The newest change of a comment that was read; `None` until the first look.
    pub watermark: Option<Time>,
    pub first_look_at: Option<Time>,
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
        watermark: row.get::<_, Option<i64>>("watermark")?.map(Time),
        first_look_at: row.get::<_, Option<i64>>("first_look_at")?.map(Time),
        last_look_at: row.get::<_, Option<i64>>("last_look_at")?.map(Time),
        last_error: row.get("last_error")?,
        recipe: row.get("recipe")?,
    })
}

fn bad(error: crate::model::NotA) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

/// Notes a repository and the rule's word on it; a rename keeps everything else.
pub fn see(tx: &Transaction, id: RepoId, repo: &Repo, enrolled: bool, why: &str, now: Time) -> Result<(), StoreError> {
    // A name that moved to another repository must not stop the one that has it now.
    tx.prepare_cached(
        "update repositories set name = name || '-was-' || id where owner = ?1 and name = ?2 and id <> ?3",
    )?
    .execute(params![repo.owner.as_str(), repo.name.as_str(), id])?;
    tx.prepare_cached(
        "insert into repositories (id, owner, name, enrolled, why, seen_at) values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict (id) do update set owner = ?2, name = ?3, enrolled = ?4, why = ?5",
    )?
    .execute(params![id, repo.owner.as_str(), repo.name.as_str(), enrolled, why, now.0])?;
    Ok(())
}

/// A look went well: the watermark moves forward and never back.
pub fn looked(tx: &Transaction, id: RepoId, watermark: Time, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached(
        "update repositories
            set watermark = max(coalesce(watermark, ?2), ?2), first_look_at = coalesce(first_look_at, ?3),
                last_look_at = ?3, last_error = null
          where id = ?1",
    )?
    .execute(params![id, watermark.0, now.0])?;
    Ok(())
}

/// A look went wrong; shown to the operator until one goes well.
pub fn look_failed(tx: &Transaction, id: RepoId, error: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update repositories set last_error = ?2 where id = ?1")?.execute(params![id, error])?;
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
