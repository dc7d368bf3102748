//! Judges a deployment from what is seen and heard of it, and from nothing else: no Docker, no clock of its own, so that
//! every rule can be tried out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Before;
use super::verdict::{Converged, Failure, What, times};
use crate::clock::Clock;
use crate::swarm::events::{Change, StackEvent, What as Heard};
use crate::swarm::views::{Health, Mode, Restart, Service, Slot, Task, TaskState, UpdateState};

/// Deaths of one slot that fail the stack.
const DEATHS: usize = 3;
/// A service that dies for want of another is given this long for the other to come.
const GATE: Duration = Duration::from_secs(45);
/// Swarm's own leader needs a moment to make the first tasks, or to give a dead one up.
const GRACE: Duration = Duration::from_millis(1500);
/// A task that finds no node for so long will not find one.
const UNPLACED: Duration = Duration::from_secs(45);

/// What a look leads to.
#[derive(Debug)]
pub enum Step {
    /// Look again at the latest then, whatever is heard.
    Wait {
        until: Option<Instant>,
    },
    Converged(Converged),
    Failed(Box<Failure>),
}

/// What was heard of a task.
#[derive(Clone, Debug, Default)]
struct Signs {
    healthy: bool,
    unhealthy: bool,
    killed: bool,
    out_of_memory: bool,
    died: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    Exit(Option<i64>),
    OutOfMemory,
    Unhealthy,
    Rejected(String),
}

#[derive(Clone, Debug)]
struct Death {
    task: String,
    at: Instant,
    cause: Cause,
}

#[derive(Debug, Default)]
struct Deaths {
    all: Vec<Death>,
    /// Since when nothing of this slot lives and nothing is coming, and after which task.
    empty: Option<(Instant, String)>,
}

/// Keeps what must be remembered between two looks.
#[derive(Debug)]
pub struct Judge {
    before: Before,
    start: Instant,
    limit: Duration,
    signs: HashMap<String, Signs>,
    checked_images: BTreeMap<String, bool>,
    up_since: HashMap<String, Instant>,
    deaths: BTreeMap<(String, Slot), Deaths>,
    /// When a service's deaths began to count.
    gates: BTreeMap<String, Gate>,
    unplaced_since: BTreeMap<String, Instant>,
    all_up_since: Option<Instant>,
    words: BTreeMap<String, String>,
    news: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    /// Never, where there is nobody to wait for: every death counts.
    opened: Option<Instant>,
    /// By the others being up, not by time.
    others_up: bool,
}

/// How a service stands at one look.
struct Standing<'a> {
    service: &'a Service,
    /// Tasks of what was deployed, oldest first.
    current: Vec<&'a Task>,
    is_up: bool,
    /// Nothing more to wait for; otherwise when, if it is known.
    settled: Result<(), Option<Instant>>,
    words: String,
}

impl Judge {
    pub fn new(before: Before, limit: Duration, now: Instant) -> Judge {
        Judge {
            before,
            start: now,
            limit,
            signs: HashMap::new(),
            checked_images: BTreeMap::new(),
            up_since: HashMap::new(),
            deaths: BTreeMap::new(),
            gates: BTreeMap::new(),
            unplaced_since: BTreeMap::new(),
            all_up_since: None,
            words: BTreeMap::new(),
            news: Vec::new(),
        }
    }

    /// Whether an image brings a health check, which holds where the compose file is silent.
    pub fn image_is_checked(&mut self, image: &str, checked: bool) {
        self.checked_images.insert(image.to_owned(), checked);
    }

    pub fn hear(&mut self, event: &StackEvent, now: Instant) {
        let Heard::Container { task: Some(task), change, .. } = &event.what else { return };
        let signs = self.signs.entry(task.clone()).or_default();
        match change {
            Change::Healthy => {
                signs.healthy = true;
                signs.unhealthy = false;
                self.up_since.entry(task.clone()).or_insert(now);
            }
            Change::Unhealthy => signs.unhealthy = true,
            Change::Killed => signs.killed = true,
            Change::OutOfMemory => signs.out_of_memory = true,
            Change::Died { exit } => signs.died = Some(*exit),
            Change::Started | Change::Gone | Change::Other => {}
        }
    }

