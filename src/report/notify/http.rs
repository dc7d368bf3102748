//! What webhook and Matrix share: one bounded request, never redirected, and words for what went wrong.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder};

use super::target::NotSent;
use crate::report::markdown::{flat, short};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);
/// Bytes read of an answer.
const MOST_READ: usize = 64 << 10;
/// Characters of the other side's words that an error repeats.
const MOST_SAID: usize = 200;

pub(super) fn client(address: &str) -> Result<Client, String> {
    // A second caller finds it installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .user_agent(concat!("cc-ci/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .pool_max_idle_per_host(0);
    if address.starts_with("http:") {
        // No certificate will be looked at, so none is loaded.
        client = client.tls_certs_only([]);
    }
    client.build().map_err(|error| causes(&error))
}

/// The body of a good answer.
pub(super) async fn ask(request: RequestBuilder) -> Result<Vec<u8>, NotSent> {
    let mut response = request.send().await.map_err(|error| NotSent::because(causes(&error)))?;
    let status = response.status();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| NotSent::because(causes(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_READ {
            body.truncate(MOST_READ);
            break;
        }
    }
    if status.is_success() {
        return Ok(body);
    }
    let said = short(&flat(&String::from_utf8_lossy(&body)), MOST_SAID);
    let why = if said.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {said}") };
    Err(NotSent { why, after })
}

/// Without the address, which may be long and is known.
fn causes(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push(cause.to_string());
        source = cause.source();
    }
    match words.join(": ") {
        words if words.is_empty() && error.is_timeout() => "no answer in time".into(),
        words if words.is_empty() => "the connection broke".into(),
        words => words,
    }
}
