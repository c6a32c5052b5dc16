//! CA: cancelling and detaching.

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
};

use fourway_core::{AbortHandle, BlockOn, JoinError, Offload, Shutdown, Spawner, Task, yield_now};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, CountingWaker, Gate, HandMade, HookWatch, OnDrop, Puppet, at_thread_end, build,
        build_with, drive, eventually, must, never, occupy, on_thread, on_threads, other_runtime,
        panic_quietly, poll_once, receive,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "CA-1.1", "dropping the handle of a suspended task destroys it",
        "agnostic: dropping cancels on smol and detaches on Tokio", drop_cancels::<S>;
        "CA-1.2", "dropping the handle cancels wherever it happens",
        "tasks, closures, unwinding threads, thread-locals: the same everywhere", drop_cancels_anywhere::<S>;
        "CA-1.3", "a detached task runs on, detached early or late",
        "detaching and completing race", detached_runs_on::<S>;
        "CA-1.4", "detaching works through a boxed trait object",
        "an erased handle that detaches by being dropped cancels", detach_boxed::<S>;
        "CA-1.5", "aborted, and then dropped or detached at once: still cancelled",
        "tokio 3964: the cancellation is lost with the handle", abort_then_let_go::<S>;
        "CA-1.6", "abort handles keep nothing alive and cancel nothing when dropped",
        "a drop that means something else on another handle type", abort_handle_dropped::<S>;
        "CA-1.7", "a handle dropped while a join waits on it cancels, once polled or not",
        "the registered waker changes the path that drop takes", dropped_after_poll::<S>;

        "CA-2.1", "cancelled before its first poll: never polled, and destroyed",
        "async-task tests it: side effects of work that was called off", before_first_poll::<S>;
        "CA-2.2", "cancelled while suspended: destroyed promptly, without a wake, never polled again",
        "tokio 3157: the future lives on until somebody wakes it", while_suspended::<S>;
        "CA-2.3", "cancelled by another thread during a poll: destroyed after that poll",
        "async-task tests it: the future is freed under the poll's feet", during_poll::<S>;
        "CA-2.4", "cancelled by itself during a poll: destroyed after that poll, or finished",
        "as before, on one thread", by_itself::<S>;
        "CA-2.5", "woken and cancelled during a poll, in both orders: one poll, one destruction",
        "async-task tests it: the two flags overwrite each other", wake_and_cancel::<S>;
        "CA-2.6", "cancelled when it was woken and not yet polled: not polled again",
        "the queue entry of a cancelled task is run all the same", woken_then_cancelled::<S>;
        "CA-2.7", "wakes and cancellations from many threads: destroyed once, never polled after",
        "tokio 3662: cancelling from another thread races with everything", cancel_race::<S>;
        "CA-2.8", "a task that wakes itself all the time is cancelled",
        "it is never suspended long enough to be noticed", self_waking::<S>;
        "CA-2.9", "locals are destroyed in order, the latest first, through all nested futures",
        "anyio tests it: locals are destroyed promptly on cancellation", locals_in_order::<S>;
        "CA-2.10", "hundreds of suspended tasks are cancelled at a time",
        "each cancellation looked up in a list of all", many_at_a_time::<S>;

        "CA-3.1", "cancel().await returns after the destructor has ended, and not before",
        "risingwave 7663: aborted is not stopped", waits_for_destructor::<S>;
        "CA-3.2", "cancelling a finished task gives its output, or its panic",
        "Tokio tests it: the value must not be thrown away", finished_first::<S>;
        "CA-3.3", "aborting is idempotent, through any number of handles, before and after the end",
        "the second request finds a state that the first did not", idempotent::<S>;
        "CA-3.4", "aborting works from any thread and any kind of code",
        "a cancellation that must come from the owner's thread", from_anywhere::<S>;
        "CA-3.5", "an abort handle works after the task's handle is detached, and knows the end",
        "the only way to stop a detached task", after_detach::<S>;
        "CA-3.6", "cancel() acts by being called, not by its first poll",
        "smol: a cancel that is not awaited does nothing until it is dropped", acts_when_called::<S>;
        "CA-3.7", "giving up on cancel() does not give up the cancelling",
        "a timeout around cancel().await brings the task back to life", giving_up::<S>;
        "CA-3.8", "a task cancels another of its runtime, and waits for it, in turns",
        "on one thread the waiter is in the way of the destructor", task_cancels_task::<S>;
        "CA-3.9", "tasks that cancel each other are both destroyed",
        "each holds what the other waits for", mutual::<S>;
        "CA-3.10", "a future that owns its task's handle is destroyed, and drops it there",
        "the handle's drop aborts the task that is being destroyed", owns_itself::<S>;
        "CA-3.11", "an abort that comes while cancel() waits, and wakers that change, disturb nothing",
        "the joiner's waker is lost when the task changes hands", cancel_with_many_wakers::<S>;
        "CA-3.12", "eight threads abort one task at a time",
        "two of them take the waker", concurrent_aborts::<S>;
        "CA-3.13", "an abort handle outlives the runtime",
        "the task behind it is freed with its executor", outlives_runtime::<S>;
        "CA-3.14", "aborting returns at once, and runs no destructor on the aborting thread's locks",
        "a destructor that blocks would block whoever cancels", abort_returns::<S>;

        "CA-4.1", "a destructor that panics on cancellation: the join has the payload",
        "Tokio tests it; async-task aborts the process", destructor_panics::<S>;
        "CA-4.2", "a destructor that panics before the first poll: the same",
        "never polled is another path", destructor_panics_unpolled::<S>;
        "CA-4.3", "a destructor that panics when the handle is dropped: contained, told to the hook once",
        "tokio 4412: the panic came out of the handle's drop", destructor_panics_dropped::<S>;
        "CA-4.4", "a destructor that panics in a detached, aborted task: contained, told once",
        "nobody is there to take it", destructor_panics_detached::<S>;
        "CA-4.5", "hundreds of panicking destructors leave the runtime at work",
        "workers that die quietly", destructors_panic_often::<S>;
        "CA-4.6", "a destructor may block on what another thread does",
        "the canceller waits for the destructor, and the destructor for the canceller", destructor_blocks::<S>;
        "CA-4.7", "a destructor may spawn and offload",
        "clean-up that needs the runtime, under the runtime's locks", destructor_spawns::<S>;
        "CA-4.8", "a destructor may wake its own task and others",
        "a wake of a task that is going away", destructor_wakes::<S>;
        "CA-4.9", "a destructor may send to a sibling that waits for it",
        "the sibling is polled inline, or never", destructor_sends::<S>;
        "CA-4.10", "a destructor may abort its own task, and drop siblings' handles in a chain",
        "cancellation that recurses into itself", destructor_cancels::<S>;
        "CA-4.11", "a destructor may replace the waker, ask and poll through handles of others",
        "state that is locked while the destructor runs", destructor_asks::<S>;
        "CA-4.12", "a handle dropped by an unwinding thread, whose task's destructor panics, does not abort",
        "two panics on one thread end the process", unwinding_canceller::<S>;
        "CA-4.13", "a payload whose destructor panics, out of a destructor, is contained",
        "containment that contains one panic only", nasty_payload::<S>;
    ]
}

