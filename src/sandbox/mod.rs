//! Children are started here and nowhere else, so that the whole tree of each can be ended.
//!
//! Three layers, each of which does it alone: a control group that is killed with one write, where one may be made; a
//! *warden* process that adopts every orphan of the tree and stays until none is left, also when this process is killed with
//! -9; and a mark in the environment, by which [`kill_remains`] finds at the next start what outlived both.
//!
//! A child gets an environment that starts empty, arguments that no shell sees, and no core file.

pub mod bubblewrap;
mod cgroup;
pub mod frame;
mod remains;
mod tree;
mod warden;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use cgroup::Group;
pub use remains::{Remains, kill_remains};
pub use warden::warden_main;
use warden::{Order, Word};

/// How long a command may take when it does not say.
pub const USUAL_LIMIT: Duration = Duration::from_secs(600);
/// How long the warden may take over the end of a tree before others do it for it.
const WARDEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for more from a pipe that something still holds though the tree is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Names the tree a process belongs to, in its environment.
const MARK: &str = "CC_CI_TREE";
/// Stands in for this program as the warden, for tests that are not this program.
const WARDEN_EXE: &str = "CC_CI_WARDEN_EXE";
/// Is set for wardens. A program that has it and still wants to start something is no warden, and would start itself for
/// ever: a test without [`warden_is_at`].
const BE_WARDEN: &str = "CC_CI_WARDEN";

/// What to start, and how long it may take.
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Vec<u8>,
    limit: Duration,
    silence: Option<Duration>,
    pty: bool,
    largest_file: Option<u64>,
    group: bool,
}

impl Command {
    /// A program by its path, or by a name that is looked for in the `PATH` given with [`Command::env`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Vec::new(),
            limit: USUAL_LIMIT,
            silence: None,
            pty: false,
            largest_file: None,
            group: true,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.args.push(arg.as_ref().into());
        self
    }

    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Command {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.env.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Passes on variables of our own environment, where they are set.
    pub fn env_from_ours<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, keys: I) -> Command {
        for key in keys {
            if let Some(value) = std::env::var_os(&key) {
                self.env.push((key.as_ref().into(), value));
            }
        }
        self
    }

    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Command {
        self.cwd = Some(dir.as_ref().into());
        self
    }

    /// What the child reads; without it, nothing.
    pub fn stdin(mut self, bytes: Vec<u8>) -> Command {
        self.stdin = bytes;
        self
    }

    /// The longest it may take, start to end; [`USUAL_LIMIT`] otherwise.
    pub fn limit(mut self, limit: Duration) -> Command {
        self.limit = limit;
        self
    }

    /// The longest it may say nothing.
    pub fn silence(mut self, silence: Duration) -> Command {
        self.silence = Some(silence);
        self
    }

    /// Runs it on a terminal; both its outputs arrive as [`Stream::Out`].
    pub fn pty(mut self, pty: bool) -> Command {
        self.pty = pty;
        self
    }

    /// The largest file it may write, in bytes; the kernel ends it when it tries more.
    pub fn largest_file(mut self, bytes: u64) -> Command {
        self.largest_file = Some(bytes);
        self
    }

    /// Without a control group, as where none may be made: the warden does it alone.
    pub fn without_group(mut self) -> Command {
        self.group = false;
        self
    }

    /// The program and its arguments, for people. Secrets have no place in either.
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }
}

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    Out,
    Err,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    ByItself,
    /// It took longer than [`Command::limit`].
    Limit,
    /// It said nothing for [`Command::silence`].
    Silence,
    Cancelled,
}

/// How it ended. Its tree is gone.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub ended: Ended,
    pub took: Duration,
}

impl Exit {
    /// Ended by itself, with nothing to complain about.
    pub fn is_success(&self) -> bool {
        self.ended == Ended::ByItself && self.code == Some(0)
    }
}

/// How it ended and the beginning of what it said.
#[derive(Clone, Debug)]
pub struct Output {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// It said more than was asked for.
    pub cut: bool,
}

/// Why there was nothing to wait for.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("{program} is not installed, or not in the PATH it was given")]
    NotFound { program: String },
    #[error("{program} cannot be started: {reason}")]
    NotStarted { program: String, reason: String },
    #[error("no child can be started")]
    NoWarden(#[source] io::Error),
    #[error("the process that watches over {program} was ended from outside ({status})")]
    WardenLost { program: String, status: ExitStatus },
}

