//! A whole small world in one directory: configuration, certificates, a forge with an organisation and people. `cc-ci up --dev`
//! lives in it, and the demo.

use std::net::{SocketAddr, TcpListener as Probe};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::forge::dev::{self as forge, Remote};
use crate::reconcile::{self, certificate};

const ORGANISATION: &str = "recipes";
/// Who writes for cc-ci, who may ask, and who may not.
const BOT: &str = "cc-ci-bot";
const MEMBER: &str = "alice";
const STRANGER: &str = "mallory";
/// Made by `scripts/lib/images.sh`; no registry has it.
const BACKUP_IMAGE: &str = "cc-ci-test/backup:1";

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("no port is free on this machine: {0}")]
    Port(std::io::Error),
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    #[error(transparent)]
    Reconcile(#[from] reconcile::ReconcileError),
    #[error("the forge of this directory: {0}")]
    Forge(#[from] forge::RemoteFault),
    #[error("the forge cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Writes what is missing and reads the configuration back: the second time everything is as it was the first.
pub fn prepare(dir: &Path) -> Result<Config, SetupError> {
    let file = dir.join("config.yaml");
    if !file.exists() {
        std::fs::create_dir_all(dir).map_err(|source| SetupError::File { path: dir.into(), source })?;
        let dir = dir.canonicalize().map_err(|source| SetupError::File { path: dir.into(), source })?;
        let [forge, web, https, http] = free_ports()?;
        // Another world on the same Swarm has other apps.
        let domain = format!("w{https}.test");
        certificate::throw_away(&[&domain], &dir)?;
        write(&dir.join("token"), &token()?, 0o600)?;
        write(&file, &configuration(&dir, &domain, forge, web, https, http), 0o644)?;
    }
    Ok(config::load(&file)?)
}

fn configuration(dir: &Path, domain: &str, forge: u16, web: u16, https: u16, http: u16) -> String {
    // Paths are YAML strings in JSON's form, so that no character of them means anything else.
    let path = |name: &str| serde_json::json!(dir.join(name)).to_string();
    format!(
        "domain: {domain}\n\
         state_dir: {state}\n\
         forge:\n  url: http://127.0.0.1:{forge}\n  organisation: {ORGANISATION}\n  token_file: {token}\n  poll: {{interval: 2s}}\n\
         web: {{listen: '127.0.0.1:{web}'}}\n\
         proxy:\n  address: 127.0.0.1:{https}\n  http_port: {http}\n  domain: proxy.{domain}\n  \
         certificate_file: {certificate}\n  key_file: {key}\n  ca_file: {authority}\n\
         backup: {{image: '{BACKUP_IMAGE}', domain: backup.{domain}}}\n",
        state = path("state"),
        token = path("token"),
        certificate = path("certificate.pem"),
        key = path("key.pem"),
        authority = path("authority.pem"),
    )
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), SetupError> {
    let failed = |source| SetupError::File { path: path.into(), source };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path).map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}

fn token() -> Result<String, SetupError> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(SetupError::Random)?;
    Ok(hex::encode(bytes))
}

/// Held together until all are chosen, so that they differ.
fn free_ports<const N: usize>() -> Result<[u16; N], SetupError> {
    let mut probes = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let probe = Probe::bind("127.0.0.1:0").map_err(SetupError::Port)?;
        *port = probe.local_addr().map_err(SetupError::Port)?.port();
        probes.push(probe);
    }
    Ok(ports)
}

/// The forge of a small world, and what it needs of the Swarm.
#[derive(Debug)]
pub struct World {
    _forge: JoinHandle<std::io::Result<()>>,
}

/// Starts the forge with its people, and brings Swarm, proxy and backup service up.
pub async fn start(dir: &Path, config: &Config, shutdown: CancellationToken) -> Result<World, SetupError> {
    let address = config.forge.url.trim_start_matches("http://").to_owned();
    let listen = async { TcpListener::bind(address.parse::<SocketAddr>().map_err(std::io::Error::other)?).await };
    let listener = listen.await.map_err(|source| SetupError::Listen { address: address.clone(), source })?;
    let served = tokio::spawn(forge::serve(listener, dir.join("forge"), shutdown));
    people(config).await?;
    for line in reconcile::swarm(config).await? {
        crate::say!("{line}");
    }
    for line in reconcile::proxy(config).await? {
        crate::say!("{line}");
    }
    say_of_backups(config).await;
    crate::say!("forge      {}", config.forge.url);
    crate::say!("dashboard  {}", config.web.address());
    Ok(World { _forge: served })
}

/// Without a backup service everything but backups can be tested.
pub async fn say_of_backups(config: &Config) {
    match reconcile::backupbot(config).await {
        Ok(lines) => lines.iter().for_each(|line| crate::say!("{line}")),
        Err(error) => crate::say!("backupbot: {}", crate::engine::causes(&error)),
    }
}

/// The organisation, a member, a stranger, and the bot with the token of the configuration.
pub async fn people(config: &Config) -> Result<(), SetupError> {
    let remote = Remote::new(&config.forge.url)?;
    let token = crate::secrets::read_file(&config.forge.token_file).map_err(|error| {
        SetupError::Config(config::ConfigError::Invalid { path: "config.yaml".into(), what: error.to_string() })
    })?;
    let bot = serde_json::json!({"login": BOT, "token": token.expose()});
    remote.call(reqwest::Method::POST, "users", &bot).await?;
    for login in [MEMBER, STRANGER] {
        remote.user(login, &["all"]).await?;
    }
    remote.org(ORGANISATION, &[BOT, MEMBER]).await?;
    Ok(())
}
