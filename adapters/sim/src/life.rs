//! The node of a simulated network that a unit runs on, and the end of the unit when the node
//! crashes: [`Life`].

use std::{
    collections::{BTreeSet, VecDeque},
    panic::resume_unwind,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use fourway_core::{JoinError, context::Context, implement};

use crate::{
    carrier::{Carrier, Role},
    offload::Job,
    spawn::TaskCell,
    state::{Due, Held, Inner, Runnable, State},
    trace::{Action, UnitId},
};

/// The message of the panic that ends a unit in the middle of its work.
const CRASHED: &str = "the node of the simulated network on which this ran has crashed";

/// A node, from its start or its last crash to the next one. Work that its units start is of it,
/// too.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Written under the simulation's lock.
    is_over: AtomicBool,
    node: u32,
}

#[cfg_attr(
    not(feature = "net"),
    allow(dead_code, reason = "the nodes are those of the network")
)]
impl Life {
    pub(crate) fn of_node(node: u32) -> Self {
        let is_over = AtomicBool::new(false);
        Self { is_over, node }
    }

    pub(crate) fn node(&self) -> u32 {
        self.node
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

impl State {
    /// Has the unit's node crashed since the unit was started?
    pub(crate) fn has_crashed(&self, unit: Option<UnitId>) -> bool {
        let life = unit.and_then(|unit| self.lives.get(&unit.0));
        life.is_some_and(|life| life.is_over())
    }

    /// Must the unit of the thread end where it is? Not in a destructor that runs because of a
    /// panic: a second panic would abort the process.
    pub(crate) fn is_to_unwind(&self, me: &Carrier) -> bool {
        // The starter of a scoped thread waits for it, and ends by itself.
        matches!(me.role, Role::Worker | Role::Pool | Role::Own)
            && !self.closed
            && self.has_crashed(Some(me.unit()))
            && !thread::panicking()
    }
}

/// Ends the unit of the calling thread, without the panic hook: it is no mistake in the program.
pub(crate) fn unwind() -> ! {
    resume_unwind(Box::new(String::from(CRASHED)))
}

#[cfg_attr(
    not(feature = "net"),
    allow(dead_code, reason = "the nodes are those of the network")
)]
impl Inner {
    /// Destroys the tasks of that life, and those of its closures that have not begun, before it
    /// returns: no thread gets the turn in between. A unit in the middle of a poll or a closure
    /// ends at its next point, or with its poll; it can start nothing.
    pub(crate) fn crash(self: &Arc<Self>, life: &Arc<Life>) {
        let mut state = self.lock();
        life.is_over.store(true, Relaxed);
        let by = self.current_unit(&state);
        let units = state.lives.iter();
        let units: BTreeSet<u32> = units
            .filter(|(_, of)| Arc::ptr_eq(of, life))
            .map(|(unit, _)| *unit)
            .collect();
        let cells = units.iter().filter_map(|unit| state.alive.get(unit));
        let cells: Vec<Arc<TaskCell>> = cells.filter_map(Weak::upgrade).collect();
        let (doomed, running): (Vec<_>, Vec<_>) = cells.into_iter().partition(|cell| cell.doom());
        // None of them is the last reference: `doomed` has one.
        state.tasks.retain(|cell| !units.contains(&cell.id.0));
        let jobs = self.take_unstarted(&mut state, &units);
        for cell in &doomed {
            state.event(by, Action::Cancelled(cell.id));
        }
        drop(state);
        drop(running);
        let me = self.here();
        // Destructors give no thread the turn, and cannot block.
        let before = me.map(|me| (me.handing_over.swap(true, Relaxed), me));
        let mark = implement::enter(Context::Async, Some(self.id));
        for cell in doomed {
            self.as_unit(cell.id, || cell.destroy());
        }
        for job in jobs {
            self.as_unit(job.id(), || job.refuse(JoinError::shutdown()));
        }
        drop(mark);
        if let Some((before, me)) = before {
            me.handing_over.store(before, Relaxed);
        }
    }

    /// Calls `f` as that unit.
    fn as_unit(&self, unit: UnitId, f: impl FnOnce()) {
        let before = self.lock().current.replace(unit);
        // Contains all panics, as what it calls does.
        f();
        self.lock().current = before;
    }

    /// Takes the closures and threads that have not begun out of the lists, and their slots back.
    fn take_unstarted(&self, state: &mut State, units: &BTreeSet<u32>) -> Vec<Arc<dyn Job>> {
        let is_of = |unit: UnitId| units.contains(&unit.0);
        let queue = std::mem::take(&mut state.pool.queue).into_iter();
        let (queued, others): (VecDeque<_>, VecDeque<_>) = queue.partition(|job| is_of(job.id()));
        state.pool.queue = others;
        let mut jobs = Vec::from(queued);
        let mut has_slot = Vec::new();
        for runnable in std::mem::take(&mut state.threads) {
            match runnable {
                Runnable::Start(job) if is_of(job.id()) => has_slot.push(job),
                other => state.threads.push(other),
            }
        }
        // The units that a fault holds up: tasks are among those that are destroyed.
        let held = state.timers.iter().filter(|(_, due)| match due {
            Due::Ready(Held::Task(cell)) => is_of(cell.id),
            Due::Ready(Held::Thread(Runnable::Start(job))) => is_of(job.id()),
            Due::Ready(Held::Thread(Runnable::Resume(_))) | Due::Wake(_) => false,
        });
        let held: Vec<(u64, u64)> = held.map(|(key, _)| *key).collect();
        for key in held {
            if let Some(Due::Ready(Held::Thread(Runnable::Start(job)))) = state.timers.remove(&key)
            {
                has_slot.push(job);
            }
        }
        let slots = has_slot.iter().filter(|job| job.is_offloaded()).count();
        jobs.append(&mut has_slot);
        for _ in 0..slots {
            self.release(state);
        }
        jobs
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Arc,
    };

    use fourway_core::{Offload as _, Task as _, task::Metadata};

    use super::Life;
    use crate::Sim;

    #[test]
    fn closures_of_a_node_that_never_run_are_forgotten() {
        let sim = Sim::builder().offload_limit(1).build().unwrap();
        sim.run(|rt| {
            let life = Arc::new(Life::default());
            let (node, inner) = (life.clone(), rt.clone());
            let task = Sim::spawn_on(rt.inner(), Some(life), Metadata::caller(), async move {
                // Some are cancelled before they start.
                for _ in 0..50 {
                    drop((inner.offload(|| ()), inner.offload(|| ())));
                    drop(inner.thread(|| ()));
                }
                inner.inner().crash(&node);
                // They are refused.
                for _ in 0..5 {
                    let refused = AssertUnwindSafe(|| drop(inner.offload(|| ())));
                    assert!(catch_unwind(refused).is_err());
                    let refused = AssertUnwindSafe(|| drop(inner.thread(|| ())));
                    assert!(catch_unwind(refused).is_err());
                }
            });
            task.wait().unwrap();
            assert_eq!(rt.inner().lock().lives.len(), 0);
        });
    }
}
