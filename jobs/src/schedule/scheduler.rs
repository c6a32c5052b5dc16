//! All schedules of a manager, and the task that looks at the clock for them: [`Schedules`].

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fourway_core::{
    Shutdown, Spawner, Timer,
    implement::{discard, wake},
    time::BoxSleep,
};

use super::{entry::Entry, error::Refusal};
use crate::{
    clock::nanos,
    shared::Shared,
    sync::{Mutex, lock},
};

#[derive(Default)]
pub(crate) struct Schedules {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    closed: bool,
    /// There is a task.
    running: bool,
    /// The task's.
    waker: Option<Waker>,
}

impl Schedules {
    pub(super) fn add(&self, shared: &Arc<Shared>, entry: Arc<Entry>) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Refusal::Closed);
        }
        if state.entries.contains_key(&entry.name) {
            return Err(Refusal::NameTaken);
        }
        state.entries.insert(entry.name.clone(), entry);
        let is_first = !std::mem::replace(&mut state.running, true);
        drop(state);
        if is_first {
            shared
                .runtime
                .spawn_detached(Scheduler::new(shared.clone()));
        } else {
            self.wake();
        }
        Ok(())
    }

    /// Takes it out; `false` if it is not there any more.
    pub(super) fn remove(&self, entry: &Arc<Entry>) -> bool {
        let mut state = lock(&self.state);
        let known = state.entries.get(&entry.name);
        let is_there = known.is_some_and(|known| Arc::ptr_eq(known, entry));
        if is_there {
            state.entries.remove(&entry.name);
        }
        drop(state);
        entry.remove();
        self.wake();
        is_there
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Entry>> {
        lock(&self.state).entries.get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        lock(&self.state).entries.values().cloned().collect()
    }

    /// Starts no more runs.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        for entry in entries.values() {
            entry.remove();
        }
        self.wake();
    }

    /// Looks at the schedules soon.
    pub(super) fn wake(&self) {
        let waker = lock(&self.state).waker.take();
        waker.into_iter().for_each(wake);
    }

    /// The entries to look at; `None` if there are none and the task must end.
    fn begin(&self, waker: Waker) -> Option<Vec<Arc<Entry>>> {
        let mut state = lock(&self.state);
        let (before, entries) = if state.entries.is_empty() {
            state.running = false;
            (state.waker.take(), None)
        } else {
            let entries = state.entries.values().cloned().collect();
            (state.waker.replace(waker), Some(entries))
        };
        drop(state);
        discard(before);
        entries
    }

    /// The runtime has dropped the task, or it was cancelled from outside. The schedules are still
    /// due: `true` if another task must be started.
    ///
    /// A task that never ran is not replaced, as a runtime that takes no more tasks drops every
    /// task. A task that panicked is not replaced either, as the next would panic too. The next
    /// added schedule starts a new task.
    fn lost(&self, replace: bool) -> bool {
        let mut state = lock(&self.state);
        state.running = replace && !state.entries.is_empty();
        let is_replaced = state.running;
        let waker = state.waker.take();
        drop(state);
        discard(waker);
        is_replaced
    }
}

/// The task. It exists while there are schedules; a cancelled task is replaced. If it was cancelled
/// before it ran, or the manager's clock panicked in it, there is no task until another schedule is
/// added.
struct Scheduler {
    shared: Arc<Shared>,
    sleep: Option<BoxSleep>,
    /// It has run, and would go on.
    is_pending: bool,
    is_over: bool,
}

impl Scheduler {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            sleep: None,
            is_pending: false,
            is_over: false,
        }
    }
}

impl Future for Scheduler {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Not while it runs: the clock is user code and may panic.
        self.is_pending = false;
        let polled = self.look(cx);
        self.is_pending = polled.is_pending();
        polled
    }
}

impl Scheduler {
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let this = self;
        let shared = &this.shared;
        let clock = shared.watch.clock();
        while shared.is_here() {
            // Both before it looks: a later jump of the clock or a later change wakes it.
            clock.on_change(cx.waker());
            let Some(entries) = shared.schedules().begin(cx.waker().clone()) else {
                this.is_over = true;
                return Poll::Ready(());
            };
            let now = shared.watch.look();
            let next = entries
                .iter()
                .filter_map(|entry| entry.look(shared, now))
                .min();
            if !shared.is_here() {
                break;
            }
            let Some(step) = clock.step() else {
                // The clock says when it has gone on.
                return Poll::Pending;
            };
            // Never longer than a step, however far the next run is: no timer reports that the
            // machine slept or the clock was set.
            let next = next.map_or(u64::MAX, |next| next.saturating_sub(now.wall));
            let sleep = Duration::from_nanos(next.min(nanos(step)));
            match &mut this.sleep {
                Some(timer) => timer.as_mut().reset_after(sleep),
                none => *none = Some(shared.runtime.sleep(sleep)),
            }
            let timer = this.sleep.as_mut().expect("set above");
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        // A maker of jobs has forked, and this is the child: the schedules are the parent's.
        this.is_over = true;
        Poll::Ready(())
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let shared = &self.shared;
        if self.is_over || !shared.is_here() {
            return;
        }
        // Before `lost` decides about another task: a runtime that was shut down closes the
        // schedules.
        shared.check_runtime();
        let replace = self.is_pending && !shared.runtime.is_shutdown();
        if shared.schedules().lost(replace) {
            shared.runtime.spawn_detached(Self::new(shared.clone()));
        }
    }
}
