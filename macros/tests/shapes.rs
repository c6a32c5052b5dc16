//! `#[calls]` on methods of unusual shape: each is a method that somebody may write.

#![allow(
    clippy::duplicate_underscore_argument,
    clippy::let_and_return,
    clippy::ptr_arg,
    clippy::toplevel_ref_arg,
    reason = "methods are as odd as they may be"
)]

use std::{
    fmt::Display,
    future::Future,
    ops::AddAssign,
    path::Path,
    sync::{Arc, Mutex},
};

use fourway_core::{BlockOn, Call, Runtime, Task};
use fourway_macros::calls;
use fourway_std_thread::StdThread;

fn runtime() -> StdThread {
    StdThread::builder().worker_threads(1).build().unwrap()
}

/// In two of the columns; `calls.rs` has all three.
macro_rules! columns {
    ($rt:expr, $call:expr, $expected:expr) => {{
        assert_eq!($call.wait(), $expected);
        assert_eq!($rt.block_on(async { $call.await }), $expected);
    }};
}

#[derive(Clone)]
struct Shapes<R, T = u32, const N: usize = 2> {
    rt: R,
    values: [T; N],
}

#[derive(Debug, PartialEq)]
struct Failed(String);

impl From<std::num::ParseIntError> for Failed {
    fn from(error: std::num::ParseIntError) -> Self {
        Self(error.to_string())
    }
}

