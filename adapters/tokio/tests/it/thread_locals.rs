//! Destructors of thread-locals that outlive Tokio's own context, or its parker alone.

use std::{
    cell::RefCell,
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer};
use fourway_tokio::Tokio;

const MUST: Duration = Duration::from_secs(30);

struct AtEnd {
    rt: Tokio,
    /// Or is it there, and the parker gone?
    context_is_gone: bool,
    send: Sender<Vec<&'static str>>,
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        let rt = &self.rt;
        assert_eq!(
            tokio::runtime::Handle::try_current()
                .is_err_and(|error| error.is_thread_local_destroyed()),
            self.context_is_gone,
            "the test is about what comes after that"
        );
        let mut done = Vec::new();
        if rt.block_on(async { 1 }) == 1 {
            done.push("ready");
        }
        if rt.block_on(rt.spawn(async { 2 })).ok() == Some(2) {
            done.push("spawned");
        }
        if rt.block_on(rt.offload(|| 3)).ok() == Some(3) {
            done.push("offloaded");
        }
        rt.block_on(rt.sleep(Duration::from_millis(1)));
        done.push("slept");
        if rt.block_in_place(|| 4).ok() == Some(4) {
            done.push("in place");
        }
        let inside = rt.block_on(async { rt.block_in_place(|| rt.block_on(async { 5 })).ok() });
        if inside == Some(5) {
            done.push("in place, inside");
        }
        rt.spawn(async {}).detach();
        let _ = self.send.send(done);
    }
}

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

/// What a thread has used of Tokio before it ends; the first one that was used is destroyed last.
#[derive(Clone, Copy)]
enum Used {
    /// After the thread-local of the test.
    ContextAndParker,
    /// The context before, so that it is still there.
    Parker,
    /// The same, by Tokio's own `block_on`.
    ParkerOfRawTokio,
}

fn everything_works_in_a_destructor(rt: Tokio, used: Used) {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        let context_is_gone = matches!(used, Used::ContextAndParker);
        if !context_is_gone {
            assert!(tokio::runtime::Handle::try_current().is_err());
        }
        AT_END.with_borrow_mut(|at_end| {
            *at_end = Some(AtEnd {
                rt: rt.clone(),
                context_is_gone,
                send,
            })
        });
        match used {
            Used::ContextAndParker | Used::Parker => rt.block_on(async {}),
            Used::ParkerOfRawTokio => {
                let raw = tokio::runtime::Builder::new_multi_thread().build();
                raw.unwrap().block_on(async {});
            }
        }
    });
    thread.join().unwrap();
    let done = receive
        .recv_timeout(MUST)
        .expect("the destructor ran to its end");
    assert_eq!(
        done,
        [
            "ready",
            "spawned",
            "offloaded",
            "slept",
            "in place",
            "in place, inside"
        ]
    );
}

const USED: [Used; 3] = [Used::ContextAndParker, Used::Parker, Used::ParkerOfRawTokio];

#[test]
fn multi_thread() {
    for used in USED {
        everything_works_in_a_destructor(Tokio::builder().build().unwrap(), used);
    }
}

#[test]
fn current_thread() {
    for used in USED {
        let rt = Tokio::builder().current_thread().build();
        everything_works_in_a_destructor(rt.unwrap(), used);
    }
}

/// Of somebody else's runtime.
#[test]
fn a_handle() {
    for used in USED {
        let raw = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        everything_works_in_a_destructor(Tokio::from_handle(raw.handle().clone()), used);
    }
}
