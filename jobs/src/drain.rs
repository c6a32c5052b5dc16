//! The end of a manager that lets its jobs end: [`JobManager::drain`].

use std::time::Duration;

use fourway_core::{BoxCall, Call, Runtime, Timer, cancel::Reason};

use crate::{Counts, JobId, JobManager, JobState, line::Waits, store::Store};

/// How long a drain waits, at most, for jobs that run to end once it has cancelled them.
const GRACE: Duration = Duration::from_secs(5);

/// What became of each job that had not ended when the manager's first drain began (JB-5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DrainReport {
    /// Each job's fate, in the order in which they ended.
    pub fates: Vec<(JobId, JobState)>,
    /// How many in each state, those that run still included.
    pub counts: Counts,
    /// Jobs that were asked to end and have not: closures that do not look at their token.
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
    /// left, and reports every job's fate (JB-5).
    ///
    /// Scheduled and retrying jobs are among them: they run if their time comes. What is paused
    /// stays so, and is not waited for: once nothing else is left, it is cancelled. The timeout
    /// is one of the runtime's clock, whatever the manager's is. After it, the drain waits up to
    /// five seconds for those that were running to end, as [`drain_with`](Self::drain_with) can
    /// say otherwise. What closes the manager is the use of the call, not the call to this
    /// method. Schedules end.
    ///
    /// Several may drain a manager, beside or after each other, and each has the whole report: the
    /// fates since the first one began, also if that was dropped. What is left is cancelled by the
    /// one whose timeout is over first, and reported by the others with the rest.
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
            shared.schedules.close();
            shared.with(|store, _, fx| store.close(true, fx));
            // Cancelled is what has not ended by then, or is paused.
            let _ = shared.runtime.timeout(timeout, this.idle()).await;
            let left = shared.with(|store, now, fx| {
                let left = store.unfinished();
                for id in &left {
                    store.cancel(*id, Reason::Shutdown, now, fx);
                }
                !left.is_empty()
            });
            if left {
                // What has not ended by then is in the report.
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
