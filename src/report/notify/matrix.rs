//! A message into a room of Matrix, by the client-server API. The server knows a transaction by its id and takes the second
//! attempt for the first, so a retry does not post twice.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::json;

use super::http;
use super::message::Message;
use super::target::NotSent;
use crate::config::notify as config;
use crate::secrets::Secret;

pub(super) struct Matrix {
    client: Client,
    /// Of the room, without the transaction.
    url: Url,
    /// Two targets may have one account.
    target: String,
    authorization: HeaderValue,
}

#[derive(Deserialize)]
struct Sent {
    event_id: String,
}

impl Matrix {
    pub(super) fn new(room: &config::Matrix, target: &str, token: &Secret) -> Result<Matrix, String> {
        let client = http::client(&room.homeserver)?;
        let mut url: Url =
            room.homeserver.parse().map_err(|error| format!("`homeserver` is not an address ({error})"))?;
        url.path_segments_mut().map_err(|()| "`homeserver` is not an address".to_owned())?.pop_if_empty().extend([
            "_matrix",
            "client",
            "v3",
            "rooms",
            &room.room,
            "send",
            "m.room.message",
        ]);
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| "the token has characters that no token has; write the file again".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Matrix { client, url, target: target.to_owned(), authorization })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), NotSent> {
        let mut url = self.url.clone();
        let transaction = format!("cc-ci-{}-{}", self.target, message.id);
        url.path_segments_mut().map_err(|()| NotSent::because("the address takes no path"))?.push(&transaction);
        // No mentions: whatever a recipe is called, it rings nobody.
        let body = json!({ "msgtype": "m.text", "body": message.whole(), "m.mentions": {} });
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]);
        let answer = http::ask(self.client.put(url).headers(headers).json(&body)).await?;
        match serde_json::from_slice::<Sent>(&answer) {
            Ok(sent) if !sent.event_id.is_empty() => Ok(()),
            _ => Err(NotSent::because("it answers well but names no event; is `homeserver` a Matrix server?")),
        }
    }
}
