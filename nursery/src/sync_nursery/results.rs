//! Results one by one: [`SyncResults`].

use std::{fmt, sync::Arc};

use fourway_core::implement::{self, discard, fork::Process};

use crate::{ChildError, error::Failure, result_queue::ResultQueue};

use super::{
    SyncNursery,
    sink::{SyncOutcome, SyncSink},
    wait::wait_for,
};

/// The results of the children that are spawned through it, as they finish. The iterator blocks
/// until there is a result, and ends when the results of all children have been read. Made by
/// [`SyncNursery::results`].
///
/// The failure of such a child is a result like any other, whatever the nursery's policy: the
/// reader decides. If the system gives no thread, children in line fail too, unrun. Dropping this
/// leaves the children to the nursery: unread failures become the nursery's, and unread outputs are
/// dropped.
///
/// An unread result takes memory. More children may be spawned between two results.
///
/// In an offloaded closure, the closure's place in the pool is lent while it waits. A child must
/// not read the results of children behind it in line if such readers have all places of the
/// nursery: it would wait for ever.
///
/// # Panics
///
/// The iterator's `next` panics on a thread that runs async code, which must not block ([no
/// blocking in async code](fourway_core::contract#BL-2)).
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// use fourway_nursery::{NurseryError, sync_nursery};
///
/// fn longest<R: Runtime>(rt: &R, lines: &[&str]) -> Result<usize, NurseryError<String>> {
///     sync_nursery(rt, |n| {
///         let results = n.results();
///         for line in lines {
///             results.spawn(|| Ok(line.trim().len()));
///         }
///         Ok(results.filter_map(Result::ok).max().unwrap_or(0))
///     })
/// }
/// ```
pub struct SyncResults<'scope, 'env, T, E: Send + 'static> {
    nursery: SyncNursery<'scope, 'env, E>,
    queue: Arc<ResultQueue<T, E>>,
}

impl<'scope, 'env, T: Send + 'scope, E: Send + 'static> SyncResults<'scope, 'env, T, E> {
    pub(super) fn new(nursery: SyncNursery<'scope, 'env, E>) -> Self {
        Self {
            nursery,
            queue: Arc::new(ResultQueue::new(Process::this())),
        }
    }

    /// As [`SyncNursery::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, closure: F)
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
    {
        self.queue.begin();
        self.nursery
            .spawn_into(closure, ResultSink(self.queue.clone()));
    }
}

impl<T, E: Send + 'static> SyncResults<'_, '_, T, E> {
    /// The next result, if there is one already. Never blocks.
    #[must_use]
    pub fn try_next(&mut self) -> Option<Result<T, ChildError<E>>> {
        self.queue.try_next()
    }

    /// How many children have a result that has not been read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Have all results been read?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T, E: Send + 'static> Iterator for SyncResults<'_, '_, T, E> {
    type Item = Result<T, ChildError<E>>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = implement::check_may_block() {
            panic!("{error}");
        }
        let wait = &*self.nursery.shared.outcome.wait;
        wait_for(wait, |cx| self.queue.poll_next(cx))
    }
}

impl<T, E: Send + 'static> Drop for SyncResults<'_, '_, T, E> {
    fn drop(&mut self) {
        for result in self.queue.leave() {
            match result {
                Ok(output) => discard(output),
                Err(error) => {
                    if let Some(failure) = error.into_failure() {
                        self.nursery.shared.failed(failure, false);
                    }
                }
            }
        }
    }
}

impl<T, E: Send + 'static> fmt::Debug for SyncResults<'_, '_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncResults")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

struct ResultSink<T, E>(Arc<ResultQueue<T, E>>);

impl<T: Send, E: Send> SyncSink<T, E> for ResultSink<T, E> {
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        _: bool,
        _: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E> {
        let (result, rest) = match outcome {
            SyncOutcome::Done(output) => (Ok(output), SyncOutcome::Done(())),
            SyncOutcome::Failed(failure) => {
                (Err(ChildError::failed(failure)), SyncOutcome::Done(()))
            }
            SyncOutcome::Cancelled(reason) => (
                Err(ChildError::cancelled(reason.clone())),
                SyncOutcome::Cancelled(reason),
            ),
        };
        match self.0.end(result) {
            None => rest,
            Some(Ok(output)) => {
                discard(output);
                rest
            }
            Some(Err(error)) => error.into_failure().map_or(rest, SyncOutcome::Failed),
        }
    }
}
