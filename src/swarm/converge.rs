//! Waits until a deployment is what it should be, or says why it will not become so. `docker stack deploy` returns at once,
//! and what it leaves behind lies in three ways: N of N may be the old tasks, a rollback puts the old labels back while the
//! page answers, and the trace of both goes with the next deploy. So the state before the deploy is looked at and kept
//! ([`Before`]), and the wait goes by Docker's events, judged by [`judge::Judge`], which knows no Docker.

pub mod judge;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::judge::{Judge, Step};
pub use self::verdict::{Converged, Failure, What};
use super::client::{Swarm, SwarmFault};
use super::events;
use super::views::{Health, Service, Task, Template, Update};
use crate::clock::{Clock, Time};
use crate::model::StackName;

/// What stood before a deploy. Serializable: it belongs to the evidence, since the deploy wipes a rollback's trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Before {
    pub stack: StackName,
    /// Docker's events are read from here on.
    pub at: Time,
    /// By full name.
    pub services: BTreeMap<String, Was>,
    /// Tasks that were there, and whether they were over.
    pub tasks: BTreeMap<String, bool>,
}

/// A service before a deploy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Was {
    pub id: String,
    pub template: Template,
    pub image: String,
    pub update: Option<Update>,
}

impl Before {
    pub async fn look(swarm: &Swarm, stack: &StackName) -> Result<Before, SwarmFault> {
        let at = Clock::system().now();
        let (services, tasks) = both(swarm, stack).await?;
        let services = services.into_iter().map(|service| {
            let was = Was { id: service.id, template: service.template, image: service.image, update: service.update };
            (service.name, was)
        });
        Ok(Before {
            stack: stack.clone(),
            at,
            services: services.collect(),
            tasks: tasks.into_iter().map(|task| (task.id, task.state.is_over())).collect(),
        })
    }
}

async fn both(swarm: &Swarm, stack: &StackName) -> Result<(Vec<Service>, Vec<Task>), SwarmFault> {
    tokio::try_join!(swarm.services(stack), swarm.tasks(stack))
}

/// Why there is no convergence.
#[derive(Debug, thiserror::Error)]
pub enum NotConverged {
    /// The recipe, mostly; see [`Failure::is_infra`].
    #[error(transparent)]
    Failed(Box<Failure>),
    /// Docker does not answer.
    #[error(transparent)]
    Fault(#[from] SwarmFault),
    #[error("cancelled")]
    Cancelled,
}

/// Lines kept of a container that died.
const LINES: usize = 40;
/// Dead containers whose lines are kept.
const KEPT_DEATHS: usize = 64;
/// Swarm writes a task's state a moment after the container's event; a look right then would see the old one.
const ECHOES: [Duration; 4] =
    [Duration::from_millis(25), Duration::from_millis(70), Duration::from_millis(140), Duration::from_millis(300)];
/// For what makes no event: a task that finds no place, an image that is not there.
const TICK: Duration = Duration::from_secs(1);
const REOPEN: Duration = Duration::from_millis(200);
/// How long a failure waits for the last lines that are still being read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Waits for what was deployed after `before` was looked at. `said` gets plain words whenever a service gets on:
/// `app: 0 of 1, starting`.
pub async fn wait(
    swarm: &Swarm,
    before: &Before,
    limit: Duration,
    cancel: &CancellationToken,
    said: &mut (dyn FnMut(String) + Send),
) -> Result<Converged, NotConverged> {
    let mut judge = Judge::new(before.clone(), limit, Instant::now());
    let mut watch = Watch::new(swarm, &before.stack);
    let mut events = swarm.events(&before.stack, Some(before.at)).boxed();
    let mut echoes: Vec<Instant> = Vec::new();
    loop {
        let (services, tasks) = both(swarm, &before.stack).await?;
        watch.learn_checks(&services, &mut judge).await?;
        let now = Instant::now();
        let step = judge.look(&services, &tasks, now);
        for line in judge.news() {
            said(line);
        }
        let next = match step {
            Step::Converged(converged) => return Ok(converged),
            Step::Failed(mut failure) => {
                watch.last_words(&mut failure, &tasks, &services).await;
                return Err(NotConverged::Failed(failure));
            }
            Step::Wait { until } => until,
        };
        echoes.retain(|echo| *echo > now);
        let wake = echoes.iter().copied().chain([now + TICK]).chain(next).min().unwrap_or(now + TICK);
        tokio::select! {
            () = cancel.cancelled() => return Err(NotConverged::Cancelled),
            () = tokio::time::sleep_until(wake) => {}
            () = watch.read_lines(), if watch.is_reading() => {}
            event = events.next() => {
                if let Some(Ok(event)) = event {
                    watch.hear(&event, before, &mut judge);
                    // What came with it is taken along; the next look sees all of it.
                    while let Some(Some(Ok(event))) = futures_util::FutureExt::now_or_never(events.next()) {
                        watch.hear(&event, before, &mut judge);
                    }
                    let heard = Instant::now();
                    echoes = ECHOES.iter().map(|after| heard + *after).collect();
                } else {
                    // A daemon that went away fails the next look; one that only closed the stream is asked again.
                    tokio::time::sleep(REOPEN).await;
                    events = swarm.events(&before.stack, Some(Clock::system().now().minus(TICK))).boxed();
                }
            }
        }
    }
}

/// What the judge cannot do: ask Docker for lines and for the images' health checks.
struct Watch<'a> {
    swarm: &'a Swarm,
    stack: &'a StackName,
    /// By image: whether it brings a check.
    checks: BTreeMap<String, bool>,
    /// What dying containers printed last; the newest last.
    deaths: VecDeque<LastWords>,
    reading: FuturesUnordered<futures_util::future::BoxFuture<'a, LastWords>>,
}

