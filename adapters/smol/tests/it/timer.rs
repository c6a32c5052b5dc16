//! Timers: the slot between the reactor and the user's waker (TI-1, never early; TI-2, timers work
//! anywhere).

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Timer};
use fourway_smol::{Sleep, Smol};

const MUST: Duration = Duration::from_secs(30);

struct Notify(mpsc::Sender<()>);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

fn notify() -> (Arc<Notify>, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(Notify(sender)), receiver)
}

fn poll(sleep: &mut Sleep, waker: &Arc<Notify>) -> Poll<()> {
    let waker = Waker::from(waker.clone());
    Pin::new(sleep).poll(&mut Context::from_waker(&waker))
}

#[test]
fn dropping_a_timer_releases_its_waker_at_once() {
    let rt = Smol::global();
    let (waker, _woken) = notify();
    let mut sleep = rt.sleep(Duration::from_secs(3600));
    assert!(poll(&mut sleep, &waker).is_pending());
    assert!(Arc::strong_count(&waker) > 1);
    drop(sleep);
    assert_eq!(Arc::strong_count(&waker), 1);
}

#[test]
fn a_timer_that_fires_releases_its_waker() {
    let rt = Smol::global();
    let (waker, woken) = notify();
    let mut sleep = rt.sleep(Duration::from_millis(20));
    while poll(&mut sleep, &waker).is_pending() {
        woken.recv_timeout(MUST).unwrap();
    }
    // The thread that called it may be just returning from it.
    let start = Instant::now();
    while Arc::strong_count(&waker) > 1 {
        assert!(start.elapsed() < MUST, "the waker is kept");
        thread::yield_now();
    }
}

#[test]
fn the_last_waker_is_the_one_woken_and_the_earlier_is_released() {
    let rt = Smol::global();
    let (first, first_woken) = notify();
    let (second, second_woken) = notify();
    let mut sleep = rt.sleep(Duration::from_millis(100));
    if poll(&mut sleep, &first).is_ready() || poll(&mut sleep, &second).is_ready() {
        return;
    }
    assert_eq!(Arc::strong_count(&first), 1);
    second_woken.recv_timeout(MUST).unwrap();
    assert!(first_woken.try_recv().is_err());
    assert!(poll(&mut sleep, &second).is_ready());
}

#[test]
fn never_early() {
    let rt = Smol::global();
    for micros in [1, 100, 999, 1_000, 1_001, 5_500] {
        let duration = Duration::from_micros(micros);
        let start = Instant::now();
        rt.block_on(rt.sleep(duration));
        assert!(start.elapsed() >= duration);
        let deadline = Instant::now() + duration;
        rt.block_on(rt.sleep_until(deadline));
        assert!(Instant::now() >= deadline);
    }
}

#[test]
fn due_timers_are_ready_at_once_and_endless_ones_never() {
    let rt = Smol::global();
    let (waker, woken) = notify();
    let now = Instant::now();
    assert!(poll(&mut rt.sleep(Duration::ZERO), &waker).is_ready());
    assert!(poll(&mut rt.sleep_until(now), &waker).is_ready());
    if let Some(past) = now.checked_sub(Duration::from_secs(1)) {
        assert!(poll(&mut rt.sleep_until(past), &waker).is_ready());
    }
    // From "cannot be said" down to what an `Instant` and the system can say.
    let mut endless: Vec<Sleep> = (0..64)
        .map(|shift| rt.sleep(Duration::MAX / (1 << (shift / 2)) / (1 << (shift / 4))))
        .collect();
    for sleep in &mut endless {
        assert!(poll(sleep, &waker).is_pending());
    }
    // They hold up no other timer, and do not fire with it.
    rt.block_on(rt.sleep(Duration::from_millis(5)));
    assert!(woken.try_recv().is_err());
}

#[test]
fn many_timers_dropped_leave_nothing_behind() {
    let rt = Smol::global();
    let (waker, _woken) = notify();
    for _ in 0..10_000 {
        let mut sleep = rt.sleep(Duration::from_secs(3600));
        assert!(poll(&mut sleep, &waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&waker), 1);
}
