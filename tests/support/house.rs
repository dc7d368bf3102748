//! A house: a forge, a cc-ci that watches it, and a share of the Swarm under an address nobody else has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::docker;
use super::fixture::{self, Fixture};
use super::forges::{Forge, Kind};
use super::patience::{eventually, patience, within};
use super::pull_request::PullRequest;
use super::rig::{self, CC_CI, HTTP_PORT, HTTPS_PORT, Number, Rig, cc_ci, text, write_secret};
use super::{MEMBER, ORGANISATION, STRANGER, Text};
use serde_json::{Value, json};

pub(crate) const BOT: &str = "cc-ci-bot";
const HOOK_SECRET: &str = "what the forge and cc-ci know";

/// What is not as usual in a house.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Setup {
    #[default]
    Usual,
    RecordingAbra,
    Canaries,
    AbraOtherwise,
    Webhook,
    BaseUnderTheHeadsStamp,
    /// Its state on a disk of a few megabytes, most of which have to be free.
    SmallDisk,
    /// So many runs at a time.
    Parallel(usize),
    /// With pictures of the apps' front pages, for which others have no time.
    Pictures,
    /// On a machine with everything but a browser.
    NoBrowser,
    /// `serve` and `runner` as processes of their own.
    Apart,
    /// The same with three runs at a time, for many recipes.
    Day,
}

impl Setup {
    /// Writes down each call and passes it on.
    pub(crate) fn recording_abra() -> Setup {
        Setup::RecordingAbra
    }

    /// Deploys the base's files again where it was to deploy the head's, and says that they are the head.
    pub(crate) fn base_under_the_heads_stamp() -> Setup {
        Setup::BaseUnderTheHeadsStamp
    }

    /// Gives other answers where the contract leaves them open.
    pub(crate) fn abra_otherwise() -> Setup {
        Setup::AbraOtherwise
    }

    /// abra writes down how it was called, and a webhook's secret is there too.
    pub(crate) fn canaries() -> Setup {
        Setup::Canaries
    }

    /// `serve` and `runner` are processes of their own, and nobody is told that he asks too often.
    pub(crate) fn apart() -> Setup {
        Setup::Apart
    }

    /// Two runs at a time.
    pub(crate) fn parallel() -> Setup {
        Setup::Parallel(2)
    }

    /// The forge tells; looking by itself is far away.
    pub(crate) fn webhook() -> Setup {
        Setup::Webhook
    }
}

pub(crate) struct House {
    name: String,
    number: Number,
    rig: Rig,
    setup: Setup,
    pub(crate) forge: Forge,
    web: String,
    web_port: u16,
    processes: Mutex<Vec<(&'static str, Child)>>,
    // Fields end in this order: the forge is stopped by what it has written there.
    dir: tempfile::TempDir,
}

impl House {
    /// Open and awake; `None`, with the reason printed, where nothing can be deployed.
    pub(crate) async fn open(name: &str) -> Option<House> {
        House::open_with(name, Setup::default()).await
    }

    pub(crate) async fn open_with(name: &str, setup: Setup) -> Option<House> {
        let house = House::build(name, setup).await?;
        house.wake().await;
        Some(house)
    }

    /// The forge is there, cc-ci has looked at it once and sleeps.
    pub(crate) async fn open_asleep(name: &str) -> Option<House> {
        let house = House::build(name, Setup::default()).await?;
        house.wake().await;
        house.has_looked().await;
        house.dies().await;
        Some(house)
    }

    /// The forge is there, and nothing else yet.
    pub(crate) async fn build(name: &str, setup: Setup) -> Option<House> {
        if let Some(reason) = docker::missing() {
            println!("SKIPPED {name}: {reason}");
            return None;
        }
        let kind = Kind::of_this_story();
        if let Some(reason) = kind.missing() {
            println!("SKIPPED {name}: {reason}");
            return None;
        }
        cc_ci::sandbox::warden_is_at(CC_CI);
        drop(rustls::crypto::ring::default_provider().install_default());
        let rig = rig::up().await;
        let number = Number::take();
        // What a killed run of these tests left behind is not this story's.
        docker::remove(&number.mark());
        let dir = tempfile::Builder::new().prefix(&format!("cc-ci-{name}-")).tempdir().unwrap();
        let forge = Forge::start(kind, &dir.path().join("forge"));
        let web_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let house = House {
            name: name.into(),
            number,
            rig,
            setup,
            forge,
            web: format!("http://127.0.0.1:{web_port}"),
            web_port,
            processes: Mutex::default(),
            dir,
        };
        if matches!(setup, Setup::SmallDisk) && !house.mount(48) {
            println!("SKIPPED {name}: no tmpfs may be mounted");
            return None;
        }
        house.furnish().await;
        Some(house)
    }

