//! Every line of SQL. One thread writes, a few read, and none of them is a worker of the async runtime.
//!
//! Two processes may have the database open (WAL): a write takes the lock at its start (`begin immediate`), so a transaction
//! never finds half-way that somebody else was faster. Functions in here take a connection or a transaction and are called
//! inside [`Store::read`] and [`Store::write`].

pub mod apps;
pub mod audit;
pub mod comments;
pub mod copy;
pub mod deployments;
pub mod events;
pub mod evidence;
pub mod heartbeats;
pub mod metrics;
pub mod notices;
pub mod outbox;
pub mod pages;
#[cfg(test)]
mod plans;
pub mod repositories;
pub mod retention;
pub mod runs;
pub mod stages;
pub mod tokens;
pub mod turns;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

pub use rusqlite::Transaction;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::crash::crash_point;

/// In order, never changed once released; the position is the schema's version.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_start.sql"),
    include_str!("../../migrations/0002_plan.sql"),
    include_str!("../../migrations/0003_api.sql"),
    include_str!("../../migrations/0004_turns.sql"),
    include_str!("../../migrations/0005_evidence.sql"),
    include_str!("../../migrations/0006_forget.sql"),
    include_str!("../../migrations/0007_notices.sql"),
    include_str!("../../migrations/0008_origins.sql"),
];

/// Reads at a time; one page is one read.
const READERS: usize = 2;

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database {what}")]
    Sql {
        what: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error("opening the database {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "{path} was written by a newer cc-ci (schema {found}, this program knows {known}); install that version or restore a backup"
    )]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error("migration {number} of the database")]
    Migration {
        number: usize,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the database is closed")]
    Closed,
    /// A rule of the states was about to be broken; nothing was written.
    #[error("{0}")]
    Refused(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> StoreError {
        StoreError::Sql { what: "did not take a statement", source }
    }
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The database of one state directory. Cheap to clone; closes with its last clone.
#[derive(Clone)]
pub struct Store {
    writer: mpsc::Sender<Work>,
    readers: Arc<Mutex<mpsc::Sender<Work>>>,
    changes: Arc<Changes>,
    path: Arc<Path>,
}

struct Changes {
    count: AtomicU64,
    bell: watch::Sender<u64>,
}

impl Store {
    /// Opens the database, makes it where there is none, and brings it to this program's schema.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut connection = connect(path)?;
        migrate(path, &mut connection)?;
        let (bell, _) = watch::channel(0);
        let changes = Arc::new(Changes { count: AtomicU64::new(0), bell });
        let (writer, work) = mpsc::channel::<Work>();
        thread("store-write", move || {
            while let Ok(work) = work.recv() {
                work(&mut connection);
            }
        });
        let (readers, work) = mpsc::channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..READERS {
            let mut connection = connect(path)?;
            connection.pragma_update(None, "query_only", true)?;
            let work = Arc::clone(&work);
            thread("store-read", move || {
                loop {
                    let next = work.lock().map(|work| work.recv());
                    let Ok(Ok(next)) = next else { return };
                    next(&mut connection);
                }
            });
        }
        Ok(Store { writer, readers: Arc::new(Mutex::new(readers)), changes, path: path.into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One transaction, committed when `work` says Ok and rolled back otherwise. `what` completes "the database …".
    pub async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, heard) = oneshot::channel();
        let changes = Arc::clone(&self.changes);
        let job: Work = Box::new(move |connection| {
            let result = transact(connection, what, work);
            if result.is_ok() {
                changes.ring();
            }
            let _ = answer.send(result);
        });
        self.writer.send(job).map_err(|_| StoreError::Closed)?;
        heard.await.map_err(|_| StoreError::Closed)?
    }

    /// A look at a consistent state; never waits for the writer.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, heard) = oneshot::channel();
        let job: Work = Box::new(move |connection| {
            let _ = answer.send(snapshot(connection, work));
        });
        self.readers.lock().map_err(|_| StoreError::Closed)?.send(job).map_err(|_| StoreError::Closed)?;
        heard.await.map_err(|_| StoreError::Closed)?
    }

    /// Tells of every commit of this process, and of what [`Store::somebody_wrote`] passes on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.bell.subscribe()
    }

    /// Looks every so often whether the other process committed something, and passes it on, until it is stopped. `data_version` is a connection's own and leaves its own commits out, so the writer's is asked.
    pub async fn watch_other_process(&self, every: Duration, stop: CancellationToken) {
        let mut seen: Option<i64> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let (answer, heard) = oneshot::channel();
            let job: Work = Box::new(move |connection| {
                let _ = answer.send(connection.query_row("pragma data_version", [], |row| row.get(0)));
            });
            if self.writer.send(job).is_err() {
                return;
            }
            match heard.await {
                Err(_) => return,
                Ok(Err(error)) => tracing::warn!(error = %error, "the database does not say whether it changed"),
                Ok(Ok(version)) => {
                    if seen.replace(version).is_some_and(|before| before != version) {
                        self.somebody_wrote();
                    }
                }
            }
        }
    }

    /// Whether the threads of the database take work and come back from it. What they say does not matter: a full disk is no
    /// reason to end the process.
    pub async fn answers(&self) -> bool {
        let (wrote, written) = oneshot::channel();
        let job: Work = Box::new(move |_| _ = wrote.send(()));
        let read = self.read(|_| Ok(()));
        self.writer.send(job).is_ok() && written.await.is_ok() && !matches!(read.await, Err(StoreError::Closed))
    }

    /// How many commits this process knows of.
    pub fn generation(&self) -> u64 {
        self.changes.count.load(Ordering::Acquire)
    }

    /// The other process committed something: whoever waits for changes should look.
    pub fn somebody_wrote(&self) {
        self.changes.ring();
    }
}

