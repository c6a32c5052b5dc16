//! The engine: [`PostgresEngine`].

use std::{fmt, future::Future, sync::Arc, time::Duration};

use fourway_adapt::fork::ForgetInChild;
use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Capabilities, Capability, Changes, Counts, Engine, EngineError,
    EngineFuture, Fetch, Filter, Held, JobId, Lease, Leased, NewJob, Page, Record, RetryAnswer,
    Settled, Submitted, Verdict, patiently,
};
use tokio::{
    task::JoinError,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    ask::{Answer, Ask},
    db::{Address, Db, PATIENCE, SLOW, make_tables},
    own_runtime::own,
    queries::{self, Seen},
    reader::Reader,
    writer::Writer,
};

/// After how long to look again at the latest, even without a notification: its connection may have
/// been lost a moment ago.
const STEP: Duration = Duration::from_secs(1);

/// Keeps jobs in a PostgreSQL database, for processes of any number of machines.
///
/// A clone is another handle on the same connections: one writes, the other reads and listens for
/// changes by other processes, and under load a third one writes as well. They live on this crate's own
/// small Tokio runtime, so the engine can be used from any runtime. Requests never block. The connections
/// end with the last handle.
///
/// In a forked child the requests of an engine from before the fork end as
/// [closed](EngineError::is_closed). The child opens its own.
#[derive(Clone)]
pub struct PostgresEngine {
    shared: Arc<ForgetInChild<Shared>>,
}

struct Shared {
    runtime: AnyRuntime,
    address: Arc<Address>,
    writer: Writer,
    reader: Reader,
    /// Changes by all processes.
    changes: Arc<Changes>,
}

/// How a [`PostgresEngine`] is opened.
#[must_use = "an engine is opened with `open`"]
pub struct PostgresBuilder {
    runtime: AnyRuntime,
    url: String,
    schema: Option<String>,
    relaxed: bool,
}

impl PostgresEngine {
    /// Connects to `postgres://user:password@host:port/database`, and creates the tables if they do
    /// not exist. After a `?` follow the client's parameters
    /// ([`Config`](https://docs.rs/tokio-postgres/latest/tokio_postgres/config/struct.Config.html)),
    /// and `schema=NAME`.
    ///
    /// # Errors
    ///
    /// If the address is invalid, the server does not answer or refuses the user, or the tables
    /// were made by a newer version.
    pub fn open<R: Runtime>(
        runtime: &R,
        url: impl Into<String>,
    ) -> BoxCall<Result<Self, EngineError>> {
        Self::builder(runtime, url).open()
    }

    /// With further settings.
    pub fn builder<R: Runtime>(runtime: &R, url: impl Into<String>) -> PostgresBuilder {
        PostgresBuilder {
            runtime: AnyRuntime::new(runtime.clone()),
            url: url.into(),
            schema: None,
            relaxed: false,
        }
    }

    /// The schema in which the tables are.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.shared.address.schema()
    }
}

impl PostgresBuilder {
    /// The schema for the tables, which is created if it does not exist: small letters, digits and
    /// underscores. `fourway` by default, or the address's schema.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = Some(name.into());
        self
    }

    /// Does not wait until a write is on the server's disk (`synchronous_commit = off`): jobs
    /// accepted in the last moment may be lost if the server dies, though not if this
    /// process does. `false` by default.
    pub fn relaxed(mut self, relaxed: bool) -> Self {
        self.relaxed = relaxed;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// As [`PostgresEngine::open`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the call drops what it has opened, once that is there.
    pub fn open(self) -> BoxCall<Result<PostgresEngine, EngineError>> {
        let runtime = self.runtime.clone();
        let connect = async move || {
            let mut address = Address::parse(&self.url)?;
            if let Some(schema) = self.schema {
                address.set_schema(schema)?;
            }
            address.set_relaxed(self.relaxed);
            let address = Arc::new(address);
            let changes = Arc::new(Changes::new());
            let (place, heard) = (address.clone(), changes.clone());
            let open = async move {
                make_tables(&place).await?;
                let writer = Writer::start(place.clone(), heard.clone());
                let reader = Reader::start(place, heard);
                reader.db(Instant::now() + PATIENCE).await?;
                Ok((writer, reader))
            };
            // The client's futures need a Tokio thread; the handle's do not.
            let opened = own()?.spawn(open).await;
            let (writer, reader) = opened.map_err(ended)??;
            Ok(PostgresEngine {
                shared: Arc::new(ForgetInChild::new(Shared {
                    runtime: self.runtime,
                    address,
                    writer,
                    reader,
                    changes,
                })),
            })
        };
        runtime.call_with(connect).boxed()
    }
}

impl Shared {
    /// Looks; for [`PATIENCE`] at most.
    async fn read<T, L>(
        &self,
        look: impl Fn(Arc<Db>) -> L + Send + Sync + 'static,
    ) -> Result<T, EngineError>
    where
        T: Send + 'static,
        L: Future<Output = Result<Seen<T>, EngineError>> + Send + 'static,
    {
        self.writer.check_process()?;
        let (reader, writer) = (self.reader.clone(), self.writer.clone());
        // On this crate's threads, where the client has its timers.
        let read = own()?.spawn(async move { read(&reader, &writer, look).await });
        read.await.map_err(ended)?
    }

    async fn status(&self, id: JobId) -> Result<Option<Record>, EngineError> {
        self.read(move |db| async move { queries::status(&db, id).await })
            .await
    }
}

/// The error for a request whose task has ended without an answer.
fn ended(error: JoinError) -> EngineError {
    if error.is_panic() {
        EngineError::panicked()
    } else {
        EngineError::closed()
    }
}

