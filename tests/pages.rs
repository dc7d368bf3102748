//! Every page in a real browser: two themes, two widths, with data, empty and in error. What axe-core finds, what stands in the
//! console, what the policy forbids and what is asked of another host fails the test.

#[path = "pages/browser.rs"]
mod browser;
#[path = "web/hostile.rs"]
mod hostile;
#[path = "web/house.rs"]
#[allow(dead_code, reason = "every suite uses its part")]
mod house;

use std::fmt::Write as _;
use std::time::Duration;

use browser::Browser;
use cc_ci::logs::{self, Log};
use cc_ci::model::{Outcome, RunId, StageName, StageState};
use cc_ci::sandbox::Stream;
use cc_ci::secrets::redact::Redactor;
use cc_ci::store::{runs, stages};
use cc_ci::web::PAGES;
use house::{House, NOW};
use serde_json::Value;

const THEMES: [&str; 2] = ["light", "dark"];
/// A desk, a window half as wide, a phone.
const WIDTHS: [u32; 3] = [1280, 870, 390];

/// The router's own list, each with something in its place.
fn addresses(run: i64, recipe: &str) -> Vec<String> {
    addresses_of([run, run], recipe)
}

/// Where two runs are looked at, the second one is the other.
fn addresses_of(runs: [i64; 2], recipe: &str) -> Vec<String> {
    let with_runs = |page: &str| page.replacen("{id}", &runs[0].to_string(), 1).replace("{id}", &runs[1].to_string());
    PAGES.iter().map(|page| with_runs(page).replace("{name}", recipe)).collect()
}

/// Looks at all of them in every dress, and gives what is wrong.
async fn faults_of(browser: &Browser, house: &House, addresses: &[String], pictures: &str) -> String {
    let mut faults = String::new();
    for address in addresses {
        for (theme, width) in THEMES.iter().flat_map(|theme| WIDTHS.map(|width| (theme, width))) {
            browser.look_as(theme, width).await;
            browser.open(&format!("{}{address}", house.address)).await;
            let at = format!("{address} {theme} {width}");
            let wide = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
            if wide.as_i64().unwrap() > 0 {
                let _ = writeln!(faults, "{at}: {wide} pixels wider than the window");
            }
            for fault in browser.axe().await.unwrap_or_default() {
                let _ = writeln!(faults, "{at}: {fault}");
            }
            let seen = browser.complaints().await;
            for line in seen.console {
                // What the page itself is answered with is no complaint about it.
                if !(line.contains("Failed to load resource")
                    && line.contains(address.split('?').next().unwrap_or("/")))
                {
                    let _ = writeln!(faults, "{at}: console: {line}");
                }
            }
            for request in
                seen.requests.iter().filter(|url| !url.starts_with(&house.address) && url.starts_with("http"))
            {
                let _ = writeln!(faults, "{at}: asks {request}");
            }
            let name: String =
                address.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
            browser.picture(&format!("{pictures}{name}-{theme}-{width}")).await;
        }
    }
    faults
}

