//! The one comment of a pull request's head, as Markdown: pure functions of a [`Card`].
//!
//! Its first line says what there is to know and is short enough to be read alone, in a mail or a list. Whatever comes from
//! outside is text or code and nothing else (`markdown`).

use std::fmt::Write as _;

use super::PLACES;
use super::card::{Behind, Card};
use super::markdown::{code, fenced, short, text};
use super::words;
use crate::model::{Asked, CheckState, Head, Outcome, RunId, StageName, StageState};
use crate::stages::picture;
use crate::store::stages::{Check, Stage};

/// The first line is at most so long.
pub const FIRST_LINE: usize = 200;

/// Lines of the failing stage that are shown.
pub const TAIL: usize = 40;

/// Failing checks that are named.
const CHECKS: usize = 10;

/// Stands unseen at the end of the comment, so that it is found again when the process died between posting and noting it.
pub fn marker(head: &Head, run: RunId, is_verdict: bool) -> String {
    format!("{}run={run}{} -->", marker_of_head(head), if is_verdict { " verdict" } else { "" })
}

/// What every comment about a head has in it.
pub fn marker_of_head(head: &Head) -> String {
    format!("<!-- cc-ci head={head} ")
}

/// The same for a reply.
pub fn marker_of_reply(comment: crate::model::CommentId) -> String {
    format!("<!-- cc-ci reply={comment} -->")
}

/// True for an outcome that people wait for; others are said quietly.
pub fn is_verdict(outcome: Option<Outcome>) -> bool {
    match outcome {
        Some(Outcome::Passed | Outcome::Failed | Outcome::Infra | Outcome::TimedOut) => true,
        Some(Outcome::Cancelled | Outcome::Superseded | Outcome::Interrupted) | None => false,
    }
}

/// The comment without its marker.
pub fn render(card: &Card, address: &str) -> String {
    match (card.run.outcome, card.run.started_at) {
        (None, None) => waiting(card, address),
        (None, Some(_)) => running(card, address),
        (Some(Outcome::Passed), _) => passed(card, address),
        (Some(Outcome::Failed), _) => broken(card, address, "Failed"),
        (Some(Outcome::TimedOut), _) => broken(card, address, "Timed out"),
        (Some(Outcome::Infra), _) => infra(card, address),
        (Some(outcome @ (Outcome::Cancelled | Outcome::Superseded | Outcome::Interrupted)), _) => {
            ended(card, address, outcome)
        }
    }
}

fn waiting(card: &Card, address: &str) -> String {
    let behind = card.place.as_ref().and_then(|place| Some((place.number, place.behind.as_ref()?)));
    let queue = behind.map(|(number, behind)| queued(number, behind));
    // What the engine says of the queue is said above, with times.
    let of_queue = |why: &&str| behind.is_some_and(|(_, behind)| why.contains(&called(behind)));
    let why = card.run.waits_for.as_deref().filter(|why| !why.is_empty() && !of_queue(why));
    let why = why.map(|why| format!("{}.", text(&short(why.trim_end_matches('.'), 300))));
    let mut sentences: Vec<String> = queue.into_iter().chain(why).collect();
    if sentences.is_empty() {
        sentences.push("First in the queue; it starts as soon as there is room.".into());
    }
    let said = format!("**Waiting** · {} · {}\n{}", what(card), by_whom(card, address), sentences.join(" "));
    let (parts, size) = planned(card);
    join([said, format!("| plan | |\n|---|---|\n| {parts} | {size} |")])
}

/// What is going to be done, and how much that is.
fn planned(card: &Card) -> (String, String) {
    let plan = card.run.planned();
    let parts: Vec<String> = plan.parts().iter().map(|part| text(&short(part, 100))).collect();
    let mut size = match plan.deployments() {
        1 => "1 deployment".to_owned(),
        count => format!("{count} deployments"),
    };
    // What a whole test usually takes says nothing of a part.
    if let Some(usually) = card.usually.filter(|_| card.run.asked == Asked::All) {
        let _ = write!(size, ", usually {}", words::span(usually));
    }
    (parts.join(" · "), size)
}

fn queued(number: usize, behind: &Behind) -> String {
    if number > PLACES {
        return format!("More than {PLACES} are before it.");
    }
    let mut known = Vec::new();
    if let Some(at) = behind.started_at {
        known.push(at.format("started %H:%M UTC"));
    }
    if let Some(usually) = behind.usually {
        known.push(format!("usually {}", words::span(usually)));
    }
    let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    // The forge would take `#41` for a pull request of this repository, were it not for what stands unseen behind it.
    let number_there = behind.pr.map(|pr| format!(" #{pr}\u{200b}")).unwrap_or_default();
    format!("{} in the queue, behind {}{number_there}{known}.", words::place(number), text(&behind.name))
}

/// `keycloak #41`.
fn called(behind: &Behind) -> String {
    match behind.pr {
        Some(pr) => format!("{} #{pr}", behind.name),
        None => behind.name.clone(),
    }
}

