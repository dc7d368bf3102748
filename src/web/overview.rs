//! Every recipe on one calm table, and above it one line that says whether anything needs somebody.

use std::time::Duration;

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::Outside;
use super::words::{self, Standing};
use super::{Site, answer::Wrong, health, links};
use crate::clock::Time;
use crate::model::{Outcome, Pr, RunId, StageName};
use crate::store::StoreError;
use crate::store::pages::{self, Brief};

/// Recipes on a page.
pub(super) const ROWS: u32 = 50;
/// A recipe's runs that are looked at: for the shapes, the verdict, the level and the median.
const LATEST: u32 = 20;
const SHAPES: usize = 10;

pub(super) struct Overview {
    pub now: Time,
    pub running: Vec<Running>,
    pub running_count: i64,
    pub waiting: i64,
    pub alarms: Vec<health::Reason>,
    pub recipes: Vec<Recipe>,
    /// Where the next page begins.
    pub more: Option<String>,
    pub is_first: bool,
    pub enrolled: i64,
    pub only_seen: i64,
}

pub(super) struct Running {
    pub id: RunId,
    pub recipe: String,
    pub pr: Option<Pr>,
    pub stage: Option<StageName>,
    pub since: Time,
}

pub(super) struct Recipe {
    pub name: String,
    /// Newest first.
    pub latest: Vec<Brief>,
}

impl Recipe {
    /// The last run that says something about the recipe; else the last that is over.
    fn verdict(&self) -> Option<&Brief> {
        let about_it =
            |brief: &&Brief| matches!(brief.outcome, Some(Outcome::Passed | Outcome::Failed | Outcome::TimedOut));
        self.latest.iter().find(about_it).or_else(|| self.latest.iter().find(|brief| brief.outcome.is_some()))
    }

    fn level(&self) -> (Option<i64>, Option<&str>) {
        let with_level = self.latest.iter().find(|brief| brief.level.is_some());
        with_level.map_or((None, None), |brief| (brief.level, brief.level_reason.as_deref()))
    }

    fn median(&self) -> Option<Duration> {
        median(&self.latest)
    }
}

/// How long a run that passes takes.
pub(super) fn median(latest: &[Brief]) -> Option<Duration> {
    let took = |brief: &Brief| match (brief.outcome, brief.started_at, brief.finished_at) {
        (Some(Outcome::Passed), Some(started), Some(finished)) => Some(finished.since(started)),
        _ => None,
    };
    words::median(&mut latest.iter().filter_map(took).collect::<Vec<_>>())
}

/// How long this recipe usually takes.
pub(super) fn usual(db: &rusqlite::Connection, recipe: &str) -> Result<Option<Duration>, StoreError> {
    Ok(median(&pages::latest_of_recipe(db, recipe, LATEST)?))
}

pub(super) async fn load(site: &Site, after: Option<String>) -> Result<Overview, Wrong> {
    let now = site.now();
    let alarms = health::look(site).await.reasons;
    let overview = site.store.read(move |db| {
        let mut names = pages::recipes(db, after.as_deref(), ROWS + 1)?;
        let more = names.len() > ROWS as usize;
        names.truncate(ROWS as usize);
        let more = if more { names.last().cloned() } else { None };
        let recipes = names
            .into_iter()
            .map(|name| Ok(Recipe { latest: pages::latest_of_recipe(db, &name, LATEST)?, name }))
            .collect::<Result<_, StoreError>>()?;
        let (waiting, running_count) = pages::open_count(db)?;
        let mut running = Vec::new();
        for run in pages::open(db, 50)?.into_iter().filter(|run| run.started_at.is_some()).take(4) {
            let stage = pages::current_stage(db, run.id)?.map(|(name, _)| name);
            let since = run.started_at.unwrap_or(run.queued_at);
            running.push(Running { id: run.id, recipe: run.recipe, pr: run.pr, stage, since });
        }
        let (enrolled, only_seen) = pages::enrolled_count(db)?;
        Ok(Overview {
            now,
            running,
            running_count,
            waiting,
            alarms,
            recipes,
            more,
            is_first: after.is_none(),
            enrolled,
            only_seen,
        })
    });
    Ok(overview.await?)
}

impl Overview {
    pub(super) fn newest(&self) -> Option<Time> {
        if !self.running.is_empty() {
            return Some(self.now);
        }
        let ends = self.recipes.iter().filter_map(|recipe| recipe.latest.first());
        ends.map(|brief| brief.finished_at.unwrap_or(brief.queued_at)).max()
    }
}