fn says_without_axe(test: &str) {
    if std::env::var_os("CC_CI_AXE").is_none() {
        println!("SKIPPED {test}_axe: CC_CI_AXE names no axe.min.js");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_with_data_is_for_everybody_in_both_themes_and_widths() {
    const NAME: &str = "every_page_with_data_is_for_everybody_in_both_themes_and_widths";
    let Some(browser) = Browser::start(NAME).await else { return };
    says_without_axe(NAME);
    let house = House::with_history(120).await;
    let failed = house
        .store
        .read(|db| {
            Ok(db.query_row("select max(id) from runs where outcome = 'failed'", [], |row| row.get::<_, i64>(0))?)
        })
        .await
        .unwrap();
    let mut all = addresses(failed, "keycloak");
    all.extend(
        ["/runs/121", "/?show=not-enrolled", "/?sort=level", "/runs?recipe=keycloak&outcome=passed"].map(str::to_owned),
    );
    let faults = faults_of(&browser, &house, &all, "data").await;
    browser.stop().await;
    assert!(faults.is_empty(), "\n{faults}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_without_data_or_in_error_is_for_everybody_too() {
    const NAME: &str = "every_page_without_data_or_in_error_is_for_everybody_too";
    let Some(browser) = Browser::start(NAME).await else { return };
    says_without_axe(NAME);
    let house = House::empty().await;
    let mut all = addresses(1, "nothing");
    all.extend(["/runs/%ff", "/runs?outcome=green", "/nowhere"].map(str::to_owned));
    let mut faults = faults_of(&browser, &house, &all, "empty").await;
    // The database cannot be read: every page says so.
    house.store.write("is being broken", |tx| Ok(tx.execute_batch("alter table runs rename to gone")?)).await.unwrap();
    faults += &faults_of(&browser, &house, &["/runs?recipe=x".to_owned()], "broken").await;
    let said = browser.run("return document.querySelector('h1').textContent").await;
    browser.stop().await;
    assert_eq!(said, "This page could not be made");
    assert!(faults.is_empty(), "\n{faults}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_people_write_runs_in_a_browser() {
    const NAME: &str = "nothing_that_people_write_runs_in_a_browser";
    let Some(browser) = Browser::start(NAME).await else { return };
    let house = House::empty().await;
    let run = hostile::hostile_run(&house).await;
    let mut all = addresses(run.0, &hostile::encode(hostile::HOSTILE));
    all.extend([format!("/runs/{}", run.0 + 1), "/?find=%3Cscript%3Ealert(1)%3C/script%3E".to_owned()]);
    all.push("/runs?recipe=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E".to_owned());
    let faults = faults_of(&browser, &house, &all, "hostile").await;
    for address in &all {
        browser.open(&format!("{}{address}", house.address)).await;
        let odd = "return document.querySelectorAll('img[src=\"x\"], script:not([src]), [onerror], [onclick], [style]').length";
        assert_eq!(browser.run(odd).await, 0, "{address}");
    }
    browser.stop().await;
    assert!(faults.is_empty(), "\n{faults}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_are_walked_with_the_keyboard_alone() {
    const NAME: &str = "the_pages_are_walked_with_the_keyboard_alone";
    let Some(browser) = Browser::start(NAME).await else { return };
    let house = House::with_history(60).await;
    browser.open(&format!("{}/runs", house.address)).await;
    browser.type_keys("\u{e004}").await;
    let focus = "return document.activeElement.textContent.trim()";
    assert_eq!(browser.run(focus).await, "To the content", "the first stop is the way past the navigation");
    browser.type_keys("?").await;
    browser.until("return document.querySelector('dialog')?.open === true").await;
    browser.picture("keys-help").await;
    assert_eq!(browser.axe().await.unwrap_or_default(), Vec::<String>::new());
    browser.type_keys("\u{e00c}").await;
    browser.until("return document.querySelector('dialog').open === false").await;
    browser.type_keys("jj").await;
    let second = browser.run("return document.querySelectorAll('tbody tr')[1].querySelector('a').href").await;
    assert_eq!(browser.run("return document.activeElement.href").await, second, "j goes to the next row");
    browser.type_keys("k\u{e007}").await;
    browser.until("return location.pathname.startsWith('/runs/')").await;
    browser.type_keys("gq").await;
    browser.until("return location.pathname === '/queue'").await;
    browser.type_keys("gr").await;
    browser.until("return location.pathname === '/runs' && document.readyState === 'complete'").await;
    browser.type_keys("/").await;
    assert_eq!(browser.run("return document.activeElement.name").await, "recipe");
    browser.type_keys("keycloak\u{e007}").await;
    browser.until("return location.search.includes('recipe=keycloak')").await;
    browser.run("history.back()").await;
    browser.until("return location.pathname === '/runs' && location.search === ''").await;
    let complaints = browser.complaints().await;
    browser.stop().await;
    assert!(complaints.console.is_empty(), "{:?}", complaints.console);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_two_hundred_thousand_lines_stays_small_in_the_page() {
    const NAME: &str = "a_log_of_two_hundred_thousand_lines_stays_small_in_the_page";
    let Some(browser) = Browser::start(NAME).await else { return };
    let house = House::empty().await;
    let run = house.queue("keycloak", 1).await;
    house
        .store
        .write("is being tested", move |tx| {
            runs::start(tx, run, NOW)?;
            let planned = [StageName::Install, StageName::Upgrade].map(|name| (name, StageState::Waiting, None));
            stages::plan(tx, run, &planned)?;
            for (name, state, why) in [
                (StageName::Install, StageState::Passed, None),
                (StageName::Upgrade, StageState::Failed, Some("it broke")),
            ] {
                stages::start(tx, run, name, NOW)?;
                stages::finish(tx, run, name, state, why, Duration::ZERO, NOW)?;
            }
            runs::finish(tx, run, Outcome::Failed, "it broke", NOW)
        })
        .await
        .unwrap();
    let mut log = String::new();
    for line in 0..200_000 {
        let stage = if line < 100_000 { "install" } else { "upgrade" };
        let text = if line == 150_000 { "Error: the first one" } else { "goes on" };
        let _ = writeln!(log, "2026-01-02T03:04:05.678Z {stage} out line {line} {text}");
    }
    std::fs::create_dir_all(&house.logs).unwrap();
    std::fs::write(logs::path(&house.logs, run), log).unwrap();
    browser.open(&format!("{}/runs/{run}", house.address)).await;
    let lines = "return document.querySelectorAll('#log p').length";
    assert!(browser.run(lines).await.as_i64().unwrap() <= 250);
    // Going back through it loads more, and drops what is far away.
    for _ in 0..20 {
        let first = browser.run("return document.querySelector('#log p').id").await;
        browser.run("document.querySelector('#earlier').click()").await;
        browser.until(&format!("return document.querySelector('#log p').id !== {first}")).await;
    }
    let shown = browser.run(lines).await.as_i64().unwrap();
    assert!((200..=3200).contains(&shown), "{shown} lines are in the page");
    browser.type_keys("e").await;
    browser.until("return document.querySelector('#log p:target, #log p.here')?.textContent.includes('Error: the first one') === true").await;
    browser.picture("long-log").await;
    browser
        .run("[...document.querySelectorAll('.jumps a')].find((a) => a.textContent.trim() === 'install').click()")
        .await;
    browser.until("return document.querySelector('#log p')?.textContent.includes('line 0 ') === true").await;
    // A link to any line leads there, and its neighbours are there to be read.
    let text = house.get(&format!("/runs/{run}/log")).await.text;
    let at = text.find("line 123456 goes on").and_then(|at| text[..at].rfind('\n')).unwrap() + 1;
    browser.open(&format!("{}/runs/{run}?#L{at}", house.address)).await;
    browser.until("return document.querySelector('#log .here')?.textContent.includes('line 123456 ') === true").await;
    let shown = browser.run(lines).await.as_i64().unwrap();
    assert!((100..=3200).contains(&shown), "{shown} lines are in the page");
    let tail = house.get(&format!("/runs/{run}/log?tail=100")).await.text;
    assert!(tail.lines().count() == 100 && tail.ends_with("line 199999 goes on\n") && text.ends_with(&tail));
    assert_eq!(text.lines().count(), 200_000, "the raw log is whole");
    let complaints = browser.complaints().await;
    browser.stop().await;
    assert!(complaints.console.is_empty(), "{:?}", complaints.console);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_follow_what_happens_without_being_loaded_again() {
    const NAME: &str = "lists_follow_what_happens_without_being_loaded_again";
    let Some(browser) = Browser::start(NAME).await else { return };
    let house = House::with_history(30).await;
    for (number, page) in (900..).zip(["/", "/runs", "/queue"]) {
        browser.open(&format!("{}{page}", house.address)).await;
        // Without the page's own clock, so that it is the server that tells it.
        browser.run("window.stayed = true; for (let one = 0; one < 1000; one++) clearInterval(one)").await;
        let run = house.queue("keycloak", number).await;
        let shows = match page {
            "/" => "return window.stayed && document.body.innerText.includes('Waiting: WAITS')".to_owned(),
            _ => format!("return window.stayed && Boolean(document.querySelector('a[href=\"/runs/{run}\"]'))"),
        };
        browser.until(&shows.replace("WAITS", &(number - 897).to_string())).await;
    }
    let complaints = browser.complaints().await;
    browser.stop().await;
    assert!(complaints.console.is_empty(), "{complaints:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_followed_to_its_end_in_a_browser() {
    const NAME: &str = "a_run_is_followed_to_its_end_in_a_browser";
    let Some(browser) = Browser::start(NAME).await else { return };
    let house = House::empty().await;
    let run: RunId = house.queue("keycloak", 41).await;
    house
        .store
        .write("is being tested", move |tx| {
            runs::start(tx, run, NOW)?;
            stages::plan(tx, run, &[(StageName::Install, StageState::Waiting, None)])?;
            stages::start(tx, run, StageName::Install, NOW)
        })
        .await
        .unwrap();
    std::fs::create_dir_all(&house.logs).unwrap();
    let log =
        Log::create(&logs::path(&house.logs, run), Redactor::new(), house.clock.clone(), logs::USUAL_CAP).unwrap();
    log.line(StageName::Install, "before anybody looked");
    browser.open(&format!("{}/runs/{run}", house.address)).await;
    browser.until("return document.querySelector('#log').textContent.includes('before anybody looked')").await;
    for line in 0..100 {
        log.chunk(StageName::Install, Stream::Out, format!("line {line}\n").as_bytes());
    }
    browser.until("return document.querySelector('#log').textContent.includes('line 99')").await;
    browser.until("const log = document.querySelector('#log'); return log.scrollTop + log.clientHeight > log.scrollHeight - 60").await;
    // Whoever scrolls up is left there.
    browser.run("document.querySelector('#log').scrollTop = 0; document.querySelector('#log').dispatchEvent(new Event('scroll'))").await;
    log.chunk(StageName::Install, Stream::Out, b"while reading\n");
    browser.until("return document.querySelector('#resume')?.hidden === false").await;
    assert_eq!(browser.run("return document.querySelector('#log').scrollTop").await, Value::from(0));
    browser.run("document.querySelector('#resume').click()").await;
    browser.until("const log = document.querySelector('#log'); return log.textContent.includes('while reading') && log.scrollTop > 0").await;
    house
        .store
        .write("is being tested", move |tx| {
            stages::finish(tx, run, StageName::Install, StageState::Passed, None, Duration::ZERO, NOW)?;
            runs::finish(tx, run, Outcome::Passed, "", NOW)
        })
        .await
        .unwrap();
    log.close().await.unwrap();
    browser.until("return document.querySelector('h1').textContent.trim() === 'Passed'").await;
    browser.until("return document.title === 'keycloak #41 passed · cc-ci'").await;
    let complaints = browser.complaints().await;
    browser.stop().await;
    assert!(complaints.console.is_empty(), "{:?}", complaints.console);
}

/// For `scripts/screenshots`: every page of the server at CC_CI_LOOK_AT, and of its run CC_CI_LOOK_RUN, into CC_CI_SHOTS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "draws, and proves nothing"]
async fn screenshots() {
    let address = std::env::var("CC_CI_LOOK_AT").expect("CC_CI_LOOK_AT is the address of a server");
    let run =
        std::env::var("CC_CI_LOOK_RUN").expect("CC_CI_LOOK_RUN is the number of one of its runs").parse().unwrap();
    let other = std::env::var("CC_CI_LOOK_OTHER").expect("CC_CI_LOOK_OTHER is another one").parse().unwrap();
    let browser = Browser::start("screenshots").await.expect("there is a browser");
    for page in addresses_of([run, other], "keycloak") {
        for (theme, width) in THEMES.iter().flat_map(|theme| [1280, 390].map(|width| (theme, width))) {
            browser.look_as(theme, width).await;
            browser.open(&format!("{address}{page}")).await;
            let name = page.trim_matches('/').replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let name = if name.is_empty() { "overview" } else { &name };
            browser.picture(&format!("{name}-{theme}-{width}")).await;
        }
    }
    browser.stop().await;
}
