//! Nurseries on every runtime: ends, failures, panics, policies, drops.

use std::{future::pending, io, pin::pin, time::Duration};

use fourway_core::{
    AnyRuntime, Runtime, Timer,
    cancel::{self, CancellationToken, Cancelled, Reason},
    yield_now,
};
use fourway_nursery::{Failure, Nursery, NurseryError, nursery, shield};
use fourway_testing::{AGES, Counter, Gate, each, panic_quietly, poll_once, run};

type Result<T, E = String> = std::result::Result<T, NurseryError<E>>;

async fn forever() -> std::result::Result<(), String> {
    pending().await
}

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
fn supervised_siblings_live_on_and_failures_reach_one_place_each() {
    each(|rt| {
        let finished = Counter::default();
        let result: Result<()> = run(
            &rt,
            Nursery::builder(&rt).supervise().run(async |n| {
                let kept = n.spawn_handle(async { Err::<(), _>("kept".to_owned()) });
                drop(n.spawn_handle(async { Err::<(), _>("dropped".to_owned()) }));
                n.spawn(async { Err::<(), _>("without".to_owned()) });
                let error = kept.await.unwrap_err();
                assert_eq!(error.into_failure().unwrap().error().unwrap(), "kept");
                let finished = finished.clone();
                n.spawn(async move {
                    finished.add();
                    Ok(())
                });
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        let mut failures: Vec<_> = error
            .failures()
            .iter()
            .map(|f| f.error().unwrap().as_str())
            .collect();
        failures.sort_unstable();
        assert_eq!(failures, ["dropped", "without"]);
        assert_eq!(finished.get(), 1);
    });
}

#[test]
fn a_supervisor_may_take_failures_as_they_come() {
    each(|rt| {
        let seen = Counter::default();
        let count = seen.clone();
        let builder = Nursery::builder(&rt)
            .supervise()
            .on_failure(move |_: Failure<String>| {
                if count.add() == 3 {
                    panic_quietly("handler");
                }
            });
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                for _ in 0..5 {
                    n.spawn(async { Err::<(), _>(String::new()) });
                }
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        assert_eq!((seen.get(), error.failures().len()), (5, 1));
        assert!(error.first().unwrap().to_string().ends_with("handler"));
    });
}

#[test]
fn the_first_success_ends_it() {
    each(|rt| {
        let dropped = Counter::default();
        let value = run(
            &rt,
            Nursery::builder(&rt).first_success(async |n| {
                n.spawn(async { Err("no".to_owned()) });
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    pending().await
                });
                n.offload(|| Ok(7));
                pending().await
            }),
        );
        assert_eq!((value.unwrap(), dropped.get()), (7, 1));

        let failed: Result<u32> = run(
            &rt,
            Nursery::builder(&rt).first_success(async |n| {
                n.spawn(async { Err("one".to_owned()) });
                n.spawn(async { panic_quietly("two") });
                Ok(())
            }),
        );
        assert_eq!(failed.unwrap_err().failures().len(), 2);

        let empty: Result<u32> = run(&rt, Nursery::builder(&rt).first_success(async |_| Ok(())));
        assert!(empty.unwrap_err().is_empty());
    });
}

#[test]
fn outputs_are_collected_in_the_order_of_spawning() {
    each(|rt| {
        let all: Result<Vec<u32>> = run(
            &rt,
            Nursery::builder(&rt).limit(3).try_collect(async |n| {
                for i in 0..20 {
                    let rt = n.nursery().runtime().clone();
                    n.spawn(async move {
                        rt.sleep(Duration::from_millis(u64::from(20 - i) % 7)).await;
                        Ok(i)
                    })
                    .await;
                }
                Ok(())
            }),
        );
        assert_eq!(all.unwrap(), (0..20).collect::<Vec<_>>());

        let all = run(
            &rt,
            Nursery::builder(&rt).collect(async |n| {
                for i in 0..4 {
                    n.offload(move || if i % 2 == 0 { Ok(i) } else { Err(i) });
                }
                Ok(())
            }),
        );
        let all: Vec<_> = all
            .unwrap()
            .into_iter()
            .map(|one| match one {
                Ok(i) => i,
                Err(error) => match error.into_failure() {
                    Some(Failure::Error(i)) => -i,
                    _ => unreachable!(),
                },
            })
            .collect();
        assert_eq!(all, [0, -1, 2, -3]);
    });
}

#[test]
fn results_come_as_children_finish() {
    each(|rt| {
        let sum: Result<u32> = run(
            &rt,
            nursery(&rt, async |n| {
                let mut results = n.results();
                for i in 1..=10_u32 {
                    results.spawn(async move {
                        if i == 5 {
                            Err("five".to_owned())
                        } else {
                            Ok(i)
                        }
                    });
                }
                let (mut sum, mut failed) = (0, 0);
                while let Some(result) = results.next().await {
                    match result {
                        Ok(i) => sum += i,
                        Err(error) => failed += usize::from(error.failure().is_some()),
                    }
                }
                assert_eq!(failed, 1);
                Ok(sum)
            }),
        );
        assert_eq!(sum.unwrap(), 50);

        // Unread failures are not lost.
        let lost: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let results = n.results::<()>();
                results.spawn(async { Err("unread".to_owned()) });
                Ok(())
            }),
        );
        assert_eq!(
            lost.unwrap_err().first().unwrap().error().unwrap(),
            "unread"
        );
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
                            let _ = cancel::current().sleep(AGES);
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
fn a_deadline_cancels_waits_and_is_told_apart() {
    each(|rt| {
        let dropped = Counter::default();
        let builder = Nursery::builder(&rt).timeout(Duration::from_millis(10));
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    forever().await
                });
                let on_drop = dropped.on_drop();
                n.offload(move || {
                    let _on_drop = on_drop;
                    let slept = cancel::current().sleep(AGES);
                    assert!(slept.unwrap_err().is_deadline());
                    Ok(())
                });
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        assert!(error.is_timeout() && !error.is_cancelled());
        assert_eq!((dropped.get(), error.failures().len()), (2, 0));

        // Inherited, also by the one inside, which is no more than cut short.
        let builder = Nursery::builder(&rt).timeout(Duration::from_millis(10));
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let rt = n.runtime().clone();
                n.spawn(async move {
                    let inner: Result<()> = nursery(&rt, async |_| pending().await).await;
                    inner.map_err(|error| error.to_string())
                });
                Ok(())
            }),
        );
        assert!(result.unwrap_err().is_timeout());
    });
}

