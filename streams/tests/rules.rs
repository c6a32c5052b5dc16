//! ST-1, each item once, at its place, on every runtime: items come in order, each once; an error
//! or a panic comes at its place; dropping the consumer stops the producer at its next item;
//! read-ahead is bounded.

mod common;

use std::{
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use common::rest;
use fourway_core::{
    AnyRuntime, BlockOn, Call, Offload, Runtime, Shutdown, Spawner, Task, Timer,
    context::{self, Context},
    layer::Propagate,
    yield_now,
};
use fourway_streams::{Items, Streams, generate, later, opened};
use fourway_testing::{AGES, each, eventually};

/// The runtime that the calling code finds, with its layers.
fn found() -> Option<String> {
    AnyRuntime::current().map(|rt| named(&rt))
}

fn named(rt: &AnyRuntime) -> String {
    format!("{:?} with {:?}", rt.runtime_id(), rt.layers())
}

/// Also on a plain thread, and on a thread that runs work of it without the layers (CX-1, the
/// current context is exact).
#[test]
fn the_body_of_an_iterator_finds_its_runtime_wherever_it_is_read() {
    struct Body(mpsc::Sender<Option<String>>, usize);
    impl Iterator for Body {
        type Item = Option<String>;
        fn next(&mut self) -> Option<Self::Item> {
            self.1 += 1;
            (self.1 < 4).then(found)
        }
    }
    impl Drop for Body {
        fn drop(&mut self) {
            let _ = self.0.send(found());
        }
    }
    each(|bare| {
        for rt in [bare.clone(), AnyRuntime::new(Propagate::new(bare.clone()))] {
            let expected = Some(named(&rt));
            let (sender, seen) = mpsc::channel();
            let items = || {
                let sender = sender.clone();
                rt.stream_blocking(move || {
                    sender.send(found()).unwrap();
                    Body(sender, 0)
                })
            };
            for item in items() {
                assert_eq!(item, expected, "on a plain thread");
            }
            let mut some = items();
            assert_eq!(some.iter().next().as_ref(), Some(&expected));
            drop(some);
            assert_eq!(items().collect().wait(), vec![expected.clone(); 3]);
            let mut awaited = items();
            rt.block_on(async {
                while let Some(item) = awaited.next().await {
                    assert_eq!(item, expected, "awaited");
                }
            });
            let inside = items();
            let read = bare.offload(move || inside.into_iter().collect::<Vec<_>>());
            assert_eq!(read.wait().unwrap(), vec![expected.clone(); 3]);
            // Once made, and once dropped.
            for _ in 0..10 {
                assert_eq!(seen.recv_timeout(AGES).unwrap(), expected);
            }
            assert_eq!(found(), None);
        }
    });
}

/// *Exception* of CX-1, the current context is exact: the layers of the work around it go on.
#[test]
fn inside_layered_work_the_body_of_the_bare_runtime_finds_the_layered_one() {
    each(|bare| {
        let layered = AnyRuntime::new(Propagate::new(bare.clone()));
        let (found_bare, found_layered) = (Some(named(&bare)), Some(named(&layered)));
        let inner = bare.clone();
        let in_place = layered.offload(move || {
            let items: Vec<_> = inner
                .stream_blocking(|| (0..1).map(|_| found()))
                .into_iter()
                .collect();
            (items, inner.call_blocking(found).wait())
        });
        let expected = (vec![found_layered.clone()], found_layered);
        assert_eq!(in_place.wait().unwrap(), expected);
        let inner = bare.clone();
        let awaited = layered.block_on(async move {
            let mut items = inner.stream_blocking(|| (0..1).map(|_| found()));
            (
                items.next().await.unwrap(),
                inner.call_blocking(found).await,
            )
        });
        assert_eq!(awaited, (found_bare.clone(), found_bare));
    });
}

/// The numbers from 0, made in each possible way.
fn numbers(rt: &AnyRuntime, up_to: u32) -> Vec<(&'static str, Items<u32>)> {
    let body = move || {
        generate(async move |mut to| {
            for number in 0..up_to {
                if number % 97 == 0 {
                    yield_now().await;
                }
                to.send(number).await;
            }
        })
    };
    vec![
        ("an iterator", rt.stream_blocking(move || 0..up_to)),
        (
            "an iterator, in parallel",
            rt.stream_blocking(move || 0..up_to).spawn(),
        ),
        (
            "an iterator, few ahead",
            rt.stream_blocking(move || 0..up_to).read_ahead(3),
        ),
        ("a stream", rt.stream(body())),
        ("a stream, in parallel", rt.stream(body()).spawn()),
        (
            "a stream, few ahead",
            rt.stream(body()).read_ahead(2).spawn(),
        ),
        (
            "a stream that is made later",
            rt.stream(later(async move || body())),
        ),
    ]
}

#[test]
fn in_order_and_each_once_for_every_caller() {
    const COUNT: u32 = 400;
    let all: Vec<u32> = (0..COUNT).collect();
    each(|rt| {
        for (name, items) in numbers(&rt, COUNT) {
            assert_eq!(items.into_iter().collect::<Vec<_>>(), all, "{name}, sync");
        }
        for (name, mut items) in numbers(&rt, COUNT) {
            assert_eq!(rt.block_on(rest(&mut items)), all, "{name}, async");
        }
        for (name, mut items) in numbers(&rt, COUNT) {
            let task = rt.spawn(async move { rest(&mut items).await });
            assert_eq!(rt.block_on(task).unwrap(), all, "{name}, in a task");
        }
        // Sync and async code in turns.
        for (name, mut items) in numbers(&rt, COUNT) {
            let mut found: Vec<u32> = items.iter().take(10).collect();
            for _ in 0..300 {
                found.extend(rt.block_on(items.next()));
            }
            found.extend(items.iter().take(10));
            found.extend(rt.block_on(rest(&mut items)));
            assert_eq!(found, all, "{name}, mixed");
        }
        for (name, items) in numbers(&rt, COUNT) {
            assert_eq!(items.collect().wait(), all, "{name}, waited for");
        }
        for (name, items) in numbers(&rt, COUNT) {
            assert_eq!(
                rt.block_on(async { items.collect().await }),
                all,
                "{name}, awaited"
            );
        }
        for (name, items) in numbers(&rt, COUNT) {
            assert_eq!(
                rt.block_on(items.collect().spawn()).unwrap(),
                all,
                "{name}, spawned"
            );
        }
    });
}

#[test]
fn a_panic_comes_at_its_place_and_ends_it() {
    let iterator = || {
        (0..10).inspect(|number| {
            if *number == 5 {
                std::panic::panic_any("at five");
            }
        })
    };
    let stream = || {
        generate(async |mut to| {
            for number in 0..5 {
                to.send(number).await;
            }
            std::panic::panic_any("at five");
        })
    };
    each(|rt| {
        let ways = || {
            [
                rt.stream_blocking(iterator),
                rt.stream_blocking(iterator).spawn(),
                rt.stream(stream()),
                rt.stream(stream()).spawn(),
            ]
        };
        for mut items in ways() {
            assert_eq!(items.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            let panic = catch_unwind(AssertUnwindSafe(|| items.iter().next())).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"at five"));
            assert_eq!(items.iter().next(), None);
        }
        for mut items in ways() {
            for number in 0..5 {
                assert_eq!(rt.block_on(items.next()), Some(number));
            }
            let next = AssertUnwindSafe(|| rt.block_on(items.next()));
            assert_eq!(
                catch_unwind(next).unwrap_err().downcast_ref(),
                Some(&"at five")
            );
            assert_eq!(rt.block_on(items.next()), None);
        }
    });
}

