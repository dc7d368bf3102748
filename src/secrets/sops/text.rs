//! A file as text: where each value and each comment stands, and what it is bound to.
//!
//! A tree of values would lose comments, order and whatever sops or a person wrote in a way of their own. So nothing is written
//! anew but the bytes that change: every operation is a list of places in the text and what stands there afterwards.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use zeroize::Zeroizing;

use super::cipher::Sealed;
use crate::yaml::{Span, Wrong, YamlError};

/// Large enough for a value of a mebibyte and many of them; small enough for memory.
const LONGEST: usize = 32 << 20;
const DEEPEST: usize = 100;

/// Keys from the root down. An element of a list has its list's.
pub(super) type Path = Rc<[String]>;

/// A scalar, or a comment.
pub(super) struct Piece {
    /// What an edit replaces.
    pub at: Range<usize>,
    pub path: Path,
    /// `a/b/0`: as the path, with places in lists.
    pub name: String,
    pub what: What,
    /// How far a block of it would be indented; nothing where it stands between braces.
    pub indent: Option<usize>,
}

pub(super) enum What {
    Value {
        text: Zeroizing<String>,
        plain: bool,
    },
    /// Without its `#`. In a list sops seals a comment as if it were an element.
    Comment {
        text: Zeroizing<String>,
        element: bool,
    },
}

/// A mapping in block style, as a place where keys can be added.
pub(super) struct Mapping {
    pub name: String,
    pub indent: usize,
    /// After its last value.
    pub end: usize,
}

pub(super) struct Text {
    pub file: String,
    pub whole: Zeroizing<String>,
    /// In the order of the text.
    pub pieces: Vec<Piece>,
    pub mappings: Vec<Mapping>,
    /// The lines of the top-level key `sops`.
    pub section: Option<Range<usize>>,
}

impl Text {
    pub(super) fn parse(file: &str, text: &str) -> Result<Text, YamlError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::new(file, text);
        if text.len() > LONGEST {
            return Err(reader.error(&Marker::new(0, 1, 0), format!("is longer than {LONGEST} bytes")));
        }
        for event in Parser::new_from_str(text) {
            let (event, at) =
                event.map_err(|error| reader.error(error.marker(), format!("is not YAML: {}", error.info())))?;
            reader.take(event, &at.start, &at.end)?;
        }
        reader.finish();
        let Reader { mut pieces, mappings, section, .. } = reader;
        pieces.sort_by_key(|piece| piece.at.start);
        Ok(Text { file: file.into(), whole: Zeroizing::new(text.into()), pieces, mappings, section })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&Piece, &str, bool)> {
        self.pieces.iter().filter_map(|piece| match &piece.what {
            What::Value { text, plain } => Some((piece, text.as_str(), *plain)),
            What::Comment { .. } => None,
        })
    }

    /// The text without its section, and with these places changed. They do not overlap.
    pub(super) fn with(&self, mut edits: Vec<(Range<usize>, Zeroizing<String>)>) -> Zeroizing<String> {
        edits.extend(self.section.clone().map(|section| (section, Zeroizing::default())));
        edits.sort_by_key(|(at, _)| at.start);
        let mut out = Zeroizing::new(String::with_capacity(self.whole.len()));
        let mut done = 0;
        for (at, text) in &edits {
            out.push_str(&self.whole[done..at.start]);
            out.push_str(text);
            done = at.end;
        }
        out.push_str(&self.whole[done..]);
        out
    }
}

/// A mapping or a list that is open.
#[derive(Clone)]
struct Open {
    number: usize,
    map: bool,
    flow: bool,
    indent: usize,
    path: Path,
    name: String,
}

struct Frame {
    open: Open,
    key: Option<String>,
    seen: HashSet<String>,
    elements: usize,
}

