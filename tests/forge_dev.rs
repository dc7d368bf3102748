//! The dev forge itself: git as people use it, webhooks, waiting, and what a restart finds.

#![expect(clippy::disallowed_methods, reason = "git is started as people start it")]

#[path = "support/forge.rs"]
mod forge;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use cc_ci::clock::Clock;
use cc_ci::dev::setup;
use cc_ci::forge::Forge;
use cc_ci::forge::dev;
use cc_ci::forge::gitea::Gitea;
use cc_ci::model::Pr;
use cc_ci::secrets;
use forge::*;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// Git with a token in its environment, or none; blocking, so off the runtime.
async fn git(dir: &Path, token: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.current_dir(dir).args(arguments).env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@example.test");
    }
    if let Some(token) = token {
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "http.extraHeader");
        command.env("GIT_CONFIG_VALUE_0", format!("Authorization: token {token}"));
    }
    tokio::task::spawn_blocking(move || command.output().expect("git is there")).await.unwrap()
}

async fn ok(dir: &Path, token: Option<&str>, arguments: &[&str]) -> String {
    let output = git(dir, token, arguments).await;
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn git_clones_pushes_and_fetches_pull_requests() {
    let place = Place::open().await;
    let work = tempfile::tempdir().unwrap();
    let (work, token, url) = (work.path(), place.token.expose(), format!("{}/{REPO}.git", place.url));

    ok(work, None, &["clone", "-q", &url, "clone"]).await;
    let clone = work.join("clone");
    assert_eq!(ok(&clone, None, &["tag"]).await, "1.0.0+1.0");
    ok(&clone, None, &["fetch", "-q", "origin", "refs/pull/1/head"]).await;
    assert_eq!(ok(&clone, None, &["rev-parse", "FETCH_HEAD"]).await, place.head.as_str());

    ok(&clone, None, &["checkout", "-q", "change"]).await;
    ok(&clone, None, &["commit", "-q", "--allow-empty", "-m", "by git"]).await;
    assert!(!git(&clone, None, &["push", "-q", "origin", "change"]).await.status.success());
    ok(&clone, Some(token), &["push", "-q", "origin", "change"]).await;
    let new = ok(&clone, None, &["rev-parse", "HEAD"]).await;
    assert_eq!(place.gitea.pull_request(&repo(), Pr(1)).await.unwrap().head.as_str(), new);
    assert_eq!(place.gitea.pushes(&repo(), Pr(1)).await.unwrap().last().unwrap().commits, [new.as_str()]);
    let refs = ok(&clone, None, &["ls-remote", "origin", "refs/pull/1/head"]).await;
    assert!(refs.starts_with(&new), "{refs}");

    // Only the forge moves pull requests' refs.
    assert!(
        !git(&clone, Some(token), &["push", "-q", "-f", "origin", "HEAD~1:refs/pull/1/head"]).await.status.success()
    );

    // A force push leaves a commit that is no tip; it can be fetched all the same.
    ok(&clone, None, &["reset", "-q", "--hard", "HEAD~1"]).await;
    ok(&clone, None, &["commit", "-q", "--allow-empty", "-m", "another"]).await;
    ok(&clone, Some(token), &["push", "-q", "-f", "origin", "change"]).await;
    ok(work, None, &["init", "-q", "bare"]).await;
    ok(&work.join("bare"), None, &["fetch", "-q", "--depth=1", &url, &new]).await;

    // A wrong token fails although everybody may read.
    assert!(!git(&clone, Some("wrong"), &["ls-remote", "origin"]).await.status.success());
    let basic = url.replace("http://", &format!("http://{token}:x-oauth-basic@"));
    ok(&clone, None, &["ls-remote", &basic]).await;
    // Nor may somebody push who is no member.
    let stranger = place.remote.user(STRANGER, &[]).await.unwrap();
    assert!(!git(&clone, Some(&stranger), &["push", "-q", "origin", "HEAD:refs/heads/x"]).await.status.success());
    // The old name leads to the new one.
    place.remote.change_repo(REPO, &json!({"name": "renamed"})).await.unwrap();
    ok(&clone, None, &["fetch", "-q", "origin"]).await;
}

#[tokio::test]
async fn a_push_to_a_fork_moves_its_pull_request() {
    let place = Place::open().await;
    let (pr, _) = place.pull_request_of_a_fork().await;
    let commit = json!({"branch": "theirs", "from": "main", "message": "again", "files": {"run.sh": {"program": "#!/bin/sh\n"},
        "link": {"link": "../../etc/passwd"}, "README.md": null}});
    let head = place.remote.commit("mallory/custom-html", &commit).await.unwrap();
    assert_eq!(place.gitea.pull_request(&repo(), Pr(pr)).await.unwrap().head.as_str(), head);
    assert_eq!(place.gitea.pushes(&repo(), Pr(pr)).await.unwrap().len(), 2);

    let work = tempfile::tempdir().unwrap();
    let url = format!("{}/{REPO}", place.url);
    ok(work.path(), None, &["init", "-q"]).await;
    ok(work.path(), None, &["fetch", "-q", &url, &format!("refs/pull/{pr}/head")]).await;
    let files = ok(work.path(), None, &["ls-tree", "FETCH_HEAD"]).await;
    assert!(files.contains("100755 blob") && files.contains("120000 blob") && !files.contains("README"), "{files}");
}

#[tokio::test]
async fn a_directory_becomes_a_commit() {
    let place = Place::open().await;
    let tree = format!("{}/tests/recipes/custom-html/1", env!("CARGO_MANIFEST_DIR"));
    let tags: Vec<String> = (0..200).map(|number| format!("0.0.{number}+1")).collect();
    let commit =
        json!({"branch": "recipe", "from": "", "tree": tree, "at": "2026-01-02T03:04:05Z", "lightweight_tags": tags});
    let sha = place.remote.commit(REPO, &commit).await.unwrap();
    let again = json!({"branch": "same", "from": "", "tree": tree, "at": "2026-01-02T03:04:05Z"});
    assert_eq!(place.remote.commit(REPO, &again).await.unwrap(), sha);

    let work = tempfile::tempdir().unwrap();
    let url = format!("{}/{REPO}", place.url);
    ok(work.path(), None, &["clone", "-q", "-b", "recipe", &url, "."]).await;
    assert!(work.path().join(".env.sample").exists() && !work.path().join("1").exists());
    assert_eq!(ok(work.path(), None, &["tag"]).await.lines().count(), 201);
}

#[tokio::test]
async fn what_it_knew_is_there_after_a_restart() {
    let place = Place::open().await;
    let id = place.remote.comment(REPO, 1, MEMBER, "remember me").await.unwrap();
    let Place { running, token, dir, head, .. } = place;
    running.stop().await;

    let running = Running::in_dir(dir.path()).await;
    let comments = running.remote.comments(REPO, 1).await.unwrap();
    assert_eq!((comments[0]["id"].as_i64(), comments[0]["body"].as_str()), (Some(id), Some("remember me")));
    let gitea = cc_ci::forge::gitea::Gitea::new(&running.url, token, cc_ci::clock::Clock::system()).unwrap();
    assert_eq!(gitea.pull_request(&repo(), Pr(1)).await.unwrap().head, head);
    assert!(running.remote.comment(REPO, 1, MEMBER, "and me").await.unwrap() > id);
    running.stop().await;
}

#[tokio::test]
async fn a_wait_ends_when_it_is_so_or_says_what_is_there_instead() {
    let place = Place::open().await;
    let remote = place.remote.clone();
    let wanted = [("for", "comment"), ("repo", REPO), ("pr", "1"), ("by", BOT), ("contains", "Passed")];
    let waiting = tokio::spawn(async move { remote.wait(&wanted, PATIENCE).await });
    let id = place.gitea.post_comment(&repo(), Pr(1), "**Waiting**").await.unwrap();
    place.gitea.edit_comment(&repo(), id, "**Passed**").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap()["id"], id.0);

    let never = [("for", "comment"), ("repo", REPO), ("pr", "1"), ("contains", "Failed")];
    let fault = place.remote.wait(&never, Duration::from_millis(20)).await.unwrap_err().to_string();
    assert!(fault.contains("408") && fault.contains("**Passed**"), "{fault}");
    let gone = [("for", "comment"), ("repo", REPO), ("pr", "1"), ("contains", "Waiting"), ("gone", "")];
    place.remote.wait(&gone, PATIENCE).await.unwrap();
    let asked = [("for", "request"), ("path", "/issues/comments/"), ("method", "PATCH"), ("count", "1")];
    assert_eq!(place.remote.wait(&asked, PATIENCE).await.unwrap()[0]["status"], 200);
}

