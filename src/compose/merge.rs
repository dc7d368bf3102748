//! One shape for what people write in several (lists or mappings of labels, short or long volumes), then one file over the
//! other as Docker's reader does it, its oddities included: what is empty or false in the later file does not win, and lists
//! grow, that of a health check's words too.

use super::{Broken, ComposeError, Files};
use crate::yaml::{Node, Span, Value};

/// Plain words and whole numbers as the YAML 1.1 reader in Docker's client takes them, which knows `yes` and has no numbers as
/// keys.
pub(super) fn as_docker_reads(node: Node, path: &str) -> Result<Node, (Span, String)> {
    let Node { value, span, plain } = node;
    let value = match value {
        Value::String(text) if plain => match yaml_1_1_bool(&text) {
            Some(yes) => Value::Bool(yes),
            None => Value::String(text),
        },
        Value::Seq(items) => Value::Seq(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| as_docker_reads(item, &super::schema::join(path, &index.to_string())))
                .collect::<Result<_, _>>()?,
        ),
        Value::Map(entries) => {
            let mut read = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let bool_key = key.as_str().filter(|_| key.plain).and_then(yaml_1_1_bool);
                let shown = match (&key.value, bool_key) {
                    (_, Some(yes)) => Some(yes.to_string()),
                    (Value::String(_), None) => None,
                    (Value::Null, None) => Some("null".into()),
                    (_, None) => key.scalar().map(str::to_owned),
                };
                if let Some(shown) = shown {
                    let place = if path.is_empty() { "at top level".into() } else { format!("in {path}") };
                    return Err((key.span, format!("Non-string key {place}: {shown}")));
                }
                let path = super::schema::join(path, key.as_str().unwrap_or_default());
                read.push((key, as_docker_reads(value, &path)?));
            }
            Value::Map(read)
        }
        other => other,
    };
    Ok(Node { value, span, plain })
}

fn yaml_1_1_bool(word: &str) -> Option<bool> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A scalar as Go prints it once it is read: `1.10` is 1.1, `010` is 8.
fn printed(node: &Node) -> Option<String> {
    match &node.value {
        Value::Int(text) => {
            let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            let number = if let Some(digits) = digits.strip_prefix("0x") {
                u128::from_str_radix(digits, 16).ok()
            } else if let Some(digits) =
                digits.strip_prefix("0o").or(digits.strip_prefix('0').filter(|d| !d.is_empty()))
            {
                u128::from_str_radix(digits, 8).ok().or(digits.parse().ok())
            } else {
                digits.parse().ok()
            };
            Some(number.map_or(text.clone(), |number| format!("{sign}{number}")))
        }
        Value::Float(text) => Some(text.parse::<f64>().map_or(text.clone(), |number| number.to_string())),
        _ => node.scalar().map(str::to_owned),
    }
}

fn string(text: impl Into<String>, span: Span) -> Node {
    Node::text(text, span)
}

/// `[a=b, c]` or `{a: b}`, as a mapping of texts.
fn mapping(node: &mut Node, separator: char, null_stays: bool) {
    let empty = |span| if null_stays { Node::new(Value::Null, span) } else { string("", span) };
    let mut entries: Vec<(Node, Node)> = Vec::new();
    let mut put = |key: Node, value: Node| match entries.iter_mut().find(|(other, _)| *other == key) {
        Some((_, old)) => *old = value,
        None => entries.push((key, value)),
    };
    match std::mem::replace(&mut node.value, Value::Null) {
        Value::Seq(items) => {
            for item in items {
                let text = item.as_str().unwrap_or_default();
                let (key, value) = match text.split_once(separator) {
                    Some((key, value)) => (key, string(value, item.span)),
                    None => (text, empty(item.span)),
                };
                put(string(key, item.span), value);
            }
        }
        Value::Map(old) => {
            for (key, value) in old {
                let value = printed(&value).map_or_else(|| empty(value.span), |text| string(text, value.span));
                put(string(key.as_str().unwrap_or_default(), key.span), value);
            }
        }
        other => {
            node.value = other;
            return;
        }
    }
    node.value = Value::Map(entries);
}

fn list(node: &mut Node) {
    if let Value::String(text) = &node.value {
        node.value = Value::Seq(vec![string(text.clone(), node.span)]);
    }
}

pub(super) fn field<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value),
        _ => None,
    }
}

