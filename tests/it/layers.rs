//! A layer is found again by the work that came through it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::every;
use fourway::{
    Ambient, AnyRuntime, Compose,
    call::Call,
    forward,
    layer::{Layers, Propagate},
    prelude::*,
    task::Metadata,
    values::{Key, Values},
};

static KEY: Key<u32> = Key::new("key");

/// Spawns a parent where the value is 7. Gives the value that its child sees, which is spawned on
/// the runtime that the parent found.
fn child_sees(rt: &impl Runtime) -> Option<u32> {
    let parent = async {
        let found = fourway::default_runtime();
        found.spawn(async { KEY.get() }).await.unwrap()
    };
    let task = Values::current().with(&KEY, 7).scope(|| rt.spawn(parent));
    rt.block_on(task).unwrap()
}

#[test]
fn a_child_that_is_spawned_by_the_default_runtime_has_the_values() {
    every(|rt| {
        assert_eq!(child_sees(&rt), None);
        assert_eq!(child_sees(&Propagate::new(rt.clone())), Some(7));
        let erased = AnyRuntime::new(Propagate::new(rt.clone()));
        assert_eq!(child_sees(&erased), Some(7));
        let twice = Propagate::new(AnyRuntime::new(Propagate::new(rt.clone())));
        assert_eq!(child_sees(&twice), Some(7));
        let composed = Compose::new(Propagate::new(rt.clone()), rt.clone());
        assert_eq!(child_sees(&composed), Some(7));
        let around = Propagate::new(Compose::new(rt.clone(), rt.clone()));
        assert_eq!(child_sees(&around), Some(7));
        let leaked: &'static Propagate<AnyRuntime> = Box::leak(Box::new(Propagate::new(rt)));
        assert_eq!(child_sees(&leaked), Some(7));
    });
    assert_eq!(child_sees(&Propagate::new(Ambient)), Some(7));
}

#[test]
fn every_way_to_run_something_finds_the_layer() {
    fn through_current() -> Option<u32> {
        let found = fourway::current().expect("this is work of a runtime");
        let task = found.offload(|| KEY.get());
        std::thread::spawn(move || found.block_on(task).unwrap())
            .join()
            .unwrap()
    }
    every(|rt| {
        let rt = Propagate::new(rt);
        let seen = Values::current().with(&KEY, 7).scope(|| {
            let spawned = rt.spawn(async { through_current() });
            let offloaded = rt.offload(through_current);
            let tried = rt.try_offload(through_current).unwrap();
            let (tell, told) = std::sync::mpsc::channel();
            rt.spawn_detached(async move { tell.send(through_current()).unwrap() });
            [
                rt.block_on(spawned).unwrap(),
                rt.block_on(offloaded).unwrap(),
                rt.block_on(tried).unwrap(),
                rt.block_on(async { through_current() }),
                rt.try_block_on(async { through_current() }).unwrap(),
                rt.call(async { through_current() }).wait(),
                told.recv().unwrap(),
            ]
        });
        assert_eq!(seen, [Some(7); 7]);
        // Outside, there is none; and a bare one is a bare one.
        assert!(fourway::current().is_none());
        let bare = rt.into_inner();
        let value = Values::current().with(&KEY, 7);
        let seen = value.scope(|| bare.block_on(bare.offload(through_current)));
        assert_eq!(seen.unwrap(), None);
    });
}

/// Counts all spawned tasks.
#[derive(Clone, Debug)]
struct Counted<R> {
    inner: R,
    count: Arc<AtomicUsize>,
}

impl<R: Spawner> Spawner for Counted<R> {
    type Task<T: Send + 'static> = R::Task<T>;

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> Self::Task<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        self.count.fetch_add(1, Ordering::SeqCst);
        let future = self.layers().scope_future(future.into_future());
        self.inner.spawn_with(metadata, future)
    }

    fn layers(&self) -> Layers {
        let count = self.count.clone();
        self.inner.layers().and_with(move |inner| {
            AnyRuntime::new(Counted {
                inner,
                count: count.clone(),
            })
        })
    }
}

forward!([R: BlockOn] BlockOn for Counted<R> as R => |this| &this.inner);
forward!([R: Offload] Offload for Counted<R> as R => |this| &this.inner);
forward!([R: Timer] Timer for Counted<R> as R => |this| &this.inner);
forward!([R: Shutdown] Shutdown for Counted<R> as R => |this| &this.inner);

#[test]
fn nested_layers_are_all_there_once_at_any_depth() {
    every(|rt| {
        let (outer, inner) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let rt = Counted {
            inner: Propagate::new(Counted {
                inner: rt,
                count: inner.clone(),
            }),
            count: outer.clone(),
        };
        fn deeper(depth: u32) -> fourway::BoxCall<Option<u32>> {
            let found = fourway::default_runtime();
            found
                .call_with(move || async move {
                    match depth {
                        0 => KEY.get(),
                        _ => deeper(depth - 1).spawn().await.unwrap(),
                    }
                })
                .boxed()
        }
        let seen = Values::current()
            .with(&KEY, 7)
            .scope(|| rt.spawn(async { deeper(5).spawn().await.unwrap() }));
        assert_eq!(rt.block_on(seen).unwrap(), Some(7));
        let counts = [outer, inner].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts, [7, 7]);
    });
}

/// Spawns a task on the runtime that it finds when it becomes a future.
struct SpawnsFirst;

