//! What the operator should know now: raised by whoever notices, cleared by whoever sees it mended, shown on the overview
//! and by `/ready`. Nothing in here is kept over a restart; what is still wrong will be noticed again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Time;

/// A shared handle; every clone shows the same alarms.
#[derive(Clone, Debug, Default)]
pub struct Alarms(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    raised: BTreeMap<&'static str, String>,
    pulses: BTreeMap<&'static str, Time>,
}

impl Alarms {
    pub fn new() -> Alarms {
        Alarms::default()
    }

    /// Says what is wrong with `what` and how to mend it, in words for the operator. `true` when that is news, so that the
    /// caller logs it once.
    pub fn raise(&self, what: &'static str, words: impl Into<String>) -> bool {
        let words = words.into();
        self.board().raised.insert(what, words.clone()).is_none_or(|before| before != words)
    }

    /// It is well again. `true` when it was not.
    pub fn clear(&self, what: &'static str) -> bool {
        self.board().raised.remove(what).is_some()
    }

    /// What is wrong now, by name.
    pub fn raised(&self) -> Vec<(&'static str, String)> {
        self.board().raised.iter().map(|(what, words)| (*what, words.clone())).collect()
    }

    /// Something that has to happen again and again (`poll`) has just gone well.
    pub fn pulse(&self, what: &'static str, now: Time) {
        self.board().pulses.insert(what, now);
    }

    /// When it last did.
    pub fn last_pulse(&self, what: &str) -> Option<Time> {
        self.board().pulses.get(what).copied()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_news_once_and_gone_when_mended() {
        let alarms = Alarms::new();
        let seen_elsewhere = alarms.clone();
        assert!(alarms.raise("forge", "does not answer"));
        assert!(!alarms.raise("forge", "does not answer"));
        assert!(alarms.raise("forge", "refuses the token"));
        assert_eq!(seen_elsewhere.raised(), [("forge", "refuses the token".to_owned())]);
        assert!(alarms.clear("forge"));
        assert!(!alarms.clear("forge"));
        assert!(seen_elsewhere.raised().is_empty());
    }
}