#[test]
fn what_is_done_before_the_deadline_is_not_lost_to_it() {
    each(|rt| {
        let builder = Nursery::builder(&rt)
            .timeout(Duration::from_millis(5))
            .grace(AGES);
        let result: Result<u32> = run(
            &rt,
            builder.run(async |n| {
                let token = n.token().clone();
                n.spawn(async move {
                    token.cancelled().await;
                    Ok(())
                });
                n.token().cancelled().await;
                Ok(1)
            }),
        );
        assert_eq!(result.unwrap(), 1);
    });
}

#[test]
fn grace_asks_first_and_drops_then() {
    each(|rt| {
        let (asked, dropped) = (Counter::default(), Counter::default());
        // As long as it takes.
        let result: Result<()> = run(
            &rt,
            Nursery::builder(&rt).grace(AGES).run(async |n| {
                let asked = asked.clone();
                n.spawn(async move {
                    cancel::current().cancelled().await;
                    yield_now().await;
                    asked.add();
                    Ok(())
                });
                Err("body".to_owned())
            }),
        );
        assert_eq!((asked.get(), result.unwrap_err().cancelled()), (1, 0));
        // Not for ever.
        let builder = Nursery::builder(&rt).grace(Duration::from_millis(5));
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let on_drop = dropped.on_drop();
                n.spawn(async move {
                    let _on_drop = on_drop;
                    forever().await
                });
                Err("body".to_owned())
            }),
        );
        assert_eq!((dropped.get(), result.unwrap_err().cancelled()), (1, 1));
    });
}

