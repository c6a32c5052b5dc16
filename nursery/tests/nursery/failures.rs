//! Nurseries on every runtime: failures, panics and cancellations.

use std::{
    future::{Future, pending},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_core::{
    AnyRuntime, Offload, Runtime,
    cancel::{self, CancellationToken, Cancelled, Reason},
    yield_now,
};
use fourway_nursery::{Failure, Nursery, Started, nursery};
use fourway_std_thread::StdThread;
use fourway_testing::{AGES, Counter, Gate, each, panic_quietly, run};

use crate::{Result, forever};

#[test]
fn the_first_failure_cancels_the_rest_and_comes_first() {
    each(|rt| {
        let (dropped, looked) = (Counter::default(), Counter::default());
        let (begun, go) = (Gate::default(), Gate::default());
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    forever().await
                });
                let (begun_, looked) = (begun.clone(), looked.clone());
                n.offload(move || {
                    begun_.open();
                    let cancelled = cancel::sleep(AGES).unwrap_err();
                    assert_eq!(*cancelled.reason(), Reason::SiblingFailed);
                    looked.add();
                    Err::<(), _>("as well".to_owned())
                });
                let gate = go.clone();
                n.spawn(async move {
                    gate.pass().await;
                    Err::<(), _>("first".to_owned())
                });
                begun.pass().await;
                go.open();
                pending().await
            }),
        );
        let error = result.unwrap_err();
        let failures: Vec<_> = error
            .failures()
            .iter()
            .map(|f| f.error().unwrap().as_str())
            .collect();
        assert_eq!(failures, ["first", "as well"]);
        assert_eq!((dropped.get(), looked.get(), error.cancelled()), (1, 1, 1));
        assert!(!error.is_cancelled() && !error.is_timeout());
    });
}

#[test]
fn a_failing_body_cancels_its_children() {
    each(|rt| {
        let dropped = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    pending::<std::result::Result<(), String>>().await
                })
                .await;
                Err("body".to_owned())
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(
            error.to_string(),
            "work in the nursery failed: body; 1 were cancelled"
        );
        assert_eq!(dropped.get(), 1);
    });
}

#[test]
fn panics_keep_their_payload_and_cancel_at_once() {
    each(|rt| {
        for in_closure in [false, true] {
            let dropped = Counter::default();
            let result: Result<()> = run(
                &rt,
                nursery(&rt, async |n| {
                    let on_drop = dropped.on_drop();
                    n.spawn(async move {
                        let _on_drop = on_drop;
                        pending::<std::result::Result<(), String>>().await
                    });
                    if in_closure {
                        n.offload(|| -> std::result::Result<(), String> {
                            panic_quietly("payload")
                        });
                    } else {
                        n.spawn(async {
                            if true {
                                panic_quietly("payload")
                            }
                            Ok(())
                        });
                    }
                    pending().await
                }),
            );
            assert_eq!(dropped.get(), 1);
            let error = result.unwrap_err();
            assert!(error.first().unwrap().is_panic());
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                error.resume_unwind()
            }));
            assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"payload"));
        }
    });
}

#[test]
fn a_panic_of_the_body_and_of_a_destructor_are_failures_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_quietly("destructor");
        }
    }
    each(|rt| {
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                n.spawn(async {
                    let _bomb = Bomb;
                    pending::<std::result::Result<(), String>>().await
                });
                // So that the child is suspended with its bomb.
                n.spawn(async { Ok(()) }).await;
                yield_now().await;
                panic_quietly("body")
            }),
        );
        let error = result.unwrap_err();
        let messages: Vec<String> = error.failures().iter().map(Failure::to_string).collect();
        assert!(messages[0].ends_with("body"), "{messages:?}");
        // If the child was never polled, there was no bomb.
        assert!(
            messages.len() == 1 || messages[1].ends_with("destructor"),
            "{messages:?}"
        );
    });
}

/// The destructor of a child that a cancelled nursery refuses is the child's: its panic does not
/// tear the caller apart, and whoever waits for the child is told.
#[test]
fn a_refused_child_whose_destructor_panics_has_failed() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_quietly("destructor");
        }
    }
    each(|rt| {
        for supervise in [false, true] {
            let (mut line, mut went_on) = (0, false);
            let mut builder = Nursery::builder(&rt);
            if supervise {
                builder = builder.supervise();
            }
            let result: Result<()> = run(
                &rt,
                builder.run(async |n| {
                    let mut results = n.results();
                    n.cancel();
                    let bomb = Bomb;
                    n.spawn(async move {
                        drop(bomb);
                        Ok(())
                    });
                    line = line!() - 4;
                    let bomb = Bomb;
                    results.offload(move || {
                        drop(bomb);
                        Ok(())
                    });
                    let error = results.try_next().expect("it has ended").unwrap_err();
                    assert!(error.failure().expect("not cancelled").is_panic());
                    n.spawn(async { Ok(()) });
                    went_on = true;
                    Ok(())
                }),
            );
            assert!(went_on);
            let error = result.unwrap_err();
            assert_eq!(error.failures().len(), 1, "{error:?}");
            assert_eq!(error.cancelled(), 1, "the plain one: {error:?}");
            let Some(Failure::Join(error)) = error.first() else {
                panic!("it panicked: {error:?}");
            };
            assert_eq!(error.panic_message(), Some("destructor"));
            assert_eq!(error.location().map(std::panic::Location::line), Some(line));
        }
    });
}

