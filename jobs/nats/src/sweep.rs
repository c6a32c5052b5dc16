//! Maintenance: forgets jobs whose time is over.
//!
//! JetStream 2.9 has an age for all messages of a stream, and none for each. So one of the
//! processes goes through the records now and then. Leases that have run out need no sweep: their
//! messages come back to workers that fetch.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fourway_jobs_engine::{EngineError, JobId};
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    bucket::{Bucket, Written},
    store::{Known, Store},
    tokio_side,
    view::View,
};

/// The key for the last sweep of all processes.
const KEY: &str = "sweep";

/// How many jobs are forgotten at a time.
const AT_A_TIME: usize = 100;

#[derive(Debug)]
pub(crate) struct Sweeps {
    every: Duration,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    next: Instant,
    /// The running sweep, or the last one whose result was not given yet.
    sweep: Option<JoinHandle<Result<(), EngineError>>>,
}

impl Sweeps {
    pub(crate) fn new(every: Duration) -> Self {
        let next = Instant::now() + some_of(every);
        let now = Mutex::new(Now { next, sweep: None });
        Self { every, now }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sweep that has ended since the last call.
    fn ended(&self) -> Option<JoinHandle<Result<(), EngineError>>> {
        self.now().sweep.take_if(|sweep| sweep.is_finished())
    }

    /// Whether this process must ask. If so, it does not ask again for a while.
    fn is_due(&self) -> bool {
        let mut now = self.now();
        let due = now.sweep.is_none() && now.next <= Instant::now();
        if due {
            now.next = Instant::now() + some_of(self.every);
        }
        due
    }
}

/// Not all at once.
fn some_of(every: Duration) -> Duration {
    every.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl Store {
    /// Begins a sweep if one is due. Its error is the result of a later call: a sweep may take
    /// longer than a worker waits for its maintenance.
    pub(crate) async fn maintain(self: Arc<Self>) -> Result<(), EngineError> {
        let now = self.tell_time().await?;
        self.let_go_of_lost(now);
        if let Some(ended) = self.sweeps.ended() {
            tokio_side::answer(ended.await)?;
        }
        if self.sweeps.is_due() && self.is_first(now).await? {
            let begin = || self.handle().spawn(self.clone().sweep_alone());
            self.sweeps.now().sweep.get_or_insert_with(begin);
        }
        Ok(())
    }

    /// No other process has swept lately, or is about to.
    async fn is_first(&self, now: u64) -> Result<bool, EngineError> {
        let last = self.keys().get(KEY).await?;
        let (written_at, revision) = last.map_or((0, 0), |last| (last.written_at, last.revision));
        let every = u64::try_from(self.sweeps.every.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(written_at) < every / 2 {
            return Ok(false);
        }
        let written = self.keys().put(KEY, Vec::new(), revision).await?;
        Ok(written != Written::Conflict)
    }

    /// Sweeps. As long as this takes, no other process begins a sweep.
    async fn sweep_alone(self: Arc<Self>) -> Result<(), EngineError> {
        let mut sweep = pin!(self.sweep());
        loop {
            if let Ok(swept) = timeout(self.sweeps.every / 4, &mut sweep).await {
                return swept;
            }
            // If this fails, another process may sweep as well, which is harmless.
            if let Ok(Some(last)) = self.keys().get(KEY).await {
                let _ = self.keys().put(KEY, Vec::new(), last.revision).await;
            }
        }
    }

    pub(crate) async fn sweep(self: &Arc<Self>) -> Result<(), EngineError> {
        let stay = u64::try_from(self.settings().marks.as_millis()).unwrap_or(u64::MAX);
        let find = |view: &View, now: u64| {
            let over = |at: Option<u64>| at.is_some_and(|at| at <= now);
            let jobs = view.jobs.iter().filter(|(_, job)| over(job.forget_at));
            let jobs: Vec<JobId> = jobs.map(|(id, _)| *id).collect();
            let old = view.marks.iter();
            let old = old.filter(|(_, mark)| now.saturating_sub(mark.written_at) > stay);
            let mut marks: Vec<_> = old.map(|(at, mark)| (*at, mark.before)).collect();
            // The last mark stays: it tells other processes how far to follow.
            marks.pop();
            (jobs, marks)
        };
        let (jobs, marks) = self.with_view(false, find).await?;
        let jobs = stream::iter(jobs).map(|id| self.forget_now(id));
        let forgotten = all_readable(jobs.buffer_unordered(AT_A_TIME)).await?;
        let one = !marks.is_empty() && self.records().keeps_one_now().await?;
        let marks = stream::iter(marks)
            .map(|(mark, before)| remove_mark(self.records(), mark, before.filter(|_| !one)));
        let removed = all_readable(marks.buffer_unordered(AT_A_TIME)).await?;
        self.sweep_keys(stay).await?;
        forgotten.or(removed).map_or(Ok(()), Err)
    }

    async fn forget_now(&self, id: JobId) -> Result<(), EngineError> {
        if let Known::Job(job) = self.known(id).await? {
            let at = job.entry.life.forget_at();
            // It may have been queued again since the view was read.
            if at.is_some_and(|at| at <= self.now()) {
                self.forget(id, &job).await?;
            }
        }
        Ok(())
    }

    /// Deletes the marks of unique keys that have been free for a while. A claim that is on its way since
    /// then would find the key as if it had never been taken: it is not on its way for so long.
    async fn sweep_keys(&self, stay: u64) -> Result<(), EngineError> {
        let keys = self.keys();
        let now = self.tell_time().await?;
        let mut marks = keys.marks().await?;
        marks.retain(|mark| now.saturating_sub(mark.written_at) > stay);
        let one = marks.is_empty() || keys.keeps_one_now().await?;
        // A key that was claimed again meanwhile has another revision.
        let marks = stream::iter(marks)
            .map(|mark| remove_mark(keys, mark.revision, mark.before.filter(|_| !one)));
        let deleted = all_readable(marks.buffer_unordered(AT_A_TIME)).await?;
        deleted.map_or(Ok(()), Err)
    }
}

async fn remove_mark(bucket: &Bucket, mark: u64, before: Option<u64>) -> Result<(), EngineError> {
    // Without the mark, the value before it would be current again.
    if let Some(before) = before {
        bucket.delete(before).await?;
    }
    bucket.delete(mark).await
}

/// Runs all of them, also after a refusal, which concerns one job: perhaps a newer program has
/// written its record or its key. Gives the first refusal.
///
/// # Errors
///
/// The first error that is not a refusal, at once: the others would fail, too.
async fn all_readable(
    results: impl Stream<Item = Result<(), EngineError>>,
) -> Result<Option<EngineError>, EngineError> {
    let mut results = pin!(results);
    let mut refused = None;
    while let Some(result) = results.next().await {
        match result {
            Err(error) if error.is_refusal() => refused = refused.or(Some(error)),
            result => result?,
        }
    }
    Ok(refused)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{future::Future, sync::Arc, time::Duration};

    use fourway_jobs_engine::{
        CancelAnswer, Fetch, JobId, NewJob, RetryAnswer, Submitted, UniqueKey, life::Life, next_id,
    };
    use fourway_servers::nats_url;
    use tokio::time::sleep;

    use crate::{
        NatsEngine,
        bucket::Bucket,
        store::{Known, Store},
        tokio_side::Side,
    };

    /// Opens a store whose marks stay for that time, and runs the test with it.
    pub(crate) fn with_marks<F: Future<Output = ()>>(
        marks: u64,
        test: impl FnOnce(Arc<Store>) -> F,
    ) {
        with_values(2, marks, test);
    }

    /// The same, with a bucket of records that keeps that many values of each.
    fn with_values<F: Future<Output = ()>>(
        values: i64,
        marks: u64,
        test: impl FnOnce(Arc<Store>) -> F,
    ) {
        let Some(url) = nats_url() else {
            return;
        };
        let rt = fourway_testing::any();
        let prefix = format!("test-{}", next_id());
        let mut settings = NatsEngine::builder(&rt, url).prefix(prefix).settings;
        settings.marks = Duration::from_millis(marks);
        let handle = Side::start().unwrap().handle().clone();
        handle.clone().block_on(async {
            let client = async_nats::connect(&settings.servers).await.unwrap();
            let context = async_nats::jetstream::new(client);
            let (name, timeout) = (format!("{}-records", settings.prefix), settings.timeout);
            Bucket::open(&context, &name, 1, values, timeout)
                .await
                .unwrap();
            let store = Arc::new(Store::open(handle, settings).await.unwrap());
            test(store.clone()).await;
            store.remove_all().await.unwrap();
        });
    }

    async fn fetched(store: &Store) -> Vec<JobId> {
        let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
        let fetch = fetch.patience(Duration::from_secs(3)).max(10);
        let jobs = store.fetch(&fetch).await.unwrap();
        jobs.iter().map(|job| job.lease.id).collect()
    }

    #[test]
    fn a_job_that_was_cancelled_and_forgotten_does_not_run() {
        with_marks(200, async |store| {
            let mut job = NewJob::new("plain", 1, *b"");
            job.delay = Duration::from_secs(3);
            job.keep = Duration::from_millis(1);
            let mut last = job.clone();
            last.id = next_id();
            for job in [&job, &last] {
                store.submit(vec![job.clone()]).await.unwrap();
                // A worker sends it back until its time has come.
                store
                    .fetch(&Fetch::new("test", vec![("plain".to_owned(), 1)]))
                    .await
                    .unwrap();
                assert_eq!(store.cancel(job.id).await.unwrap(), CancelAnswer::Dequeued);
                sleep(Duration::from_millis(50)).await;
                store.sweep().await.unwrap();
            }
            sleep(Duration::from_millis(400)).await;
            // Deletes all marks but the last one.
            store.sweep().await.unwrap();
            assert!(matches!(store.known(job.id).await.unwrap(), Known::Never));
            assert_eq!(fetched(&store).await, []);
        });
    }

    /// The sweep has read its view before.
    #[test]
    fn a_job_that_was_queued_again_is_not_forgotten() {
        with_marks(3_600_000, async |store| {
            let job = NewJob::new("plain", 1, *b"");
            let id = job.id;
            store.submit(vec![job]).await.unwrap();
            assert_eq!(store.cancel(id).await.unwrap(), CancelAnswer::Dequeued);
            assert_eq!(store.retry(id).await.unwrap(), RetryAnswer::Queued);
            store.forget_now(id).await.unwrap();
            assert_eq!(fetched(&store).await, [id]);
        });
    }

    #[test]
    fn a_unique_key_that_is_free_leaves_nothing() {
        with_marks(200, async |store| {
            let values = async || {
                let info = store.keys().stream.get_info().await.unwrap();
                info.state.messages
            };
            let unique = |key: &str| {
                let mut job = NewJob::new("plain", 1, *b"");
                job.unique = Some(UniqueKey {
                    key: key.to_owned(),
                    within: None,
                });
                job.keep = Duration::from_millis(1);
                job
            };
            let used = values().await;
            let jobs = ["one", "two"].map(unique);
            store.submit(jobs.to_vec()).await.unwrap();
            for job in &jobs {
                store.cancel(job.id).await.unwrap();
            }
            sleep(Duration::from_millis(50)).await;
            store.sweep().await.unwrap();
            assert_eq!(values().await, used + 2, "their marks");
            // A key that is taken again stays.
            let again = unique("two");
            store.submit(vec![again.clone()]).await.unwrap();
            sleep(Duration::from_millis(400)).await;
            store.sweep().await.unwrap();
            assert_eq!(values().await, used + 1);
            let taken = store.submit(vec![unique("two")]).await.unwrap();
            assert_eq!(taken, [Submitted::Existing(again.id)]);
            // One that has been forgotten is claimed as if it were new.
            let answer = store.submit(vec![unique("one")]).await.unwrap();
            assert!(answer[0].is_new());
        });
    }

    #[test]
    fn a_message_without_a_record_is_a_job_while_its_submission_may_be_on_its_way() {
        for (marks, runs) in [(3_600_000, true), (200, false)] {
            with_marks(marks, async |store| {
                let job = NewJob::new("plain", 1, *b"");
                let id = job.id;
                let (life, args) = Life::begin(job, store.now());
                store.send_surely(&life, &args).await.unwrap();
                sleep(Duration::from_millis(300)).await;
                let expected = if runs { vec![id] } else { Vec::new() };
                assert_eq!(fetched(&store).await, expected, "{marks}");
            });
        }
    }

    #[test]
    fn a_bucket_that_keeps_one_value_may_be_changed_while_it_is_open() {
        with_values(1, 200, async |store| {
            let values = async || {
                let info = store.records().stream.get_info().await.unwrap();
                info.state.messages
            };
            let mut jobs = [(); 3].map(|()| NewJob::new("plain", 1, *b""));
            for (n, job) in jobs.iter_mut().enumerate() {
                job.keep = Duration::from_millis(1);
                store.submit(vec![job.clone()]).await.unwrap();
                if n == 1 {
                    assert_eq!(values().await, 2, "a mark and a record");
                    let mut config = store.records().stream.cached_info().config.clone();
                    config.max_messages_per_subject = 2;
                    store.records().change(config).await;
                }
                let cancelled = store.cancel(job.id).await.unwrap();
                assert_eq!(cancelled, CancelAnswer::Dequeued);
                sleep(Duration::from_millis(50)).await;
                store.sweep().await.unwrap();
            }
            sleep(Duration::from_millis(400)).await;
            store.sweep().await.unwrap();
            for job in &jobs[..2] {
                let known = store.known(job.id).await.unwrap();
                assert!(matches!(known, Known::Never));
            }
        });
    }
}
