//! Blocking inside of async code: refused at once wherever it would hold up
//! others, raw Tokio code included, possible wherever it would not (BL-2, no blocking in
//! async code; BL-3, blocking where it is allowed; BL-6, block_in_place).

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::{Adapter, BoxFuture, Execute, block_on};
use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, Offload, Shutdown, Spawner, Task, Timer,
    context::{self, Context as Running},
};
use fourway_tokio::Tokio;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{LocalSet, coop},
};

/// Far above what any of it takes; only a failing test gets here.
const MUST: Duration = Duration::from_secs(30);

fn multi(workers: usize) -> Tokio {
    Tokio::builder().worker_threads(workers).build().unwrap()
}

fn single() -> Tokio {
    Tokio::builder().current_thread().build().unwrap()
}

fn raw_multi() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_time().build().unwrap()
}

fn raw_single() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Both flavours of our own, and a foreign one.
fn each(test: impl Fn(Tokio)) {
    test(multi(2));
    test(multi(1));
    test(single());
    let raw = raw_multi();
    test(Tokio::from_handle(raw.handle().clone()));
}

/// Tries to block, with a future that must not be polled.
fn attempt(rt: &impl BlockOn) -> Result<(), BlockOnError> {
    rt.try_block_on(async { panic!("a refused future must not be polled") })
}

#[track_caller]
fn refused(result: Result<(), BlockOnError>) {
    let error = result.expect_err("blocking here must be refused");
    assert!(error.is_nested(), "{error}");
}

