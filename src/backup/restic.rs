//! restic where its repository is: in the backup service's own container.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::snapshot::{self, Entry, Snapshot};
use super::{LEFT_BEHIND, LOCKED, UNLOCKED, is_locked};
use crate::sandbox::{self, Command, SpawnError};

/// A large app's volumes take a while.
const LIMIT: Duration = Duration::from_secs(3600);
/// Of what it says; a listing is the longest.
const MOST: usize = 64 << 20;
/// Of what it complains about.
const COMPLAINT: usize = 2000;

#[derive(Debug, thiserror::Error)]
pub(super) enum ResticError {
    #[error("restic: {0}")]
    Spawn(#[from] SpawnError),
    #[error("restic {what} failed: {said}")]
    Failed { what: String, said: String },
    #[error("restic {what} said something that cannot be read: {source}")]
    Unreadable { what: String, source: serde_json::Error },
}

fn restic(words: &[&str]) -> Command {
    Command::new("restic").arg("--no-cache").args(words).limit(LIMIT).env_from_ours([
        "PATH",
        "RESTIC_REPOSITORY",
        "RESTIC_PASSWORD_FILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ])
}

/// Waits while the repository is locked by somebody else.
async fn run(words: &[&str]) -> Result<Vec<u8>, ResticError> {
    let began = Instant::now();
    loop {
        match once(words).await {
            Err(ResticError::Failed { said, .. }) if is_locked(&said) && began.elapsed() < LOCKED => {
                if began.elapsed() > LEFT_BEHIND {
                    once(&["unlock"]).await?;
                }
                tokio::time::sleep(UNLOCKED).await;
            }
            done => return done,
        }
    }
}

async fn once(words: &[&str]) -> Result<Vec<u8>, ResticError> {
    let output = sandbox::output(&restic(words), &CancellationToken::new(), MOST).await?;
    if output.exit.is_success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = said.chars().take(COMPLAINT).collect();
    Err(ResticError::Failed { what: words.first().copied().unwrap_or_default().to_owned(), said })
}

fn read<T: serde::de::DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, ResticError> {
    serde_json::from_slice(json).map_err(|source| ResticError::Unreadable { what: what.to_owned(), source })
}

/// Makes the repository where there is none.
pub(super) async fn init() -> Result<(), ResticError> {
    match run(&["init"]).await {
        Err(ResticError::Failed { said, .. }) if said.contains("already") => Ok(()),
        other => other.map(drop),
    }
}

/// What a backup came to.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct Summary {
    pub snapshot_id: String,
    pub total_files_processed: u64,
    pub total_bytes_processed: u64,
}

pub(super) async fn backup(paths: &[String], host: &str, tag: &str) -> Result<Summary, ResticError> {
    let mut words = vec!["backup", "--json", "--host", host, "--tag", tag, "--"];
    words.extend(paths.iter().map(String::as_str));
    let said = run(&words).await?;
    // Its last line; those before it tell of its progress.
    let last = said.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
    read("backup", last)
}

/// A stack's, oldest first.
pub(super) async fn snapshots(stack: &str) -> Result<Vec<Snapshot>, ResticError> {
    let said = run(&["snapshots", "--json"]).await?;
    snapshot::snapshots(&said, stack).map_err(|source| ResticError::Unreadable { what: "snapshots".to_owned(), source })
}

pub(super) async fn list(id: &str) -> Result<Vec<Entry>, ResticError> {
    Ok(snapshot::entries(&run(&["ls", "--json", id]).await?))
}

/// Writes `paths` of a snapshot below `target`, over what is there.
pub(super) async fn restore(id: &str, target: &str, paths: &[String]) -> Result<(), ResticError> {
    // Only what is named: the folders above it keep what they have.
    let mut words = vec!["restore", id, "--target", target];
    for path in paths {
        words.extend(["--include", path]);
    }
    run(&words).await.map(drop)
}
