//! What this is, what may be asked of it, and what the words and shapes mean.

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::{Outside, Said};
use super::words::{self, Standing};
use super::{Site, assets};
use crate::intake::command;
use crate::model::Outcome;

pub(super) struct About<'a> {
    pub organisation: &'a str,
    pub address: &'a str,
}

impl<'a> About<'a> {
    pub(super) fn of(site: &'a Site) -> About<'a> {
        About { organisation: &site.organisation, address: &site.address }
    }
}

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Passed, "Every stage that applies went well."),
    (Outcome::Failed, "The recipe is at fault; the first line of the run says where."),
    (Outcome::TimedOut, "The run, a stage or a silence took too long; the reason says which."),
    (
        Outcome::Infra,
        "The machine, the registry, the network or the forge is at fault, not the recipe. It is tried again by itself.",
    ),
    (Outcome::Cancelled, "Somebody ended it, or a newer request took its place."),
];

const LEVELS: [(i64, &str); 6] = [
    (1, "installs"),
    (2, "upgrades from what is published"),
    (3, "backs up and restores"),
    (4, "passes its own checks"),
    (5, "lint-clean, with health checks and pinned images"),
    (6, "all of that over the last five runs"),
];

/// The commands and what they do, from the table that `!testme help` answers with.
fn commands(help: &str) -> impl Iterator<Item = (&str, &str)> {
    help.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
}

pub(super) fn view(about: &About) -> Markup {
    let body = html! {
        div.prose {
            h1 { "About" }
            p.lead {
                "cc-ci deploys pull requests of Co-op Cloud recipes for real, on a Docker Swarm of its own, proves that they install, and answers on the pull request."
            }
            h2 { "How to ask" }
            p { "A member of " b { (Outside(about.organisation)) } " writes a comment on a recipe's pull request. The command stands at the start of a line." }
            dl { @for (command, what) in commands(&command::help()) { dt { code { (command) } } dd { (Said(what)) } } }
            p { "The commit that the pull request has at that moment is tested; after a push, ask again. What became of a request stands under " a href="/decisions" { "decisions" } "." }
            h2 { "What the verdicts mean" }
            dl { @for (outcome, what) in OUTCOMES { dt { (words::standing(Some(outcome), true).shown()) } dd { (what) } } }
            h3 { "Until then" }
            dl {
                dt { (Standing { class: "running", word: "running" }.shown()) } dd { "It is being tested now." }
                dt { (Standing { class: "waiting", word: "waiting" }.shown()) } dd { "Its turn is still to come; the " a href="/queue" { "queue" } " says for what it waits." }
            }
            h2 { "What the levels mean" }
            p { "The highest with all below it earned." }
            dl { @for (level, what) in LEVELS { dt { (words::level(Some(level), None)) } dd { (what) } } }
            h2 { "Badges" }
            p { "For a recipe's README:" }
            pre.code tabindex="0" { "[![cc-ci](" (Outside(about.address)) "/badge/RECIPE.svg)](" (Outside(about.address)) "/recipes/RECIPE)" }
            p.soft { "This is cc-ci " (env!("CARGO_PKG_VERSION")) ", free software under the AGPL. Pages work without their script, which is " a href=(assets::names().script) { "short" } "." }
        }
    };
    layout::page(&Shell { title: "About", tab: Some(Tab::About), refresh: None }, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_explained() {
        let help = command::help();
        let explained: Vec<&str> = commands(&help).map(|(command, _)| command).collect();
        assert!(explained.contains(&"!testme") && explained.contains(&"!testme cancel"), "{explained:?}");
        assert_eq!(explained.len(), help.matches("| `!testme").count());
    }
}
