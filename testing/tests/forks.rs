//! Children that are forked while other threads of the process start and end.

#![cfg(unix)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use fourway_testing::forked;

#[test]
fn a_child_can_start_threads_whatever_the_parents_do() {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    thread::spawn(|| ()).join().unwrap();
                }
            });
        }
        for _ in 0..100 {
            forked((), |()| thread::spawn(|| ()).join().unwrap());
        }
        ended.store(true, Ordering::Relaxed);
    });
}
