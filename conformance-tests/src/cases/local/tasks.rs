//! LO-1, local futures stay on their thread: the ends of a local task.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::Rc,
    thread,
};

use fourway_core::{
    BlockOn, Offload, Spawner, Timer,
    context::{self, Context},
    local::{self, LocalSpawner},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, OnDrop, drive, eventually, panic_quietly},
};

use super::{Here, MS};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "LO-1.1", "local tasks are polled on their thread alone, whoever wakes them",
        "Tokio tests it: an Rc on two threads is undefined behaviour", on_their_thread;
        "LO-1.2", "a wake from another thread reaches a loop that is parked",
        "Tokio tests it: a remote wake that nobody hears", remote_wake;
        "LO-1.3", "an abort from another thread is carried out on the task's own",
        "destroyed on the wrong thread, an Rc is a data race", remote_abort;
        "LO-1.4", "outputs need not be Send, and are joined on the thread",
        "the reason for local tasks", rc_output;
        "LO-1.5", "tasks that are left at the end are destroyed on the thread, and resolve as shut down",
        "nothing may stay behind that needs the thread", left_at_end;
        "LO-1.6", "dropping a handle cancels, detach lets it run, cancel waits",
        "the same rules as everywhere", handles;
        "LO-1.7", "a panic stays in its task, with its payload, and the others go on",
        "one bad widget must not take the window along", panics;
    ]
}

fn on_their_thread<S: Setup>(s: S) {
    let rt = s.build();
    let here = Here::new();
    local::block_on(&rt, async |local| {
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (here, inner) = (here.clone(), rt.clone());
                local.spawn_local(async move {
                    for round in 0..12 {
                        here.check();
                        match round % 4 {
                            0 => yield_now().await,
                            1 => inner.spawn(yield_now()).await.unwrap(),
                            2 => inner.offload(|| ()).await.unwrap(),
                            _ => inner.sleep(MS / 10).await,
                        }
                    }
                    here.check();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
            here.check();
        }
    })
    .unwrap();
    assert_eq!(Rc::strong_count(&here.1), 1);
}

fn remote_wake<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..50 {
        let (go, gate) = Gate::pair();
        let (waiting, waits) = Gate::pair();
        let remote = thread::spawn(move || {
            waits.wait();
            go.open();
        });
        local::block_on(&rt, async |local| {
            let rc = Rc::new(3);
            let task = local.spawn_local(async move {
                waiting.open();
                gate.opened().await;
                *rc
            });
            assert_eq!(task.await.unwrap(), 3);
        })
        .unwrap();
        eventually("the thread ends", || remote.is_finished());
    }
}

fn remote_abort<S: Setup>(s: S) {
    let rt = s.build();
    let here = Here::new();
    local::block_on(&rt, async |local| {
        let drops = Rc::new(Cell::new(0));
        let (inside, count) = (here.clone(), drops.clone());
        let (waiting, waits) = Gate::pair();
        let task = local.spawn_local(async move {
            let _value = OnDrop(move || {
                inside.check();
                count.set(count.get() + 1);
            });
            waiting.open();
            pending::<()>().await;
        });
        let handle = task.abort_handle();
        let remote = thread::spawn(move || {
            waits.wait();
            handle.abort();
            handle
        });
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
        // The thread only has to end.
        while !remote.is_finished() {
            yield_now().await;
        }
        assert!(remote.join().expect("no panic").is_finished());
    })
    .unwrap();
    assert_eq!(Rc::strong_count(&here.1), 1);
}

fn rc_output<S: Setup>(s: S) {
    let rt = s.build();
    let kept = Rc::new(RefCell::new(Vec::new()));
    let length = local::block_on(&rt, async |local| {
        let inner = local.clone();
        let kept = kept.clone();
        let outer = local.spawn_local(async move {
            let below = inner.spawn_local(async move {
                yield_now().await;
                kept.borrow_mut().push(1);
                kept
            });
            below.await.unwrap()
        });
        let same = outer.await.unwrap();
        same.borrow_mut().push(2);
        same.borrow().len()
    });
    assert_eq!(length, Ok(2));
    assert_eq!(Rc::strong_count(&kept), 1);
}

fn left_at_end<S: Setup>(s: S) {
    let rt = s.build();
    let here = Here::new();
    let drops = Counter::new();
    let mut kept = Vec::new();
    local::block_on(&rt, async |local| {
        for polled in [true, false, true, false] {
            let (inside, count) = (here.clone(), drops.clone());
            let value = OnDrop(move || {
                inside.check();
                assert_eq!(context::current(), Context::Async);
                count.add();
            });
            kept.push(local.spawn_local(async move {
                let _value = value;
                pending::<()>().await;
            }));
            if polled {
                yield_now().await;
                yield_now().await;
            }
        }
        let value = drops.on_drop();
        local
            .spawn_local(async move {
                let _value = value;
                pending::<()>().await;
            })
            .detach();
        yield_now().await;
    })
    .unwrap();
    assert_eq!(drops.get(), 5);
    for task in kept {
        assert!(task.is_finished());
        assert!(drive(task).unwrap_err().is_shutdown());
    }
    assert_eq!(Rc::strong_count(&here.1), 1);
}

fn handles<S: Setup>(s: S) {
    let rt = s.build();
    local::block_on(&rt, async |local| {
        let drops = Counter::new();
        let endless = || {
            let value = drops.on_drop();
            local.spawn_local(async move {
                let _value = value;
                pending::<()>().await;
            })
        };
        // Before and after the first poll.
        drop(endless());
        let task = endless();
        yield_now().await;
        drop(task);
        while drops.get() < 2 {
            yield_now().await;
        }
        let error = endless().cancel().await.unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(drops.get(), 3);
        let done = Rc::new(Cell::new(false));
        let inside = done.clone();
        let task = local.spawn_local(async move {
            yield_now().await;
            inside.set(true);
        });
        task.detach();
        while !done.get() {
            yield_now().await;
        }
        // Finished: the output stays.
        let task = local.spawn_local(async { 4 });
        while !task.is_finished() {
            yield_now().await;
        }
        task.abort();
        assert_eq!(task.cancel().await.unwrap(), 4);
    })
    .unwrap();
}

fn panics<S: Setup>(s: S) {
    let rt = s.build();
    local::block_on(&rt, async |local| {
        for late in [false, true] {
            let task = local.spawn_local(async move {
                if late {
                    yield_now().await;
                }
                panic_quietly("on purpose");
            });
            let beside = local.spawn_local(yield_now());
            let error = task.await.unwrap_err();
            assert_eq!(error.panic_message(), Some("on purpose"));
            beside.await.unwrap();
        }
        local
            .spawn_local(async { panic_quietly("detached") })
            .detach();
        // A destructor that panics on cancellation.
        let task = local.spawn_local(async {
            let _value = OnDrop(|| panic_quietly("in drop"));
            pending::<()>().await;
        });
        yield_now().await;
        yield_now().await;
        let error = task.cancel().await.unwrap_err();
        assert_eq!(error.panic_message(), Some("in drop"));
        assert_eq!(local.spawn_local(async { 5 }).await.unwrap(), 5);
    })
    .unwrap();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}
