//! Limits, priorities, pauses and room in the queue.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fourway_core::{Call, Offload, yield_now};
use fourway_jobs::{Job, JobContext, JobManager, JobState, ManualClock};
use fourway_std_thread::StdThread;
use fourway_testing::{Counter, Gate, each, eventually, poll_once, run};

use super::manager;

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

/// A waiter is woken for a place and finds its key taken, or its dependency failed. The next one
/// gets the place.
#[test]
fn room_that_its_waiter_does_not_need_is_the_nexts() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).queue_limit(2).build();
        let failed = jobs.submit(|| Err::<(), _>("broken")).unwrap().id();
        jobs.wait(failed).wait().unwrap();
        jobs.pause(None);
        let waits = |job| Box::pin(jobs.submit_when_free(job).into_future());
        let work = || 2;
        let plain = || Job::new(work);
        let full = [(); 2].map(|()| jobs.submit(plain()).unwrap());
        let jobs_that_wait = [
            plain().unique("key"),
            plain().unique("key"),
            plain(),
            plain().after([failed]),
            plain(),
        ];
        let [mut first, mut same, mut second, mut after, mut third] = jobs_that_wait.map(waits);
        run(&rt, async {
            for call in [&mut first, &mut same, &mut second, &mut after, &mut third] {
                assert!(poll_once(call.as_mut()).await.is_pending());
            }
            full[0].cancel();
            let first = first.await.unwrap();
            full[1].cancel();
            assert_eq!(same.await.unwrap().id(), first.id());
            drop(second.await.unwrap());
            first.cancel();
            assert!(after.await.unwrap_err().is_dependency());
            drop(third.await.unwrap());
        });
    });
}

/// Also of a job that has left the queue, if no thread of the pool was there for it.
#[test]
fn a_pause_holds_each_job_that_has_not_started() {
    let rt = StdThread::builder().offload_limit(1).build().unwrap();
    for class in [None, Some("slow")] {
        let jobs = JobManager::builder(&rt).concurrency(16).build();
        jobs.pause(None);
        let (gate, order) = (Gate::default(), Arc::<Mutex<Vec<u32>>>::default());
        let closures: Vec<_> = (0..6)
            .map(|n| {
                let (gate, order) = (gate.clone(), order.clone());
                let job = Job::new(move || {
                    order.lock().unwrap().push(n);
                    gate.wait();
                });
                let job = jobs
                    .submit(job.class("slow").key((n % 2).to_string()))
                    .unwrap();
                // A worker for futures takes the closure, too.
                (job, jobs.submit(async {}).unwrap())
            })
            .collect();
        jobs.resume(None);
        let (closures, futures): (Vec<_>, Vec<_>) = closures.into_iter().unzip();
        for job in futures {
            job.wait().unwrap();
        }
        eventually("the first one runs", || order.lock().unwrap().len() == 1);
        let first = order.lock().unwrap()[0];
        jobs.pause(class);
        assert_eq!(jobs.overview().counts.queued, 5);
        gate.open();
        jobs.wait(closures[first as usize].id()).wait().unwrap();
        // They come to the pool after whoever had been called for the closures.
        for _ in 0..10 {
            run(&rt, rt.offload(|| ())).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [first]);
        if class.is_some() {
            // They hold no room that others may use.
            let others: Vec<_> = (0..16).map(|_| jobs.submit(|| ()).unwrap()).collect();
            for job in others {
                job.wait().unwrap();
            }
        }
        jobs.resume(class);
        for job in closures {
            job.wait().unwrap();
        }
        // In their order, as if they had never left the queue.
        let order = order.lock().unwrap().clone();
        let rest: Vec<_> = (0..6).filter(|n| *n != first).collect();
        assert_eq!(order[1..], rest);
    }
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
fn classes_are_forgotten_with_their_last_jobs() {
    each(|rt| {
        let jobs = JobManager::builder(&rt)
            .keep(5, Duration::MAX)
            .limit("limited", 1)
            .build();
        let classes = || {
            let classes = jobs.overview().classes.into_iter();
            classes.map(|class| class.name).collect::<Vec<_>>()
        };
        // One at a time, and many that wait, of whom half are cancelled in line.
        for n in 0..100 {
            let job = Job::new(|| ()).class(format!("user {n}"));
            jobs.submit(job).unwrap().wait().unwrap();
        }
        let users = classes();
        assert_eq!(users[0], "limited", "it has a setting");
        assert_eq!(users.len(), 6, "those of the jobs that are kept: {users:?}");
        assert_eq!(users[5], "user 99", "in the order of their first use");

        jobs.pause(None);
        let waiting: Vec<_> = (0..100)
            .map(|n| {
                let job = Job::new(|| ()).class(format!("customer {n}"));
                jobs.submit(if n % 2 == 0 { job.key("key") } else { job })
                    .unwrap()
            })
            .collect();
        for job in &waiting[..50] {
            job.cancel();
        }
        // Numbers of forgotten classes are used again, and hold nothing of the cancelled jobs.
        let ran = Counter::default();
        let others: Vec<_> = (0..50)
            .map(|n| {
                let ran = ran.clone();
                let job = Job::new(move || ran.add()).class(format!("other {n}"));
                jobs.submit(job).unwrap()
            })
            .collect();
        jobs.resume(None);
        for job in waiting.into_iter().skip(50) {
            job.wait().unwrap();
        }
        for job in others {
            job.wait().unwrap();
        }
        assert_eq!(ran.get(), 50);
        assert!(classes().len() <= 6, "{:?}", classes());

        jobs.pause(Some("paused"));
        assert!(classes().contains(&"paused".to_owned()));
        jobs.resume(Some("paused"));
        assert!(!classes().contains(&"paused".to_owned()));
    });
}

/// The inbox's jobs wait there while older ones run, but not if they are to go first.
#[test]
fn a_job_that_has_just_arrived_overtakes_those_in_line() {
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let (runs, gate) = (Gate::default(), Gate::default());
        let (run, wait) = (runs.clone(), gate.clone());
        // So that the only dispatcher is at work, and the inbox is open.
        let first = jobs.submit(async move {
            run.open();
            wait.wait();
        });
        runs.wait();
        let submit = |name: &'static str, priority| {
            let order = order.clone();
            let job = Job::new(async move { order.lock().unwrap().push(name) });
            jobs.submit(job.priority(priority)).unwrap()
        };
        let mut others = vec![submit("plain", 0)];
        // Moves what has arrived into the line.
        assert_eq!(jobs.overview().counts.queued, 1);
        others.push(submit("late", 0));
        others.push(submit("urgent", 5));
        gate.open();
        first.unwrap().wait().unwrap();
        for job in others {
            job.wait().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["urgent", "plain", "late"]);

        // A job of a low priority is in line, and a later one arrives.
        let (runs, gate) = (Gate::default(), Gate::default());
        let (run, wait) = (runs.clone(), gate.clone());
        let first = jobs.submit(async move {
            run.open();
            wait.wait();
        });
        runs.wait();
        let low = submit("low", -5);
        assert_eq!(jobs.overview().counts.queued, 1);
        let plain = submit("plain", 0);
        gate.open();
        first.unwrap().wait().unwrap();
        low.wait().unwrap();
        plain.wait().unwrap();
        assert_eq!(order.lock().unwrap()[3..], ["plain", "low"]);
    });
}

