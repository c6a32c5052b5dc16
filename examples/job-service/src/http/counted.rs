//! The jobs that this process accepted and ended, counted as it does so: [`Counted`].
//!
//! A store's counts are of the jobs that it keeps. Their difference between two moments is not what
//! happened between them: the store also forgets jobs. So counters for Prometheus count the answers of
//! the engine to this process.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fourway_core::{AnyRuntime, Timer};
use fourway_jobs::{Counts, JobId, JobState};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Capabilities, Engine, EngineFuture, Fetch, Filter, Held, Lease, Leased,
    NewJob, Page, Record, RetryAnswer, Settled, Submitted, Verdict, life::count,
};

/// How long a verdict may wait for what is counted.
const PATIENCE: Duration = Duration::from_millis(500);

/// An engine whose answers are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    rt: AnyRuntime,
    engine: Arc<dyn Engine>,
    done: Arc<Mutex<Done>>,
}

/// What this process has done since its start. Neither count ever goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Done {
    /// The jobs that were accepted here, those of schedules included.
    pub(super) submitted: u64,
    /// The jobs whose last attempt ended here, or that were cancelled here before they ran. A job that
    /// ends as its lease runs out is in no process's count: every process may find it so.
    pub(super) ended: Counts,
}

impl Counted {
    pub(super) fn new(rt: AnyRuntime, engine: Arc<dyn Engine>) -> Self {
        Self {
            rt,
            engine,
            done: Arc::default(),
        }
    }

    pub(super) fn done(&self) -> Done {
        *lock(&self.done)
    }

    /// Counts those of the jobs whose last attempt has just ended. An error leaves its job out.
    async fn look_for_ends(&self, jobs: Vec<JobId>) {
        for id in jobs {
            if let Ok(Some(job)) = self.engine.status(id).await
                && let Some(end) = ended_by_verdict(&job)
            {
                self.has_ended(end);
            }
        }
    }

    fn has_ended(&self, state: JobState) {
        count(&mut lock(&self.done).ended, state, 1);
    }
}

fn lock(done: &Mutex<Done>) -> MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state in which a job ends by a verdict; `None` if only its record tells whether it ends.
fn end(verdict: &Verdict) -> Option<JobState> {
    match verdict {
        Verdict::Complete(_) => Some(JobState::Completed),
        Verdict::Fail { timed_out, .. } => Some(if *timed_out {
            JobState::TimedOut
        } else {
            JobState::Failed
        }),
        Verdict::DeadLetter { .. } => Some(JobState::Failed),
        Verdict::Cancelled => Some(JobState::Cancelled),
        _retried_or_given_back => None,
    }
}

/// The state in which a job has ended by the verdict on its last attempt.
fn ended_by_verdict(job: &Record) -> Option<JobState> {
    let last = job.attempts.last()?;
    // Otherwise it was cancelled later, while it waited for its next attempt.
    (job.ended_at.is_some() && job.ended_at == last.ended_at).then_some(job.state)
}

impl Engine for Counted {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.engine.capabilities()
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let (this, submit) = (self.clone(), self.engine.submit(jobs));
        Box::pin(async move {
            let submitted = submit.await?;
            let new = submitted.iter().filter(|job| job.is_new()).count();
            lock(&this.done).submitted += new as u64;
            Ok(submitted)
        })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        self.engine.status(id)
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        self.engine.result(id)
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        self.engine.wait(id, patience)
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        let (this, cancel) = (self.clone(), self.engine.cancel(id));
        Box::pin(async move {
            let answer = cancel.await?;
            if answer == CancelAnswer::Dequeued {
                this.has_ended(JobState::Cancelled);
            }
            Ok(answer)
        })
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        self.engine.retry(id)
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        self.engine.list(filter)
    }

    fn counts(&self) -> EngineFuture<Counts> {
        self.engine.counts()
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        self.engine.fetch(fetch)
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        self.engine.heartbeat(beats, lease)
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        let ends: Vec<_> = (verdicts.iter())
            .map(|(lease, verdict)| (lease.id, end(verdict)))
            .collect();
        let (this, settle) = (self.clone(), self.engine.settle(verdicts));
        Box::pin(async move {
            let settled = settle.await?;
            let mut maybe = Vec::new();
            for (settled, (id, end)) in settled.iter().zip(ends) {
                if *settled != Settled::Recorded {
                    continue;
                }
                match end {
                    Some(end) => this.has_ended(end),
                    None => maybe.push(id),
                }
            }
            if !maybe.is_empty() {
                // Before the answer: a later look might find the end of a later attempt, which counts
                // by itself. The worker waits for the answer, so jobs that are not told soon are left
                // out.
                let looked = this.look_for_ends(maybe);
                let _ = this.rt.timeout(PATIENCE, looked).await;
            }
            Ok(settled)
        })
    }

    fn maintain(&self) -> EngineFuture<()> {
        self.engine.maintain()
    }
}

#[cfg(test)]
mod tests {
    use fourway_core::{AnyRuntime, BlockOn};
    use fourway_jobs_engine::MemoryEngine;

    use super::*;

    struct Scene {
        rt: AnyRuntime,
        engine: Counted,
    }

    impl Scene {
        fn new() -> Self {
            let rt = fourway_testing::any();
            let engine = Counted::new(rt.clone(), Arc::new(MemoryEngine::new(&rt)));
            Self { rt, engine }
        }

