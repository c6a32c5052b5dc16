use std::time::Duration;

use fourway_adapt::fork::ForgetInChild;
use fourway_core::{RuntimeStatus, Shutdown, ShutdownError, ShutdownReport, implement};

use crate::{StdThread, sync::now};

impl Shutdown for StdThread {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        // `None` if the deadline is too far ahead for the clock: wait as long as it takes.
        let deadline = now().checked_add(timeout);
        let shared = &self.shared;
        if ForgetInChild::is_inherited(shared) {
            // In this process nothing of it runs.
            return Ok(ShutdownReport::default());
        }
        shared.pool.close();
        shared.compute.close();
        shared.executor.close();
        shared.timers.close();
        shared.extensions.close();
        // The workers may all be busy with long polls; suspended futures are
        // destroyed now all the same.
        shared.executor.destroy_queued();
        let workers = shared.executor.wait_ended(deadline);
        shared.executor.destroy_left();
        let pools = [&shared.pool, &shared.compute].map(|pool| pool.wait_ended(deadline));
        // It may be calling a waker that takes long.
        let timers_ended = shared.timers.wait_ended(deadline);
        if timers_ended {
            shared.timers.join();
        }
        let mut report = ShutdownReport::default();
        report.tasks_running = workers.polling;
        report.threads_running = workers.threads + usize::from(!timers_ended);
        for pool in pools {
            report.closures_running += pool.running + pool.lent;
            report.closures_dropped += pool.dropped;
            report.threads_running += pool.threads;
        }
        Ok(report)
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        if !ForgetInChild::is_inherited(&self.shared) {
            self.shared.pool.close();
            self.shared.compute.close();
        }
        Ok(())
    }

    fn is_shutdown(&self) -> bool {
        if ForgetInChild::is_inherited(&self.shared) {
            return true;
        }
        self.shared.executor.is_closing()
    }

    /// `pool` is the pool for closures that block; see [`Compute`](crate::Compute) for the other
    /// pool.
    fn status(&self) -> RuntimeStatus {
        if ForgetInChild::is_inherited(&self.shared) {
            return RuntimeStatus::default();
        }
        let mut status = RuntimeStatus::default();
        status.executor = self.shared.executor.status();
        status.pool = self.shared.pool.status();
        status
    }
}
