//! What Docker says, cut down to what is asked of it, without `Option` where there is always something.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use bollard::models;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::client::NAMESPACE;
use crate::clock::Time;

/// How Swarm watches an update where the file says nothing, and how long a fresh service is watched.
pub const MONITOR: Duration = Duration::from_secs(5);

/// What a task is made from, as a hash: two that are equal need no new task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(pub String);

impl Template {
    fn of(spec: &serde_json::Value) -> Template {
        let mut text = String::new();
        canonical(spec, &mut text);
        Template(hex::encode(&Sha256::digest(text.as_bytes())[..16]))
    }

    /// Of a task's spec, or of a service's for its tasks.
    fn of_task(mut spec: serde_json::Value) -> Template {
        // Said of services, not of their tasks.
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("Runtime");
        }
        Template::of(&spec)
    }
}

/// bollard looks for a health check under another name than Docker writes it.
fn rename_check(spec: Option<&mut serde_json::Value>) {
    let container = spec.and_then(|spec| spec.get_mut("ContainerSpec")).and_then(serde_json::Value::as_object_mut);
    if let Some(container) = container
        && let Some(check) = container.remove("Healthcheck")
    {
        container.insert("HealthCheck".to_owned(), check);
    }
}

/// JSON with its keys in order, since Docker's maps come in any, and without what holds nothing, which Docker now writes
/// and now leaves out.
pub fn canonical(value: &serde_json::Value, text: &mut String) {
    let holds_nothing = |value: &serde_json::Value| {
        value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    match value {
        serde_json::Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().filter(|(_, value)| !holds_nothing(value)).collect();
            text.push('{');
            for (key, value) in sorted {
                text.push_str(&serde_json::Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        serde_json::Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
}

/// How many tasks a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Replicated(u64),
    /// One on each node that fits.
    Global,
    /// Runs to its end this many times.
    Job(u64),
    /// Runs to its end once on each node.
    GlobalJob,
}

/// Where a service's health check comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// From the compose file.
    Own,
    /// The compose file is silent: what the image says.
    AsImage,
    /// Switched off.
    Off,
}

/// When Swarm starts a task anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

/// How the last update of a service went. A deploy that changes nothing takes it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub state: UpdateState,
    /// As Docker wrote it: it tells one update from the next.
    pub started_at: Option<String>,
    pub message: String,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub id: String,
    /// With the stack's name before it: `cust-9ad31f_ci_test_app`.
    pub name: String,
    /// As in the spec, digest included.
    pub image: String,
    pub mode: Mode,
    /// Tasks that Swarm has made and wants to run; 0 right after the deploy.
    pub desired: u64,
    pub health: Health,
    pub restart: Restart,
    /// How long an update, or a fresh service, is watched.
    pub monitor: Duration,
    /// Of the service (`deploy.labels`), where Traefik and abra look.
    pub labels: BTreeMap<String, String>,
    /// Of its containers (`labels`).
    pub container_labels: BTreeMap<String, String>,
    /// `KEY=value`, as the containers get it.
    pub env: Vec<String>,
    pub update: Option<Update>,
    pub template: Template,
    /// Everything that a deploy sets, labels and ports included.
    pub whole: Template,
    /// Names of configs and secrets that its tasks read.
    pub configs: Vec<String>,
    pub secrets: Vec<String>,
    /// Ids of the networks its tasks join.
    pub networks: Vec<String>,
    pub mounts: Vec<Mounted>,
}

/// A named volume in the tasks of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// With the stack's name before it.
    pub volume: String,
    /// In the container.
    pub target: String,
    pub read_only: bool,
}

fn mounted(mount: models::Mount) -> Option<Mounted> {
    let named = mount.typ == Some(models::MountType::VOLUME);
    Some(Mounted {
        volume: mount.source.filter(|name| named && !name.is_empty())?,
        target: mount.target?,
        read_only: mount.read_only.unwrap_or(false),
    })
}

impl Service {
    /// The stack it says it belongs to.
    pub fn stack(&self) -> Option<&str> {
        self.labels.get(NAMESPACE).map(String::as_str)
    }

