//! What a recipe's directory says about itself, before anything of it runs: its name, its files, its secrets, what answers
//! the web. Everything in it was written by somebody else, so every answer is checked and every refusal says where and what to do.

pub mod database;
mod history;
pub mod lint;
pub mod policy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use lint::{Finding, Severity, lint};

use crate::compose::abra_sh::{self, AbraSh};
use crate::compose::env_file::{self, EnvFile, Modifiers};
use crate::compose::{self, Compose, ComposeError, Kind, Place, inside};
use crate::model::{AppDomain, NotA, RecipeName};

/// Swarm's limit for the name of a config or secret.
pub const LONGEST_NAME: usize = 64;
/// A service's name is a host name too.
pub const LONGEST_SERVICE: usize = 63;
/// Where abra cuts a stack's name.
pub const LONGEST_STACK: usize = 45;
/// abra's own patience where the recipe has no timeout label.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// A recipe as it lies in a directory.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub dir: PathBuf,
    pub name: RecipeName,
    /// The version that `TYPE=name:version` pins, if it does.
    pub pinned: Option<String>,
    pub sample: EnvFile,
    pub abra_sh: AbraSh,
    /// What `COMPOSE_FILE` of the sample names; `compose.yml` where it says nothing.
    pub compose_files: Vec<String>,
}

/// Why a directory is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error(".env.sample: {0}")]
    Sample(inside::NotRead),
    #[error(".env.sample:{}: {}", .0.line, .0.what)]
    SampleLine(env_file::EnvError),
    #[error(".env.sample: there is no `TYPE=`, so the recipe has no name")]
    NoType,
    #[error(".env.sample:{line}: TYPE: {why}")]
    Name { line: u32, why: NotA },
    #[error("abra.sh: {0}")]
    AbraSh(inside::NotRead),
    #[error(transparent)]
    Compose(#[from] ComposeError),
    #[error("{0}: there is no service called `app`; abra puts its labels on it, so call the main one that")]
    NoApp(String),
    #[error("{place}: {kind} `{name}` has {length} characters, {most} are allowed; {cure}")]
    NameTooLong { place: Place, kind: &'static str, name: String, length: usize, most: usize, cure: String },
}

/// A secret that services use, and how it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretSpec {
    /// As the compose file calls it: `db_password`.
    pub name: String,
    /// The variable in its full name that says its version, usually `SECRET_DB_PASSWORD_VERSION`.
    pub variable: Option<String>,
    /// Empty where the variable has no value.
    pub version: String,
    pub modifiers: Modifiers,
    /// Its name in Swarm.
    pub full_name: String,
    pub place: Place,
}

/// What the recipe says, filled in for one app.
#[derive(Clone, Debug)]
pub struct Said {
    pub compose: Compose,
    pub stack: String,
    /// The label `coop-cloud.<stack>.version`, on whichever service.
    pub version: Option<String>,
    pub timeout: Duration,
    pub web: Option<Web>,
    pub secrets: Vec<SecretSpec>,
}

/// What Traefik is told about the service that answers the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    pub service: String,
    pub rule: Option<String>,
    pub port: Option<u16>,
    pub entrypoints: Option<String>,
}

impl RecipeError {
    /// Where, if it is in a line.
    pub fn place(&self) -> Option<Place> {
        let sample = |line| Some(Place { file: ".env.sample".into(), line, column: 1 });
        match self {
            RecipeError::SampleLine(error) => sample(error.line),
            RecipeError::Name { line, .. } => sample(*line),
            RecipeError::Compose(error) => error.place.clone(),
            RecipeError::NameTooLong { place, .. } => Some(place.clone()),
            _ => None,
        }
    }
}

/// Reads what does not depend on an app: sample, name, exports, which compose files.
pub fn open(dir: &Path) -> Result<Recipe, RecipeError> {
    let sample = sample(dir)?;
    let said = sample.entry("TYPE").or_else(|| sample.entry("RECIPE")).ok_or(RecipeError::NoType)?;
    let (name, pinned) = match said.value.split_once(':') {
        Some((name, version)) => (name, Some(version.to_owned())),
        None => (said.value.as_str(), None),
    };
    let name = name.parse().map_err(|why| RecipeError::Name { line: said.line, why })?;
    around(dir, name, pinned, sample)
}

fn sample(dir: &Path) -> Result<EnvFile, RecipeError> {
    let text = inside::read(dir, Path::new(".env.sample")).map_err(RecipeError::Sample)?;
    env_file::parse(&text).map_err(RecipeError::SampleLine)
}

/// For whoever judges what is no recipe yet, or none any more: as much of one as goes without a name.
fn nameless(dir: &Path, sample: EnvFile) -> Result<Recipe, RecipeError> {
    let name = "recipe".parse().map_err(|why| RecipeError::Name { line: 0, why })?;
    around(dir, name, None, sample)
}

/// What lies beside a sample.
fn around(dir: &Path, name: RecipeName, pinned: Option<String>, sample: EnvFile) -> Result<Recipe, RecipeError> {
    let abra_sh = match inside::read(dir, Path::new("abra.sh")) {
        Ok(text) => abra_sh::exports(&text),
        Err(inside::NotRead::Missing(_)) => AbraSh::default(),
        Err(error) => return Err(RecipeError::AbraSh(error)),
    };
    let compose_files = compose_files(&sample.map());
    Ok(Recipe { dir: dir.to_owned(), name, pinned, sample, abra_sh, compose_files })
}

/// The files that an app's variables name, in their order.
pub fn compose_files(env: &BTreeMap<String, String>) -> Vec<String> {
    let said = env.get("COMPOSE_FILE").map(String::as_str).unwrap_or_default();
    let files: Vec<String> =
        said.split(':').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if files.is_empty() { vec!["compose.yml".into()] } else { files }
}

