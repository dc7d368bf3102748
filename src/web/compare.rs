//! Two runs side by side: what differs between them, above all where one failed and the other did not.

use std::path::Path;

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::lines::{self, Window};
use super::outside::{Outside, Said};
use super::raw_log::blocking;
use super::{Site, answer::Wrong, chart, links, words};
use crate::api::images::{self, Image};
use crate::clock::Time;
use crate::logs::diff::{Which, diff};
use crate::model::{CheckState, RunId, StageName};
use crate::store::evidence::{self as kept, Piece};
use crate::store::runs::{self, Run};
use crate::store::stages::{self, Check, Stage};
use crate::store::{StoreError, pages};

/// Lines of each side's log that are compared, from the end of the failing stage.
const LINES: usize = 60;
/// Checks that differ.
const CHECKS: usize = 40;

pub(super) struct Compared {
    now: Time,
    sides: [Side; 2],
}

struct Side {
    run: Run,
    stages: Vec<Stage>,
    checks: Vec<Check>,
    evidence: Vec<Piece>,
    images: Vec<Image>,
    /// The last lines of the stage that failed in either.
    lines: Vec<String>,
}

fn side(db: &rusqlite::Connection, evidence: &Path, id: RunId) -> Result<Option<Side>, StoreError> {
    let Some(run) = runs::by_id(db, id)? else { return Ok(None) };
    let (stages, checks) = (stages::of_run(db, id)?, stages::checks_of_run(db, id)?);
    let images = images::of_run(db, evidence, id)?;
    Ok(Some(Side { run, stages, checks, evidence: kept::of_run(db, id)?, images, lines: Vec::new() }))
}

pub(super) async fn load(site: &Site, a: RunId, b: RunId) -> Result<Compared, Wrong> {
    let evidence = site.evidence.clone();
    let read = site.store.read(move |db| Ok((side(db, &evidence, a)?, side(db, &evidence, b)?, pages::newest(db)?)));
    let (first, second, newest) = read.await?;
    let missing = |id: RunId| Wrong::NoRun { asked: id.to_string(), newest };
    let mut sides = [first.ok_or_else(|| missing(a))?, second.ok_or_else(|| missing(b))?];
    if let Some(stage) = failing(&sides) {
        for side in &mut sides {
            let (logs, id) = (site.logs.clone(), side.run.id);
            side.lines = blocking(move || {
                let Some(mut log) = lines::open(&logs, id)? else { return Ok(Vec::new()) };
                let window = Window::of_failure(&mut log, stage)?;
                Ok(window.texts_of(stage))
            })
            .await?;
            let spare = side.lines.len().saturating_sub(LINES);
            side.lines.drain(..spare);
        }
    }
    Ok(Compared { now: site.now(), sides })
}

/// The stage that one of them failed in.
fn failing(sides: &[Side; 2]) -> Option<StageName> {
    let failed =
        |side: &Side| side.stages.iter().find(|stage| super::run::is_fault(stage.state)).map(|stage| stage.name);
    failed(&sides[0]).or_else(|| failed(&sides[1]))
}

pub(super) fn view(compared: &Compared) -> Markup {
    let [a, b] = &compared.sides;
    let body = html! {
        h1 { "Runs " (a.run.id) " and " (b.run.id) }
        (facts(compared))
        (stage_table(a, b))
        (check_table(a, b, true))
        (check_table(a, b, false))
        (image_table(a, b))
        (evidence_table(a, b))
        @if let Some(stage) = failing(&compared.sides) { (log_diff(stage, a, b)) }
    };
    let title = format!("Runs {} and {}", a.run.id, b.run.id);
    layout::page(&Shell { title: &title, tab: Some(Tab::Runs), refresh: None }, &body)
}

fn heads(compared: [&Side; 2], first: &str) -> Markup {
    html! {
        thead { tr {
            th scope="col" { (first) }
            @for side in compared { th scope="col" { "Run " (side.run.id) } }
        } }
    }
}

fn facts(compared: &Compared) -> Markup {
    let [a, b] = &compared.sides;
    let took = |run: &Run| Some(words::span(run.finished_at?.since(run.started_at?)));
    html! {
        table.cards.two {
            (heads([a, b], "What"))
            tbody {
                tr { th scope="row" { "run" } @for side in [a, b] { td data-label=(side.run.id) { a href=(links::run(side.run.id)) { (words::standing(side.run.outcome, side.run.started_at.is_some()).shown()) } " " span.soft { (words::when(compared.now, side.run.finished_at.unwrap_or(side.run.queued_at))) } } } }
                tr { th scope="row" { "recipe" } @for side in [a, b] { td data-label=(side.run.id) { a href=(links::recipe(&side.run.recipe)) { (Outside(&side.run.recipe)) } @if let Some(pr) = side.run.pr { " #" (pr) } } } }
                tr { th scope="row" { "commit" } @for side in [a, b] { td data-label=(side.run.id) { code { (side.run.head.short()) } } } }
                tr { th scope="row" { "version" } @for side in [a, b] { td data-label=(side.run.id) { (Outside(side.run.version.as_deref().unwrap_or("–"))) } } }
                tr { th scope="row" { "upgraded from" } @for side in [a, b] { td data-label=(side.run.id) { (Outside(side.run.base.as_deref().unwrap_or("–"))) } } }
                tr { th scope="row" { "level" } @for side in [a, b] { td data-label=(side.run.id) { (words::level(side.run.level, side.run.level_reason.as_deref())) } } }
                tr { th scope="row" { "took" } @for side in [a, b] { td data-label=(side.run.id) { (took(&side.run).unwrap_or_else(|| "–".to_owned())) } } }
                tr { th scope="row" { "reason" } @for side in [a, b] { td data-label=(side.run.id) { (Said(side.run.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("–"))) } } }
            }
        }
    }
}

