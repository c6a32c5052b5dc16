//! Hooks around waits, on each runtime: a lock that a host holds, as Python's GIL, and that
//! tasks and closures need.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use fourway::{
    AnyRuntime, Call, Compose, ParkHooks,
    context::{self, Context},
    layer::Parked,
    prelude::*,
};
use fourway_adapt::{Adapter, BoxFuture, Execute};

use crate::support::every;

/// A lock that is held from one call to another, by a thread.
#[derive(Clone, Default)]
struct Gil {
    lock: Arc<(Mutex<bool>, Condvar)>,
    waits: Arc<AtomicUsize>,
}

thread_local! {
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

const LIMIT: Duration = Duration::from_secs(60);

impl Gil {
    fn acquire(&self) {
        assert!(!HOLDS.replace(true), "taken twice");
        let held = self.lock.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut held, timeout) = self
            .lock
            .1
            .wait_timeout_while(held, LIMIT, |held| *held)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "a deadlock");
        *held = true;
    }

    fn release(&self) {
        assert!(HOLDS.replace(false), "let go of twice");
        *self.lock.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.lock.1.notify_one();
    }

    fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Release<'a>(&'a Gil);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        self.acquire();
        let _release = Release(self);
        f()
    }

    /// Lets go of it, if the thread has it.
    fn hooks(&self) -> ParkHooks {
        let (before, after) = (self.clone(), self.clone());
        ParkHooks::new(
            move || {
                before.waits.fetch_add(1, Ordering::SeqCst);
                HOLDS.get().then(|| before.release())
            },
            move |held| {
                if held.is_some() {
                    after.acquire();
                }
            },
        )
    }

    fn waits(&self) -> usize {
        self.waits.swap(0, Ordering::SeqCst)
    }
}

/// A future that is pending once, until another thread wakes it; which it does once the
/// hooks have been called.
fn waits_once(gil: &Gil) -> impl Future<Output = ()> + use<> {
    let waits = gil.waits.clone();
    let before = waits.load(Ordering::SeqCst);
    pending_once(move || {
        let start = Instant::now();
        while waits.load(Ordering::SeqCst) == before && start.elapsed() < LIMIT {
            // The hook only counts: a wake from it would change the test.
            thread::sleep(Duration::from_millis(1));
        }
    })
}

/// A future that is pending once, and woken by another thread after `wait`.
fn pending_once(wait: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> {
    let mut wait = Some(wait);
    poll_fn(move |cx| {
        let Some(wait) = wait.take() else {
            return Poll::Ready(());
        };
        let waker = cx.waker().clone();
        thread::spawn(move || {
            wait();
            waker.wake();
        });
        Poll::Pending
    })
}

fn check<R: Runtime>(rt: &R) {
    let gil = Gil::default();
    let hooked = Parked::new(rt.clone(), gil.hooks());

    // Neither a future that is ready at once, nor a blocking body, nor one that does nothing
    // but yield.
    gil.with(|| {
        assert_eq!(hooked.block_on(async { 1 }), 1);
        assert_eq!(hooked.call_blocking(|| 2).wait(), 2);
        assert_eq!(hooked.call(async { 3 }).wait(), 3);
        assert_eq!(hooked.block_in_place(|| 4).unwrap(), 4);
        hooked.block_on(fourway::yield_now());
    });
    assert_eq!(gil.waits(), 0);

    // A future that waits once.
    gil.with(|| hooked.block_on(waits_once(&gil)));
    let call = hooked.call(waits_once(&gil));
    gil.with(|| call.wait());
    gil.with(|| hooked.block_in_place(|| hooked.block_on(waits_once(&gil))))
        .unwrap();
    assert_eq!(gil.waits(), 3);

    // Tasks and closures that need the lock of the waiting thread; polls have it.
    let inside = |gil: &Gil| {
        let gil = gil.clone();
        move || gil.with(|| 5)
    };
    for _ in 0..20 {
        gil.with(|| {
            let task = hooked.spawn({
                let inside = inside(&gil);
                async move { inside() }
            });
            assert_eq!(hooked.block_on(task).unwrap(), 5);
            assert_eq!(hooked.block_on(hooked.offload(inside(&gil))).unwrap(), 5);
            // Through `AnyRuntime` this takes a scope.
            gil.hooks().scope(|| {
                assert_eq!(
                    hooked
                        .spawn({
                            let inside = inside(&gil);
                            async move { inside() }
                        })
                        .wait()
                        .unwrap(),
                    5
                );
            });
            // Whether the thread runs the closure by itself or another one does.
            assert_eq!(hooked.offload(inside(&gil)).wait().unwrap(), 5);
            hooked.block_on(async {
                assert!(HOLDS.get());
                hooked.sleep(Duration::from_millis(1)).await;
                assert!(HOLDS.get());
            });
            assert!(HOLDS.get());
        });
    }
    gil.waits();

    // On the thread, whatever the handle.
    gil.with(|| {
        gil.hooks().scope(|| rt.block_on(waits_once(&gil)));
    });
    assert_eq!(gil.waits(), 1);
    rt.block_on(pending_once(|| ()));
    assert_eq!(gil.waits(), 0);

    // In place, also for waits by other handles; and in a closure, by the runtime that is current.
    gil.with(|| hooked.block_in_place(|| rt.block_on(waits_once(&gil))))
        .unwrap();
    assert_eq!(gil.waits(), 1);
    let in_closure = gil.clone();
    let waited = hooked.offload(move || {
        let current = AnyRuntime::current().expect("a closure has one");
        in_closure.with(|| current.block_on(waits_once(&in_closure)));
        in_closure.waits()
    });
    assert_eq!(rt.block_on(waited).unwrap(), 1);

    // Balanced by a panic after a wait, and the destructor runs with the lock.
    struct Checks;
    impl Drop for Checks {
        fn drop(&mut self) {
            assert!(HOLDS.get(), "a destructor without the lock");
        }
    }
    gil.with(|| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            hooked.block_on(async {
                let _checks = Checks;
                waits_once(&gil).await;
                std::panic::resume_unwind(Box::new("on purpose"));
            });
        }));
        assert!(panicked.is_err() && HOLDS.get());
        hooked.block_on(async {
            let checks = Checks;
            waits_once(&gil).await;
            drop(checks);
        });
    });
    assert_eq!(gil.waits(), 2);

    // Refused, it does nothing.
    let refused = hooked.clone();
    let error = rt.block_on(async move { refused.try_block_on(async {}).unwrap_err() });
    assert!(error.is_nested());
    assert_eq!(gil.waits(), 0);

    lending(&gil, &hooked);
    lending(&gil, &AnyRuntime::new(hooked.clone()));
    lending(&gil, &Compose::new(hooked.clone(), hooked.clone()));
}

