//! A pull request, and what people and the bot say on it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::fixture::Fixture;
use super::house::{BOT, House};
use super::patience::eventually;
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
        let ours = format!("{ORGANISATION}/{repository}");
        house.forge.repository(&ours).await;
        let pull = PullRequest {
            house,
            repository,
            number: 0,
            head: std::sync::Mutex::new(made.head),
            fork: fork.map(str::to_owned),
        };
        let published: &[&str] = if recipe.untagged { &["main"] } else { &["main", "--tags"] };
        pull.push(MEMBER, &clone, &ours, published);
        let head = match fork {
            None => {
                pull.push(MEMBER, &clone, &ours, &["change"]);
                "change".to_owned()
            }
            Some(owner) => {
                house.forge.forks(&ours, owner).await;
                pull.push(owner, &clone, &format!("{owner}/{}", pull.repository), &["change"]);
                format!("{owner}:change")
            }
        };
        let number = house.forge.opens(&ours, MEMBER, &head).await;
        if recipe.lightweight_tags > 0 {
            house.forge_has_tags(recipe.lightweight_tags, &made.main);
        }
        PullRequest { number, ..pull }
    }

    fn push(&self, who: &str, clone: &Path, to: &str, what: &[&str]) {
        let output = Command::new("git")
            .args(["push", "--quiet", "--force", &format!("{}/{to}.git", self.house.forge.url)])
            .args(what)
            .current_dir(clone)
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: token {}", self.house.forge.token(who)))
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "git push {to}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Its repository, `owner/name`.
    pub(crate) fn at(&self) -> String {
        format!("{ORGANISATION}/{}", self.repository)
    }

    /// Its head, checked out.
    pub(crate) fn checkout(&self) -> std::path::PathBuf {
        self.house.path(&format!("clone-{}", self.repository))
    }

    pub(crate) fn head(&self) -> String {
        self.head.lock().unwrap().clone()
    }

    pub(crate) fn short_head(&self) -> String {
        self.head.lock().unwrap()[..8].to_owned()
    }

    /// Its repository tells cc-ci of comments from now on.
    pub(crate) async fn tells_by_webhook(&self) {
        self.house.forge.hooks(&self.at(), &self.house.hook_address(), House::hook_secret()).await;
    }

    /// Somebody writes a comment; its number.
    pub(crate) async fn says(&self, who: &str, words: &str) -> i64 {
        self.house.forge.says(&self.at(), self.number, who, words).await
    }

    pub(crate) async fn edits(&self, who: &str, comment: i64, words: &str) {
        self.house.forge.edits(&self.at(), comment, who, words).await;
    }

    /// What the bot has written is gone.
    pub(crate) async fn bot_is_silenced(&self) {
        for comment in self.of_the_bot().await {
            self.house.forge.deletes(&self.at(), comment["id"].as_i64().unwrap(), BOT).await;
        }
    }

    /// Another commit on the pull request's branch.
    pub(crate) async fn pushes(&self, file: &str, content: &str) {
        let clone = self.checkout();
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
        self.push(MEMBER, &clone, &self.at(), &["change"]);
    }

    /// Another commit in the place of its last one.
    pub(crate) async fn forces(&self, file: &str, content: &str) {
        let reset = ["reset", "--quiet", "--hard", "HEAD^"];
        assert!(Command::new("git").args(reset).current_dir(self.checkout()).status().unwrap().success());
        self.pushes(file, content).await;
    }

    pub(crate) async fn closes(&self) {
        self.house.forge.closes(&self.at(), self.number).await;
    }

    pub(crate) async fn is_locked(&self) {
        self.house.forge.locks(&self.at(), self.number).await;
    }

    /// Its repository is.
    pub(crate) async fn is_archived(&self) {
        self.house.forge.changes(&self.at(), &json!({"archived": true})).await;
    }

    /// Its repository is.
    pub(crate) async fn is_private(&self) {
        self.house.forge.changes(&self.at(), &json!({"private": true})).await;
    }

    /// The same in its repository's new name.
    pub(crate) async fn renamed(self, name: &str) -> PullRequest<'a> {
        self.house.forge.changes(&self.at(), &json!({"name": name})).await;
        PullRequest { repository: name.to_owned(), ..self }
    }

    pub(crate) async fn fork_disappears(&self) {
        let owner = self.fork.as_deref().expect("a pull request from a fork");
        self.house.forge.removes(&format!("{owner}/{}", self.repository)).await;
    }

    /// Waits for a comment of the bot with these words.
    pub(crate) async fn hears(&self, words: &str) -> Text {
        eventually(&format!("the bot to write `{words}` on {}", self.at()), || async {
            let all = self.comments_of_the_bot().await;
            all.iter().rev().find(|body| body.contains(words)).cloned().map(Text).ok_or(format!("{all:#?}"))
        })
        .await
    }

    pub(crate) async fn status_is(&self, state: &str) {
        let head = self.head.lock().unwrap().clone();
        self.status_of(&head, state).await;
    }

    pub(crate) async fn has_eyes_on(&self, comment: i64) {
        eventually("the bot's eyes", || async {
            let all = self.house.forge.reactions(&self.at(), comment).await;
            let is_seen = |reaction: &Value| reaction["content"] == "eyes" && reaction["user"]["login"] == BOT;
            if all.iter().any(is_seen) { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    }

    /// Another commit, with nothing in it that counts, and its number.
    pub(crate) async fn pushes_again(&self) -> String {
        let count = PUSHES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.pushes("CHANGES", &format!("change {count}\n")).await;
        self.head.lock().unwrap().clone()
    }

    /// Waits until this commit of it has a status.
    pub(crate) async fn status_of(&self, head: &str, state: &str) {
        eventually(&format!("{} of {head} to be {state}", self.at()), || async {
            let all = self.house.forge.statuses(&self.at(), head).await;
            if all.iter().any(|status| status["status"] == state) { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    }

    /// Waits until this commit of it has a verdict.
    pub(crate) async fn is_not_pending(&self, head: &str) {
        eventually(&format!("{} of {head} to have a verdict", self.at()), || async {
            let all = self.house.forge.statuses(&self.at(), head).await;
            let settled = !all.is_empty() && all.iter().all(|status| status["status"] != "pending");
            if settled { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    }

    async fn of_the_bot(&self) -> Vec<Value> {
        let all = self.house.forge.comments(&self.at(), self.number).await;
        all.into_iter().filter(|comment| comment["user"]["login"] == BOT).collect()
    }

    pub(crate) async fn comments_of_the_bot(&self) -> Vec<String> {
        let all = self.of_the_bot().await;
        all.iter().map(|comment| comment["body"].as_str().unwrap().to_owned()).collect()
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