impl Changes {
    fn ring(&self) {
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        self.bell.send_replace(count);
    }
}

fn transact<T>(
    connection: &mut Connection,
    what: &'static str,
    work: impl FnOnce(&Transaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let sql = |source| StoreError::Sql { what, source };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let value = work(&transaction).map_err(|error| match error {
        StoreError::Sql { source, .. } => sql(source),
        other => other,
    })?;
    transaction.commit().map_err(sql)?;
    crash_point!("db: {}", step(what));
    Ok(value)
}

/// `begin a stage`, of what stands behind "the database could not …".
fn step(what: &str) -> &str {
    what.strip_prefix("could not ").or_else(|| what.strip_prefix("did not take ")).unwrap_or(what)
}

fn snapshot<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction()?;
    work(&transaction)
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("a process that may not start a handful of threads cannot do anything for anybody");
}

/// Pragmas are of a connection, so each one gets them.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let open = |source| StoreError::Open { path: path.into(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(open)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(open)?;
    to_wal(path, &connection).map_err(open)?;
    connection.pragma_update(None, "synchronous", "normal").map_err(open)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
    connection.pragma_update(None, "cache_size", -2000).map_err(open)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// It needs the file alone when it changes anything, and SQLite's own patience does not hold for that: of two processes that
/// make the database at the same moment one would fail. So they take turns, by a lock on the directory: closing a second handle
/// of the file itself would let go of SQLite's locks.
fn to_wal(path: &Path, connection: &Connection) -> Result<(), rusqlite::Error> {
    let directory = path.parent().and_then(|directory| File::open(directory).ok());
    // Without the lock it is as likely to go well as it ever was.
    let _turn = directory.as_ref().map(File::lock);
    connection.pragma_update(None, "journal_mode", "wal")
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("pragma user_version", [], |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(StoreError::Newer { path: path.into(), found, known: MIGRATIONS.len() });
    }
    for number in done..MIGRATIONS.len() {
        step_up(&transaction, number)?;
    }
    transaction.commit()?;
    crash_point!("db: migrated");
    Ok(())
}

