//! Leaving, and the end of the last member: [`End`], [`Stake`], [`Last`], [`Over`].

use std::{
    mem,
    task::{Poll, Waker},
};

use fourway_core::{
    Runtime, Task,
    cancel::CancellationToken,
    implement::{Hold, discard, wake},
};

use super::{Shared, State, line::InLine};
use crate::{error::Failure, ledger::Ledger, sync::atomic::Ordering};

/// How a child, or the body, ended.
pub(crate) enum End<E> {
    Done,
    Failed(Failure<E>),
    Cancelled,
    /// Other work will report, once it has ended too.
    Deferred,
}

/// A child's share in its nursery while it lives.
#[derive(Clone, Copy)]
pub(crate) enum Stake {
    /// It has not been started.
    NoPlace,
    /// It has a place of the limit.
    Place,
    /// The same, as the closure with that number.
    Closure(u64),
    /// The rest of a child that has reported its end already.
    Hold,
}

/// The data that the nursery's future takes when all have left.
pub(crate) struct Over<E> {
    /// None if nothing failed and nothing was cancelled.
    pub(crate) ledger: Option<Box<Ledger<E>>>,
    /// How this nursery holds the one around it, which need not wait for it any more. `None` if the
    /// last member has let go of it.
    pub(crate) hold: Option<Box<dyn Hold>>,
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// A child has ended: its future or closure is destroyed, its result handed over.
    pub(crate) fn ended(&self, end: End<E>, stake: Stake) {
        match end {
            End::Done | End::Deferred => {}
            // First the siblings, then this child's place: no other is started in between.
            End::Failed(failure) => self.failed(failure),
            End::Cancelled => self.ledger(&mut self.lock()).cancelled += 1,
        }
        match stake {
            Stake::Place => {}
            Stake::Closure(number) => {
                let closure = self.lock().closures.remove(number);
                if let Some(closure) = closure {
                    closure.detach();
                }
            }
            Stake::NoPlace => return self.leave_with(|state| state.line().forget()),
            Stake::Hold => return self.release(),
        }
        let left = self.members.leave();
        if left.last {
            let last = self.last(&mut self.lock());
            last.tell();
        } else if left.guarded {
            self.pass_on();
        }
    }

    /// A member leaves; `forget` takes it out of the state under the lock.
    pub(super) fn leave_with(&self, forget: impl FnOnce(&mut State<R, E>)) {
        if self.is_inherited() {
            // Its members, and its lock, are the parent's.
            return;
        }
        let mut state = self.lock();
        forget(&mut state);
        let last = self.members.leave().last.then(|| self.last(&mut state));
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }

    /// The body has left, and the nursery's future with it.
    pub(crate) fn leave(&self) {
        self.leave_with(|state| state.has_body = false);
    }

    /// No caller asks for the verdict any more. The failures so far are reported here if the last
    /// child has ended already, and by the last child otherwise.
    pub(super) fn leave_unread(&self) {
        let mut state = self.lock();
        state.left = true;
        let host = state.host.take();
        let last = self.members.is_over().then(|| self.last(&mut state));
        drop(state);
        drop(host);
        let Some(mut last) = last else {
            return;
        };
        if last.hold.is_none() && last.has_failures() {
            // The last member has let go of it. What drops this future is mostly work of the
            // nursery around, which is therefore not over. If the future was moved out of that
            // nursery after its first poll, and it is over, nobody is left to get a panic.
            last.hold = self.around.clone().and_then(|around| around.hold());
        }
        last.tell();
    }

    /// The end, once all have left.
    pub(crate) fn try_over(&self) -> Option<Over<E>> {
        if !self.members.is_over() {
            return None;
        }
        // Relaxed: see `ledger`. What holds the nursery around must be taken under the lock.
        if !self.noted.load(Ordering::Relaxed) && self.around.is_none() {
            self.given.store(true, Ordering::Relaxed);
            return Some(Over {
                ledger: None,
                hold: None,
            });
        }
        if self.is_inherited() {
            return None;
        }
        // The last member may be about to look for a waker, and need not.
        let (over, host) = self.lock().over();
        drop(host);
        Some(over)
    }

