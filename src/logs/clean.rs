//! Makes text of what programs write: UTF-8, line ends, and nothing that a terminal would obey. Log lines come from pull
//! requests, and people read them in terminals. It happens before masking: an escape in the middle of a secret would hide it.
//! The colours are told beside the text, for whoever puts them back behind the masking.

use super::colour::Colour;

/// Text as it may be shown, and where in it which colour begins.
#[derive(Debug, Default)]
pub(crate) struct Clean {
    pub text: Vec<u8>,
    /// By place, no two at one.
    pub colours: Vec<(usize, Colour)>,
}

impl Clean {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.colours.clear();
    }

    /// The text with its colours, for a terminal.
    pub(crate) fn coloured(&self) -> Vec<u8> {
        let (mut bytes, mut from) = (Vec::with_capacity(self.text.len()), 0);
        for (at, colour) in &self.colours {
            bytes.extend_from_slice(&self.text[from..*at]);
            bytes.extend_from_slice(&colour.spelt());
            from = *at;
        }
        bytes.extend_from_slice(&self.text[from..]);
        bytes
    }

    fn colour(&mut self, colour: Colour) {
        let at = self.text.len();
        self.colours.pop_if(|(last, _)| *last == at);
        self.colours.push((at, colour));
    }
}

/// Cleans bytes that come in pieces. One for each stream.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    state: State,
    /// The beginning of a letter of several bytes.
    letter: Vec<u8>,
    /// The last thing out was no line end.
    in_line: bool,
    /// Bytes of the escape so far.
    escape: usize,
    /// What stands in a control sequence, as far as it may be a colour.
    parameters: Vec<u8>,
    colour: Colour,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After CR: a line end, whether LF follows or not.
    Return,
    Escape,
    /// `ESC [ … letter`: colours, cursor movements.
    Control,
    /// `ESC ] … BEL` and its like: titles, links.
    String,
    StringEscape,
}

/// No true escape is longer; what only looks like one must not swallow the rest.
const LONGEST_ESCAPE: usize = 4096;
/// Nor has a colour more parameters.
const LONGEST_COLOUR: usize = 64;
const UNKNOWN: &[u8] = "\u{fffd}".as_bytes();

impl Cleaner {
    pub(crate) fn push(&mut self, mut bytes: &[u8], clean: &mut Clean) {
        while let Some(&byte) = bytes.first() {
            if self.state == State::Text && self.letter.is_empty() {
                let plain = plain_prefix(bytes);
                if plain > 0 {
                    clean.text.extend_from_slice(&bytes[..plain]);
                    self.in_line = bytes[plain - 1] != b'\n';
                    bytes = &bytes[plain..];
                    continue;
                }
            }
            if self.take(byte, clean) {
                bytes = &bytes[1..];
            }
        }
    }

    /// There is no more.
    pub(crate) fn finish(&mut self, clean: &mut Clean) {
        if !self.letter.is_empty() {
            clean.text.extend_from_slice(UNKNOWN);
        }
        if self.state == State::Return && self.in_line {
            clean.text.push(b'\n');
        }
        *self = Cleaner::default();
    }

    /// Takes one byte; false when it has to be looked at once more.
    fn take(&mut self, byte: u8, clean: &mut Clean) -> bool {
        self.escape += 1;
        match self.state {
            State::Text if !self.letter.is_empty() || byte >= 0x80 => return self.take_letter(byte, clean),
            State::Text => match byte {
                b'\r' => self.state = State::Return,
                0x1b => self.begin(State::Escape),
                _ => self.show(UNKNOWN, clean),
            },
            State::Return => {
                self.state = State::Text;
                // Progress bars begin with it, too: only what was written is ended.
                if byte == b'\n' || self.in_line {
                    clean.text.push(b'\n');
                    self.in_line = false;
                }
                return byte == b'\n';
            }
            State::Escape => match byte {
                b'[' => {
                    self.state = State::Control;
                    self.parameters.clear();
                }
                b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::String,
                0x20..=0x2f => {}
                0x30..=0x7e => self.state = State::Text,
                _ => return self.end(),
            },
            State::Control => match byte {
                0x20..=0x3f if self.escape < LONGEST_ESCAPE => {
                    if self.parameters.len() <= LONGEST_COLOUR {
                        self.parameters.push(byte);
                    }
                }
                0x40..=0x7e => {
                    self.state = State::Text;
                    if byte == b'm' {
                        self.change_colour(clean);
                    }
                }
                _ => return self.end(),
            },
            State::String => match byte {
                0x07 => self.state = State::Text,
                0x1b => self.state = State::StringEscape,
                b'\n' | b'\r' => return self.end(),
                _ if self.escape >= LONGEST_ESCAPE => return self.end(),
                _ => {}
            },
            State::StringEscape => {
                self.state = State::Text;
                if byte != b'\\' {
                    self.begin(State::Escape);
                    return false;
                }
            }
        }
        true
    }

