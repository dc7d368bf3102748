//! The one door to Docker. Each call has its own deadline, since the API waits for ever where a task keeps failing; the
//! version is always negotiated, since some calls are refused and some are not when it is too new.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models;
use bollard::query_parameters as query;
use serde_json::Value;

use super::login::Logins;
use super::views::{Container, Info, Network, Object, Service, Task, TaskState, Volume};
use crate::model::StackName;

/// A question that Docker answers at once, or something is wrong with it.
pub(super) const CALL: Duration = Duration::from_secs(15);

/// Label by which everything of a stack is marked.
pub const NAMESPACE: &str = "com.docker.stack.namespace";

/// Docker on this machine, by its socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub(super) docker: Docker,
    raw: reqwest::Client,
    /// With the version agreed on.
    base: String,
    /// For pulls.
    pub(super) logins: Arc<Logins>,
}

/// Docker did not do what it was asked: the machine is at fault, never the recipe.
#[derive(Debug, thiserror::Error)]
#[error("asking Docker to {what}: {why}")]
pub struct SwarmFault {
    pub what: String,
    pub why: Why,
}

#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// It answered, and said no.
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error("{0}; is it running, and may this user open its socket?")]
    Unreachable(String),
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
    /// The stream of events or logs ended.
    #[error("the connection ended")]
    Ended,
}

impl SwarmFault {
    /// What was asked for is not there (any more).
    pub fn is_gone(&self) -> bool {
        matches!(self.why, Why::Refused { status: 404, .. })
    }

    /// Something else still holds it, or something like it is there already.
    pub fn is_conflict(&self) -> bool {
        matches!(&self.why, Why::Refused { status, message }
            if *status == 409 || message.contains("in use") || message.contains("already exists"))
    }

    pub(super) fn new(what: impl Into<String>, error: DockerError) -> SwarmFault {
        let why = match error {
            DockerError::DockerResponseServerError { status_code, message } => {
                Why::Refused { status: status_code, message: message.trim().to_owned() }
            }
            DockerError::DockerStreamError { error } => Why::Refused { status: 500, message: error },
            DockerError::RequestTimeoutError => Why::Deadline(CALL),
            other => Why::Unreachable(other.to_string()),
        };
        SwarmFault { what: what.into(), why }
    }
}

pub(super) type Filters = HashMap<String, Vec<String>>;

pub(super) fn filter(key: &str, value: impl Into<String>) -> Filters {
    HashMap::from([(key.to_owned(), vec![value.into()])])
}

fn of_stack(stack: &StackName) -> Filters {
    filter("label", format!("{NAMESPACE}={stack}"))
}

