use std::{
    fmt,
    future::{Future, IntoFuture},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    Call, CallError, CallFuture,
    parts::{Parts, Waited},
};
use crate::{
    BlockOnError, CancellationToken, Cancelled, Offload, Payload, Runtime,
    implement::{self, Hold, mark},
    task::Metadata,
    values::Values,
};

/// A [`Call`] with a body that may block. Made by [`Runtime::call_blocking`].
///
/// It can be cloned if the closure can, so that it can be tried again.
#[derive(Clone)]
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct BlockingCall<R, F> {
    runtime: R,
    body: F,
}

impl<R, F> BlockingCall<R, F> {
    pub(crate) fn new(runtime: R, body: F) -> Self {
        Self { runtime, body }
    }
}

impl<R, F, T> IntoFuture for BlockingCall<R, F>
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;
    type IntoFuture = CallFuture<Offloaded<R, F, T>>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture::new(self.fallible())
    }
}

impl<R, F, T> Parts for BlockingCall<R, F>
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Runtime = R;

    fn runtime(&self) -> R {
        self.runtime.clone()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<T> {
        match token.reason() {
            Some(reason) => Ok(Err(Cancelled::new(reason))),
            None => self.try_wait().map(Ok),
        }
    }
}

impl<R, F, T> Call for BlockingCall<R, F>
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Task = <R as Offload>::OffloadTask<T>;
    type Fallible = Offloaded<R, F, T>;

    fn fallible_with(self, metadata: Metadata) -> Offloaded<R, F, T> {
        Offloaded {
            state: State::New(self, metadata),
        }
    }

    #[inline]
    fn try_wait(self) -> Result<T, BlockOnError> {
        implement::check_may_block()?;
        Ok(in_place(&self.runtime, self.body))
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        self.runtime.offload_with(metadata, self.body)
    }

    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(T) -> U + Send + 'static,
        U: Send + 'static,
    {
        let body = self.body;
        BlockingCall {
            runtime: self.runtime,
            body: move || g(body()),
        }
    }
}

/// Runs a body on the calling thread. It finds the same current runtime as if it were offloaded
/// (CX-1, the current context is exact), but the thread stays what it is: it may be a plain one.
#[inline]
fn in_place<R: Runtime, T>(runtime: &R, body: impl FnOnce() -> T) -> T {
    let Some(id) = runtime.runtime_id() else {
        return body();
    };
    let _mark = mark::enter_runtime(id);
    let layers = runtime.layers();
    if layers.are_none() {
        // The layers of work of this runtime that the thread is in go on, as in `block_on`.
        return body();
    }
    layers.scope(body)
}

impl<R, F> fmt::Debug for BlockingCall<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingCall").finish_non_exhaustive()
    }
}

/// The fallible future of a blocking call: offloads it when it is first polled, together
/// with the [`Values`] that are current there.
///
/// # Errors
///
/// If the runtime has been shut down before the body ran, or has no thread for it.
///
/// # Panics
///
/// A panic of the body goes on in the awaiting task, with its payload. Polling it again
/// after it was ready panics.
///
/// # Cancel safety
///
/// Dropping it cancels the closure: if it has not started, it never runs ([cancelled
/// closures][OF-3]).
///
/// [OF-3]: crate::contract#OF-3
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Offloaded<R: Runtime, F, T: Send + 'static> {
    state: State<R, F, T>,
}

enum State<R: Runtime, F, T: Send + 'static> {
    // And the line that awaits it.
    New(BlockingCall<R, F>, Metadata),
    Running(<R as Offload>::OffloadTask<Ended<T>>),
    Done,
}

// The closure is moved, never pinned, and task handles are `Unpin`.
impl<R: Runtime, F, T: Send + 'static> Unpin for Offloaded<R, F, T> {}

impl<R, F, T> Future for Offloaded<R, F, T>
where
    R: Runtime,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.state, State::New(..)) {
            if let State::New(call, metadata) = std::mem::replace(&mut self.state, State::Done) {
                // The body sees the values that are current at the `.await`, as an async body does,
                // which is polled in place, and a body under `wait` (CX-3, values travel with the
                // work).
                let work = Work {
                    body: call.body,
                    values: Values::current(),
                    hold: implement::enclosing().and_then(|scope| scope.hold()),
                };
                let closure = move || work.run();
                self.state = State::Running(call.runtime.offload_with(metadata, closure));
            }
        }
        let State::Running(task) = &mut self.state else {
            panic!("polled after it was ready");
        };
        let result = ready!(Pin::new(task).poll(cx));
        self.state = State::Done;
        Poll::Ready(result.map(Ended::output).map_err(CallError::or_resume))
    }
}

/// The body, its values and its scope. An unrun body is dropped in this field order: the scope may
/// end right after.
struct Work<F> {
    body: F,
    values: Values,
    hold: Option<Box<dyn Hold>>,
}

impl<F> Work<F> {
    fn run<T>(self) -> Ended<T>
    where
        F: FnOnce() -> T,
    {
        let Self { body, values, hold } = self;
        let Some(hold) = hold else {
            return Ended {
                result: Some(Ok(values.scope(body))),
                hold: None,
            };
        };
        let (mut work, mut result) = (Some((body, values)), None);
        hold.around(&mut || {
            if let Some((body, values)) = work.take() {
                // Unwind safety: the body's captures are destroyed with it.
                result = Some(catch_unwind(AssertUnwindSafe(|| values.scope(body))));
            }
        });
        Ended {
            result,
            hold: Some(hold),
        }
    }
}

/// How a body ended. If its awaiting future is gone, the scope gets the panic. The scope stays open
/// until the output has been dropped.
struct Ended<T> {
    // `None` once taken. It holds a panic only if there is a scope to report it to.
    result: Option<Result<T, Payload>>,
    hold: Option<Box<dyn Hold>>,
}

impl<T> Ended<T> {
    fn output(mut self) -> T {
        match self.result.take() {
            Some(Ok(output)) => output,
            Some(Err(payload)) => resume_unwind(payload),
            None => unreachable!("there is one until it is taken here"),
        }
    }
}

impl<T> Drop for Ended<T> {
    fn drop(&mut self) {
        if let (Some(hold), Some(Err(_))) = (&mut self.hold, &self.result) {
            if let Some(Err(payload)) = self.result.take() {
                hold.panicked(payload);
            }
        }
    }
}

impl<R: Runtime, F, T: Send + 'static> fmt::Debug for Offloaded<R, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::New(..) => "Offloaded::New",
            State::Running(_) => "Offloaded::Running",
            State::Done => "Offloaded::Done",
        })
    }
}
