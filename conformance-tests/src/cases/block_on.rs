//! BL: blocking on async code.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, mpsc},
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use fourway_core::{
    BlockOn, Call, Offload, Runtime, Shutdown, Spawner, Task, Timer,
    context::{self, Context},
    yield_now,
};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Answer, Caught, Counter, CountingWaker, Gate, HandMade, OnDrop, ask, build, build_with,
        caught, eventually, on_thread, on_threads, other_runtime, panic_quietly, poll_once,
        receive,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "BL-1.1", "block_on polls the future on the calling thread, at every poll",
        "an executor that moved it would break borrowing and thread-locals", calling_thread::<S>;
        "BL-1.2", "the future may borrow and need not be Send",
        "callers block on what they have, not on what they can give away", borrows::<S>;
        "BL-1.3", "a panic of the future reaches the caller with its payload",
        "a wrapped or lost payload hides the bug", panic_reaches_caller::<S>;
        "BL-1.4", "after a panic in block_on the thread and the runtime are usable",
        "tokio 5177: a panicking nested block_on left its context entered", usable_after_panic::<S>;
        "BL-1.5", "block_on drives tasks, closures and timers of its runtime",
        "a thread that only parks would wait for ever", drives_everything::<S>;
        "BL-1.6", "the future is destroyed on the calling thread before block_on returns",
        "borrows end when the call ends", destroyed_before_return::<S>;
        "BL-1.7", "empty, large and immediately ready futures and outputs work",
        "sizes at both ends break hand-written slots", sizes::<S>;
        "BL-1.8", "a runtime built in an offloaded closure can be used outside of it",
        "Tokio tests it: created inside, used outside", built_inside::<S>;

        "BL-2.1", "refused in a task",
        "tokio 5273, 2376: a nested block_on panics here and hangs there", in_task::<S>;
        "BL-2.2", "refused in the root future of block_on",
        "most runtimes let this deadlock or panic by flavour", in_root::<S>;
        "BL-2.3", "refused in a destructor that runs during a poll",
        "zbus 384, lapin 436: blocking clean-up in Drop", in_drop_during_poll::<S>;
        "BL-2.4", "refused in the destructor of a future that is being cancelled",
        "whoever carries out the cancellation is an executor's thread", in_drop_of_cancelled::<S>;
        "BL-2.5", "refused in the destructor of a future that was cancelled before its first poll",
        "no poll has marked the thread yet", in_drop_of_unpolled::<S>;
        "BL-2.6", "refused in the destructor of a future that is ready",
        "the destructor runs after the poll, but still on the executor's thread", in_drop_of_ready::<S>;
        "BL-2.7", "refused in the destructor of block_on's root future",
        "the poll is over, but the executor is not", in_drop_of_root::<S>;
        "BL-2.8", "refused in a waker that a timer calls",
        "blocking the thread that runs the timers would stop all of them", in_timer_waker::<S>;
        "BL-2.9", "refused in another runtime's task, in both directions",
        "blocking somebody else's executor is no better", in_foreign_task::<S>;
        "BL-2.10", "refused in the root future of another runtime's block_on, in both directions",
        "the thread is busy with async code, whoever's it is", in_foreign_root::<S>;
        "BL-2.11", "block_on panics at the caller's line and says what to do instead",
        "a panic inside of the runtime sends people to the wrong place", panics_at_caller::<S>;
        "BL-2.12", "wait() of a call with an async body is refused in async code",
        "one of the two kinds of call that would freeze the executor", wait_async_body::<S>;
        "BL-2.13", "wait() of a call with a blocking body is refused in async code",
        "a plain call, but it would block the executor all the same", wait_blocking_body::<S>;
        "BL-2.14", "a refused future is dropped, and nothing else changes",
        "a refusal that leaves marks behind poisons the thread", refusal_leaves_no_trace::<S>;
        "BL-2.15", "refused in the destructor of a task that is destroyed by a shutdown",
        "destructors that run late run on somebody's thread too", in_drop_at_shutdown::<S>, needs [Shutdown];
        "BL-2.16", "refused between polls of a task that was woken from afar",
        "the mark must be set at every poll, not at the first", in_later_polls::<S>;
        "BL-2.17", "the ways out that the error names work where it was refused",
        "advice that does not work is worse than none", ways_out::<S>;

        "BL-3.1", "works in an offloaded closure, and drives the runtime's work there",
        "the way out of async code must lead back in", in_closure::<S>;
        "BL-3.2", "works on plain threads, whoever started them",
        "a thread started by a task inherits nothing", on_plain_threads::<S>;
        "BL-3.3", "sync and async code alternate to a depth of 12, each on its own thread",
        "asgiref tests sync, async, sync, async, sync: it must end on the right threads", alternating::<S>;
        "BL-3.4", "works in a destructor on a thread that is unwinding, and the panic goes on",
        "clean-up in error paths; anyio tests it from an error handler", while_unwinding::<S>;
        "BL-3.5", "works in another runtime's closure, in both directions",
        "libraries with runtimes of their own meet in one program", in_foreign_closure::<S>;
        "BL-3.6", "two runtimes take turns on one thread",
        "async-executor 55: two executors interleaved on one thread", two_runtimes::<S>;
        "BL-3.7", "works inside block_in_place in a task",
        "the purpose of block_in_place", in_block_in_place::<S>;
        "BL-3.8", "wait() works in closures and on plain threads, with either body",
        "sync callers are the reason why calls exist", wait_where_allowed::<S>;

        "BL-4.1", "eight threads block on one runtime at a time",
        "a runtime that hands out its driver to one of them hangs the others", many_threads::<S>;
        "BL-4.2", "spawned work goes on after block_on has returned",
        "a caller-driven runtime stops here without a word", work_goes_on::<S>;
        "BL-4.3", "a panic in one block_on leaves those on other threads alone",
        "a shared driver must survive its user", panic_beside_others::<S>;
        "BL-4.4", "block_on completes while tasks spin",
        "Tokio tests it: a self-waking task must not keep the root from its turn", beside_spinning_task::<S>;
        "BL-4.5", "a thousand short block_ons on four threads all return",
        "lost wake-ups show in numbers", many_short::<S>;

        "BL-5.1", "a future that eats the thread's park token does not hang",
        "parking inside of a poll is what a nested blocking call does", eats_token::<S>;
        "BL-5.2", "park tokens from elsewhere do not confuse it",
        "unpark is public: libraries use the same thread's token", foreign_tokens::<S>;
        "BL-5.3", "a waker kept from an earlier block_on does not poll a later one",
        "threads cache their wakers; the cache must not tie two calls together", stale_waker::<S>;
        "BL-5.4", "a waker that outlives its block_on may be used and dropped anywhere",
        "wakers end up in other people's queues", waker_outlives::<S>;
        "BL-5.5", "a block_on inside a closure of an outer one does not take its wake-up",
        "nested parkers on one thread share one token", nested_parkers::<S>;

        "BL-6.1", "in a task, block_in_place keeps the other tasks going, or is unsupported",
        "libsql 2032: block_in_place that panics by flavour", in_place_others_go_on::<S>;
        "BL-6.2", "more tasks in block_in_place than workers leave the others going",
        "one stand-in is not enough", in_place_many::<S>;
        "BL-6.3", "block_in_place gives the closure's value or its panic",
        "a stand-in must be sent home on both ways out", in_place_outcome::<S>;
        "BL-6.4", "on a plain thread and in a closure it is a plain call",
        "a library cannot know where it is called", in_place_plain::<S>;
        "BL-6.5", "in another runtime's task block_in_place is refused",
        "this runtime cannot move the other one's tasks away", in_place_foreign::<S>;
        "BL-6.6", "block_in_place may be nested",
        "libraries call libraries", in_place_nested::<S>;
        "BL-6.7", "in the root future of block_on it runs the closure or is unsupported",
        "an error must mean that nothing was done", in_place_root::<S>;
    ]
}

