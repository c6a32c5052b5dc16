//! EX-1, one door for work of any kind, for single pieces of it: each kind, in each model, on each
//! runtime.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_core::{
    BoxCall, Call, Runtime, Task,
    call::Either,
    context::{Context, current},
    implement::guard_call,
};
use fourway_execute::{Executor, Model, Work, blocking, execute, making, short};
use fourway_testing::{Gate, eventually, run};

fourway_testing::on_every_runtime! {
    every_kind_runs_where_it_belongs
    every_kind_in_every_model
    decided_at_run_time
    panics_reach_the_handle_with_their_payload
    dropping_the_handle_cancels_async_work_on_a_thread
    dropping_the_handle_cancels_calls
    aborting_from_elsewhere
    detached_work_runs_on
    what_is_short_runs_in_place_in_one_model_only
    what_is_not_short_is_reported_while_it_runs_and_when_it_ends
    after_a_shutdown
}

fn every_kind_runs_where_it_belongs<R: Runtime>(rt: R) {
    run(&rt, async {
        assert_eq!(execute(&rt, current).await.unwrap(), Context::Blocking);
        let future = execute(&rt, async { current() });
        assert_eq!(future.await.unwrap(), Context::Async);
        let makes_one = execute(&rt, || async { current() });
        assert_eq!(makes_one.await.unwrap(), Context::Async);
        let asyncs = execute(&rt, async || current());
        assert_eq!(asyncs.await.unwrap(), Context::Async);
        let call = execute(&rt, rt.call(async { current() }));
        assert_eq!(call.await.unwrap(), Context::Async);
        let call = execute(&rt, rt.call_blocking(current));
        assert_eq!(call.await.unwrap(), Context::Blocking);
        let call = execute(&rt, rt.call_blocking(current).boxed());
        assert_eq!(call.await.unwrap(), Context::Blocking);
        // Borderline cases, with the kind stated.
        let boxed = execute(&rt, making(|| Box::pin(async { current() })));
        assert_eq!(boxed.await.unwrap(), Context::Async);
        let future = execute(&rt, blocking(|| (current(), async { 1 })));
        let (context, inner) = future.await.unwrap();
        assert_eq!((context, inner.await), (Context::Blocking, 1));
    });
}

/// Where each kind runs, by model, as the table of `Model` says.
fn every_kind_in_every_model<R: Runtime>(rt: R) {
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            let on_executor = model != Model::Thread;
            let check = |kind: &str, context, executes: bool| {
                let expected = if executes {
                    Context::Async
                } else {
                    Context::Blocking
                };
                assert_eq!(context, expected, "{kind} in {model}");
            };
            check("closure", executor.execute(current).await.unwrap(), false);
            let value = executor.execute(async { 7 }).await.unwrap();
            assert_eq!(value, 7);
            let value = executor.execute(async || 8).await.unwrap();
            assert_eq!(value, 8);
            let value = executor.execute(rt.call(async { 9 })).await.unwrap();
            assert_eq!(value, 9);
            let call = executor.execute(rt.call_blocking(current));
            check("call", call.await.unwrap(), false);
            let context = executor.execute(short(current)).await.unwrap();
            check("short", context, model == Model::Async);
            // In the model `thread`, async code that blocks delays no other work: as many as there
            // are pool threads may block at a time, more than a runtime has workers.
            if !on_executor {
                let gate = Gate::default();
                let blockers: Vec<_> = (0..8)
                    .map(|_| {
                        let gate = gate.clone();
                        executor.execute(async move { gate.wait() })
                    })
                    .collect();
                let other = rt.spawn(async { 1 });
                assert_eq!(other.await.unwrap(), 1);
                gate.open();
                for blocker in blockers {
                    blocker.await.unwrap();
                }
            }
        }
    });
}

fn decided_at_run_time<R: Runtime>(rt: R) {
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            let work = [
                Work::blocking(|| 1),
                Work::short(|| 2),
                Work::future(async { 3 }),
                Work::making(|| async { 4 }),
                Work::call(rt.call_blocking(|| 5)),
                Work::call(rt.call(async { 6 })),
            ];
            let mut sum = 0;
            for work in work {
                sum += executor.execute(work).await.unwrap();
            }
            assert_eq!(sum, 21);
            assert_eq!(
                execute(&rt, Work::blocking(current)).await.unwrap(),
                Context::Blocking
            );
            assert_eq!(
                execute(&rt, Work::short(current)).await.unwrap(),
                Context::Blocking
            );
        }
    });
    assert_eq!(execute(&rt, Work::blocking(|| 1)).wait().unwrap(), 1);
}

