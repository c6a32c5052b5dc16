//! `#[calls]`: its expansion of methods, on a runtime of plain threads. The examples test that all
//! runtimes agree.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use fourway_core::{BlockOn, BoxCall, Call, Runtime, call::CallFuture, context};
use fourway_macros::calls;
use fourway_std_thread::StdThread;

fn runtime() -> StdThread {
    StdThread::builder().worker_threads(2).build().unwrap()
}

/// In all three columns.
macro_rules! columns {
    ($rt:expr, $call:expr, $expected:expr) => {{
        assert_eq!($call.wait(), $expected);
        assert_eq!($rt.block_on(async { $call.await }), $expected);
        assert_eq!($rt.block_on($call.spawn()).unwrap(), $expected);
    }};
}

#[derive(Clone, Debug)]
struct Library<R> {
    rt: R,
    prefix: Arc<str>,
}

#[calls]
impl<R: Runtime> Library<R> {
    fn new(rt: R) -> Self {
        Self {
            rt,
            prefix: "=".into(),
        }
    }

    /// A blocking body.
    #[blocking]
    #[must_use = "for its own reasons"]
    fn shout(&self, word: &str) -> String {
        assert_ne!(context::current(), context::Context::Async);
        format!("{}{}", self.prefix, word.to_uppercase())
    }

    /// An async body, which uses the other methods.
    async fn all(&self, words: &[String]) -> String {
        let mut text = String::new();
        for word in words {
            text += &self.shout(word).await;
        }
        text
    }

    /// `?`, and a blocking body that uses another one in place.
    #[blocking]
    fn parse(&self, text: &str) -> Result<(u32, String), std::num::ParseIntError> {
        let number = text.parse()?;
        let shouted = format!("{}!", self.shout(text));
        Ok((number, shouted))
    }

    /// A blocking body that uses a call, and waits for an async method.
    #[blocking]
    fn nested(&self, words: &[&str]) -> (String, String, String) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (a, b) = (self.shout("a").wait(), Self::shout(self, "b").wait());
        (a, b, self.all(&words).wait())
    }

    async fn kinds(
        &self,
        path: &Path,
        bytes: &[u8],
        option: Option<&str>,
        number: &u32,
        forever: &'static str,
        (left, mut right): (u32, u32),
    ) -> (PathBuf, usize, Option<usize>, u32, &'static str, u32) {
        right += 1;
        (
            path.join("x"),
            bytes.len(),
            option.map(str::len),
            *number,
            forever,
            left * right,
        )
    }

    async fn generic<T, const N: usize>(
        &self,
        values: [T; N],
        path: impl Into<PathBuf> + Send + 'static,
    ) -> (T, PathBuf)
    where
        T: Display + Clone + Send + 'static,
    {
        (values[N - 1].clone(), path.into())
    }

    /// Only the output tells its type.
    #[blocking]
    fn parsed<T: std::str::FromStr<Err: Send> + Send + 'static>(
        &self,
        text: &str,
    ) -> Result<T, T::Err> {
        text.parse()
    }

    /// Closures are moved in.
    #[blocking]
    fn with<T: Send + 'static>(&self, f: impl FnOnce(&str) -> T + Send + 'static) -> T {
        f(&self.prefix)
    }

    /// A field of the same name, which is not a recursion.
    async fn prefix(&self) -> String {
        self.prefix.to_string()
    }

    /// And not a call of this or another method.
    #[blocking]
    fn of_the_prefix(&self) -> (usize, u8, Vec<u8>) {
        let word = &self.prefix;
        let first = self.prefix.as_bytes()[0];
        let all = self.collected::<fn() -> (u8, u8), [u8; 2]>(word.as_bytes());
        (word.len(), first, all)
    }

    #[blocking]
    fn collected<A: 'static, B: 'static>(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    /// Recursion needs a box.
    #[boxed]
    async fn down(&self, from: u32) -> u32 {
        match from {
            0 => 0,
            from => 1 + self.down(from - 1).await,
        }
    }

    /// Of methods that use each other, one needs no box if it spawns the other.
    async fn spawns(&self, from: u32) -> u32 {
        match from {
            0 => 0,
            from => 1 + self.rt.spawn(self.awaits(from - 1)).await.unwrap(),
        }
    }

    async fn awaits(&self, from: u32) -> u32 {
        match from {
            0 => 0,
            from => 1 + self.spawns(from - 1).await,
        }
    }

    /// Likewise by itself.
    async fn spawns_itself(&self, from: u32) -> u32 {
        match from {
            0 => 0,
            from => 1 + self.rt.spawn(self.spawns_itself(from - 1)).await.unwrap(),
        }
    }

    /// Or if the body has the box.
    async fn boxes(&self, from: u32) -> u32 {
        match from {
            0 => 0,
            from => 1 + Box::pin(async { self.awaits_the_box(from - 1).await }).await,
        }
    }

    async fn awaits_the_box(&self, from: u32) -> u32 {
        match from {
            0 => 0,
            from => 1 + self.boxes(from - 1).await,
        }
    }

    async fn consumed(self) -> Arc<str> {
        self.prefix
    }

    async fn r#type(&self) -> u32 {
        7
    }

    async fn nothing(&self) {}

    #[cfg(any())]
    async fn not_there(&self) -> Nonsense {}

    #[allow(clippy::unused_async, reason = "a lint level goes to the body")]
    async fn with_a_macro(&self) -> String {
        macro_rules! through {
            ($e:expr) => {
                $e
            };
        }
        through!(format!("{}", through!(self.prefix.len())))
    }
}