    /// As the compose file calls it.
    pub fn short(&self) -> &str {
        match self.stack() {
            Some(stack) => self.name.strip_prefix(stack).and_then(|rest| rest.strip_prefix('_')).unwrap_or(&self.name),
            None => &self.name,
        }
    }
}

fn sorted(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

fn count(number: Option<i64>, otherwise: u64) -> u64 {
    number.map_or(otherwise, |number| u64::try_from(number).unwrap_or(0))
}

fn mode_of(mode: Option<models::ServiceSpecMode>) -> Mode {
    let Some(mode) = mode else { return Mode::Replicated(1) };
    if mode.global.is_some() {
        Mode::Global
    } else if mode.global_job.is_some() {
        Mode::GlobalJob
    } else if let Some(job) = mode.replicated_job {
        Mode::Job(count(job.total_completions.or(job.max_concurrent), 1))
    } else {
        Mode::Replicated(count(mode.replicated.and_then(|replicated| replicated.replicas), 1))
    }
}

fn health_of(check: Option<&models::HealthConfig>) -> Health {
    match check.and_then(|check| check.test.as_deref()) {
        None | Some([]) => Health::AsImage,
        Some([first, ..]) if first == "NONE" => Health::Off,
        Some(_) => Health::Own,
    }
}

fn update_of(status: models::ServiceUpdateStatus) -> Option<Update> {
    use models::ServiceUpdateStatusStateEnum as State;
    let state = match status.state? {
        State::EMPTY => return None,
        State::UPDATING => UpdateState::Updating,
        State::PAUSED => UpdateState::Paused,
        State::COMPLETED => UpdateState::Completed,
        State::ROLLBACK_STARTED => UpdateState::RollbackStarted,
        State::ROLLBACK_PAUSED => UpdateState::RollbackPaused,
        State::ROLLBACK_COMPLETED => UpdateState::RollbackCompleted,
    };
    Some(Update { state, started_at: status.started_at, message: status.message.unwrap_or_default() })
}

impl Service {
    /// As Docker lists it.
    pub(super) fn read(mut json: serde_json::Value) -> Result<Service, serde_json::Error> {
        let whole = Template::of(&json["Spec"]);
        let template = Template::of_task(json["Spec"]["TaskTemplate"].clone());
        for spec in ["Spec", "PreviousSpec"] {
            rename_check(json.get_mut(spec).and_then(|spec| spec.get_mut("TaskTemplate")));
        }
        let service: models::Service = serde_json::from_value(json)?;
        let spec = service.spec.unwrap_or_default();
        let task = spec.task_template.unwrap_or_default();
        let networks = task.networks.or(spec.networks).unwrap_or_default();
        let restart = task.restart_policy.and_then(|policy| policy.condition);
        let container = task.container_spec.unwrap_or_default();
        let monitor = spec.update_config.and_then(|update| update.monitor).and_then(|nanos| u64::try_from(nanos).ok());
        Ok(Service {
            id: service.id.unwrap_or_default(),
            name: spec.name.unwrap_or_default(),
            image: container.image.unwrap_or_default(),
            mode: mode_of(spec.mode),
            desired: service.service_status.and_then(|status| status.desired_tasks).unwrap_or(0),
            health: health_of(container.health_check.as_ref()),
            restart: match restart {
                Some(models::TaskSpecRestartPolicyConditionEnum::NONE) => Restart::Never,
                Some(models::TaskSpecRestartPolicyConditionEnum::ON_FAILURE) => Restart::OnFailure,
                _ => Restart::Always,
            },
            monitor: monitor.filter(|nanos| *nanos > 0).map_or(MONITOR, Duration::from_nanos),
            labels: sorted(spec.labels),
            container_labels: sorted(container.labels),
            env: container.env.unwrap_or_default(),
            update: service.update_status.and_then(update_of),
            template,
            whole,
            configs: container
                .configs
                .unwrap_or_default()
                .into_iter()
                .filter_map(|config| config.config_name)
                .collect(),
            secrets: container
                .secrets
                .unwrap_or_default()
                .into_iter()
                .filter_map(|secret| secret.secret_name)
                .collect(),
            networks: networks.into_iter().filter_map(|network| network.target).collect(),
            mounts: container.mounts.unwrap_or_default().into_iter().filter_map(mounted).collect(),
        })
    }
}

/// How far a task is, in the order it goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    New,
    Pending,
    Assigned,
    Preparing,
    Ready,
    /// With a health check: until it is healthy.
    Starting,
    Running,
    /// Ended with 0.
    Complete,
    Shutdown,
    Failed,
    /// Never became a container.
    Rejected,
    Orphaned,
    Remove,
}

