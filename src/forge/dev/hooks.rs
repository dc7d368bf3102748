//! Webhooks, signed as Gitea signs them: sent once, five seconds at most, never again.

use std::sync::OnceLock;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Dev;
use super::world::{Entry, Hook};

/// Makes its client when the first hook is sent; most forges of tests have none.
#[derive(Debug, Default)]
pub(super) struct Sender(OnceLock<Option<reqwest::Client>>);

impl Sender {
    pub(super) fn new() -> Sender {
        Sender::default()
    }

    fn client(&self) -> Option<&reqwest::Client> {
        let make = || {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(5));
            client.redirect(reqwest::redirect::Policy::none()).build().ok()
        };
        self.0.get_or_init(make).as_ref()
    }
}

impl Dev {
    /// Tells the hooks of its repository what happened to a comment: `created`, `edited` or `deleted`.
    pub(super) fn tell_hooks(&self, action: &str, comment: &Entry, sender: &str) {
        let hooks: Vec<Hook> =
            self.look(|world| world.hooks.iter().filter(|hook| hook.repo == comment.repo).cloned().collect());
        if hooks.is_empty() {
            return;
        }
        let payload = self.show(|shapes| {
            let repo = shapes.world.repo_by_id(comment.repo)?;
            let issue = shapes.world.issue(comment.repo, comment.number)?;
            Some((
                issue.pull.is_some(),
                json!({
                    "action": action,
                    "issue": shapes.issue(repo, issue),
                    "comment": shapes.entry(comment, false),
                    "repository": shapes.repo(repo, ""),
                    "sender": shapes.user(sender),
                    "is_pull": issue.pull.is_some(),
                }),
            ))
        });
        let Some((is_pull, payload)) = payload else { return };
        for hook in hooks {
            self.send_hook(&hook, is_pull, &payload);
        }
    }

    fn send_hook(&self, hook: &Hook, is_pull: bool, payload: &Value) {
        let Some(client) = self.hooks.client() else { return };
        let body = payload.to_string();
        let signature = sign(&hook.secret, body.as_bytes());
        let kind = if is_pull { "pull_request_comment" } else { "issue_comment" };
        let mut request = client
            .post(&hook.url)
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", "issue_comment")
            .header("X-Gitea-Event", "issue_comment")
            .header("X-Gitea-Event-Type", kind)
            .header("X-Gitea-Delivery", format!("{:032x}", self.now().0))
            .header("X-Hub-Signature-256", format!("sha256={signature}"));
        for name in ["X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature"] {
            request = request.header(name, &signature);
        }
        let request = request.body(body);
        let url = hook.url.clone();
        tokio::spawn(async move {
            if let Err(error) = request.send().await {
                tracing::info!(url, %error, "a webhook did not arrive");
            }
        });
    }
}

/// Hexadecimal HMAC-SHA256; without a secret there is none.
pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    if secret.is_empty() {
        return String::new();
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_hmac_sha256_in_hexadecimal() {
        let known = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(sign("key", b"The quick brown fox jumps over the lazy dog"), known);
        assert_eq!(sign("", b"x"), "");
    }
}
