//! The writing end. Whole lines go to the file with one write each time something came, so that a follower never waits for
//! a buffer to fill. What is beyond half of the cap goes to files of which only the last two are kept: memory and disk stay
//! the same however long a run talks.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::colour::{self, Colour};
use super::{
    Clean, Cleaner, LONGEST_LINE, MARK, pack, packed_path, remove_file, remove_open, stage_of, tails_of, with_suffix,
};
use crate::clock::{Clock, Time};
use crate::model::StageName;
use crate::sandbox::Stream;
use crate::secrets::redact::{Masker, Redactor};

/// The last of what was written, for [`Log::tail`], in bytes: at least the half of it.
const RECENT: usize = 256 << 10;
/// Lines are written when so many bytes of them wait, also in the middle of a piece.
const BATCH: usize = 256 << 10;

/// The open log of a run. Clones write to the same.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

struct Inner {
    redactor: Redactor,
    clock: Clock,
    writer: Mutex<Writer>,
    grown: watch::Sender<u64>,
}

impl Log {
    /// Begins a log. There must be none yet.
    pub fn create(path: &Path, redactor: Redactor, clock: Clock, cap: u64) -> io::Result<Log> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        if packed_path(path).exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
        Ok(Log::over(Writer::new(path, file, cap), redactor, clock))
    }

    /// Goes on with a log whose writer died.
    pub fn reopen(path: &Path, redactor: Redactor, clock: Clock, cap: u64) -> io::Result<Log> {
        if packed_path(path).exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut writer = Writer::new(path, file, cap);
        writer.find_the_end()?;
        Ok(Log::over(writer, redactor, clock))
    }

    fn over(writer: Writer, redactor: Redactor, clock: Clock) -> Log {
        let grown = watch::Sender::new(writer.written);
        Log(Arc::new(Inner { redactor, clock, writer: Mutex::new(writer), grown }))
    }

    /// What a program wrote, cut anywhere.
    pub fn chunk(&self, stage: StageName, stream: Stream, bytes: &[u8]) {
        let mut writer = self.writer();
        let feed = writer.feed(stage, Source::of(stream), &self.0.redactor);
        let mut feed = writer.feeds.swap_remove(feed);
        feed.push(bytes, &mut writer);
        writer.feeds.push(feed);
        self.flush(writer);
    }

    /// Our own words.
    pub fn line(&self, stage: StageName, text: &str) {
        let mut writer = self.writer();
        writer.own_words(stage, text, &self.0.redactor);
        self.flush(writer);
    }

    /// A mark: from here on the stage is in this state. What its programs left without a line end is ended.
    pub fn stage(&self, stage: StageName, now: &str) {
        let mut writer = self.writer();
        writer.settle(Some(stage));
        writer.own_words(stage, &format!("{MARK} {now}"), &self.0.redactor);
        self.flush(writer);
    }

    /// A program of this stage has ended: what it left without a line end is a line.
    pub fn settle(&self, stage: StageName) {
        let mut writer = self.writer();
        writer.settle(Some(stage));
        self.flush(writer);
    }

    /// The last lines, as they are in the file but without colours.
    pub fn tail(&self, count: usize) -> Vec<String> {
        self.last_lines(count, |_| true)
    }

    /// The last lines of one stage, as far as they are among the latest of all.
    pub fn stage_tail(&self, stage: StageName, count: usize) -> Vec<String> {
        self.last_lines(count, |line| stage_of(line) == Some(stage))
    }

    fn last_lines(&self, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<String> {
        let writer = self.writer();
        let lines = writer.recent.split(|&byte| byte == b'\n').rev().filter(|line| !line.is_empty() && wanted(line));
        let mut lines: Vec<String> =
            lines.take(count).map(|line| colour::plain(&String::from_utf8_lossy(line)).into_owned()).collect();
        lines.reverse();
        lines
    }

    /// The length of what can be read, each time it has grown. Ends when the log is closed and nobody holds it.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.0.grown.subscribe()
    }

    /// Why something of the log is missing, when it is: a full disk.
    pub fn fault(&self) -> Option<String> {
        self.writer().fault.clone()
    }

    /// Ends the log and packs it. What is written afterwards is dropped.
    pub async fn close(&self) -> io::Result<()> {
        let log = self.clone();
        tokio::task::spawn_blocking(move || log.close_now()).await.map_err(io::Error::other)?
    }

    /// As [`Log::close`], in place: compresses for up to a second.
    pub(super) fn close_now(&self) -> io::Result<()> {
        let mut writer = self.writer();
        if writer.closed {
            return Ok(());
        }
        writer.settle(None);
        writer.now = self.0.clock.now();
        writer.flush();
        writer.closed = true;
        let (path, left_out) = (writer.path.clone(), writer.left_out_mark());
        // Packing takes its time; nobody may wait on the lock for it.
        drop(writer);
        pack_open(&path, &left_out)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.now = self.0.clock.now();
        writer
    }

    fn flush(&self, mut writer: MutexGuard<'_, Writer>) {
        writer.flush();
        let written = writer.written;
        drop(writer);
        self.0.grown.send_if_modified(|known| std::mem::replace(known, written) != written);
    }
}