type TaskOf<S, T> = <<S as Subject>::Runtime as Spawner>::Task<T>;

/// A suspended task under a puppet.
fn suspended<S: Subject>(rt: &S::Runtime) -> (Puppet, TaskOf<S, usize>) {
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    (puppet, task)
}

/// Is polled once, and suspended; `on_drop` is called by its destructor.
fn stays<F: FnMut() + Send + 'static>(
    started: &Gate,
    on_drop: F,
) -> impl Future<Output = ()> + Send + 'static {
    let started = started.clone();
    // Boxed, for closures need not be Unpin.
    let on_drop: Box<dyn FnMut() + Send> = Box::new(on_drop);
    HandMade {
        poll: move |_: &mut Context<'_>| {
            started.open();
            Poll::Pending
        },
        on_drop: OnDrop(on_drop),
    }
}

/// Spawns such a task, and waits until it is suspended.
fn spawn_stays<S: Subject>(
    rt: &S::Runtime,
    on_drop: impl FnMut() + Send + 'static,
) -> TaskOf<S, ()> {
    let started = Gate::new();
    let task = rt.spawn(stays(&started, on_drop));
    started.wait();
    task
}

fn in_order<S: Subject>(rt: &S::Runtime) {
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn text(error: JoinError) -> String {
    error.panic_message().unwrap_or_default().to_owned()
}

// CA-1

fn drop_cancels<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..20 {
        let (puppet, task) = suspended::<S>(&rt);
        drop(task);
        puppet.destroyed();
        assert_eq!(puppet.polls(), 1);
    }
}

