//! Repositories, pull requests and comments, as the set-up of a demo or a test makes and changes them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::body::Body;
use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{number, read};
use crate::clock::Time;
use crate::forge::dev::git::{Change, Commit};
use crate::forge::dev::shapes::Shapes;
use crate::forge::dev::world::{Hook, Issue, Pull, Repository};
use crate::forge::dev::{Dev, Refusal, Reply, answer, plain};

/// One line a call, below `repos/OWNER/NAME`.
pub(super) async fn route(dev: &Dev, repo: &Repository, method: &str, rest: &[&str], body: &[u8]) -> Reply {
    match (method, rest) {
        ("GET", []) => Ok(answer(200, &dev.show(|shapes| shapes.repo(repo, "")))),
        ("PATCH", []) => change_repo(dev, repo, read(body)?).await,
        ("DELETE", []) => remove_repo(dev, repo).await,
        ("POST", ["forks"]) => fork(dev, repo, read(body)?).await,
        ("POST", ["commits"]) => commit(dev, repo, read(body)?).await,
        ("POST", ["pulls"]) => open_pull(dev, repo, read(body)?).await,
        ("GET", ["pulls", n]) => Ok(answer(200, &dev.pull_shape(repo, number(n)?, "").await?)),
        ("PATCH", ["pulls" | "issues", n]) => change_issue(dev, repo, number(n)?, read(body)?).await,
        ("POST", ["issues"]) => open_issue(dev, repo, read(body)?),
        ("POST", ["issues", n, "comments"]) => comment(dev, repo, number(n)?, read(body)?),
        ("GET", ["issues", n, "comments"]) => {
            let n = number(n)?;
            let shape = |shapes: &Shapes<'_>| {
                shapes.world.comments(repo.id, n).map(|entry| shapes.entry(entry, false)).collect::<Vec<Value>>()
            };
            Ok(answer(200, &json!(dev.show(shape))))
        }
        ("GET", ["commits", sha, "status"]) => {
            let sha = dev.git.commit_of(repo.id, sha).await.ok_or_else(Refusal::not_found)?;
            Ok(answer(200, &dev.show(|shapes| shapes.combined_status(repo, &sha))))
        }
        ("POST", ["hooks"]) => {
            let NewHook { url, secret } = read(body)?;
            dev.change(|world| world.hooks.push(Hook { repo: repo.id, url, secret }));
            Ok(plain(204, Body::empty()))
        }
        _ => Err(Refusal::not_found()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRepo {
    owner: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default = "main_branch")]
    default_branch: String,
}

fn main_branch() -> String {
    "main".into()
}

/// An empty repository; one that is there already stays.
pub(super) async fn add(dev: &Dev, new: NewRepo) -> Reply {
    if let Some(shape) = dev.show(|shapes| Some(shapes.repo(shapes.world.repo(&new.owner, &new.name)?, ""))) {
        return Ok(answer(200, &shape));
    }
    let now = dev.now();
    let repo = dev.change(|world| {
        if world.org(&new.owner).is_none() && world.user(&new.owner).is_none() {
            return Err(Refusal::new(404, format!("there is neither user nor organisation {}", new.owner)));
        }
        world.moved.remove(&format!("{}/{}", new.owner, new.name).to_ascii_lowercase());
        Ok(Repository {
            id: world.new_id(),
            owner: new.owner,
            name: new.name,
            description: new.description,
            default_branch: new.default_branch,
            topics: new.topics,
            private: new.private,
            archived: false,
            empty: true,
            fork_of: None,
            created: now,
            updated: now,
        })
    })?;
    dev.git.create(repo.id, &repo.default_branch).await?;
    dev.change(|world| world.repos.push(repo.clone()));
    Ok(answer(201, &dev.show(|shapes| shapes.repo(&repo, ""))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepoChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    archived: Option<bool>,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default)]
    topics: Option<Vec<String>>,
    #[serde(default)]
    default_branch: Option<String>,
}

