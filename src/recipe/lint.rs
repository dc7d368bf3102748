//! What is wrong with a recipe, all at once, each with its place and its cure. Rules that abra has keep abra's numbers; errors
//! are what keeps a recipe from being tested at all, warnings never fail a run.

mod backups;
mod objects;
mod services;

use std::collections::BTreeSet;
use std::path::Path;

use super::{Recipe, RecipeError, Said, history};
use crate::compose::inside::NotRead;
use crate::compose::{Broken, ComposeError, Place, env_file, inside};
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
    "database-volume",
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

/// Under what domain a recipe is looked at when it is not deployed.
const EXAMPLE: &str = "lint.example.com";
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
    services::look(&said, found);
    objects::look(recipe, &said, found);
    backups::look(&said, found);
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

/// `1.2.3+4.5.6`: the recipe's own version, then the app's.
pub fn is_recipe_version(text: &str) -> bool {
    let Some((own, app)) = text.split_once('+') else { return false };
    let own = own.split_once('-').map_or(own, |(own, _)| own);
    let numbers: Vec<&str> = own.split('.').collect();
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.len() == 3 && numbers.iter().all(number) && !app.is_empty() && !app.contains(char::is_whitespace)
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
