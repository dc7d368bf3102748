//! What a run said, line by line: written while it happens, followed while it grows, kept small afterwards.
//!
//! One file for each run, `<run>.log`, and when it is closed `<run>.log.zst` in its place. A place in a log is a byte of the
//! text as it was written, the same before and after the closing, so that a reader who is in the middle goes on where it
//! was. A line is
//!
//! ```text
//! 2026-01-02T03:04:05.678Z install out Creating network app_internal
//! ```
//!
//! its moment, stage, stream (`out` and `err` of a program, `ci` for our own words) and text. Everything is masked on its way
//! in, so that a secret never reaches the disk. Of what a terminal obeys only colours are left, in the spelling of [`colour`], and
//! each line begins and ends without one. What is longer than its cap keeps its beginning and its end.

mod clean;
pub(crate) mod colour;
pub(crate) mod diff;
mod measure;
mod pack;
mod read;
mod write;

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::{Clock, Time};
use crate::model::{RunId, StageName};
use crate::secrets::redact::Redactor;

pub(crate) use clean::{Clean, Cleaner};
pub use measure::{Measured, measure};
pub use read::{Follower, LogReader, Piece, follow, open};
pub use write::Log;

/// The most a log may take on disk before it is packed, in bytes.
pub const USUAL_CAP: u64 = 64 << 20;
/// A longer line is broken in two, in bytes.
const LONGEST_LINE: usize = 16 << 10;
/// How our marks of stages and cuts begin, after the stream's name.
const MARK: &str = "==";

/// Where the log of a run is while it is open.
pub fn path(dir: &Path, run: RunId) -> PathBuf {
    dir.join(format!("{run}.log"))
}

fn packed_path(open: &Path) -> PathBuf {
    with_suffix(open, ".zst")
}

fn with_suffix(open: &Path, suffix: &str) -> PathBuf {
    let mut path = open.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Closes a log whose writer died. Nothing happens when it is closed already, or never was.
pub fn close_abandoned(dir: &Path, run: RunId) -> io::Result<()> {
    let open = path(dir, run);
    if packed_path(&open).exists() {
        return remove_open(&open);
    }
    match Log::reopen(&open, Redactor::new(), Clock::system(), USUAL_CAP) {
        Ok(log) => log.close_now(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a run's log takes on the disk.
pub fn bytes(dir: &Path, run: RunId) -> u64 {
    let open = path(dir, run);
    [packed_path(&open), open].iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum()
}

/// Removes all that there is of a run's log.
pub fn remove(dir: &Path, run: RunId) -> io::Result<()> {
    let open = path(dir, run);
    remove_file(&packed_path(&open))?;
    remove_open(&open)
}

fn remove_open(open: &Path) -> io::Result<()> {
    for (_, tail) in tails_of(open)? {
        remove_file(&tail)?;
    }
    remove_file(open)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files that hold the end of a log that is longer than its cap, by the number of bytes between the beginning's end and
/// theirs.
fn tails_of(open: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(dir), Some(name)) = (open.parent(), open.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.tail-");
    let mut tails = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let start = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        if let Some(start) = start {
            tails.push((start, entry.path()));
        }
    }
    tails.sort_unstable();
    Ok(tails)
}

/// A line of a log, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: Time,
    pub stage: StageName,
    /// `out`, `err` or `ci`.
    pub stream: &'a str,
    /// With its colours.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// What it says, without colours.
    pub fn plain(&self) -> Cow<'a, str> {
        colour::plain(self.text)
    }

    /// Reads a line as it is in the file, without its end. `None` for anything else, such as the rest of a line.
    pub fn parse(line: &'a str) -> Option<Line<'a>> {
        let mut parts = line.splitn(4, ' ');
        let (time, stage, stream) = (parts.next()?, parts.next()?, parts.next()?);
        let time = Time::parse(time)?;
        Some(Line { time, stage: stage.parse().ok()?, stream, text: parts.next().unwrap_or("") })
    }

    /// What a mark says: that a stage changed, or that something is left out.
    pub fn mark(&self) -> Option<&'a str> {
        (self.stream == "ci").then(|| self.text.strip_prefix(MARK)?.strip_prefix(' '))?
    }
}

/// The stage of a line, without looking at the rest of it.
fn stage_of(line: &[u8]) -> Option<StageName> {
    let word = line.split(|&byte| byte == b' ').nth(1)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A stage as a bit.
fn bit_of(stage: StageName) -> u32 {
    let place = StageName::ALL.iter().position(|&one| one == stage).unwrap_or(0);
    1 << place
}

#[cfg(test)]
mod tests;
