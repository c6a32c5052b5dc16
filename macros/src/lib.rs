//! Attributes that take the ceremony out of a library that is written once.
//!
//! | attribute | on | gives |
//! |---|---|---|
//! | [`calls`](macro@calls) | an `impl` block, a trait | methods that return calls, from plain bodies |
//! | [`main`](macro@main) | `async fn main` | a program on a runtime of `fourway` |
//! | [`test`](macro@test) | a test | a test for each runtime that is compiled in |
//!
//! They write the code that one would write by hand. Their docs show this code, so a library can
//! drop the attributes again. The last two belong to the facade `fourway`, feature `macros`; there,
//! `fourway::calls` is this [`calls`](macro@calls) with other paths.

#![forbid(unsafe_code)]

mod arguments;
mod attributes;
mod calls;
mod entry;
mod errors;
#[cfg(test)]
mod examples_tests;
#[cfg(test)]
mod expansion_tests;
mod item;
mod mirror;
mod mirror_methods;
mod options;
mod parse;
mod recursion;
mod signature;
mod unconstrained;
mod words;

use proc_macro::TokenStream;

use options::Home;

/// Methods that are written as plain functions become [`Call`]s, which their caller waits for,
/// awaits or spawns.
///
/// [`Call`]: https://docs.rs/fourway-core/latest/fourway_core/call/trait.Call.html
///
/// On an `impl` block, each `async fn` and each `fn` that is marked `#[blocking]`, as its body may
/// block, becomes a method that returns `impl Call<Output = T>`. The rest of the block stays
/// as it is.
///
/// ```
/// use fourway_core::{AnyRuntime, Call, Runtime};
/// use fourway_macros::calls;
/// use std::{io, path::{Path, PathBuf}, sync::Arc};
///
/// #[derive(Clone)]
/// pub struct Notes<R = AnyRuntime> {
///     rt: R,
///     root: Arc<Path>,
/// }
///
/// #[calls]
/// impl<R: Runtime> Notes<R> {
///     pub fn new(rt: R, root: impl Into<PathBuf>) -> Self {
///         Self { rt, root: root.into().into() }
///     }
///
///     /// May block: reads a file.
///     #[blocking]
///     pub fn load(&self, name: &str) -> io::Result<String> {
///         std::fs::read_to_string(self.root.join(name))
///     }
///
///     /// Async: waits for many at once.
///     pub async fn total(&self, names: &[String]) -> io::Result<usize> {
///         let tasks: Vec<_> = names.iter().map(|name| self.load(name).spawn()).collect();
///         let mut total = 0;
///         for task in tasks {
///             total += task.await??.len();
///         }
///         Ok(total)
///     }
/// }
///
/// # fn sync_callers(notes: &Notes) -> io::Result<()> {
/// let text = notes.load("today").wait()?; // sync code
/// # Ok(())
/// # }
/// # async fn callers(notes: &Notes) -> io::Result<()> {
/// let text = notes.load("today").await?; // async code
/// let task = notes.load("today").spawn(); // in parallel
/// # Ok(())
/// # }
/// ```
///
/// # What it writes
///
/// It writes the pattern that the docs of `fourway_core::call` show for a body that uses `self`:
/// the body stays a private method, and the public method makes a call of it.
///
/// ```
/// # use fourway_core::{Call, Runtime};
/// # use std::{io, path::Path, sync::Arc};
/// # #[derive(Clone)]
/// # pub struct Notes<R> { rt: R, root: Arc<Path> }
/// # impl<R: Runtime> Notes<R> {
/// /// May block: reads a file.
/// pub fn load(&self, name: &str) -> impl Call<Output = io::Result<String>> + use<R> {
///     let this = self.clone();
///     let name = name.to_owned();
///     self.rt.call_blocking(move || this.load_body(&name))
/// }
///
/// fn load_body(&self, name: &str) -> io::Result<String> {
///     std::fs::read_to_string(self.root.join(name))
/// }
/// # }
/// ```
///
/// and for an async body `self.rt.call_with(async move || this.total_body(&names).await)`. A call
/// starts nothing before it is used. It allocates as much as the same form by hand, and takes as
/// many instructions (`benches/instructions` counts both). By hand, a body can also be in the
/// closure. This saves an async body the second future, some 60 instructions a call. The attribute
/// keeps bodies as methods, so that `self` is `self` in them and errors are those of a method.
///
/// * **`self`** is cloned, so the type must be `Clone`; put fields that are expensive to clone
///   behind an `Arc`. With `self: &Arc<Self>` the `Arc` is cloned, and the type need not be
///   `Clone`. `self` and `self: Arc<Self>` are moved. `&mut self` is not possible: a call outlives
///   the borrow.
/// * **Arguments** that are borrowed are made owned by `ToOwned`, and borrowed again in the
///   body: `&str`, `&Path`, `&[T]`, any `&T: ToOwned`; `Option<&T>`; and `&[&T]`, which takes two
///   vectors. That allocates if the owned type does; take the owned type or an `Arc` where it
///   matters. `impl Trait` and type parameters are moved, and must be `Send + 'static`. An `impl
///   Trait` becomes a type parameter with a name, after those of the method: callers who write
///   `::<T>` write `::<T, _>`.
/// * **The output** borrows nothing: the call may outlive its maker.
/// * **In an async body**, other methods give calls: `self.load(name).await`.
/// * **In a blocking body**, `self.load(name)` of another blocking method of the same block calls
///   its body in place. For a call, use it at once (`self.load(name).wait()`, `.spawn()`,
///   `.boxed()`, `.timeout(..)`), or write `Self::load(self, name)`, also for `.map(..)`, `.then(..)` and
///   their kin, which outputs may have as well. A method that gives `Items` gives them here too. A method that is written twice, each under a
///   `#[cfg(..)]`, and is blocking only once is not called in place: `self.load(name)` is a call where
///   the blocking one is compiled.
/// * **Attributes**: docs, `#[must_use]`, `#[deprecated]`, `#[track_caller]` and `#[inline]` stay
///   with the public method. `#[cfg]` and lint levels go to both the public method and the body
///   (`#[expect]` as `#[allow]`, because the lint may occur in only one of them). All others, such
///   as `#[tracing::instrument]`, go to the body. An attribute in a `#[cfg_attr(..)]` goes where it
///   would go without the condition.
///
/// # Marks and options
///
/// | mark on a method | |
/// |---|---|
/// | `#[blocking]` | on a `fn`: the body may block |
/// | `#[boxed]` | returns a `BoxCall<T>`; a method that awaits itself needs it |
/// | `#[only(blocking)]`, `#[only(asynchronous)]` | is in that mirror alone |
///
/// | option | default | |
/// |---|---|---|
/// | `runtime = self.inner.rt` | `self.rt` | where the runtime is |
/// | `boxed` | | `#[boxed]` on every method |
/// | `crate = path` | `::fourway_core` (`::fourway` for `fourway::calls`) | the crate that has `call` and `Runtime` |
/// | `streams = path` | `::fourway_streams` (`::fourway::streams`) | the crate that has `Items` |
/// | `mirror`, `mirror(..)` | | see below |
///
/// # Many values
///
/// A method that returns `Items<T>`, by any path, gives many values. (Give a type of your own that has
/// this name another one by `use .. as`.) A blocking body gives an iterator; an async
/// body gives a stream, such as `fourway_streams::generate` makes of an async closure. Neither may
/// borrow, as it is used after the method has returned: clone the values that it needs.
///
/// ```
/// // In a library: of `fourway_core`, `fourway_macros` and `fourway_streams`.
/// use fourway::{Runtime, calls, streams::{Items, generate}};
/// use std::{collections::BTreeMap, sync::Arc, time::Duration};
///
/// #[derive(Clone)]
/// pub struct Log<R> {
///     rt: R,
///     lines: Arc<BTreeMap<u32, String>>,
/// }
///
/// #[calls]
/// impl<R: Runtime> Log<R> {
///     /// An iterator; may block.
///     #[blocking]
///     pub fn lines(&self) -> Items<String> {
///         let lines = self.lines.clone();
///         (0..).map_while(move |number| lines.get(&number).cloned())
///     }
///
///     /// A stream.
///     pub async fn slowly(&self, pause: Duration) -> Items<String> {
///         let this = self.clone();
///         generate(async move |mut to| {
///             for line in this.lines.values() {
///                 this.rt.sleep(pause).await;
///                 to.send(line.clone()).await;
///             }
///         })
///     }
/// }
/// # let rt = fourway_std_thread::StdThread::new().unwrap();
/// # let log = Log { rt, lines: Arc::new(BTreeMap::from([(0, "one".into()), (1, "two".into())])) };
/// # let lines: Vec<_> = log.lines().into_iter().collect();
/// # let slowly: Vec<_> = log.slowly(Duration::from_millis(1)).into_iter().collect();
/// # assert_eq!((lines.len(), &lines), (2, &slowly));
/// ```
///
/// # Traits
///
/// On a trait the methods return a `BoxCall`, so that `dyn Trait` works. A method with type
/// parameters is no part of that: it says `where Self: Sized`. The methods have no bodies, as a body
/// clones `self`, and a `dyn Trait` cannot be cloned. On the `impl` of such a trait the bodies
/// are written as usual. The type must be of your crate, as the bodies go into an `impl` block of
/// the type.
///
/// ```
/// use fourway_core::{Call, Runtime};
/// use fourway_macros::calls;
///
/// #[calls]
/// pub trait Words: Send + Sync {
///     /// How long a word is.
///     async fn length(&self, word: &str) -> usize;
///
///     #[blocking]
///     fn forget(&self, word: &str) -> bool;
/// }
///
/// #[derive(Clone)]
/// struct Simple<R> {
///     rt: R,
/// }
///
/// #[calls]
/// impl<R: Runtime> Words for Simple<R> {
///     async fn length(&self, word: &str) -> usize {
///         word.len()
///     }
///
///     #[blocking]
///     fn forget(&self, word: &str) -> bool {
///         word.is_empty()
///     }
/// }
///
/// fn total(words: &dyn Words) -> usize {
///     words.length("four").wait() + words.length("way").wait()
/// }
/// ```
///
/// # Mirrors
///
/// `#[calls(mirror)]` on an `impl` block of `Notes` also makes the modules `blocking` and
/// `asynchronous`, each with a `Notes` whose methods have ordinary signatures, `fn` and `async fn`,
/// for libraries that want these in their public API. Each method delegates to the call: no body is
/// compiled twice. The modules also have the other public functions of the block; functions that
/// return `Self` return the mirror. The types convert into each other by `From`.
///
/// ```
/// # use fourway_core::{AnyRuntime, Call, Runtime};
/// # use fourway_macros::calls;
/// #[derive(Clone)]
/// pub struct Sums<R = AnyRuntime> {
///     rt: R,
/// }
///
/// #[calls(mirror)]
/// impl<R: Runtime> Sums<R> {
///     pub fn new(rt: R) -> Self {
///         Self { rt }
///     }
///
///     /// Adds.
///     pub async fn add(&self, a: u32, b: u32) -> u32 {
///         a + b
///     }
/// }
///
/// fn sync_code(rt: AnyRuntime) -> u32 {
///     blocking::Sums::new(rt).add(1, 2)
/// }
///
/// async fn async_code(rt: AnyRuntime) -> u32 {
///     asynchronous::Sums::new(rt).add(1, 2).await
/// }
/// # fn main() {}
/// ```
///
/// The mirrors also have the public constants of the block, except those whose type contains `Self`,
/// as `Option<Self>` does. A `const fn` stays `const` unless it takes `self` by value or returns a
/// `Result` or an `Option` of `Self`. An `unsafe fn` stays `unsafe`. In signatures, the type's own
/// name, `Sums<R>`, is the base type, and so is `Self` as an argument.
///
/// `mirror(blocking = sync, asynchronous = aio)` gives the modules other names, and
/// `blocking = pub(crate) sync` another visibility than `pub`. A method marked `#[only(blocking)]`,
/// a plain `fn`, or `#[only(asynchronous)]`, an `async fn`, is only in that mirror, for methods that
/// really differ; its body is written for the base type. Both mirrors may have such a method of the
/// same name. The runtime's parameter has the default `AnyRuntime`, if it is the last one. Defaults of
/// other parameters stand on the type, which the attribute does not see: callers of a mirror name
/// these arguments, or a `type` of yours does. The modules see the names beside the `impl` block, by `use super::*`. So a mirror
/// cannot be made inside of a function.
///
/// A further block of the type adds to its mirrors with `mirror(more)`, with the names of the
/// modules if these are not the default. Two types in one module cannot both have a module
/// `blocking`. Give the modules of the second type other names, and re-export the mirrors where you
/// like:
///
/// ```
/// # use fourway_core::{AnyRuntime, Runtime};
/// # use fourway_macros::calls;
/// # #[derive(Clone)]
/// # pub struct Sums<R = AnyRuntime> { rt: R }
/// # #[derive(Clone)]
/// # pub struct Products<R = AnyRuntime> { rt: R }
/// #[calls(mirror(blocking = pub(crate) sums_blocking, asynchronous = pub(crate) sums_async))]
/// impl<R: Runtime> Sums<R> {
///     pub async fn add(&self, a: u32, b: u32) -> u32 {
///         a + b
///     }
/// }
///
/// #[calls(mirror(more, blocking = sums_blocking, asynchronous = sums_async))]
/// impl<R: Runtime> Sums<R> {
///     pub async fn subtract(&self, a: u32, b: u32) -> u32 {
///         a - b
///     }
/// }
///
/// #[calls(mirror(blocking = pub(crate) products_blocking, asynchronous = pub(crate) products_async))]
/// impl<R: Runtime> Products<R> {
///     pub async fn multiply(&self, a: u32, b: u32) -> u32 {
///         a * b
///     }
/// }
///
/// pub mod blocking {
///     pub use crate::{products_blocking::Products, sums_blocking::Sums};
/// }
/// # fn main() {
/// # let sums = blocking::Sums::from(Sums { rt: AnyRuntime::new(fourway_std_thread::StdThread::new().unwrap()) });
/// # assert_eq!((sums.add(1, 2), sums.subtract(3, 1)), (3, 2));
/// # }
/// ```
///
/// # Errors
///
/// An unsupported form is an error at its line, which says what to write instead.
#[proc_macro_attribute]
pub fn calls(arguments: TokenStream, item: TokenStream) -> TokenStream {
    calls::expand(arguments.into(), item.into(), Home::Core).into()
}

