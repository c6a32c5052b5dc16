//! Structured concurrency: nurseries beside sets of tasks and scopes of threads, and the cost of
//! tokens and context.

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fourway_core::{
    Runtime,
    cancel::{self, CancellationToken},
    values::{Key, Values},
};
use fourway_nursery::{Nursery, NurseryError, nursery, sync_nursery};

use super::{plain, timed};
use crate::{
    operation::{Contender, Operation},
    peers::{self, Fourway, Started, Tasks, WORKERS},
    promise::Promise,
};

const SECTION: &str = "Nurseries";

const SET: &str = "Tokio's JoinSet";
const ON_TOKIO: &str = "nursery on Tokio";
const ON_THREADS: &str = "nursery on std-thread";
const CHECK: &str = "token.check()";

/// The promise for the nursery on the runtime of the set, and on our own.
const SAME_RUNTIME: f64 = 1.15;
const OWN_RUNTIME: f64 = 0.5;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        children("1 child", 1, 5_000),
        children("100 children", 100, 20_000),
        children("100,000 children", 100_000, 100_000),
        Operation::new(SECTION, "100 children, context", 20_000, |_| context())
            .lead()
            .note("on std-thread; with values, a token with a deadline is current as well"),
        Operation::new(SECTION, "8 threads", 800, |_| threads())
            .note("that do nothing; a pool of two threads runs rayon's, the others start eight"),
        Operation::new(SECTION, "a look at a token", 1_000_000, |_| looks())
            .promise(Promise::under(CHECK, 10.0)),
    ]
}

fn children(name: &'static str, size: u32, times: u32) -> Operation {
    Operation::new(SECTION, name, times, move |_| {
        let native = peers::tokio()?;
        let tokio = fourway_tokio::Tokio::from_handle(native.peer.0.clone());
        Ok(vec![
            in_groups(native.named(SET), size, |_, size| set(size)),
            in_groups(Started::ours(ON_TOKIO, tokio, ()), size, without_handles),
            in_groups(peers::threads()?.named(ON_THREADS), size, without_handles),
            in_groups(
                peers::threads()?.named("the same, with handles"),
                size,
                with_handles,
            ),
            in_groups(
                peers::on_smol()?.named("nursery on smol"),
                size,
                without_handles,
            ),
        ])
    })
    .lead()
    .note(
        "a task opens it, spawns all, and waits until all have ended; the figure is for one child",
    )
    .promise(Promise::ratio(ON_TOKIO, SET, SAME_RUNTIME))
    .promise(Promise::ratio(ON_THREADS, SET, OWN_RUNTIME))
}

/// Children in nurseries, or sets, of `size` each; in a task.
fn in_groups<P, F>(
    peer: Started<P>,
    size: u32,
    group: impl Fn(P, u32) -> F + Copy + Send + 'static,
) -> Contender
where
    P: Tasks,
    F: Future<Output = ()> + Send + 'static,
{
    timed(peer, move |peer, times| {
        let (size, inner) = (size.min(times), peer.clone());
        peer.in_task(async move {
            for _ in 0..times / size {
                group(inner.clone(), size).await;
            }
        });
    })
}

type Ended<T = ()> = Result<T, NurseryError<Infallible>>;

async fn child() -> Result<u64, Infallible> {
    Ok(black_box(1))
}

async fn set(size: u32) {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..size {
        set.spawn(child());
    }
    while let Some(joined) = set.join_next().await {
        let _ = black_box(joined.expect("no task panics"));
    }
}

async fn without_handles<R: Runtime>(rt: Fourway<R>, size: u32) {
    let ended: Ended = nursery(&rt.0, async |n| {
        spawn(n, size);
        Ok(())
    })
    .await;
    ended.expect("nothing fails");
}

fn spawn<R: Runtime>(n: &Nursery<R, Infallible>, size: u32) {
    for _ in 0..size {
        n.spawn(child());
    }
}

