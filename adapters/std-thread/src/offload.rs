use fourway_core::{Offload, TryOffloadError, task::Metadata};

use crate::{OffloadTask, StdThread};

impl Offload for StdThread {
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
