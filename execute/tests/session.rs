//! EX-1, one door for work of any kind, for sessions: order, kinds, readers, interruption,
//! deadlines, tasks left behind.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, CancellationToken, Offload, Runtime, Shutdown, Spawner, cancel,
    context::{Context, current},
};
use fourway_execute::{Execution, ExecutionError, Executor, Model, Scope, Session, SessionWork};
use fourway_std_thread::StdThread;
use fourway_testing::{Gate, eventually, run};

fourway_testing::on_every_runtime! { erased
    executions_of_all_kinds_are_in_order
    each_kind_runs_where_it_belongs
    nobody_keeps_a_thread_while_waiting_in_line
    readers_share_and_writers_do_not
    interrupting_async_work
    interrupting_work_that_blocks
    interrupting_those_in_line
    deadlines_begin_with_the_turn
    dropping_a_handle
    panics_leave_the_session_alone
    what_is_left_behind_is_seen
    the_end_of_a_session_ends_what_it_left
    closing_gives_the_namespace
    a_scope_that_is_taken_along_keeps_the_turn
    a_token_for_all
    after_a_shutdown
}

/// A session in each model.
fn in_each<R: Runtime, N: Send + Sync + 'static>(
    rt: &R,
    namespace: impl Fn() -> N,
    test: impl AsyncFn(Session<R, N>),
) {
    for model in Model::ALL {
        let session = Session::new(rt.clone(), model, namespace());
        run(rt, test(session));
    }
}

fn executions_of_all_kinds_are_in_order(rt: AnyRuntime) {
    in_each(&rt, Vec::new, async |session| {
        let mut expected = Vec::new();
        let mut handles: Vec<Execution<AnyRuntime, usize>> = Vec::new();
        for round in 0..25 {
            // Each sees the changes of all before it.
            let push = move |mut list: Scope<AnyRuntime, Vec<usize>>, at: usize| {
                assert_eq!(list.len(), at);
                list.push(at);
                at
            };
            let at = round * 4;
            handles.push(session.execute(move |list| push(list, at)));
            handles.push(session.execute(async move |list| {
                fourway_core::yield_now().await;
                push(list, at + 1)
            }));
            handles.push(session.execute_short(move |list| push(list, at + 2)));
            let decided = match round % 2 {
                0 => SessionWork::blocking(move |list| push(list, at + 3)),
                _ => SessionWork::making(move |list| async move { push(list, at + 3) }),
            };
            handles.push(session.execute_work(decided));
            expected.extend(at..at + 4);
        }
        let mut seen = Vec::new();
        for handle in handles {
            seen.push(handle.await.unwrap());
        }
        assert_eq!(seen, expected);
        let list = session.read(|list| list.clone()).await.unwrap();
        assert_eq!(list, expected);
    });
}

fn each_kind_runs_where_it_belongs(rt: AnyRuntime) {
    in_each(
        &rt,
        || (),
        async |session| {
            let model = session.executor().model();
            let closure = session.execute(|_| current()).await.unwrap();
            assert_eq!(closure, Context::Blocking);
            let future = session.execute(async |_| current()).await.unwrap();
            assert_eq!(future, Context::Async);
            let short = session.execute_short(|_| current()).await.unwrap();
            let expected = match model {
                Model::Async => Context::Async,
                _ => Context::Blocking,
            };
            assert_eq!(short, expected);
            let made = session.read_work(SessionWork::making(|_| async { current() }));
            assert_eq!(made.await.unwrap(), Context::Async);
        },
    );
}

/// With one pool thread, a hundred executions that wait for their turn, and one that offloads.
fn nobody_keeps_a_thread_while_waiting_in_line(_: AnyRuntime) {
    let rt = AnyRuntime::new(StdThread::builder().offload_limit(1).build().unwrap());
    in_each(
        &rt,
        || 0,
        async |session| {
            let gate = Gate::default();
            let first = session.execute({
                let gate = gate.clone();
                async move |_| gate.pass().await
            });
            let rest: Vec<_> = (0..100).map(|_| session.execute(|mut n| *n += 1)).collect();
            assert_eq!(session.status().running.len(), 1);
            assert_eq!(session.status().waiting.len(), 100);
            // In the model `thread` the first one has the pool's only thread, and lends it.
            assert_eq!(rt.offload(|| 1).await.unwrap(), 1);
            gate.open();
            first.await.unwrap();
            for execution in rest {
                execution.await.unwrap();
            }
            assert_eq!(session.read(|n| *n).await.unwrap(), 100);
        },
    );
}

fn readers_share_and_writers_do_not(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let (all_in, inside) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
            // Each waits for the others, of both kinds: so they all have the turn at the same time.
            let meets = |inside: &AtomicUsize, gate: &Gate| {
                if inside.fetch_add(1, SeqCst) + 1 == 4 {
                    gate.open();
                }
            };
            let readers: Vec<_> = (0..4)
                .map(|number| {
                    let (all_in, inside) = (all_in.clone(), inside.clone());
                    if number % 2 == 0 {
                        session.read(move |n| {
                            meets(&inside, &all_in);
                            all_in.wait();
                            *n
                        })
                    } else {
                        session.read(async move |n| {
                            meets(&inside, &all_in);
                            all_in.pass().await;
                            *n
                        })
                    }
                })
                .collect();
            let writer = session.execute(|mut n| *n = 1);
            let late = session.read(|n| *n);
            for reader in readers {
                assert_eq!(reader.await.unwrap(), 0);
            }
            writer.await.unwrap();
            assert_eq!(late.await.unwrap(), 1);
        },
    );
}