    async fn furnish(&self) {
        for login in [BOT, MEMBER, STRANGER] {
            self.forge.person(login).await;
        }
        self.forge.organisation(ORGANISATION, &[BOT, MEMBER]).await;
        write_secret(&self.path("token"), &self.forge.token(BOT));
        write_secret(&self.path("hook-secret"), HOOK_SECRET);
        let abra = self.abra();
        let looks = match self.setup {
            Setup::Webhook => format!(
                "poll: {{interval: 1h, sweep: 1h}}\n  webhook: {{secret_file: {}}}",
                self.path("hook-secret").display()
            ),
            Setup::Canaries => format!(
                "poll: {{interval: 1s, sweep: 4s}}\n  webhook: {{secret_file: {}}}",
                self.path("hook-secret").display()
            ),
            Setup::Day => "poll: {interval: 1s, sweep: 1m}\n  quota: {member: 1000, pull_request: 1000}".to_owned(),
            Setup::Apart => "poll: {interval: 1s, sweep: 4s}\n  quota: {member: 1000, pull_request: 1000}".to_owned(),
            _ => "poll: {interval: 1s, sweep: 4s}".to_owned(),
        };
        let config = format!(
            "domain: {domain}\n\
             state_dir: {state}\n\
             recipes_dir: {recipes}\n\
             forge:\n  url: {forge}\n  organisation: {ORGANISATION}\n  token_file: {token}\n  {looks}\n\
             web: {{listen: '127.0.0.1:{web}'}}\n\
             runner:\n  abra: {abra}\n  retry_after: 1s\n  parallel: {parallel}\n  picture: {picture}\n\
             proxy:\n  address: 127.0.0.1:{HTTPS_PORT}\n  http_port: {HTTP_PORT}\n  ca_file: {authority}\n{retention}",
            domain = self.number.domain(),
            state = self.path("state").display(),
            recipes = self.path("recipes").display(),
            forge = self.forge.url,
            abra = abra.display(),
            parallel = match self.setup {
                Setup::Parallel(count) => count,
                Setup::Day => 3,
                _ => 1,
            },
            picture = matches!(self.setup, Setup::Pictures),
            token = self.path("token").display(),
            web = self.web_port,
            authority = self.rig.authority.display(),
            retention = match self.setup {
                Setup::SmallDisk => "retention: {free: 24M}\n",
                _ => "",
            },
        );
        std::fs::write(self.path("config.yaml"), config).unwrap();
    }

