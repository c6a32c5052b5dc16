//! Limits, the line before them, and children that are started until they are ready.

use std::{future::pending, pin::pin, task::Poll};

use fourway_core::{
    cancel::{self, CancellationToken, Reason},
    yield_now,
};
use fourway_nursery::{Failure, Nursery, NurseryError, StartError, Started, nursery, shield};
use fourway_testing::{AGES, Counter, Gate, each, poll_once, run};

type Result<T, E = String> = std::result::Result<T, NurseryError<E>>;
type Child = std::result::Result<(), String>;

#[test]
fn a_limit_holds_exactly_and_everyone_has_a_turn() {
    each(|rt| {
        let (running, high, done) = (Counter::default(), Counter::default(), Counter::default());
        let builder = Nursery::builder(&rt).limit(3);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                for i in 0..60 {
                    let (running, high, done) = (running.clone(), high.clone(), done.clone());
                    if i % 3 == 0 {
                        n.offload(move || {
                            high.max(running.add());
                            std::thread::yield_now();
                            running.sub();
                            done.add();
                            Ok(())
                        });
                    } else {
                        n.spawn(async move {
                            high.max(running.add());
                            yield_now().await;
                            running.sub();
                            done.add();
                            Ok(())
                        });
                    }
                }
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(done.get(), 60);
        assert!(high.get() <= 3, "{}", high.get());
    });
}

#[test]
fn three_run_if_three_may() {
    each(|rt| {
        let (running, go) = (Counter::default(), Gate::default());
        let builder = Nursery::builder(&rt).limit(3);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                for _ in 0..6 {
                    let (running, go) = (running.clone(), go.clone());
                    n.spawn(async move {
                        if running.add() == 3 {
                            go.open();
                        }
                        go.pass().await;
                        Ok(())
                    });
                }
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(running.get(), 6);
    });
}

#[test]
fn spawn_waits_and_try_spawn_says_full() {
    each(|rt| {
        let go = Gate::default();
        let builder = Nursery::builder(&rt).limit(1);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let gate = go.clone();
                n.spawn(async move {
                    gate.pass().await;
                    Ok(())
                })
                .await;
                let refused = n.try_spawn(async { Ok(()) }).unwrap_err();
                assert!(refused.is_full());
                refused.into_inner().await?;
                assert!(n.try_offload(|| Ok(())).unwrap_err().is_full());

                let mut waiting = n.spawn(async { Ok(()) });
                assert!(poll_once(pin!(&mut waiting)).await.is_pending());
                go.open();
                waiting.await;
                Ok(())
            }),
        );
        result.unwrap();
    });
}

#[test]
fn places_go_round_in_order_past_those_who_gave_up() {
    each(|rt| {
        let (go, order) = (
            Gate::default(),
            std::sync::Arc::new(std::sync::Mutex::new(Vec::new())),
        );
        let builder = Nursery::builder(&rt).limit(1);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let place = n.reserve().await.unwrap();
                let child = |name: &'static str| {
                    let order = order.clone();
                    async move {
                        order.lock().unwrap().push(name);
                        Child::Ok(())
                    }
                };
                let mut gives_up = Box::pin(n.reserve());
                let mut granted = Box::pin(n.reserve());
                let mut third = Box::pin(n.reserve());
                for waiting in [&mut gives_up, &mut granted, &mut third] {
                    assert!(poll_once(waiting.as_mut()).await.is_pending());
                }
                n.spawn(child("last"));
                drop(gives_up);
                drop(place);
                // It has been granted the place and does not know.
                drop(granted);
                let Poll::Ready(Ok(place)) = poll_once(third.as_mut()).await else {
                    panic!("the place was lost");
                };
                place.spawn(child("third")).unwrap();
                go.open();
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(*order.lock().unwrap(), ["third", "last"]);
    });
}

