//! `#[calls(mirror)]` on blocks of unusual shape, and of several types and blocks beside each other.

// As in a library that checks its docs and deprecations.
#![deny(
    deprecated,
    missing_docs,
    unused_must_use,
    clippy::undocumented_unsafe_blocks
)]

use std::{fmt::Display, io, marker::PhantomData};

use fourway_core::{AnyRuntime, BlockOn, Call, Runtime};
use fourway_macros::calls;
use fourway_std_thread::StdThread;

fn runtime() -> AnyRuntime {
    AnyRuntime::new(StdThread::builder().worker_threads(1).build().unwrap())
}

/// Types that the signatures name by paths.
pub mod types {
    /// One.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Word(pub String);
}

/// A library.
#[derive(Clone, Debug)]
pub struct Odd<R = AnyRuntime, const N: usize = 3> {
    rt: R,
}

#[calls(mirror)]
impl<R: Runtime, const N: usize> Odd<R, N> {
    /// A constant.
    pub const COUNT: usize = N;

    /// A constant of the base alone.
    pub const NONE: Option<Self> = None;

    /// Another constant of the base alone.
    pub const ALL: &'static [Self] = &[];

    /// A constant constructor.
    pub const fn new(rt: R) -> Self {
        Self { rt }
    }

    /// A constant function.
    pub const fn count(&self) -> usize {
        Self::COUNT
    }

    /// A constant function that moves `self`.
    #[must_use]
    pub const fn moved(self) -> Self {
        self
    }

    /// A function with a precondition.
    ///
    /// # Safety
    ///
    /// `at` is below 3.
    pub unsafe fn unchecked(&self, at: usize) -> Option<Self> {
        // SAFETY: the caller promises it.
        let number = unsafe { [1, 2, 3].get_unchecked(at) };
        (*number > 1).then(|| self.clone())
    }

    /// With another calling convention.
    pub extern "C" fn foreign(&self, number: u32) -> u32 {
        number + 1
    }

    /// `Into` has a method of this name too, which takes `self`.
    pub fn into(&self) -> u32 {
        7
    }

    /// `From` has a function of this name too.
    pub fn from(number: u32) -> u32 {
        number
    }

    /// `ToOwned` has a method of this name too.
    #[blocking]
    pub fn to_owned(&self) -> u32 {
        8
    }

    /// A call has a method of this name too.
    #[blocking]
    pub fn wait(&self) -> u32 {
        9
    }

    /// Patterns, beside an argument with a name that a pattern could get.
    pub fn patterns(&self, (left, right): (u32, u32), argument_1: u32, _: u8) -> u32 {
        left + right + argument_1
    }

    /// Only the output determines the type.
    #[blocking]
    pub fn parsed<T>(&self, text: &str, _by: impl Display + Send + 'static) -> Result<T, T::Err>
    where
        T: std::str::FromStr<Err: Send> + Send + 'static,
    {
        text.parse()
    }

    /// Only the output determines the type.
    pub fn default_of<T: Default>(&self, _by: impl Display) -> T {
        T::default()
    }

    /// The type's own name is the base.
    pub fn itself(&self, other: &Odd<R, N>) -> Odd<R, N> {
        other.clone()
    }

    /// Paths that begin at `self`.
    pub async fn word(&self, of: &self::types::Word) -> self::types::Word
    where
        types::Word: Send,
    {
        types::Word(of.0.clone())
    }

    /// A receiver with a written type.
    #[allow(
        clippy::needless_arbitrary_self_type,
        reason = "it is written so on purpose"
    )]
    pub async fn by_path(self: &Self) -> u32 {
        10
    }

    /// With a lifetime.
    pub async fn named<'a>(&'a self, text: &'a str) -> usize {
        text.len()
    }

    /// Whatever else.
    #[deprecated(note = "use another")]
    #[blocking]
    pub fn old(&self) -> u32 {
        11
    }

    /// Whatever else.
    #[deprecated(note = "use another")]
    pub fn old_and_plain(&self) -> u32 {
        12
    }

    /// Whatever else.
    #[deprecated(note = "use another")]
    #[must_use = "it is of one mirror"]
    #[only(blocking)]
    pub fn old_and_only(&self) -> u32 {
        13
    }

    /// A method of each mirror, with the same name.
    #[only(blocking)]
    #[track_caller]
    pub fn both(&self, to: &mut Vec<u32>) -> io::Result<Self> {
        to.push(std::panic::Location::caller().line());
        Ok(self.clone())
    }

    /// A method of each mirror, with the same name.
    #[only(asynchronous)]
    pub async fn both(&self, to: &mut Vec<u32>) -> io::Result<Self> {
        to.push(0);
        Ok(self.clone())
    }

    /// An unsafe function.
    ///
    /// # Safety
    ///
    /// None is needed.
    #[only(blocking)]
    pub unsafe fn only_unsafe<const M: usize>(&self, values: [u8; M]) -> usize {
        values.len()
    }

    #[allow(clippy::too_many_arguments, reason = "as many as there may be")]
    /// As many arguments as there may be.
    pub fn many(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
        a + b + c + d + e + f + g + h
    }

    #[cfg(any())]
    /// Not there.
    pub fn not_there(&self) -> Nonsense {}
}

