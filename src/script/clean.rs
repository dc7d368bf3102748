//! Texts of a stranger, made fit to be shown.

use serde_json::Value;

use crate::secrets::redact::Redactor;

/// Characters of a message or a reason.
const LONGEST_TEXT: usize = 4000;

/// Text of a stranger without secrets, and without what a terminal or a page would take for an order. Masked before, since a
/// secret may have line ends, and after, since what was taken out may have stood in the middle of one.
pub(super) fn clean_all(redactor: &Redactor, text: &str) -> String {
    let plain: String = redactor.mask(text).chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    redactor.mask(&plain)
}

/// The same, as long as somebody reads.
pub(super) fn clean(redactor: &Redactor, text: &str) -> String {
    let clean = clean_all(redactor, text);
    match clean.char_indices().nth(LONGEST_TEXT) {
        Some((cut, _)) => format!("{}…", &clean[..cut]),
        None => clean,
    }
}

pub(super) fn clean_json(redactor: &Redactor, value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean_all(redactor, &text)),
        Value::Array(items) => items.into_iter().map(|item| clean_json(redactor, item)).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(key, item)| (clean_all(redactor, &key), clean_json(redactor, item))).collect()
        }
        other => other,
    }
}

/// A few words of a stranger, for an error of ours.
pub(super) fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[test]
    fn a_strangers_text_gives_no_orders() {
        let redactor = Redactor::new();
        redactor.register("x", &Secret::new("hunter2-hunter2"));
        assert_eq!(clean(&redactor, "a\u{1b}[31mb\nc"), "a[31mb\nc");
        assert_eq!(clean(&redactor, "it is hunter2-\u{0}hunter2"), "it is [secret x]");
        assert_eq!(clean(&redactor, &"ü".repeat(9000)).chars().count(), 4001);
    }
}
