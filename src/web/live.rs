//! What happens while somebody looks: a run's log lines and its changes, as server-sent events.
//!
//! One task follows the log of a run for everybody who looks at it and hands each piece out ready to be sent; it ends with the
//! last follower. A follower first reads by itself what it has missed. It listens before it reads, and each piece says where
//! in the log it stands, so that nothing is left out or told twice where the two meet; one that was too slow reads by itself
//! again. The tail says where it begins, for what was written between the first follower's reading and its own first look. The id of an event is the place in the log, so `Last-Event-ID` says where a broken connection goes on.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Extensions, Response};
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::answer::Wrong;
use super::cache::Topic;
use super::lines::{self, Line};
use super::listen::Peer;
use super::news::News;
use super::raw_log::blocking;
use crate::logs::colour::Colour;
use crate::model::RunId;
use crate::store::{Store, StoreError, runs};

/// Between two looks at a log: a line is a page's within a quarter of a second, the way included.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// A word now and then, so that proxies do not take a quiet stream for a dead one.
pub(super) const STILL_HERE: Duration = Duration::from_secs(15);
/// Read at a time.
const PIECE: usize = 64 << 10;
/// Pieces that a slow follower may be behind before it reads by itself.
const BEHIND: usize = 16;
/// Looks without a new line after which the log of a run that is over is taken to be whole.
const QUIET_LOOKS: u32 = 5;

pub(super) struct Live {
    each: usize,
    seats: Arc<Mutex<HashMap<IpAddr, usize>>>,
    source: Source,
}

/// What followers read from.
#[derive(Clone)]
struct Source {
    store: Store,
    logs: Arc<Path>,
    news: Arc<News>,
    tails: Arc<Mutex<HashMap<RunId, broadcast::Sender<Piece>>>>,
    shutdown: CancellationToken,
}

/// What a tail hands out.
#[derive(Clone)]
enum Piece {
    /// The tail has begun here; what is before, a follower reads by itself.
    Begins(u64),
    Lines {
        from: u64,
        to: u64,
        event: Bytes,
    },
    Changed,
    End,
}

impl Live {
    pub(super) fn new(
        each: usize,
        store: Store,
        logs: Arc<Path>,
        news: Arc<News>,
        shutdown: CancellationToken,
    ) -> Live {
        let source = Source { store, logs, news, tails: Arc::default(), shutdown };
        Live { each, seats: Arc::default(), source }
    }

    /// The events of a run from `from` bytes of its log on.
    pub(super) async fn follow(&self, run: RunId, from: u64, client: IpAddr) -> Result<Response<Body>, Wrong> {
        let seat = self.seat(client)?;
        let over = self.source.is_over(run).await?;
        let tail = if over { None } else { Some(self.source.tail_of(run)) };
        let follower = Follower { source: self.source.clone(), run, at: from, tail, phase: Phase::Hello, _seat: seat };
        let events = stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), follower))
        });
        Ok(as_events(Body::from_stream(events)))
    }

    pub(super) fn seat(&self, client: IpAddr) -> Result<Seat, Wrong> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(client).or_default();
        if *taken >= self.each {
            return Err(Wrong::TooMany { most: self.each });
        }
        *taken += 1;
        Ok(Seat { client, seats: Arc::clone(&self.seats) })
    }
}

/// On its envelope, that nobody on the way shall hold it back.
pub(super) fn as_events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One of a client's live views, given back when it is dropped.
pub(super) struct Seat {
    client: IpAddr,
    seats: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.client);
            }
        }
    }
}

struct Follower {
    source: Source,
    run: RunId,
    at: u64,
    /// `None`: the run is over, and there is only what the log has.
    tail: Option<broadcast::Receiver<Piece>>,
    phase: Phase,
    _seat: Seat,
}

enum Phase {
    Hello,
    Reading,
    Listening,
    Over,
}