/// Turns the files of an open log into one closed one. A crash at any place leaves the open one, or the closed one and
/// perhaps remains of the other, which [`super::close_abandoned`] removes.
fn pack_open(open: &Path, left_out: &str) -> io::Result<()> {
    let unfinished = with_suffix(open, ".zst.new");
    remove_file(&unfinished)?;
    let mut source: Box<dyn Read> = Box::new(File::open(open)?);
    if !left_out.is_empty() {
        source = Box::new(source.chain(left_out.as_bytes()));
    }
    for (_, tail) in tails_of(open)? {
        source = Box::new(source.chain(File::open(tail)?));
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&unfinished)?;
    let mut target = io::BufWriter::new(file);
    pack::pack(&mut source, &mut target)?;
    target.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&unfinished, packed_path(open))?;
    if let Some(dir) = open.parent() {
        File::open(dir)?.sync_all()?;
    }
    remove_open(open)
}

/// Where a line comes from, as the third word of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Out,
    Err,
    Own,
}

impl Source {
    fn of(stream: Stream) -> Source {
        match stream {
            Stream::Out => Source::Out,
            Stream::Err => Source::Err,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Source::Out => "out",
            Source::Err => "err",
            Source::Own => "ci",
        }
    }
}

/// One stream of one stage: cleaned, masked, cut into lines.
struct Feed {
    stage: StageName,
    source: Source,
    cleaner: Cleaner,
    masker: Masker,
    clean: Clean,
    /// Masked, and not yet a whole line at its end.
    masked: Vec<u8>,
    /// There is a colour in it, or was.
    coloured: bool,
    /// The colour at the end of the last line.
    colour: Colour,
}

impl Feed {
    fn push(&mut self, bytes: &[u8], writer: &mut Writer) {
        self.clean.clear();
        self.cleaner.push(bytes, &mut self.clean);
        self.mask();
        self.write_lines(writer);
    }

    fn mask(&mut self) {
        self.coloured |= !self.clean.colours.is_empty();
        let colours = self.clean.colours.iter().map(|(at, colour)| (*at, colour.spelt()));
        self.masker.push_around(&self.clean.text, colours, &mut self.masked);
    }

    fn finish(&mut self, writer: &mut Writer) {
        self.clean.clear();
        self.cleaner.finish(&mut self.clean);
        self.mask();
        self.masker.finish(&mut self.masked);
        if self.masked.last().is_some_and(|&last| last != b'\n') {
            self.masked.push(b'\n');
        }
        self.write_lines(writer);
        (self.coloured, self.colour) = (false, Colour::default());
    }

    fn write_lines(&mut self, writer: &mut Writer) {
        let (mut from, head) = (0, writer.line_head(self.stage, self.source));
        loop {
            let rest = &self.masked[from..];
            let end = match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) if end <= LONGEST_LINE => end,
                None if rest.len() <= LONGEST_LINE => break,
                _ => colour::not_in_a_colour(rest, letter_boundary(rest, LONGEST_LINE)),
            };
            if self.coloured {
                writer.add_line(&head, &alone(&rest[..end], &mut self.colour));
            } else {
                writer.add_line(&head, &rest[..end]);
            }
            from += end + usize::from(rest[end] == b'\n');
        }
        self.masked.drain(..from);
    }
}

