//! `cc-ci runs list|show|log|cancel|retry`: what the database of this machine knows, and what may be done about it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Configured, Done, Failure};
use crate::api::{self, State};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::config;
use crate::engine::run;
use crate::evidence::result;
use crate::logs;
use crate::model::{Origin, Outcome, RunId};
use crate::store::audit::{self, Act};
use crate::store::runs::{Filter, Run};
use crate::store::stages::{Check, Stage};
use crate::store::{Store, StoreError, runs, stages};

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// The newest first.
    List {
        #[command(flatten)]
        place: Place,
        /// Only this recipe's.
        #[arg(long)]
        recipe: Option<String>,
        /// Only those that ended so.
        #[arg(long)]
        outcome: Option<Outcome>,
        /// Only those before this one.
        #[arg(long)]
        before: Option<RunId>,
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        #[arg(long)]
        json: bool,
    },
    /// One run: its stages, its checks, how it ended. With `--json`, its `result.json`.
    Show {
        #[command(flatten)]
        place: Place,
        run: RunId,
        #[arg(long)]
        json: bool,
    },
    /// What it wrote.
    Log {
        #[command(flatten)]
        place: Place,
        run: RunId,
        /// Goes on until the run is over.
        #[arg(long, short)]
        follow: bool,
    },
    /// Ends one; what was deployed is taken down. Exit code 1 when it is over, or was told before.
    Cancel {
        #[command(flatten)]
        place: Place,
        run: RunId,
        #[arg(long)]
        json: bool,
    },
    /// Tests the head of a run that is over once more. Exit code 1 when it is not over, or that head is in the queue.
    Retry {
        #[command(flatten)]
        place: Place,
        run: RunId,
        #[arg(long)]
        json: bool,
    },
}

/// Which state directory: the configuration's, or one by name.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    configured: Configured,
    /// The state directory itself, without a configuration.
    #[arg(long, conflicts_with = "config")]
    state: Option<PathBuf>,
}

impl Place {
    pub(super) fn dir(&self) -> Result<PathBuf, Failure> {
        match &self.state {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.configured.load_without_secrets()?.state_dir),
        }
    }

    pub(super) fn store(&self) -> Result<(PathBuf, Store), Failure> {
        let dir = self.dir()?;
        let database = config::database_in(&dir);
        if !database.exists() {
            return Err(Failure::usage(anyhow::anyhow!("{} holds no cc-ci database", dir.display())));
        }
        Ok((dir, Store::open(&database)?))
    }
}

pub(super) async fn runs(command: Runs) -> Done {
    match command {
        Runs::List { place, recipe, outcome, before, count, json } => {
            let (_, store) = place.store()?;
            let filter = Filter { recipe, outcome };
            let page = store.read(move |db| runs::page(db, &filter, before, count)).await?;
            if json {
                return print(&page.iter().map(api::Run::from).collect::<Vec<_>>());
            }
            list(&page);
            Ok(ExitCode::SUCCESS)
        }
        Runs::Show { place, run: id, json } => {
            let (_, store) = place.store()?;
            let (run, stages, checks) = whole(&store, id).await?;
            if json {
                let result = store.read(move |db| result::of(db, id)).await?;
                return print(&result);
            }
            show(&run, &stages, &checks);
            Ok(ExitCode::SUCCESS)
        }
        Runs::Log { place, run, follow } => log(&place, run, follow).await,
        Runs::Cancel { place, run, json } => cancel(&place, run, json).await,
        Runs::Retry { place, run, json } => retry(&place, run, json).await,
    }
}

async fn cancel(place: &Place, id: RunId, json: bool) -> Done {
    let (dir, store) = place.store()?;
    whole(&store, id).await?;
    let now = Clock::system().now();
    let asked = store.write("did not take a cancel", move |tx| {
        let asked = run::ask_cancel(tx, id, "cancelled on the command line", now)?;
        let said = if asked { "told to end" } else { "over, or told before" };
        audit::push(tx, Act { actor: super::ACTOR, action: "cancel", target: &format!("run {id}"), said }, now)?;
        Ok(asked)
    });
    if !asked.await? {
        return Err(Failure::no(anyhow::anyhow!("run {id} is over, or was told to end before")));
    }
    done(&dir, id, format!("run {id} is told to end"), json)
}

async fn retry(place: &Place, id: RunId, json: bool) -> Done {
    let (dir, store) = place.store()?;
    whole(&store, id).await?;
    let now = Clock::system().now();
    let again = store.write("did not take a retry", move |tx| {
        let again = run::retry(tx, id, Origin::CommandLine, super::ACTOR, now)?;
        let (target, said) = (format!("run {id}"), format!("run {again} is queued"));
        audit::push(tx, Act { actor: super::ACTOR, action: "retry", target: &target, said: &said }, now)?;
        Ok(again)
    });
    let again = again.await.map_err(|error| match error {
        StoreError::Refused(why) => Failure::no(anyhow::anyhow!(why)),
        error => error.into(),
    })?;
    done(&dir, again, format!("run {again} is queued"), json)
}

