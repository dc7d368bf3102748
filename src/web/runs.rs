//! All runs, newest first, narrowed by recipe and outcome. A view is its address, so that it can be sent to somebody.

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::Outside;
use super::overview::name;
use super::{Site, answer::Wrong, links, words};
use crate::clock::Time;
use crate::model::{Origin, Outcome, RepoName, RunId};
use crate::store::pages::{self, Listed};
use crate::store::runs::Filter;

pub(super) const ROWS: u32 = 40;

/// The outcomes that have a link of their own.
const OUTCOMES: [Outcome; 5] =
    [Outcome::Passed, Outcome::Failed, Outcome::TimedOut, Outcome::Infra, Outcome::Cancelled];

/// The ways of asking that have a link of their own.
const ORIGINS: [(Origin, &str); 4] = [
    (Origin::Comment, "in a comment"),
    (Origin::Schedule, "by the schedule"),
    (Origin::Api, "with a token"),
    (Origin::CommandLine, "on the command line"),
];

pub(super) struct Runs {
    pub now: Time,
    pub filter: Filter,
    pub before: Option<RunId>,
    pub rows: Vec<Listed>,
    pub more: bool,
}

/// What a list's address says.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub filter: Filter,
    pub before: Option<RunId>,
}

impl Asked {
    /// `narrowed` by recipe, outcome and origin.
    pub(super) fn parse(narrowed: [Option<&str>; 3], before: Option<&str>) -> Result<Asked, Wrong> {
        let [recipe, outcome, origin] = narrowed;
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let recipe = match given(recipe) {
            Some(recipe) => Some(recipe.parse::<RepoName>().map_err(|error| Wrong::parameter("recipe", says(&error)))?),
            None => None,
        };
        let outcome = match given(outcome) {
            Some(outcome) => Some(outcome.parse().map_err(|error| Wrong::parameter("outcome", says(&error)))?),
            None => None,
        };
        let origin = match given(origin) {
            Some(origin) => Some(origin.parse().map_err(|error| Wrong::parameter("origin", says(&error)))?),
            None => None,
        };
        let before = match given(before) {
            Some(before) => match before.parse::<i64>() {
                Ok(number) if number > 0 => Some(RunId(number)),
                _ => return Err(Wrong::parameter("before", format!("is the number of a run, not `{before}`"))),
            },
            None => None,
        };
        Ok(Asked { filter: Filter { recipe: recipe.map(|name| name.to_string()), outcome, origin }, before })
    }

    pub(super) fn address(&self) -> String {
        links::runs(&self.filter, self.before)
    }
}

fn says(error: &crate::model::NotA) -> String {
    format!("is {}, not `{}`", error.expected, error.got)
}

pub(super) async fn load(site: &Site, asked: Asked) -> Result<Runs, Wrong> {
    let now = site.now();
    let runs = site.store.read(move |db| {
        let mut rows = pages::list(db, &asked.filter, asked.before, ROWS + 1)?;
        let more = rows.len() > ROWS as usize;
        rows.truncate(ROWS as usize);
        Ok(Runs { now, filter: asked.filter, before: asked.before, rows, more })
    });
    Ok(runs.await?)
}

impl Runs {
    pub(super) fn newest(&self) -> Option<Time> {
        if self.rows.iter().any(|run| run.started_at.is_some() && run.finished_at.is_none()) {
            return Some(self.now);
        }
        self.rows.iter().map(|run| run.finished_at.unwrap_or(run.queued_at)).max()
    }
}

pub(super) fn view(runs: &Runs) -> Markup {
    let title = match &runs.filter.recipe {
        Some(recipe) => format!("Runs of {recipe}"),
        None => "Runs".to_owned(),
    };
    let body = html! {
        h1 { (Outside(&title)) }
        (filters(&runs.filter))
        @if runs.rows.is_empty() {
            (nothing(runs))
        } @else {
            (table(runs.now, &runs.rows))
        }
        (pager(runs))
    };
    layout::page(&Shell { title: &title, tab: Some(Tab::Runs), refresh: Some(10) }, &body)
}

pub(super) fn table(now: Time, rows: &[Listed]) -> Markup {
    html! {
        table.cards.runs {
            thead { tr {
                th scope="col" { "Run" }
                th scope="col" { "Verdict" }
                th scope="col" { "Of" }
                th scope="col" { "Asked by" }
                th.n scope="col" { "Took" }
                th.n scope="col" { "When" }
            } }
            tbody { @for run in rows { (row(now, run)) } }
        }
    }
}

