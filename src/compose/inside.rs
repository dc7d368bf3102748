//! Files of a recipe, and of nothing else: a pull request may bring a symlink to the host's files or a path that climbs out,
//! and what is read here ends up in configs, logs and comments.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// More than any recipe's file needs.
pub const MOST_BYTES: u64 = 1 << 20;

/// Why a file of a recipe was not read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    #[error("`{0}` is missing")]
    Missing(String),
    #[error("`{0}` leads out of the recipe; name a file inside of it, without `..`")]
    Outside(String),
    #[error("`{0}` is a symlink (or lies behind one); put the file itself there")]
    Symlink(String),
    #[error("`{0}` is not a plain file")]
    NotAFile(String),
    #[error("`{0}` is larger than {MOST_BYTES} bytes")]
    TooLarge(String),
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
    #[error("`{0}` cannot be read: {1}")]
    Io(String, std::io::Error),
}

impl NotRead {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            NotRead::Missing(_) => "add the file",
            NotRead::Outside(_) | NotRead::Symlink(_) => "put the file into the recipe itself",
            NotRead::NotAFile(_) => "put a plain file there",
            NotRead::TooLarge(_) => "make it shorter; no recipe needs so much",
            NotRead::NotText(_) => "save it as UTF-8 text",
            NotRead::Io(..) => "make it readable",
        }
    }
}

fn shown(relative: &Path) -> String {
    relative.to_string_lossy().chars().take(200).flat_map(char::escape_debug).collect()
}

/// Where a file of the recipe lies, if it is one: relative, inside, no symlink on the way, a plain file.
pub fn locate(dir: &Path, relative: &Path) -> Result<PathBuf, NotRead> {
    // Said first: whether something out there exists is nobody's business.
    let outside = |part| !matches!(part, Component::CurDir | Component::Normal(_));
    if relative.components().any(outside) {
        return Err(NotRead::Outside(shown(relative)));
    }
    let mut path = dir.to_owned();
    let mut any = false;
    for component in relative.components() {
        match component {
            Component::CurDir => continue,
            Component::Normal(name) if !name.as_encoded_bytes().contains(&0) => path.push(name),
            _ => return Err(NotRead::Outside(shown(relative))),
        }
        any = true;
        match path.symlink_metadata() {
            Ok(meta) if meta.file_type().is_symlink() => return Err(NotRead::Symlink(shown(relative))),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Err(NotRead::Missing(shown(relative)));
            }
            Err(error) => return Err(NotRead::Io(shown(relative), error)),
        }
    }
    if any && path.is_file() { Ok(path) } else { Err(NotRead::NotAFile(shown(relative))) }
}

/// The text of a file of the recipe.
pub fn read(dir: &Path, relative: &Path) -> Result<String, NotRead> {
    let path = locate(dir, relative)?;
    let io = |error| NotRead::Io(shown(relative), error);
    let mut bytes = Vec::new();
    std::fs::File::open(&path).map_err(io)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(NotRead::TooLarge(shown(relative)));
    }
    String::from_utf8(bytes).map_err(|_| NotRead::NotText(shown(relative)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_inside_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("sub/a"), "text").unwrap();
        std::fs::write(at("bytes"), [0xff, 0xfe]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
        std::os::unix::fs::symlink("/etc", at("etc")).unwrap();
        let said = |name: &str| match read(dir.path(), Path::new(name)) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        };
        assert_eq!(said("sub/a"), "text");
        assert_eq!(said("./sub/a"), "text");
        assert_eq!(said("none"), "`none` is missing");
        assert_eq!(said("sub/a/b"), "`sub/a/b` is missing");
        assert!(said("../x").contains("leads out of the recipe"));
        assert!(said("sub/../../x").contains("leads out of the recipe"));
        assert!(said("/etc/passwd").contains("leads out of the recipe"));
        assert!(said("link").contains("symlink"));
        assert!(said("etc/passwd").contains("symlink"));
        assert!(said("sub").contains("not a plain file"));
        assert!(said("").contains("not a plain file"));
        assert!(said("bytes").contains("not UTF-8"));
    }
}