#[calls]
impl<R, T, const N: usize> Shapes<R, T, N>
where
    R: Runtime,
    T: Clone + Display + Send + Sync + 'static,
{
    #![allow(clippy::unused_async, reason = "levels of lints stand inside as well")]

    /// A constant, which is no method.
    const COUNT: usize = N;

    #[doc = include_str!("../Cargo.toml")]
    #[must_use = "it counts"]
    async fn count(&self) -> usize {
        Self::COUNT
    }

    /// Two arguments whose types would get one name.
    #[blocking]
    fn both(
        &self,
        of: impl Display + Send + 'static,
        _of: impl Display + Send + 'static,
    ) -> String {
        format!("{of}{_of}")
    }

    /// `impl Trait` inside of other types, and inside of one another.
    async fn nested(
        &self,
        words: Vec<impl Into<String> + Send + 'static>,
        pair: (impl Display + Send + 'static, u8),
        each: impl IntoIterator<Item = impl Display + Send + 'static, IntoIter: Send> + Send + 'static,
        slice: &[impl Display + Clone + Send + Sync + 'static],
    ) -> String {
        let mut text = String::new();
        for word in words {
            text += &word.into();
        }
        text += &format!("{}{}", pair.0, pair.1);
        for one in each {
            text += &one.to_string();
        }
        for one in slice {
            text += &one.to_string();
        }
        text
    }

    /// The body changes its arguments.
    async fn changed(mut self, mut by: Vec<u32>, ref text: String) -> (usize, usize) {
        by.push(1);
        self.values = self.values.clone();
        (by.len(), text.len())
    }

    /// Patterns, some without a name.
    #[blocking]
    fn patterns(
        &self,
        _: &str,
        [first, .., last]: [u8; 3],
        whole @ (_, right): (u8, u8),
        (): (),
        argument_1: u8,
    ) -> (u8, u8, u8, u8, u8) {
        (first, last, whole.0, right, argument_1)
    }

    /// A named lifetime with a bound, which makes it early-bound.
    async fn named<'a, 'b: 'a, U>(&'a self, left: &'a str, right: &'b U) -> String
    where
        U: Display + ToOwned<Owned = U> + Send + Sync + 'static,
    {
        format!("{left}{right}{}", self.values.len())
    }

    #[allow(
        clippy::needless_arbitrary_self_type,
        reason = "it is written so on purpose"
    )]
    async fn with_self(self: &Self, of: &Path) -> usize
    where
        Self: Sized,
    {
        of.as_os_str().len()
    }

    #[blocking]
    fn raw(&self, r#type: &str, r#match: impl Fn(&str) -> bool + Send + 'static) -> bool {
        r#match(r#type)
    }

    /// Arguments with names that the macro uses itself.
    async fn names(&self, this: u32, runtime: u32, body: u32, f: u32) -> u32 {
        this + runtime + body + f
    }

    /// `?`, with an error that converts.
    async fn parse(&self, text: &str) -> Result<u32, Failed> {
        Ok(text.parse::<u32>()?)
    }

    /// An async closure of the caller.
    async fn given<F, Fut>(&self, make: F) -> Fut::Output
    where
        F: FnOnce(u32) -> Fut + Send + 'static,
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        make(1).await
    }

    async fn sum<S: AddAssign + Default + Copy + Send + Sync + 'static, const M: usize>(
        &self,
        values: &[S; M],
    ) -> S {
        let mut sum = S::default();
        for value in values {
            sum += *value;
        }
        sum
    }

    /// In the methods of a type inside of a body, `self` is another value.
    #[blocking]
    fn inner(&self) -> u32 {
        struct Local(u32);

        trait Named {
            fn raw(&self, text: &str) -> u32;

            fn twice(&self) -> u32 {
                self.raw("") * 2
            }
        }

        impl Named for Local {
            fn raw(&self, _: &str) -> u32 {
                self.0
            }
        }

        impl Local {
            fn all(&self) -> u32 {
                self.raw("a") + self.twice()
            }
        }

        let is_called_in_place = self.raw("a", |text| text == "a");
        Local(1).all() + u32::from(is_called_in_place)
    }

    /// Here too, `self` is another value: this is no recursion.
    async fn outer(&self) -> u32 {
        struct Local;

        impl Local {
            fn outer(&self) -> u32 {
                4
            }

            fn again(&self) -> u32 {
                self.outer()
            }
        }

        Local.again()
    }

    /// Levels of lints inside of a body, and expected lints.
    #[expect(clippy::too_many_arguments, reason = "as many as there may be")]
    #[blocking]
    fn many(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
        #![allow(unused_mut, reason = "it stands inside")]
        let mut sum = a + b + c + d + e + f + g + h;
        sum
    }

    #[cfg_attr(
        all(),
        cfg_attr(all(), must_use = "nested"),
        // It changes nothing here: a second attribute beside the nested one, which must be kept.
        allow(dead_code, reason = "an attribute of several in one `cfg_attr`")
    )]
    #[cfg_attr(all(), cfg_attr(any(), cfg(any())))]
    async fn conditional(&self) -> u32 {
        5
    }

    #[cfg(any())]
    async fn either(&self) -> Nonsense {}

    #[cfg(not(any()))]
    #[blocking]
    fn either(&self) -> u32 {
        6
    }

    #[deprecated(note = "for its own reasons")]
    async fn old(&self, #[allow(unused_variables, reason = "of an argument")] unused: u32) {}

    /// The two methods use each other, through a task and a box.
    async fn even(&self, number: u32) -> bool {
        number == 0 || self.odd(number - 1).spawn().await.unwrap()
    }

    async fn odd(&self, number: u32) -> bool {
        number != 0 && self.even(number - 1).boxed().await
    }

    async fn down(&self, number: u32) -> u32 {
        match number {
            0 => 0,
            number => 1 + self.down(number - 1).boxed().await,
        }
    }

    /// Through tasks: with a name, and with a turbofish.
    async fn down_by_tasks(&self, number: u32) -> u32 {
        match number {
            0 => 0,
            number if number % 2 == 0 => {
                let below = self.down_by_tasks(number - 1).spawn_named("below");
                1 + below.await.unwrap()
            }
            number => {
                let task = self
                    .rt
                    .spawn::<_>(self.down_by_tasks(number - 1).into_future());
                1 + task.await.unwrap()
            }
        }
    }

    /// In a blocking body, calls of a blocking method that are used as calls.
    #[blocking]
    fn as_calls(&self) -> u32 {
        let task = self.inner().spawn_named("inner");
        let awaited = async { self.inner().await };
        self.rt.block_on(awaited) + task.wait().unwrap()
    }

    /// In place also after the dots of a range, and of the rest of a value.
    #[blocking]
    fn ranges(&self) -> usize {
        let other = Self {
            rt: self.rt.clone(),
            ..self.same()
        };
        let size = other.values.len();
        (0..self.size()).len()
            + other.values[..self.size()].len()
            + (0..=self.size()).count()
            + size
    }

    #[blocking]
    fn same(&self) -> Self {
        self.clone()
    }

    #[blocking]
    fn size(&self) -> usize {
        N
    }

    #[cfg(not(test))]
    #[blocking]
    fn never_a_call(&self) -> u32 {
        1
    }

    #[cfg(test)]
    fn never_a_call(&self) -> u32 {
        2
    }

    #[cfg(test)]
    #[blocking]
    fn always_a_call(&self) -> u32 {
        3
    }

    #[cfg(not(test))]
    fn always_a_call(&self) -> u32 {
        4
    }

    #[cfg(not(test))]
    #[blocking]
    fn always_blocking(&self) -> u32 {
        5
    }

    #[cfg(test)]
    #[blocking]
    fn always_blocking(&self) -> u32 {
        6
    }

    /// Uses methods that are written twice: what is called is what is compiled.
    #[blocking]
    fn twins(&self) -> [u32; 3] {
        let call = self.always_a_call();
        [self.never_a_call(), call.wait(), self.always_blocking()]
    }

    async fn bare(&self) -> fn(&str) -> &str {
        str::trim
    }

    async fn by_reference(&self, of: &Arc<Mutex<u32>>, also: &Vec<Box<str>>) -> usize {
        *of.lock().unwrap() += 1;
        also.len()
    }
}

