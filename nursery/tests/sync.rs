//! Sync nurseries, and scopes that borrow in one task.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    sync::{Mutex, OnceLock},
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, Offload, Spawner,
    cancel::{self, CancellationToken, Reason},
    values::{Key, Values},
    yield_now,
};
use fourway_nursery::{BorrowScope, Failure, NurseryError, SyncNursery, scope, sync_nursery};
use fourway_testing::{AGES, Counter, Gate, each, panic_quietly, poll_once, run};

type Result<T, E = String> = std::result::Result<T, NurseryError<E>>;

fn any() -> AnyRuntime {
    AnyRuntime::new(fourway_std_thread::StdThread::new().unwrap())
}

#[test]
fn children_borrow_and_are_joined() {
    let rt = any();
    let numbers: Vec<u32> = (0..100).collect();
    let done = Counter::default();
    let done_ = &done;
    let sum: Result<u32> = sync_nursery(&rt, |n| {
        let handles: Vec<_> = numbers
            .chunks(10)
            .map(|chunk| {
                n.spawn_handle(move || {
                    done_.add();
                    Ok(chunk.iter().sum::<u32>())
                })
            })
            .collect();
        let again = n.clone();
        n.spawn(move || {
            again.spawn(|| {
                done_.add();
                Ok(())
            });
            Ok(())
        });
        Ok(handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .sum())
    });
    assert_eq!((sum.unwrap(), done.get()), (4950, 11));
}

#[test]
fn the_first_failure_cancels_the_others_and_panics_keep_their_payload() {
    let rt = any();
    let begun = Gate::default();
    let result: Result<()> = sync_nursery(&rt, |n| {
        n.spawn(|| {
            begun.open();
            let cancelled = cancel::current().sleep(AGES).unwrap_err();
            assert_eq!(*cancelled.reason(), Reason::SiblingFailed);
            Err::<(), _>("as well".to_owned())
        });
        n.spawn(|| -> std::result::Result<(), String> {
            begun.wait();
            panic_quietly("first")
        });
        n.token().sleep(AGES).map_err(|_| "body".to_owned())
    });
    let error = result.unwrap_err();
    assert_eq!(error.failures().len(), 3, "{error}");
    assert!(error.first().unwrap().is_panic());

    let (joined, begun) = (Counter::default(), Gate::default());
    let result: Result<()> = sync_nursery(&rt, |n| {
        n.spawn(|| {
            begun.open();
            let _ = cancel::current().sleep(AGES);
            joined.add();
            Ok(())
        });
        begun.wait();
        panic_quietly("body")
    });
    assert!(result.unwrap_err().first().unwrap().is_panic());
    assert_eq!(joined.get(), 1);
}

