//! The calls of Gitea's API that cc-ci makes, and git over HTTP. What is not here is 404.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response};
use serde_json::{Value, json};

use super::auth::Scope;
use super::switches::{Search, TotalCount};
use super::world::{Access, Entry, Issue, Kind, Reaction, Repository, Status};
use super::{Ask, Dev, Refusal, Reply, answer, git, plain, read_query, text_header};
use crate::clock::Time;

const REACTIONS: [&str; 8] = ["+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"];

/// The API, one line a call.
pub(super) async fn route(dev: &Dev, ask: &Ask) -> Reply {
    let Some(path) = ask.path.strip_prefix("/api/v1/") else { return Err(Refusal::not_found()) };
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    match (ask.method.as_str(), parts.as_slice()) {
        ("GET", ["version"]) => Ok(answer(200, &json!({"version": dev.switches(|switches| switches.version.clone())}))),
        ("GET", ["settings", "api"]) => Ok(settings(dev)),
        ("GET", ["user"]) => user(dev, ask),
        ("GET", ["orgs", org, "repos"]) => repositories(dev, ask, org),
        ("GET", ["orgs", org, "members", login]) => membership(dev, ask, org, login),
        ("GET", ["orgs", org, "public_members", login]) => public_membership(dev, org, login),
        ("GET", ["repos", "issues", "search"]) => search(dev, ask),
        (method, ["repos", owner, name, rest @ ..]) => {
            let repo = find(dev, ask, owner, name)?;
            of_repository(dev, ask, &repo, method, rest).await
        }
        _ => Err(Refusal::not_found()),
    }
}

async fn of_repository(dev: &Dev, ask: &Ask, repo: &Repository, method: &str, rest: &[&str]) -> Reply {
    match (method, rest) {
        ("GET", []) => {
            ask.asker.may_read(Scope::Repository)?;
            Ok(answer(200, &dev.show(|shapes| shapes.repo(repo, &ask.asker.login))))
        }
        ("GET", ["issues", "comments"]) => repository_comments(dev, ask, repo),
        ("GET", ["issues", "comments", id]) => one_comment(dev, ask, repo, number(id)?),
        ("PATCH", ["issues", "comments", id]) => edit_comment(dev, ask, repo, number(id)?),
        ("DELETE", ["issues", "comments", id]) => delete_comment(dev, ask, repo, number(id)?),
        ("GET", ["issues", "comments", id, "reactions"]) => reactions(dev, ask, repo, number(id)?),
        ("POST", ["issues", "comments", id, "reactions"]) => react(dev, ask, repo, number(id)?),
        ("DELETE", ["issues", "comments", id, "reactions"]) => take_back(dev, ask, repo, number(id)?),
        ("GET", ["issues", n, "comments"]) => issue_comments(dev, ask, repo, number(n)?),
        ("POST", ["issues", n, "comments"]) => post_comment(dev, ask, repo, number(n)?),
        ("GET", ["issues", n, "timeline"]) => timeline(dev, ask, repo, number(n)?),
        ("GET", ["pulls"]) => pulls(dev, ask, repo).await,
        ("GET", ["pulls", n]) => pull(dev, ask, repo, number(n)?).await,
        ("GET", ["branches", name @ ..]) => branch(dev, ask, repo, &name.join("/")).await,
        ("GET", ["git", "commits", sha]) => commit(dev, ask, repo, sha).await,
        ("POST", ["statuses", sha]) => post_status(dev, ask, repo, sha).await,
        ("GET", ["statuses", sha] | ["commits", sha, "statuses"]) => statuses(dev, ask, repo, sha).await,
        ("GET", ["commits", sha, "status"]) => combined_status(dev, ask, repo, sha).await,
        ("GET", ["collaborators", login, "permission"]) => permission(dev, ask, repo, login),
        _ => Err(Refusal::not_found()),
    }
}

fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::not_found())
}

