//! The whole runtime on the threads of a model: see [`crate::sync`].
//!
//! | change that makes a model fail | by |
//! |---|---|

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        // Not part of what is modelled: counting must not be a chance to change
        // threads.
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use fourway_adapt::{self as adapt, timer::Timers};
use fourway_core::{
    BlockOn, Offload, Shutdown, ShutdownReport, Spawner, Task, Timer, context,
    sync::{Mutex, check, fail_thread_starts, thread},
};

use crate::{
    StdThread,
    idle::{Idle, Sleeper, Woken},
    sync::atomic::AtomicUsize as Modelled,
};

#[derive(Clone, Debug, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Counts how often it is dropped.
struct Dropped(Count);

impl Drop for Dropped {
    fn drop(&mut self) {
        thread::yield_now();
        self.0.add();
    }
}

/// A future that is ready when some thread says so.
#[derive(Clone, Default)]
pub(crate) struct Event {
    state: Arc<Mutex<(bool, Vec<Waker>)>>,
    polls: Count,
}

impl Event {
    pub(crate) fn set(&self) {
        let wakers = {
            let mut state = self.state.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes without a reason.
    fn poke(&self) {
        let wakers = self.state.lock().unwrap().1.clone();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Event {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls.add();
        let waker = cx.waker().clone();
        let mut state = self.state.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        // One for each task that waits.
        let known = state.1.iter().any(|known| known.will_wake(&waker));
        if !known {
            state.1.push(waker);
        }
        Poll::Pending
    }
}

pub(crate) fn runtime(workers: usize) -> StdThread {
    StdThread::builder()
        .worker_threads(workers)
        .offload_limit(1)
        .build()
        .unwrap()
}

/// Shuts down, and expects that nothing was still running.
pub(crate) fn end(rt: &StdThread) -> ShutdownReport {
    let report = rt.shutdown(Duration::MAX).unwrap();
    assert_eq!(report.tasks_running, 0);
    assert_eq!(report.closures_running, 0);
    assert_eq!(report.threads_running, 0);
    let status = rt.shared.executor.wait_ended(None);
    assert_eq!((status.threads, status.polling), (0, 0));
    report
}

/// Woken with and without news, from two sides, with one worker and with two.
fn wakes(workers: usize) {
    let rt = runtime(workers);
    let event = Event::default();
    let task = rt.spawn(event.clone());
    let others = [
        thread::spawn({
            let event = event.clone();
            move || event.poke()
        }),
        thread::spawn({
            let event = event.clone();
            move || event.set()
        }),
    ];
    assert!(adapt::run(task).is_ok());
    assert!(event.polls.get() <= 3);
    for other in others {
        other.join().unwrap();
    }
    end(&rt);
}

#[test]
fn shuttle_wakes_one_worker() {
    check(|| wakes(1));
}

#[test]
fn shuttle_wakes_two_workers() {
    check(|| wakes(2));
}

/// Several tasks on idle workers: each push finds a worker, or one that looks
/// at the queue before it waits.
#[test]
fn shuttle_tasks_wake_each_other() {
    check(|| {
        let rt = runtime(2);
        let (there, back) = (Event::default(), Event::default());
        let first = rt.spawn({
            let (there, back) = (there.clone(), back.clone());
            async move {
                there.await;
                back.set();
            }
        });
        let second = rt.spawn(async move {
            there.set();
            back.await;
        });
        assert!(adapt::run(second).is_ok());
        assert!(adapt::run(first).is_ok());
        end(&rt);
    });
}

/// Cancelled, woken and joined at once; a second task has its handle dropped.
#[test]
fn shuttle_abort() {
    check(|| {
        let rt = runtime(2);
        let dropped = Count::default();
        let event = Event::default();
        let waits = || {
            let (event, dropped) = (event.clone(), Dropped(dropped.clone()));
            async move {
                let _dropped = dropped;
                event.await;
            }
        };
        let (joined, given_up) = (rt.spawn(waits()), rt.spawn(waits()));
        let abort = joined.abort_handle();
        let others = [
            thread::spawn(move || abort.abort()),
            thread::spawn(move || drop(given_up)),
            thread::spawn({
                let event = event.clone();
                move || event.set()
            }),
        ];
        if let Err(error) = adapt::run(joined) {
            assert!(error.is_cancelled());
        }
        assert!(dropped.get() >= 1);
        for other in others {
            other.join().unwrap();
        }
        end(&rt);
        assert_eq!(dropped.get(), 2);
    });
}

/// Detached, and its last waker goes: destroyed, once, without a shutdown (WA-3, lost tasks are
/// destroyed).
#[test]
fn shuttle_last_waker() {
    check(|| {
        let rt = runtime(1);
        let dropped = Count::default();
        let event = Event::default();
        rt.spawn({
            let (event, dropped) = (event.clone(), Dropped(dropped.clone()));
            async move {
                let _dropped = dropped;
                event.await;
            }
        })
        .detach();
        let waker = loop {
            if let Some(waker) = event.state.lock().unwrap().1.pop() {
                break waker;
            }
            thread::yield_now();
        };
        let other = thread::spawn(move || drop(waker));
        while dropped.get() == 0 {
            thread::yield_now();
        }
        other.join().unwrap();
        end(&rt);
        assert_eq!(dropped.get(), 1);
    });
}

/// Closing while tasks are spawned, woken, polled and suspended: every join
/// resolves, each future is destroyed once, and no memory is left.
fn close(workers: usize, drop_handle: bool) {
    let rt = runtime(workers);
    let executor = Arc::downgrade(&rt.shared.executor);
    let dropped = Count::default();
    let event = Event::default();
    let waits = {
        let (event, dropped) = (event.clone(), dropped.clone());
        move || {
            let (event, dropped) = (event.clone(), Dropped(dropped.clone()));
            async move {
                let _dropped = dropped;
                event.await;
            }
        }
    };
    let suspended = rt.spawn(waits());
    let spawner = thread::spawn({
        let rt = rt.clone();
        let waits = waits.clone();
        move || adapt::run(rt.spawn(waits()))
    });
    let waker = thread::spawn(move || {
        event.poke();
        event.set();
    });
    if drop_handle {
        drop(rt);
    } else {
        end(&rt);
        assert!(suspended.is_finished(), "a task was left behind");
        drop(rt);
    }
    let results = [adapt::run(suspended), spawner.join().unwrap()];
    for result in results {
        if let Err(error) = result {
            assert!(error.is_shutdown());
        }
    }
    waker.join().unwrap();
    drop(waits);
    // Workers may be about to leave.
    while executor.strong_count() > 0 {
        thread::yield_now();
    }
    assert_eq!(dropped.get(), 2);
}

#[test]
fn shuttle_shutdown_one_worker() {
    check(|| close(1, false));
}

#[test]
fn shuttle_shutdown_two_workers() {
    check(|| close(2, false));
}

#[test]
fn shuttle_last_handle() {
    check(|| close(2, true));
}

/// Nothing but the shutdown ever wakes the tasks, which are queued, polled or
/// suspended when it comes: none is left behind.
fn close_pending(workers: usize) {
    let rt = runtime(workers);
    let never = Event::default();
    let tasks = [(), ()].map(|()| rt.spawn(never.clone()));
    let late = thread::spawn({
        let (rt, never) = (rt.clone(), never.clone());
        move || rt.spawn(never)
    });
    end(&rt);
    for task in tasks {
        assert!(task.is_finished(), "a task was left behind");
        assert!(adapt::run(task).unwrap_err().is_shutdown());
    }
    let late = late.join().unwrap();
    assert!(adapt::run(late).unwrap_err().is_shutdown());
}

#[test]
fn shuttle_shutdown_alone_one_worker() {
    check(|| close_pending(1));
}

#[test]
fn shuttle_shutdown_alone_two_workers() {
    check(|| close_pending(2));
}

/// The last handle is dropped by a task, on a worker.
#[test]
fn shuttle_last_handle_in_task() {
    check(|| {
        let rt = runtime(1);
        let dropped = Count::default();
        let event = Event::default();
        let task = rt.spawn({
            let (rt, event, dropped) = (rt.clone(), event.clone(), Dropped(dropped.clone()));
            async move {
                let _dropped = dropped;
                event.await;
                drop(rt);
            }
        });
        let other = thread::spawn(move || event.set());
        drop(rt);
        if let Err(error) = adapt::run(task) {
            assert!(error.is_shutdown(), "{error}");
        }
        assert_eq!(dropped.get(), 1);
        other.join().unwrap();
    });
}

/// On the only worker, a task blocks in place until another task has run: the
/// stand-in runs that. Afterwards one of the two threads leaves, and the rest
/// still goes on.
fn in_place(shut_down: bool) {
    let rt = runtime(1);
    let (ran, event) = (Event::default(), Event::default());
    let blocking = rt.spawn({
        let (rt, ran) = (rt.clone(), ran.clone());
        async move { rt.block_in_place(|| adapt::run(ran)) }
    });
    let other = rt.spawn(async move { ran.set() });
    let after = rt.spawn(event.clone());
    if shut_down {
        // A task that was not polled before is destroyed, also the one that the closure waits for:
        // then only `set` wakes the closure.
        let setter = thread::spawn(move || event.set());
        assert!(adapt::run(other).is_ok());
        let _ = end(&rt);
        setter.join().unwrap();
        let _ = (adapt::run(blocking), adapt::run(after));
    } else {
        assert!(adapt::run(blocking).unwrap().is_ok());
        assert!(adapt::run(other).is_ok());
        event.set();
        assert!(adapt::run(after).is_ok());
        end(&rt);
    }
}

#[test]
fn shuttle_block_in_place() {
    check(|| in_place(false));
}

#[test]
fn shuttle_block_in_place_and_shutdown() {
    check(|| in_place(true));
}

/// Some workers cannot be started: an error, and the others end; or no stand-in
/// can: an error, and the closure is not run.
#[test]
fn shuttle_threads_fail() {
    check(|| {
        fail_thread_starts(3);
        let built = StdThread::builder().worker_threads(2).build();
        fail_thread_starts(0);
        let Ok(rt) = built else { return };
        fail_thread_starts(2);
        let task = rt.spawn({
            let rt = rt.clone();
            async move { rt.block_in_place(|| ()).is_ok() }
        });
        let closure = rt.offload(|| 1);
        assert!(adapt::run(task).is_ok());
        match adapt::run(closure) {
            Ok(one) => assert_eq!(one, 1),
            Err(error) => assert!(error.is_unstarted()),
        }
        end(&rt);
    });
}

/// All parts at once: a task waits for a timer and a closure, and the runtime is
/// shut down meanwhile.
#[test]
fn shuttle_everything() {
    check(|| {
        let rt = runtime(1);
        let task = rt.spawn({
            let rt = rt.clone();
            async move {
                rt.sleep(Duration::from_millis(5)).await;
                rt.offload(|| 1).await
            }
        });
        let other = thread::spawn({
            let rt = rt.clone();
            move || drop(rt.shutdown(Duration::MAX))
        });
        match adapt::run(task) {
            Ok(Ok(one)) => assert_eq!(one, 1),
            Ok(Err(error)) | Err(error) => assert!(error.is_shutdown(), "{error}"),
        }
        other.join().unwrap();
        end(&rt);
        Timers::global().close();
        Timers::global().join();
    });
}

/// A closure that waits for a task, on a pool of one, while the runtime shuts
/// down. The context of the thread is right all along.
#[test]
fn shuttle_offload_and_block_on() {
    check(|| {
        let rt = runtime(1);
        let event = Event::default();
        let closure = rt.offload({
            let (rt, event) = (rt.clone(), event.clone());
            move || {
                assert_eq!(context::current(), context::Context::Blocking);
                let joined = rt.block_on(rt.spawn(event));
                assert_eq!(context::current(), context::Context::Blocking);
                joined
            }
        });
        let competitor = rt.offload(|| ());
        let others = [
            thread::spawn(move || event.set()),
            thread::spawn({
                let rt = rt.clone();
                move || drop(rt.shutdown(Duration::MAX))
            }),
        ];
        for result in [
            adapt::run(closure).and_then(|joined| joined),
            adapt::run(competitor),
        ] {
            if let Err(error) = result {
                assert!(error.is_shutdown(), "{error}");
            }
        }
        for other in others {
            other.join().unwrap();
        }
        end(&rt);
    });
}

/// Two workers are asleep, one of them perhaps on guard still. One is woken, uses its slot and is
/// busy for ever: the other one finds the task.
#[test]
fn shuttle_sentinel_leaves() {
    check(|| {
        let idle = Arc::new(Idle::new(2));
        let (work, slot) = (Arc::new(Modelled::new(0)), Arc::new(Modelled::new(0)));
        let workers = [(), ()].map(|()| {
            let (idle, work, slot) = (idle.clone(), work.clone(), slot.clone());
            thread::spawn(move || {
                let me = Sleeper::new();
                let mut searching = false;
                loop {
                    let visible = || work.load(Ordering::SeqCst) > 0;
                    let take = || (slot.swap(0, Ordering::SeqCst) > 0).then_some(());
                    let used = || slot.load(Ordering::SeqCst) > 0;
                    match idle.sleep(&me, searching, visible, used, take, &mut Vec::new()) {
                        Woken::Notified if work.swap(0, Ordering::SeqCst) > 0 => {
                            idle.found();
                            slot.swap(1, Ordering::SeqCst);
                            return idle.notify_sentinel();
                        }
                        Woken::Notified => searching = true,
                        Woken::Found(()) => {
                            idle.found();
                            return;
                        }
                    }
                }
            })
        });
        work.store(1, Ordering::SeqCst);
        idle.notify();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
