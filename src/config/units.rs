//! How times, sizes and addresses are written.

/// Spans are written with their unit: `90s`, `15m`, `1h30m`, `500ms`.
pub mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(source)?;
        parse(&text).map_err(D::Error::custom)
    }

    /// Clocks that are asked for more come to their end.
    const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || match text.parse::<u64>() {
            Ok(number) => format!("needs a unit: `{number}s`, `{number}m` or `{number}h`, not `{number}`"),
            Err(_) => format!("`{}` is not a span of time such as `90s`, `15m` or `1h30m`", text.escape_default()),
        };
        let mut rest = text;
        let mut total = Duration::ZERO;
        if rest.is_empty() || rest.parse::<u64>().is_ok() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
            let unit = match &rest[..letters] {
                "ms" => Some(Duration::from_millis(number)),
                "s" => Some(Duration::from_secs(number)),
                "m" => number.checked_mul(60).map(Duration::from_secs),
                "h" => number.checked_mul(3600).map(Duration::from_secs),
                "d" => number.checked_mul(86_400).map(Duration::from_secs),
                _ => None,
            };
            total = unit.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
            rest = &rest[letters..];
        }
        if total > LONGEST {
            return Err(format!("`{}` is longer than a hundred years", text.escape_default()));
        }
        Ok(total)
    }
}

/// Sizes are written with their unit: `512M`, `20G`.
pub mod bytes {
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
        let text = String::deserialize(source)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!("`{}` is not a size such as `512M`, `20G` or `1T`", text.escape_default()))
        })
    }

    pub fn parse(text: &str) -> Option<u64> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().ok()?;
        let unit = match &text[digits..] {
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            _ => return None,
        };
        number.checked_mul(unit)
    }
}

/// An address with its port.
pub(super) mod socket {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(source)?;
        text.parse().map_err(|_| {
            let text = text.escape_default();
            D::Error::custom(format!("`{text}` is not an IP address with a port, such as `127.0.0.1:8080`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::span::parse;

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("15").unwrap_err(), "needs a unit: `15s`, `15m` or `15h`, not `15`");
        for bad in ["", "m", "15x", "-3s", "1h 30m", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
