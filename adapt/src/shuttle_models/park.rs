//! Blocking a thread on a future.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Poll, Waker},
};

use super::{Count, Event};
use crate::sync::{Mutex, check, thread};
use crate::{self as adapt};

/// Woken from several threads, with and without a reason: it ends, and is polled
/// no more often than it is woken (WA-1, a poll for each wake).
#[test]
fn shuttle_wakes() {
    check(|| {
        let event = Event::default();
        let others = [
            thread::spawn({
                let event = event.clone();
                move || event.poke()
            }),
            thread::spawn({
                let event = event.clone();
                move || event.set()
            }),
        ];
        adapt::block_on(event.clone(), None).unwrap();
        assert!(event.polls.get() <= 3);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// A future that parks by itself, and so eats the thread's token (BL-5, park tokens and stale
/// wakes).
#[test]
fn shuttle_eaten_token() {
    check(|| {
        let event = Event::default();
        let other = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        let mut inner = pin!(event);
        adapt::run(poll_fn(|cx| {
            let poll = inner.as_mut().poll(cx);
            // A token in any case, and one more.
            thread::current().unpark();
            thread::park();
            poll
        }));
        other.join().unwrap();
    });
}

/// The waker of an earlier `block_on` is called during a later one, which must
/// not be polled for it.
#[test]
fn shuttle_stale_waker() {
    check(|| {
        let stale: Mutex<Option<Waker>> = Mutex::new(None);
        adapt::run(poll_fn(|cx| {
            *stale.lock().unwrap() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        let stale = stale.lock().unwrap().take().unwrap();
        let event = Event::default();
        let others = [
            thread::spawn(move || stale.wake()),
            thread::spawn({
                let event = event.clone();
                move || event.set()
            }),
        ];
        adapt::run(event.clone());
        assert!(event.polls.get() <= 2, "polled {} times", event.polls.get());
        for other in others {
            other.join().unwrap();
        }
    });
}

/// A parker goes back into the cache with a wake-up that nobody waited for: the
/// next `block_on` is not polled for it.
#[test]
fn shuttle_cached_parker() {
    check(|| {
        let event = Event::default();
        let other = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        let polls = Count::default();
        adapt::run(poll_fn(|cx| {
            polls.add();
            cx.waker().wake_by_ref();
            if polls.get() == 1 {
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        assert_eq!(polls.get(), 2);
        adapt::run(event.clone());
        assert!(event.polls.get() <= 2, "polled {} times", event.polls.get());
        other.join().unwrap();
    });
}

/// A `block_on` inside another one on the same thread leaves the outer one's
/// wake-up alone.
#[test]
fn shuttle_nested() {
    check(|| {
        let (outer, inner) = (Event::default(), Event::default());
        let others = [outer.clone(), inner.clone()].map(|event| thread::spawn(move || event.set()));
        let mut pinned = pin!(outer);
        adapt::run(poll_fn(|cx| {
            let poll = pinned.as_mut().poll(cx);
            adapt::run(inner.clone());
            poll
        }));
        for other in others {
            other.join().unwrap();
        }
    });
}
