//! `cc-ci backup-bot …`: the backup service where there is no other, as `/usr/bin/backup` in its container. It speaks as much of
//! the published service as abra asks for: orders as words, everything else in the environment (`SERVICE` is the stack's name).
//!
//! It runs as root over every volume of the machine, on the word of labels that anybody may have written. So a path is taken
//! only where it stays on its own volume once links are followed, both ways: a link to a secret would be kept, and a restore
//! through a link would write wherever it leads.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::labels::{self, BadLabel, Hook, Part, Wanted, When, in_snapshot};
use super::restic::{self, ResticError};
use super::snapshot::Snapshot;
use crate::clock::Clock;
use crate::model::StackName;
use crate::swarm::exec::{Exec, ExecEnded};
use crate::swarm::views::Service;
use crate::swarm::{Swarm, SwarmFault};

/// How this program is told to be the backup service.
pub const WORD: &str = "backup-bot";
const HOOK: Duration = Duration::from_secs(1800);
/// Of a hook's output.
const HOOK_OUTPUT: usize = 64 << 10;
/// Where abra fetches a download.
const ARCHIVE: &str = "/tmp/backup.tar.gz";
/// bash where there is one, since only there a failure inside a pipe counts for sure.
const SHELL: &str =
    "if command -v bash >/dev/null 2>&1; then exec bash -c \"set -o pipefail; $1\"; else exec sh -c \"$1\"; fi";