        fn submit(&self, keep: Duration) -> JobId {
            let mut job = NewJob::new("kind", 1, "");
            job.keep = keep;
            job.max_attempts = 2;
            self.rt.block_on(self.engine.submit(vec![job])).unwrap()[0].id()
        }

        fn fetch(&self) -> Lease {
            let fetch = Fetch::new("worker", vec![("kind".to_owned(), 1)]);
            let fetched = self.rt.block_on(self.engine.fetch(fetch.max(1)));
            fetched.unwrap()[0].lease
        }

        fn settle(&self, lease: Lease, verdict: Verdict) -> Settled {
            let settle = self.engine.settle(vec![(lease, verdict)]);
            self.rt.block_on(settle).unwrap()[0]
        }

        fn ended(&self) -> [u64; 4] {
            let ended = self.engine.done().ended;
            [
                ended.completed,
                ended.failed,
                ended.cancelled,
                ended.timed_out,
            ]
        }
    }

    /// An engine whose jobs are never told.
    #[derive(Debug)]
    struct Mute(MemoryEngine);

    impl Engine for Mute {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }

        fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
            self.0.submit(jobs)
        }

        fn status(&self, _id: JobId) -> EngineFuture<Option<Record>> {
            Box::pin(std::future::pending())
        }

        fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
            self.0.result(id)
        }

        fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
            self.0.wait(id, patience)
        }

        fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
            self.0.cancel(id)
        }

        fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
            self.0.retry(id)
        }

        fn list(&self, filter: Filter) -> EngineFuture<Page> {
            self.0.list(filter)
        }

        fn counts(&self) -> EngineFuture<Counts> {
            self.0.counts()
        }

        fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
            self.0.fetch(fetch)
        }

        fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
            self.0.heartbeat(beats, lease)
        }

        fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
            self.0.settle(verdicts)
        }

        fn maintain(&self) -> EngineFuture<()> {
            self.0.maintain()
        }
    }

    #[test]
    fn a_verdict_does_not_wait_for_ever_to_be_counted() {
        let rt = fourway_testing::any();
        let engine = Counted::new(rt.clone(), Arc::new(Mute(MemoryEngine::new(&rt))));
        let scene = Scene { rt, engine };
        scene.submit(Duration::ZERO);
        let settle = scene.engine.settle(vec![(scene.fetch(), Verdict::Release)]);
        // Otherwise it would never end.
        assert_eq!(
            fourway_testing::run(&scene.rt, settle).unwrap(),
            [Settled::Recorded]
        );
    }

    /// The store forgets each job at once, so that its counts stand still.
    #[test]
    fn jobs_are_counted_although_the_store_keeps_no_more_of_them() {
        let scene = Scene::new();
        for round in 1..=5 {
            scene.submit(Duration::ZERO);
            let lease = scene.fetch();
            assert_eq!(
                scene.settle(lease, Verdict::Complete(b"1".to_vec())),
                Settled::Recorded
            );
            scene.rt.block_on(scene.engine.maintain()).unwrap();
            let kept = scene.rt.block_on(scene.engine.counts()).unwrap();
            assert_eq!(kept.total(), 0);
            assert_eq!(scene.engine.done().submitted, round);
            assert_eq!(scene.ended(), [round, 0, 0, 0]);
        }
    }

    #[test]
    fn each_end_is_counted_once_and_attempts_are_none() {
        let scene = Scene::new();
        let keep = Duration::from_secs(3600);
        let later = || Verdict::RetryLater {
            delay: Duration::ZERO,
            error: "no".to_owned(),
            timed_out: false,
        };
        // An attempt that fails ends no job.
        scene.submit(keep);
        assert_eq!(scene.settle(scene.fetch(), later()), Settled::Recorded);
        assert_eq!(scene.ended(), [0, 0, 0, 0]);
        // The last one does.
        let lease = scene.fetch();
        scene.settle(lease, later());
        assert_eq!(scene.ended(), [0, 1, 0, 0]);
        // Given back, and cancelled meanwhile.
        let id = scene.submit(keep);
        let lease = scene.fetch();
        let requested = scene.rt.block_on(scene.engine.cancel(id)).unwrap();
        assert_eq!(requested, CancelAnswer::Requested);
        assert_eq!(scene.ended(), [0, 1, 0, 0]);
        scene.settle(lease, Verdict::Release);
        assert_eq!(scene.ended(), [0, 1, 1, 0]);
        // Cancelled before it ran; the second request comes too late.
        let id = scene.submit(keep);
        for _ in 0..2 {
            scene.rt.block_on(scene.engine.cancel(id)).unwrap();
        }
        assert_eq!(scene.ended(), [0, 1, 2, 0]);
        // A lost lease counts for nobody.
        scene.submit(keep);
        let lease = scene.fetch();
        let old = Lease {
            token: lease.token + 1,
            ..lease
        };
        let error = || "late".to_owned();
        let fail = Verdict::Fail {
            error: error(),
            timed_out: true,
        };
        assert_eq!(scene.settle(old, fail.clone()), Settled::Lost);
        assert_eq!(scene.ended(), [0, 1, 2, 0]);
        scene.settle(lease, fail);
        assert_eq!(scene.ended(), [0, 1, 2, 1]);
        assert_eq!(scene.engine.done().submitted, 4);
    }
}
