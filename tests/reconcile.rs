//! The proxy and the Swarm as `cc-ci reconcile` leaves them, and what a probe sees through the proxy: real Traefik, real
//! certificates, ports and names of the test's own.

#![expect(clippy::disallowed_methods, reason = "the docker and cc-ci programs are what is tried")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cc_ci::config::Proxy;
use cc_ci::model::AppDomain;
use cc_ci::probe::{NoAnswer, Patience, Prober, Seen};
use cc_ci::reconcile::certificate;
use tokio_util::sync::CancellationToken;

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {}: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything whose name has `mark` in it.
fn objects(mark: &str) -> Vec<String> {
    let list = |arguments: &[&str]| docker(arguments).lines().map(str::to_owned).collect::<Vec<_>>();
    let mut found = list(&["service", "ls", "--format", "service {{.Name}}"]);
    found.extend(list(&["ps", "-a", "--format", "container {{.Names}}"]));
    found.extend(list(&["secret", "ls", "--format", "secret {{.Name}}"]));
    found.extend(list(&["config", "ls", "--format", "config {{.Name}}"]));
    found.extend(list(&["network", "ls", "--format", "network {{.Name}}"]));
    found.retain(|name| name.contains(mark));
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A machine's configuration of its own.
struct Host {
    dir: tempfile::TempDir,
    /// In the name of everything.
    mark: String,
    domain: String,
    network: String,
    https: u16,
}

fn host(test: &str) -> Option<Host> {
    if !Command::new("docker")
        .arg("info")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        println!("SKIPPED {test}: no Docker engine answers");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("e1{}{}", test.replace('-', ""), std::process::id());
    let domain = format!("{mark}.test");
    let network = format!("cci-e1-{mark}");
    let (https, http) = (free_port(), free_port());
    certificate::throw_away(&[&domain], dir.path()).unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let config = format!(
        "domain: {domain}\nstate_dir: {state}\nforge: {{url: 'http://127.0.0.1:1', organisation: recipes, token_file: {token}}}\n\
         proxy:\n  address: 127.0.0.1:{https}\n  http_port: {http}\n  network: {network}\n  \
         certificate_file: {pem}\n  key_file: {key}\n  ca_file: {ca}\n",
        state = path("state"),
        token = token.display(),
        pem = path("certificate.pem"),
        key = path("key.pem"),
        ca = path("authority.pem"),
    );
    std::fs::write(dir.path().join("config.yaml"), config).unwrap();
    Some(Host { dir, mark, domain, network, https })
}

impl Host {
    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn run(&self, what: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cc-ci"));
        command.arg("reconcile").args(what).arg("--config").arg(self.config());
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn reconciles(&self, what: &[&str]) -> (String, Duration) {
        let start = Instant::now();
        let output = self.run(what);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?}: {error}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), start.elapsed())
    }

    fn fails(&self, what: &[&str]) -> String {
        let output = self.run(what);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn proxy(&self, ca: bool) -> Proxy {
        Proxy {
            address: ([127, 0, 0, 1], self.https).into(),
            ca_file: ca.then(|| self.dir.path().join("authority.pem")),
            ..Proxy::default()
        }
    }

    fn service(&self) -> String {
        format!("proxy_{}_test_app", self.mark)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let app = format!("cci-e1-{}-app", self.mark);
        let _ = Command::new("docker").args(["service", "rm", &app]).stderr(Stdio::null()).output();
        self.run(&["proxy", "--remove"]);
        // The app's task leaves it a moment later.
        let left = format!("label=com.docker.swarm.service.name={app}");
        let ids = docker(&["ps", "-aq", "--filter", &left]);
        ids.lines().for_each(|id| drop(Command::new("docker").args(["rm", "-f", id]).output()));
        let _ = Command::new("docker").args(["network", "rm", &self.network]).stderr(Stdio::null()).output();
    }
}

