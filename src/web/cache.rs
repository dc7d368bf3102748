//! Rendered pages, kept as long as what they show has not changed. Bounded: two halves, the younger one becoming the older
//! when it is full, and what is asked for in the older one moves on.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::Rendered;
use super::news::News;
use crate::clock::Time;
use crate::model::RunId;

/// What a page shows, and so which changes make it old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// One run.
    Run(RunId),
    /// Which runs there are and how they stand.
    Runs,
    /// Anything in the database.
    Everything,
}

struct Kept {
    rendered: Arc<Rendered>,
    topic: Topic,
    stamp: u64,
    until: Time,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Box<str>, Kept>,
    young_bytes: usize,
    old: HashMap<Box<str>, Kept>,
}

pub(super) struct Cache {
    halves: Mutex<Halves>,
    most_bytes: usize,
    turns: [tokio::sync::Mutex<()>; 64],
}

impl Cache {
    pub(super) fn new(most_bytes: usize) -> Cache {
        Cache { halves: Mutex::default(), most_bytes, turns: [const { tokio::sync::Mutex::const_new(()) }; 64] }
    }

    /// The page, unless something that it shows is newer or its ages are no longer true.
    pub(super) fn get(&self, address: &str, news: &News, now: Time) -> Option<Arc<Rendered>> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |kept: &Kept| now < kept.until && kept.stamp == news.stamp(kept.topic);
        if let Some(kept) = halves.young.get(address) {
            return fresh(kept).then(|| Arc::clone(&kept.rendered));
        }
        let (address, kept) = halves.old.remove_entry(address)?;
        if !fresh(&kept) {
            return None;
        }
        let rendered = Arc::clone(&kept.rendered);
        halves.put(address, kept, self.most_bytes / 2);
        Some(rendered)
    }

    pub(super) fn put(&self, address: Box<str>, rendered: Arc<Rendered>, topic: Topic, stamp: u64, until: Time) {
        let kept = Kept { rendered, topic, stamp, until };
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.put(address, kept, self.most_bytes / 2);
    }

    /// One rendering of an address at a time.
    pub(super) async fn turn(&self, address: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hash = DefaultHasher::new();
        address.hash(&mut hash);
        let turn = usize::try_from(hash.finish() % 64).unwrap_or(0);
        self.turns[turn].lock().await
    }
}

impl Halves {
    fn put(&mut self, address: Box<str>, kept: Kept, most_bytes: usize) {
        let bytes = kept.rendered.bytes.len() + address.len() + 200;
        if self.young_bytes + bytes > most_bytes {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(address, kept) {
            self.young_bytes = self.young_bytes.saturating_sub(before.rendered.bytes.len() + 200);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn page(size: usize) -> Arc<Rendered> {
        Arc::new(Rendered::new("text/plain", "no-cache", vec![b'x'; size].into()))
    }

    #[tokio::test]
    async fn a_page_is_kept_until_it_is_old() {
        let (_dir, store) = crate::store::tests::empty();
        let news = News::new(store);
        let cache = Cache::new(10_000);
        let stamp = news.stamp(Topic::Runs);
        cache.put("/".into(), page(10), Topic::Runs, stamp, Time(100));
        assert!(cache.get("/", &news, Time(99)).is_some());
        assert!(cache.get("/", &news, Time(100)).is_none(), "its ages are no longer true");
        cache.put("/".into(), page(10), Topic::Runs, stamp + 1, Time(100));
        assert!(cache.get("/", &news, Time(1)).is_none(), "what it shows has changed");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_is_read_stays() {
        let (_dir, store) = crate::store::tests::empty();
        let news = News::new(store);
        let cache = Cache::new(100_000);
        let stamp = news.stamp(Topic::Runs);
        let later = Time(0).plus(Duration::from_secs(60));
        for number in 0..1000 {
            cache.put(format!("/runs/{number}").into(), page(5_000), Topic::Runs, stamp, later);
            cache.put("/".into(), page(5_000), Topic::Runs, stamp, later);
            assert!(cache.get("/", &news, Time(0)).is_some());
        }
        let halves = cache.halves.lock().unwrap();
        assert!(halves.young.len() + halves.old.len() <= 20);
    }
}
