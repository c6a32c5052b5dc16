//! JO: joining.

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_core::{
    BlockOn, JoinError, Offload, Runtime, Shutdown, Spawner, Task, Timer, yield_now,
};

use super::{Case, table};
use crate::{
    Subject,
    util::{
        Counter, CountingWaker, Gate, HandMade, HookWatch, OnDrop, Puppet, build, build_with,
        caught, drive, eventually, must, on_thread, other_runtime, panic_quietly, poll_once,
        receive,
    },
};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    table![
        "JO-1.1", "a task can be awaited in a root, a task, a closure, another runtime, and by hand",
        "handles that work on their own executor only", awaited_anywhere::<S>;
        "JO-1.2", "of two wakers, the one registered last is woken",
        "a handle that moves between tasks of a select is woken through the old one", last_waker::<S>;
        "JO-1.3", "a handle that was polled here can be awaited elsewhere",
        "as the one before, with real executors", moves_between_executors::<S>;
        "JO-1.4", "a finished task is ready at the first poll",
        "a join that registers first and is not woken hangs", ready_at_first_poll::<S>;
        "JO-1.5", "a join that is given up and taken up again loses nothing",
        "select over `&mut task`", given_up_and_taken_up::<S>;
        "JO-1.6", "the joiner's waker is released when the join is over, or the handle gone",
        "tokio 6986: the waker lived as long as the task's memory, and kept its owner alive", waker_released::<S>;
        "JO-1.7", "polling a handle again after it was ready panics, and harms nobody",
        "async-task 73: undefined is what a defined panic must not be", polled_after_ready::<S>;
        "JO-1.8", "is_finished is false before the end, and after it a join is ready at once",
        "asyncio tests it: reading a result too early; a flag set too soon makes a lie of it", is_finished::<S>;
        "JO-1.9", "a waker may poll, ask and abort the task it is told of",
        "a lock that is held while a waker is called", reentrant_waker::<S>;
        "JO-1.10", "a joiner's waker that is replaced may ask after the task in its destructor",
        "a lock that is held while a waker is dropped", waker_destructor::<S>;
        "JO-1.11", "a join registered from many threads in turn is woken in the end",
        "registering and completing race for the waker", join_race::<S>;
        "JO-1.12", "a chain of 200 tasks, each awaiting the next, resolves",
        "joins that wake inline recurse", chain::<S>;
        "JO-1.13", "a boxed handle, as a trait object, is awaited like any other",
        "erased handles are what a job table holds", boxed::<S>;

        "JO-2.1", "the future is destroyed before a join sees the output",
        "tokio 7825, async-task: whoever joins may reuse what the future held", destroyed_before_join::<S>;
        "JO-2.2", "the future is destroyed before a join sees its panic",
        "the path of a panic is another one", destroyed_before_panic_seen::<S>;
        "JO-2.3", "the future is destroyed before is_finished says so, asked anywhere",
        "a state that is set before the destructor has run", destroyed_before_finished::<S>;
        "JO-2.4", "what the future captured is gone when the join is over",
        "an Arc that should be unique by then", captures_gone::<S>;
        "JO-2.5", "the future is destroyed before a join sees the shutdown",
        "tasks that are reported first and destroyed later", destroyed_before_shutdown_seen::<S>, needs [Shutdown];

        "JO-3.1", "a panic's payload arrives as it was thrown, of any type",
        "peers lose it, or turn it into a string", payload::<S>;
        "JO-3.2", "the panic hook runs once, on the thread of the poll, before the join",
        "errgroup's propagation was reverted in Go: it delayed and hid panics", hook::<S>;
        "JO-3.3", "a detached task's panic is told to the hook, once",
        "any_spawner and others lose it", hook_detached::<S>;
        "JO-3.4", "hundreds of panics leave the runtime at work",
        "futures' ThreadPool dies for good, a thread for each detached panic", workers_survive::<S>;
        "JO-3.5", "after panics as many tasks run at a time as before",
        "workers that die quietly make the runtime slower, and then stop it", workers_all_survive::<S>, needs [MultiThreaded];
        "JO-3.6", "tasks spawned before and after a panic run",
        "rayon tests it: the sibling of a panic still runs", siblings_run::<S>;
        "JO-3.7", "a panic in a later poll is told like one in the first",
        "the first poll may be a special one", late_panic::<S>;
        "JO-3.8", "a destructor that panics after its future was ready: the join gives the panic",
        "the output must not hide that its work ended badly", destructor_after_ready::<S>;
        "JO-3.9", "a destructor that panics after a panic: the first payload is kept",
        "two panics in a row abort the process, or the second one wins", destructor_after_panic::<S>;
        "JO-3.10", "an output whose destructor panics, unclaimed in a handle or detached, is contained",
        "tokio 4412: the panic came out of the handle's drop", output_destructor::<S>;
        "JO-3.11", "a payload whose destructor panics is contained where nobody takes it",
        "the catch of the first panic is the cause of the second", payload_destructor::<S>;
        "JO-3.12", "the joiner may let the panic go on, and the hook is not run again",
        "a panic that is told twice looks like two", resumed::<S>;
        "JO-3.13", "a panic in a task does not reach the thread that woke or spawned it",
        "async-executor 78: run and tick must not panic", not_the_wakers::<S>;

        "JO-4.1", "cancelled and panicked are told apart",
        "peers have one error for all, or panic in the joiner", told_apart::<S>;
        "JO-4.2", "shut down is told apart from cancelled and panicked",
        "a restart is the answer to one of them only", shutdown_told_apart::<S>, needs [Shutdown];
        "JO-4.3", "a task that panics in the poll during which it is cancelled has panicked",
        "the cancellation covers up the failure", panic_while_cancelled::<S>;
        "JO-4.4", "a task cancelled before the shutdown stays cancelled, one after it shut down",
        "the later event overwrites the reason", first_reason_stays::<S>, needs [Shutdown];
        "JO-4.5", "each reason says its own name, in words and in Debug",
        "logs are where most people meet these errors", words::<S>;

        "JO-5.1", "joins of suspended tasks resolve at shutdown, whoever waits",
        "Tokio and async-executor test it: a join after the executor's end hangs", resolve_at_shutdown::<S>, needs [Shutdown];
        "JO-5.2", "joins resolve when the last handle on the runtime is dropped",
        "the same without anyone calling shutdown", resolve_at_drop::<S>;
        "JO-5.3", "a finished task keeps its output over the shutdown and the drop of the runtime",
        "async-executor tests it: finished gives the value, unfinished does not hang", output_survives::<S>;
        "JO-5.4", "tasks that wait for each other resolve at shutdown",
        "destroying one under a lock wakes the other", mutual_wait::<S>, needs [Shutdown];
        "JO-5.5", "tasks in all states resolve at shutdown, and each is destroyed once",
        "async-executor tests it: each pending future dropped exactly once", all_states::<S>, needs [Shutdown];
        "JO-5.6", "offloaded closures' joins resolve when the last handle is dropped",
        "a pool whose queue goes without a word", closures_resolve_at_drop::<S>;
    ]
}