/// The repository, if whoever asks may know of it. Its old name is answered with the new one, whatever the method.
fn find(dev: &Dev, ask: &Ask, owner: &str, name: &str) -> Result<Repository, Refusal> {
    dev.look(|world| {
        if let Some(repo) = world.repo(owner, name) {
            let seen = world.access(repo, &ask.asker.login) > Access::None;
            return if seen { Ok(repo.clone()) } else { Err(Refusal::not_found()) };
        }
        let repo = world.moved_to(owner, name).ok_or_else(Refusal::not_found)?;
        let there = ask.target.replacen(&format!("/repos/{owner}/{name}"), &format!("/repos/{}", repo.full_name()), 1);
        Err(Refusal::redirect(301, there))
    })
}

fn find_issue(dev: &Dev, repo: &Repository, number: i64) -> Result<Issue, Refusal> {
    dev.look(|world| world.issue(repo.id, number).cloned()).ok_or_else(Refusal::not_found)
}

fn find_entry(dev: &Dev, repo: &Repository, id: i64) -> Result<Entry, Refusal> {
    dev.look(|world| world.entry(id).filter(|entry| entry.repo == repo.id).cloned()).ok_or_else(Refusal::not_found)
}

fn settings(dev: &Dev) -> Response<Body> {
    let (most, usual) = dev.switches(|switches| (switches.max_response_items, switches.default_paging_num));
    let settings = json!({
        "max_response_items": most, "default_paging_num": usual,
        "default_git_trees_per_page": 1000, "default_max_blob_size": 10_485_760, "default_max_response_size": 104_857_600,
    });
    answer(200, &settings)
}

fn user(dev: &Dev, ask: &Ask) -> Reply {
    let login = ask.asker.known()?;
    ask.asker.may_read(Scope::User)?;
    Ok(answer(200, &dev.show(|shapes| shapes.user(login))))
}

/// How a list is cut into pages.
#[derive(Clone, Copy, PartialEq)]
enum Paging {
    /// Thirty a page without a word, fifty at most, page 0 is page 1.
    Usual,
    /// As many as asked for.
    Uncapped,
    /// Everything, unless a page is asked for.
    WhenAsked,
    Never,
}

fn list(dev: &Dev, ask: &Ask, all: Vec<Value>, paging: Paging) -> Response<Body> {
    let switches = dev.switches(Clone::clone);
    let total = all.len();
    let number = |key| ask.query(key).parse::<usize>().ok().filter(|number| *number > 0);
    let most = if paging == Paging::Uncapped { usize::MAX } else { switches.max_response_items };
    let limit = number("limit").unwrap_or(switches.default_paging_num).min(most).max(1);
    let page = number("page");
    let is_whole = paging == Paging::Never || (paging == Paging::WhenAsked && page.is_none());
    let page = page.unwrap_or(1);
    let mut items: Vec<Value> =
        if is_whole { all } else { all.into_iter().skip((page - 1).saturating_mul(limit)).take(limit).collect() };
    if switches.null_items {
        items = items.into_iter().flat_map(|item| [Value::Null, item]).collect();
    }
    let mut answer = answer(200, &Value::from(items));
    let count = match switches.total_count {
        TotalCount::Right => Some(total),
        TotalCount::TooHigh => Some(total + 100),
        TotalCount::Missing => None,
    };
    let headers = answer.headers_mut();
    if let Some(count) = count {
        headers.insert("x-total-count", HeaderValue::from(count));
    }
    // Repository comments never have a Link. It is made from the address the forge believes in.
    if paging == Paging::Usual && !ask.path.ends_with("/issues/comments") && page.saturating_mul(limit) < total {
        let link = format!("<{}{}?page={}&limit={limit}>; rel=\"next\"", dev.root(), ask.path, page + 1);
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.insert("link", link);
        }
    }
    answer
}

/// A list of a repository: with the switch, 404 and no items where nothing was ever pushed.
fn list_of(dev: &Dev, ask: &Ask, repo: &Repository, all: Vec<Value>, paging: Paging) -> Response<Body> {
    if repo.empty && dev.switches(|switches| switches.empty_is_404) {
        return answer(404, &json!([]));
    }
    list(dev, ask, all, paging)
}

