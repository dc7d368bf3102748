//! One run: what and who in one line, the verdict and its one reason largest, where the time went, the first thing that
//! failed, and the log last.

use std::time::Duration;

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::lines::{self, Sought, Window};
use super::outside::{Outside, Said};
use super::overview::usual;
use super::raw_log::blocking;
use super::words::{self, Standing};
use super::{Site, answer::Wrong, evidence, links};
use crate::clock::Time;
use crate::evidence::result::all_health_checked;
use crate::model::{Asked, CheckState, Origin, Outcome, RunId, StageName, StageState};
use crate::stages::level;
use crate::store::evidence::Piece;
use crate::store::runs::{self, Run};
use crate::store::stages::{self, Check, Stage};
use crate::store::{apps, evidence as kept, pages};

/// Checks listed before the passed ones are folded away.
const CHECKS: usize = 8;
/// Of each, with all that failed first.
const MOST_CHECKS: usize = 100;
/// Other runs of the same pull request.
const SIBLINGS: u32 = 10;

pub(super) struct Page {
    pub now: Time,
    pub forge: Option<String>,
    pub run: Run,
    pub stages: Vec<Stage>,
    pub checks: Vec<Check>,
    pub evidence: Vec<Piece>,
    /// What teardowns failed to remove.
    pub leftovers: Vec<String>,
    /// Of the same pull request, newest first, itself too.
    pub siblings: Vec<Run>,
    /// The attempt that took this one up again.
    pub next: Option<RunId>,
    pub usual: Option<Duration>,
    /// `None` where there is no log.
    pub log: Option<Window>,
}

pub(super) async fn load(site: &Site, id: RunId, with_log: bool) -> Result<Page, Wrong> {
    let now = site.now();
    let forge = site.forge.clone();
    let read = site.store.read(move |db| {
        let Some(run) = runs::by_id(db, id)? else { return Ok(Err(pages::newest(db)?)) };
        let siblings = match (run.repository, run.pr) {
            (Some(repository), Some(pr)) => runs::of_pr(db, repository, pr, SIBLINGS)?,
            _ => Vec::new(),
        };
        Ok(Ok(Page {
            now,
            forge,
            stages: stages::of_run(db, id)?,
            checks: stages::checks_of_run(db, id)?,
            evidence: kept::of_run(db, id)?,
            leftovers: apps::of_run(db, id)?.into_iter().filter_map(|app| app.leftovers).collect(),
            siblings,
            next: runs::next_attempt(db, run.id)?,
            usual: usual(db, &run.recipe)?,
            run,
            log: None,
        }))
    });
    let mut page = read.await?.map_err(|newest| Wrong::NoRun { asked: id.to_string(), newest })?;
    if with_log {
        let logs = site.logs.clone();
        let failed = page.stages.iter().find(|stage| is_fault(stage.state)).map(|stage| stage.name);
        page.log = blocking(move || {
            let Some(mut log) = lines::open(&logs, id)? else { return Ok(None) };
            match failed {
                Some(stage) => Window::of_failure(&mut log, stage).map(Some),
                None => Window::tail(&mut log).map(Some),
            }
        })
        .await?;
    }
    Ok(page)
}

pub(super) fn is_fault(state: StageState) -> bool {
    matches!(state, StageState::Failed | StageState::TimedOut | StageState::Infra)
}

impl Page {
    fn is_open(&self) -> bool {
        self.run.outcome.is_none()
    }

    fn standing(&self) -> Standing {
        words::standing(self.run.outcome, self.run.started_at.is_some())
    }

    fn title(&self) -> String {
        let pr = self.run.pr.map(|pr| format!(" #{pr}")).unwrap_or_default();
        format!("{}{pr} {}", self.run.recipe, self.standing().word)
    }

    pub(super) fn newest(&self) -> Time {
        self.run.finished_at.unwrap_or(self.now)
    }
}

pub(super) fn view(page: &Page) -> Markup {
    let body = html! {
        (now(page))
        (log(page))
    };
    let refresh = page.is_open().then_some(5);
    layout::page(&Shell { title: &page.title(), tab: Some(Tab::Runs), refresh }, &body)
}

/// All but the log: what the script puts in again when something has changed.
pub(super) fn now(page: &Page) -> Markup {
    html! {
        article.run #now data-title=(Outside(&page.title())) data-open=[page.is_open().then_some("yes")] {
            (who(page))
            (verdict(page))
            (strip(page))
            (first_failure(page))
            (warnings(page))
            div.beside {
                div {
                    (plan(page))
                    (stage_table(page))
                    (check_table(page))
                    @if page.run.outcome.is_some() || !page.evidence.is_empty() { (evidence::section(page.run.id, &page.evidence)) }
                }
                (facts(page))
            }
        }
    }
}