#[test]
fn an_error_is_an_item_like_any_other() {
    each(|rt| {
        let texts = || ["1", "x", "3"].map(str::parse::<u32>);
        let mut items = rt.stream_blocking(texts);
        let found = rt.block_on(async {
            let (a, b, c) = (items.next().await, items.next().await, items.next().await);
            (
                a.unwrap().unwrap(),
                b.unwrap().is_err(),
                c.unwrap().unwrap(),
            )
        });
        assert_eq!(found, (1, true, 3));
    });
}

/// Counts what is read of it, and tells when it is dropped.
struct Watched {
    read: Arc<AtomicUsize>,
    dropped: mpsc::Sender<()>,
}

impl Iterator for Watched {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        Some(self.read.fetch_add(1, Ordering::SeqCst))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        assert_ne!(
            context::current(),
            Context::Async,
            "its destructor may block"
        );
        let _ = self.dropped.send(());
    }
}

fn watched(rt: &AnyRuntime) -> (Items<usize>, Arc<AtomicUsize>, mpsc::Receiver<()>) {
    let (dropped, seen) = mpsc::channel();
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    let items = rt.stream_blocking(move || Watched {
        read: count,
        dropped,
    });
    (items, read, seen)
}

/// A slow consumer holds no thread of the pool.
fn wait_until_the_pool_is_idle(rt: &AnyRuntime) {
    eventually("the producer has stopped", || rt.status().pool.running == 0);
}