fn drop_cancels_anywhere<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let (puppets, tasks): (Vec<_>, Vec<_>) = (0..7).map(|_| suspended::<S>(&rt)).unzip();
    let mut tasks = tasks.into_iter();
    let mut next = || tasks.next().expect("seven");
    let task = next();
    rt.block_on(rt.spawn(async move { drop(task) })).unwrap();
    let task = next();
    other
        .block_on(other.spawn(async move { drop(task) }))
        .unwrap();
    let task = next();
    rt.block_on(rt.offload(move || drop(task))).unwrap();
    let task = next();
    rt.block_on(async move { drop(task) });
    let task = next();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _task = task;
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    let task = next();
    on_thread(move || at_thread_end(move || drop(task)));
    let task = next();
    let result = rt.block_on(rt.spawn(async move {
        let _task = task;
        yield_now().await;
        panic_quietly("a task that unwinds")
    }));
    let result: Result<(), _> = result;
    assert!(result.is_err());
    puppets.iter().for_each(Puppet::destroyed);
}

fn detached_runs_on<S: Subject>() {
    let rt = build::<S>();
    // Before it starts, perhaps.
    let (done, gate) = Gate::pair();
    rt.spawn(async move { done.open() }).detach();
    gate.wait();
    // While it is suspended.
    let (puppet, task) = suspended::<S>(&rt);
    task.detach();
    puppet.wake();
    puppet.polled(2);
    puppet.finish();
    puppet.destroyed();
    assert_eq!(puppet.polls(), 3);
    // While it runs.
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let (done, gate) = Gate::pair();
    let task = rt.spawn(async move {
        started.open();
        waits.wait();
        yield_now().await;
        done.open();
    });
    has_started.wait();
    task.detach();
    go.open();
    gate.wait();
    // After its end.
    let task = rt.spawn(ready(1));
    eventually("it is finished", || task.is_finished());
    task.detach();
    // After a join has waited for it.
    let (puppet, mut task) = suspended::<S>(&rt);
    let (waker, _) = CountingWaker::new();
    assert!(poll_once(&mut task, &waker).is_pending());
    task.detach();
    puppet.finish();
    puppet.destroyed();
    assert_eq!(puppet.polls(), 2);
}

fn detach_boxed<S: Subject>() {
    let rt = build::<S>();
    let (puppet, task) = suspended::<S>(&rt);
    let task: Box<dyn Task<usize>> = Box::new(task);
    task.detach_boxed();
    puppet.wake();
    puppet.polled(2);
    puppet.finish();
    puppet.destroyed();
    let (puppet, task) = suspended::<S>(&rt);
    let task: Box<dyn Task<usize>> = Box::new(task);
    drop(task);
    puppet.destroyed();
}

fn abort_then_let_go<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..20 {
        let (puppet, task) = suspended::<S>(&rt);
        task.abort();
        drop(task);
        puppet.destroyed();
        let (puppet, task) = suspended::<S>(&rt);
        task.abort();
        task.detach();
        puppet.destroyed();
        let (puppet, task) = suspended::<S>(&rt);
        task.abort_handle().abort();
        drop(task);
        puppet.destroyed();
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = task.abort_handle();
        task.detach();
        aborts.abort();
        drop(aborts);
        puppet.destroyed();
        // And right after the spawn.
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        task.abort();
        task.detach();
        puppet.destroyed();
    }
}

fn abort_handle_dropped<S: Subject>() {
    let rt = build::<S>();
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    drop(aborts.clone());
    drop(aborts);
    drop(task.abort_handle());
    puppet.wake();
    puppet.polled(2);
    // The last one goes after the detaching.
    let aborts = task.abort_handle();
    task.detach();
    drop(aborts);
    puppet.wake();
    puppet.polled(3);
    puppet.finish();
    puppet.destroyed();
    // An abort handle does not keep the task from being cancelled by its handle.
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    drop(task);
    puppet.destroyed();
    eventually("it knows of the end", || aborts.is_finished());
    // Nor the output of a finished task from being dropped with the handle.
    let drops = Counter::new();
    let value = drops.on_drop();
    let task = rt.spawn(async move { value });
    let aborts = task.abort_handle();
    eventually("it is finished", || task.is_finished());
    drop(task);
    eventually("the output is dropped", || drops.get() == 1);
    drop(aborts);
}

