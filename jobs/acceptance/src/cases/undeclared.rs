//! EN-4, the same everywhere: what an engine does not declare is refused, and not left out in silence.

use std::time::Duration;

use fourway_jobs_engine::{
    Beat, CancelAnswer, Capability, EngineErrorKind, EngineFuture, Filter, Held, NewJob, Progress,
    UniqueKey, Verdict,
};

use crate::{
    case::{Case, table},
    scene::{KIND, Scene},
};

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-4.6", "cancelling what waits is refused where it cannot be done",
            "what is not declared has an answer", cancel_queued, without [CancelQueued];
        "EN-4.15", "lists are refused where there are none",
            "what is not declared has an error", list, without [List];
        "EN-4.22", "delays are refused where there are none",
            "what is not declared has an error", delay, without [Delay];
        "EN-4.24", "unique keys are refused where there are none",
            "a key that is left out is a job that runs twice", unique, without [Unique];
        "EN-4.25", "priorities are refused where there are none",
            "what is urgent would wait behind the rest, and nobody would know", priority,
            without [Priority];
        "EN-4.26", "cancelling what runs is refused where it cannot be done",
            "what is not declared has an answer", cancel_running, without [CancelRunning];
        "EN-4.27", "progress is refused where nobody sees it",
            "what is not declared has an error", progress, without [Progress];
        "EN-4.28", "a time to be forgotten is refused where nothing is",
            "some jobs must not be known for longer", retention, without [Retention];
        "EN-4.29", "running again is refused where it cannot be done",
            "what is not declared has an error", retry, without [Retry];
    ]
}

fn refused<T>(scene: &Scene<'_>, lacks: Capability, asked: EngineFuture<T>) {
    match scene.try_run(asked) {
        Ok(_) => panic!("it does not declare `{lacks}`, and does not refuse it"),
        Err(error) => assert_eq!(error.kind(), EngineErrorKind::Unsupported(lacks), "{error}"),
    }
}

/// The job with a wish is refused, and its submitter may submit it without.
fn job_refused(scene: &Scene<'_>, lacks: Capability, wish: impl FnOnce(&mut NewJob)) {
    let plain = NewJob::new(KIND, 1, *b"args");
    let mut job = plain.clone();
    wish(&mut job);
    // Those beside it are not taken either.
    let beside = NewJob::new(KIND, 1, *b"args");
    let both = vec![beside.clone(), job];
    refused(scene, lacks, scene.engine.submit(both));
    for id in [plain.id, beside.id] {
        assert_eq!(scene.run(scene.engine.status(id)), None, "it was taken");
    }
    assert_eq!(scene.submit(plain), scene.fetch(scene.ages).lease.id);
}

fn cancel_queued(scene: &Scene<'_>) {
    let id = scene.job();
    assert_eq!(
        scene.run(scene.engine.cancel(id)),
        CancelAnswer::Unsupported
    );
    scene.complete(scene.fetch(scene.ages).lease, "out");
}

fn list(scene: &Scene<'_>) {
    let lists = scene.engine.list(Filter::new());
    refused(scene, Capability::List, lists);
    refused(scene, Capability::List, scene.engine.counts());
}

fn delay(scene: &Scene<'_>) {
    job_refused(scene, Capability::Delay, |job| job.delay = scene.ages);
}

fn unique(scene: &Scene<'_>) {
    for within in [None, Some(scene.ages)] {
        let key = "key".to_owned();
        job_refused(scene, Capability::Unique, |job| {
            job.unique = Some(UniqueKey { key, within });
        });
    }
}

fn priority(scene: &Scene<'_>) {
    for priority in [-1, 1] {
        job_refused(scene, Capability::Priority, |job| job.priority = priority);
    }
}

fn cancel_running(scene: &Scene<'_>) {
    let id = scene.job();
    let lease = scene.fetch(scene.ages).lease;
    assert_eq!(
        scene.run(scene.engine.cancel(id)),
        CancelAnswer::Unsupported
    );
    assert_eq!(scene.beat(lease, scene.ages), Held::Yes);
    assert!(!scene.status(id).cancelling);
    scene.complete(lease, "out");
}

fn progress(scene: &Scene<'_>) {
    let id = scene.job();
    let lease = scene.fetch(scene.ages).lease;
    let mut told = Progress::default();
    told.fraction = Some(0.5);
    let beat = Beat {
        lease,
        progress: Some(told),
    };
    let beat = scene.engine.heartbeat(vec![beat], scene.ages);
    refused(scene, Capability::Progress, beat);
    // The worker goes on without.
    assert_eq!(scene.beat(lease, scene.ages), Held::Yes);
    assert_eq!(scene.status(id).progress, None);
    scene.complete(lease, "out");
}

fn retention(scene: &Scene<'_>) {
    for keep in [Duration::ZERO, NewJob::KEEP / 2, NewJob::KEEP * 2] {
        job_refused(scene, Capability::Retention, |job| job.keep = keep);
    }
}

fn retry(scene: &Scene<'_>) {
    let id = scene.job();
    let error = "never".to_owned();
    let lease = scene.fetch(scene.ages).lease;
    scene.settle(lease, Verdict::DeadLetter { error });
    refused(scene, Capability::Retry, scene.engine.retry(id));
    assert!(scene.state(id).is_finished());
    assert!(scene.fetch_now(1).is_empty());
}
