//! What a deployment came to, in words that a maintainer can act on.

use std::fmt;
use std::time::Duration;

/// Everything is what the deploy asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converged {
    /// From the call to now.
    pub took: Duration,
    /// Of it, the watching that the recipe's own monitor periods ask for, after everything was up.
    pub waited: Duration,
}

/// It will not become what the deploy asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As the compose file calls it; empty when it is about the whole stack.
    pub service: String,
    pub what: What,
    /// What the failing task printed last.
    pub last_lines: Vec<String>,
    /// How each service stood, in words.
    pub services: Vec<String>,
    /// The failing tasks, oldest first.
    pub tasks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It ends again and again, or ended and is not started any more.
    CrashLoop { deaths: usize, exit: Option<i64>, out_of_memory: bool, given_up: bool },
    /// Its health check fails until Swarm kills it.
    Unhealthy { deaths: usize, probe: Option<String> },
    /// Swarm took the update back: what runs is the old version.
    RolledBack { message: String },
    /// Swarm stopped in the middle of the update.
    Paused { message: String },
    /// Swarm could not make a container of it.
    Rejected { error: String, infra: bool },
    /// No node takes it.
    Unplaced { error: String, infra: bool },
    /// The deploy left no service behind.
    NothingDeployed,
    /// Time is over.
    Deadline { after: Duration, infra: bool },
}

impl Failure {
    /// The machine, the registry or the network is at fault, and another try may succeed.
    pub fn is_infra(&self) -> bool {
        match self.what {
            What::Rejected { infra, .. } | What::Unplaced { infra, .. } | What::Deadline { infra, .. } => infra,
            _ => false,
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = &self.service;
        match &self.what {
            What::CrashLoop { out_of_memory: true, deaths, .. } => {
                write!(f, "{service} was killed for want of memory, {}", times(*deaths))
            }
            What::CrashLoop { deaths, exit, given_up, .. } => {
                let with = exit.map_or_else(String::new, |exit| format!(" with exit code {exit}"));
                write!(f, "{service} ended{with}, {}", times(*deaths))?;
                if *given_up { write!(f, ", and is not started again") } else { Ok(()) }
            }
            What::Unhealthy { deaths, probe } => {
                write!(f, "{service} did not become healthy and was killed, {}", times(*deaths))?;
                match probe {
                    Some(probe) => write!(f, "; its health check said: {probe}"),
                    None => Ok(()),
                }
            }
            What::RolledBack { message } => {
                write!(f, "the update of {service} was rolled back: the old version runs{}", aside(message))
            }
            What::Paused { message } => write!(f, "the update of {service} was paused half-way{}", aside(message)),
            What::Rejected { error, .. } => write!(f, "{service} could not be started: {error}"),
            What::Unplaced { error, .. } => write!(f, "no node takes {service}: {error}"),
            What::NothingDeployed => f.write_str("the deploy left no service behind"),
            What::Deadline { after, .. } => {
                write!(f, "not up after {} s: {}", after.as_secs(), self.services.join("; "))
            }
        }
    }
}

pub(super) fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

fn aside(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}
