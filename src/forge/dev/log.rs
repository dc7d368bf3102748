//! What the forge was asked, for tests that count requests and look for secrets in them.

use std::collections::VecDeque;

use axum::extract::Request;
use serde::Serialize;

use super::{Dev, text_header};
use crate::clock::Time;

const MOST_ENTRIES: usize = 10_000;
const MOST_BODY: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Log {
    last: u64,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) n: u64,
    at: String,
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    /// Who the token is of; empty for nobody, `?` for a wrong one.
    user: String,
    agent: String,
    /// Requests that were being worked on when it came, itself among them.
    under_way: usize,
    pub(super) status: u16,
    /// The connection was closed without an answer.
    cut: bool,
    pub(super) body: String,
}

impl Entry {
    pub(super) fn begin(dev: &Dev, request: &Request, target: &str) -> Entry {
        let now: Time = dev.now();
        Entry {
            n: 0,
            at: now.rfc3339(),
            method: request.method().to_string(),
            path: target.into(),
            user: dev.asker(request.headers()).map_or("?".into(), |asker| asker.login),
            agent: text_header(request.headers(), "user-agent").unwrap_or_default().into(),
            under_way: 0,
            status: 0,
            cut: false,
            body: String::new(),
        }
    }

    pub(super) fn under_way(mut self, count: usize) -> Entry {
        self.under_way = count;
        self
    }

    pub(super) fn keep_body(&mut self, body: &[u8]) {
        self.body = String::from_utf8_lossy(&body[..body.len().min(MOST_BODY)]).into_owned();
    }

    pub(super) fn ended(mut self, status: u16) -> Entry {
        self.status = status;
        self
    }

    pub(super) fn cut(mut self) -> Entry {
        self.cut = true;
        self
    }
}

impl Log {
    pub(super) fn add(&mut self, mut entry: Entry) {
        self.last += 1;
        entry.n = self.last;
        self.entries.push_back(entry);
        if self.entries.len() > MOST_ENTRIES {
            self.entries.pop_front();
        }
    }

    /// Entries after number `since`, of that method and with that in their path; empty is any.
    pub(super) fn find(&self, since: u64, method: &str, path: &str) -> Vec<Entry> {
        let fits = |entry: &&Entry| {
            entry.n > since
                && (method.is_empty() || entry.method.eq_ignore_ascii_case(method))
                && entry.path.contains(path)
        };
        self.entries.iter().filter(fits).cloned().collect()
    }
}
