//! `cc-ci audit list|verify`: what was done with tokens and on the command line, and whether anybody changed that since.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;

use super::appliance::Place;
use super::table::plain;
use super::{Done, Failure};
use crate::store::audit;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// The newest first.
    List {
        #[command(flatten)]
        place: Place,
        /// How many at most.
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// Only those before this row.
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        /// As data: a list of objects, each with its hash.
        #[arg(long)]
        json: bool,
    },
    /// Whether every row is as it was written; exit code 1 when not.
    Verify {
        #[command(flatten)]
        place: Place,
    },
}

pub(super) async fn audit(command: Audit) -> Done {
    match command {
        Audit::List { place, count, before, json } => {
            let (_, store) = place.store()?;
            let page = store.read(move |db| audit::page(db, before, count)).await?;
            if json {
                let rows: Vec<_> = page
                    .iter()
                    .map(|entry| {
                        serde_json::json!({
                            "id": entry.id, "at": entry.at.rfc3339(), "actor": entry.actor, "action": entry.action,
                            "target": entry.target, "said": entry.said, "hash": entry.hash,
                        })
                    })
                    .collect();
                crate::say!("{}", serde_json::to_string_pretty(&rows).map_err(Failure::infra)?);
                return Ok(ExitCode::SUCCESS);
            }
            for entry in page {
                let [actor, target, said] = [&entry.actor, &entry.target, &entry.said].map(|text| plain(text));
                crate::say!(
                    "{:>5}  {}  {actor}: {} {target}: {said}",
                    entry.id,
                    entry.at.rfc3339_seconds(),
                    entry.action
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Audit::Verify { place } => {
            let (_, store) = place.store()?;
            let (good, broken) = store.read(audit::verify).await?;
            match broken {
                None => {
                    let last = store.read(audit::last_hash).await?;
                    crate::say!(
                        "{good} rows hold together; the last hash is {}",
                        if last.is_empty() { "none" } else { &last }
                    );
                    Ok(ExitCode::SUCCESS)
                }
                Some(entry) => Err(Failure::no(anyhow!(
                    "row {} is not as it was written; the {good} before it are. A backup from before tells what it said",
                    entry.id
                ))),
            }
        }
    }
}
