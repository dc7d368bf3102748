//! Asks an app for a page through the proxy: connects to the proxy's configured address and nowhere else, with the app's name
//! in SNI and Host. DNS is never asked: a record that points elsewhere would make another machine's answer ours.
//!
//! Traefik answers for apps it does not know, and for seconds after an update for apps it knows; its own 404 is told apart
//! from an app's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Url, redirect};
use tokio::time::Instant;

use crate::config;
use crate::model::AppDomain;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Read of a body; titles are at its beginning.
const BODY: usize = 64 << 10;
const REDIRECTS: usize = 5;
/// What Traefik says for a host that no router is for.
const TRAEFIKS_404: &str = "404 page not found";

/// Asks through one proxy.
#[derive(Clone, Debug)]
pub struct Probe {
    proxy: SocketAddr,
    authority: Option<Vec<reqwest::Certificate>>,
}

/// What an app answered, redirects within it followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    /// Of the page, where it is HTML and has one.
    pub title: Option<String>,
    /// The body's first 64 KiB.
    pub body: String,
}

/// Why there is no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    #[error("the authority's certificate in {} cannot be used: {why}", path.display())]
    Authority { path: PathBuf, why: String },
    #[error("the proxy at {0} takes no connection; `cc-ci reconcile proxy` brings it up")]
    NoProxy(SocketAddr),
    #[error("the proxy's certificate is not good for {domain}: {why}")]
    Certificate { domain: AppDomain, why: String },
    #[error("the proxy knows no app at {0}; is `traefik.enable` set, and does the router's rule have the domain?")]
    Unknown(AppDomain),
    #[error("https://{domain}{path} answers {status}")]
    Status { domain: AppDomain, path: String, status: u16 },
    #[error("https://{domain}{path} redirects to {to}, which is not the app")]
    Elsewhere { domain: AppDomain, path: String, to: String },
    #[error("https://{domain}{path} redirects more than {REDIRECTS} times")]
    Circle { domain: AppDomain, path: String },
    #[error("https://{domain}{path} gives no answer: {why}")]
    Nothing { domain: AppDomain, path: String, why: String },
}

impl Silent {
    /// The machine's fault and not the recipe's.
    pub fn is_infra(&self) -> bool {
        matches!(self, Silent::Authority { .. } | Silent::NoProxy(_) | Silent::Certificate { .. })
    }
}

impl Probe {
    pub fn new(proxy: &config::Proxy) -> Result<Probe, Silent> {
        let authority = match &proxy.ca_file {
            None => None,
            Some(path) => {
                let wrong = |why: String| Silent::Authority { path: path.clone(), why };
                let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
                Some(reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?)
            }
        };
        Ok(Probe { proxy: proxy.address, authority })
    }

    fn client(&self, domain: &AppDomain) -> Result<Client, Silent> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .resolve(domain.as_str(), self.proxy)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent("cc-ci");
        let builder = match &self.authority {
            Some(authority) => builder.tls_certs_only(authority.iter().cloned()),
            None => builder,
        };
        builder.build().map_err(|error| Silent::Certificate { domain: domain.clone(), why: causes(&error) })
    }

    /// Asks once.
    pub async fn get(&self, domain: &AppDomain, path: &str) -> Result<Answer, Silent> {
        self.ask(&self.client(domain)?, domain, path).await
    }

    /// Asks again and again until the app answers with 2xx, or with a redirect that leads to one within it. What it says at
    /// the end is what it said last.
    pub async fn until_it_answers(&self, domain: &AppDomain, path: &str, within: Duration) -> Result<Answer, Silent> {
        let client = self.client(domain)?;
        let end = Instant::now() + within;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let silent = match tokio::time::timeout_at(end, self.ask(&client, domain, path)).await {
                Ok(Ok(answer)) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(Ok(answer)) => Silent::Status { domain: domain.clone(), path: path.into(), status: answer.status },
                Ok(Err(silent)) => silent,
                Err(_) => nothing(domain, path, format!("nothing within {} s", within.as_secs())),
            };
            // A certificate does not become better by waiting.
            if Instant::now() >= end || matches!(silent, Silent::Certificate { .. } | Silent::Authority { .. }) {
                return Err(silent);
            }
        }
    }

    async fn ask(&self, client: &Client, domain: &AppDomain, path: &str) -> Result<Answer, Silent> {
        let first = format!("https://{domain}{path}");
        let mut url = Url::parse(&first).map_err(|error| nothing(domain, path, error.to_string()))?;
        for _ in 0..=REDIRECTS {
            let response = client.get(url.clone()).send().await.map_err(|error| self.broken(&error, domain, path))?;
            let status = response.status();
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            if status.is_redirection() && !header(LOCATION).is_empty() {
                let to = header(LOCATION).to_owned();
                let target = url.join(&to).map_err(|error| nothing(domain, path, error.to_string()))?;
                if target.host_str() != Some(domain.as_str()) || target.scheme() != "https" {
                    return Err(Silent::Elsewhere { domain: domain.clone(), path: path.into(), to });
                }
                url = target;
                continue;
            }
            let content_type = header(CONTENT_TYPE).to_owned();
            let body = beginning(response).await.map_err(|error| self.broken(&error, domain, path))?;
            if status == 404 && body.trim() == TRAEFIKS_404 && content_type.starts_with("text/plain") {
                return Err(Silent::Unknown(domain.clone()));
            }
            return Ok(Answer { status: status.as_u16(), title: title(&content_type, &body), content_type, body });
        }
        Err(Silent::Circle { domain: domain.clone(), path: path.into() })
    }

    fn broken(&self, error: &reqwest::Error, domain: &AppDomain, path: &str) -> Silent {
        let why = causes(error);
        if why.contains("certificate") {
            Silent::Certificate { domain: domain.clone(), why }
        } else if error.is_connect() {
            Silent::NoProxy(self.proxy)
        } else {
            nothing(domain, path, why)
        }
    }
}

fn nothing(domain: &AppDomain, path: &str, why: String) -> Silent {
    Silent::Nothing { domain: domain.clone(), path: path.into(), why }
}

async fn beginning(mut response: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < BODY {
        let Some(chunk) = response.chunk().await? else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(BODY - body.len())]);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn title(content_type: &str, body: &str) -> Option<String> {
    if !content_type.contains("html") {
        return None;
    }
    let lower = body.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(body[start..end].split_whitespace().collect::<Vec<_>>().join(" "))
}

/// With its causes: reqwest's own word is only that a request failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_found_in_html_only() {
        assert_eq!(title("text/html; charset=utf-8", "<TITLE lang=en>\n Hello  you</title>"), Some("Hello you".into()));
        assert_eq!(title("text/plain", "<title>no</title>"), None);
        assert_eq!(title("text/html", "<title>never closed"), None);
        // A body of other letters keeps its places.
        assert_eq!(title("text/html", "Ⱥ<title>x</title>"), Some("x".into()));
    }
}