#[test]
fn a_cancelled_scope_around_cancels_it() {
    each(|rt| {
        let token = CancellationToken::new();
        let result: Result<()> = run(
            &rt,
            token.scope_future(async {
                nursery(&rt, async |n| {
                    assert!(!n.token().is_same(&token));
                    n.spawn(pending::<std::result::Result<(), String>>());
                    token.cancel_with(Reason::Shutdown);
                    pending().await
                })
                .await
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(
            (error.is_cancelled(), error.reason()),
            (true, Some(&Reason::Shutdown))
        );
    });
}

#[test]
fn a_shield_finishes_first() {
    each(|rt| {
        let finished = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let (in_shield, finished) = (Gate::default(), finished.clone());
                let (rt, entered) = (n.runtime().clone(), in_shield.clone());
                n.spawn(async move {
                    shield(async {
                        entered.open();
                        rt.sleep(Duration::from_millis(10)).await;
                        assert!(cancel::check().is_ok());
                        finished.add();
                    })
                    .await;
                    // And here it ends.
                    forever().await
                });
                in_shield.pass().await;
                Err("body".to_owned())
            }),
        );
        assert_eq!((finished.get(), result.unwrap_err().cancelled()), (1, 1));
    });
}

#[test]
fn a_shield_holds_through_five_levels_of_sync_and_async() {
    fn nest(rt: &AnyRuntime, level: u32, in_shield: Gate, finished: Counter) -> Result<()> {
        use fourway_core::BlockOn;
        rt.block_on(async {
            nursery(rt, async |n| {
                let (rt, finished) = (n.runtime().clone(), finished.clone());
                if level > 0 {
                    n.offload(move || {
                        nest(&rt, level - 1, in_shield, finished).map_err(|e| e.to_string())
                    });
                } else {
                    n.spawn(async move {
                        in_shield.open();
                        rt.sleep(Duration::from_millis(10)).await;
                        cancel::check().map_err(|e| e.to_string())?;
                        finished.add();
                        Ok(())
                    });
                }
                Ok(())
            })
            .await
        })
    }
    each(|rt| {
        let finished = Counter::default();
        let builder = Nursery::builder(&rt);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let (in_shield, finished, inner) =
                    (Gate::default(), finished.clone(), n.runtime().clone());
                let entered = in_shield.clone();
                n.spawn(async move {
                    shield(async move {
                        let rt = inner.clone();
                        fourway_core::Offload::offload(&inner, move || {
                            nest(&rt, 2, entered, finished)
                        })
                        .await
                    })
                    .await
                    .unwrap()
                    .map_err(|e| e.to_string())
                });
                in_shield.pass().await;
                n.token().cancel_with(Reason::Shutdown);
                pending().await
            }),
        );
        assert_eq!(result.unwrap_err().reason(), Some(&Reason::Shutdown));
        assert_eq!(
            finished.get(),
            1,
            "the token inside of the shield does not leave it with a closure"
        );
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

#[test]
fn a_body_that_leaves_its_shield_when_it_is_to_be_dropped_is_dropped() {
    each(|rt| {
        let finished = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                n.spawn(async { Err::<(), _>("child".to_owned()) });
                n.shield(async {
                    n.token().cancelled().await;
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    finished.add();
                })
                .await;
                pending().await
            }),
        );
        assert_eq!(result.unwrap_err().failures().len(), 1);
        assert_eq!(finished.get(), 1);
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

#[test]
fn failures_that_nobody_has_read_cancel_the_rest_as_any_do() {
    each(|rt| {
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                n.spawn(forever());
                let results = n.results::<()>();
                results.spawn(async { Err("unread".to_owned()) });
                while n.len() > 2 {
                    yield_now().await;
                }
                drop(results);
                pending().await
            }),
        );
        let error = result.unwrap_err();
        assert_eq!((error.failures().len(), error.cancelled()), (1, 1));
    });
}

#[test]
fn a_failure_without_an_output_is_not_lost_among_the_results() {
    each(|rt| {
        let result = run(
            &rt,
            Nursery::builder(&rt).collect(async |n| {
                n.spawn(async { Ok::<_, String>(1) });
                n.nursery()
                    .spawn(async { Err::<(), _>("beside".to_owned()) });
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(error.first().unwrap().error().unwrap(), "beside");
    });
}

#[test]
fn a_failing_body_is_a_failure_also_beside_a_success() {
    each(|rt| {
        let succeeded = Gate::default();
        let result: Result<u32> = run(
            &rt,
            Nursery::builder(&rt).grace(AGES).first_success(async |n| {
                let gate = succeeded.clone();
                n.spawn(async move {
                    gate.open();
                    Ok(1)
                });
                succeeded.pass().await;
                Err("body".to_owned())
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(error.first().unwrap().error().unwrap(), "body");
    });
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
