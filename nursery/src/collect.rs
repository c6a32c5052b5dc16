//! Nurseries whose children have outputs of one type: [`Collect`], [`FirstSuccess`].

use std::{
    error::Error,
    fmt,
    future::{Future, IntoFuture},
    sync::Arc,
};

use fourway_core::{
    Call, Runtime,
    cancel::{Cancelled, Reason},
    implement::discard,
};

use crate::{
    Nursery, Spawned,
    child::{Called, Closure, Outcome, Sink, Task},
    error::Failure,
    shared::{End, Shared},
    sync::{Mutex, lock},
};

/// Why a child has no output.
pub struct ChildError<E> {
    kind: ChildErrorKind<E>,
}

enum ChildErrorKind<E> {
    Failed(Failure<E>),
    /// Failed, and the failure is with the nursery.
    Told,
    Cancelled(Cancelled),
}

impl<E> ChildError<E> {
    pub(crate) fn failed(failure: Failure<E>) -> Self {
        Self {
            kind: ChildErrorKind::Failed(failure),
        }
    }

    pub(crate) fn told() -> Self {
        Self {
            kind: ChildErrorKind::Told,
        }
    }

    pub(crate) fn cancelled(reason: Reason) -> Self {
        Self {
            kind: ChildErrorKind::Cancelled(Cancelled::new(reason)),
        }
    }

    /// Was the child cancelled, and if so, why?
    #[must_use]
    pub fn cancellation(&self) -> Option<&Cancelled> {
        match &self.kind {
            ChildErrorKind::Cancelled(cancelled) => Some(cancelled),
            _ => None,
        }
    }

    /// Was the child cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().is_some()
    }

    /// How it failed; `None` if it was cancelled, or if the failure is with the nursery, which
    /// ends because of it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure<E>> {
        match &self.kind {
            ChildErrorKind::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// How it failed. See [`failure`](Self::failure).
    #[must_use]
    pub fn into_failure(self) -> Option<Failure<E>> {
        match self.kind {
            ChildErrorKind::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ChildErrorKind::Failed(failure) => write!(f, "the child failed: {failure}"),
            ChildErrorKind::Told => {
                f.write_str("the child failed: its nursery ends because of it, and has the failure")
            }
            ChildErrorKind::Cancelled(cancelled) => cancelled.fmt(f),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ChildErrorKind::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
            ChildErrorKind::Told => f.write_str("Failed"),
            ChildErrorKind::Cancelled(cancelled) => f
                .debug_tuple("Cancelled")
                .field(cancelled.reason())
                .finish(),
        }
    }
}

impl<E: Error + 'static> Error for ChildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ChildErrorKind::Failed(failure) => Some(failure),
            ChildErrorKind::Told => None,
            ChildErrorKind::Cancelled(cancelled) => Some(cancelled),
        }
    }
}

// ---------------------------------------------------------------------------
// All outputs

/// A nursery that keeps the outputs of its children, in the order in which they were spawned.
/// What the body of [`Builder::collect`](crate::Builder::collect) and
/// [`Builder::try_collect`](crate::Builder::try_collect) gets.
pub struct Collect<T, R: Runtime, E> {
    nursery: Nursery<R, E>,
    outputs: Outputs<T, E>,
    failures_too: bool,
}

/// `None` for a child that has not ended.
type Outputs<T, E> = Arc<Mutex<Vec<Option<Result<T, ChildError<E>>>>>>;

impl<T: Send + 'static, R: Runtime, E: Send + 'static> Collect<T, R, E> {
    pub(crate) fn new(nursery: Nursery<R, E>, failures_too: bool) -> Self {
        Self {
            nursery,
            outputs: Arc::new(Mutex::new(Vec::new())),
            failures_too,
        }
    }

    /// As [`Nursery::spawn`].
    pub fn spawn<F>(&self, future: F) -> Spawned<R, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.nursery.start_child(Task(future), self.sink())
    }

    /// As [`Nursery::offload`].
    pub fn offload<F>(&self, closure: F) -> Spawned<R, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
    {
        self.nursery.start_child(Closure(closure), self.sink())
    }

    /// As [`Nursery::call`].
    pub fn call<C>(&self, call: C) -> Spawned<R, E>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
    {
        self.nursery.start_child(Called(call), self.sink())
    }

    /// The nursery, for children without an output, and for cancelling.
    #[must_use]
    pub fn nursery(&self) -> &Nursery<R, E> {
        &self.nursery
    }

    fn sink(&self) -> CollectSink<T, E> {
        let mut outputs = lock(&self.outputs);
        let at = outputs.len();
        outputs.push(None);
        CollectSink {
            outputs: self.outputs.clone(),
            at,
            failures_too: self.failures_too,
        }
    }
}

