//! Jobs are started, and end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fourway_core::cancel::Reason;

use super::{
    ATTEMPTS_KEPT, Due, Ending, Store,
    effects::{Effects, Ended, Failed, Outcome, Started},
    record::Asked,
};
use crate::{
    JobError, JobId, JobState,
    body::{Body, Failure, Place},
    clock::{Now, nanos, time},
    context::Control,
    snapshot::Attempt,
};

impl Store {
    /// Takes the next job for a worker of that place, and starts it. A dispatcher that gets no job
    /// ends.
    ///
    /// The attempt has the worker's `control`. A dispatcher leaves jobs in the inbox that have
    /// arrived after all of those that wait, until it has taken these.
    pub(crate) fn take(
        &mut self,
        place: Place,
        control: &Arc<Control>,
        now: Now,
        fx: &mut Effects,
    ) -> Option<Started> {
        if place == Place::Task {
            self.bring_in_pressing();
        }
        loop {
            if let Some(started) = self.take_next(place, control, now, fx) {
                return Some(started);
            }
            // A worker of the pool had all of them moved in when it took the lock. If none of them
            // may start, they are left to the closing: taken in parts here, they would keep the
            // lock for as long as submitters add others.
            if self.may_start_arrived() && self.bring_in_next() {
                continue;
            }
            // Closed before it leaves: no other worker would look for jobs that have arrived
            // meanwhile.
            if place == Place::Pool || !self.close_inbox() {
                break;
            }
        }
        if place == Place::Task {
            self.dispatchers -= 1;
        }
        None
    }

    /// Is there room for a job from the inbox, if it is the next one?
    fn may_start_arrived(&self) -> bool {
        self.has_room() && self.queue.has_default_room()
    }

    fn has_room(&self) -> bool {
        !self.paused && self.running < self.settings.concurrency
    }

    fn take_next(
        &mut self,
        place: Place,
        control: &Arc<Control>,
        now: Now,
        fx: &mut Effects,
    ) -> Option<Started> {
        loop {
            if let Some((_, number, _)) = self.assigned[place as usize].pop_front() {
                match self.get(number) {
                    Some(record) if record.is_assigned => record.is_assigned = false,
                    // Cancelled meanwhile; the cancellation gave back its room.
                    _ => continue,
                }
                return Some(self.start(number, control, now, fx));
            }
            if !self.has_room() {
                break;
            }
            let Some(rank) = self.queue.pop() else {
                break;
            };
            let (_, number, round) = rank;
            let record = self.records.get_mut(number);
            let Some(record) = record.filter(|record| record.is_in_line(round)) else {
                self.stale = self.stale.saturating_sub(1);
                continue;
            };
            let (class, of) = (record.class, record.place);
            let key = record.key().cloned();
            self.running += 1;
            self.queue.started(class, key.as_ref());
            if of == place {
                let started = self.start(number, control, now, fx);
                if place == Place::Pool && self.queue.any() {
                    self.call_workers(Some(place), fx);
                }
                return Some(started);
            }
            if let Some(record) = self.get(number) {
                record.is_assigned = true;
            }
            self.assigned[of as usize].push_back(rank);
            match of {
                // One runner for each closure, so that as many closures run at a time as the limit
                // allows.
                Place::Pool => {
                    self.runners += 1;
                    fx.runners += 1;
                }
                Place::Task if self.dispatchers < self.settings.dispatchers => {
                    self.dispatchers += 1;
                    fx.dispatchers += 1;
                }
                Place::Task => {}
            }
        }
        None
    }

    /// A closure has come to the pool, to take jobs there.
    pub(crate) fn runner_arrived(&mut self) {
        self.runners -= 1;
    }

    /// A closure was dropped on its way, or a dispatcher by the runtime. Jobs may wait for it.
    pub(crate) fn worker_lost(&mut self, place: Place, now: Now, fx: &mut Effects) {
        match place {
            Place::Task => {
                self.dispatchers -= 1;
                self.close_inbox();
            }
            Place::Pool => self.runners -= 1,
        }
        const SOON: u64 = 20_000_000;
        self.due.insert((now.watch + SOON, 0, Due::Workers));
        self.tick_at(now.watch + SOON, fx);
    }

    #[inline]
    pub(super) fn start(
        &mut self,
        number: u64,
        control: &Arc<Control>,
        now: Now,
        fx: &mut Effects,
    ) -> Started {
        let default_timeout = self.settings.timeout;
        let record = self.get(number).expect("a job in line is known");
        record.attempt += 1;
        record.started = now.wall;
        control.begin(record.id, record.attempt);
        // An earlier attempt's.
        let before = record.control.replace(control.clone());
        if let Some(before) = before {
            fx.controls.push(before);
        }
        let body = record.body.take().expect("a queued job has its body");
        let timeout = record
            .extra
            .as_ref()
            .and_then(|extra| extra.timeout)
            .or(default_timeout);
        let change = record.change(JobState::Running);
        self.note(change, now, fx);
        if let Some(timeout) = timeout {
            self.set_due(number, now, nanos(timeout), Due::Timeout, fx);
        }
        Started {
            number,
            body,
            #[cfg(feature = "tracing")]
            traits: self.traits(number),
        }
    }

