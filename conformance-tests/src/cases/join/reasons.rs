//! JO-4, reasons are told apart.

use std::{
    future::{pending, ready},
    sync::mpsc,
};

use fourway_core::{BlockOn, Shutdown, Spawner, Task};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Gate, Puppet, drive, eventually, must, panic_quietly, receive},
};

use super::{CANCELLED, PANICKED, SHUT_DOWN, message, reasons, unwrap_err};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "JO-4.1", "cancelled and panicked are told apart",
        "peers have one error for all, or panic in the joiner", told_apart;
        "JO-4.2", "shut down is told apart from cancelled and panicked",
        "a restart is the answer to one of them only", shutdown_told_apart, needs [Shutdown];
        "JO-4.3", "a task that panics in the poll during which it is cancelled has panicked",
        "the cancellation covers up the failure", panic_while_cancelled;
        "JO-4.4", "a task cancelled before the shutdown stays cancelled, one after it shut down",
        "the later event overwrites the reason", first_reason_stays, needs [Shutdown];
        "JO-4.5", "each reason says its own name, in words and in Debug",
        "logs are where most people meet these errors", words;
    ]
}

fn told_apart<S: Setup>(s: S) {
    let rt = s.build();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    task.abort();
    assert_eq!(reasons(&unwrap_err(rt.block_on(task))), CANCELLED);
    let task = rt.spawn(async { panic_quietly("on purpose") });
    assert_eq!(reasons(&unwrap_err::<()>(rt.block_on(task))), PANICKED);
    let error = unwrap_err(rt.block_on(rt.spawn(pending::<()>()).cancel()));
    assert_eq!(reasons(&error), CANCELLED);
    assert!(
        error
            .try_into_panic()
            .is_err_and(|error| error.is_cancelled())
    );
}

fn shutdown_told_apart<S: Setup>(s: S) {
    let rt = s.build();
    let puppet = Puppet::new();
    let suspended = rt.spawn(puppet.future());
    let panicked = rt.spawn(async { panic_quietly("on purpose") });
    let cancelled = rt.spawn(pending::<()>());
    cancelled.abort();
    eventually("both have ended", || {
        panicked.is_finished() && cancelled.is_finished()
    });
    puppet.polled(1);
    assert!(rt.shutdown(must()).unwrap().is_clean());
    assert_eq!(reasons(&unwrap_err(drive(suspended))), SHUT_DOWN);
    assert_eq!(reasons(&unwrap_err::<()>(drive(panicked))), PANICKED);
    assert_eq!(reasons(&unwrap_err(drive(cancelled))), CANCELLED);
    assert_eq!(reasons(&unwrap_err(drive(rt.spawn(ready(1))))), SHUT_DOWN);
}

fn panic_while_cancelled<S: Setup>(s: S) {
    let rt = s.build();
    // By itself.
    let (sender, handles) = mpsc::channel::<fourway_core::AbortHandle>();
    let task = rt.spawn(async move {
        receive(&handles).abort();
        panic_quietly("by itself")
    });
    let _ = sender.send(task.abort_handle());
    assert_eq!(message(unwrap_err::<()>(rt.block_on(task))), "by itself");
    // By another thread.
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = rt.spawn(async move {
        started.open();
        waits.wait();
        panic_quietly("by another")
    });
    has_started.wait();
    task.abort();
    go.open();
    assert_eq!(message(unwrap_err::<()>(rt.block_on(task))), "by another");
    // And a panic in such a poll that comes only from the destructor.
    let task = rt.spawn(async { panic_quietly("before") });
    eventually("it is finished", || task.is_finished());
    assert_eq!(
        message(unwrap_err::<()>(rt.block_on(task.cancel()))),
        "before"
    );
}

fn first_reason_stays<S: Setup>(s: S) {
    let rt = s.build();
    let (first, second) = (Puppet::new(), Puppet::new());
    let (before, after) = (rt.spawn(first.future()), rt.spawn(second.future()));
    let aborts = after.abort_handle();
    first.polled(1);
    second.polled(1);
    before.abort();
    assert!(rt.shutdown(must()).unwrap().is_clean());
    aborts.abort();
    after.abort();
    assert_eq!(reasons(&unwrap_err(drive(before))), CANCELLED);
    assert_eq!(reasons(&unwrap_err(drive(after.cancel()))), SHUT_DOWN);
    first.destroyed();
    second.destroyed();
}

fn words<S: Setup>(s: S) {
    let rt = s.build();
    let cancelled = unwrap_err(rt.block_on(rt.spawn(pending::<()>()).cancel()));
    let task = rt.spawn(async { panic_quietly("the reason why") });
    let panicked = unwrap_err::<()>(rt.block_on(task));
    assert!(cancelled.to_string().contains("cancelled"));
    assert!(panicked.to_string().contains("the reason why"));
    assert_ne!(cancelled.to_string(), panicked.to_string());
    assert_ne!(format!("{cancelled:?}"), format!("{panicked:?}"));
}
