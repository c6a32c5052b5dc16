use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{Error, Result, error::is_busy};

/// Connections to one file: the lent ones, and a few idle ones.
#[derive(Debug)]
pub(crate) struct Connections {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// How many are kept.
const IDLE: usize = 8;
/// How long a call waits while another one writes.
const PATIENCE: Duration = Duration::from_secs(30);

const TABLES: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS accounts (
        name TEXT PRIMARY KEY, balance INTEGER NOT NULL, credit INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (
        account TEXT NOT NULL, transfer INTEGER NOT NULL, other TEXT NOT NULL,
        amount INTEGER NOT NULL, PRIMARY KEY (account, transfer, amount)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS numbers (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER);
    INSERT OR IGNORE INTO numbers VALUES (1, 0);
    COMMIT;
";

impl Connections {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Mutex::default(),
        }
    }

    /// Lends a connection to one caller; may block.
    pub(crate) fn lend(self: &Arc<Self>) -> Result<Lent> {
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path).map_err(|error| Error::from(error).in_file(&self.path))?,
        };
        Ok(Lent {
            connection: Some(connection),
            owner: self.clone(),
        })
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    keep_a_log(&connection)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(TABLES)?;
    Ok(connection)
}

/// With a write-ahead log, readers and a writer do not wait for each other.
fn keep_a_log(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        // (It answers with the mode.)
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            // Two connections that switch a file to a log at the same time can block each other,
            // and here SQLite's own timeout does not apply.
            Err(error) if is_busy(&error) && begun.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

/// Held to push or to pop, which cannot panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    /// There until it is dropped.
    connection: Option<Connection>,
    owner: Arc<Connections>,
}

impl Lent {
    /// Runs a transaction as a writer from the start: a reader cannot become a writer while
    /// others write, and would have to begin again.
    pub(crate) fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let connection = self
            .connection
            .as_mut()
            .expect("it is there until it is dropped");
        let done = (|| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let output = change(&transaction)?;
            transaction.commit()?;
            Ok(output)
        })();
        self.named(done)
    }

    /// With the file in its error.
    pub(crate) fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.in_file(&self.owner.path))
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("it is there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // A connection inside of a transaction is closed, which ends the transaction.
        if connection.is_autocommit() {
            let mut idle = lock(&self.owner.idle);
            if idle.len() < IDLE {
                idle.push(connection);
            }
        }
    }
}