fn repositories(dev: &Dev, ask: &Ask, org: &str) -> Reply {
    ask.asker.may_read(Scope::Organization)?;
    let asker = &ask.asker.login;
    let found = dev.show(|shapes| {
        let org = shapes.world.org(org)?;
        let of_org = shapes.world.repos.iter().filter(|repo| repo.owner == org.name);
        let seen = of_org.filter(|repo| shapes.world.access(repo, asker) > Access::None);
        Some(seen.map(|repo| shapes.repo(repo, asker)).collect())
    });
    Ok(list(dev, ask, found.ok_or_else(Refusal::not_found)?, Paging::Usual))
}

/// 204 and 404 for members who ask; everybody else is sent to the public members.
fn membership(dev: &Dev, ask: &Ask, org: &str, login: &str) -> Reply {
    ask.asker.may_read(Scope::Organization)?;
    let asker = &ask.asker.login;
    let (asks_from_inside, is_member) = dev.look(|world| {
        world.org(org).ok_or_else(Refusal::not_found)?;
        Ok::<_, Refusal>((world.is_member(org, asker), world.is_member(org, login)))
    })?;
    let redirect = dev.switches(|switches| switches.membership);
    if redirect.is_some() || !asks_from_inside {
        if redirect.is_none() && asker.eq_ignore_ascii_case(login) {
            return Err(Refusal::not_found());
        }
        let there = format!("/api/v1/orgs/{org}/public_members/{login}");
        return Err(Refusal::redirect(redirect.unwrap_or(303), there));
    }
    if is_member { Ok(plain(204, Body::empty())) } else { Err(Refusal::not_found()) }
}

fn public_membership(dev: &Dev, org: &str, login: &str) -> Reply {
    let is_public = dev.look(|world| {
        let members = world.org(org).map(|org| org.members.as_slice()).unwrap_or_default();
        members.iter().any(|member| member.public && member.login.eq_ignore_ascii_case(login))
    });
    if is_public { Ok(plain(204, Body::empty())) } else { Err(Refusal::not_found()) }
}

/// Moments of `since` and `before`; what is not one is 422.
fn moment(ask: &Ask, key: &str) -> Result<Option<Time>, Refusal> {
    match ask.query(key) {
        "" => Ok(None),
        text => Time::parse(text).map(Some).ok_or_else(|| {
            Refusal::new(422, format!("parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse"))
        }),
    }
}

/// The forge's times are whole seconds.
fn second(at: Time) -> i64 {
    at.0.div_euclid(1000)
}

fn search(dev: &Dev, ask: &Ask) -> Reply {
    ask.asker.may_read(Scope::Issue)?;
    let how = dev.switches(|switches| switches.search);
    match how {
        Search::Missing => return Err(Refusal::not_found()),
        Search::Refuses => return Err(Refusal::new(400, "search is off")),
        Search::Works | Search::Lags | Search::IgnoresSince => {}
    }
    let since = moment(ask, "since")?.filter(|_| how != Search::IgnoresSince);
    let seen_until = dev.board().lags_since;
    let owner = ask.query("owner");
    let (kind, state) = (ask.query("type"), ask.query("state"));
    let found = dev.show(|shapes| {
        let world = shapes.world;
        if !owner.is_empty() && world.org(owner).is_none() && world.user(owner).is_none() {
            return None;
        }
        let mut found: Vec<(&Issue, &Repository)> = world
            .issues
            .iter()
            .filter_map(|issue| Some((issue, world.repo_by_id(issue.repo)?)))
            .filter(|(issue, repo)| {
                (owner.is_empty() || repo.owner.eq_ignore_ascii_case(owner))
                    && (kind.is_empty() || (kind == "pulls") == issue.pull.is_some())
                    && (state == "all" || (state == "closed") != issue.open)
                    && since.is_none_or(|since| second(issue.updated) >= second(since))
                    && seen_until.is_none_or(|until| issue.updated <= until)
                    && world.access(repo, &ask.asker.login) > Access::None
            })
            .collect();
        found.sort_by_key(|(issue, _)| std::cmp::Reverse((issue.created, issue.id)));
        Some(found.into_iter().map(|(issue, repo)| shapes.issue(repo, issue)).collect())
    });
    Ok(list(dev, ask, found.ok_or_else(|| Refusal::new(400, "user does not exist"))?, Paging::Uncapped))
}

