//! What an upgrade starts from: something that is published, older than the head, and not the head itself. The last version
//! that passed here is the best, since that one is known to work; without one the newest release; without any the branch that
//! the pull request wants to go to. Testing a version against itself would be green whatever it does.

use std::path::Path;

use super::{Job, Trouble};
use crate::engine::causes;
use crate::git::{self, GitError, Tag};
use crate::model::{Head, RecipeName};
use crate::plan::Base;
use crate::store::runs;

/// Runs that passed and are looked at; older ones are older than any release.
const PASSED: u32 = 20;

/// Why there is no upgrade to test.
const NOTHING: &str = "nothing to upgrade from";

/// Finds the base in a clone; `Err` inside says why there is none.
pub(super) async fn find(job: &Job, recipe: &RecipeName, clone: &Path) -> Result<Result<Base, String>, Trouble> {
    let repository = Repository::read(clone, &job.run.head).await?;
    if let Some(version) = job.run.upgrade_from.as_deref() {
        return repository.named(version).await.map(Ok);
    }
    let tip = match job.run.base_branch.as_deref() {
        Some(branch) => git::commit_named(clone, &format!("refs/remotes/origin/{branch}")).await?,
        None => None,
    };
    let (name, of) = (recipe.to_string(), job.run.repository);
    let passed = job.ledger.store.read(move |db| runs::heads_that_passed(db, &name, of, PASSED)).await?;
    let mut left_out = Vec::new();
    for (commit, why) in [
        (repository.published(passed, tip.as_ref()).await?, "the last version that passed here"),
        (repository.newest_tag().await?, "the newest release before it"),
        (tip, "the tip of the base branch"),
    ] {
        let Some(commit) = commit else { continue };
        match repository.same_as_head(&commit).await? {
            None => return Ok(Ok(Base { name: repository.name(&commit), commit, why: why.to_owned() })),
            Some(same) => left_out.push(format!("{why} {same}")),
        }
    }
    let mut reason = NOTHING.to_owned();
    match left_out.last() {
        Some(last) => reason = format!("{reason}: {last}"),
        None => reason.push_str(": no version passed here, no annotated tag is older, and there is no base branch"),
    }
    Ok(Err(reason))
}

/// A clone, looked at for what came before its head.
#[derive(Debug)]
pub struct Repository<'a> {
    clone: &'a Path,
    head: &'a Head,
    tags: Vec<Tag>,
}

impl<'a> Repository<'a> {
    pub async fn read(clone: &'a Path, head: &'a Head) -> Result<Repository<'a>, GitError> {
        Ok(Repository { clone, head, tags: git::tags(clone).await? })
    }

    /// The version that was asked for by name. Whoever names one wants no other.
    pub async fn named(&self, version: &str) -> Result<Base, Trouble> {
        let Some(tag) = self.tags.iter().find(|tag| tag.name == version) else {
            let known: Vec<&str> = self.tags.iter().rev().take(5).map(|tag| tag.name.as_str()).collect();
            let known =
                if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            return Err(Trouble::Recipe(format!(
                "`from={version}` names no tag of the repository ({known}), so there is no such version to upgrade from"
            )));
        };
        if let Some(same) = self.same_as_head(&tag.commit).await? {
            return Err(Trouble::Recipe(format!("`from={version}` {same}, so there would be nothing to upgrade")));
        }
        Ok(Base { commit: tag.commit.clone(), name: tag.name.clone(), why: "asked for".to_owned() })
    }

    /// The first of these commits that is in the base branch by now.
    pub async fn published(&self, commits: Vec<Head>, tip: Option<&Head>) -> Result<Option<Head>, GitError> {
        let Some(tip) = tip else { return Ok(None) };
        for commit in commits.into_iter().filter(|commit| commit != self.head) {
            // What was pushed away is not in the clone.
            let is_there = git::commit_named(self.clone, commit.as_str()).await?.is_some();
            if is_there && git::is_ancestor(self.clone, &commit, tip).await? {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// Of the annotated tags before the head, the one that no other comes after.
    pub async fn newest_tag(&self) -> Result<Option<Head>, GitError> {
        self.newest(|tag| tag.commit != *self.head).await
    }

    /// The same where the head itself may be it.
    pub async fn newest_release(&self) -> Result<Option<Head>, GitError> {
        self.newest(|_| true).await
    }

    async fn newest(&self, counts: impl Fn(&Tag) -> bool) -> Result<Option<Head>, GitError> {
        let mut newest: Option<&Tag> = None;
        for tag in self.tags.iter().filter(|tag| tag.annotated && counts(tag)) {
            if !git::is_ancestor(self.clone, &tag.commit, self.head).await? {
                continue;
            }
            let later = match newest {
                None => true,
                Some(newest) if git::is_ancestor(self.clone, &newest.commit, &tag.commit).await? => true,
                // Two lines of history: the one that was published later.
                Some(newest) => {
                    !git::is_ancestor(self.clone, &tag.commit, &newest.commit).await?
                        && tag.tagger_time > newest.tagger_time
                }
            };
            if later {
                newest = Some(tag);
            }
        }
        Ok(newest.map(|tag| tag.commit.clone()))
    }

    /// Says how a commit is the head in all but name, if it is.
    pub async fn same_as_head(&self, commit: &Head) -> Result<Option<String>, GitError> {
        if commit == self.head {
            return Ok(Some("is the head itself".to_owned()));
        }
        let same = git::tree(self.clone, commit).await? == git::tree(self.clone, self.head).await?;
        Ok(same.then(|| format!("({}) has the same files as the head", self.name(commit))))
    }

    pub fn name(&self, commit: &Head) -> String {
        let tag = self.tags.iter().filter(|tag| tag.commit == *commit).max_by_key(|tag| tag.annotated);
        tag.map_or_else(|| commit.short().to_owned(), |tag| tag.name.clone())
    }
}

/// The clone is there and was looked over, so what git cannot do now is the machine's fault.
impl From<GitError> for Trouble {
    fn from(error: GitError) -> Trouble {
        Trouble::Infra(causes(&error))
    }
}
