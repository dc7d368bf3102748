//! Names of what a run makes. No two runs share one: domain and stack carry the run and its attempt. Swarm takes 64 characters
//! and no more, so what would be longer is refused before anything is there.

use sha2::{Digest, Sha256};

use crate::model::{AppDomain, NotA, RecipeName, StackName};
use crate::store::runs::Run;

/// abra cuts a stack's name here, and then looks for its secrets under another name.
pub const LONGEST_STACK: usize = 45;
/// Swarm's limit for configs and secrets.
pub const LONGEST_OBJECT: usize = 64;
/// Swarm's limit for services: a DNS label.
pub const LONGEST_SERVICE: usize = 63;

/// Why there can be no such name.
#[derive(Debug, thiserror::Error)]
pub enum BadName {
    #[error("no app can live under `{base}`: {source}")]
    Domain { base: String, source: NotA },
    #[error(
        "the stack would be called {stack}, {} characters, and abra cuts stack names at {LONGEST_STACK}; `domain` in the configuration has to be shorter",
        stack.as_str().len()
    )]
    Stack { stack: StackName },
}

/// `<recipe[:4]>-<6 hex of recipe, PR, head, run and attempt>.<base>`.
pub fn domain(recipe: &RecipeName, run: &Run, instance: &str, base: &str) -> Result<AppDomain, BadName> {
    let mut hash = Sha256::new();
    let pr = run.pr.map_or(0, |pr| pr.0);
    hash.update(format!("{instance}\0{recipe}\0{pr}\0{}\0{}\0{}", run.head, run.id, run.attempt));
    let hex = hex::encode(&hash.finalize()[..3]);
    let start: String = recipe.as_str().chars().take(4).collect();
    let domain: AppDomain = format!("{}-{hex}.{base}", start.trim_end_matches('-'))
        .parse()
        .map_err(|source| BadName::Domain { base: base.to_owned(), source })?;
    let stack = domain.stack();
    if stack.as_str().len() > LONGEST_STACK { Err(BadName::Stack { stack }) } else { Ok(domain) }
}

/// What kind of thing has a name that Swarm would refuse, and how long it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    pub kind: &'static str,
    pub name: String,
    pub most: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, name, most) = (self.kind, &self.name, self.most);
        write!(f, "the {kind} would be called {name}: {} characters, and Swarm allows {most}; shorten it", name.len())
    }
}

/// The names that are too long, of their kind.
pub fn too_long<'a>(kind: &'static str, names: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<TooLong> {
    let long = names.into_iter().filter(|name| name.len() > most);
    long.map(|name| TooLong { kind, name: name.to_owned(), most }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::model::{Asked, Origin, Pr, RunId};

    fn a_run(id: i64, attempt: i64) -> Run {
        Run {
            id: RunId(id),
            origin: Origin::Local,
            repository: None,
            repo_name: "x".into(),
            recipe: "x".into(),
            pr: Some(Pr(1)),
            head: "3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1".parse().unwrap(),
            base_branch: None,
            title: String::new(),
            comment: None,
            asked_by: "member".into(),
            asked: Asked::All,
            attempt,
            retry_of: None,
            superseded_by: None,
            queued_at: Time(0),
            started_at: None,
            finished_at: None,
            outcome: None,
            reason: None,
            version: None,
            domain: None,
            base: None,
            level: None,
            level_reason: None,
            cancel_at: None,
            cancel_by: None,
            waits_for: None,
            unredactable: None,
        }
    }

    #[test]
    fn each_run_and_each_attempt_has_a_domain_of_its_own() {
        let recipe: RecipeName = "custom-html".parse().unwrap();
        let name = |id, attempt| domain(&recipe, &a_run(id, attempt), "house", "ci.test").unwrap().to_string();
        assert!(name(1, 1).starts_with("cust-") && name(1, 1).ends_with(".ci.test"));
        assert_eq!(name(1, 1).len(), "cust-9ad31f.ci.test".len());
        assert_eq!(name(1, 1), name(1, 1));
        assert_ne!(name(1, 1), name(2, 1));
        assert_ne!(name(1, 1), name(1, 2));
    }

    #[test]
    fn names_that_cannot_be_are_refused_early() {
        let recipe: RecipeName = "x".parse().unwrap();
        let long = "a-very-long-name-of-a-host.ci.example.org";
        let error = domain(&recipe, &a_run(1, 1), "house", long).unwrap_err().to_string();
        assert!(error.contains("45"), "{error}");
        let name = "x".repeat(65);
        let found = too_long("secret", [name.as_str(), "short"], LONGEST_OBJECT);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains("65 characters, and Swarm allows 64"));
    }
}