    #[cfg(feature = "tracing")]
    fn traits(&self, number: u64) -> Option<crate::span::Traits> {
        use crate::span::Traits;

        let record = self.peek(number)?;
        let extra = record.extra.as_ref();
        let parent = extra.and_then(|extra| extra.parent.clone());
        Traits::are_wanted(&parent).then(|| Traits {
            id: record.id,
            attempt: record.attempt,
            name: extra.and_then(|extra| extra.name.clone()),
            class: self.queue.classes[record.class as usize].name.clone(),
            parent,
        })
    }

    /// Does a job complete whose attempt has given its value? It does unless it was asked to end
    /// before. If it completes, its body is not needed any more, and the worker destroys the body's
    /// captured values: before the job has completed, and not under a timeout.
    pub(crate) fn completes(&mut self, number: u64) -> bool {
        let record = self.get(number).expect("a running job is known");
        let completes = record.asked == Asked::Nothing;
        if completes {
            self.clear_due(number);
        }
        completes
    }

    /// An attempt has ended, and all of it but its body is destroyed.
    pub(crate) fn end(&mut self, ended: Ended, now: Now, fx: &mut Effects) {
        let Ended {
            number,
            body,
            outcome,
        } = ended;
        if matches!(outcome, Outcome::Done) && self.end_plainly(number, now, fx) {
            fx.bodies.extend(body);
            return;
        }
        // Before anything is queued behind them.
        self.bring_in();
        self.clear_due(number);
        let record = self.get(number).expect("a running job is known");
        let class = record.class;
        let key = record.key().cloned();
        let asked = std::mem::replace(&mut record.asked, Asked::Nothing);
        let reason = record.extra.as_mut().and_then(|extra| extra.reason.take());
        let (state, failure) = match (outcome, asked) {
            // A panic is kept, even if the job was asked to end.
            (Outcome::Failed(failure), _) if failure.is_panic() => {
                (JobState::Failed, Some(failure))
            }
            (outcome, Asked::Cancel) => {
                fx.failures.extend(outcome.failure());
                let failure = reason.and_then(|reason| Failure::cancelled(&reason));
                (JobState::Cancelled, failure)
            }
            (outcome, Asked::Timeout) => {
                fx.failures.extend(outcome.failure());
                let message = "the attempt took longer than its timeout".to_owned();
                let failure = Failure {
                    message,
                    cause: None,
                };
                (JobState::TimedOut, Some(failure))
            }
            (Outcome::Done, Asked::Nothing) => (JobState::Completed, None),
            (Outcome::Failed(failure), Asked::Nothing) => (JobState::Failed, Some(failure)),
            // The manager learns of the shutdown by this end.
            (Outcome::Dropped | Outcome::Lost, Asked::Nothing) => {
                (JobState::Cancelled, Failure::cancelled(&Reason::Shutdown))
            }
        };
        let is_to_retry = asked != Asked::Cancel && body.is_some();
        let is_without_value = matches!(state, JobState::Failed | JobState::TimedOut);
        let pause = if is_to_retry && is_without_value {
            self.pause_before_next(number, state)
        } else {
            None
        };
        let record = self.get(number).expect("looked up above");
        if !record
            .control
            .as_ref()
            .is_some_and(|control| control.has_progress())
        {
            // The worker has another reference.
            record.control = None;
        }
        if state != JobState::Completed || record.attempt > 1 {
            let (number, started) = (record.attempt, record.started);
            let extra = record.extra();
            if extra.attempts.len() == ATTEMPTS_KEPT {
                extra.attempts.remove(0);
            }
            extra.attempts.push(Attempt {
                number,
                started_at: time(started),
                ended_at: time(now.wall),
                state,
                error: failure.as_ref().map(|failure| failure.message.clone()),
            });
        }
        self.running -= 1;
        self.queue.ended(class, key.as_ref());
        if let Some(pause) = pause {
            let record = self.get(number).expect("looked up above");
            record.body = body;
            fx.gone.extend(record.slot().give_up());
            fx.failures.extend(failure);
            self.change(number, JobState::Retrying, now, fx);
            self.set_due(number, now, nanos(pause), Due::Start, fx);
        } else {
            self.finish(number, state, failure, body, now, fx);
            self.tell_dependents(now, fx);
        }
    }

    /// An attempt has ended with a value, and all of it is destroyed.
    #[inline]
    pub(crate) fn end_done(&mut self, number: u64, now: Now, fx: &mut Effects) {
        if !self.end_plainly(number, now, fx) {
            let ended = Ended {
                number,
                body: None,
                outcome: Outcome::Done,
            };
            self.end(ended, now, fx);
        }
    }

