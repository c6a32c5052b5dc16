//! A child before it is started, [`Unstarted`], and the work that a runtime runs for it:
//! [`TaskChild`] or [`ClosureChild`].
//!
//! Each tells the nursery when it has ended, exactly once, after all the user's values are
//! destroyed (NU-1, no child outlives its nursery): when it was ready, panicked, was cancelled, or
//! was dropped by the runtime.

use std::{
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    JoinError, Payload, Runtime,
    cancel::WaitForCancellation,
    implement::{LeftWaker, destroy_contained, discard, poll_contained, refusal},
    task::Metadata,
};
use pin_project_lite::pin_project;

use crate::{
    carried::{Carried, Travel},
    error::{Failure, SpawnError},
    shared::{Admission, End, Number, Shared, Stake},
    shield::Shields,
    spawned,
};

/// How a child ended, before it is reported.
pub(crate) enum Outcome<T, E> {
    Done(T),
    Failed(Failure<E>),
    Cancelled,
}

/// The receiver of a child's outcome. Called in the child's task, or wherever the child is
/// destroyed, before the nursery is told.
pub(crate) trait Sink<R: Runtime, T, E>: Send + 'static {
    /// Takes its part, and gives the rest for the nursery.
    fn take(self, outcome: Outcome<T, E>, shared: &Shared<R, E>) -> End<E>;
}

/// Takes no output.
pub(crate) struct NoSink;

impl<R: Runtime, T, E> Sink<R, T, E> for NoSink {
    fn take(self, outcome: Outcome<T, E>, _: &Shared<R, E>) -> End<E> {
        match outcome {
            Outcome::Done(output) => {
                discard(output);
                End::Done
            }
            Outcome::Failed(failure) => End::Failed(failure),
            Outcome::Cancelled => End::Cancelled,
        }
    }
}

fn outcome_of<R, T, E>(
    shared: &Shared<R, E>,
    metadata: &Metadata,
    result: Result<Result<T, E>, Payload>,
) -> Outcome<T, E>
where
    R: Runtime,
    E: Send + 'static,
{
    match result {
        Ok(output) => outcome_of_output(shared, output),
        Err(payload) => panicked(metadata, payload),
    }
}

pub(crate) fn outcome_of_output<R, T, E>(
    shared: &Shared<R, E>,
    output: Result<T, E>,
) -> Outcome<T, E>
where
    R: Runtime,
    E: Send + 'static,
{
    match output {
        Ok(output) => Outcome::Done(output),
        Err(error) if shared.is_cancellation(&error) => {
            discard(error);
            Outcome::Cancelled
        }
        Err(error) => Outcome::Failed(Failure::Error(error)),
    }
}

#[cold]
fn panicked<T, E>(metadata: &Metadata, payload: Payload) -> Outcome<T, E> {
    failed_to_join(metadata, JoinError::panicked(payload))
}

#[cold]
fn failed_to_join<T, E>(metadata: &Metadata, mut error: JoinError) -> Outcome<T, E> {
    error.set_task(metadata);
    Outcome::Failed(Failure::Join(error))
}

/// The outcome of a child that was destroyed unfinished.
fn unfinished<R, T, E>(
    shared: &Shared<R, E>,
    metadata: &Metadata,
    destroyed: Result<(), Payload>,
) -> Outcome<T, E>
where
    R: Runtime,
    E: Send + 'static,
{
    match destroyed {
        Err(payload) => panicked(metadata, payload),
        Ok(()) if shared.is_asked() || shared.drops_all() => Outcome::Cancelled,
        // Only the runtime asked for it, which has been shut down or had no thread.
        Ok(()) => failed_to_join(metadata, refusal()),
    }
}

/// Tells the sink, then the nursery. Nobody is told in a forked child, in which a child that has
/// forked may end: the nursery is the parent's, and its locks may be held (FK-1, forked children).
fn report<R, S, T, E>(sink: S, outcome: Outcome<T, E>, shared: Arc<Shared<R, E>>, stake: Stake)
where
    R: Runtime,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    if shared.is_inherited() {
        return report_to_nobody(sink, outcome, shared);
    }
    let end = sink.take(outcome, &shared);
    shared.ended(end, stake);
}

