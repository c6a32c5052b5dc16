//! JO-5: every join resolves.

use std::{future::pending, sync::mpsc, thread, time::Duration};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, Timer};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, Puppet, drive, eventually, must, other_runtime, receive},
};

use super::{SHUT_DOWN, reasons, unwrap_err};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "JO-5.1", "joins of suspended tasks resolve at shutdown, whoever waits",
        "Tokio and async-executor test it: a join after the executor's end hangs", resolve_at_shutdown, needs [Shutdown];
        "JO-5.2", "joins resolve when the last handle on the runtime is dropped",
        "the same without anyone calling shutdown", resolve_at_drop;
        "JO-5.3", "a finished task keeps its output over the shutdown and the drop of the runtime",
        "async-executor tests it: finished gives the value, unfinished does not hang", output_survives;
        "JO-5.4", "tasks that wait for each other resolve at shutdown",
        "destroying one under a lock wakes the other", mutual_wait, needs [Shutdown];
        "JO-5.5", "tasks in all states resolve at shutdown, and each is destroyed once",
        "async-executor tests it: each pending future dropped exactly once", all_states, needs [Shutdown];
        "JO-5.6", "offloaded closures' joins resolve when the last handle is dropped",
        "a pool whose queue goes without a word", closures_resolve_at_drop;
        "JO-5.7", "a task that sleeps does not keep its runtime",
        "a timer that owns the runtime which is to destroy it", sleepers_resolve_at_drop, needs [Shutdown];
    ]
}

fn resolve_at_shutdown<S: Setup>(s: S) {
    let rt = s.build();
    let other = other_runtime();
    let puppets: Vec<Puppet> = (0..4).map(|_| Puppet::new()).collect();
    let mut tasks = puppets.iter().map(|puppet| rt.spawn(puppet.future()));
    let mut next = || tasks.next().expect("four");
    // The waiters: a thread that polls by hand, a `block_on` of the runtime, another runtime's
    // task, and a handle that is not polled before the end.
    let (sender, results) = mpsc::channel();
    let (by_hand, at_hand) = (next(), sender.clone());
    let first = thread::spawn(move || at_hand.send(drive(by_hand)));
    let (blocked, at_block, inner) = (next(), sender.clone(), rt.clone());
    let second = thread::spawn(move || at_block.send(inner.block_on(blocked)));
    let elsewhere = next();
    let there = other.spawn(async move { sender.send(elsewhere.await) });
    let unpolled = next();
    for puppet in &puppets {
        puppet.polled(1);
    }
    assert!(rt.shutdown(must()).unwrap().is_clean());
    for _ in 0..3 {
        assert_eq!(reasons(&unwrap_err(receive(&results))), SHUT_DOWN);
    }
    assert_eq!(reasons(&unwrap_err(drive(unpolled))), SHUT_DOWN);
    for thread in [first, second] {
        eventually("the joiner ends", || thread.is_finished());
    }
    assert!(other.block_on(there).is_ok());
    puppets.iter().for_each(Puppet::destroyed);
}

fn resolve_at_drop<S: Setup>(s: S) {
    let rt = s.build();
    let puppets: Vec<Puppet> = (0..5).map(|_| Puppet::new()).collect();
    let tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    drop(rt);
    if !s.capabilities().shutdown {
        // The tasks belong to an executor that goes on, so they may go on, too.
        puppets.iter().for_each(Puppet::finish);
    }
    for task in tasks {
        match drive(task) {
            Ok(polls) => assert!(!s.capabilities().shutdown && polls > 1),
            Err(error) => assert_eq!(reasons(&error), SHUT_DOWN),
        }
    }
    puppets.iter().for_each(Puppet::destroyed);
}

