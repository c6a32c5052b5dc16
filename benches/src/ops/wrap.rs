//! The overhead of the adapters: the wrapped and the native runtime, which are the *same*
//! runtime.

use std::{hint::black_box, sync::Arc};

use fourway_core::{AnyRuntime, Spawner};

use super::{does, spawn::OneByOne, timed};
use crate::{
    operation::Operation,
    peers::{self, Started, Tasks},
    promise::Promise,
};

const SECTION: &str = "What wrapping costs";

/// The promise for the wrapper, and for the erased wrapper.
const WRAPPED: f64 = 1.05;
const ERASED: f64 = 1.3;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "spawn + join, Tokio multi-thread", 20_000, |_| {
            let native = peers::tokio()?;
            let runtime = fourway_tokio::Tokio::from_handle(native.peer.0.clone());
            Ok(vec![
                does(native, OneByOne),
                does(Started::ours("fourway", runtime.clone(), ()), OneByOne),
                does(
                    Started::ours("AnyRuntime", AnyRuntime::new(runtime), ()),
                    OneByOne,
                ),
            ])
        })
        .promise(Promise::ratio("fourway", "Tokio", WRAPPED))
        .promise(Promise::ratio("AnyRuntime", "Tokio", ERASED)),
        Operation::new(
            SECTION,
            "spawn + join, Tokio current-thread",
            20_000,
            |_| {
                let native = Arc::new(tokio::runtime::Builder::new_current_thread().build()?);
                let runtime = fourway_tokio::Tokio::from_handle(native.handle().clone());
                let started = |name, ours| Started::new(name, ours, native.clone(), ());
                let wrapped = runtime.clone();
                let erased = AnyRuntime::new(runtime);
                Ok(vec![
                    timed(started("Tokio", false), |native, times| {
                        native.block_on(async {
                            for _ in 0..times {
                                let task = tokio::spawn(async { black_box(1_u64) });
                                black_box(task.await.expect("no task panics"));
                            }
                        });
                    }),
                    timed(started("fourway", true), move |native, times| {
                        native.block_on(one_by_one(&wrapped, times));
                    }),
                    timed(started("AnyRuntime", true), move |native, times| {
                        native.block_on(one_by_one(&erased, times));
                    }),
                ])
            },
        )
        .promise(Promise::ratio("fourway", "Tokio", WRAPPED))
        .promise(Promise::ratio("AnyRuntime", "Tokio", ERASED)),
        Operation::new(
            SECTION,
            "spawn + join, smol's global executor",
            20_000,
            |_| {
                let native = Started::new("smol", false, Global, ());
                let runtime = fourway_smol::Smol::global();
                Ok(vec![
                    does(native, OneByOne),
                    does(Started::ours("fourway", runtime.clone(), ()), OneByOne),
                    does(
                        Started::ours("AnyRuntime", AnyRuntime::new(runtime), ()),
                        OneByOne,
                    ),
                ])
            },
        )
        .note("with one thread, which is smol's default")
        .promise(Promise::ratio("fourway", "smol", 1.10))
        .promise(Promise::ratio("AnyRuntime", "smol", ERASED)),
        Operation::new(SECTION, "spawn + join, std-thread", 20_000, |_| {
            let threads = peers::threads()?;
            let runtime = AnyRuntime::new(threads.peer.0.clone());
            Ok(vec![
                // The baseline, so it takes the place of the peer.
                does(
                    Started {
                        ours: false,
                        ..threads
                    }
                    .named("std-thread"),
                    OneByOne,
                ),
                does(Started::ours("AnyRuntime", runtime, ()), OneByOne),
            ])
        })
        .promise(Promise::ratio("AnyRuntime", "std-thread", 1.40)),
    ]
}

async fn one_by_one<R: Spawner>(runtime: &R, times: u32) {
    for _ in 0..times {
        let task = runtime.spawn(async { black_box(1_u64) });
        black_box(task.await.expect("no task panics"));
    }
}

/// smol's global executor.
#[derive(Clone, Copy, Debug)]
struct Global;

impl Tasks for Global {
    type Join<T: Send + 'static> = smol::Task<T>;

    #[inline]
    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        smol::spawn(future)
    }

    #[inline]
    fn output<T: Send + 'static>(joined: T) -> T {
        joined
    }

    #[inline]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }
}
