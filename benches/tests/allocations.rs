//! The allocations of the wrappers, counted exactly.
//!
//! One test: the counter is the process's, and tests run at the same time. Each
//! operation runs on a current-thread runtime or an executor that this thread
//! drives, so that no other thread allocates meanwhile.

use std::{future::Future, hint::black_box};

use fourway_adapt::async_task;
use fourway_core::{
    AnyRuntime, BlockOn, BoxCall, Call, Runtime, Spawner, call::Either, task::Metadata,
};
use fourway_testing::Counting;
use fourway_tokio::Tokio;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread in the 100 runs after the first 1,000.
fn steady(mut run: impl FnMut()) -> usize {
    (0..1_000).for_each(|_| run());
    let before = Counting::of_this_thread();
    (0..100).for_each(|_| run());
    Counting::of_this_thread() - before
}

async fn steady_async<F: Future>(mut run: impl FnMut() -> F) -> usize {
    for _ in 0..1_000 {
        black_box(run().await);
    }
    let before = Counting::of_this_thread();
    for _ in 0..100 {
        black_box(run().await);
    }
    Counting::of_this_thread() - before
}

#[test]
fn wrappers_allocate_no_more_than_what_they_wrap() {
    // Tokio.
    let native = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let wrapped = Tokio::from_handle(native.handle().clone());
    let any = AnyRuntime::new(wrapped.clone());
    let (raw, ours, erased) = native.block_on(async {
        (
            steady_async(|| tokio::spawn(async { black_box(1) })).await,
            steady_async(|| wrapped.spawn(async { black_box(1) })).await,
            steady_async(|| any.spawn(async { black_box(1) })).await,
        )
    });
    println!("spawn + join, Tokio, 100 times: native {raw}, fourway {ours}, AnyRuntime {erased}");
    assert_eq!(ours, raw);
    // A small future, its output and the handle need no box.
    assert_eq!(erased, raw);
    let erased = native.block_on(steady_async(|| {
        let (large, any) = (black_box([1_u64; 16]), any.clone());
        any.spawn(async move { black_box(large).len() })
    }));
    assert_eq!(erased, raw + 100, "a future that is too large, 100 times");

    // smol: an executor that this thread drives, with the handle of the adapter.
    let executor = smol::Executor::new();
    let (raw, ours) = smol::block_on(executor.run(async {
        (
            steady_async(|| executor.spawn(async { black_box(1) })).await,
            steady_async(|| {
                async_task::spawn(Metadata::caller(), async { black_box(1) }, None, |task| {
                    executor.spawn(task)
                })
            })
            .await,
        )
    }));
    println!("spawn + join, smol, 100 times: native {raw}, fourway {ours}");
    assert_eq!(ours, raw);

    // Calls.
    let none = steady(|| {
        black_box(wrapped.call_blocking(|| black_box(1)).wait());
    });
    assert_eq!(none, 0, "`.wait()` of a blocking call");
    let none = native.block_on(steady_async(|| {
        let call = wrapped.call(async { black_box(1) });
        async { call.await }
    }));
    assert_eq!(none, 0, "`.await` of an async call");
    let none = steady(|| {
        let call: Either<_, BoxCall<u32>> = Either::Left(wrapped.call_blocking(|| black_box(1)));
        black_box(call.map(|n| n + 1).wait());
    });
    assert_eq!(none, 0, "`.wait()` of one of two calls, mapped");
    let none = native.block_on(steady_async(|| {
        let (again, third) = (wrapped.clone(), wrapped.clone());
        let call = wrapped
            .call(async { Ok(black_box(1)) })
            .and_then(move |n: u32| again.call(async move { Err::<u32, u32>(n) }))
            .or_else(move |n| third.call_ready(Ok::<u32, u32>(n)));
        async { call.await }
    }));
    assert_eq!(none, 0, "`.await` of three async calls in a row");
    let each = steady(|| {
        black_box(wrapped.call_blocking(|| black_box(1)).boxed().wait());
    });
    assert_eq!(each, 100, "a boxed call that is waited for, 100 times");
    let threads = fourway_std_thread::StdThread::builder()
        .worker_threads(1)
        .build()
        .unwrap();
    let none = steady(|| {
        black_box(threads.block_on(async { black_box(1) }));
    });
    assert_eq!(none, 0, "`block_on` of a ready future, from the second on");
    let inner = threads.clone();
    let counting = async move { steady_async(|| inner.spawn(async { black_box(1) })).await };
    let each = threads.block_on(threads.spawn(counting)).unwrap();
    assert_eq!(each, 100, "spawn + join, std-thread, 100 times");
}
