//! The forms in which a secret can come back: encoded, escaped, or as a part of something encoded.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A line of a secret that is worth masking alone.
const LINE: usize = 16;
/// Forms that take several bytes for each of the secret's are not made of longer ones.
const LONG: usize = 4096;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// All forms of a value, the value itself included.
pub(super) fn of(value: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    add_all(value, &mut forms);
    // A file with spaces or a line end around the value is the same secret.
    add_all(value.trim(), &mut forms);
    // Programs print keys line by line, indented or with other line ends. The framing lines are the same in every key.
    if value.contains('\n') {
        for line in value.lines().map(str::trim).filter(|line| line.len() >= LINE && !line.starts_with("-----")) {
            forms.insert(line.as_bytes().to_vec());
        }
        forms.insert(value.replace('\n', "\r\n").into_bytes());
    }
    // A log shows line ends in one way and other control characters not at all.
    let unix = value.replace("\r\n", "\n").replace('\r', "\n");
    forms.insert(unix.replace(|char: char| char.is_control() && !matches!(char, '\n' | '\t'), "\u{fffd}").into_bytes());
    forms.insert(unix.into_bytes());
    forms
}

fn add_all(value: &str, forms: &mut BTreeSet<Vec<u8>>) {
    let mut add = |form: String| {
        forms.insert(form.into_bytes());
    };
    add(value.to_owned());
    add(hex::encode(value));
    add(hex::encode_upper(value));
    for url_safe in [false, true] {
        for form in base64s(value.as_bytes(), url_safe) {
            add(form);
        }
    }
    for form in base32s(value.as_bytes()) {
        add(form.to_ascii_lowercase());
        add(form);
    }
    if value.len() <= LONG {
        for form in dumps(value.as_bytes()) {
            add(form.to_ascii_uppercase());
            add(form);
        }
    }
    for escapes in &JSONS {
        let once = json(value, escapes);
        add(json(&once, escapes));
        add(once);
    }
    for quote in ["&#34;", "&quot;"] {
        for apostrophe in ["&#39;", "&#x27;", "&apos;", "'"] {
            add(html(value, quote, apostrophe));
        }
    }
    // Within single quotes, a shell shows one like this.
    add(value.replace('\'', "'\\''"));
    for keep in ["-_.~", "-_.!~*'()", "-_.*", "-_.~$&+=:@", "-_.~!$&'()*+,;=:@/?"] {
        for upper in [true, false] {
            let percent = percent(value, Some(keep), upper);
            add(percent.replace("%20", "+"));
            add(percent);
        }
    }
    if value.len() <= LONG {
        add(percent(value, None, true));
        add(percent(value, None, false));
    }
}

/// The value in base64, alone and as a part of something longer: there it stands at one of three alignments, and the letters
/// at its ends depend on its neighbours too. What is left of it by then is the same everywhere.
fn base64s(value: &[u8], url_safe: bool) -> Vec<String> {
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    let alone = engine.encode(value);
    let mut forms = vec![alone.trim_end_matches('=').to_owned(), alone.clone()];
    // Tools break it into lines of one of these lengths.
    for width in [64, 76] {
        let lines = alone.as_bytes().chunks(width).filter(|line| alone.len() > width && line.len() >= LINE);
        forms.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
    }
    for (offset, own_from) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = vec![0; offset];
        shifted.extend_from_slice(value);
        let own_to = shifted.len() * 8 / 6;
        if let Some(own) = engine.encode(&shifted).get(own_from..own_to) {
            forms.push(own.to_owned());
        }
    }
    forms
}

/// The value in base32, alone and as a part of something longer, where it stands at one of five alignments.
fn base32s(value: &[u8]) -> Vec<String> {
    let alone = base32(value);
    let padded = format!("{alone}{}", "=".repeat((8 - alone.len() % 8) % 8));
    let mut forms = vec![alone, padded];
    for offset in 0..5 {
        let mut shifted = vec![0; offset];
        shifted.extend_from_slice(value);
        let (own_from, own_to) = ((offset * 8).div_ceil(5), shifted.len() * 8 / 5);
        forms.extend(base32(&shifted).get(own_from..own_to).map(str::to_owned));
    }
    forms
}

/// Without padding.
fn base32(value: &[u8]) -> String {
    let bits =
        |group: &[u8]| group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - group.len()));
    let letters = |group: &[u8]| {
        let (bits, count) = (bits(group), (group.len() * 8).div_ceil(5));
        (0..count).map(move |place| BASE32[(bits >> (35 - 5 * place) & 31) as usize]).map(char::from)
    };
    value.chunks(5).flat_map(letters).collect()
}

/// The value as dumps of bytes have it: two or four digits and a space, or a colon; and the same in lines of eight and of sixteen bytes.
fn dumps(value: &[u8]) -> Vec<String> {
    let dump = |bytes: &[u8], group: usize, between: &str| {
        bytes.chunks(group).map(hex::encode).collect::<Vec<_>>().join(between)
    };
    let mut forms = vec![dump(value, 1, ":")];
    for group in [1, 2] {
        forms.push(dump(value, group, " "));
        for width in [8, 16] {
            forms.extend(value.chunks(width).map(|line| dump(line, group, " ")));
        }
    }
    forms
}

/// What a writer of JSON escapes beyond what it has to.
struct Json {
    html: bool,
    slash: bool,
    ascii: bool,
    upper: bool,
}

