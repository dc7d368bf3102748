//! What Docker says, cut down to what is asked of it, without `Option` where there is always something.

mod service;
mod task;

use std::collections::{BTreeMap, HashMap};

use bollard::models;

pub use service::*;
pub use task::*;

/// A secret or a config: its name is what counts, its id removes it.
#[derive(Clone, Debug)]
pub struct Object {
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl From<models::Secret> for Object {
    fn from(secret: models::Secret) -> Object {
        let spec = secret.spec.unwrap_or_default();
        Object { id: secret.id.unwrap_or_default(), name: spec.name.unwrap_or_default(), labels: sorted(spec.labels) }
    }
}

impl From<models::Config> for Object {
    fn from(config: models::Config) -> Object {
        let spec = config.spec.unwrap_or_default();
        Object { id: config.id.unwrap_or_default(), name: spec.name.unwrap_or_default(), labels: sorted(spec.labels) }
    }
}

#[derive(Clone, Debug)]
pub struct Volume {
    pub name: String,
    /// Where its files lie on this machine.
    pub mountpoint: String,
    pub labels: BTreeMap<String, String>,
}

impl From<models::Volume> for Volume {
    fn from(volume: models::Volume) -> Volume {
        Volume { name: volume.name, mountpoint: volume.mountpoint, labels: volume.labels.into_iter().collect() }
    }
}

#[derive(Clone, Debug)]
pub struct Network {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub scope: String,
    pub attachable: bool,
    pub labels: BTreeMap<String, String>,
}

impl From<models::Network> for Network {
    fn from(network: models::Network) -> Network {
        Network {
            id: network.id.unwrap_or_default(),
            name: network.name.unwrap_or_default(),
            driver: network.driver.unwrap_or_default(),
            scope: network.scope.unwrap_or_default(),
            attachable: network.attachable.unwrap_or(false),
            labels: sorted(network.labels),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub running: bool,
    /// Made by Swarm for this task, which will be cleaned up with it.
    pub task: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Volumes that got a number instead of a name: they go with their container.
    pub nameless_volumes: Vec<String>,
}

impl From<models::ContainerSummary> for Container {
    fn from(container: models::ContainerSummary) -> Container {
        let labels = sorted(container.labels);
        let nameless = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        Container {
            id: container.id.unwrap_or_default(),
            name: container
                .names
                .and_then(|names| names.into_iter().next())
                .map(|name| name.trim_start_matches('/').to_owned())
                .unwrap_or_default(),
            running: matches!(container.state, Some(models::ContainerSummaryStateEnum::RUNNING)),
            task: labels.get("com.docker.swarm.task.id").cloned(),
            labels,
            nameless_volumes: container
                .mounts
                .unwrap_or_default()
                .into_iter()
                .filter_map(|mount| mount.name)
                .filter(nameless)
                .collect(),
        }
    }
}

/// How this machine stands to a Swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// In none.
    Inactive,
    Pending,
    /// Encrypted, and nobody has unlocked it since the last start.
    Locked,
    Error(String),
    Worker,
    Manager,
}

/// Facts of the daemon.
#[derive(Clone, Debug)]
pub struct Info {
    pub version: String,
    /// Where images, containers and volumes lie.
    pub root: String,
    pub memory: u64,
    pub cpus: u64,
    pub containers_running: u64,
    pub membership: Membership,
    pub nodes: u64,
    pub managers: u64,
    pub node_id: String,
    /// Restarts of the daemon leave containers running, which Swarm does not allow.
    pub live_restore: bool,
}

impl From<models::SystemInfo> for Info {
    fn from(info: models::SystemInfo) -> Info {
        let swarm = info.swarm.unwrap_or_default();
        let membership = match swarm.local_node_state {
            Some(models::LocalNodeState::ACTIVE) if swarm.control_available == Some(true) => Membership::Manager,
            Some(models::LocalNodeState::ACTIVE) => Membership::Worker,
            Some(models::LocalNodeState::PENDING) => Membership::Pending,
            Some(models::LocalNodeState::LOCKED) => Membership::Locked,
            Some(models::LocalNodeState::ERROR) => Membership::Error(swarm.error.unwrap_or_default()),
            _ => Membership::Inactive,
        };
        Info {
            version: info.server_version.unwrap_or_default(),
            root: info.docker_root_dir.unwrap_or_default(),
            memory: count(info.mem_total, 0),
            cpus: count(info.ncpu, 0),
            containers_running: count(info.containers_running, 0),
            membership,
            nodes: count(swarm.nodes, 0),
            managers: count(swarm.managers, 0),
            node_id: swarm.node_id.unwrap_or_default(),
            live_restore: info.live_restore_enabled.unwrap_or(false),
        }
    }
}

fn sorted(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

fn count(number: Option<i64>, otherwise: u64) -> u64 {
    number.map_or(otherwise, |number| u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::service::health_of;
    use super::*;

    fn service(json: &str) -> Service {
        Service::read(serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn a_task_is_made_from_its_services_template_though_docker_writes_them_differently() {
        let service = service(
            r#"{"Spec": {"Name": "a", "TaskTemplate": {"Runtime": "container", "Resources": {},
                "ContainerSpec": {"Image": "i", "Labels": {"a": "1", "b": "2"}, "Healthcheck": {"Retries": 3}}}}}"#,
        );
        let task = |retries: u8| {
            let json = format!(
                r#"{{"Spec": {{"ContainerSpec": {{"Healthcheck": {{"Retries": {retries}}},
                    "Labels": {{"b": "2", "a": "1"}}, "Image": "i", "Args": null}}}}}}"#
            );
            Task::read(serde_json::from_str(&json).unwrap()).unwrap()
        };
        assert_eq!(task(3).template, service.template);
        assert_ne!(task(4).template, service.template);
    }

    #[test]
    fn a_check_in_the_compose_file_is_seen() {
        let json = r#"{"Spec": {"TaskTemplate": {"ContainerSpec": {"Healthcheck": {"Test": ["CMD", "true"]}}}}}"#;
        assert_eq!(service(json).health, Health::Own);
        assert_eq!(service(r#"{"Spec": {"TaskTemplate": {"ContainerSpec": {}}}}"#).health, Health::AsImage);
    }

    #[test]
    fn a_check_that_is_switched_off_is_none() {
        let test = |words: &[&str]| models::HealthConfig {
            test: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            ..Default::default()
        };
        assert_eq!(health_of(Some(&test(&["NONE"]))), Health::Off);
        assert_eq!(health_of(Some(&test(&["CMD", "true"]))), Health::Own);
        assert_eq!(health_of(Some(&test(&[]))), Health::AsImage);
        assert_eq!(health_of(None), Health::AsImage);
    }
}