fn repository_comments(dev: &Dev, ask: &Ask, repo: &Repository) -> Reply {
    ask.asker.may_read(Scope::Issue)?;
    let (since, before) = (moment(ask, "since")?, moment(ask, "before")?);
    let found = dev.show(|shapes| {
        let comments = shapes.world.entries.iter().filter(|entry| {
            entry.repo == repo.id
                && entry.kind == Kind::Comment
                && since.is_none_or(|since| second(entry.updated) >= second(since))
                && before.is_none_or(|before| second(entry.updated) <= second(before))
        });
        let mut comments: Vec<&Entry> = comments.collect();
        comments.sort_by_key(|entry| (second(entry.created), entry.id));
        comments.into_iter().map(|entry| shapes.entry(entry, false)).collect()
    });
    let (when_asked, same_page) = dev.switches(|switches| (switches.forgejo_paging, switches.same_page));
    let paging = match () {
        () if same_page => Paging::Never,
        () if when_asked => Paging::WhenAsked,
        () => Paging::Usual,
    };
    Ok(list_of(dev, ask, repo, found, paging))
}

fn one_comment(dev: &Dev, ask: &Ask, repo: &Repository, id: i64) -> Reply {
    ask.asker.may_read(Scope::Issue)?;
    let entry = find_entry(dev, repo, id)?;
    if entry.kind != Kind::Comment {
        return Ok(plain(204, Body::empty()));
    }
    Ok(answer(200, &dev.show(|shapes| shapes.entry(&entry, false))))
}

fn not_archived(repo: &Repository) -> Result<(), Refusal> {
    if repo.archived { Err(Refusal::new(423, format!("{} is archived", repo.full_name()))) } else { Ok(()) }
}

fn can_write(dev: &Dev, repo: &Repository, login: &str) -> bool {
    dev.look(|world| world.access(repo, login)) >= Access::Write
}

fn body_of(ask: &Ask) -> Result<String, Refusal> {
    match ask.json()?["body"].as_str() {
        Some(body) if !body.is_empty() => Ok(body.to_owned()),
        _ => Err(Refusal::new(422, "[Body]: Required")),
    }
}

fn post_comment(dev: &Dev, ask: &Ask, repo: &Repository, number: i64) -> Reply {
    ask.asker.may_write(Scope::Issue)?;
    not_archived(repo)?;
    let issue = find_issue(dev, repo, number)?;
    let body = body_of(ask)?;
    if issue.locked && !can_write(dev, repo, &ask.asker.login) {
        return Err(Refusal::new(403, "issue is locked"));
    }
    let entry = dev.add_comment(repo.id, number, &ask.asker.login, body);
    Ok(answer(201, &dev.show(|shapes| shapes.entry(&entry, false))))
}

/// Its writer, or anybody who may write to the repository.
fn may_change(dev: &Dev, ask: &Ask, repo: &Repository, entry: &Entry) -> Result<(), Option<Refusal>> {
    ask.asker.may_write(Scope::Issue).map_err(Some)?;
    not_archived(repo).map_err(Some)?;
    let is_own = entry.author.eq_ignore_ascii_case(&ask.asker.login);
    if is_own || can_write(dev, repo, &ask.asker.login) { Ok(()) } else { Err(None) }
}

fn edit_comment(dev: &Dev, ask: &Ask, repo: &Repository, id: i64) -> Reply {
    let entry = find_entry(dev, repo, id)?;
    match may_change(dev, ask, repo, &entry) {
        Ok(()) => {}
        Err(Some(refusal)) => return Err(refusal),
        Err(None) => return Ok(plain(403, Body::empty())),
    }
    if entry.kind != Kind::Comment {
        return Ok(plain(204, Body::empty()));
    }
    let entry = dev.edit_comment(id, body_of(ask)?, &ask.asker.login).ok_or_else(Refusal::not_found)?;
    Ok(answer(200, &dev.show(|shapes| shapes.entry(&entry, false))))
}

