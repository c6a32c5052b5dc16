//! Running blocking code from async code: [`Offload`].

use alloc::borrow::Cow;
use core::fmt;

use crate::{Task, task::Metadata};

/// Runs closures that may block on threads that poll no tasks.
///
/// Users call [`offload`](Self::offload). Adapters and layers write
/// [`offload_with`](Self::offload_with) and [`try_offload_with`](Self::try_offload_with), of
/// which the others are made.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime: it cannot offload closures",
    note = "a library takes `R: Runtime`; an application has one of `fourway`'s, for example `fourway::default_runtime()`. For an executor of your own, see `fourway-adapt`"
)]
pub trait Offload {
    /// The handle of an offloaded closure.
    type OffloadTask<T: Send + 'static>: Task<T> + 'static;

    /// Hands `f` to a pool thread and returns its handle.
    ///
    /// Never blocks; callable from anywhere. The closure runs on a thread where
    /// it may block as long as it likes, and tasks go on while all such threads
    /// are blocked ([closures block no tasks][OF-1]). At most as many closures run at a time as the
    /// pool's limit says; the others wait in order ([limits are exact][OF-5]). This method always
    /// accepts: where the pool's queue is bounded, the bound is kept by
    /// [`try_offload`](Self::try_offload).
    ///
    /// Dropping the handle cancels ([cancelled closures][OF-3]): a closure that has not started
    /// never runs, and its captures are dropped by the thread that drops the handle; a
    /// running one runs to its end, holding its place in the pool until then,
    /// and its result is dropped.
    ///
    /// A closure may call back into async code and offload again, to any depth,
    /// even on a pool of one ([nested offload never starves][OF-4]).
    ///
    /// [OF-1]: crate::contract#OF-1
    /// [OF-5]: crate::contract#OF-5
    /// [OF-3]: crate::contract#OF-3
    /// [OF-4]: crate::contract#OF-4
    #[inline]
    #[track_caller]
    fn offload<F, T>(&self, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.offload_with(Metadata::caller(), f)
    }

    /// As [`offload`](Self::offload), with a name, which layers and
    /// [`JoinError`](crate::JoinError)s see.
    #[track_caller]
    fn offload_named<F, T>(&self, name: impl Into<Cow<'static, str>>, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.offload_with(Metadata::caller().named(name), f)
    }

    /// Hands the closure that `metadata` describes to a pool thread. See
    /// [`offload`](Self::offload).
    #[track_caller]
    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> Self::OffloadTask<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// Hands `f` to a pool thread, unless the pool's bounded queue is full.
    ///
    /// # Errors
    ///
    /// Gives `f` back, unrun, if the queue is full or the runtime is shut down.
    /// A pool without a bound is never full.
    #[inline]
    #[track_caller]
    fn try_offload<F, T>(&self, f: F) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.try_offload_with(Metadata::caller(), f)
    }

    /// Hands the closure that `metadata` describes to a pool thread, unless the pool's
    /// bounded queue is full.
    ///
    /// # Errors
    ///
    /// Those of [`try_offload`](Self::try_offload).
    #[track_caller]
    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<Self::OffloadTask<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// The layers that closures come through, around the bare runtime whose pool runs them;
    /// none by default. For layers: see [`Layers`](crate::layer::Layers).
    ///
    /// They differ from [`Spawner::layers`](crate::Spawner::layers) where tasks and closures belong
    /// to two runtimes, as in [`Compose`](crate::Compose).
    #[cfg(feature = "std")]
    fn offload_layers(&self) -> crate::layer::Layers {
        crate::layer::Layers::default()
    }
}

/// The pool refused a closure; it is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TryOffloadError<F> {
    closure: F,
    reason: Reason,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Full,
    Shutdown,
    Forked,
}

impl<F> TryOffloadError<F> {
    /// The queue is full. For adapters; users receive it.
    #[must_use]
    pub fn full(closure: F) -> Self {
        Self {
            closure,
            reason: Reason::Full,
        }
    }

    /// The runtime is shut down. For adapters; users receive it.
    #[must_use]
    pub fn shutdown(closure: F) -> Self {
        Self {
            closure,
            reason: Reason::Shutdown,
        }
    }

    /// The runtime was made in a parent process, before a `fork`. For adapters; users receive it.
    #[must_use]
    pub fn forked(closure: F) -> Self {
        Self {
            closure,
            reason: Reason::Forked,
        }
    }

    /// Is the queue full? Later there may be room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.reason == Reason::Full
    }

    /// Is the runtime shut down? There will be no room again.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.reason != Reason::Full
    }

    /// Was the runtime made before a `fork`, of which this process is the child ([forked
    /// children][FK-1])? [`is_shutdown`](Self::is_shutdown) is true, too.
    ///
    /// [FK-1]: crate::contract#FK-1
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.reason == Reason::Forked
    }

    /// The closure that was refused.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.closure
    }

    /// The same refusal, of another form of the closure. For wrappers, which
    /// must give the user's own closure back.
    #[must_use]
    pub fn map<G>(self, f: impl FnOnce(F) -> G) -> TryOffloadError<G> {
        TryOffloadError {
            closure: f(self.closure),
            reason: self.reason,
        }
    }
}

impl<F> fmt::Display for TryOffloadError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::Shutdown => "the closure was refused: the runtime is shut down",
            Reason::Forked => {
                "the closure was refused: the runtime belongs to the process from which this one \
                 was forked; make a runtime in the child"
            }
            Reason::Full => {
                "the closure was refused: the offload queue is full; retry later, or use \
                 `offload`, which waits in line"
            }
        })
    }
}

impl<F> fmt::Debug for TryOffloadError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::Shutdown => "TryOffloadError::Shutdown(..)",
            Reason::Forked => "TryOffloadError::Forked(..)",
            Reason::Full => "TryOffloadError::Full(..)",
        })
    }
}

impl<F> core::error::Error for TryOffloadError<F> {}

/// For functions that return an [`io::Result`](std::io::Result). The closure is dropped. The kind is
/// `WouldBlock` if the queue is full, and else `Other`; the error itself, without the closure, is
/// [inside](std::io::Error::get_ref) as a `TryOffloadError<()>`.
#[cfg(feature = "std")]
impl<F> From<TryOffloadError<F>> for std::io::Error {
    fn from(error: TryOffloadError<F>) -> Self {
        let kind = if error.is_full() {
            std::io::ErrorKind::WouldBlock
        } else {
            std::io::ErrorKind::Other
        };
        Self::new(kind, error.map(drop))
    }
}
