//! How the command line shows things: tables cut to the terminal, data as JSON, or just the names, for scripts.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use super::{Done, Failure};
use crate::clock::Time;

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Form {
    /// As data, in the shapes of the API.
    #[arg(long)]
    pub json: bool,
    /// Only numbers, names or the state, one a line: for scripts.
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
}

impl Form {
    /// One of three: the data, the bare words, or what people read.
    pub(super) fn tell<T: serde::Serialize>(
        self,
        data: &T,
        bare: impl FnOnce() -> Vec<String>,
        people: impl FnOnce(),
    ) -> Done {
        if self.json {
            crate::say!("{}", serde_json::to_string_pretty(data).map_err(Failure::infra)?);
        } else if self.quiet {
            for word in bare() {
                crate::say!("{}", plain(&word));
            }
        } else {
            people();
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Columns as wide as what is in them; the last takes the rest of the line.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heads: &[&str]) -> Table {
        Table { rows: vec![heads.iter().map(|&head| head.to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    pub(super) fn say(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            crate::say!("{}", cut(line.trim_end()));
        }
    }
}

/// Without what a terminal could take for a command.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether what is written is looked at, by somebody who did not say that colours are in the way (<https://no-color.org>).
pub(super) fn takes_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty())
}

/// To the terminal's width; whole where there is none.
pub(super) fn cut(line: &str) -> String {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if std::io::stdout().is_terminal() && columns > 20 && line.chars().count() > columns {
        line.chars().take(columns - 1).chain(['…']).collect()
    } else {
        line.to_owned()
    }
}

/// A moment of the API, to the minute.
pub(super) fn minute(moment: Option<&str>) -> String {
    moment.and_then(Time::parse).map_or_else(|| "-".into(), |at| at.format("%Y-%m-%d %H:%M"))
}

/// Between two moments of the API, in seconds.
pub(super) fn took(from: Option<&str>, to: Option<&str>) -> String {
    match (from.and_then(Time::parse), to.and_then(Time::parse)) {
        (Some(from), Some(to)) => format!("{:.1} s", to.since(from).as_secs_f64()),
        _ => String::new(),
    }
}
