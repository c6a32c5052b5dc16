//! A handle that does not keep its manager alive: [`WeakJobManager`].

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::{JobManager, manager::Owner};

/// A handle on a [`JobManager`] that does not keep it alive. Made by
/// [`downgrade`](JobManager::downgrade).
///
/// It is for what the manager itself keeps: a schedule's `make`, or a body that can run again and is
/// kept once it has failed. With a `JobManager` in it, the last handle would never be dropped.
///
/// # Examples
///
/// ```
/// use fourway_jobs::{Job, JobManager, Schedule, ScheduleError};
/// use std::time::Duration;
///
/// fn report_hourly(jobs: &JobManager) -> Result<(), ScheduleError> {
///     let weak = jobs.downgrade();
///     jobs.schedule("report", Schedule::every(Duration::from_secs(3600)), move |_| {
///         let weak = weak.clone();
///         move || match weak.upgrade() {
///             Some(jobs) => println!("{} jobs wait", jobs.overview().counts.queued),
///             None => println!("the manager is gone"),
///         }
///     })?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct WeakJobManager {
    owner: Weak<Owner>,
}

impl JobManager {
    /// A handle that does not keep the manager alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakJobManager {
        WeakJobManager {
            owner: Arc::downgrade(self.owner()),
        }
    }
}

impl WeakJobManager {
    /// The manager; `None` if its last handle was dropped.
    ///
    /// The manager lives for as long as what this gives. If that is the last handle in the end, its
    /// drop [ends the manager](JobManager#dropping-the-last-handle).
    #[must_use]
    pub fn upgrade(&self) -> Option<JobManager> {
        self.owner.upgrade().map(JobManager::from_owner)
    }
}

impl fmt::Debug for WeakJobManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakJobManager").finish_non_exhaustive()
    }
}
