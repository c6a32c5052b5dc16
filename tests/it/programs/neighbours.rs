//! Calls in the hands of other crates. A function that takes anything that can be awaited takes a
//! call. A function that asks for a `Future` takes `call.into_future()`.

use std::time::Duration;

use fourway::{AnyRuntime, call::Call, prelude::*};

use crate::support::every;

fn calls(
    rt: &AnyRuntime,
) -> (
    impl Call<Output = u32> + use<>,
    impl Call<Output = u32> + use<>,
) {
    (rt.call(async { 1 }), rt.call_blocking(|| 2))
}

#[tokio::test]
async fn in_macros_and_functions_of_tokio() {
    let rt = fourway::default_runtime();
    let (first, second) = calls(&rt);
    assert_eq!(tokio::join!(first, second), (1, 2));
    let (first, second) = calls(&rt);
    let one_of_them = tokio::select! {
        n = first => n,
        n = second => n,
    };
    assert!([1, 2].contains(&one_of_them));
    let (first, second) = calls(&rt);
    let limit = Duration::from_secs(60);
    assert_eq!(tokio::time::timeout(limit, first).await.unwrap(), 1);
    assert_eq!(tokio::spawn(second.into_future()).await.unwrap(), 2);
    let (first, second) = calls(&rt);
    let local = tokio::task::LocalSet::new();
    let in_it = local.run_until(async move { first.await + second.await });
    assert_eq!(in_it.await, 3);
}

#[test]
fn in_functions_of_smol() {
    every(|rt| {
        let (first, second) = calls(&rt);
        let both = smol::future::zip(first.into_future(), second.into_future());
        assert_eq!(smol::block_on(both), (1, 2));
        let (first, second) = calls(&rt);
        let task = smol::spawn(first.into_future());
        let sum = async move { task.await + second.await };
        assert_eq!(smol::block_on(sum), 3);
    });
}

#[test]
fn each_runtime_drives_the_others_calls() {
    every(|driver| {
        every(|rt| {
            let (first, second) = calls(&rt);
            let sum = driver.block_on(async move { first.await + second.await });
            assert_eq!(sum, 3);
            let (first, second) = calls(&rt);
            let all = driver.call_all([first.boxed(), second.boxed()]);
            assert_eq!(driver.block_on(all.spawn()).unwrap(), [1, 2]);
        });
    });
}
