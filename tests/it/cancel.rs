//! Cancellation tokens on real runtimes: deadlines, blocking code, and the current token.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fourway::{
    AnyRuntime, ParkHooks,
    cancel::{self, CancellationToken, Reason},
    layer::Propagate,
    prelude::*,
    std_thread::StdThread,
};

/// Long enough for a machine that is busy with something else.
const AGES: Duration = Duration::from_secs(60);

fn each_runtime(test: impl Fn(AnyRuntime)) {
    test(AnyRuntime::new(StdThread::new().unwrap()));
    #[cfg(feature = "tokio")]
    test(AnyRuntime::new(
        fourway::tokio::Tokio::builder().build().unwrap(),
    ));
    #[cfg(feature = "smol")]
    test(AnyRuntime::new(fourway::smol::Smol::global()));
}

#[test]
fn a_deadline_ends_whoever_waits_sleeps_or_looks() {
    each_runtime(|rt| {
        let root = CancellationToken::new();
        let token = root.child_with_timeout(&rt, Duration::from_millis(20));
        let (child, late) = (token.child(), token.child_with_timeout(&rt, AGES));
        assert_eq!(
            (child.deadline(), late.deadline()),
            (token.deadline(), token.deadline())
        );

        let waiting = rt.spawn({
            let child = child.clone();
            async move { child.cancelled().await }
        });
        let sleeping = rt.offload({
            let child = token.child();
            move || child.sleep(AGES)
        });
        let looking = rt.offload({
            let child = late.clone();
            move || {
                while child.check().is_ok() {
                    std::thread::yield_now();
                }
                child.check()
            }
        });
        rt.block_on(async {
            assert!(waiting.await.unwrap().is_deadline());
            assert!(sleeping.await.unwrap().unwrap_err().is_deadline());
            assert!(looking.await.unwrap().unwrap_err().is_deadline());
        });
        assert!(
            token.deadline().unwrap() <= Instant::now(),
            "never early (TI-1)"
        );
        assert!(!root.is_cancelled());
    });
}

#[test]
fn a_sleep_ends_early_or_late_and_says_which() {
    let token = CancellationToken::new();
    let begin = Instant::now();
    assert_eq!(token.sleep(Duration::from_millis(2)), Ok(()));
    assert!(begin.elapsed() >= Duration::from_millis(2));

    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| token.sleep(Duration::MAX));
        token.cancel_with(Reason::Shutdown);
        let cancelled = sleeping.join().unwrap().unwrap_err();
        assert_eq!(*cancelled.reason(), Reason::Shutdown);
    });
    assert!(token.sleep(Duration::MAX).is_err());
}

/// With one slot, each closure sleeps until the other has run.
fn sleeping_lends<R: Runtime>(rt: &R) {
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let sleeps = rt.offload({
        let (mine, other) = (first.clone(), second.clone());
        move || {
            let cancelled = mine.sleep(AGES);
            other.cancel();
            cancelled
        }
    });
    let wakes = rt.offload(move || {
        first.cancel();
        second.sleep(AGES)
    });
    rt.block_on(async {
        assert!(sleeps.await.unwrap().is_err(), "the slot is lent");
        assert!(wakes.await.unwrap().is_err(), "in turn");
    });
    assert_eq!(rt.status().pool.lent, 0);
}

#[test]
fn a_closure_that_sleeps_lends_its_slot() {
    let limited = StdThread::builder().offload_limit(1);
    sleeping_lends(&limited.build().unwrap());
    #[cfg(feature = "tokio")]
    {
        let limited = fourway::tokio::Tokio::builder().offload_limit(1);
        sleeping_lends(&limited.build().unwrap());
    }
    #[cfg(feature = "smol")]
    {
        let limited = fourway::smol::Smol::builder().offload_limit(1);
        sleeping_lends(&limited.build().unwrap());
    }
}

#[test]
fn a_thread_that_sleeps_calls_its_hooks() {
    let (before, after) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let hooks = ParkHooks::new(
        {
            let before = before.clone();
            move || before.fetch_add(1, Ordering::SeqCst)
        },
        {
            let after = after.clone();
            move |nth| assert_eq!(after.fetch_add(1, Ordering::SeqCst), nth)
        },
    );
    let calls = || (before.load(Ordering::SeqCst), after.load(Ordering::SeqCst));
    let token = CancellationToken::new();
    hooks
        .scope(|| token.sleep(Duration::from_millis(2)))
        .unwrap();
    let (begun, ended) = calls();
    assert!(begun >= 1 && begun == ended);
    token.cancel();
    hooks.scope(|| token.sleep(AGES)).unwrap_err();
    assert_eq!(calls(), (begun, ended), "nothing to wait for");
}

#[test]
fn async_code_must_not_sleep_on_its_thread() {
    each_runtime(|rt| {
        let task = rt.spawn(async {
            let token = CancellationToken::new();
            token.try_sleep(Duration::MAX).unwrap_err().is_nested()
        });
        assert!(rt.block_on(task).unwrap());
    });
}

#[test]
fn the_current_token_goes_along_into_tasks_closures_and_calls_back_into_async_code() {
    each_runtime(|rt| {
        let rt = Propagate::new(rt);
        let token = CancellationToken::new();
        let (inner, outer) = (rt.clone(), token.clone());
        let task = token.scope(|| {
            rt.spawn(async move {
                assert!(cancel::current().is_same(&outer));
                let closure = inner.offload({
                    let (rt, outer) = (inner.clone(), outer.clone());
                    move || {
                        assert!(cancel::current().is_same(&outer));
                        rt.block_on(async {
                            assert!(cancel::current().is_same(&outer));
                            let inner = outer.child();
                            let task = inner.scope(|| rt.spawn(async { cancel::current() }));
                            assert!(task.await.unwrap().is_same(&inner));
                            // And nothing of it leaks back.
                            assert!(cancel::current().is_same(&outer));
                        });
                        outer.cancel();
                        cancel::check()
                    }
                });
                closure.await.unwrap()
            })
        });
        assert!(rt.block_on(task).unwrap().is_err());
        assert!(cancel::check().is_ok());
    });
}

#[test]
fn a_future_is_dropped_before_the_cancellation_is_told() {
    struct Tells<'a>(&'a std::cell::Cell<bool>);
    impl Drop for Tells<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    each_runtime(|rt| {
        let token = CancellationToken::new();
        let dropped = std::cell::Cell::new(false);
        let tells = Tells(&dropped);
        rt.block_on(async {
            let ends = token.run_until_cancelled(async {
                let _tells = tells;
                token.cancel();
                std::future::pending::<()>().await;
            });
            assert!(ends.await.is_err());
            assert!(dropped.get());
        });
    });
}

#[test]
fn an_awaited_call_has_the_token_of_where_it_is_awaited() {
    each_runtime(|rt| {
        let token = CancellationToken::new();
        let same = {
            let (one, two) = (token.clone(), token.clone());
            let blocking = rt.call_blocking(move || cancel::current().is_same(&one));
            let asynchronous = rt.call(async move { cancel::current().is_same(&two) });
            rt.block_on(token.scope_future(async { (blocking.await, asynchronous.await) }))
        };
        assert_eq!(same, (true, true));
    });
}
