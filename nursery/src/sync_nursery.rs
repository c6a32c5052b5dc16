//! Nurseries for sync code: [`SyncNursery`], on threads that may borrow.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Scope},
};

use fourway_core::{
    BlockOn, BlockOnError, JoinError, Payload, Runtime,
    cancel::{CancellationToken, Reason},
    implement::{self, Enclosing, Hold, Slot, discard, enclose, wake},
    values::Values,
};

use crate::{
    ChildError, NurseryError, SpawnError, SyncBuilder,
    carried::Carried,
    error::{Failure, Kind, Refusal, is_cancellation},
    ledger::Ledger,
    shared::{OnFailure, Says},
    sync::{Mutex, MutexGuard, lock},
};

/// Runs `body` together with the threads that it spawns, and returns when all have ended.
///
/// The sync counterpart of [`nursery`](crate::nursery()), on
/// [`std::thread::scope`]: children may borrow what lives longer than the call. All are joined,
/// also if the body or a child panics. The first failure cancels the others' token, which is
/// the current one in each of them; nothing can stop a thread that does not look at it. For
/// limits, deadlines and policies see [`SyncNursery::builder`].
///
/// Works on any thread that may block; in an offloaded closure too, with a pool of one, for its
/// threads are not the pool's.
///
/// # Errors
///
/// See [`NurseryError`]. On a thread that runs async code, which it would block,
/// [`is_refused`](NurseryError::is_refused): the body was not called. There the way is
/// [`SyncBuilder::offloaded`].
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// use fourway_nursery::{NurseryError, sync_nursery};
///
/// fn sum<R: Runtime>(rt: &R, numbers: &[u64]) -> Result<u64, NurseryError<String>> {
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     sync_nursery(rt, |n| {
///         let left = n.spawn_handle(|| Ok(left.iter().sum::<u64>()));
///         let right: u64 = right.iter().sum();
///         Ok(left.join().unwrap_or(0) + right)
///     })
/// }
/// ```
pub fn sync_nursery<'env, R, T, E>(
    runtime: &R,
    body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env, E>) -> Result<T, E>,
) -> Result<T, NurseryError<E>>
where
    R: Runtime,
    E: Send + 'static,
{
    SyncNursery::builder(runtime).run(body)
}

/// A nursery of threads, as its body and its children see it. A clone is the same nursery.
pub struct SyncNursery<'scope, 'env, E> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Arc<SyncShared<'scope, E>>,
}

/// What the threads share.
struct SyncShared<'scope, E> {
    outcome: Arc<SyncOutcomes<E>>,
    line: Mutex<Line<'scope>>,
}

/// What is still there when the threads are gone.
struct SyncOutcomes<E> {
    token: CancellationToken,
    supervise: bool,
    on_failure: Option<OnFailure<E>>,
    is_cancellation: Option<Says<E>>,
    ledger: Mutex<Ledger<E>>,
    wait: Arc<dyn Wait>,
    /// This, for what the children carry.
    me: Weak<dyn Enclosing>,
    /// Bodies of calls, and async nurseries, that outlive the child in which they were.
    holds: Mutex<Holds>,
}

#[derive(Default)]
struct Holds {
    count: usize,
    /// The nursery's own thread, which waits for the last.
    host: Option<Waker>,
}

/// [`BlockOn`] without its type. Whoever waits for a child does so by it, so that a closure of
/// the pool which waits lends its place to what the child may offload (OF-4).
pub(crate) trait Wait: Send + Sync {
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>;
}

impl<R: BlockOn + Send + Sync> Wait for R {
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        self.try_block_on(future)
    }
}

struct Line<'scope> {
    limit: usize,
    taken: usize,
    waiting: VecDeque<Job<'scope>>,
    spawned: bool,
    /// The nursery's own thread, which waits for the last to end.
    host: Option<Waker>,
}

/// A child. Called with `false`, it ends as cancelled, unrun.
type Job<'scope> = Box<dyn FnOnce(bool) + Send + 'scope>;

/// How a child ended; see [`SyncSink`].
pub(crate) enum SyncOutcome<T, E> {
    Done(T),
    Failed(Failure<E>),
    Cancelled(Reason),
}

/// What becomes of a child's outcome; what is left is the nursery's.
pub(crate) trait SyncSink<T, E>: Send {
    /// `fail` is for a failure of which the nursery is to know at once.
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        supervise: bool,
        fail: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E>;

