//! The turn, and how it is handed on.
//!
//! Tasks are polled on worker threads, closures run on threads of their own. One of all these
//! threads, the [`Carrier`]s, has the **turn**; the others are parked. A thread that waits, in
//! `block_on` or because its poll or closure is over, [chooses](crate::choose) the next one and
//! hands the turn over. So blocking code needs no change: its `block_on` is where turns change.
//!
//! In an *open* simulation, outside of [`Sim::run`](crate::Sim::run), threads that it does not
//! know take part as well. Then a thread that has the turn and blocks on one of those would
//! keep it; a watch takes it away ([`watch`](crate::watch)). After that the thread runs beside the
//! others, until it waits again. The program is not simulated any more then, but it runs.

use std::{
    panic::Location,
    sync::{Arc, atomic::Ordering},
    thread,
};

use crate::{
    carrier::{Carrier, Role},
    life,
    state::{Guard, Inner, Phase, Runnable},
    trace::{Action, Fault},
};

impl Inner {
    /// The first turn of a run.
    pub(crate) fn begin(&self, state: Guard<'_>, main: &Arc<Carrier>) {
        self.pass(state, main);
    }

    /// Waits until the calling thread has the turn, if it does not have it: it is a guest, or
    /// the turn was taken away from it.
    pub(crate) fn regain<'a>(
        self: &'a Arc<Self>,
        mut state: Guard<'a>,
        me: &Arc<Carrier>,
    ) -> Guard<'a> {
        while state.holder != Some(me.number) {
            state.threads.push(Runnable::Resume(me.clone()));
            self.kick(state);
            me.wait_turn();
            // By now it may have been taken away again.
            state = self.lock();
        }
        state
    }

    /// Gives the turn away, and returns when the calling thread has it again. `ready`: is it
    /// among those that are ready?
    pub(crate) fn switch(self: &Arc<Self>, state: Guard<'_>, me: &Arc<Carrier>, ready: bool) {
        me.handing_over.store(true, Ordering::Relaxed);
        let (state, next) = self.choose(state, ready);
        match next {
            Some(next) if Arc::ptr_eq(&next, me) => drop(state),
            Some(next) => {
                self.pass(state, &next);
                me.wait_turn();
            }
            None => {
                self.rest(state);
                me.wait_turn();
            }
        }
        me.handing_over.store(false, Ordering::Relaxed);
    }

    /// As `switch`, for a thread that does not want the turn back.
    pub(crate) fn leave(self: &Arc<Self>, state: Guard<'_>, me: &Arc<Carrier>) {
        me.handing_over.store(true, Ordering::Relaxed);
        let (state, next) = self.choose(state, false);
        match next {
            Some(next) => self.pass(state, &next),
            None => self.rest(state),
        }
        me.handing_over.store(false, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, mut state: Guard<'_>, next: &Arc<Carrier>) {
        state.holder = Some(next.number);
        state.epoch += 1;
        let watch = if state.strict {
            None
        } else {
            state.watch.clone()
        };
        drop(state);
        next.wake_up();
        if let Some(watch) = watch {
            watch.unpark();
        }
    }

    /// No thread can do anything.
    pub(crate) fn rest(&self, mut state: Guard<'_>) {
        state.holder = None;
        state.epoch += 1;
        let over = state.phase == Phase::Over;
        if !state.strict && state.closed {
            self.retire(state);
        } else {
            drop(state);
        }
        if over {
            self.finished.notify_all();
        }
    }

    /// Something has become ready: if no thread has the turn, one gets it.
    pub(crate) fn kick(self: &Arc<Self>, mut state: Guard<'_>) {
        if state.holder.is_some() {
            // A thread waits for the one that has the turn.
            self.watch(&mut state);
            return;
        }
        if state.phase == Phase::Over {
            return;
        }
        let (state, next) = self.choose(state, false);
        if let Some(next) = next {
            self.pass(state, &next);
        }
    }

    /// Takes the turn away from a thread that keeps it, if another unit can run.
    pub(crate) fn take_away(self: &Arc<Self>, mut state: Guard<'_>) {
        let worker = state.busy < self.config.workers || !state.free_workers.is_empty();
        let others = !state.threads.is_empty()
            || !state.doomed.is_empty()
            || (worker && !state.tasks.is_empty());
        if others {
            state.holder = None;
            self.kick(state);
        }
    }

    /// An operation of the simulation at which turns may change. `anywhere`: also in the
    /// middle of a poll.
    pub(crate) fn point(self: &Arc<Self>, location: &'static Location<'static>, anywhere: bool) {
        let Some(me) = self.here().filter(|_| !self.is_inherited()) else {
            return;
        };
        me.seen_at(location);
        if me.handing_over.load(Ordering::Relaxed) {
            return;
        }
        let in_poll = me.role == Role::Worker;
        let mut state = self.lock();
        if !state.strict || state.phase != Phase::Running || state.holder != Some(me.number) {
            return;
        }
        if state.is_to_unwind(&me) {
            drop(state);
            life::unwind();
        }
        if matches!(me.role, Role::Worker | Role::Pool)
            && state.faults.panics()
            && !thread::panicking()
        {
            let current = state.current;
            state.event(current, Action::Fault(Fault::Panic));
            drop(state);
            // Without the panic hook: it is no mistake in the program.
            std::panic::resume_unwind(Box::new(String::from(crate::faults::PANIC)));
        }
        if in_poll && !anywhere && self.config.workers == 1 || !self.config.preempt {
            return;
        }
        let worker = state.busy < self.config.workers || !state.free_workers.is_empty();
        if state.threads.is_empty() && (state.tasks.is_empty() || !worker) {
            return;
        }
        let unit = me.unit();
        state.event(Some(unit), Action::Yielded);
        state.threads.push(Runnable::Resume(me.clone()));
        self.switch(state, &me, true);
        let mut state = self.lock();
        state.event(Some(unit), Action::Ran);
        if state.is_to_unwind(&me) {
            drop(state);
            life::unwind();
        }
    }
}
