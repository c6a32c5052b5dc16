//! WA-1, a poll for each wake.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
};

use fourway_core::{BlockOn, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, Puppet, never, occupy, on_thread, on_threads, receive},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "WA-1.1", "one wake, one poll",
        "Tokio tests it: polls nobody asked for hide lost ones", one_wake_one_poll;
        "WA-1.2", "wakes before a poll coalesce",
        "a queue entry for each wake", coalesce;
        "WA-1.3", "a wake during a poll, by itself or by another thread, polls again, once",
        "async-task tests it: the wake of a running task is lost", wake_during_poll;
        "WA-1.4", "no wake, no poll, whatever goes on beside it",
        "executors that poll everything when anything happens", no_wake_no_poll;
        "WA-1.5", "wake, wake_by_ref, a clone, and the waker of an earlier poll wake alike",
        "four entries of a table, one of them wrong", all_ways;
        "WA-1.6", "what was done before a wake is seen by a poll after it, ten thousand times",
        "tokio 525: lost wake-ups show in numbers", seen_by_poll;
        "WA-1.7", "polls of one task never overlap, though many threads wake it",
        "two workers take the same task", never_overlap;
        "WA-1.8", "cloning and dropping wakers wakes nobody",
        "a count that reaches zero schedules the task", dropping_wakes_nobody;
        "WA-1.9", "two tasks wake each other ten thousand times",
        "a slot for the task that was woken last strands one of them", ping_pong;
        "WA-1.10", "a wake from a foreign thread reaches an idle runtime, every time",
        "the wake-up of the last worker going to sleep is easily lost", reaches_idle;
        "WA-1.11", "two tasks' wakers differ, and a task's wakers agree",
        "will_wake that lies makes joiners keep the wrong waker", will_wake;
    ]
}

fn one_wake_one_poll<S: Setup>(s: S) {
    let rt = s.build();
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

fn coalesce<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
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

fn wake_during_poll<S: Setup>(s: S) {
    let rt = s.build();
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
                    // For the waking thread, which needs no worker.
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

fn no_wake_no_poll<S: Setup>(s: S) {
    let rt = s.build();
    let puppets: Vec<Puppet> = (0..10).map(|_| Puppet::new()).collect();
    let tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    // One task is woken, many others run, and handles are polled.
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

fn all_ways<S: Setup>(s: S) {
    let rt = s.build();
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

fn seen_by_poll<S: Setup>(s: S) {
    const THREADS: usize = 2;
    const EACH: usize = 5_000;
    let rt = s.build();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let written = Arc::new(AtomicUsize::new(0));
    let reads = written.clone();
    let mut first = true;
    let task = rt.spawn(std::future::poll_fn(move |cx| {
        if std::mem::take(&mut first) {
            let _ = sender.send(cx.waker().clone());
        }
        // Relaxed: the wake alone must make the last increment visible.
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

fn never_overlap<S: Setup>(s: S) {
    let rt = s.build();
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

fn dropping_wakes_nobody<S: Setup>(s: S) {
    let rt = s.build();
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

fn ping_pong<S: Setup>(s: S) {
    const ROUNDS: usize = 10_000;
    let rt = s.build();
    // The task whose turn it is, and the waiter.
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

fn reaches_idle<S: Setup>(s: S) {
    let rt = s.build();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    for round in 1..300 {
        puppet.polled(round);
        // Comes at different moments while the workers park.
        for _ in 0..(round % 64) * 40 {
            std::hint::spin_loop();
        }
        puppet.wake();
    }
    puppet.polled(300);
    puppet.finish();
    rt.block_on(task).unwrap();
}

fn will_wake<S: Setup>(s: S) {
    let rt = s.build();
    let (first, second) = (Puppet::new(), Puppet::new());
    let tasks = [rt.spawn(first.future()), rt.spawn(second.future())];
    first.polled(1);
    second.polled(1);
    assert!(!first.waker().will_wake(&second.waker()));
    let waker = first.waker();
    assert!(waker.will_wake(&waker.clone()));
    drop(tasks);
}