/// A second block of the same type.
#[calls(mirror(more))]
impl<R: Runtime> Odd<R, 3> {
    /// A method of three alone.
    #[blocking]
    pub fn of_three(&self) -> Self {
        self.clone()
    }

    /// A constant of three alone.
    pub const THREE: usize = Self::COUNT;

    /// Another method of one mirror.
    #[only(asynchronous)]
    pub async fn waits(&self) -> usize {
        fourway_core::yield_now().await;
        Self::THREE
    }
}

#[test]
fn both_mirrors_have_every_shape() {
    let rt = runtime();
    let odd = blocking::Odd::<AnyRuntime, 3>::new(rt.clone());
    let awaited: asynchronous::Odd<AnyRuntime, 3> = std::convert::Into::into(odd.clone());
    const { assert!(blocking::Odd::<AnyRuntime, 2>::COUNT == 2) };
    assert_eq!((odd.count(), awaited.count()), (3, 3));
    assert!(Odd::<AnyRuntime, 3>::NONE.is_none() && Odd::<AnyRuntime, 3>::ALL.is_empty());
    let odd = odd.moved();
    // SAFETY: it is below 3.
    let unchecked = unsafe { (odd.unchecked(0), odd.unchecked(1)) };
    assert!(unchecked.0.is_none() && unchecked.1.is_some());
    assert_eq!(odd.foreign(1), 2);
    assert_eq!(blocking::Odd::into(&odd), 7);
    assert_eq!(blocking::Odd::<AnyRuntime, 3>::from(7), 7);
    assert_eq!((odd.to_owned(), odd.wait()), (8, 9));
    assert_eq!(odd.patterns((1, 2), 3, 4), 6);
    assert_eq!(odd.parsed::<u8>("8", "").unwrap(), 8);
    let parsed: Result<u8, _> = odd.parsed("8", "");
    assert_eq!((parsed.unwrap(), odd.default_of::<u8>("")), (8, 0));
    let base: Odd = Odd::new(rt.clone());
    let base: Odd = odd.itself(&base);
    let word = types::Word("four".into());
    assert_eq!(odd.word(&word), word);
    assert_eq!((odd.by_path(), odd.named("four")), (10, 4));
    #[allow(deprecated, reason = "they are called for the test")]
    let old = (odd.old(), odd.old_and_plain(), odd.old_and_only());
    assert_eq!(old, (11, 12, 13));
    assert_eq!(base.to_owned().wait(), 8);
    // SAFETY: nothing is needed.
    assert_eq!(unsafe { odd.only_unsafe([1, 2]) }, 2);
    assert_eq!(odd.many(1, 1, 1, 1, 1, 1, 1, 1), 8);
    let mut seen = Vec::new();
    let (_, line) = (odd.both(&mut seen).unwrap(), line!());
    assert_eq!(odd.of_three().to_owned(), 8);
    assert_eq!(blocking::Odd::<AnyRuntime, 3>::THREE, 3);
    rt.block_on(async {
        awaited.both(&mut seen).await.unwrap();
        assert_eq!(awaited.to_owned().await, 8);
        assert_eq!(awaited.parsed::<u8>("8", "").await.unwrap(), 8);
        assert_eq!(awaited.word(&word).await, word);
        assert_eq!(awaited.of_three().await.waits().await, 3);
    });
    assert_eq!(seen, [line, 0]);
}

