//! Brings one commit, all tags and the base branch, and nothing that is bigger than it may be.
//!
//! The head is asked for by the pull request's own ref, which is still there when the fork it came from is gone, and else by
//! its number. Whatever came, the head is checked to be the commit that was pinned.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{GitError, MOST_SAID, Sink, ask_ok, commit_named, disk, git, git_in, head, last_lines};
use crate::crash::crash_point;
use crate::model::Head;
use crate::sandbox::{self, Command, Ended, Exit, Stream};
use crate::secrets::Secret;

/// How often the size on disk is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// In bytes; the kernel takes 4096, with the directory that the recipe lies in.
const LONGEST_PATH: usize = 1024;
/// The kernel's own limit for one name.
const LONGEST_NAME: usize = 255;

/// What to bring.
#[derive(Clone, Debug)]
pub struct Source {
    /// `https://…`, without user or password.
    pub url: String,
    pub token: Option<Secret>,
    pub head: Head,
    /// `refs/pull/7/head`.
    pub pr_ref: Option<String>,
    /// The branch the pull request is for. One that is not there is no error.
    pub base_branch: Option<String>,
    /// Also from this machine's disk: for local runs and tests.
    pub allow_file: bool,
}

/// How much it may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On disk, in bytes: the history and the files each.
    pub bytes: u64,
    /// Files of the head.
    pub files: usize,
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 512 << 20, files: 20_000, time: Duration::from_secs(600) }
    }
}

/// What came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The tip of the base branch, also at `refs/remotes/origin/<branch>`.
    pub base: Option<Head>,
    /// Files of the head, and their bytes.
    pub files: usize,
    pub bytes: u64,
}

/// Makes `dir` a repository with the head checked out, detached. `dir` must not be there, or be empty; after an error it
/// may hold anything.
pub async fn fetch(
    source: &Source,
    dir: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
    sink: Sink<'_>,
) -> Result<Fetched, GitError> {
    check(source)?;
    let mut work = Work { source, dir, limits, cancel, sink, until: Instant::now() + limits.time };
    fs::create_dir_all(dir).map_err(disk(format!("{} cannot be made", dir.display())))?;
    ask_ok(
        "making a repository",
        git_in(dir).args(["init", "--quiet", "--template=", "--initial-branch=main"]),
        MOST_SAID,
    )
    .await?;
    crash_point!("git: repository made");
    work.bring().await?;
    crash_point!("git: fetched");
    let (files, bytes) = work.look_over().await?;
    work.check_out().await?;
    crash_point!("git: head checked out");
    let base = match &source.base_branch {
        Some(branch) => commit_named(dir, &format!("refs/remotes/origin/{branch}")).await?,
        None => None,
    };
    Ok(Fetched { base, files, bytes })
}

/// The commit that a repository shows first, the tip of its default branch; nothing where it has none. `beside` is where the
/// repository is going to be: what git reads the token from lies there for as long as this takes.
pub async fn tip(
    url: &str,
    token: Option<&Secret>,
    beside: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Option<Head>, GitError> {
    // Not asked for by its number, which is what is to be found.
    let head: Head = "0".repeat(40).parse().map_err(|_| GitError::Refusable("no commit".into()))?;
    let source =
        Source { url: url.to_owned(), token: token.cloned(), head, pr_ref: None, base_branch: None, allow_file: false };
    check(&source)?;
    let global = GlobalFile::write(&source, beside)?;
    // In no repository: that of whoever started us has its own settings.
    let nowhere = beside.parent().unwrap_or(Path::new("/"));
    let command = git(false, &global.0)
        .cwd(nowhere)
        .env("GIT_CEILING_DIRECTORIES", nowhere.parent().unwrap_or(nowhere))
        .args(["ls-remote", "--quiet", "--exit-code", "--end-of-options", url, "HEAD"]);
    let mut said = Vec::new();
    let mut sink = |_, _: &[u8]| {};
    let mut work =
        Work { source: &source, dir: beside, limits, cancel, sink: &mut sink, until: Instant::now() + limits.time };
    let (exit, errors) = work
        .run(command, |bytes| {
            said.extend_from_slice(bytes);
            said.len() > MOST_SAID
        })
        .await?;
    match exit.code {
        Some(0) => super::head_from(
            "asking for the newest commit",
            said.split(|byte| *byte == b'\t').next().unwrap_or_default(),
        )
        .map(Some),
        // git's own way to say that nothing of that name is there.
        Some(2) => Ok(None),
        _ => Err(what_failed(&errors, exit, &source.head)),
    }
}

/// Names from the forge do not mean more than they should.
fn check(source: &Source) -> Result<(), GitError> {
    let refuse = |what: String| Err(GitError::Refusable(what));
    let local = source.url.starts_with('/') || source.url.starts_with("file:///");
    if local && !source.allow_file {
        return refuse("repositories on this machine's disk are not read here".into());
    }
    if !local {
        let Ok(url) = reqwest::Url::parse(&source.url) else {
            return refuse("the repository's address is no URL".into());
        };
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return refuse("the repository's address must be http or https, without a user".into());
        }
    }
    for name in source.pr_ref.iter().chain(&source.base_branch) {
        let odd = |char: char| char.is_control() || char.is_whitespace() || "~^:?*[\\".contains(char);
        let bad = name.is_empty() || name.starts_with(['-', '/']) || name.ends_with(['/', '.']) || name.len() > 250;
        if bad || name.contains(odd) || name.contains("..") || name.contains("@{") || name.contains("//") {
            return refuse(format!("`{}` is no name of a branch", name.escape_default()));
        }
    }
    Ok(())
}

