//! Real repositories. Clients reach them through `git http-backend`; the forge itself asks git what it needs to know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio_util::io::{ReaderStream, StreamReader};

/// Wanted by every repository: pushes over HTTP, fetches of commits that are no tip, and pull requests' refs that only the
/// forge writes.
const CONFIG: &str = "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[http]
\treceivepack = true
[uploadpack]
\tallowAnySHA1InWant = true
\tallowFilter = true
[receive]
\thideRefs = refs/pull
\tdenyDeleteCurrent = ignore
[gc]
\tauto = 0
";

/// What git said when it would not.
#[derive(Debug, thiserror::Error)]
#[error("git {what}: {said}")]
pub(super) struct GitFault {
    what: String,
    said: String,
}

fn fault(what: &str, said: impl ToString) -> GitFault {
    GitFault { what: what.into(), said: said.to_string() }
}

/// The bare repositories of one forge, each named by its number, so that a rename changes nothing here.
#[derive(Debug)]
pub(super) struct Git {
    root: PathBuf,
}

/// One git request over HTTP.
pub(super) struct Asked<'a> {
    pub(super) repo: i64,
    pub(super) method: &'a str,
    /// `/info/refs`, `/git-upload-pack`, `/git-receive-pack`
    pub(super) rest: &'a str,
    pub(super) query: &'a str,
    pub(super) content_type: &'a str,
    pub(super) encoding: Option<&'a str>,
    pub(super) protocol: Option<&'a str>,
    pub(super) user: &'a str,
    pub(super) body: Body,
}

impl Git {
    pub(super) fn open(root: PathBuf) -> io::Result<Git> {
        std::fs::create_dir_all(&root)?;
        Ok(Git { root: root.canonicalize()? })
    }

    fn path(&self, repo: i64) -> PathBuf {
        self.root.join(format!("{repo}.git"))
    }

