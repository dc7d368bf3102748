//! A dev forge in this process: an organisation with a member and the bot in it, a stranger, a repository, a pull request.

#![allow(dead_code, reason = "every suite uses its part")]

use cc_ci::clock::{Clock, Time};
use cc_ci::forge::Forge;
use cc_ci::forge::dev::{self, Remote};
use cc_ci::forge::gitea::Gitea;
use cc_ci::model::{Head, Login, Repo};
use cc_ci::secrets::Secret;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const ORG: &str = "recipes";
pub(crate) const REPO: &str = "recipes/custom-html";
pub(crate) const BOT: &str = "ci";
pub(crate) const MEMBER: &str = "alice";
pub(crate) const STRANGER: &str = "mallory";

pub(crate) fn repo() -> Repo {
    REPO.parse().unwrap()
}

pub(crate) fn login(text: &str) -> Login {
    text.parse().unwrap()
}

/// A forge that ends with the test.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) remote: Remote,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub(crate) async fn in_dir(dir: &std::path::Path) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(dev::serve(listener, dir.to_owned(), shutdown.clone()));
        let remote = Remote::new(&url).unwrap();
        Running { url, remote, shutdown, served }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
    }
}

/// A forge with people and a pull request in it.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) remote: Remote,
    pub(crate) token: Secret,
    pub(crate) gitea: Gitea,
    /// Of pull request 1, on the branch `change`.
    pub(crate) head: Head,
    pub(crate) running: Running,
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn open() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::in_dir(dir.path()).await;
        let remote = running.remote.clone();
        let scopes = ["write:issue", "write:repository", "read:organization", "read:user"];
        let token = Secret::new(remote.user(BOT, &scopes).await.unwrap());
        remote.user(MEMBER, &[]).await.unwrap();
        remote.user(STRANGER, &[]).await.unwrap();
        remote.org(ORG, &[BOT, MEMBER]).await.unwrap();
        remote.repo(REPO).await.unwrap();
        let first = json!({"message": "first", "files": {"README.md": "one\n"}, "tags": ["1.0.0+1.0"]});
        remote.commit(REPO, &first).await.unwrap();
        let change = json!({"branch": "change", "message": "change", "files": {"README.md": "two\n"}});
        let head = remote.commit(REPO, &change).await.unwrap().parse().unwrap();
        assert_eq!(remote.pull_request(REPO, MEMBER, "A change", "change").await.unwrap(), 1);
        let url = running.url.clone();
        let gitea = Gitea::new(&url, token.clone(), Clock::system()).unwrap();
        Place { url, remote, token, gitea, head, running, dir }
    }

    /// Another client, which has asked nothing yet.
    pub(crate) fn client(&self) -> Gitea {
        self.client_with(self.token.expose())
    }

    pub(crate) fn client_with(&self, token: &str) -> Gitea {
        Gitea::new(&self.url, Secret::new(token), Clock::system()).unwrap()
    }

    /// Comments of the member on the pull request, oldest first.
    pub(crate) async fn comments(&self, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        for number in 0..count {
            ids.push(self.remote.comment(REPO, 1, MEMBER, &format!("comment {number}")).await.unwrap());
        }
        ids
    }

    /// A commit on the pull request's branch.
    pub(crate) async fn pushes(&self, text: &str) -> String {
        let commit = json!({"branch": "change", "message": text, "files": {"README.md": text}});
        self.remote.commit(REPO, &commit).await.unwrap()
    }

    /// Opened by the stranger.
    pub(crate) async fn pull_request_of_a_fork(&self) -> (i64, Head) {
        let fork = json!({"owner": STRANGER});
        self.remote.call(reqwest::Method::POST, "repos/recipes/custom-html/forks", &fork).await.unwrap();
        let commit = json!({"branch": "theirs", "files": {"README.md": "theirs\n"}});
        let head = self.remote.commit("mallory/custom-html", &commit).await.unwrap().parse().unwrap();
        (self.remote.pull_request(REPO, STRANGER, "From a fork", "mallory:theirs").await.unwrap(), head)
    }

    pub(crate) async fn bot_may_only_read(&self) {
        let member = json!({"login": BOT, "access": "read"});
        self.remote.call(reqwest::Method::POST, "orgs/recipes/members", &member).await.unwrap();
    }

    pub(crate) async fn server_time(&self) -> Time {
        self.gitea.version().await.unwrap();
        self.gitea.server_time().unwrap()
    }

    /// Requests so far with that in their path.
    pub(crate) async fn requests(&self, path: &str) -> usize {
        self.remote.log(0, "", path).await.unwrap().len()
    }

    /// No request had the token where a log would keep it.
    pub(crate) async fn said_no_secret(&self) {
        let log = self.remote.log(0, "", "").await.unwrap();
        assert!(!log.is_empty());
        let token = self.token.expose();
        assert!(log.iter().all(|entry| !entry.to_string().contains(token)), "{log:?}");
    }
}
