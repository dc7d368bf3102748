//! Which repositories were seen on the forge, which of them are tested, and why the others are not.

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::{Outside, Said};
use super::{Site, answer::Wrong, links, words};
use crate::clock::Time;
use crate::store::repositories::{self, Repository};

pub(super) struct Repositories {
    pub now: Time,
    pub forge: Option<String>,
    pub organisation: String,
    pub all: Vec<Repository>,
}

pub(super) async fn load(site: &Site) -> Result<Repositories, Wrong> {
    let all = site.store.read(repositories::all).await?;
    Ok(Repositories { now: site.now(), forge: site.forge.clone(), organisation: site.organisation.clone(), all })
}

pub(super) fn view(repositories: &Repositories) -> Markup {
    let (tested, seen): (Vec<_>, Vec<_>) = repositories.all.iter().partition(|repository| repository.enrolled);
    let body = html! {
        h1 { "Repositories" }
        @if repositories.all.is_empty() {
            (layout::empty("No repository has been seen yet", &html! {
                "The first look at " b { (Outside(&repositories.organisation)) } " on the forge is still to come."
            }))
        }
        @if !seen.is_empty() {
            h2 { "Seen but not enrolled" }
            table.cards {
                thead { tr { th scope="col" { "Repository" } th scope="col" { "Why it is not tested" } } }
                tbody { @for repository in seen { tr {
                    th scope="row" { (title(repositories, repository)) }
                    td data-label="Why" { (Said(&repository.why)) }
                } } }
            }
        }
        @if !tested.is_empty() {
            h2 { "Tested" }
            table.cards {
                thead { tr {
                    th scope="col" { "Repository" } th scope="col" { "Enrolled by" } th.n scope="col" { "Last look" }
                } }
                tbody { @for repository in tested { tr {
                    th scope="row" { (title(repositories, repository)) }
                    td data-label="Enrolled by" {
                        (Said(&repository.why))
                        @if let Some(error) = &repository.last_error {
                            span.why { (words::Standing { class: "infra", word: "" }.shape()) (Outside(error)) }
                        }
                    }
                    td.n data-label="Last look" {
                        @match repository.last_look_at {
                            Some(at) => (words::when(repositories.now, at)),
                            None => span.soft { "not yet" },
                        }
                    }
                } } }
            }
        }
    };
    layout::page(&Shell { title: "Repositories", tab: Some(Tab::Overview), refresh: None }, &body)
}

fn title(repositories: &Repositories, repository: &Repository) -> Markup {
    match links::repository(repositories.forge.as_deref(), &repository.repo) {
        Some(page) => html! { a href=(page) rel="noreferrer" { (repository.repo.name) } },
        None => html! { (repository.repo.name) },
    }
}
