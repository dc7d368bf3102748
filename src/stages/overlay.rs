//! What cc-ci adds to a recipe: one compose file of ours, appended to `COMPOSE_FILE` of base and head alike. It marks what
//! belongs to a run, so that recovery and janitor find it without any file of the run. Limits and placement will stand here
//! too. It makes the checkout dirty, so abra's stamp ends in `+U`.

use crate::compose::{Compose, Object};
use crate::model::RunId;

pub const FILE: &str = "compose.cc-ci.yml";
/// Which run something was made for.
pub const RUN: &str = "cc-ci.run";
/// Which appliance made it.
pub const INSTANCE: &str = "cc-ci.instance";

/// The overlay for a recipe as its own files say it.
pub fn for_recipe(own: &Compose, run: RunId, instance: &str) -> String {
    let names = |objects: Vec<Object<'_>>| -> Vec<String> {
        objects.into_iter().filter(|object| !object.is_external()).map(|object| object.key.to_owned()).collect()
    };
    let services: Vec<String> = own.services().into_iter().map(|service| service.name.to_owned()).collect();
    let (volumes, networks) = (names(own.volumes()), names(own.networks()));
    let version = own.tree().get("version").and_then(|version| version.as_str());
    let parts = Parts { services: &services, volumes: &volumes, networks: &networks };
    text(version, &parts, run, instance)
}

/// The overlay for services, own volumes and own networks. `version` is the recipe's own `version:`; Docker's client takes
/// compose files together only when they agree on it.
fn text(version: Option<&str>, parts: &Parts<'_>, run: RunId, instance: &str) -> String {
    let mut text = String::new();
    if let Some(version) = version {
        text.push_str(&format!("version: {}\n", quoted(version)));
    }
    let marks = |indent: &str| format!("{indent}{RUN}: {}\n{indent}{INSTANCE}: {}\n", quoted(&run.to_string()), quoted(instance));
    text.push_str("services:\n");
    for service in parts.services {
        text.push_str(&format!("  {}:\n    deploy:\n      labels:\n{}", quoted(service), marks("        ")));
        text.push_str(&format!("    labels:\n{}", marks("      ")));
    }
    for (kind, names) in [("volumes", parts.volumes), ("networks", parts.networks)] {
        if !names.is_empty() {
            text.push_str(&format!("{kind}:\n"));
        }
        for name in names {
            text.push_str(&format!("  {}:\n    labels:\n{}", quoted(name), marks("      ")));
        }
    }
    text
}

/// Names as the recipe's compose files call them; external things are not ours to mark.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    services: &'a [String],
    volumes: &'a [String],
    networks: &'a [String],
}

/// A double-quoted YAML scalar; JSON's strings are.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `COMPOSE_FILE` with the overlay at its end.
pub fn appended(compose_file: &str) -> String {
    if compose_file.split(':').any(|file| file == FILE) {
        return compose_file.to_owned();
    }
    format!("{compose_file}:{FILE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_run_is_marked() {
        let services = ["app".to_owned(), "db".to_owned()];
        let volumes = ["data".to_owned()];
        let parts = Parts { services: &services, volumes: &volumes, networks: &[] };
        let text = text(Some("3.8"), &parts, RunId(7), "house");
        let node = crate::yaml::parse(FILE, &text).unwrap();
        assert!(matches!(node.value, crate::yaml::Value::Map(_)));
        assert!(text.starts_with("version: \"3.8\"\n"), "{text}");
        assert_eq!(text.matches("cc-ci.run: \"7\"").count(), 5);
        assert!(!text.contains("networks"));
    }

    #[test]
    fn the_overlay_comes_last_and_once() {
        assert_eq!(appended("compose.yml:compose.db.yml"), "compose.yml:compose.db.yml:compose.cc-ci.yml");
        assert_eq!(appended(&appended("compose.yml")), "compose.yml:compose.cc-ci.yml");
    }
}
