//! Commands in containers. Hanging up on Docker leaves the process running in the container, so each one bears a mark in
//! its environment by which the whole tree is found and killed when its time is over.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::stream::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::client::{Swarm, SwarmFault, ask};

const CALL: Duration = Duration::from_secs(15);
/// How long the killing may take.
const KILL: Duration = Duration::from_secs(5);
const MARK: &str = "CC_CI_EXEC";

/// A command for a container. What stands in `command` is told to everybody who listens to Docker: a secret goes through
/// `stdin`.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdin: Option<Vec<u8>>,
    pub user: Option<String>,
    pub cwd: Option<String>,
}

impl Exec {
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Exec {
        Exec { command: command.into_iter().map(Into::into).collect(), ..Exec::default() }
    }

    pub fn stdin(self, bytes: impl Into<Vec<u8>>) -> Exec {
        Exec { stdin: Some(bytes.into()), ..self }
    }
}

/// How a command in a container went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecDone {
    pub ended: ExecEnded,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// More was printed than was kept.
    pub cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecEnded {
    /// 126 and 127: the program cannot be run or is not there.
    Exit(i64),
    /// Its time was over. `killed` says that nothing of it runs any more.
    Limit {
        killed: bool,
    },
    Cancelled {
        killed: bool,
    },
}

impl ExecDone {
    pub fn is_ok(&self) -> bool {
        self.ended == ExecEnded::Exit(0)
    }
}

enum Stop {
    Done,
    Limit,
    Cancelled,
}

impl Swarm {
    /// Runs a command in a container. Keeps at most `most` bytes of each stream, and reads the rest so that the command
    /// does not block.
    pub async fn exec(
        &self,
        container: &str,
        exec: &Exec,
        limit: Duration,
        most: usize,
        cancel: &CancellationToken,
    ) -> Result<ExecDone, SwarmFault> {
        let mut number = [0_u8; 12];
        // Without randomness the mark would be weak, not wrong.
        let _ = getrandom::fill(&mut number);
        let mark = format!("{MARK}={}", hex::encode(number));
        let what = || format!("run a command in {container}");

        let mut env: Vec<String> = exec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        env.push(mark.clone());
        let config = ExecConfig {
            attach_stdin: Some(exec.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(env),
            cmd: Some(exec.command.clone()),
            user: exec.user.clone(),
            working_dir: exec.cwd.clone(),
            ..Default::default()
        };
        let id = ask(what(), CALL, self.docker.create_exec(container, config)).await?.id;
        let started = ask(what(), CALL, self.docker.start_exec(&id, Some(StartExecOptions::default()))).await?;
        let StartExecResults::Attached { mut output, mut input } = started else {
            return Err(SwarmFault { what: what(), why: super::client::Why::Ended });
        };

        let mut done = ExecDone { ended: ExecEnded::Exit(-1), stdout: Vec::new(), stderr: Vec::new(), cut: false };
        let stdin = exec.stdin.clone();
        let feeding = async move {
            if let Some(bytes) = stdin {
                // A command that does not read its input to the end is no failure of ours.
                let _ = input.write_all(&bytes).await;
                let _ = input.shutdown().await;
            }
            // The connection is one for both directions: it has to live as long as somebody reads.
            std::future::pending::<()>().await;
            drop(input);
        };
        let reading = async {
            while let Some(piece) = output.next().await {
                match piece.map_err(|error| SwarmFault::new(what(), error))? {
                    LogOutput::StdErr { message } => keep(&mut done.stderr, &message, most, &mut done.cut),
                    other => keep(&mut done.stdout, other.as_ref(), most, &mut done.cut),
                }
            }
            Ok::<(), SwarmFault>(())
        };
        let stop = tokio::select! {
            read = reading => { read?; Stop::Done }
            () = feeding => Stop::Done,
            () = tokio::time::sleep(limit) => Stop::Limit,
            () = cancel.cancelled() => Stop::Cancelled,
        };
        done.ended = match stop {
            Stop::Done => ExecEnded::Exit(self.exit_of(&id).await?),
            Stop::Limit => ExecEnded::Limit { killed: self.kill_marked(container, &id, &mark).await },
            Stop::Cancelled => ExecEnded::Cancelled { killed: self.kill_marked(container, &id, &mark).await },
        };
        Ok(done)
    }

    /// The streams end a moment before Docker knows the exit code.
    async fn exit_of(&self, exec: &str) -> Result<i64, SwarmFault> {
        let mut wait = Duration::from_millis(2);
        loop {
            let state = ask("inspect a command", CALL, self.docker.inspect_exec(exec)).await?;
            if state.running != Some(true) {
                return Ok(state.exit_code.unwrap_or(-1));
            }
            if wait > Duration::from_secs(2) {
                // Its streams are closed and it runs on: a daemon that was started. That is no failure.
                return Ok(0);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn runs(&self, exec: &str) -> bool {
        let state = ask("inspect a command", CALL, self.docker.inspect_exec(exec)).await;
        state.is_ok_and(|state| state.running == Some(true))
    }

    /// Kills everything that bears the mark: from outside where this process may, else from within by the container's own
    /// shell. Says whether the command is over.
    async fn kill_marked(&self, container: &str, exec: &str, mark: &str) -> bool {
        let own = mark.to_owned();
        let outside = tokio::task::spawn_blocking(move || kill_by_mark(&own)).await.unwrap_or(0);
        if outside == 0 || self.runs(exec).await {
            let script = format!(
                "for p in /proc/[0-9]*; do if tr '\\0' '\\n' <$p/environ 2>/dev/null | grep -qx '{mark}'; \
                 then kill -9 ${{p#/proc/}}; fi; done"
            );
            let config = ExecConfig {
                cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), script]),
                user: Some("0".to_owned()),
                ..Default::default()
            };
            if let Ok(created) = ask("kill a command", CALL, self.docker.create_exec(container, config)).await {
                let detached = StartExecOptions { detach: true, ..StartExecOptions::default() };
                let _ = ask("kill a command", CALL, self.docker.start_exec(&created.id, Some(detached))).await;
            }
        }
        let over = async {
            let mut wait = Duration::from_millis(5);
            while self.runs(exec).await {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_millis(200));
            }
        };
        tokio::time::timeout(KILL, over).await.is_ok()
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], most: usize, cut: &mut bool) {
    let room = most.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
    *cut |= room < bytes.len();
}

/// Processes of this machine whose environment holds the mark, killed until none is left. Without the right to look into
/// others' processes it finds none.
fn kill_by_mark(mark: &str) -> usize {
    let mut killed = 0;
    // A process that forks while it is looked for is found in the next round.
    for _ in 0..20 {
        let found = marked(mark);
        if found.is_empty() {
            break;
        }
        for pid in found {
            if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok() {
                killed += 1;
            }
        }
    }
    killed
}

fn marked(mark: &str) -> Vec<rustix::process::Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .filter_map(rustix::process::Pid::from_raw)
        .collect()
}
