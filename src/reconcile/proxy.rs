//! Traefik, from a recipe of our own that lies in this program, deployed by abra like any app. Everything that decides what it
//! should be (recipe, ports, image, certificate) goes into one hash; a running proxy whose label has that hash, whose spec is
//! the one Swarm had after our deploy, and whose task runs, is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::ReconcileError;
use super::certificate::{self, Pair};
use crate::abra::driver::{Abra, Failed, Home, Listener};
use crate::clock::Clock;
use crate::compose::policy::Passed;
use crate::config::Config;
use crate::engine::OWN_PROGRAM;
use crate::git;
use crate::model::{AppDomain, RecipeName, StackName};
use crate::probe::{Prober, Seen, http::PROXY_REFRESH};
use crate::sandbox::Stream;
use crate::swarm::converge::{self, Before, NotConverged};
use crate::swarm::sweep::{self, Patience};
use crate::swarm::views::{Service, TaskState, Template};
use crate::swarm::{Swarm, SwarmFault};

const RECIPE: &str = "cc-ci-proxy";
const COMPOSE: &str = include_str!("traefik/compose.yml");
const STATIC: &str = include_str!("traefik/traefik.yml");
const DYNAMIC: &str = include_str!("traefik/dynamic.yml");
const ABRA_SH: &str = include_str!("traefik/abra.sh");
const ENV_SAMPLE: &str = include_str!("traefik/env.sample");
const README: &str = include_str!("traefik/README.md");

/// Certificate and key, in this order.
const SECRETS: [&str; 2] = ["ssl_cert", "ssl_key"];
/// By which a running proxy says what it was made from.
const LABEL: &str = "cc-ci.reconciled";
/// abra cuts longer ones, and `<stack>_dynamic_v<8>` has to stay under Swarm's 64.
const LONGEST_STACK: usize = 45;
const PULL: Duration = Duration::from_secs(600);
const COMMAND: Duration = Duration::from_secs(120);
const UP: Duration = Duration::from_secs(120);
/// A proxy that should not have changed may have been started a moment ago.
const SETTLE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(15);

/// What lies beside the apps' own world: the proxy's `ABRA_DIR`, its recipe, what was deployed.
pub(super) fn host_dir(config: &Config) -> PathBuf {
    config.state_dir.join("host")
}

/// What the proxy should be.
#[derive(Debug)]
struct Wanted {
    domain: AppDomain,
    stack: StackName,
    /// Relative to the recipe's directory.
    files: BTreeMap<&'static str, String>,
    env: String,
    /// Full names.
    secrets: [String; 2],
    configs: [String; 2],
    hash: String,
    pair: Pair,
}

/// What was deployed, as Swarm had it afterwards: who changes it later is found out.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Deployed {
    hash: String,
    /// By service.
    specs: BTreeMap<String, Template>,
}

fn domain_of(config: &Config) -> Result<AppDomain, ReconcileError> {
    match &config.proxy.domain {
        Some(domain) => Ok(domain.parse()?),
        None => Ok(format!("proxy.{}", config.domain).parse()?),
    }
}

fn short_hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..4])
}

impl Wanted {
    fn of(config: &Config, pair: Pair) -> Result<Wanted, ReconcileError> {
        let proxy = &config.proxy;
        let domain = domain_of(config)?;
        let stack = domain.stack();
        if stack.as_str().len() > LONGEST_STACK {
            return Err(ReconcileError::TooLong(stack.to_string()));
        }
        let (http, https) = (proxy.http_port.to_string(), proxy.address.port().to_string());
        let docker = config.runner.docker.display().to_string();
        let refresh = PROXY_REFRESH.as_secs().to_string();
        let tag = proxy.image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let version: String =
            tag.trim_start_matches('v').chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        let mut words: BTreeMap<&str, &str> = BTreeMap::from([
            ("@IMAGE@", &*proxy.image),
            ("@HTTP_PORT@", &http),
            ("@HTTPS_PORT@", &https),
            ("@DOCKER@", &docker),
            ("@NETWORK@", &proxy.network),
            ("@REFRESH@", &refresh),
            ("@VERSION@", &version),
        ]);
        let fill = |text: &str, words: &BTreeMap<&str, &str>| {
            words.iter().fold(text.to_owned(), |text, (key, value)| text.replace(key, value))
        };
        let (fixed, dynamic) = (fill(STATIC, &words), fill(DYNAMIC, &words));
        let (of_static, of_dynamic) = (short_hash(fixed.as_bytes()), short_hash(dynamic.as_bytes()));
        words.extend([("@STATIC@", &*of_static), ("@DYNAMIC@", &*of_dynamic), ("@PAIR@", &*pair.version)]);
        let compose = fill(COMPOSE, &words);
        let env = env(&domain, &pair.version);
        let hash = {
            let mut all = Sha256::new();
            for part in [&compose, &fixed, &dynamic, &env] {
                all.update(part.as_bytes());
                all.update([0]);
            }
            hex::encode(&all.finalize()[..8])
        };
        words.insert("@WANTED@", &hash);
        let files = BTreeMap::from([
            ("compose.yml", fill(COMPOSE, &words)),
            ("traefik.yml", fixed),
            ("dynamic.yml", dynamic),
            ("abra.sh", fill(ABRA_SH, &words)),
            (".env.sample", fill(ENV_SAMPLE, &words)),
            ("README.md", README.to_owned()),
        ]);
        Ok(Wanted {
            files,
            env,
            secrets: SECRETS.map(|secret| format!("{stack}_{secret}_{}", pair.version)),
            configs: [format!("{stack}_static_v{of_static}"), format!("{stack}_dynamic_v{of_dynamic}")],
            hash,
            domain,
            stack,
            pair,
        })
    }
}

