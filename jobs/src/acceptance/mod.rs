//! The rules JB-1 to JB-7 as test cases, for implementers of a job manager.
//!
//! A [`Manager`] is what the cases see of a job manager, and a [`Factory`] makes fresh ones.
//! [`job_manager`] makes this crate's own manager, on any runtime. A manager with another store, or
//! one from another crate, implements the two traits and calls [`check`] in a test:
//!
//! ```
//! use fourway_core::Runtime;
//! use fourway_jobs::acceptance;
//!
//! fn the_rules_are_kept<R: Runtime>(rt: &R) {
//!     acceptance::check(&acceptance::job_manager(rt));
//! }
//! ```
//!
//! Each [`Case`] bears the number of its rule: `JB-3.2` is the second case of `JB-3`. It waits for the
//! expected event and fails loudly after a deadline. It measures no time.

mod cases;
mod own;

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway_core::cancel::CancellationToken;

use crate::{CancelOutcome, JobId, JobState, ManualClock, Missed};

pub use self::{
    cases::cases,
    own::{JobManagers, job_manager},
};

/// Makes a manager with the settings that a case needs.
pub trait Factory {
    /// A manager for exclusive use.
    fn manager(&self, settings: Settings) -> Box<dyn Manager>;
}

/// The interface of a manager for the cases. Every method may be called from any thread, and none
/// waits for a job, but [`wait`](Self::wait) and [`drain`](Self::drain).
pub trait Manager: Send + Sync {
    /// Submits a job (JB-1, submit now, ask later).
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    fn submit(&self, job: TestJob) -> Result<JobId, Refusal>;

    /// The job at this moment; `None` if it is not known (any more).
    fn snapshot(&self, id: JobId) -> Option<Snapshot>;

    /// A copy of the value of a job that has completed.
    fn value(&self, id: JobId) -> Option<Value>;

    /// Waits until the job has ended; `None` if it is not known (any more).
    fn wait(&self, id: JobId) -> Option<Snapshot>;

    /// Cancels a job; `None` if it is not known (any more).
    fn cancel(&self, id: JobId) -> Option<CancelOutcome>;

    /// Each change of state since the manager was made: in order, for each job. A new job comes
    /// from nothing.
    fn transitions(&self) -> Vec<Transition>;

    /// Starts no jobs for the time being, or does so again.
    fn pause(&self, pause: bool);

    /// Accepts no more jobs, lets its jobs end within the timeout, cancels the rest, and gives the
    /// fate of each job that had not ended (JB-5, draining).
    fn drain(&self, timeout: Duration) -> Vec<(JobId, JobState)>;

    /// Submits a job with such a body at each multiple of a period since 1970, by the clock of
    /// the [`Settings`] (JB-7, schedules). Runs overlap as they like.
    fn schedule(&self, every: Duration, missed: Missed, body: ScheduledBody);
}

/// The settings of a case's manager.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How many jobs run at a time.
    pub concurrency: usize,
    /// How many may wait.
    pub queue_limit: usize,
    /// What a level of priority is worth, in time of waiting.
    pub ageing: Duration,
    /// How many finished jobs are kept.
    pub keep: usize,
    /// The clock, if it is not the system's.
    pub clock: Option<ManualClock>,
}

/// The value of a job.
pub type Value = Arc<u64>;

/// The result of a job's body.
pub type Outcome = Result<Value, String>;

/// The future of an attempt.
pub type BoxOutcome = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A job of a case.
#[non_exhaustive]
pub struct TestJob {
    /// Its body.
    pub body: Body,
    /// More goes first.
    pub priority: i8,
    /// How often it is tried. The pauses in between are as short as may be.
    pub attempts: u32,
    /// For how long an attempt may run.
    pub timeout: Option<Duration>,
    /// There is one job with that key at a time.
    pub unique: Option<String>,
    /// The body is called once at most, and the job cannot be tried again.
    pub runs_once: bool,
}

/// The body of a job, run once for each attempt.
pub enum Body {
    /// A future.
    Async(Box<dyn FnMut(Attempt) -> BoxOutcome + Send>),
    /// A closure, which may block.
    Blocking(Box<dyn FnMut(Attempt) -> Outcome + Send>),
}

/// The body of a schedule's runs. Its argument is the time at which the run was due, in seconds
/// since 1970.
pub type ScheduledBody = Arc<dyn Fn(u64) + Send + Sync>;

/// The input of a body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The first one is 1.
    pub number: u32,
    /// Cancelled when the job must end.
    pub token: CancellationToken,
}

