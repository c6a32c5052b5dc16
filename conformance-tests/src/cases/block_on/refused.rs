//! BL-2, no blocking in async code.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    task::Poll,
    time::Duration,
};

use fourway_core::{
    BlockOn, Call, Offload, Runtime, Shutdown, Spawner, Task, Timer,
    context::{self, Context},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Answer, Caught, Counter, CountingWaker, Gate, HandMade, OnDrop, ask, caught, on_thread,
        other_runtime, panic_quietly, poll_once, receive,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-2.1", "refused in a task",
        "tokio 5273, 2376: a nested block_on panics here and hangs there", in_task;
        "BL-2.2", "refused in the root future of block_on",
        "most runtimes let this deadlock or panic by flavour", in_root;
        "BL-2.3", "refused in a destructor that runs during a poll",
        "zbus 384, lapin 436: blocking clean-up in Drop", in_drop_during_poll;
        "BL-2.4", "refused in the destructor of a future that is being cancelled",
        "whoever carries out the cancellation is an executor's thread", in_drop_of_cancelled;
        "BL-2.5", "refused in the destructor of a future that was cancelled before its first poll",
        "no poll has marked the thread yet", in_drop_of_unpolled;
        "BL-2.6", "refused in the destructor of a future that is ready",
        "the destructor runs after the poll, but still on the executor's thread", in_drop_of_ready;
        "BL-2.7", "refused in the destructor of block_on's root future",
        "the poll is over, but the executor is not", in_drop_of_root;
        "BL-2.8", "refused in a waker that a timer calls",
        "blocking the thread that runs the timers would stop all of them", in_timer_waker;
        "BL-2.9", "refused in another runtime's task, in both directions",
        "blocking somebody else's executor is no better", in_foreign_task;
        "BL-2.10", "refused in the root future of another runtime's block_on, in both directions",
        "the thread is busy with async code, whoever's it is", in_foreign_root;
        "BL-2.14", "a refused future is dropped, and nothing else changes",
        "a refusal that leaves marks behind poisons the thread", refusal_leaves_no_trace;
        "BL-2.15", "refused in the destructor of a task that is destroyed by a shutdown",
        "destructors that run late run on somebody's thread too", in_drop_at_shutdown, needs [Shutdown];
        "BL-2.16", "refused between polls of a task that was woken from afar",
        "the mark must be set at every poll, not at the first", in_later_polls;
        "BL-2.17", "the ways out that the error names work where it was refused",
        "advice that does not work is worse than none", ways_out;
    ]
}

/// Checks the caller's line, which a trait object would lose.
pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-2.11", "block_on panics at the caller's line and says what to do instead",
        "a panic inside of the runtime sends people to the wrong place", panics_at_caller;
        "BL-2.12", "wait() of a call with an async body is refused in async code",
        "one of the two kinds of call that would freeze the executor", wait_async_body;
        "BL-2.13", "wait() of a call with a blocking body is refused in async code",
        "a plain call, but it would block the executor all the same", wait_blocking_body;
    ]
}

fn in_task<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let answers = rt.block_on(rt.spawn(async move {
        let first = ask(&inner);
        yield_now().await;
        [first, ask(&inner)]
    }));
    assert_eq!(answers.unwrap(), [Answer::Refused, Answer::Refused]);
}

fn in_root<S: Setup>(s: S) {
    let rt = s.build();
    let answers = rt.block_on(async {
        let first = ask(&rt);
        rt.spawn(yield_now()).await.unwrap();
        [first, ask(&rt)]
    });
    assert_eq!(answers, [Answer::Refused, Answer::Refused]);
    assert_eq!(ask(&rt), Answer::Ran);
}

/// A value whose destructor asks `rt` to block, and a receiver of the answer.
fn asks_on_drop<R: Runtime>(
    rt: &R,
) -> (impl Send + Unpin + 'static + use<R>, mpsc::Receiver<Answer>) {
    let (answer, answers) = mpsc::channel();
    let rt = rt.clone();
    let on_drop = OnDrop(move || {
        let _ = answer.send(ask(&rt));
    });
    // Boxed, as handles need not be `Unpin`.
    (Box::new(on_drop), answers)
}

fn in_drop_during_poll<S: Setup>(s: S) {
    let rt = s.build();
    let (value, answers) = asks_on_drop(&rt);
    rt.block_on(rt.spawn(async move {
        yield_now().await;
        drop(value);
    }))
    .unwrap();
    assert_eq!(receive(&answers), Answer::Refused);
}

fn in_drop_of_cancelled<S: Setup>(s: S) {
    let rt = s.build();
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

fn in_drop_of_unpolled<S: Setup>(s: S) {
    let rt = s.build();
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

fn in_drop_of_ready<S: Setup>(s: S) {
    let rt = s.build();
    let (on_drop, answers) = asks_on_drop(&rt);
    let poll = |_: &mut std::task::Context<'_>| Poll::Ready(3);
    let task = rt.spawn(HandMade { poll, on_drop });
    assert_eq!(rt.block_on(task).unwrap(), 3);
    assert_eq!(receive(&answers), Answer::Refused);
}

fn in_drop_of_root<S: Setup>(s: S) {
    let rt = s.build();
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

fn in_timer_waker<S: Setup>(s: S) {
    let rt = s.build();
    // Polled by hand, on a thread that runs no async code. If the thread is so slow that the time
    // is over by the first poll, it tries again.
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

fn in_foreign_task<S: Setup>(s: S) {
    let rt = s.build();
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

fn in_foreign_root<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    assert_eq!(other.block_on(async { ask(&rt) }), Answer::Refused);
    assert_eq!(rt.block_on(async { ask(&other) }), Answer::Refused);
    let second = s.build();
    assert_eq!(rt.block_on(async { ask(&second) }), Answer::Refused);
}

/// Checks a refusal that came as a panic.
#[track_caller]
fn assert_says_what_to_do(caught: &Caught, line: u32) {
    assert_eq!((&*caught.file, caught.line), (file!(), line), "{caught:?}");
    for way_out in [".await", "offload"] {
        assert!(caught.message.contains(way_out), "{caught:?}");
    }
}

fn panics_at_caller<S: Setup>(s: S) {
    let rt = s.build();
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
        // After it is caught, the runtime still works.
        yield_now().await;
    }))
    .unwrap();
    assert_eq!(polls.get(), 0);
    assert_eq!(ask(&rt), Answer::Ran);
}

fn wait_async_body<S: Setup>(s: S) {
    let rt = s.build();
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

fn wait_blocking_body<S: Setup>(s: S) {
    let rt = s.build();
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

fn refusal_leaves_no_trace<S: Setup>(s: S) {
    let rt = s.build();
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

fn in_drop_at_shutdown<S: Setup>(s: S) {
    let rt = s.build();
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

fn in_later_polls<S: Setup>(s: S) {
    let rt = s.build();
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

fn ways_out<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        assert_eq!(ask(&inner), Answer::Refused);
        let again = inner.clone();
        let offloaded = inner.offload(move || ask(&again)).await.unwrap();
        assert_eq!(offloaded, Answer::Ran);
        assert_eq!(ask(&inner), Answer::Refused);
        let in_place = inner.block_in_place(|| ask(&inner));
        if s.capabilities().block_in_place {
            assert_eq!(in_place, Ok(Answer::Ran));
        } else {
            assert!(in_place.unwrap_err().is_unsupported());
        }
        assert_eq!(ask(&inner), Answer::Refused);
    });
    rt.block_on(task).unwrap();
}
