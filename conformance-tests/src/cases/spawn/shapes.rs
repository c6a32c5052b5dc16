//! SP-4, futures and outputs of any size: of the runtime's own, as all erased ones have one size.

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll},
};

use fourway_core::{BlockOn, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, eventually, never, receive},
};

pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SP-4.1", "large futures and outputs arrive intact",
        "Tokio boxes large futures on another path", large;
        "SP-4.2", "futures and outputs without size work",
        "pointer arithmetic and allocation of nothing", zero_sized;
        "SP-4.3", "an output is dropped once, whoever is left with it",
        "async-executor tests it: once in each of three orders", output_dropped_once;
        "SP-4.4", "over-aligned futures and outputs are aligned",
        "hand-made layouts forget the padding", aligned;
        "SP-4.5", "a future stays where it is from its first poll to its destruction",
        "a future that is moved after being polled is undefined behaviour", pinned;
        "SP-4.6", "outputs and locals that are Send but not Sync work",
        "a bound too many shuts out half the ecosystem", not_sync;
        "SP-4.7", "a task may be suspended ten thousand times",
        "budgets and counters that run out", many_suspensions;
        "SP-4.8", "hundreds of tasks at a time give each its own output",
        "slots that are reused too early mix up results", many_tasks;
        "SP-4.9", "the runtime's handle may be part of the future and of the output",
        "cycles through the handle keep a runtime alive or destroy it in its own thread", handle_inside;
    ]
}

const LARGE: usize = 64 * 1024;

fn pattern(seed: usize) -> [u8; LARGE] {
    std::array::from_fn(|i| u8::try_from((i * 31 + seed) % 251).unwrap_or_default())
}

fn large<S: Setup>(s: S) {
    let rt = s.build();
    let tasks: Vec<_> = (0..4)
        .map(|seed| {
            let input = pattern(seed);
            rt.spawn(async move {
                let copy = input;
                yield_now().await;
                assert!(copy == pattern(seed));
                yield_now().await;
                copy
            })
        })
        .collect();
    for (seed, task) in tasks.into_iter().enumerate() {
        let output = rt.block_on(task).unwrap();
        assert!(output == pattern(seed));
    }
    // Large, with a small output; and cancelled.
    let input = pattern(9);
    let task = rt.spawn(async move {
        yield_now().await;
        input[7]
    });
    assert_eq!(rt.block_on(task).unwrap(), pattern(9)[7]);
    let task = rt.spawn(async move {
        pending::<()>().await;
        input
    });
    assert!(rt.block_on(task.cancel()).is_err());
}

