//! Room on the disk of the state directory, before a run begins: one that fills it ends in the middle, with a database that takes
//! no verdict. What waits says so, and so do the pages; nothing is lost, and when there is room again it goes on by itself.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::heartbeat::Heart;
use crate::config::Config;

const EVERY: Duration = Duration::from_secs(5);

/// The disk, and how much has to be free on it.
#[derive(Clone, Debug)]
pub struct Disk {
    dir: PathBuf,
    needed: u64,
}

impl Disk {
    pub fn of(config: &Config) -> Disk {
        Disk { dir: config.state_dir.clone(), needed: config.retention.free }
    }

    /// Why no run may begin, if none may.
    pub async fn is_full(&self) -> Option<String> {
        let disk = self.clone();
        tokio::task::spawn_blocking(move || disk.look()).await.ok().flatten()
    }

    fn look(&self) -> Option<String> {
        let disk = rustix::fs::statvfs(&self.dir).ok()?;
        let free = disk.f_bavail * disk.f_frsize;
        (free < self.needed).then(|| {
            let (free, needed) = (megabytes(free), megabytes(self.needed));
            format!("the disk of cc-ci is nearly full ({free} free, {needed} needed); the operator has to make room")
        })
    }
}

fn megabytes(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{} MB", bytes / 1_000_000)
    } else {
        format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
    }
}

/// Tells the pages as long as it lasts.
pub(super) async fn watch(disk: Disk, heart: Heart, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_full = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let full = disk.is_full().await;
        match (&full, was_full) {
            (Some(words), false) => tracing::error!(words, "no run begins"),
            (None, true) => tracing::info!("there is room on the disk again"),
            _ => {}
        }
        was_full = full.is_some();
        heart.say(|said| match full {
            Some(words) => drop(said.alarms.insert("disk".into(), words)),
            None => drop(said.alarms.remove("disk")),
        });
    }
}
