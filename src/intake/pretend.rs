//! A forge in memory for the stories of intake and report: one stateful stand-in, whose oddities can be switched on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::config;
use crate::forge::{Comment, Forge, ForgeError, PullRequest, Push, Repository, Status, Tip};
use crate::model::{CommentId, Head, Login, Pr, Repo, RepoId};

pub(crate) const MEMBER: &str = "member";
pub(crate) const STRANGER: &str = "stranger";
pub(crate) const BOT: &str = "ci";

#[derive(Clone)]
pub(crate) struct Pretend(Arc<Mutex<State>>, Clock);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) repositories: Vec<Repository>,
    pub(crate) pulls: Vec<(Repo, PullRequest)>,
    pub(crate) comments: Vec<(Repo, Comment)>,
    pub(crate) pushes: Vec<(Repo, Pr, Push)>,
    pub(crate) reactions: Vec<CommentId>,
    pub(crate) statuses: Vec<(Head, Status)>,
    pub(crate) members: BTreeSet<String>,
    /// One sequence for comments and pushes.
    sequence: i64,
    pub(crate) requests: Vec<&'static str>,
    pub(crate) odd: Odd,
}

/// What is wrong with the forge.
#[derive(Default)]
pub(crate) struct Odd {
    /// Every call answers with this.
    pub(crate) down: Option<ForgeError>,
    /// Calls of these names answer with this.
    pub(crate) broken: Vec<(&'static str, ForgeError)>,
    /// The next post is done, and then the connection breaks.
    pub(crate) lose_next_answer: bool,
    /// The search names nobody.
    pub(crate) search_is_blind: bool,
    /// Pushes do not show in the timeline yet.
    pub(crate) timeline_is_late: bool,
    /// Comments of the last seconds are not listed yet.
    pub(crate) lag: Duration,
}

pub(crate) fn later() -> ForgeError {
    ForgeError::Later { why: "502".into(), after: None }
}

/// The configuration that the stories use.
pub(crate) fn rule() -> config::Forge {
    config::Forge {
        url: "https://git.example.org".into(),
        organisation: "recipes".parse().unwrap(),
        token_file: "/nowhere".into(),
        allow: vec!["helper".parse().unwrap()],
        enrol: config::Enrol::default(),
        poll: config::Poll::default(),
        quota: config::Quota::default(),
        webhook: None,
        status_context: "cc-ci/test".into(),
    }
}

pub(crate) fn repo(name: &str) -> Repo {
    format!("recipes/{name}").parse().unwrap()
}

pub(crate) fn head(letter: char) -> Head {
    letter.to_string().repeat(40).parse().unwrap()
}

impl Pretend {
    pub(crate) fn new(clock: &Clock) -> Pretend {
        let state = State { members: [MEMBER, BOT].map(str::to_owned).into(), ..State::default() };
        Pretend(Arc::new(Mutex::new(state)), clock.clone())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn odd(&self, change: impl FnOnce(&mut Odd)) {
        change(&mut self.state().odd);
    }

    /// Whole seconds, as forges count.
    fn second(&self) -> Time {
        Time(self.1.now().0 / 1000 * 1000)
    }

    pub(crate) fn repository(&self, name: &str) {
        let mut state = self.state();
        let id = RepoId(i64::try_from(state.repositories.len()).unwrap() + 1);
        state.repositories.push(Repository {
            id,
            repo: repo(name),
            default_branch: "main".into(),
            topics: Vec::new(),
            archived: false,
            empty: false,
            may_write: true,
        });
    }

    /// Something was pushed to a repository, or nothing yet.
    pub(crate) fn has_commits(&self, name: &str, has: bool) {
        let repo = repo(name);
        let mut state = self.state();
        let repository = state.repositories.iter_mut().find(|one| one.repo == repo).unwrap();
        repository.empty = !has;
    }

    /// A repository with an open pull request 1 whose head is `commit`.
    pub(crate) fn pull_request(&self, name: &str, commit: char) {
        self.repository(name);
        self.state().pulls.push((
            repo(name),
            PullRequest {
                number: Pr(1),
                title: format!("Upgrade {name}"),
                open: true,
                merged: false,
                head: head(commit),
                base_branch: "main".into(),
                author: MEMBER.into(),
                url: String::new(),
            },
        ));
        self.push_entry(name, commit);
    }

    pub(crate) fn push(&self, name: &str, commit: char) {
        for (of, pull) in &mut self.state().pulls {
            if *of == repo(name) {
                pull.head = head(commit);
            }
        }
        self.push_entry(name, commit);
    }

    fn push_entry(&self, name: &str, commit: char) {
        let mut state = self.state();
        state.sequence += 1;
        let push = Push { id: state.sequence, commits: vec![head(commit).to_string()] };
        state.pushes.push((repo(name), Pr(1), push));
    }

    pub(crate) fn close(&self, name: &str) {
        for (of, pull) in &mut self.state().pulls {
            pull.open &= *of != repo(name);
        }
    }

    pub(crate) fn says(&self, name: &str, author: &str, body: &str) -> CommentId {
        self.says_on(name, Some(Pr(1)), author, body)
    }

    pub(crate) fn says_on(&self, name: &str, pr: Option<Pr>, author: &str, body: &str) -> CommentId {
        let at = self.second();
        let mut state = self.state();
        state.sequence += 1;
        let id = CommentId(state.sequence);
        let comment = Comment { id, pr, author: author.into(), body: body.into(), created_at: at, updated_at: at };
        state.comments.push((repo(name), comment));
        id
    }

    pub(crate) fn edits(&self, id: CommentId, body: &str) {
        let at = self.second();
        for (_, comment) in self.state().comments.iter_mut().filter(|(_, comment)| comment.id == id) {
            body.clone_into(&mut comment.body);
            comment.updated_at = at;
        }
    }

    pub(crate) fn deletes(&self, id: CommentId) {
        self.state().comments.retain(|(_, comment)| comment.id != id);
    }

    /// What the bot's comments say, oldest first.
    pub(crate) fn heard(&self, name: &str) -> Vec<Comment> {
        let state = self.state();
        let ours = state.comments.iter().filter(|(of, comment)| *of == repo(name) && comment.author == BOT);
        ours.map(|(_, comment)| comment.clone()).collect()
    }

    pub(crate) fn last_status(&self, commit: char) -> Option<Status> {
        let state = self.state();
        state.statuses.iter().rev().find(|(of, _)| *of == head(commit)).map(|(_, status)| status.clone())
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.state().requests.iter().filter(|name| **name == call).count()
    }

    fn asked(&self, call: &'static str) -> Result<MutexGuard<'_, State>, ForgeError> {
        let mut state = self.state();
        state.requests.push(call);
        if let Some(error) = &state.odd.down {
            return Err(error.clone());
        }
        match state.odd.broken.iter().find(|(name, _)| *name == call) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(state),
        }
    }

    fn find(state: &State, id: CommentId) -> Result<usize, ForgeError> {
        let at = state.comments.iter().position(|(_, comment)| comment.id == id);
        at.ok_or_else(|| ForgeError::NotFound(format!("comment {id}")))
    }
}

impl Forge for Pretend {
    async fn version(&self) -> Result<String, ForgeError> {
        self.asked("version").map(|_| "1.26.0".into())
    }

