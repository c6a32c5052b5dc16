//! A thread that looks after an open simulation: it takes the turn away from threads that keep it.
//!
//! In an open simulation code may wait for threads that the simulation does not know. It waits with
//! the turn, and no other thread could run.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use crate::state::{Inner, State};

/// A thread that has done nothing for so long is taken to wait for something foreign.
const PATIENCE: Duration = Duration::from_micros(500);

impl Inner {
    /// Makes sure that a thread watches, outside of a run.
    pub(crate) fn watch(self: &Arc<Self>, state: &mut State) {
        if state.strict || state.watch.is_some() {
            return;
        }
        let name = fourway_adapt::thread_name(&self.config.thread_name, "watch");
        let watched = Arc::downgrade(self);
        let started = thread::Builder::new()
            .name(name)
            .spawn(move || watch(&watched));
        // Without it, all goes well unless a thread waits for something foreign.
        if let Ok(handle) = started {
            state.watch = Some(handle.thread().clone());
            state.watching = Some(handle);
        }
    }
}

fn watch(inner: &Weak<Inner>) {
    let mut seen = None;
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let state = inner.lock();
        if state
            .watch
            .as_ref()
            .is_none_or(|watch| watch.id() != thread::current().id())
        {
            return;
        }
        let now = state
            .holder
            .map(|holder| (holder, state.epoch, state.steps));
        let stuck = now.is_some() && now == seen;
        seen = now;
        if stuck {
            inner.take_away(state);
        } else {
            drop(state);
        }
        drop(inner);
        if seen.is_some() {
            thread::park_timeout(PATIENCE);
        } else {
            // No thread has the turn; the next one that gets it unparks this.
            thread::park();
        }
    }
}