/// A job at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where it is on its way.
    pub state: JobState,
    /// It runs, and was asked to end.
    pub cancelling: bool,
    /// How many attempts there were, with the one that runs.
    pub attempt: u32,
    /// Why it has ended, if it has not completed.
    pub error: Option<String>,
}

/// A change of a job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The job.
    pub id: JobId,
    /// Its state before.
    pub from: Option<JobState>,
    /// Its state from then on.
    pub to: JobState,
}

/// Why a job was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue is full.
    Full,
    /// The manager accepts no more jobs.
    Closed,
    /// Something else.
    Other,
}

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its number: that of its rule, and its own.
    pub number: &'static str,
    /// What the manager must do.
    pub name: &'static str,
    run: fn(&Bench<'_>),
}

/// A case that has failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failed {
    /// The case's number.
    pub number: &'static str,
    /// The case's name.
    pub name: &'static str,
    /// The message of the failure.
    pub message: String,
}

/// What a case works with.
pub(crate) struct Bench<'a> {
    factory: &'a dyn Factory,
    patience: Duration,
}

/// Runs all cases, with a deadline of one minute for each expected event.
///
/// # Panics
///
/// If a case fails, with the messages of all failed cases.
pub fn check(factory: &dyn Factory) {
    let failed = run(factory, cases(), Duration::from_secs(60));
    let lines: Vec<_> = failed.iter().map(ToString::to_string).collect();
    assert!(
        failed.is_empty(),
        "the manager does not keep the rules:\n{}",
        lines.join("\n")
    );
}

/// Runs these cases one after the other and gives those that fail. A case fails if an expected
/// event does not happen within `patience`.
pub fn run(factory: &dyn Factory, cases: &[Case], patience: Duration) -> Vec<Failed> {
    let bench = Bench { factory, patience };
    let run = |case: &Case| {
        // Unwind safety: each case has its own manager.
        let payload = catch_unwind(AssertUnwindSafe(|| (case.run)(&bench))).err()?;
        let message = match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => match payload.downcast::<&str>() {
                Ok(message) => (*message).to_owned(),
                Err(_) => "a panic whose payload is not a text".to_owned(),
            },
        };
        Some(Failed {
            number: case.number,
            name: case.name,
            message,
        })
    };
    cases.iter().filter_map(run).collect()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 4,
            queue_limit: 100_000,
            ageing: Duration::from_secs(10),
            keep: 10_000,
            clock: None,
        }
    }
}

impl TestJob {
    /// A job of a body, which runs once and soon.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self {
            body,
            priority: 0,
            attempts: 1,
            timeout: None,
            unique: None,
            runs_once: false,
        }
    }
}

impl Body {
    /// A future for each attempt.
    pub fn future<F>(mut body: impl FnMut(Attempt) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self::Async(Box::new(move |attempt| Box::pin(body(attempt))))
    }

    /// A closure that may block.
    pub fn closure(body: impl FnMut(Attempt) -> Outcome + Send + 'static) -> Self {
        Self::Blocking(Box::new(body))
    }
}

impl Attempt {
    /// For a manager that tells a body about its attempt.
    #[must_use]
    pub fn new(number: u32, token: CancellationToken) -> Self {
        Self { number, token }
    }
}

impl Snapshot {
    /// For a manager that tells of a job.
    #[must_use]
    pub fn new(state: JobState, cancelling: bool, attempt: u32, error: Option<String>) -> Self {
        Self {
            state,
            cancelling,
            attempt,
            error,
        }
    }
}

impl Transition {
    /// For a manager that tells of a job.
    #[must_use]
    pub fn new(id: JobId, from: Option<JobState>, to: JobState) -> Self {
        Self { id, from, to }
    }
}

impl Bench<'_> {
    fn manager(&self, settings: Settings) -> Box<dyn Manager> {
        self.factory.manager(settings)
    }

    /// Waits until something is so.
    fn eventually(&self, what: &str, so: impl Fn() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(
                start.elapsed() < self.patience,
                "it never came to it: {what}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a job has ended.
    fn end(&self, manager: &dyn Manager, id: JobId) -> Snapshot {
        let snapshot = || {
            let snapshot = manager.snapshot(id);
            snapshot.unwrap_or_else(|| panic!("a job that was accepted is not known: {id}"))
        };
        self.eventually("an accepted job ends", || snapshot().state.is_finished());
        snapshot()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            name,
            message,
        } = self;
        write!(f, "{number} {name}: {message}")
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "Async(..)",
            Self::Blocking(_) => "Blocking(..)",
        })
    }
}

impl fmt::Debug for TestJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestJob")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