#[test]
fn every_kind_of_method_in_every_column() {
    let rt = runtime();
    let library = Library::new(rt.clone());
    columns!(rt, library.all(&["a".into(), "b".into()]), "=A=B");
    columns!(rt, library.parse("7"), Ok((7, "=7!".to_owned())));
    columns!(rt, library.parse("x").map(|r| r.is_err()), true);
    columns!(
        rt,
        library.nested(&["c", "d"]),
        ("=A".into(), "=B".into(), "=C=D".into())
    );
    let number = 5;
    columns!(
        rt,
        library.kinds(
            Path::new("p"),
            b"123",
            Some("four"),
            &number,
            "static",
            (2, 3)
        ),
        (PathBuf::from("p/x"), 3, Some(4), 5, "static", 8)
    );
    columns!(
        rt,
        library.generic(["a", "b"], "path"),
        ("b", PathBuf::from("path"))
    );
    columns!(rt, library.parsed::<u8>("8"), Ok(8));
    columns!(rt, library.with(str::len), 1);
    columns!(rt, library.prefix(), "=");
    columns!(rt, library.of_the_prefix(), (1, b'=', vec![b'=']));
    columns!(rt, library.down(10), 10);
    columns!(rt, library.spawns(10), 10);
    columns!(rt, library.spawns_itself(10), 10);
    columns!(rt, library.boxes(10), 10);
    columns!(rt, library.clone().consumed(), "=".into());
    columns!(rt, library.r#type(), 7);
    columns!(rt, library.nothing(), ());
    columns!(rt, library.with_a_macro(), "1");
}

#[test]
fn a_blocking_body_runs_in_place_for_sync_callers_and_on_the_pool_for_async_ones() {
    let rt = runtime();
    let library = Library::new(rt.clone());
    let here = std::thread::current().id();
    let thread = |_: &str| std::thread::current().id();
    assert_eq!(library.with(thread).wait(), here);
    assert_ne!(rt.block_on(async { library.with(thread).await }), here);
}

/// A call borrows nothing: it can be kept, sent, and be part of another.
#[test]
fn a_call_outlives_the_library_and_its_arguments() {
    fn plain<C: Call>(call: C) -> impl Future<Output = C::Output> + Send + 'static {
        call.into_future()
    }
    let rt = runtime();
    let (one, two): (_, BoxCall<_>) = {
        let library = Library::new(rt.clone());
        let word = String::from("gone");
        (
            library.shout(&word),
            library.all(std::slice::from_ref(&word)).boxed(),
        )
    };
    let both = rt.call_all([one.boxed(), two]);
    assert_eq!(rt.block_on(plain(both)), ["=GONE", "=GONE"]);
}

/// Nothing happens before it is used.
#[test]
fn a_call_that_is_dropped_has_done_nothing() {
    let library = Library::new(runtime());
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    drop(library.with(move |_| *count.lock().unwrap() += 1));
    assert_eq!(*seen.lock().unwrap(), 0);
    assert_eq!(Arc::strong_count(&seen), 1);
}

/// An `Arc` instead of a clone.
struct Shared<R> {
    inner: Inner<R>,
    not_clone: Mutex<u32>,
}

struct Inner<R> {
    runtime: R,
}

