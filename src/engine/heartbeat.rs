//! The runner's sign of life, with what it sees of the host: the server has no other eyes on Docker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::causes;
use super::ledger::Ledger;
use super::tools::Tool;
use crate::clock::{Clock, Time};
use crate::store::heartbeats::{self, Heartbeat};
use crate::swarm::Swarm;
use crate::swarm::host::Facts;
use crate::systemd::Notify;

const EVERY: Duration = Duration::from_secs(5);

/// What the runner says of itself, as JSON in its row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Said {
    /// `recovering`, `ready`, `stopping`, or what it waits for in words.
    pub state: String,
    pub abra: Option<String>,
    /// What else runs need, as it is found here.
    pub tools: Vec<Tool>,
    pub parallel: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Facts>,
    /// Why there are no facts of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Until when the certificate holds that the proxy shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<Time>,
    /// What only the operator can mend, by what it is about; the pages show it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alarms: BTreeMap<String, String>,
}

/// Beats until its token is cancelled.
#[derive(Clone)]
pub struct Heart {
    ledger: Ledger,
    clock: Clock,
    started_at: Time,
    said: Arc<Mutex<Said>>,
    notify: Notify,
}

impl Heart {
    pub fn new(ledger: Ledger, clock: Clock, said: Said, notify: Notify) -> Heart {
        let started_at = clock.now();
        Heart { ledger, clock, started_at, said: Arc::new(Mutex::new(said)), notify }
    }

    /// What the process does now, in the next beat and for systemd.
    pub fn state(&self, words: &str) {
        self.notify.status(words);
        self.say(|said| words.clone_into(&mut said.state));
    }

    /// Changes what the next beat says.
    pub fn say(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub async fn beat(&self, swarm: Option<&Swarm>) {
        if let Some(swarm) = swarm {
            let facts = swarm.facts().await;
            self.say(|said| match facts {
                Ok(facts) => (said.host, said.fault) = (Some(facts), None),
                Err(fault) => (said.host, said.fault) = (None, Some(causes(&fault))),
            });
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let beat = Heartbeat {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            at: self.clock.now(),
            facts: serde_json::to_string(&said).unwrap_or_default(),
        };
        let written =
            self.ledger.store.write("did not take a heartbeat", move |tx| heartbeats::beat(tx, "runner", &beat));
        if let Err(error) = written.await {
            tracing::error!(error = %causes(&error), "the heartbeat could not be written");
        }
    }

    pub async fn run(self, swarm: Swarm, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.beat(Some(&swarm)).await,
            }
        }
    }
}
