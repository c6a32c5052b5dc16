//! WA: wakers.

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, yield_now};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, Gate, HandMade, HookWatch, OnDrop, Puppet, at_thread_end, build, build_with,
        eventually, is_within, must, never, occupy, on_thread, on_threads, other_runtime,
        panic_quietly, receive, within,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "WA-1.1", "one wake, one poll",
        "Tokio tests it: polls nobody asked for hide lost ones", one_wake_one_poll::<S>;
        "WA-1.2", "wakes before a poll coalesce",
        "a queue entry for each wake", coalesce::<S>;
        "WA-1.3", "a wake during a poll, by itself or by another thread, polls again, once",
        "async-task tests it: the wake of a running task is lost", wake_during_poll::<S>;
        "WA-1.4", "no wake, no poll, whatever goes on beside it",
        "executors that poll everything when anything happens", no_wake_no_poll::<S>;
        "WA-1.5", "wake, wake_by_ref, a clone, and the waker of an earlier poll wake alike",
        "four entries of a table, one of them wrong", all_ways::<S>;
        "WA-1.6", "what was done before a wake is seen by a poll after it, ten thousand times",
        "tokio 525: lost wake-ups show in numbers", seen_by_poll::<S>;
        "WA-1.7", "polls of one task never overlap, though many threads wake it",
        "two workers take the same task", never_overlap::<S>;
        "WA-1.8", "cloning and dropping wakers wakes nobody",
        "a count that reaches zero schedules the task", dropping_wakes_nobody::<S>;
        "WA-1.9", "two tasks wake each other ten thousand times",
        "a slot for the task that was woken last strands one of them", ping_pong::<S>;
        "WA-1.10", "a wake from a foreign thread reaches an idle runtime, every time",
        "the wake-up of the last worker going to sleep is easily lost", reaches_idle::<S>;
        "WA-1.11", "two tasks' wakers differ, and a task's wakers agree",
        "will_wake that lies makes joiners keep the wrong waker", will_wake::<S>;

        "WA-2.1", "waking never polls inline, wherever it is done",
        "an inline poll runs one task's code under another's locks", never_inline::<S>;
        "WA-2.2", "waking after completion does nothing",
        "async-task tests it: a finished task is queued again", after_completion::<S>;
        "WA-2.3", "waking after cancellation does nothing",
        "the same for the other way to end", after_cancellation::<S>;
        "WA-2.4", "wakers may be used and dropped after the runtime is shut down",
        "the queue they push to is gone", after_shutdown::<S>, needs [Shutdown];
        "WA-2.5", "wakers may be used and dropped after the last handle on the runtime is dropped",
        "as before, with nobody who waits for it", after_drop::<S>;
        "WA-2.6", "waking works from threads, closures, other runtimes and unwinding code",
        "wakers end up in everybody's hands", from_anywhere::<S>;
        "WA-2.7", "waking works in thread-locals' destructors",
        "tokio 4973: the executor's own thread-locals may be gone", from_tls::<S>;
        "WA-2.8", "waking works in the destructors of the offload threads' thread-locals",
        "idle threads end at a moment nobody chose", from_pool_tls::<S>;
        "WA-2.9", "in thread-locals' destructors, after the runtime is gone",
        "both at a time", from_tls_after_end::<S>;
        "WA-2.10", "a waker does not keep the future of an ended task",
        "a reference that somebody forgot keeps memory and locks", keeps_nothing::<S>;
        "WA-2.11", "waking, completing, cancelling and dropping race for one task",
        "async-task's changelog: the schedule function was freed while it ran", race::<S>;
        "WA-2.12", "a task drops its last waker, or wakes itself, while it is destroyed",
        "the count of references reaches zero twice", in_destructor::<S>;

        "WA-3.1", "a detached task that gave its waker to nobody is destroyed",
        "async-task tests it: it would never run again, and never go", never_gave::<S>, needs_any [LostTasks, Shutdown];
        "WA-3.2", "a detached task is destroyed with its last waker, wherever that is dropped",
        "the same, later", last_waker::<S>, needs_any [LostTasks, Shutdown];
        "WA-3.3", "a pending task with a handle is kept, also without a waker",
        "whoever joins it must be told when it is cancelled", handle_keeps::<S>;
        "WA-3.4", "a detached task with an abort handle is destroyed with that at the latest",
        "an abort handle that keeps the task in a cycle", abort_handle_goes::<S>, needs_any [LostTasks, Shutdown];
        "WA-3.5", "a destructor that panics in a lost task is contained, and told",
        "it runs where nobody expects it", lost_panics::<S>, needs_any [LostTasks, Shutdown];
    ]
}

