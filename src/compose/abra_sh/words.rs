//! A shell script as words and signs, read as bash reads it. Quotes, expansions, comments and here-documents are followed to
//! their exact end; where that end depends on the shell, or on what we do not follow, reading stops ([`Unsure`]).

/// It cannot be told for certain what this line is.
#[derive(Debug)]
pub(super) struct Unsure(pub(super) u32);

#[derive(Debug, PartialEq)]
pub(super) enum Token {
    Word(Word),
    /// `;`, `&&`, `(`, `<`, …; what a here-document's sign names is read with it.
    Sign(&'static str),
    NewLine,
    End,
}

/// A word, its quotes taken off.
#[derive(Debug, PartialEq)]
pub(super) struct Word {
    pub(super) line: u32,
    text: String,
    /// Some of it stands in quotes or behind a backslash.
    quoted: bool,
    /// Something is put in its place: a variable, a command's output.
    expands: bool,
    /// It may stand for several: `*`, `{a,b}`, `~`.
    pattern: bool,
    /// `NAME=` with a `(` right behind it.
    array: bool,
}

impl Word {
    /// As a shell looks for its own words: no quotes, nothing to expand.
    pub(super) fn plain(&self) -> Option<&str> {
        (!self.quoted && !self.expands).then_some(&self.text)
    }

    /// What it says, if that is what it is written as.
    pub(super) fn literal(&self) -> Option<&str> {
        (!self.expands && !self.pattern && !self.array).then_some(&self.text)
    }

    fn is_brace(&self) -> bool {
        matches!(self.plain(), Some("{" | "}"))
    }
}

/// A text that begins on a later line.
struct Here {
    end: String,
    tabs: bool,
    quoted: bool,
}

pub(super) struct Reader<'a> {
    rest: &'a str,
    line: u32,
    heres: Vec<Here>,
    /// Inside of `$(…)` and the like, where a comment or a here-document is read in different ways.
    within: usize,
}

