//! `cc-ci lint PATH`: what can be said of a recipe without deploying it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Done, Failure};
use crate::recipe;

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The recipe's directory.
    #[arg(default_value = ".")]
    path: PathBuf,
    #[arg(long)]
    json: bool,
}

/// Exit code 1 when an error was found; warnings are only said.
pub(super) fn lint(asked: &Lint) -> Done {
    if !asked.path.is_dir() {
        return Err(Failure::usage(anyhow::anyhow!("{} is no directory", asked.path.display())));
    }
    let findings = recipe::lint(&asked.path);
    if asked.json {
        crate::say!("{:#}", serde_json::json!(findings));
    } else {
        for finding in &findings {
            crate::say!("{finding}");
        }
        let errors = findings.iter().filter(|finding| finding.is_error()).count();
        crate::say!("{errors} errors, {} warnings", findings.len() - errors);
    }
    let failed = findings.iter().any(recipe::Finding::is_error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
