//! SH-3, use during the shutdown: waking, spawning and dropping.

use std::{
    future::pending,
    sync::{Arc, Barrier, mpsc},
    thread,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Puppet, at_thread_end, drive, eventually, on_threads, receive},
};

use super::{TaskOf, clean, is_shutdown, spawn_stays, suspended};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SH-3.1", "spawns that race with the shutdown resolve, and each future is dropped once",
        "the last push to a queue that nobody reads", spawn_race, needs [Shutdown];
        "SH-3.2", "ten thousand wakes race with the shutdown",
        "Tokio tests it: a wake-up of a task that is being destroyed", wake_race, needs [Shutdown];
        "SH-3.3", "handles that are dropped, detached and aborted race with the shutdown",
        "two who destroy one future", handle_race, needs [Shutdown];
        "SH-3.4", "offloads that race with the shutdown resolve",
        "a closure that is stranded between the queue and the end", offload_race, needs [Shutdown];
        "SH-3.5", "a destructor may spawn and offload during the shutdown",
        "Tokio tests it: it hung", destructor_spawns, needs [Shutdown];
        "SH-3.6", "a destructor may wake, drop and abort siblings during the shutdown",
        "a list of tasks that changes while it is walked", destructor_touches, needs [Shutdown];
        "SH-3.7", "a destructor may drop a handle on the runtime during the shutdown",
        "the last handle goes in the middle of it", destructor_drops_handle, needs [Shutdown];
        "SH-3.8", "four shutdowns at a time all come to an end",
        "each waits for the threads that the other one has joined", concurrent, needs [Shutdown];
        "SH-3.9", "spawning, waking and dropping work in thread-locals' destructors of workers that end",
        "tokio 4973: the runtime ends, and its threads use it once more", worker_tls, needs [Shutdown];
        "SH-3.10", "waking, spawning and dropping race with the drop of the last handle",
        "the same without anyone who waits", drop_race;
    ]
}

fn spawn_race<S: Setup>(s: S) {
    for round in 0..15_u32 {
        let rt = s.build();
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

fn wake_race<S: Setup>(s: S) {
    for _ in 0..5 {
        let rt = s.build();
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

fn handle_race<S: Setup>(s: S) {
    for _ in 0..10 {
        let rt = s.build();
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

fn offload_race<S: Setup>(s: S) {
    for round in 0..15_u32 {
        let rt = s.build_with(|config| config.offload_limit = 2);
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

fn destructor_spawns<S: Setup>(s: S) {
    let rt = s.build();
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

fn destructor_touches<S: Setup>(s: S) {
    for _ in 0..5 {
        let rt = s.build();
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

fn destructor_drops_handle<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    // Their handles are kept: detached tasks that cannot be woken may be destroyed at once.
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

fn concurrent<S: Setup>(s: S) {
    for _ in 0..10 {
        let rt = s.build();
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

fn worker_tls<S: Setup>(s: S) {
    for _ in 0..5 {
        let rt = s.build();
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

fn drop_race<S: Setup>(s: S) {
    for round in 0..20_u32 {
        let rt = s.build();
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
