//! The offload pool.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use super::{Count, Dropped, Event};
use crate::sync::{Mutex, check, one_in, thread};
use crate::{
    self as adapt,
    pool::{Pool, PoolBuilder, PoolStatus, Threads, Worker},
    timer::Timers,
};
use fourway_core::{JoinError, Task};

/// Threads that are waited for, and that sometimes cannot be started.
pub(super) struct Source {
    started: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Fails once in so many times; zero: never.
    fails: u32,
}

impl Source {
    pub(super) fn new(fails: u32) -> Self {
        Self {
            started: Mutex::new(Vec::new()),
            fails,
        }
    }
}

impl Threads for Source {
    fn start(&self, worker: Worker) -> io::Result<()> {
        if self.fails > 0 && one_in(self.fails) {
            if one_in(2) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // Takes it, and gives it up later: its runtime is gone.
            thread::spawn(move || drop(worker));
            return Ok(());
        }
        let thread = thread::spawn(move || worker.run());
        self.started.lock().unwrap().push(thread);
        Ok(())
    }

    fn start_extra(&self, worker: Worker) -> io::Result<()> {
        self.start(worker)
    }

    fn may_be_late(&self) -> bool {
        false
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.started.lock().unwrap());
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

pub(super) fn pool(limit: usize, eager: usize, keep_alive: Duration, fails: u32) -> Pool {
    PoolBuilder::default()
        .limit(limit)
        .eager(eager)
        .keep_alive(keep_alive)
        .build(Source::new(fails))
        .unwrap()
}

/// Waits for everything to end, and for all counts to be back.
pub(super) fn end(pool: &Pool) {
    pool.close();
    let status = pool.wait_ended(None);
    let mut expected = PoolStatus::default();
    expected.dropped = status.dropped;
    assert_eq!(status, expected);
    assert!(pool.lists_nobody());
}

/// Counts the closures that hold a slot, and checks that they are never too many.
#[derive(Clone)]
pub(super) struct Gauge {
    running: Count,
    limit: usize,
}

impl Gauge {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            running: Count::default(),
            limit,
        }
    }

    pub(super) fn enter(&self) {
        let running = self.running.add();
        assert!(running <= self.limit, "{running} closures run at a time");
        thread::yield_now();
    }

    pub(super) fn leave(&self) {
        thread::yield_now();
        self.running.sub();
    }
}

pub(super) const LONG: Duration = Duration::from_secs(10);
pub(super) const SHORT: Duration = Duration::from_millis(5);