struct Work<'a> {
    source: &'a Source,
    dir: &'a Path,
    limits: &'a Limits,
    cancel: &'a CancellationToken,
    sink: Sink<'a>,
    until: Instant,
}

impl Work<'_> {
    /// The network part. Refs that are not there are left out, one by one.
    async fn bring(&mut self) -> Result<(), GitError> {
        let (mut pr_ref, mut base) = (self.source.pr_ref.clone(), self.source.base_branch.clone());
        loop {
            let head = pr_ref.clone().unwrap_or_else(|| self.source.head.as_str().to_owned());
            let mut refs = vec![format!("+{head}:refs/cc-ci/head"), "+refs/tags/*:refs/tags/*".to_owned()];
            refs.extend(base.iter().map(|branch| format!("+refs/heads/{branch}:refs/remotes/origin/{branch}")));
            match self.fetch_refs(&refs).await {
                Err(GitError::Other { detail, .. })
                    if base.as_ref().is_some_and(|base| misses(&detail, &format!("refs/heads/{base}"))) =>
                {
                    base = None;
                }
                Err(GitError::Other { detail, .. })
                    if pr_ref.as_ref().is_some_and(|pr_ref| misses(&detail, pr_ref)) =>
                {
                    pr_ref = None;
                }
                Err(error) => return Err(error),
                Ok(()) if commit_named(self.dir, self.source.head.as_str()).await?.is_some() => return Ok(()),
                // The pull request went on meanwhile; most forges still give the commit by its number.
                Ok(()) if pr_ref.is_some() => pr_ref = None,
                Ok(()) => return Err(GitError::HeadGone(self.source.head.clone())),
            }
        }
    }

    async fn fetch_refs(&mut self, refs: &[String]) -> Result<(), GitError> {
        let global = GlobalFile::write(self.source, self.dir)?;
        let command = git(self.source.allow_file, &global.0)
            .cwd(self.dir)
            .env("GIT_DIR", self.dir.join(".git"))
            .args(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-gc"])
            .args(self.source.allow_file.then_some("--update-shallow"))
            .args(["--end-of-options", &self.source.url])
            .args(refs);
        let (exit, said) = self.run(command, |_| false).await?;
        if exit.is_success() {
            return Ok(());
        }
        // The kernel stops a file at the limit, and then git only says that its helper is gone.
        let (history, limit) = (self.dir.join(".git"), self.limits.bytes);
        let size = tokio::task::spawn_blocking(move || size_of(&history, limit)).await;
        if size.is_ok_and(|size| size >= limit) {
            return Err(too_big(limit));
        }
        Err(what_failed(&said, exit, &self.source.head))
    }

    /// Reads the head's list of files before any of them is made.
    async fn look_over(&mut self) -> Result<(usize, u64), GitError> {
        let mut listing = Listing { limits: *self.limits, line: Vec::new(), files: 0, bytes: 0, found: None };
        let command = git_in(self.dir).args(["ls-tree", "-r", "-l", "-z", "--full-tree", self.source.head.as_str()]);
        let (exit, said) = self.run(command, |bytes| listing.take(bytes)).await?;
        match listing.found {
            Some(error) => Err(error),
            None if exit.is_success() => Ok((listing.files, listing.bytes)),
            None => Err(GitError::Other { what: "listing the files", detail: last_lines(&said, exit) }),
        }
    }

    async fn check_out(&mut self) -> Result<(), GitError> {
        let command =
            git_in(self.dir).args(["checkout", "--quiet", "--force", "--detach", self.source.head.as_str(), "--"]);
        let (exit, said) = self.run(command, |_| false).await?;
        if !exit.is_success() {
            let detail = last_lines(&said, exit);
            if detail.contains("invalid path") {
                return Err(GitError::Hostile(detail));
            }
            return Err(GitError::Other { what: "checking out the commit", detail });
        }
        let got = head(self.dir).await?;
        if got != self.source.head {
            return Err(GitError::Other { what: "checking out the commit", detail: format!("{got} is there instead") });
        }
        Ok(())
    }

    /// Runs one command within the limits. `enough` gets its standard output and may end it; what it says on standard error
    /// goes to the log and comes back.
    async fn run(
        &mut self,
        command: Command,
        mut enough: impl FnMut(&[u8]) -> bool + Send,
    ) -> Result<(Exit, Vec<u8>), GitError> {
        let left = self.until.saturating_duration_since(Instant::now());
        let command = command.limit(left).largest_file(self.limits.bytes);
        let stop = self.cancel.child_token();
        let (mut said, log, stopper) = (Vec::new(), &mut *self.sink, stop.clone());
        let mut sink = |stream, bytes: &[u8]| match stream {
            Stream::Out => {
                if enough(bytes) {
                    stopper.cancel();
                }
            }
            Stream::Err => {
                log(stream, bytes);
                said.extend_from_slice(bytes);
                let surplus = said.len().saturating_sub(MOST_SAID);
                said.drain(..surplus);
            }
        };
        let grown = {
            let running = sandbox::run(&command, &stop, &mut sink);
            tokio::pin!(running);
            tokio::select! {
                exit = &mut running => Ok(exit?),
                () = watch_size(self.dir, self.limits.bytes, &stop) => Err(running.await?),
            }
        };
        let Ok(exit) = grown else { return Err(too_big(self.limits.bytes)) };
        if self.cancel.is_cancelled() {
            return Err(GitError::Cancelled);
        }
        match exit.ended {
            Ended::Limit | Ended::Silence => Err(GitError::TimedOut(self.limits.time)),
            // SIGXFSZ: one file reached the limit.
            Ended::ByItself if exit.signal == Some(25) => Err(too_big(self.limits.bytes)),
            Ended::ByItself | Ended::Cancelled => Ok((exit, said)),
        }
    }
}

