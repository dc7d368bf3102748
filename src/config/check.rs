//! What can be read and cannot work: found here, when the file is checked, and not by a run in the night. Every key that could
//! hold nonsense is looked at; who refuses one says why, and what would do. What is counted or measured is in `bounds.rs`.

use std::net::IpAddr;
use std::path::Path;

use super::{Config, bounds, notify, schedule};
use crate::model::AppDomain;
use crate::recipe::LONGEST_STACK;
use crate::yaml::{Node, Span};

/// A key whose value cannot work. `key` leads to it from the root, items of lists by their number.
#[derive(Debug)]
pub(super) struct Unfit {
    key: String,
    pub(super) words: String,
}

impl Unfit {
    /// `words` go on where the key ends.
    pub(super) fn new(key: &str, words: impl std::fmt::Display) -> Unfit {
        Unfit { key: key.to_owned(), words: format!("`{key}` {words}") }
    }

    /// In words that name it their own way.
    pub(super) fn at(key: impl Into<String>, words: String) -> Unfit {
        Unfit { key: key.into(), words }
    }

    /// Where it stands, or what it would stand in; nothing where the file says nothing of either.
    pub(super) fn place(&self, root: &Node) -> Option<Span> {
        let (mut node, mut found) = (root, None);
        for part in self.key.split('.') {
            let below = match part.parse::<usize>() {
                Ok(number) => node.as_seq().and_then(|items| items.get(number)),
                Err(_) => node.get(part),
            };
            let Some(below) = below else { break };
            (node, found) = (below, Some(below.span));
        }
        found
    }
}

pub(super) type Checked = Result<(), Unfit>;

/// Everything but the secrets' files.
pub(super) fn check(config: &Config) -> Checked {
    check_domain(config)?;
    check_paths(config)?;
    check_url("forge.url", &config.forge.url)?;
    config.web.url.as_ref().map_or(Ok(()), |url| check_url("web.url", url))?;
    check_forge(config)?;
    check_addresses(config)?;
    check_registries(config)?;
    check_deployed(config)?;
    bounds::check(config)?;
    notify::check(&config.notify)?;
    config.schedule.as_ref().map_or(Ok(()), schedule::check)
}

/// What stands before the domain in an app's name: four letters of the recipe, `-`, six digits, and the dot.
const BEFORE_DOMAIN: usize = 12;

fn check_domain(config: &Config) -> Checked {
    let domain: AppDomain = config.domain.parse().map_err(|error| Unfit::at("domain", format!("`domain`: {error}")))?;
    let domain = domain.as_str();
    if domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(Unfit::new(
            "domain",
            "is an address; apps need a name such as `ci.example.org`, for whose `*.` there is a certificate",
        ));
    }
    let most = LONGEST_STACK - BEFORE_DOMAIN;
    if domain.len() > most {
        let words = format!(
            "has {} characters; with more than {most} the apps' stacks would have longer names than abra gives them",
            domain.len()
        );
        return Err(Unfit::new("domain", words));
    }
    Ok(())
}

