//! The limit, and the line for places: [`Line`].

use std::{
    collections::{BTreeMap, BTreeSet},
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
    // In order of arrival. By number, because a waiter looks itself up, and may leave from the
    // middle.
    waiting: BTreeMap<Number, InLine>,
    /// Children that have been let in and have no place yet: in the line, or taken out of it to
    /// be destroyed.
    queued: usize,
    /// Places that are taken, or granted, without a child.
    reserved: usize,
    /// The last number that was given.
    number: u64,
    /// Places granted to waiters that have not been told yet.
    granted: BTreeSet<Number>,
}

/// A position in line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(u64);

pub(super) struct InLine {
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
    InLine(Number),
}

impl Line {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: BTreeMap::new(),
            queued: 0,
            reserved: 0,
            number: 0,
            granted: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Empties the line.
    pub(super) fn take(&mut self) -> impl Iterator<Item = InLine> + use<> {
        mem::take(&mut self.waiting).into_values()
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

    fn next_number(&mut self) -> Number {
        self.number += 1;
        Number(self.number)
    }

    fn push(&mut self, is_child: bool) -> Number {
        let number = self.next_number();
        self.queued += usize::from(is_child);
        let in_line = InLine {
            is_child,
            waiter: None,
            start: None,
        };
        self.waiting.insert(number, in_line);
        number
    }

    fn get_mut(&mut self, number: Number) -> Option<&mut InLine> {
        self.waiting.get_mut(&number)
    }

    fn remove(&mut self, number: Number) -> Option<InLine> {
        self.waiting.remove(&number)
    }

    fn take_grant(&mut self, number: Number) -> bool {
        self.granted.remove(&number)
    }

    /// Gives free places to the first in line, of `children` in all.
    fn grant(&mut self, children: usize) -> Granted {
        let mut granted = Granted::default();
        while self.has_free(children) {
            let Some((number, first)) = self.waiting.pop_first() else {
                break;
            };
            if first.is_child {
                self.queued -= 1;
            } else {
                self.reserved += 1;
            }
            if first.start.is_none() {
                self.granted.insert(number);
            }
            granted.all.push((first.start, first.waiter));
        }
        granted
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        #[cfg(test)]
        tests::count();
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

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
        let asked_to_end = self.is_asked();
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
    pub(crate) fn put_in_line(&self, number: Number, start: Start) {
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
    pub(crate) fn poll_started(&self, number: Number, cx: &Context<'_>) -> Poll<()> {
        if self.is_inherited() {
            return Poll::Ready(());
        }
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
    pub(crate) fn line_up(&self) -> Result<Number, Refusal> {
        if self.is_inherited() {
            return Err(Refusal::Closed);
        }
        let asked_to_end = self.is_asked();
        let mut state = self.lock();
        self.refuse(&state, asked_to_end)?;
        let children = self.children(&state);
        let line = state.line();
        if line.has_place(children) {
            let number = line.next_number();
            line.reserved += 1;
            line.granted.insert(number);
            Ok(number)
        } else {
            Ok(line.push(false))
        }
    }

    /// Waits for the place of the entry with that number, and takes it.
    pub(crate) fn poll_place(&self, number: Number, cx: &Context<'_>) -> Poll<Result<(), Refusal>> {
        if self.is_inherited() {
            return Poll::Ready(Err(Refusal::Closed));
        }
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
    pub(crate) fn leave_line(&self, number: Number) {
        if self.is_inherited() {
            return;
        }
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
        if self.is_inherited() {
            return;
        }
        self.lock().line().reserved -= 1;
        self.pass_on();
    }

    /// A child takes a place that [`poll_place`](Self::poll_place) gave.
    pub(crate) fn admit_to_place(&self) -> Result<(), Refusal> {
        if self.is_inherited() {
            return Err(Refusal::Closed);
        }
        let asked_to_end = self.is_asked();
        let mut state = self.lock();
        self.refuse(&state, asked_to_end)?;
        if !self.members.spawn() {
            return Err(Refusal::Closed);
        }
        state.line().reserved -= 1;
        Ok(())
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        state.line().limit = limit;
        self.members.guard();
        drop(state);
        self.pass_on();
    }

    /// Gives free places to the first in line.
    pub(super) fn pass_on(&self) {
        // The cancellation from outside may be so new that the line is not empty yet.
        if self.is_asked() {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{Line, Number};

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts a comparison of two numbers.
    pub(super) fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    fn steps(f: impl FnOnce()) -> usize {
        let before = STEPS.get();
        f();
        STEPS.get() - before
    }

    /// Looking up a waiter takes few steps, even if many wait. A linear search would take millions.
    #[test]
    fn whoever_waits_finds_itself_in_few_steps() {
        const MANY: usize = 4096;
        const FEW: usize = 64;
        let full = || {
            let mut line = Line::new(1);
            let numbers: Vec<Number> = (0..MANY).map(|_| line.push(false)).collect();
            (line, numbers)
        };

        let (mut line, numbers) = full();
        line.limit = MANY;
        drop(line.grant(0));
        let taking = steps(|| {
            // The last waiter first: for it, a linear search would be longest.
            for number in numbers.into_iter().rev() {
                assert!(line.take_grant(number));
                assert!(!line.take_grant(number), "it is taken once");
            }
        });
        assert!(taking < MANY * 2 * FEW, "{taking} steps");

        let (mut line, numbers) = full();
        let middle = MANY / 2;
        let leaving = steps(|| {
            for number in numbers[middle..].iter().chain(&numbers[..middle]) {
                assert!(line.get_mut(*number).is_some());
                assert!(line.remove(*number).is_some());
            }
        });
        assert!(leaving < MANY * 2 * FEW, "{leaving} steps");
        assert!(line.is_empty());
    }
}
