use std::io;

use fourway_adapt::{
    ThreadHooks,
    pool::{Threads, Worker},
};
use fourway_core::{Offload, TryOffloadError, task::Metadata};
use tokio::runtime::Handle;

use crate::{OffloadTask, Tokio, block_on::context_is_gone};

impl Offload for Tokio {
    type OffloadTask<T: Send + 'static> = OffloadTask<T>;

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.pool.offload_with(metadata, f)
    }

    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.pool.try_offload_with(metadata, f)
    }
}

/// Tokio's blocking threads, for the pool.
pub(crate) struct BlockingThreads {
    handle: Handle,
    chosen: Chosen,
}

/// What was chosen for the threads of a runtime that was built here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) stack_size: Option<usize>,
    pub(crate) hooks: ThreadHooks,
}

impl BlockingThreads {
    pub(crate) fn new(handle: Handle, chosen: Chosen) -> Self {
        Self { handle, chosen }
    }
}

impl Threads for BlockingThreads {
    fn start(&self, worker: Worker) -> io::Result<()> {
        // Tokio panics if the system gives it no thread, which the pool expects.
        // On a runtime that is shut down it drops the worker, which tells the
        // pool. Dropping the handle detaches.
        drop(self.handle.spawn_blocking(move || worker.run()));
        Ok(())
    }

    /// Closures may rely on a chosen stack size, and on what the hooks have done on their thread:
    /// then no other thread will do.
    fn surround(&self, f: &mut dyn FnMut()) {
        let any = self.chosen.stack_size.is_none() && self.chosen.hooks.are_none();
        // Where the context is gone, to enter a runtime panics.
        if any && !context_is_gone() {
            // As on Tokio's own threads, `Handle::current` works in closures.
            let _entered = self.handle.enter();
            f();
        }
    }

    fn start_extra(&self, worker: Worker) -> io::Result<()> {
        // Closures that are parked hold threads of Tokio's pool, perhaps all that
        // its limit allows. So this thread does not come from there.
        let (handle, hooks) = (self.handle.clone(), self.chosen.hooks.clone());
        worker.run_on_extra_thread(self.chosen.stack_size, move |life| {
            hooks.around(&mut || {
                // As on Tokio's own threads, `Handle::current` works in closures.
                let _entered = handle.enter();
                life();
            });
        })
    }
}
