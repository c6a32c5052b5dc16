//! Recognising raw Tokio code: [`install_probe`].

use std::{
    cell::Cell,
    task::{Context as TaskContext, Poll, Waker},
};

use fourway_core::{
    AnyRuntime,
    context::Context,
    implement::{self, Probe},
};
use tokio::{runtime::Handle, task::coop};

use crate::Tokio;

/// Lets [`fourway_core::context`] recognise raw Tokio code from now on.
///
/// The first [`Tokio`] of a process does this as well. Call it where another
/// runtime of fourway may be used inside of raw Tokio code. Doing it again does
/// nothing.
pub fn install_probe() {
    implement::install_probe(&PROBE);
}

static PROBE: Probe = Probe {
    context: probe,
    runtime: || {
        let current = Tokio::try_current().ok()?;
        // A forked child's thread is still in the parent's runtime, but no other thread is.
        (!current.is_inherited()).then(|| AnyRuntime::new(current))
    },
};

fn probe() -> Option<Context> {
    // Most threads are in no Tokio runtime, and this is quick to tell.
    Handle::try_current().ok()?;
    inside()
}

#[inline(never)]
fn inside() -> Option<Context> {
    if budget_is_finite() {
        return Some(Context::Async);
    }
    // Inside of a task, but with no budget: `spawn_blocking`, `block_in_place`.
    // (Or a task wrapped in `unconstrained`, which cannot be recognised.) Otherwise the thread
    // merely holds an `EnterGuard`. A worker between polls, where the driver calls wakers, has the
    // number of the task that Tokio runs the worker as, on one of its blocking threads.
    let task = tokio::task::try_id()?;
    Some(if WORKER.get() == Some(task) {
        Context::Async
    } else {
        Context::Blocking
    })
}

thread_local! {
    /// The number of the task that this thread runs a worker as.
    static WORKER: Cell<Option<tokio::task::Id>> = const { Cell::new(None) };
}

/// For Tokio's hook on parking.
pub(crate) fn this_is_a_worker() {
    WORKER.set(tokio::task::try_id());
}

/// More than any budget that Tokio can represent, which is a byte.
const ROUNDS: usize = 256;

/// Is a task or a root future being polled?
///
/// Tokio gives each poll a cooperative budget, and takes it away afterwards. There is no way to ask
/// for its size. So this uses it up, and puts it back: each `poll_proceed` returns a guard that
/// restores, when dropped, the budget from before the call. The first guard is dropped last; the
/// others are told to restore nothing.
pub(crate) fn budget_is_finite() -> bool {
    if !coop::has_budget_remaining() {
        // Finite, and used up.
        return true;
    }
    let mut cx = TaskContext::from_waker(Waker::noop());
    let Poll::Ready(first) = coop::poll_proceed(&mut cx) else {
        return true;
    };
    let mut finite = false;
    for _ in 0..ROUNDS {
        // Asked before each use, so that `poll_proceed` never has to return
        // `Pending`, which would register the waker.
        if !coop::has_budget_remaining() {
            finite = true;
            break;
        }
        if let Poll::Ready(guard) = coop::poll_proceed(&mut cx) {
            guard.made_progress();
        }
    }
    drop(first);
    finite
}
