//! The SQLite database that holds each record once.
//!
//! A batch is one transaction: when it is answered, all of it is on the disk (write-ahead log, synchronised at each commit),
//! or none of it is. A record whose id is there already changes nothing but that record's count of repeats.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use crate::query::{Cursor, Filter, Listing, Page, Stored, Summary};
use crate::record::{Record, Shape};

/// What [`crate::StoreKind::Memory`] may hold, in bytes; beyond it new records are refused with 507.
pub const MEMORY_STORE_LIMIT: u64 = 1 << 30;

/// Marks the file as a collector's: "SnCo".
const APPLICATION_ID: i64 = 0x536e_436f;

/// The schema's version. A file with a later one was written by a later collector.
const SCHEMA_VERSION: i64 = 1;

/// `sequence` numbers records in order of arrival and never falls back, so that a page's place stays valid. `record` is last:
/// a search does not read it.
const SCHEMA: &str = "
    CREATE TABLE transactions (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        shape TEXT NOT NULL,
        time INTEGER NOT NULL,
        received INTEGER NOT NULL,
        repeats INTEGER NOT NULL DEFAULT 0,
        differing INTEGER NOT NULL DEFAULT 0,
        status INTEGER,
        method TEXT,
        host TEXT,
        host_name TEXT,
        path TEXT,
        client TEXT NOT NULL,
        server TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX transactions_by_host ON transactions (host_name);
    CREATE INDEX transactions_by_time ON transactions (time);
    CREATE TABLE totals (batches INTEGER NOT NULL, records INTEGER NOT NULL, duplicates INTEGER NOT NULL, differing INTEGER NOT NULL) STRICT;
    INSERT INTO totals VALUES (0, 0, 0, 0);
";

/// How long one question may take before it is given up.
const QUERY_LIMIT: Duration = Duration::from_secs(10);

/// What is stored. Cloning gives another handle on the same database.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Mutex<Connection>,
    /// `None`: a database in memory has one connection.
    reader: Option<Mutex<Connection>>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Records that were new.
    pub(crate) stored: u64,
    /// Records whose id was there already, in the store or earlier in the batch.
    pub(crate) duplicates: u64,
}

/// What a store has taken over its whole life, restarts included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Batches that were taken whole; a single transaction counts as one.
    pub batches: u64,
    /// Records in them: `stored` + `duplicates`.
    pub records: u64,
    /// Records that are in the store.
    pub stored: u64,
    /// Records that were there already and were not stored again.
    pub duplicates: u64,
    /// Of the duplicates, those with other bytes than the one that is stored.
    pub differing: u64,
}

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is a database of something else.
    #[error("{0} is a database, but not a collector's; name a file that does not exist yet")]
    Foreign(PathBuf),
    /// The file has a schema that is not known here.
    #[error(
        "{path} has schema version {version}, this program knows {SCHEMA_VERSION}; use the program that wrote it, or name another file"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version in it.
        version: i64,
    },
    /// It cannot be opened or made.
    #[error("cannot open the store {path}: {problem}; its folder must exist and be writable")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        problem: String,
    },
    /// The disk or the limit is full.
    #[error("the store is full; free disk space or start with a new store")]
    Full,
    /// A question took too long.
    #[error("the search took longer than {} s; narrow it, by host or time", QUERY_LIMIT.as_secs())]
    TooSlow,
    /// SQLite failed otherwise.
    #[error("the store failed: {0}")]
    Database(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::OperationInterrupted) => Self::TooSlow,
            _ => Self::Database(error.to_string()),
        }
    }
}

