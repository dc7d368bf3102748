//! Drawn pages lie in a file, not in memory: thousands of them fit, the kernel keeps in memory what is asked for, and takes that
//! back when the machine needs it.
//!
//! The file has no name and is written round and round. A place is told by how much was written before it, so a place that was
//! written over meanwhile is known as such: the writer moves `written` before it writes, the reader looks at it after reading.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::ReadWriteFlags;

pub(super) struct Shelf {
    file: File,
    size: u64,
    /// Bytes ever put here, gaps at the file's end included.
    written: AtomicU64,
    writing: Mutex<()>,
}

/// Where something lies, as long as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    at: u64,
    len: usize,
}

impl Spot {
    /// A part of it.
    pub(super) fn part(self, from: usize, len: usize) -> Spot {
        Spot { at: self.at + from as u64, len }
    }
}

impl Shelf {
    /// A file in `dir` that goes with this process.
    pub(super) fn open(dir: &Path, size: u64) -> io::Result<Shelf> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?.into();
        Ok(Shelf { file, size, written: AtomicU64::new(0), writing: Mutex::default() })
    }

    /// Blocks. `None` for what would fill more than a quarter.
    pub(super) fn put(&self, parts: &[&[u8]]) -> io::Result<Option<Spot>> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len as u64 > self.size / 4 {
            return Ok(None);
        }
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = self.written.load(Ordering::Acquire);
        let room = self.size - at % self.size;
        if (len as u64) > room {
            at += room;
        }
        self.written.store(at + len as u64, Ordering::Release);
        let mut offset = at % self.size;
        for part in parts {
            self.file.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(Some(Spot { at, len }))
    }

    /// What lies there; `None` when it was written over. A worker of the runtime reads only what is in memory already.
    pub(super) async fn get(self: &Arc<Shelf>, spot: Spot) -> Option<Bytes> {
        if !self.has(spot) {
            return None;
        }
        let mut bytes = vec![0; spot.len];
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let at_once = rustix::io::preadv2(&self.file, into, spot.at % self.size, ReadWriteFlags::NOWAIT);
        if at_once != Ok(spot.len) {
            let shelf = Arc::clone(self);
            let read = move || shelf.file.read_exact_at(&mut bytes, spot.at % shelf.size).map(|()| bytes);
            bytes = tokio::task::spawn_blocking(read).await.ok()?.ok()?;
        }
        self.has(spot).then(|| bytes.into())
    }

    fn has(&self, spot: Spot) -> bool {
        self.written.load(Ordering::Acquire) <= spot.at + self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(size: u64) -> (tempfile::TempDir, Arc<Shelf>) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Shelf::open(dir.path(), size).unwrap());
        (dir, shelf)
    }

    #[tokio::test]
    async fn what_was_put_there_lies_there_in_whole_and_in_parts() {
        let (dir, shelf) = shelf(1000);
        let spot = shelf.put(&[b"plain", b"packed"]).unwrap().unwrap();
        assert_eq!(shelf.get(spot.part(0, 5)).await.unwrap(), "plain");
        assert_eq!(shelf.get(spot.part(5, 6)).await.unwrap(), "packed");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        assert_eq!(shelf.put(&[&[0; 251]]).unwrap(), None, "one page does not push out all others");
    }

    #[tokio::test]
    async fn what_was_written_over_is_not_read_as_something_else() {
        let (_dir, shelf) = shelf(1000);
        let mut spots = Vec::new();
        for number in 0..100_u8 {
            spots.push((number, shelf.put(&[&[number; 90]]).unwrap().unwrap()));
            let mut there = 0;
            for (number, spot) in &spots {
                if let Some(bytes) = shelf.get(*spot).await {
                    assert!(bytes.iter().all(|byte| byte == number), "{number} is {bytes:?}");
                    there += 1;
                }
            }
            assert!(there >= spots.len().min(10), "{there} of the last ones are there");
        }
    }
}