#[cold]
fn report_to_nobody<S, T, E, N>(sink: S, outcome: Outcome<T, E>, nursery: N) {
    // Never the last to hold anything of the parent's.
    std::mem::forget((sink, nursery));
    discard(outcome);
}

// ---------------------------------------------------------------------------
// Tasks

pin_project! {
    /// The future that is spawned for a child.
    ///
    /// It is moved about ten times on its way into the runtime's task. So it has only what each
    /// child needs: above 128 bytes the compiler calls `memcpy`, whose wide loads wait for the
    /// narrow stores with which it was put together.
    pub(crate) struct TaskChild<R: Runtime, F, S, T, E>
    where
        F: Future<Output = Result<T, E>>,
        S: Sink<R, T, E>,
        E: Send,
        E: 'static,
    {
        // `None` once it has been destroyed.
        #[pin]
        future: Option<F>,
        // Empty once it has been destroyed.
        carried: Carried,
        shields: Shields,
        // For the child's error.
        metadata: Metadata,
        // Until the nursery has been told.
        told: Option<(S, Arc<Shared<R, E>>)>,
        waiting: Waiting,
    }

    impl<R: Runtime, F, S, T, E> PinnedDrop for TaskChild<R, F, S, T, E>
    where
        F: Future<Output = Result<T, E>>,
        S: Sink<R, T, E>,
        E: Send,
        E: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some((sink, shared)) = this.told.take() else {
                return;
            };
            // The waker goes too: it is this task's own, and the user's values may be in it.
            this.waiting.end(&shared);
            let (future, carried) = (this.future.as_mut(), &mut *this.carried);
            let destroyed = spawned::within(this.metadata, || {
                carried.within(|| destroy_contained(future, None))
            });
            discard(this.carried.take());
            let outcome = unfinished(&shared, this.metadata, destroyed);
            report(sink, outcome, shared, Stake::Place);
        }
    }
}

/// How a child that is suspended learns that it must be dropped. While the waker is the same, a
/// poll need not look at the token's list, which has a lock.
enum Waiting {
    Not,
    /// For the nursery's cancellation, with [`Shared::hard`].
    Hard(LeftWaker),
    /// In a shield, for the end of the nursery's future. Boxed, because it is rare.
    Shielded(Box<Shielded>),
}

struct Shielded {
    token: WaitForCancellation,
    waker: Waker,
}

impl Waiting {
    fn end<R: Runtime, E: Send + 'static>(&mut self, shared: &Shared<R, E>) {
        let waiting = mem::replace(self, Self::Not);
        if matches!(waiting, Self::Not) {
            return;
        }
        if shared.is_inherited() {
            // The token's lock is the parent's (FK-1, forked children).
            return mem::forget(waiting);
        }
        if let Self::Hard(left) = waiting {
            left.take_back(shared.hard());
        }
    }
}

impl<R, F, S, T, E> TaskChild<R, F, S, T, E>
where
    R: Runtime,
    F: Future<Output = Result<T, E>>,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    /// Makes a child that the nursery has let in and that has a place.
    fn new(
        future: F,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: Arc<Shared<R, E>>,
    ) -> Self {
        Self {
            future: Some(future),
            carried,
            shields: Shields::default(),
            metadata,
            told: Some((sink, shared)),
            waiting: Waiting::Not,
        }
    }
}

impl<R, F, S, T, E> Future for TaskChild<R, F, S, T, E>
where
    R: Runtime,
    F: Future<Output = Result<T, E>>,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some((_, shared)) = &*this.told else {
            return Poll::Ready(());
        };
        let mut outcome = None;
        if !shared.is_to_be_dropped(this.shields.any()) {
            let future = this.future.as_mut();
            let (carried, metadata) = (&mut *this.carried, &*this.metadata);
            let poll = this.shields.around(|| {
                spawned::within(metadata, || {
                    carried.within(|| poll_contained(future, None, cx))
                })
            });
            if let Poll::Ready(result) = poll {
                outcome = Some(outcome_of(shared, this.metadata, result));
            } else if !wait(this.waiting, shared, this.shields.any(), cx) {
                return Poll::Pending;
            }
        }
        // The waker goes too: it is this task's own, and may be the last to keep the task.
        this.waiting.end(shared);
        let outcome = outcome.unwrap_or_else(|| {
            let future = this.future.as_mut();
            let (carried, metadata) = (&mut *this.carried, &*this.metadata);
            let destroyed = spawned::within(metadata, || {
                carried.within(|| destroy_contained(future, None))
            });
            unfinished(shared, this.metadata, destroyed)
        });
        discard(this.carried.take());
        if let Some((sink, shared)) = this.told.take() {
            report(sink, outcome, shared, Stake::Place);
        }
        Poll::Ready(())
    }
}