    /// Is an output what the nursery is for, so that the rest is not needed?
    fn ends_it(&self) -> bool {
        false
    }
}

struct NoSink;

impl<T, E> SyncSink<T, E> for NoSink {
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        _: bool,
        _: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E> {
        match outcome {
            SyncOutcome::Done(output) => {
                discard(output);
                SyncOutcome::Done(())
            }
            SyncOutcome::Failed(failure) => SyncOutcome::Failed(failure),
            SyncOutcome::Cancelled(reason) => SyncOutcome::Cancelled(reason),
        }
    }
}

impl<'scope, 'env, E: Send + 'static> SyncNursery<'scope, 'env, E> {
    /// A sync nursery with a policy, a limit or a deadline.
    pub fn builder<R: Runtime>(runtime: &R) -> SyncBuilder<'_, R, E> {
        SyncBuilder::new(runtime)
    }

    /// Starts `closure` as a child on a thread: at once, or when a place of the
    /// [limit](SyncBuilder::limit) is free.
    ///
    /// Never blocks. In a nursery that is being cancelled the closure is dropped, and counted
    /// as cancelled. If the system gives no thread, that is a failure of the child.
    pub fn spawn<F, T>(&self, closure: F)
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_into(closure, NoSink);
    }

    /// [`spawn`](Self::spawn), with a handle for the output.
    pub fn spawn_handle<F, T>(&self, closure: F) -> SyncHandle<T, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let slot = Arc::new(Slot::new());
        self.spawn_into(closure, HandleSink(slot.clone()));
        SyncHandle {
            slot,
            outcome: self.shared.outcome.clone(),
        }
    }

    /// [`spawn`](Self::spawn), unless all places are taken.
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if no place is free or the nursery is being cancelled.
    pub fn try_spawn<F, T>(&self, closure: F) -> Result<(), SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let refused = |refusal, work| Err(SpawnError { refusal, work });
        if self.shared.outcome.token.is_cancelled() {
            return refused(Refusal::Cancelled, closure);
        }
        let mut line = self.shared.lock();
        if line.taken >= line.limit {
            drop(line);
            return refused(Refusal::Full, closure);
        }
        line.taken += 1;
        line.spawned = true;
        drop(line);
        self.give_thread(self.job(closure, NoSink));
        Ok(())
    }

    /// Cancels the children: the nursery is to end with what it has. That is no error.
    pub fn cancel(&self) {
        self.shared.cancel(Reason::NotNeeded);
    }

    /// Changes the limit. A higher one starts those who wait, in order; a lower one takes
    /// effect as children end.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn set_limit(&self, limit: usize) {
        assert!(
            limit > 0,
            "a nursery with a limit of zero would start nothing"
        );
        self.shared.lock().limit = limit;
        while let Some(job) = self.shared.granted() {
            self.give_thread(job);
        }
    }

    /// The token of the body and all children, in which it is the current one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.shared.outcome.token
    }

    pub(crate) fn spawn_into<F, T, S>(&self, closure: F, sink: S)
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        S: SyncSink<T, E> + 'scope,
    {
        let job = self.job(closure, sink);
        if self.shared.outcome.token.is_cancelled() {
            return job(false);
        }
        let mut line = self.shared.lock();
        line.spawned = true;
        if line.taken < line.limit {
            line.taken += 1;
            drop(line);
            self.give_thread(job);
        } else {
            line.waiting.push_back(job);
        }
    }

    fn job<F, T, S>(&self, closure: F, sink: S) -> Job<'scope>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        S: SyncSink<T, E> + 'scope,
    {
        let shared = self.shared.clone();
        let carried = Carried::new(shared.outcome.values());
        Box::new(move |run| {
            let result = catch_unwind(AssertUnwindSafe(|| {
                if run {
                    Some(carried.scope(closure))
                } else {
                    carried.scope(|| drop(closure));
                    None
                }
            }));
            let outcome = match result {
                Ok(None) => SyncOutcome::Cancelled(shared.outcome.reason()),
                Ok(Some(Ok(output))) => SyncOutcome::Done(output),
                Ok(Some(Err(error))) => shared.outcome.failed_or_cancelled(error),
                Err(payload) => SyncOutcome::Failed(Failure::Join(JoinError::panicked(payload))),
            };
            let ends_it = sink.ends_it() && matches!(outcome, SyncOutcome::Done(_));
            let fail = |failure| shared.failed(failure, false);
            match sink.take(outcome, shared.outcome.supervise, &fail) {
                SyncOutcome::Done(()) => {
                    if ends_it {
                        shared.cancel(Reason::NotNeeded);
                    }
                }
                SyncOutcome::Cancelled(_) => lock(&shared.outcome.ledger).cancelled += 1,
                SyncOutcome::Failed(failure) => shared.failed(failure, false),
            }
        })
    }

    /// Gives `job`, which has a place, a thread; the thread goes on with those in line.
    fn give_thread(&self, job: Job<'scope>) {
        let shared = self.shared.clone();
        // Where both can reach it: without a thread it is to be ended here.
        let job = Arc::new(Mutex::new(Some(job)));
        let taken = job.clone();
        let thread = thread::Builder::new().name("fourway-nursery".into());
        let hosted = implement::host().map(|host| host.thread());
        let started = thread.spawn_scoped(self.scope, move || {
            // Dropped after what was moved in here, so that nothing is left to do but to end.
            let _turn = hosted.map(|thread| thread.begin());
            let (shared, taken) = (shared, taken);
            let mut next = lock(&taken).take();
            drop(taken);
            while let Some(job) = next {
                job(!shared.outcome.token.is_cancelled());
                next = shared.next();
            }
        });
        if let Err(error) = started {
            self.shared
                .failed(Failure::Join(JoinError::unstarted(error)), true);
            if let Some(job) = lock(&job).take() {
                job(false);
            }
            // The same holds for those in line.
            let mut next = self.shared.next();
            while let Some(job) = next {
                job(false);
                next = self.shared.next();
            }
        }
    }
}