#[test]
fn every_shape() {
    let rt = runtime();
    let shapes = Shapes {
        rt: rt.clone(),
        values: [1, 2, 3],
    };
    columns!(rt, shapes.count(), 3);
    columns!(rt, shapes.both(1, "a"), "1a");
    columns!(
        rt,
        shapes.nested(vec!["a"], ("b", 1), [2, 3], &['c', 'd']),
        "ab123cd"
    );
    columns!(rt, shapes.clone().changed(vec![], "ab".into()), (1, 2));
    columns!(
        rt,
        shapes.patterns("", [1, 2, 3], (4, 5), (), 6),
        (1, 3, 4, 5, 6)
    );
    columns!(rt, shapes.named("a", &1), "a13");
    columns!(rt, shapes.with_self(Path::new("ab")), 2);
    columns!(rt, shapes.raw("a", |text| text == "a"), true);
    columns!(rt, shapes.names(1, 2, 3, 4), 10);
    columns!(rt, shapes.parse("1"), Ok(1));
    columns!(rt, shapes.parse("x").map(|result| result.is_err()), true);
    columns!(rt, shapes.given(async |number| number + 1), 2);
    columns!(rt, shapes.sum(&[1, 2, 3]), 6);
    columns!(rt, shapes.inner(), 4);
    columns!(rt, shapes.ranges(), 3 + 3 + 4 + 3);
    columns!(rt, shapes.twins(), [2, 3, 6]);
    columns!(rt, shapes.outer(), 4);
    columns!(rt, shapes.many(1, 1, 1, 1, 1, 1, 1, 1), 8);
    columns!(rt, shapes.conditional(), 5);
    columns!(rt, shapes.either(), 6);
    #[allow(deprecated, reason = "it is called for the test")]
    let old = || shapes.old(1);
    columns!(rt, old(), ());
    columns!(rt, shapes.even(4), true);
    columns!(rt, shapes.down(3), 3);
    columns!(rt, shapes.down_by_tasks(3), 3);
    columns!(rt, shapes.as_calls(), 8);
    assert_eq!(shapes.bare().wait()(" a "), "a");
    let count = Arc::new(Mutex::new(0));
    columns!(rt, shapes.by_reference(&count, &vec!["a".into()]), 1);
    assert_eq!(*count.lock().unwrap(), 2);
}

/// A trait that a type implements twice, with different arguments, beside a method whose name joins
/// the names of the trait, its argument and its method.
#[calls]
trait Store<T>: Send + Sync {
    async fn put(&self, value: T) -> String;

    /// Not for `dyn`, so that the trait is usable as `dyn`.
    #[blocking]
    fn put_all(&self, values: Vec<T>) -> usize
    where
        Self: Sized;

    /// Not for `dyn` either, so it may have type parameters.
    async fn put_each<I: IntoIterator<Item = T> + Send + 'static>(
        &self,
        values: I,
        until: impl Fn(&T) -> bool + Send + 'static,
    ) -> usize
    where
        Self: Sized;
}

