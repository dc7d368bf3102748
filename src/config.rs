//! One YAML file says how this appliance is; every key has a default but the four that cannot have one.

mod bounds;
mod check;
pub mod notify;
pub mod schedule;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::check::Unfit;
pub use self::units::{bytes, span};
use crate::compose::policy::Bounds;
use crate::model::{Login, RepoName};
use crate::yaml::{self, Node, Wrong, YamlError};
use crate::{given, secrets};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Apps live under `*.<domain>`, and the wildcard certificate is for it.
    pub domain: String,
    /// Database, logs, workspaces.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// What this appliance knows about recipes: `<recipe>/recipe.yaml` and `<recipe>/checks/` in it.
    #[serde(default = "default_recipes_dir")]
    pub recipes_dir: PathBuf,
    pub forge: Forge,
    #[serde(default)]
    pub web: Web,
    #[serde(default)]
    pub runner: Runner,
    #[serde(default)]
    pub proxy: Proxy,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default)]
    pub backup: Backup,
    #[serde(default)]
    pub report: Report,
    /// Who hears of turns and alarms elsewhere than on the forge.
    #[serde(default)]
    pub notify: Vec<notify::Target>,
    /// When base branches are tested without anybody asking; without it never.
    #[serde(default)]
    pub schedule: Option<schedule::Schedule>,
    #[serde(default)]
    pub logs: Logs,
    #[serde(default)]
    pub retention: Retention,
}

/// The Gitea or Forgejo that the recipes live on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forge {
    /// Base address, sub-path included: `https://git.example.org`.
    pub url: String,
    pub organisation: Login,
    /// File with the bot's token: `write:issue`, `write:repository`, `read:organization`, `read:user`.
    pub token_file: PathBuf,
    /// People who may ask though they are no members.
    #[serde(default)]
    pub allow: Vec<Login>,
    #[serde(default)]
    pub enrol: Enrol,
    #[serde(default)]
    pub poll: Poll,
    #[serde(default)]
    pub quota: Quota,
    /// Without it there is no `/hook`.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// How the commit status is called.
    #[serde(default = "default_context")]
    pub status_context: String,
}

/// Which repositories are tested.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// Only repositories with this topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// Only these.
    #[serde(default)]
    pub repositories: Vec<RepoName>,
    /// Never these.
    #[serde(default)]
    pub except: Vec<RepoName>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Poll {
    /// Between two looks; each one up to a fifth earlier.
    #[serde(with = "span")]
    pub interval: Duration,
    /// Looked at again each time, for what arrived late or in the same second.
    #[serde(with = "span")]
    pub overlap: Duration,
    /// Between two looks at every repository.
    #[serde(with = "span")]
    pub sweep: Duration,
}

impl Default for Poll {
    fn default() -> Poll {
        Poll { interval: seconds(30), overlap: seconds(120), sweep: seconds(300) }
    }
}

/// How much may be asked for, so that nobody takes the appliance for himself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Runs of one member that wait at a time.
    pub member: u32,
    /// Runs asked for on one pull request within an hour.
    pub pull_request: u32,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota { member: 20, pull_request: 12 }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub secret_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    #[serde(with = "units::socket")]
    pub listen: SocketAddr,
    /// How people reach the dashboard; links on the forge begin with it.
    pub url: Option<String>,
}

impl Default for Web {
    fn default() -> Web {
        Web { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), url: None }
    }
}

impl Web {
    /// The dashboard's address without a slash at its end.
    pub fn address(&self) -> String {
        match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runner {
    /// Runs at a time.
    pub parallel: usize,
    /// The abra to spawn; where it is not set and none is on the PATH, `cc-ci abra` stands in.
    pub abra: Option<PathBuf>,
    /// Docker's socket.
    pub docker: PathBuf,
    /// File with a token that may only read; the bot's own where there is none.
    pub git_token_file: Option<PathBuf>,
    /// Logins to registries: the file that `docker login` writes, and called `config.json` as Docker wants it.
    pub registry_login_file: Option<PathBuf>,
    /// When told to stop, how long the run under way may go on before it is torn down and tried again later.
    #[serde(with = "span")]
    pub grace: Duration,
    /// Before a run that failed by no fault of the recipe is tried again; the second time twice as long, then no more.
    #[serde(with = "span")]
    pub retry_after: Duration,
    /// Whether a picture of each app's front page is taken, which takes a browser some seconds.
    pub picture: bool,
    pub limits: Limits,
    pub images: Images,
}

impl Default for Runner {
    fn default() -> Runner {
        Runner {
            parallel: 1,
            abra: None,
            docker: "/var/run/docker.sock".into(),
            git_token_file: None,
            registry_login_file: None,
            grace: seconds(600),
            retry_after: seconds(60),
            picture: true,
            limits: Limits::default(),
            images: Images::default(),
        }
    }
}

/// When images that nothing names any more are removed. Those with a name never are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Only while more than this part of Docker's disk is in use, in percent.
    pub above: u8,
    /// Only what was made so long ago.
    #[serde(with = "span")]
    pub older_than: Duration,
}

impl Default for Images {
    fn default() -> Images {
        Images { above: 80, older_than: seconds(24 * 3600) }
    }
}

/// Each one ends the whole process tree, and the teardown runs all the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(with = "span")]
    pub command: Duration,
    #[serde(with = "span")]
    pub stage: Duration,
    #[serde(with = "span")]
    pub run: Duration,
    /// No line in the log and no change in the Swarm for this long.
    #[serde(with = "span")]
    pub silence: Duration,
    /// The teardown's own.
    #[serde(with = "span")]
    pub teardown: Duration,
    /// From converged to an answer through the proxy.
    #[serde(with = "span")]
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            command: seconds(600),
            stage: seconds(1800),
            run: seconds(3600),
            silence: seconds(1200),
            teardown: seconds(180),
            answer: seconds(60),
        }
    }
}

