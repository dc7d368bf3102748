//! Recipes that have to run beside one. A test puts them up first, so what they are is a grant: the base branch and the appliance
//! name them, the head does not, and a name is only ever that of a repository of the same organisation.

use std::collections::BTreeMap;

use super::file::NeedFile;
use crate::model::{AppDomain, RecipeName};

/// More of them no test puts up.
pub(super) const MOST: usize = 3;
/// Where the needed app's domain goes.
const DOMAIN: &str = "{domain}";

/// A recipe that has to run beside another, and what that one is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub recipe: RecipeName,
    env: BTreeMap<String, String>,
    /// Secrets of the app, and which of the needed app's secrets each is.
    secrets: BTreeMap<String, String>,
}

impl NeedFile {
    pub(super) fn recipe(&self) -> &RecipeName {
        match self {
            NeedFile::Name(name) => &name.0,
            NeedFile::Wired(wired) => &wired.recipe.0,
        }
    }

    pub(super) fn env(&self) -> impl Iterator<Item = (&String, &String)> {
        let NeedFile::Wired(wired) = self else { return None.into_iter().flatten() };
        Some(&wired.env).into_iter().flatten()
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = (&String, &String)> {
        let NeedFile::Wired(wired) = self else { return None.into_iter().flatten() };
        Some(&wired.secrets).into_iter().flatten()
    }
}

impl Need {
    /// Variables of the app's `.env`, once it is known where the needed app lives.
    pub fn wired(&self, domain: &AppDomain) -> impl Iterator<Item = (String, String)> {
        self.env.iter().map(move |(name, value)| (name.clone(), value.replace(DOMAIN, domain.as_str())))
    }

    /// Which of the needed app's secrets this secret of the app is.
    pub fn lends(&self, secret: &str) -> Option<&str> {
        self.secrets.get(secret).map(String::as_str)
    }
}

/// What both sides say, in the order in which they are put up; where both name the same recipe, the later one wins.
pub(super) fn merged<'a>(said: impl Iterator<Item = &'a NeedFile>) -> Vec<Need> {
    let mut all: Vec<Need> = Vec::new();
    for file in said {
        let own = |pairs: &mut dyn Iterator<Item = (&'a String, &'a String)>| -> BTreeMap<String, String> {
            pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let (env, secrets) = (own(&mut file.env()), own(&mut file.secrets()));
        match all.iter_mut().find(|known| known.recipe == *file.recipe()) {
            Some(known) => {
                known.env.extend(env);
                known.secrets.extend(secrets);
            }
            None => all.push(Need { recipe: file.recipe().clone(), env, secrets }),
        }
    }
    all
}

/// Why a recipe's needs cannot be met whatever they are.
pub fn refusal(recipe: &RecipeName, needs: &[Need]) -> Option<String> {
    if needs.iter().any(|need| need.recipe == *recipe) {
        return Some(format!("`{recipe}` needs itself"));
    }
    (needs.len() > MOST).then(|| format!("it needs {} recipes beside it; {MOST} are the most", needs.len()))
}

/// Why a recipe cannot be put up beside another: it has needs of its own.
pub fn in_turn(recipe: &RecipeName, needed: &RecipeName, own: &[Need]) -> Option<String> {
    if own.iter().any(|need| need.recipe == *recipe) {
        return Some(format!("`{recipe}` needs `{needed}`, and `{needed}` needs `{recipe}`: each waits for the other"));
    }
    let first = own.first()?;
    let (more, which) = (own.len() - 1, &first.recipe);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("`{needed}` needs `{which}`{more} in turn, and what is put up beside a recipe is put up alone"))
}
