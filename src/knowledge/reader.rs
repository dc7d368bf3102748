//! Reads the text of a recipe file and says everything that is wrong with it at once, each with its place and its cure.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Check;
use super::file::{MarkerFile, RecipeFile};
use super::needs::MOST as MOST_NEEDS;
use crate::compose::policy;
use crate::recipe::{Finding, Severity};
use crate::script::Side;
use crate::yaml::{self, Node, Span, Value, YamlError};

/// A file that was read, with what follows from it.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub(super) file: RecipeFile,
    pub(super) checks: Vec<Check>,
    pub(super) markers: Vec<Marker>,
    /// Where each of `needs` stands in the text.
    pub(super) needs_at: Vec<Span>,
}

/// Data that a recipe wants to be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A file in a volume, by a path in it.
    File { volume: String, path: String },
    /// A row in the database that a service is.
    Row { service: String },
    /// An object that the app takes and gives back.
    Object(Object),
}

/// An object over HTTP, and where the value stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub put: String,
    pub get: String,
    pub header: BTreeMap<String, String>,
    body: String,
    contains: String,
}

/// Where the value goes.
const VALUE: &str = "{value}";

impl Object {
    /// What is sent.
    pub fn body(&self, value: &str) -> String {
        self.body.replace(VALUE, value)
    }

    /// What has to stand in the answer.
    pub fn contains(&self, value: &str) -> String {
        self.contains.replace(VALUE, value)
    }
}

/// More wrong lines than this nobody reads at once.
const MOST_WRONG: usize = 50;
/// Variables that cc-ci and abra set by themselves.
const OURS: [&str; 5] = ["DOMAIN", "STACK_NAME", "TYPE", "RECIPE", "LETS_ENCRYPT_ENV"];

/// What is wrong with one file, as it is found.
pub(super) struct Wrongs<'a> {
    file: &'a str,
    found: Vec<Finding>,
}

impl Wrongs<'_> {
    pub(super) fn add(&mut self, rule: &'static str, at: Span, message: &str, cure: &str) {
        self.found.push(Finding {
            rule,
            severity: Severity::Error,
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            message: message.to_owned(),
            cure: cure.to_owned(),
        });
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    pub(super) fn path(&mut self, at: Span, path: &str) {
        if !path.starts_with('/') || path.starts_with("//") || path.contains(char::is_control) {
            let message = format!("`{}` is no path of the app", path.escape_debug());
            self.add("path", at, &message, "begin it with one `/`, without host: `/login`");
        }
    }
}

/// Reads a text. `shown` is how its file is called in what is found; `side` is whose it is.
pub fn read_text(shown: &str, text: &str, side: Side) -> Result<Said, Vec<Finding>> {
    let mut wrongs = Wrongs { file: shown, found: Vec::new() };
    let mut node = match yaml::parse(shown, text) {
        Ok(node) => node,
        Err(error) => {
            wrongs.add("yaml", error.span, &error.message, "make it one YAML mapping");
            return Err(wrongs.found);
        }
    };
    let file = deserialized(shown, &mut node, &mut wrongs);
    // What could not be read is not in the tree any more, so the rest can be judged.
    let checks = checks(&file, &node, side, &mut wrongs);
    let markers = markers(&file, &node, &mut wrongs);
    judge(&file, &node, side, &mut wrongs);
    if wrongs.found.is_empty() {
        let needs_at = items(&node, "needs").iter().map(|item| item.span).collect();
        return Ok(Said { file, checks, markers, needs_at });
    }
    wrongs.found.sort_by_key(|finding| (finding.line, finding.column));
    Err(wrongs.found)
}

/// serde stops at the first thing that is wrong. So that is taken out, and the rest read again.
fn deserialized(shown: &str, node: &mut Node, wrongs: &mut Wrongs<'_>) -> RecipeFile {
    while wrongs.count() < MOST_WRONG {
        let error: YamlError = match yaml::from_node(shown, node) {
            Ok(file) => return file,
            Err(error) => error,
        };
        let cure = if error.message.contains("did you mean") {
            "write it so, or leave it out"
        } else if error.message.contains("unknown key") {
            "leave it out; docs/recipe-checks.md has every key"
        } else {
            "see docs/recipe-checks.md for what belongs there"
        };
        wrongs.add("key", error.span, &error.message, cure);
        if !remove(node, error.span) {
            break;
        }
    }
    RecipeFile::default()
}

/// Takes out the entry of the first level, or the item of a list in it, in which something stands.
fn remove(node: &mut Node, at: Span) -> bool {
    let Value::Map(entries) = &mut node.value else { return false };
    let Some(index) = entries.iter().rposition(|(key, _)| key.span <= at) else { return false };
    if let Value::Seq(items) = &mut entries[index].1.value
        && let Some(item) = items.iter().rposition(|item| item.span <= at)
    {
        items.remove(item);
    } else {
        entries.remove(index);
    }
    true
}

