//! SH: shutting down.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use fourway_core::{
    BlockOn, JoinError, Offload, Shutdown, ShutdownReport, Spawner, Task, Timer, yield_now,
};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, Gate, HandMade, HookWatch, OnDrop, Puppet, at_thread_end, build, build_with,
        drive, eventually, must, never, on_thread, on_threads, other_runtime, panic_quietly,
        receive,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "SH-1.1", "after the shutdown closures and futures are refused, and said to be",
        "work that goes nowhere without a word", refuses::<S>, needs [Shutdown];
        "SH-1.2", "suspended futures are destroyed before shutdown returns",
        "destructors that run after the end of main, or never", destroys_suspended::<S>, needs [Shutdown];
        "SH-1.3", "a poll that is running is waited for, and keeps its output if it is ready",
        "work that is torn off in the middle", waits_for_poll::<S>, needs [Shutdown];
        "SH-1.4", "a closure that is running is waited for, and keeps its output",
        "threads cannot be cancelled, only left behind", waits_for_closure::<S>, needs [Shutdown];
        "SH-1.5", "with no time to wait, a stuck closure is left and reported",
        "concurrent.futures tests it: a stuck job and a timeout of 0", leaves_closure::<S>, needs [Shutdown];
        "SH-1.6", "with no time to wait, a stuck poll is left and reported",
        "a shutdown that hangs because one task does", leaves_poll::<S>, needs [Shutdown];
        "SH-1.7", "the threads are gone: the destructors of their thread-locals have run",
        "rayon tests it: threads that outlive the runtime crash at exit", threads_gone::<S>, needs [Shutdown];
        "SH-1.8", "closures that wait in the queue are dropped at once, counted, and told",
        "Tokio tests it: a queued job at shutdown resolves", drops_queued::<S>, needs [Shutdown];
        "SH-1.9", "a second shutdown, and a third on other threads, come out the same",
        "the second call finds nothing to join, and panics or hangs", again::<S>, needs [Shutdown];
        "SH-1.10", "in async code shutdown is refused, and does nothing",
        "a worker that waits for itself", in_async::<S>, needs [Shutdown];
        "SH-1.11", "a runtime that is not owned refuses, and goes on",
        "whoever borrows a runtime must not end it", not_owned::<S>, without [Shutdown];
        "SH-1.12", "in the runtime's own closure it does not hang",
        "a pool thread that waits for itself", in_own_closure::<S>, needs [Shutdown];
        "SH-1.13", "a runtime that was never used shuts down",
        "threads that have not started yet", unused::<S>, needs [Shutdown];
        "SH-1.14", "the longest time does not overflow, and is not waited for",
        "tokio 4495: huge durations", longest_time::<S>, needs [Shutdown];
        "SH-1.15", "a root that waits for tasks and closures goes on, with their errors",
        "a block_on that hangs because its runtime is gone", beside_block_on::<S>, needs [Shutdown];
        "SH-1.16", "a destructor that panics at shutdown is contained, and the join has the payload",
        "one bad destructor, and the others never run", destructor_panics::<S>, needs [Shutdown];
        "SH-1.17", "sleeping tasks are destroyed, and do not delay it",
        "a timer that is waited for", sleeping::<S>, needs [Shutdown];
        "SH-1.18", "a task that wakes itself all the time does not delay it",
        "it is never found suspended", self_waking::<S>, needs [Shutdown];
        "SH-1.19", "suspended futures are destroyed while a poll is stuck",
        "everything waits for the slowest", beside_stuck_poll::<S>, needs [MultiThreaded, Shutdown];
        "SH-1.20", "queued closures and suspended futures have ended when no time was given",
        "told is not done", ends_without_time::<S>, needs [Shutdown];

        "SH-2.1", "dropping the last handle does not wait for a closure or a poll",
        "a drop that blocks, in code that must not", drop_does_not_wait::<S>;
        "SH-2.2", "the last handle may be dropped in async code of others",
        "tokio 1950: a runtime dropped in async context panics", dropped_in_async::<S>;
        "SH-2.3", "the last handle may be dropped by the runtime's own task",
        "a worker that joins itself", dropped_in_own_task::<S>;
        "SH-2.4", "the last handle may be dropped by the runtime's own closure, and its thread's end",
        "a pool thread that joins itself", dropped_in_own_closure::<S>;
        "SH-2.5", "the last handle may be dropped by a destructor of the runtime's own task",
        "the shutdown that destroys the task that shuts down", dropped_in_own_destructor::<S>;
        "SH-2.6", "the last handle may be dropped while unwinding, and in a thread-local's destructor",
        "tokio 4973: dropped in a thread-local's destructor", dropped_while_unwinding::<S>;
        "SH-2.7", "handles dropped on many threads at a time",
        "two of them think they are the last", dropped_at_once::<S>;
        "SH-2.8", "dropping handles after a shutdown does nothing more",
        "everything is torn down twice", dropped_after_shutdown::<S>, needs [Shutdown];
        "SH-2.9", "threads end after the last handle is dropped",
        "a runtime for each test, and soon no threads are left", threads_end_after_drop::<S>, needs [Shutdown];
        "SH-2.10", "a hundred runtimes in a row, each used and dropped",
        "what each of them leaves behind adds up", many_runtimes::<S>;

        "SH-3.1", "spawns that race with the shutdown resolve, and each future is dropped once",
        "the last push to a queue that nobody reads", spawn_race::<S>, needs [Shutdown];
        "SH-3.2", "ten thousand wakes race with the shutdown",
        "Tokio tests it: a wake-up of a task that is being destroyed", wake_race::<S>, needs [Shutdown];
        "SH-3.3", "handles that are dropped, detached and aborted race with the shutdown",
        "two who destroy one future", handle_race::<S>, needs [Shutdown];
        "SH-3.4", "offloads that race with the shutdown resolve",
        "a closure that is stranded between the queue and the end", offload_race::<S>, needs [Shutdown];
        "SH-3.5", "a destructor may spawn and offload during the shutdown",
        "Tokio tests it: it hung", destructor_spawns::<S>, needs [Shutdown];
        "SH-3.6", "a destructor may wake, drop and abort siblings during the shutdown",
        "a list of tasks that changes while it is walked", destructor_touches::<S>, needs [Shutdown];
        "SH-3.7", "a destructor may drop a handle on the runtime during the shutdown",
        "the last handle goes in the middle of it", destructor_drops_handle::<S>, needs [Shutdown];
        "SH-3.8", "four shutdowns at a time all come to an end",
        "each waits for the threads that the other one has joined", concurrent::<S>, needs [Shutdown];
        "SH-3.9", "spawning, waking and dropping work in thread-locals' destructors of workers that end",
        "tokio 4973: the runtime ends, and its threads use it once more", worker_tls::<S>, needs [Shutdown];
        "SH-3.10", "waking, spawning and dropping race with the drop of the last handle",
        "the same without anyone who waits", drop_race::<S>;
    ]
}

