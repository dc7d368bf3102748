//! Runs: what waits, what runs, what is over. The transitions of `engine::run` end here, each one statement.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::{StoreError, events, turns};
use crate::clock::Time;
use crate::model::{Asked, CommentId, Head, Origin, Outcome, Pr, RepoId, RunId};
use crate::plan::Plan;

/// A request that was accepted.
#[derive(Clone, Debug)]
pub struct NewRun {
    pub origin: Origin,
    pub repository: Option<RepoId>,
    /// `owner/name`, or a path for a local run.
    pub repo_name: String,
    /// The repository's name, until fetch has read the recipe's own.
    pub recipe: String,
    pub pr: Option<Pr>,
    pub head: Head,
    pub base_branch: Option<String>,
    pub title: String,
    pub comment: Option<CommentId>,
    pub asked_by: String,
    pub asked: Asked,
    /// The version that `from=` names.
    pub upgrade_from: Option<String>,
    pub attempt: i64,
    pub retry_of: Option<RunId>,
}

/// A run, whole.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: RunId,
    pub origin: Origin,
    pub repository: Option<RepoId>,
    pub repo_name: String,
    pub recipe: String,
    pub pr: Option<Pr>,
    pub head: Head,
    pub base_branch: Option<String>,
    pub title: String,
    pub comment: Option<CommentId>,
    pub asked_by: String,
    pub asked: Asked,
    /// The version that `from=` names.
    pub upgrade_from: Option<String>,
    /// What is going to be done, once that is known; before, the request says it.
    pub plan: Option<Plan>,
    pub attempt: i64,
    pub retry_of: Option<RunId>,
    pub superseded_by: Option<RunId>,
    pub queued_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    pub version: Option<String>,
    pub domain: Option<String>,
    pub base: Option<String>,
    pub level: Option<i64>,
    pub level_reason: Option<String>,
    pub cancel_at: Option<Time>,
    pub cancel_by: Option<String>,
    pub waits_for: Option<String>,
    /// Names of secrets too short to be masked, one a line.
    pub unredactable: Option<String>,
    /// A pause before it is tried again.
    pub not_before: Option<Time>,
}

impl Run {
    /// What is going to be done, as far as it is known.
    pub fn planned(&self) -> Plan {
        self.plan.clone().unwrap_or_else(|| Plan::of(self.asked, self.upgrade_from.as_deref()))
    }
}

fn read(row: &Row) -> rusqlite::Result<Run> {
    let time = |name| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(Time));
    let head: String = row.get("head")?;
    Ok(Run {
        id: row.get("id")?,
        origin: row.get("origin")?,
        repository: row.get("repository")?,
        repo_name: row.get("repo_name")?,
        recipe: row.get("recipe")?,
        pr: row.get("pr")?,
        head: head.parse().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                0,
                rusqlite::types::Type::Text,
                Box::<crate::model::NotA>::new(error),
            )
        })?,
        base_branch: row.get("base_branch")?,
        title: row.get("title")?,
        comment: row.get("comment")?,
        asked_by: row.get("asked_by")?,
        asked: row.get("asked")?,
        upgrade_from: row.get("upgrade_from")?,
        // A plan that another version wrote is only not shown.
        plan: row.get::<_, Option<String>>("plan")?.and_then(|plan| serde_json::from_str(&plan).ok()),
        attempt: row.get("attempt")?,
        retry_of: row.get("retry_of")?,
        superseded_by: row.get("superseded_by")?,
        queued_at: Time(row.get("queued_at")?),
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
        outcome: row.get("outcome")?,
        reason: row.get("reason")?,
        version: row.get("version")?,
        domain: row.get("domain")?,
        base: row.get("base")?,
        level: row.get("level")?,
        level_reason: row.get("level_reason")?,
        cancel_at: time("cancel_at")?,
        cancel_by: row.get("cancel_by")?,
        waits_for: row.get("waits_for")?,
        unredactable: row.get("unredactable")?,
        not_before: time("not_before")?,
    })
}