// BL-1

fn calling_thread<S: Subject>() {
    let rt = build::<S>();
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

fn borrows<S: Subject>() {
    let rt = build::<S>();
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

fn panic_reaches_caller<S: Subject>() {
    let rt = build::<S>();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        rt.block_on(async {
            yield_now().await;
            std::panic::resume_unwind(Box::new(1234_u32))
        })
    }))
    .expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&1234_u32));
}

fn usable_after_panic<S: Subject>() {
    let rt = build::<S>();
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

fn drives_everything<S: Subject>() {
    let rt = build::<S>();
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

fn destroyed_before_return<S: Subject>() {
    let rt = build::<S>();
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

fn sizes<S: Subject>() {
    let rt = build::<S>();
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

fn built_inside<S: Subject>() {
    let outer = build::<S>();
    let inner = outer
        .block_on(outer.offload(|| {
            let inner = build::<S>();
            assert_eq!(inner.block_on(inner.spawn(async { 1 })).unwrap(), 1);
            inner
        }))
        .unwrap();
    drop(outer);
    assert_eq!(inner.block_on(inner.spawn(async { 2 })).unwrap(), 2);
    assert_eq!(inner.block_on(inner.offload(|| 3)).unwrap(), 3);
}

// BL-2

fn in_task<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let answers = rt.block_on(rt.spawn(async move {
        let first = ask(&inner);
        yield_now().await;
        [first, ask(&inner)]
    }));
    assert_eq!(answers.unwrap(), [Answer::Refused, Answer::Refused]);
}

fn in_root<S: Subject>() {
    let rt = build::<S>();
    let answers = rt.block_on(async {
        let first = ask(&rt);
        rt.spawn(yield_now()).await.unwrap();
        [first, ask(&rt)]
    });
    assert_eq!(answers, [Answer::Refused, Answer::Refused]);
    assert_eq!(ask(&rt), Answer::Ran);
}

/// A value whose destructor asks `rt` to block, and where the answer arrives.
fn asks_on_drop<R: Runtime>(
    rt: &R,
) -> (impl Send + Unpin + 'static + use<R>, mpsc::Receiver<Answer>) {
    let (answer, answers) = mpsc::channel();
    let rt = rt.clone();
    let on_drop = OnDrop(move || {
        let _ = answer.send(ask(&rt));
    });
    // Boxed, for handles need not be `Unpin`.
    (Box::new(on_drop), answers)
}

fn in_drop_during_poll<S: Subject>() {
    let rt = build::<S>();
    let (value, answers) = asks_on_drop(&rt);
    rt.block_on(rt.spawn(async move {
        yield_now().await;
        drop(value);
    }))
    .unwrap();
    assert_eq!(receive(&answers), Answer::Refused);
}

fn in_drop_of_cancelled<S: Subject>() {
    let rt = build::<S>();
    let (value, answers) = asks_on_drop(&rt);
    let (started, gate) = Gate::pair();
    let task = rt.spawn(async move {
        let _value = value;
        started.open();
        pending::<()>().await;
    });
    gate.wait();
    assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
    assert_eq!(receive(&answers), Answer::Refused);
}

fn in_drop_of_unpolled<S: Subject>() {
    let rt = build::<S>();
    // Cancelled at once, again and again: most of them are not polled.
    for _ in 0..20 {
        let (value, answers) = asks_on_drop(&rt);
        let task = rt.spawn(async move {
            let _value = value;
            pending::<()>().await;
        });
        assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
        assert_eq!(receive(&answers), Answer::Refused);
    }
}

fn in_drop_of_ready<S: Subject>() {
    let rt = build::<S>();
    let (on_drop, answers) = asks_on_drop(&rt);
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(3);
    let task = rt.spawn(HandMade { poll, on_drop });
    assert_eq!(rt.block_on(task).unwrap(), 3);
    assert_eq!(receive(&answers), Answer::Refused);
}

fn in_drop_of_root<S: Subject>() {
    let rt = build::<S>();
    let (on_drop, answers) = asks_on_drop(&rt);
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(3);
    assert_eq!(rt.block_on(HandMade { poll, on_drop }), 3);
    assert_eq!(receive(&answers), Answer::Refused);

    // Also when it is destroyed by its own panic.
    let (on_drop, answers) = asks_on_drop(&rt);
    let poll = |_: &mut std::task::Context<'_>| -> Poll<()> { panic_quietly("on purpose") };
    let result = catch_unwind(AssertUnwindSafe(|| {
        rt.block_on(HandMade { poll, on_drop });
    }));
    assert!(result.is_err());
    assert_eq!(receive(&answers), Answer::Refused);
    assert_eq!(ask(&rt), Answer::Ran);
}

fn in_timer_waker<S: Subject>() {
    let rt = build::<S>();
    // Polled by hand, on a thread that runs no async code; should the thread be
    // so slow that the time is over by the first poll, it is tried again.
    for time in [20, 200, 2000, 10_000] {
        let (answer, answers) = mpsc::channel();
        let inner = rt.clone();
        let (waker, _) = CountingWaker::with(move || {
            let _ = answer.send(ask(&inner));
        });
        let mut sleep = Box::pin(rt.sleep(Duration::from_millis(time)));
        if poll_once(&mut sleep, &waker).is_pending() {
            assert_eq!(receive(&answers), Answer::Refused);
            return;
        }
    }
    panic!("timers are ready long before their time");
}

fn in_foreign_task<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let inner = rt.clone();
    let ours_in_theirs = other.spawn(async move {
        yield_now().await;
        ask(&inner)
    });
    let inner = other.clone();
    let theirs_in_ours = rt.spawn(async move {
        yield_now().await;
        ask(&inner)
    });
    assert_eq!(other.block_on(ours_in_theirs).unwrap(), Answer::Refused);
    assert_eq!(rt.block_on(theirs_in_ours).unwrap(), Answer::Refused);
}

fn in_foreign_root<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    assert_eq!(other.block_on(async { ask(&rt) }), Answer::Refused);
    assert_eq!(rt.block_on(async { ask(&other) }), Answer::Refused);
    let second = build::<S>();
    assert_eq!(rt.block_on(async { ask(&second) }), Answer::Refused);
}

/// Looks at a refusal that came as a panic.
#[track_caller]
fn assert_says_what_to_do(caught: &Caught, line: u32) {
    assert_eq!((&*caught.file, caught.line), (file!(), line), "{caught:?}");
    for way_out in [".await", "offload"] {
        assert!(caught.message.contains(way_out), "{caught:?}");
    }
}

fn panics_at_caller<S: Subject>() {
    let rt = build::<S>();
    let polls = Counter::new();
    rt.block_on(async {
        let line = line!() + 1;
        let panic = caught(|| rt.block_on(async { polls.add() }));
        assert_says_what_to_do(&panic, line);
    });
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move {
        let line = line!() + 1;
        let panic = caught(|| inner.block_on(async {}));
        assert_says_what_to_do(&panic, line);
        // Caught, it has done no harm.
        yield_now().await;
    }))
    .unwrap();
    assert_eq!(polls.get(), 0);
    assert_eq!(ask(&rt), Answer::Ran);
}

