//! What systemd hears of this process: that it is ready, what it does, that it lives, and that it ends and how long that may take.
//! Started by anybody else there is no `NOTIFY_SOCKET`, and all of this is silence.
//!
//! `STOPPING` is said only when the process ends whatever comes: from then on systemd takes a `systemctl stop` for done already
//! and sends no signal more. A runner that lets its run finish has to hear that signal, so it says what it does as its status,
//! and `STOPPING` when nothing is left to wait for but teardowns. Those get the time they need, a little at a time.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// How often more time is asked for, and how much: a runtime that hangs asks for nothing.
const ASK: Duration = Duration::from_secs(10);
const MORE: Duration = Duration::from_secs(60);

/// Where systemd listens, if it does.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    socket: Option<Arc<UnixDatagram>>,
    /// From one sign of life to the next at most.
    watchdog: Option<Duration>,
}

impl Notify {
    /// As systemd told this process in its environment.
    pub fn from_env() -> Notify {
        let var = |name| std::env::var(name).ok();
        let watched = var("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = var("WATCHDOG_USEC").and_then(|text| text.parse().ok()).map(Duration::from_micros);
        let socket = var("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::error!(socket = name, error = %error, "systemd waits for a word and cannot be reached");
                None
            }
        });
        Notify { socket, watchdog: watchdog.filter(|span| watched && !span.is_zero()) }
    }

    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The process ends, whatever comes.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// What it does, for `systemctl status`.
    pub fn status(&self, words: &str) {
        self.say(&format!("STATUS={}", words.replace('\n', " ")));
    }

    fn say(&self, words: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(words.as_bytes())
        {
            tracing::warn!(words, error = %error, "systemd did not take a word");
        }
    }

    /// Says that the process lives for as long as its runtime turns and its database answers, until `stop`.
    pub async fn live(self, store: Store, stop: CancellationToken) {
        let (Some(_), Some(span)) = (&self.socket, self.watchdog) else { return };
        let mut tick = tokio::time::interval(span / 3);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if store.answers().await {
                self.say("WATCHDOG=1");
            }
        }
    }

    /// Has systemd wait for what `work` still has to do.
    pub async fn more_time_for<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut tick = tokio::time::interval(ASK);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => self.say(&format!("EXTEND_TIMEOUT_USEC={}", MORE.as_micros())),
            }
        }
    }
}

/// `@name` is a name without a file.
fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(Path::new(name))?,
    }
    // A systemd that does not read must not hold anybody up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}
