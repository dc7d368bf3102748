//! `cc-ci validate PATH`: whether what is said about a recipe's test can be read, and everything that is wrong with it, the
//! scripts' jobs included. Deploys nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Done, Failure};
use crate::knowledge::{self, Directory, Need};
use crate::recipe::{self, Finding, Severity};
use crate::script::{Host, Kit, Limits, NotDefined, Script, Side};
use crate::secrets::redact::Redactor;
use crate::yaml::Span;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 something is; 2 there is nothing to read; 3 the scripts could not be loaded here."
)]
pub(crate) struct Validate {
    /// A recipe's directory (its `.cc-ci` is read), or one of the appliance's about a recipe (`recipes/<recipe>`), or a
    /// `recipe.yaml`; any number of them.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// As data: a list of findings.
    #[arg(long)]
    json: bool,
    /// Prints the JSON Schema of the file, for editors.
    #[arg(long, exclusive = true)]
    schema: bool,
}

/// Exit code 1 when something is wrong, 3 when the scripts could not be loaded here and so nobody can say.
pub(super) async fn validate(asked: Validate) -> Done {
    if asked.schema {
        crate::say!("{}", knowledge::schema().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let (mut all, mut unloaded) = (Vec::new(), Vec::new());
    for path in &asked.paths {
        let (dir, shown, side) = place(path)?;
        let read = knowledge::read_dir(&dir, &shown, side);
        let unmet = unmet(&dir, &shown, side, &read);
        let Directory { scripts, mut findings, .. } = read;
        findings.extend(unmet);
        let count = scripts.len();
        match jobs(scripts, side).await {
            Ok(of_jobs) => findings.extend(of_jobs),
            Err(why) => unloaded.push(format!("{shown}: {why}")),
        }
        if !asked.json {
            for finding in &findings {
                crate::say!("{finding}");
            }
            if findings.is_empty() && unloaded.is_empty() {
                crate::say!("{shown}: good; {count} scripts");
            }
        }
        all.extend(findings);
    }
    if asked.json {
        crate::say!("{:#}", serde_json::json!(all));
    }
    if !unloaded.is_empty() {
        return Err(Failure::infra(anyhow::anyhow!("the scripts were not loaded: {}", unloaded.join("; "))));
    }
    Ok(if all.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The directory with the file, how it is called, and whose it is.
fn place(path: &Path) -> Result<(PathBuf, String, Side), Failure> {
    let is_file = path.is_file();
    let dir = if is_file { path.parent().unwrap_or(Path::new(".")) } else { path };
    if !dir.is_dir() && !is_file {
        return Err(Failure::usage(anyhow::anyhow!("{}: there is no such file or directory", path.display())));
    }
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let in_recipe = dir.join(knowledge::IN_REPOSITORY);
    if in_recipe.is_dir() {
        return Ok((in_recipe, knowledge::IN_REPOSITORY.to_owned(), Side::Recipe));
    }
    let real = dir.canonicalize().map_err(|error| Failure::usage(anyhow::anyhow!("{}: {error}", dir.display())))?;
    if real.file_name().is_some_and(|name| name == knowledge::IN_REPOSITORY) {
        return Ok((real, knowledge::IN_REPOSITORY.to_owned(), Side::Recipe));
    }
    if !real.join("recipe.yaml").is_file() && !real.join("checks").is_dir() {
        let message = format!(
            "{}: there is neither `.cc-ci` nor `recipe.yaml` nor `checks` in it; `cc-ci enroll` writes a file to start from",
            path.display()
        );
        return Err(Failure::usage(anyhow::anyhow!(message)));
    }
    Ok((real, dir.display().to_string(), Side::Appliance))
}

/// What of its needs cannot be put up beside the recipe, as far as the directories beside this one tell.
fn unmet(dir: &Path, shown: &str, side: Side, read: &Directory) -> Vec<Finding> {
    let of_recipe =
        |recipe: &Path| if side == Side::Recipe { recipe.join(knowledge::IN_REPOSITORY) } else { recipe.into() };
    let real = dir.canonicalize().unwrap_or_default();
    let Some(own) = (if side == Side::Recipe { real.parent() } else { Some(&*real) }) else { return Vec::new() };
    let named = recipe::open(own).map(|recipe| recipe.name).ok();
    let named = named.or_else(|| own.file_name()?.to_str()?.parse().ok());
    let (Some(recipe), Some(parent)) = (named, own.parent()) else { return Vec::new() };
    let wrong = |(need, at): (Need, Span)| {
        let other = of_recipe(&parent.join(need.recipe.as_str()));
        let in_turn = || knowledge::in_turn(&recipe, &need.recipe, &knowledge::read_dir(&other, shown, side).needs());
        let message = knowledge::refusal(&recipe, std::slice::from_ref(&need)).or_else(in_turn)?;
        let (file, cure) = (format!("{shown}/recipe.yaml"), "leave it out of `needs`".to_owned());
        Some(Finding {
            rule: "needs",
            severity: Severity::Error,
            file,
            line: at.line,
            column: at.column,
            message,
            cure,
        })
    };
    read.needs_placed().filter_map(wrong).collect()
}

/// What is wrong with the jobs of the scripts; the outer error says why they could not be loaded here.
async fn jobs(scripts: Vec<Script>, side: Side) -> Result<Vec<Finding>, String> {
    if scripts.is_empty() {
        return Ok(Vec::new());
    }
    let kit = Kit::find().map_err(|missing| missing.to_string())?;
    let defined = Host::define(kit, side, scripts, Limits::default(), Redactor::new(), CancellationToken::new()).await;
    match defined {
        Ok(_) => Ok(Vec::new()),
        Err(NotDefined::Wrong(problems)) => Ok(problems.into_iter().map(of_problem).collect()),
        Err(other) => Err(other.to_string()),
    }
}

fn of_problem(problem: crate::script::Problem) -> Finding {
    let crate::script::Problem { file, line, message, cure } = problem;
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    Finding { rule: "script", severity: Severity::Error, file, line, column: 1, message, cure }
}
