//! The body of a job that is a call: [`Called`].

use std::{
    future::{Future, IntoFuture},
    mem::needs_drop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
};

use fourway_core::{
    Call, Payload,
    cancel::CancellationToken,
    implement::{Enclosing, Hold, destroy_contained, discard, enclose, poll_contained, wake},
    values::Values,
};

use crate::{
    JobContext, JobOutput,
    body::{Body, Failure, TaskBody, keep},
    slot::Slot,
    sync::{Mutex, lock},
};

/// A call. Offloaded bodies that it has begun may run on after its future was dropped: a cancelled
/// job ends only when all of them have ended (JB-3, cancelling).
pub(crate) struct Called<G, O: JobOutput> {
    make: G,
    again: bool,
    attempt: Option<Attempt<O>>,
    slot: Arc<Slot<O::Value>>,
}

struct Attempt<O> {
    future: Option<CallFuture<O>>,
    /// The job's values, with `offloaded` as the enclosing scope. They go with the future, as the
    /// seat they are of serves no other attempt before that.
    values: Values,
    /// The attempt's own: a body of an earlier attempt may still run if the runtime has dropped
    /// that attempt, and its end must not pass for the end of this one.
    offloaded: Arc<Offloaded>,
}

type CallFuture<O> = Pin<Box<dyn Future<Output = O> + Send>>;

impl<G, C, O> Called<G, O>
where
    G: FnMut(&JobContext) -> Option<C> + Send + 'static,
    C: Call + IntoFuture<Output = O>,
    O: JobOutput,
{
    pub(crate) fn body(make: G, again: bool, slot: Arc<Slot<O::Value>>) -> Body {
        Body::Task(Box::pin(Self::new(make, again, slot)))
    }

    fn new(make: G, again: bool, slot: Arc<Slot<O::Value>>) -> Self {
        Self {
            make,
            again,
            attempt: None,
            slot,
        }
    }
}

impl<G, O: JobOutput> Unpin for Called<G, O> {}

impl<G, C, O> TaskBody for Called<G, O>
where
    G: FnMut(&JobContext) -> Option<C> + Send,
    C: Call + IntoFuture<Output = O>,
    O: JobOutput,
{
    fn begin(mut self: Pin<&mut Self>, job: &JobContext) -> Result<(), Failure> {
        let this = &mut *self;
        // Of an earlier attempt, which the runtime has dropped.
        this.attempt = None;
        let offloaded = Arc::<Offloaded>::default();
        let me: Weak<Offloaded> = Arc::downgrade(&offloaded);
        let scope: Weak<dyn Enclosing> = me;
        let mut values = enclose(Values::current(), &scope);
        let make = || values.scope_mut(|| (this.make)(job));
        let made = catch_unwind(AssertUnwindSafe(make)).map_err(Failure::panic)?;
        let call = made.expect("a call that is used once begins once");
        this.attempt = Some(Attempt {
            future: Some(Box::pin(call.into_future())),
            values,
            offloaded,
        });
        Ok(())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let this = &mut *self;
        let attempt = this.attempt.as_mut().expect("it has begun");
        let Attempt { future, values, .. } = attempt;
        let output = ready!(values.scope_mut(|| poll_contained(Pin::new(future), None, cx)));
        this.attempt = None;
        Poll::Ready(keep(&this.slot, output))
    }

    fn destroy(mut self: Pin<&mut Self>) -> Result<(), Failure> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        let (future, mut values) = (&mut attempt.future, std::mem::take(&mut attempt.values));
        let destroyed = values.scope_mut(|| destroy_contained(Pin::new(future), None));
        destroyed.map_err(Failure::panic)
    }

    fn poll_gone(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(attempt) = &self.attempt else {
            // No attempt has begun.
            return Poll::Ready(Ok(()));
        };
        let panic = ready!(attempt.offloaded.poll_ended(cx));
        self.attempt = None;
        // The caller of the body is gone, so that the job has its panic.
        Poll::Ready(panic.map_or(Ok(()), |payload| Err(Failure::panic(payload))))
    }

    fn is_again(&self) -> bool {
        self.again
    }

    fn has_captured(&self) -> bool {
        self.again && needs_drop::<G>()
    }
}

