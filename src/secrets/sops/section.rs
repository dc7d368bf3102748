//! The section `sops` of a file: for whom it is sealed, by which rule, and the MAC over it.
//!
//! Only the lines that change are written; keys of other kinds (pgp, cloud services) and whatever a later sops adds stay byte
//! for byte.

use std::fmt::Write as _;

use regex_lite::Regex;

use super::SopsError;
use crate::yaml::{self, Limits, Node, Value};

/// What new files say: the version whose form this is.
const VERSION: &str = "3.13.3";
/// Settings that choose what is sealed; one at most stands in a file.
pub(super) const RULES: [&str; 6] = [
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
];
/// Keys that somebody else's programs hold.
const FOREIGN: [&str; 7] = ["kms", "gcp_kms", "hckms", "azure_kv", "hc_vault", "pgp", "aws_kms"];

/// The data key, sealed for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub recipient: String,
    pub armoured: String,
}

/// Which leaves are sealed: any part of the path decides.
#[derive(Clone)]
pub(super) enum Rule {
    UnencryptedSuffix(String),
    EncryptedSuffix(String),
    UnencryptedRegex(Regex),
    EncryptedRegex(Regex),
}

impl Rule {
    pub(super) fn new(name: &str, text: &str) -> Result<Rule, String> {
        let pattern = || Regex::new(text).map_err(|error| format!("`{name}` is no pattern: {error}"));
        match name {
            "unencrypted_suffix" => Ok(Rule::UnencryptedSuffix(text.into())),
            "encrypted_suffix" => Ok(Rule::EncryptedSuffix(text.into())),
            "unencrypted_regex" => Ok(Rule::UnencryptedRegex(pattern()?)),
            "encrypted_regex" => Ok(Rule::EncryptedRegex(pattern()?)),
            _ => Err(format!("`{name}` chooses values by their comments, which only the sops program does")),
        }
    }

    pub(super) fn seals(&self, path: &[String]) -> bool {
        match self {
            Rule::UnencryptedSuffix(suffix) => !path.iter().any(|part| part.ends_with(suffix.as_str())),
            Rule::EncryptedSuffix(suffix) => path.iter().any(|part| part.ends_with(suffix.as_str())),
            Rule::UnencryptedRegex(pattern) => !path.iter().any(|part| pattern.is_match(part)),
            Rule::EncryptedRegex(pattern) => path.iter().any(|part| pattern.is_match(part)),
        }
    }
}

#[derive(Clone)]
pub(super) struct Section {
    pub age: Vec<Wrapped>,
    age_before: Vec<Wrapped>,
    pub rule: Rule,
    pub mac_only_encrypted: bool,
    pub last_modified: String,
    pub mac: String,
    /// Names of key kinds that are in use and not ours.
    pub foreign: Vec<String>,
    /// Each key's lines as they were, in their order.
    blocks: Vec<(String, String)>,
    indent: usize,
}

impl Section {
    /// Of a new file; without a rule, sops' own.
    pub(super) fn new(rule: Option<(&str, &str)>, mac_only_encrypted: bool) -> Result<Section, String> {
        let (name, text) = rule.unwrap_or(("unencrypted_suffix", "_unencrypted"));
        let mut blocks =
            vec![(name.to_owned(), format!("    {name}: {}", yaml::render(&Node::text(text, <_>::default()))))];
        if mac_only_encrypted {
            blocks.push(("mac_only_encrypted".into(), "    mac_only_encrypted: true\n".into()));
        }
        blocks.push(("version".into(), format!("    version: {VERSION}\n")));
        Ok(Section {
            age: Vec::new(),
            age_before: Vec::new(),
            rule: Rule::new(name, text)?,
            mac_only_encrypted,
            last_modified: String::new(),
            mac: String::new(),
            foreign: Vec::new(),
            blocks,
            indent: 4,
        })
    }

