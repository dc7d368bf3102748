//! The pages over real HTTP: with a history, with nothing, and with everything that hostile people can write into a field.

#[path = "web/hostile.rs"]
mod hostile;
#[path = "web/house.rs"]
#[allow(dead_code, reason = "every suite uses its part")]
mod house;
#[path = "web/markup.rs"]
mod markup;

use std::time::Duration;

use cc_ci::clock::Time;
use cc_ci::logs::{self, Log};
use cc_ci::model::{Asked, CheckState, EvidenceKind, Origin, Outcome, RepoId, RunId, StageName, StageState};
use cc_ci::sandbox::Stream;
use cc_ci::secrets::redact::Redactor;
use cc_ci::store::evidence::{self, Piece};
use cc_ci::store::repositories::Listed;
use cc_ci::store::stages::Check;
use cc_ci::store::{heartbeats, repositories, runs, stages};
use hostile::{HOSTILE, encode, hostile_run};
use house::{House, NOW, Page};
use tokio_util::sync::CancellationToken;

const PAGES: [&str; 13] = [
    "/",
    "/?show=not-enrolled",
    "/?sort=level&order=turned",
    "/runs",
    "/queue",
    "/decisions",
    "/repositories",
    "/hosts",
    "/search?find=the",
    "/style",
    "/about",
    "/runs?outcome=failed",
    "/nowhere",
];

#[tokio::test]
async fn every_page_is_within_the_policy_with_a_history() {
    let house = House::with_history(300).await;
    let mut pages: Vec<String> = PAGES.iter().map(|&page| page.to_owned()).collect();
    pages.extend((280..=303).map(|id| format!("/runs/{id}")));
    pages.extend(
        [
            "/recipes/keycloak",
            "/?show=failing&sort=verdict",
            "/?find=CLOAK",
            "/runs?recipe=keycloak",
            "/runs?recipe=keycloak&outcome=passed&before=200",
            "/runs/299/lines",
        ]
        .map(str::to_owned),
    );
    for address in pages {
        let page = house.get(&address).await;
        assert_eq!(page.status, if address == "/nowhere" { 404 } else { 200 }, "{address}");
        page.is_within_policy();
        markup::holds_to_the_rules(&page.text, &address);
        assert!(page.text.len() <= 60_000, "{address} weighs {} bytes", page.text.len());
    }
}

#[tokio::test]
async fn every_page_has_words_for_nothing() {
    let house = House::empty().await;
    for (address, words) in [
        ("/", "No recipe has been tested yet"),
        ("/runs", "Nothing has been tested yet"),
        ("/runs?outcome=failed", "No run is like that"),
        ("/queue", "Nothing waits"),
        ("/decisions", "Nobody has asked for anything yet"),
        ("/repositories", "No repository has been seen yet"),
    ] {
        let page = house.get(address).await;
        assert_eq!(page.status, 200, "{address}");
        markup::holds_to_the_rules(&page.text, address);
        assert!(page.text.contains(words), "{address}:\n{}", page.text);
    }
    let page = house.get("/runs/7").await;
    assert_eq!(page.status, 404);
    assert!(page.text.contains("Nothing has been tested here yet"), "{}", page.text);
}

#[tokio::test]
async fn evidence_is_listed_and_served_as_what_it_is_and_nothing_else() {
    let house = House::with_history(3).await;
    let dir = cc_ci::evidence::dir(&house.logs.with_file_name("evidence"), RunId(1));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, kind, bytes) in [
        ("log.install.app.txt", EvidenceKind::Text, &b"<script>alert(1)</script>\n"[..]),
        ("services.install.json", EvidenceKind::Json, b"[]\n"),
        ("front-page.png", EvidenceKind::Picture, b"\x89PNG\r\n"),
    ] {
        std::fs::write(dir.join(name), bytes).unwrap();
        let piece = Piece { stage: StageName::Install, name: name.into(), kind, bytes: bytes.len() as u64, cut: 0 };
        house.store.write("", move |tx| evidence::put(tx, RunId(1), &piece, NOW)).await.unwrap();
    }
    std::fs::write(dir.join("not-noted.txt"), "x").unwrap();

    let page = house.get("/runs/1").await;
    markup::holds_to_the_rules(&page.text, "/runs/1");
    assert!(page.text.contains("href=\"/runs/1/evidence/log.install.app.txt\""), "{}", page.text);
    assert!(
        page.text.contains("<img src=\"/runs/1/evidence/front-page.png\" alt=\"The app's front page"),
        "{}",
        page.text
    );
    for (name, kind) in [
        ("log.install.app.txt", "text/plain; charset=utf-8"),
        ("services.install.json", "application/json"),
        ("front-page.png", "image/png"),
    ] {
        let piece = house.get(&format!("/runs/1/evidence/{name}")).await;
        assert_eq!((piece.status, piece.header("content-type")), (200, kind));
        piece.is_within_policy();
    }
    for nothing in ["not-noted.txt", "..%2f..%2fcc-ci.db", "%2e%2e", ".", "a%00b"] {
        assert_eq!(house.get(&format!("/runs/1/evidence/{nothing}")).await.status, 404, "{nothing}");
    }
    assert_eq!(house.get("/runs/2/evidence/front-page.png").await.status, 404);
    let result = house.get("/runs/1/result.json").await;
    let result: serde_json::Value = serde_json::from_str(&result.text).unwrap();
    assert_eq!((&result["format"], &result["id"]), (&1.into(), &1.into()));
    assert_eq!(result["evidence"][2]["path"], "/runs/1/evidence/front-page.png");
    assert_eq!(house.get("/runs/99/result.json").await.status, 404);
}

