//! What cc-ci adds to a recipe: one compose file of ours, appended to `COMPOSE_FILE` of base and head alike. It marks what
//! belongs to a run, so that recovery and janitor find it without any file of the run, and bounds what each container may take
//! of the machine. It makes the checkout dirty, so abra's stamp ends in `+U`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::compose::{Compose, Object, Service, policy};
use crate::config::AppLimits;
use crate::model::RunId;
use crate::swarm::claims;
use crate::yaml::{self, Node};

pub const FILE: &str = policy::OUR_FILE;
/// The first minor version of format 3 that knows a limit on processes.
const KNOWS_PIDS: u32 = 9;

/// The overlay for a recipe as its own files say it: services, own volumes, own networks. What is external is not ours to
/// mark. It is JSON, which YAML's readers read.
pub fn text(own: &Compose, run: RunId, instance: &str, limits: &AppLimits) -> String {
    let marks = json!(claims::marks(run, instance));
    let mut overlay = Map::new();
    // Docker's client takes compose files together only when they agree on it.
    let version = own.tree().get("version").and_then(Node::as_str);
    if let Some(version) = version {
        overlay.insert("version".into(), version.into());
    }
    let pids = minor(version).is_none_or(|minor| minor >= KNOWS_PIDS);
    let service = |service: Service<'_>| {
        let resources = resources(&service, limits, pids);
        (service.name.to_owned(), json!({"deploy": {"labels": marks, "resources": resources}, "labels": marks}))
    };
    let object = |object: &Object<'_>| (object.key.to_owned(), marked(object, &marks));
    let mine = |objects: Vec<Object<'_>>| -> Map<String, Value> {
        objects.iter().filter(|object| !object.is_external()).map(object).collect()
    };
    let services: Map<String, Value> = own.services().into_iter().map(service).collect();
    for (kind, parts) in [("services", services), ("volumes", mine(own.volumes())), ("networks", mine(own.networks()))]
    {
        if !parts.is_empty() {
            overlay.insert(kind.into(), Value::Object(parts));
        }
    }
    format!("{:#}\n", Value::Object(overlay))
}

/// Writes it beside the recipe's files. Whatever a recipe has there is taken away first, a link above all.
pub fn write(dir: &Path, text: &str) -> std::io::Result<()> {
    remove(dir)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(dir.join(FILE))?;
    file.write_all(text.as_bytes())
}

/// Takes it away again: the recipe's own files are judged without it.
pub fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(dir.join(FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The format's minor version; nothing where the newest is meant.
fn minor(version: Option<&str>) -> Option<u32> {
    version?.strip_prefix("3.")?.parse().ok()
}

/// The recipe's own limits where they are lower, ours elsewhere. What it reserves may not be more than it may have.
fn resources(service: &Service<'_>, limits: &AppLimits, pids: bool) -> Value {
    let said = |kind: &str, key: &str| service.node.at(&["deploy", "resources", kind, key]).and_then(Node::scalar);
    let machine = processors();
    let cpus = limits.cpus.min(machine);
    let own_cpus = said("limits", "cpus").and_then(|text| text.parse().ok()).unwrap_or(cpus);
    let most = limits.memory_mib << 20;
    let memory = said("limits", "memory").and_then(bytes).filter(|own| *own > 0).map_or(most, |own| own.min(most));
    let mut bounds = json!({"memory": memory.to_string(), "cpus": cpus.min(own_cpus).to_string()});
    if pids {
        let own = service.node.at(&["deploy", "resources", "limits", "pids"]).and_then(yaml::whole_number);
        let own = own.and_then(|own| u64::try_from(own).ok()).filter(|own| *own > 0);
        bounds["pids"] = own.map_or(limits.pids, |own| own.min(limits.pids)).into();
    }
    let mut resources = json!({"limits": bounds});
    if said("reservations", "memory").and_then(bytes).is_some_and(|reserved| reserved > memory) {
        resources["reservations"]["memory"] = memory.to_string().into();
    }
    if said("reservations", "cpus").and_then(|text| text.parse::<f64>().ok()).is_some_and(|reserved| reserved > cpus) {
        resources["reservations"]["cpus"] = cpus.to_string().into();
    }
    resources
}

/// Docker refuses a limit of more than the machine has.
fn processors() -> f64 {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(count).map_or(1.0, f64::from)
}

/// As Docker's client reads amounts of memory: `512M`, `1.5gb`, `64 MiB`, a plain number of bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
    let factor = match unit {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an amount of memory"
    )]
    Some((number * factor as f64) as u64)
}

/// An object as the recipe says it, with our marks: of volumes and networks the later file takes the place of the earlier.
fn marked(object: &Object<'_>, marks: &Value) -> Value {
    let mut own = match json(object.node) {
        Value::Object(own) => own,
        _ => Map::new(),
    };
    let labels = own.entry("labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    if let (Value::Object(labels), Value::Object(marks)) = (labels, marks) {
        labels.extend(marks.clone());
    }
    Value::Object(own)
}

/// A tree whose variables are filled in, so that its reader fills in nothing more.
fn json(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Null => Value::Null,
        yaml::Value::Bool(yes) => (*yes).into(),
        yaml::Value::Int(text) | yaml::Value::Float(text) => {
            serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
        }
        yaml::Value::String(text) => text.replace('$', "$$").into(),
        yaml::Value::Seq(items) => items.iter().map(json).collect(),
        yaml::Value::Map(entries) => {
            let entry = |(key, value): &(Node, Node)| Some((key.scalar()?.to_owned(), json(value)));
            Value::Object(entries.iter().filter_map(entry).collect())
        }
    }
}

