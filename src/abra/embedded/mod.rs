//! `cc-ci abra …`: as much of abra as the engine uses, for machines that have none. It shares the `ABRA_DIR` layout, the `.env`
//! rules, the labels and the words with the real one, so that the driver cannot tell them apart; one contract suite runs
//! against either (`tests/abra_contract.rs`).
//!
//! It is a program of its own that happens to live in this binary: nothing else in the crate calls it, it needs `docker` and
//! `git` on the PATH and nothing more, and it blocks where it waits.

mod app;
mod backup;
mod cli;
mod converge;
mod deploy;
mod docker;
mod git;
mod home;
mod list;
mod programs;
mod recipes;
mod say;
mod secrets;
mod volumes;

use std::ffi::OsString;
use std::process::ExitCode;

use say::Say;

/// What ends a command: one line, which is printed as `FATA …` on standard output, as abra does.
#[derive(Debug)]
struct Fatal(String);

impl<E: std::error::Error> From<E> for Fatal {
    fn from(error: E) -> Fatal {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Fatal(text)
    }
}

fn fatal<T>(text: impl Into<String>) -> Result<T, Fatal> {
    Err(Fatal(text.into()))
}

type Done = Result<(), Fatal>;

/// Runs one command line, without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let say = Say::new(cli.flags.debug, cli.command.is_machine());
    match cli::run(cli, say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fatal(text)) => {
            say.fatal(&text);
            ExitCode::FAILURE
        }
    }
}
