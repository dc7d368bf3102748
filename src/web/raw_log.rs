//! A log as it is, as plain text: whole, from an offset, or a range. It streams; no part of it is held longer than it takes
//! to send it.

use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Response, StatusCode};
use futures_util::stream;
use tokio::sync::Semaphore;

use super::answer::Wrong;
use super::lines;
use crate::logs::LogReader;
use crate::model::RunId;

/// Read at a time.
const PIECE: usize = 64 << 10;

/// The log of `run`. `offset` is where the text begins for this asker; a `Range` header counts from the log's start.
pub(super) async fn answer(
    logs: PathBuf,
    run: RunId,
    offset: Option<u64>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Wrong> {
    let opened = blocking(move || {
        let mut log = lines::open(&logs, run)?;
        let len = log.as_mut().map_or(Ok(0), LogReader::len)?;
        Ok((log, len))
    });
    let (log, len) = opened.await?;
    // A log only grows, so a range of it is the same whatever the asker has of it.
    let range = if offset.is_some() { Asked::Whole } else { Asked::of(headers.get(header::RANGE), len) };
    let (status, from, to) = match range {
        Asked::Whole => (StatusCode::OK, offset.unwrap_or(0).min(len), len),
        Asked::Part { from, to } => (StatusCode::PARTIAL_CONTENT, from, to),
        Asked::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let body = match log {
        Some(log) if to > from => pieces(log, from, to),
        _ => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    let range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!("bytes {from}-{}/{len}", to - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{len}")),
        _ => None,
    };
    if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    let name = format!("inline; filename=\"cc-ci-run-{run}.log\"");
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Lines that can be asked for from the end.
const MOST_TAIL: usize = 10_000;

/// Where the last so many lines begin.
pub(super) async fn tail(logs: PathBuf, run: RunId, lines: &str) -> Result<u64, Wrong> {
    let count = lines.parse::<usize>().ok().filter(|count| (1..=MOST_TAIL).contains(count)).ok_or_else(|| {
        Wrong::parameter("tail", format!("is a number of lines from 1 to {MOST_TAIL}, not `{lines}`"))
    })?;
    let found = blocking(move || {
        let Some(mut log) = lines::open(&logs, run)? else { return Ok(0) };
        let len = log.len()?;
        let (mut at, mut seen) = (len, 0);
        while at > 0 {
            let from = at.saturating_sub(PIECE as u64);
            let bytes = log.read_at(from, usize::try_from(at - from).unwrap_or(PIECE))?;
            for (place, _) in bytes.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'\n') {
                // The end of the last line begins no other.
                let begins = from + place as u64 + 1;
                seen += usize::from(begins < len);
                if seen == count {
                    return Ok(begins);
                }
            }
            at = from;
        }
        Ok(0)
    });
    Ok(found.await?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// From the first byte to before `to`.
    Part {
        from: u64,
        to: u64,
    },
    Nothing,
}

impl Asked {
    /// One range of bytes; several, or what makes no sense, are the whole (RFC 9110, 14.2).
    fn of(header: Option<&HeaderValue>, len: u64) -> Asked {
        let range = header.and_then(|range| range.to_str().ok()).and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else { return Asked::Whole };
        let (from, to) = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(from), Ok(last)) if last >= from => (from, last.saturating_add(1).min(len)),
            (Ok(from), Err(_)) if last.is_empty() => (from, len),
            (Err(_), Ok(last)) if first.is_empty() => (len.saturating_sub(last), len),
            _ => return Asked::Whole,
        };
        if from < to { Asked::Part { from, to } } else { Asked::Nothing }
    }
}

/// The text between two offsets, read as fast as it is taken.
fn pieces(log: LogReader, from: u64, to: u64) -> Body {
    Body::from_stream(stream::try_unfold((log, from), move |(mut log, at)| async move {
        let most = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
        if most == 0 {
            return Ok(None);
        }
        let read = blocking(move || {
            let bytes = log.read_at(at, most)?;
            Ok((log, bytes))
        });
        let (log, bytes) = read.await?;
        if bytes.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        let next = at + bytes.len() as u64;
        Ok(Some((Bytes::from(bytes), (log, next))))
    }))
}

/// Files read at a time: each takes some hundred kilobytes while it is unpacked.
static READERS: Semaphore = Semaphore::const_new(4);

/// Files are read on threads that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let _seat = READERS.acquire().await.map_err(std::io::Error::other)?;
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_was_asked_and_there() {
        let of = |text: &'static str| Asked::of(Some(&HeaderValue::from_static(text)), 100);
        assert_eq!(of("bytes=0-9"), Asked::Part { from: 0, to: 10 });
        assert_eq!(of("bytes=90-"), Asked::Part { from: 90, to: 100 });
        assert_eq!(of("bytes=90-500"), Asked::Part { from: 90, to: 100 });
        assert_eq!(of("bytes=-5"), Asked::Part { from: 95, to: 100 });
        assert_eq!(of("bytes=-500"), Asked::Part { from: 0, to: 100 });
        assert_eq!(of("bytes=100-"), Asked::Nothing);
        assert_eq!(of("bytes=-0"), Asked::Nothing);
        for whole in ["bytes=9-1", "bytes=a-b", "lines=1-2", "bytes=0-1,5-9", "bytes=-", "bytes"] {
            assert_eq!(of(whole), Asked::Whole, "{whole}");
        }
        assert_eq!(Asked::of(None, 100), Asked::Whole);
    }
}
