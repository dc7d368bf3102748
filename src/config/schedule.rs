//! When the base branches are tested without anybody asking.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use super::check::Unfit;
use super::span;
use crate::clock::Time;
use crate::cron::Cron;
use crate::model::RepoName;

/// Every repository that is enrolled, at its own moment after each time of `cron`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of the month, month, day of the week, in UTC.
    pub cron: Cron,
    /// The repositories' moments lie within so much after each time.
    #[serde(with = "span", default = "default_spread")]
    pub spread: Duration,
    /// In these nothing of the schedule begins; in UTC.
    #[serde(default)]
    pub quiet: Vec<Hours>,
    /// Never these.
    #[serde(default)]
    pub except: Vec<RepoName>,
}

fn default_spread() -> Duration {
    Duration::from_secs(2 * 3600)
}

/// From a minute of the day to another, which may be of the next day: `22:00-06:30`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: i64,
    until: i64,
}

const DAY: i64 = 24 * 60;

impl Hours {
    pub fn parse(text: &str) -> Option<Hours> {
        let minute = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let number = |text: &str, below: i64| {
                let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<i64>().ok().filter(|number| fits && *number < below)
            };
            Some(number(hour, 24)? * 60 + number(minute, 60)?)
        };
        let (from, until) = text.split_once('-')?;
        let hours = Hours { from: minute(from)?, until: minute(until)? };
        (hours.from != hours.until).then_some(hours)
    }

    /// When they end, where `at` is in them.
    fn end(self, at: Time) -> Option<Time> {
        let minute = at.0.div_euclid(60_000);
        let since_begin = (minute.rem_euclid(DAY) - self.from).rem_euclid(DAY);
        let length = (self.until - self.from).rem_euclid(DAY);
        (since_begin < length).then(|| Time((minute - since_begin + length) * 60_000))
    }
}

impl Schedule {
    /// `at`, or the end of the quiet hours that it falls into.
    pub fn after_quiet(&self, at: Time) -> Time {
        let mut at = at;
        // Some may begin where others end.
        for _ in &self.quiet {
            let Some(end) = self.quiet.iter().find_map(|hours| hours.end(at)) else { break };
            at = end;
        }
        at
    }
}

/// What is wrong with it.
pub(super) fn check(schedule: &Schedule) -> Result<(), Unfit> {
    let gap = schedule.cron.shortest_gap();
    if schedule.spread >= gap {
        let words = format!(
            "is as long as the {} minutes between two times of `schedule.cron`, so some would never come",
            gap.as_secs() / 60
        );
        return Err(Unfit::new("schedule.spread", words));
    }
    let begins = schedule.quiet.iter().map(|hours| Time(hours.from * 60_000));
    if begins
        .map(|begin| schedule.after_quiet(begin))
        .any(|end| schedule.quiet.iter().any(|hours| hours.end(end).is_some()))
    {
        return Err(Unfit::new("schedule.quiet", "is the whole day, so nothing of the schedule would ever begin"));
    }
    Ok(())
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, until] = [self.from, self.until];
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Hours, D::Error> {
        let text = String::deserialize(source)?;
        Hours::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("`{}` is not hours such as `07:00-19:00` (UTC)", text.escape_default()))
        })
    }
}
