//! JO-2, destroyed before the join.

use std::{
    sync::Arc,
    task::{Context, Poll},
    thread,
};

use fourway_core::{BlockOn, Shutdown, Spawner, Task, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Counter, Gate, HandMade, OnDrop, must, panic_quietly},
};

use super::spin_join;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "JO-2.1", "the future is destroyed before a join sees the output",
        "tokio 7825, async-task: whoever joins may reuse what the future held", destroyed_before_join;
        "JO-2.2", "the future is destroyed before a join sees its panic",
        "the path of a panic is another one", destroyed_before_panic_seen;
        "JO-2.3", "the future is destroyed before is_finished says so, asked anywhere",
        "a state that is set before the destructor has run", destroyed_before_finished;
        "JO-2.4", "what the future captured is gone when the join is over",
        "an Arc that should be unique by then", captures_gone;
        "JO-2.5", "the future is destroyed before a join sees the shutdown",
        "tasks that are reported first and destroyed later", destroyed_before_shutdown_seen, needs [Shutdown];
    ]
}

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
            // A runtime that does not wait for this has time to be caught.
            (0..20).for_each(|_| thread::yield_now());
            drops.add();
        }),
    }
}

fn destroyed_before_join<S: Setup>(s: S) {
    let rt = s.build();
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

fn destroyed_before_panic_seen<S: Setup>(s: S) {
    let rt = s.build();
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

fn destroyed_before_finished<S: Setup>(s: S) {
    let rt = s.build();
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

fn captures_gone<S: Setup>(s: S) {
    let rt = s.build();
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

fn destroyed_before_shutdown_seen<S: Setup>(s: S) {
    for _ in 0..5 {
        let rt = s.build();
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
