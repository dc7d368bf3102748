//! Wakes the other process: a Unix datagram without content. A ring that is lost costs a second of polling, never a run.

use std::io;
use std::os::unix::net::UnixDatagram as Ringer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixDatagram;

/// Rings at the other process's door; nobody there is no error.
#[derive(Clone, Debug)]
pub struct Bell {
    ringer: Option<Arc<Ringer>>,
    door: PathBuf,
}

impl Bell {
    pub fn of(door: PathBuf) -> Bell {
        let ringer = Ringer::unbound().and_then(|ringer| ringer.set_nonblocking(true).map(|()| ringer)).ok();
        Bell { ringer: ringer.map(Arc::new), door }
    }

    pub fn ring(&self) {
        if let Some(ringer) = &self.ringer {
            let _ = ringer.send_to(&[], &self.door);
        }
    }
}

/// The door of this process.
#[derive(Debug)]
pub struct Door {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Door {
    /// Takes the place of whoever stood here before; the lock on the state directory says that nobody does.
    pub fn open(path: &Path) -> io::Result<Door> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Door { socket: UnixDatagram::bind(path)?, path: path.into() })
    }

    /// Until somebody rings; rings that piled up are one.
    pub async fn heard(&self) {
        let mut nothing = [0; 1];
        let _ = self.socket.recv(&mut nothing).await;
        while self.socket.try_recv(&mut nothing).is_ok() {}
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_is_heard_and_ringing_at_nobody_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bell.sock");
        Bell::of(path.clone()).ring();
        let door = Door::open(&path).unwrap();
        let bell = Bell::of(path.clone());
        bell.ring();
        bell.ring();
        door.heard().await;
        drop(door);
        assert!(!path.exists());
    }
}