/// Methods that are written as plain functions become calls, as with `fourway_macros::calls`, which
/// has the docs. The expansion names `fourway`, not `fourway-core`.
#[proc_macro_attribute]
pub fn calls_of_facade(arguments: TokenStream, item: TokenStream) -> TokenStream {
    calls::expand(arguments.into(), item.into(), Home::Facade).into()
}

/// A program on one of `fourway`'s runtimes. For `fourway::main`, feature `macros`.
///
/// ```ignore
/// #[fourway::main(workers = 4, shutdown = "5s")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     Ok(())
/// }
/// ```
///
/// `main` may return any type that a `main` may return. The attribute writes
///
/// ```ignore
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     async fn body() -> Result<(), Box<dyn std::error::Error>> {
///         Ok(())
///     }
///     fourway::entry::Main::new()
///         .worker_threads(4)
///         .shutdown_timeout(Duration::from_millis(5000))
///         .run(body())
/// }
/// ```
///
/// | option | default | |
/// |---|---|---|
/// | `runtime = "tokio"` | `FOURWAY_RUNTIME`, or the first compiled in | `"tokio"`, `"smol"` or `"std-thread"` |
/// | `workers = 4` | the number of cores | threads for tasks |
/// | `flavour = "current_thread"` | `"multi_thread"` | one thread for all tasks |
/// | `thread_name = "name"` | the runtime's | what the threads' names begin with |
/// | `shutdown = "5s"` | 10 seconds | how long the shutdown waits for what still runs |
/// | `crate = path` | `::fourway` | the facade, if it has another name |
///
/// `main` may take the runtime, `async fn main(rt: AnyRuntime)`; with the feature `ctrl-c` of `fourway`,
/// a token that Ctrl-C cancels, `async fn main(stop: CancellationToken)`; or both, in any order. The
/// attribute writes `run_given(body)` then.
///
/// # Errors
///
/// A runtime that is not compiled in, or any other mistake, is an error at its place.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::main(arguments.into(), item.into()).into()
}

