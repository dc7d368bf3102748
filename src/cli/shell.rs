//! `cc-ci completions` and `cc-ci man`: made from the same description of the command line that reads it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Done, Failure};

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Writes a page for each subcommand into this directory; without it the first page goes to the output.
    dir: Option<PathBuf>,
}

pub(super) fn completions(shell: Shell) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cc-ci", &mut text);
    put_out(&text)
}

pub(super) fn man(asked: &Man) -> Done {
    let Some(dir) = &asked.dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(Failure::infra)?;
        return put_out(&text);
    };
    write_pages(dir).map_err(|error| Failure::usage(anyhow::anyhow!("{}: {error}", dir.display())))?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

/// A reader that is gone is no fault.
fn put_out(text: &[u8]) -> Done {
    let _ = std::io::stdout().write_all(text);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every subcommand by its words, `runs list` too.
    fn all(command: &clap::Command, before: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = format!("{before}-{}", sub.get_name());
            found.push(name.clone());
            all(sub, &name, found);
        }
    }

    #[test]
    fn every_subcommand_is_completed_and_has_a_page() {
        let mut names = Vec::new();
        all(&Cli::command(), "cc-ci", &mut names);
        assert!(names.len() > 40, "{names:?}");
        let dir = tempfile::tempdir().unwrap();
        write_pages(dir.path()).unwrap();
        for name in &names {
            assert!(dir.path().join(format!("{name}.1")).is_file(), "{name} has no page");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cc-ci", &mut text);
            let text = String::from_utf8(text).unwrap();
            for name in &names {
                let word = name.rsplit('-').next().unwrap();
                assert!(text.contains(word), "{shell} knows no {name}");
            }
        }
    }
}
