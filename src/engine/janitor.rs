//! Removes what belongs to no live run: whatever bears this appliance's mark, with or without `.env` or row, whole or half
//! removed. At the start before any run, after each run, and now and again beside them; `cc-ci janitor` does the same.
//!
//! The race it must not lose is with a run that is just being deployed. Docker and the disk are looked at first and the rows
//! after: a run's row stands before anything of it does, so what was seen belongs to a row that the second look finds, or to
//! none. Age is never the reason.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::execute::Engine;
use super::heartbeat::Heart;
use super::{causes, recover};
use crate::clock::Time;
use crate::config::Images;
use crate::model::RunId;
use crate::store::apps::App;
use crate::store::{StoreError, apps, audit, runs};
use crate::swarm::SwarmFault;
use crate::swarm::claims::{self, Claimed, Owner};
use crate::swarm::host::Facts;
use crate::swarm::images::Dangling;
use crate::swarm::sweep::{self, Patience};

/// Between two rounds when no run ends.
const EVERY: Duration = Duration::from_secs(300);
/// Between two looks whether somebody asked for a round.
const ASKED: Duration = Duration::from_secs(1);
/// What the pages call the alarm.
const ALARM: &str = "leftovers";

/// What belongs to no live run.
#[derive(Debug, Default)]
pub struct Found {
    /// What the teardown of a run that is over left, by its row.
    pub leftovers: Vec<App>,
    /// Stacks without a row that stands.
    pub orphans: Vec<Claimed>,
    /// Directories of runs.
    pub dirs: Vec<PathBuf>,
    pub images: Vec<Dangling>,
}

