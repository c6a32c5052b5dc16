use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fourway_core::{Offload, TryOffloadError, forward, layer::Layers, task::Metadata};

use super::{
    Value,
    runtime::ErasedRuntime,
    task::{DynTask, ErasedTask},
    unbox,
};

type Closure = Box<dyn FnOnce() -> Value + Send>;

/// An [`Offload`] without generics.
pub(super) trait DynOffload {
    fn offload_dyn(&self, metadata: Metadata, f: Closure) -> Box<dyn DynTask>;
    fn offload_layers_dyn(&self) -> Layers;
    fn try_offload_dyn(
        &self,
        metadata: Metadata,
        f: Closure,
    ) -> Result<Box<dyn DynTask>, TryOffloadError<Closure>>;
}

impl<R: Offload> DynOffload for R {
    fn offload_dyn(&self, metadata: Metadata, f: Closure) -> Box<dyn DynTask> {
        Box::new(self.offload_with(metadata, f))
    }

    fn offload_layers_dyn(&self) -> Layers {
        self.offload_layers()
    }

    fn try_offload_dyn(
        &self,
        metadata: Metadata,
        f: Closure,
    ) -> Result<Box<dyn DynTask>, TryOffloadError<Closure>> {
        Ok(Box::new(self.try_offload_with(metadata, f)?))
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Offload for ErasedRuntime {
    type OffloadTask<T: Send + 'static> = ErasedTask<T>;

    forward!(provided Offload);

    fn offload_layers(&self) -> Layers {
        self.0.offload_layers_dyn()
    }

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> ErasedTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        ErasedTask::new(
            self.0
                .offload_dyn(metadata, Box::new(move || Box::new(f()))),
        )
    }

    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<ErasedTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // Owned only by the subject: captures are destroyed when it drops the closure. A refused
        // closure gives `f` back when it is called.
        let refused = Arc::new(AtomicBool::new(false));
        let closure = {
            let refused = refused.clone();
            // Relaxed: only the thread that calls the closure sets it.
            move || match refused.load(Ordering::Relaxed) {
                false => Box::new(f()) as Value,
                true => Box::new(f) as Value,
            }
        };
        match self.0.try_offload_dyn(metadata, Box::new(closure)) {
            Ok(task) => Ok(ErasedTask::new(task)),
            Err(error) => {
                refused.store(true, Ordering::Relaxed);
                Err(error.map(|closure| unbox(closure())))
            }
        }
    }
}