fn delete_comment(dev: &Dev, ask: &Ask, repo: &Repository, id: i64) -> Reply {
    let entry = find_entry(dev, repo, id)?;
    match may_change(dev, ask, repo, &entry) {
        Ok(()) => {}
        Err(Some(refusal)) => return Err(refusal),
        Err(None) => return Ok(plain(403, Body::empty())),
    }
    if entry.kind == Kind::Comment {
        dev.delete_comment(id, &ask.asker.login);
    }
    Ok(plain(204, Body::empty()))
}

fn reactions(dev: &Dev, ask: &Ask, repo: &Repository, id: i64) -> Reply {
    ask.asker.may_read(Scope::Issue)?;
    let entry = find_entry(dev, repo, id)?;
    Ok(answer(200, &dev.show(|shapes| shapes.reactions(&entry))))
}

fn react(dev: &Dev, ask: &Ask, repo: &Repository, id: i64) -> Reply {
    ask.asker.may_write(Scope::Issue)?;
    find_entry(dev, repo, id)?;
    let content = ask.json()?["content"].as_str().unwrap_or_default().to_owned();
    if dev.switches(|switches| switches.no_reactions) || !REACTIONS.contains(&content.as_str()) {
        return Err(Refusal::new(403, format!("'{content}' is not an allowed reaction")));
    }
    let user = ask.asker.login.clone();
    let created = dev.now();
    let shape = json!({"user": dev.show(|shapes| shapes.user(&user)), "content": content,
        "created_at": dev.show(|shapes| shapes.time(created))});
    let is_new = dev.change(|world| {
        let Some(entry) = world.entry_mut(id) else { return false };
        let is_new = !entry.reactions.iter().any(|old| old.user == user && old.content == content);
        if is_new {
            entry.reactions.push(Reaction { user, content, created });
        }
        is_new
    });
    Ok(answer(if is_new { 201 } else { 200 }, &shape))
}

fn take_back(dev: &Dev, ask: &Ask, repo: &Repository, id: i64) -> Reply {
    ask.asker.may_write(Scope::Issue)?;
    find_entry(dev, repo, id)?;
    let content = ask.json()?["content"].as_str().unwrap_or_default().to_owned();
    dev.change(|world| {
        if let Some(entry) = world.entry_mut(id) {
            entry.reactions.retain(|old| old.user != ask.asker.login || old.content != content);
        }
    });
    Ok(plain(200, Body::empty()))
}

/// All of them, whatever page is asked for.
fn issue_comments(dev: &Dev, ask: &Ask, repo: &Repository, number: i64) -> Reply {
    ask.asker.may_read(Scope::Issue)?;
    find_issue(dev, repo, number)?;
    let since = moment(ask, "since")?;
    let found = dev.show(|shapes| {
        let comments = shapes.world.comments(repo.id, number);
        let late = comments.filter(|entry| since.is_none_or(|since| second(entry.updated) >= second(since)));
        late.map(|entry| shapes.entry(entry, false)).collect()
    });
    Ok(list_of(dev, ask, repo, found, Paging::Never))
}

fn timeline(dev: &Dev, ask: &Ask, repo: &Repository, number: i64) -> Reply {
    ask.asker.may_read(Scope::Issue)?;
    find_issue(dev, repo, number)?;
    let found =
        dev.show(|shapes| shapes.world.timeline(repo.id, number).map(|entry| shapes.entry(entry, true)).collect());
    Ok(list_of(dev, ask, repo, found, Paging::Usual))
}

async fn pulls(dev: &Dev, ask: &Ask, repo: &Repository) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    let branches = dev.git.branches(repo.id).await?;
    let state = ask.query("state");
    let found = dev.show(|shapes| {
        let of_repo = shapes.world.issues.iter().filter(|issue| issue.repo == repo.id);
        let mut wanted: Vec<&Issue> =
            of_repo.filter(|issue| state == "all" || (state == "closed") != issue.open).collect();
        wanted.sort_by_key(|issue| std::cmp::Reverse((issue.updated, issue.id)));
        let shape = |issue: &Issue| {
            let base = branches.get(&issue.pull.as_ref()?.base_branch).map_or("", String::as_str);
            Some(shapes.pull(repo, issue, base, &ask.asker.login))
        };
        wanted.into_iter().filter_map(shape).collect()
    });
    Ok(list_of(dev, ask, repo, found, Paging::Usual))
}