impl Store {
    /// Opens the database of a file, or makes it. Only its owner may read the file: it holds traffic.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, is something else's, or a later version's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |problem: String| StoreError::Open { path: path.to_owned(), problem };
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(error.to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(path, flags).map_err(|error| failed(error.to_string()))?;
        let writer = prepare(writer, path).map_err(|error| match error {
            StoreError::Database(problem) => failed(problem),
            other => other,
        })?;
        let reader = Connection::open_with_flags(path, flags).map_err(|error| failed(error.to_string()))?;
        configure(&reader)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self(Arc::new(Inner { writer: Mutex::new(writer), reader: Some(Mutex::new(reader)) })))
    }

    /// A database that lives as long as its last handle, of at most [`MEMORY_STORE_LIMIT`] bytes.
    ///
    /// # Errors
    ///
    /// If SQLite gets no memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        let writer = prepare(Connection::open_in_memory()?, Path::new("in memory"))?;
        let page: u64 =
            writer.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs().max(512);
        let pages = i64::try_from(MEMORY_STORE_LIMIT / page).unwrap_or(i64::MAX);
        writer.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        Ok(Self(Arc::new(Inner { writer: Mutex::new(writer), reader: None })))
    }

    /// Stores what is new of a batch, all of it or, on an error, nothing.
    pub(crate) fn insert(&self, records: &[Record<'_>]) -> Result<Taken, StoreError> {
        let received = now_nanos();
        let mut connection = lock(&self.0.writer);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut taken = Taken::default();
        let mut differing = 0u64;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO transactions (id, shape, time, received, status, method, host, host_name, path, client, server, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
            )?;
            let mut repeat = transaction.prepare_cached(
                "UPDATE transactions SET repeats = repeats + 1, differing = differing + (record <> ?2) WHERE id = ?1
                 RETURNING record <> ?2",
            )?;
            for record in records {
                let host = record.host.as_ref().map(|host| host.to_ascii_lowercase());
                let new = insert.execute(params![
                    record.id,
                    record.shape.name(),
                    record.time,
                    received,
                    record.status,
                    record.method,
                    host,
                    host.as_deref().map(without_port),
                    record.path,
                    record.client,
                    record.server,
                    record.text,
                ])?;
                if new == 0 {
                    differing +=
                        u64::from(repeat.query_row(params![record.id, record.text], |row| row.get::<_, bool>(0))?);
                    taken.duplicates += 1;
                } else {
                    taken.stored += 1;
                }
            }
            transaction
                .prepare_cached(
                    "UPDATE totals SET batches = batches + 1, records = records + ?1, duplicates = duplicates + ?2, differing = differing + ?3",
                )?
                .execute(params![taken.stored + taken.duplicates, taken.duplicates, differing])?;
        }
        transaction.commit()?;
        Ok(taken)
    }

    /// The transactions that pass a filter, a page of them in order of arrival.
    ///
    /// # Errors
    ///
    /// If the search takes too long, or the database fails.
    pub fn transactions(&self, filter: &Filter, page: &Page) -> Result<Listing, StoreError> {
        self.ask(|connection| crate::query::list(connection, filter, page))
    }

    /// One transaction with its record.
    ///
    /// # Errors
    ///
    /// If the database fails; an id that is not there is `None`.
    pub fn transaction(&self, id: &str) -> Result<Option<Stored>, StoreError> {
        self.ask(|connection| crate::query::one(connection, id))
    }

    /// How many transactions are stored, each counted once.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.ask(|connection| connection.query_row("SELECT count(*) FROM transactions", [], |row| row.get(0)))
    }

    /// The ids of all transactions. Takes memory for all of them: meant for tests.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn ids(&self) -> Result<BTreeSet<String>, StoreError> {
        self.ask(|connection| {
            connection.prepare("SELECT id FROM transactions")?.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// What was taken so far.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.ask(|connection| {
            connection.query_row("SELECT batches, records, duplicates, differing FROM totals", [], |row| {
                let (records, duplicates): (u64, u64) = (row.get(1)?, row.get(2)?);
                let stored = records.saturating_sub(duplicates);
                Ok(Totals { batches: row.get(0)?, records, stored, duplicates, differing: row.get(3)? })
            })
        })
    }

    /// Whether what is in the file is whole: SQLite's own check, and the totals against the rows. Reads everything.
    ///
    /// # Errors
    ///
    /// What was found to be wrong.
    pub fn verify(&self) -> Result<(), StoreError> {
        let connection = lock(&self.0.writer);
        let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(StoreError::Database(found));
        }
        let agree: bool = connection.query_row(
            "SELECT (SELECT count(*) FROM transactions) = records - duplicates
                AND (SELECT coalesce(sum(repeats), 0) FROM transactions) = duplicates FROM totals",
            [],
            |row| row.get(0),
        )?;
        if agree { Ok(()) } else { Err(StoreError::Database("the totals do not agree with the rows".to_owned())) }
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = lock(self.0.reader.as_ref().unwrap_or(&self.0.writer));
        let end = Instant::now() + QUERY_LIMIT;
        connection.progress_handler(10_000, Some(move || Instant::now() > end))?;
        let answer = question(&connection);
        connection.progress_handler(0, None::<fn() -> bool>)?;
        Ok(answer?)
    }
}

/// Settings of every connection.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(())
}

/// Brings a new file into shape, or makes sure that an old one is ours.
fn prepare(mut connection: Connection, path: &Path) -> Result<Connection, StoreError> {
    configure(&connection)?;
    let number =
        |connection: &Connection, name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    // Checked and made in one transaction: two collectors may start on the same new file.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, version) = (number(&transaction, "application_id")?, number(&transaction, "user_version")?);
    if tables == 0 && application == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    } else if application != APPLICATION_ID {
        return Err(StoreError::Foreign(path.to_owned()));
    } else if version != SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), version });
    }
    transaction.commit()?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    Ok(connection)
}

/// A row of the columns that [`Summary::COLUMNS`] names.
impl Summary {
    pub(crate) const COLUMNS: &str =
        "sequence, id, shape, time, received, repeats, status, method, host, path, client, server";

