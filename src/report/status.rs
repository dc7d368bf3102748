//! The commit status: one state and one short line of plain text, made from the run as it is.

use super::card::Card;
use super::markdown::{flat, short};
use super::words;
use crate::forge::{Status, StatusState};
use crate::model::{HELD, Outcome};

/// Forges show about so many characters.
const LONGEST: usize = 140;

pub fn render(card: &Card, context: &str, address: &str) -> Status {
    let run = &card.run;
    let reason = run.reason.as_deref().unwrap_or_default();
    let at = card.culprit().map_or(String::new(), |stage| format!("{}: ", stage.name));
    let took = run.started_at.zip(run.finished_at).map(|(from, to)| words::span(to.since(from)));
    let (state, line) = match (run.outcome, run.started_at) {
        (None, None) => match run.waits_for.as_deref().and_then(|why| why.strip_prefix(HELD)) {
            Some(why) => (StatusState::Pending, format!("waiting: {why}")),
            None => (StatusState::Pending, "waiting for its turn".to_owned()),
        },
        (None, Some(_)) => (StatusState::Pending, "running".to_owned()),
        (Some(Outcome::Passed), _) => {
            (StatusState::Success, took.map_or("passed".to_owned(), |took| format!("passed in {took}")))
        }
        (Some(Outcome::Failed), _) => (StatusState::Failure, format!("{at}{reason}")),
        (Some(Outcome::TimedOut), _) => (StatusState::Failure, format!("timed out: {at}{reason}")),
        (Some(Outcome::Infra), _) => (StatusState::Error, format!("not the recipe's fault: {at}{reason}")),
        (Some(Outcome::Cancelled), _) => (StatusState::Error, format!("cancelled: {reason}")),
        (Some(Outcome::Superseded), _) => (StatusState::Error, format!("superseded: {reason}")),
        (Some(Outcome::Interrupted), _) => (StatusState::Pending, "interrupted; it is tried again".to_owned()),
    };
    Status {
        state,
        context: context.to_owned(),
        target_url: format!("{address}/runs/{}", run.id),
        description: short(flat(&line).trim_end_matches([' ', ':']), LONGEST),
    }
}