/// What pull requests may ask of this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Registries that images may come from: `docker.io`, `ghcr.io`. None named means any that is public.
    pub registries: Vec<String>,
    /// Tasks that a service may ask for.
    pub replicas: u64,
    pub app: AppLimits,
}

/// What each container of a test app may take of the machine, whatever its recipe says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppLimits {
    /// In MiB.
    pub memory_mib: u64,
    /// Of one processor; `1.5` is one and a half.
    pub cpus: f64,
    pub pids: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        let bounds = Bounds::default();
        Policy { registries: bounds.registries, replicas: bounds.replicas, app: AppLimits::default() }
    }
}

impl Default for AppLimits {
    fn default() -> AppLimits {
        AppLimits { memory_mib: 4096, cpus: 2.0, pids: 4096 }
    }
}

/// Traefik in front of the apps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Where HTTPS is answered; probes connect here and nowhere else.
    #[serde(with = "units::socket")]
    pub address: SocketAddr,
    /// Port of plain HTTP, which redirects.
    pub http_port: u16,
    /// The wildcard pair in PEM, certificate first, then its chain.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Trusted besides the system's, for probes: a CA of one's own.
    pub ca_file: Option<PathBuf>,
    pub image: String,
    pub network: String,
    /// What abra calls the proxy's own app; its stack is named after it.
    pub domain: Option<String>,
}

impl Default for Proxy {
    fn default() -> Proxy {
        Proxy {
            address: SocketAddr::from(([127, 0, 0, 1], 443)),
            http_port: 80,
            certificate_file: None,
            key_file: None,
            ca_file: None,
            image: "traefik:v3.6.5".into(),
            network: "proxy".into(),
            domain: None,
        }
    }
}

/// The backup service that `cc-ci reconcile backupbot` puts up where there is no other.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// With restic in it, and `/usr/bin/backup` that calls this program, which is bound to `/usr/local/bin/cc-ci`.
    pub image: Option<String>,
    /// What abra calls the service's own app; its stack is named after it.
    pub domain: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    pub verdict: VerdictAs,
}

/// How the verdict reaches the pull request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictAs {
    /// A new comment, which notifies; the one that showed the progress goes.
    #[default]
    Replace,
    /// The same comment, edited, which notifies nobody.
    Edit,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Bytes kept of one run: its head and its tail.
    pub run_bytes: u64,
    pub format: LogFormat,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs { run_bytes: 64 << 20, format: LogFormat::Auto }
    }
}

/// What is kept of runs that are over. The last green and the last red run of each recipe stay whatever is said here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Older runs go, with their logs and evidence.
    #[serde(with = "span")]
    pub age: Duration,
    /// Beyond so many the oldest go.
    pub runs: u32,
    /// Beyond so much of logs and evidence the oldest go: `20G`.
    #[serde(with = "bytes")]
    pub size: u64,
    /// With less than this left on the disk of the state directory no run begins.
    #[serde(with = "bytes")]
    pub free: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { age: seconds(365 * 86_400), runs: 20_000, size: 20_000_000_000, free: 2_000_000_000 }
    }
}

/// Of cc-ci's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal where there is one, text on standard error elsewhere.
    #[default]
    Auto,
    Journal,
    Text,
    Json,
}

fn default_state_dir() -> PathBuf {
    "/var/lib/cc-ci".into()
}

fn default_recipes_dir() -> PathBuf {
    "/etc/cc-ci/recipes".into()
}

