//! Recipes of the tests: `tests/recipes/NAME`, changed as a story needs it, made into a real repository.

use std::path::{Path, PathBuf};

/// A recipe, and what a story changes in it. Changes are made in every step of its history.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    name: String,
    repository: String,
    changes: Vec<Change>,
    pub(crate) lightweight_tags: usize,
    pub(crate) untagged: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(String, Vec<u8>),
    Replace(String, String, String),
    /// A variable of `.env.sample`.
    Set(String, String),
    Remove(String),
    Link(String, String),
}

impl Fixture {
    pub(crate) fn named(name: &str) -> Fixture {
        Fixture {
            name: name.into(),
            repository: name.into(),
            changes: Vec::new(),
            lightweight_tags: 0,
            untagged: false,
        }
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn in_repository(mut self, repository: &str) -> Fixture {
        self.repository = repository.into();
        self
    }

    /// Another recipe altogether, of the same making.
    pub(crate) fn called(self, name: &str) -> Fixture {
        self.env("TYPE", name).in_repository(name)
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Fixture {
        self.bytes(path, text.as_bytes())
    }

    pub(crate) fn bytes(mut self, path: &str, bytes: &[u8]) -> Fixture {
        self.changes.push(Change::Write(path.into(), bytes.into()));
        self
    }

    pub(crate) fn replace(mut self, path: &str, old: &str, new: &str) -> Fixture {
        self.changes.push(Change::Replace(path.into(), old.into(), new.into()));
        self
    }

    pub(crate) fn without(mut self, path: &str) -> Fixture {
        self.changes.push(Change::Remove(path.into()));
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Fixture {
        self.changes.push(Change::Link(path.into(), target.into()));
        self
    }

    /// Sets a variable of `.env.sample`, whatever it was.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Fixture {
        self.changes.push(Change::Set(key.into(), value.into()));
        self
    }

    /// Not there for so many seconds after its start, and allowed to be.
    pub(crate) fn slow(self, seconds: u32) -> Fixture {
        let allowed = "retries: 3\n      start_period: 60s";
        self.env("MODE", &format!("slow:{seconds}")).replace("compose.yml", "retries: 3", allowed)
    }

    pub(crate) fn with_lightweight_tags(mut self, count: usize) -> Fixture {
        self.lightweight_tags = count;
        self
    }

    /// Its first step is published, and nothing of it has a tag.
    pub(crate) fn untagged(mut self) -> Fixture {
        self.untagged = true;
        self
    }

    /// Lays the recipe with its changes into `dir`, in the form that `cc-ci dev recipe` takes.
    pub(crate) fn lay(&self, dir: &Path) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes").join(&self.name);
        copy(&source, dir);
        let steps = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let steps: Vec<PathBuf> = steps.collect();
        for change in &self.changes {
            let applied = steps.iter().filter(|step| apply(step, change)).count();
            assert!(applied > 0, "{change:?} changes nothing of {}", self.name);
        }
        dir.to_owned()
    }
}

/// Whether there was something to change.
fn apply(step: &Path, change: &Change) -> bool {
    match change {
        Change::Write(path, bytes) => {
            std::fs::create_dir_all(step.join(path).parent().unwrap()).unwrap();
            std::fs::write(step.join(path), bytes).unwrap();
        }
        Change::Remove(path) => return std::fs::remove_file(step.join(path)).is_ok(),
        Change::Link(path, target) => {
            drop(std::fs::remove_file(step.join(path)));
            std::os::unix::fs::symlink(target, step.join(path)).unwrap();
        }
        Change::Replace(path, old, new) => {
            let Ok(text) = std::fs::read_to_string(step.join(path)) else { return false };
            if !text.contains(old.as_str()) {
                return false;
            }
            std::fs::write(step.join(path), text.replace(old, new)).unwrap();
        }
        Change::Set(key, value) => {
            let Ok(text) = std::fs::read_to_string(step.join(".env.sample")) else { return false };
            let start = format!("{key}=");
            let set =
                |line: &str| if line.starts_with(&start) { format!("{start}{value}\n") } else { format!("{line}\n") };
            std::fs::write(step.join(".env.sample"), text.lines().map(set).collect::<String>()).unwrap();
        }
    }
    true
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