fn wait_async_body<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let started = Counter::new();
    let count = started.clone();
    rt.block_on(rt.spawn(async move {
        let body = move || {
            let count = count.clone();
            inner.call(async move { count.add() })
        };
        assert!(body().try_wait().unwrap_err().is_nested());
        let (call, line) = (body(), line!() + 1);
        let panic = caught(|| call.wait());
        assert_says_what_to_do(&panic, line);
        let mapped = body().map(|n| n + 1).then(move |_| body());
        assert!(mapped.try_wait().unwrap_err().is_nested());
    }))
    .unwrap();
    rt.block_on(async {
        let call = rt.call(async {});
        assert!(call.try_wait().unwrap_err().is_nested());
    });
    assert_eq!(started.get(), 0);
}

fn wait_blocking_body<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let started = Counter::new();
    let count = started.clone();
    rt.block_on(rt.spawn(async move {
        let body = move || {
            let count = count.clone();
            inner.call_blocking(move || count.add())
        };
        assert!(body().try_wait().unwrap_err().is_nested());
        let (call, line) = (body(), line!() + 1);
        let panic = caught(|| call.wait());
        assert_says_what_to_do(&panic, line);
        let mapped = body().map(|n| n + 1).then(move |_| body());
        assert!(mapped.try_wait().unwrap_err().is_nested());
    }))
    .unwrap();
    rt.block_on(async {
        let call = rt.call_blocking(|| ());
        assert!(call.try_wait().unwrap_err().is_nested());
    });
    assert_eq!(started.get(), 0);
}

