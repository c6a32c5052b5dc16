//! The states of one task, in all orders and with all that the orderings allow.
//!
//! The models access all other data with `Relaxed` only, so that it is visible because of the
//! task's own orderings or not at all.
//!
//! | change that makes a model fail | which |
//! |---|---|
//! | `begin` without Acquire | `loom_wake_again`, `loom_two_wakers` and another |
//! | `notify` without Release | the same, and `loom_close` |
//! | `suspend` without Release | `loom_polls_are_in_order` |
//! | `complete` without Release and Acquire | `loom_join`, `loom_give_up` and another |
//! | leaving the joiner's waker without Release and Acquire | the same |
//! | replacing the waker without taking `JOINER` back | `loom_join_with_another_waker` |
//! | dropping a result that was taken, or not dropping one that is given up | `loom_join`, `loom_give_up` |
//!
//! Not checked here: the fence before the memory is freed (loom does not watch that), a
//! cancellation during a poll (the suite's cases of CA-2, cancelled promptly, and shuttle's models
//! check it) and a registry that revives a task without references.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{implement, sync::check, task::Metadata};
use loom::{
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
};

use crate::{
    cell::{self, Join},
    executor::{Config, Executor},
    idle::{Idle, Sleeper, Woken},
};

/// An executor without threads: the model runs the tasks.
fn executor() -> Arc<Executor> {
    Executor::new(Config {
        runtime: implement::register(|| None).id(),
        thread_name: String::from("model"),
        stack_size: None,
        workers: 1,
        hooks: fourway_adapt::ThreadHooks::default(),
    })
}

/// Ready once `set`, which wakes it.
struct Event {
    set: AtomicBool,
    polls: AtomicUsize,
    drops: AtomicUsize,
    /// How many outputs exist.
    outputs: AtomicUsize,
}

impl Event {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            set: AtomicBool::new(false),
            polls: AtomicUsize::new(0),
            drops: AtomicUsize::new(0),
            outputs: AtomicUsize::new(0),
        })
    }
}

/// Counted while it is there.
struct Output(Arc<Event>);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.outputs.fetch_sub(1, Relaxed);
    }
}

struct Waits(Arc<Event>);

impl Future for Waits {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Output> {
        self.0.polls.fetch_add(1, Relaxed);
        if self.0.set.load(Relaxed) {
            self.0.outputs.fetch_add(1, Relaxed);
            Poll::Ready(Output(self.0.clone()))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Relaxed);
    }
}

/// A task that is pending after its first poll, with a waker of its own.
fn suspended(executor: &Arc<Executor>, event: &Arc<Event>) -> (Join<Output>, Waker) {
    let (task, waker) = queued(executor, event);
    assert!(executor.run_one());
    (task, waker)
}

/// A task before its first poll, and a waker all the same.
fn queued(executor: &Arc<Executor>, event: &Arc<Event>) -> (Join<Output>, Waker) {
    let (task, join) = cell::task(executor, Waits(event.clone()));
    let waker = task.clone().into_waker();
    executor.push_outside(task);
    (join, waker)
}

fn run_all(executor: &Executor) {
    while executor.run_one() {}
}

/// Woken while it is queued, polled, suspended: a poll sees what was done before
/// the wake, or another poll follows (WA-1, a poll for each wake).
fn wake(first_poll_over: bool) {
    let (executor, event) = (executor(), Event::new());
    let (task, waker) = if first_poll_over {
        let (task, waker) = suspended(&executor, &event);
        waker.wake_by_ref();
        (task, waker)
    } else {
        queued(&executor, &event)
    };
    let runner = thread::spawn({
        let executor = executor.clone();
        move || run_all(&executor)
    });
    event.set.store(true, Relaxed);
    waker.wake();
    runner.join().unwrap();
    run_all(&executor);
    assert!(task.task().is_done(), "a wake-up was lost");
    assert_eq!(event.drops.load(Relaxed), 1);
}

#[test]
fn loom_wake_before_and_during_first_poll() {
    check(|| wake(false));
}

#[test]
fn loom_wake_again() {
    check(|| wake(true));
}

