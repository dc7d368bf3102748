//! Which data of an app is marked: what is declared for the recipe, and by default one file in each volume that is backed up (in
//! every volume of a recipe without backups) and one row in each database. And where another version of the recipe has the
//! same data.

use std::collections::BTreeSet;

use super::Planted;
use crate::backup::labels::{self, Labelled, Part, Wanted};
use crate::knowledge::{self, Knowledge, Object};
use crate::recipe::Said;
use crate::recipe::database::Engine;

/// Where something can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A file in a folder of a service's container; the folder is on the volume.
    File { volume: String, service: String, folder: String, place: Place },
    /// A row in the database that a service is.
    Row { service: String, engine: Engine, volumes: BTreeSet<String> },
    /// An object that the app takes and gives back over HTTP.
    Object(Object),
}

/// What of its volume a file's folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Whole,
    /// A part that is kept. The label may name a file, and then there is no place for a marker.
    Part,
    /// Declared, by its path in the volume.
    Path(String),
}

/// The markers that a stack has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub markers: Vec<Marker>,
    /// Those of them that were asked for by name.
    pub declared: Vec<Marker>,
    /// Declared, and the stack has no such place: in words.
    pub homeless: Vec<String>,
}

/// What is declared, and what is found by looking at the stack.
pub fn choose(said: &Said, known: &Knowledge) -> Choice {
    let services = labels::of_compose(&said.compose, &said.stack);
    let wanted = labels::read(&services).ok().flatten();
    let mut choice = Choice { markers: found(said, &services, wanted.as_ref()), ..Choice::default() };
    for marker in known.markers() {
        match declared(said, &services, marker) {
            Ok(marker) => choice.declared.push(marker),
            Err(why) => choice.homeless.push(why),
        }
    }
    let more = choice.declared.iter().filter(|marker| !choice.markers.contains(marker)).cloned();
    choice.markers.extend(more.collect::<Vec<_>>());
    choice
}

/// Those of all that is wanted; without that, of all there is.
fn found(said: &Said, services: &[Labelled], wanted: Option<&Wanted>) -> Vec<Marker> {
    let mut markers = Vec::new();
    let mut seen = BTreeSet::new();
    for service in said.compose.services() {
        let Some(labelled) = services.iter().find(|labelled| labelled.name == service.name) else { continue };
        for mount in &labelled.mounts {
            let read_only = service.mounts().iter().any(|own| own.target == mount.target && own.read_only);
            if read_only || !seen.insert(mount.volume.clone()) {
                continue;
            }
            let folders = match wanted.map(|wanted| wanted.volumes.get(&mount.volume)) {
                None | Some(Some(Part::Whole)) => vec![(mount.target.clone(), Place::Whole)],
                // Nobody brings back what nobody keeps.
                Some(None) => Vec::new(),
                Some(Some(Part::Paths(paths))) => {
                    paths.iter().map(|path| (below(&mount.target, path), Place::Part)).collect()
                }
            };
            markers.extend(folders.into_iter().map(|(folder, place)| Marker::File {
                volume: mount.volume.clone(),
                service: service.name.to_owned(),
                folder,
                place,
            }));
        }
        // One that is switched off has nobody to ask.
        if let Some(engine) = Engine::of_service(&service).filter(|_| service.replicas() != Some(0)) {
            markers.push(row(labelled, engine));
        }
    }
    markers
}

/// The place that a declaration names; `Err` says why there is none.
fn declared(said: &Said, services: &[Labelled], marker: &knowledge::Marker) -> Result<Marker, String> {
    match marker {
        knowledge::Marker::Object(object) => Ok(Marker::Object(object.clone())),
        knowledge::Marker::File { volume, path } => {
            let mounts = services.iter().flat_map(|service| service.mounts.iter().map(move |mount| (service, mount)));
            let mounted = mounts.into_iter().find(|(_, mount)| mount.volume == *volume);
            let (service, mount) = mounted.ok_or_else(|| format!("no service has a volume `{volume}`"))?;
            let folder = folder_of(&mount.target, path);
            let place = Place::Path(path.clone());
            Ok(Marker::File { volume: volume.clone(), service: service.name.clone(), folder, place })
        }
        knowledge::Marker::Row { service } => {
            let labelled = services.iter().find(|known| known.name == *service);
            let (labelled, own) = labelled
                .zip(said.compose.service(service))
                .ok_or_else(|| format!("there is no service `{service}`"))?;
            let engine = Engine::of_declared(&own).ok_or_else(|| {
                format!("`{service}` is no database that cc-ci knows, neither by its image nor by its environment")
            })?;
            Ok(row(labelled, engine))
        }
    }
}

