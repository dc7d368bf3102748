//! `cc-ci reconcile`: what systemd's oneshots call, and the demo.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Configured, Done, Failure};
use crate::reconcile as rooms;

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Which of them.
    what: What,
    #[command(flatten)]
    configured: Configured,
    /// Takes it away instead: the stack and all that belongs to it, backups included.
    #[arg(long)]
    remove: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// This machine is the manager of its own Swarm, and the proxy's network is there.
    Swarm,
    /// Traefik stands in front of the apps with the wildcard certificate.
    Proxy,
    /// There is a backup service; ours is deployed where there is no other.
    Backupbot,
}

pub(super) async fn reconcile(asked: Reconcile) -> Done {
    // The certificate is all it needs, and the proxy's own check of the pair names the file that is missing.
    let config = asked.configured.load_without_secrets()?;
    let done = match (asked.what, asked.remove) {
        (What::Swarm, false) => rooms::swarm(&config).await,
        (What::Proxy, false) => rooms::proxy(&config).await,
        (What::Proxy, true) => rooms::remove_proxy(&config).await,
        (What::Backupbot, false) => rooms::backupbot(&config).await,
        (What::Backupbot, true) => rooms::remove_backupbot(&config).await,
        (What::Swarm, true) => {
            return Err(Failure::usage(anyhow::anyhow!("a Swarm is left by hand: `docker swarm leave --force`")));
        }
    };
    for line in done.map_err(Failure::infra)? {
        crate::say!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
