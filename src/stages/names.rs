//! Names of what a run makes. No two runs share one: domain and stack carry the run and its attempt. What would be
//! too long is refused before anything is there: here the stack's name, in [`crate::recipe::Said::check_names`] all that begin
//! with it.

use sha2::{Digest, Sha256};

use crate::model::{AppDomain, NotA, RecipeName, StackName};
use crate::recipe::LONGEST_STACK;
use crate::store::runs::Run;

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
            upgrade_from: None,
            plan: None,
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
            not_before: None,
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
    }
}
