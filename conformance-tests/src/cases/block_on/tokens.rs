//! BL-5, park tokens and stale wakes.

use std::{
    cell::RefCell,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Answer, Counter, Gate, ask, eventually, on_thread, on_threads, poll_once},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-5.1", "a future that eats the thread's park token does not hang",
        "parking inside of a poll is what a nested blocking call does", eats_token;
        "BL-5.2", "park tokens from elsewhere do not confuse it",
        "unpark is public: libraries use the same thread's token", foreign_tokens;
        "BL-5.3", "a waker kept from an earlier block_on does not poll a later one",
        "threads cache their wakers; the cache must not tie two calls together", stale_waker;
        "BL-5.4", "a waker that outlives its block_on may be used and dropped anywhere",
        "wakers end up in other people's queues", waker_outlives;
        "BL-5.5", "a block_on inside a closure of an outer one does not take its wake-up",
        "nested parkers on one thread share one token", nested_parkers;
    ]
}

fn eats_token<S: Setup>(s: S) {
    let rt = s.build();
    let mut left = 10;
    rt.block_on(poll_fn(|cx| {
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        if left % 2 == 0 {
            cx.waker().wake_by_ref();
        } else {
            // From another thread, and certainly before this poll is over.
            let waker = cx.waker().clone();
            on_thread(move || waker.wake());
        }
        // Takes any token, or gives up.
        thread::park_timeout(Duration::from_millis(5));
        Poll::Pending
    }));
}

fn foreign_tokens<S: Setup>(s: S) {
    let rt = s.build();
    let thread = thread::current();
    // One token that is there before,
    thread.unpark();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    // and many while it waits.
    let (go, gate) = Gate::pair();
    let unparker = thread::spawn(move || {
        for _ in 0..100 {
            thread.unpark();
            thread::yield_now();
        }
        go.open();
    });
    rt.block_on(gate.opened());
    eventually("the thread ends", || unparker.is_finished());
    assert_eq!(rt.block_on(rt.spawn(async { 2 })).unwrap(), 2);
}

fn stale_waker<S: Setup>(s: S) {
    let rt = s.build();
    let mut kept: Option<Waker> = None;
    rt.block_on(poll_fn(|cx| {
        kept = Some(cx.waker().clone());
        Poll::Ready(())
    }));
    let stale = kept.expect("polled");
    let polls = RefCell::new(Vec::<&str>::new());
    let (go, gate) = Gate::pair();
    let waker = Counter::new();
    let woken = waker.clone();
    let helper = thread::spawn(move || {
        // Not before the first poll.
        eventually("the first poll", || woken.get() == 1);
        stale.wake_by_ref();
        stale.wake();
        // Time for a wrong poll to happen.
        thread::sleep(Duration::from_millis(5));
        go.open();
    });
    let mut opened = Box::pin(gate.opened());
    rt.block_on(poll_fn(|cx| {
        polls.borrow_mut().push(match gate.is_open() {
            true => "open",
            false => "shut",
        });
        let poll = poll_once(&mut opened, cx.waker());
        waker.add();
        poll
    }));
    eventually("the thread ends", || helper.is_finished());
    let polls = polls.into_inner();
    assert_eq!(
        polls,
        ["shut", "open"],
        "one poll for each of its own wakes"
    );
}

fn waker_outlives<S: Setup>(s: S) {
    let rt = s.build();
    let wakers: Vec<Waker> = (0..4)
        .map(|_| {
            rt.block_on(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(cx.waker().clone())
            }))
        })
        .collect();
    let shared = Arc::new(wakers);
    let wakers = shared.clone();
    on_threads(2, move |_| wakers.iter().for_each(Waker::wake_by_ref));
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    drop(rt);
    shared.iter().for_each(Waker::wake_by_ref);
    drop(shared);
}

fn nested_parkers<S: Setup>(s: S) {
    let rt = s.build();
    if !s.capabilities().block_in_place {
        // Without `block_in_place`, two `block_on` calls cannot be active on one thread: the inner
        // one is refused within the outer one's future.
        assert_eq!(rt.block_on(async { ask(&rt) }), Answer::Refused);
        return;
    }
    // The outer future is woken while the inner one waits on the same thread.
    let inner = rt.clone();
    let closure = rt.offload(move || {
        let mut polled = false;
        inner.block_on(poll_fn(|cx| {
            if polled {
                return Poll::Ready(());
            }
            polled = true;
            let waker = cx.waker().clone();
            let waited = inner.block_in_place(|| {
                inner
                    .block_on(inner.spawn(async move {
                        yield_now().await;
                        waker.wake();
                        yield_now().await;
                    }))
                    .unwrap();
            });
            if waited.is_err() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }));
    });
    rt.block_on(closure).unwrap();
}
