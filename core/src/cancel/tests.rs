//! Tests that need the internals. The facade's `tests/it/cancel.rs` tests the rest with runtimes.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{CancellationToken, Reason, check, current, is_cancelled, left::LeftWaker};
use crate::{implement::expire_after, values::Values};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn children_and_waiters_that_are_dropped_leave_the_tree() {
    let token = CancellationToken::new();
    for _ in 0..1000 {
        let child = token.child();
        let waker = Waker::from(Arc::new(Wakes::default()));
        let mut waiting = pin!(token.cancelled());
        let mut cx = Context::from_waker(&waker);
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(token.node.counts(), (1, 1));
        drop(child);
    }
    assert_eq!(token.node.counts(), (0, 0));
}

#[test]
fn a_child_keeps_its_place_in_the_tree_while_its_parent_is_gone() {
    let root = CancellationToken::new();
    let grandchild = root.child().child();
    root.cancel_with("enough");
    assert_eq!(grandchild.reason(), Some(Reason::from("enough")));
}

#[test]
fn deep_trees_are_cancelled_and_dropped_without_recursion() {
    let root = CancellationToken::new();
    let mut last = root.clone();
    for _ in 0..200_000 {
        last = last.child();
    }
    root.cancel();
    assert!(last.is_cancelled());
    drop(root);
    drop(last);
}

#[test]
fn cancelling_again_does_not_walk_the_tree_again() {
    let root = CancellationToken::new();
    let children: Vec<_> = (0..10).map(|_| root.child()).collect();
    root.cancel_with(Reason::Shutdown);
    root.cancel();
    assert_eq!(root.reason(), Some(Reason::Shutdown));
    assert!(children.iter().all(CancellationToken::is_cancelled));
    let late = root.child();
    assert_eq!(late.reason(), Some(Reason::Shutdown));
    assert_eq!(
        root.node.counts().0,
        10,
        "one that is born cancelled is in no list"
    );
}

#[test]
fn the_last_waker_is_the_one_that_is_called_once() {
    let token = CancellationToken::new();
    let (first, second) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    let mut waiting = pin!(token.cancelled());
    for wakes in [&first, &second] {
        let waker = Waker::from(wakes.clone());
        let poll = waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    token.cancel();
    token.cancel();
    let counts = (
        first.0.load(Ordering::SeqCst),
        second.0.load(Ordering::SeqCst),
    );
    assert_eq!(counts, (0, 1));
    let poll = waiting.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Ready(cancelled) if *cancelled.reason() == Reason::Requested));
}

#[test]
fn a_waker_that_panics_keeps_no_other_from_being_called() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("waker"));
        }
    }
    let token = CancellationToken::new();
    let wakes = Arc::new(Wakes::default());
    let wakers = [Waker::from(Arc::new(Panics)), Waker::from(wakes.clone())];
    let mut waiting = wakers.each_ref().map(|_| Box::pin(token.cancelled()));
    for (waiting, waker) in waiting.iter_mut().zip(&wakers) {
        assert!(
            waiting
                .as_mut()
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
    }
    token.cancel();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_waker_sees_the_whole_tree_cancelled() {
    struct Looks(CancellationToken, AtomicUsize);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.1
                .store(usize::from(self.0.is_cancelled()) + 1, Ordering::SeqCst);
        }
    }
    let token = CancellationToken::new();
    let looks = Arc::new(Looks(token.child().child(), AtomicUsize::new(0)));
    let waker = Waker::from(looks.clone());
    let mut waiting = pin!(token.cancelled());
    assert!(
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    token.cancel();
    assert_eq!(looks.1.load(Ordering::SeqCst), 2);
}

#[test]
fn the_current_token_is_that_of_the_innermost_scope() {
    let (outer, inner) = (CancellationToken::new(), CancellationToken::new());
    assert!(!is_cancelled());
    outer.scope(|| {
        assert!(current().is_same(&outer));
        inner.cancel();
        inner.scope(|| assert!(current().is_same(&inner) && check().is_err()));
        assert!(check().is_ok());
        // Attached again, it costs nothing.
        let values = outer.attach(Values::current());
        assert_eq!(format!("{values:?}").matches("token").count(), 1);
    });
    // Without one, nobody else's.
    assert!(!current().is_same(&current()));
    assert!(check().is_ok());
}

#[test]
fn a_guard_cancels_unless_it_is_disarmed() {
    let token = CancellationToken::new();
    let _token = token.clone().drop_guard().disarm();
    assert!(!token.is_cancelled());
    drop(token.clone().drop_guard());
    assert_eq!(token.reason(), Some(Reason::Dropped));
}

#[test]
fn a_future_is_not_polled_under_a_cancelled_token_and_wins_at_a_tie() {
    let token = CancellationToken::new();
    let mut cx = Context::from_waker(Waker::noop());

    let mut polls = 0;
    let mut running = pin!(token.run_until_cancelled(std::future::poll_fn(|_| {
        polls += 1;
        if polls == 2 {
            Poll::Ready(polls)
        } else {
            Poll::Pending
        }
    })));
    assert!(running.as_mut().poll(&mut cx).is_pending());
    token.cancel();
    assert_eq!(running.as_mut().poll(&mut cx), Poll::Ready(Ok(2)));

    let never =
        token.run_until_cancelled(std::future::poll_fn(|_| -> Poll<()> { panic!("polled") }));
    assert!(matches!(pin!(never).poll(&mut cx), Poll::Ready(Err(_))));
}

