//! Threads that wait for closures, and run them.

use std::{io, sync::Arc, time::Duration};

use super::{
    Count, Dropped,
    pool::{Gauge, LONG, SHORT, Source, end, pool},
};
use crate::sync::{Mutex, check, one_in, thread};
use crate::{
    self as adapt,
    pool::{Pool, PoolBuilder, Threads, Worker},
};
use fourway_core::{
    Task,
    context::{self, Context},
};

/// A closure that is run once, within the limit, as an offloaded one.
fn work(gauge: &Gauge, runs: &Count) -> impl FnOnce() -> usize + Send + 'static {
    let (gauge, runs) = (gauge.clone(), runs.clone());
    move || {
        gauge.enter();
        assert_eq!(context::current(), Context::Blocking);
        let run = runs.add();
        gauge.leave();
        run
    }
}

/// Threads that wait, and one that awaits, while workers come and end: each closure runs
/// once, never too many at a time, and none is stranded when a thread that helps gives its
/// slot back.
fn wait_and_await(limit: usize, eager: usize, keep_alive: Duration, fails: u32) {
    let pool = pool(limit, eager, keep_alive, fails);
    let (gauge, runs, ended) = (Gauge::new(limit), Count::default(), Count::default());
    let waiters: Vec<_> = [true, true, false]
        .into_iter()
        .map(|waits| {
            let (pool, gauge, runs, ended) =
                (pool.clone(), gauge.clone(), runs.clone(), ended.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let task = pool.offload(work(&gauge, &runs));
                    let result = if waits { task.wait() } else { adapt::run(task) };
                    match result {
                        Ok(_) => drop(ended.add()),
                        Err(error) => assert!(error.is_unstarted() || error.is_shutdown()),
                    }
                }
            })
        })
        .collect();
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(runs.get(), ended.get());
    if fails == 0 {
        assert_eq!(runs.get(), 6);
    }
    end(&pool);
}

#[test]
fn shuttle_help_one_slot() {
    check(|| wait_and_await(1, 1, LONG, 0));
}

#[test]
fn shuttle_help_two_slots_and_short_lives() {
    check(|| wait_and_await(2, 1, SHORT, 0));
}

#[test]
fn shuttle_help_without_threads() {
    check(|| wait_and_await(2, 2, SHORT, 2));
}

/// Cancelled at any moment: it ran to its end or not at all, its captures are gone, and
/// the waiting thread learns which.
#[test]
fn shuttle_help_and_cancel() {
    check(|| {
        let pool = pool(1, 1, LONG, 0);
        let gone = Count::default();
        let (before, during) = (Count::default(), Count::default());
        let captured = Dropped(gone.clone());
        let task = {
            let (before, during) = (before.clone(), during.clone());
            pool.offload(move || {
                before.add();
                thread::yield_now();
                during.add();
                drop(captured);
            })
        };
        let abort = task.abort_handle();
        let other = thread::spawn(move || abort.abort());
        let result = task.wait();
        assert_eq!(before.get(), during.get());
        assert_eq!(gone.get(), 1);
        match result {
            Ok(()) => assert_eq!(before.get(), 1),
            Err(error) => assert!(error.is_cancelled()),
        }
        other.join().unwrap();
        end(&pool);
    });
}

/// Shut down at any moment: a closure ran or was dropped. A thread that waits for the pool to end
/// also waits for a closure that another thread runs.
#[test]
fn shuttle_help_and_close() {
    check(|| {
        let pool = pool(2, 1, LONG, 0);
        let running = Count::default();
        let waiters = [(), ()].map(|()| {
            let (pool, running) = (pool.clone(), running.clone());
            thread::spawn(move || {
                let task = pool.offload(move || {
                    running.add();
                    thread::yield_now();
                    running.sub();
                });
                if let Err(error) = task.wait() {
                    assert!(error.is_shutdown());
                }
            })
        });
        pool.close();
        let status = pool.wait_ended(None);
        assert_eq!(running.get(), 0);
        assert_eq!(status.threads + status.running + status.lent, 0);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        end(&pool);
    });
}

