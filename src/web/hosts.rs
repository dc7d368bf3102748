//! The machine that tests, as the runner last saw it: the server may not look itself.

use maud::{Markup, html};
use serde_json::Value;

use super::layout::{self, Shell};
use super::outside::{Outside, Said};
use super::run::size;
use super::{Site, answer::Wrong, health, links, words};
use crate::clock::Time;
use crate::store::apps::{self, App};
use crate::store::heartbeats::Heartbeat;

/// Apps listed.
const ROWS: usize = 100;

pub(super) struct Hosts {
    pub now: Time,
    pub runner: Option<Heartbeat>,
    pub polled_at: Option<Time>,
    pub alarms: Vec<health::Reason>,
    /// Made and not yet proven gone.
    pub standing: Vec<App>,
}

pub(super) async fn load(site: &Site) -> Result<Hosts, Wrong> {
    let health = health::look(site).await;
    let standing = site.store.read(apps::standing).await?;
    let alarms = [health.reasons, health.notes].concat();
    Ok(Hosts { now: health.now, runner: health.runner, polled_at: health.polled_at, alarms, standing })
}

pub(super) fn view(hosts: &Hosts) -> Markup {
    let body = html! {
        h1 { "Hosts" }
        (health::alarms(&hosts.alarms))
        @match &hosts.runner {
            None => (layout::empty("No runner was heard yet", &html! {
                "The machine is shown here once " code { "cc-ci-runner" } " has said what it sees. " code { "cc-ci doctor" } " says what keeps it from starting."
            })),
            Some(beat) => (machine(hosts, beat)),
        }
        (apps_of(hosts))
    };
    layout::page(&Shell { title: "Hosts", tab: None, refresh: Some(10) }, &body)
}

fn machine(hosts: &Hosts, beat: &Heartbeat) -> Markup {
    let facts: Value = serde_json::from_str(&beat.facts).unwrap_or_default();
    let number = |key: &str| facts.pointer(&format!("/host/{key}")).and_then(Value::as_u64);
    let text = |key: &str| facts.pointer(key).and_then(Value::as_str);
    let certificate = facts.get("certificate_until").and_then(Value::as_i64).map(Time);
    html! {
        dl.facts.host {
            dt { "runner" }
            dd { @if let Some(state) = text("/state") { (Outside(state)) ", " } "heard " (words::when(hosts.now, beat.at)) ", since " (words::when(hosts.now, beat.started_at)) ", version " (Outside(&beat.version)) }
            @if let (Some(free), Some(whole)) = (number("disk_free"), number("disk_size")) { dt { "disk" } dd { (share(free, whole)) } }
            @if let (Some(free), Some(whole)) = (number("memory_available"), number("memory_size")) { dt { "memory" } dd { (share(free, whole)) } }
            @if let Some(count) = number("containers_running") { dt { "containers" } dd { (count) " running" } }
            @if let Some(docker) = text("/host/docker") {
                dt { "Docker" }
                dd { (Outside(docker)) @if let Some(swarm) = text("/host/swarm") { ", Swarm " (Outside(swarm)) } @if let Some(nodes) = number("nodes") { ", " (words::count(i64::try_from(nodes).unwrap_or(0), "node", "nodes")) } }
            }
            @if let Some(abra) = text("/abra") { dt { "abra" } dd { (Outside(abra)) } }
            @if let Some(until) = certificate { dt { "certificate" } dd { "holds until " (words::absolute(until)) } }
            dt { "forge" }
            dd { @match hosts.polled_at { Some(at) => { "last read " (words::when(hosts.now, at)) }, None => "not read since the start" } }
        }
    }
}

fn share(free: u64, whole: u64) -> Markup {
    let percent = u128::from(free) * 100 / u128::from(whole.max(1));
    html! { (size(free)) " free of " (size(whole)) ", " (percent) " %" }
}

fn apps_of(hosts: &Hosts) -> Markup {
    html! {
        @if !hosts.standing.is_empty() {
            h2 { "Apps that stand" }
            table.cards {
                thead { tr { th scope="col" { "App" } th scope="col" { "Run" } th scope="col" { "Left behind" } th.n scope="col" { "Made" } } }
                tbody { @for app in hosts.standing.iter().take(ROWS) { tr {
                    th scope="row" { code { (app.domain) } }
                    td data-label="Run" { a href=(links::run(app.run)) { "run " (app.run) } }
                    td data-label="Left behind" {
                        @match &app.leftovers {
                            Some(left) => (Said(left.lines().next().unwrap_or_default())),
                            None => span.soft { "nothing; it is in use" },
                        }
                    }
                    td.n data-label="made" { (words::when(hosts.now, app.created_at)) }
                } } }
            }
            @if hosts.standing.len() > ROWS { p.soft { "and " (hosts.standing.len() - ROWS) " more" } }
        }
    }
}
