//! `.env` and `.env.sample`: read as abra reads them (the rules of godotenv: quotes, expansion of what stood in earlier lines),
//! written so that a value can neither begin a second line nor be expanded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An `.env` file that can be changed and written back with its comments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnvFile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq)]
enum Line {
    /// Comments and empty lines, as they were.
    Other(String),
    Set(Entry),
}

/// One `KEY=value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// What stood behind the value after `#`.
    pub comment: String,
    /// From 1; 0 for what was added.
    pub line: u32,
    written: String,
}

/// A line that is no `KEY=value`.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct EnvError {
    pub line: u32,
    pub what: String,
}

/// How a secret is made, said in the comment of its `SECRET_…_VERSION` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modifiers {
    pub length: Option<usize>,
    pub charset: Option<String>,
    pub generate: bool,
}

/// Bytes of all values together once variables are filled in: each line may double the one before it.
const MOST_BYTES: usize = 256 << 10;

pub fn parse(text: &str) -> Result<EnvFile, EnvError> {
    let mut bytes = 0;
    let mut file = EnvFile::default();
    let mut known = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().zip(1u32..) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            file.lines.push(Line::Other(line.to_owned()));
            continue;
        }
        let error = |what: String| EnvError { line: number, what };
        let setting = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
        // `KEY: value` is godotenv's other form.
        let Some(at) = setting.find(['=', ':']) else {
            let shown: String = trimmed.chars().take(60).flat_map(char::escape_debug).collect();
            return Err(error(format!("`{shown}` is neither `KEY=value` nor a comment")));
        };
        let key = setting[..at].trim();
        let is_name = !key.starts_with(|c: char| c.is_ascii_digit())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if key.is_empty() || !is_name {
            let shown: String = key.chars().take(60).flat_map(char::escape_debug).collect();
            return Err(error(format!("`{shown}` cannot be the name of a variable")));
        }
        let (value, comment) = value(setting[at + 1..].trim_start(), &known).map_err(error)?;
        bytes += value.len();
        if bytes > MOST_BYTES {
            return Err(error(format!("the values are more than {MOST_BYTES} bytes long in all")));
        }
        known.insert(key.to_owned(), value.clone());
        file.lines.push(Line::Set(Entry {
            key: key.to_owned(),
            value,
            comment,
            line: number,
            written: line.to_owned(),
        }));
    }
    Ok(file)
}

/// The value at the beginning of `text`, and the comment behind it.
fn value(text: &str, known: &BTreeMap<String, String>) -> Result<(String, String), String> {
    let comment_of = |rest: &str| rest.trim().strip_prefix('#').map_or(String::new(), |text| text.trim().to_owned());
    if let Some(rest) = text.strip_prefix('\'') {
        let end = rest.find('\'').ok_or("the quote `'` is not closed in this line")?;
        return Ok((rest[..end].to_owned(), comment_of(&rest[end + 1..])));
    }
    if let Some(rest) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = rest.find(|c| {
            let found = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            found
        });
        let end = end.ok_or("the quote `\"` is not closed in this line")?;
        return Ok((unescape(&rest[..end], known), comment_of(&rest[end + 1..])));
    }
    let end = text.find(" #").or_else(|| text.find("\t#")).unwrap_or(text.len());
    let end = if text.starts_with('#') { 0 } else { end };
    Ok((expand(text[..end].trim_end(), known), comment_of(&text[end..])))
}

fn unescape(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('\\') {
            let c = after.chars().next();
            match c {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(c) => out.push(c),
                None => out.push('\\'),
            }
            rest = &after[c.map_or(0, char::len_utf8)..];
        } else {
            rest = variable(rest, known, &mut out);
        }
    }
    out + rest
}

fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if out.ends_with('\\') {
            out.pop();
            out.push('$');
            rest = &rest[1..];
        } else {
            rest = variable(rest, known, &mut out);
        }
    }
    out + rest
}

/// `$NAME` or `${NAME}` at the beginning of `text`; anything else is a dollar. What follows is given back.
fn variable<'a>(text: &'a str, known: &BTreeMap<String, String>, out: &mut String) -> &'a str {
    // Refused by the caller, who sees that it is too long.
    if out.len() > MOST_BYTES {
        return "";
    }
    let rest = &text[1..];
    let (braced, inner) = rest.strip_prefix('{').map_or((false, rest), |inner| (true, inner));
    let length = inner.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let (name, after) = inner.split_at(length);
    let after = if braced { after.strip_prefix('}') } else { Some(after) };
    match after {
        Some(after) if length > 0 => {
            out.push_str(known.get(name).map_or("", String::as_str));
            after
        }
        _ => {
            out.push('$');
            rest
        }
    }
}

impl EnvFile {
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Set(entry) => Some(entry),
            Line::Other(_) => None,
        })
    }

    /// The last line of a key wins.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().filter(|entry| entry.key == key).last()
    }

    pub fn map(&self) -> BTreeMap<String, String> {
        self.entries().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }

    /// Sets a key: in its last line where it has one, else at the end. The comment behind it stays.
    pub fn set(&mut self, key: &str, value: &str) {
        let entry = self.lines.iter_mut().rev().find_map(|line| match line {
            Line::Set(entry) if entry.key == key => Some(entry),
            _ => None,
        });
        if let Some(entry) = entry {
            value.clone_into(&mut entry.value);
            entry.written = written(key, value, &entry.comment);
        } else {
            self.lines.push(Line::Set(Entry {
                key: key.to_owned(),
                value: value.to_owned(),
                comment: String::new(),
                line: 0,
                written: written(key, value, ""),
            }));
        }
    }

    /// Adds a line of another file, comment and all.
    pub fn adopt(&mut self, entry: &Entry) {
        self.lines.push(Line::Set(entry.clone()));
    }

    pub fn remove(&mut self, key: &str) {
        self.lines.retain(|line| !matches!(line, Line::Set(entry) if entry.key == key));
    }
}