fn row(labelled: &Labelled, engine: Engine) -> Marker {
    let volumes = labelled.mounts.iter().map(|mount| mount.volume.clone()).collect();
    Marker::Row { service: labelled.name.clone(), engine, volumes }
}

fn below(target: &str, path: &str) -> String {
    format!("{}/{path}", target.trim_end_matches('/'))
}

impl Engine {
    /// Reads statements from standard input. Nothing secret is in it: values are read where they are.
    pub(super) fn client(self) -> &'static str {
        match self {
            Engine::Postgres => {
                r#"v() { eval "f=\${$1_FILE:-}; x=\${$1:-}"; if [ -n "$f" ]; then cat "$f"; else printf %s "$x"; fi; }
u=$(v POSTGRES_USER); u=${u:-postgres}; d=$(v POSTGRES_DB); PGPASSWORD=$(v POSTGRES_PASSWORD); export PGPASSWORD
exec psql -X -q -A -t -v ON_ERROR_STOP=1 -U "$u" -d "${d:-$u}""#
            }
            Engine::MariaDb => {
                r#"v() { for p in MARIADB MYSQL; do eval "f=\${${p}_$1_FILE:-}; x=\${${p}_$1:-}"; if [ -n "$f" ]; then cat "$f"; return; fi; if [ -n "$x" ]; then printf %s "$x"; return; fi; done; }
p=$(v ROOT_PASSWORD); u=root; if [ -z "$p" ]; then u=$(v USER); p=$(v PASSWORD); fi; d=$(v DATABASE); MYSQL_PWD=$p; export MYSQL_PWD
c=mariadb; command -v mariadb >/dev/null 2>&1 || c=mysql
exec $c -N -B -u "$u" "${d:-mysql}""#
            }
        }
    }
}

impl Marker {
    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Marker::File { volume, place: Place::Path(path), .. } => format!("file {path} in volume {volume}"),
            Marker::File { volume, .. } => format!("file in volume {volume}"),
            Marker::Row { service, engine: Engine::Postgres, .. } => format!("row in PostgreSQL of {service}"),
            Marker::Row { service, engine: Engine::MariaDb, .. } => format!("row in MariaDB of {service}"),
            Marker::Object(object) => format!("object at {}", object.get),
        }
    }

    /// Why a backup by these labels cannot bring it back, if that is so. It is written all the same: a hook of another service
    /// may dump a database, and a volume may be left out by mistake.
    pub fn left_out(&self, wanted: &Wanted) -> Option<String> {
        let is_kept = |volume: &String| wanted.volumes.contains_key(volume);
        match self {
            Marker::File { volume, place: Place::Path(path), .. } => {
                let part = wanted.volumes.get(volume);
                let is_kept = part.is_some_and(|part| part.holds(path));
                (!is_kept).then(|| format!("the labels keep nothing of {path} in the volume {volume}"))
            }
            Marker::Row { service, volumes, .. } => {
                let kept = volumes.iter().any(is_kept) || wanted.hooks.iter().any(|hook| hook.service == *service);
                let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
                let own = if volumes.is_empty() { String::new() } else { format!(" (volume {})", volumes.join(", ")) };
                (!kept).then(|| format!("the labels keep nothing of {service}{own}, and no hook of it dumps it"))
            }
            // Files that were found are where something is kept.
            Marker::File { .. } | Marker::Object(_) => None,
        }
    }

    /// Whose container it is in.
    fn service(&self) -> Option<&String> {
        match self {
            Marker::File { service, .. } | Marker::Row { service, .. } => Some(service),
            Marker::Object(_) => None,
        }
    }

    /// Whether this is another version's name for the data that `old` marks.
    fn is_data_of(&self, old: &Marker, by_service: bool) -> bool {
        match (self, old) {
            // A part of a volume is where it was.
            (Marker::File { volume, place, .. }, Marker::File { volume: known, place: its, .. }) => {
                volume == known && place == its && *its != Place::Part
            }
            (Marker::Row { service, engine, volumes }, Marker::Row { service: known, engine: kind, volumes: its }) => {
                engine == kind && if by_service { service == known } else { !volumes.is_disjoint(its) }
            }
            _ => false,
        }
    }
}