impl Found {
    pub fn is_empty(&self) -> bool {
        self.leftovers.is_empty() && self.orphans.is_empty() && self.dirs.is_empty() && self.images.is_empty()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JanitorFault {
    #[error(transparent)]
    Swarm(#[from] SwarmFault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks, and changes nothing.
pub async fn look(engine: &Engine) -> Result<Found, JanitorFault> {
    let owner = Owner::new(&engine.instance, &engine.config.domain);
    let claimed = engine.swarm.claimed(&owner).await?;
    let work = engine.config.work_dir();
    let dirs = tokio::task::spawn_blocking(move || run_dirs(&work)).await.unwrap_or_default();
    let (standing, running) = engine.ledger.store.read(|db| Ok((apps::standing(db)?, runs::running(db)?))).await?;

    let is_live = |run: RunId| running.iter().any(|live| live.id == run);
    let in_use = |run: RunId| is_live(run) || standing.iter().any(|app| app.run == run);
    Ok(Found {
        orphans: claims::without(claimed, standing.iter().map(|app| &app.stack)),
        dirs: dirs.into_iter().filter(|(run, _)| !in_use(*run)).map(|(_, dir)| dir).collect(),
        images: images(engine).await?,
        leftovers: standing.iter().filter(|app| !is_live(app.run)).cloned().collect(),
    })
}

/// Removes what was found. Says what would not go, one a line.
pub async fn tidy(engine: &Engine, found: Found) -> Result<Vec<String>, JanitorFault> {
    for app in &found.leftovers {
        recover::retry_leftover(engine, app).await?;
    }
    let standing = engine.ledger.store.read(apps::standing).await?;
    let tried = standing.into_iter().filter(|app| found.leftovers.iter().any(|one| one.id == app.id));
    let mut left: Vec<String> = tried
        .filter_map(|app| app.leftovers)
        .flat_map(|names| names.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for orphan in &found.orphans {
        left.extend(sweep_away(engine, orphan).await);
    }
    for dir in found.dirs {
        tracing::info!(dir = %dir.display(), "a directory of no run is removed");
        if let Err(error) = tokio::fs::remove_dir_all(&dir).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            left.push(format!("directory {}: {error}", dir.display()));
        }
    }
    for image in &found.images {
        if engine.swarm.remove_image(&image.id).await? {
            tracing::info!(image = image.id, bytes = image.size, "an image that nothing names is removed");
        }
    }
    Ok(left)
}

async fn sweep_away(engine: &Engine, orphan: &Claimed) -> Vec<String> {
    let Claimed { stack, run, objects } = orphan;
    let named: Vec<String> = objects.iter().map(ToString::to_string).collect();
    tracing::warn!(%stack, run = run.map(|run| run.0), objects = ?named, "a stack of no live run is removed");
    let patience = Patience { limit: engine.config.runner.limits.teardown, ..Patience::default() };
    let mut said = |line: String| tracing::debug!(%stack, step = line, "teardown");
    match Box::pin(sweep::teardown(&engine.swarm, stack, patience, &mut said)).await {
        Ok(_) => Vec::new(),
        Err(sweep::NotGone::Leftovers(left)) => left.iter().map(ToString::to_string).collect(),
        Err(sweep::NotGone::Fault(fault)) => vec![format!("stack {stack}, perhaps ({})", causes(&fault))],
    }
}

/// The round at the start, which also serves whoever asked for one before it; says which request is the last of those.
pub(super) async fn first_round(engine: &Engine, heart: &Heart, stop: &CancellationToken) -> i64 {
    let served = engine.ledger.store.read(audit::last_asked_janitor).await.unwrap_or_default();
    round(engine, heart, stop).await;
    served
}

/// Beside the runs, since what did not go in one teardown may hold up the next one too. `served` is the last request for a round
/// that had one.
pub(super) async fn keep_tidy(engine: Engine, heart: Heart, mut served: i64, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.run_ended.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
            asked = asked(&engine, served) => served = asked,
        }
        round(&engine, &heart, &stop).await;
    }
}

/// Waits until somebody with a token asks for a round, which the server notes in the audit; says which row that is.
async fn asked(engine: &Engine, served: i64) -> i64 {
    let store = &engine.ledger.store;
    let mut seen = None;
    loop {
        let generation = store.generation();
        if seen.replace(generation) != Some(generation)
            && let Ok(newest) = store.read(audit::last_asked_janitor).await
            && newest > served
        {
            return newest;
        }
        tokio::time::sleep(ASKED).await;
    }
}

/// Once, until told to stop. The first one is over before any run begins: in a database that was restored from a backup numbers
/// come again, and with them names of stacks.
async fn round(engine: &Engine, heart: &Heart, stop: &CancellationToken) {
    let round = async { tidy(engine, look(engine).await?).await };
    let tidied = tokio::select! {
        () = stop.cancelled() => return,
        tidied = Box::pin(round) => tidied,
    };
    match tidied {
        Ok(left) => heart.say(|said| {
            match left.first() {
                Some(first) => said.alarms.insert(ALARM.into(), warning(first, left.len())),
                None => said.alarms.remove(ALARM),
            };
        }),
        Err(error) => tracing::error!(error = %causes(&error), "the janitor's round broke off"),
    }
}

fn warning(first: &str, count: usize) -> String {
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    format!("{first}{more} could not be removed; it is tried again, and `cc-ci janitor` says what holds it")
}

fn run_dirs(work: &Path) -> Vec<(RunId, PathBuf)> {
    let entries = std::fs::read_dir(work).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

async fn images(engine: &Engine) -> Result<Vec<Dangling>, SwarmFault> {
    let (rule, now) = (&engine.config.runner.images, engine.clock.now());
    if !is_full(&engine.swarm.facts().await?, rule) {
        return Ok(Vec::new());
    }
    Ok(old(engine.swarm.dangling_images().await?, rule, now))
}

fn is_full(facts: &Facts, rule: &Images) -> bool {
    let used = facts.disk_size.saturating_sub(facts.disk_free);
    used.saturating_mul(100) > facts.disk_size.saturating_mul(rule.above.into())
}

fn old(images: Vec<Dangling>, rule: &Images, now: Time) -> Vec<Dangling> {
    images.into_iter().filter(|image| image.created.plus(rule.older_than) <= now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::host::Ipvs;

    fn facts(size: u64, free: u64) -> Facts {
        Facts {
            docker: "1".into(),
            swarm: "manager".into(),
            nodes: 1,
            disk_free: free,
            disk_size: size,
            memory_available: 1,
            memory_size: 1,
            containers_running: 0,
            ipvs: Ipvs::Loaded,
        }
    }

    #[test]
    fn images_go_only_from_a_disk_that_is_full_and_only_old_ones() {
        let rule = Images { above: 80, older_than: Duration::from_secs(3600) };
        assert!(!is_full(&facts(1000, 200), &rule));
        assert!(is_full(&facts(1000, 199), &rule));
        assert!(!is_full(&facts(0, 0), &rule), "a disk that could not be read is not full");
        let now = Time(1_767_323_045_000);
        let image =
            |id: &str, age: u64| Dangling { id: id.into(), created: now.minus(Duration::from_secs(age)), size: 1 };
        let gone = old(vec![image("old", 3600), image("young", 3599)], &rule, now);
        assert_eq!(gone.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), ["old"]);
    }

    #[test]
    fn only_directories_with_a_runs_number_are_a_runs() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1", "notes", "2x"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(run_dirs(dir.path()), [(RunId(1), dir.path().join("1"))]);
        assert!(run_dirs(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn what_stays_is_named_with_the_cure() {
        assert!(warning("volume x", 3).starts_with("volume x and 2 more could not be removed"));
    }
}
