//! Which failing stages said this? Looks at the end of the failing stage of the newest runs that failed, so that a question costs
//! the same however long the history is.

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::lines::{self, Window};
use super::outside::{Outside, clip};
use super::raw_log::blocking;
use super::{Site, answer::Wrong, links, words};
use crate::clock::Time;
use crate::model::{Outcome, RunId, StageName};
use crate::store::pages::{self, Listed};
use crate::store::runs::Filter;
use crate::store::stages;

/// Failed runs looked at, and lines shown of each.
const RUNS: u32 = 40;
const LINES: usize = 3;
const LONGEST: usize = 200;

pub(super) struct Search {
    now: Time,
    find: String,
    looked_at: usize,
    found: Vec<Found>,
}

struct Found {
    run: Listed,
    stage: StageName,
    /// Where each begins, and what it says.
    lines: Vec<(u64, String)>,
    more: usize,
}

pub(super) fn parse(find: Option<String>) -> Result<String, Wrong> {
    let find = find.unwrap_or_default().trim().to_owned();
    if find.len() > 200 { Err(Wrong::parameter("find", "is too long; 200 bytes are the most")) } else { Ok(find) }
}

pub(super) async fn load(site: &Site, find: String) -> Result<Search, Wrong> {
    let now = site.now();
    if find.is_empty() {
        return Ok(Search { now, find, looked_at: 0, found: Vec::new() });
    }
    let failed = site.store.read(|db| {
        let mut failed: Vec<(Listed, StageName)> = Vec::new();
        for outcome in [Outcome::Failed, Outcome::TimedOut] {
            for run in pages::list(db, &Filter { outcome: Some(outcome), ..Filter::default() }, None, RUNS)? {
                let stages = stages::of_run(db, run.id)?;
                if let Some(stage) = stages.iter().find(|stage| super::run::is_fault(stage.state)) {
                    failed.push((run, stage.name));
                }
            }
        }
        failed.sort_by_key(|(run, _)| std::cmp::Reverse(run.id));
        failed.truncate(RUNS as usize);
        Ok(failed)
    });
    let failed = failed.await?;
    let looked_at = failed.len();
    let (logs, wanted) = (site.logs.clone(), find.to_lowercase());
    let found = blocking(move || {
        let mut found = Vec::new();
        for (run, stage) in failed {
            let Some(mut log) = lines::open(&logs, run.id)? else { continue };
            let all = Window::of_failure(&mut log, stage)?.find(stage, &wanted);
            if !all.is_empty() {
                let more = all.len().saturating_sub(LINES);
                found.push(Found { run, stage, lines: all.into_iter().take(LINES).collect(), more });
            }
        }
        Ok(found)
    });
    Ok(Search { now, find, looked_at, found: found.await? })
}

pub(super) fn view(search: &Search) -> Markup {
    let body = html! {
        h1 { "Search in failures" }
        p.lead { "Looks at the last lines of the failing stage of the newest " (RUNS) " runs that failed." }
        form method="get" action="/search" role="search" {
            label { span.sr { "Text" } input name="find" placeholder="Text of a log line" maxlength="200" autocomplete="off" spellcheck="false" value=(Outside(&search.find)); }
            button type="submit" { "Search" }
        }
        @if !search.find.is_empty() {
            @if search.found.is_empty() {
                (layout::empty("No failing stage says that", &html! { (words::count(i64::try_from(search.looked_at).unwrap_or(0), "run was", "runs were")) " looked at." }))
            } @else {
                ol.queue { @for found in &search.found { (entry(search.now, found)) } }
            }
        }
    };
    layout::page(&Shell { title: "Search in failures", tab: Some(Tab::Runs), refresh: None }, &body)
}

fn entry(now: Time, found: &Found) -> Markup {
    let run: RunId = found.run.id;
    html! {
        li {
            (words::standing(found.run.outcome, true).shape())
            div {
                p { a href=(links::run(run)) { b { (super::overview::name(&found.run.recipe, found.run.pr)) } " run " (run) } " in " (found.stage) " " span.soft { (words::when(now, found.run.finished_at.unwrap_or(found.run.queued_at))) } }
                @for (at, line) in &found.lines {
                    p.hit { a.plain.mono href={ (links::run(run)) "/lines?from=" (at) } { (Outside(clip(line, LONGEST))) } }
                }
                @if found.more > 0 { p.soft { "and " (found.more) " more" } }
            }
        }
    }
}
