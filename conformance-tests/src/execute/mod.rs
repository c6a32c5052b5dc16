//! The implementation under test of cases about executing work: [`Doors`].
//!
//! The rule EX-1, one door for work of any kind, concerns code that is built on a runtime. Its
//! cases check each subject with `fourway-execute`, [`FOURWAY`]. Another implementation is checked by
//! [`Subject::doors`](crate::Subject::doors); the project does so with broken ones.
//!
//! The interface has no generic types: work gives a number, and a session's namespace is a
//! list of numbers.

mod fourway;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use fourway_core::{AnyRuntime, cancel::CancellationToken};
pub use fourway_execute::{Access, Model};

pub use self::fourway::{FOURWAY, FourwayDoors};

/// A future without its type.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An implementation of executing work of any kind.
pub trait Doors: fmt::Debug + Send + Sync + 'static {
    /// Starts work. The returned future gives its output; dropping it cancels.
    fn execute(
        &self,
        runtime: &AnyRuntime,
        model: Model,
        overrun: Overrun,
        work: Work,
    ) -> BoxFuture<Result<u32, Stopped>>;

    /// A session with an empty namespace.
    fn session(&self, runtime: &AnyRuntime, model: Model) -> Arc<dyn Session>;
}

/// Called for work that was declared short but takes longer: with `false` while it runs, and with
/// `true` when it has ended. The budget is a millisecond.
pub type Overrun = Arc<dyn Fn(bool) + Send + Sync>;

/// Work of a kind that is decided at run time; `I` is its input.
pub enum Work<I = ()> {
    /// A closure that may block.
    Blocking(Box<dyn FnOnce(I) -> u32 + Send>),
    /// A closure that is declared short.
    Short(Box<dyn FnOnce(I) -> u32 + Send>),
    /// A closure that gives a future.
    Async(Box<dyn FnOnce(I) -> BoxFuture<u32> + Send>),
}

impl<I> Work<I> {
    /// A closure that may block.
    pub fn blocking(f: impl FnOnce(I) -> u32 + Send + 'static) -> Self {
        Self::Blocking(Box::new(f))
    }

    /// A closure that is declared short.
    pub fn short(f: impl FnOnce(I) -> u32 + Send + 'static) -> Self {
        Self::Short(Box::new(f))
    }

    /// A closure that gives a future.
    pub fn asynchronous<F>(f: impl FnOnce(I) -> F + Send + 'static) -> Self
    where
        F: Future<Output = u32> + Send + 'static,
    {
        Self::Async(Box::new(|input| Box::pin(f(input))))
    }
}

impl<I> fmt::Debug for Work<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking(_) => "Work::Blocking",
            Self::Short(_) => "Work::Short",
            Self::Async(_) => "Work::Async",
        })
    }
}

/// Why there is no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to end.
    Interrupted,
    /// It panicked.
    Panicked,
    /// The runtime was shut down, or the session closed.
    Closed,
}

/// Executions of both kinds, in order.
pub trait Session: Send + Sync {
    /// Puts it in line. The returned future gives its output; dropping it cancels.
    fn execute(&self, access: Access, work: Work<Box<dyn Turn>>)
    -> BoxFuture<Result<u32, Stopped>>;

    /// Asks the executions that have their turn to end.
    fn interrupt(&self);
}

/// The turn of one execution. It is over when this is dropped.
pub trait Turn: Send {
    /// The namespace.
    fn numbers(&self) -> &[u32];

    /// Adds to the namespace. Only writers may.
    fn push(&mut self, number: u32);

    /// The token that asks the execution to end.
    fn token(&self) -> CancellationToken;
}
