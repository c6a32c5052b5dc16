//! A key-value store on SQLite that is written once and called from anywhere.
//!
//! SQLite blocks: it reads and writes files, and waits for other writers. Here its calls are
//! blocking bodies; methods that wait for time or for several calls at once have async bodies. A
//! caller need not know which.
//!
//! Every method returns a [`BoxCall`]: a simple signature, which traits and fields can use. It
//! costs two allocations, which do not matter beside SQLite.
//!
//! ```
//! use fourway_core::{Call, Runtime};
//! use kv::{Error, Store};
//!
//! fn a_command_line<R: Runtime>(store: &Store<R>) -> Result<(), Error> {
//!     store.put("colour", "green").wait()
//! }
//!
//! async fn a_server<R: Runtime>(store: &Store<R>) -> Result<Option<String>, Error> {
//!     store.get("colour").await
//! }
//! ```

#![forbid(unsafe_code)]

mod connections;
mod error;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use connections::Connections;
pub use error::Error;

/// A file with keys and values. Clones share it, and its connections.
#[derive(Clone, Debug)]
pub struct Store<R = AnyRuntime> {
    runtime: R,
    connections: Arc<Connections>,
}

type Result<T, E = Error> = std::result::Result<T, E>;

impl<R: Runtime> Store<R> {
    /// The store in the file `path`. The first use opens or creates the file; `new` does not touch
    /// the disk.
    pub fn new(runtime: R, path: impl AsRef<Path>) -> Self {
        Self {
            runtime,
            connections: Arc::new(Connections::new(path.as_ref())),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> BoxCall<Result<Option<String>>> {
        let key = key.to_owned();
        self.blocking(move |db| value(db, &key))
    }

    /// Sets the value of a key.
    pub fn put(&self, key: &str, value: &str) -> BoxCall<Result<()>> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.blocking(move |db| set(db, &key, Some(&value)))
    }

    /// Removes a key; gives whether it was there.
    pub fn delete(&self, key: &str) -> BoxCall<Result<bool>> {
        let key = key.to_owned();
        self.blocking(move |db| {
            let mut statement = db.prepare_cached("DELETE FROM pairs WHERE key = ?1")?;
            Ok(statement.execute(params![key])? > 0)
        })
    }

    /// The keys that begin so, in order.
    pub fn keys(&self, prefix: &str) -> BoxCall<Result<Vec<String>>> {
        let prefix = prefix.to_owned();
        self.blocking(move |db| {
            // As bytes: for SQLite's functions a text ends at its first zero. A part of no bytes is
            // null, which equals nothing.
            let sql = "SELECT key FROM pairs \
                       WHERE ?2 = 0 OR substr(CAST(key AS BLOB), 1, ?2) = ?1 ORDER BY key";
            let mut statement = db.prepare_cached(sql)?;
            let keys =
                statement.query_map(params![prefix.as_bytes(), prefix.len()], |row| row.get(0))?;
            keys.collect()
        })
    }

    /// Changes a key's value atomically: no other writer comes in between. `None` stands for a
    /// missing key. Gives the new value.
    ///
    /// The closure runs on the thread of the call's body, inside a transaction; if it panics,
    /// nothing changes.
    pub fn update<F>(&self, key: &str, change: F) -> BoxCall<Result<Option<String>>>
    where
        F: FnOnce(Option<String>) -> Option<String> + Send + 'static,
    {
        let key = key.to_owned();
        self.blocking(move |db| {
            // As a writer from the start: a reader cannot become a writer while others
            // write, and would have to begin again.
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let new = change(value(&transaction, &key)?);
            set(&transaction, &key, new.as_deref())?;
            transaction.commit()?;
            Ok(new)
        })
    }

    /// The values of many keys, in the same order, looked up in parallel.
    pub fn get_all(&self, keys: Vec<String>) -> BoxCall<Result<Vec<Option<String>>>> {
        let this = self.clone();
        let call = self.runtime.call_with(async move || {
            let tasks: Vec<_> = keys.iter().map(|key| this.get(key).spawn()).collect();
            let mut values = Vec::with_capacity(keys.len());
            // If one fails, the others are dropped and so cancelled.
            for task in tasks {
                values.push(task.await.map_err(Error::lost)??);
            }
            Ok(values)
        });
        call.boxed()
    }

    /// Sets the value of a missing key, and waits up to `patience` until the key is missing; gives
    /// whether it has set the value.
    ///
    /// # Cancel safety
    ///
    /// If dropped while it waits, it has set nothing; if dropped during a try, it may have set the
    /// value.
    pub fn claim(&self, key: &str, value: &str, patience: Duration) -> BoxCall<Result<bool>> {
        let (this, key, value) = (self.clone(), key.to_owned(), value.to_owned());
        let call = self.runtime.call_with(async move || {
            // `None`: so far away that it never comes.
            let deadline = this.runtime.now().checked_add(patience);
            let mut pause = Duration::from_millis(1);
            while !this.put_new(&key, &value).await? {
                let left = remaining(deadline, this.runtime.now());
                if left.is_zero() {
                    return Ok(false);
                }
                this.runtime.sleep(pause.min(left)).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Ok(true)
        });
        call.boxed()
    }

    /// Sets the value of a missing key; gives whether it was missing.
    pub fn put_new(&self, key: &str, value: &str) -> BoxCall<Result<bool>> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.blocking(move |db| {
            let sql = "INSERT OR IGNORE INTO pairs (key, value) VALUES (?1, ?2)";
            Ok(db.prepare_cached(sql)?.execute(params![key, value])? > 0)
        })
    }

    /// A call with the database, which may block.
    fn blocking<T, F>(&self, body: F) -> BoxCall<Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        let call = self.runtime.call_blocking(move || connections.with(body));
        call.boxed()
    }
}

fn remaining(deadline: Option<Instant>, now: Instant) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| {
        deadline.saturating_duration_since(now)
    })
}

fn value(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare_cached("SELECT value FROM pairs WHERE key = ?1")?;
    let value = statement.query_row(params![key], |row| row.get(0));
    value.optional()
}

fn set(db: &Connection, key: &str, value: Option<&str>) -> rusqlite::Result<()> {
    let sql = match value {
        Some(_) => "INSERT OR REPLACE INTO pairs (key, value) VALUES (?1, ?2)",
        None => "DELETE FROM pairs WHERE key = ?1 AND ?2 IS NULL",
    };
    db.prepare_cached(sql)?.execute(params![key, value])?;
    Ok(())
}
