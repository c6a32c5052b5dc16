//! CA-4, destructors that panic or block.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    thread,
};

use fourway_core::{AbortHandle, BlockOn, Offload, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, Gate, HandMade, HookWatch, OnDrop, drive, eventually, occupy, panic_quietly,
        poll_once, receive,
    },
};

use super::{in_order, spawn_stays, stays, suspended, text};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "CA-4.1", "a destructor that panics on cancellation: the join has the payload",
        "Tokio tests it; async-task aborts the process", destructor_panics;
        "CA-4.2", "a destructor that panics before the first poll: the same",
        "never polled is another path", destructor_panics_unpolled;
        "CA-4.3", "a destructor that panics when the handle is dropped: contained, told to the hook once",
        "tokio 4412: the panic came out of the handle's drop", destructor_panics_dropped;
        "CA-4.4", "a destructor that panics in a detached, aborted task: contained, told once",
        "nobody is there to take it", destructor_panics_detached;
        "CA-4.5", "hundreds of panicking destructors leave the runtime at work",
        "workers that die quietly", destructors_panic_often;
        "CA-4.6", "a destructor may block on what another thread does",
        "the canceller waits for the destructor, and the destructor for the canceller", destructor_blocks;
        "CA-4.7", "a destructor may spawn and offload",
        "clean-up that needs the runtime, under the runtime's locks", destructor_spawns;
        "CA-4.8", "a destructor may wake its own task and others",
        "a wake of a task that is going away", destructor_wakes;
        "CA-4.9", "a destructor may send to a sibling that waits for it",
        "the sibling is polled inline, or never", destructor_sends;
        "CA-4.10", "a destructor may abort its own task, and drop siblings' handles in a chain",
        "cancellation that recurses into itself", destructor_cancels;
        "CA-4.11", "a destructor may replace the waker, ask and poll through handles of others",
        "state that is locked while the destructor runs", destructor_asks;
        "CA-4.12", "a handle dropped by an unwinding thread, whose task's destructor panics, does not abort",
        "two panics on one thread end the process", unwinding_canceller;
        "CA-4.13", "a payload whose destructor panics, out of a destructor, is contained",
        "containment that contains one panic only", nasty_payload;
    ]
}

fn destructor_panics<S: Setup>(s: S) {
    let rt = s.build();
    for with_abort_handle in [false, true] {
        for awaited in [false, true] {
            let watch = HookWatch::new();
            let inner = watch.clone();
            let task = spawn_stays::<S>(&rt, move || inner.panic());
            let aborts = with_abort_handle.then(|| task.abort_handle());
            let result = if awaited {
                task.abort();
                rt.block_on(task)
            } else {
                rt.block_on(task.cancel())
            };
            let error = result.unwrap_err();
            assert!(error.is_panic() && !error.is_cancelled());
            let payload = error.into_panic();
            assert_eq!(payload.downcast_ref::<String>().unwrap(), watch.text());
            assert_eq!(watch.seen().len(), 1);
            drop(aborts);
        }
    }
    in_order::<S>(&rt);
}

fn destructor_panics_unpolled<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    let watch = HookWatch::new();
    let occupied = occupy(&rt);
    let inner = watch.clone();
    let task = rt.spawn(stays(&Gate::new(), move || inner.panic()));
    let cancel = task.cancel();
    drop(occupied);
    let error = drive(cancel).unwrap_err();
    assert_eq!(text(error), watch.text());
    assert_eq!(watch.seen().len(), 1);
    in_order::<S>(&rt);
}

fn destructor_panics_dropped<S: Setup>(s: S) {
    let rt = s.build();
    for with_abort_handle in [false, true] {
        let watch = HookWatch::new();
        let inner = watch.clone();
        let task = spawn_stays::<S>(&rt, move || inner.panic());
        let aborts = with_abort_handle.then(|| task.abort_handle());
        drop(task);
        eventually("the hook is told", || !watch.seen().is_empty());
        in_order::<S>(&rt);
        assert_eq!(watch.seen().len(), 1);
        if let Some(aborts) = aborts {
            eventually("it is finished", || aborts.is_finished());
        }
    }
}

