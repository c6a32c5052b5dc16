//! The engine: [`SqliteEngine`].

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Capabilities, Capability, Changes, Counts, Engine, EngineError,
    EngineFuture, Fetch, Filter, Grouped, Held, JobId, Lease, Leased, NewJob, Page, Record,
    RetryAnswer, Settled, Submitted, Verdict, patiently,
};

use crate::{
    db::{Db, is_by_disk, now, whole},
    preview::Preview,
};

/// How many requests are one transaction at most.
const GROUP: usize = 1000;

/// Keeps jobs in a file, for the processes of one machine.
///
/// A clone is another handle on the same two connections: one writes, one reads. Both are used on
/// the runtime's pool for closures that may block. Requests never block. While the disk is full or
/// fails to write, jobs can still be read; a third connection is opened for that.
#[derive(Clone)]
pub struct SqliteEngine {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: AnyRuntime,
    path: PathBuf,
    writer: Grouped<Db>,
    reader: Grouped<Db>,
    /// Reads while the disk takes no writes.
    preview: Grouped<Preview>,
    /// Changes by this process.
    changes: Changes,
}

/// How a [`SqliteEngine`] is opened.
#[derive(Debug)]
#[must_use = "a file is opened with `open`"]
pub struct SqliteBuilder {
    runtime: AnyRuntime,
    path: PathBuf,
    relaxed: bool,
}

impl SqliteEngine {
    /// Opens a file of jobs, or creates one.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, is not a database, or was made by a newer version.
    pub fn open<R: Runtime>(
        runtime: &R,
        path: impl Into<PathBuf>,
    ) -> BoxCall<Result<Self, EngineError>> {
        Self::builder(runtime, path).open()
    }

    /// With further settings.
    pub fn builder<R: Runtime>(runtime: &R, path: impl Into<PathBuf>) -> SqliteBuilder {
        SqliteBuilder {
            runtime: AnyRuntime::new(runtime.clone()),
            path: path.into(),
            relaxed: false,
        }
    }

