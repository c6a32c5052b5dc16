//! Workers that wait for work.

use std::{
    cell::Cell,
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{State, notice::Notice};
use crate::sync::{
    atomic::{AtomicBool, Ordering},
    thread_local,
};

thread_local! {
    /// The idle worker that this thread is, while it publishes a result.
    static PUBLISHING: Cell<*const Idle> = const { Cell::new(ptr::null()) };
    /// Has the joiner's waker submitted a closure, for which this thread may have been
    /// the only idle one?
    static OVERLOOKED: Cell<bool> = const { Cell::new(false) };
}

/// A worker that waits for work.
pub(super) struct Idle {
    notice: Notice,
    /// Must the worker still call the joiner's waker, which is foreign code and may be slow? Set
    /// before other threads see the worker: none may rely on such a worker.
    publishing: AtomicBool,
}

impl Idle {
    /// For the calling thread.
    pub(super) fn new() -> Self {
        Self {
            notice: Notice::new(),
            publishing: AtomicBool::new(false),
        }
    }

    /// Calls `publish`, as announced by [`add_idle`](State::add_idle). Was a closure submitted from
    /// this thread meanwhile?
    pub(super) fn publish(&self, publish: impl FnOnce()) -> bool {
        OVERLOOKED.set(false);
        PUBLISHING.set(self);
        // Does not panic: wakers and destructors are contained.
        publish();
        self.publishing.store(false, Ordering::Relaxed);
        PUBLISHING.set(ptr::null());
        OVERLOOKED.get()
    }

    /// Will it come at once when it is called?
    pub(super) fn is_coming(&self) -> bool {
        // Relaxed: it is set under the lock, and a worker that is still taken for slow is merely
        // not waited for.
        !self.publishing.load(Ordering::Relaxed)
    }

    /// Wakes the called thread, unless it looks anyway.
    pub(super) fn wake(&self) {
        self.notice.wake();
    }

    pub(super) fn is_called(&self) -> bool {
        self.notice.is_given()
    }

    /// When the thread was called, if it slept.
    pub(super) fn called_at(&self) -> Option<Instant> {
        self.notice.given_at()
    }

    /// Sleeps until the thread is called, or for so long.
    pub(super) fn wait_for(&self, time: Duration) {
        self.notice.wait_for(time);
    }
}

impl State {
    /// From here on the worker may be called. It [publishes](Idle::publish) its result
    /// next.
    pub(super) fn add_idle(&mut self, me: &Arc<Idle>) {
        me.notice.reset();
        me.publishing.store(true, Ordering::Relaxed);
        self.idle.push(me.clone());
    }

    /// Calls an idle worker, if there is one. It has to be [woken](Idle::wake) when the
    /// lock was released.
    pub(super) fn call_idle(&mut self) -> Option<Arc<Idle>> {
        // If a waker is being called on this thread, which is an idle worker of this very
        // pool, it cannot come before the waker returns. (Not at hand in the destructors
        // of thread-locals.)
        let me = PUBLISHING.try_with(Cell::get).unwrap_or(ptr::null());
        let mut others = (0..self.idle.len()).rev();
        let at = others.find(|at| {
            let is_me = ptr::eq(Arc::as_ptr(&self.idle[*at]), me);
            if is_me {
                OVERLOOKED.set(true);
            }
            !is_me
        })?;
        let idle = self.idle.remove(at);
        idle.notice.mark();
        self.called.push(idle.clone());
        Some(idle)
    }

    /// Calls all of them.
    pub(super) fn call_all(&mut self) -> Vec<Arc<Idle>> {
        let idle = std::mem::take(&mut self.idle);
        idle.iter().for_each(|idle| idle.notice.mark());
        self.called.extend(idle.iter().cloned());
        idle
    }

    /// The worker goes back to work; `true` if it was called.
    pub(super) fn withdraw(&mut self, me: &Arc<Idle>) -> bool {
        let is_me = |idle: &Arc<Idle>| Arc::ptr_eq(idle, me);
        if let Some(at) = self.called.iter().position(is_me) {
            self.called.swap_remove(at);
            return true;
        }
        if let Some(at) = self.idle.iter().rposition(is_me) {
            self.idle.remove(at);
        }
        false
    }
}
