//! The forge: what cc-ci asks of a Gitea or Forgejo, and how it answers. `gitea` is the client; `dev` is a forge of our own
//! for the demo and the tests.
//!
//! Facts about the API come from running the calls against Gitea 1.26 and reading Forgejo's source; each oddity is noted
//! where it is handled.

pub mod dev;
pub mod gitea;

use std::future::Future;
use std::time::Duration;

use crate::clock::Time;
use crate::model::{CommentId, Head, Login, Pr, Repo, RepoId};

/// A repository as the forge lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub id: RepoId,
    pub repo: Repo,
    pub default_branch: String,
    pub topics: Vec<String>,
    pub archived: bool,
    pub empty: bool,
    /// Whether the bot may write to it, commit statuses too; so it is taken where the forge does not say.
    pub may_write: bool,
}

/// A plain comment. Reviews and their line comments are not in the lists this comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub id: CommentId,
    /// `None`: it stands on an issue.
    pub pr: Option<Pr>,
    pub author: String,
    /// At most its first 64 KiB.
    pub body: String,
    pub created_at: Time,
    pub updated_at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub number: Pr,
    pub title: String,
    pub open: bool,
    pub merged: bool,
    pub head: Head,
    pub base_branch: String,
    pub author: String,
    /// The page people see.
    pub url: String,
}

/// A push to a pull request, from its timeline. Ids of comments and pushes count in one sequence, so their order is the
/// order of things, whatever clocks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub id: i64,
    /// The last one is where the branch was left; the first push of a pull request names what it was opened with.
    pub commits: Vec<String>,
}

/// Where a repository's default branch is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    pub branch: String,
    pub head: Head,
}

/// State of a commit status. Only these four: Forgejo keeps seven characters and checks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusState {
    Pending,
    Success,
    Error,
    Failure,
}

impl StatusState {
    pub fn as_str(self) -> &'static str {
        match self {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Error => "error",
            StatusState::Failure => "failure",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: StatusState,
    pub context: String,
    pub target_url: String,
    /// One short line.
    pub description: String,
}

/// What came of a call that did not go well. The message is for the operator and holds nothing of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// 401: the token is revoked or wrong.
    #[error("the forge refuses the bot's token (401): {0}")]
    Unauthorised(String),
    /// 403, with what the forge says is missing (scopes, a lock, a block).
    #[error("the forge forbids it (403): {0}")]
    Forbidden(String),
    #[error("not on the forge (404): {0}")]
    NotFound(String),
    /// 423 or a repository that takes no more.
    #[error("the repository is archived: {0}")]
    Archived(String),
    /// The set-up of the bot is wrong in a way that only the operator can mend, for example a bot that is no member of
    /// the organisation (membership answers 303).
    #[error("{0}")]
    Misconfigured(String),
    /// Time-outs, 429, 5xx, HTML where JSON should be: ask again, not before `after` where the forge says so.
    #[error("the forge cannot answer now: {why}")]
    Later { why: String, after: Option<Duration> },
    /// An answer that makes no sense; a fault of ours or of the forge.
    #[error("the forge gave an answer that cannot be read: {0}")]
    Odd(String),
}

/// What cc-ci asks of a forge.
pub trait Forge: Send + Sync + 'static {
    /// The server's version, as it says it.
    fn version(&self) -> impl Future<Output = Result<String, ForgeError>> + Send;
    /// The bot's own login.
    fn whoami(&self) -> impl Future<Output = Result<Login, ForgeError>> + Send;
    /// The server's clock, from the `Date` header of its last answer.
    fn server_time(&self) -> Option<Time>;
    fn repositories(&self, owner: &Login) -> impl Future<Output = Result<Vec<Repository>, ForgeError>> + Send;
    /// One request for the whole organisation: repositories whose open pull requests changed at or after `since`. Edits of
    /// comments do not show here, and some servers lag or have no search at all.
    fn changed(&self, owner: &Login, since: Time) -> impl Future<Output = Result<Vec<Repo>, ForgeError>> + Send;
    /// Comments of a repository updated at or after `since` (whole seconds), pull requests' and issues'.
    fn comments_since(&self, repo: &Repo, since: Time)
    -> impl Future<Output = Result<Vec<Comment>, ForgeError>> + Send;
    /// All comments of one pull request.
    fn comments_of(&self, repo: &Repo, pr: Pr) -> impl Future<Output = Result<Vec<Comment>, ForgeError>> + Send;
    fn pull_request(&self, repo: &Repo, pr: Pr) -> impl Future<Output = Result<PullRequest, ForgeError>> + Send;
    fn tip(&self, repo: &Repo) -> impl Future<Output = Result<Tip, ForgeError>> + Send;
    /// Pushes of a pull request, by id.
    fn pushes(&self, repo: &Repo, pr: Pr) -> impl Future<Output = Result<Vec<Push>, ForgeError>> + Send;
    /// True only for an exact 204.
    fn is_member(&self, organisation: &Login, login: &Login) -> impl Future<Output = Result<bool, ForgeError>> + Send;
    /// Puts eyes on a comment; done already is done.
    fn react(&self, repo: &Repo, comment: CommentId) -> impl Future<Output = Result<(), ForgeError>> + Send;
    fn set_status(
        &self,
        repo: &Repo,
        head: &Head,
        status: &Status,
    ) -> impl Future<Output = Result<(), ForgeError>> + Send;
    fn post_comment(
        &self,
        repo: &Repo,
        pr: Pr,
        body: &str,
    ) -> impl Future<Output = Result<CommentId, ForgeError>> + Send;
    /// `None`: it is not there any more.
    fn comment(&self, repo: &Repo, id: CommentId) -> impl Future<Output = Result<Option<Comment>, ForgeError>> + Send;
    fn edit_comment(
        &self,
        repo: &Repo,
        id: CommentId,
        body: &str,
    ) -> impl Future<Output = Result<(), ForgeError>> + Send;
    /// Gone already is gone.
    fn delete_comment(&self, repo: &Repo, id: CommentId) -> impl Future<Output = Result<(), ForgeError>> + Send;
}
