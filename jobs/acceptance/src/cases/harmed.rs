//! Harmed servers (EN-1, what was accepted survives), and many jobs.

use std::time::{Duration, Instant};

use fourway_jobs_engine::{
    EngineError, Fetch, JobState, Lease, NewJob, Settled, Submitted, Verdict,
};

use crate::{
    case::{Case, table},
    entry::Harm,
    scene::{KIND, Scene},
};

/// The lease of jobs whose answer may be lost: they come back soon.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a server is away in the soaks.
const LONGER: Duration = Duration::from_secs(10);

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-1.5", "what was accepted survives its server",
            "servers are killed, and start again with what their disk has", outlives_its_server,
            needs [Durable], harm Killed;
        "EN-1.6", "a connection that was cut is an error that may pass, and all goes on",
            "networks fail for a while; who holds a job tells of it later", connection_cut, harm Cut;
        "EN-1.7", "a full disk is an error that may pass, and loses nothing",
            "what could not be written was not accepted", full_disk, harm FullDisk;
        "EN-1.8", "thousands that wait are handed out once each",
            "a queue grows when nobody is there to work", thousands;
        "EN-1.9", "a server that stands still is an error that may pass, and all goes on",
            "who waits for ever does not try another one, and nobody is told", stands_still,
            harm Stopped;
        "EN-1.11", "all goes on while one of its servers is gone",
            "machines are gone for longer than a restart takes", goes_on_without_one,
            needs [Replicated], harm Killed;
    ]
}

fn outlives_its_server(scene: &Scene<'_>) {
    let (runs, waits) = (scene.job(), scene.job());
    let lease = scene.fetch_again(scene.ages * 10).lease;
    assert_eq!(lease.id, runs);
    scene.harmed().begin(Harm::Killed);
    scene.harmed().end(Harm::Killed);

    let engine = &scene.engine;
    let job = scene.again(|| engine.status(waits)).expect("it is known");
    assert_eq!(job.state, JobState::Queued);
    // The worker that ran it without a server still has its lease.
    let verdict = || vec![(lease, Verdict::Complete(b"out".to_vec()))];
    let settled = scene.again(|| engine.settle(verdict()));
    assert_eq!(settled, [Settled::Recorded]);
    let output = scene.again(|| engine.result(runs));
    assert_eq!(output.as_deref(), Some(&b"out"[..]));
    assert_eq!(scene.fetch_again(AGAIN).lease.id, waits);
}

/// It is asked again only until the other servers have agreed on a leader.
fn goes_on_without_one(scene: &Scene<'_>) {
    let before = scene.job();
    let held = scene.fetch(scene.ages * 10).lease;
    scene.harmed().begin(Harm::Killed);
    let engine = &scene.engine;
    let settle = |lease: Lease| {
        let verdict = || vec![(lease, Verdict::Complete(b"out".to_vec()))];
        let settled = scene.again(|| engine.settle(verdict()));
        assert_eq!(settled, [Settled::Recorded]);
    };
    settle(held);
    let jobs: Vec<_> = (0..20).map(|_| NewJob::new(KIND, 1, *b"")).collect();
    let submitted = scene.again(|| engine.submit(jobs.clone()));
    assert!(submitted.iter().all(|one| one.is_new()));
    let mut done = vec![before];
    let mut left: Vec<_> = jobs.iter().map(|job| job.id).collect();
    // One of them is still there when the server is back.
    while left.len() > 1 {
        // The answer to a fetch may be lost: its job comes again.
        let job = scene.fetch_again(AGAIN);
        if let Some(at) = left.iter().position(|id| *id == job.lease.id) {
            done.push(left.swap_remove(at));
        }
        settle(job.lease);
    }
    let completed = |id| {
        let job = scene.again(|| engine.status(id)).expect("it is known");
        assert_eq!(job.state, JobState::Completed);
        let output = scene.again(|| engine.result(id));
        assert_eq!(output.as_deref(), Some(&b"out"[..]));
    };
    done.iter().copied().for_each(completed);

    scene.harmed().end(Harm::Killed);
    done.iter().copied().for_each(completed);
    let job = scene.fetch_again(scene.ages).lease;
    assert_eq!(job.id, left[0]);
    settle(job);
    completed(job.id);
}

fn connection_cut(scene: &Scene<'_>) {
    goes_without_its_server(scene, Harm::Cut);
}

