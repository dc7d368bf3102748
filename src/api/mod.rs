//! What cc-ci tells programs: the shapes of its JSON, the same from the API and from the command line's `--json`. Times are
//! RFC 3339 in UTC, spans are milliseconds, and what is not yet or not known is `null`.

pub mod images;
pub mod read;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::model::{Asked, CheckState, Origin, Outcome, StageName, StageState, Verdict};
use crate::store::comments;
use crate::store::runs;
use crate::store::stages;

/// What a name of a repository may be, as [`crate::model::RepoName`] has it.
pub const REPOSITORY: &str = r"^(\.[A-Za-z0-9_-]|[A-Za-z0-9_])(\.?[A-Za-z0-9_-])*\.?$";

/// How far a run is, in one word: an outcome, or one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum State {
    Open(Open),
    Over(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    Queued,
    Running,
}

impl State {
    pub fn of(run: &runs::Run) -> State {
        match (run.outcome, run.started_at) {
            (Some(outcome), _) => State::Over(outcome),
            (None, Some(_)) => State::Open(Open::Running),
            (None, None) => State::Open(Open::Queued),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Over(outcome) => outcome.as_str(),
            State::Open(Open::Running) => "running",
            State::Open(Open::Queued) => "queued",
        }
    }
}

/// One test of one head.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    pub id: i64,
    pub state: State,
    pub outcome: Option<Outcome>,
    /// The one line that matters first.
    pub reason: Option<String>,
    pub origin: Origin,
    /// `owner/name` on the forge, or a path for a local run.
    pub repository: String,
    pub recipe: String,
    /// The pull request's number.
    pub pr: Option<i64>,
    /// The commit that is tested, 40 hexadecimal digits.
    pub head: String,
    /// What the recipe calls this version.
    pub version: Option<String>,
    /// What an upgrade started from.
    pub base: Option<String>,
    pub domain: Option<String>,
    pub asked_by: String,
    /// The stages that were asked for.
    pub asked: Asked,
    pub attempt: i64,
    pub retry_of: Option<i64>,
    pub superseded_by: Option<i64>,
    #[schemars(extend("format" = "date-time"))]
    pub queued_at: String,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub finished_at: Option<String>,
    /// Why it has not started, in words.
    pub waits_for: Option<String>,
    /// From 0 to 6.
    pub level: Option<i64>,
    /// Why it is not higher.
    pub level_reason: Option<String>,
    /// Names of secrets too short to be masked.
    pub unredactable: Vec<String>,
}

impl From<&runs::Run> for Run {
    fn from(run: &runs::Run) -> Run {
        Run {
            id: run.id.0,
            state: State::of(run),
            outcome: run.outcome,
            reason: run.reason.clone(),
            origin: run.origin,
            repository: run.repo_name.clone(),
            recipe: run.recipe.clone(),
            pr: run.pr.map(|pr| pr.0),
            head: run.head.to_string(),
            version: run.version.clone(),
            base: run.base.clone(),
            domain: run.domain.clone(),
            asked_by: run.asked_by.clone(),
            asked: run.asked,
            attempt: run.attempt,
            retry_of: run.retry_of.map(|id| id.0),
            superseded_by: run.superseded_by.map(|id| id.0),
            queued_at: run.queued_at.rfc3339(),
            started_at: run.started_at.map(Time::rfc3339),
            finished_at: run.finished_at.map(Time::rfc3339),
            waits_for: run.waits_for.clone(),
            level: run.level,
            level_reason: run.level_reason.clone(),
            unredactable: run.unredactable.as_deref().unwrap_or_default().lines().map(str::to_owned).collect(),
        }
    }
}

/// One part of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    pub name: StageName,
    pub state: StageState,
    /// Why it is so; a note, where it passed.
    pub reason: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub finished_at: Option<String>,
    /// Of its time, what the recipe's own update monitor asked for.
    pub waited_ms: u64,
}

impl From<&stages::Stage> for Stage {
    fn from(stage: &stages::Stage) -> Stage {
        Stage {
            name: stage.name,
            state: stage.state,
            reason: stage.reason.clone(),
            started_at: stage.started_at.map(Time::rfc3339),
            finished_at: stage.finished_at.map(Time::rfc3339),
            waited_ms: milliseconds(stage.waited),
        }
    }
}

/// One assertion with a name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub stage: StageName,
    pub name: String,
    pub state: CheckState,
    pub expected: Option<String>,
    pub got: Option<String>,
    pub took_ms: Option<u64>,
}