#[derive(Clone)]
struct Stores<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Stores<R> {
    #[blocking]
    fn store_u8_put(&self) -> u32 {
        1
    }
}

#[calls]
impl<R: Runtime> Store<u8> for Stores<R> {
    async fn put(&self, value: u8) -> String {
        format!("u8 {value}")
    }

    #[blocking]
    fn put_all(&self, values: Vec<u8>) -> usize {
        values.len()
    }

    async fn put_each<I: IntoIterator<Item = u8> + Send + 'static>(
        &self,
        values: I,
        stop: impl Fn(&u8) -> bool + Send + 'static,
    ) -> usize {
        values.into_iter().take_while(|value| !stop(value)).count()
    }
}

#[allow(clippy::too_many_arguments, reason = "it is for the bodies too")]
#[calls]
impl<R: Runtime> Store<u16> for Stores<R> {
    async fn put(&self, value: u16) -> String {
        format!("u16 {value}")
    }

    #[blocking]
    fn put_all(&self, values: Vec<u16>) -> usize {
        values.len() * 2
    }

    async fn put_each<I: IntoIterator<Item = u16> + Send + 'static>(
        &self,
        values: I,
        _: impl Fn(&u16) -> bool + Send + 'static,
    ) -> usize {
        values.into_iter().count()
    }
}

#[test]
fn a_trait_with_arguments_twice() {
    let rt = runtime();
    let stores = Stores { rt: rt.clone() };
    columns!(rt, stores.put(1_u8), "u8 1");
    columns!(rt, stores.put(1_u16), "u16 1");
    columns!(rt, stores.put_all(vec![1_u8]), 1);
    columns!(rt, stores.put_all(vec![1_u16]), 2);
    columns!(rt, stores.put_each([1_u8, 2], |value| *value == 2), 1);
    columns!(rt, stores.put_each([1_u16, 2], |value| *value == 2), 2);
    columns!(rt, stores.store_u8_put(), 1);
    let dynamic: &dyn Store<u8> = &stores;
    columns!(rt, dynamic.put(2), "u8 2");
}

/// A trait with a lifetime, which the type does not have.
#[calls]
trait Find<'a> {
    async fn find(&self, key: &'a str) -> usize;
}

#[calls]
impl<'a, R: Runtime> Find<'a> for Stores<R> {
    async fn find(&self, key: &'a str) -> usize {
        key.len()
    }
}

#[test]
fn a_trait_with_a_lifetime() {
    let rt = runtime();
    let stores = Stores { rt: rt.clone() };
    columns!(rt, stores.find("four"), 4);
}

/// Types and `self` that come from a macro.
macro_rules! written {
    ($name:ident, $this:ident, $argument:ty, $output:ty, $body:expr) => {
        /// A library.
        #[derive(Clone, Debug)]
        pub struct $name<R> {
            rt: R,
        }

        #[calls(mirror)]
        impl<R: Runtime> $name<R> {
            /// A constructor.
            pub fn new(rt: R) -> Self {
                Self { rt }
            }

            /// A method.
            #[blocking]
            pub fn method(&$this, of: $argument) -> $output {
                let _ = &$this.rt;
                // The parentheses are needed: attribute macros lose the ends of an invisible group.
                ($body)(of)
            }
        }
    };
}

written!(Written, self, &str, Vec<usize>, |of: &str| vec![of.len()]);

#[test]
fn a_macro_gives_the_types() {
    let rt = runtime();
    let written = Written::new(rt.clone());
    columns!(rt, written.method("four"), [4]);
    assert_eq!(blocking::Written::new(rt).method("four"), [4]);
}

trait Sized3<const N: usize> {}

impl<R, const N: usize> Sized3<N> for Stores<R> {}

/// A trait with braces before those of its items.
#[calls]
trait Measure: Sized3<{ 1 + 2 }> {
    async fn measure(&self, key: &str) -> usize;
}

#[calls]
impl<R: Runtime> Measure for Stores<R> {
    async fn measure(&self, key: &str) -> usize {
        key.len()
    }
}