fn items<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::as_seq).unwrap_or_default()
}

fn checks(file: &RecipeFile, node: &Node, side: Side, wrongs: &mut Wrongs<'_>) -> Vec<Check> {
    let mut found: Vec<Check> = Vec::new();
    for (check, node) in file.checks.iter().zip(items(node, "checks")) {
        let Some(check) = Check::read(check, node, side, wrongs) else { continue };
        if found.iter().any(|other| other.name == check.name) {
            let message = format!("two checks are called `{}`", check.name);
            wrongs.add("check-name", node.span, &message, "give each a `name` of its own");
        }
        let is_needed = |host: &str| file.needs.iter().any(|need| need.recipe().as_str() == host);
        if let Some(host) = check.kind.host().filter(|host| !file.hosts.contains_key(*host) && !is_needed(host)) {
            let cure = format!("add `hosts: {{{host}: a-word}}`");
            wrongs.add("host", node.span, &format!("`hosts` has no `{host}`"), &cure);
        }
        found.push(check);
    }
    found
}

fn markers(file: &RecipeFile, node: &Node, wrongs: &mut Wrongs<'_>) -> Vec<Marker> {
    let mut found = Vec::new();
    for (marker, node) in file.markers.iter().zip(items(node, "markers")) {
        let made = match (&marker.file, &marker.row, &marker.put) {
            (Some(file), None, None) => in_volume(file),
            (None, Some(service), None) => Some(Marker::Row { service: service.clone() }),
            (None, None, Some(path)) => Some(Marker::Object(object(path, marker, node, wrongs))),
            _ => None,
        };
        let of_object = ["get", "body", "contains", "header"].into_iter().find(|key| node.get(key).is_some());
        match (made, of_object) {
            (Some(Marker::File { .. } | Marker::Row { .. }), Some(key)) => {
                let message = format!("`{key}` means nothing without `put`");
                wrongs.add("marker", node.span, &message, "leave it out");
            }
            (Some(marker), _) => found.push(marker),
            (None, _) => {
                let cure = "write one of `file: VOLUME/PATH`, `row: SERVICE`, `put: /PATH`";
                wrongs.add("marker", node.span, "this says not what is written where", cure);
            }
        }
    }
    found
}

fn in_volume(file: &str) -> Option<Marker> {
    let (volume, path) = file.split_once('/')?;
    let is_inside = !volume.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_inside.then(|| Marker::File { volume: volume.to_owned(), path: path.to_owned() })
}

fn object(put: &str, marker: &MarkerFile, node: &Node, wrongs: &mut Wrongs<'_>) -> Object {
    let at = |key: &str| node.get(key).map_or(node.span, |node| node.span);
    wrongs.path(at("put"), put);
    let get = marker.get.as_deref().unwrap_or(put);
    if marker.get.is_some() {
        wrongs.path(at("get"), get);
    }
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| VALUE.to_owned());
    let (body, contains) = (said(&marker.body), said(&marker.contains));
    for (key, text) in [("body", &body), ("contains", &contains)] {
        if !text.contains(VALUE) {
            let message = format!("`{key}` would be the same in every run, so older data would do as well");
            wrongs.add("marker", at(key), &message, "put `{value}` where the value goes");
        }
    }
    Object { put: put.to_owned(), get: get.to_owned(), header: marker.header.clone(), body, contains }
}

