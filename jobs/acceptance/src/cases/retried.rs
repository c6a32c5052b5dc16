//! EN-4, the same everywhere: jobs that run again after their end.

use std::thread;

use fourway_jobs_engine::{
    CancelAnswer, JobId, JobState, Leased, NewJob, RetryAnswer, Settled, UniqueKey, Verdict,
    next_id,
};

use crate::{
    case::{Case, table},
    scene::{KIND, Scene, failed},
};

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-4.30", "what has failed runs again when that is asked for",
            "the cause is mended, and the job is still wanted", failed_again, needs [Retry];
        "EN-4.31", "what was cancelled while it waited runs again when that is asked for",
            "it has never run, and still has its arguments", cancelled_again,
            needs [Retry, CancelQueued, Delay];
        "EN-4.32", "what waits for its next attempt runs at once when that is asked for",
            "who knows that the cause is mended does not wait for the pause", at_once, needs [Retry];
        "EN-4.33", "a job is not run again while another has its unique key",
            "there is one of them at a time", key_taken, needs [Retry, Unique];
        "EN-4.34", "what two ask for at once runs again once",
            "two operators look at one page", asked_twice, needs [Retry];
    ]
}

/// By an engine of its own, as another process would have.
fn retry(scene: &Scene<'_>, id: JobId) -> RetryAnswer {
    let other = scene.place().open(&scene.rt);
    scene.run(other.retry(id))
}

/// It is handed out with what it had.
fn handed_out(scene: &Scene<'_>, id: JobId, attempt: u32) -> Leased {
    let job = scene.fetch(scene.ages);
    assert_eq!((job.lease.id, job.attempt), (id, attempt));
    assert_eq!(job.args, b"args");
    assert_eq!(job.headers.get("of").map(String::as_str), Some("case"));
    assert!(job.max_attempts >= attempt);
    job
}

fn submit(scene: &Scene<'_>, wish: impl FnOnce(&mut NewJob)) -> JobId {
    let mut job = NewJob::new(KIND, 1, *b"args");
    job.headers.insert("of".to_owned(), "case".to_owned());
    job.max_attempts = 1;
    wish(&mut job);
    scene.submit(job)
}

fn fail(scene: &Scene<'_>, job: &Leased, verdict: Verdict) {
    let settled = scene.settle(job.lease, verdict);
    assert_eq!(settled, Settled::Recorded);
    assert!(scene.state(job.lease.id).is_finished());
}

fn failed_again(scene: &Scene<'_>) {
    let id = submit(scene, |_| {});
    let first = handed_out(scene, id, 1);
    assert_eq!(retry(scene, id), RetryAnswer::State(JobState::Running));
    let error = || "never".to_owned();
    let timed_out = false;
    let verdict = Verdict::Fail {
        error: error(),
        timed_out,
    };
    fail(scene, &first, verdict);

    assert_eq!(retry(scene, id), RetryAnswer::Queued);
    let job = scene.status(id);
    assert_eq!((job.state, job.attempt), (JobState::Queued, 1));
    assert_eq!(
        (job.ended_at, job.error, job.attempts.len()),
        (None, None, 1)
    );
    assert_eq!(retry(scene, id), RetryAnswer::State(JobState::Queued));
    let second = handed_out(scene, id, 2);
    // The worker of the first attempt has nothing to say any more.
    let late = scene.settle(first.lease, Verdict::Complete(b"late".to_vec()));
    assert_eq!(late, Settled::Lost);
    fail(scene, &second, Verdict::DeadLetter { error: error() });
    assert!(scene.status(id).dead);

    assert_eq!(retry(scene, id), RetryAnswer::Queued);
    assert!(!scene.status(id).dead);
    let third = handed_out(scene, id, 3);
    let verdict = Verdict::Fail {
        error: error(),
        timed_out: true,
    };
    fail(scene, &third, verdict);
    assert_eq!(scene.state(id), JobState::TimedOut);

    assert_eq!(retry(scene, id), RetryAnswer::Queued);
    let fourth = handed_out(scene, id, 4);
    scene.complete(fourth.lease, "out");
    assert_eq!(retry(scene, id), RetryAnswer::State(JobState::Completed));
    assert_eq!(scene.output(id).as_deref(), Some("out"));
    assert_eq!(scene.status(id).attempts.len(), 4);
    assert!(scene.fetch_now(1).is_empty());
    assert_eq!(retry(scene, next_id()), RetryAnswer::Unknown);
}

