//! Nothing can run: the time jumps to the next timer, or else it is a deadlock, or the run ends.

use std::sync::{Arc, Weak, atomic::Ordering};

use crate::{
    carrier::Role,
    failure::FailureKind,
    spawn::TaskCell,
    state::{Guard, Inner, Phase, Runnable},
    trace::{Action, UnitId},
};

impl Inner {
    /// Nothing can run: the time jumps, or it is over.
    pub(crate) fn nothing_ready<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        let due = state.timers.first_key_value().map(|(key, _)| key.0);
        let may_jump = match state.phase {
            Phase::Running => true,
            // A thread may sleep again and again.
            Phase::Closing => state.closing_jumps < 1000,
            Phase::Evicting | Phase::Over => false,
        };
        // The end of time never comes.
        if let Some(due) = due.filter(|due| may_jump && *due < u64::MAX) {
            if state.phase == Phase::Closing {
                state.closing_jumps += 1;
            }
            state.clock = state.clock.max(due);
            state.event(None, Action::Jumped);
            return self.fire(state);
        }
        match state.phase {
            Phase::Running => {
                let (mut state, lost) = self.probe(state);
                state.find(FailureKind::Deadlock { lost });
                state
            }
            Phase::Closing => {
                state.phase = Phase::Evicting;
                state
            }
            Phase::Evicting => {
                // Scoped threads go first, the innermost before the others: their starter joins
                // them, with its turn.
                let blocked = state.blocked.iter();
                let mut blocked: Vec<_> = blocked
                    .filter_map(|number| state.carriers.get(number))
                    .collect();
                blocked.sort_by_key(|carrier| match carrier.role {
                    Role::Scoped => (0, u32::MAX - carrier.number),
                    _ => (1, carrier.number),
                });
                let first = blocked.first().map(|carrier| Arc::clone(carrier));
                match first {
                    Some(carrier) if state.evictions < 10_000 => {
                        state.evictions += 1;
                        state.blocked.remove(&carrier.number);
                        carrier.evicted.store(true, Ordering::Relaxed);
                        state.threads.push(Runnable::Resume(carrier));
                    }
                    _ => {
                        state.phase = Phase::Over;
                        let timers = std::mem::take(&mut state.timers);
                        drop(state);
                        drop(timers);
                        state = self.lock();
                    }
                }
                state
            }
            Phase::Over => state,
        }
    }

    /// Would any waiting task have gone on if it had been woken? Each is polled once more to see.
    pub(crate) fn probe<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> (Guard<'a>, Vec<UnitId>) {
        let alive: Vec<Arc<TaskCell>> = state.alive.values().filter_map(Weak::upgrade).collect();
        let mut lost = Vec::new();
        // What they do now is not part of the run.
        state.closed = true;
        for cell in &alive {
            let before = state.tasks.len() + state.threads.len();
            drop(state);
            let ended = cell.probe();
            state = self.lock();
            if ended || state.tasks.len() + state.threads.len() > before {
                lost.push(cell.id);
            }
        }
        drop(state);
        // The last ones, perhaps.
        drop(alive);
        state = self.lock();
        (state, lost)
    }
}
