//! Copies of the database: made while it is in use, and put back where there is none.
//!
//! A copy is one file that is whole or not there: it is made beside its place, looked through, written to the disk and only then
//! called by its name. What is put back is looked through before anything is touched. Everything in here blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::heartbeats::{self, Heartbeat};
use super::{MIGRATIONS, StoreError, apps};
use crate::given;

/// What is wrong with a database or a copy of one, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is no database of cc-ci ({why})", path = path.display())]
    NotOurs { path: PathBuf, why: String },
    #[error(
        "{path} is damaged: {}; put back a copy that is whole, as `cc-ci db check FILE` says of each",
        found.join("; "), path = path.display()
    )]
    Damaged { path: PathBuf, found: Vec<String> },
    #[error(
        "{path} was written by a newer cc-ci (schema {schema}, this program knows {known}); install that version",
        path = path.display(), known = MIGRATIONS.len()
    )]
    Newer { path: PathBuf, schema: usize },
    #[error("{path} is the database itself; name a file elsewhere", path = path.display())]
    OntoItself { path: PathBuf },
    #[error(
        "{path} is there already; a restore overwrites nothing: move it away first, with {name}-wal and {name}-shm if they are there",
        path = path.display(), name = path.file_name().unwrap_or_default().to_string_lossy()
    )]
    There { path: PathBuf },
    #[error(
        "{path} is there without its database, whose last writes it may hold; move it away first",
        path = path.display()
    )]
    Orphan { path: PathBuf },
    #[error("{path} is there and is no earlier copy; name another file", path = path.display())]
    Foreign { path: PathBuf },
    #[error("{path} could not be written: {source}", path = path.display())]
    NotWritten { path: PathBuf, source: io::Error },
    #[error("{path} could not be copied: {why}", path = path.display())]
    NotCopied { path: PathBuf, why: String },
}

/// A database that was looked through and is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub schema: usize,
    pub runs: u64,
    pub bytes: u64,
}

impl Whole {
    /// Whether this program would change its schema when it opens it.
    pub fn is_older(&self) -> bool {
        self.schema < MIGRATIONS.len()
    }
}

/// Looks through a database from its first page to its last, and changes nothing.
pub fn examine(path: &Path) -> Result<Whole, CopyError> {
    let not_ours = |why: String| CopyError::NotOurs { path: path.into(), why };
    let bytes = given::open(path)
        .and_then(|file| Ok(file.metadata()?.len()))
        .map_err(|source| CopyError::Unreadable { path: path.into(), source })?;
    if bytes == 0 {
        return Err(not_ours("it is empty".into()));
    }
    let connection = open(path)?;
    let schema = connection.query_row("pragma user_version", [], |row| row.get::<_, i64>(0));
    let schema = schema.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => CopyError::Damaged { path: path.into(), found: vec![words(&error)] },
        _ => not_ours(words(&error)),
    })?;
    let schema = usize::try_from(schema).unwrap_or(usize::MAX);
    if schema == 0 {
        return Err(not_ours("it is of another program".into()));
    }
    if schema > MIGRATIONS.len() {
        return Err(CopyError::Newer { path: path.into(), schema });
    }
    let found = faults(&connection).unwrap_or_else(|error| vec![words(&error)]);
    if !found.is_empty() {
        return Err(CopyError::Damaged { path: path.into(), found });
    }
    let runs = connection.query_row("select count(*) from runs", [], |row| row.get::<_, i64>(0));
    let runs = runs.map_err(|_| not_ours("it has no table of runs".into()))?;
    Ok(Whole { schema, runs: runs.unsigned_abs(), bytes })
}

/// SQLite's own sentence, without the code that says the same.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(sentence)) => sentence.clone(),
        other => other.to_string(),
    }
}

/// What is known of a machine, read without making or changing its database.
#[derive(Debug)]
pub struct Glance {
    pub serve: Option<Heartbeat>,
    pub runner: Option<Heartbeat>,
    /// Stacks that a teardown could not take down whole.
    pub leftovers: Vec<String>,
}

