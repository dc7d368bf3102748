//! A file whose values are open, and what can be done with it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::cipher::{DataKey, Sealed, Shut};
use super::keys;
use super::rules::Creation;
use super::scalar::{self, Kind, Plain, resolve};
use super::section::{Section, Wrapped};
use super::text::{Mapping, Path, Piece, Text, What};
use super::{Locked, SopsError};
use crate::clock::Time;

/// SHA-256 of `sops`, before the values where only those that are sealed count.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

pub struct Open {
    locked: Locked,
    key: DataKey,
    /// For each piece: what it holds and what it is bound to; nothing for nulls, and for comments that were never sealed.
    plain: Vec<Option<(Plain, Path)>>,
}

/// A change of one place in the text.
type Edit = (Range<usize>, Zeroizing<String>);

impl Open {
    pub(super) fn new(locked: Locked, key: DataKey) -> Result<Open, SopsError> {
        let plain = open_all(&locked.text, &locked.section, &key)?;
        let file = || locked.text.file.clone();
        let sealed = Sealed::parse(&locked.section.mac)
            .and_then(|sealed| key.open(&sealed, &bound_to_time(&locked.section.last_modified)));
        let said = sealed.map_err(|shut| SopsError::MacShut { file: file(), shut })?;
        let found = mac(&locked.text, &locked.section, &plain);
        if !bool::from(said.as_slice().ct_eq(found.as_bytes())) {
            return Err(SopsError::Mac { file: file() });
        }
        Ok(Open { locked, key, plain })
    }

    /// A new file for these recipients that holds what `text` says in clear.
    pub fn create(file: &str, text: &str, creation: &Creation, now: Time) -> Result<String, SopsError> {
        let rule = creation.rule.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        let bad = |message| SopsError::Section { file: file.into(), message };
        let section = Section::new(rule, creation.mac_only_encrypted).map_err(bad)?;
        let key = DataKey::random()?;
        let empty = Open { locked: Locked { text: Text::parse(file, "{}\n")?, section }, key, plain: Vec::new() };
        let age = wrap_for(&empty.key, &creation.recipients)?;
        empty.finish(&empty.sealed(text)?, &empty.key, age, now)
    }

    pub fn locked(&self) -> &Locked {
        &self.locked
    }

