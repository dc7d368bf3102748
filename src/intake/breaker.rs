//! Keeps a forge that does not answer from being asked again and again: each failure in a row doubles the pause, the forge's
//! own wish is honoured, and one turn that goes well ends it.

use std::time::Duration;

use super::jittered;
use crate::clock::Time;

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    until: Option<Time>,
    since: Option<Time>,
}

impl Breaker {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(300);
    /// So many failures in a row are no blip any more.
    const SILENT: u32 = 3;

    /// Until when nothing is asked.
    pub(crate) fn shut_until(&self, now: Time) -> Option<Time> {
        self.until.filter(|&until| until > now)
    }

    /// True when it was silent for so long that the operator should know; `since` then says for how long.
    pub(crate) fn failed(&mut self, now: Time, after: Option<Duration>) -> bool {
        let pause = Breaker::FIRST.saturating_mul(1 << self.failures.min(10)).min(Breaker::LONGEST);
        self.until = Some(now.plus(jittered(pause).max(after.unwrap_or_default())));
        self.failures += 1;
        self.since.get_or_insert(now);
        self.failures >= Breaker::SILENT
    }

    pub(crate) fn since(&self) -> Option<Time> {
        self.since
    }

    pub(crate) fn went_well(&mut self) {
        *self = Breaker::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_honour_the_forge() {
        let mut breaker = Breaker::default();
        let now = Time(0);
        let pause = |breaker: &Breaker| breaker.shut_until(now).unwrap().since(now).as_secs_f64();
        assert!(!breaker.failed(now, None));
        assert!((3.9..5.1).contains(&pause(&breaker)));
        assert!(!breaker.failed(now, None));
        assert!((7.9..10.1).contains(&pause(&breaker)));
        assert!(breaker.failed(now, Some(Duration::from_secs(1000))));
        assert!(pause(&breaker) >= 1000.0);
        for _ in 0..50 {
            breaker.failed(now, None);
        }
        assert!((239.0..301.0).contains(&pause(&breaker)));
        assert_eq!(breaker.shut_until(Time(400_000)), None);
        breaker.went_well();
        assert_eq!(breaker.shut_until(now), None);
    }
}
