//! What a runner that was killed left running, and how the next one knows it: by the group's name and the mark in the
//! environment, which name the state directory, the owner's process number and its start time. An owner that lives keeps
//! what is its own.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::MARK;
use super::cgroup::{self, Group};
use super::tree::{self, Seen};

/// What [`kill_remains`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Processes that were still there.
    pub found: usize,
    /// Processes that would not die.
    pub left: usize,
}

/// Stands in a mark between that of the outer tree and that of the inner.
const WITHIN: char = '/';

static OWNER: OnceLock<String> = OnceLock::new();

/// Ends what an earlier process with this state directory left running, and marks all children of this one as the
/// directory's from now on. Blocks; the caller holds the directory's lock.
pub fn kill_remains(state_dir: &Path) -> Remains {
    let prefix = prefix_of(state_dir);
    let _ = OWNER.set(prefix.clone());
    let groups: Vec<Group> = cgroup::groups(&prefix)
        .into_iter()
        .filter(|group| group.path().file_name().and_then(|name| name.to_str()).is_some_and(is_abandoned))
        .collect();
    let find = || marked(&|mark| mark.starts_with(&prefix) && is_abandoned(mark));

    // Wardens notice the death of their owner and do it best, unless somebody stopped them.
    let found = find();
    tree::resume(&found);
    let found = found.len();
    for _ in 0..100 {
        if find().is_empty() {
            break;
        }
        tree::pause(20);
    }
    for group in &groups {
        group.kill();
    }
    let left = kill_until_none(&find);
    for group in groups {
        remove(&group);
    }
    Remains { found, left }
}

/// Ends one tree without its warden, and says how many processes would not die.
pub(super) fn kill_marked(group: Option<&Group>, mark: &str) -> usize {
    if let Some(group) = group {
        group.kill();
    }
    let inside = format!("{mark}{WITHIN}");
    let left = kill_until_none(&|| marked(&|found| found == mark || found.starts_with(&inside)));
    if let Some(group) = group {
        remove(group);
    }
    left
}

/// A mark that no other tree has or had. In a tree of another cc-ci, it begins with that one's.
pub(super) fn fresh_mark() -> String {
    let own = fresh_part();
    match std::env::var(MARK) {
        Ok(outer) => format!("{outer}{WITHIN}{own}"),
        Err(_) => own,
    }
}

/// The part of a mark that is this tree's alone.
pub(super) fn own_part(mark: &str) -> &str {
    mark.rsplit(WITHIN).next().unwrap_or(mark)
}

fn fresh_part() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let pid = std::process::id();
    let start = i32::try_from(pid).ok().and_then(Seen::look).map_or(0, |own| own.start);
    let prefix = OWNER.get().map_or("cc-ci.-.", String::as_str);
    format!("{prefix}{pid}.{start}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn prefix_of(state_dir: &Path) -> String {
    let path = fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.into());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("cc-ci.{}.", hex::encode(&digest[..6]))
}

/// Whether the process that made this mark is gone.
fn is_abandoned(mark: &str) -> bool {
    let mut parts = mark.split('.').skip(2);
    let pid = parts.next().and_then(|part| part.parse().ok());
    let start = parts.next().and_then(|part| part.parse().ok());
    match (pid, start) {
        (Some(pid), Some(start)) => !tree::lives(pid, start),
        _ => false,
    }
}

/// Living processes with such a mark, and what descends from them: one that hides its mark is still its warden's while that
/// lives.
fn marked(wanted: &dyn Fn(&str) -> bool) -> Vec<Seen> {
    let all = tree::all();
    let roots = all.iter().filter(|seen| mark_of(seen.pid).is_some_and(|mark| wanted(&mark)));
    tree::with_descendants(&all, roots.map(|seen| seen.pid))
}

fn mark_of(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

fn kill_until_none(find: &dyn Fn() -> Vec<Seen>) -> usize {
    for _ in 0..100 {
        let handles = tree::strike(find);
        if handles.is_empty() {
            return 0;
        }
        tree::await_death(&handles, 100);
    }
    find().len()
}

fn remove(group: &Group) {
    for _ in 0..100 {
        if group.remove() {
            return;
        }
        tree::pause(5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_abandoned_when_its_owner_is_gone_or_another_has_its_number() {
        let mark = fresh_mark();
        assert!(!is_abandoned(&mark));
        let own = Seen::look(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(is_abandoned(&format!("cc-ci.x.{}.{}.1", own.pid, own.start + 1)));
        assert!(is_abandoned(&format!("cc-ci.x.{}.{}.1/{mark}", own.pid, own.start + 1)), "the outer one counts");
        assert!(!is_abandoned("cc-ci.x.not-a-number"));
        assert_ne!(fresh_mark(), mark);
    }
}
