use std::time::{Duration, Instant};

use fourway_core::{RuntimeStatus, Shutdown, ShutdownError, ShutdownReport, implement};

use crate::{Smol, executor::Owner, runtime::Tasks};

/// An executor of its own is shut down; smol's global one is
/// [not owned](ShutdownError::is_not_owned) by anyone.
///
/// Suspended futures are destroyed on the worker threads. If all of those are
/// busy, an extra thread is started to do it; where the system gives none, the
/// workers do it once they are free.
impl Shutdown for Smol {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        let own = self.owned()?;
        if self.is_inherited() {
            // In this process nothing of it runs.
            return Ok(ShutdownReport::default());
        }
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        // `None` if the deadline is too far ahead for the clock: wait as long as it takes.
        let deadline = Instant::now().checked_add(timeout);
        own.executor().close();
        self.shared.extensions.close();
        self.shared.pool.close();
        let workers = own.executor().wait_ended(deadline);
        let pool = self.shared.pool.wait_ended(deadline);
        let mut report = ShutdownReport::default();
        report.tasks_running = workers.busy;
        report.closures_running = pool.running + pool.lent;
        report.closures_dropped = pool.dropped;
        report.threads_running = workers.threads + pool.threads;
        Ok(report)
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        self.owned()?;
        if !self.is_inherited() {
            implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
            self.shared.pool.close();
        }
        Ok(())
    }

    fn is_shutdown(&self) -> bool {
        if self.is_inherited() {
            return true;
        }
        match &self.shared.tasks {
            Tasks::Global => false,
            Tasks::Own(own) => own.executor().is_closing(),
        }
    }

    fn status(&self) -> RuntimeStatus {
        if self.is_inherited() {
            return RuntimeStatus::default();
        }
        let mut status = RuntimeStatus::default();
        if let Tasks::Own(own) = &self.shared.tasks {
            status.executor = own.executor().status();
        }
        status.pool = self.shared.pool.status();
        status
    }
}

impl Smol {
    fn owned(&self) -> Result<&Owner, ShutdownError> {
        match &self.shared.tasks {
            Tasks::Own(own) if !self.shared.is_global => Ok(own),
            Tasks::Own(_) | Tasks::Global => Err(ShutdownError::not_owned()),
        }
    }
}