/// A test for each runtime that is compiled in. For `fourway::test`, feature `macros`.
///
/// ```ignore
/// #[fourway::test]
/// async fn adds() {
///     assert_eq!(1 + 2, 3);
/// }
///
/// #[fourway::test(only(tokio, smol), timeout = "10s")]
/// async fn spawns(rt: fourway::AnyRuntime) -> Result<(), fourway::JoinError> {
///     rt.spawn(async {}).await
/// }
/// ```
///
/// `adds::tokio`, `adds::smol` and `adds::std_thread` are tests; the function is compiled once.
/// Each test has its own runtime with two workers, which is shut down at the end. A test takes no
/// argument, or the runtime. A plain `fn` is sync code: it takes the runtime and runs on a
/// plain thread.
///
/// | option | |
/// |---|---|
/// | `only(tokio)`, `except(smol)` | on which runtimes: of `tokio`, `smol`, `std_thread` |
/// | `workers = 4`, `flavour = "current_thread"` | as of `main` |
/// | `timeout = "10s"` | fails if it waits for longer |
/// | `crate = path` | the facade, if it has another name |
///
/// `#[should_panic]` and `#[ignore]` go to each test. `#[rstest]` and `#[test_case(..)]` may stand
/// above or below. Another attribute that makes a test (`#[test]`, `#[tokio::test]`) is an error,
/// as each test would run twice.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::test(arguments.into(), item.into()).into()
}

// The README's example is tested as any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