/// Programs start in many directories, so a path begins at the root.
fn check_paths(config: &Config) -> Checked {
    let (forge, runner, proxy) = (&config.forge, &config.runner, &config.proxy);
    let paths = [
        ("state_dir", Some(&config.state_dir)),
        ("recipes_dir", Some(&config.recipes_dir)),
        ("forge.token_file", Some(&forge.token_file)),
        ("forge.webhook.secret_file", forge.webhook.as_ref().map(|webhook| &webhook.secret_file)),
        ("runner.docker", Some(&runner.docker)),
        ("runner.git_token_file", runner.git_token_file.as_ref()),
        ("runner.registry_login_file", runner.registry_login_file.as_ref()),
        ("proxy.certificate_file", proxy.certificate_file.as_ref()),
        ("proxy.key_file", proxy.key_file.as_ref()),
        ("proxy.ca_file", proxy.ca_file.as_ref()),
    ];
    for (key, path) in paths {
        let Some(path) = path.filter(|path| !path.is_absolute()) else { continue };
        let path = path.display();
        return Err(Unfit::new(
            key,
            format!("is `{path}`; name it from the root, since programs start in many directories"),
        ));
    }
    if config.state_dir.parent().is_none() {
        return Err(Unfit::new("state_dir", "is the root of the file system; /var/lib/cc-ci is usual"));
    }
    // A name alone is looked for on the PATH.
    let is_name = |path: &Path| path.components().count() == 1;
    if runner.abra.as_ref().is_some_and(|abra| abra.as_os_str().is_empty() || !abra.is_absolute() && !is_name(abra)) {
        return Err(Unfit::new("runner.abra", "is neither a path from the root nor the name of a program on the PATH"));
    }
    let socket = super::bell_in(&config.state_dir, "runner").as_os_str().len();
    if socket > LONGEST_SOCKET {
        let most = LONGEST_SOCKET - (socket - config.state_dir.as_os_str().len());
        return Err(Unfit::new(
            "state_dir",
            format!("is too long for the sockets in it; {most} characters are the most"),
        ));
    }
    if runner.registry_login_file.as_ref().is_some_and(|file| !file.ends_with("config.json")) {
        return Err(Unfit::new(
            "runner.registry_login_file",
            "is not called `config.json`, the only name under which Docker's own programs read it",
        ));
    }
    if proxy.certificate_file.is_some() != proxy.key_file.is_some() {
        let words = "`proxy.certificate_file` and `proxy.key_file` come together; one of them is missing";
        return Err(Unfit::at("proxy", words.into()));
    }
    Ok(())
}

/// What the kernel takes as a socket's path.
const LONGEST_SOCKET: usize = 107;

fn check_url(key: &str, text: &str) -> Checked {
    base_address(text).map(drop).map_err(|words| Unfit::at(key, format!("`{key}`: `{}` {words}", shown(text))))
}

/// An address in an error, which goes into logs: without the name or password that it may hold.
fn shown(text: &str) -> String {
    let bare = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("…@{host}"));
    bare.escape_debug().to_string()
}

/// An http or https address to which paths are added, or what it is instead.
pub(super) fn base_address(text: &str) -> Result<reqwest::Url, String> {
    // The parser mends much that others, to which the text itself is given, would not.
    let scheme = text.split_once("://").filter(|(_, rest)| !rest.starts_with('/')).map(|(scheme, _)| scheme);
    let is_web = scheme.is_some_and(|scheme| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)));
    if !is_web || text.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '\\') {
        return Err("is not an http or https address; write it as https://host".into());
    }
    let url = reqwest::Url::parse(text).map_err(|error| format!("is not an address ({error}); https://host is one"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a name or password, and this file can be read by others; write it without".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("goes on with `?` or `#`; paths are added to it, so it ends before them".into());
    }
    if url.port() == Some(0) {
        return Err("has port 0, where nothing answers".into());
    }
    Ok(url)
}

