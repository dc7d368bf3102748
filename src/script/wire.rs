//! What the runner and the child that holds the scripts say to each other, in frames over one socket.
//!
//! The child is hostile. What it says is bounded in size and parsed into these types; whether it may be said now, the host
//! checks. There is one question open at most, so neither side ever waits for the other's buffer.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::Limits;
use super::tools::Ask;

/// The largest frame the child may send.
pub(super) const FROM_CHILD: usize = 1 << 20;
/// The largest frame we send: a page of [`super::tools::LARGEST_BODY`] in base64, and what goes with it.
pub(super) const TO_CHILD: usize = 2 << 20;

/// Said to the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToChild {
    /// First, and once.
    Begin { limits: Limits, scripts: Vec<String>, fennel: Option<String> },
    /// One file of a script, the script itself among them. `path` is as errors shall name it.
    File { script: usize, path: String, text: String },
    /// Load all scripts, and say of each what it registered.
    Define,
    /// Call a job's function.
    Run { script: usize, job: usize, app: Value, inputs: BTreeMap<String, Value> },
    /// What came of the last question: the answer, or why there is none.
    Answer(Result<Value, String>),
}

/// Said by the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromChild {
    /// What the next script registered, and what is wrong with it.
    Script {
        jobs: Vec<Registered>,
        problems: Vec<Problem>,
    },
    Log(String),
    Ask(Box<Ask>),
    /// The job's function came to its end.
    Done(Outcome),
}

/// A job as a script registered it, nothing checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registered {
    pub(super) name: String,
    pub(super) needs: Vec<String>,
    pub(super) file: String,
    pub(super) line: usize,
}

/// What is wrong with a script, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub message: String,
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, "; {}", self.cure) }
    }
}

/// How a job's function ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    Returned(Value),
    /// It returned `nil`, with or without a reason.
    Skipped(Option<String>),
    Failed(String),
}