async fn read<T, L>(
    reader: &Reader,
    writer: &Writer,
    look: impl Fn(Arc<Db>) -> L,
) -> Result<T, EngineError>
where
    L: Future<Output = Result<Seen<T>, EngineError>>,
{
    let end = Instant::now() + PATIENCE;
    let late = || EngineError::unavailable("the server did not answer in time");
    let mut pause = Duration::from_millis(1);
    loop {
        let db = reader.db(end).await?;
        let (begun, heard) = (Instant::now(), db.heard());
        let found = timeout_at(end, look(db.clone())).await;
        if found.is_ok() {
            db.has_answered();
        }
        match found {
            Ok(Ok(Seen::So(found))) => return Ok(found),
            // An unreadable job that it finds does not concern readers of other jobs.
            Ok(Ok(Seen::After(ask))) => match timeout_at(end, writer.ask(ask)).await {
                Ok(done) => {
                    drop(done?);
                    // The writer may have done only a part, or another process may be doing it.
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
                Err(_elapsed) => return Err(late()),
            },
            // Perhaps the connection was lost meanwhile: there is a new one. A read that the server
            // gave up because of its duration would take as long again.
            Ok(Err(error))
                if error.is_unavailable()
                    && begun.elapsed() < SLOW
                    && Instant::now() + pause < end => {}
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => {
                // Other callers use the connection, too. It stands still only if no caller was
                // answered for longer than the server takes for any read.
                if begun.elapsed() > SLOW && db.heard() == heard {
                    db.give_up();
                }
                return Err(late());
            }
        }
        sleep(pause).await;
        pause *= 2;
    }
}

/// The writer's answer, which has the kind of the request.
macro_rules! answer {
    ($answer:expr, $kind:ident) => {
        match $answer.await? {
            Answer::$kind(answer) => Ok(answer),
            Answer::Refused(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    };
}

fn unexpected(answer: &Answer) -> EngineError {
    EngineError::internal(format!("the answer to something else: {answer:?}"))
}

impl Engine for PostgresEngine {
    fn name(&self) -> &str {
        "postgres"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::in_process()
            .with(Capability::Durable)
            .with(Capability::Processes)
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            for job in &jobs {
                let texts = [
                    Some(&job.kind),
                    job.unique.as_ref().map(|unique| &unique.key),
                ];
                if texts.into_iter().flatten().any(|text| text.contains('\0')) {
                    return Err(EngineError::invalid(
                        "PostgreSQL's texts hold no zero byte: the kind or the unique key has one",
                    ));
                }
            }
            answer!(shared.writer.ask(Ask::Submit(jobs)), Submit)
        })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.status(id).await })
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared
                .read(move |db| async move { queries::output(&db, id).await })
                .await
        })
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let look = async || {
                Ok(match shared.status(id).await? {
                    Some(job) if !job.state.is_finished() => Err(STEP),
                    ended => Ok(ended),
                })
            };
            match patiently(&shared.runtime, &shared.changes, patience, look).await? {
                Some(ended) => Ok(ended),
                None => shared.status(id).await,
            }
        })
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        let shared = self.shared.clone();
        Box::pin(async move { answer!(shared.writer.ask(Ask::Cancel(id)), Cancel) })
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        let shared = self.shared.clone();
        Box::pin(async move { answer!(shared.writer.ask(Ask::Retry(id)), Retry) })
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let filter = Arc::new(filter);
            let list = move |db: Arc<Db>| {
                let filter = filter.clone();
                async move { queries::list(&db, &filter).await }
            };
            shared.read(list).await
        })
    }

    fn counts(&self) -> EngineFuture<Counts> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared
                .read(move |db| async move { queries::counts(&db).await })
                .await
        })
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            if fetch.worker.contains('\0') {
                return Err(EngineError::invalid(
                    "PostgreSQL's texts hold no zero byte: the worker's name has one",
                ));
            }
            let look = async || {
                let fetched = shared.writer.ask(Ask::Fetch(fetch.clone())).await?;
                match fetched {
                    Answer::Fetch(jobs, next) if jobs.is_empty() => {
                        Ok(Err(next.map_or(STEP, |next| next.min(STEP))))
                    }
                    Answer::Fetch(jobs, _) => Ok(Ok(jobs)),
                    Answer::Refused(error) => Err(error),
                    other => Err(unexpected(&other)),
                }
            };
            let jobs = patiently(&shared.runtime, &shared.changes, fetch.patience, look).await?;
            Ok(jobs.unwrap_or_default())
        })
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        let shared = self.shared.clone();
        Box::pin(async move { answer!(shared.writer.ask(Ask::Beat(beats, lease)), Beat) })
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        let shared = self.shared.clone();
        Box::pin(async move { answer!(shared.writer.ask(Ask::Settle(verdicts)), Settle) })
    }

    fn maintain(&self) -> EngineFuture<()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            match shared.writer.ask(Ask::Pass).await? {
                Answer::Refused(error) => Err(error),
                _ => Ok(()),
            }
        })
    }
}

impl fmt::Debug for PostgresEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEngine")
            .field("hosts", &self.shared.address.hosts())
            .field("schema", &self.schema())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address, which may come with a password.
        f.debug_struct("PostgresBuilder")
            .field("schema", &self.schema)
            .field("relaxed", &self.relaxed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::EngineErrorKind;
    use fourway_testing::panic_quietly;

    use super::*;

    #[test]
    fn faults_of_the_engine_are_no_fault_of_the_request() {
        let own = own().unwrap();
        let panics = own.spawn(async { panic_quietly("in a read") });
        let panicked = ended(own.block_on(panics).unwrap_err());
        for error in [panicked, unexpected(&Answer::Pass)] {
            assert_eq!(error.kind(), EngineErrorKind::Internal, "{error}");
        }
    }
}
