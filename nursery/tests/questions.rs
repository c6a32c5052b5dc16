//! Questions of language designers about structured concurrency, each answered by a test.
//! `docs/guide/nurseries.md` has the answers in words.

use std::{
    collections::HashSet,
    future::pending,
    sync::{Arc, Mutex},
    thread,
};

use fourway_core::{
    AnyRuntime, BlockOn, Spawner, Timer,
    cancel::{self, Cancelled},
    yield_now,
};
use fourway_nursery::{Nursery, NurseryError, SyncNursery, nursery, scope, sync_nursery};
use fourway_testing::{AGES, Counter, Gate, each, run};
use fourway_tokio::Tokio;

type Result<T, E = String> = std::result::Result<T, NurseryError<E>>;

/// *Does a sync nursery freeze the event loop?* It is refused there; offloaded, it blocks a thread
/// of the pool, and the one thread of the loop goes on.
#[test]
fn a_sync_nursery_does_not_freeze_the_event_loop() {
    let rt = Tokio::builder().current_thread().build().unwrap();
    let rt = AnyRuntime::new(rt);
    let (blocked, beaten) = (Gate::default(), Gate::default());
    let beats = rt.spawn({
        let (blocked, beaten) = (blocked.clone(), beaten.clone());
        async move {
            blocked.pass().await;
            yield_now().await;
            beaten.open();
        }
    });
    let result: Result<()> = run(&rt, async {
        let refused: Result<()> = sync_nursery(&rt, |_| Ok(()));
        assert!(refused.unwrap_err().is_refused());
        let (blocked, beaten) = (blocked.clone(), beaten.clone());
        let offloaded = SyncNursery::builder(&rt).offloaded(move |n| {
            n.spawn(move || {
                blocked.open();
                // Only the event loop opens it.
                beaten.wait();
                Ok(())
            });
            Ok(())
        });
        offloaded.await
    });
    result.unwrap();
    run(&rt, beats).unwrap();
}

/// *Do async blocks capture by move?* A child does, because it may outlive its spawner; the body,
/// the children of a scope and those of a sync nursery may borrow.
#[test]
fn a_child_owns_and_a_body_borrows() {
    each(|rt| {
        let mut local = vec![1, 2];
        let sum: Result<u32> = run(
            &rt,
            nursery(&rt, async |n| {
                local.push(3);
                let owned = local.clone();
                let sum = n.spawn_handle(async move { Ok(owned.iter().sum::<u32>()) });
                Ok(sum.await.unwrap_or(0))
            }),
        );
        let mut total = 0;
        let scoped: Result<()> = run(
            &rt,
            scope(async |s| {
                s.spawn(async {
                    total += local.len();
                    Ok(())
                });
                Ok(())
            }),
        );
        scoped.unwrap();
        assert_eq!((sum.unwrap(), total), (6, 3));
    });
}

/// *What does `block_on` do inside async code?* It is refused, in a task and in a destructor that an
/// executor runs; in a closure it works, to any depth.
#[test]
fn block_on_is_refused_in_async_children_and_works_in_closures() {
    struct Blocks(AnyRuntime, Counter);
    impl Drop for Blocks {
        fn drop(&mut self) {
            assert!(self.0.try_block_on(async {}).unwrap_err().is_nested());
            self.1.add();
        }
    }
    each(|rt| {
        let dropped = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let (rt, entered) = (n.runtime().clone(), Gate::default());
                let (blocks, gate) = (Blocks(rt.clone(), dropped.clone()), entered.clone());
                n.spawn(async move {
                    let _blocks = blocks;
                    gate.open();
                    pending::<std::result::Result<(), String>>().await
                });
                entered.pass().await;
                let inner = rt.clone();
                let refused = n.spawn_handle(async move {
                    Ok(inner.try_block_on(async {}).unwrap_err().is_nested())
                });
                assert!(refused.await.unwrap());
                let works = n.offload_handle(move || {
                    rt.block_on(async {
                        let nested: Result<u32> = nursery(&rt, async |n| {
                            let rt = n.runtime().clone();
                            let inner = n.offload_handle(move || Ok(rt.block_on(async { 7 })));
                            Ok(inner.await.unwrap_or(0))
                        })
                        .await;
                        nested.map_err(|error| error.to_string())
                    })
                });
                assert_eq!(works.await.unwrap(), 7);
                n.cancel();
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(dropped.get(), 1);
    });
}

