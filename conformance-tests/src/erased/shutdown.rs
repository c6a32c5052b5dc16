use std::time::Duration;

use fourway_core::{RuntimeStatus, Shutdown, ShutdownError, ShutdownReport};

use super::runtime::ErasedRuntime;

/// A [`Shutdown`] beside the other traits of a runtime.
pub(super) trait DynShutdown {
    fn shutdown_dyn(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError>;
    fn close_pool_dyn(&self) -> Result<(), ShutdownError>;
    fn is_shutdown_dyn(&self) -> bool;
    fn status_dyn(&self) -> RuntimeStatus;
}

impl<R: Shutdown> DynShutdown for R {
    fn shutdown_dyn(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        self.shutdown(timeout)
    }

    fn close_pool_dyn(&self) -> Result<(), ShutdownError> {
        self.close_pool()
    }

    fn is_shutdown_dyn(&self) -> bool {
        self.is_shutdown()
    }

    fn status_dyn(&self) -> RuntimeStatus {
        self.status()
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a method that is not passed on is lost without a word"
)]
impl Shutdown for ErasedRuntime {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        self.0.shutdown_dyn(timeout)
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        self.0.close_pool_dyn()
    }

    fn is_shutdown(&self) -> bool {
        self.0.is_shutdown_dyn()
    }

    fn status(&self) -> RuntimeStatus {
        self.0.status_dyn()
    }
}
