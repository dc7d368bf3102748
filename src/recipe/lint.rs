//! What is wrong with a recipe, all at once, each with its place and its cure. Rules that abra has keep abra's numbers; errors
//! are what keeps a recipe from being tested at all, warnings never fail a run.

use std::collections::BTreeSet;
use std::path::Path;

use super::{LONGEST_NAME, LONGEST_STACK, Recipe, RecipeError, Said, history};
use crate::compose::inside::NotRead;
use crate::compose::{Broken, ComposeError, Health, Kind, Place, Service, env_file, inside};
use crate::git::GitError;
use crate::model::AppDomain;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The recipe cannot be tested.
    Error,
    /// It can, and somebody will be sorry.
    Warning,
    /// Good to know.
    Note,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Finding {
    /// abra's number where abra has the rule, else a name.
    pub rule: &'static str,
    pub severity: Severity,
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: u32,
    pub column: u32,
    pub message: String,
    pub cure: String,
}

impl Finding {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.file)?,
            line => write!(f, "{}:{line}:{}: ", self.file, self.column)?,
        }
        write!(f, "{} ({})", self.message, self.rule)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, "; {}", self.cure) }
    }
}

/// Every rule; `docs/lint.md` explains each.
pub const RULES: &[&str] = &[
    "R001",
    "R002",
    "R003",
    "R004",
    "R005",
    "R007",
    "R008",
    "R009",
    "R010",
    "R011",
    "R012",
    "R014",
    "R015",
    "abra-sh",
    "backup-labels",
    "compose-missing",
    "compose-outside",
    "compose-reference",
    "compose-schema",
    "compose-unreadable",
    "compose-variables",
    "compose-version",
    "compose-yaml",
    "config-version",
    "domain",
    "name-length",
    "no-release",
    "published-port",
    "secret-generate",
    "secret-length",
    "secret-version",
    "slow-start",
    "type",
    "unset-variable",
    "unused-variable",
    "variable-in-key",
    "version-label",
];

/// Tags that mean another image tomorrow.
const MOVING: &[&str] = &[
    "latest", "stable", "main", "master", "edge", "nightly", "testing", "dev", "develop", "unstable", "next", "rolling",
];
/// Under what domain a recipe is looked at when it is not deployed.
const EXAMPLE: &str = "lint.example.com";
/// A first boot that takes longer than this is common.
const FIRST_BOOT_S: u64 = 60;

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: &'static str, severity: Severity, place: Place, message: impl Into<String>, cure: &str) {
        let Place { file, line, column } = place;
        self.0.push(Finding { rule, severity, file, line, column, message: message.into(), cure: cure.to_owned() });
    }

    fn warn(&mut self, rule: &'static str, place: Place, message: impl Into<String>, cure: &str) {
        self.add(rule, Severity::Warning, place, message, cure);
    }
}

fn whole(file: &str) -> Place {
    Place { file: file.to_owned(), line: 0, column: 0 }
}

fn line(file: &str, line: u32) -> Place {
    Place { file: file.to_owned(), line, column: 1 }
}

/// Looks at the recipe in `dir`. Errors first, then by file and line.
pub fn lint(dir: &Path) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    let (recipe, wrong) = read(dir);
    found.0.extend(wrong.as_ref().map(of_error));
    if let Some(recipe) = recipe {
        look(&recipe, wrong.is_none(), &mut found);
    }
    sorted(found.0)
}

/// The recipe, and why it is none: most of what else can be said of it does not hang on its name.
fn read(dir: &Path) -> (Option<Recipe>, Option<RecipeError>) {
    match super::open(dir) {
        Ok(recipe) => (Some(recipe), None),
        Err(error) => (super::nameless(dir, super::sample(dir).unwrap_or_default()).ok(), Some(error)),
    }
}

