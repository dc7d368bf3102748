//! Drives abra by its command line, the real one or the one built in; cc-ci reaches abra in no other way.
//!
//! Each run has its own `ABRA_DIR` and `HOME`, so no two runs share a recipe's checkout, which abra moves at will. Each call is
//! chaos where that exists, offline and without questions, in a fixed environment. No secret is ever an argument. What the
//! program can do is asked of it once, at start ([`Abra::find`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::answers::{self, Class};
use crate::compose::policy::Passed;
use crate::crash::crash_point;
use crate::model::{AppDomain, RecipeName};
use crate::sandbox::{self, Command, Ended, SpawnError, Stream};
use crate::secrets::Secret;

/// Of each stream, as much is kept to tell an error by.
const KEPT: usize = 64 << 10;
/// `--version` and `--help` answer at once or not at all.
const PROBE: Duration = Duration::from_secs(20);
const LAST_LINES: usize = 20;

/// An abra that was asked what it can do.
#[derive(Clone, Debug)]
pub struct Abra {
    program: PathBuf,
    /// `abra`, where the program is cc-ci itself.
    leading: Option<&'static str>,
    docker: PathBuf,
    /// Where Docker's logins are, if anywhere.
    logins: Option<PathBuf>,
    pub version: String,
    can: Can,
}

/// Flags that not every version has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Can {
    secret_generate_machine: bool,
    secret_generate_chaos: bool,
    undeploy_chaos: bool,
    volume_rm_force: bool,
    secret_insert_chaos: bool,
    secret_rm_chaos: bool,
    restore_hooks: bool,
    restore_snapshot: bool,
}

/// Why an abra will not do.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("abra at {} cannot be started: {source}; set `runner.abra` to one that can, or leave it out to use the one built in", program.display())]
    Spawn { program: PathBuf, source: SpawnError },
    #[error("abra at {} does not answer `{asked}` ({said}); set `runner.abra` to one that does, or leave it out to use the one built in", program.display())]
    Mute { program: PathBuf, asked: String, said: String },
    #[error("{version} at {} has no `{flag}` for `abra {command}`; cc-ci needs abra 0.11 or newer", program.display())]
    Lacks { program: PathBuf, version: String, command: String, flag: &'static str },
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{words}")]
    Recipe { words: String, last: Vec<String> },
    #[error("{words}")]
    Infra { words: String, last: Vec<String> },
    #[error("nothing is deployed")]
    NotDeployed,
    #[error("it exists already")]
    Exists,
    /// Nobody has seen this before.
    #[error("`abra {what}` failed: {line}")]
    Unknown { what: String, line: String, last: Vec<String> },
    #[error("`abra {what}` took longer than {} s and was ended", limit.as_secs())]
    Limit { what: String, limit: Duration },
    #[error("`abra {what}` was ended before it was done")]
    Cancelled { what: String },
    #[error("`abra {what}` could not be started: {source}")]
    Spawn { what: String, source: SpawnError },
}

/// A run's own `ABRA_DIR` and `HOME`.
#[derive(Clone, Debug)]
pub struct Home {
    pub abra_dir: PathBuf,
    home: PathBuf,
}

impl Home {
    /// Where they are in a run's directory, there or not.
    pub fn of(run_dir: &Path) -> Home {
        Home { abra_dir: run_dir.join("abra"), home: run_dir.join("home") }
    }

    /// The one that an `ABRA_DIR` from the database belongs to.
    pub fn of_abra_dir(abra_dir: &Path) -> Home {
        Home::of(abra_dir.parent().unwrap_or(abra_dir))
    }

    /// Makes what abra expects to find. Blocking.
    pub fn make(&self) -> std::io::Result<()> {
        for dir in ["servers/default", "recipes", "catalogue", "logs"] {
            std::fs::create_dir_all(self.abra_dir.join(dir))?;
        }
        std::fs::create_dir_all(&self.home)
    }

    pub fn recipe_dir(&self, recipe: &RecipeName) -> PathBuf {
        self.abra_dir.join("recipes").join(recipe.as_str())
    }

    pub fn env_file(&self, domain: &AppDomain) -> PathBuf {
        self.abra_dir.join("servers/default").join(format!("{domain}.env"))
    }
}

/// Where a call's command line and output go while it runs.
pub trait Listener: Send {
    fn command(&mut self, line: &str);
    fn output(&mut self, stream: Stream, bytes: &[u8]);
    /// The call is over: what it left without a line end is a line.
    fn ended(&mut self) {}
}

/// Hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Listener for Nobody {
    fn command(&mut self, _: &str) {}
    fn output(&mut self, _: Stream, _: &[u8]) {}
}

