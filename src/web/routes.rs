//! Which address is which page. Handlers parse the question and hand over; they hold no rule of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;

use super::answer::{Rendered, Wrong};
use super::cache::Topic;
use super::run::Place;
use super::{
    Fresh, Site, about, assets, badge, decisions, evidence, feed, health, links, metrics, overview, queue, raw_log,
    recipe, repositories,
};
use super::{compare, hosts, live, run, runs, search, style};
use crate::model::{RepoName, RunId};
use crate::store::pages;

type Shown = Result<Rendered, Wrong>;
type At = State<Arc<Site>>;

/// The parts of an address that differ; those that are no text get a page that says so.
pub(super) struct Part<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<Arc<Site>> for Part<T> {
    type Rejection = Wrong;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Part<T>, Wrong> {
        Path::from_request_parts(parts, site).await.map(|Path(part)| Part(part)).map_err(|_| Wrong::Address)
    }
}

/// Lists that show ages of open runs or alarms are made again after this long, changed or not.
const SECOND: Duration = Duration::from_secs(1);

/// Every address that is a page for people; what stands in braces differs.
pub const PAGES: &[&str] = &[
    "/",
    "/recipes/{name}",
    "/runs",
    "/runs/{id}",
    "/runs/{id}/lines",
    "/queue",
    "/decisions",
    "/repositories",
    "/hosts",
    "/about",
    "/style",
    "/search",
    "/search?find=the",
    "/compare?a={id}&b={id}",
];

pub(super) fn router(site: &Arc<Site>, extra: Router) -> Router {
    Router::new()
        .route("/", get(show_overview))
        .route("/recipes/{name}", get(show_recipe))
        .route("/runs", get(show_runs))
        .route("/runs/{id}", get(show_run))
        .route("/runs/{id}/now", get(show_run_now))
        .route("/runs/{id}/lines", get(show_lines))
        .route("/runs/{id}/log", get(show_log))
        .route("/runs/{id}/events", get(follow))
        .route("/events", get(follow_changes))
        .route("/runs/{id}/evidence/{name}", get(show_evidence))
        .route("/runs/{id}/result.json", get(show_result))
        .route("/queue", get(show_queue))
        .route("/decisions", get(show_decisions))
        .route("/repositories", get(show_repositories))
        .route("/hosts", get(show_hosts))
        .route("/compare", get(show_compare))
        .route("/search", get(show_search))
        .route("/style", get(show_style))
        .route("/about", get(show_about))
        .route("/badge/{file}", get(show_badge))
        .route("/badge/{recipe}/level.svg", get(show_level_badge))
        .route("/feed.atom", get(show_feed))
        .route("/recipes/{name}/feed.atom", get(show_recipe_feed))
        .route("/metrics", get(show_metrics))
        .route("/health", get(say_alive))
        .route("/ready", get(say_ready))
        .route("/assets/{file}", get(give_asset))
        .merge(super::api::router())
        .fallback(async || Wrong::NoPage)
        .method_not_allowed_fallback(async || Wrong::Method)
        .with_state(Arc::clone(site))
        .merge(extra)
}

async fn show_overview(State(site): At, uri: Uri) -> Shown {
    let Query(asked) = query::<overview::Query>(&uri)?;
    let asked = overview::Asked::parse(asked)?;
    let address = asked.address();
    let searched = asked.find.is_some();
    let render = async {
        let overview = overview::load(&site, asked).await?;
        Ok(Fresh::page(overview::view(&overview), overview.now, overview.newest()).at_most(SECOND))
    };
    // What people type is hardly ever asked for twice.
    if searched { Ok(render.await?.rendered) } else { site.page(&uri, address, Topic::Runs, render).await }
}

async fn show_recipe(State(site): At, uri: Uri, Part(name): Part<String>) -> Shown {
    let page = site.page(&uri, links::recipe(&name), Topic::Runs, async {
        let recipe = recipe::load(&site, name.clone()).await?;
        Ok(Fresh::page(recipe::view(&recipe), recipe.now, recipe.newest()).at_most(SECOND * 10))
    });
    page.await
}

#[derive(Deserialize)]
struct RunsAsked {
    recipe: Option<String>,
    outcome: Option<String>,
    origin: Option<String>,
    before: Option<String>,
}

