//! What cc-ci relies on abra to do, one test for each thing that was seen of the real one. Runs against the abra in `ABRA`, by
//! default the one built in, on the Docker of this machine.
//!
//! The comment above a test is the observation it holds abra to.

#![expect(clippy::disallowed_methods, reason = "abra and git are started as people do")]

#[path = "support/docker.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stories use all of it, from further away")]
mod docker;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cc_ci::abra::answers;
use cc_ci::abra::driver::{Abra, Failed, Home, Listener};
use cc_ci::compose::policy::Passed;
use cc_ci::model::{AppDomain, RecipeName};
use cc_ci::sandbox::{self, Stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "cc-ci-test/app:1";

/// An `ABRA_DIR` and a domain of its own; what was deployed under it is removed at the end, whatever happened.
struct Desk {
    dir: tempfile::TempDir,
    domain: String,
    abra: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A fixture recipe; every text can be changed before it is laid down.
struct Recipe(BTreeMap<&'static str, String>);

/// A desk, or the reason why there is none here.
macro_rules! desk {
    ($($recipe:expr)?) => {
        match Desk::new()$(.map(|desk| desk.with_app($recipe)))? {
            Ok(desk) => desk,
            Err(reason) => return println!("SKIPPED {reason}"),
        }
    };
}

impl Recipe {
    fn plain() -> Recipe {
        Recipe(BTreeMap::from([
            (
                ".env.sample",
                "TYPE=thing\n\nDOMAIN=thing.example.com\nLETS_ENCRYPT_ENV=\nCOMPOSE_FILE=\"compose.yml\"\nMODE=ok\n#NOT_SET=1\n".into(),
            ),
            (
                "compose.yml",
                format!(
                    "version: \"3.8\"
services:
  app:
    image: {IMAGE}
    stop_grace_period: 1s
    environment:
      - APP_TITLE=of the file
    volumes:
      - data:/data
    configs:
      - source: app_conf
        target: /etc/thing.conf
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, \"http://127.0.0.1:8080/healthz\"]
      interval: 1s
      start_period: 1m
    deploy:
      labels:
        - traefik.enable=true
        - \"traefik.http.routers.${{STACK_NAME}}.rule=Host(`${{DOMAIN}}`)\"
        - \"coop-cloud.${{STACK_NAME}}.version=1.0.0+1.0\"
        - \"coop-cloud.${{STACK_NAME}}.timeout=${{TIMEOUT:-60}}\"
volumes:
  data:
configs:
  app_conf:
    name: ${{STACK_NAME}}_app_conf_${{APP_CONF_VERSION}}
    file: thing.conf.tmpl
    template_driver: golang
"
                ),
            ),
            ("abra.sh", "export APP_CONF_VERSION=v1\n".into()),
            ("thing.conf.tmpl", "domain = {{ env \"DOMAIN\" }}\n".into()),
            ("README.md", "# thing\n<!-- metadata -->\n<!-- endmetadata -->\n".into()),
        ]))
    }

    /// With the secrets `first` and `second`, made in different ways.
    fn with_secrets() -> Recipe {
        let secret = |name: &str| {
            format!(
                "  {name}:\n    external: true\n    name: ${{STACK_NAME}}_{name}_${{SECRET_{}_VERSION}}\n",
                name.to_uppercase()
            )
        };
        Recipe::plain()
            .append(".env.sample", "SECRET_FIRST_VERSION=v1 # length=48 charset=hex\nSECRET_SECOND_VERSION=v1\n")
            .replace(
                "compose.yml",
                "    volumes:\n      - data:/data\n",
                "    volumes:\n      - data:/data\n    secrets: [first, second]\n",
            )
            .append("compose.yml", &format!("secrets:\n{}{}", secret("first"), secret("second")))
    }

    fn replace(mut self, file: &str, old: &str, new: &str) -> Recipe {
        let text = self.0.get_mut(file).unwrap();
        assert!(text.contains(old), "{old} is not in {file}");
        *text = text.replace(old, new);
        self
    }

    fn append(mut self, file: &str, more: &str) -> Recipe {
        self.0.get_mut(file).unwrap().push_str(more);
        self
    }

    fn file(mut self, file: &'static str, text: &str) -> Recipe {
        self.0.insert(file, text.into());
        self
    }

    fn write(&self, dir: &Path) {
        for (name, text) in &self.0 {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }
}

fn git(dir: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(words)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn run(program: &Path, words: &[&str], dir: &Path, stdin: &str) -> Said {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(words)
        .current_dir(dir)
        .env("ABRA_DIR", dir.join("abra"))
        .env("HOME", dir)
        .env("NO_COLOR", "1")
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| answers::plain(&String::from_utf8_lossy(bytes));
    Said { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Desk {
    fn new() -> Result<Desk, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if let Some(reason) = docker::missing() {
            return Err(reason);
        }
        if !docker::docker(&["image", "inspect", IMAGE]).status.success() {
            return Err(format!("there is no image {IMAGE}"));
        }
        if !docker::docker(&["node", "ls"]).status.success() {
            return Err("this Docker is no Swarm manager".into());
        }
        let dir = tempfile::tempdir().unwrap();
        let given = std::env::var_os("ABRA").filter(|path| !path.is_empty()).map(PathBuf::from);
        let abra = given.unwrap_or_else(|| dir.path().join("built-in"));
        script(
            &dir.path().join("built-in"),
            &format!("#!/bin/sh\nexec '{}' abra \"$@\"\n", env!("CARGO_BIN_EXE_cc-ci")),
        );
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let domain = format!("t{}-{number}.abra.test", std::process::id());
        std::fs::create_dir_all(dir.path().join("abra/servers/default")).unwrap();
        std::fs::create_dir_all(dir.path().join("abra/recipes")).unwrap();
        Ok(Desk { dir, domain, abra })
    }

    /// Lays a recipe of one version, and makes its app.
    fn with_app(self, recipe: &Recipe) -> Desk {
        self.lay(recipe, "1.0.0+1.0");
        self.abra(&["-n", "-o", "app", "new", "thing", "-C", "-s", "default", "-D", &self.domain]).good();
        self
    }

    fn stack(&self) -> String {
        self.domain.replace('.', "_")
    }

    fn recipe_dir(&self) -> PathBuf {
        self.dir.path().join("abra/recipes/thing")
    }

    fn env_path(&self) -> PathBuf {
        self.dir.path().join(format!("abra/servers/default/{}.env", self.domain))
    }

    fn env(&self) -> String {
        std::fs::read_to_string(self.env_path()).unwrap()
    }

    fn change_env(&self, old: &str, new: &str) {
        let text = self.env();
        assert!(text.contains(old), "{old} is not in\n{text}");
        std::fs::write(self.env_path(), text.replace(old, new)).unwrap();
    }

    /// Commits the recipe in its clone, under an annotated tag.
    fn lay(&self, recipe: &Recipe, tag: &str) {
        let dir = self.recipe_dir();
        std::fs::create_dir_all(&dir).unwrap();
        if !dir.join(".git").exists() {
            git(&dir, &["init", "-q"]);
        }
        recipe.write(&dir);
        git(&dir, &["add", "-A"]);
        git(&dir, &["commit", "-q", "-m", tag]);
        git(&dir, &["tag", "-a", "-m", tag, tag]);
    }

    fn head(&self) -> String {
        git(&self.recipe_dir(), &["rev-parse", "HEAD"])
    }

    fn abra(&self, words: &[&str]) -> Said {
        run(&self.abra, words, self.dir.path(), "")
    }

    fn deploy(&self) -> Said {
        self.abra(&["-n", "-o", "app", "deploy", &self.domain, "-C", "-c", "-D"])
    }

    /// The service `app` as Swarm has it.
    fn service(&self) -> Value {
        let output = docker::docker(&["service", "inspect", &format!("{}_app", self.stack())]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        all[0].clone()
    }

    fn label(&self, key: &str) -> Option<String> {
        let labels = &self.service()["Spec"]["Labels"];
        labels[format!("coop-cloud.{}.{key}", self.stack())].as_str().map(str::to_owned)
    }

    fn environment(&self) -> Vec<String> {
        let service = self.service();
        let list = service["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"].as_array().cloned().unwrap_or_default();
        list.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    fn objects(&self, kind: &str) -> Vec<String> {
        let prefix = format!("{kind} {}_", self.stack());
        docker::objects(&self.stack())
            .into_iter()
            .filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // A task that is taken away before its container is made leaves the volume that is made with it.
        for _ in 0..200 {
            let tasks = docker::docker(&["stack", "ps", "--format", "{{.CurrentState}}", &self.stack()]);
            let on_its_way = ["New", "Pending", "Assigned", "Accepted", "Preparing"];
            let text = String::from_utf8_lossy(&tasks.stdout).into_owned();
            if !text.lines().any(|line| on_its_way.iter().any(|state| line.starts_with(state))) {
                break;
            }
        }
        docker::docker(&["stack", "rm", &self.stack()]);
        docker::remove(&self.stack());
    }
}

impl Said {
    #[track_caller]
    fn good(self) -> Said {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Failed with this among its fatal words, on standard output.
    #[track_caller]
    fn fatal(self, words: &str) -> Said {
        assert_eq!(self.code, 1, "{self:#?}");
        let line = self.stdout.lines().find(|line| line.starts_with("FATA"));
        assert!(line.is_some(), "no FATA on standard output: {self:#?}");
        assert!(self.stdout.contains(words), "no `{words}` in {self:#?}");
        self
    }

    #[track_caller]
    fn says(self, words: &str) -> Said {
        assert!(self.stdout.contains(words) || self.stderr.contains(words), "no `{words}` in {self:#?}");
        self
    }

    #[track_caller]
    fn lacks(self, words: &str) -> Said {
        assert!(!self.stdout.contains(words) && !self.stderr.contains(words), "`{words}` in {self:#?}");
        self
    }

    /// The JSON, wherever it is.
    #[track_caller]
    fn json(&self) -> Value {
        answers::find_json(&[&self.stdout, &self.stderr]).unwrap_or_else(|| panic!("no JSON in {self:#?}"))
    }
}

/// Rows of a list, by a key, whether it came as an array or as an object.
fn rows(json: &Value) -> Vec<Value> {
    match json {
        Value::Array(rows) => rows.clone(),
        Value::Object(rows) => rows.values().cloned().collect(),
        _ => Vec::new(),
    }
}

// 1.0 Global

/// `abra --version` prints `abra version <semver>-beta-<sha7>`.
#[test]
fn the_version_has_its_form() {
    let desk = desk!();
    let said = desk.abra(&["--version"]).good();
    let version = said.stdout.lines().find_map(|line| line.strip_prefix("abra version ")).expect("abra version …");
    let parts: Vec<&str> = version.split('-').collect();
    assert!(parts.len() == 3 && parts[1] == "beta" && parts[2].len() == 7, "{version}");
}

/// Root flags may stand before the sub-command: `abra -n app …`, `abra -o app secret list …`, and after: `-C -o -n --debug`.
#[test]
fn root_flags_stand_anywhere() {
    let desk = desk!(&Recipe::with_secrets());
    desk.abra(&["-o", "app", "secret", "list", &desk.domain, "-C"]).good();
    desk.abra(&["-n", "-o", "app", "secret", "ls", "-C", &desk.domain]).good();
    desk.abra(&["app", "secret", "ls", &desk.domain, "-C", "-o", "-n", "--debug"]).good();
}

/// Exit code 0 or 1, whatever was wrong; `FATA …` lines go to standard output.
#[test]
fn fatal_lines_are_on_standard_output_and_the_code_is_1() {
    let desk = desk!();
    desk.abra(&["-n", "-o", "app", "deploy", "nobody.abra.test", "-C"]).fatal("nobody.abra.test").lacks("panicked");
    assert_eq!(desk.abra(&["app", "undeploy", "--no-such-flag", "x.y"]).code, 1);
}

/// Sub-commands say in their `--help` which flags they have, so that they can be asked.
#[test]
fn help_lists_the_flags() {
    let desk = desk!();
    for (words, flags) in [
        (&["app", "new"][..], &["--chaos", "--server", "--domain", "--secrets"][..]),
        (&["app", "deploy"], &["--chaos", "--force", "--no-domain-checks", "--no-converge-checks"]),
        (&["app", "undeploy"], &["--no-input"]),
        (&["app", "secret", "generate"], &["--all", "--machine"]),
        (&["app", "secret", "insert"], &["--file"]),
        (&["app", "secret", "rm"], &["--all"]),
        (&["app", "volume", "rm"], &["--force"]),
        (&["app", "ps"], &["--machine"]),
        (&["app", "ls"], &["--machine"]),
        (&["server", "ls"], &["--machine"]),
        (&["server", "add"], &["--local"]),
        (&["recipe", "lint"], &["--chaos"]),
    ] {
        let said = desk.abra(&[words, &["--help"]].concat()).good();
        for flag in flags {
            assert!(answers::lists_flag(&said.stdout, flag), "{words:?} has no {flag}: {}", said.stdout);
        }
    }
}

// 1.1 Servers

/// `server add --local` makes `$ABRA_DIR/servers/default`; `server ls -m` has `name` and `host`. Servers may be symlinks, so
/// that several runs share them.
#[test]
fn the_local_server_is_a_directory_called_default() {
    let desk = desk!();
    let servers = desk.dir.path().join("abra/servers");
    std::fs::remove_dir(servers.join("default")).unwrap();
    desk.abra(&["server", "add", "--local"]).good();
    assert!(servers.join("default").is_dir());
    desk.abra(&["server", "add", "--local"]).good();
    std::fs::create_dir(desk.dir.path().join("shared")).unwrap();
    std::os::unix::fs::symlink(desk.dir.path().join("shared"), servers.join("other")).unwrap();
    let said = desk.abra(&["server", "ls", "-m"]).good();
    let found = rows(&said.json());
    let names: Vec<&str> = found.iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(names.contains(&"default") && names.contains(&"other"), "{found:?}");
    assert!(found.iter().all(|row| row["host"].is_string()), "{found:?}");
}

// 1.2 Recipes

/// `recipe fetch` clones into `$ABRA_DIR/recipes/<recipe>`; one that is there already is a warning and exit code 0.
#[test]
fn fetching_a_recipe_that_is_there_is_no_fault() {
    let desk = desk!();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    let head = desk.head();
    desk.abra(&["-n", "-o", "recipe", "fetch", "thing"]).good();
    assert_eq!(desk.head(), head);

    // Missing: cloned from upstream, which is another directory here.
    let upstream = desk.dir.path().join("upstream");
    std::fs::create_dir(&upstream).unwrap();
    git(&upstream, &["clone", "-q", "--bare", desk.recipe_dir().to_str().unwrap(), "thing.git"]);
    std::fs::remove_dir_all(desk.recipe_dir()).unwrap();
    let config = format!("[url \"{}/\"]\n\tinsteadOf = https://git.coopcloud.tech/coop-cloud/\n", upstream.display());
    std::fs::write(desk.dir.path().join(".gitconfig"), config).unwrap();
    desk.abra(&["-n", "recipe", "fetch", "thing"]).good();
    assert_eq!(desk.head(), head);
    assert_eq!(git(&desk.recipe_dir(), &["tag"]), "1.0.0+1.0");
}

/// A recipe with lightweight tags, or with a file dropped into its tree, can be deployed with chaos only: `has locally
/// unstaged changes`.
#[test]
fn without_chaos_the_tree_is_clean_and_lint_stops() {
    let desk = desk!();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-s", "default", "-D", &desk.domain]).good();
    let dropped = desk.recipe_dir().join("compose.extra.yml");
    std::fs::write(&dropped, "version: \"3.8\"\n").unwrap();
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-c", "-D"]).fatal("has locally unstaged changes");
    std::fs::remove_file(&dropped).unwrap();
    git(&desk.recipe_dir(), &["tag", "0.9.0+1.0"]);
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-c", "-D"]).fatal("0.9.0+1.0");
    assert!(desk.objects("service").is_empty());
}

/// Lint exits 0 even when error rules fail, so its code says nothing.
#[test]
fn lint_is_not_told_by_its_exit_code() {
    let desk = desk!();
    desk.lay(&Recipe::plain().replace("compose.yml", "  app:\n    image", "  web:\n    image"), "1.0.0+1.0");
    desk.abra(&["-n", "-o", "recipe", "lint", "thing", "-C"]).good().says("R009");
}

/// `recipe versions` lists what the tags say.
#[test]
fn versions_are_the_tags() {
    let desk = desk!();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    desk.lay(&Recipe::plain().replace("compose.yml", "app:1", "app:2"), "1.1.0+2.0");
    desk.abra(&["-n", "-o", "recipe", "versions", "thing"])
        .good()
        .says("1.0.0+1.0")
        .says("1.1.0+2.0")
        .says("cc-ci-test/app");
}

// 1.3 app new

/// `app new` moves the checkout to the release tag; with chaos it stays where it is. `TYPE` gets the version.
#[test]
fn new_moves_the_checkout_unless_it_is_chaos() {
    let desk = desk!();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    let release = desk.head();
    std::fs::write(desk.recipe_dir().join("more"), "").unwrap();
    git(&desk.recipe_dir(), &["add", "-A"]);
    git(&desk.recipe_dir(), &["commit", "-q", "-m", "unreleased"]);
    let tip = desk.head();

    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "--server", "default", "--domain", &desk.domain]).good();
    assert_eq!(desk.head(), tip);
    assert!(desk.env().contains(&format!("TYPE=thing:{}\n", &tip[..8])), "{}", desk.env());
    std::fs::remove_file(desk.env_path()).unwrap();

    desk.abra(&["-n", "-o", "app", "new", "thing", "--server=default", &format!("--domain={}", desk.domain)]).good();
    assert_eq!(desk.head(), release);
    assert!(desk.env().contains("TYPE=thing:1.0.0+1.0\n"), "{}", desk.env());
}

/// The literal `<recipe>.example.com` becomes the domain; a sample that says something else keeps it.
#[test]
fn new_replaces_the_placeholder_and_nothing_else() {
    let desk = desk!();
    let recipe =
        Recipe::plain().append(".env.sample", "OTHER_DOMAIN=\"sandbox.thing.example.com\"\nREAL=real.example.org\n");
    desk.lay(&recipe, "1.0.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-s", "default", "-D", &desk.domain]).good();
    let env = desk.env();
    assert!(env.contains(&format!("\nDOMAIN={}\n", desk.domain)), "{env}");
    assert!(env.contains(&format!("OTHER_DOMAIN=\"sandbox.{}\"", desk.domain)), "{env}");
    assert!(env.contains("REAL=real.example.org\n") && env.contains("#NOT_SET=1\n"), "{env}");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-s", "default", "-D", &desk.domain]).fatal("already exists");
}

/// The schema is checked before variables are filled in, already here.
#[test]
fn new_checks_the_schema_before_variables_are_filled_in() {
    let desk = desk!();
    desk.lay(&Recipe::plain().replace("compose.yml", "start_period: 1m", "start_period: ${X:-5m}"), "1.0.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-s", "default", "-D", &desk.domain])
        .fatal("services.app.healthcheck.start_period Does not match format 'duration'");
    assert!(!desk.env_path().exists());
}

/// With `-n` nothing is asked: what is missing is fatal.
#[test]
fn new_asks_nothing_when_told_not_to() {
    let desk = desk!();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-s", "default"]).fatal("no domain provided");
    std::fs::create_dir(desk.dir.path().join("abra/servers/second")).unwrap();
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-D", &desk.domain]).fatal("no server provided");
}

/// `-S` makes every secret at the version of the `.env`, and prints them in clear: not for a log.
#[test]
fn new_with_secrets_shows_them() {
    let desk = desk!();
    desk.lay(&Recipe::with_secrets(), "1.0.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-S", "-s", "default", "-D", &desk.domain])
        .good()
        .says("first");
    assert_eq!(desk.objects("secret").len(), 2);
    assert!(desk.objects("secret").contains(&"first_v1".to_owned()));
}

// 1.4 app deploy; 3.4 labels

/// Chaos deploys the tree as it lies there, stamped with the first eight digits of HEAD, `+U` behind them when it is dirty,
/// untracked files included. Labels are on `app`; the version label is the compose file's. A deploy over a running app is in
/// place and needs no `-f`.
#[test]
fn chaos_deploys_the_tree_as_it_is_and_stamps_it() {
    let desk = desk!(&Recipe::plain());
    desk.deploy().good();
    let head = desk.head();
    assert_eq!(desk.label("chaos-version").as_deref(), Some(&head[..8]));
    assert_eq!(desk.label("chaos").as_deref(), Some("true"));
    assert_eq!(desk.label("recipe").as_deref(), Some("thing"));
    assert_eq!(desk.label("version").as_deref(), Some("1.0.0+1.0"));
    assert_eq!(desk.label("timeout").as_deref(), Some("60"));
    let service = desk.service();
    let router = format!("traefik.http.routers.{}.rule", desk.stack());
    assert_eq!(service["Spec"]["Labels"][router], format!("Host(`{}`)", desk.domain));
    assert_eq!(service["Spec"]["Labels"]["com.docker.stack.namespace"], desk.stack());

    std::fs::write(desk.recipe_dir().join("untracked"), "").unwrap();
    let compose = std::fs::read_to_string(desk.recipe_dir().join("compose.yml")).unwrap();
    std::fs::write(desk.recipe_dir().join("compose.yml"), compose.replace("app:1", "app:2")).unwrap();
    desk.deploy().good();
    assert_eq!(desk.label("chaos-version"), Some(format!("{}+U", &head[..8])));
    let image = desk.service()["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].as_str().unwrap().to_owned();
    assert!(image.starts_with("cc-ci-test/app:2"), "{image}");
    // The tree was not touched.
    assert_eq!(desk.head(), head);
    assert!(desk.recipe_dir().join("untracked").exists());
    assert!(desk.env().contains(&format!("TYPE=thing:{}+U", &head[..8])), "{}", desk.env());
}

/// The whole `.env` is in the environment of `app`, over what the file does not set; exports of `abra.sh` name configs;
/// `template_driver` reaches Swarm. A variable of the sample that the `.env` lacks is told.
#[test]
fn the_app_gets_its_environment_and_configs() {
    let desk = desk!(&Recipe::plain());
    desk.change_env("MODE=ok", "MODE=ok\nAPP_TITLE=of the app\nQUOTED='it costs $5'");
    desk.change_env("LETS_ENCRYPT_ENV=\n", "");
    desk.deploy().good().says(&format!("LETS_ENCRYPT_ENV missing from {}.env", desk.domain));
    let environment = desk.environment();
    for line in [
        format!("DOMAIN={}", desk.domain),
        "MODE=ok".into(),
        "APP_TITLE=of the file".into(),
        "QUOTED=it costs $5".into(),
        "APP_CONF_VERSION=v1".into(),
    ] {
        assert!(environment.contains(&line), "{line} is not in {environment:?}");
    }
    assert_eq!(desk.objects("config"), ["app_conf_v1"]);
    let config = docker::docker(&["config", "inspect", &format!("{}_app_conf_v1", desk.stack())]);
    let config: Value = serde_json::from_slice(&config.stdout).unwrap();
    assert_eq!(config[0]["Spec"]["Templating"]["Name"], "golang");
}

/// A config whose content changed under its old name is refused: `only updates to Labels are allowed`.
#[test]
fn a_config_cannot_change_under_its_name() {
    let desk = desk!(&Recipe::plain());
    desk.deploy().good();
    std::fs::write(desk.recipe_dir().join("thing.conf.tmpl"), "changed").unwrap();
    desk.deploy().fatal("only updates to Labels are allowed");
    std::fs::write(desk.recipe_dir().join("abra.sh"), "export APP_CONF_VERSION=v2\n").unwrap();
    desk.deploy().good();
    assert!(desk.objects("config").contains(&"app_conf_v2".to_owned()));
}

/// `COMPOSE_FILE` names the files, in order, and may build on an earlier line; each must be there.
#[test]
fn compose_file_names_the_overlays() {
    let overlay = "version: \"3.8\"\nservices:\n  app:\n    environment: {MODE: ok, EXTRA: \"1\"}\n    deploy: {labels: [more=true]}\n";
    let recipe = Recipe::plain()
        .file("compose.more.yml", overlay)
        .append(".env.sample", "COMPOSE_FILE=\"$COMPOSE_FILE:compose.more.yml\"\n");
    let desk = desk!(&recipe);
    desk.deploy().good();
    assert_eq!(desk.service()["Spec"]["Labels"]["more"], "true");
    assert!(desk.environment().contains(&"EXTRA=1".to_owned()));
    std::fs::remove_file(desk.recipe_dir().join("compose.more.yml")).unwrap();
    desk.deploy().fatal("compose.more.yml");
}

/// Without chaos the version in the `.env` is checked out and deployed, its tag becomes the version label, and an app that
/// is there is not deployed again without `-f`.
#[test]
fn a_pinned_version_is_checked_out() {
    let desk = desk!();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    let first = desk.head();
    desk.lay(&Recipe::plain().replace("compose.yml", "1.0.0+1.0", "wrong"), "1.1.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "1.0.0+1.0", "-s", "default", "-D", &desk.domain]).good();
    git(&desk.recipe_dir(), &["checkout", "-q", "main"]);
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-c", "-D"]).good();
    assert_eq!(desk.head(), first);
    assert_eq!(desk.label("version").as_deref(), Some("1.0.0+1.0"));
    assert_eq!(desk.label("chaos").as_deref(), Some("false"));
    assert_eq!(desk.label("chaos-version"), None);
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-c", "-D"]).fatal("is already deployed");
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "1.1.0+1.0", "-f", "-c", "-D"]).good();
    assert_eq!(desk.label("version").as_deref(), Some("1.1.0+1.0"));
    assert!(desk.env().contains("TYPE=thing:1.1.0+1.0"), "{}", desk.env());
}

/// With chaos and offline the remote is never asked.
#[test]
fn chaos_and_offline_ask_no_remote() {
    let desk = desk!(&Recipe::plain());
    git(&desk.recipe_dir(), &["remote", "add", "origin", "https://nowhere.invalid/thing.git"]);
    desk.deploy().good();
    // Without offline it would have been.
    desk.abra(&["-n", "app", "deploy", &desk.domain, "-f", "-c", "-D"]).fatal("");
}

/// What would be stamped can be asked cheaply: with a secret missing, the version is told and nothing is deployed.
#[test]
fn a_missing_secret_stops_before_the_swarm_is_touched() {
    let desk = desk!(&Recipe::with_secrets());
    let version = format!("taking chaos version: {}", &desk.head()[..8]);
    desk.abra(&["-n", "-o", "--debug", "app", "deploy", &desk.domain, "-C", "-c", "-D"])
        .says("DEBU <")
        .says(&version)
        .fatal("secret not generated: ");
    assert!(docker::objects(&desk.stack()).is_empty());
}

/// `generate=false` is skipped by `generate --all`, and a deploy without it says `secret not inserted (#generate=false)`.
#[test]
fn a_secret_that_is_not_generated_is_to_be_inserted() {
    let recipe = Recipe::with_secrets().replace(".env.sample", "length=48 charset=hex", "generate=false");
    let desk = desk!(&recipe);
    desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "--all", "-C"]).good();
    assert_eq!(desk.objects("secret"), ["second_v1"]);
    desk.deploy().fatal("secret not inserted (#generate=false): first");
    let said = run(
        &desk.abra,
        &["-n", "-o", "app", "secret", "insert", &desk.domain, "first", "v1", "-C"],
        desk.dir.path(),
        "given",
    );
    said.good();
    desk.deploy().good();
}

/// Without `-c` a deploy returns when the app runs; past the label's timeout it says `deploy timed out`.
#[test]
fn a_deploy_waits_as_long_as_the_label_says() {
    let desk = desk!(&Recipe::plain());
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-C", "-D"]).good();
    assert_eq!(docker::running(&desk.stack()).len(), 1);
    desk.change_env("MODE=ok", "MODE=never-healthy\nTIMEOUT=3");
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-C", "-D"]).fatal("deploy timed out");
}

/// The stack is called after the domain, dots as underscores, hyphens kept; a name of more than 64 characters is refused.
#[test]
fn names_are_made_from_the_domain_and_have_64_characters_at_most() {
    let desk = desk!(&Recipe::plain());
    assert!(desk.stack().contains('-') && desk.stack().ends_with("_abra_test"));
    std::fs::write(desk.recipe_dir().join("abra.sh"), format!("export APP_CONF_VERSION=v{}\n", "1".repeat(50)))
        .unwrap();
    desk.deploy().fatal("only 64 ");
}

// 1.5 app undeploy

/// Undeploying keeps volumes and secrets; what is not deployed cannot be undeployed; a deploy after it finds its data.
#[test]
fn undeploying_keeps_volumes_and_secrets() {
    let desk = desk!(&Recipe::with_secrets());
    desk.abra(&["-n", "-o", "app", "undeploy", &desk.domain]).fatal("is not deployed");
    desk.abra(&["-n", "-o", "app", "secret", "generate", "-a", &desk.domain, "-C"]).good();
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-C", "-D"]).good();
    desk.abra(&["-n", "-o", "app", "volume", "rm", &desk.domain, "-f"]).fatal("still deployed");
    desk.abra(&["-n", "-o", "app", "undeploy", &desk.domain]).good();
    assert!(desk.objects("service").is_empty());
    assert_eq!(desk.objects("volume"), ["data"]);
    assert_eq!(desk.objects("secret").len(), 2);

    // Docker holds on to the volume while the container ends: removing it waits for that.
    desk.abra(&["-n", "-o", "app", "volume", "ls", &desk.domain]).good().says("_data");
    desk.abra(&["-n", "-o", "app", "volume", "rm", &desk.domain, "-f"]).good();
    assert!(desk.objects("volume").is_empty());
    desk.abra(&["-n", "-o", "app", "secret", "rm", &desk.domain, "--all", "-C"]).good();
    assert!(desk.objects("secret").is_empty());
}

// 1.6 app secret

/// `generate --all -m`: JSON with names and values, lengths and charsets kept; what is there is not made again, nor shown.
#[test]
fn generated_secrets_are_told_once() {
    let desk = desk!(&Recipe::with_secrets());
    let said = desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "--all", "-m", "-C"]).good();
    let made: BTreeMap<String, String> = rows(&said.json())
        .iter()
        .map(|row| (row["name"].as_str().unwrap().to_owned(), row["value"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(made.keys().collect::<Vec<_>>(), ["first", "second"]);
    assert!(made["first"].len() == 48 && made["first"].chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
    assert!(made["second"].len() >= 16, "a phrase");
    let said = desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "--all", "-m", "-C"]).good();
    assert!(rows(&said.json()).is_empty());
    said.lacks(&made["first"]);
}

/// Forms seen: `generate -a D`, `generate D --all`, `generate D NAME v1`; without arguments it is an error.
#[test]
fn one_secret_can_be_generated_at_a_version() {
    let desk = desk!(&Recipe::with_secrets());
    desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "second", "v7", "-C"]).good();
    assert_eq!(desk.objects("secret"), ["second_v7"]);
    assert_eq!(desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "-C"]).code, 1);
    desk.abra(&["-n", "-o", "app", "secret", "generate", "-a", &desk.domain, "-C"]).good();
    assert_eq!(desk.objects("secret").len(), 3);
}

