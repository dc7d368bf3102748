//! Waiting until something is so on the forge, for tests that do not sleep.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Kind, Repository};
use super::{Dev, Refusal, Reply, answer};

const USUAL_TIMEOUT_MS: u64 = 30_000;

/// `GET /_dev/wait?for=comment&repo=o/r&pr=1&by=ci&contains=Passed&timeout_ms=60000`: what was waited for, or 408 and what is
/// there instead.
pub(super) async fn wait(dev: &Dev, query: &BTreeMap<String, String>) -> Reply {
    let ms = query.get("timeout_ms").and_then(|text| text.parse().ok()).unwrap_or(USUAL_TIMEOUT_MS);
    let mut stirred = dev.stirred.subscribe();
    let deadline = tokio::time::sleep(Duration::from_millis(ms));
    let mut deadline = std::pin::pin!(deadline);
    loop {
        stirred.mark_unchanged();
        let there = match look(dev, query)? {
            Ok(found) => return Ok(answer(200, &found)),
            Err(there) => there,
        };
        tokio::select! {
            _ = stirred.changed() => {}
            () = dev.shutdown.cancelled() => return Err(Refusal::new(503, "the forge is stopping")),
            () = &mut deadline => {
                let message = format!("after {ms} ms this is not so: {query:?}");
                return Ok(answer(408, &json!({"message": message, "there": there})));
            }
        }
    }
}

/// What was asked for, or else what there is of its kind.
fn look(dev: &Dev, query: &BTreeMap<String, String>) -> Result<Result<Value, Value>, Refusal> {
    let get = |key: &str| query.get(key).map_or("", String::as_str);
    match get("for") {
        "comment" => comment(dev, &repo(dev, get("repo"))?, query),
        "status" => Ok(status(dev, &repo(dev, get("repo"))?, query)),
        "reaction" => reaction(dev, query),
        "request" => {
            let since = get("since").parse().unwrap_or(0);
            let count = get("count").parse().unwrap_or(1);
            let found = dev.log().find(since, get("method"), get("path"));
            let is_so = found.len() >= count;
            let found = json!(found);
            Ok(if is_so { Ok(found) } else { Err(found) })
        }
        other => Err(Refusal::new(422, format!("`for={other}`: comment, status, reaction or request"))),
    }
}

fn repo(dev: &Dev, name: &str) -> Result<Repository, Refusal> {
    let found = name.split_once('/').and_then(|(owner, name)| dev.look(|world| world.repo(owner, name).cloned()));
    found.ok_or_else(|| Refusal::new(404, format!("there is no repository `{name}`")))
}

/// The newest comment of a pull request that fits `by`, `id`, `contains` and `lacks`; `gone`: that none does.
fn comment(dev: &Dev, repo: &Repository, query: &BTreeMap<String, String>) -> Result<Result<Value, Value>, Refusal> {
    let get = |key: &str| query.get(key).map_or("", String::as_str);
    let number: i64 = get("pr").parse().map_err(|_| Refusal::new(422, "`pr` is a number"))?;
    let (by, id, contains, lacks) = (get("by"), get("id"), get("contains"), get("lacks"));
    Ok(dev.show(|shapes| {
        let all: Vec<_> = shapes.world.comments(repo.id, number).collect();
        let found = all.iter().rev().find(|entry| {
            (by.is_empty() || entry.author.eq_ignore_ascii_case(by))
                && (id.is_empty() || entry.id.to_string() == id)
                && entry.body.contains(contains)
                && (lacks.is_empty() || !entry.body.contains(lacks))
        });
        let there: Value =
            all.iter().map(|entry| json!({"id": entry.id, "by": entry.author, "body": entry.body})).collect();
        match (found, query.contains_key("gone")) {
            (Some(entry), false) => Ok(shapes.entry(entry, false)),
            (None, true) => Ok(there),
            _ => Err(there),
        }
    }))
}

/// The latest status of a commit in a context is `state`.
fn status(dev: &Dev, repo: &Repository, query: &BTreeMap<String, String>) -> Result<Value, Value> {
    let get = |key: &str| query.get(key).map_or("", String::as_str);
    dev.show(|shapes| {
        let latest = shapes.world.latest_statuses(repo.id, get("sha"));
        let found = latest.iter().find(|status| {
            (get("context").is_empty() || status.context == get("context"))
                && (get("state").is_empty() || status.state == get("state"))
                && status.description.contains(get("contains"))
        });
        let there = latest.iter().map(|status| shapes.status(repo, status)).collect();
        found.map(|status| shapes.status(repo, status)).ok_or(there)
    })
}

fn reaction(dev: &Dev, query: &BTreeMap<String, String>) -> Result<Result<Value, Value>, Refusal> {
    let get = |key: &str| query.get(key).map_or("", String::as_str);
    let id: i64 = get("comment").parse().map_err(|_| Refusal::new(422, "`comment` is a number"))?;
    dev.show(|shapes| {
        let entry = shapes.world.entry(id).filter(|entry| entry.kind == Kind::Comment);
        let entry = entry.ok_or_else(|| Refusal::new(404, format!("there is no comment {id}")))?;
        let fits = |content: &str, user: &str| {
            (get("content").is_empty() || content == get("content"))
                && (get("by").is_empty() || user.eq_ignore_ascii_case(get("by")))
        };
        let is_so = entry.reactions.iter().any(|reaction| fits(&reaction.content, &reaction.user));
        let there = shapes.reactions(entry);
        Ok(if is_so { Ok(there) } else { Err(there) })
    })
}
