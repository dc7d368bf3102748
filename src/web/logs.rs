//! What the pages need of a run's log: its length and its bytes by offset, whatever form it lies in.

use std::io;

use crate::model::RunId;

/// The text of one log, uncompressed: lines of `time stage stream text`.
pub trait LogText: Send {
    /// Bytes of text so far.
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// At most `most` bytes from `offset`; fewer at the end.
    fn read_at(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>>;
}

/// Where logs are found. Called on threads that may block.
pub trait Logs: Send + Sync + 'static {
    /// `None`: this run has no log, yet or any more.
    fn open(&self, run: RunId) -> io::Result<Option<Box<dyn LogText>>>;
}
