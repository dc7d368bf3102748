//! Compose files read as data, never handed to a program unread: what a recipe asks of the host is known, with file, line and
//! column, before anything is deployed.
//!
//! [`load`] does what abra does: each file is checked as it is written, then variables are filled in, then the files are laid
//! over each other. [`Compose::render`] is the one file that `docker stack deploy` gets.

pub mod abra_sh;
pub mod env_file;
pub mod inside;
mod interpolate;
mod merge;
mod model;
pub mod policy;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use interpolate::names;
pub use model::{Health, Kind, Mount, Object, Service};
pub use schema::duration;

use self::inside::NotRead;
use crate::yaml::{self, Node, Span, Value, Wrong};

/// The merged files of a recipe.
#[derive(Clone, Debug)]
pub struct Compose {
    files: Files,
    root: Node,
    version: Option<String>,
    needs: u32,
    unset: Vec<(String, Span)>,
    /// Texts of configs and secrets as they were before variables were filled in.
    templates: Vec<(Span, String)>,
    nested: Vec<Span>,
}

/// What is told while variables are filled in.
#[derive(Default)]
struct Filled {
    unset: Vec<(String, Span)>,
    templates: Vec<(Span, String)>,
    /// Where a variable stands in the default of another.
    nested: Vec<Span>,
    bytes: usize,
}

/// The files that were read, by the number that spans carry.
#[derive(Clone, Debug)]
struct Files {
    dir: PathBuf,
    names: Vec<String>,
}

/// Where something stands in a recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Which rule of reading was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A file is not there.
    Missing,
    /// A file is not inside of the recipe.
    Outside,
    /// There is something, and it is no text that could be read.
    Unreadable,
    Yaml(Wrong),
    Schema,
    /// A key that the format does not know: the path of what it stands in, and the key.
    Key(Box<(String, String)>),
    Variables,
    Version,
    Volume,
    Reference,
}

/// Why a recipe's compose files are not one.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}", place = .place.as_ref().map_or_else(|| .file.clone(), Place::to_string))]
pub struct ComposeError {
    pub rule: Broken,
    pub file: String,
    pub place: Option<Place>,
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl Files {
    fn place(&self, span: Span) -> Place {
        let file = self.names.get(usize::from(span.source)).cloned().unwrap_or_default();
        Place { file, line: span.line, column: span.column }
    }

    fn error(&self, rule: Broken, span: Span, message: impl Into<String>) -> ComposeError {
        let place = self.place(span);
        let (message, cure) = (message.into(), String::new());
        ComposeError { rule, file: place.file.clone(), place: Some(place), message, cure }
    }
}

impl ComposeError {
    fn cure(mut self, cure: impl Into<String>) -> ComposeError {
        self.cure = cure.into();
        self
    }

    fn of_file(rule: Broken, file: &str, message: String, cure: &str) -> ComposeError {
        ComposeError { rule, file: file.to_owned(), place: None, message, cure: cure.to_owned() }
    }
}

/// More overlays than any recipe has.
const MOST_FILES: usize = 64;
/// Values in all files together. Merging compares each with each.
const MOST_NODES: usize = 20_000;
/// Bytes in all files together, variables filled in.
const MOST_BYTES: usize = 4 << 20;

/// Reads `files` of the recipe in `dir`, the later over the earlier, with the variables of `env`.
pub fn load(dir: &Path, files: &[String], env: &BTreeMap<String, String>) -> Result<Compose, ComposeError> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let files_read = Files { dir, names: files.to_vec() };
    if files.is_empty() || files.len() > MOST_FILES {
        let message = format!("{} compose files are named; between 1 and {MOST_FILES} can be read", files.len());
        return Err(ComposeError::of_file(
            Broken::Missing,
            "COMPOSE_FILE",
            message,
            "name the files, separated by `:`",
        ));
    }
    let mut merged: Option<Node> = None;
    let mut version: Option<(String, Span)> = None;
    let mut needs = 0;
    let mut filled = Filled::default();
    let mut nodes = 0;
    for (name, source) in files.iter().zip(0u16..) {
        let mut root = read(&files_read, name, source, MOST_NODES - nodes)?;
        nodes = (nodes + root.count()).min(MOST_NODES);
        check(&files_read, &root, true)?;
        let (minor, newest) = schema::needs(&root);
        needs = needs.max(minor);
        if let Some(said) = root.get("version") {
            let text = said.as_str().unwrap_or_default().to_owned();
            check_version(&files_read, &text, said.span, newest.filter(|_| minor > minor_of(&text)), version.as_ref())?;
            version.get_or_insert((text, said.span));
        }
        fill(&mut root, "", env, &files_read, &mut filled)?;
        check(&files_read, &root, false)?;
        merge::normalise(&mut root, &files_read)?;
        resolve_environment(&mut root, env, &files_read)?;
        match &mut merged {
            Some(merged) => merge::merge(merged, root),
            None => merged = Some(root),
        }
    }
    let root = merged.unwrap_or(Node::new(Value::Null, Span::default()));
    let version = version.map(|(text, _)| text);
    let Filled { unset, templates, nested, .. } = filled;
    let compose = Compose { files: files_read, root, version, needs, unset, templates, nested };
    check_contents(&compose)?;
    Ok(compose)
}