pub fn glance(path: &Path) -> Result<Glance, CopyError> {
    let db = open(path)?;
    let look = || {
        let left = apps::standing(&db)?.into_iter().filter(|app| app.leftovers.is_some());
        Ok(Glance {
            serve: heartbeats::of(&db, "serve")?,
            runner: heartbeats::of(&db, "runner")?,
            leftovers: left.map(|app| app.stack.to_string()).collect(),
        })
    };
    look().map_err(|error: StoreError| CopyError::NotOurs { path: path.into(), why: error.to_string() })
}

/// A few of what is wrong.
fn faults(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut integrity = connection.prepare("pragma integrity_check(5)")?;
    let said: Vec<String> = integrity.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut found: Vec<String> = said.into_iter().filter(|line| line != "ok").collect();
    let mut orphans =
        connection.prepare("select \"table\", count(*) from pragma_foreign_key_check group by 1 limit 5")?;
    let orphans = orphans.query_map([], |row| {
        Ok(format!("{} rows of {} lead nowhere", row.get::<_, i64>(1)?, row.get::<_, String>(0)?))
    })?;
    for orphan in orphans {
        found.push(orphan?);
    }
    Ok(found)
}

fn open(path: &Path) -> Result<Connection, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| CopyError::NotOurs { path: path.into(), why: words(&error) })?;
    let patient = connection.busy_timeout(std::time::Duration::from_secs(10));
    patient.map_err(|error| CopyError::NotCopied { path: path.into(), why: words(&error) })?;
    Ok(connection)
}

/// Copies the database as it is at this moment into `to`, which nobody but its owner may read. Whoever uses the database goes on
/// meanwhile. An earlier copy in that place is replaced when the new one is whole.
pub fn back_up(database: &Path, to: &Path) -> Result<Whole, CopyError> {
    let same = |a: &Path, b: &Path| match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    let beside = ["-wal", "-shm"].map(|end| with_end(database, end));
    if beside.iter().map(PathBuf::as_path).chain([database]).any(|ours| same(ours, to)) {
        return Err(CopyError::OntoItself { path: to.into() });
    }
    given::open(database).map_err(|source| CopyError::Unreadable { path: database.into(), source })?;
    if fs::metadata(to).is_ok() {
        match examine(to) {
            // `mktemp` makes an empty one.
            Err(CopyError::NotOurs { path, .. }) if fs::metadata(to).is_ok_and(|meta| meta.len() > 0) => {
                return Err(CopyError::Foreign { path });
            }
            Err(CopyError::Unreadable { path, source }) => return Err(CopyError::NotWritten { path, source }),
            _ => {}
        }
    }
    place(database, to, 0o600)
}

/// Puts a copy back as the database, where there is none. Whoever calls holds the locks of the state directory.
pub fn restore(copy: &Path, database: &Path) -> Result<Whole, CopyError> {
    examine(copy)?;
    // The appliance makes an empty file with the right owner and mode before anything runs. A write-ahead log without its
    // database would be taken for the new one's.
    let there = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.len() > 0);
    if there(database) {
        return Err(CopyError::There { path: database.into() });
    }
    let log = with_end(database, "-wal");
    if there(&log) {
        return Err(CopyError::Orphan { path: log });
    }
    place(copy, database, 0o660)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Copies a database into a new file, looks that through, and gives it its name.
fn place(from: &Path, to: &Path, mode: u32) -> Result<Whole, CopyError> {
    let partial = with_end(to, &format!(".{}.partial", std::process::id()));
    let done = write(from, to, &partial, mode);
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done
}

fn write(from: &Path, to: &Path, partial: &Path, mode: u32) -> Result<Whole, CopyError> {
    let failed = |source| CopyError::NotWritten { path: to.into(), source };
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        return Err(failed(io::Error::other(format!("there is no directory {}", dir.display()))));
    }
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(partial).map_err(failed)?;
    // Of the file that holds the place, where one does.
    if let (0o660, Ok(meta)) = (mode, fs::metadata(to)) {
        file.set_permissions(meta.permissions()).map_err(failed)?;
        std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid())).map_err(failed)?;
    }
    copy(from, partial).map_err(|error| CopyError::NotCopied { path: from.into(), why: words(&error) })?;
    let whole = examine(partial).map_err(|error| of_source(error, from))?;
    file.sync_all().map_err(failed)?;
    fs::rename(partial, to).map_err(failed)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(whole)
}

