//! A recipe's directory before the policy: read as it is going to be deployed, then held against every rule.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Recipe, RecipeError, Said, open};
use crate::compose::env_file::EnvFile;
use crate::compose::inside::NotRead;
use crate::compose::policy::{self, Asked, Beside, Bounds, Exception, Finding, Verdict, reading};
use crate::model::AppDomain;

/// Why there is no verdict: nothing can be deployed from it either.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Recipe(RecipeError),
}

/// What the policy says of the recipe in `dir`, were it deployed under `domain` with variables that are `declared` for it.
/// Without a `.env.sample` its `compose.yml` is judged alone.
pub fn examine(
    dir: &Path,
    domain: &AppDomain,
    declared: &BTreeMap<String, String>,
    bounds: &Bounds,
    exceptions: &[Exception],
) -> Result<Verdict, Unreadable> {
    let found = tree(dir)?;
    let recipe = match open(dir) {
        Err(RecipeError::Sample(NotRead::Missing(_)) | RecipeError::NoType) => as_it_lies(dir),
        other => other,
    };
    let recipe = match recipe {
        Ok(recipe) => recipe,
        // Said already: it is a link that leads out.
        Err(_) if !found.is_empty() => return Ok(Verdict::of(found, exceptions)),
        Err(error) => return Err(Unreadable::Recipe(error)),
    };
    let env = as_deployed(&recipe.env_for(domain), domain, declared);
    match recipe.say_unchecked(&env, domain.as_str()) {
        Ok(said) => Ok(Verdict::of([found, judge(&recipe, &said, domain, bounds)].concat(), exceptions)),
        Err(error) => refused([found, beside(&recipe)].concat(), error, exceptions),
    }
}

/// What the policy refuses of a recipe that was read as `said`.
pub fn judge(recipe: &Recipe, said: &Said, domain: &AppDomain, bounds: &Bounds) -> Vec<Finding> {
    let asked =
        Asked { compose: &said.compose, sample: &recipe.sample, stack: &said.stack, domain: domain.as_str(), bounds };
    [beside(recipe), policy::judge(&asked)].concat()
}

fn beside(recipe: &Recipe) -> Vec<Finding> {
    policy::judge_beside(&Beside { sample: &recipe.sample, abra_sh: &recipe.abra_sh })
}

/// What is wrong with the directory itself.
pub fn tree(dir: &Path) -> Result<Vec<Finding>, Unreadable> {
    policy::tree(dir).map_err(|source| Unreadable::Directory { path: dir.to_owned(), source })
}

/// The app's variables as a deploy sets them, whatever the sample says.
pub fn as_deployed(env: &EnvFile, domain: &AppDomain, declared: &BTreeMap<String, String>) -> EnvFile {
    let mut env = env.clone();
    for (name, value) in declared {
        env.set(name, value);
    }
    env.set("DOMAIN", domain.as_str());
    env.set("LETS_ENCRYPT_ENV", "");
    // The stack's name is abra's rule of the domain; another would lead teardown and checks astray.
    env.remove("STACK_NAME");
    env
}

/// What cannot be read is refused when it is a trick, and otherwise has no verdict.
fn refused(mut found: Vec<Finding>, error: RecipeError, exceptions: &[Exception]) -> Result<Verdict, Unreadable> {
    if let (RecipeError::Compose(error), true) = (&error, found.is_empty()) {
        found.extend(reading::finding(error));
    }
    // What an exception lets through still cannot be read.
    let verdict = Verdict::of(found, exceptions);
    if verdict.is_allowed() { Err(Unreadable::Recipe(error)) } else { Ok(verdict) }
}

/// Compose files that are no recipe yet: without a sample, or with one that names no recipe.
fn as_it_lies(dir: &Path) -> Result<Recipe, RecipeError> {
    let sample = match super::sample(dir) {
        Err(RecipeError::Sample(NotRead::Missing(_))) => EnvFile::default(),
        sample => sample?,
    };
    super::nameless(dir, sample)
}
