//! What runs and what waits, and each waiting run says for what.

use std::time::Duration;

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::{Outside, Said};
use super::overview::{name, usual};
use super::{Site, answer::Wrong, health, links, words};
use crate::clock::Time;
use crate::model::StageName;
use crate::report::words::place as place_in;
use crate::store::pages::{self, Listed};

/// Runs listed; the rest is counted.
const ROWS: usize = 100;

pub(super) struct Queue {
    pub now: Time,
    pub running: Vec<Entry>,
    pub waiting: Vec<Entry>,
    pub waiting_count: i64,
    /// Why nothing moves, where something is wrong.
    pub alarms: Vec<health::Reason>,
}

pub(super) struct Entry {
    pub run: Listed,
    pub stage: Option<StageName>,
    pub usual: Option<Duration>,
}

pub(super) async fn load(site: &Site) -> Result<Queue, Wrong> {
    let now = site.now();
    let alarms = health::look(site).await.reasons;
    let queue = site.store.read(move |db| {
        let (waiting_count, _) = pages::open_count(db)?;
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        for run in pages::open(db, ROWS)? {
            let is_running = run.started_at.is_some();
            let stage = if is_running { pages::current_stage(db, run.id)?.map(|(name, _)| name) } else { None };
            let entry = Entry { stage, usual: usual(db, &run.recipe)?, run };
            if is_running { running.push(entry) } else { waiting.push(entry) }
        }
        Ok(Queue { now, running, waiting, waiting_count, alarms })
    });
    Ok(queue.await?)
}

pub(super) fn view(queue: &Queue) -> Markup {
    let body = html! {
        h1 { "Queue" }
        (health::alarms(&queue.alarms))
        @if queue.running.is_empty() && queue.waiting.is_empty() {
            (layout::empty("Nothing waits", &html! {
                "The next " code { "!testme" } " starts at once. " a href="/decisions" { "Asked for a test and nothing happened?" }
            }))
        } @else {
            h2 { "Running" }
            @if queue.running.is_empty() { p.soft { "Nothing at the moment." } }
            ol.queue { @for entry in &queue.running { (running(queue.now, entry)) } }
            @if !queue.waiting.is_empty() {
                h2 { "Waiting" }
                ol.queue { @for (place, entry) in (1..).zip(&queue.waiting) { (waiting(queue, place, entry)) } }
            }
            @let shown = i64::try_from(queue.waiting.len()).unwrap_or(i64::MAX);
            @if queue.waiting_count > shown { p.soft { "and " (queue.waiting_count - shown) " more behind them." } }
        }
    };
    layout::page(&Shell { title: "Queue", tab: Some(Tab::Queue), refresh: Some(5) }, &body)
}

fn running(now: Time, entry: &Entry) -> Markup {
    let since = entry.run.started_at.unwrap_or(entry.run.queued_at);
    html! {
        li {
            (words::standing(None, true).shape())
            div {
                p { (title(entry)) @if let Some(stage) = entry.stage { " is in " (stage) } @else { " has started" } }
                p.soft {
                    (words::counting(now, since))
                    @if let Some(usual) = entry.usual { ", usually " (words::rough(usual)) }
                    " · asked by @" (Outside(&entry.run.asked_by))
                }
            }
        }
    }
}

fn waiting(queue: &Queue, place: usize, entry: &Entry) -> Markup {
    html! {
        li {
            (words::standing(None, false).shape())
            div {
                p { (title(entry)) ": " (sentence(queue, place, entry)) }
                p.soft {
                    "asked by @" (Outside(&entry.run.asked_by)) " " (words::when(queue.now, entry.run.queued_at))
                    @if entry.run.attempt > 1 { " · attempt " (entry.run.attempt) }
                }
            }
        }
    }
}

/// The engine's own words; before it has said any, what can be seen from here.
fn sentence(queue: &Queue, place: usize, entry: &Entry) -> Markup {
    if let Some(words) = entry.run.waits_for.as_deref().filter(|words| !words.is_empty()) {
        return html! { (Said(&decapital(words))) };
    }
    match (place, queue.running.first()) {
        (1, Some(ahead)) => html! { "waiting for " (name(&ahead.run.recipe, ahead.run.pr)) " to finish" },
        (1, None) => html! { "next; waiting for the runner to take it" },
        _ => html! { (place_in(place).to_lowercase()) " in the queue" },
    }
}

fn decapital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn title(entry: &Entry) -> Markup {
    html! { a href=(links::run(entry.run.id)) { b { (name(&entry.run.recipe, entry.run.pr)) } } }
}
