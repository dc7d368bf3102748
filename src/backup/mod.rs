//! Backups of apps: what their labels ask for ([`labels`]), a small backup service that does it ([`bot`]), and what one can see
//! of it from outside ([`service`], [`snapshot`]).
//!
//! Upstream's service and ours are reached in the same two ways: abra calls `/usr/bin/backup` in the container of the service
//! that bears [`ENABLED`], and `restic` is there beside it, with the repository in `RESTIC_REPOSITORY`. A backup that says it
//! went well proves nothing, so cc-ci looks with `restic` itself into what was kept.

pub mod bot;
pub mod labels;
mod restic;
pub mod service;
pub mod snapshot;

/// Marks the backup service of a Swarm, by which abra finds it.
pub const ENABLED: &str = "coop-cloud.backupbot.enabled";
/// Where volumes lie in a snapshot, wherever Docker keeps them.
pub const VOLUMES: &str = "/var/lib/docker/volumes";
