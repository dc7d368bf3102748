//! `cc-ci runs list|show|log|cancel|retry|compare`: what is known of runs, and what may be done about them.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Subcommand;

use super::appliance::{Appliance, Whom};
use super::compare::compare;
use super::table::{Form, Table, cut, minute, plain, took};
use super::{Done, Failure};
use crate::api;
use crate::logs;
use crate::model::{Origin, Outcome, RunId};
use crate::say;
use crate::store::runs::Filter;

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// The newest first.
    #[command(after_help = "Example: cc-ci runs list --recipe keycloak --outcome failed -n 5")]
    List {
        #[command(flatten)]
        whom: Whom,
        /// Only this recipe's.
        #[arg(long)]
        recipe: Option<String>,
        /// Only those that ended so.
        #[arg(long)]
        outcome: Option<Outcome>,
        /// Only those that were asked for so: comment, command-line, api, schedule, local.
        #[arg(long)]
        origin: Option<Origin>,
        /// Only those before this one.
        #[arg(long, value_name = "RUN")]
        before: Option<RunId>,
        /// How many at most.
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        #[command(flatten)]
        form: Form,
    },
    /// One run: its stages, its checks, how it ended. With `--json`, its `result.json`.
    Show {
        #[command(flatten)]
        whom: Whom,
        /// Its number, as lists have it.
        run: RunId,
        #[command(flatten)]
        form: Form,
    },
    /// What it wrote.
    #[command(after_help = "Example: cc-ci runs log -f 412\n\nExit code 1 when it has written nothing.")]
    Log {
        #[command(flatten)]
        whom: Whom,
        /// Its number, as lists have it.
        run: RunId,
        /// Goes on until the run is over.
        #[arg(long, short)]
        follow: bool,
    },
    /// Ends one; what was deployed is taken down. Exit code 1 when it is over, or was told before.
    Cancel {
        #[command(flatten)]
        whom: Whom,
        /// Its number, as lists have it.
        run: RunId,
        #[command(flatten)]
        form: Form,
    },
    /// Tests the head of a run that is over once more. Exit code 1 when it is not over, or that head is in the queue.
    Retry {
        #[command(flatten)]
        whom: Whom,
        /// Its number, as lists have it.
        run: RunId,
        #[command(flatten)]
        form: Form,
    },
    /// Two side by side: what differs between them, and the last lines of the stage that failed.
    Compare {
        #[command(flatten)]
        whom: Whom,
        /// The number of one.
        first: RunId,
        /// The number of the other.
        second: RunId,
        #[command(flatten)]
        form: Form,
    },
}

pub(super) async fn runs(command: Runs) -> Done {
    match command {
        Runs::List { whom, recipe, outcome, origin, before, count, form } => {
            let filter = Filter { recipe, outcome, origin };
            let runs = whom.appliance()?.runs(filter, before, count as usize).await?;
            form.tell(&runs, || runs.iter().map(|run| run.id.to_string()).collect(), || list(&runs))
        }
        Runs::Show { whom, run, form } => {
            let appliance = whom.appliance()?;
            if form.json {
                return form.tell(&appliance.result(run).await?, Vec::new, || ());
            }
            let whole = appliance.run(run).await?;
            form.tell(&whole, || vec![whole.run.state.as_str().to_owned()], || show(&whole))
        }
        Runs::Log { whom, run, follow } => log(&whom.appliance()?, run, follow).await,
        Runs::Cancel { whom, run, form } => done(form, &whom.appliance()?.cancel(run).await?),
        Runs::Retry { whom, run, form } => done(form, &whom.appliance()?.retry(run).await?),
        Runs::Compare { whom, first, second, form } => compare(&whom.appliance()?, first, second, form).await,
    }
}

pub(super) fn done(form: Form, done: &api::Done) -> Done {
    form.tell(done, || vec![done.run.to_string()], || crate::say!("{}", plain(&done.said)))
}

fn list(runs: &[api::Run]) {
    if runs.is_empty() {
        crate::say!("no runs");
        return;
    }
    table(runs).say();
}

/// Runs as rows, newest or next first.
pub(super) fn table(runs: &[api::Run]) -> Table {
    let mut table = Table::new(&["run", "recipe", "PR", "head", "state", "queued", "reason"]);
    for run in runs {
        table.row(vec![
            run.id.to_string(),
            run.recipe.clone(),
            run.pr.map_or(String::from("-"), |pr| format!("#{pr}")),
            short(&run.head).to_owned(),
            run.state.as_str().to_owned(),
            minute(Some(&run.queued_at)),
            run.reason.as_deref().or(run.waits_for.as_deref()).unwrap_or("").to_owned(),
        ]);
    }
    table
}

/// A commit's first eight digits.
pub(super) fn short(head: &str) -> &str {
    head.get(..8).unwrap_or(head)
}

fn show(whole: &api::WholeRun) {
    let run = &whole.run;
    let version = run.version.as_deref().unwrap_or("");
    let said = format!("run {} · {} {version} at {} · asked by {}", run.id, run.recipe, short(&run.head), run.asked_by);
    crate::say!("{}", plain(&said));
    let reason = run.reason.as_deref().filter(|reason| !reason.is_empty());
    crate::say!("{}{}", run.state.as_str(), reason.map(|reason| format!(": {}", plain(reason))).unwrap_or_default());
    for stage in &whole.stages {
        let took = took(stage.started_at.as_deref(), stage.finished_at.as_deref());
        let reason = stage.reason.as_deref().map(plain).unwrap_or_default();
        crate::say!("{}", cut(format!("  {:10} {:14} {took:>9}  {reason}", stage.name, stage.state).trim_end()));
    }
    for check in &whole.checks {
        let detail = match (&check.expected, &check.got) {
            (Some(expected), Some(got)) => format!("expected {expected}, got {got}"),
            (None, Some(text)) | (Some(text), None) => text.clone(),
            (None, None) => String::new(),
        };
        let line = format!("  {:10} {:14} {} {detail}", check.stage, check.state, check.name);
        crate::say!("{}", plain(line.trim_end()));
    }
}

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);

async fn log(appliance: &Appliance, id: RunId, follow: bool) -> Done {
    let coloured = super::table::takes_colours();
    let (mut at, mut ticks) = (0, tokio::time::interval(LOOK));
    // Another machine may send anything.
    let mut cleaner = logs::Cleaner::default();
    loop {
        // Over before the reading means that the reading gets all there is.
        let over = appliance.run(id).await?.run.finished_at.is_some();
        loop {
            let bytes = appliance.log_from(id, at).await?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            let mut clean = logs::Clean::default();
            cleaner.push(&bytes, &mut clean);
            let shown = if coloured { clean.coloured() } else { clean.text };
            if !say::bytes(&shown) {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if at == 0 && !follow {
            return Err(Failure::no(anyhow!("run {id} has written nothing")));
        }
        if over || !follow {
            return Ok(ExitCode::SUCCESS);
        }
        ticks.tick().await;
    }
}
