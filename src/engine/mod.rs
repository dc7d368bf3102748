//! Takes runs from the queue to their verdict: the process `cc-ci runner`.
//!
//! It has Docker, abra and a token that may read, and no listening port. At its start it finishes what an earlier one left
//! ([`recover`]), then it takes runs in turn ([`scheduler`]), each by its stages to a verified teardown ([`execute`]). What may
//! follow what is written in [`run`].

pub mod disk;
pub mod execute;
pub(crate) mod expiry;
pub mod heartbeat;
pub mod janitor;
pub mod ledger;
pub mod local;
pub mod progress;
pub mod recover;
mod retention;
pub mod run;
pub mod scheduler;
pub mod tools;
pub mod watchdog;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::disk::Disk;
use self::execute::Engine;
use self::heartbeat::{Heart, Said};
use self::ledger::Ledger;
use self::recover::{NotLocked, StateLock};
use self::scheduler::Scheduler;
pub use self::scheduler::Shutdown;
use crate::abra::driver::{Abra, Unfit};
use crate::bell::{Bell, Door};
use crate::clock::Clock;
use crate::config::Config;
use crate::secrets::redact::Redactor;
use crate::secrets::{self, SecretFileError};
use crate::store::{Store, StoreError, repositories};
use crate::swarm::login::{BadLogins, Logins};
use crate::swarm::{Swarm, SwarmFault};
use crate::systemd::Notify;