/// Workers go idle, run out of time and end, while new closures come. None is
/// stranded, also if it finds a worker that has just decided to end.
fn idle_and_expire(limit: usize, eager: usize, keep_alive: Duration) {
    let pool = pool(limit, eager, keep_alive, 0);
    let gauge = Gauge::new(limit);
    let ran = Count::default();
    let submitters: Vec<_> = (0..2)
        .map(|_| {
            let (pool, gauge, ran) = (pool.clone(), gauge.clone(), ran.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let (gauge, ran) = (gauge.clone(), ran.clone());
                    let task = pool.offload(move || {
                        gauge.enter();
                        gauge.leave();
                        ran.add()
                    });
                    assert!(adapt::run(task).is_ok());
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.join().unwrap();
    }
    assert_eq!(ran.get(), 4);
    // Only those that wait for more are left, if any.
    let status = pool.status();
    assert_eq!((status.queued, status.running, status.lent), (0, 0, 0));
    end(&pool);
}

#[test]
fn shuttle_idle_one_thread() {
    check(|| idle_and_expire(1, 1, LONG));
}

#[test]
fn shuttle_idle_standby() {
    check(|| idle_and_expire(2, 1, LONG));
}

#[test]
fn shuttle_idle_eager() {
    check(|| idle_and_expire(2, 2, LONG));
}

#[test]
fn shuttle_idle_always_expires() {
    check(|| idle_and_expire(2, 1, SHORT));
}

/// More closures than slots, all at once: each runs, in spite of standby threads
/// that come and go.
#[test]
fn shuttle_burst() {
    check(|| {
        let pool = pool(2, 1, LONG, 0);
        let gauge = Gauge::new(2);
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let gauge = gauge.clone();
                pool.offload(move || {
                    gauge.enter();
                    gauge.leave();
                    n
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(adapt::run(task).ok(), Some(n));
        }
        end(&pool);
    });
}

/// All but one of the closures wait for the last one: the pool must grow until
/// that one runs.
#[test]
fn shuttle_grows_while_all_block() {
    check(|| {
        let pool = pool(3, 1, LONG, 0);
        let event = Event::default();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let event = event.clone();
                // Blocks without the pool's knowledge.
                pool.offload(move || {
                    while !event.state.lock().unwrap().0 {
                        thread::yield_now();
                    }
                })
            })
            .collect();
        let last = pool.offload(move || event.set());
        for task in waiting.into_iter().chain([last]) {
            assert!(adapt::run(task).is_ok());
        }
        end(&pool);
    });
}

/// Cancelling races with taking, and with closing. In any order, a closure runs at most once, its
/// captures and its output are dropped once, and its handle says what happened.
#[test]
fn shuttle_cancel_take_close() {
    check(|| {
        let pool = pool(1, 1, LONG, 0);
        let (ran, captures, outputs) = (Count::default(), Count::default(), Count::default());
        let submit = || {
            let (ran, capture, outputs) = (ran.clone(), Dropped(captures.clone()), outputs.clone());
            pool.offload(move || {
                let _capture = capture;
                thread::yield_now();
                ran.add();
                Dropped(outputs)
            })
        };
        let (joined, aborted, dropped) = (submit(), submit(), submit());
        let abort = aborted.abort_handle();
        let others = [
            thread::spawn({
                let abort = abort.clone();
                move || abort.abort()
            }),
            thread::spawn(move || drop(dropped)),
            thread::spawn({
                let pool = pool.clone();
                move || pool.close()
            }),
        ];
        let explained = |result: Result<Dropped, JoinError>, cancelled: bool| match result {
            Ok(_) => {}
            Err(error) => assert!(
                error.is_shutdown() || (cancelled && error.is_cancelled()),
                "{error}"
            ),
        };
        explained(adapt::run(aborted), true);
        assert!(abort.is_finished());
        explained(adapt::run(joined), false);
        for other in others {
            other.join().unwrap();
        }
        end(&pool);
        assert!(ran.get() <= 3);
        assert_eq!(captures.get(), 3);
        assert_eq!(outputs.get(), ran.get());
    });
}

/// The joiner's waker submits a closure, on the very thread that counts as idle
/// already: no other thread may be there to run it.
#[test]
fn shuttle_waker_submits() {
    struct Submits {
        pool: Pool,
        ran: Event,
    }

    impl Wake for Submits {
        fn wake(self: Arc<Self>) {
            let ran = self.ran.clone();
            self.pool.offload(move || ran.set()).detach();
        }
    }

    fn model(limit: usize) {
        let pool = pool(limit, 1, LONG, 0);
        let ran = Event::default();
        let waker = Arc::new(Submits {
            pool: pool.clone(),
            ran: ran.clone(),
        });
        let mut first = pin!(pool.offload(|| ()));
        let waker = Waker::from(waker);
        let poll = first.as_mut().poll(&mut Context::from_waker(&waker));
        if poll.is_ready() {
            waker.wake_by_ref();
        }
        adapt::run(ran);
        end(&pool);
    }

    check(|| model(1));
    check(|| model(2));
}

/// The joiner's waker waits for a closure that it submits itself. The thread that calls
/// the waker counts as idle; it is not the one to run the closure.
#[test]
fn shuttle_waker_waits() {
    struct Waits(Pool, Event);

    impl Wake for Waits {
        fn wake(self: Arc<Self>) {
            assert!(adapt::run(self.0.offload(|| ())).is_ok());
            self.1.set();
        }
    }

    check(|| {
        let pool = pool(2, 2, LONG, 0);
        let woken = Event::default();
        let waker = Waker::from(Arc::new(Waits(pool.clone(), woken.clone())));
        let mut first = pin!(pool.offload(|| ()));
        if first
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            adapt::run(woken);
            assert!(adapt::run(first).is_ok());
        }
        end(&pool);
    });
}

