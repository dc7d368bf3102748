//! The driver against an abra that writes down how it was called: the arguments, the environment, and what comes of its answers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cc_ci::abra::driver::{Abra, Failed, Home, Listener, Unfit};
use cc_ci::compose::policy::{Passed, Verdict};
use cc_ci::model::{AppDomain, RecipeName};
use cc_ci::sandbox::{self, Stream};
use tokio_util::sync::CancellationToken;

const USUAL_HELP: &str = "Flags:
  -C, --chaos                 ignore uncommitted changes
  -s, --server string         server
  -D, --domain string         domain
  -c, --no-converge-checks    do not wait
      --no-domain-checks      no DNS
  -a, --all                   all of them
  -m, --machine               JSON
  -f, --force                 force";

/// An abra made of a few lines of shell. `answers` is the body of a `case \"$*\"`.
struct Fake {
    dir: tempfile::TempDir,
    home: Home,
}

#[derive(Default)]
struct Heard {
    commands: Vec<String>,
    output: Vec<u8>,
}

impl Listener for Heard {
    fn command(&mut self, line: &str) {
        self.commands.push(line.to_owned());
    }

    fn output(&mut self, _: Stream, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }
}

impl Fake {
    fn new(help: &str, answers: &str) -> Fake {
        sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(&dir.path().join("work/7"));
        home.make().unwrap();
        let script = format!(
            "#!/bin/sh\n{{ echo \"$*\"; env; echo; }} >> {calls}\ncase \"$*\" in\n*--help) cat <<'END'\n{help}\nEND\n;;\n--version) echo 'abra version 0.13.0-beta-06a57de' ;;\n{answers}\n*) : ;;\nesac\n",
            calls = dir.path().join("calls").display(),
        );
        let path = dir.path().join("abra");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Fake { dir, home }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("abra")
    }

    async fn found(&self) -> Result<Abra, Unfit> {
        let none = CancellationToken::new();
        Abra::find(Some(&self.path()), Path::new("/nowhere"), Path::new("/run/docker.sock"), &none).await
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("calls")).unwrap()
    }
}

fn recipe() -> RecipeName {
    "custom-html".parse().unwrap()
}

/// Nothing is asked for, so nothing is refused.
fn passed() -> Passed {
    Verdict::default().passed().unwrap()
}

fn domain() -> AppDomain {
    "cust-9ad31f.ci.test".parse().unwrap()
}

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn each_call_is_quiet_offline_and_in_a_home_of_its_own() {
    let secrets = r#"'-n -o app secret generate'*) echo '[{"name":"token","value":"not-for-the-log"}]' ;;"#;
    let fake = Fake::new(USUAL_HELP, secrets);
    let abra = fake.found().await.unwrap();
    assert_eq!(abra.version, "abra version 0.13.0-beta-06a57de");
    let none = CancellationToken::new();
    let session = abra.session(&fake.home, LIMIT, &none);
    let mut heard = Heard::default();

    session.app_new(&recipe(), &domain(), &mut heard).await.unwrap();
    let generated = session.secret_generate(&domain(), &mut heard).await.unwrap();
    session.deploy(&domain(), &passed(), &mut heard).await.unwrap();
    session.undeploy(&domain(), &mut heard).await.unwrap();

    assert_eq!((generated[0].0.as_str(), generated[0].1.expose()), ("token", "not-for-the-log"));
    let calls = fake.calls();
    for line in [
        "-n -o app new custom-html -C --server default --domain cust-9ad31f.ci.test",
        "-n -o app secret generate cust-9ad31f.ci.test --all -m -C",
        "-n -o app deploy cust-9ad31f.ci.test -C -c --no-domain-checks",
        "-n -o app undeploy cust-9ad31f.ci.test -C",
    ] {
        assert!(calls.lines().any(|call| call == line), "no `{line}` in {calls}");
    }
    let abra_dir = format!("ABRA_DIR={}", fake.home.abra_dir.display());
    assert_eq!(calls.lines().filter(|line| *line == abra_dir).count(), 4, "{calls}");
    assert!(calls.contains("NO_COLOR=1") && calls.contains("LC_ALL=C.UTF-8"), "{calls}");
    assert!(calls.contains("DOCKER_HOST=unix:///run/docker.sock"), "{calls}");
    assert!(!calls.contains("CARGO"), "our own environment leaked: {calls}");
    assert!(!calls.contains("not-for-the-log"), "a secret stood in the arguments or the environment");
    assert!(!String::from_utf8_lossy(&heard.output).contains("not-for-the-log"), "a secret was heard");
}

