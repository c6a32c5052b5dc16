//! The code of callers, in sync code, in async code and in parallel.

use std::{
    future::pending,
    io,
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

use fourway::{Ambient, AnyRuntime, BoxCall, JoinError, call::Call, prelude::*};

use crate::support::every;

const MUST: Duration = Duration::from_secs(60);

fn double<R: Runtime>(rt: &R, n: u32) -> impl Call<Output = u32> + use<R> {
    rt.call(async move { n * 2 })
}

fn triple<R: Runtime>(rt: &R, n: u32) -> impl Call<Output = u32> + use<R> {
    rt.call_blocking(move || n * 3)
}

#[test]
fn wait_await_spawn() {
    async fn in_async_code(rt: &impl Runtime) -> u32 {
        double(rt, 1).await + triple(rt, 1).await
    }
    every(|rt| {
        assert_eq!(double(&rt, 1).wait() + triple(&rt, 1).wait(), 5);
        assert_eq!(rt.block_on(in_async_code(&rt)), 5);
        let tasks = [
            double(&rt, 1).boxed().spawn(),
            triple(&rt, 1).boxed().spawn(),
        ];
        let sum: u32 = tasks
            .into_iter()
            .map(|task| rt.block_on(task).unwrap())
            .sum();
        assert_eq!(sum, 5);
    });
}

#[test]
fn a_call_given_to_the_runtimes_own_methods() {
    every(|rt| {
        assert_eq!(
            rt.block_on(double(&rt, 2)) + rt.block_on(triple(&rt, 2)),
            10
        );
        let (first, second) = (rt.spawn(double(&rt, 3)), rt.spawn(triple(&rt, 3)));
        let joined = rt.block_on(async { first.await.unwrap() + second.await.unwrap() });
        assert_eq!(joined, 15);
        let limited = rt.timeout(MUST, triple(&rt, 4));
        assert_eq!(rt.block_on(limited).unwrap(), 12);
        rt.spawn_detached(double(&rt, 1));
    });
}

#[test]
fn a_call_made_here_and_used_there() {
    every(|rt| {
        let call = triple(&rt, 5);
        let waited = thread::spawn(move || call.wait()).join().unwrap();
        let call = double(&rt, 5);
        let awaited = rt.block_on(rt.spawn(async move { call.await })).unwrap();
        let (give, take) = mpsc::channel::<BoxCall<u32>>();
        give.send(triple(&rt, 5).boxed()).unwrap();
        assert_eq!((waited, awaited, take.recv().unwrap().wait()), (15, 10, 15));
    });
}

#[test]
fn from_sync_code_inside_of_async_code_inside_of_sync_code() {
    every(|rt| {
        let inner = rt.clone();
        let callback = move |n| triple(&inner, n).wait() + double(&inner, n).wait();
        let outer = rt.call(async move { 2 });
        let again = rt.clone();
        let sum = outer.then(move |n| again.call_blocking(move || callback(n)));
        assert_eq!(sum.spawn_and_wait(&rt), 10);
    });
}

/// A user's own extension, over all calls.
trait SpawnAndWait: Call {
    fn spawn_and_wait(self, rt: &impl Runtime) -> Self::Output {
        rt.block_on(self.spawn()).unwrap()
    }
}

impl<C: Call> SpawnAndWait for C {}

#[test]
fn question_marks() {
    every(|rt| {
        let read = |there: bool| {
            rt.call_blocking(move || match there {
                true => Ok(4),
                false => Err(io::Error::from(io::ErrorKind::NotFound)),
            })
        };
        let rt = &rt;
        let sync = |there| -> io::Result<u32> { Ok(read(there).wait()? + read(true).wait()?) };
        assert_eq!(sync(true).unwrap(), 8);
        assert_eq!(sync(false).unwrap_err().kind(), io::ErrorKind::NotFound);
        let asynchronous = async || -> io::Result<u32> {
            let spawned = read(true).spawn().await??;
            let fallible = read(true).fallible().await??;
            Ok(read(true).await? + spawned + fallible)
        };
        assert_eq!(rt.block_on(asynchronous()).unwrap(), 12);
        let joined = |task: BoxCall<u32>| -> Result<u32, JoinError> { rt.block_on(task.spawn()) };
        assert_eq!(joined(double(rt, 1).boxed()).unwrap(), 2);
    });
}

#[test]
fn many_at_once() {
    every(|rt| {
        let numbers = [1, 2, 3, 4];
        let doubled = rt.call_all(numbers.iter().map(|n| double(&rt, *n)));
        assert_eq!(doubled.wait(), [2, 4, 6, 8]);
        let tripled = rt.call_all(numbers.map(|n| triple(&rt, n))).at_most(2);
        assert_eq!(rt.block_on(async move { tripled.await }), [3, 6, 9, 12]);
        let tasks: Vec<_> = numbers.iter().map(|n| triple(&rt, *n).spawn()).collect();
        let mut sum = 0;
        for task in tasks {
            sum += rt.block_on(task).unwrap();
        }
        assert_eq!(sum, 30);
    });
}

#[test]
fn whichever_is_first_and_a_limit_in_time() {
    every(|rt| {
        let slow = rt.call(pending::<u32>()).boxed();
        let first = rt.call_race([slow, triple(&rt, 1).boxed()]);
        assert_eq!(first.wait(), Some(3));
        let slow = rt.call(pending::<u32>()).timeout(Duration::from_millis(1));
        let default = slow.map(|outcome| outcome.unwrap_or(7));
        assert_eq!(default.wait(), 7);
    });
}

#[test]
fn handles_of_any_type_are_cancelled() {
    every(|rt| {
        let never = || rt.call(pending::<u32>()).boxed();
        let tasks: Vec<Box<dyn Task<u32>>> = vec![
            never().spawn(),
            Box::new(rt.spawn(pending())),
            Box::new(never().map(|n| n + 1).spawn()),
        ];
        for task in tasks {
            assert!(rt.block_on(task.cancel()).unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn statics_that_many_runtimes_share() {
    static RT: Ambient = Ambient;
    static SUM: LazyLock<u32> = LazyLock::new(|| triple(&RT, 1).wait());
    every(|rt| {
        assert_eq!(*SUM, 3);
        assert_eq!(rt.block_on(async { double(&RT, 2).await }), 4);
        assert_eq!(rt.block_on(triple(&RT, 2).spawn()).unwrap(), 6);
    });
}

#[test]
fn generic_code_over_calls() {
    fn length<C: Call<Output = String>>(call: C) -> impl Call<Output = usize> {
        call.map(|text| text.len())
    }
    fn is_sendable(_: &(impl Send + 'static)) {}
    every(|rt: AnyRuntime| {
        let text = rt.call_blocking(|| String::from("text"));
        is_sendable(&text);
        let call = length(text);
        is_sendable(&call);
        let future = length(rt.call(async { String::from("abc") })).into_future();
        is_sendable(&future);
        assert_eq!((call.wait(), rt.block_on(future)), (4, 3));
    });
}
