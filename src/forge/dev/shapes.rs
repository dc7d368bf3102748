//! The JSON of Gitea 1.26, field by field as far as anybody reads it.

use serde_json::{Value, json};

use super::switches::Switches;
use super::world::{Access, Entry, Issue, Kind, Org, Repository, Status, User, World};
use crate::clock::Time;

/// What shapes need besides what they show.
pub(super) struct Shapes<'a> {
    pub(super) world: &'a World,
    pub(super) switches: &'a Switches,
    /// The forge's address as it believes it to be, without a slash at its end.
    pub(super) root: &'a str,
}

impl Shapes<'_> {
    /// Whole seconds in the server's zone.
    pub(super) fn time(&self, at: Time) -> String {
        let minutes = self.switches.zone_minutes;
        if minutes == 0 {
            return at.rfc3339_seconds();
        }
        let there = Time(at.0 + minutes * 60_000).format("%Y-%m-%dT%H:%M:%S");
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{there}{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }

    pub(super) fn user(&self, login: &str) -> Value {
        match self.world.user(login) {
            Some(User { id, login, full_name, admin }) => json!({
                "id": id, "login": login, "login_name": "", "source_id": 0, "full_name": full_name,
                "email": format!("{login}@noreply.example.test"), "avatar_url": "", "html_url": format!("{}/{login}", self.root),
                "language": "", "is_admin": admin, "active": true, "restricted": false, "visibility": "public",
                "username": login,
            }),
            None => json!({"id": -1, "login": "Ghost", "full_name": "", "username": "Ghost"}),
        }
    }

    /// A person or an organisation.
    fn owner(&self, name: &str) -> Value {
        match self.world.org(name) {
            Some(Org { id, name, .. }) => json!({
                "id": id, "login": name, "full_name": "", "email": "", "avatar_url": "",
                "html_url": format!("{}/{name}", self.root), "visibility": "public", "username": name,
            }),
            None => self.user(name),
        }
    }

    pub(super) fn org(org: &Org) -> Value {
        json!({
            "id": org.id, "name": org.name, "username": org.name, "full_name": "", "email": "", "avatar_url": "",
            "description": "", "website": "", "location": "", "visibility": "public", "repo_admin_change_team_access": true,
        })
    }

    pub(super) fn repo(&self, repo: &Repository, asker: &str) -> Value {
        let access = self.world.access(repo, asker);
        let url = self.repo_url(repo);
        let parent = repo.fork_of.and_then(|id| self.world.repo_by_id(id)).map(|parent| self.repo(parent, asker));
        let open = self.world.issues.iter().filter(|issue| issue.repo == repo.id && issue.open && issue.pull.is_some());
        json!({
            "id": repo.id, "owner": self.owner(&repo.owner), "name": repo.name, "full_name": repo.full_name(),
            "description": repo.description, "empty": repo.empty, "private": repo.private, "fork": repo.fork_of.is_some(),
            "template": false, "mirror": false, "size": 24, "language": "", "parent": parent,
            "html_url": url, "url": self.api(repo, ""), "ssh_url": "", "clone_url": format!("{url}.git"), "website": "",
            "stars_count": 0, "forks_count": 0, "watchers_count": 1, "open_issues_count": 0, "open_pr_counter": open.count(),
            "release_counter": 0, "default_branch": repo.default_branch, "archived": repo.archived,
            "created_at": self.time(repo.created), "updated_at": self.time(repo.updated), "archived_at": "1970-01-01T00:00:00Z",
            "permissions": {"admin": access >= Access::Admin, "push": access >= Access::Write, "pull": access >= Access::Read},
            "has_issues": true, "has_pull_requests": true, "internal": false, "object_format_name": "sha1", "topics": repo.topics,
        })
    }

    pub(super) fn repo_url(&self, repo: &Repository) -> String {
        format!("{}/{}", self.root, repo.full_name())
    }

    fn api(&self, repo: &Repository, rest: &str) -> String {
        format!("{}/api/v1/repos/{}{rest}", self.root, repo.full_name())
    }

    /// The page of an issue or a pull request.
    pub(super) fn page(&self, repo: &Repository, issue: &Issue) -> String {
        let kind = if issue.pull.is_some() { "pulls" } else { "issues" };
        format!("{}/{kind}/{}", self.repo_url(repo), issue.number)
    }

    /// A comment, or another entry of a timeline (`with_type`).
    pub(super) fn entry(&self, entry: &Entry, with_type: bool) -> Value {
        let place = self.world.repo_by_id(entry.repo).zip(self.world.issue(entry.repo, entry.number));
        let page = place.map(|(repo, issue)| self.page(repo, issue)).unwrap_or_default();
        let is_pull = place.is_some_and(|(_, issue)| issue.pull.is_some());
        let mut shape = json!({
            "id": entry.id,
            "html_url": format!("{page}#issuecomment-{}", entry.id),
            "pull_request_url": if is_pull { page.as_str() } else { "" },
            "issue_url": if is_pull { "" } else { page.as_str() },
            "user": self.user(&entry.author),
            "original_author": "", "original_author_id": 0,
            "body": entry.body,
            "assets": [],
            "created_at": self.time(entry.created), "updated_at": self.time(entry.updated),
        });
        if with_type {
            let kind = match entry.kind {
                Kind::Comment => "comment",
                Kind::PullPush => "pull_push",
            };
            shape["type"] = kind.into();
            for empty in ["old_title", "new_title", "old_ref", "new_ref", "ref_action"] {
                shape[empty] = "".into();
            }
            for nothing in
                ["milestone", "label", "assignee", "ref_issue", "ref_comment", "resolve_doer", "tracked_time"]
            {
                shape[nothing] = Value::Null;
            }
            shape["review_id"] = 0.into();
        }
        shape
    }

    pub(super) fn pull(&self, repo: &Repository, issue: &Issue, base_sha: &str, asker: &str) -> Value {
        let Some(pull) = &issue.pull else { return Value::Null };
        let page = self.page(repo, issue);
        let head_repo = pull.head_repo.and_then(|id| self.world.repo_by_id(id));
        let head_owner = head_repo.map_or("", |repo| repo.owner.as_str());
        let comments = self.world.comments(repo.id, issue.number).count();
        json!({
            "id": issue.id, "url": page, "number": issue.number, "user": self.user(&issue.author),
            "title": issue.title, "body": issue.body, "labels": [], "milestone": null, "assignee": null, "assignees": null,
            "requested_reviewers": [], "requested_reviewers_teams": [],
            "state": state(issue), "draft": pull.draft, "is_locked": issue.locked, "comments": comments,
            "html_url": page, "diff_url": format!("{page}.diff"), "patch_url": format!("{page}.patch"),
            "mergeable": issue.open, "merged": pull.merged.is_some(), "merged_at": pull.merged.map(|at| self.time(at)),
            "merge_commit_sha": null, "merged_by": null, "allow_maintainer_edit": false,
            "base": {
                "label": pull.base_branch, "ref": pull.base_branch, "sha": base_sha, "repo_id": repo.id,
                "repo": self.repo(repo, asker),
            },
            "head": {
                "label": if head_owner == repo.owner { pull.head_branch.clone() } else { format!("{head_owner}:{}", pull.head_branch) },
                "ref": pull.head_branch, "sha": pull.head, "repo_id": pull.head_repo.unwrap_or(-1),
                "repo": head_repo.map(|repo| self.repo(repo, asker)),
            },
            "merge_base": pull.merge_base, "due_date": null,
            "created_at": self.time(issue.created), "updated_at": self.time(issue.updated),
            "closed_at": (!issue.open).then(|| self.time(issue.updated)), "pin_order": 0, "flow": 0,
        })
    }

    /// As `/repos/issues/search` and webhooks show it.
    pub(super) fn issue(&self, repo: &Repository, issue: &Issue) -> Value {
        let page = self.page(repo, issue);
        let pull_request = issue.pull.as_ref().map(|pull| {
            json!({
                "merged": pull.merged.is_some(), "merged_at": pull.merged.map(|at| self.time(at)),
                "draft": pull.draft, "html_url": page,
            })
        });
        json!({
            "id": issue.id, "url": self.api(repo, &format!("/issues/{}", issue.number)), "html_url": page,
            "number": issue.number, "user": self.user(&issue.author), "original_author": "", "original_author_id": 0,
            "title": issue.title, "body": issue.body, "ref": "", "assets": [], "labels": [], "milestone": null,
            "assignee": null, "assignees": null, "state": state(issue), "is_locked": issue.locked,
            "comments": self.world.comments(repo.id, issue.number).count(),
            "created_at": self.time(issue.created), "updated_at": self.time(issue.updated), "closed_at": null, "due_date": null,
            "pull_request": pull_request,
            "repository": {"id": repo.id, "name": repo.name, "owner": repo.owner, "full_name": repo.full_name()},
            "pin_order": 0,
        })
    }

    pub(super) fn status(&self, repo: &Repository, status: &Status) -> Value {
        json!({
            "id": status.id, "status": status.state, "target_url": status.target_url, "description": status.description,
            "url": self.api(repo, &format!("/statuses/{}", status.sha)), "context": status.context,
            "creator": self.user(&status.creator),
            "created_at": self.time(status.created), "updated_at": self.time(status.created),
        })
    }

    /// The latest status of each context, and what they come to.
    pub(super) fn combined_status(&self, repo: &Repository, sha: &str) -> Value {
        let latest = self.world.latest_statuses(repo.id, sha);
        let any = |wanted: &[&str]| latest.iter().any(|status| wanted.contains(&status.state.as_str()));
        let state = match () {
            () if any(&["failure", "error"]) => "failure",
            () if latest.is_empty() || any(&["pending", "warning"]) => "pending",
            () => "success",
        };
        let statuses: Vec<Value> = latest.iter().map(|status| self.status(repo, status)).collect();
        json!({
            "state": state, "sha": sha, "total_count": statuses.len(), "statuses": statuses,
            "repository": self.repo(repo, ""), "commit_url": self.api(repo, &format!("/commits/{sha}")),
            "url": self.api(repo, &format!("/commits/{sha}/status")),
        })
    }

    pub(super) fn reactions(&self, entry: &Entry) -> Value {
        if entry.reactions.is_empty() {
            return Value::Null;
        }
        let shape = |reaction: &super::world::Reaction| {
            json!({
                "user": self.user(&reaction.user), "content": reaction.content,
                "created_at": self.time(reaction.created),
            })
        };
        entry.reactions.iter().map(shape).collect()
    }
}

fn state(issue: &Issue) -> &'static str {
    if issue.open { "open" } else { "closed" }
}
