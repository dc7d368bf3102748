//! What a Prometheus reads. Nothing here is guessed: what is not known (no runner was heard, no poll was made) is not there,
//! which an alert rule can say with `absent()`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use serde_json::Value;

use super::answer::{Rendered, Wrong};
use super::{Fresh, Site, health};
use crate::alarms::Alarm;
use crate::model::Outcome;
use crate::store::metrics::{self, Counts};

const DAY: Duration = Duration::from_secs(86_400);
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn page(site: &Site) -> Result<Fresh, Wrong> {
    let now = site.now();
    let since = now.minus(DAY);
    let counts = site.store.read(move |db| metrics::counts(db, since)).await?;
    let health = health::look(site).await;
    let mut text = Exposition::default();
    text.gauge("cc_ci_info", "The version that answers.", [(label("version", env!("CARGO_PKG_VERSION")), 1)]);
    text.one(
        "cc_ci_ready",
        "Whether requests are answered as they should be; /ready has the reasons.",
        u8::from(health.reasons.is_empty()),
    );
    queue(&mut text, &counts, now);
    spans(&mut text, &counts);
    forge(&mut text, &counts, &health);
    let lasting: Vec<&str> = site.alarms.lasting().iter().map(|lasting| lasting.alarm.as_str()).collect();
    let alarms = Alarm::ALL.map(|alarm| (label("alarm", alarm.as_str()), u8::from(lasting.contains(&alarm.as_str()))));
    text.gauge("cc_ci_alarm", "Whether this alarm of the server lasts.", alarms);
    host(&mut text, &health);
    Ok(Fresh { rendered: Rendered::new(KIND, "no-cache", text.0), good_for: Duration::from_secs(1) })
}

fn queue(text: &mut Exposition, counts: &Counts, now: crate::clock::Time) {
    text.one("cc_ci_runs_waiting", "Runs that wait for their turn.", counts.waiting);
    text.one("cc_ci_runs_running", "Runs that are being tested.", counts.running);
    let oldest = counts.oldest_waiting.map_or(0, |at| now.since(at).as_secs());
    text.one("cc_ci_oldest_waiting_seconds", "Age of the run that waits longest; 0 when none waits.", oldest);
    let ended = Outcome::ALL.iter().map(|outcome| {
        let count = counts.outcomes.iter().find(|(one, _)| one == outcome).map_or(0, |(_, count)| *count);
        (label("outcome", outcome.as_str()), count)
    });
    text.gauge("cc_ci_runs_last_day", "Runs that ended in the last 24 hours, by outcome.", ended);
    text.one("cc_ci_retries_last_day", "Attempts after the first, asked for in the last 24 hours.", counts.retries);
    text.one("cc_ci_leftovers", "Apps of which a teardown left something behind.", counts.leftovers);
}

fn spans(text: &mut Exposition, counts: &Counts) {
    let mut stages: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (name, ms) in &counts.stages {
        stages.entry(name.as_str()).or_default().push(*ms);
    }
    let of = |name: &str, share: &str| format!("{{stage=\"{name}\",of=\"{share}\"}}");
    let rows = stages.into_iter().flat_map(|(name, mut spans)| {
        spans.sort_unstable();
        [(of(name, "median"), share(&spans, 50)), (of(name, "p95"), share(&spans, 95))]
    });
    text.gauge("cc_ci_stage_seconds", "How long stages took in the newest 200 runs.", rows.collect::<Vec<_>>());
    let mut spans = counts.to_pending.clone();
    spans.sort_unstable();
    if !spans.is_empty() {
        let rows = [(label("of", "median"), share(&spans, 50)), (label("of", "p95"), share(&spans, 95))];
        text.gauge("cc_ci_pending_seconds", "From a comment to the first status of its head, lately.", rows);
    }
}

/// In seconds, of milliseconds in order.
fn share(sorted: &[i64], percent: usize) -> String {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    let ms = sorted.get(at).copied().unwrap_or(0);
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn forge(text: &mut Exposition, counts: &Counts, health: &health::Health) {
    if let Some(at) = health.polled_at {
        text.one("cc_ci_poll_age_seconds", "Since the forge was last read.", health.now.since(at).as_secs());
    }
    text.one("cc_ci_outbox_waiting", "Words for the forge that are still to be said.", counts.outbox_open);
    text.one("cc_ci_outbox_failing", "Of those, how many the forge did not take at first.", counts.outbox_failing);
    text.one("cc_ci_outbox_given_up_last_day", "Words given up in the last 24 hours.", counts.outbox_given_up);
    text.one(
        "cc_ci_repositories_failing",
        "Enrolled repositories whose last look went wrong.",
        counts.repositories_failing,
    );
}

fn host(text: &mut Exposition, health: &health::Health) {
    let Some(beat) = &health.runner else { return };
    text.one(
        "cc_ci_runner_heartbeat_age_seconds",
        "Since the runner was last heard.",
        health.now.since(beat.at).as_secs(),
    );
    let facts: Value = serde_json::from_str(&beat.facts).unwrap_or_default();
    for (name, key, help) in [
        ("cc_ci_disk_free_bytes", "disk_free", "Free on the disk that Docker writes to."),
        ("cc_ci_disk_size_bytes", "disk_size", "Size of that disk."),
        ("cc_ci_memory_available_bytes", "memory_available", "Memory that is available."),
        ("cc_ci_memory_size_bytes", "memory_size", "Memory of the machine."),
        ("cc_ci_containers_running", "containers_running", "Containers that run on the machine."),
    ] {
        if let Some(number) = facts.pointer(&format!("/host/{key}")).and_then(Value::as_u64) {
            text.one(name, help, number);
        }
    }
    if let Some(until) = facts.get("certificate_until").and_then(Value::as_i64) {
        let days = (until - health.now.0).div_euclid(86_400_000);
        text.one("cc_ci_certificate_days", "Days until the proxy's certificate ends; less than 0 when it did.", days);
    }
}

/// One label. Its values are words of ours, or written by nobody but us.
fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

/// Metrics in the text format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn gauge<V: Display>(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, V)>) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help, [(String::new(), value)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_of_the_spans() {
        assert_eq!(share(&[], 50), "0.000");
        assert_eq!(share(&[1500], 95), "1.500");
        assert_eq!(share(&[1, 2, 3, 4000], 50), "0.003");
        assert_eq!(share(&(1..=100).map(|s| s * 1000).collect::<Vec<_>>(), 95), "96.000");
    }
}
