//! Data that has to survive: written by cc-ci before something is done to an app, and looked for after it. By default one file
//! in each volume that is backed up (in every volume of a recipe without backups) and one row in each database.
//!
//! Files go through Docker's archive call, so an image without a shell has its marker too; rows through the database's own
//! client in its container, with user, database and password as the image's variables say. Each marker has a value of its own
//! that nobody can have made before.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Job, Trouble};
use crate::backup::labels::{self, Part, Wanted};
use crate::engine::run::checked;
use crate::model::{CheckState, StackName, StageName};
use crate::recipe::Said;
use crate::store::stages::Check;
use crate::swarm::SwarmFault;
use crate::swarm::exec::{Exec, ExecEnded};

/// A database that is healthy answers at once; one without a health check may still be starting.
const ANSWERS: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(250);
const COMMAND: Duration = Duration::from_secs(20);
const MOST: usize = 4 << 10;
const DAMAGED: &str = "damaged by cc-ci";

/// Where something can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A file in a folder of a service's container; the folder is on the volume. Where a part of a volume is kept, the name may
    /// be that of a file, and then there is no place for a marker.
    File { volume: String, service: String, folder: String, whole: bool },
    /// A row in the database that a service is.
    Row { service: String, engine: Engine, volumes: BTreeSet<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    MariaDb,
}

/// What was written, each with its value.
#[derive(Clone, Debug, Default)]
pub struct Planted {
    pub markers: Vec<(Marker, String)>,
    name: String,
}

/// What a look at a marker came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    There,
    /// In words that go on from the marker's name.
    Lost(String),
}

/// The markers that a stack has room for.
pub fn choose(said: &Said) -> Vec<Marker> {
    chosen(said, labels::read(&labels::of_compose(&said.compose, &said.stack)).ok().flatten().as_ref())
}

/// Those of all that is wanted; without that, of all there is.
fn chosen(said: &Said, wanted: Option<&Wanted>) -> Vec<Marker> {
    let services = labels::of_compose(&said.compose, &said.stack);
    let mut markers = Vec::new();
    let mut seen = BTreeSet::new();
    for service in said.compose.services() {
        let Some(labelled) = services.iter().find(|labelled| labelled.name == service.name) else { continue };
        for mount in &labelled.mounts {
            let read_only = service.mounts().iter().any(|own| own.target == mount.target && own.read_only);
            if read_only || !seen.insert(mount.volume.clone()) {
                continue;
            }
            let whole = |folder: &String| *folder == mount.target;
            let folders = match wanted.map(|wanted| wanted.volumes.get(&mount.volume)) {
                None | Some(Some(Part::Whole)) => vec![mount.target.clone()],
                // Nobody brings back what nobody keeps.
                Some(None) => Vec::new(),
                Some(Some(Part::Paths(paths))) => {
                    paths.iter().map(|path| format!("{}/{path}", mount.target.trim_end_matches('/'))).collect()
                }
            };
            markers.extend(folders.into_iter().map(|folder| Marker::File {
                volume: mount.volume.clone(),
                service: service.name.to_owned(),
                whole: whole(&folder),
                folder,
            }));
        }
        let image = service.image().and_then(|image| image.as_str()).unwrap_or_default();
        if let Some(engine) = Engine::of_image(image) {
            let volumes = labelled.mounts.iter().map(|mount| mount.volume.clone()).collect();
            markers.push(Marker::Row { service: service.name.to_owned(), engine, volumes });
        }
    }
    markers
}

impl Engine {
    /// By the last part of the image's name.
    fn of_image(image: &str) -> Option<Engine> {
        let name = image.split('@').next()?.rsplit('/').next()?.split(':').next()?;
        let is = |names: &[&str]| names.contains(&name);
        if is(&["postgres", "postgresql", "postgis", "pgvector", "timescaledb", "pgvecto-rs"]) {
            Some(Engine::Postgres)
        } else if is(&["mariadb", "mysql", "mysql-server", "percona", "percona-server"]) {
            Some(Engine::MariaDb)
        } else {
            None
        }
    }

