//! A manager with single jobs, on every runtime.

use std::{
    collections::BTreeSet,
    future::{Future, pending},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, SystemTime},
};

use fourway_core::{AnyRuntime, BlockOn, BoxCall, Call, Runtime, Shutdown, cancel, yield_now};
use fourway_jobs::{
    BoxError, CancelOutcome, EventKind, Filter, Job, JobContext, JobError, JobHandle, JobManager,
    JobState, ManualClock, ResultError, Retry, Unique,
};
use fourway_testing::{
    AGES, Counter, Gate, OnDrop, any, each, eventually, panic_quietly, poll_once, run,
};

fn manager(rt: &AnyRuntime) -> JobManager {
    JobManager::builder(rt).concurrency(4).build()
}

fn soon(attempts: u32) -> Retry {
    Retry::attempts(attempts).pause(Duration::from_millis(1))
}

#[test]
fn futures_closures_and_calls_are_submitted_alike() {
    each(|rt| {
        let jobs = manager(&rt);
        let future = jobs.submit(async { 1 }).unwrap();
        let closure = jobs.submit(|| 2).unwrap();
        let call = jobs
            .submit(rt.call_blocking(|| Ok::<_, BoxError>(3)))
            .unwrap();
        let awaits = jobs
            .submit(async {
                yield_now().await;
                4
            })
            .unwrap();
        assert!(future.id() < closure.id() && closure.id() < call.id());
        let id = call.id();
        assert_eq!(future.wait().unwrap(), 1);
        assert_eq!(closure.wait().unwrap(), 2);
        assert_eq!(run(&rt, call).unwrap(), 3);
        assert_eq!(run(&rt, awaits).unwrap(), 4);
        let status = jobs.status(id).unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Completed, 1));
        assert!(status.submitted_at <= status.started_at.unwrap());
        assert!(status.started_at <= status.ended_at);
        assert_eq!(jobs.overview().counts.completed, 4);
    });
}

#[test]
fn ids_print_parse_and_sort() {
    each(|rt| {
        let jobs = manager(&rt);
        let ids: Vec<_> = (0..100)
            .map(|n| jobs.submit(move || n).unwrap().id())
            .collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 100);
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
            jobs.wait(id).wait().unwrap();
        }
        let other = manager(&rt);
        let id = other.submit(|| ()).unwrap().id();
        assert!(jobs.status(id).is_err(), "it is another manager's");
        assert!(jobs.cancel(id).is_err() && jobs.retry(id).unwrap_err().is_unknown());
    });
}

#[test]
fn results_are_had_by_id() {
    each(|rt| {
        let jobs = manager(&rt);
        let id = jobs.submit(|| String::from("copied")).unwrap().id();
        jobs.wait(id).wait().unwrap();
        for _ in 0..2 {
            assert_eq!(jobs.result::<String>(id).unwrap(), "copied");
        }
        assert!(matches!(
            jobs.result::<u8>(id),
            Err(ResultError::OtherType(_))
        ));
        assert_eq!(jobs.take_result::<String>(id).unwrap(), "copied");
        let error = jobs.result::<String>(id).unwrap_err();
        assert!(matches!(error, ResultError::Job(error) if error.is_taken()));
    });
}

/// A value whose clones are made at the same time: the first one waits for the gate.
struct Slow {
    clones: Counter,
    gate: Gate,
    _alive: OnDrop,
    dropped: Counter,
}

impl Clone for Slow {
    fn clone(&self) -> Self {
        if self.clones.add() == 1 {
            self.gate.wait();
        }
        Self {
            clones: self.clones.clone(),
            gate: self.gate.clone(),
            _alive: self.dropped.on_drop(),
            dropped: self.dropped.clone(),
        }
    }
}

#[test]
fn a_result_is_there_for_all_who_ask_at_the_same_time() {
    each(|rt| {
        let jobs = manager(&rt);
        let (clones, gate, dropped) = (Counter::default(), Gate::default(), Counter::default());
        let slow = Slow {
            clones: clones.clone(),
            gate: gate.clone(),
            _alive: dropped.on_drop(),
            dropped: dropped.clone(),
        };
        let id = jobs.submit(|| Ok::<_, BoxError>(slow)).unwrap().id();
        jobs.wait(id).wait().unwrap();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| jobs.result::<Slow>(id).is_ok());
            eventually("one clones it", || clones.get() == 1);
            assert!(jobs.result::<Slow>(id).is_ok(), "for another one, too");
            // The first caller that takes it gets it; later ones do not.
            assert!(jobs.take_result::<Slow>(id).is_ok());
            let error = jobs.result::<Slow>(id).err().unwrap();
            assert!(matches!(error, ResultError::Job(error) if error.is_taken()));
            gate.open();
            assert!(first.join().unwrap());
        });
        // The value and three clones.
        assert_eq!((clones.get(), dropped.get()), (3, 4));
    });
}

/// Something that a body has captured, whose destructor waits for the gate.
struct Holds(Counter, Gate);

impl Drop for Holds {
    fn drop(&mut self) {
        self.0.add();
        self.1.wait();
    }
}

