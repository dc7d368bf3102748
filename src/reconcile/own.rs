//! An app of this machine's own: a recipe that lies in this program, deployed by abra like any other. Everything that decides
//! what it should be goes into one hash; an app that runs, whose label has that hash and whose specs are those Swarm had after
//! our deploy, is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::ReconcileError;
use crate::abra::driver::{Abra, Home, Listener, Session};
use crate::compose::policy::Passed;
use crate::config::Config;
use crate::engine::OWN_PROGRAM;
use crate::git;
use crate::model::{AppDomain, RecipeName, StackName};
use crate::sandbox::Stream;
use crate::swarm::converge::{self, Before, NotConverged};
use crate::swarm::sweep::{self, Patience};
use crate::swarm::views::{Service, TaskState, Template};
use crate::swarm::{Swarm, SwarmFault};

/// By which a running app says what it was made from.
const LABEL: &str = "cc-ci.reconciled";
/// abra cuts longer ones, and what begins with it has to stay under Swarm's 64.
const LONGEST_STACK: usize = 45;
const PULL: Duration = Duration::from_secs(600);
const COMMAND: Duration = Duration::from_secs(120);
const UP: Duration = Duration::from_secs(120);
/// An app that should not have changed may have been started a moment ago.
const SETTLE: Duration = Duration::from_secs(60);

/// What lies beside the tested apps' own world: the `ABRA_DIR` of this machine's apps, their recipes, what was deployed.
pub(super) fn host_dir(config: &Config) -> PathBuf {
    config.state_dir.join("host")
}

/// What it should be.
#[derive(Debug)]
pub(super) struct Own {
    /// For people, and for its files: `proxy`.
    pub name: &'static str,
    pub recipe: &'static str,
    pub image: String,
    pub domain: AppDomain,
    pub stack: StackName,
    /// Relative to the recipe's directory.
    pub files: BTreeMap<&'static str, String>,
    pub env: String,
    pub hash: String,
}

/// What was deployed, as Swarm had it afterwards: who changes it later is found out.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Deployed {
    hash: String,
    /// By service.
    specs: BTreeMap<String, Template>,
}

/// The domain of the configuration, or `otherwise` below that of the apps; short enough for what is named after it.
pub(super) fn domain(config: &Config, said: Option<&str>, otherwise: &str) -> Result<AppDomain, ReconcileError> {
    let domain: AppDomain = match said {
        Some(domain) => domain.parse()?,
        None => format!("{otherwise}.{}", config.domain).parse()?,
    };
    if domain.stack().as_str().len() > LONGEST_STACK {
        return Err(ReconcileError::TooLong { what: otherwise.to_owned(), stack: domain.stack().to_string() });
    }
    Ok(domain)
}

pub(super) fn short_hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..4])
}

/// Of everything that is given.
pub(super) fn hash_of<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = Sha256::new();
    for part in parts {
        all.update(part.as_bytes());
        all.update([0]);
    }
    hex::encode(&all.finalize()[..8])
}

/// `text` with its `@WORDS@` filled in.
pub(super) fn fill(text: &str, words: &BTreeMap<&str, &str>) -> String {
    words.iter().fold(text.to_owned(), |text, (key, value)| text.replace(key, value))
}

/// The part of an image's tag that may stand in a version.
pub(super) fn version_of(image: &str) -> String {
    let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    tag.trim_start_matches('v').chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect()
}

impl Own {
    /// In what it is not what it should be, if in anything. `network` is the one it has to be on.
    pub(super) async fn differs(
        &self,
        config: &Config,
        docker: &Swarm,
        network: Option<&str>,
    ) -> Result<Option<String>, ReconcileError> {
        let known = self.remembered(config).await;
        let services = docker.services(&self.stack).await?;
        let Some(app) = services.iter().find(|service| service.short() == "app") else {
            return Ok(Some("there was none".to_owned()));
        };
        if app.labels.get(LABEL) != Some(&self.hash) {
            return Ok(Some("it was made from something else".to_owned()));
        }
        if known.hash != self.hash || known.specs != specs(&services) {
            return Ok(Some("somebody changed it".to_owned()));
        }
        if network.is_some_and(|network| !app.networks.iter().all(|joined| joined == network)) {
            return Ok(Some("its network was made anew".to_owned()));
        }
        if self.runs(docker, app).await? {
            return Ok(None);
        }
        // After a reboot it is on its way.
        let before = Before::look(docker, &self.stack).await?;
        let never = CancellationToken::new();
        match converge::wait(docker, &before, SETTLE, &never, &mut |_| {}).await {
            Ok(_) => Ok(None),
            Err(NotConverged::Failed(_)) => Ok(Some("it did not run".to_owned())),
            Err(failed) => Err(self.not_up(failed)),
        }
    }

