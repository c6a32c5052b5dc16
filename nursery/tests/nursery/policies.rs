//! Nurseries on every runtime: supervisors.

use std::future::pending;

use fourway_nursery::{Failure, Nursery, NurseryError};
use fourway_testing::{Counter, each, panic_quietly, run};

use crate::Result;

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
fn failures_that_are_taken_are_failures_all_the_same_unless_it_supervises() {
    each(|rt| {
        let taken = Counter::default();
        let builder = || {
            let count = taken.clone();
            Nursery::builder(&rt).on_failure(move |_: Failure<String>| {
                count.add();
            })
        };
        let fail = async || Err::<u32, _>(String::from("on purpose"));
        let is_counted = |error: NurseryError<String>, count: usize| {
            assert!(!error.is_cancelled(), "{error:?}");
            assert_eq!((error.failures().len(), error.not_kept()), (0, count));
        };
        let ended: Result<()> = run(
            &rt,
            builder().run(async |n| {
                n.spawn(fail());
                Ok(())
            }),
        );
        is_counted(ended.unwrap_err(), 1);
        let cut: Result<()> = run(
            &rt,
            builder().run(async |n| {
                n.spawn(fail());
                pending().await
            }),
        );
        is_counted(cut.unwrap_err(), 1);
        let none: Result<u32> = run(
            &rt,
            builder().first_success(async |n| {
                n.spawn(fail()).await;
                n.spawn(fail()).await;
                Ok(())
            }),
        );
        is_counted(none.unwrap_err(), 2);
        let all: Result<Vec<u32>> = run(
            &rt,
            builder().try_collect(async |n| {
                n.spawn(fail()).await;
                Ok(())
            }),
        );
        is_counted(all.unwrap_err(), 1);
        assert_eq!(taken.get(), 5);
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
