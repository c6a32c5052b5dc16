//! The place in the poller, in all orders and with all that the orderings allow.
//!
//! | change that makes a model fail | which |
//! |---|---|
//! | no fence in `Place::interrupt`, or none in `Turn::wait` | `loom_poller_interrupted` |
//! | `Turn::wait` does not ask whether it was notified | the same |
//! | no fence in `Idle::sleep` | the same |
//! | no `notify_poller` after a look | `loom_poller_looked` |
//! | no order between leaving the place and the looks of `notify_poller` | the same |
//! | no `notify_poller` by a worker that has found something | `loom_poller_left_for_good` |
//! | no `notify_poller` after it is opened | `loom_poller_opened` |
//!
//! The system's poller is a condition variable here.

use std::sync::Arc;

use fourway_core::sync::{check, check_up_to};
use loom::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::{
    idle::{Idle, Sleeper, Woken},
    model_poller::Model,
    reactor::{Listener, Readiness},
    sync::thread,
};

/// Woken by nothing but being told.
struct Nobody;

impl Listener for Nobody {
    fn ready(&self, _readiness: Readiness) {}

    fn closed(&self) {}
}

fn idle(workers: usize) -> (Arc<Idle>, Model) {
    let (idle, model) = (Arc::new(Idle::new(workers)), Model::default());
    idle.place.open(Box::new(model.clone()));
    (idle, model)
}

/// A worker that does one piece of work, and is busy with it for ever. An event is one more piece,
/// because its listener wakes a task.
fn work(idle: &Idle, queue: &AtomicUsize) {
    let me = Sleeper::new();
    let mut searching = false;
    let mut ready = Vec::new();
    let take = || queue.fetch_update(Acquire, Relaxed, |queued| queued.checked_sub(1));
    while take().is_err() {
        let visible = || queue.load(Relaxed) > 0;
        match idle.sleep::<()>(&me, searching, visible, || false, || None, &mut ready) {
            Woken::Notified => searching = true,
            Woken::Found(()) => unreachable!(),
        }
        queue.fetch_add(ready.drain(..).count(), Release);
    }
    if searching {
        if idle.found() && queue.load(Relaxed) > 0 {
            idle.notify();
        }
        idle.notify_poller();
    }
}

fn worker(idle: &Arc<Idle>, queue: &Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    let (idle, queue) = (idle.clone(), queue.clone());
    thread::spawn(move || work(&idle, &queue))
}

/// A thread queues work while a worker goes to sleep in the poller: the worker sees the work, or
/// leaves the poller. Otherwise it hangs, which loom reports.
#[test]
fn loom_poller_interrupted() {
    check(|| {
        let (idle, _model) = idle(1);
        let queue = Arc::default();
        let sleeper = worker(&idle, &queue);
        queue.fetch_add(1, Release);
        idle.notify();
        sleeper.join().unwrap();
    });
}

/// A busy worker looks into the poller while another one goes to sleep: the sleeper is in the
/// poller afterwards, as the sentinel or not.
fn looked(workers: usize) {
    let (idle, model) = idle(workers);
    let queue = Arc::default();
    let sleeper = worker(&idle, &queue);
    let mut ready = Vec::new();
    if let Some(turn) = idle.place.take() {
        turn.look(&mut ready);
    }
    idle.notify_poller();
    model.event(Arc::new(Nobody));
    sleeper.join().unwrap();
}

#[test]
fn loom_poller_looked() {
    check(|| looked(1));
}

#[test]
fn loom_poller_looked_beside_a_sentinel() {
    check(|| looked(2));
}

/// One worker leaves the poller, because it is woken or because of what is ready, and does not
/// come back: another one takes its place.
#[test]
fn loom_poller_left() {
    check_up_to(2, || {
        let (idle, model) = idle(2);
        let queue = Arc::default();
        let sleepers = [worker(&idle, &queue), worker(&idle, &queue)];
        queue.fetch_add(1, Release);
        idle.notify();
        model.event(Arc::new(Nobody));
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

/// The same with both asleep, one of them parked: only the worker that left the poller can tell the
/// parked one that the place is free.
#[test]
fn loom_poller_left_for_good() {
    check_up_to(2, || {
        let (idle, model) = idle(2);
        let queue = Arc::default();
        let sleepers = [worker(&idle, &queue), worker(&idle, &queue)];
        model.event(Arc::new(Nobody));
        model.event(Arc::new(Nobody));
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

/// The poller is opened while a worker goes to sleep.
#[test]
fn loom_poller_opened() {
    check(|| {
        let (idle, model) = (Arc::new(Idle::new(1)), Model::default());
        let queue = Arc::default();
        let sleeper = worker(&idle, &queue);
        idle.place.open(Box::new(model.clone()));
        idle.notify_poller();
        model.event(Arc::new(Nobody));
        sleeper.join().unwrap();
    });
}
