//! States that cannot be seen from outside.

use std::{
    cell::RefCell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use fourway_core::Task;

use super::{
    GROW_AFTER, Pool, PoolBuilder, PoolStatus, StdThreads, Threads, Worker, worker::are_few,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A closure that waits for another could run it in its own slot at once. It does not if a closure
/// that had lent its slot wants it back: the returning closure goes first (OF-4, nested offload
/// never starves).
#[test]
fn a_thread_that_helps_lets_a_returning_closure_go_first() {
    let pool = PoolBuilder::default()
        .limit(1)
        .build(StdThreads::new("one"))
        .unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let order = order.clone();
        move || order.lock().unwrap().push(what)
    };
    let (parks, parked) = mpsc::channel();
    let (come_back, event) = mpsc::channel::<()>();
    let returns = pool.offload({
        let note = note("returned");
        move || {
            let lent = super::lend();
            parks.send(()).unwrap();
            event.recv().unwrap();
            drop(lent);
            note();
        }
    });
    parked.recv_timeout(DEADLINE).unwrap();
    let waits = pool.offload({
        let (pool, note) = (pool.clone(), note("helped"));
        move || {
            come_back.send(()).unwrap();
            let deadline = Instant::now() + DEADLINE;
            while pool.owner.inner.lock().returning.is_empty() {
                assert!(Instant::now() < deadline, "it does not come back");
                std::thread::yield_now();
            }
            pool.offload(note).wait().unwrap();
        }
    });
    crate::run(returns).unwrap();
    crate::run(waits).unwrap();
    assert_eq!(*order.lock().unwrap(), ["returned", "helped"]);
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}

/// The thread cannot say whose closure it runs, so that it must not claim one: the claim's slot
/// would be lost. Nor does it leave one in the inbox out of habit.
#[test]
fn a_thread_that_waits_when_its_locals_are_gone_does_not_help() {
    struct Last(Pool, mpsc::Sender<Option<u32>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let waits = || (0..3).map(|_| self.0.offload(|| 1).wait().unwrap()).sum();
            // A panic out of a destructor would abort the process.
            let _ = self.1.send(catch_unwind(AssertUnwindSafe(waits)).ok());
        }
    }
    thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let pool = PoolBuilder::default()
        .limit(1)
        .build(StdThreads::new("one"))
        .unwrap();
    for uses in [0, 1, 10] {
        let (sender, receiver) = mpsc::channel();
        let ours = pool.clone();
        std::thread::spawn(move || {
            // The first one used is destroyed last.
            LAST.set(Some(Last(ours.clone(), sender)));
            for _ in 0..uses {
                ours.offload(|| ()).wait().unwrap();
            }
        });
        assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), Some(3));
        crate::run(pool.offload(|| ())).unwrap();
    }
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}

/// A late look finds the closures of several looks, and does not take them for short ones.
#[test]
fn closures_that_block_are_few_for_their_time() {
    // Three threads, whose closures block for one look each.
    for looks in [1, 5, 30, 1000] {
        assert!(are_few(3 * u64::from(looks), 3, looks * GROW_AFTER));
        // A hundred times as many do not block.
        assert!(!are_few(300 * u64::from(looks), 3, looks * GROW_AFTER));
    }
    // Woken early, it sees no more than in a whole look.
    assert!(are_few(6, 3, Duration::ZERO));
    assert!(!are_few(7, 3, Duration::ZERO));
}

/// A standby that was asked for and has not come, while nothing is left for it to do, is none: the
/// next closure asks for another one.
#[test]
fn a_standby_that_is_late_for_nothing_is_asked_for_again() {
    /// Keeps the standby that is asked for first.
    #[derive(Clone, Default)]
    struct KeepsSecond(Arc<Mutex<(usize, Option<Worker>)>>);

    impl Threads for KeepsSecond {
        fn start(&self, worker: Worker) -> io::Result<()> {
            let mut kept = self.0.lock().unwrap();
            kept.0 += 1;
            match kept.0 {
                2 => kept.1 = Some(worker),
                _ => drop(std::thread::spawn(move || worker.run())),
            }
            Ok(())
        }
    }

    let source = KeepsSecond::default();
    let pool = PoolBuilder::default()
        .limit(4)
        .eager(1)
        .build(source.clone())
        .unwrap();
    let (starts, started) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let blocks = pool.offload(move || {
        starts.send(()).unwrap();
        gate.recv().unwrap();
    });
    started.recv_timeout(DEADLINE).unwrap();
    let unwanted = pool.offload(|| ());
    assert_eq!(source.0.lock().unwrap().0, 2, "a standby is asked for");
    crate::block_on(unwanted.cancel(), None)
        .unwrap()
        .unwrap_err();
    let deadline = Instant::now() + DEADLINE;
    while pool.owner.inner.lock().starting > 0 {
        assert!(Instant::now() < deadline, "nobody looks for the late one");
        std::thread::yield_now();
    }
    let (runs, ran) = mpsc::channel();
    let wanted = pool.offload(move || runs.send(()).unwrap());
    ran.recv_timeout(DEADLINE).expect("another standby");
    open.send(()).unwrap();
    crate::run(wanted).unwrap();
    crate::run(blocks).unwrap();
    let late = source.0.lock().unwrap().1.take();
    late.expect("it was kept").run();
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}
