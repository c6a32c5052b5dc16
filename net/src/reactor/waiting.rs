//! The waiters of a socket: [`Waiting`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use fourway_core::implement;

use super::life::Told;
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
    /// In a box from the first of them on: the sockets of most connections never have any.
    many: Option<Box<Many>>,
}

/// The wakers of all waiters in `run`, by their numbers.
#[derive(Debug, Default)]
struct Many {
    wakers: HashMap<usize, (Direction, Waker)>,
    next: usize,
}

impl Many {
    /// Takes out those of one direction, or all.
    fn take(&mut self, direction: Option<Direction>) -> impl Iterator<Item = Waker> + use<> {
        let mut taken = std::mem::take(&mut self.wakers);
        if let Some(direction) = direction {
            let (these, others) = taken.into_iter().partition(|(_, (of, _))| *of == direction);
            (taken, self.wakers) = (these, others);
        }
        taken.into_values().map(|(_, waker)| waker)
    }
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
        let many = wakers.many.as_mut().filter(|many| !many.wakers.is_empty());
        let many = many.map(|many| many.take(Some(direction)));
        drop(wakers);
        let many = many.into_iter().flatten();
        last.into_iter().chain(many).for_each(implement::wake);
    }
}

impl Told for Waiting {
    fn wake_all(&self) {
        let mut wakers = self.lock();
        let last = std::mem::take(&mut wakers.last);
        let many = wakers.many.as_mut().map(|many| many.take(None));
        drop(wakers);
        let last = last.into_iter().flatten();
        last.chain(many.into_iter().flatten())
            .for_each(implement::wake);
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
        let many = wakers.many.get_or_insert_default();
        let number = *self.number.get_or_insert(many.next);
        many.next = many.next.wrapping_add(usize::from(number == many.next));
        let before = many.wakers.insert(number, (self.direction, waker));
        drop(wakers);
        drop(before);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut wakers = self.waiting.lock();
            let many = wakers.many.as_mut();
            let waker = many.and_then(|many| many.wakers.remove(&number));
            drop(wakers);
            drop(waker);
        }
    }
}
