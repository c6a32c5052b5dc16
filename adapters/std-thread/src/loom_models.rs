//! The states of one task, in all orders and with all that the orderings allow.
//!
//! What the models look at beside the states is touched with `Relaxed` only, so
//! that it is visible because of the task's own orderings or not at all.
//!
//! | change that makes a model fail | by |
//! |---|---|

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::context;
use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use crate::{
    cell::{self, Joinable},
    executor::{Config, Executor},
};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // What is beyond three preemptions takes hours.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(f);
}

/// An executor without threads: the model runs the tasks.
fn executor() -> Arc<Executor> {
    Executor::new(Config {
        runtime: context::register(|| None).id(),
        thread_name: String::from("model"),
        stack_size: None,
    })
}

/// Ready once `set`, which wakes it.
struct Event {
    set: AtomicBool,
    polls: AtomicUsize,
    drops: AtomicUsize,
}

impl Event {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            set: AtomicBool::new(false),
            polls: AtomicUsize::new(0),
            drops: AtomicUsize::new(0),
        })
    }
}

struct Waits(Arc<Event>);

impl Future for Waits {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.0.polls.fetch_add(1, Relaxed);
        if self.0.set.load(Relaxed) {
            Poll::Ready(())
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
fn suspended(executor: &Arc<Executor>, event: &Arc<Event>) -> (Arc<dyn Joinable<()>>, Waker) {
    let (task, waker) = queued(executor, event);
    assert!(executor.run_one());
    (task, waker)
}

/// A task before its first poll, and a waker all the same.
fn queued(executor: &Arc<Executor>, event: &Arc<Event>) -> (Arc<dyn Joinable<()>>, Waker) {
    cell::spawn_with_waker(executor, Waits(event.clone()))
}

fn run_all(executor: &Executor) {
    while executor.run_one() {}
}

/// Woken while it is queued, polled, suspended: a poll sees what was done before
/// the wake, or another poll follows (WA-1).
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
    assert!(task.is_finished(), "a wake-up was lost");
    assert_eq!(event.drops.load(Relaxed), 1);
}

#[test]
fn loom_wake_before_and_during_first_poll() {
    model(|| wake(false));
}

#[test]
fn loom_wake_again() {
    model(|| wake(true));
}

/// Two wakers at once, one of them with news: the task is queued once, and sees
/// the news.
#[test]
fn loom_two_wakers() {
    model(|| {
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
        assert!(task.is_finished(), "a wake-up was lost");
        // The first poll, and at most one for each wake.
        assert!(event.polls.load(Relaxed) <= 3);
        assert_eq!(event.drops.load(Relaxed), 1);
    });
}

/// Two threads run what is queued, while a third one wakes: the future is with
/// one of them at a time, each of which sees what the one before did.
#[test]
fn loom_polls_are_in_order() {
    model(|| {
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
        assert!(!task.is_finished());
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
    task.clone().abort_cell();
    runner.join().unwrap();
    run_all(&executor);
    assert!(task.is_finished(), "a cancellation was lost");
    assert_eq!(event.drops.load(Relaxed), 1);
    // Long gone: no effect.
    waker.wake();
    task.abort_cell();
    assert!(!executor.run_one());
}

#[test]
fn loom_abort_before_and_during_first_poll() {
    model(|| abort(false));
}

#[test]
fn loom_abort_again() {
    model(|| abort(true));
}

/// The executor is closed while the task is about to be polled, is polled, or is
/// suspended: it is not left behind, though nothing ever wakes it.
#[test]
fn loom_close() {
    model(|| {
        let (executor, event) = (executor(), Event::new());
        let (task, _waker) = queued(&executor, &event);
        let runner = thread::spawn({
            let executor = executor.clone();
            move || run_all(&executor)
        });
        executor.close();
        runner.join().unwrap();
        run_all(&executor);
        assert!(task.is_finished(), "a task was left behind");
        assert_eq!(event.drops.load(Relaxed), 1);
    });
}

/// The handle and the last waker go at the same time: destroyed once (WA-3).
#[test]
fn loom_lost() {
    model(|| {
        let (executor, event) = (executor(), Event::new());
        let (task, waker) = suspended(&executor, &event);
        let other = thread::spawn(move || drop(waker));
        task.abandon();
        drop(task);
        other.join().unwrap();
        assert!(!executor.run_one());
        assert_eq!(event.drops.load(Relaxed), 1);
    });
}
