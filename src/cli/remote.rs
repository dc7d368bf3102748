//! Another machine's cc-ci, by its API. Whatever answers may be anything: answers are read to a limit, no redirect is followed
//! (it could carry the token elsewhere), and what is not a cc-ci's answer is said to be none.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::Failure;
use super::table::plain;
use crate::api::Problem;
use crate::engine::causes;
use crate::model::RunId;
use crate::secrets::{self, Secret};

/// The token's name in the environment.
pub(super) const TOKEN: &str = "CC_CI_TOKEN";
/// The most of an answer that is read, in bytes.
const LARGEST: usize = 32 << 20;
/// The most of a log that is asked for at a time, in bytes.
const PIECE: u64 = 1 << 20;
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);

pub(super) struct Remote {
    client: Client,
    base: String,
}

/// What came of a question that may be about nothing.
enum Answer {
    Found(Vec<u8>),
    /// A cc-ci says that there is no such thing.
    Missing(String),
}

impl Remote {
    /// The token comes from a file, or else from the environment; reading needs none.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Remote, Failure> {
        let wrong = |why: String| Failure::usage(anyhow!("--server {}: {why}", plain(url)));
        let parsed = Url::parse(url).map_err(|error| wrong(format!("{error}; it is as https://ci.example.org")))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("it is an address as https://ci.example.org".into()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong(format!("a password in an address is seen by others; the token is in {TOKEN}")));
        }
        let token = token(token_file)?;
        if token.is_some() && parsed.scheme() == "http" && !is_this_machine(&parsed) {
            return Err(wrong("over http:// anybody on the way could read the token; use https://".into()));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| Failure::usage(anyhow!("the token has characters that no token has")))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        // A second caller finds it installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("cc-ci/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER);
        if parsed.scheme() == "http" {
            // No certificate will be looked at, so none is loaded.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| Failure::infra(anyhow!(causes(&error))))?;
        Ok(Remote { client, base: url.trim_end_matches('/').to_owned() })
    }

    pub(super) fn page_of(&self, run: i64) -> String {
        format!("{}/runs/{run}", self.base)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Failure> {
        match self.find(path, query).await? {
            Some(found) => Ok(found),
            None => Err(self.no_cc_ci(format!("there is no {path}"))),
        }
    }

    /// `None`: a cc-ci answered that there is no such thing.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<T>, Failure> {
        match self.ask(Method::GET, path, query, None).await? {
            Answer::Found(bytes) => Ok(Some(self.read(&bytes)?)),
            Answer::Missing(_) => Ok(None),
        }
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, Failure> {
        match self.ask(Method::POST, path, &[], body).await? {
            Answer::Found(bytes) => self.read(&bytes),
            Answer::Missing(why) => Err(Failure::usage(anyhow!(why))),
        }
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.no_cc_ci(format!("its answer is none that is known ({error})")))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.send(request).await?;
        let (status, kind) = (answer.status(), kind_of(&answer));
        if status.is_success() && kind == "application/json" {
            return Ok(Answer::Found(self.bytes(answer).await?));
        }
        let refused = self.refused(answer).await;
        if status == StatusCode::NOT_FOUND && kind == "application/problem+json" {
            return refused.map(Answer::Missing);
        }
        Err(self.failure(status, refused?))
    }

    /// The log from this byte on, as far as it is there and not more than a piece of it.
    pub(super) async fn log_from(&self, run: RunId, at: u64) -> Result<Vec<u8>, Failure> {
        self.log_range(run, format!("bytes={at}-{}", at + PIECE - 1)).await
    }

    /// So many bytes of its end.
    pub(super) async fn log_end(&self, run: RunId, most: u64) -> Result<Vec<u8>, Failure> {
        self.log_range(run, format!("bytes=-{most}")).await
    }

    async fn log_range(&self, run: RunId, range: String) -> Result<Vec<u8>, Failure> {
        let request = self.client.get(format!("{}/api/v1/runs/{run}/log", self.base)).header(RANGE, range);
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => self.bytes(answer).await,
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Vec::new()),
            status if status.is_success() => Err(self.no_cc_ci("it gives no part of a log".into())),
            status => Err(self.failure(status, self.refused(answer).await?)),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| {
            let cause = causes(&error.without_url());
            Failure::infra(anyhow!("{} does not answer: {cause}; is `cc-ci serve` running there?", plain(&self.base)))
        })
    }

    async fn bytes(&self, mut answer: Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        loop {
            let chunk = answer.chunk().await.map_err(|error| {
                let cause = causes(&error.without_url());
                Failure::infra(anyhow!("{} broke off its answer: {cause}; ask again", plain(&self.base)))
            })?;
            let Some(chunk) = chunk else { return Ok(bytes) };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST {
                return Err(self.no_cc_ci(format!("its answer is larger than {LARGEST} bytes")));
            }
        }
    }

    /// What it says is wrong; an error when it is no cc-ci that says so.
    async fn refused(&self, answer: Response) -> Result<String, Failure> {
        let (status, kind) = (answer.status(), kind_of(&answer));
        if kind != "application/problem+json" {
            let place = answer.headers().get("location").and_then(|place| place.to_str().ok());
            let more = place.map(|place| format!(" and names {}", plain(place))).unwrap_or_default();
            return Err(self.no_cc_ci(format!("it answers {}{more}", status.as_u16())));
        }
        let problem: Problem = self.read(&self.bytes(answer).await?)?;
        Ok(plain(&problem.detail))
    }

    fn failure(&self, status: StatusCode, why: String) -> Failure {
        let base = plain(&self.base);
        match status {
            StatusCode::UNAUTHORIZED => {
                Failure::usage(anyhow!("{base} wants a good token, in {TOKEN} or by --token-file: {why}"))
            }
            StatusCode::FORBIDDEN => Failure::usage(anyhow!("{base} does not let this token do that: {why}")),
            StatusCode::TOO_MANY_REQUESTS => Failure::infra(anyhow!("{base} was asked too often: {why}")),
            StatusCode::CONFLICT => Failure::no(anyhow!(why)),
            status if status.is_server_error() => Failure::infra(anyhow!("{base} cannot do that: {why}")),
            _ => Failure::usage(anyhow!(why)),
        }
    }

    fn no_cc_ci(&self, why: String) -> Failure {
        Failure::usage(anyhow!(
            "{} is not a cc-ci, or one of another version: {}; --server takes the address of its dashboard",
            plain(&self.base),
            plain(&why)
        ))
    }
}

fn kind_of(answer: &Response) -> String {
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_owned()
}

fn token(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    if let Some(file) = file {
        return secrets::read_file(file).map(Some).map_err(Failure::usage);
    }
    Ok(std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(Secret::new))
}

fn is_this_machine(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