async fn pull(dev: &Dev, ask: &Ask, repo: &Repository, number: i64) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    dev.pull_shape(repo, number, &ask.asker.login).await.map(|shape| answer(200, &shape))
}

async fn branch(dev: &Dev, ask: &Ask, repo: &Repository, name: &str) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    let sha = dev.git.commit_of(repo.id, &format!("refs/heads/{name}")).await.ok_or_else(Refusal::not_found)?;
    Ok(answer(200, &json!({"name": name, "commit": {"id": sha, "message": ""}, "protected": false})))
}

async fn commit(dev: &Dev, ask: &Ask, repo: &Repository, sha: &str) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    let sha = dev.git.commit_of(repo.id, sha).await.ok_or_else(Refusal::not_found)?;
    Ok(answer(200, &json!({"sha": sha, "commit": {"message": ""}, "parents": []})))
}

/// Any state and any context is taken, a short number or a branch too; a commit that there is none of is 500 without a word.
async fn post_status(dev: &Dev, ask: &Ask, repo: &Repository, sha: &str) -> Reply {
    ask.asker.may_write(Scope::Repository)?;
    if !can_write(dev, repo, &ask.asker.login) {
        return Err(Refusal::new(403, "user should have a permission to write to a repo"));
    }
    let asked = ask.json()?;
    let Some(sha) = dev.git.commit_of(repo.id, sha).await else { return Err(Refusal::new(500, "")) };
    let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
    let context = Some(text("context")).filter(|context| !context.is_empty()).unwrap_or_else(|| "default".into());
    let (creator, created) = (ask.asker.login.clone(), dev.now());
    let status = dev.change(|world| {
        let before = world.statuses.iter().filter(|status| status.repo == repo.id && status.sha == sha).count();
        let status = Status {
            id: i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1),
            repo: repo.id,
            sha,
            state: text("state"),
            context,
            target_url: text("target_url"),
            description: text("description"),
            creator,
            created,
        };
        world.statuses.push(status.clone());
        status
    });
    Ok(answer(201, &dev.show(|shapes| shapes.status(repo, &status))))
}

async fn statuses(dev: &Dev, ask: &Ask, repo: &Repository, sha: &str) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    let sha = dev.git.commit_of(repo.id, sha).await.ok_or_else(Refusal::not_found)?;
    let found = dev.show(|shapes| {
        let of_commit = shapes.world.statuses.iter().filter(|status| status.repo == repo.id && status.sha == sha);
        of_commit.rev().map(|status| shapes.status(repo, status)).collect()
    });
    Ok(list_of(dev, ask, repo, found, Paging::Usual))
}

async fn combined_status(dev: &Dev, ask: &Ask, repo: &Repository, sha: &str) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    let sha = dev.git.commit_of(repo.id, sha).await.ok_or_else(Refusal::not_found)?;
    Ok(answer(200, &dev.show(|shapes| shapes.combined_status(repo, &sha))))
}

/// Only administrators may ask about others.
fn permission(dev: &Dev, ask: &Ask, repo: &Repository, login: &str) -> Reply {
    ask.asker.may_read(Scope::Repository)?;
    let asker = ask.asker.known()?;
    let (own, theirs) = dev.look(|world| (world.access(repo, asker), world.access(repo, login)));
    if own < Access::Admin && !asker.eq_ignore_ascii_case(login) {
        return Err(Refusal::new(
            403,
            "Only admins can query all permissions, repo admins can query all repo permissions",
        ));
    }
    Ok(answer(200, &json!({"permission": theirs, "role_name": theirs, "user": dev.show(|shapes| shapes.user(login))})))
}

impl Dev {
    pub(super) async fn pull_shape(&self, repo: &Repository, number: i64, asker: &str) -> Result<Value, Refusal> {
        let issue = find_issue(self, repo, number)?;
        let base_branch = issue.pull.as_ref().ok_or_else(Refusal::not_found)?.base_branch.clone();
        let base = self.git.commit_of(repo.id, &format!("refs/heads/{base_branch}")).await.unwrap_or_default();
        Ok(self.show(|shapes| shapes.pull(repo, &issue, &base, asker)))
    }

