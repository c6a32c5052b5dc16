//! The bugs.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer, yield_now};
use fourway_sim::{Builder, Faults, Sim, point};

use crate::parts::{Channel, Lock, Shared, ensure};

const MS: Duration = Duration::from_millis(1);

/// A program with a bug.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// What kind of real bugs it is after.
    pub(crate) after: &'static str,
    pub(crate) faults: &'static str,
    pub(crate) builder: fn() -> Builder,
    pub(crate) program: fn(Sim),
}

const fn bug(name: &'static str, after: &'static str, program: fn(Sim)) -> Bug {
    Bug {
        name,
        after,
        faults: "none",
        builder: Sim::builder,
        program,
    }
}

const fn with(bug: Bug, faults: &'static str, builder: fn() -> Builder) -> Bug {
    Bug {
        faults,
        builder,
        ..bug
    }
}

pub(crate) const BUGS: &[Bug] = &[
    bug(
        "lost wake",
        "a waker that is kept after the look, with no second look",
        lost_wake,
    ),
    with(
        bug(
            "read that is not cancel safe",
            "a message taken out before an await in `select!`",
            unsafe_read,
        ),
        "cancel",
        || Sim::builder().faults(Faults::none().cancel(50, ["reader"])),
    ),
    bug(
        "ABBA, between a closure and a task",
        "two locks, taken in two orders",
        abba,
    ),
    bug(
        "limit exceeded after a cancelled waiter",
        "a permit given back that was never had",
        extra_permit,
    ),
    bug(
        "double completion",
        "a request that its timeout and its answer both complete",
        double_completion,
    ),
    with(
        bug(
            "missed timeout",
            "a limit that starts anew with each message",
            missed_timeout,
        ),
        "slow",
        || Sim::builder().faults(Faults::none().slow(200, 40 * MS)),
    ),
    bug(
        "check, then act, across an await",
        "a balance that two withdraw from",
        check_then_act,
    ),
    bug(
        "starvation",
        "a lock that whoever has it takes again",
        starvation,
    ),
    bug(
        "shutdown race",
        "a job accepted after the last look at the queue",
        shutdown_race,
    ),
    with(
        bug(
            "left behind",
            "a child that outlives its parent's early return",
            left_behind,
        ),
        "none",
        || Sim::builder().deny_leftovers(true),
    ),
    bug(
        "count of users",
        "a count that is read and written in two steps",
        user_count,
    ),
    bug(
        "made twice",
        "a value that two callers initialise at once",
        made_twice,
    ),
    bug(
        "told before it listens",
        "a notice that nobody keeps",
        told_too_early,
    ),
    bug(
        "notice lost with its waiter",
        "a notified waiter that is cancelled, and does not pass it on",
        notice_lost,
    ),
    bug(
        "two readers that become writers",
        "an upgrade of a read lock",
        upgrade,
    ),
    bug(
        "full channels both ways",
        "two that send to each other before they receive",
        full_channels,
    ),
    bug(
        "block_on in a callback",
        "a callback that blocks, called from async code on a rare path",
        nested_block_on,
    ),
    bug(
        "permits for those who wait for permits",
        "a limit on outer calls that inner ones need too",
        own_limit,
    ),
    bug(
        "stale value in a cache",
        "a slow reader that writes after an invalidation",
        stale_cache,
    ),
    bug(
        "order of equal timers",
        "timers with one deadline, taken to fire in order",
        timer_order,
    ),
    bug(
        "answer before the question",
        "an answer that comes before its entry is made",
        early_answer,
    ),
    with(
        bug(
            "permit lost in a panic",
            "a count that is not given back when unwinding",
            permit_lost,
        ),
        "panic",
        || Sim::builder().faults(Faults::none().panic(100)),
    ),
    bug(
        "barrier used twice",
        "a count that is reset while the last ones still wait",
        barrier,
    ),
    with(
        bug(
            "tried again while it runs",
            "a request repeated after a timeout, done twice",
            done_twice,
        ),
        "slow",
        || Sim::builder().faults(Faults::none().slow(200, 20 * MS)),
    ),
    bug(
        "lost update in closures",
        "a lock released between reading and writing",
        lost_update,
    ),
    bug(
        "flight that has just landed",
        "a caller that joins a shared call after its end",
        landed_flight,
    ),
];

fn lost_wake(rt: Sim) {
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
        // Right would be to look once more after this.
        *waiter.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    received.wait().unwrap();
    sender.wait().unwrap();
}