/// The file as text.
pub fn write(file: &EnvFile) -> String {
    let mut out = String::new();
    for line in &file.lines {
        out.push_str(match line {
            Line::Other(text) => text,
            Line::Set(entry) => &entry.written,
        });
        out.push('\n');
    }
    out
}

fn written(key: &str, value: &str, comment: &str) -> String {
    let mut out = format!("{key}={}", quoted(value));
    if !comment.is_empty() {
        let _ = write!(out, " # {comment}");
    }
    out
}

fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte);
    if value.bytes().all(plain) {
        return value.to_owned();
    }
    if !value.contains(['\'', '\n', '\r']) {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '"' | '\\' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out + "\""
}

impl Entry {
    /// `length=64 charset=hex generate=false`, in any order.
    pub fn modifiers(&self) -> Modifiers {
        let mut found = Modifiers { length: None, charset: None, generate: true };
        for word in self.comment.split_whitespace() {
            match word.split_once('=') {
                Some(("length", number)) => found.length = number.parse().ok(),
                Some(("charset", name)) => found.charset = Some(name.to_owned()),
                Some(("generate", yes)) => found.generate = yes != "false",
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_reads_what_recipes_have() {
        let file = parse(
            "TYPE=custom-html\n\n# a comment\nDOMAIN=custom-html.example.com\n#EXTRA_DOMAINS=', `www`'\n\
             COMPOSE_FILE=\"compose.yml\"\nCOMPOSE_FILE=\"$COMPOSE_FILE:compose.wildcard.yml\"\n\
             LETS_ENCRYPT_ENV=\nEMPTY=   # nothing\nTITLE=\"a \\\"b\\\" \\$c # d\"\nSINGLE='$HOME # x' # note\n\
             export OLD=1\nHASH=a#b\nSECRET_KEY_VERSION=v1 # length=64 charset=hex\nSECRET_OTHER_VERSION=v1  # generate=false\n",
        )
        .unwrap();
        for (key, value) in [
            ("TYPE", "custom-html"),
            ("DOMAIN", "custom-html.example.com"),
            ("COMPOSE_FILE", "compose.yml:compose.wildcard.yml"),
            ("LETS_ENCRYPT_ENV", ""),
            ("EMPTY", ""),
            ("TITLE", "a \"b\" $c # d"),
            ("SINGLE", "$HOME # x"),
            ("OLD", "1"),
            ("HASH", "a#b"),
            ("SECRET_KEY_VERSION", "v1"),
        ] {
            assert_eq!(file.get(key), Some(value), "{key}");
        }
        assert_eq!(file.get("EXTRA_DOMAINS"), None);
        let key = file.entry("SECRET_KEY_VERSION").unwrap();
        assert_eq!(key.line, 14);
        assert_eq!(key.modifiers(), Modifiers { length: Some(64), charset: Some("hex".into()), generate: true });
        assert!(!file.entry("SECRET_OTHER_VERSION").unwrap().modifiers().generate);
    }

    #[test]
    fn what_cannot_be_read_says_the_line() {
        assert_eq!(
            parse("A=1\nnonsense\n").unwrap_err().to_string(),
            "line 2: `nonsense` is neither `KEY=value` nor a comment"
        );
        assert_eq!(parse("A=\"open\n").unwrap_err().line, 1);
        assert!(parse("a b=1").is_err());
        assert!(parse("=1").is_err());
    }

    #[test]
    fn values_that_double_come_to_an_end() {
        let lines: String = (1..60).map(|n| format!("V{n}=\"$V{0}$V{0}\"\n", n - 1)).collect();
        let error = parse(&format!("V0=xxxxxxxxxx\n{lines}")).unwrap_err().to_string();
        assert!(error.contains("bytes long in all"), "{error}");
        let wide = format!("A={}\nB={}\n", "x".repeat(100_000), "$A".repeat(100_000));
        assert!(parse(&wide).is_err());
    }

    #[test]
    fn a_change_keeps_everything_else() {
        let text = "# head\nTYPE=x # length=5\nA='one'\n\nB=two\n";
        let mut file = parse(text).unwrap();
        assert_eq!(write(&file), text);
        file.set("TYPE", "x:1.0.0+1");
        file.set("NEW", "two words");
        file.remove("B");
        assert_eq!(write(&file), "# head\nTYPE=x:1.0.0+1 # length=5\nA='one'\n\nNEW='two words'\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in "\\PC{0,20}|[ -~\\n\\r\\t]{0,20}", other in "[a-z$\"'#`\\\\ \\n]{0,12}") {
            let mut file = EnvFile::default();
            file.set("A", "known");
            file.set("KEY", &value);
            file.set("OTHER", &other);
            let text = write(&file);
            prop_assert_eq!(text.lines().count(), 3, "{}", text);
            let back = parse(&text).unwrap();
            prop_assert_eq!(back.get("KEY"), Some(value.as_str()));
            prop_assert_eq!(back.get("OTHER"), Some(other.as_str()));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-C='\"$\\\\{}# \\n]{0,40}|\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
