//! What the client and the embedded forge take for granted about Gitea, on both of them: each claim is made once and runs on
//! the embedded forge always, on a real Gitea (`real_gitea::NAME`) by `scripts/test --long`.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cc_ci::clock::{Clock, Time};
use cc_ci::forge::gitea::Gitea;
use cc_ci::forge::{Forge as _, ForgeError, Status, StatusState};
use cc_ci::model::{CommentId, Head, Pr, Repo};
use cc_ci::secrets::Secret;
use serde_json::json;
use support::forges::{Forge, Kind, on_real_gitea};
use support::{MEMBER, ORGANISATION, STRANGER};

const LONG_AGO: Time = Time(0);
const BOT: &str = "ci";
const REPO: &str = "recipes/app";
const PR: Pr = Pr(1);

/// Both forges, from one list.
macro_rules! contract {
    ($($claim:ident,)*) => {
        $(
            #[test]
            fn $claim() {
                claims::$claim();
            }
        )*
        mod real_gitea {
            $(
                #[test]
                #[ignore = "part of scripts/test --long"]
                fn $claim() {
                    super::on_real_gitea(super::claims::$claim);
                }
            )*
        }
    };
}

contract! {
    the_ordinary_calls,
    only_a_clear_yes_is_a_member,
    a_renamed_an_archived_and_a_locked_target,
    a_revoked_token_and_a_narrow_one,
    a_comment_that_is_gone,
    pushes_and_comments_stand_in_the_order_they_came,
    one_search_for_the_organisation,
    every_comment_comes_once,
    a_pull_request_outlives_its_fork,
}

/// An organisation with the bot and a member in it, a stranger, a repository, and a pull request from the branch `change`.
struct Place {
    forge: Forge,
    gitea: Gitea,
    head: Head,
    dir: tempfile::TempDir,
}

