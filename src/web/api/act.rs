//! Actions: each takes a token, does one transition, and leaves a row in the audit in the same transaction.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::Value;

use super::super::Site;
use super::guard::{Stopped, admit};
use super::read::{run_of, schema};
use super::{Answer, Link, Operation, Refused, problem, run_parameter};
use crate::api;
use crate::engine::run;
use crate::intake::trigger::{NotQueued, Wish};
use crate::model::{Origin, Pr, RunId, Scope};
use crate::store::audit::{self, Act};
use crate::store::tokens::{self, Token};
use crate::store::{StoreError, Transaction, runs};
use crate::yaml::{self, Node};

type At = State<Arc<Site>>;
type Acted = Result<Response<Body>, Response<Body>>;

/// The most of a body that is read.
const LARGEST: usize = 16 << 10;

/// What can be done next with the run that an action named.
const OF_A_RUN: &[Link] = &[
    Link { name: "show", to: "showRun", run: "/run" },
    Link { name: "cancel", to: "cancel", run: "/run" },
    Link { name: "retry", to: "retry", run: "/run" },
];

pub(super) fn operations() -> Vec<Operation> {
    let act = |path, id, summary, parameters, scope, refusals, routes| Operation {
        method: "post",
        path,
        id,
        summary,
        parameters,
        body: None,
        status: StatusCode::ACCEPTED,
        answer: Answer::Json(schema::<api::Done>),
        refusals,
        links: OF_A_RUN,
        scope: Some(scope),
        routes,
    };
    vec![
        Operation {
            body: Some(schema::<api::Trigger>),
            ..act(
                "/api/v1/runs",
                "trigger",
                "Queues a run of a pull request's head, as `!testme` would",
                vec![],
                Scope::Run,
                &[404, 409, 413, 415, 502, 503],
                post(trigger),
            )
        },
        act(
            "/api/v1/runs/{id}/cancel",
            "cancel",
            "Ends a run; what was deployed is taken down",
            vec![run_parameter()],
            Scope::Cancel,
            &[409],
            post(cancel),
        ),
        act(
            "/api/v1/runs/{id}/retry",
            "retry",
            "Tests the head of a run that is over once more",
            vec![run_parameter()],
            Scope::Run,
            &[409],
            post(retry),
        ),
        Operation {
            answer: Answer::Json(schema::<api::Noted>),
            links: &[],
            ..act(
                "/api/v1/janitor",
                "janitor",
                "Has the runner remove what belongs to no live run",
                vec![],
                Scope::Janitor,
                &[],
                post(janitor),
            )
        },
    ]
}

impl From<Stopped> for Response<Body> {
    fn from(stopped: Stopped) -> Response<Body> {
        problem(stopped.status, stopped.words)
    }
}

async fn trigger(State(site): At, headers: HeaderMap, extensions: Extensions, body: Body) -> Acted {
    let token = admit(&site, &headers, &extensions, Scope::Run).await?;
    let wish = wish(&headers, body, &token).await?;
    let Some(desk) = &site.desk else {
        return Err(problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "this server asks no forge, so it cannot find the head".into(),
        ));
    };
    let target = format!("{}#{} {}", wish.repository, wish.pr, wish.stage);
    let queued = desk.trigger(wish).await;
    let said = match &queued {
        Ok(id) => format!("run {id} is queued"),
        Err(why) => why.to_string(),
    };
    let (id, refused) = match queued {
        Ok(id) => (id, None),
        Err(why) => (RunId(0), Some(status_of(&why))),
    };
    let (words, now) = (said.clone(), site.now());
    let noted =
        site.store.write("did not take an audit row", move |tx| note(tx, &token, "trigger", &target, &words, now));
    noted.await.map_err(fault)?;
    match refused {
        None => Ok(done(id, said)),
        Some(status) => Err(problem(status, said)),
    }
}