fn unsafe_read(rt: Sim) {
    let (channel, sum) = (Channel::new(8), Shared::new(0));
    let to = channel.clone();
    let sender = rt.spawn(async move {
        for n in 1..=4 {
            to.send(n).await;
        }
    });
    sender.wait().unwrap();
    loop {
        let (from, sum) = (channel.clone(), sum.clone());
        let reader = rt.spawn_named("reader", async move {
            while let Some(n) = from.try_receive() {
                // It has been taken out, and is nowhere.
                yield_now().await;
                sum.with(|sum| *sum += n);
            }
        });
        if reader.wait().is_ok() {
            break;
        }
    }
    ensure(sum.with(|sum| *sum) == 10, "a message was lost");
}

fn abba(rt: Sim) {
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

fn extra_permit(rt: Sim) {
    struct Permit(Shared<usize>);
    impl Drop for Permit {
        fn drop(&mut self) {
            self.0.change(|free| *free += 1);
        }
    }
    let free = Shared::new(1);
    let inside = Shared::new(0);
    let task = |limit: Option<Duration>| {
        let (rt, inside, inner, free) = (rt.clone(), inside.clone(), rt.clone(), free.clone());
        rt.spawn(async move {
            let work = async {
                // Made before there is one to give back.
                let _permit = Permit(free.clone());
                free.wait(|free| {
                    *free = free.checked_sub(1)?;
                    Some(())
                })
                .await;
                let now = inside.with(|inside| {
                    *inside += 1;
                    *inside
                });
                ensure(now == 1, "the limit was exceeded");
                inner.sleep(3 * MS).await;
                inside.with(|inside| *inside -= 1);
            };
            match limit {
                Some(limit) => drop(inner.timeout(limit, work).await),
                None => work.await,
            }
        })
    };
    let tasks = [task(None), task(Some(MS)), task(None)];
    for task in tasks {
        task.wait().unwrap_or_else(|error| error.resume_unwind());
    }
}

fn double_completion(rt: Sim) {
    let done = Shared::new(0);
    let complete = |rt: &Sim| {
        let (inner, done) = (rt.clone(), done.clone());
        rt.spawn(async move {
            inner.sleep(MS).await;
            if done.with(|done| *done == 0) {
                yield_now().await;
                done.with(|done| *done += 1);
            }
        })
    };
    let (answer, timeout) = (complete(&rt), complete(&rt));
    answer.wait().unwrap();
    timeout.wait().unwrap();
    ensure(done.with(|done| *done) == 1, "completed twice");
}

fn missed_timeout(rt: Sim) {
    let channel = Channel::new(8);
    let (inner, to) = (rt.clone(), channel.clone());
    let sender = rt.spawn(async move {
        for n in 0..8 {
            inner.sleep(5 * MS).await;
            to.send(n).await;
        }
    });
    let inner = rt.clone();
    let reader = rt.spawn(async move {
        // The whole is to take 100 ms at most; this gives each message as long.
        for _ in 0..8 {
            if inner.timeout(100 * MS, channel.receive()).await.is_err() {
                return;
            }
        }
    });
    let start = rt.now();
    reader.wait().unwrap();
    ensure(rt.now() - start <= 110 * MS, "the limit was missed");
    drop(sender);
}

fn check_then_act(rt: Sim) {
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

fn starvation(rt: Sim) {
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

fn shutdown_race(rt: Sim) {
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

fn left_behind(rt: Sim) {
    let inner = rt.clone();
    let parent = rt.spawn(async move {
        let done = Shared::new(false);
        let (deeper, tells) = (inner.clone(), done.clone());
        let child = inner.spawn(async move {
            yield_now().await;
            tells.with(|done| *done = true);
            deeper.sleep(MS).await;
        });
        yield_now().await;
        // An early return, if the child has come that far: nobody waits for it.
        if done.with(|done| *done) {
            child.detach();
            return;
        }
        let _ = child.await;
    });
    parent.wait().unwrap();
}

fn user_count(rt: Sim) {
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

fn made_twice(rt: Sim) {
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

fn told_too_early(rt: Sim) {
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
        // Those who come later are not told.
        waiters
            .with(std::mem::take)
            .into_iter()
            .for_each(Waker::wake);
    })
    .wait()
    .unwrap();
    task.wait().unwrap();
}

fn notice_lost(rt: Sim) {
    // One notice for one of two; the first gives up at the time at which it is told.
    let line: Shared<VecDeque<(u32, Waker)>> = Shared::new(VecDeque::new());
    let given: Shared<Option<u32>> = Shared::new(None);
    let waiter = |id: u32| {
        let (line, given) = (line.clone(), given.clone());
        let mut listed = false;
        poll_fn(move |cx| {
            if given.with(|given| *given == Some(id)) {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut listed, true) {
                line.with(|line| line.push_back((id, cx.waker().clone())));
            }
            Poll::Pending
        })
    };
    let (inner, first) = (rt.clone(), waiter(1));
    let impatient = rt.spawn(async move {
        let mut time = std::pin::pin!(inner.sleep(2 * MS));
        let mut first = std::pin::pin!(first);
        poll_fn(|cx| {
            // Given up first, and told second: the notice goes with it.
            if time.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            first.as_mut().poll(cx).map(|()| true)
        })
        .await
    });
    let patient = rt.spawn(waiter(2));
    let inner = rt.clone();
    let teller = rt.spawn(async move {
        inner.sleep(2 * MS).await;
        let next = line.with(VecDeque::pop_front);
        if let Some((id, waker)) = next {
            given.with(|given| *given = Some(id));
            waker.wake();
        }
        line
    });
    let told = impatient.wait().unwrap();
    let line = teller.wait().unwrap();
    if told {
        // Then there is one more for the other.
        if let Some((_, waker)) = line.with(VecDeque::pop_front) {
            drop(waker);
            patient.abort();
        }
        let _ = patient.wait();
    } else {
        patient.wait().unwrap();
    }
}

fn upgrade(rt: Sim) {
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

fn full_channels(rt: Sim) {
    let (there, back) = (Channel::new(1), Channel::new(1));
    let partner = |to: Channel, from: Channel| async move {
        for n in 0..2 {
            to.send(n).await;
        }
        for _ in 0..2 {
            from.receive().await;
        }
    };
    let one = rt.spawn(partner(there.clone(), back.clone()));
    // This one answers in between, if there is something.
    let two = rt.spawn(async move {
        for n in 0..2 {
            back.send(n).await;
            yield_now().await;
            there.try_receive();
        }
    });
    let _ = two.wait();
    one.abort();
    let ended = one.wait();
    ensure(
        ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()),
        "neither",
    );
}

fn nested_block_on(rt: Sim) {
    let warm = Shared::new(false);
    let warms = warm.clone();
    let other = rt.spawn(async move { warms.with(|warm| *warm = true) });
    let inner = rt.clone();
    let task = rt.spawn(async move {
        yield_now().await;
        if !warm.with(|warm| *warm) {
            // The slow path.
            let _ = inner.try_block_on(async {});
        }
    });
    task.wait().unwrap();
    other.wait().unwrap();
}

fn own_limit(rt: Sim) {
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

fn stale_cache(rt: Sim) {
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

fn timer_order(rt: Sim) {
    let order = Shared::new(Vec::new());
    let deadline = rt.now() + 5 * MS;
    let tasks: Vec<_> = (0..2)
        .map(|n| {
            let (inner, order) = (rt.clone(), order.clone());
            rt.spawn(async move {
                inner.sleep_until(deadline).await;
                order.with(|order| order.push(n));
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    ensure(
        order.with(|order| *order == [0, 1]),
        "not in the order in which they were made",
    );
}

fn early_answer(rt: Sim) {
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

fn permit_lost(rt: Sim) {
    let free = Shared::new(1_usize);
    for _ in 0..3 {
        let (inner, free) = (rt.clone(), free.clone());
        let task = rt.spawn(async move {
            free.wait(|free| {
                *free = free.checked_sub(1)?;
                Some(())
            })
            .await;
            // May panic, and then nobody gives the permit back.
            let _ = inner.offload(|| ()).await;
            free.change(|free| *free += 1);
        });
        let _ = task.wait();
    }
}

fn barrier(rt: Sim) {
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
                        // The other one may not have looked yet.
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

fn done_twice(rt: Sim) {
    let done = Shared::new(0);
    let request = || {
        let (rt, done) = (rt.clone(), done.clone());
        rt.offload(move || done.with(|done| *done += 1))
    };
    let mut first = request();
    let waited = rt.block_on(rt.timeout(10 * MS, &mut first));
    if waited.is_err() {
        // It may still be on its way.
        first.detach();
        request().wait().unwrap();
    }
    rt.block_on(rt.sleep(100 * MS));
    ensure(done.with(|done| *done) == 1, "done twice");
}

fn lost_update(rt: Sim) {
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

fn landed_flight(rt: Sim) {
    // A call that several share: its flight, and whether it has landed.
    let flights: Shared<Option<Shared<bool>>> = Shared::new(None);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let flights = flights.clone();
            rt.spawn(async move {
                let flying = flights.with(|flights| flights.clone());
                if let Some(flight) = flying {
                    yield_now().await;
                    // Told only those who waited when it landed.
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
