//! The waiting closures: those in the inbox, and those that the workers have fetched.
//!
//! Two queues keep submitters and workers out of each other's way: submitters add to the [`Inbox`];
//! workers, once they have run out, fetch all that is in it at once.
//!
//! A submitter looks at the rest of the pool only if the inbox is not *attended*. The inbox is
//! attended while another thread is sure to look at it, and a submitter would start or wake no
//! thread for it:
//!
//! * all slots are taken: the thread that gives one back looks;
//! * a worker has been called and is on its way, and others are idle: it looks, and calls
//!   the next;
//! * no worker is idle, and there may be no more, or a standby decides whether there should be:
//!   workers that finish look, and so does the standby;
//! * no worker is idle, and one offers its processor: it looks when it has the processor again.
//!
//! A thread that ends such a state first says so, and then looks at the inbox. A submitter first
//! adds to the inbox, and then looks whether it is attended. So one of them sees the other (two
//! `SeqCst` fences: [`push`](Inner::push), [`unattend`](Inner::unattend)).

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use super::{Inner, PoolStatus, State, closure::Job, help};
use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

/// The parts that submitters touch, on cache lines of their own (128 bytes: processors fetch them
/// in pairs).
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Submitters {
    inbox: Mutex<Inbox>,
    /// How many closures have been put into the inbox. Written under its lock.
    submitted: AtomicUsize,
    /// See [the module](self). A copy of [`State::attended`].
    attended: AtomicBool,
}

#[derive(Default)]
struct Inbox {
    /// In order. May hold some that were cancelled.
    closures: VecDeque<Arc<dyn Job>>,
    closed: bool,
}

impl Submitters {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // No user code runs under the lock, so that nothing can poison it.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut inbox: MutexGuard<'_, Inbox>, job: Arc<dyn Job>) {
        inbox.closures.push_back(job);
        let submitted = self.submitted.load(Ordering::Relaxed);
        self.submitted
            .store(submitted.wrapping_add(1), Ordering::Relaxed);
    }
}

impl Inner {
    /// Gives the closure back if the pool is closed.
    pub(super) fn push(self: &Arc<Self>, job: Arc<dyn Job>) -> Result<(), Arc<dyn Job>> {
        let address = Arc::as_ptr(&job).addr();
        let inbox = self.submitters.inbox();
        if inbox.closed {
            return Err(job);
        }
        self.submitters.add(inbox, job);
        // Pairs with the fences in `unattend` and in `guard`.
        fence(Ordering::SeqCst);
        let unattended = !self.submitters.attended.load(Ordering::Relaxed);
        if unattended && !(self.warden.is_present() && help::is_likely()) {
            self.call_worker(self.lock());
        }
        help::handed_over(address, unattended);
        Ok(())
    }

    /// As [`push`](Self::push), for a caller with the lock of a pool that is not closed.
    pub(super) fn push_locked(self: &Arc<Self>, state: MutexGuard<'_, State>, job: Arc<dyn Job>) {
        self.submitters.add(self.submitters.inbox(), job);
        self.call_worker(state);
    }

    /// From here on submitters look at the pool. The caller looks at the inbox afterwards.
    pub(super) fn unattend(&self, state: &mut State) {
        // If another thread has said so, it has made the fence, too.
        if state.attended {
            state.attended = false;
            self.submitters.attended.store(false, Ordering::Relaxed);
            // Pairs with the fence in `push`.
            fence(Ordering::SeqCst);
        }
    }

    /// Submitters need not look at the pool if another thread looks at the inbox anyway.
    pub(super) fn attend(&self, state: &mut State) {
        if !state.attended && state.is_attended(&self.config) {
            state.attended = true;
            // Relaxed: a submitter that has not seen it yet looks at the pool in vain.
            self.submitters.attended.store(true, Ordering::Relaxed);
        }
    }

    /// How many closures wait.
    pub(super) fn queued(&self, state: &State) -> usize {
        self.submitted().wrapping_sub(state.settled)
    }

    pub(super) fn submitted(&self) -> usize {
        self.submitters.submitted.load(Ordering::Relaxed)
    }

    /// Is there anything in the inbox?
    pub(super) fn has_mail(&self, state: &State) -> bool {
        self.submitted() != state.fetched
    }

    /// Takes the next closure, and a slot for it.
    pub(super) fn take(
        &self,
        state: &mut State,
        cancelled: &mut Vec<Arc<dyn Job>>,
    ) -> Option<Arc<dyn Job>> {
        if state.running >= self.config.limit || !state.returning.is_empty() {
            return None;
        }
        loop {
            while let Some(job) = state.queue.pop_front() {
                if job.claim() {
                    state.settled = state.settled.wrapping_add(1);
                    state.running += 1;
                    state.taken = state.taken.wrapping_add(1);
                    return Some(job);
                }
                // Dropping it may run user code: later, outside of the lock.
                cancelled.push(job);
            }
            if !self.has_mail(state) {
                return None;
            }
            drop(self.fetch(state));
        }
    }

    /// Moves the closures in the inbox to the workers' queue.
    fn fetch<'a>(&'a self, state: &mut State) -> MutexGuard<'a, Inbox> {
        let mut inbox = self.submitters.inbox();
        state.fetched = state.fetched.wrapping_add(inbox.closures.len());
        if state.queue.is_empty() {
            // Both keep their memory.
            std::mem::swap(&mut state.queue, &mut inbox.closures);
        } else {
            state.queue.append(&mut inbox.closures);
        }
        inbox
    }

    /// A thread other than a worker has claimed a closure, to cancel it or to run it: its place in
    /// the queue is free.
    pub(super) fn forget_one(&self, mut state: MutexGuard<'_, State>) {
        state.settled = state.settled.wrapping_add(1);
        // Sweep when most of the queue is dead, so that the cost of sweeping is
        // paid for by the claims.
        let queued = self.queued(&state);
        let entries = state.queue.len() + self.submitted().wrapping_sub(state.fetched);
        let mut dead = VecDeque::new();
        if entries > 32 && entries / 2 > queued {
            drop(self.fetch(&mut state));
            dead = std::mem::take(&mut state.queue);
            let mut live = VecDeque::with_capacity(queued);
            dead.retain(|job| {
                let waiting = job.is_waiting();
                if waiting {
                    live.push_back(job.clone());
                }
                !waiting
            });
            state.queue = live;
        }
        drop(state);
        drop(dead);
    }

    /// Takes all waiting closures out of the queue; the caller must refuse them.
    pub(super) fn clear_queue(&self, state: &mut State) -> VecDeque<Arc<dyn Job>> {
        drop(self.fetch(state));
        let mut queue = std::mem::take(&mut state.queue);
        // Claimed under the lock, so that a cancellation cannot count twice.
        queue.retain(|job| job.claim());
        state.settled = state.settled.wrapping_add(queue.len());
        queue
    }

    /// Accepts no more closures. As [`clear_queue`](Self::clear_queue).
    pub(super) fn close_queue(&self, state: &mut State) -> VecDeque<Arc<dyn Job>> {
        state.closed = true;
        self.submitters.inbox().closed = true;
        self.clear_queue(state)
    }

    pub(super) fn status(&self, state: &State) -> PoolStatus {
        let mut status = PoolStatus::default();
        status.queued = self.queued(state);
        status.running = state.running;
        status.lent = state.lent;
        status.threads = state.threads + state.starting;
        status.dropped = state.dropped;
        status
    }
}
