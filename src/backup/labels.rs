//! The published backup specification, versions 1 and 2, read from a stack's labels.
//!
//! Version 2: `backupbot.backup` on any service means all volumes of the stack; `backupbot.backup.volumes.<volume>=false` leaves
//! one out, `….<volume>.path=a,b` takes a part of it, relative to its root. Version 1: `backupbot.backup.path=/data` names paths
//! in the container of the service that bears it, and only these are kept; they have to be on a volume. Hooks are the same in
//! both. All labels are those of the service, where Traefik's are too.

use std::collections::BTreeMap;

use crate::compose::{Compose, Kind};
use crate::swarm::views;

pub const BACKUP: &str = "backupbot.backup";
pub const V1_PATH: &str = "backupbot.backup.path";
pub const VOLUME: &str = "backupbot.backup.volumes.";

/// A service as far as backups go, whether from a compose file or as it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// As the compose file calls it.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mounted>,
}

/// A volume of the stack in a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// As the compose file calls it.
    pub volume: String,
    /// In the container.
    pub target: String,
}

/// What is to be kept of an app, and what has to be run for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By the volume's name in the compose file.
    pub volumes: BTreeMap<String, Part>,
    pub hooks: Vec<Hook>,
    /// Labels from which nothing comes, in words.
    pub idle: Vec<String>,
}

/// How much of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// Relative to its root; never empty.
    Paths(Vec<String>),
}

impl Part {
    /// Whether a path inside the volume is kept.
    pub fn holds(&self, path: &str) -> bool {
        match self {
            Part::Whole => true,
            Part::Paths(paths) => paths.iter().any(|kept| {
                path.strip_prefix(kept.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }),
        }
    }
}

/// A command for the running container of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub when: When,
    pub service: String,
    pub command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    BeforeBackup,
    AfterBackup,
    BeforeRestore,
    AfterRestore,
}

const HOOKS: [(&str, When); 4] = [
    ("backupbot.backup.pre-hook", When::BeforeBackup),
    ("backupbot.backup.post-hook", When::AfterBackup),
    ("backupbot.restore.pre-hook", When::BeforeRestore),
    ("backupbot.restore.post-hook", When::AfterRestore),
];

/// Labels that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    #[error(
        "the label `{V1_PATH}` of service {service} names {path}, which is on no volume of it, so nothing can be kept of it; name a path below a volume's target"
    )]
    NoVolume { service: String, path: String },
    #[error(
        "the label `{VOLUME}{volume}.path` names `{path}`, which is no path inside the volume; write it relative to the volume's root, without `..`"
    )]
    Path { volume: String, path: String },
}

/// What the services' labels ask for; nothing, where none of them asks for a backup.
pub fn read(services: &[Labelled]) -> Result<Option<Wanted>, BadLabel> {
    let enabled: Vec<&Labelled> = services.iter().filter(|service| service.is_enabled()).collect();
    if enabled.is_empty() {
        return Ok(None);
    }
    let mut wanted = Wanted::default();
    for service in &enabled {
        match service.labels.get(V1_PATH) {
            Some(paths) => {
                for path in listed(paths) {
                    let (volume, part) = service
                        .locate(path)
                        .ok_or_else(|| BadLabel::NoVolume { service: service.name.clone(), path: path.to_owned() })?;
                    wanted.add(volume, part);
                }
            }
            None => {
                for mount in services.iter().flat_map(|service| &service.mounts) {
                    wanted.add(&mount.volume, Part::Whole);
                }
            }
        }
    }
    for service in services {
        wanted.narrow(service)?;
        wanted.hooks.extend(HOOKS.iter().filter_map(|(label, when)| {
            let command = service.labels.get(*label).filter(|command| !command.trim().is_empty())?;
            Some(Hook { when: *when, service: service.name.clone(), command: command.clone() })
        }));
        if service.labels.contains_key("backupbot.backup.command") {
            wanted.idle.push(format!(
                "the label `backupbot.backup.command` of service {} does nothing in either version; write a `pre-hook`",
                service.name
            ));
        }
    }
    Ok(Some(wanted))
}

/// Paths separated by commas.
fn listed(paths: &str) -> impl Iterator<Item = &str> {
    paths.split(',').map(|path| path.trim().trim_matches(['"', '\''])).filter(|path| !path.is_empty())
}