type TaskOf<S, T> = <<S as Subject>::Runtime as Spawner>::Task<T>;

#[track_caller]
fn clean(rt: &impl Shutdown) {
    let report = rt
        .shutdown(must())
        .expect("it is owned, and this is sync code");
    assert!(report.is_clean(), "{report:?}");
}

fn is_shutdown<T>(result: Result<T, JoinError>) -> bool {
    result.is_err_and(|error| error.is_shutdown())
}

/// Suspended tasks under puppets.
fn suspended<S: Subject>(rt: &S::Runtime, n: usize) -> (Vec<Puppet>, Vec<TaskOf<S, usize>>) {
    let puppets: Vec<Puppet> = (0..n).map(|_| Puppet::new()).collect();
    let tasks = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    puppets.iter().for_each(|puppet| puppet.polled(1));
    (puppets, tasks)
}

/// Spawns a task that is polled once; `on_drop` is called by its destructor.
fn spawn_stays<S: Subject>(
    rt: &S::Runtime,
    on_drop: impl FnMut() + Send + 'static,
) -> TaskOf<S, ()> {
    let (started, gate) = Gate::pair();
    let on_drop: Box<dyn FnMut() + Send> = Box::new(on_drop);
    let task = rt.spawn(HandMade {
        poll: move |_: &mut Context<'_>| {
            started.open();
            Poll::Pending
        },
        on_drop: OnDrop(on_drop),
    });
    gate.wait();
    task
}

// SH-1

fn refuses<S: Subject>() {
    let rt = build::<S>();
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
    // The closure itself comes back, and works.
    assert_eq!(drops.get(), 3);
    error.into_inner()();
    assert_eq!((drops.get(), ran.get()), (4, 1));
    assert!(is_shutdown(drive(rt.spawn(async {}))));
}

