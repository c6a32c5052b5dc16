//! Keeping panics where they belong: [`Contain`] and its parts.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    Payload, context,
    implement::{self, RuntimeId},
    sync::thread_local,
};

pin_project! {
    /// The future that an adapter spawns in place of the user's.
    ///
    /// It marks the thread while the user's future is polled or destroyed
    /// ([the current context is exact][CX-1]), catches its panics and keeps their payload ([a panic
    /// reaches the joiner][JO-3]), and destroys it before the output is handed over ([destroyed
    /// before the join][JO-2]). It adds no allocation.
    ///
    /// If it is destroyed unfinished, and the user's destructor panics, then
    /// `P` gets the payload ([destructors that panic or block][CA-4]). If the destructor panics
    /// after the future was ready, the result is that panic, as it would be for a
    /// function whose locals panic when it returns.
    ///
    /// [CX-1]: crate::contract#CX-1
    /// [JO-3]: crate::contract#JO-3
    /// [JO-2]: crate::contract#JO-2
    /// [CA-4]: crate::contract#CA-4
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Contain<F, P>
    where
        P: OnDropPanic,
    {
        // `None` once it has been destroyed.
        #[pin]
        future: Option<F>,
        runtime: Option<RuntimeId>,
        on_drop_panic: P,
    }

    impl<F, P> PinnedDrop for Contain<F, P>
    where
        P: OnDropPanic,
    {
        #[inline]
        fn drop(this: Pin<&mut Self>) {
            if !std::mem::needs_drop::<F>() {
                return;
            }
            let this = this.project();
            if let Err(payload) = destroy_contained(this.future, *this.runtime) {
                this.on_drop_panic.report(payload);
            }
        }
    }
}

impl<F, P: OnDropPanic> Contain<F, P> {
    /// Wraps `future`, which will run on `runtime`.
    pub fn new(future: F, runtime: Option<RuntimeId>, on_drop_panic: P) -> Self {
        Self {
            future: Some(future),
            runtime,
            on_drop_panic,
        }
    }
}

impl<F: Future, P: OnDropPanic> Future for Contain<F, P> {
    type Output = Outcome<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let on_panic = this.on_drop_panic;
        if !on_panic.may_poll() {
            return Poll::Pending;
        }
        poll_with(
            this.future,
            *this.runtime,
            cx,
            |output| Outcome(Some(Ok(output))),
            |payload| Outcome(Some(Err(Box::new(on_panic.caught(payload))))),
        )
    }
}

impl<F, P: OnDropPanic> fmt::Debug for Contain<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contain")
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

/// What an adapter does with a destructor's panic that has no result to go into, and its other
/// choices about its futures.
pub trait OnDropPanic {
    /// Takes the payload. The panic hook has run already.
    fn report(&self, payload: Payload);

    /// May the future be polled? If not, it is about to be destroyed: for executors whose
    /// way to cancel may take effect a moment after it was asked for ([cancelled promptly][CA-2]).
    ///
    /// [CA-2]: crate::contract#CA-2
    #[inline]
    #[must_use]
    fn may_poll(&self) -> bool {
        true
    }

    /// Sees the payload of a poll's panic before it goes into the outcome, for executors that may
    /// lose the outcome. Returns the payload to put there; by default, the same one.
    #[must_use]
    fn caught(&self, payload: Payload) -> Payload {
        payload
    }
}

/// Lets the panic go on, for executors that catch it and keep its payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rethrow;

impl OnDropPanic for Rethrow {
    fn report(&self, payload: Payload) {
        // A second panic during unwinding would abort the process.
        if std::thread::panicking() {
            discard(payload);
        } else {
            std::panic::resume_unwind(payload);
        }
    }
}

/// Polls a future with the thread marked and its panics caught, and destroys it
/// as soon as it is ready or has panicked.
///
/// # Panics
///
/// If the future has been destroyed already.
#[inline]
pub fn poll_contained<F: Future>(
    slot: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Payload>> {
    poll_with(slot, runtime, cx, Ok, Err)
}

/// [`poll_contained`], with something done to the result in place.
///
/// Each copy of an output costs stack without optimisation, and outputs may be large. With
/// optimisation it costs time, because a value that was written in parts is slow to read as a
/// whole. So the output is written where the caller wants it.
#[inline]
fn poll_with<F: Future, R>(
    mut slot: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
    cx: &mut Context<'_>,
    ready: impl Fn(F::Output) -> R,
    panicked: impl FnOnce(Payload) -> R,
) -> Poll<R> {
    const AGAIN: &str = "a task's future was polled after it was ready";
    assert!(slot.is_some(), "{AGAIN}");
    let _mark = implement::enter(context::Context::Async, runtime);
    let mut poll = Poll::Pending;
    // Unwind safety: a future that has panicked is destroyed, never polled again;
    // and assigning `None` leaves `None` behind even if the destructor panics.
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let future = slot.as_mut().as_pin_mut();
        let future = future.expect(AGAIN);
        poll = future.poll(cx).map(&ready);
        if poll.is_ready() {
            slot.set(None);
        }
    }));
    if let Err(payload) = unwound {
        // The panic of the future, which must still be destroyed, or of its destructor.
        let result = panicked(payload);
        if slot.is_some() {
            let destroyed = catch_unwind(AssertUnwindSafe(|| slot.set(None)));
            destroyed.unwrap_or_else(discard_payload);
        }
        give_instead(&mut poll, result);
    }
    poll
}

