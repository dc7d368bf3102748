//! Whether this machine is ready to test recipes, and where it is not, what to do: the end of every installation.
//!
//! It only looks: nothing is made, migrated or mended. What a row saw may be shown to anybody; a secret is named by its file.

mod forge;
mod house;
mod machine;

use std::path::Path;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::engine::causes;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// Requests are answered, though not everything is as it should be.
    Warn,
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub check: &'static str,
    pub state: State,
    pub saw: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Row {
    fn ok(check: &'static str, saw: impl Into<String>) -> Row {
        Row { check, state: State::Ok, saw: saw.into(), cure: None }
    }

    fn warn(check: &'static str, saw: impl Into<String>, cure: impl Into<String>) -> Row {
        Row { check, state: State::Warn, saw: saw.into(), cure: Some(cure.into()) }
    }

    fn failed(check: &'static str, saw: impl Into<String>, cure: impl Into<String>) -> Row {
        Row { check, state: State::Failed, saw: saw.into(), cure: Some(cure.into()) }
    }

    /// Errors say what is wrong, then, after a semicolon, what to do.
    fn of(check: &'static str, error: &dyn std::error::Error) -> Row {
        let said = causes(error);
        match said.split_once("; ") {
            Some((saw, cure)) => Row::failed(check, saw, cure),
            None => Row::failed(check, said, "see the journal: `journalctl -u 'cc-ci-*'`"),
        }
    }
}

/// Looks at everything that `file` configures. One row at least.
pub async fn examine(file: &Path, clock: &Clock) -> Vec<Row> {
    let config = match config::load_without_secrets(file) {
        Ok(config) => config,
        Err(error) => {
            let cure = "name the configuration with --config FILE, or mend it: `cc-ci check-config FILE`";
            return vec![Row::failed("configuration", causes(&error), cure)];
        }
    };
    let said = format!("{}: apps under *.{}, recipes on {}", file.display(), config.domain, config.forge.url);
    let mut rows = vec![Row::ok("configuration", said), secrets(file)];
    let (house, forge, machine) =
        tokio::join!(house::examine(&config, clock), forge::examine(&config, clock), machine::examine(&config, clock));
    let known = house.tools;
    rows.extend(house.rows.into_iter().chain(forge).chain(machine));
    rows.extend(tools(&config, known).await);
    rows
}

fn secrets(file: &Path) -> Row {
    match config::load(file) {
        Ok(_) => Row::ok("secrets", "each file is there, and closed to others"),
        Err(error) => {
            let said = causes(&error);
            let cure = "put it in with `cc-ci secrets set NAME` and switch, or run this as root";
            let (saw, cure) = said.split_once("; ").unwrap_or((&said, cure));
            Row::failed("secrets", saw, cure)
        }
    }
}

/// The programs that runs need, as the runner found them; where none was heard, as this process does.
async fn tools(config: &Config, known: Option<Vec<crate::engine::tools::Tool>>) -> Vec<Row> {
    let mut rows = vec![machine::abra(config).await];
    let (tools, whose) = match known {
        Some(tools) => (tools, "as the runner found it"),
        None => (crate::engine::tools::look(), "on this shell's PATH, for want of a runner"),
    };
    for tool in tools {
        let check = tool.name.as_str();
        rows.push(match (tool.missing, tool.place) {
            (None, place) => Row::ok(check, format!("{place}, {whose}")),
            (Some(what), _) => {
                let (saw, cure) = what.split_once("; ").unwrap_or((&what, "install it"));
                let saw = format!("{saw}, {whose}");
                if tool.name.is_needed() { Row::failed(check, saw, cure) } else { Row::warn(check, saw, cure) }
            }
        });
    }
    rows
}
