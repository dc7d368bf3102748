//! `/metrics`, for Prometheus: what `nix/monitoring/alerts.yaml` has rules about. A number that is not known is left out, so
//! that a rule can tell "nothing" from "nobody knows".

use std::fmt::{Display, Write};
use std::time::Duration;

use serde::Deserialize;

use super::health::Health;
use crate::clock::Time;
use crate::model::Outcome;
use crate::store::numbers::Numbers;

/// The part of the runner's facts that is counted here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Facts {
    host: Option<Host>,
    certificate_until: Option<Time>,
}

#[derive(Deserialize)]
struct Host {
    disk_free: u64,
    disk_size: u64,
}

const OUTCOMES: [Outcome; 7] = [
    Outcome::Passed,
    Outcome::Failed,
    Outcome::Infra,
    Outcome::TimedOut,
    Outcome::Cancelled,
    Outcome::Superseded,
    Outcome::Interrupted,
];

/// The text form, version 0.0.4.
pub(super) fn render(numbers: &Numbers, health: &Health) -> String {
    let mut page = Page(String::new());
    let facts: Facts =
        health.runner.as_ref().and_then(|beat| serde_json::from_str(&beat.facts).ok()).unwrap_or_default();
    let age = |at: Time| seconds(health.now.since(at));
    page.gauge("ready", "Whether requests are answered as they should be.", u8::from(health.reasons.is_empty()));
    page.gauge("queue_depth", "Runs that wait.", numbers.waiting);
    let waited = numbers.oldest_wait.map_or("0".into(), age);
    page.gauge("queue_oldest_wait_seconds", "How long the longest of them has waited.", waited);
    page.gauge("runs_running", "Runs that are under way.", numbers.running);
    page.head("runs", "Runs that are kept, by how they ended.");
    for outcome in OUTCOMES {
        let count = numbers.outcomes.iter().find(|(one, _)| *one == outcome).map_or(0, |(_, count)| *count);
        let _ = writeln!(page.0, "cc_ci_runs{{outcome=\"{outcome}\"}} {count}");
    }
    page.gauge("leftover_apps", "Apps of which a teardown could not remove everything.", numbers.leftovers);
    page.gauge("outbox_open", "What the forge has not taken yet.", numbers.unsaid);
    let unsaid = numbers.oldest_unsaid.map_or("0".into(), age);
    page.gauge("outbox_oldest_seconds", "How long the oldest of that has waited.", unsaid);
    if let Some(at) = health.polled_at {
        page.gauge("poll_age_seconds", "Since the forge was last read.", age(at));
    }
    if let Some(beat) = &health.runner {
        page.gauge("runner_heartbeat_age_seconds", "Since the runner was last heard.", age(beat.at));
    }
    if let Some(host) = facts.host {
        page.gauge("disk_free_bytes", "Free on the disk that Docker writes to.", host.disk_free);
        page.gauge("disk_size_bytes", "Size of the disk that Docker writes to.", host.disk_size);
    }
    if let Some(until) = facts.certificate_until {
        let at = until.0 / 1000;
        page.gauge("certificate_expiry_timestamp_seconds", "When the certificate ends that the proxy shows.", at);
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP cc_ci_{name} {help}\n# TYPE cc_ci_{name} gauge");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help);
        let _ = writeln!(self.0, "cc_ci_{name} {value}");
    }
}

fn seconds(span: Duration) -> String {
    format!("{}.{:03}", span.as_secs(), span.subsec_millis())
}
