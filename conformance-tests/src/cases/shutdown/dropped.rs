//! SH-2, dropping a handle never blocks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Gate, Puppet, at_thread_end, drive, eventually, must, on_thread, other_runtime,
        panic_quietly,
    },
};

use super::{clean, is_shutdown, note_threads, spawn_stays, suspended};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SH-2.1", "dropping the last handle does not wait for a closure or a poll",
        "a drop that blocks, in code that must not", drop_does_not_wait;
        "SH-2.2", "the last handle may be dropped in async code of others",
        "tokio 1950: a runtime dropped in async context panics", dropped_in_async;
        "SH-2.3", "the last handle may be dropped by the runtime's own task",
        "a worker that joins itself", dropped_in_own_task;
        "SH-2.4", "the last handle may be dropped by the runtime's own closure, and its thread's end",
        "a pool thread that joins itself", dropped_in_own_closure;
        "SH-2.5", "the last handle may be dropped by a destructor of the runtime's own task",
        "the shutdown that destroys the task that shuts down", dropped_in_own_destructor;
        "SH-2.6", "the last handle may be dropped while unwinding, and in a thread-local's destructor",
        "tokio 4973: dropped in a thread-local's destructor", dropped_while_unwinding;
        "SH-2.7", "handles dropped on many threads at a time",
        "two of them think they are the last", dropped_at_once;
        "SH-2.8", "dropping handles after a shutdown does nothing more",
        "everything is torn down twice", dropped_after_shutdown, needs [Shutdown];
        "SH-2.9", "threads end after the last handle is dropped",
        "a runtime for each test, and soon no threads are left", threads_end_after_drop, needs [Shutdown];
        "SH-2.10", "a hundred runtimes in a row, each used and dropped",
        "what each of them leaves behind adds up", many_runtimes;
    ]
}

/// Fails if `f` takes so long that it must be waiting for something.
#[track_caller]
fn returns(f: impl FnOnce() + Send + 'static) {
    on_thread(f);
}

fn drop_does_not_wait<S: Setup>(s: S) {
    let rt = s.build();
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    let (go, waits) = Gate::pair();
    let stuck = |at: usize| {
        let (started, waits) = (gates[at].clone(), waits.clone());
        move || {
            started.open();
            waits.wait_for(must())
        }
    };
    let closure = rt.offload(stuck(0));
    let poll = stuck(1);
    let task = rt.spawn(async move { poll() });
    gates[0].wait();
    gates[1].wait();
    // If the drop waited for them, the gate would never open.
    returns(move || drop(rt));
    go.open();
    assert!(drive(closure).unwrap(), "the drop has waited");
    assert!(drive(task).unwrap(), "the drop has waited");
}

fn dropped_in_async<S: Setup>(s: S) {
    let other = other_runtime();
    let used = || {
        let rt = s.build();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        tasks.into_iter().for_each(Task::detach);
        (rt, puppets)
    };
    let (rt, first) = used();
    other.block_on(async move { drop(rt) });
    let (rt, second) = used();
    other
        .block_on(other.spawn(async move { drop(rt) }))
        .unwrap();
    let (rt, third) = used();
    let here = s.build();
    here.block_on(here.spawn(async move { drop(rt) })).unwrap();
    let (rt, fourth) = used();
    other.block_on(other.offload(move || drop(rt))).unwrap();
    for puppet in [first, second, third, fourth].iter().flatten() {
        puppet.finish();
        puppet.destroyed();
    }
}

fn dropped_in_own_task<S: Setup>(s: S) {
    for suspend in [false, true] {
        let rt = s.build();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        let (go, waits) = Gate::pair();
        let (done, gate) = Gate::pair();
        let inner = rt.clone();
        let task = rt.spawn(async move {
            waits.opened().await;
            drop(inner);
            done.open();
            if suspend {
                yield_now().await;
            }
            7
        });
        drop(rt);
        go.open();
        gate.wait();
        match drive(task) {
            Ok(output) => assert_eq!(output, 7),
            Err(error) => assert!(suspend && error.is_shutdown(), "{error:?}"),
        }
        for puppet in &puppets {
            puppet.finish();
            puppet.destroyed();
        }
        drop(tasks);
    }
}

fn dropped_in_own_closure<S: Setup>(s: S) {
    for at_end in [false, true] {
        let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(1));
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        let (go, waits) = Gate::pair();
        let (done, gate) = Gate::pair();
        let inner = rt.clone();
        let task = rt.offload(move || {
            waits.wait();
            let last = move || {
                drop(inner);
                done.open();
            };
            if at_end {
                at_thread_end(last);
            } else {
                last();
            }
            7
        });
        drop(rt);
        go.open();
        assert_eq!(drive(task).unwrap(), 7);
        gate.wait();
        for puppet in &puppets {
            puppet.finish();
            puppet.destroyed();
        }
        drop(tasks);
    }
}

