//! The colours of a log. Of all that a terminal obeys only bold and the sixteen inks are kept, each in one spelling that says
//! the whole state, so that no line depends on another and whoever shows a line needs no terminal. A secret is looked for in
//! the text without them: a colour in its midst would hide it.

use std::borrow::Cow;

/// How letters are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Colour {
    bold: bool,
    ink: Option<Ink>,
}

/// As terminals count them: 0 to 7, and the same bright from 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ink(u8);

/// Red, green and blue of the inks, as xterm has them.
const INKS: [[u8; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

impl Colour {
    pub(crate) fn is_plain(self) -> bool {
        self == Colour::default()
    }

    /// What `ESC [ parameters m` makes of it. Backgrounds, blinking and whatever else there is change nothing.
    pub(super) fn after(mut self, parameters: &[u8]) -> Colour {
        let mut numbers = parameters
            .split(|&byte| byte == b';' || byte == b':')
            .map(|number| std::str::from_utf8(number).ok().filter(|number| !number.is_empty()).unwrap_or("0"))
            .map(|number| number.parse::<u16>().unwrap_or(u16::MAX));
        while let Some(number) = numbers.next() {
            match number {
                0 => self = Colour::default(),
                1 => self.bold = true,
                22 => self.bold = false,
                30..=37 => self.ink = Ink::of(number - 30),
                38 => self.ink = extended(&mut numbers),
                39 => self.ink = None,
                48 | 58 => drop(extended(&mut numbers)),
                90..=97 => self.ink = Ink::of(number - 90 + 8),
                _ => {}
            }
        }
        self
    }

    /// `ESC [ … m`, from whatever was before.
    pub(crate) fn spelt(self) -> Vec<u8> {
        let mut numbers = Vec::new();
        if self.bold {
            numbers.push("1".to_owned());
        }
        if let Some(Ink(ink)) = self.ink {
            numbers.push(if ink < 8 { 30 + ink } else { 90 + ink - 8 }.to_string());
        }
        format!("\x1b[{}m", numbers.join(";")).into_bytes()
    }

    /// The names of the stylesheet; none for how letters usually are.
    pub(crate) fn classes(self) -> Option<&'static str> {
        const THIN: [&str; 8] =
            ["ink-grey", "ink-red", "ink-green", "ink-yellow", "ink-blue", "ink-magenta", "ink-cyan", ""];
        const BOLD: [&str; 8] = [
            "bold ink-grey",
            "bold ink-red",
            "bold ink-green",
            "bold ink-yellow",
            "bold ink-blue",
            "bold ink-magenta",
            "bold ink-cyan",
            "bold",
        ];
        // White is what letters are on a dark page and cannot be on a light one.
        let ink = self.ink.map_or(7, |Ink(ink)| usize::from(ink % 8));
        Some(if self.bold { BOLD[ink] } else { THIN[ink] }).filter(|classes| !classes.is_empty())
    }
}

impl Ink {
    fn of(number: u16) -> Option<Ink> {
        u8::try_from(number).ok().filter(|&number| number < 16).map(Ink)
    }

    /// The one that is most like it.
    fn like(wanted: [u8; 3]) -> Ink {
        let far = |ink: &[u8; 3]| ink.iter().zip(wanted).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
        let (near, _) = (0..).zip(&INKS).min_by_key(|(_, ink)| far(ink)).unwrap_or((7, &INKS[7]));
        Ink(near)
    }
}

/// `5;n`: one of 256; `2;r;g;b`.
fn extended(numbers: &mut impl Iterator<Item = u16>) -> Option<Ink> {
    let mut byte = || numbers.next().and_then(|number| u8::try_from(number).ok());
    match byte()? {
        5 => match byte()? {
            basic @ 0..=15 => Some(Ink(basic)),
            cube @ 16..=231 => {
                let step = |level: u8| if level == 0 { 0 } else { 55 + 40 * level };
                let cube = cube - 16;
                Some(Ink::like([step(cube / 36), step(cube / 6 % 6), step(cube % 6)]))
            }
            grey => Some(Ink::like([8 + 10 * (grey - 232); 3])),
        },
        2 => Some(Ink::like([byte()?, byte()?, byte()?])),
        _ => None,
    }
}

/// The longest spelling of a colour in a log, in bytes.
const LONGEST: usize = b"\x1b[1;97m".len();

/// A line of a log, in parts of one colour each. What is no colour of ours stays in the text.
pub(crate) fn parts(line: &str) -> impl Iterator<Item = (Colour, &str)> {
    let (mut rest, mut colour) = (Some(line), Colour::default());
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (before, next) = match next_colour(text) {
            Some((at, next, length)) => {
                rest = Some(&text[at + length..]);
                (&text[..at], next)
            }
            None => (text, colour),
        };
        Some((std::mem::replace(&mut colour, next), before))
    })
    .filter(|(_, text)| !text.is_empty())
}

