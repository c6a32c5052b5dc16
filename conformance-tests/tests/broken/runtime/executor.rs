//! The queue, and the workers that serve it.

use std::{
    cell::RefCell,
    sync::{Arc, MutexGuard, PoisonError, TryLockError, atomic::Ordering},
    thread,
    time::Duration,
};

use crate::{
    bugs::Bug,
    odd::{self, Odd},
};

use super::{
    Inner, ON_WORKER, POLLING, ROOTS, SLOT, State,
    cell::{Cell, End, Run},
    enter, lock,
};

impl Inner {
    pub(super) fn is(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    pub(super) fn push(&self, cell: Arc<Cell>) {
        let mut state = lock(&self.state);
        if state.closed && state.workers == 0 {
            drop(state);
            return cell.destroy();
        }
        let inside = ON_WORKER.get();
        if inside && matches!(self.bug, Bug::LifoSlot | Bug::SlotNotEmptied) {
            match SLOT.with(|slot| slot.replace(Some(cell))) {
                Some(before) => state.queue.push_back(before),
                None => return,
            }
        } else if inside && self.is(Bug::NewestTaskFirst) {
            state.queue.push_front(cell);
        } else {
            state.queue.push_back(cell);
        }
        if !inside && self.is(Bug::NotifyLost) {
            state.pushes += 1;
            if state.pushes % 50 == 0 {
                return;
            }
        }
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn work(self: &Arc<Self>) {
        ON_WORKER.set(true);
        let mut polls = 0;
        let mut state = lock(&self.state);
        loop {
            if state.surplus > 0 {
                state.surplus -= 1;
                self.work.notify_one();
                break;
            }
            let driven = !self.is(Bug::CallerDriven) || state.blockers > 0 || state.closing;
            let starved = self.is(Bug::RootStarvesTasks) && ROOTS.load(Ordering::SeqCst) > 0;
            let driven = driven && !starved;
            let own = match self.bug {
                Bug::SlotNotEmptied => None,
                _ => SLOT.with(RefCell::take),
            };
            let next = own.or_else(|| driven.then(|| state.pop()).flatten());
            if let Some(cell) = next {
                state.polling += 1;
                let closing = state.closing && !self.is(Bug::FinishesQueueAtShutdown);
                drop(state);
                let mut alive = if closing {
                    cell.destroy();
                    true
                } else {
                    let _one = self.is(Bug::SpawnNeedsPollLock).then(|| lock(&POLLING));
                    if cell.polls.load(Ordering::SeqCst) % 16 == 0 {
                        odd::dawdle();
                    }
                    cell.run()
                };
                enter(self.bug);
                polls += 1;
                if polls == 50 && odd::is(Odd::RestlessWorkers) {
                    self.start_worker();
                    alive = false;
                }
                state = lock(&self.state);
                state.polling -= 1;
                if !alive {
                    break;
                }
                continue;
            }
            if state.closed {
                break;
            }
            if self.is(Bug::RootStarvesTasks) {
                drop(state);
                thread::sleep(Duration::from_millis(1));
                state = lock(&self.state);
            } else if self.is(Bug::BusyIdle) {
                drop(state);
                // A wait for the lock would sleep, and might count as idle.
                state = loop {
                    (0..10_000).for_each(|_| std::hint::spin_loop());
                    match self.state.try_lock() {
                        Ok(state) => break state,
                        Err(TryLockError::Poisoned(state)) => break state.into_inner(),
                        Err(TryLockError::WouldBlock) => {}
                    }
                };
            } else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        self.leave(state);
    }

    /// A thread that polls or destroys has ended.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.workers -= 1;
        let last = state.workers == 0 && state.closed;
        drop(state);
        if last {
            self.drain();
            if !self.is(Bug::ReapedOnlyByShutdown) {
                self.reap();
            }
        }
        self.ended.notify_all();
    }

    pub(super) fn drain(&self) {
        loop {
            let cell = lock(&self.state).queue.pop_front();
            match cell {
                Some(cell) => cell.destroy(),
                None => break,
            }
        }
    }

    /// For the time after the last worker: a task that a foreign thread is just waking is in no
    /// queue yet.
    pub(super) fn reap(&self) {
        let doomed = std::mem::take(&mut lock(&self.state).doomed);
        for task in doomed {
            if let Some(task) = task.upgrade() {
                task.destroy();
            }
        }
    }

    pub(super) fn close(&self) {
        let tasks = {
            let mut state = lock(&self.state);
            if state.closing {
                return;
            }
            state.closing = true;
            state.kept.clear();
            std::mem::take(&mut state.tasks)
        };
        if !self.is(Bug::JoinHangsAfterShutdown) && !self.is(Bug::ShutdownLeavesFutures) {
            lock(&self.state).doomed.clone_from(&tasks);
            let later = matches!(
                self.bug,
                Bug::ShutdownWaitsForPolls | Bug::ReapedOnlyByShutdown
            );
            for task in tasks.into_iter().filter(|_| !later) {
                if let Some(task) = task.upgrade() {
                    task.notify();
                }
            }
        } else {
            // No waiter is told, and no task is dropped.
            for task in tasks {
                std::mem::forget(task.upgrade());
            }
        }
        let workers = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.workers
        };
        self.work.notify_all();
        if workers == 0 {
            self.drain();
        }
    }

    /// For [`Odd::DestroysElsewhere`]: on a thread that a shutdown waits for. No longer once that
    /// has begun.
    pub(super) fn destroy_elsewhere(self: &Arc<Self>, cell: &Arc<Cell>) -> bool {
        {
            let mut state = lock(&self.state);
            if state.closing {
                return false;
            }
            state.workers += 1;
        }
        let future = {
            let mut state = lock(&cell.state);
            let idle = state.run == Run::Idle;
            idle.then(|| {
                state.run = Run::Done;
                state.future.take()
            })
        };
        let Some(future) = future else {
            self.leave(lock(&self.state));
            return false;
        };
        let (inner, cell) = (self.clone(), cell.clone());
        let life = move || {
            (cell.end)(future, End::Cancelled);
            drop(cell);
            inner.leave(lock(&inner.state));
        };
        let started = self.threads.spawn(String::from("elsewhere"), None, life);
        started.expect("a thread");
        true
    }

    pub(super) fn start_worker(self: &Arc<Self>) {
        lock(&self.state).workers += 1;
        let inner = self.clone();
        let started = (self.threads).spawn(String::from("broken"), None, move || inner.work());
        started.expect("a thread");
    }
}
