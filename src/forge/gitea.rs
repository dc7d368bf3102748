//! The client for Gitea and Forgejo. It asks about ten things, and knows how these servers answer them: pages that repeat
//! themselves, `null` in lists, redirects that mean three different things, and errors in HTML.
//!
//! Nothing is tried again in here but a call to a repository that was renamed. Whoever asks decides when to ask again
//! ([`ForgeError::Later`]), because only the asker knows what is already written down.

mod body;
mod transport;
mod wire;

use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::OnceCell;

pub use self::transport::Patience;
use self::transport::{Answer, Transport};
use super::{Comment, Forge, ForgeError, PullRequest, Push, Repository, Status, Tip};
use crate::clock::{Clock, Time};
use crate::crash::crash_point;
use crate::model::{CommentId, Head, Login, Pr, Repo};
use crate::secrets::Secret;

/// Pages of one list; a server that has more than this is not one we can read.
const MOST_PAGES: usize = 1000;

/// Items a page when the server does not say how many it gives.
const USUAL_PAGE: u64 = 50;

/// A Gitea or Forgejo, as the bot sees it.
#[derive(Debug)]
pub struct Gitea {
    transport: Transport,
    /// The most items the server puts into a page.
    page_size: OnceCell<u64>,
}

impl Gitea {
    /// `url` is the base address, sub-path included. Nothing is asked yet.
    pub fn new(url: &str, token: Secret, clock: Clock) -> Result<Gitea, ForgeError> {
        Gitea::with_patience(url, token, clock, Patience::default())
    }

    pub fn with_patience(url: &str, token: Secret, clock: Clock, patience: Patience) -> Result<Gitea, ForgeError> {
        Ok(Gitea { transport: Transport::new(url, token, clock, patience)?, page_size: OnceCell::new() })
    }

    /// How far the server's clock is ahead of ours, in milliseconds; the server tells whole seconds. `None` before its first
    /// answer.
    pub fn skew_ms(&self) -> Option<i64> {
        self.transport.skew_ms()
    }

    /// A call that concerns a repository. A renamed one answers 301 with a relative `Location`, to a POST as well: the new
    /// name is taken from there and the call repeated, once. It is never followed as a redirect, which would turn a POST into
    /// a GET and could carry the token elsewhere.
    async fn ask(
        &self,
        method: Method,
        repo: &Repo,
        rest: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, ForgeError> {
        let answer = self.transport.send(method.clone(), &format!("/repos/{repo}{rest}"), query, body).await?;
        let Some(new) = answer.moved_to().filter(|new| new != repo) else { return Ok(answer) };
        self.transport.send(method, &format!("/repos/{new}{rest}"), query, body).await
    }

    async fn get<T: DeserializeOwned>(&self, repo: &Repo, rest: &str) -> Result<T, ForgeError> {
        self.ask(Method::GET, repo, rest, &[], None).await?.ok()?.json()
    }

    /// All pages of a list, items that were seen already left out.
    ///
    /// Only an empty page or one that brings nothing new ends it: `X-Total-Count` counts what the token may not see, `Link`
    /// is not always there, a short page can be one that was filtered, and Forgejo may answer every page with everything.
    async fn pages<T: DeserializeOwned>(
        &self,
        list: List<'_>,
        query: &[(&str, &str)],
        id: impl Fn(&T) -> i64,
    ) -> Result<Vec<T>, ForgeError> {
        let limit = self.page_size().await?.to_string();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        let mut only_nulls_before = false;
        for page in 1..=MOST_PAGES {
            let page = page.to_string();
            let query = [query, &[("page", page.as_str()), ("limit", limit.as_str())]].concat();
            let answer = match list {
                List::Forge(path) => self.transport.send(Method::GET, path, &query, None).await?,
                List::Of(repo, rest) => self.ask(Method::GET, repo, rest, &query, None).await?,
            };
            let items: Vec<Option<T>> = answer.list()?;
            if items.is_empty() {
                return Ok(all);
            }
            let only_nulls = items.iter().all(Option::is_none);
            let before = all.len();
            all.extend(items.into_iter().flatten().filter(|item| seen.insert(id(item))));
            if all.len() == before && (!only_nulls || only_nulls_before) {
                return Ok(all);
            }
            only_nulls_before = only_nulls;
        }
        Err(ForgeError::Odd(format!("{list} has more than {MOST_PAGES} pages")))
    }

    async fn page_size(&self) -> Result<u64, ForgeError> {
        let ask = async || {
            let settings = self.transport.send(Method::GET, "/settings/api", &[], None).await?.ok();
            match settings.and_then(|answer| answer.json::<wire::Settings>()) {
                Ok(settings) => Ok(settings.max_response_items.clamp(1, 100)),
                Err(error @ (ForgeError::Later { .. } | ForgeError::Unauthorised(_))) => Err(error),
                Err(_) => Ok(USUAL_PAGE),
            }
        };
        self.page_size.get_or_try_init(ask).await.copied()
    }
}

/// A list that pages: of the whole forge, or of a repository.
#[derive(Clone, Copy)]
enum List<'a> {
    Forge(&'a str),
    Of(&'a Repo, &'a str),
}

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            List::Forge(path) => f.write_str(path),
            List::Of(repo, rest) => write!(f, "/repos/{repo}{rest}"),
        }
    }
}

