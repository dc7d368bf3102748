//! Asks for a page through the proxy. It connects to the proxy's configured address and nowhere else, since what DNS says of a
//! throw-away domain is not the question; and it tells the proxy's own answers from the app's, since "404 page not found"
//! from Traefik means that nobody is behind it yet.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HOST, HeaderMap, LOCATION};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tls::{self, CaFileError};
use crate::clock::Time;
use crate::config;
use crate::model::AppDomain;

const CONNECT: Duration = Duration::from_secs(2);
/// A first page may be slow: many apps fill their caches then.
const ANSWER: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// How often our proxy looks at the Swarm.
pub const PROXY_REFRESH: Duration = Duration::from_secs(1);
/// Bytes of a body that are looked at.
const BODY: usize = 256 << 10;
/// Redirects inside the app that are followed.
const REDIRECTS: usize = 5;

/// Asks through one proxy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    client: reqwest::Client,
    address: SocketAddr,
    http_port: u16,
}

/// One request, whatever it is.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Of the app; where it is sent is the proxy all the same.
    pub url: &'a reqwest::Url,
    pub headers: &'a [(String, String)],
    pub body: Option<Vec<u8>>,
}

/// An answer as it is, whoever gave it.
#[derive(Clone, Debug)]
pub struct Raw {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// There was more of it.
    pub cut: bool,
}

/// What an app, or the proxy for it, answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The path that was answered last, after redirects.
    pub path: String,
    pub status: u16,
    /// Where a redirect leads that was not followed.
    pub location: Option<String>,
    pub title: Option<String>,
    pub content_type: Option<String>,
    /// The first 256 kB, as text.
    pub body: String,
    pub certificate: Option<Certificate>,
    pub took_ms: u64,
    /// Paths on the way there.
    pub redirects: Vec<String>,
}

/// What the proxy showed, which was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub subject: String,
    pub names: Vec<String>,
    pub not_after: Time,
    /// The hash of its key, by which a browser may trust it.
    pub pin: String,
}

/// What a look through the proxy shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The app's own, whatever its status.
    App(Box<Answer>),
    /// Traefik's own 404: it knows no such host.
    NoRoute,
    /// Traefik knows it and cannot reach it: 502, 503 or 504.
    Gateway(u16),
    /// A connection, and no answer in time.
    Slow,
    /// No connection, or none that lasted.
    Nothing(String),
    /// There is a connection and no trust.
    Certificate(String),
}

impl Seen {
    /// 2xx, by the app.
    pub fn is_good(&self) -> bool {
        matches!(self, Seen::App(answer) if (200..300).contains(&answer.status))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::App(answer) => match &answer.location {
                Some(location) => write!(f, "{} answers {} and leads to {location}", answer.path, answer.status),
                None => write!(f, "{} answers {}", answer.path, answer.status),
            },
            Seen::NoRoute => f.write_str(
                "the proxy knows no such host (404 page not found); look at the labels traefik.* of the recipe",
            ),
            Seen::Gateway(status) => {
                write!(f, "the proxy cannot reach the app ({status}); does it listen on the port that its label names?")
            }
            Seen::Slow => f.write_str("the app takes its connection and does not answer in time"),
            Seen::Nothing(why) => write!(f, "the proxy does not answer: {why}"),
            Seen::Certificate(why) => write!(f, "the proxy's certificate is not good: {why}"),
        }
    }
}

/// Until what a wait for an answer goes on.
#[derive(Clone, Debug)]
pub struct Patience {
    pub within: Duration,
    /// How often the proxy looks at the Swarm. What it says in the first two of them may be about the state before.
    pub refresh: Duration,
    /// The one status that is good, in place of any 2xx.
    pub status: Option<u16>,
}

impl Patience {
    fn is_good(&self, status: u16) -> bool {
        self.status.map_or((200..300).contains(&status), |wanted| wanted == status)
    }
}

/// No good answer came.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("no good answer within {} s: {last}", .after.as_secs())]
    Late { after: Duration, last: Seen },
    #[error("cancelled")]
    Cancelled,
}

impl NoAnswer {
    /// The proxy is at fault: it is not there, or what it shows is not trusted.
    pub fn is_infra(&self) -> bool {
        matches!(self, NoAnswer::Late { last: Seen::Nothing(_) | Seen::Certificate(_), .. })
    }
}

/// Every name is the proxy.
struct Only(SocketAddr);

impl Resolve for Only {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

impl Prober {
    pub fn new(proxy: &config::Proxy) -> Result<Prober, CaFileError> {
        let trust = tls::trusting(proxy.ca_file.as_deref())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .tls_info(true)
            .dns_resolver(Arc::new(Only(proxy.address)))
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("cc-ci/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CaFileError {
                path: proxy.ca_file.clone().unwrap_or_default(),
                what: format!("cannot be used: {error}"),
            })?;
        Ok(Prober { client, address: proxy.address, http_port: proxy.http_port })
    }