fn unwrap_err<T>(result: Result<T, JoinError>) -> JoinError {
    match result {
        Ok(_) => panic!("the join gave an output"),
        Err(error) => error,
    }
}

/// Which of the three reasons: cancelled, panicked, shut down.
fn reasons(error: &JoinError) -> [bool; 3] {
    assert!(!error.is_unstarted());
    [error.is_cancelled(), error.is_panic(), error.is_shutdown()]
}

const CANCELLED: [bool; 3] = [true, false, false];
const PANICKED: [bool; 3] = [false, true, false];
const SHUT_DOWN: [bool; 3] = [false, false, true];

fn message(error: JoinError) -> String {
    error.panic_message().unwrap_or_default().to_owned()
}

// JO-1

fn awaited_anywhere<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let start = |n: u32| {
        rt.spawn(async move {
            yield_now().await;
            n
        })
    };
    assert_eq!(rt.block_on(start(1)).unwrap(), 1);
    let task = start(2);
    assert_eq!(rt.block_on(rt.spawn(task)).unwrap().unwrap(), 2);
    let (task, inner) = (start(3), rt.clone());
    let closure = rt.offload(move || inner.block_on(task).unwrap());
    assert_eq!(rt.block_on(closure).unwrap(), 3);
    assert_eq!(other.block_on(start(4)).unwrap(), 4);
    let task = start(5);
    let there = other.spawn(async move { task.await.unwrap() });
    assert_eq!(other.block_on(there).unwrap(), 5);
    assert_eq!(drive(start(6)).unwrap(), 6);
    let task = start(7);
    assert_eq!(on_thread(move || drive(task)).unwrap(), 7);
}

