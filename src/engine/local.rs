//! `cc-ci run PATH`: the same engine on the same code path, with a directory in place of a forge and a state directory that
//! goes with it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::execute::Engine;
use super::janitor::JanitorFault;
use super::ledger::Ledger;
use super::progress::Progress;
use super::recover::StateLock;
use super::scheduler::{Stop, Why, Work};
use super::{causes, janitor, recover, run};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::dev::setup;
use crate::evidence::{self, result};
use crate::git::{self, Snapshot};
use crate::knowledge::{self, BaseFiles};
use crate::logs;
use crate::model::{Asked, Origin, Outcome, RecipeName, RunId, VersionName};
use crate::recipe;
use crate::reconcile;
use crate::stages::needs::Neighbours;
use crate::store::runs::NewRun;
use crate::store::{Store, StoreError, evidence as kept, runs, stages};

/// What `cc-ci run` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 passed; 1 failed, or ended by hand; 2 the question was wrong; 3 the machine is at fault.\n\n\
    Examples:\n  cc-ci run\n  cc-ci run ~/recipes/keycloak --stage upgrade --from 1.3.2+25.0.6 --evidence /tmp/seen"
)]
pub struct Args {
    /// The recipe's directory, as it is now: changes that are not committed are tested too.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Only this, and what it needs.
    #[arg(long, default_value = "all")]
    stage: Asked,
    /// The version to upgrade from, where the usual one is not wanted.
    #[arg(long, value_name = "VERSION")]
    from: Option<VersionName>,
    /// A recipe that this one needs, and its directory; without it, ../NAME. Once for each.
    #[arg(long, value_name = "NAME=PATH", value_parser = neighbour)]
    with: Vec<(RecipeName, PathBuf)>,
    /// An appliance's configuration, for its domain, proxy and limits.
    #[arg(long, short, conflicts_with = "dev", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a configuration: where a development set-up lives, as of `cc-ci up --dev`; its proxy is put up when it is
    /// missing. `~/.local/state/cc-ci/dev` where nothing is said.
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
    /// Keeps the run's log in this file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Keeps what the run saw in this directory, with its `result.json`.
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
}

/// Why nothing was tested, and with which exit code that is said.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// The question was wrong: 2.
    #[error("{0}")]
    Usage(String),
    /// The machine is at fault: 3.
    #[error("{0}")]
    Machine(String),
    /// Told to end before there was a run: 1, as for a run that was.
    #[error("ended by hand before anything was deployed")]
    Ended,
}

impl NotRun {
    pub fn code(&self) -> u8 {
        match self {
            NotRun::Usage(_) => 2,
            NotRun::Machine(_) => 3,
            NotRun::Ended => 1,
        }
    }
}

impl From<StoreError> for NotRun {
    fn from(error: StoreError) -> NotRun {
        NotRun::Machine(causes(&error))
    }
}

/// Last lines of the log that are shown when a run did not pass.
const SHOWN: usize = 30;
const PROXY_PATIENCE: Duration = Duration::from_secs(3);

/// Said of `--from` where it would mean nothing.
pub fn no_upgrade(stage: Asked) -> String {
    format!("--from says what the upgrade starts from, and `--stage {stage}` has none; leave one of them out")
}

