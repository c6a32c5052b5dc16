//! `JoinSet` and `TaskTracker`.

mod from_tokio;

use std::{
    future::{IntoFuture, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use fourway_core::{AnyRuntime, Spawner, Task, task::Metadata, yield_now};
use fourway_nursery::{JoinSet, TaskTracker};
use fourway_testing::{Counter, Gate, each, eventually, panic_quietly, poll_once, run};

#[test]
fn a_set_joins_in_the_order_of_ending_with_every_kind_of_end() {
    each(|rt| {
        run(&rt, async {
            let mut set = JoinSet::on(rt.clone());
            let gate = Gate::default();
            let second = gate.clone();
            set.spawn(async move {
                second.pass().await;
                1
            });
            set.spawn_blocking(|| 2);
            assert_eq!(set.join_next().await.unwrap().unwrap(), 2);
            gate.open();
            assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
            assert!(set.join_next().await.is_none());

            set.spawn(async { panic_quietly("payload") });
            let error = set.join_next().await.unwrap().unwrap_err();
            assert_eq!(error.into_panic().downcast_ref(), Some(&"payload"));

            let abort = set.spawn(pending());
            abort.abort();
            assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());

            for i in 0..10 {
                set.spawn(async move { i });
            }
            let mut all = set.join_all().await;
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        });
    });
}

#[test]
fn a_set_aborts_on_drop_lets_go_when_asked_and_shuts_down() {
    each(|rt| {
        let dropped = Counter::default();
        let guarded = |gate: Gate| {
            let on_drop = dropped.on_drop();
            async move {
                let _on_drop = on_drop;
                gate.pass().await;
            }
        };
        run(&rt, async {
            let mut set = JoinSet::on(rt.clone());
            set.spawn(guarded(Gate::default()));
            drop(set);
        });
        eventually("the task is destroyed", || dropped.get() == 1);
        run(&rt, async {
            let gate = Gate::default();
            let mut set = JoinSet::on(rt.clone());
            set.spawn(guarded(gate.clone()));
            set.detach_all();
            assert!(set.is_empty() && set.join_next().await.is_none());
            set.spawn(guarded(Gate::default()));
            set.shutdown().await;
            assert_eq!((set.len(), dropped.get()), (0, 2));
            gate.open();
        });
        eventually("the task has ended", || dropped.get() == 3);
    });
}

#[test]
fn a_dropped_set_drops_what_nobody_has_taken_at_once_and_the_rest_where_it_ends() {
    each(|rt| {
        let dropped = Counter::default();
        let (gate, runs) = (Gate::default(), Gate::default());
        run(&rt, async {
            let mut set = JoinSet::on(rt.clone());
            let (on_drop, last) = (dropped.on_drop(), dropped.on_drop());
            let late = dropped.on_drop();
            set.extend([std::future::ready(on_drop)]);
            let (wait, is_there) = (gate.clone(), runs.clone());
            set.spawn_blocking(move || {
                is_there.open();
                wait.wait();
                late
            });
            runs.pass().await;
            set.spawn(async { last });
            // One of the two; the other is there, or about to be.
            drop(set.join_next().await.unwrap().unwrap());
            drop(set);
        });
        eventually("all but the closure's", || dropped.get() == 2);
        gate.open();
        eventually("the closure's", || dropped.get() == 3);
    });
}

#[test]
fn a_set_says_by_number_and_uses_the_runtime_it_is_in() {
    each(|rt| {
        let task = rt.spawn(async {
            let mut set = JoinSet::new();
            set.spawn(async { yield_now().await });
            let (first, ()) = set.join_next_with_id().await.unwrap().unwrap();
            set.spawn(async {});
            let (second, ()) = set.join_next_with_id().await.unwrap().unwrap();
            assert!(first != second && set.try_join_next_with_id().is_none());
        });
        run(&rt, task).unwrap();
    });
    let outside = std::panic::catch_unwind(|| JoinSet::new().spawn(async {}));
    let message = outside.unwrap_err();
    assert!(
        message
            .downcast_ref::<String>()
            .unwrap()
            .contains("JoinSet::on")
    );
}

/// A waker that counts.
struct Woken(Counter);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.add();
    }
}

#[test]
fn trying_to_join_takes_nothing_from_the_one_who_waits() {
    each(|rt| {
        let woken = Counter::default();
        let waker = std::task::Waker::from(std::sync::Arc::new(Woken(woken.clone())));
        let mut cx = std::task::Context::from_waker(&waker);
        let gate = Gate::default();
        let mut set = JoinSet::on(rt.clone());
        let passes = gate.clone();
        set.spawn(async move { passes.pass().await });
        assert!(set.poll_join_next(&mut cx).is_pending());
        assert!(set.try_join_next().is_none());
        gate.open();
        run(&rt, async {
            while woken.get() == 0 {
                yield_now().await;
            }
        });
        assert!(set.try_join_next().unwrap().is_ok());
    });
}

