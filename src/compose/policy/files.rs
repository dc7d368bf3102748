//! What else lies in a recipe: its sample, its `abra.sh`, and what its directory holds.

use std::path::{Component, Path, PathBuf};

use super::{Asked, Beside, Finding, Hit, OfApp, OfFiles, Rule, shown};
use crate::compose::Place;
use crate::compose::abra_sh::Export;

pub(super) const RULES: &[OfApp] = &[
    Rule {
        id: "post-deploy",
        reason: "commands after a deploy run in the app's own containers only",
        cure: "name one of its services first: `app set_up`",
        look: post_deploy,
    },
    Rule {
        id: "nested-variable",
        reason: "readers do not agree what a variable in the default of another means",
        cure: "write the default itself, or set the variable in .env.sample",
        look: nested,
    },
];

/// Rules that need no compose file.
pub(super) const BESIDE: &[OfFiles] = &[
    Rule {
        id: "stack-name",
        reason: "the stack's name says what belongs to the app, and what a teardown removes",
        cure: "remove it; abra makes it from the domain",
        look: stack_names,
    },
    Rule {
        id: "compose-file",
        reason: "what lies outside of the recipe is not its own",
        cure: "name files of the recipe, separated by `:`",
        look: compose_files,
    },
    Rule {
        id: "abra-sh",
        reason: "what an `abra.sh` does whenever it is read, it would do on the host",
        cure: "keep its top level to `export NAME=value` and functions",
        look: abra_sh,
    },
    Rule {
        id: "abra-sh-export",
        reason: "this variable means something to abra, or to a program on the host",
        cure: "choose another name; versions are called `<CONFIG>_VERSION`",
        look: exports,
    },
];

fn in_file(file: &str, line: u32, what: &str, asks: String) -> Hit {
    Hit { place: Place { file: file.to_owned(), line, column: 1 }, what: what.to_owned(), asks }
}

fn stack_names(beside: &Beside<'_>) -> Vec<Hit> {
    let entries = beside.sample.entries().filter(|entry| entry.key == "STACK_NAME");
    entries
        .map(|entry| {
            in_file(".env.sample", entry.line, &entry.value, format!("sets STACK_NAME to `{}`", shown(&entry.value)))
        })
        .collect()
}

/// Also lines that a later one takes the place of: abra and its user see them all.
fn compose_files(beside: &Beside<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for entry in beside.sample.entries().filter(|entry| entry.key == "COMPOSE_FILE") {
        for file in entry.value.split(':') {
            let inside =
                Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !inside {
                found.push(in_file(".env.sample", entry.line, file, format!("names the compose file {}", shown(file))));
            }
        }
    }
    found
}

fn post_deploy(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for entry in asked.sample.entries().filter(|entry| entry.key.starts_with("POST_") && entry.key.ends_with("_CMDS")) {
        for command in entry.value.split('|').map(str::trim).filter(|command| !command.is_empty()) {
            let target = command.split_whitespace().next().unwrap_or_default();
            if asked.compose.service(target).is_none() {
                let asks = format!("has `{}` run after a deploy", shown(command));
                found.push(in_file(".env.sample", entry.line, command, asks));
            }
        }
    }
    found
}

fn abra_sh(beside: &Beside<'_>) -> Vec<Hit> {
    let others = beside.abra_sh.others.iter();
    others
        .map(|(line, text)| {
            in_file("abra.sh", *line, text, format!("`{}` is done whenever the file is read", shown(text)))
        })
        .collect()
}

fn exports(beside: &Beside<'_>) -> Vec<Hit> {
    let ours = beside.abra_sh.exports.iter().filter(|export| is_protected(&export.name));
    let hit = |Export { name, line, .. }: &Export| in_file("abra.sh", *line, name, format!("exports {}", shown(name)));
    ours.map(hit).collect()
}

fn is_protected(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "STACK_NAME",
        "DOMAIN",
        "TYPE",
        "RECIPE",
        "COMPOSE_FILE",
        "LETS_ENCRYPT_ENV",
        "PATH",
        "HOME",
        "USER",
        "SHELL",
        "PWD",
        "TMPDIR",
        "IFS",
        "ENV",
        "BASH_ENV",
        "BASHOPTS",
        "SHELLOPTS",
        "PROMPT_COMMAND",
        "PS1",
        "PS2",
        "PS3",
        "PS4",
        "CDPATH",
        "EDITOR",
        "PAGER",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
    ];
    const BEGINNINGS: &[&str] =
        &["LD_", "DYLD_", "GIT_", "DOCKER_", "ABRA_", "SSH_", "CC_CI_", "BASH_FUNC_", "COMPOSE_", "GO", "SSL_", "XDG_"];
    let version = name.ends_with("_VERSION");
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&name)
        || !version && BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || matches!(upper.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "NO_PROXY")
}

fn nested(asked: &Asked<'_>) -> Vec<Hit> {
    let spans = asked.compose.nested().iter();
    spans.map(|span| asked.hit(*span, "", "puts a variable into the default of another")).collect()
}

/// Rules about the directory itself, which hold before anything in it is read: id, reason, cure.
pub(super) const TREE: &[(&str, &str, &str)] = &[
    ("symlink", "whoever reads it would read the host's file instead", "put the file itself there"),
    ("our-file", "this file is laid beside the recipe by cc-ci", "give it another name"),
];

/// The overlay that cc-ci lays beside a recipe's files.
pub const OUR_FILE: &str = "compose.cc-ci.yml";
/// Deeper than any recipe.
const DEEPEST: usize = 64;
/// Entries that are looked at; git brings fewer.
const MOST_ENTRIES: usize = 50_000;

/// What is wrong with the directory of a recipe, whatever its files say: links that lead out of it, and a file of our name.
pub fn tree(dir: &Path) -> std::io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let finding = |rule: usize, path: &Path, asks: String| {
        let file = shown(&path.to_string_lossy());
        Finding::new(TREE[rule], (file.clone(), 0), file, asks, false)
    };
    if dir.join(OUR_FILE).symlink_metadata().is_ok() {
        found.push(finding(1, Path::new(OUR_FILE), format!("brings a {OUR_FILE}")));
    }
    let (mut open, mut seen) = (vec![PathBuf::new()], 0);
    while let Some(below) = open.pop() {
        for entry in std::fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, below.join(entry.file_name()));
            seen += 1;
            let too_much = seen > MOST_ENTRIES || path.components().count() > DEEPEST;
            if too_much {
                return Err(std::io::Error::other(format!("{} holds too much, or too deep", dir.display())));
            }
            if kind.is_dir() && path != Path::new(".git") {
                open.push(path);
            } else if kind.is_symlink() {
                let goal = std::fs::read_link(dir.join(&path))?;
                if leads_out(&below, &goal) {
                    let asks = format!("is a link to {}", shown(&goal.to_string_lossy()));
                    found.push(finding(0, &path, asks));
                }
            }
        }
    }
    Ok(found)
}

/// Whether a link in `below` goes out of the recipe on its way, or into what git keeps.
fn leads_out(below: &Path, goal: &Path) -> bool {
    let mut depth = below.components().count();
    for part in goal.components() {
        match part {
            Component::Normal(name) if depth == 0 && name == ".git" => return true,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return true,
        }
    }
    false
}