/// Workers take a long backlog in parts. Nobody can tell: each look finds all of it, its order is
/// kept, and an urgent job that comes last goes first.
#[test]
fn a_backlog_is_taken_in_parts() {
    const BACKLOG: usize = 500;
    each(|rt| {
        let jobs = JobManager::builder(&rt).concurrency(1).build();
        let order: Arc<Mutex<Vec<usize>>> = Arc::default();
        let submit = |number: usize, priority| {
            let order = order.clone();
            let job = Job::new(async move { order.lock().unwrap().push(number) });
            jobs.submit(job.priority(priority)).unwrap()
        };
        let hold = || {
            let (runs, gate) = (Gate::default(), Gate::default());
            let (run, wait) = (runs.clone(), gate.clone());
            let held = jobs.submit(async move {
                run.open();
                wait.wait();
            });
            (held.unwrap(), runs, gate)
        };
        // The only dispatcher is at work, and the inbox is open; then it has taken a part of the
        // backlog, and is at work again.
        let (first, runs, gate) = hold();
        runs.wait();
        let mut others: Vec<_> = (0..100).map(|number| submit(number, 0)).collect();
        let (second, later_runs, later_gate) = hold();
        others.extend((100..BACKLOG).map(|number| submit(number, 0)));
        gate.open();
        first.wait().unwrap();
        later_runs.wait();
        others.push(submit(BACKLOG, 0));
        others.push(submit(BACKLOG + 1, 5));
        let cancelled = submit(BACKLOG + 2, 0);
        let waiting = (BACKLOG - 100 + 3) as u64;
        assert_eq!(jobs.overview().counts.queued, waiting);
        assert_eq!(cancelled.state(), Some(JobState::Queued));
        cancelled.cancel();
        assert_eq!(cancelled.state(), Some(JobState::Cancelled));
        assert_eq!(jobs.overview().counts.queued, waiting - 1);
        later_gate.open();
        second.wait().unwrap();
        for job in others {
            job.wait().unwrap();
        }
        let urgent = BACKLOG + 1;
        let expected = (0..100).chain([urgent]).chain(100..=BACKLOG);
        assert_eq!(*order.lock().unwrap(), expected.collect::<Vec<_>>());
        assert!(cancelled.wait().is_err());
    });
}