/// The same, and what only the history tells (`history`).
pub async fn lint_with_history(dir: &Path) -> Result<Vec<Finding>, GitError> {
    let dir = dir.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let (recipe, _) = read(&dir);
        let domain = EXAMPLE.parse::<AppDomain>().ok();
        let read = recipe.zip(domain).map(|(recipe, domain)| {
            let said = recipe.say_unchecked(&recipe.env_for(&domain), EXAMPLE).ok();
            (recipe, said)
        });
        (lint(&dir), read)
    });
    // Reading panics as little as anything else of ours; then there are no findings of it.
    let (mut found, read) = reading.await.unwrap_or_default();
    if let Some((recipe, said)) = read {
        found.append(&mut history::findings(&recipe, said.as_ref()).await?);
    }
    Ok(sorted(found))
}

fn sorted(mut found: Vec<Finding>) -> Vec<Finding> {
    debug_assert!(found.iter().all(|finding| RULES.contains(&finding.rule)), "a rule that nobody explains: {found:?}");
    found.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.severity, finding.file.clone(), finding.line, finding.column);
        key(one).cmp(&key(other)).then_with(|| one.rule.cmp(other.rule))
    });
    found
}

/// A refusal as a finding.
pub fn of_error(error: &RecipeError) -> Finding {
    let (rule, file, cure) = match error {
        RecipeError::Sample(NotRead::Missing(_)) => (
            "R008",
            ".env.sample",
            "add a `.env.sample` with `TYPE=` and `DOMAIN=` in the recipe's first directory".into(),
        ),
        RecipeError::Sample(error) => ("R008", ".env.sample", error.cure().into()),
        RecipeError::SampleLine(_) => ("R008", ".env.sample", "write each variable as `NAME=value`".into()),
        RecipeError::NoType | RecipeError::Name { .. } => (
            "type",
            ".env.sample",
            "write `TYPE=name`, with the recipe's name in lower-case letters, digits and `-`".into(),
        ),
        RecipeError::AbraSh(error) => ("abra-sh", "abra.sh", error.cure().into()),
        RecipeError::Compose(error) => return of_compose(error),
        RecipeError::NoApp(files) => ("R009", files.as_str(), "call the main service `app`".into()),
        RecipeError::NameTooLong { place, cure, .. } => ("name-length", place.file.as_str(), cure.clone()),
    };
    let place = error.place().unwrap_or(whole(file));
    let text = error.to_string();
    let message = strip_place(&text, file).to_owned();
    Finding { rule, severity: Severity::Error, file: place.file, line: place.line, column: place.column, message, cure }
}

/// Messages begin with where; a finding says that in its own columns.
fn strip_place<'a>(text: &'a str, file: &str) -> &'a str {
    let Some(rest) = text.strip_prefix(file) else { return text };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    rest.trim_start()
}

fn of_compose(error: &ComposeError) -> Finding {
    let place = error.place.clone().unwrap_or(whole(&error.file));
    Finding {
        rule: match error.rule {
            Broken::Missing => "compose-missing",
            Broken::Outside => "compose-outside",
            Broken::Unreadable => "compose-unreadable",
            Broken::Yaml(_) => "compose-yaml",
            Broken::Variables => "compose-variables",
            Broken::Version => "compose-version",
            Broken::Reference => "compose-reference",
            Broken::Schema | Broken::Key(_) | Broken::Volume => "compose-schema",
        },
        severity: Severity::Error,
        file: place.file,
        line: place.line,
        column: place.column,
        message: error.message.clone(),
        cure: error.cure.clone(),
    }
}

