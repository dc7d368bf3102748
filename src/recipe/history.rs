//! What only the history of a recipe tells: how its versions are tagged, and whether a config changed since the last of them
//! though its name did not. A directory without a repository of its own has no history, which is no fault.

use std::path::Path;

use super::lint::{self, Finding, Severity};
use super::{Recipe, Said};
use crate::compose::abra_sh;
use crate::git::{self, GitError};

/// An `abra.sh` longer than this is not compared.
const MOST: usize = 256 << 10;

/// Findings of lint that take git.
pub(super) async fn findings(recipe: &Recipe, said: Option<&Said>) -> Result<Vec<Finding>, GitError> {
    let dir = &recipe.dir;
    if !dir.join(".git").exists() {
        return Ok(Vec::new());
    }
    let tags = git::tags(dir).await?;
    let mut found: Vec<Finding> = Vec::new();
    let lightweight: Vec<&str> = tags.iter().filter(|tag| !tag.annotated).map(|tag| tag.name.as_str()).collect();
    if let Some((first, rest)) = lightweight.split_first() {
        found.push(lightweight_tags(first, rest.len()));
    }
    if tags.len() == lightweight.len() {
        found.push(no_release());
        return Ok(found);
    }
    if let (Some(said), Some(release)) = (said, git::release_before(dir).await?) {
        found.append(&mut changed_configs(dir, &release, recipe, said).await?);
    }
    Ok(found)
}

fn lightweight_tags(first: &str, more: usize) -> Finding {
    let finding = lint::lightweight_tag(first);
    match more {
        0 => finding,
        more => Finding { message: format!("{}, and so are {more} more", finding.message), ..finding },
    }
}

fn no_release() -> Finding {
    Finding {
        rule: "no-release",
        severity: Severity::Note,
        file: ".git".into(),
        line: 0,
        column: 0,
        message: "there is no annotated tag, so nothing is published that could be upgraded from".into(),
        cure: "tag a version with `git tag -a 1.0.0+<app version>`".into(),
    }
}

/// Configs whose file is another than in the last release, while the variable in their name has the same value.
async fn changed_configs(dir: &Path, release: &str, recipe: &Recipe, said: &Said) -> Result<Vec<Finding>, GitError> {
    let configs = said.compose.configs();
    let files: Vec<_> = configs.iter().filter_map(|config| Some((config, config.file()?))).collect();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let changed = git::changed_since(dir, release).await?;
    let is_changed = |file: &str| changed.iter().any(|name| name == file.trim_start_matches("./"));
    if !files.iter().any(|(_, file)| is_changed(file)) {
        return Ok(Vec::new());
    }
    let before = git::file_at(dir, &format!("refs/tags/{release}"), "abra.sh", MOST).await?.unwrap_or_default();
    let before = abra_sh::exports(&before);
    let mut found = Vec::new();
    for (config, file) in files.into_iter().filter(|(_, file)| is_changed(file)) {
        let Some(variable) = said.compose.version_variable(config) else { continue };
        let value = |exports: &abra_sh::AbraSh| exports.get(variable).map(|export| export.value.clone());
        if let (Some(old), Some(new)) = (value(&before), value(&recipe.abra_sh))
            && old == new
        {
            let place = said.compose.place(config.span);
            found.push(Finding {
                rule: "config-version",
                severity: Severity::Warning,
                file: place.file,
                line: place.line,
                column: place.column,
                message: format!("`{file}` is not what {release} has, but `{variable}` is still {old}"),
                cure: format!("raise `{variable}` in abra.sh; Swarm cannot change a config"),
            });
        }
    }
    Ok(found)
}