pub(super) fn view(overview: &Overview) -> Markup {
    let body = html! {
        h1 { "Recipes" }
        (state_line(overview))
        @if overview.recipes.is_empty() && overview.is_first {
            (layout::empty("No recipe has been tested yet", &html! {
                "A member writes " code { "!testme" } " on a recipe's pull request; its first result will stand here. "
                @if overview.enrolled + overview.only_seen == 0 {
                    "So far no repository has been seen on the forge."
                } @else {
                    a href="/repositories" { (words::count(overview.enrolled, "repository", "repositories")) } " can ask."
                }
            }))
        } @else {
            (table(overview))
            (pager(overview))
        }
        @if overview.enrolled + overview.only_seen > 0 {
            p.soft.foot {
                a href="/repositories" { (words::count(overview.enrolled, "repository", "repositories")) " enrolled" }
                @if overview.only_seen > 0 { ", " (overview.only_seen) " seen but not enrolled" }
                "."
            }
        }
    };
    layout::page(&Shell { title: "Recipes", tab: Some(Tab::Overview), refresh: Some(10) }, &body)
}

/// "Running: keycloak #41, upgrade, 3:05 · Waiting: 2 · All well", or what is wrong.
fn state_line(overview: &Overview) -> Markup {
    html! {
        div.now {
            p {
                @if overview.running.is_empty() {
                    span { (Standing { class: "cancelled", word: "" }.shape()) "Nothing is running" }
                }
                @for run in &overview.running {
                    span {
                        (Standing { class: "running", word: "" }.shape()) "Running: "
                        a href=(links::run(run.id)) { (name(&run.recipe, run.pr)) }
                        @if let Some(stage) = run.stage { ", " (stage) }
                        ", " (words::counting(overview.now, run.since))
                    }
                }
                @let shown = i64::try_from(overview.running.len()).unwrap_or(0);
                @if overview.running_count > shown {
                    span { a href="/queue" { "and " (overview.running_count - shown) " more" } }
                }
                span { a href="/queue" { "Waiting: " (overview.waiting) } }
                @if overview.alarms.is_empty() { span.well { (Standing { class: "passed", word: "" }.shape()) "All well" } }
            }
            (health::alarms(&overview.alarms))
        }
    }
}

fn table(overview: &Overview) -> Markup {
    html! {
        table.cards.recipes {
            thead { tr {
                th scope="col" { "Recipe" }
                th scope="col" { "Level" }
                th scope="col" { "Last verdict" }
                th scope="col" { "Last ten" }
                th.n scope="col" { "Median" }
            } }
            tbody {
                @for recipe in &overview.recipes {
                    @let (level, reason) = recipe.level();
                    tr {
                        th scope="row" { a href=(links::runs_of(&recipe.name)) { (Outside(&recipe.name)) } }
                        td data-label="Level" { (words::level(level, reason)) }
                        td data-label="Last verdict" { (verdict(overview.now, recipe)) }
                        td data-label="Last ten" { (shapes(&recipe.latest)) }
                        td.n data-label="median" {
                            @if let Some(median) = recipe.median() { (words::span(median)) } @else { span.soft { "–" } }
                        }
                    }
                }
            }
        }
    }
}

fn verdict(now: Time, recipe: &Recipe) -> Markup {
    let Some(last) = recipe.verdict() else { return html! { span.soft { "none yet" } } };
    let standing = words::standing(last.outcome, last.started_at.is_some());
    let good = last.outcome == Some(Outcome::Passed);
    html! {
        a.plain href=(links::run(last.id)) { (standing.shown()) } " "
        span.soft { (words::when(now, last.finished_at.unwrap_or(last.queued_at))) }
        @if let Some(reason) = last.reason.as_deref().filter(|reason| !good && !reason.is_empty()) {
            (words::why(reason))
        }
    }
}

/// The last ten runs, oldest first, each a shape that leads to it.
fn shapes(latest: &[Brief]) -> Markup {
    html! {
        span.ten {
            @for brief in latest.iter().take(SHAPES).rev() {
                @let standing = words::standing(brief.outcome, brief.started_at.is_some());
                a href=(links::run(brief.id)) title={ (brief.id) " " (standing.word) } {
                    (standing.shape()) span.sr { (standing.word) }
                }
            }
        }
    }
}

fn pager(overview: &Overview) -> Markup {
    html! {
        @if overview.more.is_some() || !overview.is_first {
            nav.pager aria-label="More recipes" {
                @if !overview.is_first { a href="/" { "From the start" } } @else { span {} }
                @if let Some(after) = &overview.more { a href={ "/?after=" (links::encode(after)) } rel="next" { "More recipes" } }
            }
        }
    }
}

/// `keycloak #41`
pub(super) fn name(recipe: &str, pr: Option<Pr>) -> Markup {
    html! { (Outside(recipe)) @if let Some(pr) = pr { " #" (pr) } }
}