/// What holds of the rest of the file.
fn judge(file: &RecipeFile, node: &Node, side: Side, wrongs: &mut Wrongs<'_>) {
    let key = |path: &[&str], name: &str| {
        let map = node.at(path).and_then(Node::as_map).unwrap_or_default();
        map.iter().find(|(key, _)| key.scalar() == Some(name)).map_or(node.span, |(key, _)| key.span)
    };
    if side == Side::Recipe {
        for (name, there) in [("secrets", !file.secrets.is_empty()), ("policy", !file.policy.is_empty())] {
            if there {
                let message = format!("`{name}` counts only on the appliance");
                let cure = "leave it out; the operator can write it into `recipes/<recipe>/recipe.yaml` there";
                wrongs.add("appliance-only", key(&[], name), &message, cure);
            }
        }
    }
    let variables: BTreeSet<&String> = file.env.keys().chain(file.hosts.keys()).collect();
    for name in variables {
        let at = if file.env.contains_key(name) { key(&["env"], name) } else { key(&["hosts"], name) };
        variable(name, at, wrongs);
    }
    for (name, value) in &file.env {
        one_line(name, value, key(&["env"], name), wrongs);
    }
    needs(file, node, side, wrongs);
    for (name, word) in &file.hosts {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if word.is_empty() || word.len() > 20 || !word.chars().all(is_word) {
            let message = format!("`{}` cannot be part of a host's name", word.escape_debug());
            wrongs.add("host", key(&["hosts"], name), &message, "use lower-case letters and digits, at most 20");
        }
    }
    for (name, secret) in file.secrets.iter().filter(|(_, secret)| !secret.file.is_absolute()) {
        let message = format!("`{}` is no whole path", secret.file.display());
        wrongs.add("secret-file", key(&["secrets"], name), &message, "begin it with `/`");
    }
    if let Some(path) = &file.health.path {
        wrongs.path(node.at(&["health", "path"]).map_or(node.span, |node| node.span), path);
    }
    if file.health.status.is_some_and(|status| !(100..600).contains(&status)) {
        let message = "an HTTP status is a number from 100 to 599";
        wrongs.add("status", key(&["health"], "status"), message, "write `status: 200`");
    }
    for (stage, reason) in &file.not_applicable {
        if reason.trim().is_empty() {
            let name = format!("{stage:?}").to_lowercase();
            let cure = format!("write `{name}: \"holds no data of its own\"`");
            wrongs.add("reason", key(&["not_applicable"], &name), "there is no reason", &cure);
        }
    }
    for (exception, node) in file.policy.iter().zip(items(node, "policy")) {
        if !policy::ids().any(|id| id == exception.rule) {
            let near = policy::ids().map(|id| (strsim::damerau_levenshtein(&exception.rule, id), id)).min();
            let cure =
                near.map_or_else(String::new, |(_, id)| format!("did you mean `{id}`? `cc-ci policy` names them"));
            let message = format!("the policy has no rule `{}`", exception.rule.escape_debug());
            wrongs.add("policy-rule", node.span, &message, &cure);
        }
    }
    if file.unsupported.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        let cure = "write `unsupported: \"needs TLS passthrough\"`";
        wrongs.add("reason", key(&[], "unsupported"), "there is no reason", cure);
    }
}

/// What has to run beside it, and what it is told of that.
fn needs(file: &RecipeFile, node: &Node, side: Side, wrongs: &mut Wrongs<'_>) {
    let items = items(node, "needs");
    if let Some(fourth) = items.get(MOST_NEEDS) {
        let message = format!("it needs {} recipes beside it; {MOST_NEEDS} are the most", items.len());
        wrongs.add("needs", fourth.span, &message, "leave out what the test can do without");
    }
    let (mut named, mut wired) = (BTreeSet::new(), BTreeSet::new());
    for (need, item) in file.needs.iter().zip(items) {
        let recipe = need.recipe();
        if !named.insert(recipe) {
            wrongs.add("needs", item.span, &format!("`{recipe}` is named twice"), "leave one of them out");
        }
        let secrets_at = item.get("secrets").map_or(item.span, |node| node.span);
        if side == Side::Recipe && need.secrets().next().is_some() {
            let message = format!("secrets of `{recipe}` count only on the appliance");
            let cure = "leave them out; the operator can write them into `recipes/<recipe>/recipe.yaml` there";
            wrongs.add("appliance-only", secrets_at, &message, cure);
        }
        for (name, _) in need.secrets().filter(|(name, _)| file.secrets.contains_key(*name)) {
            let message = format!("the secret `{name}` is given in two places");
            wrongs.add("secret", secrets_at, &message, "leave one of them out");
        }
        let of_item = |name: &str| {
            let env = item.get("env").and_then(Node::as_map).unwrap_or_default();
            env.iter().find(|(key, _)| key.scalar() == Some(name)).map_or(item.span, |(key, _)| key.span)
        };
        for (name, value) in need.env() {
            variable(name, of_item(name), wrongs);
            one_line(name, value, of_item(name), wrongs);
            if file.env.contains_key(name) || file.hosts.contains_key(name) || !wired.insert(name) {
                let message = format!("`{name}` is set in two places");
                wrongs.add("variable", of_item(name), &message, "leave one of them out");
            }
        }
    }
}

fn variable(name: &str, at: Span, wrongs: &mut Wrongs<'_>) {
    if !is_variable(name) {
        let message = format!("`{}` is no variable's name", name.escape_debug());
        wrongs.add("variable", at, &message, "use letters, digits and `_`, a letter first");
    } else if OURS.contains(&name) {
        wrongs.add("variable", at, &format!("`{name}` is set by cc-ci"), "leave it out");
    }
}

fn one_line(name: &str, value: &str, at: Span, wrongs: &mut Wrongs<'_>) {
    if value.contains(['\n', '\r', '\0']) {
        let message = format!("`{name}` has a line end in its value: {} characters", value.len());
        wrongs.add("variable", at, &message, "an `.env` file has one line for each; make it one");
    }
}

fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter) && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}
