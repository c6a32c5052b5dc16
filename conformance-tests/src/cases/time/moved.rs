//! TI-5, timers can be moved.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Runtime, Spawner, Timer, time::Sleep};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{CountingWaker, drive, eventually, on_thread, poll_once},
};

use super::{LONG, MS};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "TI-5.1", "a timer that is moved ahead before its first poll is ready then",
        "hyper makes timers once and moves them", moved_unpolled;
        "TI-5.2", "a timer that is moved from far to near wakes the waker that it has",
        "who moves a timer is not always who polls it", moved_nearer;
        "TI-5.3", "a timer that is put off is not ready at its old time",
        "an idle timeout moves with each byte", put_off;
        "TI-5.4", "a timer that was ready waits again once it is moved",
        "quinn keeps one timer for as long as a connection lives", again;
        "TI-5.5", "moved to the past, a timer is ready at once, and its waker called",
        "the time may pass while one decides", into_the_past;
        "TI-5.6", "from never to soon and back",
        "a limit that is switched on and off", never_and_back;
        "TI-5.7", "reset_after counts from the call",
        "timers are moved early and polled late", after_counts_from_call;
        "TI-5.8", "a timer is shared by reference and sent to a task",
        "hyper's connections are Sync", shared;
        "TI-5.9", "a timer that outlives its runtime can be moved, and fires",
        "destructors of connections come late", outlives;
        "TI-5.10", "moved to the last instant that there is, and back",
        "a driver that rounds up overflows", last_instant;
    ]
}

fn last_instant<S: Setup>(s: S) {
    let rt = s.build();
    let mut last = rt.now();
    let mut step = Duration::from_secs(1 << 62);
    while !step.is_zero() {
        match last.checked_add(step) {
            Some(next) => last = next,
            None => step /= 2,
        }
    }
    let (waker, _) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(LONG));
    assert!(poll_once(&mut sleep, &waker).is_pending());
    sleep.as_mut().reset(last);
    assert!(poll_once(&mut sleep, &waker).is_pending());
    sleep.as_mut().reset_after(2 * MS);
    drive(sleep);
    assert!(poll_once(&mut Box::pin(rt.sleep_until(last)), &waker).is_pending());
}

fn moved_unpolled<S: Setup>(s: S) {
    let rt = s.build();
    let mut sleep = Box::pin(rt.sleep(LONG));
    let deadline = rt.now() + 2 * MS;
    sleep.as_mut().reset(deadline);
    rt.block_on(sleep);
    assert!(rt.now() >= deadline, "early");
}

fn moved_nearer<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, wakes) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(LONG));
    assert!(poll_once(&mut sleep, &waker).is_pending());
    let deadline = rt.now() + 2 * MS;
    sleep.as_mut().reset(deadline);
    eventually("the waker is called for the new deadline", || {
        wakes.get() > 0
    });
    // A wake may come for other reasons; the timer must not be early.
    drive(sleep);
    assert!(rt.now() >= deadline, "early");
}

fn put_off<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(2 * MS));
    let ready = poll_once(&mut sleep, &waker).is_ready();
    sleep.as_mut().reset_after(LONG);
    rt.block_on(rt.sleep(5 * MS));
    assert!(
        poll_once(&mut sleep, &waker).is_pending(),
        "ready at the old time; ready before it was put off: {ready}"
    );
    let deadline = rt.now() + MS;
    sleep.as_mut().reset(deadline);
    rt.block_on(sleep);
    assert!(rt.now() >= deadline, "early");
}

fn again<S: Setup>(s: S) {
    async fn check<R: Runtime>(rt: &R) {
        let mut sleep = Box::pin(rt.sleep(MS));
        for _ in 0..5 {
            sleep.as_mut().await;
            let deadline = rt.now() + MS;
            sleep.as_mut().reset(deadline);
            sleep.as_mut().await;
            assert!(rt.now() >= deadline, "early");
            sleep.as_mut().reset_after(MS);
        }
    }
    let rt = s.build();
    rt.block_on(check(&rt));
    drive(check(&rt));
    let inner = rt.clone();
    rt.block_on(rt.spawn(async move { check(&inner).await }))
        .unwrap();
}

fn into_the_past<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, wakes) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(LONG));
    assert!(poll_once(&mut sleep, &waker).is_pending());
    let now = rt.now();
    sleep
        .as_mut()
        .reset(now.checked_sub(50 * MS).unwrap_or(now));
    eventually("the waker is called", || wakes.get() > 0);
    assert!(poll_once(&mut sleep, &waker).is_ready());
}

fn never_and_back<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, wakes) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(Duration::MAX));
    assert!(poll_once(&mut sleep, &waker).is_pending());
    sleep.as_mut().reset_after(MS);
    eventually("the waker is called", || wakes.get() > 0);
    drive(sleep.as_mut());
    sleep.as_mut().reset_after(Duration::MAX);
    assert!(poll_once(&mut sleep, &waker).is_pending());
    sleep.as_mut().reset_after(Duration::ZERO);
    assert!(poll_once(&mut sleep, &waker).is_ready());
}

fn after_counts_from_call<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(LONG));
    sleep.as_mut().reset_after(2 * MS);
    let start = Instant::now();
    super::pass_until(start + 5 * MS);
    assert!(poll_once(&mut sleep, &waker).is_ready());
}

fn shared<S: Setup>(s: S) {
    let rt = s.build();
    let sleep: Pin<Box<dyn Sleep>> = Box::pin(rt.sleep(LONG));
    let sleep = Arc::new(Mutex::new(sleep));
    let task = rt.spawn({
        let sleep = sleep.clone();
        std::future::poll_fn(move |cx| sleep.lock().unwrap().as_mut().poll(cx))
    });
    // From another thread, while the task waits.
    on_thread(move || sleep.lock().unwrap().as_mut().reset_after(MS));
    rt.block_on(task).unwrap();
}

fn outlives<S: Setup>(s: S) {
    let rt = s.build();
    let (waker, _) = CountingWaker::new();
    let mut sleep = Box::pin(rt.sleep(LONG));
    assert!(poll_once(&mut sleep, &waker).is_pending());
    drop(rt);
    let before = Instant::now();
    sleep.as_mut().reset_after(MS);
    drive(sleep);
    assert!(before.elapsed() >= MS, "early");
}
