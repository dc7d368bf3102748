//! `cc-ci lint PATH…`: what can be said of a recipe without deploying it. `docs/lint.md` has every rule.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use super::{Done, Failure};
use crate::recipe::lint::{Finding, Severity, lint_with_history};

/// Recipes that are read at a time.
const AT_A_TIME: usize = 8;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 no error was found, whatever the warnings; 1 one was; 2 a path is no directory.")]
pub(crate) struct Lint {
    /// Directories of recipes.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// A list of findings, for programs.
    #[arg(long)]
    json: bool,
}

/// A finding, and whose it is.
#[derive(Debug, Serialize)]
struct Row<'a> {
    recipe: &'a Path,
    #[serde(flatten)]
    finding: Finding,
}

/// Exit code 0 when no error was found, whatever the warnings; 1 when one was; 2 for what is no directory.
pub(super) async fn lint(asked: Lint) -> Done {
    if let Some(path) = asked.paths.iter().find(|path| !path.is_dir()) {
        return Err(Failure::usage(anyhow::anyhow!("{} is no directory", path.display())));
    }
    let all = stream::iter(&asked.paths).map(|path| async move { (path, lint_with_history(path).await) });
    let all: Vec<_> = all.buffered(AT_A_TIME).collect().await;
    let mut rows: Vec<Row> = Vec::new();
    for (recipe, found) in all {
        let found =
            found.map_err(|error| Failure::infra(anyhow::Error::new(error).context(recipe.display().to_string())))?;
        rows.extend(found.into_iter().map(|finding| Row { recipe, finding }));
    }
    if asked.json {
        crate::say!("{:#}", serde_json::json!(rows));
    } else {
        table(&rows, asked.paths.len() > 1);
    }
    let failed = rows.iter().any(|row| row.finding.is_error());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line a finding, its cure below where there is one; then how many there are of each kind.
fn table(rows: &[Row], several: bool) {
    let place = |row: &Row| {
        let Finding { file, line, column, .. } = &row.finding;
        let file = if several { row.recipe.join(file).display().to_string() } else { file.clone() };
        if *line == 0 { file } else { format!("{file}:{line}:{column}") }
    };
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (places, rules) = (width(&|row| place(row).len()), width(&|row| row.finding.rule.len()));
    for row in rows {
        let Finding { rule, severity, message, cure, .. } = &row.finding;
        crate::say!("{:7}  {:places$}  {rule:rules$}  {message}", word(*severity), place(row));
        if !cure.is_empty() {
            crate::say!("{:7}  {:places$}  {:rules$}  → {cure}", "", "", "");
        }
    }
    let count = |severity| rows.iter().filter(|row| row.finding.severity == severity).count();
    let said = |number, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    crate::say!(
        "{}, {}, {}",
        said(count(Severity::Error), "error", "errors"),
        said(count(Severity::Warning), "warning", "warnings"),
        said(count(Severity::Note), "note", "notes")
    );
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}