/// Two wakers at once, one of them with news: the task is queued once, and sees
/// the news.
#[test]
fn loom_two_wakers() {
    check(|| {
        let (executor, event) = (executor(), Event::new());
        let (task, waker) = suspended(&executor, &event);
        let other = thread::spawn({
            let (executor, waker) = (executor.clone(), waker.clone());
            move || {
                waker.wake();
                run_all(&executor);
            }
        });
        event.set.store(true, Relaxed);
        waker.wake();
        other.join().unwrap();
        run_all(&executor);
        assert!(task.task().is_done(), "a wake-up was lost");
        // The first poll, and at most one for each wake.
        assert!(event.polls.load(Relaxed) <= 3);
        assert_eq!(event.drops.load(Relaxed), 1);
    });
}

/// Two threads run what is queued, while a third one wakes: the future is with
/// one of them at a time, each of which sees what the one before did.
#[test]
fn loom_polls_are_in_order() {
    check(|| {
        let (executor, event) = (executor(), Event::new());
        let (task, waker) = queued(&executor, &event);
        let runners = [(), ()].map(|()| {
            let executor = executor.clone();
            thread::spawn(move || run_all(&executor))
        });
        waker.wake();
        for runner in runners {
            runner.join().unwrap();
        }
        run_all(&executor);
        assert!(!task.task().is_done());
        let polls = event.polls.load(Relaxed);
        assert!((1..=2).contains(&polls));
    });
}

/// Cancelled while it is queued, polled, suspended: destroyed, and once.
fn abort(first_poll_over: bool) {
    let (executor, event) = (executor(), Event::new());
    let (task, waker) = if first_poll_over {
        let (task, waker) = suspended(&executor, &event);
        waker.wake_by_ref();
        (task, waker)
    } else {
        queued(&executor, &event)
    };
    let runner = thread::spawn({
        let executor = executor.clone();
        move || run_all(&executor)
    });
    task.task().abort();
    runner.join().unwrap();
    run_all(&executor);
    assert!(task.task().is_done(), "a cancellation was lost");
    assert_eq!(event.drops.load(Relaxed), 1);
    // Long gone: no effect.
    waker.wake();
    task.task().abort();
    assert!(!executor.run_one());
}

#[test]
fn loom_abort_before_and_during_first_poll() {
    check(|| abort(false));
}

#[test]
fn loom_abort_again() {
    check(|| abort(true));
}

/// The executor is closed while the task is about to be polled, is polled, or is
/// suspended: it is not left behind, though nothing ever wakes it.
#[test]
fn loom_close() {
    check(|| {
        let (executor, event) = (executor(), Event::new());
        let (task, _waker) = queued(&executor, &event);
        let runner = thread::spawn({
            let executor = executor.clone();
            move || run_all(&executor)
        });
        executor.close();
        runner.join().unwrap();
        run_all(&executor);
        assert!(task.task().is_done(), "a task was left behind");
        assert_eq!(event.drops.load(Relaxed), 1);
    });
}

/// The handle and the last waker go at the same time: destroyed once (WA-3, lost tasks are
/// destroyed).
#[test]
fn loom_lost() {
    check(|| {
        let (executor, event) = (executor(), Event::new());
        let (task, waker) = suspended(&executor, &event);
        let other = thread::spawn(move || drop(waker));
        task.give_up();
        drop(task);
        other.join().unwrap();
        assert!(!executor.run_one());
        assert_eq!(event.drops.load(Relaxed), 1);
    });
}

/// The joiner leaves its waker, exchanges it for another, and gives up, while the task
/// becomes ready: it is woken or sees the result, and no waker is left behind.
fn join(exchange: bool, give_up: bool) {
    let (executor, event) = (executor(), Event::new());
    event.set.store(true, Relaxed);
    let (mut task, waker) = queued(&executor, &event);
    drop(waker);
    let runner = thread::spawn({
        let executor = executor.clone();
        move || run_all(&executor)
    });
    let joiners = [Joiner::new(), Joiner::new()];
    let mut poll = |joiner: &Arc<Joiner>| {
        let waker = Waker::from(joiner.clone());
        let mut cx = Context::from_waker(&waker);
        task.poll_join(&mut cx, &Metadata::caller()).is_ready()
    };
    let mut last = 0;
    let mut ready = poll(&joiners[0]);
    if exchange && !ready {
        last = 1;
        ready = poll(&joiners[1]);
    }
    if give_up {
        task.give_up();
        drop(task);
        runner.join().unwrap();
    } else {
        runner.join().unwrap();
        assert!(
            ready || joiners[last].woken.load(Relaxed),
            "a wake-up was lost"
        );
        if !ready {
            assert!(poll(&joiners[last]));
        }
    }
    for joiner in joiners {
        assert_eq!(Arc::strong_count(&joiner), 1, "a waker was left behind");
    }
    assert_eq!(event.drops.load(Relaxed), 1);
    assert_eq!(
        event.outputs.load(Relaxed),
        0,
        "not dropped, or dropped twice"
    );
}

