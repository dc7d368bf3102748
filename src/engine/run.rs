//! The states of runs and stages: every way from one to the next stands in this file and nowhere else.
//!
//! A transition is one function and one transaction: it checks that the run is where it says, writes the new state, and pushes
//! what the pull request is to hear ([`Report::Status`], [`Report::Comment`]) beside it. So no crash leaves a state that nobody
//! reported, or a report of a state that never was. The end of a run takes [`TornDown`], which only the rows of its apps can
//! give, and those are closed only by [`NothingLeft`], which only a verified teardown hands out: the race between "it is over"
//! and "it is gone" is closed by types. `docs/states.md` shows the same as tables.

use std::time::Duration;

use crate::clock::Time;
use crate::model::{AppDomain, Asked, CheckState, HELD, NoticeKind, Origin, Outcome, RunId, StageName, StageState};
use crate::plan::{Plan, Without};
use crate::stages::level::Level;
use crate::store::deployments::NewDeployment;
use crate::store::outbox::{self, Report};
use crate::store::runs::{NewRun, Run};
use crate::store::stages::{Check, Stage};
use crate::store::{StoreError, Transaction, apps, deployments, events, notices, repositories, runs, stages, turns};
use crate::swarm::sweep::NothingLeft;

/// A run that was interrupted, or that failed by nobody's fault who wrote the recipe, is tried this often in all.
pub const ATTEMPTS: i64 = 3;

/// What a run comes to, before its teardown has its say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// The one line that matters first.
    pub reason: String,
}

/// How a stage ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageEnd {
    pub state: StageState,
    pub reason: Option<String>,
    /// Of its time, what the recipe's own update monitor asked for.
    pub waited: Duration,
}

/// One planned stage: waiting, or not to be done and why.
pub type Planned = (StageName, StageState, Option<String>);

/// Nothing of the run's making stands unaccounted for: it made nothing, or all of it was proven gone, or a teardown looked and
/// wrote down what it could not remove. Made by [`torn_down`] alone, and worth only inside the transaction that asked.
#[derive(Debug)]
#[must_use = "a run that was torn down still has to be finished"]
pub struct TornDown {
    run: RunId,
    left: Vec<String>,
}

/// Queues a run and tells the pull request at once that it will come.
pub fn queue(tx: &Transaction, new: &NewRun, now: Time) -> Result<RunId, StoreError> {
    let id = runs::queue(tx, new, now)?;
    report(tx, &open(tx, id)?, now)?;
    Ok(id)
}

/// A run that is over is asked for once more: the same head, linked to the one before.
pub fn retry(tx: &Transaction, id: RunId, origin: Origin, asked_by: &str, now: Time) -> Result<RunId, StoreError> {
    let Some(run) = runs::by_id(tx, id)? else { return refuse(format!("there is no run {id}")) };
    if run.finished_at.is_none() {
        return refuse(format!("run {id} is not over yet"));
    }
    if let Some(open) = runs::open(tx)?.iter().find(|other| other.repo_name == run.repo_name && other.head == run.head)
    {
        return refuse(format!("run {} of the same head is not over yet", open.id));
    }
    let again = NewRun { origin, asked_by: asked_by.to_owned(), comment: None, attempt: 1, ..next_attempt(&run) };
    queue(tx, &again, now)
}

/// Says why a queued run has not started; the comment changes only when the words do. Whoever works out the words looked at the
/// queue before: one that was taken back since then waits for nothing.
pub fn wait(tx: &Transaction, id: RunId, words: &str, now: Time) -> Result<bool, StoreError> {
    let Some(before) = runs::by_id(tx, id)?.filter(|run| run.finished_at.is_none()) else { return Ok(false) };
    let changed = runs::set_waits_for(tx, id, words)?;
    if changed {
        events::push(tx, Some(id), "queue", words, now)?;
        // The status does not follow the queue, place by place.
        let words_of_both = [before.waits_for.as_deref().unwrap_or_default(), words];
        let says = if words_of_both.iter().any(|words| words.starts_with(HELD)) { report } else { report_comment };
        says(tx, &before, now)?;
    }
    Ok(changed)
}

