//! What a command prints. A reader that is gone (`cc-ci runs list | head -1`) or a disk that is full is no reason to die in the
//! middle of anything, least of all before a teardown: what cannot be printed is dropped, and the exit code says so at the end.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// As `println!`, for whoever may have stopped reading.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

/// As `eprintln!`, which would panic where the terminal is gone.
#[macro_export]
macro_rules! aside {
    ($($text:tt)*) => { $crate::say::beside(format_args!($($text)*)) };
}

/// Why printing ended.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// As a shell tells of a program that a closed pipe ended: 128 and the number of SIGPIPE.
const CLOSED_PIPE: u8 = 141;

pub fn line(text: Arguments) {
    bytes(format!("{text}\n").as_bytes());
}

/// On standard error: if that fails too, there is nobody to tell.
pub fn beside(text: Arguments) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Says whether anybody may still read.
pub fn bytes(bytes: &[u8]) -> bool {
    if LOST.get().is_some() {
        return false;
    }
    let mut out = io::stdout().lock();
    let printed = out.write_all(bytes).and_then(|()| out.flush());
    printed.map_err(lose).is_ok()
}

/// Something that prints by itself could not.
pub fn lose(error: io::Error) {
    let _ = LOST.set(error);
}

/// With which code a command ends whose own is `code`: what it found goes before what became of its words.
pub fn ended(code: ExitCode) -> ExitCode {
    let otherwise = match LOST.get() {
        None => return code,
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => CLOSED_PIPE,
        Some(error) => {
            crate::aside!("cc-ci: not everything could be printed on standard output: {error}");
            3
        }
    };
    if code == ExitCode::SUCCESS { ExitCode::from(otherwise) } else { code }
}
