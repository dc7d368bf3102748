//! How states, times and spans are said on pages: one wording for each, used by all of them.

use std::time::Duration;

use maud::{Markup, html};

use super::outside::{Outside, Said};
use crate::clock::Time;
use crate::model::{CheckState, Outcome, StageState};
use crate::report::words::clock;

/// How something stands, as a shape and a word. The shape is drawn by the stylesheet from `class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub class: &'static str,
    pub word: &'static str,
}

/// A run's outcome; one that has none waits or runs.
pub(super) fn standing(outcome: Option<Outcome>, started: bool) -> Standing {
    let (class, word) = match outcome {
        Some(Outcome::Passed) => ("passed", "passed"),
        Some(Outcome::Failed) => ("failed", "failed"),
        Some(Outcome::TimedOut) => ("failed", "timed out"),
        Some(Outcome::Infra) => ("infra", "could not test"),
        Some(Outcome::Interrupted) => ("infra", "interrupted"),
        Some(Outcome::Cancelled) => ("cancelled", "cancelled"),
        Some(Outcome::Superseded) => ("cancelled", "superseded"),
        None if started => ("running", "running"),
        None => ("waiting", "waiting"),
    };
    Standing { class, word }
}

pub(super) fn stage_standing(state: StageState) -> Standing {
    let (class, word) = match state {
        StageState::Waiting => ("waiting", "to come"),
        StageState::Running => ("running", "running"),
        StageState::Passed => ("passed", "passed"),
        StageState::Failed => ("failed", "failed"),
        StageState::TimedOut => ("failed", "timed out"),
        StageState::Infra => ("infra", "could not test"),
        StageState::NotApplicable => ("cancelled", "does not apply"),
        StageState::NotTested => ("cancelled", "not tested"),
        StageState::Skipped => ("cancelled", "skipped"),
    };
    Standing { class, word }
}

pub(super) fn check_standing(state: CheckState) -> Standing {
    let (class, word) = match state {
        CheckState::Passed => ("passed", "passed"),
        CheckState::Failed => ("failed", "failed"),
        CheckState::Warning => ("infra", "warning"),
        CheckState::Skipped => ("cancelled", "skipped"),
    };
    Standing { class, word }
}

impl Standing {
    /// The shape alone; the word stands beside it somewhere.
    pub(super) fn shape(self) -> Markup {
        html! { i class={ "s " (self.class) } {} }
    }

    /// Shape and word.
    pub(super) fn shown(self) -> Markup {
        html! { span.state { (self.shape()) (self.word) } }
    }
}

/// `Passed`, for the start of a sentence.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How long ago, roughly: `just now`, `40 s ago`, `3 min ago`, `5 h ago`, `2 days ago`, then the date. The script says the same.
pub(super) fn ago(now: Time, then: Time) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..=9 => "just now".into(),
        10..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        86_400..=172_799 => "1 day ago".into(),
        172_800..=5_183_999 => format!("{} days ago", seconds / 86_400),
        _ => then.format("%-d %b %Y"),
    }
}

const MOMENT: &str = "%Y-%m-%d %H:%M:%S";

/// The moment for people, whole: `2026-01-02 03:04:05 UTC`.
pub(super) fn absolute(at: Time) -> String {
    format!("{} UTC", at.format(MOMENT))
}

/// A moment as its age, the moment itself in the title.
pub(super) fn when(now: Time, at: Time) -> Markup {
    let moment = at.format(MOMENT);
    html! { time datetime={ (moment) "Z" } title={ (moment) " UTC" } { (ago(now, at)) } }
}

