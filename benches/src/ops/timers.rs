//! Timers.

use std::{
    cell::OnceCell,
    future::Future,
    io,
    pin::Pin,
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
        Operation::new(SECTION, "the same, a million pending", 20_000, |_| {
            every(Kind::Crowded)
        })
        .note("beside 1,000,000 timers that wait for an hour and more"),
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
    Crowded,
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
        Kind::Crowded => {
            let crowd = OnceCell::new();
            timed(peer, move |peer, times| {
                crowd.get_or_init(|| pending(peer, 1_000_000));
                dropped(peer, times);
            })
        }
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

/// Timers that have been polled once, and are due in an hour, one after the other.
fn pending<P: Tasks + Time>(
    peer: &P,
    timers: u32,
) -> Vec<Pin<Box<dyn Future<Output = ()> + Send>>> {
    let inner = peer.clone();
    peer.in_task(async move {
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for number in 0..timers {
            let time = Duration::from_secs(3600) + Duration::from_micros(number.into());
            let mut sleep = Box::pin(inner.sleep(time));
            assert!(futures_lite::future::poll_once(&mut sleep).await.is_none());
            all.push(sleep);
        }
        all
    })
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