    /// Where the file is: its whole path, even if a relative one was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

impl SqliteBuilder {
    /// Does not wait until a write is on the disk: the jobs accepted last may be lost if the
    /// machine dies, though not if the process does. `false` by default.
    pub fn relaxed(mut self, relaxed: bool) -> Self {
        self.relaxed = relaxed;
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// As [`SqliteEngine::open`].
    pub fn open(self) -> BoxCall<Result<SqliteEngine, EngineError>> {
        let runtime = self.runtime.clone();
        // Of the folder in which the process is now.
        let path = whole(&self.path);
        let open = move || {
            let path = path?;
            let db = Db::open(&path, self.relaxed)?;
            let writer = Grouped::new(self.runtime.clone(), db, GROUP);
            let db = Db::open_to_read(&path)?;
            Ok(SqliteEngine {
                shared: Arc::new(Shared {
                    reader: Grouped::new(self.runtime.clone(), db, GROUP),
                    preview: Grouped::new(self.runtime.clone(), Preview::new(path.clone()), GROUP),
                    writer,
                    runtime: self.runtime,
                    path,
                    changes: Changes::new(),
                }),
            })
        };
        runtime.call_blocking(open).boxed()
    }
}

impl Shared {
    /// Reads, after all due transitions are made.
    ///
    /// If the disk does not take them, it shows what they would lead to.
    async fn read<T, F>(&self, look: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&Db) -> Result<T, EngineError> + Send + Clone + 'static,
    {
        loop {
            let try_to = look.clone();
            let read = self.reader.ask(move |db| {
                if db.is_stale(now())? {
                    return Ok(None);
                }
                try_to(db).map(Some)
            });
            if let Some(found) = read.await? {
                return Ok(found);
            }
            match self.write(|db, now| db.pass(now)).await {
                // An unreadable job does not concern readers of other jobs; `maintain` reports it.
                Ok(_unreadable) => {}
                // What is there can still be read. Behind a busy writer it cannot: the preview would
                // wait for the same lock once more.
                Err(error) if is_by_disk(&error) => {
                    let preview = move |preview: &mut Preview| preview.look(now(), look);
                    return self.preview.ask(preview).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes, and tells the waiters in this process.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Db, u64) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let changed = self.writer.ask(move |db| change(db, now())).await;
        self.changes.tell();
        changed
    }
}

/// How long until the next look for changes by other processes: short at first.
#[derive(Default)]
struct Steps(AtomicU64);

impl Steps {
    fn next(&self) -> Duration {
        // Relaxed: a number by itself, counted up by one future.
        let before = self.0.fetch_add(10, Ordering::Relaxed);
        Duration::from_millis((before + 10).min(100))
    }
}

impl Engine for SqliteEngine {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::in_process()
            .with(Capability::Durable)
            .with(Capability::Processes)
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let submit =
                move |db: &Db, now| jobs.into_iter().map(|job| db.submit(job, now)).collect();
            shared.write(submit).await
        })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.read(move |db| db.status(id)).await })
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.read(move |db| db.output(id)).await })
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let steps = Steps::default();
            let look = async || {
                let job = shared.read(move |db| db.status(id)).await?;
                Ok(match job {
                    Some(job) if !job.state.is_finished() => Err(steps.next()),
                    ended => Ok(ended),
                })
            };
            match patiently(&shared.runtime, &shared.changes, patience, look).await? {
                Some(ended) => Ok(ended),
                None => shared.read(move |db| db.status(id)).await,
            }
        })
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.write(move |db, now| db.cancel(id, now)).await })
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.write(move |db, now| db.retry(id, now)).await })
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.read(move |db| db.list(&filter)).await })
    }

    fn counts(&self) -> EngineFuture<Counts> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.read(Db::counts).await })
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let steps = Steps::default();
            let fetch = Arc::new(fetch);
            let look = async || {
                // Only a fetch that will find a job takes the write lock, which all processes
                // share.
                let wanted = fetch.clone();
                if !shared.read(move |db| db.has_work(&wanted.kinds)).await? {
                    return Ok(Err(steps.next()));
                }
                let wanted = fetch.clone();
                let write = shared.writer.ask(move |db| db.fetch(&wanted, now()));
                let jobs = write.await??;
                Ok(if jobs.is_empty() {
                    Err(steps.next())
                } else {
                    Ok(jobs)
                })
            };
            let jobs = patiently(&shared.runtime, &shared.changes, fetch.patience, look).await?;
            Ok(jobs.unwrap_or_default())
        })
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let beat = shared.writer.ask(move |db| {
                let now = now();
                let beats = beats.into_iter();
                beats.map(|beat| db.beat(beat, lease, now)).collect()
            });
            beat.await
        })
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let settle = move |db: &Db, now| {
                let verdicts = verdicts.into_iter();
                let settle = |(lease, verdict)| db.settle(lease, verdict, now);
                verdicts.map(settle).collect()
            };
            shared.write(settle).await
        })
    }

    fn maintain(&self) -> EngineFuture<()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let mut unreadable = None;
            // Reading needs no lock, and mostly no transition is due.
            while shared.reader.ask(|db| db.is_stale(now())).await? {
                let found = shared.write(|db, now| db.pass(now)).await?;
                unreadable = unreadable.or(found);
            }
            unreadable.map_or(Ok(()), Err)
        })
    }
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEngine")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fourway_testing::{any, run};

    use super::*;

    #[test]
    fn a_read_waits_once_for_a_busy_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let rt = any();
        let engine = SqliteEngine::open(&rt, &path).wait().unwrap();
        let mut job = NewJob::new("kind", 1, "");
        job.delay = Duration::from_millis(1);
        let id = job.id;
        run(&rt, engine.submit(vec![job])).unwrap();
        let busy = rusqlite::Connection::open(&path).unwrap();
        busy.execute_batch("BEGIN IMMEDIATE").unwrap();
        // The job becomes due, perhaps after some reads.
        let error = loop {
            if let Err(error) = run(&rt, engine.status(id)) {
                break error;
            }
        };
        assert!(error.is_unavailable(), "{error}");
        let is_open = engine.shared.preview.ask(|preview| Ok(preview.is_open()));
        assert!(!run(&rt, is_open).unwrap(), "it would wait again");
        busy.execute_batch("ROLLBACK").unwrap();
        assert!(run(&rt, engine.status(id)).unwrap().is_some());
    }
}
