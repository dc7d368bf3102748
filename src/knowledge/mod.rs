//! What is known about a recipe before it runs: `recipes/<recipe>/` on the appliance and `.cc-ci/` in its own repository. One
//! format, one reader; a recipe with neither gets the whole generic test.
//!
//! A pull request brings its own `.cc-ci/`, so whatever makes the test say less (a stage that does not apply, a longer timeout)
//! is taken from the base branch, where somebody has agreed to it. Checks come from the head: they can only ask for more. What
//! touches the machine (secrets, exceptions to the policy) only the appliance says, and where both speak, it wins.

mod check;
pub mod file;
mod needs;
mod reader;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub use check::{Check, Http, Kind};
pub use file::{Field, Login, Optional, schema};
pub use needs::{Need, in_turn, refusal};
pub use reader::{Marker, Object, Said, read_text};

use crate::compose::inside::{self, NotRead};
use crate::compose::policy::Exception;
use crate::model::{AppDomain, NotA, RecipeName, StageName};
use crate::recipe::{Finding, Severity};
use crate::script::{self, Script, Side};
use crate::yaml::Span;

/// Where a recipe's repository says something about its test.
pub const IN_REPOSITORY: &str = ".cc-ci";
const FILE: &str = "recipe.yaml";
const SCRIPTS: &str = "checks";

/// What the base branch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseFiles {
    /// There is no branch to go by: a directory of one's own, whose owner speaks for it.
    TheHead,
    /// The text of `.cc-ci/recipe.yaml` there, if there is one.
    Branch(Option<String>),
}

/// Everything that is known about a recipe.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    appliance: Said,
    head: Said,
    base: Said,
    scripts: [Vec<Script>; 2],
    notes: Vec<String>,
}

/// When the app is taken to be up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub path: String,
    pub within: Option<Duration>,
    pub status: Option<u16>,
}

/// What is wrong, and whose it is: the recipe's is the pull request's fault, the appliance's is the operator's.
#[derive(Debug)]
pub struct Wrong {
    pub side: Side,
    pub findings: Vec<Finding>,
}

/// Reads what both sides say about a recipe. `appliance` is the directory of all recipes there.
pub fn read(appliance: Option<&Path>, recipe: &RecipeName, head: &Path, base: &BaseFiles) -> Result<Knowledge, Wrong> {
    let own = appliance.map(|dir| dir.join(recipe.as_str()));
    let (operators, their_scripts) = match own.filter(|dir| dir.is_dir()) {
        Some(dir) => read_dir(&dir, &format!("recipes/{recipe}"), Side::Appliance).whole(Side::Appliance)?,
        None => Default::default(),
    };
    let (of_head, scripts) = read_dir(&head.join(IN_REPOSITORY), IN_REPOSITORY, Side::Recipe).whole(Side::Recipe)?;
    let (of_base, mut notes) = match base {
        BaseFiles::TheHead => (of_head.clone(), Vec::new()),
        BaseFiles::Branch(None) => Default::default(),
        BaseFiles::Branch(Some(text)) => match read_text(&in_repository(), text, Side::Recipe) {
            Ok(said) => (said, Vec::new()),
            Err(wrong) => (Said::default(), vec![unread_base(&wrong)]),
        },
    };
    notes.extend(not_yet(&of_base, &of_head));
    Ok(Knowledge { appliance: operators, head: of_head, base: of_base, scripts: [scripts, their_scripts], notes })
}

/// One directory of this format: what could be read of it, and what is wrong with the rest.
#[derive(Debug, Default)]
pub struct Directory {
    said: Said,
    pub scripts: Vec<Script>,
    pub findings: Vec<Finding>,
}

/// Reads a recipe's `.cc-ci`, or the appliance's directory about one recipe.
pub fn read_dir(dir: &Path, shown: &str, side: Side) -> Directory {
    let mut found = Directory::default();
    let file = format!("{shown}/{FILE}");
    match inside::read(dir, Path::new(FILE)) {
        Ok(text) => match read_text(&file, &text, side) {
            Ok(said) => found.said = said,
            Err(findings) => found.findings = findings,
        },
        Err(NotRead::Missing(_)) => {}
        Err(error) => found.findings.push(unreadable(&file, "file", &error.to_string())),
    }
    let folder = format!("{shown}/{SCRIPTS}");
    match script::read(&dir.join(SCRIPTS), &folder) {
        Ok(scripts) => found.scripts = scripts,
        Err(error) => found.findings.push(unreadable(&folder, "scripts", &error.to_string())),
    }
    found
}

impl Directory {
    /// Recipes that this side says have to run beside it.
    pub fn needs(&self) -> Vec<Need> {
        needs::merged(self.said.file.needs.iter())
    }

    /// The same, each with its place in the file.
    pub fn needs_placed(&self) -> impl Iterator<Item = (Need, Span)> {
        self.needs().into_iter().zip(self.said.needs_at.iter().copied())
    }