/// The offloaded bodies of an attempt, wherever in its call they were begun. As their enclosing scope
/// it is held by each of them until its output is dropped as well, and by nurseries in the call.
#[derive(Default)]
struct Offloaded {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    holds: usize,
    /// The first panic that no caller was left for.
    panic: Option<Payload>,
    /// Waits until there are no holds.
    waker: Option<Waker>,
}

impl Offloaded {
    /// Ready once all have ended; with the panic of one, if the call was gone.
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Option<Payload>> {
        // Cloned and dropped outside of the lock, as both are foreign code.
        let waker = cx.waker().clone();
        let mut state = lock(&self.state);
        if state.holds > 0 {
            let before = state.waker.replace(waker);
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        let panic = state.panic.take();
        drop(state);
        drop(waker);
        Poll::Ready(panic)
    }
}

impl Enclosing for Offloaded {
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>> {
        lock(&self.state).holds += 1;
        Some(Box::new(Held(self)))
    }

    fn killed(&self) -> CancellationToken {
        // A job asks its work to end by its token, and drops no shielded work.
        CancellationToken::new()
    }

    fn drops(&self) -> bool {
        false
    }
}

impl Drop for Offloaded {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        // The last owner may be any thread, which the payload's destructor must not unwind.
        discard(state.map(|state| state.panic.take()).ok());
    }
}

struct Held(Arc<Offloaded>);

impl Hold for Held {
    fn panicked(&mut self, payload: Payload) {
        let mut state = lock(&self.0.state);
        let surplus = match state.panic {
            Some(_) => Some(payload),
            None => {
                state.panic = Some(payload);
                None
            }
        };
        drop(state);
        discard(surplus);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.holds -= 1;
        let waker = if state.holds == 0 {
            state.waker.take()
        } else {
            None
        };
        drop(state);
        waker.into_iter().for_each(wake);
    }
}

#[cfg(all(test, not(fourway_shuttle), not(fourway_loom)))]
mod tests {
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    use fourway_core::Runtime;
    use fourway_testing::{Gate, any, eventually};

    use super::{Called, TaskBody};
    use crate::{JobContext, JobManager, context::Seat, slot::Slot, sync::lock};

    #[test]
    fn the_body_of_an_earlier_attempt_does_not_end_a_later_one() {
        let rt = any();
        let jobs = JobManager::builder(&rt).build();
        let mut seat = Seat::new(jobs.shared());
        let gates = [(); 2].map(|()| [(); 2].map(|()| Gate::default()));
        let mut attempts = gates.clone().into_iter();
        let make = move |_: &JobContext| {
            let [started, gate] = attempts.next()?;
            Some(rt.call_blocking(move || {
                started.open();
                gate.wait();
            }))
        };
        let mut called = Called::new(make, true, Arc::new(Slot::new()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut bodies = Vec::new();
        for [started, _] in &gates {
            seat.scope(|job| {
                let mut called = Pin::new(&mut called);
                assert!(called.as_mut().begin(job).is_ok());
                assert!(called.as_mut().poll(&mut cx).is_pending());
                started.wait();
                assert!(called.destroy().is_ok());
            });
            let attempt = called.attempt.as_ref().expect("an attempt has begun");
            bodies.push(attempt.offloaded.clone());
        }
        let [first, second] = &bodies[..] else {
            unreachable!("there were two attempts")
        };
        gates[0][1].open();
        eventually("the first body ends", || lock(&first.state).holds == 0);
        assert!(Pin::new(&mut called).poll_gone(&mut cx).is_pending());
        gates[1][1].open();
        eventually("the second body ends", || lock(&second.state).holds == 0);
        let gone = Pin::new(&mut called).poll_gone(&mut cx);
        assert!(matches!(gone, Poll::Ready(Ok(()))));
    }
}
