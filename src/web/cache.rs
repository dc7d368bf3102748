//! Rendered pages, kept as long as what they show has not changed. What they say lies on the [`Shelf`]; here is where, under
//! which address, and what would make it old. A page is kept from the second time somebody asks for it: what one crawler reads
//! once costs nobody else their place.
//!
//! Bounded: two halves, the younger one becoming the older when it is full, and what is asked for in the older one moves on.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;

use super::answer::{Form, Label, Rendered};
use super::news::News;
use super::shelf::{Shelf, Spot};
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

/// From here on a body is worth packing.
const WORTH_PACKING: usize = 1500;
const LEVEL: i32 = 1;

struct Kept {
    hit: Hit,
    topic: Topic,
    stamp: u64,
    until: Time,
}

/// A page that is still true, and where it lies.
#[derive(Clone)]
pub(super) struct Hit {
    pub label: Arc<Label>,
    plain: Spot,
    /// As zstd, which most browsers take as it is.
    packed: Option<Spot>,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Box<str>, Kept>,
    old: HashMap<Box<str>, Kept>,
    /// Hashes of addresses that were asked for.
    asked: [HashSet<u64>; 2],
}

pub(super) struct Cache {
    halves: Mutex<Halves>,
    /// `None` where no file can be made: then every page is drawn each time.
    shelf: Option<Arc<Shelf>>,
    most_pages: usize,
    turns: [tokio::sync::Mutex<()>; 64],
}

impl Cache {
    /// At most so many pages, and so many bytes of a file in `dir`.
    pub(super) fn new(dir: &Path, most_pages: usize, most_bytes: u64) -> Cache {
        let shelf = Shelf::open(dir, most_bytes);
        if let Err(error) = &shelf {
            tracing::warn!(dir = %dir.display(), error = %error, "no file for drawn pages can be made; each is drawn anew");
        }
        let turns = [const { tokio::sync::Mutex::const_new(()) }; 64];
        Cache { halves: Mutex::default(), shelf: shelf.ok().map(Arc::new), most_pages, turns }
    }

    /// The page, unless something that it shows is newer or its ages are no longer true.
    pub(super) fn get(&self, address: &str, news: &News, now: Time) -> Option<Hit> {
        let fresh = |kept: &Kept| now < kept.until && kept.stamp == news.stamp(kept.topic);
        let mut halves = self.halves();
        if let Some(kept) = halves.young.get(address) {
            return fresh(kept).then(|| kept.hit.clone());
        }
        let (address, kept) = halves.old.remove_entry(address)?;
        if !fresh(&kept) {
            return None;
        }
        let hit = kept.hit.clone();
        halves.put(address, kept, self.most_pages / 2);
        Some(hit)
    }

    /// What a page says, in a form that the asker takes; `None` when it lies there no more.
    pub(super) async fn read(&self, hit: &Hit, takes_zstd: bool) -> Option<(Bytes, Form)> {
        let (spot, form) = match hit.packed {
            Some(packed) if takes_zstd => (packed, Form::Zstd),
            _ => (hit.plain, Form::Plain),
        };
        Some((self.shelf.as_ref()?.get(spot).await?, form))
    }

