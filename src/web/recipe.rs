//! One recipe: how high it has come and what keeps it from the next level, how its last runs went and where their time goes.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::{Outside, Said};
use super::overview::{Recipe, shapes};
use super::{Site, answer::Wrong, chart, evidence, links, runs, words};
use crate::clock::Time;
use crate::model::{Outcome, Pr, RepoName, RunId, StageName};
use crate::stages::picture;
use crate::store::evidence as kept;
use crate::store::pages::{self, Listed};
use crate::store::repositories::{self, Repository};
use crate::store::runs::Filter;
use crate::store::stages::{self, Stage};

/// Runs in its history; the run list has the others.
const ROWS: u32 = 20;
/// Runs whose stages are drawn, and among which the trend is.
const DRAWN: usize = 10;
/// Pull requests named.
const PRS: usize = 10;

pub(super) struct Page {
    pub now: Time,
    pub forge: Option<String>,
    pub address: String,
    pub recipe: Recipe,
    /// Newest first.
    pub rows: Vec<Listed>,
    /// The last runs that are over, newest first, with their stages.
    pub drawn: Vec<(RunId, Option<Outcome>, Vec<Stage>)>,
    pub repositories: Vec<Repository>,
    /// The newest run that has a picture of the front page.
    pub picture: Option<RunId>,
}

pub(super) async fn load(site: &Site, name: String) -> Result<Page, Wrong> {
    let (now, forge, address) = (site.now(), site.forge.clone(), site.address.clone());
    let asked = name.clone();
    let page = site.store.read(move |db| {
        let latest = pages::latest_of_recipe(db, &name, ROWS)?;
        let rows = pages::list(db, &Filter { recipe: Some(name.clone()), ..Filter::default() }, None, ROWS)?;
        let mut drawn = Vec::new();
        for brief in latest.iter().filter(|brief| brief.finished_at.is_some() && brief.started_at.is_some()).take(DRAWN)
        {
            drawn.push((brief.id, brief.outcome, stages::of_run(db, brief.id)?));
        }
        let mut picture = None;
        for brief in &latest {
            if kept::by_name(db, brief.id, picture::NAME)?.is_some() {
                picture = Some(brief.id);
                break;
            }
        }
        let repositories = repositories::of_recipe(db, &name)?;
        Ok(Page { now, forge, address, recipe: Recipe { name, latest, why: None }, rows, drawn, repositories, picture })
    });
    let page = page.await?;
    if page.rows.is_empty() && page.repositories.is_empty() { Err(Wrong::NoRecipe { asked }) } else { Ok(page) }
}

impl Page {
    pub(super) fn newest(&self) -> Option<Time> {
        if self.rows.iter().any(|run| run.started_at.is_some() && run.finished_at.is_none()) {
            return Some(self.now);
        }
        self.rows.iter().map(|run| run.finished_at.unwrap_or(run.queued_at)).max()
    }
}

pub(super) fn view(page: &Page) -> Markup {
    let body = html! {
        (verdict(page))
        div.beside {
            div { (times(page)) }
            (facts(page))
        }
        (history(page))
    };
    layout::page(&Shell { title: &page.recipe.name, tab: Some(Tab::Overview), refresh: Some(10) }, &body)
}

fn verdict(page: &Page) -> Markup {
    let recipe = &page.recipe;
    let (level, reason) = recipe.level();
    html! {
        h1 { (Outside(&recipe.name)) }
        @match recipe.verdict() {
            Some(last) => {
                p.lead {
                    "Last verdict: " a.plain href=(links::run(last.id)) { b { (words::standing(last.outcome, last.started_at.is_some()).shown()) } }
                    " " (words::when(page.now, last.finished_at.unwrap_or(last.queued_at)))
                    @if let Some(reason) = last.reason.as_deref().filter(|reason| !reason.is_empty() && last.outcome != Some(Outcome::Passed)) {
                        ": " (Said(words::first_sentence(reason).0))
                    }
                }
            }
            None => p.lead { "It has no verdict yet." }
        }
        p.sum {
            span {
                @if level.is_some() { "level " (words::level(level, None)) } @else { "no level yet" }
                @if let Some(reason) = reason.filter(|reason| !reason.is_empty()) { ": " (Said(reason)) }
            }
            @if recipe.is_flaky() { span { (words::flaky()) } }
            @if !recipe.latest.is_empty() { span.trend { "last ten " (shapes(&recipe.latest)) } }
            @if let Some(median) = recipe.median() { span { "usually takes " b { (words::span(median)) } } }
        }
        @for repository in page.repositories.iter().filter(|repository| !repository.enrolled) {
            div.note role="note" { p { b { (repository.repo) } " is not tested: " (Said(&repository.why)) } }
        }
    }
}

