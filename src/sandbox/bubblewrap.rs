//! What strangers wrote runs in a cage of bubblewrap: no files but those named here, no network, no capabilities, no
//! environment, and a process namespace that ends as a whole.
//!
//! The only way out is a Unix socket that we listen on and that our own program, inside, connects to. It is made in a
//! directory nobody else may enter, and only the socket itself is shown to the inside, so that nothing there can write to a
//! disk of ours.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Command, Exit, SpawnError, run};

/// Where the inside sees our own program.
pub const PROGRAM: &str = "/run/cc-ci/cc-ci";
/// Where the inside finds the socket to us.
pub const DOOR: &str = "/run/cc-ci/door";
/// How long a cage may take until its inside has knocked. Milliseconds on a quiet machine.
const KNOCK: Duration = Duration::from_secs(30);
/// How much is kept of what the inside says on its standard streams, for the error it may end in.
const LAST_WORDS: usize = 4096;

/// bubblewrap, and the program of ours that goes in.
#[derive(Clone, Debug)]
pub struct Bubblewrap {
    program: PathBuf,
    ours: PathBuf,
}

/// Why nothing can be caged on this machine.
#[derive(Debug, thiserror::Error)]
pub enum NoCage {
    #[error(
        "bubblewrap is not installed (no `bwrap` on the PATH), and without it nothing of a pull request is run; install \
         the package `bubblewrap`"
    )]
    NotInstalled,
    #[error("cc-ci cannot tell where its own program is: {0}")]
    NoSelf(io::Error),
}

/// How much of the machine's software is shown, read-only. Nothing else of it ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// What our own program needs to start.
    Libraries,
    /// Everything that is installed.
    Programs,
}

/// What is to run, and what it sees.
#[derive(Clone, Debug)]
pub struct Inside {
    pub software: Software,
    /// The program by its path inside, and its arguments.
    pub argv: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// Sockets of ours, and the paths they have inside.
    pub sockets: Vec<(PathBuf, String)>,
    /// Files and directories that are shown read-only, if they are there, and the paths they have inside.
    pub shown: Vec<(PathBuf, PathBuf)>,
    /// The most it may write to `/tmp`, in bytes; it is memory.
    pub tmp: u64,
    /// The longest it may live.
    pub limit: Duration,
}

impl Bubblewrap {
    /// Finds `bwrap` on the PATH, and ourselves.
    pub fn find() -> Result<Bubblewrap, NoCage> {
        let program = on_path("bwrap").ok_or(NoCage::NotInstalled)?;
        let ours = match std::env::var_os(super::WARDEN_EXE).or_else(|| super::STAND_IN.get().cloned().map(Into::into))
        {
            Some(told) => told.into(),
            None => std::env::current_exe().map_err(NoCage::NoSelf)?,
        };
        Ok(Bubblewrap { program, ours })
    }

    /// For people: where it is.
    pub fn place(&self) -> String {
        self.program.display().to_string()
    }

    /// The command line of a cage.
    pub fn command(&self, inside: &Inside) -> Command {
        let mut command = Command::new(&self.program)
            // Root outside would keep every capability inside without a user of its own.
            .args(["--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"])
            // A terminal that is shared can be typed into.
            .args(["--disable-userns", "--die-with-parent", "--new-session", "--hostname", "cage", "--clearenv"]);
        command = match inside.software {
            Software::Libraries => command
                .args(["--ro-bind-try", "/usr/lib", "/usr/lib", "--ro-bind-try", "/usr/lib64", "/usr/lib64"])
                .args(["--ro-bind-try", "/nix/store", "/nix/store"]),
            Software::Programs => command
                .args(["--ro-bind-try", "/usr", "/usr", "--ro-bind-try", "/nix/store", "/nix/store"])
                .args(["--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin", "--proc", "/proc"])
                .args(["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", "--setenv", "TMPDIR", "/tmp"]),
        };
        command = command.args(["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--dev", "/dev"]);
        for (path, name) in &inside.shown {
            command = command.arg("--ro-bind-try").arg(path).arg(name);
        }
        let tmp = inside.tmp.to_string();
        command = command.args(["--size", tmp.as_str(), "--tmpfs", "/tmp", "--size", "65536", "--tmpfs", "/run"]);
        command = command.arg("--ro-bind").arg(&self.ours).arg(PROGRAM);
        for (path, name) in &inside.sockets {
            command = command.arg("--bind").arg(path).arg(name);
        }
        for (key, value) in &inside.env {
            command = command.arg("--setenv").arg(key).arg(value);
        }
        command
            .args(["--remount-ro", "/run", "--remount-ro", "/", "--chdir", "/tmp", "--"])
            .args(&inside.argv)
            .limit(inside.limit)
    }
}