    /// Reads statements from standard input. Nothing secret is in it: values are read where they are.
    fn client(self) -> &'static str {
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
            Marker::File { volume, .. } => format!("file in volume {volume}"),
            Marker::Row { service, engine: Engine::Postgres, .. } => format!("row in PostgreSQL of {service}"),
            Marker::Row { service, engine: Engine::MariaDb, .. } => format!("row in MariaDB of {service}"),
        }
    }

    /// Whether a backup by these labels has to bring it back: a database that nothing is kept of does not come back.
    pub fn is_kept(&self, wanted: &Wanted) -> bool {
        match self {
            Marker::File { volume, .. } => wanted.volumes.contains_key(volume),
            Marker::Row { service, volumes, .. } => {
                volumes.iter().any(|volume| wanted.volumes.contains_key(volume))
                    || wanted.hooks.iter().any(|hook| hook.service == *service)
            }
        }
    }

    /// Whether this is another version's name for the data that `old` marks.
    fn is_data_of(&self, old: &Marker, by_service: bool) -> bool {
        match (self, old) {
            // A part of a volume is where it was.
            (Marker::File { volume, .. }, Marker::File { volume: known, whole: true, .. }) => volume == known,
            (Marker::Row { service, engine, volumes }, Marker::Row { service: known, engine: kind, volumes: its }) => {
                engine == kind && if by_service { service == known } else { !volumes.is_disjoint(its) }
            }
            _ => false,
        }
    }
}

impl Planted {
    /// The same data where another version of the recipe has it: volumes are known by their names, whichever service uses them
    /// now and wherever it sees them; a database by its service, or else by its volume. What nobody has any more stays as it was,
    /// and is lost.
    pub fn followed(self, said: &Said) -> Planted {
        let now = chosen(said, None);
        let follow = |marker: Marker| {
            let same = now.iter().find(|other| other.is_data_of(&marker, true));
            same.or_else(|| now.iter().find(|other| other.is_data_of(&marker, false))).cloned().unwrap_or(marker)
        };
        let markers = self.markers.into_iter().map(|(marker, value)| (follow(marker), value)).collect();
        Planted { markers, ..self }
    }
}

/// Writes the markers, each a check row. One that cannot be written is left out, with the reason.
pub async fn plant(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    stack: &StackName,
    markers: &[Marker],
) -> Result<Planted, Trouble> {
    let mut planted = Planted { markers: Vec::new(), name: format!("cc-ci-marker-{}", job.run.id) };
    for marker in markers {
        let began = Instant::now();
        let value = value()?;
        let at = At { job, cancel, stack, name: &planted.name };
        let name = format!("marker: {}", marker.shown());
        match at.write(marker, &value).await? {
            Ok(()) => {
                job.check(checked(stage, &name, true, "written", "written", began.elapsed())).await?;
                planted.markers.push((marker.clone(), value));
            }
            Err(_) if matches!(marker, Marker::File { whole: false, .. }) => {}
            Err(why) => {
                let (state, expected) = (CheckState::Skipped, Some("written".to_owned()));
                job.check(Check { stage, name, state, expected, got: Some(why), took: Some(began.elapsed()) }).await?;
            }
        }
    }
    Ok(planted)
}

/// Looks for all of them, each a check row. `when` goes on from "the file in volume data was gone": `after the upgrade`.
pub async fn look(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    stack: &StackName,
    planted: &Planted,
    when: &str,
) -> Result<(), Trouble> {
    let mut lost = Vec::new();
    for (marker, value) in &planted.markers {
        let began = Instant::now();
        let at = At { job, cancel, stack, name: &planted.name };
        let looked = at.read(marker, value).await?;
        let got = match &looked {
            Look::There => "there, as it was written".to_owned(),
            Look::Lost(how) => how.clone(),
        };
        let well = looked == Look::There;
        let name = format!("{} {when}", marker.shown());
        job.check(checked(stage, &name, well, "as it was written", &got, began.elapsed())).await?;
        if !well {
            lost.push(format!("the marker ({}) was {got} {when}", marker.shown()));
        }
    }
    match lost.len() {
        0 => Ok(()),
        1 => Err(Trouble::Recipe(lost.remove(0))),
        more => Err(Trouble::Recipe(format!("{} (and {} more)", lost[0], more - 1))),
    }
}

/// Changes files and deletes rows, and makes sure that this is so: otherwise nothing would be proved by their coming back.
pub async fn damage(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    stack: &StackName,
    planted: &Planted,
) -> Result<(), Trouble> {
    let began = Instant::now();
    for (marker, value) in &planted.markers {
        let at = At { job, cancel, stack, name: &planted.name };
        let done = match marker {
            Marker::File { .. } => at.write(marker, DAMAGED).await?,
            Marker::Row { service, engine, .. } => {
                let delete = format!("delete from cc_ci_marker where name = '{}';", planted.name);
                at.sql(service, *engine, &delete).await?.map(drop)
            }
        };
        let is_lost = matches!(at.read(marker, value).await?, Look::Lost(_));
        if done.is_err() || !is_lost {
            let why = done.err().unwrap_or_else(|| "it is as it was".to_owned());
            return Err(Trouble::Infra(format!("the marker ({}) could not be damaged: {why}", marker.shown())));
        }
    }
    let got = format!("{} damaged", planted.markers.len());
    job.check(checked(stage, "markers damaged", true, "all of them", &got, began.elapsed())).await
}

