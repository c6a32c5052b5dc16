//! Ending a runtime, and its state: [`Shutdown`].

use core::{fmt, time::Duration};

/// Ends a runtime in an orderly way, for its owner; and reports its state.
///
/// Every [`Runtime`](crate::Runtime) has it. A library that was lent a runtime should not call
/// [`shutdown`](Self::shutdown).
pub trait Shutdown {
    /// Ends the runtime, waiting at most `timeout` for running work.
    ///
    /// At once: nothing new is accepted, closures that have not started are
    /// dropped, and suspended futures are destroyed; their joins resolve with
    /// [`is_shutdown`](crate::JoinError::is_shutdown). The polls and closures
    /// that are running are waited for, up to `timeout`. When this returns with
    /// a report that [`is_clean`](ShutdownReport::is_clean), the runtime's
    /// threads are gone ([orderly shutdown][SH-1]). Waking, spawning and dropping meanwhile are
    /// safe ([use during the shutdown][SH-3]).
    ///
    /// A second call waits for work that is still running, in the same way.
    ///
    /// `timeout` limits the user's polls and closures. Threads that have none left are joined
    /// without a deadline, because no system can join a thread with one. The destructors of the
    /// user's thread-locals run last of all, and should be short.
    ///
    /// # Errors
    ///
    /// * [`is_in_async`](ShutdownError::is_in_async): called on a thread that
    ///   runs async code, which must not wait for itself. Nothing was done.
    /// * [`is_not_owned`](ShutdownError::is_not_owned): this handle does not own
    ///   the runtime's threads. Nothing was done.
    ///
    /// [SH-1]: crate::contract#SH-1
    /// [SH-3]: crate::contract#SH-3
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError>;

    /// Begins a shutdown as far as closures are concerned: no more are accepted, and those
    /// that have not started are dropped. Waits for nothing. A runtime may refuse tasks as well
    /// from then on, and [`is_shutdown`](Self::is_shutdown) may say so already or not yet.
    ///
    /// For wrappers of several runtimes: all of them must refuse closures before the wrapper waits
    /// for one. [`shutdown`](Self::shutdown) must follow. By default it is a shutdown with no time.
    ///
    /// # Errors
    ///
    /// Those of [`shutdown`](Self::shutdown). Nothing was done.
    fn close_pool(&self) -> Result<(), ShutdownError> {
        self.shutdown(Duration::ZERO).map(drop)
    }

    /// Has a shutdown of the runtime begun? Then it accepts no more work: a spawn or an offload
    /// resolves as shut down at once ([spawn after the shutdown][SP-3]).
    ///
    /// `false` promises nothing about the moment after. It is always `false` for a runtime that
    /// cannot be shut down, such as smol's global executor, and for a ten-line adapter, whose
    /// executor belongs to its implementer. In a forked child every runtime from before the fork is
    /// shut down ([forked children][FK-1]).
    ///
    /// [SP-3]: crate::contract#SP-3
    /// [FK-1]: crate::contract#FK-1
    fn is_shutdown(&self) -> bool;

    /// The work of the runtime at this moment.
    ///
    /// For logs and metrics: it takes the locks of the queues for a moment, and may be out
    /// of date when it is read.
    fn status(&self) -> RuntimeStatus;
}

/// A look at a runtime at one moment. Made by [`Shutdown::status`].
///
/// `Display` puts it into a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeStatus {
    /// The executor, which runs tasks.
    pub executor: ExecutorStatus,
    /// The pool, which runs offloaded closures.
    pub pool: PoolStatus,
}

/// The executor of tasks, at one moment. `None`: the runtime does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorStatus {
    /// Threads that run tasks.
    pub workers: Option<usize>,
    /// Workers that are in the middle of a poll.
    pub busy: Option<usize>,
    /// Tasks that have not ended.
    pub tasks: Option<usize>,
    /// Tasks that are ready and wait for a thread. On Tokio, those in the queue that all its
    /// threads share.
    pub queued: Option<usize>,
}

