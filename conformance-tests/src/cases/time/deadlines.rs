//! TI-1, never early; and no overflow.

use std::{
    future::{pending, poll_fn, ready},
    task::Poll,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Offload, Runtime, Spawner, Task, Timer};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{CountingWaker, drive, poll_once},
};

use super::{LONG, MS};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "TI-1.1", "no sleep is early, from a fraction of a millisecond up",
        "timer wheels round, and some round down", never_early;
        "TI-1.2", "zero and past deadlines are ready at the first poll",
        "a timer that always suspends costs a turn for nothing", due_at_once;
        "TI-1.3", "so are a thousand of them in one poll of a task",
        "a cooperative budget must not make a timer late", due_at_once_many;
        "TI-1.4", "Duration::MAX and other huge durations wait and do not overflow",
        "tokio 4495: huge durations", huge;
        "TI-1.5", "a sleep counts from the call and not from the first poll",
        "futures are made early and polled late", counts_from_call;
        "TI-1.6", "a thousand sleeps at a time all fire, and none early",
        "wheels with many levels lose entries between them", many_sleeps;
        "TI-1.7", "sleep_until a moment that has been waited for is ready; one ahead is not",
        "deadlines are compared with the timer's own clock", until;
    ]
}

fn never_early<S: Setup>(s: S) {
    async fn check<R: Runtime>(rt: &R) {
        for micros in [1, 100, 500, 999, 1000, 1001, 1500, 4999, 12_345] {
            let duration = Duration::from_micros(micros);
            let start = Instant::now();
            rt.sleep(duration).await;
            let slept = start.elapsed();
            assert!(slept >= duration, "{slept:?} for {duration:?}");
            let deadline = Instant::now() + duration;
            rt.sleep_until(deadline).await;
            assert!(Instant::now() >= deadline, "early for {duration:?}");
        }
    }
    let rt = s.build();
    rt.block_on(check(&rt));
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { check(&inner).await }))
        .unwrap();
    drive(check(&rt));
}

fn due_at_once<S: Setup>(s: S) {
    fn check<R: Runtime>(rt: &R) {
        let now = Instant::now();
        let past = now.checked_sub(Duration::from_millis(50)).unwrap_or(now);
        let (waker, _) = CountingWaker::new();
        for sleep in [
            rt.sleep(Duration::ZERO),
            rt.sleep_until(now),
            rt.sleep_until(past),
        ] {
            assert!(poll_once(&mut Box::pin(sleep), &waker).is_ready());
        }
    }
    let rt = s.build();
    check(&rt);
    rt.block_on(async { check(&rt) });
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { check(&inner) })).unwrap();
    let inner = rt.clone();
    rt.block_on(rt.offload(move || check(&inner))).unwrap();
}

fn due_at_once_many<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let task = rt.spawn(poll_fn(move |cx| {
        for n in 0..1000 {
            let mut sleep = Box::pin(inner.sleep(Duration::ZERO));
            assert!(poll_once(&mut sleep, cx.waker()).is_ready(), "the {n}th");
        }
        Poll::Ready(())
    }));
    rt.block_on(task).unwrap();
}

fn huge<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let now = Instant::now();
    for duration in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_millis(u64::MAX),
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(u64::from(u32::MAX)),
        LONG,
    ] {
        let mut sleep = Box::pin(rt.sleep(duration));
        assert!(poll_once(&mut sleep, &waker).is_pending(), "{duration:?}");
        drop(sleep);
        let value = rt.block_on(rt.timeout(duration, ready(5)));
        assert_eq!(value, Ok(5));
        let mut timeout = Box::pin(rt.timeout(duration, pending::<()>()));
        assert!(poll_once(&mut timeout, &waker).is_pending(), "{duration:?}");
        if let Some(deadline) = now.checked_add(duration) {
            let mut sleep = Box::pin(rt.sleep_until(deadline));
            assert!(poll_once(&mut sleep, &waker).is_pending(), "{duration:?}");
        }
    }
    // Other timers go on beside one that is polled in a task.
    let inner = rt.clone();
    let task = rt.spawn(async move { inner.sleep(Duration::MAX).await });
    rt.block_on(rt.sleep(MS));
    assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
}

fn counts_from_call<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let sleep = rt.sleep(10 * MS);
    let timeout = rt.timeout(10 * MS, pending::<()>());
    // Even with coarse timers: this one was made later, and must not be due earlier.
    rt.block_on(rt.sleep(10 * MS));
    assert!(poll_once(&mut Box::pin(sleep), &waker).is_ready());
    assert!(poll_once(&mut Box::pin(timeout), &waker).is_ready());
}

fn many_sleeps<S: Setup>(s: S) {
    let rt = s.build();
    let tasks: Vec<_> = (0..1000_u32)
        .map(|n| {
            let inner = rt.clone();
            rt.spawn(async move {
                let duration = Duration::from_micros(u64::from(n * 7919 % 30_000));
                let start = Instant::now();
                inner.sleep(duration).await;
                assert!(start.elapsed() >= duration);
            })
        })
        .collect();
    rt.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn until<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let now = rt.now();
    assert!(now <= rt.now() && now <= Instant::now() + LONG);
    let deadline = rt.now() + 3 * MS;
    rt.block_on(rt.sleep_until(deadline));
    assert!(rt.now() >= deadline);
    assert!(poll_once(&mut Box::pin(rt.sleep_until(deadline)), &waker).is_ready());
    let ahead = rt.now() + LONG;
    assert!(poll_once(&mut Box::pin(rt.sleep_until(ahead)), &waker).is_pending());
}