fn too_big(limit: u64) -> GitError {
    GitError::TooBig(format!("it takes more than {} MiB on disk", limit >> 20))
}

/// Stops everything when the directory has grown too large; otherwise never ends.
async fn watch_size(dir: &Path, limit: u64, stop: &CancellationToken) {
    loop {
        tokio::time::sleep(LOOK).await;
        let dir: PathBuf = dir.into();
        // The history and the files each may be as large as the limit.
        let size =
            tokio::task::spawn_blocking(move || size_of(&dir.join(".git"), limit).max(size_of(&dir, 2 * limit) / 2))
                .await;
        if size.is_ok_and(|size| size > limit) {
            stop.cancel();
            return;
        }
    }
}

/// The bytes of all files below, counted until there are more than `enough`. Links are not followed.
fn size_of(dir: &Path, enough: u64) -> u64 {
    let (mut size, mut open) = (0, vec![dir.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => size += meta.len(),
                Err(_) => {}
            }
            if size > enough {
                return size;
            }
        }
    }
    size
}

/// `git ls-tree -r -l -z` as it comes: `mode type object size TAB name NUL`.
struct Listing {
    limits: Limits,
    line: Vec<u8>,
    files: usize,
    bytes: u64,
    found: Option<GitError>,
}

impl Listing {
    /// True when there is no need to read on.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for part in bytes.split_inclusive(|&byte| byte == 0) {
            self.line.extend_from_slice(part);
            if self.line.last() == Some(&0) && self.found.is_none() {
                self.line.pop();
                self.found = self.entry().err();
                self.line.clear();
            }
            if self.line.len() > MOST_SAID {
                self.found = Some(GitError::Hostile("a file name without end".into()));
            }
            if self.found.is_some() {
                return true;
            }
        }
        false
    }

    fn entry(&mut self) -> Result<(), GitError> {
        let mut parts = self.line.splitn(2, |&byte| byte == b'\t');
        let (facts, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let shown =
            || String::from_utf8_lossy(name).chars().take(100).flat_map(char::escape_default).collect::<String>();
        let text = std::str::from_utf8(name)
            .map_err(|_| GitError::Hostile(format!("a file name that is no text: {}", shown())))?;
        if text.chars().any(char::is_control) {
            return Err(GitError::Hostile(format!("a file name with control characters: {}", shown())));
        }
        if name.len() > LONGEST_PATH || text.split('/').any(|part| part.len() > LONGEST_NAME) {
            return Err(GitError::Hostile(format!(
                "a path that no file can have, {} bytes long: {}…",
                name.len(),
                shown()
            )));
        }
        let size = facts.rsplit(|&byte| byte == b' ').next().and_then(|size| std::str::from_utf8(size).ok());
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size.and_then(|size| size.parse().ok()).unwrap_or(0));
        if self.files > self.limits.files {
            return Err(GitError::TooBig(format!("it has more than {} files", self.limits.files)));
        }
        if self.bytes > self.limits.bytes {
            return Err(GitError::TooBig(format!("its files are more than {} MiB", self.limits.bytes >> 20)));
        }
        Ok(())
    }
}