    /// Waits until all have left; the `body` leaves now if it has not done so.
    pub(crate) fn poll_over(&self, body: bool, waker: Waker) -> Poll<Over<E>> {
        // Dropped outside of the lock, because it is foreign code.
        let mut waker = Some(waker);
        let mut state = self.lock();
        let mut last = None;
        if body {
            state.has_body = false;
            last = self.members.leave().last.then(|| self.last(&mut state));
        }
        let poll = if self.members.is_over() {
            let (over, host) = state.over();
            drop(state);
            drop(host);
            Poll::Ready(over)
        } else {
            mem::swap(&mut state.host, &mut waker);
            drop(state);
            Poll::Pending
        };
        if let Some(last) = last {
            last.tell();
        }
        drop(waker);
        poll
    }

    /// A token that is cancelled once the nursery is over.
    pub(crate) fn over(&self) -> CancellationToken {
        let mut state = self.lock();
        let over = state
            .over
            .get_or_insert_with(CancellationToken::new)
            .clone();
        // If the nursery is not over yet, the last member finds the token.
        let now = self.members.is_over();
        drop(state);
        if now {
            over.cancel();
        }
        over
    }

    /// Children that have not ended, those in line among them; and the body.
    pub(crate) fn live(&self) -> usize {
        if self.is_inherited() {
            // As they were at the fork; the lock stays untouched.
            return self.members.count();
        }
        let state = self.lock();
        self.members.count() - state.holds
    }

    /// Has everything ended?
    pub(crate) fn is_over(&self) -> bool {
        self.members.is_over()
    }

    /// Has there been any child?
    pub(crate) fn had_children(&self) -> bool {
        self.members.had_children()
    }
}

impl<R: Runtime, E> Shared<R, E> {
    /// The waiters to tell. The last member calls this, when all have left.
    fn last(&self, state: &mut State<R, E>) -> Last<E> {
        Last {
            host: state.host.take(),
            // Not kept until the verdict is read: the future that reads it may have been forgotten.
            hold: state.hold.take(),
            others: self.others(state),
        }
    }

    fn others(&self, state: &mut State<R, E>) -> Option<Box<Others<E>>> {
        let waits = state.line.as_ref().is_some_and(|line| !line.is_empty());
        if !waits && !state.left && state.over.is_none() {
            return None;
        }
        // While the future is there, it may still be dropped before it has seen the end: then the
        // outer nursery gets the failures.
        let failures = match state.left {
            true => self.ledger(state).take_failures(),
            false => Vec::new(),
        };
        Some(Box::new(Others {
            over: state.over.clone(),
            // Only callers that wait for a place: children in line are members.
            line: state.line().take().collect(),
            failures,
        }))
    }
}

impl<R: Runtime, E> State<R, E> {
    /// The data for the nursery's future, and the waker that is not needed any more.
    fn over(&mut self) -> (Over<E>, Option<Waker>) {
        self.keep = 0;
        let over = Over {
            ledger: self.ledger.take(),
            hold: self.hold.take(),
        };
        (over, self.host.take())
    }
}

/// The waiters to tell that the nursery is over.
struct Last<E> {
    host: Option<Waker>,
    /// How the nursery holds the one around it.
    hold: Option<Box<dyn Hold>>,
    // Boxed, because usually there are none.
    others: Option<Box<Others<E>>>,
}

struct Others<E> {
    over: Option<CancellationToken>,
    line: Vec<InLine>,
    /// Of a nursery whose future is gone.
    failures: Vec<Failure<E>>,
}

impl<E> Last<E> {
    fn has_failures(&self) -> bool {
        let others = self.others.as_ref();
        others.is_some_and(|others| !others.failures.is_empty())
    }

    fn tell(self) {
        self.host.into_iter().for_each(wake);
        let mut hold = self.hold;
        if let Some(others) = self.others {
            others.tell(&mut hold);
        }
        // The nursery around may be over now.
        drop(hold);
    }
}

impl<E> Others<E> {
    fn tell(self, hold: &mut Option<Box<dyn Hold>>) {
        for in_line in self.line {
            in_line.waiter.into_iter().for_each(wake);
        }
        if let Some(over) = self.over {
            over.cancel();
        }
        for failure in self.failures {
            match (failure, &mut *hold) {
                // An error has a type that the nursery around does not know; a panic has not.
                (Failure::Join(error), Some(hold)) if error.is_panic() => {
                    hold.panicked(error.into_panic());
                }
                (failure, _) => discard(failure),
            }
        }
    }
}
