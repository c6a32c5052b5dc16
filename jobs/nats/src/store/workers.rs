//! What workers ask for: to take jobs, to keep them, and to report their ends.

use std::time::Duration;

use async_nats::jetstream::{Message, consumer::PullConsumer};
use fourway_jobs_engine::{
    Beat, EngineError, Fetch, Held, JobState, Lease, Leased, RetryAnswer, Settled, Verdict,
    life::{Change, Life},
};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Job, Known, Store, lane};
use crate::{
    again::persistently,
    bucket::{Written, millis},
    entry::{self, Entry},
    failed::unavailable,
    lanes::Turn,
    names::Lane,
};

/// How long an unreadable job is left alone.
const UNREADABLE: Duration = Duration::from_secs(60);

/// For how long a fetch waits until it looks for new lanes.
const STEP: Duration = Duration::from_secs(1);

impl Store {
    pub(crate) async fn fetch(&self, fetch: &Fetch) -> Result<Vec<Leased>, EngineError> {
        if fetch.max == 0 || fetch.kinds.is_empty() {
            return Ok(Vec::new());
        }
        self.tell_time().await?;
        let end = Instant::now().checked_add(fetch.patience);
        loop {
            let jobs = persistently(self.settings.timeout, || self.fetch_now(fetch)).await?;
            let left = end.map_or(STEP, |end| end.saturating_duration_since(Instant::now()));
            if !jobs.is_empty() || left.is_zero() {
                return Ok(jobs);
            }
            let first = || self.fetch_first(fetch, left.min(STEP));
            let first = persistently(self.settings.timeout, first).await?;
            if first.is_some() {
                return Ok(first.into_iter().collect());
            }
        }
    }

    /// The jobs that are there at once in all lanes. An error only if it left no job.
    async fn fetch_now(&self, fetch: &Fetch) -> Result<Vec<Leased>, EngineError> {
        let mut jobs = Vec::new();
        for (lane, pull) in self.lanes.of(&fetch.kinds).await? {
            let more = self.fetch_from(&lane, &pull, fetch, &mut jobs).await;
            if jobs.is_empty() {
                more?;
            }
            if jobs.len() >= fetch.max {
                break;
            }
        }
        Ok(jobs)
    }

    /// The first job that comes in any lane. A step at a time, so that lanes made meanwhile are
    /// noticed.
    async fn fetch_first(
        &self,
        fetch: &Fetch,
        patience: Duration,
    ) -> Result<Option<Leased>, EngineError> {
        let lanes = self.lanes.of(&fetch.kinds).await?;
        match self.lanes.first(&lanes, patience).await? {
            Some(turn) => self.take(turn, fetch).await,
            None => Ok(None),
        }
    }

    /// The jobs of a lane that are available at once. If very many delivered messages still have to
    /// wait, another fetch gets the jobs behind them.
    async fn fetch_from(
        &self,
        lane: &Lane,
        pull: &PullConsumer,
        fetch: &Fetch,
        jobs: &mut Vec<Leased>,
    ) -> Result<(), EngineError> {
        let end = Instant::now() + self.settings.timeout;
        loop {
            let room = fetch.max - jobs.len();
            let turns = self.lanes.pull(lane, pull, room).await?;
            let handed = turns.len();
            let taken = join_all(turns.into_iter().map(|turn| self.take(turn, fetch))).await;
            let mut trouble = Ok(());
            let before = jobs.len();
            for job in taken {
                match job {
                    Ok(job) => jobs.extend(job),
                    Err(error) => trouble = Err(error),
                }
            }
            trouble?;
            // Some messages were handed out only to wait: there may be others behind them.
            if handed == jobs.len() - before || Instant::now() >= end {
                return Ok(());
            }
        }
    }

    /// Hands the job of a message out, if it is its turn.
    async fn take(&self, turn: Turn, fetch: &Fetch) -> Result<Option<Leased>, EngineError> {
        let Some(message) = turn.take() else {
            return Ok(None);
        };
        let Some(ack) = message.reply.as_ref().map(ToString::to_string) else {
            return Ok(None);
        };
        let taken = self.take_message(&message, &ack, fetch).await;
        if let Err(error) = &taken {
            // Soon, but not at once: a failed request would fail again now. Perhaps a newer program
            // has written an unreadable record: the job is left for that program, and delays no
            // other job meanwhile. If this request is lost, the message comes back by itself.
            let pause = if error.is_refusal() { UNREADABLE } else { STEP };
            let _ = self.lanes.later(&ack, pause).await;
        }
        taken
    }