fn stands_still(scene: &Scene<'_>) {
    goes_without_its_server(scene, Harm::Stopped);
}

/// For as long as two requests wait in vain; in the soaks for [`LONGER`] at least.
fn goes_without_its_server(scene: &Scene<'_>, harm: Harm) {
    let runs = scene.job();
    let lease = scene.fetch(scene.ages * 10).lease;
    let later = NewJob::new(KIND, 1, *b"");
    scene.harmed().begin(harm);
    let since = Instant::now();
    let engine = &scene.engine;
    let refused = scene.try_run(engine.submit(vec![later.clone()]));
    may_pass(refused);
    may_pass(scene.try_run(engine.status(runs)));
    while is_soak() && since.elapsed() < LONGER {
        may_pass(scene.try_run(engine.status(runs)));
    }
    scene.harmed().end(harm);

    let submitted = scene.again(|| engine.submit(vec![later.clone()]));
    assert_eq!(submitted, [Submitted::New(later.id)]);
    let verdict = || vec![(lease, Verdict::Complete(b"out".to_vec()))];
    let settled = scene.again(|| engine.settle(verdict()));
    assert_eq!(settled, [Settled::Recorded]);
    let job = scene.again(|| engine.status(runs)).expect("it is known");
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1));
    assert_eq!(scene.fetch_again(AGAIN).lease.id, later.id);
}

fn full_disk(scene: &Scene<'_>) {
    let first = scene.job();
    scene.harmed().begin(Harm::FullDisk);
    let engine = &scene.engine;
    let mut accepted = vec![first];
    // A full disk still has some free blocks in existing files.
    let refused = (0..4000).find_map(|n: u32| {
        let args: Vec<u8> = (0..32 * 1024_u32)
            // Data that cannot be compressed.
            .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(n) >> 13) as u8)
            .collect();
        let job = NewJob::new(KIND, 1, args);
        let id = job.id;
        match scene.try_run(engine.submit(vec![job])) {
            Ok(_) => {
                accepted.push(id);
                None
            }
            Err(error) => Some(error),
        }
    });
    let error = refused.expect("a disk is full at some time");
    assert!(
        error.is_unavailable(),
        "it may not be better later: {error}"
    );
    scene.harmed().end(Harm::FullDisk);

    let more = NewJob::new(KIND, 1, *b"more");
    scene.again(|| engine.submit(vec![more.clone()]));
    accepted.push(more.id);
    for id in accepted {
        let job = scene.again(|| engine.status(id));
        let job = job.unwrap_or_else(|| panic!("job {id} was accepted, and is not known"));
        assert_eq!(job.state, JobState::Queued);
    }
}

/// The soaks have as many as a queue may have after a night.
fn thousands(scene: &Scene<'_>) {
    let many: usize = if is_soak() { 50_000 } else { 2_000 };
    let mut ids = Vec::new();
    for _ in 0..many / 500 {
        let jobs: Vec<_> = (0..500).map(|_| NewJob::new(KIND, 1, *b"")).collect();
        ids.extend(jobs.iter().map(|job| job.id));
        scene.run(scene.engine.submit(jobs));
    }
    let mut fetched = Vec::new();
    while fetched.len() < many {
        let fetch = Fetch::new("case", vec![(KIND.to_owned(), 1)]);
        let fetch = fetch.max(500).lease(scene.ages * 10).patience(scene.ages);
        let jobs = scene.run(scene.engine.fetch(fetch));
        assert!(
            !jobs.is_empty(),
            "{} of {many} were handed out",
            fetched.len()
        );
        let verdicts = jobs.iter();
        let verdicts = verdicts.map(|job| (job.lease, Verdict::Complete(Vec::new())));
        let settled = scene.run(scene.engine.settle(verdicts.collect()));
        assert!(settled.iter().all(|one| *one == Settled::Recorded));
        fetched.extend(jobs.iter().map(|job| job.lease.id));
    }
    fetched.sort_unstable();
    ids.sort_unstable();
    assert_eq!(fetched, ids, "each of them once");
    assert!(scene.fetch_now(1).is_empty());
}

fn is_soak() -> bool {
    std::env::var_os("FOURWAY_SOAK_SECONDS").is_some()
}

fn may_pass<T>(answer: Result<T, EngineError>) {
    match answer {
        Ok(_) => panic!("it has answered without its server"),
        Err(error) => assert!(
            error.is_unavailable(),
            "it may not be better later: {error}"
        ),
    }
}
