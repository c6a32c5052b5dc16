//! The first success of the children: [`FirstSuccess`].

use std::{borrow::Cow, fmt, sync::Arc};

use fourway_core::{Runtime, cancel::Reason, implement::discard};

use crate::{
    Nursery,
    child::{Outcome, Sink},
    shared::{End, Shared},
    starts::starts_children,
    sync::{Mutex, lock},
};

/// A nursery that ends with the first child that succeeds. The body of
/// [`Builder::first_success`](crate::Builder::first_success) gets it.
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

    starts_children!(T, R, E);

    /// The same for children with a name: see [`Nursery::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            nursery: self.nursery.named(name),
            first: self.first.clone(),
        }
    }

    /// The same for children into which nothing travels: see [`Nursery::without_context`].
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self {
            nursery: self.nursery.without_context(),
            first: self.first.clone(),
        }
    }

    /// The nursery, for children that do not take part, and for cancelling.
    #[must_use]
    pub fn nursery(&self) -> &Nursery<R, E> {
        &self.nursery
    }

    /// The output of the first child that succeeded.
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