/// Blocks on something that only a working runtime can do.
#[track_caller]
fn works(rt: &Tokio) {
    let inner = rt.clone();
    let task = rt.spawn(async move {
        inner.sleep(Duration::from_millis(1)).await;
        7
    });
    assert_eq!(rt.try_block_on(task).expect("may block").unwrap(), 7);
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn our_tasks_and_root_futures_are_refused() {
    each(|rt| {
        let inner = rt.clone();
        let task = rt.spawn(async move { (attempt(&inner), context::current()) });
        let (result, running) = rt.block_on(task).unwrap();
        refused(result);
        assert_eq!(running, Running::Async);
        rt.block_on(async {
            refused(attempt(&rt));
            rt.sleep(Duration::from_millis(1)).await;
            refused(attempt(&rt));
        });
        assert_eq!(context::current(), Running::Sync);
    });
}

#[test]
fn raw_tasks_are_refused() {
    each(|rt| {
        let inner = rt.clone();
        let task = rt.handle().spawn(async move {
            let first = attempt(&inner);
            tokio::task::yield_now().await;
            (first, attempt(&inner), context::current())
        });
        let (first, second, running) = rt.block_on(task).unwrap();
        refused(first);
        refused(second);
        assert_eq!(running, Running::Async);
    });
}

#[test]
fn the_root_of_a_raw_runtime_is_refused() {
    let ours = multi(1);
    for raw in [raw_multi(), raw_single()] {
        raw.block_on(async {
            refused(attempt(&ours));
            refused(attempt(&Tokio::current()));
            assert_eq!(context::current(), Running::Async);
            tokio::time::sleep(Duration::from_millis(1)).await;
            refused(attempt(&ours));
        });
        assert_eq!(context::current(), Running::Sync);
    }
}

#[tokio::test]
async fn the_body_of_tokios_macros_is_refused() {
    refused(attempt(&Tokio::current()));
}

#[test]
fn local_sets_are_refused() {
    let ours = multi(1);
    for raw in [raw_multi(), raw_single()] {
        let local = LocalSet::new();
        local.block_on(&raw, async {
            refused(attempt(&ours));
            let ours = ours.clone();
            let task = tokio::task::spawn_local(async move {
                refused(attempt(&ours));
                refused(attempt(&Tokio::current()));
                tokio::task::yield_now().await;
                refused(attempt(&ours));
            });
            task.await.unwrap();
        });
    }
}

#[test]
fn a_task_with_its_budget_used_up_is_refused() {
    let rt = multi(1);
    let inner = rt.clone();
    let task = rt.handle().spawn(async move {
        let result = poll_fn(|cx| {
            while coop::has_budget_remaining() {
                if let Poll::Ready(guard) = coop::poll_proceed(cx) {
                    guard.made_progress();
                }
            }
            Poll::Ready((attempt(&inner), context::current()))
        });
        result.await
    });
    let (result, running) = rt.block_on(task).unwrap();
    refused(result);
    assert_eq!(running, Running::Async);
}

/// The probe cannot recognise it, but Tokio itself refuses.
#[test]
fn an_unconstrained_raw_task_is_refused_by_its_own_runtime() {
    each(|rt| {
        let inner = rt.clone();
        let task = coop::unconstrained(async move { attempt(&inner) });
        refused(rt.block_on(rt.handle().spawn(task)).unwrap());
        // One of ours is known by its mark.
        let inner = rt.clone();
        let task = coop::unconstrained(async move { (attempt(&inner), context::current()) });
        let (result, running) = rt.block_on(rt.spawn(task)).unwrap();
        refused(result);
        assert_eq!(running, Running::Async);
    });
}

#[test]
fn destructors_are_refused_during_a_poll_after_it_and_on_cancellation() {
    each(|rt| {
        let (results, received) = mpsc::channel();
        let guard = |rt: &Tokio| {
            let (rt, results) = (rt.clone(), results.clone());
            OnDrop(move || results.send(attempt(&rt)).unwrap())
        };
        let local = guard(&rt);
        rt.block_on(rt.spawn(async move { drop(local) })).unwrap();
        refused(received.recv_timeout(MUST).unwrap());
        let own = guard(&rt);
        let ready = poll_fn(move |_| {
            let _own = &own;
            Poll::Ready(())
        });
        rt.block_on(rt.spawn(ready)).unwrap();
        refused(received.recv_timeout(MUST).unwrap());
        let held = guard(&rt);
        let task = rt.spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
        refused(received.recv_timeout(MUST).unwrap());
        // A raw task's local.
        let local = guard(&rt);
        let task = rt.handle().spawn(async move { drop(local) });
        rt.block_on(task).unwrap();
        refused(received.recv_timeout(MUST).unwrap());
        // A detached task's output, which nobody takes.
        let output = guard(&rt);
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        rt.spawn(async move {
            let _ = gone.await;
            output
        })
        .detach();
        go.send(()).unwrap();
        refused(received.recv_timeout(MUST).unwrap());
    });
}

/// The findings of a timer's waker, on the thread that drives timers.
struct Found {
    nested: Result<(), BlockOnError>,
    running: Running,
    in_place: Result<(), BlockOnError>,
}

/// Has a timer of `rt` call a waker that tries to block, and waits for it.
fn from_a_timers_waker(rt: &Tokio) -> Found {
    struct Try {
        rt: Tokio,
        found: mpsc::Sender<Found>,
    }
    impl Wake for Try {
        fn wake(self: Arc<Self>) {
            let found = Found {
                nested: attempt(&self.rt),
                running: context::current(),
                in_place: self.rt.block_in_place(|| ()),
            };
            self.found.send(found).unwrap();
        }
    }
    let (found, received) = mpsc::channel();
    let waker = Waker::from(Arc::new(Try {
        rt: rt.clone(),
        found,
    }));
    loop {
        let mut sleep = pin!(rt.sleep(Duration::from_millis(20)));
        // On a slow machine its time may have come already.
        if sleep
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            return received.recv_timeout(MUST).unwrap();
        }
    }
}

