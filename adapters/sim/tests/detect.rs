//! The findings of a simulation, and its report.

use std::{
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task as _, Timer, yield_now};
use fourway_sim::{Builder, Check, Failure, FailureKind, Faults, Sim, Strategy, Wait};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn fails(builder: Builder, main: impl FnOnce(Sim) + Send + 'static) -> Box<Failure> {
    let ran = builder.build().unwrap().try_run(main);
    ran.map(|run| run.output).expect_err("it is to fail")
}

#[test]
fn a_deadlock_says_who_waits_for_whom() {
    let failure = fails(Sim::builder(), |rt| {
        let (give, take) = mpsc::channel::<fourway_sim::Task<()>>();
        let take = Mutex::new(take);
        let first = rt.spawn_named("first", async move {
            let second = loop {
                if let Ok(second) = take.lock().unwrap().try_recv() {
                    break second;
                }
                yield_now().await;
            };
            second.await.unwrap();
        });
        let second = rt.spawn_named("second", async move { first.await.unwrap() });
        give.send(second).unwrap();
        rt.block_on(pending::<()>());
    });
    assert!(matches!(&failure.kind, FailureKind::Deadlock { lost } if lost.is_empty()));
    let waits = |name: &str| {
        let unit = failure
            .trace
            .units()
            .iter()
            .find(|unit| unit.name.as_deref() == Some(name));
        let id = unit.expect("it was started").id;
        let waiting = failure.waiting.iter().find(|waiting| waiting.unit == id);
        (id, waiting.expect("it waits").waits.clone())
    };
    let ((first, for_first), (second, for_second)) = (waits("first"), waits("second"));
    assert_eq!(for_first, [Wait::Join(second)]);
    assert_eq!(for_second, [Wait::Join(first)]);
    let text = failure.to_string();
    assert!(
        text.contains("task 1 `first` (adapters/sim/tests/detect.rs:"),
        "{text}"
    );
    assert!(text.contains("waits for task 2 `second`"), "{text}");
}

#[test]
fn a_lost_wake_is_told_from_a_deadlock() {
    let failure = fails(Sim::builder(), |rt| {
        let ready = Arc::new(AtomicBool::new(false));
        let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (seen, keeps) = (ready.clone(), kept.clone());
        let task = rt.spawn(poll_fn(move |cx| {
            if seen.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            *keeps.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        }));
        rt.block_on(rt.sleep(MS));
        // It is ready, but no wake says so.
        ready.store(true, Ordering::Relaxed);
        task.wait().unwrap();
    });
    assert!(matches!(&failure.kind, FailureKind::Deadlock { lost } if lost.len() == 1));
    assert!(failure.to_string().contains("lost wake"), "{failure}");
}

#[test]
fn polls_without_progress_are_a_livelock() {
    let failure = fails(Sim::builder().livelock(10_000), |rt| {
        rt.block_on(async {
            loop {
                yield_now().await;
            }
        });
    });
    assert!(
        matches!(failure.kind, FailureKind::Livelock { .. }),
        "{failure}"
    );
    // With time that passes it is none.
    Sim::builder().livelock(10_000).build().unwrap().run(|rt| {
        for _ in 0..30 {
            rt.block_on(async {
                for _ in 0..1000 {
                    yield_now().await;
                }
                rt.sleep(MS).await;
            });
        }
    });
}

#[test]
fn a_run_may_be_too_long() {
    let failure = fails(Sim::builder().max_steps(500), |rt| {
        rt.block_on(async {
            loop {
                rt.sleep(MS).await;
            }
        });
    });
    assert!(
        matches!(failure.kind, FailureKind::Steps { limit: 500, .. }),
        "{failure}"
    );
}

