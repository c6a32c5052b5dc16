//! Ending a runtime: [`Shutdown`].

use core::{fmt, time::Duration};

/// Ends a runtime in an orderly way, for those who own it.
pub trait Shutdown {
    /// Ends the runtime, waiting at most `timeout` for what is now running.
    ///
    /// At once: nothing new is accepted, closures that have not started are
    /// dropped, and suspended futures are destroyed; their joins resolve with
    /// [`is_shutdown`](crate::JoinError::is_shutdown). The polls and closures
    /// that are running are waited for, up to `timeout`. When this returns with
    /// a report that [`is_clean`](ShutdownReport::is_clean), the runtime's
    /// threads are gone (SH-1). Waking, spawning and dropping meanwhile are
    /// safe (SH-3).
    ///
    /// A second call waits for what is still running, in the same way.
    ///
    /// # Errors
    ///
    /// * [`is_in_async`](ShutdownError::is_in_async): called on a thread that
    ///   runs async code, which must not wait for itself. Nothing was done.
    /// * [`is_not_owned`](ShutdownError::is_not_owned): this handle does not own
    ///   the runtime's threads. Nothing was done.
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError>;
}

/// What was still running when [`Shutdown::shutdown`] stopped waiting.
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