    async fn take_message(
        &self,
        message: &Message,
        ack: &str,
        fetch: &Fetch,
    ) -> Result<Option<Leased>, EngineError> {
        let (first, args) = entry::read::<Life>(&message.payload)?;
        let id = first.id();
        let mut tries = self.tries();
        let mut next = match self.first.of(id) {
            // This process wrote the record, and the message has its content. If another process has
            // written since, the revision shows it.
            Some(revision) => Known::Job(Box::new(Job {
                entry: Entry::new(first.clone()),
                output: Vec::new(),
                revision,
                before: None,
            })),
            // At first any replica will do, as the write compares the revision that was found.
            None => Known::of(self.records.get_near(&id.to_string()).await?)?,
        };
        loop {
            let mut known = next;
            if matches!(known, Known::Never) && (first.retried > 0 || self.is_old(message)?) {
                // A submission writes the record before it answers, and before a retry there is one. So
                // this job was forgotten, and its mark deleted, or its submission failed. The leader
                // knows: a replica may not have received the record yet.
                known = match self.known(id).await? {
                    Known::Never => Known::Forgotten,
                    known => known,
                };
            }
            let mut job = match known {
                // A retry is on its way, or its process has died: see `retry`.
                Known::Job(mut job) if first.retried > job.entry.life.retried => {
                    match job.entry.life.retry(None, self.now()) {
                        RetryAnswer::Queued => job.entry.has_args = false,
                        // Its retention is over. The process that asked for the retry may still write
                        // the record, and must not once the message is gone.
                        RetryAnswer::Unknown => {
                            self.forget(id, &job).await?;
                            tries.again().await?;
                            next = self.known(id).await?;
                            continue;
                        }
                        _ => {}
                    }
                    job
                }
                Known::Job(job) => job,
                // Its submitter has not written the record yet, or never will.
                Known::Never => Box::new(Job {
                    entry: Entry::new(first.clone()),
                    output: Vec::new(),
                    revision: 0,
                    before: None,
                }),
                Known::Forgotten => {
                    self.lanes.done(ack).await?;
                    return Ok(None);
                }
            };
            let now = self.now();
            let life = &mut job.entry.life;
            let expired = life.expire(now);
            life.promote(now);
            let record = &life.record;
            let wait_until = match record.state {
                JobState::Queued => {
                    let leased = life.lease(&fetch.worker, fetch.lease, args.to_vec(), now);
                    let lane = lane(&life.record);
                    job.entry.ack = Some(ack.to_owned());
                    match self.write(&job.entry, &[], job.revision).await? {
                        Written::As(revision) => {
                            self.held().insert(id, (job.entry, revision));
                            self.lanes.hold_at_first(ack, &lane, fetch.lease).await?;
                            return Ok(Some(leased));
                        }
                        Written::Conflict => None,
                    }
                }
                JobState::Running => Some(record.lease_until.unwrap_or(now)),
                JobState::Scheduled | JobState::Retrying => Some(record.due_at),
                _ended => {
                    let written = if expired {
                        let args = self.args_that_fit(&mut job.entry, args);
                        self.write(&job.entry, args, job.revision).await?
                    } else {
                        Written::As(job.revision)
                    };
                    if written != Written::Conflict {
                        self.lanes.done(ack).await?;
                        return Ok(None);
                    }
                    None
                }
            };
            if let Some(until) = wait_until {
                let left = Duration::from_millis(until.saturating_sub(now).max(1));
                self.lanes.later(ack, left).await?;
                return Ok(None);
            }
            tries.again().await?;
            next = self.known(id).await?;
        }
    }

    /// The message was sent so long ago that its submission is over, and that the mark of its job
    /// may be deleted.
    ///
    /// That is half of the time that marks stay, as the clocks of servers differ.
    fn is_old(&self, message: &Message) -> Result<bool, EngineError> {
        let info = message.info().map_err(unavailable)?;
        let sent = millis(info.published.unix_timestamp_nanos());
        let age = Duration::from_millis(self.now().saturating_sub(sent));
        Ok(age >= self.settings.marks / 2)
    }

    pub(crate) async fn heartbeat(
        &self,
        beats: Vec<Beat>,
        lease: Duration,
    ) -> Result<Vec<Held>, EngineError> {
        self.tell_time().await?;
        let beats = beats.into_iter().map(|beat| self.beat(beat, lease));
        join_all(beats).await.into_iter().collect()
    }

    async fn beat(&self, beat: Beat, lease: Duration) -> Result<Held, EngineError> {
        let Beat {
            lease: of,
            progress,
        } = beat;
        let mut own = true;
        let mut tries = self.tries();
        loop {
            let Some((mut entry, revision)) = self.of_lease(of, own).await? else {
                return Ok(Held::Lost);
            };
            let life = &mut entry.life;
            let held = life.beat(of.token, progress.clone(), lease, self.now());
            if held == Held::Lost {
                self.let_go(of);
                return Ok(held);
            }
            match self.write(&entry, &[], revision).await? {
                Written::As(revision) => {
                    let lane = lane(&entry.life.record);
                    let ack = entry.ack.clone();
                    self.held().insert(of.id, (entry, revision));
                    if let Some(ack) = ack {
                        self.lanes.hold(&ack, &lane, lease).await?;
                    }
                    return Ok(held);
                }
                Written::Conflict => {
                    own = false;
                    tries.again().await?;
                }
            }
        }
    }

    pub(crate) async fn settle(
        &self,
        verdicts: Vec<(Lease, Verdict)>,
    ) -> Result<Vec<Settled>, EngineError> {
        self.tell_time().await?;
        let verdicts = verdicts.into_iter();
        let settle = verdicts.map(|(lease, verdict)| self.settle_one(lease, verdict));
        join_all(settle).await.into_iter().collect()
    }

