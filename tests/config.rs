//! `docs/config.md` lists every key of the configuration file, each with its default, and no other.

use std::collections::BTreeSet;

use cc_ci::config::{Config, load_without_secrets};
use cc_ci::yaml::{self, Node, Value};

const DOCUMENT: &str = include_str!("../docs/config.md");

/// The examples: what has no default, every default, what is left out by default.
fn blocks() -> [&'static str; 3] {
    let blocks: Vec<&str> = DOCUMENT.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    blocks.try_into().unwrap()
}

/// A configuration of several texts that are laid over each other.
fn of(texts: &[&str]) -> Config {
    let mut all = yaml::parse("config.md", texts[0]).unwrap();
    for text in &texts[1..] {
        lay_over(&mut all, yaml::parse("config.md", text).unwrap());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml::render(&all)).unwrap();
    load_without_secrets(file.path()).unwrap()
}

fn lay_over(below: &mut Node, above: Node) {
    match (&mut below.value, above.value) {
        (Value::Map(below), Value::Map(above)) => {
            for (key, value) in above {
                match below.iter_mut().find(|(known, _)| known.scalar() == key.scalar()) {
                    Some((_, known)) => lay_over(known, value),
                    None => below.push((key, value)),
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// Every key as a path, as the type's own `Debug` tells them: one line a field, four spaces a level.
fn keys(config: &Config) -> BTreeSet<String> {
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut keys = BTreeSet::new();
    for line in format!("{config:#?}").lines() {
        let Some((key, _)) = line.trim_start().split_once(": ") else { continue };
        if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        above.retain(|(other, _)| *other < indent);
        let path = above.last().map_or_else(|| key.to_owned(), |(_, path)| format!("{path}.{key}"));
        keys.insert(path.clone());
        above.push((indent, path));
    }
    keys
}

fn named(node: &Node, path: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in node.as_map().unwrap_or_default() {
        let key = key.scalar().unwrap();
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        keys.insert(path.clone());
        named(value, &path, keys);
    }
    for item in node.as_seq().unwrap_or_default() {
        named(item, path, keys);
    }
}

#[test]
fn the_document_names_every_key_of_the_configuration_and_no_other() {
    let mut documented = BTreeSet::new();
    for block in blocks() {
        named(&yaml::parse("config.md", block).unwrap(), "", &mut documented);
    }
    assert_eq!(keys(&of(&blocks())), documented);
    assert!(documented.contains("policy.app.memory_mib") && documented.contains("forge.webhook.secret_file"));
    assert!(documented.contains("notify.mail.password_file") && documented.contains("schedule.quiet"));
}

#[test]
fn each_default_is_as_the_document_says() {
    let [needed, defaults, _] = blocks();
    assert_eq!(format!("{:#?}", of(&[needed])), format!("{:#?}", of(&[needed, defaults])));
}
