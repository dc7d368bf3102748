//! `abra.sh`: the exports that name config versions are read as text. It is a shell script that a stranger wrote, so nothing
//! here runs it, and whatever its top level does besides plain exports and functions is told to the caller.
//!
//! A shell finds the end of a function by reading all of it; whoever guesses it from braces and margins is led past a command
//! that runs whenever the file is read. So [`words`] reads as a shell does, and where two shells could read in two ways, or we
//! are not certain, reading ends and that is told too.

mod words;

use words::{Reader, Token, Unsure, Word};

/// What the top level of an `abra.sh` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AbraSh {
    pub exports: Vec<Export>,
    pub functions: Vec<String>,
    /// Lines that do something when the file is sourced, or that cannot be read for certain, with their numbers.
    pub others: Vec<(u32, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    pub name: String,
    pub value: String,
    pub line: u32,
}

/// A function of one of these names would run in the place of what the top level says.
const TAKEN: &[&str] = &[
    "export", "set", "source", "eval", "exec", "trap", "unset", "readonly", "return", "shift", "exit", "declare",
    "typeset", "local", "alias", "builtin", "command",
];

impl AbraSh {
    /// The last export of a name wins, as it does in a shell.
    pub fn get(&self, name: &str) -> Option<&Export> {
        self.exports.iter().rfind(|export| export.name == name)
    }
}

/// Reads a whole file.
pub fn exports(text: &str) -> AbraSh {
    let mut found = AbraSh::default();
    // Shells drop some of these and keep others, so that a line is not what it looks like.
    let odd = |c: char| c.is_control() && c != '\t';
    if let Some((line, number)) = text.split('\n').zip(1u32..).find(|(line, _)| line.contains(odd)) {
        found.others.push((number, line.chars().flat_map(char::escape_default).take(120).collect()));
        return found;
    }
    let mut reader = Reader::new(text);
    loop {
        match statement(&mut reader, &mut found) {
            Ok(true) => {}
            Ok(false) => return found,
            Err(Stop::Other(line)) => {
                found.others.push((line, line_of(text, line)));
                if let Err(Unsure(line)) = reader.skip_line() {
                    found.others.push((line, line_of(text, line)));
                    return found;
                }
            }
            Err(Stop::Unsure(Unsure(line))) => {
                found.others.push((line, line_of(text, line)));
                return found;
            }
        }
    }
}

fn line_of(text: &str, number: u32) -> String {
    text.lines().nth(number as usize - 1).unwrap_or_default().trim().chars().take(120).collect()
}

/// Why a statement is no plain one.
enum Stop {
    /// It does something, in this line.
    Other(u32),
    Unsure(Unsure),
}

impl From<Unsure> for Stop {
    fn from(unsure: Unsure) -> Stop {
        Stop::Unsure(unsure)
    }
}

/// One statement of the top level. False at the end of the file.
fn statement(reader: &mut Reader<'_>, found: &mut AbraSh) -> Result<bool, Stop> {
    let word = match reader.token()? {
        (_, Token::End) => return Ok(false),
        (_, Token::NewLine) => return Ok(true),
        (line, Token::Sign(_)) => return Err(Stop::Other(line)),
        (_, Token::Word(word)) => word,
    };
    match word.plain() {
        Some("export") => {
            // All of the line or none of it: what stands behind may undo what stands before.
            let exports = assignments(reader)?;
            found.exports.extend(exports);
        }
        // Options of the shell change nothing outside.
        Some("set") => options(reader)?,
        Some("function") => {
            let (line, token) = reader.token()?;
            let Token::Word(name) = token else { return Err(Stop::Other(line)) };
            let (line, token) = reader.token()?;
            if token == Token::Sign("(") {
                expect(reader, ")")?;
                body(reader, &name, None, found)?;
            } else {
                body(reader, &name, Some((line, token)), found)?;
            }
        }
        Some(_) if reader.stands_next('(') => {
            expect(reader, "(")?;
            expect(reader, ")")?;
            body(reader, &word, None, found)?;
        }
        _ => return Err(Stop::Other(word.line)),
    }
    Ok(true)
}

fn expect(reader: &mut Reader<'_>, sign: &str) -> Result<(), Stop> {
    match reader.token()? {
        (_, Token::Sign(found)) if found == sign => Ok(()),
        (line, _) => Err(Stop::Other(line)),
    }
}

/// From the `{` of a function to its `}`, and that nothing follows in the line but `;`.
fn body(reader: &mut Reader<'_>, name: &Word, first: Option<(u32, Token)>, found: &mut AbraSh) -> Result<(), Stop> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let Some(called) = name.plain().filter(|name| name.bytes().all(letter) && !TAKEN.contains(name)) else {
        return Err(Stop::Other(name.line));
    };
    let mut next = match first {
        Some(token) => token,
        None => reader.token()?,
    };
    while next.1 == Token::NewLine {
        next = reader.token()?;
    }
    match &next.1 {
        Token::Word(word) if word.plain() == Some("{") => {}
        _ => return Err(Stop::Other(name.line)),
    }
    reader.block(name.line)?;
    found.functions.push(called.to_owned());
    end_of_statement(reader)
}

fn end_of_statement(reader: &mut Reader<'_>) -> Result<(), Stop> {
    match reader.token()? {
        (_, Token::NewLine | Token::End | Token::Sign(";")) => Ok(()),
        (line, _) => Err(Stop::Other(line)),
    }
}

/// `A=v1 B="two"` up to the end of the statement, no expansion of any kind.
fn assignments(reader: &mut Reader<'_>) -> Result<Vec<Export>, Stop> {
    let mut found = Vec::new();
    loop {
        let (line, token) = reader.token()?;
        match token {
            Token::NewLine | Token::End | Token::Sign(";") if !found.is_empty() => return Ok(found),
            Token::Word(word) => found.push(assignment(&word).ok_or(Stop::Other(line))?),
            _ => return Err(Stop::Other(line)),
        }
    }
}

fn assignment(word: &Word) -> Option<Export> {
    let (name, value) = word.literal()?.split_once('=')?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = !name.is_empty() && name.bytes().all(letter) && !name.starts_with(|c: char| c.is_ascii_digit());
    // In quotes too: whoever reads the value again would run it.
    let runs = value.contains(['$', '`', ';', '\\', '\n']);
    (is_name && !runs).then(|| Export { name: name.to_owned(), value: value.to_owned(), line: word.line })
}

/// `set -eu -o pipefail`.
fn options(reader: &mut Reader<'_>) -> Result<(), Stop> {
    loop {
        let (line, token) = reader.token()?;
        match token {
            Token::NewLine | Token::End | Token::Sign(";") => return Ok(()),
            Token::Word(word) => {
                let harmless = |text: &str| {
                    let letters = text.strip_prefix(['-', '+']);
                    letters.is_some_and(|letters| {
                        !letters.is_empty() && letters.bytes().all(|letter| b"euxo".contains(&letter))
                    }) || text == "pipefail"
                };
                if !word.plain().is_some_and(harmless) {
                    return Err(Stop::Other(line));
                }
            }
            Token::Sign(_) => return Err(Stop::Other(line)),
        }
    }
}

#[cfg(test)]
mod tests;
