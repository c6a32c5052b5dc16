//! Nurseries on every runtime: outputs: of all, in order, as they come, or of the first.

use std::{future::pending, time::Duration};

use fourway_core::{Timer, yield_now};
use fourway_nursery::{Failure, Nursery, nursery};
use fourway_testing::{AGES, Counter, Gate, each, panic_quietly, run};

use crate::{Result, forever};

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