    pub(crate) fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: Cursor::sequence(row.get(0)?),
            id: row.get(1)?,
            shape: Shape::named(row.get_ref(2)?.as_str()?).unwrap_or(Shape::Edge),
            time: row.get(3)?,
            received: row.get(4)?,
            repeats: row.get(5)?,
            status: row.get(6)?,
            method: row.get(7)?,
            host: row.get(8)?,
            path: row.get(9)?,
            client: row.get(10)?,
            server: row.get(11)?,
        })
    }
}

/// The host of an authority: `[2001:db8::1]:80` is `[2001:db8::1]`, `example:80` is `example`.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A panic with the lock held rolled its transaction back.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(id: &str, text: &'a str) -> Record<'a> {
        Record {
            id: id.to_owned(),
            shape: Shape::Edge,
            time: 1,
            client: "192.0.2.1".to_owned(),
            server: "192.0.2.2:80".to_owned(),
            method: Some("GET".to_owned()),
            host: Some("API.example:8080".to_owned()),
            path: Some("/".to_owned()),
            status: None,
            text,
        }
    }

    #[test]
    fn stores_each_id_once_and_counts_the_rest() {
        let store = Store::in_memory().unwrap();
        assert_eq!(
            store.insert(&[record("a", "1"), record("b", "2"), record("a", "1")]).unwrap(),
            Taken { stored: 2, duplicates: 1 }
        );
        assert_eq!(store.insert(&[record("b", "other")]).unwrap(), Taken { stored: 0, duplicates: 1 });
        assert_eq!(store.totals().unwrap(), Totals { batches: 2, records: 4, stored: 2, duplicates: 2, differing: 1 });
        assert_eq!((store.count().unwrap(), store.ids().unwrap().len()), (2, 2));
        let stored = store.transaction("b").unwrap().unwrap();
        assert_eq!((stored.record.as_str(), stored.summary.repeats), ("2", 1));
        assert!(store.transaction("c").unwrap().is_none());
        store.verify().unwrap();
    }

    #[test]
    fn a_failure_in_a_batch_leaves_nothing_of_it() {
        let store = Store::in_memory().unwrap();
        store.insert(&[record("a", "1")]).unwrap();
        lock(&store.0.writer)
            .execute_batch("CREATE TRIGGER no BEFORE INSERT ON transactions WHEN NEW.id = 'bad' BEGIN SELECT raise(ABORT, 'no'); END")
            .unwrap();
        assert!(store.insert(&[record("b", "1"), record("a", "1"), record("bad", "1")]).is_err());
        assert_eq!(store.totals().unwrap(), Totals { batches: 1, records: 1, stored: 1, duplicates: 0, differing: 0 });
        store.verify().unwrap();
    }

    #[test]
    fn a_full_store_refuses_and_stays_whole() {
        let store = Store::in_memory().unwrap();
        lock(&store.0.writer).pragma_update_and_check(None, "max_page_count", 40, |_| Ok(())).unwrap();
        let text = "x".repeat(10_000);
        let mut taken = 0;
        let error = loop {
            match store.insert(&[record(&format!("{taken}"), &text), record(&format!("{taken}b"), &text)]) {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full), "{error}");
        assert!(taken > 0);
        assert_eq!(store.count().unwrap(), 2 * taken);
        store.verify().unwrap();
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(matches!(Store::open(&foreign), Err(StoreError::Foreign(_))));
        let text = folder.path().join("text");
        std::fs::write(&text, "this is no database, but it is longer than a header of one would be; ".repeat(10))
            .unwrap();
        assert!(matches!(Store::open(&text), Err(StoreError::Open { .. })));
        let later = folder.path().join("later");
        drop(Store::open(&later).unwrap());
        Connection::open(&later).unwrap().pragma_update(None, "user_version", 9).unwrap();
        assert!(matches!(Store::open(&later), Err(StoreError::Newer { version: 9, .. })));
        assert!(matches!(Store::open(&folder.path().join("no/where")), Err(StoreError::Open { .. })));
    }

    #[test]
    fn a_file_is_its_owner_s_and_opens_again() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = Store::open(&path).unwrap();
        store.insert(&[record("a", "1")]).unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let file = folder.path().join(format!("store{suffix}"));
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{suffix}");
        }
        let mode: String = lock(&store.0.writer).pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let synchronous: i64 = lock(&store.0.writer).pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
        drop(store);
        assert_eq!(Store::open(&path).unwrap().count().unwrap(), 1);
    }

    #[test]
    fn ports_are_taken_off() {
        for (authority, host) in [
            ("example:80", "example"),
            ("example", "example"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("2001:db8::1", "2001:db8::1"),
            ("example:", "example"),
            ("a:b", "a:b"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host, "{authority}");
        }
    }
}