    /// Lines about what is new since the last time, one a service.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    pub fn look(&mut self, services: &[Service], tasks: &[Task], now: Instant) -> Step {
        if services.is_empty() && now.duration_since(self.start) > GRACE {
            return failed(String::new(), What::NothingDeployed, &[], Vec::new());
        }
        let standings: Vec<Standing> = services.iter().map(|service| self.standing(service, tasks, now)).collect();
        self.open_gates(&standings, now);
        self.tell(&standings);

        for standing in &standings {
            if let Some((what, tasks)) = self.verdict_on(standing, now) {
                return failed(standing.service.short().to_owned(), what, &standings, tasks);
            }
        }
        let all_up = !standings.is_empty() && standings.iter().all(|standing| standing.is_up);
        if !all_up {
            self.all_up_since = None;
        } else if self.all_up_since.is_none() {
            self.all_up_since = Some(now);
        }
        if let Some(since) = self.all_up_since
            && standings.iter().all(|standing| standing.settled.is_ok())
        {
            let waited = now.duration_since(since);
            return Step::Converged(Converged { took: now.duration_since(self.start), waited });
        }
        let deadline = self.start + self.limit;
        if now >= deadline {
            let late = standings.iter().find(|standing| !standing.is_up || standing.settled.is_err());
            let service = late.map_or_else(String::new, |standing| standing.service.short().to_owned());
            let tasks = late.map(|standing| standing.current.iter().map(|task| task.id.clone()).collect());
            let pulls =
                |standing: &Standing| standing.current.last().is_some_and(|task| task.state == TaskState::Preparing);
            let infra = late.is_some_and(pulls);
            let what = What::Deadline { after: self.limit, infra };
            return failed(service, what, &standings, tasks.unwrap_or_default());
        }
        let moments = standings.iter().filter_map(|standing| standing.settled.err().flatten());
        let gate = Some(self.start + GATE).filter(|gate| *gate > now);
        Step::Wait { until: moments.chain([deadline]).chain(gate).filter(|moment| *moment > now).min() }
    }

    fn is_checked(&self, service: &Service) -> bool {
        match service.health {
            Health::Own => true,
            Health::Off => false,
            Health::AsImage => self.checked_images.get(&service.image).copied().unwrap_or(false),
        }
    }

    /// Where a service stands, with the deaths that this look shows.
    fn standing<'a>(&mut self, service: &'a Service, tasks: &'a [Task], now: Instant) -> Standing<'a> {
        let was_over = |task: &Task| self.before.tasks.get(&task.id).copied().unwrap_or(false);
        // Swarm does not start again what was done, unless what it is made from changed.
        let counts = |task: &Task| !was_over(task) || self.is_unchanged(service) && self.is_done(service, task);
        let current: Vec<&Task> = tasks
            .iter()
            .filter(|task| task.service == service.id && task.template == service.template && counts(task))
            .collect();
        let mut slots: BTreeMap<&Slot, Vec<&Task>> = BTreeMap::new();
        for task in &current {
            slots.entry(&task.slot).or_default().push(task);
        }
        let mut up = 0;
        let mut last_up = None;
        for (slot, tasks) in &slots {
            for task in tasks {
                if let Some(cause) = self.death_of(service, task) {
                    self.note_death(&service.name, slot, &task.id, cause, now);
                }
            }
            let lives = tasks.iter().find(|task| self.is_up(service, task));
            let done = tasks.last().is_some_and(|task| self.is_done(service, task));
            if let Some(task) = lives {
                let age = task.since.map_or(Duration::ZERO, |since| Clock::system().now().since(since));
                let since =
                    *self.up_since.entry(task.id.clone()).or_insert_with(|| now.checked_sub(age).unwrap_or(now));
                last_up = Some(last_up.map_or(since, |last: Instant| last.max(since)));
            }
            up += u64::from(lives.is_some() || done);
            self.note_emptiness(service, slot, tasks, done, now);
        }
        let wanted = match service.mode {
            Mode::Replicated(count) | Mode::Job(count) => count,
            // Right after the deploy Swarm wants none yet; where no node fits it never does.
            Mode::Global | Mode::GlobalJob => {
                let early = now.duration_since(self.start) < GRACE;
                service.desired.max(slots.len() as u64).max(u64::from(early))
            }
        };
        let is_up = up >= wanted;
        let settled = if is_up { self.settled(service, &slots, last_up, now) } else { Err(None) };
        let words = self.words_of(service, &current, up, wanted, settled);
        Standing { service, current, is_up, settled, words }
    }

    /// A task counts as up from the moment its container is healthy; Swarm writes so a little later.
    fn is_up(&self, service: &Service, task: &Task) -> bool {
        let signs = self.signs.get(&task.id);
        if task.state.is_over()
            || task.desired.is_over()
            || signs.is_some_and(|signs| signs.died.is_some() || signs.unhealthy)
        {
            return false;
        }
        let healthy = self.is_checked(service) && signs.is_some_and(|signs| signs.healthy);
        task.state == TaskState::Running || (task.state >= TaskState::Ready && healthy)
    }

    /// The deploy changed nothing that its tasks are made from.
    fn is_unchanged(&self, service: &Service) -> bool {
        let was = self.before.services.get(&service.name);
        was.is_some_and(|was| was.id == service.id && was.template == service.template)
    }

    /// A one-shot that did what it was for.
    fn is_done(&self, service: &Service, task: &Task) -> bool {
        let one_shot = matches!(service.mode, Mode::Job(_) | Mode::GlobalJob) || service.restart != Restart::Always;
        // A container that its health check kills may end with 0, too.
        let by_itself = self.signs.get(&task.id).is_none_or(|signs| !signs.unhealthy && !signs.killed);
        one_shot && by_itself && task.state == TaskState::Complete && task.exit.unwrap_or(0) == 0
    }

    fn death_of(&self, service: &Service, task: &Task) -> Option<Cause> {
        let none = Signs::default();
        let signs = self.signs.get(&task.id).unwrap_or(&none);
        if signs.out_of_memory && (signs.died.is_some() || task.state.is_over()) {
            return Some(Cause::OutOfMemory);
        }
        if signs.unhealthy {
            return Some(Cause::Unhealthy);
        }
        if task.state == TaskState::Rejected {
            return Some(Cause::Rejected(task.error.clone()));
        }
        if self.is_done(service, task) {
            return None;
        }
        let over = task.state.is_over() && !matches!(task.state, TaskState::Remove | TaskState::Orphaned);
        if over || signs.killed || signs.died.is_some() {
            // A one-shot's end is heard before Swarm says how it was.
            if signs.died == Some(0) && !over && service.restart != Restart::Always && !signs.killed {
                return None;
            }
            return Some(Cause::Exit(signs.died.or(task.exit)));
        }
        None
    }

    fn note_death(&mut self, service: &str, slot: &Slot, task: &str, cause: Cause, now: Instant) {
        let deaths = self.deaths.entry((service.to_owned(), slot.clone())).or_default();
        match deaths.all.iter_mut().find(|death| death.task == task) {
            // Killed first, then its exit code: one death, and what is known last says most.
            Some(death) => {
                if death.cause == Cause::Exit(None) {
                    death.cause = cause;
                }
            }
            None => deaths.all.push(Death { task: task.to_owned(), at: now, cause }),
        }
    }

    /// A slot whose tasks are all over, with none to come, was given up by Swarm.
    fn note_emptiness(&mut self, service: &Service, slot: &Slot, tasks: &[&Task], done: bool, now: Instant) {
        let over = |task: &&Task| task.state.is_over() && task.desired.is_over();
        let last = tasks.last().filter(|_| !done && tasks.iter().all(over)).map(|task| &task.id);
        let deaths = self.deaths.entry((service.name.clone(), slot.clone())).or_default();
        // One that came and went between two looks shows that others do come.
        let known = deaths.empty.take().filter(|(_, after)| Some(after) == last);
        deaths.empty = known.or_else(|| last.map(|last| (now, last.clone())));
    }

    /// Whether there is anything left to wait for, once the tasks are up.
    fn settled(
        &self,
        service: &Service,
        slots: &BTreeMap<&Slot, Vec<&Task>>,
        last_up: Option<Instant>,
        now: Instant,
    ) -> Result<(), Option<Instant>> {
        if let Some(update) = self.new_update(service) {
            return if update == UpdateState::Completed { Ok(()) } else { Err(None) };
        }
        // The same template needs no new task, and so nothing is waited for.
        if self.is_unchanged(service) || slots.is_empty() {
            return Ok(());
        }
        if self.is_checked(service) {
            return Ok(());
        }
        let Some(up) = last_up else { return Ok(()) };
        let over = up + service.monitor;
        if now >= over { Ok(()) } else { Err(Some(over)) }
    }

    /// The state of an update that this deploy began.
    fn new_update(&self, service: &Service) -> Option<UpdateState> {
        let update = service.update.as_ref()?;
        let was = self.before.services.get(&service.name).filter(|was| was.id == service.id);
        (was.and_then(|was| was.update.as_ref()) != Some(update)).then_some(update.state)
    }

    /// A service's deaths count when they cannot be for want of another service.
    fn open_gates(&mut self, standings: &[Standing], now: Instant) {
        for standing in standings {
            let name = &standing.service.name;
            let others_up = standings.iter().filter(|other| other.service.name != *name).all(|other| other.is_up);
            let late = now.duration_since(self.start) >= GATE;
            if !self.gates.contains_key(name) && (others_up || late) {
                let opened = (standings.len() > 1).then_some(now);
                self.gates.insert(name.clone(), Gate { opened, others_up });
            }
        }
    }

    fn verdict_on(&mut self, standing: &Standing, now: Instant) -> Option<(What, Vec<String>)> {
        let service = standing.service;
        let message = || service.update.as_ref().map(|update| update.message.clone()).unwrap_or_default();
        match self.new_update(service) {
            Some(UpdateState::RollbackStarted | UpdateState::RollbackPaused | UpdateState::RollbackCompleted) => {
                return Some((What::RolledBack { message: message() }, self.new_tasks(service)));
            }
            Some(UpdateState::Paused) => {
                return Some((What::Paused { message: message() }, self.new_tasks(service)));
            }
            _ => {}
        }
        if let Some(what) = self.unplaced(standing, now) {
            return Some((what, Vec::new()));
        }
        let gate = self.gates.get(&service.name).copied();
        let slots = self.deaths.iter().filter(|((name, _), _)| *name == service.name);
        for ((_, _), deaths) in slots {
            let Some(last) = deaths.all.last() else { continue };
            let tasks = || deaths.all.iter().map(|death| death.task.clone()).collect::<Vec<_>>();
            if let Cause::Rejected(error) = &last.cause
                && is_missing_image(error)
                && (deaths.all.len() >= 2 || now.duration_since(last.at) > GRACE)
            {
                return Some((What::Rejected { error: error.clone(), infra: true }, tasks()));
            }
            let given_up = deaths.empty.as_ref().is_some_and(|(since, _)| now.duration_since(*since) >= GRACE);
            if given_up || gate.is_some_and(|gate| gate.counted(&deaths.all) >= DEATHS) {
                return Some((last.cause.what(deaths.all.len(), given_up), tasks()));
            }
        }
        None
    }

    /// Tasks of a service that were not there before and died, whatever they were made from.
    fn new_tasks(&self, service: &Service) -> Vec<String> {
        let slots = self.deaths.iter().filter(|((name, _), _)| *name == service.name);
        slots.flat_map(|(_, deaths)| deaths.all.iter().map(|death| death.task.clone())).collect()
    }

    fn unplaced(&mut self, standing: &Standing, now: Instant) -> Option<What> {
        let name = &standing.service.name;
        let waiting = standing.current.iter().rev().find(|task| !task.state.is_over());
        let Some(task) = waiting.filter(|task| task.state <= TaskState::Pending && !task.error.is_empty()) else {
            self.unplaced_since.remove(name);
            return None;
        };
        let since = *self.unplaced_since.entry(name.clone()).or_insert(now);
        let infra = task.error.contains("insufficient resources");
        (now.duration_since(since) >= UNPLACED).then(|| What::Unplaced { error: task.error.clone(), infra })
    }

    fn words_of(
        &self,
        service: &Service,
        current: &[&Task],
        up: u64,
        wanted: u64,
        settled: Result<(), Option<Instant>>,
    ) -> String {
        let name = service.short();
        if up >= wanted {
            let how = match (wanted, settled) {
                (0, _) => "switched off (0 replicas)".to_owned(),
                (_, Err(Some(_))) => format!("up, watched for {} s", service.monitor.as_secs()),
                (_, Err(None)) => "up, the update is being watched".to_owned(),
                _ if current.last().is_some_and(|task| self.is_done(service, task)) => "done".to_owned(),
                _ if self.is_checked(service) => "healthy".to_owned(),
                _ => "up".to_owned(),
            };
            return if wanted > 1 { format!("{name}: {up} of {wanted}, {how}") } else { format!("{name}: {how}") };
        }
        let deaths: usize =
            self.deaths.iter().filter(|((of, _), _)| *of == service.name).map(|(_, deaths)| deaths.all.len()).sum();
        let doing = match current.iter().rev().find(|task| !task.state.is_over()) {
            None if deaths == 0 => "waiting for Swarm".to_owned(),
            None => "ended".to_owned(),
            Some(task) => match task.state {
                TaskState::New | TaskState::Pending if !task.error.is_empty() => format!("no place ({})", task.error),
                TaskState::New | TaskState::Pending | TaskState::Assigned => "waiting for a place".to_owned(),
                TaskState::Preparing => "preparing".to_owned(),
                _ if self.is_checked(service) => "starting, not healthy yet".to_owned(),
                _ => "starting".to_owned(),
            },
        };
        let died = self.last_death(&service.name).map(|cause| format!(" ({cause}, {})", times(deaths)));
        format!("{name}: {up} of {wanted}, {doing}{}", died.unwrap_or_default())
    }

    fn last_death(&self, service: &str) -> Option<&Cause> {
        let slots = self.deaths.iter().filter(|((name, _), _)| name == service);
        slots.filter_map(|(_, deaths)| deaths.all.last()).max_by_key(|death| death.at).map(|death| &death.cause)
    }

    fn tell(&mut self, standings: &[Standing]) {
        for standing in standings {
            let known = self.words.get(&standing.service.name);
            if known != Some(&standing.words) {
                self.words.insert(standing.service.name.clone(), standing.words.clone());
                self.news.push(standing.words.clone());
            }
        }
    }
}