fn refusal_leaves_no_trace<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    let (inner, count) = (rt.clone(), drops.clone());
    let task = rt.spawn(async move {
        for n in 1..=10 {
            let value = count.on_drop();
            let refused = inner.try_block_on(async move {
                let _value = value;
                pending::<()>().await;
            });
            assert!(refused.unwrap_err().is_nested());
            assert_eq!(count.get(), n, "the refused future is dropped");
            assert_eq!(context::current(), Context::Async);
            yield_now().await;
        }
        inner.spawn(async { 9 }).await.unwrap()
    });
    assert_eq!(rt.block_on(task).unwrap(), 9);
}

fn in_drop_at_shutdown<S: Subject>() {
    let rt = build::<S>();
    let (value, answers) = asks_on_drop(&rt);
    let (started, gate) = Gate::pair();
    let task = rt.spawn(async move {
        let _value = value;
        started.open();
        pending::<()>().await;
    });
    gate.wait();
    rt.shutdown(Duration::from_secs(30))
        .expect("it owns itself");
    assert_eq!(receive(&answers), Answer::Refused);
    drop(task);
}

fn in_later_polls<S: Subject>() {
    let rt = build::<S>();
    let (go, gate) = Gate::pair();
    let (waiting, seen) = Gate::pair();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        waiting.open();
        gate.opened().await;
        ask(&inner)
    });
    seen.wait();
    on_thread(move || go.open());
    assert_eq!(rt.block_on(task).unwrap(), Answer::Refused);
}

