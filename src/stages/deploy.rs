//! Deploys one commit of the recipe as people would: `abra app new`, secrets, `abra app deploy`; then waits by our own rules
//! until it runs, asks for its front page through the proxy, and makes sure that what runs is that commit and nothing else.
//! Every stage that needs an app comes through here, so each deployment of a run is made, counted and asserted alike.
//!
//! The app's row stands in the database before the first act outside, so a crash anywhere in here leaves a name to tear down.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use super::policy::Gate;
use super::settle::Settling;
use super::teardown::{End, tear_down};
use super::{Job, Learned, Made, Trouble, gather, head, off_the_runtime, overlay, policy, secrets};
use crate::abra::driver::Session;
use crate::compose::policy::Passed;
use crate::compose::{Compose, env_file};
use crate::crash::crash_point;
use crate::engine::run::{self, checked};
use crate::model::{AppDomain, Head, StageName};
use crate::recipe::policy::as_deployed;
use crate::recipe::{Recipe, RecipeError, Said, compose_files};
use crate::store::deployments::NewDeployment;
use crate::swarm::converge::Before;
use crate::swarm::pull::PullWhy;

/// Registries are asked for so many images at a time.
const PULLS: usize = 3;

/// One commit of the recipe, checked out where abra takes it from.
#[derive(Clone, Debug)]
pub struct Tree {
    pub commit: Head,
    pub recipe: Recipe,
}

/// An app that runs, answers, and was seen to be made of one commit.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub made: Made,
    pub tree: Tree,
    pub said: Said,
    /// How it stood before the deploy.
    pub before: Before,
    /// What there is to say of it: `https://cust-9ad31f.ci.test answers 200`.
    pub note: String,
    /// Of the time it took, what the recipe's own update monitor asked for.
    pub waited: Duration,
}

/// Deploys a commit where nothing of the app is.
pub async fn fresh(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    learned: &mut Learned,
    tree: &Tree,
) -> Result<Deployed, Trouble> {
    let made = intend(job, learned).await?;
    // Of an earlier deployment of this run, perhaps of another commit.
    overlay::remove(&tree.recipe.dir).map_err(|error| Trouble::Infra(error.to_string()))?;
    policy::admit(job, &tree.recipe, &made.domain).await?;
    job.swarm.claim(&made.stack, job.run.id, &job.instance).await?;
    let session = job.abra.session(&job.home, job.config.runner.limits.command, cancel);
    session.app_new(&tree.recipe.name, &made.domain, &mut job.listener(stage)).await?;
    let ready = patch(job, tree.recipe.clone(), &made.domain).await?;
    crash_point!("files: .env and overlay written");
    deploy(job, cancel, stage, &session, (made, tree.clone(), ready)).await
}

/// Deploys a commit over what runs, as an operator upgrades: the app's `.env` stays as it is, but for variables that the
/// commit's sample has and it has not.
pub async fn over(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    old: &Deployed,
    tree: &Tree,
) -> Result<Deployed, Trouble> {
    let session = job.abra.session(&job.home, job.config.runner.limits.command, cancel);
    let ready = adopt(job, stage, tree.recipe.clone(), &old.made.domain).await?;
    deploy(job, cancel, stage, &session, (old.made.clone(), tree.clone(), ready)).await
}

/// What both ways have in common, once the app's `.env` stands.
async fn deploy(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    session: &Session<'_>,
    (made, tree, (said, passed)): (Made, Tree, (Said, Passed)),
) -> Result<Deployed, Trouble> {
    secrets::make(job, stage, session, &said, &made.domain, &tree.commit).await?;
    pull(job, cancel, stage, &said.compose).await?;

    let before = Before::look(&job.swarm, &made.stack).await?;
    note_deployment(job, stage, &tree.commit, &before).await?;
    session.deploy(&made.domain, &passed, &mut job.listener(stage)).await?;
    let settling = Settling { job, cancel, stage, domain: &made.domain, said: &said, before: &before };
    let waited = settling.converges().await?;
    let note = settling.answers().await?;
    head::assert(job, stage, &said.compose, &made.stack, &tree.commit).await?;
    let deployed = Deployed { made, tree, said, before, note, waited };
    gather::deployed(job, stage, &deployed).await;
    Ok(deployed)
}

/// Waits until an app that something was done to (a backup, a restore) is up, healthy and answers again.
pub async fn settle(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    deployed: &Deployed,
) -> Result<(), Trouble> {
    let before = Before::look(&job.swarm, &deployed.made.stack).await?;
    let domain = &deployed.made.domain;
    let settling = Settling { job, cancel, stage, domain, said: &deployed.said, before: &before };
    settling.converges().await?;
    settling.answers().await.map(drop)
}

/// Takes the app away in the middle of a run, as thoroughly as at its end. Its row stays open: the name is used again.
pub async fn take_down(job: &Job, stage: StageName, made: &Made) -> Result<(), Trouble> {
    let mut listener = job.listener(stage);
    let (well, got) = match tear_down(&job.means(), &made.domain, &made.stack, &job.home.abra_dir, &mut listener).await
    {
        End::Gone(_) => (true, "nothing left".to_owned()),
        End::Left(left) => (false, format!("left over: {}", left.join(", "))),
        End::Unknown(why) => return Err(Trouble::Infra(format!("whether anything is left is not known: {why}"))),
    };
    job.check(checked(stage, "taken down", well, "nothing left", &got, Duration::ZERO)).await?;
    if well { Ok(()) } else { Err(Trouble::Recipe(format!("the app could not be taken down; {got}"))) }
}