#[calls(runtime = self.inner.runtime, boxed)]
impl<R: Runtime> Shared<R> {
    async fn add(self: &Arc<Self>, more: u32) -> u32 {
        let mut sum = self.not_clone.lock().unwrap();
        *sum += more;
        *sum
    }

    #[blocking]
    fn take(self: Arc<Self>) -> u32 {
        self.twice()
    }

    #[blocking]
    fn twice(self: &Arc<Self>) -> u32 {
        *self.not_clone.lock().unwrap() * 2
    }
}

#[test]
fn an_arc_is_taken_in_place_of_a_clone() {
    let rt = runtime();
    let inner = Inner {
        runtime: rt.clone(),
    };
    let shared = Arc::new(Shared {
        inner,
        not_clone: Mutex::new(1),
    });
    let call: BoxCall<u32> = shared.add(2);
    assert_eq!(call.wait(), 3);
    assert_eq!(rt.block_on(async { shared.twice().await }), 6);
    assert_eq!(shared.take().wait(), 6);
}

#[calls]
trait Storage: Send + Sync {
    type Item: Send + 'static;

    /// May wait.
    async fn get(&self, key: &str) -> io::Result<Option<Self::Item>>;

    /// May block.
    #[blocking]
    fn put(&self, key: &str, value: Self::Item) -> io::Result<()>;

    fn plain(&self) -> &'static str {
        "plain"
    }
}

#[derive(Clone)]
struct Memory<R> {
    rt: R,
    pairs: Arc<Mutex<Vec<(String, u32)>>>,
}

#[calls]
impl<R: Runtime> Storage for Memory<R> {
    type Item = u32;

    async fn get(&self, key: &str) -> io::Result<Option<Self::Item>> {
        let pairs = self.pairs.lock().unwrap();
        let found: Option<Self::Item> = pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value);
        Ok(found)
    }

    #[blocking]
    fn put(&self, key: &str, value: Self::Item) -> io::Result<()> {
        self.pairs.lock().unwrap().push((key.to_owned(), value));
        Ok(())
    }
}

#[test]
fn a_trait_is_usable_as_dyn() {
    let rt = runtime();
    let memory = Memory {
        rt: rt.clone(),
        pairs: Arc::default(),
    };
    let storage: Arc<dyn Storage<Item = u32>> = Arc::new(memory);
    storage.put("a", 1).wait().unwrap();
    rt.block_on(async { storage.put("b", 2).await.unwrap() });
    columns!(rt, storage.get("b").map(Result::unwrap), Some(2));
    assert_eq!(storage.plain(), "plain");
}

/// The attribute's own names do not clash with the names around it.
mod hygiene {
    #![no_implicit_prelude]
    #![allow(
        dead_code,
        non_camel_case_types,
        reason = "they are in the way on purpose"
    )]

    struct std;
    struct Clone;
    struct ToOwned;
    struct Borrow;
    struct Call;
    struct Vec;

    #[::std::prelude::v1::derive(::std::clone::Clone)]
    pub(super) struct Library<R> {
        pub(super) rt: R,
    }

    #[::fourway_macros::calls(crate = ::fourway_core)]
    impl<R: ::fourway_core::Runtime> Library<R> {
        pub(super) async fn length(&self, this: &str, runtime: &[&str]) -> usize {
            this.len() + runtime.len()
        }
    }
}

#[test]
fn names_around_it_are_not_in_the_way() {
    let rt = runtime();
    let library = hygiene::Library { rt: rt.clone() };
    columns!(rt, library.length("four", &["a", "b"]), 6);
}

/// An `impl` block that a macro writes.
macro_rules! library {
    ($name:ident, $method:ident, $output:ty, $body:expr) => {
        #[derive(Clone)]
        struct $name<R> {
            rt: R,
        }

        #[calls]
        impl<R: Runtime> $name<R> {
            #[blocking]
            fn $method(&self) -> $output {
                $body
            }
        }
    };
}

library!(Written, answer, u32, 42);

#[test]
fn a_macro_can_write_it() {
    let rt = runtime();
    let library = Written { rt: rt.clone() };
    columns!(rt, library.answer(), 42);
}

#[test]
fn the_future_has_a_name_and_is_send() {
    fn send<T: Send>(_: &T) {}
    let library = Library::new(runtime());
    let future = library.shout("x").into_future();
    send(&future);
    let named: CallFuture<_> = library.rt.call_blocking(|| 1).into_future();
    send(&named);
}