/// abra's name for the stack of an app: what its `.env` says, else its domain with underscores, cut.
pub fn stack_name(env: &BTreeMap<String, String>, domain: &str) -> String {
    match env.get("STACK_NAME").filter(|name| !name.is_empty()) {
        Some(name) => name.clone(),
        None => domain.replace('.', "_").chars().take(LONGEST_STACK).collect(),
    }
}

impl Recipe {
    /// The sample as the `.env` of an app under `domain`, `DOMAIN` set whatever the sample says.
    pub fn env_for(&self, domain: &AppDomain) -> EnvFile {
        let placeholder = format!("{}.example.com", self.name);
        let text = env_file::write(&self.sample).replace(&placeholder, domain.as_str());
        let mut env = env_file::parse(&text).unwrap_or_else(|_| self.sample.clone());
        env.set("DOMAIN", domain.as_str());
        env
    }

    /// The variables that compose files see: the app's, the exports of `abra.sh`, the stack's name.
    pub fn variables(&self, env: &EnvFile, domain: &str) -> BTreeMap<String, String> {
        let mut variables = env.map();
        let stack = stack_name(&variables, domain);
        for export in &self.abra_sh.exports {
            variables.insert(export.name.clone(), export.value.clone());
        }
        variables.insert("STACK_NAME".into(), stack);
        variables
    }

    /// Reads the compose files for one app. Fails where abra would before touching the Swarm, and where Swarm would.
    pub fn say(&self, env: &EnvFile, domain: &str) -> Result<Said, RecipeError> {
        let said = self.say_unchecked(env, domain)?;
        said.compose.check_references()?;
        if said.compose.service("app").is_none() {
            return Err(RecipeError::NoApp(said.compose.files().join(", ")));
        }
        said.check_names()?;
        Ok(said)
    }

    /// As [`Recipe::say`], for who wants to find more than the first thing that is wrong.
    pub fn say_unchecked(&self, env: &EnvFile, domain: &str) -> Result<Said, RecipeError> {
        let variables = self.variables(env, domain);
        let stack = variables.get("STACK_NAME").cloned().unwrap_or_default();
        let compose = compose::load(&self.dir, &compose_files(&variables), &variables)?;
        let label = |key: &str| {
            let key = format!("coop-cloud.{stack}.{key}");
            compose.services().iter().find_map(|service| service.label(&key).map(str::to_owned))
        };
        let version = label("version").filter(|version| !version.is_empty());
        let timeout = label("timeout").and_then(|text| text.parse().ok()).map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let (web, secrets) = (web(&compose, &stack), secrets(&compose, env, &stack));
        Ok(Said { compose, stack, version, timeout, web, secrets })
    }
}

fn web(compose: &Compose, stack: &str) -> Option<Web> {
    let service = compose.web_service()?;
    let find = |wanted: &dyn Fn(&str) -> bool| {
        let (_, value) = service.labels().iter().find(|(key, _)| key.as_str().is_some_and(wanted))?;
        value.as_str().map(str::to_owned)
    };
    let exact = |key: String| service.label(&key).map(str::to_owned);
    let router = format!("traefik.http.routers.{stack}");
    let any_rule = |key: &str| {
        key.strip_prefix("traefik.http.routers.").is_some_and(|rest| rest.split('.').next_back() == Some("rule"))
    };
    let any_port = |key: &str| key.starts_with("traefik.http.services.") && key.ends_with(".loadbalancer.server.port");
    let port = exact(format!("traefik.http.services.{stack}.loadbalancer.server.port")).or_else(|| find(&any_port));
    Some(Web {
        service: service.name.to_owned(),
        rule: exact(format!("{router}.rule")).or_else(|| find(&any_rule)),
        port: port.and_then(|text| text.parse().ok()),
        entrypoints: exact(format!("{router}.entrypoints")),
    })
}

fn secrets(compose: &Compose, env: &EnvFile, stack: &str) -> Vec<SecretSpec> {
    let mut found = Vec::new();
    for secret in compose.used_secrets().into_iter().filter(crate::compose::Object::is_external) {
        let full_name = secret.full_name(stack);
        let variable = compose.version_variable(&secret);
        let said = variable.and_then(|variable| env.entry(variable));
        // As abra has it: whatever the full name ends in.
        let version = full_name.rsplit('_').next().unwrap_or_default().to_owned();
        let modifiers =
            said.map_or(Modifiers { length: None, charset: None, generate: true }, env_file::Entry::modifiers);
        found.push(SecretSpec {
            name: secret.key.to_owned(),
            variable: variable.map(str::to_owned),
            version,
            modifiers,
            full_name,
            place: compose.place(secret.span),
        });
    }
    found
}

impl Said {
    /// Everything Swarm limits to 64 characters, before anything is created.
    pub fn check_names(&self) -> Result<(), RecipeError> {
        for kind in [Kind::Config, Kind::Secret] {
            for object in self.compose.objects(kind) {
                let name = object.full_name(&self.stack);
                check_name(kind.word(), &name, LONGEST_NAME, &self.stack, self.compose.place(object.span))?;
            }
        }
        for service in self.compose.services() {
            let name = format!("{}_{}", self.stack, service.name);
            check_name("service", &name, LONGEST_SERVICE, &self.stack, self.compose.place(service.span))?;
        }
        Ok(())
    }
}

fn check_name(kind: &'static str, name: &str, most: usize, stack: &str, place: Place) -> Result<(), RecipeError> {
    if name.len() <= most {
        return Ok(());
    }
    let cure = format!("shorten it by {} (the stack is called `{stack}`)", name.len() - most);
    Err(RecipeError::NameTooLong { place, kind, name: name.to_owned(), length: name.len(), most, cure })
}

#[cfg(test)]
mod tests;
