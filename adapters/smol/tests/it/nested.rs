//! Blocking inside of async code: refused at once wherever it would hold up
//! others, possible wherever it would not (BL-2, no blocking in async code; BL-3, blocking where it
//! is allowed; BL-6, block_in_place).

use std::{
    future::{Future, pending, poll_fn},
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Offload, Shutdown, Spawner, Task, Timer,
    context::{self, Context as Running},
};
use fourway_smol::Smol;

/// Far above what any of it takes; only a failing test gets here.
const MUST: Duration = Duration::from_secs(30);

fn own(workers: usize) -> Smol {
    Smol::builder().worker_threads(workers).build().unwrap()
}

fn each(test: impl Fn(Smol)) {
    test(Smol::global());
    test(own(2));
    test(own(1));
}

/// Tries to block, with a future that must not be polled.
fn attempt(rt: &Smol) -> Result<(), BlockOnError> {
    rt.try_block_on(async { panic!("a refused future must not be polled") })
}

#[track_caller]
fn refused(result: Result<(), BlockOnError>) {
    let error = result.expect_err("blocking here must be refused");
    assert!(error.is_nested(), "{error}");
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_task_is_refused() {
    each(|rt| {
        let inner = rt.clone();
        let result = rt.block_on(rt.spawn(async move { attempt(&inner) }));
        refused(result.unwrap());
    });
}

#[test]
fn a_task_of_one_runtime_is_refused_by_another() {
    let (global, own) = (Smol::global(), own(1));
    let inner = global.clone();
    refused(
        own.block_on(own.spawn(async move { attempt(&inner) }))
            .unwrap(),
    );
    let inner = own.clone();
    refused(
        global
            .block_on(global.spawn(async move { attempt(&inner) }))
            .unwrap(),
    );
}

#[test]
fn a_destructor_is_refused_during_a_poll_after_it_and_on_cancellation() {
    each(|rt| {
        let (results, received) = mpsc::channel();
        let guard = |rt: &Smol| {
            let (rt, results) = (rt.clone(), results.clone());
            OnDrop(move || results.send(attempt(&rt)).unwrap())
        };
        // A local, dropped in the middle of a poll.
        let local = guard(&rt);
        rt.block_on(rt.spawn(async move { drop(local) })).unwrap();
        refused(received.recv_timeout(MUST).unwrap());
        // The future itself, dropped when it is ready.
        let own = guard(&rt);
        let ready = poll_fn(move |_| {
            let _own = &own;
            Poll::Ready(())
        });
        rt.block_on(rt.spawn(ready)).unwrap();
        refused(received.recv_timeout(MUST).unwrap());
        // A suspended future, dropped by cancellation.
        let held = guard(&rt);
        let task = rt.spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
        refused(received.recv_timeout(MUST).unwrap());
        // The root future of a `block_on`.
        let own = guard(&rt);
        rt.block_on(poll_fn(move |_| {
            let _own = &own;
            Poll::Ready(())
        }));
        refused(received.recv_timeout(MUST).unwrap());
    });
}

#[test]
fn a_timers_waker_is_refused_on_whichever_thread_it_is_called() {
    struct Try {
        rt: Smol,
        results: mpsc::Sender<(Result<(), BlockOnError>, Result<(), BlockOnError>)>,
    }
    impl Wake for Try {
        fn wake(self: Arc<Self>) {
            let in_place = self.rt.block_in_place(|| ());
            self.results.send((attempt(&self.rt), in_place)).unwrap();
        }
    }
    each(|rt| {
        let (results, received) = mpsc::channel();
        let waker = Waker::from(Arc::new(Try {
            rt: rt.clone(),
            results,
        }));
        // Turned by async-io's own thread or a worker, or by this thread.
        for blocking in [false, true] {
            let mut sleep = Box::pin(rt.sleep(Duration::from_millis(20)));
            let polled = sleep.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                continue;
            }
            if blocking {
                rt.block_on(rt.sleep(Duration::from_millis(40)));
            }
            let (nested, in_place) = received.recv_timeout(MUST).unwrap();
            refused(nested);
            assert!(in_place.unwrap_err().is_unsupported());
        }
        drop(waker);
    });
}

