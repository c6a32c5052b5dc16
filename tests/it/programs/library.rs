//! The code of a library's author.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fourway::{
    AnyRuntime, BoxCall,
    call::{Call, Either},
    prelude::*,
};

use crate::support::{every, in_all_columns};

/// A small store, with one method of each kind.
#[derive(Clone)]
struct Store<R = AnyRuntime> {
    rt: R,
    values: Arc<Mutex<HashMap<String, u32>>>,
}

impl<R: Runtime> Store<R> {
    fn new(rt: R) -> Self {
        let values = [("one", 1), ("two", 2), ("three", 3)];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        Self {
            rt,
            values: Arc::new(Mutex::new(HashMap::from(values))),
        }
    }

    /// May block: takes a lock.
    fn get(&self, name: &str) -> impl Call<Output = io::Result<u32>> + use<R> {
        let (values, name) = (self.values.clone(), name.to_owned());
        self.rt.call_blocking(move || {
            let found = values.lock().unwrap().get(&name).copied();
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name))
        })
    }

    /// Async, and borrows in its body as it likes.
    fn sum(&self, names: &[&str]) -> impl Call<Output = io::Result<u32>> + use<R> {
        let this = self.clone();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.rt.call_with(async move || this.sum_of(&names).await)
    }

    async fn sum_of(&self, names: &[String]) -> io::Result<u32> {
        let mut sum = 0;
        for name in names {
            sum += self.get(name).await?;
        }
        Ok(sum)
    }
}

#[test]
fn methods_that_borrow_their_arguments_only_while_called() {
    every(|rt| {
        let store = Store::new(rt.clone());
        let call = {
            let name = String::from("two");
            store.get(&name)
        };
        assert_eq!(call.wait().unwrap(), 2);
        let sum = || store.sum(&["one", "three"]).map(Result::unwrap);
        assert_eq!(in_all_columns(&rt, sum), [4; 3]);
    });
}

#[test]
fn a_type_without_a_parameter() {
    struct Service {
        store: Store,
    }
    every(|rt| {
        let service = Service {
            store: Store::new(rt),
        };
        assert_eq!(service.store.get("one").wait().unwrap(), 1);
    });
}

