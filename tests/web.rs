//! The pages over real HTTP: with a history, with nothing, and with everything that hostile people can write into a field.

#[path = "web/house.rs"]
#[allow(dead_code, reason = "every suite uses its part")]
mod house;
#[path = "web/markup.rs"]
mod markup;

use std::time::Duration;

use cc_ci::clock::Time;
use cc_ci::logs::{self, Log};
use cc_ci::model::{
    Asked, CheckState, CommentId, EvidenceKind, Origin, Outcome, Pr, RepoId, RunId, StageName, StageState, Verdict,
};
use cc_ci::sandbox::Stream;
use cc_ci::secrets::redact::Redactor;
use cc_ci::store::comments::{self, Seen};
use cc_ci::store::evidence::{self, Piece};
use cc_ci::store::heartbeats::{self, Heartbeat};
use cc_ci::store::repositories::Listed;
use cc_ci::store::stages::Check;
use cc_ci::store::{apps, repositories, runs, stages};
use house::{House, NOW, Page};
use tokio_util::sync::CancellationToken;

const PAGES: [&str; 8] =
    ["/", "/runs", "/queue", "/decisions", "/repositories", "/about", "/runs?outcome=failed", "/nowhere"];

#[tokio::test]
async fn every_page_is_within_the_policy_with_a_history() {
    let house = House::with_history(300).await;
    let mut pages: Vec<String> = PAGES.iter().map(|&page| page.to_owned()).collect();
    pages.extend((280..=303).map(|id| format!("/runs/{id}")));
    pages.extend(
        ["/runs?recipe=keycloak", "/runs?recipe=keycloak&outcome=passed&before=200", "/runs/299/lines"]
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

/// What people might write where a recipe, a branch, a title, a check or a reason is expected.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{1b}[31m\u{202e}javascript:alert(1)\u{0}\n</title></style>";

async fn hostile_run(house: &House) -> RunId {
    let run = house
        .store
        .write("is being tested", |tx| {
            let repository = RepoId(1);
            for (id, name, enrolled) in [(repository, "recipes/hostile", true), (RepoId(2), "recipes/other", false)] {
                let repo = name.parse().unwrap();
                repositories::see(tx, &Listed { id, repo: &repo, enrolled, why: HOSTILE }, NOW, NOW, NOW)?;
            }
            repositories::look_failed(tx, repository, HOSTILE, NOW)?;
            for (id, command) in [(1, HOSTILE), (2, "!testme")] {
                let seen = Seen {
                    id: CommentId(id),
                    repository,
                    pr: Some(Pr(1)),
                    author: HOSTILE.into(),
                    excerpt: HOSTILE.into(),
                    command: Some(command.into()),
                    created_at: NOW,
                    updated_at: NOW,
                    looks: 0,
                };
                comments::insert(tx, &seen, NOW)?;
            }
            comments::decide(tx, CommentId(1), Verdict::Refused, HOSTILE, None, NOW)?;
            let new = runs::NewRun {
                origin: Origin::Comment,
                repository: Some(repository),
                repo_name: HOSTILE.into(),
                recipe: HOSTILE.into(),
                base_branch: Some(HOSTILE.into()),
                title: HOSTILE.into(),
                comment: Some(CommentId(2)),
                asked_by: HOSTILE.into(),
                ..cc_ci::dev::seed::plain_run("x", 1)
            };
            let run = runs::queue(tx, &new, NOW)?;
            runs::queue(tx, &new, NOW)?;
            runs::set_waits_for(tx, RunId(run.0 + 1), HOSTILE)?;
            comments::decide(tx, CommentId(2), Verdict::Accepted, HOSTILE, Some(run), NOW)?;
            runs::start(tx, run, NOW)?;
            runs::set_recipe(tx, run, HOSTILE, Some(HOSTILE), HOSTILE)?;
            runs::set_base(tx, run, HOSTILE)?;
            runs::set_level(tx, run, 3, HOSTILE)?;
            runs::set_unredactable(tx, run, HOSTILE)?;
            stages::plan(
                tx,
                run,
                &[
                    (StageName::Install, StageState::Waiting, None),
                    (StageName::Backup, StageState::NotApplicable, Some(HOSTILE.into())),
                ],
            )?;
            stages::start(tx, run, StageName::Install, NOW)?;
            let check = Check {
                stage: StageName::Install,
                name: HOSTILE.into(),
                state: CheckState::Failed,
                expected: Some(HOSTILE.into()),
                got: Some(HOSTILE.repeat(2000)),
                took: None,
            };
            stages::add_check(tx, run, &check, NOW)?;
            let app = apps::intend(tx, run, &"host-000001.ci.test".parse().unwrap(), "/abra", NOW)?;
            apps::left_over(tx, app, HOSTILE)?;
            stages::finish(tx, run, StageName::Install, StageState::Failed, Some(HOSTILE), Duration::ZERO, NOW)?;
            runs::finish(tx, run, Outcome::Failed, HOSTILE, NOW)?;
            Ok(run)
        })
        .await
        .unwrap();
    std::fs::create_dir_all(&house.logs).unwrap();
    let line = format!("2026-01-02T03:04:05.678Z install out {}\n", HOSTILE.replace('\n', "\r"));
    std::fs::write(logs::path(&house.logs, run), format!("{}{HOSTILE}\n", line.repeat(20))).unwrap();
    run
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
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img"), "{address}");
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
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for address in ["/", "/runs/3", "/badge/keycloak.svg", "/health"] {
            let page = house.send(method, address, &[]).await;
            assert_eq!(page.status, 405, "{method} {address}");
            assert_eq!(page.header("allow"), "GET,HEAD".replace(',', ", "), "{method} {address}");
        }
    }
    let mounted = house.send("POST", "/hook", &[]).await;
    assert_eq!((mounted.status, mounted.text.as_str()), (202, "heard"));
    mounted.is_within_policy();
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
async fn what_the_rules_of_prometheus_ask_for_is_measured() {
    let house = House::with_history(30).await;
    let now = house.clock.now();
    let facts = r#"{"host": {"disk_free": 5, "disk_size": 10}, "certificate_until": 1800000000000}"#.to_owned();
    let beat = Heartbeat { pid: 1, version: "0.1.0".into(), started_at: now, at: now, facts };
    house.store.write("is being tested", move |tx| heartbeats::beat(tx, "runner", &beat)).await.unwrap();
    let page = house.get("/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/plain; version=0.0.4"));
    page.is_within_policy();
    let names: Vec<&str> =
        page.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let rules = include_str!("../nix/monitoring/alerts.yaml");
    let asked: Vec<&str> = rules
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("cc_ci_"))
        .collect();
    assert!(asked.len() >= 9, "{asked:?}");
    for name in asked {
        assert!(names.contains(&name), "{name} is asked for and not measured: {}", page.text);
    }
    let value = |line: &str| {
        let found = page.text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("no {line}: {}", page.text))
    };
    assert!(value("cc_ci_ready ") > 0.5);
    assert!(value("cc_ci_queue_depth ") > 0.5);
    assert!(value("cc_ci_runs{outcome=\"passed\"} ") > 0.5);
    house.alarms.raise(cc_ci::alarms::Alarm::TokenRefused, "refused", house.clock.now());
    assert!(house.get("/metrics").await.text.contains("\ncc_ci_ready 0\n"));
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
