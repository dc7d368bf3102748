//! The forge a story happens on: the embedded one in this process, or a real Gitea. What people and the bot do there is the
//! same API on both; how people, organisations and repositories come to be is not.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::patience::{eventually, patience};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Gitea,
}

thread_local! {
    // A story is told by one thread, and begins with a house that is built on it.
    static OF_THIS_STORY: Cell<Kind> = const { Cell::new(Kind::Embedded) };
}

/// Tells a story once more, with a real Gitea in it.
pub(crate) fn on_real_gitea(story: fn()) {
    OF_THIS_STORY.set(Kind::Gitea);
    story();
}

impl Kind {
    pub(crate) fn of_this_story() -> Kind {
        OF_THIS_STORY.get()
    }

    /// Why there is none.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let is_there = self == Kind::Embedded || std::env::var_os("CC_CI_GITEA").is_some_and(|path| !path.is_empty());
        (!is_there).then_some("no Gitea: scripts/test --long builds it, with Go")
    }
}

pub(crate) struct Forge {
    pub(crate) url: String,
    pub(super) client: reqwest::Client,
    tokens: Mutex<BTreeMap<String, String>>,
    under: Under,
}

enum Under {
    Embedded { stop: CancellationToken },
    Gitea { dir: PathBuf, port: u16 },
}

/// Of people on a Gitea that only this process knows.
const PASSWORD: &str = "Passw0rd-for-tests";
const OPERATOR: &str = "operator";
const SCOPES: [&str; 4] = ["write:issue", "write:repository", "read:organization", "write:user"];