    /// A job without options has completed in its first attempt: the same, for the many jobs that
    /// have no deadline, no key, no watcher and no dependents. `false` for other jobs, of which
    /// nothing has changed.
    #[inline]
    fn end_plainly(&mut self, number: u64, now: Now, fx: &mut Effects) -> bool {
        let record = self.get(number).expect("a running job is known");
        if !record.is_plain() {
            return false;
        }
        let is_used = |control: &Arc<Control>| control.has_progress();
        if !record.control.as_ref().is_some_and(is_used) {
            // The worker has another reference.
            record.control = None;
        }
        record.ended = now.wall;
        record.slot().publish(&mut fx.wakers);
        let change = record.change(JobState::Completed);
        self.running -= 1;
        self.queue.ended(change.class, None);
        self.note(change, now, fx);
        self.keep(number, change.id, JobState::Completed, now, fx);
        true
    }

    /// How long a job waits for its next attempt whose last one ended so; `None` if there is none.
    fn pause_before_next(&self, number: u64, state: JobState) -> Option<Duration> {
        let record = self.peek(number)?;
        let retry = record.retry(&self.settings.retry)?;
        let again =
            record.attempt < retry.attempts && (state != JobState::TimedOut || retry.timeouts);
        again.then(|| retry.after(record.attempt))
    }

    /// A closure leaves the pool to others for a moment, and comes back.
    pub(crate) fn left_pool(&mut self, fx: &mut Effects) {
        if !self.assigned[Place::Pool as usize].is_empty() || self.queue.any() {
            self.runners += 1;
            fx.runners += 1;
        }
    }

    /// A worker ends after its last job and makes room for other workers.
    pub(crate) fn left(&mut self, fx: &mut Effects) {
        if self.queue.any() {
            self.call_workers(None, fx);
        }
    }

    /// The job has ended for good. The caller [tells](Self::tell_dependents) its dependents.
    pub(super) fn finish(
        &mut self,
        number: u64,
        state: JobState,
        failure: Option<Failure>,
        body: Option<Body>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.change(number, state, now, fx);
        let record = self.get(number).expect("its state was just changed");
        let id = record.id;
        record.ended = now.wall;
        let mut dependents = Vec::new();
        if let Some(extra) = &mut record.extra {
            dependents = std::mem::take(&mut extra.dependents);
            #[cfg(feature = "tracing")]
            if let Some(parent) = extra.parent.take() {
                fx.gone.push(Box::new(parent));
            }
            for watcher in &extra.watchers {
                if watcher.ended(id, state) {
                    fx.watchers.push(watcher.clone());
                }
            }
        }
        if state == JobState::Completed {
            record.slot().publish(&mut fx.wakers);
            // Not kept: a completed job is not tried again. The body holds no user values any more.
            if let Some(body) = body {
                fx.bodies.push(body);
            }
        } else {
            let (message, cause) = match failure {
                Some(failure) => (failure.message, failure.cause),
                None => (String::new(), None),
            };
            if !message.is_empty() {
                record.extra().error = Some(message.clone());
            }
            let slot = record.slot().clone();
            let round = record.extra.as_ref().map_or(0, |extra| extra.round);
            match body {
                // It may be tried again.
                Some(body) if body.is_again() => record.body = Some(body),
                Some(body) => fx.bodies.push(body),
                None => {}
            }
            let error = JobError::new(id, state, message, cause);
            fx.failed.push(Failed { slot, error, round });
        }
        for dependent in dependents {
            self.to_tell.push_back(Ending {
                dependent,
                other: id,
                state,
            });
        }
        self.keep(number, id, state, now, fx);
    }

    /// The job stays known for a while, as one that has ended.
    #[inline]
    fn keep(&mut self, number: u64, id: JobId, state: JobState, now: Now, fx: &mut Effects) {
        *self.ended.at(state) += 1;
        if let Some(drain) = &mut self.drain {
            drain.push((id, state));
        }
        self.finished.push_back((number, now.watch));
        self.evict(now, fx);
    }

    /// Tells the jobs that wait for an ended job. A job that is cancelled by this has ended as
    /// well, so its dependents are told too. In a loop, as such a chain may be as long as the
    /// queue.
    pub(super) fn tell_dependents(&mut self, now: Now, fx: &mut Effects) {
        while let Some(ending) = self.to_tell.pop_front() {
            self.dependency_ended(&ending, now, fx);
        }
        // Returns the memory of a burst.
        if self.to_tell.capacity() > 1024 {
            self.to_tell = VecDeque::new();
        }
    }

    fn dependency_ended(&mut self, ending: &Ending, now: Now, fx: &mut Effects) {
        let Ending {
            dependent: number,
            other,
            state,
        } = *ending;
        let Some(record) = self.get(number) else {
            return;
        };
        let Some(extra) = &mut record.extra else {
            return;
        };
        extra.waits_for.remove(&other.number());
        let ready = extra.waits_for.is_empty() && extra.due.is_none() && !extra.is_due_on_wall;
        if record.state != JobState::Scheduled {
            return;
        }
        if state != JobState::Completed {
            let failure = Failure {
                message: format!("it was to run after {other}, which has ended as {state}"),
                cause: None,
            };
            self.cancel_waiting(number, Some(failure), now, fx);
        } else if ready {
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
        }
    }
}
