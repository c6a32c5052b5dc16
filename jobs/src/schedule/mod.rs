//! Jobs that are submitted again and again, by the clock: [`Schedule`].
//!
//! A [`plan`] says which runs are due at a moment, and knows neither jobs nor tasks. An [`entry`]
//! submits their jobs. The [`scheduler`] is the task that looks at the clock for all
//! schedules of a manager.

mod entry;
mod error;
mod handle;
mod plan;
mod scheduler;
mod times;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use crate::clock::{nanos, wall};

use self::times::Times;

#[cfg(feature = "cron")]
pub use self::error::ParseScheduleError;
pub(crate) use self::scheduler::Schedules;
pub use self::{
    error::ScheduleError,
    handle::{LastRun, ScheduleHandle, ScheduleStatus},
};

/// When jobs are submitted, and what becomes of runs that are missed or overlap.
///
/// # Clocks
///
/// Runs are due by the wall clock, which is read at least every half a second. A machine that
/// slept, or a clock that was set, skips or repeats runs only as the schedule's settings say
/// ([schedules](fourway_core::contract#JB-7)):
///
/// * Runs whose time has passed meanwhile are started if they are late by less than the
///   [tolerance](Self::tolerance). The other runs count as missed, and [`missed`](Self::missed)
///   decides about them.
/// * A clock that was set back shows times once more. Their runs are not repeated, unless the clock
///   was set back by more than [`set_back`](Self::set_back) allows: then the clock was wrong
///   before, and the schedule follows the new time.
/// * When summer time begins, an expression that names times of day, by numbers, lists and ranges,
///   runs right after the gap for those that do not exist that day, once for all of them; when it
///   ends, each runs once, the first time. Expressions with a `*` or a step among hours, minutes
///   and seconds go by elapsed time: the gap has no runs, and an hour that comes twice has its runs
///   twice.
///
/// # Examples
///
#[cfg_attr(feature = "cron", doc = "```")]
#[cfg_attr(not(feature = "cron"), doc = "```ignore")]
/// use fourway_jobs::{Job, JobContext, JobManager, Missed, Overlap, Schedule};
///
/// fn nightly(jobs: &JobManager) -> Result<(), Box<dyn std::error::Error>> {
///     let schedule = Schedule::cron("30 3 * * MON-FRI", "Europe/Berlin")?
///         .missed(Missed::Once)
///         .overlap(Overlap::Skip);
///     jobs.schedule("clean up", schedule, |run| {
///         Job::blocking(move |_: JobContext| println!("the run of {:?}", run.at))
///     })?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a schedule does nothing before `JobManager::schedule` has it"]
pub struct Schedule {
    times: Times,
    missed: Missed,
    overlap: Overlap,
    /// In nanoseconds, as the fields below.
    tolerance: u64,
    set_back: u64,
    since: Option<u64>,
}

/// What to do about runs that could not start at their time, as the machine slept, the process
/// stood still, or the clock was set forward.
///
/// Runs that are made up for start one after the other, each once no run is left that has not ended;
/// with [`Overlap::Allow`] they start at once. They push out no run that comes on time. Of those that
/// come on time meanwhile the last one waits; with [`Overlap::Replace`] it cancels the one that is
/// being made up for and goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missed {
    /// They are not made up for.
    Skip,
    /// One run makes up for all of them, under the time of the last one: also for those that are
    /// missed before it has started.
    Once,
    /// Each is made up for, the last ones of them if there are more than that.
    Each {
        /// How many, up to 1,000; also how many may wait for their turn.
        at_most: usize,
    },
}

/// What to do about a run whose time comes while the run before has not ended. Runs that are
/// [made up for](Missed) do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overlap {
    /// It is skipped.
    Skip,
    /// It starts once the run before has ended, and those that are made up for. At most one run
    /// waits: a newer run replaces it.
    Wait,
    /// The run before is cancelled (JB-3, cancelling). This run starts once that one has ended.
    Replace,
    /// Both run.
    Allow,
}

/// One run of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occurrence {
    /// The time for which it was due. It identifies the run, as each time has one run.
    pub at: SystemTime,
    /// It was missed, and is made up for.
    pub is_missed: bool,
}

impl Schedule {
    /// By a cron expression, read by the clocks of a time zone of the IANA database, such as
    /// `Europe/Berlin` or `UTC`. With the feature `cron`, of this crate or the facade.
    ///
    /// An expression has five fields, minute, hour, day of the month, month and day of the week;
    /// or six, with the second before them. `*`, lists, ranges, steps and names mean what they
    /// mean to cron; so do `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight` and
    /// `@hourly`. If neither field of days begins with a `*`, a day of either one is meant; otherwise
    /// a day of both, also where a step follows: `0 0 */2 * MON` is each Monday that is an odd day.
    /// `L`, `W`, `#` and `+` are those of [`croner`](https://docs.rs/croner).
    ///
    /// # Errors
    ///
    /// If the expression or the time zone is not one, or there is no such day.
    #[cfg(feature = "cron")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cron")))]
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, ParseScheduleError> {
        let cron = times::cron::InZone::parse(expression, time_zone)?;
        Ok(Self::new(Times::Cron(std::sync::Arc::new(cron))))
    }

    /// At each multiple of a period since the beginning of 1970, UTC: at each full quarter of an
    /// hour, say. The period is at least one second. For times of day use `cron`, with the feature
    /// of that name.
    pub fn every(period: Duration) -> Self {
        Self::new(Times::Every(nanos(period.max(Duration::from_secs(1)))))
    }

    fn new(times: Times) -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self {
            times,
            missed: Missed::Once,
            overlap: Overlap::Skip,
            tolerance: 30 * SECOND,
            set_back: 3 * 3600 * SECOND,
            since: None,
        }
    }

    /// What to do about missed runs; [`Missed::Once`] by default.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// What to do about a run while the run before has not ended; [`Overlap::Skip`] by default.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// What to do about a run while the run before has not ended, as [set](Self::overlap).
    #[must_use]
    pub fn overlapping(&self) -> Overlap {
        self.overlap
    }

    /// How late a run may be without being missed; 30 seconds by default, and at least one second,
    /// as the clock is not read all the time. Of more than 1,000 runs at a time that are not too late
    /// the last 1,000 start; the others were missed.
    pub fn tolerance(mut self, late: Duration) -> Self {
        self.tolerance = nanos(late.max(Duration::from_secs(1)));
        self
    }

    /// How far the clock may be set back before runs are repeated; three hours by default, as in
    /// Vixie cron.
    pub fn set_back(mut self, by: Duration) -> Self {
        self.set_back = nanos(by);
        self
    }

    /// Runs since this time that were not started count as missed. It is for a program that was
    /// restarted and knows until when its schedule was served. By default runs count from the
    /// moment of scheduling.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(wall(time));
        self
    }

    /// The first run after that time; `None` if there is none.
    #[must_use]
    pub fn next_after(&self, time: SystemTime) -> Option<SystemTime> {
        self.times.after(wall(time)).map(crate::clock::time)
    }
}
