//! `cc-ci doctor` in houses where something is broken: each is seen for what it is, with what to do, and the others stay as they
//! are. The house where all is well is a story (`stories/doctor.rs`), since it needs a Swarm and a proxy.

#![expect(clippy::disallowed_methods, reason = "cc-ci is started as people start it")]

#[path = "support/forge.rs"]
mod forge;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cc_ci::reconcile::certificate;
use forge::*;
use serde_json::{Value, json};

const DOMAIN: &str = "doctor.test";

/// A machine with a forge, a database and the wildcard pair's files, and with no Docker, proxy or processes.
struct House {
    dir: tempfile::TempDir,
    place: Place,
}

/// What the doctor said.
struct Said {
    code: Option<i32>,
    rows: Vec<Value>,
    text: String,
}

impl House {
    async fn open() -> House {
        let (dir, place) = (tempfile::tempdir().unwrap(), Place::open().await);
        let house = House { dir, place };
        house.secret("token", house.place.token.expose());
        certificate::throw_away(&[DOMAIN], house.dir.path()).unwrap();
        let seeded = House::cc_ci(&["dev", "seed", "--runs", "5", "--dir", house.path("state").to_str().unwrap()]);
        assert!(seeded.status.success());
        house.configure("");
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn secret(&self, name: &str, value: &str) {
        std::fs::write(self.path(name), value).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn configure(&self, more: &str) {
        let path = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "domain: {DOMAIN}\nstate_dir: {state}\nforge: {{url: '{forge}', organisation: {ORG}, token_file: {token}}}\n\
             runner: {{docker: {docker}}}\n\
             proxy: {{address: '127.0.0.1:9', http_port: 10, certificate_file: {pem}, key_file: {key}}}\n{more}",
            state = path("state"),
            forge = self.place.url,
            token = path("token"),
            docker = path("no-docker"),
            pem = path("certificate.pem"),
            key = path("key.pem"),
        );
        std::fs::write(self.path("config.yaml"), config).unwrap();
    }

    fn cc_ci(arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_cc-ci")).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn doctor(&self) -> Said {
        let config = self.path("config.yaml");
        let output = House::cc_ci(&["doctor", "--json", "--config", config.to_str().unwrap()]);
        let shown = House::cc_ci(&["doctor", "--config", config.to_str().unwrap()]);
        let text = [output.stdout.clone(), output.stderr, shown.stdout, shown.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        // Secrets that the doctor had in its hands.
        let key = std::fs::read_to_string(self.path("key.pem")).unwrap();
        for secret in [self.place.token.expose(), key.lines().nth(1).unwrap()] {
            assert!(!text.contains(secret), "{text}");
        }
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["ready"].as_bool(), Some(output.status.code() != Some(2)));
        assert_eq!(output.status.code(), shown.status.code());
        Said { code: output.status.code(), rows: answer["rows"].as_array().unwrap().clone(), text }
    }
}

impl Said {
    /// The row is so, saw this, and says what to do about it.
    fn tells(&self, check: &str, state: &str, saw: &str) -> &Said {
        let row = self.rows.iter().find(|row| row["check"] == check);
        let row = row.unwrap_or_else(|| panic!("no row {check}: {}", self.text));
        assert_eq!(row["state"], state, "{row}");
        assert!(row["saw"].as_str().unwrap().contains(saw), "{row}");
        assert_eq!(row["cure"].is_string(), state != "ok", "{row}");
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_without_docker_and_processes_is_not_ready_and_the_rest_is_well() {
    let house = House::open().await;
    let said = house.doctor();
    assert_eq!(said.code, Some(2));
    said.tells("configuration", "ok", "apps under *.doctor.test")
        .tells("secrets", "ok", "closed to others")
        .tells("state", "ok", "can be written")
        .tells("disk", "ok", "GB free")
        .tells("database", "ok", "whole, ")
        .tells("server", "failed", "never heard")
        .tells("forge", "ok", "version 1.26.0, bot @ci")
        .tells("members", "ok", "@ci is a member of recipes")
        .tells("repositories", "ok", "1 in recipes, 1 of them tested; the bot may write")
        .tells("docker", "failed", "no-docker")
        .tells("proxy", "failed", "nothing answers on 127.0.0.1:9")
        .tells("dns", "warn", "*.doctor.test is no name here");
    assert!(said.text.contains("not ready; "), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_forge_does_not_allow_is_told_with_its_cure() {
    let house = House::open().await;
    house.place.bot_may_only_read().await;
    house.doctor().tells("repositories", "warn", "may not write a commit status: recipes/custom-html");

    house.place.remote.switch(&json!({"membership": 303, "skew_s": 400})).await.unwrap();
    house.doctor().tells("members", "failed", "the bot is not a member of recipes").tells(
        "clock",
        "warn",
        "s from this machine",
    );
    house.place.remote.switch(&json!({"membership": null, "skew_s": 0})).await.unwrap();

    house.secret("token", "0123456789012345678901234567890123456789");
    house.doctor().tells("forge", "failed", "refuses the bot's token (401)");

    std::fs::set_permissions(house.path("token"), PermissionsExt::from_mode(0o644)).unwrap();
    house.doctor().tells("secrets", "failed", "can be read by others").tells("forge", "failed", "there is no token");

    house.secret("token", house.place.token.expose());
    let text = std::fs::read_to_string(house.path("config.yaml")).unwrap();
    std::fs::write(house.path("config.yaml"), text.replace(&house.place.url, "http://127.0.0.1:1")).unwrap();
    house.doctor().tells("forge", "failed", "http://127.0.0.1:1: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_state_is_told_with_its_cure() {
    let house = House::open().await;
    house.configure("retention: {free: 900T}\n");
    house.doctor().tells("disk", "failed", "no run begins below 900000.0 GB");

    let database = house.path("state/cc-ci.db");
    let (copy, state) = (house.path("copy.db"), house.path("state"));
    let backup = ["db", "backup", "--state", state.to_str().unwrap(), copy.to_str().unwrap()];
    assert!(House::cc_ci(&backup).status.success());
    for beside in ["state/cc-ci.db-wal", "state/cc-ci.db-shm"] {
        drop(std::fs::remove_file(house.path(beside)));
    }
    let mut torn = std::fs::read(&copy).unwrap();
    let half = torn.len() / 2;
    torn[half..half + 8192].fill(0xaa);
    std::fs::write(&database, torn).unwrap();
    house.doctor().tells("database", "failed", "is damaged");

    std::fs::write(&database, "").unwrap();
    house.doctor().tells("database", "warn", "is empty so far").tells("runner", "failed", "never heard");

    certificate::throw_away(&["other.test"], house.dir.path()).unwrap();
    std::fs::remove_dir_all(house.path("state")).unwrap();
    house.doctor().tells("state", "failed", "No such file");

    house.configure("nonsense: 1\n");
    let said = house.doctor();
    assert_eq!((said.code, said.rows.len()), (Some(2), 1));
    said.tells("configuration", "failed", "unknown key `nonsense`");
}
