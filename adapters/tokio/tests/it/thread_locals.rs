//! Destructors of thread-locals that outlive Tokio's own context.

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
    send: Sender<Vec<&'static str>>,
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        let rt = &self.rt;
        assert!(
            tokio::runtime::Handle::try_current()
                .is_err_and(|error| error.is_thread_local_destroyed()),
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

fn everything_works_in_a_destructor(rt: Tokio) {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Registered first, and so destroyed last.
        AT_END.with_borrow_mut(|at_end| {
            *at_end = Some(AtEnd {
                rt: rt.clone(),
                send,
            })
        });
        rt.block_on(async {});
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

#[test]
fn multi_thread() {
    everything_works_in_a_destructor(Tokio::builder().build().unwrap());
}

#[test]
fn current_thread() {
    everything_works_in_a_destructor(Tokio::builder().current_thread().build().unwrap());
}
