//! Brings the machine to the state it should have, whatever is found: look, change what differs, and change nothing when
//! nothing does. systemd's oneshots call it at start, a timer calls it again and again, and so does the demo; two of them at
//! once wait for each other.

mod backupbot;
pub mod certificate;
mod own;
mod proxy;
mod swarm;

use std::path::PathBuf;

use crate::abra::driver::{Failed, Unfit};
use crate::config::Config;
use crate::git::GitError;
use crate::probe::tls::CaFileError;
use crate::swarm::converge::NotConverged;
use crate::swarm::login::{BadLogins, Logins};
use crate::swarm::pull::PullError;
use crate::swarm::sweep::NotGone;
use crate::swarm::{Swarm, SwarmFault};

use self::certificate::CertificateError;

/// What stands in the way, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Docker(#[from] SwarmFault),
    #[error("this machine's Swarm is locked; unlock it with `docker swarm unlock`")]
    Locked,
    #[error(
        "this machine is still joining a Swarm; wait for its manager, or leave with `docker swarm leave --force` and run this again"
    )]
    Pending,
    #[error(
        "this machine's Swarm is in error ({0}); see `journalctl -u docker`, or leave it with `docker swarm leave --force` and run this again"
    )]
    Errored(String),
    #[error(
        "this machine is a worker in a Swarm of others; cc-ci needs a manager: `docker node promote` it there, or leave with `docker swarm leave` and run this again"
    )]
    Worker,
    #[error("this machine is in no Swarm; `cc-ci reconcile swarm` makes one")]
    NoSwarm,
    #[error(
        "Docker runs with live-restore, which a Swarm does not allow; set it to false in Docker's configuration and restart Docker"
    )]
    LiveRestore,
    #[error(
        "the network {name} is there with the driver {driver} and scope {scope}, and apps need an attachable overlay; remove it with `docker network rm {name}` and run this again"
    )]
    WrongNetwork { name: String, driver: String, scope: String },
    #[error(
        "the overlay network {0} is not attachable; remove it with `docker network rm {0}`, when nothing uses it, and run this again"
    )]
    NotAttachable(String),
    #[error("the network {0} is not there; `cc-ci reconcile swarm` makes it")]
    NoNetwork(String),
    #[error("`proxy.certificate_file` and `proxy.key_file` are not set; the proxy needs the wildcard pair for *.{0}")]
    NoCertificate(String),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(
        "the stack {stack} would have names that Swarm does not take (more than 64 characters); set `domain` under `{what}` in the configuration to a shorter one"
    )]
    TooLong { what: String, stack: String },
    #[error("the domain of an app of this machine is {0}")]
    Domain(#[from] crate::model::NotA),
    #[error("`runner.registry_login_file`: {0}")]
    Logins(#[from] BadLogins),
    #[error(
        "there is no backup service on this Swarm; deploy upstream's recipe backup-bot-two, or name an image with restic as `backup.image` and run this again"
    )]
    NoBackupService,
    #[error(transparent)]
    Image(#[from] PullError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("{what} could not be deployed: {failed}")]
    Abra { what: &'static str, failed: Failed },
    #[error("{what} did not come up: {failed}{}", lines(.failed))]
    NotUp { what: &'static str, failed: NotConverged },
    #[error("the proxy runs, but {0}")]
    NotAnswering(String),
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("not everything could be removed: {0}")]
    NotGone(#[from] NotGone),
    #[error("the recipe of an app of this machine could not be written: {0}")]
    Recipe(#[from] GitError),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// The last lines, since whoever reads this has no log of a run to look into.
fn lines(failed: &NotConverged) -> String {
    let NotConverged::Failed(failure) = failed else { return String::new() };
    let from = failure.last_lines.len().saturating_sub(5);
    failure.last_lines[from..].iter().fold(String::new(), |lines, line| lines + "\n    " + line)
}

/// Docker, with the logins of the configuration for what is pulled.
async fn docker(config: &Config) -> Result<Swarm, ReconcileError> {
    let docker = Swarm::connect(&config.runner.docker).await?;
    Ok(match &config.runner.registry_login_file {
        Some(file) => docker.with_logins(Logins::read(file)?),
        None => docker,
    })
}

/// This machine is the manager of a Swarm, and the network between proxy and apps is there. Says what it found or did.
pub async fn swarm(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let docker = Swarm::connect(&config.runner.docker).await?;
    swarm::reconcile(&docker, &config.proxy.network).await
}

/// What [`swarm()`] would find in order, or what stands in its way; changes nothing.
pub async fn look_at_swarm(docker: &Swarm, network: &str) -> Result<Vec<String>, ReconcileError> {
    swarm::look(docker, network).await
}

/// Traefik stands in front of the apps with the wildcard certificate of the configuration.
pub async fn proxy(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let _alone = alone(config).await?;
    proxy::reconcile(config).await
}

/// Takes the proxy away with all that belongs to it.
pub async fn remove_proxy(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let _alone = alone(config).await?;
    proxy::remove(config).await
}

/// This Swarm has a backup service: ours, where there is no other.
pub async fn backupbot(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let _alone = alone(config).await?;
    backupbot::reconcile(config).await
}

/// Takes our backup service away, with all backups it has made.
pub async fn remove_backupbot(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let _alone = alone(config).await?;
    backupbot::remove(config).await
}

/// Until it is dropped, nobody else reconciles out of this state directory.
async fn alone(config: &Config) -> Result<std::fs::File, ReconcileError> {
    let dir = own::host_dir(config);
    let path = dir.join("lock");
    let locked = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&dir)?;
        let file = std::fs::File::create(dir.join("lock"))?;
        file.lock()?;
        Ok(file)
    });
    let locked = locked.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    locked.map_err(|source| ReconcileError::File { path, source })
}