/// Configs and secrets made from files are made from the recipe's own: Docker's client would read any file of this host.
fn check_contents(compose: &Compose) -> Result<(), ComposeError> {
    for object in [compose.configs(), compose.secrets()].concat() {
        let Some(file) = object.node.get("file") else { continue };
        let path = Path::new(file.as_str().unwrap_or_default());
        inside::locate(&compose.files.dir, path).map_err(|error| {
            let rule = if matches!(error, NotRead::Missing(_)) { Broken::Missing } else { Broken::Outside };
            compose.files.error(rule, file.span, format!("{} {}: {error}", object.kind.word(), object.key))
        })?;
    }
    Ok(())
}

fn read(files: &Files, name: &str, source: u16, nodes: usize) -> Result<Node, ComposeError> {
    let text = inside::read(&files.dir, Path::new(name)).map_err(|error| {
        let (rule, cure) = match error {
            NotRead::Missing(_) => (Broken::Missing, "add the file, or take it out of COMPOSE_FILE"),
            NotRead::Outside(_) | NotRead::Symlink(_) => (Broken::Outside, error.cure()),
            _ => (Broken::Unreadable, error.cure()),
        };
        ComposeError::of_file(rule, name, error.to_string(), cure)
    })?;
    let limits = yaml::Limits { nodes, ..yaml::Limits::default() };
    let root = yaml::parse_as(name, &text, source, limits).map_err(|error| {
        let at = Place { file: error.file.clone(), line: error.span.line, column: error.span.column };
        let rule = Broken::Yaml(error.wrong);
        ComposeError { rule, file: error.file, place: Some(at), message: error.message, cure: String::new() }
    })?;
    if root.as_map().is_none() {
        return Err(files.error(Broken::Yaml(Wrong::Content), root.span, "top-level object must be a mapping"));
    }
    merge::as_docker_reads(root, "").map_err(|(span, message)| {
        files
            .error(Broken::Yaml(Wrong::Content), span, message)
            .cure("put the word into quotes; without them it is no text to Docker's reader")
    })
}

fn check(files: &Files, root: &Node, as_written: bool) -> Result<(), ComposeError> {
    schema::check(root).map_err(|misfit| {
        let message = format!("{} {}", misfit.path, misfit.what);
        let rule = misfit.key.map_or(Broken::Schema, |key| Broken::Key(Box::new((misfit.path, key))));
        let error = files.error(rule, misfit.span, message);
        if as_written && text_at(root, misfit.span).is_some_and(|text| text.contains('$')) {
            error.cure("write the value itself; abra checks the files before it fills in variables")
        } else {
            error
        }
    })
}

fn text_at(node: &Node, span: Span) -> Option<&str> {
    match &node.value {
        Value::String(text) if node.span == span => Some(text),
        Value::Seq(items) => items.iter().find_map(|item| text_at(item, span)),
        Value::Map(entries) => entries.iter().find_map(|(_, value)| text_at(value, span)),
        _ => None,
    }
}