    async fn runs(&self, docker: &Swarm, app: &Service) -> Result<bool, SwarmFault> {
        let tasks = docker.tasks(&self.stack).await?;
        Ok(tasks
            .iter()
            .any(|task| task.service == app.id && task.template == app.template && task.state == TaskState::Running))
    }

    fn not_up(&self, failed: NotConverged) -> ReconcileError {
        match failed {
            NotConverged::Fault(fault) => fault.into(),
            failed => ReconcileError::NotUp { what: self.name, failed },
        }
    }

    /// Deploys it and waits until it runs. `secrets` puts its secrets in place before.
    pub(super) async fn deploy(
        &self,
        config: &Config,
        docker: &Swarm,
        secrets: impl AsyncFnOnce(&Session<'_>) -> Result<(), ReconcileError>,
    ) -> Result<(), ReconcileError> {
        let never = CancellationToken::new();
        if !docker.has_image(&self.image).await? {
            docker.pull(&self.image, PULL, &never, &mut |line| tracing::info!(line, "pulling an image")).await?;
        }
        let own_program = Path::new(OWN_PROGRAM);
        let abra = Abra::find(config.runner.abra.as_deref(), own_program, &config.runner.docker, &never).await?;
        let abra = abra.with_logins(config.runner.registry_login_file.as_deref());
        let home = Home::of(&host_dir(config));
        self.lay_out(config, &home).await?;

        let session = abra.session(&home, COMMAND, &never);
        secrets(&session).await?;
        let before = Before::look(docker, &self.stack).await?;
        let deployed = session.deploy(&self.domain, &Passed::for_our_own(), &mut Heard).await;
        deployed.map_err(|failed| ReconcileError::Abra { what: self.name, failed })?;
        let mut say = |line: String| tracing::info!(line, what = self.name, "an app of this machine comes up");
        converge::wait(docker, &before, UP, &never, &mut say).await.map_err(|failed| self.not_up(failed))?;
        let deployed = Deployed { hash: self.hash.clone(), specs: specs(&docker.services(&self.stack).await?) };
        self.remember(config, &deployed).await
    }

    /// Writes the recipe and the app's `.env` where abra looks for them.
    async fn lay_out(&self, config: &Config, home: &Home) -> Result<(), ReconcileError> {
        let source = host_dir(config).join(format!("{}-recipe", self.name));
        let name: RecipeName = self.recipe.parse()?;
        let target = home.recipe_dir(&name);
        let (files, env) = (self.files.clone(), self.env.clone());
        let (home, from, to, env_file) = (home.clone(), source.clone(), target.clone(), home.env_file(&self.domain));
        blocking(source.clone(), move || {
            home.make()?;
            for dir in [&from, &to] {
                match std::fs::remove_dir_all(dir) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            std::fs::create_dir_all(&from)?;
            for (file, text) in &files {
                std::fs::write(from.join(file), text)?;
            }
            std::fs::write(env_file, env)
        })
        .await?;
        // abra wants a repository; the same files make the same commit.
        git::local_snapshot(&source, &target).await?;
        Ok(())
    }

    /// Nothing, or nothing that can be read, means that the next deploy is due.
    async fn remembered(&self, config: &Config) -> Deployed {
        let text = tokio::fs::read(record(config, self.name)).await.unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    async fn remember(&self, config: &Config, deployed: &Deployed) -> Result<(), ReconcileError> {
        let path = record(config, self.name);
        let text = serde_json::to_vec(deployed).unwrap_or_default();
        tokio::fs::write(&path, text).await.map_err(|source| ReconcileError::File { path, source })
    }
}

fn specs(services: &[Service]) -> BTreeMap<String, Template> {
    services.iter().map(|service| (service.name.clone(), service.whole.clone())).collect()
}

fn record(config: &Config, name: &str) -> PathBuf {
    host_dir(config).join(format!("{name}.json"))
}

/// Takes an app of this machine away with all that belongs to it.
pub(super) async fn remove(
    config: &Config,
    name: &'static str,
    domain: &AppDomain,
) -> Result<Vec<String>, ReconcileError> {
    let docker = Swarm::connect(&config.runner.docker).await?;
    let mut said = Vec::new();
    sweep::teardown(&docker, &domain.stack(), Patience::default(), &mut |line| said.push(line)).await?;
    let (env_file, record) = (Home::of(&host_dir(config)).env_file(domain), record(config, name));
    blocking(record.clone(), move || {
        for file in [&env_file, &record] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    })
    .await?;
    said.push(format!("{name}: nothing of it is left"));
    Ok(said)
}

pub(super) async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ReconcileError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    done.map_err(|source| ReconcileError::File { path, source })
}

/// abra's words go into our own log.
pub(super) struct Heard;

impl Listener for Heard {
    fn command(&mut self, line: &str) {
        tracing::info!(line, "abra is called");
    }

    fn output(&mut self, _: Stream, bytes: &[u8]) {
        tracing::debug!(output = %String::from_utf8_lossy(bytes), "abra says");
    }
}