fn last_waker<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..20 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let (first, first_wakes) = CountingWaker::new();
        let (second, second_wakes) = CountingWaker::new();
        assert!(poll_once(&mut task, &first).is_pending());
        assert!(poll_once(&mut task, &second).is_pending());
        puppet.polled(1);
        puppet.finish();
        eventually("the last joiner is woken", || second_wakes.get() > 0);
        assert!(matches!(poll_once(&mut task, &second), Poll::Ready(Ok(_))));
        assert_eq!(first_wakes.get(), 0, "a joiner who was replaced was woken");
    }
}

fn moves_between_executors<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let (waker, _) = CountingWaker::new();
    assert!(poll_once(&mut task, &waker).is_pending());
    // In a root, given up after one poll; then in a task elsewhere, and here.
    let mut task = rt.block_on(async {
        assert!(poll_once(&mut task, &waker).is_pending());
        task
    });
    let there = other.spawn(async move {
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut task).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        task
    });
    let task = other.block_on(there).unwrap();
    let (awaiting, is_awaited) = Gate::pair();
    let here = rt.spawn(async move {
        awaiting.open();
        task.await
    });
    is_awaited.wait();
    puppet.finish();
    assert!(rt.block_on(here).unwrap().is_ok());
}

fn ready_at_first_poll<S: Subject>() {
    let rt = build::<S>();
    for n in 0..50 {
        let (done, gate) = Gate::pair();
        let mut task = rt.spawn(async move {
            done.open();
            n
        });
        gate.wait();
        eventually("it is finished", || task.is_finished());
        let ready = poll_once(&mut task, Waker::noop());
        assert!(matches!(ready, Poll::Ready(Ok(m)) if m == n));
    }
}

fn given_up_and_taken_up<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    rt.block_on(async {
        for _ in 0..5 {
            let limit = rt.timeout(Duration::from_millis(1), &mut task).await;
            assert!(limit.is_err());
        }
    });
    puppet.finish();
    assert!(rt.block_on(task).is_ok());
}

/// A waker, and a look at how many there are of it.
fn observed_waker() -> (Waker, Arc<impl Wake + Send + Sync>) {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let arc = Arc::new(Nothing);
    (Waker::from(arc.clone()), arc)
}

fn waker_released<S: Subject>() {
    let rt = build::<S>();
    let released = |what: &str, arc: &Arc<_>| {
        eventually(what, || Arc::strong_count(arc) == 1);
    };
    // The puppet keeps a waker of the task, and so the task's memory, alive.
    for joined in [true, false] {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let (waker, arc) = observed_waker();
        assert!(poll_once(&mut task, &waker).is_pending());
        drop(waker);
        puppet.polled(1);
        puppet.finish();
        eventually("it is finished", || task.is_finished());
        if joined {
            assert!(poll_once(&mut task, Waker::noop()).is_ready());
            released(
                "the waker is released by a join, though the handle is there",
                &arc,
            );
        }
        drop(task);
        released("the waker is released with the handle", &arc);
    }
    // The handle of a task that is not finished.
    for detach in [true, false] {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let (waker, arc) = observed_waker();
        assert!(poll_once(&mut task, &waker).is_pending());
        drop(waker);
        puppet.polled(1);
        if detach {
            task.detach();
            puppet.finish();
        } else {
            drop(task);
        }
        puppet.destroyed();
        released("the waker is released with the task", &arc);
    }
    // Replaced by another.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let (waker, arc) = observed_waker();
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    assert!(poll_once(&mut task, Waker::noop()).is_pending());
    released("a waker that was replaced is released", &arc);
}

fn polled_after_ready<S: Subject>() {
    let rt = build::<S>();
    let mut task = rt.spawn(ready(1));
    eventually("it is finished", || task.is_finished());
    assert!(poll_once(&mut task, Waker::noop()).is_ready());
    for _ in 0..2 {
        let panic = caught(|| poll_once(&mut task, Waker::noop()));
        assert!(!panic.message.is_empty());
    }
    assert!(task.is_finished());
    task.abort();
    drop(task);
    assert_eq!(rt.block_on(rt.spawn(async { 2 })).unwrap(), 2);
}

