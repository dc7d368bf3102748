//! `serve`, `runner` and `up`: what lives long. Each takes its listeners and its end from here, and hands them on.

use std::future::Future;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Configured, Done, Failure};
use crate::alarms::Alarms;
use crate::bell::{Bell, Door};
use crate::clock::{Clock, Time};
use crate::config::{self, Config, LogFormat};
use crate::dev;
use crate::engine::recover::StateLock;
use crate::engine::{self, Shutdown};
use crate::forge::gitea::Gitea;
use crate::intake::schedule::Planner;
use crate::intake::trigger::Desk;
use crate::intake::{self, Intake, Nudge, webhook};
use crate::logs;
use crate::report::notify::{Notifier, Target};
use crate::report::{self, Report};
use crate::secrets;
use crate::secrets::redact::Redactor;
use crate::store::heartbeats::{self, Heartbeat};
use crate::store::{Store, StoreError};
use crate::systemd::Notify;
use crate::web::{self, Web};

/// Between two heartbeats of the server.
const BEAT: Duration = Duration::from_secs(5);
/// What the other process wrote is noticed so fast, also when its ring was lost.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Example: cc-ci up --dev /tmp/cc-ci\n\nCtrl-C lets the run under way end; a second one tears it down."
)]
pub(crate) struct Up {
    #[command(flatten)]
    configured: Configured,
    /// Needs no configuration: a forge of our own, certificates and all state in this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dev: Option<PathBuf>,
}

