//! A POST of JSON, signed: `x-hub-signature-256` is `sha256=` and the HMAC-SHA256 of the raw body in hex, as forges sign theirs.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url};
use serde_json::json;
use sha2::Sha256;

use super::http;
use super::message::Message;
use super::target::NotSent;
use crate::secrets::Secret;

pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Secret,
}

impl Webhook {
    pub(super) fn new(url: &str, secret: Secret) -> Result<Webhook, String> {
        let client = http::client(url)?;
        let url = url.parse().map_err(|error| format!("`url` is not an address ({error})"))?;
        Ok(Webhook { client, url, secret })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), NotSent> {
        let body = json!({
            "id": message.id, "event": message.event, "at": message.at.rfc3339(), "subject": message.subject,
            "text": message.text, "url": message.url, "about": message.about,
        });
        let body = body.to_string();
        let signature =
            sign(&self.secret, body.as_bytes()).ok_or_else(|| NotSent::because("the secret signs nothing"))?;
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("x-cc-ci-event", message.event)
            .header("x-cc-ci-delivery", &message.id)
            .header("x-hub-signature-256", format!("sha256={signature}"))
            .body(body);
        http::ask(request).await.map(drop)
    }
}

fn sign(secret: &Secret, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(body);
    Some(hex::encode(mac.finalize().into_bytes()))
}