/// Takes away what was written, as far as it goes: the app's data goes with the app in any case.
pub async fn remove(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    stack: &StackName,
    planted: &Planted,
) -> Result<(), Trouble> {
    for (marker, _) in &planted.markers {
        let at = At { job, cancel, stack, name: &planted.name };
        let done = match marker {
            Marker::Row { service, engine, .. } => {
                at.sql(service, *engine, "drop table if exists cc_ci_marker;").await?.map(drop)
            }
            Marker::File { service, folder, .. } => at.remove_file(service, folder).await?,
        };
        if let Err(why) = done {
            job.say(stage, &format!("the marker ({}) stays: {why}", marker.shown()));
        }
    }
    Ok(())
}

fn value() -> Result<String, Trouble> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|error| Trouble::Infra(format!("the system gives no random numbers: {error}")))?;
    Ok(format!("cc-ci-{}", hex::encode(bytes)))
}

/// Where the markers of one run are.
struct At<'a> {
    job: &'a Job,
    cancel: &'a CancellationToken,
    stack: &'a StackName,
    name: &'a str,
}

impl At<'_> {
    async fn container(&self, service: &str) -> Result<Result<String, String>, Trouble> {
        let found = self.job.swarm.container_of(self.stack, service).await?;
        Ok(found.ok_or_else(|| format!("no container of {service} runs")))
    }

    /// Not hidden: whoever empties a folder by `*` spares what begins with a dot.
    fn file_name(&self) -> &str {
        self.name
    }

    /// The inner error says why it cannot be written there.
    async fn write(&self, marker: &Marker, value: &str) -> Result<Result<(), String>, Trouble> {
        match marker {
            Marker::File { service, folder, .. } => {
                let container = match self.container(service).await? {
                    Ok(container) => container,
                    Err(why) => return Ok(Err(why)),
                };
                let written = self.job.swarm.put_file(&container, folder, self.file_name(), value.as_bytes()).await;
                match written {
                    Ok(()) => Ok(Ok(())),
                    Err(fault) if is_an_answer(&fault) => Ok(Err(format!("{folder} is no folder that takes a file"))),
                    Err(fault) => Err(fault.into()),
                }
            }
            Marker::Row { service, engine, .. } => {
                let name = self.name;
                let insert = format!(
                    "create table if not exists cc_ci_marker (name varchar(64) primary key, value varchar(64));\n\
                     delete from cc_ci_marker where name = '{name}';\n\
                     insert into cc_ci_marker (name, value) values ('{name}', '{value}');\n"
                );
                Ok(self.sql(service, *engine, &insert).await?.map(drop))
            }
        }
    }

    async fn read(&self, marker: &Marker, value: &str) -> Result<Look, Trouble> {
        let found = match marker {
            Marker::File { service, folder, .. } => {
                let container = match self.container(service).await? {
                    Ok(container) => container,
                    Err(why) => return Ok(Look::Lost(format!("out of reach ({why})"))),
                };
                let path = format!("{}/{}", folder.trim_end_matches('/'), self.file_name());
                let read = self.job.swarm.file(&container, &path, MOST).await?;
                read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            }
            Marker::Row { service, engine, .. } => {
                let select = format!("select value from cc_ci_marker where name = '{}';", self.name);
                match self.sql(service, *engine, &select).await? {
                    Ok(said) => Some(said.trim().to_owned()).filter(|said| !said.is_empty()),
                    Err(why) if is_no_table(&why) => None,
                    Err(why) => return Ok(Look::Lost(format!("out of reach ({why})"))),
                }
            }
        };
        Ok(match found {
            None => Look::Lost("gone".to_owned()),
            Some(found) if found == value => Look::There,
            Some(_) => Look::Lost("not what was written".to_owned()),
        })
    }

    /// What the database answered, or why it did not: one that is starting is asked again.
    async fn sql(&self, service: &str, engine: Engine, statements: &str) -> Result<Result<String, String>, Trouble> {
        let deadline = Instant::now() + ANSWERS;
        loop {
            let said = match self.container(service).await? {
                Ok(container) => self.run(&container, engine.client(), Some(statements)).await?,
                Err(why) => Err(why),
            };
            match said {
                Err(why) if !is_no_table(&why) && is_starting(&why) && Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                said => return Ok(said),
            }
        }
    }

    async fn remove_file(&self, service: &str, folder: &str) -> Result<Result<(), String>, Trouble> {
        let container = match self.container(service).await? {
            Ok(container) => container,
            Err(why) => return Ok(Err(why)),
        };
        let path = format!("{}/{}", folder.trim_end_matches('/'), self.file_name());
        let exec = Exec { user: Some("0".to_owned()), ..Exec::new(["rm", "-f", path.as_str()]) };
        Ok(self.exec(&container, &exec).await?.map(drop))
    }

    async fn run(&self, container: &str, script: &str, stdin: Option<&str>) -> Result<Result<String, String>, Trouble> {
        let exec = Exec { stdin: stdin.map(|text| text.as_bytes().to_vec()), ..Exec::new(["sh", "-c", script]) };
        self.exec(container, &exec).await
    }

    async fn exec(&self, container: &str, exec: &Exec) -> Result<Result<String, String>, Trouble> {
        let done = match self.job.swarm.exec(container, exec, COMMAND, MOST, self.cancel).await {
            Ok(done) => done,
            // It stopped in between.
            Err(fault) if is_an_answer(&fault) => return Ok(Err(fault.to_string())),
            Err(fault) => return Err(fault.into()),
        };
        match done.ended {
            ExecEnded::Exit(0) => Ok(Ok(String::from_utf8_lossy(&done.stdout).into_owned())),
            ExecEnded::Exit(code) => {
                let said = [String::from_utf8_lossy(&done.stderr), String::from_utf8_lossy(&done.stdout)].concat();
                let said: Vec<&str> = said.split_whitespace().collect();
                let said: String = said.join(" ").chars().take(300).collect();
                Ok(Err(if said.is_empty() { format!("it ended with {code}") } else { said }))
            }
            ExecEnded::Limit { .. } => Ok(Err(format!("no answer within {} s", COMMAND.as_secs()))),
            ExecEnded::Cancelled { .. } => Err(Trouble::Ended),
        }
    }
}

