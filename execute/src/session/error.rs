use std::{error::Error, fmt};

use fourway_core::{JoinError, cancel::Reason};

/// Why an execution gave no output.
///
/// | question | what happened |
/// |---|---|
/// | [`is_interrupted`](Self::is_interrupted) | it was interrupted, or its handle dropped |
/// | [`is_deadline`](Self::is_deadline) | its deadline passed |
/// | [`is_closed`](Self::is_closed) | the session was closed before its turn, or around it |
/// | [`join_error`](Self::join_error) | it panicked, or the runtime was shut down |
#[derive(Debug)]
pub struct ExecutionError(Kind);

#[derive(Debug)]
enum Kind {
    Stopped(Reason),
    Closed(Reason),
    Join(JoinError),
}

impl ExecutionError {
    pub(super) fn stopped(reason: Reason) -> Self {
        match reason {
            Reason::Shutdown => Self(Kind::Closed(reason)),
            reason => Self(Kind::Stopped(reason)),
        }
    }

    pub(super) fn closed(reason: Reason) -> Self {
        Self(Kind::Closed(reason))
    }

    pub(super) fn join(error: JoinError) -> Self {
        Self(Kind::Join(error))
    }

    /// Was it asked to end before it was done?
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        match &self.0 {
            Kind::Stopped(reason) => *reason != Reason::Deadline,
            Kind::Join(error) => error.is_cancelled(),
            Kind::Closed(_) => false,
        }
    }

    /// Did it take longer than it was given?
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(self.0, Kind::Stopped(Reason::Deadline))
    }

    /// Is the session closed?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Kind::Closed(_))
    }

    /// Did it panic?
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.join_error().is_some_and(JoinError::is_panic)
    }

    /// Why it was stopped or refused, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match &self.0 {
            Kind::Stopped(reason) | Kind::Closed(reason) => Some(reason),
            Kind::Join(_) => None,
        }
    }

    /// The runtime's error: a panic, a shutdown.
    #[must_use]
    pub fn join_error(&self) -> Option<&JoinError> {
        match &self.0 {
            Kind::Join(error) => Some(error),
            _ => None,
        }
    }

    /// The runtime's error, for its payload.
    ///
    /// # Errors
    ///
    /// This error itself, if the runtime gave none.
    pub fn into_join_error(self) -> Result<JoinError, Self> {
        match self.0 {
            Kind::Join(error) => Ok(error),
            kind => Err(Self(kind)),
        }
    }
}

impl fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Stopped(reason) => write!(f, "the execution was stopped: {reason}"),
            Kind::Closed(_) => f.write_str("the session is closed; open another one"),
            Kind::Join(error) => error.fmt(f),
        }
    }
}

impl Error for ExecutionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.join_error().and_then(Error::source)
    }
}