#[test]
fn no_task_is_polled_at_the_limit_of_steps_while_a_unit_holds_a_lock() {
    let failure = fails(Sim::builder().max_steps(500), |rt| {
        let lock = Arc::new(Mutex::new(()));
        let taken = lock.clone();
        // Somebody has its waker, so that it is not lost.
        let mut kept: Vec<Waker> = Vec::new();
        let waits = rt.spawn(poll_fn(move |cx| {
            kept.push(cx.waker().clone());
            drop(taken.lock().unwrap());
            Poll::<()>::Pending
        }));
        rt.block_on(rt.sleep(MS));
        let held = lock.lock().unwrap();
        for _ in 0..1000 {
            rt.spawn(async {}).detach();
        }
        drop(held);
        drop(waits);
    });
    assert!(
        matches!(&failure.kind, FailureKind::Steps { lost, .. } if lost.is_empty()),
        "{failure}"
    );
}

/// Others wake up for ever, so that there is always a timer.
fn ticks(rt: &Sim) {
    let inner = rt.clone();
    rt.spawn_named("ticker", async move {
        loop {
            inner.sleep(MINUTE).await;
        }
    })
    .detach();
}

/// It goes on once `ready` is set, if somebody wakes it then.
fn waits_for(rt: &Sim, ready: &Arc<AtomicBool>) -> fourway_sim::Task<()> {
    let ready = ready.clone();
    // Somebody has its waker, and does nothing with it.
    let mut kept: Vec<Waker> = Vec::new();
    rt.spawn(poll_fn(move |cx| {
        kept.push(cx.waker().clone());
        if ready.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        Poll::Pending
    }))
}

#[test]
fn a_deadlock_is_found_although_others_wake_up_again_and_again() {
    // Whatever the limit, which is 100 days by default.
    for builder in [Sim::builder(), Sim::builder().stuck_after(HOUR)] {
        let failure = fails(builder, |rt| {
            ticks(&rt);
            let never = rt.spawn_named("never", pending::<()>());
            // Nobody could wake it any more, otherwise.
            let waits = rt.spawn_named("waits", async move { never.await.unwrap() });
            let inner = rt.clone();
            let closure = rt.offload(move || inner.block_on(waits));
            let _ = closure.wait();
        });
        assert!(
            matches!(&failure.kind, FailureKind::Stuck { lost, .. } if lost.is_empty()),
            "{failure}"
        );
        let text = failure.to_string();
        assert!(text.contains("stuck: main waits since "), "{text}");
    }
}

#[test]
fn a_lost_wake_is_found_although_others_wake_up_again_and_again() {
    let main = |rt: Sim| {
        ticks(&rt);
        let ready = Arc::default();
        let task = waits_for(&rt, &ready);
        rt.block_on(rt.sleep(MS));
        ready.store(true, Ordering::Relaxed);
        let _ = task.wait();
    };
    let failure = fails(Sim::builder().stuck_after(HOUR), main);
    assert!(
        matches!(&failure.kind, FailureKind::Stuck { lost, .. } if lost.len() == 1),
        "{failure}"
    );
    assert!(
        failure.to_string().contains("A wake is lost: task 2"),
        "{failure}"
    );
    // Or else when there were too many steps.
    let failure = fails(Sim::builder().max_steps(2000), main);
    assert!(
        matches!(&failure.kind, FailureKind::Steps { lost, .. } if lost.len() == 1),
        "{failure}"
    );
}

#[test]
fn who_waits_for_long_for_somebody_who_goes_on_is_not_stuck() {
    let builder = Sim::builder().stuck_after(HOUR);
    Check::default().seeds(20).with(builder).run(|rt| {
        ticks(&rt);
        // At the end of the line is a timer.
        let sleeps = rt.sleep(24 * HOUR);
        let (first, second) = (rt.spawn(sleeps), rt.clone());
        let closure = rt.offload(move || second.block_on(first));
        closure.wait().unwrap().unwrap();
        // Somebody in the line has turns.
        let inner = rt.clone();
        let busy = rt.spawn(async move {
            for _ in 0..1000 {
                inner.sleep(MINUTE).await;
            }
        });
        rt.spawn(async move { busy.await.unwrap() }).wait().unwrap();
        // Of several, and of more than are kept, the last one.
        for count in [3, 25] {
            let tasks: Vec<_> = (1..=count)
                .map(|n| {
                    let long = if n == count { 24 * HOUR } else { MS };
                    rt.spawn(rt.sleep(long))
                })
                .collect();
            rt.block_on(futures_util::future::join_all(tasks));
        }
    });
}