/// A program's path by its name on our PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Why a cage did not come about, or is no more. The machine's fault, or unknown.
#[derive(Debug, thiserror::Error)]
pub enum CageFault {
    #[error("the sandbox could not be prepared: {0}")]
    Preparing(#[source] io::Error),
    #[error("the sandbox could not be started: {0}")]
    NotStarted(#[from] SpawnError),
    #[error("the sandbox ended by itself ({how}){said}")]
    Ended { how: String, said: String },
    #[error("the sandbox did not come up within {KNOCK:?}")]
    Silent,
    #[error("it was cancelled")]
    Cancelled,
}

/// A cage with something in it. Dropping it ends whatever is inside.
pub struct Cage {
    over: JoinHandle<Result<Exit, SpawnError>>,
    said: Arc<Mutex<Vec<u8>>>,
    outer: CancellationToken,
    _end: DropGuard,
    _dir: PrivateDir,
}

impl Cage {
    /// Starts it and waits until the inside has connected to [`DOOR`].
    pub async fn open(
        bubblewrap: &Bubblewrap,
        dir: PrivateDir,
        mut inside: Inside,
        cancel: &CancellationToken,
    ) -> Result<(Cage, UnixStream), CageFault> {
        let door = dir.path().join("door");
        let listener = UnixListener::bind(&door).map_err(CageFault::Preparing)?;
        inside.sockets.push((door, DOOR.into()));
        let command = bubblewrap.command(&inside);
        let said = Arc::new(Mutex::new(Vec::new()));
        let ours = cancel.child_token();
        let over = tokio::spawn({
            let (said, ours) = (said.clone(), ours.clone());
            async move {
                let mut keep = |_, bytes: &[u8]| {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.extend_from_slice(bytes);
                    let excess = said.len().saturating_sub(LAST_WORDS);
                    said.drain(..excess);
                };
                run(&command, &ours, &mut keep).await
            }
        });
        let mut cage = Cage { over, said, outer: cancel.clone(), _end: ours.drop_guard(), _dir: dir };
        let knock = tokio::select! {
            knock = timeout(KNOCK, listener.accept()) => knock,
            fault = cage.ended() => return Err(fault),
        };
        match knock {
            Ok(Ok((stream, _))) => Ok((cage, stream)),
            Ok(Err(fault)) => Err(CageFault::Preparing(fault)),
            Err(_) => Err(CageFault::Silent),
        }
    }

    /// Nothing is inside any more.
    pub fn is_over(&self) -> bool {
        self.over.is_finished()
    }

    /// Waits until nothing is inside any more, and says how that came. Once.
    pub async fn ended(&mut self) -> CageFault {
        let exit = match (&mut self.over).await {
            Ok(Ok(exit)) => exit,
            Ok(Err(fault)) => return CageFault::NotStarted(fault),
            Err(panic) => return CageFault::Preparing(io::Error::other(panic)),
        };
        if self.outer.is_cancelled() {
            return CageFault::Cancelled;
        }
        let how = match (exit.code, exit.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => format!("after {:.0?}", exit.took),
        };
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        CageFault::Ended { how, said: if said.is_empty() { said } else { format!(": {said}") } }
    }
}

/// A directory that only we may enter, gone when this is dropped.
#[derive(Debug)]
pub struct PrivateDir(PathBuf);

impl PrivateDir {
    pub fn make() -> Result<PrivateDir, CageFault> {
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(|fault| CageFault::Preparing(io::Error::other(fault)))?;
        let path = std::env::temp_dir().join(format!("cc-ci-{}", hex::encode(random)));
        DirBuilder::new().mode(0o700).create(&path).map_err(CageFault::Preparing)?;
        Ok(PrivateDir(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An argument list.
pub fn argv<I: IntoIterator<Item: AsRef<OsStr>>>(words: I) -> Vec<OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}