/// A line that needs no other: in the colour that the one before it ended with, which it ends itself.
fn alone(line: &[u8], colour: &mut Colour) -> Vec<u8> {
    let begins = std::mem::replace(colour, colour::at_the_end(line, *colour));
    let mut whole = Vec::with_capacity(line.len() + 16);
    if !begins.is_plain() && !line.is_empty() {
        whole.extend_from_slice(&begins.spelt());
    }
    whole.extend_from_slice(line);
    if !colour.is_plain() && !line.is_empty() {
        whole.extend_from_slice(&Colour::default().spelt());
    }
    whole
}

/// The last place up to `most` where no letter is cut.
fn letter_boundary(text: &[u8], most: usize) -> usize {
    (most.saturating_sub(3)..=most).rev().find(|&place| text[place] & 0xc0 != 0x80).unwrap_or(most)
}

struct Writer {
    path: PathBuf,
    /// The beginning of the log, or all of it.
    file: File,
    written: u64,
    cap: u64,
    tail: Option<Tail>,
    feeds: Vec<Feed>,
    /// Lines that are not written yet.
    waiting: Vec<u8>,
    recent: Vec<u8>,
    now: Time,
    /// `now` as text.
    now_text: (Time, String),
    last_stage: StageName,
    closed: bool,
    fault: Option<String>,
    lost: u64,
}

/// What follows the beginning of a log that is too long.
struct Tail {
    file: File,
    /// What came before this file, since the beginning was full.
    start: u64,
    length: u64,
}

impl Writer {
    fn new(path: &Path, file: File, cap: u64) -> Writer {
        Writer {
            path: path.into(),
            file,
            written: 0,
            cap,
            tail: None,
            feeds: Vec::new(),
            waiting: Vec::new(),
            recent: Vec::new(),
            now: Time(0),
            now_text: (Time(i64::MIN), String::new()),
            last_stage: StageName::Fetch,
            closed: false,
            fault: None,
            lost: 0,
        }
    }

    /// After a crash: where the text ends, in the middle of a line perhaps.
    fn find_the_end(&mut self) -> io::Result<()> {
        self.written = end_line(&mut self.file)?;
        if let Some((start, path)) = tails_of(&self.path)?.pop() {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let length = end_line(&mut file)?;
            self.tail = Some(Tail { file, start, length });
        }
        let from = self.written.saturating_sub(RECENT as u64 / 2);
        let mut last = vec![0; usize::try_from(self.written - from).unwrap_or(0)];
        self.file.read_exact_at(&mut last, from)?;
        self.recent = last;
        Ok(())
    }

    /// The feed of this stream; a new one the first time.
    fn feed(&mut self, stage: StageName, source: Source, redactor: &Redactor) -> usize {
        self.last_stage = stage;
        let known = self.feeds.iter().position(|feed| feed.stage == stage && feed.source == source);
        known.unwrap_or_else(|| {
            let (cleaner, masker) = (Cleaner::default(), redactor.stream());
            self.feeds.push(Feed {
                stage,
                source,
                cleaner,
                masker,
                clean: Clean::default(),
                masked: Vec::new(),
                coloured: false,
                colour: Colour::default(),
            });
            self.feeds.len() - 1
        })
    }

    fn own_words(&mut self, stage: StageName, text: &str, redactor: &Redactor) {
        let feed = self.feed(stage, Source::Own, redactor);
        let mut feed = self.feeds.swap_remove(feed);
        feed.push(text.as_bytes(), self);
        feed.finish(self);
    }

    /// Ends the lines that have no end yet, of one stage or of all.
    fn settle(&mut self, stage: Option<StageName>) {
        let (over, on) =
            std::mem::take(&mut self.feeds).into_iter().partition(|feed| stage.is_none_or(|one| one == feed.stage));
        self.feeds = on;
        let over: Vec<Feed> = over;
        for mut feed in over {
            feed.finish(self);
        }
    }

    fn line_head(&mut self, stage: StageName, source: Source) -> Vec<u8> {
        if self.now_text.0 != self.now {
            self.now_text = (self.now, self.now.rfc3339());
        }
        format!("{} {stage} {} ", self.now_text.1, source.word()).into_bytes()
    }

