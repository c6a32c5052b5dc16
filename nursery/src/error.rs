//! The failures of a nursery: [`Failure`], [`NurseryError`], [`SpawnError`].

use std::{any::Any, error::Error, fmt, io};

use fourway_core::{
    JoinError,
    cancel::{Cancelled, Reason},
};

/// How one child, or the body, failed.
///
/// There is no third way: work gives an error, or does not end by itself, and why is a
/// [`JoinError`]'s to say. So a `match` on it is complete.
#[derive(Debug)]
pub enum Failure<E> {
    /// It returned this error.
    Error(E),
    /// It panicked, or its destructor did, with the payload kept; or the runtime destroyed or
    /// refused it, because it was shut down or had no thread for it.
    Join(JoinError),
}

impl<E> Failure<E> {
    /// The error, if it returned one.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Error(error) => Some(error),
            Self::Join(_) => None,
        }
    }

    /// Did it panic?
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Join(error) if error.is_panic())
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Join(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for Failure<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Error(error) => error.source(),
            Self::Join(error) => error.source(),
        }
    }
}

/// Why a nursery did not give its value.
///
/// | question | what happened |
/// |---|---|
/// | [`is_timeout`](Self::is_timeout) | the deadline passed, and cut something short |
/// | [`is_cancelled`](Self::is_cancelled) | the work around the nursery was cancelled, or its body cut short by a cancellation |
/// | [`is_empty`](Self::is_empty) | the first success was asked for, and there was no child |
/// | [`is_refused`](Self::is_refused) | a sync nursery was to run on a thread that runs async code |
/// | none of these | a child or the body failed: see [`first`](Self::first) |
///
/// In each case [`failures`](Self::failures) has all failures in the order of their time, so that
/// none is lost. Work that ended because it was cancelled is counted, and is not among them.
#[derive(Debug)]
pub struct NurseryError<E> {
    pub(crate) kind: Kind,
    pub(crate) failures: Vec<Failure<E>>,
    pub(crate) not_kept: usize,
    pub(crate) cancelled: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Failed,
    Cancelled(Cancelled),
    Empty,
    Refused,
}

impl<E> NurseryError<E> {
    /// Did the deadline pass, before anything else went wrong?
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(&self.kind, Kind::Cancelled(cancelled) if cancelled.is_deadline())
    }

    /// Was it cancelled, for another reason than a deadline, before anything else went wrong?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(&self.kind, Kind::Cancelled(cancelled) if !cancelled.is_deadline())
    }

    /// Was the first success asked for, with no child to have one?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kind == Kind::Empty
    }

    /// Was it a sync nursery in async code, which it would have blocked? The body was not called.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind == Kind::Refused
    }

    /// There was no failure, and no value either.
    pub(crate) fn without_value(had_children: bool) -> Self {
        Self {
            kind: if had_children {
                // By the nursery's own `cancel`.
                Kind::Cancelled(Cancelled::new(Reason::NotNeeded))
            } else {
                Kind::Empty
            },
            failures: Vec::new(),
            not_kept: 0,
            cancelled: 0,
        }
    }

    /// Why it was cancelled, if [`is_cancelled`](Self::is_cancelled) or
    /// [`is_timeout`](Self::is_timeout).
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match &self.kind {
            Kind::Cancelled(cancelled) => Some(cancelled.reason()),
            Kind::Failed | Kind::Empty | Kind::Refused => None,
        }
    }

    /// The first failure; `None` if nothing failed by itself.
    ///
    /// If the nursery ended because of it, its message is part of this error's, and the
    /// [`source`](Error::source) of this error is that of the failure. The exception is a failure
    /// that says that work was cancelled: it is the source itself, because a nursery around this
    /// one knows it by its type.
    #[must_use]
    pub fn first(&self) -> Option<&Failure<E>> {
        self.failures.first()
    }

    /// All failures, the first one first. See
    /// [`Builder::keep_failures`](crate::Builder::keep_failures) for how many are kept.
    #[must_use]
    pub fn failures(&self) -> &[Failure<E>] {
        &self.failures
    }

    /// All failures, the first one first.
    #[must_use]
    pub fn into_failures(self) -> Vec<Failure<E>> {
        self.failures
    }

    /// How many failures there were beyond those that were kept.
    #[must_use]
    pub fn not_kept(&self) -> usize {
        self.not_kept
    }

    /// How many children were cancelled, or refused after the cancellation.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// The error that was returned first, for code that is not interested in the rest.
    ///
    /// # Errors
    ///
    /// Gives everything back if the first failure is not a returned error, or if there is none.
    pub fn into_first_error(mut self) -> Result<E, Self> {
        if !matches!(self.failures.first(), Some(Failure::Error(_))) {
            return Err(self);
        }
        match self.failures.swap_remove(0) {
            Failure::Error(error) => Ok(error),
            Failure::Join(_) => Err(self),
        }
    }

    /// Lets the first panic go on in the calling thread, without running the panic hook again.
    ///
    /// # Errors
    ///
    /// Gives the error back if nothing panicked.
    pub fn resume_unwind(mut self) -> Self {
        if let Some(at) = self.failures.iter().position(Failure::is_panic) {
            if let Failure::Join(error) = self.failures.swap_remove(at) {
                error.resume_unwind();
            }
        }
        self
    }
}