/// A second type in the module. The modules of its mirrors have other names, and may have another
/// visibility.
#[derive(Debug)]
pub struct Other<T, R> {
    rt: R,
    of: PhantomData<fn() -> T>,
}

// `T` need not be `Clone`.
impl<T, R: Clone> Clone for Other<T, R> {
    fn clone(&self) -> Self {
        Self {
            rt: self.rt.clone(),
            of: PhantomData,
        }
    }
}

#[calls(mirror(blocking = pub(self) other_blocking, asynchronous = other_asynchronous))]
impl<T: Default + Send + 'static, R> Other<T, R>
where
    R: Runtime,
{
    /// A constructor.
    pub fn new(rt: R) -> Self {
        Self {
            rt,
            of: PhantomData,
        }
    }

    /// Makes one.
    pub async fn make(&self) -> T {
        T::default()
    }
}

/// A mirror without its runtime parameter has `AnyRuntime`, also if a `where` clause bounds that.
pub fn of_any_runtime(mirror: other_asynchronous::Other<u8>) -> Other<u8, AnyRuntime> {
    mirror.into()
}

/// A type of which only one form is mirrored: the mirror has no parameters.
#[derive(Clone, Debug)]
pub struct Formed<F> {
    rt: AnyRuntime,
    form: F,
}

#[calls(mirror(blocking = formed_blocking, asynchronous = formed_asynchronous))]
impl Formed<Vec<u8>> {
    /// A constructor.
    pub fn new(rt: AnyRuntime) -> Self {
        let form = vec![1];
        Self { rt, form }
    }

    /// How long it is.
    #[blocking]
    pub fn length(&self) -> usize {
        self.form.len()
    }

    /// A length.
    pub const LENGTH: usize = 2;

    /// A constant whose type is given by another.
    pub const ARRAY: [u8; Self::LENGTH] = [3; Self::LENGTH];

    /// Types that `Self` gives, and is no part of.
    #[blocking]
    pub fn given(&self, array: [u8; Self::LENGTH]) -> [<Self as Gives>::Item; Self::LENGTH] {
        array.map(u32::from)
    }
}

/// Gives a type.
pub trait Gives {
    /// The type.
    type Item;
}

impl Gives for Formed<Vec<u8>> {
    type Item = u32;
}

#[test]
fn several_types_in_one_module() {
    let rt = runtime();
    let other = other_blocking::Other::<u8, _>::new(rt.clone());
    assert_eq!(other.make(), 0);
    let other: other_asynchronous::Other<u8, AnyRuntime> = std::convert::Into::into(other);
    assert_eq!(rt.block_on(other.make()), 0);
    let other = of_any_runtime(other);
    assert_eq!(other.make().wait(), 0);
    let formed = formed_blocking::Formed::new(rt.clone());
    assert_eq!(formed.length(), 1);
    assert_eq!(formed.given(formed_blocking::Formed::ARRAY), [3, 3]);
    let formed: formed_asynchronous::Formed = std::convert::Into::into(formed);
    assert_eq!(rt.block_on(formed.length()), 1);
}

/// Bounds and arguments with paths that begin at this module, the parent of the mirror's module.
pub mod inside {
    use super::AnyRuntime;

    /// A bound.
    pub trait Bound: Send + Sync + Clone + 'static {}

    impl Bound for u8 {}

    /// A library.
    #[derive(Clone, Debug)]
    pub struct Library<T: self::Bound, R: super::Runtime = AnyRuntime> {
        pub(super) rt: R,
        pub(super) value: T,
    }

    #[fourway_macros::calls(mirror)]
    impl<T: self::Bound, R> Library<T, R>
    where
        R: super::Runtime,
    {
        /// The value.
        #[blocking]
        pub fn value(&self) -> T {
            self.value.clone()
        }
    }
}

#[test]
fn paths_begin_where_they_are_written() {
    let rt = runtime();
    let library = inside::Library { rt, value: 5_u8 };
    let library: inside::blocking::Library<_, _> = std::convert::From::from(library);
    assert_eq!(library.value(), 5);
}
