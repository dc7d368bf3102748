//! The API over real HTTP: what the pages show as JSON, and actions for whoever holds a token.

#[path = "web/house.rs"]
#[allow(dead_code, reason = "every suite uses its part")]
mod house;

use std::time::Duration;

use cc_ci::model::{RunId, Scope};
use cc_ci::secrets::Secret;
use cc_ci::store::{audit, runs, tokens};
use house::{House, NOW, Page};
use serde_json::{Value, json};

const TOKEN: &str = "ccci_0123456789012345678901234567890123456789";

fn value(page: &Page) -> Value {
    serde_json::from_str(&page.text).unwrap_or_else(|error| panic!("{error}: {}", page.text))
}

async fn holds(house: &House, name: &'static str, token: &'static str, scopes: &'static [Scope], good_for: u64) {
    let until = NOW.plus(Duration::from_secs(good_for));
    house
        .store
        .write("is being tested", move |tx| tokens::add(tx, name, &Secret::new(token), scopes, until, NOW))
        .await
        .unwrap();
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_list_is_read_page_by_page_each_run_once() {
    let house = House::with_history(120).await;
    let (mut address, mut seen) = (Some("/api/v1/runs".to_owned()), Vec::new());
    while let Some(next) = address {
        let page = house.get(&next).await;
        assert_eq!((page.status, page.header("content-type")), (200, "application/json"));
        let page = value(&page);
        seen.extend(page["runs"].as_array().unwrap().iter().map(|run| run["id"].as_i64().unwrap()));
        address = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, (1..=123).rev().collect::<Vec<i64>>());

    let failed = value(&house.get("/api/v1/runs?outcome=failed&recipe=keycloak").await);
    for run in failed["runs"].as_array().unwrap() {
        assert_eq!((&run["outcome"], &run["recipe"]), (&json!("failed"), &json!("keycloak")));
    }
}

#[tokio::test]
async fn a_run_is_told_with_its_parts_and_unchanged_costs_no_body() {
    let house = House::with_history(60).await;
    let page = house.get("/api/v1/runs/59").await;
    let run = value(&page);
    assert_eq!(run["id"], 59);
    assert_eq!(run["stages"], value(&house.get("/api/v1/runs/59/stages").await));
    assert_eq!(run["checks"], value(&house.get("/api/v1/runs/59/checks").await));
    assert!(run["queued_at"].as_str().unwrap().ends_with('Z'), "{run}");
    let again = house.send("GET", "/api/v1/runs/59", &[("if-none-match", page.header("etag"))]).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));

    let log = house.get("/api/v1/runs/59/log").await;
    assert_eq!((log.status, log.header("content-type")), (200, "text/plain; charset=utf-8"));
    let part = house.send("GET", "/api/v1/runs/59/log", &[("range", "bytes=0-9")]).await;
    assert_eq!((part.status, part.text.as_str()), (206, &log.text[..10]));

    let queue = value(&house.get("/api/v1/queue").await);
    assert_eq!((queue["running"].as_array().unwrap().len(), &queue["waiting_count"]), (1, &json!(2)));
    let recipes = value(&house.get("/api/v1/recipes").await);
    assert!(recipes["recipes"].as_array().unwrap().iter().any(|recipe| recipe["name"] == "keycloak"), "{recipes}");
    assert_eq!(value(&house.get("/api/v1/hosts").await)["processes"][0]["name"], "runner");
}

#[tokio::test]
async fn what_is_wrong_is_a_problem_that_says_what_to_do() {
    let house = House::with_history(10).await;
    for (method, address, status, words) in [
        ("GET", "/api/v1/runs/99", 404, "the newest is"),
        ("GET", "/api/v1/runs/0", 404, "no run"),
        ("GET", "/api/v1/runs?outcome=green", 400, "outcome"),
        ("GET", "/api/v1/runs?before=x", 400, "before"),
        ("GET", "/api/v1/runs?sort=id", 400, "?"),
        ("GET", "/api/v1/nothing", 404, "no such page"),
        ("GET", "/api/v2/runs", 404, "no such page"),
        ("POST", "/api/v1/runs/1/cancel", 401, "cc-ci token new"),
    ] {
        let page = house.send(method, address, &[]).await;
        assert_eq!((page.status, page.header("content-type")), (status, "application/problem+json"), "{address}");
        page.is_within_policy();
        let problem = value(&page);
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{address}: {problem}");
    }
    let wrong_method = house.send("DELETE", "/api/v1/queue", &[]).await;
    assert_eq!(value(&wrong_method)["status"], 405);
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_token_does_what_it_is_good_for_and_every_action_is_noted() {
    let house = House::with_history(20).await;
    holds(&house, "robot", TOKEN, &[Scope::Run, Scope::Cancel], 60).await;
    holds(&house, "looker", "ccci_looker", &[Scope::Run], 60).await;
    holds(&house, "short", "ccci_short", &[Scope::Cancel], 1).await;
    let open = house.queue("keycloak", 7).await;
    let cancel = format!("/api/v1/runs/{open}/cancel");
    let ask =
        async |address: &str, token: &str| house.send("POST", address, &[("authorization", &bearer(token))]).await;

    assert_eq!(ask(&cancel, "ccci_looker").await.status, 403);
    assert_eq!(ask(&cancel, "ccci_wrong").await.status, 401);
    assert_eq!(ask(&cancel, TOKEN).await.status, 202);
    assert_eq!(ask(&cancel, TOKEN).await.status, 409, "it is over");
    let run = value(&house.get(&format!("/api/v1/runs/{open}")).await);
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("cancelled"), &json!("cancelled with the token robot")));

    let again = ask(&format!("/api/v1/runs/{open}/retry"), TOKEN).await;
    assert_eq!(again.status, 202, "{}", again.text);
    let again = value(&again)["run"].as_i64().unwrap();
    let run = value(&house.get(&format!("/api/v1/runs/{again}")).await);
    assert_eq!((&run["retry_of"], &run["origin"], &run["state"]), (&json!(open.0), &json!("api"), &json!("queued")));
    assert_eq!(ask(&format!("/api/v1/runs/{open}/retry"), TOKEN).await.status, 409, "one of the head is open");
    assert_eq!(ask("/api/v1/runs/9999/retry", TOKEN).await.status, 404);

    house.clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&cancel, "ccci_short").await.status, 401, "it has expired");
    house.store.write("is being tested", |tx| tokens::revoke(tx, "robot", NOW)).await.unwrap();
    assert_eq!(ask(&cancel, TOKEN).await.status, 401, "it was revoked");

    let (noted, (good, broken)) =
        house.store.read(|db| Ok((audit::page(db, None, 10)?, audit::verify(db)?))).await.unwrap();
    let said: Vec<String> =
        noted.iter().rev().map(|row| format!("{}: {} {}", row.actor, row.action, row.said)).collect();
    assert_eq!(
        said,
        [
            "token robot: cancel told to end".to_owned(),
            "token robot: cancel over, or told before".to_owned(),
            format!("token robot: retry run {again} is queued"),
        ]
    );
    assert_eq!((good, broken.is_none()), (3, true));
    let text = std::fs::read(house.store.path()).unwrap();
    assert!(!text.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "the token itself is stored nowhere");
}