fn destroys_suspended<S: Subject>() {
    let rt = build::<S>();
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

/// Calls `shutdown` on a thread of its own; `release` is called when it is
/// waiting, as far as one can tell.
fn released_while_waiting<S: Subject>(
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
fn refusing<S: Subject>(rt: &S::Runtime) -> impl Fn() -> bool + use<'_, S> {
    || match rt.try_offload(|| ()) {
        Ok(task) => {
            task.detach();
            false
        }
        Err(error) => error.is_shutdown(),
    }
}

fn waits_for_poll<S: Subject>() {
    for finish in [true, false] {
        let rt = build::<S>();
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

fn waits_for_closure<S: Subject>() {
    let rt = build::<S>();
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
}

fn leaves_closure<S: Subject>() {
    let rt = build::<S>();
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = rt.offload(move || {
        started.open();
        waits.wait();
        5
    });
    has_started.wait();
    // Were it waited for, nobody would open the gate.
    let report = rt.shutdown(Duration::ZERO).unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.closures_running, 1, "{report:?}");
    assert!(report.threads_running >= 1, "{report:?}");
    assert!(!task.is_finished());
    go.open();
    assert_eq!(drive(task).unwrap(), 5);
    clean(&rt);
}

fn leaves_poll<S: Subject>() {
    let rt = build::<S>();
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

/// Has the calling thread count when it ends, once for all calls.
fn note_thread(seen: &Counter, ended: &Counter) {
    thread_local! {
        static NOTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    if !NOTED.replace(true) {
        seen.add();
        let ended = ended.clone();
        at_thread_end(move || {
            // Whoever does not wait for this has time to be seen.
            (0..20).for_each(|_| thread::yield_now());
            ended.add();
        });
    }
}

/// Has all kinds of threads of the runtime do something, and count at their end.
fn note_threads<S: Subject>(rt: &S::Runtime) -> (Counter, Counter) {
    let (seen, ended) = (Counter::new(), Counter::new());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (seen, ended, rt) = (seen.clone(), ended.clone(), rt.clone());
            rt.clone().spawn(async move {
                note_thread(&seen, &ended);
                rt.sleep(Duration::from_millis(1)).await;
                note_thread(&seen, &ended);
                let closure = rt.offload(move || note_thread(&seen, &ended));
                closure.await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        rt.block_on(task).unwrap();
    }
    (seen, ended)
}

fn threads_gone<S: Subject>() {
    for _ in 0..3 {
        let rt = build::<S>();
        let (seen, ended) = note_threads::<S>(&rt);
        assert!(seen.get() >= 2);
        clean(&rt);
        assert_eq!(ended.get(), seen.get(), "a thread is still there");
    }
}

fn drops_queued<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
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

fn again<S: Subject>() {
    let rt = build::<S>();
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

fn in_async<S: Subject>() {
    let rt = build::<S>();
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
    // Nothing was done.
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
    clean(&rt);
}

fn not_owned<S: Subject>() {
    let rt = build::<S>();
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

fn in_own_closure<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let task = rt.offload(move || inner.shutdown(Duration::from_millis(1)));
    // Driven by hand: the runtime goes down under it.
    let report = drive(task).unwrap().unwrap();
    assert!(report.closures_running >= 1, "{report:?}");
    clean(&rt);
    assert!(is_shutdown(drive(rt.spawn(async {}))));
}

fn unused<S: Subject>() {
    for timeout in [must(), Duration::MAX] {
        let rt = build::<S>();
        assert!(rt.shutdown(timeout).unwrap().is_clean());
        let rt = build::<S>();
        // Not enough time, perhaps.
        let _ = rt.shutdown(Duration::ZERO).unwrap();
        assert!(rt.shutdown(timeout).unwrap().is_clean());
        drop(build::<S>());
    }
}

fn longest_time<S: Subject>() {
    let rt = build::<S>();
    let (puppets, tasks) = suspended::<S>(&rt, 3);
    rt.block_on(rt.offload(|| ())).unwrap();
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    puppets.iter().for_each(Puppet::destroyed);
    drop(tasks);
}

fn beside_block_on<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
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

fn destructor_panics<S: Subject>() {
    let rt = build::<S>();
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

fn sleeping<S: Subject>() {
    let rt = build::<S>();
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

fn self_waking<S: Subject>() {
    let rt = build::<S>();
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

fn beside_stuck_poll<S: Subject>() {
    let rt = build::<S>();
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

fn ends_without_time<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
    let (puppets, tasks) = suspended::<S>(&rt, 10);
    let _ = rt.shutdown(Duration::ZERO).unwrap();
    // Nobody has to call again.
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
    for puppet in &puppets {
        puppet.destroyed();
        assert_eq!(puppet.polls(), 1);
    }
    clean(&rt);
}

// SH-2

/// Fails if `f` takes so long that it must be waiting for something.
#[track_caller]
fn returns(f: impl FnOnce() + Send + 'static) {
    on_thread(f);
}

fn drop_does_not_wait<S: Subject>() {
    let rt = build::<S>();
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    let (go, waits) = Gate::pair();
    let stuck = |at: usize| {
        let (started, waits) = (gates[at].clone(), waits.clone());
        move || {
            started.open();
            waits.wait_for(must())
        }
    };
    let closure = rt.offload(stuck(0));
    let poll = stuck(1);
    let task = rt.spawn(async move { poll() });
    gates[0].wait();
    gates[1].wait();
    // Were they waited for, nobody would open the gate.
    returns(move || drop(rt));
    go.open();
    assert!(drive(closure).unwrap(), "the drop has waited");
    assert!(drive(task).unwrap(), "the drop has waited");
}

fn dropped_in_async<S: Subject>() {
    let other = other_runtime();
    let used = || {
        let rt = build::<S>();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        tasks.into_iter().for_each(Task::detach);
        (rt, puppets)
    };
    let (rt, first) = used();
    other.block_on(async move { drop(rt) });
    let (rt, second) = used();
    other
        .block_on(other.spawn(async move { drop(rt) }))
        .unwrap();
    let (rt, third) = used();
    let here = build::<S>();
    here.block_on(here.spawn(async move { drop(rt) })).unwrap();
    let (rt, fourth) = used();
    other.block_on(other.offload(move || drop(rt))).unwrap();
    for puppet in [first, second, third, fourth].iter().flatten() {
        puppet.finish();
        puppet.destroyed();
    }
}

fn dropped_in_own_task<S: Subject>() {
    for suspend in [false, true] {
        let rt = build::<S>();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        let (go, waits) = Gate::pair();
        let (done, gate) = Gate::pair();
        let inner = rt.clone();
        let task = rt.spawn(async move {
            waits.opened().await;
            drop(inner);
            done.open();
            if suspend {
                yield_now().await;
            }
            7
        });
        drop(rt);
        go.open();
        gate.wait();
        match drive(task) {
            Ok(output) => assert_eq!(output, 7),
            Err(error) => assert!(suspend && error.is_shutdown(), "{error:?}"),
        }
        for puppet in &puppets {
            puppet.finish();
            puppet.destroyed();
        }
        drop(tasks);
    }
}

fn dropped_in_own_closure<S: Subject>() {
    for at_end in [false, true] {
        let rt = build_with::<S>(|config| config.keep_alive = Duration::from_millis(1));
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        let (go, waits) = Gate::pair();
        let (done, gate) = Gate::pair();
        let inner = rt.clone();
        let task = rt.offload(move || {
            waits.wait();
            let last = move || {
                drop(inner);
                done.open();
            };
            if at_end {
                at_thread_end(last);
            } else {
                last();
            }
            7
        });
        drop(rt);
        go.open();
        assert_eq!(drive(task).unwrap(), 7);
        gate.wait();
        for puppet in &puppets {
            puppet.finish();
            puppet.destroyed();
        }
        drop(tasks);
    }
}

fn dropped_in_own_destructor<S: Subject>() {
    let rt = build::<S>();
    rt.block_on(rt.offload(|| ())).unwrap();
    let (puppets, tasks) = suspended::<S>(&rt, 3);
    let mut last = Some(rt.clone());
    let (done, gate) = Gate::pair();
    let task = spawn_stays::<S>(&rt, move || {
        drop(last.take());
        done.open();
    });
    drop(rt);
    assert!(drive(task.cancel()).is_err_and(|error| error.is_cancelled()));
    gate.wait();
    for puppet in &puppets {
        puppet.finish();
        puppet.destroyed();
    }
    drop(tasks);
}

fn dropped_while_unwinding<S: Subject>() {
    let used = || {
        let rt = build::<S>();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        tasks.into_iter().for_each(Task::detach);
        (rt, puppets)
    };
    let (rt, first) = used();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _rt = rt;
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    let (rt, second) = used();
    on_thread(move || at_thread_end(move || drop(rt)));
    // After what the runtime keeps on this thread is gone.
    let (third, inner) = (Arc::new(Mutex::new(None)), ());
    let place = third.clone();
    on_thread(move || {
        let () = inner;
        let slot: Arc<Mutex<Option<S::Runtime>>> = Arc::default();
        let last = slot.clone();
        at_thread_end(move || {
            let rt = last.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(rt);
        });
        let rt = build::<S>();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        tasks.into_iter().for_each(Task::detach);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(puppets);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rt);
    });
    let third = third.lock().unwrap_or_else(PoisonError::into_inner).take();
    let third = third.expect("the thread has left them");
    for puppet in [first, second, third].iter().flatten() {
        puppet.finish();
        puppet.destroyed();
    }
}

fn dropped_at_once<S: Subject>() {
    for _ in 0..20 {
        let rt = build::<S>();
        let (puppets, tasks) = suspended::<S>(&rt, 2);
        tasks.into_iter().for_each(Task::detach);
        let barrier = Arc::new(Barrier::new(4));
        let handles: Vec<_> = (0..4).map(|_| rt.clone()).collect();
        drop(rt);
        let threads: Vec<_> = handles
            .into_iter()
            .map(|rt| {
                let barrier = barrier.clone();
                thread::spawn(move || {
                    barrier.wait();
                    drop(rt);
                })
            })
            .collect();
        for thread in threads {
            eventually("dropping ends", || thread.is_finished());
            thread.join().expect("dropping does not panic");
        }
        for puppet in &puppets {
            puppet.finish();
            puppet.destroyed();
        }
    }
}

fn dropped_after_shutdown<S: Subject>() {
    let rt = build::<S>();
    let (puppets, tasks) = suspended::<S>(&rt, 2);
    let other = rt.clone();
    clean(&rt);
    drop(rt);
    clean(&other);
    assert!(is_shutdown(drive(other.spawn(async {}))));
    other_runtime().block_on(async move { drop(other) });
    drop(tasks);
    for puppet in &puppets {
        puppet.destroyed();
        puppet.wake();
    }
}

fn threads_end_after_drop<S: Subject>() {
    let rt = build::<S>();
    let (seen, ended) = note_threads::<S>(&rt);
    drop(rt);
    eventually("the threads end", || ended.get() == seen.get());
    // As well as with suspended tasks.
    let rt = build::<S>();
    let (seen, ended) = note_threads::<S>(&rt);
    let (puppets, tasks) = suspended::<S>(&rt, 5);
    drop(rt);
    eventually("the threads end", || ended.get() == seen.get());
    puppets.iter().for_each(Puppet::destroyed);
    drop(tasks);
}

fn many_runtimes<S: Subject>() {
    for n in 0..100 {
        let rt = build::<S>();
        if n % 3 != 0 {
            assert_eq!(rt.block_on(rt.spawn(async move { n })).unwrap(), n);
        }
        if n % 10 == 1 {
            assert_eq!(rt.block_on(rt.offload(move || n)).unwrap(), n);
        }
        rt.spawn(async {}).detach();
    }
}

// SH-3

fn spawn_race<S: Subject>() {
    for round in 0..15_u32 {
        let rt = build::<S>();
        let (spawned, drops) = (Counter::new(), Counter::new());
        let barrier = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (rt, barrier) = (rt.clone(), barrier.clone());
                let (spawned, drops) = (spawned.clone(), drops.clone());
                thread::spawn(move || {
                    barrier.wait();
                    let tasks: Vec<_> = (0..30)
                        .map(|n| {
                            let value = drops.on_drop();
                            spawned.add();
                            rt.spawn(async move {
                                let _value = value;
                                if n % 2 == 0 {
                                    yield_now().await;
                                }
                                if n % 3 == 0 {
                                    pending::<()>().await;
                                }
                            })
                        })
                        .collect();
                    for (n, task) in tasks.into_iter().enumerate() {
                        match drive(task) {
                            Ok(()) => assert_ne!(n % 3, 0),
                            Err(error) => assert!(error.is_shutdown(), "{error:?}"),
                        }
                    }
                })
            })
            .collect();
        barrier.wait();
        for _ in 0..round * 200 {
            std::hint::spin_loop();
        }
        clean(&rt);
        for thread in threads {
            eventually("all joins resolve", || thread.is_finished());
            thread.join().expect("spawning does not panic");
        }
        assert_eq!(spawned.get(), 90);
        eventually("each future is dropped", || drops.get() >= 90);
        assert_eq!(drops.get(), 90);
    }
}

fn wake_race<S: Subject>() {
    for _ in 0..5 {
        let rt = build::<S>();
        let (puppets, tasks) = suspended::<S>(&rt, 20);
        let wakers: Vec<_> = puppets.iter().map(Puppet::waker).collect();
        let started = Counter::new();
        let counts = started.clone();
        let wakes = thread::spawn(move || {
            on_threads(2, move |_| {
                for _ in 0..50 {
                    for waker in &wakers {
                        waker.wake_by_ref();
                    }
                    counts.add();
                }
            });
        });
        eventually("they wake", || started.get() > 0);
        clean(&rt);
        for puppet in &puppets {
            assert_eq!(puppet.drops(), 1);
        }
        wakes.join().expect("waking does not panic");
        for task in tasks {
            assert!(is_shutdown(drive(task)));
        }
        puppets.iter().for_each(Puppet::sound);
    }
}

fn handle_race<S: Subject>() {
    for _ in 0..10 {
        let rt = build::<S>();
        let (puppets, tasks) = suspended::<S>(&rt, 60);
        let barrier = Arc::new(Barrier::new(2));
        let waits = barrier.clone();
        let handles = thread::spawn(move || {
            waits.wait();
            for (n, task) in tasks.into_iter().enumerate() {
                match n % 5 {
                    0 => drop(task),
                    1 => task.detach(),
                    2 => {
                        task.abort();
                        task.detach();
                    }
                    3 => {
                        let error = drive(task.cancel()).unwrap_err();
                        assert!(error.is_cancelled() || error.is_shutdown());
                    }
                    _ => assert!(is_shutdown(drive(task))),
                }
            }
        });
        barrier.wait();
        clean(&rt);
        eventually("all joins resolve", || handles.is_finished());
        handles.join().expect("handles do not panic");
        for puppet in &puppets {
            assert_eq!((puppet.polls(), puppet.drops()), (1, 1));
        }
    }
}

fn offload_race<S: Subject>() {
    for round in 0..15_u32 {
        let rt = build_with::<S>(|config| config.offload_limit = 2);
        let drops = Counter::new();
        let barrier = Arc::new(Barrier::new(3));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (rt, barrier, drops) = (rt.clone(), barrier.clone(), drops.clone());
                thread::spawn(move || {
                    barrier.wait();
                    let tasks: Vec<_> = (0..40)
                        .map(|n| {
                            let value = drops.on_drop();
                            rt.offload(move || {
                                let _value = value;
                                n
                            })
                        })
                        .collect();
                    for (n, task) in tasks.into_iter().enumerate() {
                        match drive(task) {
                            Ok(output) => assert_eq!(output, n),
                            Err(error) => assert!(error.is_shutdown(), "{error:?}"),
                        }
                    }
                })
            })
            .collect();
        barrier.wait();
        for _ in 0..round * 200 {
            std::hint::spin_loop();
        }
        clean(&rt);
        for thread in threads {
            eventually("all joins resolve", || thread.is_finished());
            thread.join().expect("offloading does not panic");
        }
        assert_eq!(drops.get(), 80);
    }
}

fn destructor_spawns<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    let (sender, results) = mpsc::channel();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (inner, drops, sender) = (rt.clone(), drops.clone(), sender.clone());
            spawn_stays::<S>(&rt, move || {
                let value = drops.on_drop();
                let task = inner.spawn(async move {
                    let _value = value;
                    pending::<()>().await;
                });
                let value = drops.on_drop();
                inner.offload(move || drop(value)).detach();
                let _ = sender.send(task);
            })
        })
        .collect();
    clean(&rt);
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
    for _ in 0..10 {
        assert!(is_shutdown(drive(receive(&results))));
    }
    eventually("all is dropped", || drops.get() >= 20);
    assert_eq!(drops.get(), 20);
}

fn destructor_touches<S: Subject>() {
    for _ in 0..5 {
        let rt = build::<S>();
        let drops = Counter::new();
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let (puppets, siblings) = suspended::<S>(&rt, 3);
                let mut siblings = Some(siblings);
                let count = drops.clone();
                spawn_stays::<S>(&rt, move || {
                    for (puppet, sibling) in puppets.iter().zip(siblings.take().unwrap_or_default())
                    {
                        puppet.wake();
                        match n % 3 {
                            0 => drop(sibling),
                            1 => sibling.abort(),
                            _ => sibling.detach(),
                        }
                        puppet.wake();
                        puppet.forget_waker();
                    }
                    count.add();
                })
            })
            .collect();
        clean(&rt);
        assert_eq!(drops.get(), 12);
        for task in tasks {
            assert!(is_shutdown(drive(task)));
        }
    }
}

