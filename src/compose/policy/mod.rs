//! What a pull request may not ask of the host. Its author can write anything into a compose file, and Docker would do it with
//! the rights of the machine; so the files as they are going to be deployed are read as data first, and one rule broken keeps
//! all of it from being deployed.
//!
//! A rule is a small function over what was read ([`Asked`]), with its id, its reason and its cure; [`RULES`] is all of them.
//! Tricks that end the reading itself are in [`reading`]. `tests/evil/` holds a recipe that breaks each, and its harmless twin.

mod files;
mod labels;
mod objects;
pub mod reading;
mod services;
mod traefik;

pub use files::{OUR_FILE, tree};

use serde::{Deserialize, Serialize};

use super::abra_sh::AbraSh;
use super::env_file::EnvFile;
use super::{Compose, Place};
use crate::yaml::Span;

/// A recipe as one app of it is going to be deployed.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// All files merged, variables filled in.
    pub compose: &'a Compose,
    pub sample: &'a EnvFile,
    /// Every name of the stack begins with it.
    pub stack: &'a str,
    /// What the app may answer to: this name and those below it.
    pub domain: &'a str,
    pub bounds: &'a Bounds,
}

/// What lies beside the compose files, and is judged also where those cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    pub sample: &'a EnvFile,
    pub abra_sh: &'a AbraSh,
}

/// What the operator sets for all recipes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Registries that images may come from, `docker.io` for names without one; none named means any that is public.
    pub registries: Vec<String>,
    /// Tasks of one service.
    pub replicas: u64,
    /// The one network that apps share with the proxy.
    pub network: String,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { registries: Vec::new(), replicas: 8, network: "proxy".into() }
    }
}

/// One thing that a pull request may not.
#[derive(Debug)]
pub struct Rule<Look> {
    pub id: &'static str,
    /// Why not, after "a pull request may not: ".
    pub reason: &'static str,
    pub cure: &'static str,
    look: Look,
}

type OfApp = Rule<fn(&Asked<'_>) -> Vec<Hit>>;
type OfFiles = Rule<fn(&Beside<'_>) -> Vec<Hit>>;

/// A place where a rule is broken.
#[derive(Debug)]
struct Hit {
    place: Place,
    /// What was asked for, as an exception would name it: `/var/run/docker.sock`.
    what: String,
    /// The sentence: "asks for /var/run/docker.sock".
    asks: String,
}

/// What is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub rule: &'static str,
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: u32,
    /// What is asked for, why a pull request may not, and what to write instead.
    pub message: String,
    #[serde(skip)]
    pub asks: String,
    #[serde(skip)]
    pub reason: &'static str,
    #[serde(skip)]
    pub cure: &'static str,
    #[serde(skip)]
    pub what: String,
    /// Whether an operator can allow it. What cannot be read for certain, nobody can.
    #[serde(skip)]
    pub allowable: bool,
}

/// What the operator lets one recipe do, in the appliance's `recipes/<recipe>/recipe.yaml` and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The rule's id, as the refusal names it: `bind-mount`.
    pub rule: String,
    /// Only this, as the refusal names it: `/var/run/docker.sock`. Without it, whatever the rule forbids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Why; it is shown with each run.
    pub because: String,
}

/// What became of a recipe before the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is refused. None: it may be deployed.
    pub findings: Vec<Finding>,
    /// What an exception let through, with its reason.
    pub excused: Vec<(Finding, String)>,
}

/// What was judged may be deployed. Only a verdict without findings gives it out.
#[derive(Debug)]
pub struct Passed(());

impl Passed {
    /// For what the appliance deploys of its own: the proxy, the backup bot. No pull request has a hand in it.
    pub fn for_our_own() -> Passed {
        Passed(())
    }
}

/// Every rule over what was read. The order is that of the documents.
const RULES: &[&[OfApp]] = &[services::RULES, objects::RULES, labels::RULES, traefik::RULES, files::RULES];

