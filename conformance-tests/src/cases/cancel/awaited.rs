//! CA-3, cancel waits for the end; and abort handles, which do not wait.

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Context,
    thread,
};

use fourway_core::{AbortHandle, BlockOn, Offload, Shutdown, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, HandMade, OnDrop, Puppet, at_thread_end, drive, eventually,
        must, never, on_thread, on_threads, other_runtime, panic_quietly, poll_once, receive,
    },
};

use super::{TaskOf, in_order, spawn_stays, suspended, text};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CA-3.1", "cancel().await returns after the destructor has ended, and not before",
        "risingwave 7663: aborted is not stopped", waits_for_destructor;
        "CA-3.2", "cancelling a finished task gives its output, or its panic",
        "Tokio tests it: the value must not be thrown away", finished_first;
        "CA-3.3", "aborting is idempotent, through any number of handles, before and after the end",
        "the second request finds a state that the first did not", idempotent;
        "CA-3.4", "aborting works from any thread and any kind of code",
        "a cancellation that must come from the owner's thread", from_anywhere;
        "CA-3.5", "an abort handle works after the task's handle is detached, and knows the end",
        "the only way to stop a detached task", after_detach;
        "CA-3.6", "cancel() acts by being called, not by its first poll",
        "smol: a cancel that is not awaited does nothing until it is dropped", acts_when_called;
        "CA-3.7", "giving up on cancel() does not give up the cancelling",
        "a timeout around cancel().await brings the task back to life", giving_up;
        "CA-3.8", "a task cancels another of its runtime, and waits for it, in turns",
        "on one thread the waiter is in the way of the destructor", task_cancels_task;
        "CA-3.9", "tasks that cancel each other are both destroyed",
        "each holds what the other waits for", mutual;
        "CA-3.10", "a future that owns its task's handle is destroyed, and drops it there",
        "the handle's drop aborts the task that is being destroyed", owns_itself;
        "CA-3.11", "an abort that comes while cancel() waits, and wakers that change, disturb nothing",
        "the joiner's waker is lost when the task changes hands", cancel_with_many_wakers;
        "CA-3.12", "eight threads abort one task at a time",
        "two of them take the waker", concurrent_aborts;
        "CA-3.13", "an abort handle outlives the runtime",
        "the task behind it is freed with its executor", outlives_runtime;
        "CA-3.14", "aborting returns at once, and runs no destructor on the aborting thread's locks",
        "a destructor that blocks would block whoever cancels", abort_returns;
    ]
}

fn waits_for_destructor<S: Setup>(s: S) {
    let rt = s.build();
    for by_handle in [false, true] {
        let (destroying, begun) = Gate::pair();
        let (go, waits) = Gate::pair();
        let ended = Arc::new(AtomicBool::new(false));
        let sets = ended.clone();
        let task = spawn_stays::<S>(&rt, move || {
            destroying.open();
            // For the cancelling thread, which needs no worker for this.
            waits.wait();
            sets.store(true, Ordering::SeqCst);
        });
        let aborts = task.abort_handle();
        let (waker, _) = CountingWaker::new();
        if by_handle {
            aborts.abort();
        }
        let mut cancel = task.cancel();
        begun.wait();
        never("cancel is ready before the destructor has ended", || {
            poll_once(&mut cancel, &waker).is_ready() || aborts.is_finished()
        });
        go.open();
        assert!(drive(cancel).is_err_and(|error| error.is_cancelled()));
        assert!(ended.load(Ordering::SeqCst));
        assert!(aborts.is_finished());
    }
}

fn finished_first<S: Setup>(s: S) {
    let rt = s.build();
    let finished = |with: bool| {
        let task = rt.spawn(async { String::from("output") });
        let aborts = with.then(|| task.abort_handle());
        eventually("it is finished", || task.is_finished());
        (task, aborts)
    };
    for with in [false, true] {
        let (task, _aborts) = finished(with);
        assert_eq!(rt.block_on(task.cancel()).unwrap(), "output");
        let (task, _aborts) = finished(with);
        task.abort();
        task.abort();
        assert!(task.is_finished());
        assert_eq!(rt.block_on(task).unwrap(), "output");
        let (task, aborts) = finished(with);
        aborts.unwrap_or_else(|| task.abort_handle()).abort();
        assert_eq!(drive(task).unwrap(), "output");
    }
    let task = rt.spawn(async { panic_quietly("on purpose") });
    eventually("it is finished", || task.is_finished());
    let result: Result<(), _> = rt.block_on(task.cancel());
    assert_eq!(text(result.unwrap_err()), "on purpose");
}

