//! Takes a stack away, whatever state it is in, and proves it. One loop: look, remove what can go now, wait for Docker to
//! tell of a change. Since each round starts from what is there, a crash in between or a second call costs nothing, and
//! what holds on to something (a volume in use, a task that is still being stopped) is simply met again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::claims;
use super::client::{Swarm, SwarmFault};
use super::events::StackEvent;
use super::leftovers::{Everything, Kind, Leftover};
use super::views::Container;
use crate::crash::crash_point;
use crate::model::StackName;

/// Nothing of this stack is left: seen with one's own eyes, object by object. Only [`verify`] can say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingLeft {
    stack: StackName,
}

impl NothingLeft {
    pub fn stack(&self) -> &StackName {
        &self.stack
    }

    /// For tests of what needs a proof but no Swarm.
    #[cfg(test)]
    pub(crate) fn for_test(stack: &StackName) -> NothingLeft {
        NothingLeft { stack: stack.clone() }
    }
}

/// Why nobody can say that nothing is left.
#[derive(Debug, thiserror::Error)]
pub enum NotGone {
    #[error("{} left: {}", .0.len(), list(.0))]
    Leftovers(Vec<Leftover>),
    #[error(transparent)]
    Fault(#[from] SwarmFault),
}

fn list(leftovers: &[Leftover]) -> String {
    leftovers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How long a teardown may take, and how gentle it is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For all of it.
    pub limit: Duration,
    /// What a container gets to stop by itself before it is killed; its own grace period may be minutes.
    pub grace: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { limit: Duration::from_secs(180), grace: Duration::from_secs(10) }
    }
}

/// How much of the stack goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Services, tasks, containers and networks: its data and its secrets stay.
    Running,
    Everything,
}

/// Looks whether anything of the stack is there.
pub async fn verify(swarm: &Swarm, stack: &StackName) -> Result<NothingLeft, NotGone> {
    let left = Everything::look_for(swarm, stack).await?.of(stack.as_str());
    if left.is_empty() { Ok(NothingLeft { stack: stack.clone() }) } else { Err(NotGone::Leftovers(left)) }
}

/// Removes everything of the stack and proves it. `said` gets a line for each step.
pub async fn teardown(
    swarm: &Swarm,
    stack: &StackName,
    patience: Patience,
    said: &mut (dyn FnMut(String) + Send),
) -> Result<NothingLeft, NotGone> {
    let left = sweep(swarm, stack, Reach::Everything, patience, said).await?;
    if left.is_empty() { verify(swarm, stack).await } else { Err(NotGone::Leftovers(left)) }
}

/// Removes what runs of the stack, or waits until an undeploy that was begun by somebody else is done: no service, no
/// container and no network of it is left. Volumes, secrets and configs stay.
pub async fn stop(
    swarm: &Swarm,
    stack: &StackName,
    patience: Patience,
    said: &mut (dyn FnMut(String) + Send),
) -> Result<(), NotGone> {
    let left = sweep(swarm, stack, Reach::Running, patience, said).await?;
    if left.is_empty() { Ok(()) } else { Err(NotGone::Leftovers(left)) }
}

/// Docker is asked again at least this often, for what it tells nobody: when a task is off a network, for one. Rarer when
/// nothing comes of it.
const TICKS: [Duration; 4] =
    [Duration::from_millis(60), Duration::from_millis(120), Duration::from_millis(250), Duration::from_millis(500)];
/// A burst of events is one reason to look.
const BURST: Duration = Duration::from_millis(20);

async fn sweep(
    swarm: &Swarm,
    stack: &StackName,
    reach: Reach,
    patience: Patience,
    said: &mut (dyn FnMut(String) + Send),
) -> Result<Vec<Leftover>, SwarmFault> {
    let start = Instant::now();
    let mut events = std::pin::pin!(swarm.events(stack, None));
    let mut broom = Broom { swarm, stack, reach, patience, start, whys: BTreeMap::new(), nameless: BTreeSet::new() };
    let mut before: BTreeSet<(Kind, String)> = BTreeSet::new();
    let mut deaf = false;
    let mut idle = 0;
    loop {
        let everything = Everything::look_for(swarm, stack).await?;
        let left = broom.left(&everything);
        // Tasks go with their services, and nobody knows them by name.
        let named = left.iter().filter(|left| left.kind != Kind::Task);
        let now: BTreeSet<(Kind, String)> = named.map(|left| (left.kind, left.name.clone())).collect();
        for (kind, name) in before.difference(&now) {
            said(format!("{kind} {name} is gone"));
        }
        before = now;
        if left.is_empty() {
            broom.remove_nameless().await;
            return Ok(left);
        }
        if start.elapsed() >= patience.limit {
            return Ok(left);
        }
        let removed = broom.remove(&everything, &left, said).await;
        if removed {
            idle = 0;
            tokio::time::sleep(BURST).await;
            continue;
        }
        // A stream that ended is no reason to stop: the tick goes on.
        let event = async { if deaf { std::future::pending().await } else { events.next().await } };
        let heard = tokio::select! {
            event = event => Some(event),
            () = tokio::time::sleep_until(broom.next_moment(TICKS[idle])) => None,
        };
        idle = (idle + 1).min(TICKS.len() - 1);
        if let Some(event) = heard {
            idle = 0;
            deaf = !matches!(event, Some(Ok(StackEvent { .. })));
            tokio::time::sleep(BURST).await;
        }
    }
}