/// Runs a command's future on a runtime of its own.
pub(super) fn on_runtime(workers: usize, work: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    let done = runtime.block_on(work);
    // A read that hangs somewhere must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

pub(super) fn serve(configured: &Configured) -> Done {
    let config = Arc::new(configured.load()?);
    start_log(config.logs.format)?;
    on_runtime(2, async move {
        let stop = CancellationToken::new();
        on_signals(stop.clone(), CancellationToken::new())?;
        let _lock = lock(&config, "serve")?;
        let listener = listen(&config).await?;
        let store = open(&config)?;
        server(config, store, listener, &Notify::from_env(), stop).await
    })
}

pub(super) fn runner(configured: &Configured) -> Done {
    let config = Arc::new(configured.load()?);
    start_log(config.logs.format)?;
    on_runtime(2, async move {
        let (drain, haste) = (CancellationToken::new(), CancellationToken::new());
        on_signals(drain.clone(), haste.clone())?;
        let store = open(&config)?;
        run_engine(&config, store, Notify::from_env(), drain, haste).await
    })
}

pub(super) fn up(up: Up) -> Done {
    let config = match &up.dev {
        Some(dir) => dev::setup::prepare(dir).map_err(Failure::usage)?,
        None => up.configured.load()?,
    };
    start_log(config.logs.format)?;
    let config = Arc::new(config);
    on_runtime(2, async move {
        let (drain, haste) = (CancellationToken::new(), CancellationToken::new());
        on_signals(drain.clone(), haste.clone())?;
        let _lock = lock(&config, "serve")?;
        let forge = match &up.dev {
            Some(dir) => tokio::select! {
                started = dev::setup::start(dir, &config, drain.clone()) => Some(started.map_err(Failure::infra)?),
                // Whatever is half up is brought up by the next start.
                () = drain.cancelled() => return Ok(ExitCode::SUCCESS),
            },
            None => None,
        };
        let listener = listen(&config).await?;
        let store = open(&config)?;
        // The pages go on until the engine has come to its end, so that one can watch it.
        let stop = CancellationToken::new();
        let (served, stopped, notify) = (store.clone(), stop.clone(), Notify::default());
        let of_server = Arc::clone(&config);
        let serving = tokio::spawn(async move { server(of_server, served, listener, &notify, stopped).await });
        let ran = run_engine(&config, store, Notify::from_env(), drain, haste).await;
        stop.cancel();
        let served = serving.await.context("the server broke off")?;
        drop(forge);
        ran.and(served)
    })
}

async fn run_engine(
    config: &Arc<Config>,
    store: Store,
    notify: Notify,
    drain: CancellationToken,
    haste: CancellationToken,
) -> Done {
    let bell = Bell::of(config.bell("serve"));
    engine::runner(Arc::clone(config), store, Clock::system(), bell, notify, Shutdown { drain, haste })
        .await
        .map_err(Failure::infra)?;
    Ok(ExitCode::SUCCESS)
}

fn lock(config: &Config, process: &'static str) -> Result<StateLock, Failure> {
    make_state_dir(config)?;
    StateLock::take(&config.state_dir, process, &Clock::system()).map_err(Failure::infra)
}

fn make_state_dir(config: &Config) -> Result<(), Failure> {
    let dir = &config.state_dir;
    // What is in there is for this program's users alone; a directory that the appliance made has its own mode.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .with_context(|| format!("making the state directory {}", dir.display()))?;
    Ok(())
}

fn open(config: &Config) -> Result<Store, Failure> {
    make_state_dir(config)?;
    Ok(Store::open(&config.database())?)
}

/// systemd's socket, where it holds one for us: connections wait in it while we are restarted, and none is refused.
fn handed_down() -> Result<Option<TcpListener>, Failure> {
    let listener = ListenFd::from_env().take_tcp_listener(0).context("the socket that systemd handed down")?;
    let listener = listener.map(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    Ok(listener.transpose().context("listening on the socket that systemd handed down")?)
}

async fn listen(config: &Config) -> Result<TcpListener, Failure> {
    if let Some(listener) = handed_down()? {
        return Ok(listener);
    }
    let address = config.web.listen;
    let bound = TcpListener::bind(address).await;
    Ok(bound.with_context(|| format!("listening on {address} (`web.listen`); is another program there?"))?)
}

/// Intake, report and the pages, until told to stop.
async fn server(
    config: Arc<Config>,
    store: Store,
    listener: TcpListener,
    notify: &Notify,
    stop: CancellationToken,
) -> Done {
    let clock = Clock::system();
    let started_at = clock.now();
    let (alarms, nudge, redactor) = (Alarms::default(), Nudge::default(), Redactor::new());
    let token = secrets::read_file(&config.forge.token_file).map_err(Failure::usage)?;
    redactor.register("forge token", &token);
    let hook_secret = match &config.forge.webhook {
        Some(webhook) => Some(secrets::read_file(&webhook.secret_file).map_err(Failure::usage)?),
        None => None,
    };
    if let Some(secret) = &hook_secret {
        redactor.register("webhook secret", secret);
    }
    let targets = config.notify.iter().map(|target| Target::open(target, &redactor));
    let targets: Vec<Target> = targets.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let forge = Arc::new(Gitea::new(&config.forge.url, token, clock.clone()).map_err(Failure::usage)?);
    let door_path = config.bell("serve");
    let door = Door::open(&door_path).with_context(|| format!("opening the door {}", door_path.display()))?;
    let address = config.web.address();

    let intake = Intake {
        forge: Arc::clone(&forge),
        store: store.clone(),
        clock: clock.clone(),
        alarms: alarms.clone(),
        rule: config.forge.clone(),
        address: address.clone(),
        nudge: nudge.clone(),
        runner: Bell::of(config.bell("runner")),
    };
    let planner = config.schedule.clone().map(|schedule| Planner {
        forge: Arc::clone(&forge),
        store: store.clone(),
        clock: clock.clone(),
        schedule,
        runner: Bell::of(config.bell("runner")),
    });
    let desk = Desk {
        forge: Arc::clone(&forge),
        store: store.clone(),
        clock: clock.clone(),
        organisation: config.forge.organisation.clone(),
        bells: vec![Bell::of(config.bell("serve")), Bell::of(config.bell("runner"))],
    };
    let mask: report::Mask = Arc::new(move |text: &str| redactor.mask(text));
    let notifier = Notifier {
        store: store.clone(),
        clock: clock.clone(),
        alarms: alarms.clone(),
        address: address.clone(),
        mask: Arc::clone(&mask),
        targets,
    };
    let report = Report {
        forge,
        store: store.clone(),
        clock: clock.clone(),
        alarms: alarms.clone(),
        context: config.forge.status_context.clone(),
        address,
        verdict: config.report.verdict,
        mask,
        tail: tail_of(&config.logs_dir()),
    };
    let mut site = Web::new(store.clone(), clock.clone(), &config, alarms);
    site.desk = Some(desk);
    site.runner = Some(Bell::of(config.bell("runner")));
    site.extra = webhook::router(hook_secret, nudge);

    tracing::info!(address = %listener.local_addr().map(|at| at.to_string()).unwrap_or_default(), "serving");
    let intake = tokio::spawn(intake::run(intake, stop.clone()));
    let report = tokio::spawn(report::run(report, stop.clone()));
    let planning = planner.map(|planner| tokio::spawn(intake::schedule::run(planner, stop.clone())));
    let notifying = tokio::spawn(report::notify::run(notifier, stop.clone()));
    let beating = tokio::spawn(beat(store.clone(), clock, started_at, stop.clone()));
    let living = tokio::spawn(notify.clone().live(store.clone(), stop.clone()));
    let hearing = tokio::spawn(hear(store, door, stop.clone()));
    notify.ready();
    let served = web::serve(listener, site, stop.clone()).await.context("serving pages");
    notify.stopping();
    stop.cancel();
    for task in [intake, report, notifying, beating, living, hearing].into_iter().chain(planning) {
        task.await.context("a part of the server broke off")?;
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// The last lines of a stage, as the log keeps them.
fn tail_of(dir: &Path) -> report::Tail {
    let dir = dir.to_owned();
    Arc::new(move |run, stage, most| match logs::open(&dir, run) {
        Ok(mut log) => log.stage_tail(stage, most).unwrap_or_default(),
        Err(_) => Vec::new(),
    })
}

async fn beat(store: Store, clock: Clock, started_at: Time, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let beat = Heartbeat {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at,
            at: clock.now(),
            facts: "{}".into(),
        };
        let written: Result<(), StoreError> =
            store.write("did not take a heartbeat", move |tx| heartbeats::beat(tx, "serve", &beat)).await;
        if let Err(error) = written {
            tracing::error!(error = %engine::causes(&error), "the server's heartbeat could not be written");
        }
    }
}

/// What the other process wrote is news here: by its ring, or by a look.
async fn hear(store: Store, door: Door, stop: CancellationToken) {
    let watching = store.clone();
    let stopped = stop.clone();
    let rung = async move {
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = door.heard() => watching.somebody_wrote(),
            }
        }
    };
    tokio::join!(rung, store.watch_other_process(LOOK, stop));
}

/// The first signal says `gently`, the second `haste`.
fn on_signals(gently: CancellationToken, haste: CancellationToken) -> Result<(), Failure> {
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::spawn(async move {
        for token in [gently, haste] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}

/// cc-ci's own log: the journal where there is one and nobody looks, text or JSON on standard error elsewhere.
fn start_log(format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("cc_ci=info,warn"));
    let registry = tracing_subscriber::registry().with(filter);
    let in_a_unit = std::env::var_os("JOURNAL_STREAM").is_some();
    let journal = match format {
        LogFormat::Journal => Some(tracing_journald::layer().context("the journal does not take our log")?),
        LogFormat::Auto if in_a_unit => tracing_journald::layer().ok(),
        _ => None,
    };
    match (journal, format) {
        (Some(journal), _) => registry.with(journal.with_syslog_identifier("cc-ci".into())).init(),
        (None, LogFormat::Json) => {
            registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).init();
        }
        (None, _) => {
            let colours = std::io::stderr().is_terminal();
            registry.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).init();
        }
    }
    Ok(())
}

/// Where a command finds the database of a configuration.
pub(super) fn database_of(config: &Config) -> PathBuf {
    config::database_in(&config.state_dir)
}
