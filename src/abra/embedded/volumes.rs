//! `app volume …`. Docker holds on to volumes for seconds after a stack is gone, so removing one is tried again at each
//! container that ends.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::home::Home;
use super::say::Say;
use super::{Done, Fatal, docker, fatal, programs};

const PATIENCE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(1);

pub(super) fn ls(home: &Home, say: Say, domain: &str) -> Done {
    let stack = home.app(domain)?.stack();
    let rows: Vec<Vec<String>> = docker::volumes(&stack)?.into_iter().map(|name| vec![name]).collect();
    say.table(&["NAME"], &rows);
    Ok(())
}

pub(super) fn rm(home: &Home, say: Say, domain: &str, one: Option<&str>, force: bool) -> Done {
    let app = home.app(domain)?;
    let stack = app.stack();
    if !docker::services(&stack)?.is_empty() {
        return fatal(format!("{} is still deployed; run `abra app undeploy {}` first", app.domain, app.domain));
    }
    let mut names = docker::volumes(&stack)?;
    if let Some(one) = one {
        names.retain(|name| name == one || *name == format!("{stack}_{one}"));
        if names.is_empty() {
            return fatal(format!("no volume {} of {}", one.escape_debug(), app.domain));
        }
    }
    if names.is_empty() {
        say.info("no volumes to remove");
        return Ok(());
    }
    if !force {
        home.confirm(say, &format!("remove {}?", names.join(", ")))?;
    }
    let events =
        programs::Lines::follow("docker", &["events", "--filter", "type=container", "--filter", "event=destroy"])?;
    for name in names {
        remove(&events, &name)?;
        say.info(&format!("{name} removed successfully"));
    }
    Ok(())
}

fn remove(events: &programs::Lines, name: &str) -> Done {
    let start = Instant::now();
    loop {
        let Err(complaint) = docker::volume_rm(name)? else { return Ok(()) };
        if complaint.to_lowercase().contains("no such volume") {
            return Ok(());
        }
        let left = PATIENCE.saturating_sub(start.elapsed());
        if !complaint.contains("in use") || left.is_zero() {
            return fatal(format!("removing volume {name}: {complaint}"));
        }
        if events.heard.recv_timeout(QUIET.min(left)) == Err(RecvTimeoutError::Disconnected) {
            return Err(Fatal("docker events ended; is Docker still there?".into()));
        }
    }
}
