//! Operations without another thread: driving a ready future, and calls in place.
//!
//! Once the process has used the Tokio adapter, each check of the context also asks Tokio. The
//! promised ratios are for processes that have not used it, so these operations come first.

use std::{
    future::Future,
    hint::black_box,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use fourway_core::{BlockOn, Call, Runtime, context};
use fourway_std_thread::StdThread;

use super::plain;
use crate::{
    operation::{Contender, Operation},
    peers,
    promise::Promise,
};

const SECTION: &str = "On this thread";
const TOKIO_IN_USE: &str = "On this thread, once the process uses Tokio";

/// Ready at its first poll, which the compiler cannot know.
pub(super) async fn ready() -> u64 {
    struct Opaque;
    impl Future for Opaque {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            black_box(cx);
            black_box(Poll::Ready(()))
        }
    }
    Opaque.await;
    black_box(1)
}

/// Measured before a Tokio runtime exists.
pub(super) fn before_tokio() -> Vec<Operation> {
    let [block_on, seen_through, call] = operations(SECTION, false);
    let promised = |wait| Promise::ratio(wait, "pollster", 3.0);
    vec![
        block_on
            .promise(Promise::ratio("block_on", "pollster", 1.5))
            .promise(Promise::ratio("block_on", "futures-lite", 0.8))
            .promise(promised(".wait(), over a reference"))
            .promise(promised(".wait(), over a handle")),
        seen_through,
        call.promise(Promise::under("context::current()", 5.0)),
    ]
}

pub(super) fn with_tokio() -> Vec<Operation> {
    let [block_on, seen_through, call] = operations(TOKIO_IN_USE, true);
    vec![
        block_on,
        seen_through,
        call.promise(Promise::under("context::current()", 5.0)),
    ]
}

fn operations(section: &'static str, tokio: bool) -> [Operation; 3] {
    const TIMES: u32 = 1_000_000;
    [
        Operation::new(section, "block_on a ready future", TIMES, move |_| {
            block_on(tokio)
        })
        .note("ready at its first poll, which the compiler cannot know"),
        Operation::new(
            section,
            "block_on a future that is seen through",
            TIMES,
            |_| seen_through(),
        )
        .note(
            "the compiler sees that the future is ready: nothing is left of `pollster` but the \
             number",
        ),
        Operation::new(section, "call a blocking body", TIMES, |_| call()),
    ]
}

/// A `'static` reference is a runtime as well, and needs no reference counting. (Methods called on
/// it directly would be those of the handle.)
fn leaked(threads: &StdThread) -> &'static StdThread {
    Box::leak(Box::new(threads.clone()))
}

fn block_on(tokio: bool) -> io::Result<Vec<Contender>> {
    let threads = peers::threads()?.peer.0;
    let (handle, reference) = (threads.clone(), leaked(&threads));
    let mut contenders = vec![
        plain("pollster", false, |times| {
            for _ in 0..times {
                black_box(pollster::block_on(ready()));
            }
        }),
        plain("futures-lite", false, |times| {
            for _ in 0..times {
                black_box(futures_lite::future::block_on(ready()));
            }
        }),
        plain("futures", false, |times| {
            for _ in 0..times {
                black_box(futures_executor::block_on(ready()));
            }
        }),
        plain("smol", false, |times| {
            for _ in 0..times {
                black_box(smol::block_on(ready()));
            }
        }),
        plain("block_on", true, move |times| {
            for _ in 0..times {
                black_box(threads.block_on(ready()));
            }
        }),
        plain(".wait(), over a reference", true, move |times| {
            for _ in 0..times {
                black_box(Runtime::call(&reference, ready()).wait());
            }
        }),
        plain(".wait(), over a handle", true, move |times| {
            for _ in 0..times {
                black_box(handle.call(ready()).wait());
            }
        }),
    ];
    if tokio {
        let native = peers::tokio()?;
        let owner = native.owner;
        let handle = native.peer.0;
        let wrapped = fourway_tokio::Tokio::from_handle(handle.clone());
        contenders.insert(
            0,
            plain("Tokio", false, move |times| {
                let _ = &owner;
                for _ in 0..times {
                    black_box(handle.block_on(ready()));
                }
            }),
        );
        contenders.push(plain("block_on of fourway on Tokio", true, move |times| {
            for _ in 0..times {
                black_box(wrapped.block_on(ready()));
            }
        }));
    }
    Ok(contenders)
}

fn seen_through() -> io::Result<Vec<Contender>> {
    let threads = peers::threads()?.peer.0;
    Ok(vec![
        plain("pollster", false, |times| {
            for _ in 0..times {
                black_box(pollster::block_on(async { black_box(1_u64) }));
            }
        }),
        plain(".wait(), over a handle", true, move |times| {
            for _ in 0..times {
                black_box(threads.call(async { black_box(1_u64) }).wait());
            }
        }),
    ])
}

fn call() -> io::Result<Vec<Contender>> {
    let threads = peers::threads()?.peer.0;
    let reference = leaked(&threads);
    Ok(vec![
        plain("a plain call", false, |times| {
            for _ in 0..times {
                black_box((black_box(|| 1_u64))());
            }
        }),
        plain(".wait() of a blocking call", true, move |times| {
            for _ in 0..times {
                black_box(Runtime::call_blocking(&reference, || black_box(1_u64)).wait());
            }
        }),
        plain("context::current()", true, |times| {
            for _ in 0..times {
                black_box(context::current());
            }
        }),
    ])
}
