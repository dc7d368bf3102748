//! Gets the pinned commit with the history that later stages ask for, in a clone of this run's own, and learns what the recipe
//! calls itself: the repository's name is often another.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::{Done, Job, Learned, Source, Trouble, backup, base, names, needs, off_the_runtime};
use crate::engine::{causes, run};
use crate::git::{self, GitError};
use crate::knowledge::{self, BaseFiles};
use crate::model::StageName;
use crate::plan::Without;
use crate::recipe::lint::of_error;
use crate::recipe::{self, Recipe};
use crate::script::Side;
use crate::secrets;

const FETCH: StageName = StageName::Fetch;
/// Bytes of the base branch's file.
const LARGEST: usize = 1 << 20;

pub async fn fetch(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    let clone = job.dir.join("clone");
    get(job, cancel, &clone).await?;
    let recipe = settle(job, clone).await?;
    let domain = names::domain(&recipe.name, &job.run, &job.instance, &job.config.domain)
        .map_err(|error| Trouble::Infra(error.to_string()))?;

    // What the files say is lint's to judge; here only what can be read of them.
    let (read, under) = (recipe.clone(), domain.clone());
    let (version, backup) = off_the_runtime(move || match read.say(&read.env_for(&under), under.as_str()) {
        Ok(said) => (said.version.clone(), backup::applies(&said)),
        Err(_) => (None, Ok(())),
    })
    .await?;
    let (id, now) = (job.run.id, job.clock.now());
    let (name, known, at) = (recipe.name.to_string(), version.clone(), domain.clone());
    job.ledger
        .write("could not note what the recipe is", move |tx| run::learn(tx, id, &name, known.as_deref(), &at, now))
        .await?;
    know(job, &recipe, learned).await?;
    settle_plan(job, cancel, &recipe, backup, learned).await?;
    let mut note = recipe.name.to_string();
    if let Some(version) = &version {
        note.extend([" ", version]);
    }
    for need in &learned.plan.needs {
        note.extend([", beside it ", need.recipe.as_str(), " ", &need.version]);
    }
    (learned.recipe, learned.domain) = (Some(recipe), Some(domain));
    Ok(Done { note: Some(note), ..Done::default() })
}

/// Reads what appliance and repository say of the recipe. What the repository says wrongly is lint's to tell, with the rest.
async fn know(job: &Job, recipe: &Recipe, learned: &mut Learned) -> Result<(), Trouble> {
    let base = match (&job.source, job.run.base_branch.as_deref()) {
        (Source::Directory { .. }, _) => BaseFiles::TheHead,
        (Source::Forge { .. }, None) => BaseFiles::Branch(None),
        (Source::Forge { .. }, Some(branch)) => {
            let tip = format!("refs/remotes/origin/{branch}");
            BaseFiles::Branch(git::file_at(&recipe.dir, &tip, &knowledge::in_repository(), LARGEST).await?)
        }
    };
    let (dir, name, head) = (job.config.recipes_dir.clone(), recipe.name.clone(), recipe.dir.clone());
    match off_the_runtime(move || knowledge::read(Some(&dir), &name, &head, &base)).await? {
        Ok(known) => drop(job.known.set(known)),
        Err(wrong) if wrong.side == Side::Recipe => learned.misread = wrong.findings,
        Err(wrong) => {
            let all: Vec<String> = wrong.findings.iter().map(ToString::to_string).collect();
            return Err(Trouble::Infra(all.join("; ")));
        }
    }
    Ok(())
}

