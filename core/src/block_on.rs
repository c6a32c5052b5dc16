//! Running async code from sync code: [`BlockOn`].

use core::{fmt, future::IntoFuture};

/// Drives futures on the calling thread, blocking it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime: it cannot block on a future",
    note = "a library takes `R: Runtime`; an application has one of `fourway`'s, for example `fourway::default_runtime()`. For an executor of your own, see `fourway-adapt`"
)]
pub trait BlockOn {
    /// Runs `future` to its end on the calling thread, or refuses at once.
    ///
    /// `future` may be anything that can be awaited. It may borrow and need not be `Send`
    /// ([block_on polls on the calling thread][BL-1]). Its panics reach the
    /// caller. Works on a plain thread, in an offloaded closure and in
    /// [`block_in_place`](Self::block_in_place), to any depth of sync → async →
    /// sync ([blocking where it is allowed][BL-3]), and on many threads at a time ([many threads
    /// block at once][BL-4]). A thread that is parked here on behalf of an offloaded closure lends
    /// its place in the pool until it returns ([nested offload never starves][OF-4]), and takes it
    /// again, after waiting if it must, before it returns: hold no lock across this call in a
    /// closure. (For a lock that must be held, use `ParkHooks`.)
    ///
    /// # Errors
    ///
    /// * [`is_nested`](BlockOnError::is_nested): the thread is running async
    ///   code, of this runtime or another one. The future has not been polled
    ///   ([no blocking in async code][BL-2]).
    /// * [`is_not_driven`](BlockOnError::is_not_driven): the runtime has no
    ///   threads of its own, and no thread is driving it.
    ///
    /// [BL-1]: crate::contract#BL-1
    /// [BL-3]: crate::contract#BL-3
    /// [BL-4]: crate::contract#BL-4
    /// [OF-4]: crate::contract#OF-4
    /// [BL-2]: crate::contract#BL-2
    #[track_caller]
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError>;

    /// Runs `future` to its end on the calling thread.
    ///
    /// Everything said of [`try_block_on`](Self::try_block_on) holds.
    ///
    /// # Panics
    ///
    /// Where `try_block_on` returns an error, this panics at the caller's line
    /// with a message that says what to do instead. A panic of the future
    /// reaches the caller.
    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs a closure that may block on the calling thread, while the
    /// runtime's other tasks go on ([block_in_place][BL-6]).
    ///
    /// On a thread that runs no async code it is a plain call. Inside a task, other threads take
    /// over the thread's work. Inside the closure, blocking and [`block_on`](Self::block_on) are
    /// allowed.
    ///
    /// This default serves runtimes that cannot move work away from a thread.
    ///
    /// # Errors
    ///
    /// [`is_unsupported`](BlockOnError::is_unsupported) if the thread runs async
    /// code and this runtime cannot keep its other tasks going. The closure has
    /// not been run.
    ///
    /// [BL-6]: crate::contract#BL-6
    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        #[cfg(feature = "std")]
        {
            if crate::context::current() == crate::context::Context::Async {
                return Err(BlockOnError::unsupported());
            }
            Ok(f())
        }
        #[cfg(not(feature = "std"))]
        {
            // Without `std`, the caller's context is unknown.
            drop(f);
            Err(BlockOnError::unsupported())
        }
    }
}

/// Why the calling thread may not block on async code.
///
/// Its text says what to do instead.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockOnError {
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nested,
    Unsupported,
    NotDriven,
    Shutdown,
    Forked,
    Unstarted,
}

impl BlockOnError {
    /// The thread is running async code. For adapters; users receive it.
    #[must_use]
    pub fn nested() -> Self {
        Self { kind: Kind::Nested }
    }

    /// The runtime cannot block in place here. For adapters; users receive it.
    #[must_use]
    pub fn unsupported() -> Self {
        Self {
            kind: Kind::Unsupported,
        }
    }

    /// No thread drives the runtime. For adapters; users receive it.
    #[must_use]
    pub fn not_driven() -> Self {
        Self {
            kind: Kind::NotDriven,
        }
    }

    /// The runtime is shut down, and was needed. For adapters; users receive it.
    #[must_use]
    pub fn shutdown() -> Self {
        Self {
            kind: Kind::Shutdown,
        }
    }

    /// The runtime was made in a parent process, before a `fork`, and was needed. For adapters;
    /// users receive it.
    #[must_use]
    pub fn forked() -> Self {
        Self { kind: Kind::Forked }
    }

    /// No thread could be started that was needed. For adapters; users receive it.
    #[must_use]
    pub fn unstarted() -> Self {
        Self {
            kind: Kind::Unstarted,
        }
    }

    /// Is the calling thread running async code, which it must not block?
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.kind == Kind::Nested
    }

    /// Can this runtime not block in place on this thread?
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    /// Does no thread drive the runtime's tasks and timers?
    #[must_use]
    pub fn is_not_driven(&self) -> bool {
        self.kind == Kind::NotDriven
    }

    /// Did the work need more of a runtime that has been shut down than to drive a future?
    ///
    /// A [`Call`](crate::Call) gives this error if its blocking body has to be offloaded. Driving a
    /// future takes the calling thread alone, so `try_block_on` itself works after a shutdown
    /// ([calls after the shutdown][SH-5]).
    ///
    /// [SH-5]: crate::contract#SH-5
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        matches!(self.kind, Kind::Shutdown | Kind::Forked)
    }

    /// Did the work need more than to drive a future of a runtime that was made in a parent process,
    /// before a `fork`? Then [`is_shutdown`](Self::is_shutdown) is true as well ([forked
    /// children][FK-1]).
    ///
    /// [FK-1]: crate::contract#FK-1
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.kind == Kind::Forked
    }

    /// Could no thread be started for a blocking body that had to be offloaded?
    #[must_use]
    pub fn is_unstarted(&self) -> bool {
        self.kind == Kind::Unstarted
    }
}

impl fmt::Display for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Nested => {
                "cannot block on async code here: this thread is itself running async code, \
                 and blocking it could stall or deadlock the runtime. Use `.await` instead, or \
                 move the blocking call off this thread with `offload` (Tokio: `spawn_blocking`) \
                 or `block_in_place`"
            }
            Kind::Unsupported => {
                "cannot block in place here: this runtime has no way to keep its other tasks \
                 going while this thread blocks. Move the blocking call to another thread with \
                 `offload`, and `.await` it"
            }
            Kind::NotDriven => {
                "cannot block on async code here: nobody is driving this runtime, so its tasks \
                 and timers would never run. Keep a thread in the runtime's own `block_on`, or \
                 use a runtime that has threads of its own"
            }
            Kind::Shutdown => {
                "the runtime has been shut down, and a blocking body that is limited in time or \
                 runs beside others needs its pool. Keep the runtime running until its calls are \
                 done"
            }
            Kind::Forked => {
                "the runtime belongs to the process from which this one was forked, and a blocking \
                 body that is limited in time or runs beside others needs its pool, of which no \
                 thread is here: make a runtime in the child"
            }
            Kind::Unstarted => {
                "no thread could be started for a blocking body that is limited in time or runs \
                 beside others. Let fewer of them run at a time, or wait for each by itself"
            }
        })
    }
}

impl fmt::Debug for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockOnError::{:?}", self.kind)
    }
}

impl core::error::Error for BlockOnError {}

/// For functions that return an [`io::Result`](std::io::Result). The kind is `Other`, and the
/// error itself is [inside](std::io::Error::get_ref).
#[cfg(feature = "std")]
impl From<BlockOnError> for std::io::Error {
    fn from(error: BlockOnError) -> Self {
        Self::other(error)
    }
}
