//! What a process that died left behind is finished before anything new begins: its processes, what its runs made, the runs
//! themselves, their logs. Every step may be repeated, so a crash in here is met by the next start. The lock on the state
//! directory closes the race between two runners: it is the kernel's, and goes with its holder however that ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::execute::{Engine, Journal};
use super::run;
use crate::clock::Clock;
use crate::crash::crash_point;
use crate::logs;
use crate::model::RunId;
use crate::stages::backup;
use crate::stages::teardown::{End, tear_down};
use crate::store::apps::App;
use crate::store::{StoreError, apps, runs};

/// Held while a process works on a state directory.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "held, not read")] File);

/// Why a state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    #[error("{} is held by another {process}: {holder}; two of them would tear down each other's runs", dir.display())]
    Held { dir: PathBuf, process: String, holder: String },
    #[error("the state directory {} cannot be made: {source}", dir.display())]
    NoDirectory { dir: PathBuf, source: std::io::Error },
    #[error("the lock {} cannot be taken: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl StateLock {
    /// Takes the lock for `process` (`runner`, `serve`), or says who has it. Blocks for a moment at most.
    pub fn take(dir: &Path, process: &str, clock: &Clock) -> Result<StateLock, NotLocked> {
        let path = dir.join(format!("{process}.lock"));
        let io = |source| NotLocked::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(|source| NotLocked::NoDirectory { dir: dir.into(), source })?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "it does not say who it is" } else { holder.trim() };
                return Err(NotLocked::Held { dir: dir.into(), process: process.into(), holder: holder.into() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let words = format!("process {}, since {}\n", std::process::id(), clock.now().rfc3339_seconds());
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(io)?;
        file.write_all(words.as_bytes()).map_err(io)?;
        Ok(StateLock(file))
    }
}

/// Closes every run that a dead process left open. Says how many there were.
pub async fn recover(engine: &Engine) -> Result<usize, StoreError> {
    let open = engine.ledger.store.read(runs::running).await?;
    for run in &open {
        tracing::warn!(run = %run.id, recipe = run.recipe, "found open from a process that is gone; closing it");
        close(engine, run.id, "the runner died while it ran").await?;
    }
    let logs = engine.config.logs_dir();
    if let Err(error) = tokio::task::spawn_blocking(move || close_logs(&logs)).await {
        tracing::error!(error = %error, "closing what a dead process left open broke off");
    }
    Ok(open.len())
}

/// Tears down what an open run made, marks it interrupted and queues its next attempt.
pub async fn close(engine: &Engine, id: RunId, why: &'static str) -> Result<(), StoreError> {
    // What was made first was needed by what came after it.
    for app in engine.ledger.store.read(move |db| apps::of_run(db, id)).await?.into_iter().rev() {
        if app.gone_at.is_none() {
            take_down(engine, &app).await?;
        }
    }
    engine.clear(id).await;
    let now = engine.clock.now();
    let next = engine
        .ledger
        .write("could not close a run", move |tx| run::interrupt(tx, id, why, run::torn_down(tx, id)?, now))
        .await?;
    tracing::info!(run = %id, next = next.map(|next| next.0), "run closed");
    Ok(())
}

/// Tries again what the teardown of a finished run left standing.
pub(super) async fn retry_leftover(engine: &Engine, app: &App) -> Result<(), StoreError> {
    take_down(engine, app).await?;
    engine.clear(app.run).await;
    Ok(())
}

async fn take_down(engine: &Engine, app: &App) -> Result<(), StoreError> {
    let mut journal = Journal(app.run);
    let end = tear_down(&engine.means(), &app.domain, &app.stack, Path::new(&app.abra_dir), &mut journal).await;
    match &end {
        End::Gone(_) => {
            tracing::info!(run = %app.run, stack = %app.stack, "torn down");
        }
        End::Left(left) => {
            tracing::warn!(run = %app.run, stack = %app.stack, left = ?left, "a teardown left something");
        }
        End::Unknown(why) => {
            tracing::warn!(run = %app.run, stack = %app.stack, why, "a teardown could not be verified");
        }
    }
    let run_dir = Path::new(&app.abra_dir).parent().unwrap_or(Path::new("/"));
    if let Err(fault) = backup::forget(&engine.swarm, &app.stack, run_dir).await {
        tracing::warn!(run = %app.run, stack = %app.stack, error = %fault, "snapshots stay in the repository");
    }
    engine.torn_down(app.id, end).await
}

/// Logs whose writers died. Nothing runs yet, so none of them is being written.
fn close_logs(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<RunId>().ok()) else {
            continue;
        };
        match logs::close_abandoned(dir, run) {
            Ok(()) => {
                tracing::info!(run = %run, "the log of a process that is gone was closed");
                crash_point!("files: abandoned log packed");
            }
            Err(error) => tracing::warn!(run = %run, error = %error, "the log of a process that is gone stays open"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;

    #[test]
    fn the_second_runner_is_refused_and_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::held(Time(1_767_323_045_000));
        let first = StateLock::take(dir.path(), "runner", &clock).unwrap();
        let error = StateLock::take(dir.path(), "runner", &clock).unwrap_err().to_string();
        let me = format!("process {}, since 2026-01-02T03:04:05Z", std::process::id());
        assert!(error.contains(&me), "{error}");
        StateLock::take(dir.path(), "serve", &clock).unwrap();
        drop(first);
        StateLock::take(dir.path(), "runner", &clock).unwrap();
    }
}
