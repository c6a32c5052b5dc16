//! JO-1, a task is awaited anywhere; and the wakers of those that await it.

use std::{
    future::ready,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, CountingWaker, Gate, Puppet, caught, drive, eventually, on_thread, other_runtime,
        poll_once, receive,
    },
};

use super::{CANCELLED, reasons, unwrap_err};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "JO-1.1", "a task can be awaited in a root, a task, a closure, another runtime, and by hand",
        "handles that work on their own executor only", awaited_anywhere;
        "JO-1.2", "of two wakers, the one registered last is woken",
        "a handle that moves between tasks of a select is woken through the old one", last_waker;
        "JO-1.3", "a handle that was polled here can be awaited elsewhere",
        "as the one before, with real executors", moves_between_executors;
        "JO-1.4", "a finished task is ready at the first poll",
        "a join that registers first and is not woken hangs", ready_at_first_poll;
        "JO-1.5", "a join that is given up and taken up again loses nothing",
        "select over `&mut task`", given_up_and_taken_up;
        "JO-1.6", "the joiner's waker is released when the join is over, or the handle gone",
        "tokio 6986: the waker lived as long as the task's memory, and kept its owner alive", waker_released;
        "JO-1.7", "polling a handle again after it was ready panics, and harms nobody",
        "async-task 73: undefined is what a defined panic must not be", polled_after_ready;
        "JO-1.8", "is_finished is false before the end, and after it a join is ready at once",
        "asyncio tests it: reading a result too early; a flag set too soon makes a lie of it", is_finished;
        "JO-1.9", "a waker may poll, ask and abort the task it is told of",
        "a lock that is held while a waker is called", reentrant_waker;
        "JO-1.10", "a joiner's waker that is replaced may ask after the task in its destructor",
        "a lock that is held while a waker is dropped", waker_destructor;
        "JO-1.11", "a join registered from many threads in turn is woken in the end",
        "registering and completing race for the waker", join_race;
        "JO-1.12", "a chain of 200 tasks, each awaiting the next, resolves",
        "joins that wake inline recurse", chain;
        "JO-1.13", "a boxed handle, as a trait object, is awaited like any other",
        "erased handles are what a job table holds", boxed;
    ]
}

fn awaited_anywhere<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let start = |n: u32| {
        rt.spawn(async move {
            yield_now().await;
            n
        })
    };
    assert_eq!(rt.block_on(start(1)).unwrap(), 1);
    let task = start(2);
    assert_eq!(rt.block_on(rt.spawn(task)).unwrap().unwrap(), 2);
    let (task, inner) = (start(3), rt.clone());
    let closure = rt.offload(move || inner.block_on(task).unwrap());
    assert_eq!(rt.block_on(closure).unwrap(), 3);
    assert_eq!(other.block_on(start(4)).unwrap(), 4);
    let task = start(5);
    let there = other.spawn(async move { task.await.unwrap() });
    assert_eq!(other.block_on(there).unwrap(), 5);
    assert_eq!(drive(start(6)).unwrap(), 6);
    let task = start(7);
    assert_eq!(on_thread(move || drive(task)).unwrap(), 7);
}

fn last_waker<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let (first, first_wakes) = CountingWaker::new();
        let (second, second_wakes) = CountingWaker::new();
        assert!(poll_once(&mut task, &first).is_pending());
        assert!(poll_once(&mut task, &second).is_pending());
        puppet.polled(1);
        puppet.finish();
        eventually("the last joiner is woken", || second_wakes.get() > 0);
        assert!(matches!(poll_once(&mut task, &second), Poll::Ready(Ok(_))));
        assert_eq!(first_wakes.get(), 0, "a joiner who was replaced was woken");
    }
}

