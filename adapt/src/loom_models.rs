//! Small models of the pool, in all schedules and with all that the orderings allow: its inbox and
//! attendance, idling, lending, helping.
//!
//! These models check fences and orderings. Shuttle cannot, because it takes all accesses as
//! sequentially consistent. Models with more threads or closures are in `shuttle_models`. Most
//! models go up to two preemptions, and [`check`] to three, unless `LOOM_MAX_PREEMPTIONS` says
//! otherwise; together they take some fifteen seconds of processor time, and the same schedules in
//! each run.
//!
//! | change that makes a model fail | which |
//! |---|---|
//! | `push` without its fence, or `unattend` without its own | `loom_submit`, `loom_submit_while_threads_end`, `loom_submit_from_two_threads`, `loom_cancel`, `loom_lend_and_submit` |
//! | a worker that goes idle without saying so, or without another look at the inbox | `loom_submit` |
//! | idle workers taken for attendance | `loom_submit` |
//! | a result that is shown before its slot is free | `loom_submit` |
//! | a claim of two steps | `loom_cancel` |
//! | lending without saying so | `loom_lend_and_submit` |
//! | lending without asking for a thread | `loom_lend` |
//! | going on without a slot | `loom_lend_and_return` |
//! | closing without the inbox, or without waking idle workers | `loom_close` |
//! | waking a parked thread without Release | `loom_park` |
//! | `KeptWaker::keep` or `wake` without its fence | `loom_kept_waker` |
//! | `Notice::mark` without Release, or `is_given` without Acquire | `loom_notice` |
//!
//! `.ci/mutate` makes each of these changes; docs/MUTATIONS.md has more.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate as adapt;
use crate::{
    pool::{OffloadTask, Pool, PoolBuilder, PoolStatus, Threads, Worker},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
        check, check_up_to, thread, waits_run_out,
    },
};
use fourway_core::Task;

/// Threads that are waited for.
#[derive(Default)]
struct Source {
    // The standard library's: loom sees no operation while it is held.
    started: std::sync::Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Threads for Source {
    fn start(&self, worker: Worker) -> io::Result<()> {
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

fn pool(limit: usize, eager: usize, keep_alive: Duration) -> Pool {
    PoolBuilder::default()
        .limit(limit)
        .eager(eager)
        .keep_alive(keep_alive)
        .build(Source::default())
        .unwrap()
}

/// Waits for everything to end, and for all counts to be back.
fn end(pool: &Pool) {
    pool.close();
    let status = pool.wait_ended(None);
    assert_eq!(status, PoolStatus::default());
    assert!(pool.lists_nobody());
}

/// A count that the closures of a pool with one slot share without synchronisation: each sees the
/// writes of the one before.
#[derive(Clone, Default)]
struct Own(Arc<AtomicUsize>);

impl Own {
    fn add(&self) {
        self.0.store(self.get() + 1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A future that is ready when some thread says so.
#[derive(Clone, Default)]
struct Event(Arc<Mutex<(bool, Option<Waker>)>>);

impl Event {
    fn set(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Event {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn join<T: Send + 'static>(task: OffloadTask<T>) -> T {
    adapt::run(task).unwrap()
}

/// A closure that is on record in `own`.
fn counted(pool: &Pool, own: &Own) -> OffloadTask<()> {
    let own = own.clone();
    pool.offload(move || own.add())
}

/// Closures come while one runs, ends, and its thread goes idle or gives up waiting: a worker comes
/// for each. They run one at a time, and each sees the writes of the one before.
fn submit(others: usize, keep_alive: Duration, at_once: bool) {
    waits_run_out(at_once);
    let pool = pool(1, 1, keep_alive);
    let own = Own::default();
    let first = counted(&pool, &own);
    let submitters: Vec<_> = (0..others)
        .map(|_| {
            let (pool, own) = (pool.clone(), own.clone());
            thread::spawn(move || join(counted(&pool, &own)))
        })
        .collect();
    first.detach();
    join(counted(&pool, &own));
    if others == 0 {
        // A result is shown last.
        assert_eq!(pool.status().running, 0);
    }
    for submitter in submitters {
        submitter.join().unwrap();
    }
    assert_eq!(own.get(), others + 2);
}

#[test]
fn loom_submit() {
    check(|| submit(0, Duration::MAX, false));
}

#[test]
fn loom_submit_from_two_threads() {
    check_up_to(2, || submit(1, Duration::MAX, false));
}

#[test]
fn loom_submit_while_threads_end() {
    check_up_to(2, || submit(0, LONG, true));
}

/// Two closures, of which the second one finds a worker that is idle, or called, or on its
/// way there; the first one may be waiting for it.
#[test]
fn loom_two_slots() {
    check_up_to(2, || {
        let pool = pool(2, 2, Duration::MAX);
        let event = Event::default();
        let waits = pool.offload({
            let event = event.clone();
            move || adapt::run(event)
        });
        pool.offload(move || event.set()).detach();
        join(waits);
    });
}

/// All but one of the closures block: the standby comes for that one, whether it sees at its
/// first look that nothing moves, or only when everybody waits.
fn standby(at_once: bool) {
    waits_run_out(at_once);
    let pool = pool(2, 1, Duration::MAX);
    let event = Event::default();
    let waits = pool.offload({
        let event = event.clone();
        move || adapt::run(event)
    });
    pool.offload(move || event.set()).detach();
    join(waits);
}

#[test]
fn loom_standby() {
    check_up_to(2, || standby(false));
}

#[test]
fn loom_standby_looks_at_once() {
    check_up_to(2, || standby(true));
}

/// A closure waits for one that it offloads itself, and lends it its slot.
#[test]
fn loom_lend() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let own = Own::default();
        let task = pool.offload({
            let (pool, own) = (pool.clone(), own.clone());
            move || {
                own.add();
                adapt::block_on(counted(&pool, &own), None)
                    .unwrap()
                    .unwrap();
                own.add();
            }
        });
        join(task);
        assert_eq!(own.get(), 3);
    });
}

/// A closure is parked until one has run that another thread submits: before it parks, while
/// it does, or later, when no thread is left to look at the inbox.
#[test]
fn loom_lend_and_submit() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let own = Own::default();
        let event = Event::default();
        let parked = pool.offload({
            let (event, own) = (event.clone(), own.clone());
            move || {
                own.add();
                adapt::block_on(event, None).unwrap();
                own.add();
            }
        });
        let submit = |own: Own| {
            pool.offload(move || {
                own.add();
                event.set();
            })
        };
        submit(own.clone()).detach();
        join(parked);
        assert_eq!(own.get(), 3);
    });
}

/// A closure wants its slot back while another one has it, and sees then the writes of that one.
#[test]
fn loom_lend_and_return() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let own = Own::default();
        let event = Event::default();
        let parked = pool.offload({
            let (event, own) = (event.clone(), own.clone());
            move || {
                own.add();
                adapt::block_on(event, None).unwrap();
                own.add();
            }
        });
        let other = counted(&pool, &own);
        event.set();
        join(parked);
        join(other);
        assert_eq!(pool.status().lent, 0);
        assert_eq!(own.get(), 3);
    });
}

