use std::future::IntoFuture;

use fourway_adapt::async_task;
use fourway_core::{
    Spawner,
    implement::{Extensions, RuntimeId},
    task::Metadata,
};

use crate::{Smol, Task, runtime::Tasks};

impl Spawner for Smol {
    type Task<T: Send + 'static> = Task<T>;

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        if self.is_inherited() {
            return async_task::refused_in_child(metadata, future, Some(self.id()));
        }
        match &self.shared.tasks {
            Tasks::Global => async_task::spawn(metadata, future, Some(self.id()), smol::spawn),
            Tasks::Own(own) => own.executor().spawn(metadata, future),
        }
    }

    fn spawn_detached_with<F>(&self, metadata: Metadata, future: F)
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        if self.is_inherited() {
            return drop(async_task::refused_in_child(
                metadata,
                future,
                Some(self.id()),
            ));
        }
        match &self.shared.tasks {
            Tasks::Global => async_task::spawn_detached(future, Some(self.id()), smol::spawn),
            Tasks::Own(own) => fourway_core::Task::detach(own.executor().spawn(metadata, future)),
        }
    }

    #[inline]
    fn runtime_id(&self) -> Option<RuntimeId> {
        Some(self.id())
    }

    fn extensions(&self) -> Option<Extensions> {
        Some(self.shared.extensions.clone())
    }
}