/// The row first, the app after. All deployments of a run have one name, and so one row.
async fn intend(job: &Job, learned: &mut Learned) -> Result<Made, Trouble> {
    if let Some(made) = &learned.app {
        return Ok(made.clone());
    }
    let (_, domain) = learned.recipe()?;
    let (id, now) = (job.run.id, job.clock.now());
    let (intended, abra_dir) = (domain.clone(), job.home.abra_dir.to_string_lossy().into_owned());
    let app =
        job.ledger.write("could not note an app", move |tx| run::intend_app(tx, id, &intended, &abra_dir, now)).await?;
    let made = Made { id: app, domain: domain.clone(), stack: domain.stack() };
    learned.app = Some(made.clone());
    Ok(made)
}

/// Counted before it is made. How the stack stood is kept with it, since the deploy wipes a rollback's trace.
async fn note_deployment(job: &Job, stage: StageName, commit: &Head, before: &Before) -> Result<(), Trouble> {
    let (id, now) = (job.run.id, job.clock.now());
    let unwritable = |error: serde_json::Error| Trouble::Infra(format!("how the stack stood: {error}"));
    let new = NewDeployment {
        stage,
        commit: commit.clone(),
        in_place: !before.services.is_empty(),
        before: serde_json::to_string(before).map_err(unwritable)?,
    };
    job.ledger.write("could not note a deployment", move |tx| run::note_deployment(tx, id, &new, now)).await?;
    Ok(())
}

/// Brings an app's `.env` to a newer version of its recipe as an operator would, and reads the whole anew.
async fn adopt(job: &Job, stage: StageName, recipe: Recipe, domain: &AppDomain) -> Result<(Said, Passed), Trouble> {
    let (path, sample) = (job.home.env_file(domain), recipe.env_for(domain));
    let added = off_the_runtime(move || {
        let faulty = |error: &dyn std::fmt::Display| Trouble::Infra(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| faulty(&error))?;
        let mut env = env_file::parse(&text).map_err(RecipeError::SampleLine)?;
        let mut added = Vec::new();
        for entry in sample.entries() {
            if env.get(&entry.key).is_none() {
                env.adopt(entry);
                added.push(entry.key.clone());
            }
        }
        std::fs::write(&path, env_file::write(&env)).map_err(|error| faulty(&error))?;
        Ok::<_, Trouble>(added)
    })
    .await??;
    if !added.is_empty() {
        job.say(stage, &format!("new in .env.sample, and so in the app's .env: {}", added.join(", ")));
    }
    patch(job, recipe, domain).await
}

/// Sets in the app's `.env` what only cc-ci can know, holds what the recipe's files say with it against the policy, lays our
/// overlay beside them, and reads the whole as it is going to be deployed.
async fn patch(job: &Job, recipe: Recipe, domain: &AppDomain) -> Result<(Said, Passed), Trouble> {
    let path = job.home.env_file(domain);
    let declared = job.declared(domain)?;
    let (domain, run, instance) = (domain.clone(), job.run.id, job.instance.clone());
    let (gate, limits) = (Gate::of(job), job.config.policy.app.clone());
    off_the_runtime(move || {
        let faulty = |error: &dyn std::fmt::Display| Trouble::Infra(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| faulty(&error))?;
        let env = env_file::parse(&text).map_err(RecipeError::SampleLine)?;
        let mut env = as_deployed(&env, &domain, &overlay::of_tree(declared, &recipe.dir));
        env.set("COMPOSE_FILE", &overlay::taken_out(&compose_files(&env.map())));
        overlay::remove(&recipe.dir).map_err(|error| faulty(&error))?;
        let own = recipe.say(&env, domain.as_str())?;
        let passed = gate.pass(&recipe, &own, &domain)?;
        let overlay = overlay::text(&own.compose, run, &instance, &limits);
        overlay::write(&recipe.dir, &overlay).map_err(|error| faulty(&error))?;
        env.set("COMPOSE_FILE", &overlay::appended(&compose_files(&env.map())));
        std::fs::write(&path, env_file::write(&env)).map_err(|error| faulty(&error))?;
        Ok((recipe.say(&env, domain.as_str())?, passed))
    })
    .await?
}

/// Gets the images before anything is deployed: a registry's fault must not look like an app that does not start.
async fn pull(job: &Job, cancel: &CancellationToken, stage: StageName, compose: &Compose) -> Result<(), Trouble> {
    let images: BTreeSet<String> =
        compose.images().into_iter().filter_map(|(_, image)| image.as_str().map(str::to_owned)).collect();
    let within = job.config.runner.limits.command;
    let mut pulls = stream::iter(images)
        .map(|image| async move {
            if job.swarm.has_image(&image).await? {
                job.say(stage, &format!("{image} is on this machine"));
                return Ok(());
            }
            job.say(stage, &format!("pulling {image}"));
            let pulled = job.swarm.pull(&image, within, cancel, &mut |line| job.say(stage, &line)).await;
            pulled.map_err(|error| match error.why {
                PullWhy::Cancelled => Trouble::Ended,
                _ => Trouble::Infra(error.to_string()),
            })
        })
        .buffer_unordered(PULLS);
    while let Some(pulled) = pulls.next().await {
        pulled?;
    }
    Ok(())
}