/// A joiner's waker takes its time: as long as it takes two closures to be submitted and
/// the second one to run. The first may wait for the thread that calls the waker, which
/// counts as idle; the second one does not, because there is another thread.
#[test]
fn shuttle_waker_takes_its_time() {
    struct Slow(Event);

    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            // (An event has one waiter.)
            while !self.0.state.lock().unwrap().0 {
                thread::yield_now();
            }
        }
    }

    check(|| {
        // Both run at a time, so that there are two threads; which stay.
        let pool = pool(2, 2, Duration::MAX, 0);
        let there = Count::default();
        let both = || {
            let there = there.clone();
            pool.offload(move || {
                there.add();
                while there.get() < 2 {
                    thread::yield_now();
                }
            })
        };
        let ran = Event::default();
        let waker = Waker::from(Arc::new(Slow(ran.clone())));
        let (mut first, second) = (pin!(both()), both());
        let first_is_ready = first
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        assert!(adapt::run(second).is_ok());
        // From here on both threads count as idle.
        while pool.status().running > 0 {
            thread::yield_now();
        }
        pool.offload(|| ()).detach();
        pool.offload({
            let ran = ran.clone();
            move || ran.set()
        })
        .detach();
        adapt::run(ran);
        if !first_is_ready {
            assert!(adapt::run(first).is_ok());
        }
        end(&pool);
    });
}

/// Cancelled closures leave the queue; those behind them still run.
#[test]
fn shuttle_cancelled_ones_are_skipped() {
    check(|| {
        let pool = pool(1, 1, LONG, 0);
        let handles: Vec<_> = (0..3).map(|n| pool.offload(move || n)).collect();
        let mut handles = handles.into_iter();
        let (first, second) = (handles.next().unwrap(), handles.next().unwrap());
        let other = thread::spawn(move || drop((first, second)));
        assert_eq!(adapt::run(handles.next().unwrap()).ok(), Some(2));
        other.join().unwrap();
        // No closure waits any more.
        assert_eq!(pool.status().queued, 0);
        assert!(adapt::run(pool.offload(|| ())).is_ok());
        end(&pool);
    });
}

/// Each closure waits in `block_on` for one that it offloads itself.
fn deep(pool: Pool, gauge: Gauge, depth: usize) -> usize {
    gauge.enter();
    let inner = if depth == 0 {
        0
    } else {
        let task = pool.offload({
            let (pool, gauge) = (pool.clone(), gauge.clone());
            move || deep(pool, gauge, depth - 1)
        });
        // A slot is held before and after `block_on`: whether `block_on` lends it depends on
        // whether it has to wait.
        gauge.leave();
        let inner = adapt::block_on(task, None).unwrap();
        gauge.enter();
        match inner {
            Ok(inner) => inner + 1,
            // Refused: the pool was closed, or has no thread.
            Err(error) => {
                assert!(error.is_shutdown() || error.is_unstarted());
                0
            }
        }
    };
    gauge.leave();
    inner
}

fn nested(limit: usize, depth: usize, fails: u32, close: bool) {
    let pool = pool(limit, 1, LONG, fails);
    let gauge = Gauge::new(limit);
    let task = pool.offload({
        let (pool, gauge) = (pool.clone(), gauge.clone());
        move || deep(pool, gauge, depth)
    });
    let competitor = thread::spawn({
        let (pool, gauge) = (pool.clone(), gauge.clone());
        move || {
            let task = pool.offload(move || {
                gauge.enter();
                gauge.leave();
            });
            adapt::run(task)
        }
    });
    let closer = close.then(|| {
        let pool = pool.clone();
        thread::spawn(move || pool.close())
    });
    let result = adapt::run(task);
    let other = competitor.join().unwrap();
    if fails == 0 && !close {
        assert_eq!(result.ok(), Some(depth));
        assert!(other.is_ok());
    }
    if let Some(closer) = closer {
        closer.join().unwrap();
    }
    end(&pool);
}

#[test]
fn shuttle_lend_one_slot() {
    check(|| nested(1, 2, 0, false));
}

#[test]
fn shuttle_lend_one_slot_deeper() {
    check(|| nested(1, 3, 0, false));
}

#[test]
fn shuttle_lend_two_slots() {
    check(|| nested(2, 2, 0, false));
}

#[test]
fn shuttle_lend_and_close() {
    check(|| nested(1, 2, 0, true));
}