impl IntoFuture for SpawnsFirst {
    type Output = ();
    type IntoFuture = std::future::Ready<()>;

    fn into_future(self) -> Self::IntoFuture {
        fourway::default_runtime().spawn_detached(async {});
        std::future::ready(())
    }
}

/// The layer passes `block_on` on as it is: the future finds it because the caller does.
#[test]
fn work_that_is_given_to_the_ambient_runtime_finds_the_layer() {
    every(|rt| {
        let count = Arc::new(AtomicUsize::new(0));
        let rt = Counted {
            inner: rt,
            count: count.clone(),
        };
        let spawned = {
            let count = count.clone();
            move |f: &dyn Fn()| {
                let before = count.load(Ordering::SeqCst);
                f();
                count.load(Ordering::SeqCst) - before
            }
        };
        let task = rt.spawn(async move {
            let tasks = [
                spawned(&|| Ambient.spawn(SpawnsFirst).detach()),
                spawned(&|| Ambient.spawn_detached(SpawnsFirst)),
            ];
            let in_place = Ambient.block_in_place(|| {
                let spawns = || async { fourway::default_runtime().spawn_detached(async {}) };
                [
                    spawned(&|| Ambient.block_on(SpawnsFirst)),
                    spawned(&|| Ambient.try_block_on(SpawnsFirst).unwrap()),
                    spawned(&|| Ambient.block_on(spawns())),
                    spawned(&|| Ambient.try_block_on(spawns()).unwrap()),
                ]
            });
            (tasks, in_place)
        });
        let (tasks, in_place) = rt.block_on(task).unwrap();
        assert_eq!(tasks, [2; 2], "of {rt:?}");
        // Some runtimes have no place to block in.
        if let Ok(in_place) = in_place {
            assert_eq!(in_place, [1; 4], "of {rt:?}");
        }
    });
}

#[test]
fn another_runtime_inside_is_found_bare() {
    every(|rt| {
        let other = fourway::std_thread::StdThread::new().unwrap();
        let layered = Propagate::new(rt);
        let closure = Values::current().with(&KEY, 7).scope(|| {
            layered.offload(move || {
                let find = || fourway::current().unwrap();
                let here = find().type_name();
                let there = other.block_on(async { find().type_name() });
                let in_it = Propagate::new(other).block_on(async { find().type_name() });
                [here, there, in_it, find().type_name()]
            })
        });
        let [here, there, in_it, again] = layered.block_on(closure).unwrap();
        assert!(
            here.contains("Propagate") && again == here,
            "{here} {again}"
        );
        assert!(!there.contains("Propagate"), "{there}");
        assert!(in_it.contains("Propagate"), "{in_it}");
    });
}

#[test]
fn what_a_composed_runtime_runs_finds_both_parts() {
    every(|rt| {
        let pool = fourway::std_thread::StdThread::builder()
            .thread_name("apart")
            .build()
            .unwrap();
        let rt = Compose::new(rt, pool);
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        let where_tasks_run = rt.block_on(rt.spawn(async move { name() })).unwrap();
        let where_closures_run = rt.block_on(rt.offload(name)).unwrap();
        let again = move || async move {
            let found = fourway::current().unwrap();
            let task = found.spawn(async move { name() });
            let closure = found.offload(name);
            (task.await.unwrap(), closure.await.unwrap())
        };
        let kind = |name: &str| name.contains("apart");
        assert!(!kind(&where_tasks_run) && kind(&where_closures_run));
        let (task, closure) = rt.block_on(rt.spawn(again())).unwrap();
        assert!(!kind(&task) && kind(&closure), "{task}, {closure}");
        // From a closure as well.
        let inner = rt.clone();
        let nested = rt.offload(move || {
            let future = again();
            inner.block_on(future)
        });
        let (task, closure) = rt.block_on(nested).unwrap();
        assert!(!kind(&task) && kind(&closure), "{task}, {closure}");
        let found = rt.offload(move || {
            let found = fourway::current().unwrap();
            let task = found.spawn(async move { name() });
            std::thread::spawn(move || found.block_on(task).unwrap())
                .join()
                .unwrap()
        });
        assert!(!kind(&rt.block_on(found).unwrap()));
    });
}

#[test]
fn a_layered_runtime_ends_with_its_last_handle() {
    let build = || {
        let builder = fourway::std_thread::StdThread::builder();
        builder.worker_threads(1).offload_limit(1).build().unwrap()
    };
    fn ends(rt: impl Runtime) {
        let suspended = rt.spawn(std::future::pending::<()>());
        let (go, waits) = std::sync::mpsc::channel::<()>();
        let (started, starts) = std::sync::mpsc::channel();
        let running = rt.offload(move || {
            started.send(()).unwrap();
            waits.recv().unwrap_err();
        });
        starts.recv().unwrap();
        let queued = rt.offload(|| ());
        drop(rt);
        // The running closure need not end for that.
        assert!(rt_free(queued).unwrap_err().is_shutdown());
        drop(go);
        rt_free(running).unwrap();
        assert!(rt_free(suspended).unwrap_err().is_shutdown());
    }
    /// Without the runtime, and without helping: the thread is parked.
    fn rt_free<T>(task: impl Task<T>) -> Result<T, fourway::JoinError> {
        smol::block_on(task)
    }
    ends(build());
    ends(Propagate::new(build()));
    ends(Compose::new(build(), build()));
    let pool = Propagate::new(build());
    ends(AnyRuntime::new(Propagate::new(Compose::new(build(), pool))));
}
