//! Rendered pages, kept as long as what they show has not changed. Bounded: two halves, the younger one becoming the older
//! when it is full, and what is asked for in the older one moves on. Pages are kept packed,
//! which costs a few microseconds and lets a thousand of them fit into a few megabytes; of the busiest the plain form is kept
//! beside it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;

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

/// Times that a page is unpacked before its plain form is kept too.
const OFTEN: u32 = 4;

struct Kept {
    rendered: Arc<Rendered>,
    plain: Option<Bytes>,
    unpacked: u32,
    topic: Topic,
    stamp: u64,
    until: Time,
}

/// A page that is still true.
pub(super) struct Hit {
    pub rendered: Arc<Rendered>,
    /// What `rendered` holds, where it is packed and often asked for.
    pub plain: Option<Bytes>,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Box<str>, Kept>,
    young_bytes: usize,
    old: HashMap<Box<str>, Kept>,
    plain_bytes: usize,
}

pub(super) struct Cache {
    halves: Mutex<Halves>,
    most_bytes: usize,
    most_plain: usize,
    turns: [tokio::sync::Mutex<()>; 64],
}

impl Cache {
    pub(super) fn new(most_bytes: usize, most_plain: usize) -> Cache {
        let turns = [const { tokio::sync::Mutex::const_new(()) }; 64];
        Cache { halves: Mutex::default(), most_bytes, most_plain, turns }
    }

    /// The page, unless something that it shows is newer or its ages are no longer true.
    pub(super) fn get(&self, address: &str, news: &News, now: Time) -> Option<Hit> {
        let fresh = |kept: &Kept| now < kept.until && kept.stamp == news.stamp(kept.topic);
        let hit = |kept: &Kept| Hit { rendered: Arc::clone(&kept.rendered), plain: kept.plain.clone() };
        let mut halves = self.halves();
        if let Some(kept) = halves.young.get(address) {
            return fresh(kept).then(|| hit(kept));
        }
        let (address, kept) = halves.old.remove_entry(address)?;
        if !fresh(&kept) {
            halves.plain_bytes -= plain_size(&kept);
            return None;
        }
        let hit = hit(&kept);
        halves.put(address, kept, self.most_bytes / 2);
        Some(hit)
    }

    /// Keeps a page; gives it back in the form in which it is kept.
    pub(super) fn put(
        &self,
        address: Box<str>,
        rendered: Rendered,
        topic: Topic,
        stamp: u64,
        until: Time,
    ) -> Arc<Rendered> {
        let (rendered, plain) = rendered.pack();
        let rendered = Arc::new(rendered);
        let mut halves = self.halves();
        let plain = plain.filter(|plain| halves.plain_bytes + plain.len() <= self.most_plain);
        halves.plain_bytes += plain.as_ref().map_or(0, Bytes::len);
        let kept = Kept { rendered: Arc::clone(&rendered), plain, unpacked: 0, topic, stamp, until };
        halves.put(address, kept, self.most_bytes / 2);
        rendered
    }

    /// Somebody wanted the plain form and had to unpack it; of what is asked for often, it is kept.
    pub(super) fn unpacked(&self, address: &str, rendered: &Arc<Rendered>, plain: &Bytes) {
        if !rendered.is_packed() || plain.len() > self.most_plain {
            return;
        }
        let mut halves = self.halves();
        let full = halves.plain_bytes + plain.len() > self.most_plain;
        let Some(kept) = halves.young.get_mut(address).filter(|kept| Arc::ptr_eq(&kept.rendered, rendered)) else {
            return;
        };
        kept.unpacked += 1;
        if kept.unpacked < OFTEN || kept.plain.is_some() {
            return;
        }
        if full {
            halves.forget_plain();
        }
        halves.plain_bytes += plain.len();
        if let Some(kept) = halves.young.get_mut(address) {
            kept.plain = Some(plain.clone());
        }
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
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
        let bytes = size(&address, &kept);
        if self.young_bytes + bytes > most_bytes {
            let forgotten = mem::replace(&mut self.old, mem::take(&mut self.young));
            self.plain_bytes -= forgotten.values().map(plain_size).sum::<usize>();
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        let before = self.young.insert(address, kept);
        if let Some(before) = before {
            self.young_bytes = self.young_bytes.saturating_sub(size("", &before));
            self.plain_bytes -= plain_size(&before);
        }
    }

    fn forget_plain(&mut self) {
        for kept in self.young.values_mut().chain(self.old.values_mut()) {
            kept.plain = None;
            kept.unpacked = 0;
        }
        self.plain_bytes = 0;
    }
}

/// What a page takes, its place in the map included.
fn size(address: &str, kept: &Kept) -> usize {
    kept.rendered.size() + address.len() + 300
}

fn plain_size(kept: &Kept) -> usize {
    kept.plain.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LATER: Time = Time(60_000);

    fn page(size: usize) -> Rendered {
        // Numbers do not pack to nothing.
        let text: String = (0_u32..)
            .flat_map(|number| number.wrapping_mul(2_654_435_761).to_string().into_bytes())
            .take(size)
            .map(char::from)
            .collect();
        Rendered::new("text/plain", "no-cache", text)
    }

    #[tokio::test]
    async fn a_page_is_kept_until_it_is_old() {
        let (_dir, store) = crate::store::tests::empty();
        let news = News::new(store);
        let cache = Cache::new(10_000, 10_000);
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
        let cache = Cache::new(100_000, 50_000);
        let stamp = news.stamp(Topic::Runs);
        for number in 0..1000 {
            cache.put(format!("/runs/{number}").into(), page(5_000), Topic::Runs, stamp, LATER);
            if number == 0 {
                cache.put("/".into(), page(5_000), Topic::Runs, stamp, LATER);
            }
            let hit = cache.get("/", &news, Time(0)).expect("what is read stays");
            cache.unpacked("/", &hit.rendered, &hit.rendered.plain());
            if number % 3 == 0 {
                cache.get(&format!("/runs/{}", number / 2), &news, Time(number));
            }
        }
        let halves = cache.halves();
        let all = || halves.young.iter().chain(&halves.old);
        assert!(all().map(|(address, kept)| size(address, kept)).sum::<usize>() <= 105_000);
        assert_eq!(all().map(|(_, kept)| plain_size(kept)).sum::<usize>(), halves.plain_bytes);
        assert!(halves.plain_bytes <= 50_000);
    }

    #[tokio::test]
    async fn what_is_asked_for_often_is_kept_plain() {
        let (_dir, store) = crate::store::tests::empty();
        let news = News::new(store);
        let cache = Cache::new(100_000, 8_000);
        let stamp = news.stamp(Topic::Runs);
        for address in ["/a", "/b"] {
            cache.put(address.into(), page(5_000), Topic::Runs, stamp, LATER);
        }
        assert!(cache.get("/a", &news, Time(0)).unwrap().plain.is_some());
        for _ in 0..OFTEN {
            let hit = cache.get("/b", &news, Time(0)).unwrap();
            assert!(hit.plain.is_none(), "there is no room for both");
            cache.unpacked("/b", &hit.rendered, &hit.rendered.plain());
        }
        assert!(cache.get("/b", &news, Time(0)).unwrap().plain.is_some());
        assert!(cache.get("/a", &news, Time(0)).unwrap().plain.is_none());
    }
}