fn destructor_drops_handle<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    // Their handles are kept: detached, tasks that nobody can wake may go at once.
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (mut inner, count) = (Some(rt.clone()), drops.clone());
            spawn_stays::<S>(&rt, move || {
                drop(inner.take());
                count.add();
            })
        })
        .collect();
    let other = rt.clone();
    drop(rt);
    clean(&other);
    assert_eq!(drops.get(), 5);
    drop(other);
    for task in tasks {
        assert!(is_shutdown(drive(task)));
    }
}

fn concurrent<S: Subject>() {
    for _ in 0..10 {
        let rt = build::<S>();
        let (puppets, tasks) = suspended::<S>(&rt, 5);
        rt.block_on(rt.offload(|| ())).unwrap();
        let barrier = Arc::new(Barrier::new(4));
        let shared = rt.clone();
        on_threads(4, move |_| {
            barrier.wait();
            clean(&shared);
        });
        for puppet in &puppets {
            assert_eq!(puppet.drops(), 1);
        }
        drop(tasks);
    }
}

fn worker_tls<S: Subject>() {
    for _ in 0..5 {
        let rt = build::<S>();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        let (ends, drops) = (Counter::new(), Counter::new());
        let at_end = |task: Option<TaskOf<S, usize>>| {
            let (inner, puppets) = (rt.clone(), puppets.clone());
            let (ends, drops) = (ends.clone(), drops.clone());
            move || {
                at_thread_end(move || {
                    for puppet in &puppets {
                        puppet.wake();
                    }
                    let value = drops.on_drop();
                    inner.spawn(async move { drop(value) }).detach();
                    let value = drops.on_drop();
                    inner.offload(move || drop(value)).detach();
                    drop(task);
                    drop(inner);
                    ends.add();
                });
            }
        };
        let mut tasks = tasks.into_iter();
        let on_worker = at_end(tasks.next());
        rt.block_on(rt.spawn(async move { on_worker() })).unwrap();
        let on_pool = at_end(tasks.next());
        rt.block_on(rt.offload(on_pool)).unwrap();
        clean(&rt);
        assert_eq!(ends.get(), 2);
        eventually("what was refused is dropped", || drops.get() == 4);
        for puppet in &puppets {
            assert_eq!(puppet.drops(), 1);
        }
    }
}