fn dropped_after_poll<S: Subject>() {
    let rt = build::<S>();
    for with_abort_handle in [false, true] {
        let (puppet, mut task) = suspended::<S>(&rt);
        let aborts = with_abort_handle.then(|| task.abort_handle());
        let (waker, _) = CountingWaker::new();
        assert!(poll_once(&mut task, &waker).is_pending());
        drop(task);
        puppet.destroyed();
        drop(aborts);
        // A join in a task that is cancelled itself.
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = with_abort_handle.then(|| task.abort_handle());
        let (awaiting, awaited) = Gate::pair();
        let joiner = rt.spawn(async move {
            awaiting.open();
            task.await
        });
        awaited.wait();
        assert!(
            rt.block_on(joiner.cancel())
                .is_err_and(|e| e.is_cancelled())
        );
        puppet.destroyed();
        drop(aborts);
    }
}

// CA-2

fn before_first_poll<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 1);
    let occupied = occupy(&rt);
    // With the handle kept, aborted; dropped; through cancel; detached.
    let puppets: Vec<Puppet> = (0..4).map(|_| Puppet::new()).collect();
    let mut tasks = puppets.iter().map(|puppet| rt.spawn(puppet.future()));
    let mut next = || tasks.next().expect("four");
    let aborted = next();
    aborted.abort();
    drop(next());
    let cancelled = next().cancel();
    let detached = next();
    let aborts = detached.abort_handle();
    detached.detach();
    aborts.abort();
    let entirely = occupied.entirely;
    drop(occupied);
    assert!(drive(aborted).is_err_and(|error| error.is_cancelled()));
    assert!(drive(cancelled).is_err_and(|error| error.is_cancelled()));
    for puppet in &puppets {
        puppet.destroyed();
        if entirely {
            assert_eq!(puppet.polls(), 0, "polled after it was cancelled");
        }
    }
}

fn while_suspended<S: Subject>() {
    let rt = build::<S>();
    for polls in [1, 2, 5] {
        let (puppet, task) = suspended::<S>(&rt);
        for n in 1..polls {
            puppet.wake();
            puppet.polled(n + 1);
        }
        task.abort();
        // Nobody polls the handle, nobody wakes the task.
        puppet.destroyed();
        puppet.wake();
        assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
        assert_eq!(puppet.polls(), polls);
    }
    // One that has never given its waker to anyone.
    let drops = Counter::new();
    let count = drops.clone();
    let task = spawn_stays::<S>(&rt, move || {
        count.add();
    });
    task.abort();
    eventually("it is destroyed", || drops.get() == 1);
    assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
}

fn during_poll<S: Subject>() {
    let rt = build::<S>();
    for round in 0..20 {
        let (started, has_started) = Gate::pair();
        let (go, waits) = Gate::pair();
        let polling = Arc::new(AtomicBool::new(false));
        let (drops, early, polls) = (Counter::new(), Counter::new(), Counter::new());
        let task = rt.spawn(HandMade {
            poll: {
                let (polling, polls) = (polling.clone(), polls.clone());
                move |_: &mut Context<'_>| -> Poll<()> {
                    polls.add();
                    polling.store(true, Ordering::SeqCst);
                    started.open();
                    // Freed by the thread that cancels, which needs no worker.
                    waits.wait();
                    polling.store(false, Ordering::SeqCst);
                    Poll::Pending
                }
            },
            on_drop: OnDrop({
                let (polling, drops, early) = (polling.clone(), drops.clone(), early.clone());
                move || {
                    if polling.load(Ordering::SeqCst) {
                        early.add();
                    }
                    drops.add();
                }
            }),
        });
        has_started.wait();
        let aborts = task.abort_handle();
        let result = if round % 2 == 0 {
            let mut cancel = task.cancel();
            assert!(poll_once(&mut cancel, Waker::noop()).is_pending());
            assert!(!aborts.is_finished());
            go.open();
            drive(cancel)
        } else {
            task.abort();
            assert!(!task.is_finished());
            go.open();
            drive(task)
        };
        assert!(result.is_err_and(|error| error.is_cancelled()));
        assert_eq!((polls.get(), drops.get(), early.get()), (1, 1, 0));
    }
}

