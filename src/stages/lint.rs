//! Reads the head as data before anything of it is deployed. What keeps it from being deployed fails the stage, all of it named
//! at once, and first of all what a pull request may not ask for; what is merely unwise is noted and never fails a run.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::scripts::{Scripts, Undefined};
use super::{Done, Job, Learned, Trouble, base, needs, off_the_runtime, policy};
use crate::backup::labels::{self, Labelled};
use crate::engine::causes;
use crate::knowledge;
use crate::model::{CheckState, StageName};
use crate::recipe::lint::{self, of_error};
use crate::recipe::policy::as_deployed;
use crate::recipe::{Finding, Recipe, Said, Severity};
use crate::store::stages::Check;

pub async fn lint(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    let (recipe, domain) = learned.recipe()?;
    let verdict = policy::look(job, StageName::Lint, recipe, domain).await?;
    let refusal = policy::refusal(&verdict, recipe);
    let (recipe, domain) = (recipe.clone(), domain.clone());
    let found = lint::lint_with_history(&recipe.dir).await;
    let mut findings = found.map_err(|error| Trouble::Infra(causes(&error)))?;
    // Lint knows no domain; names are too long or not under this one.
    let (read, env) = (recipe.clone(), as_deployed(&recipe.env_for(&domain), &domain, &job.declared(&domain)?));
    let said = match off_the_runtime(move || read.say(&env, domain.as_str())).await? {
        Ok(said) => Some(said),
        Err(error) => {
            let finding = of_error(&error);
            if !findings.iter().any(|other| is_same(other, &finding)) {
                findings.insert(0, finding);
            }
            None
        }
    };
    findings.append(&mut learned.misread);
    findings.extend(contradictions(job, &recipe, said.as_ref()).await?);
    match Scripts::define(job, cancel).await {
        Ok(scripts) => learned.scripts = scripts,
        Err(Undefined::Recipe(wrong)) => findings.extend(wrong),
        Err(Undefined::Other(trouble)) => return Err(trouble),
    }
    // What the policy refuses at a place need not be said of it twice.
    let refused = |finding: &Finding| {
        verdict.findings.iter().any(|other| (&other.file, other.line) == (&finding.file, finding.line))
    };
    findings.retain(|finding| !(finding.is_error() && refused(finding)));
    for finding in &findings {
        note(job, finding).await?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if let Some(refusal) = refusal {
        return Err(Trouble::Recipe(refusal));
    }
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(first) if errors > 1 => Err(Trouble::Recipe(format!("{first} (and {} more)", errors - 1))),
        Some(first) => Err(Trouble::Recipe(first.to_string())),
        None => {
            let mut notes = job.known().notes().to_vec();
            notes.extend(beside(job, learned).await?);
            Ok(Done { note: told(warnings, &notes), waited: Duration::ZERO })
        }
    }
}

/// Why what the head needs may not be deployed: nothing of the head can be tried then.
async fn beside(job: &Job, learned: &mut Learned) -> Result<Option<String>, Trouble> {
    let Err(trouble) = needs::lint(job).await else { return Ok(None) };
    match needs::give_up(job, learned, None, trouble).await? {
        Trouble::NotTested(words) => Ok(Some(words)),
        trouble => Err(trouble),
    }
}

/// What was declared to mean nothing here, and what of the recipe says otherwise.
async fn contradictions(job: &Job, recipe: &Recipe, said: Option<&Said>) -> Result<Vec<Finding>, Trouble> {
    let mut found = Vec::new();
    if let Some(reason) = job.known().not_applicable(StageName::Backup)
        && let Some(service) = said.and_then(backed_up)
    {
        let message =
            format!("`backup` is declared to mean nothing here ({reason}), and `{service}` has backup labels");
        found.push(contradiction(message));
    }
    if let Some(reason) = job.known().not_applicable(StageName::Upgrade) {
        let repository = base::Repository::read(&recipe.dir, &job.run.head).await?;
        if let Some(release) = repository.newest_tag().await? {
            let release = repository.name(&release);
            let message = format!("`upgrade` is declared to mean nothing here ({reason}), and {release} is published");
            found.push(contradiction(message));
        }
    }
    Ok(found)
}

/// A service that asks for backups.
fn backed_up(said: &Said) -> Option<String> {
    let services = labels::of_compose(&said.compose, &said.stack);
    services.into_iter().find(Labelled::is_enabled).map(|service| service.name)
}

fn contradiction(message: String) -> Finding {
    let (file, cure) = (knowledge::in_repository(), "take one of them away".to_owned());
    Finding { rule: "contradiction", severity: Severity::Warning, file, line: 0, column: 0, message, cure }
}

/// What is worth a word though nothing is wrong.
fn told(warnings: usize, notes: &[String]) -> Option<String> {
    let counted = match warnings {
        0 => None,
        1 => Some("1 warning".to_owned()),
        _ => Some(format!("{warnings} warnings")),
    };
    let all: Vec<String> = counted.into_iter().chain(notes.iter().cloned()).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn is_same(one: &Finding, other: &Finding) -> bool {
    (one.rule, &one.file, one.line) == (other.rule, &other.file, other.line)
}

async fn note(job: &Job, finding: &Finding) -> Result<(), Trouble> {
    let state = match finding.severity {
        Severity::Error => CheckState::Failed,
        Severity::Warning => CheckState::Warning,
        Severity::Note => return Ok(()),
    };
    let place = match finding.line {
        0 => finding.file.clone(),
        line => format!("{}:{line}", finding.file),
    };
    let check = Check {
        stage: StageName::Lint,
        name: format!("{} {place}", finding.rule),
        state,
        expected: (!finding.cure.is_empty()).then(|| finding.cure.clone()),
        got: Some(finding.message.clone()),
        took: None,
    };
    job.check(check).await
}
