//! The client needs Tokio, and the engine's users may have none: [`own`].

use std::{io, sync::OnceLock};

use fourway_jobs_engine::EngineError;
use tokio::runtime::{Builder, Handle, Runtime};

/// A small Tokio, started once for all engines of the process. It lives as long as that does:
/// connections may outlive whoever made the first one.
pub(crate) fn own() -> Result<&'static Handle, EngineError> {
    static OWN: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        Builder::new_multi_thread()
            // What is done here is waiting for a server, and reading lives.
            .worker_threads(2)
            .thread_name("fourway-postgres")
            .enable_all()
            .build()
    });
    match own {
        Ok(own) => Ok(own.handle()),
        Err(error) => Err(EngineError::unavailable(format!(
            "no threads for the connections to PostgreSQL: {error}"
        ))),
    }
}
