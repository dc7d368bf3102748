//! Reads JSON off the wire with every string cut to a length, so that one comment of ten megabytes costs its own end and not
//! the poll of its whole repository.

/// Bytes kept of a string, as it stands on the wire.
const LONGEST_STRING: usize = 64 << 10;

/// Lets JSON through and drops what goes beyond [`LONGEST_STRING`] of each string. What comes out is JSON where what went in
/// was: a cut is never made inside a character, an escape, or a pair of surrogates.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    kept: Vec<u8>,
    in_string: bool,
    cutting: bool,
    /// Bytes kept of the current string.
    length: usize,
    escape: Escape,
    /// The last character was the first half of a surrogate pair.
    half: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    /// After the backslash.
    Begun,
    /// Hexadecimal digits still to come of `\uXXXX`, and the first of them.
    Digits(u8, u8),
}

impl Cutter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.kept
    }

    fn byte(&mut self, byte: u8) {
        if !self.in_string {
            self.kept.push(byte);
            if byte == b'"' {
                *self = Cutter { kept: std::mem::take(&mut self.kept), in_string: true, ..Cutter::default() };
            }
            return;
        }
        match self.escape {
            Escape::None if byte == b'"' => {
                self.kept.push(byte);
                self.in_string = false;
                return;
            }
            Escape::None => {
                let begins = byte & 0xC0 != 0x80;
                self.cutting |= begins && !self.half && self.length >= LONGEST_STRING;
                if byte == b'\\' {
                    self.escape = Escape::Begun;
                } else if begins {
                    self.half = false;
                }
            }
            Escape::Begun if byte == b'u' => self.escape = Escape::Digits(4, 0),
            Escape::Begun => (self.escape, self.half) = (Escape::None, false),
            Escape::Digits(4, _) => self.escape = Escape::Digits(3, byte),
            Escape::Digits(3, first) => {
                self.half =
                    first.eq_ignore_ascii_case(&b'd') && matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B');
                self.escape = Escape::Digits(2, first);
            }
            Escape::Digits(left, first) => {
                self.escape = if left > 1 { Escape::Digits(left - 1, first) } else { Escape::None };
            }
        }
        if !self.cutting {
            self.kept.push(byte);
            self.length += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn cut(json: &[u8], chunk: usize) -> Vec<u8> {
        let mut cutter = Cutter::default();
        for part in json.chunks(chunk) {
            cutter.push(part);
        }
        cutter.finish()
    }

    #[test]
    fn what_is_short_comes_out_as_it_went_in() {
        let json = br#"[{"body":"a \"quoted\" \u00e9\ud83d\ude00 \\","n":[1,null]}]"#;
        assert_eq!(cut(json, 3), json);
    }

    #[test]
    fn ten_megabytes_in_a_comment_leave_the_rest_readable() {
        let json = serde_json::to_vec(&serde_json::json!([{"body": "x".repeat(10 << 20), "id": 7}])).unwrap();
        let kept = cut(&json, 8192);
        assert!(kept.len() < LONGEST_STRING + 100);
        let read: Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(read[0]["id"], 7);
        assert_eq!(read[0]["body"].as_str().unwrap().len(), LONGEST_STRING);
    }

    proptest! {
        #[test]
        fn what_is_cut_is_json_still_and_begins_like_the_whole(
            pad in LONGEST_STRING - 14..LONGEST_STRING + 2,
            tail in "[a\"\\\\\u{0}\n\u{e9}\u{20ac}\u{1f600}]{0,30}",
            escaped: bool,
            chunk in 1usize..50,
        ) {
            let text = format!("{}{tail}", "x".repeat(pad));
            let mut json = serde_json::to_string(&serde_json::json!({"body": text, "after": true})).unwrap();
            if escaped {
                let ascii = |c: char| if c.is_ascii() { c.to_string() } else {
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                };
                json = json.chars().map(ascii).collect();
            }
            let read: Value = serde_json::from_slice(&cut(json.as_bytes(), chunk)).unwrap();
            prop_assert!(text.starts_with(read["body"].as_str().unwrap()));
            prop_assert!(read["after"] == true);
        }
    }
}
