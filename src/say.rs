//! What a command prints. A reader that is gone (`cc-ci runs list | head -1`) is no reason to die in the middle of anything,
//! least of all before a teardown: what cannot be printed is dropped.

use std::fmt::Arguments;
use std::io::Write;

/// As `println!`, for whoever may have stopped reading.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

pub fn line(text: Arguments) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.write_all(b"\n"));
}
