//! What follows a push: pull requests move with their branches, their `refs/pull/N/head` with them, and their timelines get
//! an entry.
//!
//! Pushes and everything else that moves a branch go one after the other, under one lock: two at a time could write the
//! timeline in another order than git took them.

use std::collections::BTreeMap;

use serde_json::json;

use super::git::GitFault;
use super::switches::PushEntries;
use super::world::Kind;
use super::{Dev, world};

/// A timeline entry that is kept back.
#[derive(Debug)]
pub(super) struct HeldPush {
    repo: i64,
    number: i64,
    author: String,
    body: serde_json::Value,
}

impl Dev {
    /// Brings everything to where the branches are now. `before` is where they were; the caller holds the lock of pushes.
    pub(super) async fn after_push(
        &self,
        repo: i64,
        before: &BTreeMap<String, String>,
        by: &str,
    ) -> Result<(), GitFault> {
        let after = self.git.branches(repo).await?;
        let default = self.look(|world| world.repo_by_id(repo).map(|found| found.default_branch.clone()));
        if let (Some(default), Some(first)) = (default, after.keys().next())
            && before.is_empty()
            && !after.contains_key(&default)
        {
            self.git.set_default_branch(repo, first).await?;
            self.change(|world| world.repo_mut(repo).map(|found| found.default_branch.clone_from(first)));
        }
        let now = self.now();
        self.change(|world| {
            if let Some(found) = world.repo_mut(repo) {
                found.empty = after.is_empty();
                found.updated = now;
            }
        });
        for (branch, new) in after.iter().filter(|(branch, new)| before.get(*branch) != Some(new)) {
            for (base, number) in self.pulls_from(repo, branch) {
                self.move_pull(base, number, repo, new, by).await?;
            }
        }
        Ok(())
    }

    /// Open pull requests whose head is that branch.
    fn pulls_from(&self, repo: i64, branch: &str) -> Vec<(i64, i64)> {
        let is_from = |pull: &world::Pull| pull.head_repo == Some(repo) && pull.head_branch == branch;
        self.look(|world| {
            let open = world.issues.iter().filter(|issue| issue.open && issue.pull.as_ref().is_some_and(is_from));
            open.map(|issue| (issue.repo, issue.number)).collect()
        })
    }

    async fn move_pull(&self, repo: i64, number: i64, from: i64, new: &str, by: &str) -> Result<(), GitFault> {
        let Some(old) = self.look(|world| Some(world.issue(repo, number)?.pull.as_ref()?.head.clone())) else {
            return Ok(());
        };
        if old == new {
            return Ok(());
        }
        self.git.set_pull(repo, from, new, number).await?;
        let is_forced = !self.git.is_ancestor(repo, &old, new).await;
        let commits = if is_forced { vec![old, new.to_owned()] } else { self.git.between(repo, &old, new).await? };
        let now = self.now();
        self.change(|world| {
            if let Some(issue) = world.issue_mut(repo, number) {
                issue.updated = now;
                if let Some(pull) = &mut issue.pull {
                    new.clone_into(&mut pull.head);
                }
            }
        });
        let body = json!({"is_force_push": is_forced, "commit_ids": commits});
        self.tell_push(HeldPush { repo, number, author: by.into(), body });
        Ok(())
    }

    /// Writes a push into the timeline, now or when the switch says so.
    pub(super) fn tell_push(&self, push: HeldPush) {
        if self.switches(|switches| switches.push_entries) == PushEntries::Now {
            self.write_push(&push);
        } else {
            self.held().push(push);
        }
    }

    pub(super) fn write_first_push(&self, repo: i64, number: i64, author: &str, commits: &[String]) {
        let body = json!({"is_force_push": false, "commit_ids": commits});
        self.write_push(&HeldPush { repo, number, author: author.into(), body });
    }

    fn write_push(&self, push: &HeldPush) {
        let now = self.now();
        let body = push.body.to_string();
        self.change(|world| world.add_entry(push.repo, push.number, Kind::PullPush, &push.author, body, now).id);
    }

    /// Writes what was kept back; `latest`: as if each push had been to where the branch is now.
    pub(super) fn release_pushes(&self, latest: bool) {
        let pushes = std::mem::take(&mut *self.held());
        for mut push in pushes {
            let head = self.look(|world| Some(world.issue(push.repo, push.number)?.pull.as_ref()?.head.clone()));
            if let (true, Some(head)) = (latest, head) {
                push.body["commit_ids"] = json!([head]);
            }
            self.write_push(&push);
        }
    }
}
