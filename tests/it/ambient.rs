//! A handle that stands for the caller's current runtime.

#[cfg(feature = "std-thread")]
use fourway::Compose;
use fourway::{Ambient, AnyRuntime, prelude::*};

/// A library, and an application's one and only value of it.
struct Files<R = AnyRuntime> {
    rt: R,
}

impl<R: Runtime> Files<R> {
    fn size(&self) -> impl Call<Output = usize> + use<R> {
        self.rt.call_blocking(|| "hello from a file".len())
    }

    fn sizes(&self) -> impl Call<Output = usize> + use<R> {
        let rt = self.rt.clone();
        self.rt.call(async move {
            let task = rt.spawn(async { 1 });
            task.await.unwrap() + rt.offload(|| 2).await.unwrap()
        })
    }
}

static FILES: Files<Ambient> = Files { rt: Ambient };

#[cfg(feature = "tokio")]
mod in_tests_of_tokio {
    use super::*;

    async fn use_it() {
        assert_eq!(FILES.size().await, 17);
        assert_eq!(FILES.sizes().await, 3);
        let task = FILES
            .rt
            .spawn(async { tokio::runtime::Handle::current().id() });
        // Of this very test's runtime.
        assert_eq!(task.await.unwrap(), tokio::runtime::Handle::current().id());
    }

    // Each has a runtime of its own, which is gone at its end.
    #[tokio::test]
    async fn one_after_the_other() {
        use_it().await;
    }

    #[tokio::test]
    async fn the_other_after_the_one() {
        use_it().await;
    }

    #[test]
    fn runtimes_that_end_one_after_the_other() {
        for _ in 0..3 {
            let rt = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            rt.block_on(use_it());
        }
    }
}

#[test]
fn outside_of_all_it_is_the_default() {
    assert_eq!(FILES.sizes().wait(), 3);
    let tasks = [FILES.size().spawn(), FILES.size().spawn()];
    for task in tasks {
        assert_eq!(Ambient.block_on(task).unwrap(), 17);
    }
}

/// A request to the pool is not sent to the two together again.
#[cfg(feature = "std-thread")]
#[test]
fn as_the_pool_of_a_composed_runtime() {
    let threads = fourway::std_thread::StdThread::new().unwrap();
    let rt = Compose::new(threads, Ambient);
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let tried = inner.try_offload(|| 1).unwrap();
        let found = fourway::default_runtime().offload(|| 2);
        let in_closure = inner.offload(|| fourway::default_runtime().offload(|| 4).wait());
        tried.await.unwrap() + found.await.unwrap() + in_closure.await.unwrap().unwrap()
    });
    assert_eq!(rt.block_on(task).unwrap(), 7);
}

/// A request of the pool's closures to the tasks' part does not come back to the composed runtime.
#[cfg(feature = "std-thread")]
#[test]
fn as_the_tasks_of_a_composed_runtime() {
    use std::time::Duration;

    let threads = fourway::std_thread::StdThread::new().unwrap();
    let rt = Compose::new(Ambient, threads);
    let closure = rt.offload(|| {
        let found = fourway::default_runtime();
        let task = found.spawn(async {
            let in_task = fourway::default_runtime().spawn(async { 1 });
            in_task.await.unwrap()
        });
        found.spawn_detached(async {});
        let driven = found.block_on(async {
            fourway::default_runtime().sleep(Duration::ZERO).await;
            fourway::default_runtime().offload(|| 2).await.unwrap()
        });
        let in_place = found.block_in_place(|| found.offload(|| 4).wait().unwrap());
        let surrounded = found.surround(|| fourway::default_runtime().offload(|| 8).wait());
        let _ = (
            found.now(),
            found.status(),
            found.extensions(),
            found.is_shutdown(),
        );
        task.wait().unwrap() + driven + in_place.unwrap() + surrounded.unwrap()
    });
    assert_eq!(closure.wait().unwrap(), 15);
    let inner = rt.clone();
    let task = rt.spawn(async move { inner.offload(|| Ambient.spawn(async { 1 }).wait()).await });
    assert_eq!(rt.block_on(task).unwrap().unwrap().unwrap(), 1);
}

/// The parts answer a task that finds the composed runtime.
#[cfg(feature = "std-thread")]
#[test]
fn whoever_asks_how_a_composed_runtime_is_gets_an_answer() {
    let threads = fourway::std_thread::StdThread::new().unwrap();
    let rt = Compose::new(threads, Ambient);
    let task = rt.spawn(async {
        let found = fourway::default_runtime();
        let _ = found.status();
        found.is_shutdown()
    });
    assert!(!rt.block_on(task).unwrap());
}
