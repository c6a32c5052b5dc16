use std::future::Future;

use fourway_core::Spawner;

use crate::{StdThread, Task, cell};

impl Spawner for StdThread {
    type Task<T: Send + 'static> = Task<T>;

    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task::new(cell::spawn(&self.shared.executor, future))
    }
}
