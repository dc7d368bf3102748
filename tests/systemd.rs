//! What systemd hears of the two processes, from their first word to their last: a socket of ours in place of systemd's.

#![expect(clippy::disallowed_methods, reason = "cc-ci is started as systemd starts it")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Heard {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
    process: Child,
}

impl Heard {
    /// One of the processes, with no forge and no Docker.
    fn start(process: &str) -> Heard {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("token"), "0123456789").unwrap();
        std::fs::set_permissions(path("token"), PermissionsExt::from_mode(0o600)).unwrap();
        let config = format!(
            "domain: ci.test\nstate_dir: {}\nforge: {{url: 'http://127.0.0.1:1', organisation: recipes, token_file: {}}}\n\
             web: {{listen: '127.0.0.1:0', url: 'http://ci.example.org'}}\nrunner: {{docker: {}}}\n",
            path("state"),
            path("token"),
            path("no-docker"),
        );
        std::fs::write(path("config.yaml"), config).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_cc-ci"))
            .args([process, "--config", &path("config.yaml")])
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .env("WATCHDOG_USEC", "300000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Heard { socket, dir, process }
    }

    /// Its next words, up to those that begin so.
    fn hears(&self, words: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &String| !last.starts_with(words)) {
            let mut bytes = [0; 4096];
            let count = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{words}: {error}; {heard:?}"));
            heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
        heard
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn ends_well(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_server_is_ready_lives_and_stops() {
    let server = Heard::start("serve");
    let before = server.hears("READY=1");
    assert!(!before.iter().any(|word| word.starts_with("STOPPING")), "{before:?}");
    server.hears("WATCHDOG=1");
    server.hears("WATCHDOG=1");
    server.signal("TERM");
    server.hears("STOPPING=1");
    server.ends_well();
}

#[test]
fn a_runner_without_docker_is_ready_says_what_it_waits_for_and_stops() {
    let runner = Heard::start("runner");
    runner.hears("READY=1");
    runner.hears("STATUS=waiting for Docker");
    runner.hears("WATCHDOG=1");
    runner.signal("TERM");
    runner.hears("STOPPING=1");
    runner.ends_well();
}

#[test]
fn what_cannot_start_is_never_ready() {
    let server = Heard::start("serve");
    server.hears("READY=1");
    // Another one on the same state.
    let second = UnixDatagram::bind(server.dir.path().join("second")).unwrap();
    second.set_nonblocking(true).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cc-ci"))
        .args(["serve", "--config"])
        .arg(Path::new(server.dir.path()).join("config.yaml"))
        .env("NOTIFY_SOCKET", server.dir.path().join("second"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(second.recv(&mut [0; 64]).is_err(), "it said a word");
    server.signal("TERM");
    server.hears("STOPPING=1");
}