fn ways_out<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        assert_eq!(ask(&inner), Answer::Refused);
        let again = inner.clone();
        let offloaded = inner.offload(move || ask(&again)).await.unwrap();
        assert_eq!(offloaded, Answer::Ran);
        assert_eq!(ask(&inner), Answer::Refused);
        let in_place = inner.block_in_place(|| ask(&inner));
        if S::capabilities().block_in_place {
            assert_eq!(in_place, Ok(Answer::Ran));
        } else {
            assert!(in_place.unwrap_err().is_unsupported());
        }
        assert_eq!(ask(&inner), Answer::Refused);
    });
    rt.block_on(task).unwrap();
}

// BL-3

fn in_closure<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let closure = rt.offload(move || {
        assert_eq!(ask(&inner), Answer::Ran);
        inner.block_on(async {
            inner.sleep(Duration::from_millis(1)).await;
            let task = inner.spawn(async {
                yield_now().await;
                1
            });
            let closure = inner.offload(|| 2);
            task.await.unwrap() + closure.await.unwrap()
        })
    });
    assert_eq!(rt.block_on(closure).unwrap(), 3);
}

fn on_plain_threads<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    assert_eq!(on_thread(move || ask(&inner)), Answer::Ran);
    // Started by a task, a closure, and a root future.
    let inner = rt.clone();
    let by_task = rt.spawn(async move { thread::spawn(move || ask(&inner)) });
    let inner = rt.clone();
    let by_closure = rt.offload(move || thread::spawn(move || ask(&inner)));
    let inner = rt.clone();
    let by_root = rt.block_on(async move { thread::spawn(move || ask(&inner)) });
    for thread in [
        rt.block_on(by_task).unwrap(),
        rt.block_on(by_closure).unwrap(),
        by_root,
    ] {
        eventually("the thread ends", || thread.is_finished());
        assert_eq!(thread.join().expect("no panic"), Answer::Ran);
    }
}

fn alternating<S: Subject>() {
    fn descend<R: Runtime>(rt: R, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let here = thread::current().id();
        let handle = rt.clone();
        let below = handle.block_on(async move {
            assert_eq!(thread::current().id(), here);
            assert_eq!(ask(&rt), Answer::Refused);
            let inner = rt.clone();
            let below = rt.offload(move || {
                assert_ne!(thread::current().id(), here);
                descend(inner, depth - 1)
            });
            let below = below.await.unwrap();
            assert_eq!(thread::current().id(), here);
            below
        });
        assert_eq!(thread::current().id(), here);
        assert_eq!(ask(&handle), Answer::Ran);
        below + 1
    }
    let rt = build::<S>();
    assert_eq!(descend(rt.clone(), 12), 12);
    let inner = rt.clone();
    let from_closure = rt.offload(move || descend(inner, 3));
    assert_eq!(rt.block_on(from_closure).unwrap(), 3);
}

fn while_unwinding<S: Subject>() {
    let rt = build::<S>();
    let value = Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _guard = OnDrop(|| {
            assert!(thread::panicking());
            let inner = rt.clone();
            let task = rt.spawn(async move { inner.offload(|| 8).await.unwrap() });
            value.set(rt.block_on(task).unwrap());
        });
        panic_quietly("the first panic");
    }));
    let payload = result.expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&"the first panic"));
    assert_eq!(value.get(), 8);
    assert_eq!(ask(&rt), Answer::Ran);
}

fn in_foreign_closure<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let inner = rt.clone();
    let ours = other.offload(move || inner.block_on(inner.spawn(async { 1 })).unwrap());
    assert_eq!(rt.block_on(ours).unwrap(), 1);
    let inner = other.clone();
    let theirs = rt.offload(move || inner.block_on(inner.spawn(async { 2 })).unwrap());
    assert_eq!(other.block_on(theirs).unwrap(), 2);
}

fn two_runtimes<S: Subject>() {
    let (first, second, other) = (build::<S>(), build::<S>(), other_runtime());
    for n in 0..50 {
        assert_eq!(first.block_on(second.spawn(async move { n })).unwrap(), n);
        assert_eq!(second.block_on(other.spawn(async move { n })).unwrap(), n);
        assert_eq!(other.block_on(first.offload(move || n)).unwrap(), n);
        let sleep = second.sleep(Duration::from_micros(50));
        first.block_on(sleep);
    }
}

