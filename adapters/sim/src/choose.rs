//! The choice of the next turn: first the tasks that must be destroyed, then one of the ready
//! units, as the [schedule](crate::schedule) says. If there is none, see [`stuck`](crate::stuck).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use fourway_core::implement::discard;

use crate::{
    carrier::{Carrier, Order, Role},
    failure::FailureKind,
    runtime::message,
    schedule::{Ready, Strategy},
    state::{Due, Guard, Held, Inner, Phase, Runnable, State},
    trace::{Action, Fault, UnitId},
};

impl Inner {
    /// Chooses the thread that gets the turn, and gives it its order. `None`: there is no thread.
    ///
    /// Timers that are due are fired here, on the calling thread.
    #[allow(
        clippy::too_many_lines,
        reason = "one decision after the other, in their order"
    )]
    pub(crate) fn choose<'a>(
        self: &'a Arc<Self>,
        mut state: Guard<'a>,
        ready: bool,
    ) -> (Guard<'a>, Option<Arc<Carrier>>) {
        loop {
            if state.phase == Phase::Over {
                return (state, None);
            }
            if state.strict {
                state = self.pass_time(state);
                if state.phase == Phase::Running {
                    let step = state.steps;
                    if state.faults.shuts_down(step) {
                        let current = state.current;
                        state.event(current, Action::Fault(Fault::Shutdown));
                        state = self.close_locked(state);
                        continue;
                    }
                    if state.steps - state.progress > self.config.livelock {
                        let steps = state.steps - state.progress;
                        state.find(FailureKind::Livelock { steps });
                    } else if state.steps > self.config.max_steps {
                        // The run has failed, so that it does not matter what a poll changes.
                        let (back, lost) = self.probe(state);
                        state = back;
                        state.find(FailureKind::Steps {
                            limit: self.config.max_steps,
                            lost,
                        });
                    }
                }
                if state.found.is_some() && state.phase == Phase::Running {
                    state = self.give_up(state);
                    continue;
                }
            }
            // Not before the threads have been sent home: they would see that the tasks are gone.
            let threads = !state.threads.is_empty() || !state.blocked.is_empty();
            if state.phase != Phase::Evicting || !threads {
                if let Some(cell) = state.doomed.pop_front() {
                    if let Some(worker) = self.worker(&mut state) {
                        worker.give(Order::Destroy(cell));
                        return (state, Some(worker));
                    }
                    // No thread could be started: destroy it here.
                    drop(state);
                    cell.destroy();
                    drop(cell);
                    state = self.lock();
                    continue;
                }
            }
            let polls = state.busy < self.config.workers;
            let tasks = if polls { state.tasks.len() } else { 0 };
            let threads = state.threads.len();
            let count = tasks + threads;
            if count == 0 {
                if !state.strict {
                    return (state, None);
                }
                if state.phase == Phase::Running && self.config.foreign_threads && state.no_timers()
                {
                    // The next wake goes on from here.
                    return (state, None);
                }
                state = self.nothing_ready(state);
                continue;
            }
            state.steps += 1;
            let gave_way = state.gave_way.take();
            let index = if count == 1 {
                0
            } else {
                let State {
                    schedule,
                    tasks: task_list,
                    threads: thread_list,
                    current,
                    steps,
                    trace,
                    ..
                } = &mut *state;
                let id = |index: usize| {
                    if index < tasks {
                        task_list[index].id
                    } else {
                        thread_list[index - tasks].id()
                    }
                };
                let list = Ready {
                    ids: &id,
                    len: count,
                    current: *current,
                    gave_way,
                    step: *steps,
                };
                // Unwind safety: one that has panicked is not asked again.
                let chosen = catch_unwind(AssertUnwindSafe(|| schedule.choose(&list)));
                let index = match chosen {
                    Ok(index) => index.min(count - 1),
                    Err(payload) => {
                        // Out of here it would take the turn with it, and the run would hang.
                        let other = Strategy::RoundRobin.schedule(0);
                        let broken = std::mem::replace(schedule, other);
                        let message = message(&*payload);
                        state.find(FailureKind::Panic {
                            message: format!("the schedule panicked: {message}"),
                        });
                        // Its destructor is the program's.
                        drop(state);
                        discard(payload);
                        discard(broken);
                        state = self.lock();
                        continue;
                    }
                };
                let chosen = id(index);
                let preempted = ready && gave_way.is_none() && *current != Some(chosen);
                trace.choice(chosen, preempted);
                index
            };
            if index < tasks {
                let cell = state.tasks.swap_remove(index);
                if let Some(due) = state.slowed() {
                    let id = cell.id;
                    state.hold(id, due, Held::Task(cell));
                    continue;
                }
                let Some(worker) = self.worker(&mut state) else {
                    // The system gives no thread: it is as if the task had been destroyed by
                    // a shutdown.
                    drop(state);
                    cell.destroy();
                    drop(cell);
                    state = self.lock();
                    continue;
                };
                worker.set_unit(cell.id);
                cell.begin();
                state.current = Some(cell.id);
                state.busy += 1;
                worker.give(Order::Poll(cell));
                return (state, Some(worker));
            }
            match state.threads.swap_remove(index - tasks) {
                Runnable::Resume(carrier) => {
                    state.current = Some(carrier.unit());
                    return (state, Some(carrier));
                }
                Runnable::Start(job) => {
                    let id = job.id();
                    if let Some(due) = state.slowed() {
                        state.hold(id, due, Held::Thread(Runnable::Start(job)));
                        continue;
                    }
                    let (back, carrier) = self.carry(state, job);
                    state = back;
                    if let Some(carrier) = carrier {
                        state.current = Some(id);
                        return (state, Some(carrier));
                    }
                }
            }
        }
    }

    /// A worker that has nothing to do.
    pub(crate) fn worker(self: &Arc<Self>, state: &mut State) -> Option<Arc<Carrier>> {
        if let Some(worker) = state.free_workers.pop() {
            return Some(worker);
        }
        let none = UnitId(u32::MAX);
        self.start(state, Role::Worker, none, crate::spawn::work)
            .ok()
    }
}

impl State {
    pub(crate) fn slowed(&mut self) -> Option<u64> {
        if self.phase == Phase::Running && !self.closed {
            self.faults.slow()
        } else {
            None
        }
    }

    pub(crate) fn hold(&mut self, id: UnitId, time: u64, held: Held) {
        self.event(Some(id), Action::Fault(Fault::Slow));
        let due = self.clock.saturating_add(time);
        self.at(due, Due::Ready(held));
    }
}
