//! Objects as markers: sent to the app by PUT and asked for by GET, through the proxy.

use reqwest::Url;

use super::{At, Look};
use crate::knowledge::Object;
use crate::probe::http::is_proxys_own;
use crate::probe::{Prober, Raw, Request, Seen};
use crate::stages::Trouble;

/// Bytes of an answer in which the value is looked for.
const MOST: usize = 1 << 20;

impl At<'_> {
    /// The inner error says what the app made of it.
    pub(super) async fn send(&self, object: &Object, value: &str) -> Result<Result<(), String>, Trouble> {
        let answer = self.ask("PUT", &object.put, object, Some(object.body(value).into_bytes())).await?;
        Ok(answer.and_then(|raw| good(&raw).map_err(|status| format!("PUT {} answers {status}", object.put))))
    }

    pub(super) async fn look_up(&self, object: &Object, value: &str) -> Result<Look, Trouble> {
        let raw = match self.ask("GET", &object.get, object, None).await? {
            Ok(raw) => raw,
            Err(why) => return Ok(Look::Lost(format!("out of reach ({why})"))),
        };
        Ok(match good(&raw) {
            Ok(()) if String::from_utf8_lossy(&raw.body).contains(&object.contains(value)) => Look::There,
            Ok(()) => Look::Lost("not what was written".to_owned()),
            Err(404 | 410) => Look::Lost("gone".to_owned()),
            Err(status) => Look::Lost(format!("out of reach (GET {} answers {status})", object.get)),
        })
    }

    pub(super) async fn take_back(&self, object: &Object) -> Result<Result<(), String>, Trouble> {
        let answer = self.ask("DELETE", &object.put, object, None).await?;
        Ok(answer.and_then(|raw| good(&raw).map_err(|status| format!("DELETE {} answers {status}", object.put))))
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        object: &Object,
        body: Option<Vec<u8>>,
    ) -> Result<Result<Raw, String>, Trouble> {
        let prober = Prober::new(&self.job.config.proxy).map_err(|error| Trouble::Infra(error.to_string()))?;
        let url = match Url::parse(&format!("https://{}{path}", self.made.domain)) {
            Ok(url) => url,
            Err(error) => return Ok(Err(format!("`{path}` is no path: {error}"))),
        };
        let headers: Vec<(String, String)> =
            object.header.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let request = Request { method, url: &url, headers: &headers, body };
        let sent = tokio::select! {
            sent = prober.send(request, MOST) => sent,
            () = self.cancel.cancelled() => return Err(Trouble::Ended),
        };
        match sent {
            Ok(raw) if is_proxys_own(&raw) => Ok(Err(format!("the proxy's own {}", raw.status))),
            Ok(raw) => Ok(Ok(raw)),
            Err(seen @ (Seen::Nothing(_) | Seen::Certificate(_))) => Err(Trouble::Infra(seen.to_string())),
            Err(seen) => Ok(Err(seen.to_string())),
        }
    }
}

fn good(raw: &Raw) -> Result<(), u16> {
    if (200..300).contains(&raw.status) { Ok(()) } else { Err(raw.status) }
}