fn default_context() -> String {
    "cc-ci/test".into()
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The database of a state directory.
pub fn database_in(state_dir: &Path) -> PathBuf {
    state_dir.join("cc-ci.db")
}

/// What the runs of a state directory left as evidence.
pub fn evidence_in(state_dir: &Path) -> PathBuf {
    state_dir.join("evidence")
}

/// The runs' logs of a state directory.
pub fn logs_in(state_dir: &Path) -> PathBuf {
    state_dir.join("logs")
}

/// Where the process `serve` or `runner` of a state directory is rung for.
pub fn bell_in(state_dir: &Path, process: &str) -> PathBuf {
    state_dir.join(format!("bell-{process}.sock"))
}

impl Config {
    /// What the policy needs to know of this appliance.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            registries: self.policy.registries.clone(),
            replicas: self.policy.replicas,
            network: self.proxy.network.clone(),
        }
    }
}

/// Where things lie in the state directory.
impl Config {
    pub fn database(&self) -> PathBuf {
        database_in(&self.state_dir)
    }

    pub fn logs_dir(&self) -> PathBuf {
        logs_in(&self.state_dir)
    }

    /// One directory a run, gone when it is torn down.
    pub fn work_dir(&self) -> PathBuf {
        self.state_dir.join("work")
    }

    pub fn evidence_dir(&self) -> PathBuf {
        evidence_in(&self.state_dir)
    }

    pub fn bell(&self, process: &str) -> PathBuf {
        bell_in(&self.state_dir, process)
    }
}

/// What is wrong with a configuration file, in the words of faces: `file:line:column: what; cure`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Wrong(#[from] YamlError),
    #[error("{path}: {what}", path = path.display())]
    Invalid { path: PathBuf, what: String },
}

/// Reads and checks a file, the secrets' files included.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let (root, config) = read(path)?;
    check_secrets(&config).map_err(|unfit| refusal(path, &root, unfit))?;
    Ok(config)
}

/// Reads and checks a file where the secrets need not be: on the machine that builds the appliance's system, and in commands
/// that read none of them, or only some.
pub fn load_without_secrets(path: &Path) -> Result<Config, ConfigError> {
    read(path).map(|(_, config)| config)
}

fn read(path: &Path) -> Result<(Node, Config), ConfigError> {
    let text = given::read_text(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    let file = path.display().to_string();
    let root = yaml::parse(&file, &text)?;
    let config = yaml::from_node(&file, &root)?;
    check::check(&config).map_err(|unfit| refusal(path, &root, unfit))?;
    Ok((root, config))
}

/// With the place of the key, where the file has it.
fn refusal(path: &Path, root: &Node, unfit: Unfit) -> ConfigError {
    match unfit.place(root) {
        Some(span) => {
            let (file, message) = (path.display().to_string(), unfit.words);
            YamlError { file, span, message, wrong: Wrong::Content }.into()
        }
        None => ConfigError::Invalid { path: path.into(), what: unfit.words },
    }
}

/// That the secrets' files are there, hold something, and are not for everybody.
fn check_secrets(config: &Config) -> Result<(), Unfit> {
    let webhook = config.forge.webhook.as_ref().map(|webhook| &webhook.secret_file);
    let secrets = [
        ("forge.token_file", Some(&config.forge.token_file)),
        ("forge.webhook.secret_file", webhook),
        ("runner.git_token_file", config.runner.git_token_file.as_ref()),
        ("runner.registry_login_file", config.runner.registry_login_file.as_ref()),
        ("proxy.key_file", config.proxy.key_file.as_ref()),
    ];
    for (key, file) in secrets {
        if let Some(file) = file {
            let checked = if key.ends_with("token_file") { secrets::check_token } else { secrets::check_file };
            checked(file).map_err(|error| Unfit::at(key, format!("`{key}`: {error}")))?;
        }
    }
    for (number, target) in config.notify.iter().enumerate() {
        for (key, file) in target.secrets() {
            let of_target = |error| format!("`notify ({}): {key}`: {error}", target.name);
            secrets::check_file(file).map_err(|error| Unfit::at(format!("notify.{number}.{key}"), of_target(error)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{load, load_without_secrets};

    #[test]
    fn a_machine_that_only_builds_has_no_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let text = "domain: ci.example.org\nforge: {url: 'https://git.example.org', organisation: recipes, token_file: /nowhere}\n";
        std::fs::write(&path, text).unwrap();
        assert!(load_without_secrets(&path).is_ok());
        assert!(load(&path).unwrap_err().to_string().contains("`forge.token_file`: /nowhere cannot be read"));
        for (old, new, words) in [
            ("https:", "ftp:", "`forge.url`"),
            ("forge: {", "forge: {poll: {interval: 0s}, ", "`forge.poll.interval` is less than a second"),
            ("domain: ci", "state_dir: here\ndomain: ci", "`state_dir` is `here`"),
            ("domain: ci", "runner: {parallel: 1000000}\ndomain: ci", "at most 64"),
            ("domain: ci", "proxy: {http_port: 443}\ndomain: ci", "are both port 443"),
        ] {
            std::fs::write(&path, text.replace(old, new)).unwrap();
            let said = load_without_secrets(&path).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
