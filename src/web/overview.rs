//! Every recipe on one calm table, and above it one line that says whether anything needs somebody. Order and filter are links,
//! so that a view can be sent to somebody.

mod asked;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::asked::{Asked, Query};
use self::asked::{Show, Sort};

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::{Outside, Said};
use super::words::{self, Standing};
use super::{Site, answer::Wrong, health, links};
use crate::clock::Time;
use crate::model::{Outcome, Pr, RunId, StageName};
use crate::store::StoreError;
use crate::store::pages::{self, Brief};
use crate::store::repositories;

/// Recipes on a page.
pub(super) const ROWS: usize = 50;
/// Recipes that are looked at for an order or a filter.
const MOST: u32 = 2000;
/// A recipe's runs that are looked at: for the shapes, the verdict, the level and the median.
const LATEST: u32 = 20;
const SHAPES: usize = 10;

pub(super) struct Overview {
    pub now: Time,
    pub asked: Asked,
    pub running: Vec<Running>,
    pub running_count: i64,
    pub waiting: i64,
    pub alarms: Vec<health::Reason>,
    pub recipes: Vec<Recipe>,
    /// Where the next page begins.
    pub more: Option<String>,
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
    /// Why it is not tested; `None` where it is.
    pub why: Option<String>,
}

impl Recipe {
    /// The last run that says something about the recipe; else the last that is over.
    pub(super) fn verdict(&self) -> Option<&Brief> {
        let about_it =
            |brief: &&Brief| matches!(brief.outcome, Some(Outcome::Passed | Outcome::Failed | Outcome::TimedOut));
        self.latest.iter().find(about_it).or_else(|| self.latest.iter().find(|brief| brief.outcome.is_some()))
    }

    pub(super) fn level(&self) -> (Option<i64>, Option<&str>) {
        let with_level = self.latest.iter().find(|brief| brief.level.is_some());
        with_level.map_or((None, None), |brief| (brief.level, brief.level_reason.as_deref()))
    }

    pub(super) fn median(&self) -> Option<Duration> {
        pages::median(&self.latest)
    }

    /// One commit passed and failed among its last ten runs.
    pub(super) fn is_flaky(&self) -> bool {
        let last = &self.latest[..self.latest.len().min(SHAPES)];
        let passed = last.iter().filter(|brief| brief.outcome == Some(Outcome::Passed));
        let failed = |head| {
            last.iter()
                .any(|brief| brief.head == head && matches!(brief.outcome, Some(Outcome::Failed | Outcome::TimedOut)))
        };
        passed.map(|brief| brief.head.as_str()).any(failed)
    }

    fn last_at(&self) -> Option<Time> {
        self.verdict().map(|last| last.finished_at.unwrap_or(last.queued_at))
    }
}

/// How long this recipe usually takes.
pub(super) fn usual(db: &rusqlite::Connection, recipe: &str) -> Result<Option<Duration>, StoreError> {
    Ok(pages::median(&pages::latest_of_recipe(db, recipe, LATEST)?))
}

pub(super) async fn load(site: &Site, asked: Asked) -> Result<Overview, Wrong> {
    let now = site.now();
    let alarms = health::look(site).await.reasons;
    let overview = site.store.read(move |db| {
        let (recipes, more) = page(db, &asked)?;
        let (waiting, running_count) = pages::open_count(db)?;
        let mut running = Vec::new();
        for run in pages::open(db, 50)?.into_iter().filter(|run| run.started_at.is_some()).take(4) {
            let stage = pages::current_stage(db, run.id)?.map(|(name, _)| name);
            let since = run.started_at.unwrap_or(run.queued_at);
            running.push(Running { id: run.id, recipe: run.recipe, pr: run.pr, stage, since });
        }
        let (enrolled, only_seen) = pages::enrolled_count(db)?;
        Ok(Overview { now, asked, running, running_count, waiting, alarms, recipes, more, enrolled, only_seen })
    });
    Ok(overview.await?)
}