fn in_block_in_place<S: Subject>() {
    let rt = build::<S>();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let result = inner.block_in_place(|| {
            assert_eq!(ask(&inner), Answer::Ran);
            inner.block_on(async {
                assert_eq!(ask(&inner), Answer::Refused);
                inner.sleep(Duration::from_millis(1)).await;
                inner.spawn(async { 4 }).await.unwrap() + inner.offload(|| 5).await.unwrap()
            })
        });
        assert_eq!(ask(&inner), Answer::Refused);
        yield_now().await;
        result
    });
    let result = rt.block_on(task).unwrap();
    if S::capabilities().block_in_place {
        assert_eq!(result, Ok(9));
    } else {
        assert!(result.unwrap_err().is_unsupported());
    }
}

fn wait_where_allowed<S: Subject>() {
    fn both<R: Runtime>(rt: &R) -> (u32, u32, u32) {
        let here = thread::current().id();
        let on_this_thread = move || u32::from(thread::current().id() == here);
        let calls = (
            rt.call(async move {
                yield_now().await;
                on_this_thread()
            }),
            rt.call_blocking(on_this_thread),
        );
        let again = rt.clone();
        let chain = rt
            .call(ready(2))
            .then(move |n| again.call_blocking(move || n * 3))
            .map(|n| n + 1);
        (calls.0.wait(), calls.1.try_wait().unwrap(), chain.wait())
    }
    let rt = build::<S>();
    assert_eq!(both(&rt), (1, 1, 7));
    let inner = rt.clone();
    assert_eq!(on_thread(move || both(&inner)), (1, 1, 7));
    let inner = rt.clone();
    let closure = rt.offload(move || both(&inner));
    assert_eq!(rt.block_on(closure).unwrap(), (1, 1, 7));
}

// BL-4

fn many_threads<S: Subject>() {
    let rt = build::<S>();
    let (inside, all) = (Counter::new(), Gate::new());
    let sum: usize = on_threads(8, move |i| {
        rt.block_on(async {
            if inside.add() == 8 {
                all.open();
            }
            // All eight are in here at a time.
            all.opened().await;
            rt.sleep(Duration::from_millis(1)).await;
            let inner = rt.clone();
            let task = rt.spawn(async move { inner.offload(move || i).await.unwrap() });
            task.await.unwrap()
        })
    })
    .into_iter()
    .sum();
    assert_eq!(sum, 28);
}

fn work_goes_on<S: Subject>() {
    let rt = build::<S>();
    let (go, gate) = Gate::pair();
    let (done, finished) = Gate::pair();
    let inner = rt.clone();
    rt.block_on(async {
        let task = async move {
            gate.opened().await;
            inner.sleep(Duration::from_millis(1)).await;
            inner.offload(|| ()).await.unwrap();
            done.open();
        };
        rt.spawn(task).detach();
    });
    go.open();
    // Nobody is in block_on now.
    finished.wait();
}

fn panic_beside_others<S: Subject>() {
    let rt = build::<S>();
    let (inside, all, panicked) = (Counter::new(), Gate::new(), Gate::new());
    let results = on_threads(4, move |i| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on(async {
                if inside.add() == 4 {
                    all.open();
                }
                all.opened().await;
                if i == 0 {
                    panic_quietly("on purpose");
                }
                panicked.opened().await;
                rt.sleep(Duration::from_millis(1)).await;
                rt.spawn(async move { i }).await.unwrap()
            })
        }));
        if i == 0 {
            panicked.open();
        }
        result.unwrap_or(100)
    });
    assert_eq!(results, [100, 1, 2, 3]);
}

/// Tasks that wake themselves until told to stop.
fn spinners<R: Runtime>(rt: &R, n: usize) -> (Gate, Vec<R::Task<()>>) {
    let (stop, stopped) = Gate::pair();
    let tasks = (0..n).map(|_| {
        let stopped = stopped.clone();
        rt.spawn(async move {
            while !stopped.is_open() {
                yield_now().await;
            }
        })
    });
    let tasks = tasks.collect();
    (stop, tasks)
}

fn beside_spinning_task<S: Subject>() {
    let rt = build::<S>();
    let (stop, tasks) = spinners(&rt, 3);
    for n in 0..20 {
        rt.block_on(yield_now());
        assert_eq!(rt.block_on(rt.spawn(async move { n })).unwrap(), n);
    }
    rt.block_on(rt.sleep(Duration::from_millis(2)));
    stop.open();
    for task in tasks {
        rt.block_on(task).unwrap();
    }
}

fn many_short<S: Subject>() {
    let rt = build::<S>();
    on_threads(4, move |_| {
        for n in 0..250_u32 {
            let task = rt.spawn(async move {
                if n % 2 == 0 {
                    yield_now().await;
                }
                n
            });
            assert_eq!(rt.block_on(task).unwrap(), n);
        }
    });
}