/// The plan as it is going to be, now that the repository is there to ask.
async fn settle_plan(
    job: &Job,
    cancel: &CancellationToken,
    recipe: &Recipe,
    backup: Result<(), Without>,
    learned: &mut Learned,
) -> Result<(), Trouble> {
    let (plan, known) = (&mut learned.plan, job.known());
    plan.own_checks = known.checks().count() + Side::BOTH.map(|side| known.scripts(side).len()).iter().sum::<usize>();
    if let Some(reason) = known.unsupported() {
        plan.give_up(&format!("unsupported: {reason}"), None);
    }
    for stage in [StageName::Backup, StageName::Upgrade] {
        if let Some(reason) = known.not_applicable(stage) {
            plan.leave_out(stage, Without::NotApplicable(reason.to_owned()));
        }
    }
    if let Err(without) = backup {
        plan.leave_out(StageName::Backup, without);
    }
    if plan.does(StageName::Upgrade) {
        match base::find(job, &recipe.name, &recipe.dir).await? {
            Ok(base) => plan.base = Some(base),
            Err(reason) => plan.leave_out(StageName::Upgrade, Without::NotTested(reason)),
        }
    }
    // What is not going to be deployed needs nothing beside it.
    if plan.deployments() > 0 {
        match needs::fetch(job, cancel, &recipe.name).await {
            Ok(beside) => {
                plan.needs = beside.iter().map(|beside| beside.needed.clone()).collect();
                drop(job.beside.set(beside));
            }
            Err(Trouble::NotTested(why)) => plan.give_up(&why, None),
            Err(trouble) => return Err(trouble),
        }
    }
    job.say(FETCH, &format!("plan: {}; {} deployments", plan.parts().join(", "), plan.deployments()));
    needs::settle(job, plan).await
}

/// The commit, its tags and the base branch, in a directory without any of the repository's own settings.
async fn get(job: &Job, cancel: &CancellationToken, clone: &Path) -> Result<(), Trouble> {
    let run = &job.run;
    let (url, token_file) = match &job.source {
        Source::Directory { snapshot, .. } => {
            job.say(FETCH, "taking the directory as it is");
            return std::fs::rename(snapshot, clone)
                .map_err(|error| Trouble::Infra(format!("{} cannot be moved: {error}", snapshot.display())));
        }
        Source::Forge { url, token_file } => (url, token_file),
    };
    let token = secrets::read_file(token_file).map_err(|error| Trouble::Infra(causes(&error)))?;
    let source = git::Source {
        url: url.clone(),
        token: Some(token),
        head: run.head.clone(),
        pr_ref: run.pr.map(|pr| format!("refs/pull/{pr}/head")),
        base_branch: run.base_branch.clone(),
        allow_file: false,
    };
    let limits = git::Limits { time: job.config.runner.limits.command, ..git::Limits::default() };
    job.say(FETCH, &format!("fetching {} of {url}", run.head.short()));
    let fetched = git::fetch(&source, clone, &limits, cancel, &mut |stream, bytes| {
        job.watchdog.heard();
        job.log.chunk(FETCH, stream, bytes);
    })
    .await;
    job.log.settle(FETCH);
    match fetched {
        Ok(fetched) => {
            job.say(FETCH, &format!("{} files, {} kB", fetched.files, fetched.bytes.div_ceil(1000)));
            Ok(())
        }
        Err(GitError::Cancelled) => Err(Trouble::Ended),
        Err(error @ GitError::TimedOut(_)) => Err(Trouble::Limit(causes(&error))),
        Err(error) if error.is_infra() => Err(Trouble::Infra(causes(&error))),
        Err(error) => Err(Trouble::Recipe(causes(&error))),
    }
}

/// Puts the clone where abra looks for a recipe of that name.
async fn settle(job: &Job, clone: PathBuf) -> Result<Recipe, Trouble> {
    let home = job.home.clone();
    off_the_runtime(move || {
        let read = recipe::open(&clone).map_err(|error| Trouble::Recipe(of_error(&error).to_string()))?;
        let dir = home.recipe_dir(&read.name);
        std::fs::rename(&clone, &dir)
            .map_err(|error| Trouble::Infra(format!("{} cannot be made: {error}", dir.display())))?;
        Ok(Recipe { dir, ..read })
    })
    .await?
}
