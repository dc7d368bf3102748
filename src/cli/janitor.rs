//! `cc-ci janitor`: what the runner does at its start and after each run, by hand. It may run beside a runner, whose live runs
//! it leaves alone.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::appliance::Server;
use super::process::database_of;
use super::remote::Remote;
use super::table::plain;
use super::{Configured, Done, Failure};
use crate::api;
use crate::engine::execute::Engine;
use crate::engine::janitor::{self, Found};
use crate::engine::local::{self, Killed};
use crate::store::Store;

#[derive(Debug, Args)]
pub(crate) struct Janitor {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    server: Server,
    /// Shows what would be removed, and removes nothing.
    #[arg(long, conflicts_with = "server")]
    dry_run: bool,
    /// As data: what was found, and what could not be removed.
    #[arg(long)]
    json: bool,
}

pub(super) async fn janitor(asked: Janitor) -> Done {
    if let Some(remote) = asked.server.remote()? {
        return there(&remote, asked.json).await;
    }
    let config = Arc::new(asked.configured.load_without_secrets()?);
    let database = database_of(&config);
    if !database.exists() {
        return Err(Failure::usage(anyhow!("{} holds no cc-ci database", config.state_dir.display())));
    }
    let engine = Engine::at_hand(Arc::clone(&config), Store::open(&database)?).await.map_err(Failure::infra)?;
    let found = janitor::look(&engine).await.map_err(Failure::infra)?;
    let killed = local::killed_runs();
    let told = told(&found, &killed);
    if !asked.json {
        lines(&found, &killed, asked.dry_run);
    }

    let mut left = Vec::new();
    if !asked.dry_run {
        left = janitor::tidy(&engine, found).await.map_err(Failure::infra)?;
        for killed in killed {
            left.extend(killed.take_down(&engine).await.map_err(Failure::infra)?);
        }
    }
    if asked.json {
        let mut told = told;
        told["dry_run"] = asked.dry_run.into();
        told["left"] = left.clone().into();
        crate::say!("{}", serde_json::to_string_pretty(&told).map_err(Failure::infra)?);
        return Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    if left.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::no(anyhow!("still there: {}", left.join(", ")))) }
}

/// Another machine's runner goes round by itself once it is asked.
async fn there(remote: &Remote, json: bool) -> Done {
    let noted: api::Noted = remote.post("/api/v1/janitor", None).await?;
    if json {
        crate::say!("{}", serde_json::to_string_pretty(&noted).map_err(Failure::infra)?);
    } else {
        crate::say!("{}", plain(&noted.said));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(found: &Found, killed: &[Killed]) -> serde_json::Value {
    json!({
        "leftovers": found.leftovers.iter().map(|app| json!({
            "stack": app.stack, "run": app.run, "left": app.leftovers.as_deref().unwrap_or_default().lines().collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "orphans": found.orphans.iter().map(|orphan| json!({
            "stack": orphan.stack, "run": orphan.run,
            "objects": orphan.objects.iter().map(|object| json!({"kind": object.kind, "name": object.name})).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "directories": found.dirs,
        "images": found.images.iter().map(|image| json!({"id": image.id, "bytes": image.size})).collect::<Vec<_>>(),
        "killed_local_runs": killed.iter().map(|killed| &killed.dir).collect::<Vec<_>>(),
    })
}

fn lines(found: &Found, killed: &[Killed], dry_run: bool) {
    let verb = if dry_run { "would remove" } else { "removing" };
    if found.is_empty() && killed.is_empty() {
        crate::say!("nothing that belongs to no run");
    }
    for app in &found.leftovers {
        crate::say!("{verb} what run {} left of {}", app.run, app.stack);
    }
    for orphan in &found.orphans {
        let named: Vec<String> = orphan.objects.iter().map(ToString::to_string).collect();
        crate::say!("{verb} {}, of no live run: {}", orphan.stack, named.join(", "));
    }
    for dir in &found.dirs {
        crate::say!("{verb} the directory {}", dir.display());
    }
    for image in &found.images {
        crate::say!("{verb} the image {}, which nothing names ({} MB)", image.id, image.size / 1_000_000);
    }
    for killed in killed {
        crate::say!("{verb} what a local run that was killed left ({})", killed.dir.display());
    }
}