/// The rows of a page, and the last one's name where more follow. In the order of names only they are looked at; any other
/// order, and a filter, needs them all.
fn page(db: &rusqlite::Connection, asked: &Asked) -> Result<(Vec<Recipe>, Option<String>), StoreError> {
    let recipe = |(name, why): (String, Option<String>)| {
        Ok::<_, StoreError>(Recipe { latest: pages::latest_of_recipe(db, &name, LATEST)?, name, why })
    };
    let mut names: Vec<(String, Option<String>)> = names(db, asked.show == Show::NotEnrolled)?.into_iter().collect();
    if let Some(find) = &asked.find {
        names.retain(|(name, _)| name.to_lowercase().contains(find));
    }
    let by_name = asked.sort == Sort::Name && !asked.turned && matches!(asked.show, Show::All | Show::NotEnrolled);
    let mut recipes;
    let left;
    if by_name {
        names.retain(|(name, _)| asked.after.as_ref().is_none_or(|after| name > after));
        left = names.len();
        recipes = names.into_iter().take(ROWS).map(recipe).collect::<Result<Vec<_>, _>>()?;
    } else {
        recipes = names.into_iter().map(recipe).collect::<Result<Vec<_>, _>>()?;
        recipes.retain(|recipe| asked.show.has(recipe));
        sort(&mut recipes, asked);
        if let Some(at) = recipes.iter().position(|recipe| Some(&recipe.name) == asked.after.as_ref()) {
            recipes.drain(..=at);
        }
        left = recipes.len();
        recipes.truncate(ROWS);
    }
    let more = if left > ROWS { recipes.last().map(|recipe| recipe.name.clone()) } else { None };
    Ok((recipes, more))
}

/// Every recipe that was tested or may be; or those that are only seen, each with the reason.
fn names(db: &rusqlite::Connection, only_seen: bool) -> Result<BTreeMap<String, Option<String>>, StoreError> {
    let mut names = BTreeMap::new();
    if !only_seen {
        names.extend(pages::recipes(db, None, MOST)?.into_iter().map(|name| (name, None)));
    }
    for repository in repositories::all(db)?.into_iter().filter(|repository| repository.enrolled != only_seen) {
        let name = repository.recipe.unwrap_or_else(|| repository.repo.name.to_string());
        names.entry(name).or_insert_with(|| only_seen.then_some(repository.why));
    }
    Ok(names)
}