/// Tests a directory and says how it came out: 0 passed, 1 failed, 3 the machine was at fault.
pub async fn run(args: Args) -> Result<ExitCode, NotRun> {
    let path = std::fs::canonicalize(&args.path)
        .map_err(|error| NotRun::Usage(format!("{}: {error}", args.path.display())))?;
    if !path.is_dir() {
        return Err(NotRun::Usage(format!("{} is no directory", path.display())));
    }
    if args.from.is_some() && !args.stage.upgrades() {
        return Err(NotRun::Usage(no_upgrade(args.stage)));
    }
    // What is wrong with a recipe is for fetch and lint to say, as on a server.
    let (called, deploys) = match recipe::open(&path) {
        Ok(recipe) => (recipe.name.to_string(), true),
        Err(_) => {
            (path.file_name().map_or_else(|| "recipe".to_owned(), |name| name.to_string_lossy().into_owned()), false)
        }
    };
    let mut told = Told::listen().map_err(|error| NotRun::Machine(format!("listening for signals: {error}")))?;
    let (state, _lock) = StateDir::make()?;
    let source = state.0.join("source");
    let ready = tokio::select! {
        ready = ready(&args, &path, &state.0, &source, deploys) => ready?,
        () = told.heard() => return Err(NotRun::Ended),
    };
    let (engine, snapshot) = ready;
    let (config, store) = (Arc::clone(&engine.config), engine.ledger.store.clone());
    let (ledger, clock) = (engine.ledger.clone(), engine.clock.clone());
    let new = NewRun {
        origin: Origin::Local,
        repository: None,
        repo_name: source.to_string_lossy().into_owned(),
        recipe: called.clone(),
        pr: None,
        head: snapshot.head,
        base_branch: snapshot.base_branch,
        title: String::new(),
        comment: None,
        asked_by: "you".into(),
        asked: args.stage,
        upgrade_from: args.from.as_ref().map(ToString::to_string),
        attempt: 1,
        retry_of: None,
    };
    let plan = engine.plan(args.stage);
    let now = clock.now();
    let started = ledger
        .write("could not queue the run", move |tx| {
            let id = run::queue(tx, &new, now)?;
            run::start(tx, id, &plan, now)
        })
        .await?;

    let id = started.id;
    let stop = Stop::default();
    let over = CancellationToken::new();
    let changes = if snapshot.dirty { " (working tree has changes)" } else { "" };
    crate::say!("{called} at {}{changes}", &started.head.short()[..7]);
    let progress = Progress::new(store.clone(), clock, id, std::io::stdout().is_terminal());
    let shown = tokio::spawn(progress.follow(over.clone()));
    let interrupted = tokio::spawn(ended_by_hand(told, ledger, id, stop.clone()));
    engine.carry_out(started, stop).await;
    over.cancel();
    let _ = shown.await;
    interrupted.abort();
    conclude(&args, &config, &store, id).await
}

/// A name that is mistyped would otherwise change nothing, without a word.
fn all_needed(args: &Args, config: &Config, path: &Path) -> Result<(), NotRun> {
    let Ok(recipe) = recipe::open(path) else { return Ok(()) };
    // What is wrong with what is said of it is for fetch and lint to say.
    let known = knowledge::read(Some(&config.recipes_dir), &recipe.name, path, &BaseFiles::TheHead);
    let Ok(needs) = known.map(|known| known.needs()) else { return Ok(()) };
    let stranger = args.with.iter().find(|(name, _)| needs.iter().all(|need| need.recipe != *name));
    stranger
        .map_or(Ok(()), |(name, _)| Err(NotRun::Usage(format!("`--with {name}`: {} does not need it", recipe.name))))
}

fn neighbour(text: &str) -> Result<(RecipeName, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write `--with NAME=PATH`")?;
    let path = std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))?;
    let name = name.parse().map_err(|error: crate::model::NotA| error.to_string())?;
    if path.is_dir() { Ok((name, path)) } else { Err(format!("{} is no directory", path.display())) }
}

/// Everything that a run needs, and nothing left of those that were killed.
async fn ready(
    args: &Args,
    path: &Path,
    state: &Path,
    source: &Path,
    deploys: bool,
) -> Result<(Engine, Snapshot), NotRun> {
    let config = Arc::new(configured(args, state, deploys).await?);
    all_needed(args, &config, path)?;
    let snapshot = git::local_snapshot(path, source).await.map_err(|error| NotRun::Usage(causes(&error)))?;
    let store = Store::open(&config.database())?;
    let mut engine = Engine::at_hand(config, store).await.map_err(|error| NotRun::Machine(causes(&error)))?;
    let parent = path.parent().map(Path::to_owned);
    engine.neighbours = Arc::new(Neighbours { with: args.with.iter().cloned().collect(), parent });
    take_over_from_killed(&engine).await;
    Ok((engine, snapshot))
}

/// What ends a run by hand: Ctrl-C, `kill`, a terminal that is closed.
struct Told {
    signals: [Signal; 3],
}

impl Told {
    fn listen() -> std::io::Result<Told> {
        let closed = if ignores_hangup() { SignalKind::terminate() } else { SignalKind::hangup() };
        Ok(Told { signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(closed)?] })
    }

    async fn heard(&mut self) {
        let [interrupt, terminate, closed] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = closed.recv() => {}
        }
    }
}

/// As under `nohup`: then a terminal that is closed is nobody's wish.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits & 1 != 0)
}

/// Ends the run as any other cancel does: with its teardown.
async fn ended_by_hand(mut told: Told, ledger: Ledger, id: RunId, stop: Stop) {
    told.heard().await;
    crate::aside!("\ncc-ci: ending the run and taking down what it made; this takes a moment");
    let now = Clock::system().now();
    let asked = ledger.write("could not cancel", move |tx| run::ask_cancel(tx, id, "ended by hand", now)).await;
    if let Err(error) = asked {
        crate::aside!("cc-ci: {}", causes(&error));
    }
    stop.now(Why::Asked);
}

