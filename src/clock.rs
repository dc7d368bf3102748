//! Time comes from here, so that tests can hold it. Everything else is refused the system's clock by clippy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970 in UTC, which is also its form in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// What passed between `earlier` and this; nothing when `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    pub fn plus(self, span: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`.
    pub fn rfc3339(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.3fZ")
    }

    /// RFC 3339 in UTC, whole seconds, as forges want it in a query.
    pub fn rfc3339_seconds(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%SZ")
    }

    /// `strftime` in UTC.
    pub fn format(self, pattern: &str) -> String {
        let stamp = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        jiff::fmt::strtime::format(pattern, &stamp.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Option<Time> {
        text.parse::<Timestamp>().ok().map(|stamp| Time(stamp.as_millisecond()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Tells the time: the machine's, or one that a test moves by hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Held(Arc<AtomicI64>),
}

impl Clock {
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn held(start: Time) -> Clock {
        Clock(Source::Held(Arc::new(AtomicI64::new(start.0))))
    }

    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System => Time(Timestamp::now().as_millisecond()),
            Source::Held(at) => Time(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a held clock; the system's stays what it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Held(at) = &self.0 {
            at.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_what_it_writes() {
        let at = Time(1_767_323_045_678);
        assert_eq!(at.rfc3339(), "2026-01-02T03:04:05.678Z");
        assert_eq!(Time::parse(&at.rfc3339()), Some(at));
        assert_eq!(Time::parse("2026-01-02T04:04:05+01:00"), Some(Time(1_767_323_045_000)));
        assert_eq!(at.rfc3339_seconds(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn a_held_clock_moves_only_by_hand() {
        let clock = Clock::held(Time(5));
        assert_eq!(clock.now(), Time(5));
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.clone().now(), Time(12));
        assert_eq!(Time(3).since(Time(9)), Duration::ZERO);
    }
}
