//! A call as a child: [`Called`].
//!
//! A blocking body outlives the child that awaits it: it runs to its end, and its outcome counts.

use std::{
    future::{Future, IntoFuture},
    sync::Arc,
};

use fourway_core::{Call, Runtime, task::Metadata};

use crate::{
    carried::Carried,
    child::{Outcome, Sink, Task, Work, outcome_of_output, spawn},
    shared::{End, Number, Shared, Stake},
    sync::{Mutex, lock},
};

pub(crate) struct Called<C>(pub(crate) C);

impl<R, T, E, C> Work<R, T, E> for Called<C>
where
    R: Runtime,
    T: Send + 'static,
    E: Send + 'static,
    C: Call + IntoFuture<Output = Result<T, E>>,
{
    #[track_caller]
    fn start<S: Sink<R, T, E>>(
        self,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: &Arc<Shared<R, E>>,
    ) {
        let (future, sink) = future_of(self.0, sink, shared);
        spawn(future, metadata, carried, sink, shared);
    }

    #[track_caller]
    fn line_up<S: Sink<R, T, E>>(
        self,
        metadata: Metadata,
        carried: Carried,
        sink: S,
        shared: &Arc<Shared<R, E>>,
        number: Number,
    ) {
        // Here and not at the start, because the call takes the line of its caller.
        let (future, sink) = future_of(self.0, sink, shared);
        Task(future).line_up(metadata, carried, sink, shared, number);
    }
}

/// The future of a call that the nursery has let in, and the sink for it.
///
/// The call's own future puts a blocking body on the pool and an async one into this task. Dropped,
/// it leaves a body that is running to run to its end, which holds the nursery open, and whose
/// outcome counts: see [`Link`].
#[track_caller]
fn future_of<R, C, S, T, E>(
    call: C,
    sink: S,
    shared: &Arc<Shared<R, E>>,
) -> (
    impl Future<Output = Result<T, E>> + Send + 'static + use<R, C, S, T, E>,
    CallSink<S, T, E>,
)
where
    R: Runtime,
    C: Call + IntoFuture<Output = Result<T, E>>,
    S: Sink<R, T, E>,
    T: Send + 'static,
    E: Send + 'static,
{
    shared.hold_open();
    let link = Arc::new(Link {
        state: Mutex::new(LinkState {
            output: None,
            deferred: None,
            open: true,
            panicked: false,
        }),
    });
    let open = Open {
        link: link.clone(),
        shared: shared.clone(),
    };
    // Not at the `await`: the metadata of the pool's closure has the line of this call, which is
    // the user's.
    let call = call.map(move |output| open.put(output)).into_future();
    let outcome = link.clone();
    let future = async move {
        call.await;
        let output = lock(&outcome.state).output.take();
        output.expect("put there by what the call was mapped with")
    };
    (future, CallSink { sink, link })
}

/// The state that a child that waits for a call shares with the body of the call. The later of the
/// two reports the outcome.
struct Link<S, T, E> {
    state: Mutex<LinkState<S, T, E>>,
}

struct LinkState<S, T, E> {
    /// The body's output, until the child takes it.
    output: Option<Result<T, E>>,
    /// The sink to tell, if the child was destroyed before the body had ended.
    deferred: Option<S>,
    /// The body, or the closure that maps its output, is there.
    open: bool,
    /// It is gone because the body panicked in the pool. If the child is gone too, the nursery gets
    /// the payload by the hold that the body had.
    panicked: bool,
}

struct CallSink<S, T, E> {
    sink: S,
    link: Arc<Link<S, T, E>>,
}

impl<R, S, T, E> Sink<R, T, E> for CallSink<S, T, E>
where
    R: Runtime,
    S: Sink<R, T, E>,
    T: Send + 'static,
    E: Send + 'static,
{
    fn take(self, outcome: Outcome<T, E>, shared: &Shared<R, E>) -> End<E> {
        if !matches!(outcome, Outcome::Cancelled) {
            return self.sink.take(outcome, shared);
        }
        let mut state = lock(&self.link.state);
        if let Some(output) = state.output.take() {
            drop(state);
            return self.sink.take(outcome_of_output(shared, output), shared);
        }
        if state.open {
            state.deferred = Some(self.sink);
            return End::Deferred;
        }
        let panicked = state.panicked;
        drop(state);
        uncounted(self.sink.take(outcome, shared), panicked)
    }
}

/// A child that was cancelled counts once: as cancelled, or as the panic of its body.
fn uncounted<E>(end: End<E>, panicked: bool) -> End<E> {
    match end {
        End::Cancelled if panicked => End::Done,
        end => end,
    }
}

/// Travels with the body of a call, and holds the nursery open until the body has ended.
struct Open<R: Runtime, S: Sink<R, T, E>, T, E: Send + 'static> {
    link: Arc<Link<S, T, E>>,
    shared: Arc<Shared<R, E>>,
}

impl<R: Runtime, S: Sink<R, T, E>, T, E: Send + 'static> Open<R, S, T, E> {
    fn put(self, output: Result<T, E>) {
        lock(&self.link.state).output = Some(output);
    }
}

impl<R: Runtime, S: Sink<R, T, E>, T, E: Send + 'static> Drop for Open<R, S, T, E> {
    fn drop(&mut self) {
        if self.shared.is_inherited() {
            // The body has forked: the child that waits for it, and the lock, are the parent's.
            return std::mem::forget((self.link.clone(), self.shared.clone()));
        }
        let mut state = lock(&self.link.state);
        state.open = false;
        // A thread that unwinds for another reason may destroy a body that has not begun, as one
        // that waits in the pool.
        state.panicked = state.output.is_none() && self.shared.is_unwound();
        let Some(sink) = state.deferred.take() else {
            drop(state);
            return self.shared.release();
        };
        let (output, panicked) = (state.output.take(), state.panicked);
        drop(state);
        let outcome = match output {
            Some(output) => outcome_of_output(&self.shared, output),
            None => Outcome::Cancelled,
        };
        let end = uncounted(sink.take(outcome, &self.shared), panicked);
        self.shared.ended(end, Stake::Hold);
    }
}