impl TaskState {
    /// It will not run again.
    pub fn is_over(self) -> bool {
        self > TaskState::Running
    }
}

impl From<models::TaskState> for TaskState {
    fn from(state: models::TaskState) -> TaskState {
        use models::TaskState as S;
        match state {
            S::NEW | S::ALLOCATED => TaskState::New,
            S::PENDING => TaskState::Pending,
            S::ASSIGNED | S::ACCEPTED => TaskState::Assigned,
            S::PREPARING => TaskState::Preparing,
            S::READY => TaskState::Ready,
            S::STARTING => TaskState::Starting,
            S::RUNNING => TaskState::Running,
            S::COMPLETE => TaskState::Complete,
            S::SHUTDOWN => TaskState::Shutdown,
            S::FAILED => TaskState::Failed,
            S::REJECTED => TaskState::Rejected,
            S::REMOVE => TaskState::Remove,
            S::ORPHANED => TaskState::Orphaned,
        }
    }
}

/// Which of a service's places a task takes: a number, or a node for a global one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    Number(i64),
    Node(String),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Number(number) => number.fmt(f),
            Slot::Node(node) => f.write_str(node),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Task {
    pub id: String,
    pub service: String,
    pub slot: Slot,
    pub template: Template,
    pub image: String,
    pub state: TaskState,
    pub desired: TaskState,
    /// Since when it is in this state.
    pub since: Option<Time>,
    /// Why it waits or ended; empty when there is nothing to say.
    pub error: String,
    pub container: Option<String>,
    pub exit: Option<i64>,
    pub created: Option<Time>,
    /// Names of configs and secrets in its own spec.
    pub configs: Vec<String>,
    pub secrets: Vec<String>,
}

impl Task {
    /// As Docker lists it.
    pub(super) fn read(mut json: serde_json::Value) -> Result<Task, serde_json::Error> {
        let template = Template::of_task(json["Spec"].clone());
        rename_check(json.get_mut("Spec"));
        let task: models::Task = serde_json::from_value(json)?;
        let status = task.status.unwrap_or_default();
        let container = task.spec.and_then(|spec| spec.container_spec).unwrap_or_default();
        let run = status.container_status.unwrap_or_default();
        let state = status.state.map_or(TaskState::New, TaskState::from);
        Ok(Task {
            id: task.id.unwrap_or_default(),
            service: task.service_id.unwrap_or_default(),
            slot: match task.slot {
                Some(number) if number > 0 => Slot::Number(number),
                _ => Slot::Node(task.node_id.unwrap_or_default()),
            },
            template,
            image: container.image.unwrap_or_default(),
            state,
            desired: task.desired_state.map_or(TaskState::New, TaskState::from),
            since: status.timestamp.as_deref().and_then(Time::parse),
            error: status.err.unwrap_or_default(),
            container: run.container_id.filter(|id| !id.is_empty()),
            // Docker writes 0 while it runs, too.
            exit: run.exit_code.filter(|_| state.is_over()),
            created: task.created_at.as_deref().and_then(Time::parse),
            configs: container
                .configs
                .unwrap_or_default()
                .into_iter()
                .filter_map(|config| config.config_name)
                .collect(),
            secrets: container
                .secrets
                .unwrap_or_default()
                .into_iter()
                .filter_map(|secret| secret.secret_name)
                .collect(),
        })
    }
}

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

#[cfg(test)]
mod tests {
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
