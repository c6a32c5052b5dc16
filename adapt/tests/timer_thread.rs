//! The thread of the timers ends when nothing is due, and comes back.
#![cfg(target_os = "linux")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use fourway_adapt::{block_on, timer::Timers};
use fourway_core::Timer;

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
            began.elapsed() < Duration::from_secs(60),
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