/// Asks with a deadline of our own.
pub(super) async fn ask<T>(
    what: impl Into<String>,
    within: Duration,
    call: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, SwarmFault> {
    // bollard's futures are large, and many of them are awaited at once.
    match tokio::time::timeout(within, Box::pin(call)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(SwarmFault::new(what, error)),
        Err(_) => Err(SwarmFault { what: what.into(), why: Why::Deadline(within) }),
    }
}

fn read<T>(
    what: &str,
    found: Vec<Value>,
    one: impl Fn(Value) -> Result<T, serde_json::Error>,
) -> Result<Vec<T>, SwarmFault> {
    found
        .into_iter()
        .map(one)
        .collect::<Result<_, _>>()
        .map_err(|error| SwarmFault { what: format!("list {what}"), why: Why::Unreadable(error.to_string()) })
}

/// Removing what is gone already has succeeded.
pub(super) fn gone_is_fine(result: Result<(), SwarmFault>) -> Result<(), SwarmFault> {
    match result {
        Err(fault) if fault.is_gone() => Ok(()),
        other => other,
    }
}

impl Swarm {
    /// Opens the socket and agrees on a version.
    pub async fn connect(socket: &Path) -> Result<Swarm, SwarmFault> {
        let what = || format!("answer on {}", socket.display());
        let unreachable = |error: DockerError| SwarmFault { what: what(), why: Why::Unreachable(error.to_string()) };
        let path = socket.to_string_lossy();
        let docker =
            Docker::connect_with_unix(&path, CALL.as_secs(), bollard::API_DEFAULT_VERSION).map_err(unreachable)?;
        let docker = ask(what(), CALL, docker.negotiate_version()).await?;
        let version = docker.client_version();
        let base = format!("http://docker/v{}.{}", version.major_version, version.minor_version);
        let raw = reqwest::Client::builder()
            .unix_socket(socket)
            .tls_backend_preconfigured(crate::probe::tls::trusting_nobody())
            .timeout(CALL)
            .build()
            .map_err(|error| SwarmFault { what: what(), why: Why::Unreachable(error.to_string()) })?;
        Ok(Swarm { docker, raw, base, logins: Arc::default() })
    }

    /// Pulls with these logins from now on.
    pub fn with_logins(self, logins: Logins) -> Swarm {
        Swarm { logins: Arc::new(logins), ..self }
    }

    /// A list as Docker wrote it. bollard's own views of services and tasks lose their health checks (it looks for
    /// `HealthCheck`, Docker writes `Healthcheck`), and with them the changes of one.
    async fn list(&self, path: &str, status: bool, filters: Option<Filters>) -> Result<Vec<Value>, SwarmFault> {
        let what = || format!("list {path}");
        let unreachable = |error: reqwest::Error| {
            let why = if error.is_timeout() { Why::Deadline(CALL) } else { Why::Unreachable(error.to_string()) };
            SwarmFault { what: what(), why }
        };
        let mut query = vec![("filters", serde_json::to_string(&filters.unwrap_or_default()).unwrap_or_default())];
        if status {
            query.push(("status", "true".to_owned()));
        }
        let answer = self.raw.get(format!("{}/{path}", self.base)).query(&query).send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            let message = serde_json::from_slice::<Value>(&body)
                .ok()
                .and_then(|error| error.get("message")?.as_str().map(str::to_owned))
                .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            return Err(SwarmFault { what: what(), why: Why::Refused { status: status.as_u16(), message } });
        }
        // No such list is `null`.
        serde_json::from_slice::<Option<Vec<Value>>>(&body)
            .map(Option::unwrap_or_default)
            .map_err(|error| SwarmFault { what: what(), why: Why::Unreadable(error.to_string()) })
    }

    /// Facts of the daemon and of its Swarm.
    pub async fn info(&self) -> Result<Info, SwarmFault> {
        ask("describe itself", CALL, self.docker.info()).await.map(Info::from)
    }

    /// Services of a stack, by name.
    pub async fn services(&self, stack: &StackName) -> Result<Vec<Service>, SwarmFault> {
        self.services_where(Some(of_stack(stack))).await
    }

    /// Services of every stack and of none.
    pub async fn all_services(&self) -> Result<Vec<Service>, SwarmFault> {
        self.services_where(None).await
    }

    async fn services_where(&self, filters: Option<Filters>) -> Result<Vec<Service>, SwarmFault> {
        let found = self.list("services", true, filters).await?;
        let mut services = read("services", found, Service::read)?;
        services.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(services)
    }

    /// Tasks of a stack, the dead ones that Swarm still remembers included; oldest first.
    pub async fn tasks(&self, stack: &StackName) -> Result<Vec<Task>, SwarmFault> {
        let found = self.list("tasks", false, Some(of_stack(stack))).await?;
        let mut tasks = read("tasks", found, Task::read)?;
        tasks.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        Ok(tasks)
    }

    /// Every volume; whose it is, [`super::leftovers`] says.
    pub async fn volumes(&self) -> Result<Vec<Volume>, SwarmFault> {
        let none = None::<query::ListVolumesOptions>;
        let found = ask("list volumes", CALL, self.docker.list_volumes(none)).await?;
        Ok(found.volumes.unwrap_or_default().into_iter().map(Volume::from).collect())
    }

    pub async fn secrets(&self) -> Result<Vec<Object>, SwarmFault> {
        let none = None::<query::ListSecretsOptions>;
        let found = ask("list secrets", CALL, self.docker.list_secrets(none)).await?;
        Ok(found.into_iter().map(Object::from).collect())
    }

    pub async fn configs(&self) -> Result<Vec<Object>, SwarmFault> {
        let none = None::<query::ListConfigsOptions>;
        let found = ask("list configs", CALL, self.docker.list_configs(none)).await?;
        Ok(found.into_iter().map(Object::from).collect())
    }

    pub async fn networks(&self) -> Result<Vec<Network>, SwarmFault> {
        let none = None::<query::ListNetworksOptions>;
        let found = ask("list networks", CALL, self.docker.list_networks(none)).await?;
        Ok(found.into_iter().map(Network::from).collect())
    }

    /// Containers that bear a stack's label, the dead ones included.
    pub async fn containers(&self, stack: &StackName) -> Result<Vec<Container>, SwarmFault> {
        let options = query::ListContainersOptions { all: true, filters: Some(of_stack(stack)), ..Default::default() };
        let found = ask("list containers", CALL, self.docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().map(Container::from).collect())
    }

    /// Names of the stacks that anything here bears the label of.
    pub(super) async fn labelled_containers(&self) -> Result<Vec<Container>, SwarmFault> {
        let options =
            query::ListContainersOptions { all: true, filters: Some(filter("label", NAMESPACE)), ..Default::default() };
        let found = ask("list containers", CALL, self.docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().map(Container::from).collect())
    }

    /// The newest container of a stack's service that runs, healthy yet or not, by the service's name in the compose file.
    pub async fn container_of(&self, stack: &StackName, service: &str) -> Result<Option<String>, SwarmFault> {
        let services = self.services(stack).await?;
        let Some(service) = services.iter().find(|found| found.short() == service) else { return Ok(None) };
        // A container is healthy a moment before Swarm says so of its task.
        let runs = |task: &Task| {
            task.service == service.id
                && task.desired == TaskState::Running
                && matches!(task.state, TaskState::Starting | TaskState::Running)
        };
        let tasks = self.tasks(stack).await?.into_iter();
        Ok(tasks.filter(runs).filter_map(|task| task.container).next_back())
    }

    /// A container with its state and its health.
    pub async fn container(&self, id: &str) -> Result<models::ContainerInspectResponse, SwarmFault> {
        let none = None::<query::InspectContainerOptions>;
        ask(format!("inspect container {id}"), CALL, self.docker.inspect_container(id, none)).await
    }

    pub async fn remove_service(&self, id: &str) -> Result<(), SwarmFault> {
        gone_is_fine(ask(format!("remove service {id}"), CALL, self.docker.delete_service(id)).await)
    }

    pub async fn remove_secret(&self, id: &str) -> Result<(), SwarmFault> {
        gone_is_fine(ask(format!("remove secret {id}"), CALL, self.docker.delete_secret(id)).await)
    }

    pub async fn remove_config(&self, id: &str) -> Result<(), SwarmFault> {
        gone_is_fine(ask(format!("remove config {id}"), CALL, self.docker.delete_config(id)).await)
    }

    pub async fn remove_network(&self, id: &str) -> Result<(), SwarmFault> {
        gone_is_fine(ask(format!("remove network {id}"), CALL, self.docker.remove_network(id)).await)
    }

    pub async fn remove_volume(&self, name: &str) -> Result<(), SwarmFault> {
        let none = None::<query::RemoveVolumeOptions>;
        gone_is_fine(ask(format!("remove volume {name}"), CALL, self.docker.remove_volume(name, none)).await)
    }

    /// Kills and removes a container, its nameless volumes too.
    pub async fn remove_container(&self, id: &str) -> Result<(), SwarmFault> {
        let options = query::RemoveContainerOptions { v: true, force: true, link: false };
        let removed =
            ask(format!("remove container {id}"), CALL, self.docker.remove_container(id, Some(options))).await;
        match gone_is_fine(removed) {
            Err(fault) if fault.to_string().contains("already in progress") => Ok(()),
            other => other,
        }
    }

    pub(super) async fn create_config(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        data: &[u8],
    ) -> Result<(), SwarmFault> {
        let spec = models::ConfigSpec {
            name: Some(name.to_owned()),
            labels: Some(labels.into_iter().collect()),
            data: Some(BASE64_STANDARD.encode(data)),
            ..Default::default()
        };
        ask(format!("create config {name}"), CALL, self.docker.create_config(spec)).await.map(drop)
    }

    /// Makes an overlay network that containers outside the Swarm's services may join too.
    pub async fn create_overlay(&self, name: &str) -> Result<(), SwarmFault> {
        let request = models::NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("overlay".to_owned()),
            attachable: Some(true),
            ..Default::default()
        };
        ask(format!("create network {name}"), CALL, self.docker.create_network(request)).await.map(drop)
    }

    /// Makes this machine the first node of a new Swarm.
    pub async fn init(&self, advertise: &str) -> Result<(), SwarmFault> {
        // A Swarm that nobody else can reach needs no open port.
        let listen = if advertise.starts_with("127.") { advertise } else { "0.0.0.0" };
        let request = models::SwarmInitRequest {
            listen_addr: Some(format!("{listen}:2377")),
            advertise_addr: Some(advertise.to_owned()),
            ..Default::default()
        };
        // The first election takes a second or two on a busy machine.
        ask("start a Swarm", CALL * 4, self.docker.init_swarm(request)).await.map(drop)
    }
}
