//! Work inside of children ends with their nursery too: nurseries, and calls whose bodies block.

use std::{
    cell::RefCell,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, Runtime, Timer,
    call::{BoxCall, Call},
    cancel::{self, Reason},
};
use fourway_nursery::{Failure, NurseryError, SyncNursery, nursery, shield, sync_nursery};
use fourway_testing::{AGES, Counter, Gate, each, panic_quietly, poll_once, run};

type Result<T, E = String> = std::result::Result<T, NurseryError<E>>;
type Child = std::result::Result<(), String>;

/// A body that has to be cancelled, and takes its time then.
fn slow(begun: &Gate, ended: &Counter) -> impl FnOnce() -> Child + Send + 'static {
    let (begun, ended) = (begun.clone(), ended.clone());
    move || {
        begun.open();
        assert!(cancel::sleep(AGES).is_err());
        std::thread::sleep(Duration::from_millis(20));
        ended.add();
        Ok(())
    }
}

type Make = fn(&AnyRuntime, &Gate, &Counter) -> BoxCall<Child>;

/// Calls with such a body somewhere.
fn calls() -> [Make; 6] {
    [
        |rt, begun, ended| rt.call_blocking(slow(begun, ended)).boxed(),
        |rt, begun, ended| {
            let again = rt.clone();
            rt.call_blocking(slow(begun, ended))
                .then(move |output| again.call_ready(output))
                .boxed()
        },
        |rt, begun, ended| {
            let second = rt.call_blocking(slow(begun, ended));
            rt.call(async {}).then(move |()| second).boxed()
        },
        |rt, begun, ended| {
            rt.call_blocking(slow(begun, ended))
                .timeout(AGES)
                .map(|result| result.unwrap_or(Ok(())))
                .boxed()
        },
        |rt, begun, ended| {
            let calls = [rt.call_blocking(slow(begun, ended))];
            rt.call_all(calls).map(|_| Ok(())).boxed()
        },
        |rt, begun, ended| {
            let call = rt.call_blocking(slow(begun, ended));
            rt.call(async move { call.await }).boxed()
        },
    ]
}

#[test]
fn no_body_of_a_call_outlives_the_nursery() {
    each(|rt| {
        for make in calls() {
            for awaited in [false, true] {
                let (begun, ended) = (Gate::default(), Counter::default());
                let result: Result<()> = run(
                    &rt,
                    nursery(&rt, async |n| {
                        let call = make(n.runtime(), &begun, &ended);
                        if awaited {
                            n.spawn(async move { call.await });
                        } else {
                            n.call(call);
                        }
                        begun.pass().await;
                        Err("body".to_owned())
                    }),
                );
                assert_eq!(ended.get(), 1);
                assert_eq!(result.unwrap_err().failures().len(), 1);
            }
        }
    });
}

#[test]
fn a_panic_of_such_a_body_keeps_its_payload() {
    each(|rt| {
        for chained in [false, true] {
            let begun = Gate::default();
            let result: Result<()> = run(
                &rt,
                nursery(&rt, async |n| {
                    let entered = begun.clone();
                    let call = n.runtime().call_blocking(move || -> Child {
                        entered.open();
                        let _ = cancel::sleep(AGES);
                        panic_quietly("late")
                    });
                    if chained {
                        let rt = n.runtime().clone();
                        n.call(call.then(move |output| rt.call_ready(output)));
                    } else {
                        n.call(call);
                    }
                    begun.pass().await;
                    Err("body".to_owned())
                }),
            );
            let mut failures = result.unwrap_err().into_failures();
            assert_eq!(failures.len(), 2);
            let Some(Failure::Join(late)) = failures.pop() else {
                panic!("it is no panic");
            };
            assert_eq!(late.into_panic().downcast_ref(), Some(&"late"));
        }
    });
}

/// A nursery in a child, with a closure and a shield in it.
fn inner(
    rt: AnyRuntime,
    begun: [Gate; 2],
    ended: Counter,
    depth: u32,
) -> Pin<Box<dyn Future<Output = Child> + Send>> {
    Box::pin(async move {
        let result: Result<()> = nursery(&rt, async |n| {
            if depth > 0 {
                n.spawn(inner(rt.clone(), begun, ended, depth - 1));
                return pending().await;
            }
            n.offload(slow(&begun[0], &ended));
            let (entered, rt) = (begun[1].clone(), n.runtime().clone());
            n.spawn(async move {
                shield(async {
                    entered.open();
                    rt.sleep(Duration::from_millis(20)).await;
                    ended.add();
                })
                .await;
                pending::<Child>().await
            });
            pending().await
        })
        .await;
        result.map_err(|error| error.to_string())
    })
}

