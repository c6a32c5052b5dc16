//! EN-1, what was accepted survives.

use fourway_jobs_engine::{JobState, NewJob, Submitted, UniqueKey};

use crate::{
    case::{Case, table},
    child::{Act, Children},
    scene::{KIND, Scene},
};

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-1.1", "a job and its result outlive the engine that took it",
            "what is durable is not in the memory of whoever asks", outlives_its_engine, needs [Durable];
        "EN-1.2", "submitting again under the same id changes nothing",
            "an answer may be lost, and clients try again", again_is_harmless;
        "EN-1.3", "a job survives the death of the process that submitted it",
            "SIGKILL leaves no time to flush anything", outlives_its_submitter,
            needs [Durable, Processes], unix true;
        "EN-1.4", "many submitted at once are all there",
            "answers are in the order of the jobs", many_at_once;
        "EN-1.10", "a new job is taken beside one that was submitted before and had its key",
            "a client that lost an answer submits again, with what has come since",
            beside_one_that_is_there, needs [Unique];
    ]
}

fn outlives_its_engine(scene: &Scene<'_>) {
    let (waits, done) = (scene.job(), scene.job());
    let mine = scene
        .fetch_all(2)
        .into_iter()
        .find(|job| job.lease.id == done);
    scene.complete(mine.expect("both are fetched").lease, "out");

    let other = scene.place().open(&scene.rt);
    let job = scene.run(other.status(waits)).expect("it is known");
    assert!(!job.state.is_finished());
    assert_eq!(scene.run(other.result(done)).as_deref(), Some(&b"out"[..]));
}

fn again_is_harmless(scene: &Scene<'_>) {
    let job = NewJob::new(KIND, 1, *b"args");
    let id = job.id;
    scene.submit(job.clone());
    scene.submit(job.clone());
    let fetched = scene.fetch_all(1);
    assert!(scene.fetch_now(1).is_empty(), "it is there once");
    scene.submit(job.clone());
    scene.complete(fetched[0].lease, "out");
    let again = scene.run(scene.engine.submit(vec![job]));
    assert_eq!(again, [Submitted::New(id)]);
    assert_eq!(scene.state(id), JobState::Completed, "it stays as it is");
    assert!(scene.fetch_now(10).is_empty());
}

fn outlives_its_submitter(scene: &Scene<'_>) {
    let children = Children::new(scene);
    let mut submitter = children.submitter(Act::Note);
    let id = submitter.submitted();
    submitter.kill();
    let _worker = children.worker();
    let job = scene.ended(id);
    assert_eq!(job.state, JobState::Completed);
}

fn many_at_once(scene: &Scene<'_>) {
    let jobs: Vec<_> = (0..200)
        .map(|n: u32| NewJob::new(KIND, 1, n.to_be_bytes()))
        .collect();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let submitted = scene.run(scene.engine.submit(jobs));
    let found: Vec<_> = submitted.iter().map(|one| one.id()).collect();
    assert_eq!(found, ids, "the answers are in the order of the jobs");
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(scene.state(id), JobState::Queued, "the job {n}");
    }
}

fn beside_one_that_is_there(scene: &Scene<'_>) {
    let job = || {
        let mut job = NewJob::new(KIND, 1, "");
        let key = "key".to_owned();
        job.unique = Some(UniqueKey { key, within: None });
        job
    };
    let (old, new) = (job(), job());
    scene.submit(old.clone());
    scene.complete(scene.fetch(scene.ages * 10).lease, "out");
    let submitted = scene.run(scene.engine.submit(vec![old.clone(), new.clone()]));
    assert_eq!(
        submitted,
        [Submitted::New(old.id), Submitted::New(new.id)],
        "the key is free"
    );
    assert_eq!(
        scene.state(old.id),
        JobState::Completed,
        "it stays as it is"
    );
    assert_eq!(scene.state(new.id), JobState::Queued, "it is there");
    // The other way round, and while the key is taken.
    let other = job();
    let again = vec![other, old.clone(), new.clone()];
    assert_eq!(
        scene.run(scene.engine.submit(again)),
        [
            Submitted::Existing(new.id),
            Submitted::New(old.id),
            Submitted::New(new.id)
        ]
    );
}
