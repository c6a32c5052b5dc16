//! TI-3, timeout and interval.

use std::{
    future::{pending, ready},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Runtime, Spawner, Timer, time::MissedTickBehavior};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, HandMade, caught, drive, eventually, other_runtime, poll_once,
    },
};

use super::{LONG, MS, counted_waker, pass_until};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "TI-3.1", "timeout asks the future first",
        "work that is done must not be thrown away", future_first;
        "TI-3.2", "on expiry the future is dropped before the error is seen",
        "the caller may use again what the future held", dropped_before_error;
        "TI-3.3", "a timeout in time gives the output, and its future is gone",
        "and nothing of the timer stays", in_time;
        "TI-3.4", "timeouts expire in tasks, in block_on and on foreign executors",
        "they are made of parts that must work together", expires_anywhere;
        "TI-3.5", "a timeout that is dropped drops its future at once",
        "cancelling a caller cancels its call", timeout_dropped;
        "TI-3.6", "an interval ticks at once and then at every period, never early",
        "ticks are due at start + n × period", interval_ticks;
        "TI-3.7", "Burst gives missed ticks one after the other",
        "for those who count", missed_burst;
        "TI-3.8", "Delay counts the period anew from the late tick",
        "for those who need rest", missed_delay;
        "TI-3.9", "Skip goes on at the next multiple of the period",
        "for those who need the beat", missed_skip;
        "TI-3.10", "an interval with a huge period ticks once and then waits",
        "start + period overflows", huge_interval;
        "TI-3.11", "a period of zero panics at the caller's line",
        "it would be an endless loop", zero_period;
        "TI-3.12", "a tick that is dropped before it is ready is not lost",
        "select! drops ticks all the time", tick_dropped;
        "TI-3.13", "reset starts an interval over",
        "a heartbeat after activity", interval_reset;
    ]
}

fn future_first<S: Setup>(s: S) {
    let rt = s.build();
    assert_eq!(drive(rt.timeout(Duration::ZERO, ready(1))), Ok(1));
    let now = Instant::now();
    let past = now.checked_sub(50 * MS).unwrap_or(now);
    assert_eq!(rt.block_on(rt.timeout_at(past, ready(2))), Ok(2));
    let inner = rt.clone();
    let task = rt.spawn(async move { inner.timeout(Duration::ZERO, ready(3)).await });
    assert_eq!(rt.block_on(task).unwrap(), Ok(3));
    // Both are ready at the second poll.
    let (go, gate) = Gate::pair();
    let (waker, _) = CountingWaker::new();
    let deadline = Instant::now() + 20 * MS;
    let mut timeout = Box::pin(rt.timeout_at(deadline, gate.opened()));
    if poll_once(&mut timeout, &waker).is_pending() {
        go.open();
        pass_until(deadline + 5 * MS);
        assert_eq!(poll_once(&mut timeout, &waker), Poll::Ready(Ok(())));
    }
}

fn dropped_before_error<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    let mut timeout = Box::pin(rt.timeout(
        2 * MS,
        HandMade {
            poll: |_: &mut std::task::Context<'_>| Poll::<()>::Pending,
            on_drop: Box::new(drops.on_drop()),
        },
    ));
    let result = rt.block_on(&mut timeout);
    assert!(result.is_err());
    assert_eq!(drops.get(), 1, "while the timeout itself is still there");
    drop(timeout);
    assert_eq!(drops.get(), 1);
}

fn in_time<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    let (waker, count) = counted_waker();
    let mut polls = 0;
    let mut timeout = Box::pin(rt.timeout(
        LONG,
        HandMade {
            poll: |_: &mut std::task::Context<'_>| {
                polls += 1;
                match polls {
                    1 => Poll::Pending,
                    _ => Poll::Ready(9),
                }
            },
            on_drop: Box::new(drops.on_drop()),
        },
    ));
    assert!(poll_once(&mut timeout, &waker).is_pending());
    assert_eq!(poll_once(&mut timeout, &waker), Poll::Ready(Ok(9)));
    assert_eq!(drops.get(), 1);
    drop(timeout);
    eventually("the waker is released", || Arc::strong_count(&count) == 2);
}

fn expires_anywhere<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    assert!(rt.block_on(rt.timeout(2 * MS, pending::<()>())).is_err());
    assert!(drive(rt.timeout(2 * MS, pending::<()>())).is_err());
    assert!(other.block_on(rt.timeout(2 * MS, pending::<()>())).is_err());
    let now = Instant::now();
    let past = now.checked_sub(50 * MS).unwrap_or(now);
    let (waker, _) = CountingWaker::new();
    let mut timeout = Box::pin(rt.timeout_at(past, pending::<()>()));
    assert!(
        poll_once(&mut timeout, &waker).is_ready(),
        "at the first poll"
    );
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let nested = inner.timeout(LONG, inner.timeout(2 * MS, pending::<()>()));
        nested.await.expect("the outer limit is far").is_err()
    });
    assert!(rt.block_on(task).unwrap());
    // A task that is timed out is cancelled with its handle.
    let drops = Counter::new();
    let value = drops.on_drop();
    let task = rt.spawn(async move {
        let _value = value;
        pending::<()>().await;
    });
    assert!(rt.block_on(rt.timeout(2 * MS, task)).is_err());
    eventually("the task is destroyed", || drops.get() == 1);
}