/// `COMPOSE_FILE` with the overlay at its end, once.
pub fn appended(files: &[String]) -> String {
    format!("{}:{FILE}", taken_out(files))
}

/// `COMPOSE_FILE` as the recipe's own files are.
pub fn taken_out(files: &[String]) -> String {
    files.iter().map(String::as_str).filter(|file| *file != FILE).collect::<Vec<_>>().join(":")
}

/// Declared variables for one tree: overlays that it has not are left out, as those that only the head has are of the base. (Lint
/// refused what the head names and has not.) Blocks while it looks.
pub fn of_tree(mut declared: BTreeMap<String, String>, dir: &Path) -> BTreeMap<String, String> {
    if let Some(files) = declared.get_mut("COMPOSE_FILE") {
        let there = |file: &&str| dir.join(file.trim()).symlink_metadata().is_ok();
        *files = files.split(':').filter(there).collect::<Vec<_>>().join(":");
    }
    declared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(compose: &str) -> Value {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.yml"), compose).unwrap();
        let own = crate::compose::load(dir.path(), &["c.yml".into()], &BTreeMap::new()).unwrap();
        let limits = AppLimits { memory_mib: 1024, cpus: 1.5, pids: 100 };
        serde_json::from_str(&text(&own, RunId(7), "house", &limits)).unwrap()
    }

    #[test]
    fn everything_of_a_run_is_marked() {
        let overlay = overlay(
            "version: '3.8'\nservices: {app: {image: a}, db: {image: b}}\nvolumes: {data: , kept: {name: a$$b, labels: {c: d}}}\nnetworks: {proxy: {external: true}, own: {internal: true}}",
        );
        assert_eq!(overlay["version"], "3.8");
        assert_eq!(overlay["services"]["db"]["deploy"]["labels"]["cc-ci.run"], "7");
        assert_eq!(overlay["services"]["app"]["labels"]["cc-ci.instance"], "house");
        assert_eq!(overlay["volumes"]["data"]["labels"]["cc-ci.run"], "7");
        assert_eq!(overlay["volumes"]["kept"]["labels"]["c"], "d");
        assert_eq!(overlay["volumes"]["kept"]["name"], "a$$b");
        assert_eq!(overlay["networks"]["own"]["internal"], true);
        assert!(overlay["networks"].get("proxy").is_none());
    }

    #[test]
    fn each_container_is_bounded_by_the_lower_limit() {
        let overlay = overlay(
            "version: '3.9'\nservices:\n  none: {image: a}\n  less: {image: a, deploy: {resources: {limits: {memory: 512M, cpus: '0.5', pids: 10}}}}\n  more: {image: a, deploy: {resources: {limits: {memory: 64g, cpus: '64', pids: 100000}, reservations: {memory: 32G}}}}\n",
        );
        let limits = |name: &str| overlay["services"][name]["deploy"]["resources"]["limits"].clone();
        let ours = (1.5f64).min(processors()).to_string();
        assert_eq!(limits("none"), json!({"memory": "1073741824", "cpus": ours, "pids": 100}));
        assert_eq!(limits("less"), json!({"memory": "536870912", "cpus": "0.5", "pids": 10}));
        assert_eq!(limits("more"), json!({"memory": "1073741824", "cpus": ours, "pids": 100}));
        let reserved = &overlay["services"]["more"]["deploy"]["resources"]["reservations"];
        assert_eq!(*reserved, json!({"memory": "1073741824"}));
    }

    #[test]
    fn an_older_format_knows_no_limit_on_processes() {
        for (version, knows) in [("version: '3.8'\n", false), ("version: '3.13'\n", true), ("", true)] {
            let overlay = overlay(&format!("{version}services: {{app: {{image: a}}}}"));
            assert_eq!(
                overlay["services"]["app"]["deploy"]["resources"]["limits"]["pids"].is_u64(),
                knows,
                "{version}"
            );
        }
    }

    #[test]
    fn memory_is_read_as_docker_reads_it() {
        for (text, expected) in
            [("512", 512), ("1k", 1024), ("1.5gb", 1_610_612_736), ("64 MiB", 67_108_864), ("2G", 2_147_483_648)]
        {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!((bytes("x"), bytes("1x"), bytes("")), (None, None, None));
    }

    #[test]
    fn it_is_not_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), "kept").unwrap();
        std::os::unix::fs::symlink("victim", dir.path().join(FILE)).unwrap();
        write(dir.path(), "ours").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "ours");
    }

    #[test]
    fn an_overlay_that_a_tree_has_not_is_left_out_for_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), "").unwrap();
        let declared = |files: &str| BTreeMap::from([("COMPOSE_FILE".to_owned(), files.to_owned())]);
        assert_eq!(of_tree(declared("compose.yml:compose.new.yml"), dir.path()), declared("compose.yml"));
        // Then the recipe's own are used.
        assert_eq!(of_tree(declared("compose.new.yml"), dir.path()), declared(""));
        assert_eq!(of_tree(BTreeMap::new(), dir.path()), BTreeMap::new());
    }

    #[test]
    fn the_overlay_comes_last_and_once() {
        let files = ["compose.yml", "compose.cc-ci.yml", "compose.db.yml"].map(str::to_owned);
        assert_eq!(appended(&files), "compose.yml:compose.db.yml:compose.cc-ci.yml");
        assert_eq!(taken_out(&files), "compose.yml:compose.db.yml");
    }
}
