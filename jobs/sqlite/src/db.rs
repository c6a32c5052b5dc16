//! A connection, and the groups of requests on it.

use std::{
    cell::Cell,
    error::Error,
    fmt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fourway_jobs_engine::{EngineError, EngineErrorKind, Group};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// How long a request waits while another process writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts the changes of the tables. A file of a newer version is refused.
///
/// Version 2 has no `job_unique`. A file of version 1 keeps it and its version: older programs on the
/// same file need the index. A new file has the new version, so that they are told.
const SCHEMA: i64 = 2;

/// State is `JobState as u8`, rank the priority with its sign turned. The rest of a job is in its
/// life. The columns are for queries; where column and life differ, the column counts.
const TABLES: &str = "
CREATE TABLE job (
    id BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    lease_until INTEGER,
    forget_at INTEGER,
    unique_key TEXT,
    life TEXT NOT NULL,
    args BLOB NOT NULL,
    output BLOB
);
CREATE INDEX job_queued ON job (kind, rank, due_at, id) WHERE state = 1;
CREATE INDEX job_due ON job (due_at) WHERE state IN (0, 3);
CREATE INDEX job_leased ON job (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX job_ended ON job (forget_at) WHERE forget_at IS NOT NULL;
CREATE INDEX job_state ON job (state, id);
";

/// The end of the period for which a job has its key, in SQL. A damaged life has none: an error here would
/// refuse each change of its row, and the index of the whole file.
macro_rules! unique_until {
    () => {
        "CASE WHEN json_valid(life) THEN json_extract(life, '$.unique_until') END"
    };
}
pub(crate) use unique_until;

/// The jobs that may have a unique key: until they end, or for a period. Jobs that had it are in
/// none of the two, so a submission does not look at them, however many there are.
///
/// Files of version 1 have `job_unique`, too. It stays for older programs on the same file, which would
/// read the whole table without it.
const INDICES: &str = concat!(
    "
CREATE INDEX IF NOT EXISTS job_holds ON job (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state < 4 AND ",
    unique_until!(),
    " IS NULL;
CREATE INDEX IF NOT EXISTS job_holds_until ON job (kind, unique_key, ",
    unique_until!(),
    ")
    WHERE unique_key IS NOT NULL AND ",
    unique_until!(),
    " IS NOT NULL;
"
);

pub(crate) struct Db {
    pub(crate) connection: Connection,
    begin: &'static str,
    /// With this error SQLite has undone the whole transaction by itself.
    undone: Cell<Option<EngineError>>,
}

impl Db {
    /// Opens the connection that writes, and creates the file if there is none; blocks.
    pub(crate) fn open(path: &Path, relaxed: bool) -> Result<Self, EngineError> {
        let mut connection =
            connect(path, OpenFlags::SQLITE_OPEN_CREATE).map_err(|error| failed(&error))?;
        let synchronous = if relaxed { "NORMAL" } else { "FULL" };
        connection
            .pragma_update(None, "synchronous", synchronous)
            .map_err(|error| failed(&error))?;
        make_tables(&mut connection)?;
        Ok(Self {
            connection,
            begin: "BEGIN IMMEDIATE",
            undone: Cell::new(None),
        })
    }

    /// Opens a connection that reads, once the tables are there; blocks.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, EngineError> {
        let connection = connect(path, OpenFlags::empty()).map_err(|error| failed(&error))?;
        connection
            .pragma_update(None, "query_only", true)
            .map_err(|error| failed(&error))?;
        Ok(Self {
            connection,
            begin: "BEGIN",
            undone: Cell::new(None),
        })
    }

    /// Opens a connection whose changes are undone, and stay in memory until then; blocks.
    pub(crate) fn open_to_preview(path: &Path) -> Result<Self, EngineError> {
        let connection = connect(path, OpenFlags::empty()).map_err(|error| failed(&error))?;
        connection
            .pragma_update(None, "cache_spill", false)
            .and_then(|()| connection.pragma_update(None, "temp_store", "MEMORY"))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            connection,
            begin: "BEGIN IMMEDIATE",
            undone: Cell::new(None),
        })
    }

    /// A write of a request has failed.
    pub(crate) fn write_failed(&self, error: &rusqlite::Error) -> EngineError {
        let failed = failed(error);
        if self.connection.is_autocommit() {
            self.undone.set(Some(failed.clone()));
        }
        failed
    }

    fn run(&mut self, sql: &str) -> Result<(), EngineError> {
        let run = |connection: &Connection| {
            connection.prepare_cached(sql)?.execute([])?;
            Ok(())
        };
        run(&self.connection).map_err(|error| failed(&error))
    }
}

impl Group for Db {
    fn begin(&mut self) -> Result<(), EngineError> {
        self.run(self.begin)
    }

    fn enter(&mut self) -> Result<(), EngineError> {
        self.run("SAVEPOINT request")
    }

    fn leave(&mut self, keep: bool) -> Result<(), EngineError> {
        // A group that is larger than SQLite's cache is written before its end. If the disk takes no
        // more then, SQLite undoes the transaction, and there is no savepoint any more.
        if self.connection.is_autocommit() {
            let undone = self.undone.take();
            return Err(undone.unwrap_or_else(|| {
                EngineError::unavailable("SQLite has undone the transaction of the request")
            }));
        }
        if !keep {
            self.run("ROLLBACK TO request")?;
        }
        self.run("RELEASE request")
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        self.run("COMMIT")
    }

    fn undo(&mut self) {
        // SQLite undoes it itself after some errors, as when the disk is full.
        if !self.connection.is_autocommit() {
            // If that fails, the next `begin` fails too and its caller gets the error.
            let _ = self.run("ROLLBACK");
        }
    }
}

/// The whole path of a file of jobs. The engine opens further connections to it later, when the
/// process may be in another folder.
///
/// A whole path is no URI either, nor any other special name: SQLite that was built to do so reads
/// a name that begins with `file:` as a URI, which may be a database in memory.
pub(crate) fn whole(path: &Path) -> Result<PathBuf, EngineError> {
    // SQLite would open another database for each connection, and none that outlives it.
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return Err(EngineError::invalid(
            "jobs are kept in a file: give its path. `MemoryEngine` keeps them in memory",
        ));
    }
    std::path::absolute(path).map_err(EngineError::unavailable)
}

