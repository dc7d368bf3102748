//! Reads the head as data before anything of it is deployed. What keeps it from being deployed fails the stage, all of it named
//! at once, and first of all what a pull request may not ask for; what is merely unwise is noted and never fails a run.

use std::time::Duration;

use super::{Done, Job, Learned, Trouble, off_the_runtime, policy};
use crate::engine::causes;
use crate::model::{CheckState, StageName};
use crate::recipe::lint::{self, of_error};
use crate::recipe::{Finding, Severity};
use crate::store::stages::Check;

pub async fn lint(job: &Job, learned: &Learned) -> Result<Done, Trouble> {
    let (recipe, domain) = learned.recipe()?;
    let verdict = policy::look(job, StageName::Lint, recipe, domain).await?;
    let refusal = policy::refusal(&verdict, recipe);
    let (recipe, domain) = (recipe.clone(), domain.clone());
    let found = lint::lint_with_history(&recipe.dir).await;
    let mut findings = found.map_err(|error| Trouble::Infra(causes(&error)))?;
    // Lint knows no domain; names are too long or not under this one.
    let said = off_the_runtime(move || recipe.say(&recipe.env_for(&domain), domain.as_str())).await?;
    if let Err(error) = said {
        let finding = of_error(&error);
        if !findings.iter().any(|other| is_same(other, &finding)) {
            findings.insert(0, finding);
        }
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
        None => Ok(Done { note: (warnings > 0).then(|| counted(warnings)), waited: Duration::ZERO }),
    }
}

fn counted(warnings: usize) -> String {
    if warnings == 1 { "1 warning".to_owned() } else { format!("{warnings} warnings") }
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
