//! What the forge knows: people, repositories, pull requests, comments. One value behind one lock, and a copy of it on disk,
//! so that a restart finds it again. Commits and branches are not in it; those are git's.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct World {
    last_id: i64,
    /// Comments and pushes count in one sequence, as in Gitea, so that their order is the order of things.
    last_entry: i64,
    pub(super) users: Vec<User>,
    pub(super) tokens: Vec<Token>,
    pub(super) orgs: Vec<Org>,
    pub(super) repos: Vec<Repository>,
    /// `owner/name` in lower case as it was, and the repository it was.
    pub(super) moved: BTreeMap<String, i64>,
    pub(super) issues: Vec<Issue>,
    pub(super) entries: Vec<Entry>,
    pub(super) statuses: Vec<Status>,
    pub(super) hooks: Vec<Hook>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) login: String,
    pub(super) full_name: String,
    pub(super) admin: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) value: String,
    pub(super) user: String,
    /// `write:issue`, `read:organization`, …, or `all`.
    pub(super) scopes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Org {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) members: Vec<Member>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) login: String,
    pub(super) access: Access,
    /// Seen by everybody.
    pub(super) public: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    None,
    Read,
    Write,
    Admin,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Repository {
    pub(super) id: i64,
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) default_branch: String,
    pub(super) topics: Vec<String>,
    pub(super) private: bool,
    pub(super) archived: bool,
    /// No branch was ever pushed.
    pub(super) empty: bool,
    pub(super) fork_of: Option<i64>,
    pub(super) created: Time,
    pub(super) updated: Time,
}