/// From the queue to running, with its plan.
pub fn start(tx: &Transaction, id: RunId, plan: &[Planned], now: Time) -> Result<Run, StoreError> {
    let run = open(tx, id)?;
    if run.cancel_at.is_some() {
        return refuse(format!("run {id} was cancelled before its turn"));
    }
    if plan.is_empty() {
        return refuse(format!("run {id} has an empty plan"));
    }
    runs::start(tx, id, now)?;
    stages::plan(tx, id, plan)?;
    let run = open(tx, id)?;
    report(tx, &run, now)?;
    Ok(run)
}

/// What fetch read in the recipe: its own name, its version, the domain its app will have.
pub fn learn(
    tx: &Transaction,
    id: RunId,
    recipe: &str,
    version: Option<&str>,
    domain: &AppDomain,
    now: Time,
) -> Result<(), StoreError> {
    let run = running(tx, id)?;
    runs::set_recipe(tx, id, recipe, version, domain.as_str())?;
    if let Some(repository) = run.repository {
        repositories::set_recipe(tx, repository, recipe)?;
    }
    events::push(tx, Some(id), "run", "recipe read", now)?;
    report_comment(tx, &run, now)
}

/// What was found out of what is going to be done. Stages that are left out are over with that.
pub fn settle_plan(tx: &Transaction, id: RunId, plan: &Plan, now: Time) -> Result<(), StoreError> {
    let run = running(tx, id)?;
    let text = serde_json::to_string(plan).map_err(|error| StoreError::Refused(format!("the plan: {error}")))?;
    runs::set_plan(tx, id, &text)?;
    if let Some(base) = &plan.base {
        runs::set_base(tx, id, &base.name)?;
    }
    let rows = stages::of_run(tx, id)?;
    let waits = |name| rows.iter().any(|row| row.name == name && row.state == StageState::Waiting);
    for step in plan.steps.iter().filter(|step| waits(step.stage)) {
        let Some((state, reason)) = step.without.as_ref().map(Without::said) else { continue };
        let end = StageEnd { state, reason: Some(reason.to_owned()), waited: Duration::ZERO };
        end_stage(tx, id, step.stage, &end, now)?;
    }
    report_comment(tx, &run, now)
}

/// A deploy is about to be made, counted before it is.
pub fn note_deployment(tx: &Transaction, id: RunId, new: &NewDeployment, now: Time) -> Result<(), StoreError> {
    running(tx, id)?;
    deployments::add(tx, id, new, now)
}

/// What the run says of the recipe's level, and why it is no higher.
pub fn note_level(tx: &Transaction, id: RunId, level: &Level) -> Result<(), StoreError> {
    running(tx, id)?;
    runs::set_level(tx, id, level.number, &level.reason)
}

/// A stage begins. One at a time.
pub fn begin_stage(tx: &Transaction, id: RunId, name: StageName, now: Time) -> Result<(), StoreError> {
    let run = running(tx, id)?;
    if let Some(busy) = stages::of_run(tx, id)?.iter().find(|stage| stage.state == StageState::Running) {
        return refuse(format!("stage {name} of run {id} cannot begin while {} runs", busy.name));
    }
    stages::start(tx, id, name, now)?;
    report_comment(tx, &run, now)
}