    /// Keeps a page that was asked for before.
    pub(super) async fn put(&self, address: String, rendered: &Rendered, topic: Topic, stamp: u64, until: Time) {
        let Some(shelf) = self.shelf.clone() else { return };
        if !self.halves().was_asked(&address, self.most_pages) {
            return;
        }
        let plain = rendered.body.clone();
        let shelved = tokio::task::spawn_blocking(move || {
            let packed = if plain.len() < WORTH_PACKING { None } else { zstd::bulk::compress(&plain, LEVEL).ok() };
            let spot = shelf.put(&[&plain, packed.as_deref().unwrap_or_default()])?;
            let packed_len = packed.map(|packed| packed.len());
            std::io::Result::Ok(
                spot.map(|spot| (spot.part(0, plain.len()), packed_len.map(|len| spot.part(plain.len(), len)))),
            )
        });
        match shelved.await {
            Ok(Ok(Some((plain, packed)))) => {
                let hit = Hit { label: Arc::clone(&rendered.label), plain, packed };
                self.halves().put(address.into(), Kept { hit, topic, stamp, until }, self.most_pages / 2);
            }
            Ok(Err(error)) => tracing::warn!(error = %error, "a drawn page could not be kept; is the disk full?"),
            Ok(Ok(None)) | Err(_) => {}
        }
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One rendering of an address at a time.
    pub(super) async fn turn(&self, address: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = usize::try_from(hash(address) % 64).unwrap_or(0);
        self.turns[turn].lock().await
    }
}

impl Halves {
    fn put(&mut self, address: Box<str>, kept: Kept, most: usize) {
        if self.young.len() >= most {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(address, kept);
    }

    /// Whether it was asked for lately; from now on it was.
    fn was_asked(&mut self, address: &str, most: usize) -> bool {
        let hash = hash(address);
        let [young, old] = &mut self.asked;
        if young.contains(&hash) {
            return true;
        }
        let was = old.contains(&hash);
        if young.len() >= most {
            *old = mem::take(young);
        }
        young.insert(hash);
        was
    }
}

fn hash(address: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    address.hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Time = Time(60_000);

    fn page(text: &str) -> Rendered {
        Rendered::new("text/plain", "no-cache", text.to_owned())
    }

    struct House {
        _dirs: [tempfile::TempDir; 2],
        news: News,
        cache: Cache,
    }

    fn house(most_pages: usize) -> House {
        let (dir, store) = crate::store::tests::empty();
        let shelf = tempfile::tempdir().unwrap();
        let cache = Cache::new(shelf.path(), most_pages, 1 << 20);
        House { _dirs: [dir, shelf], news: News::new(store), cache }
    }

    impl House {
        async fn keep(&self, address: &str, text: &str, stamp: u64, until: Time) {
            self.cache.put(address.into(), &page(text), Topic::Runs, stamp, until).await;
        }

        async fn says(&self, address: &str, now: Time, takes_zstd: bool) -> Option<(Bytes, Form)> {
            let hit = self.cache.get(address, &self.news, now)?;
            self.cache.read(&hit, takes_zstd).await
        }
    }

    #[tokio::test]
    async fn a_page_is_kept_from_the_second_time_until_it_is_old() {
        let house = house(100);
        let stamp = house.news.stamp(Topic::Runs);
        house.keep("/", "first", stamp, Time(100)).await;
        assert!(house.says("/", Time(0), false).await.is_none(), "nobody asked for it twice");
        house.keep("/", "second", stamp, Time(100)).await;
        assert_eq!(house.says("/", Time(99), false).await, Some(("second".into(), Form::Plain)));
        assert!(house.says("/", Time(100), false).await.is_none(), "its ages are no longer true");
        house.keep("/", "third", stamp + 1, Time(100)).await;
        assert!(house.says("/", Time(1), false).await.is_none(), "what it shows has changed");
    }

    #[tokio::test]
    async fn who_reads_zstd_gets_the_same_page_packed() {
        let house = house(100);
        let stamp = house.news.stamp(Topic::Runs);
        let text = "<p>the same again and again</p>".repeat(500);
        for _ in 0..2 {
            house.keep("/long", &text, stamp, LATER).await;
            house.keep("/short", "short", stamp, LATER).await;
        }
        let (packed, form) = house.says("/long", Time(0), true).await.unwrap();
        assert!(form == Form::Zstd && packed.len() < 500, "{}", packed.len());
        assert_eq!(zstd::bulk::decompress(&packed, text.len()).unwrap(), text.as_bytes());
        assert_eq!(house.says("/long", Time(0), false).await, Some((text.into(), Form::Plain)));
        assert_eq!(house.says("/short", Time(0), true).await, Some(("short".into(), Form::Plain)));
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_is_read_stays() {
        let house = house(100);
        let stamp = house.news.stamp(Topic::Runs);
        for number in 0..1000 {
            for _ in 0..2 {
                house.keep(&format!("/runs/{number}"), "a run", stamp, LATER).await;
                house.keep("/", "all", stamp, LATER).await;
            }
            assert_eq!(house.says("/", Time(0), false).await.unwrap().0, "all");
        }
        let halves = house.cache.halves();
        assert!(halves.young.len() + halves.old.len() <= 100);
        assert!(halves.asked.iter().all(|asked| asked.len() <= 100));
    }

    #[tokio::test]
    async fn where_no_file_can_be_made_nothing_is_kept() {
        let cache = Cache::new(Path::new("/nowhere/at/all"), 10, 1000);
        for _ in 0..3 {
            cache.put("/".into(), &page("x"), Topic::Runs, 0, LATER).await;
        }
        assert!(cache.halves().young.is_empty());
    }
}
