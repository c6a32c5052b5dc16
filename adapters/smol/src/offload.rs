use fourway_adapt::pool::OffloadTask;
use fourway_core::{Offload, TryOffloadError};

use crate::Smol;

impl Offload for Smol {
    type OffloadTask<T: Send + 'static> = OffloadTask<T>;

    fn offload<F, T>(&self, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.pool.offload(f)
    }

    fn try_offload<F, T>(&self, f: F) -> Result<OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.pool.try_offload(f)
    }
}