/// A stage is over: it ran to an end, or it never will and says why.
pub fn end_stage(tx: &Transaction, id: RunId, name: StageName, end: &StageEnd, now: Time) -> Result<(), StoreError> {
    let run = running(tx, id)?;
    let from = stages::of_run(tx, id)?.iter().find(|stage| stage.name == name).map(|stage| stage.state);
    let never_ran = matches!(end.state, StageState::NotApplicable | StageState::NotTested | StageState::Skipped);
    match from {
        _ if !end.state.is_final() => return refuse(format!("`{}` is no end of a stage", end.state)),
        None => return refuse(format!("stage {name} is not in the plan of run {id}")),
        Some(StageState::Waiting) if !never_ran => {
            return refuse(format!("stage {name} of run {id} never began and cannot be {}", end.state));
        }
        _ if end.reason.is_none() && end.state != StageState::Passed => {
            return refuse(format!("stage {name} of run {id} is {} without a reason", end.state));
        }
        Some(_) => {}
    }
    stages::finish(tx, id, name, end.state, end.reason.as_deref(), end.waited, now)?;
    report_comment(tx, &run, now)
}

/// One assertion with a name, in a stage that runs.
pub fn add_check(tx: &Transaction, id: RunId, check: &Check, now: Time) -> Result<(), StoreError> {
    running(tx, id)?;
    stages::add_check(tx, id, check, now)
}

/// Names of secrets too short to be masked.
pub fn note_unredactable(tx: &Transaction, id: RunId, names: &[String]) -> Result<(), StoreError> {
    running(tx, id)?;
    if names.is_empty() { Ok(()) } else { runs::set_unredactable(tx, id, &names.join("\n")) }
}

/// An app is about to be made: the row first, the thing after.
pub fn intend_app(
    tx: &Transaction,
    id: RunId,
    domain: &AppDomain,
    abra_dir: &str,
    now: Time,
) -> Result<i64, StoreError> {
    running(tx, id)?;
    apps::intend(tx, id, domain, abra_dir, now)
}

/// A teardown looked everywhere and found nothing of this very app.
pub fn app_is_gone(tx: &Transaction, app: i64, proof: NothingLeft, now: Time) -> Result<(), StoreError> {
    match apps::by_id(tx, app)? {
        Some(app) if app.stack == *proof.stack() => apps::gone(tx, app.id, now),
        Some(app) => refuse(format!("that nothing of {} is left says nothing of {}", proof.stack(), app.stack)),
        None => refuse(format!("there is no app {app}")),
    }
}

/// A teardown could not remove this; it stays on the list of what recovery and janitor try again.
pub fn app_left(tx: &Transaction, app: i64, left: &[String]) -> Result<(), StoreError> {
    let words = if left.is_empty() { "could not be looked for".to_owned() } else { left.join("\n") };
    apps::left_over(tx, app, &words)
}

/// Asks the rows of the run's apps. Refused while one stands that no teardown has looked at.
pub fn torn_down(tx: &Transaction, id: RunId) -> Result<TornDown, StoreError> {
    let mut left = Vec::new();
    for app in apps::of_run(tx, id)?.into_iter().filter(|app| app.gone_at.is_none()) {
        match app.leftovers {
            Some(names) => left.extend(names.lines().map(str::to_owned)),
            None => return refuse(format!("run {id} cannot end while its app {} stands", app.domain)),
        }
    }
    Ok(TornDown { run: id, left })
}

/// The run is over. Leftovers make a passed run a failed one and are named beside any other verdict. Says what it came to.
pub fn finish(tx: &Transaction, id: RunId, verdict: Verdict, gone: TornDown, now: Time) -> Result<Verdict, StoreError> {
    let run = running(tx, id)?;
    if gone.run != id {
        return refuse(format!("the teardown of run {} says nothing of run {id}", gone.run));
    }
    if matches!(verdict.outcome, Outcome::Interrupted) {
        return refuse(format!("run {id} is interrupted by `interrupt`, which queues the next attempt"));
    }
    let verdict = with_leftovers(verdict, &gone.left);
    let planned = stages::of_run(tx, id)?;
    let failing = planned.iter().find(|stage| !allows_a_pass(stage));
    if let (Outcome::Passed, Some(stage)) = (verdict.outcome, failing) {
        return refuse(format!("run {id} cannot pass: stage {} is {}", stage.name, stage.state));
    }
    close_stages(tx, id, &planned, "the run ended while it ran", "the run ended before it", now)?;
    runs::finish(tx, id, verdict.outcome, &verdict.reason, now)?;
    report(tx, &run, now)?;
    notify(tx, &run, verdict.outcome, now)?;
    Ok(verdict)
}

