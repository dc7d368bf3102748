//! Finds scripts in a directory that a stranger may have filled: plain files only, of bounded size, no links followed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of one file, of all of them, and how many there may be.
const LARGEST_FILE: u64 = 256 << 10;
const LARGEST_ALL: u64 = 4 << 20;
const MOST_FILES: usize = 512;
const DEEPEST: usize = 8;

/// A script with the files it may `require`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The name errors show and results carry: `checks/notes.fnl`.
    pub name: String,
    pub text: String,
    /// Modules by their path below the script's directory (`lib/forms.lua`).
    pub modules: BTreeMap<String, String>,
}

impl Script {
    /// One that needs no others.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Script {
        Script { name: name.into(), text: text.into(), modules: BTreeMap::new() }
    }

    pub fn is_fennel(&self) -> bool {
        is_fennel(&self.name) || self.modules.keys().any(|path| is_fennel(path))
    }

    /// The directory in [`Script::name`], with a slash at its end, or nothing.
    pub fn directory(&self) -> &str {
        self.name.rfind('/').map_or("", |slash| &self.name[..=slash])
    }
}

pub(super) fn is_fennel(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "fnl")
}

/// Why scripts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path} is a link or no plain file; scripts are plain files")]
    NotAFile { path: String },
    #[error("{path} is larger than {} kB", LARGEST_FILE >> 10)]
    TooLarge { path: String },
    #[error("{path} is not UTF-8 text")]
    NotText { path: String },
    #[error("{path}: scripts are called by letters, digits, `-`, `_` and `.`")]
    BadName { path: String },
    #[error("the scripts below {path} are too many ({MOST_FILES} files, {} MB, {DEEPEST} directories deep at most)", LARGEST_ALL >> 20)]
    TooMuch { path: String },
}

/// Reads the scripts of a directory: `.lua` and `.fnl` files in it are scripts, those in directories below are modules that any
/// of them may `require`. `shown` is how the directory is called in errors (`checks`). No directory, no scripts.
pub fn read(dir: &Path, shown: &str) -> Result<Vec<Script>, SourceError> {
    let mut files = BTreeMap::new();
    let mut room = LARGEST_ALL;
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SourceError::Unreadable { path: shown.into(), source }),
        Ok(found) if !found.is_dir() => return Err(SourceError::NotAFile { path: shown.into() }),
        Ok(_) => collect(dir, shown, "", &mut files, &mut room)?,
    }
    let (modules, scripts): (BTreeMap<_, _>, BTreeMap<_, _>) =
        files.into_iter().partition(|(path, _)| path.contains('/'));
    let script = |(path, text)| Script { name: format!("{shown}/{path}"), text, modules: modules.clone() };
    Ok(scripts.into_iter().map(script).collect())
}

fn collect(
    dir: &Path,
    shown: &str,
    below: &str,
    files: &mut BTreeMap<String, String>,
    room: &mut u64,
) -> Result<(), SourceError> {
    let unreadable = |path: &str, source| SourceError::Unreadable { path: format!("{shown}/{path}"), source };
    if below.matches('/').count() > DEEPEST {
        return Err(SourceError::TooMuch { path: shown.into() });
    }
    for entry in fs::read_dir(dir).map_err(|source| unreadable(below, source))? {
        let entry = entry.map_err(|source| unreadable(below, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}{name}");
        let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
        let script = matches!(Path::new(&name).extension().and_then(|e| e.to_str()), Some("lua" | "fnl"));
        if name.starts_with('.') || !(kind.is_dir() || script) {
            continue;
        }
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            return Err(SourceError::BadName { path: format!("{shown}/{}", path.escape_debug()) });
        }
        if kind.is_dir() {
            collect(&entry.path(), shown, &format!("{path}/"), files, room)?;
            continue;
        }
        let shown_path = format!("{shown}/{path}");
        if !kind.is_file() {
            return Err(SourceError::NotAFile { path: shown_path });
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(entry.path()).map_err(|source| unreadable(&path, source))?;
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|source| unreadable(&path, source))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(SourceError::TooLarge { path: shown_path });
        }
        *room = room.checked_sub(bytes.len() as u64).ok_or_else(|| SourceError::TooMuch { path: shown.into() })?;
        files.insert(path, String::from_utf8(bytes).map_err(|_| SourceError::NotText { path: shown_path })?);
        if files.len() > MOST_FILES {
            return Err(SourceError::TooMuch { path: shown.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_scripts_and_what_lies_below_are_their_modules() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), path).unwrap();
        };
        for path in ["b.lua", "a.fnl", "lib/x.lua", "lib/deep/y.fnl", "notes.md", ".hidden.lua"] {
            put(path);
        }
        let scripts = read(dir.path(), "checks").unwrap();
        assert_eq!(scripts.iter().map(|script| &script.name).collect::<Vec<_>>(), ["checks/a.fnl", "checks/b.lua"]);
        assert_eq!(scripts[1].modules.keys().collect::<Vec<_>>(), ["lib/deep/y.fnl", "lib/x.lua"]);
        assert_eq!(scripts[1].directory(), "checks/");
        assert_eq!(read(&dir.path().join("none"), "checks").unwrap(), []);
    }

    #[test]
    fn links_and_giants_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("p.lua")).unwrap();
        assert_eq!(
            read(dir.path(), "checks").unwrap_err().to_string(),
            "checks/p.lua is a link or no plain file; scripts are plain files"
        );
        fs::remove_file(dir.path().join("p.lua")).unwrap();
        fs::write(dir.path().join("big.lua"), vec![b'-'; 300 << 10]).unwrap();
        assert_eq!(read(dir.path(), "checks").unwrap_err().to_string(), "checks/big.lua is larger than 256 kB");
        // A link to a directory is not one, and is passed over like any other file that is no script.
        fs::remove_file(dir.path().join("big.lua")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("lib")).unwrap();
        assert_eq!(read(dir.path(), "checks").unwrap(), []);
    }
}