#[test]
fn a_set_does_not_hide_that_its_own_task_was_cancelled() {
    each(|rt| {
        let begun = Gate::default();
        let entered = begun.clone();
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let mut set = JoinSet::on(inner);
            set.spawn(pending::<()>());
            entered.open();
            set.join_next().await.is_none()
        });
        run(&rt, begun.pass());
        let ended = run(&rt, task.cancel());
        assert!(ended.unwrap_err().is_cancelled());
    });
}

#[test]
fn a_tracker_waits_for_what_it_counts() {
    each(|rt| {
        let (tracker, gate, dropped) = (TaskTracker::new(), Gate::default(), Counter::default());
        run(&rt, async {
            for _ in 0..5 {
                let (gate, on_drop) = (gate.clone(), dropped.on_drop());
                // The handle is dropped, and the task goes on.
                tracker.spawn_on(
                    async move {
                        gate.pass().await;
                        drop(on_drop);
                    },
                    &rt,
                );
                let on_drop = dropped.on_drop();
                tracker.spawn_blocking_on(move || drop(on_drop), &rt);
            }
            let joined = tracker.spawn_on(async { 7 }, &rt);
            assert_eq!(joined.await.unwrap(), 7);
            let mut waiting = pin!(tracker.wait());
            assert!(poll_once(waiting.as_mut()).await.is_pending());
            assert!(tracker.close() && !tracker.close());
            assert!(poll_once(waiting.as_mut()).await.is_pending());
            gate.open();
            waiting.await;
            assert_eq!(dropped.get(), 10);
            // Empty and closed it ends at once; open it does not.
            tracker.wait().await;
            assert!(tracker.reopen());
            let token = tracker.token();
            assert!(poll_once(pin!(tracker.wait())).await.is_pending());
            assert_eq!(token.clone().task_tracker().len(), 2);
        });
    });
}

#[test]
fn a_spawn_that_is_refused_leaves_nothing_in_the_set() {
    each(|rt| {
        let mut set = JoinSet::new();
        // In no runtime.
        let spawned = catch_unwind(AssertUnwindSafe(|| set.spawn(async {})));
        assert!(spawned.is_err() && set.is_empty());
        let offloaded = catch_unwind(AssertUnwindSafe(|| set.spawn_blocking(|| ())));
        assert!(offloaded.is_err() && set.is_empty());
        has_nothing_left(&rt, set);
    });
}

/// Only the task that is spawned next is in it.
fn has_nothing_left(rt: &AnyRuntime, mut set: JoinSet<()>) {
    set.spawn_on(pending(), rt);
    set.abort_all();
    let ended = run(rt, set.join_next());
    assert!(ended.unwrap().unwrap_err().is_cancelled());
    assert!(run(rt, set.join_next()).is_none());
}

/// A runtime that panics where it would spawn drops the task, which tells of its end.
#[test]
fn a_runtime_that_panics_leaves_nothing_in_the_set() {
    #[derive(Clone, Debug)]
    struct Panics;
    impl Spawner for Panics {
        type Task<T: Send + 'static> = <AnyRuntime as Spawner>::Task<T>;

        fn spawn_with<F>(&self, _: Metadata, _future: F) -> Self::Task<F::Output>
        where
            F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
        {
            panic_quietly("no room")
        }
    }
    each(|rt| {
        let mut set = JoinSet::new();
        let spawned = catch_unwind(AssertUnwindSafe(|| set.spawn_on(async {}, &Panics)));
        assert!(spawned.is_err());
        has_nothing_left(&rt, set);
    });
}

#[test]
fn an_aborted_closure_that_runs_gives_no_output() {
    each(|rt| {
        for erased in [false, true] {
            let (running, go) = (Gate::default(), Gate::default());
            let dropped = Counter::default();
            let on_drop = dropped.on_drop();
            let closure = {
                let (running, go) = (running.clone(), go.clone());
                move || {
                    running.open();
                    go.wait();
                    Some(on_drop)
                }
            };
            run(&rt, async {
                let mut set = JoinSet::on(rt.clone());
                let abort = match erased {
                    true => set.spawn_blocking_on(closure, &rt),
                    false => set.spawn_blocking(closure),
                };
                running.pass().await;
                abort.abort();
                go.open();
                let (id, error) = set.join_next_with_id().await.unwrap().err().unwrap();
                assert!(error.is_cancelled(), "{error:?}");
                assert_eq!((id, dropped.get()), (abort.id(), 1));

                let abort = set.spawn_blocking(|| None);
                let (id, output) = set.join_next_with_id().await.unwrap().ok().unwrap();
                assert!(output.is_none());
                assert_eq!(id, abort.id());
                let abort = set.spawn(async { None });
                let (id, _) = set.join_next_with_id().await.unwrap().ok().unwrap();
                assert_eq!(id, abort.id());
            });
        }
    });
}

#[test]
fn a_set_is_sync_whether_or_not_its_results_are() {
    fn is_sync<T: Sync>() {}
    is_sync::<JoinSet<std::cell::Cell<u8>>>();
}
