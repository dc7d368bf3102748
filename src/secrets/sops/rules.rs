//! `.sops.yaml`: who should be able to open which file. sops finds it above the file, and takes the first rule that fits.

use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::SopsError;
use super::section::RULES;
use crate::yaml::{self, Node};

pub struct Rules {
    pub path: PathBuf,
    rules: Vec<(Option<Regex>, Node)>,
}

/// How a file that a rule is for is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    pub recipients: Vec<String>,
    /// Which values are sealed, by name and text of the setting; sops' own where there is none.
    pub rule: Option<(String, String)>,
    pub mac_only_encrypted: bool,
}

impl Rules {
    /// The one for a file: beside it, or above.
    pub fn find(file: &Path) -> Result<Rules, SopsError> {
        let whole = std::path::absolute(file).map_err(|source| SopsError::File { path: file.into(), source })?;
        let found = whole.ancestors().skip(1).map(|dir| dir.join(".sops.yaml")).find(|path| path.exists());
        Rules::read(&found.ok_or_else(|| SopsError::NoRules(file.display().to_string()))?)
    }

    pub fn read(path: &Path) -> Result<Rules, SopsError> {
        let text = crate::given::read_text(path).map_err(|source| SopsError::File { path: path.into(), source })?;
        let root = yaml::parse(&path.display().to_string(), &text)?;
        let bad = |message: String| SopsError::Rules { path: path.into(), message };
        let rules = root
            .get("creation_rules")
            .and_then(Node::as_seq)
            .ok_or_else(|| bad("has no list `creation_rules`".into()))?;
        let rules = rules.iter().map(|rule| {
            let pattern = rule.get("path_regex").and_then(Node::as_str).filter(|text| !text.is_empty());
            let pattern = pattern
                .map(Regex::new)
                .transpose()
                .map_err(|error| bad(format!("`path_regex` is no pattern: {error}")))?;
            Ok((pattern, rule.clone()))
        });
        Ok(Rules { path: path.into(), rules: rules.collect::<Result<_, SopsError>>()? })
    }

    /// What they say of a file.
    pub fn of(&self, file: &Path) -> Result<Creation, SopsError> {
        let bad = |message: String| SopsError::Rules { path: self.path.clone(), message };
        let whole = std::path::absolute(file).map_err(|source| SopsError::File { path: file.into(), source })?;
        let relative = whole
            .strip_prefix(self.path.parent().unwrap_or(Path::new("")))
            .unwrap_or(&whole)
            .to_string_lossy()
            .into_owned();
        let fits = |pattern: &Option<Regex>| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&relative));
        let (_, rule) = self
            .rules
            .iter()
            .find(|(pattern, _)| fits(pattern))
            .ok_or_else(|| bad(format!("no rule is for {relative}")))?;
        let keys = match rule.get("key_groups").and_then(Node::as_seq) {
            None | Some([]) => rule,
            Some([group]) => group,
            Some(groups) => {
                return Err(bad(format!(
                    "the rule for {relative} has {} key groups, so that one key of each were needed; one `- ` too many?",
                    groups.len()
                )));
            }
        };
        let others = ["pgp", "kms", "gcp_kms", "hckms", "azure_keyvault", "hc_vault", "hc_vault_transit_uri"];
        if let Some(kind) = others
            .into_iter()
            .find(|kind| keys.get(kind).is_some_and(|node| !node.is_null() && node.as_seq() != Some(&[])))
        {
            return Err(bad(format!(
                "the rule for {relative} names keys of the kind `{kind}`, which only the sops program seals for"
            )));
        }
        let recipients =
            age_keys(keys.get("age")).ok_or_else(|| bad(format!("the rule for {relative} has no age keys")))?;
        let setting = |name: &str| Some((name.to_owned(), rule.get(name)?.as_str()?.to_owned()));
        Ok(Creation {
            recipients,
            rule: RULES.into_iter().find_map(setting),
            mac_only_encrypted: rule.get("mac_only_encrypted").and_then(Node::as_bool).unwrap_or(false),
        })
    }
}

/// A list, or one text with commas.
fn age_keys(node: Option<&Node>) -> Option<Vec<String>> {
    let texts: Vec<&str> = match node? {
        node if node.as_seq().is_some() => node.as_seq()?.iter().filter_map(Node::as_str).collect(),
        node => node.as_str()?.split(',').collect(),
    };
    let keys: Vec<String> = texts.into_iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
    if keys.is_empty() { None } else { Some(keys) }
}