fn destructor_panics_detached<S: Setup>(s: S) {
    let rt = s.build();
    let watch = HookWatch::new();
    let inner = watch.clone();
    let task = spawn_stays::<S>(&rt, move || inner.panic());
    let aborts = task.abort_handle();
    task.detach();
    aborts.abort();
    eventually("it is finished", || aborts.is_finished());
    assert_eq!(watch.seen().len(), 1);
    in_order::<S>(&rt);
}

fn destructors_panic_often<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    for round in 0..200 {
        let count = drops.clone();
        let task = spawn_stays::<S>(&rt, move || {
            count.add();
            panic_quietly("one of many");
        });
        match round % 3 {
            0 => drop(task),
            1 => assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_panic())),
            _ => {
                task.abort();
                task.detach();
            }
        }
    }
    eventually("all are destroyed", || drops.get() == 200);
    in_order::<S>(&rt);
    let sum = rt.block_on(rt.offload(|| 2)).unwrap();
    assert_eq!(sum, 2);
}

fn destructor_blocks<S: Setup>(s: S) {
    let rt = s.build();
    let (go, waits) = Gate::pair();
    let (done, ended) = Gate::pair();
    let task = spawn_stays::<S>(&rt, move || {
        waits.wait();
        done.open();
    });
    // The freeing thread waits until cancelling has begun.
    let aborts = task.abort_handle();
    let cancel = task.cancel();
    assert!(!aborts.is_finished());
    let freed = thread::spawn(move || go.open());
    assert!(drive(cancel).is_err_and(|error| error.is_cancelled()));
    assert!(ended.is_open());
    freed.join().expect("opening a gate does not panic");
    in_order::<S>(&rt);
}

fn destructor_spawns<S: Setup>(s: S) {
    let rt = s.build();
    for detach in [false, true] {
        let (spawned, gate) = Gate::pair();
        let (offloaded, other_gate) = Gate::pair();
        let inner = rt.clone();
        let task = spawn_stays::<S>(&rt, move || {
            let (spawned, offloaded) = (spawned.clone(), offloaded.clone());
            inner.spawn(async move { spawned.open() }).detach();
            inner.offload(move || offloaded.open()).detach();
        });
        if detach {
            let aborts = task.abort_handle();
            task.detach();
            aborts.abort();
        } else {
            assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
        }
        gate.wait();
        other_gate.wait();
    }
}

fn destructor_wakes<S: Setup>(s: S) {
    let rt = s.build();
    let (sibling, waiting) = suspended::<S>(&rt);
    let place: Arc<Mutex<Option<Waker>>> = Arc::default();
    let polls = Counter::new();
    let (keep, own, wakes_sibling, count) =
        (place.clone(), place.clone(), sibling.clone(), polls.clone());
    let (started, gate) = Gate::pair();
    let task = rt.spawn(HandMade {
        poll: move |cx: &mut Context<'_>| -> Poll<()> {
            count.add();
            let waker = cx.waker().clone();
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
            started.open();
            Poll::Pending
        },
        on_drop: OnDrop(move || {
            let waker = own.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake_by_ref();
                waker.clone().wake();
                drop(waker);
            }
            wakes_sibling.wake();
        }),
    });
    gate.wait();
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    sibling.polled(2);
    assert_eq!(polls.get(), 1);
    sibling.finish();
    rt.block_on(waiting).unwrap();
}

fn destructor_sends<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        let (gone, told) = Gate::pair();
        let (waiting, waits) = Gate::pair();
        let sibling = rt.spawn(async move {
            waiting.open();
            told.opened().await;
            5
        });
        waits.wait();
        let task = spawn_stays::<S>(&rt, move || gone.open());
        drop(task);
        assert_eq!(rt.block_on(sibling).unwrap(), 5);
    }
}