#[derive(Debug, thiserror::Error)]
enum BotError {
    #[error("usage: backup serve | create | snapshots | ls | download | restore")]
    Usage,
    #[error("SERVICE is not set; it names the stack")]
    NoService,
    #[error("SERVICE: {0}")]
    Service(#[from] crate::model::NotA),
    #[error(transparent)]
    Docker(#[from] SwarmFault),
    #[error(transparent)]
    Label(#[from] BadLabel),
    #[error(transparent)]
    Restic(#[from] ResticError),
    #[error("{0} is not deployed, so there are no labels to go by")]
    NotDeployed(StackName),
    #[error("no service of {0} has the label backupbot.backup=true")]
    NotEnabled(StackName),
    #[error("Container of {0} is not running")]
    NotRunning(String),
    #[error("Failed to run command {command} in {service}: {said}")]
    Hook { service: String, command: String, said: String },
    #[error("{0} is not there, so there is nothing to keep of it; the hook that should have written it did not")]
    Missing(String),
    #[error("{0} leads out of its volume")]
    Outside(String),
    #[error("No Snapshots found for {0}")]
    NoSnapshots(StackName),
    #[error("{0} is no snapshot of {1}")]
    NotIts(String, StackName),
    #[error("nobody said yes")]
    Declined,
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
}

/// Runs one order, without the program's name.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let order = words.iter().find_map(|word| word.to_str().filter(|word| *word != "--")).unwrap_or_default().to_owned();
    let say = Say { machine: is_set("MACHINE_LOGS") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(obey(&order, say)),
        Err(source) => Err(BotError::File { path: "the runtime".to_owned(), source }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say.log("ERROR", &error.to_string(), Map::new());
            ExitCode::FAILURE
        }
    }
}

async fn obey(order: &str, say: Say) -> Result<(), BotError> {
    if order == "serve" {
        return serve(say).await;
    }
    let asked = Asked::read()?;
    match order {
        "create" => create(&asked, say).await,
        "snapshots" => {
            for snapshot in snapshots(&asked.stack).await? {
                crate::say!("{} {}", snapshot.time.split('.').next().unwrap_or_default(), snapshot.id);
            }
            Ok(())
        }
        "ls" => list(&asked).await,
        "download" => download(&asked, say).await,
        "restore" => restore(&asked, say).await,
        _ => Err(BotError::Usage),
    }
}

/// The repository is there; abra's calls come from outside.
async fn serve(say: Say) -> Result<(), BotError> {
    restic::init().await?;
    say.info("the repository is there");
    std::future::pending().await
}

/// What the environment says.
struct Asked {
    stack: StackName,
    /// Nothing is the latest.
    snapshot: Option<String>,
    path: Option<String>,
    timestamps: bool,
    target: String,
    volumes: Vec<String>,
    container: Option<String>,
    no_commands: bool,
    noninteractive: bool,
}

fn value(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_set(name: &str) -> bool {
    value(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no"))
}

impl Asked {
    fn read() -> Result<Asked, BotError> {
        let volumes = value("VOLUMES").unwrap_or_default();
        Ok(Asked {
            stack: value("SERVICE").ok_or(BotError::NoService)?.parse()?,
            snapshot: value("SNAPSHOT").filter(|id| id != "latest"),
            path: value("INCLUDE_PATH"),
            timestamps: is_set("TIMESTAMPS"),
            target: value("TARGET").unwrap_or_else(|| "/".to_owned()),
            volumes: volumes.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            container: value("CONTAINER"),
            no_commands: is_set("NO_COMMANDS"),
            noninteractive: is_set("NONINTERACTIVE"),
        })
    }

    fn wants_volume(&self, name: &str) -> bool {
        self.volumes.is_empty() || self.volumes.iter().any(|wanted| wanted == name)
    }

    /// The hooks of that moment, those of other containers than the one asked for left out.
    fn hooks<'a>(&self, wanted: &'a Wanted, when: When) -> Vec<&'a Hook> {
        let one = |hook: &&Hook| self.container.as_ref().is_none_or(|container| *container == hook.service);
        let all = wanted.hooks(when).filter(one);
        all.filter(|_| !self.no_commands).collect()
    }
}

/// The app as it runs.
struct App {
    docker: Swarm,
    stack: StackName,
    services: Vec<Service>,
    wanted: Wanted,
}

impl App {
    async fn look(stack: &StackName, say: Say) -> Result<App, BotError> {
        let docker = Swarm::connect(Path::new("/var/run/docker.sock")).await?;
        let services = docker.services(stack).await?;
        if services.is_empty() {
            return Err(BotError::NotDeployed(stack.clone()));
        }
        let wanted = labels::read(&labels::of_services(&services, stack.as_str()))?;
        let wanted = wanted.ok_or_else(|| BotError::NotEnabled(stack.clone()))?;
        for idle in &wanted.idle {
            say.log("WARNING", idle, Map::new());
        }
        Ok(App { docker, stack: stack.clone(), services, wanted })
    }

    fn version(&self) -> &str {
        let label = format!("coop-cloud.{}.version", self.stack);
        self.services.iter().find_map(|service| service.labels.get(&label)).map_or("unknown", String::as_str)
    }

    async fn run(&self, hook: &Hook, say: Say) -> Result<(), BotError> {
        let not_running = || BotError::NotRunning(hook.service.clone());
        let container = self.docker.container_of(&self.stack, &hook.service).await?.ok_or_else(not_running)?;
        say.info(&format!("run command in {}: {}", hook.service, hook.command));
        let exec = Exec::new(["sh", "-c", SHELL, "hook", hook.command.as_str()]);
        let done = self.docker.exec(&container, &exec, HOOK, HOOK_OUTPUT, &CancellationToken::new()).await?;
        let said = [String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)].concat();
        let said = said.trim();
        match done.ended {
            ExecEnded::Exit(0) => {
                said.lines().for_each(|line| say.info(line));
                Ok(())
            }
            ended => {
                let how = match ended {
                    ExecEnded::Exit(code) => format!("it ended with {code}"),
                    _ => format!("it took longer than {} s", HOOK.as_secs()),
                };
                let said = if said.is_empty() { how } else { format!("{how}: {said}") };
                Err(BotError::Hook { service: hook.service.clone(), command: hook.command.clone(), said })
            }
        }
    }

    /// What is to be kept, as it lies on the disk now.
    fn paths(&self) -> Result<Vec<String>, BotError> {
        let mut found = Vec::new();
        for (volume, part) in &self.wanted.volumes {
            let root = PathBuf::from(in_snapshot(self.stack.as_str(), volume, None));
            match part {
                Part::Whole => found.push(root.display().to_string()),
                Part::Paths(paths) => {
                    for path in paths {
                        let path = in_snapshot(self.stack.as_str(), volume, Some(path));
                        if !Path::new(&path).exists() {
                            return Err(BotError::Missing(path));
                        }
                        stays_inside(&root, Path::new(&path))?;
                        found.push(path);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Links followed as far as there is something to follow.
fn stays_inside(root: &Path, path: &Path) -> Result<(), BotError> {
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(root);
    let file = |source| BotError::File { path: there.display().to_string(), source };
    let real = there.canonicalize().map_err(file)?;
    let root = root.canonicalize().map_err(file)?;
    if real.starts_with(&root) { Ok(()) } else { Err(BotError::Outside(path.display().to_string())) }
}

async fn create(asked: &Asked, say: Say) -> Result<(), BotError> {
    let app = App::look(&asked.stack, say).await?;
    let mut kept = Ok(());
    for hook in asked.hooks(&app.wanted, When::BeforeBackup) {
        kept = app.run(hook, say).await;
        if kept.is_err() {
            break;
        }
    }
    if kept.is_ok() {
        kept = keep(&app, say).await;
    }
    // What a hook began has to be ended, however the rest went.
    for hook in asked.hooks(&app.wanted, When::AfterBackup) {
        let ended = app.run(hook, say).await;
        kept = kept.and(ended);
    }
    kept
}

async fn keep(app: &App, say: Say) -> Result<(), BotError> {
    let paths = app.paths()?;
    let tag = format!("{}:{}", app.stack, app.version());
    say.info(&format!("backing up {}", paths.join(", ")));
    let summary = restic::backup(&paths, app.stack.as_str(), &tag).await?;
    let mut figures = Map::new();
    figures.insert("snapshot_id".into(), summary.snapshot_id.into());
    figures.insert("total_files_processed".into(), summary.total_files_processed.into());
    figures.insert("total_bytes_processed".into(), summary.total_bytes_processed.into());
    say.log("INFO", "backup finished", figures);
    Ok(())
}

async fn snapshots(stack: &StackName) -> Result<Vec<Snapshot>, BotError> {
    let found = restic::snapshots(stack.as_str()).await?;
    if found.is_empty() { Err(BotError::NoSnapshots(stack.clone())) } else { Ok(found) }
}

/// The one that was asked for, or the latest; of this app in any case.
async fn chosen(asked: &Asked) -> Result<Snapshot, BotError> {
    let mut found = snapshots(&asked.stack).await?;
    match &asked.snapshot {
        None => Ok(found.swap_remove(found.len() - 1)),
        Some(id) => found
            .into_iter()
            .find(|snapshot| id.len() >= 8 && snapshot.id.starts_with(id.as_str()))
            .ok_or_else(|| BotError::NotIts(id.clone(), asked.stack.clone())),
    }
}

async fn list(asked: &Asked) -> Result<(), BotError> {
    let snapshot = chosen(asked).await?;
    for entry in restic::list(&snapshot.id).await? {
        if asked.path.as_ref().is_some_and(|path| !Path::new(&entry.path).starts_with(path)) {
            continue;
        }
        if asked.timestamps {
            crate::say!("{}\t{}", entry.mtime.split('.').next().unwrap_or_default(), entry.path);
        } else {
            crate::say!("{}", entry.path);
        }
    }
    Ok(())
}

/// Restores into a folder of our own, and packs that.
async fn download(asked: &Asked, say: Say) -> Result<(), BotError> {
    let snapshot = chosen(asked).await?;
    let paths = asked.path.clone().map_or_else(|| snapshot.paths.clone(), |path| vec![path]);
    let folder = format!("{ARCHIVE}.d");
    let cleared = std::fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    let failed = |source| BotError::File { path: folder.clone(), source };
    cleared.map_err(failed)?;
    restic::restore(&snapshot.id, &folder, &paths).await?;
    let words = ["-czf", ARCHIVE, "-C", &folder, "."];
    let command = crate::sandbox::Command::new("tar").args(words).env_from_ours(["PATH"]);
    let packed = crate::sandbox::output(&command, &CancellationToken::new(), HOOK_OUTPUT).await;
    if !packed.map_err(ResticError::from)?.exit.is_success() {
        return Err(failed(std::io::Error::other("tar failed")));
    }
    std::fs::remove_dir_all(&folder).map_err(failed)?;
    say.info(&format!("{} of {} is in {ARCHIVE}", paths.join(", "), snapshot.short()));
    Ok(())
}

async fn restore(asked: &Asked, say: Say) -> Result<(), BotError> {
    let snapshot = chosen(asked).await?;
    let app = App::look(&asked.stack, say).await?;
    let begins = format!("{}/{}_", super::VOLUMES, asked.stack);
    let mut paths = Vec::new();
    for path in &snapshot.paths {
        let rest = path.strip_prefix(&begins).ok_or_else(|| BotError::Outside(path.clone()))?;
        let volume = rest.split('/').next().unwrap_or_default();
        if asked.wants_volume(volume) {
            stays_inside(&PathBuf::from(in_snapshot(asked.stack.as_str(), volume, None)), Path::new(path))?;
            paths.push(path.clone());
        }
    }
    if paths.is_empty() {
        return Err(BotError::NotIts(
            format!("a volume among {} in {}", asked.volumes.join(", "), snapshot.id),
            asked.stack.clone(),
        ));
    }
    say.info(&format!("restoring {} of {} from {}", paths.join(", "), snapshot.short(), snapshot.time));
    if !asked.noninteractive {
        confirm()?;
    }
    for hook in asked.hooks(&app.wanted, When::BeforeRestore) {
        app.run(hook, say).await?;
    }
    restic::restore(&snapshot.id, &asked.target, &paths).await?;
    for hook in asked.hooks(&app.wanted, When::AfterRestore) {
        app.run(hook, say).await?;
    }
    say.info("restore finished");
    Ok(())
}

fn confirm() -> Result<(), BotError> {
    if !std::io::stdin().is_terminal() {
        return Err(BotError::Declined);
    }
    crate::say!("This overwrites what is there. Go on? [y/N]");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|source| BotError::File { path: "standard input".into(), source })?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(BotError::Declined) }
}

/// Lines for people, or JSON for machines.
#[derive(Clone, Copy)]
struct Say {
    machine: bool,
}

impl Say {
    fn info(self, text: &str) {
        self.log("INFO", text, Map::new());
    }

    fn log(self, level: &str, message: &str, more: Map<String, Value>) {
        if !self.machine {
            let more: String = more.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            crate::say!("{level} {message}{more}");
            return;
        }
        let mut line = Map::new();
        line.insert("asctime".into(), json!(Clock::system().now().rfc3339()));
        line.insert("levelname".into(), level.into());
        line.insert("message".into(), message.into());
        line.extend(more);
        crate::say!("{}", Value::Object(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_on_its_volume_whatever_links_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("st_data");
        std::fs::create_dir_all(root.join("_data/sub")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("_data/out")).unwrap();
        std::os::unix::fs::symlink("sub", root.join("_data/in")).unwrap();
        let stays = |path: &str| stays_inside(&root, &root.join("_data").join(path)).is_ok();
        assert!(stays("sub") && stays("in/x") && stays("sub/not/there/yet"));
        assert!(!stays("out") && !stays("out/passwd") && !stays("out/not-there"));
    }
}
