//! Lists and counts of the jobs in the bucket of records, by id.
//!
//! JetStream has no index by state. So an engine that is asked for lists follows the bucket: first
//! it reads all of it, later only the changes. It keeps some hundred bytes of each job; the jobs of
//! a page are then read one by one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use fourway_jobs_engine::{
    Counts, EngineError, Filter, JobId, JobState, Page, Record, life::count,
};
use futures_util::{StreamExt, future::join_all};
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep},
};

use crate::{
    bucket::{Bucket, is_mark, millis, replaced},
    entry::{self, Entry, Traits},
    failed::unavailable,
    store::Store,
    tokio_side,
};

/// How many changes are read at a time.
const AT_A_TIME: usize = 1000;

/// After how long the server forgets an inactive follower.
const INACTIVE: Duration = Duration::from_secs(300);

/// The place of the view, locked.
type Place = OwnedMutexGuard<Option<View>>;

pub(crate) struct View {
    consumer: Consumer<pull::Config>,
    pub(crate) jobs: BTreeMap<JobId, Brief>,
    /// The marks of forgotten jobs.
    pub(crate) marks: BTreeMap<u64, Mark>,
    marked: BTreeMap<JobId, u64>,
    seen: u64,
}

/// The mark of a forgotten job.
pub(crate) struct Mark {
    pub(crate) written_at: u64,
    /// The revision of the record that the mark replaced. The record still exists if the process
    /// that forgot the job died before deleting it.
    pub(crate) before: Option<u64>,
}

/// The fields that lists and counts use.
pub(crate) struct Brief {
    kind: String,
    version: u32,
    state: JobState,
    due_at: u64,
    lease_until: Option<u64>,
    pub(crate) forget_at: Option<u64>,
}

impl Brief {
    fn of(entry: &Entry) -> Self {
        let record = &entry.life.record;
        Self {
            kind: record.kind.clone(),
            version: record.version,
            state: record.state,
            due_at: record.due_at,
            lease_until: record.lease_until,
            forget_at: entry.life.forget_at(),
        }
    }

    /// For a record that cannot be read, perhaps because a newer program has written it. It must
    /// not hide the other records. Its deadlines are left to the newer program.
    fn unreadable(written: &[u8]) -> Self {
        let traits = Traits::of(written);
        Self {
            kind: traits.kind,
            version: traits.version,
            state: traits.state,
            due_at: u64::MAX,
            lease_until: None,
            forget_at: None,
        }
    }

    /// The state now, after its due time.
    fn state(&self, now: u64) -> JobState {
        match self.state {
            JobState::Scheduled | JobState::Retrying if self.due_at <= now => JobState::Queued,
            state => state,
        }
    }

    fn is_lost(&self, now: u64) -> bool {
        self.state == JobState::Running && self.lease_until.is_some_and(|until| until <= now)
    }

    fn is_forgotten(&self, now: u64) -> bool {
        self.forget_at.is_some_and(|at| at <= now)
    }
}

