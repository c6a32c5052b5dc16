//! Children are known by the line at which they were spawned, and by their names.

use fourway_core::{Call, JoinError, Runtime, Shutdown};
use fourway_nursery::{
    ChildError, Failure, JoinSet, Nursery, NurseryError, StartError, Started, SyncNursery,
};
use fourway_testing::{AGES, each, panic_quietly, run};

/// What the error of a panicked child tells: its name, if it has one, and the line that spawned it.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: Option<String>,
    line: u32,
}

fn known(name: Option<&str>, line: u32) -> Known {
    Known {
        name: name.map(str::to_owned),
        line,
    }
}

fn of_error(error: &JoinError) -> Known {
    let at = error.location().expect("it says where it was spawned");
    assert_eq!(at.file(), file!(), "the user's line: {error}");
    assert_eq!(
        error.id().is_some(),
        error.name().is_some(),
        "a name comes with a number: {error}"
    );
    known(error.name(), at.line())
}

fn of_failure(failure: &Failure<String>) -> Known {
    match failure {
        Failure::Join(error) => of_error(error),
        Failure::Error(error) => panic!("not a panic: {error}"),
    }
}

/// All children that have failed, in the order of their lines.
fn all(error: &NurseryError<String>) -> Vec<Known> {
    let mut all: Vec<_> = error.failures().iter().map(of_failure).collect();
    all.sort_by_key(|known| known.line);
    all
}

fn boom() -> Result<(), String> {
    panic_quietly("boom")
}

async fn booms() -> Result<(), String> {
    boom()
}

#[test]
fn whatever_spawns_a_child_its_panic_names_the_line_and_the_name() {
    each(|rt| {
        let mut wanted = Vec::new();
        let error = run(&rt, async {
            let supervised = Nursery::<_, String>::builder(&rt).supervise();
            supervised
                .run(async |n| {
                    let mut add = |name, line| wanted.push(known(name, line));
                    n.spawn(booms());
                    add(None, line!() - 1);
                    n.offload(boom);
                    add(None, line!() - 1);
                    n.call(n.runtime().call_blocking(boom));
                    add(None, line!() - 1);
                    n.try_spawn(booms()).unwrap();
                    add(None, line!() - 1);
                    n.reserve().await.unwrap().spawn(booms()).unwrap();
                    add(None, line!() - 1);
                    n.handle().spawn(booms()).unwrap();
                    add(None, line!() - 1);
                    n.named("task").spawn(booms());
                    add(Some("task"), line!() - 1);
                    let named = n.named(String::from("closure"));
                    named.offload(boom);
                    add(Some("closure"), line!() - 1);
                    named.without_context().call(n.runtime().call(booms()));
                    add(Some("closure"), line!() - 1);
                    n.handle().named("handle").offload(boom).unwrap();
                    add(Some("handle"), line!() - 1);
                    let place = n.named("place").reserve().await.unwrap();
                    place.offload(boom).unwrap();
                    add(Some("place"), line!() - 1);
                    let child = n.named("joined").spawn_handle(booms());
                    let error = child.await.unwrap_err();
                    let failure = error.failure().expect("the nursery supervises");
                    assert_eq!(of_failure(failure), known(Some("joined"), line!() - 3));
                    Ok(())
                })
                .await
                .unwrap_err()
        });
        assert_eq!(all(&error), wanted);
    });
}

#[test]
fn a_child_that_waits_in_line_is_known_by_the_line_that_spawned_it() {
    each(|rt| {
        let mut line = 0;
        let error = run(&rt, async {
            let limited = Nursery::<_, String>::builder(&rt).supervise().limit(1);
            limited
                .run(async |n| {
                    n.spawn(async { Ok(()) });
                    n.named("second").spawn(booms());
                    line = line!() - 1;
                    n.named("third").offload(boom);
                    Ok(())
                })
                .await
                .unwrap_err()
        });
        let both = [known(Some("second"), line), known(Some("third"), line + 2)];
        assert_eq!(all(&error), both);
    });
}

/// The closure that a call puts on the pool has a line of its own: that of the caller, though the
/// call is used later. A pool that is shut down shows it.
#[test]
fn the_body_of_a_call_that_waits_in_line_is_known_by_that_line_too() {
    let gone = fourway_std_thread::StdThread::new().unwrap();
    gone.shutdown(AGES).unwrap();
    each(|rt| {
        let mut lines = Vec::new();
        let error = run(&rt, async {
            let limited = Nursery::<_, String>::builder(&rt).supervise().limit(1);
            limited
                .run(async |n| {
                    let place = n.reserve().await.unwrap();
                    n.call(gone.call_blocking(|| Ok(())));
                    lines.push(line!() - 1);
                    n.handle().call(gone.call_blocking(|| Ok(()))).unwrap();
                    lines.push(line!() - 1);
                    let results = n.results();
                    results.call(gone.call_blocking(|| Ok(())).map_ok(|()| ()));
                    lines.push(line!() - 1);
                    drop(results);
                    drop(place);
                    Ok(())
                })
                .await
                .unwrap_err()
        });
        let failures = error.failures().iter().map(Failure::to_string);
        let failures: Vec<String> = failures.collect();
        assert_eq!(failures.len(), lines.len(), "{failures:?}");
        // They fail in any order, and text is not in the order of the numbers in it.
        for line in lines {
            let awaited = format!("Awaited at {}:{line}:", file!());
            let telling = failures.iter().filter(|text| text.contains(&awaited));
            assert_eq!(telling.count(), 1, "{awaited} in {failures:?}");
        }
    });
}