#[test]
fn a_library_above_a_library() {
    struct Above<R> {
        store: Store<R>,
    }
    impl<R: Runtime> Above<R> {
        fn double(&self, name: &str) -> impl Call<Output = io::Result<u32>> + use<R> {
            self.store.get(name).map_ok(|value| value * 2)
        }

        fn both(&self, first: &str, second: &str) -> impl Call<Output = io::Result<u32>> + use<R> {
            let second = self.store.get(second);
            self.double(first)
                .and_then(move |first| second.map_ok(move |second| first + second))
        }
    }
    every(|rt| {
        let above = Above {
            store: Store::new(rt.clone()),
        };
        let both = || above.both("one", "three").map(Result::unwrap);
        assert_eq!(in_all_columns(&rt, both), [5; 3]);
        let neither = above.both("no", "three").wait();
        assert_eq!(neither.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

trait Source: Send + Sync {
    fn value(&self, name: &str) -> BoxCall<io::Result<u32>>;
}

impl<R: Runtime> Source for Store<R> {
    fn value(&self, name: &str) -> BoxCall<io::Result<u32>> {
        self.get(name).boxed()
    }
}

/// Another one, with an async body.
struct Constant(AnyRuntime, u32);

impl Source for Constant {
    fn value(&self, _: &str) -> BoxCall<io::Result<u32>> {
        self.0.call_ready(Ok(self.1)).boxed()
    }
}

#[test]
fn services_as_objects() {
    every(|rt| {
        let sources: Vec<Arc<dyn Source>> = vec![
            Arc::new(Store::new(rt.clone())),
            Arc::new(Constant(rt.clone(), 40)),
        ];
        let values = sources.iter().map(|source| source.value("two"));
        assert_eq!(rt.call_try_all(values).wait().unwrap(), [2, 40]);
    });
}

#[test]
fn a_trait_with_a_call_in_it_for_generic_code() {
    trait Measure {
        fn measure(&self, text: &str) -> impl Call<Output = usize>;
    }
    #[derive(Clone)]
    struct Bytes<R>(R);
    impl<R: Runtime> Measure for Bytes<R> {
        fn measure(&self, text: &str) -> impl Call<Output = usize> {
            let length = text.len();
            self.0.call_blocking(move || length)
        }
    }
    fn twice(measure: &impl Measure) -> usize {
        measure.measure("ab").wait() + measure.measure("abc").wait()
    }
    every(|rt| assert_eq!(twice(&Bytes(rt)), 5));
}

#[test]
fn a_value_that_is_there_or_else_is_read() {
    fn cached<R: Runtime>(
        store: &Store<R>,
        cached: Option<u32>,
    ) -> impl Call<Output = io::Result<u32>> + use<R> {
        match cached {
            Some(value) => Either::Left(store.rt.call_ready(Ok(value))),
            None => Either::Right(store.get("three")),
        }
    }
    every(|rt| {
        let store = Store::new(rt.clone());
        let there = || cached(&store, Some(7)).map(Result::unwrap);
        assert_eq!(in_all_columns(&rt, there), [7; 3]);
        let read = || cached(&store, None).map(Result::unwrap);
        assert_eq!(in_all_columns(&rt, read), [3; 3]);
    });
}

#[test]
fn one_of_many_kinds_in_a_match() {
    fn step(rt: &impl Runtime, n: u32) -> BoxCall<u32> {
        match n {
            0 => rt.call_ready(10).boxed(),
            1 => rt.call(async { 11 }).boxed(),
            2 => rt.call_blocking(|| 12).boxed(),
            _ => step(rt, n - 3).map(|value| value + 10).boxed(),
        }
    }
    every(|rt| {
        let steps: Vec<BoxCall<u32>> = (0..6).map(|n| step(&rt, n)).collect();
        let done: Vec<u32> = steps.into_iter().map(Call::wait).collect();
        assert_eq!(done, [10, 11, 12, 20, 21, 22]);
    });
}

#[test]
fn a_call_in_a_field() {
    struct Job {
        name: &'static str,
        work: BoxCall<u32>,
    }
    every(|rt| {
        let jobs = [
            Job {
                name: "async",
                work: rt.call(async { 1 }).boxed(),
            },
            Job {
                name: "blocking",
                work: rt.call_blocking(|| 2).boxed(),
            },
        ];
        let done: Vec<_> = jobs
            .into_iter()
            .map(|job| (job.name, job.work.wait()))
            .collect();
        assert_eq!(done, [("async", 1), ("blocking", 2)]);
    });
}

#[test]
fn recursion_over_a_tree() {
    struct Tree(u32, Vec<Tree>);
    fn sum(rt: &AnyRuntime, tree: Arc<Tree>, path: Vec<usize>) -> BoxCall<u32> {
        let rt = rt.clone();
        rt.clone()
            .call_with(async move || {
                let node = path.iter().fold(&*tree, |node, at| &node.1[*at]);
                let below = (0..node.1.len()).map(|at| {
                    let path = path.iter().copied().chain([at]).collect();
                    sum(&rt, tree.clone(), path)
                });
                node.0 + rt.call_all(below).await.iter().sum::<u32>()
            })
            .boxed()
    }
    every(|rt| {
        let leaf = |n| Tree(n, Vec::new());
        let tree = Arc::new(Tree(1, vec![leaf(2), Tree(3, vec![leaf(4)]), leaf(5)]));
        let whole = || sum(&rt, tree.clone(), Vec::new());
        assert_eq!(in_all_columns(&rt, whole), [15; 3]);
    });
}

#[test]
fn an_argument_that_turns_into_a_path() {
    struct Files<R>(R);
    impl<R: Runtime> Files<R> {
        fn exists(&self, path: impl Into<PathBuf>) -> BoxCall<bool> {
            let path = path.into();
            self.0.call_blocking(move || path.exists()).boxed()
        }
    }
    every(|rt| {
        let files = Files(rt.clone());
        let name = String::from("/");
        let exist = || {
            let (first, second) = (
                files.exists(name.as_str()),
                files.exists(PathBuf::from("/")),
            );
            first.then(move |first| second.map(move |second| first && second))
        };
        assert_eq!(in_all_columns(&rt, exist), [true; 3]);
    });
}

/// Tries a call of any kind again.
fn retry<C, T, E>(
    rt: &AnyRuntime,
    call: C,
    times: u32,
) -> impl Call<Output = Result<T, E>> + use<C, T, E>
where
    C: Call + IntoFuture<Output = Result<T, E>> + Clone + Sync,
    T: Send + 'static,
    E: Send + 'static,
{
    let inner = rt.clone();
    rt.call_with(async move || {
        for _ in 1..times {
            if let Ok(value) = call.clone().await {
                return Ok(value);
            }
            inner.sleep(Duration::from_millis(1)).await;
        }
        call.await
    })
}

#[test]
fn to_try_again() {
    every(|rt| {
        let tries = Arc::new(AtomicU32::new(0));
        let third = |tries: &AtomicU32| match tries.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => Ok("done"),
            _ => Err("not yet"),
        };
        let counted = tries.clone();
        let blocking = rt.call_blocking(move || third(&counted));
        assert_eq!(retry(&rt, blocking, 3).wait(), Ok("done"));
        let counted = tries.clone();
        let asynchronous = rt.call_with(async move || third(&counted));
        assert_eq!(retry(&rt, asynchronous.clone(), 2).wait(), Err("not yet"));
        assert_eq!(retry(&rt, asynchronous, 2).wait(), Ok("done"));
    });
}

#[test]
fn a_reference_as_the_runtime() {
    every(|rt| {
        let leaked: &'static AnyRuntime = Box::leak(Box::new(rt));
        let store = Store::new(leaked);
        assert_eq!(store.sum(&["one", "two"]).wait().unwrap(), 3);
        assert_eq!(
            leaked.block_on(store.get("two").spawn()).unwrap().unwrap(),
            2
        );
    });
}

#[test]
fn the_first_that_works_of_several_sources() {
    every(|rt| {
        let store = Store::new(rt.clone());
        let first = || {
            let calls = ["four", "five", "three"].map(|name| store.get(name));
            rt.call_race_ok(calls).at_most(1).map(Result::unwrap)
        };
        assert_eq!(in_all_columns(&rt, first), [3; 3]);
    });
}