#[test]
fn cancellations_are_not_failures() {
    each(|rt| {
        let result: Result<(), Cancelled> = run(
            &rt,
            nursery(&rt, async |n| {
                for _ in 0..3 {
                    n.offload(|| cancel::sleep(AGES));
                }
                n.cancel();
                Ok(())
            }),
        );
        // Its own wish is no error.
        assert!(result.is_ok());

        let result: Result<(), io::Error> = run(
            &rt,
            nursery(&rt, async |n| {
                n.offload(|| Ok(cancel::sleep(AGES)?));
                Err(io::Error::other("body"))
            }),
        );
        let error = result.unwrap_err();
        assert_eq!((error.failures().len(), error.cancelled()), (1, 1));
        assert_eq!(io::Error::from(error).to_string(), "body");
    });
}

#[test]
fn a_failure_is_told_to_the_nursery_before_it_is_told_to_the_handle() {
    each(|rt| {
        for in_closure in [false, true] {
            let result: Result<()> = run(
                &rt,
                Nursery::builder(&rt).grace(AGES).run(async |n| {
                    let handle = if in_closure {
                        n.offload_handle(|| Err::<(), _>("first".to_owned()))
                    } else {
                        n.spawn_handle(async { Err::<(), _>("first".to_owned()) })
                    };
                    match handle.await {
                        Ok(()) => Ok(()),
                        Err(_) => Err("because of it".to_owned()),
                    }
                }),
            );
            let error = result.unwrap_err();
            assert_eq!(error.first().unwrap().error().unwrap(), "first");
            assert_eq!(error.failures().len(), 2);
        }
    });
}

#[test]
fn a_body_that_panics_before_it_gives_its_future_leaves_no_child() {
    each(|rt| {
        let dropped = Counter::default();
        let mut handle = None;
        let eager = |n: &Nursery<AnyRuntime, String>| {
            let on_drop = dropped.on_drop();
            n.spawn(async move {
                let _on_drop = on_drop;
                forever().await
            });
            handle = Some(n.handle());
            if true {
                panic_quietly("eager");
            }
            std::future::ready(Ok(()))
        };
        let error = run(&rt, nursery(&rt, eager)).unwrap_err();
        assert!(error.first().unwrap().is_panic());
        assert_eq!((dropped.get(), error.cancelled()), (1, 1));
        assert!(handle.unwrap().is_closed());
    });
}

/// The child and its body in the pool's queue are destroyed by a thread that unwinds for a reason of
/// its own.
#[test]
fn a_body_that_never_began_counts_as_cancelled_also_on_a_thread_that_unwinds() {
    /// Keeps the tasks, for the test to poll them.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<BoxFuture>>>);
    impl Execute for Kept {
        fn execute(&self, future: BoxFuture) {
            self.0.lock().unwrap().push(future);
        }
    }
    struct OnUnwinding<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnUnwinding<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let pool = StdThread::builder().offload_limit(1).build().unwrap();
    let (busy, go, dropped) = (Gate::default(), Gate::default(), Counter::default());
    let occupied = pool.offload({
        let (busy, go) = (busy.clone(), go.clone());
        move || {
            busy.open();
            go.wait();
        }
    });
    busy.wait();
    let kept = Kept::default();
    let rt = Adapter::new(kept.clone());
    let token = CancellationToken::new();
    let on_drop = dropped.on_drop();
    let nursery = Nursery::<_, String>::builder(&rt).token(&token);
    let mut nursery = Box::pin(nursery.run(async |n| {
        n.call(pool.call_blocking(move || {
            drop(on_drop);
            Ok(())
        }));
        Ok(())
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(nursery.as_mut().poll(&mut cx).is_pending());
    let mut child = kept.0.lock().unwrap().pop().unwrap();
    // It hands its body to the pool.
    assert!(child.as_mut().poll(&mut cx).is_pending());
    token.cancel();
    assert!(nursery.as_mut().poll(&mut cx).is_pending());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _ends = OnUnwinding(|| {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(child.as_mut().poll(&mut cx).is_ready());
        });
        panic_quietly("another reason");
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"another reason"));
    assert_eq!(dropped.get(), 1);
    let Poll::Ready(ended) = nursery.as_mut().poll(&mut cx) else {
        panic!("its child has ended");
    };
    let error = ended.unwrap_err();
    assert_eq!((error.is_cancelled(), error.cancelled()), (true, 1));
    go.open();
    run(&pool, occupied).unwrap();
}

/// Each message of an error's chain says something new.
#[test]
fn an_error_and_its_sources_say_nothing_twice() {
    fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
        std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect()
    }

    each(|rt| {
        let fails = || async { Err::<(), _>(std::io::Error::other("boom")) };
        let body = async |n: &Nursery<_, _>| {
            n.spawn(fails());
            Ok(())
        };
        let failed = run(&rt, nursery(&rt, body)).unwrap_err();
        assert_eq!(chain(&failed), ["work in the nursery failed: boom"]);

        let panics = async |n: &Nursery<_, std::io::Error>| {
            n.spawn::<_, ()>(async { panic_quietly("payload") });
            Ok(())
        };
        let panicked = run(&rt, nursery(&rt, panics)).unwrap_err();
        assert_eq!(chain(&panicked).len(), 1);

        let body = async |n: &Nursery<_, _>| {
            let never = n.start(|_: Started<()>| fails()).await.unwrap_err();
            assert_eq!(
                chain(&never),
                ["the child failed before it was ready: boom"]
            );
            let mut results = n.results::<()>();
            results.spawn(fails());
            let failed = results.next().await.unwrap().unwrap_err();
            assert_eq!(chain(&failed), ["the child failed: boom"]);
            Ok(())
        };
        run(&rt, nursery(&rt, body)).unwrap();
    });
}