const JSONS: [Json; 6] = [
    Json { html: false, slash: false, ascii: false, upper: false },
    Json { html: true, slash: false, ascii: false, upper: false },
    Json { html: false, slash: false, ascii: true, upper: false },
    Json { html: false, slash: false, ascii: true, upper: true },
    Json { html: false, slash: true, ascii: true, upper: false },
    Json { html: true, slash: false, ascii: false, upper: true },
];

fn json(value: &str, escapes: &Json) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for char in value.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if escapes.slash => out.push_str("\\/"),
            _ if char < ' '
                || (escapes.html && matches!(char, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))
                || (escapes.ascii && char >= '\u{7f}') =>
            {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = if escapes.upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") };
                }
            }
            _ => out.push(char),
        }
    }
    out
}

fn html(value: &str, quote: &str, apostrophe: &str) -> String {
    let text = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', quote).replace('\'', apostrophe)
}

/// Percent-encoding of all but letters, digits and `keep`; of everything without `keep`.
fn percent(value: &str, keep: Option<&str>, upper: bool) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        let kept = keep.is_some_and(|keep| byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte));
        let _ = match (kept, upper) {
            (true, _) => write!(out, "{}", char::from(byte)),
            (false, true) => write!(out, "%{byte:02X}"),
            (false, false) => write!(out, "%{byte:02x}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &str, form: &str) -> bool {
        of(value).contains(form.as_bytes())
    }

    #[test]
    fn a_value_is_known_in_the_forms_programs_show() {
        let value = "p/ss \"wörd\"<&>+'";
        for form in [
            "p%2Fss%20%22w%C3%B6rd%22%3C%26%3E%2B%27",
            "p%2fss%20%22w%c3%b6rd%22%3c%26%3e%2b%27",
            "p%2Fss+%22w%C3%B6rd%22%3C%26%3E%2B%27",
            "p%2Fss%20%22w%C3%B6rd%22%3C%26%3E%2B'",
            "p/ss \\\"wörd\\\"<&>+'",
            "p/ss \\\"wörd\\\"\\u003c\\u0026\\u003e+'",
            "p\\/ss \\\"w\\u00f6rd\\\"<&>+'",
            "p/ss &#34;wörd&#34;&lt;&amp;&gt;+&#39;",
            "p/ss \"wörd\"<&>+'\\''",
        ] {
            assert!(has(value, form), "{form}");
        }
        assert!(has("correct horse", "636f727265637420686f727365"));
        assert!(has("correct horse", "Y29ycmVjdCBob3JzZQ=="));
    }

    #[test]
    fn a_value_inside_of_something_encoded_is_known() {
        for before in ["", "u", "u:", "us:"] {
            for after in ["", "!", "!!"] {
                let whole = STANDARD.encode(format!("{before}correct horse{after}"));
                assert!(
                    of("correct horse").iter().any(|form| whole.contains(std::str::from_utf8(form).unwrap())),
                    "{whole}"
                );
            }
        }
    }

    #[test]
    fn a_value_is_known_in_base32_and_as_dumps_show_it() {
        for form in [
            // `base32`, and inside of something longer, as all the ways to begin it give.
            "MNXXE4TFMN2CA2DPOJZWK===",
            "MNXXE4TFMN2CA2DPOJZWK",
            "mnxxe4tfmn2ca2dpojzwk===",
            // `hexdump -e '/1 "%02x "'`, `od -An -tx1`, `xxd`, a fingerprint
            "63 6f 72 72 65 63 74 20 68 6f 72 73 65",
            "63 6F 72 72 65 63 74 20 68 6F 72 73 65",
            "636f 7272 6563 7420 686f 7273 65",
            "63:6f:72:72:65:63:74:20:68:6f:72:73:65",
            // `hexdump -C` has a wider gap after eight.
            "63 6f 72 72 65 63 74 20",
        ] {
            assert!(has("correct horse", form), "{form}");
        }
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
        for before in ["", "u", "u:", "us:", "use:"] {
            let whole = base32(format!("{before}correct horse!!").as_bytes());
            let known = of("correct horse");
            let inside = |form: &Vec<u8>| form.len() >= 19 && whole.contains(std::str::from_utf8(form).unwrap());
            assert!(known.iter().any(inside), "{whole}");
        }
        // Two lines of `od`, and of `xxd`.
        let long = "correct horse battery staple";
        assert!(
            has(long, "63 6f 72 72 65 63 74 20 68 6f 72 73 65 20 62 61")
                && has(long, "74 74 65 72 79 20 73 74 61 70 6c 65")
        );
        assert!(has(long, "636f 7272 6563 7420 686f 7273 6520 6261") && has(long, "7474 6572 7920 7374 6170 6c65"));
    }

    #[test]
    fn a_long_value_is_known_when_its_base64_is_broken_into_lines() {
        let value = "0123456789abcdefghij".repeat(5);
        let alone = STANDARD.encode(&value);
        for width in [64, 76] {
            assert!(
                has(&value, &alone[..width]) && has(&value, &alone[width..]) || has(&value, &alone[width..2 * width])
            );
        }
    }

    #[test]
    fn a_value_is_known_as_a_log_shows_it() {
        assert!(has("first\r\nsec\u{1}ond", "first\nsec\u{fffd}ond"));
    }

    #[test]
    fn a_key_is_known_line_by_line_but_its_frame_is_not() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nAAAA\n-----END KEY-----\n";
        assert!(has(key, "MIIEvQIBADANBgkqhkiG"));
        assert!(!has(key, "-----BEGIN KEY-----") && !has(key, "AAAA"));
    }
}
