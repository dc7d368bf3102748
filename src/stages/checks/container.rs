//! Checks that look at a service's container: its health, a port of it, a command in it.

use std::time::Duration;

use bollard::models::HealthStatusEnum;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Came, Look};
use crate::stages::Trouble;
use crate::swarm::exec::{Exec, ExecEnded};

const CONNECT: Duration = Duration::from_secs(5);
/// For the first bytes of a server that speaks first.
const GREETING: Duration = Duration::from_secs(5);
const COMMAND: Duration = Duration::from_secs(60);
const MOST: usize = 64 << 10;

impl Look<'_> {
    /// The health of each service that has a health check.
    pub(super) async fn healths(&self) -> Result<Vec<(String, Came)>, Trouble> {
        let mut found = Vec::new();
        for service in self.deployed.said.compose.services() {
            if service.replicas() == Some(0) {
                continue;
            }
            let Some(container) = self.job.swarm.container_of(&self.deployed.made.stack, service.name).await? else {
                continue;
            };
            let state = self.job.swarm.container(&container).await?.state;
            let health = state.and_then(|state| state.health).and_then(|health| health.status);
            let came = match health {
                None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => continue,
                Some(HealthStatusEnum::HEALTHY) => Came::Well("healthy".into()),
                Some(other) => Came::Badly(other.to_string()),
            };
            found.push((service.name.to_owned(), came));
        }
        Ok(found)
    }

    /// A port of a service takes connections.
    pub(super) async fn tcp(&self, service: &str, port: u16, contains: Option<&str>) -> Came {
        let address = match self.container(service).await {
            Ok(container) => self.job.swarm.address_of(&container).await,
            Err(came) => return came,
        };
        let address = match address {
            Ok(Some(address)) => address,
            Ok(None) => return Came::Unseen(format!("{service} cannot be reached from this machine")),
            Err(fault) => return fault.into(),
        };
        let mut stream = match timeout(CONNECT, TcpStream::connect((address, port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Came::Badly(format!("port {port} of {service}: {error}")),
            Err(_) => return Came::Badly(format!("port {port} of {service} does not answer")),
        };
        let Some(wanted) = contains else { return Came::Well("it takes connections".into()) };
        let mut got = Vec::new();
        let reading = async {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece).await {
                got.extend_from_slice(&piece[..count]);
                if got.len() > MOST || String::from_utf8_lossy(&got).contains(wanted) {
                    break;
                }
            }
        };
        // Silence is an answer too.
        let _ = timeout(GREETING, reading).await;
        let text = String::from_utf8_lossy(&got).into_owned();
        if text.contains(wanted) { Came::Well(text) } else { Came::Badly(format!("it sends {text:?}")) }
    }

    /// A command in a service's container ends as it should.
    pub(super) async fn command(&self, service: &str, command: &[String], exit: i64, contains: Option<&str>) -> Came {
        let container = match self.container(service).await {
            Ok(container) => container,
            Err(came) => return came,
        };
        let exec = Exec::new(command.iter().cloned());
        let done = match self.job.swarm.exec(&container, &exec, COMMAND, MOST, self.cancel).await {
            Ok(done) => done,
            Err(fault) if fault.is_conflict() || fault.is_gone() => return Came::Badly(fault.to_string()),
            Err(fault) => return fault.into(),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        let said = if out.is_empty() { &err } else { &out };
        match done.ended {
            ExecEnded::Exit(code) if code != exit => Came::Badly(format!("exit {code}: {said}")),
            ExecEnded::Exit(code) => match contains {
                Some(wanted) if !out.contains(wanted) && !err.contains(wanted) => {
                    Came::Badly(format!("exit {code} without {wanted:?}: {said}"))
                }
                _ => Came::Well(format!("exit {code}: {said}")),
            },
            ExecEnded::Limit { .. } => Came::Badly(format!("no end within {} s", COMMAND.as_secs())),
            ExecEnded::Cancelled { .. } => Came::Unseen("cancelled".into()),
        }
    }

    async fn container(&self, service: &str) -> Result<String, Came> {
        if self.deployed.said.compose.service(service).is_none() {
            return Err(Came::Badly(format!("the recipe has no service `{service}`")));
        }
        match self.job.swarm.container_of(&self.deployed.made.stack, service).await {
            Ok(Some(container)) => Ok(container),
            Ok(None) => Err(Came::Badly(format!("no container of {service} runs"))),
            Err(fault) => Err(fault.into()),
        }
    }
}
