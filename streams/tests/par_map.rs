//! `par_map` on every runtime: results in the order of the items, at most so many at a time; what
//! happens at a panic, at a drop and after a shutdown.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, Call, Shutdown, Spawner, context,
    values::{Key, Values},
};
use fourway_streams::{Items, Streams};
use fourway_testing::{AGES, each, eventually};

const COUNT: usize = 300;

/// Items of each kind, some of which have been begun.
fn sources(rt: &AnyRuntime) -> Vec<(&'static str, usize, Items<usize>)> {
    let numbers = || rt.stream_blocking(|| 0..COUNT);
    let sent = || {
        rt.stream_with(async move |mut to| {
            for n in 0..COUNT {
                to.send(n).await;
            }
        })
    };
    let (mut read, mut awaited, mut begun) = (numbers(), numbers(), sent());
    assert_eq!(read.iter().next(), Some(0));
    assert_eq!(rt.block_on(awaited.next()), Some(0));
    assert_eq!(rt.block_on(begun.next()), Some(0));
    vec![
        ("iterator", 0, numbers()),
        ("few", 0, numbers().read_ahead(4)),
        ("iterator, read", 1, read),
        ("iterator, awaited", 1, awaited),
        ("iterator, spawned", 0, numbers().spawn()),
        ("stream", 0, sent()),
        ("stream, begun", 1, begun),
        ("stream, spawned", 0, sent().spawn()),
    ]
}

#[test]
fn results_come_in_order_each_once() {
    each(|rt| {
        for at_once in [0, 1, 2, 8] {
            for way in 0..3 {
                for (name, first, items) in sources(&rt) {
                    let mapped = items.par_map(at_once, |n| {
                        // Some are late.
                        if n % 64 == 7 {
                            thread::sleep(Duration::from_millis(1));
                        }
                        n * 2
                    });
                    let found = match way {
                        0 => mapped.wait(),
                        1 => rt.block_on(async { mapped.await }),
                        _ => rt.block_on(mapped.spawn()).unwrap(),
                    };
                    let expected: Vec<usize> = (first..COUNT).map(|n| n * 2).collect();
                    assert_eq!(found, expected, "{name}, {at_once} at once, way {way}");
                }
            }
        }
    });
}

#[test]
fn slow_items_are_mapped_as_many_at_a_time_as_may_be_and_not_more() {
    each(|rt| {
        let (running, begun) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let all = begun.clone();
        let mapped = rt.stream_blocking(|| 0..12).par_map(3, move |_| {
            assert!(running.fetch_add(1, Ordering::SeqCst) < 3, "too many");
            begun.fetch_add(1, Ordering::SeqCst);
            // The first three wait for each other.
            eventually("three are mapped", || begun.load(Ordering::SeqCst) >= 3);
            running.fetch_sub(1, Ordering::SeqCst);
        });
        assert_eq!(mapped.wait().len(), 12);
        assert_eq!(all.load(Ordering::SeqCst), 12);
    });
}

#[test]
fn one_at_once_is_mapped_where_it_is_read() {
    each(|rt| {
        let items = rt.stream_blocking(|| (0..3).map(|_| thread::current().id()));
        let mapped = items.par_map(1, |read| (read, thread::current().id()));
        for (read, mapped) in mapped.wait() {
            assert_eq!((read, mapped), (thread::current().id(), read));
        }
    });
}

/// What `map` finds on the thread that reads and on the others: its runtime, the caller's values, and
/// that it may block.
#[test]
fn a_map_finds_its_runtime_and_may_block_wherever_it_runs() {
    static USER: Key<&'static str> = Key::new("user");
    each(|rt| {
        let found = |rt: &AnyRuntime| {
            rt.stream_blocking(|| 0..40).par_map(4, |_| {
                thread::sleep(Duration::from_micros(300));
                assert_ne!(context::current(), context::Context::Async);
                (AnyRuntime::current().map(|rt| rt.runtime_id()), USER.get())
            })
        };
        let expected = vec![(Some(rt.runtime_id()), Some("me")); 40];
        assert_eq!(
            Values::current()
                .with(&USER, "me")
                .scope(|| found(&rt).wait()),
            expected
        );
        let awaited = Values::current()
            .with(&USER, "me")
            .scope(|| rt.block_on(async { found(&rt).await }));
        assert_eq!(awaited, expected);
    });
}