#[test]
fn it_has_limits_deadlines_and_policies() {
    let rt = any();
    let (running, high) = (Counter::default(), Counter::default());
    let all: Result<Vec<usize>> = SyncNursery::builder(&rt).limit(2).try_collect(|n| {
        for i in 0..30 {
            let (running, high) = (&running, &high);
            n.spawn(move || {
                high.max(running.add());
                std::thread::yield_now();
                running.sub();
                Ok(i)
            });
        }
        Ok(())
    });
    assert_eq!(all.unwrap(), (0..30).collect::<Vec<_>>());
    assert!(high.get() <= 2);

    let (go, refused) = (Gate::default(), OnceLock::new());
    let result: Result<()> = SyncNursery::builder(&rt).limit(1).run(|n| {
        n.spawn(|| {
            go.wait();
            Ok(())
        });
        refused.get_or_init(|| n.try_spawn(|| Ok(())).map_err(|error| error.is_full()));
        go.open();
        Ok(())
    });
    result.unwrap();
    assert_eq!(refused.into_inner(), Some(Err(true)));

    let builder = SyncNursery::builder(&rt)
        .timeout(Duration::from_millis(50))
        .limit(1);
    let result: Result<(), cancel::Cancelled> = builder.run(|n| {
        n.spawn(|| cancel::current().sleep(AGES));
        // Never started.
        n.spawn(|| -> std::result::Result<(), _> { panic_quietly("started") });
        Ok(())
    });
    let error = result.unwrap_err();
    assert_eq!((error.is_timeout(), error.cancelled()), (true, 2));

    let first: Result<u32> = SyncNursery::builder(&rt).first_success(|n| {
        n.spawn(|| Err("no".to_owned()));
        n.spawn(|| Ok(7));
        n.spawn(|| {
            cancel::current()
                .sleep(AGES)
                .map(|()| 0)
                .map_err(|e| e.to_string())
        });
        Ok(())
    });
    assert_eq!(first.unwrap(), 7);
    let none: Result<u32> = SyncNursery::builder(&rt).first_success(|n| {
        n.spawn(|| Err("one".to_owned()));
        n.spawn(|| panic_quietly("two"));
        Ok(())
    });
    assert_eq!(none.unwrap_err().failures().len(), 2);
    let empty: Result<u32> = SyncNursery::builder(&rt).first_success(|_| Ok(()));
    assert!(empty.unwrap_err().is_empty());

    let results = SyncNursery::builder(&rt).collect(|n| {
        n.spawn(|| Ok::<_, String>(1));
        n.spawn(|| Err("two".to_owned()));
        Ok(())
    });
    let results = results.unwrap();
    assert_eq!(*results[0].as_ref().unwrap(), 1);
    assert!(matches!(
        results[1].as_ref().unwrap_err().failure(),
        Some(Failure::Error(_))
    ));
}

#[test]
fn its_own_wish_to_end_is_no_error_and_one_from_outside_is() {
    let rt = any();
    let result: Result<u32, cancel::Cancelled> = sync_nursery(&rt, |n| {
        n.spawn(|| cancel::current().sleep(AGES));
        n.cancel();
        Ok(1)
    });
    assert_eq!(result.unwrap(), 1);

    let token = CancellationToken::new();
    let result: Result<u32, cancel::Cancelled> = token.scope(|| {
        sync_nursery(&rt, |n| {
            n.spawn(|| cancel::current().sleep(AGES));
            token.cancel_with(Reason::Shutdown);
            Ok(1)
        })
    });
    assert_eq!(result.unwrap_err().reason(), Some(&Reason::Shutdown));
}

#[test]
fn async_code_is_refused_and_has_a_way_out() {
    static KEY: Key<u32> = Key::new("key");
    each(|rt| {
        let task = rt.spawn({
            let rt = rt.clone();
            async move {
                let called = Cell::new(false);
                let refused: Result<()> = sync_nursery(&rt, |_| {
                    called.set(true);
                    Ok(())
                });
                let error = refused.unwrap_err();
                assert!(error.is_refused() && error.to_string().contains(".offloaded(..).await"));
                assert!(!called.get());
            }
        });
        run(&rt, task).unwrap();
        let values = Values::current().with(&KEY, 7);
        let sum: Result<u32> = run(
            &rt,
            values.scope_future(async {
                let sum = SyncNursery::builder(&rt).offloaded(|n| {
                    let handles =
                        [1, 2].map(|i| n.spawn_handle(move || Ok(i + KEY.get().unwrap())));
                    Ok(handles
                        .into_iter()
                        .map(|handle| handle.join().unwrap())
                        .sum())
                });
                sum.await
            }),
        );
        assert_eq!(sum.unwrap(), 17);
    });
}

#[test]
fn it_nests_five_deep_in_offloaded_closures_of_a_pool_of_one() {
    fn nest(rt: &AnyRuntime, level: u32) -> std::result::Result<u32, String> {
        if level == 0 {
            return Ok(0);
        }
        sync_nursery(rt, |n| {
            let inner = n.spawn_handle(|| {
                let below = rt.clone();
                rt.block_on(rt.offload(move || nest(&below, level - 1)))
                    .map_err(|e| e.to_string())?
            });
            Ok(1 + inner.join().unwrap())
        })
        .map_err(|e: NurseryError<String>| e.to_string())
    }
    let rt = fourway_std_thread::StdThread::builder()
        .offload_limit(1)
        .build()
        .unwrap();
    let rt = AnyRuntime::new(rt);
    let below = rt.clone();
    let depth = run(&rt, rt.offload(move || nest(&below, 5)));
    assert_eq!(depth.unwrap(), Ok(5));
}

