//! Every component there is, once, for whoever changes the stylesheet: what does not look right here looks right nowhere.

use maud::{Markup, html};

use super::layout::{self, Shell};
use super::words::{self, Standing};
use super::{chart, health};
use crate::clock::Time;
use crate::model::{CheckState, Outcome, RunId, StageName, StageState};
use crate::store::stages::Stage;

const COLOURS: [&str; 9] = ["paper", "sheet", "ink", "soft", "line", "edge", "accent", "good", "bad"];

pub(super) fn view() -> Markup {
    let body = html! {
        h1 { "Style" }
        p.lead { "One set of tokens, light and dark. State is shape and word first, colour last." }
        (colours())
        (text())
        (states())
        (tables())
        (messages())
        (controls())
        (log())
    };
    layout::page(&Shell { title: "Style", tab: None, refresh: None }, &body)
}

fn colours() -> Markup {
    html! {
        section aria-label="Colours" {
            h2 { "Colours" }
            ul.plain.colours { @for colour in COLOURS { li { i class={ "colour " (colour) } {} (colour) } } }
        }
    }
}

fn text() -> Markup {
    html! {
        section aria-label="Text" {
            h2 { "Text" }
            p { "Prose with a " a href="/about" { "link" } ", " b { "weight" } ", " code { "code" } ", " span.mono { "3f9c2ab1" } ", " span.soft { "a soft remark" } " and a key " kbd { "j" } "." }
            p.lead { "The lead of a page: its reason, in one sentence." }
            pre.code tabindex="0" { "cc-ci run --stage upgrade ." }
        }
    }
}

fn states() -> Markup {
    let others = [Standing { class: "running", word: "running" }, Standing { class: "waiting", word: "waiting" }];
    html! {
        section aria-label="States" {
            h2 { "States" }
            p.sum {
                @for &outcome in Outcome::ALL { span { (words::standing(Some(outcome), true).shown()) } }
                @for standing in others { span { (standing.shown()) } }
            }
            p.sum { @for &state in CheckState::ALL { span { (words::check_standing(state).shown()) } } span { (words::flaky()) } }
            p.sum { @for level in 0..=6 { span { (words::level(Some(level), None)) } } }
            (strip())
            div.durations { (chart::stages_of_runs(&drawn())) }
        }
    }
}

fn strip() -> Markup {
    let bars = [
        (StageState::Passed, 4),
        (StageState::Failed, 12),
        (StageState::Infra, 6),
        (StageState::Running, 16),
        (StageState::Waiting, 1),
    ];
    html! {
        ol.strip aria-label="Stages" {
            @for (name, (state, share)) in StageName::ALL.iter().zip(bars) {
                @let standing = words::stage_standing(state);
                li class={ (standing.class) " g" (share) } {
                    a href="/style" title={ (name) ": " (standing.word) } { span.bar {} span.name { (standing.shape()) (name) span.sr { " " (standing.word) } } span.soft.num { "0:4" (share % 10) } }
                }
            }
        }
    }
}

fn drawn() -> Vec<(RunId, Option<Outcome>, Vec<Stage>)> {
    let stage = |at: i64, name: StageName, seconds: i64| Stage {
        ordinal: at,
        name,
        state: StageState::Passed,
        reason: None,
        started_at: Some(Time(0)),
        finished_at: Some(Time(seconds * 1000)),
        waited: std::time::Duration::ZERO,
    };
    let run = |id: i64| {
        let stages = (0..).zip(StageName::ALL).map(|(at, &name)| stage(at, name, 5 + (at * 7 + id * 3) % 23)).collect();
        (RunId(id), Some(if id == 3 { Outcome::Failed } else { Outcome::Passed }), stages)
    };
    (1..=6).rev().map(run).collect()
}

fn tables() -> Markup {
    html! {
        section aria-label="Tables" {
            h2 { "Tables" }
            table.cards {
                thead { tr { th scope="col" aria-sort="ascending" { "Recipe ↑" } th scope="col" { "Verdict" } th.n scope="col" { "Took" } } }
                tbody { @for (name, outcome) in [("keycloak", Outcome::Passed), ("ghost", Outcome::Failed)] { tr {
                    th scope="row" { a href="/" { (name) } }
                    td data-label="Verdict" { (words::standing(Some(outcome), true).shown()) (words::why("why it is so, in one line")) }
                    td.n data-label="took" { "4:12" }
                } } }
            }
        }
    }
}

fn messages() -> Markup {
    html! {
        section aria-label="Messages" {
            h2 { "Messages" }
            (health::alarms(&[health::Reason { what: "disk".into(), words: "94 % full; make room".into() }]))
            div.note role="note" { p { b { "Left behind:" } " the volume " code { "app_data" } } }
            section.failure aria-label="First failure, as an example" {
                h3 { (words::check_standing(CheckState::Failed).shape()) "front page" span.soft { " in checks" } }
                dl.compare { dt { "expected" } dd { "200" } dt { "got" } dd { "502 Bad Gateway" } }
            }
            (layout::empty("Nothing is here", &html! { "What would stand here, and how it comes." }))
        }
    }
}

fn controls() -> Markup {
    html! {
        section aria-label="Controls" {
            h2 { "Controls" }
            div.filters {
                nav.chips aria-label="Chips" { a href="/style" aria-current="true" { "all" } a href="/style" { (words::standing(Some(Outcome::Failed), true).shape()) "failed" } }
                form method="get" action="/style" role="search" aria-label="An example" { label { span.sr { "Name" } input name="name" placeholder="Name"; } button type="submit" { "Show" } }
            }
            nav.pager aria-label="Pager" { a href="/style" { "Newest" } a href="/style" { "Older" } }
        }
    }
}

/// What is left of a terminal's colours.
const INKS: [&str; 7] = ["grey", "red", "green", "yellow", "blue", "magenta", "cyan"];

fn log() -> Markup {
    html! {
        section.logbox aria-labelledby="log-title" {
            h2 #log-title { "Log" }
            div.log tabindex="0" role="region" aria-label="Lines of the log" {
                h3 { "install" }
                @for (class, text) in [("ci", "deploying 1.4.0 at 3f9c2ab1"), ("out", "Creating network app_internal"), ("err", "no such image"), ("mark", "failed")] {
                    p class=[(class != "out").then_some(class)] { b { "03:04:05" } span { (text) } }
                }
                p {
                    b { "03:04:05" }
                    span { @for ink in INKS { span class={ "ink-" (ink) } { (ink) } " " span class={ "bold ink-" (ink) } { (ink) } " " } }
                }
            }
        }
    }
}