// BL-5

fn eats_token<S: Subject>() {
    let rt = build::<S>();
    let mut left = 10;
    rt.block_on(poll_fn(|cx| {
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        if left % 2 == 0 {
            cx.waker().wake_by_ref();
        } else {
            // From another thread, and surely before this poll is over.
            let waker = cx.waker().clone();
            on_thread(move || waker.wake());
        }
        // Takes the token, whoever it was for, or gives up.
        thread::park_timeout(Duration::from_millis(5));
        Poll::Pending
    }));
}

fn foreign_tokens<S: Subject>() {
    let rt = build::<S>();
    let thread = thread::current();
    // One token that is there beforehand,
    thread.unpark();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    // and many while it waits.
    let (go, gate) = Gate::pair();
    let unparker = thread::spawn(move || {
        for _ in 0..100 {
            thread.unpark();
            thread::yield_now();
        }
        go.open();
    });
    rt.block_on(gate.opened());
    eventually("the thread ends", || unparker.is_finished());
    assert_eq!(rt.block_on(rt.spawn(async { 2 })).unwrap(), 2);
}

fn stale_waker<S: Subject>() {
    let rt = build::<S>();
    let mut kept: Option<Waker> = None;
    rt.block_on(poll_fn(|cx| {
        kept = Some(cx.waker().clone());
        Poll::Ready(())
    }));
    let stale = kept.expect("polled");
    let polls = RefCell::new(Vec::<&str>::new());
    let (go, gate) = Gate::pair();
    let waker = Counter::new();
    let woken = waker.clone();
    let helper = thread::spawn(move || {
        // Not before the first poll.
        eventually("the first poll", || woken.get() == 1);
        stale.wake_by_ref();
        stale.wake();
        // Time for a wrong poll to happen.
        thread::sleep(Duration::from_millis(5));
        go.open();
    });
    let mut opened = Box::pin(gate.opened());
    rt.block_on(poll_fn(|cx| {
        polls.borrow_mut().push(match gate.is_open() {
            true => "open",
            false => "shut",
        });
        let poll = poll_once(&mut opened, cx.waker());
        waker.add();
        poll
    }));
    eventually("the thread ends", || helper.is_finished());
    let polls = polls.into_inner();
    assert_eq!(
        polls,
        ["shut", "open"],
        "one poll for each of its own wakes"
    );
}

fn waker_outlives<S: Subject>() {
    let rt = build::<S>();
    let wakers: Vec<Waker> = (0..4)
        .map(|_| {
            rt.block_on(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(cx.waker().clone())
            }))
        })
        .collect();
    let shared = Arc::new(wakers);
    let wakers = shared.clone();
    on_threads(2, move |_| wakers.iter().for_each(Waker::wake_by_ref));
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    drop(rt);
    shared.iter().for_each(Waker::wake_by_ref);
    drop(shared);
}

fn nested_parkers<S: Subject>() {
    let rt = build::<S>();
    if !S::capabilities().block_in_place {
        // Without it, two of them cannot be active on one thread: the outer
        // one's future is where the inner one is refused.
        assert_eq!(rt.block_on(async { ask(&rt) }), Answer::Refused);
        return;
    }
    // The outer future is woken while the inner one waits on the same thread.
    let inner = rt.clone();
    let closure = rt.offload(move || {
        let mut polled = false;
        inner.block_on(poll_fn(|cx| {
            if polled {
                return Poll::Ready(());
            }
            polled = true;
            let waker = cx.waker().clone();
            let waited = inner.block_in_place(|| {
                inner
                    .block_on(inner.spawn(async move {
                        yield_now().await;
                        waker.wake();
                        yield_now().await;
                    }))
                    .unwrap();
            });
            if waited.is_err() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }));
    });
    rt.block_on(closure).unwrap();
}

// BL-6

fn in_place_others_go_on<S: Subject>() {
    let rt = build::<S>();
    let (go, gate) = Gate::pair();
    let (inside, entered) = Gate::pair();
    let ran = Counter::new();
    let (inner, count) = (rt.clone(), ran.clone());
    let task = rt.spawn(async move {
        let result = inner.block_in_place(|| {
            count.add();
            inside.open();
            // Opened by another task alone.
            gate.wait();
            5
        });
        (result, context::current())
    });
    if !S::capabilities().block_in_place {
        let (result, after) = rt.block_on(task).unwrap();
        assert!(result.unwrap_err().is_unsupported());
        assert_eq!((ran.get(), after), (0, Context::Async));
        return;
    }
    entered.wait();
    let inner = rt.clone();
    let others = rt.spawn(async move {
        for _ in 0..10 {
            inner.spawn(yield_now()).await.unwrap();
        }
        inner.sleep(Duration::from_millis(1)).await;
        go.open();
    });
    rt.block_on(others).unwrap();
    assert_eq!(rt.block_on(task).unwrap(), (Ok(5), Context::Async));
}

