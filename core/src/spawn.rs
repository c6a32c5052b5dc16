//! Running futures in the background: [`Spawner`].

use core::future::IntoFuture;

use crate::Task;

/// Runs futures as tasks.
pub trait Spawner {
    /// The handle of a task; natively the runtime's own, so that the
    /// abstraction costs no allocation.
    type Task<T: Send + 'static>: Task<T> + 'static;

    /// Starts `future` as a task and returns its handle.
    ///
    /// It may be anything that can be awaited: a future, or what turns into one, such as
    /// a [`Call`](crate::Call). ([`Call::spawn`](crate::Call::spawn) takes the shorter way:
    /// a blocking body goes straight to the pool, without a task that waits for it.)
    ///
    /// The task makes progress without the handle being polled (SP-1). May be
    /// called from anywhere: a plain thread, a task of this or another runtime,
    /// an offloaded closure, a destructor, an unwinding thread; it never blocks
    /// and never polls `future` itself (SP-2). The future runs on the runtime's
    /// threads, and there alone.
    ///
    /// Once the runtime is shut down, `future` is dropped, and the handle
    /// resolves to an error of which
    /// [`is_shutdown`](crate::JoinError::is_shutdown) is true (SP-3).
    ///
    /// Dropping the handle cancels the task (CA-1).
    fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>;

    /// Starts `future` as a task that nobody will join.
    ///
    /// The same as `spawn(future).detach()`, which is what it does by default;
    /// adapters override it where it costs less not to make a handle.
    fn spawn_detached<F>(&self, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.spawn(future).detach();
    }

    /// Calls `f` with what code finds on the runtime's own threads, as far as that is
    /// more than fourway's context: on Tokio, with its handle as the current one.
    ///
    /// For closures that another runtime's pool runs, see
    /// [`Compose`](crate::Compose). Runs `f` on the calling thread; by default it does
    /// nothing else.
    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        f()
    }
}