/// Makes sure that the child is polled again when it must be dropped. `true` if it must be dropped
/// already.
fn wait<R, E>(
    waiting: &mut Waiting,
    shared: &Shared<R, E>,
    in_shield: bool,
    cx: &mut Context<'_>,
) -> bool
where
    R: Runtime,
    E: Send + 'static,
{
    // A shielded child that is not cancelled waits for the cancellation as any other does. It must
    // be polled then, to wait for the end of the nursery's future from there on.
    let shielded = in_shield && shared.drops_all();
    let ready = wait_for(waiting, shared, shielded, cx);
    if ready && in_shield && !shielded {
        // The cancellation came after that look. It does not drop a child in a shield.
        return wait_for(waiting, shared, true, cx);
    }
    ready
}

/// Waits for the nursery's cancellation, or, in a shield, for the end of the nursery's future. `true`
/// if that is over. In a forked child, nothing is waited for: the tokens' locks are the parent's.
fn wait_for<R, E>(
    waiting: &mut Waiting,
    shared: &Shared<R, E>,
    shielded: bool,
    cx: &mut Context<'_>,
) -> bool
where
    R: Runtime,
    E: Send + 'static,
{
    if shielded {
        return wait_in_shield(waiting, shared, cx);
    }
    let before = match mem::replace(waiting, Waiting::Not) {
        Waiting::Hard(left) => {
            if left.is(cx.waker()) && !shared.drops_all() {
                *waiting = Waiting::Hard(left);
                return false;
            }
            Some(left)
        }
        Waiting::Not | Waiting::Shielded(_) => None,
    };
    if shared.is_inherited() {
        return false;
    }
    match LeftWaker::leave(before, shared.hard(), cx.waker()) {
        Some(left) => {
            *waiting = Waiting::Hard(left);
            false
        }
        None => true,
    }
}

#[cold]
fn wait_in_shield<R, E>(waiting: &mut Waiting, shared: &Shared<R, E>, cx: &mut Context<'_>) -> bool
where
    R: Runtime,
    E: Send + 'static,
{
    if shared.is_inherited() {
        return false;
    }
    if let Waiting::Shielded(known) = waiting {
        if known.waker.will_wake(cx.waker()) && !shared.is_to_be_dropped(true) {
            return false;
        }
        known.waker.clone_from(cx.waker());
        return Pin::new(&mut known.token).poll(cx).is_ready();
    }
    waiting.end(shared);
    let mut fresh = Box::new(Shielded {
        token: shared.kill_token().cancelled(),
        waker: cx.waker().clone(),
    });
    let ready = Pin::new(&mut fresh.token).poll(cx).is_ready();
    *waiting = Waiting::Shielded(fresh);
    ready
}

// ---------------------------------------------------------------------------
// Closures

/// The closure that is offloaded for a child.
pub(crate) struct ClosureChild<R: Runtime, F, S, T, E>
where
    F: FnOnce() -> Result<T, E>,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    closure: Option<F>,
    carried: Option<Carried>,
    metadata: Metadata,
    told: Option<(S, Arc<Shared<R, E>>)>,
    stake: Stake,
}

