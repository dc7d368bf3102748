//! Lines of a log as pages show them: a window of the text, by offset, cut at line ends. A line is shown whole up to a length,
//! without terminal sequences; the raw text is one link away.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use maud::{Markup, html};

use super::outside::{clean, clip};
use crate::logs::colour::{self, Colour};
use crate::logs::{self, LogReader};
use crate::model::{RunId, StageName};

/// Text that a window holds.
pub(super) const WINDOW: usize = 24 << 10;
/// Lines that a window holds.
const MOST_LINES: usize = 200;
/// Of one line.
const MOST_OF_A_LINE: usize = 1500;
/// How far back the end of a failing stage is looked for.
const SEARCHED: usize = 256 << 10;

/// The log of a run, if it has one.
pub(super) fn open(dir: &Path, run: RunId) -> io::Result<Option<LogReader>> {
    match logs::open(dir, run) {
        Ok(log) => Ok(Some(log)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One line as a page shows it; a line of another form is all text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// `03:04:05`
    pub at: String,
    pub stage: &'a str,
    /// `out`, `err`, `ci` for our own words, `mark` for those that say how a stage came out.
    pub stream: &'a str,
    /// With its colours, and whatever else it may be made of.
    text: &'a str,
    /// Bytes that are not shown.
    pub left_out: usize,
}

impl<'a> Line<'a> {
    pub(super) fn parse(line: &'a str) -> Line<'a> {
        let (at, stage, stream, text) = match logs::Line::parse(line) {
            Some(line) => {
                let second = line.time.0.div_euclid(1000).rem_euclid(86_400);
                let at = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
                match line.mark() {
                    Some(mark) => (at, line.stage.as_str(), "mark", mark),
                    None => (at, line.stage.as_str(), line.stream, line.text),
                }
            }
            None => (String::new(), "", "out", line),
        };
        let shown = clip(text, MOST_OF_A_LINE);
        Line { at, stage, stream, text: shown, left_out: text.len() - shown.len() }
    }

    /// What it says.
    pub(super) fn plain(&self) -> Cow<'a, str> {
        clean(self.text)
    }

    /// The same, in parts of one colour each.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Colour, Cow<'a, str>)> {
        colour::parts(self.text).map(|(colour, text)| (colour, clean(text)))
    }
}

/// A part of a log, from a line's start to a line's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub text: String,
    pub from: u64,
    pub to: u64,
    /// Of the whole log, when it was read.
    pub len: u64,
    /// Where each line begins: its name in an address.
    starts: Vec<u64>,
}

/// Read at a time when a place is looked for.
const PIECE: usize = 256 << 10;

impl Window {
    fn new(bytes: &[u8], from: u64, len: u64) -> Window {
        let ends = bytes.iter().zip(1..).filter(|&(&byte, _)| byte == b'\n').map(|(_, end)| from + end);
        let starts = std::iter::once(from).chain(ends).collect();
        Window { text: String::from_utf8_lossy(bytes).into_owned(), from, to: from + bytes.len() as u64, len, starts }
    }

    /// The last lines.
    pub(super) fn tail(log: &mut LogReader) -> io::Result<Window> {
        let len = log.len()?;
        Window::before(log, len, len)
    }

    /// The lines that end where the failing stage ended; the log's tail when that is not near its end.
    pub(super) fn of_failure(log: &mut LogReader, stage: StageName) -> io::Result<Window> {
        let len = log.len()?;
        let from = len.saturating_sub(SEARCHED as u64);
        let text = log.read_at(from, SEARCHED)?;
        let mut end = None;
        let mut at = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            at += line.len();
            let word = line.split(|&byte| byte == b' ').nth(1);
            if word == Some(stage.as_str().as_bytes()) {
                end = Some(at);
            }
        }
        let end = end.map_or(len, |end| from + end as u64);
        Window::before(log, end, len)
    }

    /// The lines that end at `end`.
    pub(super) fn before(log: &mut LogReader, end: u64, len: u64) -> io::Result<Window> {
        let end = end.min(len);
        let from = end.saturating_sub(WINDOW as u64);
        let bytes = log.read_at(from, usize::try_from(end - from).unwrap_or(0))?;
        // The first line is whole only at the log's start or after a line's end.
        let mut start = 0;
        if from > 0 {
            start = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
            if start == bytes.len() {
                start = 0;
            }
        }
        // The end of the line before the first one that still counts.
        let mut ends = bytes[start..].iter().enumerate().rev().filter(|&(_, &byte)| byte == b'\n');
        if let Some((before, _)) = ends.nth(MOST_LINES) {
            start += before + 1;
        }
        Ok(Window::new(&bytes[start..], from + start as u64, len))
    }

    /// The lines from `start`.
    pub(super) fn after(log: &mut LogReader, start: u64) -> io::Result<Window> {
        let len = log.len()?;
        let start = start.min(len);
        let bytes = log.read_at(start, WINDOW)?;
        let mut end = bytes.len();
        if start + (end as u64) < len {
            end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(end, |newline| newline + 1);
        }
        if let Some((last, _)) = bytes[..end].iter().enumerate().filter(|&(_, &byte)| byte == b'\n').nth(MOST_LINES - 1)
        {
            end = last + 1;
        }
        Ok(Window::new(&bytes[..end], start, len))
    }

    /// What the lines of a stage say, without their moments.
    pub(super) fn texts_of(&self, stage: StageName) -> Vec<String> {
        let of_stage = self.lines().filter(|(_, line)| line.stage == stage.as_str());
        of_stage.map(|(_, line)| line.plain().into_owned()).collect()
    }

    /// The lines of a stage that hold a text in lower case, and where each begins.
    pub(super) fn find(&self, stage: StageName, wanted: &str) -> Vec<(u64, String)> {
        let of_stage = self.lines().filter(|(_, line)| line.stage == stage.as_str());
        of_stage
            .map(|(at, line)| (at, line.plain().into_owned()))
            .filter(|(_, text)| text.to_lowercase().contains(wanted))
            .collect()
    }

    /// Each line, and where it begins.
    fn lines(&self) -> impl Iterator<Item = (u64, Line<'_>)> {
        self.starts.iter().copied().zip(self.text.lines().map(Line::parse))
    }
}

