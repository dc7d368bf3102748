//! The two programs this abra needs, started in one place. It is a short-lived process that its caller ends as a tree, so plain
//! children will do.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Fatal;

/// What a program said.
#[derive(Debug)]
pub(super) struct Output {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Its standard output, or its complaint.
    pub(super) fn done(self, what: &str) -> Result<String, Fatal> {
        if self.ok {
            return Ok(self.stdout);
        }
        Err(Fatal(format!("{what}: {}", self.complaint())))
    }

    /// The last lines of what it said, in one line.
    pub(super) fn complaint(&self) -> String {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        let lines: Vec<&str> = all.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join("; ");
        if last.is_empty() { "it failed and said nothing".into() } else { last }
    }
}

fn command(program: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a program of its own, ended as a tree by who started it")]
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a program to its end with `stdin`, which is how secrets reach it: never as an argument.
pub(super) fn run(program: &str, args: &[&str], dir: Option<&Path>, stdin: Option<&[u8]>) -> Result<Output, Fatal> {
    let mut command = command(program);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    let not_started = |error| Fatal(format!("{program} cannot be started: {error}"));
    let mut child = command.spawn().map_err(not_started)?;
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), stdin) {
        // One that does not want it says so by its exit code.
        let _ = pipe.write_all(bytes);
    }
    let output = child.wait_with_output().map_err(not_started)?;
    Ok(Output {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program on our own streams to its end; whether it went well.
pub(super) fn attached(program: &str, args: &[&str]) -> Result<bool, Fatal> {
    let mut command = command(program);
    command.args(args).stdin(Stdio::inherit());
    let status = command.status().map_err(|error| Fatal(format!("{program} cannot be started: {error}")))?;
    Ok(status.success())
}

/// A program whose output is a stream of lines; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lines {
    child: Child,
    pub heard: std::sync::mpsc::Receiver<()>,
}

impl Lines {
    pub(super) fn follow(program: &str, args: &[&str]) -> Result<Lines, Fatal> {
        let mut command = command(program);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| Fatal(format!("{program} cannot be started: {error}")))?;
        let (send, heard) = std::sync::mpsc::channel();
        if let Some(mut out) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while out.read(&mut buffer).is_ok_and(|read| read > 0) && send.send(()).is_ok() {}
            });
        }
        Ok(Lines { child, heard })
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