impl Follower {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.phase {
                // Something may have changed between the page and this; the page is asked for again, and costs nothing if not.
                Phase::Hello => {
                    self.phase = Phase::Reading;
                    return Some(Bytes::from_static(b"retry: 2000\nevent: changed\ndata: \n\n"));
                }
                Phase::Reading => match self.source.lines(self.run, self.at).await {
                    Ok(Some((event, to))) => {
                        self.at = to;
                        return Some(event);
                    }
                    Ok(None) if self.tail.is_some() => self.phase = Phase::Listening,
                    Ok(None) => {
                        self.phase = Phase::Over;
                        return Some(Bytes::from_static(b"event: end\ndata: \n\n"));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, run = %self.run, "a log could not be followed");
                        return None;
                    }
                },
                Phase::Listening => {
                    let tail = self.tail.as_mut()?;
                    let piece = tokio::select! {
                        piece = tail.recv() => piece,
                        () = self.source.shutdown.cancelled() => return None,
                        () = tokio::time::sleep(STILL_HERE) => return Some(Bytes::from_static(b": still here\n\n")),
                    };
                    match piece {
                        Ok(Piece::Lines { from, to, event }) if from == self.at => {
                            self.at = to;
                            return Some(event);
                        }
                        Ok(Piece::Lines { to, .. } | Piece::Begins(to)) if to <= self.at => {}
                        Ok(Piece::Lines { .. } | Piece::Begins(_)) | Err(RecvError::Lagged(_)) => {
                            self.phase = Phase::Reading;
                        }
                        Ok(Piece::Changed) => return Some(Bytes::from_static(b"event: changed\ndata: \n\n")),
                        Ok(Piece::End) => {
                            self.tail = None;
                            self.phase = Phase::Reading;
                        }
                        Err(RecvError::Closed) => return None,
                    }
                }
                Phase::Over => return None,
            }
        }
    }
}

impl Source {
    async fn is_over(&self, run: RunId) -> Result<bool, Wrong> {
        let (found, newest) =
            self.store.read(move |db| Ok((runs::by_id(db, run)?, crate::store::pages::newest(db)?))).await?;
        found.map(|run| run.outcome.is_some()).ok_or(Wrong::NoRun { asked: run.to_string(), newest })
    }

