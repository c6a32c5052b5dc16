//! The boundary: [`Engine`].

use std::{fmt, future::Future, pin::Pin, time::Duration};

use fourway_jobs::{Counts, JobId};

use crate::{
    Beat, CancelAnswer, Capabilities, EngineError, Fetch, Filter, Held, Lease, Leased, NewJob,
    Page, Record, Settled, Submitted, Verdict,
};

/// What an engine answers, in its time. It borrows nothing, and can be polled on any runtime.
pub type EngineFuture<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'static>>;

/// Where jobs of named kinds are kept, and from where workers have them.
///
/// Object-safe and over bytes: an engine knows nothing of kinds, handlers and runtimes of its
/// users. What the jobs' life is, it has from [`life`](crate::life); what it has to add is where
/// that is kept, and that each change is atomic.
///
/// # For users
///
/// Methods do nothing before their future is polled, and never block the thread that polls.
/// Who is not an engine's author has [`JobClient`](crate::JobClient) and
/// [`Worker`](crate::Worker), with types.
///
/// # For implementers
///
/// * An engine that blocks does its work in [`Grouped`](crate::Grouped), on the runtime's
///   [`Offload`](fourway_core::Offload). One whose client needs a runtime of its own keeps one.
/// * Durations come in, points in time go out: the engine's clock is the only one.
/// * A job whose lease has run out is handed out again, ends as dead or is cancelled, at the
///   latest with the next [`maintain`](Self::maintain) of any worker.
/// * What is not among the [`capabilities`](Self::capabilities) is refused with
///   [`EngineError::unsupported`], but for cancelling, which has an answer of its own.
/// * Methods that take several take each by itself: the answers are in their order.
///
/// # Cancel safety
///
/// A future that is dropped may have done its work, or may do it still. So submitting again
/// (with the same ids) and settling again (with the same leases) are harmless; what was fetched
/// and not heard of comes back when its lease has run out.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// What it is called in reports: `memory`, `sqlite`.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    // -----------------------------------------------------------------------
    // For clients

    /// Takes jobs. When it has answered they are as durable as the engine is (EN-1).
    ///
    /// # Errors
    ///
    /// If none of them was taken; after [`is_unavailable`](EngineError::is_unavailable) perhaps
    /// some were.
    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>>;

    /// The job at this moment, or `None` if it is not known (any more).
    fn status(&self, id: JobId) -> EngineFuture<Option<Record>>;

    /// The output of a job that has completed; of others `None`.
    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>>;

    /// As [`status`](Self::status), but waits until the job has ended, for so long at most.
    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>>;

    /// Cancels a job: see [`CancelAnswer`].
    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer>;

    /// Some jobs, newest first.
    fn list(&self, filter: Filter) -> EngineFuture<Page>;

    /// How many jobs are known in each state.
    fn counts(&self) -> EngineFuture<Counts>;

    // -----------------------------------------------------------------------
    // For workers

    /// Hands out jobs that are to run: those of a higher priority first, and among them in the
    /// order in which they became due, as far as the engine keeps one.
    ///
    /// Each is an attempt from now on, also if the answer is lost.
    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>>;

    /// Says of jobs that they are still being run; each lease begins anew and lasts for `lease`.
    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>>;

    /// Says what became of attempts (EN-2).
    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>>;

    /// Looks after what nobody asks for: leases that have run out, jobs whose time to be
    /// forgotten has come. Each worker calls it with its heartbeats.
    fn maintain(&self) -> EngineFuture<()>;
}
