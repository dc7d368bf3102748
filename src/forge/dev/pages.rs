//! Pages for people: repositories, pull requests, and a form to comment as anybody who is there.

use axum::body::Body;
use axum::extract::{Form, FromRequest, Request};
use axum::http::{HeaderValue, Response, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::markdown::to_html;
use super::shapes::Shapes;
use super::world::{Entry, Issue, Kind, Pull, Repository, Status};
use super::{Ask, Dev, Refusal, Reply, plain};

pub(super) fn style() -> Response<Body> {
    let mut answer = plain(200, Body::from(include_str!("page.css")));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    answer
}

pub(super) async fn route(dev: &Dev, ask: &Ask) -> Reply {
    let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
    match (ask.method.as_str(), parts.as_slice()) {
        ("GET", [""]) => Ok(page("Repositories", None, &repositories(dev))),
        ("GET", [owner, name] | [owner, name, "pulls"]) => {
            let repo = find(dev, owner, name)?;
            Ok(page(&repo.full_name(), None, &pulls(dev, &repo)))
        }
        ("GET", [owner, name, "pulls" | "issues", number]) => {
            let repo = find(dev, owner, name)?;
            let issue = issue(dev, &repo, number)?;
            let follow = ask.query.contains_key("follow").then_some(2);
            let title = format!("{} · {} #{}", issue.title, repo.full_name(), issue.number);
            Ok(page(&title, follow, &conversation(dev, &repo, &issue, follow.is_some()).await))
        }
        ("POST", [owner, name, "pulls" | "issues", number]) => {
            let repo = find(dev, owner, name)?;
            let issue = issue(dev, &repo, number)?;
            say(dev, ask, &repo, &issue).await
        }
        _ => Err(Refusal::not_found()),
    }
}

fn find(dev: &Dev, owner: &str, name: &str) -> Result<Repository, Refusal> {
    let found = dev.look(|world| world.repo(owner, name).or_else(|| world.moved_to(owner, name)).cloned());
    found.ok_or_else(Refusal::not_found)
}

fn issue(dev: &Dev, repo: &Repository, number: &str) -> Result<Issue, Refusal> {
    let number = number.parse().map_err(|_| Refusal::not_found())?;
    dev.look(|world| world.issue(repo.id, number).cloned()).ok_or_else(Refusal::not_found)
}

/// A comment from the form; then the page again, at the comment.
async fn say(dev: &Dev, ask: &Ask, repo: &Repository, issue: &Issue) -> Reply {
    let request = Request::builder()
        .method("POST")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(ask.body.clone()))
        .map_err(|error| Refusal::new(400, error.to_string()))?;
    let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
    let Form(fields) = form.map_err(|error| Refusal::new(422, error.to_string()))?;
    let field = |key: &str| fields.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    let (author, body) = (field("as"), field("body").replace("\r\n", "\n"));
    if dev.look(|world| world.user(author).is_none()) || body.trim().is_empty() {
        return Err(Refusal::new(422, "a comment has somebody who writes it and some words"));
    }
    let id = dev.add_comment(repo.id, issue.number, author, body).id;
    let there = dev.show(|shapes| shapes.page(repo, issue));
    Err(Refusal::redirect(303, format!("{there}?follow#issuecomment-{id}")))
}

fn page(title: &str, refresh_s: Option<u32>, content: &Markup) -> Response<Body> {
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(seconds) = refresh_s { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                link rel="stylesheet" href="/_dev/style.css";
            }
            body {
                header { a href="/" { "Forge" } span { "for the demo and the tests" } }
                main { (content) }
            }
        }
    };
    let mut answer = plain(200, Body::from(html.into_string()));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'self'; img-src * data:; form-action 'self'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer
}

