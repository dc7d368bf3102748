//! Whom the command line asks: the state directory of this machine, or another machine by its API. Both answer in the API's
//! types, so that what is printed does not tell them apart.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::remote::Remote;
use super::{Configured, Failure};
use crate::api::images::{self, Image};
use crate::api::{self, read};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::engine::run;
use crate::evidence::result;
use crate::model::{Origin, Outcome, RunId};
use crate::store::audit::{self, Act};
use crate::store::runs::Filter;
use crate::store::{Store, StoreError};
use crate::{config, logs};

/// Which state directory: the configuration's, or one by name.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    configured: Configured,
    /// The state directory itself, without a configuration.
    #[arg(long, conflicts_with = "config", value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Place {
    pub(super) fn dir(&self) -> Result<PathBuf, Failure> {
        match &self.state {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.configured.load_without_secrets()?.state_dir),
        }
    }

    pub(super) fn store(&self) -> Result<(PathBuf, Store), Failure> {
        let dir = self.dir()?;
        let database = config::database_in(&dir);
        if !database.exists() {
            return Err(Failure::usage(anyhow!("{} holds no cc-ci database", dir.display())));
        }
        Ok((dir, Store::open(&database)?))
    }
}

/// Another machine's cc-ci.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// Asks the cc-ci whose dashboard is at this address, instead of this machine. Acting there takes a token, in the
    /// environment as CC_CI_TOKEN or in a file.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A file that holds the token.
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
}

impl Server {
    /// `None`: this machine is meant.
    pub(super) fn remote(&self) -> Result<Option<Remote>, Failure> {
        self.server.as_ref().map(|url| Remote::new(url, self.token_file.as_deref())).transpose()
    }
}

/// This machine or another.
#[derive(Clone, Debug, Args)]
pub(crate) struct Whom {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    server: Server,
}

impl Whom {
    pub(super) fn appliance(&self) -> Result<Appliance, Failure> {
        if let Some(remote) = self.server.remote()? {
            return Ok(Appliance::There(remote));
        }
        let (dir, store) = self.place.store()?;
        Ok(Appliance::Here { dir, store })
    }
}

pub(super) enum Appliance {
    Here { dir: PathBuf, store: Store },
    There(Remote),
}

impl Appliance {
    /// The newest first, below `before`.
    pub(super) async fn runs(
        &self,
        filter: Filter,
        before: Option<RunId>,
        count: usize,
    ) -> Result<Vec<api::Run>, Failure> {
        let (mut runs, mut before) = (Vec::new(), before);
        while runs.len() < count {
            let page = self.page_of_runs(filter.clone(), before, count - runs.len()).await?;
            before = page.runs.last().map(|last| RunId(last.id)).filter(|_| page.next.is_some());
            runs.extend(page.runs);
            if before.is_none() {
                break;
            }
        }
        runs.truncate(count);
        Ok(runs)
    }

    async fn page_of_runs(&self, filter: Filter, before: Option<RunId>, count: usize) -> Result<api::Runs, Failure> {
        match self {
            Appliance::Here { store, .. } => {
                let count = u32::try_from(count).unwrap_or(u32::MAX - 1);
                let next = |last: RunId| last.to_string();
                Ok(store.read(move |db| read::runs(db, &filter, before, count, next)).await?)
            }
            Appliance::There(remote) => {
                let before = before.map(|before| before.to_string());
                let asked = [
                    ("recipe", filter.recipe.as_deref()),
                    ("outcome", filter.outcome.map(Outcome::as_str)),
                    ("origin", filter.origin.map(Origin::as_str)),
                    ("before", before.as_deref()),
                ];
                let query: Vec<_> = asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                remote.get("/api/v1/runs", &query).await
            }
        }
    }

    pub(super) async fn run(&self, id: RunId) -> Result<api::WholeRun, Failure> {
        let found = match self {
            Appliance::Here { store, .. } => store.read(move |db| read::whole_run(db, id)).await?,
            Appliance::There(remote) => remote.find(&format!("/api/v1/runs/{id}"), &[]).await?,
        };
        found.ok_or_else(|| no_run(id))
    }

    /// Its `result.json`.
    pub(super) async fn result(&self, id: RunId) -> Result<serde_json::Value, Failure> {
        let found = match self {
            Appliance::Here { store, .. } => match store.read(move |db| result::of(db, id)).await? {
                Some(result) => Some(serde_json::to_value(result).map_err(Failure::infra)?),
                None => None,
            },
            Appliance::There(remote) => {
                // The page of a run that is not there is none of the API's answers.
                self.run(id).await?;
                remote.find(&format!("/runs/{id}/result.json"), &[]).await?
            }
        };
        found.ok_or_else(|| no_run(id))
    }

    pub(super) async fn images(&self, id: RunId) -> Result<Vec<Image>, Failure> {
        match self {
            Appliance::Here { dir, store } => {
                let evidence = config::evidence_in(dir);
                Ok(store.read(move |db| images::of_run(db, &evidence, id)).await?)
            }
            Appliance::There(remote) => remote.get(&format!("/api/v1/runs/{id}/images"), &[]).await,
        }
    }

    pub(super) async fn queue(&self) -> Result<api::Queue, Failure> {
        match self {
            Appliance::Here { store, .. } => Ok(store.read(read::queue).await?),
            Appliance::There(remote) => remote.get("/api/v1/queue", &[]).await,
        }
    }

    pub(super) async fn hosts(&self) -> Result<api::Hosts, Failure> {
        match self {
            Appliance::Here { store, .. } => Ok(store.read(read::hosts).await?),
            Appliance::There(remote) => remote.get("/api/v1/hosts", &[]).await,
        }
    }

