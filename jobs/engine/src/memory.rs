//! The engine without a store: [`MemoryEngine`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fourway_core::{AnyRuntime, Runtime, Timer};
use fourway_jobs::{Counts, JobId, JobState};

use crate::{
    Beat, CancelAnswer, Capabilities, Changes, Engine, EngineFuture, Fetch, Filter, Held, Lease,
    Leased, NewJob, Page, Record, RetryAnswer, Settled, Submitted, Verdict,
    life::{Change, Life, count},
    patience::{patiently, ready},
};

/// Keeps jobs in memory, for one process: for tests, and for programs that need no more.
///
/// A clone is another handle on the same jobs, which end with the last handle. Every request runs
/// on the caller's thread, under a lock that is held for one change only. Its clock is the
/// runtime's, and never goes back.
#[derive(Clone)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: AnyRuntime,
    /// A moment of the runtime's clock, and the wall time at that moment.
    origin: (Instant, u64),
    state: Mutex<State>,
    changes: Changes,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, Entry>,
    /// By kind: those of a higher priority first, then those that became due first.
    queued: HashMap<String, BTreeSet<(i16, u64, JobId)>>,
    /// When they become due.
    waiting: BTreeSet<(u64, JobId)>,
    /// When their lease runs out.
    leased: BTreeSet<(u64, JobId)>,
    /// When they are forgotten.
    ended: BTreeSet<(u64, JobId)>,
    /// The last job with the key.
    unique: HashMap<(String, String), JobId>,
}

struct Entry {
    life: Life,
    args: Arc<[u8]>,
    output: Option<Vec<u8>>,
}

impl MemoryEngine {
    /// An engine without jobs, on the clock of that runtime.
    #[must_use]
    pub fn new<R: Runtime>(runtime: &R) -> Self {
        let runtime = AnyRuntime::new(runtime.clone());
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Self {
            shared: Arc::new(Shared {
                origin: (runtime.now(), wall),
                runtime,
                state: Mutex::default(),
                changes: Changes::new(),
            }),
        }
    }

    /// One change or look; the waiters are told of a change.
    fn with<T: Send + 'static>(&self, f: impl FnOnce(&mut State, u64) -> T) -> EngineFuture<T> {
        let answer = self.shared.with(f);
        self.shared.changes.tell();
        ready(Ok(answer))
    }

    /// One look, which wakes no waiter.
    fn look<T: Send + 'static>(&self, f: impl FnOnce(&mut State, u64) -> T) -> EngineFuture<T> {
        ready(Ok(self.shared.with(f)))
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::in_process()
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let this = self.clone();
        Box::pin(async move {
            let submit = |state: &mut State, now| {
                let jobs = jobs.into_iter();
                jobs.map(|job| state.submit(job, now)).collect()
            };
            this.with(submit).await
        })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        let this = self.clone();
        Box::pin(async move { this.look(move |state, _| state.status(id)).await })
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        let this = self.clone();
        let find = move |state: &mut State, _| state.jobs.get(&id)?.output.clone();
        Box::pin(async move { this.look(find).await })
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        let this = self.clone();
        Box::pin(async move {
            let shared = &this.shared;
            let look = async || {
                let (job, next) = shared.with(|state, _| (state.status(id), state.next()));
                let now = shared.now();
                Ok(match job {
                    Some(job) if !job.state.is_finished() => Err(until(next, now)),
                    ended => Ok(ended),
                })
            };
            match patiently(&shared.runtime, &shared.changes, patience, look).await? {
                Some(ended) => Ok(ended),
                None => Ok(shared.with(|state, _| state.status(id))),
            }
        })
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        let this = self.clone();
        Box::pin(async move { this.with(move |state, now| state.cancel(id, now)).await })
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        let this = self.clone();
        Box::pin(async move { this.with(move |state, now| state.retry(id, now)).await })
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        let this = self.clone();
        Box::pin(async move { this.look(move |state, _| state.list(&filter)).await })
    }

    fn counts(&self) -> EngineFuture<Counts> {
        let this = self.clone();
        Box::pin(async move { this.look(|state, _| state.counts()).await })
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        let this = self.clone();
        Box::pin(async move {
            let shared = &this.shared;
            let look = async || {
                let (jobs, next) =
                    shared.with(|state, now| (state.fetch(&fetch, now), state.next()));
                if jobs.is_empty() {
                    return Ok(Err(until(next, shared.now())));
                }
                Ok(Ok(jobs))
            };
            let jobs = patiently(&shared.runtime, &shared.changes, fetch.patience, look).await?;
            Ok(jobs.unwrap_or_default())
        })
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        let this = self.clone();
        Box::pin(async move {
            let beat = move |state: &mut State, now| {
                let beats = beats.into_iter();
                beats.map(|beat| state.beat(beat, lease, now)).collect()
            };
            this.look(beat).await
        })
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        let this = self.clone();
        Box::pin(async move {
            let settle = |state: &mut State, now| {
                let verdicts = verdicts.into_iter();
                let settle = |(lease, verdict)| state.settle(lease, verdict, now);
                verdicts.map(settle).collect()
            };
            this.with(settle).await
        })
    }

    fn maintain(&self) -> EngineFuture<()> {
        // Each look does it.
        let this = self.clone();
        Box::pin(async move { this.look(|_, _| ()).await })
    }
}