// WA-1

fn one_wake_one_poll<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    for n in 1..100 {
        puppet.wake();
        puppet.polled(n + 1);
    }
    never("a poll that nobody asked for", || puppet.polls() != 100);
    puppet.finish();
    assert_eq!(rt.block_on(task).unwrap(), 101);
    puppet.destroyed();
}

fn coalesce<S: Subject>() {
    let rt = build_with::<S>(|config| config.workers = 1);
    // Within a poll.
    let mut polls = 0;
    let own = rt.block_on(rt.spawn(std::future::poll_fn(move |cx| {
        polls += 1;
        if polls == 1 {
            for _ in 0..10 {
                cx.waker().wake_by_ref();
                cx.waker().clone().wake();
            }
            return Poll::Pending;
        }
        Poll::Ready(polls)
    })));
    assert_eq!(own.unwrap(), 2);
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    puppet.wake();
    puppet.polled(2);
    // Before a poll that cannot come yet.
    let occupied = occupy(&rt);
    for _ in 0..10 {
        puppet.wake();
    }
    let entirely = occupied.entirely;
    drop(occupied);
    puppet.polled(3);
    let most = if entirely { 3 } else { 12 };
    never("more polls than wakes", || puppet.polls() > most);
    puppet.finish();
    rt.block_on(task).unwrap();
}

fn wake_during_poll<S: Subject>() {
    let rt = build::<S>();
    for from_elsewhere in [false, true] {
        let (sender, wakers) = mpsc::channel::<Waker>();
        let (woken, was_woken) = Gate::pair();
        let polls = Counter::new();
        let (done, gate) = Gate::pair();
        let count = polls.clone();
        let task = rt.spawn(std::future::poll_fn(move |cx| {
            match count.add() {
                1 if from_elsewhere => {
                    let _ = sender.send(cx.waker().clone());
                    // For the thread that wakes, which needs no worker.
                    was_woken.wait();
                }
                1 => cx.waker().wake_by_ref(),
                _ => done.open(),
            }
            Poll::<()>::Pending
        }));
        if from_elsewhere {
            receive(&wakers).wake();
            woken.open();
        }
        gate.wait();
        never("a third poll", || polls.get() != 2);
        assert!(rt.block_on(task.cancel()).is_err());
    }
}

fn no_wake_no_poll<S: Subject>() {
    let rt = build::<S>();
    let puppets: Vec<Puppet> = (0..10).map(|_| Puppet::new()).collect();
    let tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    // One of them is woken, many others run, and handles are looked at.
    for round in 0..20 {
        puppets[0].wake();
        puppets[0].polled(round + 2);
        rt.block_on(rt.spawn(async {
            yield_now().await;
        }))
        .unwrap();
        assert!(tasks.iter().all(|task| !task.is_finished()));
    }
    never("a task is polled that nobody woke", || {
        puppets[1..].iter().any(|puppet| puppet.polls() != 1) || puppets[0].polls() != 21
    });
}

fn all_ways<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    let first = puppet.waker();
    let ways: [fn(&Waker); 4] = [
        |waker| waker.wake_by_ref(),
        |waker| waker.clone().wake(),
        |waker| {
            let clone = waker.clone();
            clone.wake_by_ref();
            drop(clone);
        },
        |waker| {
            let clone = waker.clone();
            on_thread(move || clone.wake());
        },
    ];
    let mut polls = 1;
    for way in ways {
        for waker in [&first, &puppet.waker()] {
            way(waker);
            polls += 1;
            puppet.polled(polls);
        }
    }
    never("more polls than wakes", || puppet.polls() != polls);
    puppet.finish();
    rt.block_on(task).unwrap();
}