fn look(recipe: &Recipe, has_name: bool, found: &mut Findings) {
    if has_name {
        sample(recipe, found);
    }
    for (number, text) in &recipe.abra_sh.others {
        let message = format!("`{text}` runs whenever the file is sourced");
        found.warn("abra-sh", line("abra.sh", *number), message, "keep its top level to plain exports and functions");
    }
    readme(recipe, found);
    let Ok(domain) = EXAMPLE.parse::<AppDomain>() else { return };
    let said = match recipe.say_unchecked(&recipe.env_for(&domain), EXAMPLE) {
        Ok(said) => said,
        Err(error) => return found.0.push(of_error(&error)),
    };
    if let Err(error) = said.compose.check_references() {
        found.0.push(of_compose(&error));
    }
    if said.compose.service("app").is_none() {
        found.0.push(of_error(&RecipeError::NoApp(said.compose.files().join(", "))));
    }
    if said.compose.tree().get("version").is_none() {
        let cure = "write `version: \"3.8\"` at its top; Docker's own client refuses it otherwise";
        found.warn("R001", whole(&said.compose.files()[0]), "the file names no format version", cure);
    }
    version_label(&said, found);
    variables_in_keys(&said, found);
    for service in said.compose.services() {
        look_at_service(&said, service, found);
    }
    routing(&said, found);
    configs(recipe, &said, found);
    names(&said, found);
    secrets(&said, found);
    backups(&said, found);
    variables(recipe, &said, found);
}

fn sample(recipe: &Recipe, found: &mut Findings) {
    let placeholder = format!("{}.example.com", recipe.name);
    match recipe.sample.entry("DOMAIN") {
        Some(domain) if domain.value != placeholder => found.warn(
            "domain",
            line(".env.sample", domain.line),
            format!("DOMAIN is `{}`, which abra leaves as it is", shown(&domain.value)),
            &format!("write `DOMAIN={placeholder}`; that is what abra replaces"),
        ),
        Some(_) => {}
        None => {
            found.warn("domain", whole(".env.sample"), "there is no DOMAIN", &format!("add `DOMAIN={placeholder}`"));
        }
    }
}

fn readme(recipe: &Recipe, found: &mut Findings) {
    let text = inside::read(&recipe.dir, Path::new("README.md")).unwrap_or_default();
    if !text.contains("<!-- metadata -->") {
        let cure = "add the block that begins with `<!-- metadata -->`; the catalogue is made from it";
        found.warn("R007", whole("README.md"), "there is no metadata block", cure);
    }
}

fn version_label(said: &Said, found: &mut Findings) {
    let key = format!("coop-cloud.{}.version", said.stack);
    let services = said.compose.services();
    let Some((service, label)) = services.iter().find_map(|service| Some((service, service.label_node(&key)?))) else {
        let place = said.compose.service("app").map_or(whole("compose.yml"), |app| said.compose.place(app.span));
        let cure = "add `coop-cloud.${STACK_NAME}.version=1.0.0+<app version>` to the deploy labels of `app`";
        return found.add("version-label", Severity::Error, place, "no service carries the version label", cure);
    };
    let place = said.compose.place(label.span);
    if service.name != "app" {
        let message = format!("the version label is on `{}`; abra looks for it on `app`", service.name);
        found.warn("version-label", place.clone(), message, "move it to `app`");
    }
    let version = label.as_str().unwrap_or_default();
    if !is_recipe_version(version) {
        let message = format!("`{}` is not a recipe's version", shown(version));
        found.warn("version-label", place, message, "write it as `1.2.3+<app version>`");
    }
}

/// `1.2.3+4.5.6`: the recipe's own version, then the app's.
pub fn is_recipe_version(text: &str) -> bool {
    let Some((own, app)) = text.split_once('+') else { return false };
    let own = own.split_once('-').map_or(own, |(own, _)| own);
    let numbers: Vec<&str> = own.split('.').collect();
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.len() == 3 && numbers.iter().all(number) && !app.is_empty() && !app.contains(char::is_whitespace)
}

/// Docker's reader fills in values and never keys, so a label in mapping style keeps its `${STACK_NAME}` to the letter.
fn variables_in_keys(said: &Said, found: &mut Findings) {
    for service in said.compose.services() {
        for (key, _) in service.labels().iter().chain(service.environment()) {
            if let Some(text) = key.as_str().filter(|text| text.contains("${")) {
                let message = format!("the variable in `{}` stays as it is: keys are not filled in", shown(text));
                let cure = "write it in list style: `- \"key=value\"`";
                found.warn("variable-in-key", said.compose.place(key.span), message, cure);
            }
        }
    }
}

