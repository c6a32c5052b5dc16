//! The bugs.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, Timer, yield_now};
use fourway_sim::{Builder, Faults, Sim};

use crate::{
    on_shuttle::{self, Shuttle},
    on_sim,
    parts::{Channel, Shared, ensure},
};

const MS: Duration = Duration::from_millis(1);

/// A program with a bug.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// The kind of real bugs that it stands for.
    pub(crate) after: &'static str,
    pub(crate) faults: &'static str,
    pub(crate) builder: fn() -> Builder,
    pub(crate) program: fn(Sim),
    /// The same one, where shuttle can run it.
    pub(crate) for_shuttle: Option<fn(Shuttle)>,
}

const fn bug(name: &'static str, after: &'static str, program: fn(Sim)) -> Bug {
    Bug {
        name,
        after,
        faults: "none",
        builder: Sim::builder,
        program,
        for_shuttle: None,
    }
}

const fn both(
    name: &'static str,
    after: &'static str,
    program: fn(Sim),
    for_shuttle: fn(Shuttle),
) -> Bug {
    Bug {
        for_shuttle: Some(for_shuttle),
        ..bug(name, after, program)
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
    both(
        "lost wake",
        "a waker that is kept after the look, with no second look",
        on_sim::both::lost_wake,
        on_shuttle::both::lost_wake,
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
    both(
        "ABBA, between a closure and a task",
        "two locks, taken in two orders",
        on_sim::both::abba,
        on_shuttle::both::abba,
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
    both(
        "check, then act, across an await",
        "a balance that two withdraw from",
        on_sim::both::check_then_act,
        on_shuttle::both::check_then_act,
    ),
    both(
        "starvation",
        "a lock that whoever has it takes again",
        on_sim::both::starvation,
        on_shuttle::both::starvation,
    ),
    both(
        "shutdown race",
        "a job accepted after the last look at the queue",
        on_sim::both::shutdown_race,
        on_shuttle::both::shutdown_race,
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
    both(
        "count of users",
        "a count that is read and written in two steps",
        on_sim::both::user_count,
        on_shuttle::both::user_count,
    ),
    both(
        "made twice",
        "a value that two callers initialise at once",
        on_sim::both::made_twice,
        on_shuttle::both::made_twice,
    ),
    both(
        "told before it listens",
        "a notice that nobody keeps",
        on_sim::both::told_too_early,
        on_shuttle::both::told_too_early,
    ),
    bug(
        "notice lost with its waiter",
        "a notified waiter that is cancelled, and does not pass it on",
        notice_lost,
    ),
    both(
        "two readers that become writers",
        "an upgrade of a read lock",
        on_sim::both::upgrade,
        on_shuttle::both::upgrade,
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
    both(
        "permits for those who wait for permits",
        "a limit on outer calls that inner ones need too",
        on_sim::both::own_limit,
        on_shuttle::both::own_limit,
    ),
    both(
        "stale value in a cache",
        "a slow reader that writes after an invalidation",
        on_sim::both::stale_cache,
        on_shuttle::both::stale_cache,
    ),
    bug(
        "order of equal timers",
        "timers with one deadline, taken to fire in order",
        timer_order,
    ),
    both(
        "answer before the question",
        "an answer that comes before its entry is made",
        on_sim::both::early_answer,
        on_shuttle::both::early_answer,
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
    both(
        "barrier used twice",
        "a count that is reset while the last ones still wait",
        on_sim::both::barrier,
        on_shuttle::both::barrier,
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
    both(
        "lost update in closures",
        "a lock released between reading and writing",
        on_sim::both::lost_update,
        on_shuttle::both::lost_update,
    ),
    both(
        "flight that has just landed",
        "a caller that joins a shared call after its end",
        on_sim::both::landed_flight,
        on_shuttle::both::landed_flight,
    ),
];

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
        // An early return, if the child has come that far: the child is not waited for.
        if done.with(|done| *done) {
            child.detach();
            return;
        }
        let _ = child.await;
    });
    parent.wait().unwrap();
}

fn notice_lost(rt: Sim) {
    // One notice for one of two waiters; the first gives up at the time of the notice.
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
            // It gave up first, and was told second: the notice goes with it.
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
            // May panic, and then the permit is not given back.
            let _ = inner.offload(|| ()).await;
            free.change(|free| *free += 1);
        });
        let _ = task.wait();
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
