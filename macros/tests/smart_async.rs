//! The four scenarios of Python's SmartAsync, where one decorator serves sync and async methods for
//! sync and async callers; and the faults found there.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use fourway_core::{AnyRuntime, BlockOn, Call, Runtime, Spawner};
use fourway_macros::calls;
use fourway_testing::{each, run};

/// An API manager as in SmartAsync: one method of each kind, and a state that both change.
#[derive(Clone)]
struct Manager<R = AnyRuntime> {
    rt: R,
    count: Arc<AtomicUsize>,
}

#[calls]
impl<R: Runtime> Manager<R> {
    fn new(rt: R) -> Self {
        let count = Arc::default();
        Self { rt, count }
    }

    /// Like a request: waits.
    async fn fetch(&self, name: &str) -> Result<String, String> {
        fourway_core::yield_now().await;
        self.count.fetch_add(1, Ordering::Relaxed);
        match name {
            "" => Err("no name".to_owned()),
            name => Ok(format!("fetched {name}")),
        }
    }

    /// Like a file: may block.
    #[blocking]
    fn read(&self, name: &str) -> Result<String, String> {
        self.count.fetch_add(1, Ordering::Relaxed);
        match name {
            "" => Err("no name".to_owned()),
            name => Ok(format!("read {name}")),
        }
    }

    /// Calls both.
    async fn both(&self, name: &str) -> Result<String, String> {
        Ok(self.fetch(name).await? + ", " + &self.read(name).await?)
    }

    /// SmartAsync remembered the mode of the last call; here, the mode of one call does not affect
    /// another.
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[test]
fn the_four_scenarios() {
    each(|rt| {
        let manager = Manager::new(rt.clone());
        // A sync caller of an async method, and of a sync one.
        assert_eq!(manager.fetch("a").wait().unwrap(), "fetched a");
        assert_eq!(manager.read("a").wait().unwrap(), "read a");
        // An async caller of both.
        run(&rt, async {
            assert_eq!(manager.fetch("a").await.unwrap(), "fetched a");
            assert_eq!(manager.read("a").await.unwrap(), "read a");
        });
        // Errors are those of the method in all of them.
        assert_eq!(manager.fetch("").wait().unwrap_err(), "no name");
        assert_eq!(run(&rt, manager.read("")).unwrap_err(), "no name");
        assert_eq!(manager.both("a").wait().unwrap(), "fetched a, read a");
        assert_eq!(run(&rt, manager.both("a")).unwrap(), "fetched a, read a");
        assert_eq!(manager.count(), 10);
    });
}

/// In SmartAsync, a method remembered a use by async code, and gave a later sync caller a coroutine
/// in place of the result.
#[test]
fn an_async_use_and_then_a_sync_use_of_one_method() {
    each(|rt| {
        let manager = Manager::new(rt.clone());
        for _ in 0..50 {
            assert_eq!(run(&rt, manager.fetch("a")).unwrap(), "fetched a");
            assert_eq!(manager.fetch("a").wait().unwrap(), "fetched a");
            assert_eq!(run(&rt, manager.read("a")).unwrap(), "read a");
            assert_eq!(manager.read("a").wait().unwrap(), "read a");
        }
    });
}

/// In SmartAsync, all threads shared the remembered mode of an object: the result depended on the
/// last caller.
#[test]
fn several_threads_use_one_method_in_both_ways() {
    each(|rt| {
        let manager = Manager::new(rt.clone());
        const THREADS: usize = 4;
        let together = Barrier::new(THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (rt, manager, together) = (&rt, &manager, &together);
                scope.spawn(move || {
                    for _ in 0..50 {
                        together.wait();
                        let fetched = match number % 2 {
                            0 => manager.fetch("a").wait(),
                            _ => run(rt, manager.fetch("a")),
                        };
                        assert_eq!(fetched.unwrap(), "fetched a");
                        let read = match number % 2 {
                            0 => run(rt, manager.read("a")),
                            _ => manager.read("a").wait(),
                        };
                        assert_eq!(read.unwrap(), "read a");
                    }
                });
            }
        });
        assert_eq!(manager.count(), THREADS * 50 * 2);
    });
}

/// In SmartAsync, a sync method that is called by async code and itself calls an async method (sync
/// within async, and async again within that) found a running event loop and failed.
#[test]
fn sync_code_within_async_code_and_async_code_within_that() {
    each(|rt| {
        let manager = Manager::new(rt.clone());
        let inner = manager.clone();
        let nested = rt.call_blocking(move || inner.both("a").wait());
        let task = rt.spawn(async move { nested.await });
        assert_eq!(rt.block_on(task).unwrap().unwrap(), "fetched a, read a");
    });
}

/// In SmartAsync, two objects of one class shared the remembered mode.
#[test]
fn two_objects_have_nothing_in_common() {
    each(|rt| {
        let (one, two) = (Manager::new(rt.clone()), Manager::new(rt.clone()));
        run(&rt, one.fetch("a")).unwrap();
        assert_eq!(two.fetch("a").wait().unwrap(), "fetched a");
        assert_eq!((one.count(), two.count()), (1, 1));
    });
}
