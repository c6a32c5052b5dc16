//! TI-2, timers work anywhere: made on one thread and polled on another.

use std::{future::pending, sync::Arc, time::Duration};

use fourway_core::{BlockOn, Offload, Spawner, Timer};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{CountingWaker, drive, eventually, on_thread, other_runtime, panic_quietly, poll_once},
};

use super::{LONG, MS, counted_waker};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "TI-2.1", "a timer made on a plain thread runs on any executor",
        "Tokio's panics where no runtime is entered", made_on_plain_thread;
        "TI-2.2", "a timer made in one place is polled in every other",
        "made in a task, polled in a closure's block_on, and so on", made_here_polled_there;
        "TI-2.3", "a timer that moves between executors wakes the last one",
        "the first waker belongs to someone who is gone", last_waker;
        "TI-2.4", "dropping a timer releases its waker",
        "a kept waker keeps its whole task", drop_releases;
        "TI-2.5", "a timer that has fired has released its waker",
        "the same, for those that are kept", fired_releases;
        "TI-2.6", "ten thousand timers that were given up leave nothing behind",
        "timeouts that are not needed are the usual kind", many_given_up;
        "TI-2.7", "a timer that outlives its runtime still fires",
        "a timeout around a shutdown must not hang", outlives_runtime;
        "TI-2.8", "a timer's waker that panics harms no other work",
        "Tokio's worker turns the driver, and ends the process when it unwinds", panicking_waker;
    ]
}

fn panicking_waker<S: Setup>(s: S) {
    // The one thread for tasks may be the one that calls wakers.
    let rt = s.build_with(|config| config.workers = 1);
    for millis in [2, 50, 500, 5000] {
        let (waker, wakes) = CountingWaker::with(|| panic_quietly("a timer's waker"));
        let mut sleep = Box::pin(rt.sleep(Duration::from_millis(millis)));
        if poll_once(&mut sleep, &waker).is_ready() {
            continue;
        }
        eventually("the waker is called", || wakes.get() > 0);
        let inner = rt.clone();
        let task = rt.spawn(async move { inner.sleep(2 * MS).await });
        drive(task).unwrap();
        drive(rt.sleep(2 * MS));
        assert!(poll_once(&mut sleep, &waker).is_ready());
        return;
    }
    panic!("timers are ready long before their time");
}

fn made_on_plain_thread<S: Setup>(s: S) {
    let rt = s.build();
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
fn made_here_polled_there<S: Setup>(s: S) {
    let rt = s.build();
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
    // Each is polled elsewhere.
    drive(in_task);
    other.block_on(other.spawn(in_root)).unwrap();
    rt.block_on(rt.spawn(in_closure)).unwrap();
    let inner = rt.clone();
    rt.block_on(rt.offload(move || inner.block_on(in_other)))
        .unwrap();
}

fn last_waker<S: Setup>(s: S) {
    let rt = s.build();
    // If the machine is too slow for the second poll to come in time, it tries again with a longer
    // time.
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

fn drop_releases<S: Setup>(s: S) {
    let rt = s.build();
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

fn fired_releases<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, count) = counted_waker();
    let mut sleep = Box::pin(rt.sleep(5 * MS));
    eventually("the timer is ready", || {
        poll_once(&mut sleep, &waker).is_ready()
    });
    // The timer itself is still there.
    eventually("the waker is released", || Arc::strong_count(&count) == 2);
    drop(sleep);
}

fn many_given_up<S: Setup>(s: S) {
    let rt = s.build();
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

fn outlives_runtime<S: Setup>(s: S) {
    // Polled before the runtime is dropped, and after.
    for polled in [true, false] {
        let rt = s.build();
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