#[test]
fn shuttle_lend_and_no_threads() {
    check(|| nested(1, 2, 3, false));
}

/// Two chains of nested closures take each other's slots.
#[test]
fn shuttle_lend_crosswise() {
    check(|| {
        let pool = pool(1, 1, LONG, 0);
        let gauge = Gauge::new(1);
        let tasks = [(), ()].map(|()| {
            let (pool, gauge) = (pool.clone(), gauge.clone());
            let inner = pool.clone();
            pool.offload(move || deep(inner, gauge, 1))
        });
        for task in tasks {
            assert_eq!(adapt::run(task).ok(), Some(1));
        }
        end(&pool);
    });
}

/// A closure is parked until one has run that another thread submits: before it parks,
/// while it does, or later, when no thread is left to look at the queue.
#[test]
fn shuttle_lend_and_submit() {
    fn model(limit: usize) {
        let pool = pool(limit, 1, LONG, 0);
        let events: Vec<_> = (0..limit).map(|_| Event::default()).collect();
        let parked: Vec<_> = events
            .iter()
            .map(|event| {
                let event = event.clone();
                pool.offload(move || adapt::block_on(event, None).unwrap())
            })
            .collect();
        let submitter = thread::spawn({
            let pool = pool.clone();
            move || {
                let submit = |event: Event| pool.offload(move || event.set());
                let tasks = events.into_iter().map(submit).collect::<Vec<_>>();
                for task in tasks {
                    assert!(adapt::run(task).is_ok());
                }
            }
        });
        for task in parked {
            assert!(adapt::run(task).is_ok());
        }
        submitter.join().unwrap();
        end(&pool);
    }

    check(|| model(1));
    check(|| model(2));
}

/// Threads that cannot be started, or are taken away before they run: every join
/// resolves all the same.
#[test]
fn shuttle_source_fails() {
    check(|| {
        let pool = pool(2, 1, LONG, 2);
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        if let Err(error) = adapt::run(pool.offload(thread::yield_now)) {
                            assert!(error.is_unstarted() || error.is_shutdown(), "{error}");
                        }
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        end(&pool);
    });
}

/// The first thread beyond the eager one cannot be started. The next closure asks
/// for another, which runs those that wait for a blocked one.
#[test]
fn shuttle_grows_after_a_failed_start() {
    struct SecondFails(Source, Mutex<u32>);

    impl Threads for SecondFails {
        fn start(&self, worker: Worker) -> io::Result<()> {
            let mut starts = self.1.lock().unwrap();
            *starts += 1;
            if *starts == 2 {
                drop(starts);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            drop(starts);
            self.0.start(worker)
        }

        fn may_be_late(&self) -> bool {
            false
        }

        fn join(&self) {
            self.0.join();
        }
    }

    check(|| {
        let pool = PoolBuilder::default()
            .limit(3)
            .eager(1)
            .keep_alive(LONG)
            .build(SecondFails(Source::new(0), Mutex::new(0)))
            .unwrap();
        let event = Event::default();
        let first = pool.offload({
            let event = event.clone();
            move || {
                while !event.state.lock().unwrap().0 {
                    thread::yield_now();
                }
            }
        });
        // Has the thread: otherwise the next one might be given to it as well.
        while pool.status().running == 0 {
            thread::yield_now();
        }
        let second = pool.offload(move || event.set());
        let third = pool.offload(|| ());
        for task in [first, second, third] {
            assert!(adapt::run(task).is_ok());
        }
        end(&pool);
    });
}

/// Threads that come late, or never, in a source that has others to run: closures are run
/// all the same, never too many at a time, and all counts are back in the end.
#[test]
fn shuttle_late_threads_are_replaced() {
    #[derive(Clone)]
    struct Late(Arc<Source>, Arc<Mutex<Vec<Worker>>>);

    impl Threads for Late {
        fn start(&self, worker: Worker) -> io::Result<()> {
            self.1.lock().unwrap().push(worker);
            Ok(())
        }

        fn start_extra(&self, worker: Worker) -> io::Result<()> {
            self.0.start(worker)
        }

        fn join(&self) {
            self.0.join();
        }
    }

    check(|| {
        let source = Late(Arc::new(Source::new(0)), Arc::default());
        let pool = PoolBuilder::default()
            .limit(1)
            .eager(1)
            .keep_alive(SHORT)
            .build(source.clone())
            .unwrap();
        let gauge = Gauge::new(1);
        let tasks = [(), ()].map(|()| {
            let gauge = gauge.clone();
            pool.offload(move || {
                gauge.enter();
                gauge.leave();
            })
        });
        let late = thread::spawn(move || {
            for _ in 0..2 {
                let worker = source.1.lock().unwrap().pop();
                match worker {
                    Some(worker) if one_in(2) => worker.run(),
                    Some(worker) => drop(worker),
                    None => thread::yield_now(),
                }
            }
            source
        });
        for task in tasks {
            // Refused only if the source gives up a thread while there is no other.
            if let Err(error) = adapt::run(task) {
                assert!(error.is_shutdown(), "{error}");
            }
        }
        let source = late.join().unwrap();
        end(&pool);
        let left = std::mem::take(&mut *source.1.lock().unwrap());
        drop(left);
        assert_eq!(pool.status().threads, 0);
        // All threads of a model have to end.
        Timers::global().close();
        Timers::global().join();
    });
}

/// Closing, submitting, and dropping the last handle.
#[test]
fn shuttle_close_and_submit() {
    check(|| {
        let pool = pool(1, 1, LONG, 0);
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || match adapt::run(pool.offload(|| 7)) {
                    Ok(seven) => assert_eq!(seven, 7),
                    Err(error) => assert!(error.is_shutdown()),
                })
            })
            .collect();
        drop(pool);
        for submitter in submitters {
            submitter.join().unwrap();
        }
    });
}