fn dropped_in_own_destructor<S: Setup>(s: S) {
    let rt = s.build();
    rt.block_on(rt.offload(|| ())).unwrap();
    let (puppets, tasks) = suspended::<S>(&rt, 3);
    let mut last = Some(rt.clone());
    let (done, gate) = Gate::pair();
    let task = spawn_stays::<S>(&rt, move || {
        drop(last.take());
        done.open();
    });
    drop(rt);
    assert!(drive(task.cancel()).is_err_and(|error| error.is_cancelled()));
    gate.wait();
    for puppet in &puppets {
        puppet.finish();
        puppet.destroyed();
    }
    drop(tasks);
}

fn dropped_while_unwinding<S: Setup>(s: S) {
    let used = || {
        let rt = s.build();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        tasks.into_iter().for_each(Task::detach);
        (rt, puppets)
    };
    let (rt, first) = used();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _rt = rt;
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    let (rt, second) = used();
    on_thread(move || at_thread_end(move || drop(rt)));
    // After the runtime's thread-locals of this thread are gone.
    let (third, inner) = (Arc::new(Mutex::new(None)), ());
    let place = third.clone();
    on_thread(move || {
        let () = inner;
        let slot: Arc<Mutex<Option<S::Runtime>>> = Arc::default();
        let last = slot.clone();
        at_thread_end(move || {
            let rt = last.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(rt);
        });
        let rt = s.build();
        rt.block_on(rt.offload(|| ())).unwrap();
        let (puppets, tasks) = suspended::<S>(&rt, 3);
        tasks.into_iter().for_each(Task::detach);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(puppets);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rt);
    });
    let third = third.lock().unwrap_or_else(PoisonError::into_inner).take();
    let third = third.expect("the thread has left them");
    for puppet in [first, second, third].iter().flatten() {
        puppet.finish();
        puppet.destroyed();
    }
}

fn dropped_at_once<S: Setup>(s: S) {
    for _ in 0..20 {
        let rt = s.build();
        let (puppets, tasks) = suspended::<S>(&rt, 2);
        tasks.into_iter().for_each(Task::detach);
        let barrier = Arc::new(Barrier::new(4));
        let handles: Vec<_> = (0..4).map(|_| rt.clone()).collect();
        drop(rt);
        let threads: Vec<_> = handles
            .into_iter()
            .map(|rt| {
                let barrier = barrier.clone();
                thread::spawn(move || {
                    barrier.wait();
                    drop(rt);
                })
            })
            .collect();
        for thread in threads {
            eventually("dropping ends", || thread.is_finished());
            thread.join().expect("dropping does not panic");
        }
        for puppet in &puppets {
            puppet.finish();
            puppet.destroyed();
        }
    }
}

fn dropped_after_shutdown<S: Setup>(s: S) {
    let rt = s.build();
    let (puppets, tasks) = suspended::<S>(&rt, 2);
    let other = rt.clone();
    clean(&rt);
    drop(rt);
    clean(&other);
    assert!(is_shutdown(drive(other.spawn(async {}))));
    other_runtime().block_on(async move { drop(other) });
    drop(tasks);
    for puppet in &puppets {
        puppet.destroyed();
        puppet.wake();
    }
}

fn threads_end_after_drop<S: Setup>(s: S) {
    let rt = s.build();
    let (seen, ended) = note_threads::<S>(&rt);
    drop(rt);
    eventually("the threads end", || ended.get() == seen.get());
    // As well as with suspended tasks.
    let rt = s.build();
    let (seen, ended) = note_threads::<S>(&rt);
    let (puppets, tasks) = suspended::<S>(&rt, 5);
    drop(rt);
    eventually("the threads end", || ended.get() == seen.get());
    puppets.iter().for_each(Puppet::destroyed);
    drop(tasks);
}

fn many_runtimes<S: Setup>(s: S) {
    for n in 0..100 {
        let rt = s.build();
        if n % 3 != 0 {
            assert_eq!(rt.block_on(rt.spawn(async move { n })).unwrap(), n);
        }
        if n % 10 == 1 {
            assert_eq!(rt.block_on(rt.offload(move || n)).unwrap(), n);
        }
        rt.spawn(async {}).detach();
    }
}
