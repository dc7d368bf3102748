//! Secrets are a type that cannot be printed, read from files and masked wherever text leaves the process.

mod forms;
mod needles;
pub mod redact;
pub mod sops;

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::given;

/// A value nobody may see: its `Debug` says nothing, it has no `Display`, and its memory is wiped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(value.into()))
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a secret's file will not do. Names the file, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} can be read by others (mode {mode:03o}); chmod 600 it", path = path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{path} is empty", path = path.display())]
    Empty { path: PathBuf },
    #[error("{path} is not text", path = path.display())]
    NotText { path: PathBuf },
    #[error("{path} holds more than a token, which is one word; write the file again", path = path.display())]
    NoToken { path: PathBuf },
}

/// That a secret can be read from there, and not by everybody.
pub fn check_file(path: &Path) -> Result<(), SecretFileError> {
    read_file(path).map(|_| ())
}

/// [`check_file`] for what is sent in a header.
pub fn check_token(path: &Path) -> Result<(), SecretFileError> {
    let token = read_file(path)?;
    let is_word = token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { Ok(()) } else { Err(SecretFileError::NoToken { path: path.into() }) }
}

/// Reads a secret from its file; line ends at its end are not part of it. systemd's credentials are 0440 in a directory
/// nobody else may enter, so the group's bit is allowed and the world's is not.
pub fn read_file(path: &Path) -> Result<Secret, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable { path: path.into(), source };
    let bytes = Zeroizing::new(given::read(path).map_err(unreadable)?);
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(SecretFileError::Open { path: path.into(), mode });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretFileError::NotText { path: path.into() })?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(SecretFileError::Empty { path: path.into() });
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_nothing_of_itself() {
        let secret = Secret::new("correct horse");
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn a_file_that_everybody_reads_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "abc\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_file(&path), Err(SecretFileError::Open { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_file(&path).unwrap().expose(), "abc");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read_file(&path), Err(SecretFileError::Empty { .. })));
    }

    #[test]
    fn a_token_is_one_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (text, is_good) in [("abc\n", true), ("a\nb\n", false), ("a b", false), ("a\u{e9}", false)] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(check_token(&path).is_ok(), is_good, "{text:?}");
        }
    }
}