impl Place {
    async fn open(name: &str) -> Option<Place> {
        let kind = Kind::of_this_story();
        if let Some(reason) = kind.missing() {
            println!("SKIPPED {name}: {reason}");
            return None;
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let forge = Forge::start(kind, &dir.path().join("forge"));
        for login in [BOT, MEMBER, STRANGER] {
            forge.person(login).await;
        }
        forge.organisation(ORGANISATION, &[BOT, MEMBER]).await;
        forge.repository(REPO).await;
        let gitea = client(&forge, &forge.token(BOT));
        let clone = dir.path().join("clone");
        std::fs::create_dir(&clone).unwrap();
        git(&clone, "", &["init", "-q", "-b", "main"]);
        let mut place = Place { forge, gitea, head: "0".repeat(40).parse().unwrap(), dir };
        place.commits("one");
        place.pushes(MEMBER, REPO, &["main"]);
        git(&clone, "", &["checkout", "-q", "-b", "change"]);
        place.head = place.commits("two");
        place.pushes(MEMBER, REPO, &["change"]);
        assert_eq!(place.forge.opens(REPO, MEMBER, "change").await, PR.0);
        Some(place)
    }

    /// A commit in the clone.
    fn commits(&self, text: &str) -> Head {
        let clone = self.dir.path().join("clone");
        std::fs::write(clone.join("README.md"), text).unwrap();
        git(&clone, "", &["add", "--all"]);
        git(&clone, "", &["-c", "user.name=M", "-c", "user.email=m@example.org", "commit", "-q", "-m", text]);
        git(&clone, "", &["rev-parse", "HEAD"]).parse().unwrap()
    }

    fn pushes(&self, who: &str, to: &str, what: &[&str]) {
        let url = format!("{}/{to}.git", self.forge.url);
        git(&self.dir.path().join("clone"), &self.forge.token(who), &[&["push", "-q", "--force", &url], what].concat());
    }
}

fn client(forge: &Forge, token: &str) -> Gitea {
    Gitea::new(&forge.url, Secret::new(token), Clock::system()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a member's git, not ours")]
fn git(dir: &Path, token: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(dir).env("GIT_TERMINAL_PROMPT", "0");
    if !token.is_empty() {
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "http.extraHeader");
        command.env("GIT_CONFIG_VALUE_0", format!("Authorization: token {token}"));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn repo() -> Repo {
    REPO.parse().unwrap()
}

fn status() -> Status {
    Status {
        state: StatusState::Pending,
        context: "cc-ci/test".into(),
        target_url: "https://ci.example.org/runs/1".into(),
        description: "waiting".into(),
    }
}

mod claims {
    use super::*;

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn the_ordinary_calls() {
        let Some(place) = Place::open("the_ordinary_calls").await else { return };
        let (gitea, repo) = (&place.gitea, repo());
        assert_eq!(gitea.version().await.unwrap(), "1.26.0");
        assert_eq!(gitea.whoami().await.unwrap().as_str(), BOT);
        let repositories = gitea.repositories(&ORGANISATION.parse().unwrap()).await.unwrap();
        assert_eq!((repositories.len(), &repositories[0].repo), (1, &repo));
        assert!(repositories[0].default_branch == "main" && repositories[0].may_write && !repositories[0].empty);

        let pull = gitea.pull_request(&repo, PR).await.unwrap();
        assert!(pull.open && !pull.merged);
        assert_eq!((&pull.head, pull.base_branch.as_str(), pull.author.as_str()), (&place.head, "main", MEMBER));
        assert_eq!(pull.url, format!("{}/{REPO}/pulls/1", place.forge.url));

        let id = gitea.post_comment(&repo, PR, "one").await.unwrap();
        gitea.edit_comment(&repo, id, "two").await.unwrap();
        gitea.react(&repo, id).await.unwrap();
        gitea.react(&repo, id).await.unwrap();
        let comment = gitea.comment(&repo, id).await.unwrap().unwrap();
        assert_eq!((comment.body.as_str(), comment.author.as_str(), comment.pr), ("two", BOT, Some(PR)));
        assert_eq!(place.forge.reactions(REPO, id.0).await.len(), 1);
        gitea.set_status(&repo, &place.head, &status()).await.unwrap();
        assert_eq!(place.forge.statuses(REPO, place.head.as_str()).await[0]["status"], "pending");
        let gone: Head = "0123456789012345678901234567890123456789".parse().unwrap();
        let error = gitea.set_status(&repo, &gone, &status()).await.unwrap_err();
        assert!(matches!(&error, ForgeError::NotFound(what) if what.contains(gone.as_str())), "{error}");
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn only_a_clear_yes_is_a_member() {
        let Some(place) = Place::open("only_a_clear_yes_is_a_member").await else { return };
        let organisation = ORGANISATION.parse().unwrap();
        let asks = async |login: &str| place.gitea.is_member(&organisation, &login.parse().unwrap()).await;
        assert_eq!(asks(MEMBER).await, Ok(true));
        assert_eq!(asks(STRANGER).await, Ok(false));
        assert_eq!(asks("nobody-there").await, Ok(false));
        place.forge.leaves(ORGANISATION, MEMBER).await;
        assert_eq!(asks(MEMBER).await, Ok(false));
        place.forge.leaves(ORGANISATION, BOT).await;
        let error = asks(STRANGER).await.unwrap_err();
        assert!(matches!(&error, ForgeError::Misconfigured(why) if why.contains("not a member of recipes")), "{error}");
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn a_renamed_an_archived_and_a_locked_target() {
        let Some(place) = Place::open("a_renamed_an_archived_and_a_locked_target").await else { return };
        place.forge.changes(REPO, &json!({"name": "renamed"})).await;
        let id = place.gitea.post_comment(&repo(), PR, "to the old name").await.unwrap();
        assert_eq!(place.gitea.comments_since(&repo(), LONG_AGO).await.unwrap()[0].id, id);
        place.gitea.set_status(&repo(), &place.head, &status()).await.unwrap();
        assert_eq!(place.gitea.pull_request(&repo(), PR).await.unwrap().head, place.head);

        // Who may write may write here too.
        place.forge.locks("recipes/renamed", PR.0).await;
        place.gitea.post_comment(&repo(), PR, "locked").await.unwrap();
        let stranger = client(&place.forge, &place.forge.token(STRANGER));
        let error = stranger.post_comment(&repo(), PR, "locked").await.unwrap_err();
        assert!(matches!(error, ForgeError::Forbidden(_)), "{error}");

        place.forge.changes("recipes/renamed", &json!({"archived": true})).await;
        let error = place.gitea.post_comment(&repo(), PR, "archived").await.unwrap_err();
        assert!(matches!(error, ForgeError::Archived(_)), "{error}");
        assert!(place.gitea.repositories(&ORGANISATION.parse().unwrap()).await.unwrap()[0].archived);
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn a_revoked_token_and_a_narrow_one() {
        let Some(place) = Place::open("a_revoked_token_and_a_narrow_one").await else { return };
        let scopes = ["write:issue", "read:repository"];
        let token = place.forge.new_token(BOT, &scopes).await;
        let gitea = client(&place.forge, &token);
        let error = gitea.set_status(&repo(), &place.head, &status()).await.unwrap_err();
        assert!(matches!(&error, ForgeError::Forbidden(why) if why.contains("write:repository")), "{error}");
        gitea.comments_since(&repo(), LONG_AGO).await.unwrap();
        place.forge.revokes(BOT, &scopes, &token).await;
        let error = gitea.comments_since(&repo(), LONG_AGO).await.unwrap_err();
        assert!(matches!(error, ForgeError::Unauthorised(_)), "{error}");
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn a_comment_that_is_gone() {
        let Some(place) = Place::open("a_comment_that_is_gone").await else { return };
        let id = place.gitea.post_comment(&repo(), PR, "waiting").await.unwrap();
        place.gitea.delete_comment(&repo(), id).await.unwrap();
        place.gitea.delete_comment(&repo(), id).await.unwrap();
        assert_eq!(place.gitea.comment(&repo(), id).await.unwrap(), None);
        let error = place.gitea.edit_comment(&repo(), id, "passed").await.unwrap_err();
        assert!(matches!(error, ForgeError::NotFound(_)), "{error}");
        // Somebody else's would have been changed; who edits looks at the author first.
        let theirs = CommentId(place.forge.says(REPO, PR.0, MEMBER, "mine").await);
        place.gitea.edit_comment(&repo(), theirs, "not yours any more").await.unwrap();
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn pushes_and_comments_stand_in_the_order_they_came() {
        let Some(place) = Place::open("pushes_and_comments_stand_in_the_order_they_came").await else { return };
        let left_at = async |commits: &[&str]| {
            support::eventually("the push in the timeline", || async {
                let pushes = place.gitea.pushes(&repo(), PR).await.unwrap();
                let last = pushes.last().filter(|push| push.commits == commits);
                last.cloned().ok_or_else(|| format!("{pushes:?}"))
            })
            .await
        };
        let opened = left_at(&[place.head.as_str()]).await;
        let comment = place.forge.says(REPO, PR.0, MEMBER, "!testme").await;
        assert!(opened.id < comment);
        let second = place.commits("three");
        place.pushes(MEMBER, REPO, &["change"]);
        assert!(left_at(&[second.as_str()]).await.id > comment);

        // Gitea takes the entries of what was forced away out of the timeline and writes the new ones below all others, so
        // only the last is sure to be there; it is the one that counts.
        let comment = place.forge.says(REPO, PR.0, MEMBER, "!testme").await;
        git(&place.dir.path().join("clone"), "", &["reset", "-q", "--hard", "main"]);
        let forced = place.commits("four");
        place.pushes(MEMBER, REPO, &["change"]);
        assert!(left_at(&[second.as_str(), forced.as_str()]).await.id > comment);
        assert_eq!(place.gitea.pull_request(&repo(), PR).await.unwrap().head, forced);
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn one_search_for_the_organisation() {
        let Some(place) = Place::open("one_search_for_the_organisation").await else { return };
        let organisation = ORGANISATION.parse().unwrap();
        place.gitea.version().await.unwrap();
        let now = place.gitea.server_time().unwrap();
        assert_eq!(place.gitea.changed(&organisation, now.minus(Duration::from_secs(120))).await.unwrap(), [repo()]);
        assert_eq!(place.gitea.changed(&organisation, now.plus(Duration::from_secs(60))).await.unwrap(), []);
        place.gitea.changed(&"nobody-there".parse().unwrap(), now).await.unwrap_err();
        place.forge.closes(REPO, PR.0).await;
        assert_eq!(place.gitea.changed(&organisation, LONG_AGO).await.unwrap(), []);
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn every_comment_comes_once() {
        let Some(place) = Place::open("every_comment_comes_once").await else { return };
        let mut ids = Vec::new();
        for number in 0..60 {
            ids.push(place.forge.says(REPO, PR.0, MEMBER, &format!("comment {number}")).await);
        }
        let found = place.gitea.comments_since(&repo(), LONG_AGO).await.unwrap();
        assert_eq!(found.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), ids);
        assert!(found.iter().all(|comment| comment.pr == Some(PR) && comment.created_at == comment.updated_at));
        let found = place.gitea.comments_of(&repo(), PR).await.unwrap();
        assert_eq!(found.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), ids);
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn a_pull_request_outlives_its_fork() {
        let Some(place) = Place::open("a_pull_request_outlives_its_fork").await else { return };
        place.forge.forks(REPO, STRANGER).await;
        let head = place.commits("theirs");
        place.pushes(STRANGER, "mallory/app", &["HEAD:theirs"]);
        let pr = place.forge.opens(REPO, STRANGER, "mallory:theirs").await;
        assert_eq!(place.gitea.pull_request(&repo(), Pr(pr)).await.unwrap().head, head);
        place.forge.removes("mallory/app").await;
        let pull = place.gitea.pull_request(&repo(), Pr(pr)).await.unwrap();
        assert!(!pull.open && !pull.merged);
        assert_eq!(pull.head, head);
    }
}