impl Forge for Gitea {
    async fn version(&self) -> Result<String, ForgeError> {
        let version: wire::Version = self.transport.send(Method::GET, "/version", &[], None).await?.ok()?.json()?;
        Ok(version.version)
    }

    /// Needs the scope `read:user` besides those that the work needs.
    async fn whoami(&self) -> Result<Login, ForgeError> {
        let user: wire::User = self.transport.send(Method::GET, "/user", &[], None).await?.ok()?.json()?;
        user.login.parse().map_err(|error| ForgeError::Odd(format!("the bot's own login: {error}")))
    }

    fn server_time(&self) -> Option<Time> {
        self.transport.server_time()
    }

    async fn repositories(&self, owner: &Login) -> Result<Vec<Repository>, ForgeError> {
        let path = format!("/orgs/{owner}/repos");
        let found: Vec<wire::Repository> =
            self.pages(List::Forge(&path), &[], |repository: &wire::Repository| repository.id).await?;
        Ok(found.into_iter().filter_map(wire::Repository::read).collect())
    }

    /// The answer carries no head, and its `since` is inclusive. An unknown owner is 400.
    async fn changed(&self, owner: &Login, since: Time) -> Result<Vec<Repo>, ForgeError> {
        let since = since.rfc3339_seconds();
        let query = [("type", "pulls"), ("state", "open"), ("owner", owner.as_str()), ("since", since.as_str())];
        let found: Vec<wire::Found> =
            self.pages(List::Forge("/repos/issues/search"), &query, |found: &wire::Found| found.id).await?;
        let mut repos = Vec::new();
        for repo in found.iter().filter_map(wire::Found::repo) {
            if !repos.contains(&repo) {
                repos.push(repo);
            }
        }
        Ok(repos)
    }

    async fn comments_since(&self, repo: &Repo, since: Time) -> Result<Vec<Comment>, ForgeError> {
        let since = since.rfc3339_seconds();
        let list = List::Of(repo, "/issues/comments");
        let found: Vec<wire::Comment> =
            self.pages(list, &[("since", &since)], |comment: &wire::Comment| comment.id).await?;
        found.into_iter().map(wire::Comment::read).collect()
    }

    /// One call: this list ignores `page` and `limit`, and a loop over its pages would never end.
    async fn comments_of(&self, repo: &Repo, pr: Pr) -> Result<Vec<Comment>, ForgeError> {
        let found: Vec<Option<wire::Comment>> =
            self.ask(Method::GET, repo, &format!("/issues/{pr}/comments"), &[], None).await?.list()?;
        found.into_iter().flatten().map(wire::Comment::read).collect()
    }

    async fn pull_request(&self, repo: &Repo, pr: Pr) -> Result<PullRequest, ForgeError> {
        self.get::<wire::PullRequest>(repo, &format!("/pulls/{pr}")).await?.read()
    }

    /// A slash in the branch's name stays one in the path.
    async fn tip(&self, repo: &Repo) -> Result<Tip, ForgeError> {
        let branch = self.get::<wire::Repository>(repo, "").await?.default_branch;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./+".contains(letter);
        if branch.is_empty() || branch.contains("..") || !branch.chars().all(plain) {
            return Err(ForgeError::Odd(format!("{repo} has no default branch whose name can be asked for")));
        }
        let found: wire::Branch = self.get(repo, &format!("/branches/{branch}")).await?;
        let head = found.commit.id.parse().map_err(|error| ForgeError::Odd(format!("{repo}, {branch}: {error}")))?;
        Ok(Tip { branch, head })
    }

