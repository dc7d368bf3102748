//! Convergence, teardown, commands in containers: on the real Swarm of this machine, with stacks of their own.

#![expect(clippy::disallowed_methods, reason = "the docker program is the witness")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cc_ci::clock::{Clock, Time};
use cc_ci::model::StackName;
use cc_ci::swarm::converge::{self, Before, Converged, Failure, NotConverged, What};
use cc_ci::swarm::exec::{Exec, ExecEnded};
use cc_ci::swarm::leftovers::{self, Kind};
use cc_ci::swarm::login::Logins;
use cc_ci::swarm::sweep::{self, NotGone, Patience};
use cc_ci::swarm::{Swarm, pull};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

const SOCKET: &str = "/var/run/docker.sock";

/// A stack of this test's own, gone when it is dropped.
struct Stack {
    swarm: Swarm,
    name: StackName,
    said: Vec<String>,
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {}: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Or says why not.
async fn stack(test: &str) -> Option<Stack> {
    let swarm = match Swarm::connect(Path::new(SOCKET)).await {
        Ok(swarm) => swarm,
        Err(fault) => {
            println!("SKIPPED {test}: {fault}");
            return None;
        }
    };
    let name = format!("cci-e1-{test}-{}", std::process::id()).replace('_', "-");
    Some(Stack { swarm, name: name.parse().unwrap(), said: Vec::new() })
}

impl Stack {
    async fn before(&self) -> Before {
        Before::look(&self.swarm, &self.name).await.unwrap()
    }

    fn deploy(&self, services: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("compose.yml");
        std::fs::write(&file, format!("version: \"3.8\"\n{services}")).unwrap();
        docker(&["stack", "deploy", "--resolve-image", "never", "-c", file.to_str().unwrap(), self.name.as_str()]);
    }

    async fn wait(&mut self, before: &Before, limit: u64) -> Result<Converged, NotConverged> {
        let cancel = CancellationToken::new();
        let said = &mut self.said;
        let mut say = |line: String| said.push(line);
        converge::wait(&self.swarm, before, Duration::from_secs(limit), &cancel, &mut say).await
    }

    async fn up(&mut self, services: &str) -> Converged {
        let before = self.before().await;
        self.deploy(services);
        self.wait(&before, 60).await.unwrap()
    }

    async fn fails(&mut self, services: &str, limit: u64) -> Failure {
        let before = self.before().await;
        self.deploy(services);
        match self.wait(&before, limit).await {
            Err(NotConverged::Failed(failure)) => *failure,
            other => panic!("{other:?}, after {:?}", self.said),
        }
    }

    async fn container(&self, service: &str) -> String {
        let tasks = self.swarm.tasks(&self.name).await.unwrap();
        let services = self.swarm.services(&self.name).await.unwrap();
        let id = &services.iter().find(|found| found.short() == service).unwrap().id;
        tasks.iter().rev().find(|task| task.service == *id).unwrap().container.clone().unwrap()
    }

    async fn ends(&self, patience: Patience) -> Result<(), NotGone> {
        sweep::teardown(&self.swarm, &self.name, patience, &mut |_| {}).await.map(drop)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["stack", "rm", self.name.as_str()]).stderr(Stdio::null()).output();
        if std::thread::panicking() {
            println!("it said: {:#?}", self.said);
        }
    }
}

fn patience(limit: u64, grace: u64) -> Patience {
    Patience { limit: Duration::from_secs(limit), grace: Duration::from_secs(grace) }
}

fn app(mode: &str, rest: &str) -> String {
    format!("services:\n  app:\n    image: cc-ci-test/app:1\n    environment: {{MODE: '{mode}'}}\n{rest}")
}

const CHECKED: &str = r#"    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/healthz"]
      interval: 1s
      timeout: 1s
      retries: 2
"#;