    fn change_colour(&mut self, clean: &mut Clean) {
        let fits = |&byte: &u8| byte.is_ascii_digit() || matches!(byte, b';' | b':');
        if self.parameters.len() > LONGEST_COLOUR || !self.parameters.iter().all(fits) {
            return;
        }
        let colour = self.colour.after(&self.parameters);
        if colour != self.colour {
            self.colour = colour;
            clean.colour(colour);
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.escape = 0;
    }

    /// It was no escape after all: the byte is text.
    fn end(&mut self) -> bool {
        self.state = State::Text;
        false
    }

    fn show(&mut self, text: &[u8], clean: &mut Clean) {
        clean.text.extend_from_slice(text);
        self.in_line = true;
    }

    /// Gathers a letter of two to four bytes.
    fn take_letter(&mut self, byte: u8, clean: &mut Clean) -> bool {
        self.letter.push(byte);
        match std::str::from_utf8(&self.letter) {
            Ok(text) => {
                let unsafe_letter = text.chars().any(char::is_control);
                let letter = std::mem::take(&mut self.letter);
                self.show(if unsafe_letter { UNKNOWN } else { &letter }, clean);
                self.letter = letter;
                self.letter.clear();
                true
            }
            Err(error) if error.error_len().is_none() => true,
            Err(_) => {
                // What came before this byte was no letter; the byte itself may begin one, or be none.
                let first = self.letter.len() == 1;
                self.letter.clear();
                self.show(UNKNOWN, clean);
                first
            }
        }
    }
}

/// How many bytes from the beginning need no thought.
fn plain_prefix(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    fn needs_thought(byte: u8) -> bool {
        !((0x20..0x7f).contains(&byte) || byte == b'\n' || byte == b'\t')
    }
    let mut plain = 0;
    for block in bytes.chunks(BLOCK) {
        // Without an early end the compiler does a block in a few instructions.
        if block.iter().fold(false, |found, &byte| found | needs_thought(byte)) {
            return plain + block.iter().position(|&byte| needs_thought(byte)).unwrap_or(0);
        }
        plain += block.len();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(pieces: &[&[u8]]) -> String {
        String::from_utf8(clean(pieces).text).unwrap()
    }

    fn coloured(pieces: &[&[u8]]) -> String {
        String::from_utf8(clean(pieces).coloured()).unwrap()
    }

    fn clean(pieces: &[&[u8]]) -> Clean {
        let (mut cleaner, mut clean) = (Cleaner::default(), Clean::default());
        for piece in pieces {
            cleaner.push(piece, &mut clean);
        }
        cleaner.finish(&mut clean);
        clean
    }

    #[test]
    fn colours_are_told_beside_the_text_and_no_other_escape_is() {
        assert_eq!(coloured(&[b"\x1b[1;3", b"1mred\x1b[0;5;41m \x1b[2Jx\x1b[33;m"]), "\x1b[1;31mred\x1b[m x");
        assert_eq!(
            coloured(&[b"\x1b[31m\x1b[32m\x1b[mno change\x1b[34mfour\x1b[34m!"]),
            "\x1b[mno change\x1b[34mfour!"
        );
        assert_eq!(coloured(&[b"\x1b[>31mno colour\x1b[31 m"]), "no colour");
        let long = ["\x1b[31", &";31".repeat(100), "mtoo long"].concat();
        assert_eq!(coloured(&[long.as_bytes()]), "too long");
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        assert_eq!(cleaned(&[b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b]8;;http://a\x1b\\link\x1b(B"]), "red xlink");
        assert_eq!(cleaned(&[b"a\x08b\x00c\x7f"]), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(cleaned(&["a\u{9b}31mb".as_bytes()]), "a\u{fffd}31mb");
    }

    #[test]
    fn every_line_end_is_one() {
        assert_eq!(cleaned(&[b"a\r\nb\rc\r\r\nd\n\ne\r"]), "a\nb\nc\n\nd\n\ne\n");
        assert_eq!(cleaned(&[b"10%\r20%\r30%\n"]), "10%\n20%\n30%\n");
        assert_eq!(cleaned(&[b"a\r", b"\nb"]), "a\nb");
    }

    #[test]
    fn what_is_no_text_is_shown_as_such_and_letters_may_be_cut() {
        assert_eq!(cleaned(&[b"\xff\xc3a\xe2\x82"]), "\u{fffd}\u{fffd}a\u{fffd}");
        assert_eq!(cleaned(&[b"\xe2", b"\x82", b"\xac!"]), "€!");
    }

    #[test]
    fn an_escape_that_never_ends_swallows_little() {
        assert_eq!(cleaned(&[b"\x1b]0;no end\nnext"]), "\nnext");
        let long = [b"\x1b]".as_slice(), &[b'x'; 10_000]].concat();
        assert!(cleaned(&[&long]).len() >= 5_000);
    }

    proptest! {
        #[test]
        fn any_bytes_give_harmless_text_however_they_are_cut(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b'\r'), Just(b'\n'), Just(0xc3)], 0..200),
            cut in any::<usize>(),
        ) {
            let whole = cleaned(&[&bytes]);
            prop_assert!(!whole.chars().any(|char| char.is_control() && char != '\n' && char != '\t'));
            let (front, back) = bytes.split_at(cut % (bytes.len() + 1));
            prop_assert_eq!(cleaned(&[front, back]), whole);
            prop_assert_eq!(coloured(&[front, back]), coloured(&[&bytes]));
        }

        #[test]
        fn plain_text_stays_as_it_is(text in "[ -~\\n\\täö€😀]*") {
            prop_assert_eq!(cleaned(&[text.as_bytes()]), text);
        }
    }
}
