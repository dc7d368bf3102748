//! Tricks that end the reading itself. Whoever reads a file that two readers could understand in two ways cannot say what is
//! going to be deployed, so these no exception allows.

use super::Finding;
use crate::compose::{Broken, ComposeError};
use crate::yaml::Wrong;

/// The rules of reading.
pub(super) const IDS: &[&str] = &[
    "duplicate-key",
    "alias-bomb",
    "merge-order",
    "yaml-tag",
    "include",
    "extends",
    "config-environment",
    "runtime",
    "unknown-key",
    "file-outside",
];

/// Why, and what to do.
fn words(rule: &str) -> (&'static str, &'static str) {
    match rule {
        "duplicate-key" => {
            ("of a key that stands twice, one reader takes the first and another the last", "write it once")
        }
        "alias-bomb" => ("a file may not unfold into more than any recipe needs", "write it shorter"),
        "merge-order" => ("readers do not agree which value counts", "put `<<` first, once"),
        "yaml-tag" => ("a tag makes one value of another", "remove the tag"),
        "include" => ("every compose file is named in COMPOSE_FILE, where it is checked", "name the file there"),
        "extends" => (
            "what a service takes from elsewhere would not be checked",
            "write it out, or use an anchor in the same file",
        ),
        "config-environment" => ("it takes its value from the environment of the host", "use `file`"),
        "runtime" => ("a runtime is a program of the host", "remove it"),
        "file-outside" => ("a file of the host would be read into the app", "put the file into the recipe itself"),
        _ => ("it is no part of the format that Swarm deploys, and means what its reader makes of it", "remove it"),
    }
}

/// A refusal, where it is a trick; nothing where the files are just wrong.
pub fn finding(error: &ComposeError) -> Option<Finding> {
    let rule = match &error.rule {
        Broken::Yaml(Wrong::Twice) => "duplicate-key",
        Broken::Yaml(Wrong::TooMuch) => "alias-bomb",
        Broken::Yaml(Wrong::Merge) => "merge-order",
        Broken::Yaml(Wrong::Tag) => "yaml-tag",
        Broken::Outside => "file-outside",
        Broken::Key(key) => match (key.0.split('.').next(), key.1.as_str()) {
            (_, "include") => "include",
            (_, "extends") => "extends",
            (Some("configs" | "secrets"), "environment" | "content") => "config-environment",
            (_, "runtime") => "runtime",
            (_, "gpus" | "device_cgroup_rules" | "use_api_socket") => "devices",
            (_, "uts" | "cgroup") => "host-namespace",
            _ => "unknown-key",
        },
        _ => return None,
    };
    let (reason, cure) = words(rule);
    let (file, line) = error.place.as_ref().map_or((error.file.clone(), 0), |place| (place.file.clone(), place.line));
    Some(Finding::new((rule, reason, cure), (file, line), String::new(), error.message.clone(), false))
}
