//! `app deploy` and `app undeploy`. What is deployed with chaos is the checkout as it lies there; without, a version that this
//! moves the checkout to.

use super::cli::Deploy;
use super::git::Clone;
use super::home::{App, Home};
use super::say::{Say, debug};
use super::{Done, Fatal, converge, docker, fatal};
use crate::recipe::{self, Recipe, RecipeError, Said};

/// Rules that stop a deploy which is not chaos.
const STOPS: &[&str] = &["R008", "R009", "R010", "R011", "R012", "type"];

pub(super) fn deploy(home: &Home, say: Say, asked: &Deploy) -> Done {
    let mut app = home.app(&asked.domain)?;
    let stack = app.stack();
    if asked.chaos && asked.version.is_some() {
        return fatal("cannot use [version] and --chaos together");
    }
    let clone = home.ensure(&app.recipe, say)?;
    if !asked.chaos {
        clone.require_clean(app.recipe.as_str())?;
        if !home.flags.offline {
            clone.update()?;
        }
        if let Some(pinned) = &app.pinned {
            if pinned.ends_with("+U") {
                return fatal(format!("{pinned} was deployed with unstaged changes; deploy it with --chaos"));
            }
            clone.checkout(pinned)?;
        }
        stop_for_lint(&app, &clone)?;
    }

    let deployed = docker::services(&stack)?;
    if !deployed.is_empty() && !asked.force && !asked.chaos {
        return fatal(format!("{} is already deployed", app.domain));
    }
    let label = |key: &str| {
        let key = format!("coop-cloud.{stack}.{key}");
        deployed.iter().find_map(|service| service.labels.get(&key).cloned())
    };
    let version = version(say, asked, &app, &clone, label("version"))?;

    let recipe = recipe::open(&clone.dir)?;
    let mut said = recipe.say_unchecked(&app.env, app.domain.as_str())?;
    check_secrets(&said)?;
    said.compose.check_references()?;
    said.check_names().map_err(only_64)?;
    stamp(&mut said, &app, &recipe, asked.chaos, &version);
    for entry in recipe.sample.entries().filter(|entry| app.env.get(&entry.key).is_none()) {
        say.warn(&format!("{} missing from {}.env", entry.key, app.domain));
    }
    // The server `default` is this machine; there is nothing to ask a name server.
    debug!(say, "domain checks: skipped for server {}", app.server);
    overview(say, &app, &said, &version, asked.chaos, label("version"));
    home.confirm(say, "proceed?")?;

    docker::stack_deploy(&stack, &said.compose.render())?;
    app.pin(&version)?;
    if app.env.get("POST_DEPLOY_CMDS").is_some() {
        say.warn("POST_DEPLOY_CMDS: the abra built into cc-ci runs no commands after a deploy");
    }
    if asked.no_converge_checks {
        say.info("not waiting: --no-converge-checks");
        return Ok(());
    }
    converge::wait(say, &stack, said.timeout)
}

/// Chaos takes what is checked out; else the first that says anything: the command line, `--latest`, the `.env`, what is
/// deployed, the newest tag, the commit that is checked out.
fn version(say: Say, asked: &Deploy, app: &App, clone: &Clone, deployed: Option<String>) -> Result<String, Fatal> {
    if asked.chaos {
        let version = clone.chaos_version()?;
        debug!(say, "version: taking chaos version: {version}");
        return Ok(version);
    }
    let tags: Vec<String> = clone.tags()?.into_iter().map(|(name, _)| name).collect();
    let newest = || clone.newest_tag();
    let found = if let Some(version) = &asked.version {
        debug!(say, "version: taking the one asked for: {version}");
        Some(version.clone())
    } else if asked.latest {
        newest()?
    } else if let Some(pinned) = &app.pinned {
        debug!(say, "version: taking the one in {}: {pinned}", app.path.display());
        Some(pinned.clone())
    } else if let Some(deployed) = deployed.filter(|version| tags.contains(version)) {
        debug!(say, "version: taking the deployed one: {deployed}");
        Some(deployed)
    } else {
        newest()?
    };
    let version = match found {
        Some(version) => version,
        None => clone.head()?.chars().take(8).collect(),
    };
    clone.checkout(&version)?;
    Ok(version)
}

