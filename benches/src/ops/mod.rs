//! The operations, a file a kind.

mod block_on;
mod execute;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod jobs;
mod latency;
mod limits;
pub(crate) mod memory;
mod nursery;
mod offload;
mod round_trip;
mod size;
mod skills;
mod smart_async;
mod spawn;
mod start;
mod streams;
mod timers;
mod wake;
mod wrap;

use std::{io, time::Instant};

use crate::{
    operation::{Contender, Operation},
    peers::{self, Started, Tasks},
};

/// All of them, in the order in which they are measured and shown.
pub(crate) fn all() -> Vec<Operation> {
    [
        block_on::before_tokio(),
        spawn::operations(),
        wake::operations(),
        round_trip::operations(),
        offload::operations(),
        latency::operations(),
        timers::operations(),
        growth::operations(),
        memory::operations(),
        idle::operations(),
        start::operations(),
        size::operations(),
        wrap::operations(),
        block_on::with_tokio(),
        nursery::operations(),
        execute::operations(),
        jobs::operations(),
        limits::operations(),
        skills::operations(),
        streams::operations(),
        smart_async::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An operation that needs only tasks.
trait Job: Copy + 'static {
    fn run<P: Tasks>(self, peer: &P, times: u32);
}

/// All contenders that run tasks.
fn every(job: impl Job) -> io::Result<Vec<Contender>> {
    Ok(vec![
        does(peers::tokio()?, job),
        does(peers::smol()?, job),
        does(peers::async_executor()?, job),
        does(peers::futures_pool()?, job),
        does(peers::threads()?, job),
        does(peers::threads()?.erased("AnyRuntime(fourway)"), job),
        does(peers::on_tokio()?, job),
        does(peers::on_smol()?, job),
    ])
}

/// And the other crates that abstract over runtimes.
#[cfg(feature = "peers")]
fn with_wrappers(mut contenders: Vec<Contender>, job: impl Job) -> io::Result<Vec<Contender>> {
    contenders.extend([
        does(peers::agnostic()?, job),
        does(peers::async_executors()?, job),
        does(peers::async_rt()?, job),
    ]);
    Ok(contenders)
}

#[cfg(not(feature = "peers"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "it can fail with the feature `peers`"
)]
fn with_wrappers(contenders: Vec<Contender>, _: impl Job) -> io::Result<Vec<Contender>> {
    Ok(contenders)
}

fn does<P: Tasks>(peer: Started<P>, job: impl Job) -> Contender {
    timed(peer, move |peer, times| job.run(peer, times))
}

/// A contender that is a loop, and whose mean time is measured.
fn plain(name: &'static str, ours: bool, run: impl Fn(u32) + 'static) -> Contender {
    timed(Started::new(name, ours, run, ()), |run, times| run(times))
}

/// A contender whose mean time is measured.
fn timed<P: 'static>(peer: Started<P>, run: impl Fn(&P, u32) + 'static) -> Contender {
    measured(peer, move |peer, times| {
        let start = Instant::now();
        run(peer, times);
        vec![start.elapsed().as_nanos() as f64 / f64::from(times)]
    })
}

/// A contender that measures by itself.
fn measured<P: 'static>(
    started: Started<P>,
    run: impl Fn(&P, u32) -> Vec<f64> + 'static,
) -> Contender {
    let Started {
        name,
        ours,
        peer,
        owner,
    } = started;
    Contender::new(name, ours, move |times| {
        // The peer's runtime lives as long as the closure.
        let _ = &owner;
        Ok(run(&peer, times))
    })
}