/// A comment whose place in the tree shows only when it is known what comes after it.
struct Pending {
    at: Range<usize>,
    /// Nothing for one that stands after something on its line.
    column: Option<usize>,
    before: Vec<Open>,
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// Bytes before each character, where the two differ.
    offsets: Option<Vec<usize>>,
    stack: Vec<Frame>,
    opened: usize,
    documents: usize,
    /// Up to where the text is understood.
    done: usize,
    /// What was open when the last scalar was read.
    before: Vec<Open>,
    pending: Vec<Pending>,
    pieces: Vec<Piece>,
    mappings: Vec<Mapping>,
    section: Option<Range<usize>>,
    in_section: bool,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, text: &'a str) -> Reader<'a> {
        let offsets = (!text.is_ascii())
            .then(|| text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len())).collect());
        Reader {
            file,
            text,
            offsets,
            stack: Vec::new(),
            opened: 0,
            documents: 0,
            done: 0,
            before: Vec::new(),
            pending: Vec::new(),
            pieces: Vec::new(),
            mappings: Vec::new(),
            section: None,
            in_section: false,
        }
    }

    fn error(&self, at: &Marker, message: impl Into<String>) -> YamlError {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let span = Span { line: number(at.line().max(1)), column: number(at.col() + 1), source: 0 };
        YamlError { file: self.file.into(), span, message: message.into(), wrong: Wrong::Content }
    }

    fn byte(&self, at: &Marker) -> usize {
        let index = at.index();
        self.offsets.as_ref().map_or(index, |offsets| offsets.get(index).copied().unwrap_or(self.text.len()))
    }

    fn take(&mut self, event: Event, start: &Marker, end: &Marker) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.error(start, "a second document begins here; one file holds one"));
                }
            }
            Event::Alias(_) => return Err(self.error(start, "is an alias, which sops writes out; write it out here")),
            Event::MappingStart(anchor, tag) | Event::SequenceStart(anchor, tag) if anchor > 0 || tag.is_some() => {
                return Err(self.error(start, "has an anchor or a tag, which sops does not keep; take it off"));
            }
            Event::MappingStart(..) => self.open(true, start, end)?,
            Event::SequenceStart(..) => self.open(false, start, end)?,
            Event::MappingEnd | Event::SequenceEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                if anchor > 0 || tag.is_some() {
                    return Err(self.error(start, "has an anchor or a tag, which sops does not keep; take it off"));
                }
                if self.stack.is_empty() && !text.is_empty() {
                    return Err(self.error(start, "is no mapping; the file holds names and their values"));
                }
                self.scalar(&text, style, start, end)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, map: bool, start: &Marker, end: &Marker) -> Result<(), YamlError> {
        if self.stack.len() >= DEEPEST {
            return Err(self.error(start, format!("is nested more than {DEEPEST} deep")));
        }
        if self.stack.is_empty() && !map {
            return Err(self.error(start, "is a list; the file holds names and their values"));
        }
        if self.stack.last().is_some_and(|frame| frame.open.map && frame.key.is_none()) {
            return Err(self.error(start, "a list or mapping stands where a key should"));
        }
        let (path, name) = self.place();
        let flow = end.index() > start.index() || self.stack.last().is_some_and(|frame| frame.open.flow);
        self.opened += 1;
        let open = Open { number: self.opened, map, flow, indent: start.col(), path, name };
        self.stack.push(Frame { open, key: None, seen: HashSet::new(), elements: 0 });
        Ok(())
    }

    fn close(&mut self) {
        let Some(Frame { open, .. }) = self.stack.pop() else { return };
        if open.map && !open.flow && (!self.in_section || self.stack.is_empty()) {
            self.mappings.push(Mapping { name: open.name, indent: open.indent, end: self.done });
        }
        self.after_value();
    }

    /// Path and name of the value that begins here; an element of a list is counted by it.
    fn place(&mut self) -> (Path, String) {
        let Some(frame) = self.stack.last_mut() else { return (Rc::from([]), String::new()) };
        let slash = if frame.open.name.is_empty() { "" } else { "/" };
        if frame.open.map {
            let key = frame.key.clone().unwrap_or_default();
            let path = frame.open.path.iter().cloned().chain(std::iter::once(key.clone())).collect();
            return (path, format!("{}{slash}{key}", frame.open.name));
        }
        frame.elements += 1;
        (frame.open.path.clone(), format!("{}{slash}{}", frame.open.name, frame.elements - 1))
    }

    fn after_value(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.key = None;
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, start: &Marker, end: &Marker) -> Result<(), YamlError> {
        let at = self.extent(style, self.byte(start), self.byte(end));
        self.comments(at.start);
        let chain: Vec<Open> = self.stack.iter().map(|frame| frame.open.clone()).collect();
        self.resolve(&chain);
        self.done = self.done.max(at.end);
        self.before = chain;
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else { return Ok(()) };
        if frame.open.map && frame.key.is_none() {
            if !frame.seen.insert(text.to_owned()) {
                return Err(self.error(start, format!("the key `{}` stands here twice", text.escape_debug())));
            }
            frame.key = Some(text.to_owned());
            if depth == 1 {
                self.top_level_key(text, at.start);
            }
            return Ok(());
        }
        if !self.in_section {
            self.value(text, style == ScalarStyle::Plain, at);
        }
        self.after_value();
        Ok(())
    }

    fn value(&mut self, text: &str, plain: bool, at: Range<usize>) {
        let Some(Open { map, flow, indent, path, name, .. }) = self.stack.last().map(|frame| frame.open.clone()) else {
            return;
        };
        let block = (!flow).then_some(indent + 4);
        let element =
            !map && plain && Sealed::parse(text).is_ok_and(|sealed| sealed.kind == super::scalar::Kind::Comment);
        if element {
            let dash = self.text[..at.start].rfind('-').unwrap_or(at.start);
            let what = What::Comment { text: Zeroizing::new(text.into()), element };
            self.pieces.push(Piece { at: dash..at.end, path, name, what, indent: block });
            return;
        }
        let (path, name) = self.place();
        let what = What::Value { text: Zeroizing::new(text.into()), plain };
        self.pieces.push(Piece { at, path, name, what, indent: block });
    }

    /// `sops` and what follows it to the next key of the root are not values but about them.
    fn top_level_key(&mut self, key: &str, at: usize) {
        let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        if let (true, Some(section)) = (self.in_section, &mut self.section) {
            section.end = line;
        }
        self.in_section = key == "sops";
        if self.in_section {
            self.section = Some(line..self.text.len());
        }
    }

    /// The parser begins a block scalar at its first line and ends a quoted one after the blanks that follow it.
    fn extent(&self, style: ScalarStyle, start: usize, end: usize) -> Range<usize> {
        let bytes = self.text.as_bytes();
        match style {
            ScalarStyle::Plain => start..end,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let (quote, escape) = if style == ScalarStyle::SingleQuoted { (b'\'', b'\'') } else { (b'"', b'\\') };
                let mut at = start + 1;
                while at < end {
                    match bytes[at] {
                        byte if byte == escape && (escape == b'\\' || bytes.get(at + 1) == Some(&b'\'')) => at += 2,
                        byte if byte == quote => return start..at + 1,
                        _ => at += 1,
                    }
                }
                start..end
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let (mut header, mut in_comment) = (self.done, false);
                while header < start {
                    match bytes[header] {
                        b'\n' => in_comment = false,
                        b'#' if self.begins_comment(header) => in_comment = true,
                        b'|' | b'>' if !in_comment => break,
                        _ => {}
                    }
                    header += 1;
                }
                header..self.text[..end].trim_end().len().max(header + 1)
            }
        }
    }

    fn begins_comment(&self, at: usize) -> bool {
        at == 0 || matches!(self.text.as_bytes()[at - 1], b' ' | b'\t' | b'\n')
    }

    /// Comments between what is understood and the next scalar: there is only structure there, so each `#` after a blank is one.
    fn comments(&mut self, until: usize) {
        let bytes = self.text.as_bytes();
        let mut at = self.done;
        while at < until {
            if bytes[at] != b'#' || !self.begins_comment(at) {
                at += 1;
                continue;
            }
            let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
            let end = self.text[..end].trim_end_matches('\r').len();
            let column = self.text[line..at].trim().is_empty().then(|| at - line);
            if !self.in_section {
                self.pending.push(Pending { at: at..end, column, before: self.before.clone() });
            }
            at = end;
        }
        self.done = self.done.max(until);
    }

    /// A comment belongs into the deepest of what was open before it and what is open after it that is not indented deeper.
    fn resolve(&mut self, after: &[Open]) {
        for Pending { at, column, before } in std::mem::take(&mut self.pending) {
            let shared = before.iter().zip(after).take_while(|(one, other)| one.number == other.number).count();
            let deeper =
                |chain: &[Open], column| chain.iter().skip(shared).rev().find(|open| open.indent <= column).cloned();
            let owner = match column {
                None => before.last().cloned(),
                Some(column) => deeper(&before, column)
                    .or_else(|| deeper(after, column))
                    .or_else(|| before.get(shared.wrapping_sub(1)).cloned()),
            };
            let path = owner.as_ref().map_or_else(|| Rc::from([]), |open| open.path.clone());
            let name = owner.map_or_else(String::new, |open| open.name);
            let text = Zeroizing::new(self.text[at.start + 1..at.end].to_owned());
            self.pieces.push(Piece { at, path, name, what: What::Comment { text, element: false }, indent: None });
        }
    }

    fn finish(&mut self) {
        self.comments(self.text.len());
        let root: Vec<Open> = self.before.first().cloned().into_iter().collect();
        self.resolve(&root);
    }
}
