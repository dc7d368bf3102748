//! The reading end: by place, by line, from the end, and following. It may be another process than the writer's, so the files
//! are all it goes by. Everything but [`Follower`] reads from disk in place: not for an async worker thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::pack::{FRAME, Packed};
use super::{bit_of, packed_path, path, stage_of, tails_of};
use crate::model::{RunId, StageName};

/// How often a follower looks when nobody wakes it.
const LOOK: Duration = Duration::from_millis(200);
/// The most a follower gets at once, in bytes.
const PIECE: usize = 64 << 10;

/// Opens the log of a run, which may still be growing.
pub fn open(dir: &Path, run: RunId) -> io::Result<LogReader> {
    LogReader::open(path(dir, run))
}

/// A log, open for reading.
pub struct LogReader {
    open_path: PathBuf,
    source: Source,
}

enum Source {
    /// Still growing; closing it moves the text elsewhere, but this file stays readable, and places stay what they are.
    Growing(File),
    Packed(Packed),
}

impl LogReader {
    fn open(open_path: PathBuf) -> io::Result<LogReader> {
        let source = Source::find(&open_path)?;
        Ok(LogReader { open_path, source })
    }

    /// The length of the text, in bytes. It grows while the log is open.
    pub fn len(&mut self) -> io::Result<u64> {
        match self.source()? {
            Source::Growing(file) => Ok(file.metadata()?.len()),
            Source::Packed(packed) => Ok(packed.length()),
        }
    }

    pub fn is_empty(&mut self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Nothing more will come.
    pub fn is_closed(&mut self) -> io::Result<bool> {
        Ok(matches!(self.source()?, Source::Packed(_)))
    }

    /// At most so many bytes of the text from this place on; nothing at its end and beyond.
    pub fn read_at(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        match self.source()? {
            Source::Growing(file) => read_file_at(file, offset, most),
            Source::Packed(packed) => packed.read_at(offset, most),
        }
    }

    /// Whole lines from this place on, as many as fit.
    pub fn piece_at(&mut self, offset: u64, most: usize) -> io::Result<Piece> {
        let mut bytes = self.read_at(offset, most)?;
        if let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') {
            bytes.truncate(end + 1);
        }
        let next = offset + bytes.len() as u64;
        Ok(Piece { offset, next, text: String::from_utf8_lossy(&bytes).into_owned() })
    }

    /// How many lines there are.
    pub fn line_count(&mut self) -> io::Result<u64> {
        match self.source()? {
            Source::Growing(file) => {
                let mut count = 0;
                each_block(file, |block| {
                    count += block.split_inclusive(|&byte| byte == b'\n').count() as u64;
                    true
                })?;
                Ok(count)
            }
            Source::Packed(packed) => Ok(packed.line_count()),
        }
    }

    /// So many lines from this one on, the first being number 1.
    pub fn lines(&mut self, from: u64, count: usize) -> io::Result<Vec<String>> {
        let mut window = Window { skip: from.saturating_sub(1), count, found: Vec::new() };
        match self.source()? {
            Source::Growing(file) => each_block(file, |block| window.take(block))?,
            Source::Packed(packed) => {
                let first = packed.frame_of_line(window.skip);
                window.skip -= packed.frames().get(first).map_or(0, |frame| frame.lines_before);
                for number in first..packed.frames().len() {
                    if !window.take(packed.frame(number)?) {
                        break;
                    }
                }
            }
        }
        Ok(window.found)
    }

    /// The last lines, without colours.
    pub fn tail(&mut self, count: usize) -> io::Result<Vec<String>> {
        self.last_lines(count, None)
    }

    /// The last lines of one stage, without colours.
    pub fn stage_tail(&mut self, stage: StageName, count: usize) -> io::Result<Vec<String>> {
        self.last_lines(count, Some(stage))
    }

    fn last_lines(&mut self, count: usize, stage: Option<StageName>) -> io::Result<Vec<String>> {
        let mut found = VecDeque::with_capacity(count.min(1000));
        let open_path = self.open_path.clone();
        match self.source()? {
            Source::Growing(file) => {
                // The end of a long log is in files of its own until it is closed.
                for (_, tail) in tails_of(&open_path)?.into_iter().rev() {
                    if let Ok(tail) = File::open(tail) {
                        each_block_from_the_end(&tail, |block| add_before(&mut found, block, count, stage))?;
                    }
                }
                each_block_from_the_end(file, |block| add_before(&mut found, block, count, stage))?;
            }
            Source::Packed(packed) => {
                for number in (0..packed.frames().len()).rev() {
                    let has = stage.is_none_or(|stage| packed.frames()[number].has_stage(bit_of(stage)));
                    if has && !add_before(&mut found, packed.frame(number)?, count, stage) {
                        break;
                    }
                }
            }
        }
        Ok(found.into_iter().map(|line| super::colour::plain(&line).into_owned()).collect())
    }

