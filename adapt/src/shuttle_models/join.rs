//! `Slot` and the task made of a runner and its handle.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{Count, Dropped, Event, Mini};
use crate::sync::{check, thread};
use crate::{self as adapt, Slot, join};
use fourway_core::{JoinError, Task, task::Metadata};

/// Counts the parts of a task: its future and its output, both dropped once, with every reference
/// to them gone.
struct Watch {
    futures: Count,
    outputs: Count,
    made: Count,
    alive: Arc<()>,
}

impl Watch {
    fn new() -> Self {
        Self {
            futures: Count::default(),
            outputs: Count::default(),
            made: Count::default(),
            alive: Arc::new(()),
        }
    }

    /// Waits for `event`, and returns something that counts.
    fn future(
        &self,
        event: Event,
    ) -> impl Future<Output = (Dropped, Arc<()>)> + Send + 'static + use<> {
        let captured = (Dropped(self.futures.clone()), self.alive.clone());
        let (outputs, made) = (self.outputs.clone(), self.made.clone());
        async move {
            event.await;
            made.add();
            let (_captured, alive) = captured;
            (Dropped(outputs), alive)
        }
    }

    /// All work is over and no handle is left.
    fn check(&self) {
        assert_eq!(self.futures.get(), 1, "futures dropped");
        assert_eq!(self.outputs.get(), self.made.get(), "outputs dropped");
        assert_eq!(Arc::strong_count(&self.alive), 1, "something is left");
    }
}

/// The runner ends, while the handle is joined, cancelled from afar and looked at.
#[test]
fn shuttle_complete_join_abort() {
    check(|| {
        let (mini, watch, event) = (Mini::new(), Watch::new(), Event::default());
        let (runner, task) = join::task(Metadata::caller(), watch.future(event.clone()), None);
        let abort = task.abort_handle();
        mini.spawn(Box::pin(runner));
        let worker = mini.start();
        let others = [
            thread::spawn(move || event.set()),
            thread::spawn({
                let futures = watch.futures.clone();
                move || {
                    abort.abort();
                    if abort.is_finished() {
                        assert_eq!(futures.get(), 1);
                    }
                }
            }),
        ];
        match adapt::run(task) {
            Ok(_) => assert_eq!(watch.made.get(), 1),
            Err(error) => assert!(error.is_cancelled()),
        }
        assert_eq!(watch.futures.get(), 1, "destroyed before the join (JO-2)");
        for other in others {
            other.join().unwrap();
        }
        mini.close();
        worker.join().unwrap();
        watch.check();
    });
}

/// Nothing but the cancellation ever wakes the runner, which may be about to be
/// polled, polled or suspended.
#[test]
fn shuttle_abort_alone() {
    check(|| {
        let (mini, watch, never) = (Mini::new(), Watch::new(), Event::default());
        let (runner, task) = join::task(Metadata::caller(), watch.future(never.clone()), None);
        let abort = task.abort_handle();
        mini.spawn(Box::pin(runner));
        let worker = mini.start();
        let other = thread::spawn(move || abort.abort());
        assert!(adapt::run(task).unwrap_err().is_cancelled());
        other.join().unwrap();
        mini.close();
        worker.join().unwrap();
        drop(never);
        watch.check();
    });
}

/// The handle is dropped while the task runs, is woken, ends.
#[test]
fn shuttle_drop_handle() {
    check(|| {
        let (mini, watch, event) = (Mini::new(), Watch::new(), Event::default());
        let (runner, task) = join::task(Metadata::caller(), watch.future(event.clone()), None);
        mini.spawn(Box::pin(runner));
        let worker = mini.start();
        let others = [
            thread::spawn(move || event.set()),
            thread::spawn(move || drop(task)),
        ];
        for other in others {
            other.join().unwrap();
        }
        while watch.futures.get() == 0 {
            thread::yield_now();
        }
        mini.close();
        worker.join().unwrap();
        watch.check();
    });
}