impl<E: fmt::Display> fmt::Display for NurseryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, self.first()) {
            (Kind::Cancelled(cancelled), _) if cancelled.is_deadline() => {
                f.write_str("the deadline passed before all work in the nursery was done")?;
            }
            (Kind::Cancelled(cancelled), _) => {
                write!(f, "the nursery was cancelled: {}", cancelled.reason())?;
            }
            (Kind::Empty, _) => f.write_str(
                "there was no child that could succeed: spawn one before the body ends",
            )?,
            (Kind::Refused, _) => f.write_str(
                "a sync nursery would block this thread, which runs async code: use \
                 `SyncNursery::builder(&rt).offloaded(..).await`, or an async nursery",
            )?,
            (Kind::Failed, Some(first)) => write!(f, "work in the nursery failed: {first}")?,
            (Kind::Failed, None) => f.write_str("work in the nursery failed")?,
        }
        let shown = usize::from(self.kind == Kind::Failed);
        let others = (self.failures.len() + self.not_kept).saturating_sub(shown);
        if others > 0 {
            write!(f, "; {others} more failed")?;
        }
        if self.cancelled > 0 {
            write!(f, "; {} were cancelled", self.cancelled)?;
        }
        Ok(())
    }
}

impl<E: Error + 'static> Error for NurseryError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (self.first(), &self.kind) {
            // Its message is in this one's, and so its own source comes next; unless it is by its
            // type that a nursery around this one knows a cancellation.
            (Some(Failure::Error(error)), Kind::Failed) if !chain(error) => error.source(),
            (Some(Failure::Join(error)), Kind::Failed) => error.source(),
            (Some(Failure::Error(error)), _) => Some(error),
            (Some(Failure::Join(error)), _) => Some(error),
            // By this a nursery around this one knows that it did not fail by itself.
            (None, Kind::Cancelled(cancelled)) => Some(cancelled),
            (None, _) => None,
        }
    }
}

/// For functions that return an [`io::Result`]: the first error if it came first; `TimedOut` if
/// the deadline did; otherwise the whole error, [inside](io::Error::get_ref) one of the kind
/// `Other`.
impl From<NurseryError<io::Error>> for io::Error {
    fn from(error: NurseryError<io::Error>) -> Self {
        if error.is_timeout() {
            return Self::new(io::ErrorKind::TimedOut, error);
        }
        match error.kind {
            Kind::Failed => error.into_first_error().unwrap_or_else(Self::other),
            _ => Self::other(error),
        }
    }
}

/// A nursery, or its limit, refused a child; the work is given back.
pub struct SpawnError<W> {
    pub(crate) refusal: Refusal,
    pub(crate) work: W,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Cancelled,
    Closed,
}

impl<W> SpawnError<W> {
    /// Are all places of the limit taken? Later there may be one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.refusal == Refusal::Full
    }

    /// Is the nursery being cancelled? It takes no child any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.refusal == Refusal::Cancelled
    }

    /// Is the nursery over?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.refusal == Refusal::Closed
    }

    /// The future, closure or call that was refused, which has not been started.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.work
    }

    pub(crate) fn map<V>(self, f: impl FnOnce(W) -> V) -> SpawnError<V> {
        SpawnError {
            refusal: self.refusal,
            work: f(self.work),
        }
    }
}

impl<W> fmt::Display for SpawnError<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.refusal {
            Refusal::Full => {
                "the child was refused: all places of the nursery are taken; retry later, or use \
                 `spawn`, which waits in line"
            }
            Refusal::Cancelled => "the child was refused: its nursery is being cancelled",
            Refusal::Closed => {
                "the child was refused: its nursery is over; children can be spawned while its \
                 body or another child of it runs"
            }
        })
    }
}

impl<W> fmt::Debug for SpawnError<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpawnError::{:?}(..)", self.refusal)
    }
}

impl<W> Error for SpawnError<W> {}

/// Does the error only say that the work was cancelled?
///
/// Looks for [`Cancelled`] as the error itself, inside an [`io::Error`], and in the chain of a
/// boxed error. [`Builder::cancellation`](crate::Builder::cancellation) takes a test for other
/// error types.
pub(crate) fn is_cancellation<E: 'static>(error: &E) -> bool {
    let error: &dyn Any = error;
    if error.is::<Cancelled>() {
        return true;
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().is_some_and(|inner| chain(inner));
    }
    error
        .downcast_ref::<Box<dyn Error + Send + Sync>>()
        .is_some_and(|error| chain(&**error))
}

fn chain(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if error.is::<Cancelled>() || inner.is_some_and(|inner| inner.is::<Cancelled>()) {
            return true;
        }
        next = error.source();
    }
    false
}