/// Whoever is notified hears of a run that turned its recipe red, or green again.
fn notify(tx: &Transaction, run: &Run, outcome: Outcome, now: Time) -> Result<(), StoreError> {
    let Some(repository) = run.repository.filter(|_| run.asked == Asked::All) else { return Ok(()) };
    let before = runs::verdict_before(tx, repository, run.pr, run.id)?;
    match turn(before, outcome) {
        Some(kind) => notices::of_run(tx, kind, run.id, now),
        None => Ok(()),
    }
}

/// What a verdict changes of the one before it. Nothing before it counts as green, so that the first red is heard.
fn turn(before: Option<Outcome>, outcome: Outcome) -> Option<NoticeKind> {
    let is_red = |outcome| matches!(outcome, Outcome::Failed | Outcome::TimedOut);
    let was_red = before.is_some_and(is_red);
    match outcome {
        Outcome::Passed => was_red.then_some(NoticeKind::Green),
        outcome if is_red(outcome) => (!was_red).then_some(NoticeKind::Red),
        // Not about the recipe.
        _ => None,
    }
}

/// The run is over, as [`finish`] says it. Where the recipe was not at fault and nobody wanted it to end, the next attempt is
/// queued beside it, to begin after a pause that doubles: at most [`ATTEMPTS`] in all, then the last one stands.
pub fn finish_or_retry(
    tx: &Transaction,
    id: RunId,
    verdict: Verdict,
    gone: TornDown,
    pause: Duration,
    now: Time,
) -> Result<(Verdict, Option<RunId>), StoreError> {
    let run = running(tx, id)?;
    let mut verdict = verdict;
    // What cannot be tested here would be so again.
    let hopeless = run.cancel_at.is_some() || run.planned().untestable.is_some();
    let again = verdict.outcome == Outcome::Infra && !hopeless && run.origin != Origin::Local;
    if again && run.attempt >= ATTEMPTS {
        verdict.reason = format!("{}, the last of {ATTEMPTS} attempts", verdict.reason);
    }
    let verdict = finish(tx, id, verdict, gone, now)?;
    if !again || run.attempt >= ATTEMPTS {
        return Ok((verdict, None));
    }
    let next = queue(tx, &next_attempt(&run), now)?;
    let doublings = u32::try_from(run.attempt - 1).unwrap_or(0);
    let until = now.plus(pause * 2_u32.pow(doublings));
    turns::pause(tx, next, until)?;
    let words = format!(
        "Tried again from {}: attempt {} of {ATTEMPTS} failed, not by the recipe's fault ({})",
        until.format("%H:%M:%S UTC"),
        run.attempt,
        verdict.reason
    );
    wait(tx, next, &words, now)?;
    Ok((verdict, Some(next)))
}

/// A queued run that somebody took back: over before it began. [`ask_cancel`] does it at once; this is for rows that were only
/// marked.
pub fn withdraw(tx: &Transaction, id: RunId, now: Time) -> Result<(), StoreError> {
    let run = open(tx, id)?;
    if run.started_at.is_some() {
        return refuse(format!("run {id} has started; cancelling it needs a teardown"));
    }
    let Some(verdict) = taken_back(&run) else {
        return refuse(format!("nobody asked for run {id} to end"));
    };
    runs::finish(tx, id, verdict.outcome, &verdict.reason, now)?;
    report(tx, &run, now)
}