impl<R, F, S, T, E> ClosureChild<R, F, S, T, E>
where
    R: Runtime,
    F: FnOnce() -> Result<T, E> + Send + 'static,
    S: Sink<R, T, E>,
    T: Send + 'static,
    E: Send + 'static,
{
    /// Sends it to the pool. The nursery has let it in, and it has a place.
    fn start(closure: F, metadata: Metadata, carried: Carried, sink: S, shared: Arc<Shared<R, E>>) {
        let number = shared.closure_number();
        let child = Self {
            closure: Some(closure),
            carried: Some(carried),
            metadata: metadata.clone(),
            told: Some((sink, shared.clone())),
            stake: Stake::Closure(number),
        };
        let handle = shared.runtime.offload_with(metadata, move || child.run());
        shared.keep_closure(number, handle);
    }

    fn run(mut self) {
        let (Some(closure), Some((sink, shared))) = (self.closure.take(), self.told.take()) else {
            return;
        };
        let carried = self.carried.take();
        // Unwind safety: the closure's captures are destroyed with it.
        let result = catch_unwind(AssertUnwindSafe(|| {
            spawned::within(&self.metadata, || match carried {
                Some(carried) => carried.scope(closure),
                None => closure(),
            })
        }));
        let outcome = outcome_of(&shared, &self.metadata, result);
        report(sink, outcome, shared, self.stake);
    }
}

impl<R: Runtime, F, S, T, E> Drop for ClosureChild<R, F, S, T, E>
where
    F: FnOnce() -> Result<T, E>,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    fn drop(&mut self) {
        let Some((sink, shared)) = self.told.take() else {
            return;
        };
        let (closure, carried) = (self.closure.take(), self.carried.take());
        let destroyed = destroy(closure, carried, &self.metadata);
        let outcome = unfinished(&shared, &self.metadata, destroyed);
        report(sink, outcome, shared, self.stake);
    }
}

// ---------------------------------------------------------------------------
// Before

/// A future, a closure or a call, and how a child is made of it.
pub(crate) trait Work<R: Runtime, T: 'static, E: Send + 'static>:
    Send + Sized + 'static
{
    /// The nursery has let it in, and it has a place.
    #[track_caller]
    fn start<S: Sink<R, T, E>>(
        self,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: &Arc<Shared<R, E>>,
    );

    /// The nursery has let it in, and it waits for a place under that number.
    #[track_caller]
    fn line_up<S: Sink<R, T, E>>(
        self,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: &Arc<Shared<R, E>>,
        number: Number,
    ) {
        let child = Unstarted::new(self, metadata, carried, sink, shared.clone());
        shared.put_in_line(number, Box::new(move || child.start()));
    }
}

pub(crate) struct Task<F>(pub(crate) F);
pub(crate) struct Closure<F>(pub(crate) F);

impl<R, T, E, F> Work<R, T, E> for Task<F>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    fn start<S: Sink<R, T, E>>(
        self,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: &Arc<Shared<R, E>>,
    ) {
        spawn(self.0, metadata, carried, sink, shared);
    }
}

impl<R, T, E, F> Work<R, T, E> for Closure<F>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    fn start<S: Sink<R, T, E>>(
        self,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: &Arc<Shared<R, E>>,
    ) {
        ClosureChild::start(self.0, metadata, carried, sink, shared.clone());
    }
}

/// Spawns a child that the nursery has let in and that has a place.
pub(crate) fn spawn<R, F, S, T, E>(
    future: F,
    metadata: Metadata,
    carried: Carried,
    sink: S,
    shared: &Arc<Shared<R, E>>,
) where
    R: Runtime,
    F: Future<Output = Result<T, E>> + Send + 'static,
    S: Sink<R, T, E>,
    T: Send + 'static,
    E: Send + 'static,
{
    let child = TaskChild::new(future, metadata.clone(), carried, sink, shared.clone());
    shared.runtime.spawn_detached_with(metadata, child);
}

/// A child that the nursery has let in and that waits for its place.
pub(crate) struct Unstarted<R, W, S, T, E>
where
    R: Runtime,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    work: Option<W>,
    metadata: Metadata,
    carried: Option<Carried>,
    told: Option<(S, Arc<Shared<R, E>>)>,
    output: std::marker::PhantomData<fn() -> T>,
}