/// Runs a command to its end, however that comes, and hands its output on as it comes. Whatever it started is dead when this
/// returns. When the future is dropped, the tree is killed all the same, by its warden.
pub async fn run(
    command: &Command,
    cancel: &CancellationToken,
    sink: &mut (dyn FnMut(Stream, &[u8]) + Send),
) -> Result<Exit, SpawnError> {
    let began = Instant::now();
    if cancel.is_cancelled() {
        return Ok(Exit { code: None, signal: None, ended: Ended::Cancelled, took: Duration::ZERO });
    }
    let mut tree = Tree::start(command).await?;
    let mut out = Pipe::of(tree.child.stdout.take());
    let mut err = Pipe::of(tree.child.stderr.take());
    let mut said = Instant::now();
    let mut ended = None;
    let mut patience = None;

    let verdict = loop {
        let limit = after(began, command.limit);
        let deadline = match (patience, command.silence) {
            (Some(until), _) => until,
            (None, Some(silence)) => limit.min(after(said, silence)),
            (None, None) => limit,
        };
        tokio::select! {
            Some(bytes) = out.read(), if out.is_open() => {
                said = Instant::now();
                sink(Stream::Out, bytes);
            }
            Some(bytes) = err.read(), if err.is_open() => {
                said = Instant::now();
                sink(Stream::Err, bytes);
            }
            word = tree.word() => match word {
                Some(Word::Started) => {}
                Some(Word::Refused { errno, reason }) => {
                    tree.close().await;
                    return Err(refused(command, errno, reason));
                }
                Some(Word::Ended { code, signal, left }) => break Some((code, signal, left)),
                None => break None,
            },
            () = cancel.cancelled(), if ended.is_none() => {
                ended = Some(Ended::Cancelled);
                patience = Some(Instant::now() + WARDEN_PATIENCE);
                tree.end();
            }
            () = sleep_until(deadline) => {
                if ended.is_some() {
                    break None;
                }
                let silent = command.silence.is_some_and(|silence| after(said, silence) <= deadline);
                ended = Some(if silent { Ended::Silence } else { Ended::Limit });
                patience = Some(Instant::now() + WARDEN_PATIENCE);
                tree.end();
            }
        }
    };
    let verdict = match verdict {
        Some((code, signal, 0)) => Ok((code, signal)),
        Some((code, signal, left)) => {
            tracing::warn!(program = %command.program.display(), left, "processes of a tree would not die");
            Ok((code, signal))
        }
        None => Err(tree.finish_for_the_warden().await),
    };
    out.drain(|bytes| sink(Stream::Out, bytes)).await;
    err.drain(|bytes| sink(Stream::Err, bytes)).await;
    tree.close().await;
    let ended = ended.unwrap_or(Ended::ByItself);
    match verdict {
        Ok((code, signal)) => Ok(Exit { code, signal, ended, took: began.elapsed() }),
        Err(_) if ended != Ended::ByItself => Ok(Exit { code: None, signal: None, ended, took: began.elapsed() }),
        Err(status) => Err(SpawnError::WardenLost { program: command.program.to_string_lossy().into(), status }),
    }
}

/// Runs a command and keeps at most so many bytes of each of its streams; the rest is read and dropped.
pub async fn output(command: &Command, cancel: &CancellationToken, most: usize) -> Result<Output, SpawnError> {
    let (mut stdout, mut stderr, mut cut) = (Vec::new(), Vec::new(), false);
    let exit = run(command, cancel, &mut |stream, bytes| {
        let kept = if stream == Stream::Out { &mut stdout } else { &mut stderr };
        let room = most - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        cut |= bytes.len() > room;
    })
    .await?;
    Ok(Output { exit, stdout, stderr, cut })
}

/// A moment far away stands for one that cannot be written.
fn after(moment: Instant, span: Duration) -> Instant {
    moment.checked_add(span).unwrap_or_else(|| moment + Duration::from_secs(1 << 30))
}

fn refused(command: &Command, errno: Option<i32>, reason: String) -> SpawnError {
    let program = command.program.to_string_lossy().into_owned();
    let missing_dir = command.cwd.as_deref().filter(|dir| !dir.is_dir());
    match (errno, missing_dir) {
        (_, Some(dir)) => {
            SpawnError::NotStarted { program, reason: format!("there is no directory {}", dir.display()) }
        }
        (Some(errno), None) if errno == rustix::io::Errno::NOENT.raw_os_error() => SpawnError::NotFound { program },
        (_, None) => SpawnError::NotStarted { program, reason },
    }
}

/// A warden at work.
struct Tree {
    child: Child,
    words: Lines<BufReader<OwnedReadHalf>>,
    /// Dropping it closes our end of the socket, and the warden ends the tree.
    hold: Option<DropGuard>,
    group: Option<Group>,
    mark: String,
}