/// A measured span: `0.4 s`, `1:12`, `1:02:03`.
pub(super) fn span(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 10 {
        let tenths = took.as_millis() / 100;
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    clock(took)
}

/// A span that is still growing: whole seconds, which the script counts on.
pub(super) fn counting(now: Time, since: Time) -> Markup {
    html! { time.counting data-since=(since.0) title={ "since " (absolute(since)) } { (clock(now.since(since))) } }
}

/// A span as people guess it: `6 s`, `9 min`, `1 h 20 min`.
pub(super) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=5399 => format!("{} min", (seconds + 30) / 60),
        _ => {
            let minutes = (seconds + 30) / 60;
            if minutes.is_multiple_of(60) {
                format!("{} h", minutes / 60)
            } else {
                format!("{} h {} min", minutes / 60, minutes % 60)
            }
        }
    }
}

/// `1 run`, `2 runs`.
pub(super) fn count(number: i64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The level as six small steps and its number.
pub(super) fn level(level: Option<i64>, reason: Option<&str>) -> Markup {
    let Some(level) = level else {
        return html! { span.level.none title="Nothing earned a level yet" { span.soft { "–" } } };
    };
    let title = match reason {
        Some(reason) if !reason.is_empty() => format!("level {level} of 6: {reason}"),
        _ => format!("level {level} of 6"),
    };
    html! {
        span.level title=(Outside(&title)) {
            span class={ "steps l" (level.clamp(0, 6)) } aria-hidden="true" { i {} i {} i {} i {} i {} i {} }
            span { (level) span.sr { " of 6" } }
        }
    }
}

/// The mark of a recipe of which one commit passed and failed.
pub(super) fn flaky() -> Markup {
    html! { span.flaky title="One commit passed and failed among the last ten runs" { "flaky" } }
}

/// Why, in one line of a list.
pub(super) fn why(reason: &str) -> Markup {
    html! { span.why title=(Outside(reason)) { (Said(first_sentence(reason).0)) } }
}

/// The first sentence, and what follows it.
pub(super) fn first_sentence(text: &str) -> (&str, &str) {
    let text = text.trim();
    for (at, found) in text.match_indices(['.', '\n', ';']) {
        let rest = &text[at + found.len()..];
        if found == "\n" || rest.starts_with(char::is_whitespace) || rest.is_empty() {
            return (text[..at].trim_end(), rest.trim());
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_as_people_say_them() {
        let now = Time(1_767_323_045_000);
        let before = |seconds: u64| ago(now, now.minus(Duration::from_secs(seconds)));
        assert_eq!(before(0), "just now");
        assert_eq!(before(42), "42 s ago");
        assert_eq!(before(200), "3 min ago");
        assert_eq!(before(7300), "2 h ago");
        assert_eq!(before(90_000), "1 day ago");
        assert_eq!(before(86_400 * 21), "21 days ago");
        assert_eq!(before(86_400 * 400), "28 Nov 2024");
        assert_eq!(ago(now, now.plus(Duration::from_secs(60))), "just now");
    }

    #[test]
    fn spans_are_as_exact_as_they_are_long() {
        assert_eq!(span(Duration::from_millis(437)), "0.4 s");
        assert_eq!(span(Duration::from_millis(9_990)), "9.9 s");
        assert_eq!(span(Duration::from_secs(72)), "1:12");
        assert_eq!(span(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(rough(Duration::from_secs(6)), "6 s");
        assert_eq!(rough(Duration::from_secs(540)), "9 min");
        assert_eq!(rough(Duration::from_secs(4800)), "80 min");
        assert_eq!(rough(Duration::from_secs(7200)), "2 h");
        assert_eq!(rough(Duration::from_secs(8100)), "2 h 15 min");
    }

    #[test]
    fn the_verdict_is_its_first_sentence() {
        assert_eq!(
            first_sentence("the upgrade lost data. The realm was gone."),
            ("the upgrade lost data", "The realm was gone.")
        );
        assert_eq!(first_sentence("compose.yml:31 asks for 1.2.3"), ("compose.yml:31 asks for 1.2.3", ""));
        assert_eq!(first_sentence("one\ntwo"), ("one", "two"));
        assert_eq!(first_sentence(""), ("", ""));
    }
}
