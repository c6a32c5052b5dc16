//! JO-3, a panic reaches the joiner.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    sync::mpsc,
    task::{Context, Poll},
    thread,
};

use fourway_core::{BlockOn, JoinError, Offload, Runtime, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, HandMade, HookWatch, OnDrop, eventually, panic_quietly, receive},
};

use super::{message, spin_join, unwrap_err};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "JO-3.1", "a panic's payload arrives as it was thrown, of any type",
        "peers lose it, or turn it into a string", payload;
        "JO-3.2", "the panic hook runs once, on the thread of the poll, before the join",
        "errgroup's propagation was reverted in Go: it delayed and hid panics", hook;
        "JO-3.3", "a detached task's panic is told to the hook, once",
        "any_spawner and others lose it", hook_detached;
        "JO-3.4", "hundreds of panics leave the runtime at work",
        "futures' ThreadPool dies for good, a thread for each detached panic", workers_survive;
        "JO-3.5", "after panics as many tasks run at a time as before",
        "workers that die quietly make the runtime slower, and then stop it", workers_all_survive, needs [MultiThreaded];
        "JO-3.6", "tasks spawned before and after a panic run",
        "rayon tests it: the sibling of a panic still runs", siblings_run;
        "JO-3.7", "a panic in a later poll is told like one in the first",
        "the first poll may be a special one", late_panic;
        "JO-3.8", "a destructor that panics after its future was ready: the join gives the panic",
        "the output must not hide that its work ended badly", destructor_after_ready;
        "JO-3.9", "a destructor that panics after a panic: the first payload is kept",
        "two panics in a row abort the process, or the second one wins", destructor_after_panic;
        "JO-3.10", "an output whose destructor panics, unclaimed in a handle or detached, is contained",
        "tokio 4412: the panic came out of the handle's drop", output_destructor;
        "JO-3.11", "a payload whose destructor panics is contained where nobody takes it",
        "the catch of the first panic is the cause of the second", payload_destructor;
        "JO-3.12", "the joiner may let the panic go on, and the hook is not run again",
        "a panic that is told twice looks like two", resumed;
        "JO-3.13", "a panic in a task does not reach the thread that woke or spawned it",
        "async-executor 78: run and tick must not panic", not_the_wakers;
    ]
}

fn payload<S: Setup>(s: S) {
    #[derive(Debug, PartialEq)]
    struct Custom(u32, String);
    let rt = s.build();
    let join = |f: fn()| {
        unwrap_err(rt.block_on(rt.spawn(async move {
            yield_now().await;
            f();
        })))
    };
    let error = join(|| resume_unwind(Box::new("a literal")));
    assert_eq!(error.panic_message(), Some("a literal"));
    assert_eq!(error.into_panic().downcast_ref(), Some(&"a literal"));
    let error = join(|| resume_unwind(Box::new(format!("formatted {}", 1))));
    assert_eq!(error.panic_message(), Some("formatted 1"));
    let payload = error.into_panic();
    assert_eq!(payload.downcast_ref(), Some(&String::from("formatted 1")));
    let error = join(|| resume_unwind(Box::new(Custom(7, String::from("x")))));
    assert_eq!(error.panic_message(), None);
    let payload = error.into_panic().downcast::<Custom>().expect("the type");
    assert_eq!(*payload, Custom(7, String::from("x")));
    // With the panic macro, through the hook.
    let watch = HookWatch::new();
    let inner = watch.clone();
    let error = unwrap_err(rt.block_on(rt.spawn(async move { inner.panic() })));
    assert_eq!(error.panic_message(), Some(watch.text()));
}

fn hook<S: Setup>(s: S) {
    let rt = s.build();
    for later in [true, false] {
        let watch = HookWatch::new();
        let (sender, thread) = mpsc::channel();
        let inner = watch.clone();
        let task = rt.spawn(async move {
            if later {
                yield_now().await;
            }
            let _ = sender.send(thread::current().id());
            inner.panic()
        });
        let error: JoinError = unwrap_err::<()>(spin_join(task));
        assert!(error.is_panic());
        let polled_on = receive(&thread);
        assert_eq!(watch.seen(), [polled_on]);
        assert_ne!(polled_on, thread::current().id());
        drop(error);
        assert_eq!(watch.seen().len(), 1);
    }
}

