//! What a run kept as proof: listed on its page, and each piece under an address of its own.
//!
//! Text that a hostile app printed is served from the pages' own origin, so it is never anything but plain text, JSON or a PNG,
//! whatever it looks like; the policy of every answer forbids it the rest.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{self, HeaderValue};
use maud::{Markup, html};

use super::answer::Wrong;
use super::outside::Outside;
use super::raw_log::blocking;
use super::run::size;
use super::{Site, links};
use crate::evidence::{dir, result};
use crate::model::{EvidenceKind, RunId};
use crate::probe::browser::WINDOW;
use crate::stages::picture;
use crate::store::evidence::{self, Piece};

pub(super) fn address(run: RunId, name: &str) -> String {
    format!("{}/evidence/{name}", links::run(run))
}

/// All that there is, the front page as a picture before it.
pub(super) fn section(run: RunId, pieces: &[Piece]) -> Markup {
    let front_page = pieces.iter().find(|piece| piece.name == picture::NAME);
    html! {
        section.evidence aria-label="Evidence" {
            h2 { "Evidence" }
            @if front_page.is_some() {
                @let address = address(run, picture::NAME);
                a.picture href=(address) {
                    img src=(address) alt="The app's front page after the install" loading="lazy" width=(WINDOW.0) height=(WINDOW.1);
                }
            }
            ul.pieces {
                @for piece in pieces {
                    li {
                        a.mono href=(address(run, &piece.name)) { (Outside(&piece.name)) }
                        span.soft { " " (piece.stage) ", " (size(piece.bytes)) @if piece.cut > 0 { ", " (size(piece.cut)) " left out" } }
                    }
                }
                li { a.mono href={ (links::run(run)) "/result.json" } { "result.json" } span.soft { " this page as data" } }
            }
        }
    }
}

/// One piece, as it lies there. Only what a row names is read.
pub(super) async fn answer(site: &Site, run: RunId, name: String) -> Result<Response<Body>, Wrong> {
    let piece = site.store.read(move |db| evidence::by_name(db, run, &name)).await?.ok_or(Wrong::NoPage)?;
    let path = dir(&site.evidence, run).join(&piece.name);
    let bytes = blocking(move || std::fs::read(path)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Wrong::NoPage,
        _ => Wrong::Log(error),
    })?;
    let kind = match piece.kind {
        EvidenceKind::Text => "text/plain; charset=utf-8",
        EvidenceKind::Json => "application/json",
        EvidenceKind::Picture => "image/png",
    };
    let called = format!("inline; filename=\"cc-ci-run-{run}-{}\"", piece.name);
    Ok(with(kind, bytes, HeaderValue::try_from(called).ok()))
}

/// The run as data.
pub(super) async fn result(site: &Site, run: RunId) -> Result<Response<Body>, Wrong> {
    let result = site.store.read(move |db| result::of(db, run)).await?.ok_or(Wrong::NoPage)?;
    let text = serde_json::to_vec_pretty(&result).unwrap_or_default();
    Ok(with("application/json", text, None))
}

fn with(kind: &'static str, bytes: Vec<u8>, called: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(called) = called {
        headers.insert(header::CONTENT_DISPOSITION, called);
    }
    response
}