async fn with_handles<R: Runtime>(rt: Fourway<R>, size: u32) {
    let ended: Ended = nursery(&rt.0, async |n| {
        let handles: Vec<_> = (0..size).map(|_| n.spawn_handle(child())).collect();
        for handle in handles {
            black_box(handle.await.expect("nothing fails"));
        }
        Ok(())
    })
    .await;
    ended.expect("nothing fails");
}

fn context() -> std::io::Result<Vec<Contender>> {
    const SIZE: u32 = 100;
    static REQUEST: Key<u64> = Key::new("request");
    static USER: Key<u64> = Key::new("user");
    let off = peers::threads()?.named("without context");
    Ok(vec![
        // The baseline, so it takes the place of the peer.
        in_groups(Started { ours: false, ..off }, SIZE, async |rt, size| {
            let ended: Ended = nursery(&rt.0, async |n| {
                spawn(&n.without_context(), size);
                Ok(())
            })
            .await;
            ended.expect("nothing fails");
        }),
        in_groups(peers::threads()?.named("no values"), SIZE, without_handles),
        in_groups(
            peers::threads()?.named("two values and a deadline"),
            SIZE,
            async |rt, size| {
                let token = CancellationToken::new();
                let token = token.child_with_timeout(&rt.0, Duration::from_secs(3600));
                let values = Values::current().with(&REQUEST, 1).with(&USER, 2);
                let values = token.attach(values);
                values.scope_future(without_handles(rt, size)).await;
            },
        ),
    ])
}

fn threads() -> std::io::Result<Vec<Contender>> {
    const SIZE: u32 = 8;
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(WORKERS)
        .build()
        .map_err(std::io::Error::other)?;
    let ours = peers::threads()?.named("sync_nursery");
    Ok(vec![
        plain("std::thread::scope", false, |times| {
            for _ in 0..times / SIZE {
                std::thread::scope(|scope| {
                    for _ in 0..SIZE {
                        scope.spawn(|| black_box(1));
                    }
                });
            }
        }),
        timed(
            Started::new("rayon's scope", false, rayon, ()),
            |rayon, times| {
                for _ in 0..times / SIZE {
                    rayon.scope(|scope| {
                        for _ in 0..SIZE {
                            scope.spawn(|_| {
                                black_box(1);
                            });
                        }
                    });
                }
            },
        ),
        timed(ours, |rt, times| {
            for _ in 0..times / SIZE {
                let ended: Ended = sync_nursery(&rt.0, |n| {
                    for _ in 0..SIZE {
                        n.spawn(|| Ok(black_box(1)));
                    }
                    Ok(())
                });
                ended.expect("nothing fails");
            }
        }),
    ])
}

fn looks() -> std::io::Result<Vec<Contender>> {
    let threads = peers::threads()?;
    let token = CancellationToken::new();
    let deadline = token.child_with_timeout(&threads.peer.0, Duration::from_secs(3600));
    let (current, late) = (token.clone(), deadline.clone());
    let flag = AtomicBool::new(false);
    Ok(vec![
        plain("a flag", false, move |times| {
            for _ in 0..times {
                assert!(!black_box(&flag).load(Ordering::Acquire));
            }
        }),
        plain(CHECK, true, move |times| {
            for _ in 0..times {
                assert!(black_box(&token).check().is_ok());
            }
        }),
        plain("the same, with a deadline", true, move |times| {
            for _ in 0..times {
                assert!(black_box(&deadline).check().is_ok());
            }
        }),
        plain("cancel::check()", true, move |times| {
            current.scope(|| {
                for _ in 0..times {
                    assert!(black_box(cancel::check().is_ok()));
                }
            });
        }),
        plain("cancel::check(), with a deadline", true, move |times| {
            late.scope(|| {
                for _ in 0..times {
                    assert!(black_box(cancel::check().is_ok()));
                }
            });
        }),
    ])
}
