//! States of a pool that can be brought about from outside, without luck.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::{
    self as adapt,
    pool::{Pool, PoolBuilder, PoolStatus, StdThreads, Threads, Worker},
};
use fourway_core::{AbortHandle, Task};

const DEADLINE: Duration = Duration::from_secs(60);

fn pool(limit: usize, threads: impl Threads) -> Pool {
    PoolBuilder::default().limit(limit).build(threads).unwrap()
}

fn end(pool: &Pool) {
    pool.close();
    assert_eq!(pool.wait_ended(None), PoolStatus::default());
}

/// Each of the closures has the pool end, and waits for neither of the two.
#[test]
fn closures_that_wait_for_the_end_do_not_wait_for_each_other() {
    let pool = pool(2, StdThreads::new("two"));
    let both = Arc::new(Barrier::new(2));
    let (send, statuses) = mpsc::channel();
    for _ in 0..2 {
        let (inner, both, send) = (pool.clone(), both.clone(), send.clone());
        let waits = move || {
            both.wait();
            inner.close();
            send.send(inner.wait_ended(None)).unwrap();
        };
        pool.offload(waits).detach();
    }
    for _ in 0..2 {
        let status = statuses.recv_timeout(DEADLINE).unwrap();
        assert!(status.running > 0, "itself: {status:?}");
    }
    end(&pool);
}