    async fn settle_one(&self, lease: Lease, verdict: Verdict) -> Result<Settled, EngineError> {
        let mut own = true;
        let mut tries = self.tries();
        loop {
            let Some((mut entry, revision)) = self.of_lease(lease, own).await? else {
                return Ok(Settled::Lost);
            };
            let now = self.now();
            let change = entry.life.settle(lease.token, verdict.clone(), now);
            let settled = change.settled();
            let output = match change {
                Change::Write(Some(output)) => output,
                Change::Write(None) => self.bytes_without_output(&mut entry).await?,
                Change::Nothing(_) => {
                    self.let_go(lease);
                    return Ok(settled);
                }
            };
            match self.write(&entry, &output, revision).await? {
                Written::As(_) => {
                    self.let_go(lease);
                    let record = &entry.life.record;
                    // The attempt counts already. If this is lost, the message comes back when the
                    // lease would have run out.
                    if let Some(ack) = &entry.ack {
                        let _ = if record.state.is_finished() {
                            self.lanes.done(ack).await
                        } else {
                            let left = record.due_at.saturating_sub(now);
                            self.lanes.later(ack, Duration::from_millis(left)).await
                        };
                    }
                    return Ok(settled);
                }
                Written::Conflict => {
                    own = false;
                    tries.again().await?;
                }
            }
        }
    }

    /// The record of a job that this process holds, or else as the leader has it.
    async fn of_lease(&self, lease: Lease, own: bool) -> Result<Option<(Entry, u64)>, EngineError> {
        let held = self.held().get(&lease.id).cloned();
        if let Some((entry, revision)) = held.filter(|_| own) {
            if entry.life.token == lease.token {
                return Ok(Some((entry, revision)));
            }
        }
        Ok(match self.known(lease.id).await? {
            Known::Job(job) => Some((job.entry, job.revision)),
            Known::Never | Known::Forgotten => None,
        })
    }

    /// Lets go of jobs that were handed out and not mentioned for a long time: the caller was gone
    /// before the answer.
    pub(crate) fn let_go_of_lost(&self, now: u64) {
        const LONG: u64 = 3_600_000;
        let is_lost = |until: u64| until.saturating_add(LONG) < now;
        self.held()
            .retain(|_, (entry, _)| !entry.life.record.lease_until.is_none_or(is_lost));
    }

    /// The job is not held any more, at least not with this lease.
    fn let_go(&self, lease: Lease) {
        let mut held = self.held();
        if let Some((entry, _)) = held.get(&lease.id) {
            if entry.life.token <= lease.token {
                held.remove(&lease.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::{CancelAnswer, NewJob};

    use super::*;
    use crate::sweep::tests::with_marks;

    #[test]
    fn a_first_record_that_others_have_changed_is_read() {
        with_marks(3_600_000, async |store| {
            let other = Store::open(store.handle().clone(), store.settings().clone());
            let other = other.await.unwrap();
            let jobs = [(); 3].map(|()| NewJob::new("plain", 1, *b""));
            let [plain, cancelled, resumed] = jobs.each_ref().map(|job| job.id);
            store.submit(jobs.to_vec()).await.unwrap();
            let answer = other.cancel(cancelled).await.unwrap();
            assert_eq!(answer, CancelAnswer::Dequeued);
            // Another process has taken it, and given it back.
            let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
            let fetch = fetch.patience(Duration::from_secs(10)).max(1);
            let first = other.fetch(&fetch).await.unwrap().remove(0).lease;
            assert_eq!(first.id, plain);
            let released = other.settle(vec![(first, Verdict::Release)]).await.unwrap();
            assert_eq!(released, [Settled::Recorded]);

            let mut fetched = Vec::new();
            while fetched.len() < 2 {
                let jobs = store.fetch(&fetch).await.unwrap();
                fetched.extend(jobs.into_iter().map(|job| (job.lease.id, job.lease.token)));
            }
            fetched.sort_unstable();
            assert_eq!(fetched, [(plain, 2), (resumed, 1)]);
            let cancelled = store.status(cancelled).await.unwrap().unwrap();
            assert_eq!(cancelled.state, JobState::Cancelled);
            // Each revision is used once, also by the job that was not taken.
            assert_eq!(store.first.of(plain), None);
            assert_eq!(store.first.of(cancelled.id), None);
        });
    }

    /// The server does not answer reads of records: their bucket allows none.
    #[test]
    fn a_job_that_this_process_submitted_is_taken_without_a_read() {
        with_marks(3_600_000, async |store| {
            let job = NewJob::new("plain", 1, *b"");
            let id = job.id;
            store.submit(vec![job]).await.unwrap();
            let mut config = store.records().stream.cached_info().config.clone();
            config.allow_direct = false;
            store.records().change(config).await;
            let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
            let fetch = fetch.patience(Duration::from_secs(1)).max(1);
            let fetched = store.fetch(&fetch).await.unwrap();
            assert_eq!(fetched[0].lease.id, id);
        });
    }
}
