//! SH: shutting down.

mod calls;
mod dropped;
mod orderly;
mod races;
mod seen;
mod threads;

use std::{
    task::{Context, Poll},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, JoinError, Offload, Shutdown, Spawner, Timer};

use crate::{
    Case,
    setup::Setup,
    util::{Counter, Gate, HandMade, OnDrop, Puppet, at_thread_end, must},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        orderly::cases(s),
        threads::cases(s),
        dropped::cases(s),
        races::cases(s),
        seen::cases(s),
        calls::cases(s),
    ]
    .concat()
}

type TaskOf<S, T> = <<S as Setup>::Runtime as Spawner>::Task<T>;

#[track_caller]
fn clean(rt: &impl Shutdown) {
    let report = rt
        .shutdown(must())
        .expect("it is owned, and this is sync code");
    assert!(report.is_clean(), "{report:?}");
}

fn is_shutdown<T>(result: Result<T, JoinError>) -> bool {
    result.is_err_and(|error| error.is_shutdown())
}

/// Suspended tasks under puppets.
fn suspended<S: Setup>(rt: &S::Runtime, n: usize) -> (Vec<Puppet>, Vec<TaskOf<S, usize>>) {
    let puppets: Vec<Puppet> = (0..n).map(|_| Puppet::new()).collect();
    let tasks = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    puppets.iter().for_each(|puppet| puppet.polled(1));
    (puppets, tasks)
}

/// Spawns a task that is polled once; `on_drop` is called by its destructor.
fn spawn_stays<S: Setup>(rt: &S::Runtime, on_drop: impl FnMut() + Send + 'static) -> TaskOf<S, ()> {
    let (started, gate) = Gate::pair();
    let on_drop: Box<dyn FnMut() + Send> = Box::new(on_drop);
    let task = rt.spawn(HandMade {
        poll: move |_: &mut Context<'_>| {
            started.open();
            Poll::Pending
        },
        on_drop: OnDrop(on_drop),
    });
    gate.wait();
    task
}

/// Runs work on all kinds of threads of the runtime, which count at their end.
fn note_threads<S: Setup>(rt: &S::Runtime) -> (Counter, Counter) {
    let (seen, ended) = (Counter::new(), Counter::new());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (seen, ended, rt) = (seen.clone(), ended.clone(), rt.clone());
            rt.clone().spawn(async move {
                note_thread(&seen, &ended);
                rt.sleep(Duration::from_millis(1)).await;
                note_thread(&seen, &ended);
                let closure = rt.offload(move || note_thread(&seen, &ended));
                closure.await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        rt.block_on(task).unwrap();
    }
    (seen, ended)
}

/// Makes the calling thread count when it ends, once for all calls.
fn note_thread(seen: &Counter, ended: &Counter) {
    thread_local! {
        static NOTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    if !NOTED.replace(true) {
        seen.add();
        let ended = ended.clone();
        at_thread_end(move || {
            // A runtime that does not wait for this has time to be caught.
            (0..20).for_each(|_| thread::yield_now());
            ended.add();
        });
    }
}
