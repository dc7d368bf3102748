//! Waits until a stack runs, the way abra does for people. cc-ci's engine does not use it: it deploys with
//! `--no-converge-checks` and watches by itself, since a wait that looks right after a deploy sees the old tasks running.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::say::{Say, debug};
use super::{Done, Fatal, docker, fatal, programs};

/// Looked at again when nothing was heard for so long.
const QUIET: Duration = Duration::from_secs(1);
/// So long it must stay as it should be: Swarm takes a moment to begin an update.
const SETTLED: Duration = Duration::from_millis(1500);
/// So many dead tasks of one service are a crash loop; Swarm remembers no more than five.
const DEATHS: usize = 4;

enum State {
    Good,
    NotYet(String),
    Bad(String),
}

pub(super) fn wait(say: Say, stack: &str, patience: Duration) -> Done {
    let events =
        programs::Lines::follow("docker", &["events", "--filter", "type=service", "--filter", "type=container"])?;
    let start = Instant::now();
    let mut good_since: Option<Instant> = None;
    let mut last = String::new();
    loop {
        match look(stack)? {
            State::Good => {
                if good_since.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
                    say.info("deploy succeeded 🟢");
                    return Ok(());
                }
            }
            State::NotYet(what) => {
                good_since = None;
                if what != last {
                    debug!(say, "waiting: {what}");
                    last = what;
                }
            }
            State::Bad(what) => return fatal(format!("deploy failed 🛑: {what}")),
        }
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() {
            return fatal(format!("deploy timed out 🟠 after {} s: {last}", patience.as_secs()));
        }
        let pause = if good_since.is_some() { SETTLED } else { QUIET };
        match events.heard.recv_timeout(pause.min(left)) {
            Ok(()) => while events.heard.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Fatal("docker events ended; is Docker still there?".into()));
            }
        }
    }
}

fn look(stack: &str) -> Result<State, Fatal> {
    let tasks = docker::tasks(stack)?;
    for service in docker::services(stack)? {
        let name = &service.name;
        match service.update_state.as_deref() {
            Some("updating" | "rollback_started") => return Ok(State::NotYet(format!("{name} is being updated"))),
            Some(state @ ("paused" | "rollback_paused" | "rollback_completed")) => {
                return Ok(State::Bad(format!("the update of {name} ended as {state}")));
            }
            _ => {}
        }
        let own: Vec<_> = tasks.iter().filter(|task| task.service == *name).collect();
        let dead: Vec<_> = own.iter().filter(|task| matches!(task.state.as_str(), "failed" | "rejected")).collect();
        let enough = service.max_attempts.filter(|most| *most > 0).and_then(|most| usize::try_from(most).ok());
        if dead.len() >= enough.unwrap_or(DEATHS).min(DEATHS) {
            let error = dead.first().map(|task| task.error.as_str()).unwrap_or_default();
            return Ok(State::Bad(format!("{name} ends again and again: {error}")));
        }
        let running = own.iter().filter(|task| task.wanted == "running" && task.state == "running").count();
        let wanted = match service.replicas {
            Some(replicas) => usize::try_from(replicas).unwrap_or(usize::MAX),
            None => own.iter().filter(|task| task.wanted == "running").count().max(1),
        };
        // What is meant to end once has ended well.
        let done = own.iter().any(|task| task.state == "complete") && !own.iter().any(|task| task.wanted == "running");
        if running < wanted && !done {
            return Ok(State::NotYet(format!("{name} runs {running} of {wanted}")));
        }
    }
    Ok(State::Good)
}
