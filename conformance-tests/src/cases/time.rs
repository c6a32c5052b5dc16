//! TI: time.

use std::{
    future::{pending, poll_fn, ready},
    sync::Arc,
    task::{Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{
    BlockOn, Offload, Runtime, Spawner, Task, Timer, time::MissedTickBehavior, yield_now,
};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, CountingWaker, Gate, HandMade, build, build_with, caught, drive, eventually,
        on_thread, on_threads, other_runtime, poll_once,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "TI-1.1", "no sleep is early, from a fraction of a millisecond up",
        "timer wheels round, and some round down", never_early::<S>;
        "TI-1.2", "zero and past deadlines are ready at the first poll",
        "a timer that always suspends costs a turn for nothing", due_at_once::<S>;
        "TI-1.3", "so are a thousand of them in one poll of a task",
        "a cooperative budget must not make a timer late", due_at_once_many::<S>;
        "TI-1.4", "Duration::MAX and other huge durations wait and do not overflow",
        "tokio 4495: huge durations", huge::<S>;
        "TI-1.5", "a sleep counts from the call and not from the first poll",
        "futures are made early and polled late", counts_from_call::<S>;
        "TI-1.6", "a thousand sleeps at a time all fire, and none early",
        "wheels with many levels lose entries between them", many_sleeps::<S>;
        "TI-1.7", "sleep_until a moment that has been waited for is ready; one ahead is not",
        "deadlines are compared with the timer's own clock", until::<S>;

        "TI-2.1", "a timer made on a plain thread runs on any executor",
        "Tokio's panics where no runtime is entered", made_on_plain_thread::<S>;
        "TI-2.2", "a timer made in one place is polled in every other",
        "made in a task, polled in a closure's block_on, and so on", made_here_polled_there::<S>;
        "TI-2.3", "a timer that moves between executors wakes the last one",
        "the first waker belongs to someone who is gone", last_waker::<S>;
        "TI-2.4", "dropping a timer releases its waker",
        "a kept waker keeps its whole task", drop_releases::<S>;
        "TI-2.5", "a timer that has fired has released its waker",
        "the same, for those that are kept", fired_releases::<S>;
        "TI-2.6", "ten thousand timers that were given up leave nothing behind",
        "timeouts that are not needed are the usual kind", many_given_up::<S>;
        "TI-2.7", "a timer that outlives its runtime still fires",
        "a timeout around a shutdown must not hang", outlives_runtime::<S>;

        "TI-3.1", "timeout asks the future first",
        "work that is done must not be thrown away", future_first::<S>;
        "TI-3.2", "on expiry the future is dropped before the error is seen",
        "the caller may use again what the future held", dropped_before_error::<S>;
        "TI-3.3", "a timeout in time gives the output, and its future is gone",
        "and nothing of the timer stays", in_time::<S>;
        "TI-3.4", "timeouts expire in tasks, in block_on and on foreign executors",
        "they are made of parts that must work together", expires_anywhere::<S>;
        "TI-3.5", "a timeout that is dropped drops its future at once",
        "cancelling a caller cancels its call", timeout_dropped::<S>;
        "TI-3.6", "an interval ticks at once and then at every period, never early",
        "ticks are due at start + n × period", interval_ticks::<S>;
        "TI-3.7", "Burst gives missed ticks one after the other",
        "for those who count", missed_burst::<S>;
        "TI-3.8", "Delay counts the period anew from the late tick",
        "for those who need rest", missed_delay::<S>;
        "TI-3.9", "Skip goes on at the next multiple of the period",
        "for those who need the beat", missed_skip::<S>;
        "TI-3.10", "an interval with a huge period ticks once and then waits",
        "start + period overflows", huge_interval::<S>;
        "TI-3.11", "a period of zero panics at the caller's line",
        "it would be an endless loop", zero_period::<S>;
        "TI-3.12", "a tick that is dropped before it is ready is not lost",
        "select! drops ticks all the time", tick_dropped::<S>;
        "TI-3.13", "reset starts an interval over",
        "a heartbeat after activity", interval_reset::<S>;

        "TI-4.1", "a shorter timer interrupts a longer wait",
        "tokio 3190: the driver slept through it", shorter_interrupts::<S>;
        "TI-4.2", "tasks that wake themselves do not starve timers",
        "tokio 8212: a self-yielding task kept the time driver from its turn", spinners_beside::<S>;
        "TI-4.3", "a timer fires in an idle runtime that nobody blocks on",
        "who waits for the time when everybody sleeps?", idle_runtime::<S>;
        "TI-4.4", "timers fire while every pool thread is blocked",
        "timers must not live in the pool", pool_blocked::<S>;
        "TI-4.5", "timers on eight threads at a time all fire",
        "each may be the one that has to wake the driver", many_threads::<S>;
    ]
}