fn look_at_service(said: &Said, service: Service<'_>, found: &mut Findings) {
    let place = said.compose.place(service.span);
    let name = service.name;
    let runs = service.replicas() != Some(0) && service.restart_condition() != "none";
    match service.image().and_then(crate::yaml::Node::as_str).filter(|image| !image.is_empty()) {
        None => found.add("R011", Severity::Error, place.clone(), format!("`{name}` has no image"), "name one"),
        Some(image) => look_at_image(said, service, image, found),
    }
    match service.health() {
        None if runs && service.node.get("healthcheck").is_none() => found.warn(
            "R002",
            place,
            format!("`{name}` has no health check, so nobody knows when it is up"),
            "add `healthcheck:` with a test that asks the program itself",
        ),
        Some(health) => slow_start(said, name, &health, found),
        None => {}
    }
    for port in service.node.get("ports").and_then(crate::yaml::Node::as_seq).unwrap_or_default() {
        let message = format!("`{name}` publishes a port of the host; two apps of this recipe cannot live on one host");
        let cure = "leave HTTP to Traefik; keep it for what is not HTTP";
        found.warn("published-port", said.compose.place(port.span), message, cure);
    }
}

fn look_at_image(said: &Said, service: Service<'_>, image: &str, found: &mut Findings) {
    let Some(node) = service.image() else { return };
    let place = said.compose.place(node.span);
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains('@') {
        return;
    }
    match name.split_once(':') {
        None => found.warn(
            "R003",
            place,
            format!("the image `{}` has no tag", shown(image)),
            "name the version: `image:1.2.3`",
        ),
        Some((_, tag)) if MOVING.contains(&tag) => {
            let message = format!("the tag of `{}` is another image tomorrow", shown(image));
            found.warn("R004", place, message, "name the version: `image:1.2.3`");
        }
        Some((_, tag)) if !tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) => {
            let message = format!("the tag of `{}` is no version", shown(image));
            found.add("R005", Severity::Note, place, message, "prefer a tag such as `1.2.3`");
        }
        Some(_) => {}
    }
}

fn slow_start(said: &Said, name: &str, health: &Health, found: &mut Findings) {
    let patience = health.start_period + health.interval * health.retries;
    if patience.as_secs() < FIRST_BOOT_S {
        let message = format!(
            "`{name}` is killed {} s after its start if it is not healthy by then, in the middle of a slow first boot too",
            patience.as_secs()
        );
        found.warn("slow-start", said.compose.place(health.span), message, "give it a `start_period: 1m` or more");
    }
}

fn routing(said: &Said, found: &mut Findings) {
    if !said.compose.services().iter().any(|service| service.label("traefik.enable") == Some("true")) {
        let place = said.compose.service("app").map_or(whole("compose.yml"), |app| said.compose.place(app.span));
        let cure = "add `traefik.enable=true` to the deploy labels of the service that answers the web";
        found.warn("R010", place, "no service is routed by Traefik", cure);
    }
}

fn configs(recipe: &Recipe, said: &Said, found: &mut Findings) {
    for config in said.compose.configs().into_iter().filter(|config| !config.is_external()) {
        let place = said.compose.place(config.span);
        let usual = format!("{}_VERSION", config.key.to_uppercase().replace('-', "_"));
        let variable = said.compose.version_variable(&config).unwrap_or(&usual);
        let Some(name) = config.node.get("name") else {
            let message =
                format!("the config `{}` has no name with a version; Swarm refuses any change of it", config.key);
            let cure = format!("add `name: ${{STACK_NAME}}_{}_${{{variable}}}` and export it in abra.sh", config.key);
            found.warn("R012", place, message, &cure);
            continue;
        };
        // Filled in, a missing version leaves nothing behind the last underscore.
        if name.as_str().is_some_and(|name| name.ends_with('_')) && recipe.abra_sh.get(variable).is_none() {
            let message = format!("the version of the config `{}` is not exported", config.key);
            found.warn("R012", place, message, &format!("write `export {variable}=v1` in abra.sh"));
        }
    }
}