#[test]
fn one_that_is_started_is_too() {
    each(|rt| {
        run(&rt, async {
            let ended = Nursery::<_, String>::builder(&rt).run(async |n| {
                let body = |_: Started<()>| booms();
                let started = n.named("server").start(body).await;
                match started {
                    Err(StartError::Failed(failure)) => {
                        assert_eq!(of_failure(&failure), known(Some("server"), line!() - 3));
                    }
                    other => panic!("it has panicked: {other:?}"),
                }
                Ok(())
            });
            ended.await.unwrap();
        });
    });
}

/// Children whose outputs are collected.
#[test]
fn and_those_of_collections_and_results() {
    fn of_child<T>(result: &Result<T, ChildError<String>>) -> Known {
        let error = result.as_ref().err().expect("it has panicked");
        of_failure(error.failure().expect("it is a result"))
    }
    each(|rt| {
        run(&rt, async {
            let mut line = 0;
            let builder = Nursery::<_, String>::builder(&rt);
            let collected = builder.collect::<()>(async |n| {
                n.spawn(booms());
                line = line!() - 1;
                n.named("second").offload(boom);
                Ok(())
            });
            let collected = collected.await.unwrap();
            assert_eq!(of_child(&collected[0]), known(None, line));
            assert_eq!(of_child(&collected[1]), known(Some("second"), line + 2));

            let ended = Nursery::<_, String>::builder(&rt).run(async |n| {
                let mut results = n.results::<()>();
                results.named("read").offload(boom);
                let result = results.next().await.unwrap();
                assert_eq!(of_child(&result), known(Some("read"), line!() - 2));
                Ok(())
            });
            ended.await.unwrap();

            let builder = Nursery::<_, String>::builder(&rt);
            let first = builder.first_success::<()>(async |n| {
                n.named("first").spawn(booms());
                line = line!() - 1;
                Ok(())
            });
            assert_eq!(all(&first.await.unwrap_err()), [known(Some("first"), line)]);
        });
    });
}

#[test]
fn those_of_sync_nurseries_as_well() {
    each(|rt| {
        let mut line = 0;
        let builder = SyncNursery::<String>::builder(&rt).supervise();
        let error = builder
            .run(|n| {
                n.spawn(boom);
                line = line!() - 1;
                n.named("named").spawn(boom);
                n.named("tried").try_spawn(boom).unwrap();
                let child = n.named("joined").spawn_handle(boom).join();
                let error = child.unwrap_err();
                let failure = error.failure().expect("the nursery supervises");
                assert_eq!(of_failure(failure), known(Some("joined"), line!() - 3));
                Ok(())
            })
            .unwrap_err();
        let wanted = [
            known(None, line),
            known(Some("named"), line + 2),
            known(Some("tried"), line + 3),
        ];
        assert_eq!(all(&error), wanted);
        let collected = SyncNursery::<String>::builder(&rt).collect::<()>(|n| {
            n.named("collected").spawn(boom);
            line = line!() - 1;
            Ok(())
        });
        let collected = collected.unwrap();
        let error = collected[0].as_ref().unwrap_err();
        let failure = error.failure().expect("it is a result");
        assert_eq!(of_failure(failure), known(Some("collected"), line));
    });
}

#[test]
fn and_the_tasks_of_a_set() {
    each(|rt| {
        run(&rt, async {
            let mut set = JoinSet::on(rt.clone());
            set.spawn(async { panic_quietly("boom") });
            let line = line!() - 1;
            let next = async |set: &mut JoinSet<(), _>| {
                of_error(&set.join_next().await.unwrap().unwrap_err())
            };
            assert_eq!(next(&mut set).await, known(None, line));
            set.spawn_named("task", async { panic_quietly("boom") });
            assert_eq!(next(&mut set).await, known(Some("task"), line!() - 1));
            set.spawn_blocking_named("closure", || panic_quietly("boom"));
            assert_eq!(next(&mut set).await, known(Some("closure"), line!() - 1));
            set.spawn_on(async { panic_quietly("boom") }, &rt);
            assert_eq!(next(&mut set).await, known(None, line!() - 1));
            set.spawn_blocking_on(|| panic_quietly("boom"), &rt);
            assert_eq!(next(&mut set).await, known(None, line!() - 1));
            set.spawn_named("aborted", std::future::pending()).abort();
            assert_eq!(next(&mut set).await, known(Some("aborted"), line!() - 1));
        });
    });
}