async fn show_runs(State(site): At, uri: Uri) -> Shown {
    let Query(asked) = query::<RunsAsked>(&uri)?;
    let narrowed = [&asked.recipe, &asked.outcome, &asked.origin].map(Option::as_deref);
    let asked = runs::Asked::parse(narrowed, asked.before.as_deref())?;
    let address = asked.address();
    let deep = asked.before.is_some();
    let render = async {
        let list = runs::load(&site, asked).await?;
        Ok(Fresh::page(runs::view(&list), list.now, list.newest()))
    };
    // Of the pages behind the first there are as many as runs, and hardly any is asked for twice.
    if deep { Ok(render.await?.rendered) } else { site.page(&uri, address, Topic::Runs, render).await }
}

async fn show_run(State(site): At, uri: Uri, Part(id): Part<String>) -> Shown {
    let id = run_id(&site, &id).await?;
    let page = site.page(&uri, links::run(id), Topic::Run(id), async {
        let run = run::load(&site, id, true).await?;
        Ok(Fresh::page(run::view(&run), run.now, Some(run.newest())))
    });
    page.await
}

async fn show_run_now(State(site): At, uri: Uri, Part(id): Part<String>) -> Shown {
    let id = run_id(&site, &id).await?;
    let page = site.page(&uri, format!("/runs/{id}/now"), Topic::Run(id), async {
        let run = run::load(&site, id, false).await?;
        Ok(Fresh::page(run::now(&run), run.now, Some(run.newest())))
    });
    page.await
}

#[derive(Deserialize)]
struct LinesAsked {
    before: Option<String>,
    from: Option<String>,
    at: Option<String>,
}

async fn show_lines(State(site): At, uri: Uri, Part(id): Part<String>) -> Result<Rendered, Wrong> {
    let id = run_id(&site, &id).await?;
    let Query(asked) = query::<LinesAsked>(&uri)?;
    let place = match (asked.before, asked.from, asked.at.as_deref()) {
        (Some(before), None, None) => Place::Before(offset("before", &before)?),
        (None, Some(from), None) => Place::From(offset("from", &from)?),
        (None, None, Some("error")) => Place::Error,
        (None, None, Some(stage)) => Place::Stage(
            stage.parse().map_err(|_| Wrong::parameter("at", format!("is a stage or `error`, not `{stage}`")))?,
        ),
        (None, None, None) => Place::Tail,
        _ => return Err(Wrong::parameter("before", "and `from` and `at` exclude each other")),
    };
    let part = run::load_part(&site, id, place).await?;
    Ok(Rendered::html(run::view_part(&part)))
}

#[derive(Deserialize)]
struct LogAsked {
    offset: Option<String>,
    tail: Option<String>,
}

