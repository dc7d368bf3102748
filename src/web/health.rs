//! Whether this appliance does its work, for the operator's monitor and for the line above the recipes.

use std::time::Duration;

use serde_json::{Value, json};

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
        let age = now.since(polled_at.unwrap_or(site.started_at));
        if age > late {
            push("poll", format!("the forge was last read {} ago; comments wait until it answers", words::rough(age)));
        }
    }
    for lasting in site.alarms.lasting() {
        push(lasting.alarm.as_str(), lasting.words);
    }
    for (what, words) in runner.as_ref().map(alarms_of).unwrap_or_default() {
        push(&what, words);
    }
    Health { reasons, runner, polled_at, now }
}

fn runner_trouble(started_at: Time, now: Time, runner: Option<&Heartbeat>) -> Option<String> {
    let last = runner.map(|beat| beat.at);
    let age = now.since(last.unwrap_or(started_at));
    if age <= RUNNER_SILENT {
        return None;
    }
    Some(match last {
        Some(_) => format!("not heard for {}; nothing is tested until cc-ci-runner is back", words::rough(age)),
        None => "never heard; nothing is tested until cc-ci-runner is started".to_owned(),
    })
}

/// The runner says under `alarms` in its heartbeat what it cannot mend: `{"alarms": {"disk": "94 % full; …"}}`.
fn alarms_of(beat: &Heartbeat) -> Vec<(String, String)> {
    let facts: Value = serde_json::from_str(&beat.facts).unwrap_or_default();
    let Some(alarms) = facts.get("alarms").and_then(Value::as_object) else { return Vec::new() };
    alarms.iter().filter_map(|(what, words)| Some((what.clone(), words.as_str()?.to_owned()))).take(20).collect()
}

impl Health {
    /// For `/ready`: whether, why not, and the ages that say how near.
    pub(super) fn json(&self) -> Value {
        let reasons: serde_json::Map<String, Value> =
            self.reasons.iter().map(|reason| (reason.what.clone(), Value::from(reason.words.as_str()))).collect();
        let age = |at: Option<Time>| at.map(|at| self.now.since(at).as_secs());
        json!({
            "ready": self.reasons.is_empty(),
            "reasons": reasons,
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
        assert_eq!(trouble(None, 29_000), None, "both may just have started");
        assert!(trouble(None, 40_000).unwrap().contains("never heard"));
    }

    #[test]
    fn what_the_runner_complains_about_is_passed_on() {
        let facts = r#"{"alarms": {"disk": "94 % full", "odd": 3}, "load": 1}"#;
        assert_eq!(alarms_of(&beat(Time(0), facts)), [("disk".to_owned(), "94 % full".to_owned())]);
        assert!(alarms_of(&beat(Time(0), "not json")).is_empty());
    }
}
