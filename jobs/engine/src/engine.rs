//! The boundary: [`Engine`].

use std::{fmt, future::Future, pin::Pin, time::Duration};

use fourway_jobs::{Counts, JobId};

use crate::{
    Beat, CancelAnswer, Capabilities, EngineError, Fetch, Filter, Held, Lease, Leased, NewJob,
    Page, Record, RetryAnswer, Settled, Submitted, Verdict,
};

/// The future of an engine's answer. It borrows nothing and can be polled on any runtime.
pub type EngineFuture<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'static>>;

/// Keeps jobs of named kinds and hands them out to workers.
///
/// Object-safe and over bytes: an engine knows nothing of its users' kinds, handlers and runtimes.
/// [`life`](crate::life) has the transitions of a job. The engine adds the storage and makes each
/// change atomic.
///
/// # For users
///
/// Methods do nothing before their future is polled, and never block the thread that polls.
/// Applications use [`JobClient`](crate::JobClient) and [`Worker`](crate::Worker), which have
/// types.
///
/// # For implementers
///
/// * An engine that blocks does its work in [`Grouped`](crate::Grouped), on the runtime's
///   [`Offload`](fourway_core::Offload). An engine whose client needs its own runtime keeps one.
/// * Durations come in, points in time go out: the engine's clock is the only one.
/// * A job whose lease has run out is handed out again, ends as dead or is cancelled, at the
///   latest with the next [`maintain`](Self::maintain) of any worker.
/// * A request beyond the [`capabilities`](Self::capabilities) is refused with
///   [`EngineError::unsupported`]: a job that needs one ([`Capabilities::lacking_for`]), and with it the
///   jobs beside it; a heartbeat with progress; lists, counts and retries. Cancelling has its own answer
///   instead.
/// * Methods that take several take each by itself: the answers are in their order.
///
/// # Cancel safety
///
/// A dropped future may have done its work, or may still do it. So submitting again (with the same
/// ids) and settling again (with the same leases) are harmless. A job that was fetched by a lost
/// answer comes back when its lease has run out.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Its name in reports: `memory`, `sqlite`.
    fn name(&self) -> &str;

    /// Its capabilities.
    fn capabilities(&self) -> Capabilities;

    // -----------------------------------------------------------------------
    // For clients

    /// Takes jobs. Once it has answered, they are as durable as the engine is (EN-1, what was
    /// accepted survives).
    ///
    /// # Errors
    ///
    /// If no job was taken. After [`is_unavailable`](EngineError::is_unavailable) or
    /// [`is_internal`](EngineError::is_internal) some may have been taken.
    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>>;

    /// The job at this moment, or `None` if it is not known (any more).
    fn status(&self, id: JobId) -> EngineFuture<Option<Record>>;

    /// The output of a job that has completed; of others `None`.
    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>>;

    /// As [`status`](Self::status), but waits until the job has ended, for so long at most.
    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>>;

    /// Cancels a job: see [`CancelAnswer`].
    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer>;

    /// Runs a job again that has failed, timed out or was cancelled, with the arguments that it had.
    /// A job that waits for its next attempt runs at once. The count of attempts goes on, and at least
    /// one more may follow.
    ///
    /// A second request finds the job queued, and says so. So the answer to a request that is repeated
    /// after a lost answer may be its state.
    ///
    /// # Errors
    ///
    /// [`EngineError::invalid`] for a job whose arguments the engine does not keep.
    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer>;

    /// Some jobs, newest first.
    fn list(&self, filter: Filter) -> EngineFuture<Page>;

    /// How many jobs are known in each state.
    fn counts(&self) -> EngineFuture<Counts>;

    // -----------------------------------------------------------------------
    // For workers

    /// Hands out jobs to run: higher priorities first, and within a priority in the order in which
    /// they became due, as far as the engine keeps that order.
    ///
    /// Each is an attempt from now on, also if the answer is lost.
    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>>;

    /// Reports jobs as still running; each lease begins anew and lasts for `lease`.
    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>>;

    /// Reports the verdicts on attempts (EN-2, run at least once, recorded once).
    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>>;

    /// Does the maintenance: it handles leases that have run out and forgets jobs whose time is
    /// over. Each worker calls it with its heartbeats.
    fn maintain(&self) -> EngineFuture<()>;
}
