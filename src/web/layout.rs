//! What every page stands in: head, navigation, foot; and the pages that say what went wrong.

use maud::{DOCTYPE, Markup, html};

use super::answer::Wrong;
use super::assets;
use super::outside::Outside;
use super::words;

/// The entries of the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Runs,
    Queue,
    Decisions,
    About,
}

const TABS: [(Tab, &str, &str); 5] = [
    (Tab::Overview, "/", "Overview"),
    (Tab::Runs, "/runs", "Runs"),
    (Tab::Queue, "/queue", "Queue"),
    (Tab::Decisions, "/decisions", "Decisions"),
    (Tab::About, "/about", "About"),
];

pub(super) struct Shell<'a> {
    pub title: &'a str,
    pub tab: Option<Tab>,
    /// Seconds after which the page shows what is new: the script puts it in, without one the page loads itself again.
    pub refresh: Option<u32>,
}

impl Shell<'_> {
    /// Whether what it shows is runs, whose changes are told.
    fn follows(&self) -> bool {
        self.refresh.is_some() && matches!(self.tab, Some(Tab::Overview | Tab::Runs | Tab::Queue))
    }
}

pub(super) fn page(shell: &Shell, body: &Markup) -> Markup {
    let assets = assets::names();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (Outside(shell.title)) " · cc-ci" }
                link rel="stylesheet" href=(assets.style);
                link rel="icon" type="image/svg+xml" href=(assets.icon);
                script src=(assets.script) defer {}
                @if let Some(seconds) = shell.refresh {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
            }
            body {
                a.skip href="#main" { "To the content" }
                header {
                    a.home href="/" aria-label="cc-ci, to the overview" {
                        span.steps.l3 aria-hidden="true" { i {} i {} i {} }
                        "cc-ci"
                    }
                    nav aria-label="Pages" {
                        @for (tab, address, name) in TABS {
                            a href=(address) aria-current=[(shell.tab == Some(tab)).then_some("page")] { (name) }
                        }
                    }
                }
                main #main tabindex="-1" data-again=[shell.refresh] data-events=[shell.follows().then_some("/events")] { (body) }
                footer {
                    p { "cc-ci " (env!("CARGO_PKG_VERSION")) " · all times are UTC · " a href="/ready" { "state" } " · " a href="/hosts" { "hosts" } " · " a href="/search" { "search in failures" } " · " a href="/feed.atom" { "feed" } " · " a href="/style" { "style" } }
                }
            }
        }
    }
}

/// A page that has nothing to show says what would be here and how it comes.
pub(super) fn empty(title: &str, words: &Markup) -> Markup {
    html! {
        div.empty {
            span.steps aria-hidden="true" { i {} i {} i {} i {} i {} i {} }
            h2 { (title) }
            p { (words) }
        }
    }
}

pub(super) fn wrong(wrong: &Wrong) -> Markup {
    let (title, words) = match wrong {
        Wrong::Parameter { name, what } => (
            "That address asks for something odd",
            html! { "The parameter " code { (name) } " " (Outside(what)) ". " a href="/runs" { "All runs" } " are a good place to start over." },
        ),
        Wrong::Address => (
            "That address cannot be read",
            html! { "What its percent signs stand for is not text. The " a href="/" { "overview" } " leads everywhere." },
        ),
        Wrong::NoRun { asked, newest } => (
            "There is no such run",
            html! {
                @if *newest == 0 { "Nothing has been tested here yet. " }
                @else { "Run " (Outside(asked)) " is not known; the newest is " a href={ "/runs/" (newest) } { "run " (newest) } ". " }
                a href="/runs" { "All runs" }
            },
        ),
        Wrong::NoRecipe { asked } => (
            "There is no such recipe",
            html! { "Nothing called " b { (Outside(asked)) } " was tested or seen on the forge. " a href="/" { "All recipes" } },
        ),
        Wrong::NoPage => (
            "There is no page here",
            html! { "The " a href="/" { "overview" } " leads to every recipe and " a href="/runs" { "runs" } " to every test." },
        ),
        Wrong::Method => (
            "Only reading is possible here",
            html! { "Tests are asked for on the pull request, with " code { "!testme" } ". " a href="/about" { "How that works" } },
        ),
        Wrong::TooMany { most } => (
            "Too many live views",
            html! {
                "One reader may follow " (words::count(i64::try_from(*most).unwrap_or(i64::MAX), "run", "runs"))
                " at a time. Close another page that follows a run and load this one again."
            },
        ),
        Wrong::Store(_) | Wrong::Log(_) => (
            "This page could not be made",
            html! { "The fault is on this side and was noted for the operator. Load it again in a moment; " a href="/ready" { "the state page" } " says what is wrong meanwhile." },
        ),
    };
    let body = html! { div.wrong { h1 { (title) } p.lead { (words) } } };
    page(&Shell { title, tab: None, refresh: None }, &body)
}