pub fn queue(tx: &Transaction, run: &NewRun, now: Time) -> Result<RunId, StoreError> {
    tx.prepare_cached(
        "insert into runs (origin, repository, repo_name, recipe, pr, head, base_branch, title, comment, asked_by, asked,
                           upgrade_from, attempt, retry_of, queued_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        run.origin, run.repository, run.repo_name, run.recipe, run.pr, run.head.as_str(), run.base_branch, run.title,
        run.comment, run.asked_by, run.asked, run.upgrade_from, run.attempt, run.retry_of, now.0
    ])?;
    let id = RunId(tx.last_insert_rowid());
    events::push(tx, Some(id), "queue", "queued", now)?;
    Ok(id)
}

/// From waiting to running; refused when it is not waiting any more.
pub fn start(tx: &Transaction, id: RunId, now: Time) -> Result<(), StoreError> {
    let rows = tx
        .prepare_cached(
            "update runs set started_at = ?2, waits_for = null
              where id = ?1 and started_at is null and finished_at is null",
        )?
        .execute(params![id, now.0])?;
    moved(rows, id, "started")?;
    let recipe: String =
        tx.prepare_cached("select recipe from runs where id = ?1")?.query_row([id], |row| row.get(0))?;
    turns::taken(tx, &recipe, now)?;
    events::push(tx, Some(id), "run", "started", now)
}

/// The end of a run, written once.
pub fn finish(tx: &Transaction, id: RunId, outcome: Outcome, reason: &str, now: Time) -> Result<(), StoreError> {
    let rows = tx
        .prepare_cached(
            "update runs set outcome = ?2, reason = ?3, finished_at = ?4, waits_for = null
              where id = ?1 and finished_at is null",
        )?
        .execute(params![id, outcome, reason, now.0])?;
    moved(rows, id, "finished")?;
    events::push(tx, Some(id), "run", outcome.as_str(), now)
}

fn moved(rows: usize, id: RunId, what: &str) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Refused(format!("run {id} cannot be {what} from where it is"))) }
}

/// Somebody wants it to end; the engine looks. `false` when it is over already or was asked before.
pub fn ask_cancel(tx: &Transaction, id: RunId, by: &str, now: Time) -> Result<bool, StoreError> {
    let rows = tx
        .prepare_cached(
            "update runs set cancel_at = ?2, cancel_by = ?3 where id = ?1 and finished_at is null and cancel_at is null",
        )?
        .execute(params![id, now.0, by])?;
    if rows == 1 {
        events::push(tx, Some(id), "run", "cancel asked", now)?;
    }
    Ok(rows == 1)
}

pub fn supersede(tx: &Transaction, id: RunId, by: RunId) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set superseded_by = ?2 where id = ?1")?.execute(params![id, by])?;
    Ok(())
}

/// What fetch learned from the recipe itself.
pub fn set_recipe(
    tx: &Transaction,
    id: RunId,
    recipe: &str,
    version: Option<&str>,
    domain: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set recipe = ?2, version = ?3, domain = ?4 where id = ?1")?
        .execute(params![id, recipe, version, domain])?;
    Ok(())
}

pub fn set_base(tx: &Transaction, id: RunId, base: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set base = ?2 where id = ?1")?.execute(params![id, base])?;
    Ok(())
}

pub fn set_plan(tx: &Transaction, id: RunId, plan: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set plan = ?2 where id = ?1")?.execute(params![id, plan])?;
    Ok(())
}

/// Commits of a recipe that passed, newest first. Walks `runs_by_recipe_outcome`.
pub(super) const PASSED: &str =
    "select head, repository from runs where recipe = ?1 and outcome = 'passed' order by id desc limit ?2";