    /// Sends a request, without following anything, and keeps so many bytes of the answer.
    pub async fn send(&self, request: Request<'_>, most: usize) -> Result<Raw, Seen> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let mut url = request.url.clone();
        let port = if url.scheme() == "http" { self.http_port } else { self.address.port() };
        let wrong = |what: &dyn fmt::Display| Seen::Nothing(format!("this cannot be asked: {what}"));
        url.set_port(Some(port)).map_err(|()| wrong(&url))?;
        let method = reqwest::Method::from_bytes(request.method.as_bytes()).map_err(|error| wrong(&error))?;
        let mut asked = self.client.request(method, url).header(HOST, host);
        for (name, value) in request.headers {
            asked = asked.header(name, value);
        }
        if let Some(body) = request.body {
            asked = asked.body(body);
        }
        let response = asked.send().await.map_err(|error| unseen(&error))?;
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let (body, cut) = start_of(response, most).await.map_err(|error| unseen(&error))?;
        Ok(Raw { status, headers, body, cut })
    }

    /// Asks once, without following anything.
    pub async fn get(&self, domain: &AppDomain, path: &str) -> Seen {
        let start = Instant::now();
        let url = format!("https://{domain}:{}{path}", self.address.port());
        let response = match self.client.get(&url).header(HOST, domain.as_str()).send().await {
            Ok(response) => response,
            Err(error) => return unseen(&error),
        };
        let status = response.status().as_u16();
        let word = |headers: &HeaderMap, name| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let content_type = word(response.headers(), CONTENT_TYPE);
        let location = word(response.headers(), LOCATION);
        let certificate = shown(&response);
        let body = match start_of(response, BODY).await {
            Ok((body, _)) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => return unseen(&error),
        };
        if let Some(own) = proxys_own(status, content_type.as_deref(), &body) {
            return own;
        }
        Seen::App(Box::new(Answer {
            path: path.to_owned(),
            status,
            location: location.filter(|_| (300..400).contains(&status)),
            title: title(&body),
            content_type,
            body,
            certificate,
            took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            redirects: Vec::new(),
        }))
    }

    /// The certificate that is shown for a name, whatever is behind it; otherwise why none was seen.
    pub async fn certificate(&self, domain: &AppDomain) -> Result<Certificate, Seen> {
        let url = format!("https://{domain}:{}/", self.address.port());
        let response = self.client.head(&url).header(HOST, domain.as_str()).send().await;
        let response = response.map_err(|error| unseen(&error))?;
        shown(&response).ok_or_else(|| Seen::Nothing("a certificate that cannot be read".into()))
    }

    /// Asks, and follows redirects that stay in the app.
    pub async fn follow(&self, domain: &AppDomain, path: &str) -> Seen {
        let mut path = path.to_owned();
        let mut redirects = Vec::new();
        loop {
            let mut seen = self.get(domain, &path).await;
            let Seen::App(answer) = &mut seen else { return seen };
            let inside = answer.location.as_deref().and_then(|location| inside(domain, &path, location));
            let next = inside.filter(|next| redirects.len() < REDIRECTS && *next != path);
            let Some(next) = next else {
                answer.redirects = redirects;
                return seen;
            };
            redirects.push(std::mem::replace(&mut path, next));
        }
    }

    /// Asks until the app answers 2xx, at once or after redirects inside it. Everything else, the proxy's own 404 and 502
    /// above all, may be about the state before: it is a verdict only when the time is over, which is never before the
    /// proxy has looked twice. `said` gets a line for each other thing that is seen after that.
    pub async fn wait_for_answer(
        &self,
        domain: &AppDomain,
        path: &str,
        patience: &Patience,
        cancel: &CancellationToken,
        said: &mut (dyn FnMut(String) + Send),
    ) -> Result<Answer, NoAnswer> {
        let start = Instant::now();
        let counts = start + patience.refresh * 2;
        let after = patience.within.max(patience.refresh * 2);
        let deadline = start + after;
        let mut last = Seen::Slow;
        let mut told = String::new();
        loop {
            let seen = tokio::select! {
                seen = self.follow(domain, path) => seen,
                () = tokio::time::sleep_until(deadline) => return Err(NoAnswer::Late { after, last }),
                () = cancel.cancelled() => return Err(NoAnswer::Cancelled),
            };
            last = match seen {
                Seen::App(answer) if patience.is_good(answer.status) => return Ok(*answer),
                other => other,
            };
            let now = Instant::now();
            if now >= counts && last.to_string() != told {
                told = last.to_string();
                said(told.clone());
            }
            tokio::select! {
                () = tokio::time::sleep_until((now + POLL).min(deadline)) => {}
                () = cancel.cancelled() => return Err(NoAnswer::Cancelled),
            }
            if Instant::now() >= deadline {
                return Err(NoAnswer::Late { after, last });
            }
        }
    }
}

