//! `cc-ci trigger RECIPE#PR`: a run without a comment, asked for by whoever may run programs here.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;

use super::{Configured, Done, Failure};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::forge::gitea::Gitea;
use crate::intake::trigger::{Desk, NotQueued, Wish};
use crate::model::{Asked, Origin, Pr, RepoName, VersionName};
use crate::secrets;
use crate::store::Store;

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
    let wish =
        Wish { repository: name, pr, stage: asked.stage, from: asked.from, origin, asked_by: super::ACTOR.into() };
    let id = desk.trigger(wish).await.map_err(|why| match why {
        NotQueued::Unknown(_) | NotQueued::NotEnrolled(..) | NotQueued::NoPullRequest(..) => Failure::usage(why),
        NotQueued::Closed(..) => Failure::no(why),
        NotQueued::Forge(_) | NotQueued::Store(_) => Failure::infra(why),
    })?;
    crate::say!("run {id} is queued: {}/runs/{id}", config.web.address());
    Ok(ExitCode::SUCCESS)
}
