//! Nurseries on every runtime: failures, panics and cancellations.

use std::{future::pending, io};

use fourway_core::{
    AnyRuntime,
    cancel::{self, Cancelled, Reason},
    yield_now,
};
use fourway_nursery::{Failure, Nursery, nursery};
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
                    let cancelled = cancel::current().sleep(AGES).unwrap_err();
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
                    n.offload(|| cancel::current().sleep(AGES));
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
                n.offload(|| Ok(cancel::current().sleep(AGES)?));
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
