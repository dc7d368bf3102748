//! Programs that runs need besides abra, as this process finds them. The runner says it in its heartbeat, since its PATH is not
//! that of the person who asks.

use serde::{Deserialize, Serialize};

use crate::probe::browser;
use crate::script;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    Bubblewrap,
    Browser,
    Fennel,
}

impl Name {
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Bubblewrap => "bubblewrap",
            Name::Browser => "browser",
            Name::Fennel => "fennel",
        }
    }

    /// No script of a recipe runs without it; without the others some do not.
    pub fn is_needed(self) -> bool {
        self == Name::Bubblewrap
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: Name,
    /// Where it is.
    #[serde(default)]
    pub place: String,
    /// Why it cannot be used, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Looks for all of them. Reads directories.
pub fn look() -> Vec<Tool> {
    let there = |name, place: String| Tool { name, place, missing: None };
    let missing = |name, why: String| Tool { name, place: String::new(), missing: Some(why) };
    let (cage, fennel) = match script::Kit::find() {
        Ok(kit) => (there(Name::Bubblewrap, kit.bubblewrap.place()), kit.fennel),
        Err(no) => (missing(Name::Bubblewrap, no.to_string()), None),
    };
    let fennel = match fennel {
        Some(file) => there(Name::Fennel, file.display().to_string()),
        None => missing(
            Name::Fennel,
            "its compiler is not found, so scripts in Fennel cannot run; say where `fennel.lua` is in CC_CI_FENNEL"
                .into(),
        ),
    };
    let browser = match browser::Kit::find() {
        Ok(kit) => there(Name::Browser, kit.chromium.display().to_string()),
        Err(no) => missing(Name::Browser, no.to_string()),
    };
    vec![cage, browser, fennel]
}