fn connect(path: &Path, create: OpenFlags) -> rusqlite::Result<Connection> {
    // A path, and no URI: a file may have any name. See `whole`.
    let flags = OpenFlags::default() - OpenFlags::SQLITE_OPEN_URI - OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags | create)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(64);
    use_wal(&connection)?;
    Ok(connection)
}

/// So that readers do not wait for a writer.
///
/// Two processes that open a new file at once may each hold a lock that the other needs to change
/// the mode. One of them then gets an error at once, whatever its timeout.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < end =>
            {
                // There is no event to wait for: the other may be another process.
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// One process creates them, the others find them.
fn make_tables(connection: &mut Connection) -> Result<(), EngineError> {
    let make = |connection: &mut Connection| {
        let all = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = all.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found == 0 {
            all.execute_batch(TABLES)?;
            all.pragma_update(None, "user_version", SCHEMA)?;
        }
        if found <= SCHEMA {
            // They write nothing if all is there.
            all.execute_batch(INDICES)?;
        }
        all.commit()?;
        Ok(found)
    };
    let found = make(connection).map_err(|error| failed(&error))?;
    if found > SCHEMA {
        let message = format!(
            "the file has tables of version {found}, and this program knows those up to {SCHEMA}: a newer program has made them"
        );
        return Err(EngineError::new(EngineErrorKind::Invalid, message));
    }
    Ok(())
}

/// Converts an error of SQLite to the engine's. It decides whether the request may work later, and
/// whether the error concerns the request.
pub(crate) fn failed(error: &rusqlite::Error) -> EngineError {
    use ErrorCode::{
        CannotOpen, ConstraintViolation, DatabaseBusy, DatabaseLocked, DiskFull,
        FileLockingProtocolFailed, OperationInterrupted, OutOfMemory, ParameterOutOfRange,
        ReadOnly, SystemIoFailure, TooBig, TypeMismatch,
    };
    // Not every form of `rusqlite`'s error can be sent to other threads; its text can.
    let text = Text {
        text: error.to_string(),
        by_disk: matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure)),
    };
    match error.sqlite_error_code() {
        Some(
            CannotOpen
            | DatabaseBusy
            | DatabaseLocked
            | DiskFull
            | FileLockingProtocolFailed
            | OperationInterrupted
            | OutOfMemory
            | ReadOnly
            | SystemIoFailure,
        ) => EngineError::unavailable(text),
        // The error concerns the request. Without a code, `rusqlite` cannot read or write a value.
        Some(TooBig | ConstraintViolation | TypeMismatch | ParameterOutOfRange) | None => {
            EngineError::invalid(text)
        }
        // For example, a table is missing, or the file is damaged or no database.
        Some(_) => EngineError::broken(text),
    }
}

#[derive(Debug)]
struct Text {
    text: String,
    /// The disk is full, or has failed.
    by_disk: bool,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Text {}

/// Whether it is because the disk is full or has failed. Other connections can still read then.
pub(crate) fn is_by_disk(error: &EngineError) -> bool {
    let text = error.source().and_then(|source| source.downcast_ref());
    text.is_some_and(|text: &Text| text.by_disk)
}

/// The machine's clock, in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