/// `insert D NAME v1 DATA`, and with `-f` a file; a name and version that exist are Docker's AlreadyExists; only what the
/// recipe declares is taken. A bumped version makes room for a value of one's own.
#[test]
fn secrets_are_inserted_from_files_and_never_twice() {
    let desk = desk!(&Recipe::with_secrets());
    let file = desk.dir.path().join("value");
    std::fs::write(&file, "a $value \"of\" 'mine'\nwith lines\n").unwrap();
    let file = file.to_str().unwrap();
    desk.abra(&["-n", "-o", "app", "secret", "insert", &desk.domain, "first", "v1", file, "-f", "-C"])
        .good()
        .lacks("of mine");
    desk.abra(&["-n", "-o", "app", "secret", "insert", &desk.domain, "first", "v1", file, "-f", "-C"])
        .fatal("AlreadyExists");
    desk.abra(&["-n", "-o", "app", "secret", "insert", &desk.domain, "first", "v2", "data", "-C"]).good();
    assert_eq!(
        desk.abra(&["-n", "-o", "app", "secret", "insert", &desk.domain, "unknown", "v1", "data", "-C"]).code,
        1
    );
    desk.change_env("SECRET_FIRST_VERSION=v1", "SECRET_FIRST_VERSION=v2");
    desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "--all", "-C"]).good();
    desk.deploy().good();
    let text = desk.service().to_string();
    assert!(text.contains(&format!("{}_first_v2", desk.stack())), "{text}");
    assert_eq!(desk.abra(&["-n", "-o", "app", "secret", "rm", &desk.domain, "first", "-C"]).code, 1, "it is in use");
}