fn stop_for_lint(app: &App, clone: &Clone) -> Done {
    let mut found = recipe::lint(&clone.dir);
    found.retain(|finding| STOPS.contains(&finding.rule) || finding.rule.starts_with("compose-"));
    let tags = clone.tags()?;
    found.extend(
        tags.iter().filter(|(_, annotated)| !annotated).take(1).map(|(tag, _)| recipe::lint::lightweight_tag(tag)),
    );
    match found.first() {
        Some(finding) => fatal(format!("lint error in {} configs: {finding}", app.recipe)),
        None => Ok(()),
    }
}

fn check_secrets(said: &Said) -> Done {
    if said.secrets.is_empty() {
        return Ok(());
    }
    let there = docker::secret_names()?;
    match said.secrets.iter().find(|secret| !there.contains(&secret.full_name)) {
        Some(secret) if secret.modifiers.generate => fatal(format!("secret not generated: {}", secret.name)),
        Some(secret) => fatal(format!("secret not inserted (#generate=false): {}", secret.name)),
        None => Ok(()),
    }
}

/// In Docker's words, so that callers who know those understand; but before half of the stack is there.
fn only_64(error: RecipeError) -> Fatal {
    match error {
        RecipeError::NameTooLong { most, .. } => {
            Fatal(format!("invalid name, only {most} characters allowed: {error}"))
        }
        error => error.into(),
    }
}

/// What abra adds to the service `app`: its labels, and every variable of the app.
fn stamp(said: &mut Said, app: &App, recipe: &Recipe, chaos: bool, version: &str) {
    let stack = said.stack.clone();
    let mut label = |key: &str, value: &str| said.compose.set_label("app", &format!("coop-cloud.{stack}.{key}"), value);
    label("recipe", recipe.name.as_str());
    label("chaos", if chaos { "true" } else { "false" });
    label(if chaos { "chaos-version" } else { "version" }, version);
    for (key, value) in recipe.variables(&app.env, app.domain.as_str()) {
        said.compose.default_environment("app", &key, &value);
    }
}

fn overview(say: Say, app: &App, said: &Said, version: &str, chaos: bool, deployed: Option<String>) {
    say.print("DEPLOY OVERVIEW");
    let rows = [
        ("APP", app.domain.to_string()),
        ("RECIPE", app.recipe.to_string()),
        ("SERVER", if app.server == "default" { "local".into() } else { app.server.clone() }),
        ("CONFIG", said.compose.files().join(":")),
        ("CURRENT DEPLOYMENT", deployed.unwrap_or_else(|| "N/A".into())),
        ("NEW DEPLOYMENT", version.to_owned()),
        ("CHAOS", chaos.to_string()),
    ];
    for (name, value) in rows {
        say.print(&format!("  {name:<20}{value}"));
    }
}

pub(super) fn undeploy(home: &Home, say: Say, domain: &str) -> Done {
    let mut app = home.app(domain)?;
    let stack = app.stack();
    let deployed = docker::services(&stack)?;
    if deployed.is_empty() {
        return fatal(format!("{} is not deployed?", app.domain));
    }
    let label = |key: &str| {
        let key = format!("coop-cloud.{stack}.{key}");
        deployed.iter().find_map(|service| service.labels.get(&key).cloned())
    };
    let version = label("chaos-version").or_else(|| label("version")).filter(|version| !version.is_empty());
    home.confirm(say, &format!("undeploy {}?", app.domain))?;
    docker::stack_rm(&stack)?;
    if let Some(version) = version {
        app.pin(&version)?;
    }
    say.info(&format!("undeployed {}; its volumes and secrets are still there", app.domain));
    Ok(())
}