#[test]
fn a_nursery_in_a_child_ends_with_the_one_around_and_its_shields_hold() {
    each(|rt| {
        let failed = |depth| {
            let (begun, ended) = (<[Gate; 2]>::default(), Counter::default());
            let result: Result<()> = run(
                &rt,
                nursery(&rt, async |n| {
                    n.spawn(inner(
                        n.runtime().clone(),
                        begun.clone(),
                        ended.clone(),
                        depth,
                    ));
                    for gate in &begun {
                        gate.pass().await;
                    }
                    Err("body".to_owned())
                }),
            );
            assert_eq!(ended.get(), 2);
            let error = result.unwrap_err();
            (error.failures().len(), error.cancelled())
        };
        for depth in 0..3 {
            let cancelled = (0..20).any(|_| match failed(depth) {
                (1, 1) => true,
                // One of the child's polls went on until all had ended, and gave its nursery's error.
                other => {
                    assert_eq!(other, (2, 0));
                    false
                }
            });
            assert!(cancelled, "it gives its own error each time");
        }
    });
}

#[test]
fn when_the_one_around_is_dropped_no_shield_holds_and_all_is_waited_for() {
    each(|rt| {
        let (begun, ended) = (<[Gate; 2]>::default(), Counter::default());
        run(&rt, async {
            let kept = std::sync::Mutex::new(None);
            {
                let mut running = pin!(nursery(&rt, async |n| -> Child {
                    *kept.lock().unwrap() = Some(n.handle());
                    let rt = n.runtime().clone();
                    let (begun, ended) = (begun.clone(), ended.clone());
                    n.spawn(async move {
                        let result: Result<()> = nursery(&rt, async |n| {
                            n.offload(slow(&begun[0], &ended));
                            let entered = begun[1].clone();
                            n.spawn(async move {
                                shield(async {
                                    entered.open();
                                    pending::<()>().await;
                                })
                                .await;
                                Ok(())
                            });
                            pending().await
                        })
                        .await;
                        result.map_err(|error| error.to_string())
                    });
                    pending().await
                }));
                assert!(poll_once(running.as_mut()).await.is_pending());
                for gate in &begun {
                    gate.pass().await;
                }
            }
            let handle = kept.into_inner().unwrap().unwrap();
            handle.closed().await;
            assert_eq!(ended.get(), 1);
        });
    });
}

/// Nobody ever polls the inner one again, nor drops it.
#[test]
fn the_one_around_waits_for_the_children_of_one_that_is_forgotten_and_for_nothing_else() {
    each(|rt| {
        for in_child in [false, true] {
            let (go, ended) = (Gate::default(), Counter::default());
            let forgets = {
                let (rt, go, ended) = (rt.clone(), go.clone(), ended.clone());
                async move {
                    let mut inner = Box::pin(async move {
                        nursery(&rt, async |n| {
                            n.spawn(async move {
                                go.pass().await;
                                ended.add();
                                Child::Ok(())
                            });
                            Child::Ok(())
                        })
                        .await
                    });
                    assert!(poll_once(inner.as_mut()).await.is_pending());
                    // The case: its destructor never runs.
                    std::mem::forget(inner);
                    Child::Ok(())
                }
            };
            let result: Result<()> = run(
                &rt,
                nursery(&rt, async |n| {
                    if in_child {
                        let _ = n.spawn_handle(forgets).await;
                    } else {
                        forgets.await?;
                    }
                    assert_eq!(ended.get(), 0);
                    let go = go.clone();
                    n.spawn(async move {
                        go.open();
                        Ok(())
                    });
                    Ok(())
                }),
            );
            result.unwrap();
            assert_eq!(ended.get(), 1, "its child belongs to the one around");
        }
    });
}

