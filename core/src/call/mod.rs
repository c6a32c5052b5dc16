//! Written once, called from anywhere: [`Call`].
//!
//! A library's method gives a call; its caller says `.wait()`, `.await` or `.spawn()`. The sections
//! below show how to write such methods, and how to use them.
//!
//! | what there is | made by |
//! |---|---|
//! | an async body | [`call`], [`call_with`] |
//! | a body that may block | [`call_blocking`] |
//! | a value that is there already | [`call_ready`] |
//! | one of two calls; a call of any type | [`Either`]; [`boxed`](Call::boxed) |
//! | one after the other | [`then`](Call::then), [`and_then`](Call::and_then), [`or_else`](Call::or_else) |
//! | the same with another output | [`map`](Call::map), [`map_ok`](Call::map_ok), [`map_err`](Call::map_err) |
//! | with a limit in time | [`timeout`](Call::timeout) |
//! | several at once | [`call_all`], [`call_try_all`], [`call_race`], [`call_race_ok`] |
//!
//! # What a method returns
//!
//! [`BoxCall`] is the easy signature. It is one type, also for fields, branches, recursion and `dyn`
//! traits, and costs an allocation, and one more where it is awaited or spawned:
//!
//! ```
//! use fourway_core::{BoxCall, Call, Runtime};
//! use std::{fs, io, path::PathBuf};
//!
//! pub struct Notes<R> {
//!     rt: R,
//! }
//!
//! impl<R: Runtime> Notes<R> {
//!     pub fn load(&self, path: impl Into<PathBuf>) -> BoxCall<io::Result<String>> {
//!         let path = path.into();
//!         self.rt.call_blocking(move || fs::read_to_string(path)).boxed()
//!     }
//!
//!     // Allocates nothing.
//!     pub fn remove(&self, path: PathBuf) -> impl Call<Output = io::Result<()>> + use<R> {
//!         self.rt.call_blocking(move || fs::remove_file(path))
//!     }
//! }
//! ```
//!
//! `impl Call<Output = T> + use<R>` allocates nothing. `use<R>` names the type parameters, and says
//! that the call borrows neither `self` nor the arguments. It never does, as a call is `'static`,
//! but the compiler assumes so where the words are left out: such a call can be waited for, awaited
//! and spawned, but cannot become part of another call. A parameter without a name, such as an `impl
//! Into<PathBuf>`, cannot be left out by `use`: take the type itself, or return a [`BoxCall`].
//!
//! # A body that uses `self`
//!
//! A call borrows nothing, so that it can be kept and sent to other threads. The body gets a
//! clone of the library's handle, and borrows that:
//!
//! ```
//! use fourway_core::{BoxCall, Call, Runtime};
//! use std::sync::Arc;
//!
//! #[derive(Clone)]
//! pub struct Index<R> {
//!     rt: R,
//!     words: Arc<Vec<String>>,
//! }
//!
//! impl<R: Runtime> Index<R> {
//!     pub fn count(&self, word: &str) -> BoxCall<usize> {
//!         let (this, word) = (self.clone(), word.to_owned());
//!         self.rt.call_with(async move || this.count_in_words(&word).await).boxed()
//!     }
//!
//!     // Borrows as it likes.
//!     async fn count_in_words(&self, word: &str) -> usize {
//!         self.words.iter().filter(|found| *found == word).count()
//!     }
//! }
//! ```
//!
//! # A body that is made late
//!
//! [`call`] takes a future, so the expression that makes it is evaluated at once. An async block
//! does nothing before it is polled, but a function that returns a future may. [`call_with`] takes
//! a closure and calls it when the call is used. Nothing happens before.
//!
//! # Branches
//!
//! Two calls have two types, also when they look alike. [`BoxCall`] is one type for any number of
//! them; [`Either`] is one for two, and allocates nothing:
//!
//! ```
//! use fourway_core::{BoxCall, Call, Runtime};
//! use std::{fs, io};
//!
//! fn text<R: Runtime>(rt: &R, cached: Option<String>) -> BoxCall<io::Result<String>> {
//!     match cached {
//!         Some(text) => rt.call_ready(Ok(text)).boxed(),
//!         None => rt.call_blocking(|| fs::read_to_string("text")).boxed(),
//!     }
//! }
//!
//! fn steps<R: Runtime>(rt: &R) -> Vec<BoxCall<u32>> {
//!     vec![
//!         rt.call_ready(1).boxed(),
//!         rt.call(async { 2 }).boxed(),
//!         rt.call_blocking(|| 3).boxed(),
//!     ]
//! }
//! ```
//!
//! # To try again
//!
//! Using a call consumes it. A call from [`call_with`] or [`call_blocking`] can be cloned if its
//! closure can, and each clone does the work anew:
//!
//! ```
//! use fourway_core::{BoxCall, Call, Runtime};
//! use std::{fs, io, time::Duration};
//!
//! /// Tries it up to `times`, with a pause in between.
//! fn retry<R: Runtime, T, E, C>(rt: &R, call: C, times: usize) -> BoxCall<Result<T, E>>
//! where
//!     C: Call + IntoFuture<Output = Result<T, E>> + Clone + Sync,
//!     T: Send + 'static,
//!     E: Send + 'static,
//! {
//!     let inner = rt.clone();
//!     rt.call_with(move || async move {
//!         for _ in 1..times {
//!             if let Ok(value) = call.clone().await {
//!                 return Ok(value);
//!             }
//!             inner.sleep(Duration::from_millis(50)).await;
//!         }
//!         call.await
//!     })
//!     .boxed()
//! }
//!
//! # fn example<R: Runtime>(rt: &R) -> io::Result<()> {
//! let read = rt.call_blocking(|| fs::read_to_string("busy"));
//! let text = retry(rt, read, 3).wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Recursion
//!
//! The type of a body that calls itself would contain itself. A box avoids that:
//!
//! ```
//! use fourway_core::{BoxCall, Call, Runtime};
//! use std::{fs, io, path::PathBuf};
//!
//! /// How many files there are in a folder and all below, each folder read on the pool.
//! fn files<R: Runtime>(rt: &R, folder: PathBuf) -> BoxCall<io::Result<usize>> {
//!     let inner = rt.clone();
//!     let entries = rt.call_blocking(move || -> io::Result<_> {
//!         fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()
//!     });
//!     rt.call_with(async move || {
//!         let mut count = 0;
//!         for entry in entries.await? {
//!             count += match entry.file_type()?.is_dir() {
//!                 true => files(&inner, entry.path()).await?,
//!                 false => 1,
//!             };
//!         }
//!         Ok(count)
//!     })
//!     .boxed()
//! }
//! ```
//!
//! # Several at once
//!
//! ```
//! use fourway_core::{BoxCall, Call, Runtime};
//! use std::{fs, io, path::PathBuf, time::Duration};
//!
//! fn total<R: Runtime>(rt: &R, paths: Vec<PathBuf>) -> BoxCall<io::Result<u64>> {
//!     let again = rt.clone();
//!     let size = move |path| again.call_blocking(move || Ok(fs::metadata(path)?.len()));
//!     rt.call_try_all(paths.into_iter().map(size))
//!         .at_most(8)
//!         .map_ok(|sizes| sizes.into_iter().sum())
//!         .timeout(Duration::from_secs(10))
//!         .map(|result| result.unwrap_or(Err(io::ErrorKind::TimedOut.into())))
//!         .boxed()
//! }
//! ```
//!
//! # As a plain future
//!
//! Everything that awaits takes a call as it is: `.await`, `tokio::join!`, `tokio::time::timeout`,
//! and `spawn`, `block_on` and `timeout` of any [`Runtime`](crate::Runtime). Functions that ask for
//! a `Future`, such as `futures::join!` or `tokio::spawn`, take
//! [`call.into_future()`](std::future::IntoFuture::into_future), whose type has a name, is `Send`
//! and borrows nothing:
//!
//! ```
//! use fourway_core::{Runtime, call::{Call, CallFuture}};
//! use std::future::{Future, IntoFuture};
//!
//! fn plain<C: Call>(call: C) -> impl Future<Output = C::Output> + Send + 'static {
//!     call.into_future()
//! }
//! ```
//!
//! # After a shutdown
//!
//! One rule ([calls after the shutdown][SH-5]): work that needs no runtime succeeds, and work that
//! needs one gives a typed error.
//!
//! | | async body | blocking body |
//! |---|---|---|
//! | `.wait()`, `.try_wait()` | the output | the output |
//! | `.await` | the output | a panic that names the line |
//! | [`.fallible()`](Call::fallible)`.await` | the output | [`CallError`] |
//! | `.spawn()` | [`JoinError`](crate::JoinError) | [`JoinError`](crate::JoinError) |
//!
//! A call of several parts behaves as its parts do. If it has a time limit, or runs several calls
//! at once, its blocking parts are offloaded even under `.wait()`, and it gives [`BlockOnError`].
//!
//! [`call`]: crate::Runtime::call
//! [`call_with`]: crate::Runtime::call_with
//! [`call_blocking`]: crate::Runtime::call_blocking
//! [`call_ready`]: crate::Runtime::call_ready
//! [`call_all`]: crate::Runtime::call_all
//! [`call_try_all`]: crate::Runtime::call_try_all
//! [`call_race`]: crate::Runtime::call_race
//! [`call_race_ok`]: crate::Runtime::call_race_ok
//! [SH-5]: crate::contract#SH-5