#[tokio::test]
async fn a_level_has_a_badge_of_its_own() {
    let house = House::empty().await;
    assert!(house.get("/badge/notes/level.svg").await.text.contains("cc-ci level: none yet"));
    let run = house.queue("notes", 1).await;
    house.store.write("", move |tx| runs::set_level(tx, run, 3, "no checks of its own")).await.unwrap();
    house.eventually(async || house.get("/badge/notes/level.svg").await.text.contains("cc-ci level: 3 of 6")).await;
    house.get("/badge/notes/level.svg").await.is_within_policy();
}

#[tokio::test]
async fn nothing_that_people_write_becomes_markup() {
    let house = House::empty().await;
    house.alarms.raise(cc_ci::alarms::Alarm::ForgeSilent, HOSTILE, house.clock.now());
    let run = hostile_run(&house).await;
    let mut addresses: Vec<String> = PAGES.iter().map(|&page| page.to_owned()).collect();
    addresses.extend([
        format!("/runs/{run}"),
        format!("/runs/{run}/now"),
        format!("/runs/{run}/lines"),
        format!("/runs/{}", run.0 + 1),
        format!("/recipes/{}", encode(HOSTILE)),
    ]);
    addresses.push("/runs/%3Cscript%3Ealert(1)".into());
    addresses.push("/runs?recipe=%3Cscript%3E".into());
    addresses.push("/runs?before=%22%3E%3Cscript%3E".into());
    addresses.push("/decisions?before=%3Cimg%20onerror%3Dx%3E".into());
    addresses.push("/?after=%3Cscript%3E".into());
    for address in addresses {
        let page = house.get(&address).await;
        markup::holds_to_the_rules(&page.text, &address);
        page.is_within_policy();
        assert!(!page.text.contains(['\u{1b}', '\u{202e}', '\u{0}']), "{address} lets control characters through");
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img src=x"), "{address}");
        assert!(page.text.len() <= 60_000, "{address} weighs {} bytes", page.text.len());
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_answered_with_a_page() {
    let house = House::with_history(20).await;
    for (address, status, words) in [
        ("/runs/999", 404, "Run 999 is not known; the newest is"),
        ("/runs/0", 404, "Run 0 is not known"),
        ("/runs/x", 404, "There is no such run"),
        ("/runs/-1", 404, "There is no such run"),
        ("/runs/999/log", 404, "Run 999"),
        ("/runs/999/now", 404, "Run 999"),
        ("/runs/999/lines", 404, "Run 999"),
        ("/runs/999/events", 404, "Run 999"),
        ("/runs?outcome=green", 400, "is one of: passed failed"),
        ("/runs?before=soon", 400, "is the number of a run, not `soon`"),
        ("/runs?before=0", 400, "is the number of a run"),
        ("/runs?recipe=a%20b", 400, "is a repository name"),
        ("/runs?recipe=a&recipe=b", 400, "one value a name"),
        ("/runs?recipe=%ff", 400, "is a repository name"),
        ("/decisions?before=x", 400, "is where an earlier page ended"),
        ("/runs/3/log?offset=-1", 400, "is a place in the log"),
        ("/runs/3/lines?before=1&from=2", 400, "exclude each other"),
        ("/runs/3/lines?at=lunch", 400, "is a stage or `error`"),
        ("/runs/3/log?tail=0", 400, "is a number of lines from 1 to"),
        ("/runs/3/log?tail=2&offset=3", 400, "exclude each other"),
        ("/?show=odd", 400, "is one of: all failing passing"),
        ("/?sort=odd", 400, "is one of: name level verdict median"),
        ("/?order=odd", 400, "is `turned` or nothing"),
        ("/recipes/unheard-of", 404, "Nothing called <b>unheard-of</b> was tested"),
        ("/recipes/%ff", 400, "That address cannot be read"),
        ("/runs/%ff", 400, "That address cannot be read"),
        ("/runs/%ff/evidence/%fe", 400, "That address cannot be read"),
        ("/badge/%ff", 400, "That address cannot be read"),
        ("/%ff", 404, "There is no page here"),
        ("/nowhere", 404, "There is no page here"),
        ("/badge/keycloak.png", 404, "There is no page here"),
        ("/badge/..%2f..%2fetc.svg", 404, "There is no page here"),
        ("/assets/site.css", 404, "There is no page here"),
    ] {
        let page = house.get(address).await;
        assert_eq!(page.status, status, "{address}");
        assert!(page.text.contains(words), "{address}:\n{}", page.text);
        page.is_within_policy();
        assert!(page.header("etag").is_empty(), "{address} may be asked again");
    }
}

#[tokio::test]
async fn only_reading_is_possible() {
    let house = House::with_history(5).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        for address in ["/", "/runs/3", "/badge/keycloak.svg", "/health"] {
            let page = house.send(method, address, &[]).await;
            assert_eq!(page.status, 405, "{method} {address}");
            assert_eq!(page.header("allow"), "GET,HEAD".replace(',', ", "), "{method} {address}");
        }
    }
    for (address, allowed) in
        [("/", "GET, HEAD, OPTIONS"), ("/runs/3", "GET, HEAD, OPTIONS"), ("/api/v1/runs", "GET, HEAD, POST, OPTIONS")]
    {
        let options = house.send("OPTIONS", address, &[]).await;
        assert_eq!((options.status, options.text.as_str()), (204, ""), "{address}");
        assert_eq!(options.header("allow"), allowed, "{address}");
        options.is_within_policy();
    }
    assert_eq!(house.send("OPTIONS", "/nowhere", &[]).await.status, 404);
    let mounted = house.send("POST", "/hook", &[]).await;
    assert_eq!((mounted.status, mounted.text.as_str()), (202, "heard"));
    mounted.is_within_policy();
}

#[tokio::test]
async fn a_recipe_has_a_page_with_its_level_its_times_and_its_history() {
    let house = House::with_history(300).await;
    let page = house.get("/recipes/keycloak").await;
    let words = markup::words(&page.text);
    for part in ["Last verdict:", "level", "last ten", "usually takes", "Time per stage", "install", "History", "Badge"]
    {
        assert!(words.contains(part), "`{part}` is missing:\n{words}");
    }
    assert!(page.text.contains("<svg class=\"chart\"") && page.text.contains("<rect class=\"install\""));
    assert!(page.text.contains("href=\"https://git.example.org/recipes/keycloak/pulls/"), "{}", page.text);
    let run = house.queue("keycloak", 77).await;
    assert!(house.get("/recipes/keycloak").await.text.contains(&format!("href=\"/runs/{run}\"")), "at once");
}

#[tokio::test]
async fn recipes_are_ordered_and_filtered_by_links() {
    let house = House::with_history(300).await;
    let names = async |address: &str| {
        let page = house.get(address).await;
        let rows = page.text.split("<th scope=\"row\"><a href=\"/recipes/").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = names("/").await;
    let mut sorted = all.clone();
    sorted.sort();
    assert!(all.len() > 5 && all == sorted, "{all:?}");
    sorted.reverse();
    assert_eq!(names("/?order=turned").await, sorted);
    assert_eq!(names("/?find=KEYC").await, ["keycloak"]);
    for address in ["/?sort=level", "/?sort=median", "/?sort=verdict"] {
        let (mut down, up) = (names(address).await, names(&format!("{address}&order=turned")).await);
        assert_eq!(down.len(), all.len(), "{address}");
        assert_ne!(down, up, "{address}");
        down.sort();
        assert_eq!(down, all, "{address}");
    }
    let (failing, passing) = (names("/?show=failing").await, names("/?show=passing").await);
    assert!(!passing.is_empty() && failing.iter().all(|name| !passing.contains(name)));
    let not = house.get("/?show=not-enrolled").await;
    assert!(not.text.contains("not tested"), "{}", not.text);
}

#[tokio::test]
async fn a_commit_that_passes_and_fails_makes_its_recipe_flaky() {
    let house = House::empty().await;
    for outcome in [Outcome::Failed, Outcome::Passed] {
        let run = house.queue("notes", 1).await;
        house
            .store
            .write("is being tested", move |tx| {
                runs::start(tx, run, NOW)?;
                runs::finish(tx, run, outcome, "", NOW)
            })
            .await
            .unwrap();
        let flaky = house.get("/recipes/notes").await.text.contains(">flaky<");
        assert_eq!(flaky, outcome == Outcome::Passed);
    }
    assert!(house.get("/?show=flaky").await.text.contains("/recipes/notes"));
}

fn a_finding() -> Check {
    let (stage, state) = (StageName::Lint, CheckState::Warning);
    Check { stage, name: String::new(), state, expected: None, got: Some("it is not pinned".into()), took: None }
}

async fn keeps_images(house: &House, run: RunId, digest: &str) {
    let name = "images.head.json".to_owned();
    let dir = house.logs.with_file_name("evidence").join(run.to_string());
    std::fs::create_dir_all(&dir).unwrap();
    let images =
        serde_json::json!([{"service": "app", "image": "nginx:1.29.0", "digests": [format!("nginx@sha256:{digest}")]}]);
    std::fs::write(dir.join(&name), images.to_string()).unwrap();
    let piece = Piece { stage: StageName::Install, name, kind: EvidenceKind::Json, bytes: 100, cut: 0 };
    house.store.write("is being tested", move |tx| evidence::put(tx, run, &piece, NOW).map(drop)).await.unwrap();
}

#[tokio::test]
async fn two_runs_are_compared_where_they_differ() {
    let house = House::with_history(200).await;
    let [failed, passed] = ["failed", "passed"].map(|outcome| {
        let store = house.store.clone();
        async move {
            let newest = move |db: &rusqlite::Connection| {
                Ok(db.query_row(
                    "select max(id) from runs where recipe = 'keycloak' and outcome = ?1",
                    [outcome],
                    |row| row.get::<_, i64>(0),
                )?)
            };
            store.read(newest).await.unwrap()
        }
    });
    let (failed, passed) = (failed.await, passed.await);
    let page = house.get(&format!("/compare?a={failed}&b={passed}")).await;
    markup::holds_to_the_rules(&page.text, "/compare");
    page.is_within_policy();
    let words = markup::words(&page.text);
    assert!(words.contains(&format!("Runs {failed} and {passed}")) && words.contains("Last lines of"), "{words}");
    assert!(page.text.contains("class=\"differs\"") && page.text.contains("class=\"come\""), "{}", page.text);
    for (run, digest, rule) in [(failed, "1111111111112222", "R007"), (passed, "3333333333334444", "R009")] {
        keeps_images(&house, RunId(run), digest).await;
        let finding = Check { name: format!("{rule} compose.yml:3"), ..a_finding() };
        house
            .store
            .write("is being tested", move |tx| stages::add_check(tx, RunId(run), &finding, NOW).map(drop))
            .await
            .unwrap();
    }
    let page = house.get(&format!("/compare?a={failed}&b={passed}")).await.text;
    markup::holds_to_the_rules(&page, "/compare");
    let words = markup::words(&page);
    for shown in [
        "nginx:1.29.0",
        "111111111111",
        "333333333333",
        "in the head",
        "R007 compose.yml:3",
        "R009 compose.yml:3",
        "it is not pinned",
    ] {
        assert!(words.contains(shown), "{shown}: {words}");
    }
    let images = house.get(&format!("/api/v1/runs/{passed}/images")).await.text;
    let images: serde_json::Value = serde_json::from_str(&images).unwrap();
    assert_eq!(images[0]["digests"][0], "nginx@sha256:3333333333334444");
    for (address, status, words) in [
        ("/compare", 400, "name the two runs"),
        ("/compare?a=1", 400, "name the two runs"),
        ("/compare?a=1&b=9999", 404, "Run 9999"),
        ("/compare?a=x&b=1", 404, "There is no such run"),
    ] {
        let page = house.get(address).await;
        assert!(page.status == status && page.text.contains(words), "{address}: {}", page.text);
    }
}

#[tokio::test]
async fn failing_stages_are_searched_for_a_text() {
    let house = House::empty().await;
    let run = hostile_run(&house).await;
    let page = house.get("/search?find=SCRIPT").await;
    markup::holds_to_the_rules(&page.text, "/search");
    assert!(page.text.contains(&format!("href=\"/runs/{run}/lines?from=")), "{}", page.text);
    assert!(house.get("/search?find=nowhere-said").await.text.contains("No failing stage says that"));
    assert_eq!(house.get(&format!("/search?find={}", "x".repeat(300))).await.status, 400);
}

#[tokio::test]
async fn the_host_is_shown_as_the_runner_saw_it() {
    let house = House::empty().await;
    assert!(house.get("/hosts").await.text.contains("No runner was heard yet"));
    let facts = r#"{"state":"ready","host":{"docker":"27.1","swarm":"manager","nodes":1,"disk_free":50000000000,"disk_size":100000000000,"memory_available":1,"memory_size":4,"containers_running":7}}"#;
    let beat = heartbeats::Heartbeat { pid: 1, version: "0.1.0".into(), started_at: NOW, at: NOW, facts: facts.into() };
    house.store.write("is being tested", move |tx| heartbeats::beat(tx, "runner", &beat)).await.unwrap();
    let words = markup::words(&house.get("/hosts").await.text);
    for part in ["ready, heard just now", "50.0 GB free of 100.0 GB, 50 %", "7 running", "27.1, Swarm manager, 1 node"]
    {
        assert!(words.contains(part), "`{part}` is missing:\n{words}");
    }
    let metrics = house.get("/metrics").await.text;
    assert!(metrics.contains("cc_ci_disk_free_bytes 50000000000\n"), "{metrics}");
}

#[tokio::test]
async fn an_interrupted_run_names_its_next_attempt() {
    let house = House::empty().await;
    let [first, second] = house
        .store
        .write("is being tested", |tx| {
            let repo = "recipes/notes".parse().unwrap();
            repositories::see(tx, &Listed { id: RepoId(1), repo: &repo, enrolled: true, why: "" }, NOW, NOW, NOW)?;
            let new = runs::NewRun { repository: Some(RepoId(1)), ..cc_ci::dev::seed::plain_run("notes", 1) };
            let first = runs::queue(tx, &new, NOW)?;
            runs::start(tx, first, NOW)?;
            runs::finish(tx, first, Outcome::Interrupted, "the runner died while it ran", NOW)?;
            let second = runs::queue(tx, &runs::NewRun { attempt: 2, retry_of: Some(first), ..new }, NOW)?;
            Ok([first, second])
        })
        .await
        .unwrap();
    let words = markup::words(&house.get(&format!("/runs/{first}")).await.text);
    assert!(words.contains(&format!("Run {second} tries again: attempt 2")), "{words}");
    assert!(!markup::words(&house.get(&format!("/runs/{second}")).await.text).contains("tries again"));
}

#[tokio::test]
async fn no_runner_was_heard_yet_is_said_from_the_start() {
    let house = House::empty().await;
    let ready = house.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("not heard yet"), "{}", ready.text);
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let house = House::with_history(30).await;
    for address in ["/", "/runs", "/runs/30", "/badge/keycloak.svg", "/health", "/runs/30/log"] {
        let (get, head) = (house.get(address).await, house.send("HEAD", address, &[]).await);
        assert_eq!((head.status, head.text.len()), (get.status, 0), "{address}");
        assert_eq!(head.header("content-length"), get.text.len().to_string(), "{address}");
    }
}

#[tokio::test]
async fn what_the_asker_has_already_is_not_sent_again() {
    let house = House::with_history(30).await;
    for address in ["/", "/runs", "/runs?recipe=keycloak", "/runs/30", "/badge/keycloak.svg", "/about", "/decisions"] {
        let first = house.get(address).await;
        let tag = first.header("etag");
        assert!(tag.starts_with("W/\""), "{address} has no tag");
        let again = house.send("GET", address, &[("if-none-match", tag)]).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{address}");
        assert_eq!(again.header("etag"), tag, "{address}");
        let other = house.send("GET", address, &[("if-none-match", "\"0\"")]).await;
        assert_eq!((other.status, &other.text), (200, &first.text), "{address}");
    }
}

#[tokio::test]
async fn whoever_reads_zstd_is_sent_less() {
    let house = House::with_history(60).await;
    for address in ["/runs", "/runs/55", "/"] {
        let plain = house.get(address).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"), "{address}");
        // It is packed once somebody asks for it a second time.
        assert_eq!(house.get(address).await.text, plain.text, "{address}");
        let packed = house.bytes(address, &[("accept-encoding", "gzip, zstd")]).await;
        assert!(packed.len() * 3 < plain.text.len(), "{address}: {} of {}", packed.len(), plain.text.len());
        assert_eq!(zstd::decode_all(packed.as_slice()).unwrap(), plain.text.as_bytes(), "{address}");
    }
}

#[tokio::test]
async fn a_change_shows_on_the_next_look() {
    let house = House::with_history(30).await;
    let list = house.get("/runs").await;
    assert!(house.get("/runs").await.text == list.text, "an unchanged page is the same bytes");
    let run = house.queue("brand-new", 1).await;
    assert!(house.get("/runs").await.text.contains("brand-new"));
    assert!(house.get("/").await.text.contains("brand-new"));
    assert!(house.get(&format!("/runs/{run}")).await.text.contains("Waiting"));
    house
        .store
        .write("is being tested", move |tx| runs::set_waits_for(tx, run, "Waiting for ghost #3 to finish").map(drop))
        .await
        .unwrap();
    assert!(house.get(&format!("/runs/{run}")).await.text.contains("Waiting for ghost #3 to finish."));
    assert!(house.get("/queue").await.text.contains("waiting for ghost #3 to finish"));
    house.store.write("is being tested", move |tx| runs::start(tx, run, NOW)).await.unwrap();
    assert!(house.get(&format!("/runs/{run}")).await.text.contains("Running"));
    house
        .store
        .write("is being tested", move |tx| runs::finish(tx, run, Outcome::Failed, "it broke. Badly.", NOW))
        .await
        .unwrap();
    let page = house.get(&format!("/runs/{run}")).await;
    assert!(page.text.contains("Failed: it broke") && page.text.contains("Badly."), "{}", page.text);
    assert!(house.get("/badge/brand-new.svg").await.text.contains("failed"));
}

#[tokio::test]
async fn paging_shows_each_run_once_while_new_ones_come() {
    let house = House::with_history(130).await;
    let mut seen = Vec::new();
    let mut address = "/runs".to_owned();
    loop {
        let page = house.get(&address).await;
        seen.extend(markup::run_links(&page.text));
        house.queue("late", 1).await;
        match markup::link_to(&page.text, "next") {
            Some(next) => address = next,
            None => break,
        }
    }
    assert_eq!(seen, (1..=133).rev().collect::<Vec<i64>>());
    let all: Vec<i64> = markup::run_links(&house.get("/runs?recipe=late").await.text);
    assert_eq!(all.len(), 4);
}

#[tokio::test]
async fn decisions_page_without_a_gap() {
    let house = House::with_history(200).await;
    let (mut rows, mut address) = (0, "/decisions".to_owned());
    loop {
        let page = house.get(&address).await;
        rows += page.text.matches("class=\"decision\"").count();
        match markup::link_to(&page.text, "next") {
            Some(next) => address = next,
            None => break,
        }
    }
    let stored: i64 = house
        .store
        .read(|db| Ok(db.query_row("select count(*) from comments where command is not null", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(i64::try_from(rows).unwrap(), stored);
    assert!(house.get("/decisions").await.text.contains("not a member of recipes"));
}

#[tokio::test]
async fn badges_say_the_last_word_on_a_recipe() {
    let house = House::with_history(200).await;
    let badge = house.get("/badge/gitea.svg").await;
    assert_eq!(badge.header("content-type"), "image/svg+xml");
    assert_eq!(badge.header("cache-control"), "public, max-age=30");
    assert!(badge.text.contains("passed, level") || badge.text.contains("failed"), "{}", badge.text);
    badge.is_within_policy();
    let unknown = house.get("/badge/never-heard-of.svg").await;
    assert_eq!(unknown.status, 200);
    assert!(unknown.text.contains("not tested yet"));
    let run = house.queue("fresh", 1).await;
    house
        .store
        .write("is being tested", move |tx| {
            runs::start(tx, run, NOW)?;
            runs::finish(tx, run, Outcome::Infra, "no disk", NOW)
        })
        .await
        .unwrap();
    assert!(house.get("/badge/fresh.svg").await.text.contains("not tested yet"), "the machine's trouble is no verdict");
}

#[tokio::test]
async fn assets_are_kept_for_good_under_the_hash_of_what_they_hold() {
    let house = House::empty().await;
    let page = house.get("/").await;
    let assets = markup::assets(&page.text);
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in assets {
        let answer = house.get(&asset).await;
        assert_eq!(answer.status, 200, "{asset}");
        assert!(answer.header("cache-control").contains("immutable"), "{asset}");
        assert!(
            !answer.text.contains("http://") || answer.header("content-type") == "image/svg+xml",
            "{asset} loads from elsewhere"
        );
        assert!(!answer.text.contains("url("), "{asset} loads something");
        answer.is_within_policy();
    }
}

#[tokio::test]
async fn readiness_gives_its_reasons() {
    let house = House::with_history(3).await;
    assert_eq!(house.get("/health").await.status, 200);
    let ready = house.get("/ready").await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    house.alarms.raise(cc_ci::alarms::Alarm::TokenRefused, "refuses the bot's token (401)", house.clock.now());
    let ready = house.get("/ready").await;
    assert_eq!(ready.status, 503);
    let json: serde_json::Value = serde_json::from_str(&ready.text).unwrap();
    assert_eq!(json["reasons"]["token-refused"], "refuses the bot's token (401)");
    assert_eq!(json["runner_heartbeat_age_s"], 0);
    house.alarms.clear(cc_ci::alarms::Alarm::TokenRefused);
    house.clock.advance(Duration::from_secs(300));
    let json: serde_json::Value = serde_json::from_str(&house.get("/ready").await.text).unwrap();
    assert_eq!(json["reasons"]["runner"], "not heard for 5 min; nothing is tested until cc-ci-runner is back");
    assert!(json["reasons"]["poll"].as_str().unwrap().contains("the forge was last read 5 min ago"));
    let overview = house.get("/").await;
    assert!(overview.text.contains("not heard for 5 min") && !overview.text.contains("All well"));
}

#[tokio::test]
async fn a_connection_that_was_taken_before_the_end_is_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = House::empty().await;
    let mut early = tokio::net::TcpStream::connect(house.address.trim_start_matches("http://")).await.unwrap();
    // Connections are taken in their order, so with this answer the one before was taken too.
    assert_eq!(house.get("/health").await.status, 200);
    house.ends();
    tokio::task::yield_now().await;
    early.write_all(b"GET /health HTTP/1.1\r\nhost: ci\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn a_log_is_served_whole_and_in_parts() {
    let house = House::with_history(30).await;
    let whole = house.get("/runs/28/log").await;
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    assert!(whole.text.contains(" fetch out "), "{}", whole.text);
    let len = whole.text.len();
    let from = house.get("/runs/28/log?offset=100").await;
    assert_eq!(from.text, whole.text[100..]);
    let beyond = house.get(&format!("/runs/28/log?offset={}", len + 5)).await;
    assert_eq!((beyond.status, beyond.text.as_str()), (200, ""));
    let last = house.get("/runs/28/log?tail=2").await.text;
    assert_eq!((last.lines().count(), whole.text.ends_with(&last)), (2, true));
    assert_eq!(house.get("/runs/28/log?tail=9999").await.text, whole.text);
    let stage = house.get("/runs/28/lines?at=fetch").await;
    assert!(stage.text.contains(" data-found=") && stage.text.contains("<h3>fetch</h3>"), "{}", stage.text);
    let part = house.send("GET", "/runs/28/log", &[("range", "bytes=10-19")]).await;
    assert_eq!((part.status, part.text.as_str()), (206, &whole.text[10..20]));
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{len}"));
    let end = house.send("GET", "/runs/28/log", &[("range", "bytes=-20")]).await;
    assert_eq!(end.text, whole.text[len - 20..]);
    let nothing = house.send("GET", "/runs/28/log", &[("range", "bytes=99999999-")]).await;
    assert_eq!((nothing.status, nothing.header("content-range")), (416, format!("bytes */{len}").as_str()));
    nothing.is_within_policy();
}

fn growing(house: &House, run: RunId) -> Log {
    std::fs::create_dir_all(&house.logs).unwrap();
    Log::create(&logs::path(&house.logs, run), Redactor::new(), house.clock.clone(), logs::USUAL_CAP).unwrap()
}

#[tokio::test]
async fn a_run_is_followed_to_its_end_and_a_broken_connection_goes_on_where_it_was() {
    let house = House::empty().await;
    let run = house.queue("keycloak", 41).await;
    house
        .store
        .write("is being tested", move |tx| {
            runs::start(tx, run, NOW)?;
            stages::plan(tx, run, &[(StageName::Install, StageState::Waiting, None)])
        })
        .await
        .unwrap();
    let log = growing(&house, run);
    log.line(StageName::Install, "one");
    let mut first = house.follow(&format!("/runs/{run}/events?from=0"), None).await;
    assert_eq!(first.next().await.kind, "changed");
    let one = first.next().await;
    assert_eq!((one.kind.as_str(), one.data.as_str()), ("lines", "03:04:05 install ci one"));
    log.chunk(StageName::Install, Stream::Out, b"two\nthree\n");
    let both = first.next_lines(2).await;
    assert_eq!(both, ["03:04:05 install out two", "03:04:05 install out three"]);
    house.store.write("is being tested", move |tx| stages::start(tx, run, StageName::Install, NOW)).await.unwrap();
    first.next_of("changed").await;
    drop(first);

    let mut second = house.follow(&format!("/runs/{run}/events?from=0"), Some(&one.id)).await;
    assert_eq!(second.next_lines(2).await, both, "from where the first one had come to");
    house
        .store
        .write("is being tested", move |tx| {
            stages::finish(tx, run, StageName::Install, StageState::Passed, None, Duration::ZERO, NOW)?;
            runs::finish(tx, run, Outcome::Passed, "", NOW)
        })
        .await
        .unwrap();
    log.line(StageName::Install, "four");
    log.close().await.unwrap();
    assert_eq!(second.next_lines(1).await, ["03:04:05 install ci four"]);
    second.next_of("end").await;
    assert!(second.is_over().await);

    let mut late = house.follow(&format!("/runs/{run}/events?from=0"), None).await;
    assert_eq!(late.next_lines(4).await.len(), 4);
    late.next_of("end").await;
}

#[tokio::test]
async fn a_client_has_ten_live_views_and_gets_them_back() {
    let house = House::empty().await;
    let run = house.queue("keycloak", 41).await;
    house.store.write("is being tested", move |tx| runs::start(tx, run, NOW)).await.unwrap();
    let address = format!("/runs/{run}/events");
    let mut views = Vec::new();
    for _ in 0..10 {
        let mut view = house.follow(&address, None).await;
        view.next_of("changed").await;
        views.push(view);
    }
    let refused = house.get(&address).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "30"));
    assert!(refused.text.contains("Too many live views"), "{}", refused.text);
    assert_eq!(house.get(&format!("/runs/{run}")).await.status, 200, "reading goes on");
    let other = house.send_unread("GET", &address, &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(other, 200, "another client behind the same proxy");
    views.pop();
    house.eventually(async || house.send_unread("GET", &address, &[]).await == 200).await;
}

#[tokio::test]
async fn lists_are_told_of_changes_once_and_go_on_where_they_were() {
    let house = House::with_history(20).await;
    for page in ["/", "/runs", "/queue"] {
        let page = house.get(page).await.text;
        assert!(page.contains(r#"data-events="/events""#) && page.contains("<noscript><meta http-equiv=\"refresh\""));
    }
    let mut events = house.follow("/events", None).await;
    let first = events.next_of("changed").await;
    house.queue("keycloak", 7).await;
    let second = events.next_of("changed").await;
    assert_ne!(first.id, second.id);

    let mut again = house.follow("/events", Some(&second.id)).await;
    let mut late = house.follow("/events", Some(&first.id)).await;
    assert_eq!(late.next_of("changed").await.id, second.id, "it is told what it missed");
    house.queue("keycloak", 8).await;
    let third = events.next_of("changed").await.id;
    assert_eq!(again.next_of("changed").await.id, third, "what it had is not told again");
    assert_eq!(late.next_of("changed").await.id, third);

    let mut more = Vec::new();
    for _ in 0..7 {
        more.push(house.follow("/events", None).await);
    }
    assert_eq!(house.get("/events").await.status, 429);
    house.ends();
    assert!(events.is_over().await);
}

#[tokio::test]
async fn runs_are_narrowed_by_who_asked() {
    let house = House::with_history(5).await;
    let mut nightly = cc_ci::dev::seed::plain_run("keycloak", 77);
    nightly.origin = Origin::Schedule;
    let nightly = house.store.write("is being tested", move |tx| runs::queue(tx, &nightly, NOW)).await.unwrap();
    let page = house.get("/runs?origin=schedule").await.text;
    assert!(
        page.contains(&format!("href=\"/runs/{nightly}\""))
            && page.matches("<th class=\"n\" scope=\"row\">").count() == 1
    );
    assert!(page.contains("/runs?outcome=failed&amp;origin=schedule"), "the filters go together");
    let answer = house.get("/api/v1/runs?origin=schedule").await.text;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["runs"].as_array().unwrap().len(), &answer["runs"][0]["origin"]), (1, &"schedule".into()));
    assert_eq!(house.get("/runs?origin=nobody").await.status, 400);
}

#[tokio::test]
async fn a_live_page_has_the_log_and_its_place_for_whoever_cannot_follow() {
    let house = House::empty().await;
    let run = house.queue("keycloak", 41).await;
    house.store.write("is being tested", move |tx| runs::start(tx, run, NOW)).await.unwrap();
    let log = growing(&house, run);
    log.line(StageName::Install, "something happened");
    let page = house.get(&format!("/runs/{run}")).await;
    assert!(page.text.contains("something happened"));
    assert!(page.text.contains(r#"<noscript><meta http-equiv="refresh" content="5"></noscript>"#));
    let len = std::fs::metadata(logs::path(&house.logs, run)).unwrap().len();
    assert!(page.text.contains(&format!("/runs/{run}/events?from={len}")));
}

#[tokio::test]
async fn a_failed_run_says_why_before_anything_else() {
    let house = House::empty().await;
    let run = house.queue("keycloak", 41).await;
    house
        .store
        .write("is being tested", move |tx| {
            let minute = |minutes: u64| NOW.plus(Duration::from_secs(60 * minutes));
            runs::start(tx, run, NOW)?;
            stages::plan(
                tx,
                run,
                &[
                    (StageName::Install, StageState::Waiting, None),
                    (StageName::Checks, StageState::Waiting, None),
                    (StageName::Upgrade, StageState::Waiting, None),
                ],
            )?;
            stages::start(tx, run, StageName::Install, NOW)?;
            stages::finish(tx, run, StageName::Install, StageState::Passed, None, Duration::ZERO, minute(1))?;
            stages::start(tx, run, StageName::Checks, minute(1))?;
            let check = Check {
                stage: StageName::Checks,
                name: "front page".into(),
                state: CheckState::Failed,
                expected: Some("200".into()),
                got: Some("502 Bad Gateway".into()),
                took: Some(Duration::from_millis(40)),
            };
            stages::add_check(tx, run, &check, minute(2))?;
            stages::finish(
                tx,
                run,
                StageName::Checks,
                StageState::Failed,
                Some("1 of 1 failed"),
                Duration::ZERO,
                minute(2),
            )?;
            stages::finish(
                tx,
                run,
                StageName::Upgrade,
                StageState::Skipped,
                Some("checks failed"),
                Duration::ZERO,
                minute(2),
            )?;
            runs::finish(tx, run, Outcome::Failed, "the front page does not answer. The proxy says 502.", minute(2))
        })
        .await
        .unwrap();
    house.clock.advance(Duration::from_secs(600));
    let page: Page = house.get(&format!("/runs/{run}")).await;
    let words = markup::words(&page.text);
    let order = [
        "Failed: the front page does not answer",
        "The proxy says 502.",
        "front page in checks",
        "expected 200",
        "got 502 Bad Gateway",
        "skipped checks failed",
        "Details",
    ];
    let mut from = 0;
    for part in order {
        let at = words[from..].find(part).unwrap_or_else(|| panic!("`{part}` is missing after {from}:\n{words}"));
        from += at;
    }
    assert!(words.contains("took 2:00") && words.contains("ended 8 min ago"), "{words}");
    assert!(page.text.contains("<title>keycloak #41 failed · cc-ci</title>"));
}

#[tokio::test]
async fn two_processes_share_a_database_and_the_pages_follow() {
    let house = House::with_history(10).await;
    let other = cc_ci::store::Store::open(house.store.path()).unwrap();
    let watched = house.store.clone();
    let watch =
        tokio::spawn(
            async move { watched.watch_other_process(Duration::from_millis(20), CancellationToken::new()).await },
        );
    let before = house.get("/runs").await;
    house
        .eventually(async || {
            other
                .write("is being tested", |tx| runs::queue(tx, &cc_ci::dev::seed::plain_run("from-elsewhere", 9), NOW))
                .await
                .unwrap();
            house.get("/runs").await.text != before.text
        })
        .await;
    assert!(house.get("/runs").await.text.contains("from-elsewhere"));
    watch.abort();
}

#[tokio::test]
async fn metrics_are_what_promtool_dashboard_and_alert_rules_read() {
    let house = House::with_history(60).await;
    let page = house.get("/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in ["cc_ci_runs_waiting 2", "cc_ci_runs_running 1", "cc_ci_leftovers 0", "cc_ci_poll_age_seconds 0"] {
        assert!(page.text.lines().any(|its| its == line), "`{line}` is missing:\n{}", page.text);
    }
    assert!(page.text.contains("cc_ci_runs_last_day{outcome=\"passed\"}"), "{}", page.text);
    assert!(page.text.contains("cc_ci_stage_seconds{stage=\"install\",of=\"p95\"}"), "{}", page.text);

    // What depends on the host and on the forge is named by the code alone.
    let code = include_str!("../src/web/metrics.rs");
    let (alerts, dashboard) =
        (include_str!("../nix/monitoring/alerts.yaml"), include_str!("../nix/monitoring/grafana.json"));
    for file in [alerts, dashboard] {
        for name in file.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_')) {
            assert!(!name.starts_with("cc_ci_") || code.contains(&format!("\"{name}\"")), "{name} is not known");
        }
    }
    let Some(promtool) = std::env::var_os("CC_CI_PROMTOOL") else {
        println!("SKIPPED metrics_are_what_promtool_dashboard_and_alert_rules_read: CC_CI_PROMTOOL names no promtool");
        return;
    };
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/nix/monitoring/alerts.yaml");
    for arguments in [&["check", "metrics"][..], &["check", "rules", rules]] {
        let (said, good) = fed(&promtool, arguments, &page.text);
        assert!(good, "{arguments:?}: {said}");
    }
}

/// What a program says of a text, and whether it is content.
#[expect(clippy::disallowed_methods, reason = "a checker that reads and ends")]
fn fed(program: &std::ffi::OsStr, arguments: &[&str], text: &str) -> (String, bool) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads files does not wait for it.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (said.concat(), output.status.success())
}

#[tokio::test]
async fn verdicts_are_a_feed_of_all_and_of_one() {
    let house = House::with_history(80).await;
    for (address, title) in
        [("/feed.atom", "<title>cc-ci</title>"), ("/recipes/keycloak/feed.atom", "<title>cc-ci: keycloak</title>")]
    {
        let feed = house.get(address).await;
        assert_eq!((feed.status, feed.header("content-type")), (200, "application/atom+xml; charset=utf-8"));
        assert!(feed.text.contains(title) && feed.text.contains("<entry>"), "{}", feed.text);
        assert!(feed.text.contains("/runs/") && feed.text.ends_with("</feed>\n"));
        feed.is_within_policy();
    }
    assert_eq!(house.get("/recipes/unheard-of/feed.atom").await.status, 404);
    let house = House::empty().await;
    hostile_run(&house).await;
    let feed = house.get("/feed.atom").await;
    assert!(feed.text.contains("&lt;script&gt;") && !feed.text.contains("<script"), "{}", feed.text);
    assert!(!feed.text.contains(['\u{1b}', '\u{0}', '\u{202e}']));
}

#[tokio::test]
async fn a_badge_is_an_endpoint_for_shields_too() {
    let house = House::with_history(200).await;
    let badge = house.get("/badge/keycloak.json").await;
    assert_eq!((badge.status, badge.header("content-type")), (200, "application/json"));
    let json: serde_json::Value = serde_json::from_str(&badge.text).unwrap();
    assert_eq!((&json["schemaVersion"], &json["label"]), (&1.into(), &"cc-ci".into()));
    assert!(json["message"].as_str().unwrap().contains("level"), "{json}");
    assert!(!badge.header("etag").is_empty());
    assert!(house.get("/badge/never-heard-of.json").await.text.contains("not tested yet"));
    assert_eq!(house.get("/badge/a%20b.json").await.status, 404);
}

/// Serves a history and a run that never ends, for looking at. `CC_CI_LOOK=127.0.0.1:8099 cargo test --test web look -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for looking at the pages, until it is ended"]
async fn look() {
    let address = std::env::var("CC_CI_LOOK").unwrap_or_else(|_| "127.0.0.1:8099".into());
    house::look(&address).await;
}

#[test]
fn the_clock_of_these_tests_is_where_it_says() {
    assert_eq!(NOW, Time::parse("2026-01-02T03:04:05.678Z").unwrap());
    assert_eq!(Asked::All.as_str(), "all");
}
