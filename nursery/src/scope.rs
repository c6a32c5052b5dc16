//! Borrowing concurrency in one task: [`scope`].

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use fourway_core::{
    JoinError,
    implement::{discard, wake},
};

use crate::{
    NurseryError,
    error::Failure,
    ledger::Ledger,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// Runs `body` together with futures that may borrow, all in the calling task.
///
/// The children are polled where the scope is polled, one after the other: they are concurrent
/// and not parallel, need no runtime, and may borrow what lives longer than the call, as the
/// closures of [`std::thread::scope`] do. They must be `Send`, so that the scope can be used in a
/// task that is spawned. The first failure drops the others at once. A child that blocks, blocks
/// all.
///
/// # Why it stays in one task
///
/// A child on another thread may run at any moment. If it borrowed from the parent, the parent
/// would have to be there for as long as the child is, and a future can be forgotten
/// (`mem::forget`) or leaked in a cycle: its destructor, the only place where it could wait for
/// the child, never runs, and what was borrowed is freed. And if the destructor does run, in
/// async code it must not block. So a parallel scope that borrows cannot be sound; threads
/// can, since [`sync_nursery`](crate::sync_nursery()) is a call that does not return before
/// they have ended, and a call cannot be forgotten.
///
/// # Errors
///
/// See [`NurseryError`]. A panic of the body or of a child is a failure, with its payload.
///
/// # Cancel safety
///
/// Dropping the future drops the body and all children, there and then.
///
/// # Examples
///
/// ```
/// use fourway_nursery::{NurseryError, scope};
///
/// async fn lengths(names: &[String]) -> Result<usize, NurseryError<String>> {
///     let mut lengths = vec![0; names.len()];
///     scope(async |s| {
///         for (name, length) in names.iter().zip(&mut lengths) {
///             s.spawn(async { Ok(*length = name.len()) });
///         }
///         Ok(())
///     })
///     .await?;
///     Ok(lengths.iter().sum())
/// }
/// ```
pub async fn scope<'env, T, E, F>(
    body: impl FnOnce(BorrowScope<'env, E>) -> F,
) -> Result<T, NurseryError<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let scope = BorrowScope {
        fresh: Arc::new(Mutex::new(Vec::new())),
    };
    // Children may hold the scope in which they wait.
    let scope = Emptied(scope);
    let scope = &scope.0;
    let mut children = Children::new();
    let mut ledger = Ledger::new(usize::MAX);
    let mut value = None;
    // Unwind safety: the body is gone if it panics.
    let made = catch_unwind(AssertUnwindSafe(|| body(scope.clone())));
    let made = made.map_err(|payload| {
        ledger.record(Failure::Join(JoinError::panicked(payload)), false);
    });
    let mut body = pin!(made.ok());
    poll_fn(|cx| {
        children.ready.parent(cx);
        let mut polls = POLLS;
        for _ in 0..ROUNDS {
            if let Some(future) = body.as_mut().as_pin_mut() {
                match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(Ok(output))) => {
                        value = Some(output);
                        destroy(&mut ledger, || body.set(None));
                    }
                    Ok(Poll::Ready(Err(error))) => {
                        ledger.record(Failure::Error(error), false);
                        destroy(&mut ledger, || body.set(None));
                    }
                    Err(payload) => {
                        ledger.record(Failure::Join(JoinError::panicked(payload)), false);
                        destroy(&mut ledger, || body.set(None));
                    }
                }
            }
            std::mem::swap(&mut children.fresh, &mut *lock(&scope.fresh));
            children.add_fresh();
            children.poll_ready(&mut ledger, &mut polls);
            if ledger.has_failed() {
                // At once, and in place: the children first, as for every nursery.
                ledger.cancelled += children.len() + lock(&scope.fresh).len();
                let (all, fresh) = (children.take(), std::mem::take(&mut *lock(&scope.fresh)));
                for child in all.into_iter().chain(fresh) {
                    destroy(&mut ledger, || drop(child));
                }
                if body.is_some() {
                    destroy(&mut ledger, || body.set(None));
                }
                return Poll::Ready(());
            }
            if polls == 0 || lock(&scope.fresh).is_empty() {
                break;
            }
            // A child has spawned another, or the body has.
        }
        if !(children.round.is_empty() && lock(&scope.fresh).is_empty()) {
            wake(cx.waker().clone());
            return Poll::Pending;
        }
        if body.is_none() && children.len() == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    ledger.verdict(value, || None)
}

/// How often one poll adds children that other children have spawned meanwhile. After that the
/// executor's other tasks have their turn (FA-1, no task starves): each child may spawn the next.
const ROUNDS: usize = 32;

/// How many children one poll polls, for the same reason. There may be any number of them.
const POLLS: usize = 256;

/// Destroys something; a panic of its destructor is a failure.
fn destroy<E>(ledger: &mut Ledger<E>, f: impl FnOnce()) {
    // Unwind safety: it is gone either way.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        ledger.record(Failure::Join(JoinError::panicked(payload)), false);
    }
}

/// The body of [`scope`] and its children spawn with it. A clone is the same scope. Children that
/// are spawned after the scope's end are not run.
pub struct BorrowScope<'env, E> {
    // A lock and not a cell, so that the scope's future can be `Send`. Never contended.
    fresh: Arc<Mutex<Vec<Child<'env, E>>>>,
}

