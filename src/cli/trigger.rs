//! `cc-ci trigger RECIPE#PR`: a run without a comment, asked for by whoever may run programs here.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::{Configured, Done, Failure};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::forge::Forge;
use crate::forge::gitea::Gitea;
use crate::model::{Asked, Origin, Pr, Repo, RepoName, VersionName};
use crate::secrets;
use crate::store::Store;
use crate::store::outbox::{self, Report};
use crate::store::repositories;
use crate::store::runs::NewRun;

#[derive(Debug, Args)]
pub(crate) struct Trigger {
    #[command(flatten)]
    configured: Configured,
    /// The repository in the organisation and the pull request's number: `keycloak#41`.
    #[arg(value_name = "RECIPE#PR")]
    what: String,
    /// Only this stage, and what it needs.
    #[arg(long, default_value = "all")]
    stage: Asked,
    /// The version to upgrade from, where the usual one is not wanted.
    #[arg(long, value_name = "VERSION")]
    from: Option<VersionName>,
}

pub(super) async fn trigger(asked: Trigger) -> Done {
    let config = asked.configured.load()?;
    let wrong = || Failure::usage(anyhow!("`{}` is not RECIPE#PR, as in keycloak#41", asked.what));
    let (name, number) = asked.what.split_once('#').ok_or_else(wrong)?;
    let name: RepoName = name.parse().map_err(Failure::usage)?;
    let pr: Pr = number.parse().ok().filter(|pr: &Pr| pr.0 > 0).ok_or_else(wrong)?;
    let repo = Repo { owner: config.forge.organisation.clone(), name };
    let store = Store::open(&super::process::database_of(&config))?;
    let lookup = repo.clone();
    let known = store.read(move |db| repositories::by_name(db, &lookup)).await?;
    let known = known.ok_or_else(|| {
        Failure::usage(anyhow!(
            "{repo} has not been seen yet; is `cc-ci serve` running, and is it spelt as on the forge?"
        ))
    })?;
    let token = secrets::read_file(&config.forge.token_file).map_err(Failure::usage)?;
    let forge = Gitea::new(&config.forge.url, token, Clock::system()).map_err(Failure::usage)?;
    let pull = forge.pull_request(&repo, pr).await.map_err(Failure::infra)?;
    if !pull.open {
        return Err(Failure::no(anyhow!("{}#{pr} is closed", repo.name)));
    }
    let new = NewRun {
        origin: Origin::CommandLine,
        repository: Some(known.id),
        repo_name: repo.to_string(),
        recipe: known.recipe.unwrap_or_else(|| repo.name.to_string()),
        pr: Some(pr),
        head: pull.head,
        base_branch: Some(pull.base_branch),
        title: pull.title,
        comment: None,
        asked_by: "the command line".into(),
        asked: asked.stage,
        upgrade_from: asked.from.as_ref().map(ToString::to_string),
        attempt: 1,
        retry_of: None,
    };
    let id = store
        .write("did not take the run", move |tx| {
            let now = Clock::system().now();
            let id = crate::engine::run::queue(tx, &new, now)?;
            outbox::push(tx, &Report::Status { run: id }, known.id, pr, now)?;
            outbox::push(tx, &Report::Comment { run: id }, known.id, pr, now)?;
            Ok(id)
        })
        .await?;
    for process in ["serve", "runner"] {
        Bell::of(config.bell(process)).ring();
    }
    println!("run {id} is queued: {}/runs/{id}", config.web.address());
    Ok(ExitCode::SUCCESS)
}