#[tokio::test]
async fn a_webhook_is_signed_and_sent_once() {
    let place = Place::open().await;
    let (send, mut arrived) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = move |headers: HeaderMap, body: Bytes| {
        send.send((headers, body)).unwrap();
        async { "thanks" }
    };
    let server = tokio::spawn(axum::serve(listener, axum::Router::new().fallback(take)).into_future());
    let hook = json!({"url": url, "secret": "hush"});
    place.remote.call(reqwest::Method::POST, "repos/recipes/custom-html/hooks", &hook).await.unwrap();

    let id = place.remote.comment(REPO, 1, MEMBER, "!testme").await.unwrap();
    let (headers, body) = tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hush").unwrap();
    mac.update(&body);
    let signature = hex::encode(mac.finalize().into_bytes());
    assert_eq!(headers["x-gitea-signature"], signature.as_str());
    assert_eq!(headers["x-hub-signature-256"], format!("sha256={signature}").as_str());
    assert_eq!(
        (&headers["x-gitea-event"], &headers["x-gitea-event-type"]),
        (&"issue_comment".parse().unwrap(), &"pull_request_comment".parse().unwrap())
    );
    let payload: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&payload["action"], &payload["comment"]["id"]), (&json!("created"), &json!(id)));
    assert_eq!(payload["repository"]["full_name"], REPO);

    place.remote.edit_comment(id, "edited").await.unwrap();
    let (_, body) = tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["action"], "edited");
    assert!(arrived.try_recv().is_err());
    server.abort();
}