/// Closures that hold the lock, wait for one another, and lend their slots: many more than
/// there are slots.
fn lending<R: Runtime>(gil: &Gil, rt: &R) {
    let (done, results) = mpsc::channel();
    for number in 0..30 {
        let (rt, gil, done) = (rt.clone(), gil.clone(), done.clone());
        rt.clone()
            .offload(move || {
                gil.with(|| {
                    let inner = gil.clone();
                    let closure = rt.offload(move || inner.with(|| number));
                    let got = rt.block_on(closure).unwrap();
                    assert!(HOLDS.get());
                    done.send(got).unwrap();
                });
            })
            .detach();
    }
    let mut all: Vec<_> = (0..30)
        .map(|_| results.recv_timeout(LIMIT).expect("a deadlock"))
        .collect();
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>());
}

/// In each kind of wait, and before it as after it.
#[test]
fn hooks_are_async_code_on_every_runtime() {
    every(|rt| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let look = {
            let (rt, seen) = (rt.clone(), seen.clone());
            move || {
                let refused = rt.try_block_on(async {}).is_err_and(|e| e.is_nested());
                let seen = &mut *seen.lock().unwrap();
                seen.push((context::current(), refused));
            }
        };
        let after = look.clone();
        let hooks = ParkHooks::new(look, move |()| after());
        hooks.scope(|| {
            rt.block_on(pending_once(|| ()));
            rt.offload(|| ()).wait().unwrap();
            rt.spawn(pending_once(|| ())).wait().unwrap();
        });
        assert_eq!(context::current(), Context::Sync);
        let seen = seen.lock().unwrap();
        assert!(seen.len() >= 2 && seen.len() % 2 == 0, "{seen:?}");
        assert!(
            seen.iter().all(|s| *s == (Context::Async, true)),
            "{seen:?}"
        );
    });
}

#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

#[test]
fn ten_lines() {
    let rt = Adapter::builder(ThreadEach)
        .offload_limit(2)
        .build()
        .unwrap();
    check(&rt);
    check(&AnyRuntime::new(rt));
}

#[cfg(feature = "std-thread")]
#[test]
fn std_thread() {
    let rt = fourway::std_thread::StdThread::builder()
        .worker_threads(2)
        .offload_limit(2)
        .build()
        .unwrap();
    check(&rt);
    check(&AnyRuntime::new(rt));
}

#[cfg(feature = "tokio")]
#[test]
fn tokio() {
    use fourway::tokio::Tokio;
    let rt = Tokio::builder().worker_threads(2).offload_limit(2);
    check(&rt.build().unwrap());
    let one = Tokio::builder().current_thread().offload_limit(2);
    check(&one.build().unwrap());
}

#[cfg(feature = "smol")]
#[test]
fn smol() {
    use fourway::smol::Smol;
    let rt = Smol::builder().worker_threads(2).offload_limit(2);
    check(&rt.build().unwrap());
    let global = Smol::builder().global_executor().offload_limit(2);
    check(&global.build().unwrap());
}

/// The thread has taken the closure, in the only slot there is, to run it itself.
#[cfg(feature = "std-thread")]
#[test]
fn a_hook_that_panics_loses_no_closure_that_the_thread_runs_itself() {
    let rt = fourway::std_thread::StdThread::builder()
        .offload_limit(1)
        .build()
        .unwrap();
    let hooks = ParkHooks::new(|| panic!("a hook"), |()| ());
    for _ in 0..20 {
        let closure = rt.offload(|| 5);
        let waited = catch_unwind(AssertUnwindSafe(|| hooks.scope(|| closure.wait())));
        // Perhaps it was over before there was anything to wait for.
        assert!(waited.is_err() || waited.is_ok_and(|result| result.is_ok()));
        // The slot is free, or will be.
        assert_eq!(rt.offload(|| 6).wait().unwrap(), 6);
    }
    assert!(rt.shutdown(LIMIT).unwrap().is_clean());
}