/// The first panic in order is the call's, no matter which comes first; nothing is mapped after the
/// call has ended.
#[test]
fn the_first_panic_in_order_ends_the_call() {
    each(|rt| {
        let (later, ended) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (seen, count) = (later.clone(), ended.clone());
        let items = rt.stream_blocking(|| 0..1000);
        let mapped = items.par_map(2, move |n| match n {
            0 => {
                // Panics after the one behind it.
                eventually("another item panics", || seen.load(Ordering::SeqCst));
                panic!("the first");
            }
            1 => {
                seen.store(true, Ordering::SeqCst);
                panic!("the second");
            }
            _ => {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let panic = catch_unwind(AssertUnwindSafe(|| mapped.wait())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the first"));
        assert!(later.load(Ordering::SeqCst));
        // A helper may still be on its way out.
        eventually("`map` is dropped", || Arc::strong_count(&later) == 1);
        assert_eq!(
            ended.load(Ordering::SeqCst),
            0,
            "an item was begun after a panic"
        );
    });
}

/// Destructors of items and of results that panic as well hold up neither helpers nor the caller.
#[test]
fn destructors_panic_after_a_panic() {
    struct Panics(usize);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(thread::panicking(), "a destructor's");
        }
    }
    each(|rt| {
        let items = rt.stream_blocking(|| (0..100).map(Panics));
        let mapped = items.par_map(3, |item| {
            // Some have their results, and others wait.
            thread::sleep(Duration::from_micros(500));
            assert!(item.0 != 10, "the first");
            item
        });
        let panic = catch_unwind(AssertUnwindSafe(|| mapped.wait())).err();
        assert_eq!(panic.unwrap().downcast_ref(), Some(&"the first"));
    });
}

/// A panic of the iterator waits for the items that are being mapped.
#[test]
fn a_panic_of_the_producer_ends_the_call() {
    each(|rt| {
        let (begun, ended) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, count) = (begun.clone(), ended.clone());
        let items = rt.stream_blocking(move || {
            (0..).inspect(move |_| {
                assert!(!seen.load(Ordering::SeqCst), "no more");
                thread::sleep(Duration::from_millis(1));
            })
        });
        let mapped = items.par_map(2, move |_: u64| {
            begun.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            count.store(true, Ordering::SeqCst);
        });
        let panic = catch_unwind(AssertUnwindSafe(|| mapped.wait())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"no more"));
        assert!(ended.load(Ordering::SeqCst), "the call has not waited");
    });
}

/// Each closure stops at its next item, and `map` is dropped.
#[test]
fn dropping_the_call_stops_all() {
    each(|rt| {
        let alive = Arc::new(AtomicUsize::new(0));
        let mapped = alive.clone();
        let call = rt
            .stream_blocking(|| 0..)
            .read_ahead(64)
            .par_map(3, move |_| {
                mapped.fetch_add(1, Ordering::SeqCst);
            });
        let task = call.spawn();
        eventually("items are mapped", || alive.load(Ordering::SeqCst) > 100);
        drop(task);
        eventually("`map` is dropped", || Arc::strong_count(&alive) == 1);
    });
}

/// Without a thread for the help, the reader does all.
#[test]
fn after_the_shutdown_a_sync_caller_maps_all() {
    each(|rt| {
        match rt.shutdown(AGES) {
            Ok(_) => {}
            // smol's global executor lives as long as the process.
            Err(error) if error.is_not_owned() => return,
            Err(error) => panic!("{error}"),
        }
        let mapped = rt.stream_blocking(|| 0..COUNT).par_map(8, |n| n);
        assert_eq!(mapped.wait(), (0..COUNT).collect::<Vec<_>>());
    });
}