mod blocking;
mod boxed;
mod driven;
mod either;
mod error;
mod future;
mod guarded;
mod lazy;
pub(crate) mod many;
pub(crate) mod parts;
mod then;
mod timeout;

use std::{
    borrow::Cow,
    future::{Future, IntoFuture},
    time::Duration,
};

pub use blocking::{BlockingCall, Offloaded};
pub use boxed::BoxCall;
pub use driven::Driven;
pub use either::{Either, EitherFuture, EitherTask};
pub use error::{CallError, CallFuture, CallTask, Infallible};
pub use future::{AsyncCall, MapFallible, MapFuture};
pub(crate) use guarded::Guarded;
pub use lazy::{LazyCall, LazyFuture};
pub use many::{All, Many, ManyFuture, Race, RaceOk, TryAll};
pub use then::{Then, ThenFuture};
pub use timeout::{Limited, LimitedFuture};

use then::Next;

use crate::{BlockOnError, Task, task::Metadata};

/// A piece of work whose *caller* chooses how it is run.
///
/// A library method returns a call, in the easy form a [`BoxCall<T>`](BoxCall). Its body is either async
/// ([`Runtime::call`](crate::Runtime::call)) or may block ([`Runtime::call_blocking`](crate::Runtime::call_blocking)); its callers
/// need not know which:
///
/// | | [`.wait()`](Self::wait), from sync code | `.await`, from async code | [`.spawn()`](Self::spawn), in parallel |
/// |---|---|---|---|
/// | **async body** | driven on the calling thread | polled in place | a task |
/// | **blocking body** | a plain call | offloaded and awaited | offloaded |
///
/// Dispatch is static: `.wait()` on a blocking body compiles to the call, and
/// `.await` on an async body to the future itself. Neither allocates. Nothing
/// happens until one of the methods is used, and nothing is remembered from one
/// call to the next ([nothing is cached across calls][CX-2]).
///
/// The [module](self) has patterns for bodies, and [the signature that allocates
/// nothing](self#what-a-method-returns).
///
/// The trait is sealed: calls are made by the methods of [`Runtime`](crate::Runtime), and of
/// other calls.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
/// use std::{io, path::PathBuf};
///
/// pub struct Notes<R = AnyRuntime> {
///     rt: R,
///     root: PathBuf,
/// }
///
/// impl<R: Runtime> Notes<R> {
///     pub fn load(&self, name: &str) -> BoxCall<io::Result<String>> {
///         let path = self.root.join(name);
///         self.rt.call_blocking(move || std::fs::read_to_string(path)).boxed()
///     }
/// }
///
/// # async fn callers<R: Runtime>(notes: &Notes<R>) -> io::Result<()> {
/// let text = notes.load("today").await?; // async code
/// # Ok(())
/// # }
/// # fn sync_callers<R: Runtime>(notes: &Notes<R>) -> io::Result<()> {
/// let text = notes.load("today").wait()?; // sync code
/// let task = notes.load("today").spawn(); // in parallel
/// # Ok(())
/// # }
/// ```
///
/// [CX-2]: crate::contract#CX-2
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call",
    label = "expected a call",
    note = "a runtime makes calls: `rt.call(future)`, `rt.call_blocking(|| ..)` or `rt.call_ready(value)`"
)]
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub trait Call:
    IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>
    + parts::Parts
    + Send
    + Sized
    + 'static
{
    /// The handle that [`spawn`](Self::spawn) gives.
    type Task: Task<Self::Output> + 'static;

    /// The future that [`fallible`](Self::fallible) gives.
    type Fallible: Future<Output = Result<Self::Output, CallError>> + Send + 'static;

    /// Does the work on the calling thread, and blocks it until it is done.
    ///
    /// A blocking body is called, with no thread hop and no runtime started. An
    /// async body is driven by the runtime's [`BlockOn`](crate::BlockOn). Neither needs the
    /// runtime to be running still ([calls after the shutdown][SH-5]).
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line, with a message
    /// that says what to do instead ([no blocking in async code][BL-2]). This holds for both kinds
    /// of body, because both would block the executor. It also panics where
    /// [`try_wait`](Self::try_wait) gives another error. A panic of the body reaches the caller.
    ///
    /// [SH-5]: crate::contract#SH-5
    /// [BL-2]: crate::contract#BL-2
    #[inline]
    #[track_caller]
    fn wait(self) -> Self::Output {
        match self.try_wait() {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`wait`](Self::wait), with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// * Those of [`BlockOn::try_block_on`](crate::BlockOn::try_block_on). The
    ///   body has not been started.
    /// * From a call that needs the pool even under `.wait()`, because a body that may block has a
    ///   time limit or runs beside others: [`is_shutdown`](BlockOnError::is_shutdown), if the
    ///   runtime has been shut down, and [`is_unstarted`](BlockOnError::is_unstarted), if it has no
    ///   thread for the body.
    ///
    /// Of several calls in a row, the calls before the refused one have run.
    fn try_wait(self) -> Result<Self::Output, BlockOnError>;

    /// A future that gives an error where `.await` would panic because the runtime has been shut
    /// down, or has no thread for a blocking body.
    ///
    /// Otherwise it does what `.await` does: an async body is polled in place, and never fails; a
    /// blocking one is offloaded at the first poll.
    ///
    /// # Panics
    ///
    /// A panic of the body goes on where the future is polled, with its payload.
    ///
    /// # Cancel safety
    ///
    /// As the body's own. A blocking one is cancelled as an offloaded closure is ([cancelled
    /// closures][OF-3]).
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::Call};
    ///
    /// async fn read<R: Runtime>(rt: &R) -> std::io::Result<String> {
    ///     let text = rt.call_blocking(|| std::fs::read_to_string("notes"));
    ///     text.fallible().await? // also after a shutdown: no panic
    /// }
    /// ```
    ///
    /// [OF-3]: crate::contract#OF-3
    #[inline]
    #[track_caller]
    fn fallible(self) -> Self::Fallible {
        self.fallible_with(Metadata::caller())
    }

    /// As [`fallible`](Self::fallible), for a task that has this metadata: each blocking body of it
    /// gets that too, in place of the line that calls `fallible` ([a handle says which task][JO-6]).
    /// An async body is part of the task. For calls that start others in tasks; a caller has no use
    /// for it.
    ///
    /// [JO-6]: crate::contract#JO-6
    fn fallible_with(self, metadata: Metadata) -> Self::Fallible;

    /// Starts the work in the background, and returns its handle.
    ///
    /// An async body becomes a task, a blocking one goes to the offload pool. Once the
    /// runtime has been shut down, the handle resolves to an error of which
    /// [`is_shutdown`](crate::JoinError::is_shutdown) is true ([spawn after the shutdown][SP-3],
    /// [calls after the shutdown][SH-5]).
    ///
    /// [SP-3]: crate::contract#SP-3
    /// [SH-5]: crate::contract#SH-5
    #[inline]
    #[track_caller]
    fn spawn(self) -> Self::Task {
        self.spawn_with(Metadata::caller())
    }

    /// As [`spawn`](Self::spawn), with a name, which layers and
    /// [`JoinError`](crate::JoinError)s see.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, call::Call};
    ///
    /// async fn load<R: Runtime>(rt: &R) -> Result<String, fourway_core::JoinError> {
    ///     let settings = rt.call_blocking(|| String::from("settings"));
    ///     settings.spawn_named("settings").await
    /// }
    /// ```
    #[track_caller]
    fn spawn_named(self, name: impl Into<Cow<'static, str>>) -> Self::Task {
        self.spawn_with(Metadata::caller().named(name))
    }

    /// Starts the work that `metadata` describes. See [`spawn`](Self::spawn).
    fn spawn_with(self, metadata: Metadata) -> Self::Task;

    /// Maps the output, on the thread where the body has run.
    ///
    /// # Panics
    ///
    /// A panic of `g` is one of the body.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    ///
    /// fn length<R: Runtime>(rt: &R, text: String) -> BoxCall<usize> {
    ///     rt.call(async move { text }).map(|text| text.len()).boxed()
    /// }
    /// ```
    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(Self::Output) -> U + Send + 'static,
        U: Send + 'static;

    /// Maps the value of an `Ok` output. As [`map`](Self::map).
    fn map_ok<T, E, U, G>(self, g: G) -> impl Call<Output = Result<U, E>>
    where
        Self: IntoFuture<Output = Result<T, E>>,
        G: FnOnce(T) -> U + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
    {
        self.map(move |output| output.map(g))
    }

    /// Maps the error of an `Err` output. As [`map`](Self::map).
    fn map_err<T, E, U, G>(self, g: G) -> impl Call<Output = Result<T, U>>
    where
        Self: IntoFuture<Output = Result<T, E>>,
        G: FnOnce(E) -> U + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
    {
        self.map(move |output| output.map_err(g))
    }

    /// Goes on with another call, made from the output; the kinds of body may
    /// differ. The second call uses its own runtime.
    ///
    /// `.wait()` runs the two one after the other on the calling thread. `.spawn()` makes them a
    /// task of the first one's runtime, which offloads a blocking body.
    ///
    /// # Panics
    ///
    /// A panic of `g` is one of the body. `g` runs where the whole is driven: it must not
    /// block.
    ///
    /// # Cancel safety
    ///
    /// If the whole is dropped between the two, the second one is never made.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    ///
    /// fn next<R: Runtime>(rt: &R, n: u32) -> BoxCall<u32> {
    ///     rt.call(async move { n + 1 }).boxed()
    /// }
    ///
    /// fn twice<R: Runtime>(rt: &R) -> BoxCall<u32> {
    ///     let again = rt.clone();
    ///     next(rt, 1).then(move |n| next(&again, n)).boxed()
    /// }
    /// ```
    fn then<C, G>(self, g: G) -> impl Call<Output = C::Output>
    where
        C: Call,
        G: FnOnce(Self::Output) -> C + Send + 'static,
    {
        Then::new(self, move |output| Next::Call(g(output)))
    }

    /// Goes on with another call, made from the value, if the output is `Ok`. As
    /// [`then`](Self::then).
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    /// use std::{fs, io};
    ///
    /// /// Reads the file that a file names.
    /// fn named<R: Runtime>(rt: &R) -> BoxCall<io::Result<String>> {
    ///     let again = rt.clone();
    ///     rt.call_blocking(|| fs::read_to_string("name"))
    ///         .and_then(move |name| again.call_blocking(move || fs::read_to_string(name)))
    ///         .boxed()
    /// }
    /// ```
    fn and_then<T, E, U, C, G>(self, g: G) -> impl Call<Output = Result<U, E>>
    where
        Self: IntoFuture<Output = Result<T, E>>,
        C: Call + IntoFuture<Output = Result<U, E>>,
        G: FnOnce(T) -> C + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
    {
        Then::new(self, move |output| match output {
            Ok(value) => Next::Call(g(value)),
            Err(error) => Next::Done(Err(error)),
        })
    }

    /// Goes on with another call, made from the error, if the output is `Err`. As
    /// [`then`](Self::then).
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    /// use std::{fs, io};
    ///
    /// /// Reads one file, or else another.
    /// fn first<R: Runtime>(rt: &R) -> BoxCall<io::Result<String>> {
    ///     let again = rt.clone();
    ///     rt.call_blocking(|| fs::read_to_string("settings"))
    ///         .or_else(move |_| again.call_blocking(|| fs::read_to_string("defaults")))
    ///         .boxed()
    /// }
    /// ```
    fn or_else<T, E, U, C, G>(self, g: G) -> impl Call<Output = Result<T, U>>
    where
        Self: IntoFuture<Output = Result<T, E>>,
        C: Call + IntoFuture<Output = Result<T, U>>,
        G: FnOnce(E) -> C + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
    {
        Then::new(self, move |output| match output {
            Ok(value) => Next::Done(Ok(value)),
            Err(error) => Next::Call(g(error)),
        })
    }

    /// Gives the call at most `duration` to finish, from the moment in which it is waited
    /// for, first polled, or run as a task.
    ///
    /// The output is `Ok`, or [`Elapsed`](crate::Elapsed) after the call has been dropped ([timeout
    /// and interval][TI-3]). A blocking body is offloaded, even under `.wait()`, because work on
    /// the calling thread cannot be given up. A body that has not started when the time is up never
    /// runs. A running one runs to its end on the pool, and its output is dropped ([cancelled
    /// closures][OF-3]).
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Call, Runtime};
    /// use std::{io, time::Duration};
    ///
    /// fn soon<R: Runtime>(rt: &R) -> BoxCall<io::Result<u32>> {
    ///     rt.call(async { Ok(42) })
    ///         .timeout(Duration::from_secs(5))
    ///         .map(|result| result.unwrap_or(Err(io::ErrorKind::TimedOut.into())))
    ///         .boxed()
    /// }
    /// ```
    ///
    /// [TI-3]: crate::contract#TI-3
    /// [OF-3]: crate::contract#OF-3
    fn timeout(self, duration: Duration) -> Driven<Limited<Self>> {
        Driven {
            drive: Limited::new(self, duration),
        }
    }

    /// The call without its type: for `dyn` traits, fields, branches and recursion.
    ///
    /// See [`BoxCall`] for its cost.
    fn boxed(self) -> BoxCall<Self::Output> {
        BoxCall::new(self)
    }
}