fn stage_table(a: &Side, b: &Side) -> Markup {
    let of = |side: &Side, name: StageName| {
        let stage = side.stages.iter().find(|stage| stage.name == name)?;
        Some((stage.state, chart::took(stage)))
    };
    html! {
        section aria-label="Stages" {
            h2 { "Stages" }
            table.cards.two {
                (heads([a, b], "Stage"))
                tbody { @for &name in StageName::ALL {
                    @let (left, right) = (of(a, name), of(b, name));
                    @if left.is_some() || right.is_some() {
                        tr class=[(left.map(|one| one.0) != right.map(|one| one.0)).then_some("differs")] {
                            th scope="row" { (name) }
                            @for (side, stage) in [(a, left), (b, right)] { td data-label=(side.run.id) {
                                @match stage {
                                    Some((state, took)) => { (words::stage_standing(state).shown()) " " @if let Some(took) = took { span.soft.num { (words::span(took)) } } }
                                    None => span.soft { "–" },
                                }
                            } }
                        }
                    }
                } }
            }
        }
    }
}

/// What ran, and where its content differs.
fn image_table(a: &Side, b: &Side) -> Markup {
    let rows = images::beside(&a.images, &b.images);
    html! {
        @if !rows.is_empty() {
            section aria-label="Images" {
                h2 { "Images" }
                table.cards.two {
                    (heads([a, b], "Service"))
                    tbody { @for [left, right] in rows {
                        tr class=[(left != right).then_some("differs")] {
                            @let either = left.or(right);
                            th scope="row" { @if let Some(image) = either { (Outside(&image.service)) span.soft { " in the " (Outside(&image.deployment)) } } }
                            @for (side, image) in [(a, left), (b, right)] { td data-label=(side.run.id) {
                                @match image {
                                    Some(image) => { code { (Outside(&image.image)) } " " span.soft.mono title=[image.digests.first()] { (Outside(image.short_digest().unwrap_or("no digest"))) } }
                                    None => span.soft { "–" },
                                }
                            } }
                        }
                    } }
                }
            }
        }
    }
}

/// Lint's findings, or all other checks: only those that did not come out alike.
fn check_table(a: &Side, b: &Side, of_lint: bool) -> Markup {
    let (title, one, alike) = if of_lint {
        ("Lint", "Finding", "Lint found the same in both.")
    } else {
        ("Checks", "Check", "All checks came out alike.")
    };
    let state = |side: &Side, check: &Check| {
        side.checks.iter().find(|other| other.stage == check.stage && other.name == check.name).map(|other| other.state)
    };
    let mut differ: Vec<(&Check, Option<CheckState>, Option<CheckState>)> = Vec::new();
    for check in a.checks.iter().chain(&b.checks).filter(|check| (check.stage == StageName::Lint) == of_lint) {
        let (left, right) = (state(a, check), state(b, check));
        let seen = differ.iter().any(|(other, _, _)| other.stage == check.stage && other.name == check.name);
        if left != right && !seen {
            differ.push((check, left, right));
        }
    }
    html! {
        section aria-label=(title) {
            h2 { (title) }
            @if differ.is_empty() { p.soft { (alike) } } @else {
                table.cards.two {
                    (heads([a, b], one))
                    tbody { @for (check, left, right) in differ.iter().take(CHECKS) { tr.differs {
                        th scope="row" {
                            (Outside(&check.name))
                            @if of_lint { (words::why(check.got.as_deref().unwrap_or_default())) } @else { span.soft { " in " (check.stage) } }
                        }
                        @for (side, state) in [(a, left), (b, right)] { td data-label=(side.run.id) {
                            @match state { Some(state) => (words::check_standing(*state).shown()), None => span.soft { "–" } }
                        } }
                    } } }
                }
                @if differ.len() > CHECKS { p.soft { "and " (differ.len() - CHECKS) " more" } }
            }
        }
    }
}

fn evidence_table(a: &Side, b: &Side) -> Markup {
    let mut names: Vec<&str> = a.evidence.iter().chain(&b.evidence).map(|piece| piece.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    html! {
        @if !names.is_empty() {
            section aria-label="Evidence" {
                h2 { "Evidence" }
                table.cards.two {
                    (heads([a, b], "Piece"))
                    tbody { @for name in names { tr {
                        th scope="row" { (Outside(name)) }
                        @for side in [a, b] { td data-label=(side.run.id) {
                            @match side.evidence.iter().find(|piece| piece.name == name) {
                                Some(piece) => a href=(super::evidence::address(side.run.id, name)) { (super::run::size(piece.bytes)) },
                                None => span.soft { "–" },
                            }
                        } }
                    } } }
                }
            }
        }
    }
}

fn log_diff(stage: StageName, a: &Side, b: &Side) -> Markup {
    html! {
        section aria-label="Log" {
            h2 { "Last lines of " (stage) }
            @if a.lines.is_empty() && b.lines.is_empty() { p.soft { "Neither has a log of it." } } @else {
                pre.code.diff tabindex="0" {
                    @for (which, line) in diff(&a.lines, &b.lines) {
                        @match which {
                            Which::Both => { "  " (Outside(line)) "\n" }
                            Which::First => { b.gone { "- " (Outside(line)) } "\n" }
                            Which::Second => { b.come { "+ " (Outside(line)) } "\n" }
                        }
                    }
                }
                p.soft { "− only in run " (a.run.id) ", + only in run " (b.run.id) "; moments are left out." }
            }
        }
    }
}