fn idempotent<S: Setup>(s: S) {
    let rt = s.build();
    let (puppet, task) = suspended::<S>(&rt);
    let handles: Vec<AbortHandle> = (0..3).map(|_| task.abort_handle()).collect();
    for handle in handles.iter().chain(&handles) {
        handle.abort();
        handle.clone().abort();
        task.abort();
    }
    let error = rt.block_on(task.cancel()).unwrap_err();
    assert!(error.is_cancelled());
    for handle in &handles {
        assert!(handle.is_finished());
        handle.abort();
    }
    puppet.destroyed();
    assert_eq!(puppet.polls(), 1);
    in_order::<S>(&rt);
}

fn from_anywhere<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let (puppets, tasks): (Vec<_>, Vec<_>) = (0..6).map(|_| suspended::<S>(&rt)).unzip();
    let aborts: Vec<AbortHandle> = tasks.iter().map(Task::abort_handle).collect();
    let get = |n: usize| aborts[n].clone();
    let a = get(0);
    on_thread(move || a.abort());
    let a = get(1);
    rt.block_on(rt.spawn(async move { a.abort() })).unwrap();
    let a = get(2);
    rt.block_on(rt.offload(move || a.abort())).unwrap();
    let a = get(3);
    other
        .block_on(other.spawn(async move { a.abort() }))
        .unwrap();
    let a = get(4);
    on_thread(move || at_thread_end(move || a.abort()));
    let a = get(5);
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _value = OnDrop(move || a.abort());
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    for (puppet, task) in puppets.iter().zip(tasks) {
        assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
        assert_eq!(puppet.drops(), 1);
    }
}

fn after_detach<S: Setup>(s: S) {
    let rt = s.build();
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    task.detach();
    puppet.wake();
    puppet.polled(2);
    assert!(!aborts.is_finished());
    aborts.abort();
    eventually("it knows of the end", || aborts.is_finished());
    assert_eq!(puppet.drops(), 1);
    // A task that ends by itself.
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    task.detach();
    puppet.finish();
    eventually("it knows of the end", || aborts.is_finished());
    assert_eq!(puppet.drops(), 1);
    aborts.abort();
}

fn acts_when_called<S: Setup>(s: S) {
    let rt = s.build();
    for with_abort_handle in [false, true] {
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = with_abort_handle.then(|| task.abort_handle());
        let cancel = task.cancel();
        puppet.destroyed();
        assert!(rt.block_on(cancel).is_err_and(|error| error.is_cancelled()));
        drop(aborts);
    }
}

fn giving_up<S: Setup>(s: S) {
    let rt = s.build();
    for poll in [false, true] {
        let (puppet, task) = suspended::<S>(&rt);
        let mut cancel = task.cancel();
        if poll {
            let (waker, _) = CountingWaker::new();
            let _ = poll_once(&mut cancel, &waker);
        }
        drop(cancel);
        puppet.destroyed();
    }
    // In the middle of the destructor.
    let (destroying, begun) = Gate::pair();
    let (go, waits) = Gate::pair();
    let (done, ended) = Gate::pair();
    let task = spawn_stays::<S>(&rt, move || {
        destroying.open();
        waits.wait();
        done.open();
    });
    let mut cancel = task.cancel();
    begun.wait();
    let (waker, _) = CountingWaker::new();
    assert!(poll_once(&mut cancel, &waker).is_pending());
    drop(cancel);
    go.open();
    ended.wait();
    in_order::<S>(&rt);
}

fn task_cancels_task<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move {
        for n in 0..50 {
            let puppet = Puppet::new();
            let task = inner.spawn(puppet.future());
            if n % 2 == 0 {
                yield_now().await;
            }
            assert!(task.cancel().await.unwrap_err().is_cancelled());
            assert_eq!(puppet.drops(), 1);
        }
    }))
    .unwrap();
}

fn mutual<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let drops = Counter::new();
        let spawn = || {
            let (sender, handles) = mpsc::channel::<AbortHandle>();
            let (go, waits) = Gate::pair();
            let value = drops.on_drop();
            let task = rt.spawn(async move {
                let _value = value;
                waits.opened().await;
                receive(&handles).abort();
                pending::<()>().await;
            });
            (task, sender, go)
        };
        let (first, to_first, go_first) = spawn();
        let (second, to_second, go_second) = spawn();
        let _ = to_first.send(second.abort_handle());
        let _ = to_second.send(first.abort_handle());
        go_first.open();
        go_second.open();
        // Each task cancels the other, or one cancels the other before that could act.
        eventually("one is cancelled", || {
            first.is_finished() || second.is_finished()
        });
        let (ended, rest) = if first.is_finished() {
            (first, second)
        } else {
            (second, first)
        };
        assert!(drive(ended).is_err_and(|error| error.is_cancelled()));
        drop(rest);
        eventually("both are destroyed", || drops.get() == 2);
    }
}

