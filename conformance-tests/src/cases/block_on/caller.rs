//! BL-1, block_on polls on the calling thread.

use std::{
    cell::Cell,
    future::{poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
    thread,
    time::Duration,
};

use fourway_core::{
    BlockOn, Offload, Spawner, Task, Timer,
    context::{self, Context},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Answer, Counter, HandMade, OnDrop, ask, panic_quietly},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-1.1", "block_on polls the future on the calling thread, at every poll",
        "an executor that moved it would break borrowing and thread-locals", calling_thread;
        "BL-1.3", "a panic of the future reaches the caller with its payload",
        "a wrapped or lost payload hides the bug", panic_reaches_caller;
        "BL-1.4", "after a panic in block_on the thread and the runtime are usable",
        "tokio 5177: a panicking nested block_on left its context entered", usable_after_panic;
        "BL-1.5", "block_on drives tasks, closures and timers of its runtime",
        "a thread that only parks would wait for ever", drives_everything;
        "BL-1.8", "a runtime built in an offloaded closure can be used outside of it",
        "Tokio tests it: created inside, used outside", built_inside;
    ]
}

/// Cases for the compiler: a future that borrows, and futures of all sizes.
pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-1.2", "the future may borrow and need not be Send",
        "callers block on what they have, not on what they can give away", borrows;
        "BL-1.6", "the future is destroyed on the calling thread before block_on returns",
        "borrows end when the call ends", destroyed_before_return;
        "BL-1.7", "empty, large and immediately ready futures and outputs work",
        "sizes at both ends break hand-written slots", sizes;
    ]
}

fn calling_thread<S: Setup>(s: S) {
    let rt = s.build();
    let here = thread::current().id();
    let mut left = 20;
    rt.block_on(poll_fn(|cx| {
        assert_eq!(thread::current().id(), here);
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        // Woken from another thread every time.
        let waker = cx.waker().clone();
        rt.spawn(async move { waker.wake() }).detach();
        Poll::Pending
    }));
}

fn borrows<S: Setup>(s: S) {
    let rt = s.build();
    let rc = Rc::new(Cell::new(0));
    let mut text = String::from("a");
    let length = rt.block_on(async {
        yield_now().await;
        text.push('b');
        rc.set(rt.spawn(async { 7 }).await.unwrap());
        text.len()
    });
    assert_eq!((length, text.as_str(), rc.get()), (2, "ab", 7));
}

fn panic_reaches_caller<S: Setup>(s: S) {
    let rt = s.build();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        rt.block_on(async {
            yield_now().await;
            std::panic::resume_unwind(Box::new(1234_u32))
        })
    }))
    .expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&1234_u32));
}

fn usable_after_panic<S: Setup>(s: S) {
    let rt = s.build();
    for early in [true, false, true] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on(async {
                if !early {
                    rt.spawn(yield_now()).await.unwrap();
                }
                panic_quietly("on purpose")
            })
        }));
        assert!(result.is_err());
        assert_eq!(context::current(), Context::Sync);
        assert_eq!(ask(&rt), Answer::Ran);
        assert_eq!(rt.block_on(rt.spawn(async { 5 })).unwrap(), 5);
        assert_eq!(rt.block_on(rt.offload(|| 6)).unwrap(), 6);
    }
}

fn drives_everything<S: Setup>(s: S) {
    let rt = s.build();
    let sum = rt.block_on(async {
        let task = rt.spawn(async { 1 });
        let closure = rt.offload(|| 2);
        rt.sleep(Duration::from_millis(2)).await;
        let inner = rt.clone();
        let mixed = rt.spawn(async move {
            inner.sleep(Duration::from_millis(1)).await;
            inner.offload(|| 4).await.unwrap()
        });
        task.await.unwrap() + closure.await.unwrap() + mixed.await.unwrap()
    });
    assert_eq!(sum, 7);
}

fn destroyed_before_return<S: Setup>(s: S) {
    let rt = s.build();
    let here = thread::current().id();
    for polls in [1, 3] {
        let dropped_on = Rc::new(Cell::new(None));
        let mut left = polls;
        rt.block_on(HandMade {
            poll: |cx: &mut std::task::Context<'_>| {
                left -= 1;
                if left == 0 {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            },
            on_drop: OnDrop(|| dropped_on.set(Some(thread::current().id()))),
        });
        assert_eq!(dropped_on.get(), Some(here));
    }
}

fn sizes<S: Setup>(s: S) {
    let rt = s.build();
    rt.block_on(ready(()));
    let big = [7_u8; 16 * 1024];
    let copy = rt.block_on(async {
        let inner = big;
        yield_now().await;
        inner
    });
    assert!(copy == big);
    let drops = Counter::new();
    let output = rt.block_on(ready(drops.on_drop()));
    assert_eq!(drops.get(), 0);
    drop(output);
    assert_eq!(drops.get(), 1);
}

fn built_inside<S: Setup>(s: S) {
    let outer = s.build();
    let inner = outer
        .block_on(outer.offload(move || {
            let inner = s.build();
            assert_eq!(inner.block_on(inner.spawn(async { 1 })).unwrap(), 1);
            inner
        }))
        .unwrap();
    drop(outer);
    assert_eq!(inner.block_on(inner.spawn(async { 2 })).unwrap(), 2);
    assert_eq!(inner.block_on(inner.offload(|| 3)).unwrap(), 3);
}
