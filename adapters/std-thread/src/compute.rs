use std::{fmt, time::Duration};

use fourway_adapt::pool::Pool;
use fourway_core::{
    Offload, RuntimeStatus, Shutdown, ShutdownError, ShutdownReport, TryOffloadError,
    task::Metadata,
};

use crate::{OffloadTask, StdThread};

/// Offloads closures that compute: as many at a time as there are processors. Made by
/// [`StdThread::compute`].
///
/// The pool for closures that block has hundreds of threads if it has to; closures that
/// never block would be in each other's way there. Closures that compute have threads of their own,
/// and wait in order when all processors have one.
///
/// A closure that does block lends its place while it is in `block_on` ([nested offload never
/// starves](fourway_core::contract#OF-4)), but not while it waits for anything else: use
/// [`StdThread`] itself for that.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, Compose, Offload};
/// use fourway_std_thread::StdThread;
///
/// let rt = StdThread::new()?;
/// let sum = rt.compute().offload(|| (1..=1_000_u64).sum::<u64>());
/// assert_eq!(rt.block_on(sum).unwrap(), 500_500);
///
/// // As a runtime whose `offload` computes.
/// let computing = Compose::new(rt.clone(), rt.compute());
/// # drop(computing);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Compute {
    pool: Pool,
}

impl StdThread {
    /// The pool for closures that compute, see [`Compute`].
    ///
    /// It belongs to the runtime, and shuts down with it.
    #[must_use]
    pub fn compute(&self) -> Compute {
        Compute {
            pool: self.shared.compute.clone(),
        }
    }
}

impl Offload for Compute {
    type OffloadTask<T: Send + 'static> = OffloadTask<T>;

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.pool.offload_with(metadata, f)
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
        self.pool.try_offload_with(metadata, f)
    }
}

/// It shuts down with the runtime, not by itself.
impl Shutdown for Compute {
    fn shutdown(&self, _timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        Err(ShutdownError::not_owned())
    }

    fn is_shutdown(&self) -> bool {
        self.pool.is_closed()
    }

    fn status(&self) -> RuntimeStatus {
        let mut status = RuntimeStatus::default();
        status.pool = self.pool.status();
        status
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compute").field("pool", &self.pool).finish()
    }
}