fn who(page: &Page) -> Markup {
    let run = &page.run;
    let forge = page.forge.as_deref();
    html! {
        p.who {
            a href=(links::recipe(&run.recipe)) { b { (Outside(&run.recipe)) } }
            @if let Some(pr) = run.pr {
                " "
                @match links::pull_request(forge, &run.repo_name, pr) {
                    Some(page) => a href=(page) rel="noreferrer" title=(Outside(&run.title)) { "#" (pr) },
                    None => { "#" (pr) }
                }
            }
            @if let Some(version) = &run.version { " " code { (Outside(version)) } }
            " at "
            @match links::commit(forge, &run.repo_name, run.head.as_str()) {
                Some(page) => a.mono href=(page) rel="noreferrer" title=(run.head) { (run.head.short()) },
                None => span.mono title=(run.head) { (run.head.short()) },
            }
            " · asked by @" (Outside(&run.asked_by)) " " (words::when(page.now, run.queued_at))
            " · run " (run.id)
            @if run.attempt > 1 { ", " "attempt " (run.attempt) }
        }
    }
}

fn verdict(page: &Page) -> Markup {
    let run = &page.run;
    let standing = page.standing();
    let word = words::capital(standing.word);
    let reason = run.reason.as_deref().unwrap_or_default();
    let (first, rest) = words::first_sentence(reason);
    html! {
        @match run.outcome {
            None if run.started_at.is_none() => {
                h1 { (standing.shape()) span { (word) } }
                p.lead {
                    @match run.waits_for.as_deref().filter(|words| !words.is_empty()) {
                        Some(words) => { (Said(words.trim_end_matches('.'))) "." }
                        None => { "Its turn is still to come; the " a href="/queue" { "queue" } " says for what it waits." }
                    }
                }
            }
            None => {
                h1 {
                    (standing.shape())
                    span {
                        (word)
                        @if let Some(stage) = page.stages.iter().rfind(|stage| stage.state == StageState::Running) { ": " (stage.name) }
                    }
                }
                p.lead {
                    (words::counting(page.now, run.started_at.unwrap_or(run.queued_at)))
                    @if let Some(usual) = page.usual { ", usually " (words::rough(usual)) }
                    @if let Some(by) = &run.cancel_by { " · @" (Outside(by)) " asked for it to end" }
                }
            }
            Some(Outcome::Passed) => {
                h1 { (standing.shape()) span { (word) } }
                @if !reason.is_empty() { p.lead { (Said(reason)) } }
            }
            Some(_) => {
                h1 { (standing.shape()) span { (word) @if !first.is_empty() { ": " (Said(first)) } } }
                @if !rest.is_empty() { p.lead { (Said(rest)) } }
            }
        }
        @if let Some(newer) = run.superseded_by { p.lead { a href=(links::run(newer)) { "Run " (newer) } " took its place." } }
        @if let Some(next) = page.next {
            @let attempt = page.siblings.iter().find(|sibling| sibling.id == next).map_or(run.attempt + 1, |next| next.attempt);
            p.lead { a href=(links::run(next)) { "Run " (next) } " tries again: attempt " (attempt) "." }
        }
        @if run.outcome.is_some() {
            p.sum {
                @if let (Some(started), Some(finished)) = (run.started_at, run.finished_at) {
                    span { "took " b { (words::span(finished.since(started))) } }
                    span { "ended " (words::when(page.now, finished)) }
                }
                @if run.level.is_some() {
                    span { "level " (words::level(run.level, run.level_reason.as_deref())) @if let Some(reason) = run.level_reason.as_ref().filter(|reason| !reason.is_empty()) { span.soft { ": " (Outside(reason)) } } }
                }
            }
        }
    }
}

/// The stages side by side, each as wide as its share of the time, and a link to what it says.
fn strip(page: &Page) -> Markup {
    if page.stages.is_empty() {
        return html! {};
    }
    let spans: Vec<Duration> = page.stages.iter().map(|stage| took(stage, page.now).unwrap_or_default()).collect();
    let whole = spans.iter().sum::<Duration>().as_millis().max(1);
    html! {
        ol.strip aria-label="Stages" {
            @for (stage, span) in page.stages.iter().zip(&spans) {
                @let standing = words::stage_standing(stage.state);
                @let share = (span.as_millis() * 48).div_ceil(whole).clamp(1, 48);
                li class={ (standing.class) " g" (share) } {
                    a href={ "#" (stage.name) } title={ (stage.name) ": " (standing.word) } {
                        span.bar {}
                        span.name { (standing.shape()) (stage.name) span.sr { " " (standing.word) } }
                        span.soft.num { (stage_time(stage, page.now)) }
                    }
                }
            }
        }
    }
}

