//! The end: no new work is accepted, suspended futures are destroyed, waiting threads are sent
//! home, and the threads end.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    task::Waker,
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use fourway_core::{context::Context, implement};

use crate::{
    carrier::{Carrier, Role},
    failure::{Wait, Waiting},
    offload::Job,
    spawn::TaskCell,
    state::{Due, Guard, Held, Inner, Phase, Runnable, State, lock},
    trace::Action,
};

impl Inner {
    /// A run that has failed: its threads are sent home first, and then its tasks are
    /// destroyed, none of them polled again.
    pub(crate) fn give_up<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        // No wait ends because other tasks are destroyed now.
        state.phase = Phase::Evicting;
        let waiting = self.waiting(&state);
        if let Some(found) = &mut state.found {
            found.waiting = waiting.0;
        }
        let kept = waiting.1;
        drop(state);
        drop(kept);
        let mut state = self.close_locked(self.lock());
        state.phase = Phase::Evicting;
        state
    }

    /// The waiters, and their waits. Drop the tasks outside of the lock.
    pub(crate) fn waiting(&self, state: &State) -> (Vec<Waiting>, Vec<Arc<TaskCell>>) {
        let mut waiting = Vec::new();
        for number in &state.blocked {
            if let Some(carrier) = state.carriers.get(number) {
                waiting.push(Waiting {
                    unit: carrier.unit(),
                    waits: carrier.waits(),
                    since: Some(Duration::from_nanos(carrier.since.load(Ordering::Relaxed))),
                    at: *lock(&carrier.last_seen),
                });
            }
        }
        let alive: Vec<Arc<TaskCell>> = state.alive.values().filter_map(Weak::upgrade).collect();
        for cell in &alive {
            waiting.push(Waiting {
                unit: cell.id,
                waits: cell.waits(),
                since: cell.is_idle().then(|| Duration::from_nanos(cell.since())),
                at: None,
            });
        }
        for job in &state.pool.queue {
            waiting.push(Waiting {
                unit: job.id(),
                waits: vec![Wait::Slot],
                since: None,
                at: None,
            });
        }
        waiting.sort_by_key(|waiting| waiting.unit);
        (waiting, alive)
    }

    /// Accepts nothing more, drops closures that have not started, and has suspended futures
    /// destroyed. Does not wait.
    pub(crate) fn close(self: &Arc<Self>) {
        let state = self.close_locked(self.lock());
        let free = state.holder.is_none();
        if free && (!state.doomed.is_empty() || !state.threads.is_empty()) {
            self.kick(state);
        } else if free {
            self.retire(state);
        }
    }

    pub(crate) fn close_locked<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        state.closed = true;
        if std::mem::replace(&mut state.swept, true) {
            return state;
        }
        let current = self.current_unit(&state);
        state.event(current, Action::Shutdown);
        let mut jobs: Vec<Arc<dyn Job>> = state.pool.queue.drain(..).collect();
        let mut tasks = std::mem::take(&mut state.tasks);
        let held: Vec<(u64, u64)> = state
            .timers
            .iter()
            .filter(|(_, due)| matches!(due, Due::Ready(_)))
            .map(|(key, _)| *key)
            .collect();
        for key in held {
            match state.timers.remove(&key) {
                Some(Due::Ready(Held::Task(cell))) => tasks.push(cell),
                Some(Due::Ready(Held::Thread(runnable))) => state.threads.push(runnable),
                Some(Due::Wake(_)) | None => {}
            }
        }
        for runnable in std::mem::take(&mut state.threads) {
            match runnable {
                Runnable::Start(job) if job.is_offloaded() => {
                    state.pool.running -= 1;
                    jobs.push(job);
                }
                other => state.threads.push(other),
            }
        }
        state.pool.dropped += jobs.len();
        let alive: Vec<Arc<TaskCell>> = state.alive.values().filter_map(Weak::upgrade).collect();
        let (doomed, running): (Vec<_>, Vec<_>) = alive.into_iter().partition(|cell| cell.doom());
        state.doomed.extend(doomed);
        let wakers = state.take_end_wakers();
        drop(state);
        let handing_over = self
            .here()
            .is_some_and(|me| me.handing_over.load(Ordering::Relaxed));
        // Between two turns a destructor must not block: no thread could get the turn.
        let mark = handing_over.then(|| implement::enter(Context::Async, Some(self.id)));
        self.extensions.close();
        drop((tasks, running));
        for job in jobs {
            job.refuse(fourway_core::JoinError::shutdown());
        }
        drop(mark);
        wakers.into_iter().for_each(implement::wake);
        self.lock()
    }

    /// Ends the threads that have nothing to do and never will.
    pub(crate) fn retire(&self, mut state: Guard<'_>) {
        if !state.closed {
            return;
        }
        let mut idle = std::mem::take(&mut state.free_workers);
        idle.append(&mut state.pool.idle);
        let watch = state.take_watch();
        drop(state);
        for carrier in idle {
            carrier.exit(false);
        }
        if let Some(watch) = watch {
            watch.unpark();
        }
    }

    /// As `retire`, and waits until those threads are gone, one after the other: their
    /// thread-locals' destructors must run in a fixed order, too.
    pub(crate) fn retire_and_join(&self) {
        let mut state = self.lock();
        let mut idle = std::mem::take(&mut state.free_workers);
        idle.append(&mut state.pool.idle);
        let mut gone: Vec<Arc<Carrier>> = state
            .carriers
            .values()
            .filter(|carrier| carrier.is_told_to_end())
            .cloned()
            .collect();
        gone.extend(idle);
        gone.sort_by_key(|carrier| carrier.number);
        gone.dedup_by_key(|carrier| carrier.number);
        for carrier in &gone {
            state.carriers.remove(&carrier.number);
            if let Some(thread) = carrier.thread.get() {
                self.joins.begin(thread.id());
            }
        }
        let me = thread::current().id();
        let is_me = |handle: &Option<JoinHandle<()>>| {
            let thread = handle.as_ref().map(JoinHandle::thread);
            thread.is_some_and(|thread| thread.id() == me)
        };
        // The last thread waits for the one before it. If a destructor of that one calls this, a
        // wait for the last would be a wait for itself. A destructor of the last one leaves its
        // thread to the next who waits: without a handle, nobody would.
        let ended = if state.awaited == Some(me) || is_me(&state.ended) {
            None
        } else {
            state.ended.take()
        };
        let watch = state.take_watch();
        let watching = if state.watch.is_none() && !is_me(&state.watching) {
            state.watching.take()
        } else {
            None
        };
        for handle in ended.iter().chain(&watching) {
            self.joins.begin(handle.thread().id());
        }
        let strict = state.strict;
        drop(state);
        for carrier in gone {
            carrier.exit(true);
            if let Some(thread) = carrier.thread.get() {
                self.joins.end(thread.id());
            }
        }
        if let Some(ended) = ended {
            self.wait_for(ended);
        }
        if let Some(watch) = watch {
            watch.unpark();
        }
        if let Some(watching) = watching {
            self.wait_for(watching);
        }
        // In a run, no other thread has the turn to join any.
        if !strict {
            self.joins.wait();
        }
    }

    /// The calling thread of the pool ends by itself, and waits for the one that did so before it.
    /// So a wait for the last one is a wait for all. (A thread that is finished for the standard
    /// library may still be destroying its thread-locals, and its end could not be seen.)
    pub(crate) fn forget(&self, mut state: Guard<'_>, carrier: &Carrier) {
        state.carriers.remove(&carrier.number);
        let handle = lock(&carrier.join).take();
        let before = std::mem::replace(&mut state.ended, handle);
        state.awaited = before.as_ref().map(|before| before.thread().id());
        if let Some(before) = state.awaited {
            self.joins.begin(before);
        }
        drop(state);
        if let Some(before) = before {
            self.wait_for(before);
        }
    }

    /// Joins another thread, whose handle the caller has taken, and noted.
    fn wait_for(&self, ended: JoinHandle<()>) {
        let thread = ended.thread().id();
        // Its body contains all panics.
        let _ = ended.join();
        self.joins.end(thread);
    }

    /// Ends all threads of a run that is over.
    pub(crate) fn end_threads(&self) {
        loop {
            let first = self.lock().carriers.pop_first();
            let Some((_, carrier)) = first else { return };
            carrier.exit(true);
        }
    }
}

impl State {
    /// After an end: the wakers of the waiters for the end of all, if all has ended.
    pub(crate) fn take_end_wakers(&mut self) -> Vec<Waker> {
        if self.closed && self.is_done() {
            std::mem::take(&mut self.end_wakers)
        } else {
            Vec::new()
        }
    }

    /// Takes the watch, if no thread needs to be watched any more.
    pub(crate) fn take_watch(&mut self) -> Option<Thread> {
        if self.is_done() {
            self.watch.take()
        } else {
            None
        }
    }

    /// Have the threads that run tasks and closures ended?
    pub(crate) fn is_quiet(&self) -> bool {
        let mut carriers = self.carriers.values();
        !carriers.any(|carrier| matches!(carrier.role, Role::Worker | Role::Pool))
    }

    /// Is nothing left that runs?
    pub(crate) fn is_done(&self) -> bool {
        self.alive.is_empty() && self.pool.running + self.pool.lent == 0
    }
}
