//! SH-1, orderly shutdown.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Waker,
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, ShutdownReport, Spawner, Task, Timer, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, HookWatch, Puppet, drive, eventually, must, never, on_thread,
        other_runtime, poll_once, receive,
    },
};

use super::{clean, is_shutdown, note_thread, note_threads, spawn_stays, suspended};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SH-1.1", "after the shutdown closures and futures are refused, and said to be",
        "work that goes nowhere without a word", refuses, needs [Shutdown];
        "SH-1.2", "suspended futures are destroyed before shutdown returns",
        "destructors that run after the end of main, or never", destroys_suspended, needs [Shutdown];
        "SH-1.3", "a poll that is running is waited for, and keeps its output if it is ready",
        "work that is torn off in the middle", waits_for_poll, needs [Shutdown];
        "SH-1.4", "a closure that is running is waited for, and keeps its output",
        "threads cannot be cancelled, only left behind", waits_for_closure, needs [Shutdown];
        "SH-1.5", "with no time to wait, a stuck closure is left and reported",
        "concurrent.futures tests it: a stuck job and a timeout of 0", leaves_closure, needs [Shutdown];
        "SH-1.6", "with no time to wait, a stuck poll is left and reported",
        "a shutdown that hangs because one task does", leaves_poll, needs [Shutdown];
        "SH-1.7", "the threads are gone: the destructors of their thread-locals have run",
        "rayon tests it: threads that outlive the runtime crash at exit", threads_gone, needs [Shutdown];
        "SH-1.8", "closures that wait in the queue are dropped at once, counted, and told",
        "Tokio tests it: a queued job at shutdown resolves", drops_queued, needs [Shutdown];
        "SH-1.9", "a second shutdown, and a third on other threads, come out the same",
        "the second call finds nothing to join, and panics or hangs", again, needs [Shutdown];
        "SH-1.10", "in async code shutdown is refused, and does nothing",
        "a worker that waits for itself", in_async, needs [Shutdown];
        "SH-1.11", "a runtime that is not owned refuses, and goes on",
        "whoever borrows a runtime must not end it", not_owned, without [Shutdown];
        "SH-1.12", "in the runtime's own closure it does not hang",
        "a pool thread that waits for itself", in_own_closure, needs [Shutdown];
        "SH-1.13", "a runtime that was never used shuts down",
        "threads that have not started yet", unused, needs [Shutdown];
        "SH-1.14", "the longest time does not overflow, and is not waited for",
        "tokio 4495: huge durations", longest_time, needs [Shutdown];
        "SH-1.15", "a root that waits for tasks and closures goes on, with their errors",
        "a block_on that hangs because its runtime is gone", beside_block_on, needs [Shutdown];
        "SH-1.16", "a destructor that panics at shutdown is contained, and the join has the payload",
        "one bad destructor, and the others never run", destructor_panics, needs [Shutdown];
        "SH-1.17", "sleeping tasks are destroyed, and do not delay it",
        "a timer that is waited for", sleeping, needs [Shutdown];
        "SH-1.18", "a task that wakes itself all the time does not delay it",
        "it is never found suspended", self_waking, needs [Shutdown];
        "SH-1.19", "suspended futures are destroyed while a poll is stuck",
        "everything waits for the slowest", beside_stuck_poll, needs [MultiThreaded, Shutdown];
        "SH-1.20", "queued closures and suspended futures have ended when no time was given",
        "told is not done", ends_without_time, needs [Shutdown];
        "SH-1.21", "the thread that serves a timer which outlives the runtime ends as well",
        "a thread for timers that stays for as long as the process", timer_thread_gone, needs [Shutdown];
        "SH-1.26", "with little time to wait, a timer's waker that is stuck is left",
        "a thread that is joined takes no timeout", leaves_waker, needs [Shutdown];
    ]
}

fn leaves_waker<S: Setup>(s: S) {
    for millis in [2, 50, 500, 5000] {
        let rt = s.build();
        let (begun, go) = (Gate::new(), Gate::new());
        let (waker, _) = CountingWaker::with({
            let (begun, go) = (begun.clone(), go.clone());
            move || {
                begun.open();
                while !go.wait_for(must()) {}
            }
        });
        let mut sleep = Box::pin(rt.sleep(Duration::from_millis(millis)));
        if poll_once(&mut sleep, &waker).is_ready() {
            continue;
        }
        begun.wait();
        let inner = rt.clone();
        let (sender, shut_down) = mpsc::channel();
        thread::spawn(move || sender.send(inner.shutdown(Duration::from_millis(10)).is_ok()));
        let returned = shut_down.recv_timeout(must());
        go.open();
        assert_eq!(returned, Ok(true), "a shutdown waits for a timer's waker");
        // Now it is waited for.
        clean(&rt);
        return;
    }
    panic!("timers are ready long before their time");
}