#[test]
fn a_job_has_completed_once_its_result_is_there() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut events = jobs.subscribe(1000);
        for n in 0..50 {
            let id = jobs.submit(async move { n }).unwrap().id();
            while let Some(event) = events.wait().unwrap() {
                let to = JobState::Completed;
                if matches!(event.kind, EventKind::State { to: state, .. } if state == to) {
                    break;
                }
            }
            assert_eq!(jobs.result::<i32>(id).unwrap(), n);
        }
    });
}

#[test]
fn a_job_runs_until_what_its_body_has_captured_is_gone() {
    each(|rt| {
        let clock = ManualClock::new(SystemTime::now());
        let jobs = JobManager::builder(&rt).clock(clock.clone()).build();
        let (dropping, gate) = (Counter::default(), Gate::default());
        let hold = || Holds(dropping.clone(), gate.clone());
        let (held, held_too, held_last) = (hold(), hold(), hold());
        let future = Job::task(move |_: JobContext| {
            let _held = &held;
            async { 1 }
        });
        let closure = Job::blocking(move |_: JobContext| {
            let _held = &held_too;
            1
        });
        let cancelled = Job::blocking(move |_: JobContext| {
            let _held = &held_last;
            1
        });
        let second = Duration::from_secs(1);
        let ids = [
            jobs.submit(future.timeout(second)).unwrap().id(),
            jobs.submit(closure.timeout(second)).unwrap().id(),
        ];
        let cancelled = jobs.submit(cancelled.retry(soon(3))).unwrap().id();
        eventually("all are being dropped", || dropping.get() == 3);
        for id in ids {
            assert_eq!(jobs.status(id).unwrap().state, JobState::Running);
            let result = jobs.result::<i32>(id);
            assert!(matches!(
                result,
                Err(ResultError::Unfinished(_, JobState::Running))
            ));
        }
        // They have given their value in time, and are not asked to end any more.
        clock.advance(10 * second);
        assert_eq!(jobs.cancel(cancelled), Ok(CancelOutcome::Requested));
        gate.open();
        for id in ids {
            assert_eq!(jobs.wait(id).wait().unwrap().state, JobState::Completed);
            assert_eq!(jobs.result::<i32>(id).unwrap(), 1);
        }
        let end = jobs.wait(cancelled).wait().unwrap();
        assert_eq!((end.state, end.attempt), (JobState::Cancelled, 1));
        assert!(jobs.retry(cancelled).unwrap_err().is_once());
    });
}

#[test]
fn who_waits_for_a_job_waits_until_what_it_has_captured_is_gone() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let (dropping, gate) = (Counter::default(), Gate::default());
        let held = Holds(dropping.clone(), gate.clone());
        let id = jobs.submit(move || drop(held)).unwrap().id();
        let canceller = {
            let jobs = jobs.clone();
            std::thread::spawn(move || jobs.cancel(id).unwrap())
        };
        eventually("it is being dropped", || dropping.get() == 1);
        assert_eq!(jobs.status(id).unwrap().state, JobState::Cancelled);
        let mut wait = pin!(jobs.wait(id).into_future());
        assert!(rt.block_on(poll_once(wait.as_mut())).is_pending());
        gate.open();
        let ended = run(&rt, wait).unwrap();
        assert_eq!(ended.state, JobState::Cancelled);
        assert_eq!(canceller.join().unwrap(), CancelOutcome::Cancelled);
    });
}

#[test]
fn failures_and_panics_keep_what_they_say() {
    each(|rt| {
        let jobs = manager(&rt);
        let failed = jobs
            .submit(|| Err::<(), _>(std::io::Error::other("broken")))
            .unwrap();
        let id = failed.id();
        let error = failed.wait().unwrap_err();
        assert_eq!(error.message(), "broken");
        assert!(error.downcast_ref::<std::io::Error>().is_some());
        assert_eq!(jobs.status(id).unwrap().error.as_deref(), Some("broken"));

        let panics = |job: Result<(), JobError>| {
            let error = job.unwrap_err();
            assert!(error.is_panic() && error.state() == JobState::Failed);
            assert_eq!(error.message(), "dropped a cup");
            let payload = error.into_panic().unwrap();
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"dropped a cup"));
        };
        panics(
            jobs.submit(|| -> () { panic_quietly("dropped a cup") })
                .unwrap()
                .wait(),
        );
        panics(
            jobs.submit(async {
                if true {
                    panic_quietly("dropped a cup")
                }
            })
            .unwrap()
            .wait(),
        );
        assert_eq!(jobs.submit(|| 1).unwrap().wait().unwrap(), 1);
    });
}

