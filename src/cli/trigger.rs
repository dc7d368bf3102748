//! `cc-ci trigger RECIPE#PR`: a run without a comment, asked for by whoever may run programs here, or holds a token there.

use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;

use super::appliance::Server;
use super::remote::Remote;
use super::table::Form;
use super::{Configured, Done, Failure, runs};
use crate::api;
use crate::bell::Bell;
use crate::clock::Clock;
use crate::engine::local::no_upgrade;
use crate::forge::gitea::Gitea;
use crate::intake::trigger::{Desk, NotQueued, Wish};
use crate::model::{Asked, Origin, Pr, RepoName, VersionName};
use crate::secrets;
use crate::store::Store;

#[derive(Debug, Args)]
#[command(after_help = "Example: cc-ci trigger keycloak#41 --stage upgrade --from 1.3.2+25.0.6")]
pub(crate) struct Trigger {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    server: Server,
    /// The repository in the organisation and the pull request's number: `keycloak#41`.
    #[arg(value_name = "RECIPE#PR")]
    what: String,
    /// Only this stage, and what it needs.
    #[arg(long, default_value = "all")]
    stage: Asked,
    /// The version to upgrade from, where the usual one is not wanted.
    #[arg(long, value_name = "VERSION")]
    from: Option<VersionName>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn trigger(asked: Trigger) -> Done {
    let wrong = || Failure::usage(anyhow!("`{}` is not RECIPE#PR, as in keycloak#41", asked.what));
    let (name, number) = asked.what.split_once('#').ok_or_else(wrong)?;
    let repository: RepoName = name.parse().map_err(Failure::usage)?;
    let pr: Pr = number.parse().ok().filter(|pr: &Pr| pr.0 > 0).ok_or_else(wrong)?;
    if asked.from.is_some() && !asked.stage.upgrades() {
        return Err(Failure::usage(anyhow!("{}", no_upgrade(asked.stage))));
    }
    let form = asked.form;
    let (id, page) = match asked.server.remote()? {
        Some(remote) => there(&remote, &asked, &repository, pr).await?,
        None => here(asked, repository, pr).await?,
    };
    runs::done(form, &api::Done { run: id, said: format!("run {id} is queued: {page}") })
}

/// The run's number and its page.
async fn there(remote: &Remote, asked: &Trigger, repository: &RepoName, pr: Pr) -> Result<(i64, String), Failure> {
    let wish = api::Trigger {
        repository: repository.to_string(),
        pr: pr.0,
        stage: asked.stage,
        from: asked.from.as_ref().map(ToString::to_string),
    };
    let body = serde_json::to_value(wish).map_err(Failure::infra)?;
    let done: api::Done = remote.post("/api/v1/runs", Some(&body)).await?;
    Ok((done.run, remote.page_of(done.run)))
}

async fn here(asked: Trigger, repository: RepoName, pr: Pr) -> Result<(i64, String), Failure> {
    let config = asked.configured.load()?;
    let token = secrets::read_file(&config.forge.token_file).map_err(Failure::usage)?;
    let clock = Clock::system();
    let desk = Desk {
        forge: Arc::new(Gitea::new(&config.forge.url, token, clock.clone()).map_err(Failure::usage)?),
        store: Store::open(&super::process::database_of(&config))?,
        clock,
        organisation: config.forge.organisation.clone(),
        bells: vec![Bell::of(config.bell("serve")), Bell::of(config.bell("runner"))],
    };
    let origin = Origin::CommandLine;
    let wish = Wish { repository, pr, stage: asked.stage, from: asked.from, origin, asked_by: super::ACTOR.into() };
    let id = desk.trigger(wish).await.map_err(|why| match why {
        NotQueued::Unknown(_) | NotQueued::NotEnrolled(..) | NotQueued::NoPullRequest(..) => Failure::usage(why),
        NotQueued::Closed(..) => Failure::no(why),
        NotQueued::Forge(_) | NotQueued::Store(_) => Failure::infra(why),
    })?;
    Ok((id.0, format!("{}/runs/{id}", config.web.address())))
}
