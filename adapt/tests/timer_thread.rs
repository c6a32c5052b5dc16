//! The thread of the timers ends when nothing is due, and comes back.
#![cfg(target_os = "linux")]

use std::{
    cell::RefCell,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{block_on, timer::Timers};
use fourway_core::{Timer, time::Sleep};

/// Far above what any of it takes; only a failing test gets here.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many threads of this process are called so.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim_end() == name)
        .count()
}

fn wait_until(count: usize) {
    let began = Instant::now();
    while threads("ending-timer") != count {
        assert!(
            began.elapsed() < DEADLINE,
            "{} timer threads in place of {count}",
            threads("ending-timer")
        );
        thread::yield_now();
    }
}

#[test]
fn it_ends_and_comes_back() {
    let timers = Timers::new("ending-timer");
    for _ in 0..2 {
        assert_eq!(threads("ending-timer"), 0);
        block_on(timers.sleep(Duration::from_millis(1)), None).unwrap();
        // A timer that was dropped does not keep it.
        let mut dropped = Box::pin(timers.sleep(Duration::from_secs(3600)));
        let first = std::future::poll_fn(|cx| {
            let _ = dropped.as_mut().poll(cx);
            std::task::Poll::Ready(())
        });
        block_on(first, None).unwrap();
        wait_until(1);
        drop(dropped);
        wait_until(0);
    }
}

/// A destructor of a thread-local that says when it begins, and waits until it may end.
struct SlowEnd {
    begins: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
    ended: Arc<AtomicBool>,
}

impl Drop for SlowEnd {
    fn drop(&mut self) {
        // A panic here would end the process.
        let _ = self.begins.send(());
        let _ = self.go.recv_timeout(DEADLINE);
        self.ended.store(true, Ordering::Release);
    }
}

thread_local! {
    static SLOW: RefCell<Option<SlowEnd>> = const { RefCell::new(None) };
}

/// Leaves the destructor on the thread that wakes, and says so.
struct Leave(std::sync::Mutex<Option<SlowEnd>>, mpsc::Sender<()>);

impl Wake for Leave {
    fn wake(self: Arc<Self>) {
        let slow = self.0.lock().unwrap().take();
        SLOW.with_borrow_mut(|local| *local = slow);
        let _ = self.1.send(());
    }
}

/// A thread has ended for the standard library before its thread-locals are destroyed. Each of
/// those who join the timers waits for that, also if another thread has come since.
#[test]
fn all_who_join_wait_for_thread_locals() {
    for another_comes in [false, true] {
        let timers = Timers::new("joined-timer");
        let (begins, has_begun) = mpsc::channel();
        let (go, waits) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let slow = SlowEnd {
            begins,
            go: waits,
            ended: ended.clone(),
        };
        let (leaves, has_left) = mpsc::channel();
        let waker = Waker::from(Arc::new(Leave(Some(slow).into(), leaves)));
        let mut sleep = Box::pin(timers.sleep(2 * DEADLINE));
        let poll = sleep.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(poll, Poll::Pending);
        // However late this thread is, the other one wakes.
        sleep.as_mut().reset(Instant::now());
        has_left.recv_timeout(DEADLINE).unwrap();
        if another_comes {
            // The first has nothing to do, and ends by itself.
            has_begun.recv_timeout(DEADLINE).unwrap();
            block_on(timers.sleep(Duration::from_millis(1)), None).unwrap();
        }
        timers.close();
        let (joins, is_joined) = mpsc::channel();
        let joiners: Vec<_> = (0..2)
            .map(|_| {
                let (timers, ended, joins) = (timers.clone(), ended.clone(), joins.clone());
                thread::spawn(move || {
                    joins.send(()).unwrap();
                    timers.join();
                    ended.load(Ordering::Acquire)
                })
            })
            .collect();
        if !another_comes {
            has_begun.recv_timeout(DEADLINE).unwrap();
        }
        for _ in &joiners {
            is_joined.recv_timeout(DEADLINE).unwrap();
        }
        // Time in which a joiner that does not wait would return.
        thread::sleep(Duration::from_millis(50));
        go.send(()).unwrap();
        for joiner in joiners {
            assert!(joiner.join().unwrap(), "it was not waited for");
        }
    }
}

/// Says that it is called, and returns when it may.
struct Stuck(mpsc::Sender<()>, std::sync::Mutex<mpsc::Receiver<()>>);

impl Wake for Stuck {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
        let _ = self.1.lock().unwrap().recv_timeout(DEADLINE);
    }
}

struct Sends(mpsc::Sender<()>);

