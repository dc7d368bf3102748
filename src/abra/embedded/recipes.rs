//! `recipe …`: clone one, look at one, list what it was.

use serde_json::{Map, Value, json};

use super::git::Clone;
use super::home::Home;
use super::say::Say;
use super::{Done, Fatal, fatal};
use crate::compose::env_file;
use crate::model::RecipeName;
use crate::recipe;
use crate::yaml::{self, Node};

pub(super) fn fetch(home: &Home, say: Say, recipe: Option<&str>, all: bool, force: bool) -> Done {
    if all {
        return fatal("--all: the abra built into cc-ci has no catalogue; name a recipe");
    }
    let Some(recipe) = recipe else { return fatal("missing [recipe] or --all/-a") };
    let recipe: RecipeName = recipe.parse().map_err(|error| Fatal(format!("recipe: {error}")))?;
    let clone = home.clone_of(&recipe);
    if !clone.dir.exists() {
        Clone::upstream(recipe.as_str(), &clone.dir)?;
        say.info(&format!("{recipe} fetched"));
        return Ok(());
    }
    if force && !home.flags.offline {
        clone.require_clean(recipe.as_str())?;
        return clone.update();
    }
    say.warn(&format!("{recipe} is already fetched"));
    Ok(())
}

/// Exits well whatever it finds, as abra does.
pub(super) fn lint(home: &Home, say: Say, recipe: &str, chaos: bool) -> Done {
    let recipe: RecipeName = recipe.parse().map_err(|error| Fatal(format!("recipe: {error}")))?;
    let clone = home.ensure(&recipe, say)?;
    if !chaos {
        clone.require_clean(recipe.as_str())?;
        if !home.flags.offline {
            clone.update()?;
        }
    }
    let mut found = recipe::lint(&clone.dir);
    let lightweight = clone.tags()?.into_iter().find(|(_, annotated)| !annotated);
    found.extend(lightweight.map(|(tag, _)| recipe::lint::lightweight_tag(&tag)));
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|finding| {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            let place =
                if finding.line == 0 { finding.file.clone() } else { format!("{}:{}", finding.file, finding.line) };
            vec![finding.rule.to_owned(), severity, place, finding.message.clone(), finding.cure.clone()]
        })
        .collect();
    say.table(&["REF", "SEVERITY", "WHERE", "RULE", "RESOLVE"], &rows);
    if found.iter().any(|finding| finding.severity == recipe::Severity::Error) {
        say.warn("critical errors present in the recipe");
    }
    Ok(())
}

/// Read from git without moving the checkout, which the real one does.
pub(super) fn versions(home: &Home, say: Say, recipe: &str, machine: bool) -> Done {
    let recipe: RecipeName = recipe.parse().map_err(|error| Fatal(format!("recipe: {error}")))?;
    let clone = home.ensure(&recipe, say)?;
    let mut all = Vec::new();
    for (tag, _) in clone.tags()?.into_iter().rev() {
        let services = services(&clone, &tag);
        all.push((tag, services));
    }
    if machine {
        let list = all.into_iter().map(|(tag, services)| json!({ tag: services }));
        say.json(&Value::Array(list.collect()));
        return Ok(());
    }
    let mut rows = Vec::new();
    for (tag, services) in &all {
        for (service, image) in services {
            let text = |key: &str| image[key].as_str().unwrap_or_default().to_owned();
            rows.push(vec![tag.clone(), service.clone(), text("image"), text("tag")]);
        }
    }
    say.table(&["VERSION", "SERVICE", "IMAGE", "TAG"], &rows);
    Ok(())
}

/// Services and images of a version, by the compose files its sample names. What cannot be read is left out.
fn services(clone: &Clone, tag: &str) -> Map<String, Value> {
    let sample = clone.show(tag, ".env.sample").and_then(|text| env_file::parse(&text).ok());
    let mut found = Map::new();
    for file in recipe::compose_files(&sample.map(|sample| sample.map()).unwrap_or_default()) {
        let Some(node) = clone.show(tag, &file).and_then(|text| yaml::parse(&file, &text).ok()) else { continue };
        for (name, service) in node.get("services").and_then(Node::as_map).unwrap_or_default() {
            let (Some(name), Some(image)) = (name.as_str(), service.get("image").and_then(Node::as_str)) else {
                continue;
            };
            let colon = image.rfind(':').filter(|at| !image[*at..].contains('/'));
            let (image, version) = colon.map_or((image, ""), |at| (&image[..at], &image[at + 1..]));
            found.insert(name.to_owned(), json!({"image": image, "tag": version}));
        }
    }
    found
}