/// What has no value stands last either way; what is equal, by name.
fn sort(recipes: &mut [Recipe], asked: &Asked) {
    fn by<K: Ord>(recipes: &mut [Recipe], downwards: bool, key: impl Fn(&Recipe) -> Option<K>) {
        if downwards {
            recipes.sort_by_cached_key(|recipe| key(recipe).map_or((true, None), |key| (false, Some(Reverse(key)))));
        } else {
            recipes.sort_by_cached_key(|recipe| key(recipe).map_or((true, None), |key| (false, Some(key))));
        }
    }
    let downwards = asked.turned != asked.sort.begins_downwards();
    match asked.sort {
        Sort::Name => by(recipes, downwards, |recipe| Some(recipe.name.clone())),
        Sort::Level => by(recipes, downwards, |recipe| recipe.level().0),
        Sort::Verdict => by(recipes, downwards, Recipe::last_at),
        Sort::Median => by(recipes, downwards, Recipe::median),
    }
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
    let asked = &overview.asked;
    let nothing_known = overview.recipes.is_empty() && *asked == Asked::default();
    let body = html! {
        h1 { "Recipes" }
        (state_line(overview))
        @if nothing_known {
            (layout::empty("No recipe has been tested yet", &html! {
                "A member writes " code { "!testme" } " on a recipe's pull request; its first result will stand here. "
                @if overview.enrolled + overview.only_seen == 0 {
                    "So far no repository has been seen on the forge."
                }
            }))
        } @else {
            (filters(asked))
            @if overview.recipes.is_empty() {
                (layout::empty("No recipe is like that", &html! { a href="/" { "All recipes" } }))
            } @else {
                (table(overview))
            }
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

fn filters(asked: &Asked) -> Markup {
    let current = |is: bool| is.then_some("true");
    html! {
        div.filters {
            nav.chips aria-label="Which recipes" {
                @for show in Show::ALL {
                    a href=(asked.with_show(show).address()) aria-current=[current(asked.show == show)] { (show.words()) }
                }
            }
            form method="get" action="/" role="search" {
                label { span.sr { "Name" } input name="find" placeholder="Name" maxlength="63" autocomplete="off" spellcheck="false" value=[asked.find.as_deref()]; }
                @if asked.show != Show::All { input type="hidden" name="show" value=(asked.show.as_str()); }
                @if asked.sort != Sort::Name { input type="hidden" name="sort" value=(asked.sort.as_str()); }
                button type="submit" { "Find" }
            }
        }
    }
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
    let asked = &overview.asked;
    html! {
        table.cards.recipes {
            thead { tr {
                (column(asked, Sort::Name, ""))
                (column(asked, Sort::Level, ""))
                (column(asked, Sort::Verdict, ""))
                th scope="col" { "Last ten" }
                (column(asked, Sort::Median, "n"))
                th.n scope="col" { "Badge" }
            } }
            tbody {
                @for recipe in &overview.recipes {
                    @let (level, reason) = recipe.level();
                    tr {
                        th scope="row" {
                            a href=(links::recipe(&recipe.name)) { (Outside(&recipe.name)) }
                            @if recipe.is_flaky() { " " (words::flaky()) }
                        }
                        td data-label="Level" { (words::level(level, reason)) }
                        td data-label="Last verdict" { (verdict(overview.now, recipe)) }
                        td data-label="Last ten" { (shapes(&recipe.latest)) }
                        td.n data-label="median" {
                            @if let Some(median) = recipe.median() { (words::span(median)) } @else { span.soft { "–" } }
                        }
                        td.n.badge { a href={ (links::recipe(&recipe.name)) "#badge" } { "badge" span.sr { " of " (Outside(&recipe.name)) } } }
                    }
                }
            }
        }
    }
}

/// A heading that orders the rows by its column, and the other way round where it does already.
fn column(asked: &Asked, sort: Sort, class: &str) -> Markup {
    let is = asked.sort == sort;
    let upwards = asked.turned == (sort.begins_downwards());
    let order = is.then_some(if upwards { "ascending" } else { "descending" });
    html! {
        th class=[(!class.is_empty()).then_some(class)] scope="col" aria-sort=[order] {
            a href=(asked.with_sort(sort).address()) {
                (sort.words())
                @if is { span aria-hidden="true" { @if upwards { " ↑" } @else { " ↓" } } }
            }
        }
    }
}

fn verdict(now: Time, recipe: &Recipe) -> Markup {
    let Some(last) = recipe.verdict() else {
        return html! {
            @match &recipe.why {
                Some(why) => { span.soft { "not tested" } span.why title=(Outside(why)) { (Said(why)) } }
                None => span.soft { "none yet" },
            }
        };
    };
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
pub(super) fn shapes(latest: &[Brief]) -> Markup {
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
    let (asked, is_first) = (&overview.asked, overview.asked.after.is_none());
    html! {
        @if overview.more.is_some() || !is_first {
            nav.pager aria-label="More recipes" {
                @if !is_first { a href=(asked.with_after(None).address()) { "From the start" } } @else { span {} }
                @if let Some(after) = &overview.more { a href=(asked.with_after(Some(after.clone())).address()) rel="next" { "More recipes" } }
            }
        }
    }
}

/// `keycloak #41`
pub(super) fn name(recipe: &str, pr: Option<Pr>) -> Markup {
    html! { (Outside(recipe)) @if let Some(pr) = pr { " #" (pr) } }
}