impl<E> Clone for SyncNursery<'_, '_, E> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope,
            shared: self.shared.clone(),
        }
    }
}

impl<E> fmt::Debug for SyncNursery<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncNursery")
            .field("token", &self.shared.outcome.token)
            .finish_non_exhaustive()
    }
}

impl<'scope, E: Send + 'static> SyncShared<'scope, E> {
    fn lock(&self) -> MutexGuard<'_, Line<'scope>> {
        lock(&self.line)
    }

    /// The next in line, if there is a free place for it.
    fn granted(&self) -> Option<Job<'scope>> {
        let mut line = self.lock();
        if line.taken >= line.limit {
            return None;
        }
        let next = line.waiting.pop_front()?;
        line.taken += 1;
        Some(next)
    }

    /// The next in line; the place of the one that has ended is its, or free.
    fn next(&self) -> Option<Job<'scope>> {
        let mut line = self.lock();
        // Unless the limit has been lowered meanwhile.
        let next = match line.taken <= line.limit {
            true => line.waiting.pop_front(),
            false => None,
        };
        let mut host = None;
        if next.is_none() {
            line.taken -= 1;
            if line.taken == 0 {
                host = line.host.take();
            }
        }
        drop(line);
        host.into_iter().for_each(wake);
        next
    }

    /// Waits until nobody is running or in line.
    fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        // Cloned and dropped outside of the lock, for it is foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut line = self.lock();
        let poll = if line.taken == 0 {
            Poll::Ready(())
        } else {
            std::mem::swap(&mut line.host, &mut waker);
            Poll::Pending
        };
        drop(line);
        drop(waker);
        poll
    }

    /// Records a failure, and cancels the others if the policy says so, or if it is the body's
    /// or that of the system, which has no thread.
    fn failed(&self, failure: Failure<E>, of_all: bool) {
        self.outcome.record(failure);
        if of_all || !self.outcome.supervise {
            self.cancel(Reason::SiblingFailed);
        }
    }

    fn cancel(&self, reason: Reason) {
        self.outcome.cancel(reason);
        let waiting = std::mem::take(&mut self.lock().waiting);
        for job in waiting {
            job(false);
        }
    }
}

