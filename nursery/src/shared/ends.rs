//! Leaving, and what happens when the last has left: [`End`], [`Stake`], [`Last`].

use std::{
    collections::VecDeque,
    mem,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    Runtime, Task,
    cancel::CancellationToken,
    implement::{Hold, discard, wake},
};

use super::{Shared, State, line::InLine};
use crate::{
    error::{Failure, NurseryError},
    ledger::Ledger,
};

/// How a child, or the body, ended.
pub(crate) enum End<E> {
    Done,
    Failed(Failure<E>),
    Cancelled,
    /// Something else will tell, once it has ended too.
    Deferred,
}

/// What a child holds of its nursery while it lives.
#[derive(Clone, Copy)]
pub(crate) struct Stake {
    /// It has a place of the limit.
    place: bool,
    closure: Option<u64>,
    /// It is what has been left of a child that has told its end already.
    hold: bool,
}

impl Stake {
    pub(crate) const NO_PLACE: Self = Self {
        place: false,
        closure: None,
        hold: false,
    };
    pub(crate) const PLACE: Self = Self {
        place: true,
        ..Self::NO_PLACE
    };
    pub(crate) const HOLD: Self = Self {
        hold: true,
        ..Self::NO_PLACE
    };

    pub(crate) fn closure(number: u64) -> Self {
        Self {
            closure: Some(number),
            ..Self::PLACE
        }
    }
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// A child has ended: its future or closure is destroyed, its result handed over.
    pub(crate) fn ended(&self, end: End<E>, stake: Stake) {
        let cancelled = matches!(end, End::Cancelled);
        if let End::Failed(failure) = end {
            // First the siblings, then this child's place: no other is started in between.
            self.failed(failure);
        }
        let mut state = self.lock();
        state.ledger.cancelled += usize::from(cancelled);
        let closure = stake
            .closure
            .and_then(|number| state.closures.remove(number));
        let others_wait = stake.place && state.line.give_back();
        if stake.hold {
            state.holds -= 1;
        } else {
            state.live -= 1;
        }
        let last = state.last();
        drop(state);
        if let Some(closure) = closure {
            closure.detach();
        }
        if others_wait {
            self.pass_on();
        }
        if let Some(last) = last {
            last.tell();
        }
    }

    /// The body has left.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.live -= 1;
        let last = state.last();
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }

    /// Nobody asks for the verdict any more. What has failed by now is told here if the last
    /// child has ended already, and by the last child otherwise.
    pub(super) fn leave_unread(&self) {
        let mut state = self.lock();
        state.left = true;
        let last = state.last();
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }

    /// Waits until all have left.
    pub(crate) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = if state.is_over() {
            Poll::Ready(())
        } else {
            mem::swap(&mut state.host, &mut waker);
            Poll::Pending
        };
        drop(state);
        drop(waker);
        poll
    }

    /// The nursery's future has seen that it is over: the one around need not wait for it.
    pub(crate) fn let_go(&self) {
        let hold = self.lock().hold.take();
        drop(hold);
    }

    /// A token that is cancelled once the nursery is over.
    pub(crate) fn over(&self) -> CancellationToken {
        let mut state = self.lock();
        let over = state
            .over
            .get_or_insert_with(CancellationToken::new)
            .clone();
        let now = state.is_over();
        drop(state);
        if now {
            over.cancel();
        }
        over
    }

    /// Children that have not ended, those in line among them; and the body.
    pub(crate) fn live(&self) -> usize {
        self.lock().live
    }

    /// Has everything ended?
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Has anything failed?
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().ledger.has_failed()
    }

    /// Has the body failed?
    pub(crate) fn has_body_failed(&self) -> bool {
        self.lock().ledger.body_failed
    }

    /// Has there been any child?
    pub(crate) fn had_children(&self) -> bool {
        self.lock().spawned
    }

    /// What the nursery comes to, once it is over. `body`: what the body gave, if it was not
    /// cut short and did not fail.
    pub(crate) fn verdict<T>(&self, body: Option<T>) -> Result<T, NurseryError<E>> {
        let ledger = mem::replace(&mut self.lock().ledger, Ledger::new(0));
        ledger.verdict(body, self.soft.reason())
    }
}

impl<R: Runtime, E> State<R, E> {
    pub(super) fn is_over(&self) -> bool {
        self.live == 0 && self.holds == 0
    }

    /// After one has left: was it the last?
    pub(super) fn last(&mut self) -> Option<Last<E>> {
        if !self.is_over() {
            return None;
        }
        // While the future is there, it may yet be dropped before it has seen the end: then the
        // one around has what has failed.
        let (failures, hold) = if self.left {
            (self.ledger.take_failures(), self.hold.take())
        } else {
            (Vec::new(), None)
        };
        Some(Last {
            host: self.host.take(),
            over: self.over.clone(),
            // Those who wait for a place alone: children in line count as live.
            line: self.line.take(),
            failures,
            hold,
        })
    }
}

/// Who is to be told that the nursery is over.
pub(super) struct Last<E> {
    host: Option<Waker>,
    over: Option<CancellationToken>,
    line: VecDeque<InLine>,
    /// Of a nursery whose future is gone.
    failures: Vec<Failure<E>>,
    hold: Option<Box<dyn Hold>>,
}

impl<E> Last<E> {
    pub(super) fn tell(self) {
        for in_line in self.line {
            in_line.waiter.into_iter().for_each(wake);
        }
        self.host.into_iter().for_each(wake);
        if let Some(over) = self.over {
            over.cancel();
        }
        let mut hold = self.hold;
        for failure in self.failures {
            match (failure, &mut hold) {
                // An error has a type that the nursery around does not know; a panic has not.
                (Failure::Join(error), Some(hold)) if error.is_panic() => {
                    hold.panicked(error.into_panic());
                }
                (failure, _) => discard(failure),
            }
        }
        // The nursery around may be over now.
        drop(hold);
    }
}