#[test]
fn a_supertrait_with_a_block() {
    let rt = runtime();
    let stores = Stores { rt: rt.clone() };
    columns!(rt, stores.measure("four"), 4);
}

/// A body that comes from a macro, in an invisible group.
macro_rules! given_body {
    ($name:ident, $of:ident, $body:block) => {
        #[derive(Clone)]
        struct $name<R> {
            rt: R,
        }

        #[calls]
        impl<R: Runtime> $name<R> {
            #[blocking]
            fn method(&self, $of: &str) -> usize $body

            async fn later(&self, $of: &str) -> usize $body
        }
    };
}

/// A second macro puts a second group around it.
macro_rules! passed_on {
    ($name:ident, $of:ident, $body:block) => {
        given_body!($name, $of, $body);
    };
}

given_body!(Given, of, { of.len() });
passed_on!(PassedOn, of, { of.len() });

#[test]
fn a_macro_gives_the_body() {
    let rt = runtime();
    let given = Given { rt: rt.clone() };
    columns!(rt, given.method("four"), 4);
    columns!(rt, given.later("four"), 4);
    let passed_on = PassedOn { rt: rt.clone() };
    columns!(rt, passed_on.method("four"), 4);
    columns!(rt, passed_on.later("four"), 4);
}

/// Parameters that the trait has, and the type has not.
mod parameters_of_a_trait {
    use super::*;

    #[calls]
    trait Convert<T: Send + 'static, const TIMES: usize>: Send + Sync {
        #[blocking]
        fn one(&self, value: T) -> String;
        async fn many(&self, values: &[T]) -> Vec<String>
        where
            T: Clone;
        async fn with<U: Display + Send + 'static>(&self, value: T, other: U) -> String
        where
            Self: Sized;
        #[blocking]
        fn beside<U: Display + Send + 'static>(&self, value: T, other: U) -> String
        where
            Self: Sized;
        #[blocking]
        fn numbered(&self, value: T) -> String;
    }

    trait Shown<T> {
        fn shown(&self, value: T) -> String;
    }

    #[derive(Clone)]
    struct Shower<R, I = std::vec::IntoIter<u8>> {
        rt: R,
        after: I,
    }

    impl<R, I, T: Display> Shown<T> for Shower<R, I> {
        fn shown(&self, value: T) -> String {
            value.to_string()
        }
    }

    #[calls]
    impl<T, R, I, E, const TIMES: usize> Convert<T, TIMES> for Shower<R, I>
    where
        T: Display + Send + Sync + 'static,
        R: Runtime,
        I: Iterator<Item = E> + Clone + Send + Sync + 'static,
        E: Display + Send + 'static,
        Self: Shown<T>,
    {
        #[blocking]
        fn one(&self, value: T) -> String {
            self.shown(value).repeat(TIMES)
        }

        async fn many(&self, values: &[T]) -> Vec<String>
        where
            T: Clone,
        {
            let shown = values.iter().map(|value| self.shown(value.clone()));
            let after = self.after.clone().map(|value| value.to_string());
            shown.chain(after).collect()
        }

        async fn with<U: Display + Send + 'static>(&self, value: T, other: U) -> String {
            Convert::<T, TIMES>::one(self, value).await + &other.to_string()
        }

        #[blocking]
        fn beside<U: Display + Send + 'static>(&self, value: T, other: U) -> String {
            self.one(value) + &other.to_string()
        }

        #[blocking]
        fn numbered(&self, value: T) -> String {
            // The turbofish is that of the method as it is written.
            self.beside::<u8>(value, 7)
        }
    }

    #[test]
    fn a_trait_has_parameters_that_the_type_has_not() {
        let rt = runtime();
        let shower = Shower {
            rt: rt.clone(),
            after: vec![9].into_iter(),
        };
        columns!(rt, Convert::<i32, 2>::one(&shower, 1), "11");
        columns!(rt, Convert::<char, 3>::one(&shower, 'c'), "ccc");
        columns!(
            rt,
            Convert::<i32, 0>::many(&shower, &[1, 2]),
            ["1", "2", "9"]
        );
        columns!(rt, Convert::<_, 1>::with(&shower, 1.5, "and"), "1.5and");
        columns!(rt, Convert::<char, 2>::numbered(&shower, 'c'), "cc7");
    }
}
