//! One request and its answer: limits, the server's clock, and errors that a person can act on.
//!
//! Redirects are never followed. Answers are bounded in time and size, and no message holds the token.

use std::error::Error as _;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::body::Cutter;
use crate::clock::{Clock, Time};
use crate::forge::ForgeError;
use crate::model::Repo;
use crate::secrets::Secret;

/// Requests under way at a time; a forge is somebody's small server.
const AT_A_TIME: usize = 4;
/// Bytes kept of an answer, and read of it at most; the difference is the cut ends of long comments.
const MOST_KEPT: usize = 8 << 20;
const MOST_READ: usize = 64 << 20;
/// Characters of the forge's own words that an error repeats.
const MOST_SAID: usize = 300;

/// How long the forge may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    /// From the first byte sent to the last one received.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { connect: Duration::from_secs(5), answer: Duration::from_secs(30) }
    }
}

#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    /// `https://host[/sub-path]/api/v1`
    api: String,
    token: Secret,
    places: Semaphore,
    clock: Clock,
    /// The server's time with its last answer, and ours then.
    date: Mutex<Option<(Time, Time)>>,
}

/// What the forge answered, whatever it was.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `GET /repos/…`, for messages.
    asked: String,
    location: Option<String>,
    after: Option<Duration>,
    is_html: bool,
    body: Vec<u8>,
    token: Secret,
}

impl Transport {
    pub(super) fn new(url: &str, token: Secret, clock: Clock, patience: Patience) -> Result<Transport, ForgeError> {
        let misconfigured = |why: String| ForgeError::Misconfigured(format!("`forge.url`: {why}"));
        let parsed = Url::parse(url).map_err(|error| misconfigured(format!("`{url}` is not an address ({error})")))?;
        let mut authorization = HeaderValue::from_str(&format!("token {}", token.expose())).map_err(|_| {
            ForgeError::Misconfigured("the bot's token has characters that no token has; write the file again".into())
        })?;
        authorization.set_sensitive(true);
        // A second caller finds it installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("cc-ci/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(patience.connect)
            .timeout(patience.answer)
            .pool_max_idle_per_host(AT_A_TIME);
        if parsed.scheme() == "http" {
            // No certificate will be looked at, so none is loaded.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| misconfigured(in_full(&error)))?;
        let api = format!("{}/api/v1", url.trim_end_matches('/'));
        Ok(Transport { client, api, token, places: Semaphore::new(AT_A_TIME), clock, date: Mutex::default() })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, ForgeError> {
        let _place = self.places.acquire().await.map_err(|error| ForgeError::Odd(error.to_string()))?;
        let asked = format!("{method} {path}");
        let later =
            |error: reqwest::Error| ForgeError::Later { why: format!("{asked}: {}", in_full(&error)), after: None };
        let mut request = self.client.request(method, format!("{}{path}", self.api)).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(later)?;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let date = header(DATE).and_then(http_date);
        let location = header(LOCATION).map(str::to_owned);
        let is_html = header(CONTENT_TYPE).is_some_and(|kind| kind.contains("html"));
        let after = header(RETRY_AFTER).and_then(|text| retry_after(text, date.unwrap_or_else(|| self.clock.now())));
        if let Some(date) = date {
            *self.date.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((date, self.clock.now()));
        }
        let mut read = 0;
        let mut cutter = Cutter::default();
        while let Some(chunk) = response.chunk().await.map_err(later)? {
            read += chunk.len();
            cutter.push(&chunk);
            if read > MOST_READ || cutter.kept() > MOST_KEPT {
                return Err(ForgeError::Odd(format!("{asked}: an answer of more than {} MiB", MOST_KEPT >> 20)));
            }
        }
        let body = cutter.finish();
        Ok(Answer { status, asked, location, after, is_html, body, token: self.token.clone() })
    }

    pub(super) fn server_time(&self) -> Option<Time> {
        self.date.lock().unwrap_or_else(std::sync::PoisonError::into_inner).map(|(theirs, _)| theirs)
    }

    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.date.lock().unwrap_or_else(std::sync::PoisonError::into_inner).map(|(theirs, ours)| theirs.0 - ours.0)
    }
}

impl Answer {
    /// The answer if it is a good one.
    pub(super) fn ok(self) -> Result<Answer, ForgeError> {
        if self.status.is_success() && !self.is_html { Ok(self) } else { Err(self.error()) }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        serde_json::from_slice(&self.body).map_err(|error| ForgeError::Odd(format!("{}: {error}", self.asked)))
    }