#[test]
fn what_is_left_may_be_a_failure() {
    let main = |rt: Sim| {
        let inner = rt.clone();
        rt.spawn(async move { inner.sleep(MS).await }).detach();
    };
    let failure = fails(Sim::builder().deny_leftovers(true), main);
    assert!(matches!(&failure.kind, FailureKind::Leftovers { units } if units.len() == 1));
    Sim::new(0).run(main);
}

#[test]
fn block_on_in_async_code_is_found_whatever_becomes_of_the_error() {
    let main = |rt: Sim| {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let _ = inner.try_block_on(async {});
        });
        task.wait().unwrap();
    };
    let failure = fails(Sim::builder(), main);
    assert!(
        matches!(failure.kind, FailureKind::NestedBlockOn { .. }),
        "{failure}"
    );
    assert!(failure.to_string().contains("detect.rs:"), "{failure}");
    let allowed = Sim::builder().allow_nested_block_on(true).build().unwrap();
    allowed.run(main);
}

#[test]
fn a_wait_for_something_unknown_ends_the_run() {
    let limit = Duration::from_millis(200);
    let failure = fails(Sim::builder().foreign_limit(limit), |rt| {
        // No message will ever come.
        let (sender, receiver) = mpsc::channel::<()>();
        let closure = rt.offload(move || receiver.recv().is_ok());
        let _ = closure.wait();
        drop(sender);
    });
    assert!(
        matches!(
            failure.kind,
            FailureKind::ForeignBlock { unit: Some(_), .. }
        ),
        "{failure}"
    );
    assert!(failure.to_string().contains("closure 1"), "{failure}");
}

#[test]
fn a_thread_that_is_not_the_simulations_is_found_and_may_be_allowed() {
    let main = |rt: Sim| {
        let inner = rt.clone();
        let thread = std::thread::spawn(move || inner.spawn(async { 1 }).detach());
        thread.join().unwrap();
        rt.block_on(rt.sleep(MS));
    };
    let failure = fails(Sim::builder(), main);
    assert!(
        matches!(failure.kind, FailureKind::ForeignThread { .. }),
        "{failure}"
    );
    Sim::builder()
        .foreign_threads(true)
        .build()
        .unwrap()
        .run(main);
}

#[test]
fn what_depends_on_more_than_the_seed_is_found() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let checked = Check::default().seeds(1).twice(true).try_run(|rt| {
        for _ in 0..RUNS.fetch_add(1, Ordering::Relaxed) {
            rt.spawn(async {}).detach();
        }
    });
    let failure = checked.unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::NonDeterminism { .. }),
        "{failure}"
    );
}