fn running(card: &Card, address: &str) -> String {
    let mut body = format!("**Running** · {} · {}\n", what(card), by_whom(card, address));
    if let Some(newer) = card.run.superseded_by {
        let _ = writeln!(body, "Stops, replaced by {}; what was deployed is removed.", link(newer, address));
    } else if let Some(by) = &card.run.cancel_by {
        let _ = writeln!(body, "Stops, asked by {}; what was deployed is removed.", text(&short(by, 80)));
    } else {
        let (parts, size) = planned(card);
        let _ = writeln!(body, "Plan: {parts} ({size}).");
    }
    body.push('\n');
    body.push_str(&table(card));
    body
}

fn passed(card: &Card, address: &str) -> String {
    let run = &card.run;
    let mut line = format!("**Passed** · {}", what(card));
    let count = card.stages.iter().filter(|stage| stage.state == StageState::Passed).count();
    if let Some(span) = took(card).filter(|_| count > 0) {
        let _ = write!(line, " · {count} stages in {span}");
    }
    for stage in &card.stages {
        if matches!(stage.state, StageState::NotTested | StageState::NotApplicable | StageState::Skipped) {
            let state = stage.state.as_str().replace('-', " ");
            let reason = text(&short(stage.reason.as_deref().unwrap_or_default(), 80));
            let _ = write!(line, " · {} {state} ({reason})", stage.name);
        }
    }
    line.push_str(&level(card));
    let _ = write!(line, " · {}", link(run.id, address));
    let warnings = failing(card, CheckState::Warning);
    let folded = folded("Stages and times", &format!("{}{}", table(card), warnings));
    join([line, folded, front_page(card, address), unmasked(card)])
}

fn broken(card: &Card, address: &str, verdict: &str) -> String {
    let culprit = card.culprit();
    let at = culprit.map_or(String::new(), |stage| format!(": {}", stage.name));
    let first = first_line(&format!("**{verdict}{at}.** "), reason(card));
    let second = format!("{}{} · {}", what(card), level(card), by_whom(card, address));
    join([
        format!("{first}\n{second}"),
        format!("{}{}", table(card), failing(card, CheckState::Failed)),
        last_lines(card, culprit),
        front_page(card, address),
        unmasked(card),
        how_again(culprit.map(|stage| stage.name)),
    ])
}

fn infra(card: &Card, address: &str) -> String {
    let culprit = card.culprit();
    let first = first_line("**Not tested**, and not because of the recipe: ", reason(card));
    let tries = match card.run.attempt {
        1 => String::new(),
        count => format!(" · {count} attempts"),
    };
    let second = format!("{}{tries} · {}", what(card), by_whom(card, address));
    join([
        format!("{first}\n{second}"),
        folded("Stages and times", &table(card)),
        last_lines(card, culprit),
        unmasked(card),
        "Again: `!testme`".into(),
    ])
}

fn ended(card: &Card, address: &str, outcome: Outcome) -> String {
    let word = match outcome {
        Outcome::Cancelled => "**Cancelled**: ",
        Outcome::Superseded => "**Superseded**: ",
        _ => "**Interrupted**, it is tried again: ",
    };
    let newer = card.run.superseded_by.map(|run| format!(" · now {}", link(run, address))).unwrap_or_default();
    let second = format!("{}{newer} · {}", what(card), by_whom(card, address));
    join([format!("{}\n{second}", first_line(word, reason(card))), how_again(None)])
}

/// The verdict and its one reason, readable alone.
fn first_line(verdict: &str, reason: &str) -> String {
    let room = FIRST_LINE.saturating_sub(verdict.chars().count());
    let mut most = room;
    loop {
        let said = text(&short(reason, most));
        // Escaping makes it longer; cut what was said, not the escapes.
        if said.chars().count() <= room || most == 0 {
            return format!("{verdict}{said}");
        }
        most -= 1;
    }
}

fn reason(card: &Card) -> &str {
    let of_stage = || card.culprit().and_then(|stage| stage.reason.as_deref());
    card.run.reason.as_deref().filter(|reason| !reason.is_empty()).or_else(of_stage).unwrap_or("no reason was noted")
}

/// `keycloak 1.4.0+26.4.0 at 3f9c2ab1`.
fn what(card: &Card) -> String {
    let run = &card.run;
    let mut what = text(&short(&run.recipe, 64));
    if let Some(version) = &run.version {
        let _ = write!(what, " {}", code(&short(version, 64)));
    }
    let _ = write!(what, " at {}", code(run.head.short()));
    if run.asked != Asked::All {
        let _ = write!(what, " · only {}", run.asked);
    }
    what
}

fn by_whom(card: &Card, address: &str) -> String {
    let run = &card.run;
    let attempt = if run.attempt > 1 { format!(" · attempt {}", run.attempt) } else { String::new() };
    format!("asked by {}{attempt} · {}", text(&short(&run.asked_by, 64)), link(run.id, address))
}

fn link(run: RunId, address: &str) -> String {
    format!("[run {run}]({address}/runs/{run})")
}

fn took(card: &Card) -> Option<String> {
    let (from, to) = card.run.started_at.zip(card.run.finished_at)?;
    Some(words::span(to.since(from)))
}

