//! A job harms no other, whatever it does: it hangs, panics where nobody expects it, or tells of
//! megabytes.

use std::{error::Error, fmt, future::pending, panic::resume_unwind, thread, time::Duration};

use fourway_core::{AnyRuntime, Runtime, cancel, yield_now};
use fourway_jobs::{
    BoxError, COUNTERS_KEPT, Filter, Job, JobContext, JobManager, JobOutput, JobState, TEXT_KEPT,
};
use fourway_testing::{AGES, Counter, Gate, each, eventually, panic_quietly, run};

use super::{manager, soon};

/// The manager works as one that has had no such jobs, and ends with each job's fate known.
fn is_unharmed(rt: &AnyRuntime, jobs: &JobManager) {
    let closures: Vec<_> = (0..20_usize)
        .map(|n| jobs.submit(move || n).unwrap())
        .collect();
    let future = |n: usize| async move {
        yield_now().await;
        n
    };
    let futures: Vec<_> = (0..20_usize)
        .map(|n| jobs.submit(future(n)).unwrap())
        .collect();
    for handles in [closures, futures] {
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(run(rt, handle).unwrap(), n);
        }
    }
    let report = run(rt, jobs.drain(AGES));
    assert!(report.is_clean(), "{report:?}");
    let overview = jobs.overview();
    assert_eq!(overview.counts.unfinished(), 0);
    assert_eq!(overview.ended.total(), overview.submitted);
}

// ---------------------------------------------------------------------------
// Jobs that hang

#[test]
fn jobs_that_hang_hold_their_slots_alone_and_a_drain_names_them() {
    each(|rt| {
        let jobs = manager(&rt);
        let gate = Gate::default();
        // Neither looks at its token.
        let wait = gate.clone();
        let closure = jobs.submit(move || wait.wait()).unwrap();
        let wait = gate.clone();
        let call = jobs.submit(rt.call_blocking(move || wait.wait())).unwrap();
        let future = jobs.submit(pending::<()>()).unwrap();
        let hanging = [closure.id(), call.id()];
        eventually("all run", || jobs.overview().counts.running == 3);

        // The others share the slot that is left.
        let others: Vec<_> = (0..20_usize)
            .map(|n| jobs.submit(move || n).unwrap())
            .collect();
        for (n, other) in others.into_iter().enumerate() {
            assert_eq!(run(&rt, other).unwrap(), n);
        }
        let waits = jobs.submit(Job::new(|| ()).delay(AGES)).unwrap();

        let soon = Duration::from_millis(20);
        let report = run(&rt, jobs.drain_with(soon, soon));
        assert!(!report.is_clean());
        for id in hanging {
            assert!(report.still_running.contains(&id), "{report:?}");
            let status = jobs.status(id).unwrap();
            assert!(status.state == JobState::Running && status.cancelling);
        }
        let cancelled = (waits.id(), JobState::Cancelled);
        assert!(report.fates.contains(&cancelled), "{report:?}");
        // Each is in the report, and none is there twice.
        let fates = report.fates.iter().map(|(id, _)| *id);
        let mut all: Vec<_> = fates.chain(report.still_running.clone()).collect();
        all.sort();
        let mut expected = vec![closure.id(), call.id(), future.id(), waits.id()];
        expected.sort();
        assert_eq!(all, expected);

        gate.open();
        let last = run(&rt, jobs.drain(AGES));
        assert!(last.is_clean(), "{last:?}");
        for id in expected {
            assert!(last.fates.contains(&(id, JobState::Cancelled)), "{last:?}");
        }
        assert!(run(&rt, closure).unwrap_err().is_cancelled());
        assert!(run(&rt, call).unwrap_err().is_cancelled());
    });
}

#[test]
fn a_future_that_wakes_itself_for_ever_leaves_the_others_their_turns() {
    each(|rt| {
        let jobs = manager(&rt);
        let busy = || async {
            while !cancel::is_cancelled() {
                yield_now().await;
            }
            // It is dropped before it sees that.
            pending::<()>().await;
        };
        let busy = [(); 3].map(|()| jobs.submit(busy()).unwrap());
        eventually("they run", || jobs.overview().counts.running == 3);
        let others: Vec<_> = (0..50_usize)
            .map(|n| jobs.submit(async move { n }))
            .collect();
        for (n, other) in others.into_iter().enumerate() {
            assert_eq!(run(&rt, other.unwrap()).unwrap(), n);
        }
        for job in busy {
            job.cancel();
            assert!(run(&rt, job).unwrap_err().is_cancelled());
        }
        is_unharmed(&rt, &jobs);
    });
}