fn seen_by_poll<S: Subject>() {
    const THREADS: usize = 2;
    const EACH: usize = 5_000;
    let rt = build::<S>();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let written = Arc::new(AtomicUsize::new(0));
    let reads = written.clone();
    let mut first = true;
    let task = rt.spawn(std::future::poll_fn(move |cx| {
        if std::mem::take(&mut first) {
            let _ = sender.send(cx.waker().clone());
        }
        // Relaxed: the wake alone must make the last one visible.
        if reads.load(Ordering::Relaxed) == THREADS * EACH {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    let waker = receive(&wakers);
    on_threads(THREADS, move |_| {
        for _ in 0..EACH {
            written.fetch_add(1, Ordering::Relaxed);
            waker.wake_by_ref();
        }
    });
    // Hangs if the last wake led to no poll that saw it.
    rt.block_on(task).unwrap();
}

fn never_overlap<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    let waker = puppet.waker();
    on_threads(4, move |_| {
        for n in 0..500 {
            waker.wake_by_ref();
            if n % 16 == 0 {
                thread::yield_now();
            }
        }
    });
    assert!(puppet.polls() <= 2001);
    puppet.finish();
    rt.block_on(task).unwrap();
    puppet.destroyed();
}

fn dropping_wakes_nobody<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    let clones: Vec<Waker> = (0..100).map(|_| puppet.waker()).collect();
    drop(clones);
    let waker = puppet.waker();
    on_thread(move || drop(waker));
    never("a dropped waker wakes", || puppet.polls() != 1);
    puppet.finish();
    assert_eq!(rt.block_on(task).unwrap(), 2);
}

fn ping_pong<S: Subject>() {
    const ROUNDS: usize = 10_000;
    let rt = build::<S>();
    // Whose turn it is, and who waits for it.
    let turn = Arc::new(AtomicUsize::new(0));
    let wakers: Arc<[std::sync::Mutex<Option<Waker>>; 2]> = Arc::default();
    let player = |me: usize| {
        let (turn, wakers) = (turn.clone(), wakers.clone());
        rt.spawn(std::future::poll_fn(move |cx| {
            // First the waker, then the look.
            let waker = cx.waker().clone();
            let lock = |n: usize| {
                wakers[n]
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
            };
            *lock(me) = Some(waker);
            let now = turn.load(Ordering::SeqCst);
            if now % 2 == me && now < ROUNDS {
                turn.store(now + 1, Ordering::SeqCst);
                let other = lock(1 - me).clone();
                if let Some(other) = other {
                    other.wake();
                }
            }
            if turn.load(Ordering::SeqCst) >= ROUNDS {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    };
    let (first, second) = (player(0), player(1));
    rt.block_on(first).unwrap();
    rt.block_on(second).unwrap();
}

fn reaches_idle<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    for round in 1..300 {
        puppet.polled(round);
        // Meets the workers at different moments of going to sleep.
        for _ in 0..(round % 64) * 40 {
            std::hint::spin_loop();
        }
        puppet.wake();
    }
    puppet.polled(300);
    puppet.finish();
    rt.block_on(task).unwrap();
}

fn will_wake<S: Subject>() {
    let rt = build::<S>();
    let (first, second) = (Puppet::new(), Puppet::new());
    let tasks = [rt.spawn(first.future()), rt.spawn(second.future())];
    first.polled(1);
    second.polled(1);
    assert!(!first.waker().will_wake(&second.waker()));
    let waker = first.waker();
    assert!(waker.will_wake(&waker.clone()));
    drop(tasks);
}

// WA-2

fn never_inline<S: Subject>() {
    let rt = build::<S>();
    // On a plain thread.
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    for n in 1..50 {
        within(|| puppet.wake());
        puppet.polled(n + 1);
    }
    // In another task.
    let inner = puppet.clone();
    rt.block_on(rt.spawn(async move {
        for _ in 0..50 {
            within(|| inner.wake());
            yield_now().await;
        }
    }))
    .unwrap();
    // In a closure.
    let inner = puppet.clone();
    rt.block_on(rt.offload(move || within(|| inner.wake())))
        .unwrap();
    // In its own poll.
    let inline = Counter::new();
    let count = inline.clone();
    let mut polls = 0;
    let own = rt.spawn(std::future::poll_fn(move |cx| {
        if is_within() {
            count.add();
        }
        polls += 1;
        if polls == 20 {
            return Poll::Ready(());
        }
        within(|| cx.waker().wake_by_ref());
        Poll::Pending
    }));
    rt.block_on(own).unwrap();
    assert_eq!(inline.get(), 0);
    // In its own destructor, and through a join.
    puppet.finish();
    rt.block_on(task).unwrap();
    puppet.destroyed();
}

/// Uses a waker in all ways there are, here and elsewhere.
fn use_up(waker: Waker) {
    waker.wake_by_ref();
    waker.clone().wake();
    let clone = waker.clone();
    on_thread(move || {
        clone.wake_by_ref();
        drop(clone);
    });
    waker.wake();
}

fn after_completion<S: Subject>() {
    let rt = build::<S>();
    for detach in [false, true] {
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        puppet.polled(1);
        let early = puppet.waker();
        puppet.finish();
        if detach {
            task.detach();
        } else {
            rt.block_on(task).unwrap();
        }
        puppet.destroyed();
        let polls = puppet.polls();
        use_up(early);
        use_up(puppet.waker());
        let waker = puppet.waker();
        rt.block_on(rt.spawn(async move { waker.wake() })).unwrap();
        never("it is polled after its end", || puppet.polls() != polls);
    }
    // Unclaimed: the wake must not disturb the output.
    let (sender, wakers) = mpsc::channel();
    let task = rt.spawn(async move {
        std::future::poll_fn(|cx| {
            let _ = sender.send(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        String::from("kept")
    });
    eventually("it is finished", || task.is_finished());
    use_up(receive(&wakers));
    assert_eq!(rt.block_on(task).unwrap(), "kept");
    // After a panic.
    let (sender, wakers) = mpsc::channel();
    let task = rt.spawn(std::future::poll_fn(move |cx| -> Poll<()> {
        let _ = sender.send(cx.waker().clone());
        panic_quietly("on purpose")
    }));
    eventually("it is finished", || task.is_finished());
    use_up(receive(&wakers));
    assert!(rt.block_on(task).is_err_and(|error| error.is_panic()));
}

fn after_cancellation<S: Subject>() {
    let rt = build::<S>();
    for round in 0..6 {
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        puppet.polled(1);
        let waker = puppet.waker();
        match round % 3 {
            0 => drop(task),
            1 => assert!(rt.block_on(task.cancel()).is_err()),
            _ => {
                task.abort();
                // While it is on its way.
                waker.wake_by_ref();
                assert!(rt.block_on(task).is_err());
            }
        }
        puppet.destroyed();
        use_up(waker);
        use_up(puppet.waker());
        never("it is polled after its end", || puppet.polls() != 1);
    }
}

fn after_shutdown<S: Subject>() {
    let rt = build::<S>();
    let puppets: Vec<Puppet> = (0..6).map(|_| Puppet::new()).collect();
    let mut tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    tasks.pop().expect("six").detach();
    assert!(rt.shutdown(must()).unwrap().is_clean());
    use_up(puppets[0].waker());
    drop(tasks.pop());
    drop(rt);
    for puppet in &puppets {
        puppet.destroyed();
        use_up(puppet.waker());
        puppet.forget_waker();
        assert_eq!(puppet.polls(), 1);
    }
    drop(tasks);
}

fn after_drop<S: Subject>() {
    let rt = build::<S>();
    let puppets: Vec<Puppet> = (0..6).map(|_| Puppet::new()).collect();
    let mut tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    tasks.pop().expect("six").detach();
    drop(rt);
    // At once, while it goes down, if it does.
    for puppet in &puppets {
        use_up(puppet.waker());
    }
    for puppet in &puppets {
        puppet.finish();
    }
    for puppet in &puppets {
        puppet.destroyed();
        use_up(puppet.waker());
        puppet.forget_waker();
    }
    drop(tasks);
}

fn from_anywhere<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    let waker = puppet.waker();
    on_thread(move || waker.wake());
    puppet.polled(2);
    let waker = puppet.waker();
    rt.block_on(rt.offload(move || waker.wake())).unwrap();
    puppet.polled(3);
    let waker = puppet.waker();
    other
        .block_on(other.spawn(async move { waker.wake() }))
        .unwrap();
    puppet.polled(4);
    let waker = puppet.waker();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _value = OnDrop(move || waker.wake_by_ref());
        panic_quietly("unwinding")
    }));
    assert!(result.is_err());
    puppet.polled(5);
    let waker = puppet.waker();
    let result = rt.block_on(rt.spawn(async move {
        let _value = OnDrop(move || waker.wake_by_ref());
        panic_quietly("a task that unwinds")
    }));
    let result: Result<(), _> = result;
    assert!(result.is_err());
    puppet.polled(6);
    let waker = puppet.waker();
    rt.block_on(async move { waker.wake() });
    puppet.polled(7);
    puppet.finish();
    assert_eq!(rt.block_on(task).unwrap(), 8);
}

fn from_tls<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    // On a thread that is new to the runtime.
    let waker = puppet.waker();
    on_thread(move || at_thread_end(move || waker.wake()));
    puppet.polled(2);
    // On one that used it afterwards, so that what the runtime keeps there goes
    // first.
    let (waker, inner) = (puppet.waker(), rt.clone());
    on_thread(move || {
        at_thread_end(move || waker.wake());
        inner.block_on(inner.spawn(ready(()))).unwrap();
    });
    puppet.polled(3);
    // And before.
    let (waker, inner) = (puppet.waker(), rt.clone());
    on_thread(move || {
        inner.block_on(inner.spawn(ready(()))).unwrap();
        at_thread_end(move || waker.wake());
    });
    puppet.polled(4);
    puppet.finish();
    rt.block_on(task).unwrap();
}

fn from_pool_tls<S: Subject>() {
    let rt = build_with::<S>(|config| config.keep_alive = Duration::from_millis(1));
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    let waker = puppet.waker();
    rt.block_on(rt.offload(move || at_thread_end(move || waker.wake())))
        .unwrap();
    puppet.polled(2);
    puppet.finish();
    rt.block_on(task).unwrap();
}

fn from_tls_after_end<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    let waker = puppet.waker();
    let (gone, is_gone) = Gate::pair();
    let (ready_to_end, waits) = Gate::pair();
    let inner = rt.clone();
    let thread = thread::spawn(move || {
        at_thread_end(move || use_up_quietly(&waker));
        inner.block_on(inner.spawn(ready(()))).unwrap();
        drop(inner);
        ready_to_end.open();
        is_gone.wait();
    });
    waits.wait();
    if S::capabilities().shutdown {
        assert!(rt.shutdown(must()).unwrap().is_clean());
    }
    drop(rt);
    gone.open();
    eventually("the thread ends", || thread.is_finished());
    thread.join().expect("it does not panic");
    drop(task);
    puppet.destroyed();
}

/// For destructors of thread-locals, where no thread can be waited for.
fn use_up_quietly(waker: &Waker) {
    waker.wake_by_ref();
    waker.clone().wake();
}

fn keeps_nothing<S: Subject>() {
    let rt = build::<S>();
    for cancel in [false, true] {
        let shared = Arc::new(());
        let (inner, puppet) = (shared.clone(), Puppet::new());
        let future = puppet.future();
        let task = rt.spawn(async move {
            let _inner = inner;
            future.await
        });
        puppet.polled(1);
        let waker = puppet.waker();
        if cancel {
            assert!(rt.block_on(task.cancel()).is_err());
        } else {
            puppet.finish();
            assert!(rt.block_on(task).is_ok());
        }
        assert_eq!(Arc::strong_count(&shared), 1);
        drop(waker);
    }
}

fn race<S: Subject>() {
    let rt = build::<S>();
    for round in 0..150_u32 {
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        puppet.polled(1);
        let barrier = Arc::new(Barrier::new(3));
        let waker = puppet.waker();
        let wakes = {
            let barrier = barrier.clone();
            thread::spawn(move || {
                barrier.wait();
                for _ in 0..10 {
                    waker.wake_by_ref();
                }
                // Often the last reference there is.
                waker.wake();
            })
        };
        let finishes = {
            let (barrier, puppet) = (barrier.clone(), puppet.clone());
            thread::spawn(move || {
                barrier.wait();
                puppet.finish();
                puppet.forget_waker();
            })
        };
        barrier.wait();
        match round % 4 {
            0 => drop(task),
            1 => task.detach(),
            2 => {
                let _ = rt.block_on(task.cancel());
            }
            _ => assert!(rt.block_on(task).is_ok()),
        }
        wakes.join().expect("waking does not panic");
        finishes.join().expect("waking does not panic");
        puppet.destroyed();
    }
}

fn in_destructor<S: Subject>() {
    let rt = build::<S>();
    for wake in [false, true] {
        for cancel in [false, true] {
            let (sender, wakers) = mpsc::channel::<Waker>();
            let (started, gate) = Gate::pair();
            let drops = Counter::new();
            let count = drops.clone();
            let task = rt.spawn(HandMade {
                poll: move |cx: &mut Context<'_>| {
                    let _ = sender.send(cx.waker().clone());
                    started.open();
                    if cancel {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                },
                on_drop: OnDrop(move || {
                    for waker in wakers.try_iter() {
                        if wake {
                            waker.wake();
                        } else {
                            drop(waker);
                        }
                    }
                    count.add();
                }),
            });
            gate.wait();
            if cancel {
                drop(task);
            } else {
                task.detach();
            }
            eventually("it is destroyed", || drops.get() == 1);
        }
    }
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

// WA-3

/// Tasks that are lost are destroyed: at once, or at the shutdown where the
/// runtime keeps a list of its tasks. One of the two is declared.
fn lost<S: Subject>(rt: &S::Runtime, what: &str, destroyed: impl FnMut() -> bool) {
    if !S::capabilities().lost_tasks {
        assert!(rt.shutdown(must()).unwrap().is_clean());
    }
    eventually(what, destroyed);
}

fn never_gave<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    for late in [false, true] {
        let value = drops.on_drop();
        let (started, gate) = Gate::pair();
        let task = rt.spawn(async move {
            let _value = value;
            yield_now().await;
            started.open();
            pending::<()>().await;
        });
        if late {
            gate.wait();
        }
        task.detach();
    }
    lost::<S>(&rt, "tasks that nobody can wake are destroyed", || {
        drops.get() == 2
    });
}

fn last_waker<S: Subject>() {
    let rt = build::<S>();
    let puppets: Vec<Puppet> = (0..4).map(|_| Puppet::new()).collect();
    for puppet in &puppets {
        let task = rt.spawn(puppet.future());
        puppet.polled(1);
        task.detach();
    }
    never("a task is destroyed while its waker is there", || {
        puppets.iter().any(|puppet| puppet.drops() > 0)
    });
    puppets[0].forget_waker();
    let inner = puppets[1].clone();
    rt.block_on(rt.spawn(async move { inner.forget_waker() }))
        .unwrap();
    let inner = puppets[2].clone();
    rt.block_on(rt.offload(move || inner.forget_waker()))
        .unwrap();
    let inner = puppets[3].clone();
    on_thread(move || at_thread_end(move || inner.forget_waker()));
    lost::<S>(&rt, "tasks are destroyed with their last wakers", || {
        puppets.iter().all(|puppet| puppet.drops() == 1)
    });
    for puppet in &puppets {
        puppet.sound();
        assert_eq!(puppet.polls(), 1);
    }
}

fn handle_keeps<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    puppet.forget_waker();
    never("a task is destroyed while its handle is there", || {
        puppet.drops() > 0 || task.is_finished()
    });
    assert!(rt.block_on(task.cancel()).is_err_and(|e| e.is_cancelled()));
    puppet.destroyed();
}

fn abort_handle_goes<S: Subject>() {
    let rt = build::<S>();
    let puppets: Vec<Puppet> = (0..2).map(|_| Puppet::new()).collect();
    let spawn = |puppet: &Puppet| {
        let task = rt.spawn(puppet.future());
        let aborts = task.abort_handle();
        puppet.polled(1);
        task.detach();
        aborts
    };
    // The waker goes first, or last.
    let aborts = spawn(&puppets[0]);
    puppets[0].forget_waker();
    drop(aborts.clone());
    drop(aborts);
    let aborts = spawn(&puppets[1]);
    drop(aborts);
    puppets[1].forget_waker();
    lost::<S>(
        &rt,
        "tasks without wakers and handles are destroyed",
        || puppets.iter().all(|puppet| puppet.drops() == 1),
    );
}

fn lost_panics<S: Subject>() {
    let rt = build::<S>();
    let watch = HookWatch::new();
    let inner = watch.clone();
    rt.spawn(HandMade {
        poll: |_: &mut Context<'_>| Poll::<()>::Pending,
        on_drop: OnDrop(move || inner.panic()),
    })
    .detach();
    // One that is destroyed by this thread's dropping the waker.
    let (sender, wakers) = mpsc::channel();
    let inner = watch.clone();
    rt.spawn(HandMade {
        poll: move |cx: &mut Context<'_>| {
            let _ = sender.send(cx.waker().clone());
            Poll::<()>::Pending
        },
        on_drop: OnDrop(move || inner.panic()),
    })
    .detach();
    drop(receive(&wakers));
    lost::<S>(&rt, "the hook is told of both", || watch.seen().len() == 2);
    if S::capabilities().lost_tasks {
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
}
