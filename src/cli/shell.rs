//! `cc-ci completions` and `cc-ci man`: made from the same description of the command line that reads it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::{Done, Failure, command};
use crate::say;

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Writes a page for each subcommand into this directory; without it the first page goes to the output.
    dir: Option<PathBuf>,
}

pub(super) fn completions(shell: Shell) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "cc-ci", &mut text);
    put_out(&text)
}

pub(super) fn man(asked: &Man) -> Done {
    let Some(dir) = &asked.dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command()).render(&mut text).map_err(Failure::infra)?;
        return put_out(&text);
    };
    write_pages(dir).map_err(|error| Failure::usage(anyhow::anyhow!("{}: {error}", dir.display())))?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command(), dir)
}

fn put_out(text: &[u8]) -> Done {
    say::bytes(text);
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
    fn every_option_and_every_argument_says_what_it_is_for() {
        fn look(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            let ours = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let mute = ours.filter(|argument| argument.get_help().is_none_or(|help| help.to_string().is_empty()));
            // What is passed on whole is described where it goes.
            let own = mute.filter(|argument| argument.get_id() != "arguments");
            silent.extend(own.map(|argument| format!("{path} {}", argument.get_id())));
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                if sub.get_about().is_none() {
                    silent.push(path.clone());
                }
                look(sub, &path, silent);
            }
        }
        let mut silent = Vec::new();
        look(&command(), "cc-ci", &mut silent);
        assert_eq!(silent, Vec::<String>::new());
    }

    #[test]
    fn every_subcommand_is_completed_and_has_a_page() {
        let mut names = Vec::new();
        all(&command(), "cc-ci", &mut names);
        assert!(names.len() > 40, "{names:?}");
        let dir = tempfile::tempdir().unwrap();
        write_pages(dir.path()).unwrap();
        for name in &names {
            assert!(dir.path().join(format!("{name}.1")).is_file(), "{name} has no page");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command(), "cc-ci", &mut text);
            let text = String::from_utf8(text).unwrap();
            for name in &names {
                let word = name.rsplit('-').next().unwrap();
                assert!(text.contains(word), "{shell} knows no {name}");
            }
        }
    }
}
