//! What belongs to cc-ci itself: its state directory, its database, its two processes.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Row;
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::engine::tools::Tool;
use crate::store::copy::{self, Glance};
use crate::store::heartbeats::Heartbeat;

/// Each process beats every few seconds.
const SILENT: Duration = Duration::from_secs(30);

pub(super) struct House {
    pub(super) rows: Vec<Row>,
    /// What the runner found, if it was heard.
    pub(super) tools: Option<Vec<Tool>>,
}

pub(super) async fn examine(config: &Config, clock: &Clock) -> House {
    let (config, now) = (config.clone(), clock.now());
    let looked = tokio::task::spawn_blocking(move || look(&config, now)).await;
    looked.unwrap_or_else(|panic| House {
        rows: vec![Row::failed("state", panic.to_string(), "a fault of cc-ci; please report it")],
        tools: None,
    })
}

fn look(config: &Config, now: Time) -> House {
    let mut rows = vec![state_dir(&config.state_dir), disk(config)];
    let database = config.database();
    if std::fs::metadata(&database).map_or(true, |meta| meta.len() == 0) {
        let cure = "start both: `systemctl start cc-ci-server cc-ci-runner`";
        rows.push(Row::warn("database", format!("{} is empty so far", database.display()), cure));
        rows.extend(["server", "runner"].map(|process| Row::failed(process, "never heard", start(process))));
        return House { rows, tools: None };
    }
    rows.push(match copy::examine(&database) {
        Ok(whole) if whole.is_older() => {
            let saw = format!("whole, {} runs, but of an older cc-ci", whole.runs);
            Row::warn("database", saw, "the next start of either process brings it up to date")
        }
        Ok(whole) => Row::ok("database", format!("whole, {} runs, {} kB", whole.runs, whole.bytes / 1024)),
        Err(error) => Row::of("database", &error),
    });
    let Ok(Glance { serve, runner, leftovers }) = copy::glance(&database) else { return House { rows, tools: None } };
    rows.push(heard("server", serve.as_ref(), now));
    rows.push(heard("runner", runner.as_ref(), now));
    if !leftovers.is_empty() {
        let saw = format!("teardowns could not remove all of {}", leftovers.join(", "));
        let cure = "the runner tries again every five minutes and says why in its journal; remove by hand what stays";
        rows.push(Row::warn("leftovers", saw, cure));
    }
    let tools = runner.filter(|beat| now.since(beat.at) <= SILENT).and_then(|beat| found_by(&beat));
    House { rows, tools }
}

fn state_dir(dir: &Path) -> Row {
    use rustix::fs::{Access, access};
    let name = dir.display();
    match std::fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            Row::failed("state", format!("{name} is no directory"), "name another in `state_dir`")
        }
        Ok(_) => match access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Row::ok("state", format!("{name} can be written")),
            Err(error) => {
                Row::failed("state", format!("{name}: {error}"), "run this as root, or as a member of the group cc-ci")
            }
        },
        Err(error) => {
            Row::failed("state", format!("{name}: {error}"), "the switch makes it; the first start makes it elsewhere")
        }
    }
}

fn disk(config: &Config) -> Row {
    let free = config.retention.free;
    let dir = config.state_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(dir) {
        Ok(disk) => {
            let (left, size) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
            let nodes = disk.f_favail;
            let saw = format!("{} of {} free under {}", gigabytes(left), gigabytes(size), dir.display());
            let cure = "make room: an older `retention.age`, a smaller `retention.size`, `docker image prune`, or a larger disk";
            if left < free {
                Row::failed("disk", format!("{saw}; no run begins below {}", gigabytes(free)), cure)
            } else if left < free.saturating_mul(2) {
                Row::warn("disk", saw, cure)
            } else if disk.f_files > 0 && nodes < disk.f_files / 50 {
                Row::warn("disk", format!("{saw}, but only {nodes} more files"), cure)
            } else {
                Row::ok("disk", saw)
            }
        }
        Err(error) => Row::failed("disk", format!("{}: {error}", dir.display()), "look at the mount"),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

fn heard(process: &'static str, beat: Option<&Heartbeat>, now: Time) -> Row {
    let Some(beat) = beat else { return Row::failed(process, "never heard", start(process)) };
    let age = now.since(beat.at);
    if age > SILENT {
        return Row::failed(process, format!("not heard for {} s", age.as_secs()), start(process));
    }
    let facts: Facts = serde_json::from_str(&beat.facts).unwrap_or_default();
    let saw = format!(
        "process {}, version {}{}",
        beat.pid,
        beat.version,
        facts.state.map_or(String::new(), |s| format!(", {s}"))
    );
    match facts.fault {
        Some(fault) => Row::failed(process, format!("{saw}: {fault}"), "see the rows of Docker and Swarm"),
        None if beat.version != env!("CARGO_PKG_VERSION") => {
            let saw = format!("{saw}, where this program is {}", env!("CARGO_PKG_VERSION"));
            Row::warn(process, saw, "it takes the new version when its run is over")
        }
        None => Row::ok(process, saw),
    }
}

fn start(process: &str) -> String {
    format!("`systemctl start cc-ci-{process}`, and see `journalctl -u cc-ci-{process}`")
}

/// The part of the runner's facts that is asked for here.
#[derive(Default, Deserialize)]
struct Facts {
    state: Option<String>,
    fault: Option<String>,
    tools: Option<Vec<Tool>>,
}

fn found_by(beat: &Heartbeat) -> Option<Vec<Tool>> {
    serde_json::from_str::<Facts>(&beat.facts).ok()?.tools
}