    async fn whoami(&self) -> Result<Login, ForgeError> {
        self.asked("whoami").map(|_| BOT.parse().unwrap())
    }

    fn server_time(&self) -> Option<Time> {
        (!self.state().requests.is_empty()).then(|| self.second())
    }

    async fn repositories(&self, _owner: &Login) -> Result<Vec<Repository>, ForgeError> {
        Ok(self.asked("repositories")?.repositories.clone())
    }

    async fn changed(&self, _owner: &Login, since: Time) -> Result<Vec<Repo>, ForgeError> {
        let state = self.asked("changed")?;
        if state.odd.search_is_blind {
            return Ok(Vec::new());
        }
        let visible = self.second().minus(state.odd.lag);
        let changed = |comment: &Comment| comment.created_at >= since && comment.created_at <= visible;
        let names = state.comments.iter().filter(|(_, comment)| comment.pr.is_some() && changed(comment));
        Ok(names.map(|(of, _)| of.clone()).collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn comments_since(&self, of: &Repo, since: Time) -> Result<Vec<Comment>, ForgeError> {
        let state = self.asked("comments_since")?;
        let visible = self.second().minus(state.odd.lag);
        let wanted = |comment: &Comment| comment.updated_at >= since && comment.created_at <= visible;
        let found = state.comments.iter().filter(|(repo, comment)| repo == of && wanted(comment));
        Ok(found.map(|(_, comment)| comment.clone()).collect())
    }

    async fn comments_of(&self, of: &Repo, pr: Pr) -> Result<Vec<Comment>, ForgeError> {
        let state = self.asked("comments_of")?;
        let found = state.comments.iter().filter(|(repo, comment)| repo == of && comment.pr == Some(pr));
        Ok(found.map(|(_, comment)| comment.clone()).collect())
    }

    async fn pull_request(&self, of: &Repo, pr: Pr) -> Result<PullRequest, ForgeError> {
        let state = self.asked("pull_request")?;
        let found = state.pulls.iter().find(|(repo, pull)| repo == of && pull.number == pr);
        found.map(|(_, pull)| pull.clone()).ok_or_else(|| ForgeError::NotFound("pull request".into()))
    }

    async fn tip(&self, of: &Repo) -> Result<Tip, ForgeError> {
        let state = self.asked("tip")?;
        let found = state.repositories.iter().find(|repository| repository.repo == *of);
        let found = found.ok_or_else(|| ForgeError::NotFound("repository".into()))?;
        Ok(Tip { branch: found.default_branch.clone(), head: head('d') })
    }

    async fn pushes(&self, of: &Repo, pr: Pr) -> Result<Vec<Push>, ForgeError> {
        let state = self.asked("pushes")?;
        let skip = usize::from(state.odd.timeline_is_late);
        let found: Vec<Push> = state
            .pushes
            .iter()
            .filter(|(repo, number, _)| repo == of && *number == pr)
            .map(|(.., p)| p.clone())
            .collect();
        Ok(found[..found.len() - skip].to_vec())
    }

    async fn is_member(&self, _organisation: &Login, login: &Login) -> Result<bool, ForgeError> {
        Ok(self.asked("is_member")?.members.contains(login.as_str()))
    }

    async fn react(&self, _repo: &Repo, comment: CommentId) -> Result<(), ForgeError> {
        let mut state = self.asked("react")?;
        Pretend::find(&state, comment)?;
        state.reactions.push(comment);
        Ok(())
    }

    async fn set_status(&self, _repo: &Repo, head: &Head, status: &Status) -> Result<(), ForgeError> {
        self.asked("set_status")?.statuses.push((head.clone(), status.clone()));
        Ok(())
    }

    async fn post_comment(&self, of: &Repo, pr: Pr, body: &str) -> Result<CommentId, ForgeError> {
        drop(self.asked("post_comment")?);
        let id = self.says_on(of.name.as_str(), Some(pr), BOT, body);
        if std::mem::take(&mut self.state().odd.lose_next_answer) {
            return Err(later());
        }
        Ok(id)
    }

    async fn comment(&self, _repo: &Repo, id: CommentId) -> Result<Option<Comment>, ForgeError> {
        let state = self.asked("comment")?;
        Ok(Pretend::find(&state, id).ok().map(|at| state.comments[at].1.clone()))
    }

    async fn edit_comment(&self, _repo: &Repo, id: CommentId, body: &str) -> Result<(), ForgeError> {
        let mut state = self.asked("edit_comment")?;
        let at = Pretend::find(&state, id)?;
        // Like the real one, this would let a bot with write access change anybody's words.
        assert_eq!(state.comments[at].1.author, BOT, "the bot edited somebody else's comment");
        let now = self.second();
        let comment = &mut state.comments[at].1;
        body.clone_into(&mut comment.body);
        comment.updated_at = now;
        Ok(())
    }

    async fn delete_comment(&self, _repo: &Repo, id: CommentId) -> Result<(), ForgeError> {
        let mut state = self.asked("delete_comment")?;
        let Ok(at) = Pretend::find(&state, id) else { return Ok(()) };
        assert_eq!(state.comments[at].1.author, BOT, "the bot deleted somebody else's comment");
        state.comments.remove(at);
        Ok(())
    }
}