    /// A list. An empty repository answers some lists with 404 and `[]`; that is an empty list. So is `null`.
    pub(super) fn list<T: DeserializeOwned>(self) -> Result<Vec<T>, ForgeError> {
        if self.status == StatusCode::NOT_FOUND && self.body.trim_ascii_start().starts_with(b"[") {
            return self.json();
        }
        let answer = self.ok()?;
        Ok(answer.json::<Option<Vec<T>>>()?.unwrap_or_default())
    }

    /// Where a renamed repository is now. `Location` is relative, or begins with an address that need not be the one we
    /// called; only the name is taken from it.
    pub(super) fn moved_to(&self) -> Option<Repo> {
        if !self.status.is_redirection() {
            return None;
        }
        let location = self.location.as_deref()?;
        let path = location.split(['?', '#']).next()?;
        let (_, name) = path.split_once("/api/v1/repos/")?;
        let mut parts = name.split('/');
        format!("{}/{}", parts.next()?, parts.next()?).parse().ok()
    }

    /// What a bad answer means.
    pub(super) fn error(&self) -> ForgeError {
        let said = format!("{}: {}", self.asked, self.said());
        let later = |why| ForgeError::Later { why, after: self.after };
        match self.status.as_u16() {
            401 => ForgeError::Unauthorised(said),
            403 => ForgeError::Forbidden(said),
            404 | 410 => ForgeError::NotFound(said),
            423 => ForgeError::Archived(said),
            408 | 409 | 425 | 429 | 500.. => later(format!("{} {said}", self.status.as_u16())),
            200..=299 if self.is_html => later(format!("a web page where JSON should be, to {}", self.asked)),
            300..=399 => ForgeError::Misconfigured(format!(
                "the forge sends {} on to `{}`; is `forge.url` its right address?",
                self.asked,
                self.clean(self.location.as_deref().unwrap_or("nowhere"))
            )),
            code => ForgeError::Odd(format!("{code} {said}")),
        }
    }

    /// The forge's own words, when there are some and they are not a web page.
    fn said(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Message {
            message: String,
        }
        match serde_json::from_slice::<Message>(&self.body) {
            Ok(Message { message }) if !message.trim().is_empty() => self.clean(message.trim()),
            _ if self.is_html => "with a web page".into(),
            _ => "without a reason".into(),
        }
    }

    /// Fit for a log: no token, nothing that moves a cursor, not endless.
    fn clean(&self, text: &str) -> String {
        let text = text.replace(self.token.expose(), "[token]");
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_SAID).collect()
    }
}

/// The error and all it came from, without the address, which is said already.
fn in_full(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    match text {
        text if error.is_timeout() => {
            format!("no answer in time ({})", if text.is_empty() { "timed out" } else { &text })
        }
        text if text.is_empty() => "the connection broke".into(),
        text => text,
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn http_date(text: &str) -> Option<Time> {
    let stamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Time(stamp.as_millisecond()))
}

/// Seconds, or a moment by the server's clock.
fn retry_after(text: &str, server: Time) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => http_date(text).map(|at| at.since(server)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, location: &str, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            asked: "GET /x".into(),
            location: Some(location.into()),
            after: None,
            is_html: false,
            body: body.into(),
            token: Secret::new("s3cr3t-t0k3n"),
        }
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_moment() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(now, Time(784_111_777_000));
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn of_a_redirect_only_the_name_is_taken() {
        let new: Option<Repo> = Some("recipes/new-name".parse().unwrap());
        assert_eq!(answer(301, "/api/v1/repos/recipes/new-name/pulls/1", "").moved_to(), new);
        assert_eq!(answer(301, "https://elsewhere/sub/api/v1/repos/recipes/new-name?x=/a", "").moved_to(), new);
        assert_eq!(answer(302, "/user/login?to=/api/v1/repos/a/b", "").moved_to(), None);
        assert_eq!(answer(301, "/api/v1/repos/../..", "").moved_to(), None);
        assert_eq!(answer(200, "/api/v1/repos/recipes/new-name", "").moved_to(), None);
    }

    #[test]
    fn an_error_repeats_the_forge_but_never_the_token() {
        let error = answer(403, "", r#"{"message":"token s3cr3t-t0k3n\u001b[2J lacks [write:repository]"}"#).error();
        let text = error.to_string();
        assert!(text.contains("write:repository") && !text.contains("s3cr3t") && !text.contains('\u{1b}'), "{text}");
        assert!(!format!("{error:?}").contains("s3cr3t"));
    }

    #[test]
    fn an_empty_repository_answers_404_with_a_list() {
        assert_eq!(answer(404, "", "[]").list::<i64>(), Ok(Vec::new()));
        assert_eq!(answer(200, "", "null").list::<i64>(), Ok(Vec::new()));
        assert!(matches!(answer(404, "", r#"{"message":"x"}"#).list::<i64>(), Err(ForgeError::NotFound(_))));
    }
}
