//! What goes over the wire: pages with their tags, and everything that can be wrong with a question, said on a page.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use maud::Markup;

use super::layout;
use crate::store::StoreError;

const HTML: &str = "text/html; charset=utf-8";
/// Kept by browsers, but asked for again each time; an unchanged page costs an answer without a body.
const ASK_AGAIN: &str = "no-cache";

/// Nothing from elsewhere, nothing inline; what a page may do is what its stylesheet and script from here do.
const EVERYWHERE: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// What stands on a page's envelope.
pub(super) struct Label {
    kind: HeaderValue,
    caching: HeaderValue,
    tag: HeaderValue,
}

/// How the bytes of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Zstd,
}

impl Label {
    pub(super) fn is_known(&self, known: &Known) -> bool {
        known.has(&self.tag)
    }

    /// Its tag without the quotes, for a name.
    pub(super) fn hash(&self) -> &str {
        self.tag.to_str().unwrap_or_default().trim_start_matches("W/").trim_matches('"')
    }

    /// Without a body, for whoever has it already.
    pub(super) fn unchanged(&self) -> Response<Body> {
        self.respond(StatusCode::NOT_MODIFIED, Body::empty(), Form::Plain)
    }

    pub(super) fn respond_with(&self, bytes: Bytes, form: Form) -> Response<Body> {
        self.respond(StatusCode::OK, Body::from(bytes), form)
    }

    fn respond(&self, status: StatusCode, body: Body, form: Form) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.reserve(10);
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::CACHE_CONTROL, self.caching.clone());
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if form == Form::Zstd {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        }
        for (name, value) in &EVERYWHERE {
            headers.insert(name, value.clone());
        }
        response
    }
}

/// A body whose bytes are known, with its tag.
pub(super) struct Rendered {
    pub(super) label: Arc<Label>,
    pub(super) body: Bytes,
}

impl Rendered {
    pub(super) fn html(page: Markup) -> Rendered {
        Rendered::new(HTML, ASK_AGAIN, page.into_string())
    }

    pub(super) fn new(kind: &'static str, caching: &'static str, body: String) -> Rendered {
        let body = Bytes::from(body);
        let mut hash = DefaultHasher::new();
        hash.write(&body);
        // Weak: the packed and the plain form have the same.
        let tag = format!("W/\"{:016x}\"", hash.finish());
        let label = Label {
            kind: HeaderValue::from_static(kind),
            caching: HeaderValue::from_static(caching),
            tag: HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("W/\"\"")),
        };
        Rendered { label: Arc::new(label), body }
    }

    pub(super) fn respond(&self) -> Response<Body> {
        self.label.respond_with(self.body.clone(), Form::Plain)
    }
}

impl IntoResponse for Rendered {
    fn into_response(self) -> Response<Body> {
        self.respond()
    }
}

/// What the asker has already, and what it can read.
#[derive(Default)]
pub(super) struct Known {
    tags: Option<HeaderValue>,
    pub(super) takes_zstd: bool,
}

impl Known {
    pub(super) fn of(headers: &HeaderMap) -> Known {
        let encodings = headers.get(header::ACCEPT_ENCODING).and_then(|encodings| encodings.to_str().ok());
        let takes_zstd = encodings.is_some_and(|encodings| encodings.split(',').any(|one| one.trim() == "zstd"));
        Known { tags: headers.get(header::IF_NONE_MATCH).cloned(), takes_zstd }
    }

    fn has(&self, tag: &HeaderValue) -> bool {
        let Some(known) = self.tags.as_ref().and_then(|known| known.to_str().ok()) else { return false };
        let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
        let tag = bare(tag.to_str().unwrap_or_default());
        known.split(',').map(str::trim).any(|known| known == "*" || bare(known) == tag)
    }
}

/// What may be done with an address: what a refusal of the method says, and this question itself.
pub(super) fn options(refused: &Response<Body>) -> Option<Response<Body>> {
    let allow = refused.headers().get(header::ALLOW)?.to_str().ok()?;
    let allow = HeaderValue::try_from(format!("{allow}, OPTIONS")).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, allow);
    Some(response)
}

/// What every answer of the router has, whoever made it.
pub(super) fn finish(response: &mut Response<Body>, reads: bool, known: &Known) {
    let unchanged = reads
        && response.status() == StatusCode::OK
        && response.headers().get(header::ETAG).is_some_and(|tag| known.has(tag));
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    for (name, value) in &EVERYWHERE {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
}

/// Why a question has no answer. Each is a page that says so and where to go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("`{name}` {what}")]
    Parameter { name: &'static str, what: String },
    #[error("that address is not text: what its percent signs stand for is no UTF-8")]
    Address,
    #[error("there is no run {asked}")]
    NoRun { asked: String, newest: i64 },
    #[error("there is no recipe {asked}")]
    NoRecipe { asked: String },
    #[error("there is no such page")]
    NoPage,
    #[error("only reading is possible here")]
    Method,
    #[error("too many live views")]
    TooMany { most: usize },
    #[error("reading the database")]
    Store(#[from] StoreError),
    #[error("reading a log")]
    Log(#[from] std::io::Error),
}

impl Wrong {
    pub(super) fn parameter(name: &'static str, what: impl Into<String>) -> Wrong {
        Wrong::Parameter { name, what: what.into() }
    }

    /// What happened and what to do, in words.
    pub(super) fn detail(&self) -> String {
        match self {
            Wrong::NoRun { newest: 0, .. } => format!("{self}; there is none at all yet"),
            Wrong::NoRun { newest, .. } => format!("{self}; the newest is {newest}"),
            Wrong::Store(_) | Wrong::Log(_) => {
                "it could not be read; the operator finds the cause in the journal".into()
            }
            _ => self.to_string(),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Wrong::Parameter { .. } | Wrong::Address => StatusCode::BAD_REQUEST,
            Wrong::NoRun { .. } | Wrong::NoRecipe { .. } | Wrong::NoPage => StatusCode::NOT_FOUND,
            Wrong::Method => StatusCode::METHOD_NOT_ALLOWED,
            Wrong::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Wrong::Store(_) | Wrong::Log(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response<Body> {
        if let Wrong::Store(_) | Wrong::Log(_) = &self {
            let source = std::error::Error::source(&self).map(ToString::to_string);
            tracing::error!(error = %self, source, "a page could not be made");
        }
        let mut response = Rendered::new(HTML, "no-store", layout::wrong(&self).into_string()).into_response();
        *response.status_mut() = self.status();
        response.headers_mut().remove(header::ETAG);
        if matches!(self, Wrong::TooMany { .. }) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        if matches!(self, Wrong::Method) {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_of_its_spellings() {
        let known = |text: &'static str| Known { tags: Some(HeaderValue::from_static(text)), takes_zstd: false };
        let tag = HeaderValue::from_static("W/\"abc\"");
        for text in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(known(text).has(&tag), "{text}");
        }
        assert!(!known("\"abcd\"").has(&tag));
        assert!(!Known::default().has(&tag));
    }
}