impl Shared {
    fn now(&self) -> u64 {
        let (origin, wall) = self.origin;
        let passed = self.runtime.now().saturating_duration_since(origin);
        wall.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State, u64) -> T) -> T {
        let now = self.now();
        let mut state = lock(&self.state);
        let changed = state.pass(now);
        let answer = f(&mut state, now);
        drop(state);
        if changed {
            self.changes.tell();
        }
        answer
    }
}

impl State {
    /// Makes the transitions that are due by now. Returns whether waiters must be told.
    fn pass(&mut self, now: u64) -> bool {
        let mut changed = false;
        while let Some(id) = first_until(&self.waiting, now) {
            changed |= self.change(id, |life| life.promote(now));
        }
        while let Some(id) = first_until(&self.leased, now) {
            changed |= self.change(id, |life| life.expire(now));
        }
        while let Some(id) = first_until(&self.ended, now) {
            self.forget(id);
        }
        changed
    }

    /// When the next transition is due.
    fn next(&self) -> Option<u64> {
        let first = |set: &BTreeSet<(u64, JobId)>| set.first().map(|(when, _)| *when);
        first(&self.waiting)
            .into_iter()
            .chain(first(&self.leased))
            .min()
    }

    fn submit(&mut self, job: NewJob, now: u64) -> Submitted {
        let id = job.id;
        if self.jobs.contains_key(&id) {
            return Submitted::New(id);
        }
        if let Some(unique) = &job.unique {
            let key = (job.kind.clone(), unique.key.clone());
            if let Some(there) = self.unique.get(&key).and_then(|id| self.jobs.get(id)) {
                if there.life.takes_key(now) {
                    return Submitted::Existing(there.life.id());
                }
            }
            self.unique.insert(key, id);
        }
        let (life, args) = Life::begin(job, now);
        let entry = Entry {
            life,
            args: args.into(),
            output: None,
        };
        self.jobs.insert(id, entry);
        self.index(id, true);
        Submitted::New(id)
    }

    fn status(&self, id: JobId) -> Option<Record> {
        self.jobs.get(&id).map(|job| job.life.record.clone())
    }

    fn cancel(&mut self, id: JobId, now: u64) -> CancelAnswer {
        let mut answer = CancelAnswer::Unknown;
        self.change(id, |life| {
            answer = life.cancel(now);
            true
        });
        answer
    }

    fn retry(&mut self, id: JobId, now: u64) -> RetryAnswer {
        let key = self.jobs.get(&id).and_then(|job| {
            let record = &job.life.record;
            Some((record.kind.clone(), record.unique.clone()?))
        });
        let holder = key.as_ref().and_then(|key| {
            let last = self.jobs.get(self.unique.get(key)?)?;
            last.life.takes_key(now).then(|| last.life.id())
        });
        let (mut answer, mut takes_key) = (RetryAnswer::Unknown, false);
        self.change(id, |life| {
            answer = life.retry(holder, now);
            takes_key = life.takes_key(now);
            true
        });
        if let Some(key) = key.filter(|_| takes_key && answer == RetryAnswer::Queued) {
            self.unique.insert(key, id);
        }
        answer
    }

