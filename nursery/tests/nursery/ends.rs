//! Nurseries on every runtime: how they end, and the effects of dropping them.

use std::{future::pending, pin::pin};

use fourway_core::{
    Runtime,
    cancel::{self, Reason},
    yield_now,
};
use fourway_nursery::{Failure, Nursery, nursery, shield};
use fourway_testing::{AGES, Counter, Gate, each, poll_once, run};

use crate::Result;

#[test]
fn children_have_ended_when_it_returns() {
    each(|rt| {
        let dropped = Counter::default();
        let result: Result<&str> = run(
            &rt,
            nursery(&rt, async |n| {
                for _ in 0..10 {
                    let on_drop = dropped.on_drop();
                    n.spawn(async move {
                        let _on_drop = on_drop;
                        yield_now().await;
                        Ok(())
                    });
                    let on_drop = dropped.on_drop();
                    n.offload(move || {
                        let _on_drop = on_drop;
                        Ok(())
                    });
                    let on_drop = dropped.on_drop();
                    n.call(n.runtime().call_blocking(move || {
                        let _on_drop = on_drop;
                        Ok(())
                    }));
                    let on_drop = dropped.on_drop();
                    n.call(n.runtime().call(async move {
                        let _on_drop = on_drop;
                        Ok(())
                    }));
                }
                Ok("body")
            }),
        );
        assert_eq!(result.unwrap(), "body");
        assert_eq!(dropped.get(), 40);
    });
}

#[test]
fn it_takes_children_until_it_closes_and_then_gives_them_back() {
    each(|rt| {
        let ran = Counter::default();
        let kept: Result<_> = run(
            &rt,
            nursery(&rt, async |n| {
                let (handle, ran) = (n.handle(), ran.clone());
                n.spawn({
                    let handle = handle.clone();
                    async move {
                        yield_now().await;
                        // The body is over by now, or not; this child keeps the nursery open.
                        let ran_ = ran.clone();
                        handle
                            .spawn(async move {
                                ran_.add();
                                Ok(())
                            })
                            .unwrap();
                        std::thread::spawn(move || {
                            handle
                                .offload(move || {
                                    ran.add();
                                    Ok(())
                                })
                                .is_ok()
                        });
                        Ok(())
                    }
                });
                Ok(n.handle())
            }),
        );
        let handle = kept.unwrap();
        assert!(ran.get() >= 1);
        assert!(handle.is_closed());
        run(&rt, handle.closed());
        let refused = handle.spawn(async { Ok::<_, String>(1) }).unwrap_err();
        assert!(refused.is_closed());
        assert_eq!(run(&rt, refused.into_inner()), Ok(1));
        let refused = handle.try_offload(|| Ok::<_, String>(2)).unwrap_err();
        assert_eq!((refused.is_closed(), refused.into_inner()()), (true, Ok(2)));
    });
}

#[test]
fn dropped_it_asks_all_to_end_and_tells_when_the_last_has() {
    each(|rt| {
        let (dropped, ended, begun) = (Counter::default(), Counter::default(), Gate::default());
        run(&rt, async {
            let kept = std::sync::Mutex::new(None);
            {
                let mut running =
                    pin!(nursery(&rt, async |n| -> std::result::Result<(), String> {
                        *kept.lock().unwrap() = Some((n.handle(), n.token().clone()));
                        for _ in 0..5 {
                            let on_drop = dropped.on_drop();
                            n.spawn(async move {
                                let _on_drop = on_drop;
                                // A shield does not survive its own end.
                                shield(pending::<()>()).await;
                                Ok(())
                            });
                        }
                        let (ended, begun) = (ended.clone(), begun.clone());
                        n.offload(move || {
                            begun.open();
                            let _ = cancel::sleep(AGES);
                            ended.add();
                            Ok(())
                        });
                        pending().await
                    }));
                assert!(poll_once(running.as_mut()).await.is_pending());
                begun.pass().await;
            }
            let (handle, token) = kept.into_inner().unwrap().unwrap();
            assert_eq!(token.reason(), Some(Reason::Dropped));
            handle.closed().await;
            assert_eq!((dropped.get(), ended.get()), (5, 1));
            assert!(handle.spawn(async { Ok(()) }).unwrap_err().is_closed());
        });
    });
}

#[test]
fn dropped_before_its_first_poll_it_has_no_children_and_forgotten_they_run_on() {
    each(|rt| {
        let ran = Counter::default();
        drop(nursery(&rt, async |n| {
            let ran = ran.clone();
            n.spawn(async move {
                ran.add();
                Ok::<_, String>(())
            });
            Ok(())
        }));
        assert_eq!(ran.get(), 0);

        let (go, ran_) = (Gate::default(), ran.clone());
        let handle = run(&rt, async {
            let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
            let (keep, rt, go) = (kept.clone(), rt.clone(), go.clone());
            let mut forgotten = Box::pin(async move {
                nursery(&rt, async move |n| {
                    *keep.lock().unwrap() = Some(n.handle());
                    n.spawn(async move {
                        go.pass().await;
                        ran_.add();
                        Ok::<_, String>(())
                    });
                    Ok(())
                })
                .await
            });
            assert!(poll_once(forgotten.as_mut()).await.is_pending());
            std::mem::forget(forgotten);
            kept.lock().unwrap().take().unwrap()
        });
        go.open();
        run(&rt, handle.closed());
        assert_eq!(ran.get(), 1);
    });
}