fn minor_of(version: &str) -> u32 {
    match version {
        // As Docker's reader has it: the newest.
        "" | "3" => 13,
        version => version.strip_prefix("3.").and_then(|minor| minor.parse().ok()).unwrap_or(0),
    }
}

fn check_version(
    files: &Files,
    text: &str,
    span: Span,
    too_new: Option<schema::Misfit>,
    before: Option<&(String, Span)>,
) -> Result<(), ComposeError> {
    let known = matches!(text, "" | "3")
        || text.strip_prefix("3.").is_some_and(|minor| minor.parse::<u32>().is_ok_and(|minor| minor <= 13));
    if !known {
        let message = format!("unsupported Compose file version: {}", text.escape_debug());
        return Err(files.error(Broken::Version, span, message).cure("write `version: \"3.8\"`"));
    }
    if let Some((first, _)) = before.filter(|(first, _)| first != text) {
        let message = format!("version mismatched between two composefiles : {first} and {text}");
        return Err(files.error(Broken::Version, span, message).cure("give all compose files the same `version`"));
    }
    if let Some(misfit) = too_new {
        let error = files.error(Broken::Schema, misfit.span, format!("{} {}", misfit.path, misfit.what));
        return Err(error.cure(format!("version {text} of the format does not know it yet; raise `version`")));
    }
    Ok(())
}

/// Paths whose texts become numbers or booleans once variables are filled in.
const CASTS: &[(&str, Cast)] = &[
    ("services.*.configs.[].mode", Cast::Int),
    ("services.*.secrets.[].mode", Cast::Int),
    ("services.*.healthcheck.retries", Cast::Int),
    ("services.*.healthcheck.disable", Cast::Bool),
    ("services.*.deploy.replicas", Cast::Int),
    ("services.*.deploy.update_config.parallelism", Cast::Int),
    ("services.*.deploy.update_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.rollback_config.parallelism", Cast::Int),
    ("services.*.deploy.rollback_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.restart_policy.max_attempts", Cast::Int),
    ("services.*.deploy.placement.max_replicas_per_node", Cast::Int),
    ("services.*.ports.[].target", Cast::Int),
    ("services.*.ports.[].published", Cast::Int),
    ("services.*.ulimits.*", Cast::Int),
    ("services.*.ulimits.*.hard", Cast::Int),
    ("services.*.ulimits.*.soft", Cast::Int),
    ("services.*.privileged", Cast::Bool),
    ("services.*.read_only", Cast::Bool),
    ("services.*.stdin_open", Cast::Bool),
    ("services.*.tty", Cast::Bool),
    ("services.*.volumes.[].read_only", Cast::Bool),
    ("services.*.volumes.[].volume.nocopy", Cast::Bool),
    ("networks.*.external", Cast::Bool),
    ("networks.*.internal", Cast::Bool),
    ("networks.*.attachable", Cast::Bool),
    ("volumes.*.external", Cast::Bool),
    ("secrets.*.external", Cast::Bool),
    ("configs.*.external", Cast::Bool),
];

#[derive(Clone, Copy)]
enum Cast {
    Int,
    Float,
    Bool,
}

fn cast(path: &str, text: &str) -> Option<Value> {
    let matches = |pattern: &str| {
        let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if one == "*" || one == other => {}
                _ => return false,
            }
        }
    };
    let (_, cast) = CASTS.iter().find(|(pattern, _)| matches(pattern))?;
    match (cast, text.to_ascii_lowercase().as_str()) {
        (Cast::Int, text) => text.parse::<i64>().ok().map(|number| Value::Int(number.to_string())),
        (Cast::Float, text) => {
            text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|number| Value::Float(format!("{number:?}")))
        }
        (Cast::Bool, "y" | "yes" | "true" | "on") => Some(Value::Bool(true)),
        (Cast::Bool, "n" | "no" | "false" | "off") => Some(Value::Bool(false)),
        (Cast::Bool, _) => None,
    }
}