fn failed(service: String, what: What, standings: &[Standing], tasks: Vec<String>) -> Step {
    let services = standings.iter().map(|standing| standing.words.clone()).collect();
    Step::Failed(Box::new(Failure { service, what, last_lines: Vec::new(), services, tasks }))
}

impl Gate {
    /// Deaths since the gate opened. Where only time opened it, the death before counts as the first: with Swarm's delay
    /// of five seconds three more would end after the minute in which a crash loop has to fail.
    fn counted(&self, deaths: &[Death]) -> usize {
        let since = deaths.iter().filter(|death| self.opened.is_none_or(|opened| death.at > opened)).count();
        let before = deaths.len() - since;
        since + usize::from(!self.others_up && before > 0)
    }
}

impl Cause {
    fn what(&self, deaths: usize, given_up: bool) -> What {
        match self {
            Cause::Exit(exit) => What::CrashLoop { deaths, exit: *exit, out_of_memory: false, given_up },
            Cause::OutOfMemory => What::CrashLoop { deaths, exit: Some(137), out_of_memory: true, given_up },
            Cause::Unhealthy => What::Unhealthy { deaths, probe: None },
            Cause::Rejected(error) => What::Rejected { error: error.clone(), infra: false },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Exit(Some(exit)) => write!(f, "ended with {exit}"),
            Cause::Exit(None) => f.write_str("ended"),
            Cause::OutOfMemory => f.write_str("out of memory"),
            Cause::Unhealthy => f.write_str("unhealthy"),
            Cause::Rejected(error) => write!(f, "rejected: {error}"),
        }
    }
}

/// Pulls are done before a deploy, so an image that is missing now is the registry's doing or somebody's clean-up.
fn is_missing_image(error: &str) -> bool {
    let lower = error.to_lowercase();
    ["no such image", "pull access denied", "manifest unknown", "toomanyrequests", "not found: manifest"]
        .iter()
        .any(|words| lower.contains(words))
}
