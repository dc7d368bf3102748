//! Backups of apps: what their labels ask for ([`labels`]), a small backup service that does it ([`bot`]), and what one can see
//! of it from outside ([`service`], [`snapshot`]).
//!
//! Upstream's service and ours are reached in the same two ways: abra calls `/usr/bin/backup` in the container of the service
//! that bears [`ENABLED`], and `restic` is there beside it, with the repository in `RESTIC_REPOSITORY`. A backup that says it
//! went well proves nothing, so cc-ci looks with `restic` itself into what was kept.

use std::time::Duration;

pub mod bot;
pub mod labels;
mod restic;
pub mod service;
pub mod snapshot;

/// Marks the backup service of a Swarm, by which abra finds it.
pub const ENABLED: &str = "coop-cloud.backupbot.enabled";
/// Where volumes lie in a snapshot, wherever Docker keeps them.
pub const VOLUMES: &str = "/var/lib/docker/volumes";

/// restic refuses to read while somebody removes snapshots, and to remove while somebody reads; both are soon over. Before its
/// version 0.16 it does not wait by itself.
const LOCKED: Duration = Duration::from_secs(120);
/// Each question costs restic half a second of computing, for the password alone.
const UNLOCKED: Duration = Duration::from_secs(1);
/// After so long its holder may have been killed; `restic unlock` takes away that lock, and nobody else's.
const LEFT_BEHIND: Duration = Duration::from_secs(20);

fn is_locked(said: &str) -> bool {
    said.contains("repository is already locked")
}
