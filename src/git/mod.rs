//! git, as far as strangers' repositories may have it: no hooks, no filters, no submodules, no configuration but ours, no
//! protocol but HTTP, no question at a terminal, and limits on what it may bring.
//!
//! Everything that git could be told from outside is set in the environment, which no repository outranks. A token stands
//! neither in an argument, nor in a URL, nor in `.git/config`, nor in the environment: it is in a file that only we can read,
//! for as long as a fetch takes.

mod fetch;
mod local;
mod read;

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::Head;
use crate::sandbox::{self, Command, Ended, Exit, Output, SpawnError, Stream};

pub use fetch::{Fetched, Limits, Source, fetch, tip};
pub use local::{Snapshot, local_snapshot};
pub use read::{
    Tag, changed_files, changed_since, checkout, commit_named, commit_title, file_at, head, is_ancestor, is_dirty,
    release_before, tags, tree,
};

/// How long a question to a repository on our own disk may take.
const LOCAL_LIMIT: Duration = Duration::from_secs(120);
/// The most memory that git takes at a time. Large files stream; commits, trees and tags are opened as a whole, and a gigabyte
/// of one thing is a megabyte on the way.
const MOST_MEMORY: &str = "64m";
/// The most that is kept of what git says.
const MOST_SAID: usize = 16 << 10;

/// Where output goes as it comes.
pub type Sink<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

/// What went wrong, by who has to do something about it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The forge or the network.
    #[error("the forge cannot be reached by git: {0}")]
    Unreachable(String),
    /// The token, or what it may do.
    #[error("the forge refuses to give the repository to git: {0}")]
    Refused(String),
    /// The pull request was pushed to with force, or is gone with its branch.
    #[error("the commit {0} is no longer there; the pull request was pushed to")]
    HeadGone(Head),
    #[error("the repository is too big: {0}")]
    TooBig(String),
    /// Nothing that happens by accident.
    #[error("the repository holds what it must not: {0}")]
    Hostile(String),
    #[error("git took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("git was cancelled")]
    Cancelled,
    /// A name or address that we do not even ask for.
    #[error("{0}")]
    Refusable(String),
    #[error("{what}: {detail}")]
    Other { what: &'static str, detail: String },
    #[error("git cannot be started")]
    NotStarted(#[from] SpawnError),
    #[error("{what}")]
    Disk {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl GitError {
    /// The machine, the network or the forge is at fault, and another attempt may do better.
    pub fn is_infra(&self) -> bool {
        matches!(
            self,
            GitError::Unreachable(_) | GitError::Refused(_) | GitError::NotStarted(_) | GitError::Disk { .. }
        )
    }
}

fn disk(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> GitError {
    move |source| GitError::Disk { what: what.into(), source }
}

/// What is set whatever a repository says.
const CONFIG: &[(&str, &str)] = &[
    // Nothing of a repository, or of this machine, is run.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", ""),
    ("core.alternateRefsCommand", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.pager", "cat"),
    ("credential.helper", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.smudge", ""),
    ("filter.lfs.clean", ""),
    ("filter.lfs.required", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("commit.gpgSign", "false"),
    // Files are what they are.
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.protectNTFS", "true"),
    ("core.protectHFS", "true"),
    ("core.quotePath", "false"),
    ("advice.detachedHead", "false"),
    // Large files go straight to disk, where the limits are.
    ("core.bigFileThreshold", "16m"),
    ("pack.windowMemory", "64m"),
    ("fetch.unpackLimit", "1"),
    // What arrives is checked; these flaws are old and harmless.
    ("fetch.fsckObjects", "true"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.badName", "ignore"),
    ("fetch.fsck.missingEmail", "ignore"),
    ("fetch.fsck.badEmail", "ignore"),
    ("fetch.fsck.missingNameBeforeEmail", "ignore"),
    ("fetch.fsck.missingSpaceBeforeEmail", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.zeroPaddedDate", "ignore"),
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.missingTaggerEntry", "ignore"),
    ("fetch.fsck.badTagName", "ignore"),
    // Over the network.
    ("protocol.version", "2"),
    ("protocol.allow", "never"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("transfer.credentialsInUrl", "die"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
];

/// git on the repository whose work tree is `dir`.
fn git_in(dir: &Path) -> Command {
    // Both are said from inside: git starts there, so a relative `dir` would be looked for below itself.
    git(false, Path::new("/dev/null")).cwd(dir).env("GIT_DIR", ".git").env("GIT_WORK_TREE", ".")
}

/// git with nothing but our configuration: [`CONFIG`], and `global`, a file of ours.
fn git(allow_file: bool, global: &Path) -> Command {
    let file = ("protocol.file.allow", if allow_file { "always" } else { "never" });
    let mut command = Command::new("git")
        .env_from_ours(["PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "GIT_SSL_CAINFO"])
        .env_from_ours(["http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"])
        .env("LC_ALL", "C")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", global)
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "false")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("GIT_ALLOC_LIMIT", MOST_MEMORY)
        .env("GIT_CONFIG_COUNT", (CONFIG.len() + 1).to_string());
    for (number, (key, value)) in CONFIG.iter().chain([&file]).enumerate() {
        command = command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    command
}

/// Asks a repository of ours something; `most` bounds the answer.
async fn ask(what: &'static str, command: Command, most: usize) -> Result<Output, GitError> {
    let output = sandbox::output(&command.limit(LOCAL_LIMIT), &CancellationToken::new(), most).await?;
    if output.exit.ended != Ended::ByItself {
        return Err(GitError::TimedOut(LOCAL_LIMIT));
    }
    if output.cut {
        return Err(GitError::TooBig(format!("{what} gives more than {most} bytes")));
    }
    Ok(output)
}

/// The same, and anything but success is an error.
async fn ask_ok(what: &'static str, command: Command, most: usize) -> Result<Vec<u8>, GitError> {
    let output = ask(what, command, most).await?;
    if output.exit.is_success() {
        return Ok(output.stdout);
    }
    Err(GitError::Other { what, detail: last_lines(&output.stderr, output.exit) })
}

/// What git said at the end, for people.
fn last_lines(said: &[u8], exit: Exit) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let shown: String =
        lines[lines.len().saturating_sub(5)..].join("; ").chars().filter(|char| !char.is_control()).collect();
    match (shown.is_empty(), exit.code, exit.signal) {
        (false, ..) => shown,
        (true, Some(code), _) => format!("git ended with code {code} and said nothing"),
        (true, None, signal) => format!("git was ended by signal {}", signal.unwrap_or(0)),
    }
}

fn head_from(what: &'static str, text: &[u8]) -> Result<Head, GitError> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse().map_err(|error| GitError::Other { what, detail: format!("{error}") })
}