    async fn pushes(&self, repo: &Repo, pr: Pr) -> Result<Vec<Push>, ForgeError> {
        let rest = format!("/issues/{pr}/timeline");
        let entries: Vec<wire::TimelineEntry> =
            self.pages(List::Of(repo, &rest), &[], |entry: &wire::TimelineEntry| entry.id).await?;
        let mut pushes: Vec<Push> = entries.into_iter().filter_map(wire::TimelineEntry::push).collect();
        pushes.sort_by_key(|push| push.id);
        Ok(pushes)
    }

    async fn is_member(&self, organisation: &Login, login: &Login) -> Result<bool, ForgeError> {
        let path = format!("/orgs/{organisation}/members/{login}");
        let answer = self.transport.send(Method::GET, &path, &[], None).await?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_redirection() => Err(ForgeError::Misconfigured(format!(
                "the bot is not a member of {organisation}, so the forge does not tell it who is ({}); add the bot to a team of {organisation}",
                status.as_u16()
            ))),
            status if status.is_success() => Ok(false),
            _ => Err(answer.error()),
        }
    }

    async fn react(&self, repo: &Repo, comment: CommentId) -> Result<(), ForgeError> {
        let rest = format!("/issues/comments/{comment}/reactions");
        self.ask(Method::POST, repo, &rest, &[], Some(&json!({"content": "eyes"}))).await?.ok()?;
        crash_point!("forge: reacted");
        Ok(())
    }

    /// An unknown commit is answered with 500 and no word; so on a 500 the commit is asked for, and
    /// [`ForgeError::NotFound`] says that it is gone, as after a force push.
    async fn set_status(&self, repo: &Repo, head: &Head, status: &Status) -> Result<(), ForgeError> {
        let body = json!({
            "state": status.state.as_str(),
            "context": status.context,
            "target_url": status.target_url,
            "description": status.description,
        });
        let answer = self.ask(Method::POST, repo, &format!("/statuses/{head}"), &[], Some(&body)).await?;
        if answer.status == StatusCode::INTERNAL_SERVER_ERROR {
            let commit = self.ask(Method::GET, repo, &format!("/git/commits/{head}"), &[], None).await?;
            if commit.status == StatusCode::NOT_FOUND {
                return Err(ForgeError::NotFound(format!("{repo} has no commit {head}")));
            }
        }
        answer.ok()?;
        crash_point!("forge: status set");
        Ok(())
    }

    async fn post_comment(&self, repo: &Repo, pr: Pr, body: &str) -> Result<CommentId, ForgeError> {
        let rest = format!("/issues/{pr}/comments");
        let answer = self.ask(Method::POST, repo, &rest, &[], Some(&json!({"body": body}))).await?;
        let posted: wire::Posted = answer.ok()?.json()?;
        crash_point!("forge: comment posted");
        Ok(CommentId(posted.id))
    }

    async fn comment(&self, repo: &Repo, id: CommentId) -> Result<Option<Comment>, ForgeError> {
        let answer = self.ask(Method::GET, repo, &format!("/issues/comments/{id}"), &[], None).await?;
        // 204 is a comment of a kind without text; it is none of ours.
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::NO_CONTENT) {
            return Ok(None);
        }
        answer.ok()?.json::<wire::Comment>()?.read().map(Some)
    }

    /// With write access to the repository this changes anybody's comment: look at its author first.
    async fn edit_comment(&self, repo: &Repo, id: CommentId, body: &str) -> Result<(), ForgeError> {
        let rest = format!("/issues/comments/{id}");
        self.ask(Method::PATCH, repo, &rest, &[], Some(&json!({"body": body}))).await?.ok()?;
        crash_point!("forge: comment edited");
        Ok(())
    }

    async fn delete_comment(&self, repo: &Repo, id: CommentId) -> Result<(), ForgeError> {
        let answer = self.ask(Method::DELETE, repo, &format!("/issues/comments/{id}"), &[], None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        answer.ok()?;
        crash_point!("forge: comment deleted");
        Ok(())
    }
}