#[test]
fn failures_reach_one_place_each_and_the_nursery_first() {
    let rt = any();
    let result: Result<()> = SyncNursery::builder(&rt).supervise().run(|n| {
        drop(n.spawn_handle(|| Err::<(), _>("dropped".to_owned())));
        let unread = n.spawn_handle(|| Err::<(), _>("unread".to_owned()));
        while !unread.is_finished() {
            std::thread::yield_now();
        }
        drop(unread);
        let read = n.spawn_handle(|| Err::<(), _>("read".to_owned()));
        assert!(read.join().unwrap_err().failure().is_some());
        Ok(())
    });
    let error = result.unwrap_err();
    let mut failures: Vec<_> = error
        .failures()
        .iter()
        .map(|failure| failure.error().unwrap().as_str())
        .collect();
    failures.sort_unstable();
    assert_eq!(failures, ["dropped", "unread"]);

    let result: Result<()> = sync_nursery(&rt, |n| {
        let fails = n.spawn_handle(|| Err::<(), _>("first".to_owned()));
        fails.join().map_err(|_| "because of it".to_owned())
    });
    let error = result.unwrap_err();
    assert_eq!(error.first().unwrap().error().unwrap(), "first");
}

#[test]
fn results_and_a_success_hide_no_failure_of_the_body_or_beside_it() {
    let rt = any();
    let result = SyncNursery::builder(&rt).collect(|n| {
        n.spawn(|| Ok::<_, String>(1));
        n.nursery().spawn(|| Err::<(), _>("beside".to_owned()));
        Ok(())
    });
    let error = result.unwrap_err();
    assert_eq!(error.first().unwrap().error().unwrap(), "beside");

    let succeeded = Gate::default();
    let result: Result<u32> = SyncNursery::builder(&rt).first_success(|n| {
        n.spawn(|| {
            succeeded.open();
            Ok(1)
        });
        succeeded.wait();
        Err("body".to_owned())
    });
    let error = result.unwrap_err();
    assert_eq!(error.first().unwrap().error().unwrap(), "body");
}

#[test]
fn joining_in_async_code_is_refused() {
    let rt = any();
    let result: Result<()> = sync_nursery(&rt, |n| {
        let (one, two) = (n.spawn_handle(|| Ok(1)), n.spawn_handle(|| Ok(2)));
        rt.block_on(async {
            assert!(one.try_join().unwrap_err().is_nested());
            let refused = std::panic::AssertUnwindSafe(|| two.join());
            assert!(std::panic::catch_unwind(refused).is_err());
        });
        Ok(())
    });
    result.unwrap();
}

#[test]
fn it_has_what_the_async_one_has_of_limits_and_supervision() {
    let rt = any();
    let (running, go) = (Counter::default(), Gate::default());
    let result: Result<()> = SyncNursery::builder(&rt).limit(1).run(|n| {
        for _ in 0..4 {
            n.spawn(|| {
                if running.add() == 4 {
                    go.open();
                }
                go.wait();
                Ok(())
            });
        }
        n.set_limit(4);
        go.wait();
        Ok(())
    });
    result.unwrap();

    let seen = Counter::default();
    let count = seen.clone();
    let result: Result<()> = SyncNursery::builder(&rt)
        .supervise()
        .on_failure(move |_| {
            count.add();
        })
        .run(|n| {
            for _ in 0..3 {
                n.spawn(|| Err::<(), _>(String::new()));
            }
            Ok(())
        });
    result.unwrap();
    assert_eq!(seen.get(), 3);

    let token = CancellationToken::new();
    let result: Result<(), cancel::Cancelled> = SyncNursery::builder(&rt).token(&token).run(|n| {
        n.spawn(|| cancel::current().sleep(AGES));
        token.cancel();
        Ok(())
    });
    assert!(result.unwrap_err().is_cancelled());
}