    fn add_line(&mut self, head: &[u8], text: &[u8]) {
        self.waiting.extend_from_slice(head);
        self.waiting.extend_from_slice(text);
        self.waiting.push(b'\n');
        if self.waiting.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes what waits.
    fn flush(&mut self) {
        if self.waiting.is_empty() || self.closed {
            self.waiting.clear();
            return;
        }
        let mut lines = std::mem::take(&mut self.waiting);
        if self.lost > 0 {
            let head = self.line_head(self.last_stage, Source::Own);
            self.add_line(&head, format!("{MARK} {} bytes of the log could not be written", self.lost).as_bytes());
            lines.splice(..0, std::mem::take(&mut self.waiting));
        }
        match self.write(&lines) {
            Ok(()) => self.lost = 0,
            Err(error) => {
                self.lost += lines.len() as u64;
                if self.fault.is_none() {
                    tracing::warn!(log = %self.path.display(), %error, "a log cannot be written");
                }
                self.fault = Some(format!("the log cannot be written: {error}"));
            }
        }
        self.remember(&lines);
        lines.clear();
        self.waiting = lines;
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let half = self.cap / 2;
        if self.tail.is_some() {
            return self.write_tail(lines);
        }
        let room = usize::try_from(half.saturating_sub(self.written)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return self.write_file(lines);
        }
        let end = lines[..room].iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        self.write_file(&lines[..end])?;
        let mut mark = self.line_head(self.last_stage, Source::Own);
        mark.extend_from_slice(format!("{MARK} this log is long; it goes on here when the run has ended\n").as_bytes());
        self.write_file(&mark)?;
        self.tail = Some(self.new_tail(0)?);
        self.write_tail(&lines[end..])
    }

    fn write_file(&mut self, lines: &[u8]) -> io::Result<()> {
        write_whole(&self.file, self.written, lines)?;
        self.written += lines.len() as u64;
        Ok(())
    }

    fn write_tail(&mut self, lines: &[u8]) -> io::Result<()> {
        let quarter = self.cap / 4;
        let Some(tail) = self.tail.as_mut() else { return Ok(()) };
        if tail.length >= quarter {
            let start = tail.start + tail.length;
            let fresh = self.new_tail(start)?;
            self.tail = Some(fresh);
            let tails = tails_of(&self.path)?;
            for (_, old) in &tails[..tails.len().saturating_sub(2)] {
                remove_file(old)?;
            }
        }
        let Some(tail) = self.tail.as_mut() else { return Ok(()) };
        write_whole(&tail.file, tail.length, lines)?;
        tail.length += lines.len() as u64;
        Ok(())
    }

    fn new_tail(&self, start: u64) -> io::Result<Tail> {
        let path = with_suffix(&self.path, &format!(".tail-{start:020}"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)?;
        Ok(Tail { file, start, length: 0 })
    }

    /// What stands between the beginning and the end of a log that was cut.
    fn left_out_mark(&mut self) -> String {
        let first = tails_of(&self.path).ok().and_then(|tails| Some(tails.first()?.0)).unwrap_or(0);
        if first == 0 {
            return String::new();
        }
        let head = String::from_utf8_lossy(&self.line_head(self.last_stage, Source::Own)).into_owned();
        format!("{head}{MARK} {first} bytes are left out here\n")
    }

    fn remember(&mut self, lines: &[u8]) {
        let lines = &lines[lines.len().saturating_sub(RECENT)..];
        if self.recent.len() + lines.len() > RECENT {
            let keep = (RECENT / 2).min(RECENT - lines.len());
            self.recent.drain(..self.recent.len().saturating_sub(keep));
        }
        self.recent.extend_from_slice(lines);
    }
}

/// Writes all of it or, as far as anybody can see, nothing: the rest of a line must not stay.
fn write_whole(file: &File, at: u64, lines: &[u8]) -> io::Result<()> {
    file.write_all_at(lines, at).inspect_err(|_| {
        let _ = file.set_len(at);
    })
}

/// Ends the last line of a file, and says how long the file is then.
fn end_line(file: &mut File) -> io::Result<u64> {
    let length = file.seek(io::SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
        return Ok(length + 1);
    }
    Ok(length)
}