fn took(stage: &Stage, now: Time) -> Option<Duration> {
    let started = stage.started_at?;
    Some(stage.finished_at.unwrap_or(now).since(started))
}

fn stage_time(stage: &Stage, now: Time) -> Markup {
    html! {
        @match (stage.started_at, stage.finished_at) {
            (Some(started), Some(finished)) => (words::span(finished.since(started))),
            (Some(started), None) => (words::counting(now, started)),
            _ => "–",
        }
    }
}

/// The first check that failed, with what was expected and what came.
fn first_failure(page: &Page) -> Markup {
    let Some(check) = page.checks.iter().find(|check| is_first_failure(page, check)) else { return html! {} };
    html! {
        section.failure aria-label="First failure" {
            h2 { (words::check_standing(check.state).shape()) (Outside(&check.name)) span.soft { " in " (check.stage) } }
            (expected_and_got(check))
        }
    }
}

fn is_first_failure(page: &Page, check: &Check) -> bool {
    let first = page.checks.iter().find(|check| check.state == CheckState::Failed);
    first.is_some_and(|first| std::ptr::eq(first, check))
}

fn expected_and_got(check: &Check) -> Markup {
    if check.state == CheckState::Warning {
        return html! {
            @if let Some(saw) = &check.got { p.soft { (Said(saw)) @if let Some(cure) = &check.expected { "; " (Said(cure)) } } }
        };
    }
    html! {
        @if check.expected.is_some() || check.got.is_some() {
            dl.compare {
                @if let Some(expected) = &check.expected { dt { "expected" } dd { (Said(expected)) } }
                @if let Some(got) = &check.got { dt { "got" } dd { (Said(got)) } }
            }
        }
    }
}

fn warnings(page: &Page) -> Markup {
    html! {
        @for left in &page.leftovers {
            div.note role="note" {
                p { b { "Left behind by the teardown, which goes on trying:" } }
                ul { @for line in left.lines().take(50) { li { code { (Outside(line)) } } } }
            }
        }
        @if let Some(names) = page.run.unredactable.as_deref().filter(|names| !names.is_empty()) {
            div.note role="note" {
                p { b { "Too short to be masked in the log:" } " " (Outside(&names.lines().collect::<Vec<_>>().join(", "))) }
                p.soft { "A secret of fewer than 8 characters may show in the log as it is." }
            }
        }
    }
}

/// What is going to be done, or was meant to be; why something is left out stands with its stage.
fn plan(page: &Page) -> Markup {
    let plan = page.run.planned();
    let deployments = i64::try_from(plan.deployments()).unwrap_or(i64::MAX);
    html! {
        section aria-label="Plan" {
            h2 { "Plan" }
            p { (Outside(&plan.parts().join(" · "))) }
            p.soft {
                (words::count(deployments, "deployment", "deployments"))
                @for need in &plan.needs { "; " (need.recipe.as_str()) " is deployed first, since the recipe needs it: " (Outside(&need.why)) }
                @if let Some(base) = &plan.base { "; the upgrade starts from " (Outside(&base.why)) ", " code { (base.commit.short()) } }
            }
        }
    }
}

fn stage_table(page: &Page) -> Markup {
    html! {
        @if !page.stages.is_empty() {
            section aria-label="Stages" {
                h2 { "Stages" }
                table.cards.stages {
                    thead { tr { th scope="col" { "Stage" } th scope="col" { "Result" } th.n scope="col" { "Time" } } }
                    tbody { @for stage in &page.stages { tr id=(stage.name) {
                        th scope="row" { (stage.name) }
                        td data-label="Result" {
                            (words::stage_standing(stage.state).shown())
                            @if let Some(reason) = stage.reason.as_deref().filter(|reason| !reason.is_empty()) { span.reason { (Said(reason)) } }
                        }
                        td.n data-label="Time" {
                            (stage_time(stage, page.now))
                            @if stage.waited > Duration::from_millis(500) {
                                span.why title="What the recipe's own update monitor asks for" { (words::span(stage.waited)) " of it waiting" }
                            }
                        }
                    } } }
                }
            }
        }
    }
}