fn owns_itself<S: Setup>(s: S) {
    let rt = s.build();
    // Cancelled from outside; and ready by itself, with a destructor that drops
    // the handle.
    for finish in [false, true] {
        let place: Arc<Mutex<Option<TaskOf<S, usize>>>> = Arc::default();
        let (puppet, drops) = (Puppet::new(), Counter::new());
        let mut strings = puppet.future();
        let (own, count) = (place.clone(), drops.clone());
        let task = rt.spawn(HandMade {
            poll: move |cx: &mut Context<'_>| std::pin::Pin::new(&mut strings).poll(cx),
            on_drop: OnDrop(move || {
                let task = own.lock().unwrap_or_else(PoisonError::into_inner).take();
                drop(task);
                count.add();
            }),
        });
        let aborts = task.abort_handle();
        puppet.polled(1);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        if finish {
            puppet.finish();
        } else {
            aborts.abort();
        }
        eventually("it is destroyed", || drops.get() == 1);
        eventually("it is finished", || aborts.is_finished());
        puppet.destroyed();
    }
    in_order::<S>(&rt);
}

fn cancel_with_many_wakers<S: Setup>(s: S) {
    let rt = s.build();
    let (destroying, begun) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = spawn_stays::<S>(&rt, move || {
        destroying.open();
        waits.wait();
    });
    let aborts = task.abort_handle();
    let mut cancel = task.cancel();
    begun.wait();
    for _ in 0..10 {
        let (waker, _) = CountingWaker::new();
        assert!(poll_once(&mut cancel, &waker).is_pending());
        aborts.abort();
        let _ = aborts.is_finished();
    }
    let (waker, wakes) = CountingWaker::new();
    assert!(poll_once(&mut cancel, &waker).is_pending());
    assert!(!aborts.is_finished());
    go.open();
    eventually("the last waker is told", || wakes.get() > 0);
    assert!(drive(cancel).is_err_and(|error| error.is_cancelled()));
}

fn concurrent_aborts<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..10 {
        let (puppet, task) = suspended::<S>(&rt);
        let (aborts, barrier) = (task.abort_handle(), Arc::new(Barrier::new(8)));
        let joiner = thread::spawn(move || drive(task));
        on_threads(8, move |_| {
            barrier.wait();
            aborts.abort();
            let _ = aborts.is_finished();
        });
        let result = joiner.join().expect("joining does not panic");
        assert!(result.unwrap_err().is_cancelled());
        puppet.destroyed();
        assert_eq!(puppet.polls(), 1);
    }
}

fn outlives_runtime<S: Setup>(s: S) {
    let rt = s.build();
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    let finished = rt.spawn(ready(1));
    let late = finished.abort_handle();
    eventually("it is finished", || finished.is_finished());
    task.detach();
    if s.capabilities().shutdown {
        assert!(rt.shutdown(must()).unwrap().is_clean());
        assert!(aborts.is_finished());
    }
    drop(rt);
    aborts.abort();
    late.abort();
    assert!(late.is_finished());
    puppet.destroyed();
    eventually("it knows of the end", || aborts.is_finished());
    drop(finished);
    late.abort();
    on_thread(move || at_thread_end(move || aborts.abort()));
}

fn abort_returns<S: Setup>(s: S) {
    let rt = s.build();
    type Way<S> = fn(TaskOf<S, ()>) -> Option<TaskOf<S, ()>>;
    let ways: [Way<S>; 3] = [
        |task| {
            task.abort();
            Some(task)
        },
        |task| {
            task.abort_handle().abort();
            Some(task)
        },
        |task| {
            drop(task);
            None
        },
    ];
    for way in ways {
        let (go, waits) = Gate::pair();
        let (done, ended) = Gate::pair();
        let task = spawn_stays::<S>(&rt, move || {
            if waits.wait_for(must()) {
                done.open();
            }
        });
        // If the destructor ran here, the gate would never open.
        let task = way(task);
        go.open();
        ended.wait();
        if let Some(task) = task {
            assert!(drive(task).is_err_and(|error| error.is_cancelled()));
        }
    }
}