fn hook_detached<S: Setup>(s: S) {
    let rt = s.build();
    let watch = HookWatch::new();
    let inner = watch.clone();
    let task = rt.spawn(async move {
        yield_now().await;
        inner.panic();
    });
    let aborts = task.abort_handle();
    task.detach();
    eventually("the hook is told", || !watch.seen().is_empty());
    // Until then a wake may come once more.
    eventually("it is finished", || aborts.is_finished());
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert_eq!(watch.seen().len(), 1);
}

fn panics<R: Runtime>(rt: &R, times: usize) {
    let ended = Counter::new();
    for round in 0..times {
        let value = ended.on_drop();
        let task = rt.spawn(async move {
            let _value = value;
            if round % 2 == 0 {
                yield_now().await;
            }
            panic_quietly("one of many");
        });
        match round % 3 {
            0 => task.detach(),
            1 => drop(task),
            _ => assert!(unwrap_err::<()>(rt.block_on(task)).is_panic()),
        }
    }
    eventually("all of them end", || ended.get() == times);
}

fn workers_survive<S: Setup>(s: S) {
    let rt = s.build();
    panics(&rt, 300);
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    let sum = rt.block_on(rt.spawn({
        let rt = rt.clone();
        async move { rt.offload(|| 2).await.unwrap() + rt.spawn(ready(3)).await.unwrap() }
    }));
    assert_eq!(sum.unwrap(), 5);
}

fn workers_all_survive<S: Setup>(s: S) {
    let rt = s.build();
    panics(&rt, 100);
    // Two tasks that need a thread each, at the same time.
    let (a, b) = (Gate::new(), Gate::new());
    let task = |opens: &Gate, waits: &Gate| {
        let (opens, waits) = (opens.clone(), waits.clone());
        rt.spawn(async move {
            opens.open();
            waits.wait();
        })
    };
    let (first, second) = (task(&a, &b), task(&b, &a));
    rt.block_on(first).unwrap();
    rt.block_on(second).unwrap();
}

fn siblings_run<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let tasks = rt.block_on(rt.spawn(async move {
        let before = inner.spawn(async {
            yield_now().await;
            1
        });
        let panics = inner.spawn(async { panic_quietly("in between") });
        let after = inner.spawn(async { 2 });
        (before, panics, after)
    }));
    let (before, panics, after) = tasks.unwrap();
    let result: Result<(), _> = rt.block_on(panics);
    assert!(result.unwrap_err().is_panic());
    assert_eq!(rt.block_on(before).unwrap(), 1);
    assert_eq!(rt.block_on(after).unwrap(), 2);
}

fn late_panic<S: Setup>(s: S) {
    let rt = s.build();
    for polls in [1, 2, 50] {
        let drops = Counter::new();
        let value = drops.on_drop();
        let task = rt.spawn(async move {
            let _value = value;
            for _ in 1..polls {
                yield_now().await;
            }
            panic_quietly("late");
        });
        let error = unwrap_err::<()>(rt.block_on(task));
        assert_eq!(message(error), "late");
        assert_eq!(drops.get(), 1);
    }
}