/// What became of data that was marked, where that is not simply in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    pub marker: Marker,
    /// In words: `the volume content was at /usr/share/nginx/html, and is at /srv/elsewhere`.
    pub how: String,
}

impl Planted {
    /// The same data where another version of the recipe has it: volumes are known by their names, whichever service uses them
    /// now; a database by its service, or else by its volume. What a service lost that is there still is looked for where it was,
    /// and is lost. What a service had that is there no more is not looked for: Swarm takes no service away that a newer version
    /// leaves out, and the old one's container would answer. That, and a volume that is seen at another place now, is told.
    pub fn followed(self, said: &Said, known: &Knowledge) -> (Planted, Vec<Astray>) {
        let services = labels::of_compose(&said.compose, &said.stack);
        let mut now = found(said, &services, None);
        now.extend(known.markers().filter_map(|marker| declared(said, &services, marker).ok()));
        let (mut markers, mut astray) = (Vec::new(), Vec::new());
        for (marker, value) in self.markers {
            let same = now.iter().find(|other| other.is_data_of(&marker, true));
            let same = same.or_else(|| now.iter().find(|other| other.is_data_of(&marker, false)));
            match same {
                Some(found) => {
                    astray.extend(moved(&marker, found, &services).map(|how| Astray { marker: found.clone(), how }));
                    markers.push((found.clone(), value));
                }
                None => match marker.service().filter(|name| services.iter().all(|service| service.name != **name)) {
                    Some(gone) => {
                        let how = format!("{gone} is gone, and no other service has its data");
                        astray.push(Astray { marker, how });
                    }
                    None => markers.push((marker, value)),
                },
            }
        }
        (Planted { markers, ..self }, astray)
    }
}

/// How a volume that was in its place is seen elsewhere, if nobody sees it there any more: then its program looks at an empty
/// folder.
fn moved(old: &Marker, new: &Marker, services: &[Labelled]) -> Option<String> {
    let (Marker::File { volume, folder, place, .. }, Marker::File { folder: now, .. }) = (old, new) else {
        return None;
    };
    let mut mounts = services.iter().flat_map(|service| &service.mounts).filter(|mount| mount.volume == *volume);
    let is_there = mounts.any(|mount| match place {
        Place::Path(path) => folder_of(&mount.target, path) == *folder,
        Place::Whole | Place::Part => mount.target == *folder,
    });
    (!is_there).then(|| format!("the volume {volume} was seen at {folder}, and is at {now}"))
}