// ---------------------------------------------------------------------------
// Destructors that panic

/// Its destructor panics, unless its thread is panicking already.
struct Bomb(Counter);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.add();
        if !thread::panicking() {
            panic_quietly("in a destructor");
        }
    }
}

#[test]
fn captured_values_may_panic_when_they_are_dropped() {
    each(|rt| {
        let jobs = manager(&rt);
        let dropped = Counter::default();
        let made = Counter::default();
        let bomb = || {
            made.add();
            Bomb(dropped.clone())
        };

        // Bodies that run once: the panic is one of the body.
        let held = bomb();
        let closure = jobs.submit(move || drop_later(&held)).unwrap();
        let held = bomb();
        let future = jobs.submit(async move { drop_later(&held) }).unwrap();
        let held = bomb();
        let later = async move {
            yield_now().await;
            drop_later(&held);
        };
        let later = jobs.submit(later).unwrap();
        for job in [closure, future, later] {
            assert!(run(&rt, job).unwrap_err().is_panic());
        }

        // Bodies that can run again: what they captured is destroyed by the manager.
        let held = bomb();
        let again = move |job: JobContext| {
            drop_later(&held);
            job.attempt()
        };
        assert_eq!(
            run(&rt, jobs.submit(Job::blocking(again)).unwrap()).unwrap(),
            1
        );
        let held = bomb();
        let again = move |job: JobContext| {
            drop_later(&held);
            async move { job.attempt() }
        };
        assert_eq!(run(&rt, jobs.submit(Job::task(again)).unwrap()).unwrap(), 1);

        // A future that is dropped while it waits, and a job that never runs.
        let held = bomb();
        let pending = jobs.submit(async move {
            let _held = held;
            pending::<()>().await;
        });
        let pending = pending.unwrap();
        eventually("it runs", || pending.state() == Some(JobState::Running));
        pending.cancel();
        assert!(run(&rt, pending).unwrap_err().is_panic());
        let held = bomb();
        let never = jobs.submit(Job::new(move || drop_later(&held)).delay(AGES));
        let never = never.unwrap();
        never.cancel();
        assert!(run(&rt, never).unwrap_err().is_cancelled());

        // One that is kept after its failure, until it is forgotten.
        let held = bomb();
        let fails = move |_: JobContext| {
            drop_later(&held);
            Err::<(), _>("broken")
        };
        let fails = jobs.submit(Job::blocking(fails).retry(soon(2))).unwrap();
        let id = fails.id();
        assert_eq!(run(&rt, fails).unwrap_err().message(), "broken");
        assert_eq!(jobs.forget(id), Ok(true));

        is_unharmed(&rt, &jobs);
        // One that is refused.
        let held = bomb();
        assert!(
            jobs.submit(move || drop_later(&held))
                .unwrap_err()
                .is_closed()
        );
        eventually("all are dropped", || dropped.get() == made.get());
    });
}

fn drop_later(_: &Bomb) {}

#[test]
fn values_may_panic_when_they_are_dropped() {
    each(|rt| {
        let dropped = Counter::default();
        let jobs = JobManager::builder(&rt)
            .concurrency(4)
            .keep(3, Duration::MAX)
            .build();
        let bomb = || Some(Bomb(dropped.clone()));
        // Nobody takes them: some are forgotten when others end, the rest with the manager.
        for _ in 0..5 {
            let (value, other) = (bomb(), bomb());
            let closure = jobs.submit(move || value).unwrap().id();
            run(&rt, jobs.wait(closure)).unwrap();
            let future = jobs.submit(async move { other }).unwrap().id();
            run(&rt, jobs.wait(future)).unwrap();
        }
        // Who waits may be told before what is forgotten is dropped.
        eventually("some are dropped", || dropped.get() >= 6);
        // One that comes after its job was cancelled is nobody's.
        let gate = Gate::default();
        let (value, wait) = (bomb(), gate.clone());
        let late = jobs.submit(move || {
            wait.wait();
            value
        });
        let late = late.unwrap();
        eventually("it runs", || late.state() == Some(JobState::Running));
        late.cancel();
        gate.open();
        assert!(run(&rt, late).is_err_and(|error| error.is_cancelled()));
        is_unharmed(&rt, &jobs);
        drop(jobs);
        eventually("all are dropped", || dropped.get() == 11);
    });
}

