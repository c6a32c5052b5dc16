//! EN-4: the same everywhere.

use std::{cell::Cell, thread, time::Duration};

use fourway_jobs_engine::{
    Beat, CancelAnswer, Fetch, Filter, Held, JobState, NewJob, Progress, Settled, Submitted,
    UniqueKey, Verdict, next_id,
};

use crate::{
    case::{Case, table},
    child::{Act, Children},
    scene::{BRIEF, KIND, Scene, fetch},
};

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-4.1", "what is cancelled while it waits never runs",
            "it is why somebody cancels", cancel_queued, needs [CancelQueued];
        "EN-4.2", "the worker of what runs is told, and has the last word",
            "only it knows whether the job has had its effect", cancel_running, needs [CancelRunning];
        "EN-4.3", "what has ended cannot be cancelled",
            "and says so", cancel_ended;
        "EN-4.4", "an unknown job is an answer",
            "ids come from outside", unknown;
        "EN-4.5", "what was to be cancelled and lost its worker is not run again",
            "nobody is there to be told", cancel_and_lost, needs [CancelRunning];
        "EN-4.7", "one of two submitters at once has the unique key",
            "both looked before either wrote", unique_race, needs [Unique];
        "EN-4.8", "a unique key is free when its job has ended",
            "the next run is another job", unique_again, needs [Unique];
        "EN-4.9", "a unique key with a period outlives its job",
            "once a day means once a day", unique_within, needs [Unique];
        "EN-4.10", "an older worker is not given newer jobs",
            "it would not understand their arguments", older_version;
        "EN-4.11", "a worker is given the kinds it asks for",
            "it has no handler for others", other_kinds;
        "EN-4.12", "a job waits for its time",
            "a delay is the engine's to keep", delay, needs [Delay];
        "EN-4.13", "a higher priority comes first, and else who came first",
            "an order that is the same everywhere", priority, needs [Priority];
        "EN-4.14", "jobs are listed by state and kind, page by page, and counted",
            "operators look", list, needs [List];
        "EN-4.16", "progress is seen by others",
            "whoever waits wants to know", progress, needs [Progress];
        "EN-4.17", "what has ended is forgotten when its time is up, and not before",
            "a store does not grow for ever", retention, needs [Retention];
        "EN-4.18", "arguments, outputs and headers are what they were",
            "bytes are bytes", bytes;
        "EN-4.19", "waiting ends with the job, or with patience",
            "who waits is told", waiting;
        "EN-4.20", "a result is read by another process",
            "who submits and who reads may be two", read_elsewhere, needs [Processes], unix true;
        "EN-4.21", "who fetches waits for the next job",
            "a worker does not ask all the time", fetch_waits;
        "EN-4.23", "a unique key with a period outlives what is kept of its job",
            "once a day means once a day, however soon the job itself is of no interest",
            unique_beyond_keep, needs [Unique, Retention];
    ]
}

fn cancel_queued(scene: &Scene<'_>) {
    let id = scene.job();
    let other = scene.job();
    assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::Dequeued);
    let job = scene.status(id);
    assert_eq!((job.state, job.attempt), (JobState::Cancelled, 0));
    let fetched: Vec<_> = scene.fetch_all(1).iter().map(|job| job.lease.id).collect();
    assert_eq!(fetched, [other]);
    assert!(scene.fetch_now(1).is_empty());
    assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::TooLate);
}

fn cancel_running(scene: &Scene<'_>) {
    let (stops, finishes, fails) = (scene.job(), scene.job(), scene.job());
    let jobs = scene.fetch_all(3);
    let lease_of = |id| {
        jobs.iter()
            .find(|job| job.lease.id == id)
            .expect("it is fetched")
            .lease
    };
    for id in [stops, finishes, fails] {
        assert_eq!(scene.beat(lease_of(id), scene.ages), Held::Yes);
        assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::Requested);
        let job = scene.status(id);
        assert_eq!((job.state, job.cancelling), (JobState::Running, true));
        assert_eq!(scene.beat(lease_of(id), scene.ages), Held::Cancel);
    }
    let settled = scene.settle(lease_of(stops), Verdict::Cancelled);
    assert_eq!(settled, Settled::Recorded);
    assert_eq!(scene.state(stops), JobState::Cancelled);
    // The cancellation came too late for this job.
    scene.complete(lease_of(finishes), "out");
    assert_eq!(scene.state(finishes), JobState::Completed);
    // And this job is not tried again.
    let settled = scene.settle(lease_of(fails), crate::scene::failed("error"));
    assert_eq!(settled, Settled::Recorded);
    assert_eq!(scene.state(fails), JobState::Cancelled);
    assert!(scene.fetch_now(1).is_empty());
}