fn timer_thread_gone<S: Setup>(s: S) {
    let rt = s.build();
    let here = thread::current().id();
    let (seen, ended) = (Counter::new(), Counter::new());
    let (waker, wakes) = CountingWaker::with({
        let (seen, ended) = (seen.clone(), ended.clone());
        move || {
            let current = thread::current();
            let stays = |name: &str| s.process_threads().contains(&name);
            // A shutdown may wake timers on the calling thread.
            if current.id() != here && !current.name().is_some_and(stays) {
                note_thread(&seen, &ended);
            }
        }
    });
    let mut sleep = Box::pin(rt.sleep(Duration::from_millis(300)));
    let mut before = wakes.get();
    let mut ready = poll_once(&mut sleep, &waker).is_ready();
    clean(&rt);
    drop(rt);
    while !ready {
        eventually("the timer's waker is called", || wakes.get() > before);
        before = wakes.get();
        ready = poll_once(&mut sleep, &waker).is_ready();
    }
    eventually("the threads that served the timer end", || {
        seen.get() == ended.get()
    });
}

fn refuses<S: Setup>(s: S) {
    let rt = s.build();
    rt.block_on(rt.offload(|| ())).unwrap();
    clean(&rt);
    let ran = Counter::new();
    let drops = Counter::new();
    let closure = || {
        let (ran, value) = (ran.clone(), drops.on_drop());
        move || {
            let _value = value;
            ran.add();
        }
    };
    assert!(is_shutdown(drive(rt.offload(closure()))));
    assert_eq!(drops.get(), 1);
    rt.offload(closure()).detach();
    drop(rt.offload(closure()));
    eventually("refused closures are dropped", || drops.get() == 3);
    let error = rt.try_offload(closure()).err().expect("it is refused");
    assert!(error.is_shutdown() && !error.is_full());
    // A refused closure comes back, and works.
    assert_eq!(drops.get(), 3);
    error.into_inner()();
    assert_eq!((drops.get(), ran.get()), (4, 1));
    assert!(is_shutdown(drive(rt.spawn(async {}))));
}

fn destroys_suspended<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, mut tasks) = suspended::<S>(&rt, 50);
    tasks.split_off(25).into_iter().for_each(Task::detach);
    clean(&rt);
    for puppet in &puppets {
        assert_eq!((puppet.polls(), puppet.drops()), (1, 1));
    }
    for task in tasks {
        assert!(task.is_finished());
        assert!(is_shutdown(drive(task)));
    }
}

/// Calls `shutdown` on a separate thread; calls `release` when it seems to wait.
fn released_while_waiting<S: Setup>(
    rt: &S::Runtime,
    refusing: impl Fn() -> bool,
    release: impl FnOnce(),
) -> ShutdownReport {
    let inner = rt.clone();
    let returned = Arc::new(AtomicBool::new(false));
    let sets = returned.clone();
    let thread = thread::spawn(move || {
        let report = inner.shutdown(must()).expect("sync code");
        sets.store(true, Ordering::SeqCst);
        report
    });
    eventually("nothing new is accepted", refusing);
    never("shutdown returns while something runs", || {
        returned.load(Ordering::SeqCst)
    });
    release();
    eventually("shutdown returns", || thread.is_finished());
    thread.join().expect("shutdown does not panic")
}

/// Does the runtime refuse new work?
fn refusing<S: Setup>(rt: &S::Runtime) -> impl Fn() -> bool + use<'_, S> {
    || match rt.try_offload(|| ()) {
        Ok(task) => {
            task.detach();
            false
        }
        Err(error) => error.is_shutdown(),
    }
}

fn waits_for_poll<S: Setup>(s: S) {
    for finish in [true, false] {
        let rt = s.build();
        let (started, has_started) = Gate::pair();
        let (go, waits) = Gate::pair();
        let drops = Counter::new();
        let value = drops.on_drop();
        let task = rt.spawn(async move {
            let _value = value;
            started.open();
            // For the case's own thread.
            waits.wait();
            if !finish {
                pending::<()>().await;
            }
            5
        });
        has_started.wait();
        let report = released_while_waiting::<S>(&rt, refusing::<S>(&rt), || go.open());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(drops.get(), 1);
        match drive(task) {
            Ok(output) => assert!(finish && output == 5),
            Err(error) => assert!(!finish && error.is_shutdown(), "{error:?}"),
        }
    }
}

