//! A pull request, and what people and the bot say on it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::fixture::Fixture;
use super::house::{BOT, House};
use super::patience::{eventually, patience};
use super::{MEMBER, ORGANISATION, Text};

static PUSHES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);

pub(crate) struct PullRequest<'a> {
    house: &'a House,
    repository: String,
    number: i64,
    head: std::sync::Mutex<String>,
    fork: Option<String>,
}

impl<'a> PullRequest<'a> {
    pub(super) async fn open(house: &'a House, recipe: &Fixture, fork: Option<&str>) -> PullRequest<'a> {
        let repository = recipe.repository().to_owned();
        let laid = house.path(&format!("laid-{repository}"));
        recipe.lay(&laid);
        let clone = house.path(&format!("clone-{repository}"));
        let made = cc_ci::dev::recipe::make(&laid, &clone).await.unwrap();
        house.forge.ask("POST", "repos", &json!({"owner": ORGANISATION, "name": repository})).await;
        let pull = PullRequest {
            house,
            repository,
            number: 0,
            head: std::sync::Mutex::new(made.head),
            fork: fork.map(str::to_owned),
        };
        let published: &[&str] = if recipe.untagged { &["main"] } else { &["main", "--tags"] };
        pull.push(&clone, &format!("{ORGANISATION}/{}", pull.repository), published);
        let head_repository = match fork {
            None => format!("{ORGANISATION}/{}", pull.repository),
            Some(owner) => {
                house
                    .forge
                    .ask("POST", &format!("repos/{ORGANISATION}/{}/forks", pull.repository), &json!({"owner": owner}))
                    .await;
                format!("{owner}/{}", pull.repository)
            }
        };
        pull.push(&clone, &head_repository, &["change"]);
        let opened = json!({"title": "A change", "author": MEMBER, "head": "change", "base": "main"});
        let opened = match fork {
            None => opened,
            Some(owner) => {
                json!({"title": "A change", "author": MEMBER, "head": format!("{owner}:change"), "base": "main"})
            }
        };
        let answer = house.forge.ask("POST", &format!("repos/{ORGANISATION}/{}/pulls", pull.repository), &opened).await;
        if recipe.lightweight_tags > 0 {
            house.forge_has_tags(recipe.lightweight_tags, &made.main);
        }
        PullRequest { number: answer["number"].as_i64().unwrap(), ..pull }
    }

    fn push(&self, clone: &Path, to: &str, what: &[&str]) {
        let url = format!("{}/{to}.git", self.house.forge.url);
        let output = Command::new("git")
            .args(["-c", "http.extraHeader=Authorization: token a11ce", "push", "--quiet", "--force", &url])
            .args(what)
            .current_dir(clone)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "git push {to}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn at(&self) -> String {
        format!("repos/{ORGANISATION}/{}", self.repository)
    }

    /// Its head, checked out.
    pub(crate) fn checkout(&self) -> std::path::PathBuf {
        self.house.path(&format!("clone-{}", self.repository))
    }

    pub(crate) fn short_head(&self) -> String {
        self.head.lock().unwrap()[..8].to_owned()
    }

    /// Its repository tells cc-ci of comments from now on.
    pub(crate) async fn tells_by_webhook(&self) {
        let hook = json!({"url": self.house.hook_address(), "secret": House::hook_secret()});
        self.house.forge.ask("POST", &format!("{}/hooks", self.at()), &hook).await;
    }

    /// Somebody writes a comment; its number.
    pub(crate) async fn says(&self, who: &str, words: &str) -> i64 {
        let path = format!("{}/issues/{}/comments", self.at(), self.number);
        let comment = self.house.forge.ask("POST", &path, &json!({"author": who, "body": words})).await;
        comment["id"].as_i64().unwrap()
    }

    pub(crate) async fn edits(&self, _who: &str, comment: i64, words: &str) {
        self.house.forge.ask("PATCH", &format!("comments/{comment}"), &json!({"body": words})).await;
    }

    /// Another commit on the pull request's branch.
    pub(crate) async fn pushes(&self, file: &str, content: &str) {
        let clone = self.house.path(&format!("clone-{}", self.repository));
        std::fs::create_dir_all(clone.join(file).parent().unwrap()).unwrap();
        std::fs::write(clone.join(file), content).unwrap();
        for arguments in [
            &["add", "--all"][..],
            &["-c", "user.name=M", "-c", "user.email=m@example.org", "commit", "--quiet", "-m", "more"],
        ] {
            assert!(Command::new("git").args(arguments).current_dir(&clone).status().unwrap().success());
        }
        let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(&clone).output().unwrap();
        *self.head.lock().unwrap() = String::from_utf8(head.stdout).unwrap().trim().to_owned();
        self.push(&clone, &format!("{ORGANISATION}/{}", self.repository), &["change"]);
    }

    pub(crate) async fn closes(&self) {
        self.house
            .forge
            .ask("PATCH", &format!("{}/pulls/{}", self.at(), self.number), &json!({"state": "closed"}))
            .await;
    }

    pub(crate) async fn fork_disappears(&self) {
        let owner = self.fork.as_deref().expect("a pull request from a fork");
        self.house.forge.ask("DELETE", &format!("repos/{owner}/{}", self.repository), &json!({})).await;
    }

    /// Waits for a comment of the bot with these words.
    pub(crate) async fn hears(&self, words: &str) -> Text {
        let words = reqwest::Url::parse_with_params("http://x/", [("contains", words)]).unwrap();
        let path = format!(
            "wait?for=comment&repo={ORGANISATION}/{}&pr={}&by={BOT}&timeout_ms={}&{}",
            self.repository,
            self.number,
            patience().as_millis(),
            words.query().unwrap()
        );
        match self.house.forge.try_ask("GET", &path, &json!({})).await {
            Ok(comment) => Text(comment["body"].as_str().unwrap().to_owned()),
            Err((status, said)) => {
                panic!("{} never heard {}: {status} {said}", self.repository, words.query().unwrap())
            }
        }
    }

    pub(crate) async fn status_is(&self, state: &str) {
        let head = self.head.lock().unwrap().clone();
        let path = format!(
            "wait?for=status&repo={ORGANISATION}/{}&sha={head}&state={state}&timeout_ms={}",
            self.repository,
            patience().as_millis()
        );
        self.house.forge.ask("GET", &path, &json!({})).await;
    }

    pub(crate) async fn has_eyes_on(&self, comment: i64) {
        let path =
            format!("wait?for=reaction&comment={comment}&content=eyes&by={BOT}&timeout_ms={}", patience().as_millis());
        self.house.forge.ask("GET", &path, &json!({})).await;
    }

    /// Another commit, with nothing in it that counts, and its number.
    pub(crate) async fn pushes_again(&self) -> String {
        let count = PUSHES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.pushes("CHANGES", &format!("change {count}\n")).await;
        self.head.lock().unwrap().clone()
    }

    /// Waits until this commit of it has a status.
    pub(crate) async fn status_of(&self, head: &str, state: &str) {
        let path = format!(
            "wait?for=status&repo={ORGANISATION}/{}&sha={head}&state={state}&timeout_ms={}",
            self.repository,
            patience().as_millis()
        );
        self.house.forge.ask("GET", &path, &json!({})).await;
    }

    pub(crate) async fn comments_of_the_bot(&self) -> Vec<String> {
        let all =
            self.house.forge.ask("GET", &format!("{}/issues/{}/comments", self.at(), self.number), &json!({})).await;
        let of_bot = |comment: &&Value| comment["user"]["login"] == BOT;
        all.as_array()
            .unwrap()
            .iter()
            .filter(of_bot)
            .map(|comment| comment["body"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A verdict is posted before the comment it replaces goes, so that there is never none.
    pub(crate) async fn has_one_comment_of_the_bot(&self) {
        eventually("one comment for the head", || async {
            let all = self.comments_of_the_bot().await;
            if all.len() == 1 { Ok(()) } else { Err(format!("{all:#?}")) }
        })
        .await;
    }
}
