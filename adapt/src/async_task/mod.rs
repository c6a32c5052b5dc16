//! A contract-keeping handle over [`async_task::Task`]: [`spawn`].
//!
//! `async-task` gives a handle that cancels on drop and waits for the future's
//! destruction, in one allocation. This module adds what the contract needs besides, without
//! another allocation on the usual path:
//!
//! * *Panics* are caught in [`Contain`], so that they become results. A
//!   destructor that panics would abort the process; its payload is kept aside,
//!   by task number, until the joiner asks for it (CA-4, destructors that panic or block). The
//!   payload of a poll's panic is kept too, because `async-task` drops the outcome of a poll during
//!   which the task was cancelled (JO-4, reasons are told apart).
//! * *Cancelled or shut down?* `async-task` says "no output" to both. The
//!   handle knows whether anyone asked for cancellation (JO-4, reasons are told apart).
//! * *Abort handles.* Only the owner of an `async_task::Task` can cancel it.
//!   The first abort handle moves it to a place that both can reach; only then is there an extra
//!   allocation.

mod handle;
mod panics;
mod postponed;
mod raw;
mod shared;

use std::{
    cell::Cell,
    fmt,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

use fourway_core::{
    JoinError,
    implement::{Contain, Outcome, RuntimeId},
    task::Metadata,
};

use crate::fork;
use handle::Native;

pub use handle::AsyncTask;
pub use panics::{DiscardPanic, ReportPanic};

/// Wraps `future`, has `spawn` make a native task of it, and returns the handle.
///
/// `spawn` is given the future to run; for example
/// `|future| executor.spawn(future)`.
#[inline]
pub fn spawn<F, S>(
    metadata: Metadata,
    future: F,
    runtime: Option<RuntimeId>,
    spawn: S,
) -> AsyncTask<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: FnOnce(Contain<F, ReportPanic>) -> async_task::Task<Outcome<F::Output>>,
{
    let number = Number::next();
    let begun = start(number, future, runtime, spawn);
    begun.into_handle(number, metadata)
}

/// The number of a task that is about to start, see [`Begun`].
#[derive(Clone, Copy, Debug)]
pub struct Number(u64);

impl Number {
    /// That of no other task.
    #[inline]
    #[must_use]
    pub fn next() -> Self {
        Self(next_number())
    }
}

/// A task that has [started](start), or was [refused](refuse), without its handle.
///
/// For adapters whose spawns are quick. They are in two parts: a small one, which is inlined at
/// each spawn, and one that is a function and returns this. The handle is then put together where
/// it is kept. A handle that a function returns is written one part at a time and then moved two
/// words at a time, and a processor has such a read wait until the writes have reached the memory.
// Two words, which a function returns in registers.
#[must_use = "dropping a task cancels it"]
pub struct Begun<T: Send + 'static>(Native<T>);

impl<T: Send + 'static> Begun<T> {
    /// The handle. `number` is the one that the task was started with.
    #[inline]
    pub fn into_handle(self, number: Number, metadata: Metadata) -> AsyncTask<T> {
        AsyncTask::new(metadata, number.0, self.0)
    }
}

impl<T: Send + 'static> fmt::Debug for Begun<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// [`spawn`], without the handle.
#[inline]
pub fn start<F, S>(
    number: Number,
    future: F,
    runtime: Option<RuntimeId>,
    spawn: S,
) -> Begun<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: FnOnce(Contain<F, ReportPanic>) -> async_task::Task<Outcome<F::Output>>,
{
    let native = spawn(Contain::new(future, runtime, ReportPanic(number.0)));
    Begun(Native::live(native.fallible()))
}

/// As [`spawn`], for a task that will not be joined: without the handle.
#[inline]
pub fn spawn_detached<F, S>(future: F, runtime: Option<RuntimeId>, spawn: S)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: FnOnce(Contain<F, DiscardPanic>) -> async_task::Task<Outcome<F::Output>>,
{
    spawn(Contain::new(future, runtime, DiscardPanic)).detach();
}

/// The handle of a future that was refused because the runtime is gone. Drops
/// `future` ([spawn after the shutdown](fourway_core::contract#SP-3)).
pub fn refused<F>(metadata: Metadata, future: F, runtime: Option<RuntimeId>) -> AsyncTask<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    AsyncTask::new(metadata, 0, refuse(future, runtime).0)
}

/// As [`refused`], because the runtime was made before a `fork`, of which this process is the
/// child ([forked children](fourway_core::contract#FK-1)).
pub fn refused_in_child<F>(
    metadata: Metadata,
    future: F,
    runtime: Option<RuntimeId>,
) -> AsyncTask<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    AsyncTask::new(metadata, 0, refuse_in_child(future, runtime).0)
}

/// [`refused`], without the handle.
#[cold]
pub fn refuse<F>(future: F, runtime: Option<RuntimeId>) -> Begun<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    refuse_for(JoinError::shutdown, future, runtime)
}

/// [`refused_in_child`], without the handle.
#[cold]
pub fn refuse_in_child<F>(future: F, runtime: Option<RuntimeId>) -> Begun<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    fork::refuse(|| refuse_for(JoinError::forked, future, runtime))
}

fn refuse_for<F>(
    reason: fn() -> JoinError,
    future: F,
    runtime: Option<RuntimeId>,
) -> Begun<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    let mut future = std::pin::pin!(Some(future));
    let error = match fourway_core::implement::destroy_contained(future.as_mut(), runtime) {
        Ok(()) => reason(),
        Err(payload) => JoinError::panicked(payload),
    };
    Begun(Native::refused(error))
}

/// Numbers for tasks, handed out to threads in blocks so that spawning does not
/// contend for one counter. Zero is never used.
#[inline]
fn next_number() -> u64 {
    thread_local! {
        // The next number; at the start of a block, which is not ours, a new block
        // is needed.
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let mut number = NEXT.get();
    if number % BLOCK == 0 {
        number = new_block();
    }
    NEXT.set(number + 1);
    number
}

const BLOCK: u64 = 1024;

/// The first number of a new block that the caller may use. The one before it is
/// left out, because it marks a start.
#[cold]
fn new_block() -> u64 {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness matters.
    NEXT_BLOCK.fetch_add(1, Ordering::Relaxed) * BLOCK + 1
}