/// Each reads, gives way, and writes: an update is lost if another one comes in between.
fn racy(rt: Sim) {
    let value = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let value = value.clone();
            rt.spawn(async move {
                let read = value.load(Ordering::Relaxed);
                yield_now().await;
                value.store(read + 1, Ordering::Relaxed);
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    // Without the panic hook: it fails on purpose, many times.
    if value.load(Ordering::Relaxed) != 3 {
        std::panic::resume_unwind(Box::new("an update was lost"));
    }
}

#[test]
fn a_failure_is_shortened_written_and_replayed() {
    let folder = std::env::temp_dir().join(format!("fourway-sim-{}", std::process::id()));
    let failure = Check::default()
        .directory(&folder)
        .try_run(racy)
        .unwrap_err();
    let shortened = failure.shortened.as_ref().expect("it was shortened");
    assert!(shortened.preemptions <= failure.trace.preemptions());
    assert!(shortened.preemptions <= 2, "{failure}");
    // The strategies of the report, and what it writes.
    let again = |strategy: Strategy| {
        let sim = Sim::builder()
            .seed(failure.seed)
            .strategy(strategy)
            .build()
            .unwrap();
        let failed = sim.try_run(racy).map(|run| run.output);
        failed.expect_err("it fails again").trace.hash()
    };
    assert_eq!(again(failure.strategy.clone()), failure.trace.hash());
    let replay = Strategy::Replay(shortened.schedule.clone());
    assert_eq!(again(replay), shortened.trace.hash());
    let text = failure.to_string();
    assert!(text.contains("cargo test -p fourway-sim"), "{text}");
    let mut pages = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.contains("an update was lost"), "{}", path.display());
        if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            pages += 1;
            assert!(written.contains("<svg") && !written.contains("<script"));
        }
    }
    assert_eq!(pages, 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn depth_first_sees_every_schedule_of_a_small_program() {
    let outcomes: Arc<Mutex<std::collections::BTreeSet<Vec<u32>>>> = Arc::default();
    let seen = outcomes.clone();
    let checked = Check::default()
        .seeds(10_000)
        .strategies([Strategy::DepthFirst])
        .run(move |rt| {
            let order: Arc<Mutex<Vec<u32>>> = Arc::default();
            let tasks: Vec<_> = (0..3)
                .map(|n| {
                    let order = order.clone();
                    rt.spawn(async move { order.lock().unwrap().push(n) })
                })
                .collect();
            for task in tasks {
                task.wait().unwrap();
            }
            let order = order.lock().unwrap().clone();
            seen.lock().unwrap().insert(order);
        });
    assert!(checked.exhausted, "{checked:?}");
    assert_eq!(
        outcomes.lock().unwrap().len(),
        6,
        "every order of three tasks"
    );
}

#[test]
fn code_that_is_not_cancel_safe_is_found_by_cancelling_it() {
    // A message is taken out, and lost if the task goes at the await after it.
    let main = |rt: Sim| {
        let queue = Arc::new(Mutex::new(vec![1, 2, 3]));
        let sum = Arc::new(AtomicUsize::new(0));
        loop {
            let (inner, from, to) = (rt.clone(), queue.clone(), sum.clone());
            let reader = rt.spawn_named("reader", async move {
                loop {
                    let Some(message) = from.lock().unwrap().pop() else {
                        return;
                    };
                    inner.sleep(MS).await;
                    to.fetch_add(message, Ordering::Relaxed);
                }
            });
            if reader.wait().is_ok() {
                break;
            }
        }
        if sum.load(Ordering::Relaxed) != 6 {
            std::panic::resume_unwind(Box::new("a message was lost"));
        }
    };
    let check = || Check::default().seeds(50).shorten(false);
    check().run(main);
    let faults = Faults::none().cancel(200, ["reader"]);
    let failed = check().with(Sim::builder().faults(faults)).try_run(main);
    assert!(failed.is_err());
}

#[test]
fn faults_happen_and_the_run_goes_on() {
    let faults = Faults::none()
        .slow(100, 5 * MS)
        .panic(50)
        .stall(50, 100 * MS)
        .shutdown(500);
    let builder = Sim::builder().faults(faults);
    let seen = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    for seed in 0..60 {
        let run = builder.clone().seed(seed).build().unwrap().try_run(|rt| {
            for _ in 0..10 {
                let inner = rt.clone();
                let task = rt.spawn(async move {
                    let closure = inner.offload(|| fourway_sim::point());
                    inner.sleep(MS).await;
                    closure.await
                });
                // In each case there is an answer.
                let _ = task.wait();
            }
            let _ = rt.status();
        });
        let run = run.unwrap_or_else(|failure| panic!("{failure}"));
        for event in run.trace.events() {
            if let fourway_sim::Action::Fault(fault) = event.action {
                seen.lock().unwrap().insert(fault.to_string());
            }
        }
    }
    assert_eq!(seen.lock().unwrap().len(), 4, "{seen:?}");
}

#[test]
fn each_seed_may_have_a_process_of_its_own() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let checked = Check::default().seeds(4).processes(true).run(|rt| {
        assert_eq!(
            RUNS.fetch_add(1, Ordering::Relaxed),
            0,
            "the static is fresh"
        );
        rt.spawn(async {}).wait().unwrap();
    });
    // Each has reported so, in its own process.
    assert!(matches!(checked.runs, 4 | 1), "{checked:?}");
    assert!(checked.steps > checked.runs, "{checked:?}");
}