/// Of one repository; of runs without one where none is named.
pub fn heads_that_passed(
    db: &Connection,
    recipe: &str,
    repository: Option<RepoId>,
    most: u32,
) -> Result<Vec<Head>, StoreError> {
    let mut statement = db.prepare_cached(PASSED)?;
    let rows = statement.query_map(params![recipe, most], |row| {
        Ok((row.get::<_, String>("head")?, row.get::<_, Option<RepoId>>("repository")?))
    })?;
    let rows: Vec<(String, Option<RepoId>)> = rows.collect::<Result<_, _>>()?;
    let own = rows.into_iter().filter(|(_, of)| *of == repository);
    Ok(own.filter_map(|(head, _)| head.parse().ok()).collect())
}

/// Levels of a recipe's whole tests before a run, newest first. Walks `runs_by_recipe`.
pub(super) const LEVELS: &str = "
    select level from runs
     where recipe = ?1 and id < ?2 and asked = 'all' and level is not null
     order by id desc limit ?3";

pub fn levels_before(db: &Connection, recipe: &str, id: RunId, most: u32) -> Result<Vec<i64>, StoreError> {
    let mut statement = db.prepare_cached(LEVELS)?;
    let rows = statement.query_map(params![recipe, id, most], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn set_level(tx: &Transaction, id: RunId, level: i64, reason: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set level = ?2, level_reason = ?3 where id = ?1")?
        .execute(params![id, level, reason])?;
    Ok(())
}

/// Names of secrets too short to be masked, one a line.
pub fn set_unredactable(tx: &Transaction, id: RunId, names: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update runs set unredactable = ?2 where id = ?1")?.execute(params![id, names])?;
    Ok(())
}

/// Says why it has not started, in words; `false` when it said so before.
pub fn set_waits_for(tx: &Transaction, id: RunId, words: &str) -> Result<bool, StoreError> {
    let rows = tx
        .prepare_cached("update runs set waits_for = ?2 where id = ?1 and started_at is null and waits_for is not ?2")?
        .execute(params![id, words])?;
    Ok(rows == 1)
}

pub fn by_id(db: &Connection, id: RunId) -> Result<Option<Run>, StoreError> {
    Ok(db.prepare_cached("select * from runs where id = ?1")?.query_row([id], read).optional()?)
}

/// Walks `runs_waiting`: everything that is not over, running ones too, first asked first.
pub(super) const OPEN: &str = "select * from runs where finished_at is null order by id";

pub fn open(db: &Connection) -> Result<Vec<Run>, StoreError> {
    let mut statement = db.prepare_cached(OPEN)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Started and not over, oldest first. Walks `runs_waiting`.
pub(super) const RUNNING: &str = "select * from runs where finished_at is null and started_at is not null order by id";

pub fn running(db: &Connection) -> Result<Vec<Run>, StoreError> {
    let mut statement = db.prepare_cached(RUNNING)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Open runs that somebody wants to end. Walks `runs_waiting`.
pub(super) const UNWANTED: &str = "select * from runs where finished_at is null and cancel_at is not null order by id";

pub fn unwanted(db: &Connection) -> Result<Vec<Run>, StoreError> {
    let mut statement = db.prepare_cached(UNWANTED)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The runs of one pull request, newest first. Walks `runs_by_pr`.
pub fn of_pr(db: &Connection, repository: RepoId, pr: Pr, count: u32) -> Result<Vec<Run>, StoreError> {
    let mut statement = db.prepare_cached(OF_PR)?;
    let rows = statement.query_map(params![repository, pr, count], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The run that took up an interrupted or blameless one again. Walks `runs_by_retry_of`.
pub fn next_attempt(db: &Connection, run: RunId) -> Result<Option<RunId>, StoreError> {
    Ok(db.prepare_cached(NEXT_ATTEMPT)?.query_row([run], |row| row.get(0)).optional()?)
}

pub(super) const NEXT_ATTEMPT: &str = "select id from runs where retry_of = ?1 order by id desc limit 1";

pub(super) const OF_PR: &str = "select * from runs where repository = ?1 and pr = ?2 order by id desc limit ?3";

/// The newest run of a head: the one that the head's comment and status speak of. Walks `runs_by_pr`.
pub fn of_head(db: &Connection, repository: RepoId, pr: Pr, head: &Head) -> Result<Option<Run>, StoreError> {
    let mut statement = db.prepare_cached(
        "select * from runs where repository = ?1 and pr = ?2 and head = ?3 order by id desc limit 1",
    )?;
    Ok(statement.query_row(params![repository, pr, head.as_str()], read).optional()?)
}

/// What the last whole test before a run said of the recipe: of one pull request, or of the base branch where none is named.
/// Walks `runs_by_pr`.
pub(super) const BEFORE: &str = "
    select outcome from runs
     where repository = ?1 and pr is ?2 and id < ?3 and asked = 'all' and outcome in ('passed', 'failed', 'timed-out')
     order by id desc
     limit 1";

pub fn verdict_before(
    db: &Connection,
    repository: RepoId,
    pr: Option<Pr>,
    id: RunId,
) -> Result<Option<Outcome>, StoreError> {
    let mut statement = db.prepare_cached(BEFORE)?;
    Ok(statement.query_row(params![repository, pr, id], |row| row.get(0)).optional()?)
}

/// How long a run of this recipe usually takes: the median of its last ten that came to a verdict.
pub fn usual(db: &Connection, recipe: &str) -> Result<Option<Duration>, StoreError> {
    let mut statement = db.prepare_cached(
        "select finished_at - started_at from runs
          where recipe = ?1 and outcome in ('passed', 'failed') and started_at is not null
          order by id desc limit 10",
    )?;
    let mut spans: Vec<i64> = statement.query_map([recipe], |row| row.get(0))?.collect::<Result<_, _>>()?;
    spans.sort_unstable();
    Ok(spans.get(spans.len() / 2).map(|ms| Duration::from_millis(ms.unsigned_abs())))
}

/// Which runs a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    pub recipe: Option<String>,
    pub outcome: Option<Outcome>,
    pub origin: Option<Origin>,
}

impl Filter {
    /// What it asks of a row, about parameters from `?3` on; whatever it is, an index has it and the order.
    pub(super) fn conditions(&self) -> String {
        let given =
            [("recipe", self.recipe.is_some()), ("outcome", self.outcome.is_some()), ("origin", self.origin.is_some())];
        let names = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        (3..).zip(names).map(|(place, name)| format!("{name} = ?{place} and ")).collect()
    }

    /// All parameters, in their order.
    pub(super) fn parameters<'a>(&'a self, before: &'a i64, count: &'a u32) -> Vec<&'a dyn ToSql> {
        let mut parameters: Vec<&dyn ToSql> = vec![before, count];
        parameters.extend(self.recipe.as_ref().map(|recipe| recipe as &dyn ToSql));
        parameters.extend(self.outcome.as_ref().map(|outcome| outcome as &dyn ToSql));
        parameters.extend(self.origin.as_ref().map(|origin| origin as &dyn ToSql));
        parameters
    }
}

/// The statement of a filter; each walks the index that has its order.
pub(super) fn page_sql(filter: &Filter) -> String {
    format!("select * from runs where {}id < ?1 order by id desc limit ?2", filter.conditions())
}

/// Newest first, below `before`.
pub fn page(db: &Connection, filter: &Filter, before: Option<RunId>, count: u32) -> Result<Vec<Run>, StoreError> {
    let before = before.map_or(i64::MAX, |id| id.0);
    let mut statement = db.prepare_cached(&page_sql(filter))?;
    let rows = statement.query_map(&*filter.parameters(&before, &count), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every recipe that has a run, by name. Walks `runs_by_recipe`, one step a recipe.
pub fn recipes(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare_cached(
        "with recursive names (name) as (
             select min(recipe) from runs
             union all
             select (select min(recipe) from runs where recipe > name) from names where name is not null)
         select name from names where name is not null",
    )?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
