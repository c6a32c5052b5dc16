use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use fourway_core::{RuntimeStatus, Shutdown, ShutdownError, ShutdownReport, Timer, implement};

use crate::{Sim, block_on, carrier::Role};

/// In a run, the time that it waits at most is virtual.
impl Shutdown for Sim {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        let inner = self.inner();
        if inner.is_inherited() {
            // In this process nothing of it runs.
            return Ok(ShutdownReport::default());
        }
        let started = Instant::now();
        inner.close();
        let limit = self.sleep(timeout);
        let waited = async {
            let mut limit = pin!(limit);
            poll_fn(|cx| {
                let mut state = inner.lock();
                if state.is_done() {
                    return Poll::Ready(());
                }
                state.end_wakers.push(cx.waker().clone());
                drop(state);
                limit.as_mut().poll(cx)
            })
            .await;
        };
        // A run that is over has nothing left to wait for.
        let _ = block_on::drive(inner, waited, None, block_on::OwnSlot::Lend);
        inner.retire_and_join();
        let mut state = inner.lock();
        if !state.strict {
            // A thread that was just told to end may have been on its way to do so.
            while !state.is_quiet() && started.elapsed() < timeout {
                drop(state);
                std::thread::sleep(Duration::from_micros(100));
                inner.retire_and_join();
                state = inner.lock();
            }
        }
        let mut report = ShutdownReport::default();
        report.tasks_running = state.alive.len();
        report.closures_running = state.pool.running + state.pool.lent;
        report.closures_dropped = state.pool.dropped;
        report.threads_running = state
            .carriers
            .values()
            .filter(|carrier| matches!(carrier.role, Role::Worker | Role::Pool))
            .count();
        drop(state);
        if report.is_clean() {
            self.timers().close();
            // Outside of a run it may be calling a waker that takes long.
            if self.timers().wait_ended(started.checked_add(timeout)) {
                self.timers().join();
            } else {
                report.threads_running = 1;
            }
        }
        Ok(report)
    }

    fn close_pool(&self) -> Result<(), ShutdownError> {
        implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        if !self.inner().is_inherited() {
            self.inner().close();
        }
        Ok(())
    }

    fn is_shutdown(&self) -> bool {
        let inner = self.inner();
        inner.is_inherited() || inner.lock().closed
    }

    fn status(&self) -> RuntimeStatus {
        if self.inner().is_inherited() {
            return RuntimeStatus::default();
        }
        let state = self.inner().lock();
        let mut status = RuntimeStatus::default();
        status.executor.workers = Some(self.inner().config.workers);
        status.executor.busy = Some(state.busy);
        status.executor.tasks = Some(state.alive.len());
        status.executor.queued = Some(state.tasks.len());
        status.pool.queued = state.pool.queue.len();
        status.pool.running = state.pool.running;
        status.pool.lent = state.pool.lent;
        status.pool.threads = state.pool.threads;
        status.pool.dropped = state.pool.dropped;
        status
    }
}
