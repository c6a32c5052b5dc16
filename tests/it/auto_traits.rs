//! What the compiler finds out about public types, and callers rely on: handles cross threads and
//! `catch_unwind`.

use std::panic::{RefUnwindSafe, UnwindSafe};

use fourway::{
    AbortHandle, AnyOffloadTask, AnyRuntime, AnyTask, BlockOnError, JoinError, Spawner,
    TryOffloadError,
    call::CallError,
    cancel::CancellationToken,
    layer::{Parked, Propagate},
    prelude::*,
    smol::Smol,
    std_thread::StdThread,
    tokio::Tokio,
    values::Values,
};

fn shared<T: Send + Sync + Unpin>() {}
fn unwinds<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

type TaskOf<R> = <R as Spawner>::Task<u8>;
type ClosureOf<R> = <R as Offload>::OffloadTask<u8>;

#[test]
fn handles_cross_threads_and_catch_unwind() {
    unwinds::<AnyRuntime>();
    unwinds::<StdThread>();
    unwinds::<Tokio>();
    unwinds::<Smol>();
    unwinds::<Propagate<AnyRuntime>>();
    unwinds::<Parked<StdThread>>();
    unwinds::<CancellationToken>();
    unwinds::<AbortHandle>();
    shared::<Values>();
    shared::<(JoinError, CallError, BlockOnError, TryOffloadError<fn()>)>();
    unwinds::<(AnyTask<u8>, AnyOffloadTask<u8>)>();
    unwinds::<(TaskOf<StdThread>, ClosureOf<StdThread>)>();
    unwinds::<(TaskOf<Tokio>, ClosureOf<Tokio>)>();
    unwinds::<(TaskOf<Smol>, ClosureOf<Smol>)>();
}

/// BL-1, block_on polls on the calling thread: a panic leaves the runtime as it was.
#[test]
fn a_runtime_outside_of_catch_unwind_is_usable_after_it() {
    crate::support::every(|rt| {
        let caught = std::panic::catch_unwind(|| {
            rt.block_on(async { std::panic::resume_unwind(Box::new("expected")) })
        });
        let payload: Result<(), _> = caught;
        assert!(payload.is_err());
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    });
}
