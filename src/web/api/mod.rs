//! `/api/v1`: what the pages know, for programs; and actions, for whoever holds a token.
//!
//! One list of operations ([`operations`]) makes both the routes and the OpenAPI document, so that neither says what the other
//! does not. Every answer is JSON but a log; what is wrong is a [`Problem`] (RFC 9457).

mod act;
mod guard;
mod openapi;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use schemars::{Schema, SchemaGenerator};

pub(super) use guard::Guard;
pub use openapi::document;

use super::Site;
use super::answer::{Rendered, Wrong};
use crate::api::Problem;
use crate::model::Scope;

type Routes = MethodRouter<Arc<Site>>;

/// One thing that can be asked for.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Typed>,
    status: StatusCode,
    answer: Answer,
    /// What else than 200 may come, besides 400, 404 for whatever has a parameter, and 500.
    refusals: &'static [u16],
    /// Where its answer leads.
    links: &'static [Link],
    /// What a token for it must be good for.
    scope: Option<Scope>,
    routes: Routes,
}

/// A type's schema, made when the document is.
type Typed = fn(&mut SchemaGenerator) -> Schema;

enum Answer {
    Json(Typed),
    Text,
    /// Any JSON: the document itself.
    Document,
}

struct Parameter {
    name: &'static str,
    place: Place,
    about: &'static str,
    schema: serde_json::Value,
}

/// An answer names a run that another operation takes.
struct Link {
    name: &'static str,
    to: &'static str,
    /// Where in the answer the run's number stands, as a JSON pointer.
    run: &'static str,
}

/// A run's number in a path.
fn run_parameter() -> Parameter {
    let schema = serde_json::json!({"type": "integer", "minimum": 1, "examples": [1]});
    Parameter { name: "id", place: Place::Path, about: "The run's number.", schema }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Header,
}

fn operations() -> Vec<Operation> {
    read::operations().into_iter().chain(act::operations()).collect()
}

/// To be nested nowhere: its paths are whole.
pub(super) fn router() -> Router<Arc<Site>> {
    let mut paths: BTreeMap<&str, (Routes, Vec<&str>)> = BTreeMap::new();
    for operation in operations() {
        let (routes, methods) = paths.remove(operation.path).unwrap_or_default();
        let more = if operation.method == "get" { &["GET", "HEAD"][..] } else { &["POST"] };
        paths.insert(operation.path, (routes.merge(operation.routes), [&methods[..], more].concat()));
    }
    let mut router = Router::new();
    for (path, (routes, methods)) in paths {
        let allow = methods.join(", ");
        router = router.route(path, routes.fallback(async move || not_this_way(&allow)));
    }
    router.route("/api/{*rest}", axum::routing::any(async || Refused(Wrong::NoPage)))
}

fn not_this_way(allow: &str) -> Response<Body> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, format!("this can be asked for with {allow}"));
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Something that is wrong, as a program reads it.
struct Refused(Wrong);

impl<E: Into<Wrong>> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        let Refused(wrong) = self;
        let status = wrong.status();
        if status.is_server_error() {
            let source = std::error::Error::source(&wrong).map(ToString::to_string);
            tracing::error!(error = %wrong, source, "an answer of the API could not be made");
        }
        problem(status, wrong.detail())
    }
}

fn problem(status: StatusCode, detail: String) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Refused").to_owned();
    let problem = Problem { title, status: status.as_u16(), detail };
    let text = serde_json::to_string(&problem).unwrap_or_default();
    let mut response = Rendered::new("application/problem+json", "no-store", text).respond();
    *response.status_mut() = status;
    response.headers_mut().remove(header::ETAG);
    match status {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        _ => {}
    }
    response
}

/// With its tag, so that an unchanged answer costs no body.
fn json(value: &impl serde::Serialize) -> Result<Rendered, Refused> {
    let text = serde_json::to_string(value).map_err(|error| Wrong::Log(std::io::Error::other(error)))?;
    Ok(Rendered::new("application/json", "no-cache", text))
}
