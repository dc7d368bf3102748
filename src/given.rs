//! Files that somebody names, in the configuration or on the command line. What stands at the name is looked at before it is
//! read: a FIFO would hold us until somebody writes into it, a device would fill the memory.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// More than any file of words, keys or certificates needs.
const MOST_BYTES: u64 = 4 << 20;

/// The bytes of a file, if it is a plain one of a size that makes sense, or what a shell hands down in its place (`<(…)`).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = if is_handed_down(path) { File::open(path)? } else { open(path)? };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

/// The same as text.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// Opens a plain file, or says what stands there instead.
pub fn open(path: &Path) -> io::Result<File> {
    plain(&std::fs::metadata(path)?)?;
    // What was put there since is opened without waiting, and looked at again.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    plain(&file.metadata()?)?;
    Ok(file)
}

fn plain(meta: &Metadata) -> io::Result<()> {
    let what = match meta.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {what}, and no plain file")))
}

/// A pipe that is open already, with somebody at its other end.
fn is_handed_down(path: &Path) -> bool {
    let ours = path.starts_with("/dev/fd") || path == Path::new("/dev/stdin");
    ours && std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_plain_files_of_some_size_are_read_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let said = |path: &Path| read_text(path).unwrap_or_else(|error| error.to_string());
        std::fs::write(at("words"), "text").unwrap();
        std::fs::write(at("bytes"), [0xff]).unwrap();
        File::create(at("huge")).unwrap().set_len(MOST_BYTES + 1).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::os::unix::fs::symlink("words", at("link")).unwrap();
        assert_eq!((said(&at("words")), said(&at("link"))), ("text".to_owned(), "text".to_owned()));
        assert_eq!(said(&at("pipe")), "it is a pipe, and no plain file");
        assert_eq!(said(dir.path()), "it is a directory, and no plain file");
        assert_eq!(said(Path::new("/dev/zero")), "it is a device, and no plain file");
        assert_eq!(said(&at("huge")), "it is larger than 4 MiB");
        assert_eq!(said(&at("bytes")), "it is not UTF-8 text");

        let (from, mut to) = io::pipe().unwrap();
        to.write_all(b"secret").unwrap();
        drop(to);
        assert_eq!(said(Path::new(&format!("/dev/fd/{}", from.as_raw_fd()))), "secret");
    }
}
