//! `$VARIABLES` in compose files, as Docker's reader fills them in: values only, never keys. Beyond Docker's, `${X:+a}` and
//! variables inside of a default are understood.

use std::collections::BTreeMap;

/// What is wrong with a template.
#[derive(Debug, PartialEq)]
pub(super) enum Bad {
    Template,
    /// It would not end.
    TooLong,
    /// `${X:?why}` and X is not there.
    Missing {
        name: String,
        why: String,
    },
}

/// Longer than any value that Swarm takes.
const MOST_BYTES: usize = 512 << 10;
/// How deep defaults may stand inside of defaults.
const DEEPEST: usize = 16;

/// Fills in `text`. Names that had no value are told to `unset`.
pub(super) fn fill(text: &str, env: &BTreeMap<String, String>, unset: &mut dyn FnMut(&str)) -> Result<String, Bad> {
    let mut out = String::with_capacity(text.len());
    expand(text, env, unset, 0, &mut out)?;
    Ok(out)
}

fn expand(
    text: &str,
    env: &BTreeMap<String, String>,
    unset: &mut dyn FnMut(&str),
    depth: usize,
    out: &mut String,
) -> Result<(), Bad> {
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = closing(inner).ok_or(Bad::Template)?;
            substitute(&inner[..end], env, unset, depth, out)?;
            rest = &inner[end + 1..];
        } else {
            let name = name_at(rest);
            // Docker's reader takes an operator after a bare name too, and everything behind it up to a brace.
            let tail = &rest[name..];
            let operator = tail.strip_prefix(':').unwrap_or(tail).starts_with(['-', '?']);
            let end = if operator { rest.find('}').unwrap_or(rest.len()) } else { name };
            substitute(&rest[..end], env, unset, depth, out)?;
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(())
}

/// Whether a variable stands in the default of another. Docker's reader ends such a default at the first brace.
pub(super) fn is_nested(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find(['}', '$']).unwrap_or(inner.len());
            if inner[end..].starts_with('$') {
                return true;
            }
            rest = &inner[end..];
        }
    }
    false
}

fn name_at(text: &str) -> usize {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { text.bytes().take_while(word).count() }
}

/// Where the brace that was opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'$' if bytes.peek().is_some_and(|(_, next)| *next == b'{') => {
                bytes.next();
                depth += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn substitute(
    inner: &str,
    env: &BTreeMap<String, String>,
    unset: &mut dyn FnMut(&str),
    depth: usize,
    out: &mut String,
) -> Result<(), Bad> {
    let (name, rest) = inner.split_at(name_at(inner));
    if name.is_empty() || depth > DEEPEST {
        return Err(Bad::Template);
    }
    let value = env.get(name).map(String::as_str);
    if out.len() + value.map_or(0, str::len) > MOST_BYTES {
        return Err(Bad::TooLong);
    }
    if rest.is_empty() {
        if value.is_none() {
            unset(name);
        }
        out.push_str(value.unwrap_or_default());
        return Ok(());
    }
    let (or_empty, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
    let there = value.filter(|value| !(or_empty && value.is_empty()));
    let operator = rest.chars().next().ok_or(Bad::Template)?;
    let word = &rest[operator.len_utf8()..];
    match (operator, there) {
        ('-' | '?', Some(value)) => {
            out.push_str(value);
            Ok(())
        }
        ('-', None) | ('+', Some(_)) => expand(word, env, unset, depth + 1, out),
        ('+', None) => Ok(()),
        ('?', None) => {
            let mut why = String::new();
            expand(word, env, unset, depth + 1, &mut why)?;
            Err(Bad::Missing { name: name.to_owned(), why })
        }
        _ => Err(Bad::Template),
    }
}

/// The names a text mentions, those in defaults included.
pub fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('{').unwrap_or(rest);
        let (name, after) = rest.split_at(name_at(rest));
        if !name.is_empty() {
            found.push(name);
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(text: &str) -> Result<String, Bad> {
        let env = [("A", "one"), ("EMPTY", ""), ("B_2", "two")].map(|(key, value)| (key.into(), value.into())).into();
        fill(text, &env, &mut |_| {})
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("$A", "one"),
            ("${A}", "one"),
            ("x${A}y$B_2.z", "xoneytwo.z"),
            ("$$A", "$A"),
            ("$${A}", "${A}"),
            ("${NO}", ""),
            ("${NO:-d}", "d"),
            ("${NO-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:-d}", "one"),
            ("${A:+d}", "d"),
            ("${EMPTY:+d}", ""),
            ("${EMPTY+d}", "d"),
            ("${NO+d}", ""),
            ("${A:?e}", "one"),
            ("${EMPTY?e}", ""),
            ("${NO:-${A}}", "one"),
            ("${NO:-x${NO:-y$B_2}z}!", "xytwoz!"),
            ("${NO:-a:b?c}", "a:b?c"),
            ("$NO-rest", "rest"),
            ("Host(`$A`)", "Host(`one`)"),
        ] {
            assert_eq!(filled(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["$", "${", "${}", "$1", "${A", "${1}", "${A:}", "${A!x}", "$ A", "${A:-${B}", "a$-"] {
            assert_eq!(filled(text), Err(Bad::Template), "{text}");
        }
        assert_eq!(
            filled("${EMPTY:?set it, $A}"),
            Err(Bad::Missing { name: "EMPTY".into(), why: "set it, one".into() })
        );
        let env = [("A".to_owned(), "x".repeat(100_000))].into();
        assert_eq!(fill(&"$A".repeat(100_000), &env, &mut |_| {}), Err(Bad::TooLong));
        let deep = format!("{}x{}", "${NO:-".repeat(40), "}".repeat(40));
        assert_eq!(filled(&deep), Err(Bad::Template));
    }

    #[test]
    fn names_are_found_in_defaults_too() {
        assert_eq!(names("$A-${B:-${C}} $$D ${E?no}"), ["A", "B", "C", "E"]);
    }

    #[test]
    fn a_variable_in_a_default_is_seen() {
        for text in ["${A:-${B}}", "a${A-$B}c", "$A${B:-$$}"] {
            assert!(is_nested(text), "{text}");
        }
        for text in ["${A}${B}", "$$ {$A}", "$${A:-$B}", "${A:-b}$C", "${A"] {
            assert!(!is_nested(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_comes_back(text in "\\PC{0,40}") {
            prop_assert_eq!(filled(&text.replace('$', "$$")), Ok(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[${}:?+A-C-]{0,40}|\\PC{0,20}") {
            let _ = filled(&text);
            let _ = names(&text);
        }
    }
}
