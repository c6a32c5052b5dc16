//! The bugs in programs without timers and faults: for the simulation, and for shuttle.
//!
//! A module in each of two worlds. The world defines the runtime and all other parts.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

#[allow(unused_imports, reason = "in one of the worlds they are traits")]
use super::world::*;
use super::world::{Rt, point, yield_now};
use crate::parts::{Lock, Shared, ensure};

pub(crate) fn lost_wake(rt: Rt) {
    let queue: Arc<Mutex<VecDeque<u32>>> = Arc::default();
    let waiter: Arc<Mutex<Option<Waker>>> = Arc::default();
    let (puts, wakes) = (queue.clone(), waiter.clone());
    let sender = rt.thread(move || {
        puts.lock().unwrap().push_back(1);
        point();
        let waker = wakes.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    let received = rt.spawn(poll_fn(move |cx| {
        if let Some(message) = queue.lock().unwrap().pop_front() {
            return Poll::Ready(message);
        }
        point();
        // A right program would look once more after this.
        *waiter.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    received.wait().unwrap();
    sender.wait().unwrap();
}

pub(crate) fn abba(rt: Rt) {
    let (a, b) = (Lock::new(), Lock::new());
    let (first, second) = (b.clone(), a.clone());
    let task = rt.spawn(async move {
        let _b = first.lock().await;
        yield_now().await;
        let _a = second.lock().await;
    });
    let inner = rt.clone();
    let closure = rt.offload(move || {
        let _a = inner.block_on(a.lock());
        let _b = inner.block_on(b.lock());
    });
    closure.wait().unwrap();
    task.wait().unwrap();
}

pub(crate) fn check_then_act(rt: Rt) {
    let balance = Shared::new(10_i32);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let balance = balance.clone();
            rt.spawn(async move {
                if balance.with(|balance| *balance >= 10) {
                    yield_now().await;
                    balance.with(|balance| *balance -= 10);
                }
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    ensure(balance.with(|balance| *balance >= 0), "overdrawn");
}

pub(crate) fn starvation(rt: Rt) {
    let lock = Lock::new();
    let got = Shared::new(false);
    let (again, seen) = (lock.clone(), got.clone());
    let greedy = rt.spawn(async move {
        for _ in 0..12 {
            let _held = again.lock().await;
            yield_now().await;
        }
        seen.with(|got| *got)
    });
    let modest = rt.spawn(async move {
        // No place in line: it tries now and then.
        loop {
            if let Some(_held) = lock.try_lock() {
                got.with(|got| *got = true);
                return;
            }
            yield_now().await;
        }
    });
    let fair = greedy.wait().unwrap();
    modest.wait().unwrap();
    ensure(fair, "starved");
}

pub(crate) fn shutdown_race(rt: Rt) {
    let open = Shared::new(true);
    let jobs = Shared::new(Vec::new());
    let (is_open, queue) = (open.clone(), jobs.clone());
    let submit = rt.thread(move || {
        if !is_open.with(|open| *open) {
            return false;
        }
        point();
        queue.with(|jobs| jobs.push(1));
        true
    });
    let queue = jobs.clone();
    let close = rt.thread(move || {
        open.with(|open| *open = false);
        point();
        queue.with(std::mem::take).len()
    });
    let accepted = submit.wait().unwrap();
    let done = close.wait().unwrap();
    ensure(!accepted || done == 1, "a job was accepted and never done");
}

pub(crate) fn user_count(rt: Rt) {
    let users = Shared::new(3);
    let freed = Shared::new(0);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (users, freed) = (users.clone(), freed.clone());
            rt.thread(move || {
                let left = users.with(|users| *users) - 1;
                point();
                users.with(|users| *users = left);
                if left == 0 {
                    freed.with(|freed| *freed += 1);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.wait().unwrap();
    }
    ensure(freed.with(|freed| *freed) == 1, "not freed once");
}

pub(crate) fn made_twice(rt: Rt) {
    let value = Shared::new(None);
    let made = Shared::new(0);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let (inner, value, made) = (rt.clone(), value.clone(), made.clone());
            rt.spawn(async move {
                if value.with(|value| value.is_some()) {
                    return;
                }
                let new = inner.offload(|| 7).await.unwrap();
                made.with(|made| *made += 1);
                value.with(|value| *value = Some(new));
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    ensure(made.with(|made| *made) == 1, "made twice");
}

pub(crate) fn told_too_early(rt: Rt) {
    let waiters: Shared<Vec<Waker>> = Shared::new(Vec::new());
    let listens = waiters.clone();
    let task = rt.spawn(async move {
        let mut first = true;
        poll_fn(|cx| {
            if std::mem::take(&mut first) {
                listens.with(|waiters| waiters.push(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    });
    rt.thread(move || {
        // Later waiters are not told.
        waiters
            .with(std::mem::take)
            .into_iter()
            .for_each(Waker::wake);
    })
    .wait()
    .unwrap();
    task.wait().unwrap();
}

pub(crate) fn upgrade(rt: Rt) {
    let readers = Shared::new(0);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let readers = readers.clone();
            rt.spawn(async move {
                readers.change(|readers| *readers += 1);
                yield_now().await;
                // To write, it waits until it is the only reader, and stays one meanwhile.
                readers.wait(|readers| (*readers == 1).then_some(())).await;
                readers.change(|readers| *readers -= 1);
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
}

pub(crate) fn own_limit(rt: Rt) {
    let free = Shared::new(2_usize);
    async fn take(free: &Shared<usize>) {
        free.wait(|free| {
            *free = free.checked_sub(1)?;
            Some(())
        })
        .await;
    }
    let outer: Vec<_> = (0..2)
        .map(|_| {
            let (inner, free) = (rt.clone(), free.clone());
            rt.spawn(async move {
                take(&free).await;
                let needs = free.clone();
                let deeper = inner.clone();
                let call = inner.offload(move || {
                    deeper.block_on(take(&needs));
                    needs.change(|free| *free += 1);
                });
                call.await.unwrap();
                free.change(|free| *free += 1);
            })
        })
        .collect();
    for task in outer {
        task.wait().unwrap();
    }
}

pub(crate) fn stale_cache(rt: Rt) {
    let (store, cache) = (Shared::new(1), Shared::new(None));
    let (from, to) = (store.clone(), cache.clone());
    let reader = rt.offload(move || {
        let read = from.with(|value| *value);
        point();
        to.with(|cached| *cached = Some(read));
    });
    let (to, drops) = (store.clone(), cache.clone());
    let writer = rt.offload(move || {
        to.with(|value| *value = 2);
        drops.with(|cached| *cached = None);
    });
    reader.wait().unwrap();
    writer.wait().unwrap();
    let cached = cache.with(|cached| *cached);
    ensure(
        cached.is_none_or(|cached| cached == 2),
        "the cache is stale",
    );
}

pub(crate) fn early_answer(rt: Rt) {
    let pending = Shared::new(None);
    let answered = Shared::new(false);
    let (finds, tells) = (pending.clone(), answered.clone());
    // The request is sent first, and noted second.
    let answer = rt.spawn(async move {
        if finds.with(|pending| *pending == Some(1)) {
            tells.change(|answered| *answered = true);
        }
    });
    pending.with(|pending| *pending = Some(1));
    answer.wait().unwrap();
    ensure(
        answered.with(|answered| *answered),
        "the answer found nobody",
    );
}

pub(crate) fn barrier(rt: Rt) {
    let arrived = Shared::new(0);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let arrived = arrived.clone();
            rt.spawn(async move {
                for _ in 0..2 {
                    let last = arrived.change(|arrived| {
                        *arrived += 1;
                        *arrived == 2
                    });
                    if last {
                        yield_now().await;
                        // The other task may not have looked yet.
                        arrived.change(|arrived| *arrived = 0);
                    } else {
                        arrived.wait(|arrived| (*arrived != 1).then_some(())).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
}

pub(crate) fn lost_update(rt: Rt) {
    let value = Shared::new(0);
    let closures: Vec<_> = (0..2)
        .map(|_| {
            let value = value.clone();
            rt.offload(move || {
                let read = value.with(|value| *value);
                point();
                value.with(|value| *value = read + 1);
            })
        })
        .collect();
    for closure in closures {
        closure.wait().unwrap();
    }
    ensure(value.with(|value| *value) == 2, "an update was lost");
}

pub(crate) fn landed_flight(rt: Rt) {
    // A call that several share: its flight, and whether it has landed.
    let flights: Shared<Option<Shared<bool>>> = Shared::new(None);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let flights = flights.clone();
            rt.spawn(async move {
                let flying = flights.with(|flights| flights.clone());
                if let Some(flight) = flying {
                    yield_now().await;
                    // Tells only the waiters of the moment when it landed.
                    let mut told = false;
                    let again =
                        move |_: &mut bool| std::mem::replace(&mut told, true).then_some(());
                    flight.wait(again).await;
                    return;
                }
                let flight = Shared::new(false);
                flights.with(|flights| *flights = Some(flight.clone()));
                yield_now().await;
                flights.with(|flights| *flights = None);
                flight.change(|landed| *landed = true);
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
}