/// What is wrong with a copy was wrong with what it is of, and only that is still there.
fn of_source(error: CopyError, from: &Path) -> CopyError {
    let path = from.to_owned();
    match error {
        CopyError::Damaged { found, .. } => CopyError::Damaged { path, found },
        CopyError::NotOurs { why, .. } => CopyError::NotOurs { path, why },
        CopyError::Newer { schema, .. } => CopyError::Newer { path, schema },
        other => other,
    }
}

/// All pages at once, so that no commit in between makes it begin anew: with a write-ahead log a reader holds up nobody.
fn copy(from: &Path, to: &Path) -> Result<(), rusqlite::Error> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(std::time::Duration::from_secs(10))?;
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        while backup.step(-1)? != StepResult::Done {}
    }
    // One file, with nothing beside it.
    target.pragma_update(None, "journal_mode", "delete")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::empty;
    use super::super::{Store, repositories};
    use super::*;

    async fn set(store: &Store, value: &'static str) {
        store.write("is being tested", move |tx| repositories::set_cursor(tx, "search", value)).await.unwrap();
    }

    #[tokio::test]
    async fn a_copy_of_a_database_in_use_holds_what_was_committed_and_comes_back() {
        let (dir, store) = empty();
        set(&store, "before").await;
        let copy = dir.path().join("copy.db");
        let whole = back_up(store.path(), &copy).unwrap();
        assert_eq!((whole.schema, whole.runs), (MIGRATIONS.len(), 0));
        set(&store, "after").await;
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

        let anew = dir.path().join("anew.db");
        restore(&copy, &anew).unwrap();
        assert!(matches!(restore(&copy, &anew), Err(CopyError::There { .. })));
        let back = Store::open(&anew).unwrap();
        let value = back.read(|db| repositories::cursor(db, "search")).await.unwrap();
        assert_eq!(value.as_deref(), Some("before"));
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.into_iter().all(|name| !name.contains("partial") && name != "copy.db-wal"));
    }

    #[tokio::test]
    async fn a_copy_under_writes_is_whole() {
        let (dir, store) = empty();
        let writing = store.clone();
        let writer = tokio::spawn(async move {
            for _ in 0..300 {
                set(&writing, "again").await;
            }
        });
        for round in 0..5 {
            let (from, to) = (store.path().to_owned(), dir.path().join(format!("copy-{round}.db")));
            tokio::task::spawn_blocking(move || back_up(&from, &to)).await.unwrap().unwrap();
        }
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_whole_database_of_ours_is_refused_and_nothing_is_touched() {
        let (dir, store) = empty();
        set(&store, "here").await;
        let path = |name: &str| dir.path().join(name);
        let copy = path("copy.db");
        back_up(store.path(), &copy).unwrap();
        assert!(matches!(back_up(store.path(), store.path()), Err(CopyError::OntoItself { .. })));

        let newer = path("newer.db");
        fs::copy(&copy, &newer).unwrap();
        Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(restore(&newer, &path("x.db")), Err(CopyError::Newer { schema: 99, .. })));

        let torn = path("torn.db");
        let mut bytes = fs::read(&copy).unwrap();
        let (from, to) = (bytes.len() / 3, bytes.len() / 2);
        bytes[from..to].fill(0xff);
        fs::write(&torn, bytes).unwrap();
        let error = restore(&torn, &path("x.db")).unwrap_err();
        assert!(matches!(error, CopyError::Damaged { .. } | CopyError::NotOurs { .. }), "{error}");

        fs::write(path("text"), "not a database, but long enough to be taken for one ".repeat(100)).unwrap();
        let error = restore(&path("text"), &path("x.db")).unwrap_err().to_string();
        assert!(error.contains("is no database of cc-ci"), "{error}");
        assert!(!path("x.db").exists());

        fs::write(path("y.db-wal"), "of another one").unwrap();
        assert!(matches!(restore(&copy, &path("y.db")), Err(CopyError::Orphan { .. })));
    }

    #[tokio::test]
    async fn the_empty_file_that_the_appliance_makes_keeps_its_mode() {
        let (dir, store) = empty();
        let (copy, place) = (dir.path().join("copy.db"), dir.path().join("place.db"));
        back_up(store.path(), &copy).unwrap();
        fs::write(&place, "").unwrap();
        fs::set_permissions(&place, PermissionsExt::from_mode(0o640)).unwrap();
        restore(&copy, &place).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
