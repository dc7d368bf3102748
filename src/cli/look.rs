//! `cc-ci queue`, `recipes`, `decisions`, `hosts`: the pages of these names, in a terminal.

use std::time::Duration;

use clap::Args;

use super::Done;
use super::appliance::Whom;
use super::runs;
use super::table::{Form, Table, minute, plain};
use crate::api::{Decision, Process, Queue, Recipe};
use crate::report::words::clock;

#[derive(Debug, Args)]
pub(crate) struct Look {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Decisions {
    #[command(flatten)]
    look: Look,
    /// How many at most.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
}

pub(super) async fn queue(asked: Look) -> Done {
    let queue = asked.whom.appliance()?.queue().await?;
    let all = || queue.running.iter().chain(&queue.waiting);
    asked.form.tell(&queue, || all().map(|run| run.id.to_string()).collect(), || say_queue(&queue))
}

fn say_queue(queue: &Queue) {
    if queue.running.is_empty() && queue.waiting.is_empty() {
        crate::say!("nothing runs and nothing waits");
        return;
    }
    let all: Vec<_> = queue.running.iter().chain(&queue.waiting).cloned().collect();
    runs::table(&all).say();
    let more = usize::try_from(queue.waiting_count).unwrap_or(0).saturating_sub(queue.waiting.len());
    if more > 0 {
        crate::say!("and {more} more behind them");
    }
}

pub(super) async fn recipes(asked: Look) -> Done {
    let recipes = asked.whom.appliance()?.recipes().await?;
    asked.form.tell(&recipes, || recipes.iter().map(|recipe| recipe.name.clone()).collect(), || say_recipes(&recipes))
}

fn say_recipes(recipes: &[Recipe]) {
    if recipes.is_empty() {
        crate::say!("no recipe has a run");
        return;
    }
    let mut table =
        Table::new(&["recipe", "level", "verdict", "last run", "queued", "usually takes", "to the next level"]);
    for recipe in recipes {
        let known = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row(vec![
            recipe.name.clone(),
            known(recipe.level.map(|level| level.to_string())),
            known(recipe.outcome.map(|outcome| outcome.to_string())),
            known(recipe.last_run.map(|run| run.to_string())),
            minute(recipe.last_at.as_deref()),
            known(recipe.median_ms.map(|span| clock(Duration::from_millis(span)))),
            recipe.level_reason.clone().unwrap_or_default(),
        ]);
    }
    table.say();
}

pub(super) async fn decisions(asked: Decisions) -> Done {
    let Look { whom, form } = asked.look;
    let decisions = whom.appliance()?.decisions(asked.count as usize).await?;
    let bare = || decisions.iter().map(|decision| format!("{} {}", decision.comment, decision.decision)).collect();
    form.tell(&decisions, bare, || say_decisions(&decisions))
}

fn say_decisions(decisions: &[Decision]) {
    if decisions.is_empty() {
        crate::say!("nobody has asked for anything yet");
        return;
    }
    let mut table = Table::new(&["decided", "where", "who", "asked", "decision", "why"]);
    for decision in decisions {
        let pr = decision.pr.map(|pr| format!(" #{pr}")).unwrap_or_default();
        table.row(vec![
            minute(Some(&decision.decided_at)),
            format!("{}{pr}", decision.repository),
            decision.author.clone(),
            decision.command.clone(),
            decision.decision.to_string(),
            decision.run.map_or_else(|| decision.reason.clone(), |run| format!("run {run}")),
        ]);
    }
    table.say();
}

pub(super) async fn hosts(asked: Look) -> Done {
    let hosts = asked.whom.appliance()?.hosts().await?;
    let bare = || hosts.processes.iter().map(|process| process.name.clone()).collect();
    asked.form.tell(&hosts, bare, || {
        if hosts.processes.is_empty() {
            crate::say!("no process has been heard of");
        }
        hosts.processes.iter().for_each(say_process);
    })
}

fn say_process(process: &Process) {
    let (heard, started) = (minute(Some(&process.heard_at)), minute(Some(&process.started_at)));
    crate::say!("{} {}: heard at {heard}, since {started}", plain(&process.name), plain(&process.version));
    for (name, fact) in &process.facts {
        let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        crate::say!("  {:20} {}", plain(name), plain(&fact));
    }
}