/// Closures that wait for closures, within a limit that is below their number; beside one
/// that waits in line.
fn nested(limit: usize) {
    fn nest(pool: &Pool, gauge: &Gauge, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let (inner, inside) = (pool.clone(), gauge.clone());
        let task = pool.offload(move || {
            inside.enter();
            inside.leave();
            let below = nest(&inner, &inside, depth - 1);
            // Has its slot again (OF-4, nested offload never starves).
            inside.enter();
            inside.leave();
            below
        });
        task.wait().unwrap() + 1
    }
    let pool = pool(limit, 1, LONG, 0);
    let gauge = Gauge::new(limit);
    let runs = Count::default();
    let other = pool.offload(work(&gauge, &runs));
    let (inner, inside) = (pool.clone(), gauge.clone());
    let second = thread::spawn(move || nest(&inner, &inside, 1));
    assert_eq!(nest(&pool, &gauge, 3), 4);
    assert_eq!(second.join().unwrap(), 2);
    assert_eq!(adapt::run(other).unwrap(), 1);
    end(&pool);
}

#[test]
fn shuttle_help_nested_in_one_slot() {
    check(|| nested(1));
}

#[test]
fn shuttle_help_nested_in_two_slots() {
    check(|| nested(2));
}

/// A closure of one pool waits for one of another, whose closure comes back: both lend.
#[test]
fn shuttle_help_between_pools() {
    check(|| {
        let (a, b) = (pool(1, 1, LONG, 0), pool(1, 1, LONG, 0));
        let (in_a, in_b) = (Gauge::new(1), Gauge::new(1));
        let runs = Count::default();
        let other = a.offload(work(&in_a, &runs));
        let task = {
            let (a, b, in_a, runs) = (a.clone(), b.clone(), in_a.clone(), runs.clone());
            let outer = a.clone();
            outer.offload(move || {
                let (again, inside) = (a.clone(), in_a.clone());
                let task = b.offload(move || {
                    in_b.enter();
                    in_b.leave();
                    again.offload(work(&inside, &runs)).wait().unwrap()
                });
                let run = task.wait().unwrap();
                in_a.enter();
                in_a.leave();
                run
            })
        };
        task.wait().unwrap();
        adapt::run(other).unwrap();
        assert_eq!(runs.get(), 2);
        end(&a);
        end(&b);
    });
}

/// A source may say that another thread will not do, at any moment.
#[test]
fn shuttle_help_refused_by_the_source() {
    struct Choosy(Source);

    impl Threads for Choosy {
        fn start(&self, worker: Worker) -> io::Result<()> {
            self.0.start(worker)
        }

        fn may_be_late(&self) -> bool {
            false
        }

        fn surround(&self, f: &mut dyn FnMut()) {
            if one_in(2) {
                f();
            }
        }

        fn join(&self) {
            self.0.join();
        }
    }

    check(|| {
        let pool = PoolBuilder::default()
            .limit(1)
            .keep_alive(LONG)
            .build(Choosy(Source::new(0)))
            .unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks = [0, 1].map(|number| {
            let order = order.clone();
            pool.offload(move || order.lock().unwrap().push(number))
        });
        for task in tasks.into_iter().rev() {
            task.wait().unwrap();
        }
        // In order, also if the second is waited for first (OF-5, limits are exact).
        assert_eq!(*order.lock().unwrap(), [0, 1]);
        end(&pool);
    });
}

/// A thread that has helped leaves its next closure to the warden, and awaits it, or does not
/// wait at all: it is run all the same. (Under the checker, once makes a habit.)
#[test]
fn shuttle_help_out_of_habit() {
    check(|| {
        let pool = pool(2, 1, LONG, 0);
        let runs = Count::default();
        let threads = [true, false].map(|other| {
            let (pool, runs) = (pool.clone(), runs.clone());
            thread::spawn(move || {
                for round in 0..4 {
                    let runs = runs.clone();
                    let task = pool.offload(move || runs.add());
                    if round < 3 && other {
                        task.wait().unwrap();
                    } else {
                        adapt::run(task).unwrap();
                    }
                }
            })
        });
        let detached = {
            let runs = runs.clone();
            pool.offload(move || runs.add())
        };
        detached.wait().unwrap();
        let last = runs.clone();
        let task = pool.offload(move || last.add());
        // Only the pool comes for it.
        while !task.is_finished() {
            thread::yield_now();
        }
        task.wait().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(runs.get(), 10);
        end(&pool);
    });
}
