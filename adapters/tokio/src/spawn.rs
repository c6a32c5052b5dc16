use std::{
    future::{Future, IntoFuture},
    pin::pin,
};

use fourway_adapt::{
    Contain, Rethrow, destroy_contained, discard,
    fork::{self, PerProcess},
};
use fourway_core::{
    Spawner,
    implement::{Extensions, RuntimeId},
    task::Metadata,
};
use tokio::runtime::{self, Handle};

use crate::{Task, Tokio, block_on::context_is_gone, task::let_go};

impl Spawner for Tokio {
    type Task<T: Send + 'static> = Task<T>;

    #[inline]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        if self.is_inherited() {
            return self.refuse(metadata, future);
        }
        // Asked for before the future is wrapped: that goes through registers if nothing that may
        // unwind comes between. In memory it is stored in parts and loaded as a whole, for which a
        // processor waits.
        let native = self.accepting();
        // Tokio catches a destructor's panic and keeps the payload.
        let future = Contain::new(future, Some(self.id()), Rethrow);
        // Tokio as well is told the caller's line, for its console.
        Task::new(native.spawn(future), metadata)
    }

    // Inlined, so that a future goes from its parts to its place, and not through a copy of them.
    #[inline]
    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        if self.is_inherited() {
            return fourway_core::Task::detach(self.refuse(metadata, future));
        }
        // First, see `spawn_with`.
        let native = self.accepting();
        let_go(native.spawn(Contain::new(future, Some(self.id()), Rethrow)));
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        // In a forked child raw Tokio code must find no runtime, rather than one that hangs. Where the
        // context is gone, to enter a runtime panics.
        let may_enter = !self.is_inherited() && !context_is_gone();
        let _entered = may_enter.then(|| self.shared.handle.enter());
        f()
    }

    #[inline]
    fn runtime_id(&self) -> Option<RuntimeId> {
        Some(self.id())
    }

    fn extensions(&self) -> Option<Extensions> {
        Some(self.shared.extensions.clone())
    }
}

impl Tokio {
    /// The native runtime that takes a new task. After the shutdown it is one that refuses all of
    /// them: another thread ends the runtime's own, perhaps not yet, and until then that would
    /// accept the task (SH-1, orderly shutdown).
    #[inline]
    fn accepting(&self) -> &Handle {
        if self.shared.clock.is_closed() {
            return ended().unwrap_or(&self.shared.handle);
        }
        &self.shared.handle
    }

    #[cold]
    fn refuse<F: Future>(&self, metadata: Metadata, future: F) -> Task<F::Output> {
        let mut future = pin!(Some(future));
        // A panic of its destructor has been reported by the panic hook.
        fork::refuse(|| discard(destroy_contained(future.as_mut(), Some(self.id()))));
        Task::refused_in_child(metadata)
    }
}

/// A runtime that has ended. It destroys the future, and tells the joiner of the shutdown, or of a
/// panic of the destructor, as Tokio does: because it is Tokio that does it.
#[cold]
fn ended() -> Option<&'static Handle> {
    static ENDED: PerProcess<Option<Handle>> = PerProcess::new();
    let ended = ENDED.get_or_init(|| {
        // With neither threads nor drivers.
        let runtime = runtime::Builder::new_current_thread().build().ok()?;
        let handle = runtime.handle().clone();
        // To drop it panics in async code.
        runtime.shutdown_background();
        Some(handle)
    });
    ended.as_ref()
}
