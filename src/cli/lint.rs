//! `cc-ci lint PATH`: what can be said of a recipe without deploying it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Done;
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
    let findings = recipe::lint(&asked.path);
    if asked.json {
        println!("{:#}", serde_json::json!(findings));
    } else {
        for finding in &findings {
            println!("{finding}");
        }
        let errors = findings.iter().filter(|finding| finding.is_error()).count();
        println!("{errors} errors, {} warnings", findings.len() - errors);
    }
    let failed = findings.iter().any(recipe::Finding::is_error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
