//! The place in the poller, in all orders and with all that the orderings allow.
//!
//! | change that makes a model fail | which |
//! |---|---|
//! | no fence in `Place::interrupt`, or none in `Turn::wait` | `loom_poller_interrupted` |
//! | `Turn::wait` does not ask whether it was notified | the same |
//! | no fence in `Idle::sleep` | the same |
//! | no `notify_poller` after a look | `loom_poller_looked` |
//! | no order between leaving the place and the looks of `notify_poller` | the same |
//! | no `notify_poller` by who has found something | `loom_poller_left_for_good` |
//! | no `notify_poller` after it is opened | `loom_poller_opened` |
//!
//! The system's poller is a condition variable here.

use std::{sync::Arc, time::Duration};

use fourway_core::sync::{check, check_up_to};
use loom::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::{
    idle::{Idle, Sleeper, Woken},
    poller::{Poller, Ready},
    reactor::{Listener, Readiness},
    sync::{Condvar, Mutex, thread},
};

/// In place of the system's.
#[derive(Clone, Default)]
struct Model(Arc<(Mutex<Has>, Condvar)>);

#[derive(Default)]
struct Has {
    interrupted: bool,
    events: usize,
}

impl Model {
    /// Something is ready.
    fn event(&self) {
        self.0.0.lock().unwrap().events += 1;
        self.0.1.notify_one();
    }
}

impl Poller for Model {
    fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        let (has, changed) = &*self.0;
        let mut has = has.lock().unwrap();
        if timeout.is_none() {
            while !has.interrupted && has.events == 0 {
                has = changed.wait(has).unwrap();
            }
        } else if timeout != Some(Duration::ZERO) && !has.interrupted && has.events == 0 {
            drop(has);
            thread::park_timeout(Duration::from_millis(1));
            has = self.0.0.lock().unwrap();
        }
        has.interrupted = false;
        // One at a time, so that there is something left for the next.
        if let Some(left) = has.events.checked_sub(1) {
            has.events = left;
            ready.push(Ready {
                listener: Arc::new(Nobody),
                readiness: Readiness::default(),
            });
        }
    }

    fn interrupt(&self) {
        self.0.0.lock().unwrap().interrupted = true;
        self.0.1.notify_one();
    }
}

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

/// A worker that does one piece of work, and is busy with it for ever. What is ready is one
/// more, as whoever is told of it wakes a task.
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

/// Someone queues while a worker goes to sleep in the poller: it sees the work, or leaves the
/// poller. Whoever does not hangs, which loom reports.
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

/// Someone who is busy looks into the poller while a worker goes to sleep: that one is in the
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
    model.event();
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
        model.event();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

/// The same with both asleep, one of them parked: nobody but the one who left the poller can tell
/// it that the place is free.
#[test]
fn loom_poller_left_for_good() {
    check_up_to(2, || {
        let (idle, model) = idle(2);
        let queue = Arc::default();
        let sleepers = [worker(&idle, &queue), worker(&idle, &queue)];
        model.event();
        model.event();
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
        model.event();
        sleeper.join().unwrap();
    });
}