#[test]
fn a_job_is_tried_again_as_its_retry_says() {
    each(|rt| {
        let jobs = manager(&rt);
        let second = |job: JobContext| match job.attempt() {
            1 => Err("not yet"),
            n => Ok(n),
        };
        let closure = jobs.submit(Job::blocking(second).retry(soon(3))).unwrap();
        let future = jobs
            .submit(Job::task(move |job| async move { second(job) }).retry(soon(3)))
            .unwrap();
        for job in [closure, future] {
            let id = job.id();
            assert_eq!(job.wait().unwrap(), 2);
            let status = jobs.status(id).unwrap();
            let states: Vec<_> = status.attempts.iter().map(|a| a.state).collect();
            assert_eq!(states, [JobState::Failed, JobState::Completed]);
            assert_eq!(status.attempts[0].error.as_deref(), Some("not yet"));
        }

        let tried = Counter::default();
        let count = tried.clone();
        let hopeless =
            Job::blocking(move |_| -> Result<(), String> { Err(format!("{} times", count.add())) });
        let job = jobs.submit(hopeless.retry(soon(3))).unwrap();
        let id = job.id();
        assert_eq!(job.wait().unwrap_err().message(), "3 times");
        jobs.retry(id).unwrap();
        let status = jobs.wait(id).wait().unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Failed, 4));
        let once = jobs.submit(|| Err::<(), _>("once")).unwrap().id();
        jobs.wait(once).wait().unwrap();
        assert!(jobs.retry(once).unwrap_err().is_once());
    });
}

#[test]
fn a_job_that_says_nothing_is_tried_again_as_its_manager_says() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).retry(soon(3)).build();
        let attempts = |id| {
            let end = jobs.wait(id).wait().unwrap();
            (end.state, end.attempt, end.max_attempts)
        };
        let fails = || Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let says_nothing = jobs.submit(fails()).unwrap().id();
        let future = Job::task(|job: JobContext| async move {
            match job.attempt() {
                3 => Ok(()),
                _ => Err("not yet"),
            }
        });
        let future = jobs.submit(future.name("it")).unwrap().id();
        let fewer = jobs.submit(fails().retry(soon(2))).unwrap().id();
        let never = jobs.submit(fails().retry(Retry::never())).unwrap().id();
        let once = jobs.submit(|| Err::<(), _>("broken")).unwrap().id();
        assert_eq!(attempts(says_nothing), (JobState::Failed, 3, 3));
        assert_eq!(attempts(future), (JobState::Completed, 3, 3));
        assert_eq!(attempts(fewer), (JobState::Failed, 2, 2));
        assert_eq!(attempts(never), (JobState::Failed, 1, 1));
        assert_eq!(attempts(once), (JobState::Failed, 1, 1));
    });
}

#[test]
fn what_waits_and_is_cancelled_never_runs() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let (ran, dropped) = (Counter::default(), Counter::default());
        let (count, held) = (ran.clone(), dropped.on_drop());
        let job = jobs
            .submit(move || {
                let _held = held;
                count.add()
            })
            .unwrap();
        assert_eq!(job.state(), Some(JobState::Queued));
        assert_eq!(job.cancel(), Some(CancelOutcome::Cancelled));
        assert_eq!(dropped.get(), 1, "what it captured goes at once");
        assert_eq!(
            job.cancel(),
            Some(CancelOutcome::TooLate(JobState::Cancelled))
        );
        jobs.resume(None);
        assert!(job.wait().unwrap_err().is_cancelled());
        jobs.submit(|| ()).unwrap().wait().unwrap();
        assert_eq!(ran.get(), 0);
    });
}

#[test]
fn a_running_future_is_dropped_and_a_closure_is_asked() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let dropped = Counter::default();
        let held = dropped.on_drop();
        let job = jobs
            .submit(async move {
                let _held = held;
                pending::<()>().await;
            })
            .unwrap();
        eventually("it runs", || job.state() == Some(JobState::Running));
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        assert!(job.wait().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 1);

        let (started, gate) = (Gate::default(), Gate::default());
        let (starts, wait) = (started.clone(), gate.clone());
        let job = jobs
            .submit(move || {
                starts.open();
                wait.wait();
                assert!(cancel::is_cancelled());
            })
            .unwrap();
        let next = jobs.submit(|| ()).unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        let status = job.status().unwrap();
        assert!(status.cancelling && status.state == JobState::Running);
        assert_eq!(next.state(), Some(JobState::Queued), "the slot is held");
        gate.open();
        assert!(job.wait().unwrap_err().is_cancelled());
        next.wait().unwrap();
    });
}

#[test]
fn the_blocking_body_of_a_cancelled_call_holds_its_slot() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let (started, gate) = (Gate::default(), Gate::default());
        let (starts, wait) = (started.clone(), gate.clone());
        let call = rt.call_blocking(move || {
            starts.open();
            wait.wait();
            cancel::is_cancelled()
        });
        let job = jobs.submit(call).unwrap();
        let next = jobs.submit(|| ()).unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        assert!(job.status().unwrap().cancelling);
        assert_eq!(next.state(), Some(JobState::Queued));
        gate.open();
        assert!(job.wait().unwrap_err().is_cancelled());
        next.wait().unwrap();
    });
}

#[test]
fn a_call_is_made_for_each_attempt() {
    each(|rt| {
        let jobs = manager(&rt);
        let calls = rt.clone();
        let job = Job::call_with(move |job: JobContext| {
            let attempt = job.attempt();
            calls.call_blocking(move || match attempt {
                3 => Ok(attempt),
                _ => Err(BoxError::from("not yet")),
            })
        });
        let job = jobs.submit(job.retry(soon(3))).unwrap();
        assert_eq!(job.wait().unwrap(), 3);

        // A panic of the closure is the job's failure.
        let job = Job::call_with(|_: JobContext| -> BoxCall<()> { panic_quietly("no call") });
        assert!(jobs.submit(job).unwrap().wait().unwrap_err().is_panic());
    });
}

