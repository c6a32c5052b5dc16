//! Runtimes that block, or that are kept busy.

use std::{task::Poll, thread};

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_core::{BlockOn, Runtime, Task};

use super::{counting::Counter, gate::Gate, waiting::must_not};

/// How a runtime answers when it is asked to block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It blocked.
    Ran,
    /// It refused, as nested, without polling the future.
    Refused,
    /// Anything else.
    Wrong(String),
}

/// Asks `rt` to block on the calling thread.
pub(crate) fn ask(rt: &impl BlockOn) -> Answer {
    let polls = Counter::new();
    let future = {
        let polls = polls.clone();
        std::future::poll_fn(move |_| {
            polls.add();
            Poll::Ready(())
        })
    };
    match rt.try_block_on(future) {
        Ok(()) => Answer::Ran,
        Err(error) if polls.get() > 0 => Answer::Wrong(format!("polled, then {error:?}")),
        Err(error) if error.is_nested() => Answer::Refused,
        Err(error) => Answer::Wrong(format!("{error:?}")),
    }
}

/// The simplest executor, used as "another runtime".
#[derive(Clone, Debug)]
pub(crate) struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || adapt::run(future));
    }
}

/// A runtime that is not the one under test.
pub(crate) fn other_runtime() -> Adapter<ThreadEach> {
    Adapter::new(ThreadEach)
}

/// Keeps a runtime's one worker busy until it is dropped.
pub(crate) struct Occupied {
    go: Gate,
    /// Is no other task polled meanwhile? A runtime may have more threads than requested; then the
    /// order is not certain.
    pub(crate) entirely: bool,
}

/// Occupies a runtime that was built with one worker. Meanwhile the case must not wait for an event
/// that needs the runtime.
pub(crate) fn occupy(rt: &impl Runtime) -> Occupied {
    let (started, go) = (Gate::new(), Gate::new());
    let (opens, waits) = (started.clone(), go.clone());
    rt.spawn(async move {
        opens.open();
        waits.wait();
    })
    .detach();
    started.wait();
    let (polled, probe) = Gate::pair();
    rt.spawn(async move { polled.open() }).detach();
    let entirely = !probe.wait_for(must_not());
    Occupied { go, entirely }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.go.open();
    }
}