    /// `text`: the section's lines, the key `sops` included.
    pub(super) fn parse(file: &str, text: &str) -> Result<Section, SopsError> {
        let bad = |message: String| SopsError::Section { file: file.into(), message };
        let limits = Limits { text: 8 << 20, ..Limits::default() };
        let root = yaml::parse_within(file, text, limits).map_err(|error| bad(error.message))?;
        let entries = root.get("sops").and_then(Node::as_map).unwrap_or_default();
        let indent = entries.first().map_or(4, |(key, _)| key.span.column.saturating_sub(1) as usize);
        if indent == 0 || entries.first().is_some_and(|(key, _)| key.span.line < 2) {
            return Err(bad("is not written in lines (JSON?); cc-ci reads and writes YAML files only".into()));
        }
        let get = |key: &str| entries.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value);
        let text_of = |key: &str| get(key).and_then(Node::as_str).map(str::to_owned);
        let in_use = |node: &Node| {
            !matches!(&node.value, Value::Null | Value::Seq(_)) || node.as_seq().is_some_and(|list| !list.is_empty())
        };
        if ["key_groups", "shamir_threshold"]
            .into_iter()
            .any(|key| get(key).is_some_and(|node| in_use(node) && node.scalar() != Some("0")))
        {
            return Err(bad("splits its key between several groups (Shamir), which only the sops program does".into()));
        }
        let mut rules =
            RULES.into_iter().filter_map(|name| text_of(name).filter(|text| !text.is_empty()).map(|text| (name, text)));
        let rule = rules.next().unwrap_or(("unencrypted_suffix", "_unencrypted".into()));
        if let Some((other, _)) = rules.next() {
            return Err(bad(format!("says both `{}` and `{other}`; one rule chooses what is sealed", rule.0)));
        }
        let age = age_entries(get("age")).ok_or_else(|| bad("`age` is no list of `recipient` and `enc`".into()))?;
        Ok(Section {
            age_before: age.clone(),
            age,
            rule: Rule::new(rule.0, &rule.1).map_err(bad)?,
            mac_only_encrypted: get("mac_only_encrypted").and_then(Node::as_bool).unwrap_or(false),
            last_modified: text_of("lastmodified").ok_or_else(|| bad("has no `lastmodified`".into()))?,
            mac: text_of("mac").ok_or_else(|| bad("has no `mac`".into()))?,
            foreign: FOREIGN.into_iter().filter(|kind| get(kind).is_some_and(in_use)).map(str::to_owned).collect(),
            blocks: blocks(text, entries),
            indent,
        })
    }

    /// As lines, with what changed put in.
    pub(super) fn render(&self) -> String {
        let pad = " ".repeat(self.indent);
        let age = self.age.iter().fold(format!("{pad}age:\n"), |mut out, wrapped| {
            let _ = writeln!(out, "{pad}    - enc: |");
            wrapped.armoured.lines().filter(|line| !line.trim().is_empty()).for_each(|line| {
                let _ = writeln!(out, "{pad}        {}", line.trim());
            });
            let _ = writeln!(out, "{pad}      recipient: {}", wrapped.recipient);
            out
        });
        let ours = [
            ("age", age),
            ("lastmodified", format!("{pad}lastmodified: \"{}\"\n", self.last_modified)),
            ("mac", format!("{pad}mac: {}\n", self.mac)),
        ];
        let mut blocks = self.blocks.clone();
        for (at, (key, block)) in ours.into_iter().enumerate() {
            match blocks.iter_mut().find(|(name, _)| name == key) {
                // What was sealed before stays as it was written.
                Some(_) if key == "age" && self.age == self.age_before => {}
                Some(place) => place.1 = block,
                None => blocks.insert(at.min(blocks.len()), (key.into(), block)),
            }
        }
        blocks.into_iter().fold(String::from("sops:\n"), |out, (_, block)| out + &block)
    }
}

fn age_entries(node: Option<&Node>) -> Option<Vec<Wrapped>> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Some(Vec::new()) };
    let text = |entry: &Node, key: &str| entry.get(key).and_then(Node::as_str).map(str::to_owned);
    node.as_seq()?
        .iter()
        .map(|entry| Some(Wrapped { recipient: text(entry, "recipient")?, armoured: text(entry, "enc")? }))
        .collect()
}

/// From each key's line to the next one's.
fn blocks(text: &str, entries: &[(Node, Node)]) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let starts: Vec<usize> = entries.iter().map(|(key, _)| key.span.line.saturating_sub(1) as usize).collect();
    entries
        .iter()
        .enumerate()
        .map(|(at, (key, _))| {
            let until = starts.get(at + 1).copied().unwrap_or(lines.len());
            let mut block = lines.get(starts[at]..until).unwrap_or_default().concat();
            if !block.ends_with('\n') {
                block.push('\n');
            }
            (key.scalar().unwrap_or_default().to_owned(), block)
        })
        .collect()
}
