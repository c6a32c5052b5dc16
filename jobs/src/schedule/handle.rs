//! The handle of a schedule and its status: [`ScheduleHandle`], [`ScheduleStatus`].

use std::{fmt, sync::Arc, time::SystemTime};

#[cfg(doc)]
use super::Overlap;
use super::{Occurrence, Schedule, ScheduleError, entry::Entry, error::Refusal};
use crate::{JobId, JobManager, JobState, Work, shared::Shared};

impl JobManager {
    /// Submits a job for each run of a schedule; `make` makes the job
    /// ([schedules](fourway_core::contract#JB-7)).
    ///
    /// The job has the name of the schedule, unless it has one of its own, and the label
    /// `schedule`. It is accepted also when the queue is full. `make` is called on one of the
    /// runtime's threads for tasks, when the run is due; if it panics, there is no such run, and
    /// [`ScheduleStatus::error`] says so. If a job with the same unique key exists already, that
    /// job is the run: it is watched like the schedule's own, and with [`Overlap::Replace`] the next
    /// run cancels it.
    ///
    /// The schedule ends with the manager, or when it is [removed](ScheduleHandle::remove). A `make`
    /// that needs the manager keeps a [`WeakJobManager`](crate::WeakJobManager): with a `JobManager`
    /// in it, the manager [would not end](JobManager#dropping-the-last-handle).
    ///
    /// # Errors
    ///
    /// If there is a schedule of that name, or the manager is closed.
    pub fn schedule<G, W, M>(
        &self,
        name: &str,
        schedule: Schedule,
        make: G,
    ) -> Result<ScheduleHandle, ScheduleError>
    where
        G: FnMut(Occurrence) -> W + Send + 'static,
        W: Work<M>,
    {
        let shared = self.shared();
        let entry = Entry::new(name, schedule, shared.watch.look(), make);
        match shared.schedules().add(shared, entry.clone()) {
            Ok(()) => Ok(ScheduleHandle {
                shared: shared.clone(),
                entry,
            }),
            Err(refusal) => Err(ScheduleError {
                name: name.to_owned(),
                refusal: match shared.is_here() {
                    true => refusal,
                    false => Refusal::Forked,
                },
            }),
        }
    }

    /// The schedule of that name.
    #[must_use]
    pub fn find_schedule(&self, name: &str) -> Option<ScheduleHandle> {
        let shared = self.shared();
        shared.schedules().find(name).map(|entry| ScheduleHandle {
            shared: shared.clone(),
            entry,
        })
    }

    /// All schedules, by name.
    #[must_use]
    pub fn schedules(&self) -> Vec<ScheduleStatus> {
        let entries = self.shared().schedules().all();
        entries.iter().map(|entry| entry.status()).collect()
    }
}

/// A schedule of a manager. Dropping it changes nothing. In a forked child it is the parent's: its
/// [status](Self::status) says so, and nothing else has an effect.
#[derive(Clone)]
pub struct ScheduleHandle {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
}

impl ScheduleHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The schedule at this moment.
    #[must_use]
    pub fn status(&self) -> ScheduleStatus {
        match self.shared.is_here() {
            true => self.entry.status(),
            false => self.entry.status_in_child(),
        }
    }

    /// Starts no runs for the time being. Runs whose time comes meanwhile are dropped and do not
    /// count as missed. Runs that wait for one before them are dropped as well, and count: as
    /// [missed](ScheduleStatus::missed) if they were to be made up for, otherwise as
    /// [overlapped](ScheduleStatus::overlapped).
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Starts runs again.
    pub fn resume(&self) {
        self.set_paused(false);
    }

    /// Ends the schedule; `false` if it has ended already. Its jobs go on.
    ///
    /// A run that is being started at this moment may still start.
    #[doc(alias = "stop")]
    #[doc(alias = "cancel")]
    pub fn remove(&self) -> bool {
        self.shared.is_here() && self.shared.schedules().remove(&self.entry)
    }

    fn set_paused(&self, paused: bool) {
        if self.shared.is_here() {
            self.entry.set_paused(paused, self.shared.watch.look());
            self.shared.schedules().wake();
        }
    }
}

impl fmt::Debug for ScheduleHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleHandle")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// A schedule at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// When it runs, as a text.
    pub times: String,
    /// It starts no runs at the moment.
    pub paused: bool,
    /// When the next run is due.
    #[cfg_attr(feature = "serde", serde(with = "crate::snapshot::some_millis"))]
    pub next_at: Option<SystemTime>,
    /// The last run that was started.
    pub last: Option<LastRun>,
    /// The jobs of its runs that have not ended.
    pub running: Vec<JobId>,
    /// How many runs were started.
    pub started: u64,
    /// How many runs were missed and not made up for. More than a thousand at a time count as a
    /// thousand.
    pub missed: u64,
    /// How many runs were skipped, as the run before had not ended.
    pub overlapped: u64,
    /// Why the last run could not be started, if that is so.
    pub error: Option<String>,
}

/// A run that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastRun {
    /// The time for which it was due.
    #[cfg_attr(feature = "serde", serde(with = "crate::snapshot::millis"))]
    pub at: SystemTime,
    /// Its job.
    pub job: JobId,
    /// How the job has ended, if it has.
    pub state: Option<JobState>,
}