/// The process died or had to stop in mid-run. What it made is gone; the next attempt is queued, at most [`ATTEMPTS`] in all,
/// and after the last one the run is `infra` and tells the story. A run that somebody wanted to end just ends.
pub fn interrupt(
    tx: &Transaction,
    id: RunId,
    why: &str,
    gone: TornDown,
    now: Time,
) -> Result<Option<RunId>, StoreError> {
    let run = running(tx, id)?;
    if let Some(verdict) = taken_back(&run) {
        finish(tx, id, verdict, gone, now)?;
        return Ok(None);
    }
    if gone.run != id {
        return refuse(format!("the teardown of run {} says nothing of run {id}", gone.run));
    }
    let planned = close_uninstall(tx, id, &stages::of_run(tx, id)?, &gone.left, now)?;
    close_stages(tx, id, &planned, why, "the run was interrupted before it", now)?;
    if run.attempt >= ATTEMPTS {
        let reason = format!("{why}, in all of {ATTEMPTS} attempts; `!testme` tries again");
        let verdict = with_leftovers(Verdict { outcome: Outcome::Infra, reason }, &gone.left);
        runs::finish(tx, id, verdict.outcome, &verdict.reason, now)?;
        report(tx, &run, now)?;
        return Ok(None);
    }
    let verdict = with_leftovers(Verdict { outcome: Outcome::Interrupted, reason: why.to_owned() }, &gone.left);
    runs::finish(tx, id, verdict.outcome, &verdict.reason, now)?;
    let next = queue(tx, &next_attempt(&run), now)?;
    turns::resume_first(tx, next)?;
    Ok(Some(next))
}

/// Somebody wants a run to end: what waits is over at once, what runs is told so by the runner, which tears it down. `by` is a
/// login, or a reason in words. `false` when it is over or was asked already.
pub fn ask_cancel(tx: &Transaction, id: RunId, by: &str, now: Time) -> Result<bool, StoreError> {
    if !runs::ask_cancel(tx, id, by, now)? {
        return Ok(false);
    }
    end_or_tell(tx, id, now)?;
    Ok(true)
}

/// A newer request on the same pull request takes a run's place, as [`ask_cancel`] does it.
pub fn supersede(tx: &Transaction, id: RunId, by: RunId, now: Time) -> Result<bool, StoreError> {
    if by <= id {
        return refuse(format!("run {by} is not newer than run {id}"));
    }
    if !runs::ask_cancel(tx, id, &format!("run {by}"), now)? {
        return Ok(false);
    }
    runs::supersede(tx, id, by)?;
    end_or_tell(tx, id, now)?;
    Ok(true)
}

fn end_or_tell(tx: &Transaction, id: RunId, now: Time) -> Result<(), StoreError> {
    let run = open(tx, id)?;
    if run.started_at.is_none() { withdraw(tx, id, now) } else { report_comment(tx, &run, now) }
}

/// What a run comes to that somebody wanted to end; `None` when nobody did.
pub fn taken_back(run: &Run) -> Option<Verdict> {
    run.cancel_at?;
    let by = run.cancel_by.as_deref().unwrap_or("somebody");
    Some(match run.superseded_by {
        Some(newer) => Verdict { outcome: Outcome::Superseded, reason: format!("replaced by run {newer}") },
        None if by.contains(' ') => Verdict { outcome: Outcome::Cancelled, reason: by.to_owned() },
        None => Verdict { outcome: Outcome::Cancelled, reason: format!("cancelled by {by}") },
    })
}

fn next_attempt(run: &Run) -> NewRun {
    NewRun {
        origin: run.origin,
        repository: run.repository,
        repo_name: run.repo_name.clone(),
        recipe: run.recipe.clone(),
        pr: run.pr,
        head: run.head.clone(),
        base_branch: run.base_branch.clone(),
        title: run.title.clone(),
        comment: run.comment,
        asked_by: run.asked_by.clone(),
        asked: run.asked,
        upgrade_from: run.upgrade_from.clone(),
        attempt: run.attempt + 1,
        retry_of: Some(run.id),
    }
}

fn allows_a_pass(stage: &Stage) -> bool {
    matches!(stage.state, StageState::Passed | StageState::NotApplicable | StageState::NotTested)
}

