//! A run as it is seen on a terminal: one moving line for the stage that runs, which stays when the stage is over. Without a
//! terminal, plain lines with their times.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Time};
use crate::model::{RunId, StageState};
use crate::say;
use crate::store::stages::Stage;
use crate::store::{Store, stages};

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME: Duration = Duration::from_millis(120);

/// Shows one run while it goes on.
pub struct Progress {
    store: Store,
    clock: Clock,
    run: RunId,
    terminal: bool,
    done: BTreeSet<i64>,
    begun: BTreeSet<i64>,
}

impl Progress {
    pub fn new(store: Store, clock: Clock, run: RunId, terminal: bool) -> Progress {
        Progress { store, clock, run, terminal, done: BTreeSet::new(), begun: BTreeSet::new() }
    }

    /// Until `over`, and then once more.
    pub async fn follow(mut self, over: CancellationToken) {
        let mut changes = self.store.changes();
        let mut frame = 0;
        loop {
            changes.mark_unchanged();
            let last = over.is_cancelled();
            let run = self.run;
            let Ok(stages) = self.store.read(move |db| stages::of_run(db, run)).await else { return };
            let text = self.draw(&stages, frame);
            // A terminal that is gone is no reason to end a run.
            say::bytes(text.as_bytes());
            if last {
                return;
            }
            frame += 1;
            tokio::select! {
                _ = changes.changed() => {}
                () = over.cancelled() => {}
                () = tokio::time::sleep(FRAME), if self.terminal => {}
            }
        }
    }

    /// What to write now: stages that ended since the last time, then the one that runs.
    fn draw(&mut self, stages: &[Stage], frame: usize) -> String {
        let mut text = String::new();
        if self.terminal {
            text.push_str("\r\u{1b}[K");
        }
        for stage in stages {
            let begins = stage.state == StageState::Running && self.begun.insert(stage.ordinal);
            if begins && !self.terminal {
                let _ = writeln!(text, "{} {} …", at(stage.started_at), stage.name);
            }
            if stage.state.is_final() && self.done.insert(stage.ordinal) {
                text.push_str(&self.line(stage, mark(stage.state)));
                text.push('\n');
            }
        }
        if let Some(stage) = stages.iter().find(|stage| stage.state == StageState::Running).filter(|_| self.terminal) {
            text.push_str(&self.line(stage, FRAMES[frame % FRAMES.len()]));
        }
        text
    }

    fn line(&self, stage: &Stage, mark: char) -> String {
        let took = match (stage.started_at, stage.finished_at) {
            (Some(start), Some(end)) => Some(end.since(start)),
            (Some(start), None) => Some(self.clock.now().since(start)),
            _ => None,
        };
        let took = took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()));
        let note = stage.reason.as_deref().unwrap_or_default();
        let line = format!(" {mark} {:<10} {took:>7}  {note}", stage.name);
        let time = if self.terminal { String::new() } else { at(stage.finished_at) };
        time + line.trim_end()
    }
}

fn at(time: Option<Time>) -> String {
    time.map_or_else(String::new, |time| time.format("%H:%M:%S"))
}

fn mark(state: StageState) -> char {
    match state {
        StageState::Passed => '✔',
        StageState::Skipped | StageState::NotApplicable | StageState::NotTested => '–',
        StageState::Infra => '!',
        _ => '✘',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StageName;
    use crate::store::tests::empty;

    fn stage(ordinal: i64, name: StageName, state: StageState, reason: Option<&str>) -> Stage {
        Stage {
            ordinal,
            name,
            state,
            reason: reason.map(str::to_owned),
            started_at: (state != StageState::Waiting).then_some(Time(1_767_323_045_000)),
            finished_at: state.is_final().then_some(Time(1_767_323_051_100)),
            waited: Duration::ZERO,
        }
    }

    fn progress(terminal: bool) -> (tempfile::TempDir, Progress) {
        let (dir, store) = empty();
        (dir, Progress::new(store, Clock::held(Time(1_767_323_049_000)), RunId(1), terminal))
    }

    #[tokio::test]
    async fn a_stage_moves_while_it_runs_and_stays_when_it_is_over() {
        let (_dir, mut progress) = progress(true);
        let running = [stage(0, StageName::Install, StageState::Running, None)];
        assert_eq!(progress.draw(&running, 1), "\r\u{1b}[K ⠙ install      4.0 s");
        let over = [
            stage(0, StageName::Install, StageState::Passed, Some("https://cust-9ad31f.ci.test answers 200")),
            stage(1, StageName::Uninstall, StageState::Running, None),
        ];
        let text = progress.draw(&over, 0);
        assert!(
            text.starts_with("\r\u{1b}[K ✔ install      6.1 s  https://cust-9ad31f.ci.test answers 200\n"),
            "{text:?}"
        );
        assert!(text.ends_with(" ⠋ uninstall    4.0 s"), "{text:?}");
        assert!(!progress.draw(&over, 0).contains("install      6.1"), "it stays, once");
    }

    #[tokio::test]
    async fn without_a_terminal_there_are_plain_lines_with_times() {
        let (_dir, mut progress) = progress(false);
        let running = [stage(0, StageName::Install, StageState::Running, None)];
        assert_eq!(progress.draw(&running, 0), "03:04:05 install …\n");
        assert_eq!(progress.draw(&running, 1), "");
        let over = [stage(0, StageName::Install, StageState::Failed, Some("app ended with exit code 1, 3 times"))];
        assert_eq!(progress.draw(&over, 2), "03:04:11 ✘ install      6.1 s  app ended with exit code 1, 3 times\n");
    }
}