#[test]
fn a_payload_of_a_panic_may_panic_when_it_is_dropped() {
    each(|rt| {
        let jobs = manager(&rt);
        let dropped = Counter::default();
        let bomb = || Some(Box::new(Bomb(dropped.clone())));
        let mut held = bomb();
        // The first attempt's payload is not the last one's.
        let again = Job::blocking(move |job: JobContext| match job.attempt() {
            1 => resume_unwind(held.take().unwrap()),
            n => n,
        });
        let again = jobs.submit(again.retry(soon(2))).unwrap();
        assert_eq!(run(&rt, again).unwrap(), 2);
        // Nobody takes it.
        let mut held = bomb();
        let panics = move || -> () { resume_unwind(held.take().unwrap()) };
        let id = jobs.submit(panics).unwrap().id();
        let end = run(&rt, jobs.wait(id)).unwrap();
        assert_eq!(end.state, JobState::Failed);
        assert_eq!(jobs.forget(id), Ok(true));
        is_unharmed(&rt, &jobs);
        eventually("both are dropped", || dropped.get() == 2);
    });
}

// ---------------------------------------------------------------------------
// User code that the manager calls

/// An error that panics, whatever it is asked, and when it is dropped.
struct Hostile(#[allow(dead_code, reason = "it is dropped")] Bomb);

impl fmt::Display for Hostile {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_quietly("in `Display`")
    }
}

impl fmt::Debug for Hostile {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_quietly("in `Debug`")
    }
}

impl Error for Hostile {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        panic_quietly("in `source`")
    }
}

/// An error whose `Display` gives up.
#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not all of it")?;
        Err(fmt::Error)
    }
}

impl Error for Unprintable {}

#[test]
fn an_error_may_panic_when_it_is_printed() {
    each(|rt| {
        let jobs = manager(&rt);
        let (made, dropped) = (Counter::default(), Counter::default());
        let error = {
            let (made, dropped) = (made.clone(), dropped.clone());
            move || {
                made.add();
                Hostile(Bomb(dropped.clone()))
            }
        };
        let unprintable = "its error cannot be printed";
        let give = error.clone();
        let closure = Job::blocking(move |_: JobContext| Err::<(), _>(give()));
        let closure = jobs.submit(closure.retry(soon(3))).unwrap();
        let give = error.clone();
        let future = Job::task(move |_: JobContext| {
            let error = give();
            async move {
                yield_now().await;
                Err::<(), _>(error)
            }
        });
        let future = jobs.submit(future.retry(soon(3))).unwrap();
        for job in [closure.id(), future.id()] {
            let end = run(&rt, jobs.wait(job)).unwrap();
            assert_eq!((end.state, end.attempt), (JobState::Failed, 3));
            assert_eq!(end.error.as_deref(), Some(unprintable));
            let texts = end.attempts.iter().map(|attempt| attempt.error.as_deref());
            assert_eq!(texts.collect::<Vec<_>>(), [Some(unprintable); 3]);
            // What the manager prints has none of it.
            assert!(!format!("{jobs:?}").is_empty());
        }
        // It goes to the handle as it is; or to nobody.
        let hostile = run(&rt, closure).unwrap_err();
        assert!(hostile.to_string().contains(unprintable));
        assert!(format!("{hostile:?}").contains(unprintable));
        // Dropped here, it would panic in the test.
        std::mem::forget(hostile.into_error());
        let id = future.id();
        drop(future);
        assert_eq!(jobs.forget(id), Ok(true));

        let gives_up = jobs.submit(|| Err::<(), _>(Unprintable)).unwrap();
        assert_eq!(run(&rt, gives_up).unwrap_err().message(), unprintable);
        is_unharmed(&rt, &jobs);
        eventually("all but one are dropped", || {
            dropped.get() + 1 == made.get()
        });
    });
}

/// An output that is turned into none.
struct NoOutput;

impl JobOutput for NoOutput {
    type Value = ();

    fn into_result(self) -> Result<(), BoxError> {
        panic_quietly("in `into_result`")
    }
}

