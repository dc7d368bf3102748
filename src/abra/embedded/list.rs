//! What is there: `app ls`, `app ps`, `server add`, `server ls`. The JSON has the keys of the real one, objects where that has
//! objects and text where that has text.

use serde_json::{Map, Value, json};

use super::cli::{AppLs, Ps};
use super::home::{App, Home};
use super::say::Say;
use super::{Done, Fatal, docker, fatal};

pub(super) fn ps(home: &Home, say: Say, asked: &Ps) -> Done {
    let app = home.app(&asked.domain)?;
    let stack = app.stack();
    let services = docker::services(&stack)?;
    if services.is_empty() {
        return fatal(format!("{} is not deployed?", app.domain));
    }
    let label = |key: &str| {
        let key = format!("coop-cloud.{stack}.{key}");
        services.iter().find_map(|service| service.labels.get(&key).cloned()).unwrap_or_default()
    };
    let (chaos, version) = (label("chaos") == "true", label("version"));
    let version = if chaos { label("chaos-version") } else { version };
    let containers = docker::containers(&stack)?;
    let mut found = Map::new();
    for service in &services {
        let name = service.name.strip_prefix(&format!("{stack}_")).unwrap_or(&service.name);
        let container = containers.get(&service.name);
        let field = |key: &str| container.and_then(|shown| shown.get(key).cloned()).unwrap_or_else(|| "unknown".into());
        let shown = json!({
            "service": name,
            "chaos": chaos.to_string(),
            "created": container.map_or_else(|| service.created.clone(), |_| field("created")),
            "image": service.image.split('@').next().unwrap_or_default(),
            "ports": field("ports"),
            "state": field("state"),
            "status": field("status"),
            "version": version,
        });
        found.insert(name.to_owned(), shown);
    }
    if asked.machine.machine {
        say.json(&Value::Object(found));
        return Ok(());
    }
    let head = ["service", "image", "created", "status", "state", "ports"];
    let row = |shown: &Value| head.iter().map(|key| shown[key].as_str().unwrap_or_default().to_owned()).collect();
    let rows: Vec<Vec<String>> = found.values().map(row).collect();
    say.table(&["SERVICE", "IMAGE", "CREATED", "STATUS", "STATE", "PORTS"], &rows);
    Ok(())
}

pub(super) fn apps(home: &Home, say: Say, asked: &AppLs) -> Done {
    let mut servers = Map::new();
    for server in home.servers()? {
        if asked.server.as_ref().is_none_or(|wanted| *wanted == server) {
            servers.insert(server, json!([]));
        }
    }
    let wanted = |app: &App| asked.recipe.as_ref().is_none_or(|recipe| recipe == app.recipe.as_str());
    let mut rows = Vec::new();
    for app in home.apps()?.into_iter().filter(wanted) {
        let Some(Value::Array(list)) = servers.get_mut(&app.server) else { continue };
        let shown = app_row(&app, asked.status)?;
        rows.push(vec![
            app.recipe.to_string(),
            app.domain.to_string(),
            app.server.clone(),
            shown["status"].as_str().unwrap_or_default().to_owned(),
            shown["version"].as_str().unwrap_or_default().to_owned(),
        ]);
        list.push(shown);
    }
    if !asked.machine.machine {
        say.table(&["RECIPE", "DOMAIN", "SERVER", "STATUS", "VERSION"], &rows);
        return Ok(());
    }
    let counted = servers.into_iter().map(|(server, apps)| (server, counted(&apps)));
    say.json(&Value::Object(counted.collect()));
    Ok(())
}

fn app_row(app: &App, ask: bool) -> Result<Value, Fatal> {
    let stack = app.stack();
    let services = if ask { docker::services(&stack)? } else { Vec::new() };
    let label = |key: &str| {
        let key = format!("coop-cloud.{stack}.{key}");
        services.iter().find_map(|service| service.labels.get(&key).cloned()).unwrap_or_default()
    };
    let status = match (ask, services.is_empty()) {
        (false, _) => "",
        (true, true) => "unknown",
        (true, false) => "deployed",
    };
    Ok(json!({
        "server": app.server,
        "recipe": app.recipe.as_str(),
        "appName": app.domain.as_str(),
        "domain": app.domain.as_str(),
        "status": status,
        "chaos": label("chaos"),
        "chaosVersion": label("chaos-version"),
        "version": label("version"),
        "upgrade": "",
    }))
}

fn counted(apps: &Value) -> Value {
    let list = apps.as_array().map_or(&[][..], Vec::as_slice);
    let versioned = list.iter().filter(|app| !app["version"].as_str().unwrap_or_default().is_empty()).count();
    json!({
        "apps": apps,
        "appCount": list.len(),
        "versionCount": versioned,
        "unversionedCount": list.len() - versioned,
        "latestCount": 0,
        "upgradeCount": 0,
    })
}

pub(super) fn server_add(home: &Home, say: Say, domain: Option<&str>, local: bool) -> Done {
    match (domain, local) {
        (None, true) => {
            std::fs::create_dir_all(home.dir.join("servers").join("default"))?;
            say.info("local server successfully added");
            Ok(())
        }
        (Some(_), true) => fatal("cannot use [server] and --local together"),
        (Some(_), false) => fatal("the abra built into cc-ci knows the local server only: `abra server add --local`"),
        (None, false) => fatal("no server provided"),
    }
}

pub(super) fn servers(home: &Home, say: Say, machine: bool) -> Done {
    let servers = home.servers()?;
    let host = |name: &str| if name == "default" { "local".to_owned() } else { name.to_owned() };
    if machine {
        let rows = servers.iter().map(|name| json!({"name": name, "host": host(name)}));
        say.json(&Value::Array(rows.collect()));
    } else {
        let rows: Vec<Vec<String>> = servers.iter().map(|name| vec![name.clone(), host(name)]).collect();
        say.table(&["NAME", "HOST"], &rows);
    }
    Ok(())
}
