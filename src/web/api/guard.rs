//! Who may act: a token, good, with the right scope, and not too often. Guessing tokens is slowed by the client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Extensions, HeaderMap, StatusCode, header};

use super::super::{Site, live};
use crate::clock::Time;
use crate::model::Scope;
use crate::secrets::Secret;
use crate::store::tokens::{self, Token};

/// Actions of one token in a minute, and wrong tokens of one client.
const ACTIONS: usize = 30;
const GUESSES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Clients and tokens remembered.
const MOST: usize = 10_000;

/// Counts what was asked in the last minute.
#[derive(Default)]
pub(in super::super) struct Guard(Mutex<HashMap<String, Vec<Time>>>);

/// Why an action is not taken.
pub(super) struct Stopped {
    pub status: StatusCode,
    pub words: String,
}

fn stopped(status: StatusCode, words: impl Into<String>) -> Stopped {
    Stopped { status, words: words.into() }
}

impl Guard {
    /// Whether there is room for one more of `key` now; takes it.
    fn admits(&self, key: String, most: usize, now: Time) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST && !seen.contains_key(&key) {
            seen.retain(|_, times| times.iter().any(|&at| now.since(at) < MINUTE));
        }
        let times = seen.entry(key).or_default();
        times.retain(|&at| now.since(at) < MINUTE);
        if times.len() >= most {
            return false;
        }
        times.push(now);
        true
    }

    fn is_full(&self, key: &str, most: usize, now: Time) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(key).is_some_and(|times| times.iter().filter(|&&at| now.since(at) < MINUTE).count() >= most)
    }
}

/// The token that these headers carry, if it may do this.
pub(super) async fn admit(
    site: &Site,
    headers: &HeaderMap,
    extensions: &Extensions,
    scope: Scope,
) -> Result<Token, Stopped> {
    let now = site.now();
    let client = format!("client {:?}", live::client(headers, extensions));
    if site.guard.is_full(&client, GUESSES, now) {
        return Err(stopped(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens from this address; wait a minute"));
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = given.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = bearer else {
        let how = "this needs `Authorization: Bearer TOKEN`; the operator makes one with `cc-ci token new`";
        return Err(stopped(StatusCode::UNAUTHORIZED, how));
    };
    let token = Secret::new(token.trim());
    let found = site.store.read(move |db| tokens::of(db, &token)).await;
    let found = found.map_err(|error| stopped(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let Some(token) = found else {
        site.guard.admits(client, GUESSES, now);
        return Err(stopped(StatusCode::UNAUTHORIZED, "this token is not known here"));
    };
    if !token.is_good(now) {
        let why = if token.revoked_at.is_some() { "was revoked" } else { "has expired" };
        return Err(stopped(StatusCode::UNAUTHORIZED, format!("the token `{}` {why}", token.name)));
    }
    if !token.scopes.contains(&scope) {
        return Err(stopped(StatusCode::FORBIDDEN, format!("the token `{}` has no scope `{scope}`", token.name)));
    }
    if !site.guard.admits(format!("token {}", token.id), ACTIONS, now) {
        let words = format!("the token `{}` took {ACTIONS} actions within a minute; wait a minute", token.name);
        return Err(stopped(StatusCode::TOO_MANY_REQUESTS, words));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_a_minute_and_each_has_its_own() {
        let guard = Guard::default();
        let admits = |key: &str, at: i64| guard.admits(key.into(), 2, Time(at));
        assert!(admits("a", 0) && admits("a", 10_000) && !admits("a", 20_000));
        assert!(admits("b", 20_000));
        assert!(guard.is_full("a", 2, Time(59_999)) && !guard.is_full("a", 2, Time(60_000)));
        assert!(admits("a", 60_000) && !admits("a", 60_001));
    }
}