impl<T, R: Runtime, E> fmt::Debug for Collect<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nursery.fmt(f)
    }
}

/// All results, once the nursery is over.
pub(crate) fn collected<T, R: Runtime, E>(
    collect: &Collect<T, R, E>,
) -> Vec<Result<T, ChildError<E>>> {
    let outputs = std::mem::take(&mut *lock(&collect.outputs));
    // Each child has ended, and has told its sink before it told the nursery.
    outputs.into_iter().flatten().collect()
}

/// All outputs, once the nursery is over; `None` if one is missing.
pub(crate) fn try_collected<T, R: Runtime, E>(collect: &Collect<T, R, E>) -> Option<Vec<T>> {
    collected(collect).into_iter().map(Result::ok).collect()
}

struct CollectSink<T, E> {
    outputs: Outputs<T, E>,
    at: usize,
    failures_too: bool,
}

impl<R, T, E> Sink<R, T, E> for CollectSink<T, E>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
{
    fn take(self, outcome: Outcome<T, E>, shared: &Shared<R, E>) -> End<E> {
        let (result, end) = match outcome {
            Outcome::Done(output) => (Ok(output), End::Done),
            Outcome::Cancelled => {
                let reason = shared.soft.reason().unwrap_or(Reason::NotNeeded);
                (Err(ChildError::cancelled(reason)), End::Cancelled)
            }
            Outcome::Failed(failure) if self.failures_too => {
                (Err(ChildError::failed(failure)), End::Done)
            }
            Outcome::Failed(failure) => (Err(ChildError::told()), End::Failed(failure)),
        };
        // There was nothing before that could have a destructor.
        lock(&self.outputs)[self.at] = Some(result);
        end
    }
}

// ---------------------------------------------------------------------------
// The first success

/// A nursery that ends with the first child that succeeds. What the body of
/// [`Builder::first_success`](crate::Builder::first_success) gets.
pub struct FirstSuccess<T, R: Runtime, E> {
    nursery: Nursery<R, E>,
    first: Arc<Mutex<Option<T>>>,
}

impl<T: Send + 'static, R: Runtime, E: Send + 'static> FirstSuccess<T, R, E> {
    pub(crate) fn new(nursery: Nursery<R, E>) -> Self {
        Self {
            nursery,
            first: Arc::new(Mutex::new(None)),
        }
    }

    /// As [`Nursery::spawn`].
    pub fn spawn<F>(&self, future: F) -> Spawned<R, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.nursery.start_child(Task(future), self.sink())
    }

    /// As [`Nursery::offload`].
    pub fn offload<F>(&self, closure: F) -> Spawned<R, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
    {
        self.nursery.start_child(Closure(closure), self.sink())
    }

    /// As [`Nursery::call`].
    pub fn call<C>(&self, call: C) -> Spawned<R, E>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
    {
        self.nursery.start_child(Called(call), self.sink())
    }

    /// The nursery, for children that do not take part, and for cancelling.
    #[must_use]
    pub fn nursery(&self) -> &Nursery<R, E> {
        &self.nursery
    }

    /// The output of the first that succeeded.
    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.first).take()
    }

    fn sink(&self) -> FirstSink<T> {
        FirstSink {
            first: self.first.clone(),
        }
    }
}

impl<T, R: Runtime, E> fmt::Debug for FirstSuccess<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nursery.fmt(f)
    }
}

struct FirstSink<T> {
    first: Arc<Mutex<Option<T>>>,
}

impl<R, T, E> Sink<R, T, E> for FirstSink<T>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
{
    fn take(self, outcome: Outcome<T, E>, shared: &Shared<R, E>) -> End<E> {
        match outcome {
            Outcome::Done(output) => {
                let mut first = lock(&self.first);
                if first.is_none() {
                    *first = Some(output);
                    drop(first);
                    shared.cancel(&Reason::NotNeeded);
                } else {
                    drop(first);
                    discard(output);
                }
                End::Done
            }
            Outcome::Failed(failure) => End::Failed(failure),
            Outcome::Cancelled => End::Cancelled,
        }
    }
}
