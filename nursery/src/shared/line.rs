//! The limit, and who waits for a place: [`Line`].

use std::{
    collections::VecDeque,
    mem,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    Runtime,
    implement::{discard, wake},
};

use super::Shared;
use crate::error::Refusal;

/// Places, and those who wait for one: children, and who asked for a place alone.
pub(super) struct Line {
    limit: usize,
    taken: usize,
    // Their numbers rise.
    waiting: VecDeque<InLine>,
    /// The last number that was given.
    number: u64,
    /// Places granted to those who wait for one and have not been told yet.
    granted: Vec<u64>,
}

pub(super) struct InLine {
    number: u64,
    /// Who waits for this to be started, or for the place.
    pub(super) waiter: Option<Waker>,
    /// `None` for one that waits for a place only, or has not been put here yet.
    pub(super) start: Option<Start>,
}

/// Starts a child; dropped unused, it ends it as cancelled.
pub(crate) type Start = Box<dyn FnOnce() + Send>;

/// What a child that was let in does.
pub(crate) enum Admission {
    Start,
    /// It waits, under that number, for [`Shared::put_in_line`].
    InLine(u64),
}

impl Line {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            waiting: VecDeque::new(),
            number: 0,
            granted: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Empties the line.
    pub(super) fn take(&mut self) -> VecDeque<InLine> {
        mem::take(&mut self.waiting)
    }

    /// A place is free again. Does anybody wait for one?
    pub(super) fn give_back(&mut self) -> bool {
        self.taken -= 1;
        !self.is_empty()
    }

    /// Takes a place, if one is free and nobody waits.
    fn try_take(&mut self) -> bool {
        let free = self.taken < self.limit && self.is_empty();
        self.taken += usize::from(free);
        free
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn push(&mut self) -> u64 {
        let number = self.next_number();
        self.waiting.push_back(InLine {
            number,
            waiter: None,
            start: None,
        });
        number
    }

    fn position(&self, number: u64) -> Option<usize> {
        let at = self
            .waiting
            .binary_search_by_key(&number, |in_line| in_line.number);
        at.ok()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut InLine> {
        self.position(number).map(|at| &mut self.waiting[at])
    }

    fn remove(&mut self, number: u64) -> Option<InLine> {
        self.position(number).and_then(|at| self.waiting.remove(at))
    }

    fn take_grant(&mut self, number: u64) -> bool {
        let at = self.granted.iter().position(|granted| *granted == number);
        at.map(|at| self.granted.swap_remove(at)).is_some()
    }

    /// Gives free places to those who are first in line.
    fn grant(&mut self) -> Granted {
        let mut granted = Granted::default();
        while self.taken < self.limit {
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            self.taken += 1;
            if first.start.is_none() {
                self.granted.push(first.number);
            }
            granted.all.push((first.start, first.waiter));
        }
        granted
    }
}

/// Those who got a place, to be started once the lock is released.
#[derive(Default)]
struct Granted {
    all: Vec<(Option<Start>, Option<Waker>)>,
}

impl Granted {
    fn start(self) {
        for (start, waiter) in self.all {
            if let Some(start) = start {
                start();
            }
            waiter.into_iter().for_each(wake);
        }
    }
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// Lets one more child in: at once if there is a place, and if it `may_wait`, into the line
    /// if there is none.
    pub(crate) fn admit(&self, may_wait: bool) -> Result<Admission, Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        state.refuse(asked_to_end)?;
        let admission = if state.line.try_take() {
            Admission::Start
        } else if may_wait {
            Admission::InLine(state.line.push())
        } else {
            return Err(Refusal::Full);
        };
        state.live += 1;
        state.spawned = true;
        Ok(admission)
    }

    /// Puts a child that was let in where its number stands in line; if that has left the line
    /// already, starts or drops it.
    pub(crate) fn put_in_line(&self, number: u64, start: Start) {
        let mut state = self.lock();
        if let Some(in_line) = state.line.get_mut(number) {
            in_line.start = Some(start);
            return;
        }
        let granted = state.line.take_grant(number);
        drop(state);
        if granted {
            start();
        } else {
            // The line was emptied by a cancellation. Ends the child as cancelled.
            discard(start);
        }
    }

    /// Waits until the one with that number has left the line.
    pub(crate) fn poll_started(&self, number: u64, cx: &Context<'_>) -> Poll<()> {
        // Cloned and dropped outside of the lock, for it is foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = match state.line.get_mut(number) {
            Some(in_line) => {
                mem::swap(&mut in_line.waiter, &mut waker);
                Poll::Pending
            }
            None => Poll::Ready(()),
        };
        drop(state);
        drop(waker);
        poll
    }

    /// Stands in line for a place.
    pub(crate) fn line_up(&self) -> Result<u64, Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        state.refuse(asked_to_end)?;
        if state.line.try_take() {
            let number = state.line.next_number();
            state.line.granted.push(number);
            Ok(number)
        } else {
            Ok(state.line.push())
        }
    }

    /// Waits for the place of the one with that number, and takes it.
    pub(crate) fn poll_place(&self, number: u64, cx: &Context<'_>) -> Poll<Result<(), Refusal>> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = if state.line.take_grant(number) {
            Poll::Ready(Ok(()))
        } else if let Some(in_line) = state.line.get_mut(number) {
            mem::swap(&mut in_line.waiter, &mut waker);
            Poll::Pending
        } else {
            // The line was emptied: by a cancellation, or because the nursery is over.
            Poll::Ready(state.refuse(true))
        };
        drop(state);
        drop(waker);
        poll
    }

    /// Leaves the line; a place that was granted meanwhile goes to the next.
    pub(crate) fn leave_line(&self, number: u64) {
        let mut state = self.lock();
        let granted = state.line.take_grant(number);
        let left = state.line.remove(number);
        drop(state);
        drop(left);
        if granted {
            self.give_place_back();
        }
    }

    /// A place that was taken without a child goes to the next.
    pub(crate) fn give_place_back(&self) {
        self.lock().line.give_back();
        self.pass_on();
    }

    /// A child takes a place that [`poll_place`](Self::poll_place) gave.
    pub(crate) fn admit_to_place(&self) -> Result<(), Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        state.refuse(asked_to_end)?;
        state.live += 1;
        state.spawned = true;
        Ok(())
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.lock().line.limit = limit;
        self.pass_on();
    }

    /// Gives free places to those who are first in line.
    pub(super) fn pass_on(&self) {
        // The cancellation from outside may be new, and nobody have emptied the line yet.
        if self.soft.is_cancelled() {
            return self.stop_starting();
        }
        let granted = self.lock().line.grant();
        granted.start();
    }
}
