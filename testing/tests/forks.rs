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
        // Dropped before the scope waits, also after a failure.
        let _end = End(&ended);
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    thread::spawn(|| ()).join().unwrap();
                }
            });
        }
        // A child that is forked at the wrong moment takes seconds.
        for _ in 0..20 {
            forked((), |()| thread::spawn(|| ()).join().unwrap());
        }
    });
}

/// Ends the threads when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        // Relaxed: it is all that the threads look at, and joining them orders the rest.
        self.0.store(true, Ordering::Relaxed);
    }
}
