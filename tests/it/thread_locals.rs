//! In destructors of thread-locals, which may run after fourway's own have been destroyed.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use fourway::{AnyRuntime, local, prelude::*};

use crate::support::every;

const MUST: Duration = Duration::from_secs(60);

struct OnDrop(Option<Box<dyn FnOnce()>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_local! {
    static LAST: RefCell<OnDrop> = const { RefCell::new(OnDrop(None)) };
}

/// Calls `f` in a destructor of a thread that has used the runtime, after those of the
/// thread-locals that it has used first, or before.
fn at_the_end<T: Send + 'static>(
    rt: &AnyRuntime,
    after: bool,
    f: impl FnOnce(&AnyRuntime) -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    let rt = rt.clone();
    thread::spawn(move || {
        let late = rt.clone();
        let keep = move || {
            // A panic out of a destructor would abort the process.
            let calls = move || catch_unwind(AssertUnwindSafe(|| f(&late))).ok();
            let sends = Box::new(move || sender.send(calls()).unwrap_or_default());
            LAST.with_borrow_mut(|last| last.0 = Some(sends));
        };
        let uses = move || {
            rt.block_on(rt.sleep(Duration::from_millis(1)));
            rt.offload(|| ()).wait().unwrap();
            local::block_on(&rt, async |_| ()).unwrap();
        };
        // The first one that was used is destroyed last.
        if after {
            keep();
            uses();
        } else {
            uses();
            keep();
        }
    });
    let ended = receiver.recv_timeout(MUST).expect("the destructor ends");
    ended.expect("no panic")
}

#[test]
fn local_tasks_spawn_local_tasks() {
    every(|rt| {
        for after in [true, false] {
            let value = at_the_end(&rt, after, |rt| {
                local::block_on(rt, async |_| local::spawn(async { 7 }).await.unwrap())
            });
            assert_eq!(value.unwrap(), 7, "after: {after}");
        }
    });
}

#[test]
fn a_root_future_blocks_in_place() {
    every(|rt| {
        for after in [true, false] {
            let value = at_the_end(&rt, after, |rt| {
                let again = || rt.block_on(async { 7 });
                rt.block_on(async { rt.block_in_place(again).ok() })
            });
            assert_eq!(value, Some(7), "after: {after}");
        }
    });
}
