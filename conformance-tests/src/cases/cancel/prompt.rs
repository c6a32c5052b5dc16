//! CA-2, cancelled promptly: before, between and during polls.

use std::{
    future::pending,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
};

use fourway_core::{AbortHandle, BlockOn, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, Gate, HandMade, OnDrop, Puppet, drive, eventually, occupy, poll_once, receive,
    },
};

use super::{spawn_stays, suspended};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CA-2.1", "cancelled before its first poll: never polled, and destroyed",
        "async-task tests it: side effects of work that was called off", before_first_poll;
        "CA-2.2", "cancelled while suspended: destroyed promptly, without a wake, never polled again",
        "tokio 3157: the future lives on until somebody wakes it", while_suspended;
        "CA-2.3", "cancelled by another thread during a poll: destroyed after that poll",
        "async-task tests it: the future is freed under the poll's feet", during_poll;
        "CA-2.4", "cancelled by itself during a poll: destroyed after that poll, or finished",
        "as before, on one thread", by_itself;
        "CA-2.5", "woken and cancelled during a poll, in both orders: one poll, one destruction",
        "async-task tests it: the two flags overwrite each other", wake_and_cancel;
        "CA-2.6", "cancelled when it was woken and not yet polled: not polled again",
        "the queue entry of a cancelled task is run all the same", woken_then_cancelled;
        "CA-2.7", "wakes and cancellations from many threads: destroyed once, never polled after",
        "tokio 3662: cancelling from another thread races with everything", cancel_race;
        "CA-2.8", "a task that wakes itself all the time is cancelled",
        "it is never suspended long enough to be noticed", self_waking;
        "CA-2.9", "locals are destroyed in order, the latest first, through all nested futures",
        "anyio tests it: locals are destroyed promptly on cancellation", locals_in_order;
        "CA-2.10", "hundreds of suspended tasks are cancelled at a time",
        "each cancellation looked up in a list of all", many_at_a_time;
    ]
}

fn before_first_poll<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    let occupied = occupy(&rt);
    // Aborted with the handle kept; dropped; by `cancel`; detached.
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

fn while_suspended<S: Setup>(s: S) {
    let rt = s.build();
    for polls in [1, 2, 5] {
        let (puppet, task) = suspended::<S>(&rt);
        for n in 1..polls {
            puppet.wake();
            puppet.polled(n + 1);
        }
        task.abort();
        // The handle is not polled and the task is not woken.
        puppet.destroyed();
        puppet.wake();
        assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
        assert_eq!(puppet.polls(), polls);
    }
    // A task that has never given its waker away.
    let drops = Counter::new();
    let count = drops.clone();
    let task = spawn_stays::<S>(&rt, move || {
        count.add();
    });
    task.abort();
    eventually("it is destroyed", || drops.get() == 1);
    assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
}

fn during_poll<S: Setup>(s: S) {
    let rt = s.build();
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
                    // Freed by the cancelling thread, which needs no worker.
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

fn by_itself<S: Setup>(s: S) {
    let rt = s.build();
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

fn wake_and_cancel<S: Setup>(s: S) {
    let rt = s.build();
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

fn woken_then_cancelled<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
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

fn cancel_race<S: Setup>(s: S) {
    let rt = s.build();
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

fn self_waking<S: Setup>(s: S) {
    let rt = s.build();
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

fn locals_in_order<S: Setup>(s: S) {
    let rt = s.build();
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

fn many_at_a_time<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, tasks): (Vec<_>, Vec<_>) = (0..200).map(|_| suspended::<S>(&rt)).unzip();
    for task in &tasks {
        task.abort();
    }
    for (puppet, task) in puppets.iter().zip(tasks) {
        assert!(rt.block_on(task).is_err_and(|error| error.is_cancelled()));
        assert_eq!((puppet.polls(), puppet.drops()), (1, 1));
    }
}