impl<E: Send + 'static> SyncOutcomes<E> {
    /// What is current in the body and the children.
    fn values(&self) -> Values {
        // In this order, so that a child which spawns a sibling finds both in its values.
        self.token.attach(enclose(Values::current(), &self.me))
    }

    /// Records a failure, or hands it to the one who asked for it.
    fn record(&self, mut failure: Failure<E>) {
        if let Some(on_failure) = &self.on_failure {
            // Unwind safety: the closure is shared, and says itself that it may be.
            match catch_unwind(AssertUnwindSafe(|| on_failure(failure))) {
                Ok(()) => return,
                Err(payload) => failure = Failure::Join(JoinError::panicked(payload)),
            }
        }
        self.keep(failure);
    }

    fn keep(&self, failure: Failure<E>) {
        let was_cancelled = self.token.is_cancelled();
        let surplus = lock(&self.ledger).record(failure, was_cancelled);
        surplus.into_iter().for_each(discard);
    }

    fn cancel(&self, reason: Reason) {
        if !self.token.is_cancelled() {
            lock(&self.ledger).by_itself = true;
        }
        self.token.cancel_with(reason);
    }

    /// Waits until nothing is left of what was in the children.
    fn poll_free(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone());
        let mut holds = lock(&self.holds);
        let poll = if holds.count == 0 {
            Poll::Ready(())
        } else {
            std::mem::swap(&mut holds.host, &mut waker);
            Poll::Pending
        };
        drop(holds);
        drop(waker);
        poll
    }

    fn reason(&self) -> Reason {
        // Not cancelled, it has no thread for the child.
        self.token.reason().unwrap_or(Reason::Shutdown)
    }

    fn failed_or_cancelled<T>(&self, error: E) -> SyncOutcome<T, E> {
        let cancelled = self.token.is_cancelled()
            && match &self.is_cancellation {
                // Unwind safety: it only looks; the error is kept as a failure.
                Some(says) => catch_unwind(AssertUnwindSafe(|| says(&error))).unwrap_or(false),
                None => is_cancellation(&error),
            };
        if cancelled {
            discard(error);
            SyncOutcome::Cancelled(self.reason())
        } else {
            SyncOutcome::Failed(Failure::Error(error))
        }
    }
}

impl<E: Send + 'static> Enclosing for SyncOutcomes<E> {
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>> {
        lock(&self.holds).count += 1;
        Some(Box::new(Held(self)))
    }

    fn killed(&self) -> CancellationToken {
        // Nothing drops a thread, nor what it has in it.
        CancellationToken::new()
    }

    fn drops(&self) -> bool {
        false
    }
}

struct Held<E: Send + 'static>(Arc<SyncOutcomes<E>>);

impl<E: Send + 'static> Hold for Held<E> {
    fn panicked(&mut self, payload: Payload) {
        self.0.record(Failure::Join(JoinError::panicked(payload)));
        if !self.0.supervise {
            // Those in line are ended by the threads that come to them.
            self.0.cancel(Reason::SiblingFailed);
        }
    }
}

impl<E: Send + 'static> Drop for Held<E> {
    fn drop(&mut self) {
        let mut holds = lock(&self.0.holds);
        holds.count -= 1;
        let host = if holds.count == 0 {
            holds.host.take()
        } else {
            None
        };
        drop(holds);
        host.into_iter().for_each(wake);
    }
}

/// What a run gives besides the verdict.
pub(crate) struct Ran<T, E> {
    pub(crate) verdict: Result<T, NurseryError<E>>,
    /// Was there any child?
    pub(crate) had_children: bool,
    /// Has anything failed of what is the nursery's to say? The body?
    pub(crate) has_failed: bool,
    pub(crate) body_failed: bool,
}

pub(crate) struct SyncSettings<E> {
    pub(crate) token: CancellationToken,
    pub(crate) limit: usize,
    pub(crate) supervise: bool,
    pub(crate) keep: usize,
    pub(crate) on_failure: Option<OnFailure<E>>,
    pub(crate) is_cancellation: Option<Says<E>>,
    pub(crate) wait: Arc<dyn Wait>,
}

