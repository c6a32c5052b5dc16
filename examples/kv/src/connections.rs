use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};

use crate::Error;

/// Connections to one file: one for each concurrent call; few are kept.
#[derive(Debug)]
pub(crate) struct Connections {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// How many are kept for the next calls.
const IDLE: usize = 8;

/// How long a call waits while another one writes.
const PATIENCE: Duration = Duration::from_secs(30);

impl Connections {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Mutex::default(),
        }
    }

    /// Runs `body` with its own connection; may block.
    pub(crate) fn with<T>(
        &self,
        body: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let failed = |error| Error::database(&self.path, error);
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open(&self.path).map_err(failed)?,
        };
        // After an error or a panic it is closed, which rolls the transaction back.
        let output = body(&mut connection).map_err(failed)?;
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(connection);
        }
        Ok(output)
    }

    /// Held only to push or pop, which cannot panic: it is never poisoned.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    use_wal(&connection)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value TEXT NOT NULL) \
         WITHOUT ROWID",
    )?;
    Ok(connection)
}

/// So that readers do not wait for a writer.
///
/// Two connections that open a new file at once may each hold a lock that the other needs to change
/// the mode. One of them then gets an error at once, without SQLite's usual timeout.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        // (It answers with the mode it is in.)
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