/// The folder of a file in a volume that is mounted at `target`.
fn folder_of(target: &str, path: &str) -> String {
    path.rsplit_once('/').map_or_else(|| target.to_owned(), |(dir, _)| below(target, dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::BaseFiles;
    use crate::recipe;

    fn said(compose: &str) -> Said {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env.sample"), "TYPE=notes\nDOMAIN=notes.example.com\n").unwrap();
        std::fs::write(dir.path().join("compose.yml"), compose).unwrap();
        let recipe = recipe::open(dir.path()).unwrap();
        let domain = "n.ci.test".parse().unwrap();
        recipe.say(&recipe.env_for(&domain), "n.ci.test").unwrap()
    }

    fn of(compose: &str) -> Vec<Marker> {
        choose(&said(compose), &Knowledge::default()).markers
    }

    fn known(text: &str) -> Knowledge {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".cc-ci")).unwrap();
        std::fs::write(dir.path().join(".cc-ci/recipe.yaml"), text).unwrap();
        knowledge::read(None, &"notes".parse().unwrap(), dir.path(), &BaseFiles::TheHead).unwrap()
    }

    const SERVICES: &str = "version: '3.8'
services:
  app:
    image: nginx:1.29.0
    volumes: [files:/data, shared:/shared:ro]
    deploy:
      labels: {LABELS}
  db:
    image: registry.example.org:5000/bitnami/postgres:17-alpine@sha256:aa
    volumes: [db:/var/lib/postgresql/data, shared:/shared, /srv:/host]
volumes: {files: , db: , shared: }
";

    fn file(volume: &str, service: &str, folder: &str) -> Marker {
        let place = if folder.ends_with("dump") { Place::Part } else { Place::Whole };
        Marker::File { volume: volume.into(), service: service.into(), folder: folder.into(), place }
    }

    fn row() -> Marker {
        let volumes = ["db", "shared"].into_iter().map(str::to_owned).collect();
        Marker::Row { service: "db".into(), engine: Engine::Postgres, volumes }
    }

    #[test]
    fn one_file_for_each_volume_and_one_row_for_each_database() {
        let all = of(&SERVICES.replace("{LABELS}", "[a=b]"));
        let db = file("db", "db", "/var/lib/postgresql/data");
        assert_eq!(all, [file("files", "app", "/data"), db, file("shared", "db", "/shared"), row()]);
    }

    #[test]
    fn of_a_backup_only_where_something_is_kept() {
        let labels =
            "[backupbot.backup=true, backupbot.backup.volumes.shared=false, backupbot.backup.volumes.db.path=dump]";
        let some = of(&SERVICES.replace("{LABELS}", labels));
        assert_eq!(some, [file("files", "app", "/data"), file("db", "db", "/var/lib/postgresql/data/dump"), row()]);
    }

    #[test]
    fn a_database_and_a_declared_file_are_marked_though_nothing_is_kept_of_them_and_why_they_are_lost_is_known() {
        let labels = "[backupbot.backup=true, backupbot.backup.volumes.shared=false, backupbot.backup.volumes.db=false, backupbot.backup.volumes.files.path=dump]";
        let said = said(&SERVICES.replace("{LABELS}", labels));
        let chosen = choose(&said, &known("markers: [{file: shared/a.txt}, {file: files/dump/a.txt}]\n")).markers;
        let services = labels::of_compose(&said.compose, &said.stack);
        let wanted = labels::read(&services).unwrap().unwrap();
        let lost: Vec<String> = chosen.iter().filter_map(|marker| marker.left_out(&wanted)).collect();
        assert_eq!(
            lost,
            [
                "the labels keep nothing of db (volume db, shared), and no hook of it dumps it",
                "the labels keep nothing of a.txt in the volume shared"
            ]
        );
        let dumped = SERVICES
            .replace("{LABELS}", labels)
            .replace("    volumes: [db:", "    deploy: {labels: [backupbot.backup.pre-hook=/dump]}\n    volumes: [db:");
        let wanted = labels::read(&labels::of_compose(&self::said(&dumped).compose, &said.stack)).unwrap().unwrap();
        assert_eq!(row().left_out(&wanted), None);
    }

    #[test]
    fn a_database_that_is_switched_off_is_not_asked() {
        let off = SERVICES.replace("{LABELS}", "[a=b]").replace("  db:\n", "  db:\n    deploy: {replicas: 0}\n");
        assert!(!of(&off).contains(&row()));
    }

    #[test]
    fn what_is_declared_is_marked_too_and_what_has_no_place_is_told() {
        let compose = SERVICES
            .replace("{LABELS}", "[a=b]")
            .replace("bitnami/postgres:17", "own/store:1")
            .replace("    volumes: [db:", "    environment: {POSTGRES_USER: notes}\n    volumes: [db:");
        let text = "markers: [{file: files/a.txt}, {row: db}, {row: app}, {file: none/a}, {put: /files/a}]\n";
        let Choice { markers, homeless, .. } = choose(&said(&compose), &known(text));
        let place = Place::Path("a.txt".into());
        let own = Marker::File { volume: "files".into(), service: "app".into(), folder: "/data".into(), place };
        assert!(markers.contains(&own) && markers.contains(&row()), "{markers:?}");
        assert_eq!(markers.last().unwrap().shown(), "object at /files/a");
        assert_eq!(markers.last().unwrap().left_out(&Wanted::default()), None);
        assert_eq!(homeless.len(), 2, "{homeless:?}");
        assert!(
            homeless[0].starts_with("`app` is no database") && homeless[1].contains("no service has a volume `none`")
        );
    }

    #[test]
    fn data_is_followed_to_where_a_newer_version_has_it() {
        let planted = |marker| Planted { markers: vec![(marker, "v".to_owned())], ..Planted::default() };
        let moved = SERVICES
            .replace("{LABELS}", "[a=b]")
            .replace("files:/data", "files:/srv")
            .replace("  db:\n    image", "  sql:\n    image");
        let declared = known("markers: [{file: files/kept/a.txt}]\n");
        let after = |marker| planted(marker).followed(&said(&moved), &declared).0.markers.remove(0).0;
        assert_eq!(after(file("files", "app", "/data")), file("files", "app", "/srv"));
        assert_eq!(after(file("db", "db", "/var/lib/postgresql/data")), file("db", "sql", "/var/lib/postgresql/data"));
        let Marker::Row { service, .. } = after(row()) else { panic!("a row stays a row") };
        assert_eq!(service, "sql");
        let own = |folder: &str| Marker::File {
            volume: "files".into(),
            service: "app".into(),
            folder: folder.into(),
            place: Place::Path("kept/a.txt".into()),
        };
        assert_eq!(after(own("/data/kept")), own("/srv/kept"));
        // One that its service has no more is looked for where it was, and is lost.
        assert_eq!(after(file("gone", "app", "/gone")), file("gone", "app", "/gone"));
    }

    #[test]
    fn what_went_with_its_service_is_told_and_not_looked_for_in_what_the_old_version_left() {
        let planted = |marker| Planted { markers: vec![(marker, "v".to_owned())], ..Planted::default() };
        let (without, _) = SERVICES.split_once("  db:").unwrap();
        let without = said(&(without.replace("{LABELS}", "[a=b]") + "volumes: {files: , shared: }\n"));
        for marker in [row(), file("db", "db", "/var/lib/postgresql/data")] {
            let (left, astray) = planted(marker.clone()).followed(&without, &Knowledge::default());
            assert!(left.markers.is_empty(), "{left:?}");
            assert_eq!(astray, [Astray { marker, how: "db is gone, and no other service has its data".into() }]);
        }
    }

    #[test]
    fn a_volume_that_is_seen_at_another_place_is_told() {
        let planted = |marker| Planted { markers: vec![(marker, "v".to_owned())], ..Planted::default() };
        let how = |compose: &str, marker| {
            let compose = compose.replace("{LABELS}", "[a=b]");
            let (_, astray) =
                planted(marker).followed(&said(&compose), &known("markers: [{file: files/kept/a.txt}]\n"));
            astray.into_iter().map(|astray| astray.how).collect::<Vec<_>>()
        };
        let moved = SERVICES.replace("files:/data", "files:/srv");
        let files = || file("files", "app", "/data");
        assert_eq!(how(&moved, files()), ["the volume files was seen at /data, and is at /srv"]);
        let place = Place::Path("kept/a.txt".into());
        let own = Marker::File { volume: "files".into(), service: "app".into(), folder: "/data/kept".into(), place };
        assert_eq!(how(&moved, own.clone()), ["the volume files was seen at /data/kept, and is at /srv/kept"]);
        assert!(how(SERVICES, files()).is_empty() && how(SERVICES, own).is_empty());
        // Whoever has it now sees it where it was.
        let of_another = SERVICES.replace("  app:", "  web:").replace("  db:\n", "  app:\n");
        assert!(how(&of_another, files()).is_empty());
    }
}