fn repositories(dev: &Dev) -> Markup {
    dev.show(|shapes| {
        let world = shapes.world;
        html! {
            h1 { "Repositories" }
            @if world.repos.is_empty() { p { "There are none yet." } }
            ul.rows {
                @for repo in &world.repos {
                    @let open = world.issues.iter().filter(|issue| issue.repo == repo.id && issue.open && issue.pull.is_some());
                    li {
                        a href=(shapes.repo_url(repo)) { (repo.full_name()) }
                        @if let Some(parent) = repo.fork_of.and_then(|id| world.repo_by_id(id)) {
                            span.quiet { "fork of " (parent.full_name()) }
                        }
                        @if repo.archived { span.quiet { "archived" } }
                        span.end { (plural(open.count(), "open pull request")) }
                    }
                }
            }
        }
    })
}

fn pulls(dev: &Dev, repo: &Repository) -> Markup {
    dev.show(|shapes| {
        let mut issues: Vec<&Issue> = shapes.world.issues.iter().filter(|issue| issue.repo == repo.id).collect();
        issues.sort_by_key(|issue| (!issue.open, std::cmp::Reverse(issue.number)));
        html! {
            h1 { (repo.full_name()) }
            p.quiet { "Clone it: " code { "git clone " (shapes.repo_url(repo)) ".git" } }
            @if issues.is_empty() { p { "No pull requests yet." } }
            ul.rows {
                @for issue in issues {
                    li {
                        (state(issue))
                        a href=(shapes.page(repo, issue)) { (issue.title) }
                        span.quiet { "#" (issue.number) " by " (issue.author) }
                        @if let Some(pull) = &issue.pull {
                            span.end { (statuses(shapes, repo, &pull.head)) }
                        }
                    }
                }
            }
        }
    })
}

async fn conversation(dev: &Dev, repo: &Repository, issue: &Issue, follows: bool) -> Markup {
    let commits = match &issue.pull {
        Some(pull) => dev.git.log(repo.id, &pull.merge_base, &pull.head).await.unwrap_or_default(),
        None => Vec::new(),
    };
    dev.show(|shapes| {
        let world = shapes.world;
        let here = shapes.page(repo, issue);
        html! {
            p.quiet { a href=(shapes.repo_url(repo)) { (repo.full_name()) } }
            h1 { (issue.title) " " span.quiet { "#" (issue.number) } }
            p {
                (state(issue))
                @if issue.locked { span.mark { "locked" } }
                @if let Some(pull) = &issue.pull { (branches(shapes, issue, pull)) }
            }
            @if let Some(pull) = &issue.pull {
                section {
                    h2 { (plural(commits.len(), "commit")) }
                    ol.rows {
                        @for [sha, subject, author, _] in &commits {
                            li {
                                code { (sha.get(..8).unwrap_or(sha)) } " " (subject) span.quiet { "by " (author) }
                                @if *sha == pull.head { span.end { (statuses(shapes, repo, sha)) } }
                            }
                        }
                    }
                    (checks(shapes, repo, &pull.head))
                }
            }
            section {
                (words(shapes, &issue.author, issue.created, None, &issue.body, &[]))
                @for entry in world.timeline(repo.id, issue.number) {
                    @match entry.kind {
                        Kind::Comment => (comment(shapes, entry)),
                        Kind::PullPush => (push(shapes, entry)),
                    }
                }
            }
            section {
                h2 { "Comment" }
                form method="post" action=(here) {
                    label { "as "
                        select name="as" {
                            @for user in &world.users { option value=(user.login) { (user.login) } }
                        }
                    }
                    textarea name="body" rows="4" required aria-label="Comment" placeholder="!testme" {}
                    button { "Comment" }
                }
                p.quiet {
                    @if follows { "This page looks again every two seconds. " a href=(here) { "Stop that" } "." }
                    @else { a href={ (here) "?follow" } { "Follow what happens" } "." }
                }
            }
        }
    })
}