fn waits_for_closure<S: Setup>(s: S) {
    let rt = s.build();
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = rt.offload(move || {
        started.open();
        waits.wait();
        5
    });
    has_started.wait();
    let report = released_while_waiting::<S>(&rt, refusing::<S>(&rt), || go.open());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(drive(task).unwrap(), 5);
    // It waits for a task, which the shutdown destroys, and for a timer.
    let rt = s.build();
    let (inner, puppet) = (rt.clone(), Puppet::new());
    let future = puppet.future();
    let for_task = rt.offload(move || inner.spawn(future).wait().map(|_| ()));
    let inner = rt.clone();
    let (started, has_started) = Gate::pair();
    let for_timer = rt.offload(move || {
        inner.block_on(async {
            let mut sleep = pin!(inner.sleep(Duration::from_millis(300)));
            assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
            started.open();
            sleep.await;
        });
    });
    puppet.polled(1);
    has_started.wait();
    clean(&rt);
    assert!(is_shutdown(drive(for_task).unwrap()));
    drive(for_timer).unwrap();
}

fn leaves_closure<S: Setup>(s: S) {
    let rt = s.build();
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = rt.offload(move || {
        started.open();
        waits.wait();
        5
    });
    has_started.wait();
    // If the shutdown waited for it, the gate would never open.
    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.closures_running, 1, "{report:?}");
    assert!(report.threads_running >= 1, "{report:?}");
    assert!(!task.is_finished());
    go.open();
    assert_eq!(drive(task).unwrap(), 5);
    clean(&rt);
}

fn leaves_poll<S: Setup>(s: S) {
    let rt = s.build();
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = rt.spawn(async move {
        started.open();
        waits.wait();
        5
    });
    has_started.wait();
    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert!(!report.is_clean());
    assert!(report.tasks_running >= 1, "{report:?}");
    assert!(report.threads_running >= 1, "{report:?}");
    assert!(!task.is_finished());
    go.open();
    assert_eq!(drive(task).unwrap(), 5);
    clean(&rt);
}

fn threads_gone<S: Setup>(s: S) {
    for _ in 0..3 {
        let rt = s.build();
        let (seen, ended) = note_threads::<S>(&rt);
        assert!(seen.get() >= 2);
        clean(&rt);
        assert_eq!(ended.get(), seen.get(), "a thread is still there");
    }
}

fn drops_queued<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let running = rt.offload(move || {
        started.open();
        waits.wait();
        1
    });
    has_started.wait();
    let (ran, drops) = (Counter::new(), Counter::new());
    let queued: Vec<_> = (0..5)
        .map(|_| {
            let (ran, value) = (ran.clone(), drops.on_drop());
            rt.offload(move || {
                let _value = value;
                ran.add();
            })
        })
        .collect();
    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert_eq!(report.closures_dropped, 5, "{report:?}");
    assert_eq!(report.closures_running, 1, "{report:?}");
    for task in queued {
        assert!(is_shutdown(drive(task)));
    }
    assert_eq!((ran.get(), drops.get()), (0, 5));
    go.open();
    assert_eq!(drive(running).unwrap(), 1);
    clean(&rt);
    assert_eq!(ran.get(), 0);
}

fn again<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, tasks) = suspended::<S>(&rt, 3);
    clean(&rt);
    clean(&rt);
    assert!(rt.shutdown(Duration::ZERO).unwrap().is_clean());
    let other = rt.clone();
    on_thread(move || clean(&other));
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
    for puppet in puppets {
        assert_eq!(puppet.drops(), 1);
    }
}

fn in_async<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let refused = |rt: &S::Runtime| {
        rt.shutdown(must())
            .is_err_and(|e| e.is_in_async() && !e.is_not_owned())
    };
    assert!(rt.block_on(async { refused(&rt) }));
    let inner = rt.clone();
    assert!(
        rt.block_on(rt.spawn(async move { refused(&inner) }))
            .unwrap()
    );
    let inner = rt.clone();
    let there = other.spawn(async move { refused(&inner) });
    assert!(other.block_on(there).unwrap());
    let (sender, answer) = mpsc::channel();
    let inner = rt.clone();
    let task = spawn_stays::<S>(&rt, move || {
        let _ = sender.send(
            inner
                .shutdown(Duration::ZERO)
                .is_err_and(|e| e.is_in_async()),
        );
    });
    drop(task);
    assert!(receive(&answer));
    // The refused shutdown had no effect.
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
    clean(&rt);
}