type Child<'env, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'env>>;

impl<'env, E> BorrowScope<'env, E> {
    /// Adds a child, which is polled when the body next awaits. It costs an allocation, and one
    /// more for a waker if there are more children at a time than ever before.
    pub fn spawn<F, T>(&self, future: F)
    where
        F: Future<Output = Result<T, E>> + Send + 'env,
    {
        let child = async move { future.await.map(discard) };
        lock(&self.fresh).push(Box::pin(child));
    }
}

impl<E> Clone for BorrowScope<'_, E> {
    fn clone(&self) -> Self {
        Self {
            fresh: self.fresh.clone(),
        }
    }
}

/// Drops the children that have not been polled, with the scope's future.
struct Emptied<'env, E>(BorrowScope<'env, E>);

impl<E> Drop for Emptied<'_, E> {
    fn drop(&mut self) {
        let fresh = std::mem::take(&mut *lock(&self.0.fresh));
        drop(fresh);
    }
}

impl<E> fmt::Debug for BorrowScope<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BorrowScope").finish_non_exhaustive()
    }
}

/// The children that have been polled, each with a waker of its own.
struct Children<'env, E> {
    all: Vec<Place<'env, E>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    // Empty in between: swapped with what others fill, so that neither allocates each time.
    fresh: Vec<Child<'env, E>>,
    round: VecDeque<usize>,
}

struct Place<'env, E> {
    // `None` while no child has the place.
    child: Option<Child<'env, E>>,
    /// Made once, for all children that have the place one after the other.
    ticket: Arc<ChildWaker>,
    waker: Waker,
}

/// The children to poll, each at most once.
#[derive(Default)]
struct Ready {
    state: Mutex<ReadyState>,
}

#[derive(Default)]
struct ReadyState {
    queue: VecDeque<usize>,
    parent: Option<Waker>,
}

impl Ready {
    /// Has the task that polls the scope woken from now on.
    fn parent(&self, cx: &Context<'_>) {
        // Cloned and dropped outside of the lock.
        let waker = cx.waker().clone();
        let before = lock(&self.state).parent.replace(waker);
        drop(before);
    }
}

struct ChildWaker {
    at: usize,
    /// It is among the children to poll.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for ChildWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel pairs with the swap before a poll: either that poll sees what came before this
        // wake, or the child is queued once more.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = lock(&self.ready.state);
        state.queue.push_back(self.at);
        let parent = state.parent.take();
        drop(state);
        parent.into_iter().for_each(wake);
    }
}

impl<'env, E> Children<'env, E> {
    fn new() -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            fresh: Vec::new(),
            round: VecDeque::new(),
        }
    }

    fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    fn add_fresh(&mut self) {
        for child in self.fresh.drain(..) {
            let at = match self.free.pop() {
                Some(at) => at,
                None => {
                    let at = self.all.len();
                    let ticket = Arc::new(ChildWaker {
                        at,
                        queued: AtomicBool::new(false),
                        ready: self.ready.clone(),
                    });
                    self.all.push(Place {
                        child: None,
                        waker: Waker::from(ticket.clone()),
                        ticket,
                    });
                    at
                }
            };
            let place = &mut self.all[at];
            place.child = Some(child);
            // A late wake of the child before may have queued it. AcqRel as in `wake_by_ref`.
            if !place.ticket.queued.swap(true, Ordering::AcqRel) {
                lock(&self.ready.state).queue.push_back(at);
            }
        }
    }

    /// Polls the woken children, each once and at most `polls` in all, until one fails. Those that
    /// are left are in the round.
    fn poll_ready(&mut self, ledger: &mut Ledger<E>, polls: &mut usize) {
        let mut state = lock(&self.ready.state);
        if self.round.is_empty() {
            std::mem::swap(&mut self.round, &mut state.queue);
        } else {
            // What the poll before has left comes first. Those in the queue must come now as well:
            // fresh children have no wake, and the wake of others was for this poll.
            self.round.append(&mut state.queue);
        }
        drop(state);
        while *polls > 0 {
            let Some(at) = self.round.pop_front() else {
                return;
            };
            *polls -= 1;
            // After a late wake the child is gone; or another one is in its place, and is polled
            // once for nothing.
            let place = &mut self.all[at];
            // Before the poll: a wake during it counts for the next one. AcqRel pairs with the swap
            // in `wake_by_ref`.
            place.ticket.queued.swap(false, Ordering::AcqRel);
            let Some(child) = &mut place.child else {
                continue;
            };
            let mut cx = Context::from_waker(&place.waker);
            let poll = catch_unwind(AssertUnwindSafe(|| child.as_mut().poll(&mut cx)));
            let failure = match poll {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(Ok(()))) => None,
                Ok(Poll::Ready(Err(error))) => Some(Failure::Error(error)),
                Err(payload) => Some(Failure::Join(JoinError::panicked(payload))),
            };
            if let Some(failure) = failure {
                ledger.record(failure, false);
            }
            let child = self.all[at].child.take();
            self.free.push(at);
            destroy(ledger, || drop(child));
            if ledger.has_failed() {
                return;
            }
        }
    }

    fn take(&mut self) -> Vec<Child<'env, E>> {
        self.free.clear();
        std::mem::take(&mut self.all)
            .into_iter()
            .filter_map(|place| place.child)
            .collect()
    }
}
