//! The Swarm itself. Only a machine in no Swarm at all is put into one; every other surprise is the operator's to solve, and
//! is told with its cure rather than overcome.

use super::ReconcileError;
use crate::swarm::Swarm;
use crate::swarm::views::{Membership, Network};

/// Other nodes that should join need another; then `docker swarm init --advertise-addr` is the operator's.
const ADVERTISE: &str = "127.0.0.1";

pub(super) async fn reconcile(docker: &Swarm, network: &str) -> Result<Vec<String>, ReconcileError> {
    let membership = match is_manager(docker).await {
        Err(ReconcileError::NoSwarm) => {
            docker.init(ADVERTISE).await?;
            "swarm: started on this machine".to_owned()
        }
        other => other?,
    };
    let network = match is_there(docker, network).await {
        Err(ReconcileError::NoNetwork(network)) => match docker.create_overlay(&network).await {
            // Somebody else did, in between.
            Err(fault) if !fault.is_conflict() => return Err(fault.into()),
            _ => format!("network: {network} made"),
        },
        other => other?,
    };
    Ok(vec![membership, network])
}

/// What is in order, or the first thing that is not.
pub(super) async fn look(docker: &Swarm, network: &str) -> Result<Vec<String>, ReconcileError> {
    Ok(vec![is_manager(docker).await?, is_there(docker, network).await?])
}

async fn is_manager(docker: &Swarm) -> Result<String, ReconcileError> {
    let info = docker.info().await?;
    match info.membership {
        Membership::Manager if info.nodes > 1 => {
            Ok(format!("swarm: this machine is one of {} managers, {} nodes", info.managers, info.nodes))
        }
        Membership::Manager => Ok("swarm: this machine is its manager, 1 node".to_owned()),
        Membership::Inactive if info.live_restore => Err(ReconcileError::LiveRestore),
        Membership::Inactive => Err(ReconcileError::NoSwarm),
        Membership::Locked => Err(ReconcileError::Locked),
        Membership::Pending => Err(ReconcileError::Pending),
        Membership::Error(error) => Err(ReconcileError::Errored(error)),
        Membership::Worker => Err(ReconcileError::Worker),
    }
}

async fn is_there(docker: &Swarm, network: &str) -> Result<String, ReconcileError> {
    let found = docker.networks().await?.into_iter().find(|found| found.name == network);
    is_right(found.ok_or_else(|| ReconcileError::NoNetwork(network.to_owned()))?)?;
    Ok(format!("network: {network} is there"))
}

fn is_right(network: Network) -> Result<(), ReconcileError> {
    let Network { name, driver, scope, attachable, .. } = network;
    if driver != "overlay" || scope != "swarm" {
        return Err(ReconcileError::WrongNetwork { name, driver, scope });
    }
    if attachable { Ok(()) } else { Err(ReconcileError::NotAttachable(name)) }
}