fn not_owned<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, tasks) = suspended::<S>(&rt, 2);
    for timeout in [Duration::ZERO, must()] {
        let error = rt.shutdown(timeout).expect_err("it is not owned");
        assert!(error.is_not_owned() && !error.is_in_async());
        assert!(!error.to_string().is_empty());
    }
    for puppet in &puppets {
        puppet.wake();
        puppet.polled(2);
        puppet.finish();
    }
    for task in tasks {
        rt.block_on(task).unwrap();
    }
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
}

fn in_own_closure<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let task = rt.offload(move || inner.shutdown(Duration::from_millis(1)));
    // Driven by hand: its runtime is shut down meanwhile.
    let report = drive(task).unwrap().unwrap();
    assert!(report.closures_running >= 1, "{report:?}");
    clean(&rt);
    assert!(is_shutdown(drive(rt.spawn(async {}))));
}

fn unused<S: Setup>(s: S) {
    for timeout in [must(), Duration::MAX] {
        let rt = s.build();
        assert!(rt.shutdown(timeout).unwrap().is_clean());
        let rt = s.build();
        // Perhaps not enough time.
        let _ = rt.shutdown(Duration::ZERO).unwrap();
        assert!(rt.shutdown(timeout).unwrap().is_clean());
        drop(s.build());
    }
}

fn longest_time<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, tasks) = suspended::<S>(&rt, 3);
    rt.block_on(rt.offload(|| ())).unwrap();
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    puppets.iter().for_each(Puppet::destroyed);
    drop(tasks);
}

fn beside_block_on<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let puppet = Puppet::new();
    let (go, waits) = Gate::pair();
    let (started, has_started) = Gate::pair();
    let running = rt.offload(move || {
        started.open();
        waits.wait();
    });
    has_started.wait();
    let (inner, future) = (rt.clone(), puppet.future());
    let (waiting, is_waiting) = Gate::pair();
    let root = thread::spawn(move || {
        inner.block_on(async {
            let task = inner.spawn(future);
            let closure = inner.offload(|| ());
            waiting.open();
            let first = is_shutdown(task.await);
            let second = is_shutdown(closure.await);
            // The root goes on.
            yield_now().await;
            (first, second, is_shutdown(inner.spawn(async {}).await))
        })
    });
    is_waiting.wait();
    puppet.polled(1);
    let _ = rt.shutdown(Duration::ZERO).unwrap();
    eventually("the root ends", || root.is_finished());
    assert_eq!(root.join().unwrap(), (true, true, true));
    go.open();
    drive(running).unwrap();
    clean(&rt);
}

fn destructor_panics<S: Setup>(s: S) {
    let rt = s.build();
    let watch = HookWatch::new();
    let (puppets, tasks) = suspended::<S>(&rt, 10);
    let inner = watch.clone();
    let joined = spawn_stays::<S>(&rt, move || inner.panic());
    let inner = watch.clone();
    spawn_stays::<S>(&rt, move || inner.panic()).detach();
    let (more, others) = suspended::<S>(&rt, 10);
    clean(&rt);
    let error = drive(joined).unwrap_err();
    assert_eq!(error.panic_message(), Some(watch.text()));
    assert_eq!(watch.seen().len(), 2);
    for puppet in puppets.iter().chain(&more) {
        assert_eq!(puppet.drops(), 1);
    }
    for task in tasks.into_iter().chain(others) {
        assert!(is_shutdown(drive(task)));
    }
}

fn sleeping<S: Setup>(s: S) {
    let rt = s.build();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (started, gate) = Gate::pair();
            let inner = rt.clone();
            let task = rt.spawn(async move {
                started.open();
                inner.sleep(Duration::from_secs(3600)).await;
            });
            gate.wait();
            task
        })
        .collect();
    clean(&rt);
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
}

fn self_waking<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let value = drops.on_drop();
            rt.spawn(async move {
                let _value = value;
                loop {
                    yield_now().await;
                }
            })
        })
        .collect();
    clean(&rt);
    assert_eq!(drops.get(), 4);
    for task in tasks {
        let result: Result<(), _> = drive(task);
        assert!(is_shutdown(result));
    }
}

fn beside_stuck_poll<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, tasks) = suspended::<S>(&rt, 10);
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let stuck = rt.spawn(async move {
        started.open();
        waits.wait();
    });
    has_started.wait();
    let _ = rt.shutdown(Duration::ZERO).unwrap();
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
    puppets.iter().for_each(Puppet::destroyed);
    go.open();
    drive(stuck).unwrap();
    clean(&rt);
}

fn ends_without_time<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let (puppets, tasks) = suspended::<S>(&rt, 10);
    let _ = rt.shutdown(Duration::ZERO).unwrap();
    // No second call is needed.
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
    for puppet in &puppets {
        puppet.destroyed();
        assert_eq!(puppet.polls(), 1);
    }
    clean(&rt);
}
