//! Recipe scripts: checks that a recipe brings as Lua or Fennel, run where they can do no harm.
//!
//! A script registers *jobs*; a job names what it needs (moments of the run, other jobs) and its function gets the tools. The
//! scripts live in a child process inside bubblewrap ([`child`]), which knows how to call a function and nothing else. What
//! may run, when, with which inputs and what came of it is decided here, outside (`host`, `graph`), where a child is started and
//! heard (`process`) and each of its requests looked at (`call`): a child that was taken over can lie about its own jobs, but
//! cannot run others, see a secret, or reach more than its app.
//!
//! Inside, a script has a machine under limits (`vm`, `limits`), and its tools are Lua (`prelude/`) on top of a few functions
//! of ours (`api`).
//!
//! A child holds scripts of one side only: those of the pull request never share a process with those of the appliance,
//! which may ask for secrets.

mod api;
mod call;
pub mod child;
mod clean;
mod graph;
mod host;
mod kit;
mod limits;
mod line;
mod process;
mod source;
pub mod tools;
mod value;
mod vm;
mod wire;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use graph::{Graph, Job, Need};
pub use host::{Event, Events, Host, NoScripts, NotDefined};
pub use kit::Kit;
pub use limits::Limits;
pub use source::{Script, SourceError, read};
pub use wire::Problem;

use crate::model::NotA;

/// What a job can wait for: the stages' own moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// What the recipe needs stands, and nothing else yet.
    Needs,
    /// The head runs and answers for the first time: deployed afresh, or over the base where only that was asked for.
    Install,
    /// The base of the upgrade was deployed and answers.
    Base,
    /// The head was deployed over the base and answers.
    Upgrade,
    /// A backup was made.
    Backup,
    /// It was restored in place.
    InPlace,
    /// It was restored from the snapshot alone into a fresh app.
    Restore,
}

impl Moment {
    pub const ALL: [Moment; 7] = [
        Moment::Needs,
        Moment::Install,
        Moment::Base,
        Moment::Upgrade,
        Moment::Backup,
        Moment::InPlace,
        Moment::Restore,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Moment::Needs => "needs",
            Moment::Install => "install",
            Moment::Base => "base",
            Moment::Upgrade => "upgrade",
            Moment::Backup => "backup",
            Moment::InPlace => "in-place",
            Moment::Restore => "restore",
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Moment {
    type Err = NotA;
    fn from_str(text: &str) -> Result<Moment, NotA> {
        let expected = "a moment of the run (needs, install, base, upgrade, backup, in-place, restore)";
        Moment::ALL
            .into_iter()
            .find(|moment| moment.as_str() == text)
            .ok_or_else(|| NotA { expected, got: text.chars().take(80).flat_map(char::escape_default).collect() })
    }
}

/// Who wrote a script, and so what it may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The recipe's repository, at the head: anybody.
    Recipe,
    /// The appliance's operator: secrets too.
    Appliance,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Recipe, Side::Appliance];
}

/// What came of a job. Everything in it is masked.
#[derive(Clone, Debug, PartialEq)]
pub struct JobResult {
    /// The script's name, as errors show it: `checks/notes.fnl`.
    pub script: String,
    pub job: String,
    pub verdict: Verdict,
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With what its dependents can read.
    Passed(Value),
    Skipped(String),
    /// With the place in the script.
    Failed {
        message: String,
        file: String,
        line: usize,
    },
    /// The machine's fault, whatever the script made of it.
    Infra(String),
}

impl Verdict {
    /// One word, as it is shown and stored.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed(_) => "passed",
            Verdict::Skipped(_) => "skipped",
            Verdict::Failed { .. } => "failed",
            Verdict::Infra(_) => "infra",
        }
    }
}