/// `secret ls -m` is an array of what the recipe declares, and whether it is there.
#[test]
fn secrets_are_listed() {
    let desk = desk!(&Recipe::with_secrets());
    desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "first", "v1", "-C"]).good();
    let said = desk.abra(&["-n", "-o", "app", "secret", "ls", &desk.domain, "-m", "-C"]).good();
    let found = rows(&said.json());
    assert_eq!(found.len(), 2, "{found:?}");
    let first = found.iter().find(|row| row["name"] == "first").unwrap();
    assert_eq!(first["version"], "v1");
    desk.abra(&["-n", "-o", "app", "secret", "rm", &desk.domain, "first", "-C"]).good();
    assert!(desk.objects("secret").is_empty());
}

/// Unused and commented-out secrets are not generated.
#[test]
fn only_secrets_that_services_use_count() {
    let recipe = Recipe::with_secrets()
        .replace("compose.yml", "secrets: [first, second]", "secrets: [first]")
        .append(".env.sample", "#SECRET_THIRD_VERSION=v1\n");
    let desk = desk!(&recipe);
    desk.abra(&["-n", "-o", "app", "secret", "generate", &desk.domain, "--all", "-C"]).good();
    assert_eq!(desk.objects("secret"), ["first_v1"]);
}

// 1.7 ps, ls

