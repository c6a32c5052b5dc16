//! Telling one thread one thing: [`Notice`].

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
    now,
    thread::{self, Thread},
};

/// A notice for one thread, which looks for it or sleeps until it is given.
///
/// The flag says whether it was given, not the thread's park token: user code may have left a token
/// behind, or taken ours.
pub(super) struct Notice {
    given: AtomicBool,
    /// Does the thread sleep, or is it about to?
    asleep: AtomicBool,
    /// When it was given to a thread that slept.
    at: Mutex<Option<Instant>>,
    thread: Thread,
}

impl Notice {
    /// For the calling thread.
    pub(super) fn new() -> Self {
        Self {
            given: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            at: Mutex::new(None),
            thread: thread::current(),
        }
    }

    /// Takes the notice back. Call it when no other thread can give it.
    pub(super) fn reset(&self) {
        self.given.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_given(&self) -> bool {
        // Acquire pairs with the Release in `give`.
        self.given.load(Ordering::Acquire)
    }

    /// Gives the notice to a thread that looks. A sleeping thread must also be [woken](Self::wake).
    pub(super) fn mark(&self) {
        // Relaxed: a wrong answer costs a look at the clock, or spoils a guess.
        if self.asleep.load(Ordering::Relaxed) {
            *self.at() = Some(now());
        }
        // Pairs with the Acquire in `is_given`.
        self.given.store(true, Ordering::Release);
    }

    /// Wakes the thread that was given the notice. If it does not sleep, this is no system call.
    pub(super) fn wake(&self) {
        self.thread.unpark();
    }

    /// When it was given, if the thread slept.
    pub(super) fn given_at(&self) -> Option<Instant> {
        self.at().take()
    }

    fn at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until it is given.
    pub(super) fn wait(&self) {
        while !self.is_given() {
            thread::park();
        }
    }

    /// Sleeps until it is given, or for so long.
    pub(super) fn wait_for(&self, time: Duration) {
        self.asleep.store(true, Ordering::Relaxed);
        match now().checked_add(time) {
            None => self.wait(),
            Some(deadline) => {
                while !self.is_given() {
                    let left = deadline.saturating_duration_since(now());
                    if left.is_zero() {
                        break;
                    }
                    thread::park_timeout(left);
                }
            }
        }
        self.asleep.store(false, Ordering::Relaxed);
    }
}