fn in_place_many<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 2);
    let (go, gate) = Gate::pair();
    let entered = Counter::new();
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (inner, gate, entered) = (rt.clone(), gate.clone(), entered.clone());
            rt.spawn(async move {
                inner.block_in_place(|| {
                    entered.add();
                    gate.wait();
                })
            })
        })
        .collect();
    let supported = S::capabilities().block_in_place;
    if supported {
        eventually("all are inside at a time", || entered.get() == 5);
    }
    rt.block_on(rt.spawn(async move { go.open() })).unwrap();
    for task in tasks {
        match rt.block_on(task).unwrap() {
            Ok(()) => assert!(supported),
            Err(error) => assert!(!supported && error.is_unsupported()),
        }
    }
    // And the workers are in order afterwards.
    let tasks: Vec<_> = (0..20).map(|n| rt.spawn(async move { n })).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(rt.block_on(task).unwrap(), n);
    }
}

fn in_place_outcome<S: Subject>() {
    let rt = build::<S>();
    let value = rt.block_in_place(|| String::from("value"));
    assert_eq!(value.as_deref(), Ok("value"));
    if !S::capabilities().block_in_place {
        return;
    }
    for n in 0..20 {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                inner.block_in_place(|| panic_quietly("in place"))
            }));
            assert!(caught.is_err());
            assert_eq!(context::current(), Context::Async);
            yield_now().await;
            inner.block_in_place(move || n)
        });
        assert_eq!(rt.block_on(task).unwrap(), Ok(n));
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let _ = inner.block_in_place(|| panic_quietly("in place"));
        });
        let error = rt.block_on(task).unwrap_err();
        assert_eq!(error.panic_message(), Some("in place"));
    }
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn in_place_plain<S: Subject>() {
    fn here<R: Runtime>(rt: &R) {
        let here = thread::current().id();
        let same = rt.block_in_place(|| thread::current().id() == here);
        assert_eq!(same, Ok(true));
        assert_eq!(rt.block_in_place(|| ask(rt)), Ok(Answer::Ran));
    }
    let rt = build::<S>();
    here(&rt);
    let inner = rt.clone();
    rt.block_on(rt.offload(move || here(&inner))).unwrap();
    let (other, inner) = (other_runtime(), rt.clone());
    other.block_on(other.offload(move || here(&inner))).unwrap();
}

fn in_place_foreign<S: Subject>() {
    let (rt, other) = (build::<S>(), other_runtime());
    let ran = Counter::new();
    let (inner, count) = (rt.clone(), ran.clone());
    let task = other.spawn(async move { inner.block_in_place(|| count.add()) });
    let result = other.block_on(task).unwrap();
    assert!(result.unwrap_err().is_unsupported());
    assert_eq!(ran.get(), 0);
}

fn in_place_nested<S: Subject>() {
    let rt = build::<S>();
    assert_eq!(rt.block_in_place(|| rt.block_in_place(|| 1)), Ok(Ok(1)));
    let inner = rt.clone();
    let task = rt.spawn(async move {
        inner.block_in_place(|| {
            inner.block_in_place(|| {
                let again = inner.clone();
                let task = inner.spawn(async move { again.block_in_place(|| ask(&again)) });
                inner.block_on(task).unwrap()
            })
        })
    });
    let result = rt.block_on(task).unwrap();
    if S::capabilities().block_in_place {
        assert_eq!(result, Ok(Ok(Ok(Answer::Ran))));
    } else {
        assert!(result.unwrap_err().is_unsupported());
    }
}

fn in_place_root<S: Subject>() {
    let rt = build::<S>();
    let ran = Cell::new(false);
    let (result, after) = rt.block_on(async {
        let result = rt.block_in_place(|| {
            ran.set(true);
            ask(&rt)
        });
        yield_now().await;
        (result, ask(&rt))
    });
    match result {
        Ok(answer) => assert_eq!((answer, ran.get()), (Answer::Ran, true)),
        Err(error) => assert!(error.is_unsupported() && !ran.get()),
    }
    assert_eq!(after, Answer::Refused);
}
