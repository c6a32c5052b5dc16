//! The errors: [`SubmitError`], [`JobError`], [`ResultError`], [`UnknownJob`].

use std::{error::Error, fmt};

use fourway_core::Payload;

use crate::{BoxError, JobId, JobState};

/// Of a manager that was made before a fork, in the child.
pub(crate) const FORKED: &str = "this is a forked child, and the job manager is the parent \
                                 process's: make one here, on a runtime of this process";

/// Why a job was not accepted. It has not run and never will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitError {
    pub(crate) refusal: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full {
        limit: usize,
    },
    Closed,
    /// The manager is that of a forked child's parent.
    Forked,
    UnknownDependency(JobId),
    FailedDependency(JobId, JobState),
    OtherType(JobId),
}

impl SubmitError {
    /// There are as many jobs waiting as
    /// [`queue_limit`](crate::JobManagerBuilder::queue_limit) allows. Try again later, or wait
    /// with [`submit_when_free`](crate::JobManager::submit_when_free).
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.refusal, Refusal::Full { .. })
    }

    /// The manager drains, was drained or dropped, or its runtime was shut down; or it [is
    /// forked](Self::is_forked).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.refusal, Refusal::Closed | Refusal::Forked)
    }

    /// This is a forked child, and the manager is that of a parent process ([forked
    /// children](fourway_core::contract#FK-1)).
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.refusal == Refusal::Forked
    }

    /// A job that it must run after is not known (any more), or did not succeed.
    #[must_use]
    pub fn is_dependency(&self) -> bool {
        matches!(
            self.refusal,
            Refusal::UnknownDependency(_) | Refusal::FailedDependency(..)
        )
    }

    /// There is a job under the same unique key, and its value is of another type.
    #[must_use]
    pub fn is_other_type(&self) -> bool {
        matches!(self.refusal, Refusal::OtherType(_))
    }
}

impl From<Refusal> for SubmitError {
    fn from(refusal: Refusal) -> Self {
        Self { refusal }
    }
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refusal {
            Refusal::Full { limit } => write!(
                f,
                "the queue is full: {limit} jobs wait already. Try again later, wait for room with \
                 `submit_when_free`, or allow more with `queue_limit`"
            ),
            Refusal::Closed => f.write_str(
                "the job manager accepts no more jobs: it drains, or was dropped, or its runtime \
                 was shut down",
            ),
            Refusal::Forked => write!(f, "the job was not accepted: {FORKED}"),
            Refusal::UnknownDependency(id) => write!(
                f,
                "the job is to run after {id}, which is not known: it is another manager's, or \
                 finished too long ago to be kept"
            ),
            Refusal::FailedDependency(id, state) => {
                write!(
                    f,
                    "the job is to run after {id}, which has ended as {state}"
                )
            }
            Refusal::OtherType(id) => write!(
                f,
                "the job {id} has the same unique key, and gives a value of another type. Keys of \
                 different jobs must differ: put the job's name in front"
            ),
        }
    }
}

impl Error for SubmitError {}

/// Why there is no value of a job: it failed, panicked, was cancelled or timed out.
///
/// It holds the cause of the last attempt's failure: [`source`](Error::source) is the body's own
/// error, [`into_panic`](Self::into_panic) the payload of its panic.
pub struct JobError {
    inner: Box<Inner>,
}

struct Inner {
    id: JobId,
    state: JobState,
    message: String,
    cause: Option<Cause>,
}

pub(crate) enum Cause {
    Error(BoxError),
    // In a lock, as payloads need not be `Sync`.
    Panic(std::sync::Mutex<Payload>),
    /// The job is that of a forked child's parent.
    Forked,
}

impl JobError {
    pub(crate) fn new(id: JobId, state: JobState, message: String, cause: Option<Cause>) -> Self {
        Self {
            inner: Box::new(Inner {
                id,
                state,
                message,
                cause,
            }),
        }
    }

    /// The job has completed, and its value was taken.
    pub(crate) fn taken(id: JobId) -> Self {
        Self::new(id, JobState::Completed, String::new(), None)
    }

    /// This is a forked child, and the job is the parent's.
    #[cold]
    pub(crate) fn forked(id: JobId) -> Self {
        let cause = Some(Cause::Forked);
        Self::new(id, JobState::Running, FORKED.to_owned(), cause)
    }

    /// The same for another caller: the cause goes to one.
    pub(crate) fn without_cause(&self) -> Self {
        let Inner {
            id, state, message, ..
        } = &*self.inner;
        Self::new(*id, *state, message.clone(), None)
    }