const MS: Duration = Duration::from_millis(1);
/// Longer than any case.
const LONG: Duration = Duration::from_secs(3600);

/// Lets time pass, for cases that are about being late.
fn pass_until(deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left);
    }
}

// TI-1

fn never_early<S: Subject>() {
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
    let rt = build::<S>();
    rt.block_on(check(&rt));
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { check(&inner).await }))
        .unwrap();
    drive(check(&rt));
}

fn due_at_once<S: Subject>() {
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
    let rt = build::<S>();
    check(&rt);
    rt.block_on(async { check(&rt) });
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { check(&inner) })).unwrap();
    let inner = rt.clone();
    rt.block_on(rt.offload(move || check(&inner))).unwrap();
}

fn due_at_once_many<S: Subject>() {
    let rt = build::<S>();
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

fn huge<S: Subject>() {
    let rt = build::<S>();
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
    // Others go on beside one that is polled in a task.
    let inner = rt.clone();
    let task = rt.spawn(async move { inner.sleep(Duration::MAX).await });
    rt.block_on(rt.sleep(MS));
    assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
}

fn counts_from_call<S: Subject>() {
    let rt = build::<S>();
    let (waker, _) = CountingWaker::new();
    let sleep = rt.sleep(10 * MS);
    let timeout = rt.timeout(10 * MS, pending::<()>());
    // However coarse the timers are: this one was made later, and is not due earlier.
    rt.block_on(rt.sleep(10 * MS));
    assert!(poll_once(&mut Box::pin(sleep), &waker).is_ready());
    assert!(poll_once(&mut Box::pin(timeout), &waker).is_ready());
}

fn many_sleeps<S: Subject>() {
    let rt = build::<S>();
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

fn until<S: Subject>() {
    let rt = build::<S>();
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

// TI-2

fn made_on_plain_thread<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let make = || {
        let inner = rt.clone();
        on_thread(move || inner.sleep(3 * MS))
    };
    drive(make());
    rt.block_on(make());
    rt.block_on(rt.spawn(make())).unwrap();
    other.block_on(make());
    other.block_on(other.spawn(make())).unwrap();
    let timeout = on_thread({
        let rt = rt.clone();
        move || rt.timeout(3 * MS, pending::<()>())
    });
    assert!(drive(timeout).is_err());
    let mut interval = rt.interval(MS);
    drive(async {
        for _ in 0..3 {
            interval.tick().await;
        }
    });
}

#[allow(
    clippy::async_yields_async,
    reason = "timers are handed out, to be polled elsewhere"
)]
fn made_here_polled_there<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    // In a task, in a root, in a closure, in another runtime's task.
    let inner = rt.clone();
    let in_task = rt
        .block_on(rt.spawn(async move { inner.sleep(3 * MS) }))
        .unwrap();
    let in_root = rt.block_on(async { rt.sleep(3 * MS) });
    let inner = rt.clone();
    let in_closure = rt
        .block_on(rt.offload(move || inner.sleep(3 * MS)))
        .unwrap();
    let inner = rt.clone();
    let in_other = other
        .block_on(other.spawn(async move { inner.sleep(3 * MS) }))
        .unwrap();
    // Polled somewhere else each.
    drive(in_task);
    other.block_on(other.spawn(in_root)).unwrap();
    rt.block_on(rt.spawn(in_closure)).unwrap();
    let inner = rt.clone();
    rt.block_on(rt.offload(move || inner.block_on(in_other)))
        .unwrap();
}

fn last_waker<S: Subject>() {
    let rt = build::<S>();
    // Should the machine be too slow for the second poll to come in time, it is
    // tried again with more.
    for millis in [50, 500, 5000, 20_000] {
        let mut sleep = Box::pin(rt.sleep(Duration::from_millis(millis)));
        let ((first, first_wakes), (last, last_wakes)) =
            (CountingWaker::new(), CountingWaker::new());
        let pending = poll_once(&mut sleep, &first).is_pending();
        if !pending || poll_once(&mut sleep, &last).is_ready() || first_wakes.get() > 0 {
            continue;
        }
        eventually("the last waker is woken", || last_wakes.get() > 0);
        assert!(poll_once(&mut sleep, &last).is_ready());
        assert_eq!(first_wakes.get(), 0);
        return;
    }
    panic!("timers are ready long before their time");
}

/// A waker, and its reference count.
fn counted_waker() -> (Waker, Arc<impl Wake + Send + Sync + 'static>) {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let count = Arc::new(Nothing);
    (Waker::from(count.clone()), count)
}