/// Runs the body and all children to their end. To be called where blocking is allowed.
pub(crate) fn run<'env, T, E: Send + 'static>(
    settings: SyncSettings<E>,
    body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env, E>) -> Result<T, E>,
) -> Ran<T, E> {
    let outcome = Arc::new_cyclic(|me: &Weak<SyncOutcomes<E>>| SyncOutcomes {
        token: settings.token,
        supervise: settings.supervise,
        on_failure: settings.on_failure,
        is_cancellation: settings.is_cancellation,
        ledger: Mutex::new(Ledger::new(settings.keep)),
        wait: settings.wait,
        me: me.clone(),
        holds: Mutex::new(Holds::default()),
    });
    let mut had_children = false;
    let value = thread::scope(|scope| {
        let shared = Arc::new(SyncShared {
            outcome: outcome.clone(),
            line: Mutex::new(Line {
                limit: settings.limit,
                taken: 0,
                waiting: VecDeque::new(),
                spawned: false,
                host: None,
            }),
        });
        let nursery = SyncNursery {
            scope,
            shared: shared.clone(),
        };
        let values = outcome.values();
        // Unwind safety: what the body captured is gone with it; what it borrowed is as a
        // panic of a child would leave it too.
        let result = catch_unwind(AssertUnwindSafe(|| values.scope(|| body(nursery))));
        let (value, failure) = match result {
            Ok(Ok(value)) => (Some(value), None),
            Ok(Err(error)) => match outcome.failed_or_cancelled::<()>(error) {
                SyncOutcome::Failed(failure) => (None, Some(failure)),
                SyncOutcome::Done(()) | SyncOutcome::Cancelled(_) => (None, None),
            },
            Err(payload) => (None, Some(Failure::Join(JoinError::panicked(payload)))),
        };
        if let Some(failure) = failure {
            lock(&outcome.ledger).body_failed = true;
            outcome.keep(failure);
            shared.cancel(Reason::SiblingFailed);
        }
        // Whoever spawns later is a child of one that the body has spawned.
        had_children = shared.lock().spawned;
        let over = pin!(poll_fn(|cx| shared.poll_over(cx)));
        // Where nobody drives the runtime, the threads are joined without it.
        let _ = outcome.wait.wait(over);
        value
    });
    wait_for(&*outcome.wait, |cx| outcome.poll_free(cx));
    let ledger = std::mem::replace(&mut *lock(&outcome.ledger), Ledger::new(0));
    Ran {
        has_failed: ledger.has_failed(),
        body_failed: ledger.body_failed,
        verdict: ledger.verdict(value, outcome.token.reason()),
        had_children,
    }
}

/// What a thread that runs async code gets.
pub(crate) fn refusal<E>() -> Option<NurseryError<E>> {
    implement::check_may_block().err().map(|_| NurseryError {
        kind: Kind::Refused,
        failures: Vec::new(),
        not_kept: 0,
        cancelled: 0,
    })
}

// ---------------------------------------------------------------------------
// Handles

/// The handle of a child of a sync nursery.
///
/// Dropping it gives up the output; a failure that nobody has taken is the nursery's.
#[must_use = "without a handle a child costs less: use `spawn`"]
pub struct SyncHandle<T, E: Send + 'static> {
    slot: Arc<Slot<Result<T, ChildError<E>>>>,
    outcome: Arc<SyncOutcomes<E>>,
}

impl<T, E: Send + 'static> SyncHandle<T, E> {
    /// Has the child ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.slot.is_full()
    }

    /// Blocks until the child has ended, and gives its output.
    ///
    /// In an offloaded closure, the closure's place in the pool is lent meanwhile.
    ///
    /// A child that waits for another one which is behind it in line, in a nursery whose places
    /// are all taken by such as itself, waits for ever.
    ///
    /// # Errors
    ///
    /// [`ChildError`] if there is none. Under fail fast the failure itself is the nursery's.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, which must not block, at the caller's line (BL-2).
    #[track_caller]
    pub fn join(self) -> Result<T, ChildError<E>> {
        match self.try_join() {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`join`](Self::join) with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested) on a thread that runs async code; the output is
    /// given up then. Inside is what `join` returns.
    pub fn try_join(self) -> Result<Result<T, ChildError<E>>, BlockOnError> {
        implement::check_may_block()?;
        match wait_for(&*self.outcome.wait, |cx| self.slot.poll(cx)) {
            Ok(result) => Ok(result),
            Err(_) => unreachable!("the sink fills it with `Ok`"),
        }
    }
}

impl<T, E: Send + 'static> Drop for SyncHandle<T, E> {
    fn drop(&mut self) {
        // In one step: the child may be ending at this moment.
        match self.slot.give_up() {
            Some(Ok(Err(error))) => {
                // There is one if the nursery supervises: nobody else is cancelled by it.
                if let Some(failure) = error.into_failure() {
                    self.outcome.record(failure);
                }
            }
            output => discard(output),
        }
    }
}

