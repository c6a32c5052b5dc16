//! Local tasks, which other threads wake and abort.

use std::{cell::RefCell, rc::Rc};

use super::{Count, Dropped, Event};
use crate::sync::{check, thread};
use crate::{self as adapt};
use fourway_core::{
    BlockOn, BlockOnError,
    local::{self, LocalSpawner},
};

struct Threads;

impl BlockOn for Threads {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        adapt::block_on(future, None)
    }
}

/// Woken and aborted by other threads while they are polled here.
#[test]
fn shuttle_remote_wake_and_abort() {
    check(|| {
        let woken = Event::default();
        let aborted = Event::default();
        let dropped = Count::default();
        let threads = RefCell::new(Vec::new());
        local::block_on(&Threads, async |local| {
            let first = local.spawn_local({
                let (woken, dropped) = (woken.clone(), Dropped(dropped.clone()));
                let here = Rc::new(1);
                async move {
                    let _dropped = dropped;
                    woken.await;
                    *here
                }
            });
            let second = local.spawn_local({
                let (aborted, dropped) = (aborted.clone(), Dropped(dropped.clone()));
                async move {
                    let _dropped = dropped;
                    aborted.await;
                }
            });
            let abort = second.abort_handle();
            threads.borrow_mut().extend([
                thread::spawn(move || woken.set()),
                thread::spawn({
                    let aborted = aborted.clone();
                    move || aborted.poke()
                }),
                thread::spawn(move || {
                    abort.abort();
                    let _ = abort.is_finished();
                }),
            ]);
            assert_eq!(first.await.ok(), Some(1));
            assert!(second.await.unwrap_err().is_cancelled());
            assert_eq!(dropped.get(), 2);
        })
        .unwrap();
        for thread in threads.take() {
            thread.join().unwrap();
        }
    });
}

/// The thread's `block_on` ends while other threads wake and abort its tasks: the tasks are
/// destroyed here, and the wakes and aborts have no effect.
#[test]
fn shuttle_end() {
    check(|| {
        let (main, left) = (Event::default(), Event::default());
        let dropped = Count::default();
        let threads = RefCell::new(Vec::new());
        local::block_on(&Threads, async |local| {
            let task = local.spawn_local({
                let (left, dropped) = (left.clone(), Dropped(dropped.clone()));
                async move {
                    let _dropped = dropped;
                    left.await;
                }
            });
            let abort = task.abort_handle();
            task.detach();
            threads.borrow_mut().extend([
                thread::spawn({
                    let main = main.clone();
                    move || main.set()
                }),
                thread::spawn({
                    let left = left.clone();
                    move || left.poke()
                }),
                thread::spawn(move || abort.abort()),
            ]);
            main.await;
        })
        .unwrap();
        assert_eq!(dropped.get(), 1);
        for thread in threads.take() {
            thread.join().unwrap();
        }
        assert_eq!(dropped.get(), 1);
    });
}
