//! YAML in which every value knows where it stands, so that whoever refuses something can say `file:line:column`.
//!
//! Read by [`parse`] as a tree of [`Node`]s (compose files, findings) or by [`from_str`] straight into a type
//! (configuration). Text from strangers comes through here: aliases, depth and size are bounded before anything is built.

mod de;
mod reader;
mod write;

use std::fmt;

pub use reader::Limits;
pub use write::render;

/// What is wrong with a YAML text, and where. Reads `config.yaml:7:3: unknown key …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{span}: {message}")]
pub struct YamlError {
    pub file: String,
    pub span: Span,
    pub message: String,
    pub wrong: Wrong,
}

/// What kind of thing is wrong: whoever reads strangers' files wants to tell a slip from a trick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not YAML, or not one document.
    Syntax,
    /// It reads, and is not what was wanted.
    Content,
    /// More text, values or depth than a file may cost, aliases written out.
    TooMuch,
    /// A key stands twice.
    Twice,
    /// A merge that not all readers understand alike.
    Merge,
    /// A tag that gives a value another type.
    Tag,
}

/// Where something begins. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    /// Which of several texts that are read together: see [`parse_as`].
    pub source: u16,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub span: Span,
    /// Written without quotes. Readers of YAML 1.1, such as Docker's, take some plain words (`yes`, `n`) for booleans.
    pub plain: bool,
}

/// The core schema of YAML 1.2. Numbers keep the text they were written with, since `0444` is octal to some readers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(String),
    Float(String),
    String(String),
    Seq(Vec<Node>),
    /// In the order of the file; keys are scalars and no two have the same text.
    Map(Vec<(Node, Node)>),
}

/// Positions do not make two trees different.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl Value {
    /// What this is, in words for a message: "text `x`", "a list".
    pub fn in_words(&self) -> String {
        let short = |text: &str| {
            let cut: String = text.chars().take(40).flat_map(char::escape_debug).collect();
            if text.chars().count() > 40 { format!("{cut}…") } else { cut }
        };
        match self {
            Value::Null => "nothing".into(),
            Value::Bool(yes) => format!("`{yes}`"),
            Value::Int(text) | Value::Float(text) => format!("`{}`", short(text)),
            Value::String(text) => format!("text `{}`", short(text)),
            Value::Seq(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }
}

impl Node {
    pub fn new(value: Value, span: Span) -> Node {
        Node { value, span, plain: false }
    }

    pub fn text(text: impl Into<String>, span: Span) -> Node {
        Node::new(Value::String(text.into()), span)
    }

    /// JSON as the same values; nothing of it has a place.
    pub fn from_json(json: &serde_json::Value) -> Node {
        use serde_json::Value as Json;
        let span = Span::default();
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(yes) => Value::Bool(*yes),
            Json::Number(number) if number.is_f64() => Value::Float(number.to_string()),
            Json::Number(number) => Value::Int(number.to_string()),
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => Value::Seq(items.iter().map(Node::from_json).collect()),
            Json::Object(entries) => Value::Map(
                entries.iter().map(|(key, value)| (Node::text(key.as_str(), span), Node::from_json(value))).collect(),
            ),
        };
        Node::new(value, span)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as it was written; nothing for null, lists and mappings.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Int(text) | Value::Float(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::Seq(_) | Value::Map(_) => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(yes) => Some(yes),
            _ => None,
        }
    }

    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// How many values there are in it, itself included.
    pub fn count(&self) -> usize {
        match &self.value {
            Value::Seq(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, value)| 1 + value.count()).sum::<usize>(),
            _ => 1,
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(name, _)| name.scalar() == Some(key)).map(|(_, value)| value)
    }

    /// The value at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }
}

/// A whole number as Docker's reader takes it: `0x10`, `0o17` and `017` too, and `1e3`.
pub fn whole_number(node: &Node) -> Option<i128> {
    match &node.value {
        Value::Int(text) => {
            let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |digits| (true, digits));
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            let octal =
                digits.strip_prefix('0').filter(|rest| !rest.is_empty() && rest.bytes().all(|digit| digit < b'8'));
            let number = match octal.filter(|rest| rest.bytes().all(|digit| digit.is_ascii_digit())) {
                Some(rest) => i128::from_str_radix(rest, 8).ok()?,
                None => de::int(digits)?,
            };
            Some(if negative { -number } else { number })
        }
        Value::Float(text) => {
            let number: f64 = text.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the bounds")]
            (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i128)
        }
        _ => None,
    }
}

/// Reads one document. `file` is how the text is called in messages.
pub fn parse(file: &str, text: &str) -> Result<Node, YamlError> {
    reader::read(file, text, Limits::default())
}

/// As [`parse`], for one of several texts that end up in one tree: `source` is in every span.
pub fn parse_as(file: &str, text: &str, source: u16, limits: Limits) -> Result<Node, YamlError> {
    reader::read(file, text, limits).map(|mut node| {
        reader::stamp(&mut node, source);
        node
    })
}

/// As [`parse`], with limits of one's own.
pub fn parse_within(file: &str, text: &str, limits: Limits) -> Result<Node, YamlError> {
    reader::read(file, text, limits)
}

/// Reads one document into a type.
pub fn from_str<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    from_node(file, &parse(file, text)?)
}

/// Reads a tree, or a part of one, into a type.
pub fn from_node<T: serde::de::DeserializeOwned>(file: &str, node: &Node) -> Result<T, YamlError> {
    T::deserialize(de::At(node)).map_err(|error| error.in_file(file, node.span))
}

#[cfg(test)]
mod tests;
