//! Spans of time and places in a queue as people say them.

use std::time::Duration;

/// `0:09`, `12:40`, `1:02:03`: for tables.
pub fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `0.4 s`, `9 s`, `1 min 12 s`, `14 min`, `1 h 5 min`: for sentences.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..2 => format!("{}.{} s", seconds, span.subsec_millis() / 100),
        2..60 => format!("{seconds} s"),
        60..600 if !seconds.is_multiple_of(60) => format!("{} min {} s", seconds / 60, seconds % 60),
        60..3600 => format!("{} min", seconds / 60),
        _ if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3600),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `First`, `Second`, … `11th`: a place in the queue, counted from 1.
pub fn place(place: usize) -> String {
    match place {
        1 => "First".into(),
        2 => "Second".into(),
        3 => "Third".into(),
        4 => "Fourth".into(),
        5 => "Fifth".into(),
        _ => {
            let ending = match (place % 10, place % 100) {
                (_, 11..=13) => "th",
                (1, _) => "st",
                (2, _) => "nd",
                (3, _) => "rd",
                _ => "th",
            };
            format!("{place}{ending}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let said = |ms| span(Duration::from_millis(ms));
        assert_eq!(said(420), "0.4 s");
        assert_eq!(said(9_900), "9 s");
        assert_eq!(said(72_000), "1 min 12 s");
        assert_eq!(said(840_000), "14 min");
        assert_eq!(said(3_600_000), "1 h");
        assert_eq!(said(3_900_000), "1 h 5 min");
        assert_eq!(clock(Duration::from_secs(72)), "1:12");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }

    #[test]
    fn places_have_their_endings() {
        let said: Vec<String> = [1, 2, 6, 11, 12, 21, 22, 113].into_iter().map(place).collect();
        assert_eq!(said, ["First", "Second", "6th", "11th", "12th", "21st", "22nd", "113th"]);
    }
}