    /// Joins those who follow this run; the first one starts the tail.
    fn tail_of(&self, run: RunId) -> broadcast::Receiver<Piece> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(&run) {
            return tail.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BEHIND);
        tails.insert(run, sender.clone());
        tokio::spawn(self.clone().tail(run, sender));
        receiver
    }

    /// Follows one run's log and state until it is over or nobody listens.
    async fn tail(self, run: RunId, sender: broadcast::Sender<Piece>) {
        let mut at = None;
        let mut stamp = None;
        let mut over = false;
        let mut quiet = 0;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            {
                // Under the lock that joining takes: nobody can join a tail that is about to end.
                let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
                if sender.receiver_count() == 0 || quiet >= QUIET_LOOKS {
                    tails.remove(&run);
                    let _ = sender.send(Piece::End);
                    return;
                }
            }
            match self.changed(run, &mut stamp).await {
                Ok(Some(is_over)) => {
                    over = is_over;
                    let _ = sender.send(Piece::Changed);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = %error, run = %run, "a live view cannot read the database"),
            }
            let grown = match at {
                None => self.end_of(run).await.map(|end| {
                    at = Some(end);
                    let _ = sender.send(Piece::Begins(end));
                    None
                }),
                Some(at) => self.lines(run, at).await,
            };
            match grown {
                Ok(Some((event, to))) => {
                    let from = at.replace(to).unwrap_or(to);
                    let _ = sender.send(Piece::Lines { from, to, event });
                    quiet = 0;
                }
                Ok(None) => quiet += u32::from(over),
                Err(error) => {
                    tracing::warn!(error = %error, run = %run, "a log could not be followed");
                    quiet += u32::from(over);
                }
            }
        }
    }

    /// Whether the run is over, if it changed since `stamp`.
    async fn changed(&self, run: RunId, stamp: &mut Option<u64>) -> Result<Option<bool>, StoreError> {
        self.news.catch_up().await?;
        let now = self.news.stamp(Topic::Run(run));
        if *stamp == Some(now) {
            return Ok(None);
        }
        let over = self.store.read(move |db| runs::by_id(db, run)).await?.is_none_or(|run| run.outcome.is_some());
        *stamp = Some(now);
        Ok(Some(over))
    }

    /// Where the log's last whole line ends.
    async fn end_of(&self, run: RunId) -> io::Result<u64> {
        let logs = Arc::clone(&self.logs);
        blocking(move || {
            let Some(mut log) = lines::open(&logs, run)? else { return Ok(0) };
            let len = log.len()?;
            let from = len.saturating_sub(PIECE as u64);
            let text = log.read_at(from, PIECE)?;
            Ok(text.iter().rposition(|&byte| byte == b'\n').map_or(from, |newline| from + newline as u64 + 1))
        })
        .await
    }

    /// The whole lines after `at` as one event, and where it ends.
    async fn lines(&self, run: RunId, at: u64) -> io::Result<Option<(Bytes, u64)>> {
        let logs = Arc::clone(&self.logs);
        blocking(move || {
            let Some(mut log) = lines::open(&logs, run)? else { return Ok(None) };
            if log.len()? <= at {
                return Ok(None);
            }
            let mut text = log.read_at(at, PIECE)?;
            match text.iter().rposition(|&byte| byte == b'\n') {
                Some(newline) => text.truncate(newline + 1),
                None if text.len() < PIECE => return Ok(None),
                None => {}
            }
            let to = at + text.len() as u64;
            Ok(Some((event(&String::from_utf8_lossy(&text), to), to)))
        })
        .await
    }
}

fn event(text: &str, to: u64) -> Bytes {
    let mut event = String::with_capacity(text.len() + 64);
    let _ = writeln!(event, "id: {to}\nevent: lines");
    for line in text.lines() {
        let line = Line::parse(line);
        let (at, stage) = if line.at.is_empty() { ("-", "-") } else { (line.at.as_str(), line.stage) };
        let _ = write!(event, "data: {at} {stage} {} ", line.stream);
        let mut last = Colour::default();
        for (colour, text) in line.parts() {
            if colour != std::mem::replace(&mut last, colour) {
                event.push_str(&String::from_utf8_lossy(&colour.spelt()));
            }
            event.push_str(&text);
        }
        if line.left_out > 0 {
            let _ = write!(event, " … {} more bytes", line.left_out);
        }
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// Who asks: the peer, or whom the proxy before us names, if the peer can be one.
pub(super) fn client(headers: &HeaderMap, extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip().to_canonical());
    let near = match peer {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
    };
    let named = headers.get("x-forwarded-for").and_then(|named| named.to_str().ok());
    let last = named.and_then(|named| named.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    if near { last.unwrap_or(peer) } else { peer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cannot_be_broken_up_by_what_a_line_holds() {
        let event = event("2026-01-02T03:04:05.678Z install out a\rid: 7\u{1b}[31m<b>\u{1b}[2J\n", 9);
        assert_eq!(
            std::str::from_utf8(&event).unwrap(),
            "id: 9\nevent: lines\ndata: 03:04:05 install out a␍id: 7\u{1b}[31m<b>\n\n"
        );
    }

    #[test]
    fn only_a_near_peer_can_speak_for_another() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 203.0.113.9"));
        let from = |peer: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(format!("{peer}:5000").parse().unwrap()));
            client(&headers, &extensions).to_string()
        };
        assert_eq!(from("127.0.0.1"), "203.0.113.9");
        assert_eq!(from("172.18.0.3"), "203.0.113.9");
        assert_eq!(from("198.51.100.7"), "198.51.100.7");
    }
}
