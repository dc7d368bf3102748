//! What the merged files say, by the words of the format.

use std::time::Duration;

use super::{Broken, Compose, ComposeError, Place, merge, schema};
use crate::yaml::{self, Node, Span, Value};

/// One service.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    pub name: &'a str,
    pub span: Span,
    pub node: &'a Node,
}

/// What a stack names besides services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Config,
    Secret,
    Volume,
    Network,
}

/// A config, secret, volume or network of the stack.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    pub kind: Kind,
    pub key: &'a str,
    pub span: Span,
    pub node: &'a Node,
}

/// Something mounted into a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mount<'a> {
    /// `volume`, `bind`, `tmpfs`, `npipe`.
    pub kind: &'a str,
    pub source: Option<&'a str>,
    pub target: &'a str,
    pub read_only: bool,
    pub span: Span,
}

/// A health check, with Docker's defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub retries: u32,
    pub span: Span,
}

impl Kind {
    pub fn section(self) -> &'static str {
        match self {
            Kind::Config => "configs",
            Kind::Secret => "secrets",
            Kind::Volume => "volumes",
            Kind::Network => "networks",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Secret => "secret",
            Kind::Volume => "volume",
            Kind::Network => "network",
        }
    }
}

impl<'a> Service<'a> {
    pub fn image(&self) -> Option<&'a Node> {
        self.node.get("image")
    }

    /// A label of the service, which is where Traefik and abra look.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.label_node(key)?.as_str()
    }

    pub fn label_node(&self, key: &str) -> Option<&'a Node> {
        self.node.at(&["deploy", "labels"])?.get(key)
    }

    pub fn labels(&self) -> &'a [(Node, Node)] {
        self.node.at(&["deploy", "labels"]).and_then(Node::as_map).unwrap_or_default()
    }

    pub fn environment(&self) -> &'a [(Node, Node)] {
        self.node.get("environment").and_then(Node::as_map).unwrap_or_default()
    }

    pub fn mounts(&self) -> Vec<Mount<'a>> {
        let mount = |node: &'a Node| {
            let text = |key| node.get(key).and_then(Node::as_str);
            let read_only = node.get("read_only").and_then(Node::as_bool).unwrap_or_default();
            let (kind, target) = (text("type").unwrap_or("volume"), text("target").unwrap_or_default());
            Mount { kind, source: text("source"), target, read_only, span: node.span }
        };
        self.node.get("volumes").and_then(Node::as_seq).unwrap_or_default().iter().map(mount).collect()
    }

    /// Names of the networks it is on, as the file calls them.
    pub fn networks(&self) -> Vec<&'a str> {
        let entries = self.node.get("networks").and_then(Node::as_map).unwrap_or_default();
        entries.iter().filter_map(|(key, _)| key.as_str()).collect()
    }

    /// The configs or secrets it uses, as the file calls them.
    pub fn uses(&self, kind: Kind) -> Vec<(&'a str, Span)> {
        match kind {
            Kind::Config | Kind::Secret => {
                let items = self.node.get(kind.section()).and_then(Node::as_seq).unwrap_or_default();
                let source = |item: &'a Node| item.get("source").and_then(Node::as_str).map(|name| (name, item.span));
                items.iter().filter_map(source).collect()
            }
            Kind::Volume => {
                let named =
                    |mount: Mount<'a>| mount.source.filter(|_| mount.kind == "volume").map(|name| (name, mount.span));
                self.mounts().into_iter().filter_map(named).collect()
            }
            Kind::Network => {
                let entries = self.node.get("networks").and_then(Node::as_map).unwrap_or_default();
                entries.iter().filter_map(|(key, _)| Some((key.as_str()?, key.span))).collect()
            }
        }
    }

    /// What the file says of its health; the image may have a check of its own.
    pub fn health(&self) -> Option<Health> {
        let node = self.node.get("healthcheck")?;
        let test: Vec<String> = node
            .get("test")
            .and_then(Node::as_seq)
            .unwrap_or_default()
            .iter()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        let off = node.get("disable").and_then(Node::as_bool) == Some(true);
        if off || test.first().is_some_and(|word| word == "NONE") {
            return None;
        }
        let span = |key, default| {
            let said = node.get(key).and_then(Node::as_str).and_then(schema::duration);
            said.unwrap_or(Duration::from_secs(default))
        };
        let retries = node.get("retries").and_then(Node::scalar).and_then(|text| text.parse().ok()).unwrap_or(3);
        Some(Health {
            test,
            interval: span("interval", 30),
            timeout: span("timeout", 30),
            start_period: span("start_period", 0),
            retries,
            span: node.span,
        })
    }

    /// How many tasks it wants; nothing for a global one.
    pub fn replicas(&self) -> Option<u64> {
        let deploy = self.node.get("deploy");
        let mode = deploy.and_then(|deploy| deploy.get("mode")).and_then(Node::as_str).unwrap_or("replicated");
        if mode.starts_with("global") {
            return None;
        }
        let said = deploy.and_then(|deploy| deploy.get("replicas")).and_then(Node::scalar);
        Some(said.and_then(|text| text.parse().ok()).unwrap_or(1))
    }

    /// `any`, `on-failure` or `none`.
    pub fn restart_condition(&self) -> &'a str {
        self.node.at(&["deploy", "restart_policy", "condition"]).and_then(Node::as_str).unwrap_or("any")
    }
}

