//! What a plain word of YAML is to sops, and the other way round.
//!
//! sops reads with Go's YAML library and seals the text that Go would print: `0777` is the number 511, `1e21` has 22 digits,
//! a date has a time. The MAC is over these texts, so whoever reads a word differently has another MAC.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex_lite::Regex;
use zeroize::Zeroizing;

/// The types that sops knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Str,
    Int,
    Float,
    Bool,
    Bytes,
    Time,
    Comment,
}

impl Kind {
    const ALL: [Kind; 7] = [Kind::Str, Kind::Int, Kind::Float, Kind::Bool, Kind::Bytes, Kind::Time, Kind::Comment];

    pub fn word(self) -> &'static str {
        match self {
            Kind::Str => "str",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Bool => "bool",
            Kind::Bytes => "bytes",
            Kind::Time => "time",
            Kind::Comment => "comment",
        }
    }

    pub fn of(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A value in clear: its type, and the text that is sealed and goes into the MAC.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) kind: Kind,
    pub(super) text: Zeroizing<Vec<u8>>,
}

impl Plain {
    pub(super) fn new(kind: Kind, text: impl Into<Vec<u8>>) -> Plain {
        Plain { kind, text: Zeroizing::new(text.into()) }
    }

    /// Whether the text is one of its type.
    pub(super) fn fits(&self) -> bool {
        let Ok(text) = std::str::from_utf8(&self.text) else { return matches!(self.kind, Kind::Str | Kind::Bytes) };
        match self.kind {
            Kind::Str | Kind::Bytes | Kind::Comment => true,
            Kind::Int => text.parse::<i64>().is_ok(),
            Kind::Float => text.parse::<f64>().is_ok(),
            Kind::Bool => matches!(text.to_ascii_lowercase().as_str(), "true" | "false"),
            Kind::Time => time(text).is_some(),
        }
    }
}

/// What a scalar stands for; nothing for null, which is never sealed. `plain`: it has no quotes and is no block.
pub(super) fn resolve(text: &str, plain: bool) -> Result<Option<Plain>, &'static str> {
    let made = |kind, text: String| Ok(Some(Plain::new(kind, text)));
    if !plain {
        return made(Kind::Str, text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(None),
        "true" | "True" | "TRUE" => return made(Kind::Bool, "True".into()),
        "false" | "False" | "FALSE" => return made(Kind::Bool, "False".into()),
        ".nan" | ".NaN" | ".NAN" => return made(Kind::Float, "NaN".into()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return made(Kind::Float, "+Inf".into()),
        "-.inf" | "-.Inf" | "-.INF" => return made(Kind::Float, "-Inf".into()),
        "<<" => return Err("is a merge key, which sops writes out; write it out here"),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return made(Kind::Str, text.to_owned());
    }
    if let Some(time) = time(text) {
        return made(Kind::Time, time);
    }
    let digits = text.replace('_', "");
    match integer(&digits) {
        Some(Ok(number)) => return made(Kind::Int, number.to_string()),
        Some(Err(())) => {
            return Err("is a whole number of more than 64 bits, which sops does not take; put it in quotes");
        }
        None => {}
    }
    static FLOAT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"));
    match digits.parse::<f64>() {
        // Rust prints the shortest digits that read back as the same number, without an exponent, as Go is asked to.
        Ok(number) if number.is_finite() && FLOAT.is_match(&digits) => made(Kind::Float, number.to_string()),
        _ => made(Kind::Str, text.to_owned()),
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of ours")
}

/// As Go's `ParseInt` with base 0. An error for what is a number, and too large.
fn integer(text: &str) -> Option<Result<i64, ()>> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (digits, radix) = [("0x", 16), ("0b", 2), ("0o", 8)]
        .into_iter()
        .find_map(|(prefix, radix)| lower.strip_prefix(prefix).map(|digits| (digits, radix)))
        .unwrap_or(match lower.strip_prefix('0') {
            Some(digits) if !digits.is_empty() => (digits, 8),
            _ => (lower.as_str(), 10),
        });
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    match i64::from_str_radix(&signed, radix) {
        Ok(number) => Some(Ok(number)),
        // Go's YAML takes them as unsigned, which sops refuses; beyond that they are decimals.
        Err(_) if u64::from_str_radix(digits, radix).is_ok() => Some(Err(())),
        Err(_) => None,
    }
}

/// As Go prints a moment: RFC 3339, the fraction without its last zeros, the offset kept.
fn time(text: &str) -> Option<String> {
    static TIME: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"^(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d{1,9})?(Z|[-+]\d\d:\d\d)| (\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d{1,9})?)?$",
        )
    });
    let found = TIME.captures(text)?;
    let number = |one: usize, other: usize| {
        found.get(one).or(found.get(other)).map_or(Some(0), |part| part.as_str().parse::<i8>().ok())
    };
    let year: i16 = found.get(1)?.as_str().parse().ok()?;
    let (hour, minute, second) = (number(4, 9)?, number(5, 10)?, number(6, 11)?);
    let date = jiff::civil::Date::new(year, number(2, 2)?, number(3, 3)?).ok()?;
    jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let fraction = found.get(7).or(found.get(12)).map_or("", |part| part.as_str()).trim_end_matches(['0', '.']);
    let offset = match found.get(8).map_or("Z", |part| part.as_str()) {
        "+00:00" | "-00:00" => "Z",
        other => other,
    };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}"))
}

