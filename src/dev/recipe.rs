//! Makes a real git repository, with annotated tags and a pull request's branch, from a recipe laid out as steps.
//!
//! `history.yaml` lists the steps, oldest first. Each lays its files over those of the step before; a step with a tag, or
//! that says `published`, is on `main`, and the last one, without, is the commit on the branch `change` that a pull request offers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{self, Command};

/// Commits of fixtures are always the same ones: author and times do not move.
const EPOCH: u64 = 1_700_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    files: String,
    title: String,
    #[serde(default)]
    tag: Option<String>,
    /// On `main` without a tag.
    #[serde(default)]
    published: bool,
    /// A lightweight tag, as some recipes have them.
    #[serde(default)]
    lightweight: bool,
    /// Files of the step before that are gone.
    #[serde(default)]
    remove: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("{path}: {source}", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    History(#[from] crate::yaml::YamlError),
    #[error(transparent)]
    Spawn(#[from] sandbox::SpawnError),
    #[error("git {arguments}: {said}")]
    Git { arguments: String, said: String },
}

/// What was made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Made {
    /// Tip of `main`: what is published.
    pub main: String,
    /// Tip of `change`: what the pull request offers. The same as `main` where every step has a tag.
    pub head: String,
}

/// Makes the repository in `out`, which must not exist yet.
pub async fn make(fixture: &Path, out: &Path) -> Result<Made, RecipeError> {
    let history = fixture.join("history.yaml");
    let text =
        std::fs::read_to_string(&history).map_err(|source| RecipeError::File { path: history.clone(), source })?;
    let steps: Vec<Step> = crate::yaml::from_str(&history.display().to_string(), &text)?;
    std::fs::create_dir_all(out).map_err(|source| RecipeError::File { path: out.into(), source })?;
    git(out, 0, &["init", "--quiet", "--initial-branch", "main"]).await?;
    for (at, step) in (0_u64..).zip(&steps) {
        if step.tag.is_none() && !step.published {
            git(out, at, &["checkout", "--quiet", "-b", "change"]).await?;
        }
        for gone in &step.remove {
            let path = out.join(gone);
            std::fs::remove_file(&path).map_err(|source| RecipeError::File { path, source })?;
        }
        lay(&fixture.join(&step.files), out)?;
        git(out, at, &["add", "--all", "--force"]).await?;
        git(out, at, &["commit", "--quiet", "--allow-empty", "--message", &step.title]).await?;
        match &step.tag {
            Some(tag) if step.lightweight => git(out, at, &["tag", tag]).await?,
            Some(tag) => git(out, at, &["tag", "--annotate", tag, "--message", tag]).await?,
            None => String::new(),
        };
    }
    let commit = |text: String| text.trim().to_owned();
    Ok(Made {
        main: commit(git(out, 0, &["rev-parse", "main"]).await?),
        head: commit(git(out, 0, &["rev-parse", "HEAD"]).await?),
    })
}

fn lay(from: &Path, to: &Path) -> Result<(), RecipeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RecipeError::File { path, source }
    };
    std::fs::create_dir_all(to).map_err(failed(to))?;
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&source))?;
        if kind.is_dir() {
            lay(&source, &target)?;
        } else if kind.is_symlink() {
            drop(std::fs::remove_file(&target));
            let link = std::fs::read_link(&source).map_err(failed(&source))?;
            std::os::unix::fs::symlink(link, &target).map_err(failed(&target))?;
        } else {
            std::fs::copy(&source, &target).map_err(failed(&source))?;
        }
    }
    Ok(())
}

async fn git(dir: &Path, step: u64, arguments: &[&str]) -> Result<String, RecipeError> {
    let date = format!("{} +0000", EPOCH + step * 86_400);
    let command = Command::new("git")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"])
        .args(arguments)
        .cwd(dir)
        .env_from_ours(["PATH"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A Maintainer")
        .env("GIT_AUTHOR_EMAIL", "maintainer@example.org")
        .env("GIT_COMMITTER_NAME", "A Maintainer")
        .env("GIT_COMMITTER_EMAIL", "maintainer@example.org")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_DATE", &date)
        .limit(Duration::from_secs(60));
    let output = sandbox::output(&command, &CancellationToken::new(), 1 << 20).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.exit.is_success() {
        Ok(text(&output.stdout))
    } else {
        Err(RecipeError::Git { arguments: arguments.join(" "), said: text(&output.stderr).trim().to_owned() })
    }
}