#[test]
fn it_can_be_spawned_with_a_generic_runtime() {
    fn in_background<R: Runtime>(rt: R) -> R::Task<u32> {
        let runtime = rt.clone();
        rt.spawn(async move {
            let local = String::from("captured");
            let sum: Result<u32> = nursery(&runtime, async |n| {
                let inner: Result<u32> = nursery(n.runtime(), async |inner| {
                    inner.spawn(async { Ok(()) });
                    Ok(local.len() as u32)
                })
                .await;
                inner.map_err(|e| e.to_string())
            })
            .await;
            sum.unwrap()
        })
    }
    fn wrapped<R, B, F>(rt: R, body: B) -> R::Task<bool>
    where
        R: Runtime,
        B: FnOnce(fourway_nursery::NurseryHandle<R, String>) -> F + Send + 'static,
        F: Future<Output = std::result::Result<(), String>> + Send + 'static,
    {
        let runtime = rt.clone();
        rt.spawn(async move { Nursery::builder(&runtime).run_owned(body).await.is_ok() })
    }
    each(|rt| {
        let task = in_background(rt.clone());
        assert_eq!(run(&rt, task).unwrap(), 8);
        let task = wrapped(rt.clone(), async |n| {
            n.spawn(async { Ok(()) }).map_err(|e| e.to_string())?;
            Ok(())
        });
        assert!(run(&rt, task).unwrap());
    });
}

#[test]
fn a_shut_down_runtime_is_a_failure_and_not_a_hang() {
    use fourway_core::{BlockOn, Shutdown};
    let rt = fourway_std_thread::StdThread::new().unwrap();
    rt.shutdown(AGES).unwrap();
    let other = fourway_std_thread::StdThread::new().unwrap();
    let result: Result<()> =
        other.block_on(Nursery::builder(&rt).supervise().limit(1).run(async |n| {
            for _ in 0..100_000 {
                n.spawn(async { Ok(()) });
            }
            n.offload(|| Ok(()));
            Ok(())
        }));
    let error = result.unwrap_err();
    assert!(matches!(error.first(), Some(Failure::Join(error)) if error.is_shutdown()));
}

/// A runtime that refuses a child says why, and the nursery passes it on: a process without threads
/// to be had is no runtime that was shut down.
#[test]
fn a_refused_child_has_failed_for_the_reason_that_the_runtime_gives() {
    use fourway_core::{JoinError, JoinErrorKind, implement::refuse};

    #[derive(Clone)]
    struct Refuses(fn() -> JoinError);
    impl fourway_adapt::Execute for Refuses {
        fn execute(&self, future: fourway_adapt::BoxFuture) {
            refuse(&(self.0)(), || drop(future));
        }
    }

    for (error, kind) in [
        (JoinError::shutdown as fn() -> _, JoinErrorKind::Shutdown),
        (JoinError::forked, JoinErrorKind::Forked),
        (|| JoinError::unstarted("none"), JoinErrorKind::Unstarted),
    ] {
        let rt = fourway_adapt::Adapter::new(Refuses(error));
        // It cancels the nursery under each policy: those in line would be refused too, one in the
        // other, and there are many.
        let builder = Nursery::builder(&rt).supervise().limit(1);
        let result: Result<()> = fourway_adapt::run(builder.run(async |n| {
            let place = n.reserve().await.unwrap();
            for _ in 0..100_000 {
                n.spawn(async { Ok(()) });
            }
            drop(place);
            Ok(())
        }));
        let error = result.unwrap_err();
        assert_eq!((error.failures().len(), error.cancelled()), (1, 99_999));
        let Some(Failure::Join(error)) = error.first() else {
            panic!("not by itself: {error:?}");
        };
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn nothing_travels_into_children_without_context() {
    use fourway_core::values::{Key, Values};
    static KEY: Key<u32> = Key::new("key");
    each(|rt| {
        let seen = Counter::default();
        let look = |expected: Option<u32>| {
            let seen = seen.clone();
            move || {
                assert_eq!((KEY.get(), cancel::try_current().is_some()), {
                    (expected, expected.is_some())
                });
                seen.add();
                Ok::<_, String>(())
            }
        };
        let result: Result<()> = run(
            &rt,
            Values::current().with(&KEY, 7).scope_future(async {
                nursery(&rt, async |n| {
                    let without = n.without_context();
                    for (n, expected) in [(n, Some(7)), (&without, None)] {
                        let rt = n.runtime();
                        n.offload(look(expected));
                        n.call(rt.call_blocking(look(expected)));
                        let looks = look(expected);
                        n.spawn(async move { looks() });
                        let place = n.reserve().await.unwrap();
                        place.offload(look(expected)).unwrap();
                        let looks = look(expected);
                        let started = n.start(async move |started: fourway_nursery::Started<()>| {
                            let _ = started.ready(());
                            looks()
                        });
                        started.await.unwrap();
                    }
                    Ok(())
                })
                .await
            }),
        );
        result.unwrap();
        assert_eq!(seen.get(), 10);
    });
}