fn is_true(text: &str) -> bool {
    matches!(text.trim().trim_matches(['"', '\'']).to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

impl Labelled {
    /// Whether it asks for a backup.
    pub fn is_enabled(&self) -> bool {
        self.labels.get(BACKUP).is_some_and(|value| is_true(value))
    }

    /// The volume that a path in the container is on, and which part of it that is.
    fn locate(&self, path: &str) -> Option<(&str, Part)> {
        let path = path.trim_end_matches('/');
        let rest = |mount: &Mounted| {
            let rest = path.strip_prefix(mount.target.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
        };
        let (mount, rest) = self
            .mounts
            .iter()
            .filter_map(|mount| Some((mount, rest(mount)?)))
            .max_by_key(|(mount, _)| mount.target.len())?;
        match rest.as_str() {
            "" => Some((&mount.volume, Part::Whole)),
            rest => Some((&mount.volume, Part::Paths(vec![inside(rest)?]))),
        }
    }
}

/// A path that stays inside, in its plain form.
fn inside(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !path.starts_with('/') && !parts.contains(&"..")).then(|| parts.join("/"))
}

impl Wanted {
    fn add(&mut self, volume: &str, part: Part) {
        match (self.volumes.get_mut(volume), part) {
            (None, part) => drop(self.volumes.insert(volume.to_owned(), part)),
            (Some(Part::Paths(known)), Part::Paths(more)) => {
                known.extend(more);
                known.sort();
                known.dedup();
            }
            (Some(known), Part::Whole) => *known = Part::Whole,
            (Some(Part::Whole), Part::Paths(_)) => {}
        }
    }

    /// Leaves out, or takes a part of, what version 2 says so of.
    fn narrow(&mut self, service: &Labelled) -> Result<(), BadLabel> {
        for (label, value) in &service.labels {
            let Some(rest) = label.strip_prefix(VOLUME) else { continue };
            let (volume, paths) = match rest.strip_suffix(".path") {
                Some(volume) => (volume, Some(listed(value))),
                None => (rest, None),
            };
            if !self.volumes.contains_key(volume) {
                // It may be left out by a label that was read before.
                if paths.is_some() || is_true(value) {
                    self.idle.push(format!("the label `{label}` names the volume {volume}, of which nothing is kept"));
                }
                continue;
            }
            match paths {
                None if is_true(value) => {}
                None => drop(self.volumes.remove(volume)),
                Some(paths) => {
                    let bad = |path: &str| BadLabel::Path { volume: volume.to_owned(), path: path.to_owned() };
                    let paths: Vec<String> =
                        paths.map(|path| inside(path).ok_or_else(|| bad(path))).collect::<Result<_, _>>()?;
                    if paths.is_empty() {
                        return Err(bad(value));
                    }
                    self.volumes.insert(volume.to_owned(), Part::Paths(paths));
                }
            }
        }
        Ok(())
    }

    pub fn hooks(&self, when: When) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| hook.when == when)
    }

    /// Where each part lies in a snapshot of a stack, in order.
    pub fn paths(&self, stack: &str) -> Vec<String> {
        let part = |(volume, part): (&String, &Part)| match part {
            Part::Whole => vec![in_snapshot(stack, volume, None)],
            Part::Paths(paths) => paths.iter().map(|path| in_snapshot(stack, volume, Some(path))).collect(),
        };
        self.volumes.iter().flat_map(part).collect()
    }
}

/// Where a volume lies in a snapshot, or something in it.
pub fn in_snapshot(stack: &str, volume: &str, path: Option<&str>) -> String {
    let root = format!("{}/{stack}_{volume}", super::VOLUMES);
    match path {
        None => root,
        Some(path) => format!("{root}/_data/{}", path.trim_start_matches('/')),
    }
}

/// The services of a recipe. Volumes that are not the stack's own are nobody's to restore over, and left out.
pub fn of_compose(compose: &Compose, stack: &str) -> Vec<Labelled> {
    let own: BTreeMap<&str, String> = compose
        .objects(Kind::Volume)
        .into_iter()
        .filter(|volume| !volume.is_external())
        .filter_map(|volume| Some((volume.key, short(stack, &volume.full_name(stack))?)))
        .collect();
    let services = compose.services().into_iter();
    services
        .map(|service| Labelled {
            name: service.name.to_owned(),
            labels: service
                .labels()
                .iter()
                .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
                .collect(),
            mounts: service
                .mounts()
                .into_iter()
                .filter(|mount| mount.kind == "volume")
                .filter_map(|mount| {
                    Some(Mounted { volume: own.get(mount.source?)?.clone(), target: mount.target.to_owned() })
                })
                .collect(),
        })
        .collect()
}

