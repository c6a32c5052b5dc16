//! The clock of a run: each step takes a moment, and timers that are due are fired in between
//! two turns.

use std::sync::Arc;

use fourway_core::{context::Context, implement};

use crate::{
    state::{Due, Guard, Held, Inner, Phase, State},
    trace::{Action, Fault},
};

impl Inner {
    /// Each step takes a moment; and timers that are due are fired.
    pub(crate) fn pass_time<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let step = u64::try_from(self.config.step_time.as_nanos()).unwrap_or(u64::MAX);
        state.clock = state.clock.saturating_add(step);
        if state.phase == Phase::Running {
            if let Some(stall) = state.faults.stall() {
                state.event(None, Action::Fault(Fault::Stall));
                state.clock = state.clock.saturating_add(stall);
            }
        }
        self.fire(state)
    }

    pub(crate) fn fire<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let now = state.clock;
        if state
            .timers
            .first_key_value()
            .is_none_or(|(key, _)| key.0 > now)
        {
            return state;
        }
        let mut wakers = Vec::new();
        while let Some(first) = state.timers.first_entry() {
            if first.key().0 > now {
                break;
            }
            match first.remove() {
                Due::Wake(waker) => wakers.push(waker),
                Due::Ready(Held::Task(cell)) => state.tasks.push(cell),
                Due::Ready(Held::Thread(runnable)) => state.threads.push(runnable),
            }
        }
        state.progress = state.steps;
        state.firing = true;
        drop(state);
        {
            // As on the timer thread of a real runtime.
            let _mark = implement::enter(Context::Async, Some(self.id));
            wakers.into_iter().for_each(implement::wake);
        }
        let mut state = self.lock();
        state.firing = false;
        state
    }
}

impl State {
    /// Schedules an action at that time. Gives the key under which it is kept.
    pub(crate) fn at(&mut self, time: u64, due: Due) -> (u64, u64) {
        self.next_timer += 1;
        let key = (time, self.next_timer);
        self.timers.insert(key, due);
        key
    }

    pub(crate) fn no_timers(&self) -> bool {
        self.timers
            .keys()
            .next()
            .is_none_or(|key| key.0 == u64::MAX)
    }
}