fn env(domain: &AppDomain, pair: &str) -> String {
    let start = format!("TYPE={RECIPE}\nDOMAIN={domain}\nLETS_ENCRYPT_ENV=\nCOMPOSE_FILE=compose.yml\n");
    SECRETS.iter().fold(start, |env, secret| env + &format!("SECRET_{}_VERSION={pair}\n", secret.to_uppercase()))
}

pub(super) async fn reconcile(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let (Some(certificate), Some(key)) = (config.proxy.certificate_file.clone(), config.proxy.key_file.clone()) else {
        return Err(ReconcileError::NoCertificate(config.domain.clone()));
    };
    let (domain, now) = (config.domain.clone(), Clock::system().now());
    let files = [certificate.clone(), key.clone()];
    let pair = blocking(host_dir(config), move || Ok(certificate::read(&certificate, &key, &domain, now))).await??;
    let wanted = Wanted::of(config, pair)?;
    let docker = super::docker(config).await?;
    let network = docker.networks().await?.into_iter().find(|network| network.name == config.proxy.network);
    let network = network.ok_or_else(|| ReconcileError::NoNetwork(config.proxy.network.clone()))?;

    let mut said =
        vec![format!("certificate: for *.{}, good until {}", config.domain, wanted.pair.not_after.format("%Y-%m-%d"))];
    let known = remembered(config).await;
    let Some(why) = differs(&docker, &wanted, &known, &network.id).await? else {
        said.push(format!("proxy: {} runs as it should", config.proxy.image));
        return Ok(said);
    };
    deploy(config, &docker, &wanted, &files).await?;
    said.push(format!("proxy: {} deployed ({why})", config.proxy.image));
    said.push(answers(config).await?);
    said.extend(forget_old(&docker, &wanted).await?);
    Ok(said)
}

/// In what the proxy is not what it should be, if in anything.
async fn differs(
    docker: &Swarm,
    wanted: &Wanted,
    known: &Deployed,
    network: &str,
) -> Result<Option<String>, ReconcileError> {
    let services = docker.services(&wanted.stack).await?;
    let Some(app) = services.iter().find(|service| service.short() == "app") else {
        return Ok(Some("there was none".to_owned()));
    };
    if app.labels.get(LABEL) != Some(&wanted.hash) {
        return Ok(Some("it was made from something else".to_owned()));
    }
    if known.hash != wanted.hash || known.specs != specs(&services) {
        return Ok(Some("somebody changed it".to_owned()));
    }
    if !app.networks.iter().all(|joined| joined == network) {
        return Ok(Some("its network was made anew".to_owned()));
    }
    if runs(docker, wanted, app).await? {
        return Ok(None);
    }
    // After a reboot it is on its way.
    let before = Before::look(docker, &wanted.stack).await?;
    let never = CancellationToken::new();
    match converge::wait(docker, &before, SETTLE, &never, &mut |_| {}).await {
        Ok(_) => Ok(None),
        Err(NotConverged::Failed(_)) => Ok(Some("it did not run".to_owned())),
        Err(failed) => Err(ReconcileError::NotUp { failed }),
    }
}

