//! The common state of a nursery, its children and its handles.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use fourway_conformance::nursery::{Error, Failure, Refusal, Refused, Settings, Value, Work};
use fourway_core::{
    AnyRuntime, JoinError,
    cancel::{CancellationToken, Cancelled, Reason},
    implement::discard,
    values::Values,
};

use crate::bugs::{self, Bug};

use super::{
    child::{Report, Unstarted},
    refused,
};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Shared {
    pub(super) rt: AnyRuntime,
    pub(super) bug: Bug,
    supervise: bool,
    pub(super) grace: Duration,
    /// Asks to end.
    pub(super) soft: CancellationToken,
    /// Drops the children that are in no shield.
    pub(super) hard: CancellationToken,
    /// The nursery's future is gone: drops also those in a shield.
    pub(super) kill: CancellationToken,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    /// The body and the children, those in line among them.
    pub(super) live: usize,
    cancelling: bool,
    /// The nursery cancelled itself; there was no cancellation from outside.
    pub(super) by_itself: bool,
    /// The first failure came before any cancellation.
    pub(super) failed_first: bool,
    limit: usize,
    taken: usize,
    line: VecDeque<(u64, Option<Unstarted>)>,
    next: u64,
    granted: Vec<u64>,
    pub(super) failures: Vec<Failure<Error>>,
    pub(super) cancelled: usize,
    /// The wakers of all waiters.
    wakers: Vec<Waker>,
    /// The body is over; for [`Bug::ClosesWithBody`] and others.
    pub(super) body_over: bool,
    /// For [`Bug::ResultsKept`].
    kept: Vec<Value>,
    /// For [`Bug::PanicCancelsLate`].
    pub(super) cancel_later: bool,
}

/// How a child ended.
pub(super) enum End {
    Done(Value),
    Failed(Failure<Error>),
    Cancelled,
}

impl State {
    pub(super) fn is_in_line(&self, number: u64) -> bool {
        self.line.iter().any(|(known, _)| *known == number)
    }

    pub(super) fn take_grant(&mut self, number: u64) -> bool {
        let at = self.granted.iter().position(|granted| *granted == number);
        at.map(|at| self.granted.swap_remove(at)).is_some()
    }

    fn push_in_line(&mut self, child: Option<Unstarted>) -> u64 {
        self.next += 1;
        self.line.push_back((self.next, child));
        self.next
    }

    /// Gives free places to children in line.
    fn grant(&mut self, bug: Bug) -> Vec<Unstarted> {
        let mut start = Vec::new();
        while self.taken < self.limit {
            let next = match bug {
                Bug::LastComeFirst => self.line.pop_back(),
                _ => self.line.pop_front(),
            };
            let Some((number, child)) = next else { break };
            self.taken += 1;
            match child {
                Some(child) => start.push(child),
                None => self.granted.push(number),
            }
        }
        start
    }
}

impl Shared {
    pub(super) fn new(rt: AnyRuntime, settings: &Settings) -> Self {
        let bug = bugs::bug();
        let around = match bug {
            Bug::InnerNurseryAlone => settings.token.clone(),
            _ => {
                let token = settings.token.clone();
                token.or_else(fourway_core::cancel::try_current)
            }
        };
        let around = around.unwrap_or_default();
        let soft = match settings.timeout {
            Some(timeout) => around.child_with_timeout(&rt, timeout),
            None => around.child(),
        };
        let limit = settings.limit.unwrap_or(usize::MAX);
        Self {
            rt,
            bug,
            supervise: settings.supervise && bug != Bug::SuperviseCancels,
            grace: match bug {
                Bug::NoGrace => Duration::ZERO,
                _ => settings.grace,
            },
            soft,
            hard: CancellationToken::new(),
            kill: CancellationToken::new(),
            state: Mutex::new(State {
                live: 1,
                cancelling: false,
                by_itself: false,
                failed_first: false,
                limit: match bug {
                    Bug::PlaceForNobody => (limit - 1).max(1),
                    _ => limit,
                },
                taken: 0,
                line: VecDeque::new(),
                next: 0,
                granted: Vec::new(),
                failures: Vec::new(),
                cancelled: 0,
                wakers: Vec::new(),
                body_over: false,
                kept: Vec::new(),
                cancel_later: false,
            }),
        }
    }

    /// The current values of a child, or body, that is made here.
    pub(super) fn travels(&self) -> Values {
        let values = match self.bug {
            Bug::ValuesStayBehind => Values::default(),
            _ => Values::current(),
        };
        match self.bug {
            Bug::TokenStaysBehind => values,
            _ => self.soft.attach(values),
        }
    }

