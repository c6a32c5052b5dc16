//! LO-1, local futures stay on their thread: local tasks, the runtime around them, and the end.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
};

use fourway_core::{
    BlockOn, Offload, Spawner, Timer,
    context::{self, Context},
    implement,
    local::{self, LocalSpawner},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Answer, Counter, Gate, HandMade, OnDrop, ask, drive, on_thread, panic_quietly, receive,
    },
};

use super::{Here, MS};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "LO-1.8", "in async code it is refused, and the main future is not polled",
        "agnostic's spawn_local panics on smol", refused_in_async;
        "LO-1.9", "local tasks use tasks, closures and timers of the runtime",
        "the local part of a program is not alone", uses_runtime;
        "LO-1.10", "local tasks are async code and are refused to block",
        "they would stop all others on the thread", refused_to_block;
        "LO-1.11", "wakers and abort handles may be used after the end",
        "other threads do not know that it is over", after_end;
        "LO-1.12", "it works in an offloaded closure, on several threads at a time",
        "each has its own tasks", in_closures;
        "LO-1.13", "local tasks that wake themselves starve neither main nor the runtime",
        "one thread for all is where starving shows", spinning;
        "LO-1.14", "spawning in the destructors at the end is refused and harmless",
        "tokio: a Drop that spawns during shutdown hung", spawn_at_end;
        "LO-1.15", "if the main future panics, what is left is destroyed, and the panic goes on",
        "the way out that nobody tries", main_panics;
        "LO-1.16", "the future of a local task is gone before its join is seen",
        "as JO-2, for hand-made futures", destroyed_before_join;
        "LO-1.17", "a thousand local tasks wake each other in a ring",
        "one poll for each wake, and none lost", ring;
    ]
}

fn refused_in_async<S: Setup>(s: S) {
    let rt = s.build();
    let polls = Counter::new();
    let refused = |rt: &S::Runtime, polls: &Counter| {
        let result = local::block_on(rt, async |_| polls.add());
        result.is_err_and(|error| error.is_nested())
    };
    let (inner, count) = (rt.clone(), polls.clone());
    let task = rt.spawn(async move {
        let result = local::block_on(&inner, async |_| count.add());
        result.is_err_and(|error| error.is_nested())
    });
    assert!(rt.block_on(task).unwrap());
    assert!(rt.block_on(async { refused(&rt, &polls) }));
    let nested = local::block_on(&rt, async |local| {
        let in_main = refused(&rt, &polls);
        let (inner, count) = (rt.clone(), polls.clone());
        let task = local.spawn_local(async move {
            let result = local::block_on(&inner, async |_| count.add());
            result.is_err_and(|error| error.is_nested())
        });
        in_main && task.await.unwrap()
    });
    assert_eq!(nested, Ok(true));
    assert_eq!(polls.get(), 0);
}

fn uses_runtime<S: Setup>(s: S) {
    let rt = s.build();
    let sum = local::block_on(&rt, async |local| {
        let inner = rt.clone();
        let rc = Rc::new(1);
        let task = local.spawn_local(async move {
            inner.sleep(MS).await;
            let spawned = inner.spawn(async { 2 }).await.unwrap();
            let offloaded = inner.offload(|| 4).await.unwrap();
            let late = inner.timeout(MS, pending::<()>()).await;
            *rc + spawned + offloaded + if late.is_err() { 8 } else { 0 }
        });
        task.await.unwrap()
    });
    assert_eq!(sum, Ok(15));
}

fn refused_to_block<S: Setup>(s: S) {
    let rt = s.build();
    let answers = local::block_on(&rt, async |local| {
        let (inner, in_drop) = (rt.clone(), Rc::new(RefCell::new(None)));
        let (again, told) = (rt.clone(), in_drop.clone());
        let task = local.spawn_local(async move {
            let _value = OnDrop(move || *told.borrow_mut() = Some(ask(&again)));
            assert_eq!(context::current(), Context::Async);
            assert!(implement::runtime_id().is_some());
            yield_now().await;
            ask(&inner)
        });
        let in_task = task.await.unwrap();
        (in_task, in_drop.take(), ask(&rt))
    });
    let refused = Answer::Refused;
    assert_eq!(
        answers,
        Ok((refused.clone(), Some(refused.clone()), refused))
    );
    assert_eq!(ask(&rt), Answer::Ran);
}