fn panics_reach_the_handle_with_their_payload<R: Runtime>(rt: R) {
    fn quietly() -> u32 {
        std::panic::resume_unwind(Box::new("payload"))
    }
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            let errors = [
                executor.execute(quietly).await.unwrap_err(),
                executor.execute(async { quietly() }).await.unwrap_err(),
                executor.execute(|| async { quietly() }).await.unwrap_err(),
                executor
                    .execute(rt.call_blocking(quietly))
                    .await
                    .unwrap_err(),
                executor.execute(short(quietly)).await.unwrap_err(),
                executor.execute(Work::blocking(quietly)).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "payload");
            }
        }
    });
}

/// Sets its gate when it is dropped.
struct OnDrop(Gate);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn dropping_the_handle_cancels_async_work_on_a_thread<R: Runtime>(rt: R) {
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            let (started, gone) = (Gate::default(), Gate::default());
            let work = {
                let (started, gone) = (started.clone(), OnDrop(gone.clone()));
                async move {
                    let _gone = gone;
                    started.open();
                    pending::<()>().await;
                }
            };
            let handle = executor.execute(work);
            started.pass().await;
            assert!(!handle.is_finished());
            drop(handle);
            gone.pass().await;
        }
    });
}

/// Async bodies of calls of every form, as other async work.
fn dropping_the_handle_cancels_calls<R: Runtime>(rt: R) {
    type Make<R> = fn(&R, Gate, OnDrop) -> BoxCall<()>;

    async fn body(started: Gate, _gone: OnDrop) {
        started.open();
        pending::<()>().await;
    }

    let all: [(&str, Make<R>); 6] = [
        ("made", |rt, started, gone| {
            rt.call(body(started, gone)).boxed()
        }),
        ("made late", |rt, started, gone| {
            rt.call_with(move || body(started, gone)).boxed()
        }),
        ("mapped", |rt, started, gone| {
            rt.call(body(started, gone)).boxed().map(|()| ()).boxed()
        }),
        ("limited", |rt, started, gone| {
            let call = rt.call(body(started, gone)).timeout(Duration::MAX);
            call.map(|_| ()).boxed()
        }),
        ("one of two", |rt, started, gone| {
            let call: Either<_, BoxCall<()>> = Either::Left(rt.call(body(started, gone)));
            call.boxed()
        }),
        ("after another", |rt, started, gone| {
            let second = rt.call(body(started, gone));
            rt.call_blocking(|| ()).then(|()| second).boxed()
        }),
    ];
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            for (name, make) in all {
                println!("{name} in {model}");
                let made = || {
                    let (started, gone) = (Gate::default(), Gate::default());
                    let call = make(&rt, started.clone(), OnDrop(gone.clone()));
                    (call, started, gone)
                };
                let (call, started, gone) = made();
                let handle = executor.execute(call);
                started.pass().await;
                assert!(!handle.is_finished());
                drop(handle);
                gone.pass().await;
                // By an abort, and as work of any kind.
                let (call, started, gone) = made();
                let handle = executor.execute(Work::call(call));
                started.pass().await;
                handle.abort_handle().abort();
                gone.pass().await;
                assert!(handle.await.unwrap_err().is_cancelled());
            }
            // A blocking body runs to its end.
            let (go, done) = (Gate::default(), Gate::default());
            let (started, inside) = (Gate::default(), (go.clone(), done.clone()));
            let begun = started.clone();
            let driver = rt.clone();
            let handle = executor.execute(rt.call_blocking(move || {
                begun.open();
                driver.block_on(inside.0.pass());
                inside.1.open();
            }));
            started.pass().await;
            drop(handle);
            go.open();
            done.pass().await;
            // What follows it never begins.
            let (go, started, gone) = (Gate::default(), Gate::default(), Gate::default());
            let (inside, begun, kept) = (go.clone(), started.clone(), OnDrop(gone.clone()));
            let (driver, went_on) = (rt.clone(), Arc::new(AtomicUsize::new(0)));
            let (counts, second) = (went_on.clone(), rt.call_blocking(|| ()));
            let first = rt.call_blocking(move || {
                begun.open();
                driver.block_on(inside.pass());
            });
            let handle = executor.execute(first.then(move |()| {
                let _kept = kept;
                counts.fetch_add(1, Ordering::SeqCst);
                second
            }));
            started.pass().await;
            drop(handle);
            go.open();
            gone.pass().await;
            // In the others a poll that began before the abort may go on.
            if matches!(model, Model::Thread) {
                assert_eq!(went_on.load(Ordering::SeqCst), 0);
            }
            // A guard tells it, whether the handle is dropped or the work aborted.
            for aborts in [false, true] {
                println!("guarded in {model}, aborts: {aborts}");
                let (gone, started, done) = (Gate::default(), Gate::default(), Gate::default());
                let (inside, begun, ends) = (gone.clone(), started.clone(), done.clone());
                let driver = rt.clone();
                let body = rt.call_blocking(move || {
                    begun.open();
                    driver.block_on(inside.pass());
                    ends.open();
                });
                let handle = executor.execute(guard_call(body, OnDrop(gone)));
                started.pass().await;
                if aborts {
                    handle.abort_handle().abort();
                } else {
                    drop(handle);
                }
                done.pass().await;
            }
        }
    });
}

