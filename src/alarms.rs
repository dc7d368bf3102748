//! What only the operator can mend, or has to know: said once in the log when it begins and when it ends, and as long as it
//! lasts on `/ready`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::clock::Time;

/// One for each thing that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// The forge does not answer.
    ForgeSilent,
    /// 401: the bot's token is revoked or wrong.
    TokenRefused,
    /// The bot may not ask what it has to know; nobody can be authorised.
    BotRights,
    /// The forge's list of repositories makes no sense.
    Repositories,
    /// The bot may not write commit statuses; the comment alone answers.
    Statuses,
    /// The bot may not react to comments.
    Reactions,
    /// A comment was not taken.
    Comments,
    /// A target of `notify` takes nothing. It is the one alarm that nobody is notified of.
    Notify,
}

impl Alarm {
    pub const ALL: [Alarm; 8] = [
        Alarm::ForgeSilent,
        Alarm::TokenRefused,
        Alarm::BotRights,
        Alarm::Repositories,
        Alarm::Statuses,
        Alarm::Reactions,
        Alarm::Comments,
        Alarm::Notify,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Alarm::ForgeSilent => "forge-silent",
            Alarm::TokenRefused => "token-refused",
            Alarm::BotRights => "bot-rights",
            Alarm::Repositories => "repositories",
            Alarm::Statuses => "statuses",
            Alarm::Reactions => "reactions",
            Alarm::Comments => "comments",
            Alarm::Notify => "notify",
        }
    }

    /// As long as it lasts, requests are not answered as they should be.
    pub fn is_grave(self) -> bool {
        match self {
            Alarm::ForgeSilent | Alarm::TokenRefused | Alarm::BotRights | Alarm::Repositories => true,
            Alarm::Statuses | Alarm::Reactions | Alarm::Comments | Alarm::Notify => false,
        }
    }
}

/// An alarm that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasting {
    pub alarm: Alarm,
    /// What is wrong and what to do about it.
    pub words: String,
    pub since: Time,
}

/// Those that last, of this process, and when the forge was last read. Every clone shows the same.
#[derive(Clone, Debug, Default)]
pub struct Alarms(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    bell: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Board {
    lasting: BTreeMap<Alarm, Lasting>,
    polled_at: Option<Time>,
}

impl Alarms {
    /// It is so. Logged when it begins and when its words change.
    pub fn raise(&self, alarm: Alarm, words: impl Into<String>, now: Time) {
        let words = words.into();
        let mut board = self.lock();
        match board.lasting.get_mut(&alarm) {
            Some(known) if known.words == words => return,
            Some(known) => known.words.clone_from(&words),
            None => {
                board.lasting.insert(alarm, Lasting { alarm, words: words.clone(), since: now });
            }
        }
        drop(board);
        self.0.bell.send_replace(());
        if alarm.is_grave() {
            tracing::error!(alarm = alarm.as_str(), words, "an alarm began");
        } else {
            tracing::warn!(alarm = alarm.as_str(), words, "something is left unsaid");
        }
    }

    /// It is not so any more.
    pub fn clear(&self, alarm: Alarm) {
        if self.lock().lasting.remove(&alarm).is_some() {
            self.0.bell.send_replace(());
            tracing::info!(alarm = alarm.as_str(), "the alarm is over");
        }
    }

    pub fn lasting(&self) -> Vec<Lasting> {
        self.lock().lasting.values().cloned().collect()
    }

    /// Tells of each that begins, changes its words or is over.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.bell.subscribe()
    }

    /// The forge was asked what is new, and answered.
    pub fn polled(&self, now: Time) {
        self.lock().polled_at = Some(now);
    }

    /// When it last did.
    pub fn last_poll(&self) -> Option<Time> {
        self.lock().polled_at
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_keeps_its_beginning_until_it_is_over() {
        let alarms = Alarms::default();
        alarms.raise(Alarm::ForgeSilent, "no answer", Time(1));
        alarms.clone().raise(Alarm::ForgeSilent, "502", Time(2));
        assert_eq!(alarms.lasting(), [Lasting { alarm: Alarm::ForgeSilent, words: "502".into(), since: Time(1) }]);
        alarms.clear(Alarm::ForgeSilent);
        assert!(alarms.lasting().is_empty());
    }
}
