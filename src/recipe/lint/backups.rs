//! What the backup labels come to. They are read as a backup reads them, so that lint never says of a recipe what its run does
//! not: which volumes are kept, and of which database nothing is.

use std::collections::BTreeSet;

use super::{Findings, shown};
use crate::backup::labels::{self, BACKUP, BadLabel, Labelled, V1_PATH, VOLUME, Wanted, When};
use crate::compose::{Place, Service};
use crate::recipe::Said;
use crate::recipe::database::Engine;

pub(super) fn look(said: &Said, found: &mut Findings) {
    let services = labels::of_compose(&said.compose, &said.stack);
    let volumes: BTreeSet<&str> =
        services.iter().flat_map(|service| &service.mounts).map(|mount| mount.volume.as_str()).collect();
    for service in said.compose.services() {
        for (key, _) in service.labels() {
            label(key.as_str().unwrap_or_default(), &volumes, said.compose.place(key.span), found);
        }
    }
    let asking: Vec<&Labelled> = services.iter().filter(|service| service.is_enabled()).collect();
    for second in asking.iter().skip(1) {
        let message = format!("`{BACKUP}` is on a second service, `{}`", second.name);
        found.warn("backup-labels", on(said, &second.name, BACKUP), message, "leave it on the main service alone");
    }
    match labels::read(&services) {
        Ok(Some(wanted)) if wanted.volumes.is_empty() => {
            let place = asking.first().map_or_else(Place::default, |service| on(said, &service.name, BACKUP));
            let message = "the labels ask for a backup and leave out every volume, so nothing is backed up";
            found.warn("backup-labels", place, message, "leave the label out, or keep a volume");
        }
        Ok(Some(wanted)) => databases(said, &services, &wanted, found),
        Ok(None) => nobody_asks(said, found),
        Err(bad) => not_followed(said, &bad, found),
    }
    for service in said.compose.services() {
        without_volume(said, service, found);
    }
}

/// What the specification makes of one label, wherever it stands.
fn label(key: &str, volumes: &BTreeSet<&str>, place: Place, found: &mut Findings) {
    let Some(own) = key.strip_prefix("backupbot.") else { return };
    if let Some(volume) = key.strip_prefix(VOLUME) {
        let volume = volume.strip_suffix(".path").unwrap_or(volume);
        if !volumes.contains(volume) {
            let message = format!("`{}` names a volume that the recipe does not have", shown(key));
            let known = volumes.iter().copied().collect::<Vec<_>>().join("`, `");
            let cure = if known.is_empty() { "leave it out".to_owned() } else { format!("there is `{known}`") };
            found.warn("backup-labels", place, message, &cure);
        }
        return;
    }
    match own {
        "backup" | "restore" | "backup.pre-hook" | "backup.post-hook" | "restore.pre-hook" | "restore.post-hook" => {}
        "backup.path" => {
            let message = "`backupbot.backup.path` is of the first version of the backup labels: it is honoured, and only these paths of this service are kept";
            let cure = "say `backupbot.backup.volumes.<volume>.path`, from the root of the volume";
            found.warn("backup-labels", place, message, cure);
        }
        "backup.command" => {
            let message = "nothing comes of `backupbot.backup.command` in either version of the backup labels";
            found.warn("backup-labels", place, message, "say `backupbot.backup.pre-hook`");
        }
        _ => {
            let message = format!("`{}` is no label of the backup specification", shown(key));
            let cure =
                "the specification has `backup`, `backup.volumes.<volume>`, and hooks named `pre-hook` and `post-hook`";
            found.warn("backup-labels", place, message, cure);
        }
    }
}

fn nobody_asks(said: &Said, found: &mut Findings) {
    if let Some(volume) = said.compose.volumes().iter().find(|volume| !volume.is_external()) {
        let message = "there are volumes and no backup label, so nothing is backed up";
        found.warn("backup-labels", said.compose.place(volume.span), message, "add `backupbot.backup=true` to `app`");
    }
}

/// The run would fail on it.
fn not_followed(said: &Said, bad: &BadLabel, found: &mut Findings) {
    let place = match bad {
        BadLabel::NoVolume { service, .. } => on(said, service, V1_PATH),
        BadLabel::Path { volume, .. } => anywhere(said, &format!("{VOLUME}{volume}.path")),
    };
    let text = bad.to_string();
    let (message, cure) = text.rsplit_once("; ").unwrap_or((&text, ""));
    found.warn("backup-labels", place, message, cure);
}

/// A database whose volumes are all left out comes back from a dump, or not at all.
fn databases(said: &Said, services: &[Labelled], wanted: &Wanted, found: &mut Findings) {
    for service in said.compose.services() {
        let Some(labelled) = services.iter().find(|labelled| labelled.name == service.name) else { continue };
        let is_kept = labelled.mounts.iter().any(|mount| wanted.volumes.contains_key(&mount.volume));
        if Engine::of_service(&service).is_none() || labelled.mounts.is_empty() || is_kept {
            continue;
        }
        let dumps = wanted.hooks(When::BeforeBackup).any(|hook| {
            hook.service == service.name
                || hook.command.split(|c: char| !c.is_alphanumeric()).any(|word| word == service.name)
        });
        if !dumps {
            let message = format!(
                "nothing of the database `{}` is backed up: its volume is left out, and no hook dumps what is in it",
                service.name
            );
            let cure =
                "keep the volume, or dump the database with `backupbot.backup.pre-hook` into a volume that is kept";
            let left_out = format!("{VOLUME}{}", labelled.mounts[0].volume);
            found.warn("backup-labels", anywhere(said, &left_out), message, cure);
        }
    }
}

fn without_volume(said: &Said, service: Service<'_>, found: &mut Findings) {
    let Some(engine) = Engine::of_service(&service) else { return };
    // What is in memory is not meant to last.
    if service.mounts().iter().any(|mount| mount.source.is_some() || mount.kind == "tmpfs") {
        return;
    }
    let message = format!(
        "`{}` is a database without a volume: what is in it is lost with its container, at every upgrade",
        service.name
    );
    let cure = format!("give it a volume: `volumes: [{}:{}]`", service.name, engine.data());
    found.warn("database-volume", said.compose.place(service.span), message, &cure);
}

/// Where a service has a label; the service itself, where it has not.
fn on(said: &Said, service: &str, key: &str) -> Place {
    let Some(service) = said.compose.service(service) else { return Place::default() };
    let label = service.labels().iter().find(|(label, _)| label.as_str() == Some(key));
    said.compose.place(label.map_or(service.span, |(label, _)| label.span))
}

fn anywhere(said: &Said, key: &str) -> Place {
    let services = said.compose.services();
    let bearer = services.iter().find(|service| service.label_node(key).is_some());
    on(said, bearer.map_or("app", |service| service.name), key)
}