    pub(super) fn add_comment(&self, repo: i64, number: i64, author: &str, body: String) -> Entry {
        let now = self.now();
        let entry = self.change(|world| world.add_entry(repo, number, Kind::Comment, author, body, now).clone());
        self.tell_hooks("created", &entry, author);
        entry
    }

    /// Moves the comment's time, not its pull request's; the same text again moves nothing.
    pub(super) fn edit_comment(&self, id: i64, body: String, by: &str) -> Option<Entry> {
        let now = self.now();
        let (entry, is_changed) = self.change(|world| {
            let entry = world.entry_mut(id).filter(|entry| entry.kind == Kind::Comment)?;
            let is_changed = entry.body != body;
            if is_changed {
                entry.body = body;
                entry.updated = now;
            }
            Some((entry.clone(), is_changed))
        })?;
        if is_changed {
            self.tell_hooks("edited", &entry, by);
        }
        Some(entry)
    }

    pub(super) fn delete_comment(&self, id: i64, by: &str) {
        let gone = self.change(|world| {
            let entry = world.entry(id).cloned();
            world.entries.retain(|entry| entry.id != id);
            entry
        });
        if let Some(entry) = gone {
            self.tell_hooks("deleted", &entry, by);
        }
    }
}

/// `/owner/name[.git]` and what git wants of it.
pub(super) struct GitPath {
    owner: String,
    name: String,
    rest: &'static str,
}

pub(super) fn git_path(path: &str) -> Option<GitPath> {
    let rest = ["/info/refs", "/git-upload-pack", "/git-receive-pack"].into_iter().find(|rest| path.ends_with(rest))?;
    let (owner, name) = path.strip_suffix(rest)?.strip_prefix('/')?.split_once('/')?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    (!name.contains('/')).then(|| GitPath { owner: owner.into(), name: name.into(), rest })
}

/// Reading is for everybody who sees the repository, pushing for those who may write to it; nobody gets in with a wrong token.
pub(super) async fn git_over_http(dev: &Dev, at: GitPath, target: &str, request: Request) -> Reply {
    let asker = dev.asker(request.headers())?;
    let (found, moved) = dev.look(|world| {
        let found = world.repo(&at.owner, &at.name).map(|repo| (repo.clone(), world.access(repo, &asker.login)));
        (found, world.moved_to(&at.owner, &at.name).map(Repository::full_name))
    });
    let Some((repo, access)) = found else {
        let new = moved.ok_or_else(Refusal::not_found)?;
        let there = target.replacen(&format!("/{}/{}", at.owner, at.name), &format!("/{new}"), 1);
        return Err(Refusal::redirect(301, there));
    };
    let is_push = at.rest == "/git-receive-pack"
        || read_query(request.uri()).get("service").is_some_and(|service| service == "git-receive-pack");
    if is_push {
        asker.may_write(Scope::Repository)?;
        if access < Access::Write || repo.archived {
            return Err(Refusal::new(403, "no write access"));
        }
    } else if access < Access::Read {
        return Err(if asker.login.is_empty() { Refusal::new(401, "token is required") } else { Refusal::not_found() });
    } else {
        asker.may_read(Scope::Repository)?;
    }
    let is_received = at.rest == "/git-receive-pack";
    let (parts, body) = request.into_parts();
    let wanted = git::Asked {
        repo: repo.id,
        method: parts.method.as_str(),
        rest: at.rest,
        query: parts.uri.query().unwrap_or_default(),
        content_type: text_header(&parts.headers, "content-type").unwrap_or_default(),
        encoding: text_header(&parts.headers, "content-encoding"),
        protocol: text_header(&parts.headers, "git-protocol"),
        user: if asker.login.is_empty() { "nobody" } else { &asker.login },
        body,
    };
    if !is_received {
        return Ok(dev.git.http(wanted).await?);
    }
    let _alone = dev.pushing.lock().await;
    let before = dev.git.branches(repo.id).await?;
    let answer = dev.git.http(wanted).await?;
    dev.after_push(repo.id, &before, &asker.login).await?;
    Ok(answer)
}