fn branches(shapes: &Shapes<'_>, issue: &Issue, pull: &Pull) -> Markup {
    let fork = pull.head_repo.filter(|id| *id != issue.repo).and_then(|id| shapes.world.repo_by_id(id));
    html! {
        (issue.author) " asks to merge "
        code { @if let Some(fork) = fork { (fork.owner) ":" } (pull.head_branch) }
        " into " code { (pull.base_branch) } "."
    }
}

fn state(issue: &Issue) -> Markup {
    let merged = issue.pull.as_ref().is_some_and(|pull| pull.merged.is_some());
    let (class, word) = match issue.open {
        true => ("mark open", "open"),
        false if merged => ("mark merged", "merged"),
        false => ("mark closed", "closed"),
    };
    html! { span class=(class) { (word) } }
}

/// Shape and word; colour only repeats them.
fn sign(status: &Status) -> Markup {
    let (class, shape) = match status.state.as_str() {
        "success" => ("good", "✔"),
        "failure" => ("bad", "✘"),
        "error" => ("bad", "!"),
        _ => ("waits", "●"),
    };
    html! { span class=(class) title=(status.description) { (shape) " " (status.state) } }
}

fn statuses(shapes: &Shapes<'_>, repo: &Repository, sha: &str) -> Markup {
    html! { @for status in shapes.world.latest_statuses(repo.id, sha) { (sign(status)) } }
}

fn checks(shapes: &Shapes<'_>, repo: &Repository, sha: &str) -> Markup {
    let latest = shapes.world.latest_statuses(repo.id, sha);
    html! {
        @if !latest.is_empty() {
            ul.rows {
                @for status in latest {
                    li {
                        (sign(status)) " " strong { (status.context) } " " (status.description)
                        @if status.target_url.starts_with("http") { span.end { a href=(status.target_url) { "Details" } } }
                    }
                }
            }
        }
    }
}

fn comment(shapes: &Shapes<'_>, entry: &Entry) -> Markup {
    let reactions: Vec<String> =
        entry.reactions.iter().map(|reaction| format!("{} {}", face(&reaction.content), reaction.user)).collect();
    let id = Some(format!("issuecomment-{}", entry.id));
    let edited = entry.updated != entry.created;
    let mut marks = reactions;
    if edited {
        marks.push(format!("edited {}", shapes.time(entry.updated).replace(['T', 'Z'], " ").trim()));
    }
    words(shapes, &entry.author, entry.created, id, &entry.body, &marks)
}

fn words(
    shapes: &Shapes<'_>,
    author: &str,
    at: crate::clock::Time,
    id: Option<String>,
    body: &str,
    marks: &[String],
) -> Markup {
    html! {
        article id=[id] {
            header { strong { (author) } " " (when(shapes, at)) }
            @if body.trim().is_empty() { p.quiet { "No words." } } @else { (PreEscaped(to_html(body))) }
            @if !marks.is_empty() { footer { @for mark in marks { span { (mark) } } } }
        }
    }
}

fn when(shapes: &Shapes<'_>, at: crate::clock::Time) -> Markup {
    let time = shapes.time(at);
    html! { time datetime=(time) { (time.replace(['T', 'Z'], " ").trim()) } }
}

fn face(reaction: &str) -> &str {
    match reaction {
        "eyes" => "👀 eyes of",
        "+1" => "👍 from",
        "-1" => "👎 from",
        "heart" => "❤ from",
        "rocket" => "🚀 from",
        other => other,
    }
}

fn push(shapes: &Shapes<'_>, entry: &Entry) -> Markup {
    let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap_or_default();
    let commits: Vec<&str> = body["commit_ids"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).collect();
    let last = commits.last().and_then(|sha| sha.get(..8)).unwrap_or("nothing");
    html! {
        p.event {
            (entry.author)
            @if body["is_force_push"] == true { " replaced the branch by " } @else { " pushed " (plural(commits.len(), "commit")) ", up to " }
            code { (last) } " " (when(shapes, entry.created))
        }
    }
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