impl Abra {
    /// The configured abra, else the one on the PATH, else the one built into `own`, this very program.
    pub async fn find(
        configured: Option<&Path>,
        own: &Path,
        docker: &Path,
        cancel: &CancellationToken,
    ) -> Result<Abra, Unfit> {
        let (program, leading) = match configured.map(Path::to_owned).or_else(on_the_path) {
            Some(program) => (program, None),
            None => (own.to_owned(), Some("abra")),
        };
        let mut abra = Abra {
            program,
            leading,
            docker: docker.to_owned(),
            logins: None,
            version: String::new(),
            can: Can::default(),
        };
        let dir = std::env::temp_dir();
        let home = Home { abra_dir: dir.join("cc-ci-abra-probe"), home: dir };
        let said = answers::plain(&abra.ask(&home, &["--version"], cancel).await?);
        let version = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("abra");
        version.clone_into(&mut abra.version);
        abra.can = abra.probe(&home, cancel).await?;
        Ok(abra)
    }

    /// Has it deploy with the logins of a `config.json`.
    pub fn with_logins(self, file: Option<&Path>) -> Abra {
        Abra { logins: file.and_then(Path::parent).map(Path::to_owned), ..self }
    }

    /// Whether this very program stands in for it.
    pub fn is_built_in(&self) -> bool {
        self.leading.is_some()
    }

    /// For people: the program and, where it is cc-ci itself, that it is.
    pub fn place(&self) -> String {
        match self.leading {
            Some(_) => "built in".to_owned(),
            None => self.program.display().to_string(),
        }
    }

    async fn probe(&self, home: &Home, cancel: &CancellationToken) -> Result<Can, Unfit> {
        /// Sub-commands and the flags without which there is no test; either spelling will do.
        const NEEDS: &[(&str, &[(&str, &str)])] = &[
            ("app new", &[("--chaos", "-C"), ("--server", "-s"), ("--domain", "-D")]),
            (
                "app deploy",
                &[("--chaos", "-C"), ("--no-converge-checks", "-c"), ("--no-domain-checks", "--no-domain-checks")],
            ),
            ("app undeploy", &[]),
            ("app secret generate", &[("--all", "-a")]),
            ("app secret insert", &[("--file", "-f")]),
            ("app secret rm", &[("--all", "-a")]),
            ("app volume rm", &[]),
            ("app backup create", &[]),
            ("app restore", &[]),
        ];
        let mut can = Can::default();
        for (command, flags) in NEEDS {
            let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
            let help = self.ask(home, &words, cancel).await?;
            for (long, short) in *flags {
                if !answers::lists_flag(&help, long) && !answers::lists_flag(&help, short) {
                    return Err(Unfit::Lacks {
                        program: self.program.clone(),
                        version: self.version.clone(),
                        command: (*command).to_owned(),
                        flag: long,
                    });
                }
            }
            let has = |long, short| answers::lists_flag(&help, long) || answers::lists_flag(&help, short);
            match *command {
                "app secret generate" => {
                    can.secret_generate_machine = has("--machine", "-m");
                    can.secret_generate_chaos = has("--chaos", "-C");
                }
                "app undeploy" => can.undeploy_chaos = has("--chaos", "-C"),
                "app volume rm" => can.volume_rm_force = has("--force", "-f"),
                "app secret insert" => can.secret_insert_chaos = has("--chaos", "-C"),
                "app secret rm" => can.secret_rm_chaos = has("--chaos", "-C"),
                "app restore" => {
                    can.restore_hooks = has("--hooks", "-H");
                    can.restore_snapshot = has("--snapshot", "-s");
                }
                _ => {}
            }
        }
        Ok(can)
    }

    async fn ask(&self, home: &Home, words: &[&str], cancel: &CancellationToken) -> Result<String, Unfit> {
        let command = self.command(home, words).limit(PROBE);
        let output = sandbox::output(&command, cancel, KEPT)
            .await
            .map_err(|source| Unfit::Spawn { program: self.program.clone(), source })?;
        let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].join("\n");
        if output.exit.code == Some(0) {
            return Ok(text);
        }
        let said = answers::telling_line(&text).unwrap_or_else(|| "no word".to_owned());
        Err(Unfit::Mute { program: self.program.clone(), asked: words.join(" "), said })
    }

    fn command(&self, home: &Home, words: &[&str]) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        let mut docker = OsString::from("unix://");
        docker.push(&self.docker);
        let mut command = Command::new(&self.program).args(self.leading).args(words);
        if let Some(logins) = &self.logins {
            command = command.env("DOCKER_CONFIG", logins);
        }
        command
            .env("PATH", path)
            .env("HOME", &home.home)
            .env("ABRA_DIR", &home.abra_dir)
            .env("DOCKER_HOST", docker)
            .env("NO_COLOR", "1")
            .env("TERM", "dumb")
            .env("LC_ALL", "C.UTF-8")
            .env("LANG", "C.UTF-8")
            .env("LANGUAGE", "")
            .env("GIT_TERMINAL_PROMPT", "0")
            .cwd(&home.home)
    }

    /// Calls of one run: in its home, ended by its token, each within `limit`.
    pub fn session<'a>(&'a self, home: &'a Home, limit: Duration, cancel: &CancellationToken) -> Session<'a> {
        Session { abra: self, home, limit, cancel: cancel.clone() }
    }
}

fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("abra")).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Calls of one run.
#[derive(Debug)]
pub struct Session<'a> {
    abra: &'a Abra,
    home: &'a Home,
    limit: Duration,
    cancel: CancellationToken,
}

impl Session<'_> {
    /// Writes the app's `.env` from the recipe's sample.
    pub async fn app_new(
        &self,
        recipe: &RecipeName,
        domain: &AppDomain,
        listener: &mut dyn Listener,
    ) -> Result<(), Failed> {
        let words = ["app", "new", recipe.as_str(), "-C", "--server", "default", "--domain", domain.as_str()];
        self.call("app new", &words, listener).await
    }

    /// Generates every secret that is to be generated, and hands their values over. The output is logged nowhere: the
    /// values stand in it.
    pub async fn secret_generate(
        &self,
        domain: &AppDomain,
        listener: &mut dyn Listener,
    ) -> Result<Vec<(String, Secret)>, Failed> {
        let mut words = vec!["app", "secret", "generate", domain.as_str(), "--all"];
        words.extend(self.abra.can.secret_generate_machine.then_some("-m"));
        words.extend(self.abra.can.secret_generate_chaos.then_some("-C"));
        listener.command(&shown(&words));
        let (exit, stdout, stderr) = self.run("app secret generate", &words, &mut Nobody).await?;
        let secrets = answers::generated_secrets(&stdout, &stderr);
        if exit == Some(0) {
            return Ok(secrets);
        }
        // What is said of the failure must not hold what was generated before it.
        let mut text = stdout + "\n" + &stderr;
        for (name, value) in &secrets {
            text = text.replace(value.expose(), &format!("[secret {name}]"));
        }
        Err(failure("app secret generate", &text, secrets.is_empty()))
    }

    /// A secret of one's own from a file, so that its value stands in no argument. `Failed::Exists` where it is there.
    pub async fn secret_insert(
        &self,
        domain: &AppDomain,
        (name, version): (&str, &str),
        file: &Path,
        listener: &mut dyn Listener,
    ) -> Result<(), Failed> {
        let file = file.to_string_lossy();
        let mut words = vec!["app", "secret", "insert", domain.as_str(), name, version, &file, "-f"];
        words.extend(self.abra.can.secret_insert_chaos.then_some("-C"));
        self.call("app secret insert", &words, listener).await
    }

    /// Deploys the checkout as it stands, and returns when the Swarm has it, not when it runs. Only what the policy let pass.
    pub async fn deploy(&self, domain: &AppDomain, _: &Passed, listener: &mut dyn Listener) -> Result<(), Failed> {
        self.call("app deploy", &["app", "deploy", domain.as_str(), "-C", "-c", "--no-domain-checks"], listener).await
    }

    /// Returns before the objects are gone.
    pub async fn undeploy(&self, domain: &AppDomain, listener: &mut dyn Listener) -> Result<(), Failed> {
        let mut words = vec!["app", "undeploy", domain.as_str()];
        words.extend(self.abra.can.undeploy_chaos.then_some("-C"));
        self.call("app undeploy", &words, listener).await
    }

    pub async fn volume_rm(&self, domain: &AppDomain, listener: &mut dyn Listener) -> Result<(), Failed> {
        let mut words = vec!["app", "volume", "rm", domain.as_str()];
        words.extend(self.abra.can.volume_rm_force.then_some("-f"));
        self.call("app volume rm", &words, listener).await
    }

    pub async fn secret_rm(&self, domain: &AppDomain, listener: &mut dyn Listener) -> Result<(), Failed> {
        let mut words = vec!["app", "secret", "rm", domain.as_str(), "--all"];
        words.extend(self.abra.can.secret_rm_chaos.then_some("-C"));
        self.call("app secret rm", &words, listener).await
    }

    /// Has the backup service make a snapshot. That it says so proves nothing: look into it.
    pub async fn backup_create(&self, domain: &AppDomain, listener: &mut dyn Listener) -> Result<(), Failed> {
        self.heed_hooks("app backup create", &["app", "backup", "create", domain.as_str()], listener).await
    }

    /// Restores over what is there, hooks included, from that snapshot where abra can be told one; else from the app's latest.
    pub async fn restore(&self, domain: &AppDomain, snapshot: &str, listener: &mut dyn Listener) -> Result<(), Failed> {
        let mut words = vec!["app", "restore", domain.as_str()];
        words.extend(self.abra.can.restore_hooks.then_some("--hooks"));
        if self.abra.can.restore_snapshot {
            words.extend(["-s", snapshot]);
        }
        self.heed_hooks("app restore", &words, listener).await
    }

    /// A call that has failed, too, where it only says that a hook has; what the backup service complains of is its reason.
    async fn heed_hooks(&self, what: &'static str, words: &[&str], listener: &mut dyn Listener) -> Result<(), Failed> {
        listener.command(&shown(words));
        let (exit, stdout, stderr) = self.run(what, words, listener).await?;
        let text = stdout + "\n" + &stderr;
        if exit == Some(0) && !answers::a_hook_failed(&text) {
            return Ok(());
        }
        Err(match failure(what, &text, true) {
            Failed::Unknown { what, line, last } => {
                Failed::Unknown { what, line: answers::complaint(&text).unwrap_or(line), last }
            }
            failed => failed,
        })
    }

    async fn call(&self, what: &'static str, words: &[&str], listener: &mut dyn Listener) -> Result<(), Failed> {
        listener.command(&shown(words));
        let (exit, stdout, stderr) = self.run(what, words, listener).await?;
        if exit == Some(0) { Ok(()) } else { Err(failure(what, &(stdout + "\n" + &stderr), true)) }
    }

    /// Runs one call to its end and gives back its exit code and the end of both streams.
    async fn run(
        &self,
        what: &'static str,
        words: &[&str],
        listener: &mut dyn Listener,
    ) -> Result<(Option<i32>, String, String), Failed> {
        let words: Vec<&str> = ["-n", "-o"].iter().chain(words).copied().collect();
        // These attach a terminal to a container, and refuse to where they have none themselves.
        let on_a_terminal = what.starts_with("app backup") || what == "app restore";
        let command = self.abra.command(self.home, &words).limit(self.limit).pty(on_a_terminal);
        let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
        let mut begins = on_a_terminal;
        let mut sink = |stream: Stream, bytes: &[u8]| {
            // The end of our empty input, as the container's terminal shows it.
            let bytes = if std::mem::take(&mut begins) { bytes.strip_prefix(b"^@").unwrap_or(bytes) } else { bytes };
            listener.output(stream, bytes);
            match stream {
                Stream::Out => stdout.push(bytes),
                Stream::Err => stderr.push(bytes),
            }
        };
        let exit = sandbox::run(&command, &self.cancel, &mut sink).await;
        listener.ended();
        let exit = exit.map_err(|source| Failed::Spawn { what: what.to_owned(), source })?;
        crash_point!("abra: {what}");
        match exit.ended {
            Ended::ByItself => Ok((exit.code, stdout.text(), stderr.text())),
            Ended::Cancelled => Err(Failed::Cancelled { what: what.to_owned() }),
            Ended::Limit | Ended::Silence => Err(Failed::Limit { what: what.to_owned(), limit: self.limit }),
        }
    }
}

fn shown(words: &[&str]) -> String {
    format!("$ abra -n -o {}", words.join(" "))
}

fn failure(what: &str, text: &str, may_quote: bool) -> Failed {
    let plain = answers::plain(text);
    let lines: Vec<&str> = plain.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = if may_quote { lines.len().saturating_sub(LAST_LINES) } else { lines.len() };
    let last: Vec<String> = lines[from..].iter().map(|line| (*line).to_owned()).collect();
    match answers::classify(text) {
        Class::Recipe(words) => Failed::Recipe { words: with_line(words, text), last },
        Class::Infra(words) => Failed::Infra { words, last },
        Class::NotDeployed => Failed::NotDeployed,
        Class::Exists => Failed::Exists,
        Class::Unknown => {
            let line = answers::telling_line(text).unwrap_or_else(|| "it said nothing".to_owned());
            Failed::Unknown { what: what.to_owned(), line, last }
        }
    }
}

/// Our words and abra's own line, which names the place.
fn with_line(words: String, text: &str) -> String {
    match answers::telling_line(text) {
        Some(line) if !words.contains(&line) => format!("{words} ({line})"),
        _ => words,
    }
}

/// The end of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * KEPT {
            self.0.drain(..self.0.len() - KEPT);
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}
