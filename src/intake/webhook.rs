//! The webhook: a hint to look at one repository now.
//!
//! Nothing of what it says is believed but the repository's name, and that only when the body is signed with our secret: the
//! comment comes in through the poll like every other. So a forged, repeated or lost hook changes nothing but the time of a look.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::Nudge;
use crate::model::Repo;
use crate::secrets::Secret;

/// A comment may be long, and the payload holds it several times.
const LARGEST: usize = 8 << 20;

#[derive(Clone)]
struct Hook {
    secret: Secret,
    nudge: Nudge,
}

/// The route `/hook`; without a secret there is none.
pub fn router(secret: Option<Secret>, nudge: Nudge) -> Router {
    match secret {
        Some(secret) if !secret.expose().is_empty() => Router::new()
            .route("/hook", post(hook))
            .layer(DefaultBodyLimit::max(LARGEST))
            .with_state(Hook { secret, nudge }),
        _ => Router::new(),
    }
}

#[derive(Deserialize)]
struct Payload {
    action: String,
    repository: Named,
}

#[derive(Deserialize)]
struct Named {
    full_name: String,
}

async fn hook(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    if !is_signed(&hook.secret, &headers, &body) {
        tracing::warn!("a webhook without our signature was refused");
        return (StatusCode::UNAUTHORIZED, "the signature is missing or wrong\n");
    }
    if !is_about_comments(&headers) {
        return (StatusCode::OK, "not about a comment; nothing to do\n");
    }
    let Ok(payload) = serde_json::from_slice::<Payload>(&body) else {
        return (StatusCode::BAD_REQUEST, "this is no payload of a forge\n");
    };
    if payload.action != "created" {
        return (StatusCode::OK, "only new comments ask for something\n");
    }
    let Ok(repo) = payload.repository.full_name.parse::<Repo>() else {
        return (StatusCode::BAD_REQUEST, "the repository's name cannot be one\n");
    };
    hook.nudge.look_at(repo);
    (StatusCode::ACCEPTED, "looking\n")
}

/// One good signature is enough; a missing or empty one is none.
fn is_signed(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> bool {
    let plain = ["x-gitea-signature", "x-forgejo-signature"];
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let prefixed = given("x-hub-signature-256").and_then(|value| value.strip_prefix("sha256="));
    plain.into_iter().filter_map(given).chain(prefixed).any(|signature| matches(secret, signature, body))
}

/// Compares in constant time.
fn matches(secret: &Secret, signature: &str, body: &[u8]) -> bool {
    let Ok(signature) = hex::decode(signature.trim()) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

fn is_about_comments(headers: &HeaderMap) -> bool {
    ["x-gitea-event", "x-forgejo-event", "x-github-event"].into_iter().any(|name| {
        headers.get(name).is_some_and(|event| matches!(event.as_bytes(), b"issue_comment" | b"pull_request_comment"))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower_service::Service;

    use super::*;

    const BODY: &str = r#"{"action":"created","repository":{"full_name":"recipes/keycloak"}}"#;

    fn sign(secret: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    async fn ask(secret: Option<&str>, headers: &[(&str, &str)], body: String) -> (StatusCode, usize) {
        let nudge = Nudge::default();
        let mut router = router(secret.map(Secret::new), nudge.clone());
        let mut request = Request::post("/hook");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.call(request.body(Body::from(body)).unwrap()).await.unwrap();
        (response.status(), nudge.take().len())
    }

    const EVENT: (&str, &str) = ("x-gitea-event", "issue_comment");

    #[tokio::test]
    async fn a_signed_hook_about_a_new_comment_makes_intake_look() {
        let good = sign("hook secret", BODY);
        let hub = format!("sha256={good}");
        for header in [("x-gitea-signature", &good), ("x-forgejo-signature", &good), ("x-hub-signature-256", &hub)] {
            let headers = [EVENT, (header.0, header.1.as_str())];
            assert_eq!(ask(Some("hook secret"), &headers, BODY.into()).await, (StatusCode::ACCEPTED, 1));
        }
    }

    #[tokio::test]
    async fn what_is_not_signed_by_us_is_refused() {
        let good = sign("hook secret", BODY);
        let other = sign("another", BODY);
        let unsigned = sign("", BODY);
        for headers in [
            vec![EVENT],
            vec![EVENT, ("x-gitea-signature", "")],
            vec![EVENT, ("x-hub-signature-256", "sha256=")],
            vec![EVENT, ("x-hub-signature-256", good.as_str())],
            vec![EVENT, ("x-gitea-signature", other.as_str())],
            vec![EVENT, ("x-gitea-signature", unsigned.as_str())],
            vec![EVENT, ("x-gitea-signature", &good[..62])],
            vec![EVENT, ("x-gitea-signature", "not hexadecimal")],
        ] {
            assert_eq!(
                ask(Some("hook secret"), &headers, BODY.into()).await,
                (StatusCode::UNAUTHORIZED, 0),
                "{headers:?}"
            );
        }
        let changed = BODY.replace("keycloak", "cryptpad");
        let headers = [EVENT, ("x-gitea-signature", good.as_str())];
        assert_eq!(ask(Some("hook secret"), &headers, changed).await, (StatusCode::UNAUTHORIZED, 0));
    }

    #[tokio::test]
    async fn without_a_secret_there_is_no_route() {
        let headers = [EVENT, ("x-gitea-signature", "")];
        assert_eq!(ask(None, &headers, BODY.into()).await, (StatusCode::NOT_FOUND, 0));
        assert_eq!(ask(Some(""), &headers, BODY.into()).await, (StatusCode::NOT_FOUND, 0));
    }

    #[tokio::test]
    async fn other_events_and_actions_do_nothing() {
        for (event, action, status) in [
            ("push", "created", StatusCode::OK),
            ("issue_comment", "edited", StatusCode::OK),
            ("issue_comment", "deleted", StatusCode::OK),
        ] {
            let body = BODY.replace("created", action);
            let signature = sign("s", &body);
            let headers = [("x-gitea-event", event), ("x-gitea-signature", signature.as_str())];
            assert_eq!(ask(Some("s"), &headers, body).await, (status, 0), "{event} {action}");
        }
        for body in ["", "[]", r#"{"action":"created","repository":{"full_name":"../../etc"}}"#] {
            let signature = sign("s", body);
            let headers = [EVENT, ("x-gitea-signature", signature.as_str())];
            assert_eq!(ask(Some("s"), &headers, body.into()).await, (StatusCode::BAD_REQUEST, 0), "{body}");
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_bound_is_not_read() {
        let body = " ".repeat(LARGEST + 1);
        let signature = sign("s", &body);
        let headers = [EVENT, ("x-gitea-signature", signature.as_str())];
        assert_eq!(ask(Some("s"), &headers, body).await, (StatusCode::PAYLOAD_TOO_LARGE, 0));
    }
}
