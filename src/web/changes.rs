//! Tells lists that something they show has changed: the overview, the runs and the queue ask for themselves again then.
//!
//! One task looks for everybody, and ends with the last who listens. The id of an event says which change of which process it
//! tells; who comes back with the newest has missed nothing and hears nothing, anybody else is told at once.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::Response;
use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::answer::Wrong;
use super::cache::Topic;
use super::live::{LOOK, Live, STILL_HERE, Seat, as_events};
use super::news::News;
use crate::clock::Time;

#[derive(Clone)]
pub(super) struct Changes {
    news: Arc<News>,
    /// Numbers of another process mean something else.
    started_at: Time,
    newest: watch::Sender<u64>,
    looks: Arc<Mutex<bool>>,
    shutdown: CancellationToken,
}

struct Follower {
    changes: Changes,
    newest: watch::Receiver<u64>,
    told: u64,
    /// What it is told at once.
    first: Option<Bytes>,
    _seat: Seat,
}

impl Changes {
    pub(super) fn new(news: Arc<News>, started_at: Time, shutdown: CancellationToken) -> Changes {
        Changes { news, started_at, newest: watch::Sender::new(0), looks: Arc::default(), shutdown }
    }

    /// From whatever `last` was on.
    pub(super) async fn follow(
        &self,
        live: &Live,
        last: Option<String>,
        client: IpAddr,
    ) -> Result<Response<Body>, Wrong> {
        let seat = live.seat(client)?;
        let newest = self.join();
        self.news.catch_up().await?;
        let told = self.news.stamp(Topic::Runs);
        let missed = last.is_none_or(|last| last != self.id(told));
        let first = Some(if missed { self.event(told) } else { Bytes::from_static(b": nothing new\n\n") });
        let follower = Follower { changes: self.clone(), newest, told, first, _seat: seat };
        let events = stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), follower))
        });
        Ok(as_events(Body::from_stream(events)))
    }

    fn join(&self) -> watch::Receiver<u64> {
        // Under the lock that ending takes: nobody joins a look that is about to end.
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest.subscribe();
        if !std::mem::replace(&mut *looks, true) {
            tokio::spawn(self.clone().look());
        }
        newest
    }

    async fn look(self) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            {
                let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
                if self.newest.receiver_count() == 0 {
                    *looks = false;
                    return;
                }
            }
            match self.news.catch_up().await {
                Ok(()) => {
                    let stamp = self.news.stamp(Topic::Runs);
                    self.newest.send_if_modified(|known| std::mem::replace(known, stamp) != stamp);
                }
                Err(error) => tracing::warn!(error = %error, "a live view cannot read the database"),
            }
        }
    }

    fn id(&self, stamp: u64) -> String {
        format!("{}-{stamp}", self.started_at.0)
    }

    fn event(&self, stamp: u64) -> Bytes {
        format!("retry: 2000\nid: {}\nevent: changed\ndata: \n\n", self.id(stamp)).into()
    }
}

impl Follower {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            tokio::select! {
                more = self.newest.changed() => more.ok()?,
                () = self.changes.shutdown.cancelled() => return None,
                () = tokio::time::sleep(STILL_HERE) => return Some(Bytes::from_static(b": still here\n\n")),
            }
            let newest = *self.newest.borrow_and_update();
            if newest > self.told {
                self.told = newest;
                return Some(self.changes.event(newest));
            }
        }
    }
}