/// What is looked for in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    Stage(StageName),
    /// The first line that complains; of this stage, where one failed.
    Error(Option<StageName>),
}

impl Sought {
    fn is(self, line: &str) -> bool {
        let Some(line) = logs::Line::parse(line) else { return false };
        match self {
            Sought::Stage(stage) => line.stage == stage,
            Sought::Error(stage) => {
                stage.is_none_or(|stage| line.stage == stage) && line.mark().is_none() && complains(&line.plain())
            }
        }
    }
}

fn complains(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["error", "fatal", "panic", "failed", "denied", "refused"].iter().any(|word| text.contains(word))
}

/// Where the first such line begins. Reads the log from its start, one piece at a time.
pub(super) fn find(log: &mut LogReader, sought: Sought) -> io::Result<Option<u64>> {
    let (len, mut at) = (log.len()?, 0);
    while at < len {
        let bytes = log.read_at(at, PIECE)?;
        if bytes.is_empty() {
            break;
        }
        // A line longer than a piece is taken in parts.
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(bytes.len(), |newline| newline + 1);
        let mut begins = at;
        for line in bytes[..end].split_inclusive(|&byte| byte == b'\n') {
            if sought.is(String::from_utf8_lossy(line).trim_end_matches('\n')) {
                return Ok(Some(begins));
            }
            begins += line.len() as u64;
        }
        at += end as u64;
    }
    Ok(None)
}

/// The lines, under a heading wherever the stage changes.
pub(super) fn view(window: &Window) -> Markup {
    let mut stage = "";
    let lines = window.lines().map(|(at, line)| {
        let changed = !line.stage.is_empty() && line.stage != stage;
        if changed {
            stage = line.stage;
        }
        (changed, at, line)
    });
    html! {
        @for (changed, at, line) in lines {
            @if changed { h3 { (line.stage) } }
            (one(at, &line))
        }
    }
}

