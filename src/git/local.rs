//! A copy of a recipe on this machine, as it stands there: with what was changed and not committed, and without touching it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::{GitError, Limits, MOST_SAID, Source, ask, ask_ok, disk, fetch, git, git_in, head, head_from};
use crate::model::Head;

/// The most that a list of names may take, in bytes.
const MOST_NAMES: usize = 16 << 20;

/// Files that differ from the commit, added to the index or not.
const CHANGED: &[&str] = &[
    "diff",
    "-z",
    "--name-only",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--ignore-submodules",
    "HEAD",
    "--",
];

/// What [`local_snapshot`] made.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub head: Head,
    /// The files are not those of the head.
    pub dirty: bool,
    /// The branch that changes go to, as far as the copy can tell; at `refs/remotes/origin/<branch>` in it.
    pub base_branch: Option<String>,
}

/// Copies the recipe at `path` to `dir`, a repository with all tags. What git ignores there does not come along. A directory
/// that is no repository of its own becomes one with a single commit.
pub async fn local_snapshot(path: &Path, dir: &Path) -> Result<Snapshot, GitError> {
    let path = fs::canonicalize(path).map_err(disk(format!("{} cannot be read", path.display())))?;
    let limits = Limits::default();
    let base_branch = main_branch(&path).await?;
    let Some(head) = own_head(&path).await? else { return copy_plain(path, dir, limits).await };
    let source = Source {
        url: path.to_string_lossy().into_owned(),
        token: None,
        head: head.clone(),
        pr_ref: None,
        base_branch: base_branch.clone(),
        allow_file: true,
    };
    fetch(&source, dir, &limits, &CancellationToken::new(), &mut |_, _| {}).await?;

    let mut changed = listed(&path, CHANGED).await?;
    changed.extend(listed(&path, &["ls-files", "-z", "--others", "--exclude-standard"]).await?);
    let dirty = !changed.is_empty();
    let dir = dir.to_owned();
    blocking(move || changed.iter().try_for_each(|name| copy_one(&path, &dir, name))).await?;
    Ok(Snapshot { head, dirty, base_branch })
}

/// The commit that is checked out at `path`, when `path` is the top of a repository that has one.
async fn own_head(path: &Path) -> Result<Option<Head>, GitError> {
    if !path.join(".git").exists() {
        return Ok(None);
    }
    let command = theirs(path).args(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
    let output = ask("reading the head", command, MOST_SAID).await?;
    if output.exit.is_success() { head_from("reading the head", &output.stdout).map(Some) } else { Ok(None) }
}

/// A local branch by one of the names that main branches have.
async fn main_branch(path: &Path) -> Result<Option<String>, GitError> {
    if !path.join(".git").exists() {
        return Ok(None);
    }
    for branch in ["main", "master"] {
        let command = theirs(path).args(["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")]);
        if ask("looking for the main branch", command, MOST_SAID).await?.exit.is_success() {
            return Ok(Some(branch.to_owned()));
        }
    }
    Ok(None)
}

/// git in somebody's own repository, which may be another user's.
fn theirs(path: &Path) -> crate::sandbox::Command {
    git(true, Path::new("/dev/null")).cwd(path).env("GIT_DIR", path.join(".git")).env("GIT_WORK_TREE", path)
}

async fn listed(path: &Path, args: &[&str]) -> Result<Vec<PathBuf>, GitError> {
    let text = ask_ok("looking for changes", theirs(path).args(args), MOST_NAMES).await?;
    let names = text.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

/// Makes one file in `to` what it is in `from`: the same, a link, or not there.
fn copy_one(from: &Path, to: &Path, name: &Path) -> Result<(), GitError> {
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(GitError::Hostile(format!("a file name that leads elsewhere: {}", name.display())));
    }
    let (source, target) = (from.join(name), to.join(name));
    let failed = || disk(format!("{} cannot be copied", source.display()));
    match fs::symlink_metadata(&target) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&target).map_err(failed())?,
        Ok(_) => fs::remove_file(&target).map_err(failed())?,
        Err(_) => {}
    }
    let Ok(meta) = fs::symlink_metadata(&source) else { return Ok(()) };
    if let Some(parent) = target.parent() {
        // What was a file may be a directory now.
        if parent.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            fs::remove_file(parent).map_err(failed())?;
        }
        fs::create_dir_all(parent).map_err(failed())?;
    }
    if meta.is_symlink() {
        let goal = fs::read_link(&source).map_err(failed())?;
        symlink(goal, &target).map_err(failed())?;
    } else if meta.is_file() {
        fs::copy(&source, &target).map_err(failed())?;
    }
    Ok(())
}

/// A directory that is not under git, or only as a part of something larger.
async fn copy_plain(path: PathBuf, dir: &Path, limits: Limits) -> Result<Snapshot, GitError> {
    let target = dir.to_owned();
    blocking(move || {
        let files = files_below(&path, limits)?;
        fs::create_dir_all(&target).map_err(disk(format!("{} cannot be made", target.display())))?;
        files.iter().try_for_each(|name| copy_one(&path, &target, name))
    })
    .await?;
    const WHAT: &str = "making a repository of the directory";
    ask_ok(WHAT, git_in(dir).args(["init", "--quiet", "--template=", "--initial-branch=main"]), MOST_SAID).await?;
    ask_ok(WHAT, git_in(dir).args(["add", "--all", "--force"]), MOST_SAID).await?;
    let mut commit =
        git_in(dir).args(["commit", "--quiet", "--no-verify", "--allow-empty", "--message", "The directory as it is"]);
    // Always the same, so that the same files are the same commit.
    for role in ["AUTHOR", "COMMITTER"] {
        commit = commit
            .env(format!("GIT_{role}_NAME"), "cc-ci")
            .env(format!("GIT_{role}_EMAIL"), "cc-ci@localhost")
            .env(format!("GIT_{role}_DATE"), "2020-01-01T00:00:00Z");
    }
    ask_ok(WHAT, commit, MOST_SAID).await?;
    Ok(Snapshot { head: head(dir).await?, dirty: false, base_branch: None })
}

fn files_below(path: &Path, limits: Limits) -> Result<Vec<PathBuf>, GitError> {
    let (mut files, mut bytes, mut open) = (Vec::new(), 0, vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        let failed = || disk(format!("{} cannot be read", path.join(&below).display()));
        for entry in fs::read_dir(path.join(&below)).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let (meta, name) = (entry.metadata().map_err(failed())?, below.join(entry.file_name()));
            if entry.file_name() == ".git" {
                continue;
            }
            if meta.is_dir() {
                open.push(name);
                continue;
            }
            bytes += meta.len();
            files.push(name);
            if files.len() > limits.files || bytes > limits.bytes {
                let most = format!("more than {} files or {} MiB", limits.files, limits.bytes >> 20);
                return Err(GitError::TooBig(format!("{} holds {most}", path.display())));
            }
        }
    }
    Ok(files)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(disk("copying files")(std::io::Error::other(panic))))
}
