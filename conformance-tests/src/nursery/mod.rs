//! The implementation under test of cases about nurseries: [`Nurseries`].
//!
//! The rules NU concern code that is built on a runtime. Their cases check each subject with the
//! nurseries of `fourway-nursery`, [`FOURWAY`]: this finds a runtime that loses a child or a place.
//! Other nurseries are checked by [`Subject::nurseries`](crate::Subject::nurseries); the project
//! does so with broken ones.
//!
//! The interface has no generic types: children and bodies give a [`Value`] or an [`Error`], and
//! the runtime is an [`AnyRuntime`].

mod fourway;
mod sync;

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, cancel::CancellationToken};
pub use fourway_nursery::Failure;

pub use self::{
    fourway::{FOURWAY, FourwayNurseries},
    sync::{SyncBody, SyncChild, SyncNursery, SyncSpawn},
};

/// A future without its type.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The value of a child or a body, of any type.
pub struct Value(Box<dyn Any + Send>);

impl Value {
    /// Erases its type.
    pub fn new(value: impl Any + Send) -> Self {
        Self(Box::new(value))
    }

    /// The value, if it is of this type.
    #[must_use]
    pub fn get<T: Any>(self) -> Option<T> {
        self.0.downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(..)")
    }
}

/// The failure of a child or a body. An error with a [`Cancelled`](fourway_core::cancel::Cancelled)
/// inside is not a failure.
pub type Error = std::io::Error;

/// The result of a child or a body.
pub type Output = Result<Value, Error>;

/// The body of an async nursery.
pub type Body = Box<dyn FnOnce(Arc<dyn Nursery>) -> BoxFuture<Output> + Send>;

/// The body of a child that is started until it is ready.
pub type StartBody = Box<dyn FnOnce(Ready) -> BoxFuture<Output> + Send>;

/// Says that a child is ready; gives the number back if the waiter is gone.
pub type Ready = Box<dyn FnOnce(u32) -> Result<(), u32> + Send>;

/// A place of the limit, for one child; dropped, it is free again.
pub type Place = Box<dyn FnOnce(Work) -> Result<(), Refused> + Send>;

/// An implementation of nurseries.
pub trait Nurseries: fmt::Debug + Send + Sync + 'static {
    /// A nursery, which runs `body` and its children when it is polled.
    fn run(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        body: Body,
    ) -> BoxFuture<Result<Value, Trouble>>;

    /// The first success of `children`.
    fn first_success(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        children: Vec<Work>,
    ) -> BoxFuture<Result<Value, Trouble>>;

    /// All values of `children`, in their order.
    fn collect(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        children: Vec<Work>,
    ) -> BoxFuture<Result<Vec<Value>, Trouble>>;

    /// A section that finishes first.
    fn shield(&self, section: BoxFuture<()>) -> BoxFuture<()>;

    /// A nursery for sync code, whose children may borrow. The calling thread runs `body`.
    ///
    /// # Errors
    ///
    /// As an async one; and [`Kind::Refused`] on a thread that runs async code.
    fn run_sync<'env>(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        body: SyncBody<'env>,
    ) -> Result<u32, Trouble>;
}

/// A nursery, as seen by its body, its children and other threads, also when it is over.
pub trait Nursery: Send + Sync {
    /// Starts a child, or puts it in line. The returned future is ready when the child has started,
    /// and may be dropped.
    ///
    /// # Errors
    ///
    /// Gives the work back if the nursery is over or being cancelled.
    fn spawn(&self, work: Work) -> Result<BoxFuture<()>, Refused>;

    /// Starts a child if a place is free.
    ///
    /// # Errors
    ///
    /// Gives the work back if no place is free, or the nursery is over or being cancelled.
    fn try_spawn(&self, work: Work) -> Result<(), Refused>;

    /// Waits for a place, from the first poll on; `None` if the nursery is cancelled meanwhile.
    fn reserve(&self) -> BoxFuture<Option<Place>>;

    /// Starts a child, and waits until it says that it is ready.
    fn start(&self, body: StartBody) -> BoxFuture<Result<u32, NotReady>>;

    /// Cancels the nursery.
    fn cancel(&self);

    /// Changes the limit.
    fn set_limit(&self, limit: usize);

    /// The token of its body and children.
    fn token(&self) -> CancellationToken;

    /// Is it over?
    fn is_closed(&self) -> bool;

    /// Waits until it is over.
    fn closed(&self) -> BoxFuture<()>;
}

/// A child, before it is started.
#[non_exhaustive]
pub enum Work {
    /// It runs as a task.
    Task(BoxFuture<Output>),
    /// It runs on the offload pool.
    Closure(Box<dyn FnOnce() -> Output + Send>),
}

impl Work {
    /// A task.
    pub fn task(future: impl Future<Output = Output> + Send + 'static) -> Self {
        Self::Task(Box::pin(future))
    }

    /// A closure.
    pub fn closure(closure: impl FnOnce() -> Output + Send + 'static) -> Self {
        Self::Closure(Box::new(closure))
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task(_) => "Work::Task(..)",
            Self::Closure(_) => "Work::Closure(..)",
        })
    }
}

/// The settings of a case's nursery.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Failures of children leave their siblings alone.
    pub supervise: bool,
    /// How many children run at a time; no limit if `None`.
    pub limit: Option<usize>,
    /// How long it may take, from its first poll on.
    pub timeout: Option<Duration>,
    /// How long children that are asked to end may take.
    pub grace: Duration,
    /// The token that cancels it, in place of the current one.
    pub token: Option<CancellationToken>,
}

/// Why a nursery gave no value.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "implementers make it")]
pub struct Trouble {
    /// The kind of the end.
    pub kind: Kind,
    /// All failures, the first one first.
    pub failures: Vec<Failure<Error>>,
    /// How many children were cancelled.
    pub cancelled: usize,
}

/// The kind of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "implementers make it")]
pub enum Kind {
    /// A child or the body failed.
    Failed,
    /// The deadline passed, and cut something short.
    Timeout,
    /// It was cancelled from outside, or its body was cut short.
    Cancelled,
    /// The first success was asked for, and there was no child.
    Empty,
    /// A sync nursery on a thread that runs async code.
    Refused,
}

/// A child was not taken.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "implementers make it")]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// The refused work, which has not been started.
    pub work: Work,
}

/// Why a child was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "implementers make it")]
pub enum Refusal {
    /// All places are taken.
    Full,
    /// The nursery is being cancelled.
    Cancelled,
    /// The nursery is over.
    Closed,
}

/// Why there is no number of a child that was started until it is ready.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "implementers make it")]
pub enum NotReady {
    /// It failed before; the failure is reported only here.
    Failed(Failure<Error>),
    /// It was cancelled before.
    Cancelled,
    /// It ended without saying so.
    Ended,
}