#[tokio::test]
async fn who_acts_too_often_or_guesses_has_to_wait() {
    let house = House::with_history(1).await;
    holds(&house, "robot", TOKEN, &[Scope::Cancel], 600).await;
    let open = house.queue("keycloak", 7).await;
    let cancel = format!("/api/v1/runs/{open}/cancel");
    let ask = async |token: &str| house.send("POST", &cancel, &[("authorization", &bearer(token))]).await;
    let mut answers = Vec::new();
    for _ in 0..31 {
        answers.push(ask(TOKEN).await.status);
    }
    assert_eq!((answers[0], answers[29], answers[30]), (202, 409, 429));
    house.clock.advance(Duration::from_secs(61));
    for _ in 0..10 {
        assert_eq!(ask("ccci_guess").await.status, 401);
    }
    let stopped = ask(TOKEN).await;
    assert_eq!((stopped.status, stopped.header("retry-after")), (429, "60"), "a good token too, from that address");
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(ask(TOKEN).await.status, 409);
}

#[tokio::test]
async fn a_trigger_says_what_is_wrong_with_it() {
    let house = House::with_history(1).await;
    holds(&house, "robot", TOKEN, &[Scope::Run], 600).await;
    let ask = async |kind: &str, body: &str| {
        let headers = [("authorization", bearer(TOKEN)), ("content-type", kind.to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        house.post("/api/v1/runs", &headers, body).await
    };
    for (kind, body, status, words) in [
        ("text/plain", "{}", 415, "application/json"),
        ("application/json", "{", 400, "the body: it is no JSON from line 1, column 1 on"),
        ("application/json", "[]", 400, "the body: it is no object, such as"),
        ("application/json", "{}", 400, "the body: the key `repository` is missing here"),
        ("application/json", r#"{"repository": 7, "pr": 1}"#, 400, "`repository` needs text, not `7`"),
        ("application/json", r#"{"repository": "x", "pr": "one"}"#, 400, "`pr` needs a JSON number, not text `one`"),
        ("application/json", r#"{"repository": "x", "pr": 1.5}"#, 400, "`pr`: 1.5 is no whole number"),
        ("application/json", r#"{"repository": "x", "pr": 99999999999999999999}"#, 400, "`pr`"),
        ("application/json", r#"{"repository": "x", "pr": 1, "form": "1"}"#, 400, "did you mean `from`?"),
        (
            "application/json",
            r#"{"repository": "x", "pr": 1, "from": "$(id)"}"#,
            400,
            "`from`: `$(id)` is not a version",
        ),
        (
            "application/json",
            r#"{"repository": "x", "pr": 1, "from": "1.0.0", "stage": "install"}"#,
            400,
            "`from` says what the upgrade starts from, and `install` has none",
        ),
        ("application/json", r#"{"repository": "x", "pr": 1, "sudo": true}"#, 400, "sudo"),
        ("application/json", r#"{"repository": "../x", "pr": 1}"#, 400, "repository"),
        ("application/json", r#"{"repository": "x", "pr": 0}"#, 400, "pr"),
        ("application/json", r#"{"repository": "x", "pr": 1, "stage": "none"}"#, 400, "none"),
        ("application/json", r#"{"repository": "x", "pr": 1}"#, 503, "asks no forge"),
    ] {
        let page = ask(kind, body).await;
        assert_eq!(page.status, status, "{body}: {}", page.text);
        let said = value(&page)["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(words), "{body}: {said}");
        for word in ["i64", "struct", "enum", "invalid type", "expected"] {
            assert!(!said.contains(word), "Rust's own word `{word}`: {said}");
        }
    }
    assert_eq!(ask("application/json", &" ".repeat(20_000)).await.status, 413);
    let none: Vec<RunId> = house.store.read(|db| Ok(runs::open(db)?.iter().map(|run| run.id).collect())).await.unwrap();
    assert_eq!(none.len(), 3, "only those of the history");
}
