//! The Swarm's backup service from outside: whether there is one, and restic in its container, where the repository is.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::snapshot::{self, Entry, Snapshot};
use super::{ENABLED, LEFT_BEHIND, LOCKED, UNLOCKED, is_locked};
use crate::model::StackName;
use crate::swarm::exec::{Exec, ExecEnded};
use crate::swarm::views::Service;
use crate::swarm::{Swarm, SwarmFault};

const LIMIT: Duration = Duration::from_secs(300);
/// A listing has a line for each file.
const MOST: usize = 32 << 20;
/// Where the service keeps what restic needs, upstream's and ours.
const RESTIC: &str = ": \"${RESTIC_PASSWORD_FILE:=/run/secrets/restic_password}\"; export RESTIC_PASSWORD_FILE; \
    f=/run/secrets/aws_secret_access_key; if [ -f $f ]; then AWS_SECRET_ACCESS_KEY=$(cat $f); export AWS_SECRET_ACCESS_KEY; fi; \
    ";
/// How a file of a snapshot begins, in hexadecimal digits, and how many of its lines hold a text, unpacked if it is packed.
const DUMP: &str = "f=$(mktemp) && restic --no-cache dump \"$1\" \"$2\" >\"$f\" || exit 1; head -c 16 \"$f\" | od -A n -t x1; \
    case $2 in *.gz) gunzip -c <\"$f\" ;; *) cat \"$f\" ;; esac | grep -c -a -F -- \"$3\"; rm \"$f\"";

/// A backup service that runs.
#[derive(Clone, Debug)]
pub struct BackupService {
    swarm: Swarm,
    container: String,
    pub name: String,
}

/// Why a backup cannot be made or looked into. None of it is the recipe's fault.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFault {
    #[error(
        "there is no backup service on this Swarm (no service with the label {ENABLED}=true); `cc-ci reconcile backupbot` makes one"
    )]
    None,
    #[error("the backup service {0} does not run; look at `docker service ps {0}`")]
    NotRunning(String),
    #[error("this Swarm has {} backup services ({}), and abra takes no more than one; remove the others", .0.len(), .0.join(", "))]
    Several(Vec<String>),
    #[error("the backup service did not answer within {0} s")]
    Slow(u64),
    #[error(transparent)]
    Docker(#[from] SwarmFault),
    #[error("restic {what} in {service}: {said}")]
    Restic { what: String, service: String, said: String },
}

/// Those that bear the label.
pub async fn services(swarm: &Swarm) -> Result<Vec<Service>, SwarmFault> {
    let all = swarm.all_services().await?;
    Ok(all.into_iter().filter(|service| service.labels.get(ENABLED).is_some_and(|value| value == "true")).collect())
}

impl BackupService {
    pub async fn find(swarm: &Swarm) -> Result<BackupService, ServiceFault> {
        let mut found = services(swarm).await?;
        if found.len() > 1 {
            return Err(ServiceFault::Several(found.into_iter().map(|service| service.name).collect()));
        }
        let service = found.pop().ok_or(ServiceFault::None)?;
        let not_running = || ServiceFault::NotRunning(service.name.clone());
        let stack: StackName = service.stack().and_then(|stack| stack.parse().ok()).ok_or_else(not_running)?;
        let container = swarm.container_of(&stack, service.short()).await?.ok_or_else(not_running)?;
        Ok(BackupService { swarm: swarm.clone(), container, name: service.name })
    }

    /// Waits while the repository is locked by somebody else.
    async fn sh(
        &self,
        script: &str,
        words: &[&str],
        cancel: &CancellationToken,
    ) -> Result<(ExecEnded, Vec<u8>), ServiceFault> {
        let began = Instant::now();
        loop {
            match self.sh_once(script, words, cancel).await {
                Err(ServiceFault::Restic { said, .. }) if is_locked(&said) && began.elapsed() < LOCKED => {
                    if began.elapsed() > LEFT_BEHIND {
                        self.sh_once("exec restic --no-cache unlock", &[], cancel).await?;
                    }
                    tokio::time::sleep(UNLOCKED).await;
                }
                done => return done,
            }
        }
    }