fn check_forge(config: &Config) -> Checked {
    let forge = &config.forge;
    let context = &forge.status_context;
    if context.trim().is_empty() || context.chars().count() > 100 || context.chars().any(char::is_control) {
        return Err(Unfit::new("forge.status_context", "is not 1 to 100 letters in one line; `cc-ci/test` is usual"));
    }
    let enrol = &forge.enrol;
    let is_topic = |topic: &str| {
        (1..=35).contains(&topic.len())
            && topic.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    if enrol.topic.as_ref().is_some_and(|topic| !is_topic(topic)) {
        return Err(Unfit::new(
            "forge.enrol.topic",
            "is no topic that a forge lets one set: 1 to 35 of a-z, 0-9, `-` and `.`",
        ));
    }
    let both = enrol.except.iter().enumerate().find(|(_, name)| enrol.repositories.contains(name));
    if let Some((number, name)) = both {
        let words = format!("`forge.enrol`: `{name}` is both in `repositories` and in `except`; take it out of one");
        return Err(Unfit::at(format!("forge.enrol.except.{number}"), words));
    }
    Ok(())
}

fn check_addresses(config: &Config) -> Checked {
    let (listen, proxy) = (config.web.listen, &config.proxy);
    let ports =
        [("web.listen", listen.port()), ("proxy.address", proxy.address.port()), ("proxy.http_port", proxy.http_port)];
    // A socket that systemd hands down needs no port here, only an address by which people come.
    if let Some((key, _)) = ports[1..].iter().find(|(_, port)| *port == 0) {
        return Err(Unfit::new(key, "is on port 0, which is another each time; name one"));
    }
    if proxy.http_port == proxy.address.port() {
        let words = format!("`proxy.http_port` and `proxy.address` are both port {}", proxy.http_port);
        return Err(Unfit::at("proxy.http_port", words));
    }
    if proxy.address.ip().is_unspecified() || proxy.address.ip().is_multicast() {
        let words = "is no address that one can connect to, as probes do; 127.0.0.1:443 is usual";
        return Err(Unfit::new("proxy.address", words));
    }
    // Swarm publishes the proxy's ports on every address.
    if let Some((key, port)) = ports[1..].iter().find(|(_, port)| *port == listen.port()) {
        let words = format!(
            "`web.listen` and `{key}` are both port {port}; the proxy has it on every address, so choose another"
        );
        return Err(Unfit::at("web.listen", words));
    }
    if config.web.url.is_none() && (listen.ip().is_unspecified() || listen.port() == 0) {
        let words = format!(
            "is no address that people could reach, and links on the forge would begin with http://{listen}; say in `web.url` how they do"
        );
        return Err(Unfit::new("web.listen", words));
    }
    Ok(())
}

fn check_registries(config: &Config) -> Checked {
    for (number, registry) in config.policy.registries.iter().enumerate() {
        if let Some(words) = no_registry(registry) {
            let words = format!("`policy.registries`: `{}` {words}", registry.escape_debug());
            return Err(Unfit::at(format!("policy.registries.{number}"), words));
        }
    }
    Ok(())
}

/// What is wrong with the name of a registry, as it stands before the first `/` of an image.
fn no_registry(name: &str) -> Option<&'static str> {
    let (host, port) = name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port)));
    let is_host = host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
        && !host.is_empty()
        && !host.starts_with(['-', '.'])
        && !host.ends_with(['-', '.']);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if name.contains("://") {
        Some("is an address; name the host alone, as images do: `ghcr.io`")
    } else if name.contains('/') {
        Some("goes on behind the host; owners are not told apart, so name the host alone: `ghcr.io`")
    } else if name == "index.docker.io" {
        Some("is called `docker.io` here")
    } else if !is_host || !is_port || !(host.contains('.') || port.is_some() || host == "localhost") {
        Some("is no registry as images name it: `docker.io`, `ghcr.io`, `registry.example.org:5000`")
    } else {
        None
    }
}

/// What `cc-ci reconcile` puts up.
fn check_deployed(config: &Config) -> Checked {
    let (proxy, backup) = (&config.proxy, &config.backup);
    for (key, image) in [("proxy.image", Some(&proxy.image)), ("backup.image", backup.image.as_ref())] {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@".contains(&byte);
        if image.is_some_and(|image| {
            !image.bytes().all(word) || !image.starts_with(|first: char| first.is_ascii_alphanumeric())
        }) {
            return Err(Unfit::new(key, "is no image as Docker names it: `name:tag`"));
        }
    }
    let mut letters = proxy.network.bytes();
    let is_name = letters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !is_name || matches!(proxy.network.as_str(), "host" | "none" | "bridge" | "ingress" | "docker_gwbridge") {
        let words = "is no name for a network of one's own: letters, digits, `_`, `.` and `-`; `proxy` is usual";
        return Err(Unfit::new("proxy.network", words));
    }
    for (key, domain) in [("proxy.domain", proxy.domain.as_ref()), ("backup.domain", backup.domain.as_ref())] {
        let Some(domain) = domain else { continue };
        domain.parse::<AppDomain>().map_err(|error| Unfit::at(key, format!("`{key}`: {error}")))?;
        if domain.parse::<IpAddr>().is_ok() {
            return Err(Unfit::new(key, "is an address; abra calls apps by a name such as `traefik.example.org`"));
        }
        if domain.len() > LONGEST_STACK {
            let words = format!("has {} characters; abra gives stacks names of at most {LONGEST_STACK}", domain.len());
            return Err(Unfit::new(key, words));
        }
    }
    if proxy.domain.is_some() && proxy.domain == backup.domain {
        return Err(Unfit::new("backup.domain", "is `proxy.domain` too; two apps need two names"));
    }
    Ok(())
}
