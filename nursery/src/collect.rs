//! All outputs of the children: [`Collect`].

use std::{borrow::Cow, fmt, sync::Arc};

use fourway_core::{Runtime, cancel::Reason};

use crate::{
    ChildError, Nursery,
    child::{Outcome, Sink},
    shared::{End, Shared},
    starts::starts_children,
    sync::{Mutex, lock},
};

/// A nursery that keeps the outputs of its children, in the order in which they were spawned.
/// The body of [`Builder::collect`](crate::Builder::collect) and of
/// [`Builder::try_collect`](crate::Builder::try_collect) gets it.
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

    starts_children!(T, R, E);

    /// The same for children with a name: see [`Nursery::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            nursery: self.nursery.named(name),
            outputs: self.outputs.clone(),
            failures_too: self.failures_too,
        }
    }

    /// The same for children without context: see [`Nursery::without_context`].
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self {
            nursery: self.nursery.without_context(),
            outputs: self.outputs.clone(),
            failures_too: self.failures_too,
        }
    }

    /// The nursery, for children without an output, and for cancelling.
    #[must_use]
    pub fn nursery(&self) -> &Nursery<R, E> {
        &self.nursery
    }

    fn sink(&self) -> CollectSink<T, E> {
        let mut at = 0;
        // In a forked child the lock is the parent's, and no sink of it is called.
        if !self.nursery.shared.is_inherited() {
            let mut outputs = lock(&self.outputs);
            at = outputs.len();
            outputs.push(None);
        }
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
                let reason = shared.reason().unwrap_or(Reason::NotNeeded);
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
