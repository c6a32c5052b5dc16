//! The whole runtime with a poller, on the threads of a model.
//!
//! | change that makes a model fail | which |
//! |---|---|
//! | a notified worker is not interrupted in the poller, or does not mark itself there | all |
//! | `Turn::wait` does not ask whether it was notified | all |
//! | `rest` does not tell what is ready | all but the shutdown |
//! | the place is not given back, or not tried by a worker that goes to sleep | the same |
//! | the sentinel drops the events that it finds in the poller, and sleeps on | those with two workers, but the shutdown |
//! | a worker with ready events stays in the list of sleepers | `.._opened_while_they_sleep` |
//! | no `notify_poller` at all | the same |
//!
//! No model here notices a `notify_poller` that is missing in one place only, because another
//! worker comes along sooner or later. `poller_models.rs` has models for that, whose workers stay
//! busy.

use std::{sync::Arc, time::Duration};

use fourway_adapt as adapt;
use fourway_core::{
    Shutdown, Spawner,
    sync::{check, thread},
};

use crate::{
    StdThread,
    model_poller::Model,
    reactor::{Listener, Readiness},
    shuttle_models::{Event, end, runtime},
};

/// As a socket does: wakes its waiter.
impl Listener for Event {
    fn ready(&self, _readiness: Readiness) {
        self.set();
    }

    fn closed(&self) {
        self.set();
    }
}

/// As the first socket does.
fn open(rt: &StdThread, model: &Model) {
    let idle = &rt.shared.executor.idle;
    idle.place.open(Box::new(model.clone()));
    idle.notify_poller();
}

/// One task waits for something to be ready, another for a thread that is none of the runtime's,
/// while workers go to sleep, in the poller and beside it. A task that is not woken hangs, which
/// shuttle reports. So does a shutdown that does not get a worker out of the poller.
fn ready_and_woken(workers: usize, from_the_start: bool) {
    let (rt, model) = (runtime(workers), Model::default());
    if from_the_start {
        open(&rt, &model);
    }
    let (socket, other) = (Event::default(), Event::default());
    let tasks = [rt.spawn(socket.clone()), rt.spawn(other.clone())];
    let threads = [
        thread::spawn({
            let (rt, model) = (rt.clone(), model.clone());
            move || {
                if !from_the_start {
                    open(&rt, &model);
                }
                model.event(Arc::new(socket));
            }
        }),
        thread::spawn(move || other.set()),
    ];
    for task in tasks {
        assert!(adapt::run(task).is_ok());
    }
    for thread in threads {
        thread.join().unwrap();
    }
    end(&rt);
}

#[test]
fn shuttle_reactor_one_worker() {
    check(|| ready_and_woken(1, true));
}

#[test]
fn shuttle_reactor_two_workers() {
    check(|| ready_and_woken(2, true));
}

#[test]
fn shuttle_reactor_opened_while_they_sleep() {
    check(|| ready_and_woken(2, false));
}

/// An event wakes a task, which wakes the next. Of two workers one is in the poller while the other
/// is busy.
#[test]
fn shuttle_reactor_one_after_the_other() {
    check(|| {
        let (rt, model) = (runtime(2), Model::default());
        open(&rt, &model);
        let [first, second] = [Event::default(), Event::default()];
        let task = rt.spawn({
            let (model, first, second) = (model.clone(), first.clone(), second.clone());
            async move {
                first.await;
                model.event(Arc::new(second.clone()));
                second.await;
            }
        });
        model.event(Arc::new(first));
        assert!(adapt::run(task).is_ok());
        end(&rt);
    });
}

/// The runtime is shut down while something becomes ready: neither keeps the other from its end.
#[test]
fn shuttle_reactor_and_shutdown() {
    check(|| {
        let (rt, model) = (runtime(2), Model::default());
        open(&rt, &model);
        let socket = Event::default();
        let task = rt.spawn(socket.clone());
        let other = thread::spawn(move || model.event(Arc::new(socket)));
        rt.shutdown(Duration::MAX).unwrap();
        if let Err(error) = adapt::run(task) {
            assert!(error.is_shutdown(), "{error}");
        }
        other.join().unwrap();
        end(&rt);
    });
}
