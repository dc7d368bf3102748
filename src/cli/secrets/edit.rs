//! `cc-ci secrets edit`: clear text is seen by one editor, in a directory in memory, and by nobody afterwards.

use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use super::{Done, File, write_new};
use crate::clock::Clock;

pub(super) fn edit(file: &File) -> Done {
    let opened = file.open()?;
    let before = opened.in_clear()?;
    let private = Private::make()?;
    let path = private.0.join(file.file.file_name().unwrap_or_default());
    write_new(&path, &before)?;
    loop {
        run_editor(&path)?;
        let after = Zeroizing::new(std::fs::read_to_string(&path).context("reading back what was edited")?);
        if *after == *before {
            crate::say!("{}: nothing was changed", file.file.display());
            return Ok(ExitCode::SUCCESS);
        }
        match opened.with_text(&after, Clock::system().now()) {
            Ok(text) => {
                file.put(&opened, &text)?;
                crate::say!("{}: sealed", file.file.display());
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) if std::io::stdin().is_terminal() => {
                crate::aside!("{error}\nEnter opens the editor again, Ctrl-C gives up; the file is what it was.");
                let read = std::io::stdin().read_line(&mut String::new()).context("waiting for Enter")?;
                if read == 0 {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A directory in memory that only we enter, gone at the end.
struct Private(PathBuf);

impl Private {
    fn make() -> anyhow::Result<Private> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let path = parent.join(format!("cc-ci-{}", hex::encode(random)));
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Private(path))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "an editor needs the terminal that we have, and ends before we do")]
fn run_editor(path: &Path) -> anyhow::Result<()> {
    let named = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR")).unwrap_or_else(|_| "vi".into());
    let mut words = named.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = std::process::Command::new(program).args(words).arg(path).status();
    let status = status.with_context(|| format!("the editor `{named}` could not be started; set EDITOR"))?;
    if !status.success() {
        bail!("the editor `{named}` ended with {status}; the file is what it was");
    }
    Ok(())
}