impl<R, W, S, T, E> Unstarted<R, W, S, T, E>
where
    R: Runtime,
    W: Work<R, T, E>,
    S: Sink<R, T, E>,
    T: 'static,
    E: Send + 'static,
{
    fn new(
        work: W,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: Arc<Shared<R, E>>,
    ) -> Self {
        Self {
            work: Some(work),
            metadata,
            carried: Some(carried),
            told: Some((sink, shared)),
            output: std::marker::PhantomData,
        }
    }

    fn start(mut self) {
        let parts = (self.work.take(), self.carried.take(), self.told.take());
        if let (Some(work), Some(carried), Some((sink, shared))) = parts {
            work.start(self.metadata.clone(), carried, sink, &shared);
        }
    }
}

impl<R, W, S, T, E> Drop for Unstarted<R, W, S, T, E>
where
    R: Runtime,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    fn drop(&mut self) {
        let Some((sink, shared)) = self.told.take() else {
            return;
        };
        let (work, carried) = (self.work.take(), self.carried.take());
        let destroyed = destroy(work, carried, &self.metadata);
        let outcome = unfinished(&shared, &self.metadata, destroyed);
        report(sink, outcome, shared, Stake::NoPlace);
    }
}

/// Destroys unused work, with its context current.
fn destroy<W>(
    work: Option<W>,
    carried: Option<Carried>,
    metadata: &Metadata,
) -> Result<(), Payload> {
    // Unwind safety: it is gone either way.
    catch_unwind(AssertUnwindSafe(|| {
        spawned::within(metadata, || match carried {
            Some(carried) => carried.scope(|| drop(work)),
            None => drop(work),
        })
    }))
}

/// Lets `work` in and starts it, or, if it may wait, puts it in line: then its number is
/// returned.
#[track_caller]
pub(crate) fn admit<R, W, S, T, E>(
    shared: &Arc<Shared<R, E>>,
    work: W,
    metadata: Metadata,
    sink: S,
    travel: &Travel,
    may_wait: bool,
) -> Result<Option<Number>, SpawnError<(W, S)>>
where
    R: Runtime,
    W: Work<R, T, E>,
    S: Sink<R, T, E>,
    T: 'static,
    E: Send + 'static,
{
    let carried = travel.pack(shared);
    match shared.admit(may_wait) {
        Ok(Admission::Start) => {
            work.start(metadata, carried, sink, shared);
            Ok(None)
        }
        Ok(Admission::InLine(number)) => {
            work.line_up(metadata, carried, sink, shared, number);
            Ok(Some(number))
        }
        Err(refusal) => Err(SpawnError {
            refusal,
            work: (work, sink),
        }),
    }
}

/// Ends `work` that the nursery has not let in, and that nobody takes back, as a cancelled child
/// ends.
pub(crate) fn refuse<R, W, S, T, E>(
    shared: &Arc<Shared<R, E>>,
    work: W,
    metadata: &Metadata,
    sink: S,
    travel: &Travel,
) where
    R: Runtime,
    S: Sink<R, T, E>,
    E: Send + 'static,
{
    let destroyed = destroy(Some(work), Some(travel.pack(shared)), metadata);
    if shared.is_inherited() {
        discard(destroyed);
        std::mem::forget(sink);
        return;
    }
    let outcome = match destroyed {
        Ok(()) => Outcome::Cancelled,
        Err(payload) => panicked(metadata, payload),
    };
    match sink.take(outcome, shared) {
        End::Failed(failure) => shared.failed(failure),
        End::Cancelled => shared.count_refused(),
        End::Done | End::Deferred => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::Ready;

    use fourway_core::AnyRuntime;

    use super::{NoSink, TaskChild};

    /// With a small future, a child in the runtime's task has to stay below 128 bytes.
    #[test]
    fn a_child_is_small_enough_to_be_moved_without_memcpy() {
        type Child<F> = TaskChild<AnyRuntime, F, NoSink, (), ()>;
        let size = size_of::<Child<Ready<Result<(), ()>>>>();
        // The runtime's own part: which runtime it is, the stage of the task, its number.
        let beside = 32;
        // A span, if children have one.
        let span = if cfg!(feature = "tracing") { 40 } else { 0 };
        assert!(size + beside <= 128 + span, "{size} bytes");
    }
}