fn drop_releases<S: Subject>() {
    let rt = build::<S>();
    let (waker, count) = counted_waker();
    let mut sleep = Box::pin(rt.sleep(LONG));
    assert!(poll_once(&mut sleep, &waker).is_pending());
    assert!(
        Arc::strong_count(&count) > 2,
        "the timer has kept the waker"
    );
    drop(sleep);
    eventually("the waker is released", || Arc::strong_count(&count) == 2);

    let mut timeout = Box::pin(rt.timeout(LONG, pending::<()>()));
    assert!(poll_once(&mut timeout, &waker).is_pending());
    drop(timeout);
    eventually("the waker is released", || Arc::strong_count(&count) == 2);
}

fn fired_releases<S: Subject>() {
    let rt = build::<S>();
    let (waker, count) = counted_waker();
    let mut sleep = Box::pin(rt.sleep(5 * MS));
    eventually("the timer is ready", || {
        poll_once(&mut sleep, &waker).is_ready()
    });
    // The timer itself is still there.
    eventually("the waker is released", || Arc::strong_count(&count) == 2);
    drop(sleep);
}

fn many_given_up<S: Subject>() {
    let rt = build::<S>();
    let (waker, count) = counted_waker();
    let mut kept = Vec::new();
    for n in 0..10_000_u32 {
        let mut sleep = Box::pin(rt.sleep(LONG + n * MS));
        assert!(poll_once(&mut sleep, &waker).is_pending());
        if n % 100 == 0 {
            kept.push(sleep);
        }
    }
    // And out of order.
    kept.reverse();
    drop(kept);
    eventually("all wakers are released", || Arc::strong_count(&count) == 2);
    rt.block_on(rt.sleep(MS));
}

fn outlives_runtime<S: Subject>() {
    // Polled before the runtime goes, and after.
    for polled in [true, false] {
        let rt = build::<S>();
        rt.block_on(rt.sleep(MS));
        let mut sleep = Box::pin(rt.sleep(20 * MS));
        let (waker, _) = CountingWaker::new();
        if polled {
            let _ = poll_once(&mut sleep, &waker);
        }
        drop(rt);
        drive(sleep);
    }
}

// TI-3

