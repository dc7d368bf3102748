//! Traefik in front of the apps: a recipe of our own in this program, deployed by abra like any other.
//!
//! Its secrets and configs carry their content's hash as version, so a new certificate is a new secret and a changed setting
//! a new config. What was deployed is known by two things: a label with the hash of all that goes in, and a note of what the
//! service looked like after it; whatever changed either is put right.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{PROXY_LIMIT, ReconcileError, certificate};
use crate::abra::driver::{Abra, Failed, Home, Nobody};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::OWN_PROGRAM;
use crate::model::{AppDomain, RecipeName, StackName};
use crate::sandbox::{self, Command};
use crate::swarm::Swarm;
use crate::swarm::converge::{self, Before};
use crate::swarm::sweep::{self, Patience};
use crate::swarm::views::TaskState;

const FILES: [(&str, &str); 5] = [
    ("compose.yml", include_str!("traefik/compose.yml")),
    ("traefik.yml", include_str!("traefik/traefik.yml")),
    ("file-provider.yml", include_str!("traefik/file-provider.yml")),
    ("abra.sh", include_str!("traefik/abra.sh")),
    (".env.sample", include_str!("traefik/env.sample")),
];
const LABEL: &str = "cc-ci.proxy";
/// One call of abra.
const CALL: Duration = Duration::from_secs(120);

/// Where the proxy's own app is, and its files.
struct Place {
    domain: AppDomain,
    stack: StackName,
    recipe: RecipeName,
    dir: PathBuf,
    home: Home,
}

impl Place {
    fn of(config: &Config) -> Result<Place, ReconcileError> {
        let word = |error: crate::model::NotA| ReconcileError::Other(format!("`proxy.domain`: {error}"));
        let name = config.proxy.domain.clone().unwrap_or_else(|| format!("proxy.{}", config.domain));
        let domain: AppDomain = name.parse().map_err(word)?;
        let dir = config.state_dir.join("proxy");
        Ok(Place { stack: domain.stack(), domain, recipe: "traefik".parse().map_err(word)?, home: Home::of(&dir), dir })
    }

    fn note(&self) -> PathBuf {
        self.dir.join("deployed")
    }
}