fn timeout_dropped<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    let value = drops.on_drop();
    let (waker, _) = CountingWaker::new();
    let mut timeout = Box::pin(rt.timeout(LONG, async move {
        let _value = value;
        pending::<()>().await;
    }));
    assert!(poll_once(&mut timeout, &waker).is_pending());
    drop(timeout);
    assert_eq!(drops.get(), 1);
}

fn interval_ticks<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let mut interval = rt.interval(LONG);
    assert_eq!(interval.period(), LONG);
    assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_ready());
    assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_pending());

    let period = 2 * MS;
    let start = Instant::now() + 3 * MS;
    let mut interval = rt.interval_at(start, period);
    rt.block_on(async {
        for n in 0..10 {
            let due = interval.tick().await;
            assert_eq!(due, start + n * period);
            assert!(Instant::now() >= due, "early");
        }
    });
}

/// An interval whose second tick is taken very late. Gives the due time of the next tick, and the
/// times before and after the late one.
fn late_tick<R: Runtime>(rt: &R, behavior: MissedTickBehavior) -> [Instant; 4] {
    let period = 10 * MS;
    let start = Instant::now();
    let mut interval = rt.interval_at(start, period);
    interval.set_missed_tick_behavior(behavior);
    assert_eq!(rt.block_on(interval.tick()), start);
    pass_until(start + 4 * period);
    let before = Instant::now();
    assert_eq!(rt.block_on(interval.tick()), start + period);
    let after = Instant::now();
    let next = rt.block_on(interval.tick());
    assert!(Instant::now() >= next, "early");
    [start, before, after, next]
}

fn missed_burst<S: Setup>(s: S) {
    let rt = s.build();
    let [start, _, _, next] = late_tick(&rt, MissedTickBehavior::Burst);
    assert_eq!(next, start + 20 * MS);
    let [start, _, _, next] = late_tick(&rt, MissedTickBehavior::default());
    assert_eq!(next, start + 20 * MS);
    // It catches up without a pause: all due ticks are ready at the first poll.
    let period = 10 * MS;
    let start = Instant::now();
    let mut interval = rt.interval_at(start, period);
    pass_until(start + 5 * period);
    let (waker, _) = CountingWaker::new();
    for n in 0..=5 {
        let tick = poll_once(&mut Box::pin(interval.tick()), &waker);
        assert_eq!(tick, Poll::Ready(start + n * period));
    }
}

fn missed_delay<S: Setup>(s: S) {
    let rt = s.build();
    let [_, before, after, next] = late_tick(&rt, MissedTickBehavior::Delay);
    let period = 10 * MS;
    assert!(before + period <= next && next <= after + period);
}

fn missed_skip<S: Setup>(s: S) {
    let rt = s.build();
    let [start, before, after, next] = late_tick(&rt, MissedTickBehavior::Skip);
    let period = 10 * MS;
    assert_eq!((next - start).as_nanos() % period.as_nanos(), 0);
    assert!(before < next && next <= after + period);
}

fn huge_interval<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    for behavior in [
        MissedTickBehavior::Burst,
        MissedTickBehavior::Delay,
        MissedTickBehavior::Skip,
    ] {
        let mut interval = rt.interval(Duration::MAX);
        interval.set_missed_tick_behavior(behavior);
        assert_eq!(interval.missed_tick_behavior(), behavior);
        assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_ready());
        assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_pending());
        interval.reset();
        assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_pending());
    }
}

fn zero_period<S: Setup>(s: S) {
    let rt = s.build();
    let line = line!() + 1;
    let panic = caught(|| rt.interval(Duration::ZERO));
    assert_eq!((&*panic.file, panic.line), (file!(), line), "{panic:?}");
    assert!(panic.message.contains("zero"), "{panic:?}");
}

fn tick_dropped<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let start = Instant::now() + 20 * MS;
    let mut interval = rt.interval_at(start, 5 * MS);
    for _ in 0..3 {
        let mut tick = Box::pin(interval.tick());
        if let Poll::Ready(due) = poll_once(&mut tick, &waker) {
            // The machine was too slow, and the tick was taken.
            assert_eq!(due, start);
            return;
        }
    }
    assert_eq!(rt.block_on(interval.tick()), start);
    assert_eq!(rt.block_on(interval.tick()), start + 5 * MS);
}

fn interval_reset<S: Setup>(s: S) {
    let rt = s.build();
    let period = 5 * MS;
    let mut interval = rt.interval(period);
    rt.block_on(interval.tick());
    pass_until(Instant::now() + 2 * period);
    let before = rt.now();
    interval.reset();
    let after = rt.now();
    let due = rt.block_on(interval.tick());
    assert!(before + period <= due && due <= after + period);
}