fn cancel_ended(scene: &Scene<'_>) {
    let id = scene.job();
    scene.complete(scene.fetch(scene.ages).lease, "out");
    assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::TooLate);
    assert_eq!(scene.state(id), JobState::Completed);
    assert_eq!(scene.output(id).as_deref(), Some("out"));
}

fn unknown(scene: &Scene<'_>) {
    let id = next_id();
    assert_eq!(scene.run(scene.engine.status(id)), None);
    assert_eq!(scene.run(scene.engine.result(id)), None);
    assert_eq!(scene.run(scene.engine.wait(id, scene.ages)), None);
    assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::Unknown);
    let lease = fourway_jobs_engine::Lease { id, token: 1 };
    assert_eq!(scene.beat(lease, scene.ages), Held::Lost);
    assert_eq!(scene.settle(lease, Verdict::Cancelled), Settled::Lost);
}

fn cancel_and_lost(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene.fetch(scene.ages);
    assert_eq!(scene.run(scene.engine.cancel(id)), CancelAnswer::Requested);
    // The last sign of life.
    assert_eq!(scene.beat(job.lease, BRIEF), Held::Cancel);
    scene.eventually("it has ended", || scene.state(id).is_finished());
    assert_eq!(scene.state(id), JobState::Cancelled);
    assert!(scene.fetch_now(1).is_empty());
}

fn keyed(key: &str, within: Option<Duration>) -> NewJob {
    let mut job = NewJob::new(KIND, 1, *b"");
    job.unique = Some(UniqueKey {
        key: key.to_owned(),
        within,
    });
    job
}

