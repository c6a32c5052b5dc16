//! The errors: [`EngineError`], [`OutputError`].

use std::{error::Error, fmt, sync::Arc};

use fourway_jobs::{JobId, JobState};

use crate::{Capability, record::Record};

/// The kind of an engine's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// The store cannot be reached, is busy, or its disk is full. It may work later: workers
    /// try again by themselves.
    Unavailable,
    /// The engine does not have this [`Capability`].
    Unsupported(Capability),
    /// The engine refuses the request, and would refuse it again: the request is too large, cannot
    /// be interpreted, or concerns a job whose record this program cannot read.
    Invalid,
    /// The store answers, but is broken: this user has lost its rights, or a table is missing or
    /// damaged. The error says nothing about the request. An operator must repair the store.
    /// Workers keep their verdicts until then.
    Broken,
    /// The engine has a fault: it panicked, or gave an answer that does not belong to the request. The
    /// error says nothing about the request, and its effect is unknown. Workers keep their verdicts and
    /// try again.
    Internal,
    /// The engine, or the runtime beneath it, was shut down.
    Closed,
}

/// An engine could not do what was requested. A clone is the same error.
#[derive(Clone, Debug)]
pub struct EngineError {
    kind: EngineErrorKind,
    message: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl EngineError {
    /// An error of that kind, for people.
    #[must_use]
    pub fn new(kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The store cannot be used for now.
    #[must_use]
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::caused(
            EngineErrorKind::Unavailable,
            "the store cannot be used",
            source,
        )
    }

    /// The engine was given something that it cannot take, or its store holds something that it
    /// cannot read.
    #[must_use]
    pub fn invalid(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::caused(
            EngineErrorKind::Invalid,
            "the engine cannot take this",
            source,
        )
    }

    /// The store is broken, independent of the request.
    #[must_use]
    pub fn broken(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::caused(EngineErrorKind::Broken, "the store is broken", source)
    }

    /// The engine has a fault, independent of the request.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::caused(EngineErrorKind::Internal, "the engine has a fault", source)
    }

    /// The [internal](Self::internal) error for a request in which the engine panicked. The panic's
    /// message is not in it: the panic hook has shown it, and it may contain what clients must not see.
    #[must_use]
    pub fn panicked() -> Self {
        Self::internal("it panicked; the panic was shown where it happened")
    }

    /// The engine lacks the capability.
    #[must_use]
    pub fn unsupported(capability: Capability) -> Self {
        let message = format!(
            "this engine lacks the capability `{capability}`: ask for its `capabilities()` first"
        );
        Self::new(EngineErrorKind::Unsupported(capability), message)
    }

    /// The engine is of the process that this one was forked from: it has neither the threads nor the
    /// connections of its parent. [`is_closed`](Self::is_closed) is true.
    #[must_use]
    pub fn forked() -> Self {
        Self::new(
            EngineErrorKind::Closed,
            "the engine was opened before this process was forked: open another one",
        )
    }

    /// The engine is gone.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(
            EngineErrorKind::Closed,
            "the engine was closed, or the runtime that it uses was shut down",
        )
    }

    fn caused(
        kind: EngineErrorKind,
        what: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self {
            kind,
            message: format!("{what}: {source}"),
            source: Some(source.into()),
        }
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// It may work later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind == EngineErrorKind::Unavailable
    }

    /// The error concerns the request: repeating the same request is useless, but a smaller one may
    /// work.
    ///
    /// For other errors, the caller keeps its message for a later try.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.kind,
            EngineErrorKind::Invalid | EngineErrorKind::Unsupported(_)
        )
    }

    /// The engine has a fault.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.kind == EngineErrorKind::Internal
    }

    /// The engine lacks a capability.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, EngineErrorKind::Unsupported(_))
    }

    /// The engine is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind == EngineErrorKind::Closed
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// There is no output of a job of a named kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OutputError {
    /// The engine could not be asked.
    Engine(EngineError),
    /// No such job is known (any more).
    Unknown(JobId),
    /// It has not ended.
    Unfinished(JobId, JobState),
    /// It has ended without an output: its record, with its error.
    Job(Box<Record>),
    /// The output is not of the type that was asked for; why.
    OtherType(JobId, String),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Unknown(id) => write!(
                f,
                "no job {id} is known: it was never submitted here, or is forgotten"
            ),
            Self::Unfinished(id, state) => {
                write!(
                    f,
                    "job {id} is {state} and has no output yet: wait for it first"
                )
            }
            Self::Job(job) => {
                write!(f, "job {} ({}) is {}", job.id, job.kind, job.state)?;
                match &job.error {
                    Some(error) => write!(f, ": {error}"),
                    None => Ok(()),
                }
            }
            Self::OtherType(id, why) => write!(
                f,
                "the output of job {id} is not of the type that was asked for, perhaps of another version of its kind: {why}"
            ),
        }
    }
}

impl Error for OutputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Engine(error) => error.source(),
            _ => None,
        }
    }
}

impl From<EngineError> for OutputError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