#[tokio::test]
async fn a_fresh_service_without_a_check_is_watched_for_its_monitor_period() {
    let Some(mut stack) = stack("fresh").await else { return };
    let converged = stack.up(&app("ok", "")).await;
    assert!(converged.waited >= Duration::from_secs(4) && converged.waited < Duration::from_secs(6), "{converged:?}");

    // An update waits for Swarm's own word.
    let second = app("ok,slow:0", "    deploy: {update_config: {monitor: 1s}}\n");
    let converged = stack.up(&second).await;
    assert!(converged.waited < Duration::from_secs(3), "{converged:?}");
    assert_eq!(stack.said.last().unwrap(), "app: up");

    // The same again: nothing to wait for.
    let converged = stack.up(&second).await;
    assert!(converged.took < Duration::from_secs(1), "{converged:?}");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_service_with_a_check_is_up_when_it_is_healthy_and_not_later() {
    let Some(mut stack) = stack("checked").await else { return };
    let before = stack.before().await;
    stack.deploy(&app("ok", CHECKED));
    let converged = stack.wait(&before, 60).await.unwrap();
    let noticed = Clock::system().now();
    // Docker wrote down when the first check that passed was over.
    let container = stack.container("app").await;
    let checks = docker(&["inspect", "-f", "{{range .State.Health.Log}}{{.ExitCode}} {{.End}}\n{{end}}", &container]);
    let green = checks.lines().find_map(|line| line.strip_prefix("0 ")).unwrap();
    let green = Time::parse(&green.replacen(' ', "T", 1).replace(" +0000 UTC", "Z")).unwrap();
    let late = noticed.since(green).as_millis();
    println!("noticed {late} ms after the health check turned green");
    assert!(late <= 150, "noticed after {late} ms");
    assert!(converged.waited < Duration::from_millis(500), "{converged:?}");
    assert_eq!(stack.said.last().unwrap(), "app: healthy");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_crash_loop_fails_within_a_minute_with_its_last_lines() {
    let Some(mut stack) = stack("crash").await else { return };
    let start = Instant::now();
    let services = "services:\n  app:\n    image: nginx:1.29.0\n    entrypoint: [sh, -c, 'echo the reason; exit 3']\n";
    let failure = stack.fails(services, 120).await;
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(matches!(failure.what, What::CrashLoop { exit: Some(3), deaths: 3, given_up: false, .. }), "{failure:?}");
    assert_eq!(failure.last_lines, ["the reason"]);
    assert_eq!(failure.to_string(), "app ended with exit code 3, 3 times");
    assert!(!failure.is_infra());
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn two_that_crash_still_fail_within_a_minute() {
    let Some(mut stack) = stack("crashes").await else { return };
    let start = Instant::now();
    let one = "    image: nginx:1.29.0\n    entrypoint: [sh, -c, 'echo for want of the other; exit 1']\n";
    let failure = stack.fails(&format!("services:\n  app:\n{one}  db:\n{one}"), 120).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(matches!(failure.what, What::CrashLoop { .. }), "{failure:?}");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_check_that_never_turns_green_is_told_with_what_it_said() {
    let Some(mut stack) = stack("unhealthy").await else { return };
    let check = CHECKED.replace(
        r#"[CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/healthz"]"#,
        r#"[CMD-SHELL, "echo no database; exit 1"]"#,
    );
    let failure =
        stack.fails(&app("ok", &format!("{check}    deploy: {{restart_policy: {{delay: 1s}}}}\n")), 120).await;
    let What::Unhealthy { probe: Some(probe), deaths: 3 } = &failure.what else { panic!("{failure:?}") };
    assert_eq!(probe, "no database");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_service_may_die_while_it_waits_for_another() {
    let Some(mut stack) = stack("waits").await else { return };
    // Ends until the other's health check is green, which takes longer than three deaths.
    let services = r#"services:
  app:
    image: cc-ci-test/app:1
    entrypoint: [sh, -c, "wget -q -O /dev/null http://tasks.db:8080/healthz || exit 1; exec /app"]
    deploy: {restart_policy: {delay: 1s}, update_config: {monitor: 1s}}
  db:
    image: cc-ci-test/app:1
    environment: {MODE: 'slow:9'}
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/healthz"]
      interval: 1s
      retries: 30
"#;
    let converged = stack.up(services).await;
    assert!(converged.took > Duration::from_secs(8), "{converged:?}");
    assert!(
        stack.said.iter().any(|line| line.starts_with("app: 0 of 1") && line.contains("times")),
        "{:?}",
        stack.said
    );
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn one_shots_and_services_that_are_switched_off_are_no_failure() {
    let Some(mut stack) = stack("oneshot").await else { return };
    let services = "services:
  app:
    image: cc-ci-test/app:1
    deploy: {update_config: {monitor: 1s}}
  migrate:
    image: cc-ci-test/app:1
    entrypoint: [sh, -c, 'echo done']
    deploy: {restart_policy: {condition: none}}
  import:
    image: cc-ci-test/app:1
    entrypoint: [sh, -c, 'echo done']
    deploy: {restart_policy: {condition: on-failure}}
  worker:
    image: cc-ci-test/app:1
    deploy: {replicas: 0}
  agent:
    image: cc-ci-test/app:1
    deploy: {mode: global, update_config: {monitor: 1s}}
";
    let converged = stack.up(services).await;
    assert!(converged.took < Duration::from_secs(10), "{converged:?}");
    for line in ["migrate: done", "import: done", "worker: switched off (0 replicas)", "agent: up"] {
        assert!(stack.said.iter().any(|said| said == line), "{line}: {:?}", stack.said);
    }
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_one_shot_that_fails_is_told_at_once() {
    let Some(mut stack) = stack("oneshotfails").await else { return };
    let services = "services:
  migrate:
    image: cc-ci-test/app:1
    entrypoint: [sh, -c, 'echo no table; exit 4']
    deploy: {restart_policy: {condition: none}}
";
    let failure = stack.fails(services, 60).await;
    let expected = What::CrashLoop { deaths: 1, exit: Some(4), out_of_memory: false, given_up: true };
    assert_eq!(failure.what, expected);
    assert_eq!(failure.last_lines, ["no table"]);
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_rollback_fails_though_the_page_answers() {
    let Some(mut stack) = stack("rollback").await else { return };
    let update = "    deploy: {update_config: {order: start-first, failure_action: rollback, monitor: 2s}}\n";
    stack.up(&app("ok", update)).await;
    let failure = stack.fails(&app("crash", update), 60).await;
    assert!(matches!(failure.what, What::RolledBack { .. }), "{failure:?}");
    assert!(!failure.last_lines.is_empty(), "{failure:?}");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_paused_update_fails_as_such() {
    let Some(mut stack) = stack("paused").await else { return };
    stack.up(&app("ok", "    deploy: {update_config: {monitor: 1s}}\n")).await;
    let failure = stack.fails(&app("crash", "    deploy: {update_config: {monitor: 2s}}\n"), 60).await;
    assert!(matches!(failure.what, What::Paused { .. }), "{failure:?}");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_gone_is_the_machines_fault() {
    let Some(mut stack) = stack("noimage").await else { return };
    let failure = stack.fails("services:\n  app:\n    image: cc-ci-test/nothing:0\n", 60).await;
    assert!(matches!(&failure.what, What::Rejected { infra: true, .. }), "{failure:?}");
    assert!(failure.is_infra());
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_deadline_says_what_was_missing() {
    let Some(mut stack) = stack("deadline").await else { return };
    let check = CHECKED.replace("retries: 2", "retries: 200");
    let failure = stack.fails(&app("never-healthy", &check), 4).await;
    assert!(matches!(failure.what, What::Deadline { infra: false, .. }), "{failure:?}");
    assert_eq!(failure.to_string(), "not up after 4 s: app: 0 of 1, starting, not healthy yet");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_teardown_takes_everything_and_nothing_of_others() {
    let Some(mut mine) = stack("sweep").await else { return };
    let longer = format!("{}_x", mine.name);
    let mut other = Stack { swarm: mine.swarm.clone(), name: longer.parse().unwrap(), said: Vec::new() };
    let services = "    volumes: [data:/data]
    networks: [inner]
    configs: [conf]
    deploy: {update_config: {monitor: 1s}}
networks: {inner: {}}
volumes: {data: {}}
configs: {conf: {file: /etc/hostname}}
";
    mine.up(&app("ok", services)).await;
    other.up(&app("ok", services)).await;
    // As abra inserts them: no label.
    let (own, theirs) = (format!("{}_pw_v1", mine.name), format!("{}_pw_v1", other.name));
    for name in [&own, &theirs] {
        let made = Command::new("sh").args(["-c", &format!("echo secret | docker secret create {name} -")]).output();
        assert!(made.unwrap().status.success());
    }
    // Somebody's container in our name, which no service knows, with a volume that has no name.
    let label = format!("com.docker.stack.namespace={}", mine.name);
    let stray = docker(&["run", "-d", "--restart", "always", "--label", &label, "cc-ci-test/app:1"]);
    let inspect = ["inspect", "-f", "{{range .Mounts}}{{.Name}}{{end}}", &stray];
    let nameless = docker(&inspect);

    let kinds = |left: Vec<leftovers::Leftover>| left.into_iter().map(|left| left.kind).collect::<BTreeSet<_>>();
    let all = [Kind::Service, Kind::Task, Kind::Container, Kind::Network, Kind::Volume, Kind::Secret, Kind::Config];
    assert_eq!(kinds(leftovers::of(&mine.swarm, &mine.name).await.unwrap()), BTreeSet::from(all));
    assert!(matches!(sweep::verify(&mine.swarm, &mine.name).await, Err(NotGone::Leftovers(_))));

    let start = Instant::now();
    let mut said = Vec::new();
    let gone = sweep::teardown(&mine.swarm, &mine.name, patience(60, 10), &mut |line| said.push(line)).await.unwrap();
    println!("torn down in {:?}", start.elapsed());
    assert_eq!(gone.stack(), &mine.name);
    assert!(start.elapsed() < Duration::from_secs(15), "{said:?}");
    assert!(!docker(&["volume", "ls", "-q"]).contains(&nameless));
    let alive = mine.swarm.tasks(&mine.name).await.unwrap().into_iter().filter(|task| !task.state.is_over());
    assert_eq!(alive.count(), 0, "nothing of it may start after the proof");
    // Again, and of nothing: no error.
    mine.ends(patience(10, 1)).await.unwrap();

    let left = leftovers::of(&mine.swarm, &other.name).await.unwrap();
    assert!(left.iter().any(|left| left.name == theirs), "{left:?}");
    assert_eq!(kinds(left), BTreeSet::from(all));
    other.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_container_that_ignores_its_signal_does_not_stall_a_teardown() {
    let Some(mut stack) = stack("ignores").await else { return };
    let services = "    stop_grace_period: 5m\n    volumes: [data:/data]\n    deploy: {update_config: {monitor: 1s}}\nvolumes: {data: {}}\n";
    stack.up(&app("ignore-term", services)).await;
    let start = Instant::now();
    stack.ends(patience(60, 2)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_cannot_go_is_named_with_the_reason() {
    let Some(mut stack) = stack("held").await else { return };
    stack
        .up(&app("ok", "    volumes: [data:/data]\n    deploy: {update_config: {monitor: 1s}}\nvolumes: {data: {}}\n"))
        .await;
    let volume = format!("{}_data:/data", stack.name);
    let holder = docker(&["run", "-d", "-v", &volume, "cc-ci-test/app:1"]);
    let Err(NotGone::Leftovers(left)) = stack.ends(patience(12, 1)).await else { panic!("it is held") };
    docker(&["rm", "-f", &holder]);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].kind, Kind::Volume);
    assert!(left[0].why.as_ref().unwrap().contains("in use"), "{left:?}");
    stack.ends(patience(30, 1)).await.unwrap();
}

#[tokio::test]
async fn a_command_in_a_container_has_its_streams_apart_and_its_time() {
    let Some(mut stack) = stack("exec").await else { return };
    stack.up(&app("ok", "    deploy: {update_config: {monitor: 1s}}\n")).await;
    let container = stack.container("app").await;
    let cancel = CancellationToken::new();
    let run = |command: Vec<&'static str>, limit: u64| {
        let exec = Exec::new(command);
        let (swarm, container, cancel) = (stack.swarm.clone(), container.clone(), cancel.clone());
        async move { swarm.exec(&container, &exec, Duration::from_secs(limit), 1000, &cancel).await }
    };
    let done = run(vec!["sh", "-c", "echo out; echo err >&2; exit 7"], 10).await.unwrap();
    assert_eq!((done.ended, &*done.stdout, &*done.stderr), (ExecEnded::Exit(7), &b"out\n"[..], &b"err\n"[..]));

    let done = run(vec!["/nothing"], 10).await.unwrap();
    assert!(matches!(done.ended, ExecEnded::Exit(126 | 127)), "{done:?}");

    let done = run(vec!["sh", "-c", "yes | head -c 100000"], 10).await.unwrap();
    assert!(done.is_ok() && done.cut && done.stdout.len() == 1000);

    let exec = Exec::new(["cat"]).stdin("kept\n");
    let done = stack.swarm.exec(&container, &exec, Duration::from_secs(10), 1000, &cancel).await.unwrap();
    assert_eq!((done.ended, &*done.stdout), (ExecEnded::Exit(0), &b"kept\n"[..]));

    // It forks, turns its back on its session and ignores what can be ignored.
    let command = "trap '' TERM HUP; (setsid sh -c 'trap \"\" TERM; sleep 987' &); sleep 986 & wait";
    let done = run(vec!["sh", "-c", command], 1).await.unwrap();
    assert_eq!(done.ended, ExecEnded::Limit { killed: true });
    let left = run(vec!["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], 10).await.unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("sleep 98"), "{left:?}");
    stack.ends(patience(60, 10)).await.unwrap();
}

#[tokio::test]
async fn a_pull_that_fails_says_of_which_image_and_why() {
    let Some(stack) = stack("pull").await else { return };
    assert!(stack.swarm.has_image("nginx:1.29.0").await.unwrap());
    let cancel = CancellationToken::new();
    let pulled = stack.swarm.pull("127.0.0.1:1/nothing:0", Duration::from_secs(30), &cancel, &mut |_| {}).await;
    let error = pulled.unwrap_err();
    assert!(matches!(error.why, pull::PullWhy::Unreachable(_)), "{error}");
    assert!(error.to_string().starts_with("the image 127.0.0.1:1/nothing:0 could not be pulled: "), "{error}");
}

/// A registry with one empty image, for whoever says this name and password.
struct Registry {
    address: std::net::SocketAddr,
}

impl Registry {
    fn open(pair: &'static str) -> Registry {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                std::thread::spawn(move || Registry::answer(connection, pair));
            }
        });
        Registry { address }
    }

    /// By digest: an image of one layer, which is a tar archive of nothing.
    fn blobs() -> Vec<(String, String, Vec<u8>)> {
        let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        let layer = vec![0; 1024];
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest(&layer)
        );
        let part = |kind: &str, bytes: &[u8]| {
            format!(
                r#"{{"mediaType":"application/vnd.docker.{kind}","size":{},"digest":"{}"}}"#,
                bytes.len(),
                digest(bytes)
            )
        };
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{},"layers":[{}]}}"#,
            part("container.image.v1+json", config.as_bytes()),
            part("image.rootfs.diff.tar", &layer)
        );
        let plain = "application/octet-stream";
        [(kind, manifest.into_bytes()), (plain, config.into_bytes()), (plain, layer)]
            .map(|(kind, bytes)| (digest(&bytes), kind.to_owned(), bytes))
            .into()
    }

    fn answer(mut connection: std::net::TcpStream, pair: &str) {
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                match reader.read_line(&mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line.trim().is_empty() => break,
                    Ok(_) => head.push(line.trim().to_owned()),
                }
            }
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            let wanted = format!("authorization: basic {}", BASE64_STANDARD.encode(pair)).to_lowercase();
            let known = head.iter().any(|line| line.to_lowercase() == wanted);
            let blobs = Registry::blobs();
            let asked = blobs
                .iter()
                .enumerate()
                .find(|(at, (digest, ..))| path.ends_with(digest) || (*at == 0 && path.contains("/manifests/")));
            let (status, more, body) = match asked {
                _ if !known => {
                    ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"test\"\r\n".to_owned(), Vec::new())
                }
                Some((_, (digest, kind, bytes))) => {
                    ("200 OK", format!("Content-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n"), bytes.clone())
                }
                None => ("200 OK", String::new(), Vec::new()),
            };
            let head_only = head.first().is_some_and(|line| line.starts_with("HEAD"));
            let answer = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n", body.len());
            let sent = connection.write_all(answer.as_bytes());
            let sent = sent.and_then(|()| if head_only { Ok(()) } else { connection.write_all(&body) });
            if sent.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_private_image_is_pulled_with_the_login_of_its_registry() {
    let Some(stack) = stack("login").await else { return };
    let registry = Registry::open("cc-ci:a password");
    let image = format!("{}/private/app:1", registry.address);
    let dir = tempfile::tempdir().unwrap();
    let pull = async |logins: Option<&str>| {
        let logins = logins.map_or_else(Logins::default, |pair| {
            let file = dir.path().join("config.json");
            let auth = BASE64_STANDARD.encode(pair);
            std::fs::write(&file, format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.address)).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            Logins::read(&file).unwrap()
        });
        let swarm = stack.swarm.clone().with_logins(logins);
        swarm.pull(&image, Duration::from_secs(30), &CancellationToken::new(), &mut |_| {}).await
    };
    for refused in [None, Some("cc-ci:another")] {
        let error = pull(refused).await.unwrap_err();
        assert!(matches!(error.why, pull::PullWhy::NotThere(_)), "{error}");
        assert!(!error.to_string().contains("another"), "{error}");
    }
    pull(Some("cc-ci:a password")).await.unwrap();
    assert!(stack.swarm.has_image(&image).await.unwrap());
    docker(&["image", "rm", &image]);
}

#[tokio::test]
async fn the_host_says_what_it_has() {
    let Some(stack) = stack("facts").await else { return };
    let facts = stack.swarm.facts().await.unwrap();
    assert!(facts.disk_free > 0 && facts.disk_free < facts.disk_size, "{facts:?}");
    assert!(facts.memory_available > 0 && facts.memory_available < facts.memory_size, "{facts:?}");
    assert_eq!(facts.swarm, "manager");
}