#[test]
fn a_cancelled_call_that_was_made_for_its_attempt_holds_its_slot() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let (started, gate) = (Gate::default(), Gate::default());
        let (starts, wait, calls) = (started.clone(), gate.clone(), rt.clone());
        let job = Job::call_with(move |_: JobContext| {
            let (starts, wait) = (starts.clone(), wait.clone());
            calls.call_blocking(move || {
                starts.open();
                wait.wait();
            })
        });
        let job = jobs.submit(job).unwrap();
        let next = jobs.submit(|| ()).unwrap();
        started.wait();
        assert_eq!(job.cancel(), Some(CancelOutcome::Requested));
        assert_eq!(next.state(), Some(JobState::Queued));
        gate.open();
        assert!(job.wait().unwrap_err().is_cancelled());
        next.wait().unwrap();
    });
}

#[test]
fn a_job_that_takes_too_long_has_timed_out() {
    each(|rt| {
        let jobs = manager(&rt);
        let limit = Duration::from_millis(5);
        let future = jobs
            .submit(Job::new(pending::<()>()).timeout(limit))
            .unwrap();
        let closure = Job::new(|| {
            while !cancel::is_cancelled() {
                std::thread::yield_now();
            }
        });
        let closure = jobs.submit(closure.timeout(limit)).unwrap();
        assert!(future.wait().unwrap_err().is_timed_out());
        assert!(closure.wait().unwrap_err().is_timed_out());
        let again = Job::task(|job: JobContext| async move {
            if job.attempt() == 1 {
                pending::<()>().await;
            }
            job.attempt()
        });
        let again = jobs.submit(again.timeout(limit).retry(soon(2))).unwrap();
        assert_eq!(again.wait().unwrap(), 2);
    });
}

#[test]
fn limits_hold_for_all_for_classes_and_for_keys() {
    each(|rt| {
        let jobs = JobManager::builder(&rt)
            .concurrency(3)
            .limit("two", 2)
            .limit_per_key("keyed", 1)
            .build();
        let job = |class: &'static str, now: &Counter, most: &Counter| {
            let (now, most) = (now.clone(), most.clone());
            let task = Job::task(move |_| {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    most.max(now.add());
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    now.sub();
                }
            });
            task.class(class)
        };
        for (class, limit) in [("any", 3), ("two", 2)] {
            let (now, most) = (Counter::default(), Counter::default());
            let handles: Vec<_> = (0..30)
                .map(|_| jobs.submit(job(class, &now, &most)).unwrap())
                .collect();
            for handle in handles {
                handle.wait().unwrap();
            }
            assert!(most.get() <= limit, "{} of {class} at a time", most.get());
        }
        let busy: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
        let handles: Vec<_> = (0..40_u32)
            .map(|n| {
                let (busy, key) = (busy.clone(), n % 4);
                let body = Job::new(async move {
                    assert!(busy.lock().unwrap().insert(key), "two of one key");
                    yield_now().await;
                    busy.lock().unwrap().remove(&key);
                });
                let job = body.class("keyed").key(key.to_string());
                jobs.submit(job).unwrap()
            })
            .collect();
        for handle in handles {
            handle.wait().unwrap();
        }
    });
}

/// The job does not get its old place back.
#[test]
fn what_is_cancelled_and_tried_again_is_the_last_in_line() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        jobs.pause(None);
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        let handles: Vec<_> = (0..3)
            .map(|n| {
                let order = order.clone();
                let job = Job::task(move |_: JobContext| {
                    let order = order.clone();
                    async move { order.lock().unwrap().push(n) }
                });
                jobs.submit(job).unwrap()
            })
            .collect();
        jobs.cancel(handles[0].id()).unwrap();
        jobs.retry(handles[0].id()).unwrap();
        jobs.resume(None);
        for handle in handles {
            run(&rt, handle).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 0]);
    });
}

#[test]
fn priorities_go_first_and_age() {
    each(|rt| {
        let clock = ManualClock::new(SystemTime::now());
        let jobs = JobManager::builder(&rt)
            .concurrency(1)
            .ageing(Duration::from_secs(10))
            .clock(clock.clone())
            .build();
        jobs.pause(None);
        let order: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let submit = |name: &'static str, priority: i8, blocking: bool| {
            let order = order.clone();
            let note = move || order.lock().unwrap().push(name);
            if blocking {
                jobs.submit(Job::new(note).priority(priority)).unwrap()
            } else {
                let job = Job::new(async move { note() });
                jobs.submit(job.priority(priority)).unwrap()
            }
        };
        let mut handles = vec![submit("old", 0, true), submit("second", 0, false)];
        clock.advance(Duration::from_secs(25));
        handles.push(submit("low", -1, true));
        handles.push(submit("too new", 2, false));
        handles.push(submit("urgent", 3, true));
        jobs.resume(None);
        for handle in handles {
            handle.wait().unwrap();
        }
        assert_eq!(
            *order.lock().unwrap(),
            ["urgent", "old", "second", "too new", "low"]
        );
    });
}

