//! Text from outside as it may stand on a page: terminal sequences are dropped, other control characters and signs that turn
//! the direction of writing become visible, and nothing is longer than a page can bear. maud escapes the rest.

use std::borrow::Cow;
use std::fmt::Write as _;

use maud::{Escaper, Render};

/// Longest title, reason or name that is shown whole.
const MOST: usize = 600;

/// Words that somebody else wrote.
pub(super) struct Outside<'a>(pub &'a str);

impl Render for Outside<'_> {
    fn render_to(&self, buffer: &mut String) {
        let text = clean(clip(self.0, MOST));
        let _ = Escaper::new(buffer).write_str(&text);
        if self.0.len() > MOST {
            buffer.push('…');
        }
    }
}

/// Words that somebody else wrote in which backticks mean code, as in a reason that goes to the pull request too.
pub(super) struct Said<'a>(pub &'a str);

impl Render for Said<'_> {
    fn render_to(&self, buffer: &mut String) {
        let text = clip(self.0, MOST);
        let mut parts = text.split('`').peekable();
        let mut code = false;
        while let Some(part) = parts.next() {
            // The last one of an odd number is a backtick and nothing else.
            let opens = code && parts.peek().is_some() && !part.is_empty();
            let (before, after) = match (code, opens) {
                (true, true) => ("<code>", "</code>"),
                (true, false) => ("`", ""),
                _ => ("", ""),
            };
            buffer.push_str(before);
            Outside(part).render_to(buffer);
            buffer.push_str(after);
            code = !code;
        }
        if self.0.len() > MOST {
            buffer.push('…');
        }
    }
}

/// The first `most` bytes, or a few less so as not to cut a character.
pub(super) fn clip(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Without terminal sequences; what is left of control characters can be seen.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_odd) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = text[first..].chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\t' => out.push('\t'),
            '\n' | '\u{2028}' | '\u{2029}' => out.push(' '),
            '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}')),
            '\u{7f}' => out.push('\u{2421}'),
            odd if is_odd(odd) => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    Cow::Owned(out)
}

fn is_odd(character: char) -> bool {
    matches!(character,
        '\0'..='\u{8}' | '\n'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// After ESC: `[…letter` (colours, cursor), `]…BEL` (titles, links) and its kin, or two or three characters.
fn skip_escape(rest: &mut std::str::Chars) {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('[') => {
            *rest = ahead;
            skip_control_sequence(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            // Only where it ends; an open one must not swallow the line.
            while let Some(character) = ahead.next() {
                if character == '\u{7}' || character == '\u{9c}' {
                    *rest = ahead;
                    return;
                }
                if character == '\u{1b}' && ahead.clone().next() == Some('\\') {
                    ahead.next();
                    *rest = ahead;
                    return;
                }
            }
            rest.next();
        }
        Some(' '..='/') => {
            while let Some(' '..='/') = ahead.clone().next() {
                ahead.next();
            }
            if let Some('0'..='~') = ahead.clone().next() {
                ahead.next();
            }
            *rest = ahead;
        }
        Some('0'..='~') => *rest = ahead,
        _ => {}
    }
}

fn skip_control_sequence(rest: &mut std::str::Chars) {
    let mut ahead = rest.clone();
    while let Some(character) = ahead.next() {
        match character {
            ' '..='?' => {}
            '@'..='~' => {
                *rest = ahead;
                return;
            }
            _ => return,
        }
    }
    *rest = ahead;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terminal_sequences_go_and_their_text_stays() {
        for (given, shown) in [
            ("\u{1b}[1;31merror\u{1b}[0m: no", "error: no"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bplain", "plain"),
            ("\u{1b}]never ends", "never ends"),
            ("tab\there", "tab\there"),
            ("10%\r20%", "10%␍20%"),
            ("a\u{0}b\u{7f}", "a␀b␡"),
            ("safe\u{202e}txt.exe", "safe\u{fffd}txt.exe"),
            ("nothing odd — ä 漢", "nothing odd — ä 漢"),
        ] {
            assert_eq!(clean(given), shown, "{given:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let long = "ä".repeat(5000);
        let shown = Outside(&long).render().into_string();
        assert!(shown.len() < 700 && shown.ends_with("ä…"), "{shown}");
    }

    #[test]
    fn backticks_are_code_where_they_come_in_pairs() {
        for (given, shown) in [
            ("`app` died <3", "<code>app</code> died &lt;3"),
            ("a `b` and `<c>`", "a <code>b</code> and <code>&lt;c&gt;</code>"),
            ("one ` alone", "one ` alone"),
            ("``", "`"),
        ] {
            assert_eq!(Said(given).render().into_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_odd_is_left(text in "[\\x00-\\x1f\\x7f-\\u{9f}\\[\\];mA-z\u{202e}\u{2069}\u{feff}]*") {
            let clean = clean(&text);
            prop_assert!(!clean.contains(is_odd), "{clean:?}");
        }

        #[test]
        fn plain_text_stays(text in "[ -~äöü]*") {
            prop_assert_eq!(clean(&text), text.clone());
        }
    }
}
