//! Backups outside of any run: abra's commands against the backup service, and what it kept, opened by programs that know
//! nothing of cc-ci: restic on its repository, psql in a PostgreSQL of its own.

#![expect(clippy::disallowed_methods, reason = "docker, restic and abra are started as people do")]

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cc_ci::abra::driver::{Abra, Failed, Home, Listener};
use cc_ci::backup::service::BackupService;
use cc_ci::compose::policy::Passed;
use cc_ci::model::AppDomain;
use cc_ci::sandbox::{self, Stream};
use cc_ci::swarm::Swarm;
use cc_ci::swarm::converge::{self, Before};
use cc_ci::swarm::sweep::{self, Patience};
use support::{CC_CI, Fixture, shared_rig};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(120);
const ROW: &str = "kept-by-a-dump";

/// The PostgreSQL fixture, deployed by abra under a domain of its own, and taken away at the end.
struct App {
    dir: tempfile::TempDir,
    home: Home,
    abra: Abra,
    swarm: Swarm,
    domain: AppDomain,
}

#[derive(Default)]
struct Heard(String);

impl Listener for Heard {
    fn command(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn output(&mut self, _: Stream, bytes: &[u8]) {
        self.0.push_str(&String::from_utf8_lossy(bytes));
    }
}

fn run(program: &str, words: &[&str], stdin: Option<&Path>) -> Output {
    let stdin = stdin.map_or(Stdio::null(), |path| std::fs::File::open(path).unwrap().into());
    Command::new(program).args(words).stdin(stdin).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

#[track_caller]
fn good(program: &str, words: &[&str]) -> String {
    let output = run(program, words, None);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said.trim().to_owned()
}

impl App {
    /// `None`, with the reason printed, where it cannot be.
    async fn deployed(test: &str, recipe: Fixture) -> Option<App> {
        if let Some(reason) = support::no_docker() {
            println!("SKIPPED {test}: {reason}");
            return None;
        }
        sandbox::warden_is_at(CC_CI);
        drop(rustls::crypto::ring::default_provider().install_default());
        shared_rig().await;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path());
        home.make().unwrap();
        let name = recipe.repository().to_owned();
        let laid = recipe.lay(&dir.path().join("laid"));
        let clone = home.recipe_dir(&name.parse().unwrap());
        good(CC_CI, &["dev", "recipe", laid.to_str().unwrap(), clone.to_str().unwrap()]);

        let none = CancellationToken::new();
        let socket = Path::new("/var/run/docker.sock");
        let script = dir.path().join("abra-program");
        std::fs::write(&script, format!("#!/bin/sh\nexec '{CC_CI}' abra \"$@\"\n")).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let abra = Abra::find(Some(&script), Path::new("/nowhere"), socket, &none).await.unwrap();
        let swarm = Swarm::connect(socket).await.unwrap();
        let domain: AppDomain = format!("{test}-{}.bk.test", std::process::id()).parse().unwrap();
        let app = App { dir, home, abra, swarm, domain };

        let session = app.abra.session(&app.home, LIMIT, &none);
        let mut heard = Heard::default();
        session.app_new(&name.parse().unwrap(), &app.domain, &mut heard).await.unwrap();
        session.secret_generate(&app.domain, &mut heard).await.unwrap();
        let before = Before::look(&app.swarm, &app.domain.stack()).await.unwrap();
        session.deploy(&app.domain, &Passed::for_our_own(), &mut heard).await.unwrap();
        converge::wait(&app.swarm, &before, LIMIT, &none, &mut |_| {}).await.unwrap();
        Some(app)
    }

    async fn database(&self) -> String {
        self.swarm.container_of(&self.domain.stack(), "db").await.unwrap().expect("the database runs")
    }

    async fn sql(&self, statement: &str) -> String {
        good("docker", &["exec", &self.database().await, "psql", "-qAt", "-U", "notes", "-d", "notes", "-c", statement])
    }

    async fn create(&self) -> Result<(), Failed> {
        let none = CancellationToken::new();
        let session = self.abra.session(&self.home, LIMIT, &none);
        session.backup_create(&self.domain, &mut Heard::default()).await
    }

    async fn removed(self) {
        let none = CancellationToken::new();
        let bot = BackupService::find(&self.swarm).await.unwrap();
        let own = bot.snapshots(&self.domain.stack(), &none).await.unwrap();
        bot.forget(&own, &none).await.unwrap();
        assert!(bot.snapshots(&self.domain.stack(), &none).await.unwrap().is_empty());
        sweep::teardown(&self.swarm, &self.domain.stack(), Patience::default(), &mut |_| {}).await.unwrap();
    }
}

/// restic as anybody may have it, on the service's own repository.
struct Restic {
    repository: PathBuf,
    password: PathBuf,
}

impl Restic {
    /// Where the repository lies on this machine, and a copy of its password.
    fn of_the_service(dir: &Path) -> Restic {
        let service = "label=coop-cloud.backupbot.enabled=true";
        let name = good("docker", &["service", "ls", "--filter", service, "--format", "{{.Name}}"]);
        let label = format!("label=com.docker.swarm.service.name={name}");
        let container = good("docker", &["ps", "-q", "--filter", &label]);
        let mount = "{{range .Mounts}}{{if eq .Destination \"/backups\"}}{{.Source}}{{end}}{{end}}";
        let volume = good("docker", &["inspect", "--format", mount, &container]);
        let password = dir.join("restic-password");
        std::fs::write(&password, good("docker", &["exec", &container, "cat", "/run/secrets/restic_password"]))
            .unwrap();
        Restic { repository: Path::new(&volume).join("restic"), password }
    }

