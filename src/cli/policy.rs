//! `cc-ci policy PATH`: whether a recipe asks for anything that a pull request may not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Done, Failure};
use crate::compose::policy::Bounds;
use crate::config;
use crate::model::AppDomain;
use crate::recipe::lint::of_error;
use crate::recipe::policy::{Unreadable, examine};

/// Under what name the recipe is read; the answer is the same for any.
const EXAMPLE: &str = "policy.example.com";

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 it is allowed; 1 it is refused; 2 there is nothing that could be read.")]
pub(crate) struct Policy {
    /// The recipe's directory.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The verdict as one JSON object.
    #[arg(long)]
    json: bool,
    /// An appliance's configuration, for the registries and bounds that it allows.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Exit code 0: allowed; 1: refused; 2: there is nothing that could be read.
pub(super) fn policy(asked: &Policy) -> Done {
    let bounds = match &asked.config {
        Some(file) => config::load_without_secrets(file).map_err(Failure::usage)?.bounds(),
        None => Bounds::default(),
    };
    let domain: AppDomain = EXAMPLE.parse().map_err(Failure::usage)?;
    let verdict = match examine(&asked.path, &domain, &BTreeMap::new(), &bounds, &[]) {
        Ok(verdict) => verdict,
        Err(unreadable) => {
            let (said, file, line) = match &unreadable {
                Unreadable::Recipe(error) => {
                    let finding = of_error(error);
                    (finding.to_string(), finding.file, finding.line)
                }
                Unreadable::Directory { .. } => (unreadable.to_string(), String::new(), 0),
            };
            if asked.json {
                let finding = json!({"rule": "unreadable", "file": file, "line": line, "message": said});
                crate::say!("{:#}", json!({"allowed": false, "findings": [finding]}));
            }
            return Err(Failure::usage(anyhow::anyhow!(said)));
        }
    };
    if asked.json {
        crate::say!("{:#}", json!({"allowed": verdict.is_allowed(), "findings": verdict.findings}));
    } else {
        for finding in &verdict.findings {
            crate::say!("{}: {} ({})", finding.place(), finding.message, finding.rule);
        }
        crate::say!("{}", if verdict.is_allowed() { "allowed" } else { "refused" });
    }
    Ok(if verdict.is_allowed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