impl<'a> Object<'a> {
    /// Made by somebody else, not by the stack.
    pub fn is_external(&self) -> bool {
        match self.node.get("external").map(|node| &node.value) {
            Some(Value::Bool(yes)) => *yes,
            Some(Value::Map(_)) => true,
            _ => false,
        }
    }

    /// How it is called in Swarm when the stack is called `stack`.
    pub fn full_name(&self, stack: &str) -> String {
        let external_name = self.node.at(&["external", "name"]);
        match self.node.get("name").or(external_name).and_then(Node::as_str).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None if self.is_external() => self.key.to_owned(),
            None => format!("{stack}_{}", self.key),
        }
    }

    /// The file it is made from, as an absolute path once the recipe is loaded.
    pub fn file(&self) -> Option<&'a str> {
        self.node.get("file").and_then(Node::as_str)
    }
}

impl Compose {
    /// The merged tree, variables filled in.
    pub fn tree(&self) -> &Node {
        &self.root
    }

    pub fn dir(&self) -> &std::path::Path {
        &self.files.dir
    }

    /// The files that were merged, in their order.
    pub fn files(&self) -> &[String] {
        &self.files.names
    }

    pub fn place(&self, span: Span) -> Place {
        self.files.place(span)
    }

    /// Variables without a value and without a default.
    pub fn unset(&self) -> impl Iterator<Item = (&str, Place)> {
        self.unset.iter().map(|(name, span)| (name.as_str(), self.place(*span)))
    }

    /// Texts with a variable in the default of another, which not all readers fill in alike.
    pub fn nested(&self) -> &[Span] {
        &self.nested
    }

