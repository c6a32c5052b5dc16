//! For engines: the life of a job, independent of its storage.
//!
//! A [`Life`] is a job with its lease. Each method is one transition, at a time given by the
//! engine, in milliseconds since 1970. An engine reads a life, changes it and writes it in one
//! atomic step: in a transaction, under a lock, or by comparing revisions. It serializes, for
//! engines that keep it whole beside their indexed columns.

use std::time::Duration;

use fourway_jobs::{ATTEMPTS_KEPT, Counts, JobId, JobState, Progress};
use serde::{Deserialize, Serialize};

use crate::{
    AttemptEnd, AttemptRecord, CancelAnswer, Held, Lease, Leased, NewJob, Record, RetryAnswer,
    Settled, Verdict,
};

/// How many bytes of an error are kept with an attempt, and with the job. A store may have no room
/// for more, and an error that cannot be recorded would be lost with the attempt.
pub const ERROR_KEPT: usize = 4096;

/// The error of a job that was cancelled while it waited for its first attempt; the start of the
/// error if it waited for another one.
const DEQUEUED: &str = "cancelled before it ran";

/// A job with its lease, without its arguments and its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// The part that clients see.
    pub record: Record,
    /// The token of the lease that was handed out last.
    pub token: u64,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// How long it is known after its end, in milliseconds.
    pub keep: u64,
    /// Until when it takes its unique key, whatever its state. `None`: it takes the key until it
    /// ends.
    pub unique_until: Option<u64>,
    /// How many attempts may still be lost and followed by one more. 0 in a life that was written
    /// before there was this field.
    #[serde(default)]
    pub lost_attempts: u32,
    /// How often it was queued [again](Self::retry) after its end. 0 in a life that was written before
    /// there was this field.
    #[serde(default)]
    pub retried: u32,
}

/// The decision of [`Life::settle`].
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing to write: the verdict came too late or was received before.
    Nothing(Settled),
    /// The life has changed; so has the output, if there is one.
    Write(Option<Vec<u8>>),
}

impl Change {
    /// The answer for the worker.
    #[must_use]
    pub fn settled(&self) -> Settled {
        match self {
            Self::Nothing(settled) => *settled,
            Self::Write(_) => Settled::Recorded,
        }
    }
}

impl Life {
    /// A job that is accepted now, and its arguments, which an engine keeps separately.
    #[must_use]
    pub fn begin(job: NewJob, now: u64) -> (Self, Vec<u8>) {
        let due_at = now.saturating_add(millis(job.delay));
        let (unique, unique_until) = match job.unique {
            Some(unique) => (
                Some(unique.key),
                unique
                    .within
                    .map(|within| now.saturating_add(millis(within))),
            ),
            None => (None, None),
        };
        let record = Record {
            id: job.id,
            kind: job.kind,
            version: job.version,
            state: if due_at > now {
                JobState::Scheduled
            } else {
                JobState::Queued
            },
            dead: false,
            cancelling: false,
            priority: job.priority,
            unique,
            headers: job.headers,
            attempt: 0,
            max_attempts: job.max_attempts.max(1),
            submitted_at: now,
            due_at,
            started_at: None,
            ended_at: None,
            worker: None,
            lease_until: None,
            attempts: Vec::new(),
            error: None,
            progress: None,
        };
        let life = Self {
            record,
            token: 0,
            timeout: job.timeout,
            keep: millis(job.keep),
            unique_until,
            lost_attempts: job.lost_attempts,
            retried: 0,
        };
        (life, job.args)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.record.id
    }

    /// Queues it if it waits for its time and the time has come.
    pub fn promote(&mut self, now: u64) -> bool {
        let waits = matches!(self.record.state, JobState::Scheduled | JobState::Retrying);
        let due = waits && self.record.due_at <= now;
        if due {
            self.record.state = JobState::Queued;
        }
        due
    }

    /// Whether it may be handed out to a worker that knows its kind up to that version.
    #[must_use]
    pub fn is_ready(&self, version: u32) -> bool {
        self.record.state == JobState::Queued && self.record.version <= version
    }

    /// Hands it out: a new attempt, which counts from now on.
    pub fn lease(&mut self, worker: &str, lease: Duration, args: Vec<u8>, now: u64) -> Leased {
        self.token += 1;
        let job = &mut self.record;
        job.attempt += 1;
        job.state = JobState::Running;
        job.started_at = Some(now);
        job.worker = Some(worker.to_owned());
        job.lease_until = Some(now.saturating_add(millis(lease)));
        job.progress = None;
        if job.attempts.len() >= ATTEMPTS_KEPT {
            job.attempts.remove(0);
        }
        job.attempts.push(AttemptRecord {
            number: job.attempt,
            worker: worker.to_owned(),
            started_at: now,
            ended_at: None,
            end: None,
            error: None,
        });
        Leased {
            lease: Lease {
                id: job.id,
                token: self.token,
            },
            kind: job.kind.clone(),
            version: job.version,
            args,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            timeout: self.timeout,
            headers: job.headers.clone(),
        }
    }