fn moves_between_executors<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let (waker, _) = CountingWaker::new();
    assert!(poll_once(&mut task, &waker).is_pending());
    // In a root that gives up after one poll; then in a task elsewhere, and here.
    let mut task = rt.block_on(async {
        assert!(poll_once(&mut task, &waker).is_pending());
        task
    });
    let there = other.spawn(async move {
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut task).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        task
    });
    let task = other.block_on(there).unwrap();
    let (awaiting, is_awaited) = Gate::pair();
    let here = rt.spawn(async move {
        awaiting.open();
        task.await
    });
    is_awaited.wait();
    puppet.finish();
    assert!(rt.block_on(here).unwrap().is_ok());
}

fn ready_at_first_poll<S: Setup>(s: S) {
    let rt = s.build();
    for n in 0..50 {
        let (done, gate) = Gate::pair();
        let mut task = rt.spawn(async move {
            done.open();
            n
        });
        gate.wait();
        eventually("it is finished", || task.is_finished());
        let ready = poll_once(&mut task, Waker::noop());
        assert!(matches!(ready, Poll::Ready(Ok(m)) if m == n));
    }
}

fn given_up_and_taken_up<S: Setup>(s: S) {
    let rt = s.build();
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    rt.block_on(async {
        for _ in 0..5 {
            let limit = rt.timeout(Duration::from_millis(1), &mut task).await;
            assert!(limit.is_err());
        }
    });
    puppet.finish();
    assert!(rt.block_on(task).is_ok());
}

/// A waker, and access to its reference count.
fn observed_waker() -> (Waker, Arc<impl Wake + Send + Sync>) {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let arc = Arc::new(Nothing);
    (Waker::from(arc.clone()), arc)
}

fn waker_released<S: Setup>(s: S) {
    let rt = s.build();
    let released = |what: &str, arc: &Arc<_>| {
        eventually(what, || Arc::strong_count(arc) == 1);
    };
    // The puppet keeps a waker of the task, and so keeps the task's memory alive.
    for joined in [true, false] {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let (waker, arc) = observed_waker();
        assert!(poll_once(&mut task, &waker).is_pending());
        drop(waker);
        puppet.polled(1);
        puppet.finish();
        eventually("it is finished", || task.is_finished());
        if joined {
            assert!(poll_once(&mut task, Waker::noop()).is_ready());
            released(
                "the waker is released by a join, though the handle is there",
                &arc,
            );
        }
        drop(task);
        released("the waker is released with the handle", &arc);
    }
    // The handle of a task that is not finished.
    for detach in [true, false] {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let (waker, arc) = observed_waker();
        assert!(poll_once(&mut task, &waker).is_pending());
        drop(waker);
        puppet.polled(1);
        if detach {
            task.detach();
            puppet.finish();
        } else {
            drop(task);
        }
        puppet.destroyed();
        released("the waker is released with the task", &arc);
    }
    // Replaced by another.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let (waker, arc) = observed_waker();
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    assert!(poll_once(&mut task, Waker::noop()).is_pending());
    released("a waker that was replaced is released", &arc);
}

fn polled_after_ready<S: Setup>(s: S) {
    let rt = s.build();
    let mut task = rt.spawn(ready(1));
    eventually("it is finished", || task.is_finished());
    assert!(poll_once(&mut task, Waker::noop()).is_ready());
    for _ in 0..2 {
        let panic = caught(|| poll_once(&mut task, Waker::noop()));
        assert!(!panic.message.is_empty());
    }
    assert!(task.is_finished());
    task.abort();
    drop(task);
    assert_eq!(rt.block_on(rt.spawn(async { 2 })).unwrap(), 2);
}

fn is_finished<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..50 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let aborts = task.abort_handle();
        assert!(!task.is_finished() && !aborts.is_finished());
        puppet.polled(1);
        assert!(!task.is_finished() && !aborts.is_finished());
        puppet.finish();
        eventually("it is finished", || task.is_finished());
        assert!(aborts.is_finished());
        assert!(poll_once(&mut task, Waker::noop()).is_ready());
        assert!(task.is_finished());
    }
}