impl Repository {
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// An issue, or a pull request; they share their numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Issue {
    pub(super) id: i64,
    pub(super) repo: i64,
    pub(super) number: i64,
    pub(super) title: String,
    pub(super) body: String,
    pub(super) author: String,
    pub(super) open: bool,
    pub(super) locked: bool,
    pub(super) created: Time,
    pub(super) updated: Time,
    pub(super) pull: Option<Pull>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pull {
    /// `None`: the fork is gone.
    pub(super) head_repo: Option<i64>,
    pub(super) head_branch: String,
    pub(super) head: String,
    pub(super) base_branch: String,
    pub(super) merge_base: String,
    pub(super) draft: bool,
    pub(super) merged: Option<Time>,
}

/// One line of an issue's timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) repo: i64,
    pub(super) number: i64,
    pub(super) kind: Kind,
    pub(super) author: String,
    pub(super) body: String,
    pub(super) created: Time,
    pub(super) updated: Time,
    pub(super) reactions: Vec<Reaction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Comment,
    PullPush,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Reaction {
    pub(super) user: String,
    pub(super) content: String,
    pub(super) created: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Status {
    /// Counts for its commit.
    pub(super) id: i64,
    pub(super) repo: i64,
    pub(super) sha: String,
    pub(super) state: String,
    pub(super) context: String,
    pub(super) target_url: String,
    pub(super) description: String,
    pub(super) creator: String,
    pub(super) created: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hook {
    pub(super) repo: i64,
    pub(super) url: String,
    pub(super) secret: String,
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

impl World {
    /// The world that was left in `dir`, or an empty one.
    pub(super) fn open(dir: &Path) -> std::io::Result<World> {
        match std::fs::read(dir.join("world.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(World::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes a copy; whoever reads finds the old one or the new one.
    pub(super) fn save(copy: &[u8], dir: &Path) -> std::io::Result<()> {
        let new = dir.join("world.json.new");
        std::fs::write(&new, copy)?;
        std::fs::rename(new, dir.join("world.json"))
    }

    pub(super) fn new_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn user(&self, login: &str) -> Option<&User> {
        self.users.iter().find(|user| same(&user.login, login))
    }

    pub(super) fn org(&self, name: &str) -> Option<&Org> {
        self.orgs.iter().find(|org| same(&org.name, name))
    }

    pub(super) fn org_mut(&mut self, name: &str) -> Option<&mut Org> {
        self.orgs.iter_mut().find(|org| same(&org.name, name))
    }

    pub(super) fn is_member(&self, org: &str, login: &str) -> bool {
        self.org(org).is_some_and(|org| org.members.iter().any(|member| same(&member.login, login)))
    }

    pub(super) fn repo(&self, owner: &str, name: &str) -> Option<&Repository> {
        self.repos.iter().find(|repo| same(&repo.owner, owner) && same(&repo.name, name))
    }

    pub(super) fn repo_by_id(&self, id: i64) -> Option<&Repository> {
        self.repos.iter().find(|repo| repo.id == id)
    }

    pub(super) fn repo_mut(&mut self, id: i64) -> Option<&mut Repository> {
        self.repos.iter_mut().find(|repo| repo.id == id)
    }

    /// What a repository of that old name is called now.
    pub(super) fn moved_to(&self, owner: &str, name: &str) -> Option<&Repository> {
        let id = *self.moved.get(&format!("{owner}/{name}").to_ascii_lowercase())?;
        self.repo_by_id(id)
    }

    pub(super) fn issue(&self, repo: i64, number: i64) -> Option<&Issue> {
        self.issues.iter().find(|issue| issue.repo == repo && issue.number == number)
    }

    pub(super) fn issue_mut(&mut self, repo: i64, number: i64) -> Option<&mut Issue> {
        self.issues.iter_mut().find(|issue| issue.repo == repo && issue.number == number)
    }

    pub(super) fn next_number(&self, repo: i64) -> i64 {
        self.issues.iter().filter(|issue| issue.repo == repo).map(|issue| issue.number).max().unwrap_or(0) + 1
    }

    pub(super) fn timeline(&self, repo: i64, number: i64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.repo == repo && entry.number == number)
    }

    /// Comments of an issue, without what else happened there.
    pub(super) fn comments(&self, repo: i64, number: i64) -> impl Iterator<Item = &Entry> {
        self.timeline(repo, number).filter(|entry| entry.kind == Kind::Comment)
    }

    pub(super) fn entry(&self, id: i64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get(at)
    }

    pub(super) fn entry_mut(&mut self, id: i64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get_mut(at)
    }

    /// Adds to a timeline, which moves its issue's time.
    pub(super) fn add_entry(
        &mut self,
        repo: i64,
        number: i64,
        kind: Kind,
        author: &str,
        body: String,
        now: Time,
    ) -> &Entry {
        self.last_entry += 1;
        if let Some(issue) = self.issue_mut(repo, number) {
            issue.updated = now;
        }
        let id = self.last_entry;
        let author = author.to_owned();
        self.entries.push(Entry {
            id,
            repo,
            number,
            kind,
            author,
            body,
            created: now,
            updated: now,
            reactions: Vec::new(),
        });
        &self.entries[self.entries.len() - 1]
    }

    /// The last status of each context of a commit, oldest context first.
    pub(super) fn latest_statuses(&self, repo: i64, sha: &str) -> Vec<&Status> {
        let mut latest: Vec<&Status> = Vec::new();
        for status in self.statuses.iter().filter(|status| status.repo == repo && status.sha == sha) {
            match latest.iter_mut().find(|other| other.context == status.context) {
                Some(older) => *older = status,
                None => latest.push(status),
            }
        }
        latest
    }

    /// What somebody may do in a repository; nobody is the empty login.
    pub(super) fn access(&self, repo: &Repository, login: &str) -> Access {
        let everybody = if repo.private { Access::None } else { Access::Read };
        if same(&repo.owner, login) || self.user(login).is_some_and(|user| user.admin) {
            return Access::Admin;
        }
        let of_member = self
            .org(&repo.owner)
            .and_then(|org| org.members.iter().find(|member| same(&member.login, login)))
            .map_or(Access::None, |member| member.access);
        everybody.max(of_member)
    }

    /// The repository goes, and its pull requests with it; those that came from it are closed and stay readable.
    pub(super) fn remove_repo(&mut self, id: i64, now: Time) {
        self.repos.retain(|repo| repo.id != id);
        self.issues.retain(|issue| issue.repo != id);
        self.entries.retain(|entry| entry.repo != id);
        self.statuses.retain(|status| status.repo != id);
        self.hooks.retain(|hook| hook.repo != id);
        self.moved.retain(|_, repo| *repo != id);
        for issue in &mut self.issues {
            let number = issue.number;
            if let Some(pull) = issue.pull.as_mut().filter(|pull| pull.head_repo == Some(id)) {
                pull.head_repo = None;
                pull.head_branch = format!("refs/pull/{number}/head");
                if issue.open {
                    issue.open = false;
                    issue.updated = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::open(dir.path()).unwrap();
        assert_eq!(world.new_id(), 1);
        world.add_entry(1, 1, Kind::Comment, "alice", "hello".into(), Time(5));
        World::save(&serde_json::to_vec(&world).unwrap(), dir.path()).unwrap();
        let mut again = World::open(dir.path()).unwrap();
        assert_eq!(again.new_id(), 2);
        assert_eq!(again.entry(1).unwrap().body, "hello");
        assert_eq!(again.add_entry(1, 1, Kind::PullPush, "alice", String::new(), Time(6)).id, 2);
    }
}
