use std::future::IntoFuture;

use fourway_adapt::fork;
use fourway_core::{
    Spawner,
    implement::{Extensions, RuntimeId},
    task::Metadata,
};

use crate::{
    StdThread, Task,
    cell::{self, TaskRef},
    executor::Executor,
    worker::{self, Push},
};

impl Spawner for StdThread {
    type Task<T: Send + 'static> = Task<T>;

    #[inline]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let executor = &self.shared.executor;
        let (task, join) = cell::task(executor, future);
        queue(executor, task);
        Task::new(join, metadata)
    }

    fn spawn_detached_with<F>(&self, _metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let executor = &self.shared.executor;
        queue(executor, cell::detached(executor, future));
    }

    #[inline]
    fn runtime_id(&self) -> Option<RuntimeId> {
        Some(self.id())
    }

    fn extensions(&self) -> Option<Extensions> {
        Some(self.shared.extensions.clone())
    }
}

/// Queues a new task.
fn queue(executor: &Executor, task: TaskRef) {
    if executor.is_inherited() {
        // The handle reports it by itself.
        return fork::refuse(|| task.destroy());
    }
    // A task that comes a moment too late is refused when it is run (SP-3, spawn after the
    // shutdown).
    if executor.is_closing() {
        task.destroy();
    } else if let Err(task) = worker::push(executor, task, Push::Woken) {
        executor.push_outside(task);
    }
}