fn with_leftovers(verdict: Verdict, left: &[String]) -> Verdict {
    if left.is_empty() {
        return verdict;
    }
    let named = left.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let more = if left.len() > 5 { format!(" and {} more", left.len() - 5) } else { String::new() };
    match verdict.outcome {
        Outcome::Passed => {
            Verdict { outcome: Outcome::Failed, reason: format!("the uninstall left {named}{more}; it is tried again") }
        }
        outcome => Verdict { outcome, reason: format!("{}; left over: {named}{more}", verdict.reason) },
    }
}

/// What took down an interrupted run's apps was not its uninstall stage, but its row says what came of it. Gives the other
/// stages.
fn close_uninstall(
    tx: &Transaction,
    id: RunId,
    planned: &[Stage],
    left: &[String],
    now: Time,
) -> Result<Vec<Stage>, StoreError> {
    let apps: Vec<String> = apps::of_run(tx, id)?.into_iter().map(|app| app.domain.to_string()).collect();
    let (uninstall, others): (Vec<Stage>, Vec<Stage>) =
        planned.iter().cloned().partition(|stage| stage.name == StageName::Uninstall);
    let (state, reason) = match (apps.is_empty(), left.is_empty()) {
        (true, _) => (StageState::Skipped, "nothing was deployed before the interruption".to_owned()),
        (false, true) => (StageState::Passed, format!("taken down after the interruption: {}", apps.join(", "))),
        (false, false) => (StageState::Failed, format!("after the interruption it left {}", left.join(", "))),
    };
    for stage in &uninstall {
        if matches!(stage.state, StageState::Running | StageState::Waiting) {
            stages::finish(tx, id, stage.name, state, Some(&reason), Duration::ZERO, now)?;
        }
    }
    Ok(others)
}

/// No stage of a run that is over is still open.
fn close_stages(
    tx: &Transaction,
    id: RunId,
    planned: &[Stage],
    while_running: &str,
    before: &str,
    now: Time,
) -> Result<(), StoreError> {
    for stage in planned {
        let (state, reason) = match stage.state {
            StageState::Running => (StageState::Infra, while_running),
            StageState::Waiting => (StageState::Skipped, before),
            _ => continue,
        };
        stages::finish(tx, id, stage.name, state, Some(reason), Duration::ZERO, now)?;
    }
    Ok(())
}

fn open(tx: &Transaction, id: RunId) -> Result<Run, StoreError> {
    match runs::by_id(tx, id)? {
        Some(run) if run.finished_at.is_none() => Ok(run),
        Some(_) => refuse(format!("run {id} is over")),
        None => refuse(format!("there is no run {id}")),
    }
}

fn running(tx: &Transaction, id: RunId) -> Result<Run, StoreError> {
    let run = open(tx, id)?;
    if run.started_at.is_none() { refuse(format!("run {id} has not started")) } else { Ok(run) }
}

fn report(tx: &Transaction, run: &Run, now: Time) -> Result<(), StoreError> {
    if let (Some(repository), Some(pr)) = (run.repository, run.pr) {
        outbox::push(tx, &Report::Status { run: run.id }, repository, pr, now)?;
    }
    report_comment(tx, run, now)
}

fn report_comment(tx: &Transaction, run: &Run, now: Time) -> Result<(), StoreError> {
    if let (Some(repository), Some(pr)) = (run.repository, run.pr) {
        outbox::push(tx, &Report::Comment { run: run.id }, repository, pr, now)?;
    }
    Ok(())
}

fn refuse<T>(why: String) -> Result<T, StoreError> {
    Err(StoreError::Refused(why))
}

/// A check that came out well, or did not.
pub fn checked(stage: StageName, name: &str, well: bool, expected: &str, got: &str, took: Duration) -> Check {
    Check {
        stage,
        name: name.to_owned(),
        state: if well { CheckState::Passed } else { CheckState::Failed },
        expected: Some(expected.to_owned()),
        got: Some(got.to_owned()),
        took: Some(took),
    }
}

#[cfg(test)]
mod tests;