fn reentrant_waker<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        let aborts = task.abort_handle();
        // The waker takes the handle out of here, and polls it.
        let place = Arc::new(Mutex::new(None));
        let (sender, results) = mpsc::channel();
        let (waker, _) = CountingWaker::with({
            let (place, aborts) = (place.clone(), aborts.clone());
            move || {
                let task = place.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(mut task): Option<<S::Runtime as Spawner>::Task<usize>> = task else {
                    return;
                };
                let _ = (task.is_finished(), aborts.is_finished());
                aborts.abort();
                let poll = poll_once(&mut task, Waker::noop());
                let _ = sender.send((poll, task));
            }
        });
        let mut task = task;
        assert!(poll_once(&mut task, &waker).is_pending());
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        puppet.polled(1);
        puppet.finish();
        match receive(&results) {
            (Poll::Ready(result), _task) => assert!(result.is_ok()),
            // A wake that came a little early.
            (Poll::Pending, task) => assert!(rt.block_on(task).is_ok()),
        }
    }
}

fn waker_destructor<S: Setup>(s: S) {
    struct AsksOnDrop(Box<dyn Fn() + Send + Sync>);
    impl Wake for AsksOnDrop {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for AsksOnDrop {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let rt = s.build();
    let asked = Counter::new();
    let asking = |aborts: fourway_core::AbortHandle, abort: bool| {
        let asked = asked.clone();
        Waker::from(Arc::new(AsksOnDrop(Box::new(move || {
            let _ = aborts.is_finished();
            if abort {
                aborts.abort();
            }
            asked.add();
        }))))
    };
    // Replaced by another waker.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let waker = asking(task.abort_handle(), false);
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    assert!(poll_once(&mut task, Waker::noop()).is_pending());
    eventually("the waker is dropped", || asked.get() == 1);
    // Once it has woken, or when the handle is dropped; and with an abort.
    let waker = asking(task.abort_handle(), true);
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    puppet.finish();
    eventually("it is finished", || task.is_finished());
    assert!(rt.block_on(task).is_ok());
    eventually("the waker is dropped", || asked.get() == 2);
    // With the handle of a task that is not finished.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let waker = asking(task.abort_handle(), true);
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    drop(task);
    puppet.destroyed();
    eventually("the waker is dropped", || asked.get() == 3);
}

fn join_race<S: Setup>(s: S) {
    let rt = s.build();
    for round in 0..200_u32 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let finisher = puppet.clone();
        let thread = thread::spawn(move || {
            for _ in 0..(round % 50) * 10 {
                std::hint::spin_loop();
            }
            finisher.finish();
        });
        // New wakers all the time, until one is woken; the last one must be.
        let mut first = None;
        for _ in 0..round % 7 {
            let (waker, _) = CountingWaker::new();
            if let Poll::Ready(result) = poll_once(&mut task, &waker) {
                first = Some(result);
                break;
            }
        }
        match first {
            Some(result) => assert!(result.is_ok()),
            None => assert!(drive(task).is_ok()),
        }
        thread.join().expect("the finisher does not panic");
    }
}

fn chain<S: Setup>(s: S) {
    let rt = s.build();
    let (go, waits) = Gate::pair();
    let mut task = rt.spawn(async move {
        waits.opened().await;
        0
    });
    for _ in 0..200 {
        let before = task;
        task = rt.spawn(async move { before.await.unwrap() + 1 });
    }
    go.open();
    assert_eq!(rt.block_on(task).unwrap(), 200);
}

fn boxed<S: Setup>(s: S) {
    let rt = s.build();
    let tasks: Vec<Box<dyn Task<u32>>> = (0..3_u32)
        .map(|n| Box::new(rt.spawn(async move { n })) as Box<dyn Task<u32>>)
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(rt.block_on(task).unwrap(), n);
    }
    let puppet = Puppet::new();
    let task: Box<dyn Task<usize>> = Box::new(rt.spawn(puppet.future()));
    let aborts = task.abort_handle();
    assert!(!task.is_finished());
    task.abort();
    assert_eq!(reasons(&unwrap_err(rt.block_on(task))), CANCELLED);
    assert!(aborts.is_finished());
    puppet.destroyed();
}