fn level(card: &Card) -> String {
    let Some(level) = card.run.level else { return String::new() };
    match card.run.level_reason.as_deref().filter(|reason| !reason.is_empty()) {
        Some(reason) => format!(" · level {level} of 6 ({})", text(&short(reason, 120))),
        None => format!(" · level {level} of 6"),
    }
}

fn table(card: &Card) -> String {
    if card.stages.is_empty() {
        return String::new();
    }
    let culprit = card.culprit().map(|stage| stage.name);
    let mut table = "| stage | | time |\n|---|---|---|\n".to_owned();
    for stage in &card.stages {
        let checks = card.checks.iter().filter(|check| check.stage == stage.name).count();
        let bold = if culprit == Some(stage.name) { "**" } else { "" };
        let _ = writeln!(
            table,
            "| {bold}{}{bold} | {bold}{}{bold} | {} |",
            stage.name,
            how_it_went(stage, checks),
            stage_time(stage)
        );
    }
    table
}

fn how_it_went(stage: &Stage, checks: usize) -> String {
    let because = stage.reason.as_deref().filter(|reason| !reason.is_empty()).map(|reason| text(&short(reason, 160)));
    let with = |word: &str| because.as_ref().map_or(word.to_owned(), |because| format!("{word}: {because}"));
    match stage.state {
        StageState::Waiting => "waiting".into(),
        StageState::Running => "▸ running".into(),
        StageState::Passed if checks > 0 => format!("✔ passed, {checks} checks"),
        StageState::Passed => "✔ passed".into(),
        StageState::Failed => because.map_or("✘ failed".to_owned(), |because| format!("✘ {because}")),
        StageState::TimedOut => format!("✘ {}", with("timed out")),
        StageState::Infra => format!("◍ {}", with("not the recipe's fault")),
        StageState::NotApplicable => format!("– {}", with("not applicable")),
        StageState::NotTested => format!("– {}", with("not tested")),
        StageState::Skipped => format!("– {}", with("skipped")),
    }
}

fn stage_time(stage: &Stage) -> String {
    match (stage.started_at, stage.finished_at) {
        (Some(from), Some(to)) => words::clock(to.since(from)),
        (Some(from), None) => from.format("since %H:%M UTC"),
        _ => String::new(),
    }
}

fn failing(card: &Card, state: CheckState) -> String {
    let wrong: Vec<&Check> = card.checks.iter().filter(|check| check.state == state).collect();
    let mut list = String::new();
    for check in wrong.iter().take(CHECKS) {
        let _ = write!(list, "\n- {}", text(&short(&check.name, 100)));
        if check.state == CheckState::Warning {
            // A warning says what it saw, and what to do about it.
            let said = [&check.got, &check.expected].into_iter().flatten();
            let said: Vec<String> = said.map(|words| text(&short(words, 160))).collect();
            let _ = write!(list, ": {}", said.join("; "));
            continue;
        }
        if let Some(expected) = &check.expected {
            let _ = write!(list, ": expected {}", code(&short(expected, 160)));
        }
        if let Some(got) = &check.got {
            let _ = write!(list, ", got {}", code(&short(got, 160)));
        }
    }
    match wrong.len().checked_sub(CHECKS) {
        Some(more @ 1..) => list + &format!("\n- and {more} more"),
        _ => list,
    }
}

fn last_lines(card: &Card, culprit: Option<&Stage>) -> String {
    let Some(stage) = culprit.filter(|_| !card.tail.is_empty()) else { return String::new() };
    let from = card.tail.len().saturating_sub(TAIL);
    folded(&format!("Last lines of {} before the failure", stage.name), &fenced(&card.tail[from..]))
}

/// What the app showed after the install; the dashboard has the picture.
fn front_page(card: &Card, address: &str) -> String {
    if !card.has_picture {
        return String::new();
    }
    let picture = format!("![The app's front page]({address}/runs/{}/evidence/{})", card.run.id, picture::NAME);
    folded("Front page after the install", &picture)
}

fn folded(title: &str, inside: &str) -> String {
    if inside.is_empty() {
        return String::new();
    }
    format!("<details><summary>{title}</summary>\n\n{}\n\n</details>", inside.trim_end())
}

fn unmasked(card: &Card) -> String {
    let Some(names) = card.run.unredactable.as_deref().filter(|names| !names.is_empty()) else { return String::new() };
    let names: Vec<String> = names.lines().take(10).map(|name| code(&short(name, 64))).collect();
    format!("Too short to be masked in logs: {}.", names.join(", "))
}

fn how_again(stage: Option<StageName>) -> String {
    let only = stage.and_then(|stage| match stage {
        StageName::Install => Some(Asked::Install),
        StageName::Checks => Some(Asked::Checks),
        StageName::Backup => Some(Asked::Backup),
        StageName::Upgrade => Some(Asked::Upgrade),
        StageName::Fetch | StageName::Lint | StageName::Uninstall => None,
    });
    match only {
        Some(only) => {
            format!("Again: `!testme` · only this: `!testme {only}` · on your machine: `cc-ci run --stage {only} .`")
        }
        None => "Again: `!testme` · on your machine: `cc-ci run .`".into(),
    }
}

fn join<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}