fn destructor_cancels<S: Setup>(s: S) {
    let rt = s.build();
    // Each future's destructor drops the handle of the one before.
    let drops = Counter::new();
    let count = drops.clone();
    let mut task = spawn_stays::<S>(&rt, move || {
        count.add();
    });
    for _ in 0..100 {
        let mut before = Some(task);
        let count = drops.clone();
        task = spawn_stays::<S>(&rt, move || {
            drop(before.take());
            count.add();
        });
    }
    drop(task);
    eventually("all of the chain are destroyed", || drops.get() == 101);
    // Its own task.
    let (sender, handles) = mpsc::channel::<AbortHandle>();
    let task = spawn_stays::<S>(&rt, move || {
        let own = receive(&handles);
        own.abort();
        let _ = own.is_finished();
        drop(own);
    });
    let _ = sender.send(task.abort_handle());
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    in_order::<S>(&rt);
}

fn destructor_asks<S: Setup>(s: S) {
    let rt = s.build();
    let (puppet, sibling) = suspended::<S>(&rt);
    let mut sibling = Some(sibling);
    let (sender, seen) = mpsc::channel();
    let task = spawn_stays::<S>(&rt, move || {
        let mut sibling = sibling.take().expect("destroyed once");
        let pending = poll_once(&mut sibling, Waker::noop()).is_pending();
        let finished = sibling.is_finished();
        let _ = sender.send((pending, finished, sibling));
    });
    let aborts = task.abort_handle();
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    assert!(aborts.is_finished());
    let (pending, finished, sibling) = receive(&seen);
    assert!(pending && !finished);
    puppet.finish();
    rt.block_on(sibling).unwrap();
}

fn unwinding_canceller<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    for unpolled in [false, true] {
        let count = drops.clone();
        let panics = move || {
            count.add();
            panic_quietly("a destructor");
        };
        let task = if unpolled {
            rt.spawn(stays(&Gate::new(), panics))
        } else {
            spawn_stays::<S>(&rt, panics)
        };
        let result = catch_unwind(AssertUnwindSafe(move || {
            let _task = task;
            panic_quietly("outer")
        }));
        let payload = result.expect_err("the outer panic goes on");
        assert_eq!(payload.downcast_ref(), Some(&"outer"));
    }
    // In a task: the panicking destructor belongs to the task of a local.
    let count = drops.clone();
    let local = spawn_stays::<S>(&rt, move || {
        count.add();
        panic_quietly("a destructor");
    });
    let task = rt.spawn(async move {
        let _local = local;
        yield_now().await;
        panic_quietly("outer");
    });
    let error: Result<(), _> = rt.block_on(task);
    assert_eq!(text(error.unwrap_err()), "outer");
    eventually("all are destroyed", || drops.get() == 3);
    in_order::<S>(&rt);
}

fn nasty_payload<S: Setup>(s: S) {
    struct Nasty(Counter);
    impl Drop for Nasty {
        fn drop(&mut self) {
            self.0.add();
            panic_quietly("a payload's destructor");
        }
    }
    let rt = s.build();
    let drops = Counter::new();
    let spawn = || {
        let count = drops.clone();
        spawn_stays::<S>(&rt, move || {
            std::panic::resume_unwind(Box::new(Nasty(count.clone())))
        })
    };
    let error = rt.block_on(spawn().cancel()).unwrap_err();
    let payload = error.into_panic();
    assert!(payload.is::<Nasty>());
    assert!(catch_unwind(AssertUnwindSafe(move || drop(payload))).is_err());
    // The output is never taken; it is not defined when it is dropped.
    drop(spawn());
    let task = spawn();
    let aborts = task.abort_handle();
    task.detach();
    aborts.abort();
    eventually("it is finished", || aborts.is_finished());
    in_order::<S>(&rt);
}