/// A worker tells the joiner of one closure after it has taken the next. If the joiner cancels that
/// next closure, which has not started, it does not start.
#[test]
fn cancelled_after_it_was_taken_and_before_it_starts() {
    struct Aborts(AbortHandle, AtomicBool);

    impl Wake for Aborts {
        fn wake(self: Arc<Self>) {
            self.0.abort();
            self.1.store(true, Ordering::Release);
        }
    }

    struct Says(Arc<AtomicBool>);

    impl Drop for Says {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    let pool = pool(1, StdThreads::new("one"));
    let (go, wait) = mpsc::channel::<()>();
    let mut first = pin!(pool.offload(move || wait.recv().unwrap()));
    let (ran, destroyed) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let second = pool.offload({
        let (ran, says) = (ran.clone(), Says(Arc::clone(&destroyed)));
        move || {
            let _says = says;
            ran.store(true, Ordering::Release);
        }
    });
    let aborts = Arc::new(Aborts(second.abort_handle(), AtomicBool::new(false)));
    let waker = Waker::from(aborts.clone());
    let poll = first.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    go.send(()).unwrap();

    let error = adapt::run(second).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert!(aborts.1.load(Ordering::Acquire), "nobody has cancelled it");
    assert!(
        destroyed.load(Ordering::Acquire),
        "not destroyed before its join"
    );
    assert!(!ran.load(Ordering::Acquire), "it started all the same");
    assert!(adapt::run(first).is_ok());
    end(&pool);
}

/// A runtime with one thread for all that blocks, as Tokio's with `max_blocking_threads(1)`:
/// workers run on it one after the other. Extra ones have threads of their own.
#[derive(Clone)]
struct OneThread {
    queue: mpsc::Sender<Worker>,
    extra: Arc<Mutex<Vec<thread::JoinHandle<()>>>>,
}

impl OneThread {
    fn new() -> Self {
        let (queue, workers) = mpsc::channel::<Worker>();
        // Ends with the pool, which has the sender.
        thread::spawn(move || workers.into_iter().for_each(Worker::run));
        Self {
            queue,
            extra: Arc::default(),
        }
    }
}

impl Threads for OneThread {
    fn start(&self, worker: Worker) -> io::Result<()> {
        self.queue.send(worker).map_err(io::Error::other)
    }

    fn start_extra(&self, worker: Worker) -> io::Result<()> {
        let thread = thread::spawn(move || worker.run());
        self.extra.lock().unwrap().push(thread);
        Ok(())
    }

    /// No extra thread may come to the rescue.
    fn may_be_late(&self) -> bool {
        false
    }
}

/// Each closure waits for one that it offloads itself. The source's only thread is parked
/// with the first: the others need threads that do not wait for it (OF-4, nested offload never
/// starves).
#[test]
fn a_lent_slot_asks_for_a_thread_that_surely_comes() {
    fn deep(pool: &Pool, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = pool.offload({
            let pool = pool.clone();
            move || deep(&pool, depth - 1)
        });
        adapt::block_on(inner, None).unwrap().unwrap() + 1
    }

    let source = OneThread::new();
    let pool = pool(1, source.clone());
    let task = pool.offload({
        let pool = pool.clone();
        move || deep(&pool, 3)
    });
    let (joined, result) = mpsc::channel();
    thread::spawn(move || joined.send(adapt::run(task).ok()));
    let result = result.recv_timeout(DEADLINE);
    assert_eq!(result.expect("they wait for each other"), Some(3));
    let extra = source.extra.lock().unwrap().len();
    assert!(
        (1..=3).contains(&extra),
        "{extra} threads for three closures"
    );
    end(&pool);
}

/// Cancelled while it runs, a closure goes on to its end. Its output is dropped, and the join says
/// that it was cancelled.
#[test]
fn cancelled_while_it_runs() {
    struct Output(Arc<AtomicBool>);

    impl Drop for Output {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    let pool = pool(1, StdThreads::new("one"));
    let (go, wait) = mpsc::channel::<()>();
    let (runs, begun) = mpsc::channel();
    let dropped = Arc::new(AtomicBool::new(false));
    let task = pool.offload({
        let output = Output(dropped.clone());
        move || {
            runs.send(()).unwrap();
            wait.recv().unwrap();
            output
        }
    });
    begun.recv_timeout(DEADLINE).unwrap();
    task.abort();
    go.send(()).unwrap();
    let result = adapt::run(task);
    assert!(dropped.load(Ordering::Acquire), "dropped after the join");
    assert!(result.is_err_and(|error| error.is_cancelled()));
    end(&pool);
}

/// The waker of a joiner, called on the pool's thread after the closure, blocks: the thread
/// holds no slot any more that it could lend.
#[test]
fn a_waker_that_blocks_lends_nothing() {
    struct Blocks {
        pool: Pool,
        seen: Mutex<mpsc::Sender<(PoolStatus, PoolStatus)>>,
    }

    impl Wake for Blocks {
        fn wake(self: Arc<Self>) {
            let before = self.pool.status();
            let mut polled = false;
            // Not ready at once, so that a slot would be lent.
            let twice = std::future::poll_fn(|cx| {
                if std::mem::replace(&mut polled, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            adapt::block_on(twice, None).unwrap();
            let both = (before, self.pool.status());
            self.seen.lock().unwrap().send(both).unwrap();
        }
    }

    let pool = pool(1, StdThreads::new("one"));
    let (go, wait) = mpsc::channel::<()>();
    let (send, seen) = mpsc::channel();
    let waker = Waker::from(Arc::new(Blocks {
        pool: pool.clone(),
        seen: Mutex::new(send),
    }));
    let mut task = pin!(pool.offload(move || wait.recv().unwrap()));
    let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    go.send(()).unwrap();
    let (before, after) = seen.recv_timeout(DEADLINE).unwrap();
    for status in [before, after] {
        assert_eq!((status.running, status.lent), (0, 0));
    }
    assert!(adapt::run(task).is_ok());
    end(&pool);
}

/// A thread that waits for a closure, and could run it itself, leaves it to its turn: another
/// one was handed in before (OF-5, limits are exact). The source's thread comes only after the
/// thread has had its chance.
#[test]
fn a_thread_that_helps_does_not_overtake() {
    #[derive(Clone, Default)]
    struct AfterHelp(Arc<Mutex<Option<Worker>>>);

    impl Threads for AfterHelp {
        fn start(&self, worker: Worker) -> io::Result<()> {
            *self.0.lock().unwrap() = Some(worker);
            Ok(())
        }

        fn may_be_late(&self) -> bool {
            false
        }

        fn surround(&self, help: &mut dyn FnMut()) {
            help();
            if let Some(worker) = self.0.lock().unwrap().take() {
                thread::spawn(move || worker.run());
            }
        }
    }

    let pool = pool(1, AfterHelp::default());
    let order = Arc::new(Mutex::new(Vec::new()));
    let [first, second] = [1, 2].map(|n| {
        let order = order.clone();
        pool.offload(move || order.lock().unwrap().push(n))
    });
    second.wait().unwrap();
    assert!(adapt::run(first).is_ok());
    assert_eq!(*order.lock().unwrap(), [1, 2]);
    end(&pool);
}

/// A thread has ended for the standard library while its thread-locals are still destroyed. A
/// caller that waits for the pool's end waits for that too, also if another thread was started
/// meanwhile.
#[test]
fn the_end_waits_for_thread_locals_of_a_thread_that_ended_before() {
    struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>, Arc<AtomicBool>);

    impl Drop for Slow {
        fn drop(&mut self) {
            // A panic here would end the process.
            let _ = self.0.send(());
            let _ = self.1.recv_timeout(DEADLINE);
            self.2.store(true, Ordering::Release);
        }
    }

    thread_local! {
        static SLOW: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) };
    }

    let pool = PoolBuilder::default()
        .limit(1)
        .keep_alive(Duration::from_millis(1))
        .build(StdThreads::new("ends"))
        .unwrap();
    let (ends, has_ended) = mpsc::channel();
    let (go, waits) = mpsc::channel();
    let destroyed = Arc::new(AtomicBool::new(false));
    let slow = Slow(ends, waits, destroyed.clone());
    // (No wait on their handles: a waiting thread may run them itself.)
    let _first = pool.offload(move || SLOW.with_borrow_mut(|local| *local = Some(slow)));
    has_ended.recv_timeout(DEADLINE).unwrap();
    let (ran, has_run) = mpsc::channel();
    let _second = pool.offload(move || ran.send(()).unwrap());
    has_run.recv_timeout(DEADLINE).unwrap();
    let opener = thread::spawn(move || {
        // Time for an end that does not wait to be seen.
        thread::sleep(Duration::from_millis(50));
        go.send(()).unwrap();
    });
    end(&pool);
    assert!(destroyed.load(Ordering::Acquire), "it was not waited for");
    opener.join().unwrap();
}
