use std::{borrow::Cow, fmt};

/// Why a token was cancelled. The first reason stays; a child that is cancelled by its
/// parent has the parent's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// [`cancel`](super::CancellationToken::cancel) was called.
    Requested,
    /// The token's deadline passed.
    Deadline,
    /// A [`DropGuard`](super::DropGuard), or another stand-in for the work, was dropped.
    Dropped,
    /// Work that belongs together with this failed.
    SiblingFailed,
    /// The result that the work was for is there already.
    NotNeeded,
    /// The program, or the part of it that the work belongs to, is shutting down.
    Shutdown,
    /// Another reason, in words.
    Other(Cow<'static, str>),
}

impl From<&'static str> for Reason {
    fn from(reason: &'static str) -> Self {
        Self::Other(Cow::Borrowed(reason))
    }
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self::Other(Cow::Owned(reason))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "it was asked to end",
            Self::Deadline => "its deadline passed",
            Self::Dropped => "nobody waits for it any more",
            Self::SiblingFailed => "work that belongs together with it failed",
            Self::NotNeeded => "its result is not needed any more",
            Self::Shutdown => "the program is shutting down",
            Self::Other(reason) => reason,
        })
    }
}

/// The work must end: what [`check`](super::CancellationToken::check) gives to `?`.
///
/// A nursery tells a child that ends with this error apart from one that failed, if it finds it:
/// as the error itself, inside an [`io::Error`](std::io::Error), or along the
/// [sources](std::error::Error::source) of a `Box<dyn Error + Send + Sync>`. For other error types,
/// tell the nursery how to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    reason: Reason,
}

impl Cancelled {
    /// An error for work that ends because of `reason`.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self { reason }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Did a deadline pass?
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        self.reason == Reason::Deadline
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the work was cancelled: {}", self.reason)
    }
}

impl std::error::Error for Cancelled {}

/// For functions that return an [`io::Result`](std::io::Result). The kind is `TimedOut` for a
/// deadline and `Other` for the rest, for `Interrupted` would be tried again by many readers;
/// the error itself is [inside](std::io::Error::get_ref).
impl From<Cancelled> for std::io::Error {
    fn from(error: Cancelled) -> Self {
        let kind = if error.is_deadline() {
            std::io::ErrorKind::TimedOut
        } else {
            std::io::ErrorKind::Other
        };
        Self::new(kind, error)
    }
}
