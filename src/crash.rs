//! Points at which a test has this process killed: one after each committed transaction and one after each act outside, and
//! nowhere else, so that every state in which a crash can leave things is met on purpose. They are in debug builds, which the
//! tests run, and in any build with the feature `crash-points`; the program that ships has none of them.
//!
//! `CC_CI_CRASH_TRACE` names a file that gets a line for each point that is passed. `CC_CI_CRASH_AT` is the line to die at: a
//! point's name, with the number of the time in brackets from the second time on.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

/// Where the process may be told to die: `crash_point!("docker: {kind} removed")`.
macro_rules! crash_point {
    ($($words:tt)*) => {
        if cfg!(any(debug_assertions, feature = "crash-points")) {
            $crate::crash::reached(&format!($($words)*));
        }
    };
}
pub(crate) use crash_point;

struct Watch {
    trace: File,
    at: Option<String>,
    times: HashMap<String, u32>,
}

static WATCH: LazyLock<Option<Mutex<Watch>>> = LazyLock::new(|| {
    let path = std::env::var_os("CC_CI_CRASH_TRACE")?;
    let trace = File::options().create(true).append(true).open(path).ok()?;
    Some(Mutex::new(Watch { trace, at: std::env::var("CC_CI_CRASH_AT").ok(), times: HashMap::new() }))
});

/// What has just been done stands, and nothing was done since.
pub(crate) fn reached(name: &str) {
    let Some(watch) = WATCH.as_ref() else { return };
    // Held until the end, so that no other point is passed behind the one that is died at.
    let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
    let times = watch.times.entry(name.to_owned()).or_default();
    *times += 1;
    let label = if *times == 1 { name.to_owned() } else { format!("{name} ({times})") };
    let _ = watch.trace.write_all(format!("{label}\n").as_bytes());
    if watch.at.as_deref() == Some(&label) {
        let _ = kill_process(getpid(), Signal::KILL);
        // The signal is there before this is.
        loop {
            std::thread::park();
        }
    }
}