fn aborting_from_elsewhere<R: Runtime>(rt: R) {
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            let started = Gate::default();
            let inside = started.clone();
            let handle = executor.execute(async move {
                inside.open();
                pending::<()>().await;
            });
            let abort = handle.abort_handle();
            started.pass().await;
            abort.abort();
            assert!(handle.await.unwrap_err().is_cancelled());
            assert!(abort.is_finished());
            // And by the handle itself, which waits for the end.
            let handle = executor.execute(pending::<()>());
            assert!(handle.cancel().await.unwrap_err().is_cancelled());
        }
    });
}

fn detached_work_runs_on<R: Runtime>(rt: R) {
    run(&rt, async {
        for model in Model::ALL {
            let executor = Executor::new(rt.clone(), model);
            let (go, done) = (Gate::default(), Gate::default());
            let inside = (go.clone(), done.clone());
            executor
                .execute(async move {
                    inside.0.pass().await;
                    inside.1.open();
                })
                .detach();
            go.open();
            done.pass().await;
        }
    });
}

fn what_is_short_runs_in_place_in_one_model_only<R: Runtime>(rt: R) {
    run(&rt, async {
        let generous = Executor::builder(rt.clone())
            .model(Model::Async)
            .budget(fourway_testing::AGES)
            .build();
        assert_eq!(
            generous.execute(short(current)).await.unwrap(),
            Context::Async
        );
        assert_eq!(generous.overruns(), 0);
        let other = generous.with_model(Model::Route);
        assert_eq!(
            other.execute(short(current)).await.unwrap(),
            Context::Blocking
        );
        assert_eq!(
            (generous.model(), other.model()),
            (Model::Async, Model::Route)
        );
    });
}

fn what_is_not_short_is_reported_while_it_runs_and_when_it_ends<R: Runtime>(rt: R) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let executor = Executor::builder(rt.clone())
        .model(Model::Async)
        .budget(Duration::from_millis(1))
        .on_overrun({
            let reports = reports.clone();
            move |overrun| reports.lock().unwrap().push(overrun.clone())
        })
        .build();
    let gate = Gate::default();
    let inside = gate.clone();
    let line = line!() + 1;
    let handle = executor.execute(short(move || inside.wait()));
    // It keeps its thread until the report was seen.
    eventually("a report while it runs", || {
        reports.lock().unwrap().len() == 1
    });
    gate.open();
    run(&rt, handle).unwrap();
    let reports = reports.lock().unwrap();
    let ended: Vec<_> = reports.iter().map(|report| report.ended).collect();
    assert_eq!(ended, [false, true]);
    for report in &*reports {
        assert!(report.elapsed > report.budget);
        assert_eq!(report.metadata.location().line(), line);
        assert!(
            report.to_string().contains("an executor's thread for"),
            "{report}"
        );
    }
    assert_eq!(executor.overruns(), 1);
}

fn after_a_shutdown<R: Runtime>(rt: R) {
    // The global runtime cannot be shut down; it is not among these.
    rt.shutdown(fourway_testing::AGES)
        .expect("this one can be shut down");
    let count = Arc::new(AtomicUsize::new(0));
    for model in Model::ALL {
        let executor = Executor::new(rt.clone(), model);
        let counts = || {
            let count = count.clone();
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (one, two, three) = (counts(), counts(), counts());
        let closure = executor.execute(one);
        let future = executor.execute(async move { two() });
        let short = executor.execute(short(three));
        assert!(closure.wait().unwrap_err().is_shutdown());
        assert!(future.wait().unwrap_err().is_shutdown());
        assert!(short.wait().unwrap_err().is_shutdown());
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn models_have_names() {
    for model in Model::ALL {
        assert_eq!(model.to_string().parse(), Ok(model));
    }
    let error = "threads".parse::<Model>().unwrap_err().to_string();
    assert!(
        error.contains("`threads`") && error.contains("`route`"),
        "{error}"
    );
}