/// A configuration file beside the repository, readable by us alone, that goes when it is dropped.
struct GlobalFile(PathBuf);

impl GlobalFile {
    fn write(source: &Source, dir: &Path) -> Result<GlobalFile, GitError> {
        let mut path = dir.as_os_str().to_owned();
        path.push(".git-access");
        let path = PathBuf::from(path);
        let failed = || disk(format!("{} cannot be written", path.display()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed()(error)),
            _ => {}
        }
        let mut text = zeroize::Zeroizing::new(String::new());
        if source.allow_file {
            // Whoever it belongs to: a person's own directory, tested as root.
            text.push_str("[safe]\n\tdirectory = *\n");
        }
        if let (Some(token), Ok(url)) = (&source.token, reqwest::Url::parse(&source.url)) {
            let value = token.expose();
            if value.contains(['\n', '\r', '\0']) {
                return Err(GitError::Refusable("the forge's token has a line end in it".into()));
            }
            let value = zeroize::Zeroizing::new(value.replace('\\', "\\\\").replace('"', "\\\""));
            // Only for this host, whatever it answers.
            let origin = url.origin().ascii_serialization();
            text.push_str("[http \"");
            text.push_str(&origin);
            text.push_str("/\"]\n\textraHeader = \"Authorization: token ");
            text.push_str(&value);
            text.push_str("\"\n");
        }
        let file = GlobalFile(path.clone());
        let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed())?;
        open.write_all(text.as_bytes()).map_err(failed())?;
        Ok(file)
    }
}

impl Drop for GlobalFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn misses(said: &str, name: &str) -> bool {
    said.split(';').any(|line| line.trim_end().ends_with(&format!("couldn't find remote ref {name}")))
}