#[test]
fn a_higher_limit_starts_those_who_wait() {
    each(|rt| {
        let (running, go) = (Counter::default(), Gate::default());
        let builder = Nursery::builder(&rt).limit(1);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                for _ in 0..4 {
                    let (running, go) = (running.clone(), go.clone());
                    n.spawn(async move {
                        if running.add() == 4 {
                            go.open();
                        }
                        go.pass().await;
                        Ok(())
                    });
                }
                n.set_limit(4);
                go.pass().await;
                Ok(())
            }),
        );
        result.unwrap();
    });
}

#[test]
fn what_waits_in_line_is_never_started_after_a_cancellation() {
    each(|rt| {
        let (started, dropped) = (Counter::default(), Counter::default());
        let builder = Nursery::builder(&rt).limit(1);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                n.spawn(pending::<Child>()).await;
                for _ in 0..5 {
                    let (count, on_drop) = (started.clone(), dropped.on_drop());
                    n.spawn(async move {
                        let _on_drop = on_drop;
                        count.add();
                        Ok(())
                    });
                    let (started, on_drop) = (started.clone(), dropped.on_drop());
                    n.offload(move || {
                        let _on_drop = on_drop;
                        started.add();
                        Ok(())
                    });
                }
                let mut waiting = Box::pin(n.reserve());
                assert!(poll_once(waiting.as_mut()).await.is_pending());
                n.cancel();
                assert!(waiting.await.unwrap_err().is_cancelled());
                assert!(n.try_spawn(async { Ok(()) }).unwrap_err().is_cancelled());
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!((started.get(), dropped.get()), (0, 10));
    });
}

#[test]
fn a_place_stays_taken_until_the_closure_has_really_ended() {
    each(|rt| {
        let (begun, go, second) = (Gate::default(), Gate::default(), Counter::default());
        let builder = Nursery::builder(&rt).limit(1).supervise();
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let (begun_, gate) = (begun.clone(), go.clone());
                n.offload(move || {
                    begun_.open();
                    gate.wait();
                    Ok(())
                });
                begun.pass().await;
                let second_ = second.clone();
                n.spawn(async move {
                    second_.add();
                    Ok(())
                });
                yield_now().await;
                assert_eq!(second.get(), 0);
                go.open();
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(second.get(), 1);
    });
}

// ---------------------------------------------------------------------------
// start

#[test]
fn start_gives_the_value_and_the_child_goes_on() {
    each(|rt| {
        let (go, went_on) = (Gate::default(), Counter::default());
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let (gate, count) = (go.clone(), went_on.clone());
                let value = n
                    .start(async move |started: Started<u32>| {
                        started.ready(7).unwrap();
                        gate.pass().await;
                        count.add();
                        Ok(())
                    })
                    .await;
                assert_eq!(value.unwrap(), 7);
                go.open();
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(went_on.get(), 1);
    });
}

#[test]
fn a_failure_before_ready_is_the_callers_and_after_it_the_nurserys_once() {
    each(|rt| {
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let early = n
                    .start(async |_: Started<()>| Err::<(), _>("early".to_owned()))
                    .await;
                assert!(
                    matches!(early, Err(StartError::Failed(Failure::Error(e))) if e == "early")
                );
                let panics = n
                    .start(async |_: Started<()>| {
                        if true {
                            fourway_testing::panic_quietly("early");
                        }
                        Ok(())
                    })
                    .await;
                assert!(matches!(panics, Err(StartError::Failed(failure)) if failure.is_panic()));
                let without = n.start(async |_: Started<()>| Ok(())).await;
                assert!(matches!(without, Err(StartError::Ended)));
                n.start(async |started: Started<()>| {
                    started.ready(()).unwrap();
                    Err::<(), _>("late".to_owned())
                })
                .await
                .unwrap();
                pending().await
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(error.failures().len(), 1);
        assert_eq!(error.first().unwrap().error().unwrap(), "late");
    });
}