impl Wake for Sends {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// The closed timers' thread calls the wakers of all. While one does not return, whoever waits for
/// the thread has another one call the others.
#[test]
fn a_waker_that_is_stuck_at_the_end_keeps_no_other() {
    let timers = Timers::new("stuck-timer");
    let (begins, has_begun) = mpsc::channel();
    let (go, waits) = mpsc::channel();
    let (wakes, woken) = mpsc::channel();
    let stuck = Waker::from(Arc::new(Stuck(begins, waits.into())));
    let other = Waker::from(Arc::new(Sends(wakes)));
    let mut sleeps = [(2, stuck), (3, other)].map(|(times, waker)| {
        let sleep = Box::pin(timers.sleep(times * DEADLINE));
        (sleep, waker)
    });
    for (sleep, waker) in &mut sleeps {
        let poll = sleep.as_mut().poll(&mut Context::from_waker(waker));
        assert_eq!(poll, Poll::Pending);
    }
    timers.close();
    has_begun.recv_timeout(DEADLINE).unwrap();
    assert!(!timers.wait_ended(Some(Instant::now())));
    (woken.recv_timeout(DEADLINE)).expect("the other one is called");
    go.send(()).unwrap();
    assert!(timers.wait_ended(None));
    timers.join();
}

/// Timers that become due at one moment, with the wakers that `make` makes for each try.
fn due_together<T>(
    make: impl Fn() -> (Vec<Waker>, T),
) -> (Timers, Vec<impl Future<Output = ()>>, T) {
    // A machine that sleeps for longer than the first times is no fault.
    for round in 0..10 {
        let (wakers, rest) = make();
        let timers = Timers::new("stuck-due-timer");
        let deadline = Instant::now() + Duration::from_millis(20 << round);
        let mut sleeps: Vec<_> = (wakers.iter())
            .map(|_| Box::pin(timers.sleep_until(deadline)))
            .collect();
        let mut waits = sleeps.iter_mut().zip(&wakers).map(|(sleep, waker)| {
            let cx = &mut Context::from_waker(waker);
            sleep.as_mut().poll(cx).is_pending()
        });
        if waits.all(|waits| waits) {
            return (timers, sleeps, rest);
        }
    }
    panic!("each time the deadline passed before all timers were made");
}

/// Timers that are due at one moment, behind a waker that does not return: the end of the runtime does
/// not lose them (TI-2, timers work anywhere).
#[test]
fn a_waker_that_is_stuck_keeps_none_that_is_due_with_it() {
    for times in [3, 300] {
        let (timers, _sleeps, (has_begun, go, woken)) = due_together(|| {
            let (begins, has_begun) = mpsc::channel();
            let (go, waits) = mpsc::channel();
            let (wakes, woken) = mpsc::channel();
            let other = || Waker::from(Arc::new(Sends(wakes.clone())));
            let mut wakers: Vec<_> = (0..times).map(|_| other()).collect();
            wakers[1] = Waker::from(Arc::new(Stuck(begins, waits.into())));
            (wakers, (has_begun, go, woken))
        });
        has_begun.recv_timeout(DEADLINE).unwrap();
        timers.close();
        for _ in 1..times {
            woken
                .recv_timeout(DEADLINE)
                .expect("all the others are called");
        }
        go.send(()).unwrap();
        assert!(timers.wait_ended(None));
        timers.join();
    }
}

/// Two wakers that do not return, such as those of one executor with a lock that is held: neither the
/// end of the timers nor that of their last handle waits for them (SH-2, dropping a handle never blocks).
#[test]
fn two_wakers_that_are_stuck_keep_nobody() {
    for is_dropped in [false, true] {
        let (timers, _sleeps, (begun, gos, woken)) = due_together(|| {
            let (wakes, woken) = mpsc::channel();
            let stuck = || {
                let (begins, has_begun) = mpsc::channel();
                let (go, waits) = mpsc::channel();
                (
                    Waker::from(Arc::new(Stuck(begins, waits.into()))),
                    has_begun,
                    go,
                )
            };
            let ((a, a_begun, a_go), (b, b_begun, b_go)) = (stuck(), stuck());
            let other = Waker::from(Arc::new(Sends(wakes)));
            (vec![a, b, other], ([a_begun, b_begun], [a_go, b_go], woken))
        });
        begun[0].recv_timeout(DEADLINE).unwrap();
        let (ends, has_ended) = mpsc::channel();
        thread::spawn(move || match is_dropped {
            true => {
                drop(timers);
                ends.send(None)
            }
            false => {
                timers.close();
                assert!(!timers.wait_ended(Some(Instant::now())));
                ends.send(Some(timers))
            }
        });
        // Half of it, as a waker that is stuck returns after the whole.
        let timers = has_ended.recv_timeout(DEADLINE / 2);
        let timers = timers.expect("the end waits for no waker");
        begun[1].recv_timeout(DEADLINE).unwrap();
        let all_go = || gos.iter().for_each(|go| go.send(()).unwrap());
        match timers {
            None => {
                all_go();
                woken.recv_timeout(DEADLINE).expect("the last is called");
            }
            Some(timers) => {
                // It begins to be called behind the second: whoever waits has another thread for it.
                assert!(!timers.wait_ended(Some(Instant::now())));
                (woken.recv_timeout(DEADLINE / 2)).expect("the last is called beside both");
                all_go();
                assert!(timers.wait_ended(None));
                timers.join();
            }
        }
    }
}
