//! Models of a session's queue, run under many schedules. See `fourway_core::sync` for how, and
//! `FOURWAY_MODEL_ITERATIONS`.
//!
//! A model fails if a thread panics, if an assertion does not hold, or if all threads wait, which
//! shows a lost turn.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        // Not modelled.
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Instant,
};

use fourway_core::{
    CancellationToken,
    cancel::Reason,
    sync::{check, thread},
    task::Metadata,
};

use crate::session::{Access, Queue, Ticket};

type Line = Arc<Queue<Vec<u32>>>;

fn enter(queue: &Line, access: Access) -> Result<Ticket<Vec<u32>>, Reason> {
    let token = CancellationToken::new();
    queue.enter(access, token, Metadata::caller(), Instant::now())
}

/// Two writers and a reader: each runs alone, and in order.
#[test]
fn shuttle_turns_come_in_order() {
    check(|| {
        let queue: Line = Arc::new(Queue::new(Vec::new()));
        let mut threads = Vec::new();
        for number in 0..2 {
            let ticket = enter(&queue, Access::Write).unwrap();
            threads.push(thread::spawn(move || {
                let mut turn = fourway_adapt::run(ticket);
                turn.get_mut().push(number);
            }));
        }
        for _ in 0..2 {
            let ticket = enter(&queue, Access::Read).unwrap();
            threads.push(thread::spawn(move || {
                let turn = fourway_adapt::run(ticket);
                assert_eq!(*turn.get(), [0, 1]);
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Readers share; while they do, no writer is in.
#[test]
fn shuttle_readers_share_and_writers_do_not() {
    check(|| {
        let queue: Line = Arc::new(Queue::new(Vec::new()));
        let (readers, writers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut threads = Vec::new();
        for access in [Access::Read, Access::Write, Access::Read, Access::Read] {
            let ticket = enter(&queue, access).unwrap();
            let (readers, writers) = (readers.clone(), writers.clone());
            threads.push(thread::spawn(move || {
                let mut turn = fourway_adapt::run(ticket);
                match access {
                    Access::Read => {
                        readers.fetch_add(1, SeqCst);
                        thread::yield_now();
                        assert_eq!(writers.load(SeqCst), 0);
                        readers.fetch_sub(1, SeqCst);
                    }
                    Access::Write => {
                        assert_eq!(writers.fetch_add(1, SeqCst), 0);
                        turn.get_mut().push(1);
                        thread::yield_now();
                        assert_eq!(readers.load(SeqCst), 0);
                        writers.fetch_sub(1, SeqCst);
                    }
                }
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A waiter in the middle gives up at any moment, perhaps as its turn is granted: the waiter behind
/// it gets its turn.
#[test]
fn shuttle_whoever_gives_up_passes_the_turn_on() {
    check(|| {
        let queue: Line = Arc::new(Queue::new(Vec::new()));
        let first = enter(&queue, Access::Write).unwrap();
        let gives_up = enter(&queue, Access::Write).unwrap();
        let last = enter(&queue, Access::Write).unwrap();
        let threads = [
            thread::spawn(move || {
                fourway_adapt::run(first).get_mut().push(1);
            }),
            thread::spawn(move || {
                let mut ticket = pin!(gives_up);
                fourway_adapt::run(poll_fn(|cx| {
                    Poll::Ready(ticket.as_mut().poll(cx).is_ready())
                }));
            }),
            thread::spawn(move || {
                let mut turn = fourway_adapt::run(last);
                assert_eq!(*turn.get(), [1]);
                turn.get_mut().push(3);
            }),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(
            enter(&queue, Access::Read)
                .unwrap()
                .try_turn()
                .ok()
                .map(|t| t.get().clone()),
            Some(vec![1, 3])
        );
    });
}

/// A session is closed while an execution enters: it gets its turn before the namespace is taken,
/// or is refused.
#[test]
fn shuttle_closing_comes_last() {
    check(|| {
        let queue: Line = Arc::new(Queue::new(Vec::new()));
        let other = queue.clone();
        let enters = thread::spawn(move || match enter(&other, Access::Write) {
            Ok(ticket) => {
                fourway_adapt::run(ticket).get_mut().push(1);
                true
            }
            Err(reason) => {
                assert_eq!(reason, Reason::Shutdown);
                false
            }
        });
        let closing = queue.close(Reason::Shutdown, Metadata::caller(), Instant::now());
        let namespace = fourway_adapt::run(closing).take().unwrap();
        let entered = enters.join().unwrap();
        assert_eq!(namespace.len(), usize::from(entered));
    });
}
