//! The body of a job, without its type: [`Body`].
//!
//! A body keeps its value in the job's [`Slot`] and gives only whether it has one, so that no user
//! value enters the store.
//!
//! The bodies of calls are in [`called`](crate::called).

use std::{
    future::Future,
    mem::needs_drop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fourway_core::{
    Payload,
    cancel::Reason,
    implement::{destroy_contained, discard, poll_contained},
};
use pin_project_lite::pin_project;

use crate::{
    BoxError, JobContext, JobOutput,
    error::Cause,
    slot::Slot,
    text::{self, Text},
};

/// Where a body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the runtime's threads for tasks.
    Task = 0,
    /// On its pool.
    Pool = 1,
}

pub(crate) enum Body {
    Task(Pin<Box<dyn TaskBody>>),
    Closure(Box<dyn ClosureBody>),
}

impl Body {
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Task(_) => Place::Task,
            Self::Closure(_) => Place::Pool,
        }
    }

    /// Can it be run another time?
    pub(crate) fn is_again(&self) -> bool {
        match self {
            Self::Task(body) => body.is_again(),
            Self::Closure(body) => body.is_again(),
        }
    }

    /// Once it has given its value: has it anything of the user's still, to be destroyed?
    pub(crate) fn has_captured(&self) -> bool {
        match self {
            Self::Task(body) => body.has_captured(),
            Self::Closure(body) => body.has_captured(),
        }
    }
}

/// Why an attempt has no value.
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) cause: Option<Cause>,
}

impl Failure {
    fn error(error: BoxError) -> Self {
        // `Display` is user code.
        let message = match catch_unwind(AssertUnwindSafe(|| Text::of(&error))) {
            Ok(message) => message.ok(),
            Err(payload) => {
                discard(payload);
                None
            }
        };
        Self {
            message: message.unwrap_or_else(|| "its error cannot be printed".into()),
            cause: Some(Cause::Error(error)),
        }
    }

    pub(crate) fn panic(payload: Payload) -> Self {
        let message = match payload.downcast_ref::<&'static str>() {
            Some(message) => text::cut(message),
            None => match payload.downcast_ref::<String>() {
                Some(message) => text::cut(message),
                None => "with a payload that is not a text".into(),
            },
        };
        Self {
            message,
            cause: Some(Cause::Panic(std::sync::Mutex::new(payload))),
        }
    }

    /// Why a job was cancelled, in the same words whether it waited, ran or was lost. `None` for a
    /// request: who made it knows.
    pub(crate) fn cancelled(reason: &Reason) -> Option<Self> {
        (*reason != Reason::Requested).then(|| Self {
            message: reason.to_string(),
            cause: None,
        })
    }

    /// The text, without the cause.
    pub(crate) fn into_message(self) -> String {
        discard(self.cause);
        self.message
    }

    pub(crate) fn is_panic(&self) -> bool {
        matches!(self.cause, Some(Cause::Panic(_)))
    }
}

pub(crate) trait TaskBody: Send {
    /// An attempt begins.
    fn begin(self: Pin<&mut Self>, context: &JobContext) -> Result<(), Failure>;

    /// With the job's values current.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Drops the future of an attempt.
    fn destroy(self: Pin<&mut Self>) -> Result<(), Failure>;

    /// Ready once nothing runs any more that the destroyed future had begun.
    fn poll_gone(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn is_again(&self) -> bool;

    /// Once it has given its value: has it anything of the user's still, to be destroyed?
    fn has_captured(&self) -> bool;
}

pub(crate) trait ClosureBody: Send {
    /// With the job's values current.
    fn run(&mut self, context: &JobContext) -> Result<(), Failure>;

    fn is_again(&self) -> bool;

