//! Evidence of an app, gathered while it stands: what was deployed, from which images, how its services and tasks were, what a
//! failing one said last. The teardown takes all of it away, so a failed stage is looked at before anything else happens.
//!
//! None of this decides anything. What Docker does not answer is not there, and the run's log says so.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use super::deploy::Deployed;
use super::{Job, Learned};
use crate::model::{EvidenceKind, StackName, StageName};
use crate::swarm::views::{Service, Task};
use crate::swarm::{Swarm, SwarmFault};

/// Lines of a service that are kept.
const LINES: usize = 500;
/// Services whose lines are kept.
const SERVICES: usize = 20;
/// For all of it together.
const PATIENCE: Duration = Duration::from_secs(45);

/// What was deployed: the one compose file that came of all, and each image with its digests.
pub(super) async fn deployed(job: &Job, stage: StageName, app: &Deployed) {
    let which = match &job.called {
        Some(name) => name.as_str(),
        None if app.tree.commit == job.run.head => "head",
        None => "base",
    };
    let compose = app.said.compose.render_masked().into_bytes();
    job.evidence.put(stage, &format!("compose.{which}.yml"), EvidenceKind::Text, compose).await;
    match images(&job.swarm, &app.made.stack).await {
        Ok(images) => keep_json(job, stage, &format!("images.{which}.json"), &images).await,
        Err(fault) => job.say(stage, &format!("which images run is not known: {fault}")),
    }
}

/// How the app stands at the end of a stage, and what it said where that ended badly.
pub async fn after(job: &Job, stage: StageName, learned: &Learned, well: bool) {
    let gathering = async {
        if let Some(app) = &learned.app {
            stands(job, stage, &stage.to_string(), &app.stack, well).await;
        }
        // What stands beside it is of interest only where something went wrong.
        for (beside, standing) in job.beside().iter().zip(&learned.beside).filter(|_| !well) {
            let Some(app) = &standing.app else { continue };
            stands(job, stage, &format!("{stage}.{}", beside.need.recipe), &app.stack, well).await;
        }
    };
    if tokio::time::timeout(PATIENCE, gathering).await.is_err() {
        job.say(stage, "Docker took too long to say more about the app");
    }
}

async fn stands(job: &Job, stage: StageName, named: &str, stack: &StackName, well: bool) {
    let (services, tasks) = match tokio::try_join!(job.swarm.services(stack), job.swarm.tasks(stack)) {
        Ok(found) => found,
        Err(fault) => return job.say(stage, &format!("how the services stand is not known: {fault}")),
    };
    if services.is_empty() {
        return;
    }
    let states: Vec<State> = services.iter().map(|service| State::of(service, &tasks)).collect();
    keep_json(job, stage, &format!("services.{named}.json"), &states).await;
    if !well {
        join_all(services.iter().take(SERVICES).map(|service| last_lines(job, stage, named, service))).await;
    }
}

async fn last_lines(job: &Job, stage: StageName, named: &str, service: &Service) {
    match job.swarm.service_lines(&service.name, LINES).await {
        Ok(lines) if lines.is_empty() => {}
        Ok(lines) => {
            let text = lines.join("\n") + "\n";
            let name = format!("log.{named}.{}.txt", service.short());
            job.evidence.put(stage, &name, EvidenceKind::Text, text.into_bytes()).await;
        }
        Err(fault) => job.say(stage, &format!("what {} said last is not known: {fault}", service.short())),
    }
}

async fn keep_json(job: &Job, stage: StageName, name: &str, value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    job.evidence.put(stage, name, EvidenceKind::Json, text.into_bytes()).await;
}

async fn images(swarm: &Swarm, stack: &StackName) -> Result<Vec<serde_json::Value>, SwarmFault> {
    let mut images = Vec::new();
    for service in swarm.services(stack).await? {
        // A service without tasks may have an image that is not here.
        let digests = match swarm.image_digests(&service.image).await {
            Err(fault) if fault.is_gone() => Vec::new(),
            found => found?,
        };
        images.push(json!({"service": service.short(), "image": service.image, "digests": digests}));
    }
    Ok(images)
}

/// A service as it stands, with every task that Swarm remembers.
#[derive(Debug, Serialize)]
struct State {
    service: String,
    image: String,
    wanted: u64,
    /// `completed`, `rollback-completed`, …; with what Docker says of it.
    update: Option<String>,
    tasks: Vec<TaskLine>,
}

#[derive(Debug, Serialize)]
struct TaskLine {
    slot: String,
    image: String,
    state: String,
    wanted: String,
    since: Option<String>,
    error: String,
    exit: Option<i64>,
}

impl State {
    fn of(service: &Service, tasks: &[Task]) -> State {
        let own = tasks.iter().filter(|task| task.service == service.id);
        let update = service.update.as_ref().map(|update| {
            let state = serde_json::to_value(update.state).unwrap_or_default();
            format!("{}: {}", state.as_str().unwrap_or_default(), update.message)
        });
        State {
            service: service.short().to_owned(),
            image: service.image.clone(),
            wanted: service.desired,
            update,
            tasks: own.map(TaskLine::of).collect(),
        }
    }
}

impl TaskLine {
    fn of(task: &Task) -> TaskLine {
        let word = |state| format!("{state:?}").to_lowercase();
        TaskLine {
            slot: task.slot.to_string(),
            image: task.image.clone(),
            state: word(task.state),
            wanted: word(task.desired),
            since: task.since.map(crate::clock::Time::rfc3339),
            error: task.error.clone(),
            exit: task.exit,
        }
    }
}
