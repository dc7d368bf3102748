//! `cc-ci enroll RECIPE|PATH`: writes a file to start from, made of what can be seen of the recipe. Whatever is only a guess
//! stands in it as a comment.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Configured, Done, Failure};
use crate::knowledge;
use crate::model::{AppDomain, RecipeName};
use crate::recipe::{self, Recipe, Said};

#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when the file is there already; nothing is overwritten.")]
pub(crate) struct Enroll {
    /// A recipe's directory: writes its `.cc-ci/recipe.yaml`. Or a recipe's name: writes the appliance's
    /// `recipes/<recipe>/recipe.yaml`.
    what: String,
    #[command(flatten)]
    configured: Configured,
}

pub(super) fn enroll(asked: &Enroll) -> Done {
    let path = Path::new(&asked.what);
    let (file, text) = if path.is_dir() {
        let recipe = recipe::open(path).map_err(Failure::usage)?;
        let said = looked_at(&recipe);
        (path.join(knowledge::in_repository()), of_recipe(&recipe, said.as_ref()))
    } else {
        let name: RecipeName = asked.what.parse().map_err(|_| {
            Failure::usage(anyhow::anyhow!("{}: neither a directory nor the name of a recipe", asked.what))
        })?;
        let dir = asked.configured.load_without_secrets()?.recipes_dir;
        (dir.join(name.as_str()).join("recipe.yaml"), of_appliance(&name))
    };
    write(&file, &text)?;
    crate::say!("{} is written; `cc-ci validate {}` says whether it is good", file.display(), file.display());
    Ok(ExitCode::SUCCESS)
}

/// Never over a file that is there.
fn write(file: &PathBuf, text: &str) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::no(anyhow::anyhow!("{} is there already, and was left as it is", file.display()))
        }
        _ => Failure::usage(anyhow::anyhow!("{}: {error}", file.display())),
    };
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).map_err(cannot)?;
    let mut made = std::fs::File::create_new(file).map_err(cannot)?;
    made.write_all(text.as_bytes()).map_err(cannot)
}

/// The recipe as it would be deployed somewhere; what cannot be read is for `cc-ci lint` to say.
fn looked_at(recipe: &Recipe) -> Option<Said> {
    let domain: AppDomain = format!("{}.example.com", recipe.name).parse().ok()?;
    recipe.say_unchecked(&recipe.env_for(&domain), domain.as_str()).ok()
}

const HEADER: &str = "\
# What cc-ci is told about this recipe, besides the generic test that every recipe gets (install, upgrade, backup and restore,
# uninstall). Everything in it may be left out. Every key: docs/recipe-checks.md; whether it is good: `cc-ci validate .`
";

/// A file that is good as it stands, with what was seen in comments.
fn of_recipe(recipe: &Recipe, said: Option<&Said>) -> String {
    let mut text = HEADER.to_owned();
    let mut part = |comment: &str, lines: &str| {
        let _ = write!(text, "\n# {comment}\n{lines}\n");
    };
    part(
        "The front page. Say what only this app says: a title, a word.",
        "checks:\n  - {name: front page, get: /, status: 200}\n  # - {name: title, get: /, title: \"…\"}\n  # - {name: assets, assets: /}",
    );
    if let Some(path) = said.and_then(health_path) {
        let comment = format!("The health check of `app` asks for {path}; asked from outside it would be");
        part(&comment, &format!("# health: {{path: {path}, within: 2m}}"));
    }
    let more: Vec<&str> =
        recipe.sample.entries().map(|entry| entry.key.as_str()).filter(|key| is_second(key)).collect();
    if let Some(variable) = more.first() {
        let comment = "`.env.sample` has another domain; cc-ci makes one beside the app's own:";
        part(comment, &format!("hosts: {{{variable}: {}}}", word_of(variable)));
    }
    let Some(said) = said else { return text };
    let given: Vec<&str> =
        said.secrets.iter().filter(|secret| !secret.modifiers.generate).map(|secret| secret.name.as_str()).collect();
    if let Some(name) = given.first() {
        let comment = format!(
            "`{}` {} not generated. The operator says where the values are:",
            given.join("`, `"),
            is_or_are(&given)
        );
        part(
            &comment,
            &format!(
                "# (in recipes/{}/recipe.yaml on the appliance)\n# secrets: {{{name}: {{file: /run/secrets/{name}}}}}",
                recipe.name
            ),
        );
    }
    match said.compose.volumes().iter().find(|volume| !volume.is_external()) {
        Some(volume) => {
            let comment =
                "cc-ci writes a file into each volume and a row into each database; more that has to survive:";
            part(comment, &format!("# markers: [{{file: {}/kept.txt}}]", volume.key));
        }
        None => part(
            "There is no volume, so there is nothing to back up.",
            "not_applicable: {backup: \"holds no data of its own\"}",
        ),
    }
    text
}

