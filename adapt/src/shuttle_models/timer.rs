//! Timers.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use super::Count;
use crate::sync::{Mutex, check, fail_thread_starts, now, thread};
use crate::{self as adapt, timer::Timers};
use fourway_core::{Timer, time::Sleep as _};

const SHORT: Duration = Duration::from_millis(5);
/// Longer than a model lasts: nothing may wait for it.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64 * 2);

/// Ends the timers and the process-wide ones, which the model may have used.
fn end(timers: &Timers) {
    timers.close();
    timers.join();
    Timers::global().close();
    Timers::global().join();
}

/// Two threads sleep, while a third timer, far ahead, has the timer thread wait:
/// the shorter ones interrupt that (TI-4, timers are not starved), and none is early (TI-1, never
/// early).
#[test]
fn shuttle_shorter_interrupts() {
    check(|| {
        let timers = Timers::new("timers");
        let mut far = pin!(timers.sleep(NEVER));
        assert!(
            far.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        let sleepers = [1, 2].map(|n| {
            let timers = timers.clone();
            thread::spawn(move || {
                let deadline = now() + SHORT * n;
                adapt::run(timers.sleep_until(deadline));
                assert!(now() >= deadline);
            })
        });
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        end(&timers);
    });
}

/// The thread ends as nothing is due, while another timer is made: either it sees that one,
/// or another thread starts for it. A timer far ahead was made and dropped before.
#[test]
fn shuttle_ends_and_comes_back() {
    check(|| {
        let timers = Timers::new("timers");
        let other = thread::spawn({
            let timers = timers.clone();
            move || {
                adapt::run(timers.sleep(SHORT));
                // Long enough, as it may be, for the thread to have ended.
                thread::yield_now();
                adapt::run(timers.sleep(SHORT));
            }
        });
        let mut far = Box::pin(timers.sleep(NEVER));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(far.as_mut().poll(&mut cx).is_pending());
        drop(far);
        adapt::run(timers.sleep(SHORT));
        other.join().unwrap();
        end(&timers);
    });
}

/// Closing while timers wait, are made and fire: the process-wide thread takes
/// them over.
#[test]
fn shuttle_close() {
    check(|| {
        let timers = Timers::new("timers");
        let sleepers = [1, 2].map(|n| {
            let timers = timers.clone();
            thread::spawn(move || adapt::run(timers.sleep(SHORT * n)))
        });
        let closer = thread::spawn({
            let timers = timers.clone();
            move || {
                timers.close();
                // The thread calls no waker any more that takes long.
                assert!(timers.wait_ended(None));
                timers.join();
            }
        });
        for thread in sleepers.into_iter().chain([closer]) {
            thread.join().unwrap();
        }
        end(&timers);
    });
}

/// Moved, earlier or later, by another thread than the one that waits for it, while it fires:
/// the new deadline is kept, and the waiting thread is woken for it (TI-5, timers can be moved).
#[test]
fn shuttle_reset() {
    check(|| {
        let timers = Timers::new("timers");
        let begin = now();
        let sleep = Arc::new(Mutex::new(Box::pin(timers.sleep_until(begin + 2 * SHORT))));
        // The target of the moves; written under the lock under which it is moved.
        let deadline = Arc::new(Mutex::new(begin + 2 * SHORT));
        let mover = thread::spawn({
            let (sleep, deadline) = (sleep.clone(), deadline.clone());
            move || {
                for n in [3, 1] {
                    let mut sleep = sleep.lock().unwrap();
                    let to = begin + SHORT * n;
                    *deadline.lock().unwrap() = to;
                    sleep.as_mut().reset(to);
                    drop(sleep);
                    thread::yield_now();
                }
            }
        });
        adapt::run(poll_fn(|cx| {
            let mut sleep = sleep.lock().unwrap();
            let poll = sleep.as_mut().poll(cx);
            if poll.is_ready() {
                assert!(now() >= *deadline.lock().unwrap(), "early (TI-5)");
            }
            poll
        }));
        mover.join().unwrap();
        drop(sleep);
        end(&timers);
    });
}

/// Moved nearer from far ahead: only the mover can have the waiting thread woken, also if the
/// timers are being closed at that moment (TI-5, timers can be moved).
#[test]
fn shuttle_reset_wakes() {
    check(|| {
        let timers = Timers::new("timers");
        let sleep = Arc::new(Mutex::new(Box::pin(timers.sleep(NEVER))));
        let mover = thread::spawn({
            let sleep = sleep.clone();
            move || sleep.lock().unwrap().as_mut().reset_after(SHORT)
        });
        let closer = thread::spawn({
            let timers = timers.clone();
            move || timers.close()
        });
        adapt::run(poll_fn(|cx| sleep.lock().unwrap().as_mut().poll(cx)));
        mover.join().unwrap();
        closer.join().unwrap();
        drop(sleep);
        end(&timers);
    });
}

struct Wakes(Count);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

/// Dropped while it fires: its waker is released (TI-2, timers work anywhere).
#[test]
fn shuttle_drop() {
    check(|| {
        let timers = Timers::new("timers");
        let wakes = Arc::new(Wakes(Count::default()));
        let waker = Waker::from(wakes.clone());
        let dropper = thread::spawn({
            let timers = timers.clone();
            move || {
                let mut sleep = Box::pin(timers.sleep(SHORT));
                let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
                thread::yield_now();
                drop(sleep);
                // Only this thread has it, because this timer does not fire.
                let own = Arc::new(Wakes(Count::default()));
                let mut sleep = Box::pin(timers.sleep(NEVER));
                let waker = Waker::from(own.clone());
                let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
                drop((sleep, waker));
                assert_eq!(Arc::strong_count(&own), 1, "the waker is kept (TI-2)");
            }
        });
        adapt::run(timers.sleep(SHORT));
        dropper.join().unwrap();
        // At most, the timer thread is still calling it.
        end(&timers);
        assert_eq!(Arc::strong_count(&wakes), 1);
        assert!(wakes.0.get() <= 1);
    });
}

/// The last handle goes while a timer waits: it fires all the same.
#[test]
fn shuttle_last_handle() {
    check(|| {
        let timers = Timers::new("timers");
        let sleep = timers.sleep(SHORT);
        let dropper = thread::spawn(move || drop(timers));
        adapt::run(sleep);
        dropper.join().unwrap();
        Timers::global().close();
        Timers::global().join();
    });
}

/// The system has no threads most of the time: timers fire all the same.
#[test]
fn shuttle_no_threads() {
    check(|| {
        let timers = Timers::new("timers");
        let other = thread::spawn({
            let timers = timers.clone();
            move || {
                // The model's own threads have all been started.
                fail_thread_starts(2);
                adapt::run(timers.sleep(SHORT));
            }
        });
        adapt::run(timers.sleep(SHORT));
        other.join().unwrap();
        end(&timers);
    });
}