/// A pool for closures, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Closures that wait for a slot.
    pub queued: usize,
    /// Closures that hold a slot.
    pub running: usize,
    /// Closures that are parked in `block_on`, their slot lent.
    pub lent: usize,
    /// Threads, started or starting; and those that run a closure because they wait for
    /// it.
    pub threads: usize,
    /// Closures that were dropped by closing the pool.
    pub dropped: usize,
}

impl fmt::Display for RuntimeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tasks: ")?;
        let executor = &self.executor;
        let numbers = [
            (executor.tasks, "alive"),
            (executor.queued, "queued"),
            (executor.busy, "being polled"),
            (executor.workers, "threads"),
        ];
        let mut known = numbers.iter().filter_map(|(n, what)| Some(((*n)?, what)));
        if let Some((n, what)) = known.next() {
            write!(f, "{n} {what}")?;
            known.try_for_each(|(n, what)| write!(f, ", {n} {what}"))?;
        } else {
            f.write_str("unknown")?;
        }
        let pool = &self.pool;
        write!(
            f,
            "; closures: {} queued, {} running, {} parked, {} threads",
            pool.queued, pool.running, pool.lent, pool.threads
        )
    }
}

/// The work that was still running when [`Shutdown::shutdown`] stopped waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks whose futures were still being polled, or destroyed, at the end
    /// of the time.
    pub tasks_running: usize,
    /// Closures that were still running at the end of the time.
    pub closures_running: usize,
    /// Closures that were dropped before they started.
    pub closures_dropped: usize,
    /// Threads that had not ended at the end of the time.
    pub threads_running: usize,
}

impl ShutdownReport {
    /// Has everything ended, threads included?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.tasks_running == 0 && self.closures_running == 0 && self.threads_running == 0
    }
}

impl ShutdownReport {
    /// For two runtimes that are one to their user.
    #[cfg(feature = "std")]
    pub(crate) fn and(self, other: &Self) -> Self {
        Self {
            tasks_running: self.tasks_running + other.tasks_running,
            closures_running: self.closures_running + other.closures_running,
            closures_dropped: self.closures_dropped + other.closures_dropped,
            threads_running: self.threads_running + other.threads_running,
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("everything has ended");
        }
        write!(
            f,
            "still running: {} tasks, {} closures, {} threads",
            self.tasks_running, self.closures_running, self.threads_running
        )
    }
}

/// Why a runtime was not shut down.
#[derive(Clone, PartialEq, Eq)]
pub struct ShutdownError {
    in_async: bool,
}

impl ShutdownError {
    /// Called from async code. For adapters; users receive it.
    #[must_use]
    pub fn in_async() -> Self {
        Self { in_async: true }
    }

    /// The handle does not own the runtime. For adapters; users receive it.
    #[must_use]
    pub fn not_owned() -> Self {
        Self { in_async: false }
    }

    /// Was it called on a thread that runs async code?
    #[must_use]
    pub fn is_in_async(&self) -> bool {
        self.in_async
    }

    /// Does the handle not own the runtime's threads?
    #[must_use]
    pub fn is_not_owned(&self) -> bool {
        !self.in_async
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.in_async {
            "cannot wait for a shutdown on a thread that runs async code; call `shutdown` from \
             sync code, or drop the last handle, which does not wait"
        } else {
            "cannot shut down a runtime that this handle does not own; shut it down where it was \
             created"
        })
    }
}

impl fmt::Debug for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.in_async {
            "ShutdownError::InAsync"
        } else {
            "ShutdownError::NotOwned"
        })
    }
}

impl core::error::Error for ShutdownError {}

/// For functions that return an [`io::Result`](std::io::Result). The kind is `Other`, and the
/// error itself is [inside](std::io::Error::get_ref).
#[cfg(feature = "std")]
impl From<ShutdownError> for std::io::Error {
    fn from(error: ShutdownError) -> Self {
        Self::other(error)
    }
}