/// Told for the longest stack name that abra makes, since nobody knows yet where the recipe will be deployed.
fn names(said: &Said, found: &mut Findings) {
    for kind in [Kind::Config, Kind::Secret] {
        for object in said.compose.objects(kind) {
            let name = object.full_name(&said.stack);
            let Some(own) = name.strip_prefix(said.stack.as_str()) else { continue };
            let longest = LONGEST_STACK + own.len();
            if longest > LONGEST_NAME {
                let message = format!(
                    "the {} `{}` is too long for stacks of more than {} characters",
                    kind.word(),
                    object.key,
                    LONGEST_NAME.saturating_sub(own.len())
                );
                found.warn("R015", said.compose.place(object.span), message, "give it a shorter name");
            }
        }
    }
}

fn secrets(said: &Said, found: &mut Findings) {
    for secret in &said.secrets {
        if secret.version.is_empty() || secret.variable.is_none() {
            let usual = format!("SECRET_{}_VERSION", secret.name.to_uppercase().replace('-', "_"));
            let variable = secret.variable.as_deref().unwrap_or(&usual);
            let message = format!("the secret `{}` has no version that an app can set", secret.name);
            let cure = format!("end its name in `_${{{variable}}}`, and add `{variable}=v1` to .env.sample");
            found.warn("secret-version", secret.place.clone(), message, &cure);
        } else if !secret.modifiers.generate {
            let message =
                format!("the secret `{}` is not generated; a test needs its value from the appliance", secret.name);
            found.add("secret-generate", Severity::Note, secret.place.clone(), message, "");
        } else if secret.modifiers.length.is_none() {
            let message =
                format!("the secret `{}` says no length, so it becomes a phrase of several words", secret.name);
            let cure = "add `# length=32` behind its line in .env.sample where the program wants no spaces or hyphens";
            found.add("secret-length", Severity::Note, secret.place.clone(), message, cure);
        }
    }
}

fn backups(said: &Said, found: &mut Findings) {
    let services = said.compose.services();
    let volumes: Vec<_> = said.compose.volumes().into_iter().filter(|volume| !volume.is_external()).collect();
    let is_volume = |name: &str| said.compose.volumes().iter().any(|volume| volume.key == name);
    let mut enabled = 0;
    for service in &services {
        for (key, value) in service.labels() {
            let place = said.compose.place(key.span);
            match key.as_str().unwrap_or_default() {
                "backupbot.backup" if matches!(value.as_str(), Some("true" | "True" | "1")) => {
                    enabled += 1;
                    if enabled > 1 {
                        let message = format!("`backupbot.backup` is on a second service, `{}`", service.name);
                        found.warn("backup-labels", place, message, "leave it on the main service alone");
                    }
                }
                "backupbot.backup.path" => {
                    let message = "`backupbot.backup.path` is of the first version of the backup labels: it is honoured, and only these paths of this service are kept";
                    let cure = "say `backupbot.backup.volumes.<volume>.path`, from the root of the volume";
                    found.warn("backup-labels", place, message, cure);
                }
                "backupbot.backup.command" => {
                    let message = "nothing comes of `backupbot.backup.command` in either version of the backup labels";
                    found.warn("backup-labels", place, message, "say `backupbot.backup.pre-hook`");
                }
                key => match backup_label(key) {
                    BackupLabel::Volume(name) if !is_volume(name) => {
                        let message = format!("`{}` names a volume that the recipe does not have", shown(key));
                        found.warn("backup-labels", place, message, "name it as the compose file's `volumes:` does");
                    }
                    BackupLabel::Unknown => {
                        let message = format!("`{}` is no label of the backup specification", shown(key));
                        let cure = "the specification has `backup`, `backup.volumes.<volume>`, and hooks named `pre-hook` and `post-hook`";
                        found.warn("backup-labels", place, message, cure);
                    }
                    BackupLabel::Volume(_) | BackupLabel::Known => {}
                },
            }
        }
    }
    if let (0, Some(volume)) = (enabled, volumes.first()) {
        let message = "there are volumes and no backup label, so nothing is backed up";
        found.warn("backup-labels", said.compose.place(volume.span), message, "add `backupbot.backup=true` to `app`");
    }
}