    /// Handles a heartbeat. Unless the lease is lost, the life has changed.
    pub fn beat(
        &mut self,
        token: u64,
        progress: Option<Progress>,
        lease: Duration,
        now: u64,
    ) -> Held {
        if !self.is_held(token) {
            return Held::Lost;
        }
        self.record.lease_until = Some(now.saturating_add(millis(lease)));
        if progress.is_some() {
            self.record.progress = progress;
        }
        if self.record.cancelling {
            Held::Cancel
        } else {
            Held::Yes
        }
    }

    /// Applies the verdict on the attempt with that token.
    pub fn settle(&mut self, token: u64, verdict: Verdict, now: u64) -> Change {
        if !self.is_held(token) {
            // Was it received before, and the answer lost? Then the attempt of this token was the
            // last one, and it ended by a verdict.
            let last = self.record.attempts.last().and_then(|attempt| attempt.end);
            let heard = token == self.token && last.is_some_and(|end| end != AttemptEnd::Lost);
            return Change::Nothing(if heard {
                Settled::Recorded
            } else {
                Settled::Lost
            });
        }
        let mut output = None;
        match verdict {
            Verdict::Complete(bytes) => {
                output = Some(bytes);
                self.end_attempt(AttemptEnd::Completed, None, now);
                self.record.error = None;
                self.end(JobState::Completed, now);
            }
            Verdict::RetryLater {
                delay,
                error,
                timed_out,
            } => {
                self.end_attempt(failed(timed_out).1, Some(error), now);
                if self.record.cancelling {
                    self.end(JobState::Cancelled, now);
                } else if self.record.attempt >= self.record.max_attempts {
                    self.end(failed(timed_out).0, now);
                } else {
                    self.await_turn(JobState::Retrying, now.saturating_add(millis(delay)));
                }
            }
            Verdict::Fail { error, timed_out } => {
                self.end_attempt(failed(timed_out).1, Some(error), now);
                self.end(failed(timed_out).0, now);
            }
            Verdict::DeadLetter { error } => {
                self.end_attempt(AttemptEnd::Failed, Some(error), now);
                self.record.dead = true;
                self.end(JobState::Failed, now);
            }
            Verdict::Cancelled => {
                self.end_attempt(AttemptEnd::Cancelled, None, now);
                self.record.error = Some("cancelled while it ran".to_owned());
                self.end(JobState::Cancelled, now);
            }
            Verdict::Release => {
                self.end_attempt(AttemptEnd::Released, None, now);
                if self.record.cancelling {
                    self.end(JobState::Cancelled, now);
                } else {
                    self.record.attempt -= 1;
                    self.await_turn(JobState::Queued, now);
                }
            }
        }
        Change::Write(output)
    }

    /// Cancels it. With [`Dequeued`](CancelAnswer::Dequeued) and
    /// [`Requested`](CancelAnswer::Requested) the life has changed.
    pub fn cancel(&mut self, now: u64) -> CancelAnswer {
        match self.record.state {
            JobState::Running => {
                self.record.cancelling = true;
                CancelAnswer::Requested
            }
            state if state.is_finished() => CancelAnswer::TooLate,
            _ => {
                let job = &mut self.record;
                let error = match &job.error {
                    _ if job.attempts.is_empty() => DEQUEUED.to_owned(),
                    Some(error) => format!("{DEQUEUED} again; its last error: {error}"),
                    None => format!("{DEQUEUED} again"),
                };
                job.error = Some(shortened(error));
                self.end(JobState::Cancelled, now);
                CancelAnswer::Dequeued
            }
        }
    }

    /// As [`cancel`](Self::cancel), for a request that may have been handled before and whose
    /// answer was lost: if it was, the answer is the same as before.
    pub fn cancel_again(&mut self, now: u64) -> CancelAnswer {
        let record = &self.record;
        if record.state != JobState::Cancelled {
            return self.cancel(now);
        }
        let error = record.error.as_deref();
        if error.is_some_and(|error| error.starts_with(DEQUEUED)) {
            CancelAnswer::Dequeued
        } else {
            CancelAnswer::Requested
        }
    }

