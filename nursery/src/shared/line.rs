//! The limit, and the line for places: [`Line`].

use std::{
    collections::VecDeque,
    mem,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    Runtime,
    implement::{discard, wake},
};

use super::{Shared, State};
use crate::error::Refusal;

/// Places, and the line for them: children, and callers that wait for a place alone.
///
/// Taken places are not counted, because children that have one come and go without the lock. Their
/// number is that of all children minus those that wait.
pub(super) struct Line {
    limit: usize,
    // Their numbers rise.
    waiting: VecDeque<InLine>,
    /// Children that have been let in and have no place yet: in the line, or taken out of it to
    /// be destroyed.
    queued: usize,
    /// Places that are taken, or granted, without a child.
    reserved: usize,
    /// The last number that was given.
    number: u64,
    /// Places granted to waiters that have not been told yet.
    granted: Vec<u64>,
}

pub(super) struct InLine {
    number: u64,
    /// A child, and not a caller that waits for a place alone.
    is_child: bool,
    /// The waker of a caller that waits for the start, or for the place.
    pub(super) waiter: Option<Waker>,
    /// `None` for a caller that waits for a place alone, or for a child that has not been put here
    /// yet.
    pub(super) start: Option<Start>,
}

/// Starts a child; dropped unused, it ends it as cancelled.
pub(crate) type Start = Box<dyn FnOnce() + Send>;

/// The next step of a child that was let in.
pub(crate) enum Admission {
    Start,
    /// It waits, under that number, for [`Shared::put_in_line`].
    InLine(u64),
}

impl Line {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: VecDeque::new(),
            queued: 0,
            reserved: 0,
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

    /// A child that had no place is destroyed.
    pub(super) fn forget(&mut self) {
        self.queued -= 1;
    }

    /// Is a place free, of `children` in all?
    fn has_free(&self, children: usize) -> bool {
        children + self.reserved - self.queued < self.limit
    }

    /// Is a place free for a newcomer?
    fn has_place(&self, children: usize) -> bool {
        self.is_empty() && self.has_free(children)
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn push(&mut self, is_child: bool) -> u64 {
        let number = self.next_number();
        self.queued += usize::from(is_child);
        self.waiting.push_back(InLine {
            number,
            is_child,
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

    /// Gives free places to the first in line, of `children` in all.
    fn grant(&mut self, children: usize) -> Granted {
        let mut granted = Granted::default();
        while self.has_free(children) {
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            if first.is_child {
                self.queued -= 1;
            } else {
                self.reserved += 1;
            }
            if first.start.is_none() {
                self.granted.push(first.number);
            }
            granted.all.push((first.start, first.waiter));
        }
        granted
    }
}

/// The waiters that got a place, to be started once the lock is released.
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
        if !asked_to_end && self.members.try_spawn() {
            return Ok(Admission::Start);
        }
        self.admit_guarded(asked_to_end, may_wait)
    }

    #[inline(never)]
    fn admit_guarded(&self, asked_to_end: bool, may_wait: bool) -> Result<Admission, Refusal> {
        let mut state = self.lock();
        self.refuse(&state, asked_to_end)?;
        let children = self.children(&state);
        let has_place = state.line().has_place(children);
        if !has_place && !may_wait {
            return Err(Refusal::Full);
        }
        if !self.members.spawn() {
            return Err(Refusal::Closed);
        }
        if has_place {
            Ok(Admission::Start)
        } else {
            Ok(Admission::InLine(state.line().push(true)))
        }
    }

    /// Puts a child that was let in at its number in the line. If the number has left the line
    /// already, starts or drops the child.
    pub(crate) fn put_in_line(&self, number: u64, start: Start) {
        let mut state = self.lock();
        if let Some(in_line) = state.line().get_mut(number) {
            in_line.start = Some(start);
            return;
        }
        let granted = state.line().take_grant(number);
        drop(state);
        if granted {
            start();
        } else {
            // The line was emptied by a cancellation. Ends the child as cancelled.
            discard(start);
        }
    }

    /// Waits until the entry with that number has left the line.
    pub(crate) fn poll_started(&self, number: u64, cx: &Context<'_>) -> Poll<()> {
        // Cloned and dropped outside of the lock, because it is foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = match state.line().get_mut(number) {
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
        self.refuse(&state, asked_to_end)?;
        let children = self.children(&state);
        let line = state.line();
        if line.has_place(children) {
            let number = line.next_number();
            line.reserved += 1;
            line.granted.push(number);
            Ok(number)
        } else {
            Ok(line.push(false))
        }
    }

    /// Waits for the place of the entry with that number, and takes it.
    pub(crate) fn poll_place(&self, number: u64, cx: &Context<'_>) -> Poll<Result<(), Refusal>> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = if state.line().take_grant(number) {
            Poll::Ready(Ok(()))
        } else if let Some(in_line) = state.line().get_mut(number) {
            mem::swap(&mut in_line.waiter, &mut waker);
            Poll::Pending
        } else {
            // The line was emptied: by a cancellation, or because the nursery is over.
            Poll::Ready(self.refuse(&state, true))
        };
        drop(state);
        drop(waker);
        poll
    }

    /// Leaves the line; a place that was granted meanwhile goes to the next.
    pub(crate) fn leave_line(&self, number: u64) {
        let mut state = self.lock();
        let granted = state.line().take_grant(number);
        let left = state.line().remove(number);
        drop(state);
        drop(left);
        if granted {
            self.give_place_back();
        }
    }

    /// A place that was taken without a child goes to the next.
    pub(crate) fn give_place_back(&self) {
        self.lock().line().reserved -= 1;
        self.pass_on();
    }

    /// A child takes a place that [`poll_place`](Self::poll_place) gave.
    pub(crate) fn admit_to_place(&self) -> Result<(), Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        self.refuse(&state, asked_to_end)?;
        if !self.members.spawn() {
            return Err(Refusal::Closed);
        }
        state.line().reserved -= 1;
        Ok(())
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        let mut state = self.lock();
        state.line().limit = limit;
        self.members.guard();
        drop(state);
        self.pass_on();
    }

    /// Gives free places to the first in line.
    pub(super) fn pass_on(&self) {
        // The cancellation from outside may be so new that the line is not empty yet.
        if self.soft.is_cancelled() {
            return self.stop_starting();
        }
        let mut state = self.lock();
        let children = self.children(&state);
        let granted = state.line.as_mut().map(|line| line.grant(children));
        drop(state);
        if let Some(granted) = granted {
            granted.start();
        }
    }

    /// How many children there are, those in line among them. Under the lock and once the members
    /// are guarded, it can only fall.
    fn children(&self, state: &State<R, E>) -> usize {
        self.members.count() - state.holds - usize::from(state.has_body)
    }

    /// Refuses a child after the end, and while the nursery is being cancelled.
    fn refuse(&self, state: &State<R, E>, asked_to_end: bool) -> Result<(), Refusal> {
        if self.members.is_over() {
            Err(Refusal::Closed)
        } else if state.cancelling || asked_to_end {
            Err(Refusal::Cancelled)
        } else {
            Ok(())
        }
    }
}