fn filters(filter: &Filter) -> Markup {
    let with = |outcome| links::runs(&Filter { outcome, ..filter.clone() }, None);
    let by = |origin| links::runs(&Filter { origin, ..filter.clone() }, None);
    let current = |is: bool| is.then_some("true");
    html! {
        div.filters {
            nav.chips aria-label="By outcome" {
                a href=(with(None)) aria-current=[current(filter.outcome.is_none())] { "all" }
                @for outcome in OUTCOMES {
                    @let standing = words::standing(Some(outcome), true);
                    a href=(with(Some(outcome))) aria-current=[current(filter.outcome == Some(outcome))] { (standing.shape()) (standing.word) }
                }
            }
            @if let Some(recipe) = &filter.recipe {
                p { "only " a href=(links::recipe(recipe)) { b { (Outside(recipe)) } } " · " a href=(links::runs(&Filter { recipe: None, ..filter.clone() }, None)) { "every recipe" } }
            } @else {
                form method="get" action="/runs" role="search" {
                    label { span.sr { "Recipe" } input name="recipe" placeholder="Recipe" maxlength="63" autocomplete="off" spellcheck="false"; }
                    @if let Some(outcome) = filter.outcome { input type="hidden" name="outcome" value=(outcome); }
                    @if let Some(origin) = filter.origin { input type="hidden" name="origin" value=(origin); }
                    button type="submit" { "Show" }
                }
            }
            nav.chips aria-label="By who asked" {
                a href=(by(None)) aria-current=[current(filter.origin.is_none())] { "anybody" }
                @for (origin, words) in ORIGINS {
                    a href=(by(Some(origin))) aria-current=[current(filter.origin == Some(origin))] { (words) }
                }
            }
        }
    }
}

fn row(now: Time, run: &Listed) -> Markup {
    let standing = words::standing(run.outcome, run.started_at.is_some());
    let words_of_it = match run.outcome {
        Some(Outcome::Passed) => None,
        Some(_) => run.reason.as_deref(),
        None => run.waits_for.as_deref(),
    };
    html! {
        tr {
            th.n scope="row" { a href=(links::run(run.id)) { (run.id) } }
            td data-label="Verdict" {
                (standing.shown())
                @if let Some(reason) = words_of_it.filter(|reason| !reason.is_empty()) {
                    (words::why(reason))
                }
            }
            td data-label="Of" {
                a.plain href=(links::recipe(&run.recipe)) { b { (name(&run.recipe, run.pr)) } } " "
                span.soft.mono { (run.head.get(..8).unwrap_or_default()) }
                @if !run.title.is_empty() { span.why { (Outside(&run.title)) } }
            }
            td data-label="Asked by" { "@" (Outside(&run.asked_by)) }
            td.n.took data-label="took" {
                @match (run.started_at, run.finished_at) {
                    (Some(started), Some(finished)) => (words::span(finished.since(started))),
                    (Some(started), None) => (words::counting(now, started)),
                    _ => span.soft { "–" },
                }
            }
            td.n.when data-label="When" { (words::when(now, run.finished_at.unwrap_or(run.queued_at))) }
        }
    }
}

fn nothing(runs: &Runs) -> Markup {
    if runs.filter == Filter::default() && runs.before.is_none() {
        return layout::empty(
            "Nothing has been tested yet",
            &html! { "A member writes " code { "!testme" } " on a recipe's pull request, and its run stands here at once. If one was asked for and is not here, " a href="/decisions" { "the decisions" } " say why." },
        );
    }
    layout::empty(
        "No run is like that",
        &html! {
            @if runs.before.is_some() { "There are no older ones. " } @else { "Nothing here is of this kind. " }
            a href=(links::runs(&Filter::default(), None)) { "All runs" }
        },
    )
}

fn pager(runs: &Runs) -> Markup {
    html! {
        @if runs.more || runs.before.is_some() {
            nav.pager aria-label="More runs" {
                @if runs.before.is_some() { a href=(links::runs(&runs.filter, None)) { "Newest" } } @else { span {} }
                @if let (true, Some(last)) = (runs.more, runs.rows.last()) {
                    a href=(links::runs(&runs.filter, Some(last.id))) rel="next" { "Older" }
                }
            }
        }
    }
}