/// Docker did what it could, and the container is not as it would have to be.
fn is_an_answer(fault: &SwarmFault) -> bool {
    fault.is_gone() || matches!(fault.why, crate::swarm::client::Why::Refused { status, .. } if status < 500)
}

fn is_no_table(why: &str) -> bool {
    why.contains("cc_ci_marker") && (why.contains("does not exist") || why.contains("doesn't exist"))
}

fn is_starting(why: &str) -> bool {
    [
        "no container of",
        "starting up",
        "shutting down",
        "onnection refused",
        "No such file",
        "an't connect",
        "is not running",
    ]
    .iter()
    .any(|part| why.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        choose(&said(compose))
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
        let whole = !folder.ends_with("dump");
        Marker::File { volume: volume.into(), service: service.into(), folder: folder.into(), whole }
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
        let wanted = |volume: &str| Wanted {
            volumes: [(volume.to_owned(), Part::Whole)].into_iter().collect(),
            ..Wanted::default()
        };
        assert!(row().is_kept(&wanted("db")) && !row().is_kept(&wanted("files")));
    }

    #[test]
    fn data_is_followed_to_where_a_newer_version_has_it() {
        let planted = |marker| Planted { markers: vec![(marker, "v".to_owned())], name: "m".to_owned() };
        let moved = SERVICES
            .replace("{LABELS}", "[a=b]")
            .replace("files:/data", "files:/srv")
            .replace("  db:\n    image", "  sql:\n    image");
        let after = |marker| planted(marker).followed(&said(&moved)).markers.remove(0).0;
        assert_eq!(after(file("files", "app", "/data")), file("files", "app", "/srv"));
        assert_eq!(after(file("db", "db", "/var/lib/postgresql/data")), file("db", "sql", "/var/lib/postgresql/data"));
        let Marker::Row { service, .. } = after(row()) else { panic!("a row stays a row") };
        assert_eq!(service, "sql");
        // One that nobody has any more is looked for where it was, and is lost.
        assert_eq!(after(file("gone", "app", "/gone")), file("gone", "app", "/gone"));
    }

    #[test]
    fn databases_are_known_by_their_image() {
        for (image, engine) in [
            ("postgres", Some(Engine::Postgres)),
            ("ghcr.io/baosystems/postgis:17-3.5", Some(Engine::Postgres)),
            ("mariadb:11.8", Some(Engine::MariaDb)),
            ("docker.io/library/mysql@sha256:aa", Some(Engine::MariaDb)),
            ("prometheuscommunity/postgres-exporter:v0.15", None),
            ("nginx", None),
        ] {
            assert_eq!(Engine::of_image(image), engine, "{image}");
        }
    }
}
