//! BL-7: hooks around waits.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use fourway_core::{BlockOn, Call, Offload, ParkHooks, Runtime, Spawner, Task};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, eventually, must, on_thread, panic_quietly},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-7.1", "before a thread waits in block_on its hooks are called, and after, before any poll",
        "obstore 451, icechunk 563: a GIL that is held during the wait for who needs it", around_waits;
        "BL-7.2", "they are not called where nothing is waited for, nor outside of their scope",
        "a lock that is let go of for nothing", for_nothing;
        "BL-7.3", "a panic leaves them balanced, and destructors run after the second one",
        "a lock that is let go of and never taken again", balanced;
        "BL-7.4", "they are called around .wait() of tasks and closures, whoever runs those",
        "vortex 4931: the same in one call more", around_handles;
        "BL-7.5", "they are called while a closure waits for its slot",
        "two locks, taken in either order", around_slots;
    ]
}

/// A lock that a host holds from one call to another, such as an interpreter's.
#[derive(Clone, Default)]
struct Host {
    lock: Arc<(Mutex<bool>, Condvar)>,
    /// Calls of the first hook, and of the second.
    calls: Arc<(AtomicUsize, AtomicUsize)>,
}

thread_local! {
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

impl Host {
    fn acquire(&self) {
        assert!(!HOLDS.replace(true), "the lock is taken twice");
        let held = self.lock.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut held, timeout) = self
            .lock
            .1
            .wait_timeout_while(held, must(), |held| *held)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "a deadlock");
        *held = true;
    }

    fn release(&self) {
        assert!(HOLDS.replace(false), "the lock is let go of twice");
        *self.lock.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.lock.1.notify_one();
    }

    fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Release<'a>(&'a Host);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                if HOLDS.get() {
                    self.0.release();
                }
            }
        }
        self.acquire();
        let _release = Release(self);
        f()
    }

    fn hooks(&self) -> ParkHooks {
        let (before, after) = (self.clone(), self.clone());
        ParkHooks::new(
            move || {
                before.calls.0.fetch_add(1, Ordering::SeqCst);
                HOLDS.get().then(|| before.release())
            },
            move |held| {
                after.calls.1.fetch_add(1, Ordering::SeqCst);
                if held.is_some() {
                    after.acquire();
                }
            },
        )
    }

    /// Holds the lock, and releases it around waits.
    fn hosts<T>(&self, f: impl FnOnce() -> T) -> T {
        self.with(|| self.hooks().scope(f))
    }

    fn calls(&self) -> (usize, usize) {
        let (before, after) = &*self.calls;
        (before.load(Ordering::SeqCst), after.load(Ordering::SeqCst))
    }

    /// A closure that needs the lock.
    fn needs(&self) -> impl FnOnce() -> u32 + Send + use<> {
        let host = self.clone();
        move || host.with(|| 1)
    }
}

fn around_waits<S: Setup>(s: S) {
    let rt = s.build();
    on_thread(move || {
        let host = Host::default();
        host.hosts(|| {
            for _ in 0..20 {
                let got = rt.block_on(async {
                    assert!(HOLDS.get(), "a poll without the lock");
                    let got = rt.offload(host.needs()).await.unwrap();
                    assert!(HOLDS.get(), "a poll without the lock");
                    got
                });
                assert_eq!(got, 1);
                assert!(HOLDS.get());
            }
        });
        let (before, after) = host.calls();
        assert!(before >= 1 && before == after, "{before} and {after}");
    });
}

fn for_nothing<S: Setup>(s: S) {
    let rt = s.build();
    on_thread(move || {
        let host = Host::default();
        host.hosts(|| {
            assert_eq!(rt.block_on(async { 1 }), 1);
            assert_eq!(rt.call_blocking(|| 2).wait(), 2);
            assert_eq!(rt.call(async { 3 }).wait(), 3);
            assert_eq!(rt.block_in_place(|| 4).unwrap(), 4);
            rt.block_on(async {
                // A refused call does not wait.
                let refused = rt.try_block_on(async {});
                assert!(refused.unwrap_err().is_nested());
            });
        });
        assert_eq!(host.calls(), (0, 0), "hooks are called for nothing");
        // Outside of the scope.
        assert_eq!(rt.block_on(rt.offload(host.needs())).unwrap(), 1);
        assert_eq!(host.calls(), (0, 0));
    });
}

fn balanced<S: Setup>(s: S) {
    /// Must be dropped with the lock held.
    struct Checks;
    impl Drop for Checks {
        fn drop(&mut self) {
            assert!(HOLDS.get(), "a destructor without the lock");
        }
    }
    let rt = s.build();
    on_thread(move || {
        let host = Host::default();
        host.hosts(|| {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                rt.block_on(async {
                    let _checks = Checks;
                    rt.offload(host.needs()).await.unwrap();
                    panic_quietly("on purpose");
                });
            }));
            assert!(panicked.is_err());
            assert!(HOLDS.get(), "the panic has left the lock behind");
            rt.block_on(async {
                let checks = Checks;
                rt.offload(host.needs()).await.unwrap();
                drop(checks);
            });
        });
        let (before, after) = host.calls();
        assert_eq!(before, after, "not in pairs");
    });
}

fn around_handles<S: Setup>(s: S) {
    let rt = s.build();
    on_thread(move || {
        let host = Host::default();
        host.hosts(|| {
            for _ in 0..20 {
                assert_eq!(rt.offload(host.needs()).wait().unwrap(), 1);
                assert!(HOLDS.get());
                let (inner, needs) = (rt.clone(), host.needs());
                let task = rt.spawn(async move { inner.offload(needs).await.unwrap() });
                assert_eq!(task.wait().unwrap(), 1);
                assert!(HOLDS.get());
            }
        });
        let (before, after) = host.calls();
        assert_eq!(before, after, "not in pairs");
    });
}

fn around_slots<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 2);
    let (host, done) = (Host::default(), Counter::new());
    for _ in 0..12 {
        let (rt, host, done) = (rt.clone(), host.clone(), done.clone());
        rt.clone()
            .offload(move || {
                host.hosts(|| {
                    let closure = rt.offload(host.needs());
                    rt.block_on(closure).unwrap();
                    assert!(HOLDS.get());
                    done.add();
                });
            })
            .detach();
    }
    eventually("all closures have had the lock", || done.get() == 12);
}