fn by_itself<S: Subject>() {
    let rt = build::<S>();
    for finish in [false, true] {
        for early in [false, true] {
            let (sender, handles) = mpsc::channel::<AbortHandle>();
            let (outputs, futures, polls) = (Counter::new(), Counter::new(), Counter::new());
            let mut output = Some(outputs.on_drop());
            let count = polls.clone();
            let task = rt.spawn(HandMade {
                poll: move |cx: &mut Context<'_>| {
                    if count.add() == 1 && !early {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    receive(&handles).abort();
                    if finish {
                        Poll::Ready(output.take())
                    } else {
                        Poll::Pending
                    }
                },
                on_drop: futures.on_drop(),
            });
            let _ = sender.send(task.abort_handle());
            match rt.block_on(task) {
                Ok(output) => {
                    assert!(finish && outputs.get() == 0);
                    drop(output);
                }
                Err(error) => assert!(error.is_cancelled()),
            }
            eventually("all is dropped, once", || {
                outputs.get() == 1 && futures.get() == 1
            });
            assert_eq!(polls.get(), if early { 1 } else { 2 });
        }
    }
}

fn wake_and_cancel<S: Subject>() {
    let rt = build::<S>();
    for order in 0..4 {
        for _ in 0..10 {
            let (sender, handles) = mpsc::channel::<AbortHandle>();
            let (drops, polls) = (Counter::new(), Counter::new());
            let count = polls.clone();
            let task = rt.spawn(HandMade {
                poll: move |cx: &mut Context<'_>| -> Poll<()> {
                    if count.add() > 1 {
                        return Poll::Ready(());
                    }
                    let aborts = receive(&handles);
                    match order {
                        0 => {
                            cx.waker().wake_by_ref();
                            aborts.abort();
                        }
                        1 => {
                            aborts.abort();
                            cx.waker().wake_by_ref();
                        }
                        2 => {
                            cx.waker().clone().wake();
                            aborts.abort();
                            cx.waker().clone().wake();
                        }
                        _ => {
                            // On another thread, at the same time.
                            let waker = cx.waker().clone();
                            let other = thread::spawn(move || waker.wake());
                            aborts.abort();
                            let _ = other.join();
                        }
                    }
                    Poll::Pending
                },
                on_drop: drops.on_drop(),
            });
            let _ = sender.send(task.abort_handle());
            let result = rt.block_on(task);
            assert!(result.is_err_and(|error| error.is_cancelled()));
            assert_eq!((polls.get(), drops.get()), (1, 1));
        }
    }
}

fn woken_then_cancelled<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 1);
    let (aborted, task) = suspended::<S>(&rt);
    let (dropped, other) = suspended::<S>(&rt);
    let occupied = occupy(&rt);
    aborted.wake();
    dropped.wake();
    task.abort();
    drop(other);
    let entirely = occupied.entirely;
    drop(occupied);
    assert!(drive(task).is_err_and(|error| error.is_cancelled()));
    for puppet in [aborted, dropped] {
        puppet.destroyed();
        if entirely {
            assert_eq!(puppet.polls(), 1, "polled after it was cancelled");
        }
    }
}

fn cancel_race<S: Subject>() {
    let rt = build::<S>();
    for round in 0..100_u32 {
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = task.abort_handle();
        let barrier = Arc::new(Barrier::new(3));
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let (waker, barrier) = (puppet.waker(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    for _ in 0..20 {
                        waker.wake_by_ref();
                    }
                })
            })
            .collect();
        barrier.wait();
        for _ in 0..(round % 20) * 10 {
            std::hint::spin_loop();
        }
        match round % 3 {
            0 => drop(task),
            1 => {
                aborts.abort();
                task.detach();
            }
            _ => assert!(rt.block_on(task.cancel()).is_err()),
        }
        puppet.destroyed();
        let polls = puppet.polls();
        for waker in wakers {
            waker.join().expect("waking does not panic");
        }
        puppet.sound();
        assert_eq!(puppet.polls(), polls, "polled after it was destroyed");
    }
}

fn self_waking<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..5 {
        let drops = Counter::new();
        let value = drops.on_drop();
        let (started, gate) = Gate::pair();
        let task = rt.spawn(async move {
            let _value = value;
            loop {
                started.open();
                yield_now().await;
            }
        });
        gate.wait();
        let result: Result<(), _> = rt.block_on(task.cancel());
        assert!(result.unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
    }
}

