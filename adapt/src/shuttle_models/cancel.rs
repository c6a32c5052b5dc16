//! Cancellation tokens: the tree, waiters and sleepers.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{
    Timer,
    cancel::{CancellationToken, Reason},
    implement::expire_after,
    time::Sleep,
};

use super::Count;
use crate as adapt;
use crate::sync::{check, thread};

/// A child that is made while its parent is cancelled is cancelled when both have returned,
/// and so is its own child.
#[test]
fn shuttle_cancel_while_children_come_and_go() {
    check(|| {
        let root = CancellationToken::new();
        let early = root.child();
        let making = thread::spawn({
            let root = root.clone();
            move || {
                drop(root.child());
                let child = root.child();
                (child.child(), child)
            }
        });
        let dropping = thread::spawn({
            let child = early.child();
            move || drop(child)
        });
        root.cancel_with(Reason::Shutdown);
        assert!(early.is_cancelled());
        let (grandchild, child) = making.join().unwrap();
        dropping.join().unwrap();
        for token in [early, child, grandchild] {
            assert_eq!(token.reason(), Some(Reason::Shutdown));
        }
    });
}

/// Two threads cancel at once, at different heights. Each finds all descendants cancelled when it
/// returns, and every token has one reason for good.
#[test]
fn shuttle_two_cancel_at_once() {
    check(|| {
        let root = CancellationToken::new();
        let middle = root.child();
        let leaves = [middle.child(), middle.child()];
        let cancel = |token: CancellationToken, reason: &'static str| {
            let leaves = leaves.clone();
            thread::spawn(move || {
                token.cancel_with(reason);
                assert!(leaves.iter().all(CancellationToken::is_cancelled));
                leaves.map(|leaf| leaf.reason())
            })
        };
        let both = [
            cancel(root.clone(), "root"),
            cancel(middle.clone(), "middle"),
            cancel(root.clone(), "root"),
        ];
        let seen = both.map(|thread| thread.join().unwrap());
        assert_eq!(root.reason(), Some(Reason::from("root")));
        for seen in seen {
            assert_eq!(seen, leaves.clone().map(|leaf| leaf.reason()));
        }
    });
}

/// Two threads cancel one token for different reasons: its descendants have the reason of the
/// token, and not that of the second thread.
#[test]
fn shuttle_two_reasons_at_once() {
    check(|| {
        let root = CancellationToken::new();
        let below = [root.child(), root.child().child()];
        let other = thread::spawn({
            let root = root.clone();
            move || root.cancel_with("second")
        });
        root.cancel_with("first");
        other.join().unwrap();
        for token in below {
            assert_eq!(token.reason(), root.reason());
        }
    });
}

/// One waiter waits, one gives up waiting, and the cancellation comes at any moment.
#[test]
fn shuttle_cancel_while_others_wait() {
    check(|| {
        let root = CancellationToken::new();
        let ended = Count::default();
        let waiting = [root.clone(), root.child()].map(|token| {
            let ended = ended.clone();
            thread::spawn(move || {
                adapt::run(async {
                    // Given up after one poll, which leaves nothing behind.
                    let mut given_up = pin!(token.cancelled());
                    let poll = std::future::poll_fn(|cx| {
                        std::task::Poll::Ready(given_up.as_mut().poll(cx).is_ready())
                    });
                    let _ = poll.await;
                });
                assert!(
                    adapt::run(token.run_until_cancelled(std::future::pending::<()>())).is_err()
                );
                ended.add();
            })
        });
        root.cancel();
        for thread in waiting {
            thread.join().unwrap();
        }
        assert_eq!(ended.get(), 2);
    });
}

/// A thread that sleeps for ever ends at the cancellation; one that sleeps for a while ends
/// in one of the two ways.
#[test]
fn shuttle_cancel_while_others_sleep() {
    check(|| {
        let token = CancellationToken::new();
        let for_ever = thread::spawn({
            let token = token.child();
            move || token.sleep(Duration::MAX)
        });
        let for_a_while = thread::spawn({
            let token = token.clone();
            move || token.sleep(Duration::from_millis(1)).is_ok()
        });
        token.cancel_with(Reason::Shutdown);
        let cancelled = for_ever.join().unwrap().unwrap_err();
        assert_eq!(*cancelled.reason(), Reason::Shutdown);
        let _either = for_a_while.join().unwrap();
        assert!(token.sleep(Duration::MAX).is_err());
    });
}

/// A timer for deadlines that have passed. Who began to wait before the deadline was set has to be
/// woken to make one.
#[derive(Clone)]
struct Passed;

impl Timer for Passed {
    type Sleep = Self;

    fn sleep(&self, _: Duration) -> Self {
        Self
    }
}

impl Future for Passed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Sleep for Passed {
    fn reset_after(self: Pin<&mut Self>, _: Duration) {}
}

/// A token gets a deadline, which has passed, while others wait for it and for its children, sleep,
/// and make and drop children. The one that waits for the token itself sees it and cancels all; a
/// waiter that gives up leaves no other unwoken.
#[test]
fn shuttle_a_deadline_that_comes_late() {
    check(|| {
        let root = CancellationToken::new();
        let waits = [root.clone(), root.child()].map(|token| {
            thread::spawn(move || {
                adapt::run(async {
                    let mut given_up = pin!(token.cancelled());
                    std::future::poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_ready()))
                        .await;
                });
                adapt::run(token.cancelled())
            })
        });
        let makes = thread::spawn({
            let root = root.clone();
            move || {
                drop(root.child());
                adapt::run(root.child().child().cancelled())
            }
        });
        let sleeps = thread::spawn({
            let token = root.child();
            move || token.sleep(Duration::MAX).unwrap_err()
        });
        expire_after(&root, &Passed, Duration::ZERO);
        for thread in waits.into_iter().chain([makes, sleeps]) {
            assert_eq!(*thread.join().unwrap().reason(), Reason::Deadline);
        }
    });
}

/// A deadline that is set while the token is cancelled: one of the two is the reason, for good.
#[test]
fn shuttle_a_late_deadline_and_a_cancellation() {
    check(|| {
        let root = CancellationToken::new();
        let below = root.child();
        let cancels = thread::spawn({
            let root = root.clone();
            move || root.cancel()
        });
        expire_after(&root, &Passed, Duration::ZERO);
        let seen = root.reason();
        assert!(seen.is_some());
        cancels.join().unwrap();
        assert_eq!((root.reason(), below.reason()), (seen.clone(), seen));
    });
}