    /// Queues it again, if it has ended without an output, or waits for its next attempt. With
    /// [`Queued`](RetryAnswer::Queued) the life has changed.
    ///
    /// `holder` is another job that has its unique key now. An engine excludes that one takes the key
    /// between its look and its write.
    ///
    /// A job whose last attempt is spent has one more.
    pub fn retry(&mut self, holder: Option<JobId>, now: u64) -> RetryAnswer {
        self.promote(now);
        match self.record.state {
            JobState::Retrying => {
                self.await_turn(JobState::Queued, now);
                return RetryAnswer::Queued;
            }
            JobState::Failed | JobState::Cancelled | JobState::TimedOut => {}
            state => return RetryAnswer::State(state),
        }
        // It is not forgotten yet, and nobody may see that.
        if self.forget_at().is_some_and(|at| at <= now) {
            return RetryAnswer::Unknown;
        }
        if let Some(holder) = holder.filter(|holder| *holder != self.id()) {
            return RetryAnswer::KeyTaken(holder);
        }
        self.retried = self.retried.saturating_add(1);
        let job = &mut self.record;
        job.max_attempts = job.max_attempts.max(job.attempt.saturating_add(1));
        job.dead = false;
        job.ended_at = None;
        job.error = None;
        job.progress = None;
        self.await_turn(JobState::Queued, now);
        RetryAnswer::Queued
    }

    /// As [`retry`](Self::retry), for a request that may have been handled before and whose answer was
    /// lost: a job that is queued, and was retried before, is queued by it.
    pub fn retry_again(&mut self, holder: Option<JobId>, now: u64) -> RetryAnswer {
        match self.retry(holder, now) {
            RetryAnswer::State(JobState::Queued) if self.retried > 0 => RetryAnswer::Queued,
            answer => answer,
        }
    }

    /// Its lease has run out: it is queued again, cancelled if that was asked for, or dead if
    /// this was its last attempt ([poison ends](fourway_core::contract#EN-3)). The first [lost
    /// attempts](NewJob::lost_attempts) are followed by one more each.
    pub fn expire(&mut self, now: u64) -> bool {
        let running = self.record.state == JobState::Running;
        let out = running && self.record.lease_until.is_some_and(|until| until <= now);
        if out {
            let error = "the worker's lease ran out: it died, or stood still for too long";
            self.end_attempt(AttemptEnd::Lost, Some(error.to_owned()), now);
            if self.record.cancelling {
                self.end(JobState::Cancelled, now);
            } else if self.lost_attempts > 0 {
                self.lost_attempts -= 1;
                self.record.max_attempts = self.record.max_attempts.saturating_add(1);
                self.await_turn(JobState::Queued, now);
            } else if self.record.attempt >= self.record.max_attempts {
                self.record.dead = true;
                self.end(JobState::Failed, now);
            } else {
                self.await_turn(JobState::Queued, now);
            }
        }
        out
    }

    /// When it must be forgotten, if it has ended: not while it takes its unique key, which is
    /// forgotten with it.
    #[must_use]
    pub fn forget_at(&self) -> Option<u64> {
        let ended = self.record.ended_at?;
        let kept = ended.saturating_add(self.keep);
        Some(kept.max(self.unique_until.unwrap_or(0)))
    }

    /// Whether it takes its unique key now.
    #[must_use]
    pub fn takes_key(&self, now: u64) -> bool {
        let state = self.record.state;
        self.record.unique.is_some()
            && self
                .unique_until
                .map_or(!state.is_finished(), |until| now < until)
    }

    fn is_held(&self, token: u64) -> bool {
        self.record.state == JobState::Running && self.token == token
    }

    fn end_attempt(&mut self, end: AttemptEnd, error: Option<String>, now: u64) {
        let error = error.map(shortened);
        let job = &mut self.record;
        job.lease_until = None;
        if let Some(attempt) = job.attempts.last_mut() {
            attempt.ended_at = Some(now);
            attempt.end = Some(end);
            attempt.error.clone_from(&error);
        }
        if error.is_some() {
            job.error = error;
        }
    }

    fn end(&mut self, state: JobState, now: u64) {
        self.record.state = state;
        self.record.cancelling = false;
        self.record.ended_at = Some(now);
    }

    fn await_turn(&mut self, state: JobState, due_at: u64) {
        self.record.state = state;
        self.record.due_at = due_at;
    }
}

fn failed(timed_out: bool) -> (JobState, AttemptEnd) {
    if timed_out {
        (JobState::TimedOut, AttemptEnd::TimedOut)
    } else {
        (JobState::Failed, AttemptEnd::Failed)
    }
}

