//! From the parser's events to a tree. The stack is ours, not the call stack's, so that nesting is a number to compare
//! and an alias bomb is counted before it is copied.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{Node, Span, Value, Wrong, YamlError};

/// What a text may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of text, and bytes of all scalars once aliases are written out.
    pub text: usize,
    /// Values in all, aliases written out.
    pub nodes: usize,
    /// Lists and mappings inside each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { text: 1 << 20, nodes: 200_000, depth: 128 }
    }
}

/// How much a tree holds.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

enum Open {
    Seq(Vec<Node>),
    Map { entries: Vec<(Node, Node)>, seen: HashSet<String>, key: Option<Node>, merges: Vec<(usize, Node)> },
}

struct Frame {
    open: Open,
    span: Span,
    anchor: usize,
    weight: Weight,
}

struct Builder<'a> {
    file: &'a str,
    text: &'a str,
    limits: Limits,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Weight)>,
    total: Weight,
    root: Option<Node>,
}

pub(super) fn read(file: &str, text: &str, limits: Limits) -> Result<Node, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file,
        text,
        limits,
        stack: Vec::new(),
        anchors: HashMap::new(),
        total: Weight::default(),
        root: None,
    };
    if text.len() > limits.text {
        let message = format!("is {} bytes long; at most {} are read", text.len(), limits.text);
        return Err(builder.error(Wrong::TooMuch, Span { line: 1, column: 1, source: 0 }, message));
    }
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, at) = event.map_err(|error| builder.syntax(span_of(error.marker()), error.info()))?;
        let span = span_of(&at.start);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(builder.error(
                        Wrong::Syntax,
                        span,
                        "a second document begins here; one is read, so remove this `---`",
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = builder.resolve(&text, plain, tag.as_deref(), span)?;
                let weight = Weight { nodes: 1, bytes: text.len(), depth: 0 };
                builder.charge(weight, span)?;
                builder.place(Node { value, span, plain }, anchor, weight)?;
            }
            Event::SequenceStart(anchor, tag) => {
                builder.container_tag(tag.as_deref(), "seq", span)?;
                builder.open(Open::Seq(Vec::new()), span, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                builder.container_tag(tag.as_deref(), "map", span)?;
                let seen = HashSet::new();
                builder.open(Open::Map { entries: Vec::new(), seen, key: None, merges: Vec::new() }, span, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
            Event::Alias(anchor) => builder.alias(anchor, span)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    Ok(builder.root.take().unwrap_or(Node::new(Value::Null, Span { line: 1, column: 1, source: 0 })))
}

#[expect(clippy::cast_possible_truncation, reason = "a text is at most a mebibyte long")]
fn span_of(marker: &saphyr_parser::Marker) -> Span {
    Span { line: marker.line().max(1) as u32, column: marker.col() as u32 + 1, source: 0 }
}

impl Builder<'_> {
    fn error(&self, wrong: Wrong, span: Span, message: impl Into<String>) -> YamlError {
        YamlError { file: self.file.to_owned(), span, message: message.into(), wrong }
    }

    /// The parser's own complaint, or the usual cause of it.
    fn syntax(&self, span: Span, info: &str) -> YamlError {
        let tab = |line: &str| line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t');
        // The parser often notices a tab only on the line after it.
        for number in [span.line, span.line.saturating_sub(1)] {
            let line = self.text.lines().nth((number as usize).saturating_sub(1)).unwrap_or_default();
            if let Some(column) = tab(line) {
                let at = Span { line: number, column: u32::try_from(column).unwrap_or(0) + 1, source: 0 };
                return self.error(Wrong::Syntax, at, "a tab indents this line; YAML wants spaces");
            }
        }
        let info: String = info.chars().take(200).flat_map(char::escape_debug).collect();
        self.error(Wrong::Syntax, span, format!("is not YAML: {info}"))
    }

    fn charge(&mut self, weight: Weight, span: Span) -> Result<(), YamlError> {
        self.total.nodes += weight.nodes;
        self.total.bytes += weight.bytes;
        if self.total.nodes > self.limits.nodes {
            return Err(self.error(
                Wrong::TooMuch,
                span,
                format!("holds more than {} values once aliases are written out", self.limits.nodes),
            ));
        }
        if self.total.bytes > self.limits.text {
            return Err(self.error(
                Wrong::TooMuch,
                span,
                format!("is more than {} bytes once aliases are written out", self.limits.text),
            ));
        }
        Ok(())
    }

    fn too_deep(&self, span: Span) -> YamlError {
        self.error(Wrong::TooMuch, span, format!("is nested more than {} deep", self.limits.depth))
    }

    fn open(&mut self, open: Open, span: Span, anchor: usize) -> Result<(), YamlError> {
        if self.stack.len() >= self.limits.depth {
            return Err(self.too_deep(span));
        }
        if let Some(Frame { open: Open::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err(self.error(
                Wrong::Syntax,
                span,
                "a list or mapping stands where a key should; a key is one word",
            ));
        }
        let weight = Weight { nodes: 1, bytes: 0, depth: 1 };
        self.charge(weight, span)?;
        self.stack.push(Frame { open, span, anchor, weight });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.open {
            Open::Seq(items) => Value::Seq(items),
            Open::Map { mut entries, mut seen, merges, .. } => {
                for (before, merge) in merges {
                    self.merge(&merge, before, &mut entries, &mut seen)?;
                }
                Value::Map(entries)
            }
        };
        self.place(Node::new(value, frame.span), frame.anchor, frame.weight)
    }

    /// `<<: *base` and `<<: [*one, *two]`: what is there already wins, then the earlier of the list. A `<<` brings nothing that
    /// stands `before` it: some readers, Docker's among them, let the later win, whichever it is.
    fn merge(
        &self,
        from: &Node,
        before: usize,
        entries: &mut Vec<(Node, Node)>,
        seen: &mut HashSet<String>,
    ) -> Result<(), YamlError> {
        match &from.value {
            Value::Map(others) => {
                for (key, value) in others {
                    let name = key.scalar().unwrap_or_default();
                    if let Some((first, _)) = entries[..before].iter().find(|(other, _)| other.scalar() == key.scalar())
                    {
                        let message = format!(
                            "`<<` brings the key `{}`, which stands before it; readers do not agree which one counts, so put `<<` first",
                            name.escape_debug()
                        );
                        return Err(self.error(Wrong::Merge, first.span, message));
                    }
                    if seen.insert(name.to_owned()) {
                        entries.push((key.clone(), value.clone()));
                    }
                }
                Ok(())
            }
            Value::Seq(items) if items.iter().all(|item| item.as_map().is_some()) => {
                items.iter().try_for_each(|item| self.merge(item, before, entries, seen))
            }
            other => Err(self.error(
                Wrong::Merge,
                from.span,
                format!("`<<` merges a mapping or a list of them, not {}", other.in_words()),
            )),
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), YamlError> {
        let Some(&(_, weight)) = self.anchors.get(&anchor) else {
            return Err(self.error(Wrong::TooMuch, span, "this alias stands inside of what it names"));
        };
        if self.stack.len() + weight.depth > self.limits.depth {
            return Err(self.too_deep(span));
        }
        self.charge(weight, span)?;
        let node = self.anchors.get(&anchor).map(|(node, _)| node.clone());
        node.map_or(Ok(()), |node| self.place(node, 0, weight))
    }

    /// A finished value goes into what is open around it.
    fn place(&mut self, node: Node, anchor: usize, weight: Weight) -> Result<(), YamlError> {
        if anchor > 0 {
            // Kept twice, so it counts twice: anchors inside of anchors would multiply unseen.
            self.charge(weight, node.span)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let error = |wrong, span, message: String| YamlError { file: self.file.to_owned(), span, message, wrong };
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight.nodes += weight.nodes;
        frame.weight.bytes += weight.bytes;
        frame.weight.depth = frame.weight.depth.max(weight.depth + 1);
        match &mut frame.open {
            Open::Seq(items) => items.push(node),
            Open::Map { entries, seen, key: key @ None, .. } => {
                if matches!(node.value, Value::Seq(_) | Value::Map(_)) {
                    return Err(error(
                        Wrong::Syntax,
                        node.span,
                        "a list or mapping stands where a key should; a key is one word".into(),
                    ));
                }
                // An empty key is what `: value` has; docker's reader has no name for it either.
                let name = node.scalar().unwrap_or_default();
                if !seen.insert(name.to_owned()) {
                    let first = entries.iter().find(|(other, _)| other.scalar().unwrap_or_default() == name);
                    let line = first
                        .map_or(String::new(), |(other, _)| format!("; it is in line {} already", other.span.line));
                    return Err(error(
                        Wrong::Twice,
                        node.span,
                        format!("the key `{}` stands here twice{line}", name.escape_debug()),
                    ));
                }
                *key = Some(node);
            }
            Open::Map { entries, key, merges, .. } => {
                if let Some(name) = key.take() {
                    if name.plain && name.as_str() == Some("<<") {
                        merges.push((entries.len(), node));
                    } else {
                        entries.push((name, node));
                    }
                }
            }
        }
        Ok(())
    }

    fn container_tag(&self, tag: Option<&Tag>, expected: &str, span: Span) -> Result<(), YamlError> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
                Err(self.error(Wrong::Tag, span, format!("the tag `{tag}` means nothing here")))
            }
            _ => Ok(()),
        }
    }

    fn resolve(&self, text: &str, plain: bool, tag: Option<&Tag>, span: Span) -> Result<Value, YamlError> {
        let Some(tag) = tag else {
            return Ok(if plain { plain_value(text) } else { Value::String(text.to_owned()) });
        };
        let value = plain_value(text);
        let fits = match tag.suffix.as_str() {
            _ if !tag.is_yaml_core_schema() => false,
            "str" => return Ok(Value::String(text.to_owned())),
            "null" => value == Value::Null,
            "bool" => matches!(value, Value::Bool(_)),
            "int" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Int(_) | Value::Float(_)),
            _ => false,
        };
        if fits { Ok(value) } else { Err(self.error(Wrong::Tag, span, format!("the tag `{tag}` means nothing here"))) }
    }
}

/// Depth is bounded by the time this runs.
pub(super) fn stamp(node: &mut Node, source: u16) {
    node.span.source = source;
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(|item| stamp(item, source)),
        Value::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            stamp(key, source);
            stamp(value, source);
        }),
        _ => {}
    }
}

fn plain_value(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_int(text) => Value::Int(text.to_owned()),
        _ if is_float(text) => Value::Float(text.to_owned()),
        _ => Value::String(text.to_owned()),
    }
}

fn is_int(text: &str) -> bool {
    let all = |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, 8);
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), 10)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}