#[test]
fn a_waker_that_is_left_is_woken_replaced_and_taken_back() {
    let token = CancellationToken::new();
    let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
    let wakers = wakes.each_ref().map(|wakes| Waker::from(wakes.clone()));
    let left = LeftWaker::leave(None, &token, &wakers[0]).unwrap();
    assert!(left.is(&wakers[0]) && !left.is(&wakers[1]));
    let left = LeftWaker::leave(Some(left), &token, &wakers[1]).unwrap();
    assert!(left.is(&wakers[1]) && !left.is(&wakers[0]));
    assert_eq!(token.node.counts(), (0, 1));
    left.take_back(&token);
    assert_eq!(token.node.counts(), (0, 0));

    let left = LeftWaker::leave(None, &token, &wakers[1]).unwrap();
    token.cancel();
    let counts = wakes.map(|wakes| wakes.0.load(Ordering::SeqCst));
    assert_eq!(counts, [0, 1]);
    assert!(LeftWaker::leave(Some(left), &token, &wakers[0]).is_none());
}

#[test]
fn tokio_utils_names_do_what_they_do_there() {
    let token = CancellationToken::new();
    let child = token.child_token();
    let disarmed = token.drop_guard_ref().disarm();
    assert!(disarmed.is_same(&token) && !token.is_cancelled());
    let mut waiting = std::pin::pin!(child.cancelled_owned());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    drop(token.drop_guard_ref());
    assert_eq!(token.reason(), Some(Reason::Dropped));
    assert!(waiting.as_mut().poll(&mut cx).is_ready());
}

/// A formatter may hold a lock that the wakers want.
#[test]
fn a_token_that_is_shown_cancels_nothing() {
    #[derive(Clone)]
    struct Clock;

    impl crate::Timer for Clock {
        type Sleep = crate::time::BoxSleep;

        fn sleep(&self, _: Duration) -> Self::Sleep {
            unreachable!("nobody waits for it")
        }
    }

    let token = CancellationToken::new();
    expire_after(&token, &Clock, Duration::ZERO);
    let shown = format!("{token:?}");
    assert!(shown.contains("reason: None"), "{shown}");
    assert!(!token.node.is_marked());
    assert_eq!(token.reason(), Some(Reason::Deadline));
    let shown = format!("{token:?}");
    assert!(shown.contains("Deadline"), "{shown}");
}

#[test]
fn a_deadline_may_come_late_but_not_later_than_an_earlier_one() {
    #[derive(Clone)]
    struct Clock;

    impl crate::Timer for Clock {
        type Sleep = crate::time::BoxSleep;

        fn sleep(&self, _: Duration) -> Self::Sleep {
            unreachable!("nobody waits for it")
        }
    }

    let minute = Duration::from_secs(60);
    let root = CancellationToken::new();
    let (before, early) = (root.child(), root.child_with_timeout(&Clock, minute));
    let known = early.deadline();
    expire_after(&root, &Clock, 2 * minute);
    let set = root.deadline();
    assert!(set.is_some() && known < set);
    // Those that come have it, and not those that were there.
    assert_eq!((root.child().deadline(), before.deadline()), (set, None));
    assert_eq!((early.deadline(), early.child().deadline()), (known, known));
    // An earlier one takes the place of the inherited one.
    let sooner = root.child();
    expire_after(&sooner, &Clock, Duration::ZERO);
    let below = sooner.child();
    assert_eq!(below.reason(), Some(Reason::Deadline));
    assert!(!root.is_cancelled());
    // Later ones do not count.
    expire_after(&root, &Clock, 3 * minute);
    assert_eq!(root.deadline(), set);
}

#[test]
fn a_later_deadline_that_is_not_taken_is_dropped_with_no_lock_held() {
    /// The token gives children to whoever drops the clock.
    #[derive(Clone)]
    struct Clock(CancellationToken);

    impl Drop for Clock {
        fn drop(&mut self) {
            drop(self.0.child());
        }
    }

    impl crate::Timer for Clock {
        type Sleep = crate::time::BoxSleep;

        fn sleep(&self, _: Duration) -> Self::Sleep {
            unreachable!("nobody waits for it")
        }
    }

    let token = CancellationToken::new();
    let minute = Duration::from_secs(60);
    // In a token of its own: a clock that keeps the token it belongs to is never dropped.
    let early = Clock(CancellationToken::new());
    expire_after(&token, &early, minute);
    let known = token.deadline();
    let child = token.child_with_timeout(&Clock(token.clone()), 2 * minute);
    assert_eq!(child.deadline(), known);
}

#[test]
fn sync_code_sleeps_on_the_current_token() {
    let minute = Duration::from_secs(60);
    assert_eq!(super::sleep(Duration::ZERO), Ok(()), "nothing ends it");
    let token = CancellationToken::new();
    let asleep = std::thread::spawn({
        let token = token.clone();
        move || token.scope(|| super::sleep(60 * minute))
    });
    token.cancel_with("enough");
    let cancelled = asleep.join().unwrap().unwrap_err();
    assert_eq!(cancelled.reason(), &Reason::from("enough"));
    let slept = token.scope(|| super::try_sleep(minute)).unwrap();
    assert_eq!(slept, Err(cancelled));
}
