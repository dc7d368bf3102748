//! The Swarm itself. Only a machine in no Swarm at all is put into one; every other surprise is the operator's to solve, and
//! is told with its cure rather than overcome.

use super::ReconcileError;
use crate::swarm::Swarm;
use crate::swarm::views::{Membership, Network};

/// Other nodes that should join need another; then `docker swarm init --advertise-addr` is the operator's.
const ADVERTISE: &str = "127.0.0.1";

pub(super) async fn reconcile(docker: &Swarm, network: &str) -> Result<Vec<String>, ReconcileError> {
    let mut said = Vec::new();
    let info = docker.info().await?;
    match info.membership {
        Membership::Manager if info.nodes > 1 => {
            said.push(format!("swarm: this machine is one of {} managers, {} nodes", info.managers, info.nodes));
        }
        Membership::Manager => said.push("swarm: this machine is its manager, 1 node".to_owned()),
        Membership::Inactive if info.live_restore => return Err(ReconcileError::LiveRestore),
        Membership::Inactive => {
            docker.init(ADVERTISE).await?;
            said.push("swarm: started on this machine".to_owned());
        }
        Membership::Locked => return Err(ReconcileError::Locked),
        Membership::Pending => return Err(ReconcileError::Pending),
        Membership::Error(error) => return Err(ReconcileError::Errored(error)),
        Membership::Worker => return Err(ReconcileError::Worker),
    }
    let found = docker.networks().await?.into_iter().find(|found| found.name == network);
    match found {
        Some(found) => {
            is_right(found)?;
            said.push(format!("network: {network} is there"));
        }
        None => {
            match docker.create_overlay(network).await {
                // Somebody else did, in between.
                Err(fault) if !fault.is_conflict() => return Err(fault.into()),
                _ => said.push(format!("network: {network} made")),
            }
        }
    }
    Ok(said)
}

fn is_right(network: Network) -> Result<(), ReconcileError> {
    let Network { name, driver, scope, attachable, .. } = network;
    if driver != "overlay" || scope != "swarm" {
        return Err(ReconcileError::WrongNetwork { name, driver, scope });
    }
    if attachable { Ok(()) } else { Err(ReconcileError::NotAttachable(name)) }
}
