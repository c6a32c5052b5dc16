//! WA-2, wakers work anywhere.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{
        Counter, Gate, HandMade, OnDrop, Puppet, at_thread_end, eventually, is_within, must, never,
        on_thread, other_runtime, panic_quietly, receive, within,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "WA-2.1", "waking never polls inline, wherever it is done",
        "an inline poll runs one task's code under another's locks", never_inline;
        "WA-2.2", "waking after completion does nothing",
        "async-task tests it: a finished task is queued again", after_completion;
        "WA-2.3", "waking after cancellation does nothing",
        "the same for the other way to end", after_cancellation;
        "WA-2.4", "wakers may be used and dropped after the runtime is shut down",
        "the queue they push to is gone", after_shutdown, needs [Shutdown];
        "WA-2.5", "wakers may be used and dropped after the last handle on the runtime is dropped",
        "as before, with nobody who waits for it", after_drop;
        "WA-2.6", "waking works from threads, closures, other runtimes and unwinding code",
        "wakers end up in everybody's hands", from_anywhere;
        "WA-2.7", "waking works in thread-locals' destructors",
        "tokio 4973: the executor's own thread-locals may be gone", from_tls;
        "WA-2.8", "waking works in the destructors of the offload threads' thread-locals",
        "idle threads end at a moment nobody chose", from_pool_tls;
        "WA-2.9", "in thread-locals' destructors, after the runtime is gone",
        "both at a time", from_tls_after_end;
        "WA-2.10", "a waker does not keep the future of an ended task",
        "a reference that somebody forgot keeps memory and locks", keeps_nothing;
        "WA-2.11", "waking, completing, cancelling and dropping race for one task",
        "async-task's changelog: the schedule function was freed while it ran", race;
        "WA-2.12", "a task drops its last waker, or wakes itself, while it is destroyed",
        "the count of references reaches zero twice", in_destructor;
    ]
}

fn never_inline<S: Setup>(s: S) {
    let rt = s.build();
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

/// Uses a waker in all possible ways, here and elsewhere.
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

fn after_completion<S: Setup>(s: S) {
    let rt = s.build();
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
    // The output is not taken: the wake must not disturb it.
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

fn after_cancellation<S: Setup>(s: S) {
    let rt = s.build();
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

fn after_shutdown<S: Setup>(s: S) {
    let rt = s.build();
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

fn after_drop<S: Setup>(s: S) {
    let rt = s.build();
    let puppets: Vec<Puppet> = (0..6).map(|_| Puppet::new()).collect();
    let mut tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    tasks.pop().expect("six").detach();
    drop(rt);
    // At once, perhaps during the shutdown.
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

fn from_anywhere<S: Setup>(s: S) {
    let rt = s.build();
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

fn from_tls<S: Setup>(s: S) {
    let rt = s.build();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    puppet.polled(1);
    // On a thread that is new to the runtime.
    let waker = puppet.waker();
    on_thread(move || at_thread_end(move || waker.wake()));
    puppet.polled(2);
    // On a thread that used it afterwards, so that the runtime's thread-locals are destroyed
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

fn from_pool_tls<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.keep_alive = Duration::from_millis(1));
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

fn from_tls_after_end<S: Setup>(s: S) {
    let rt = s.build();
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
    if s.capabilities().shutdown {
        assert!(rt.shutdown(must()).unwrap().is_clean());
    }
    drop(rt);
    gone.open();
    eventually("the thread ends", || thread.is_finished());
    thread.join().expect("it does not panic");
    drop(task);
    puppet.destroyed();
}

/// For destructors of thread-locals, which cannot wait for a thread.
fn use_up_quietly(waker: &Waker) {
    waker.wake_by_ref();
    waker.clone().wake();
}

fn keeps_nothing<S: Setup>(s: S) {
    let rt = s.build();
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

fn race<S: Setup>(s: S) {
    let rt = s.build();
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
                // Often the last reference.
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

fn in_destructor<S: Setup>(s: S) {
    let rt = s.build();
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