async fn conclude(args: &Args, config: &Config, store: &Store, id: RunId) -> Result<ExitCode, NotRun> {
    let (run, planned) = store.read(move |db| Ok((runs::by_id(db, id)?, stages::of_run(db, id)?))).await?;
    if let Some(dir) = &args.evidence {
        keep(dir, config, store, id).await?;
    }
    let run = run.ok_or_else(|| NotRun::Machine("the run is gone from its own database".into()))?;
    let outcome = run.outcome.unwrap_or(Outcome::Infra);
    let reason = run.reason.unwrap_or_default();
    let took = run.finished_at.zip(run.started_at).map_or(0.0, |(end, start)| end.since(start).as_secs_f64());
    let culprit = planned.iter().find(|stage| stage.state.is_bad()).map(|stage| stage.name);
    let logs_dir = config.logs_dir();
    let keep = args.log.clone();
    let lines = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<String>> {
        let mut log = logs::open(&logs_dir, id)?;
        if let Some(file) = keep {
            let mut out = std::fs::File::create(file)?;
            let (mut at, most) = (0, 1 << 20);
            loop {
                let bytes = log.read_at(at, most)?;
                if bytes.is_empty() {
                    break;
                }
                at += bytes.len() as u64;
                std::io::Write::write_all(&mut out, &bytes)?;
            }
        }
        culprit.map_or(Ok(Vec::new()), |stage| log.stage_tail(stage, SHOWN))
    })
    .await;
    match lines {
        Ok(Ok(lines)) if outcome != Outcome::Passed => lines.iter().for_each(|line| {
            if let Some(text) = text_of(line) {
                crate::say!("    {text}");
            }
        }),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => crate::aside!("cc-ci: the log: {error}"),
        Err(error) => crate::aside!("cc-ci: the log: {error}"),
    }
    crate::say!("{outcome} after {took:.1} s: {reason}");
    Ok(match outcome {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Infra | Outcome::Interrupted => ExitCode::from(3),
        _ => ExitCode::from(1),
    })
}

/// A log line without its time and stage; nothing of the marks between stages, which the lines above have shown.
fn text_of(line: &str) -> Option<&str> {
    match logs::Line::parse(line) {
        Some(parsed) => parsed.mark().is_none().then_some(parsed.text),
        None => Some(line),
    }
}

/// The run's files go with its state directory, so what is wanted of them is copied.
async fn keep(dir: &Path, config: &Config, store: &Store, id: RunId) -> Result<(), NotRun> {
    let (result, pieces) = store.read(move |db| Ok((result::of(db, id)?, kept::of_run(db, id)?))).await?;
    let from = evidence::dir(&config.evidence_dir(), id);
    let to = dir.to_owned();
    let copying = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        std::fs::create_dir_all(&to)?;
        for piece in pieces {
            std::fs::copy(from.join(&piece.name), to.join(&piece.name))?;
        }
        std::fs::write(to.join("result.json"), serde_json::to_vec_pretty(&result)?)
    });
    let failed = |error: &dyn std::fmt::Display| NotRun::Machine(format!("{}: {error}", dir.display()));
    copying.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// Domain, proxy and limits, from a file or from a development set-up that is made on the way. No proxy is asked for, or put
/// up, for what cannot be deployed.
async fn configured(args: &Args, state: &Path, deploys: bool) -> Result<Config, NotRun> {
    let machine = |error: &dyn std::error::Error| NotRun::Machine(causes(error));
    let mut config = if let Some(file) = &args.config {
        config::load(file).map_err(|error| NotRun::Usage(causes(&error)))?
    } else {
        let dir = args.dev.clone().or_else(usual_dev_dir).ok_or_else(|| {
            NotRun::Usage("there is no home directory; name a directory for the proxy's files with --dev DIR".into())
        })?;
        setup::prepare(&dir).map_err(|error| machine(&error))?
    };
    if !deploys {
        state.clone_into(&mut config.state_dir);
        return Ok(config);
    }
    match (proxy_answers(&config).await, &args.config) {
        (Ok(()), _) => {}
        (Err(why), Some(file)) => {
            let (address, file) = (config.proxy.address, file.display());
            return Err(NotRun::Machine(format!(
                "no proxy answers at {address} ({why}), so no app could be reached; `cc-ci reconcile swarm --config {file}` and `cc-ci reconcile proxy --config {file}` put one up"
            )));
        }
        (Err(_), None) => {
            let file = args.dev.clone().or_else(usual_dev_dir).unwrap_or_default().join("config.yaml");
            let swarm = reconcile::swarm(&config).await.map_err(|error| machine(&error))?;
            let proxy = reconcile::proxy(&config).await.map_err(|error| machine(&error))?;
            swarm.iter().chain(&proxy).for_each(|line| crate::say!("{line}"));
            setup::say_of_backups(&config).await;
            let file = file.display();
            crate::say!(
                "proxy: stays for the next run; `cc-ci reconcile proxy --remove --config {file}` takes it away"
            );
        }
    }
    state.clone_into(&mut config.state_dir);
    // A picture that is not kept is not worth its seconds.
    config.runner.picture &= args.evidence.is_some();
    Ok(config)
}

