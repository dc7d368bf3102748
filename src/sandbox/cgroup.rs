//! A control group for each process tree, where this process may make one: a child cannot leave it, and one write kills all.
//!
//! Groups are made below the one this process is in, in the unified hierarchy. On the appliance that is the service's own
//! (`Delegate=yes`); as root it is whatever there is; elsewhere there is none, and the warden does it alone.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A group of one tree.
#[derive(Clone, Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Makes one; `None` where it is not allowed or the kernel cannot kill by group.
    pub(super) fn make(name: &str) -> Option<Group> {
        let group = Group(own_directory()?.join(name));
        fs::create_dir(&group.0).ok()?;
        if group.0.join("cgroup.kill").exists() {
            return Some(group);
        }
        group.remove();
        None
    }

    /// One that a dead process may have left.
    pub(super) fn at(path: PathBuf) -> Group {
        Group(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Brings this process in, so that its next child is born inside.
    pub(super) fn enter(&self) -> io::Result<()> {
        join(&self.0)
    }

    /// Brings this process back to where the group was made.
    pub(super) fn leave(&self) -> io::Result<()> {
        self.0.parent().map_or(Ok(()), join)
    }

    /// Kills everything inside, at once.
    pub(super) fn kill(&self) {
        let _ = write(&self.0.join("cgroup.kill"), "1");
    }

    /// Whether a living process is inside.
    pub(super) fn is_populated(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1"))
    }

    /// Removes it when it is empty, with groups that the tree made inside; says whether it is gone.
    pub(super) fn remove(&self) -> bool {
        for entry in fs::read_dir(&self.0).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !Group(entry.path()).remove() {
                return false;
            }
        }
        match fs::remove_dir(&self.0) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Groups below ours whose name begins so.
pub(super) fn groups(prefix: &str) -> Vec<Group> {
    let Some(entries) = own_directory().and_then(|own| fs::read_dir(own).ok()) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)))
        .map(|entry| Group::at(entry.path()))
        .collect()
}

fn join(directory: &Path) -> io::Result<()> {
    write(&directory.join("cgroup.procs"), "0")
}

/// These files take one write and cannot be created or cut.
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// The directory of the group this process is in.
fn own_directory() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    directory_of(&mounts, &own)
}

/// `mountinfo` has `… root mountpoint options … - cgroup2 source …`; `cgroup` has a line `0::/path`.
fn directory_of(mounts: &str, own: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    if path.split('/').any(|part| part == "..") {
        return None; // Outside of what this process is shown.
    }
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, mountpoint) = (front.next()?, front.next()?);
        let inside = format!("/{path}");
        let below = if root == "/" { inside.as_str() } else { inside.strip_prefix(root)? };
        back.starts_with("cgroup2 ").then(|| Path::new(mountpoint).join(below.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_both_layouts() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let own = "0::/system.slice/cc-ci-runner.service\n";
        assert_eq!(directory_of(unified, own), Some("/sys/fs/cgroup/system.slice/cc-ci-runner.service".into()));
        let hybrid = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 23 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(directory_of(hybrid, "9:cpu:/\n0::/\n"), Some("/sys/fs/cgroup/unified/".into()));
        let container = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(directory_of(container, "0::/docker/abc/x\n"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(directory_of(unified, "0::/../..\n"), None);
        assert_eq!(directory_of("", own), None);
    }
}
