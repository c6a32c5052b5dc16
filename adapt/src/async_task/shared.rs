//! The state that a handle and its abort handles share, from the first abort handle on.

use std::{
    mem::forget,
    sync::{Arc, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
};

use fourway_core::{
    JoinError,
    implement::{Abort, wake},
};

use super::{postponed, raw::Raw};
use crate::{
    fork::Process,
    sync::{Mutex, MutexGuard},
};

/// A native task that its handle and abort handles share.
///
/// A thread that works on the task takes it out and sets `busy`, so that no lock is held while
/// wakers are called or cloned. Other threads leave their requests in the state, and the busy
/// thread carries them out afterwards.
pub(super) struct Shared<T: Send + 'static> {
    number: u64,
    process: Process,
    state: Mutex<State<T>>,
}

struct State<T> {
    raw: Raw<T>,
    busy: bool,
    abort: bool,
    /// The last joiner's waker.
    joiner: Option<Waker>,
    /// Is the joiner's waker with the native task only? The native task calls it when it is
    /// cancelled and when it ends, unless another waker takes its place.
    joiner_is_native: bool,
    /// Did a joiner find the task busy, and go away without registering?
    joiner_turned_away: bool,
    /// Set when the handle is gone: the result is dropped as soon as there is
    /// one, however long abort handles live. Called when the native task ends.
    reaper: Option<Waker>,
    /// Has the reaper been called?
    ended: bool,
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn new(number: u64, raw: Raw<T>, joiner_is_native: bool) -> Self {
        let state = State {
            raw,
            busy: false,
            abort: false,
            joiner: None,
            joiner_is_native,
            joiner_turned_away: false,
            reaper: None,
            ended: false,
        };
        Self {
            number,
            process: Process::this(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        let before = state.joiner.replace(waker);
        state.joiner_is_native = false;
        if state.busy {
            state.joiner_turned_away = true;
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        let mut raw = self.take(&mut state);
        if let Raw::Empty = raw {
            // About to panic; the task stays as it is for its abort handles.
            state.busy = false;
        }
        drop(state);
        drop(before);
        let poll = raw.poll(self.number, cx);
        self.put_back(raw, false);
        if poll.is_ready() {
            let joiner = self.lock().joiner.take();
            drop(joiner);
        }
        poll
    }

    /// Takes the task out, and sets `busy`.
    fn take(&self, state: &mut State<T>) -> Raw<T> {
        debug_assert!(!state.busy);
        state.busy = true;
        std::mem::replace(&mut state.raw, Raw::Empty)
    }

    /// Puts the task back, after carrying out the requests of other threads.
    fn put_back(&self, mut raw: Raw<T>, mut wake_joiner: bool) {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.abort) {
                drop(state);
                if let Raw::Live(_) = raw {
                    raw.cancel(self.number);
                    // A waker that was with the live task has been called by it.
                    wake_joiner = true;
                }
                postponed::done(self.number);
            } else if let (Some(reaper), true, false) =
                (state.reaper.clone(), state.ended, raw.is_over())
            {
                state.ended = false;
                drop(state);
                let mut cx = Context::from_waker(&reaper);
                if let Poll::Ready(result) = raw.poll(self.number, &mut cx) {
                    raw = Raw::Ended(result);
                }
            } else if state.reaper.is_some() && matches!(raw, Raw::Ended(_)) {
                drop(state);
                std::mem::replace(&mut raw, Raw::Empty).detach(self.number);
            } else {
                break;
            }
            state = self.lock();
        }
        // A joiner that found the task busy waits for this moment.
        wake_joiner |= std::mem::take(&mut state.joiner_turned_away);
        state.busy = false;
        state.raw = raw;
        let joiner = if wake_joiner {
            state.joiner.take()
        } else {
            None
        };
        drop(state);
        if let Some(joiner) = joiner {
            wake(joiner);
        }
    }

    pub(super) fn request_abort(&self) {
        let mut state = self.lock();
        if state.busy {
            if !state.abort {
                state.abort = true;
                postponed::add(self.number);
            }
            return;
        }
        let mut raw = self.take(&mut state);
        drop(state);
        let was_live = matches!(raw, Raw::Live(_));
        raw.cancel(self.number);
        self.put_back(raw, was_live);
    }

    /// The handle goes away.
    pub(super) fn detach(&self, reaper: Waker) {
        let mut state = self.lock();
        state.reaper = Some(reaper);
        let joiner = state.joiner.take();
        drop(state);
        drop(joiner);
        self.look_at_end();
    }

    /// Drops the result of a detached task, now or when it comes.
    fn look_at_end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if !state.busy {
            let raw = self.take(&mut state);
            drop(state);
            self.put_back(raw, false);
        }
    }
}

/// The joiner of a detached task. Weak: the last abort handle lets the native
/// task go, so that the executor may have it to itself.
pub(super) struct Reaper<T: Send + 'static>(pub(super) Weak<Shared<T>>);

impl<T: Send + 'static> Wake for Reaper<T> {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.look_at_end();
        }
    }
}

impl<T: Send + 'static> Abort for Shared<T> {
    fn abort(&self) {
        if self.process.is_this() {
            self.request_abort();
        }
    }

    fn is_finished(&self) -> bool {
        if !self.process.is_this() {
            return true;
        }
        let mut state = self.lock();
        if state.busy {
            return false;
        }
        match &state.raw {
            Raw::Live(task) if !task.is_finished() => return false,
            Raw::Ended(_) | Raw::Empty => return true,
            // A poll might put another waker in the place of the joiner's. Without
            // one, an executor that is just destroying the task counts as done.
            Raw::Live(_) if state.joiner_is_native => return true,
            Raw::Live(_) | Raw::Cancelled(..) => {}
        }
        // "Closed" does not say whether the future is destroyed yet: only a poll
        // does. The joiner's waker must stay the registered one; it is taken out
        // rather than cloned, because cloning is user code.
        let reaper = state.reaper.clone();
        let joiner = state.joiner.take();
        let mut raw = self.take(&mut state);
        drop(state);
        let waker = reaper.as_ref().or(joiner.as_ref());
        let mut cx = Context::from_waker(waker.unwrap_or(Waker::noop()));
        if let Poll::Ready(result) = raw.poll(self.number, &mut cx) {
            raw = Raw::Ended(result);
        }
        let mut state = self.lock();
        let superseded = match (joiner, &mut state.joiner) {
            (joiner, Some(_)) => joiner,
            (joiner, none) => {
                *none = joiner;
                None
            }
        };
        drop(state);
        drop(superseded);
        let finished = raw.is_over();
        self.put_back(raw, finished);
        finished
    }
}

impl<T: Send + 'static> Drop for Shared<T> {
    fn drop(&mut self) {
        // The last abort handle of a detached task goes: the task runs on. If the task's own handle
        // was dropped, the task is cancelled already.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !self.process.is_this() {
            forget(std::mem::replace(&mut state.raw, Raw::Empty));
            return;
        }
        std::mem::replace(&mut state.raw, Raw::Empty).detach(self.number);
    }
}
