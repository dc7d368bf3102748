//! Files of secrets in sops' form, read and written without the sops program, so that the appliance can check what it is
//! given and a rotation is one command on any machine that has cc-ci.
//!
//! A file is [`Locked`] as it lies on the disk: names, recipients and comments' places are there for all to see. With an
//! [`Identity`] it becomes an [`Open`] one, which is every value opened and the MAC found right, or an error. What
//! changes something gives back a whole new text; [`replace`] puts it in place of the old one, unless somebody else was faster.
//!
//! The form is that of sops 3.13 with age recipients; the other kinds of keys stay in the file as they are.

mod cipher;
pub mod keys;
mod open;
mod rules;
mod scalar;
mod section;
mod text;

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use cipher::{NoRandom, Shut};
pub use open::Open;
pub use rules::{Creation, Rules};

use self::cipher::Sealed;
use self::keys::{Identity, KeyError};
use self::scalar::resolve;
use self::section::Section;
use self::text::Text;
use crate::yaml::YamlError;

/// What is wrong with a file, or with what was asked of it. Names files and keys, never a value.
#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("{0} is not encrypted: it has no section `sops`")]
    InClear(String),
    #[error("{file}: its section `sops` {message}")]
    Section { file: String, message: String },
    #[error("{file}: none of these keys opens it ({tried}); it is sealed for {recipients}", tried = listed(tried), recipients = listed(recipients))]
    NoKey { file: String, tried: Vec<String>, recipients: Vec<String> },
    #[error("{file}: `{name}` {shut}")]
    Value { file: String, name: String, shut: Shut },
    #[error("{file}: `{name}` stands there in clear; take it back, and change that secret where it came from")]
    Leaf { file: String, name: String },
    #[error("{file}:{line}: this comment {shut}")]
    Comment { file: String, line: usize, shut: Shut },
    #[error("{file}: its MAC {shut}; it may be that of another file, or `lastmodified` was changed")]
    MacShut { file: String, shut: Shut },
    #[error("{file}: its MAC is not that of its values: something was added, removed, moved or changed by hand")]
    Mac { file: String },
    #[error("{file}: `{name}` {why}")]
    Cannot { file: String, name: String, why: String },
    #[error("{file} is sealed for keys of another kind as well ({kinds}), which only the sops program can renew", kinds = listed(kinds))]
    Foreign { file: String, kinds: Vec<String> },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{path}: {message}", path = path.display())]
    Rules { path: PathBuf, message: String },
    #[error("no `.sops.yaml` stands beside {0} or above it; `cc-ci secrets init` makes one")]
    NoRules(String),
    #[error("{0} was changed by somebody else meanwhile; nothing was written, do it again")]
    Race(String),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { "nobody".into() } else { words.join(", ") }
}

/// A file as anybody sees it.
pub struct Locked {
    text: Text,
    section: Section,
}

impl Locked {
    pub fn read(path: &Path) -> Result<Locked, SopsError> {
        let text = crate::given::read_text(path).map_err(|source| SopsError::File { path: path.into(), source })?;
        Locked::parse(&path.display().to_string(), &text)
    }

    pub fn parse(file: &str, text: &str) -> Result<Locked, SopsError> {
        let text = Text::parse(file, text)?;
        let lines = text.section.clone().ok_or_else(|| SopsError::InClear(file.into()))?;
        let section = Section::parse(file, &text.whole[lines])?;
        Ok(Locked { text, section })
    }

    /// The file as it was read.
    pub fn as_read(&self) -> &str {
        &self.text.whole
    }

    /// Names of its values: `forge/token`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.text.values().map(|(piece, ..)| piece.name.as_str())
    }

    /// Age recipients, in the file's order.
    pub fn recipients(&self) -> Vec<String> {
        self.section.age.iter().map(|wrapped| wrapped.recipient.clone()).collect()
    }

    /// Values that should be sealed and are not. Seen without any key.
    pub fn in_clear(&self) -> Vec<String> {
        let clear = self.text.values().filter(|(piece, text, plain)| {
            self.section.rule.seals(&piece.path)
                && !text.is_empty()
                && !Sealed::looks_like(text)
                && !matches!(resolve(text, *plain), Ok(None))
        });
        clear.map(|(piece, ..)| piece.name.clone()).collect()
    }

    /// Names of values that are empty, which sops never seals.
    pub fn empty(&self) -> Vec<&str> {
        self.text
            .values()
            .filter(|(_, text, plain)| text.is_empty() || matches!(resolve(text, *plain), Ok(None)))
            .map(|(piece, ..)| piece.name.as_str())
            .collect()
    }

    /// Opens every value and compares the MAC.
    pub fn open(self, identities: &[Identity]) -> Result<Open, SopsError> {
        let no_key = || SopsError::NoKey {
            file: self.text.file.clone(),
            tried: identities.iter().map(|identity| identity.from.clone()).collect(),
            recipients: self.recipients(),
        };
        let key = self
            .section
            .age
            .iter()
            .find_map(|wrapped| keys::unwrap(&wrapped.armoured, identities))
            .ok_or_else(no_key)?;
        Open::new(self, key)
    }
}

/// Puts a new text in place of the old one, all or nothing: a reader sees the one or the other, and so does whoever comes after a
/// power cut. `before`: what the file held when the new text was made of it; nothing for a new file.
pub fn replace(path: &Path, before: Option<&str>, text: &str) -> Result<(), SopsError> {
    // Through a link to the file itself, or the link would go.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let failed = |source| SopsError::File { path: path.clone(), source };
    let now = match crate::given::read_text(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if now.as_deref().map(|text| text.trim_start_matches('\u{feff}')) != before {
        return Err(SopsError::Race(path.display().to_string()));
    }
    let mode = std::fs::metadata(path).map_or(0o644, |found| found.permissions().mode() & 0o777);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests;