fn check_table(page: &Page) -> Markup {
    if page.checks.is_empty() {
        return html! {};
    }
    let (bad, good): (Vec<_>, Vec<_>) = page.checks.iter().partition(|check| check.state != CheckState::Passed);
    let passed = i64::try_from(good.len()).unwrap_or(i64::MAX);
    let fold = page.checks.len() > CHECKS && !good.is_empty();
    let table = |checks: &[&Check]| {
        html! {
            table.cards.checks {
                thead { tr { th scope="col" { "Check" } th scope="col" { "Result" } th scope="col" { "Stage" } th.n scope="col" { "Time" } } }
                tbody {
                    @for check in checks.iter().take(MOST_CHECKS) {
                        tr {
                            th scope="row" {
                                (Outside(&check.name))
                                // Those of the first failure stand above.
                                @if check.state != CheckState::Passed && !is_first_failure(page, check) { (expected_and_got(check)) }
                            }
                            td data-label="Result" { (words::check_standing(check.state).shown()) }
                            td data-label="Stage" { (check.stage) }
                            td.n data-label="Time" { @if let Some(took) = check.took { (words::span(took)) } @else { "–" } }
                        }
                    }
                }
            }
            @if checks.len() > MOST_CHECKS { p.soft { "and " (checks.len() - MOST_CHECKS) " more" } }
        }
    };
    html! {
        section aria-label="Checks" {
            h2 { "Checks" }
            @if fold {
                @if !bad.is_empty() { (table(&bad)) }
                details { summary { (words::count(passed, "check", "checks")) " passed" } (table(&good)) }
            } @else {
                (table(&bad.into_iter().chain(good).collect::<Vec<_>>()))
            }
        }
    }
}

fn facts(page: &Page) -> Markup {
    let run = &page.run;
    let asked = match (run.origin, run.asked) {
        (Origin::Comment, Asked::All) => "!testme".to_owned(),
        (Origin::Comment, asked) => format!("!testme {asked}"),
        (origin, asked) => format!("{asked}, by {}", origin.as_str().replace('-', " ")),
    };
    html! {
        section aria-label="Details" {
            h2 { "Details" }
            dl.facts {
                @if !run.title.is_empty() { dt { "title" } dd { (Outside(&run.title)) } }
                dt { "asked" } dd { code { (asked) } }
                dt { "commit" } dd { code { (run.head) } }
                @if run.outcome.is_some() && page.stages.iter().any(|stage| stage.name == StageName::Install && stage.state == StageState::Passed) {
                    dt { "README" } dd title="The score that the recipe's README may claim" { "Tests: " (level::readme_score(&page.stages, all_health_checked(&page.checks))) }
                }
                @if let Some(base) = &run.base { dt { "upgraded from" } dd { code { (Outside(base)) } } }
                @if let Some(branch) = &run.base_branch { dt { "base branch" } dd { code { (Outside(branch)) } } }
                @if let Some(domain) = &run.domain { dt { "deployed at" } dd { code { (Outside(domain)) } } }
                @if let (Some(started), true) = (run.started_at, run.queued_at.0 > 0) {
                    dt { "waited" } dd { (words::span(started.since(run.queued_at))) }
                }
                @if let Some(before) = run.retry_of { dt { "again after" } dd { a href=(links::run(before)) { "run " (before) } } }
                @if page.siblings.len() > 1 {
                    @if let Some(before) = page.siblings.iter().find(|sibling| sibling.id < run.id) {
                        dt { "compare" } dd { a href=(links::compare(before.id, run.id)) { "with run " (before.id) } }
                    }
                    dt { "other runs of it" }
                    dd.siblings {
                        @for sibling in page.siblings.iter().filter(|sibling| sibling.id != run.id) {
                            a href=(links::run(sibling.id)) { (words::standing(sibling.outcome, sibling.started_at.is_some()).shape()) (sibling.id) }
                            span.sr { (words::standing(sibling.outcome, sibling.started_at.is_some()).word) }
                        }
                    }
                }
            }
        }
    }
}