#[test]
fn a_panic_in_a_nursery_that_was_dropped_reaches_the_one_around() {
    each(|rt| {
        // The body waits: its closure panics when it is dropped. Or the body is over, and so is
        // the closure, but that was not seen before the drop.
        for body_waits in [true, false] {
            let result: Result<()> = run(
                &rt,
                nursery(&rt, async |n| {
                    let rt = n.runtime().clone();
                    n.spawn(async move {
                        let (begun, kept) = (Gate::default(), OnceLock::new());
                        let entered = begun.clone();
                        let go = Gate::default();
                        let told = go.clone();
                        let mut inner = Box::pin(nursery(&rt, async |n| {
                            kept.set(n.handle()).unwrap();
                            n.offload(move || -> Child {
                                entered.open();
                                if body_waits {
                                    let _ = cancel::sleep(AGES);
                                } else {
                                    told.wait();
                                }
                                panic_quietly("inner")
                            });
                            if body_waits {
                                pending().await
                            } else {
                                Child::Ok(())
                            }
                        }));
                        assert!(poll_once(inner.as_mut()).await.is_pending());
                        begun.pass().await;
                        if !body_waits {
                            go.open();
                            kept.get().unwrap().closed().await;
                        }
                        drop(inner);
                        Child::Ok(())
                    });
                    pending().await
                }),
            );
            let error = result.unwrap_err();
            assert_eq!(error.failures().len(), 1, "{error:?}");
            assert!(error.failures()[0].is_panic(), "{error:?}");
        }
    });
}

#[test]
fn a_sync_nursery_waits_for_what_its_children_have_left() {
    each(|rt| {
        let (begun, ended) = (<[Gate; 2]>::default(), Counter::default());
        let result: Result<()> = sync_nursery(&rt, |n| {
            // Each polls something once, and drops it.
            n.spawn(|| {
                rt.block_on(async {
                    let mut call = pin!(rt.call_blocking(slow(&begun[0], &ended)).fallible());
                    assert!(poll_once(call.as_mut()).await.is_pending());
                    begun[0].pass().await;
                });
                Ok(())
            });
            n.spawn(|| {
                rt.block_on(async {
                    let mut running = pin!(nursery(&rt, async |n| {
                        n.offload(slow(&begun[1], &ended));
                        pending::<Child>().await
                    }));
                    assert!(poll_once(running.as_mut()).await.is_pending());
                    begun[1].pass().await;
                });
                Ok::<_, String>(())
            });
            for gate in &begun {
                gate.wait();
            }
            n.cancel();
            Ok(())
        });
        result.unwrap();
        assert_eq!(ended.get(), 2);
    });
}

#[test]
fn an_offloaded_sync_nursery_ends_with_the_one_around() {
    each(|rt| {
        let (begun, ended) = (Gate::default(), Counter::default());
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let (rt, body) = (n.runtime().clone(), slow(&begun, &ended));
                n.spawn(async move {
                    let result = SyncNursery::builder(&rt).offloaded(move |n| {
                        n.spawn(body);
                        Ok(())
                    });
                    result
                        .await
                        .map_err(|error: NurseryError<String>| error.to_string())
                });
                begun.pass().await;
                n.token().cancel_with(Reason::Shutdown);
                pending().await
            }),
        );
        assert!(result.unwrap_err().is_cancelled());
        assert_eq!(ended.get(), 1);
    });
}

/// Made first on its thread, and so destroyed after what nurseries keep there.
struct AtThreadEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_local! {
    static AT_THREAD_END: RefCell<AtThreadEnd> = const { RefCell::new(AtThreadEnd(None)) };
}

#[test]
fn a_nursery_runs_in_a_thread_locals_destructor() {
    async fn all_of_it(rt: &AnyRuntime) -> Result<u32> {
        nursery(rt, async |n| {
            n.spawn(shield(async { Ok(()) }));
            let closure = n.offload_handle(|| Ok(1));
            Ok(closure.await.unwrap() + shield(async { 2 }).await)
        })
        .await
    }

    each(|rt| {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let late = rt.clone();
            let at_end = AtThreadEnd(Some(Box::new(move || {
                let done = catch_unwind(AssertUnwindSafe(|| late.block_on(all_of_it(&late))));
                // Out of a destructor, a panic would end the process.
                let _ = tell.send(done.is_ok_and(|result| result.is_ok_and(|sum| sum == 3)));
            })));
            AT_THREAD_END.set(at_end);
            assert_eq!(rt.block_on(all_of_it(&rt)).unwrap(), 3);
        });
        assert_eq!(told.recv_timeout(AGES), Ok(true));
        thread.join().unwrap();
    });
}