/// A separate function, so that its copies take no stack on the usual path.
#[cold]
#[inline(never)]
fn give_instead<R>(poll: &mut Poll<R>, result: R) {
    discard(std::mem::replace(poll, Poll::Ready(result)));
}

/// Destroys a future, if it is still there, with the thread marked; a panic of
/// its destructor is returned.
///
/// # Errors
///
/// The payload of the destructor's panic.
#[inline]
pub fn destroy_contained<F>(
    mut slot: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
) -> Result<(), Payload> {
    if slot.is_none() {
        return Ok(());
    }
    let _mark = implement::enter(context::Context::Async, runtime);
    // Unwind safety: assigning `None` leaves `None` behind even if the old
    // value's destructor panics.
    implement::destroying(runtime, || {
        catch_unwind(AssertUnwindSafe(|| slot.set(None)))
    })
}

/// Drops an unwanted value. A panic of its destructor has been reported by the panic hook, and ends
/// here.
pub fn discard<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        discard_payload(payload);
    }
}

/// Drops a panic payload, whose destructor may panic again.
fn discard_payload(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload's destructor may panic with another such payload. Leaking it ends the chain.
        std::mem::forget(again);
    }
}

/// The outcome of a [`Contain`]: the output, or the payload of the panic; or neither, because the
/// runtime [destroyed](Self::destroyed) the future.
///
/// An output that is not taken is dropped with its panics contained: it may be dropped on a worker
/// thread (a detached task) or in a handle's destructor, and neither may be unwound.
// The payload in one more box, so that an outcome is hardly larger than an output.
pub struct Outcome<T>(Option<Result<T, Box<Payload>>>);

impl<T> Outcome<T> {
    /// Neither output nor panic: the runtime is going away, and has destroyed
    /// the future.
    ///
    /// For executors that cannot end a task without an outcome. The joiner is
    /// told that the task was shut down ([reasons are told apart][JO-4]).
    ///
    /// [JO-4]: crate::contract#JO-4
    #[must_use]
    pub fn destroyed() -> Self {
        Self(None)
    }

    /// Takes the result out; `None` if the runtime
    /// [destroyed](Self::destroyed) the future.
    #[inline]
    #[must_use]
    pub fn into_option(mut self) -> Option<Result<T, Payload>> {
        self.0
            .take()
            .map(|result| result.map_err(|payload| *payload))
    }

    /// Takes the result out.
    ///
    /// # Errors
    ///
    /// The payload, if the future panicked.
    ///
    /// # Panics
    ///
    /// If there is neither, see [`destroyed`](Self::destroyed).
    #[inline]
    pub fn into_result(mut self) -> Result<T, Payload> {
        self.0
            .take()
            .expect("only executors that make `Outcome::destroyed` receive it")
            .map_err(|payload| *payload)
    }
}

impl<T> Drop for Outcome<T> {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            unwanted(&mut self.0);
        }
    }
}

#[cold]
#[inline(never)]
fn unwanted<T>(result: &mut Option<Result<T, Box<Payload>>>) {
    // Off again before the destructor, which may have an executor drop other outcomes.
    if HERE.replace(false) {
        return discard(result.take());
    }
    // On an executor's thread, which must not be blocked (BL-2, no blocking in async code).
    let _mark = implement::enter(context::Context::Async, None);
    discard(result.take());
}

thread_local! {
    /// Is an outcome to be dropped in the thread's own context?
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`, which drops an executor's own handle, and perhaps an [`Outcome`] with it. That is
/// destroyed in the context of the caller, who dropped the handle ([the current context is
/// exact][CX-1]), and not as it is on an executor's own threads: as async code.
///
/// [CX-1]: crate::contract#CX-1
#[inline]
pub fn drop_outcome_here<R>(f: impl FnOnce() -> R) -> R {
    /// Also if `f` unwinds.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            HERE.set(self.0);
        }
    }
    let _before = Before(HERE.replace(true));
    f()
}

impl<T> fmt::Debug for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Some(Ok(_)) => "Outcome::Output(..)",
            Some(Err(_)) => "Outcome::Panic(..)",
            None => "Outcome::Destroyed",
        })
    }
}
