//! What has changed, as far as this process knows: a number for each thing a page can show, which rises when that changes.
//!
//! Every commit is counted by the store. When the count has moved, the events since the last look say which runs changed, and
//! the rows of open runs are compared with what they were, because not all that a page shows of them makes an event. A page's
//! stamp is taken before its data is read, so a change in between makes the page old at once rather than wrong for long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::cache::Topic;
use crate::model::RunId;
use crate::store::{Store, StoreError, events, pages};

/// Runs remembered one by one; beyond, all of them count as changed.
const MOST_RUNS: usize = 2000;
/// Events read in one look.
const EVENTS: u32 = 2000;
/// Open runs whose rows are compared.
const OPEN: u32 = 200;

pub(super) struct News {
    store: Store,
    /// The store's count of commits that was worked in; the largest number before the first look.
    worked_in: AtomicU64,
    runs: AtomicU64,
    by_run: Mutex<ByRun>,
    look: tokio::sync::Mutex<Look>,
}

#[derive(Default)]
struct ByRun {
    changed: HashMap<RunId, u64>,
    /// What every run has that is not in the map.
    others: u64,
}

#[derive(Default)]
struct Look {
    sequence: u64,
    last_event: Option<i64>,
    marks: HashMap<RunId, String>,
}

impl News {
    pub(super) fn new(store: Store) -> News {
        News {
            store,
            worked_in: AtomicU64::new(u64::MAX),
            runs: AtomicU64::new(0),
            by_run: Mutex::default(),
            look: tokio::sync::Mutex::default(),
        }
    }

    /// The number of what `topic` shows; it only rises.
    pub(super) fn stamp(&self, topic: Topic) -> u64 {
        match topic {
            Topic::Everything => self.worked_in.load(Ordering::Acquire),
            Topic::Runs => self.runs.load(Ordering::Acquire),
            Topic::Run(id) => {
                let by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
                by_run.changed.get(&id).copied().unwrap_or(by_run.others)
            }
        }
    }

    /// Works in what was committed since the last look; nothing to do costs one comparison.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        if self.worked_in.load(Ordering::Acquire) == self.store.generation() {
            return Ok(());
        }
        let mut look = self.look.lock().await;
        let generation = self.store.generation();
        if self.worked_in.load(Ordering::Acquire) == generation {
            return Ok(());
        }
        let after = look.last_event;
        let (events, last, marks) = self
            .store
            .read(move |db| {
                let marks = pages::open_marks(db, OPEN)?;
                let last = events::last(db)?;
                let events = match after {
                    Some(after) if last > after => events::after(db, after, None, EVENTS)?,
                    _ => Vec::new(),
                };
                Ok((events, last, marks))
            })
            .await?;
        let too_many = events.last().is_some_and(|event| event.id < last);
        let mut changed: Vec<RunId> = events.iter().filter_map(|event| event.run).collect();
        let marks = join(marks);
        changed.extend(marks.iter().filter(|(id, mark)| look.marks.get(id) != Some(mark)).map(|(id, _)| *id));
        changed.extend(look.marks.keys().filter(|id| !marks.contains_key(id)));
        look.marks = marks;
        look.last_event = Some(last);
        if !changed.is_empty() {
            look.sequence += 1;
            let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
            if too_many || by_run.changed.len() + changed.len() > MOST_RUNS {
                by_run.changed.clear();
                by_run.others = look.sequence;
            }
            for id in changed {
                by_run.changed.insert(id, look.sequence);
            }
            self.runs.store(look.sequence, Ordering::Release);
        }
        self.worked_in.store(generation, Ordering::Release);
        Ok(())
    }
}

/// A run and its apps have one mark each.
fn join(rows: Vec<(RunId, String)>) -> HashMap<RunId, String> {
    let mut marks: HashMap<RunId, String> = HashMap::with_capacity(rows.len());
    for (id, mark) in rows {
        marks.entry(id).or_default().push_str(&mark);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::model::StageName;
    use crate::model::StageState::Waiting;
    use crate::store::{repositories, runs, stages, tests};

    #[tokio::test]
    async fn a_change_makes_what_shows_it_old_and_nothing_else() {
        let (_dir, store) = tests::empty();
        let news = News::new(store.clone());
        let (one, two) = store
            .write("is being tested", |tx| {
                Ok((
                    runs::queue(tx, &crate::dev::seed::plain_run("keycloak", 1), Time(1))?,
                    runs::queue(tx, &crate::dev::seed::plain_run("ghost", 2), Time(2))?,
                ))
            })
            .await
            .unwrap();
        let stamps = async || {
            news.catch_up().await.unwrap();
            [Topic::Run(one), Topic::Run(two), Topic::Runs, Topic::Everything].map(|topic| news.stamp(topic))
        };
        let start = stamps().await;
        assert_eq!(stamps().await, start, "nothing happened");

        // An event says it.
        store
            .write("is being tested", move |tx| stages::plan(tx, one, &[(StageName::Fetch, Waiting, None)]))
            .await
            .unwrap();
        store.write("is being tested", move |tx| stages::start(tx, one, StageName::Fetch, Time(3))).await.unwrap();
        let staged = stamps().await;
        assert!(staged[0] > start[0] && staged[1] == start[1] && staged[2] > start[2] && staged[3] > start[3]);

        // No event says it, but the open run's row does.
        store.write("is being tested", move |tx| runs::set_waits_for(tx, two, "for keycloak").map(drop)).await.unwrap();
        let waits = stamps().await;
        assert!(waits[0] == staged[0] && waits[1] > staged[1] && waits[2] > staged[2]);

        // It has to do with no run.
        store.write("is being tested", |tx| repositories::set_cursor(tx, "search", "1")).await.unwrap();
        let cursor = stamps().await;
        assert_eq!(cursor[..3], waits[..3]);
        assert!(cursor[3] > waits[3]);
    }

    #[tokio::test]
    async fn more_changes_than_can_be_read_make_every_run_old() {
        let (_dir, store) = tests::empty();
        let news = News::new(store.clone());
        news.catch_up().await.unwrap();
        let before = news.stamp(Topic::Run(RunId(7)));
        store
            .write("is being tested", |tx| {
                (0..EVENTS + 5).try_for_each(|_| events::push(tx, Some(RunId(1)), "run", "x", Time(1)))
            })
            .await
            .unwrap();
        news.catch_up().await.unwrap();
        assert!(news.stamp(Topic::Run(RunId(7))) > before);
    }
}