#[test]
fn a_timers_waker_is_refused_between_polls() {
    for rt in [multi(2), multi(1), single()] {
        // Its workers have parked before, and are known.
        works(&rt);
        let found = from_a_timers_waker(&rt);
        refused(found.nested);
        assert_eq!(found.running, Running::Async);
        assert!(found.in_place.unwrap_err().is_unsupported());
        // The worker lives.
        works(&rt);
        let report = rt.shutdown(MUST).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

/// There, only Tokio's own refusal tells.
#[test]
fn so_it_is_on_a_foreign_runtime() {
    let raw = raw_multi();
    let rt = Tokio::from_handle(raw.handle().clone());
    refused(from_a_timers_waker(&rt).nested);
    works(&rt);

    let raw = raw_single();
    let rt = Tokio::from_handle(raw.handle().clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let driver = thread::spawn(move || raw.block_on(stopped));
    refused(from_a_timers_waker(&rt).nested);
    works(&rt);
    stop.send(()).unwrap();
    driver.join().unwrap().unwrap();
}

/// An executor that is not Tokio's, by way of `Adapter`.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(|| block_on(future, None));
    }
}

#[test]
fn another_runtime_refuses_inside_raw_tasks() {
    fourway_tokio::install_probe();
    let other = Adapter::new(ThreadEach);
    for raw in [raw_multi(), raw_single()] {
        let inner = other.clone();
        let task = raw.spawn(async move { (attempt(&inner), inner.block_in_place(|| ())) });
        let (nested, in_place) = raw.block_on(task).unwrap();
        refused(nested);
        assert!(in_place.unwrap_err().is_unsupported());
        raw.block_on(async { refused(attempt(&other)) });
        // Where blocking is fine, so it is with the other one.
        let inner = other.clone();
        let task = raw.spawn_blocking(move || inner.block_on(async { 1 }));
        assert_eq!(raw.block_on(task).unwrap(), 1);
        let _entered = raw.enter();
        assert_eq!(other.block_on(async { 2 }), 2);
    }
}

#[test]
fn offloaded_closures_may_block() {
    each(|rt| {
        let inner = rt.clone();
        let task = rt.offload(move || {
            assert_eq!(context::current(), Running::Blocking);
            works(&inner);
        });
        rt.block_on(task).unwrap();
    });
}

#[test]
fn raw_spawn_blocking_may_block() {
    each(|rt| {
        let inner = rt.clone();
        let task = rt.handle().spawn_blocking(move || {
            assert_eq!(context::current(), Running::Blocking);
            works(&inner);
        });
        rt.block_on(task).unwrap();
    });
}

#[test]
fn a_thread_that_has_merely_entered_a_runtime_may_block() {
    each(|rt| {
        let _entered = rt.handle().enter();
        assert_eq!(context::current(), Running::Sync);
        works(&rt);
        assert_eq!(rt.block_in_place(|| 4).unwrap(), 4);
    });
}

#[test]
fn block_in_place_lets_the_only_workers_other_tasks_go_on() {
    for foreign in [false, true] {
        let raw = raw_multi();
        let rt = if foreign {
            Tokio::from_handle(raw.handle().clone())
        } else {
            multi(1)
        };
        // In a task of ours, and in a raw one.
        for spawn_raw in [false, true] {
            let inner = rt.clone();
            let (here, waiting) = mpsc::channel();
            let (done, other) = mpsc::channel();
            let body = async move {
                let result = inner.block_in_place(|| {
                    assert_eq!(context::current(), Running::Blocking);
                    here.send(()).unwrap();
                    // Only a task that is run meanwhile can say this.
                    other.recv_timeout(MUST).unwrap();
                    works(&inner);
                });
                assert_eq!(context::current(), Running::Async);
                refused(attempt(&inner));
                result
            };
            let blocked = if spawn_raw {
                let raw = rt.handle().spawn(body);
                rt.spawn(async move { raw.await.unwrap() })
            } else {
                rt.spawn(body)
            };
            waiting.recv_timeout(MUST).unwrap();
            rt.spawn(async move { done.send(()).unwrap() }).detach();
            rt.block_on(blocked).unwrap().unwrap();
        }
    }
}

#[test]
fn raw_block_in_place_may_block() {
    let rt = multi(1);
    let inner = rt.clone();
    let task = rt.handle().spawn(async move {
        tokio::task::block_in_place(|| {
            assert_eq!(context::current(), Running::Blocking);
            works(&inner);
            // Nested in it, ours is a plain call.
            inner.block_in_place(|| works(&inner)).unwrap();
        });
        refused(attempt(&inner));
    });
    rt.block_on(task).unwrap();
    // The root of a raw runtime.
    let raw = raw_multi();
    let rt = Tokio::from_handle(raw.handle().clone());
    raw.block_on(async {
        rt.block_in_place(|| works(&rt)).unwrap();
        tokio::task::block_in_place(|| works(&rt));
    });
}

#[test]
fn block_in_place_nests() {
    fn down(rt: &Tokio, depth: u32) -> u32 {
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
    assert_eq!(down(&multi(1), 8), 8);
}

#[test]
fn block_in_place_reports_what_it_cannot_do() {
    let rt = single();
    let inner = rt.clone();
    let task = rt.spawn(async move { inner.block_in_place(|| ()) });
    assert!(rt.block_on(task).unwrap().unwrap_err().is_unsupported());
    assert_eq!(rt.block_in_place(|| 4).unwrap(), 4);
    // Another runtime's task, raw task and root future.
    let (one, two) = (multi(1), multi(1));
    let inner = two.clone();
    let task = one.spawn(async move { inner.block_in_place(|| ()) });
    assert!(one.block_on(task).unwrap().unwrap_err().is_unsupported());
    let inner = two.clone();
    let task = one
        .handle()
        .spawn(async move { inner.block_in_place(|| ()) });
    assert!(one.block_on(task).unwrap().unwrap_err().is_unsupported());
    let result = one.block_on(async { two.block_in_place(|| ()) });
    assert!(result.unwrap_err().is_unsupported());
    // Inside a local set, where Tokio cannot.
    let raw = raw_multi();
    let rt = Tokio::from_handle(raw.handle().clone());
    let local = LocalSet::new();
    local.block_on(&raw, async {
        let task = tokio::task::spawn_local(async move { rt.block_in_place(|| ()) });
        assert!(task.await.unwrap().unwrap_err().is_unsupported());
    });
}

#[test]
fn a_panic_in_place_reaches_the_caller() {
    let rt = multi(1);
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let _ = inner.block_in_place(|| panic!("in place"));
    });
    let error = rt.block_on(task).unwrap_err();
    assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "in place");
    works(&rt);
}

