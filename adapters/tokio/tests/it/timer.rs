//! Tokio's timers beyond the suite: paused clocks, runtimes that go away, runtimes without a time
//! driver.

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::block_on;
use fourway_core::{BlockOn, Shutdown, Spawner, Timer, implement, time::Sleep as _};
use fourway_tokio::Tokio;
use tokio::runtime::Builder;

/// Far above what any of it takes; only a failing test gets here.
const MUST: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_paused_clock_is_the_one_that_counts() {
    let raw = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let real = Instant::now();
    raw.block_on(async {
        let rt = Tokio::current();
        let start = rt.now();
        rt.sleep(HOUR).await;
        assert_eq!(rt.now() - start, HOUR);
        rt.sleep_until(start + 3 * HOUR).await;
        assert_eq!(rt.now() - start, 3 * HOUR);
        let late = rt.timeout(HOUR, std::future::pending::<()>()).await;
        assert!(late.is_err());
        assert_eq!(rt.now() - start, 4 * HOUR);

        // By hand, where nothing advances by itself.
        let mut sleep = pin!(rt.sleep(HOUR));
        assert!(poll_once(sleep.as_mut()).is_pending());
        tokio::time::advance(HOUR - Duration::from_millis(2)).await;
        assert!(poll_once(sleep.as_mut()).is_pending());
        tokio::time::advance(Duration::from_millis(4)).await;
        assert!(poll_once(sleep.as_mut()).is_ready());
    });
    assert!(real.elapsed() < HOUR);
}

/// Also from a thread that is not the runtime's.
#[test]
fn a_paused_clock_is_asked_from_outside() {
    let raw = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let rt = Tokio::from_handle(raw.handle().clone());
    let start = rt.now();
    // A clock that is not paused would have moved on by then.
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(rt.now(), start);
}

#[test]
fn due_and_endless_timers() {
    let rt = Tokio::builder().worker_threads(1).build().unwrap();
    let past = Instant::now();
    assert!(poll_once(pin!(rt.sleep(Duration::ZERO))).is_ready());
    assert!(poll_once(pin!(rt.sleep_until(past))).is_ready());
    assert!(poll_once(pin!(rt.sleep(Duration::MAX))).is_pending());
    // In a task whose budget is used up, too: due is due.
    let inner = rt.clone();
    let task = rt.spawn(std::future::poll_fn(move |cx| {
        while tokio::task::coop::has_budget_remaining() {
            if let Poll::Ready(guard) = tokio::task::coop::poll_proceed(cx) {
                guard.made_progress();
            }
        }
        assert!(poll_once(pin!(inner.sleep(Duration::ZERO))).is_ready());
        Poll::Ready(())
    }));
    rt.block_on(task).unwrap();
}

#[test]
fn another_executor_can_poll_them() {
    let rt = Tokio::builder().current_thread().build().unwrap();
    let start = Instant::now();
    block_on(rt.sleep(Duration::from_millis(20)), None).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20), "early");
}

#[test]
fn they_fire_though_their_runtime_was_shut_down() {
    let configs = [
        Tokio::builder().worker_threads(1),
        Tokio::builder().current_thread(),
    ];
    for builder in configs {
        let rt = builder.build().unwrap();
        let time = Duration::from_millis(50);
        let start = Instant::now();
        let (unpolled, mut polled) = (rt.sleep(time), Box::pin(rt.sleep(time)));
        // Pending, unless the machine is that slow.
        let _ = poll_once(polled.as_mut());
        let report = rt.shutdown(MUST).unwrap();
        assert!(report.is_clean(), "{report}");
        block_on(unpolled, None).unwrap();
        assert!(start.elapsed() >= time, "early");
        if poll_once(polled.as_mut()).is_pending() {
            block_on(polled, None).unwrap();
        }
        // Made afterwards, and blocked on with the runtime that is gone.
        let start = Instant::now();
        rt.block_on(rt.sleep(time));
        assert!(start.elapsed() >= time, "early");
    }
}

#[test]
fn they_fire_though_somebody_elses_runtime_is_gone() {
    let raws = [
        Builder::new_multi_thread().enable_time().build().unwrap(),
        Builder::new_current_thread().enable_time().build().unwrap(),
    ];
    for raw in raws {
        let rt = Tokio::from_handle(raw.handle().clone());
        let time = Duration::from_millis(50);
        let start = Instant::now();
        let (unpolled, mut polled) = (rt.sleep(time), Box::pin(rt.sleep(time)));
        let _ = poll_once(polled.as_mut());
        drop(raw);
        block_on(unpolled, None).unwrap();
        assert!(start.elapsed() >= time, "early");
        if poll_once(polled.as_mut()).is_pending() {
            block_on(polled, None).unwrap();
        }
    }
}