/// A value as YAML that reads back as the same value. `indent`: where the lines of a block stand; none where a block cannot.
pub(super) fn write(plain: &Plain, indent: Option<usize>) -> Result<Zeroizing<String>, &'static str> {
    let text = std::str::from_utf8(&plain.text).map_err(|_| "is not text, and can only be shown with --raw")?;
    let text = match plain.kind {
        Kind::Bool => text.to_ascii_lowercase(),
        Kind::Float => match text {
            "+Inf" => ".inf".into(),
            "-Inf" => "-.inf".into(),
            "NaN" => ".nan".into(),
            whole if !whole.contains('.') => format!("{whole}.0"),
            other => other.into(),
        },
        Kind::Int | Kind::Time => text.into(),
        Kind::Str | Kind::Bytes | Kind::Comment => match indent {
            Some(indent) if fits_a_block(text) => block(text, indent),
            _ if is_plain_word(text) => text.into(),
            _ => quoted(text),
        },
    };
    Ok(Zeroizing::new(text))
}

/// Cautious: what could be anything but text stands in quotes.
fn is_plain_word(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '=' | '@');
    let spaced = |c: char| word(c) || c == ' ';
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.ends_with(word)
        && text.chars().all(spaced)
        && matches!(resolve(text, true), Ok(Some(Plain { kind: Kind::Str, .. })))
        && !matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off")
}

fn fits_a_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn block(text: &str, indent: usize) -> String {
    let body = text.trim_end_matches('\n');
    let chomp = match text.len() - body.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let mut out = format!("|{chomp}");
    for line in body.split('\n').chain(std::iter::repeat_n("", (text.len() - body.len()).saturating_sub(1))) {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = write!(out, "\\U{:08X}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sops 3.13.3 took them.
    #[test]
    fn words_are_what_they_are_to_sops() {
        for (word, kind, text) in [
            ("plain value", Kind::Str, "plain value"),
            ("1", Kind::Int, "1"),
            ("0777", Kind::Int, "511"),
            ("1_000", Kind::Int, "1000"),
            ("+5", Kind::Int, "5"),
            ("-0x1F", Kind::Int, "-31"),
            ("9223372036854775807", Kind::Int, "9223372036854775807"),
            ("-9223372036854775808", Kind::Int, "-9223372036854775808"),
            ("99999999999999999999", Kind::Float, "100000000000000000000"),
            ("08", Kind::Float, "8"),
            ("0.10", Kind::Float, "0.1"),
            ("1e21", Kind::Float, "1000000000000000000000"),
            ("1e999", Kind::Str, "1e999"),
            (".inf", Kind::Float, "+Inf"),
            ("TRUE", Kind::Bool, "True"),
            ("yes", Kind::Str, "yes"),
            ("1.2.3", Kind::Str, "1.2.3"),
            ("-", Kind::Str, "-"),
            ("2020-01-01", Kind::Time, "2020-01-01T00:00:00Z"),
            ("2020-1-1 1:2:3", Kind::Time, "2020-01-01T01:02:03Z"),
            ("2020-01-01T10:00:00.500+02:00", Kind::Time, "2020-01-01T10:00:00.5+02:00"),
            ("2020-13-01", Kind::Str, "2020-13-01"),
        ] {
            let found = resolve(word, true).unwrap().unwrap();
            assert_eq!((found.kind, String::from_utf8_lossy(&found.text).as_ref()), (kind, text), "{word}");
            assert_eq!(resolve(word, false).unwrap().unwrap().kind, Kind::Str);
        }
        assert!(resolve("~", true).unwrap().is_none());
        assert!(resolve("9223372036854775808", true).is_err());
        assert!(resolve("<<", true).is_err());
    }
}