fn one(at: u64, line: &Line) -> Markup {
    html! {
        p #{ "L" (at) } class=[(line.stream != "out").then_some(line.stream)] {
            b { @if !line.at.is_empty() { a href={ "#L" (at) } { (line.at) } } }
            span {
                @for (colour, text) in line.parts() {
                    @if let Some(classes) = colour.classes() { span class=(classes) { (text) } } @else { (text) }
                }
                @if line.left_out > 0 { i { " … " (line.left_out) " more bytes" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use proptest::prelude::*;

    fn reader(text: &[u8]) -> (tempfile::TempDir, LogReader) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(logs::path(dir.path(), RunId(1)), text).unwrap();
        let reader = open(dir.path(), RunId(1)).unwrap().unwrap();
        (dir, reader)
    }

    fn log(lines: usize) -> String {
        let mut log = String::new();
        for line in 0..lines {
            let _ = writeln!(log, "2026-01-02T03:04:05.678Z install out line {line}");
        }
        log
    }

    #[test]
    fn a_line_is_read_in_its_parts() {
        let line = Line::parse("2026-01-02T03:04:05.678Z install err a  b");
        assert_eq!((&*line.at, line.stage, line.stream, line.text), ("03:04:05", "install", "err", "a  b"));
        assert_eq!(Line::parse("2026-01-02T03:04:05.678Z install out").text, "");
        let mark = Line::parse("2026-01-02T03:04:05.678Z install ci == passed");
        assert_eq!((mark.stream, mark.text), ("mark", "passed"));
        for odd in ["", "x", "a b c d", "2026-01-02T03:04:05.678Z nothing out x", "éééééééééééé a b c"] {
            let line = Line::parse(odd);
            assert_eq!((&*line.at, line.stage, line.text), ("", "", odd));
        }
    }

    #[test]
    fn colours_are_classes_and_nothing_else_of_a_terminal_is_left() {
        let said = "2026-01-02T03:04:05.678Z install out \x1b[1;31m<b>err\x1b[mor\x1b[2J \x1b[31;\" onclick=\"x\"m\n";
        let window = Window::new(said.as_bytes(), 0, said.len() as u64);
        let shown = view(&window).into_string();
        assert!(shown.contains(r#"<span><span class="bold ink-red">&lt;b&gt;err</span>or "#), "{shown}");
        assert!(!shown.contains('\x1b') && !shown.contains("onclick=\""), "{shown}");
        assert_eq!(window.find(StageName::Install, "error").len(), 1, "a word is found across colours");
    }

    #[test]
    fn windows_going_back_meet_without_a_gap() {
        let text = log(1500);
        let (_dir, mut log) = reader(text.as_bytes());
        let mut window = Window::tail(&mut log).unwrap();
        assert_eq!(window.to, text.len() as u64);
        let mut all = window.text.clone();
        while window.from > 0 {
            let earlier = Window::before(&mut log, window.from, window.len).unwrap();
            assert_eq!(earlier.to, window.from);
            all.insert_str(0, &earlier.text);
            window = earlier;
        }
        assert_eq!(all, text);
    }

    #[test]
    fn windows_going_on_meet_without_a_gap() {
        let text = log(1500);
        let (_dir, mut log) = reader(text.as_bytes());
        let (mut all, mut at) = (String::new(), 0);
        while at < text.len() as u64 {
            let window = Window::after(&mut log, at).unwrap();
            assert_eq!(window.from, at);
            assert!(window.to > at && window.text.len() <= WINDOW);
            all.push_str(&window.text);
            at = window.to;
        }
        assert_eq!(all, text);
    }

    #[test]
    fn a_failed_run_opens_where_its_stage_ended() {
        let text = format!("{}2026-01-02T03:04:09.000Z uninstall ci gone\n", log(30));
        let (_dir, mut log) = reader(text.as_bytes());
        let window = Window::of_failure(&mut log, StageName::Install).unwrap();
        assert!(window.text.ends_with("install out line 29\n"));
        assert!(window.to < window.len);
        let window = Window::of_failure(&mut log, StageName::Backup).unwrap();
        assert_eq!(window.to, window.len);
    }

    #[test]
    fn stages_and_the_first_complaint_are_found_where_they_begin() {
        let lead = "2026-01-02T03:04:05.678Z install out ";
        let mut text = format!("{lead}error: but this stage went well\n").repeat(5000);
        let upgrade = text.len() as u64;
        text += &format!("{lead}\u{e4}\n{lead}Fatal: here\n").replace("install", "upgrade");
        let (_dir, mut log) = reader(text.as_bytes());
        let mut find = |sought| find(&mut log, sought).unwrap();
        assert_eq!(find(Sought::Stage(StageName::Install)), Some(0));
        assert_eq!(find(Sought::Stage(StageName::Upgrade)), Some(upgrade));
        assert_eq!(find(Sought::Error(Some(StageName::Upgrade))), Some(upgrade + lead.len() as u64 + 3));
        assert_eq!(find(Sought::Error(None)), Some(0));
        assert_eq!(find(Sought::Stage(StageName::Backup)), None);
    }

    #[test]
    fn each_line_knows_where_it_begins() {
        let text = "2026-01-02T03:04:05.678Z install out \u{e4}\nodd\n2026-01-02T03:04:05.678Z install out b\n";
        let (_dir, mut log) = reader(text.as_bytes());
        let window = Window::tail(&mut log).unwrap();
        let starts: Vec<u64> = window.lines().map(|(at, _)| at).collect();
        assert_eq!(starts, [0, 40, 44]);
    }

    #[test]
    fn a_line_without_end_is_no_trap() {
        let text = "x".repeat(100_000);
        let (_dir, mut log) = reader(text.as_bytes());
        let window = Window::tail(&mut log).unwrap();
        assert_eq!(window.text.len(), WINDOW);
        assert!(view(&window).into_string().len() < 3000);
        let window = Window::after(&mut log, 0).unwrap();
        assert_eq!(window.to, WINDOW as u64);
    }

    proptest! {
        #[test]
        fn any_bytes_at_any_offset_make_a_window(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0u64..400) {
            let len = bytes.len() as u64;
            let (_dir, mut log) = reader(&bytes);
            let window = Window::before(&mut log, at, len).unwrap();
            prop_assert!(window.from <= window.to && window.to <= len);
            let window = Window::after(&mut log, at).unwrap();
            prop_assert!(window.from <= window.to && window.to <= len);
            view(&window);
        }
    }
}
