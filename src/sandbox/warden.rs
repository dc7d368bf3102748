//! The warden stands between this program and one child: it starts the child, and leaves only when nothing of it is left.
//!
//! It is a process of its own because only a parent can outlive what it has to clean up. Orphans of the tree become its
//! children (subreaper), whatever they did to get away: double forks, sessions of their own, ignored signals. It holds one
//! end of a socket pair; when the other end closes, because a limit passed, because somebody cancelled, or because the program
//! was killed with -9, it kills the tree. A death signal from the kernel would not do: it is tied to the *thread* that
//! started the child, and threads of an async runtime come and go.
//!
//! On the socket: what to start (length and JSON), then the child's standard input, then nothing until it closes. Back
//! come lines of JSON: what became of the start, and of the child once its tree is gone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitOptions, WaitStatus, getpid, ioctl_tiocsctty, pidfd_open,
    set_child_subreaper, setrlimit, setsid, wait,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};

use super::cgroup::Group;
use super::tree;

/// What to start. Arguments and environment travel here and not on the warden's own command line, where others could read
/// them.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) pty: bool,
    pub(super) stdin_bytes: usize,
    pub(super) group: Option<PathBuf>,
    /// The largest file that the child may write, in bytes.
    pub(super) largest_file: Option<u64>,
}

/// What the warden says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// The child runs.
    Started,
    /// It could not be started; `errno` where the system said why.
    Refused { errno: Option<i32>, reason: String },
    /// It ended, and its tree is gone but for `left` processes that would not die.
    Ended { code: Option<i32>, signal: Option<i32>, left: usize },
}

/// The argument that makes a second copy of this program take a terminal and become the child.
const SEAT: &str = "--take-terminal";

/// `cc-ci warden …`: not for people. `args` is what follows the subcommand's name.
pub fn warden_main(args: Vec<OsString>) -> ExitCode {
    if args.first().is_some_and(|first| first == SEAT) {
        return take_terminal(&args[1..]);
    }
    match keep() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cc-ci warden: {error}; it is started by cc-ci itself");
            ExitCode::from(2)
        }
    }
}

fn keep() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let order = read_order(&mut socket)?;
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let group = order.group.clone().map(Group::at);
    let (child, terminal) = match start(&order, group.as_ref()) {
        Ok(started) => started,
        Err(error) => {
            say(&mut socket, &Word::Refused { errno: error.raw_os_error(), reason: error.to_string() });
            return Ok(());
        }
    };
    say(&mut socket, &Word::Started);
    let main = Pid::from_child(&child);
    // From here on nothing may return early: the child has to go first.
    let fed = feed(&socket, child, terminal.as_ref(), order.stdin_bytes);
    let copying = terminal.map(copy_terminal);
    let mut status = fed.and_then(|()| await_end(main, &socket)).unwrap_or_default();
    let left = clear(group.as_ref(), main, &mut status);
    if let Some(copying) = copying.filter(|_| left == 0) {
        let _ = copying.join();
    }
    let ended = Word::Ended {
        code: status.and_then(WaitStatus::exit_status),
        signal: status.and_then(WaitStatus::terminating_signal),
        left,
    };
    say(&mut socket, &ended);
    if let Some(group) = group {
        // The members' last traces go a moment after them.
        for _ in 0..100 {
            if group.remove() {
                break;
            }
            tree::pause(2);
        }
    }
    Ok(())
}

fn read_order(socket: &mut UnixStream) -> io::Result<Order> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Nobody may listen any more; then there is nobody to tell.
fn say(socket: &mut UnixStream, word: &Word) {
    if let Ok(mut line) = serde_json::to_vec(word) {
        line.push(b'\n');
        let _ = socket.write_all(&line);
    }
}

/// Starts the child inside the group; the warden itself stays outside, where the group's kill does not reach it.
#[expect(clippy::disallowed_methods, reason = "the warden is what everything else has to start children through")]
fn start(order: &Order, group: Option<&Group>) -> io::Result<(Child, Option<File>)> {
    let mut terminal = None;
    let mut command;
    if order.pty {
        let (ours, theirs) = open_terminal()?;
        command = std::process::Command::new("/proc/self/exe");
        command.arg0("cc-ci").arg("warden").arg(SEAT).arg(&order.program);
        command.stdin(Stdio::from(theirs.try_clone()?)).stdout(Stdio::from(theirs.try_clone()?)).stderr(theirs);
        terminal = Some(ours);
    } else {
        command = std::process::Command::new(&order.program);
        command.stdin(if order.stdin_bytes > 0 { Stdio::piped() } else { Stdio::null() });
        // A group of its own, so that `kill 0` in a script does not reach the warden.
        command.process_group(0);
    }
    command.args(&order.args).env_clear().envs(order.env.iter().map(|(key, value)| (key, value)));
    if let Some(cwd) = &order.cwd {
        command.current_dir(cwd);
    }
    if let Some(largest) = order.largest_file {
        setrlimit(Resource::Fsize, Rlimit { current: Some(largest), maximum: Some(largest) })?;
    }
    if let Some(group) = group {
        group.enter()?;
    }
    let started = command.spawn();
    if let Some(group) = group {
        group.leave()?;
    }
    Ok((started?, terminal))
}

