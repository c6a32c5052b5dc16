//! SH-1, orderly shutdown: the ends of the runtime's threads. The standard library says that a
//! thread has ended before the destructors of its thread-locals have run; these cases have one that
//! is slow.

use std::{thread, time::Duration};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, at_thread_end, drive, eventually, must_not, never},
};

use super::clean;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SH-1.22", "each of two shutdowns at once waits for the threads' last destructors",
        "the second finds no thread left to join, and returns early", two_at_once, needs [Shutdown];
        "SH-1.23", "a closure's thread whose time was over is waited for as well",
        "a thread that has ended by all but its thread-locals is forgotten", idle_thread, needs [Shutdown];
        "SH-1.24", "a worker that has blocked in place and was replaced is waited for as well",
        "a worker more than the runtime knows of", replaced_worker, needs [BlockInPlace, Shutdown];
        "SH-1.25", "a thread that stands in for a parked closure's is waited for as well",
        "the pool's own threads are joined, and the extra ones are not", stand_in, needs [Shutdown];
    ]
}

fn two_at_once<S: Setup>(s: S) {
    // One kind of thread after the other: a caller that waits for one need not wait for the other.
    let slow = SlowEnd::default();
    let (rt, of_worker) = (s.build(), slow.clone());
    let task = rt.spawn(async move { of_worker.of_this_thread() });
    rt.block_on(task).unwrap();
    slow.is_waited_for(&rt, 2);
    let slow = SlowEnd::default();
    let (rt, of_closure) = (s.build(), slow.clone());
    let task = rt.offload(move || of_closure.of_this_thread());
    rt.block_on(task).unwrap();
    slow.is_waited_for(&rt, 2);
}

fn idle_thread<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(1));
    let slow = SlowEnd::default();
    let of_closure = slow.clone();
    drive(rt.offload(move || of_closure.of_this_thread())).unwrap();
    // A thread that is kept for other uses, as that of a foreign pool, ends at the shutdown.
    slow.begun.wait_for(must_not());
    // Another thread takes over, and ends.
    drive(rt.offload(|| ())).unwrap();
    slow.is_waited_for(&rt, 1);
}

fn replaced_worker<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    let slow = SlowEnd::default();
    // On some runtimes the worker that has blocked ends, on others the one in its place.
    let (of_worker, of_other, in_place) = (slow.clone(), slow.clone(), rt.clone());
    let first = rt.spawn(async move {
        of_worker.of_this_thread();
        let inner = in_place.clone();
        in_place.block_in_place(move || {
            let task = inner.spawn(async move { of_other.of_this_thread() });
            inner.block_on(task).unwrap();
        })
    });
    rt.block_on(first).unwrap().unwrap();
    // A worker that is kept for other uses ends at the shutdown.
    slow.begun.wait_for(must_not());
    // Another one is replaced, and ends.
    let in_place = rt.clone();
    let second = rt.spawn(async move { in_place.block_in_place(|| ()) });
    rt.block_on(second).unwrap().unwrap();
    slow.is_waited_for(&rt, 1);
}

fn stand_in<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let slow = SlowEnd::default();
    let (of_closure, inner) = (slow.clone(), rt.clone());
    // It lends its slot, and its thread is parked.
    let outer =
        rt.offload(move || inner.block_on(inner.offload(move || of_closure.of_this_thread())));
    drive(outer).unwrap().unwrap();
    slow.is_waited_for(&rt, 1);
}

/// A destructor of a thread-local that waits until it may end.
#[derive(Clone, Default)]
struct SlowEnd {
    threads: Counter,
    begun: Gate,
    go: Gate,
    ended: Counter,
}

impl SlowEnd {
    fn of_this_thread(&self) {
        let this = self.clone();
        this.threads.add();
        at_thread_end(move || {
            this.begun.open();
            this.go.wait();
            this.ended.add();
        });
    }

    /// Shuts `rt` down, on so many threads at once.
    #[track_caller]
    fn is_waited_for(&self, rt: &(impl Shutdown + Clone + Send + 'static), callers: usize) {
        let (entering, returned) = (Counter::new(), Counter::new());
        let count = callers;
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let (rt, entering) = (rt.clone(), entering.clone());
                let (returned, ended) = (returned.clone(), self.ended.clone());
                thread::spawn(move || {
                    entering.add();
                    clean(&rt);
                    returned.add();
                    ended.get()
                })
            })
            .collect();
        self.begun.wait();
        eventually("all shut it down", || entering.get() == count);
        never("a shutdown returns before the threads have ended", || {
            returned.get() > 0
        });
        self.go.open();
        for caller in callers {
            eventually("a shutdown returns", || caller.is_finished());
            assert_eq!(
                caller.join().unwrap(),
                self.threads.get(),
                "a thread is still there"
            );
        }
    }
}
