//! `cc-ci doctor`: whether this machine is ready, row by row.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::table::plain;
use super::{Configured, Done, Failure};
use crate::clock::Clock;
use crate::doctor::{self, Row, State};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes, as monitors want them: 0 all is well; 1 something should be looked at; 2 something fails."
)]
pub(crate) struct Doctor {
    #[command(flatten)]
    configured: Configured,
    /// As data: whether it is ready, and the rows.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    ready: bool,
    rows: Vec<Row>,
}

/// Exits as monitors want it: 0 all is well, 1 something should be looked at, 2 something fails.
pub(super) async fn doctor(asked: Doctor) -> Done {
    let rows = doctor::examine(&asked.configured.path(), &Clock::system()).await;
    let worst = rows.iter().map(|row| row.state).max().unwrap_or(State::Failed);
    if asked.json {
        let answer = Answer { ready: worst < State::Failed, rows };
        crate::say!("{}", serde_json::to_string_pretty(&answer).map_err(Failure::infra)?);
    } else {
        show(&rows);
    }
    Ok(match worst {
        State::Ok => ExitCode::SUCCESS,
        State::Warn => ExitCode::from(1),
        State::Failed => ExitCode::from(2),
    })
}

fn show(rows: &[Row]) {
    for Row { check, state, saw, cure } in rows {
        let mark = match state {
            State::Ok => "✔ ok    ",
            State::Warn => "! warn  ",
            State::Failed => "✘ failed",
        };
        crate::say!("{mark} {check:13} {}", plain(saw));
        if let Some(cure) = cure {
            crate::say!("{:22} {}", "", plain(cure));
        }
    }
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    match (count(State::Failed), count(State::Warn)) {
        (0, 0) => crate::say!("ready"),
        (0, warn) => crate::say!("ready; {warn} to look at"),
        (failed, _) => crate::say!("not ready; {failed} to mend"),
    }
}