/// A terminal that does not echo and leaves line ends alone. Ours is not inherited.
fn open_terminal() -> io::Result<(File, File)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut modes = tcgetattr(&theirs)?;
    modes.local_modes -= LocalModes::ECHO;
    modes.output_modes -= OutputModes::OPOST;
    tcsetattr(&theirs, OptionalActions::Now, &modes)?;
    tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((ours.into(), theirs.into()))
}

/// In the second copy: a session with this terminal, then the program in this process's place.
#[expect(clippy::disallowed_methods, reason = "the warden's own child becomes the program")]
fn take_terminal(command: &[OsString]) -> ExitCode {
    let Some((program, args)) = command.split_first() else { return ExitCode::from(2) };
    let error = match setsid().map_err(io::Error::from).and_then(|_| Ok(ioctl_tiocsctty(io::stdin())?)) {
        Ok(()) => std::process::Command::new(program).args(args).exec(),
        Err(error) => error,
    };
    eprintln!("{} cannot be started: {error}", program.display());
    ExitCode::from(127)
}

/// Gives the child its standard input from the socket. A child that does not read must not keep the warden from watching,
/// so this has a thread of its own.
fn feed(socket: &UnixStream, mut child: Child, terminal: Option<&File>, bytes: usize) -> io::Result<()> {
    let mut input: Box<dyn Write + Send> = match (terminal, child.stdin.take()) {
        (Some(terminal), _) => Box::new(terminal.try_clone()?),
        (None, Some(pipe)) => Box::new(pipe),
        (None, None) => return Ok(()),
    };
    let on_terminal = terminal.is_some();
    let mut source = socket.try_clone()?.take(bytes as u64);
    std::thread::spawn(move || {
        let fed = io::copy(&mut source, &mut input);
        if on_terminal && fed.is_ok() {
            let _ = input.write_all(b"\x04");
        }
    });
    Ok(())
}

/// What the child writes on its terminal becomes its standard output. Ends when nobody holds the terminal any more.
fn copy_terminal(mut terminal: File) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let _ = io::copy(&mut terminal, &mut io::stdout().lock());
        let _ = io::stdout().flush();
    })
}

/// Until the child ends (its status is in the answer) or the other end of the socket closes (it is not).
fn await_end(main: Pid, socket: &UnixStream) -> io::Result<Option<WaitStatus>> {
    let handle: OwnedFd = pidfd_open(main, PidfdFlags::empty())?;
    let mut status = None;
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        // Data on the socket is the feeder's; only its end matters here.
        let mut watched = [PollFd::new(&handle, PollFlags::IN), PollFd::new(socket, PollFlags::RDHUP)];
        match poll(&mut watched, Some(&second)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let closed = watched[1].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
        // Orphans that ended are taken note of by the way.
        reap(main, &mut status);
        if status.is_some() || closed {
            return Ok(status);
        }
    }
}

/// Takes note of everything that died. True when there is no child left, dead or alive.
fn reap(main: Pid, status: &mut Option<WaitStatus>) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, how))) if pid == main => *status = Some(how),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// Kills until no descendant is left, and says how many would not die.
fn clear(group: Option<&Group>, main: Pid, status: &mut Option<WaitStatus>) -> usize {
    const ROUNDS: usize = 250;
    let own = getpid().as_raw_nonzero().get();
    for _ in 0..ROUNDS {
        if reap(main, status) && group.is_none_or(|group| !group.is_populated()) {
            return 0;
        }
        if let Some(group) = group {
            group.kill();
        }
        let handles = tree::strike(&|| tree::descendants(own));
        if handles.is_empty() {
            tree::pause(2);
        } else {
            tree::await_death(&handles, 20);
        }
    }
    tree::descendants(own).len()
}