impl View {
    async fn new(records: &Bucket) -> Result<Self, EngineError> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let made = records.stream.create_consumer(config).await;
        Ok(Self {
            consumer: made.map_err(unavailable)?,
            jobs: BTreeMap::new(),
            marks: BTreeMap::new(),
            marked: BTreeMap::new(),
            seen: 0,
        })
    }

    /// Reads all changes that were written before the call.
    async fn catch_up(&mut self, records: &Bucket, timeout: Duration) -> Result<(), EngineError> {
        let info = records.stream.get_info().await.map_err(unavailable)?;
        let last = info.state.last_sequence;
        let mut progress = Instant::now();
        while self.seen < last {
            let batch = self.consumer.fetch().max_messages(AT_A_TIME).messages();
            let mut batch = batch.await.map_err(unavailable)?;
            let before = self.seen;
            while let Some(message) = tokio::time::timeout(timeout, batch.next())
                .await
                .map_err(unavailable)?
            {
                let message = message.map_err(unavailable)?;
                let (revision, written_at) = {
                    let info = message.info().map_err(unavailable)?;
                    let nanos = info.published.unix_timestamp_nanos();
                    (info.stream_sequence, millis(nanos))
                };
                self.seen = self.seen.max(revision);
                let id = records
                    .key(&message.subject)
                    .and_then(|key| key.parse().ok());
                let Some(id): Option<JobId> = id else {
                    continue;
                };
                if let Some(mark) = self.marked.remove(&id) {
                    self.marks.remove(&mark);
                }
                if let Some(headers) = message.headers.as_ref().filter(|one| is_mark(one)) {
                    self.jobs.remove(&id);
                    let before = replaced(headers);
                    self.marks.insert(revision, Mark { written_at, before });
                    self.marked.insert(id, revision);
                } else {
                    let brief = match entry::read::<Entry>(&message.payload) {
                        Ok((entry, _)) => Brief::of(&entry),
                        Err(_) => Brief::unreadable(&message.payload),
                    };
                    self.jobs.insert(id, brief);
                }
            }
            if self.seen > before {
                progress = Instant::now();
            } else if progress.elapsed() > timeout {
                let error = "the bucket of records was not delivered to its end";
                return Err(EngineError::unavailable(error));
            } else {
                // The server that sends to this consumer does not know it yet.
                sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }
}

/// A job in the view: its kind, version and state.
type Found = (JobId, String, u32, JobState);

impl Store {
    /// Looks at all jobs, at this moment. Keeps the view for the next caller if `keep` is set, or if
    /// an earlier caller kept it.
    pub(crate) async fn with_view<T>(
        self: &Arc<Self>,
        keep: bool,
        look: impl FnOnce(&View, u64) -> T,
    ) -> Result<T, EngineError> {
        let place = self.view.clone().lock_owned().await;
        let keep = keep || place.is_some();
        // In a task that goes on to its end without this caller. Otherwise a caller that waits for
        // a shorter time than the first reading takes would begin it again with each call.
        let reading = self.handle().spawn(self.clone().read_on(place));
        let (mut place, now) = tokio_side::answer(reading.await)?;
        let view = place.as_ref().expect("a view that was read is there");
        let found = look(view, now);
        if !keep {
            *place = None;
        }
        Ok(found)
    }

    /// Makes the view, or reads what is new, and leaves it in its place.
    async fn read_on(self: Arc<Self>, mut place: Place) -> Result<(Place, u64), EngineError> {
        let timeout = self.settings().timeout;
        let started = Instant::now();
        loop {
            // Taken out meanwhile, so that a half-read view is not used again. The server may have
            // forgotten the consumer, also by a restart: then a new one is made.
            let followed = async {
                let mut view = match place.take() {
                    Some(view) => view,
                    None => View::new(self.records()).await?,
                };
                let now = self.follow(&mut view, timeout).await?;
                Ok::<_, EngineError>((view, now))
            };
            match followed.await {
                Ok((view, now)) => {
                    *place = Some(view);
                    return Ok((place, now));
                }
                Err(error) if !error.is_unavailable() || started.elapsed() > timeout => {
                    return Err(error);
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn follow(&self, view: &mut View, timeout: Duration) -> Result<u64, EngineError> {
        let catching_up = view.catch_up(self.records(), timeout);
        catching_up.await?;
        let now = self.tell_time().await?;
        // Expired leases are written, so that every process sees them.
        let lost = view.jobs.iter().filter(|(_, job)| job.is_lost(now));
        let lost: Vec<_> = lost.map(|(id, _)| *id).collect();
        if !lost.is_empty() {
            for looked in join_all(lost.into_iter().map(|id| self.look(id))).await {
                match looked {
                    // The record has become unreadable; the view learns that below.
                    Err(error) if error.is_refusal() => {}
                    looked => drop(looked?),
                }
            }
            view.catch_up(self.records(), timeout).await?;
        }
        Ok(now)
    }

    pub(crate) async fn counts(self: &Arc<Self>) -> Result<Counts, EngineError> {
        let counts = |view: &View, now| {
            let mut counts = Counts::default();
            for job in view.jobs.values().filter(|job| !job.is_forgotten(now)) {
                count(&mut counts, job.state(now), 1);
            }
            counts
        };
        self.with_view(true, counts).await
    }

    pub(crate) async fn list(self: &Arc<Self>, filter: &Filter) -> Result<Page, EngineError> {
        let found = self.find(filter).await?;
        self.show(found, filter.limit).await
    }

    /// The jobs of a page, and one more if there is another page.
    async fn find(self: &Arc<Self>, filter: &Filter) -> Result<Vec<Found>, EngineError> {
        let one_more = filter.limit.saturating_add(1);
        let find = |view: &View, now| {
            let older = view.jobs.range(..).rev();
            let found = older.filter(|(id, job)| {
                !job.is_forgotten(now)
                    && filter.before.is_none_or(|before| **id < before)
                    && (filter.states.is_empty() || filter.states.contains(&job.state(now)))
                    && filter.kind.as_ref().is_none_or(|kind| *kind == job.kind)
            });
            let brief =
                |(id, job): (&JobId, &Brief)| (*id, job.kind.clone(), job.version, job.state(now));
            found.take(one_more).map(brief).collect()
        };
        self.with_view(true, find).await
    }

    /// The page of jobs that were found.
    async fn show(&self, mut found: Vec<Found>, limit: usize) -> Result<Page, EngineError> {
        let more = found.len() > limit;
        found.truncate(limit);
        // By what was found: a job that was forgotten meanwhile must not end the list.
        let next = found.last().filter(|_| more).map(|(id, ..)| *id);
        let jobs = join_all(found.iter().map(|(id, ..)| self.look(*id))).await;
        let mut records = Vec::with_capacity(jobs.len());
        for (job, (id, kind, version, state)) in jobs.into_iter().zip(found) {
            match job {
                Err(error) if error.is_refusal() => {
                    records.push(Record::unreadable(id, kind, version, state, &error));
                }
                // A job that has changed meanwhile is shown in its present state.
                job => records.extend(job?.map(|job| job.entry.life.record)),
            }
        }
        let mut page = Page::of(records, limit);
        page.next = next;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, poll_fn},
        pin::pin,
        task::Poll,
    };

    use fourway_jobs_engine::{Filter, NewJob, Page};
    use tokio::time::{Duration, timeout};

    use crate::sweep::tests::with_marks;

    #[test]
    fn a_job_that_is_forgotten_during_a_list_does_not_end_it() {
        with_marks(3_600_000, async |store| {
            let mut jobs = [(); 3].map(|()| NewJob::new("plain", 1, *b""));
            jobs.sort_by_key(|job| job.id);
            jobs[1].keep = Duration::ZERO;
            let [oldest, forgotten, newest] = jobs.each_ref().map(|job| job.id);
            store.submit(jobs.to_vec()).await.unwrap();
            let filter = Filter::new().limit(2);
            let found = store.find(&filter).await.unwrap();
            assert_eq!(found.len(), 3);
            store.cancel(forgotten).await.unwrap();
            let page = store.show(found, 2).await.unwrap();
            let ids = |page: &Page| page.jobs.iter().map(|job| job.id).collect::<Vec<_>>();
            assert_eq!((ids(&page), page.next), (vec![newest], Some(forgotten)));
            let last = store.list(&filter.before(forgotten)).await.unwrap();
            assert_eq!((ids(&last), last.next), (vec![oldest], None));
        });
    }

    #[test]
    fn a_list_that_nobody_waits_for_any_more_is_read_to_its_end() {
        with_marks(3_600_000, async |store| {
            let job = NewJob::new("plain", 1, *b"");
            store.submit(vec![job]).await.unwrap();
            let filter = Filter::new();
            {
                let mut list = pin!(store.list(&filter));
                let begun = poll_fn(|cx| Poll::Ready(list.as_mut().poll(cx).is_pending()));
                assert!(begun.await, "it has to ask the server");
            }
            // Another caller waits for the place while the first one's view is read.
            let place = timeout(Duration::from_secs(60), store.view.lock());
            let place = place.await.expect("the reading ends");
            assert_eq!(place.as_ref().map(|view| view.jobs.len()), Some(1));
        });
    }
}