/// A new name leaves a redirect behind.
async fn change_repo(dev: &Dev, repo: &Repository, change: RepoChange) -> Reply {
    if let Some(branch) = &change.default_branch {
        dev.git.set_default_branch(repo.id, branch).await?;
    }
    let repo = dev.change(|world| {
        let old = repo.full_name().to_ascii_lowercase();
        let found = world.repo_mut(repo.id).ok_or_else(Refusal::not_found)?;
        let keep = |new: Option<String>, old: &mut String| *old = new.unwrap_or_else(|| std::mem::take(old));
        keep(change.name, &mut found.name);
        keep(change.owner, &mut found.owner);
        keep(change.default_branch, &mut found.default_branch);
        found.archived = change.archived.unwrap_or(found.archived);
        found.private = change.private.unwrap_or(found.private);
        found.topics = change.topics.unwrap_or_else(|| std::mem::take(&mut found.topics));
        let found = found.clone();
        let new = found.full_name().to_ascii_lowercase();
        if new != old {
            world.moved.remove(&new);
            world.moved.insert(old, found.id);
        }
        Ok::<_, Refusal>(found)
    })?;
    Ok(answer(200, &dev.show(|shapes| shapes.repo(&repo, ""))))
}

async fn remove_repo(dev: &Dev, repo: &Repository) -> Reply {
    let _alone = dev.pushing.lock().await;
    let now = dev.now();
    dev.change(|world| world.remove_repo(repo.id, now));
    dev.git.remove(repo.id).await?;
    Ok(plain(204, Body::empty()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFork {
    owner: String,
    #[serde(default)]
    name: Option<String>,
}

async fn fork(dev: &Dev, parent: &Repository, new: NewFork) -> Reply {
    let _alone = dev.pushing.lock().await;
    let now = dev.now();
    let repo = dev.change(|world| {
        let name = new.name.unwrap_or_else(|| parent.name.clone());
        if world.repo(&new.owner, &name).is_some() {
            return Err(Refusal::new(409, format!("{}/{name} is there already", new.owner)));
        }
        let id = world.new_id();
        let (owner, fork_of) = (new.owner, Some(parent.id));
        Ok(Repository { id, owner, name, fork_of, created: now, updated: now, topics: Vec::new(), ..parent.clone() })
    })?;
    dev.git.fork(parent.id, repo.id, &repo.default_branch).await?;
    dev.change(|world| world.repos.push(repo.clone()));
    Ok(answer(201, &dev.show(|shapes| shapes.repo(&repo, ""))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCommit {
    #[serde(default = "main_branch")]
    branch: String,
    /// What it stands on: the branch as it is, else the default branch as it is; `""` is nothing.
    #[serde(default)]
    from: Option<String>,
    #[serde(default = "some_message")]
    message: String,
    #[serde(default = "some_author")]
    author: String,
    /// Its time, so that its number can be known; now where there is none.
    #[serde(default)]
    at: Option<String>,
    /// A directory on this machine that is the whole content.
    #[serde(default)]
    tree: Option<PathBuf>,
    #[serde(default)]
    files: BTreeMap<String, NewFile>,
    /// Annotated tags on it.
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    lightweight_tags: Vec<String>,
}

fn some_message() -> String {
    "Change".into()
}

fn some_author() -> String {
    "somebody".into()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NewFile {
    Text(String),
    Base64 { base64: String },
    Program { program: String },
    Link { link: String },
    Gone(()),
}

impl NewFile {
    fn change(self) -> Result<Change, Refusal> {
        let write = |mode, content| Ok(Change::Write { mode, content });
        match self {
            NewFile::Text(text) => write("100644", text.into_bytes()),
            NewFile::Program { program } => write("100755", program.into_bytes()),
            NewFile::Link { link } => write("120000", link.into_bytes()),
            NewFile::Base64 { base64 } => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
                write("100644", bytes.map_err(|error| Refusal::new(422, error.to_string()))?)
            }
            NewFile::Gone(()) => Ok(Change::Remove),
        }
    }
}

/// Commits without a working tree, and does what a push of it would do.
async fn commit(dev: &Dev, repo: &Repository, new: NewCommit) -> Reply {
    let _alone = dev.pushing.lock().await;
    let before = dev.git.branches(repo.id).await?;
    let parent = match new.from.as_deref() {
        Some("") => None,
        Some(name) => {
            let there = dev.git.commit_of(repo.id, name).await;
            Some(there.ok_or_else(|| Refusal::new(422, format!("there is no `{name}` to stand on")))?)
        }
        None => before.get(&new.branch).or_else(|| before.get(&repo.default_branch)).cloned(),
    };
    let at = match new.at.as_deref() {
        Some(text) => Time::parse(text).ok_or_else(|| Refusal::new(422, format!("`{text}` is not a time")))?,
        None => dev.now(),
    };
    let mut commit = Commit {
        branch: new.branch,
        parent,
        message: new.message,
        author: new.author,
        at: at.0.div_euclid(1000),
        afresh: new.tree.is_some(),
        tags: new.tags,
        lightweight_tags: new.lightweight_tags,
        ..Commit::default()
    };
    if let Some(tree) = new.tree {
        let taken = tokio::task::spawn_blocking(move || commit.take_directory(&tree).map(|()| commit)).await;
        let taken = taken.map_err(std::io::Error::other).flatten();
        commit = taken.map_err(|error| Refusal::new(422, format!("`tree`: {error}")))?;
    }
    for (path, file) in new.files {
        commit.changes.insert(path, file.change()?);
    }
    dev.git.import(repo.id, &commit.stream()).await?;
    dev.after_push(repo.id, &before, &commit.author).await?;
    let sha = dev.git.commit_of(repo.id, &format!("refs/heads/{}", commit.branch)).await;
    Ok(answer(201, &json!({"sha": sha, "branch": commit.branch})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPull {
    title: String,
    #[serde(default)]
    body: String,
    author: String,
    /// A branch of this repository, or `owner:branch` of a fork.
    head: String,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    draft: bool,
}

async fn open_pull(dev: &Dev, repo: &Repository, new: NewPull) -> Reply {
    let _alone = dev.pushing.lock().await;
    let (head_repo, branch) = match new.head.split_once(':') {
        None => (repo.clone(), new.head.as_str()),
        Some((owner, branch)) => {
            let is_it = |other: &&Repository| {
                other.owner.eq_ignore_ascii_case(owner) && (other.fork_of == Some(repo.id) || other.id == repo.id)
            };
            let fork = dev.look(|world| world.repos.iter().find(is_it).cloned());
            (fork.ok_or_else(|| Refusal::new(404, format!("{owner} has no fork of {}", repo.full_name())))?, branch)
        }
    };
    let base_branch = new.base.unwrap_or_else(|| repo.default_branch.clone());
    let no_branch =
        |repo: &Repository, branch: &str| Refusal::new(404, format!("{} has no {branch}", repo.full_name()));
    let head = dev.git.commit_of(head_repo.id, &format!("refs/heads/{branch}")).await;
    let head = head.ok_or_else(|| no_branch(&head_repo, branch))?;
    let base = dev.git.commit_of(repo.id, &format!("refs/heads/{base_branch}")).await;
    let base = base.ok_or_else(|| no_branch(repo, &base_branch))?;
    let issue = NewIssue { title: new.title, body: new.body, author: new.author };
    let number = add_issue(dev, repo, issue, None)?;
    dev.git.set_pull(repo.id, head_repo.id, &head, number).await?;
    let merge_base = dev.git.merge_base(repo.id, &base, &head).await;
    let commits = match &merge_base {
        Some(merge_base) => dev.git.between(repo.id, merge_base, &head).await?,
        None => vec![head.clone()],
    };
    let pull = Pull {
        head_repo: Some(head_repo.id),
        head_branch: branch.to_owned(),
        head,
        base_branch,
        merge_base: merge_base.unwrap_or_default(),
        draft: new.draft,
        merged: None,
    };
    let author = dev.change(|world| {
        let issue = world.issue_mut(repo.id, number)?;
        issue.pull = Some(pull);
        Some(issue.author.clone())
    });
    dev.write_first_push(repo.id, number, &author.unwrap_or_default(), &commits);
    Ok(answer(201, &dev.pull_shape(repo, number, "").await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewIssue {
    title: String,
    #[serde(default)]
    body: String,
    author: String,
}

fn add_issue(dev: &Dev, repo: &Repository, new: NewIssue, pull: Option<Pull>) -> Result<i64, Refusal> {
    let now = dev.now();
    dev.change(|world| {
        world.user(&new.author).ok_or_else(|| Refusal::new(404, format!("there is no user {}", new.author)))?;
        let (id, number) = (world.new_id(), world.next_number(repo.id));
        world.issues.push(Issue {
            id,
            repo: repo.id,
            number,
            title: new.title,
            body: new.body,
            author: new.author,
            open: true,
            locked: false,
            created: now,
            updated: now,
            pull,
        });
        Ok(number)
    })
}

fn open_issue(dev: &Dev, repo: &Repository, new: NewIssue) -> Reply {
    let number = add_issue(dev, repo, new, None)?;
    Ok(answer(
        201,
        &dev.show(|shapes| shapes.world.issue(repo.id, number).map(|issue| shapes.issue(repo, issue)).into()),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueChange {
    #[serde(default)]
    state: Option<IssueState>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    locked: Option<bool>,
    #[serde(default)]
    draft: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IssueState {
    Open,
    Closed,
    Merged,
}

async fn change_issue(dev: &Dev, repo: &Repository, number: i64, change: IssueChange) -> Reply {
    if change.state == Some(IssueState::Merged) {
        merge(dev, repo, number).await?;
    }
    let now = dev.now();
    dev.change(|world| {
        let issue = world.issue_mut(repo.id, number).ok_or_else(Refusal::not_found)?;
        issue.updated = now;
        issue.open = change.state.map_or(issue.open, |state| state == IssueState::Open);
        issue.locked = change.locked.unwrap_or(issue.locked);
        issue.title = change.title.unwrap_or_else(|| std::mem::take(&mut issue.title));
        issue.body = change.body.unwrap_or_else(|| std::mem::take(&mut issue.body));
        if let Some(pull) = &mut issue.pull {
            pull.draft = change.draft.unwrap_or(pull.draft);
            if change.state == Some(IssueState::Merged) {
                pull.merged = Some(now);
            }
        }
        Ok::<_, Refusal>(())
    })?;
    Ok(answer(
        200,
        &dev.show(|shapes| shapes.world.issue(repo.id, number).map(|issue| shapes.issue(repo, issue)).into()),
    ))
}

async fn merge(dev: &Dev, repo: &Repository, number: i64) -> Result<(), Refusal> {
    let _alone = dev.pushing.lock().await;
    let issue = dev.look(|world| world.issue(repo.id, number).cloned());
    let (title, pull) = issue.and_then(|issue| Some((issue.title, issue.pull?))).ok_or_else(Refusal::not_found)?;
    let before = dev.git.branches(repo.id).await?;
    let text = format!("Merge pull request '{title}' (#{number})");
    let merged = dev.git.merge(repo.id, &pull.base_branch, &pull.head, &text).await?;
    merged.ok_or_else(|| Refusal::new(409, "it does not merge by itself"))?;
    Ok(dev.after_push(repo.id, &before, "forge").await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewComment {
    author: String,
    body: String,
}

fn comment(dev: &Dev, repo: &Repository, number: i64, new: NewComment) -> Reply {
    let missing = dev.look(|world| match () {
        () if world.issue(repo.id, number).is_none() => Some(format!("{} has no #{number}", repo.full_name())),
        () if world.user(&new.author).is_none() => Some(format!("there is no user {}", new.author)),
        () => None,
    });
    if let Some(missing) = missing {
        return Err(Refusal::new(404, missing));
    }
    let entry = dev.add_comment(repo.id, number, &new.author, new.body);
    Ok(answer(201, &dev.show(|shapes| shapes.entry(&entry, false))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommentChange {
    body: String,
    /// Who edits; the writer where nobody is named.
    #[serde(default)]
    by: Option<String>,
}

pub(super) fn edit_comment(dev: &Dev, id: &str, change: CommentChange) -> Reply {
    let id = number(id)?;
    let writer = dev.look(|world| world.entry(id).map(|entry| entry.author.clone())).ok_or_else(Refusal::not_found)?;
    let by = change.by.unwrap_or(writer);
    let entry = dev.edit_comment(id, change.body, &by).ok_or_else(Refusal::not_found)?;
    Ok(answer(200, &dev.show(|shapes| shapes.entry(&entry, false))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHook {
    url: String,
    #[serde(default)]
    secret: String,
}