/// Where the next colour of ours is, which, and how long its spelling is.
fn next_colour(text: &str) -> Option<(usize, Colour, usize)> {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|&byte| byte == 0x1b) {
        let at = from + found;
        let window = &bytes[at..bytes.len().min(at + LONGEST)];
        if let Some(end) = window.iter().position(|&byte| byte == b'm')
            && let Some(parameters) = window[..end].strip_prefix(b"\x1b[")
        {
            let colour = Colour::default().after(parameters);
            if colour.spelt() == window[..=end] {
                return Some((at, colour, end + 1));
            }
        }
        from = at + 1;
    }
    None
}

/// A line of a log without its colours.
pub(crate) fn plain(line: &str) -> Cow<'_, str> {
    if next_colour(line).is_none() {
        return Cow::Borrowed(line);
    }
    parts(line).map(|(_, text)| text).collect::<String>().into()
}

/// The colour at the end of a piece of a log that began with this one.
pub(super) fn at_the_end(masked: &[u8], before: Colour) -> Colour {
    let Some(last) = masked.iter().rposition(|&byte| byte == 0x1b) else { return before };
    let parameters = masked[last..].strip_prefix(b"\x1b[").unwrap_or_default();
    let end = parameters.iter().position(|&byte| byte == b'm').unwrap_or(0);
    Colour::default().after(&parameters[..end])
}

/// Moves a cut out of the spelling of a colour, to before it.
pub(super) fn not_in_a_colour(masked: &[u8], cut: usize) -> usize {
    let from = cut.saturating_sub(LONGEST);
    match masked[from..cut].iter().rposition(|&byte| byte == 0x1b) {
        Some(escape) if from + escape > 0 && !masked[from + escape..cut].contains(&b'm') => from + escape,
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn colour(parameters: &str) -> String {
        String::from_utf8(Colour::default().after(parameters.as_bytes()).spelt()).unwrap().replace('\x1b', "")
    }

    #[test]
    fn only_bold_and_ink_are_kept_and_in_one_spelling() {
        for (given, kept) in [
            ("", "[m"),
            ("0", "[m"),
            ("31", "[31m"),
            ("31;1", "[1;31m"),
            ("1;31;22", "[31m"),
            ("5;7;41;32", "[32m"),
            ("97", "[97m"),
            ("38;5;9", "[91m"),
            ("38;5;196", "[91m"),
            ("38;5;244", "[90m"),
            ("38:2:0:0:230", "[34m"),
            ("48;5;31", "[m"),
            ("48;2;1;2;31;32", "[32m"),
            ("38;5", "[m"),
            ("99999999999", "[m"),
            ("31;0", "[m"),
            ("32;39", "[m"),
        ] {
            assert_eq!(colour(given), kept, "{given}");
        }
    }

    #[test]
    fn a_line_comes_in_parts_and_what_is_no_colour_of_ours_stays_text() {
        let line = "a\x1b[31mb\x1b[1;31mc\x1b[md\x1b[2Je\x1b[031mf\x1b[";
        let said: Vec<_> = parts(line).map(|(colour, text)| (colour.classes().unwrap_or_default(), text)).collect();
        assert_eq!(said, [("", "a"), ("ink-red", "b"), ("bold ink-red", "c"), ("", "d\x1b[2Je\x1b[031mf\x1b[")]);
        assert_eq!(plain("a\x1b[31mb\x1b[mc"), "abc");
    }

    proptest! {
        #[test]
        fn whatever_the_parameters_are_the_spelling_is_one_that_is_read(given in "[0-9;:]{0,40}") {
            let colour = Colour::default().after(given.as_bytes());
            let spelt = String::from_utf8(colour.spelt()).unwrap();
            prop_assert!(spelt.len() <= LONGEST);
            let line = format!("{spelt}x");
            prop_assert_eq!(parts(&line).collect::<Vec<_>>(), [(colour, "x")]);
        }
    }
}