impl<T, E: Send + 'static> fmt::Debug for SyncHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Blocks until there is something, where blocking is allowed.
fn wait_for<T>(wait: &dyn Wait, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let mut ready = None;
    let waited = {
        let waiting = pin!(async { ready = Some(poll_fn(&mut poll).await) });
        wait.wait(waiting)
    };
    match (waited, ready) {
        (Ok(()), Some(output)) => output,
        // Nobody drives the runtime: by the thread's own means.
        _ => park_for(poll),
    }
}

fn park_for<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let bell = Arc::new(Bell {
        thread: thread::current(),
        rung: AtomicBool::new(false),
    });
    let waker = Waker::from(bell.clone());
    loop {
        if let Poll::Ready(output) = poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // Acquire: pairs with the release in `wake`. A token of the thread that was meant for
        // another wait only makes this one look once more.
        while !bell.rung.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// Wakes a thread.
struct Bell {
    thread: thread::Thread,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

struct HandleSink<T, E>(Arc<Slot<Result<T, ChildError<E>>>>);

impl<T: Send, E: Send> SyncSink<T, E> for HandleSink<T, E> {
    fn take(
        self,
        outcome: SyncOutcome<T, E>,
        supervise: bool,
        fail: &dyn Fn(Failure<E>),
    ) -> SyncOutcome<(), E> {
        let (result, rest) = split(outcome, supervise);
        let rest = match rest {
            // Before the handle says so: whoever reads it and fails because of it comes second.
            SyncOutcome::Failed(failure) => {
                fail(failure);
                SyncOutcome::Done(())
            }
            rest => rest,
        };
        let unwanted = self.0.seal(Ok(result));
        self.0.unseal();
        match unwanted {
            None => rest,
            Some(Ok(Err(error))) => error.into_failure().map_or(rest, SyncOutcome::Failed),
            Some(unwanted) => {
                discard(unwanted);
                rest
            }
        }
    }
}

/// What is the handle's, and what the nursery's.
pub(crate) fn split<T, E>(
    outcome: SyncOutcome<T, E>,
    supervise: bool,
) -> (Result<T, ChildError<E>>, SyncOutcome<(), E>) {
    match outcome {
        SyncOutcome::Done(output) => (Ok(output), SyncOutcome::Done(())),
        SyncOutcome::Failed(failure) if supervise => {
            (Err(ChildError::failed(failure)), SyncOutcome::Done(()))
        }
        SyncOutcome::Failed(failure) => (Err(ChildError::told()), SyncOutcome::Failed(failure)),
        SyncOutcome::Cancelled(reason) => (
            Err(ChildError::cancelled(reason.clone())),
            SyncOutcome::Cancelled(reason),
        ),
    }
}

// ---------------------------------------------------------------------------
// Outputs of one type

/// A sync nursery whose children have outputs of one type, which are what it is for. What the
/// bodies of [`SyncBuilder::try_collect`], [`SyncBuilder::collect`] and
/// [`SyncBuilder::first_success`] get. A clone is the same nursery.
pub struct SyncCollect<'scope, 'env, T, E> {
    nursery: SyncNursery<'scope, 'env, E>,
    pub(crate) outputs: Outputs<T, E>,
}

pub(crate) type Outputs<T, E> = Arc<Mutex<Kept<T, E>>>;

pub(crate) struct Kept<T, E> {
    pub(crate) first_alone: bool,
    pub(crate) results: Vec<Option<Result<T, ChildError<E>>>>,
}

impl<'scope, 'env, T: Send + 'scope, E: Send + 'static> SyncCollect<'scope, 'env, T, E> {
    pub(crate) fn new(nursery: SyncNursery<'scope, 'env, E>, outputs: Outputs<T, E>) -> Self {
        Self { nursery, outputs }
    }

    /// As [`SyncNursery::spawn`].
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

struct CollectSink<T, E> {
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
        // Those who wait for the first success keep the failures of the others as failures.
        let (result, rest) = split(outcome, supervise && !self.first_alone);
        // There was nothing before that could have a destructor.
        lock(&self.outputs).results[self.at] = Some(result);
        rest
    }

    fn ends_it(&self) -> bool {
        self.first_alone
    }
}