    /// The id of the job.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.inner.id
    }

    /// How the job has ended. [`Running`](JobState::Running) if the error [is
    /// forked](Self::is_forked): its end is known to the parent alone.
    #[must_use]
    pub fn state(&self) -> JobState {
        self.inner.state
    }

    /// The message of the last attempt: its error's text, or the panic's message. Of a long text the
    /// [beginning](crate::TEXT_KEPT); the [error](Self::into_error) itself is whole.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// This is a forked child, and the job is that of a parent process, whether it had ended or not
    /// ([forked children](fourway_core::contract#FK-1)).
    #[must_use]
    pub fn is_forked(&self) -> bool {
        matches!(self.inner.cause, Some(Cause::Forked))
    }

    /// The job was cancelled. The [`message`](Self::message) says why, for example because its manager
    /// drains, and is empty if somebody asked for it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.state == JobState::Cancelled
    }

    /// The job had a timeout, and ran longer.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.inner.state == JobState::TimedOut
    }

    /// The body panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.cause, Some(Cause::Panic(_)))
    }

    /// The job has succeeded, and another caller has taken its value.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.inner.state == JobState::Completed
    }

    /// The error that the body gave, if it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match &self.inner.cause {
            Some(Cause::Error(error)) => error.downcast_ref(),
            _ => None,
        }
    }

    /// The error that the body gave.
    #[must_use]
    pub fn into_error(self) -> Option<BoxError> {
        match self.inner.cause {
            Some(Cause::Error(error)) => Some(error),
            _ => None,
        }
    }

    /// The payload of the body's panic.
    #[must_use]
    pub fn into_panic(self) -> Option<Payload> {
        match self.inner.cause {
            Some(Cause::Panic(payload)) => Some(
                payload
                    .into_inner()
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
            ),
            _ => None,
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { id, message, .. } = &*self.inner;
        match self.inner.state {
            JobState::Completed => write!(
                f,
                "the job {id} has completed, and its value was taken already: a value goes to one \
                 handle. `result` gives copies of values that can be cloned"
            ),
            JobState::Failed if self.is_panic() => write!(f, "the job {id} panicked: {message}"),
            JobState::Failed => write!(f, "the job {id} failed: {message}"),
            JobState::Cancelled if message.is_empty() => write!(f, "the job {id} was cancelled"),
            JobState::Cancelled => write!(f, "the job {id} was cancelled: {message}"),
            JobState::TimedOut => write!(f, "the job {id} ran longer than its timeout"),
            _ if self.is_forked() => write!(f, "the job {id} has no value here: {message}"),
            state => write!(f, "the job {id} is {state}: {message}"),
        }
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobError")
            .field("id", &self.inner.id)
            .field("state", &self.inner.state)
            .field("message", &self.inner.message)
            .finish_non_exhaustive()
    }
}

impl Error for JobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.inner.cause {
            Some(Cause::Error(error)) => Some(&**error),
            _ => None,
        }
    }
}

/// The manager knows no job with this id: it never had one, or has forgotten it as its
/// retention says ([states and snapshots](fourway_core::contract#JB-2)). In a forked child a manager
/// from before knows [none](Self::is_forked).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownJob {
    pub(crate) id: JobId,
    pub(crate) is_forked: bool,
}

impl UnknownJob {
    /// The id that is not known.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// This is a forked child, and the manager is that of a parent process ([forked
    /// children](fourway_core::contract#FK-1)).
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.is_forked
    }
}

impl fmt::Display for UnknownJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_forked {
            return write!(f, "the job {} is not known here: {FORKED}", self.id);
        }
        write!(
            f,
            "no job {} is known: it is another manager's, or finished too long ago to be kept",
            self.id
        )
    }
}

impl Error for UnknownJob {}

/// Why a job's id gives no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResultError {
    /// No such job.
    Unknown(UnknownJob),
    /// It has not ended. Wait for it with [`JobManager::wait`](crate::JobManager::wait).
    Unfinished(JobId, JobState),
    /// It has ended without a value.
    Job(JobError),
    /// It has a value, of another type than the one asked for.
    OtherType(JobId),
}

impl fmt::Display for ResultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(error) => error.fmt(f),
            Self::Unfinished(id, state) => {
                write!(f, "the job {id} is {state}: it has no result yet")
            }
            Self::Job(error) => error.fmt(f),
            Self::OtherType(id) => write!(f, "the value of the job {id} is of another type"),
        }
    }
}

impl Error for ResultError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Job(error) => error.source(),
            _ => None,
        }
    }
}
