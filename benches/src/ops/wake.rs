//! Tasks that yield, and tasks that wake each other.

use std::sync::Arc;

use smol::{channel, lock::Mutex};

use super::{Job, every};
use crate::{operation::Operation, peers::Tasks, promise::Promise};

const SECTION: &str = "Yield and wake";

const MANY: u32 = 1_000;
const RIVALS: u32 = 64;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "yield, 1 task", 50_000, |_| {
            every(Yields { tasks: 1 })
        })
        .note("each with its own `yield_now`")
        .promise(Promise::ratio("fourway", "Tokio", 0.95)),
        Operation::new(SECTION, "yield, 1,000 tasks", 100_000, |_| {
            every(Yields { tasks: MANY })
        })
        .note("all take turns; the figure is for one yield of one task")
        .promise(Promise::ratio("fourway", "Tokio", 0.95)),
        Operation::new(SECTION, "ping-pong", 5_000, |_| every(PingPong))
            .note("two tasks send a number to and fro, over channels of one place"),
        Operation::new(SECTION, "contended wake", 6_400, |_| every(Contended)).note(
            "64 tasks take an async mutex, yield while they hold it, and hand it on; the figure \
             is for one turn",
        ),
    ]
}

#[derive(Clone, Copy)]
struct Yields {
    tasks: u32,
}

impl Job for Yields {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        let each = times / self.tasks;
        let inner = peer.clone();
        peer.in_task(async move {
            let tasks: Vec<_> = (0..self.tasks)
                .map(|_| {
                    inner.spawn(async move {
                        for _ in 0..each {
                            P::yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                P::output(task.await);
            }
        });
    }
}

#[derive(Clone, Copy)]
struct PingPong;

impl Job for PingPong {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        let (to, from_here) = channel::bounded::<u32>(1);
        let (back, from_there) = channel::bounded::<u32>(1);
        let other = peer.spawn(async move {
            while let Ok(number) = from_here.recv().await {
                if back.send(number + 1).await.is_err() {
                    break;
                }
            }
        });
        peer.in_task(async move {
            for number in 0..times {
                to.send(number).await.expect("the other task listens");
                let answer = from_there.recv().await.expect("the other task answers");
                assert_eq!(answer, number + 1);
            }
            drop(to);
            P::output(other.await);
        });
    }
}

#[derive(Clone, Copy)]
struct Contended;

impl Job for Contended {
    fn run<P: Tasks>(self, peer: &P, times: u32) {
        let turns = times / RIVALS;
        let inner = peer.clone();
        let total = peer.in_task(async move {
            let mutex = Arc::new(Mutex::new(0));
            let tasks: Vec<_> = (0..RIVALS)
                .map(|_| {
                    let mutex = mutex.clone();
                    inner.spawn(async move {
                        for _ in 0..turns {
                            let mut guard = mutex.lock().await;
                            P::yield_now().await;
                            *guard += 1;
                        }
                    })
                })
                .collect();
            for task in tasks {
                P::output(task.await);
            }
            *mutex.lock().await
        });
        assert_eq!(total, turns * RIVALS);
    }
}