/// Traefik runs with the certificate and the settings of the configuration.
pub async fn proxy(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let place = Place::of(config)?;
    let (Some(cert_file), Some(key_file)) = (&config.proxy.certificate_file, &config.proxy.key_file) else {
        return Err(super::other(
            "`proxy.certificate_file` and `proxy.key_file` are not set; they name the wildcard certificate and its key",
        ));
    };
    let pair = certificate::check(cert_file, key_file, &config.domain, Clock::system().now())?;
    let (files, hash) = recipe(config, &pair.version);
    let swarm = Swarm::connect(&config.runner.docker).await?;
    let ends = pair.ends_at.format("%Y-%m-%d");
    if stands(&swarm, &place, &hash).await? {
        return Ok(vec![format!("the proxy is as it should be; its certificate ends on {ends}")]);
    }

    lay(&place, &files).await?;
    let cancel = CancellationToken::new();
    let abra =
        Abra::find(config.runner.abra.as_deref(), Path::new(OWN_PROGRAM), &config.runner.docker, &cancel).await?;
    let session = abra.session(&place.home, CALL, &cancel);
    let mut nobody = Nobody;
    session.app_new(&place.recipe, &place.domain, &mut nobody).await?;
    for (name, file) in [("ssl_cert", cert_file), ("ssl_key", key_file)] {
        match session.secret_insert(&place.domain, (name, &pair.version), file, &mut nobody).await {
            Ok(()) | Err(Failed::Exists) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let before = Before::look(&swarm, &place.stack).await?;
    session.deploy(&place.domain, &mut nobody).await?;
    converge::wait(&swarm, &before, PROXY_LIMIT, &cancel, &mut |_| {}).await?;
    remove_old(&swarm, &place.stack).await?;
    note(&swarm, &place, &hash).await?;
    let verb = if before.services.is_empty() { "was deployed" } else { "was brought up to date" };
    Ok(vec![format!("the proxy {verb} as {}; its certificate ends on {ends}", place.stack)])
}

/// Takes the proxy away, with all that belongs to it.
pub async fn remove_proxy(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let place = Place::of(config)?;
    let swarm = Swarm::connect(&config.runner.docker).await?;
    sweep::teardown(&swarm, &place.stack, Patience::default(), &mut |_| {}).await?;
    remove_dir(&place.dir)?;
    Ok(vec![format!("the proxy {} is gone", place.stack)])
}

/// The recipe with everything filled in, and the hash of it.
fn recipe(config: &Config, pair: &str) -> (Vec<(&'static str, String)>, String) {
    let proxy = &config.proxy;
    let fill = |text: &str| {
        text.replace("@IMAGE@", &proxy.image)
            .replace("@NETWORK@", &proxy.network)
            .replace("@HTTPS_PORT@", &proxy.address.port().to_string())
            .replace("@HTTP_PORT@", &proxy.http_port.to_string())
            .replace("@PAIR@", pair)
    };
    let files: Vec<(&str, String)> = FILES.iter().map(|(name, text)| (*name, fill(text))).collect();
    let configs = hash(&files[1..3]);
    let whole = hash(&files);
    let last = |text: String| text.replace("@CONFIG@", &configs).replace("@HASH@", &whole);
    (files.into_iter().map(|(name, text)| (name, last(text))).collect(), whole)
}

fn hash(files: &[(&str, String)]) -> String {
    let mut digest = Sha256::new();
    for (name, text) in files {
        digest.update(name);
        digest.update([0]);
        digest.update(text);
        digest.update([0]);
    }
    hex::encode(&digest.finalize()[..5])
}

/// It runs, with this hash, and nobody altered it since it was deployed.
async fn stands(swarm: &Swarm, place: &Place, hash: &str) -> Result<bool, ReconcileError> {
    let services = swarm.services(&place.stack).await?;
    let [service] = services.as_slice() else { return Ok(false) };
    let tasks = swarm.tasks(&place.stack).await?;
    let runs = tasks.iter().any(|task| task.state == TaskState::Running);
    let noted = std::fs::read_to_string(place.note()).unwrap_or_default();
    let is_ours = service.labels.get(LABEL).is_some_and(|label| label == hash);
    Ok(runs && is_ours && noted == format!("{hash}\n{:?}\n", service.whole))
}

async fn note(swarm: &Swarm, place: &Place, hash: &str) -> Result<(), ReconcileError> {
    if let [service] = swarm.services(&place.stack).await?.as_slice() {
        let path = place.note();
        std::fs::write(&path, format!("{hash}\n{:?}\n", service.whole)).map_err(|source| file(&path, source))?;
    }
    Ok(())
}

fn file(path: &Path, source: std::io::Error) -> ReconcileError {
    ReconcileError::File { what: path.display().to_string(), source }
}

fn remove_dir(dir: &Path) -> Result<(), ReconcileError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file(dir, error)),
        _ => Ok(()),
    }
}

/// A fresh home for abra with the recipe as a repository, since abra stamps what it deploys with a commit.
async fn lay(place: &Place, files: &[(&str, String)]) -> Result<(), ReconcileError> {
    remove_dir(&place.dir)?;
    place.home.make().map_err(|source| file(&place.dir, source))?;
    let dir = place.home.recipe_dir(&place.recipe);
    std::fs::create_dir_all(&dir).map_err(|source| file(&dir, source))?;
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|source| file(&path, source))?;
    }
    git(&dir, &["init", "--quiet", "--initial-branch", "main"]).await?;
    git(&dir, &["add", "--all"]).await?;
    git(&dir, &["commit", "--quiet", "--message", "The proxy"]).await
}

async fn git(dir: &Path, arguments: &[&str]) -> Result<(), ReconcileError> {
    let command = Command::new("git")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "user.name=cc-ci", "-c", "user.email=cc-ci@localhost"])
        .args(arguments)
        .cwd(dir)
        .env_from_ours(["PATH"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .limit(CALL);
    let output = sandbox::output(&command, &CancellationToken::new(), 1 << 16).await;
    let output = output.map_err(|error| ReconcileError::Other(format!("git cannot be started: {error}")))?;
    if output.exit.is_success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ReconcileError::Other(format!("git {}: {said}", arguments.join(" "))))
}

/// Secrets and configs of versions before; what a task still holds stays until the next time.
async fn remove_old(swarm: &Swarm, stack: &StackName) -> Result<(), ReconcileError> {
    let services = swarm.services(stack).await?;
    let used = |name: &str| {
        services.iter().any(|service| service.secrets.iter().chain(&service.configs).any(|used| used == name))
    };
    let prefix = format!("{stack}_");
    for secret in swarm.secrets().await? {
        if secret.name.starts_with(&prefix) && !used(&secret.name) {
            let _ = swarm.remove_secret(&secret.id).await;
        }
    }
    for config in swarm.configs().await? {
        if config.name.starts_with(&prefix) && !used(&config.name) {
            let _ = swarm.remove_config(&config.id).await;
        }
    }
    Ok(())
}