fn is_second(variable: &str) -> bool {
    variable != "DOMAIN" && (variable.ends_with("_DOMAIN") || variable.ends_with("_HOST"))
}

fn word_of(variable: &str) -> String {
    let own = variable.rsplit_once('_').map_or(variable, |(own, _)| own);
    own.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).take(20).collect()
}

fn is_or_are(names: &[&str]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

/// The path of the address in the health check of `app`.
fn health_path(said: &Said) -> Option<String> {
    let test = said.compose.service("app")?.node.at(&["healthcheck", "test"])?;
    let words: Vec<&str> = match test.as_seq() {
        Some(items) => items.iter().filter_map(crate::yaml::Node::as_str).flat_map(str::split_whitespace).collect(),
        None => test.as_str()?.split_whitespace().collect(),
    };
    let address = words.into_iter().find_map(|word| word.split_once("://").map(|(_, rest)| rest))?;
    let path: String =
        address.split_once('/').map(|(_, path)| path)?.chars().take_while(|c| !"\"' ,;|".contains(*c)).collect();
    (!path.is_empty()).then(|| format!("/{path}"))
}

fn of_appliance(name: &RecipeName) -> String {
    format!(
        "# What this appliance knows about {name}. It wins over the recipe's own `.cc-ci/recipe.yaml`, and only here can secrets and\n\
         # exceptions to the policy be said. Every key: docs/recipe-checks.md; whether it is good: `cc-ci validate` on this folder.\n\
         \n\
         # How long a deployment may take.\n\
         # timeout: 15m\n\
         \n\
         # Values of secrets that abra does not generate, each in a file that sops-nix makes.\n\
         # secrets: {{smtp_password: {{file: /run/secrets/recipes/{name}/smtp_password}}}}\n\
         \n\
         # What the policy would refuse, and why this recipe may.\n\
         # policy: [{{rule: bind-mount, only: /var/run/docker.sock, because: \"it is a proxy\"}}]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Side;

    #[test]
    fn what_is_written_to_start_from_is_good_and_says_what_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let sample = "TYPE=pad\nDOMAIN=pad.example.com\nSANDBOX_DOMAIN=sandbox.example.com\nSECRET_SMTP_VERSION=v1 # generate=false\n";
        let compose = "services:\n  app:\n    image: pad:1.0\n    volumes: ['data:/data']\n    secrets: [smtp]\n    healthcheck: {test: [CMD, curl, -f, 'http://localhost:3000/healthz']}\n\
                       volumes: {data: }\nsecrets: {smtp: {external: true, name: '${STACK_NAME}_smtp_${SECRET_SMTP_VERSION}'}}\n";
        std::fs::write(dir.path().join(".env.sample"), sample).unwrap();
        std::fs::write(dir.path().join("compose.yml"), compose).unwrap();
        let recipe = recipe::open(dir.path()).unwrap();
        let text = of_recipe(&recipe, looked_at(&recipe).as_ref());
        for seen in [
            "health: {path: /healthz",
            "hosts: {SANDBOX_DOMAIN: sandbox}",
            "`smtp` is not generated",
            "file: data/kept.txt",
        ] {
            assert!(text.contains(seen), "{seen} is not in\n{text}");
        }
        knowledge::read_text("recipe.yaml", &text, Side::Recipe).unwrap();
        let bare: String = text.replace("# health", "health").replace("# markers", "markers");
        knowledge::read_text("recipe.yaml", &bare, Side::Recipe).unwrap();
        let appliance = of_appliance(&recipe.name);
        let said: String = appliance
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|line| line.contains(": {") || line.contains(": [") || line.ends_with("15m"))
                    .unwrap_or("#")
            })
            .collect::<Vec<_>>()
            .join("\n");
        knowledge::read_text("recipe.yaml", &said, Side::Appliance).unwrap();
        let file = dir.path().join(".cc-ci/recipe.yaml");
        write(&file, &text).unwrap();
        assert!(write(&file, "").unwrap_err().error.to_string().contains("left as it is"));
    }
}
