//! The words of this house as types. Every border parses into them, so that nothing unchecked reaches a command line, a
//! path, a domain or SQL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that is not what it should be: what was expected, and what stood there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not {expected}")]
pub struct NotA {
    pub expected: &'static str,
    pub got: String,
}

fn not_a(expected: &'static str, got: &str) -> NotA {
    NotA { expected, got: got.chars().take(80).flat_map(char::escape_default).collect() }
}

/// How the words of a run begin that waits for something else than its turn.
pub const HELD: &str = "Not yet: ";

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = NotA;
            fn from_str(text: &str) -> Result<Self, NotA> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok($name(text.into())) } else { Err(not_a($expected, text)) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = NotA;
            fn try_from(text: String) -> Result<Self, NotA> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.0.into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_name(text: &str, longest: usize, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= longest
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || inner(byte))
}

word!(
    /// A recipe's name as it may stand in a path, a domain and a command line: `[a-z0-9][a-z0-9-]{0,62}`, as upstream's
    /// catalogue has it.
    RecipeName,
    "a recipe name (lower-case letters, digits and `-`, at most 63)",
    |text| is_name(text, 63, |byte| byte == b'-') && !text.bytes().any(|byte| byte.is_ascii_uppercase())
);
word!(
    /// The owner of repositories on the forge, or a person's login there: letters, digits, `-`, `_`, `.`.
    Login,
    "a login (letters, digits, `-`, `_` and `.`, at most 100)",
    |text| is_name(text, 100, |byte| matches!(byte, b'-' | b'_' | b'.')) && !text.contains("..")
);
word!(
    /// A repository's name on the forge, without its owner.
    RepoName,
    "a repository name (letters, digits, `-`, `_` and `.`, at most 100)",
    |text| {
        !text.is_empty()
            && text.len() <= 100
            && !text.starts_with('-')
            && !text.contains("..")
            && text != "."
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    }
);
word!(
    /// A commit: 40 lower-case hexadecimal digits.
    Head,
    "a full commit (40 hexadecimal digits)",
    |text| text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
);
word!(
    /// A version label as it may stand in a command: `1.3.2+25.0.6`.
    VersionName,
    "a version such as `1.3.2+25.0.6` (a letter or digit first, then `.`, `+`, `_` and `-` too; at most 64)",
    |text| is_name(text, 64, |byte| matches!(byte, b'.' | b'+' | b'_' | b'-'))
);
word!(
    /// A host name under which an app answers: lower-case labels, at least two, at most 253 characters.
    AppDomain,
    "a domain (lower-case labels of letters, digits and `-`)",
    |text| {
        text.len() <= 253
            && text.contains('.')
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-'))
            })
    }
);
word!(
    /// A Swarm stack's name, which begins the name of everything that belongs to it.
    StackName,
    "a stack name (letters, digits, `-` and `_`)",
    |text| is_name(text, 63, |byte| matches!(byte, b'-' | b'_'))
);

impl Head {
    /// The first eight digits, as abra stamps them and as people read them.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl AppDomain {
    /// abra's rule: dots become underscores, hyphens stay.
    pub fn stack(&self) -> StackName {
        StackName(self.0.replace('.', "_").into())
    }
}

/// `owner/name` on the forge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Repo {
    pub owner: Login,
    pub name: RepoName,
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for Repo {
    type Err = NotA;
    fn from_str(text: &str) -> Result<Repo, NotA> {
        let (owner, name) = text.split_once('/').ok_or_else(|| not_a("`owner/name`", text))?;
        Ok(Repo { owner: owner.parse()?, name: name.parse()? })
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }
        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                i64::column_result(value).map($name)
            }
        }
    };
}

number!(
    /// One test of one head. Counts up for the life of the database and is never used twice.
    RunId
);
number!(
    /// A comment's number on the forge.
    CommentId
);
number!(
    /// A repository's number on the forge; it survives a rename.
    RepoId
);
number!(
    /// A pull request's number in its repository.
    Pr
);

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = NotA;
            fn from_str(text: &str) -> Result<Self, NotA> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(not_a(concat!("one of:", $(" ", $text),+), text)),
                }
            }
        }
        /// So that help and completions list the words.
        impl clap::ValueEnum for $name {
            fn value_variants<'a>() -> &'a [Self] {
                Self::ALL
            }
            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                Some(clap::builder::PossibleValue::new(self.as_str()))
            }
        }
        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                value.as_str()?.parse().map_err(rusqlite::types::FromSqlError::other)
            }
        }
    };
}

choice!(
    /// How a run ended.
    Outcome {
        /// Every stage that applies passed.
        Passed = "passed",
        /// The recipe is at fault.
        Failed = "failed",
        /// The machine, the registry, the network or the forge is at fault.
        Infra = "infra",
        /// The run, a stage, a command or the silence took too long; the reason says which.
        TimedOut = "timed-out",
        /// Somebody asked for it to end.
        Cancelled = "cancelled",
        /// A newer request on the same pull request took its place.
        Superseded = "superseded",
        /// The process died; it was torn down, and the next attempt is queued.
        Interrupted = "interrupted",
    }
);

