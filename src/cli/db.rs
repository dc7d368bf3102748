//! `cc-ci db backup|restore|check`: copies of the database, and whether it is whole.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::appliance::Place;
use super::{Done, Failure};
use crate::clock::Clock;
use crate::config;
use crate::engine::recover::{NotLocked, StateLock};
use crate::store::copy::{self, CopyError, Whole};

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Copies the database as it is now, while it is in use.
    #[command(after_help = "Example: cc-ci db backup /var/backups/cc-ci --keep 14")]
    Backup {
        #[command(flatten)]
        place: Place,
        /// A file, or a directory that gets one named after the time.
        file: PathBuf,
        /// In a directory, how many of these are kept.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
        keep: u16,
    },
    /// Puts a copy back, where there is no database and neither server nor runner works.
    Restore {
        #[command(flatten)]
        place: Place,
        /// The copy, as `cc-ci db backup` made it. It stays where it is.
        file: PathBuf,
    },
    /// Looks through the database, or through a copy of one.
    #[command(
        after_help = "Exit codes: 0 it is whole; 1 it is damaged, newer, or no database of cc-ci; 2 it cannot be read."
    )]
    Check {
        #[command(flatten)]
        place: Place,
        /// A copy; the database itself where none is named.
        file: Option<PathBuf>,
    },
}

pub(super) fn db(command: Db) -> Done {
    let clock = Clock::system();
    match command {
        Db::Backup { place, file, keep } => {
            let database = config::database_in(&place.dir()?);
            if !file.is_dir() {
                let whole = copy::back_up(&database, &file).map_err(failure)?;
                return told(&file, whole);
            }
            let name = format!("{BEGIN}{}{END}", clock.now().format("%Y-%m-%dT%H%M%SZ"));
            let to = file.join(name);
            let whole = copy::back_up(&database, &to).map_err(failure)?;
            forget(&file, usize::from(keep)).map_err(|error| Failure::infra(anyhow::anyhow!(error)))?;
            told(&to, whole)
        }
        Db::Restore { place, file } => {
            let dir = place.dir()?;
            // Before a directory is made for what is no copy.
            copy::examine(&file).map_err(failure)?;
            let _locks = ["serve", "runner"]
                .map(|process| StateLock::take(&dir, process, &clock))
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| match error {
                    NotLocked::Held { .. } => Failure::no(error),
                    NotLocked::NoDirectory { .. } | NotLocked::Io { .. } => Failure::infra(error),
                })?;
            let database = config::database_in(&dir);
            let whole = copy::restore(&file, &database).map_err(failure)?;
            told(&database, whole)
        }
        Db::Check { place, file } => {
            let path = match file {
                Some(file) => file,
                None => config::database_in(&place.dir()?),
            };
            let whole = copy::examine(&path).map_err(failure)?;
            told(&path, whole)
        }
    }
}

fn told(path: &Path, whole: Whole) -> Done {
    let older = if whole.is_older() { "; the next start brings it to this program's schema" } else { "" };
    let Whole { schema, runs, bytes } = whole;
    crate::say!("{}: whole, {runs} runs, {} kB, schema {schema}{older}", path.display(), bytes / 1024);
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a file is an answer; a disk that does not take it is the machine's fault.
fn failure(error: CopyError) -> Failure {
    match error {
        CopyError::NotWritten { .. } | CopyError::NotCopied { .. } => Failure::infra(error),
        CopyError::Unreadable { .. } => Failure::usage(error),
        _ => Failure::no(error),
    }
}

const BEGIN: &str = "cc-ci-";
const END: &str = ".db";

/// Removes all but the newest of the copies that this command named.
fn forget(dir: &Path, keep: usize) -> std::io::Result<()> {
    let mut copies: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_name().and_then(|name| name.to_str()?.strip_prefix(BEGIN)?.strip_suffix(END));
        // `2026-01-02T030405Z`, in which the order of names is that of times.
        if stem.is_some_and(|time| time.len() == 18 && time.starts_with(|c: char| c.is_ascii_digit())) {
            copies.push(path);
        }
    }
    copies.sort();
    for old in copies.iter().rev().skip(keep) {
        std::fs::remove_file(old)?;
    }
    Ok(())
}
