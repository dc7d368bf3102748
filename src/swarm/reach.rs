//! Where a container can be reached from this machine. Overlay networks are not routed to the host; Docker's gateway bridge is,
//! and every task has a foot on it.

use std::net::IpAddr;

use bollard::query_parameters as query;

use super::client::{CALL, Swarm, SwarmFault, ask};

const BRIDGE: &str = "docker_gwbridge";

impl Swarm {
    /// The address of a container on the gateway bridge. A container whose networks are all internal has none.
    pub async fn address_of(&self, container: &str) -> Result<Option<IpAddr>, SwarmFault> {
        let inspected = self.container(container).await?;
        let sandbox = inspected.network_settings.and_then(|settings| settings.sandbox_id).unwrap_or_default();
        let Some(short) = sandbox.get(..12) else { return Ok(None) };
        let none = None::<query::InspectNetworkOptions>;
        let bridge = match ask("inspect the gateway bridge", CALL, self.docker.inspect_network(BRIDGE, none)).await {
            Err(fault) if fault.is_gone() => return Ok(None),
            bridge => bridge?,
        };
        let name = format!("gateway_{short}");
        let found = bridge.containers.unwrap_or_default().into_values().find(|one| one.name.as_ref() == Some(&name));
        let address = found.and_then(|one| one.ipv4_address).unwrap_or_default();
        Ok(address.split('/').next().and_then(|address| address.parse().ok()))
    }
}
