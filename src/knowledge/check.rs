//! A check as it is carried out, made of a check as it is written: one kind, and only what that kind has a use for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::file::{CheckFile, Login};
use super::reader::Wrongs;
use crate::model::{AppDomain, RecipeName};
use crate::script::Side;
use crate::yaml::{Node, Span};

/// One declared check.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: String,
    pub kind: Kind,
    /// Looked at again until it is true, for so long.
    pub until: Duration,
    /// Who wrote it: secrets of the appliance are for its own checks.
    pub side: Side,
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Http(Http),
    Tcp { service: String, port: u16, contains: Option<String> },
    Run { service: String, command: Vec<String>, exit: i64, contains: Option<String> },
    Assets { host: Option<String>, page: String },
    Login { host: Option<String>, login: Login },
}

/// What an answer has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// The variable of a second name.
    pub host: Option<String>,
    pub path: String,
    pub status: Option<u16>,
    pub title: Option<String>,
    pub contains: Option<String>,
    pub header: BTreeMap<String, String>,
    pub json: BTreeMap<String, Value>,
    pub redirect: Option<String>,
}

/// The word of each kind, and what it takes besides `name` and `until`.
const KINDS: [(&str, &[&str]); 5] = [
    ("get", &["host", "status", "title", "contains", "header", "json", "redirect"]),
    ("tcp", &["service", "contains"]),
    ("run", &["service", "contains", "exit"]),
    ("assets", &["host"]),
    ("login", &["host"]),
];
const OF_ALL: [&str; 2] = ["name", "until"];
const LONGEST_NAME: usize = 80;

impl Check {
    /// Says everything that is wrong with a check.
    pub(super) fn read(file: &CheckFile, node: &Node, side: Side, wrongs: &mut Wrongs<'_>) -> Option<Check> {
        let kind = kind_of(node, wrongs)?;
        let at = |key: &str| node.get(key).map_or(node.span, |value| value.span);
        let before = wrongs.count();
        if let Some(name) = &file.name {
            let is_good = !name.trim().is_empty() && name.chars().count() <= LONGEST_NAME;
            if !is_good || name.chars().any(char::is_control) {
                let cure = format!("write a few words, at most {LONGEST_NAME} characters");
                wrongs.add("check-name", at("name"), "this is no name of a check", &cure);
            }
        }
        for key in ["get", "assets"] {
            if let Some(path) = node.get(key).and_then(Node::as_str) {
                wrongs.path(at(key), path);
            }
        }
        if file.status.is_some_and(|status| !(100..600).contains(&status)) {
            wrongs.add("status", at("status"), "an HTTP status is a number from 100 to 599", "write `status: 200`");
        }
        if file.tcp == Some(0) {
            wrongs.add("port", at("tcp"), "0 is no port", "write the port that the service listens on");
        }
        if file.run.as_ref().is_some_and(|words| words.first().is_none_or(String::is_empty)) {
            wrongs.add("command", at("run"), "there is no command in it", "write `run: [program, argument]`");
        }
        if let Some(login) = &file.login {
            wrongs.path(node.at(&["login", "at"]).map_or(node.span, |node| node.span), &login.at);
        }
        for pointer in file.json.keys().filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            let cure = format!("write `/{}`", pointer.replace('.', "/"));
            wrongs.add("json-pointer", at("json"), &format!("`{pointer}` is no JSON pointer"), &cure);
        }
        let kind = made(kind, file);
        let name = file.name.clone().unwrap_or_else(|| kind.to_string());
        let until = file.until.map_or(Duration::ZERO, |span| span.0);
        (wrongs.count() == before).then_some(Check { name, kind, until, side })
    }
}