#[tokio::test]
async fn a_person_reads_and_writes_on_the_page() {
    let place = Place::open().await;
    place.remote.comment(REPO, 1, MEMBER, "**bold** <script>alert(1)</script>").await.unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let page = format!("{}/{REPO}/pulls/1", place.url);
    let html = client.get(&page).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("<strong>bold</strong>") && html.contains("A change") && !html.contains("<script"), "{html}");

    // The form, as a browser sends it; the answer leads back to the page.
    let form = [("as", STRANGER), ("body", "Nice & short.\r\nSecond line")];
    let answer = client.post(&page).form_of(&form).send().await.unwrap();
    assert!(answer.url().as_str().contains("follow"), "{}", answer.url());
    let html = answer.text().await.unwrap();
    assert!(html.contains("Nice &amp; short.") && html.contains("http-equiv=\"refresh\""), "{html}");
    let comments = place.remote.comments(REPO, 1).await.unwrap();
    assert_eq!(comments[1]["user"]["login"], STRANGER);
    assert_eq!(comments[1]["body"], "Nice & short.\nSecond line");
    for path in ["", "/recipes/custom-html", "/_dev/style.css"] {
        let answer = client.get(format!("{}{path}", place.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

trait FormOf {
    fn form_of(self, fields: &[(&str, &str)]) -> Self;
}

impl FormOf for reqwest::RequestBuilder {
    fn form_of(self, fields: &[(&str, &str)]) -> Self {
        let mut url = reqwest::Url::parse("http://x/").unwrap();
        url.query_pairs_mut().extend_pairs(fields);
        let body = url.query().unwrap_or_default().to_owned();
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }
}

#[tokio::test]
async fn the_small_world_of_a_fresh_directory_has_its_people_at_once_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = setup::prepare(dir.path()).unwrap();
    let listener = TcpListener::bind(config.forge.url.strip_prefix("http://").unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(dev::serve(listener, dir.path().join("forge"), stop.clone()));
    for _ in 0..2 {
        setup::people(&config).await.unwrap();
        let token = secrets::read_file(&config.forge.token_file).unwrap();
        let gitea = Gitea::new(&config.forge.url, token, Clock::system()).unwrap();
        assert!(gitea.is_member(&login("recipes"), &login(MEMBER)).await.unwrap());
        assert!(!gitea.is_member(&login("recipes"), &login(STRANGER)).await.unwrap());
    }
    stop.cancel();
    served.await.unwrap().unwrap();
}