/// `app ps -m`: by service, every value a text.
#[test]
fn ps_tells_services_in_texts() {
    let desk = desk!(&Recipe::plain());
    assert_eq!(desk.abra(&["-n", "-o", "app", "ps", &desk.domain, "-m"]).code, 1, "not deployed");
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-C", "-D"]).good();
    let said = desk.abra(&["-n", "-o", "app", "ps", &desk.domain, "-m"]).good();
    let found = rows(&said.json());
    assert_eq!(found.len(), 1);
    for key in ["service", "chaos", "created", "image", "ports", "state", "status", "version"] {
        assert!(found[0][key].is_string(), "{key}: {found:?}");
    }
    assert_eq!(found[0]["chaos"], "true");
    assert_eq!(found[0]["state"], "running");
}

/// `app ls -m`: by server, with counts.
#[test]
fn ls_tells_apps_by_server() {
    let desk = desk!(&Recipe::plain());
    let said = desk.abra(&["-n", "-o", "app", "ls", "-m"]).good();
    let all = said.json();
    let server = &all["default"];
    assert_eq!(server["appCount"], 1);
    let app = &server["apps"][0];
    assert_eq!(
        (&app["recipe"], &app["domain"], &app["appName"]),
        (&"thing".into(), &desk.domain.clone().into(), &desk.domain.clone().into())
    );
    for key in ["server", "status", "chaos", "chaosVersion", "version", "upgrade"] {
        assert!(app[key].is_string(), "{key}: {app}");
    }
    for key in ["versionCount", "unversionedCount", "latestCount", "upgradeCount"] {
        assert!(server[key].is_number(), "{key}: {server}");
    }
}