#[test]
fn read_ahead_is_bounded_and_holds_no_slot() {
    each(|rt| {
        for limit in [2, 16, 512] {
            let (items, read, _seen) = watched(&rt);
            let mut items = items.read_ahead(limit);
            for taken in 1..=40 {
                assert_eq!(rt.block_on(items.next()), Some(taken - 1));
                if taken % 8 == 1 {
                    wait_until_the_pool_is_idle(&rt);
                }
                let ahead = read.load(Ordering::SeqCst) - taken;
                assert!(ahead <= limit, "{ahead} are read ahead, of at most {limit}");
            }
        }
    });
}

#[test]
fn dropping_the_consumer_stops_the_producer() {
    each(|rt| {
        // At work, and paused; dropped by sync code, and by async code.
        for paused in [false, true] {
            for in_async in [false, true] {
                let (mut items, _read, seen) = watched(&rt);
                rt.block_on(items.next());
                if paused {
                    wait_until_the_pool_is_idle(&rt);
                }
                match in_async {
                    true => rt.block_on(async move { drop(items) }),
                    false => drop(items),
                }
                seen.recv_timeout(AGES).expect("the iterator is dropped");
            }
        }
        // Begun by sync code.
        let (mut items, _read, seen) = watched(&rt);
        items.iter().next();
        rt.block_on(async move { drop(items) });
        seen.recv_timeout(AGES).expect("the iterator is dropped");
        // And a body that waits.
        let alive = Arc::new(());
        let held = alive.clone();
        let mut items = rt.stream_with(async move |mut to| {
            let _held = held;
            to.send(1).await;
            pending::<()>().await;
        });
        assert_eq!(rt.block_on(items.next()), Some(1));
        drop(items);
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

/// All that `collect` gives are made by one closure, which does not return before its end.
#[test]
fn dropping_a_collection_stops_the_producer() {
    each(|rt| {
        let begun = |begin: fn(&AnyRuntime, &mut Items<usize>)| {
            let (mut items, read, seen) = watched(&rt);
            begin(&rt, &mut items);
            (items.collect(), read, seen)
        };
        let all: [fn(&AnyRuntime, &mut Items<usize>); 3] = [
            |_, _| {},
            |_, items| {
                items.iter().next();
            },
            |rt, items| {
                rt.block_on(items.next());
            },
        ];
        let is_read = |read: &AtomicUsize| {
            let before = read.load(Ordering::SeqCst);
            eventually("the iterator is read", || {
                read.load(Ordering::SeqCst) > before
            });
        };
        for begin in all {
            // While it is awaited.
            let (all, read, seen) = begun(begin);
            let mut future = Box::pin(all.into_future());
            let before = read.load(Ordering::SeqCst);
            rt.block_on(poll_fn(|cx| {
                // A producer that was already reading ahead pauses until the next poll.
                eventually("the iterator is read", || {
                    assert!(future.as_mut().poll(cx).is_pending());
                    read.load(Ordering::SeqCst) > before
                });
                Poll::Ready(())
            }));
            rt.block_on(async { drop(future) });
            seen.recv_timeout(AGES).expect("the iterator is dropped");
            // As a task.
            let (all, read, seen) = begun(begin);
            let task = all.spawn();
            is_read(&read);
            drop(task);
            seen.recv_timeout(AGES).expect("the iterator is dropped");
            // By an abort; the handle stays.
            let (all, read, seen) = begun(begin);
            let task = all.map(|all| all.len()).spawn();
            is_read(&read);
            task.abort();
            seen.recv_timeout(AGES).expect("the iterator is dropped");
            assert!(rt.block_on(task).unwrap_err().is_cancelled());
            // By a time limit, for sync code.
            let stopped = (0..=15).any(|round| {
                let (all, read, seen) = begun(begin);
                let limit = Duration::from_millis(1 << round);
                all.timeout(limit).wait().unwrap_err();
                match seen.recv_timeout(AGES) {
                    Ok(()) => true,
                    // The limit had passed before the iterator was made.
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        assert_eq!(read.load(Ordering::SeqCst), 0);
                        false
                    }
                    Err(error) => panic!("the iterator is dropped: {error}"),
                }
            });
            assert!(stopped, "no limit was long enough");
        }
    });
}

/// What is collected and mapped stays on the thread that read it.
#[test]
fn a_collection_is_mapped_where_it_is_read() {
    each(|rt| {
        let collected = |rt: &AnyRuntime| {
            let all = rt.stream_blocking(|| 0..3).collect();
            all.map(|all| (all, context::current()))
        };
        let all = vec![0, 1, 2];
        assert_eq!(collected(&rt).wait(), (all.clone(), Context::Sync));
        for spawned in [false, true] {
            let output = rt.block_on(async {
                match spawned {
                    false => collected(&rt).await,
                    true => collected(&rt).spawn().await.unwrap(),
                }
            });
            assert_eq!(output, (all.clone(), Context::Blocking));
        }
    });
}

#[test]
fn nothing_is_made_before_it_is_asked_for() {
    each(|rt| {
        let (items, read, seen) = watched(&rt);
        drop(items);
        // Not even the iterator: its sender is gone, and nothing was sent.
        assert_eq!(
            seen.recv_timeout(AGES),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
        assert_eq!(read.load(Ordering::SeqCst), 0);
    });
}

/// A ready item is given without waiting for later ones.
#[test]
fn an_item_does_not_wait_for_the_next_one() {
    each(|rt| {
        for spawned in [false, true] {
            let (to, from) = mpsc::channel();
            let items = rt.stream_blocking(move || from);
            let mut items = if spawned { items.spawn() } else { items };
            for round in 0..50 {
                // The iterator is blocked after these.
                let burst = round % 4 + 1;
                for number in 0..burst {
                    to.send(number).unwrap();
                }
                for number in 0..burst {
                    let next = rt.timeout(AGES, items.next());
                    assert_eq!(
                        rt.block_on(next).expect("the item is kept back"),
                        Some(number)
                    );
                }
            }
            drop(to);
            assert_eq!(rt.block_on(items.next()), None);
        }
    });
}

/// A quick item is given without waiting for later ones too, although many quick items are read
/// before the consumer is woken.
#[test]
fn quick_items_do_not_wait_for_those_that_are_not_there() {
    each(|rt| {
        for spawned in [false, true] {
            let (to, from) = mpsc::channel();
            let items = rt.stream_blocking(move || from);
            let mut items = if spawned { items.spawn() } else { items };
            for round in 0..3 {
                // More items than fit in. Then the iterator blocks.
                let (first, last) = (round * 10_001, round * 10_001 + 10_000);
                for number in first..last {
                    to.send(number).unwrap();
                }
                let all = rt.timeout(AGES, async {
                    for number in first..last {
                        assert_eq!(items.next().await, Some(number));
                    }
                });
                rt.block_on(all).expect("items are kept back");
                to.send(last).unwrap();
                let next = rt.timeout(AGES, items.next());
                let next = rt.block_on(next).expect("the item is kept back");
                assert_eq!(next, Some(last));
            }
            drop(to);
            assert_eq!(rt.block_on(items.next()), None);
        }
    });
}

/// No more items are read ahead than the docs say, and a slow consumer holds no slot.
#[test]
fn quick_items_are_read_ahead_within_bounds() {
    each(|rt| {
        let (mut items, read, _seen) = watched(&rt);
        let count = read.clone();
        let mut items = rt.block_on(async move {
            for taken in 1..=100_000 {
                assert_eq!(items.next().await, Some(taken - 1));
                let ahead = count.load(Ordering::SeqCst) - taken;
                assert!(ahead <= 8192, "{ahead} are read ahead");
            }
            items
        });
        wait_until_the_pool_is_idle(&rt);
        let before = read.load(Ordering::SeqCst);
        assert_eq!(rt.block_on(items.next()), Some(100_000));
        assert!(before - 100_000 <= 8192);
    });
}

#[test]
fn a_sync_caller_reads_in_place_and_an_async_one_on_the_pool() {
    each(|rt| {
        let here = thread::current().id();
        let places = || {
            rt.stream_blocking(|| {
                assert_ne!(context::current(), Context::Async);
                (0..3).map(|_| (thread::current().id(), context::current()))
            })
        };
        assert!(
            places()
                .into_iter()
                .all(|place| place == (here, Context::Sync))
        );
        let mut items = places();
        let (thread, context) = rt.block_on(items.next()).unwrap();
        assert_ne!(thread, here);
        assert_eq!(context, Context::Blocking);
    });
}

/// BL-2, no blocking in async code, and the items are there afterwards.
#[test]
fn iterating_in_async_code_is_refused() {
    each(|rt| {
        let (items, _read, _seen) = watched(&rt);
        let task = rt.spawn(async move {
            let mut items = items;
            let refused = catch_unwind(AssertUnwindSafe(|| items.iter().next())).is_err();
            (refused, items.next().await)
        });
        assert_eq!(rt.block_on(task).unwrap(), (true, Some(0)));
    });
}

#[test]
fn after_the_shutdown_there_is_an_error_where_the_pool_is_needed() {
    each(|rt| {
        let squares = || rt.stream_blocking(|| (0..3).map(|n| n * n));
        let (mut needs_it, in_place, body) = (
            squares(),
            squares(),
            rt.stream(generate(async |mut to| to.send(1).await)),
        );
        match rt.shutdown(AGES) {
            Ok(_) => {}
            // smol's global executor lives as long as the process.
            Err(error) if error.is_not_owned() => return,
            Err(error) => panic!("{error}"),
        }
        let error = fourway_adapt::run(needs_it.try_next()).unwrap_err();
        assert!(error.is_shutdown(), "{error}");
        assert_eq!(fourway_adapt::run(needs_it.try_next()).unwrap(), None);
        assert_eq!(in_place.into_iter().collect::<Vec<_>>(), [0, 1, 4]);
        assert_eq!(body.into_iter().collect::<Vec<_>>(), [1]);
    });
}

/// On every runtime, for both kinds of callers: the items, or the error alone; and none after it.
#[test]
fn what_cannot_be_opened_is_an_error_as_the_only_item() {
    each(|rt| {
        let source = |opens: bool| {
            move || match opens {
                true => Ok(vec![Ok(1), Err("torn"), Ok(2)]),
                false => Err("closed"),
            }
        };
        for (opens, expected) in [
            (true, vec![Ok(1), Err("torn"), Ok(2)]),
            (false, vec![Err("closed")]),
        ] {
            let make = source(opens);
            let items = || rt.stream_blocking(move || opened(make()));
            assert_eq!(items().into_iter().collect::<Vec<_>>(), expected);
            let awaited = rt.block_on(async {
                let (mut all, mut items) = (Vec::new(), items());
                while let Some(item) = items.next().await {
                    all.push(item);
                }
                all
            });
            assert_eq!(awaited, expected);
            let mut iterator = opened(make());
            assert_eq!(iterator.size_hint().0, expected.len());
            assert_eq!(iterator.by_ref().count(), expected.len());
            assert_eq!(
                (iterator.next(), iterator.size_hint()),
                (None, (0, Some(0)))
            );
        }
    });
}

/// Layers and errors name the line of the user, and not one of this crate.
#[test]
fn items_are_at_the_line_that_made_or_spawned_them() {
    each(|rt| {
        let line = |items: Items<u32>| {
            let mut items = items;
            let error = fourway_adapt::run(items.try_next()).expect_err("it is shut down");
            let location = error.location().expect("it has a line");
            assert_eq!(location.file(), file!());
            location.line()
        };
        match rt.shutdown(AGES) {
            Ok(_) => {}
            // smol's global executor lives as long as the process.
            Err(error) if error.is_not_owned() => return,
            Err(error) => panic!("{error}"),
        }
        let (made, items) = (line!(), rt.stream_blocking(|| 0..3));
        assert_eq!(line(items), made);
        let (made, items) = (line!(), rt.stream_blocking(|| 0..3).spawn());
        assert_eq!(line(items), made);
        let items = rt.stream_with(async |mut to| to.send(1).await);
        let (made, items) = (line!(), items.spawn());
        assert_eq!(line(items), made);
        let items = rt.stream_blocking(|| 0..3);
        let (made, task) = (line!(), items.collect().spawn());
        let error = fourway_adapt::run(task).expect_err("it is shut down");
        let location = error.location().expect("it has a line");
        assert_eq!((location.file(), location.line()), (file!(), made));
    });
}