fn destructor_after_ready<S: Setup>(s: S) {
    let rt = s.build();
    for detach in [false, true] {
        let (outputs, watch) = (Counter::new(), HookWatch::new());
        let inner = watch.clone();
        let mut output = Some(outputs.on_drop());
        let task = rt.spawn(HandMade {
            poll: move |_: &mut Context<'_>| Poll::Ready(output.take()),
            on_drop: OnDrop(move || inner.panic()),
        });
        if detach {
            task.detach();
            eventually("the hook is told", || !watch.seen().is_empty());
        } else {
            let error = unwrap_err(rt.block_on(task));
            assert_eq!(error.panic_message(), Some(watch.text()));
        }
        eventually("the output is dropped", || outputs.get() == 1);
        assert_eq!(watch.seen().len(), 1);
    }
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn destructor_after_panic<S: Setup>(s: S) {
    let rt = s.build();
    let make = || HandMade {
        poll: |_: &mut Context<'_>| -> Poll<()> { panic_quietly("first") },
        on_drop: OnDrop(|| panic_quietly("second")),
    };
    let error = unwrap_err(rt.block_on(rt.spawn(make())));
    assert_eq!(message(error), "first");
    rt.spawn(make()).detach();
    drop(rt.spawn(make()));
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn output_destructor<S: Setup>(s: S) {
    let rt = s.build();
    let make = |watch: &HookWatch| {
        let watch = watch.clone();
        // Boxed, to be Unpin and of one type.
        let output: Box<dyn Send> = Box::new(OnDrop(move || watch.panic()));
        async move {
            yield_now().await;
            output
        }
    };
    // Finished, and then the handle is dropped: its drop does not panic.
    let watch = HookWatch::new();
    let task = rt.spawn(make(&watch));
    eventually("it is finished", || task.is_finished());
    drop(task);
    assert_eq!(watch.seen().len(), 1);
    // As before, with an abort and an abort handle.
    let watch = HookWatch::new();
    let task = rt.spawn(make(&watch));
    let aborts = task.abort_handle();
    eventually("it is finished", || task.is_finished());
    aborts.abort();
    drop(task);
    eventually("the output is dropped", || watch.seen().len() == 1);
    drop(aborts);
    // Detached: on any thread.
    for _ in 0..10 {
        let watch = HookWatch::new();
        rt.spawn(make(&watch)).detach();
        eventually("the output is dropped", || watch.seen().len() == 1);
    }
    // Detached when it was finished.
    let watch = HookWatch::new();
    let task = rt.spawn(make(&watch));
    eventually("it is finished", || task.is_finished());
    task.detach();
    eventually("the output is dropped", || watch.seen().len() == 1);
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn payload_destructor<S: Setup>(s: S) {
    struct Nasty(Counter);
    impl Drop for Nasty {
        fn drop(&mut self) {
            self.0.add();
            panic_quietly("a payload's destructor");
        }
    }
    let rt = s.build();
    let drops = Counter::new();
    let spawn = || {
        let drops = drops.clone();
        rt.spawn(async move {
            yield_now().await;
            resume_unwind(Box::new(Nasty(drops)))
        })
    };
    let task: <S::Runtime as Spawner>::Task<()> = spawn();
    task.detach();
    eventually("the payload of a detached task is dropped", || {
        drops.get() == 1
    });
    let task: <S::Runtime as Spawner>::Task<()> = spawn();
    eventually("it is finished", || task.is_finished());
    drop(task);
    eventually("the payload in a handle is dropped", || drops.get() == 2);
    // The taker owns it and must handle it.
    let task: <S::Runtime as Spawner>::Task<()> = spawn();
    let payload = unwrap_err(rt.block_on(task)).into_panic();
    assert!(payload.is::<Nasty>());
    let result = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    assert!(result.is_err());
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn resumed<S: Setup>(s: S) {
    let rt = s.build();
    let watch = HookWatch::new();
    let inner = watch.clone();
    let task = rt.spawn(async move { inner.panic() });
    let error = unwrap_err::<()>(rt.block_on(task));
    let payload = catch_unwind(AssertUnwindSafe(|| error.resume_unwind())).unwrap_err();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), watch.text());
    assert_eq!(watch.seen().len(), 1);
}

fn not_the_wakers<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..50 {
        let (sender, wakers) = mpsc::channel();
        let mut polled = false;
        let task = rt.spawn(HandMade {
            poll: move |cx: &mut Context<'_>| -> Poll<()> {
                if std::mem::replace(&mut polled, true) {
                    panic_any("woken");
                }
                let _ = sender.send(cx.waker().clone());
                Poll::Pending
            },
            on_drop: (),
        });
        // If it were polled here, it would panic here.
        receive(&wakers).wake();
        assert_eq!(message(unwrap_err(rt.block_on(task))), "woken");
    }
}