fn cancelled_again(scene: &Scene<'_>) {
    let queued = submit(scene, |_| {});
    let late = submit(scene, |job| job.delay = scene.ages * 10);
    assert_eq!(retry(scene, late), RetryAnswer::State(JobState::Scheduled));
    for id in [queued, late] {
        assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::Dequeued);
        // A worker that has seen that it is cancelled changes nothing.
        assert!(scene.fetch_now(1).is_empty());
        assert_eq!(retry(scene, id), RetryAnswer::Queued);
        // At once: nobody knows any more what it waited for.
        let job = handed_out(scene, id, 1);
        scene.complete(job.lease, "out");
    }
    assert!(scene.fetch_now(1).is_empty());
}

fn at_once(scene: &Scene<'_>) {
    let id = submit(scene, |job| job.max_attempts = 2);
    let first = handed_out(scene, id, 1);
    let settled = scene.settle(
        first.lease,
        Verdict::RetryLater {
            delay: scene.ages * 10,
            error: "not yet".to_owned(),
            timed_out: false,
        },
    );
    assert_eq!(settled, Settled::Recorded);
    assert_eq!(scene.state(id), JobState::Retrying);
    assert!(scene.fetch_now(1).is_empty());
    assert_eq!(retry(scene, id), RetryAnswer::Queued);
    let second = handed_out(scene, id, 2);
    assert_eq!(second.max_attempts, 2, "it is no attempt more");
    fail(scene, &second, failed("never"));
    assert!(scene.fetch_now(1).is_empty());
}

fn key_taken(scene: &Scene<'_>) {
    let keyed = |job: &mut NewJob| {
        let key = "key".to_owned();
        job.unique = Some(UniqueKey { key, within: None });
    };
    let first = submit(scene, keyed);
    fail(scene, &handed_out(scene, first, 1), failed("never"));
    let second = submit(scene, keyed);
    assert_eq!(retry(scene, first), RetryAnswer::KeyTaken(second));
    assert_eq!(scene.state(first), JobState::Failed, "it stays as it is");
    fail(scene, &handed_out(scene, second, 1), failed("never"));

    // The key is free: the first one takes it again.
    assert_eq!(retry(scene, first), RetryAnswer::Queued);
    assert_eq!(retry(scene, second), RetryAnswer::KeyTaken(first));
    let mut third = NewJob::new(KIND, 1, *b"args");
    keyed(&mut third);
    let submitted = scene.run(scene.engine.submit(vec![third]));
    assert_eq!((submitted[0].id(), submitted[0].is_new()), (first, false));
    scene.complete(handed_out(scene, first, 2).lease, "out");
    assert_eq!(retry(scene, second), RetryAnswer::Queued);
    scene.complete(handed_out(scene, second, 2).lease, "out");
    assert!(scene.fetch_now(1).is_empty());
}

fn asked_twice(scene: &Scene<'_>) {
    for _ in 0..10 {
        let id = submit(scene, |_| {});
        fail(scene, &handed_out(scene, id, 1), failed("never"));
        let answers: Vec<_> = thread::scope(|threads| {
            let both = [(); 2].map(|()| threads.spawn(|| retry(scene, id)));
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(answers.contains(&RetryAnswer::Queued), "{answers:?}");
        for answer in answers {
            let queued = [RetryAnswer::Queued, RetryAnswer::State(JobState::Queued)];
            assert!(queued.contains(&answer), "{answer:?}");
        }
        let job = handed_out(scene, id, 2);
        assert_eq!(job.max_attempts, 2, "it is one attempt more");
        assert!(scene.fetch_now(1).is_empty());
        fail(scene, &job, failed("never"));
    }
    assert!(scene.fetch_now(1).is_empty());
}