#[test]
fn depth_eight_of_sync_and_async() {
    fn down(rt: &Tokio, depth: u32) -> u32 {
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
    let narrow = Tokio::builder().worker_threads(1).offload_limit(1);
    assert_eq!(down(&narrow.build().unwrap(), 8), 8);
    let narrow = Tokio::builder().current_thread().offload_limit(1);
    assert_eq!(down(&narrow.build().unwrap(), 8), 8);
}

/// A user's panic is not taken for Tokio's refusal, wherever it comes.
#[test]
fn a_panic_of_the_future_reaches_the_caller() {
    each(|rt| {
        for suspended in [false, true] {
            let inner = rt.clone();
            let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _ = rt.try_block_on(async {
                    if suspended {
                        inner.sleep(Duration::from_millis(1)).await;
                    }
                    panic!("the user's");
                });
            }))
            .unwrap_err();
            assert_eq!(*payload.downcast::<&str>().unwrap(), "the user's");
            assert_eq!(context::current(), Running::Sync);
            works(&rt);
        }
    });
}

#[test]
fn raw_code_finds_its_runtime() {
    each(|rt| {
        let id = Handle::id(rt.handle());
        let task = rt.handle().spawn(async {
            let any = AnyRuntime::current().expect("a Tokio runtime");
            any.spawn(async { Handle::current().id() }).await.unwrap()
        });
        assert_eq!(rt.block_on(task).unwrap(), id);
    });
}

/// How much budget the calling task has left, which this uses up.
fn left(cx: &mut Context<'_>) -> usize {
    let mut left = 0;
    while coop::has_budget_remaining() {
        if let Poll::Ready(guard) = coop::poll_proceed(cx) {
            guard.made_progress();
            left += 1;
        }
    }
    left
}

#[test]
fn probing_leaves_the_budget_as_it_was() {
    fourway_tokio::install_probe();
    fn spend(cx: &mut Context<'_>, budget: usize) {
        for _ in 0..budget {
            if let Poll::Ready(guard) = coop::poll_proceed(cx) {
                guard.made_progress();
            }
        }
    }
    let rt = multi(1);
    let measure = |spent: usize, probes: usize| {
        let task = rt.handle().spawn(poll_fn(move |cx| {
            spend(cx, spent);
            for _ in 0..probes {
                assert_eq!(context::current(), Running::Async);
            }
            Poll::Ready(left(cx))
        }));
        rt.block_on(task).unwrap()
    };
    let whole = measure(0, 0);
    assert!(whole > 10, "{whole}");
    for spent in [0, 1, 7, whole - 1, whole] {
        assert_eq!(measure(spent, 0), whole - spent);
        for probes in [1, 2, 1000] {
            assert_eq!(measure(spent, probes), whole - spent);
        }
    }
}

/// Nor is the probing task woken, which a budget that is used up would do.
#[test]
fn probing_wakes_nobody() {
    fourway_tokio::install_probe();
    let rt = multi(1);
    let (polled, polls) = mpsc::channel();
    let task = rt.handle().spawn(poll_fn(move |cx| {
        left(cx);
        for _ in 0..10 {
            assert_eq!(context::current(), Running::Async);
        }
        polled.send(()).unwrap();
        Poll::<()>::Pending
    }));
    polls.recv_timeout(MUST).unwrap();
    // The worker is through with it once it has run another task.
    rt.block_on(rt.spawn(async {})).unwrap();
    rt.block_on(rt.spawn(async {})).unwrap();
    assert!(polls.try_recv().is_err(), "polled without a wake");
    task.abort();
}