fn log(page: &Page) -> Markup {
    let id = page.run.id;
    let follow = page.is_open();
    html! {
        section.logbox aria-labelledby="log-title" {
            div.title {
                h2 #log-title { "Log" }
                (jumps(page))
                @if follow { p.soft #following hidden[true] { (Standing { class: "running", word: "" }.shape()) "following" } }
                @if let Some(window) = page.log.as_ref().filter(|window| window.len > 0) {
                    p { a href={ (links::run(id)) "/log" } { "raw, " (size(window.len)) } }
                }
            }
            @match &page.log {
                Some(window) if window.len > 0 || follow => {
                    @if window.from > 0 {
                        p.more { a #earlier href={ (links::run(id)) "/lines?before=" (window.from) } { "Earlier lines" } }
                    }
                    div.log #log tabindex="0" role="region" aria-label="Lines of the log"
                        data-follow=[follow.then(|| format!("{}/events?from={}", links::run(id), window.to))] { (lines::view(window)) }
                    @if !follow && window.to < window.len {
                        p.more { a #later href={ (links::run(id)) "/lines?from=" (window.to) } { "Later lines" } }
                    }
                }
                _ if follow => {
                    div.log #log tabindex="0" role="region" aria-label="Lines of the log"
                        data-follow={ (links::run(id)) "/events?from=0" } {}
                }
                _ => p.soft { "There is no log of this run" @if page.run.started_at.is_none() { "; it never started" } "." },
            }
        }
    }
}

/// To where each stage begins, and to the first line that complains.
fn jumps(page: &Page) -> Markup {
    let Some(window) = page.log.as_ref().filter(|window| window.len > 0) else { return html! {} };
    let to = |at: &str| format!("{}/lines?at={at}", links::run(page.run.id));
    html! {
        @if window.from > 0 || window.to < window.len || page.stages.len() > 1 {
            nav.jumps aria-label="Places in the log" {
                @for stage in page.stages.iter().filter(|stage| stage.started_at.is_some()) {
                    a href=(to(stage.name.as_str())) { (stage.name) } " "
                }
                @if page.stages.iter().any(|stage| is_fault(stage.state)) { a #first-error href=(to("error")) { "first error" } }
            }
        }
    }
}

/// `412 kB`
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=999 => format!("{bytes} bytes"),
        1000..=999_999 => format!("{} kB", (bytes + 500) / 1000),
        1_000_000..=999_999_999 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

/// A part of a run's log, for reading on without the script.
pub(super) struct LogPart {
    pub run: RunId,
    pub recipe: String,
    pub window: Window,
    /// The line that was looked for.
    found: Option<u64>,
    /// It is the end of a log that still grows.
    follow: bool,
}

/// Where a part begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Before(u64),
    From(u64),
    /// Where a stage begins.
    Stage(StageName),
    /// The first line of the failing stage that complains, or of all.
    Error,
    Tail,
}

pub(super) async fn load_part(site: &Site, id: RunId, place: Place) -> Result<LogPart, Wrong> {
    let read = move |db: &_| Ok((runs::by_id(db, id)?, stages::of_run(db, id)?, pages::newest(db)?));
    let (Some(run), stages, _) = site.store.read(read).await? else {
        let newest = site.store.read(pages::newest).await?;
        return Err(Wrong::NoRun { asked: id.to_string(), newest });
    };
    let failed = stages.iter().find(|stage| is_fault(stage.state)).map(|stage| stage.name);
    let logs = site.logs.clone();
    let window = blocking(move || {
        let Some(mut log) = lines::open(&logs, id)? else { return Ok((Window::default(), None)) };
        let sought = match place {
            Place::Tail => return Ok((Window::tail(&mut log)?, None)),
            Place::From(from) => return Ok((Window::after(&mut log, from)?, None)),
            Place::Before(before) => {
                let len = log.len()?;
                return Ok((Window::before(&mut log, before, len)?, None));
            }
            Place::Stage(stage) => Sought::Stage(stage),
            Place::Error => Sought::Error(failed),
        };
        match lines::find(&mut log, sought)? {
            Some(at) => Ok((Window::after(&mut log, at)?, Some(at))),
            None => Ok((Window::tail(&mut log)?, None)),
        }
    });
    let recipe = run.pr.map_or_else(|| run.recipe.clone(), |pr| format!("{} #{pr}", run.recipe));
    let (window, found) = window.await?;
    let follow = run.outcome.is_none() && place == Place::Tail;
    Ok(LogPart { run: id, recipe, window, found, follow })
}

pub(super) fn view_part(part: &LogPart) -> Markup {
    let (id, window) = (part.run, &part.window);
    let body = html! {
        h1 { a href=(links::run(id)) { "Run " (id) } " of " (Outside(&part.recipe)) }
        section.logbox aria-labelledby="log-title" {
            div.title {
                h2 #log-title { "Log" }
                p { a href={ (links::run(id)) "/log" } { "raw, " (size(window.len)) } }
            }
            @if window.from > 0 { p.more { a #earlier href={ (links::run(id)) "/lines?before=" (window.from) } { "Earlier lines" } } }
            div.log #log tabindex="0" role="region" aria-label="Lines of the log" data-found=[part.found] { (lines::view(window)) }
            @if window.to < window.len { p.more { a #later href={ (links::run(id)) "/lines?from=" (window.to) } { "Later lines" } } }
        }
    };
    let title = format!("Log of run {id}");
    layout::page(&Shell { title: &title, tab: Some(Tab::Runs), refresh: part.follow.then_some(5) }, &body)
}
