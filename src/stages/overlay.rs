//! What cc-ci adds to a recipe: one compose file of ours, appended to `COMPOSE_FILE` of base and head alike. It marks what
//! belongs to a run, so that recovery and janitor find it without any file of the run. Limits and placement will stand here
//! too. It makes the checkout dirty, so abra's stamp ends in `+U`.

use serde_json::{Map, Value, json};

use crate::compose::{Compose, Object, policy};
use crate::model::RunId;

pub const FILE: &str = policy::OUR_FILE;
/// Which run something was made for.
pub const RUN: &str = "cc-ci.run";
/// Which appliance made it.
pub const INSTANCE: &str = "cc-ci.instance";

/// The overlay for a recipe as its own files say it: services, own volumes, own networks. What is external is not ours to
/// mark. It is JSON, which YAML's readers read.
pub fn text(own: &Compose, run: RunId, instance: &str) -> String {
    let names = |objects: Vec<Object<'_>>| -> Vec<String> {
        objects.into_iter().filter(|object| !object.is_external()).map(|object| object.key.to_owned()).collect()
    };
    let services: Vec<String> = own.services().into_iter().map(|service| service.name.to_owned()).collect();
    let version = own.tree().get("version").and_then(|version| version.as_str());
    let parts = Parts { services, volumes: names(own.volumes()), networks: names(own.networks()) };
    format!("{:#}\n", overlay(version, parts, run, instance))
}

/// Names as the recipe's compose files call them.
#[derive(Debug, Default)]
struct Parts {
    services: Vec<String>,
    volumes: Vec<String>,
    networks: Vec<String>,
}

fn overlay(version: Option<&str>, parts: Parts, run: RunId, instance: &str) -> Value {
    let marks = json!({RUN: run.to_string(), INSTANCE: instance});
    let mut overlay = Map::new();
    // Docker's client takes compose files together only when they agree on it.
    if let Some(version) = version {
        overlay.insert("version".into(), version.into());
    }
    let service = json!({"deploy": {"labels": marks}, "labels": marks});
    let object = json!({"labels": marks});
    for (kind, names, marked) in [
        ("services", parts.services, service),
        ("volumes", parts.volumes, object.clone()),
        ("networks", parts.networks, object),
    ] {
        if !names.is_empty() {
            overlay.insert(kind.into(), names.into_iter().map(|name| (name, marked.clone())).collect());
        }
    }
    Value::Object(overlay)
}

/// `COMPOSE_FILE` with the overlay at its end, once.
pub fn appended(files: &[String]) -> String {
    format!("{}:{FILE}", taken_out(files))
}

/// `COMPOSE_FILE` as the recipe's own files are.
pub fn taken_out(files: &[String]) -> String {
    files.iter().map(String::as_str).filter(|file| *file != FILE).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_run_is_marked() {
        let parts =
            Parts { services: vec!["app".into(), "db".into()], volumes: vec!["data".into()], ..Parts::default() };
        let overlay = overlay(Some("3.8"), parts, RunId(7), "house");
        assert_eq!(overlay["version"], "3.8");
        assert_eq!(overlay["services"]["db"]["deploy"]["labels"]["cc-ci.run"], "7");
        assert_eq!(overlay["services"]["app"]["labels"]["cc-ci.instance"], "house");
        assert_eq!(overlay["volumes"]["data"]["labels"]["cc-ci.run"], "7");
        assert!(overlay.get("networks").is_none());
    }

    #[test]
    fn the_overlay_comes_last_and_once() {
        let files = ["compose.yml", "compose.cc-ci.yml", "compose.db.yml"].map(str::to_owned);
        assert_eq!(appended(&files), "compose.yml:compose.db.yml:compose.cc-ci.yml");
        assert_eq!(taken_out(&files), "compose.yml:compose.db.yml");
    }
}
