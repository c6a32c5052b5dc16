//! The status of a job at one moment: [`JobStatus`] and its parts.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use crate::JobId;

/// Where a job is on its way ([states and snapshots](fourway_core::contract#JB-2)).
///
/// ```text
/// scheduled ──> queued ──> running ──> completed | failed | cancelled | timed out
///                  ^          │
///                  └─ retrying ┘
/// ```
///
/// A waiting job may also be cancelled. A finished job is queued again only by
/// [`JobManager::retry`](crate::JobManager::retry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[repr(u8)]
pub enum JobState {
    /// Its time has not come, or jobs that it must run after have not ended.
    Scheduled,
    /// It runs as soon as there is room.
    Queued,
    /// An attempt is running.
    Running,
    /// An attempt has failed, and the next one waits for its time.
    Retrying,
    /// It has succeeded.
    Completed,
    /// Its last attempt gave an error or panicked.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its last attempt took longer than its timeout.
    TimedOut,
}

impl JobState {
    /// All states, in the order in which [`Counts`] has them.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The job has ended: completed, failed, cancelled or timed out.
    #[must_use]
    pub fn is_finished(self) -> bool {
        self >= Self::Completed
    }

    /// The name as [`Display`](fmt::Display) prints it, without a space: `timed_out`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// The state of that [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TimedOut => "timed out",
            state => state.name(),
        })
    }
}

/// A job at one moment. All fields belong to that one moment ([states and
/// snapshots](fourway_core::contract#JB-2)).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct JobStatus {
    /// The job's id.
    pub id: JobId,
    /// Where it is on its way.
    pub state: JobState,
    /// It runs, and was asked to end: by a cancellation or its timeout. A closure holds its
    /// slot until it has ended ([cancelling](fourway_core::contract#JB-3)).
    pub cancelling: bool,
    /// Its [name](crate::Job::name).
    pub name: Option<String>,
    /// Its [class](crate::Job::class).
    pub class: String,
    /// Its [key](crate::Job::key), of which a limited number run at a time.
    pub key: Option<String>,
    /// Its [unique key](crate::Job::unique).
    pub unique: Option<String>,
    /// Its [priority](crate::Job::priority).
    pub priority: i8,
    /// Its [labels](crate::Job::label).
    pub labels: BTreeMap<String, String>,
    /// When it was submitted, as its id says: to the millisecond, and never before a job that was
    /// submitted earlier, also when the clock was set back.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub submitted_at: SystemTime,
    /// When it will be queued, if it is scheduled for a time or waits for a retry.
    #[cfg_attr(feature = "serde", serde(with = "some_millis"))]
    pub due_at: Option<SystemTime>,
    /// When its last attempt was started.
    #[cfg_attr(feature = "serde", serde(with = "some_millis"))]
    pub started_at: Option<SystemTime>,
    /// When it ended.
    #[cfg_attr(feature = "serde", serde(with = "some_millis"))]
    pub ended_at: Option<SystemTime>,
    /// How many attempts there were, with the one that runs.
    pub attempt: u32,
    /// After how many attempts it fails for good.
    pub max_attempts: u32,
    /// The attempts that have ended, oldest first; the last
    /// [`ATTEMPTS_KEPT`](crate::ATTEMPTS_KEPT) of them.
    pub attempts: Vec<Attempt>,
    /// Why it has ended, unless it has completed.
    pub error: Option<String>,
    /// Its reported progress.
    pub progress: Option<Progress>,
    /// The jobs that it waits for.
    pub waits_for: Vec<JobId>,
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Attempt {
    /// The first one is 1.
    pub number: u32,
    /// When it was started.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub started_at: SystemTime,
    /// When it had ended, and all of it was destroyed.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub ended_at: SystemTime,
    /// Completed, failed, cancelled or timed out.
    pub state: JobState,
    /// The text of its error or panic; of a long text the [beginning](crate::TEXT_KEPT).
    pub error: Option<String>,
}

/// The progress that a job reports. See [`JobContext`](crate::JobContext).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Progress {
    /// From 0 to 1.
    pub fraction: Option<f64>,
    /// Its current step; of a long text the [beginning](crate::TEXT_KEPT).
    pub message: Option<String>,
    /// Its counters, by name.
    pub counters: BTreeMap<String, u64>,
}

/// How many jobs are in each state. Finished jobs count while they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counts {
    /// Their time has not come.
    pub scheduled: u64,
    /// They wait for room.
    pub queued: u64,
    /// They run.
    pub running: u64,
    /// They wait to be tried again.
    pub retrying: u64,
    /// They have succeeded.
    pub completed: u64,
    /// They have failed.
    pub failed: u64,
    /// They were cancelled.
    pub cancelled: u64,
    /// They took too long.
    pub timed_out: u64,
}

impl Counts {
    /// How many are in one state.
    #[must_use]
    pub fn of(&self, state: JobState) -> u64 {
        *self.clone().at(state)
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        JobState::ALL.iter().map(|state| self.of(*state)).sum()
    }

    /// How many have not ended.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.scheduled + self.queued + self.running + self.retrying
    }

    pub(crate) fn at(&mut self, state: JobState) -> &mut u64 {
        match state {
            JobState::Scheduled => &mut self.scheduled,
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Retrying => &mut self.retrying,
            JobState::Completed => &mut self.completed,
            JobState::Failed => &mut self.failed,
            JobState::Cancelled => &mut self.cancelled,
            JobState::TimedOut => &mut self.timed_out,
        }
    }
}

/// A class of jobs at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClassStatus {
    /// The class's name.
    pub name: String,
    /// None of its jobs is started at the moment.
    pub paused: bool,
    /// How many of its jobs may run at a time; `None` if only the manager's limit counts.
    pub limit: Option<usize>,
    /// How many jobs of one key may run at a time.
    pub limit_per_key: Option<usize>,
    /// Its jobs, by state.
    pub counts: Counts,
}

/// The whole manager at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ManagerStatus {
    /// All jobs that it knows, by state.
    pub counts: Counts,
    /// How many were ever submitted.
    pub submitted: u64,
    /// How often a job has ended in each state, also of those that are forgotten.
    pub ended: Counts,
    /// Each class, in the order in which they were first used. A class is forgotten with its last
    /// job, unless it is paused or has a limit.
    pub classes: Vec<ClassStatus>,
    /// No job is started at the moment.
    pub paused: bool,
    /// It accepts no more jobs.
    pub closed: bool,
}

/// Times as milliseconds since 1970, which every language can read.
#[cfg(feature = "serde")]
pub(crate) mod millis {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn of(time: SystemTime) -> u64 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(of(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        Ok(UNIX_EPOCH + Duration::from_millis(u64::deserialize(from)?))
    }
}

#[cfg(feature = "serde")]
pub(crate) mod some_millis {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::millis;

    pub(crate) fn serialize<S>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        time.map(millis::of).serialize(to)
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<Option<SystemTime>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let time = Option::<u64>::deserialize(from)?;
        Ok(time.map(|millis| UNIX_EPOCH + Duration::from_millis(millis)))
    }
}
