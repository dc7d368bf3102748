//! Frames of JSON over a socket, each with its length before it: how we talk with what runs in a cage.
//!
//! The other side is hostile, so a length is looked at before anything is made room for.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes, as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// Sends a frame, from inside a runtime.
pub async fn send<W: AsyncWrite + Unpin, T: Serialize>(to: &mut W, most: usize, message: &T) -> io::Result<()> {
    let frame = framed(most, message)?;
    to.write_all(&frame).await
}

/// Receives a frame, from inside a runtime. Not to be given up half-way: the rest of a frame would be read as the next.
pub async fn receive<R: AsyncRead + Unpin, T: DeserializeOwned>(from: &mut R, most: usize) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut frame = vec![0; checked(length, most)?];
    from.read_exact(&mut frame).await?;
    parsed(&frame)
}

/// Sends a frame, and waits.
pub fn send_now<T: Serialize>(to: &mut impl Write, most: usize, message: &T) -> io::Result<()> {
    to.write_all(&framed(most, message)?)
}

/// Receives a frame, and waits for it.
pub fn receive_now<T: DeserializeOwned>(from: &mut impl Read, most: usize) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; checked(length, most)?];
    from.read_exact(&mut frame)?;
    parsed(&frame)
}

fn framed<T: Serialize>(most: usize, message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > most {
        let text = format!("a message of {length} bytes is over the limit of {most}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    frame[..4].copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes());
    Ok(frame)
}

fn checked(length: [u8; 4], most: usize) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length <= most {
        return Ok(length);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes is over the limit of {most}")))
}

fn parsed<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    serde_json::from_slice(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_received_and_what_is_too_large_is_not() {
        let (mut here, mut there) = tokio::io::duplex(64);
        let sender = tokio::spawn(async move { send(&mut here, 100, &"a\nb").await });
        let got: String = receive(&mut there, 100).await.unwrap();
        assert_eq!(got, "a\nb");
        sender.await.unwrap().unwrap();

        assert!(framed(10, &"twelve bytes").is_err());
        let fault = receive_now::<String>(&mut &[0, 16, 0, 1][..], 1 << 20).unwrap_err();
        assert_eq!(fault.to_string(), "a message of 1048577 bytes is over the limit of 1048576");
        assert!(receive_now::<String>(&mut &b"\0\0\0\x02{}"[..], 100).is_err());
    }

    #[test]
    fn bytes_come_through_whatever_they_are() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
    }
}