    async fn sh_once(
        &self,
        script: &str,
        words: &[&str],
        cancel: &CancellationToken,
    ) -> Result<(ExecEnded, Vec<u8>), ServiceFault> {
        let script = format!("{RESTIC}{script}");
        let exec = Exec::new(["sh", "-c", script.as_str(), "sh"].iter().chain(words).copied());
        let done = self.swarm.exec(&self.container, &exec, LIMIT, MOST, cancel).await?;
        match done.ended {
            // grep ends with 1 where it found nothing, and says nothing about it.
            ExecEnded::Exit(code) if code == 0 || done.stderr.is_empty() => Ok((done.ended, done.stdout)),
            ended => {
                let said = match ended {
                    ExecEnded::Exit(_) => {
                        String::from_utf8_lossy(&done.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
                    }
                    _ => format!("not done within {} s", LIMIT.as_secs()),
                };
                let what = words.first().copied().unwrap_or_default().to_owned();
                Err(ServiceFault::Restic { what, service: self.name.clone(), said: said.chars().take(500).collect() })
            }
        }
    }

    async fn restic(&self, words: &[&str], cancel: &CancellationToken) -> Result<Vec<u8>, ServiceFault> {
        let (ended, said) = self.sh("exec restic --no-cache \"$@\"", words, cancel).await?;
        if ended == ExecEnded::Exit(0) { Ok(said) } else { Err(self.unreadable(words[0], &said)) }
    }

    fn unreadable(&self, what: &str, said: &[u8]) -> ServiceFault {
        let said = String::from_utf8_lossy(said).chars().take(500).collect();
        ServiceFault::Restic { what: what.to_owned(), service: self.name.clone(), said }
    }

    /// An app's, oldest first.
    pub async fn snapshots(
        &self,
        stack: &StackName,
        cancel: &CancellationToken,
    ) -> Result<Vec<Snapshot>, ServiceFault> {
        let said = self.restic(&["snapshots", "--json"], cancel).await?;
        snapshot::snapshots(&said, stack.as_str()).map_err(|_| self.unreadable("snapshots", &said))
    }

    pub async fn list(&self, id: &str, cancel: &CancellationToken) -> Result<Vec<Entry>, ServiceFault> {
        Ok(snapshot::entries(&self.restic(&["ls", "--json", id], cancel).await?))
    }

    /// Whether a dump in a snapshot holds `text`; nothing where it is in a database's own format, which only its own programs
    /// can look into.
    pub async fn holds(
        &self,
        id: &str,
        path: &str,
        text: &str,
        cancel: &CancellationToken,
    ) -> Result<Option<bool>, ServiceFault> {
        let (_, said) = self.sh(DUMP, &[id, path, text], cancel).await?;
        let said = String::from_utf8_lossy(&said);
        let Some((begins, Ok(count))) =
            said.trim().rsplit_once('\n').map(|(begins, count)| (begins, count.parse::<u64>()))
        else {
            return Err(self.unreadable("dump", said.as_bytes()));
        };
        let begins = hex::decode(begins.split_whitespace().collect::<String>()).unwrap_or_default();
        Ok(is_text(path, &begins).then_some(count > 0))
    }

    /// Removes these snapshots and what nothing else needs. What is shared with others stays packed as it is, so that this does
    /// not take long however large the repository.
    pub async fn forget(&self, snapshots: &[Snapshot], cancel: &CancellationToken) -> Result<(), ServiceFault> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let ids = snapshots.iter().map(|snapshot| snapshot.id.as_str());
        let words: Vec<&str> =
            ["forget", "--prune", "--max-unused=unlimited", "--quiet"].into_iter().chain(ids).collect();
        self.restic(&words, cancel).await.map(drop)
    }
}

/// Statements, packed or not.
fn is_text(path: &str, begins: &[u8]) -> bool {
    path.ends_with(".gz") || (!begins.starts_with(b"PGDMP") && !begins.contains(&0) && begins.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_looked_into_where_it_is_text() {
        assert!(is_text("/v/backup.sql", b"--\n-- PostgreSQL"));
        assert!(is_text("/v/backup.sql.gz", b"\x1f\x8b\x08"));
        assert!(!is_text("/v/backup.dump", b"PGDMP\x01"));
        assert!(!is_text("/v/backup", b"\x28\xb5\x2f\xfd"));
    }
}