// 2. Layout

/// `ABRA_DIR` isolates: servers and catalogue linked to shared ones, recipes its own.
#[test]
fn the_directory_isolates() {
    let desk = desk!();
    let abra = desk.dir.path().join("abra");
    let shared = desk.dir.path().join("shared");
    std::fs::create_dir_all(shared.join("servers/default")).unwrap();
    std::fs::create_dir_all(shared.join("catalogue")).unwrap();
    std::fs::remove_dir_all(abra.join("servers")).unwrap();
    std::os::unix::fs::symlink(shared.join("servers"), abra.join("servers")).unwrap();
    std::os::unix::fs::symlink(shared.join("catalogue"), abra.join("catalogue")).unwrap();
    desk.lay(&Recipe::plain(), "1.0.0+1.0");
    desk.abra(&["-n", "-o", "app", "new", "thing", "-C", "-s", "default", "-D", &desk.domain]).good();
    assert!(shared.join(format!("servers/default/{}.env", desk.domain)).exists());
    assert!(!desk.dir.path().join(".abra").exists(), "HOME was used though ABRA_DIR is set");
}

// The driver, and abras that answer otherwise

struct Heard(String);

impl Listener for Heard {
    fn command(&mut self, line: &str) {
        let _ = writeln!(self.0, "{line}");
    }