fn unique_race(scene: &Scene<'_>) {
    for round in 0..20 {
        let key = format!("key {round}");
        let submit = || {
            // An engine of its own, as another process would have.
            let engine = scene.place().open(&scene.rt);
            scene.run(engine.submit(vec![keyed(&key, None)]))[0]
        };
        let submitted: Vec<_> = thread::scope(|threads| {
            let both = [threads.spawn(submit), threads.spawn(submit)];
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let new = submitted.iter().filter(|one| one.is_new()).count();
        assert_eq!(new, 1, "{submitted:?}");
        assert_eq!(
            submitted[0].id(),
            submitted[1].id(),
            "both are told of the same one"
        );
    }
    scene.fetch_all(20);
    assert!(scene.fetch_now(1).is_empty(), "one for each key");
}

fn unique_again(scene: &Scene<'_>) {
    let first = scene.submit(keyed("a", None));
    scene.submit(keyed("b", None));
    // The key of another kind is another key.
    let mut other = keyed("a", None);
    other.kind = "another".to_owned();
    scene.submit(other);
    let submitted = scene.run(scene.engine.submit(vec![keyed("a", None)]));
    assert_eq!(submitted, [Submitted::Existing(first)]);
    let running = scene.fetch_all(2);
    let submitted = scene.run(scene.engine.submit(vec![keyed("a", None)]));
    assert_eq!(
        submitted,
        [Submitted::Existing(first)],
        "while it runs, too"
    );
    for job in running {
        scene.complete(job.lease, "out");
    }
    scene.submit(keyed("a", None));
}

fn unique_within(scene: &Scene<'_>) {
    let first = scene.submit(keyed("a", Some(scene.ages)));
    scene.complete(scene.fetch(scene.ages).lease, "out");
    let submitted = scene.run(scene.engine.submit(vec![keyed("a", Some(scene.ages))]));
    assert_eq!(submitted, [Submitted::Existing(first)]);
    scene.submit(keyed("b", Some(BRIEF)));
    scene.eventually("its period is over", || {
        let submitted = scene.run(scene.engine.submit(vec![keyed("b", Some(scene.ages))]));
        submitted[0].is_new()
    });
}

fn unique_beyond_keep(scene: &Scene<'_>) {
    let brief = |mut job: NewJob| {
        job.keep = BRIEF;
        let id = scene.submit(job);
        scene.complete(scene.fetch(scene.ages).lease, "out");
        id
    };
    let first = brief(keyed("a", Some(scene.ages)));
    let other = brief(NewJob::new(KIND, 1, *b""));
    scene.eventually("one that ended later is forgotten", || {
        scene.run(scene.engine.status(other)).is_none()
    });
    let submitted = scene.run(scene.engine.submit(vec![keyed("a", Some(scene.ages))]));
    assert_eq!(submitted, [Submitted::Existing(first)]);
    assert_eq!(
        scene.state(first),
        JobState::Completed,
        "whoever is told of a job finds it"
    );
    // Both are over.
    let both = brief(keyed("b", Some(BRIEF)));
    scene.eventually("it is forgotten", || {
        scene.run(scene.engine.status(both)).is_none()
    });
    scene.submit(keyed("b", Some(scene.ages)));
}

fn older_version(scene: &Scene<'_>) {
    let new = scene.submit(NewJob::new(KIND, 2, *b"new"));
    let old = scene.submit(NewJob::new(KIND, 1, *b"old"));
    let fetched = scene.fetch_all(1);
    let ids: Vec<_> = fetched.iter().map(|job| job.lease.id).collect();
    assert_eq!(ids, [old]);
    assert!(scene.fetch_now(1).is_empty());
    scene.complete(fetched[0].lease, "out");
    let older = scene.submit(NewJob::new(KIND, 1, *b"old"));
    let mut fetched = scene.fetch_all_of(KIND, 2, 2);
    fetched.sort_by_key(|job| job.lease.id);
    let fetched: Vec<_> = fetched
        .iter()
        .map(|job| (job.lease.id, job.version))
        .collect();
    assert_eq!(fetched, [(new, 2), (older, 1)]);
}

fn other_kinds(scene: &Scene<'_>) {
    let other = scene.submit(NewJob::new("another", 1, *b""));
    assert!(scene.fetch_now(10).is_empty());
    let mine = scene.job();
    assert_eq!(scene.fetch_all(1)[0].lease.id, mine);
    let both = vec![("another".to_owned(), 1), (KIND.to_owned(), 1)];
    let both = Fetch::new("both", both).max(10).patience(scene.ages);
    let fetched = scene.run(scene.engine.fetch(both));
    assert_eq!((fetched.len(), fetched[0].lease.id), (1, other));
    assert_eq!(fetched[0].kind, "another");
    let none = scene.run(scene.engine.fetch(Fetch::new("none", Vec::new()).max(10)));
    assert!(none.is_empty());
}

fn delay(scene: &Scene<'_>) {
    let mut late = NewJob::new(KIND, 1, *b"");
    late.delay = scene.ages;
    let late = scene.submit(late);
    assert_eq!(scene.state(late), JobState::Scheduled);
    assert!(scene.fetch_now(1).is_empty());
    let mut soon = NewJob::new(KIND, 1, *b"");
    soon.delay = Duration::from_millis(30);
    let soon = scene.submit(soon);
    let job = scene.fetch(scene.ages);
    assert_eq!(job.lease.id, soon, "its time has come");
    let job = scene.status(soon);
    assert!(
        job.started_at >= Some(job.submitted_at + 30),
        "not before: {job:?}"
    );
    assert_eq!(scene.run(scene.engine.cancel(late)), CancelAnswer::Dequeued);
}

fn priority(scene: &Scene<'_>) {
    let submit = |priority| {
        let mut job = NewJob::new(KIND, 1, *b"");
        job.priority = priority;
        scene.submit(job)
    };
    let (low, first, second, high) = (submit(-1), submit(0), submit(0), submit(100));
    let order: Vec<_> = (0..4).map(|_| scene.fetch(scene.ages).lease.id).collect();
    assert_eq!(order, [high, first, second, low]);
}

fn list(scene: &Scene<'_>) {
    let mut jobs: Vec<_> = (0..5).map(|_| scene.job()).collect();
    let other = scene.submit(NewJob::new("another", 1, *b""));
    let done = scene.fetch(scene.ages);
    scene.complete(done.lease, "out");
    jobs.retain(|id| *id != done.lease.id);
    jobs.reverse();

    let queued = Filter::new().kind(KIND).state(JobState::Queued);
    let mut filter = queued.clone().limit(3);
    let mut found = Vec::new();
    loop {
        let page = scene.run(scene.engine.list(filter.clone()));
        assert!(page.jobs.len() <= 3);
        found.extend(page.jobs.iter().map(|job| job.id));
        match page.next {
            Some(next) => filter = filter.before(next),
            None => break,
        }
    }
    assert_eq!(found, jobs, "newest first, each once");
    let all = scene.run(scene.engine.list(Filter::new()));
    assert_eq!((all.jobs.len(), all.next), (6, None));
    let ended = Filter::new()
        .state(JobState::Completed)
        .state(JobState::Failed);
    let ended = scene.run(scene.engine.list(ended));
    assert_eq!(ended.jobs, [scene.status(done.lease.id)], "as its status");
    let another = scene.run(scene.engine.list(Filter::new().kind("another")));
    assert_eq!(another.jobs[0].id, other);
    let counts = scene.run(scene.engine.counts());
    assert_eq!((counts.queued, counts.completed, counts.total()), (5, 1, 6));
}

fn progress(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene.fetch(scene.ages);
    let mut told = Progress::default();
    told.fraction = Some(0.5);
    told.message = Some("halfway".to_owned());
    told.counters.insert("lines".to_owned(), 3);
    let beat = |progress| {
        let lease = job.lease;
        scene.run(
            scene
                .engine
                .heartbeat(vec![Beat { lease, progress }], scene.ages),
        );
    };
    beat(Some(told.clone()));
    assert_eq!(scene.status(id).progress, Some(told.clone()));
    beat(None);
    assert_eq!(
        scene.status(id).progress,
        Some(told),
        "nothing new is not nothing"
    );
}

fn retention(scene: &Scene<'_>) {
    let submit = |keep| {
        let mut job = NewJob::new(KIND, 1, *b"");
        job.keep = keep;
        let id = scene.submit(job);
        scene.complete(scene.fetch(scene.ages).lease, "out");
        id
    };
    let (kept, brief) = (submit(scene.ages), submit(BRIEF));
    scene.eventually("it is forgotten", || {
        scene.run(scene.engine.status(brief)).is_none()
    });
    assert_eq!(scene.output(brief), None);
    assert_eq!(scene.output(kept).as_deref(), Some("out"));
    // A job that has not ended is not forgotten, however old it is.
    let mut waits = NewJob::new(KIND, 1, *b"");
    waits.keep = Duration::ZERO;
    let waits = scene.submit(waits);
    thread::sleep(Duration::from_millis(20));
    scene.run(scene.engine.maintain());
    assert_eq!(scene.state(waits), JobState::Queued);
}

fn bytes(scene: &Scene<'_>) {
    let all: Vec<u8> = (0..=255).collect();
    let large = all.repeat(1024);
    for args in [Vec::new(), all, large] {
        let mut job = NewJob::new(KIND, 1, args.clone());
        job.headers
            .insert("Größe".to_owned(), "a \"quoted\"\nline\0".to_owned());
        let headers = job.headers.clone();
        let id = scene.submit(job);
        assert_eq!(scene.status(id).headers, headers);
        let job = scene.fetch(scene.ages);
        assert!(
            job.args == args,
            "{} bytes came as {}",
            args.len(),
            job.args.len()
        );
        assert_eq!(job.headers, headers);
        scene.settle(job.lease, Verdict::Complete(args.clone()));
        assert!(scene.run(scene.engine.result(id)) == Some(args));
    }
}

fn waiting(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene
        .run(scene.engine.wait(id, BRIEF))
        .expect("it is known");
    assert_eq!(job.state, JobState::Queued, "patience is at an end");
    let job = scene.fetch(scene.ages);
    let waits = scene.engine.wait(id, scene.ages);
    let ended = scene.meanwhile(waits, || scene.complete(job.lease, "out"));
    assert_eq!(ended.expect("it is known").state, JobState::Completed);
}

fn read_elsewhere(scene: &Scene<'_>) {
    let children = Children::new(scene);
    let worker = children.worker();
    let id = children.submit(scene, Act::Note);
    assert_eq!(scene.ended(id).state, JobState::Completed);
    assert_eq!(scene.output(id), Some(worker.id().to_string()));
}

fn fetch_waits(scene: &Scene<'_>) {
    let waits = fetch(1, scene.ages).patience(scene.ages);
    let submitted = Cell::new(None);
    let fetched = scene.meanwhile(scene.engine.fetch(waits), || {
        submitted.set(Some(scene.job()))
    });
    let fetched: Vec<_> = fetched.iter().map(|job| job.lease.id).collect();
    assert_eq!(fetched, [submitted.get().expect("it was submitted")]);
    let none = scene.run(scene.engine.fetch(fetch(1, scene.ages).patience(BRIEF)));
    assert!(none.is_empty(), "patience is at an end");
}