    fn run(&self, words: &[&str]) -> String {
        let (repository, password) = (self.repository.to_str().unwrap(), self.password.to_str().unwrap());
        good("restic", &[&["-q", "--no-cache", "-r", repository, "-p", password][..], words].concat())
    }
}

#[tokio::test]
async fn a_snapshot_is_read_by_plain_restic_and_its_dump_by_plain_psql() {
    if !run("restic", &["version"], None).status.success() {
        return println!("SKIPPED a_snapshot_is_read_by_plain_restic: there is no restic on this machine");
    }
    let Some(app) = App::deployed("plain", Fixture::named("postgres")).await else { return };
    app.sql(&format!("create table t (a text); insert into t values ('{ROW}')")).await;
    app.create().await.unwrap();

    let stack = app.domain.stack();
    let restic = Restic::of_the_service(app.dir.path());
    let listed: serde_json::Value = serde_json::from_str(&restic.run(&["snapshots", "--json"])).unwrap();
    let own = |snapshot: &&serde_json::Value| snapshot["tags"][0] == format!("{stack}:1.1.0+17");
    let snapshot = listed.as_array().unwrap().iter().find(own).unwrap_or_else(|| panic!("{listed:#}"));
    let id = snapshot["id"].as_str().unwrap();
    // The published layout, and the dump alone of the database's volume.
    let files = restic.run(&["ls", id]);
    let dump = format!("/var/lib/docker/volumes/{stack}_db/_data/backup.sql");
    assert!(files.lines().any(|line| line == dump), "{files}");
    assert!(files.contains(&format!("/var/lib/docker/volumes/{stack}_pages/_data/index.html")), "{files}");
    assert!(!files.contains("PG_VERSION"), "{files}");

    let file = app.dir.path().join("dump.sql");
    std::fs::write(&file, restic.run(&["dump", id, &dump])).unwrap();
    let name = format!("{stack}-fresh");
    good(
        "docker",
        &[
            "run",
            "-d",
            "--rm",
            "--name",
            &name,
            "-e",
            "POSTGRES_PASSWORD=fresh-and-unrelated",
            "-e",
            "POSTGRES_USER=notes",
            "postgres:17-alpine",
        ],
    );
    support::eventually("a fresh PostgreSQL", || async {
        let ready = run("docker", &["exec", &name, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "notes"], None);
        if ready.status.success() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let psql = ["exec", "-i", &name, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", "notes", "-d", "notes"];
    let loaded = run("docker", &psql, Some(&file));
    let rows = run("docker", &[&psql[..], &["-At", "-c", "select a from t"]].concat(), None);
    run("docker", &["rm", "-f", &name], None);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    assert_eq!(String::from_utf8_lossy(&rows.stdout).trim(), ROW);
    app.removed().await;
}

#[tokio::test]
async fn abra_makes_lists_downloads_and_restores_a_backup() {
    let Some(app) = App::deployed("whole-way", Fixture::named("postgres")).await else { return };
    app.sql(&format!("create table t (a text); insert into t values ('{ROW}')")).await;
    app.create().await.unwrap();
    let none = CancellationToken::new();
    let bot = BackupService::find(&app.swarm).await.unwrap();
    let first = bot.snapshots(&app.domain.stack(), &none).await.unwrap();
    assert_eq!(first.len(), 1);
    app.sql("update t set a = 'later'").await;
    app.create().await.unwrap();
    assert_eq!(bot.snapshots(&app.domain.stack(), &none).await.unwrap().len(), 2);

    // By hand, on a terminal as people are on one.
    let abra = |words: &str| {
        let abra = app.dir.path().join("abra-program");
        let line = format!("'{}' -n app {words}", abra.display());
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(app.dir.path())
            .env("ABRA_DIR", &app.home.abra_dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "abra {words}: {said}");
        said
    };
    let domain = &app.domain;
    assert!(abra(&format!("backup snapshots {domain}")).contains(&first[0].id));
    let dump = format!("/var/lib/docker/volumes/{}_db/_data/backup.sql", domain.stack());
    assert!(abra(&format!("backup list {domain} -a -t -s {}", first[0].id)).contains(&dump));
    abra(&format!("backup download {domain} -s {} -i {dump}", first[0].id));
    let archive = app.dir.path().join("backup.tar.gz");
    let unpacked = good("tar", &["-xzOf", archive.to_str().unwrap(), &format!(".{dump}")]);
    assert!(unpacked.contains(ROW) && !unpacked.contains("later"), "{unpacked}");

    // The one that was asked for, not the latest; and without --hooks nobody reads the dump.
    abra(&format!("restore {domain} -s {}", first[0].id));
    assert_eq!(app.sql("select a from t").await, "later");
    let session = app.abra.session(&app.home, LIMIT, &none);
    let mut heard = Heard::default();
    session.restore(domain, &first[0].id, &mut heard).await.unwrap();
    assert_eq!(app.sql("select a from t").await, ROW);
    assert!(heard.0.contains("restore finished"), "{}", heard.0);
    let error = session.restore(domain, "00000000", &mut heard).await.unwrap_err();
    assert!(error.to_string().contains("no snapshot of"), "{error}");
    app.removed().await;
}

#[tokio::test]
async fn a_hook_that_fails_or_leads_out_of_its_volume_fails_the_backup() {
    let recipe = Fixture::named("postgres").replace("pg_backup.sh", "pg_dump --clean", "false && pg_dump --clean");
    let Some(app) = App::deployed("hook", recipe).await else { return };
    let error = app.create().await.unwrap_err();
    assert!(
        matches!(&error, Failed::Recipe { words, .. } if words.contains("a backup or restore hook failed")),
        "{error:?}"
    );

    // The label names a file that is a link to the service's own secret.
    let service = format!("{}_db", app.domain.stack());
    good("docker", &["service", "update", "-d", "--label-rm", "backupbot.backup.pre-hook", &service]);
    let data = "/var/lib/postgresql/data/backup.sql";
    good(
        "docker",
        &["exec", &app.database().await, "sh", "-c", &format!("ln -sf /run/secrets/restic_password {data}")],
    );
    let error = app.create().await.unwrap_err();
    assert!(error.to_string().contains("leads out of its volume"), "{error:?}");
    app.removed().await;
}