struct Joiner {
    woken: AtomicBool,
}

impl Joiner {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            woken: AtomicBool::new(false),
        })
    }
}

impl std::task::Wake for Joiner {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Relaxed);
    }
}

#[test]
fn loom_join() {
    check(|| join(false, false));
}

#[test]
fn loom_join_with_another_waker() {
    check(|| join(true, false));
}

#[test]
fn loom_give_up() {
    check(|| join(false, true));
}

/// A thread queues work while a worker goes to sleep: the worker sees the work, or is woken.
fn sleep(workers: usize, searching: bool) {
    let idle = Arc::new(Idle::new(workers));
    let work = Arc::new(AtomicUsize::new(0));
    if searching {
        assert!(idle.try_search());
    }
    let sleepers: Vec<_> = (0..workers)
        .map(|n| {
            let (idle, work) = (idle.clone(), work.clone());
            let searching = searching && n == 0;
            thread::spawn(move || {
                let me = Sleeper::new();
                let visible = || work.load(Relaxed) > 0;
                match idle.sleep::<()>(&me, searching, visible, || false, || None, &mut Vec::new())
                {
                    Woken::Notified => {}
                    Woken::Found(()) => unreachable!(),
                }
                work.fetch_sub(1, Relaxed);
                // It was searching, and is up to the others.
                if idle.found() && work.load(Relaxed) > 0 {
                    idle.notify();
                }
            })
        })
        .collect();
    // One for each worker. A worker that is not woken hangs for good, which loom reports.
    for _ in 0..workers {
        work.fetch_add(1, Relaxed);
        idle.notify();
    }
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
}

#[test]
fn loom_sleep() {
    check(|| sleep(1, false));
}

#[test]
fn loom_sleep_after_searching() {
    check(|| sleep(1, true));
}

/// A worker uses its slot while another one goes to sleep as the sentinel or gives that up: a
/// worker looks after the slot.
#[test]
fn loom_sentinel() {
    check(|| {
        let idle = Arc::new(Idle::new(2));
        let slot = Arc::new(AtomicUsize::new(0));
        let other = thread::spawn({
            let (idle, slot) = (idle.clone(), slot.clone());
            move || stand_guard(&idle, &slot)
        });
        slot.swap(1, SeqCst);
        idle.notify_sentinel();
        other.join().unwrap();
    });
}

/// The same when the sentinel leaves because all sleep, at the moment at which the other
/// one gets up again: the worker that uses its slot may still see a sentinel, which is on its way
/// to sleep.
#[test]
fn loom_sentinel_leaves() {
    check(|| {
        let idle = Arc::new(Idle::new(2));
        let slot = Arc::new(AtomicUsize::new(0));
        let sentinel = thread::spawn({
            let (idle, slot) = (idle.clone(), slot.clone());
            move || stand_guard(&idle, &slot)
        });
        // Enters the list, sees a task in a queue, and leaves the list.
        let me = Sleeper::new();
        let woken = idle.sleep(
            &me,
            false,
            || true,
            || false,
            || None::<()>,
            &mut Vec::new(),
        );
        assert!(matches!(woken, Woken::Notified));
        idle.found();
        slot.swap(1, SeqCst);
        idle.notify_sentinel();
        sentinel.join().unwrap();
    });
}

/// Sleeps, as the sentinel if there is need of one, until it has found something in the
/// slot.
fn stand_guard(idle: &Idle, slot: &AtomicUsize) {
    let me = Sleeper::new();
    let mut searching = false;
    let take = || (slot.swap(0, SeqCst) > 0).then_some(());
    let used = || slot.load(SeqCst) > 0;
    // Otherwise nothing is in the queues: to sleep again, as the sentinel.
    while let Woken::Notified = idle.sleep(&me, searching, || false, used, take, &mut Vec::new()) {
        searching = true;
    }
    idle.found();
}