    /// Waits until `look` finds something.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        look: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.state);
        match look(&mut state) {
            Some(found) => {
                drop(state);
                drop(waker);
                Poll::Ready(found)
            }
            None => {
                state.wakers.push(waker);
                Poll::Pending
            }
        }
    }

    pub(super) fn changed(&self) {
        let wakers = std::mem::take(&mut lock(&self.state).wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn refusal(&self, state: &State) -> Option<Refusal> {
        let over = state.live == 0 || self.bug == Bug::ClosesWithBody && state.body_over;
        if over && self.bug != Bug::ChildAfterClose {
            return Some(Refusal::Closed);
        }
        let cancelling = state.cancelling || self.soft.is_cancelled();
        let refuses = self.bug != Bug::ChildWhileCancelling;
        (cancelling && refuses).then_some(Refusal::Cancelled)
    }

    /// Starts a child, or puts it in line and gives its number.
    pub(super) fn spawn(
        self: &Arc<Self>,
        work: Work,
        report: Report,
        may_wait: bool,
    ) -> Result<Option<u64>, Refused> {
        let mut state = lock(&self.state);
        if let Some(why) = self.refusal(&state) {
            drop(state);
            return Err(refused(why, work));
        }
        if self.bug == Bug::LooksThenCounts {
            drop(state);
            thread::sleep(Duration::from_millis(2));
            state = lock(&self.state);
        }
        let child = if state.taken < state.limit && state.line.is_empty() {
            state.taken += 1;
            Some(Unstarted::new(work, report, self))
        } else if may_wait {
            let child = Unstarted::new(work, report, self);
            state.live += 1;
            return Ok(Some(state.push_in_line(Some(child))));
        } else {
            drop(state);
            return Err(refused(Refusal::Full, work));
        };
        state.live += 1;
        drop(state);
        child.into_iter().for_each(Unstarted::start);
        Ok(None)
    }

    pub(super) fn ended(&self, end: End, place: bool) {
        let mut keeps_place = false;
        match end {
            End::Done(value) if self.bug == Bug::ResultsKept => lock(&self.state).kept.push(value),
            End::Done(value) => discard(value),
            End::Failed(failure) => {
                keeps_place = self.bug == Bug::FailureKeepsPlace;
                self.failed(failure, !self.supervise);
            }
            End::Cancelled if self.bug == Bug::CancelledIsFailure => {
                let error = Failure::Join(JoinError::cancelled());
                lock(&self.state).failures.push(error);
            }
            End::Cancelled => lock(&self.state).cancelled += 1,
        }
        if place && !keeps_place {
            self.give_place_back();
        }
        self.leave();
    }

    /// Records a failure, which may end the whole nursery.
    pub(super) fn failed(&self, failure: Failure<Error>, of_all: bool) {
        let was_cancelled = self.soft.is_cancelled();
        let failure = match failure {
            Failure::Join(error) if error.is_panic() && self.bug == Bug::NurseryPayloadLost => {
                Failure::Join(JoinError::panicked(Box::new("a child panicked")))
            }
            failure => failure,
        };
        let mut state = lock(&self.state);
        state.failed_first |= !was_cancelled;
        if self.bug != Bug::SecondErrorLost || state.failures.is_empty() {
            state.failures.push(failure);
        }
        if self.bug == Bug::PanicCancelsLate {
            state.cancel_later |= of_all;
            drop(state);
            return self.changed();
        }
        drop(state);
        if of_all && self.bug != Bug::FailureCancelsNobody {
            self.cancel(&Reason::SiblingFailed);
        }
    }

    /// Does the error only say that the child was cancelled?
    pub(super) fn is_cancellation(&self, error: &Error) -> bool {
        let inner = error.get_ref();
        self.soft.is_cancelled() && inner.is_some_and(|inner| inner.is::<Cancelled>())
    }

    pub(super) fn give_place_back(&self) {
        let mut state = lock(&self.state);
        state.taken -= 1;
        let start = state.grant(self.bug);
        drop(state);
        start.into_iter().for_each(Unstarted::start);
        self.changed();
    }

    /// One participant less.
    pub(super) fn leave(&self) {
        {
            let mut state = lock(&self.state);
            state.live = state.live.saturating_sub(1);
        }
        self.changed();
    }

    pub(super) fn set_limit(&self, limit: usize) {
        let mut state = lock(&self.state);
        state.limit = limit;
        if self.bug == Bug::RaisedLimitSleeps {
            return;
        }
        let start = state.grant(self.bug);
        drop(state);
        start.into_iter().for_each(Unstarted::start);
        self.changed();
    }

    /// Stands in line for a place.
    pub(super) fn line_up(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        if self.refusal(&state).is_some() {
            return None;
        }
        let number = state.push_in_line(None);
        // At once, if one is free.
        let start = state.grant(self.bug);
        drop(state);
        start.into_iter().for_each(Unstarted::start);
        Some(number)
    }

    pub(super) fn leave_line(&self, number: u64) {
        let mut state = lock(&self.state);
        let granted = state.take_grant(number);
        state.line.retain(|(known, _)| *known != number);
        drop(state);
        if granted && self.bug != Bug::WaiterPlaceLost {
            self.give_place_back();
        }
    }

    pub(super) fn cancel(&self, reason: &Reason) {
        if !self.soft.is_cancelled() && self.bug != Bug::OwnCancelIsError {
            lock(&self.state).by_itself = true;
        }
        self.soft.cancel_with(reason.clone());
        self.stop_starting();
        if self.grace.is_zero() {
            self.hard.cancel_with(reason.clone());
        }
        self.changed();
    }

    /// Children in line will not be started.
    pub(super) fn stop_starting(&self) {
        let mut state = lock(&self.state);
        state.cancelling = true;
        let line = std::mem::take(&mut state.line);
        drop(state);
        drop(line);
        self.changed();
    }

    /// The nursery's future is dropped.
    pub(super) fn abandon(&self) {
        if self.bug == Bug::DropDestroysNobody {
            return;
        }
        self.soft.cancel_with(Reason::Dropped);
        if self.bug != Bug::LineOutlivesDrop {
            self.stop_starting();
        }
        self.hard.cancel_with(Reason::Dropped);
        if self.bug != Bug::ShieldSurvivesDrop {
            self.kill.cancel_with(Reason::Dropped);
        }
        while self.bug == Bug::DropBlocks && lock(&self.state).live > 1 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