async fn runs(docker: &Swarm, wanted: &Wanted, app: &Service) -> Result<bool, SwarmFault> {
    let tasks = docker.tasks(&wanted.stack).await?;
    Ok(tasks
        .iter()
        .any(|task| task.service == app.id && task.template == app.template && task.state == TaskState::Running))
}

fn specs(services: &[Service]) -> BTreeMap<String, Template> {
    services.iter().map(|service| (service.name.clone(), service.whole.clone())).collect()
}

async fn deploy(config: &Config, docker: &Swarm, wanted: &Wanted, files: &[PathBuf; 2]) -> Result<(), ReconcileError> {
    let never = CancellationToken::new();
    let image = &config.proxy.image;
    if !docker.has_image(image).await? {
        docker.pull(image, PULL, &never, &mut |line| tracing::info!(line, "pulling the proxy's image")).await?;
    }
    let abra = Abra::find(config.runner.abra.as_deref(), Path::new(OWN_PROGRAM), &config.runner.docker, &never).await?;
    let abra = abra.with_logins(config.runner.registry_login_file.as_deref());
    let home = Home::of(&host_dir(config));
    lay_out(config, &home, wanted).await?;

    let session = abra.session(&home, COMMAND, &never);
    for (secret, path) in SECRETS.iter().zip(files) {
        // abra runs in a directory of its own.
        let path = std::path::absolute(path).map_err(|source| ReconcileError::File { path: path.clone(), source })?;
        match session.secret_insert(&wanted.domain, (secret, &wanted.pair.version), &path, &mut Heard).await {
            Ok(()) | Err(Failed::Exists) => {}
            Err(failed) => return Err(failed.into()),
        }
    }
    let before = Before::look(docker, &wanted.stack).await?;
    session.deploy(&wanted.domain, &Passed::for_our_own(), &mut Heard).await?;
    let mut say = |line: String| tracing::info!(line, "the proxy comes up");
    match converge::wait(docker, &before, UP, &never, &mut say).await {
        Ok(_) => {}
        Err(NotConverged::Fault(fault)) => return Err(fault.into()),
        Err(failed) => return Err(ReconcileError::NotUp { failed }),
    }
    let deployed = Deployed { hash: wanted.hash.clone(), specs: specs(&docker.services(&wanted.stack).await?) };
    remember(config, &deployed).await
}

