//! An engine that declares nothing, and refuses what it does not declare, passes each case that is for it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use fourway_core::AnyRuntime;
use fourway_jobs_acceptance::{Entry, Place, Status, cases as all_cases, run};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Capabilities, Capability, Counts, Engine, EngineError, EngineFuture, Fetch,
    Filter, Held, JobId, Lease, Leased, MemoryEngine, NewJob, Page, Record, RetryAnswer, Settled,
    Submitted, Verdict,
};

#[test]
fn an_engine_that_declares_nothing_passes_what_is_for_it() {
    let report = run(
        &[Entry::new("bare", || Box::new(Nowhere::default()))],
        |_, _| true,
    );
    let cases = &report.subjects[0].cases;
    for case in cases {
        assert!(!case.status.is_failure(), "{case:?}");
    }
    let passed = |id: &str| {
        let mut passed = cases.iter().filter(|case| case.status == Status::Pass);
        passed.any(|case| case.id == id)
    };
    // All that are about what it lacks; and the others are run, too.
    let lacks = all_cases()
        .into_iter()
        .filter(|case| !case.without.is_empty());
    let lacks: Vec<_> = lacks.map(|case| case.id).collect();
    assert!(lacks.len() >= 9, "{lacks:?}");
    for id in lacks.into_iter().chain(["EN-1.2", "EN-2.1", "EN-3.1"]) {
        assert!(passed(id), "{id}");
    }
}

#[derive(Default)]
struct Nowhere(OnceLock<Arc<MemoryEngine>>);

impl Place for Nowhere {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        let engine = self.0.get_or_init(|| Arc::new(MemoryEngine::new(rt)));
        Arc::new(Bare(engine.clone()))
    }
}

#[derive(Debug)]
struct Bare(Arc<dyn Engine>);

fn lacking<T>(capability: Capability) -> EngineFuture<T> {
    Box::pin(async move { Err(EngineError::unsupported(capability)) })
}

impl Engine for Bare {
    fn name(&self) -> &str {
        "bare"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    fn submit(&self, jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let has = self.capabilities();
        match jobs.iter().find_map(|job| has.lacking_for(job)) {
            Some(capability) => lacking(capability),
            None => self.0.submit(jobs),
        }
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        self.0.status(id)
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        self.0.result(id)
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        self.0.wait(id, patience)
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        let status = self.0.status(id);
        Box::pin(async move {
            Ok(match status.await? {
                None => CancelAnswer::Unknown,
                Some(job) if job.state.is_finished() => CancelAnswer::TooLate,
                Some(_) => CancelAnswer::Unsupported,
            })
        })
    }

    fn retry(&self, _: JobId) -> EngineFuture<RetryAnswer> {
        lacking(Capability::Retry)
    }

    fn list(&self, _: Filter) -> EngineFuture<Page> {
        lacking(Capability::List)
    }

    fn counts(&self) -> EngineFuture<Counts> {
        lacking(Capability::List)
    }

    fn fetch(&self, fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        self.0.fetch(fetch)
    }

    fn heartbeat(&self, beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        if beats.iter().any(|beat| beat.progress.is_some()) {
            return lacking(Capability::Progress);
        }
        self.0.heartbeat(beats, lease)
    }

    fn settle(&self, verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        self.0.settle(verdicts)
    }

    fn maintain(&self) -> EngineFuture<()> {
        self.0.maintain()
    }
}
