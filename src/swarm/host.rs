//! Facts of this machine for the runner's heartbeat and for `cc-ci doctor`: the server sees the host only through them.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Swarm, SwarmFault};
use super::views::Membership;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Docker's version.
    pub docker: String,
    /// `manager`, `worker`, `inactive`, `pending`, `locked` or `error: …`.
    pub swarm: String,
    pub nodes: u64,
    /// Bytes of the disk that Docker writes to.
    pub disk_free: u64,
    pub disk_size: u64,
    /// Bytes.
    pub memory_available: u64,
    pub memory_size: u64,
    pub containers_running: u64,
    pub ipvs: Ipvs,
}

/// Whether the kernel can forward a service's virtual address, by which recipes reach their databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ipvs {
    Loaded,
    /// A module that Docker loads when it needs it.
    Loadable,
    /// `db:5432` answers "No route to host".
    Missing,
}

impl Swarm {
    pub async fn facts(&self) -> Result<Facts, SwarmFault> {
        let info = self.info().await?;
        let root = info.root.clone();
        // statvfs waits for the disk.
        let local = tokio::task::spawn_blocking(move || Local::look(Path::new(&root))).await.unwrap_or_default();
        Ok(Facts {
            docker: info.version,
            swarm: match info.membership {
                Membership::Manager => "manager".to_owned(),
                Membership::Worker => "worker".to_owned(),
                Membership::Inactive => "inactive".to_owned(),
                Membership::Pending => "pending".to_owned(),
                Membership::Locked => "locked".to_owned(),
                Membership::Error(error) => format!("error: {error}"),
            },
            nodes: info.nodes,
            disk_free: local.disk_free,
            disk_size: local.disk_size,
            memory_available: local.memory_available,
            memory_size: info.memory,
            containers_running: info.containers_running,
            ipvs: local.ipvs.unwrap_or(Ipvs::Missing),
        })
    }
}

#[derive(Debug, Default)]
struct Local {
    disk_free: u64,
    disk_size: u64,
    memory_available: u64,
    ipvs: Option<Ipvs>,
}

impl Local {
    fn look(root: &Path) -> Local {
        // Docker's directory may be closed to this user; the disk it is on is not.
        let disk = root.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Local {
            disk_free: disk.as_ref().map_or(0, |disk| disk.f_bavail * disk.f_frsize),
            disk_size: disk.as_ref().map_or(0, |disk| disk.f_blocks * disk.f_frsize),
            memory_available: memory_available(&meminfo),
            ipvs: Some(ipvs()),
        }
    }
}

fn memory_available(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}

/// Looks, never loads.
pub fn ipvs() -> Ipvs {
    if Path::new("/proc/net/ip_vs").exists() {
        return Ipvs::Loaded;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // NixOS keeps its modules beside the running system.
    let folders = ["/lib/modules", "/run/booted-system/kernel-modules/lib/modules"];
    let listed = |list: &str| {
        folders.iter().any(|folder| {
            let path = Path::new(folder).join(release.trim()).join(list);
            std::fs::read_to_string(path).is_ok_and(|text| text.contains("/ip_vs.ko"))
        })
    };
    if listed("modules.dep") || listed("modules.builtin") { Ipvs::Loadable } else { Ipvs::Missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kilobytes() {
        let text = "MemTotal:       24689232 kB\nMemFree:         1234 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(memory_available(text), 20_480_000_000);
        assert_eq!(memory_available("nonsense"), 0);
    }
}