fn interrupting_async_work(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let started = Gate::default();
            let inside = started.clone();
            let waits = session.execute(async move |mut n| {
                *n += 1;
                inside.open();
                pending::<()>().await;
            });
            started.pass().await;
            assert_eq!(session.interrupt(), 1);
            let error = waits.await.unwrap_err();
            assert!(error.is_interrupted() && !error.is_deadline(), "{error}");
            // Its changes stay.
            assert_eq!(session.execute(|n| *n).await.unwrap(), 1);
            assert_eq!(session.interrupt(), 0);
        },
    );
}

fn interrupting_work_that_blocks(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let started = Gate::default();
            let inside = started.clone();
            let loops = session.execute(move |n| {
                inside.open();
                while cancel::check().is_ok() {
                    thread::yield_now();
                }
                assert!(n.token().is_cancelled());
                "ended"
            });
            started.pass().await;
            loops.interrupt();
            // It gives its own result.
            assert_eq!(loops.await.unwrap(), "ended");
            assert_eq!(session.execute(|n| *n).await.unwrap(), 0);
        },
    );
}

fn interrupting_those_in_line(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let (started, gate) = (Gate::default(), Gate::default());
            let inside = (started.clone(), gate.clone());
            let first = session.execute(move |_| {
                inside.0.open();
                inside.1.wait();
            });
            // Waits for its start: before its turn it would be stopped as well.
            started.pass().await;
            let second = session.execute(|mut n| *n += 1);
            let third = session.execute(async |mut n| *n += 1);
            second.interrupt();
            assert!(second.await.unwrap_err().is_interrupted());
            assert_eq!(session.interrupt_all(), 2);
            assert!(third.await.unwrap_err().is_interrupted());
            gate.open();
            first.await.unwrap();
            assert_eq!(session.read(|n| *n).await.unwrap(), 0);
        },
    );
}

fn deadlines_begin_with_the_turn(rt: AnyRuntime) {
    for model in Model::ALL {
        let session = Session::builder(Executor::new(rt.clone(), model))
            .deadline(Duration::from_millis(30))
            .build(0);
        run(&rt, async {
            let hold = Gate::default();
            let held = hold.clone();
            let driver = rt.clone();
            let holds = session.execute(move |_| driver.block_on(held.pass()));
            let waits = session.execute(async |_| pending::<()>().await);
            // Asked from the first moment on, while it waits in line.
            let stuck = Gate::default();
            let inside = stuck.clone();
            let driver = rt.clone();
            let looks_at_nothing = session.execute(move |_| driver.block_on(inside.pass()));
            let asked = looks_at_nothing.token().clone();
            assert_eq!(asked.deadline(), None);
            hold.open();
            holds.await.unwrap();
            let asked = rt.spawn(async move { asked.cancelled().await });
            let loops = session.execute(|_| {
                while let Ok(()) = cancel::check() {
                    thread::yield_now();
                }
                cancel::current().reason()
            });
            // It waits in line for longer than the deadline.
            let last = session.execute(|n| (*n, n.token().deadline().is_some()));
            assert!(waits.await.unwrap_err().is_deadline());
            // It is told by the execution's token, although the work does not look.
            assert!(asked.await.unwrap().is_deadline());
            stuck.open();
            looks_at_nothing.await.unwrap();
            assert_eq!(loops.await.unwrap(), Some(cancel::Reason::Deadline));
            assert_eq!(last.await.unwrap(), (0, true));
        });
    }
}

fn dropping_a_handle(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let (started, ended) = (Gate::default(), Gate::default());
            let inside = (started.clone(), ended.clone());
            let loops = session.execute(move |_| {
                inside.0.open();
                while cancel::check().is_ok() {
                    thread::yield_now();
                }
                inside.1.open();
            });
            drop(session.execute(|mut n| *n += 1));
            drop(session.execute(async |mut n| *n += 1));
            session.execute(|mut n| *n += 10).detach();
            started.pass().await;
            drop(loops);
            ended.pass().await;
            assert_eq!(session.execute(|n| *n).await.unwrap(), 10);
        },
    );
}

fn panics_leave_the_session_alone(rt: AnyRuntime) {
    fn quietly() {
        std::panic::resume_unwind(Box::new("payload"))
    }
    in_each(
        &rt,
        || 0,
        async |session| {
            let gate = Gate::default();
            let inside = gate.clone();
            session.execute(move |_| inside.wait()).detach();
            let executions = [
                session.execute(|mut n| {
                    *n += 1;
                    quietly();
                }),
                session.execute(async |mut n| {
                    *n += 1;
                    quietly();
                }),
                session.execute_short(|_| quietly()),
                session.read(|_| quietly()),
            ];
            gate.open();
            for execution in executions {
                let error = execution.await.unwrap_err();
                assert!(error.is_panic(), "{error}");
                let payload = error.into_join_error().unwrap().into_panic();
                assert_eq!(*payload.downcast::<&str>().unwrap(), "payload");
            }
            assert_eq!(session.execute(|n| *n).await.unwrap(), 2);
        },
    );
}