#[test]
fn the_callers_end_before_ready_cancels_the_child_alone() {
    each(|rt| {
        let (dropped, sibling) = (Counter::default(), Counter::default());
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                for around in [false, true] {
                    let (on_drop, begun) = (dropped.on_drop(), Gate::default());
                    let entered = begun.clone();
                    let start = n.start(async move |_started: Started<()>| {
                        let _on_drop = on_drop;
                        entered.open();
                        pending::<Child>().await
                    });
                    if around {
                        let token = CancellationToken::new();
                        let mut start = pin!(token.scope_future(start));
                        assert!(poll_once(start.as_mut()).await.is_pending());
                        begun.pass().await;
                        token.cancel();
                        assert!(matches!(start.await, Err(StartError::Cancelled)));
                    } else {
                        let mut start = Box::pin(start);
                        assert!(poll_once(start.as_mut()).await.is_pending());
                        begun.pass().await;
                        drop(start);
                    }
                }
                let sibling = sibling.clone();
                n.spawn(async move {
                    sibling.add();
                    Ok(())
                });
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!((dropped.get(), sibling.get()), (2, 1));
    });
}

#[test]
fn the_nurserys_end_before_ready_is_told_to_the_caller() {
    // The caller is a task outside of the nursery: its own end does not come with it.
    each(|rt| {
        use fourway_core::Spawner;
        let told = run(&rt, async {
            let (handle, begun) = (Gate::default(), Gate::default());
            let outside = rt.spawn({
                let (rt, entered, begun) = (rt.clone(), handle.clone(), begun.clone());
                async move {
                    let result: Result<bool> = Nursery::builder(&rt)
                        .grace(AGES)
                        .run(async |n| {
                            let mut start = pin!(n.start(async move |_: Started<()>| {
                                begun.open();
                                cancel::current().cancelled().await;
                                Child::Ok(())
                            }));
                            assert!(poll_once(start.as_mut()).await.is_pending());
                            entered.pass().await;
                            n.cancel();
                            Ok(matches!(start.await, Err(StartError::Ended)))
                        })
                        .await;
                    result
                }
            });
            begun.pass().await;
            handle.open();
            outside.await.unwrap()
        });
        assert!(told.unwrap());
    });
}

#[test]
fn ready_says_when_nobody_waits_and_a_shield_holds_until_then() {
    each(|rt| {
        let given_back = Counter::default();
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let (begun, left, count) = (Gate::default(), Gate::default(), given_back.clone());
                let (entered, gone) = (begun.clone(), left.clone());
                let mut start = Box::pin(n.start(async move |started: Started<u32>| {
                    shield(async move {
                        entered.open();
                        gone.pass().await;
                        if started.ready(3) == Err(3) {
                            count.add();
                        }
                    })
                    .await;
                    pending::<Child>().await
                }));
                assert!(poll_once(start.as_mut()).await.is_pending());
                begun.pass().await;
                drop(start);
                left.open();
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(given_back.get(), 1);
    });
}

#[test]
fn started_in_a_nursery_that_is_cancelled_it_says_so() {
    each(|rt| {
        let result: Result<()> = run(
            &rt,
            Nursery::builder(&rt).grace(AGES).run(async |n| {
                n.token().cancel_with(Reason::Shutdown);
                let start = n.start(async |_: Started<()>| Child::Ok(())).await;
                assert!(matches!(start, Err(StartError::Cancelled)));
                Ok(())
            }),
        );
        assert!(
            result.is_ok(),
            "nothing was cut short but what the body knows of"
        );
    });
}

#[test]
fn what_is_in_line_when_the_work_around_is_cancelled_is_never_started() {
    each(|rt| {
        let (token, started) = (CancellationToken::new(), Counter::default());
        let builder = Nursery::builder(&rt).token(&token).limit(1).grace(AGES);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let go = Gate::default();
                let (cancels, passes) = (token.clone(), go.clone());
                n.spawn(async move {
                    passes.pass().await;
                    cancels.cancel();
                    Ok(())
                });
                for _ in 0..3 {
                    let (one, other) = (started.clone(), started.clone());
                    n.spawn(async move {
                        one.add();
                        Ok(())
                    });
                    n.offload(move || {
                        other.add();
                        Ok(())
                    });
                }
                go.open();
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        assert_eq!((started.get(), error.cancelled()), (0, 6));
    });
}

