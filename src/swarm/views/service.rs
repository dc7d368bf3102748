//! Services: what they are made from, how many there are to be, and how their last update goes.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{count, sorted};
use crate::swarm::client::NAMESPACE;

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
    pub(super) fn of_task(mut spec: serde_json::Value) -> Template {
        // Said of services, not of their tasks.
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("Runtime");
        }
        Template::of(&spec)
    }
}

/// bollard looks for a health check under another name than Docker writes it.
pub(super) fn rename_check(spec: Option<&mut serde_json::Value>) {
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

pub(super) fn health_of(check: Option<&models::HealthConfig>) -> Health {
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
    pub(in crate::swarm) fn read(mut json: serde_json::Value) -> Result<Service, serde_json::Error> {
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