/// A thread that waits for a closure runs it itself, or leaves it to the worker, and has its slot
/// meanwhile: submitters rely on it to call a worker.
#[test]
fn loom_help() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let own = Own::default();
        let submitter = thread::spawn({
            let (pool, own) = (pool.clone(), own.clone());
            move || join(counted(&pool, &own))
        });
        counted(&pool, &own).wait().unwrap();
        submitter.join().unwrap();
        assert_eq!(own.get(), 2);
    });
}

/// A closure helps with one that it offloads itself, in its own slot, while another one wants
/// that slot.
#[test]
fn loom_help_inside() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let own = Own::default();
        let task = pool.offload({
            let (pool, own) = (pool.clone(), own.clone());
            move || {
                own.add();
                counted(&pool, &own).wait().unwrap();
                own.add();
            }
        });
        counted(&pool, &own).detach();
        join(task);
        // The other one may come last.
        assert!((3..=4).contains(&own.get()));
    });
}

/// The poll after a wake sees all that was done before the wake.
#[test]
fn loom_park() {
    check(|| {
        let news = Arc::new(AtomicUsize::new(0));
        let mut waiting = None;
        let ready = std::future::poll_fn(|cx| {
            if news.load(Relaxed) > 0 {
                return Poll::Ready(());
            }
            if waiting.is_none() {
                let (news, waker) = (news.clone(), cx.waker().clone());
                waiting = Some(thread::spawn(move || {
                    news.store(1, Relaxed);
                    waker.wake();
                }));
            }
            Poll::Pending
        });
        adapt::run(ready);
        if let Some(other) = waiting {
            other.join().unwrap();
        }
    });
}

/// Closures that are cancelled while they wait, are taken, or run: those behind them run, and
/// all counts are back in the end.
#[test]
fn loom_cancel() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let own = Own::default();
        let first = counted(&pool, &own);
        let second = counted(&pool, &own);
        drop(first);
        join(second);
        assert_eq!(pool.status().queued, 0);
        join(counted(&pool, &own));
        end(&pool);
        assert!((2..=3).contains(&own.get()));
    });
}

/// The pool is closed while a closure is handed in: it runs, or is refused.
#[test]
fn loom_close() {
    check_up_to(2, || {
        let pool = pool(1, 1, Duration::MAX);
        let first = pool.offload(|| ());
        let closer = thread::spawn({
            let pool = pool.clone();
            move || pool.close()
        });
        for task in [first, pool.offload(|| ())] {
            if let Err(error) = adapt::run(task) {
                assert!(error.is_shutdown());
            }
        }
        closer.join().unwrap();
        assert_eq!(pool.wait_ended(None).threads, 0);
    });
}

const LONG: Duration = Duration::from_secs(10);

/// A task, as far as its waker sees it: a call while it is scheduled changes nothing.
struct Scheduled(AtomicUsize);

impl std::task::Wake for Scheduled {
    fn wake(self: Arc<Self>) {
        if self.0.load(Relaxed) == 0 {
            self.0.store(1, Relaxed);
        }
    }
}

/// A task that is polled for another reason, and its runtime ends meanwhile: the poll sees it, or there
/// is another one.
#[test]
fn loom_kept_waker() {
    check(|| {
        let kept = Arc::new(adapt::KeptWaker::new());
        let is_over = Arc::new(AtomicUsize::new(0));
        let task = Arc::new(Scheduled(AtomicUsize::new(1)));
        let waker = Waker::from(task.clone());
        // From an earlier poll.
        kept.keep(&waker);
        let ending = {
            let (kept, is_over) = (kept.clone(), is_over.clone());
            thread::spawn(move || {
                is_over.store(1, Relaxed);
                kept.wake();
            })
        };
        task.0.store(0, Relaxed);
        kept.keep(&waker);
        let has_seen = is_over.load(Relaxed) == 1;
        ending.join().unwrap();
        assert!(has_seen || task.0.load(Relaxed) == 1, "nobody tells it");
    });
}
