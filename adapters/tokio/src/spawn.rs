use std::future::IntoFuture;

use fourway_adapt::{Contain, Rethrow};
use fourway_core::{Spawner, task::Metadata};

use crate::{Task, Tokio};

impl Spawner for Tokio {
    type Task<T: Send + 'static> = Task<T>;

    #[inline]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        // Tokio catches a destructor's panic and keeps the payload.
        let future = Contain::new(future, Some(self.id()), Rethrow);
        // Tokio as well is told the caller's line, for its console.
        Task::new(self.shared.handle.spawn(future), metadata)
    }

    fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.shared.handle.enter();
        f()
    }
}
