//! WA-3, lost tasks are destroyed: tasks that cannot be woken any more.

use std::{
    future::pending,
    sync::mpsc,
    task::{Context, Poll},
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, Gate, HandMade, HookWatch, OnDrop, Puppet, at_thread_end, eventually, must, never,
        on_thread, receive,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "WA-3.1", "a detached task that gave its waker to nobody is destroyed",
        "async-task tests it: it would never run again, and never go", never_gave, needs_any [LostTasks, Shutdown];
        "WA-3.2", "a detached task is destroyed with its last waker, wherever that is dropped",
        "the same, later", last_waker, needs_any [LostTasks, Shutdown];
        "WA-3.3", "a pending task with a handle is kept, also without a waker",
        "whoever joins it must be told when it is cancelled", handle_keeps;
        "WA-3.4", "a detached task with an abort handle is destroyed with that at the latest",
        "an abort handle that keeps the task in a cycle", abort_handle_goes, needs_any [LostTasks, Shutdown];
        "WA-3.5", "a destructor that panics in a lost task is contained, and told",
        "it runs where nobody expects it", lost_panics, needs_any [LostTasks, Shutdown];
    ]
}

/// Lost tasks are destroyed: at once, or at the shutdown if the runtime keeps a list of its tasks.
/// The subject declares one of the two.
fn lost<S: Setup>(s: S, rt: &S::Runtime, what: &str, destroyed: impl FnMut() -> bool) {
    if !s.capabilities().lost_tasks {
        assert!(rt.shutdown(must()).unwrap().is_clean());
    }
    eventually(what, destroyed);
}

fn never_gave<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    for late in [false, true] {
        let value = drops.on_drop();
        let (started, gate) = Gate::pair();
        let task = rt.spawn(async move {
            let _value = value;
            yield_now().await;
            started.open();
            pending::<()>().await;
        });
        if late {
            gate.wait();
        }
        task.detach();
    }
    lost(s, &rt, "tasks that nobody can wake are destroyed", || {
        drops.get() == 2
    });
}

fn last_waker<S: Setup>(s: S) {
    let rt = s.build();
    let puppets: Vec<Puppet> = (0..4).map(|_| Puppet::new()).collect();
    for puppet in &puppets {
        let task = rt.spawn(puppet.future());
        puppet.polled(1);
        task.detach();
    }
    never("a task is destroyed while its waker is there", || {
        puppets.iter().any(|puppet| puppet.drops() > 0)
    });
    puppets[0].forget_waker();
    let inner = puppets[1].clone();
    rt.block_on(rt.spawn(async move { inner.forget_waker() }))
        .unwrap();
    let inner = puppets[2].clone();
    rt.block_on(rt.offload(move || inner.forget_waker()))
        .unwrap();
    let inner = puppets[3].clone();
    on_thread(move || at_thread_end(move || inner.forget_waker()));
    lost(s, &rt, "tasks are destroyed with their last wakers", || {
        puppets.iter().all(|puppet| puppet.drops() == 1)
    });
    for puppet in &puppets {
        puppet.sound();
        assert_eq!(puppet.polls(), 1);
    }
}

fn handle_keeps<S: Setup>(s: S) {
    let rt = s.build();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    puppet.forget_waker();
    never("a task is destroyed while its handle is there", || {
        puppet.drops() > 0 || task.is_finished()
    });
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    puppet.destroyed();
}

fn abort_handle_goes<S: Setup>(s: S) {
    let rt = s.build();
    let puppets: Vec<Puppet> = (0..2).map(|_| Puppet::new()).collect();
    let spawn = |puppet: &Puppet| {
        let task = rt.spawn(puppet.future());
        let aborts = task.abort_handle();
        puppet.polled(1);
        task.detach();
        aborts
    };
    // The waker is dropped first, or last.
    let aborts = spawn(&puppets[0]);
    puppets[0].forget_waker();
    drop(aborts.clone());
    drop(aborts);
    let aborts = spawn(&puppets[1]);
    drop(aborts);
    puppets[1].forget_waker();
    lost(
        s,
        &rt,
        "tasks without wakers and handles are destroyed",
        || puppets.iter().all(|puppet| puppet.drops() == 1),
    );
}

fn lost_panics<S: Setup>(s: S) {
    let rt = s.build();
    let watch = HookWatch::new();
    let inner = watch.clone();
    rt.spawn(HandMade {
        poll: |_: &mut Context<'_>| Poll::<()>::Pending,
        on_drop: OnDrop(move || inner.panic()),
    })
    .detach();
    // A task that is destroyed when this thread drops the waker.
    let (sender, wakers) = mpsc::channel();
    let inner = watch.clone();
    rt.spawn(HandMade {
        poll: move |cx: &mut Context<'_>| {
            let _ = sender.send(cx.waker().clone());
            Poll::<()>::Pending
        },
        on_drop: OnDrop(move || inner.panic()),
    })
    .detach();
    drop(receive(&wakers));
    lost(s, &rt, "the hook is told of both", || {
        watch.seen().len() == 2
    });
    if s.capabilities().lost_tasks {
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
}