/// What the backup specification, version 2, makes of a label; other people's labels are known.
enum BackupLabel<'a> {
    Known,
    Volume(&'a str),
    Unknown,
}

fn backup_label(key: &str) -> BackupLabel<'_> {
    let Some(own) = key.strip_prefix("backupbot.") else { return BackupLabel::Known };
    if let Some(volume) = own.strip_prefix("backup.volumes.") {
        return BackupLabel::Volume(volume.strip_suffix(".path").unwrap_or(volume));
    }
    match own {
        "backup" | "restore" | "backup.pre-hook" | "backup.post-hook" | "restore.pre-hook" | "restore.post-hook" => {
            BackupLabel::Known
        }
        _ => BackupLabel::Unknown,
    }
}

/// Read by abra or by Docker's client, whatever the compose files say.
const KNOWN: &[&str] =
    &["TYPE", "RECIPE", "DOMAIN", "COMPOSE_FILE", "TIMEOUT", "STACK_NAME", "POST_DEPLOY_CMDS", "ENABLE_BACKUPS"];

fn variables(recipe: &Recipe, said: &Said, found: &mut Findings) {
    let mut told = BTreeSet::new();
    let sample = env_file::write(&recipe.sample);
    // Without a sample none of them has a value, and that is said already.
    let has_sample = recipe.sample.entries().next().is_some();
    for (name, place) in said.compose.unset().filter(|_| has_sample) {
        if told.insert(name) && !is_offered(&sample, name) {
            let message = format!("`{name}` has no value here");
            found.warn(
                "unset-variable",
                place,
                message,
                "set it in .env.sample, export it in abra.sh, or give it a default",
            );
        }
    }
    let texts = texts(&recipe.dir);
    for entry in recipe.sample.entries() {
        let used = KNOWN.contains(&entry.key.as_str())
            || texts
                .iter()
                .any(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == entry.key));
        if !used && told.insert(&entry.key) {
            let message = format!("`{}` is used in no file of the recipe", entry.key);
            let cure = "remove it, unless the program in `app` reads it from its environment";
            found.add("unused-variable", Severity::Note, line(".env.sample", entry.line), message, cure);
        }
    }
}

/// The sample has it as `#NAME=value`: whoever wants it takes the mark away, and without it is empty on purpose.
fn is_offered(sample: &str, name: &str) -> bool {
    let mut commented = sample.lines().filter_map(|line| line.trim_start().strip_prefix('#'));
    commented.any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// The recipe's own files in its first directory, without the sample and the README.
fn texts(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name()).take(500);
    names
        .filter(|name| name != ".env.sample" && name != "README.md" && name != ".env")
        .filter_map(|name| inside::read(dir, Path::new(&name)).ok())
        .collect()
}

fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

/// Tags that abra would not deploy from: it wants annotated ones. Told by who can ask git.
pub fn lightweight_tag(tag: &str) -> Finding {
    Finding {
        rule: "R014",
        severity: Severity::Warning,
        file: ".git".into(),
        line: 0,
        column: 0,
        message: format!("the tag `{}` is a lightweight one", shown(tag)),
        cure: format!("make it anew with `git tag -a {}`", shown(tag)),
    }
}
