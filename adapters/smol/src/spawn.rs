use std::future::{Future, IntoFuture};

use fourway_adapt::async_task::{self, Begun, Number};
use fourway_core::{
    Spawner,
    implement::{Extensions, RuntimeId},
    task::Metadata,
};

use crate::{Smol, Task, runtime::Tasks};

impl Spawner for Smol {
    type Task<T: Send + 'static> = Task<T>;

    #[inline]
    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let number = Number::next();
        let begun = self.begin(number, future.into_future());
        begun.into_handle(number, metadata)
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
            Tasks::Own(own) => {
                let number = Number::next();
                let begun = own.executor().begin(number, future);
                fourway_core::Task::detach(begun.into_handle(number, metadata));
            }
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

impl Smol {
    /// The part of a spawn that is not worth having at each of a program's spawns.
    #[inline(never)]
    fn begin<F>(&self, number: Number, future: F) -> Begun<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let runtime = Some(self.id());
        if self.is_inherited() {
            return async_task::refuse_in_child(future, runtime);
        }
        match &self.shared.tasks {
            Tasks::Global => async_task::start(number, future, runtime, smol::spawn),
            Tasks::Own(own) => own.executor().begin(number, future),
        }
    }
}
