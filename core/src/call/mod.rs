//! Written once, called from anywhere: [`Call`].

mod blocking;
mod boxed;
mod future;
mod lazy;
mod then;

use std::future::IntoFuture;

pub use blocking::{BlockingCall, Offloaded};
pub use boxed::BoxCall;
pub use future::{AsyncCall, MapFuture};
pub use lazy::{LazyCall, LazyFuture};
pub use then::{Then, ThenFuture};

use crate::{BlockOnError, Runtime, Task};

/// A piece of work whose *caller* chooses how it is run.
///
/// A library method returns `impl Call<Output = T>`. Its body is either async
/// ([`Runtime::call`]) or may block ([`Runtime::call_blocking`]); its callers
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
/// call to the next (CX-2).
///
/// # What a method returns
///
/// `-> impl Call<Output = T> + use<R>` says that the call borrows neither `self` nor
/// arguments (it never does: a call is `'static`). Without `+ use<R>` the compiler assumes
/// that it borrows all of them: then it can be waited for, awaited and spawned, but can
/// not become part of another call. `-> BoxCall<T>` needs no such words, costs an
/// allocation or two, and is what a `dyn` trait can have.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, Runtime, call::Call};
/// use std::{io, path::PathBuf};
///
/// pub struct Notes<R = AnyRuntime> {
///     rt: R,
///     root: PathBuf,
/// }
///
/// impl<R: Runtime> Notes<R> {
///     pub fn load(&self, name: &str) -> impl Call<Output = io::Result<String>> + use<R> {
///         let path = self.root.join(name);
///         self.rt.call_blocking(move || std::fs::read_to_string(path))
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
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub trait Call:
    IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static> + Send + Sized + 'static
{
    /// The runtime that the call turns to when it needs one.
    type Runtime: Runtime;

    /// The handle that [`spawn`](Self::spawn) gives.
    type Task: Task<Self::Output> + 'static;

    /// The runtime that the call turns to when it needs one.
    fn runtime(&self) -> &Self::Runtime;

    /// Does the work on the calling thread, and blocks it until it is done.
    ///
    /// A blocking body is called, with no thread hop and no runtime started. An
    /// async body is driven by the runtime's [`BlockOn`](crate::BlockOn).
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, at the caller's line, with a message
    /// that says what to do instead (BL-2); that is so for both kinds of body,
    /// for both would block the executor. A panic of the body reaches the caller.
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
    /// Those of [`BlockOn::try_block_on`](crate::BlockOn::try_block_on). The
    /// body has not been started.
    fn try_wait(self) -> Result<Self::Output, BlockOnError>;

    /// Starts the work in the background, and returns its handle.
    ///
    /// An async body becomes a task, a blocking one goes to the offload pool.
    #[track_caller]
    fn spawn(self) -> Self::Task;

    /// Does something with the output, on whatever thread the body has run on.
    fn map<U, G>(self, g: G) -> impl Call<Output = U, Runtime = Self::Runtime>
    where
        G: FnOnce(Self::Output) -> U + Send + 'static,
        U: Send + 'static;

    /// Does something with the value of an output that is `Ok`. As [`map`](Self::map).
    fn map_ok<T, E, U, G>(self, g: G) -> impl Call<Output = Result<U, E>, Runtime = Self::Runtime>
    where
        Self: IntoFuture<Output = Result<T, E>>,
        G: FnOnce(T) -> U + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
    {
        self.map(move |output| output.map(g))
    }

    /// Does something with the error of an output that is `Err`. As [`map`](Self::map).
    fn map_err<T, E, U, G>(self, g: G) -> impl Call<Output = Result<T, U>, Runtime = Self::Runtime>
    where
        Self: IntoFuture<Output = Result<T, E>>,
        G: FnOnce(E) -> U + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
    {
        self.map(move |output| output.map_err(g))
    }

    /// The call without its type: for `dyn` traits, fields, branches and recursion.
    fn boxed(self) -> BoxCall<Self::Output> {
        BoxCall::new(self)
    }

    /// Goes on with another call, made from the output; the kinds of body may
    /// differ. The second call uses its own runtime.
    fn then<C, G>(self, g: G) -> Then<Self, C, G>
    where
        C: Call,
        G: FnOnce(Self::Output) -> C + Send + 'static,
    {
        Then::new(self, g)
    }
}