/// Writes the recipe and the app's `.env` where abra looks for them.
async fn lay_out(config: &Config, home: &Home, wanted: &Wanted) -> Result<(), ReconcileError> {
    let source = host_dir(config).join("recipe");
    let name: RecipeName = RECIPE.parse()?;
    let target = home.recipe_dir(&name);
    let (files, env) = (wanted.files.clone(), wanted.env.clone());
    let (home, from, to, env_file) = (home.clone(), source.clone(), target.clone(), home.env_file(&wanted.domain));
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

/// Asks the proxy for a host that nobody has: its own 404, behind our certificate, is the right answer.
async fn answers(config: &Config) -> Result<String, ReconcileError> {
    let prober = Prober::new(&config.proxy)?;
    let nobody: AppDomain = format!("cc-ci-nobody.{}", config.domain).parse()?;
    let deadline = tokio::time::Instant::now() + ANSWER;
    loop {
        let seen = prober.get(&nobody, "/").await;
        let why = match &seen {
            Seen::NoRoute | Seen::App(_) | Seen::Gateway(_) => {
                return Ok(format!("proxy: answers on {} with the certificate", config.proxy.address));
            }
            Seen::Certificate(why) => format!(
                "its certificate is not trusted on this machine ({why}); set `proxy.ca_file` to the authority it is from"
            ),
            Seen::Slow => format!("{} does not answer in time", config.proxy.address),
            Seen::Nothing(why) => format!("{} cannot be reached ({why})", config.proxy.address),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(ReconcileError::NotAnswering(why));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Removes the secrets and configs of what was before.
async fn forget_old(docker: &Swarm, wanted: &Wanted) -> Result<Vec<String>, ReconcileError> {
    let begins = [format!("{}_ssl_", wanted.stack), format!("{}_", wanted.stack)];
    let mut said = Vec::new();
    for secret in docker.secrets().await? {
        let old = secret.name.starts_with(&begins[0]) && !wanted.secrets.contains(&secret.name);
        if old && docker.remove_secret(&secret.id).await.is_ok() {
            said.push(format!("secret: {} is not needed any more", secret.name));
        }
    }
    for config in docker.configs().await? {
        let ours =
            config.labels.get(crate::swarm::client::NAMESPACE).is_some_and(|stack| stack == wanted.stack.as_str());
        let old = ours && config.name.starts_with(&begins[1]) && !wanted.configs.contains(&config.name);
        if old && docker.remove_config(&config.id).await.is_ok() {
            said.push(format!("config: {} is not needed any more", config.name));
        }
    }
    Ok(said)
}

pub(super) async fn remove(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let docker = Swarm::connect(&config.runner.docker).await?;
    let domain = domain_of(config)?;
    let mut said = Vec::new();
    sweep::teardown(&docker, &domain.stack(), Patience::default(), &mut |line| said.push(line)).await?;
    let (env_file, record) = (Home::of(&host_dir(config)).env_file(&domain), record(config));
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
    said.push("proxy: nothing of it is left".to_owned());
    Ok(said)
}

fn record(config: &Config) -> PathBuf {
    host_dir(config).join("proxy.json")
}

/// Nothing, or nothing that can be read, means that the next deploy is due.
async fn remembered(config: &Config) -> Deployed {
    let text = tokio::fs::read(record(config)).await.unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

async fn remember(config: &Config, deployed: &Deployed) -> Result<(), ReconcileError> {
    let path = record(config);
    let text = serde_json::to_vec(deployed).unwrap_or_default();
    tokio::fs::write(&path, text).await.map_err(|source| ReconcileError::File { path, source })
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ReconcileError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    done.map_err(|source| ReconcileError::File { path, source })
}

/// abra's words go into our own log.
struct Heard;

impl Listener for Heard {
    fn command(&mut self, line: &str) {
        tracing::info!(line, "abra is called");
    }

    fn output(&mut self, _: Stream, bytes: &[u8]) {
        tracing::debug!(output = %String::from_utf8_lossy(bytes), "abra says");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;

    fn config() -> Config {
        crate::yaml::from_str(
            "config.yaml",
            "domain: ci.example.org\nforge: {url: 'https://git.example.org', organisation: recipes, token_file: /token}\n",
        )
        .unwrap()
    }

    fn wanted(config: &Config) -> Wanted {
        let dir = tempfile::tempdir().unwrap();
        certificate::throw_away(&[&config.domain], dir.path()).unwrap();
        let (pem, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let pair = certificate::read(&pem, &key, &config.domain, Clock::system().now()).unwrap();
        Wanted::of(config, pair).unwrap()
    }

    #[test]
    fn the_recipe_has_no_blank_left_and_compose_takes_it() {
        let wanted = wanted(&config());
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in &wanted.files {
            assert!(!text.contains('@'), "{file}: {text}");
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let mut env: BTreeMap<String, String> = wanted
            .env
            .lines()
            .chain(wanted.files["abra.sh"].lines())
            .filter_map(|line| line.trim_start_matches("export ").split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        env.insert("STACK_NAME".into(), wanted.stack.to_string());
        let composed = compose::load(dir.path(), &["compose.yml".to_owned()], &env).unwrap();
        let rendered = composed.render();
        for name in wanted.secrets.iter().chain(&wanted.configs) {
            assert!(rendered.contains(name.as_str()), "{name} is not in {rendered}");
            assert!(name.len() <= 64);
        }
        assert!(rendered.contains(&wanted.hash));
    }

    #[test]
    fn another_certificate_or_port_is_another_proxy() {
        let config = config();
        let one = wanted(&config);
        let mut other = config.clone();
        other.proxy.http_port = 8081;
        assert_ne!(one.hash, wanted(&config).hash, "each has its own certificate");
        let again = Wanted::of(&config, one.pair.clone()).unwrap();
        assert_eq!(one.hash, again.hash);
        assert_ne!(one.hash, Wanted::of(&other, one.pair.clone()).unwrap().hash);
    }

    #[test]
    fn a_domain_that_swarm_would_not_take_is_refused_before_anything_is_made() {
        let mut config = config();
        config.proxy.domain = Some(format!("{}.example.org", "a".repeat(40)));
        let dir = tempfile::tempdir().unwrap();
        certificate::throw_away(&[&config.domain], dir.path()).unwrap();
        let (pem, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let pair = certificate::read(&pem, &key, &config.domain, Clock::system().now()).unwrap();
        assert!(matches!(Wanted::of(&config, pair), Err(ReconcileError::TooLong(_))));
    }
}
