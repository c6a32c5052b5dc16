//! Cancelling from afar: [`AbortHandle`].

use alloc::sync::Arc;
use core::fmt;

/// Cancels a task from anywhere, without owning its output.
///
/// Made by [`Task::abort_handle`](crate::Task::abort_handle). Cloning gives
/// another handle on the same task. Dropping an abort handle does nothing: only dropping the
/// [`Task`](crate::Task) handle cancels the task. An abort handle still works after the task was
/// detached.
#[derive(Clone)]
pub struct AbortHandle {
    target: Arc<dyn Abort>,
}

// Aborting runs no foreign code under a lock.
impl core::panic::UnwindSafe for AbortHandle {}
impl core::panic::RefUnwindSafe for AbortHandle {}

impl AbortHandle {
    /// Wraps an adapter's way of cancelling one task.
    #[must_use]
    pub fn new(target: Arc<dyn Abort>) -> Self {
        Self { target }
    }

    /// Asks for the task to be cancelled, and returns at once.
    ///
    /// Rule [cancelled promptly][CA-2] ([cancelled closures][OF-3] for a closure) says what happens
    /// when. To wait until the task is destroyed, await its handle. Doing it twice, or after the
    /// end, changes nothing ([cancel waits for the end][CA-3]). Callable from any thread.
    ///
    /// [CA-2]: crate::contract#CA-2
    /// [OF-3]: crate::contract#OF-3
    /// [CA-3]: crate::contract#CA-3
    pub fn abort(&self) {
        self.target.abort();
    }

    /// Has the task ended, and its future been destroyed?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.target.is_finished()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// The trait that an adapter implements behind an [`AbortHandle`].
pub trait Abort: Send + Sync + 'static {
    /// See [`AbortHandle::abort`]. Must neither block nor run the task's
    /// future or its waker under a lock.
    fn abort(&self);

    /// See [`AbortHandle::is_finished`].
    fn is_finished(&self) -> bool;
}