fn future_first<S: Subject>() {
    let rt = build::<S>();
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

fn dropped_before_error<S: Subject>() {
    let rt = build::<S>();
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

fn in_time<S: Subject>() {
    let rt = build::<S>();
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

fn expires_anywhere<S: Subject>() {
    let rt = build::<S>();
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
    // What is timed out may be a task: it is cancelled with the handle.
    let drops = Counter::new();
    let value = drops.on_drop();
    let task = rt.spawn(async move {
        let _value = value;
        pending::<()>().await;
    });
    assert!(rt.block_on(rt.timeout(2 * MS, task)).is_err());
    eventually("the task is destroyed", || drops.get() == 1);
}

fn timeout_dropped<S: Subject>() {
    let rt = build::<S>();
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

fn interval_ticks<S: Subject>() {
    let rt = build::<S>();
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

/// An interval whose second tick is taken very late. Gives what the next tick is
/// due at, and the times before and after the late one.
fn late_tick<R: Runtime>(rt: &R, behavior: MissedTickBehavior) -> [Instant; 4] {
    let period = 10 * MS;
    let start = Instant::now();
    let mut interval = rt.interval_at(start, period).missed_tick_behavior(behavior);
    assert_eq!(rt.block_on(interval.tick()), start);
    pass_until(start + 4 * period);
    let before = Instant::now();
    assert_eq!(rt.block_on(interval.tick()), start + period);
    let after = Instant::now();
    let next = rt.block_on(interval.tick());
    assert!(Instant::now() >= next, "early");
    [start, before, after, next]
}

fn missed_burst<S: Subject>() {
    let rt = build::<S>();
    let [start, _, _, next] = late_tick(&rt, MissedTickBehavior::Burst);
    assert_eq!(next, start + 20 * MS);
    let [start, _, _, next] = late_tick(&rt, MissedTickBehavior::default());
    assert_eq!(next, start + 20 * MS);
    // It catches up without a pause: all that is due is ready at the first poll.
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

fn missed_delay<S: Subject>() {
    let rt = build::<S>();
    let [_, before, after, next] = late_tick(&rt, MissedTickBehavior::Delay);
    let period = 10 * MS;
    assert!(before + period <= next && next <= after + period);
}

fn missed_skip<S: Subject>() {
    let rt = build::<S>();
    let [start, before, after, next] = late_tick(&rt, MissedTickBehavior::Skip);
    let period = 10 * MS;
    assert_eq!((next - start).as_nanos() % period.as_nanos(), 0);
    assert!(before < next && next <= after + period);
}

fn huge_interval<S: Subject>() {
    let rt = build::<S>();
    let (waker, _) = CountingWaker::new();
    for behavior in [
        MissedTickBehavior::Burst,
        MissedTickBehavior::Delay,
        MissedTickBehavior::Skip,
    ] {
        let mut interval = rt.interval(Duration::MAX).missed_tick_behavior(behavior);
        assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_ready());
        assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_pending());
        interval.reset();
        assert!(poll_once(&mut Box::pin(interval.tick()), &waker).is_pending());
    }
}

fn zero_period<S: Subject>() {
    let rt = build::<S>();
    let line = line!() + 1;
    let panic = caught(|| rt.interval(Duration::ZERO));
    assert_eq!((&*panic.file, panic.line), (file!(), line), "{panic:?}");
    assert!(panic.message.contains("zero"), "{panic:?}");
}

fn tick_dropped<S: Subject>() {
    let rt = build::<S>();
    let (waker, _) = CountingWaker::new();
    let start = Instant::now() + 20 * MS;
    let mut interval = rt.interval_at(start, 5 * MS);
    for _ in 0..3 {
        let mut tick = Box::pin(interval.tick());
        if let Poll::Ready(due) = poll_once(&mut tick, &waker) {
            // The machine is too slow to be in time; then it was taken.
            assert_eq!(due, start);
            return;
        }
    }
    assert_eq!(rt.block_on(interval.tick()), start);
    assert_eq!(rt.block_on(interval.tick()), start + 5 * MS);
}

fn interval_reset<S: Subject>() {
    let rt = build::<S>();
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

// TI-4

fn shorter_interrupts<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 1);
    // Somebody waits for a long time, in a task and in a block_on.
    let (polled, waits) = Gate::pair();
    let inner = rt.clone();
    let long = rt.spawn(async move {
        let mut sleep = Box::pin(inner.sleep(LONG));
        poll_fn(|cx| {
            let poll = poll_once(&mut sleep, cx.waker());
            polled.open();
            poll
        })
        .await;
    });
    waits.wait();
    let (stop, stopped) = Gate::pair();
    let (polled, waits) = Gate::pair();
    let inner = rt.clone();
    let root = thread::spawn(move || {
        let stopped = async {
            polled.open();
            stopped.opened().await;
        };
        inner.block_on(inner.timeout(LONG, stopped))
    });
    waits.wait();
    for _ in 0..10 {
        // From a plain thread, from a task, from a root, from by hand.
        rt.block_on(rt.sleep(MS));
        let inner = rt.clone();
        rt.block_on(rt.spawn(async move { inner.sleep(MS).await }))
            .unwrap();
        drive(rt.sleep(MS));
        let inner = rt.clone();
        on_thread(move || inner.block_on(inner.sleep(MS)));
    }
    stop.open();
    eventually("the thread ends", || root.is_finished());
    assert_eq!(root.join().expect("no panic"), Ok(()));
    assert!(rt.block_on(long.cancel()).unwrap_err().is_cancelled());
}

fn spinners_beside<S: Subject>() {
    let rt = build::<S>();
    let stop = Gate::new();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            rt.spawn(async move {
                while !stop.is_open() {
                    yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            inner.sleep(MS).await;
            inner.timeout(MS, pending::<()>()).await.is_err()
        });
        assert!(rt.block_on(task).unwrap());
        rt.block_on(rt.sleep(MS));
    }
    // A root that spins, too.
    let inner = rt.clone();
    let sleeper = rt.spawn(async move { inner.sleep(MS).await });
    rt.block_on(async {
        while !sleeper.is_finished() {
            yield_now().await;
        }
    });
    stop.open();
    for task in tasks {
        rt.block_on(task).unwrap();
    }
}

fn idle_runtime<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..5 {
        let (done, fired) = Gate::pair();
        let inner = rt.clone();
        let task = async move {
            inner.sleep(2 * MS).await;
            done.open();
        };
        rt.spawn(task).detach();
        // Nobody blocks on the runtime, and nobody wakes it.
        fired.wait();
    }
}

fn pool_blocked<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
    let (go, gate) = Gate::pair();
    let (started, running) = Gate::pair();
    let blocked = rt.offload(move || {
        started.open();
        gate.wait();
    });
    running.wait();
    let queued = rt.offload(|| ());
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { inner.sleep(2 * MS).await }))
        .unwrap();
    assert!(rt.block_on(rt.timeout(2 * MS, pending::<()>())).is_err());
    go.open();
    rt.block_on(blocked).unwrap();
    rt.block_on(queued).unwrap();
}

fn many_threads<S: Subject>() {
    let rt = build::<S>();
    on_threads(8, move |n| {
        for round in 0..20 {
            let duration = Duration::from_micros(100 * (1 + (n as u64 + round) % 8));
            let start = Instant::now();
            rt.block_on(rt.sleep(duration));
            assert!(start.elapsed() >= duration);
        }
    });
}
