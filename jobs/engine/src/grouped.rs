//! For engines that block: [`Grouped`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fourway_core::{AnyRuntime, Offload, Task};
use futures_channel::oneshot;

use crate::{EngineError, EngineFuture};

/// What [`Grouped`] requests share: mostly a connection, and a transaction on it.
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

    /// Ends one request; what it has changed is to be undone if it failed.
    ///
    /// # Errors
    ///
    /// If that cannot be: the whole group is then undone.
    fn leave(&mut self, keep: bool) -> Result<(), EngineError>;

    /// Ends the group. What it has changed is durable afterwards.
    ///
    /// # Errors
    ///
    /// If that cannot be: each request of the group is answered with this error.
    fn commit(&mut self) -> Result<(), EngineError>;

    /// Undoes whatever is left of the group.
    fn undo(&mut self);
}

/// Something that blocks and is used by one at a time, such as a connection to a file, for many
/// who ask at once and never block.
///
/// Whoever asks leaves a closure; one closure on the runtime's pool runs all that are there as a
/// group, commits them together, and only then answers: many small writes cost one sync of the
/// disk. While nobody asks it takes no thread.
///
/// # Cancel safety
///
/// A future that was polled has left its closure, and dropping it does not take that back.
///
/// # Panics
///
/// A closure that panics is undone, and answered with
/// [`EngineError::invalid`]; the others are not concerned.
pub struct Grouped<S: Group> {
    inner: Arc<Inner<S>>,
    runtime: AnyRuntime,
}

struct Inner<S> {
    queue: Mutex<Queue<S>>,
    /// Used by the one closure that is `busy`; never waited for.
    state: Mutex<S>,
    /// How many requests at most go into one group.
    most: usize,
}

struct Queue<S> {
    waiting: Vec<Request<S>>,
    busy: bool,
}

/// Runs, unless the group could not begin, and says whether to keep what it did and how to answer
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
                let run = || f(state?);
                let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                    let error = "it panicked in the store; the panic was shown where it happened";
                    Err(EngineError::invalid(error))
                });
                let keep = result.is_ok();
                let answer: Answer = Box::new(move |group: Result<(), EngineError>| {
                    // Whoever asked may be gone.
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

/// The closure on the pool. If it is dropped before it has run, as by a runtime that is shut
/// down, those who wait are told.
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
                // With the lock of the queue: whoever comes next sees it, and calls another one.
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
        // Their futures are woken, and find nobody.
        drop(waiting);
    }
}

fn run_group<S: Group>(state: &mut S, group: Vec<Request<S>>) {
    let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
    let mut fate = state.begin();
    for request in group {
        fate = fate.and_then(|()| state.enter());
        // Once the group has failed, those that are left are not run.
        let entered = fate.clone();
        let (keep, answer) = request(entered.map(|()| &mut *state));
        answers.push(answer);
        fate = fate.and_then(|()| state.leave(keep));
    }
    fate = fate.and_then(|()| state.commit());
    if fate.is_err() {
        state.undo();
    }
    for answer in answers {
        answer(fate.clone());
    }
}