#[test]
fn a_full_queue_refuses_or_waits() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).queue_limit(2).build();
        jobs.pause(None);
        let _first = jobs.submit(|| 1).unwrap();
        let second = jobs.submit(|| 2).unwrap();
        let error = jobs.submit(|| 3).unwrap_err();
        assert!(error.is_full() && !error.is_closed());
        let waiting = jobs.submit_when_free(|| 4);
        let task = waiting.spawn();
        second.cancel();
        let fourth = run(&rt, task).unwrap().unwrap();
        jobs.resume(None);
        assert_eq!(fourth.wait().unwrap(), 4);
    });
}

#[test]
fn room_that_its_first_waiter_gives_up_is_the_nexts() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).queue_limit(1).build();
        jobs.pause(None);
        let full = jobs.submit(|| 1).unwrap();
        let waits = || Box::pin(jobs.submit_when_free(|| 2).into_future());
        let (mut first, mut second) = (waits(), waits());
        let third = run(&rt, async {
            assert!(poll_once(first.as_mut()).await.is_pending());
            assert!(poll_once(second.as_mut()).await.is_pending());
            // Wakes the first, which is never polled again.
            full.cancel();
            drop(first);
            second.await
        });
        jobs.resume(None);
        assert_eq!(third.unwrap().wait().unwrap(), 2);
    });
}

#[test]
fn a_job_that_was_forgotten_is_none_of_those_that_are_kept() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).keep(2, Duration::MAX).build();
        let ended = || {
            let id = jobs.submit(|| ()).unwrap().id();
            jobs.wait(id).wait().unwrap();
            id
        };
        let (first, second) = (ended(), ended());
        jobs.forget(second).unwrap();
        let third = ended();
        assert!(jobs.status(first).is_ok() && jobs.status(third).is_ok());
        let _fourth = ended();
        assert!(jobs.status(first).is_err() && jobs.status(third).is_ok());
    });
}

#[test]
fn a_unique_key_is_there_once() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let first = jobs.submit(Job::new(|| 1).unique("it")).unwrap();
        let again = jobs.submit(Job::new(|| 2).unique("it")).unwrap();
        assert_eq!(first.id(), again.id());
        assert!(again.was_there() && !first.was_there());
        let other = jobs.submit(Job::new(|| "text").unique("it"));
        assert!(other.unwrap_err().is_other_type());
        jobs.resume(None);
        assert_eq!(first.wait().unwrap(), 1);
        assert!(again.wait().unwrap_err().is_taken());
        let next = jobs.submit(Job::new(|| 3).unique("it")).unwrap();
        assert_eq!(next.wait().unwrap(), 3);

        let daily = || Unique::key("daily").within(Duration::from_secs(3600));
        let first = jobs.submit(Job::new(|| 1).unique(daily())).unwrap();
        jobs.wait(first.id()).wait().unwrap();
        let again = jobs.submit(Job::new(|| 2).unique(daily())).unwrap();
        assert_eq!(first.id(), again.id(), "also when it has ended");
    });
}

#[test]
fn all_handles_of_a_unique_job_are_told_of_its_end() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(None);
        let submit = || jobs.submit(Job::new(|| 1).unique("it")).unwrap();
        let mut handles = [(); 4].map(|()| Some(submit()));
        let woken = [(); 4].map(|()| Counter::default());
        let look = |handle: &mut JobHandle<i32>, woken: &Counter| {
            let waker = Waker::from(Arc::new(Counts(woken.clone())));
            Pin::new(handle).poll(&mut Context::from_waker(&waker))
        };
        for (handle, woken) in handles.iter_mut().zip(&woken) {
            let handle = handle.as_mut().unwrap();
            assert!(look(handle, woken).is_pending());
            // Once more: it keeps the place that it has already.
            assert!(look(handle, woken).is_pending());
        }
        // The submitter and one of the others give up.
        handles[0] = None;
        handles[2] = None;
        jobs.resume(None);
        for n in [1, 3] {
            eventually("each that waits is woken", || woken[n].get() > 0);
        }
        assert_eq!((woken[0].get(), woken[2].get()), (0, 0));
        let ended = [1, 3].map(|n| match look(handles[n].as_mut().unwrap(), &woken[n]) {
            Poll::Ready(ended) => ended,
            Poll::Pending => panic!("it was woken before its end"),
        });
        assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1);
    });
}

/// Counts how often it is woken.
struct Counts(Counter);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

#[test]
fn a_job_that_is_tried_again_takes_no_key_from_another() {
    each(|rt| {
        let jobs = manager(&rt);
        let keyed = || Job::blocking(|_: JobContext| Err::<(), _>("broken")).unique("it");
        let first = jobs.submit(keyed()).unwrap().id();
        jobs.wait(first).wait().unwrap();
        jobs.pause(None);
        let second = jobs.submit(keyed()).unwrap().id();
        let refused = jobs.retry(first).unwrap_err();
        assert_eq!(refused.unique(), Some(second), "{refused}");
        assert!(jobs.submit(keyed()).unwrap().id() == second);
        jobs.cancel(second).unwrap();
        jobs.retry(first).unwrap();
        jobs.resume(None);
        assert_eq!(jobs.wait(first).wait().unwrap().attempt, 2);
    });
}