struct Broom<'a> {
    swarm: &'a Swarm,
    stack: &'a StackName,
    reach: Reach,
    patience: Patience,
    start: Instant,
    /// What Docker said when something could not be removed, by its name.
    whys: BTreeMap<(Kind, String), String>,
    /// Volumes without a name of their own, seen while a container of the stack still pointed at them.
    nameless: BTreeSet<String>,
}

impl Broom<'_> {
    fn left(&mut self, everything: &Everything) -> Vec<Leftover> {
        let mut left = everything.of(self.stack.as_str());
        left.retain(|left| match self.reach {
            Reach::Everything => true,
            Reach::Running => matches!(left.kind, Kind::Service | Kind::Task | Kind::Container | Kind::Network),
        });
        let ours = everything.containers.iter().filter(|container| container.stack() == Some(self.stack.as_str()));
        self.nameless.extend(ours.flat_map(|container| container.nameless_volumes.iter().cloned()));
        for left in &mut left {
            left.why = self.whys.get(&(left.kind, left.name.clone())).cloned();
        }
        left
    }

    /// Removes what can go now. True when something went and the next look need not wait.
    async fn remove(
        &mut self,
        everything: &Everything,
        left: &[Leftover],
        said: &mut (dyn FnMut(String) + Send),
    ) -> bool {
        let has = |kind: Kind| left.iter().any(|left| left.kind == kind);
        // It says whose the rest is, as long as there is any.
        let is_claim = |left: &Leftover| left.kind == Kind::Config && claims::is_claim(self.stack, &left.name);
        let claimed = left.iter().any(|left| !is_claim(left));
        let late = self.start.elapsed() >= self.patience.grace;
        let mut now: Vec<&Leftover> = Vec::new();
        for left in left {
            let ready = match left.kind {
                Kind::Service => true,
                // Swarm's alone to end.
                Kind::Task => false,
                Kind::Config if is_claim(left) => !claimed,
                // Swarm stops and removes what it made; the rest is nobody's but ours.
                Kind::Container => !has(Kind::Service) && (late || !swarm_will(everything, &left.id)),
                Kind::Secret | Kind::Config => !has(Kind::Service),
                // A task that is still being started would make them anew.
                Kind::Network | Kind::Volume => {
                    !has(Kind::Service) && !has(Kind::Container) && (late || !has(Kind::Task))
                }
            };
            if ready {
                now.push(left);
            }
        }
        if late && now.iter().any(|left| left.kind == Kind::Container) {
            let seconds = self.patience.grace.as_secs();
            let key = (Kind::Container, String::new());
            if self.whys.insert(key, String::new()).is_none() {
                said(format!("containers that did not stop within {seconds} s are killed"));
            }
        }
        let swarm = self.swarm;
        let mut removals: FuturesUnordered<_> = now
            .into_iter()
            .map(|left| async move {
                let result = match left.kind {
                    Kind::Service => swarm.remove_service(&left.id).await,
                    Kind::Task => Ok(()),
                    Kind::Container => swarm.remove_container(&left.id).await,
                    Kind::Network => swarm.remove_network(&left.id).await,
                    Kind::Volume => swarm.remove_volume(&left.name).await,
                    Kind::Secret => swarm.remove_secret(&left.id).await,
                    Kind::Config => swarm.remove_config(&left.id).await,
                };
                (left, result)
            })
            .collect();
        let mut removed = false;
        while let Some((left, result)) = removals.next().await {
            let key = (left.kind, left.name.clone());
            match result {
                Ok(()) => {
                    crash_point!("docker: {} removed", left.kind);
                    removed = true;
                    self.whys.remove(&key);
                }
                Err(fault) => {
                    self.whys.insert(key, fault.why.to_string());
                }
            }
        }
        removed
    }

    /// When to look again though nothing was heard.
    fn next_moment(&self, tick: Duration) -> Instant {
        let now = Instant::now();
        let grace = self.start + self.patience.grace;
        let limit = self.start + self.patience.limit;
        let mut moment = (now + tick).min(limit);
        if grace > now {
            moment = moment.min(grace);
        }
        moment
    }

    /// Those that went with their container are gone already; the others are in nobody's way and nobody's care.
    async fn remove_nameless(&self) {
        for name in &self.nameless {
            if let Err(fault) = self.swarm.remove_volume(name).await {
                tracing::warn!(volume = name, stack = %self.stack, error = %fault, "a nameless volume stays");
            }
        }
    }
}

/// Whether Swarm itself will stop and remove this container.
fn swarm_will(everything: &Everything, id: &str) -> bool {
    everything.containers.iter().any(|container| container.id == id && container.task.is_some())
}

impl Container {
    fn stack(&self) -> Option<&str> {
        self.labels.get(super::client::NAMESPACE).map(String::as_str)
    }
}
