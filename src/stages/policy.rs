//! The policy as stages meet it: the head is held against it in `lint`, so that a refused recipe deploys nothing, and every tree
//! once more as abra is about to deploy it, from the `.env` that abra wrote.

use super::{Job, Trouble, off_the_runtime, overlay};
use crate::compose::policy::{Bounds, Exception, Finding, Passed, Verdict};
use crate::model::{AppDomain, CheckState, StageName};
use crate::recipe::policy::{Unreadable, examine, judge, tree};
use crate::recipe::{Recipe, Said};
use crate::store::stages::Check;

/// What this appliance lets a recipe do.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    bounds: Bounds,
    exceptions: Vec<Exception>,
}

impl Gate {
    pub(super) fn of(job: &Job) -> Gate {
        Gate { bounds: job.config.bounds(), exceptions: job.known().policy().to_vec() }
    }

    /// The last look, at what abra is about to deploy. Blocks while it reads the directory.
    pub(super) fn pass(&self, recipe: &Recipe, said: &Said, domain: &AppDomain) -> Result<Passed, Trouble> {
        let tree = tree(&recipe.dir).map_err(|error| Trouble::Infra(error.to_string()))?;
        let verdict = Verdict::of([tree, judge(recipe, said, domain, &self.bounds)].concat(), &self.exceptions);
        verdict.passed().map_err(|verdict| Trouble::Recipe(refusal(&verdict, recipe).unwrap_or_default()))
    }
}

/// What a directory's files ask for that they may not, noted as checks. What cannot be read is for lint to say.
pub(super) async fn look(job: &Job, stage: StageName, recipe: &Recipe, domain: &AppDomain) -> Result<Verdict, Trouble> {
    let verdict = judged(job, recipe, domain).await?.unwrap_or_default();
    for finding in &verdict.findings {
        note(job, stage, finding, CheckState::Failed, finding.asks.clone()).await?;
    }
    for (finding, because) in &verdict.excused {
        let got = format!("{}; this appliance allows it: {because}", finding.asks);
        note(job, stage, finding, CheckState::Warning, got).await?;
    }
    Ok(verdict)
}

/// The same for a tree that lint did not see, before abra reads anything of it: refused in a word.
pub(super) async fn admit(job: &Job, recipe: &Recipe, domain: &AppDomain) -> Result<(), Trouble> {
    let judged = judged(job, recipe, domain).await?;
    let verdict = judged.map_err(|unreadable| Trouble::Recipe(unreadable.to_string()))?;
    refusal(&verdict, recipe).map_or(Ok(()), |words| Err(Trouble::Recipe(words)))
}

async fn judged(job: &Job, recipe: &Recipe, domain: &AppDomain) -> Result<Result<Verdict, Unreadable>, Trouble> {
    let (declared, gate) = (job.declared(domain)?, Gate::of(job));
    let (dir, domain) = (recipe.dir.clone(), domain.clone());
    off_the_runtime(move || {
        let declared = overlay::of_tree(declared, &dir);
        examine(&dir, &domain, &declared, &gate.bounds, &gate.exceptions)
    })
    .await
}

/// The first of what is refused, in words that stand alone.
pub(super) fn refusal(verdict: &Verdict, recipe: &Recipe) -> Option<String> {
    let first = verdict.findings.first()?.refusal(recipe.name.as_str());
    Some(match verdict.findings.len() {
        1 => first,
        count => format!("{first} (and {} more)", count - 1),
    })
}

async fn note(job: &Job, stage: StageName, finding: &Finding, state: CheckState, got: String) -> Result<(), Trouble> {
    let name = format!("policy: {} {}", finding.rule, finding.place());
    let expected = Some(finding.cure.to_owned());
    job.check(Check { stage, name, state, expected, got: Some(got), took: None }).await
}
