//! The closed form of a log: zstd frames of at most 256 kB of text, so that any place is one short frame away, and an index.
//!
//! The index is a skippable frame at the end: `zstd -d` reads the file like any other. It has for each frame four numbers of
//! four bytes, little-endian: packed length, text length, lines, and the stages that occur as bits; then the count of frames
//! and eight letters that say whose it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use zstd::bulk::{Compressor, Decompressor};

use super::{bit_of, stage_of};

/// Text in one frame.
pub(super) const FRAME: usize = 256 << 10;
const LEVEL: i32 = 9;
const SKIPPABLE: u32 = 0x184D_2A5C;
const LETTERS: &[u8; 8] = b"ccci-log";
const ENTRY: usize = 16;
const FOOTER: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    packed: u32,
    text: u32,
    lines: u32,
    stages: u32,
}

/// Packs everything from `source`, whose lines are not longer than a frame.
pub(super) fn pack(source: &mut impl Read, target: &mut impl Write) -> io::Result<()> {
    let mut compressor = Compressor::new(LEVEL)?;
    let mut entries = Vec::new();
    let (mut buffer, mut filled) = (vec![0; FRAME], 0);
    loop {
        let count = source.read(&mut buffer[filled..])?;
        filled += count;
        if count > 0 && filled < FRAME {
            continue;
        }
        if filled == 0 {
            break;
        }
        // Whole lines; a file without any is cut where it must be.
        let end = buffer[..filled].iter().rposition(|&byte| byte == b'\n').map_or(filled, |place| place + 1);
        let end = if count == 0 { filled } else { end };
        let packed = compressor.compress(&buffer[..end])?;
        target.write_all(&packed)?;
        entries.push(Entry::of(&buffer[..end], packed.len())?);
        buffer.copy_within(end..filled, 0);
        filled -= end;
    }
    write_index(&entries, target)
}

fn write_index(entries: &[Entry], target: &mut impl Write) -> io::Result<()> {
    let mut index = Vec::with_capacity(entries.len() * ENTRY + FOOTER);
    for entry in entries {
        for number in [entry.packed, entry.text, entry.lines, entry.stages] {
            index.extend_from_slice(&number.to_le_bytes());
        }
    }
    index.extend_from_slice(&number(entries.len())?.to_le_bytes());
    index.extend_from_slice(LETTERS);
    target.write_all(&SKIPPABLE.to_le_bytes())?;
    target.write_all(&number(index.len())?.to_le_bytes())?;
    target.write_all(&index)
}

fn number(of: usize) -> io::Result<u32> {
    u32::try_from(of).map_err(io::Error::other)
}

impl Entry {
    fn of(text: &[u8], packed: usize) -> io::Result<Entry> {
        let (mut lines, mut stages) = (0, 0);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            lines += 1;
            stages |= stage_of(line).map_or(0, bit_of);
        }
        Ok(Entry { packed: number(packed)?, text: number(text.len())?, lines, stages })
    }
}

/// A closed log, open for reading. Keeps the frame it read last.
pub(super) struct Packed {
    file: File,
    frames: Vec<Frame>,
    length: u64,
    lines: u64,
    last: Option<(usize, Vec<u8>)>,
}

/// Where a frame is, and what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    at: u64,
    entry: Entry,
    /// The place of its first byte in the whole text.
    pub(super) start: u64,
    /// Lines before it.
    pub(super) lines_before: u64,
}

impl Frame {
    fn end(&self) -> u64 {
        self.start + u64::from(self.entry.text)
    }

    pub(super) fn has_stage(&self, bit: u32) -> bool {
        self.entry.stages & bit != 0
    }
}

impl Packed {
    pub(super) fn open(file: File) -> io::Result<Packed> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the index of the packed log is damaged");
        let size = file.metadata()?.len();
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, size.checked_sub(FOOTER as u64).ok_or_else(broken)?)?;
        let (count, letters) = footer.split_at(4);
        let count = u64::from(u32::from_le_bytes(count.try_into().map_err(|_| broken())?));
        let index = count.checked_mul(ENTRY as u64).ok_or_else(broken)?;
        let start = size.checked_sub(FOOTER as u64).and_then(|rest| rest.checked_sub(index)).ok_or_else(broken)?;
        if letters != LETTERS {
            return Err(broken());
        }
        let mut bytes = vec![0; usize::try_from(index).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, start)?;

        let mut frames = Vec::with_capacity(bytes.len() / ENTRY);
        let (mut at, mut text, mut lines) = (0, 0, 0);
        for entry in bytes.chunks_exact(ENTRY) {
            let mut numbers =
                entry.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let mut next = || numbers.next().ok_or_else(broken);
            let entry = Entry { packed: next()?, text: next()?, lines: next()?, stages: next()? };
            if entry.text as usize > FRAME {
                return Err(broken());
            }
            frames.push(Frame { at, entry, start: text, lines_before: lines });
            at += u64::from(entry.packed);
            text += u64::from(entry.text);
            lines += u64::from(entry.lines);
        }
        // Eight bytes of the skippable frame's own head stand between.
        if at + 8 != start {
            return Err(broken());
        }
        Ok(Packed { file, frames, length: text, lines, last: None })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn line_count(&self) -> u64 {
        self.lines
    }

    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The frame that has this line, counted from zero.
    pub(super) fn frame_of_line(&self, line: u64) -> usize {
        self.frames.partition_point(|frame| frame.lines_before <= line).saturating_sub(1)
    }

    pub(super) fn read_at(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut got = Vec::new();
        let mut number = self.frames.partition_point(|frame| frame.end() <= offset);
        while got.len() < most && number < self.frames.len() {
            let start = self.frames[number].start;
            let text = self.frame(number)?;
            let from = usize::try_from((offset + got.len() as u64).saturating_sub(start)).map_err(io::Error::other)?;
            let part = text.get(from..).unwrap_or_default();
            got.extend_from_slice(&part[..part.len().min(most - got.len())]);
            number += 1;
        }
        Ok(got)
    }

    /// The text of one frame.
    pub(super) fn frame(&mut self, number: usize) -> io::Result<&[u8]> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let frame = self.frames[number];
            let mut packed = vec![0; frame.entry.packed as usize];
            self.file.read_exact_at(&mut packed, frame.at)?;
            let text = Decompressor::new()?.decompress(&packed, frame.entry.text as usize)?;
            self.last = Some((number, text));
        }
        Ok(self.last.as_ref().map_or(&[], |(_, text)| text))
    }
}