/// One file, filled in and checked, in the one shape.
pub(super) fn normalise(root: &mut Node, files: &Files) -> Result<(), ComposeError> {
    if let Value::Map(entries) = &mut root.value {
        entries.retain(|(key, _)| !key.as_str().unwrap_or_default().starts_with("x-"));
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        let Some(Value::Map(objects)) = field(root, section).map(|node| &mut node.value) else { continue };
        for (_, object) in objects {
            if let Some(labels) = field(object, "labels") {
                mapping(labels, '=', false);
            }
        }
    }
    let Some(Value::Map(services)) = field(root, "services").map(|node| &mut node.value) else { return Ok(()) };
    for (_, service) in services {
        normalise_service(service, files)?;
    }
    Ok(())
}

fn normalise_service(service: &mut Node, files: &Files) -> Result<(), ComposeError> {
    if let Value::Map(entries) = &mut service.value {
        entries.retain(|(key, _)| !key.as_str().unwrap_or_default().starts_with("x-"));
    }
    for (key, separator, null_stays) in [("labels", '=', false), ("environment", '=', true), ("sysctls", '=', false)] {
        if let Some(node) = field(service, key) {
            mapping(node, separator, null_stays);
        }
    }
    if let Some(labels) = field(service, "deploy").and_then(|deploy| field(deploy, "labels")) {
        mapping(labels, '=', false);
    }
    for key in ["tmpfs", "dns", "dns_search", "env_file"] {
        if let Some(node) = field(service, key) {
            list(node);
        }
    }
    if let Some(node) = field(service, "extra_hosts")
        && let Value::Map(hosts) = &node.value
    {
        let line = |(key, value): &(Node, Node)| {
            let text = format!("{}:{}", key.as_str().unwrap_or_default(), printed(value).unwrap_or_default());
            string(text, key.span)
        };
        node.value = Value::Seq(hosts.iter().filter(|(_, value)| !value.is_null()).map(line).collect());
    }
    if let Some(node) = field(service, "networks")
        && let Value::Seq(names) = &mut node.value
    {
        let entry = |name: Node| {
            let span = name.span;
            (name, Node::new(Value::Null, span))
        };
        node.value = Value::Map(std::mem::take(names).into_iter().map(entry).collect());
    }
    for key in ["configs", "secrets"] {
        let Some(Value::Seq(items)) = field(service, key).map(|node| &mut node.value) else { continue };
        for item in items {
            if let Value::String(source) = &item.value {
                item.value = Value::Map(vec![(string("source", item.span), string(source.clone(), item.span))]);
            }
        }
    }
    if let Some(Value::Seq(items)) = field(service, "volumes").map(|node| &mut node.value) {
        for item in items {
            if let Value::String(text) = &item.value {
                item.value =
                    short_volume(text, item.span).map_err(|what| files.error(Broken::Volume, item.span, what))?;
            }
        }
    }
    if let Some(test) = field(service, "healthcheck").and_then(|check| field(check, "test"))
        && let Value::String(command) = &test.value
    {
        test.value = Value::Seq(vec![string("CMD-SHELL", test.span), string(command.clone(), test.span)]);
    }
    Ok(())
}

/// `source:target:options`; what begins with `.`, `/` or `~` is a path of the host.
fn short_volume(text: &str, span: Span) -> Result<Value, String> {
    let invalid = |why: &str| Err(format!("invalid spec: {}: {why}", text.escape_debug()));
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return invalid("empty section between colons");
    }
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return invalid("too many colons"),
    };
    let bind = source.is_some_and(|source| source.starts_with(['.', '/', '~']));
    let mut entries = vec![("type", if bind { "bind" } else { "volume" }.to_owned())];
    entries.extend(source.map(|source| ("source", source.to_owned())));
    entries.push(("target", target.to_owned()));
    let mut map: Vec<(Node, Node)> =
        entries.into_iter().map(|(key, value)| (string(key, span), string(value, span))).collect();
    let nested = |key: &str, value: Node| Node::new(Value::Map(vec![(string(key, span), value)]), span);
    for option in options.split(',') {
        match option {
            "ro" => map.push((string("read_only", span), Node::new(Value::Bool(true), span))),
            "nocopy" => map.push((string("volume", span), nested("nocopy", Node::new(Value::Bool(true), span)))),
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                map.push((string("bind", span), nested("propagation", string(option, span))));
            }
            _ => {}
        }
    }
    map.dedup_by(|(one, _), (other, _)| one == other);
    Ok(Value::Map(map))
}