#[test]
fn a_root_future_is_refused_and_the_context_is_right() {
    each(|rt| {
        assert_eq!(context::current(), Running::Sync);
        rt.block_on(async {
            assert_eq!(context::current(), Running::Async);
            refused(attempt(&rt));
            // Also after it was suspended.
            rt.sleep(Duration::from_millis(1)).await;
            refused(attempt(&rt));
            assert!(AnyRuntime::current().is_some());
        });
        assert_eq!(context::current(), Running::Sync);
    });
}

#[test]
fn an_offloaded_closure_may_block() {
    each(|rt| {
        let inner = rt.clone();
        let task = rt.offload(move || {
            assert_eq!(context::current(), Running::Blocking);
            inner.block_on(inner.spawn(async { 7 })).unwrap()
        });
        assert_eq!(rt.block_on(task).unwrap(), 7);
    });
}

#[test]
fn depth_eight_of_sync_and_async() {
    fn down(rt: &Smol, depth: u32) -> u32 {
        if depth == 0 {
            return 0;
        }
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let deeper = inner.clone();
            inner.offload(move || down(&deeper, depth - 1)).await
        });
        1 + rt.block_on(task).unwrap().unwrap()
    }
    each(|rt| assert_eq!(down(&rt, 8), 8));
    let narrow = Smol::builder()
        .worker_threads(1)
        .offload_limit(1)
        .build()
        .unwrap();
    assert_eq!(down(&narrow, 8), 8);
}

#[test]
fn block_in_place_lets_the_only_workers_other_tasks_go_on() {
    let rt = own(1);
    let inner = rt.clone();
    let (here, waiting) = mpsc::channel();
    let (done, other) = mpsc::channel();
    let blocked = rt.spawn(async move {
        inner.block_in_place(|| {
            assert_eq!(context::current(), Running::Blocking);
            here.send(()).unwrap();
            // Only a task that is run meanwhile can say this.
            other.recv_timeout(MUST).unwrap();
            // And blocking on async code is fine.
            inner.block_on(inner.spawn(async { 3 })).unwrap()
        })
    });
    waiting.recv_timeout(MUST).unwrap();
    rt.spawn(async move { done.send(()).unwrap() }).detach();
    assert_eq!(rt.block_on(blocked).unwrap().unwrap(), 3);
    let report = rt.shutdown(MUST).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn block_in_place_nests() {
    fn down(rt: &Smol, depth: u32) -> u32 {
        if depth == 0 {
            return 0;
        }
        let inner = rt.clone();
        let task = rt.spawn(async move {
            inner
                .block_in_place(|| 1 + down(&inner, depth - 1))
                .unwrap()
        });
        rt.block_on(task).unwrap()
    }
    assert_eq!(down(&own(1), 8), 8);
}

#[test]
fn block_in_place_reports_what_it_cannot_do() {
    // smol's threads are not ours to relieve.
    let global = Smol::global();
    let inner = global.clone();
    let result = global.block_on(global.spawn(async move { inner.block_in_place(|| ()) }));
    assert!(result.unwrap().unwrap_err().is_unsupported());
    // A task of another runtime.
    let (one, two) = (own(1), own(1));
    let inner = two.clone();
    let result = one.block_on(one.spawn(async move { inner.block_in_place(|| ()) }));
    assert!(result.unwrap().unwrap_err().is_unsupported());
    // The root future of another runtime.
    let result = one.block_on(async { two.block_in_place(|| ()) });
    assert!(result.unwrap_err().is_unsupported());
}

#[test]
fn a_root_future_may_block_itself() {
    each(|rt| {
        let sum = rt.block_on(async {
            rt.block_in_place(|| {
                assert_eq!(context::current(), Running::Blocking);
                let inner = rt.block_on(async { rt.block_in_place(|| 2).unwrap() });
                1 + inner
            })
            .unwrap()
        });
        assert_eq!(sum, 3);
        assert_eq!(rt.block_in_place(|| 4).unwrap(), 4);
    });
}

/// BL-5, park tokens and stale wakes: the future parks, and so eats its thread's token.
#[test]
fn an_eaten_park_token_hangs_nobody() {
    each(|rt| {
        let (done, finished) = mpsc::channel();
        thread::spawn(move || {
            let mut left = 3;
            rt.block_on(poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                let waker = cx.waker().clone();
                let woken = thread::spawn(move || waker.wake());
                woken.join().unwrap();
                thread::park_timeout(Duration::ZERO);
                Poll::Pending
            }));
            done.send(()).unwrap();
        });
        finished.recv_timeout(MUST).unwrap();
    });
}
