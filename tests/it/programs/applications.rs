//! The code of an application around calls: errors passed up, tables of handlers, workers.

use std::{
    collections::HashMap,
    future::pending,
    io,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use fourway::{
    AbortHandle, AnyRuntime, AnyTask, BoxCall, CancellationToken, Cancelled, call::Call, prelude::*,
};

use crate::support::every;

const MUST: Duration = Duration::from_secs(60);

/// Each error on the way is one of `io`, and so goes up by itself.
#[test]
fn everything_with_question_marks() {
    fn program(rt: &AnyRuntime) -> io::Result<u32> {
        let spawned = rt.spawn(async { 1 }).wait()?;
        let offloaded = rt.try_block_on(rt.offload(|| 2))??;
        let limited = rt.call_blocking(|| 3).timeout(MUST).wait()?;
        let spoken = rt.try_block_on(rt.timeout(MUST, async { io::Result::Ok(4) }))???;
        let fallible = rt.try_block_on(rt.call_blocking(|| 5).fallible())??;
        if !rt.is_shutdown() {
            CancellationToken::new().check()?;
        }
        Ok(spawned + offloaded + limited + spoken + fallible)
    }
    every(|rt| assert_eq!(program(&rt).unwrap(), 15));
}

/// Names and their actions: sync or async, from one table.
#[test]
fn a_table_of_handlers() {
    type Reply = BoxCall<io::Result<String>>;
    type Handler = Arc<dyn Fn(String) -> Reply + Send + Sync>;

    fn table(rt: &AnyRuntime) -> HashMap<&'static str, Handler> {
        let (shouts, reads) = (rt.clone(), rt.clone());
        let mut table = HashMap::<_, Handler>::new();
        table.insert(
            "shout",
            Arc::new(move |text| {
                let call = shouts.call(async move { Ok(text.to_uppercase()) });
                call.boxed()
            }),
        );
        table.insert(
            "read",
            Arc::new(move |path| {
                let call = reads.call_blocking(move || std::fs::read_to_string(path));
                call.boxed()
            }),
        );
        table
    }

    every(|rt| {
        let table = table(&rt);
        assert_eq!(table["shout"]("a".into()).wait().unwrap(), "A");
        let missing = table["read"]("/there/is/no/such/file".into());
        let error = rt.block_on(async { missing.await }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}

/// Something with a task of its own, which is gone when the value is.
#[test]
fn a_worker_that_ends_with_its_owner() {
    struct Worker {
        task: Option<AnyTask<()>>,
        abort: AbortHandle,
        end: mpsc::Sender<bool>,
    }

    impl Worker {
        fn start(rt: &AnyRuntime, end: mpsc::Sender<bool>) -> Self {
            let task = rt.spawn(pending());
            Self {
                abort: task.abort_handle(),
                task: Some(task),
                end,
            }
        }
    }

    impl Drop for Worker {
        fn drop(&mut self) {
            self.abort.abort();
            if let Some(task) = self.task.take() {
                let error = task.wait().unwrap_err();
                let _ = self.end.send(error.is_cancelled());
            }
        }
    }

    every(|rt| {
        let (end, ended) = mpsc::channel();
        drop(Worker::start(&rt, end));
        assert!(ended.recv_timeout(MUST).unwrap());
    });
}

/// One function for every form of the runtime.
#[test]
fn a_runtime_as_an_argument() {
    fn by_type(rt: &AnyRuntime) -> u32 {
        rt.block_on(async { 1 })
    }
    fn owned(rt: impl Runtime) -> u32 {
        rt.offload(|| 2).wait().unwrap()
    }
    async fn borrowed<R: Runtime>(rt: &R) -> u32 {
        rt.offload(|| 4).await.unwrap()
    }
    fn less(rt: &(impl Spawner + BlockOn)) -> u32 {
        rt.block_on(rt.spawn(async { 8 })).unwrap()
    }
    every(|rt| {
        let sum = by_type(&rt) + owned(rt.clone()) + rt.block_on(borrowed(&rt)) + less(&rt);
        assert_eq!(sum, 15);
    });
}

/// A thread's own scope, and a runtime that all of its threads borrow.
#[test]
fn threads_that_borrow_the_runtime() {
    every(|rt| {
        let barrier = Barrier::new(4);
        let sum: u32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    let (rt, barrier) = (&rt, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        rt.call(async move { n }).wait() + rt.call_blocking(move || n).wait()
                    })
                })
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(sum, 12);
    });
}

/// A body that may block looks at its token, and its caller gives up.
#[test]
fn a_loop_that_can_be_given_up() {
    fn count(rt: &impl Runtime, token: CancellationToken) -> BoxCall<Result<u32, Cancelled>> {
        let call = rt.call_blocking(move || {
            let mut turns = 0;
            loop {
                token.sleep(Duration::from_millis(1))?;
                turns += 1;
                if turns == u32::MAX {
                    return Ok(turns);
                }
            }
        });
        call.boxed()
    }
    every(|rt| {
        let token = CancellationToken::new();
        let task = count(&rt, token.clone()).spawn();
        token.cancel();
        // It may not have started, and then is refused at its first look.
        assert!(task.wait().unwrap().is_err());

        let short = CancellationToken::new().child_with_timeout(&rt, Duration::from_millis(5));
        let error = count(&rt, short).wait().unwrap_err();
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    });
}