// ---------------------------------------------------------------------------
// scope

#[test]
fn a_scope_borrows_and_polls_all_in_one_task() {
    let rt = any();
    let total = std::sync::atomic::AtomicU32::new(0);
    let mut last = String::new();
    let result: Result<u32> = rt.block_on(scope(async |s| {
        for i in 1..=4 {
            let total = &total;
            s.spawn(async move {
                for _ in 0..i {
                    yield_now().await;
                }
                total.fetch_add(i, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            });
        }
        s.spawn(async {
            last.push_str("borrowed");
            Ok(())
        });
        Ok(1)
    }));
    assert_eq!(
        (result.unwrap(), total.into_inner(), &*last),
        (1, 10, "borrowed")
    );
}

#[test]
fn in_a_scope_the_first_failure_drops_the_rest_at_once() {
    let rt = any();
    let dropped = Counter::default();
    let result: Result<()> = rt.block_on(scope(async |s| {
        let on_drop = dropped.on_drop();
        s.spawn(async move {
            let _on_drop = on_drop;
            pending::<std::result::Result<(), String>>().await
        });
        s.spawn(async { Err::<(), _>("first".to_owned()) });
        pending().await
    }));
    let error = result.unwrap_err();
    assert_eq!((dropped.get(), error.cancelled()), (1, 1));
    assert_eq!(error.first().unwrap().error().unwrap(), "first");

    let result: Result<()> = rt.block_on(scope(async |s| {
        s.spawn(async {
            if true {
                panic_quietly("child");
            }
            Ok(())
        });
        Ok(())
    }));
    assert!(result.unwrap_err().first().unwrap().is_panic());
}

#[test]
fn a_scope_can_be_used_in_a_spawned_task() {
    each(|rt| {
        let task = rt.spawn(async move {
            let names = [String::from("one"), String::from("three")];
            let mut lengths = vec![0; 2];
            let result: Result<()> = scope(async |s| {
                for (name, length) in names.iter().zip(&mut lengths) {
                    let inner = s.clone();
                    s.spawn(async move {
                        inner.spawn(async {
                            yield_now().await;
                            *length = name.len();
                            Ok(())
                        });
                        Ok(())
                    });
                }
                Ok(())
            })
            .await;
            result.unwrap();
            lengths.iter().sum::<usize>()
        });
        assert_eq!(run(&rt, task).unwrap(), 8);
    });
}

#[test]
fn a_panic_of_a_scopes_body_before_its_first_await_is_a_failure() {
    let rt = any();
    let dropped = Counter::default();
    let on_drop = dropped.on_drop();
    let made = |s: BorrowScope<'static, String>| {
        s.spawn(async move {
            let _on_drop = on_drop;
            pending::<std::result::Result<(), String>>().await
        });
        if dropped.get() == 0 {
            panic_quietly("body");
        }
        std::future::ready(Ok::<(), String>(()))
    };
    let error = rt.block_on(scope(made)).unwrap_err();
    assert!(error.first().unwrap().is_panic());
    assert_eq!((dropped.get(), error.cancelled()), (1, 1));
}

#[test]
fn children_of_a_scope_that_spawn_the_next_let_others_have_their_turn() {
    fn next(s: BorrowScope<'_, String>, left: u32, count: &Counter) {
        let (inner, seen) = (s.clone(), count.clone());
        s.spawn(async move {
            seen.add();
            if left > 0 {
                next(inner, left - 1, &seen);
            }
            Ok(())
        });
    }
    let count = Counter::default();
    let seen = count.clone();
    let mut scoped = std::pin::pin!(scope(async |s| {
        next(s, 9999, &seen);
        Ok(())
    }));
    assert!(any().block_on(poll_once(scoped.as_mut())).is_pending());
    assert!((1..1000).contains(&count.get()), "{}", count.get());
    let result: Result<()> = any().block_on(scoped);
    result.unwrap();
    assert_eq!(count.get(), 10_000);
}

