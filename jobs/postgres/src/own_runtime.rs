//! The client needs Tokio, which the engine's users may not have: [`own`].

use std::io;

use fourway_adapt::fork::PerProcess;
use fourway_jobs_engine::EngineError;
use tokio::runtime::{Builder, Handle, Runtime};

/// A small Tokio runtime, started once for all engines of the process. It lives as long as the
/// process: connections may outlive the engine that started it. A forked child has no threads of its
/// parent's, and starts its own.
pub(crate) fn own() -> Result<&'static Handle, EngineError> {
    static OWN: PerProcess<io::Result<Runtime>> = PerProcess::new();
    let own = OWN.get_or_init(|| {
        Builder::new_multi_thread()
            // These threads wait for a server and decode lives.
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
