//! Closes a manager and lets its jobs end: [`JobManager::drain`].

use std::time::Duration;

use fourway_core::{BoxCall, Call, Runtime, Timer, cancel::Reason};

use crate::{Counts, JobId, JobManager, JobState, line::Waits, store::Store};

/// How long a drain waits, at most, for jobs that run to end once it has cancelled them.
const GRACE: Duration = Duration::from_secs(5);

/// The fate of each job that had not ended when the manager's first drain began
/// ([draining](fourway_core::contract#JB-5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DrainReport {
    /// Each job's fate, in the order in which they ended.
    pub fates: Vec<(JobId, JobState)>,
    /// How many in each state, those that run still included.
    pub counts: Counts,
    /// Jobs that were asked to end and have not: their closures, or the blocking bodies of their calls, do
    /// not look at their token.
    pub still_running: Vec<JobId>,
}

impl DrainReport {
    /// Every job has ended.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.still_running.is_empty()
    }
}

impl JobManager {
    /// Accepts no more jobs, lets those that are there end for up to `timeout`, cancels what is
    /// left, and reports every job's fate ([draining](fourway_core::contract#JB-5)).
    ///
    /// Scheduled and retrying jobs run if their time comes. Paused jobs stay paused. The drain does
    /// not wait for them, nor for jobs that wait for them, and cancels them all once no other job is
    /// left. The timeout is measured by
    /// the runtime's clock, whatever the manager's clock is. After it, the drain waits up to five
    /// seconds for running jobs to end; [`drain_with`](Self::drain_with) sets another time. Using
    /// the returned call closes the manager; calling this method alone does not. Schedules end.
    ///
    /// Several drains may run at the same time or one after the other. Each gives the whole report:
    /// all fates since the first drain began, even if that drain was dropped. The drain whose
    /// timeout ends first cancels the remaining jobs; the other drains report them as well.
    ///
    /// In a forked child, a drain of a manager from before reports no job, at once: they are the
    /// parent's, which goes on with them.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, it cancels nothing; the manager stays closed.
    pub fn drain(&self, timeout: Duration) -> BoxCall<DrainReport> {
        self.drain_with(timeout, GRACE)
    }

    /// As [`drain`](Self::drain), with the time that running jobs have once they are cancelled.
    pub fn drain_with(&self, timeout: Duration, grace: Duration) -> BoxCall<DrainReport> {
        let this = self.clone();
        let call = self.shared().runtime.call_with(async move || {
            let shared = this.shared();
            shared.schedules().close();
            shared.with(|store, _, fx| store.close(true, fx));
            // Cancels the jobs that have not ended by then, and the paused ones.
            let _ = shared.runtime.timeout(timeout, this.idle()).await;
            let left = shared.with(|store, now, fx| {
                let left = store.unfinished();
                for id in &left {
                    store.cancel(*id, Reason::Shutdown, now, fx);
                }
                !left.is_empty()
            });
            if left {
                // The report lists the jobs that have not ended by then.
                let _ = shared.runtime.timeout(grace, this.idle()).await;
            }
            let store = shared.lock();
            let fates = store.drained();
            let still_running = store.unfinished();
            drop(store);
            let mut counts = Counts::default();
            for (_, state) in &fates {
                *counts.at(*state) += 1;
            }
            counts.running = still_running.len() as u64;
            DrainReport {
                fates,
                counts,
                still_running,
            }
        });
        call.boxed()
    }

    /// Until no job is left that could end by itself.
    fn idle(&self) -> Waits<'_> {
        Waits::new(self.shared(), Store::poll_idle, Store::leave_idle)
    }
}
