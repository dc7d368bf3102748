//! Addresses on this site and on the forge, each in the one spelling that pages link to and the cache knows.

use std::fmt::Write as _;

use crate::model::{Pr, Repo, RunId};
use crate::store::runs::Filter;

pub(super) fn run(id: RunId) -> String {
    format!("/runs/{id}")
}

/// The run list with a filter, from below `before`.
pub(super) fn runs(filter: &Filter, before: Option<RunId>) -> String {
    let mut address = String::from("/runs");
    let mut next = '?';
    let mut add = |name: &str, value: &str| {
        let _ = write!(address, "{next}{name}={value}");
        next = '&';
    };
    if let Some(recipe) = &filter.recipe {
        add("recipe", &encode(recipe));
    }
    if let Some(outcome) = filter.outcome {
        add("outcome", outcome.as_str());
    }
    if let Some(origin) = filter.origin {
        add("origin", origin.as_str());
    }
    if let Some(before) = before {
        add("before", &before.to_string());
    }
    address
}

pub(super) fn compare(a: RunId, b: RunId) -> String {
    format!("/compare?a={a}&b={b}")
}

pub(super) fn recipe(name: &str) -> String {
    format!("/recipes/{}", encode(name))
}

pub(super) fn runs_of(recipe: &str) -> String {
    runs(&Filter { recipe: Some(recipe.to_owned()), ..Filter::default() }, None)
}

/// The pull request's page on the forge, where the repository is one of the forge's.
pub(super) fn pull_request(forge: Option<&str>, repo_name: &str, pr: Pr) -> Option<String> {
    let repo: Repo = repo_name.parse().ok()?;
    Some(format!("{}/{repo}/pulls/{pr}", forge?))
}

/// The commit's page on the forge.
pub(super) fn commit(forge: Option<&str>, repo_name: &str, head: &str) -> Option<String> {
    let repo: Repo = repo_name.parse().ok()?;
    Some(format!("{}/{repo}/commit/{head}", forge?))
}

pub(super) fn repository(forge: Option<&str>, repo: &Repo) -> Option<String> {
    Some(format!("{}/{repo}", forge?))
}

/// Percent-encoded, but for what needs none in a query's value or a segment of a path.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    #[test]
    fn a_filter_has_one_address() {
        let filter = Filter { recipe: Some("custom-html".into()), outcome: Some(Outcome::TimedOut), origin: None };
        assert_eq!(runs(&filter, Some(RunId(41))), "/runs?recipe=custom-html&outcome=timed-out&before=41");
        assert_eq!(runs(&Filter::default(), None), "/runs");
        assert_eq!(encode("a b&c/ä"), "a%20b%26c%2F%C3%A4");
    }

    #[test]
    fn only_a_real_repository_is_linked() {
        let forge = Some("https://git.example.org");
        assert_eq!(
            pull_request(forge, "recipes/keycloak", Pr(41)).as_deref(),
            Some("https://git.example.org/recipes/keycloak/pulls/41")
        );
        assert_eq!(pull_request(forge, "/home/me/recipe", Pr(1)), None);
        assert_eq!(pull_request(forge, "x/\"onclick=", Pr(1)), None);
        assert_eq!(pull_request(None, "recipes/keycloak", Pr(41)), None);
    }
}