#[test]
fn jobs_run_after_those_that_they_depend_on() {
    each(|rt| {
        let jobs = manager(&rt);
        let gate = Gate::default();
        let wait = gate.clone();
        let first = jobs.submit(async move { wait.pass().await }).unwrap();
        let second = jobs.submit(Job::new(|| 2).after([first.id()])).unwrap();
        assert_eq!(second.state(), Some(JobState::Scheduled));
        assert_eq!(second.status().unwrap().waits_for, [first.id()]);
        gate.open();
        assert_eq!(second.wait().unwrap(), 2);

        jobs.pause(None);
        let fails = jobs.submit(|| Err::<(), _>("broken")).unwrap();
        let waits = jobs.submit(Job::new(|| ()).after([fails.id()])).unwrap();
        let last = jobs.submit(Job::new(|| ()).after([waits.id()])).unwrap();
        jobs.resume(None);
        let error = last.wait().unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert!(waits.wait().unwrap_err().message().contains("failed"));
        let late = jobs.submit(Job::new(|| ()).after([fails.id()]));
        assert!(late.unwrap_err().is_dependency());
    });
}

/// Each job ends because the job before it has ended, at the same moment.
#[test]
fn a_chain_of_dependencies_may_be_as_long_as_the_queue() {
    const LENGTH: u64 = 100_000;
    type Output = Result<(), &'static str>;
    fn chain(
        rt: &AnyRuntime,
        first: impl Future<Output = Output> + Send + 'static,
    ) -> (JobManager, JobHandle<()>, JobHandle<()>) {
        let jobs = JobManager::builder(rt).keep(usize::MAX, AGES).build();
        jobs.pause(None);
        let first = jobs.submit(first).unwrap();
        let next = |before| jobs.submit(Job::new(async {}).after([before])).unwrap();
        let mut last = next(first.id());
        for _ in 1..LENGTH {
            last = next(last.id());
        }
        (jobs, first, last)
    }
    let rt = any();
    let (jobs, _, last) = chain(&rt, async { Err("broken") });
    jobs.resume(None);
    assert!(last.wait().unwrap_err().is_cancelled(), "the first fails");
    let counts = jobs.overview().counts;
    assert_eq!((counts.failed, counts.cancelled), (1, LENGTH));

    let (jobs, first, last) = chain(&rt, pending());
    assert_eq!(first.cancel(), Some(CancelOutcome::Cancelled));
    assert!(last.wait().unwrap_err().is_cancelled());
    assert_eq!(jobs.overview().counts.cancelled, LENGTH + 1);

    let (jobs, _, last) = chain(&rt, pending());
    drop(jobs);
    assert!(last.wait().unwrap_err().is_cancelled(), "it is dropped");

    let (jobs, first, last) = chain(&rt, pending());
    jobs.resume(None);
    eventually("the first runs", || {
        first.state() == Some(JobState::Running)
    });
    rt.shutdown(AGES).unwrap();
    assert!(last.wait().unwrap_err().is_cancelled());
    assert_eq!(jobs.overview().counts.cancelled, LENGTH + 1);
}

#[test]
fn events_tell_each_change_in_order() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut events = jobs.subscribe(100);
        let id = jobs.submit(async { yield_now().await }).unwrap().id();
        jobs.wait(id).wait().unwrap();
        let mut states = Vec::new();
        while let Some(event) = events.try_recv() {
            assert_eq!(event.id, id);
            if let EventKind::State { to, .. } = event.kind {
                states.push(to);
            }
        }
        assert_eq!(
            states,
            [JobState::Queued, JobState::Running, JobState::Completed]
        );
        let mut few = jobs.subscribe(2);
        let id = jobs.submit(|| ()).unwrap().id();
        jobs.wait(id).wait().unwrap();
        assert_eq!(few.lost(), 1);
        assert_eq!(few.lost(), 0);
        drop(jobs);
        assert!(few.try_recv().is_some() && few.wait().unwrap().is_some());
        assert!(run(&rt, few.recv()).is_none());
    });
}

#[test]
fn progress_is_seen_while_it_runs_and_afterwards() {
    each(|rt| {
        let jobs = manager(&rt);
        let (told, gate) = (Gate::default(), Gate::default());
        let (tells, wait) = (told.clone(), gate.clone());
        let job = Job::blocking(move |job: JobContext| {
            job.progress(0.5);
            job.message("half way");
            job.count("files", 3);
            tells.open();
            wait.wait();
        });
        let id = jobs.submit(job.name("walk")).unwrap().id();
        told.wait();
        let seen = |status: fourway_jobs::JobStatus| {
            let progress = status.progress.unwrap();
            assert_eq!(progress.fraction, Some(0.5));
            assert_eq!(progress.message.as_deref(), Some("half way"));
            assert_eq!(progress.counters["files"], 3);
        };
        seen(jobs.status(id).unwrap());
        gate.open();
        seen(jobs.wait(id).wait().unwrap());
    });
}

#[test]
fn nothing_happens_to_a_job_after_its_end() {
    each(|rt| {
        let jobs = manager(&rt);
        let mut events = jobs.subscribe(100);
        // The test keeps the context and goes on reporting.
        let kept = jobs.submit(async { Ok::<_, BoxError>(JobContext::current().unwrap()) });
        let kept = kept.unwrap().wait().unwrap();
        kept.progress(0.5);
        kept.message("too late");
        drop(jobs);
        let mut last = None;
        while let Some(event) = events.wait().unwrap() {
            assert_eq!(event.id, kept.id());
            last = Some(event.kind);
        }
        let completed = EventKind::State {
            from: Some(JobState::Running),
            to: JobState::Completed,
        };
        assert_eq!(last, Some(completed));
    });
}