fn is_finished<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..50 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let aborts = task.abort_handle();
        assert!(!task.is_finished() && !aborts.is_finished());
        puppet.polled(1);
        assert!(!task.is_finished() && !aborts.is_finished());
        puppet.finish();
        eventually("it is finished", || task.is_finished());
        assert!(aborts.is_finished());
        assert!(poll_once(&mut task, Waker::noop()).is_ready());
        assert!(task.is_finished());
    }
}

fn reentrant_waker<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..20 {
        let puppet = Puppet::new();
        let task = rt.spawn(puppet.future());
        let aborts = task.abort_handle();
        // The waker takes the handle out of here, and polls it.
        let place = Arc::new(Mutex::new(None));
        let (sender, results) = mpsc::channel();
        let (waker, _) = CountingWaker::with({
            let (place, aborts) = (place.clone(), aborts.clone());
            move || {
                let task = place.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(mut task): Option<<S::Runtime as Spawner>::Task<usize>> = task else {
                    return;
                };
                let _ = (task.is_finished(), aborts.is_finished());
                aborts.abort();
                let poll = poll_once(&mut task, Waker::noop());
                let _ = sender.send((poll, task));
            }
        });
        let mut task = task;
        assert!(poll_once(&mut task, &waker).is_pending());
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        puppet.polled(1);
        puppet.finish();
        match receive(&results) {
            (Poll::Ready(result), _task) => assert!(result.is_ok()),
            // A wake that came a little early.
            (Poll::Pending, task) => assert!(rt.block_on(task).is_ok()),
        }
    }
}

fn waker_destructor<S: Subject>() {
    struct AsksOnDrop(Box<dyn Fn() + Send + Sync>);
    impl Wake for AsksOnDrop {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for AsksOnDrop {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let rt = build::<S>();
    let asked = Counter::new();
    let asking = |aborts: fourway_core::AbortHandle, abort: bool| {
        let asked = asked.clone();
        Waker::from(Arc::new(AsksOnDrop(Box::new(move || {
            let _ = aborts.is_finished();
            if abort {
                aborts.abort();
            }
            asked.add();
        }))))
    };
    // Replaced by another waker.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let waker = asking(task.abort_handle(), false);
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    assert!(poll_once(&mut task, Waker::noop()).is_pending());
    eventually("the waker is dropped", || asked.get() == 1);
    // When it has woken, or when the handle goes; and with an abort.
    let waker = asking(task.abort_handle(), true);
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    puppet.finish();
    eventually("it is finished", || task.is_finished());
    assert!(rt.block_on(task).is_ok());
    eventually("the waker is dropped", || asked.get() == 2);
    // With the handle of a task that is not finished.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    let waker = asking(task.abort_handle(), true);
    assert!(poll_once(&mut task, &waker).is_pending());
    drop(waker);
    drop(task);
    puppet.destroyed();
    eventually("the waker is dropped", || asked.get() == 3);
}

fn join_race<S: Subject>() {
    let rt = build::<S>();
    for round in 0..200_u32 {
        let puppet = Puppet::new();
        let mut task = rt.spawn(puppet.future());
        let finisher = puppet.clone();
        let thread = thread::spawn(move || {
            for _ in 0..(round % 50) * 10 {
                std::hint::spin_loop();
            }
            finisher.finish();
        });
        // New wakers all the time, until one is told; the last must be.
        let mut first = None;
        for _ in 0..round % 7 {
            let (waker, _) = CountingWaker::new();
            if let Poll::Ready(result) = poll_once(&mut task, &waker) {
                first = Some(result);
                break;
            }
        }
        match first {
            Some(result) => assert!(result.is_ok()),
            None => assert!(drive(task).is_ok()),
        }
        thread.join().expect("the finisher does not panic");
    }
}

fn chain<S: Subject>() {
    let rt = build::<S>();
    let (go, waits) = Gate::pair();
    let mut task = rt.spawn(async move {
        waits.opened().await;
        0
    });
    for _ in 0..200 {
        let before = task;
        task = rt.spawn(async move { before.await.unwrap() + 1 });
    }
    go.open();
    assert_eq!(rt.block_on(task).unwrap(), 200);
}

fn boxed<S: Subject>() {
    let rt = build::<S>();
    let tasks: Vec<Box<dyn Task<u32>>> = (0..3_u32)
        .map(|n| Box::new(rt.spawn(async move { n })) as Box<dyn Task<u32>>)
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(rt.block_on(task).unwrap(), n);
    }
    let puppet = Puppet::new();
    let task: Box<dyn Task<usize>> = Box::new(rt.spawn(puppet.future()));
    let aborts = task.abort_handle();
    assert!(!task.is_finished());
    task.abort();
    assert_eq!(reasons(&unwrap_err(rt.block_on(task))), CANCELLED);
    assert!(aborts.is_finished());
    puppet.destroyed();
}

// JO-2

/// A future that is ready with `output` at its second poll; its destructor
/// takes its time, and counts.
fn slow_to_go<T: Unpin + Send + 'static>(
    drops: &Counter,
    output: impl FnOnce() -> T + Unpin + Send + 'static,
) -> impl Future<Output = T> + Send + 'static {
    let drops = drops.clone();
    let mut output = Some(output);
    let mut polled = false;
    HandMade {
        poll: move |cx: &mut Context<'_>| {
            if !std::mem::replace(&mut polled, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let output = output.take().expect("ready once");
            Poll::Ready(output())
        },
        on_drop: OnDrop(move || {
            // Whoever does not wait for this has time to be seen.
            (0..20).for_each(|_| thread::yield_now());
            drops.add();
        }),
    }
}