    fn output(&mut self, _: Stream, bytes: &[u8]) {
        self.0.push_str(&String::from_utf8_lossy(bytes));
    }
}

/// The whole life of an app through the driver, whatever the abra underneath answers where nobody knows what is right.
async fn a_life(otherwise: Option<&str>) {
    let desk = desk!();
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    let program = match otherwise {
        None => desk.abra.clone(),
        Some(how) => {
            let path = desk.dir.path().join("otherwise");
            let wrapper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/abra-otherwise");
            let under = desk.abra.display();
            script(
                &path,
                &format!("#!/bin/sh\nABRA_UNDER='{under}' OTHERWISE={how} exec '{}' \"$@\"\n", wrapper.display()),
            );
            path
        }
    };
    let cancel = CancellationToken::new();
    let socket = Path::new("/var/run/docker.sock");
    let abra = Abra::find(Some(&program), &program, socket, &cancel).await.unwrap();
    // The driver's home and the desk's directory are the same.
    let home = Home::of(desk.dir.path());
    home.make().unwrap();
    desk.lay(&Recipe::with_secrets(), "1.0.0+1.0");
    let (recipe, domain): (RecipeName, AppDomain) = ("thing".parse().unwrap(), desk.domain.parse().unwrap());
    let session = abra.session(&home, Duration::from_secs(60), &cancel);
    let mut heard = Heard(String::new());

    session.app_new(&recipe, &domain, &mut heard).await.unwrap();
    assert!(matches!(session.app_new(&recipe, &domain, &mut heard).await, Err(Failed::Exists)));
    let missing = session.deploy(&domain, &Passed::for_our_own(), &mut heard).await.unwrap_err();
    assert!(missing.to_string().contains("was not generated"), "{missing}");
    let secrets = session.secret_generate(&domain, &mut heard).await.unwrap();
    assert_eq!(desk.objects("secret").len(), 2);
    if otherwise.is_none_or(|how| !how.contains("no-machine")) {
        let mut names: Vec<&str> = secrets.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["first", "second"]);
    }
    for (_, value) in &secrets {
        assert!(!heard.0.contains(value.expose()), "a secret was heard");
    }
    session.deploy(&domain, &Passed::for_our_own(), &mut heard).await.unwrap();
    assert_eq!(desk.label("chaos-version").as_deref(), Some(&desk.head()[..8]));
    // Until it runs: what is taken down while it starts can leave a volume behind.
    desk.abra(&["-n", "-o", "app", "deploy", &desk.domain, "-C", "-D"]).good();
    session.undeploy(&domain, &mut heard).await.unwrap();
    assert!(matches!(session.undeploy(&domain, &mut heard).await, Err(Failed::NotDeployed)));
    session.volume_rm(&domain, &mut heard).await.unwrap();
    session.secret_rm(&domain, &mut heard).await.unwrap();
    assert!(desk.objects("secret").is_empty() && desk.objects("volume").is_empty(), "{}", heard.0);
}

#[tokio::test]
async fn the_driver_leads_a_life() {
    a_life(None).await;
}

#[tokio::test]
async fn the_driver_finds_json_on_standard_error() {
    a_life(Some("stderr")).await;
}

#[tokio::test]
async fn the_driver_takes_other_shapes_in_noise() {
    a_life(Some("shape,noise,stderr")).await;
}

#[tokio::test]
async fn the_driver_does_without_machine_output() {
    a_life(Some("no-machine,noise")).await;
}