fn fill(
    node: &mut Node,
    path: &str,
    env: &BTreeMap<String, String>,
    files: &Files,
    told: &mut Filled,
) -> Result<(), ComposeError> {
    let span = node.span;
    match &mut node.value {
        Value::String(text) if text.contains('$') => {
            let unset = &mut |name: &str| told.unset.push((name.to_owned(), span));
            let filled = interpolate::fill(text, env, unset);
            let filled = filled.map_err(|bad| match bad {
                interpolate::Bad::Template => {
                    let shown: String = text.chars().take(200).collect();
                    let message = format!(
                        "invalid interpolation format for {path}: {shown:?}; you may need to escape any $ with another $"
                    );
                    files.error(Broken::Variables, span, message)
                }
                interpolate::Bad::TooLong => {
                    files.error(Broken::Variables, span, format!("{path}: too long once its variables are filled in"))
                }
                interpolate::Bad::Missing { name, why } => {
                    let message = format!("{path}: required variable {name} is missing a value: {why}");
                    files.error(Broken::Variables, span, message).cure(format!("set {name} in .env.sample"))
                }
            })?;
            if interpolate::is_nested(text) {
                told.nested.push(span);
            }
            told.bytes += filled.len();
            if told.bytes > MOST_BYTES {
                return Err(files.error(
                    Broken::Variables,
                    span,
                    "variables make the files longer than anything that can be deployed",
                ));
            }
            if path.starts_with("secrets.") || path.starts_with("configs.") {
                told.templates.push((span, text.clone()));
            }
            if filled != *text {
                node.value = cast(path, &filled).unwrap_or(Value::String(filled));
            }
            Ok(())
        }
        Value::Seq(items) => items.iter_mut().try_for_each(|item| fill(item, &format!("{path}.[]"), env, files, told)),
        Value::Map(entries) => entries.iter_mut().try_for_each(|(key, value)| {
            let path = schema::join(path, key.as_str().unwrap_or_default());
            fill(value, &path, env, files, told)
        }),
        _ => Ok(()),
    }
}

/// `environment: [DOMAIN]` takes the app's value, and so does an empty one; the files of `env_file` come first.
fn resolve_environment(root: &mut Node, env: &BTreeMap<String, String>, files: &Files) -> Result<(), ComposeError> {
    let Some(Value::Map(services)) = merge::field(root, "services").map(|node| &mut node.value) else { return Ok(()) };
    for (_, service) in services {
        let mut found: Vec<(Node, Node)> = Vec::new();
        let mut put = |key: Node, value: Node| match found.iter_mut().find(|(other, _)| *other == key) {
            Some((_, old)) => *old = value,
            None => found.push((key, value)),
        };
        for file in service.get("env_file").and_then(Node::as_seq).unwrap_or_default() {
            let name = file.as_str().unwrap_or_default();
            let text = inside::read(&files.dir, Path::new(name))
                .map_err(|error| files.error(Broken::Outside, file.span, format!("env_file: {error}")))?;
            for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (key, value) = match line.split_once('=') {
                    Some((key, value)) => (key, Value::String(value.to_owned())),
                    None => (line.trim_end(), Value::Null),
                };
                put(Node::text(key, file.span), Node::new(value, file.span));
            }
        }
        for (key, value) in service.get("environment").and_then(Node::as_map).unwrap_or_default() {
            put(key.clone(), value.clone());
        }
        for (key, value) in &mut found {
            if (value.is_null() || value.as_str() == Some(""))
                && let Some(text) = key.as_str().and_then(|key| env.get(key))
            {
                value.value = Value::String(text.clone());
            }
        }
        let Value::Map(fields) = &mut service.value else { continue };
        let span = fields.iter().find(|(key, _)| key.as_str() == Some("environment")).map(|(_, value)| value.span);
        fields.retain(|(key, _)| !matches!(key.as_str(), Some("env_file" | "environment")));
        if !found.is_empty() {
            let span = span.unwrap_or(service.span);
            fields.push((Node::text("environment", span), Node::new(Value::Map(found), span)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