/// With a bounded queue of one and a limit of one there is room for two.
#[test]
fn shuttle_bound() {
    check(|| {
        let pool = PoolBuilder::default()
            .limit(1)
            .queue_bound(Some(1))
            .eager(1)
            .keep_alive(LONG)
            .build(Source::new(0))
            .unwrap();
        let refused = Count::default();
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                let (pool, refused) = (pool.clone(), refused.clone());
                thread::spawn(move || match pool.try_offload(thread::yield_now) {
                    Ok(task) => assert!(adapt::run(task).is_ok()),
                    Err(error) => {
                        assert!(error.is_full());
                        refused.add();
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        assert!(refused.get() <= 1);
        assert!(pool.try_offload(|| ()).map(Task::detach).is_ok());
        end(&pool);
    });
}

/// An unwanted output, whose destructor waits for another closure.
#[test]
fn shuttle_unwanted_output_blocks() {
    struct Blocks(Pool);

    impl Drop for Blocks {
        fn drop(&mut self) {
            let inner = self.0.offload(|| ());
            assert!(adapt::run(inner).is_ok());
        }
    }

    check(|| {
        let pool = pool(2, 1, LONG, 0);
        let task = pool.offload({
            let pool = pool.clone();
            move || Blocks(pool)
        });
        let other = thread::spawn(move || drop(task));
        assert!(adapt::run(pool.offload(|| ())).is_ok());
        other.join().unwrap();
        // Waits for the destructor as well, and then the inner closure has run.
        while pool.status().running + pool.status().queued > 0 {
            thread::yield_now();
        }
        end(&pool);
    });
}

/// The pool's memory goes with its last handle and thread.
#[test]
fn shuttle_pool_is_freed() {
    struct Watched(Source, #[allow(dead_code, reason = "counted")] Arc<()>);

    impl Threads for Watched {
        fn start(&self, worker: Worker) -> io::Result<()> {
            self.0.start(worker)
        }

        fn may_be_late(&self) -> bool {
            false
        }
    }

    check(|| {
        let alive = Arc::new(());
        let pool = PoolBuilder::default()
            .limit(1)
            .keep_alive(LONG)
            .build(Watched(Source::new(0), alive.clone()))
            .unwrap();
        let tasks = [(), ()].map(|()| pool.offload(|| ()));
        let abort = tasks[1].abort_handle();
        let other = thread::spawn(move || abort.abort());
        drop(pool);
        for task in tasks {
            let _ = adapt::run(task);
        }
        other.join().unwrap();
        while Arc::strong_count(&alive) > 1 {
            thread::yield_now();
        }
    });
}