/// The executor drops the runner at any time: the join resolves.
#[test]
fn shuttle_executor_drops_runner() {
    check(|| {
        let (mini, watch, event) = (Mini::new(), Watch::new(), Event::default());
        let (runner, task) = join::task(Metadata::caller(), watch.future(event.clone()), None);
        mini.spawn(Box::pin(runner));
        let worker = mini.start();
        let others = [
            thread::spawn({
                let event = event.clone();
                move || event.set()
            }),
            thread::spawn({
                let mini = mini.clone();
                move || mini.close()
            }),
        ];
        for other in others {
            other.join().unwrap();
        }
        worker.join().unwrap();
        // If the wake came after closing, the task's last waker went with it. Now only its handle
        // refers to it.
        drop(event);
        let abort = task.abort_handle();
        match poll_once(task) {
            Some(Err(error)) => assert!(error.is_shutdown(), "{error}"),
            Some(Ok(_)) => {}
            // Suspended, and no executor: only dropping is left.
            None => abort.abort(),
        }
        drop(abort);
        watch.check();
    });
}

fn poll_once<T: Send + 'static>(mut task: join::JoinTask<T>) -> Option<Result<T, JoinError>> {
    let mut cx = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(&mut task).poll(&mut cx) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Pending, detached, and its last waker goes: the task is destroyed (WA-3, lost tasks are
/// destroyed), though abort handles come and go at the same time.
#[test]
fn shuttle_lost_task() {
    check(|| {
        let (mini, watch) = (Mini::new(), Watch::new());
        let event = Event::default();
        let (runner, task) = join::task(Metadata::caller(), watch.future(event.clone()), None);
        let aborts = [task.abort_handle(), task.abort_handle()];
        mini.spawn(Box::pin(runner));
        let worker = mini.start();
        let other = thread::spawn(move || drop(aborts));
        task.detach();
        // Its only waker.
        let waker = loop {
            if let Some(waker) = event.state.lock().unwrap().1.take() {
                break waker;
            }
            thread::yield_now();
        };
        drop(waker);
        other.join().unwrap();
        while watch.futures.get() == 0 {
            thread::yield_now();
        }
        mini.close();
        worker.join().unwrap();
        drop(event);
        watch.check();
    });
}

/// One thread fills, another joins, a third gives up: the slot alone.
#[test]
fn shuttle_slot() {
    check(|| {
        let slot = Arc::new(Slot::new());
        let outputs = Count::default();
        let others = [
            thread::spawn({
                let (slot, output) = (slot.clone(), Dropped(outputs.clone()));
                move || slot.fill(Ok(output))
            }),
            thread::spawn({
                let slot = slot.clone();
                move || {
                    while !slot.is_full() {
                        thread::yield_now();
                    }
                }
            }),
        ];
        let result = adapt::run(std::future::poll_fn(|cx| slot.poll(cx)));
        assert!(slot.is_full());
        assert_eq!(outputs.get(), 0);
        drop(result);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(outputs.get(), 1);
    });
}

/// Sealed, unsealed and given up: the output is dropped once.
#[test]
fn shuttle_slot_sealed() {
    check(|| {
        let slot = Arc::new(Slot::new());
        let outputs = Count::default();
        let filler = thread::spawn({
            let (slot, output) = (slot.clone(), Dropped(outputs.clone()));
            move || {
                drop(slot.seal(Ok(output)));
                slot.unseal();
            }
        });
        slot.abandon();
        filler.join().unwrap();
        assert!(slot.is_full());
        assert_eq!(outputs.get(), 1);
    });
}

/// The joiner moves from one waker to another: the last one is woken (JO-1, a task is awaited
/// anywhere).
#[test]
fn shuttle_last_joiner_is_woken() {
    check(|| {
        let (mini, watch, event) = (Mini::new(), Watch::new(), Event::default());
        let (runner, mut task) = join::task(Metadata::caller(), watch.future(event.clone()), None);
        mini.spawn(Box::pin(runner));
        let worker = mini.start();
        let other = thread::spawn(move || event.set());
        let mut cx = Context::from_waker(Waker::noop());
        if std::pin::Pin::new(&mut task).poll(&mut cx).is_pending() {
            assert!(adapt::run(task).is_ok());
        }
        other.join().unwrap();
        mini.close();
        worker.join().unwrap();
    });
}