impl Tree {
    async fn start(command: &Command) -> Result<Tree, SpawnError> {
        let command = command.clone();
        // Making a group and forking take milliseconds each.
        let started = tokio::task::spawn_blocking(move || Tree::start_now(command)).await;
        started.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(SpawnError::NoWarden)
    }

    fn start_now(command: Command) -> io::Result<Tree> {
        let mark = remains::fresh_mark();
        let group = if command.group { Group::make(remains::own_part(&mark)) } else { None };
        let started = Tree::start_in(command, mark, group.clone());
        if let (Err(_), Some(group)) = (&started, group) {
            group.remove();
        }
        started
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place that starts children")]
    fn start_in(command: Command, mark: String, group: Option<Group>) -> io::Result<Tree> {
        if std::env::var_os(BE_WARDEN).is_some() {
            return Err(io::Error::other("this program is not cc-ci; say where that is"));
        }
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        // By this name the program is found also when its file was replaced meanwhile.
        let exe = std::env::var_os(WARDEN_EXE).or_else(|| STAND_IN.get().cloned().map(Into::into));
        let child = tokio::process::Command::new(exe.unwrap_or_else(|| "/proc/self/exe".into()))
            .arg0("cc-ci")
            .arg("warden")
            .arg(Path::new(&command.program).file_name().unwrap_or_default())
            .env_clear()
            .env(MARK, &mark)
            .env(BE_WARDEN, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;

        let mut env = command.env;
        env.push((MARK.into(), mark.clone().into()));
        let order = Order {
            program: command.program,
            args: command.args,
            env,
            cwd: command.cwd,
            pty: command.pty,
            stdin_bytes: command.stdin.len(),
            group: group.as_ref().map(|group| group.path().into()),
            largest_file: command.largest_file,
        };
        let text = serde_json::to_vec(&order)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes();
        let (reader, mut writer) = UnixStream::from_std(ours)?.into_split();
        let hold = CancellationToken::new();
        let let_go = hold.clone();
        let stdin = command.stdin;
        tokio::spawn(async move {
            let give = async {
                for part in [&length[..], &text, &stdin] {
                    if writer.write_all(part).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! { () = give => {}, () = let_go.cancelled() => {} }
            drop(writer);
        });
        Ok(Tree { child, words: BufReader::new(reader).lines(), hold: Some(hold.drop_guard()), group, mark })
    }

    /// The next thing the warden says; `None` when it says nothing more.
    async fn word(&mut self) -> Option<Word> {
        let line = self.words.next_line().await.ok().flatten()?;
        serde_json::from_str(&line).ok()
    }

    /// Tells the warden to end the tree, also one that its own child has stopped.
    fn end(&mut self) {
        self.hold = None;
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// The warden was killed, or hangs: everything that carries the tree's mark goes, the warden too.
    async fn finish_for_the_warden(&mut self) -> ExitStatus {
        // The warden last: while it hangs, what descends from it can be found.
        let (group, mark) = (self.group.clone(), self.mark.clone());
        let left = tokio::task::spawn_blocking(move || remains::kill_marked(group.as_ref(), &mark)).await;
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        tracing::warn!(mark = %self.mark, left = left.unwrap_or(0), "a warden was lost; its tree was ended without it");
        status.unwrap_or_default()
    }

    /// Takes note of the warden's end. It leaves by itself after its last word.
    async fn close(mut self) {
        self.hold = None;
        if timeout(WARDEN_PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.start_kill();
            let _ = self.child.wait().await;
        }
        if let Some(group) = self.group {
            let _ = tokio::task::spawn_blocking(move || group.remove()).await;
        }
    }
}

static STAND_IN: OnceLock<PathBuf> = OnceLock::new();

/// Says where this program is, for a process that is not it: a test. The first word counts.
pub fn warden_is_at(program: impl Into<PathBuf>) {
    let _ = STAND_IN.set(program.into());
}

/// One stream of the child.
struct Pipe<R> {
    source: Option<R>,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn of(source: Option<R>) -> Pipe<R> {
        Pipe { source, buffer: vec![0; 64 * 1024] }
    }

    fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// The next piece; `None` at the end.
    async fn read(&mut self) -> Option<&[u8]> {
        if let Ok(count @ 1..) = self.source.as_mut()?.read(&mut self.buffer).await {
            return Some(&self.buffer[..count]);
        }
        self.source = None;
        None
    }

    /// What is still in the pipe. Its end need not come: somebody outside of the tree may hold it.
    async fn drain(&mut self, mut sink: impl FnMut(&[u8])) {
        while let Ok(Some(bytes)) = timeout(LAST_WORDS, self.read()).await {
            sink(bytes);
        }
    }
}