    /// Notices when the log was closed meanwhile.
    fn source(&mut self) -> io::Result<&mut Source> {
        if matches!(self.source, Source::Growing(_)) && packed_path(&self.open_path).exists() {
            self.source = Source::find(&self.open_path)?;
        }
        Ok(&mut self.source)
    }
}

impl Source {
    /// Packing renames the new file into place before it removes the old: looked for in the order old, new, one is there.
    fn find(open_path: &Path) -> io::Result<Source> {
        let packed = packed_path(open_path);
        if packed.exists() {
            return Ok(Source::Packed(Packed::open(File::open(packed)?)?));
        }
        match File::open(open_path) {
            Ok(file) => Ok(Source::Growing(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Source::Packed(Packed::open(File::open(packed)?)?))
            }
            Err(error) => Err(error),
        }
    }
}

/// Some lines in the middle.
struct Window {
    skip: u64,
    count: usize,
    found: Vec<String>,
}

impl Window {
    /// Takes what it wants of these lines; false when it has all.
    fn take(&mut self, block: &[u8]) -> bool {
        for line in block.split_inclusive(|&byte| byte == b'\n') {
            if self.found.len() == self.count {
                return false;
            }
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                self.found.push(text_of(line));
            }
        }
        true
    }
}

fn read_file_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; most.min(usize::try_from(left).unwrap_or(usize::MAX))];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Whole lines in blocks, until told to stop.
fn each_block(file: &File, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut offset = 0;
    loop {
        let mut block = read_file_at(file, offset, FRAME)?;
        let Some(end) = block.iter().rposition(|&byte| byte == b'\n') else { return Ok(()) };
        block.truncate(end + 1);
        offset += block.len() as u64;
        if !take(&block) {
            return Ok(());
        }
    }
}

/// The same, the last block first.
fn each_block_from_the_end(file: &File, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(FRAME as u64);
        let mut block = read_file_at(file, start, usize::try_from(end - start).unwrap_or(FRAME))?;
        if start > 0 {
            // The first line is whole only together with the block before it.
            let Some(first) = block.iter().position(|&byte| byte == b'\n') else { return Ok(()) };
            block.drain(..=first);
        }
        if block.is_empty() {
            return Ok(());
        }
        end -= block.len() as u64;
        if !take(&block) {
            return Ok(());
        }
    }
    Ok(())
}

/// Puts the last lines of a block before what was found behind it; false when there are enough.
fn add_before(found: &mut VecDeque<String>, block: &[u8], count: usize, stage: Option<StageName>) -> bool {
    let block = block.strip_suffix(b"\n").unwrap_or(block);
    for line in block.rsplit(|&byte| byte == b'\n') {
        if found.len() >= count {
            return false;
        }
        if stage.is_none() || stage_of(line) == stage {
            found.push_front(text_of(line));
        }
    }
    found.len() < count
}

fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned()
}

/// Some lines, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub offset: u64,
    /// Where the next piece begins.
    pub next: u64,
    pub text: String,
}

/// Follows a log from this place on. `grown` wakes it when the writer is in the same process.
pub fn follow(dir: &Path, run: RunId, offset: u64, grown: Option<watch::Receiver<u64>>) -> Follower {
    Follower { open_path: path(dir, run), reader: None, offset, grown }
}

/// Gives pieces of a log as they come, until it is closed.
pub struct Follower {
    open_path: PathBuf,
    reader: Option<LogReader>,
    offset: u64,
    grown: Option<watch::Receiver<u64>>,
}

impl Follower {
    /// The next lines; `None` when the log is closed and all was given. Waits for a log that is not there yet.
    pub async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let (open_path, reader, offset) = (self.open_path.clone(), self.reader.take(), self.offset);
            let looked = tokio::task::spawn_blocking(move || look(open_path, reader, offset)).await;
            let (reader, piece, closed) = looked.map_err(io::Error::other)??;
            self.reader = reader;
            if let Some(piece) = piece {
                self.offset = piece.next;
                return Ok(Some(piece));
            }
            if closed {
                return Ok(None);
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let timer = tokio::time::sleep(LOOK);
        if let Some(grown) = &mut self.grown {
            tokio::select! {
                () = timer => {}
                changed = grown.changed() => if changed.is_err() { self.grown = None },
            }
        } else {
            timer.await;
        }
    }
}

type Looked = (Option<LogReader>, Option<Piece>, bool);

fn look(open_path: PathBuf, reader: Option<LogReader>, offset: u64) -> io::Result<Looked> {
    let mut reader = match reader.map_or_else(|| LogReader::open(open_path), Ok) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None, false)),
        Err(error) => return Err(error),
    };
    // Closed before the reading means that the reading got all there is.
    let closed = reader.is_closed()?;
    let piece = reader.piece_at(offset, PIECE)?;
    let some = !piece.text.is_empty();
    Ok((Some(reader), some.then_some(piece), closed))
}
