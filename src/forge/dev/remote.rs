//! Drives a dev forge from outside, for tests and the demo: sets it up, sets it wrong, and waits for what others do to it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

/// A dev forge at an address.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    client: reqwest::Client,
}

/// The forge said no, or nothing; what was waited for did not come.
#[derive(Debug, thiserror::Error)]
#[error("{asked}: {said}")]
pub struct RemoteFault {
    asked: String,
    said: String,
}

type Result<T> = std::result::Result<T, RemoteFault>;

impl Remote {
    /// `http://127.0.0.1:PORT`
    pub fn new(url: &str) -> Result<Remote> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Longer than anybody waits; `wait` has its own end.
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(900));
        let client = client.build().map_err(|error| RemoteFault { asked: url.into(), said: error.to_string() })?;
        Ok(Remote { url: url.trim_end_matches('/').into(), client })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A call of `/_dev`, see `docs/dev-forge.md`.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let request = self.client.request(method.clone(), format!("{}/_dev/{path}", self.url)).json(body);
        self.send(format!("{method} /_dev/{path}"), request).await
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let request = self.client.get(format!("{}/_dev/{path}", self.url)).query(query);
        self.send(format!("GET /_dev/{path} {query:?}"), request).await
    }

    async fn send(&self, asked: String, request: reqwest::RequestBuilder) -> Result<Value> {
        let broken = |error: reqwest::Error| RemoteFault { asked: asked.clone(), said: format!("{error:?}") };
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        let text = response.text().await.map_err(broken)?;
        if !status.is_success() {
            return Err(RemoteFault { asked, said: format!("{status}: {text}") });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A user with a token of these scopes, which is returned; none is all.
    pub async fn user(&self, login: &str, scopes: &[&str]) -> Result<String> {
        let scopes = if scopes.is_empty() { &["all"] } else { scopes };
        let made = self.call(Method::POST, "users", &json!({"login": login, "scopes": scopes})).await?;
        Ok(made["token"].as_str().unwrap_or_default().to_owned())
    }

    pub async fn revoke(&self, token: &str) -> Result<()> {
        self.call(Method::DELETE, "tokens", &json!({"token": token})).await.map(drop)
    }

    /// An organisation whose members may write to its repositories.
    pub async fn org(&self, name: &str, members: &[&str]) -> Result<()> {
        self.call(Method::POST, "orgs", &json!({"name": name, "members": members})).await.map(drop)
    }

    /// An empty repository, `owner/name`.
    pub async fn repo(&self, repo: &str) -> Result<()> {
        let (owner, name) = repo.split_once('/').unwrap_or((repo, ""));
        self.call(Method::POST, "repos", &json!({"owner": owner, "name": name})).await.map(drop)
    }

    pub async fn change_repo(&self, repo: &str, change: &Value) -> Result<()> {
        self.call(Method::PATCH, &format!("repos/{repo}"), change).await.map(drop)
    }

    /// A commit made by the forge: `{"branch", "from", "message", "tree", "files", "tags", …}`. Returns its number.
    pub async fn commit(&self, repo: &str, commit: &Value) -> Result<String> {
        let made = self.call(Method::POST, &format!("repos/{repo}/commits"), commit).await?;
        Ok(made["sha"].as_str().unwrap_or_default().to_owned())
    }

    /// `head` is a branch, or `owner:branch` of a fork.
    pub async fn pull_request(&self, repo: &str, author: &str, title: &str, head: &str) -> Result<i64> {
        let pull = json!({"title": title, "author": author, "head": head});
        let made = self.call(Method::POST, &format!("repos/{repo}/pulls"), &pull).await?;
        Ok(made["number"].as_i64().unwrap_or_default())
    }

    /// The pull request as the API shows it.
    pub async fn pull(&self, repo: &str, pr: i64) -> Result<Value> {
        self.get(&format!("repos/{repo}/pulls/{pr}"), &[]).await
    }

    /// `{"state": "closed"}`, `{"locked": true}`, …
    pub async fn change_pull(&self, repo: &str, pr: i64, change: &Value) -> Result<()> {
        self.call(Method::PATCH, &format!("repos/{repo}/pulls/{pr}"), change).await.map(drop)
    }

    /// Returns the comment's number.
    pub async fn comment(&self, repo: &str, pr: i64, author: &str, body: &str) -> Result<i64> {
        let path = format!("repos/{repo}/issues/{pr}/comments");
        let made = self.call(Method::POST, &path, &json!({"author": author, "body": body})).await?;
        Ok(made["id"].as_i64().unwrap_or_default())
    }

    pub async fn comments(&self, repo: &str, pr: i64) -> Result<Vec<Value>> {
        let found = self.get(&format!("repos/{repo}/issues/{pr}/comments"), &[]).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }

    pub async fn edit_comment(&self, id: i64, body: &str) -> Result<()> {
        self.call(Method::PATCH, &format!("comments/{id}"), &json!({"body": body})).await.map(drop)
    }

    pub async fn delete_comment(&self, id: i64) -> Result<()> {
        self.call(Method::DELETE, &format!("comments/{id}"), &Value::Null).await.map(drop)
    }

    /// Changes the switches that are named.
    pub async fn switch(&self, switches: &Value) -> Result<()> {
        self.call(Method::PATCH, "switches", switches).await.map(drop)
    }

    /// `{"method", "path", "skip", "times", "do"}`
    pub async fn fault(&self, fault: &Value) -> Result<()> {
        self.call(Method::POST, "faults", fault).await.map(drop)
    }

    /// No faults any more; switches stay as they are.
    pub async fn mend(&self) -> Result<()> {
        self.call(Method::DELETE, "faults", &Value::Null).await.map(drop)
    }

    /// Requests after number `since`, of that method and with that in their path; empty is any.
    pub async fn log(&self, since: u64, method: &str, path: &str) -> Result<Vec<Value>> {
        let query = [("since", since.to_string()), ("method", method.into()), ("path", path.into())];
        let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let found = self.get("log", &query).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }

    /// Until something is so, and no longer than `limit`: `&[("for", "comment"), ("repo", "o/r"), ("pr", "1"), ("contains",
    /// "Passed")]`. Returns what was waited for; the fault says what is there instead.
    pub async fn wait(&self, condition: &[(&str, &str)], limit: Duration) -> Result<Value> {
        let ms = limit.as_millis().to_string();
        self.get("wait", &[condition, &[("timeout_ms", ms.as_str())]].concat()).await
    }
}