#[tokio::test]
async fn an_abra_without_machine_output_is_read_by_its_table() {
    let help = USUAL_HELP.replace("  -m, --machine               JSON\n", "");
    let table =
        "'-n -o app secret generate'*) printf '| NAME | VALUE |\\n|---|---|\\n| token | a-generated-value |\\n' ;;";
    let fake = Fake::new(&help, table);
    let abra = fake.found().await.unwrap();
    let none = CancellationToken::new();
    let session = abra.session(&fake.home, LIMIT, &none);
    let generated = session.secret_generate(&domain(), &mut Heard::default()).await.unwrap();
    assert_eq!((generated.len(), generated[0].1.expose()), (1, "a-generated-value"));
    assert!(!fake.calls().contains("--all -m"));
}

#[tokio::test]
async fn an_abra_that_lacks_what_is_needed_is_refused_at_start() {
    let fake = Fake::new(&USUAL_HELP.replace("--no-converge-checks", "--nothing").replace("-c,", "-x,"), "");
    let error = fake.found().await.unwrap_err().to_string();
    assert!(error.contains("no `--no-converge-checks` for `abra app deploy`"), "{error}");
    let gone = Fake::new(USUAL_HELP, "");
    std::fs::remove_file(gone.path()).unwrap();
    assert!(matches!(gone.found().await.unwrap_err(), Unfit::Spawn { .. }));
    let mute = Fake::new(USUAL_HELP, "");
    std::fs::write(mute.path(), "#!/bin/sh\necho FATA no such thing\nexit 1\n").unwrap();
    let error = mute.found().await.unwrap_err().to_string();
    assert!(error.contains("--version") && error.contains("no such thing"), "{error}");
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart() {
    let answers = r#"'-n -o app deploy'*) echo 'FATA secret not inserted (#generate=false): smtp_password'; exit 1 ;;
'-n -o app undeploy'*) echo 'FATA cust-9ad31f.ci.test is not deployed?'; exit 1 ;;
'-n -o app new'*) echo 'INFO reading'; echo 'FATA the moon is in the wrong house'; exit 1 ;;
'-n -o app secret generate'*) echo '[{"name":"token","value":"not-for-the-log"}]'; echo 'FATA not-for-the-log is odd'; exit 1 ;;
'-n -o app volume rm'*) exec sleep 60 ;;"#;
    let fake = Fake::new(USUAL_HELP, answers);
    let abra = fake.found().await.unwrap();
    let none = CancellationToken::new();
    let session = abra.session(&fake.home, LIMIT, &none);
    let mut heard = Heard::default();

    let error = session.deploy(&domain(), &passed(), &mut heard).await.unwrap_err();
    assert!(matches!(&error, Failed::Recipe { words, .. } if words.contains("smtp_password")), "{error:?}");
    assert!(matches!(session.undeploy(&domain(), &mut heard).await, Err(Failed::NotDeployed)));
    match session.app_new(&recipe(), &domain(), &mut heard).await.unwrap_err() {
        Failed::Unknown { line, last, .. } => {
            assert_eq!(line, "the moon is in the wrong house");
            assert_eq!(last.len(), 2);
        }
        other => panic!("{other:?}"),
    }
    let error = session.secret_generate(&domain(), &mut heard).await.unwrap_err();
    assert!(!format!("{error:?}").contains("not-for-the-log"), "{error:?}");

    let short = abra.session(&fake.home, Duration::from_millis(300), &none);
    assert!(matches!(short.volume_rm(&domain(), &mut heard).await, Err(Failed::Limit { .. })));
    none.cancel();
    assert!(matches!(session.volume_rm(&domain(), &mut heard).await, Err(Failed::Cancelled { .. })));
}
