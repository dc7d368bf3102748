//! Whether this appliance does its work, for the operator's monitor and for the line above the recipes.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::outside::{Outside, Said};
use super::{Site, words};
use crate::clock::Time;
use crate::store::heartbeats::{self, Heartbeat};

/// A runner beats every few seconds.
const RUNNER_SILENT: Duration = Duration::from_secs(30);
/// Polls may back off; this much beyond three intervals is too long.
const POLL_LATE: Duration = Duration::from_secs(60);

/// What is wrong, and what to do.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub what: String,
    pub words: String,
}

#[derive(Clone, Debug)]
pub(super) struct Health {
    pub reasons: Vec<Reason>,
    /// What is not as it should be, though requests are answered.
    pub notes: Vec<Reason>,
    pub runner: Option<Heartbeat>,
    pub polled_at: Option<Time>,
    pub now: Time,
}

pub(super) async fn look(site: &Site) -> Health {
    let now = site.now();
    let mut reasons = Vec::new();
    let mut push = |what: &str, words: String| reasons.push(Reason { what: what.to_owned(), words });
    let runner = match site.store.read(|db| heartbeats::of(db, "runner")).await {
        Ok(runner) => {
            if let Some(words) = runner_trouble(site.started_at, now, runner.as_ref()) {
                push("runner", words);
            }
            runner
        }
        Err(error) => {
            push("database", format!("{error}; look at the disk and the journal of cc-ci-serve"));
            None
        }
    };
    let polled_at = site.alarms.last_poll();
    if let Some(interval) = site.poll_interval {
        let late = interval * 3 + POLL_LATE;
        if polled_at.is_none() {
            push(
                "first poll",
                "the forge has not been read since the start; what is asked now may be taken for history".to_owned(),
            );
        }
        let age = now.since(polled_at.unwrap_or(site.started_at));
        if age > late {
            push("poll", format!("the forge was last read {} ago; comments wait until it answers", words::rough(age)));
        }
    }
    let (grave, slight): (Vec<_>, Vec<_>) =
        site.alarms.lasting().into_iter().partition(|lasting| lasting.alarm.is_grave());
    for lasting in grave {
        push(lasting.alarm.as_str(), lasting.words);
    }
    for (what, words) in runner.as_ref().map(alarms_of).unwrap_or_default() {
        push(&what, words);
    }
    let notes = slight.into_iter().map(|lasting| Reason { what: lasting.alarm.as_str().into(), words: lasting.words });
    Health { notes: notes.collect(), reasons, runner, polled_at, now }
}

fn runner_trouble(started_at: Time, now: Time, runner: Option<&Heartbeat>) -> Option<String> {
    let Some(last) = runner.map(|beat| beat.at) else {
        let words = if now.since(started_at) > RUNNER_SILENT {
            "never heard; nothing is tested until cc-ci-runner is started"
        } else {
            "not heard yet; nothing is tested before it is"
        };
        return Some(words.to_owned());
    };
    let age = now.since(last);
    (age > RUNNER_SILENT)
        .then(|| format!("not heard for {}; nothing is tested until cc-ci-runner is back", words::rough(age)))
}

/// What the runner cannot mend itself: that it does not see its host, and what it names under `alarms` in its heartbeat
/// (`{"alarms": {"disk": "94 % full; …"}}`).
fn alarms_of(beat: &Heartbeat) -> Vec<(String, String)> {
    let facts: Value = serde_json::from_str(&beat.facts).unwrap_or_default();
    let fault = facts.get("fault").and_then(Value::as_str).map(|fault| ("host".to_owned(), fault.to_owned()));
    let named = facts.get("alarms").and_then(Value::as_object).into_iter().flatten();
    let named = named.filter_map(|(what, words)| Some((what.clone(), words.as_str()?.to_owned())));
    fault.into_iter().chain(named).take(20).collect()
}

/// What is wrong, above everything else.
pub(super) fn alarms(reasons: &[Reason]) -> Markup {
    html! {
        @if !reasons.is_empty() {
            div.alarms role="alert" { ul { @for reason in reasons { li { b { (Outside(&reason.what)) } " " (Said(&reason.words)) } } } }
        }
    }
}

impl Health {
    /// For `/ready`: whether, why not, and the ages that say how near.
    pub(super) fn json(&self) -> Value {
        let map = |reasons: &[Reason]| {
            let words = reasons.iter().map(|reason| (reason.what.clone(), Value::from(reason.words.as_str())));
            Value::Object(words.collect())
        };
        let age = |at: Option<Time>| at.map(|at| self.now.since(at).as_secs());
        json!({
            "ready": self.reasons.is_empty(),
            "reasons": map(&self.reasons),
            "notes": map(&self.notes),
            "runner_heartbeat_age_s": age(self.runner.as_ref().map(|beat| beat.at)),
            "runner_version": self.runner.as_ref().map(|beat| beat.version.clone()),
            "poll_age_s": age(self.polled_at),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(at: Time, facts: &str) -> Heartbeat {
        Heartbeat { pid: 1, version: "0.1.0".into(), started_at: Time(0), at, facts: facts.into() }
    }

    #[test]
    fn a_runner_is_missed_after_half_a_minute() {
        let trouble = |at: Option<i64>, now: i64| {
            let beat = at.map(|at| beat(Time(at), "{}"));
            runner_trouble(Time(0), Time(now), beat.as_ref())
        };
        assert_eq!(trouble(Some(100_000), 129_000), None);
        assert!(trouble(Some(100_000), 231_000).unwrap().contains("not heard for 2 min"));
        assert!(trouble(None, 29_000).unwrap().contains("not heard yet"), "both may just have started");
        assert!(trouble(None, 40_000).unwrap().contains("never heard"));
    }

    #[test]
    fn what_the_runner_complains_about_is_passed_on() {
        let facts = r#"{"alarms": {"disk": "94 % full", "odd": 3}, "load": 1, "fault": "Docker does not answer"}"#;
        let said = [("host", "Docker does not answer"), ("disk", "94 % full")];
        assert_eq!(alarms_of(&beat(Time(0), facts)), said.map(|(what, words)| (what.to_owned(), words.to_owned())));
        assert!(alarms_of(&beat(Time(0), "not json")).is_empty());
    }
}