/// Its first [`ERROR_KEPT`] bytes.
fn shortened(mut error: String) -> String {
    if error.len() > ERROR_KEPT {
        let end = (0..=ERROR_KEPT)
            .rev()
            .find(|at| error.is_char_boundary(*at));
        error.truncate(end.unwrap_or(0));
        error.push('…');
    }
    error
}

/// A duration in milliseconds, rounded up, so that a short wait does not become zero.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Adds `by` jobs to the count of that state.
pub fn count(counts: &mut Counts, state: JobState, by: u64) {
    let count = match state {
        JobState::Scheduled => &mut counts.scheduled,
        JobState::Queued => &mut counts.queued,
        JobState::Running => &mut counts.running,
        JobState::Retrying => &mut counts.retrying,
        JobState::Completed => &mut counts.completed,
        JobState::Failed => &mut counts.failed,
        JobState::Cancelled => &mut counts.cancelled,
        JobState::TimedOut => &mut counts.timed_out,
    };
    *count += by;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UniqueKey;

    fn running(job: NewJob) -> Life {
        let (mut life, args) = Life::begin(job, 1000);
        life.lease("w", Duration::from_secs(1), args, 1000);
        life
    }

    fn settled(life: &mut Life, verdict: Verdict, now: u64) {
        assert_eq!(life.settle(1, verdict, now).settled(), Settled::Recorded);
    }

    #[test]
    fn a_job_is_known_for_as_long_as_it_takes_its_key() {
        let mut job = NewJob::new("kind", 1, "");
        job.keep = Duration::from_millis(10);
        for (within, forgotten) in [(5, 1030), (20, 1030), (500, 1500)] {
            job.unique = Some(UniqueKey {
                key: "key".to_owned(),
                within: Some(Duration::from_millis(within)),
            });
            let mut life = running(job.clone());
            assert_eq!(life.forget_at(), None);
            settled(&mut life, Verdict::Cancelled, 1020);
            assert_eq!(life.forget_at(), Some(forgotten));
        }
    }

    #[test]
    fn a_long_error_is_kept_in_part() {
        let mut life = running(NewJob::new("kind", 1, ""));
        // No part of a character is kept.
        let error = "x".to_owned() + &"ö".repeat(ERROR_KEPT);
        settled(&mut life, Verdict::DeadLetter { error }, 1001);
        let kept = life.record.error.unwrap();
        assert_eq!(kept.len(), ERROR_KEPT - 1 + "…".len());
        assert_eq!(life.record.attempts[0].error.as_deref(), Some(&*kept));
        assert_eq!(shortened("short".to_owned()), "short");
    }

    #[test]
    fn some_lost_attempts_are_not_counted() {
        let mut job = NewJob::new("kind", 1, "");
        job.max_attempts = 2;
        job.lost_attempts = 2;
        let (mut life, args) = Life::begin(job, 0);
        let lease = Duration::from_millis(1);
        for (attempt, at_most) in [(1, 2), (2, 3), (3, 4), (4, 4)] {
            let leased = life.lease("w", lease, args.clone(), 0);
            assert_eq!((leased.attempt, leased.max_attempts), (attempt, at_most));
            assert!(life.expire(1));
            let is_last = attempt == 4;
            assert_eq!(life.record.state == JobState::Queued, !is_last);
            assert_eq!(life.record.dead, is_last);
        }
    }

    #[test]
    fn an_attempt_that_ended_by_itself_counts_beside_lost_ones() {
        let mut job = NewJob::new("kind", 1, "");
        job.max_attempts = 1;
        job.lost_attempts = 2;
        let mut life = running(job);
        let verdict = Verdict::RetryLater {
            delay: Duration::ZERO,
            error: "slow".to_owned(),
            timed_out: true,
        };
        settled(&mut life, verdict, 1001);
        assert_eq!(life.record.state, JobState::TimedOut);
    }

    #[test]
    fn a_life_from_before_lost_attempts_were_counted_is_read() {
        let (life, _) = Life::begin(NewJob::new("kind", 1, ""), 0);
        let mut written = serde_json::to_value(&life).unwrap();
        let fields = written.as_object_mut().unwrap();
        assert_eq!(fields.remove("lost_attempts"), Some(0.into()));
        assert_eq!(serde_json::from_value::<Life>(written).unwrap(), life);
    }

    fn no_answer() -> Verdict {
        Verdict::RetryLater {
            delay: Duration::from_secs(1),
            error: "no answer".to_owned(),
            timed_out: false,
        }
    }

    #[test]
    fn a_job_that_is_cancelled_between_attempts_keeps_its_last_error() {
        let mut life = running(NewJob::new("kind", 1, ""));
        settled(&mut life, no_answer(), 1001);
        assert_eq!(life.cancel_again(1002), CancelAnswer::Dequeued);
        assert_eq!(life.cancel_again(1003), CancelAnswer::Dequeued);
        let error = life.record.error.unwrap();
        assert_eq!(
            error,
            "cancelled before it ran again; its last error: no answer"
        );

        let mut life = running(NewJob::new("kind", 1, ""));
        settled(&mut life, Verdict::Release, 1001);
        assert_eq!(life.cancel(1002), CancelAnswer::Dequeued);
        let error = life.record.error.unwrap();
        assert_eq!(error, "cancelled before it ran again");
    }

    #[test]
    fn a_job_that_is_retried_goes_on_with_its_attempts() {
        let mut job = NewJob::new("kind", 1, "");
        job.max_attempts = 1;
        let mut life = running(job);
        assert_eq!(
            life.retry(None, 1001),
            RetryAnswer::State(JobState::Running)
        );
        let error = "never".to_owned();
        settled(&mut life, Verdict::DeadLetter { error }, 1002);
        let other = crate::next_id();
        let refused = life.clone();
        assert_eq!(life.retry(Some(other), 1003), RetryAnswer::KeyTaken(other));
        assert_eq!(life, refused);
        // It may be found as the holder of its own key.
        assert_eq!(life.retry(Some(life.id()), 1003), RetryAnswer::Queued);
        let job = &life.record;
        assert_eq!((job.state, job.due_at), (JobState::Queued, 1003));
        assert_eq!((job.dead, &job.error, job.ended_at), (false, &None, None));
        assert_eq!((job.attempt, job.max_attempts), (1, 2));
        assert_eq!(life.forget_at(), None);
        assert_eq!(life.retry(None, 1004), RetryAnswer::State(JobState::Queued));
        assert_eq!(life.retry_again(None, 1004), RetryAnswer::Queued);
        let leased = life.lease("w", Duration::from_secs(1), Vec::new(), 1005);
        assert_eq!((leased.attempt, leased.lease.token), (2, 2));
        // What was told of the first attempt is known, and changes nothing.
        let late = life.settle(1, Verdict::Complete(Vec::new()), 1006);
        assert_eq!(late, Change::Nothing(Settled::Lost));
        let done = life.settle(2, Verdict::Complete(Vec::new()), 1006);
        assert_eq!(done.settled(), Settled::Recorded);
        assert_eq!(
            life.retry_again(None, 1007),
            RetryAnswer::State(JobState::Completed)
        );
    }

    #[test]
    fn a_job_that_waits_for_its_next_attempt_is_queued_by_a_retry() {
        let mut life = running(NewJob::new("kind", 1, ""));
        settled(&mut life, no_answer(), 1001);
        let other = crate::next_id();
        // The job has its key itself, if that lasts until its end.
        assert_eq!(life.retry(Some(other), 1002), RetryAnswer::Queued);
        let job = &life.record;
        assert_eq!((job.state, job.due_at), (JobState::Queued, 1002));
        assert_eq!(job.error.as_deref(), Some("no answer"));
        assert_eq!(job.max_attempts, 5);
    }

    #[test]
    fn a_job_whose_time_is_over_is_not_retried() {
        let mut job = NewJob::new("kind", 1, "");
        job.keep = Duration::from_millis(10);
        let mut life = running(job);
        settled(&mut life, Verdict::Cancelled, 1020);
        assert_eq!(life.retry(None, 1030), RetryAnswer::Unknown);
        assert_eq!(life.retry(None, 1029), RetryAnswer::Queued);
    }

    #[test]
    fn a_cancellation_that_was_heard_is_answered_as_it_was() {
        let (mut waits, _) = Life::begin(NewJob::new("kind", 1, ""), 1000);
        assert_eq!(waits.cancel_again(1001), CancelAnswer::Dequeued);
        assert_eq!(waits.cancel_again(1002), CancelAnswer::Dequeued);
        assert_eq!(waits.cancel(1002), CancelAnswer::TooLate);

        let mut runs = running(NewJob::new("kind", 1, ""));
        assert_eq!(runs.cancel_again(1001), CancelAnswer::Requested);
        settled(&mut runs, Verdict::Cancelled, 1002);
        assert_eq!(runs.cancel_again(1003), CancelAnswer::Requested);

        let mut done = running(NewJob::new("kind", 1, ""));
        settled(&mut done, Verdict::Complete(Vec::new()), 1002);
        assert_eq!(done.cancel_again(1003), CancelAnswer::TooLate);
    }
}