    pub fn services(&self) -> Vec<Service<'_>> {
        let entries = self.root.get("services").and_then(Node::as_map).unwrap_or_default();
        entries.iter().filter_map(|(key, node)| Some(Service { name: key.as_str()?, span: key.span, node })).collect()
    }

    pub fn service(&self, name: &str) -> Option<Service<'_>> {
        self.services().into_iter().find(|service| service.name == name)
    }

    pub fn images(&self) -> Vec<(&str, &Node)> {
        self.services().into_iter().filter_map(|service| Some((service.name, service.image()?))).collect()
    }

    pub fn objects(&self, kind: Kind) -> Vec<Object<'_>> {
        let entries = self.root.get(kind.section()).and_then(Node::as_map).unwrap_or_default();
        entries
            .iter()
            .filter_map(|(key, node)| Some(Object { kind, key: key.as_str()?, span: key.span, node }))
            .collect()
    }

    pub fn configs(&self) -> Vec<Object<'_>> {
        self.objects(Kind::Config)
    }

    pub fn secrets(&self) -> Vec<Object<'_>> {
        self.objects(Kind::Secret)
    }

    pub fn volumes(&self) -> Vec<Object<'_>> {
        self.objects(Kind::Volume)
    }

    pub fn networks(&self) -> Vec<Object<'_>> {
        self.objects(Kind::Network)
    }

    /// The variable that names an object's version: the last one in its name, `STACK_NAME` aside.
    pub fn version_variable(&self, object: &Object<'_>) -> Option<&str> {
        let name = object.node.get("name").or(object.node.at(&["external", "name"]))?;
        let (_, template) = self.templates.iter().find(|(span, _)| *span == name.span)?;
        super::names(template).into_iter().rfind(|name| *name != "STACK_NAME")
    }

    /// A label of a service.
    pub fn label(&self, service: &str, key: &str) -> Option<&str> {
        self.service(service)?.label(key)
    }

    /// The service that answers the web: it says `traefik.enable=true`; else `app`.
    pub fn web_service(&self) -> Option<Service<'_>> {
        let services = self.services();
        let web = services.iter().find(|service| service.label("traefik.enable") == Some("true"));
        web.or_else(|| services.iter().find(|service| service.name == "app")).copied()
    }

    /// Secrets that services use, which must be there before a deploy.
    pub fn used_secrets(&self) -> Vec<Object<'_>> {
        let services = self.services();
        let used: Vec<&str> =
            services.iter().flat_map(|service| service.uses(Kind::Secret)).map(|(key, _)| key).collect();
        self.secrets().into_iter().filter(|secret| used.contains(&secret.key)).collect()
    }

    /// Every reference of a service is to something the files define.
    pub fn check_references(&self) -> Result<(), ComposeError> {
        for service in self.services() {
            for kind in [Kind::Network, Kind::Volume, Kind::Config, Kind::Secret] {
                let known = self.objects(kind);
                for (name, span) in service.uses(kind) {
                    let implied = kind == Kind::Network && name == "default";
                    if !implied && !known.iter().any(|object| object.key == name) {
                        let message = format!("service {}: undefined {} {name:?}", service.name, kind.word());
                        let cure = format!("add `{name}:` under `{}:`", kind.section());
                        return Err(self.files.error(Broken::Reference, span, message).cure(cure));
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets a label on a service, over what the files say.
    pub fn set_label(&mut self, service: &str, key: &str, value: &str) {
        let Some(service) = self.service_mut(service) else { return };
        set(nested(nested(service, "deploy"), "labels"), key, value, true);
    }

    /// Sets a variable of a service that the files do not set.
    pub fn default_environment(&mut self, service: &str, key: &str, value: &str) {
        let Some(service) = self.service_mut(service) else { return };
        set(nested(service, "environment"), key, value, false);
    }

    fn service_mut(&mut self, name: &str) -> Option<&mut Node> {
        merge::field(merge::field(&mut self.root, "services")?, name)
    }

    /// As it is rendered, with a mask in place of values of variables that are named like a password: for whoever reads it. Those
    /// that the recipe itself has in its files are no secrets, but look like ones.
    pub fn render_masked(&self) -> String {
        let mut masked = self.clone();
        if let Some(Value::Map(services)) = merge::field(&mut masked.root, "services").map(|node| &mut node.value) {
            for (_, service) in services {
                let Some(Value::Map(variables)) = merge::field(service, "environment").map(|node| &mut node.value)
                else {
                    continue;
                };
                let hidden = |key: &Node, value: &Node| key.as_str().is_some_and(is_secretive) && !value.is_null();
                variables.iter_mut().filter(|(key, value)| hidden(key, value)).for_each(|(_, value)| {
                    value.value = Value::String("[masked]".into());
                });
            }
        }
        masked.render()
    }

    /// One file for `docker stack deploy`: paths absolute, dollars doubled, since its reader fills in variables again.
    pub fn render(&self) -> String {
        let mut root = self.root.clone();
        let version = match self.version.as_deref() {
            Some(version) if !version.is_empty() => version.to_owned(),
            _ => format!("3.{}", self.needs.max(8)),
        };
        for kind in [Kind::Config, Kind::Secret] {
            let Some(Value::Map(objects)) = merge::field(&mut root, kind.section()).map(|node| &mut node.value) else {
                continue;
            };
            for (_, object) in objects {
                if let Some(file) = merge::field(object, "file") {
                    let path = self.files.dir.join(file.as_str().unwrap_or_default());
                    file.value = Value::String(path.to_string_lossy().into_owned());
                }
            }
        }
        if let Some(Value::Map(services)) = merge::field(&mut root, "services").map(|node| &mut node.value) {
            for (_, service) in services {
                absolute_binds(service, &self.files.dir);
            }
        }
        double_dollars(&mut root);
        if let Value::Map(sections) = &mut root.value {
            sections.retain(|(key, _)| key.as_str() != Some("version"));
            sections.insert(0, (Node::text("version", root.span), Node::text(version, root.span)));
        }
        yaml::render(&root)
    }
}

/// A variable whose value people do not show. What only says where a secret lies, or which version it has, is none.
fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE_KEY", "API_KEY"];
    words.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE") && !name.ends_with("_VERSION")
}

fn absolute_binds(service: &mut Node, dir: &std::path::Path) {
    let Some(Value::Seq(mounts)) = merge::field(service, "volumes").map(|node| &mut node.value) else { return };
    for mount in mounts {
        if mount.get("type").and_then(Node::as_str) == Some("bind")
            && let Some(source) = merge::field(mount, "source")
            && let Some(text) = source.as_str().filter(|text| text.starts_with('.'))
        {
            source.value = Value::String(dir.join(text).to_string_lossy().into_owned());
        }
    }
}

fn nested<'a>(node: &'a mut Node, key: &str) -> &'a mut Node {
    let span = node.span;
    if node.as_map().is_none() {
        node.value = Value::Map(Vec::new());
    }
    if merge::field(node, key).is_none()
        && let Value::Map(entries) = &mut node.value
    {
        entries.push((Node::text(key, span), Node::new(Value::Map(Vec::new()), span)));
    }
    // Just put there; the borrow checker wants to hear it once more.
    let Value::Map(entries) = &mut node.value else { unreachable!("made a mapping above") };
    let at = entries.iter().position(|(name, _)| name.as_str() == Some(key)).unwrap_or(entries.len() - 1);
    &mut entries[at].1
}

fn set(map: &mut Node, key: &str, value: &str, over: bool) {
    let span = map.span;
    if map.as_map().is_none() {
        map.value = Value::Map(Vec::new());
    }
    match merge::field(map, key) {
        Some(old) if over => old.value = Value::String(value.to_owned()),
        Some(_) => {}
        None => {
            if let Value::Map(entries) = &mut map.value {
                entries.push((Node::text(key, span), Node::text(value, span)));
            }
        }
    }
}

fn double_dollars(node: &mut Node) {
    match &mut node.value {
        Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Seq(items) => items.iter_mut().for_each(double_dollars),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| double_dollars(value)),
        _ => {}
    }
}