/// The services of a stack as they run.
pub fn of_services(services: &[views::Service], stack: &str) -> Vec<Labelled> {
    let mounted =
        |mount: &views::Mounted| Some(Mounted { volume: short(stack, &mount.volume)?, target: mount.target.clone() });
    services
        .iter()
        .map(|service| Labelled {
            name: service.short().to_owned(),
            labels: service.labels.clone(),
            mounts: service.mounts.iter().filter_map(mounted).collect(),
        })
        .collect()
}

fn short(stack: &str, full: &str) -> Option<String> {
    Some(full.strip_prefix(stack)?.strip_prefix('_')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, labels: &[(&str, &str)], mounts: &[(&str, &str)]) -> Labelled {
        Labelled {
            name: name.into(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            mounts: mounts
                .iter()
                .map(|(volume, target)| Mounted { volume: (*volume).to_owned(), target: (*target).to_owned() })
                .collect(),
        }
    }

    fn paths(services: &[Labelled]) -> Vec<String> {
        let wanted = read(services).unwrap().unwrap();
        wanted.paths("st").iter().map(|path| path.replace("/var/lib/docker/volumes/", "")).collect()
    }

    #[test]
    fn all_volumes_are_kept_but_those_left_out_and_of_some_only_a_part() {
        let services = [
            service(
                "app",
                &[("backupbot.backup", "true"), ("backupbot.backup.volumes.cache", "false")],
                &[("files", "/data"), ("cache", "/cache")],
            ),
            service(
                "db",
                &[
                    ("backupbot.backup.volumes.db.path", "backup.sql, extra/"),
                    ("backupbot.backup.pre-hook", "/pg_backup.sh backup"),
                    ("backupbot.restore.post-hook", "/pg_backup.sh restore"),
                ],
                &[("db", "/var/lib/postgresql/data")],
            ),
        ];
        assert_eq!(paths(&services), ["st_db/_data/backup.sql", "st_db/_data/extra", "st_files"]);
        let wanted = read(&services).unwrap().unwrap();
        let hook = wanted.hooks(When::BeforeBackup).next().unwrap();
        assert_eq!((hook.service.as_str(), hook.command.as_str()), ("db", "/pg_backup.sh backup"));
        assert_eq!(wanted.hooks(When::AfterRestore).count(), 1);
        assert!(wanted.idle.is_empty());
    }

    #[test]
    fn paths_of_version_1_are_found_on_their_volumes() {
        let mounts = [("all", "/srv"), ("pages", "/srv/html")];
        let one = |path| [service("app", &[("backupbot.backup", "true"), ("backupbot.backup.path", path)], &mounts)];
        assert_eq!(paths(&one("/srv/html")), ["st_pages"]);
        assert_eq!(paths(&one("/srv/html/a,/srv/b/")), ["st_all/_data/b", "st_pages/_data/a"]);
        let error = read(&one("/etc/passwd")).unwrap_err().to_string();
        assert!(error.contains("names /etc/passwd, which is on no volume"), "{error}");
        assert!(read(&one("/srv/../etc")).is_err());
    }

    #[test]
    fn nobody_asks_for_a_backup() {
        assert_eq!(read(&[service("app", &[], &[("a", "/a")])]).unwrap(), None);
        assert_eq!(read(&[service("app", &[("backupbot.backup", "false")], &[("a", "/a")])]).unwrap(), None);
    }

    #[test]
    fn what_leads_out_of_a_volume_is_refused_and_what_does_nothing_is_told() {
        let labelled = |key: &'static str, value: &'static str| {
            [service("app", &[("backupbot.backup", "true"), (key, value)], &[("a", "/a")])]
        };
        for path in ["../b", "/etc", "x/../../y", ","] {
            assert!(read(&labelled("backupbot.backup.volumes.a.path", path)).is_err(), "{path}");
        }
        let idle = |key, value| read(&labelled(key, value)).unwrap().unwrap().idle;
        assert!(idle("backupbot.backup.volumes.b.path", "x")[0].contains("names the volume b"));
        assert!(idle("backupbot.backup.command", "dump")[0].contains("does nothing"));
        assert!(idle("backupbot.backup.volumes.b", "false").is_empty());
    }
}