#[test]
fn lists_have_filters_and_pages() {
    each(|rt| {
        let jobs = manager(&rt);
        let ids: Vec<_> = (0..25)
            .map(|n| {
                let job = Job::new(move || n).class(if n % 2 == 0 { "even" } else { "odd" });
                jobs.submit(job.label("n", n.to_string())).unwrap().id()
            })
            .collect();
        for id in &ids {
            jobs.wait(*id).wait().unwrap();
        }
        let mut filter = Filter::new().limit(10);
        let mut seen = Vec::new();
        loop {
            let page = jobs.list(&filter);
            seen.extend(page.jobs.iter().map(|job| job.id));
            let Some(next) = page.next else { break };
            filter = filter.after(next);
        }
        assert!(seen.iter().rev().eq(&ids));
        let odd = Filter::new()
            .class("odd")
            .state(JobState::Completed)
            .oldest_first();
        assert_eq!(jobs.list(&odd).jobs.len(), 12);
        let seven = jobs.list(&Filter::new().label("n", "7")).jobs;
        assert_eq!((seven.len(), seven[0].id), (1, ids[7]));
        assert!(
            jobs.list(&Filter::new().state(JobState::Failed))
                .jobs
                .is_empty()
        );
    });
}

#[test]
fn classes_are_paused_by_themselves() {
    each(|rt| {
        let jobs = manager(&rt);
        jobs.pause(Some("slow"));
        let slow = jobs.submit(Job::new(|| 1).class("slow")).unwrap();
        let quick = jobs.submit(Job::new(|| 2).class("quick")).unwrap();
        assert_eq!(quick.wait().unwrap(), 2);
        assert_eq!(slow.state(), Some(JobState::Queued));
        jobs.resume(Some("slow"));
        assert_eq!(slow.wait().unwrap(), 1);
    });
}

#[test]
fn finished_jobs_are_forgotten_and_handles_keep_their_value() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).keep(10, Duration::MAX).build();
        let mut handles: Vec<_> = (0..50_usize)
            .map(|n| jobs.submit(move || n).unwrap())
            .collect();
        let last = handles.pop().unwrap();
        assert_eq!(last.wait().unwrap(), 49);
        eventually("all end", || jobs.overview().counts.unfinished() == 0);
        assert_eq!(jobs.overview().counts.total(), 10);
        assert_eq!(jobs.overview().ended.completed, 50);
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().unwrap(), n);
        }
    });
}

#[test]
fn a_drain_finishes_or_cancels_and_reports() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let quick: Vec<_> = (0..20)
            .map(|_| jobs.submit(async { yield_now().await }).unwrap().id())
            .collect();
        let report = jobs.drain(AGES).wait();
        assert!(report.is_clean());
        for id in quick {
            assert_eq!(jobs.overview().counts.unfinished(), 0);
            assert_eq!(jobs.status(id).unwrap().state, JobState::Completed);
        }
        assert!(jobs.submit(|| ()).unwrap_err().is_closed());

        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let later = Job::new(|| ()).delay(Duration::from_secs(3600));
        let later = jobs.submit(later).unwrap().id();
        let stuck = jobs.submit(pending::<()>()).unwrap().id();
        let report = jobs.drain(Duration::from_millis(20)).wait();
        assert!(report.is_clean());
        for id in [later, stuck] {
            assert!(report.fates.contains(&(id, JobState::Cancelled)));
        }
        assert_eq!(jobs.drain(AGES).wait(), report, "another one says the same");
    });
}

#[test]
fn two_drains_at_a_time_have_the_same_report() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let gate = Gate::default();
        let wait = gate.clone();
        let runs = jobs.submit(async move { wait.pass().await }).unwrap().id();
        let later = Job::new(|| ()).delay(AGES);
        let later = jobs.submit(later).unwrap().id();
        // One of them is given up.
        let mut given_up = Box::pin(jobs.drain(AGES).into_future());
        assert!(rt.block_on(poll_once(given_up.as_mut())).is_pending());
        let first = jobs.drain(AGES).spawn();
        let second = jobs.drain(AGES).spawn();
        drop(given_up);
        jobs.cancel(later).unwrap();
        gate.open();
        let first = run(&rt, first).unwrap();
        let second = run(&rt, second).unwrap();
        let fates = [(later, JobState::Cancelled), (runs, JobState::Completed)];
        assert_eq!(first.fates, fates);
        assert_eq!(first, second);
    });
}