struct LastWords {
    task: String,
    service: String,
    lines: Vec<String>,
    probe: Option<String>,
}

impl<'a> Watch<'a> {
    fn new(swarm: &'a Swarm, stack: &'a StackName) -> Watch<'a> {
        Watch { swarm, stack, checks: BTreeMap::new(), deaths: VecDeque::new(), reading: FuturesUnordered::new() }
    }

    async fn learn_checks(&mut self, services: &[Service], judge: &mut Judge) -> Result<(), SwarmFault> {
        for service in services.iter().filter(|service| service.health == Health::AsImage) {
            // An image that is not here yet is asked for again.
            if !self.checks.contains_key(&service.image) && self.swarm.has_image(&service.image).await? {
                let checked = self.swarm.image_is_checked(&service.image).await?;
                self.checks.insert(service.image.clone(), checked);
                judge.image_is_checked(&service.image, checked);
            }
        }
        Ok(())
    }

    /// Hands an event to the judge, and reads a dying container's lines while they can be read.
    fn hear(&mut self, event: &events::StackEvent, before: &Before, judge: &mut Judge) {
        judge.hear(event, Instant::now());
        let events::What::Container { id, task: Some(task), service: Some(service), change } = &event.what else {
            return;
        };
        if before.tasks.contains_key(task) {
            return;
        }
        let unhealthy = *change == events::Change::Unhealthy;
        if !unhealthy && !matches!(change, events::Change::Died { .. }) {
            return;
        }
        let (swarm, id, task, service) = (self.swarm, id.clone(), task.clone(), service.clone());
        self.reading.push(Box::pin(async move {
            let lines = swarm.container_lines(&id, LINES).await.unwrap_or_default();
            let probe = if unhealthy { last_probe(swarm, &id).await } else { None };
            LastWords { task, service, lines, probe }
        }));
    }

    fn is_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    async fn read_lines(&mut self) {
        let Some(words) = self.reading.next().await else { return };
        // A crash loop makes many; only the last ones are of interest.
        if self.deaths.len() == KEPT_DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(words);
    }

    /// The lines of the task that failed; if nothing was read when it died, of what is still there.
    async fn last_words(&mut self, failure: &mut Failure, tasks: &[Task], services: &[Service]) {
        let reading = async {
            while self.is_reading() {
                self.read_lines().await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, reading).await;
        let Some(service) = services.iter().find(|service| service.short() == failure.service) else { return };
        // A rollback leaves no trace of the tasks that failed but what was heard when they died.
        let of_it = |words: &&LastWords| {
            if failure.tasks.is_empty() { words.service == service.name } else { failure.tasks.contains(&words.task) }
        };
        let newest_first = || self.deaths.iter().rev().filter(of_it);
        let lines = newest_first().find(|words| !words.lines.is_empty()).map(|words| words.lines.clone());
        let said = newest_first().find_map(|words| words.probe.clone());
        failure.last_lines = lines.unwrap_or_default();
        if let What::Unhealthy { probe, .. } = &mut failure.what {
            *probe = said;
        }
        if failure.last_lines.is_empty() {
            let own = tasks.iter().rev().filter(|task| task.service == service.id);
            for container in own.filter_map(|task| task.container.as_deref()) {
                match self.swarm.container_lines(container, LINES).await {
                    Ok(lines) if !lines.is_empty() => {
                        failure.last_lines = lines;
                        break;
                    }
                    Ok(_) => {}
                    Err(fault) => {
                        tracing::debug!(stack = %self.stack, error = %fault, "no last lines");
                    }
                }
            }
        }
    }
}

/// What the health check printed last.
async fn last_probe(swarm: &Swarm, container: &str) -> Option<String> {
    let state = swarm.container(container).await.ok()?.state?;
    let last = state.health?.log?.pop()?;
    let text = super::logs::plain(last.output?.as_bytes());
    Some(text.chars().take(500).collect::<String>()).filter(|text| !text.is_empty())
}
