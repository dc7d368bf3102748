//! What people did to this appliance other than by comments, in rows that cannot be changed unnoticed: each row's hash covers
//! what it says and the hash of the row before. Whoever may write the database can still make the whole chain anew; the last
//! hash, noted elsewhere, tells.

use rusqlite::{Connection, Row, Transaction, params};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::clock::Time;

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: i64,
    pub at: Time,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub said: String,
    pub hash: String,
}

/// What somebody did, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    pub actor: &'a str,
    pub action: &'a str,
    pub target: &'a str,
    pub said: &'a str,
}

fn read(row: &Row) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get("id")?,
        at: Time(row.get("at")?),
        actor: row.get("actor")?,
        action: row.get("action")?,
        target: row.get("target")?,
        said: row.get("said")?,
        hash: row.get("hash")?,
    })
}

/// Each part with its length, so that no two rows are the same text.
fn hash(before: &str, at: Time, act: Act) -> String {
    let at = at.0.to_string();
    let mut digest = Sha256::new();
    for part in [before, &at, act.actor, act.action, act.target, act.said] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

pub fn push(tx: &Transaction, act: Act, now: Time) -> Result<(), StoreError> {
    let before = last_hash(tx)?;
    tx.prepare_cached("insert into audit (at, actor, action, target, said, hash) values (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![now.0, act.actor, act.action, act.target, act.said, hash(&before, now, act)])?;
    Ok(())
}

/// Of the newest row; nothing where there is none.
pub fn last_hash(db: &Connection) -> Result<String, StoreError> {
    Ok(db.query_row("select coalesce((select hash from audit order by id desc limit 1), '')", [], |row| row.get(0))?)
}

/// Newest first, below `before`.
pub fn page(db: &Connection, before: Option<i64>, count: u32) -> Result<Vec<Entry>, StoreError> {
    let mut statement = db.prepare_cached("select * from audit where id < ?1 order by id desc limit ?2")?;
    let rows = statement.query_map(params![before.unwrap_or(i64::MAX), count], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many rows hold together, and the first that does not.
pub fn verify(db: &Connection) -> Result<(u64, Option<Entry>), StoreError> {
    let mut statement = db.prepare("select * from audit order by id")?;
    let mut rows = statement.query_map([], read)?;
    let (mut count, mut before, mut number) = (0, String::new(), 0);
    let found = rows.try_fold(None, |found: Option<Entry>, entry| {
        let entry = entry?;
        if found.is_some() {
            return Ok::<_, rusqlite::Error>(found);
        }
        number += 1;
        let Entry { actor, action, target, said, .. } = &entry;
        // Numbers without a gap: a row that is missing in the middle breaks the chain, one at the end would not.
        if entry.id != number || entry.hash != hash(&before, entry.at, Act { actor, action, target, said }) {
            return Ok(Some(entry));
        }
        count += 1;
        before.clone_from(&entry.hash);
        Ok(None)
    })?;
    let ever: i64 =
        db.query_row("select coalesce((select seq from sqlite_sequence where name = 'audit'), 0)", [], |row| {
            row.get(0)
        })?;
    let missing = || Entry {
        id: number + 1,
        at: Time(0),
        actor: String::new(),
        action: String::new(),
        target: String::new(),
        said: "is not there".into(),
        hash: String::new(),
    };
    Ok((count, found.or_else(|| (ever > number).then(missing))))
}

/// The action whose row asks the runner for a round of the janitor.
pub const JANITOR: &str = "janitor";

/// The newest such row; 0 where there is none. Walks `audit_janitor`.
pub fn last_asked_janitor(db: &Connection) -> Result<i64, StoreError> {
    let mut statement = db.prepare_cached("select coalesce(max(id), 0) from audit where action = 'janitor'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::empty;

    async fn verified(change: &'static str) -> (u64, Option<i64>) {
        let (_dir, store) = empty();
        let filled = store.write("is being tested", move |tx| {
            for (number, target) in ["run 1", "run 2", "run 3", "run 4"].into_iter().enumerate() {
                let act = Act { actor: "ann", action: "cancel", target, said: "told to end" };
                push(tx, act, Time(1000 + i64::try_from(number).unwrap_or(0)))?;
            }
            tx.execute_batch(change)?;
            let (count, broken) = verify(tx)?;
            Ok((count, broken.map(|entry| entry.id)))
        });
        filled.await.unwrap()
    }

    #[tokio::test]
    async fn a_chain_that_nobody_touched_holds() {
        assert_eq!(verified("").await, (4, None));
    }

    #[tokio::test]
    async fn whatever_is_changed_breaks_it_there() {
        assert_eq!(verified("update audit set target = 'run 9' where id = 2").await, (1, Some(2)));
        assert_eq!(verified("update audit set actor = 'a', action = 'nncancel' where id = 1").await, (0, Some(1)));
        assert_eq!(verified("delete from audit where id = 3").await, (2, Some(4)));
        assert_eq!(verified("delete from audit where id = 4").await, (3, Some(4)));
        assert_eq!(verified("delete from audit where id = 1").await, (0, Some(2)));
        let shifted = "update audit set at = at + 1 where id = 4";
        assert_eq!(verified(shifted).await, (3, Some(4)));
    }
}