/// The first bytes of a body, and whether there were more.
async fn start_of(response: reqwest::Response, most: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut bytes = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let room = most - bytes.len();
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

/// Go's words, by which Traefik speaks for itself. An app in Go may say the same of a page that it lacks; it has to be told
/// apart by what else it answers.
fn proxys_own(status: u16, content_type: Option<&str>, body: &str) -> Option<Seen> {
    let plain = content_type.is_none_or(|kind| kind.starts_with("text/plain"));
    match (status, body.trim()) {
        (404, "404 page not found") if plain => Some(Seen::NoRoute),
        (502, "Bad Gateway") | (503, "no available server" | "Service Unavailable") | (504, "Gateway Timeout")
            if plain =>
        {
            Some(Seen::Gateway(status))
        }
        _ => None,
    }
}

fn unseen(error: &reqwest::Error) -> Seen {
    let mut words = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push(cause.to_string());
        source = cause.source();
    }
    let why = words.last().cloned().unwrap_or_else(|| error.to_string());
    match words.iter().find(|words| words.contains("invalid peer certificate")) {
        Some(certificate) => Seen::Certificate(certificate.replace("invalid peer certificate: ", "")),
        None if error.is_timeout() && !error.is_connect() => Seen::Slow,
        None => Seen::Nothing(why),
    }
}

fn shown(response: &reqwest::Response) -> Option<Certificate> {
    response.extensions().get::<reqwest::tls::TlsInfo>()?.peer_certificate().and_then(certificate_of)
}

fn certificate_of(der: &[u8]) -> Option<Certificate> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| {
        let dns = |name: &x509_parser::extensions::GeneralName| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        };
        names.value.general_names.iter().filter_map(dns).collect()
    });
    Some(Certificate {
        subject: certificate.subject().to_string(),
        names: names.unwrap_or_default(),
        not_after: Time(certificate.validity().not_after.timestamp().saturating_mul(1000)),
        pin: tls::pin(&certificate),
    })
}

/// The path that a redirect leads to, if it stays in the app.
fn inside(domain: &AppDomain, from: &str, location: &str) -> Option<String> {
    let base = reqwest::Url::parse(&format!("https://{domain}{from}")).ok()?;
    let target = base.join(location).ok()?;
    // The proxy leads from http to https by itself.
    let same = matches!(target.scheme(), "http" | "https") && target.host_str() == Some(domain.as_str());
    same.then(|| match target.query() {
        Some(query) => format!("{}?{query}", target.path()),
        None => target.path().to_owned(),
    })
}

/// What speaks for the proxy and not for the app, in a raw answer.
pub fn is_proxys_own(raw: &Raw) -> bool {
    let kind = raw.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    proxys_own(raw.status, kind, &String::from_utf8_lossy(&raw.body)).is_some()
}

/// A page's title, its entities read.
pub fn title(body: &str) -> Option<String> {
    let lower = body.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let mut text = body[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
    for (entity, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
    {
        text = text.replace(entity, character);
    }
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_own_answers_are_not_the_apps() {
        let plain = Some("text/plain; charset=utf-8");
        assert_eq!(proxys_own(404, plain, "404 page not found\n"), Some(Seen::NoRoute));
        assert_eq!(proxys_own(502, plain, "Bad Gateway"), Some(Seen::Gateway(502)));
        assert_eq!(proxys_own(404, Some("text/html"), "<h1>404 page not found</h1>"), None);
        assert_eq!(proxys_own(503, Some("text/html"), "we are back soon"), None);
        assert_eq!(proxys_own(200, plain, "404 page not found"), None);
    }

    #[test]
    fn a_redirect_is_followed_only_inside_the_app() {
        let domain = "cust-1.ci.test".parse().unwrap();
        let inside = |location| inside(&domain, "/a/b?c", location);
        assert_eq!(inside("/login").as_deref(), Some("/login"));
        assert_eq!(inside("login?next=%2F").as_deref(), Some("/a/login?next=%2F"));
        assert_eq!(inside("https://cust-1.ci.test/x").as_deref(), Some("/x"));
        assert_eq!(inside("http://cust-1.ci.test").as_deref(), Some("/"));
        assert_eq!(inside("https://cust-1.ci.test.evil.example/"), None);
        assert_eq!(inside("//evil.example/"), None);
        assert_eq!(inside("javascript:alert(1)"), None);
    }

    #[test]
    fn a_title_is_what_a_reader_sees() {
        assert_eq!(title("<html><TITLE lang=en>\n Tom &amp; Jerry </Title>").as_deref(), Some("Tom & Jerry"));
        assert_eq!(title("<title></title>"), None);
        assert_eq!(title("<title>never closed"), None);
    }
}