/// The ids of all rules, those of [`reading`] and of the directory too.
pub fn ids() -> impl Iterator<Item = &'static str> {
    let rules = RULES.iter().copied().flatten().map(|rule| rule.id);
    let rules = rules.chain(files::BESIDE.iter().map(|rule| rule.id)).chain(files::TREE.iter().map(|rule| rule.0));
    rules.chain(reading::IDS.iter().copied())
}

/// Holds what was read against every rule.
pub fn judge(asked: &Asked<'_>) -> Vec<Finding> {
    let rules = RULES.iter().copied().flatten();
    found(rules.flat_map(|rule| (rule.look)(asked).into_iter().map(|hit| (rule.id, rule.reason, rule.cure, hit))))
}

/// The same for what lies beside the compose files.
pub fn judge_beside(beside: &Beside<'_>) -> Vec<Finding> {
    let rules = files::BESIDE.iter();
    found(rules.flat_map(|rule| (rule.look)(beside).into_iter().map(|hit| (rule.id, rule.reason, rule.cure, hit))))
}

fn found(hits: impl Iterator<Item = (&'static str, &'static str, &'static str, Hit)>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for (rule, reason, cure, Hit { place: Place { file, line, .. }, what, asks }) in hits {
        let finding = Finding::new((rule, reason, cure), (file, line), what, asks, true);
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found
}

impl Verdict {
    /// Takes out what the operator allows.
    pub fn of(findings: Vec<Finding>, exceptions: &[Exception]) -> Verdict {
        let mut verdict = Verdict::default();
        for finding in findings {
            let excuses = |exception: &&Exception| {
                exception.rule == finding.rule && exception.only.as_ref().is_none_or(|only| *only == finding.what)
            };
            match exceptions.iter().find(excuses).filter(|_| finding.allowable) {
                Some(exception) => verdict.excused.push((finding, exception.because.clone())),
                None => verdict.findings.push(finding),
            }
        }
        verdict.findings.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        verdict
    }

    pub fn is_allowed(&self) -> bool {
        self.findings.is_empty()
    }

    /// The proof that a deploy asks for.
    pub fn passed(self) -> Result<Passed, Verdict> {
        if self.is_allowed() { Ok(Passed(())) } else { Err(self) }
    }
}

impl Finding {
    /// `compose.yml:31`.
    pub fn place(&self) -> String {
        if self.line == 0 { self.file.clone() } else { format!("{}:{}", self.file, self.line) }
    }

    /// As a run's reason says it: where, what, by which rule, and who could allow it.
    pub fn refusal(&self, recipe: &str) -> String {
        let (place, Finding { rule, asks, reason, cure, .. }) = (self.place(), self);
        let said = format!("{place} {asks}; a pull request may not (rule {rule}): {reason}; {cure}");
        if !self.allowable {
            return said;
        }
        format!("{said}. If this recipe needs it, the operator can allow it in recipes/{recipe}/recipe.yaml")
    }

    fn new(
        (rule, reason, cure): (&'static str, &'static str, &'static str),
        (file, line): (String, u32),
        what: String,
        asks: String,
        allowable: bool,
    ) -> Finding {
        let message = format!("{asks}; a pull request may not: {reason}; {cure}");
        Finding { rule, file, line, message, asks, reason, cure, what, allowable }
    }
}

/// A stranger's text in a sentence of ours.
fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

impl Asked<'_> {
    fn hit(&self, span: Span, what: &str, asks: impl Into<String>) -> Hit {
        Hit { place: self.compose.place(span), what: what.to_owned(), asks: asks.into() }
    }

    /// Whether a name is one of the stack's own objects: `<stack>_data_v1`.
    fn is_own_name(&self, name: &str) -> bool {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        name.strip_prefix(self.stack).is_some_and(|rest| rest.starts_with('_') && rest.bytes().all(word))
    }
}