/// From schema `done` to the next.
fn step_up(transaction: &Transaction, done: usize) -> Result<(), StoreError> {
    let number = done + 1;
    transaction.execute_batch(MIGRATIONS[done]).map_err(|source| StoreError::Migration { number, source })?;
    transaction.pragma_update(None, "user_version", i64::try_from(number).unwrap_or(i64::MAX))?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An empty database in a directory that goes with it.
    pub(crate) fn empty() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cc-ci.db")).unwrap();
        (dir, store)
    }

    /// A server and a runner that are started together on a new machine.
    #[test]
    fn processes_that_come_at_the_same_moment_make_one_database() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("cc-ci.db");
            let gate = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        gate.wait();
                        migrate(&path, &mut connect(&path).unwrap()).unwrap();
                    });
                }
            });
        }
    }

    #[tokio::test]
    async fn a_database_of_a_newer_program_is_refused_and_left_alone() {
        let (dir, store) = empty();
        let path = store.path().to_owned();
        drop(store);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(&path).err().expect("a newer schema was opened").to_string();
        assert!(error.contains("newer cc-ci (schema 99"), "{error}");
        drop(dir);
    }

    /// Somebody who updates has runs, with what belongs to them.
    #[test]
    fn every_migration_keeps_what_older_programs_wrote_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cc-ci.db");
        let mut connection = connect(&path).unwrap();
        let transaction = connection.transaction().unwrap();
        step_up(&transaction, 0).unwrap();
        transaction.execute_batch(include_str!("first_schema.sql")).unwrap();
        transaction.commit().unwrap();
        let tables: Vec<String> = {
            let mut names = connection.prepare("select name from sqlite_schema where type = 'table'").unwrap();
            names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let count = |connection: &Connection, table: &str| -> i64 {
            connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap()
        };
        let before: Vec<(String, i64)> =
            tables.into_iter().map(|table| (table.clone(), count(&connection, &table))).collect();
        assert!(before.iter().all(|(_, rows)| *rows > 0), "a table of the first schema has nothing in it: {before:?}");

        migrate(&path, &mut connection).unwrap();

        for (table, rows) in before {
            assert!(count(&connection, &table) >= rows, "rows of {table} are gone");
        }
        let mut orphans = connection.prepare("pragma foreign_key_check").unwrap();
        assert_eq!(orphans.query_map([], |_| Ok(())).unwrap().count(), 0, "a row lost what it belongs to");
        let whole: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
    }

    #[tokio::test]
    async fn a_refused_transaction_writes_nothing() {
        let (_dir, store) = empty();
        let refused: Result<(), _> = store
            .write("is being tested", |tx| {
                tx.execute("insert into cursors (name, value) values ('a', 'b')", [])?;
                Err(StoreError::Refused("no".into()))
            })
            .await;
        assert!(refused.is_err());
        let rows: i64 =
            store.read(|db| Ok(db.query_row("select count(*) from cursors", [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(rows, 0);
    }

    #[tokio::test]
    async fn a_commit_tells_whoever_waits() {
        let (_dir, store) = empty();
        let mut changes = store.changes();
        store.write("is being tested", |tx| repositories::set_cursor(tx, "search", "1")).await.unwrap();
        changes.changed().await.unwrap();
        assert_eq!(store.read(|db| repositories::cursor(db, "search")).await.unwrap().as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn the_other_process_is_noticed_and_this_one_is_not_counted_twice() {
        let (_dir, store) = empty();
        let other = Store::open(store.path()).unwrap();
        let watching = store.clone();
        let watch = tokio::spawn(async move {
            watching.watch_other_process(Duration::from_millis(5), CancellationToken::new()).await;
        });
        let mut changes = store.changes();
        let mut heard = false;
        for round in 0..200 {
            other
                .write("is being tested", move |tx| repositories::set_cursor(tx, "search", &round.to_string()))
                .await
                .unwrap();
            if tokio::time::timeout(Duration::from_millis(50), changes.changed()).await.is_ok() {
                heard = true;
                break;
            }
        }
        assert!(heard, "commits of another connection went unnoticed");
        watch.abort();
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let (_dir, store) = empty();
        let result = store.read(|db| Ok(db.execute("insert into cursors (name, value) values ('a', 'b')", [])?)).await;
        assert!(result.is_err());
    }
}
