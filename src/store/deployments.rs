//! Deployments of runs, each noted before it is made.

use rusqlite::{Connection, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{Head, RunId, StageName};

/// One deploy that is about to be made.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    pub stage: StageName,
    pub commit: Head,
    /// Over what runs already.
    pub in_place: bool,
    /// JSON of [`crate::swarm::converge::Before`].
    pub before: String,
}

pub fn add(tx: &Transaction, run: RunId, new: &NewDeployment, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into deployments (run, ordinal, stage, commit_id, in_place, at, before)
         values (?1, (select coalesce(max(ordinal), -1) + 1 from deployments where run = ?1), ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![run, new.stage, new.commit.as_str(), new.in_place, now.0, new.before])?;
    Ok(())
}

/// The stages that deployed, once for each deploy, in their order.
pub fn stages_of_run(db: &Connection, run: RunId) -> Result<Vec<StageName>, StoreError> {
    let mut statement = db.prepare_cached("select stage from deployments where run = ?1 order by ordinal")?;
    let rows = statement.query_map([run], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