    #[expect(clippy::disallowed_methods, reason = "the forge of the demo stands alone and ends its own children")]
    fn command(&self, repo: i64) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", &self.root)
            .env("LC_ALL", "C")
            .env("GIT_DIR", self.path(repo))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs git to its end; its exit code is the caller's to judge.
    async fn output(&self, repo: i64, arguments: &[&str], stdin: &[u8]) -> Result<Output, GitFault> {
        let what = arguments.first().copied().unwrap_or_default();
        let mut child = self.command(repo).args(arguments).spawn().map_err(|error| fault(what, error))?;
        let mut into = child.stdin.take();
        let feed = async {
            if let Some(into) = into.as_mut() {
                // A git that ends early says why on its own.
                let _ = into.write_all(stdin).await;
            }
            drop(into);
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        output.map_err(|error| fault(what, error))
    }

    /// Runs git and takes what it prints, without the line's end.
    async fn run(&self, repo: i64, arguments: &[&str], stdin: &[u8]) -> Result<String, GitFault> {
        let output = self.output(repo, arguments, stdin).await?;
        if !output.status.success() {
            return Err(fault(&arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    pub(super) async fn create(&self, repo: i64, branch: &str) -> Result<(), GitFault> {
        let initial = format!("--initial-branch={branch}");
        self.run(repo, &["init", "--quiet", "--bare", "--template=", &initial], b"").await?;
        let config = self.path(repo).join("config");
        tokio::fs::write(config, CONFIG).await.map_err(|error| fault("init", error))
    }

    /// Branches and tags of `from`, in a repository of their own.
    pub(super) async fn fork(&self, from: i64, to: i64, branch: &str) -> Result<(), GitFault> {
        self.create(to, branch).await?;
        let from = self.path(from).display().to_string();
        let all = ["fetch", "--quiet", &from, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        self.run(to, &all, b"").await.map(drop)
    }

    pub(super) async fn remove(&self, repo: i64) -> Result<(), GitFault> {
        tokio::fs::remove_dir_all(self.path(repo)).await.map_err(|error| fault("removal", error))
    }

    pub(super) async fn set_default_branch(&self, repo: i64, branch: &str) -> Result<(), GitFault> {
        self.run(repo, &["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], b"").await.map(drop)
    }

    /// Branches and their commits.
    pub(super) async fn branches(&self, repo: i64) -> Result<BTreeMap<String, String>, GitFault> {
        let list = ["for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"];
        let lines = self.run(repo, &list, b"").await?;
        let pair = |line: &str| line.split_once(' ').map(|(sha, name)| (name.to_owned(), sha.to_owned()));
        Ok(lines.lines().filter_map(pair).collect())
    }

    /// The commit that a name, or the beginning of a number, means.
    pub(super) async fn commit_of(&self, repo: i64, name: &str) -> Option<String> {
        if name.is_empty() || name.starts_with('-') {
            return None;
        }
        let commit = format!("{name}^{{commit}}");
        self.run(repo, &["rev-parse", "--quiet", "--verify", "--end-of-options", &commit], b"").await.ok()
    }

    pub(super) async fn is_ancestor(&self, repo: i64, older: &str, newer: &str) -> bool {
        self.run(repo, &["merge-base", "--is-ancestor", older, newer], b"").await.is_ok()
    }

    pub(super) async fn merge_base(&self, repo: i64, one: &str, other: &str) -> Option<String> {
        self.run(repo, &["merge-base", one, other], b"").await.ok()
    }

    /// Commits that `newer` has and `older` lacks, the oldest first.
    pub(super) async fn between(&self, repo: i64, older: &str, newer: &str) -> Result<Vec<String>, GitFault> {
        let range = format!("{older}..{newer}");
        let lines = self.run(repo, &["rev-list", "--reverse", &range], b"").await?;
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// Subject, author and time of commits, for the page of a pull request.
    pub(super) async fn log(&self, repo: i64, older: &str, newer: &str) -> Result<Vec<[String; 4]>, GitFault> {
        let range = if older.is_empty() { newer.to_owned() } else { format!("{older}..{newer}") };
        let format = "--format=%H%x00%s%x00%an%x00%cI";
        let lines = self.run(repo, &["log", "--reverse", "--max-count=100", format, &range], b"").await?;
        let fields = |line: &str| {
            let mut fields = line.split('\0').map(str::to_owned);
            std::array::from_fn(|_| fields.next().unwrap_or_default())
        };
        Ok(lines.lines().map(fields).collect())
    }

    /// Brings `refs/pull/N/head` of a repository to a commit that may stand in a fork.
    pub(super) async fn set_pull(&self, repo: i64, from: i64, commit: &str, number: i64) -> Result<(), GitFault> {
        let pull = format!("refs/pull/{number}/head");
        if repo != from {
            let from = self.path(from).display().to_string();
            self.run(repo, &["fetch", "--quiet", "--no-tags", &from, &format!("+{commit}:{pull}")], b"").await?;
            return Ok(());
        }
        self.run(repo, &["update-ref", &pull, commit], b"").await.map(drop)
    }

    /// Merges `head` into a branch; `None` when that takes a person.
    pub(super) async fn merge(
        &self,
        repo: i64,
        branch: &str,
        head: &str,
        text: &str,
    ) -> Result<Option<String>, GitFault> {
        let Some(base) = self.commit_of(repo, &format!("refs/heads/{branch}")).await else { return Ok(None) };
        let merged = self.output(repo, &["merge-tree", "--write-tree", &base, head], b"").await?;
        if !merged.status.success() {
            return Ok(None);
        }
        let tree = String::from_utf8_lossy(&merged.stdout).trim().to_owned();
        let who = ["-c", "user.name=forge", "-c", "user.email=forge@example.test"];
        let commit = ["commit-tree", &tree, "-p", &base, "-p", head, "-m", text];
        let commit = self.run(repo, &[&who[..], &commit[..]].concat(), b"").await?;
        self.run(repo, &["update-ref", &format!("refs/heads/{branch}"), &commit, &base], b"").await?;
        Ok(Some(commit))
    }

    /// Makes a commit as `stream` (of `git fast-import`) says.
    pub(super) async fn import(&self, repo: i64, stream: &[u8]) -> Result<(), GitFault> {
        self.run(repo, &["fast-import", "--quiet", "--force"], stream).await.map(drop)
    }

    /// Answers a fetch as it comes; of a push the whole answer, when git has ended.
    pub(super) async fn http(&self, asked: Asked<'_>) -> Result<Response<Body>, GitFault> {
        let is_push = asked.rest == "/git-receive-pack";
        let mut command = self.command(asked.repo);
        command
            .arg("http-backend")
            .env_remove("GIT_DIR")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", format!("/{}.git{}", asked.repo, asked.rest))
            .env("REQUEST_METHOD", asked.method)
            .env("QUERY_STRING", asked.query)
            .env("CONTENT_TYPE", asked.content_type)
            .env("REMOTE_USER", asked.user)
            .env("GIT_COMMITTER_NAME", asked.user)
            .env("GIT_COMMITTER_EMAIL", format!("{}@example.test", asked.user))
            .envs(asked.encoding.map(|encoding| ("HTTP_CONTENT_ENCODING", encoding)))
            .envs(asked.protocol.map(|protocol| ("GIT_PROTOCOL", protocol)))
            .stderr(Stdio::null());
        let broken = |error: io::Error| fault("http-backend", error);
        let mut child = command.spawn().map_err(broken)?;
        let (Some(mut into), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(fault("http-backend", "has no pipes"));
        };
        let body = asked.body.into_data_stream().map_err(io::Error::other);
        tokio::spawn(async move {
            let mut body = std::pin::pin!(StreamReader::new(body));
            let _ = tokio::io::copy(&mut body, &mut into).await;
        });
        let mut out = BufReader::new(out);
        let mut response = Response::builder();
        let mut line = String::new();
        loop {
            line.clear();
            if out.read_line(&mut line).await.map_err(broken)? == 0 {
                return Err(fault("http-backend", "ended without an answer"));
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("status") {
                let code = value.split(' ').next().and_then(|code| code.parse().ok());
                response = response.status(code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_default());
            } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                response = response.header(name, value);
            }
        }
        let body = if is_push {
            let mut whole = Vec::new();
            out.read_to_end(&mut whole).await.map_err(broken)?;
            child.wait().await.map_err(broken)?;
            Body::from(whole)
        } else {
            // The child lives as long as somebody reads from it.
            Body::from_stream(ReaderStream::new(out).inspect(move |_| {
                let _alive = &child;
            }))
        };
        response.body(body).map_err(|error| fault("http-backend", error))
    }
}

/// A commit to be made by the forge itself, so that tests and the demo need no working tree.
#[derive(Debug, Default)]
pub(super) struct Commit {
    pub(super) branch: String,
    pub(super) parent: Option<String>,
    pub(super) message: String,
    pub(super) author: String,
    /// Seconds since 1970.
    pub(super) at: i64,
    /// What was there before is gone.
    pub(super) afresh: bool,
    pub(super) changes: BTreeMap<String, Change>,
    pub(super) tags: Vec<String>,
    pub(super) lightweight_tags: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Change {
    Remove,
    Write { mode: &'static str, content: Vec<u8> },
}

impl Commit {
    /// In the language of `git fast-import`.
    pub(super) fn stream(&self) -> Vec<u8> {
        let data = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(format!("data {}\n", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
            out.push(b'\n');
        };
        let who = format!("{0} <{0}@example.test> {1} +0000", self.author, self.at);
        let mut out = format!("commit refs/heads/{}\nmark :1\ncommitter {who}\n", self.branch).into_bytes();
        data(&mut out, self.message.as_bytes());
        if let Some(parent) = &self.parent {
            out.extend_from_slice(format!("from {parent}\n").as_bytes());
        }
        if self.afresh {
            out.extend_from_slice(b"deleteall\n");
        }
        for (path, change) in &self.changes {
            let path = quoted(path);
            match change {
                Change::Remove => out.extend_from_slice(format!("D {path}\n").as_bytes()),
                Change::Write { mode, content } => {
                    out.extend_from_slice(format!("M {mode} inline {path}\n").as_bytes());
                    data(&mut out, content);
                }
            }
        }
        let mut rest = String::new();
        for tag in &self.lightweight_tags {
            let _ = write!(rest, "reset refs/tags/{tag}\nfrom :1\n\n");
        }
        for tag in &self.tags {
            let _ = write!(rest, "tag {tag}\nfrom :1\ntagger {who}\ndata {}\n{tag}\n", tag.len());
        }
        out.extend_from_slice(rest.as_bytes());
        out
    }

    /// Everything in a directory, as git would take it: symbolic links as links, modes kept, `.git` left out.
    pub(super) fn take_directory(&mut self, root: &Path) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::PermissionsExt;
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let path = entry?.path();
                let about = std::fs::symlink_metadata(&path)?;
                let change = if about.is_dir() {
                    if path.file_name().is_none_or(|name| name != ".git") {
                        open.push(path);
                    }
                    continue;
                } else if about.is_symlink() {
                    let target = std::fs::read_link(&path)?;
                    Change::Write { mode: "120000", content: target.as_os_str().as_bytes().to_vec() }
                } else {
                    let mode = if about.permissions().mode() & 0o111 == 0 { "100644" } else { "100755" };
                    Change::Write { mode, content: std::fs::read(&path)? }
                };
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                self.changes.insert(name, change);
            }
        }
        Ok(())
    }
}

fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