#[tokio::test]
async fn the_proxy_is_deployed_left_alone_mended_rotated_and_taken_away() {
    let Some(host) = host("proxy") else { return };
    assert!(host.fails(&["proxy"]).contains("`cc-ci reconcile swarm` makes it"));
    let (said, _) = host.reconciles(&["swarm"]);
    assert!(said.contains(&format!("network: {} made", host.network)), "{said}");
    let (said, took) = host.reconciles(&["swarm"]);
    assert!(said.contains("is there"), "{said}");
    println!("swarm, nothing to do: {took:?}");

    let (said, took) = host.reconciles(&["proxy"]);
    println!("deployed in {took:?}:\n{said}");
    assert!(said.contains("deployed (there was none)") && said.contains("answers on"), "{said}");
    let (said, took) = host.reconciles(&["proxy"]);
    assert!(said.contains("runs as it should"), "{said}");
    println!("proxy, nothing to do: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");

    // Somebody's hands.
    let service = host.service();
    docker(&["service", "update", "-d", "--label-add", "traefik.enable=true", &service]);
    assert!(host.reconciles(&["proxy"]).0.contains("(somebody changed it)"));
    docker(&["service", "update", "-d", "--label-add", "cc-ci.reconciled=0", &service]);
    assert!(host.reconciles(&["proxy"]).0.contains("(it was made from something else)"));
    docker(&["service", "scale", "-d", &format!("{service}=0")]);
    assert!(host.reconciles(&["proxy"]).0.contains("(somebody changed it)"));
    docker(&["service", "rm", &service]);
    assert!(host.reconciles(&["proxy"]).0.contains("(there was none)"));
    assert!(host.reconciles(&["proxy"]).0.contains("runs as it should"));

    // A new pair.
    let secrets = || objects(&host.mark).into_iter().filter(|name| name.starts_with("secret")).collect::<Vec<_>>();
    let before = secrets();
    certificate::throw_away(&[&host.domain], host.dir.path()).unwrap();
    let (said, _) = host.reconciles(&["proxy"]);
    assert!(said.contains("is not needed any more") && said.contains("with the certificate"), "{said}");
    assert_eq!(secrets().len(), 2);
    assert!(before.iter().all(|old| !secrets().contains(old)));

    host.reconciles(&["proxy", "--remove"]);
    host.reconciles(&["proxy", "--remove"]);
    docker(&["network", "rm", &host.network]);
    assert_eq!(objects(&host.mark), Vec::<String>::new());
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_with_its_cure() {
    let Some(host) = host("in-the-way") else { return };
    docker(&["network", "create", "-d", "bridge", &host.network]);
    let error = host.fails(&["swarm"]);
    assert!(error.contains("driver bridge") && error.contains("docker network rm"), "{error}");
    docker(&["network", "rm", &host.network]);
    docker(&["network", "create", "-d", "overlay", &host.network]);
    assert!(host.fails(&["swarm"]).contains("is not attachable"));
    docker(&["network", "rm", &host.network]);
    host.reconciles(&["swarm"]);

    let other = tempfile::tempdir().unwrap();
    certificate::throw_away(&[&host.domain], other.path()).unwrap();
    std::fs::copy(other.path().join("key.pem"), host.dir.path().join("key.pem")).unwrap();
    assert!(host.fails(&["proxy"]).contains("put in the pair that was made together"));

    certificate::throw_away(&["elsewhere.test"], host.dir.path()).unwrap();
    let error = host.fails(&["proxy"]);
    assert!(error.contains(&format!("not for *.{}", host.domain)), "{error}");

    let text = std::fs::read_to_string(host.config()).unwrap();
    let kept = text.lines().filter(|line| !line.contains("_file: ") || line.contains("token"));
    std::fs::write(host.config(), kept.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(host.fails(&["proxy"]).contains("are not set"));
}

#[tokio::test]
async fn a_probe_tells_the_app_from_the_proxy_and_trusts_only_whom_it_should() {
    let Some(host) = host("through-it") else { return };
    host.reconciles(&["swarm"]);
    host.reconciles(&["proxy"]);
    let prober = Prober::new(&host.proxy(true)).unwrap();
    let cancel = CancellationToken::new();
    let app: AppDomain = format!("app.{}", host.domain).parse().unwrap();
    assert_eq!(prober.get(&app, "/").await, Seen::NoRoute);
    let shown = prober.certificate(&app).await.unwrap();
    assert!(shown.names.contains(&format!("*.{}", host.domain)), "{shown:?}");
    let left = shown.not_after.since(cc_ci::clock::Clock::system().now());
    assert!(left > Duration::from_secs(360 * 24 * 3600), "{shown:?}");
    // The authority is ours alone.
    let stranger = Prober::new(&host.proxy(false)).unwrap();
    assert!(matches!(stranger.get(&app, "/").await, Seen::Certificate(_)));
    let nowhere = Proxy { address: ([127, 0, 0, 1], 1).into(), ..host.proxy(true) };
    assert!(matches!(Prober::new(&nowhere).unwrap().get(&app, "/").await, Seen::Nothing(_)));

    // As recipes label themselves; the resolver is left empty.
    let name = format!("cci-e1-{}-app", host.mark);
    let deploy = |port: &str| {
        let labels = [
            "traefik.enable=true".to_owned(),
            format!("traefik.http.services.{name}.loadbalancer.server.port={port}"),
            format!("traefik.http.routers.{name}.rule=Host(`{app}`)"),
            format!("traefik.http.routers.{name}.entrypoints=web-secure"),
            format!("traefik.http.routers.{name}.tls.certresolver="),
        ];
        let mut arguments = vec!["service", "create", "-d", "--name", &name, "--network", &host.network];
        for label in &labels {
            arguments.extend(["--label", label]);
        }
        arguments.extend(["--no-resolve-image", "cc-ci-test/app:1"]);
        docker(&arguments);
    };
    let patience =
        |seconds| Patience { within: Duration::from_secs(seconds), refresh: Duration::from_secs(1), status: None };
    deploy("8080");
    let answer = prober.wait_for_answer(&app, "/", &patience(30), &cancel, &mut |_| {}).await.unwrap();
    println!("answered: {answer:?}");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.title.as_deref(), Some("cc-ci test app"));
    let certificate = answer.certificate.unwrap();
    assert!(certificate.names.contains(&format!("*.{}", host.domain)), "{certificate:?}");

    let missing =
        prober.wait_for_answer(&app, "/data/nothing-here", &patience(3), &cancel, &mut |_| {}).await.unwrap_err();
    assert!(matches!(&missing, NoAnswer::Late { last: Seen::App(answer), .. } if answer.status == 404), "{missing}");
    assert!(!missing.is_infra());

    docker(&["service", "rm", &name]);
    let forgotten = async {
        while prober.get(&app, "/").await != Seen::NoRoute {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), forgotten).await.expect("the proxy forgets it");
    deploy("81");
    let mut said = Vec::new();
    let unreachable =
        prober.wait_for_answer(&app, "/", &patience(8), &cancel, &mut |line| said.push(line)).await.unwrap_err();
    assert!(matches!(unreachable, NoAnswer::Late { last: Seen::Gateway(502), .. }), "{unreachable} {said:?}");
}

/// An engine whose Swarm is in a state of our choice; it knows how to say so and nothing else.
fn engine(dir: &std::path::Path, state: &'static str) -> PathBuf {
    let socket = dir.join("docker.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
                    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    while line.trim() != "" {
                        line.clear();
                        reader.read_line(&mut line).unwrap();
                    }
                    line.clear();
                    let body = match path.rsplit('/').next() {
                        Some("version") => r#"{"ApiVersion":"1.47","MinAPIVersion":"1.24"}"#,
                        _ => state,
                    };
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    connection.write_all((head + body).as_bytes()).unwrap();
                }
            });
        }
    });
    socket
}

