//! Brings what the apps stand on to the state it should have, whatever is found: inspect, converge, or nothing to do. systemd's
//! oneshots call it on the appliance, and the demo. There is no mark of "done once": what is there is looked at each time.

pub mod certificate;
mod proxy;

use std::time::Duration;

pub use self::proxy::{proxy, remove_proxy};
use crate::abra::driver::{Failed, Unfit};
use crate::config::Config;
use crate::swarm::converge::NotConverged;
use crate::swarm::sweep::NotGone;
use crate::swarm::views::Membership;
use crate::swarm::{Swarm, SwarmFault};

/// Why it is not as it should be, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Swarm(#[from] SwarmFault),
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    #[error(transparent)]
    Abra(#[from] Unfit),
    #[error("abra: {0}")]
    Call(#[from] Failed),
    #[error("the proxy did not come up: {0}")]
    Proxy(#[from] NotConverged),
    #[error("the proxy was not taken away: {0}")]
    Left(#[from] NotGone),
    #[error("{what}: {source}")]
    File { what: String, source: std::io::Error },
    #[error("{0}")]
    Other(String),
}

/// This machine is the manager of its own Swarm, and the proxy's network is there.
pub async fn swarm(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let swarm = Swarm::connect(&config.runner.docker).await?;
    let mut said = Vec::new();
    let info = swarm.info().await?;
    if info.live_restore {
        return Err(other(
            "Docker's `live-restore` is on, which Swarm does not allow; set it to false and restart Docker",
        ));
    }
    match info.membership {
        Membership::Manager => said.push("this machine is a manager of its Swarm".to_owned()),
        Membership::Inactive => {
            swarm.init("127.0.0.1").await?;
            said.push("a Swarm was started on this machine".to_owned());
        }
        Membership::Worker => {
            return Err(other(
                "this machine is a worker in somebody else's Swarm; leave it (`docker swarm leave`) and run this again",
            ));
        }
        Membership::Locked => {
            return Err(other(
                "the Swarm is locked; unlock it with `docker swarm unlock` and its key, and run this again",
            ));
        }
        Membership::Pending => {
            return Err(other(
                "the Swarm is pending: this node waits for managers that do not answer; start them, or leave with \
                 `docker swarm leave --force` and run this again",
            ));
        }
        Membership::Error(why) => {
            return Err(ReconcileError::Other(format!(
                "the Swarm is in error ({why}); `docker swarm leave --force` and run this again"
            )));
        }
    }
    said.push(network(&swarm, &config.proxy.network).await?);
    Ok(said)
}

async fn network(swarm: &Swarm, name: &str) -> Result<String, ReconcileError> {
    let networks = swarm.networks().await?;
    let Some(found) = networks.iter().find(|network| network.name == name) else {
        swarm.create_overlay(name).await?;
        return Ok(format!("the network {name} was made"));
    };
    if found.driver != "overlay" || found.scope != "swarm" {
        return Err(ReconcileError::Other(format!(
            "the network {name} is of the driver {} ({}), and has to be an overlay of the Swarm; remove it (`docker network rm {name}`) \
             and run this again",
            found.driver, found.scope
        )));
    }
    Ok(format!("the network {name} is there"))
}

fn other(words: &str) -> ReconcileError {
    ReconcileError::Other(words.to_owned())
}

/// How long the proxy may take to come up, image included.
const PROXY_LIMIT: Duration = Duration::from_secs(180);
