//! Images come first: a pull that fails is the registry's fault or the network's, and must not look like a recipe that
//! does not start.

use std::time::Duration;

use bollard::models::{CreateImageInfo, HealthConfig};
use bollard::query_parameters::CreateImageOptions;
use futures_util::stream::StreamExt;
use tokio_util::sync::CancellationToken;

use super::client::{Swarm, SwarmFault, ask};

/// A registry that says nothing for so long says nothing more.
const SILENCE: Duration = Duration::from_secs(120);

/// An image did not come. Never the recipe's fault but when there is no such image, which a registry tells in the same
/// words as "not for you"; so it is not decided here.
#[derive(Debug, thiserror::Error)]
#[error("the image {image} could not be pulled: {why}")]
pub struct PullError {
    pub image: String,
    pub why: PullWhy,
}

#[derive(Debug, thiserror::Error)]
pub enum PullWhy {
    #[error("the registry's rate limit is reached (toomanyrequests); log in to it, use a mirror, or wait")]
    TooManyRequests,
    #[error("the registry has no such image, or wants a login ({0})")]
    NotThere(String),
    #[error("the registry cannot be reached ({0})")]
    Unreachable(String),
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("it took longer than {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Other(String),
}

fn classify(message: &str) -> PullWhy {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["toomanyrequests", "too many requests", "rate limit"]) {
        PullWhy::TooManyRequests
    } else if says(&[
        "manifest unknown",
        "not found",
        "no such image",
        "pull access denied",
        "unauthorized",
        "denied",
        "no basic auth",
    ]) {
        PullWhy::NotThere(message.trim().to_owned())
    } else if says(&["timeout", "no such host", "connection refused", "unreachable", "dial tcp", "eof", "tls", "x509"])
    {
        PullWhy::Unreachable(message.trim().to_owned())
    } else {
        PullWhy::Other(message.trim().to_owned())
    }
}

impl Swarm {
    /// Whether the image is on this machine already.
    pub async fn has_image(&self, image: &str) -> Result<bool, SwarmFault> {
        match ask(format!("inspect image {image}"), Duration::from_secs(15), self.docker.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_gone() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The digests under which registries know an image, and its own id.
    pub async fn image_digests(&self, image: &str) -> Result<Vec<String>, SwarmFault> {
        let asked = self.docker.inspect_image(image);
        let found = ask(format!("inspect image {image}"), Duration::from_secs(15), asked).await?;
        Ok(found.repo_digests.unwrap_or_default().into_iter().chain(found.id).collect())
    }

    /// Whether the image brings a health check of its own; an image that is not here brings none.
    pub async fn image_is_checked(&self, image: &str) -> Result<bool, SwarmFault> {
        let asked = self.docker.inspect_image(image);
        match ask(format!("inspect image {image}"), Duration::from_secs(15), asked).await {
            Ok(found) => Ok(found.config.and_then(|config| config.healthcheck).is_some_and(|check| is_check(&check))),
            Err(fault) if fault.is_gone() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Pulls an image; `said` gets a line now and then. Nothing is asked of the registry for one that is here, unless its
    /// name has no tag that could stay what it is.
    pub async fn pull(
        &self,
        image: &str,
        within: Duration,
        cancel: &CancellationToken,
        said: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), PullError> {
        let failed = |why| PullError { image: image.to_owned(), why };
        let mut news =
            std::pin::pin!(self.docker.create_image(Some(options(image)), None, self.logins.of_image(image)));
        let deadline = tokio::time::Instant::now() + within;
        let mut progress = Progress::default();
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(SILENCE, news.next()) => next,
                () = tokio::time::sleep_until(deadline) => return Err(failed(PullWhy::TooLong(within))),
                () = cancel.cancelled() => return Err(failed(PullWhy::Cancelled)),
            };
            match next {
                Err(_) => return Err(failed(PullWhy::Silent(SILENCE))),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => {
                    let fault = SwarmFault::new("pull", error);
                    return Err(failed(classify(&fault.why.to_string())));
                }
                Ok(Some(Ok(news))) => {
                    if let Some(line) = progress.hear(image, &news) {
                        said(line);
                    }
                }
            }
        }
    }
}

fn is_check(check: &HealthConfig) -> bool {
    check.test.as_deref().is_some_and(|test| !test.is_empty() && test[0] != "NONE")
}

/// Name and tag apart, since without a tag Docker would pull all of them. A digest pins it better than the tag beside it.
fn options(image: &str) -> CreateImageOptions {
    let (name, tag) = match image.split_once('@') {
        Some((name, digest)) => (without_tag(name).0, digest),
        None => without_tag(image),
    };
    CreateImageOptions { from_image: Some(name.to_owned()), tag: Some(tag.to_owned()), ..Default::default() }
}

fn without_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        // `host:5000/name` has a port and no tag.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// Docker tells each layer's every step; people want a line now and then.
#[derive(Debug, Default)]
struct Progress {
    layers: std::collections::BTreeMap<String, (u64, u64, bool)>,
    told: u64,
}

impl Progress {
    fn hear(&mut self, image: &str, news: &CreateImageInfo) -> Option<String> {
        let status = news.status.as_deref().unwrap_or_default();
        let Some(layer) = news.id.as_deref() else {
            return status
                .starts_with("Status: ")
                .then(|| format!("{image}: {}", status.trim_start_matches("Status: ")));
        };
        let entry = self.layers.entry(layer.to_owned()).or_default();
        let detail = news.progress_detail.clone().unwrap_or_default();
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        match status {
            "Downloading" => {
                *entry = (number(detail.current).unwrap_or(0), number(detail.total).unwrap_or(entry.1), false);
            }
            "Pull complete" | "Already exists" | "Download complete" => *entry = (entry.1, entry.1, true),
            _ => {}
        }
        let (have, all) = self.layers.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        // A line each ten million bytes.
        let step = have / 10_000_000;
        (step > self.told).then(|| {
            self.told = step;
            format!("{image}: {} of {} MB", have / 1_000_000, all / 1_000_000)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag_and_a_digest_wins() {
        let parts = |image| {
            let options = options(image);
            (options.from_image.unwrap(), options.tag.unwrap())
        };
        assert_eq!(parts("nginx"), ("nginx".into(), "latest".into()));
        assert_eq!(parts("nginx:1.29.0"), ("nginx".into(), "1.29.0".into()));
        assert_eq!(parts("host:5000/a/nginx"), ("host:5000/a/nginx".into(), "latest".into()));
        assert_eq!(parts("host:5000/nginx:1"), ("host:5000/nginx".into(), "1".into()));
        assert_eq!(parts("nginx:1@sha256:ab"), ("nginx".into(), "sha256:ab".into()));
    }

    #[test]
    fn what_a_registry_says_has_a_class() {
        let rate = "toomanyrequests: You have reached your pull rate limit.";
        assert!(matches!(classify(rate), PullWhy::TooManyRequests));
        let unknown = "manifest for nginx:0.0 not found: manifest unknown: manifest unknown";
        assert!(matches!(classify(unknown), PullWhy::NotThere(_)));
        let dial = "Get \"https://registry/v2/\": dial tcp: lookup registry: Temporary failure in name resolution";
        assert!(matches!(classify(dial), PullWhy::Unreachable(_)));
        assert!(matches!(classify("no space left on device"), PullWhy::Other(_)));
    }
}
