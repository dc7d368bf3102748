//! `app new`: from a recipe's sample to an app's `.env`.

use super::cli::New;
use super::home::{Home, write_env};
use super::say::{Say, debug};
use super::{Done, Fatal, fatal, secrets};
use crate::compose::env_file;
use crate::model::{AppDomain, RecipeName};
use crate::recipe;

pub(super) fn new(home: &Home, say: Say, new: &New) -> Done {
    if new.chaos && new.version.is_some() {
        return fatal("cannot use [version] and --chaos together");
    }
    if new.pass {
        return fatal("--pass: the abra built into cc-ci stores nothing in pass");
    }
    let Some(recipe) = &new.recipe else { return fatal("no recipe name provided") };
    let recipe: RecipeName = recipe.parse().map_err(|error| Fatal(format!("recipe: {error}")))?;
    let clone = home.ensure(&recipe, say)?;
    let version = if new.chaos {
        clone.chaos_version()?
    } else {
        clone.require_clean(recipe.as_str())?;
        if !home.flags.offline {
            clone.update()?;
        }
        let version = match new.version.clone().map_or_else(|| clone.newest_tag(), |version| Ok(Some(version)))? {
            Some(version) => version,
            None => clone.head()?.chars().take(8).collect(),
        };
        clone.checkout(&version)?;
        version
    };
    debug!(say, "version: {version}");
    let server = server(home, new)?;
    let domain = domain(home, say, new)?;
    let path = home.env_path(&server, &domain);
    if path.exists() {
        return fatal(format!("{} already exists", path.display()));
    }

    let read = recipe::open(&clone.dir)?;
    let placeholder = format!("{recipe}.example.com");
    let sample = env_file::write(&read.sample).replace(&placeholder, domain.as_str());
    let mut env = env_file::parse(&sample).map_err(|error| Fatal(format!(".env.sample: {error}")))?;
    // A recipe that does not hold together is told now, not when it is deployed.
    read.say_unchecked(&env, domain.as_str())?;
    let key = if env.get("TYPE").is_some() { "TYPE" } else { "RECIPE" };
    env.set(key, &format!("{recipe}:{version}"));
    write_env(&path, &env)?;

    if new.secrets {
        let app = home.app(domain.as_str())?;
        let made = secrets::generate_all(say, &app, &clone)?;
        let rows: Vec<Vec<String>> = made.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
        say.table(&["NAME", "VALUE"], &rows);
        say.warn("generated secrets are not shown again, please take note of them NOW");
    }
    say.info(&format!("new app '{recipe}' created: {domain} on {server}, version {version}"));
    Ok(())
}

fn server(home: &Home, new: &New) -> Result<String, Fatal> {
    let servers = home.servers()?;
    match &new.server {
        Some(server) if servers.contains(server) => Ok(server.clone()),
        Some(server) => fatal(format!("server {} is not known; add it with `abra server add`", server.escape_debug())),
        None if servers.len() == 1 => Ok(servers[0].clone()),
        None => fatal("no server provided"),
    }
}

fn domain(home: &Home, say: Say, new: &New) -> Result<AppDomain, Fatal> {
    let mut given = new.domain.clone().unwrap_or_default();
    if given.is_empty() && !home.flags.no_input && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        say.print("Specify app domain");
        std::io::stdin().read_line(&mut given)?;
    }
    if given.trim().is_empty() {
        return fatal("no domain provided");
    }
    given.trim().parse().map_err(|error| Fatal(format!("domain: {error}")))
}
