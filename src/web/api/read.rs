//! What can be asked without a token: all that the pages show.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::get;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer::{Rendered, Wrong};
use super::super::routes::{known_run, query, run_id};
use super::super::{Site, decisions, links, raw_log, runs as list};
use super::{Answer, Link, Operation, Parameter, Place, Refused, json, run_parameter};
use crate::api::{self, read};
use crate::model::{Origin, Outcome, RunId};
use crate::store::stages;

type At = State<Arc<Site>>;
type Answered = Result<Rendered, Refused>;

const ROWS: u32 = 50;

pub(super) fn operations() -> Vec<Operation> {
    let reading = |path, id, summary, parameters, answer, routes| Operation {
        method: "get",
        path,
        id,
        summary,
        parameters,
        body: None,
        status: StatusCode::OK,
        answer,
        refusals: &[],
        links: &[],
        scope: None,
        routes,
    };
    let before =
        |about| query_parameter("before", about, json!({"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"}));
    vec![
        Operation {
            links: &[Link { name: "newest", to: "showRun", run: "/runs/0/id" }],
            ..reading(
                "/api/v1/runs",
                "listRuns",
                "Runs, newest first",
                vec![
                    query_parameter(
                        "recipe",
                        "Only this recipe's.",
                        json!({"type": "string", "maxLength": 100, "minLength": 1, "pattern": api::REPOSITORY}),
                    ),
                    query_parameter(
                        "outcome",
                        "Only those that ended so.",
                        json!({"type": "string", "enum": Outcome::ALL}),
                    ),
                    query_parameter(
                        "origin",
                        "Only those that were asked for in this way.",
                        json!({"type": "string", "enum": Origin::ALL}),
                    ),
                    query_parameter(
                        "before",
                        "Only those before this run.",
                        json!({"type": "integer", "minimum": 1, "maximum": i64::MAX}),
                    ),
                ],
                Answer::Json(schema::<api::Runs>),
                get(list_runs),
            )
        },
        reading(
            "/api/v1/runs/{id}",
            "showRun",
            "One run, with its stages and checks",
            vec![run_parameter()],
            Answer::Json(schema::<api::WholeRun>),
            get(show_run),
        ),
        reading(
            "/api/v1/runs/{id}/stages",
            "listStages",
            "The stages of a run, in their order",
            vec![run_parameter()],
            Answer::Json(schema::<Vec<api::Stage>>),
            get(list_stages),
        ),
        reading(
            "/api/v1/runs/{id}/checks",
            "listChecks",
            "The checks of a run, in the order in which they were made",
            vec![run_parameter()],
            Answer::Json(schema::<Vec<api::Check>>),
            get(list_checks),
        ),
        reading(
            "/api/v1/runs/{id}/images",
            "listImages",
            "The images that a run deployed, with their digests",
            vec![run_parameter()],
            Answer::Json(schema::<Vec<api::images::Image>>),
            get(list_images),
        ),
        Operation {
            refusals: &[206, 416],
            ..reading(
                "/api/v1/runs/{id}/log",
                "readLog",
                "The log of a run as text, whole or a range of its bytes",
                vec![
                    run_parameter(),
                    Parameter {
                        name: "Range",
                        place: Place::Header,
                        about: "One range, as `bytes=0-999` or `bytes=-4000`; what is none is overlooked (RFC 9110).",
                        schema: json!({"type": "string", "examples": ["bytes=0-999"]}),
                    },
                ],
                Answer::Text,
                get(read_log),
            )
        },
        reading(
            "/api/v1/recipes",
            "listRecipes",
            "Recipes that have a run, by name",
            vec![query_parameter(
                "after",
                "Only those after this name.",
                json!({"type": "string", "minLength": 1, "maxLength": 100}),
            )],
            Answer::Json(schema::<api::Recipes>),
            get(list_recipes),
        ),
        reading(
            "/api/v1/queue",
            "showQueue",
            "What runs and what waits",
            vec![],
            Answer::Json(schema::<api::Queue>),
            get(show_queue),
        ),
        reading(
            "/api/v1/decisions",
            "listDecisions",
            "What was done with comments that asked for something, newest first",
            vec![before("Where an earlier page ended, from its `next`.")],
            Answer::Json(schema::<api::Decisions>),
            get(list_decisions),
        ),
        reading(
            "/api/v1/hosts",
            "listHosts",
            "The processes and what they see of their host",
            vec![],
            Answer::Json(schema::<api::Hosts>),
            get(list_hosts),
        ),
        reading("/api/v1/openapi.json", "openapi", "This document", vec![], Answer::Document, get(give_document)),
    ]
}

