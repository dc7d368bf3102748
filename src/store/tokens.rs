//! Tokens of the API: named, scoped, expiring, revocable, and stored as a hash that is worth nothing to who reads it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::clock::Time;
use crate::model::Scope;
use crate::secrets::Secret;

#[derive(Clone, Debug)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Time,
    pub expires_at: Time,
    pub used_at: Option<Time>,
    pub revoked_at: Option<Time>,
}

impl Token {
    pub fn is_good(&self, now: Time) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

fn read(row: &Row) -> rusqlite::Result<Token> {
    let scopes: String = row.get("scopes")?;
    Ok(Token {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: scopes.split(' ').filter_map(|scope| scope.parse().ok()).collect(),
        created_at: Time(row.get("created_at")?),
        expires_at: Time(row.get("expires_at")?),
        used_at: row.get::<_, Option<i64>>("used_at")?.map(Time),
        revoked_at: row.get::<_, Option<i64>>("revoked_at")?.map(Time),
    })
}

fn hash(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.expose()))
}

/// Refused when there is one of that name.
pub fn add(
    tx: &Transaction,
    name: &str,
    token: &Secret,
    scopes: &[Scope],
    expires_at: Time,
    now: Time,
) -> Result<i64, StoreError> {
    if tx.prepare_cached("select 1 from tokens where name = ?1")?.exists([name])? {
        return Err(StoreError::Refused(format!(
            "there is a token named `{name}` already; `cc-ci token list` shows them"
        )));
    }
    let scopes = scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
    tx.prepare_cached("insert into tokens (name, hash, scopes, created_at, expires_at) values (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![name, hash(token), scopes, now.0, expires_at.0])?;
    Ok(tx.last_insert_rowid())
}

/// Whose this is, good or not.
pub fn of(db: &Connection, token: &Secret) -> Result<Option<Token>, StoreError> {
    Ok(db.prepare_cached("select * from tokens where hash = ?1")?.query_row([hash(token)], read).optional()?)
}

pub fn all(db: &Connection) -> Result<Vec<Token>, StoreError> {
    let mut statement = db.prepare_cached("select * from tokens order by id")?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn used(tx: &Transaction, id: i64, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update tokens set used_at = ?2 where id = ?1")?.execute(params![id, now.0])?;
    Ok(())
}

/// `false` when there is none of that name, or it was revoked before.
pub fn revoke(tx: &Transaction, name: &str, now: Time) -> Result<bool, StoreError> {
    let rows = tx
        .prepare_cached("update tokens set revoked_at = ?2 where name = ?1 and revoked_at is null")?
        .execute(params![name, now.0])?;
    Ok(rows == 1)
}
