//! Results one by one: [`Results`].

use std::{
    borrow::Cow,
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use fourway_core::{Runtime, cancel::Reason, implement::discard};

use crate::{
    ChildError, Nursery,
    child::{Outcome, Sink},
    result_queue::ResultQueue,
    shared::{End, Shared},
    starts::starts_children,
};

/// The results of the children that are spawned through it, as they finish. Made by
/// [`Nursery::results`].
///
/// The failure of such a child is a result as any other, whatever the nursery's policy: the reader
/// decides. Dropping this leaves the children to the nursery: unread failures go to the nursery,
/// and outputs are dropped.
///
/// In a forked child, the results of children from before the fork are the parent's: the next one
/// is a failure whose error [`is_forked`](fourway_core::JoinError::is_forked), and there is no
/// other.
///
/// A result that has not been read takes memory. A body that spawns without end must read as well;
/// with a limit on the nursery, `spawn(..).await` keeps the two in step.
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// # use fourway_nursery::{NurseryError, nursery};
/// async fn sum<R: Runtime>(rt: &R) -> Result<u32, NurseryError<String>> {
///     nursery(rt, async |n| {
///         let mut results = n.results();
///         for i in 0..10 {
///             results.spawn(async move { Ok::<_, String>(i) });
///         }
///         let mut sum = 0;
///         while let Some(result) = results.next().await {
///             sum += result.unwrap_or(0);
///         }
///         Ok(sum)
///     })
///     .await
/// }
/// ```
pub struct Results<T: Send + 'static, R: Runtime, E: Send + 'static> {
    nursery: Nursery<R, E>,
    queue: Arc<ResultQueue<T, E>>,
}

impl<T: Send + 'static, R: Runtime, E: Send + 'static> Results<T, R, E> {
    pub(crate) fn new(nursery: Nursery<R, E>) -> Self {
        let queue = Arc::new(ResultQueue::new(nursery.shared.process));
        Self { nursery, queue }
    }

    starts_children!(T, R, E);

    /// The next result; `None` if no child is left whose result has not been read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<T, ChildError<E>>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) for implementers of futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, ChildError<E>>>> {
        self.queue.poll_next(cx)
    }

    /// The next result, if there is one already.
    #[must_use]
    pub fn try_next(&mut self) -> Option<Result<T, ChildError<E>>> {
        self.queue.try_next()
    }

    /// How many children there are whose result has not been read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Have all results been read?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A view that gives children a name. Their results come here too: see [`Nursery::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> NamedResults<'_, T, R, E> {
        NamedResults {
            nursery: self.nursery.named(name),
            results: self,
        }
    }

    fn sink(&self) -> ResultSink<T, E> {
        self.queue.begin();
        ResultSink {
            queue: self.queue.clone(),
        }
    }
}

/// Starts children with a name whose results are read one by one. Made by [`Results::named`].
pub struct NamedResults<'a, T: Send + 'static, R: Runtime, E: Send + 'static> {
    nursery: Nursery<R, E>,
    results: &'a Results<T, R, E>,
}

impl<T: Send + 'static, R: Runtime, E: Send + 'static> NamedResults<'_, T, R, E> {
    starts_children!(T, R, E);

    fn sink(&self) -> ResultSink<T, E> {
        self.results.sink()
    }
}

impl<T: Send + 'static, R: Runtime, E: Send + 'static> fmt::Debug for NamedResults<'_, T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.results.fmt(f)
    }
}

impl<T: Send + 'static, R: Runtime, E: Send + 'static> Drop for Results<T, R, E> {
    fn drop(&mut self) {
        for result in self.queue.leave() {
            match result {
                Ok(output) => discard(output),
                Err(error) => {
                    if let Some(failure) = error.into_failure() {
                        self.nursery.shared.failed(failure);
                    }
                }
            }
        }
    }
}

impl<T: Send + 'static, R: Runtime, E: Send + 'static> fmt::Debug for Results<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

struct ResultSink<T, E> {
    queue: Arc<ResultQueue<T, E>>,
}

impl<R, T, E> Sink<R, T, E> for ResultSink<T, E>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
{
    fn take(self, outcome: Outcome<T, E>, shared: &Shared<R, E>) -> End<E> {
        let (result, end) = match outcome {
            Outcome::Done(output) => (Ok(output), End::Done),
            Outcome::Failed(failure) => (Err(ChildError::failed(failure)), End::Done),
            Outcome::Cancelled => {
                let reason = shared.reason().unwrap_or(Reason::NotNeeded);
                (Err(ChildError::cancelled(reason)), End::Cancelled)
            }
        };
        match self.queue.end(result) {
            None => end,
            Some(Ok(output)) => {
                discard(output);
                end
            }
            // The reader has left: the failure is the nursery's.
            Some(Err(error)) => error.into_failure().map_or(end, End::Failed),
        }
    }
}