/// A timer that another thread waits for is woken by the shutdown, and goes on.
#[test]
fn one_that_is_being_waited_for_outlives_a_shutdown() {
    let rt = Tokio::builder().worker_threads(1).build().unwrap();
    let time = Duration::from_millis(200);
    let start = Instant::now();
    let sleep = rt.sleep(time);
    let (waiting, waits) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let mut sleep = pin!(sleep);
        let watched = std::future::poll_fn(|cx| {
            let poll = sleep.as_mut().poll(cx);
            let _ = waiting.send(());
            poll
        });
        block_on(watched, None).unwrap();
    });
    waits.recv_timeout(MUST).unwrap();
    assert!(rt.shutdown(MUST).unwrap().is_clean());
    waiter.join().unwrap();
    assert!(start.elapsed() >= time, "early");
}

#[test]
fn a_runtime_without_a_time_driver_has_timers_all_the_same() {
    let raw = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let rt = Tokio::from_handle(raw.handle().clone());
    let start = Instant::now();
    let inner = rt.clone();
    let time = Duration::from_millis(10);
    rt.block_on(rt.spawn(async move {
        inner.sleep(time).await;
        inner.sleep(time).await;
    }))
    .unwrap();
    assert!(start.elapsed() >= 2 * time, "early");
}

/// Tokio's own work that is always ready uses up the task's budget in each poll, and its timers
/// say nothing then: a time limit around such work ends it all the same.
#[test]
fn a_time_limit_ends_what_is_always_ready() {
    for rt in [
        Tokio::builder().build().unwrap(),
        Tokio::builder().current_thread().build().unwrap(),
    ] {
        let clock = rt.clone();
        let task = rt.spawn(async move {
            let endless = async {
                loop {
                    tokio::task::consume_budget().await;
                }
            };
            let never: Result<(), _> = clock.timeout(Duration::from_millis(10), endless).await;
            never.unwrap_err();
        });
        rt.block_on(rt.timeout(Duration::from_secs(60), task))
            .expect("takes for ever")
            .unwrap();
    }
}

/// Raw code may give Tokio any waker, and one that panics unwinds the thread that drives a
/// current-thread runtime. Nothing runs there any more, and no shutdown waits for it. The tasks are
/// destroyed there, still as async code.
#[test]
fn a_driver_that_unwinds_is_not_waited_for() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("expected: a waker of raw code");
        }
    }
    let (ending, ended) = mpsc::channel();
    let rt = Tokio::builder()
        .current_thread()
        .on_thread_stop(move || {
            let _ = ending.send(());
        })
        .build()
        .unwrap();
    struct Destroyed(mpsc::Sender<bool>);
    impl Drop for Destroyed {
        fn drop(&mut self) {
            let _ = self.0.send(implement::check_may_block().is_ok());
        }
    }
    let (destroying, destroyed) = mpsc::channel();
    let captured = Destroyed(destroying);
    // Raw: fourway's own say themselves what they run.
    rt.handle().spawn(async move {
        let _captured = captured;
        pending::<()>().await;
    });
    let mut sleep = {
        let _entered = rt.handle().enter();
        Box::pin(tokio::time::sleep(Duration::from_millis(5)))
    };
    let waker = Waker::from(Arc::new(Panics));
    let poll = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    if poll.is_pending() {
        ended.recv_timeout(MUST).expect("the driver's thread ends");
        let may_block = destroyed.recv_timeout(MUST);
        assert_eq!(may_block, Ok(false), "a destructor may block the driver");
    }
    let inner = rt.clone();
    let (sender, report) = mpsc::channel();
    thread::spawn(move || sender.send(inner.shutdown(Duration::MAX)));
    let report = report
        .recv_timeout(MUST)
        .expect("it does not hang")
        .unwrap();
    assert_eq!(report.threads_running, report.tasks_running, "{report:?}");
}

/// Tokio's driver has a slot in place of a hand-made waker, and the waker of a task itself: the
/// rest of the suite tests what that is good for, and this one that a timer can be polled with both.
#[test]
#[allow(
    clippy::async_yields_async,
    reason = "the timer is handed out, to be polled elsewhere"
)]
fn a_timer_that_is_polled_with_any_waker_wakes_the_last_one() {
    struct Sends(mpsc::Sender<()>);
    impl Wake for Sends {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let rt = Tokio::builder().worker_threads(1).build().unwrap();
    let (sender, woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Sends(sender)));
    let mut sleep = Box::pin(rt.sleep(HOUR));
    for _ in 0..2 {
        let in_task = rt.spawn(async move {
            let poll = poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await;
            assert!(poll.is_pending());
            sleep
        });
        sleep = rt.block_on(in_task).unwrap();
        let poll = sleep.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    sleep.as_mut().reset_after(Duration::from_millis(2));
    woken.recv_timeout(MUST).expect("the last waker is called");
    rt.block_on(rt.spawn(sleep)).unwrap();
}
