//! For engines that block: [`Grouped`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fourway_core::{AnyRuntime, Offload, Task};
use futures_channel::oneshot;

use crate::{EngineError, EngineFuture};

/// The resource that [`Grouped`] requests share: mostly a connection, and a transaction on it.
pub trait Group: Send + 'static {
    /// Begins a group of requests.
    ///
    /// # Errors
    ///
    /// If it cannot: each request of the group is answered with this error, and not run.
    fn begin(&mut self) -> Result<(), EngineError>;

    /// Begins one request of the group.
    ///
    /// # Errors
    ///
    /// If it cannot: the request is answered with this error, and not run.
    fn enter(&mut self) -> Result<(), EngineError>;

    /// Ends one request. If it failed, its changes must be undone.
    ///
    /// # Errors
    ///
    /// If that is impossible: the whole group is then undone.
    fn leave(&mut self, keep: bool) -> Result<(), EngineError>;

    /// Ends the group. Its changes are durable afterwards.
    ///
    /// # Errors
    ///
    /// If that is impossible: each request of the group is answered with this error.
    fn commit(&mut self) -> Result<(), EngineError>;

    /// Undoes the rest of the group.
    fn undo(&mut self);
}

/// Shares a blocking resource with one user at a time, such as a connection to a file, among many
/// concurrent callers that never block.
///
/// A caller leaves a closure. One closure on the runtime's pool runs all waiting ones as a group,
/// commits them together, and only then answers: many small writes cost one sync of the disk.
/// Without requests it takes no thread.
///
/// # Cancel safety
///
/// A polled future has left its closure; dropping the future does not take the closure back.
///
/// # Panics
///
/// A closure that panics is undone and answered with [`EngineError::panicked`]. Other closures are
/// not affected. If a method of the [`Group`] panics, it has failed with that error.
pub struct Grouped<S: Group> {
    inner: Arc<Inner<S>>,
    runtime: AnyRuntime,
}

struct Inner<S> {
    queue: Mutex<Queue<S>>,
    /// Used only by the closure that has set `busy`, so locking it never waits.
    state: Mutex<S>,
    /// How many requests at most go into one group.
    most: usize,
}

struct Queue<S> {
    waiting: Vec<Request<S>>,
    busy: bool,
}

/// Runs, unless the group could not begin. Returns whether to keep its changes, and how to answer
/// with the fate of the group.
type Request<S> = Box<dyn FnOnce(Result<&mut S, EngineError>) -> (bool, Answer) + Send>;
type Answer = Box<dyn FnOnce(Result<(), EngineError>) + Send>;

impl<S: Group> Grouped<S> {
    /// With at most so many requests in a group.
    #[must_use]
    pub fn new(runtime: AnyRuntime, state: S, most: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                queue: Mutex::new(Queue {
                    waiting: Vec::new(),
                    busy: false,
                }),
                state: Mutex::new(state),
                most: most.max(1),
            }),
            runtime,
        }
    }

    /// Runs the closure in a group, and answers once that is durable.
    ///
    /// # Errors
    ///
    /// The closure's; the group's; [`closed`](EngineError::closed) if the runtime was shut down.
    pub fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut S) -> Result<T, EngineError> + Send + 'static,
    ) -> EngineFuture<T> {
        let this = self.clone();
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            this.leave(Box::new(move |state| {
                let result = caught(|| f(state?));
                let keep = result.is_ok();
                let answer: Answer = Box::new(move |group: Result<(), EngineError>| {
                    // The caller may be gone.
                    let _ = sender.send(group.and(result));
                });
                (keep, answer)
            }));
            receiver
                .await
                .unwrap_or_else(|_| Err(EngineError::closed()))
        })
    }

    fn leave(&self, request: Request<S>) {
        let mut queue = self.inner.queue();
        queue.waiting.push(request);
        let idle = !std::mem::replace(&mut queue.busy, true);
        drop(queue);
        if idle {
            let at_work = AtWork {
                inner: self.inner.clone(),
                done: false,
            };
            self.runtime.offload(move || at_work.run()).detach();
        }
    }
}

impl<S: Group> Clone for Grouped<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

impl<S: Group> fmt::Debug for Grouped<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped")
            .field("waiting", &self.inner.queue().waiting.len())
            .finish_non_exhaustive()
    }
}

impl<S> Inner<S> {
    fn queue(&self) -> MutexGuard<'_, Queue<S>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The closure on the pool. If it is dropped before it has run, for example by a runtime that is
/// shut down, the waiters are told.
struct AtWork<S: Group> {
    inner: Arc<Inner<S>>,
    done: bool,
}

impl<S: Group> AtWork<S> {
    fn run(mut self) {
        let inner = self.inner.clone();
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut queue = inner.queue();
            if queue.waiting.is_empty() {
                // Under the lock of the queue: the next caller sees it and calls another closure.
                queue.busy = false;
                self.done = true;
                return;
            }
            let many = queue.waiting.len().min(inner.most);
            let group: Vec<_> = queue.waiting.drain(..many).collect();
            drop(queue);
            run_group(&mut *state, group);
        }
    }
}

impl<S: Group> Drop for AtWork<S> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.inner.queue();
        let waiting = std::mem::take(&mut queue.waiting);
        queue.busy = false;
        drop(queue);
        // Their futures are woken and find the sender gone.
        drop(waiting);
    }
}

fn run_group<S: Group>(state: &mut S, group: Vec<Request<S>>) {
    let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
    // A panic that left this function would drop the requests, and their callers would take the engine
    // for closed.
    let mut fate = caught(|| state.begin());
    for request in group {
        fate = fate.and_then(|()| caught(|| state.enter()));
        // Once the group has failed, the remaining requests are not run.
        let entered = fate.clone();
        let (keep, answer) = request(entered.map(|()| &mut *state));
        answers.push(answer);
        fate = fate.and_then(|()| caught(|| state.leave(keep)));
    }
    fate = fate.and_then(|()| caught(|| state.commit()));
    if fate.is_err() {
        // The callers are told why the group failed. A panic here was shown by the hook.
        let _ = caught(|| {
            state.undo();
            Ok(())
        });
    }
    for answer in answers {
        answer(fate.clone());
    }
}

/// What `f` gives, or the error for a panic in it.
fn caught<T>(f: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_shown| Err(EngineError::panicked()))
}