    /// Once it has given its value: has it anything of the user's still, to be destroyed?
    fn has_captured(&self) -> bool;
}

/// Keeps what a body gave, if that is a value.
pub(crate) fn keep<O: JobOutput>(
    slot: &Slot<O::Value>,
    output: Result<O, Payload>,
) -> Result<(), Failure> {
    // `into_result` is user code, if only for the user's own types.
    let result = output.and_then(|output| catch_unwind(AssertUnwindSafe(|| output.into_result())));
    match result {
        Ok(Ok(value)) => {
            slot.seal(value);
            Ok(())
        }
        Ok(Err(error)) => Err(Failure::error(error)),
        Err(payload) => Err(Failure::panic(payload)),
    }
}

// ---------------------------------------------------------------------------
// Futures

pin_project! {
    /// A future, and where the next one comes from.
    struct Futures<M, F: Future> where F::Output: JobOutput {
        make: M,
        #[pin]
        future: Option<F>,
        slot: Arc<Slot<<F::Output as JobOutput>::Value>>,
    }
}

/// A body of a future that runs once.
pub(crate) fn once<F>(future: F, slot: Arc<Slot<<F::Output as JobOutput>::Value>>) -> Body
where
    F: Future<Output: JobOutput> + Send + 'static,
{
    Body::Task(Box::pin(Futures {
        make: Nothing,
        future: Some(future),
        slot,
    }))
}

/// A body that makes a future for each attempt.
pub(crate) fn again<G, F>(make: G, slot: Arc<Slot<<F::Output as JobOutput>::Value>>) -> Body
where
    G: FnMut(JobContext) -> F + Send + 'static,
    F: Future<Output: JobOutput> + Send + 'static,
{
    Body::Task(Box::pin(Futures {
        make: Each(make),
        future: None,
        slot,
    }))
}

trait Make<F> {
    const AGAIN: bool;

    /// The future of an attempt, if it is not there already. Runs user code.
    fn make(&mut self, context: &JobContext) -> Option<F>;
}

struct Nothing;

impl<F> Make<F> for Nothing {
    const AGAIN: bool = false;

    fn make(&mut self, _: &JobContext) -> Option<F> {
        None
    }
}

struct Each<G>(G);

impl<F, G: FnMut(JobContext) -> F> Make<F> for Each<G> {
    const AGAIN: bool = true;

    fn make(&mut self, context: &JobContext) -> Option<F> {
        Some(self.0(context.clone()))
    }
}

impl<M, F> TaskBody for Futures<M, F>
where
    M: Make<F> + Send,
    F: Future<Output: JobOutput> + Send,
{
    fn begin(self: Pin<&mut Self>, context: &JobContext) -> Result<(), Failure> {
        let mut this = self.project();
        let made = catch_unwind(AssertUnwindSafe(|| this.make.make(context)));
        if let Some(future) = made.map_err(Failure::panic)? {
            this.future.set(Some(future));
        }
        Ok(())
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let this = self.project();
        let output = ready!(poll_contained(this.future, None, cx));
        Poll::Ready(keep(this.slot, output))
    }

    fn destroy(self: Pin<&mut Self>) -> Result<(), Failure> {
        destroy_contained(self.project().future, None).map_err(Failure::panic)
    }

    fn is_again(&self) -> bool {
        M::AGAIN
    }

    fn has_captured(&self) -> bool {
        M::AGAIN && needs_drop::<M>()
    }
}

// ---------------------------------------------------------------------------
// Closures

/// A closure, which runs once.
pub(crate) struct OnceClosure<F, O: JobOutput> {
    closure: Option<F>,
    slot: Arc<Slot<O::Value>>,
}

impl<F, O> OnceClosure<F, O>
where
    F: FnOnce() -> O + Send + 'static,
    O: JobOutput,
{
    pub(crate) fn body(closure: F, slot: Arc<Slot<O::Value>>) -> Body {
        Body::Closure(Box::new(Self {
            closure: Some(closure),
            slot,
        }))
    }
}

impl<F, O> ClosureBody for OnceClosure<F, O>
where
    F: FnOnce() -> O + Send,
    O: JobOutput,
{
    fn run(&mut self, _: &JobContext) -> Result<(), Failure> {
        let closure = self.closure.take().expect("it runs once");
        // Unwind safety: what the closure captured is gone with it.
        keep(&self.slot, catch_unwind(AssertUnwindSafe(closure)))
    }

    fn is_again(&self) -> bool {
        false
    }

    fn has_captured(&self) -> bool {
        false
    }
}

/// A closure that runs for each attempt.
pub(crate) struct AgainClosure<F, O: JobOutput> {
    closure: F,
    slot: Arc<Slot<O::Value>>,
}

impl<F, O> AgainClosure<F, O>
where
    F: FnMut(JobContext) -> O + Send + 'static,
    O: JobOutput,
{
    pub(crate) fn body(closure: F, slot: Arc<Slot<O::Value>>) -> Body {
        Body::Closure(Box::new(Self { closure, slot }))
    }
}

impl<F, O> ClosureBody for AgainClosure<F, O>
where
    F: FnMut(JobContext) -> O + Send,
    O: JobOutput,
{
    fn run(&mut self, context: &JobContext) -> Result<(), Failure> {
        let context = context.clone();
        let output = catch_unwind(AssertUnwindSafe(|| (self.closure)(context)));
        keep(&self.slot, output)
    }

    fn is_again(&self) -> bool {
        true
    }

    fn has_captured(&self) -> bool {
        needs_drop::<F>()
    }
}
