//! Which jobs to list: [`Filter`].

use fourway_jobs::{JobId, JobState};

use crate::Record;

/// Which jobs, and how many at a time: newest first, by id.
///
/// # Examples
///
/// ```
/// use fourway_jobs_engine::{Filter, JobState};
///
/// let failed = Filter::new().state(JobState::Failed).kind("checksum").limit(20);
/// # drop(failed);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// In one of these states; all if it is empty.
    pub states: Vec<JobState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Older than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

impl Filter {
    /// The hundred newest jobs.
    #[must_use]
    pub fn new() -> Self {
        Self {
            states: Vec::new(),
            kind: None,
            before: None,
            limit: 100,
        }
    }

    /// In this state, or one that was named before.
    #[must_use]
    pub fn state(mut self, state: JobState) -> Self {
        self.states.push(state);
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Older than this one: [`Page::next`] of the page before.
    #[must_use]
    pub fn before(mut self, id: JobId) -> Self {
        self.before = Some(id);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether the filter selects a job, regardless of pages.
    #[must_use]
    pub fn lets_through(&self, job: &Record) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state))
            && self.kind.as_ref().is_none_or(|kind| *kind == job.kind)
            && self.before.is_none_or(|before| job.id < before)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// Some jobs of a list.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Record>,
    /// Where the next page begins: for [`Filter::before`]. `None` if this is the last one.
    pub next: Option<JobId>,
}

impl Page {
    /// Makes a page of a list that was read with one job more than the limit.
    #[must_use]
    pub fn of(mut jobs: Vec<Record>, limit: usize) -> Self {
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = jobs.last().filter(|_| more).map(|job| job.id);
        Self { jobs, next }
    }
}
