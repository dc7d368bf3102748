//! Times by a cron expression of five fields, in UTC: minute, hour, day of the month, month, day of the week. As cron has it, a
//! day is one of either where both fields of days say something.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, de::Error};

use crate::clock::Time;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// So far back a time is looked for: over a leap day that is left out in 2100.
const DAYS: i64 = 9 * 366;

/// A cron expression. Each field is a set of numbers, as bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: Option<u64>,
    months: u64,
    /// Sunday is 0.
    weekdays: Option<u64>,
}

/// What is wrong with a cron expression.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCron {
    #[error("`{0}` does not have five fields: minute, hour, day of the month, month, day of the week")]
    Fields(String),
    #[error("`{part}` is no {what} of cron ({from} to {until}, `*`, `a-b`, `*/n` or several with commas)")]
    Part { part: String, what: &'static str, from: u32, until: u32 },
    #[error("`{0}` never comes")]
    Never(String),
}

struct Field {
    what: &'static str,
    from: u32,
    until: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", from: 0, until: 59, names: &[] },
    Field { what: "hour", from: 0, until: 23, names: &[] },
    Field { what: "day of the month", from: 1, until: 31, names: &[] },
    Field {
        what: "month",
        from: 1,
        until: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { what: "day of the week", from: 0, until: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

impl FromStr for Cron {
    type Err = NotCron;

    fn from_str(text: &str) -> Result<Cron, NotCron> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let Ok([minute, hour, day, month, weekday]) = <[&str; 5]>::try_from(parts) else {
            return Err(NotCron::Fields(text.escape_debug().to_string()));
        };
        let some = |part: &str, field: &Field| if part == "*" { Ok(None) } else { field.read(part).map(Some) };
        // 7 is Sunday too.
        let weekdays = some(weekday, &FIELDS[4])?.map(|days| (days | days >> 7) & 0x7f);
        let cron = Cron {
            text: text.to_owned(),
            minutes: FIELDS[0].read(minute)?,
            hours: FIELDS[1].read(hour)?,
            days: some(day, &FIELDS[2])?,
            months: FIELDS[3].read(month)?,
            weekdays,
        };
        // A time before a day in 2026 comes as often as any.
        match cron.newest(Time(1_767_225_600_000)) {
            Some(_) => Ok(cron),
            None => Err(NotCron::Never(text.to_owned())),
        }
    }
}

impl Field {
    /// The numbers that a field means.
    fn read(&self, text: &str) -> Result<u64, NotCron> {
        text.split(',').try_fold(0, |all, part| Ok(all | self.part(part).ok_or_else(|| self.wrong(part))?))
    }

    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, until) = match range.split_once('-') {
            _ if range == "*" => (self.from, self.until),
            Some((from, until)) => (self.number(from)?, self.number(until)?),
            None if part == range => (self.number(range)?, self.number(range)?),
            None => (self.number(range)?, self.until),
        };
        (from <= until).then(|| (from..=until).step_by(step).fold(0, |all, number| all | 1 << number))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(place) => u32::try_from(place).ok()? + self.from,
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (self.from..=self.until).contains(&number).then_some(number)
    }

    fn wrong(&self, part: &str) -> NotCron {
        let part = part.escape_debug().to_string();
        NotCron::Part { part, what: self.what, from: self.from, until: self.until }
    }
}

impl Cron {
    /// The newest time that is not after `now`.
    pub fn newest(&self, now: Time) -> Option<Time> {
        let today = now.0.div_euclid(DAY_MS);
        let last_minute = now.0.rem_euclid(DAY_MS) / MINUTE_MS;
        (0..DAYS).find_map(|back| {
            let day = today - back;
            let latest = if back == 0 { last_minute } else { 24 * 60 - 1 };
            if !self.is_on(date(day)?) {
                return None;
            }
            let minute =
                (0..=latest).rev().find(|minute| has(self.hours, minute / 60) && has(self.minutes, minute % 60))?;
            Some(Time(day * DAY_MS + minute * MINUTE_MS))
        })
    }

