//! Children with outputs of one type: [`SyncCollect`].

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    ChildError,
    error::Failure,
    sync::{Mutex, lock},
};

use super::{
    SyncNursery,
    sink::{SyncOutcome, SyncSink, split},
};

/// A sync nursery that is made for the outputs of its children, which have one type. The bodies of
/// [`SyncBuilder::try_collect`](crate::SyncBuilder::try_collect),
/// [`SyncBuilder::collect`](crate::SyncBuilder::collect) and
/// [`SyncBuilder::first_success`](crate::SyncBuilder::first_success) get it. A clone is the same
/// nursery.
pub struct SyncCollect<'scope, 'env, T, E> {
    nursery: SyncNursery<'scope, 'env, E>,
    pub(crate) outputs: Outputs<T, E>,
}

pub(crate) type Outputs<T, E> = Arc<Mutex<Kept<T, E>>>;

pub(crate) struct Kept<T, E> {
    pub(crate) first_alone: bool,
    /// The index of the first success among the results.
    pub(crate) first: Option<usize>,
    pub(crate) results: Vec<Option<Result<T, ChildError<E>>>>,
}

impl<'scope, 'env, T: Send + 'scope, E: Send + 'static> SyncCollect<'scope, 'env, T, E> {
    pub(crate) fn new(nursery: SyncNursery<'scope, 'env, E>, outputs: Outputs<T, E>) -> Self {
        Self { nursery, outputs }
    }

    /// As [`SyncNursery::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, closure: F)
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
    {
        let mut outputs = lock(&self.outputs);
        let (at, first_alone) = (outputs.results.len(), outputs.first_alone);
        outputs.results.push(None);
        drop(outputs);
        let sink = CollectSink {
            outputs: self.outputs.clone(),
            at,
            first_alone,
        };
        self.nursery.spawn_into(closure, sink);
    }

    /// The same for children with a name: see [`SyncNursery::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            nursery: self.nursery.named(name),
            ..self.clone()
        }
    }

    /// The same for children into which nothing travels: see
    /// [`SyncNursery::without_context`].
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self {
            nursery: self.nursery.without_context(),
            ..self.clone()
        }
    }

    /// The nursery, for children without an output, and for cancelling.
    #[must_use]
    pub fn nursery(&self) -> &SyncNursery<'scope, 'env, E> {
        &self.nursery
    }
}

impl<T, E> Clone for SyncCollect<'_, '_, T, E> {
    fn clone(&self) -> Self {
        Self {
            nursery: self.nursery.clone(),
            outputs: self.outputs.clone(),
        }
    }
}

impl<T, E> fmt::Debug for SyncCollect<'_, '_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nursery.fmt(f)
    }
}

pub(super) struct CollectSink<T, E> {
    outputs: Outputs<T, E>,
    at: usize,
    first_alone: bool,
}

impl<T: Send, E: Send> SyncSink<T, E> for CollectSink<T, E> {
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        supervise: bool,
        _: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E> {
        // A nursery for the first success keeps the failures of the others as failures.
        let (result, rest) = split(outcome, supervise && !self.first_alone);
        let mut outputs = lock(&self.outputs);
        if result.is_ok() && outputs.first.is_none() {
            outputs.first = Some(self.at);
        }
        // There was nothing before that could have a destructor.
        outputs.results[self.at] = Some(result);
        drop(outputs);
        rest
    }

    fn ends_it(&self) -> bool {
        self.first_alone
    }
}