impl Forge {
    pub(crate) fn start(kind: Kind, dir: &Path) -> Forge {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(180)).build().unwrap();
        let mut tokens = BTreeMap::new();
        let under = match kind {
            Kind::Embedded => {
                let stop = CancellationToken::new();
                serve(listener, dir.to_owned(), stop.clone());
                Under::Embedded { stop }
            }
            Kind::Gitea => {
                drop(listener);
                let port = address.port();
                tokens.insert(OPERATOR.to_owned(), start_gitea(port, dir));
                Under::Gitea { dir: dir.to_owned(), port }
            }
        };
        Forge { url: format!("http://{address}"), client, tokens: Mutex::new(tokens), under }
    }

    /// A call of the embedded forge's `/_dev`, which has to go well.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = self.client.request(method.parse().unwrap(), format!("{}/_dev/{path}", self.url));
        self.send(if method == "GET" { request } else { request.json(body) }).await.unwrap_or_else(|said| {
            panic!("{method} /_dev/{path} {body}: {said}");
        })
    }

    /// A call of the API by one of the people, which has to go well.
    pub(crate) async fn call(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(who, method, path, body)
            .await
            .unwrap_or_else(|said| panic!("{method} /api/v1/{path} {body} by {who}: {said}"))
    }

    async fn try_call(&self, who: &str, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.client.request(method.parse().unwrap(), format!("{}/api/v1/{path}", self.url));
        let request = request.header("authorization", format!("token {}", self.token(who)));
        self.send(if method == "GET" { request } else { request.json(body) }).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let said = answer.text().await.unwrap_or_default();
        if status.is_success() {
            Ok(serde_json::from_str(&said).unwrap_or(Value::Null))
        } else {
            Err(format!("{status} {said}"))
        }
    }

    fn is_embedded(&self) -> bool {
        matches!(self.under, Under::Embedded { .. })
    }

    /// Of somebody who is there.
    pub(crate) fn token(&self, who: &str) -> String {
        let tokens = self.tokens.lock().unwrap();
        tokens.get(who).unwrap_or_else(|| panic!("{who} is not on the forge")).clone()
    }

    /// Somebody comes to the forge, and gets a token.
    pub(crate) async fn person(&self, login: &str) {
        if !self.is_embedded() {
            let person = json!({
                "username": login, "email": format!("{login}@example.test"), "password": PASSWORD,
                "must_change_password": false,
            });
            self.call(OPERATOR, "POST", "admin/users", &person).await;
        }
        let token = self.new_token(login, &SCOPES).await;
        self.tokens.lock().unwrap().insert(login.to_owned(), token);
    }

    /// One more token.
    pub(crate) async fn new_token(&self, login: &str, scopes: &[&str]) -> String {
        if self.is_embedded() {
            let made = self.ask("POST", "users", &json!({"login": login, "scopes": scopes})).await;
            return made["token"].as_str().unwrap().to_owned();
        }
        let name = format!("token {}", scopes.join(" "));
        let request = self.client.post(format!("{}/api/v1/users/{login}/tokens", self.url));
        let request = request.basic_auth(login, Some(PASSWORD)).json(&json!({"name": name, "scopes": scopes}));
        let made = self.send(request).await.unwrap_or_else(|said| panic!("a token of {login}: {said}"));
        made["sha1"].as_str().unwrap().to_owned()
    }

    /// The token that came with the person is worth nothing any more; another takes its place.
    pub(crate) async fn replaces_the_token_of(&self, login: &str) {
        let old = self.token(login);
        self.revokes(login, &SCOPES, &old).await;
        let new = self.new_token(login, &SCOPES).await;
        self.tokens.lock().unwrap().insert(login.to_owned(), new);
    }

    /// All tokens of somebody that were made with these scopes are worth nothing any more.
    pub(crate) async fn revokes(&self, login: &str, scopes: &[&str], token: &str) {
        if self.is_embedded() {
            self.ask("DELETE", "tokens", &json!({"token": token})).await;
            return;
        }
        let mut url = reqwest::Url::parse(&self.url).unwrap();
        let name = format!("token {}", scopes.join(" "));
        url.path_segments_mut().unwrap().extend(["api", "v1", "users", login, "tokens", &name]);
        self.send(self.client.delete(url).basic_auth(login, Some(PASSWORD))).await.unwrap();
    }

    /// An organisation whose members may write to its repositories.
    pub(crate) async fn organisation(&self, name: &str, members: &[&str]) {
        if self.is_embedded() {
            self.ask("POST", "orgs", &json!({"name": name, "members": members})).await;
            return;
        }
        self.call(OPERATOR, "POST", "orgs", &json!({"username": name})).await;
        let team = json!({
            "name": "maintainers", "permission": "write", "includes_all_repositories": true,
            "units": ["repo.code", "repo.issues", "repo.pulls"],
        });
        let team = self.call(OPERATOR, "POST", &format!("orgs/{name}/teams"), &team).await["id"].clone();
        for member in members {
            self.call(OPERATOR, "PUT", &format!("teams/{team}/members/{member}"), &Value::Null).await;
        }
    }

    /// Only its members see that it is there. The embedded one shows everybody every organisation.
    pub(crate) async fn hides(&self, organisation: &str) {
        if !self.is_embedded() {
            self.call(OPERATOR, "PATCH", &format!("orgs/{organisation}"), &json!({"visibility": "private"})).await;
        }
    }

    pub(crate) async fn leaves(&self, organisation: &str, login: &str) {
        let path = format!("orgs/{organisation}/members/{login}");
        self.admin(&path, "DELETE", &Value::Null).await;
    }

    /// An empty one, `owner/name`.
    pub(crate) async fn repository(&self, repo: &str) {
        let (owner, name) = repo.split_once('/').unwrap();
        if self.is_embedded() {
            self.ask("POST", "repos", &json!({"owner": owner, "name": name})).await;
        } else {
            let path = format!("orgs/{owner}/repos");
            self.call(OPERATOR, "POST", &path, &json!({"name": name, "default_branch": "main"})).await;
        }
    }

    pub(crate) async fn forks(&self, repo: &str, owner: &str) {
        let path = format!("repos/{repo}/forks");
        if self.is_embedded() {
            self.ask("POST", &path, &json!({"owner": owner})).await;
            return;
        }
        // What was pushed just now shows a moment later.
        eventually(&format!("{owner} to fork {repo}"), || self.try_call(owner, "POST", &path, &EMPTY)).await;
    }

    /// A new pull request's number; `head` is a branch, or `owner:branch`.
    pub(crate) async fn opens(&self, repo: &str, author: &str, head: &str) -> i64 {
        let path = format!("repos/{repo}/pulls");
        let made = if self.is_embedded() {
            let pull = json!({"title": "A change", "author": author, "head": head, "base": "main"});
            self.ask("POST", &path, &pull).await
        } else {
            let pull = json!({"title": "A change", "head": head, "base": "main"});
            // A branch that was pushed just now shows a moment later.
            eventually(&format!("{head} to be there"), || self.try_call(author, "POST", &path, &pull)).await
        };
        made["number"].as_i64().unwrap()
    }

    pub(crate) async fn closes(&self, repo: &str, pr: i64) {
        self.admin(&format!("repos/{repo}/pulls/{pr}"), "PATCH", &json!({"state": "closed"})).await;
    }

    pub(crate) async fn locks(&self, repo: &str, pr: i64) {
        if self.is_embedded() {
            self.ask("PATCH", &format!("repos/{repo}/pulls/{pr}"), &json!({"locked": true})).await;
        } else {
            self.call(OPERATOR, "PUT", &format!("repos/{repo}/issues/{pr}/lock"), &EMPTY).await;
        }
    }

    /// `{"name": …}`, `{"archived": true}`.
    pub(crate) async fn changes(&self, repo: &str, change: &Value) {
        self.admin(&format!("repos/{repo}"), "PATCH", change).await;
    }

    pub(crate) async fn removes(&self, repo: &str) {
        self.admin(&format!("repos/{repo}"), "DELETE", &Value::Null).await;
    }

    /// What the operator does alike on both.
    async fn admin(&self, path: &str, method: &str, body: &Value) -> Value {
        if self.is_embedded() {
            let body = if body.is_null() { &EMPTY } else { body };
            self.ask(method, path, body).await
        } else {
            self.call(OPERATOR, method, path, body).await
        }
    }

    pub(crate) async fn hooks(&self, repo: &str, url: &str, secret: &str) {
        let path = format!("repos/{repo}/hooks");
        if self.is_embedded() {
            self.ask("POST", &path, &json!({"url": url, "secret": secret})).await;
            return;
        }
        let hook = json!({
            "type": "gitea", "active": true, "events": ["issue_comment", "pull_request_comment"],
            "config": {"url": url, "content_type": "json", "secret": secret},
        });
        self.call(OPERATOR, "POST", &path, &hook).await;
    }

    /// Somebody writes a comment; its number.
    pub(crate) async fn says(&self, repo: &str, pr: i64, who: &str, words: &str) -> i64 {
        let path = format!("repos/{repo}/issues/{pr}/comments");
        self.call(who, "POST", &path, &json!({"body": words})).await["id"].as_i64().unwrap()
    }

    pub(crate) async fn edits(&self, repo: &str, comment: i64, who: &str, words: &str) {
        let path = format!("repos/{repo}/issues/comments/{comment}");
        self.call(who, "PATCH", &path, &json!({"body": words})).await;
    }

    pub(crate) async fn deletes(&self, repo: &str, comment: i64, who: &str) {
        self.call(who, "DELETE", &format!("repos/{repo}/issues/comments/{comment}"), &Value::Null).await;
    }

    pub(crate) async fn comments(&self, repo: &str, pr: i64) -> Vec<Value> {
        listed(self.call(super::MEMBER, "GET", &format!("repos/{repo}/issues/{pr}/comments"), &Value::Null).await)
    }

    /// The latest of each context.
    pub(crate) async fn statuses(&self, repo: &str, sha: &str) -> Vec<Value> {
        let path = format!("repos/{repo}/commits/{sha}/status");
        listed(self.call(super::MEMBER, "GET", &path, &Value::Null).await["statuses"].take())
    }

    pub(crate) async fn reactions(&self, repo: &str, comment: i64) -> Vec<Value> {
        let path = format!("repos/{repo}/issues/comments/{comment}/reactions");
        listed(self.call(super::MEMBER, "GET", &path, &Value::Null).await)
    }

    /// Waits until it was asked twice more what has changed.
    pub(crate) async fn is_searched_twice(&self) {
        const SEARCH: &str = "/repos/issues/search";
        let Under::Gitea { dir, .. } = &self.under else {
            let log = self.ask("GET", "log", &EMPTY).await;
            let since = log.as_array().and_then(|log| log.last()?["id"].as_i64()).unwrap_or(0);
            let ms = patience().as_millis();
            let path = format!("wait?for=request&path={SEARCH}&count=2&since={since}&timeout_ms={ms}");
            self.ask("GET", &path, &EMPTY).await;
            return;
        };
        let searches = || {
            let log = std::fs::read_to_string(dir.join("log/access.log")).unwrap_or_default();
            log.lines().filter(|line| line.contains(SEARCH)).count()
        };
        let before = searches();
        eventually("cc-ci to look twice at the forge", || async {
            let since = searches() - before;
            if since >= 2 { Ok(()) } else { Err(format!("{since} times")) }
        })
        .await;
    }

    /// The embedded one answers 503; a Gitea is not there at all.
    pub(crate) async fn goes_down(&self) {
        match &self.under {
            Under::Embedded { .. } => {
                self.ask("POST", "faults", &json!({"do": {"answer": {"status": 503}}})).await;
            }
            Under::Gitea { dir, .. } => drop(gitea(&["stop", dir.to_str().unwrap()])),
        }
    }

    pub(crate) async fn is_back(&self) {
        match &self.under {
            Under::Embedded { .. } => drop(self.ask("DELETE", "faults", &EMPTY).await),
            Under::Gitea { dir, port } => drop(start_gitea(*port, dir)),
        }
    }
}

static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));

/// No reactions are `null`.
fn listed(found: Value) -> Vec<Value> {
    found.as_array().cloned().unwrap_or_default()
}

/// A thread of its own, so that nothing a story does holds the forge up.
fn serve(listener: TcpListener, dir: PathBuf, stopped: CancellationToken) {
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            cc_ci::forge::dev::serve(listener, dir, stopped).await.unwrap();
        });
    });
}

/// The operator's token.
fn start_gitea(port: u16, dir: &Path) -> String {
    let said: Value = serde_json::from_str(&gitea(&["start", &port.to_string(), dir.to_str().unwrap()])).unwrap();
    said["token"].as_str().unwrap().to_owned()
}

fn gitea(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/gitea.sh");
    let output = Command::new(script).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "gitea.sh {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

impl Drop for Forge {
    fn drop(&mut self) {
        match &self.under {
            Under::Embedded { stop } => stop.cancel(),
            Under::Gitea { dir, .. } => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/gitea.sh");
                let _ = Command::new(script).arg("stop").arg(dir).status();
            }
        }
    }
}