    fn whole(self, side: Side) -> Result<(Said, Vec<Script>), Wrong> {
        let Directory { said, scripts, findings } = self;
        if findings.is_empty() { Ok((said, scripts)) } else { Err(Wrong { side, findings }) }
    }
}

/// The file's path in a repository.
pub fn in_repository() -> String {
    format!("{IN_REPOSITORY}/{FILE}")
}

fn unreadable(file: &str, rule: &'static str, message: &str) -> Finding {
    let (message, cure) = (message.to_owned(), "make it plain files of text".to_owned());
    Finding { rule, severity: Severity::Error, file: file.to_owned(), line: 0, column: 0, message, cure }
}

fn unread_base(wrong: &[Finding]) -> String {
    let first = wrong.first().map(ToString::to_string).unwrap_or_default();
    format!("the file on the base branch cannot be read, so it grants nothing: {first}")
}

/// What the head grants itself counts when it is merged, and not before.
fn not_yet(base: &Said, head: &Said) -> Option<String> {
    let (base, head) = (&base.file, &head.file);
    let keys = [
        ("not_applicable", base.not_applicable != head.not_applicable),
        ("unsupported", base.unsupported != head.unsupported),
        ("timeout", base.timeout != head.timeout),
        ("needs", base.needs != head.needs),
    ];
    let changed: Vec<&str> = keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    let what = changed.join("`, `");
    (!changed.is_empty()).then(|| format!("`{what}` changed; the test goes by the base branch until this is merged"))
}

impl Knowledge {
    /// Variables of the app's `.env`.
    pub fn env(&self) -> BTreeMap<&str, &str> {
        let both = self.head.file.env.iter().chain(&self.appliance.file.env);
        both.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Whether the appliance gives a variable a value of its own, whatever is said elsewhere of where needed apps live. Its own
    /// `needs` cannot set the same.
    pub fn overrules(&self, variable: &str) -> bool {
        self.appliance.file.env.contains_key(variable)
    }

    /// Secrets by the names that compose files and scripts use, and where on the appliance their values are.
    pub fn secrets(&self) -> BTreeMap<&str, &Path> {
        self.appliance.file.secrets.iter().map(|(name, secret)| (name.as_str(), secret.file.as_path())).collect()
    }

    pub fn health(&self) -> Health {
        let (own, theirs) = (&self.appliance.file.health, &self.head.file.health);
        let within = own.within.or(theirs.within).map(|span| span.0);
        let path = own.path.as_ref().or(theirs.path.as_ref()).map_or("/", String::as_str).to_owned();
        Health { path, within, status: own.status.or(theirs.status) }
    }

    /// The recipe's, then the appliance's.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.head.checks.iter().chain(&self.appliance.checks)
    }

    pub fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.head.markers.iter().chain(&self.appliance.markers)
    }

    /// How long a deployment may take, where somebody said so.
    pub fn timeout(&self) -> Option<Duration> {
        self.appliance.file.timeout.or(self.base.file.timeout).map(|span| span.0)
    }

    /// The declared reason why a stage means nothing to this recipe.
    pub fn not_applicable(&self, stage: StageName) -> Option<&str> {
        let stage = match stage {
            StageName::Backup => Optional::Backup,
            StageName::Upgrade => Optional::Upgrade,
            _ => return None,
        };
        let said = self.appliance.file.not_applicable.get(&stage).or(self.base.file.not_applicable.get(&stage));
        said.map(String::as_str)
    }

    /// Why this recipe cannot be tested at all.
    pub fn unsupported(&self) -> Option<&str> {
        self.appliance.file.unsupported.as_deref().or(self.base.file.unsupported.as_deref())
    }

    /// Second names of an app under `domain`: the variable of each, and the name. All are under the same wildcard.
    pub fn hosts(&self, domain: &AppDomain) -> Result<BTreeMap<String, AppDomain>, NotA> {
        let both = self.head.file.hosts.iter().chain(&self.appliance.file.hosts);
        let (app, above) = domain.as_str().split_once('.').unwrap_or((domain.as_str(), ""));
        both.map(|(variable, word)| Ok((variable.clone(), format!("{app}-{word}.{above}").parse()?))).collect()
    }

    /// Recipes that have to run beside it, in the order in which they are put up.
    pub fn needs(&self) -> Vec<Need> {
        needs::merged(self.base.file.needs.iter().chain(&self.appliance.file.needs))
    }

    /// What of the policy does not hold for this recipe.
    pub fn policy(&self) -> &[Exception] {
        &self.appliance.file.policy
    }

    pub fn scripts(&self, side: Side) -> &[Script] {
        match side {
            Side::Recipe => &self.scripts[0],
            Side::Appliance => &self.scripts[1],
        }
    }

    /// What somebody should know of it though nothing is wrong.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
mod tests;