#[test]
fn who_waits_for_a_place_is_told_when_the_nursery_is_over() {
    each(|rt| {
        let kept = std::sync::Mutex::new(None);
        let builder = Nursery::builder(&rt).limit(1);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let place = n.reserve().await.unwrap();
                let mut waiting = Box::pin(n.reserve());
                assert!(poll_once(waiting.as_mut()).await.is_pending());
                *kept.lock().unwrap() = Some((place, waiting));
                Ok(())
            }),
        );
        result.unwrap();
        let (place, waiting) = kept.into_inner().unwrap().unwrap();
        assert!(run(&rt, waiting).unwrap_err().is_closed());
        assert!(
            place
                .spawn(async { Child::Ok(()) })
                .unwrap_err()
                .is_closed()
        );
    });
}

#[test]
fn a_child_that_its_caller_cancels_has_not_failed() {
    each(|rt| {
        for around in [false, true] {
            let result: Result<(), cancel::Cancelled> = run(
                &rt,
                nursery(&rt, async |n| {
                    let begun = Gate::default();
                    let entered = begun.clone();
                    let start = n.start(async move |_started: Started<()>| {
                        entered.open();
                        // Polled once more when it is cancelled, it says so itself.
                        Err::<(), _>(cancel::current().cancelled().await)
                    });
                    if around {
                        let token = CancellationToken::new();
                        let mut start = pin!(token.scope_future(start));
                        assert!(poll_once(start.as_mut()).await.is_pending());
                        begun.pass().await;
                        token.cancel();
                        assert!(matches!(start.await, Err(StartError::Cancelled)));
                    } else {
                        let mut start = Box::pin(start);
                        assert!(poll_once(start.as_mut()).await.is_pending());
                        begun.pass().await;
                        drop(start);
                    }
                    Ok(())
                }),
            );
            assert!(result.is_ok(), "{result:?}");
        }
    });
}

#[test]
fn a_child_starts_another_one_and_waits_until_it_is_ready() {
    each(|rt| {
        let result: Result<()> = run(
            &rt,
            nursery(&rt, async |n| {
                let handle = n.handle();
                n.spawn(async move {
                    let number = handle.start(async |started: Started<u32>| {
                        started.ready(7).map_err(|_| "nobody waits".to_owned())
                    });
                    assert_eq!(number.await.unwrap(), 7);
                    Child::Ok(())
                });
                Ok(())
            }),
        );
        result.unwrap();
    });
}

#[test]
fn a_child_whose_caller_has_left_is_not_polled() {
    each(|rt| {
        let polled = Counter::default();
        let builder = Nursery::builder(&rt).limit(1);
        let result: Result<()> = run(
            &rt,
            builder.run(async |n| {
                let place = n.reserve().await.unwrap();
                let count = polled.clone();
                let mut start = Box::pin(n.start(async move |_: Started<()>| {
                    count.add();
                    Child::Ok(())
                }));
                assert!(poll_once(start.as_mut()).await.is_pending());
                drop(start);
                drop(place);
                Ok(())
            }),
        );
        result.unwrap();
        assert_eq!(polled.get(), 0);
    });
}

#[test]
fn a_failure_that_its_caller_has_not_read_is_the_nurserys() {
    each(|rt| {
        let result: Result<()> = run(
            &rt,
            Nursery::builder(&rt).grace(AGES).run(async |n| {
                let polled = Gate::default();
                let fails = polled.clone();
                let mut start = Box::pin(n.start(async move |_: Started<()>| {
                    fails.pass().await;
                    Err::<(), _>("unread".to_owned())
                }));
                assert!(poll_once(start.as_mut()).await.is_pending());
                polled.open();
                while n.len() > 1 {
                    yield_now().await;
                }
                drop(start);
                Ok(())
            }),
        );
        let error = result.unwrap_err();
        assert_eq!(error.first().unwrap().error().unwrap(), "unread");
    });
}
