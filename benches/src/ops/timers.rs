//! Timers.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{measured, timed};
use crate::{
    operation::{Contender, Metric, Operation, nanoseconds},
    peers::{self, Started, Tasks, Time},
    statistics::{median, quantile},
};

const SECTION: &str = "Timers";

const LATENESS: &[Metric] = &[nanoseconds("median lateness"), nanoseconds("p99 lateness")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "set a timer and drop it", 20_000, |_| {
            every(Kind::Dropped)
        })
        .note("as a timeout that does not strike: made, polled once, dropped"),
        Operation::new(SECTION, "sleep 1 ms", 100, |_| every(Kind::Sleep))
            .metrics(LATENESS)
            .note("how much later than asked the task goes on"),
        Operation::new(SECTION, "10k timers due at once", 10_000, |_| {
            every(Kind::Many)
        })
        .note(
            "10,000 tasks sleep 10 ms each; from the first spawn to the last join, less the 10 \
             ms, for one",
        ),
    ]
}

#[derive(Clone, Copy)]
enum Kind {
    Dropped,
    Sleep,
    Many,
}

fn every(kind: Kind) -> io::Result<Vec<Contender>> {
    Ok(vec![
        contender(peers::tokio()?, kind),
        contender(peers::smol()?, kind),
        contender(peers::threads()?, kind),
        contender(peers::on_tokio()?, kind),
        contender(peers::on_smol()?, kind),
    ])
}

fn contender<P: Tasks + Time>(peer: Started<P>, kind: Kind) -> Contender {
    match kind {
        Kind::Dropped => timed(peer, dropped),
        Kind::Sleep => measured(peer, sleep),
        Kind::Many => measured(peer, many),
    }
}

fn dropped<P: Tasks + Time>(peer: &P, times: u32) {
    let inner = peer.clone();
    peer.in_task(async move {
        for _ in 0..times {
            let sleep = inner.sleep(Duration::from_secs(60));
            assert!(futures_lite::future::poll_once(sleep).await.is_none());
        }
    });
}

fn sleep<P: Tasks + Time>(peer: &P, times: u32) -> Vec<f64> {
    const ASKED: Duration = Duration::from_millis(1);
    let inner = peer.clone();
    let late = peer.in_task(async move {
        let mut late = Vec::with_capacity(times as usize);
        for _ in 0..times {
            let start = Instant::now();
            inner.sleep(ASKED).await;
            late.push((start.elapsed().saturating_sub(ASKED)).as_nanos() as f64);
        }
        late
    });
    vec![
        median(late.iter().copied()),
        quantile(late.iter().copied(), 0.99),
    ]
}

fn many<P: Tasks + Time>(peer: &P, times: u32) -> Vec<f64> {
    const ASKED: Duration = Duration::from_millis(10);
    let inner = peer.clone();
    let took = peer.in_task(async move {
        let start = Instant::now();
        let tasks: Vec<_> = (0..times)
            .map(|_| {
                let time = inner.clone();
                inner.spawn(async move { time.sleep(ASKED).await })
            })
            .collect();
        for task in tasks {
            P::output(task.await);
        }
        start.elapsed().saturating_sub(ASKED)
    });
    vec![took.as_nanos() as f64 / f64::from(times)]
}
