//! Which wakers Tokio's drivers can have: [`learn`].

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

use fourway_adapt::declare_harmless;
use tokio::task::LocalSet;

use crate::block_on::context_is_gone;

/// Declares the wakers of Tokio's tasks to be [harmless](fourway_adapt::is_harmless), once. Those of
/// all of its tasks have the same functions, also on runtimes.
///
/// The waker of a task of a raw `LocalSet` counts as harmless and is not: off the thread's own poll
/// it wakes whoever polls the set, which may be anything. It has the functions of all tasks' wakers,
/// and the public interface tells them apart by nothing else. Not to trust any of them would cost
/// each timer and each socket of each task an allocation.
pub(crate) fn learn() {
    static LEARNT: AtomicBool = AtomicBool::new(false);
    // Where Tokio's thread-locals are gone, a later runtime's turn comes. Relaxed: a thread that does
    // not find the functions yet is only slower.
    if !context_is_gone() && !LEARNT.swap(true, Relaxed) {
        look();
    }
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
