//! Deadlines: which are due, and when.

use std::task::Waker;

use fourway_core::cancel::Reason;

use super::{Due, Store, effects::Effects, record::Asked};
use crate::{JobState, body::Place, clock::Now, event::EventKind};

impl Store {
    pub(super) fn set_due(
        &mut self,
        number: u64,
        now: Now,
        after: u64,
        due: Due,
        fx: &mut Effects,
    ) {
        let at = now.watch.saturating_add(after);
        let Some(record) = self.get(number) else {
            return;
        };
        let extra = record.extra();
        extra.due = Some((at, due));
        if due == Due::Start {
            extra.due_at = now.wall.saturating_add(after);
        }
        self.due.insert((at, number, due));
        self.tick_at(at, fx);
    }

    pub(super) fn set_due_on_wall(&mut self, number: u64, at: u64, fx: &mut Effects) {
        let Some(record) = self.get(number) else {
            return;
        };
        let extra = record.extra();
        extra.due_at = at;
        extra.is_due_on_wall = true;
        self.due_on_wall.insert((at, number));
        // The ticker reads the wall clock itself and computes when to look again.
        self.tick_at(0, fx);
    }

    pub(super) fn clear_due(&mut self, number: u64) {
        let Some(record) = self.get(number) else {
            return;
        };
        let Some(extra) = &mut record.extra else {
            return;
        };
        let (due, at) = (extra.due.take(), extra.due_at);
        let on_wall = std::mem::take(&mut extra.is_due_on_wall);
        extra.due_at = 0;
        if let Some((at, due)) = due {
            self.due.remove(&(at, number, due));
        }
        if on_wall {
            self.due_on_wall.remove(&(at, number));
        }
    }

    pub(crate) fn tick_at(&mut self, at: u64, fx: &mut Effects) {
        if !self.ticker.running {
            self.ticker.running = true;
            fx.ticker = true;
        } else if at < self.ticker.until {
            fx.wakers.extend(self.ticker.waker.take());
        }
    }

    /// Handles the deadlines that are due. Gives how long the ticker may sleep, in nanoseconds;
    /// `None` if it has nothing to wait for and must end.
    ///
    /// `waker` is the ticker's, to be woken when something is due earlier. On the wall it looks
    /// every `step`.
    pub(crate) fn tick(
        &mut self,
        now: Now,
        waker: Waker,
        step: Option<u64>,
        fx: &mut Effects,
    ) -> Option<u64> {
        fx.unused.extend(self.ticker.waker.replace(waker));
        while let Some(&(at, number, due)) = self.due.first() {
            if at > now.watch {
                break;
            }
            self.due.pop_first();
            if due == Due::Workers {
                if !self.assigned[Place::Task as usize].is_empty() {
                    self.dispatchers += 1;
                    fx.dispatchers += 1;
                }
                if !self.assigned[Place::Pool as usize].is_empty() {
                    self.runners += 1;
                    fx.runners += 1;
                }
                self.resume_workers(fx);
                continue;
            }
            let Some(record) = self.get(number) else {
                continue;
            };
            record.extra().due = None;
            if due == Due::Timeout {
                if record.state == JobState::Running && record.asked == Asked::Nothing {
                    record.asked = Asked::Timeout;
                    let id = record.id;
                    let control = record.control.clone().expect("a running job has one");
                    fx.cancel.push((control, Reason::Deadline));
                    self.emit(id, EventKind::Cancelling, now, fx);
                }
            } else {
                self.has_come(number, now, fx);
            }
        }
        while let Some(&(at, number)) = self.due_on_wall.first() {
            if at > now.wall {
                break;
            }
            self.due_on_wall.pop_first();
            if let Some(record) = self.get(number) {
                record.extra().is_due_on_wall = false;
                self.has_come(number, now, fx);
            }
        }
        self.evict(now, fx);
        let next = self.due.first().map(|(at, ..)| at - now.watch);
        let on_wall = self
            .due_on_wall
            .first()
            .map(|(at, _)| (at - now.wall).min(step.unwrap_or(u64::MAX)));
        let keep = self
            .finished
            .front()
            .filter(|_| self.settings.keep_for < u64::MAX)
            .map(|(_, ended)| {
                let end = ended.saturating_add(self.settings.keep_for);
                // Not for each job by itself.
                end.saturating_sub(now.watch).max(1_000_000_000)
            });
        let sleep = [next, on_wall, keep].into_iter().flatten().min();
        self.ticker.running = sleep.is_some();
        self.ticker.until = now.watch.saturating_add(sleep.unwrap_or(0));
        sleep
    }

    /// The runtime has dropped the ticker.
    pub(crate) fn ticker_lost(&mut self) -> Option<Waker> {
        self.ticker.running = false;
        self.ticker.waker.take()
    }

    /// The time of a scheduled or retrying job has come.
    pub(super) fn has_come(&mut self, number: u64, now: Now, fx: &mut Effects) {
        let Some(record) = self.get(number) else {
            return;
        };
        let extra = record.extra();
        extra.due_at = 0;
        let waits = !extra.waits_for.is_empty();
        if !waits && matches!(record.state, JobState::Scheduled | JobState::Retrying) {
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
        }
    }
}
