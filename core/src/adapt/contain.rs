//! Keeping panics where they belong: [`Contain`] and its parts.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    Payload,
    context::{self, RuntimeId},
};

pin_project! {
    /// The future that an adapter spawns in place of the user's.
    ///
    /// It marks the thread while the user's future is polled or destroyed
    /// (CX-1), catches its panics and keeps their payload (JO-3), and destroys
    /// it before the output is handed over (JO-2). It adds no allocation.
    ///
    /// If it is destroyed unfinished, and the user's destructor panics, then
    /// `P` gets the payload (CA-4). If the destructor panics after
    /// the future was ready, the result is that panic, as it would be for a
    /// function whose locals panic when it returns.
    pub struct Contain<F, P>
    where
        P: OnDropPanic,
    {
        // `None` once it has been destroyed.
        #[pin]
        future: Option<F>,
        runtime: Option<RuntimeId>,
        on_drop_panic: Option<P>,
    }

    impl<F, P> PinnedDrop for Contain<F, P>
    where
        P: OnDropPanic,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Err(payload) = destroy_contained(this.future, *this.runtime) {
                if let Some(report) = this.on_drop_panic.take() {
                    report.report(payload);
                }
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
            on_drop_panic: Some(on_drop_panic),
        }
    }
}

impl<F: Future, P: OnDropPanic> Future for Contain<F, P> {
    type Output = Outcome<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut poll = poll_contained(this.future, *this.runtime, cx).map(Outcome::new);
        if let Poll::Ready(Outcome(Some(Err(payload)))) = &mut poll {
            if let Some(on_drop_panic) = this.on_drop_panic.take() {
                let original = std::mem::replace(payload, Box::new(()));
                *payload = on_drop_panic.caught(original);
            }
        }
        poll
    }
}

impl<F, P: OnDropPanic> fmt::Debug for Contain<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contain")
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

/// What to do with the panic of a destructor for which there is no result to
/// put it in.
pub trait OnDropPanic {
    /// Takes the payload. The panic hook has run already.
    fn report(self, payload: Payload);

    /// Sees the payload of a poll's panic before it goes into the outcome, for
    /// executors that may lose that. Returns what to put there; this default,
    /// the payload.
    #[must_use]
    fn caught(self, payload: Payload) -> Payload
    where
        Self: Sized,
    {
        payload
    }
}

/// Lets the panic go on, for executors that catch it and keep its payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rethrow;

impl OnDropPanic for Rethrow {
    fn report(self, payload: Payload) {
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
pub fn poll_contained<F: Future>(
    mut slot: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Payload>> {
    let _mark = context::enter(context::Context::Async, runtime);
    let future = slot
        .as_mut()
        .as_pin_mut()
        .expect("a task's future was polled after it was ready");
    // The output goes to its place from inside, and not through the results of
    // the calls: without optimisation, each of them is one more copy on the
    // stack, and outputs may be large.
    let mut poll = Poll::Pending;
    // Unwind safety: a future that has panicked is destroyed, never polled again.
    let caught = catch_unwind(AssertUnwindSafe(|| poll = future.poll(cx).map(Ok)));
    if let Err(payload) = caught {
        poll = Poll::Ready(Err(payload));
    }
    if poll.is_ready() {
        let destroyed = catch_unwind(AssertUnwindSafe(|| slot.set(None)));
        if let Err(payload) = destroyed {
            match &poll {
                Poll::Ready(Err(_)) => discard(payload),
                _ => discard(std::mem::replace(&mut poll, Poll::Ready(Err(payload)))),
            }
        }
    }
    poll
}

/// Destroys a future, if it is still there, with the thread marked; a panic of
/// its destructor is returned.
///
/// # Errors
///
/// The payload of the destructor's panic.
pub fn destroy_contained<F>(
    mut slot: Pin<&mut Option<F>>,
    runtime: Option<RuntimeId>,
) -> Result<(), Payload> {
    if slot.is_none() {
        return Ok(());
    }
    let _mark = context::enter(context::Context::Async, runtime);
    // Unwind safety: assigning `None` leaves `None` behind even if the old
    // value's destructor panics.
    catch_unwind(AssertUnwindSafe(|| slot.set(None)))
}

/// Drops a value nobody wants; a panic of its destructor has been reported by
/// the panic hook and ends here.
pub fn discard<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        discard_payload(payload);
    }
}

/// Drops a panic payload, the destructor of which may panic again.
fn discard_payload(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload whose destructor panics with such a payload: there is no
        // end to that but to leak it.
        std::mem::forget(again);
    }
}

/// What a [`Contain`] yields: the output, or the payload of the panic; or that
/// there is neither, because the runtime [destroyed](Self::destroyed) the future.
///
/// If nobody takes it, the output is dropped with its panics contained: it may
/// be dropped on a worker thread (a detached task) or in a handle's destructor,
/// and neither may be unwound.
pub struct Outcome<T>(Option<Result<T, Payload>>);

impl<T> Outcome<T> {
    fn new(result: Result<T, Payload>) -> Self {
        Self(Some(result))
    }

    /// Neither output nor panic: the runtime is going away, and has destroyed
    /// the future.
    ///
    /// For executors that cannot end a task without an outcome. The joiner is
    /// told that the task was shut down (JO-4).
    #[must_use]
    pub fn destroyed() -> Self {
        Self(None)
    }

    /// Takes the result out, if there is one.
    #[cfg(feature = "async-task")]
    pub(crate) fn into_option(mut self) -> Option<Result<T, Payload>> {
        self.0.take()
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
    pub fn into_result(mut self) -> Result<T, Payload> {
        self.0
            .take()
            .expect("only executors that make `Outcome::destroyed` receive it")
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        if self.0.is_some() {
            // On an executor's thread, which must not be blocked (BL-2).
            let _mark = context::enter(context::Context::Async, None);
            discard(self.0.take());
        }
    }
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