/// Where the time of the last runs went: a drawing, and the same in numbers.
fn times(page: &Page) -> Markup {
    if page.drawn.is_empty() {
        return html! {};
    }
    html! {
        section aria-label="Time per stage" {
            h2 { "Time per stage" }
            div.durations {
                (chart::stages_of_runs(&page.drawn))
                table.legend {
                    thead { tr { th scope="col" { "Stage" } th.n scope="col" { "Median" } th.n scope="col" { "Last" } } }
                    tbody { @for (name, median, last) in medians(&page.drawn) { tr {
                        th scope="row" { i class={ "swatch " (name) } {} (name) }
                        td.n { (words::span(median)) }
                        td.n { @if let Some(last) = last { (words::span(last)) } @else { span.soft { "–" } } }
                    } } }
                }
            }
        }
    }
}

/// Of each stage that ran: its median, and what it took in the newest run.
fn medians(drawn: &[(RunId, Option<Outcome>, Vec<Stage>)]) -> Vec<(StageName, Duration, Option<Duration>)> {
    let mut spans: BTreeMap<usize, (StageName, Vec<Duration>, Option<Duration>)> = BTreeMap::new();
    for (at, (_, _, stages)) in drawn.iter().enumerate() {
        for stage in stages {
            let (Some(took), Some(place)) =
                (chart::took(stage), StageName::ALL.iter().position(|&one| one == stage.name))
            else {
                continue;
            };
            let (_, all, last) = spans.entry(place).or_insert_with(|| (stage.name, Vec::new(), None));
            all.push(took);
            if at == 0 {
                *last = Some(took);
            }
        }
    }
    let of_stage = |(name, mut all, last): (_, Vec<_>, _)| Some((name, pages::middle(&mut all)?, last));
    spans.into_values().filter_map(of_stage).collect()
}

fn history(page: &Page) -> Markup {
    html! {
        section aria-label="History" {
            h2 { "History" }
            @if page.rows.is_empty() {
                p.soft { "Nobody has asked for a test yet. A member does it with " code { "!testme" } " on a pull request." }
            } @else {
                (runs::table(page.now, &page.rows))
                @if page.rows.len() == ROWS as usize { p.more { a href=(links::runs_of(&page.recipe.name)) { "All its runs" } } }
                p.more { a href={ (links::recipe(&page.recipe.name)) "/feed.atom" } { "As a feed" } }
            }
        }
    }
}

fn facts(page: &Page) -> Markup {
    let name = &page.recipe.name;
    let badge = format!("/badge/{}.svg", links::encode(name));
    let prs = pull_requests(&page.rows);
    html! {
        section aria-label="Details" {
            @if let Some(run) = page.picture {
                h2 { "Front page" }
                @let picture = evidence::address(run, picture::NAME);
                a.picture href=(picture) { img src=(picture) alt={ "The app's front page in run " (run) } loading="lazy" width="400" height="250"; }
            }
            @if !prs.is_empty() {
                h2 { "Pull requests tested lately" }
                ul.plain { @for (pr, run) in prs { li {
                    a.plain href=(links::run(run.id)) { (words::standing(run.outcome, run.started_at.is_some()).shape()) span.sr { (words::standing(run.outcome, run.started_at.is_some()).word) } }
                    @match page.repositories.first().and_then(|known| links::pull_request(page.forge.as_deref(), &known.repo.to_string(), pr)) {
                        Some(address) => a href=(address) rel="noreferrer" { "#" (pr) },
                        None => a href=(links::run(run.id)) { "#" (pr) },
                    }
                    @if !run.title.is_empty() { " " span.soft { (Outside(&run.title)) } }
                } } }
            }
            @if name.parse::<RepoName>().is_ok() {
                h2 #badge { "Badge" }
                p { img src=(badge) alt={ "cc-ci badge of " (Outside(name)) } height="20"; }
                pre.code tabindex="0" { "[![cc-ci](" (Outside(&page.address)) (badge) ")](" (Outside(&page.address)) (links::recipe(name)) ")" }
            }
            @for repository in &page.repositories {
                h2 { "Repository" }
                p {
                    @match links::repository(page.forge.as_deref(), &repository.repo) {
                        Some(address) => a href=(address) rel="noreferrer" { (repository.repo) },
                        None => (repository.repo),
                    }
                }
                @if repository.enrolled { p.soft { (Said(&repository.why)) } }
                @if let Some(error) = &repository.last_error { p.soft { (words::Standing { class: "infra", word: "" }.shape()) " " (Outside(error)) } }
            }
        }
    }
}

/// Of each pull request the newest run.
fn pull_requests(rows: &[Listed]) -> Vec<(Pr, &Listed)> {
    let mut prs: Vec<(Pr, &Listed)> = Vec::new();
    for row in rows {
        if let Some(pr) = row.pr
            && prs.len() < PRS
            && prs.iter().all(|(seen, _)| *seen != pr)
        {
            prs.push((pr, row));
        }
    }
    prs
}
