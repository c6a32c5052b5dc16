//! Which wakers Tokio's drivers can have: [`is_harmless`].

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

use fourway_adapt::declare_harmless;
use tokio::task::LocalSet;

/// As [`fourway_adapt::is_harmless`], which knows the wakers of Tokio's tasks from the first call on.
/// Call it where Tokio's thread-locals exist.
///
/// The waker of a task of a raw `LocalSet` counts as harmless and is not: off the thread's own poll
/// it wakes whoever polls the set, which may be anything. It has the functions of all tasks' wakers,
/// and the public interface tells them apart by nothing else. Not to trust any of them would cost
/// each timer of each task an allocation.
#[inline]
pub(crate) fn is_harmless(waker: &Waker) -> bool {
    fourway_adapt::is_harmless(waker) || (learn() && fourway_adapt::is_harmless(waker))
}

/// Looks at the waker of a task of Tokio's. Those of all of its tasks have the same functions, also
/// on runtimes. `false` if that was done before.
#[inline]
fn learn() -> bool {
    static LEARNT: AtomicBool = AtomicBool::new(false);
    // Relaxed: a thread that does not find the functions yet is only slower.
    let first = !LEARNT.load(Relaxed) && !LEARNT.swap(true, Relaxed);
    if first {
        look();
    }
    first
}

#[cold]
fn look() {
    // The only task that can be had at once, without a runtime and in any context. It runs in the
    // one poll, and is forgotten.
    let tasks = LocalSet::new();
    tasks.spawn_local(poll_fn(|cx| {
        // Of a clone, because that is what drivers keep.
        declare_harmless(&cx.waker().clone());
        Poll::Ready(())
    }));
    let _ = pin!(tasks).poll(&mut Context::from_waker(Waker::noop()));
}
