//! The waiters of a socket: [`Waiting`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use fourway_core::implement;

use crate::{budget::Budget, io::Direction};

/// The waiters of a socket.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    wakers: Mutex<Wakers>,
    pub(super) budget: Budget,
}

#[derive(Debug, Default)]
struct Wakers {
    /// The waker of the last `poll` in each direction.
    last: [Option<Waker>; 2],
    /// The wakers of all waiters in `run`.
    many: HashMap<usize, (Direction, Waker)>,
    next: usize,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Wakers> {
        // Wakers are cloned and dropped outside of this lock, so it cannot be poisoned.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, direction: Direction, waker: &Waker) {
        let has = |place: &Option<Waker>| place.as_ref().is_some_and(|has| has.will_wake(waker));
        if has(&self.lock().last[direction as usize]) {
            return;
        }
        let waker = waker.clone();
        let before = self.lock().last[direction as usize].replace(waker);
        drop(before);
    }

    pub(super) fn clear(&self, direction: Direction) {
        let before = self.lock().last[direction as usize].take();
        drop(before);
    }

    /// The entry of one of many waiters.
    pub(super) fn entry(&self, direction: Direction) -> Entry<'_> {
        Entry {
            waiting: self,
            direction,
            number: None,
        }
    }

    /// Wakes the waiters of this direction.
    #[cfg(feature = "std-thread")]
    pub(super) fn wake(&self, direction: Direction) {
        let mut wakers = self.lock();
        let last = wakers.last[direction as usize].take();
        let many = if wakers.many.is_empty() {
            HashMap::new()
        } else {
            std::mem::take(&mut wakers.many)
        };
        // The waiters of the other direction stay.
        let (many, others) = many.into_iter().partition(|(_, (of, _))| *of == direction);
        let many: HashMap<usize, (Direction, Waker)> = many;
        wakers.many = others;
        drop(wakers);
        let many = many.into_values().map(|(_, waker)| waker);
        last.into_iter().chain(many).for_each(implement::wake);
    }

    /// Wakes all.
    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.lock());
        let many = wakers.many.into_values().map(|(_, waker)| waker);
        let last = wakers.last.into_iter().flatten();
        last.chain(many).for_each(implement::wake);
    }
}

/// One of many waiters.
pub(super) struct Entry<'a> {
    waiting: &'a Waiting,
    direction: Direction,
    number: Option<usize>,
}

impl Entry<'_> {
    pub(super) fn set(&mut self, waker: &Waker) {
        let waker = waker.clone();
        let mut wakers = self.waiting.lock();
        let number = *self.number.get_or_insert(wakers.next);
        wakers.next = wakers.next.wrapping_add(usize::from(number == wakers.next));
        let before = wakers.many.insert(number, (self.direction, waker));
        drop(wakers);
        drop(before);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.waiting.lock().many.remove(&number);
            drop(waker);
        }
    }
}