choice!(
    /// How far a stage is.
    StageState {
        Waiting = "waiting",
        Running = "running",
        Passed = "passed",
        Failed = "failed",
        Infra = "infra",
        TimedOut = "timed-out",
        /// Declared so, with a reason.
        NotApplicable = "not-applicable",
        /// It should apply but could not be tried, with a reason.
        NotTested = "not-tested",
        /// A stage before it failed.
        Skipped = "skipped",
    }
);

choice!(
    /// The parts of a run, in the order they are planned.
    StageName {
        Fetch = "fetch",
        Lint = "lint",
        Install = "install",
        Checks = "checks",
        Backup = "backup",
        Upgrade = "upgrade",
        Uninstall = "uninstall",
    }
);

choice!(
    /// Who asked for a run, by which door.
    Origin {
        Comment = "comment",
        CommandLine = "command-line",
        Api = "api",
        Schedule = "schedule",
        Local = "local",
    }
);

choice!(
    /// What intake did with a comment.
    Verdict {
        /// Nothing was asked, or it may not ask at all.
        Ignored = "ignored",
        /// Asked and refused, and told so.
        Refused = "refused",
        /// Asked something that words can answer.
        Answered = "answered",
        /// A run was queued.
        Accepted = "accepted",
    }
);

choice!(
    /// How an assertion came out.
    CheckState {
        Passed = "passed",
        Failed = "failed",
        /// Worth a look; never fails a run.
        Warning = "warning",
        Skipped = "skipped",
    }
);

choice!(
    /// What a piece of evidence is.
    EvidenceKind {
        Text = "text",
        Json = "json",
        /// PNG.
        Picture = "png",
    }
);

choice!(
    /// Which stages a request wants; those that these need come along.
    Asked {
        All = "all",
        Install = "install",
        Upgrade = "upgrade",
        Backup = "backup",
        Checks = "checks",
    }
);

choice!(
    /// What people hear of elsewhere than on the forge.
    NoticeKind {
        /// A recipe turned red.
        Red = "red",
        /// It is green again.
        Green = "green",
        /// Something only the operator can mend.
        Alarm = "alarm",
        /// It is mended.
        Over = "alarm-over",
    }
);

choice!(
    /// What a token of the API may be used for. Reading needs none.
    Scope {
        /// Queueing runs: new ones, and old ones again.
        Run = "run",
        /// Ending runs.
        Cancel = "cancel",
        /// Having the janitor go round.
        Janitor = "janitor",
    }
);

impl Asked {
    /// Whether an upgrade is among what is asked for.
    pub fn upgrades(self) -> bool {
        matches!(self, Asked::All | Asked::Upgrade)
    }
}

impl StageState {
    /// Nothing more will happen to it.
    pub fn is_final(self) -> bool {
        !matches!(self, StageState::Waiting | StageState::Running)
    }

    /// It ran and came to no good end.
    pub fn is_bad(self) -> bool {
        matches!(self, StageState::Failed | StageState::Infra | StageState::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_mean_something_to_a_shell_or_a_path_are_refused() {
        for bad in ["", "-rf", "a b", "a;b", "../x", "a/b", "$(id)", "Ä", "a\nb", "UPPER", &"a".repeat(64)] {
            assert!(bad.parse::<RecipeName>().is_err(), "{bad:?} passed");
        }
        assert!("custom-html-tiny".parse::<RecipeName>().is_ok());
        assert!("..".parse::<RepoName>().is_err());
        assert!("ABCDEF0123456789ABCDEF0123456789ABCDEF01".parse::<Head>().is_err());
    }

    #[test]
    fn a_stack_is_named_as_abra_names_it() {
        let domain: AppDomain = "cust-9ad31f.ci.test".parse().unwrap();
        assert_eq!(domain.stack().as_str(), "cust-9ad31f_ci_test");
    }

    #[test]
    fn what_was_wrong_is_shown_without_control_characters() {
        let error = "a\u{1b}[31m\n".parse::<RecipeName>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error}");
    }

    proptest! {
        #[test]
        fn every_choice_reads_back_what_it_writes(index in 0usize..Outcome::ALL.len()) {
            let outcome = Outcome::ALL[index];
            prop_assert_eq!(outcome.as_str().parse::<Outcome>().unwrap(), outcome);
        }

        #[test]
        fn no_text_makes_a_repository_name_panic(text in "\\PC*") {
            let _ = text.parse::<RepoName>();
            let _ = text.parse::<Repo>();
            let _ = text.parse::<AppDomain>();
        }
    }
}