#[test]
fn an_output_may_panic_when_it_is_taken() {
    each(|rt| {
        let jobs = manager(&rt);
        let closure = jobs.submit(|| NoOutput).unwrap();
        let future = jobs.submit(async { NoOutput }).unwrap();
        let call = jobs.submit(rt.call_blocking(|| NoOutput)).unwrap();
        for job in [closure, future, call] {
            let error = run(&rt, job).unwrap_err();
            assert!(error.is_panic());
            assert_eq!(error.message(), "in `into_result`");
        }
        is_unharmed(&rt, &jobs);
    });
}

#[test]
fn the_callback_of_a_batch_may_panic() {
    each(|rt| {
        let jobs = manager(&rt);
        let dropped = Counter::default();
        // Where the last job ends, and where the batch is ended after it.
        for is_over in [false, true] {
            let mut batch = jobs.batch();
            let gate = Gate::default();
            for n in 0..4 {
                let wait = gate.clone();
                let job = async move {
                    wait.pass().await;
                    n
                };
                drop(batch.add(Job::new(job)).unwrap());
            }
            let bomb = Bomb(dropped.clone());
            batch.on_end(move |report| {
                assert_eq!(report.counts.completed, 4);
                let _bomb = bomb;
                panic_quietly("in the callback");
            });
            if is_over {
                gate.open();
                eventually("all have ended", || {
                    jobs.overview().counts.unfinished() == 0
                });
            }
            let end = batch.end();
            gate.open();
            let report = run(&rt, end);
            assert_eq!(report.counts.completed, 4);
            assert_eq!(report.others, []);
        }
        is_unharmed(&rt, &jobs);
        eventually("both are dropped", || dropped.get() == 2);
    });
}

#[test]
fn a_poison_job_holds_up_nobody() {
    each(|rt| {
        // One slot, which the poison would take each time.
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let poison = || {
            let panics = |_: JobContext| -> () { panic_quietly("poison") };
            let poison = Job::blocking(panics).priority(100).retry(soon(5));
            jobs.submit(poison).unwrap()
        };
        let poison: Vec<_> = (0..5).map(|_| poison()).collect();
        let others: Vec<_> = (0..20_usize)
            .map(|n| jobs.submit(move || n).unwrap())
            .collect();
        for (n, other) in others.into_iter().enumerate() {
            assert_eq!(run(&rt, other).unwrap(), n);
        }
        for job in poison {
            let id = job.id();
            assert!(run(&rt, job).unwrap_err().is_panic());
            assert_eq!(jobs.status(id).unwrap().attempt, 5);
        }
        is_unharmed(&rt, &jobs);
    });
}

// ---------------------------------------------------------------------------
// Jobs that tell of megabytes

#[test]
fn of_a_text_of_megabytes_the_beginning_is_kept() {
    const MEGABYTES: usize = 4 << 20;
    each(|rt| {
        let jobs = manager(&rt);
        let is_cut = |text: &str| {
            assert!(text.len() <= TEXT_KEPT && text.ends_with("x…"));
        };
        let long = || "x".repeat(MEGABYTES);
        let tells = jobs.submit(Job::blocking(move |job: JobContext| {
            for _ in 0..10 {
                job.message(long());
            }
            job.count(&long(), 1);
            job.count(&long(), 1);
            for counter in 0..10 * COUNTERS_KEPT {
                job.count(&counter.to_string(), 1);
            }
            Err::<(), _>(long())
        }));
        let panics = jobs.submit(move || -> () { resume_unwind(Box::new(long())) });
        let (tells, panics) = (tells.unwrap(), panics.unwrap());
        let ids = [tells.id(), panics.id()];

        let error = run(&rt, tells).unwrap_err();
        is_cut(error.message());
        // The error itself is whole.
        assert_eq!(error.into_error().unwrap().to_string().len(), MEGABYTES);
        let panic = run(&rt, panics).unwrap_err();
        is_cut(panic.message());
        let payload = panic.into_panic().unwrap();
        assert_eq!(payload.downcast_ref::<String>().unwrap().len(), MEGABYTES);

        for id in ids {
            let status = jobs.status(id).unwrap();
            is_cut(&status.error.unwrap());
            is_cut(status.attempts[0].error.as_deref().unwrap());
        }
        let listed = jobs.list(&Filter::new()).jobs;
        let progress = listed.iter().find_map(|job| job.progress.clone()).unwrap();
        is_cut(&progress.message.unwrap());
        assert_eq!(progress.counters.len(), COUNTERS_KEPT);
        let (name, count) = progress.counters.last_key_value().unwrap();
        is_cut(name);
        assert_eq!(*count, 2);
        is_unharmed(&rt, &jobs);
    });
}