fn zero_sized<S: Setup>(s: S) {
    struct Nothing;
    impl Future for Nothing {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
    struct Never;
    impl Future for Never {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
    let rt = s.build();
    assert_eq!(size_of::<Nothing>() + size_of::<Never>(), 0);
    for _ in 0..20 {
        rt.block_on(rt.spawn(Nothing)).unwrap();
        let error = rt.block_on(rt.spawn(Never).cancel()).unwrap_err();
        assert!(error.is_cancelled());
        let empty: [u64; 0] = rt.block_on(rt.spawn(async { [] })).unwrap();
        assert!(empty.is_empty());
    }
}

fn output_dropped_once<S: Setup>(s: S) {
    let rt = s.build();
    for _ in 0..20 {
        // Joined.
        let drops = Counter::new();
        let value = drops.on_drop();
        let output = rt.block_on(rt.spawn(async move { value })).unwrap();
        assert_eq!(drops.get(), 0);
        drop(output);
        assert_eq!(drops.get(), 1);
        // The task ends first.
        let drops = Counter::new();
        let value = drops.on_drop();
        let task = rt.spawn(async move { value });
        eventually("it is finished", || task.is_finished());
        assert_eq!(drops.get(), 0);
        drop(task);
        assert_eq!(drops.get(), 1);
        // The handle is dropped first.
        let drops = Counter::new();
        let value = drops.on_drop();
        drop(rt.spawn(async move { value }));
        eventually("the output or the future is dropped", || drops.get() == 1);
        // The output is never taken.
        let drops = Counter::new();
        let value = drops.on_drop();
        let (go, waits) = Gate::pair();
        rt.spawn(async move {
            waits.opened().await;
            value
        })
        .detach();
        go.open();
        eventually("the output of a detached task is dropped", || {
            drops.get() == 1
        });
        // Detached when it was there already.
        let drops = Counter::new();
        let value = drops.on_drop();
        let task = rt.spawn(async move { value });
        eventually("it is finished", || task.is_finished());
        task.detach();
        eventually("its output is dropped", || drops.get() == 1);
    }
}

fn aligned<S: Setup>(s: S) {
    #[repr(align(256))]
    struct Aligned(u8);
    fn check(value: &Aligned) -> u8 {
        let address = std::ptr::from_ref(value).addr();
        assert_eq!(address % align_of::<Aligned>(), 0);
        value.0
    }
    let rt = s.build();
    for n in 0..20 {
        let input = Aligned(n);
        let output = rt.block_on(rt.spawn(async move {
            check(&input);
            yield_now().await;
            check(&input);
            input
        }));
        assert_eq!(check(&output.unwrap()), n);
    }
}

fn pinned<S: Setup>(s: S) {
    /// Knows its address from its first poll on.
    struct Located {
        at: Option<usize>,
        left: u32,
        moved: Counter,
        drops: Counter,
    }
    impl Located {
        fn look(&mut self) {
            let here = std::ptr::from_ref(self).addr();
            if *self.at.get_or_insert(here) != here {
                self.moved.add();
            }
        }
    }
    impl Drop for Located {
        fn drop(&mut self) {
            self.look();
            self.drops.add();
        }
    }
    let rt = s.build();
    let (moved, drops) = (Counter::new(), Counter::new());
    for end in [true, false] {
        let mut located = Located {
            at: None,
            left: 50,
            moved: moved.clone(),
            drops: drops.clone(),
        };
        let (waits, started) = Gate::pair();
        // An async block keeps its locals inside of itself.
        let task = rt.spawn(async move {
            while located.left > 0 {
                located.look();
                located.left -= 1;
                yield_now().await;
            }
            waits.open();
            if !end {
                pending::<()>().await;
            }
            located.look();
        });
        started.wait();
        if end {
            rt.block_on(task).unwrap();
        } else {
            rt.block_on(task.cancel()).unwrap_err();
        }
    }
    assert_eq!((moved.get(), drops.get()), (0, 2));
}

fn not_sync<S: Setup>(s: S) {
    let rt = s.build();
    let cell = Cell::new(1);
    let output = rt.block_on(rt.spawn(async move {
        cell.set(cell.get() + 1);
        yield_now().await;
        cell
    }));
    assert_eq!(output.unwrap().get(), 2);
    // A guard of a channel, moved between polls.
    let (sender, receiver) = mpsc::channel();
    let task = rt.spawn(async move {
        yield_now().await;
        sender.send(3).unwrap();
        sender
    });
    drop(rt.block_on(task).unwrap());
    assert_eq!(receive(&receiver), 3);
}

fn many_suspensions<S: Setup>(s: S) {
    let rt = s.build();
    let task = rt.spawn(async {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls == 10_000 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        polls
    });
    assert_eq!(rt.block_on(task).unwrap(), 10_000);
}

fn many_tasks<S: Setup>(s: S) {
    let rt = s.build();
    let (go, waits) = Gate::pair();
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let waits = waits.clone();
            rt.spawn(async move {
                waits.opened().await;
                (n, vec![n; n % 7])
            })
        })
        .collect();
    never("a task is finished too early", || {
        tasks.iter().any(Task::is_finished)
    });
    go.open();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(rt.block_on(task).unwrap(), (n, vec![n; n % 7]));
    }
}

fn handle_inside<S: Setup>(s: S) {
    let rt = s.build();
    let inside = Arc::new(Mutex::new(None));
    let (inner, place) = (rt.clone(), inside.clone());
    let task = rt.spawn(async move {
        yield_now().await;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(inner.clone());
        drop(place);
        inner
    });
    let output = rt.block_on(task).unwrap();
    drop(rt);
    let other = inside.lock().unwrap_or_else(PoisonError::into_inner).take();
    assert_eq!(output.block_on(output.spawn(async { 1 })).unwrap(), 1);
    drop(output);
    let other = other.expect("the task has left a handle");
    assert_eq!(other.block_on(other.spawn(async { 2 })).unwrap(), 2);
}