#[test]
fn a_drain_does_not_wait_for_what_is_paused() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let gate = Gate::default();
        let wait = gate.clone();
        let runs = jobs.submit(async move { wait.pass().await }).unwrap();
        eventually("it runs", || runs.state() == Some(JobState::Running));
        jobs.pause(Some("slow"));
        let paused = jobs.submit(Job::new(|| ()).class("slow")).unwrap();
        let drain = jobs.drain(AGES).spawn();
        eventually("it is closed", || jobs.overview().closed);
        assert_eq!(paused.state(), Some(JobState::Queued));
        gate.open();
        let report = run(&rt, drain).unwrap();
        let fates = [
            (runs.id(), JobState::Completed),
            (paused.id(), JobState::Cancelled),
        ];
        assert_eq!(report.fates, fates);

        let jobs = manager(&rt);
        jobs.pause(None);
        let (later, queued) = (Job::new(|| ()).delay(AGES), || ());
        let ids = [
            jobs.submit(later).unwrap().id(),
            jobs.submit(queued).unwrap().id(),
        ];
        let report = jobs.drain(AGES).wait();
        assert_eq!(report.fates, ids.map(|id| (id, JobState::Cancelled)));
    });
}

#[test]
fn dropping_the_manager_is_quiet_and_says_what_it_gave_up() {
    each(|rt| {
        let report: Arc<Mutex<Option<fourway_jobs::DropReport>>> = Arc::default();
        let told = report.clone();
        let jobs = JobManager::builder(&rt)
            .on_drop(move |report| *told.lock().unwrap() = Some(report))
            .build();
        let runs = jobs.submit(pending::<()>()).unwrap();
        eventually("it runs", || runs.state() == Some(JobState::Running));
        let waits = jobs.submit(Job::new(|| ()).delay(AGES)).unwrap();
        let expected = vec![runs.id(), waits.id()];
        rt.block_on(async { drop(jobs) });
        assert_eq!(report.lock().unwrap().take().unwrap().given_up, expected);
        assert!(runs.wait().unwrap_err().is_cancelled());
        assert!(waits.wait().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_batch_tells_when_all_have_ended() {
    each(|rt| {
        let jobs = manager(&rt);
        let called = Counter::default();
        let calls = called.clone();
        let mut batch = jobs.batch();
        for n in 0..10 {
            let job = Job::new(move || if n == 3 { Err("three") } else { Ok(n) });
            drop(batch.add(job).unwrap());
        }
        batch.on_end(move |report| {
            assert_eq!(report.counts.failed, 1);
            calls.add();
        });
        let report = run(&rt, batch.end());
        assert_eq!((report.counts.completed, report.others.len()), (9, 1));
        assert_eq!(called.get(), 1);
        assert_eq!(run(&rt, jobs.batch().end()).counts.total(), 0);
    });
}

#[test]
fn a_batch_waits_for_a_job_that_is_tried_again() {
    each(|rt| {
        let jobs = manager(&rt);
        let (other, again) = (Gate::default(), Gate::default());
        let called = Counter::default();
        let calls = called.clone();
        let mut batch = jobs.batch();
        let (pass, pass_again) = (other.clone(), again.clone());
        let waits = Job::new(async move { pass.pass().await });
        let fails = Job::task(move |job: JobContext| {
            let again = pass_again.clone();
            async move {
                if job.attempt() == 1 {
                    return Err("the first attempt fails");
                }
                again.pass().await;
                Ok(())
            }
        });
        let waits = batch.add(waits).unwrap().id();
        let fails = batch.add(fails).unwrap().id();
        batch.on_end(move |_| {
            calls.add();
        });
        let mut end = pin!(batch.end());
        assert_eq!(jobs.wait(fails).wait().unwrap().state, JobState::Failed);
        jobs.retry(fails).unwrap();
        other.open();
        jobs.wait(waits).wait().unwrap();
        assert!(rt.block_on(poll_once(end.as_mut())).is_pending());
        assert_eq!(called.get(), 0, "one of two is tried again");
        again.open();
        let report = run(&rt, end);
        assert_eq!((report.counts.completed, report.counts.total()), (2, 2));
        assert_eq!((report.others, called.get()), (vec![], 1));

        // All have ended: later changes have no effect.
        let mut batch = jobs.batch();
        let fails = Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let fails = batch.add(fails).unwrap().id();
        jobs.wait(fails).wait().unwrap();
        let end = batch.end();
        jobs.pause(None);
        jobs.retry(fails).unwrap();
        let report = run(&rt, end);
        assert_eq!(report.others, [(fails, JobState::Failed)]);
        jobs.resume(None);
        assert_eq!(jobs.wait(fails).wait().unwrap().attempt, 2);
    });
}

#[test]
fn a_shutdown_of_the_runtime_ends_every_job() {
    for (name, rt) in fourway_testing::runtimes() {
        eprintln!("on {name}");
        let jobs = JobManager::builder(&rt).concurrency(2).build();
        let stuck = [(); 3].map(|()| jobs.submit(pending::<()>()).unwrap());
        eventually("two run", || jobs.overview().counts.running == 2);
        let closure = jobs.submit(|| ()).unwrap();
        if rt.shutdown(AGES).is_err() {
            // One runtime is global, and the other cannot shut down its threads.
            assert!(["smol, global", "ten lines"].contains(&name));
            continue;
        }
        for handle in stuck {
            assert!(handle.wait().unwrap_err().is_cancelled());
        }
        assert!(closure.wait().unwrap_err().is_cancelled());
        let late = jobs.submit(|| ());
        assert!(late.is_err() || late.unwrap().wait().is_err());
    }
}