#[test]
fn a_process_in_which_nothing_runs_is_no_good_run() {
    let check = Check::default().seeds(1).processes(true);
    let lost = std::thread::Builder::new().name("no_test_has_this_name".into());
    let lost = lost.spawn(move || check.run(|_| ()).runs).unwrap();
    let told = lost.join().expect_err("nothing was run");
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("has not begun"), "{told}");
}

/// A bug that depends on a fault, and on the schedule.
fn slow_and_late(rt: Sim) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks = [0, 1, 2].map(|number| {
        let order = order.clone();
        rt.spawn(async move { order.lock().unwrap().push(number) })
    });
    for task in tasks {
        task.wait().unwrap();
    }
    assert_ne!(*order.lock().unwrap(), [2, 1, 0], "with seed {}", rt.seed());
}

#[test]
fn what_a_depth_first_search_has_found_is_replayed() {
    let faults = Faults::none().slow(300, MS);
    let search = || {
        Check::default()
            .with(Sim::builder().faults(faults.clone()))
            .first_seed(7)
            .strategies([Strategy::DepthFirst])
            .shorten(false)
            .seeds(100_000)
    };
    let failure = search().try_run(slow_and_late).unwrap_err();
    assert_eq!(failure.seed, 7, "one seed for the whole search");
    assert_eq!(failure.strategy, Strategy::DepthFirst);
    let replay = failure.replay();
    let (seed, rest) = replay.split_once(':').unwrap();
    assert!(rest.starts_with("replay-"), "{replay}");
    let choices = failure.trace.choices().to_vec();
    let again = Sim::builder()
        .faults(faults.clone())
        .seed(seed.parse().unwrap())
        .strategy(Strategy::Replay(choices))
        .build()
        .unwrap()
        .try_run(slow_and_late);
    let again = again.unwrap_err();
    assert_eq!(again.trace.hash(), failure.trace.hash());
}

#[test]
fn a_search_that_has_seen_all_has_seen_each_order() {
    let seen = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let all = seen.clone();
    let checked = Check::default()
        .with(Sim::builder().faults(Faults::none().slow(500, MS)))
        .strategies([Strategy::DepthFirst])
        .seeds(100_000)
        .run(move |rt| {
            let order = Arc::new(Mutex::new(Vec::new()));
            let tasks = [0, 1].map(|number| {
                let order = order.clone();
                rt.spawn(async move { order.lock().unwrap().push(number) })
            });
            for task in tasks {
                task.wait().unwrap();
            }
            let order = order.lock().unwrap().clone();
            all.lock().unwrap().insert((rt.seed(), order));
        });
    assert!(checked.exhausted);
    let seeds = seen.lock().unwrap().iter().map(|(seed, _)| *seed).max();
    assert_eq!(seeds, Some(0), "one seed");
}

#[test]
fn who_gives_way_to_what_it_waits_for_is_no_livelock() {
    let main = |rt: Sim| {
        let (sender, receiver) = mpsc::channel();
        let reader = rt.spawn(async move {
            loop {
                if let Ok(number) = receiver.try_recv() {
                    return number;
                }
                yield_now().await;
            }
        });
        let writer = rt.spawn(async move { sender.send(7).unwrap() });
        assert_eq!(reader.wait().unwrap(), 7);
        writer.wait().unwrap();
    };
    Check::default().seeds(40).run(main);
    let search = Check::default().strategies([Strategy::DepthFirst]);
    assert!(search.seeds(100_000).run(main).exhausted);
}

#[fourway_sim::test]
fn tests_may_be_sync(rt: Sim) {
    assert_eq!(rt.spawn(async { 1 }).wait().unwrap(), 1);
}

#[fourway_sim::test(seeds = 10, twice = true, with = Sim::builder().workers(2))]
async fn tests_may_be_async_and_give_a_result(rt: Sim) -> Result<(), fourway_core::JoinError> {
    rt.spawn(async {}).await
}

#[fourway_sim::test(seeds = 1)]
#[should_panic(expected = "the test gave an error: \"on purpose\"")]
async fn errors_fail(_rt: Sim) -> Result<(), &'static str> {
    Err("on purpose")
}