/// Which kind of failure git's words mean. The words are those of `LC_ALL=C`.
fn what_failed(said: &[u8], exit: Exit, wanted: &Head) -> GitError {
    let detail = last_lines(said, exit);
    let text = String::from_utf8_lossy(said).to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&["not our ref", "unadvertised object"]) {
        return GitError::HeadGone(wanted.clone());
    }
    if any(&["died of signal 25", "file too large", "file size limit"]) {
        return GitError::TooBig(detail);
    }
    if any(&["attempting to allocate", "out of memory"]) {
        return GitError::TooBig(format!("a commit, tree or tag of it is larger than git may open ({detail})"));
    }
    if any(&["fsck error", "error in object", "invalid path", "hasdotgit", "is disallowed", "gitmodules"]) {
        return GitError::Hostile(detail);
    }
    if any(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "terminal prompts disabled",
    ]) || any(&["returned error: 401", "returned error: 403", "returned error: 404", "returned error: 30"])
        || any(&["repository not found", "' not found", "does not appear to be a git repository", "access denied"])
        || any(&["redirect"])
    {
        return GitError::Refused(detail);
    }
    let network =
        ["could not resolve", "failed to connect", "couldn't connect", "connection", "timed out", "returned error: 5"];
    let broken =
        ["returned error: 429", "ssl", "tls", "certificate", "early eof", "rpc failed", "hung up", "empty reply"];
    let slow = ["operation too slow", "less than 1000 bytes/sec", "unexpected disconnect", "expected flush", "curl"];
    if any(&network) || any(&broken) || any(&slow) {
        return GitError::Unreachable(detail);
    }
    GitError::Other { what: "fetching the repository", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Source {
        Source {
            url: url.into(),
            token: None,
            head: "a".repeat(40).parse().unwrap(),
            pr_ref: None,
            base_branch: None,
            allow_file: false,
        }
    }

    #[test]
    fn addresses_and_names_that_mean_more_are_refused() {
        for url in [
            "ext::sh -c id",
            "ssh://a/b",
            "git@host:a",
            "-u",
            "file:///etc",
            "/etc",
            "https://user:pass@host/a",
            "",
            "https://tok@h/a",
        ] {
            assert!(check(&source(url)).is_err(), "{url}");
        }
        assert!(check(&source("https://forge.test/a/b.git")).is_ok());
        for name in ["", "-x", "a b", "a..b", "a:b", "a\nb", "*", "a@{1}", "a^", "/a", "a/", "a//b"] {
            let mut source = source("https://forge.test/a");
            source.base_branch = Some(name.into());
            assert!(check(&source).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_token_is_in_a_file_of_ours_for_one_host_and_only_for_a_while() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut source = source("https://forge.test:3000/a/b.git");
        source.token = Some(Secret::new("to\"ken\\8"));
        let file = GlobalFile::write(&source, &dir.path().join("recipe")).unwrap();
        let path = file.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "[http \"https://forge.test:3000/\"]\n\textraHeader = \"Authorization: token to\\\"ken\\\\8\"\n"
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn gits_words_have_a_meaning() {
        let exit = Exit { code: Some(128), signal: None, ended: Ended::ByItself, took: Duration::ZERO };
        let wanted: Head = "a".repeat(40).parse().unwrap();
        let kind = |said: &str| what_failed(said.as_bytes(), exit, &wanted);
        assert!(matches!(
            kind("fatal: unable to access 'http://h/': Could not resolve host: h"),
            GitError::Unreachable(_)
        ));
        assert!(matches!(
            kind("fatal: unable to access 'http://h/': Failed to connect to h port 80"),
            GitError::Unreachable(_)
        ));
        assert!(matches!(
            kind("error: RPC failed; curl 56 recv failure\nfatal: expected 'packfile'"),
            GitError::Unreachable(_)
        ));
        assert!(matches!(
            kind("fatal: unable to access 'https://h/': The requested URL returned error: 503"),
            GitError::Unreachable(_)
        ));
        assert!(matches!(
            kind("fatal: unable to access 'https://h/': The requested URL returned error: 403"),
            GitError::Refused(_)
        ));
        assert!(matches!(kind("remote: Not found.\nfatal: repository 'https://h/a/' not found"), GitError::Refused(_)));
        assert!(matches!(
            kind("fatal: could not read Username for 'https://h': terminal prompts disabled"),
            GitError::Refused(_)
        ));
        assert!(matches!(
            kind(&format!("fatal: remote error: upload-pack: not our ref {wanted}")),
            GitError::HeadGone(_)
        ));
        assert!(matches!(
            kind("error: object 12: hasDotgit: contains '.git'\nfatal: fsck error in packed object"),
            GitError::Hostile(_)
        ));
        assert!(matches!(kind("something new"), GitError::Other { .. }));
        assert!(misses("fatal: couldn't find remote ref refs/pull/7/head", "refs/pull/7/head"));
        assert!(!misses("fatal: couldn't find remote ref refs/pull/7/head", "refs/pull/7"));
    }

    #[test]
    fn a_listing_is_read_however_it_is_cut() {
        let limits = Limits { bytes: 100, files: 3, ..Limits::default() };
        let read = |text: &[u8], size: usize| {
            let mut listing = Listing { limits, line: Vec::new(), files: 0, bytes: 0, found: None };
            text.chunks(size).any(|part| listing.take(part));
            listing
        };
        let good = b"100644 blob aaa      40\ta b\x00120000 blob bbb      60\tc\x00160000 commit ccc       -\td\x00";
        for size in 1..good.len() {
            let listing = read(good, size);
            assert!(listing.found.is_none());
            assert_eq!((listing.files, listing.bytes), (3, 100));
        }
        assert!(matches!(read(b"1 blob a 101\ta\0", 4).found, Some(GitError::TooBig(_))));
        assert!(matches!(read(&b"1 blob a 1\ta\0".repeat(4), 4).found, Some(GitError::TooBig(_))));
        assert!(matches!(read(b"1 blob a 1\ta\nb\0", 4).found, Some(GitError::Hostile(_))));
        assert!(matches!(read(b"1 blob a 1\ta\xff\0", 4).found, Some(GitError::Hostile(_))));
    }
}