fn locals_in_order<S: Subject>() {
    let rt = build::<S>();
    let (sender, order) = mpsc::channel();
    let note = |n: u32| {
        let sender = sender.clone();
        OnDrop(move || {
            let _ = sender.send(n);
        })
    };
    let (started, gate) = Gate::pair();
    let values = (note(1), note(2), note(3), note(4));
    let task = rt.spawn(async move {
        let (a, b, c, d) = values;
        let _a = a;
        async move {
            let _b = b;
            let _c = c;
            async move {
                let _d = d;
                started.open();
                pending::<()>().await;
            }
            .await;
        }
        .await;
    });
    gate.wait();
    assert!(rt.block_on(task.cancel()).is_err());
    let seen: Vec<u32> = order.try_iter().collect();
    assert_eq!(seen, [4, 3, 2, 1]);
}

fn many_at_a_time<S: Subject>() {
    let rt = build::<S>();
    let (puppets, tasks): (Vec<_>, Vec<_>) = (0..200).map(|_| suspended::<S>(&rt)).unzip();
    for task in &tasks {
        task.abort();
    }
    for (puppet, task) in puppets.iter().zip(tasks) {
        assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
        assert_eq!((puppet.polls(), puppet.drops()), (1, 1));
    }
}

// CA-3

fn waits_for_destructor<S: Subject>() {
    let rt = build::<S>();
    for by_handle in [false, true] {
        let (destroying, begun) = Gate::pair();
        let (go, waits) = Gate::pair();
        let ended = Arc::new(AtomicBool::new(false));
        let sets = ended.clone();
        let task = spawn_stays::<S>(&rt, move || {
            destroying.open();
            // For the thread that cancels, which needs no worker for this.
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

fn finished_first<S: Subject>() {
    let rt = build::<S>();
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

fn idempotent<S: Subject>() {
    let rt = build::<S>();
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

fn from_anywhere<S: Subject>() {
    let rt = build::<S>();
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

fn after_detach<S: Subject>() {
    let rt = build::<S>();
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    task.detach();
    puppet.wake();
    puppet.polled(2);
    assert!(!aborts.is_finished());
    aborts.abort();
    eventually("it knows of the end", || aborts.is_finished());
    assert_eq!(puppet.drops(), 1);
    // One that ends by itself.
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    task.detach();
    puppet.finish();
    eventually("it knows of the end", || aborts.is_finished());
    assert_eq!(puppet.drops(), 1);
    aborts.abort();
}

fn acts_when_called<S: Subject>() {
    let rt = build::<S>();
    for with_abort_handle in [false, true] {
        let (puppet, task) = suspended::<S>(&rt);
        let aborts = with_abort_handle.then(|| task.abort_handle());
        let cancel = task.cancel();
        puppet.destroyed();
        assert!(rt.block_on(cancel).is_err_and(|error| error.is_cancelled()));
        drop(aborts);
    }
}

fn giving_up<S: Subject>() {
    let rt = build::<S>();
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

fn task_cancels_task<S: Subject>() {
    let rt = build::<S>();
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

fn mutual<S: Subject>() {
    let rt = build::<S>();
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
        // Each by the other; or one by the other before that could act.
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

fn owns_itself<S: Subject>() {
    let rt = build::<S>();
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

fn cancel_with_many_wakers<S: Subject>() {
    let rt = build::<S>();
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

fn concurrent_aborts<S: Subject>() {
    let rt = build::<S>();
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

fn outlives_runtime<S: Subject>() {
    let rt = build::<S>();
    let (puppet, task) = suspended::<S>(&rt);
    let aborts = task.abort_handle();
    let finished = rt.spawn(ready(1));
    let late = finished.abort_handle();
    eventually("it is finished", || finished.is_finished());
    task.detach();
    if S::capabilities().shutdown {
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

fn abort_returns<S: Subject>() {
    let rt = build::<S>();
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
        // Were the destructor run here, nobody would open the gate.
        let task = way(task);
        go.open();
        ended.wait();
        if let Some(task) = task {
            assert!(drive(task).is_err_and(|error| error.is_cancelled()));
        }
    }
}

// CA-4

fn destructor_panics<S: Subject>() {
    let rt = build::<S>();
    for with_abort_handle in [false, true] {
        for awaited in [false, true] {
            let watch = HookWatch::new();
            let inner = watch.clone();
            let task = spawn_stays::<S>(&rt, move || inner.panic());
            let aborts = with_abort_handle.then(|| task.abort_handle());
            let result = if awaited {
                task.abort();
                rt.block_on(task)
            } else {
                rt.block_on(task.cancel())
            };
            let error = result.unwrap_err();
            assert!(error.is_panic() && !error.is_cancelled());
            let payload = error.into_panic();
            assert_eq!(payload.downcast_ref::<String>().unwrap(), watch.text());
            assert_eq!(watch.seen().len(), 1);
            drop(aborts);
        }
    }
    in_order::<S>(&rt);
}

fn destructor_panics_unpolled<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 1);
    let watch = HookWatch::new();
    let occupied = occupy(&rt);
    let inner = watch.clone();
    let task = rt.spawn(stays(&Gate::new(), move || inner.panic()));
    let cancel = task.cancel();
    drop(occupied);
    let error = drive(cancel).unwrap_err();
    assert_eq!(text(error), watch.text());
    assert_eq!(watch.seen().len(), 1);
    in_order::<S>(&rt);
}

fn destructor_panics_dropped<S: Subject>() {
    let rt = build::<S>();
    for with_abort_handle in [false, true] {
        let watch = HookWatch::new();
        let inner = watch.clone();
        let task = spawn_stays::<S>(&rt, move || inner.panic());
        let aborts = with_abort_handle.then(|| task.abort_handle());
        drop(task);
        eventually("the hook is told", || !watch.seen().is_empty());
        in_order::<S>(&rt);
        assert_eq!(watch.seen().len(), 1);
        if let Some(aborts) = aborts {
            eventually("it is finished", || aborts.is_finished());
        }
    }
}

fn destructor_panics_detached<S: Subject>() {
    let rt = build::<S>();
    let watch = HookWatch::new();
    let inner = watch.clone();
    let task = spawn_stays::<S>(&rt, move || inner.panic());
    let aborts = task.abort_handle();
    task.detach();
    aborts.abort();
    eventually("it is finished", || aborts.is_finished());
    assert_eq!(watch.seen().len(), 1);
    in_order::<S>(&rt);
}

fn destructors_panic_often<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    for round in 0..200 {
        let count = drops.clone();
        let task = spawn_stays::<S>(&rt, move || {
            count.add();
            panic_quietly("one of many");
        });
        match round % 3 {
            0 => drop(task),
            1 => assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_panic())),
            _ => {
                task.abort();
                task.detach();
            }
        }
    }
    eventually("all are destroyed", || drops.get() == 200);
    in_order::<S>(&rt);
    let sum = rt.block_on(rt.offload(|| 2)).unwrap();
    assert_eq!(sum, 2);
}

fn destructor_blocks<S: Subject>() {
    let rt = build::<S>();
    let (go, waits) = Gate::pair();
    let (done, ended) = Gate::pair();
    let task = spawn_stays::<S>(&rt, move || {
        waits.wait();
        done.open();
    });
    // The thread that frees it waits for the cancelling to have begun.
    let aborts = task.abort_handle();
    let cancel = task.cancel();
    assert!(!aborts.is_finished());
    let freed = thread::spawn(move || go.open());
    assert!(drive(cancel).is_err_and(|error| error.is_cancelled()));
    assert!(ended.is_open());
    freed.join().expect("opening a gate does not panic");
    in_order::<S>(&rt);
}

fn destructor_spawns<S: Subject>() {
    let rt = build::<S>();
    for detach in [false, true] {
        let (spawned, gate) = Gate::pair();
        let (offloaded, other_gate) = Gate::pair();
        let inner = rt.clone();
        let task = spawn_stays::<S>(&rt, move || {
            let (spawned, offloaded) = (spawned.clone(), offloaded.clone());
            inner.spawn(async move { spawned.open() }).detach();
            inner.offload(move || offloaded.open()).detach();
        });
        if detach {
            let aborts = task.abort_handle();
            task.detach();
            aborts.abort();
        } else {
            assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
        }
        gate.wait();
        other_gate.wait();
    }
}

fn destructor_wakes<S: Subject>() {
    let rt = build::<S>();
    let (sibling, waiting) = suspended::<S>(&rt);
    let place: Arc<Mutex<Option<Waker>>> = Arc::default();
    let polls = Counter::new();
    let (keep, own, wakes_sibling, count) =
        (place.clone(), place.clone(), sibling.clone(), polls.clone());
    let (started, gate) = Gate::pair();
    let task = rt.spawn(HandMade {
        poll: move |cx: &mut Context<'_>| -> Poll<()> {
            count.add();
            let waker = cx.waker().clone();
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
            started.open();
            Poll::Pending
        },
        on_drop: OnDrop(move || {
            let waker = own.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake_by_ref();
                waker.clone().wake();
                drop(waker);
            }
            wakes_sibling.wake();
        }),
    });
    gate.wait();
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    sibling.polled(2);
    assert_eq!(polls.get(), 1);
    sibling.finish();
    rt.block_on(waiting).unwrap();
}

fn destructor_sends<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..20 {
        let (gone, told) = Gate::pair();
        let (waiting, waits) = Gate::pair();
        let sibling = rt.spawn(async move {
            waiting.open();
            told.opened().await;
            5
        });
        waits.wait();
        let task = spawn_stays::<S>(&rt, move || gone.open());
        drop(task);
        assert_eq!(rt.block_on(sibling).unwrap(), 5);
    }
}

fn destructor_cancels<S: Subject>() {
    let rt = build::<S>();
    // Each future's destructor drops the handle of the one before.
    let drops = Counter::new();
    let count = drops.clone();
    let mut task = spawn_stays::<S>(&rt, move || {
        count.add();
    });
    for _ in 0..100 {
        let mut before = Some(task);
        let count = drops.clone();
        task = spawn_stays::<S>(&rt, move || {
            drop(before.take());
            count.add();
        });
    }
    drop(task);
    eventually("all of the chain are destroyed", || drops.get() == 101);
    // Its own task.
    let (sender, handles) = mpsc::channel::<AbortHandle>();
    let task = spawn_stays::<S>(&rt, move || {
        let own = receive(&handles);
        own.abort();
        let _ = own.is_finished();
        drop(own);
    });
    let _ = sender.send(task.abort_handle());
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    in_order::<S>(&rt);
}

fn destructor_asks<S: Subject>() {
    let rt = build::<S>();
    let (puppet, sibling) = suspended::<S>(&rt);
    let mut sibling = Some(sibling);
    let (sender, seen) = mpsc::channel();
    let task = spawn_stays::<S>(&rt, move || {
        let mut sibling = sibling.take().expect("destroyed once");
        let pending = poll_once(&mut sibling, Waker::noop()).is_pending();
        let finished = sibling.is_finished();
        let _ = sender.send((pending, finished, sibling));
    });
    let aborts = task.abort_handle();
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    assert!(aborts.is_finished());
    let (pending, finished, sibling) = receive(&seen);
    assert!(pending && !finished);
    puppet.finish();
    rt.block_on(sibling).unwrap();
}

fn unwinding_canceller<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    for unpolled in [false, true] {
        let count = drops.clone();
        let panics = move || {
            count.add();
            panic_quietly("a destructor");
        };
        let task = if unpolled {
            rt.spawn(stays(&Gate::new(), panics))
        } else {
            spawn_stays::<S>(&rt, panics)
        };
        let result = catch_unwind(AssertUnwindSafe(move || {
            let _task = task;
            panic_quietly("outer")
        }));
        let payload = result.expect_err("the outer panic goes on");
        assert_eq!(payload.downcast_ref(), Some(&"outer"));
    }
    // In a task: the panicking destructor belongs to the task of a local.
    let count = drops.clone();
    let local = spawn_stays::<S>(&rt, move || {
        count.add();
        panic_quietly("a destructor");
    });
    let task = rt.spawn(async move {
        let _local = local;
        yield_now().await;
        panic_quietly("outer");
    });
    let error: Result<(), _> = rt.block_on(task);
    assert_eq!(text(error.unwrap_err()), "outer");
    eventually("all are destroyed", || drops.get() == 3);
    in_order::<S>(&rt);
}

fn nasty_payload<S: Subject>() {
    struct Nasty(Counter);
    impl Drop for Nasty {
        fn drop(&mut self) {
            self.0.add();
            panic_quietly("a payload's destructor");
        }
    }
    let rt = build::<S>();
    let drops = Counter::new();
    let spawn = || {
        let count = drops.clone();
        spawn_stays::<S>(&rt, move || {
            std::panic::resume_unwind(Box::new(Nasty(count.clone())))
        })
    };
    let error = rt.block_on(spawn().cancel()).unwrap_err();
    let payload = error.into_panic();
    assert!(payload.is::<Nasty>());
    assert!(catch_unwind(AssertUnwindSafe(move || drop(payload))).is_err());
    // Nobody takes it: it is not told when it is dropped, if ever.
    drop(spawn());
    let task = spawn();
    let aborts = task.abort_handle();
    task.detach();
    aborts.abort();
    eventually("it is finished", || aborts.is_finished());
    in_order::<S>(&rt);
}