    /// A value, as bytes.
    pub fn value(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, SopsError> {
        let found = self.pieces().find(|(piece, _)| piece.name == name && matches!(piece.what, What::Value { .. }));
        match found {
            Some((_, Some((plain, _)))) => Ok(plain.text.clone()),
            Some((_, None)) => Err(self.cannot(name, "holds nothing")),
            None => Err(self.absent(name)),
        }
    }

    /// Everything in clear, as YAML, for an editor.
    pub fn in_clear(&self) -> Result<Zeroizing<String>, SopsError> {
        let mut edits = Vec::new();
        for (piece, plain) in self.pieces() {
            let Some((plain, _)) = plain.as_ref().filter(|_| is_sealed(piece)) else { continue };
            let text = match &piece.what {
                What::Comment { .. } => Zeroizing::new(format!("#{}", String::from_utf8_lossy(&plain.text))),
                What::Value { .. } => {
                    scalar::write(plain, piece.indent).map_err(|why| self.cannot(&piece.name, why))?
                }
            };
            edits.push((piece.at.clone(), text));
        }
        Ok(self.locked.text.with(edits))
    }

    /// The file with `text`, which is in clear, in place of what it holds. What did not change stays sealed as it is, so that a
    /// diff shows what did.
    pub fn with_text(&self, text: &str, now: Time) -> Result<String, SopsError> {
        self.finish(&self.sealed(text)?, &self.key, self.locked.section.age.clone(), now)
    }

    /// The file with another value, or one more.
    pub fn with_value(&self, name: &str, value: &str, now: Time) -> Result<String, SopsError> {
        let edit = match self.pieces().find(|(piece, _)| piece.name == name && matches!(piece.what, What::Value { .. }))
        {
            Some((piece, _)) => {
                let text = self.seal(&piece.path, piece.indent, value)?;
                // A key without any value ends at its colon.
                let gap = if piece.at.is_empty() { " " } else { "" };
                (piece.at.clone(), Zeroizing::new(format!("{gap}{}", *text)))
            }
            None => self.added(name, value)?,
        };
        self.finish(&self.locked.text.with(vec![edit]), &self.key, self.locked.section.age.clone(), now)
    }

    /// The same values under a new data key, every one sealed anew, for the same recipients.
    pub fn rotated(&self, now: Time) -> Result<String, SopsError> {
        let section = &self.locked.section;
        if !section.foreign.is_empty() {
            return Err(SopsError::Foreign { file: self.locked.text.file.clone(), kinds: section.foreign.clone() });
        }
        let key = DataKey::random()?;
        let mut edits = Vec::new();
        for (piece, plain) in self.pieces() {
            let Some((plain, path)) = plain.as_ref().filter(|_| is_sealed(piece)) else { continue };
            let token = key.seal(&plain.text, plain.kind, &bound_to(path))?;
            edits.push((piece.at.clone(), as_comment_or_not(piece, token)));
        }
        let age = wrap_for(&key, &self.locked.recipients())?;
        self.finish(&self.locked.text.with(edits), &key, age, now)
    }

    /// The same data key for these recipients: who is there already keeps what was sealed for them.
    pub fn rewrapped(&self, recipients: &[String], now: Time) -> Result<String, SopsError> {
        let kept = |recipient: &String| {
            self.locked.section.age.iter().find(|wrapped| &wrapped.recipient == recipient).cloned()
        };
        let age = recipients.iter().map(|recipient| match kept(recipient) {
            Some(wrapped) => Ok(wrapped),
            None => Ok(Wrapped { recipient: recipient.clone(), armoured: keys::wrap(&self.key, recipient)? }),
        });
        let age = age.collect::<Result<_, SopsError>>()?;
        self.finish(&self.locked.text.with(Vec::new()), &self.key, age, now)
    }

    fn pieces(&self) -> impl Iterator<Item = (&Piece, &Option<(Plain, Path)>)> {
        self.locked.text.pieces.iter().zip(&self.plain)
    }

    fn cannot(&self, name: &str, why: impl Into<String>) -> SopsError {
        SopsError::Cannot { file: self.locked.text.file.clone(), name: name.into(), why: why.into() }
    }

    fn absent(&self, name: &str) -> SopsError {
        let below: Vec<&str> = self
            .locked
            .names()
            .filter(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
            .collect();
        if !below.is_empty() {
            return self.cannot(name, format!("is no value but holds some: {}", below.join(", ")));
        }
        let near =
            self.locked.names().max_by(|one, other| strsim::jaro(name, one).total_cmp(&strsim::jaro(name, other)));
        self.cannot(
            name,
            near.map_or("is not there".to_owned(), |near| format!("is not there; did you mean `{near}`?")),
        )
    }

    /// A text value as it stands in the file: sealed, or as it is where the rule leaves it so.
    fn seal(&self, path: &Path, indent: Option<usize>, value: &str) -> Result<Zeroizing<String>, SopsError> {
        let plain = Plain::new(Kind::Str, value);
        if value.is_empty() || !self.locked.section.rule.seals(path) {
            return scalar::write(&plain, indent).map_err(|why| self.cannot(&path.join("/"), why));
        }
        let token = self.key.seal(&plain.text, Kind::Str, &bound_to(path))?;
        Ok(Zeroizing::new(if indent.is_none() { format!("\"{token}\"") } else { token }))
    }

    /// Lines for a new key, after the last value of the deepest mapping that is there already.
    fn added(&self, name: &str, value: &str) -> Result<Edit, SopsError> {
        let keys: Vec<String> = name.split('/').map(str::to_owned).collect();
        let word = |key: &String| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        if !keys.iter().all(word) || keys[0] == "sops" {
            return Err(self.cannot(name, "is no name; one looks like forge/token"));
        }
        let text = &self.locked.text;
        let taken = |depth: &usize| text.values().any(|(piece, ..)| piece.name == keys[..*depth].join("/"));
        if let Some(depth) = (1..keys.len()).find(taken) {
            return Err(self.cannot(&keys[..depth].join("/"), "is a value already, and holds no others"));
        }
        if self.locked.names().any(|other| other.starts_with(&format!("{name}/"))) {
            return Err(self.absent(name));
        }
        let mapping = |depth: usize| text.mappings.iter().find(|mapping| mapping.name == keys[..depth].join("/"));
        let found = (0..keys.len()).rev().find_map(|depth| mapping(depth).map(|mapping| (depth, mapping)));
        let root = Mapping { name: String::new(), indent: 0, end: 0 };
        let (depth, Mapping { indent, end, .. }) = found.unwrap_or((0, &root));
        let section = text.section.as_ref().map_or(text.whole.len(), |section| section.start);
        let line_end = |end: usize| text.whole[end..].find('\n').map_or(text.whole.len(), |length| end + length + 1);
        let at = if *end == 0 || *end >= section { section } else { line_end(*end) };
        let mut lines = String::new();
        for (level, key) in keys[depth..].iter().enumerate() {
            let pad = " ".repeat(indent + 4 * level);
            let last = depth + level + 1 == keys.len();
            let _ = write!(lines, "{pad}{}:{}", key_text(key), if last { " " } else { "\n" });
        }
        let path: Path = keys.iter().cloned().collect();
        lines += &self.seal(&path, Some(indent + 4 * (keys.len() - depth)), value)?;
        Ok((at..at, Zeroizing::new(lines + "\n")))
    }

    /// What is in clear, sealed; a value that was there before keeps its seal.
    fn sealed(&self, clear: &str) -> Result<Zeroizing<String>, SopsError> {
        let text = Text::parse(&self.locked.text.file, clear)?;
        if text.section.is_some() {
            return Err(self.cannot("sops", "is the name of what sops itself writes; no value may have it"));
        }
        let plain = text.pieces.iter().map(|piece| match &piece.what {
            What::Value { text, plain } => resolve(text, *plain).map_err(|why| self.cannot(&piece.name, why)),
            What::Comment { text, .. } => Ok(Some(Plain::new(Kind::Comment, text.as_bytes()))),
        });
        let plain = plain.collect::<Result<Vec<_>, _>>()?;
        /// The same type and text at the same place keeps its seal.
        type Same<'a> = (Kind, &'a [u8], &'a [String]);
        let mut before: HashMap<Same, Vec<&str>> = HashMap::new();
        for (piece, plain) in self.pieces() {
            if let (Some(token), Some((plain, path))) = (token_of(piece), plain) {
                before.entry((plain.kind, &plain.text, path)).or_default().push(token);
            }
        }
        let mut edits = Vec::new();
        for (piece, plain) in text.pieces.iter().zip(&plain) {
            let seals = |plain: &&Plain| !plain.text.is_empty() && self.locked.section.rule.seals(&piece.path);
            let Some(plain) = plain.as_ref().filter(seals) else { continue };
            let token = match before.get_mut(&(plain.kind, &plain.text, &piece.path)).and_then(Vec::pop) {
                Some(token) => token.to_owned(),
                None => self.key.seal(&plain.text, plain.kind, &bound_to(&piece.path))?,
            };
            edits.push((piece.at.clone(), as_comment_or_not(piece, token)));
        }
        Ok(text.with(edits))
    }

    /// A whole file of a body whose values are sealed. The body is opened once more: what is written can be read.
    fn finish(&self, body: &str, key: &DataKey, age: Vec<Wrapped>, now: Time) -> Result<String, SopsError> {
        let mut section = self.locked.section.clone();
        section.age = age;
        let text = Text::parse(&self.locked.text.file, body)?;
        let plain = open_all(&text, &section, key)?;
        section.last_modified = now.rfc3339_seconds();
        let mac = mac(&text, &section, &plain);
        section.mac = key.seal(mac.as_bytes(), Kind::Str, &bound_to_time(&section.last_modified))?;
        let end = if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
        let body = if body.trim() == "{}" { "" } else { body };
        Ok(format!("{body}{end}{}", section.render()))
    }
}

/// What a value is bound to.
fn bound_to(path: &[String]) -> String {
    path.iter().fold(String::new(), |text, key| text + key + ":") + if path.is_empty() { ":" } else { "" }
}

/// What the MAC is bound to: the moment as sops prints it, which is with a `Z` where the offset is none.
fn bound_to_time(last_modified: &str) -> String {
    last_modified.strip_suffix("+00:00").map_or_else(|| last_modified.to_owned(), |bare| format!("{bare}Z"))
}

fn token_of(piece: &Piece) -> Option<&str> {
    let (What::Value { text, .. } | What::Comment { text, .. }) = &piece.what;
    Some(text.as_str()).filter(|text| Sealed::looks_like(text))
}

fn is_sealed(piece: &Piece) -> bool {
    token_of(piece).is_some()
}

/// A sealed text as it stands at its place.
fn as_comment_or_not(piece: &Piece, token: String) -> Zeroizing<String> {
    Zeroizing::new(match &piece.what {
        What::Comment { element: true, .. } => format!("- {token}"),
        What::Comment { element: false, .. } => format!("#{token}"),
        // Between braces its own brackets and commas would be read.
        What::Value { .. } if piece.indent.is_none() => format!("\"{token}\""),
        What::Value { .. } if piece.at.is_empty() => format!(" {token}"),
        What::Value { .. } => token,
    })
}

fn key_text(key: &str) -> String {
    let plain = Plain::new(Kind::Str, key);
    scalar::write(&plain, None).map_or_else(|_| key.to_owned(), |text| text.to_string())
}

fn wrap_for(key: &DataKey, recipients: &[String]) -> Result<Vec<Wrapped>, SopsError> {
    let wrap = |recipient: &String| Ok(Wrapped { recipient: recipient.clone(), armoured: keys::wrap(key, recipient)? });
    recipients.iter().map(wrap).collect()
}

/// Opens each piece, or says which one stays shut.
fn open_all(text: &Text, section: &Section, key: &DataKey) -> Result<Vec<Option<(Plain, Path)>>, SopsError> {
    let mut opened = Vec::with_capacity(text.pieces.len());
    for (at, piece) in text.pieces.iter().enumerate() {
        opened.push(match &piece.what {
            What::Value { text: value, plain } => open_value(text, section, key, piece, value, *plain)?,
            What::Comment { text: comment, .. } if Sealed::looks_like(comment) => {
                let shut = |shut| SopsError::Comment {
                    file: text.file.clone(),
                    line: text.whole[..piece.at.start].matches('\n').count() + 1,
                    shut,
                };
                Some(open_comment(text, at, comment, key).map_err(shut)?)
            }
            What::Comment { .. } => None,
        });
    }
    Ok(opened)
}

fn open_value(
    text: &Text,
    section: &Section,
    key: &DataKey,
    piece: &Piece,
    value: &str,
    plain: bool,
) -> Result<Option<(Plain, Path)>, SopsError> {
    let file = || text.file.clone();
    let shut = |shut| SopsError::Value { file: file(), name: piece.name.clone(), shut };
    let cannot = |why: &str| SopsError::Cannot { file: file(), name: piece.name.clone(), why: why.into() };
    let clear = resolve(value, plain).map_err(cannot)?;
    if !section.rule.seals(&piece.path) || value.is_empty() || clear.is_none() {
        return Ok(clear.map(|plain| (plain, piece.path.clone())));
    }
    if !Sealed::looks_like(value) {
        return Err(SopsError::Leaf { file: file(), name: piece.name.clone() });
    }
    let sealed = Sealed::parse(value).map_err(shut)?;
    let opened = key.open(&sealed, &bound_to(&piece.path)).map_err(shut)?;
    let plain = Plain { kind: sealed.kind, text: opened };
    if !plain.fits() {
        return Err(shut(Shut::Type));
    }
    Ok(Some((plain, piece.path.clone())))
}

/// sops binds a comment to what it is in. Where it stands between two things either may be meant, so the neighbours' places are
/// tried after its own.
fn open_comment(text: &Text, at: usize, comment: &str, key: &DataKey) -> Result<(Plain, Path), Shut> {
    let sealed = Sealed::parse(comment)?;
    let near = [Some(at), at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| text.pieces.get(at));
    for piece in near {
        for depth in (0..=piece.path.len()).rev() {
            let path: Path = piece.path[..depth].into();
            if let Ok(opened) = key.open(&sealed, &bound_to(&path)) {
                return Ok((Plain { kind: Kind::Comment, text: opened }, path));
            }
        }
    }
    Err(Shut::Seal)
}

/// Over all values in their order, comments apart.
pub(super) fn mac(text: &Text, section: &Section, plain: &[Option<(Plain, Path)>]) -> String {
    let mut hash = Sha512::new();
    if section.mac_only_encrypted {
        hash.update(ONLY_ENCRYPTED);
    }
    for (piece, plain) in text.pieces.iter().zip(plain) {
        let counts = matches!(piece.what, What::Value { .. })
            && (!section.mac_only_encrypted || section.rule.seals(&piece.path));
        if let (true, Some((plain, _))) = (counts, plain) {
            hash.update(&plain.text);
        }
    }
    hex::encode_upper(hash.finalize())
}
