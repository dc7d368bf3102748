//! Finds and strikes processes through `/proc`. A number that was read may belong to somebody else by the time a signal is
//! sent; so a process is its number *and* its start time, and the signal goes through a handle that is compared with both.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// In ticks since the machine started.
    pub(super) start: u64,
    pub(super) state: u8,
}

impl Seen {
    /// Reads it afresh; `None` when there is no such process.
    pub(super) fn look(pid: i32) -> Option<Seen> {
        // The name in parentheses may hold anything, spaces and parentheses too; what follows its last one is numbers.
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let after = text.iter().rposition(|&byte| byte == b')')? + 1;
        let mut words = std::str::from_utf8(&text[after..]).ok()?.split_ascii_whitespace();
        let state = words.next()?.bytes().next()?;
        let parent = words.next()?.parse().ok()?;
        let start = words.nth(17)?.parse().ok()?;
        Some(Seen { pid, parent, start, state })
    }

    /// Dead, and only waits for its parent to take note.
    pub(super) fn is_zombie(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn is_stopped(self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// A handle on exactly this process; `None` when it is gone, whoever has its number now.
    pub(super) fn handle(self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        Seen::look(self.pid).is_some_and(|now| now.start == self.start).then_some(handle)
    }
}

/// Every process that can be seen.
pub(super) fn all() -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| Seen::look(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// The living descendants of a process, itself not included.
pub(super) fn descendants(root: i32) -> Vec<Seen> {
    let mut found = with_descendants(&all(), [root]);
    found.retain(|seen| seen.pid != root);
    found
}

/// These processes and their descendants, as far as they live, each once.
pub(super) fn with_descendants(all: &[Seen], roots: impl IntoIterator<Item = i32>) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for seen in all {
        children.entry(seen.parent).or_default().push(seen.pid);
    }
    let mut open: Vec<i32> = roots.into_iter().collect();
    let mut wanted = HashSet::new();
    while let Some(pid) = open.pop() {
        if wanted.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    all.iter().filter(|seen| wanted.contains(&seen.pid) && !seen.is_zombie()).copied().collect()
}

/// Lets processes go on that somebody stopped.
pub(super) fn resume(seen: &[Seen]) {
    for handle in seen.iter().filter_map(|seen| seen.handle()) {
        let _ = pidfd_send_signal(handle, Signal::CONT);
    }
}

/// Kills whatever `find` finds: first all of it is stopped, so that nothing can fork past the blow, then killed. Returns the
/// handles to wait on.
pub(super) fn strike(find: &dyn Fn() -> Vec<Seen>) -> Vec<OwnedFd> {
    const ROUNDS: usize = 50;
    let mut stopped = HashSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<Seen> =
            find().into_iter().filter(|seen| !seen.is_stopped() && stopped.insert((seen.pid, seen.start))).collect();
        if fresh.is_empty() {
            break;
        }
        for handle in fresh.into_iter().filter_map(Seen::handle) {
            let _ = pidfd_send_signal(&handle, Signal::STOP);
        }
    }
    let handles: Vec<OwnedFd> = find().into_iter().filter_map(Seen::handle).collect();
    for handle in &handles {
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
    handles
}

/// Until every one of these processes has died, or the time is over.
pub(super) fn await_death(handles: &[OwnedFd], millis: i64) {
    let pause = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    for handle in handles {
        if !matches!(poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&pause)), Ok(1..)) {
            return;
        }
    }
}

/// Whether the process with this number and start time lives.
pub(super) fn lives(pid: i32, start: u64) -> bool {
    Seen::look(pid).is_some_and(|now| now.start == start && !now.is_zombie())
}

/// Does nothing for a moment: between two looks at something that gives no event.
pub(super) fn pause(millis: i64) {
    let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 }));
}