async fn show_log(
    State(site): At,
    uri: Uri,
    Part(id): Part<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Wrong> {
    let id = known_run(&site, &id).await?;
    let Query(asked) = query::<LogAsked>(&uri)?;
    let from = match (asked.offset.as_deref(), asked.tail.as_deref()) {
        (Some(from), None) => Some(offset("offset", from)?),
        (None, Some(lines)) => Some(raw_log::tail(site.logs.to_path_buf(), id, lines).await?),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(Wrong::parameter("tail", "and `offset` exclude each other")),
    };
    raw_log::answer(site.logs.to_path_buf(), id, from, &headers).await
}

async fn show_evidence(State(site): At, Part((id, name)): Part<(String, String)>) -> Result<Response<Body>, Wrong> {
    let id = known_run(&site, &id).await?;
    evidence::answer(&site, id, name).await
}

async fn show_result(State(site): At, Part(id): Part<String>) -> Result<Response<Body>, Wrong> {
    let id = known_run(&site, &id).await?;
    evidence::result(&site, id).await
}

#[derive(Deserialize)]
struct FollowAsked {
    from: Option<String>,
}

async fn follow(
    State(site): At,
    uri: Uri,
    Part(id): Part<String>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response<Body>, Wrong> {
    let id = run_id(&site, &id).await?;
    let Query(asked) = query::<FollowAsked>(&uri)?;
    let last = headers.get("last-event-id").and_then(|last| last.to_str().ok()).filter(|last| !last.is_empty());
    let from = match (last, asked.from.as_deref()) {
        (Some(last), _) => offset("Last-Event-ID", last)?,
        (None, Some(from)) => offset("from", from)?,
        (None, None) => 0,
    };
    site.live.follow(id, from, live::client(&headers, &extensions)).await
}

async fn follow_changes(State(site): At, headers: HeaderMap, extensions: Extensions) -> Result<Response<Body>, Wrong> {
    let last = headers.get("last-event-id").and_then(|last| last.to_str().ok()).map(str::to_owned);
    site.changes.follow(&site.live, last, live::client(&headers, &extensions)).await
}

async fn show_queue(State(site): At, uri: Uri) -> Shown {
    let page = site.page(&uri, "/queue".to_owned(), Topic::Runs, async {
        let queue = queue::load(&site).await?;
        Ok(Fresh::page(queue::view(&queue), queue.now, Some(queue.now)).at_most(SECOND))
    });
    page.await
}

#[derive(Deserialize)]
struct Before {
    before: Option<String>,
}

async fn show_decisions(State(site): At, uri: Uri) -> Shown {
    let Query(asked) = query::<Before>(&uri)?;
    let before = decisions::parse(asked.before.as_deref())?;
    let page = site.page(&uri, decisions::address(before), Topic::Everything, async {
        let decisions = decisions::load(&site, before).await?;
        Ok(Fresh::page(decisions::view(&decisions), decisions.now, None))
    });
    page.await
}

async fn show_repositories(State(site): At, uri: Uri) -> Shown {
    let page = site.page(&uri, "/repositories".to_owned(), Topic::Everything, async {
        let all = repositories::load(&site).await?;
        Ok(Fresh::page(repositories::view(&all), all.now, Some(all.now)).at_most(SECOND))
    });
    page.await
}

async fn show_hosts(State(site): At, uri: Uri) -> Shown {
    let page = site.page(&uri, "/hosts".to_owned(), Topic::Everything, async {
        let hosts = hosts::load(&site).await?;
        Ok(Fresh::page(hosts::view(&hosts), hosts.now, Some(hosts.now)).at_most(SECOND))
    });
    page.await
}

#[derive(Deserialize)]
struct CompareAsked {
    a: Option<String>,
    b: Option<String>,
}

async fn show_compare(State(site): At, uri: Uri) -> Shown {
    let Query(asked) = query::<CompareAsked>(&uri)?;
    let (Some(a), Some(b)) = (asked.a, asked.b) else {
        return Err(Wrong::parameter("a", "and `b` name the two runs: /compare?a=1&b=2"));
    };
    let (a, b) = (run_id(&site, &a).await?, run_id(&site, &b).await?);
    Ok(Rendered::html(compare::view(&compare::load(&site, a, b).await?)))
}

#[derive(Deserialize)]
struct SearchAsked {
    find: Option<String>,
}

async fn show_search(State(site): At, uri: Uri) -> Shown {
    let Query(asked) = query::<SearchAsked>(&uri)?;
    let find = search::parse(asked.find)?;
    Ok(Rendered::html(search::view(&search::load(&site, find).await?)))
}

async fn show_style() -> Rendered {
    Rendered::html(style::view())
}

async fn show_about(State(site): At) -> Rendered {
    Rendered::html(about::view(&about::About::of(&site)))
}

async fn show_feed(State(site): At, uri: Uri) -> Shown {
    site.page(&uri, "/feed.atom".to_owned(), Topic::Runs, feed::load(&site, None)).await
}

async fn show_recipe_feed(State(site): At, uri: Uri, Part(name): Part<String>) -> Shown {
    let address = format!("{}/feed.atom", links::recipe(&name));
    site.page(&uri, address, Topic::Runs, feed::load(&site, Some(name))).await
}

async fn show_metrics(State(site): At, uri: Uri) -> Shown {
    site.page(&uri, "/metrics".to_owned(), Topic::Everything, metrics::page(&site)).await
}

async fn show_badge(State(site): At, uri: Uri, Part(file): Part<String>) -> Shown {
    if let Some(recipe) = file.strip_suffix(".json") {
        let recipe: RepoName = recipe.parse().map_err(|_| Wrong::NoPage)?;
        let address = format!("/badge/{recipe}.json");
        return site.page(&uri, address, Topic::Runs, badge::shield(&site, recipe.to_string())).await;
    }
    let recipe: RepoName = file.strip_suffix(".svg").and_then(|recipe| recipe.parse().ok()).ok_or(Wrong::NoPage)?;
    let address = format!("/badge/{recipe}.svg");
    picture(&recipe, site.page(&uri, address, Topic::Runs, badge::verdict(&site, recipe.to_string())).await)
}

async fn show_level_badge(State(site): At, uri: Uri, Part(recipe): Part<String>) -> Shown {
    let recipe: RepoName = recipe.parse().map_err(|_| Wrong::NoPage)?;
    let address = format!("/badge/{recipe}/level.svg");
    picture(&recipe, site.page(&uri, address, Topic::Runs, badge::level(&site, recipe.to_string())).await)
}

/// READMEs show a picture or a broken one; there is no page to read there.
fn picture(recipe: &RepoName, badge: Shown) -> Shown {
    if let Err(Wrong::Store(_)) = &badge {
        tracing::error!(recipe = %recipe, "a badge could not be made");
        return Err(Wrong::NoPage);
    }
    badge
}

async fn say_alive() -> Response<Body> {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn say_ready(State(site): At) -> Response<Body> {
    let health = health::look(&site).await;
    let status = if health.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &health.json())
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, no_store, axum::Json(value)).into_response()
}

async fn give_asset(Part(file): Part<String>) -> Result<Response<Body>, Wrong> {
    assets::find(&file).map(Rendered::respond).ok_or(Wrong::NoPage)
}

pub(super) fn query<T: serde::de::DeserializeOwned>(uri: &Uri) -> Result<Query<T>, Wrong> {
    Query::try_from_uri(uri).map_err(|_| Wrong::parameter("?", "and what follows cannot be read; one value a name"))
}

/// A run's number as it stands in an address.
pub(super) async fn run_id(site: &Site, text: &str) -> Result<RunId, Wrong> {
    match text.parse::<i64>() {
        Ok(number) if number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(RunId(number)),
        _ => Err(Wrong::NoRun { asked: text.to_owned(), newest: site.store.read(pages::newest).await? }),
    }
}

/// One that there is.
pub(super) async fn known_run(site: &Site, text: &str) -> Result<RunId, Wrong> {
    let id = run_id(site, text).await?;
    let (exists, newest) =
        site.store.read(move |db| Ok((crate::store::runs::by_id(db, id)?.is_some(), pages::newest(db)?))).await?;
    if exists { Ok(id) } else { Err(Wrong::NoRun { asked: text.to_owned(), newest }) }
}

fn offset(name: &'static str, text: &str) -> Result<u64, Wrong> {
    text.parse().map_err(|_| Wrong::parameter(name, format!("is a place in the log, a number of bytes, not `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::PAGES;

    /// Routes that are no page of their own.
    const OTHERS: &[&str] = &[
        "/runs/{id}/now",
        "/runs/{id}/log",
        "/runs/{id}/events",
        "/events",
        "/runs/{id}/evidence/{name}",
        "/runs/{id}/result.json",
        "/badge/{file}",
        "/badge/{recipe}/level.svg",
        "/feed.atom",
        "/recipes/{name}/feed.atom",
        "/metrics",
        "/health",
        "/ready",
        "/assets/{file}",
    ];

    #[test]
    fn every_route_is_known_as_a_page_or_as_none() {
        let code = include_str!("routes.rs");
        let routes: Vec<&str> = code
            .split(".route(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|at| at.starts_with('/'))
            .collect();
        assert!(routes.len() > 10);
        for route in &routes {
            let is_page = PAGES.iter().any(|page| page.split('?').next() == Some(route));
            assert!(is_page || OTHERS.contains(route), "{route} is in neither list");
        }
        for page in PAGES.iter().chain(OTHERS).filter_map(|page| page.split('?').next()) {
            assert!(routes.contains(&page), "{page} has no route");
        }
    }
}