/// Which kind it is, once every key in it belongs to that kind.
fn kind_of(node: &Node, wrongs: &mut Wrongs<'_>) -> Option<&'static str> {
    let keys: Vec<(&str, Span)> =
        node.as_map()?.iter().filter_map(|(key, _)| Some((key.scalar()?, key.span))).collect();
    let mut said = keys.iter().filter(|(key, _)| KINDS.iter().any(|(kind, _)| kind == key));
    let Some((first, _)) = said.next() else {
        let message = "this check does not say what it looks at";
        wrongs.add("check-kind", node.span, message, "give it one of `get`, `tcp`, `run`, `assets`, `login`");
        return None;
    };
    if let Some((second, span)) = said.next() {
        let message = format!("a check looks at one thing, and this has `{first}` and `{second}`");
        wrongs.add("check-kind", *span, &message, "make two checks of it");
        return None;
    }
    let (kind, takes) = KINDS.iter().find(|(kind, _)| kind == first)?;
    let mut well = true;
    for (key, span) in keys.iter().filter(|(key, _)| key != kind && !takes.contains(key) && !OF_ALL.contains(key)) {
        let cure = format!("leave it out; besides `name` and `until`, a `{kind}` takes {}", takes.join(", "));
        wrongs.add("check-key", *span, &format!("`{key}` means nothing to a `{kind}`"), &cure);
        well = false;
    }
    well.then_some(*kind)
}

fn made(kind: &str, file: &CheckFile) -> Kind {
    let service = || file.service.clone().unwrap_or_else(|| "app".to_owned());
    match (kind, &file.login) {
        ("tcp", _) => {
            Kind::Tcp { service: service(), port: file.tcp.unwrap_or_default(), contains: file.contains.clone() }
        }
        ("run", _) => Kind::Run {
            service: service(),
            command: file.run.clone().unwrap_or_default(),
            exit: file.exit.unwrap_or_default(),
            contains: file.contains.clone(),
        },
        ("assets", _) => Kind::Assets { host: file.host.clone(), page: file.assets.clone().unwrap_or_default() },
        (_, Some(login)) => Kind::Login { host: file.host.clone(), login: login.clone() },
        _ => Kind::Http(Http {
            host: file.host.clone(),
            path: file.get.clone().unwrap_or_default(),
            status: file.status,
            title: file.title.clone(),
            contains: file.contains.clone(),
            header: file.header.clone(),
            json: file.json.clone(),
            redirect: file.redirect.clone(),
        }),
    }
}

impl Kind {
    /// The variable of a second name, or the recipe beside the app, if it is about one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Kind::Http(http) => http.host.as_deref(),
            Kind::Assets { host, .. } | Kind::Login { host, .. } => host.as_deref(),
            Kind::Tcp { .. } | Kind::Run { .. } => None,
        }
    }

    /// The same with the domains of what runs beside the app: `{keycloak}` is where keycloak lives.
    #[must_use]
    pub fn with_domains(&self, beside: &[(&RecipeName, &AppDomain)]) -> Kind {
        let fill = |text: &mut String| {
            for (recipe, domain) in beside {
                *text = text.replace(&format!("{{{recipe}}}"), domain.as_str());
            }
        };
        let mut kind = self.clone();
        match &mut kind {
            Kind::Http(http) => {
                [&mut http.contains, &mut http.redirect].into_iter().flatten().for_each(fill);
                http.header.values_mut().for_each(fill);
            }
            Kind::Run { command, contains, .. } => command.iter_mut().chain(contains).for_each(fill),
            Kind::Tcp { .. } | Kind::Assets { .. } | Kind::Login { .. } => {}
        }
        kind
    }
}

/// The name of a check that has none.
impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Http(http) => write!(f, "GET {}", http.path),
            Kind::Tcp { service, port, .. } => write!(f, "port {port} of {service}"),
            Kind::Run { service, command, .. } => {
                let words: String = command.join(" ").chars().take(40).collect();
                write!(f, "{words} in {service}")
            }
            Kind::Assets { page, .. } => write!(f, "stylesheet and script of {page}"),
            Kind::Login { login, .. } => write!(f, "login at {}", login.at),
        }
    }
}
