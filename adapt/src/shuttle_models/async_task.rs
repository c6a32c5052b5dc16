//! The handle over `async_task::Task`.
//!
//! `async-task` itself uses the standard library's atomics: to the models, each
//! of its calls is one step. The models explore all orders of those steps, and of the steps of this
//! crate between them: which thread is busy, which joiner was turned away, where each waker is.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Count, Dropped, Event, Queue};
use crate::sync::{Mutex, check, thread};
use crate::{self as adapt, async_task};
use fourway_core::{AbortHandle, Task, task::Metadata};

#[derive(Clone)]
struct Executor {
    ready: Arc<Queue<::async_task::Runnable>>,
}

impl Executor {
    fn new() -> Self {
        Self {
            ready: Queue::new(),
        }
    }

    fn spawn<F>(&self, future: F) -> async_task::AsyncTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        async_task::spawn(Metadata::caller(), future, None, |future| {
            let ready = self.ready.clone();
            // User code runs in between: the executor's.
            let schedule = move |runnable| {
                thread::yield_now();
                ready.push(runnable);
            };
            let (runnable, task) = ::async_task::spawn(future, schedule);
            runnable.schedule();
            task
        })
    }

    fn start(&self) -> thread::JoinHandle<()> {
        let ready = self.ready.clone();
        thread::spawn(move || {
            while let Some(runnable) = ready.pop() {
                runnable.run();
            }
        })
    }

    fn close(&self) {
        drop(self.ready.close());
    }
}

struct Watch {
    futures: Count,
    outputs: Count,
    made: Count,
}

impl Watch {
    fn new() -> Self {
        Self {
            futures: Count::default(),
            outputs: Count::default(),
            made: Count::default(),
        }
    }

    fn future(&self, event: Event) -> impl Future<Output = Dropped> + Send + 'static + use<> {
        let captured = Dropped(self.futures.clone());
        let (outputs, made) = (self.outputs.clone(), self.made.clone());
        async move {
            let _captured = captured;
            event.await;
            made.add();
            Dropped(outputs)
        }
    }

    fn check(&self) {
        assert_eq!(self.futures.get(), 1, "futures dropped");
        assert_eq!(self.outputs.get(), self.made.get(), "outputs dropped");
    }
}

/// Joined, cancelled from two sides and asked whether it is finished, all at
/// once.
#[test]
fn shuttle_join_abort_is_finished() {
    check(|| {
        let (executor, watch, event) = (Executor::new(), Watch::new(), Event::default());
        let task = executor.spawn(watch.future(event.clone()));
        let aborts = [task.abort_handle(), task.abort_handle()];
        let worker = executor.start();
        let setter = thread::spawn(move || event.set());
        let [first, second] = aborts;
        let others = [
            thread::spawn(move || first.abort()),
            thread::spawn({
                let futures = watch.futures.clone();
                move || {
                    for _ in 0..2 {
                        if second.is_finished() {
                            assert_eq!(futures.get(), 1, "finished, but not destroyed");
                        }
                    }
                }
            }),
        ];
        match adapt::run(task) {
            Ok(_) => assert_eq!(watch.made.get(), 1),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        assert_eq!(watch.futures.get(), 1, "destroyed before the join (JO-2)");
        for other in others.into_iter().chain([setter]) {
            other.join().unwrap();
        }
        executor.close();
        worker.join().unwrap();
        watch.check();
    });
}

/// As above, never ready by itself: the abort has to wake the joiner.
#[test]
fn shuttle_abort_wakes_joiner() {
    check(|| {
        let (executor, watch, event) = (Executor::new(), Watch::new(), Event::default());
        let task = executor.spawn(watch.future(event.clone()));
        let abort = task.abort_handle();
        let worker = executor.start();
        let others = [
            thread::spawn({
                let abort = abort.clone();
                move || abort.abort()
            }),
            thread::spawn(move || {
                let _ = abort.is_finished();
            }),
        ];
        assert!(adapt::run(task).unwrap_err().is_cancelled());
        for other in others {
            other.join().unwrap();
        }
        executor.close();
        worker.join().unwrap();
        drop(event);
        watch.check();
    });
}

/// Woken and cancelled during a poll, while the joiner looks at the task: it is not
/// polled again (CA-2, cancelled promptly), although the joiner may have to carry out the
/// cancellation.
#[test]
fn shuttle_abort_within_poll() {
    check(|| {
        let executor = Executor::new();
        let polls = Count::default();
        let abort = Arc::new(Mutex::new(None::<AbortHandle>));
        let task = executor.spawn(poll_fn({
            let (polls, abort) = (polls.clone(), abort.clone());
            move |cx: &mut Context<'_>| {
                polls.add();
                cx.waker().wake_by_ref();
                let abort = abort.lock().unwrap().clone();
                if let Some(abort) = abort {
                    abort.abort();
                }
                Poll::<()>::Pending
            }
        }));
        *abort.lock().unwrap() = Some(task.abort_handle());
        let worker = executor.start();
        assert!(adapt::run(task).unwrap_err().is_cancelled());
        assert_eq!(polls.get(), 1, "polled again after it was cancelled");
        executor.close();
        worker.join().unwrap();
    });
}

/// The handle is dropped or detached while an abort handle is used: the output,
/// if there is one, is dropped.
#[test]
fn shuttle_drop_and_detach() {
    for detach in [false, true] {
        let model = move || {
            let (executor, watch, event) = (Executor::new(), Watch::new(), Event::default());
            let task = executor.spawn(watch.future(event.clone()));
            let abort = task.abort_handle();
            let worker = executor.start();
            let others = [
                thread::spawn(move || event.set()),
                thread::spawn(move || {
                    if detach {
                        task.detach();
                    } else {
                        drop(task);
                    }
                }),
                thread::spawn({
                    let abort = abort.clone();
                    move || {
                        let _ = abort.is_finished();
                        if !detach {
                            abort.abort();
                        }
                    }
                }),
            ];
            for other in others {
                other.join().unwrap();
            }
            // The output does not wait for the abort handle to go.
            while watch.futures.get() == 0 || watch.outputs.get() < watch.made.get() {
                thread::yield_now();
            }
            drop(abort);
            executor.close();
            worker.join().unwrap();
            watch.check();
        };
        check(model);
    }
}

/// The executor goes away with the task in its queue: shut down, not cancelled,
/// unless its cancellation was asked for.
#[test]
fn shuttle_executor_goes() {
    check(|| {
        let (executor, watch, event) = (Executor::new(), Watch::new(), Event::default());
        event.set();
        let task = executor.spawn(watch.future(event));
        let abort = task.abort_handle();
        let worker = executor.start();
        let others = [
            thread::spawn({
                let executor = executor.clone();
                move || executor.close()
            }),
            thread::spawn(move || {
                let _ = abort.is_finished();
            }),
        ];
        match adapt::run(task) {
            Ok(_) => {}
            Err(error) => assert!(error.is_shutdown(), "{error}"),
        }
        for other in others {
            other.join().unwrap();
        }
        worker.join().unwrap();
        watch.check();
    });
}