    /// The shortest span between two of some hundred times one after the other.
    pub fn shortest_gap(&self) -> Duration {
        let mut at = Time(1_767_225_600_000);
        let mut times = Vec::new();
        while let Some(newest) = self.newest(at).filter(|_| times.len() < 300) {
            times.push(newest);
            at = Time(newest.0 - 1);
        }
        times.windows(2).map(|pair| pair[0].since(pair[1])).min().unwrap_or(Duration::MAX)
    }

    fn is_on(&self, date: Date) -> bool {
        let day = |days| has(days, i64::from(date.day()));
        let weekday = |days| has(days, i64::from(date.weekday().to_sunday_zero_offset()));
        let is_day = match (self.days, self.weekdays) {
            (None, None) => true,
            (Some(days), None) => day(days),
            (None, Some(weekdays)) => weekday(weekdays),
            (Some(days), Some(weekdays)) => day(days) || weekday(weekdays),
        };
        is_day && has(self.months, i64::from(date.month()))
    }
}

fn has(set: u64, number: i64) -> bool {
    set >> number & 1 == 1
}

fn date(day: i64) -> Option<Date> {
    Timestamp::from_millisecond(day * DAY_MS).ok().map(|at| at.to_zoned(TimeZone::UTC).date())
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Cron, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(cron: &str, now: &str) -> String {
        let now = Time::parse(now).unwrap();
        cron.parse::<Cron>().unwrap().newest(now).unwrap().format("%a %Y-%m-%d %H:%M")
    }

    #[test]
    fn the_newest_time_is_the_last_one_that_was() {
        // A Sunday.
        let now = "2026-03-01T02:29:59Z";
        for (cron, at) in [
            ("* * * * *", "Sun 2026-03-01 02:29"),
            ("30 2 * * *", "Sat 2026-02-28 02:30"),
            ("29 2 * * *", "Sun 2026-03-01 02:29"),
            ("*/20 1-3 * * *", "Sun 2026-03-01 02:20"),
            ("0 3 * * mon", "Mon 2026-02-23 03:00"),
            ("0 2 * * 7", "Sun 2026-03-01 02:00"),
            ("0 2 * * 5-7", "Sun 2026-03-01 02:00"),
            ("0 2 31 * *", "Sat 2026-01-31 02:00"),
            ("0 2 29 2 *", "Thu 2024-02-29 02:00"),
            ("0 2 26 * Fri", "Fri 2026-02-27 02:00"),
            ("15,45 22/1 1 Dec *", "Mon 2025-12-01 23:45"),
        ] {
            assert_eq!(newest(cron, now), at, "{cron}");
        }
    }

    #[test]
    fn what_is_no_expression_is_named() {
        for (cron, part) in [
            ("", "five fields"),
            ("0 2 * *", "five fields"),
            ("0 0 2 * * *", "five fields"),
            ("@daily", "five fields"),
            ("60 2 * * *", "`60` is no minute"),
            ("0 +2 * * *", "`+2` is no hour"),
            ("0 2 0 * *", "`0` is no day of the month"),
            ("0 2 * 13 *", "`13` is no month"),
            ("0 2 * * 5-1", "`5-1` is no day of the week"),
            ("*/0 2 * * *", "`*/0` is no minute"),
            ("0 2,, * * *", "`` is no hour"),
            ("0 2 31 2 *", "never comes"),
        ] {
            let said = cron.parse::<Cron>().unwrap_err().to_string();
            assert!(said.contains(part), "{cron}: {said}");
        }
    }

    #[test]
    fn the_shortest_gap_is_between_neighbours() {
        let gap = |cron: &str| cron.parse::<Cron>().unwrap().shortest_gap();
        assert_eq!(gap("0 2 * * *"), Duration::from_secs(86_400));
        assert_eq!(gap("0 2 * * 1,3"), Duration::from_secs(2 * 86_400));
        assert_eq!(gap("0,50 2 * * *"), Duration::from_secs(3000));
    }
}