    fn list(&self, filter: &Filter) -> Page {
        let newest_first = self.jobs.values().rev().map(|job| &job.life.record);
        let found = newest_first.filter(|job| filter.lets_through(job));
        let one_more = filter.limit.saturating_add(1);
        Page::of(found.take(one_more).cloned().collect(), filter.limit)
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for job in self.jobs.values() {
            count(&mut counts, job.life.record.state, 1);
        }
        counts
    }

    fn fetch(&mut self, fetch: &Fetch, now: u64) -> Vec<Leased> {
        let mut jobs = Vec::new();
        while jobs.len() < fetch.max {
            let best = fetch.kinds.iter().filter_map(|(kind, version)| {
                let ready = |key: &&(i16, u64, JobId)| {
                    let job = self.jobs.get(&key.2);
                    job.is_some_and(|job| job.life.is_ready(*version))
                };
                self.queued.get(kind)?.iter().find(ready).copied()
            });
            let Some((_, _, id)) = best.min() else {
                break;
            };
            let Some(args) = self.jobs.get(&id).map(|job| job.args.to_vec()) else {
                break;
            };
            self.change(id, |life| {
                jobs.push(life.lease(&fetch.worker, fetch.lease, args, now));
                true
            });
        }
        jobs
    }

    fn beat(&mut self, beat: Beat, lease: Duration, now: u64) -> Held {
        let mut held = Held::Lost;
        self.change(beat.lease.id, |life| {
            held = life.beat(beat.lease.token, beat.progress, lease, now);
            true
        });
        held
    }

    fn settle(&mut self, lease: Lease, verdict: Verdict, now: u64) -> Settled {
        let mut change = Change::Nothing(Settled::Lost);
        self.change(lease.id, |life| {
            change = life.settle(lease.token, verdict, now);
            true
        });
        let settled = change.settled();
        if let (Change::Write(output), Some(job)) = (change, self.jobs.get_mut(&lease.id)) {
            job.output = output;
        }
        settled
    }

    fn forget(&mut self, id: JobId) {
        self.index(id, false);
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        let record = job.life.record;
        if let Some(unique) = record.unique {
            let key = (record.kind, unique);
            if self.unique.get(&key) == Some(&id) {
                self.unique.remove(&key);
            }
        }
    }

    /// Changes a life and updates its places in the indices.
    fn change(&mut self, id: JobId, f: impl FnOnce(&mut Life) -> bool) -> bool {
        self.index(id, false);
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        let changed = f(&mut job.life);
        self.index(id, true);
        changed
    }

    /// Puts a job into the indices in which it belongs by its state, or takes it out.
    fn index(&mut self, id: JobId, put: bool) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let life = &job.life;
        let record = &life.record;
        let (set, when) = match record.state {
            JobState::Queued => {
                let key = (-i16::from(record.priority), record.due_at, id);
                let queued = self.queued.entry(record.kind.clone()).or_default();
                if put {
                    queued.insert(key);
                } else {
                    queued.remove(&key);
                }
                return;
            }
            JobState::Scheduled | JobState::Retrying => (&mut self.waiting, Some(record.due_at)),
            JobState::Running => (&mut self.leased, record.lease_until),
            _ => (&mut self.ended, life.forget_at()),
        };
        if let Some(when) = when {
            if put {
                set.insert((when, id));
            } else {
                set.remove(&(when, id));
            }
        }
    }
}

fn first_until(set: &BTreeSet<(u64, JobId)>, now: u64) -> Option<JobId> {
    let (when, id) = set.first()?;
    (*when <= now).then_some(*id)
}

/// How long until the next look, if no change is told before.
fn until(next: Option<u64>, now: u64) -> Duration {
    let next = next.map(|next| Duration::from_millis(next.saturating_sub(now).max(1)));
    next.unwrap_or(Duration::from_secs(3600))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEngine")
            .field("jobs", &lock(&self.shared.state).jobs.len())
            .finish_non_exhaustive()
    }
}