#[test]
fn many_wakes_of_a_child_of_a_scope_are_one_poll() {
    let (count, waker) = (Counter::default(), Mutex::new(None));
    let (seen, kept) = (&count, &waker);
    let mut scoped = std::pin::pin!(scope(async |s| {
        s.spawn(poll_fn(move |cx| {
            seen.add();
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::<std::result::Result<(), String>>::Pending
        }));
        pending::<std::result::Result<(), String>>().await
    }));
    assert!(any().block_on(poll_once(scoped.as_mut())).is_pending());
    let waker: Waker = waker.lock().unwrap().clone().unwrap();
    for polls in 2..4 {
        for _ in 0..1000 {
            waker.wake_by_ref();
        }
        assert!(any().block_on(poll_once(scoped.as_mut())).is_pending());
        assert_eq!(count.get(), polls);
    }
}

#[test]
fn many_children_of_a_scope_let_others_have_their_turn() {
    let count = Counter::default();
    let seen = &count;
    let mut scoped = std::pin::pin!(scope(async |s| {
        for _ in 0..10_000 {
            s.spawn(async {
                seen.add();
                yield_now().await;
                seen.add();
                Ok(())
            });
        }
        Ok(())
    }));
    assert!(any().block_on(poll_once(scoped.as_mut())).is_pending());
    assert!((1..1000).contains(&count.get()), "{}", count.get());
    let result: Result<()> = any().block_on(scoped);
    result.unwrap();
    assert_eq!(count.get(), 20_000);
}

/// One more than one poll of a scope polls.
const ONE_TOO_MANY: usize = 257;

#[test]
fn a_fresh_child_of_a_scope_is_polled_although_others_were_left() {
    let count = Counter::default();
    let seen = &count;
    let result: Result<()> = any().block_on(scope(async |s| {
        for _ in 0..ONE_TOO_MANY {
            s.spawn(async { Ok(()) });
        }
        yield_now().await;
        s.spawn(async { Ok(seen.add()) });
        Ok(())
    }));
    result.unwrap();
    assert_eq!(count.get(), 1);
}

#[test]
fn children_of_a_scope_that_yield_are_polled_although_others_were_left() {
    let count = Counter::default();
    let seen = &count;
    let result: Result<()> = any().block_on(scope(async |s| {
        for at in 1..=ONE_TOO_MANY {
            s.spawn(async move {
                if at < ONE_TOO_MANY {
                    yield_now().await;
                }
                Ok(seen.add())
            });
        }
        Ok(())
    }));
    result.unwrap();
    assert_eq!(count.get(), ONE_TOO_MANY);
}

#[test]
fn failures_that_are_taken_are_failures_all_the_same() {
    let rt = any();
    let builder = || SyncNursery::builder(&rt).on_failure(|_: Failure<String>| {});
    let ended: Result<()> = builder().run(|n| {
        n.spawn(|| Err::<(), _>(String::new()));
        Ok(())
    });
    let none: Result<u32> = builder().first_success(|n| {
        n.spawn(|| Err(String::new()));
        Ok(())
    });
    for error in [ended.unwrap_err(), none.unwrap_err()] {
        assert!(!error.is_cancelled(), "{error:?}");
        assert_eq!((error.failures().len(), error.not_kept()), (0, 1));
    }
}

#[test]
fn the_first_success_is_the_first_in_time() {
    let rt = any();
    let (second_is_there, cancelled) = (Gate::default(), Gate::default());
    let result: Result<u32> = SyncNursery::builder(&rt).first_success(|n| {
        let (ready, wait) = (second_is_there.clone(), cancelled.clone());
        n.spawn(move || {
            ready.open();
            // Regardless of its token.
            wait.wait();
            Ok(1)
        });
        second_is_there.wait();
        n.spawn(|| Ok(2));
        let token = n.nursery().token().clone();
        while !token.is_cancelled() {
            std::thread::yield_now();
        }
        cancelled.open();
        Ok(())
    });
    assert_eq!(result.unwrap(), 2);
}
