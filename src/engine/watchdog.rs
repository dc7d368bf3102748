//! Limits of a run: of a stage, of the whole, and of silence. Each one ends what runs, with its process tree, and leaves the
//! teardown its own time. They count by the monotonic clock, so a clock that jumps ends nothing.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::scheduler::{Stop, Why};
use crate::config::Limits;

/// Ending a process tree takes a moment; longer than this and its future is dropped, which ends it too.
const WIND_DOWN: Duration = Duration::from_secs(20);

/// Why work was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("somebody asked for the run to end")]
    Asked,
    #[error("the runner was stopped")]
    Stopping,
    #[error("it took longer than {}, the limit of a stage", spoken(*.0))]
    Stage(Duration),
    #[error("the run took longer than {}, the limit of a run", spoken(*.0))]
    Run(Duration),
    #[error("nothing was heard or seen to change for {}", spoken(*.0))]
    Silence(Duration),
}

/// Watches one run.
#[derive(Clone, Debug)]
pub struct Watchdog {
    limits: Limits,
    begun: Instant,
    /// Milliseconds after `begun`.
    heard: Arc<AtomicU64>,
    /// From when the limit of a stage counts, in the same way.
    counted: Arc<AtomicU64>,
    stop: Stop,
}

impl Watchdog {
    pub fn new(limits: Limits, stop: Stop) -> Watchdog {
        Watchdog { limits, begun: Instant::now(), heard: Arc::default(), counted: Arc::default(), stop }
    }

    /// A line, or something that changed in the Swarm.
    pub fn heard(&self) {
        self.heard.fetch_max(self.now(), Ordering::Relaxed);
    }

    /// Part of a stage is done that is no work of the stage's own; what follows has all of the limit.
    pub fn count_anew(&self) {
        self.counted.fetch_max(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn silent_until(&self) -> Instant {
        self.begun + Duration::from_millis(self.heard.load(Ordering::Relaxed)) + self.limits.silence
    }

    fn stage_until(&self) -> Instant {
        self.begun + Duration::from_millis(self.counted.load(Ordering::Relaxed)) + self.limits.stage
    }

    /// Lets `work` go on until it is done or a limit is reached. Its commands listen to `cancel`, which is cancelled then.
    pub async fn guard<T>(&self, cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Broken> {
        self.heard();
        self.count_anew();
        let run_ends = self.begun + self.limits.run;
        tokio::pin!(work);
        let broken = loop {
            let (silent_until, stage_until) = (self.silent_until(), self.stage_until());
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.stop.token().cancelled() => break match self.stop.why() {
                    Some(Why::Stopping) => Broken::Stopping,
                    Some(Why::Asked) | None => Broken::Asked,
                },
                () = sleep_until(run_ends) => break Broken::Run(self.limits.run),
                () = sleep_until(stage_until) => {
                    if self.stage_until() <= Instant::now() {
                        break Broken::Stage(self.limits.stage);
                    }
                }
                () = sleep_until(silent_until) => {
                    if self.silent_until() <= Instant::now() {
                        break Broken::Silence(self.limits.silence);
                    }
                }
            }
        };
        cancel.cancel();
        let _ = timeout(WIND_DOWN, work).await;
        Err(broken)
    }
}

/// `90 s`, `20 min`, `1 h 30 min`.
pub fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(stage: u64, run: u64, silence: u64) -> Limits {
        let ms = Duration::from_millis;
        Limits { stage: ms(stage), run: ms(run), silence: ms(silence), ..Limits::default() }
    }

    async fn forever_until(cancel: CancellationToken) -> &'static str {
        cancel.cancelled().await;
        "ended"
    }

    #[tokio::test]
    async fn each_limit_ends_the_work_and_says_which_it_was() {
        for (limits, expected) in [
            (limits(20, 9000, 9000), Broken::Stage(Duration::from_millis(20))),
            (limits(9000, 20, 9000), Broken::Run(Duration::from_millis(20))),
            (limits(9000, 9000, 20), Broken::Silence(Duration::from_millis(20))),
        ] {
            let cancel = CancellationToken::new();
            let watchdog = Watchdog::new(limits, Stop::default());
            assert_eq!(watchdog.guard(&cancel, forever_until(cancel.clone())).await, Err(expected));
            assert!(cancel.is_cancelled());
        }
    }

    #[tokio::test]
    async fn whoever_asks_first_is_the_reason() {
        let stop = Stop::default();
        stop.now(Why::Asked);
        stop.now(Why::Stopping);
        let cancel = CancellationToken::new();
        let watchdog = Watchdog::new(Limits::default(), stop);
        assert_eq!(watchdog.guard(&cancel, forever_until(cancel.clone())).await, Err(Broken::Asked));
    }

    #[tokio::test]
    async fn what_stands_beside_the_app_takes_no_time_of_the_stage() {
        let watchdog = Watchdog::new(limits(60, 9000, 9000), Stop::default());
        let cancel = CancellationToken::new();
        let comes_up = async {
            let mut beat = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..15 {
                beat.tick().await;
                watchdog.count_anew();
            }
            forever_until(cancel.clone()).await
        };
        let begun = Instant::now();
        let ended = watchdog.guard(&cancel, comes_up).await;
        assert_eq!(ended, Err(Broken::Stage(Duration::from_millis(60))));
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_word_now_and_then_is_no_silence() {
        let watchdog = Watchdog::new(limits(9000, 9000, 60), Stop::default());
        let cancel = CancellationToken::new();
        let talks = async {
            let mut beat = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..15 {
                beat.tick().await;
                watchdog.heard();
            }
            "done"
        };
        assert_eq!(watchdog.guard(&cancel, talks).await, Ok("done"));
    }
}
