//! CA: cancelling and detaching.

mod awaited;
mod destructors;
mod handles;
mod prompt;

use std::task::{Context, Poll};

use fourway_core::{BlockOn, JoinError, Spawner};

use crate::{
    Case,
    setup::Setup,
    util::{Gate, HandMade, OnDrop, Puppet},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        handles::cases(s),
        prompt::cases(s),
        awaited::cases(s),
        destructors::cases(s),
    ]
    .concat()
}

type TaskOf<S, T> = <<S as Setup>::Runtime as Spawner>::Task<T>;

/// A suspended task under a puppet.
fn suspended<S: Setup>(rt: &S::Runtime) -> (Puppet, TaskOf<S, usize>) {
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    (puppet, task)
}

/// Is polled once, and suspended; `on_drop` is called by its destructor.
fn stays<F: FnMut() + Send + 'static>(
    started: &Gate,
    on_drop: F,
) -> impl Future<Output = ()> + Send + 'static {
    let started = started.clone();
    // Boxed, as closures need not be `Unpin`.
    let on_drop: Box<dyn FnMut() + Send> = Box::new(on_drop);
    HandMade {
        poll: move |_: &mut Context<'_>| {
            started.open();
            Poll::Pending
        },
        on_drop: OnDrop(on_drop),
    }
}

/// Spawns such a task, and waits until it is suspended.
fn spawn_stays<S: Setup>(rt: &S::Runtime, on_drop: impl FnMut() + Send + 'static) -> TaskOf<S, ()> {
    let started = Gate::new();
    let task = rt.spawn(stays(&started, on_drop));
    started.wait();
    task
}

fn in_order<S: Setup>(rt: &S::Runtime) {
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn text(error: JoinError) -> String {
    error.panic_message().unwrap_or_default().to_owned()
}
