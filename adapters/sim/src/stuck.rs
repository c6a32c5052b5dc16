//! Nothing can run: the time jumps to the next timer, or else it is a deadlock, or the run ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use crate::{
    carrier::{Carrier, MOST_WAITS, Role},
    failure::{FailureKind, Wait},
    spawn::TaskCell,
    state::{Guard, Inner, Phase, Runnable, State},
    timer::nanos,
    trace::{Action, UnitId},
};

/// The main closure, which is the first to be started.
const MAIN: UnitId = UnitId(0);

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
            } else if due >= state.look_at {
                let (back, since) = self.waits_in_vain(state, due);
                state = back;
                if let Some(since) = since {
                    let (mut state, lost) = self.probe(state);
                    state.find(FailureKind::Stuck { since, lost });
                    return state;
                }
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

    /// Since when main waits for what does not go on, if that is long enough. `due`: the time to
    /// which the clock is about to jump.
    ///
    /// It waits in vain as far as is known: neither main nor those for whose end it waits, nor those
    /// for whose end these wait, have had a turn, and no timer of theirs is to come. Whoever waits for
    /// a waker of the program's own might be woken by one who is not among them, after any time: so it
    /// is a limit, and no proof.
    fn waits_in_vain<'a>(
        &'a self,
        mut state: Guard<'a>,
        due: u64,
    ) -> (Guard<'a>, Option<Duration>) {
        // Not at each jump, for the look takes longer than one.
        let again = nanos(self.config.stuck_after) / 16 + 1;
        state.look_at = due.saturating_add(again);
        let mut cells = Vec::new();
        let since = self.in_vain(&state, due, &mut cells);
        drop(state);
        // The last ones, perhaps.
        drop(cells);
        (self.lock(), since)
    }

    fn in_vain(&self, state: &State, due: u64, cells: &mut Vec<Arc<TaskCell>>) -> Option<Duration> {
        let limit = nanos(self.config.stuck_after);
        let blocked = state.blocked.iter();
        let blocked: BTreeMap<UnitId, &Arc<Carrier>> = blocked
            .filter_map(|number| state.carriers.get(number))
            .map(|carrier| (carrier.unit(), carrier))
            .collect();
        let mut seen = BTreeSet::from([MAIN]);
        let mut next = vec![MAIN];
        let mut since = None;
        while let Some(unit) = next.pop() {
            let (began, waits) = match (blocked.get(&unit), state.alive.get(&unit.0)) {
                (Some(carrier), _) => (carrier.since.load(Ordering::Relaxed), carrier.waits()),
                (None, Some(cell)) => {
                    let cell = cell.upgrade()?;
                    let told = cell.is_idle().then(|| (cell.since(), cell.waits()));
                    cells.push(cell);
                    told?
                }
                // It is held up by a fault, say, or is in line for a slot.
                (None, None) => return None,
            };
            if due.saturating_sub(began) < limit || waits.len() >= MOST_WAITS {
                return None;
            }
            since.get_or_insert(Duration::from_nanos(began));
            for wait in waits {
                match wait {
                    Wait::Join(unit) if seen.insert(unit) => next.push(unit),
                    // As a waker of the program's own.
                    Wait::Join(_) | Wait::Socket(_) => {}
                    // One that has passed long ago is of a timer that is gone, and the end of time
                    // never comes.
                    Wait::Timer(at) if nanos(at).saturating_add(limit) < due => {}
                    Wait::Timer(at) if nanos(at) == u64::MAX => {}
                    Wait::Timer(_) | Wait::Slot => return None,
                }
            }
        }
        since
    }

    /// Would any waiting task have gone on if it had been woken? Each is polled once more to see.
    ///
    /// Not while a unit is in the middle of its work: a lock that it holds would block the poll for
    /// ever, or make it panic.
    pub(crate) fn probe<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> (Guard<'a>, Vec<UnitId>) {
        let mut threads = state.threads.iter();
        if state.busy > 0 || threads.any(|one| matches!(one, Runnable::Resume(_))) {
            return (state, Vec::new());
        }
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