fn drop_race<S: Subject>() {
    for round in 0..20_u32 {
        let rt = build::<S>();
        let (puppets, tasks) = suspended::<S>(&rt, 10);
        let drops = Counter::new();
        let barrier = Arc::new(Barrier::new(3));
        let wakes = {
            let (puppets, barrier) = (puppets.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                for puppet in puppets.iter().cycle().take(200) {
                    puppet.wake();
                }
            })
        };
        let spawns = {
            let (rt, barrier, drops) = (rt.clone(), barrier.clone(), drops.clone());
            thread::spawn(move || {
                barrier.wait();
                for task in tasks {
                    let value = drops.on_drop();
                    rt.spawn(async move {
                        yield_now().await;
                        drop(value);
                    })
                    .detach();
                    drop(task);
                }
                // The last handle, perhaps.
                drop(rt);
            })
        };
        barrier.wait();
        for _ in 0..round * 100 {
            std::hint::spin_loop();
        }
        drop(rt);
        for thread in [wakes, spawns] {
            eventually("nobody hangs", || thread.is_finished());
            thread.join().expect("nobody panics");
        }
        eventually("all futures are dropped", || drops.get() >= 10);
        assert_eq!(drops.get(), 10);
        puppets.iter().for_each(Puppet::destroyed);
    }
}
