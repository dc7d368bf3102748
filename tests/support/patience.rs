//! Waiting: look again until it is so, with patience from one variable.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a story waits for one thing: `CC_CI_PATIENCE` in seconds, 120 where it is not set.
pub(crate) fn patience() -> Duration {
    let seconds = std::env::var("CC_CI_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    Duration::from_secs(seconds)
}

/// Looks until `look` finds something; panics with what it says of the last look when patience ends.
pub(crate) async fn eventually<T, F, L>(what: &str, look: L) -> T
where
    F: Future<Output = Result<T, String>>,
    L: FnMut() -> F,
{
    within(patience(), what, look).await
}

/// The same, for what is known to take longer.
pub(crate) async fn within<T, F, L>(patience: Duration, what: &str, mut look: L) -> T
where
    F: Future<Output = Result<T, String>>,
    L: FnMut() -> F,
{
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(last) if started.elapsed() > patience => {
                panic!("waited {:?} for {what}; the last look: {last}", started.elapsed())
            }
            Err(_) => {}
        }
    }
}
