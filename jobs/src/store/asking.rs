//! Jobs are cancelled, tried again, paused; the manager is closed, and waited for.

use std::{
    collections::HashSet,
    task::{Poll, Waker},
};

use fourway_core::cancel::Reason;

use super::{Store, effects::Effects, record::Asked};
use crate::{
    JobId, JobState,
    body::{Failure, Place},
    clock::Now,
    event::EventKind,
    line,
    queue::Class,
    snapshot::Counts,
};

/// The answer to a request to cancel a job ([cancelling](fourway_core::contract#JB-3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CancelOutcome {
    /// It was waiting and is cancelled: it never runs, or never runs again.
    Cancelled,
    /// It is running, and was asked to end: a future is dropped, a closure's token is set. It
    /// ends as cancelled, or as failed if it panics.
    Requested,
    /// It has ended, in this state. Nothing has changed.
    TooLate(JobState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryRefusal {
    Unknown,
    Closed,
    State(JobState),
    Once,
    /// The manager is that of a forked child's parent.
    Forked,
    /// Another job has its unique key by now.
    Unique(JobId),
}

impl Store {
    pub(crate) fn cancel(
        &mut self,
        id: JobId,
        reason: Reason,
        now: Now,
        fx: &mut Effects,
    ) -> Option<CancelOutcome> {
        let number = self.known(id)?.id.number();
        let record = self.get(number)?;
        match record.state {
            state if state.is_finished() => Some(CancelOutcome::TooLate(state)),
            JobState::Running => {
                if record.asked != Asked::Cancel {
                    record.asked = Asked::Cancel;
                    if reason != Reason::Requested {
                        record.extra().reason = Some(Box::new(reason.clone()));
                    }
                    let control = record.control.clone().expect("a running job has one");
                    fx.cancel.push((control, reason));
                    self.emit(id, EventKind::Cancelling, now, fx);
                }
                Some(CancelOutcome::Requested)
            }
            _ => {
                self.cancel_waiting(number, Failure::cancelled(&reason), now, fx);
                self.tell_dependents(now, fx);
                Some(CancelOutcome::Cancelled)
            }
        }
    }

    /// The caller [tells](Self::tell_dependents) its dependents.
    pub(super) fn cancel_waiting(
        &mut self,
        number: u64,
        failure: Option<Failure>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.clear_due(number);
        let record = self.get(number).expect("the caller has it");
        let body = record.body.take();
        let state = record.state;
        let (class, key) = (record.class, record.key().cloned());
        if std::mem::take(&mut record.is_assigned) {
            self.running -= 1;
            self.queue.ended(class, key.as_ref());
            self.left(fx);
        } else if state == JobState::Queued {
            self.stale += 1;
        }
        self.finish(number, JobState::Cancelled, failure, body, now, fx);
        if self.stale > 64 && self.stale > self.counts.queued {
            self.stale = 0;
            let Self { queue, records, .. } = self;
            queue.retain(|(number, round)| {
                let record = records.get(number);
                record.is_some_and(|record| record.is_in_line(round))
            });
        }
    }

    /// All jobs that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<JobId> {
        self.records
            .iter()
            .filter(|record| !record.state.is_finished())
            .map(|record| record.id)
            .collect()
    }

    /// Queues a job once more that has ended without a value; or schedules it, if jobs have not ended
    /// yet after which it is to run.
    pub(crate) fn retry(
        &mut self,
        id: JobId,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), RetryRefusal> {
        let closed = self.closed;
        let number = self.known(id).ok_or(RetryRefusal::Unknown)?.id.number();
        let record = self.get(number).ok_or(RetryRefusal::Unknown)?;
        if closed {
            return Err(RetryRefusal::Closed);
        }
        if record.state == JobState::Retrying {
            // Not later, but now.
            self.clear_due(number);
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
            return Ok(());
        }
        if !record.state.is_finished() || record.state == JobState::Completed {
            return Err(RetryRefusal::State(record.state));
        }
        if record.body.is_none() {
            return Err(RetryRefusal::Once);
        }
        let unique = record.extra.as_ref().and_then(|extra| extra.unique.clone());
        let holder = unique.and_then(|unique| self.find_unique(&unique, Some(id), now));
        if let Some((holder, _)) = holder {
            return Err(RetryRefusal::Unique(holder));
        }
        let record = self.get(number).ok_or(RetryRefusal::Unknown)?;
        record.ended = 0;
        let from = record.state;
        let extra = record.extra();
        for watcher in &extra.watchers {
            watcher.reopened(id, from);
        }
        extra.error = None;
        extra.round += 1;
        let round = extra.round;
        let unique = extra.unique.as_ref().map(|unique| unique.key.clone());
        if let Some(key) = unique {
            self.hold_unique(key, number, true);
        }
        self.note_gone(number);
        let mut waits = false;
        if let Some(record) = self.get(number) {
            fx.gone.extend(record.slot().reopen(round));
            waits = !record.extra().waits_for.is_empty();
        }
        if waits {
            // It was cancelled while it waited for others. The last of them to end queues it: only
            // a scheduled job is told of that.
            self.change(number, JobState::Scheduled, now, fx);
        } else {
            self.change(number, JobState::Queued, now, fx);
            self.enqueue(number, now, fx);
        }
        Ok(())
    }

    pub(crate) fn pause(&mut self, class: Option<&str>, fx: &mut Effects) {
        match class {
            None => {
                self.paused = true;
                self.close_inbox();
                self.put_back(None);
            }
            Some(class) => {
                let class = self.queue.class(class);
                self.queue.pause(class, true);
                if self.put_back(Some(class)) {
                    // Jobs of other classes have the room.
                    self.resume_workers(fx);
                }
            }
        }
        self.call_idle(fx);
    }

    /// Puts assigned jobs back in line, of a class or all: no worker has started them, and a pause
    /// holds them. `true` if there were any.
    ///
    /// They are not left where they are until the end of the pause: they would take room from the
    /// other classes.
    fn put_back(&mut self, class: Option<u32>) -> bool {
        let mut any = false;
        for place in [Place::Task, Place::Pool] {
            let mut assigned = std::mem::take(&mut self.assigned[place as usize]);
            assigned.retain(|rank| {
                let (_, number, round) = *rank;
                let Some(record) = self.records.get_mut(number) else {
                    return false;
                };
                if !record.is_assigned || record.round() != round {
                    // Cancelled meanwhile.
                    return false;
                }
                if class.is_some_and(|class| class != record.class) {
                    return true;
                }
                record.is_assigned = false;
                any = true;
                self.running -= 1;
                let key = record.key();
                self.queue.ended(record.class, key);
                self.queue
                    .put_back(record.class, key, record.priority, *rank);
                false
            });
            self.assigned[place as usize] = assigned;
        }
        any
    }

    pub(crate) fn resume(&mut self, class: Option<&str>, fx: &mut Effects) {
        match class {
            None => self.paused = false,
            Some(class) => {
                let class = self.queue.class(class);
                self.queue.pause(class, false);
                self.tidy(class);
            }
        }
        self.resume_workers(fx);
    }

    pub(crate) fn set_limit(&mut self, class: &str, limit: usize, fx: &mut Effects) {
        let class = self.queue.class(class);
        self.queue.set_limit(class, limit);
        self.tidy(class);
        self.resume_workers(fx);
    }

    pub(crate) fn set_limit_per_key(&mut self, class: &str, limit: usize, fx: &mut Effects) {
        let class = self.queue.class(class);
        self.queue.set_limit_per_key(class, limit);
        self.tidy(class);
        self.resume_workers(fx);
    }

    pub(super) fn resume_workers(&mut self, fx: &mut Effects) {
        if self.queue.any() {
            self.call_workers(None, fx);
        }
    }

    /// Accepts no more jobs; from now on each end is kept for the report.
    pub(crate) fn close(&mut self, report: bool, fx: &mut Effects) {
        self.closed = true;
        self.close_inbox();
        if report && self.drain.is_none() {
            self.drain = Some(Vec::new());
        }
        fx.wakers.extend(self.room.all());
    }

    /// The jobs that have ended since the first drain began. Not taken out, as each drain reports
    /// all.
    pub(crate) fn drained(&self) -> Vec<(JobId, JobState)> {
        self.drain.clone().unwrap_or_default()
    }

    /// Is no job left that could end by itself? Otherwise `waker` waits.
    pub(crate) fn poll_idle(
        &mut self,
        place: &mut line::Place,
        waker: Waker,
        fx: &mut Effects,
    ) -> Poll<()> {
        if self.is_idle() {
            fx.unused.push(waker);
            fx.unused.extend(self.idle.leave(place.take()));
            return Poll::Ready(());
        }
        fx.unused.extend(self.idle.wait(place, waker));
        Poll::Pending
    }

    /// No job runs, and every waiting job is held by a pause: its own class is paused, or it waits
    /// for a job that is held.
    fn is_idle(&mut self) -> bool {
        if self.counts.running > 0 {
            return false;
        }
        let classes = || self.queue.classes.iter();
        let is_held = |class: &Class| class.paused || class.counts.unfinished() == 0;
        if self.paused || classes().all(is_held) {
            return true;
        }
        // The records are looked at only if they may tell more than the counts.
        let only_scheduled = |class: &Class| class.counts.unfinished() == class.counts.scheduled;
        classes().any(|class| class.paused && class.counts.unfinished() > 0)
            && classes().all(|class| class.paused || only_scheduled(class))
            && self.all_wait_for_paused()
    }

    fn all_wait_for_paused(&mut self) -> bool {
        // While somebody waits, this is asked at each change. The first job that is not held waits for
        // no other one, which would come before it.
        let is_there = |number| {
            let record = self.records.get(number);
            record.is_some_and(|record| {
                !record.state.is_finished() && !self.queue.classes[record.class as usize].paused
            })
        };
        if self.not_held.is_some_and(is_there) {
            return false;
        }
        #[cfg(test)]
        {
            self.searches += 1;
        }
        let mut held = HashSet::new();
        let mut not_held = None;
        let mut unfinished = self
            .records
            .iter()
            .filter(|record| !record.state.is_finished());
        // In the order of submission: a job comes after those that it waits for.
        let all = unfinished.all(|record| {
            let waits_for = || record.extra.iter().flat_map(|extra| &extra.waits_for);
            let is_held = self.queue.classes[record.class as usize].paused
                || waits_for().any(|other| held.contains(other));
            if is_held {
                held.insert(record.id.number());
            } else {
                not_held = Some(record.id.number());
            }
            is_held
        });
        self.not_held = not_held;
        all
    }

    pub(super) fn call_idle(&mut self, fx: &mut Effects) {
        if !self.idle.is_empty() && self.is_idle() {
            fx.wakers.extend(self.idle.all());
        }
    }

    pub(crate) fn leave_idle(&mut self, place: line::Place, fx: &mut Effects) {
        fx.unused.extend(self.idle.leave(place));
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(all(test, not(fourway_shuttle), not(fourway_loom)))]
mod tests {
    use std::time::Duration;

    use fourway_core::BlockOn;
    use fourway_testing::{AGES, any, poll_once};

    use crate::{Job, JobManager};

    #[test]
    fn a_drain_searches_the_jobs_once_while_the_same_one_is_not_held() {
        let rt = any();
        let jobs = JobManager::builder(&rt).build();
        jobs.pause(Some("slow"));
        let held = || jobs.submit(Job::new(|| ()).class("slow")).unwrap();
        let held: Vec<_> = (0..20).map(|_| held()).collect();
        let later = |delay| jobs.submit(Job::new(|| ()).delay(delay)).unwrap();
        let [first, _second] = [AGES, AGES * 2].map(later);
        let mut drain = Box::pin(jobs.drain(Duration::from_secs(86_400)).into_future());
        assert!(rt.block_on(poll_once(drain.as_mut())).is_pending());
        let searches = || jobs.shared().lock().searches;
        assert_eq!(searches(), 1);
        for job in &held[1..] {
            job.cancel();
        }
        assert_eq!(searches(), 1);
        // Another one is found.
        first.cancel();
        assert_eq!(searches(), 2);
        assert!(rt.block_on(poll_once(drain.as_mut())).is_pending());
        drop(drain);
    }
}