/// The longest first.
const SIGNS: &[&str] = &[
    "&>>", "<<<", "<<-", ";;&", "&&", "||", ";;", ";&", "|&", "<<", ">>", "<&", ">&", "<>", ">|", "&>", ";", "&", "|",
    "<", ">", "(", ")",
];
/// Substitutions inside of each other.
const DEEPEST: usize = 20;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Reader<'a> {
        Reader { rest: text, line: 1, heres: Vec::new(), within: 0 }
    }

    fn unsure<T>(&self) -> Result<T, Unsure> {
        Err(Unsure(self.line))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    /// A line end inside of something: where a here-document waits for it, shells differ.
    fn line_end_inside(&self) -> Result<(), Unsure> {
        if self.heres.is_empty() { Ok(()) } else { self.unsure() }
    }

    /// Blanks, and lines that go on.
    fn skip_blanks(&mut self) {
        loop {
            if self.rest.starts_with("\\\n") {
                self.next();
                self.next();
            } else if self.rest.starts_with([' ', '\t']) {
                self.next();
            } else {
                return;
            }
        }
    }

    pub(super) fn stands_next(&mut self, c: char) -> bool {
        self.skip_blanks();
        self.rest.starts_with(c)
    }

    /// The next token, and the line it begins in.
    pub(super) fn token(&mut self) -> Result<(u32, Token), Unsure> {
        self.skip_blanks();
        if self.rest.starts_with('#') {
            if self.within > 0 {
                return self.unsure();
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
        let line = self.line;
        let Some(first) = self.peek() else {
            return if self.heres.is_empty() { Ok((line, Token::End)) } else { self.unsure() };
        };
        if first == '\n' {
            self.next();
            self.here_documents()?;
            return Ok((line, Token::NewLine));
        }
        if let Some(sign) = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) {
            self.eat(sign);
            if matches!(*sign, "<<" | "<<-") {
                self.here(*sign == "<<-")?;
            }
            return Ok((line, Token::Sign(sign)));
        }
        Ok((line, Token::Word(self.word()?)))
    }

    fn here(&mut self, tabs: bool) -> Result<(), Unsure> {
        self.skip_blanks();
        let word = self.word()?;
        if self.within > 0 || word.expands || word.text.is_empty() || word.text.contains('\n') {
            return self.unsure();
        }
        self.heres.push(Here { end: word.text, tabs, quoted: word.quoted });
        Ok(())
    }

    fn here_documents(&mut self) -> Result<(), Unsure> {
        for here in std::mem::take(&mut self.heres) {
            loop {
                if self.rest.is_empty() {
                    return self.unsure();
                }
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                let text = &self.rest[..end];
                let text = if here.tabs { text.trim_start_matches('\t') } else { text };
                // The next line would be a part of this one.
                if !here.quoted && text.ends_with('\\') {
                    return self.unsure();
                }
                self.rest = self.rest.get(end + 1..).unwrap_or_default();
                self.line += 1;
                if text == here.end {
                    break;
                }
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Result<Word, Unsure> {
        let mut word =
            Word { line: self.line, text: String::new(), quoted: false, expands: false, pattern: false, array: false };
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | ')' => break,
                '(' => {
                    word.array = word.text.ends_with('=');
                    break;
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(c) => {
                            word.quoted = true;
                            word.text.push(c);
                        }
                        None => return self.unsure(),
                    }
                }
                '\'' => {
                    self.next();
                    word.quoted = true;
                    word.text.push_str(self.single()?);
                }
                '"' => {
                    self.next();
                    word.quoted = true;
                    let (text, expands) = self.double()?;
                    word.text.push_str(text);
                    word.expands |= expands;
                }
                '$' => {
                    word.expands = true;
                    self.dollar(false)?;
                }
                '`' => {
                    word.expands = true;
                    self.backticks()?;
                }
                c => {
                    word.pattern |= matches!(c, '*' | '?' | '[' | '~' | '{' | '}');
                    word.text.push(c);
                    self.next();
                }
            }
        }
        Ok(word)
    }

    /// To the quote that closes.
    fn single(&mut self) -> Result<&'a str, Unsure> {
        let Some(end) = self.rest.find('\'') else { return self.unsure() };
        let text = &self.rest[..end];
        for _ in text.matches('\n') {
            self.line_end_inside()?;
            self.line += 1;
        }
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// The text between double quotes, and whether anything in it means more than itself.
    fn double(&mut self) -> Result<(&'a str, bool), Unsure> {
        let whole = self.rest;
        let mut expands = false;
        loop {
            let at = whole.len() - self.rest.len();
            match self.peek() {
                None => return self.unsure(),
                Some('"') => {
                    self.next();
                    return Ok((&whole[..at], expands));
                }
                Some('\\') => {
                    expands = true;
                    self.next();
                    self.next();
                }
                Some('$') => {
                    expands = true;
                    self.dollar(true)?;
                }
                Some('`') => {
                    expands = true;
                    self.backticks()?;
                }
                Some(c) => {
                    if c == '\n' {
                        self.line_end_inside()?;
                    }
                    self.next();
                }
            }
        }
    }

    /// From a `$` to the end of what it stands for.
    fn dollar(&mut self, in_quotes: bool) -> Result<(), Unsure> {
        self.next();
        if self.within > DEEPEST {
            return self.unsure();
        }
        if self.eat("((") {
            self.arithmetic(false)
        } else if self.eat("(") {
            self.within += 1;
            let result = self.substitution();
            self.within -= 1;
            result
        } else if self.eat("{") {
            self.within += 1;
            let result = self.parameter(in_quotes);
            self.within -= 1;
            result
        } else if !in_quotes && self.eat("'") {
            // Old shells know no such quotes, and end at another one.
            if self.single()?.ends_with('\\') { self.unsure() } else { Ok(()) }
        } else {
            Ok(())
        }
    }

    /// To the `))` that closes.
    fn arithmetic(&mut self, with_semicolons: bool) -> Result<(), Unsure> {
        let mut open = 0usize;
        loop {
            match self.next() {
                Some('(') => open += 1,
                Some(')') if open > 0 => open -= 1,
                Some(')') if self.eat(")") => return Ok(()),
                Some(';') if with_semicolons => {}
                None | Some(')' | ';' | '\'' | '"' | '`' | '\n' | '\\') => return self.unsure(),
                Some(_) => {}
            }
        }
    }

    /// To the `)` that closes a `$(`.
    fn substitution(&mut self) -> Result<(), Unsure> {
        let mut open = 0usize;
        loop {
            match self.token()?.1 {
                Token::Sign("(") => open += 1,
                Token::Sign(")") if open == 0 => return Ok(()),
                Token::Sign(")") => open -= 1,
                // The patterns of a `case` close what was not opened.
                Token::Word(word) if word.plain() == Some("case") => return self.unsure(),
                Token::End => return self.unsure(),
                Token::NewLine => self.line_end_inside()?,
                _ => {}
            }
        }
    }

    /// To the `}` that closes a `${`.
    fn parameter(&mut self, in_quotes: bool) -> Result<(), Unsure> {
        loop {
            match self.peek() {
                None => return self.unsure(),
                Some('}') => {
                    self.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.next();
                    self.next();
                }
                // To one shell it is a quote there, to another a letter.
                Some('\'') if in_quotes => return self.unsure(),
                Some('\'') => {
                    self.next();
                    self.single()?;
                }
                Some('"') => {
                    self.next();
                    let (text, _) = self.double()?;
                    if in_quotes && text.contains('}') {
                        return self.unsure();
                    }
                }
                Some('$') => self.dollar(in_quotes)?,
                Some('`') => self.backticks()?,
                Some(c) => {
                    if c == '\n' {
                        self.line_end_inside()?;
                    }
                    self.next();
                }
            }
        }
    }

    /// To the backtick that closes. What is quoted inside of it might hide one.
    fn backticks(&mut self) -> Result<(), Unsure> {
        self.next();
        let whole = self.rest;
        loop {
            let at = whole.len() - self.rest.len();
            match self.next() {
                None => return self.unsure(),
                Some('\\') => {
                    self.next();
                }
                Some('\n') => self.line_end_inside()?,
                Some('`') => {
                    let inside = &whole[..at];
                    let count = |c: char| inside.matches(c).count();
                    let even =
                        count('\'').is_multiple_of(2) && count('"').is_multiple_of(2) && count('(') == count(')');
                    return if even && !inside.contains("<<") { Ok(()) } else { self.unsure() };
                }
                Some(_) => {}
            }
        }
    }

    /// The rest of a line, whatever it is.
    pub(super) fn skip_line(&mut self) -> Result<(), Unsure> {
        loop {
            if matches!(self.token()?.1, Token::NewLine | Token::End) {
                return Ok(());
            }
        }
    }

    /// From behind the `{` of a function that began in `line` to the `}` that closes it. A `{` or `}` alone counts where a
    /// command begins; where it is not certain whether one begins, reading ends.
    pub(super) fn block(&mut self, line: u32) -> Result<(), Unsure> {
        let (mut depth, mut begins, mut after_for) = (1usize, true, false);
        loop {
            let was_for = std::mem::take(&mut after_for);
            match self.token()?.1 {
                Token::End => return Err(Unsure(line)),
                Token::Sign("(") if (begins || was_for) && self.rest.starts_with('(') => {
                    self.eat("(");
                    self.arithmetic(was_for)?;
                    begins = false;
                }
                Token::Sign("<<" | "<<-") => begins = false,
                Token::Sign("<" | ">" | ">>" | "<<<" | "<&" | ">&" | "<>" | ">|" | "&>" | "&>>") => {
                    begins = match self.token()?.1 {
                        Token::Word(word) if !word.is_brace() => false,
                        // `< <(command)`
                        Token::Sign("<" | ">") if self.eat("(") => true,
                        // `<(command)`
                        Token::Sign("(") => true,
                        _ => return self.unsure(),
                    };
                }
                Token::NewLine | Token::Sign(_) => begins = true,
                Token::Word(word) if word.array => {
                    self.array()?;
                    begins = false;
                }
                Token::Word(word) if !begins => {
                    if word.is_brace() {
                        return self.unsure();
                    }
                }
                Token::Word(word) => match word.plain() {
                    Some("{") => {
                        depth += 1;
                        // As the pattern of a `case` it would open nothing.
                        if self.rest.trim_start().starts_with([')', '|']) {
                            return self.unsure();
                        }
                    }
                    Some("}") => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(());
                        }
                    }
                    Some("[[") => {
                        self.test()?;
                        begins = false;
                    }
                    Some(
                        "if" | "then" | "else" | "elif" | "fi" | "while" | "until" | "do" | "done" | "esac" | "!"
                        | "time",
                    ) => {}
                    plain => {
                        after_for = plain == Some("for");
                        begins = false;
                    }
                },
            }
        }
    }

    /// The words of `NAME=(…)`.
    fn array(&mut self) -> Result<(), Unsure> {
        self.eat("(");
        self.within += 1;
        let result = loop {
            match self.token()?.1 {
                Token::Sign(")") => break Ok(()),
                Token::Word(_) => {}
                Token::NewLine => self.line_end_inside()?,
                Token::Sign(_) | Token::End => break self.unsure(),
            }
        };
        self.within -= 1;
        result
    }

    /// To the `]]` that closes a `[[`.
    fn test(&mut self) -> Result<(), Unsure> {
        self.within += 1;
        let result = loop {
            match self.token()?.1 {
                Token::Word(word) if word.plain() == Some("]]") => break Ok(()),
                Token::Word(word) if word.is_brace() => break self.unsure(),
                Token::End | Token::Sign(";" | ";;" | ";&" | ";;&" | "&") => break self.unsure(),
                _ => {}
            }
        };
        self.within -= 1;
        result
    }
}