    /// Before it wakes: its limits are these, as the configuration has them.
    pub(crate) fn limits(&self, limits: &str) {
        let path = self.path("config.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replace("runner:\n", &format!("runner:\n  limits: {limits}\n"));
        assert_ne!(text, changed);
        std::fs::write(path, changed).unwrap();
    }

    /// The operator writes a file about a recipe.
    pub(crate) fn knows(&self, recipe: &str, file: &str, text: &str) {
        let path = self.path("recipes").join(recipe).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The appliance knows about a recipe what it is shipped with.
    pub(crate) fn ships(&self, recipe: &str) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(recipe);
        fixture::copy(&shipped, &self.path("recipes").join(recipe));
    }

    /// A secret of the operator, in a file; its path.
    pub(crate) fn keeps(&self, name: &str, value: &str) -> String {
        let path = self.path(name);
        write_secret(&path, value);
        text(&path).to_owned()
    }

    /// `cc-ci abra` as a program of its own, whatever abra this machine may have.
    fn abra(&self) -> PathBuf {
        let path = self.path("abra");
        let calls = self.path("abra-calls.txt");
        let otherwise = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/abra-otherwise");
        let script = match self.setup {
            Setup::Usual
            | Setup::Webhook
            | Setup::Parallel(_)
            | Setup::Pictures
            | Setup::NoBrowser
            | Setup::SmallDisk
            | Setup::Apart
            | Setup::Day => {
                format!("exec '{CC_CI}' abra \"$@\"\n")
            }
            Setup::RecordingAbra | Setup::Canaries => format!(
                "{{ printf '%s\\n' \"$@\"; printf '\\n-\\n'; env; printf '\\n--\\n'; }} >>'{}'\nexec '{CC_CI}' abra \"$@\"\n",
                calls.display()
            ),
            // The base is put aside when the head's turn comes.
            Setup::BaseUnderTheHeadsStamp => format!(
                "case \" $* \" in *' app deploy '*)\n\
                 [ ! -d \"$ABRA_DIR/../base\" ] || cp \"$ABRA_DIR/../base/compose.yml\" \"$ABRA_DIR/recipes/app/\" ;;\n\
                 esac\nexec '{CC_CI}' abra \"$@\"\n"
            ),
            Setup::AbraOtherwise => format!("ABRA_UNDER='{CC_CI} abra' exec '{}' \"$@\"\n", otherwise.display()),
        };
        std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        let mut mode = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path
    }

    /// A disk of so many megabytes for the state; `false` where none may be mounted.
    fn mount(&self, megabytes: u32) -> bool {
        std::fs::create_dir_all(self.path("state")).unwrap();
        let size = format!("size={megabytes}m,mode=0750");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none", text(&self.path("state"))]).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    }

    /// The database, and whether it is whole: what `cc-ci db check` says of it.
    pub(crate) async fn database_is_whole(&self) {
        Text(self.command(&["db", "check"]).await).contains(": whole, ");
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.path("state").join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// cc-ci begins its day, and is ready when this is over.
    pub(crate) async fn wake(&self) {
        for part in self.parts() {
            self.spawn(part, None);
        }
        self.is_ready().await;
    }

    /// A directory that has every program of this machine's PATH but browsers and their drivers.
    fn path_without_a_browser(&self) -> PathBuf {
        let dir = self.path("programs");
        std::fs::create_dir_all(&dir).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = std::env::split_paths(&path).filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        for program in programs {
            let name = program.file_name();
            let is_browser = ["chrom", "google-chrome"].iter().any(|start| text(Path::new(&name)).starts_with(start));
            if !is_browser {
                // The first of a name is the one that would be found.
                drop(std::os::unix::fs::symlink(program.path(), dir.join(name)));
            }
        }
        dir
    }

    fn parts(&self) -> &'static [&'static str] {
        if matches!(self.setup, Setup::Apart | Setup::Day) { &["serve", "runner"] } else { &["up"] }
    }

    fn spawn(&self, part: &'static str, dies_at: Option<&str>) {
        let log = File::options().create(true).append(true).open(self.path("cc-ci.txt")).unwrap();
        let child = Command::new(CC_CI)
            .args([part, "--config", text(&self.path("config.yaml"))])
            .env("RUST_LOG", "cc_ci=debug")
            .env("CC_CI_CRASH_TRACE", self.path("trace.txt"))
            .envs(dies_at.map(|point| ("CC_CI_CRASH_AT", point)))
            .envs((self.setup == Setup::NoBrowser).then(|| ("PATH", self.path_without_a_browser())))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.lock().unwrap().push((part, child));
    }

    async fn is_ready(&self) {
        eventually("cc-ci to be ready", || async {
            for (part, child) in self.processes.lock().unwrap().iter_mut() {
                assert!(child.try_wait().unwrap().is_none(), "cc-ci {part} ended at once:\n{}", self.said());
            }
            let answer = self.forge.client.get(format!("{}/ready", self.web)).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(format!("{error}\n{}", self.said())),
            }
        })
        .await;
    }

    /// Killed, with no chance to say anything.
    pub(crate) async fn dies(&self) {
        self.kill();
    }

    pub(crate) async fn starts(&self) {
        self.wake().await;
    }

    /// Starts, and will kill itself at this point.
    pub(crate) fn starts_to_die_at(&self, point: &str) {
        self.spawn("up", Some(point));
    }

    /// Waits until it has killed itself: with 9, and there.
    pub(crate) async fn has_died_at(&self, point: &str) {
        use std::os::unix::process::ExitStatusExt;
        let status = eventually(&format!("cc-ci to die at `{point}`"), || async {
            let mut processes = self.processes.lock().unwrap();
            let ended = processes.iter_mut().find_map(|(_, child)| child.try_wait().unwrap());
            ended.ok_or_else(|| self.said())
        })
        .await;
        self.processes.lock().unwrap().clear();
        assert_eq!(status.signal(), Some(9), "{status}\n{}", self.said());
        assert_eq!(self.trace().last().map(String::as_str), Some(point));
    }

    /// The points that were passed, over all its lives.
    pub(crate) fn trace(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("trace.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// One of two processes is killed, and started again.
    pub(crate) fn dies_and_starts(&self, part: &'static str) {
        let mut processes = self.processes.lock().unwrap();
        let at = processes.iter().position(|(name, _)| *name == part).expect("it runs");
        let (_, mut child) = processes.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
        drop(processes);
        self.spawn(part, None);
    }

    fn kill(&self) {
        for (_, mut child) in self.processes.lock().unwrap().drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The database is changed behind the back of cc-ci, which sleeps.
    pub(crate) fn writes_to_the_database(&self, sql: &str) {
        rusqlite::Connection::open(self.path("state/cc-ci.db")).unwrap().execute(sql, []).unwrap();
    }

    /// What one number the database gives for this question.
    pub(crate) fn asks_the_database(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(self.path("state/cc-ci.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// What one word it gives.
    pub(crate) fn reads_the_database(&self, sql: &str) -> String {
        let db = rusqlite::Connection::open(self.path("state/cc-ci.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Bytes that this part of it holds (VmRSS).
    pub(crate) fn memory_of(&self, part: &str) -> u64 {
        let processes = self.processes.lock().unwrap();
        let (_, child) = processes.iter().find(|(name, _)| *name == part).expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a live process");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Bytes of all files in its state directory.
    pub(crate) fn size_of_its_state(&self) -> u64 {
        let mut places = vec![self.path("state")];
        let mut bytes = 0;
        while let Some(dir) = places.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(found) if found.is_dir() => places.push(entry.path()),
                    Ok(found) => bytes += found.len(),
                    // Gone between the two looks.
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    /// Nothing is open, and the database is whole.
    pub(crate) async fn is_consistent(&self) {
        for open in [
            "select count(*) from runs where finished_at is null",
            "select count(*) from stages where state in ('waiting', 'running')",
            "select count(*) from apps where gone_at is null",
            "select count(*) from comments where decision is null",
            "select count(*) from outbox where done_at is null and gave_up_at is null",
            "select count(*) from voices where replaced is not null or status like 'pending%'",
            "select count(*) from pragma_foreign_key_check",
            "select count(*) from pragma_integrity_check where integrity_check <> 'ok'",
        ] {
            eventually(open, || async {
                let rows = self.asks_the_database(open);
                if rows == 0 { Ok(()) } else { Err(format!("{rows} rows")) }
            })
            .await;
        }
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.path("cc-ci.txt")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until cc-ci has written these words for its operator.
    pub(crate) async fn comes_to_say(&self, words: &str) {
        eventually(&format!("cc-ci to say `{words}`"), || async {
            let text = std::fs::read_to_string(self.path("cc-ci.txt")).unwrap_or_default();
            if text.contains(words) { Ok(()) } else { Err(self.said()) }
        })
        .await;
    }

    /// A recipe's repository with its history, and an open pull request with its last step.
    pub(crate) async fn pull_request(&self, recipe: Fixture) -> PullRequest<'_> {
        PullRequest::open(self, &recipe, None).await
    }

    pub(crate) async fn pull_request_from_fork(&self, recipe: Fixture, owner: &str) -> PullRequest<'_> {
        PullRequest::open(self, &recipe, Some(owner)).await
    }

    pub(crate) async fn empty_repository(&self, name: &str) {
        self.forge.repository(&format!("{ORGANISATION}/{name}")).await;
    }

    /// It has asked the forge twice more for what is new: what the first of them brought has been read and decided.
    pub(crate) async fn has_looked(&self) {
        self.forge.is_searched_twice().await;
    }

    pub(crate) async fn page(&self, path: &str) -> Text {
        let answer = self.forge.client.get(format!("{}{path}", self.web)).send().await.expect("the dashboard answers");
        Text(answer.text().await.unwrap())
    }

    pub(super) fn hook_address(&self) -> String {
        format!("{}/hook", self.web)
    }

    pub(crate) fn hook_secret() -> &'static str {
        HOOK_SECRET
    }

    /// The status that whoever says this at the webhook's door is told.
    pub(crate) async fn hook_answers(&self, body: &str, signature: Option<&str>) -> u16 {
        let mut request = self.forge.client.post(self.hook_address()).body(body.to_owned());
        request = request.header("x-gitea-event", "issue_comment").header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header("x-gitea-signature", signature);
        }
        request.send().await.expect("the dashboard answers").status().as_u16()
    }

    /// Puts so many tags into the one repository of the forge, by its file: pushing them is not what is told here.
    pub(crate) fn forge_has_tags(&self, count: usize, commit: &str) {
        let repository = std::fs::read_dir(self.path("forge/git")).unwrap().next().unwrap().unwrap().path();
        let file = repository.join("packed-refs");
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        let known: Vec<&str> = known.lines().filter(|line| !line.starts_with('#')).collect();
        let tags = (0..count).map(|number| format!("{commit} refs/tags/0.0.{number}+1"));
        let lines: Vec<String> = known.into_iter().map(str::to_owned).chain(tags).collect();
        std::fs::write(file, lines.join("\n") + "\n").unwrap();
    }

    /// Waits until a page has these words.
    pub(crate) async fn page_comes_to_say(&self, path: &str, words: &str) {
        eventually(&format!("{path} to say `{words}`"), || async {
            let page = self.page(path).await.0;
            if page.contains(words) { Ok(()) } else { Err(page) }
        })
        .await;
    }

    /// All runs, newest first, as the command line tells them.
    pub(crate) async fn runs(&self) -> Vec<Value> {
        let text = self.command(&["runs", "list", "--json", "-n", "100"]).await;
        serde_json::from_str(&text).unwrap()
    }

    /// `cc-ci trigger`, for this house.
    pub(crate) async fn triggers(&self, what: &str) -> Text {
        Text(self.command(&["trigger", what]).await)
    }

    /// The rows of `cc-ci doctor`, which is not asked whether it is content.
    pub(crate) async fn doctor(&self) -> Vec<Value> {
        let config = self.path("config.yaml");
        let asked = tokio::task::spawn_blocking(move || {
            Command::new(CC_CI).args(["doctor", "--json", "--config", text(&config)]).stdin(Stdio::null()).output()
        });
        let output = asked.await.unwrap().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["rows"].as_array().unwrap().clone()
    }

    /// `cc-ci token new`, for this house.
    pub(crate) async fn new_token(&self, name: &str, scope: &str) -> String {
        self.command(&["token", "new", name, "--scope", scope]).await.trim().to_owned()
    }

    /// Asks the API for a run.
    pub(crate) async fn asks_by_token(&self, token: &str, wish: &str) -> Text {
        self.acts_by_token(token, "/api/v1/runs", wish).await
    }

    /// Asks the API for whatever this address does.
    pub(crate) async fn acts_by_token(&self, token: &str, address: &str, wish: &str) -> Text {
        let request = self.forge.client.post(format!("{}{address}", self.web)).bearer_auth(token);
        let answer = request.header("content-type", "application/json").body(wish.to_owned()).send().await;
        Text(answer.expect("the API answers").text().await.unwrap())
    }

    /// `cc-ci run` in a recipe's directory, with this house's domain and proxy: exit code, and all that it said.
    pub(crate) async fn runs_locally(&self, recipe: &Fixture) -> (i32, Text) {
        self.starts_locally(recipe).await.ends().await
    }

    /// The same, with another recipe that is named: its installation alone.
    pub(crate) async fn runs_locally_beside(&self, recipe: &Fixture, other: &Fixture) -> (i32, Text) {
        let made = made(other).await;
        let with = format!("{}={}", other.repository(), text(made.path()));
        self.spawns_locally(recipe, &["--stage", "checks", "--with", &with]).await.ends().await
    }

    /// The same, under way when this is over.
    pub(crate) async fn starts_locally(&self, recipe: &Fixture) -> Local {
        self.spawns_locally(recipe, &[]).await
    }

    async fn spawns_locally(&self, recipe: &Fixture, arguments: &[&str]) -> Local {
        let made = made(recipe).await;
        let mut command = Command::new(CC_CI);
        command.args(["run", text(made.path()), "--config", text(&self.path("config.yaml"))]).args(arguments);
        command.env("TMPDIR", self.tmp()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Local { child: command.spawn().unwrap(), _recipe: made }
    }

    /// Where local runs of this house have their files.
    fn tmp(&self) -> PathBuf {
        let dir = self.path("tmp");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// `cc-ci janitor` with these flags: what it said as JSON.
    pub(crate) async fn janitor(&self, flags: &[&str]) -> Value {
        let mut command = Command::new(CC_CI);
        command.args(["janitor", "--json", "--config", text(&self.path("config.yaml"))]).args(flags);
        command.env("TMPDIR", self.tmp()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&said).unwrap()
    }

    /// The database as it is while nobody writes it.
    pub(crate) fn keeps_a_copy_of_its_database(&self) {
        std::fs::create_dir(self.path("copy")).unwrap();
        for file in ["cc-ci.db", "cc-ci.db-wal"] {
            std::fs::copy(self.path("state").join(file), self.path("copy").join(file)).unwrap();
        }
    }

    /// The copy takes the database's place, and no run has a directory: restored from a backup, perhaps on another machine.
    pub(crate) fn gets_its_copy_back(&self) {
        std::fs::remove_file(self.path("state/cc-ci.db-shm")).unwrap();
        for file in ["cc-ci.db", "cc-ci.db-wal"] {
            std::fs::copy(self.path("copy").join(file), self.path("state").join(file)).unwrap();
        }
        std::fs::remove_dir_all(self.path("state/work")).unwrap();
    }

    /// What is on the Swarm under this house's domain.
    pub(crate) fn on_the_swarm(&self) -> Vec<String> {
        docker::objects(&self.number.mark())
    }

    /// `cust-9ad31f` as a stack of this house is called.
    pub(crate) fn stack(&self, start: &str) -> String {
        format!("{start}{}", self.number.mark())
    }

    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let config = self.path("config.yaml");
        let arguments: Vec<String> =
            arguments.iter().map(ToString::to_string).chain(["--config".into(), text(&config).into()]).collect();
        tokio::task::spawn_blocking(move || cc_ci(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
            .await
            .unwrap()
    }

    /// Waits until a run is so far: `queued or later`, `running` (or over already), or an outcome.
    pub(crate) async fn run_is(&self, id: i64, state: &str) {
        eventually(&format!("run {id} to be {state}"), || async {
            let runs = self.runs().await;
            let Some(run) = runs.iter().find(|run| run["id"] == id) else { return Err("it is not there".into()) };
            let now = run["state"].as_str().unwrap();
            let is_so = match state {
                "queued or later" => true,
                "running" => now != "queued",
                state => now == state,
            };
            if is_so { Ok(()) } else { Err(format!("{run:#}\n{}", self.said())) }
        })
        .await;
    }

    /// Waits until the newest run of a repository is over, and gives it as data.
    pub(crate) async fn result_of(&self, repository: &str) -> Value {
        self.result_within(repository, patience()).await
    }

    /// The same, of a run that may take long.
    pub(crate) async fn result_within(&self, repository: &str, patience: Duration) -> Value {
        let id = within(patience, &format!("the run of {repository} to be over"), || async {
            let runs = self.runs().await;
            let own = format!("{ORGANISATION}/{repository}");
            let Some(run) = runs.iter().find(|run| run["repository"] == own.as_str()) else {
                return Err("it is not there".into());
            };
            if run["outcome"].is_null() { Err(format!("{run:#}\n{}", self.said())) } else { Ok(run["id"].clone()) }
        })
        .await;
        serde_json::from_str(&self.page(&format!("/runs/{id}/result.json")).await.0).unwrap()
    }

    /// Waits until something of a run stands on the Swarm.
    pub(crate) async fn has_a_stack(&self) {
        eventually("a container of the run", || async {
            let mark = self.number.mark();
            let running = tokio::task::spawn_blocking(move || docker::running(&mark)).await.unwrap();
            if running.is_empty() { Err(self.said()) } else { Ok(()) }
        })
        .await;
    }

    /// The generated secret, read where it belongs: in the app's container, or from what the app itself printed.
    pub(crate) async fn secret_of_the_app(&self, name: &str) -> String {
        let path = format!("/run/secrets/{name}");
        eventually("the app's secret", || async {
            let (mark, path) = (self.number.mark(), path.clone());
            let found = tokio::task::spawn_blocking(move || {
                docker::running(&mark).iter().find_map(|container| {
                    let output = docker::docker(&["exec", container, "cat", &path]);
                    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                })
            });
            found.await.unwrap().filter(|secret| secret.len() >= 8).ok_or_else(|| self.said())
        })
        .await
    }

    /// Every place where a secret could have gone: files, pages, and all that the forge was told.
    pub(crate) async fn everything_written_and_served(&self) -> Vec<(String, Vec<u8>)> {
        let mut places = Vec::new();
        files(self.dir.path(), &mut places);
        for page in ["/", "/runs", "/runs/1", "/runs/1/log", "/queue", "/decisions", "/ready"] {
            places.push((page.into(), self.page(page).await.0.into_bytes()));
        }
        places
    }

    pub(crate) fn bot_token(&self) -> String {
        std::fs::read_to_string(self.path("token")).unwrap().trim().to_owned()
    }

    /// A line of the key by which the proxy is believed, as long as any.
    pub(crate) fn wildcard_key(&self) -> String {
        let key = std::fs::read_to_string(&self.rig.key).unwrap();
        key.lines().filter(|line| !line.starts_with('-')).max_by_key(|line| line.len()).unwrap().to_owned()
    }

    /// Is this place, as [`House::everything_written_and_served`] calls it, the file or within the directory?
    pub(crate) fn is_at(&self, place: &str, home: &str) -> bool {
        let home = self.path(home);
        place.split(" (").next().is_some_and(|place| Path::new(place).starts_with(home))
    }

    /// All that a reader of the dashboard comes to from its first page.
    pub(crate) async fn served_to_whoever_follows_links(&self) -> Vec<(String, Vec<u8>)> {
        let mut known = BTreeSet::from(["/".to_owned(), "/api/v1/runs".into(), "/api/v1/runs/1".into()]);
        let mut ahead: Vec<String> = known.iter().cloned().collect();
        let mut places = Vec::new();
        while let Some(path) = ahead.pop() {
            assert!(known.len() < 500, "the dashboard has no end: {known:?}");
            let answer = self.forge.client.get(format!("{}{path}", self.web)).send().await.unwrap();
            if answer.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
                continue;
            }
            let bytes = answer.bytes().await.unwrap().to_vec();
            let text = String::from_utf8_lossy(&bytes).replace("&amp;", "&");
            for attribute in ["href=\"/", "src=\"/"] {
                for after in text.split(attribute).skip(1) {
                    let path = format!("/{}", after.split(['"', '#']).next().unwrap());
                    if !path.contains("events") && known.insert(path.clone()) {
                        ahead.push(path);
                    }
                }
            }
            places.push((format!("page: {path}"), bytes));
        }
        places
    }

    /// Looks at the arguments and the environment of all processes under this house's own until it is stopped.
    pub(crate) fn watches_its_processes(&self) -> Watch {
        let root = self.processes.lock().unwrap().first().expect("cc-ci runs").1.id();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let seen = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            // Between two looks a moment passes, unless it is told to end.
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(20))
            {
                seen.extend(processes_under(root));
            }
            seen.into_iter().collect()
        });
        Watch { stop, seen }
    }

    pub(crate) async fn calls_of_abra(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(self.path("abra-calls.txt")).expect("the recording abra was called");
        text.split("\n--\n").filter(|call| !call.trim().is_empty()).map(Call::read).collect()
    }

    /// The bot's token is revoked; the forge has another for who asks.
    pub(crate) async fn token_is_revoked(&self) {
        self.forge.replaces_the_token_of(BOT).await;
    }

    /// The operator puts it in its place.
    pub(crate) async fn has_its_new_token(&self) {
        write_secret(&self.path("token"), &self.forge.token(BOT));
    }

    pub(crate) async fn forge_goes_down(&self) {
        self.forge.goes_down().await;
    }

    pub(crate) async fn forge_is_back(&self) {
        self.forge.is_back().await;
    }

    /// Nothing of this house is on the Swarm, and no workspace on the disk.
    pub(crate) async fn is_empty(&self) {
        let left = docker::objects(&self.number.mark());
        assert!(left.is_empty(), "left on the Swarm: {left:?}");
        let work = self.path("state/work");
        let left: Vec<_> = std::fs::read_dir(&work).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left on the disk: {left:?}");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.kill();
        if matches!(self.setup, Setup::SmallDisk) {
            let _ = Command::new("umount").arg(self.path("state")).status();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("cc-ci.txt")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!(
                "---- what cc-ci of {} said ----\n{}",
                self.name,
                lines[lines.len().saturating_sub(120)..].join("\n")
            );
        }
        docker::remove(&self.number.mark());
    }
}

fn files(dir: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&path, places);
        } else if let Ok(bytes) = std::fs::read(&path) {
            places.extend(unpacked(&bytes).map(|bytes| (format!("{} (unpacked)", path.display()), bytes)));
            places.push((path.display().to_string(), bytes));
        }
    }
}

/// All that can be unpacked of a file, whatever stands before and between.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut out = Vec::new();
    for start in bytes.windows(4).enumerate().filter(|(_, window)| **window == MAGIC).map(|(start, _)| start) {
        if let Ok(mut frame) = zstd::Decoder::new(&bytes[start..]) {
            let _ = frame.read_to_end(&mut out);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// A recipe's repository, at its head.
async fn made(recipe: &Fixture) -> tempfile::TempDir {
    let (laid, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    recipe.lay(laid.path());
    cc_ci::dev::recipe::make(laid.path(), made.path()).await.unwrap();
    made
}

/// A `cc-ci run` under way.
pub(crate) struct Local {
    child: Child,
    _recipe: tempfile::TempDir,
}

impl Local {
    /// Exit code, and all that it said.
    pub(crate) async fn ends(self) -> (i32, Text) {
        let output = tokio::task::spawn_blocking(move || self.child.wait_with_output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap_or(-1), Text(said))
    }

    pub(crate) async fn dies(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Processes are being watched.
pub(crate) struct Watch {
    stop: std::sync::mpsc::Sender<()>,
    seen: std::thread::JoinHandle<Vec<(String, Vec<u8>)>>,
}

impl Watch {
    /// What was seen.
    pub(crate) fn stop(self) -> Vec<(String, Vec<u8>)> {
        drop(self.stop);
        self.seen.join().unwrap()
    }
}

/// `cmdline` and `environ` of a process and all that came from it.
fn processes_under(root: u32) -> Vec<(String, Vec<u8>)> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.insert(id, parent.unwrap_or(0));
    }
    let is_under = |mut id: u32| {
        while id != root && id > 1 {
            id = parents.get(&id).copied().unwrap_or(0);
        }
        id == root
    };
    let mut seen = Vec::new();
    for id in parents.keys().copied().filter(|id| is_under(*id)) {
        for what in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
            seen.push((format!("process: {what}"), bytes));
        }
    }
    seen
}

/// One call of abra, as the recording one wrote it down: its arguments, then its environment.
#[derive(Debug)]
pub(crate) struct Call {
    arguments: Vec<String>,
    environment: Vec<String>,
}

impl Call {
    fn read(text: &str) -> Call {
        let (arguments, environment) = text.split_once("\n-\n").expect("arguments, then the environment");
        let lines = |text: &str| text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
        Call { arguments: lines(arguments), environment: lines(environment) }
    }

    /// The sub-command, whatever flags stand between its words.
    pub(crate) fn is(&self, command: &str) -> bool {
        let words: Vec<&str> =
            self.arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
        words.join(" ").starts_with(command) && !self.has("--help")
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.arguments.join("\n"), self.environment.join("\n"))
    }
}