/// Joins by polling all the time, which sees the result as early as can be.
fn spin_join<T, K: Task<T>>(mut task: K) -> Result<T, JoinError> {
    let mut result = None;
    let deadline = std::time::Instant::now() + must();
    while result.is_none() {
        assert!(
            std::time::Instant::now() < deadline,
            "a join did not resolve"
        );
        match poll_once(&mut task, Waker::noop()) {
            Poll::Ready(ready) => result = Some(ready),
            Poll::Pending => std::hint::spin_loop(),
        }
    }
    result.expect("just set")
}

fn destroyed_before_join<S: Subject>() {
    let rt = build::<S>();
    for round in 0..150 {
        let drops = Counter::new();
        let task = rt.spawn(slow_to_go(&drops, || 5));
        let output = match round % 3 {
            0 => spin_join(task),
            1 => rt.block_on(task),
            _ => rt.block_on(rt.spawn(task)).unwrap(),
        };
        assert_eq!(drops.get(), 1, "the join came before the destructor's end");
        assert_eq!(output.unwrap(), 5);
    }
}

fn destroyed_before_panic_seen<S: Subject>() {
    let rt = build::<S>();
    for round in 0..60 {
        let drops = Counter::new();
        let task = rt.spawn(slow_to_go(&drops, || panic_quietly("on purpose")));
        let result: Result<(), _> = match round % 2 {
            0 => spin_join(task),
            _ => rt.block_on(task),
        };
        assert_eq!(drops.get(), 1, "the join came before the destructor's end");
        assert!(result.unwrap_err().is_panic());
    }
}

fn destroyed_before_finished<S: Subject>() {
    let rt = build::<S>();
    for round in 0..100 {
        let drops = Counter::new();
        let task = rt.spawn(slow_to_go(&drops, || 5));
        let aborts = task.abort_handle();
        if round % 4 == 3 {
            task.abort();
        }
        let deadline = std::time::Instant::now() + must();
        while !(if round % 2 == 0 {
            task.is_finished()
        } else {
            aborts.is_finished()
        }) {
            assert!(std::time::Instant::now() < deadline, "it does not finish");
            std::hint::spin_loop();
        }
        assert_eq!(drops.get(), 1, "finished before the destructor's end");
    }
}

fn captures_gone<S: Subject>() {
    let rt = build::<S>();
    for _ in 0..50 {
        let shared = Arc::new(());
        let inner = shared.clone();
        let task = rt.spawn(async move {
            yield_now().await;
            Arc::strong_count(&inner)
        });
        assert!(spin_join(task).unwrap() >= 2);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}

fn destroyed_before_shutdown_seen<S: Subject>() {
    for _ in 0..5 {
        let rt = build::<S>();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (drops, started) = (Counter::new(), Gate::new());
                let (count, starts) = (drops.clone(), started.clone());
                let task = rt.spawn(HandMade {
                    poll: move |_: &mut Context<'_>| {
                        starts.open();
                        Poll::<()>::Pending
                    },
                    on_drop: OnDrop(move || {
                        (0..20).for_each(|_| thread::yield_now());
                        count.add();
                    }),
                });
                started.wait();
                (task, drops)
            })
            .collect();
        let threads: Vec<_> = tasks
            .into_iter()
            .map(|(task, drops)| {
                thread::spawn(move || {
                    let error = spin_join(task).unwrap_err();
                    (error.is_shutdown(), drops.get())
                })
            })
            .collect();
        assert!(rt.shutdown(must()).unwrap().is_clean());
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (true, 1));
        }
    }
}

