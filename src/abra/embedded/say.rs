//! Where words go. abra logs to standard output, fatal lines too; with `-m` that stream is for JSON, and logs go to the other.

use std::io::Write;

#[derive(Clone, Copy, Debug)]
pub(super) struct Say {
    debug: bool,
    machine: bool,
}

impl Say {
    pub(super) fn new(debug: bool, machine: bool) -> Say {
        Say { debug, machine }
    }

    pub(super) fn info(self, text: &str) {
        self.log("INFO", text);
    }

    pub(super) fn warn(self, text: &str) {
        self.log("WARN", text);
    }

    /// `place` is where in this program it was said, as abra has it.
    pub(super) fn debug(self, place: &str, text: &str) {
        if self.debug {
            self.log("DEBU", &format!("<{place}> {text}"));
        }
    }

    fn log(self, level: &str, text: &str) {
        let line = format!("{level} {text}\n");
        // A reader that went away is no reason to stop.
        let _ = if self.machine {
            std::io::stderr().write_all(line.as_bytes())
        } else {
            std::io::stdout().write_all(line.as_bytes())
        };
    }

    /// On standard output whatever else goes there: that is where callers of abra look.
    pub(super) fn fatal(self, text: &str) {
        self.print(&format!("FATA {text}"));
    }

    #[expect(clippy::unused_self, reason = "who speaks is asked for, not where it ends up")]
    pub(super) fn print(self, text: &str) {
        let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
    }

    pub(super) fn json(self, value: &serde_json::Value) {
        self.print(&value.to_string());
    }

    pub(super) fn table(self, head: &[&str], rows: &[Vec<String>]) {
        let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.print(&line(head.to_vec()));
        for row in rows {
            self.print(&line(row.iter().map(String::as_str).collect()));
        }
    }
}

/// `DEBU <file:line> …`.
macro_rules! debug {
    ($say:expr, $($text:tt)*) => {
        $say.debug(concat!(file!(), ":", line!()), &format!($($text)*))
    };
}
pub(super) use debug;