fn usual_dev_dir() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("cc-ci/dev"))
}

/// Without a proxy no app answers; found out before anything is deployed.
async fn proxy_answers(config: &Config) -> Result<(), String> {
    let connected = tokio::time::timeout(PROXY_PATIENCE, tokio::net::TcpStream::connect(config.proxy.address)).await;
    match connected {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("nothing within {} s", PROXY_PATIENCE.as_secs())),
    }
}

/// Takes down what local runs that were killed left, so that not even the last of them needs anybody's care.
async fn take_over_from_killed(engine: &Engine) {
    for killed in killed_runs() {
        let dir = killed.dir.display().to_string();
        crate::say!("taking down what a run that was killed left ({dir})");
        match killed.take_down(engine).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => crate::aside!("cc-ci: {} could not be removed; the next run tries again", left.join(", ")),
            Err(error) => crate::aside!("cc-ci: {dir}: {}; the next run tries again", causes(&error)),
        }
    }
}

/// A local run whose process is gone: its lock is ours now.
#[derive(Debug)]
pub struct Killed {
    pub dir: PathBuf,
    _lock: StateLock,
}

/// Of this user, as far as their directories are where ours would be.
pub fn killed_runs() -> Vec<Killed> {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    // One without a lock is just being removed; another user's could say anything.
    let dirs = dirs.map(|entry| entry.path()).filter(|dir| is_own(dir) && dir.join("run.lock").is_file());
    dirs.filter_map(|dir| {
        let lock = StateLock::take(&dir, "run", &Clock::system()).ok()?;
        Some(Killed { dir, _lock: lock })
    })
    .collect()
}

fn is_own(dir: &Path) -> bool {
    let me = rustix::process::getuid().as_raw();
    std::fs::symlink_metadata(dir).is_ok_and(|seen| seen.is_dir() && std::os::unix::fs::MetadataExt::uid(&seen) == me)
}

impl Killed {
    /// As a runner's start does it, with that run's own database. Says what would not go; then the directory stays.
    pub async fn take_down(self, engine: &Engine) -> Result<Vec<String>, JanitorFault> {
        let config = Arc::new(Config { state_dir: self.dir.clone(), ..(*engine.config).clone() });
        let store = Store::open(&config.database())?;
        let ledger = Ledger::new(store, Bell::of(config.bell("serve")));
        let instance = super::instance(&ledger).await?;
        let theirs = Engine { config, ledger, instance, ..engine.clone() };
        recover::recover(&theirs).await?;
        let left = janitor::tidy(&theirs, janitor::look(&theirs).await?).await?;
        if left.is_empty() {
            drop(StateDir(self.dir));
        }
        Ok(left)
    }
}

const PREFIX: &str = "cc-ci-run-";

/// The run's state directory, gone with it.
struct StateDir(PathBuf);

impl StateDir {
    /// Locked before it has the name by which others look for it.
    fn make() -> Result<(StateDir, StateLock), NotRun> {
        use std::os::unix::fs::DirBuilderExt;
        let nowhere = |error: &dyn std::fmt::Display| NotRun::Machine(format!("no place for the run's files: {error}"));
        let mut bytes = [0; 6];
        getrandom::fill(&mut bytes).map_err(|error| nowhere(&error))?;
        let name = format!("{PREFIX}{}", hex::encode(bytes));
        let (dir, unnamed) = (std::env::temp_dir().join(&name), std::env::temp_dir().join(format!(".{name}")));
        std::fs::DirBuilder::new().mode(0o700).create(&unnamed).map_err(|error| nowhere(&error))?;
        let made = StateDir(unnamed);
        let lock = StateLock::take(&made.0, "run", &Clock::system()).map_err(|error| nowhere(&error))?;
        std::fs::rename(&made.0, &dir).map_err(|error| nowhere(&error))?;
        drop(made);
        Ok((StateDir(dir), lock))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