/// Between two tries at a Docker that does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Why there is no runner.
#[derive(Debug, thiserror::Error)]
pub enum RunnerFault {
    #[error(transparent)]
    Locked(#[from] NotLocked),
    #[error(transparent)]
    Abra(#[from] Unfit),
    #[error(transparent)]
    Swarm(#[from] SwarmFault),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Token(#[from] SecretFileError),
    #[error("`runner.registry_login_file`: {0}")]
    Logins(#[from] BadLogins),
    #[error("the door for the other process cannot be opened at {path}: {source}")]
    Door { path: String, source: std::io::Error },
}

/// Works until told to stop. `bell` rings at the server's door.
pub async fn runner(
    config: Arc<Config>,
    store: Store,
    clock: Clock,
    bell: Bell,
    notify: Notify,
    shutdown: impl Into<Shutdown>,
) -> Result<(), RunnerFault> {
    let shutdown = shutdown.into();
    let _lock = StateLock::take(&config.state_dir, "runner", &clock)?;
    end_remains(&config.state_dir).await;
    let redactor = Redactor::new();
    let token_file = config.runner.git_token_file.as_ref().unwrap_or(&config.forge.token_file);
    redactor.register("forge token", &secrets::read_file(token_file)?);
    let logins = match &config.runner.registry_login_file {
        Some(file) => Logins::read(file)?,
        None => Logins::default(),
    };
    for (name, password) in logins.passwords() {
        redactor.register(&name, password);
    }
    let door_path = config.bell("runner");
    let door =
        Door::open(&door_path).map_err(|source| RunnerFault::Door { path: door_path.display().to_string(), source })?;
    let ledger = Ledger::new(store, bell);
    let said = Said { state: "starting".into(), parallel: config.runner.parallel, ..Said::default() };
    let heart = Heart::new(ledger.clone(), clock.clone(), said, notify.clone());

    let found =
        Abra::find(config.runner.abra.as_deref(), Path::new(OWN_PROGRAM), &config.runner.docker, &shutdown.drain).await;
    let abra = match found {
        Ok(abra) => abra.with_logins(config.runner.registry_login_file.as_deref()),
        Err(_) if shutdown.drain.is_cancelled() => return Ok(()),
        Err(unfit) => return Err(unfit.into()),
    };
    tracing::info!(version = abra.version, place = abra.place(), "abra found");
    let tools = tokio::task::spawn_blocking(tools::look).await.unwrap_or_default();
    heart.say(|said| {
        said.abra = Some(format!("{} ({})", abra.version, abra.place()));
        said.tools = tools;
    });
    // What could be wrong for good is not. Nobody has to wait for Docker, or for what a runner before this one left.
    notify.ready();
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let living = tokio::spawn(notify.clone().live(ledger.store.clone(), over.clone()));
    let Some(swarm) = docker(&config.runner.docker, &heart, &shutdown.drain).await else {
        notify.stopping();
        return Ok(());
    };
    let instance = instance(&ledger).await?;
    let engine = Engine {
        config,
        ledger: ledger.clone(),
        clock: clock.clone(),
        swarm: swarm.with_logins(logins),
        abra: Arc::new(abra),
        redactor,
        instance,
        run_ended: Arc::default(),
        neighbours: Arc::default(),
    };

    heart.state("recovering");
    let beating = tokio::spawn(heart.clone().run(engine.swarm.clone(), over.clone()));
    let recovered = notify.more_time_for(recover::recover(&engine)).await;
    if let Ok(closed) = recovered {
        let served = notify.more_time_for(janitor::first_round(&engine, &heart, &shutdown.drain)).await;
        tracing::info!(closed, "ready for runs");
        heart.state("ready");
        let janitor = tokio::spawn(janitor::keep_tidy(engine.clone(), heart.clone(), served, over.clone()));
        let expiry = expiry::watch(Arc::clone(&engine.config), heart.clone(), clock.clone(), over.clone());
        let expiry = tokio::spawn(expiry);
        let retention = tokio::spawn(retention::watch(engine.clone(), over.clone()));
        let disk = tokio::spawn(disk::watch(Disk::of(&engine.config), heart.clone(), over.clone()));
        let runner = &engine.config.runner;
        let scheduler = Scheduler::new(ledger, clock, engine.clone(), runner.parallel, runner.grace)
            .heeding(engine.config.schedule.clone());
        let hurried = shutdown.haste.clone();
        let (drained, stopping) = (shutdown.drain.clone(), heart.clone());
        tokio::spawn(async move {
            drained.cancelled().await;
            stopping.state("stopping");
        });
        let serving = scheduler.serve(Some(&door), shutdown);
        tokio::pin!(serving);
        let done = tokio::select! {
            () = &mut serving => true,
            () = hurried.cancelled() => false,
        };
        notify.stopping();
        if !done {
            notify.more_time_for(serving).await;
        }
        over.cancel();
        for beside in [janitor, expiry, retention, disk] {
            let _ = beside.await;
        }
    }
    over.cancel();
    let _ = beating.await;
    let _ = living.await;
    heart.state("stopped");
    heart.beat(None).await;
    recovered.map(drop).map_err(RunnerFault::from)
}

/// This very program, also when its file was replaced meanwhile: the warden that starts children is it.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

async fn end_remains(state_dir: &Path) {
    let dir = state_dir.to_owned();
    match tokio::task::spawn_blocking(move || crate::sandbox::kill_remains(&dir)).await {
        Ok(remains) if remains.found + remains.left > 0 => {
            tracing::warn!(found = remains.found, left = remains.left, "ended processes of a runner that is gone");
        }
        Ok(_) => {}
        Err(error) => tracing::error!(error = %error, "looking for processes of a runner that is gone broke off"),
    }
}

/// Docker, as soon as it answers; `None` when the process is to stop before that.
async fn docker(socket: &Path, heart: &Heart, stop: &CancellationToken) -> Option<Swarm> {
    let mut told = false;
    loop {
        let fault = match Swarm::connect(socket).await {
            Ok(swarm) => return Some(swarm),
            Err(fault) => causes(&fault),
        };
        if !told {
            tracing::error!(error = fault, "Docker does not answer; waiting for it");
            told = true;
        }
        heart.state("waiting for Docker");
        heart.say(|said| said.fault = Some(fault));
        heart.beat(None).await;
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// The appliance's own name on a Swarm, made once.
async fn instance(ledger: &Ledger) -> Result<String, StoreError> {
    ledger
        .store
        .write("could not name this appliance", |tx| {
            if let Some(name) = repositories::cursor(tx, "instance")? {
                return Ok(name);
            }
            let mut bytes = [0; 6];
            getrandom::fill(&mut bytes).map_err(|error| StoreError::Refused(error.to_string()))?;
            let name = hex::encode(bytes);
            repositories::set_cursor(tx, "instance", &name)?;
            Ok(name)
        })
        .await
}

/// An error with its causes, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some say their cause themselves.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