fn output_survives<S: Setup>(s: S) {
    let rt = s.build();
    let drops = Counter::new();
    let spawn = || {
        let value = drops.on_drop();
        let task = rt.spawn(async move { value });
        eventually("it is finished", || task.is_finished());
        task
    };
    let (joined, dropped, detached) = (spawn(), spawn(), spawn());
    if s.capabilities().shutdown {
        assert!(rt.shutdown(must()).unwrap().is_clean());
    }
    drop(rt);
    assert!(joined.is_finished());
    assert_eq!(drops.get(), 0);
    let Ok(output) = drive(joined) else {
        panic!("the output was there");
    };
    drop(output);
    assert_eq!(drops.get(), 1);
    drop(dropped);
    eventually("the second output is dropped", || drops.get() == 2);
    detached.detach();
    eventually("the third output is dropped", || drops.get() == 3);
}

fn mutual_wait<S: Setup>(s: S) {
    let rt = s.build();
    // A chain: each task owns the handle of the one before it, and waits for it.
    let (puppet, waiting) = (Puppet::new(), Counter::new());
    let mut task = rt.spawn(puppet.future());
    for _ in 0..20 {
        let (before, waiting) = (task, waiting.clone());
        task = rt.spawn(async move {
            waiting.add();
            let _ = before.await;
            pending().await
        });
    }
    puppet.polled(1);
    // A task that has not been polled does not wait yet.
    eventually("all wait", || waiting.get() == 20);
    assert!(rt.shutdown(must()).unwrap().is_clean());
    assert_eq!(reasons(&unwrap_err(drive(task))), SHUT_DOWN);
    puppet.destroyed();
}

fn all_states<S: Setup>(s: S) {
    for _ in 0..3 {
        let rt = s.build();
        let puppets: Vec<Puppet> = (0..60).map(|_| Puppet::new()).collect();
        let mut tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
        for (n, puppet) in puppets.iter().enumerate() {
            match n % 4 {
                // Not polled yet, perhaps; suspended; woken; finished.
                0 => {}
                1 => puppet.polled(1),
                2 => {
                    puppet.polled(1);
                    puppet.wake();
                }
                _ => puppet.finish(),
            }
        }
        // Some have waiters, some do not.
        for (n, task) in tasks.split_off(30).into_iter().enumerate() {
            if n % 2 == 0 {
                task.detach();
            } else {
                drop(task);
            }
        }
        assert!(rt.shutdown(must()).unwrap().is_clean());
        for (n, task) in tasks.into_iter().enumerate() {
            match drive(task) {
                Ok(_) => assert_eq!(n % 4, 3),
                Err(error) => assert_eq!(reasons(&error), SHUT_DOWN),
            }
        }
        for puppet in &puppets {
            assert_eq!(puppet.drops(), 1);
            puppet.sound();
        }
    }
}

fn sleepers_resolve_at_drop<S: Setup>(s: S) {
    const LONG: Duration = Duration::from_secs(3600);
    let rt = s.build();
    // Timers are all that these tasks have of the runtime. Some have been polled.
    let puppets: Vec<Puppet> = (0..4).map(|_| Puppet::new()).collect();
    let limited: Vec<_> = puppets
        .iter()
        .map(|puppet| rt.spawn(rt.timeout(LONG, puppet.future())))
        .collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    let sleeping: Vec<_> = (0..4).map(|_| rt.spawn(rt.sleep(LONG))).collect();
    drop(rt);
    for task in limited {
        assert_eq!(reasons(&unwrap_err(drive(task))), SHUT_DOWN);
    }
    for task in sleeping {
        assert_eq!(reasons(&unwrap_err(drive(task))), SHUT_DOWN);
    }
    puppets.iter().for_each(Puppet::destroyed);
}

fn closures_resolve_at_drop<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let (go, waits) = Gate::pair();
    let (started, has_started) = Gate::pair();
    let running = rt.offload(move || {
        started.open();
        waits.wait();
        1
    });
    has_started.wait();
    let queued: Vec<_> = (0..5).map(|n| rt.offload(move || n)).collect();
    drop(rt);
    go.open();
    // A running closure ends normally; a queued one runs or is refused.
    assert_eq!(drive(running).unwrap(), 1);
    for (n, task) in queued.into_iter().enumerate() {
        match drive(task) {
            Ok(output) => assert_eq!(output, n),
            Err(error) => assert_eq!(reasons(&error), SHUT_DOWN),
        }
    }
}