/// *Does an await notice a cancellation, and can I/O be interrupted?* A suspended future is dropped
/// at its await; sync code notices where it looks.
#[test]
fn a_cancellation_ends_what_awaits_and_what_looks() {
    each(|rt| {
        let (dropped, looked) = (Counter::default(), Counter::default());
        let result: Result<(), Cancelled> = run(
            &rt,
            nursery(&rt, async |n| {
                let begun = [Gate::default(), Gate::default()];
                let (on_drop, rt, gate) =
                    (dropped.on_drop(), n.runtime().clone(), begun[0].clone());
                n.spawn(async move {
                    let _on_drop = on_drop;
                    gate.open();
                    rt.sleep(AGES).await;
                    Ok(())
                });
                let (looked, gate) = (looked.clone(), begun[1].clone());
                n.offload(move || {
                    gate.open();
                    loop {
                        if let Err(cancelled) = cancel::check() {
                            looked.add();
                            return Err::<(), _>(cancelled);
                        }
                        thread::yield_now();
                    }
                });
                for gate in begun {
                    gate.pass().await;
                }
                n.cancel();
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!((dropped.get(), looked.get()), (1, 1));
    });
}

/// *How many worker threads, and which scheduling?* Those of the runtime; a nursery has no thread of
/// its own.
#[test]
fn children_run_on_the_threads_of_the_runtime() {
    for workers in [1, 2] {
        let rt = Tokio::builder().worker_threads(workers).build().unwrap();
        let rt = AnyRuntime::new(rt);
        let threads = Arc::new(Mutex::new(HashSet::new()));
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                for _ in 0..100 {
                    let threads = threads.clone();
                    n.spawn(async move {
                        yield_now().await;
                        threads.lock().unwrap().insert(thread::current().id());
                        Ok(())
                    });
                }
                Ok(())
            }),
        );
        result.unwrap();
        let threads = threads.lock().unwrap().len();
        assert!((1..=workers).contains(&threads), "{threads} of {workers}");
    }
}

/// *A runtime for each thread?* The threads of a sync nursery each have one, with a nursery on it; the
/// cancellation goes through.
#[test]
fn each_thread_of_a_sync_nursery_may_have_a_runtime() {
    let host = fourway_testing::runtimes().remove(0).1;
    let dropped = Counter::default();
    let (begun, others) = (Counter::default(), Gate::default());
    let result: Result<()> = SyncNursery::builder(&host).run(|n| {
        for at in 0..3 {
            let (dropped, begun, others) = (&dropped, &begun, &others);
            n.spawn(move || {
                let rt = Tokio::builder().current_thread().build().unwrap();
                let inner: Result<()> = rt.block_on(nursery(&rt, async |n| {
                    let on_drop = dropped.on_drop();
                    n.spawn(async move {
                        let _on_drop = on_drop;
                        pending::<std::result::Result<(), String>>().await
                    });
                    if begun.add() == 3 {
                        others.open();
                    }
                    others.pass().await;
                    if at == 0 {
                        return Err("one of them".to_owned());
                    }
                    pending().await
                }));
                match inner {
                    Err(error) if error.first().is_some() => Err(error.to_string()),
                    _ => Ok(()),
                }
            });
        }
        Ok(())
    });
    assert_eq!(
        (result.unwrap_err().failures().len(), dropped.get()),
        (1, 3)
    );
}

/// *And a hundred thousand children?* See `memory.rs` for what they take.
#[test]
fn a_hundred_thousand_children_end_together() {
    let rt = fourway_testing::runtimes().remove(0).1;
    let done = Counter::default();
    let result: Result<()> = run(
        &rt,
        Nursery::builder(&rt).limit(1_000).run(async |n| {
            for _ in 0..100_000 {
                let done = done.clone();
                n.spawn(async move {
                    yield_now().await;
                    done.add();
                    Ok(())
                });
            }
            Ok(())
        }),
    );
    result.unwrap();
    assert_eq!(done.get(), 100_000);
}
