//! The JSON of Gitea and Forgejo, as much of it as is read, and its way into our words.

use serde::{Deserialize, Deserializer};

use crate::clock::Time;
use crate::forge::{self, ForgeError, Push};
use crate::model::{CommentId, Pr, Repo, RepoId};

#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Deserialize)]
pub(super) struct Settings {
    pub(super) max_response_items: u64,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) login: String,
}

#[derive(Deserialize)]
pub(super) struct Posted {
    pub(super) id: i64,
}

#[derive(Deserialize)]
pub(super) struct Repository {
    pub(super) id: i64,
    full_name: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(super) default_branch: String,
    #[serde(default, deserialize_with = "or_nothing")]
    topics: Vec<String>,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    empty: bool,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
pub(super) struct Branch {
    pub(super) commit: BranchCommit,
}

#[derive(Deserialize)]
pub(super) struct BranchCommit {
    pub(super) id: String,
}

#[derive(Deserialize)]
struct Permissions {
    #[serde(default)]
    push: bool,
}

impl Repository {
    /// `None` for a name that we could not put into a path or a command line.
    pub(super) fn read(self) -> Option<forge::Repository> {
        let Ok(repo) = self.full_name.parse() else {
            tracing::warn!(repository = ?self.full_name, "a repository is left out because of its name");
            return None;
        };
        Some(forge::Repository {
            id: RepoId(self.id),
            repo,
            default_branch: self.default_branch,
            topics: self.topics,
            archived: self.archived,
            empty: self.empty,
            may_write: self.permissions.is_none_or(|may| may.push),
        })
    }
}

/// An item of the search over all repositories.
#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) id: i64,
    repository: Option<FoundIn>,
}

#[derive(Deserialize)]
struct FoundIn {
    full_name: String,
}

impl Found {
    pub(super) fn repo(&self) -> Option<Repo> {
        self.repository.as_ref()?.full_name.parse().ok()
    }
}

#[derive(Deserialize)]
pub(super) struct Comment {
    pub(super) id: i64,
    /// The *web* address of the pull request; empty on an issue.
    #[serde(default, deserialize_with = "or_nothing")]
    pull_request_url: String,
    /// Missing for somebody who was deleted.
    user: Option<User>,
    #[serde(default, deserialize_with = "or_nothing")]
    body: String,
    created_at: String,
    updated_at: String,
}

impl Comment {
    pub(super) fn read(self) -> Result<forge::Comment, ForgeError> {
        Ok(forge::Comment {
            id: CommentId(self.id),
            pr: number_at_end(&self.pull_request_url),
            author: login(self.user),
            body: self.body,
            created_at: time(&self.created_at)?,
            updated_at: time(&self.updated_at)?,
        })
    }
}

/// `https://host/any/sub/path/owner/name/pulls/12`, perhaps with an anchor.
fn number_at_end(url: &str) -> Option<Pr> {
    let (_, number) = url.rsplit_once("/pulls/")?;
    let number = number.split(['#', '?']).next()?.trim_end_matches('/');
    number.parse().ok().filter(|number: &Pr| number.0 > 0)
}

#[derive(Deserialize)]
pub(super) struct PullRequest {
    number: i64,
    #[serde(default, deserialize_with = "or_nothing")]
    title: String,
    state: String,
    #[serde(default)]
    merged: bool,
    user: Option<User>,
    html_url: String,
    head: Side,
    base: Side,
}

/// `repo` is not read: it is null when the fork is gone, and `refs/pull/N/head` of the base has the commit all the same.
#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    branch: String,
    sha: String,
}

impl PullRequest {
    pub(super) fn read(self) -> Result<forge::PullRequest, ForgeError> {
        let number = self.number;
        Ok(forge::PullRequest {
            number: Pr(number),
            title: self.title,
            open: self.state == "open",
            merged: self.merged,
            head: self.head.sha.parse().map_err(|error| ForgeError::Odd(format!("the head of #{number}: {error}")))?,
            base_branch: self.base.branch,
            author: login(self.user),
            url: self.html_url,
        })
    }
}

/// Something that happened on a pull request.
#[derive(Deserialize)]
pub(super) struct TimelineEntry {
    pub(super) id: i64,
    #[serde(rename = "type", default, deserialize_with = "or_nothing")]
    kind: String,
    #[serde(default, deserialize_with = "or_nothing")]
    body: String,
}

impl TimelineEntry {
    /// A push whose commits cannot be read is a push all the same.
    pub(super) fn push(self) -> Option<Push> {
        #[derive(Deserialize)]
        struct Commits {
            #[serde(default, deserialize_with = "or_nothing")]
            commit_ids: Vec<String>,
        }
        if self.kind != "pull_push" {
            return None;
        }
        let commits = serde_json::from_str::<Commits>(&self.body).map(|body| body.commit_ids).unwrap_or_default();
        Some(Push { id: self.id, commits })
    }
}

fn login(user: Option<User>) -> String {
    user.map_or_else(|| "Ghost".into(), |user| user.login)
}

/// RFC 3339 in whatever zone the server lives.
fn time(text: &str) -> Result<Time, ForgeError> {
    Time::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
        ForgeError::Odd(format!("`{shown}` is not a time"))
    })
}

/// `null` is nothing.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(source: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_request_is_the_number_at_the_end_of_its_page() {
        assert_eq!(number_at_end("https://git.example.org/a/b/pulls/12"), Some(Pr(12)));
        assert_eq!(number_at_end("https://example.org/pulls/7/git/a/pulls/pulls/3#issuecomment-9"), Some(Pr(3)));
        for none in ["", "https://git.example.org/a/b/issues/12", "https://x/pulls/", "https://x/pulls/-1"] {
            assert_eq!(number_at_end(none), None, "{none}");
        }
    }

    #[test]
    fn a_push_names_where_it_left_the_branch_last() {
        let entry = |kind: &str, body: &str| TimelineEntry { id: 4, kind: kind.into(), body: body.into() };
        let forced = entry("pull_push", r#"{"is_force_push":true,"commit_ids":["old","new"]}"#).push().unwrap();
        assert_eq!(forced, Push { id: 4, commits: vec!["old".into(), "new".into()] });
        assert_eq!(entry("pull_push", "?").push().unwrap().commits, Vec::<String>::new());
        assert_eq!(entry("comment", r#"{"commit_ids":["x"]}"#).push(), None);
    }

    #[test]
    fn what_is_null_does_not_stop_a_list() {
        let text = r#"{"id":1,"full_name":"a/b","topics":null,"default_branch":null}"#;
        let repository: Repository = serde_json::from_str(text).unwrap();
        assert_eq!(repository.read().unwrap().topics, Vec::<String>::new());
        let comment = r#"{"id":1,"user":null,"body":null,"created_at":"2026-01-02T04:04:05+01:00","updated_at":"x"}"#;
        let comment: Comment = serde_json::from_str(comment).unwrap();
        assert!(matches!(comment.read(), Err(ForgeError::Odd(_))));
    }
}