    /// All that have a run, by name.
    pub(super) async fn recipes(&self) -> Result<Vec<api::Recipe>, Failure> {
        let mut recipes: Vec<api::Recipe> = Vec::new();
        loop {
            let after = recipes.last().map(|last| last.name.clone());
            let page: api::Recipes = match self {
                Appliance::Here { store, .. } => {
                    store.read(move |db| read::recipes(db, after.as_deref(), 500, str::to_owned)).await?
                }
                Appliance::There(remote) => {
                    let query: Vec<_> = after.iter().map(|after| ("after", after.as_str())).collect();
                    remote.get("/api/v1/recipes", &query).await?
                }
            };
            let goes_on = page.next.is_some() && !page.recipes.is_empty();
            recipes.extend(page.recipes);
            if !goes_on {
                return Ok(recipes);
            }
        }
    }

    /// The newest first.
    pub(super) async fn decisions(&self, count: usize) -> Result<Vec<api::Decision>, Failure> {
        let most = u32::try_from(count).unwrap_or(u32::MAX - 1);
        let remote = match self {
            Appliance::Here { store, .. } => {
                let next = |_, _| String::new();
                return Ok(store.read(move |db| read::decisions(db, None, most, next)).await?.decisions);
            }
            Appliance::There(remote) => remote,
        };
        let (mut decisions, mut before) = (Vec::new(), None::<String>);
        while decisions.len() < count {
            let query: Vec<_> = before.iter().map(|before| ("before", before.as_str())).collect();
            let page: api::Decisions = remote.get("/api/v1/decisions", &query).await?;
            decisions.extend(page.decisions);
            let Some(next) = page.next.as_deref().and_then(|next| next.split_once("before=")) else { break };
            before = Some(next.1.to_owned());
        }
        decisions.truncate(count);
        Ok(decisions)
    }

    /// The log from this byte on: some of it, nothing where there is no more yet.
    pub(super) async fn log_from(&self, run: RunId, at: u64) -> Result<Vec<u8>, Failure> {
        match self {
            Appliance::Here { dir, .. } => here(dir, run, move |log| log.read_at(at, 1 << 16)).await,
            Appliance::There(remote) => remote.log_from(run, at).await,
        }
    }

    /// So many bytes of its end.
    pub(super) async fn log_end(&self, run: RunId, most: u64) -> Result<Vec<u8>, Failure> {
        match self {
            Appliance::Here { dir, .. } => {
                let end = move |log: &mut logs::LogReader| {
                    let from = log.len()?.saturating_sub(most);
                    log.read_at(from, usize::try_from(most).unwrap_or(usize::MAX))
                };
                here(dir, run, end).await
            }
            Appliance::There(remote) => remote.log_end(run, most).await,
        }
    }

    pub(super) async fn cancel(&self, id: RunId) -> Result<api::Done, Failure> {
        self.run(id).await?;
        let (dir, store) = match self {
            Appliance::Here { dir, store } => (dir, store),
            Appliance::There(remote) => return remote.post(&format!("/api/v1/runs/{id}/cancel"), None).await,
        };
        let now = Clock::system().now();
        let asked = store.write("did not take a cancel", move |tx| {
            let asked = run::ask_cancel(tx, id, "cancelled on the command line", now)?;
            let said = if asked { "told to end" } else { "over, or told before" };
            let target = format!("run {id}");
            audit::push(tx, Act { actor: super::ACTOR, action: "cancel", target: &target, said }, now)?;
            Ok(asked)
        });
        if !asked.await? {
            return Err(Failure::no(anyhow!("run {id} is over, or was told to end before")));
        }
        ring(dir);
        Ok(api::Done { run: id.0, said: format!("run {id} is told to end") })
    }

    pub(super) async fn retry(&self, id: RunId) -> Result<api::Done, Failure> {
        self.run(id).await?;
        let (dir, store) = match self {
            Appliance::Here { dir, store } => (dir, store),
            Appliance::There(remote) => return remote.post(&format!("/api/v1/runs/{id}/retry"), None).await,
        };
        let now = Clock::system().now();
        let again = store.write("did not take a retry", move |tx| {
            let again = run::retry(tx, id, Origin::CommandLine, super::ACTOR, now)?;
            let (target, said) = (format!("run {id}"), format!("run {again} is queued"));
            audit::push(tx, Act { actor: super::ACTOR, action: "retry", target: &target, said: &said }, now)?;
            Ok(again)
        });
        let again = again.await.map_err(|error| match error {
            StoreError::Refused(why) => Failure::no(anyhow!(why)),
            error => error.into(),
        })?;
        ring(dir);
        Ok(api::Done { run: again.0, said: format!("run {again} is queued") })
    }
}

/// Reads a log of this machine on a thread that may wait; one that is not there has nothing.
async fn here(
    dir: &std::path::Path,
    run: RunId,
    read: impl FnOnce(&mut logs::LogReader) -> std::io::Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>, Failure> {
    let logs_dir = config::logs_in(dir);
    let read = tokio::task::spawn_blocking(move || match logs::open(&logs_dir, run) {
        Ok(mut log) => read(&mut log),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    });
    read.await.map_err(Failure::infra)?.map_err(Failure::infra)
}

/// Tells both processes.
fn ring(dir: &std::path::Path) {
    for process in ["serve", "runner"] {
        Bell::of(config::bell_in(dir, process)).ring();
    }
}

fn no_run(id: RunId) -> Failure {
    Failure::usage(anyhow!("there is no run {id}; `cc-ci runs list` shows those there are"))
}