// JO-3

fn payload<S: Subject>() {
    #[derive(Debug, PartialEq)]
    struct Custom(u32, String);
    let rt = build::<S>();
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

fn hook<S: Subject>() {
    let rt = build::<S>();
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

fn hook_detached<S: Subject>() {
    let rt = build::<S>();
    let watch = HookWatch::new();
    let inner = watch.clone();
    let task = rt.spawn(async move {
        yield_now().await;
        inner.panic();
    });
    let aborts = task.abort_handle();
    task.detach();
    eventually("the hook is told", || !watch.seen().is_empty());
    // Until then it may be told once more.
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

fn workers_survive<S: Subject>() {
    let rt = build::<S>();
    panics(&rt, 300);
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    let sum = rt.block_on(rt.spawn({
        let rt = rt.clone();
        async move { rt.offload(|| 2).await.unwrap() + rt.spawn(ready(3)).await.unwrap() }
    }));
    assert_eq!(sum.unwrap(), 5);
}

fn workers_all_survive<S: Subject>() {
    let rt = build::<S>();
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

fn siblings_run<S: Subject>() {
    let rt = build::<S>();
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

fn late_panic<S: Subject>() {
    let rt = build::<S>();
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

fn destructor_after_ready<S: Subject>() {
    let rt = build::<S>();
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

fn destructor_after_panic<S: Subject>() {
    let rt = build::<S>();
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

fn output_destructor<S: Subject>() {
    let rt = build::<S>();
    let make = |watch: &HookWatch| {
        let watch = watch.clone();
        // Boxed, to be Unpin and of one type.
        let output: Box<dyn Send> = Box::new(OnDrop(move || watch.panic()));
        async move {
            yield_now().await;
            output
        }
    };
    // Finished, and then the handle goes: nothing comes out of its drop.
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
    // Detached: on whatever thread it ends.
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

fn payload_destructor<S: Subject>() {
    struct Nasty(Counter);
    impl Drop for Nasty {
        fn drop(&mut self) {
            self.0.add();
            panic_quietly("a payload's destructor");
        }
    }
    let rt = build::<S>();
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
    // Whoever takes it has it, and has to deal with it.
    let task: <S::Runtime as Spawner>::Task<()> = spawn();
    let payload = unwrap_err(rt.block_on(task)).into_panic();
    assert!(payload.is::<Nasty>());
    let result = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    assert!(result.is_err());
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn resumed<S: Subject>() {
    let rt = build::<S>();
    let watch = HookWatch::new();
    let inner = watch.clone();
    let task = rt.spawn(async move { inner.panic() });
    let error = unwrap_err::<()>(rt.block_on(task));
    let payload = catch_unwind(AssertUnwindSafe(|| error.resume_unwind())).unwrap_err();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), watch.text());
    assert_eq!(watch.seen().len(), 1);
}

fn not_the_wakers<S: Subject>() {
    let rt = build::<S>();
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
        // Were it polled here, it would panic here.
        receive(&wakers).wake();
        assert_eq!(message(unwrap_err(rt.block_on(task))), "woken");
    }
}

// JO-4

fn told_apart<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let task = rt.spawn(puppet.future());
    task.abort();
    assert_eq!(reasons(&unwrap_err(rt.block_on(task))), CANCELLED);
    let task = rt.spawn(async { panic_quietly("on purpose") });
    assert_eq!(reasons(&unwrap_err::<()>(rt.block_on(task))), PANICKED);
    let error = unwrap_err(rt.block_on(rt.spawn(pending::<()>()).cancel()));
    assert_eq!(reasons(&error), CANCELLED);
    assert!(
        error
            .try_into_panic()
            .is_err_and(|error| error.is_cancelled())
    );
}

fn shutdown_told_apart<S: Subject>() {
    let rt = build::<S>();
    let puppet = Puppet::new();
    let suspended = rt.spawn(puppet.future());
    let panicked = rt.spawn(async { panic_quietly("on purpose") });
    let cancelled = rt.spawn(pending::<()>());
    cancelled.abort();
    eventually("both have ended", || {
        panicked.is_finished() && cancelled.is_finished()
    });
    puppet.polled(1);
    assert!(rt.shutdown(must()).unwrap().is_clean());
    assert_eq!(reasons(&unwrap_err(drive(suspended))), SHUT_DOWN);
    assert_eq!(reasons(&unwrap_err::<()>(drive(panicked))), PANICKED);
    assert_eq!(reasons(&unwrap_err(drive(cancelled))), CANCELLED);
    assert_eq!(reasons(&unwrap_err(drive(rt.spawn(ready(1))))), SHUT_DOWN);
}

fn panic_while_cancelled<S: Subject>() {
    let rt = build::<S>();
    // By itself.
    let (sender, handles) = mpsc::channel::<fourway_core::AbortHandle>();
    let task = rt.spawn(async move {
        receive(&handles).abort();
        panic_quietly("by itself")
    });
    let _ = sender.send(task.abort_handle());
    assert_eq!(message(unwrap_err::<()>(rt.block_on(task))), "by itself");
    // By another thread.
    let (started, has_started) = Gate::pair();
    let (go, waits) = Gate::pair();
    let task = rt.spawn(async move {
        started.open();
        waits.wait();
        panic_quietly("by another")
    });
    has_started.wait();
    task.abort();
    go.open();
    assert_eq!(message(unwrap_err::<()>(rt.block_on(task))), "by another");
    // And the way out of such a poll through the destructor alone.
    let task = rt.spawn(async { panic_quietly("before") });
    eventually("it is finished", || task.is_finished());
    assert_eq!(
        message(unwrap_err::<()>(rt.block_on(task.cancel()))),
        "before"
    );
}

fn first_reason_stays<S: Subject>() {
    let rt = build::<S>();
    let (first, second) = (Puppet::new(), Puppet::new());
    let (before, after) = (rt.spawn(first.future()), rt.spawn(second.future()));
    let aborts = after.abort_handle();
    first.polled(1);
    second.polled(1);
    before.abort();
    assert!(rt.shutdown(must()).unwrap().is_clean());
    aborts.abort();
    after.abort();
    assert_eq!(reasons(&unwrap_err(drive(before))), CANCELLED);
    assert_eq!(reasons(&unwrap_err(drive(after.cancel()))), SHUT_DOWN);
    first.destroyed();
    second.destroyed();
}

fn words<S: Subject>() {
    let rt = build::<S>();
    let cancelled = unwrap_err(rt.block_on(rt.spawn(pending::<()>()).cancel()));
    let task = rt.spawn(async { panic_quietly("the reason why") });
    let panicked = unwrap_err::<()>(rt.block_on(task));
    assert!(cancelled.to_string().contains("cancelled"));
    assert!(panicked.to_string().contains("the reason why"));
    assert_ne!(cancelled.to_string(), panicked.to_string());
    assert_ne!(format!("{cancelled:?}"), format!("{panicked:?}"));
}

// JO-5

fn resolve_at_shutdown<S: Subject>() {
    let rt = build::<S>();
    let other = other_runtime();
    let puppets: Vec<Puppet> = (0..4).map(|_| Puppet::new()).collect();
    let mut tasks = puppets.iter().map(|puppet| rt.spawn(puppet.future()));
    let mut next = || tasks.next().expect("four");
    // Who waits: a thread by hand, a block_on of the runtime, another runtime's
    // task; and one whose handle is not polled before the end.
    let (sender, results) = mpsc::channel();
    let (by_hand, at_hand) = (next(), sender.clone());
    let first = thread::spawn(move || at_hand.send(drive(by_hand)));
    let (blocked, at_block, inner) = (next(), sender.clone(), rt.clone());
    let second = thread::spawn(move || at_block.send(inner.block_on(blocked)));
    let elsewhere = next();
    let there = other.spawn(async move { sender.send(elsewhere.await) });
    let unpolled = next();
    for puppet in &puppets {
        puppet.polled(1);
    }
    assert!(rt.shutdown(must()).unwrap().is_clean());
    for _ in 0..3 {
        assert_eq!(reasons(&unwrap_err(receive(&results))), SHUT_DOWN);
    }
    assert_eq!(reasons(&unwrap_err(drive(unpolled))), SHUT_DOWN);
    for thread in [first, second] {
        eventually("the joiner ends", || thread.is_finished());
    }
    assert!(other.block_on(there).is_ok());
    puppets.iter().for_each(Puppet::destroyed);
}

fn resolve_at_drop<S: Subject>() {
    let rt = build::<S>();
    let puppets: Vec<Puppet> = (0..5).map(|_| Puppet::new()).collect();
    let tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
    for puppet in &puppets {
        puppet.polled(1);
    }
    drop(rt);
    if !S::capabilities().shutdown {
        // The tasks belong to an executor that goes on, and so may they.
        puppets.iter().for_each(Puppet::finish);
    }
    for task in tasks {
        match drive(task) {
            Ok(polls) => assert!(!S::capabilities().shutdown && polls > 1),
            Err(error) => assert_eq!(reasons(&error), SHUT_DOWN),
        }
    }
    puppets.iter().for_each(Puppet::destroyed);
}

fn output_survives<S: Subject>() {
    let rt = build::<S>();
    let drops = Counter::new();
    let spawn = || {
        let value = drops.on_drop();
        let task = rt.spawn(async move { value });
        eventually("it is finished", || task.is_finished());
        task
    };
    let (joined, dropped, detached) = (spawn(), spawn(), spawn());
    if S::capabilities().shutdown {
        assert!(rt.shutdown(must()).unwrap().is_clean());
    }
    drop(rt);
    assert!(joined.is_finished());
    assert_eq!(drops.get(), 0);
    let Ok(output) = drive(joined) else {
        panic!("the output was there");
    };
    drop(output);
    assert_eq!(drops.get(), 1);
    drop(dropped);
    eventually("the second output is dropped", || drops.get() == 2);
    detached.detach();
    eventually("the third output is dropped", || drops.get() == 3);
}

fn mutual_wait<S: Subject>() {
    let rt = build::<S>();
    // A ring: each task owns the handle of the one before it, and waits for it.
    let puppet = Puppet::new();
    let mut task = rt.spawn(puppet.future());
    for _ in 0..20 {
        let before = task;
        task = rt.spawn(async move {
            let _ = before.await;
            pending().await
        });
    }
    puppet.polled(1);
    assert!(rt.shutdown(must()).unwrap().is_clean());
    assert_eq!(reasons(&unwrap_err(drive(task))), SHUT_DOWN);
    puppet.destroyed();
}

fn all_states<S: Subject>() {
    for _ in 0..3 {
        let rt = build::<S>();
        let puppets: Vec<Puppet> = (0..60).map(|_| Puppet::new()).collect();
        let mut tasks: Vec<_> = puppets.iter().map(|p| rt.spawn(p.future())).collect();
        for (n, puppet) in puppets.iter().enumerate() {
            match n % 4 {
                // Not polled yet, perhaps; suspended; woken; finished.
                0 => {}
                1 => puppet.polled(1),
                2 => {
                    puppet.polled(1);
                    puppet.wake();
                }
                _ => puppet.finish(),
            }
        }
        // Some are attended to, some are not.
        for (n, task) in tasks.split_off(30).into_iter().enumerate() {
            if n % 2 == 0 {
                task.detach();
            } else {
                drop(task);
            }
        }
        assert!(rt.shutdown(must()).unwrap().is_clean());
        for (n, task) in tasks.into_iter().enumerate() {
            match drive(task) {
                Ok(_) => assert_eq!(n % 4, 3),
                Err(error) => assert_eq!(reasons(&error), SHUT_DOWN),
            }
        }
        for puppet in &puppets {
            assert_eq!(puppet.drops(), 1);
            puppet.sound();
        }
    }
}

fn closures_resolve_at_drop<S: Subject>() {
    let rt = build_with::<S>(|config| config.offload_limit = 1);
    let (go, waits) = Gate::pair();
    let (started, has_started) = Gate::pair();
    let running = rt.offload(move || {
        started.open();
        waits.wait();
        1
    });
    has_started.wait();
    let queued: Vec<_> = (0..5).map(|n| rt.offload(move || n)).collect();
    drop(rt);
    go.open();
    // A running closure ends as it would; a queued one runs or is refused.
    assert_eq!(drive(running).unwrap(), 1);
    for (n, task) in queued.into_iter().enumerate() {
        match drive(task) {
            Ok(output) => assert_eq!(output, n),
            Err(error) => assert_eq!(reasons(&error), SHUT_DOWN),
        }
    }
}