fn after_end<S: Setup>(s: S) {
    let rt = s.build();
    let mut wakers: Vec<Waker> = Vec::new();
    let mut handles = Vec::new();
    local::block_on(&rt, async |local| {
        let (tell, told) = mpsc::channel();
        let done = local.spawn_local(async {});
        let left = local.spawn_local(poll_fn(move |cx| {
            let _ = tell.send(cx.waker().clone());
            Poll::<()>::Pending
        }));
        handles.extend([done.abort_handle(), left.abort_handle()]);
        done.await.unwrap();
        left.detach();
        yield_now().await;
        wakers.push(receive(&told));
        poll_fn(|cx| {
            wakers.push(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    })
    .unwrap();
    for waker in &wakers {
        waker.wake_by_ref();
    }
    let late = (wakers.clone(), handles.clone());
    on_thread(move || {
        for (waker, handle) in late.0.into_iter().zip(late.1) {
            waker.wake();
            handle.abort();
            assert!(handle.is_finished());
        }
    });
    // The next one on this thread is not affected.
    let value = local::block_on(&rt, async |local| {
        wakers.into_iter().for_each(Waker::wake);
        local.spawn_local(async { 6 }).await.unwrap()
    });
    assert_eq!(value, Ok(6));
}

fn in_closures<S: Setup>(s: S) {
    let rt = s.build();
    let closures: Vec<_> = (0..4)
        .map(|n| {
            let inner = rt.clone();
            rt.offload(move || {
                let here = Here::new();
                local::block_on(&inner, async |local| {
                    let (again, here) = (inner.clone(), here.clone());
                    let task = local.spawn_local(async move {
                        again.spawn(yield_now()).await.unwrap();
                        here.check();
                        again.offload(move || n).await.unwrap()
                    });
                    task.await.unwrap()
                })
            })
        })
        .collect();
    for (n, closure) in closures.into_iter().enumerate() {
        assert_eq!(rt.block_on(closure).unwrap(), Ok(n));
    }
}

fn spinning<S: Setup>(s: S) {
    let rt = s.build();
    local::block_on(&rt, async |local| {
        let stop = Rc::new(Cell::new(false));
        let spinners: Vec<_> = (0..3)
            .map(|_| {
                let stop = stop.clone();
                local.spawn_local(async move {
                    while !stop.get() {
                        yield_now().await;
                    }
                })
            })
            .collect();
        for n in 0..10 {
            rt.sleep(MS / 10).await;
            assert_eq!(rt.spawn(async move { n }).await.unwrap(), n);
            assert_eq!(local.spawn_local(async move { n }).await.unwrap(), n);
        }
        stop.set(true);
        for spinner in spinners {
            spinner.await.unwrap();
        }
    })
    .unwrap();
}

fn spawn_at_end<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    let refused = Rc::new(RefCell::new(None));
    local::block_on(&rt, async |local| {
        let (inner, count, late) = (local.clone(), drops.clone(), refused.clone());
        let value = OnDrop(move || {
            let value = count.on_drop();
            *late.borrow_mut() = Some(inner.spawn_local(async move { drop(value) }));
        });
        local
            .spawn_local(async move {
                let _value = value;
                pending::<()>().await;
            })
            .detach();
        yield_now().await;
    })
    .unwrap();
    assert_eq!(drops.get(), 1);
    let task = refused.take().expect("the destructor has run");
    assert!(drive(task).unwrap_err().is_shutdown());
}

fn main_panics<S: Setup>(s: S) {
    let rt = s.build();
    let here = Here::new();
    let drops = Counter::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        local::block_on(&rt, async |local| {
            let (inside, value) = (here.clone(), drops.on_drop());
            local
                .spawn_local(async move {
                    let _values = (inside, value);
                    pending::<()>().await;
                })
                .detach();
            yield_now().await;
            panic_quietly("main");
        })
    }));
    let payload = result.expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&"main"));
    assert_eq!(drops.get(), 1);
    assert_eq!(Rc::strong_count(&here.1), 1);
    assert_eq!(context::current(), Context::Sync);
    assert_eq!(local::block_on(&rt, async |_| 7), Ok(7));
}

fn destroyed_before_join<S: Setup>(s: S) {
    let rt = s.build();
    local::block_on(&rt, async |local| {
        for _ in 0..20 {
            let dropped = Rc::new(Cell::new(false));
            let inside = dropped.clone();
            let task = local.spawn_local(HandMade {
                poll: |_: &mut std::task::Context<'_>| Poll::Ready(1),
                on_drop: OnDrop(move || inside.set(true)),
            });
            assert_eq!(task.await.unwrap(), 1);
            assert!(dropped.get());
        }
    })
    .unwrap();
}

fn ring<S: Setup>(s: S) {
    let rt = s.build();
    let n = 1000;
    local::block_on(&rt, async |local| {
        let gates: Vec<Gate> = (0..=n).map(|_| Gate::new()).collect();
        let turns = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..n)
            .map(|i| {
                let (mine, next, turns) = (gates[i].clone(), gates[i + 1].clone(), turns.clone());
                local.spawn_local(async move {
                    mine.opened().await;
                    turns.set(turns.get() + 1);
                    next.open();
                })
            })
            .collect();
        let first = gates[0].clone();
        rt.spawn(async move { first.open() }).await.unwrap();
        gates[n].opened().await;
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(turns.get(), n);
    })
    .unwrap();
}