fn what_is_left_behind_is_seen(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let gate = Gate::default();
            let inside = gate.clone();
            let first = session.execute(move |n| {
                drop(n.spawn_named("left", async move { inside.pass().await }));
                drop(n.spawn(pending::<()>()));
                n.id()
            });
            let first = first.await.unwrap();
            // In the next execution the task is alive and visible; once it has ended, it is not.
            let alive = session.execute(|n| n.session().left_behind().len());
            assert_eq!(alive.await.unwrap(), 2);
            let left = session.left_behind();
            assert_eq!(left[0].metadata.name(), Some("left"));
            assert_eq!(left[0].by, Some(first));
            gate.open();
            eventually("it ends", || session.left_behind().len() == 1);
            session.left_behind()[0].cancel();
            eventually("the other one ends", || session.left_behind().is_empty());
            // A task that uses the session later, and whose result another execution awaits.
            let task = session.execute(|n| {
                let session = n.session().clone();
                // In a tuple: the closure's result is the handle, not a future to be polled.
                (n.spawn(async move { session.execute(|mut n| *n += 1).await }),)
            });
            let (task,) = task.await.unwrap();
            task.await.unwrap().unwrap();
            assert_eq!(session.read(|n| *n).await.unwrap(), 1);
        },
    );
}

struct OnDrop(Gate);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn the_end_of_a_session_ends_what_it_left(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let gone = Gate::default();
            let inside = OnDrop(gone.clone());
            let left = session.execute(move |n| {
                let left = n.spawn(async move {
                    let _inside = inside;
                    pending::<()>().await;
                });
                (left,)
            });
            let (left,) = left.await.unwrap();
            drop(session);
            gone.pass().await;
            assert!(left.await.unwrap_err().is_cancelled());
        },
    );
}

fn closing_gives_the_namespace(rt: AnyRuntime) {
    in_each(
        &rt,
        || vec![0],
        async |session| {
            let started = Gate::default();
            let inside = started.clone();
            let waits = session.execute(async move |mut list| {
                list.push(1);
                inside.open();
                pending::<()>().await;
            });
            let in_line = session.execute(|mut list| list.push(2));
            let left = session.left_behind();
            started.pass().await;
            let (one, two) = (session.close(), session.close());
            assert_eq!(one.await, Some(vec![0, 1]));
            assert_eq!(two.await, None);
            assert!(session.is_closed() && left.is_empty());
            for execution in [waits, in_line, session.execute(|_| ())] {
                let error = execution.await.unwrap_err();
                assert!(error.is_closed(), "{error}");
            }
            let refused = session.execute(async |_| 1);
            assert_eq!(refused.id(), None);
            let blocked = rt.offload(move || refused.wait()).await.unwrap();
            assert!(blocked.unwrap_err().is_closed());
        },
    );
}

fn a_scope_that_is_taken_along_keeps_the_turn(rt: AnyRuntime) {
    in_each(
        &rt,
        || 0,
        async |session| {
            let gate = Gate::default();
            let inside = gate.clone();
            let kept = session.execute(|n| n).await.unwrap();
            let next = session.execute(move |mut n| {
                inside.open();
                *n += 1;
            });
            assert_eq!(*kept, 0);
            assert_eq!(session.status().waiting.len(), 1);
            drop(kept);
            gate.pass().await;
            next.await.unwrap();
        },
    );
}

fn a_token_for_all(rt: AnyRuntime) {
    let host = CancellationToken::new();
    for model in Model::ALL {
        let session = Session::builder(Executor::new(rt.clone(), model))
            .token(&host)
            .build(0);
        host.cancel_with(cancel::Reason::Shutdown);
        let error: ExecutionError = run(&rt, session.execute(async |_| 1)).unwrap_err();
        assert!(error.is_closed(), "{error}");
    }
}

fn after_a_shutdown(rt: AnyRuntime) {
    let session = Session::new(rt.clone(), Model::Route, 0);
    rt.shutdown(fourway_testing::AGES)
        .expect("this one can be shut down");
    for execution in [session.execute(|n| *n), session.execute(async |n| *n)] {
        let error = execution.wait().unwrap_err();
        assert!(
            error.join_error().is_some_and(|error| error.is_shutdown()),
            "{error}"
        );
    }
    // No turn was lost: the namespace is free.
    assert_eq!(rt.block_on(session.close()), Some(0));
}

/// Handles, scopes and errors can be sent and shared between threads.
#[test]
fn what_is_send_and_sync() {
    fn is<T: Send + Sync>() {}
    is::<Session<AnyRuntime, u32>>();
    is::<Execution<AnyRuntime, u32>>();
    is::<Scope<AnyRuntime, u32>>();
    is::<ExecutionError>();
    is::<Executor<AnyRuntime>>();
}