impl From<&stages::Check> for Check {
    fn from(check: &stages::Check) -> Check {
        Check {
            stage: check.stage,
            name: check.name.clone(),
            state: check.state,
            expected: check.expected.clone(),
            got: check.got.clone(),
            took_ms: check.took.map(milliseconds),
        }
    }
}

/// A run with its parts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WholeRun {
    #[serde(flatten)]
    pub run: Run,
    pub stages: Vec<Stage>,
    pub checks: Vec<Check>,
}

impl WholeRun {
    pub fn of(run: &runs::Run, stages: &[stages::Stage], checks: &[stages::Check]) -> WholeRun {
        WholeRun {
            run: run.into(),
            stages: stages.iter().map(Stage::from).collect(),
            checks: checks.iter().map(Check::from).collect(),
        }
    }
}

/// Some runs, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    pub runs: Vec<Run>,
    /// Where the list goes on; `null` at its end.
    pub next: Option<String>,
}

/// What is known of a recipe from its runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recipe {
    pub name: String,
    /// From 0 to 6, of the last run that earned one.
    pub level: Option<i64>,
    pub level_reason: Option<String>,
    /// Of the last run that says something about the recipe.
    pub outcome: Option<Outcome>,
    pub last_run: Option<i64>,
    #[schemars(extend("format" = "date-time"))]
    pub last_at: Option<String>,
    /// How long a run that passes takes.
    pub median_ms: Option<u64>,
}

/// Some recipes, by name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recipes {
    pub recipes: Vec<Recipe>,
    /// Where the list goes on; `null` at its end.
    pub next: Option<String>,
}

/// What runs and what waits, first asked first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    pub running: Vec<Run>,
    pub waiting: Vec<Run>,
    /// All that wait, also those that are not listed.
    pub waiting_count: i64,
}

/// What was done with a comment that asked for something.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// The comment's number on the forge.
    pub comment: i64,
    pub repository: String,
    pub pr: Option<i64>,
    pub author: String,
    /// How the comment begins.
    pub excerpt: String,
    /// What was read in it.
    pub command: String,
    pub decision: Verdict,
    pub reason: String,
    pub run: Option<i64>,
    #[schemars(extend("format" = "date-time"))]
    pub decided_at: String,
}

impl From<&comments::Decision> for Decision {
    fn from(decision: &comments::Decision) -> Decision {
        Decision {
            comment: decision.comment.0,
            repository: decision.repo.clone(),
            pr: decision.pr.map(|pr| pr.0),
            author: decision.author.clone(),
            excerpt: decision.excerpt.clone(),
            command: decision.command.clone(),
            decision: decision.verdict,
            reason: decision.reason.clone(),
            run: decision.run.map(|id| id.0),
            decided_at: decision.decided_at.rfc3339(),
        }
    }
}

/// Some decisions, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Decisions {
    pub decisions: Vec<Decision>,
    /// Where the list goes on; `null` at its end.
    pub next: Option<String>,
}

/// The two processes, as they last said that they live.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hosts {
    pub processes: Vec<Process>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// `serve` or `runner`.
    pub name: String,
    pub version: String,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    #[schemars(extend("format" = "date-time"))]
    pub heard_at: String,
    /// What it says of itself and its host.
    pub facts: serde_json::Map<String, serde_json::Value>,
}

/// What to test.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
// Where nothing is upgraded, there is nothing to say where from.
#[schemars(extend("not" = {"required": ["from", "stage"], "properties": {"stage": {"enum": ["install", "backup", "checks"]}}}))]
pub struct Trigger {
    /// The repository's name in the organisation.
    #[schemars(length(min = 1, max = 100), regex(pattern = REPOSITORY), example = &"custom-html")]
    pub repository: String,
    /// The pull request's number.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 1)]
    #[serde(deserialize_with = "whole")]
    pub pr: i64,
    /// Only this stage, and what it needs.
    #[serde(default = "all")]
    #[schemars(default = "all", example = &"upgrade")]
    pub stage: Asked,
    /// The version to upgrade from, where the usual one is not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$"), example = &"1.0.0+1.0")]
    pub from: Option<String>,
}

/// To JSON Schema 1.0 is an integer too.
fn whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let of_float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
    let whole = number.as_i64().or_else(|| of_float().map(|float| float as i64));
    whole.ok_or_else(|| serde::de::Error::custom(format!("{number} is no whole number")))
}

fn all() -> Asked {
    Asked::All
}

/// What an action came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// The run that was queued, or that is told to end.
    pub run: i64,
    /// In words.
    pub said: String,
}

/// What was taken note of, and what comes of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Noted {
    /// In words.
    pub said: String,
}

/// Why not (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
}

pub fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