/// Tells both processes, and whoever asked.
fn done(dir: &Path, id: RunId, said: String, json: bool) -> Done {
    for process in ["serve", "runner"] {
        Bell::of(config::bell_in(dir, process)).ring();
    }
    if json {
        return print(&api::Done { run: id.0, said });
    }
    crate::say!("{said}");
    Ok(ExitCode::SUCCESS)
}

async fn whole(store: &Store, id: RunId) -> Result<(Run, Vec<Stage>, Vec<Check>), Failure> {
    let found = store
        .read(move |db| {
            let Some(run) = runs::by_id(db, id)? else { return Ok(None) };
            Ok(Some((run, stages::of_run(db, id)?, stages::checks_of_run(db, id)?)))
        })
        .await?;
    found
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("there is no run {id}; `cc-ci runs list` shows those there are")))
}

fn print(value: &impl serde::Serialize) -> Done {
    crate::say!("{}", serde_json::to_string_pretty(value).map_err(Failure::infra)?);
    Ok(ExitCode::SUCCESS)
}

fn list(page: &[Run]) {
    if page.is_empty() {
        crate::say!("no runs");
        return;
    }
    crate::say!("{:>6}  {:24} {:>5}  {:8}  {:12} {:16}  reason", "run", "recipe", "PR", "head", "state", "queued");
    for run in page {
        let pr = run.pr.map_or(String::from("-"), |pr| format!("#{pr}"));
        let line = format!(
            "{:>6}  {:24} {:>5}  {:8}  {:12} {:16}  {}",
            run.id,
            plain(&run.recipe),
            pr,
            run.head.short(),
            State::of(run).as_str(),
            run.queued_at.format("%Y-%m-%d %H:%M"),
            plain(run.reason.as_deref().or(run.waits_for.as_deref()).unwrap_or(""))
        );
        crate::say!("{}", cut(&line));
    }
}

fn show(run: &Run, stages: &[Stage], checks: &[Check]) {
    let version = run.version.as_deref().unwrap_or("");
    crate::say!(
        "run {} · {} {} at {} · asked by {}",
        run.id,
        plain(&run.recipe),
        plain(version),
        run.head.short(),
        plain(&run.asked_by)
    );
    crate::say!(
        "{}{}",
        State::of(run).as_str(),
        run.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default()
    );
    for stage in stages {
        let took = match (stage.started_at, stage.finished_at) {
            (Some(from), Some(to)) => format!("{:.1} s", to.since(from).as_secs_f64()),
            _ => String::new(),
        };
        let reason = stage.reason.as_deref().map(plain).unwrap_or_default();
        crate::say!("  {:10} {:14} {took:>9}  {reason}", stage.name, stage.state);
    }
    for check in checks {
        let detail = match (&check.expected, &check.got) {
            (Some(expected), Some(got)) => format!("expected {}, got {}", plain(expected), plain(got)),
            (None, Some(got)) => plain(got),
            (Some(expected), None) => plain(expected),
            (None, None) => String::new(),
        };
        crate::say!("  {:10} {:14} {} {detail}", check.stage, check.state, plain(&check.name));
    }
}

async fn log(place: &Place, run: RunId, follow: bool) -> Done {
    let (dir, store) = place.store()?;
    whole(&store, run).await?;
    let mut out = std::io::stdout();
    let mut at = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    loop {
        let over = store.read(move |db| Ok(runs::by_id(db, run)?.is_none_or(|run| run.finished_at.is_some()))).await?;
        match logs::open(&config::logs_in(&dir), run) {
            Ok(mut log) => loop {
                let bytes = log.read_at(at, 1 << 16).map_err(Failure::infra)?;
                if bytes.is_empty() {
                    break;
                }
                at += bytes.len() as u64;
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
            },
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Failure::infra(error)),
            Err(_) if !follow => return Err(Failure::no(anyhow::anyhow!("run {run} has written nothing"))),
            Err(_) => {}
        }
        if over || !follow {
            return Ok(ExitCode::SUCCESS);
        }
        ticks.tick().await;
    }
}

/// Without what a terminal could take for a command.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// To the terminal's width; whole where there is none.
fn cut(line: &str) -> String {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if std::io::stdout().is_terminal() && columns > 20 && line.chars().count() > columns {
        line.chars().take(columns - 1).chain(['…']).collect()
    } else {
        line.to_owned()
    }
}
