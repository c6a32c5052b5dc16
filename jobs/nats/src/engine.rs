//! The engine: [`NatsEngine`].

use std::{fmt, future::Future, sync::Arc, time::Duration};

use fourway_adapt::fork::ForgetInChild;
use fourway_core::{BoxCall, Runtime};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Capabilities, Capability, Counts, Engine, EngineError, EngineFuture, Fetch,
    Filter, Held, JobId, Lease, Leased, NewJob, Page, Record, RetryAnswer, Settled, Submitted,
    Verdict,
};

use crate::{NatsBuilder, store::Store, tokio_side::Side};

/// Keeps jobs in JetStream, for the processes of many machines.
///
/// A clone is another handle on the same connection. While the server cannot be reached, requests
/// fail as [unavailable](EngineError::is_unavailable) after [a timeout](NatsBuilder::timeout). The
/// engine reconnects by itself, to any server of the cluster.
///
/// # Where it runs
///
/// On two threads of a separate Tokio runtime, which all engines of the process share. Its
/// futures are polled on any runtime, and never block.
///
/// In a forked child the requests of an engine from before the fork end as
/// [closed](EngineError::is_closed). The child opens its own.
pub struct NatsEngine {
    side: Side,
    store: ForgetInChild<Arc<Store>>,
}

impl NatsEngine {
    /// Connects to servers, `nats://host:4222` or several of them with commas between, with the
    /// settings that a [builder](Self::builder) has by default.
    ///
    /// # Errors
    ///
    /// As [`NatsBuilder::open`].
    pub fn open<R: Runtime>(
        runtime: &R,
        servers: impl Into<String>,
    ) -> BoxCall<Result<Self, EngineError>> {
        Self::builder(runtime, servers).open()
    }

    /// With further settings. The servers may come with a user and a password,
    /// `nats://user:password@host:4222`, or with a token in the user's place.
    pub fn builder<R: Runtime>(runtime: &R, servers: impl Into<String>) -> NatsBuilder {
        NatsBuilder::new(runtime, servers.into())
    }

    /// The prefix of its names in NATS.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.store.prefix()
    }

    /// How many servers keep each job.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.store.replicas()
    }

    /// Removes the stream and the buckets, with all jobs: for tests.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached.
    pub fn remove_all(&self) -> EngineFuture<()> {
        self.change(|store| async move { store.remove_all().await })
    }

    pub(crate) fn new(side: Side, store: Store) -> Self {
        Self {
            store: ForgetInChild::of(side.process(), Arc::new(store)),
            side,
        }
    }

    fn change<T, F>(&self, f: impl FnOnce(Arc<Store>) -> F) -> EngineFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        self.side.to_its_end(f(Arc::clone(&self.store)))
    }

    fn look<T, F>(&self, f: impl FnOnce(Arc<Store>) -> F) -> EngineFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        self.side.while_wanted(f(Arc::clone(&self.store)))
    }
}

impl Clone for NatsEngine {
    fn clone(&self) -> Self {
        Self {
            store: ForgetInChild::of(self.side.process(), Arc::clone(&self.store)),
            side: self.side.clone(),
        }
    }
}

impl Engine for NatsEngine {
    fn name(&self) -> &str {
        "nats"
    }

    fn capabilities(&self) -> Capabilities {
        let has = Capabilities::in_process()
            .with(Capability::Durable)
            .with(Capability::Processes);
        if self.replicas() >= 3 {
            has.with(Capability::Replicated)
        } else {
            has
        }
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        self.change(|store| async move { store.submit(jobs).await })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        self.look(move |store| async move { store.status(id).await })
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        self.look(move |store| async move { store.result(id).await })
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        self.look(move |store| async move { store.wait(id, patience).await })
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        self.change(move |store| async move { store.cancel(id).await })
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        self.change(move |store| async move { store.retry(id).await })
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        self.look(|store| async move { store.list(&filter).await })
    }

    fn counts(&self) -> EngineFuture<Counts> {
        self.look(|store| async move { store.counts().await })
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        self.look(|store| async move { store.fetch(&fetch).await })
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        self.change(move |store| async move { store.heartbeat(beats, lease).await })
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        self.change(|store| async move { store.settle(verdicts).await })
    }

    fn maintain(&self) -> EngineFuture<()> {
        self.change(|store| async move { store.maintain().await })
    }
}

impl fmt::Debug for NatsEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsEngine")
            .field("prefix", &self.prefix())
            .field("replicas", &self.replicas())
            .finish_non_exhaustive()
    }
}