/// `over` on top of `base`, both in the one shape.
pub(super) fn merge(base: &mut Node, over: Node) {
    let Value::Map(sections) = over.value else { return };
    for (key, section) in sections {
        let name = key.as_str().unwrap_or_default().to_owned();
        let Some(into) = field(base, &name) else {
            if let Value::Map(entries) = &mut base.value {
                entries.push((key, section));
            }
            continue;
        };
        let (Value::Map(into), Value::Map(objects)) = (&mut into.value, section.value) else { continue };
        for (key, object) in objects {
            match into.iter_mut().find(|(other, _)| *other == key) {
                Some((_, old)) if name == "services" => merge_service(old, object),
                // Volumes, networks, secrets, configs: the later one as a whole.
                Some((_, old)) => *old = object,
                None => into.push((key, object)),
            }
        }
    }
}

fn merge_service(base: &mut Node, over: Node) {
    let Value::Map(fields) = over.value else { return };
    for (key, value) in fields {
        let name = key.as_str().unwrap_or_default().to_owned();
        let Some(old) = field(base, &name) else {
            if let Value::Map(entries) = &mut base.value {
                entries.push((key, value));
            }
            continue;
        };
        match name.as_str() {
            "command" | "entrypoint" | "build" | "init" => replace(old, value),
            "configs" | "secrets" => by_key(old, value, |item| text_of(item, "source")),
            "volumes" => by_key(old, value, |item| text_of(item, "target")),
            "ports" => by_key(old, value, |item| Some(crate::yaml::render(item))),
            "logging" if differ(old, &value) => *old = value,
            "labels" => overlay(old, value, |_| true),
            "networks" => overlay(old, value, |value| !value.is_null()),
            "ulimits" => overlay(old, value, |value| !is_empty(value)),
            "deploy" => merge_deploy(old, value),
            _ => merge_value(old, value),
        }
    }
}

fn text_of(item: &Node, key: &str) -> Option<String> {
    item.get(key).and_then(Node::as_str).map(str::to_owned)
}

fn merge_deploy(base: &mut Node, over: Node) {
    if base.is_null() {
        *base = over;
        return;
    }
    let Value::Map(fields) = over.value else { return };
    for (key, value) in fields {
        let name = key.as_str().unwrap_or_default().to_owned();
        match (field(base, &name), name.as_str()) {
            (None, _) => {
                if let Value::Map(entries) = &mut base.value {
                    entries.push((key, value));
                }
            }
            (Some(old), "labels") => overlay(old, value, |_| true),
            // A pointer to Docker's reader: zero counts.
            (Some(old), "replicas") => *old = value,
            (Some(old), _) => merge_value(old, value),
        }
    }
}

fn differ(old: &Node, new: &Node) -> bool {
    match (old.get("driver"), new.get("driver")) {
        (Some(old), Some(new)) => old != new,
        _ => false,
    }
}

fn replace(old: &mut Node, new: Node) {
    let keeps =
        matches!(&new.value, Value::Null) || new.as_seq().is_some_and(<[Node]>::is_empty) || new.as_str() == Some("");
    if !keeps {
        *old = new;
    }
}

/// Each key of the later mapping, if it counts.
fn overlay(old: &mut Node, new: Node, counts: impl Fn(&Node) -> bool) {
    if old.is_null() {
        *old = new;
        return;
    }
    let (Value::Map(old), Value::Map(new)) = (&mut old.value, new.value) else { return };
    for (key, value) in new {
        match old.iter_mut().find(|(other, _)| *other == key) {
            Some((_, there)) if counts(&value) => *there = value,
            Some(_) => {}
            None => old.push((key, value)),
        }
    }
}

/// Lists whose items have an identity.
fn by_key(old: &mut Node, new: Node, key: impl Fn(&Node) -> Option<String>) {
    let (Value::Seq(old), Value::Seq(new)) = (&mut old.value, new.value) else { return };
    for item in new {
        let name = key(&item);
        match old.iter_mut().find(|other| name.is_some() && key(other) == name) {
            Some(there) => *there = item,
            None => old.push(item),
        }
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Int(text) | Value::Float(text) => text.parse::<f64>() == Ok(0.0),
        Value::String(text) => text.is_empty(),
        Value::Seq(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Bool(true) => false,
    }
}

fn merge_value(old: &mut Node, new: Node) {
    if is_empty(&new) {
        return;
    }
    match (&mut old.value, new.value) {
        (Value::Map(entries), Value::Map(fields)) => {
            for (key, value) in fields {
                match entries.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, there)) => merge_value(there, value),
                    None => entries.push((key, value)),
                }
            }
        }
        (Value::Seq(items), Value::Seq(more)) => items.extend(more),
        (value, new_value) => {
            *value = new_value;
            old.span = new.span;
        }
    }
}