fn query_parameter(name: &'static str, about: &'static str, schema: Value) -> Parameter {
    Parameter { name, place: Place::Query, about, schema }
}

pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<T>()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunsAsked {
    recipe: Option<String>,
    outcome: Option<String>,
    origin: Option<String>,
    before: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn list_runs(State(site): At, uri: Uri) -> Answered {
    let asked = query::<RunsAsked>(&uri)?.0;
    given(asked.recipe.as_deref(), "recipe")?;
    given(asked.outcome.as_deref(), "outcome")?;
    given(asked.origin.as_deref(), "origin")?;
    given(asked.before.as_deref(), "before")?;
    let narrowed = [&asked.recipe, &asked.outcome, &asked.origin].map(Option::as_deref);
    let asked = list::Asked::parse(narrowed, asked.before.as_deref())?;
    let (filter, before) = (asked.filter.clone(), asked.before);
    let next = move |last| format!("/api/v1{}", links::runs(&asked.filter, Some(last)));
    json(&site.store.read(move |db| read::runs(db, &filter, before, ROWS, next)).await?)
}

/// An empty value is none of those that the document allows.
fn given(value: Option<&str>, name: &'static str) -> Result<(), Wrong> {
    if value == Some("") { Err(Wrong::parameter(name, "is empty; leave it out")) } else { Ok(()) }
}

async fn show_run(State(site): At, uri: Uri, Path(id): Path<String>) -> Answered {
    query::<Nothing>(&uri)?;
    let id = known_run(&site, &id).await?;
    let whole = site.store.read(move |db| read::whole_run(db, id)).await?;
    json(&whole.ok_or(Wrong::NoPage)?)
}

async fn list_stages(State(site): At, uri: Uri, Path(id): Path<String>) -> Answered {
    query::<Nothing>(&uri)?;
    let id = known_run(&site, &id).await?;
    let stages = site.store.read(move |db| stages::of_run(db, id)).await?;
    json(&stages.iter().map(api::Stage::from).collect::<Vec<_>>())
}

async fn list_checks(State(site): At, uri: Uri, Path(id): Path<String>) -> Answered {
    query::<Nothing>(&uri)?;
    let id = known_run(&site, &id).await?;
    let checks = site.store.read(move |db| stages::checks_of_run(db, id)).await?;
    json(&checks.iter().map(api::Check::from).collect::<Vec<_>>())
}

async fn list_images(State(site): At, uri: Uri, Path(id): Path<String>) -> Answered {
    query::<Nothing>(&uri)?;
    let id = known_run(&site, &id).await?;
    let evidence = site.evidence.clone();
    json(&site.store.read(move |db| api::images::of_run(db, &evidence, id)).await?)
}

async fn read_log(
    State(site): At,
    uri: Uri,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Refused> {
    query::<Nothing>(&uri)?;
    let id = known_run(&site, &id).await?;
    Ok(raw_log::answer(site.logs.to_path_buf(), id, None, &headers).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<String>,
}

async fn list_recipes(State(site): At, uri: Uri) -> Answered {
    let After { after } = query::<After>(&uri)?.0;
    if after.as_ref().is_some_and(|after| after.is_empty() || after.chars().count() > 100) {
        return Err(Wrong::parameter("after", "is the name of a recipe").into());
    }
    let next = |last: &str| format!("/api/v1/recipes?after={}", links::encode(last));
    json(&site.store.read(move |db| read::recipes(db, after.as_deref(), ROWS, next)).await?)
}

async fn show_queue(State(site): At, uri: Uri) -> Answered {
    query::<Nothing>(&uri)?;
    json(&site.store.read(read::queue).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    before: Option<String>,
}

async fn list_decisions(State(site): At, uri: Uri) -> Answered {
    let Before { before } = query::<Before>(&uri)?.0;
    given(before.as_deref(), "before")?;
    let before = decisions::parse(before.as_deref())?;
    let next = |at, comment| format!("/api/v1{}", decisions::address(Some((at, comment))));
    json(&site.store.read(move |db| read::decisions(db, before, ROWS, next)).await?)
}

async fn list_hosts(State(site): At, uri: Uri) -> Answered {
    query::<Nothing>(&uri)?;
    json(&site.store.read(read::hosts).await?)
}

async fn give_document(uri: Uri) -> Answered {
    query::<Nothing>(&uri)?;
    json(&super::document())
}

/// A run's number in an action's address.
pub(super) async fn run_of(site: &Site, text: &str) -> Result<RunId, Wrong> {
    run_id(site, text).await
}