async fn wish(headers: &HeaderMap, body: Body, token: &Token) -> Result<Wish, Response<Body>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
        return Err(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send JSON, with `Content-Type: application/json`".into(),
        ));
    }
    let bytes: Bytes = axum::body::to_bytes(body, LARGEST)
        .await
        .map_err(|_| problem(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {LARGEST} bytes")))?;
    let wrong = |words: String| problem(StatusCode::BAD_REQUEST, words);
    let asked = read(&bytes).map_err(|words| wrong(format!("the body: {words}")))?;
    let repository = asked.repository.parse().map_err(|error| wrong(format!("`repository`: {error}")))?;
    if !(1..=1_000_000_000).contains(&asked.pr) {
        return Err(wrong(format!("`pr` is the number of a pull request, not {}", asked.pr)));
    }
    let from = asked.from.as_deref().map(str::parse).transpose().map_err(|error| wrong(format!("`from`: {error}")))?;
    if from.is_some() && !asked.stage.upgrades() {
        return Err(wrong(format!("`from` says what the upgrade starts from, and `{}` has none", asked.stage)));
    }
    let asked_by = format!("the token {}", token.name);
    Ok(Wish { repository, pr: Pr(asked.pr), stage: asked.stage, from, origin: Origin::Api, asked_by })
}

/// Keys of [`api::Trigger`] that are text.
const TEXTS: [&str; 3] = ["repository", "stage", "from"];

/// In the words that the configuration is refused with; serde's own name types of Rust.
fn read(bytes: &[u8]) -> Result<api::Trigger, String> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is no JSON from line {}, column {} on", error.line(), error.column()))?;
    if !body.is_object() {
        return Err("it is no object, such as `{\"repository\": \"keycloak\", \"pr\": 41}`".into());
    }
    // A configuration may say `7` where a text is wanted; JSON has quotes for that.
    if let Some((key, value)) = TEXTS
        .iter()
        .find_map(|key| Some((key, body.get(*key).filter(|value| value.is_number() || value.is_boolean())?)))
    {
        return Err(format!("`{key}` needs text, not `{value}`"));
    }
    yaml::from_node("the body", &Node::from_json(&body)).map_err(|error| error.message)
}

fn status_of(why: &NotQueued) -> StatusCode {
    match why {
        NotQueued::Unknown(_) | NotQueued::NoPullRequest(..) => StatusCode::NOT_FOUND,
        NotQueued::NotEnrolled(..) | NotQueued::Closed(..) => StatusCode::CONFLICT,
        NotQueued::Forge(_) => StatusCode::BAD_GATEWAY,
        NotQueued::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn cancel(State(site): At, headers: HeaderMap, extensions: Extensions, Path(id): Path<String>) -> Acted {
    let token = admit(&site, &headers, &extensions, Scope::Cancel).await?;
    let id = known(&site, &id).await?;
    let now = site.now();
    let asked = site.store.write("did not take a cancel", move |tx| {
        let by = format!("cancelled with the token {}", token.name);
        let asked = run::ask_cancel(tx, id, &by, now)?;
        let said = if asked { "told to end" } else { "over, or told before" };
        note(tx, &token, "cancel", &format!("run {id}"), said, now)?;
        Ok(asked)
    });
    if !asked.await.map_err(fault)? {
        return Err(problem(StatusCode::CONFLICT, format!("run {id} is over, or was told to end before")));
    }
    site.ring();
    Ok(done(id, format!("run {id} is told to end")))
}

async fn retry(State(site): At, headers: HeaderMap, extensions: Extensions, Path(id): Path<String>) -> Acted {
    let token = admit(&site, &headers, &extensions, Scope::Run).await?;
    let id = known(&site, &id).await?;
    let now = site.now();
    let again = site.store.write("did not take a retry", move |tx| {
        let again = run::retry(tx, id, Origin::Api, &format!("the token {}", token.name), now)?;
        note(tx, &token, "retry", &format!("run {id}"), &format!("run {again} is queued"), now)?;
        Ok(again)
    });
    match again.await {
        Ok(again) => {
            site.ring();
            Ok(done(again, format!("run {again} is queued")))
        }
        Err(StoreError::Refused(why)) => Err(problem(StatusCode::CONFLICT, why)),
        Err(error) => Err(fault(error)),
    }
}

/// The audit's row is the request: the runner reads it there.
async fn janitor(State(site): At, headers: HeaderMap, extensions: Extensions) -> Acted {
    const SAID: &str = "asked the runner for a round; what would not go stands on /ready";
    let token = admit(&site, &headers, &extensions, Scope::Janitor).await?;
    let now = site.now();
    let noted = site.store.write("did not take an audit row", move |tx| {
        note(tx, &token, audit::JANITOR, "what belongs to no run", SAID, now)
    });
    noted.await.map_err(fault)?;
    site.ring();
    let body = axum::Json(api::Noted { said: SAID.to_owned() });
    Ok((StatusCode::ACCEPTED, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

async fn known(site: &Site, text: &str) -> Result<RunId, Response<Body>> {
    let id = run_of(site, text).await.map_err(|wrong| Refused(wrong).into_response())?;
    let found = site.store.read(move |db| runs::by_id(db, id)).await.map_err(fault)?;
    match found {
        Some(run) => Ok(run.id),
        None => Err(problem(StatusCode::NOT_FOUND, format!("there is no run {id}"))),
    }
}

fn note(
    tx: &Transaction,
    token: &Token,
    action: &str,
    target: &str,
    said: &str,
    now: crate::clock::Time,
) -> Result<(), StoreError> {
    tokens::used(tx, token.id, now)?;
    audit::push(tx, Act { actor: &format!("token {}", token.name), action, target, said }, now)
}

fn done(id: RunId, said: String) -> Response<Body> {
    let body = axum::Json(api::Done { run: id.0, said });
    (StatusCode::ACCEPTED, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn fault(error: StoreError) -> Response<Body> {
    Refused::from(error).into_response()
}