#[test]
fn a_swarm_that_is_not_ours_is_told_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    let told = |state| {
        let socket = engine(dir.path(), state);
        let config = dir.path().join("config.yaml");
        let text = format!(
            "domain: ci.test\nforge: {{url: 'http://127.0.0.1:1', organisation: recipes, token_file: /nowhere}}\nrunner: {{docker: {}}}\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cc-ci"));
        let output =
            command.args(["reconcile", "swarm", "--config"]).arg(&config).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let locked = told(r#"{"Swarm":{"LocalNodeState":"locked"}}"#);
    assert!(locked.contains("is locked; unlock it with `docker swarm unlock`"), "{locked}");
    let worker = told(r#"{"Swarm":{"LocalNodeState":"active","ControlAvailable":false}}"#);
    assert!(worker.contains("a worker in a Swarm of others") && worker.contains("docker swarm leave"), "{worker}");
    assert!(told(r#"{"Swarm":{"LocalNodeState":"pending"}}"#).contains("still joining a Swarm"));
    let error = told(r#"{"Swarm":{"LocalNodeState":"error","Error":"certificate expired"}}"#);
    assert!(error.contains("in error (certificate expired)"), "{error}");
    let restore = told(r#"{"LiveRestoreEnabled":true,"Swarm":{"LocalNodeState":"inactive"}}"#);
    assert!(restore.contains("live-restore") && restore.contains("set it to false"), "{restore}");
}
