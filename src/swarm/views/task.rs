//! Tasks: how far each is, in which place, and what became of it.

use std::fmt;

use bollard::models;

use super::service::{Template, rename_check};
use crate::clock::Time;

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
    pub(in crate::swarm) fn read(mut json: serde_json::Value) -> Result<Task, serde_json::Error> {
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
